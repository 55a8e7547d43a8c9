//! A world for a service: it answers what a test says, remembers what it was asked, and has its own time.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt,
    sync::{Arc, OnceLock},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use ctk_crypto::{PrivateKey, Reduction};
use ctk_token::{KeyAlgorithm, KeyType, Operation, Result, TokenError};
use parking_lot::Mutex;
use serde_json::{Value as Json, json};
use zeroize::Zeroizing;

use crate::{
    Configuration, Finding, Inventory, KeyRecord, Records, Secret, Settings, Step, Surroundings,
    Value, base64,
    http::{Endpoint, Exchange, Response, Verdict},
};

use super::super::{
    PROTOCOL,
    outside::{Channel, Outside, Patience},
    service::Kms,
};

pub(super) const ARN: &str =
    "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

/// What was asked.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// Whether it was asked near by.
    pub(super) local: bool,
    pub(super) host: String,
    /// The method and the target.
    pub(super) line: String,
    /// By lower-case names.
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
    /// When the operation that it was asked for ends.
    pub(super) deadline: Instant,
}

impl Asked {
    /// The operation, without the service's prefix.
    pub(super) fn operation(&self) -> &str {
        let target = self.headers.get("x-amz-target").map_or("", String::as_str);
        target.strip_prefix("TrentService.").unwrap_or(target)
    }

    pub(super) fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(super) fn access_key_id(&self) -> &str {
        let authorization = self.headers.get("authorization").unwrap();
        let (_, rest) = authorization.split_once("Credential=").unwrap();
        rest.split('/').next().unwrap()
    }
}

pub(super) type Answer = dyn Fn(&Asked) -> Result<Response> + Send + Sync;

#[derive(Clone)]
pub(super) struct World {
    pub(super) answer: Arc<Answer>,
    pub(super) asked: Arc<Mutex<Vec<Asked>>>,
    pub(super) now: Arc<Mutex<SystemTime>>,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("World")
    }
}

impl World {
    pub(super) fn new(answer: impl Fn(&Asked) -> Result<Response> + Send + Sync + 'static) -> Self {
        Self {
            answer: Arc::new(answer),
            asked: Arc::default(),
            now: Arc::new(Mutex::new(noon())),
        }
    }

    /// What was asked for so far.
    pub(super) fn operations(&self) -> Vec<String> {
        let asked = self.asked.lock();
        asked
            .iter()
            .map(|asked| asked.operation().to_owned())
            .collect()
    }

    pub(super) fn service(&self, configuration: &Configuration) -> Arc<Kms> {
        Arc::new(Kms::within(configuration, Box::new(self.clone())))
    }
}

/// 2015-08-30T12:36:00Z.
pub(super) fn noon() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_440_938_160)
}

#[derive(Debug)]
struct Way {
    world: World,
    endpoints: Vec<Endpoint>,
    local: bool,
}

impl Outside for World {
    fn service(&self, endpoints: Vec<Endpoint>) -> Result<Box<dyn Channel>> {
        Ok(Box::new(Way {
            world: self.clone(),
            endpoints,
            local: false,
        }))
    }

    fn local(&self, endpoint: Endpoint, _: Patience) -> Result<Box<dyn Channel>> {
        Ok(Box::new(Way {
            world: self.clone(),
            endpoints: vec![endpoint],
            local: true,
        }))
    }

    fn now(&self) -> SystemTime {
        *self.now.lock()
    }
}

impl Channel for Way {
    /// Three attempts without pauses.
    fn send(&self, exchange: &Exchange<'_>) -> Result<Response> {
        let endpoint = &self.endpoints[0];
        let mut attempts = 0;
        loop {
            attempts += 1;
            let request = (exchange.prepare)(endpoint)?;
            let headers = request.headers.iter();
            let headers =
                headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_string()));
            let asked = Asked {
                local: self.local,
                host: endpoint.authority(),
                line: format!("{:?} {}", request.method, request.target),
                headers: headers.collect(),
                body: request.body.to_vec(),
                deadline: exchange.deadline.instant(),
            };
            let answer = (self.world.answer)(&asked);
            self.world.asked.lock().push(asked);
            let answer = answer?;
            if attempts == 3 || (exchange.judge)(&answer) == Verdict::Final {
                return Ok(answer);
            }
        }
    }

    fn check(&self, findings: &mut dyn FnMut(Finding)) -> bool {
        findings(Finding {
            step: Step::Tls,
            result: Ok("scripted".to_owned()),
        });
        true
    }
}

pub(super) fn answer(status: u16, body: impl Into<Vec<u8>>) -> Result<Response> {
    Ok(Response {
        status,
        content_type: "application/x-amz-json-1.1".to_owned(),
        date: Some(noon()),
        retry_after: None,
        headers: vec![("x-amzn-requestid".to_owned(), "id-1".to_owned())],
        body: Zeroizing::new(body.into()),
    })
}

pub(super) fn success(json: &Json) -> Result<Response> {
    answer(200, json.to_string())
}

pub(super) fn failure(status: u16, name: &str, message: &str) -> Result<Response> {
    answer(
        status,
        json!({"__type": name, "message": message}).to_string(),
    )
}

pub(super) fn surroundings(variable: fn(&str) -> Option<OsString>) -> Surroundings {
    Surroundings {
        home: None,
        variable,
        run: Arc::new(|_, _| Err(TokenError::NotSupported)),
    }
}

pub(super) fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

pub(super) fn secret(text: &'static str) -> Value {
    let read = |_| Ok(Zeroizing::new(text.as_bytes().to_vec()));
    Value::Secret(Secret::new("a test", read))
}

pub(super) fn settings<const N: usize>(settings: [(&str, Value); N]) -> Settings {
    Settings(
        settings
            .map(|(name, value)| (name.to_owned(), value))
            .into(),
    )
}

/// A token in eu-central-1 with an access key.
pub(super) fn with_access_key<const N: usize>(more: [(&str, Value); N]) -> Settings {
    let mut settings = settings([
        ("region", text("eu-central-1")),
        ("access_key_id", text("AKIDEXAMPLE")),
        (
            "secret_access_key",
            secret("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
        ),
    ]);
    settings
        .0
        .extend(more.map(|(name, value)| (name.to_owned(), value)));
    settings
}

pub(super) fn configuration(settings: Settings, keys: Vec<KeyRecord>) -> Configuration {
    Configuration {
        name: "kms".to_owned(),
        label: String::new(),
        serial_number: "1".to_owned(),
        removable: false,
        protocol: &PROTOCOL,
        settings,
        contents: Inventory {
            keys,
            ..Inventory::default()
        },
        surroundings: surroundings(|_| None),
    }
}

/// A key in the service.
pub(super) struct Held {
    pub(super) private: PrivateKey,
    pub(super) usage: &'static str,
    pub(super) algorithms: Vec<&'static str>,
}

impl Held {
    pub(super) fn new(key_type: KeyType, usage: &'static str, algorithms: &[&'static str]) -> Self {
        Self {
            private: PrivateKey::generate(key_type).unwrap(),
            usage,
            algorithms: algorithms.to_vec(),
        }
    }

    /// An RSA key for signatures, made once: it takes a while.
    pub(super) fn rsa() -> &'static Self {
        static KEY: OnceLock<Held> = OnceLock::new();
        KEY.get_or_init(|| {
            let algorithms = [
                "RSASSA_PKCS1_V1_5_SHA_256",
                "RSASSA_PKCS1_V1_5_SHA_384",
                "RSASSA_PKCS1_V1_5_SHA_512",
                "RSASSA_PSS_SHA_256",
                "RSASSA_PSS_SHA_384",
                "RSASSA_PSS_SHA_512",
            ];
            Self::new(KeyType::Rsa { bits: 2048 }, "SIGN_VERIFY", &algorithms)
        })
    }

    pub(super) fn spki(&self) -> &[u8] {
        self.private.public_key().spki()
    }

    pub(super) fn record(&self) -> KeyRecord {
        let algorithms = self.algorithms.iter().map(|name| (*name).to_owned());
        let facts = settings([
            ("key", text(ARN)),
            ("spec", text("X")),
            ("usage", text(self.usage)),
            ("algorithms", Value::Texts(algorithms.collect())),
        ]);
        let mut records = Records::new();
        assert!(records.key("key", self.spki(), &[], facts));
        records.finish().unwrap().keys.remove(0)
    }

    /// Signs what it is given in one of the library's own forms.
    pub(super) fn sign(&self, algorithm: KeyAlgorithm, input: &[u8]) -> Vec<u8> {
        let by = |form| self.private.supports(Operation::Sign, form);
        let reduction = Reduction::new(algorithm, self.private.public_key(), by);
        let reduction = reduction.unwrap().unwrap();
        let mut block = None;
        let request = reduction.apply(input, &mut block).unwrap();
        let mut signature = vec![0; self.private.public_key().max_signature_len()];
        let len = self
            .private
            .sign(request.algorithm, request.input, &mut signature)
            .unwrap();
        signature.truncate(len);
        signature
    }
}

/// The blob of this name in what was asked.
pub(super) fn blob(asked: &Asked, name: &str) -> Vec<u8> {
    base64::decode(asked.json()[name].as_str().unwrap())
        .unwrap()
        .to_vec()
}

/// How the reason of an error begins to be told.
pub(super) fn reason(error: &TokenError) -> String {
    match error {
        TokenError::Refused(reason)
        | TokenError::Unreachable(reason)
        | TokenError::Corrupted(reason) => reason.to_string(),
        error => panic!("{error:?} has no reason"),
    }
}
