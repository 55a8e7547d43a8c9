//! A CSC service in this process: it speaks each version of the API, counts, checks, and can be told to misbehave.

use std::{
    collections::HashMap,
    fmt,
    sync::Arc,
    time::{Duration, Instant, UNIX_EPOCH},
};

use ctk_crypto::{PrivateKey, Reduction};
use ctk_token::{Curve, Digest, KeyAlgorithm, KeyType, Pss, Result};
use parking_lot::Mutex;
use serde_json::{Value as Json, json};
use zeroize::Zeroizing;

use crate::{
    Finding, base64,
    certificate::made,
    http::{Endpoint, Exchange, Request, Response, Verdict},
    protocols::csc::api::Wire,
};

/// The PIN of every credential.
pub(super) const PIN: &str = "12\"34ä";
/// The one-time password that counts if no generator is used.
pub(super) const OTP: &str = "555555";
/// The seed of the generator, and its passwords around the tests' time, 59 s: RFC 6238 appendix B.
pub(super) const SEED: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
pub(super) const PASSWORD_AT_59: &str = "287082";

pub(super) const RSA: KeyType = KeyType::Rsa { bits: 2048 };
pub(super) const P256: KeyType = KeyType::Ec(Curve::P256);

/// A credential of the service.
pub(super) struct Credential {
    pub(super) private: PrivateKey,
    pub(super) algorithms: Vec<&'static str>,
    /// What `authMode` and its like say besides: `pin`, `otp`, `online`, `implicit`, `oauth2code`.
    pub(super) wants: &'static [&'static str],
    pub(super) scal: u32,
    pub(super) multisign: u32,
    pub(super) status: &'static str,
    pub(super) certificate_status: Option<&'static str>,
    pub(super) has_certificate: bool,
}

/// One request as it came.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) operation: String,
    pub(super) body: Json,
    pub(super) raw: String,
    pub(super) authorization: Option<String>,
    /// When the operation that it is part of ends.
    pub(super) deadline: Instant,
}

#[derive(Default)]
struct State {
    calls: Vec<Call>,
    /// By value: the credential, signatures left, the hash it is for.
    sads: HashMap<String, (String, u64, Option<String>)>,
    sad_number: u32,
    tokens: u32,
    wrong: u32,
}

type Override = dyn Fn(&Call) -> Option<(u16, String)> + Send + Sync;

/// The service.
pub(super) struct Fake {
    pub(super) version: u32,
    pub(super) credentials: Vec<(String, Credential)>,
    /// The only Authorization header that is taken; `T` stands for the number of the last token.
    pub(super) bearer: Option<&'static str>,
    pub(super) has_login: bool,
    /// `expiresIn` of a SAD.
    pub(super) lifetime: u64,
    /// ECDSA signatures are r‖s.
    pub(super) is_fixed: bool,
    /// A SAD is good for one signature, whatever was asked for.
    pub(super) is_single_use: bool,
    /// Pages of a list.
    pub(super) page: usize,
    pub(super) date: u64,
    /// Answers instead, if it answers.
    pub(super) instead: Mutex<Option<Arc<Override>>>,
    state: Mutex<State>,
}

impl fmt::Debug for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fake")
    }
}

/// A credential that wants this, with every algorithm of its kind.
pub(super) fn credential(key_type: KeyType, wants: &'static [&'static str]) -> Credential {
    Credential {
        private: key(key_type),
        algorithms: match key_type {
            RSA => vec![
                "1.2.840.113549.1.1.1",
                "1.2.840.113549.1.1.10",
                "1.2.840.113549.1.1.11",
            ],
            _ => vec!["1.2.840.10045.4.3.2", "1.2.840.10045.4.3.3"],
        },
        wants,
        scal: 1,
        multisign: 1000,
        status: "enabled",
        certificate_status: None,
        has_certificate: true,
    }
}

fn key(key_type: KeyType) -> PrivateKey {
    PrivateKey::generate(key_type).unwrap()
}

impl Fake {
    pub(super) fn new(version: u32, credentials: Vec<Credential>) -> Self {
        let named = (1..).zip(credentials);
        Self {
            version,
            credentials: named
                .map(|(number, one)| (format!("c/{number}"), one))
                .collect(),
            bearer: None,
            has_login: true,
            lifetime: 3600,
            is_fixed: false,
            is_single_use: false,
            page: 100,
            date: 59,
            instead: Mutex::new(None),
            state: Mutex::default(),
        }
    }

    /// Answers this to every request of the operation from now on.
    pub(super) fn answer(&self, operation: &'static str, status: u16, body: &str) {
        let body = body.to_owned();
        self.answer_by(move |call| (call.operation == operation).then(|| (status, body.clone())));
    }

    pub(super) fn answer_by(
        &self,
        answer: impl Fn(&Call) -> Option<(u16, String)> + Send + Sync + 'static,
    ) {
        *self.instead.lock() = Some(Arc::new(answer));
    }

    pub(super) fn answer_well(&self) {
        *self.instead.lock() = None;
    }

    /// The calls since the last time.
    pub(super) fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.state.lock().calls)
    }

    /// Their operations.
    pub(super) fn operations(&self) -> Vec<String> {
        self.calls()
            .into_iter()
            .map(|call| call.operation)
            .collect()
    }

    /// Forgets every authorisation.
    pub(super) fn restart(&self) {
        self.state.lock().sads.clear();
    }

    fn respond(&self, request: &Request, deadline: Instant) -> Response {
        let header = |wanted: &str| {
            let found = request.headers.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, value)| value.to_string())
        };
        let raw = String::from_utf8(request.body.to_vec()).unwrap();
        let is_json = header("Content-Type").unwrap() == "application/json";
        let call = Call {
            operation: request.target.trim_start_matches('/').to_owned(),
            body: if is_json {
                serde_json::from_str(&raw).unwrap()
            } else {
                Json::Null
            },
            raw,
            authorization: header("Authorization"),
            deadline,
        };
        self.state.lock().calls.push(call.clone());
        // Not locked meanwhile: one answer that takes its time keeps nobody else waiting.
        let instead = self.instead.lock().clone();
        let instead = instead.and_then(|instead| instead(&call));
        let (status, body) = instead.unwrap_or_else(|| match self.answer_to(&call) {
            Ok(body) => (200, body.to_string()),
            Err((status, code, words)) => (
                status,
                json!({"error": code, "error_description": words}).to_string(),
            ),
        });
        Response {
            status,
            content_type: "application/json".to_owned(),
            date: Some(UNIX_EPOCH + Duration::from_secs(self.date)),
            retry_after: None,
            headers: Vec::new(),
            body: Zeroizing::new(body.into_bytes()),
        }
    }

    fn answer_to(&self, call: &Call) -> std::result::Result<Json, (u16, &str, &str)> {
        let operation = &*call.operation;
        if operation == "info" {
            let specs = ["0.1.7.9", "1.0.4.0", "2.0.0.2"][self.version as usize];
            return Ok(
                json!({"specs": specs, "name": "Fake", "oauth2": "https://signing.example/x"}),
            );
        }
        if operation == "auth/login" || operation == "token" {
            if operation == "auth/login" && !self.has_login {
                return Err((404, "", ""));
            }
            let mut state = self.state.lock();
            state.tokens += 1;
            return Ok(
                json!({"access_token": format!("token{}", state.tokens), "expires_in": "3600"}),
            );
        }
        if let Some(bearer) = self.bearer {
            let number = self.state.lock().tokens.to_string();
            if call.authorization != Some(bearer.replace('T', &number)) {
                return Err((401, "invalid_token", "The access token is not valid"));
            }
        }
        let body = &call.body;
        let id = body["credentialID"].as_str().unwrap_or_default();
        let found = self.credentials.iter().find(|(name, _)| name == id);
        let found = found.map(|(_, credential)| credential);
        let unknown = (400, "invalid_request", "Invalid parameter credentialID");
        match operation {
            "credentials/list" => Ok(self.list(body)),
            "credentials/info" => Ok(self.info(found.ok_or(unknown)?)),
            "credentials/sendOTP" | "credentials/getChallenge" => Ok(json!({})),
            "credentials/authorize" => self.authorize(id, found.ok_or(unknown)?, body),
            "signatures/signHash" => self.sign(id, found.ok_or(unknown)?, body),
            _ => Err((404, "", "")),
        }
    }

    fn list(&self, body: &Json) -> Json {
        let start = body["pageToken"]
            .as_str()
            .map_or(0, |page| page.parse().unwrap());
        let page = self.credentials.iter().skip(start).take(self.page);
        let names: Vec<_> = page.map(|(name, _)| name).collect();
        let mut answer = json!({"credentialIDs": names});
        if start + self.page < self.credentials.len() {
            answer["nextPageToken"] = json!((start + self.page).to_string());
        }
        answer
    }

    fn info(&self, credential: &Credential) -> Json {
        let spki = credential.private.public_key().spki();
        let mut cert = json!({});
        if credential.has_certificate {
            let leaf = base64::encode(&made::certificate("Alice", "250101000000Z", spki));
            let issuer = key(P256);
            let issuer = made::certificate("CA", "200101000000Z", issuer.public_key().spki());
            cert["certificates"] = json!([leaf, base64::encode(&issuer)]);
        }
        if let Some(status) = credential.certificate_status {
            cert["status"] = json!(status);
        }
        let mut answer = json!({
            "key": {"status": credential.status, "algo": credential.algorithms, "len": "2048"},
            "cert": cert,
            "SCAL": credential.scal.to_string(),
            "multisign": credential.multisign,
        });
        let wants = |what| credential.wants.contains(&what);
        let mode = match credential.wants {
            ["implicit" | "oauth2code"] => credential.wants[0],
            _ => "explicit",
        };
        if self.version < 2 {
            answer["authMode"] = json!(mode);
            answer["PIN"] = json!({"presence": wants("pin").to_string(), "format": "N"});
            let kind = if wants("online") { "online" } else { "offline" };
            let presence = wants("otp") || wants("online");
            answer["OTP"] = json!({"presence": presence, "type": kind, "format": "N"});
            return answer;
        }
        let objects: Vec<_> = credential
            .wants
            .iter()
            .map(|what| match *what {
                "pin" => json!({"type": "Password", "id": "P"}),
                "otp" => json!({"type": "Password", "generator": "totp", "id": "O"}),
                "online" => json!({"type": "ChallengeResponse", "id": "O"}),
                _ => json!({"type": "PasswordOOB", "id": "phone"}),
            })
            .collect();
        answer["auth"] = json!({"mode": mode, "objects": objects});
        answer
    }

    fn authorize(
        &self,
        id: &str,
        credential: &Credential,
        body: &Json,
    ) -> std::result::Result<Json, (u16, &str, &str)> {
        let given = |name: &str, object: &str| {
            let objects = body["authData"].as_array().cloned().unwrap_or_default();
            let object = objects.into_iter().find(|one| one["id"] == object);
            let value = if self.version < 2 {
                body[name].clone()
            } else {
                object?["value"].clone()
            };
            value.as_str().map(str::to_owned)
        };
        let wrong = |status, code, words| {
            self.state.lock().wrong += 1;
            Err((status, code, words))
        };
        if credential.wants.contains(&"pin") && given("PIN", "P").as_deref() != Some(PIN) {
            return match self.version {
                2 => wrong(
                    400,
                    "invalid_authentication_data",
                    "The authentication data is invalid",
                ),
                _ => wrong(400, "invalid_pin", "The PIN is invalid"),
            };
        }
        let wants_otp = credential
            .wants
            .iter()
            .any(|what| matches!(*what, "otp" | "online"));
        let otp = given("OTP", "O");
        if wants_otp && ![Some(OTP), Some(PASSWORD_AT_59)].contains(&otp.as_deref()) {
            return wrong(400, "invalid_otp", "The OTP is invalid");
        }
        let count = body["numSignatures"].as_u64().unwrap();
        if count == 0 || count > u64::from(credential.multisign) {
            return Err((400, "invalid_request", "Numbers of signatures is too high"));
        }
        let hashes = if self.version < 2 { "hash" } else { "hashes" };
        let hash = body[hashes][0].as_str().map(str::to_owned);
        if credential.scal == 2 && hash.is_none() {
            return Err((400, "invalid_request", "Missing hash"));
        }
        let mut state = self.state.lock();
        state.sad_number += 1;
        let sad = format!("sad/\u{e4}\"{}", state.sad_number);
        let count = if self.is_single_use { 1 } else { count };
        state.sads.insert(sad.clone(), (id.to_owned(), count, hash));
        Ok(json!({"SAD": sad, "expiresIn": self.lifetime}))
    }

    fn sign(
        &self,
        id: &str,
        credential: &Credential,
        body: &Json,
    ) -> std::result::Result<Json, (u16, &str, &str)> {
        let hash = &body[if self.version < 2 { "hash" } else { "hashes" }];
        let hash = hash[0]
            .as_str()
            .ok_or((400, "invalid_request", "no hash"))?;
        if credential.wants != ["oauth2code"] {
            let mut state = self.state.lock();
            let sad = body["SAD"].as_str().unwrap_or_default();
            let Some((of, left, bound)) = state.sads.get_mut(sad) else {
                return Err((400, "invalid_request", "Invalid parameter SAD"));
            };
            if of != id || *left == 0 {
                return Err((400, "invalid_request", "SAD expired"));
            }
            if bound.as_ref().is_some_and(|bound| bound != hash) {
                return Err((400, "invalid_request", "Hash is not authorized by the SAD"));
            }
            *left -= 1;
        }
        let algorithm = body["signAlgo"].as_str().unwrap();
        if !credential.algorithms.contains(&algorithm) {
            return Err((400, "invalid_request", "Invalid parameter signAlgo"));
        }
        let input = base64::decode(hash).unwrap();
        let name = if self.version < 2 {
            "hashAlgo"
        } else {
            "hashAlgorithmOID"
        };
        let digest = body[name]
            .as_str()
            .map(|oid| Digest::from_oid(oid.parse().unwrap()).unwrap());
        let asked = match algorithm {
            "1.2.840.113549.1.1.1" => KeyAlgorithm::RsaPkcs1Digest(digest.unwrap()),
            "1.2.840.113549.1.1.11" => KeyAlgorithm::RsaPkcs1Digest(Digest::Sha256),
            "1.2.840.113549.1.1.10" => {
                let digest = digest.unwrap();
                assert!(
                    body["signAlgoParams"]
                        .as_str()
                        .unwrap()
                        .starts_with("MDSgDzAN")
                );
                let salt_len = digest.len() as u32;
                KeyAlgorithm::RsaPssDigest(Pss {
                    digest,
                    mgf: digest,
                    salt_len,
                })
            }
            "1.2.840.10045.4.3.2" | "1.2.840.10045.4.3.3" => {
                let len = if algorithm.ends_with('2') { 32 } else { 48 };
                assert_eq!(input.len(), len);
                KeyAlgorithm::EcdsaDigest
            }
            other => panic!("{other}"),
        };
        let mut signature = sign(&credential.private, asked, &input);
        if self.is_fixed
            && let KeyType::Ec(curve) = credential.private.public_key().key_type()
        {
            let mut fixed = vec![0; 2 * curve.bytes()];
            ctk_crypto::ecdsa::der_to_fixed(curve, &signature, &mut fixed).unwrap();
            signature = fixed;
        }
        Ok(json!({"signatures": [base64::encode(&signature)]}))
    }
}

/// A signature in software.
fn sign(key: &PrivateKey, asked: KeyAlgorithm, input: &[u8]) -> Vec<u8> {
    let supported = |form| key.supports(ctk_token::Operation::Sign, form);
    let reduction = Reduction::new(asked, key.public_key(), supported)
        .unwrap()
        .unwrap();
    let mut place = None;
    let request = reduction.apply(input, &mut place).unwrap();
    let mut signature = vec![0; key.public_key().max_signature_len()];
    let len = key
        .sign(request.algorithm, request.input, &mut signature)
        .unwrap();
    signature.truncate(len);
    signature
}

impl Wire for Fake {
    fn send(&self, exchange: &Exchange<'_>) -> Result<Response> {
        let endpoint = Endpoint::parse("https://signing.example/csc/v1").unwrap();
        let request = (exchange.prepare)(&endpoint)?;
        let response = self.respond(&request, exchange.deadline.instant());
        assert!(matches!(
            (exchange.judge)(&response),
            Verdict::Final | Verdict::Later
        ));
        Ok(response)
    }

    fn check(&self, findings: &mut dyn FnMut(Finding)) -> bool {
        findings(Finding {
            step: crate::Step::Tls,
            result: Ok("TLS".to_owned()),
        });
        true
    }
}
