//! Whatever a service answers, nothing panics, nothing grows, no secret is told, and no wrong signature passes: an honest
//! service is used from its list to a signature, and some of its answers are damaged on the way.

use std::sync::Arc;

use ctk_token::{KeyAlgorithm, Operation, PublicKey, Reason, Result, Role, TokenError};
use parking_lot::Mutex;
use zeroize::Zeroizing;

use crate::{
    Finding, Inventory, Service, Settings, Value,
    http::{Exchange, Response},
    protocols::csc::{
        api::{Connect, Wire},
        service::CscService,
    },
    walk::{Turns, walk},
};

use super::{
    fake::{Credential, Fake, OTP, P256, PIN, RSA, credential},
    world::{CLOCK, client, secret, settings, text},
};

/// The most requests that one use takes: a list's pages, and its questions to one owner who does not confirm.
const MAX_REQUESTS: usize = 1000;

/// An honest service, and how it knows us.
struct Honest {
    fake: Arc<Fake>,
    settings: Settings,
    inventory: Inventory,
}

impl Honest {
    fn new(fake: Fake, more: &[(&str, Value)]) -> Self {
        let (fake, settings) = (Arc::new(fake), settings(more));
        // A page that it has not spoken of.
        fake.answer_by(|call| {
            let page = call.body["pageToken"].as_str()?;
            let refusal = r#"{"error":"invalid_request","error_description":"pageToken"}"#;
            let is_page = page.parse::<u16>().is_ok();
            (!is_page).then(|| (400, refusal.to_owned()))
        });
        let inventory = client(&fake, &settings).list(None, &mut |_| {}).unwrap();
        assert!(!inventory.keys.is_empty());
        Self {
            fake,
            settings,
            inventory,
        }
    }

    /// A service of each kind and version.
    fn all() -> Vec<Self> {
        let bound = |wants| Credential {
            scal: 2,
            ..credential(P256, wants)
        };
        let client = [
            ("authentication", text("oauth2-client")),
            ("client_id", text("id")),
            ("client_secret", secret("s3cret")),
        ];
        let user = [
            ("authentication", text("basic")),
            ("user", text("alice")),
            ("password", secret("s3cret")),
        ];
        let otp = [("otp", secret(OTP))];
        let mut all = Vec::new();
        for version in [0, 1, 2] {
            let with = |credentials| {
                let mut fake = Fake::new(version, credentials);
                fake.page = 1;
                fake
            };
            let mut knowing = with(vec![credential(P256, &["implicit"]), bound(&["implicit"])]);
            knowing.bearer = Some("Bearer tokenT");
            all.push(Self::new(knowing, &client));
            let mut knowing = with(vec![credential(P256, &["pin"])]);
            knowing.bearer = Some("Bearer tokenT");
            all.push(Self::new(knowing, &user));
            all.push(Self::new(with(vec![bound(&["pin", "otp"])]), &otp));
            all.push(Self::new(with(vec![credential(P256, &["online"])]), &otp));
        }
        let rsa = credential(RSA, &["pin"]);
        all.push(Self::new(Fake::new(1, vec![rsa]), &[]));
        let owner = credential(P256, &["pin", "telephone"]);
        all.push(Self::new(Fake::new(2, vec![owner]), &[]));
        all
    }
}

/// The way to an honest service, on which an answer comes to harm now and then.
struct Liar {
    honest: Arc<Fake>,
    turns: Mutex<Turns>,
    /// One answer in so many is damaged.
    rarely: usize,
}

impl Wire for Liar {
    fn send(&self, exchange: &Exchange<'_>) -> Result<Response> {
        let mut response = self.honest.send(exchange)?;
        let mut turns = self.turns.lock();
        if !turns.one_in(self.rarely) {
            return Ok(response);
        }
        let status = [200, 202, 204, 302, 400, 401, 403, 404, 429, 500];
        match turns.below(8) {
            0 => response.status = turns.one_of(&status),
            1 => {
                let why = Reason::new("test");
                let errors = [
                    TokenError::TimedOut,
                    TokenError::Unreachable(why.clone()),
                    TokenError::Corrupted(why),
                ];
                return Err(turns.one_of(&errors));
            }
            2 => {
                response.status = turns.one_of(&status);
                let sample = turns.one_of(SAMPLES);
                response.body = Zeroizing::new(turns.damaged_json(sample.as_bytes()));
            }
            _ => response.body = Zeroizing::new(turns.damaged_json(&response.body)),
        }
        let _ = (exchange.judge)(&response);
        Ok(response)
    }

    fn check(&self, findings: &mut dyn FnMut(Finding)) -> bool {
        self.honest.check(findings)
    }
}

/// How often something worked, so that it is sure that everything was reached.
#[derive(Debug, Default)]
struct Reached {
    lists: usize,
    lists_changed: usize,
    logins: usize,
    signatures: usize,
    errors: usize,
}

#[test]
fn no_answer_does_harm() {
    let all = Honest::all();
    let mut reached = Reached::default();
    let steps = walk(600, |turns| {
        let honest = &all[turns.below(all.len())];
        honest.fake.restart();
        honest.fake.calls();
        let liar = Arc::new(Liar {
            honest: honest.fake.clone(),
            turns: Mutex::new(turns.branch()),
            rarely: turns.one_of(&[1, 2, 5, 20]),
        });
        let connect: Arc<Connect> = Arc::new(move |_| Ok(liar.clone() as Arc<dyn Wire>));
        let service = Arc::new(CscService::over(&honest.settings, CLOCK, connect));
        use_up(&service, honest, turns, &mut reached);
        let requests = honest.fake.calls().len();
        assert!(requests < MAX_REQUESTS, "{requests} requests");
    });
    println!("{reached:?}");
    let Reached {
        lists,
        lists_changed,
        logins,
        signatures,
        errors,
    } = reached;
    let least = [lists, lists_changed, logins, signatures, errors]
        .into_iter()
        .min();
    assert!(least > Some(steps / 50), "not everything was tried");
}

/// Lists, and does everything with what is listed or was stored.
fn use_up(service: &Arc<CscService>, honest: &Honest, turns: &mut Turns, reached: &mut Reached) {
    let mut inventory = honest.inventory.clone();
    if turns.one_in(2) {
        match told(service.list(None, &mut is_told), reached) {
            Some(listed) => {
                is_bounded(&listed);
                reached.lists += 1;
                reached.lists_changed += usize::from(listed.keys != honest.inventory.keys);
                inventory = listed;
            }
            None if turns.one_in(2) => return,
            None => {}
        }
    }
    if turns.one_in(8) {
        service.check(&mut |finding| match &finding.result {
            Ok(text) => text.lines().for_each(is_told),
            Err(why) => why.as_str().lines().for_each(is_told),
        });
    }
    let session = service.clone().open_session();
    let keys = &inventory.keys;
    honest.fake.calls();
    let logged_in = told(
        session.login(Role::User, keys, None, PIN.as_bytes()),
        reached,
    );
    reached.logins += usize::from(logged_in.is_some());
    let sent = honest.fake.operations();
    let sent = sent
        .iter()
        .filter(|name| *name == "credentials/authorize")
        .count();
    // Once for each key, and once more for a service that does not take our access token.
    assert!(sent <= 2 * keys.len(), "{sent} requests with the PIN");
    for key in keys {
        let public_key = PublicKey::from_spki(&key.spki).unwrap();
        for (how, len) in [
            (KeyAlgorithm::EcdsaDigest, 32),
            (KeyAlgorithm::RsaPkcs1Digest(ctk_token::Digest::Sha256), 32),
        ] {
            if !service.supports(key, Operation::Sign, how) {
                continue;
            }
            let _ = session.check_authenticated(key, Operation::Sign);
            let input = vec![7; len];
            if let Some(signature) = told(session.sign(key, how, &input), reached) {
                let is_right = ctk_crypto::verify(&public_key, how, &input, &signature);
                assert_eq!(is_right, Ok(true));
                reached.signatures += 1;
            }
        }
    }
    session.logout(Role::User);
}

/// What an operation has given; of its error, that a person can be told.
fn told<T>(result: Result<T>, reached: &mut Reached) -> Option<T> {
    result
        .map_err(|error| {
            reached.errors += 1;
            is_told(&error.to_string());
        })
        .ok()
}

/// One line, not long, without a secret.
#[track_caller]
fn is_told(text: &str) {
    assert!(text.len() < 2000, "{} bytes: {text:?}", text.len());
    assert!(!text.chars().any(char::is_control), "{text:?}");
    for secret in [PIN, "sad/", "s3cret", OTP] {
        assert!(!text.contains(secret), "{secret:?} in {text:?}");
    }
}

fn is_bounded(inventory: &Inventory) {
    // What is listed was asked for one by one, and nothing makes the credentials here more.
    assert!(inventory.keys.len() <= 2);
    assert!(inventory.certificates.len() <= 20);
    assert!(inventory.left_out.len() <= 20_000);
    inventory.left_out.iter().for_each(|why| is_told(why));
    for key in &inventory.keys {
        is_told(&key.label);
        assert!(key.spki.len() < 3000);
    }
}

/// Answers and refusals of other services.
const SAMPLES: &[&str] = &[
    r#"{"specs":"1.0.4.0","name":"x","oauth2":"https://a.example","methods":["info"]}"#,
    r#"{"credentialIDs":["c/1"],"nextPageToken":"1"}"#,
    r#"{"credentialIDs":["c/1"],"credentialInfos":[{"credentialID":"c/1","key":{},"cert":{}}]}"#,
    r#"{"key":{"status":"enabled","algo":["1.2.840.10045.4.3.2"],"len":256},"cert":{"certificates":["MAA="]},"authMode":"explicit","PIN":{"presence":"true"},"OTP":{"presence":"true","type":"online"},"SCAL":"1","multisign":5}"#,
    r#"{"key":{"algo":["1.2.840.10045.4.3.2"]},"cert":{"certificates":["MAA="]},"auth":{"mode":"explicit","expression":"a AND (b OR c)","objects":[{"type":"Password","id":"a"},{"type":"PasswordOOB","id":"b"},{"type":"Password","generator":"totp","id":"c"}]}}"#,
    r#"{"SAD":"x\/y\u0041","expiresIn":3600}"#,
    r#"{"handle":"h"}"#,
    r#"{"error":"invalid_pin","error_description":"The PIN is invalid"}"#,
    r#"{"signatures":["MAYCAQECAQE="]}"#,
    r#"{"error":"invalid_request","error_description":"SAD expired"}"#,
    r#"{"access_token":"t","token_type":"Bearer","expires_in":"3600"}"#,
];
