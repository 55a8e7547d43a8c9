//! The other versions of the API, translated: requests into those of version 1, answers back.

use std::io;

use serde_json::{Map, Value, json};

use super::{invalid, refusal};
use crate::{
    forward::Backend,
    http::{Request, Response},
};

/// Version 2.0.0.2 at `/csc/v2/` before a service of version 1: other names of hashes and secrets, `auth` objects instead of an
/// `authMode`, credentials listed with what `credentials/info` says.
pub struct Version2 {
    inner: Box<dyn Backend>,
}

impl Version2 {
    /// Before this service.
    pub fn new(inner: impl Backend + 'static) -> Self {
        Self {
            inner: Box::new(inner),
        }
    }

    fn info(&self, request: &Request) -> io::Result<Response> {
        let response = self.ask(request, "info", &request.json())?;
        let mut info = response.value();
        info["specs"] = json!("2.0.0.0");
        info["signAlgorithms"] = json!({"algos": ["1.2.840.113549.1.1.1", "1.2.840.113549.1.1.10",
            "1.2.840.10045.4.3.2", "1.2.840.10045.4.3.3", "1.2.840.10045.4.3.4"]});
        info["asynchronousOperationMode"] = json!(false);
        Ok(Response::json(200, &info))
    }

    fn list(&self, request: &Request) -> io::Result<Response> {
        let question = request.json();
        let response = self.ask(request, "credentials/list", &json!({}))?;
        let mut answer = response.value();
        if response.status != 200 || question["credentialInfo"] != json!(true) {
            return Ok(response);
        }
        let mut infos = Vec::new();
        for name in answer["credentialIDs"].as_array().expect("credentialIDs") {
            let mut question = question.clone();
            question["credentialID"] = name.clone();
            let response = self.describe(request, &question)?;
            if response.status != 200 {
                return Ok(response);
            }
            let mut info = response.value();
            info["credentialID"] = name.clone();
            infos.push(info);
        }
        answer["credentialInfos"] = json!(infos);
        Ok(Response::json(200, &answer))
    }

    fn describe(&self, request: &Request, question: &Value) -> io::Result<Response> {
        let wants_auth = question["authInfo"] == json!(true);
        let mut inner = json!({"credentialID": question["credentialID"], "authInfo": true});
        if let Some(certificates) = question.get("certificates") {
            inner["certificates"] = certificates.clone();
        }
        let response = self.ask(request, "credentials/info", &inner)?;
        if response.status != 200 {
            return Ok(response);
        }
        let mut answer = response.value();
        let object = answer.as_object_mut().expect("an object");
        let auth = auth(object);
        if wants_auth {
            object.insert("auth".to_owned(), auth);
        }
        Ok(Response::json(200, &answer))
    }

    fn authorize(&self, request: &Request) -> io::Result<Response> {
        let mut question = request.json();
        let object = question.as_object_mut().expect("an object");
        for old in ["hash", "PIN", "OTP"] {
            if object.contains_key(old) {
                return Ok(invalid(&format!("Unknown parameter {old}")));
            }
        }
        if let Some(hashes) = object.remove("hashes") {
            if object.remove("hashAlgorithmOID").is_none() {
                return Ok(invalid("Missing parameter hashAlgorithmOID"));
            }
            object.insert("hash".to_owned(), hashes);
        }
        if let Some(data) = object.remove("authData") {
            for datum in data.as_array().into_iter().flatten() {
                let id = datum["id"].as_str().unwrap_or_default();
                object.insert(id.to_owned(), datum["value"].clone());
            }
        }
        self.ask(request, "credentials/authorize", &question)
    }

    fn sign(&self, request: &Request) -> io::Result<Response> {
        let mut question = request.json();
        let object = question.as_object_mut().expect("an object");
        if object.contains_key("hash") || object.contains_key("hashAlgo") {
            return Ok(invalid("Unknown parameter hash"));
        }
        if object
            .remove("operationMode")
            .is_some_and(|mode| mode != json!("S"))
        {
            return Ok(invalid("Invalid parameter operationMode"));
        }
        for (new, old) in [("hashes", "hash"), ("hashAlgorithmOID", "hashAlgo")] {
            if let Some(value) = object.remove(new) {
                object.insert(old.to_owned(), value);
            }
        }
        self.ask(request, "signatures/signHash", &question)
    }

    /// Asks the service behind, and says its refusals in this version's words.
    fn ask(&self, request: &Request, method: &str, question: &Value) -> io::Result<Response> {
        let inner = Request {
            target: format!("/csc/v1/{method}"),
            body: question.to_string().into_bytes(),
            ..request.clone()
        };
        let response = self.inner.answer(&inner)?;
        let answer = response.value();
        Ok(match answer["error"].as_str() {
            Some("invalid_pin" | "invalid_otp") => refusal(
                400,
                "invalid_authentication_data",
                "The authentication data is invalid",
            ),
            Some(_) if answer["error_description"] == json!("PIN locked") => {
                invalid("Credential locked")
            }
            _ => response,
        })
    }
}

impl Backend for Version2 {
    fn answer(&self, request: &Request) -> io::Result<Response> {
        let Some(method) = request.operation().strip_prefix("/csc/v2/") else {
            return self.inner.answer(request);
        };
        match method {
            "info" => self.info(request),
            "credentials/list" => self.list(request),
            "credentials/info" => self.describe(request, &request.json()),
            "credentials/authorize" => self.authorize(request),
            "signatures/signHash" => self.sign(request),
            "auth/login" => self.ask(request, method, &request.json()),
            _ => Ok(refusal(501, "invalid_request", "Not implemented")),
        }
    }
}

impl std::fmt::Debug for Version2 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Version2").finish_non_exhaustive()
    }
}

/// The `auth` of version 2 from what version 1 says, which is taken out. There is no `implicit` any more.
fn auth(credential: &mut Map<String, Value>) -> Value {
    let mode = credential.remove("authMode").unwrap_or_default();
    let mut objects = Vec::new();
    for (id, generator) in [("PIN", None), ("OTP", Some("totp"))] {
        let Some(old) = credential.remove(id) else {
            continue;
        };
        if old["presence"] == json!("true") {
            let mut object =
                json!({"type": "Password", "id": id, "format": old["format"], "label": id});
            if let Some(generator) = generator {
                object["generator"] = json!(generator);
            }
            objects.push(object);
        }
    }
    if mode == json!("oauth2code") {
        return json!({"mode": mode});
    }
    let names: Vec<_> = objects
        .iter()
        .filter_map(|object| object["id"].as_str())
        .collect();
    json!({"mode": "explicit", "expression": names.join(" AND "), "objects": objects})
}

/// Version 0.1.7.9 at `/csc/v0/` before a service of version 1, as SSL.com's eSigner speaks it: the names are the same.
pub struct Version0 {
    inner: Box<dyn Backend>,
}

impl Version0 {
    /// Before this service.
    pub fn new(inner: impl Backend + 'static) -> Self {
        Self {
            inner: Box::new(inner),
        }
    }
}

impl Backend for Version0 {
    fn answer(&self, request: &Request) -> io::Result<Response> {
        let Some(method) = request.operation().strip_prefix("/csc/v0/") else {
            return self.inner.answer(request);
        };
        let inner = Request {
            target: format!("/csc/v1/{method}"),
            ..request.clone()
        };
        let response = self.inner.answer(&inner)?;
        if method != "info" {
            return Ok(response);
        }
        let mut info = response.value();
        info["specs"] = json!("0.1.7.9");
        Ok(Response::json(200, &info))
    }
}

impl std::fmt::Debug for Version0 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Version0").finish_non_exhaustive()
    }
}
