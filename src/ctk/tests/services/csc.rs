//! A service of the CSC API, version 1.0.4, with credentials that a test adds, changes and takes away.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use super::{Answer, Request, Server, base64_of_pem, from_base64, openssl, sign};
use crate::bed::Bed;

/// What a credential wants before it signs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Before {
    Nothing,
    Pin(&'static str),
    /// The same for each hash.
    PinEachTime(&'static str),
    PinAndOtp(&'static str, &'static str),
}

#[derive(Clone, Debug)]
pub(crate) struct Credential {
    pub(crate) id: String,
    pub(crate) before: Before,
    folder: PathBuf,
    /// Of NAME.key and NAME.crt.
    name: String,
}

/// What the service is now.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) credentials: Vec<Credential>,
    /// What an Authorization header must be.
    pub(crate) bearer: Option<String>,
    /// It does not answer for as long as this is true.
    pub(crate) stalls: bool,
}

pub(crate) struct Csc {
    pub(crate) server: Server,
    pub(crate) state: Arc<Mutex<State>>,
}

impl Csc {
    pub(crate) fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let own = Arc::clone(&state);
        let server = Server::start(move |request| {
            while own.lock().unwrap().stalls {
                thread::sleep(Duration::from_millis(5));
            }
            answer(&own.lock().unwrap(), request)
        });
        Self { server, state }
    }

    pub(crate) fn url(&self) -> String {
        format!("{}/csc/v1", self.server.url())
    }

    /// A credential with the key and certificate of this name, which the bed has.
    pub(crate) fn add(&self, bed: &Bed, id: &str, name: &str, before: Before) {
        self.state.lock().unwrap().credentials.push(Credential {
            id: id.to_owned(),
            before,
            folder: bed.path(""),
            name: name.to_owned(),
        });
    }
}

fn answer(state: &State, request: &Request) -> Answer {
    let said = request.header("Authorization");
    let wanted = state
        .bearer
        .as_ref()
        .map(|bearer| format!("Bearer {bearer}"));
    let method = request.path.strip_prefix("/csc/v1/").unwrap_or_default();
    if method != "info" && said != wanted.as_deref() {
        return refuse(401, "invalid_token", "The access token is not valid");
    }
    let id = request.body["credentialID"].as_str().unwrap_or_default();
    let credential = state
        .credentials
        .iter()
        .find(|credential| credential.id == id);
    match (method, credential) {
        ("info", _) => (
            200,
            json!({
                "specs": "1.0.4.0",
                "name": "Scripted",
                "logo": "https://signing.example/logo.png",
                "region": "DE",
                "lang": "en",
                "description": "Answers of a test",
                "authType": ["external"],
                "methods": ["credentials/list", "credentials/info", "credentials/authorize", "signatures/signHash"],
            }),
        ),
        ("credentials/list", _) => {
            let ids = state.credentials.iter().map(|credential| &credential.id);
            (200, json!({ "credentialIDs": ids.collect::<Vec<_>>() }))
        }
        ("credentials/info", Some(credential)) => (200, credential.info()),
        ("credentials/authorize", Some(credential)) => credential.authorize(&request.body),
        ("signatures/signHash", Some(credential)) => credential.sign(&request.body),
        (_, None) => refuse(400, "invalid_request", "Invalid parameter credentialID"),
        _ => refuse(404, "invalid_request", "No such method"),
    }
}

fn refuse(status: u16, error: &str, description: &str) -> Answer {
    (
        status,
        json!({ "error": error, "error_description": description }),
    )
}

impl Credential {
    fn is_rsa(&self) -> bool {
        let file = format!("{}.key", self.name);
        let text = openssl(&self.folder, &["pkey", "-in", &file, "-noout", "-text"]);
        !String::from_utf8_lossy(&text).contains("prime256v1")
    }

    fn info(&self) -> Value {
        let file = format!("{}.crt", self.name);
        // The issuer's certificate too, where the bed has one.
        let files = [file.as_str(), "ca.crt"];
        let files = files
            .into_iter()
            .filter(|file| self.folder.join(file).exists());
        let chain = files.map(|file| base64_of_pem(&openssl(&self.folder, &["x509", "-in", file])));
        let chain: Vec<_> = chain.collect();
        let key = match self.is_rsa() {
            true => json!({
                "status": "enabled",
                "algo": ["1.2.840.113549.1.1.1", "1.2.840.113549.1.1.11"],
                "len": 2048,
            }),
            false => json!({
                "status": "enabled",
                "algo": ["1.2.840.10045.4.3.2"],
                "len": 256,
                "curve": "1.2.840.10045.3.1.7",
            }),
        };
        let mut info = json!({
            "key": key,
            "cert": { "status": "valid", "certificates": chain },
            "authMode": if self.before == Before::Nothing { "implicit" } else { "explicit" },
            "SCAL": if matches!(self.before, Before::Pin(_)) { "1" } else { "2" },
            "multisign": 10,
        });
        if self.before != Before::Nothing {
            info["PIN"] = json!({ "presence": "true", "format": "N" });
        }
        if matches!(self.before, Before::PinAndOtp(..)) {
            info["OTP"] = json!({ "presence": "true", "type": "offline", "format": "N" });
        }
        info
    }

    fn authorize(&self, body: &Value) -> Answer {
        let (pin, otp) = match self.before {
            Before::Nothing => (None, None),
            Before::Pin(pin) | Before::PinEachTime(pin) => (Some(pin), None),
            Before::PinAndOtp(pin, otp) => (Some(pin), Some(otp)),
        };
        if body["PIN"].as_str() != pin {
            return refuse(400, "invalid_pin", "The PIN is invalid");
        }
        if body["OTP"].as_str() != otp {
            return refuse(400, "invalid_otp", "The OTP is invalid");
        }
        (
            200,
            json!({ "SAD": format!("sad of {}", self.id), "expiresIn": 300 }),
        )
    }

    fn sign(&self, body: &Value) -> Answer {
        if body["SAD"] != format!("sad of {}", self.id) {
            return refuse(400, "invalid_request", "Invalid parameter SAD");
        }
        let key = format!("{}.key", self.name);
        let signed = |hash: &Value| {
            let hash = from_base64(hash.as_str().unwrap());
            sign(&self.folder, &key, &hash, &["-pkeyopt", "digest:sha256"])
        };
        let signatures: Vec<_> = body["hash"]
            .as_array()
            .unwrap()
            .iter()
            .map(signed)
            .collect();
        (200, json!({ "signatures": signatures }))
    }
}
