//! What a CSC service checks before it signs: bearer, PIN, one-time password, and what was authorised.

use std::{
    collections::HashMap,
    io,
    sync::{Mutex, MutexGuard},
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};

use super::{
    Authentication,
    authorization::{Authorization, Authorizations, end_after},
    invalid,
    logins::Logins,
    refusal, totp,
};
use crate::{
    forward::Backend,
    http::{Request, Response},
    proxy::lock,
};

/// What stands before the use of a credential.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Credential {
    /// The PIN, if there is one.
    pub pin: Option<String>,
    /// How many wrong ones lock it.
    pub pin_tries: u32,
    /// The seed of one-time passwords, if there are any. Each is good once, for 30 seconds before and after.
    pub otp_seed: Option<Vec<u8>>,
    /// `SCAL` "2": an authorisation names the hashes that it is for.
    pub hashes_are_bound: bool,
    /// How many signatures an authorisation may be for.
    pub multisign: u64,
    /// How long an authorisation is good for.
    pub lifetime: Option<Duration>,
    /// An authorisation is for one request, however many signatures are left.
    pub single_use: bool,
    /// The credential cannot be used.
    pub disabled: bool,
    /// `oauth2code`: not authorised here; this token is shown instead.
    pub external_token: Option<String>,
}

impl Default for Credential {
    /// Without PIN, for any hash, ten signatures for each authorisation.
    fn default() -> Self {
        Self {
            pin: None,
            pin_tries: 3,
            otp_seed: None,
            hashes_are_bound: false,
            multisign: 10,
            lifetime: None,
            single_use: false,
            disabled: false,
            external_token: None,
        }
    }
}

impl Credential {
    /// With this PIN.
    pub fn with_pin(pin: &str) -> Self {
        Self {
            pin: Some(pin.to_owned()),
            ..Self::default()
        }
    }
}

/// A CSC service of version 1, over a server that checks nothing.
pub struct Rules {
    inner: Box<dyn Backend>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    usual: Credential,
    special: HashMap<String, Credential>,
    /// Wrong PINs in a row.
    wrong_pins: HashMap<String, u32>,
    /// The last step of time whose one-time password was used.
    last_otp: HashMap<String, u64>,
    authorizations: Authorizations,
    logins: Logins,
    /// What `info` says of the place of the token endpoint.
    oauth2: Option<String>,
    /// Credentials that are listed, if not all are.
    listed: Option<Vec<String>>,
    page: Option<usize>,
}

impl Rules {
    /// Before this server. It must not bind authorisations to hashes by itself ([`Scal::One`](crate::Scal::One)).
    pub fn new(inner: impl Backend + 'static) -> Self {
        Self {
            inner: Box::new(inner),
            state: Mutex::default(),
        }
    }

    /// What stands before credentials that have nothing of their own.
    pub fn all(&self, credential: Credential) {
        self.lock().usual = credential;
    }

    /// What stands before this credential.
    pub fn set(&self, name: &str, credential: Credential) {
        self.lock().special.insert(name.to_owned(), credential);
    }

    /// How a client shows who it is.
    pub fn authentication(&self, authentication: Authentication) {
        self.lock().logins.authentication = authentication;
    }

    /// How long a bearer is good for that is issued from now on.
    pub fn bearer_lifetime(&self, lifetime: Duration) {
        self.lock().logins.lifetime = Some(lifetime);
    }

    /// Where `info` says that the token endpoint is, without `/oauth2/token`.
    pub fn oauth2(&self, url: &str) {
        self.lock().oauth2 = Some(url.to_owned());
    }

    /// Lists these credentials only, all of which the server behind has.
    pub fn list_only(&self, names: &[&str]) {
        self.lock().listed = Some(names.iter().map(|&name| name.to_owned()).collect());
    }

    /// Lists at most so many credentials at a time.
    pub fn page(&self, size: usize) {
        self.lock().page = Some(size);
    }

    /// The credential cannot be used from now on.
    pub fn disable(&self, name: &str) {
        let mut state = self.lock();
        let mut credential = state.credential(name).clone();
        credential.disabled = true;
        state.special.insert(name.to_owned(), credential);
    }

    /// Every authorisation expires now.
    pub fn expire_authorizations(&self) {
        self.lock().authorizations.expire();
    }

    /// Every authorisation has been used for all that it was good for.
    pub fn use_up_authorizations(&self) {
        self.lock().authorizations.use_up();
    }

    /// Every bearer that was issued expires now.
    pub fn expire_bearers(&self) {
        self.lock().logins.expire();
    }

    /// How many bearers have been issued.
    pub fn bearers_issued(&self) -> u64 {
        self.lock().logins.count
    }

    /// How many wrong PINs were tried in a row.
    pub fn wrong_pins(&self, name: &str) -> u32 {
        self.lock().wrong_pins.get(name).copied().unwrap_or(0)
    }

    /// Forgets wrong PINs: what a service does for a person who calls.
    pub fn unlock(&self, name: &str) {
        self.lock().wrong_pins.remove(name);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn info(&self, request: &Request) -> io::Result<Response> {
        let response = self.inner.answer(request)?;
        let mut info = response.value();
        let state = self.lock();
        info["authType"] = json!([state.logins.auth_type()]);
        let methods = info["methods"].as_array_mut();
        methods
            .expect("methods")
            .extend([json!("auth/login"), json!("oauth2/token")]);
        if let Some(oauth2) = &state.oauth2 {
            info["oauth2"] = json!(oauth2);
        }
        Ok(Response::json(200, &info))
    }

    fn list(&self, request: &Request) -> io::Result<Response> {
        let response = self.inner.answer(&without_client_data(request))?;
        let question = request.json();
        let state = self.lock();
        let mut names = response.value()["credentialIDs"].clone();
        let names = names.as_array_mut().expect("credentialIDs");
        if let Some(listed) = &state.listed {
            names.retain(|name| listed.iter().any(|known| name == known));
        }
        let mut answer = json!({});
        if let Some(size) = state.page {
            let token = question["pageToken"].as_str().unwrap_or("0");
            let Ok(start) = token.parse::<usize>() else {
                return Ok(invalid("Invalid parameter pageToken"));
            };
            let end = names.len().min(start + size);
            if end < names.len() {
                answer["nextPageToken"] = json!(end.to_string());
            }
            *names = names.drain(start.min(end)..end).collect();
        }
        answer["credentialIDs"] = json!(names);
        Ok(Response::json(200, &answer))
    }

    fn describe(&self, request: &Request) -> io::Result<Response> {
        let question = request.json();
        let response = self.inner.answer(request)?;
        if response.status == 404 {
            return Ok(invalid("Invalid parameter credentialID"));
        }
        if response.status != 200 {
            return Ok(response);
        }
        let mut answer = response.value();
        let name = question["credentialID"].as_str().unwrap_or_default();
        let state = self.lock();
        let credential = state.credential(name);
        if credential.disabled {
            answer["key"]["status"] = json!("disabled");
        }
        answer["authMode"] = json!(credential.mode());
        answer["SCAL"] = json!(if credential.hashes_are_bound {
            "2"
        } else {
            "1"
        });
        answer["multisign"] = json!(credential.multisign);
        if question["authInfo"] == json!(true) && credential.mode() == "explicit" {
            let presence = |is_there: bool| if is_there { "true" } else { "false" };
            answer["PIN"] = json!({"presence": presence(credential.pin.is_some()), "format": "A",
                "label": "PIN", "description": "The PIN of the key"});
            answer["OTP"] = json!({"presence": presence(credential.otp_seed.is_some()),
                "type": "offline", "format": "N", "label": "OTP", "ID": "token"});
        }
        Ok(Response::json(200, &answer))
    }

    fn authorize(&self, request: &Request) -> io::Result<Response> {
        let mut question = request.json();
        let name = question["credentialID"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let hashes = texts(&question["hash"]);
        let Some(count) = question["numSignatures"]
            .as_u64()
            .filter(|&count| count > 0)
        else {
            return Ok(invalid("Invalid value for parameter numSignatures"));
        };
        // One at a time, so that two wrong PINs are counted as two.
        let mut state = self.lock();
        let credential = state.credential(&name).clone();
        if let Err(refusal) =
            state.may_authorize(&name, &credential, count, hashes.as_deref(), &question)
        {
            return Ok(refusal);
        }
        for ours in ["PIN", "OTP"] {
            question.as_object_mut().expect("an object").remove(ours);
        }
        let inner = self.inner.answer(&with_body(request, &question))?;
        match inner.status {
            200 => {}
            404 => return Ok(invalid("Invalid parameter credentialID")),
            _ => return Ok(disabled()),
        }
        let authorization = Authorization {
            credential: name,
            inner: inner.value()["SAD"].as_str().unwrap_or_default().to_owned(),
            hashes,
            left: count,
            end: end_after(credential.lifetime),
            single_use: credential.single_use,
        };
        let sad = state.authorizations.issue(authorization);
        let mut answer = json!({"SAD": sad});
        if let Some(lifetime) = credential.lifetime {
            answer["expiresIn"] = json!(lifetime.as_secs());
        }
        Ok(Response::json(200, &answer))
    }

    fn sign(&self, request: &Request) -> io::Result<Response> {
        let mut question = request.json();
        let name = question["credentialID"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let sad = question["SAD"].as_str().unwrap_or_default().to_owned();
        let Some(hashes) = texts(&question["hash"]) else {
            return Ok(invalid(
                "Missing (or invalid type) string array parameter hash",
            ));
        };
        let credential = self.lock().credential(&name).clone();
        if credential.disabled {
            return Ok(disabled());
        }
        let inner = match &credential.external_token {
            Some(token) if *token == sad => self.inner_authorization(&name, &hashes)?,
            Some(_) => return Ok(invalid("Invalid parameter SAD")),
            None => match self.lock().authorizations.take(&sad, &name, &hashes) {
                Ok(inner) => inner,
                Err(refusal) => return Ok(refusal),
            },
        };
        question["SAD"] = json!(inner);
        let response = self.inner.answer(&with_body(request, &question))?;
        Ok(match response.status {
            200 => response,
            // It looks at the length of a hash where it is too late.
            500 => invalid("Invalid digest value length"),
            _ => invalid("Invalid parameter signAlgo"),
        })
    }

    fn inner_authorization(&self, name: &str, hashes: &[String]) -> io::Result<String> {
        let question = json!({"credentialID": name, "numSignatures": hashes.len(), "hash": hashes});
        let request = Request::post_json("/csc/v1/credentials/authorize", &question);
        let response = self.inner.answer(&request)?;
        Ok(response.value()["SAD"]
            .as_str()
            .unwrap_or_default()
            .to_owned())
    }
}

impl Backend for Rules {
    fn answer(&self, request: &Request) -> io::Result<Response> {
        let path = request.operation();
        if path.ends_with("/oauth2/token") {
            return Ok(self.lock().logins.token(request));
        }
        let Some(method) = path.strip_prefix("/csc/v1/") else {
            return Ok(refusal(404, "invalid_request", "Not found"));
        };
        match method {
            "info" => return self.info(request),
            "auth/login" => return Ok(self.lock().logins.login(request)),
            _ => {}
        }
        if let Err(refusal) = self.lock().logins.check(request) {
            return Ok(refusal);
        }
        match method {
            "credentials/list" => self.list(request),
            "credentials/info" => self.describe(request),
            "credentials/authorize" => self.authorize(request),
            "signatures/signHash" => self.sign(request),
            _ => Ok(refusal(501, "invalid_request", "Not implemented")),
        }
    }
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rules").finish_non_exhaustive()
    }
}

impl Credential {
    fn mode(&self) -> &'static str {
        match (&self.external_token, &self.pin, &self.otp_seed) {
            (Some(_), _, _) => "oauth2code",
            (None, None, None) => "implicit",
            (None, _, _) => "explicit",
        }
    }
}

impl State {
    fn credential(&self, name: &str) -> &Credential {
        self.special.get(name).unwrap_or(&self.usual)
    }

    /// Whether so many signatures may be authorised; a wrong PIN is counted.
    fn may_authorize(
        &mut self,
        name: &str,
        credential: &Credential,
        count: u64,
        hashes: Option<&[String]>,
        question: &Value,
    ) -> Result<(), Response> {
        if credential.disabled {
            return Err(disabled());
        }
        if credential.external_token.is_some() {
            return Err(invalid("Invalid parameter credentialID"));
        }
        if count > credential.multisign {
            return Err(invalid("Numbers of signatures is too high"));
        }
        let is_bound = hashes.is_some_and(|hashes| hashes.len() as u64 == count);
        if credential.hashes_are_bound && !is_bound {
            return Err(invalid(
                "Missing (or invalid type) string array parameter hash",
            ));
        }
        if let Some(pin) = &credential.pin {
            let wrong = self.wrong_pins.entry(name.to_owned()).or_default();
            if *wrong >= credential.pin_tries {
                return Err(invalid("PIN locked"));
            }
            if question["PIN"] != json!(pin) {
                *wrong += 1;
                return Err(refusal(400, "invalid_pin", "The PIN is invalid"));
            }
            *wrong = 0;
        }
        if let Some(seed) = &credential.otp_seed {
            let given = question["OTP"].as_str().unwrap_or_default();
            let now = totp::step(SystemTime::now());
            let last = self.last_otp.get(name).copied().unwrap_or(0);
            let step = (now - 1..=now + 1)
                .find(|&step| step > last && totp::password(seed, step) == given);
            let Some(step) = step else {
                return Err(refusal(400, "invalid_otp", "The OTP is invalid"));
            };
            self.last_otp.insert(name.to_owned(), step);
        }
        Ok(())
    }
}

fn disabled() -> Response {
    invalid("The credential identified by credentialID is disabled")
}

fn texts(value: &Value) -> Option<Vec<String>> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    value.as_array()?.iter().map(text).collect()
}

fn with_body(request: &Request, body: &Value) -> Request {
    Request {
        body: body.to_string().into_bytes(),
        ..request.clone()
    }
}

/// certomancer-csc takes `clientData` for one of its own names.
fn without_client_data(request: &Request) -> Request {
    let mut question = request.json();
    if let Some(object) = question.as_object_mut() {
        object.remove("clientData");
    }
    with_body(request, &question)
}
