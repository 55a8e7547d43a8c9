//! What is wrong, from what the service answers: by name, because its status codes say little.

use std::time::SystemTime;

use ctk_token::{Reason, TokenError};

use crate::{
    http::{Response, Verdict, judge_by_status},
    json::Object,
    text::plain,
};

use super::{credentials::Credentials, time};

/// The most of a service's words that a person is shown, in characters.
const MAX_SHOWN: usize = 200;

/// An answer that is no success.
#[derive(Debug)]
pub(super) struct Failure {
    status: u16,
    /// Like `AccessDeniedException`; empty if the answer has none.
    name: String,
    message: String,
    /// The service's time.
    pub(super) date: Option<SystemTime>,
    request_id: Option<String>,
}

/// What can be done about it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Remedy {
    /// Nothing here.
    Nothing,
    /// Other credentials.
    Credentials,
    /// The right time; if that is no remedy, other credentials.
    Clock,
}

/// What was asked for, for the sentence about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// The operation, like `Sign`.
    pub(super) operation: &'static str,
    /// The key, if it is about one.
    pub(super) key: Option<&'a str>,
}

/// Errors that pass. `KMSInternalException` and its kin are the service's own; throttling is its protection.
const PASSING: [&str; 17] = [
    "DependencyTimeoutException",
    "KMSInternalException",
    "KeyUnavailableException",
    "InternalFailure",
    "ServiceUnavailable",
    "ServiceUnavailableException",
    "ThrottlingException",
    "Throttling",
    "ThrottledException",
    "RequestThrottled",
    "RequestThrottledException",
    "TooManyRequestsException",
    "RequestLimitExceeded",
    "SlowDown",
    "PriorRequestNotComplete",
    "RequestTimeout",
    "RequestTimeoutException",
];

impl Failure {
    /// Reads an answer that is not a success: JSON as KMS has it, XML as what stands before it has.
    pub(super) fn read(response: &Response) -> Self {
        let header = |name: &str| {
            let mut headers = response.headers.iter();
            headers.find(|(known, _)| known.eq_ignore_ascii_case(name))
        };
        let header = |name| header(name).map(|(_, value)| value.clone());
        let (name, message) = json_error(&response.body)
            .or_else(|| xml_error(&response.body))
            .unwrap_or_default();
        let name = match name.is_empty() {
            true => header("x-amzn-errortype").unwrap_or_default(),
            false => name,
        };
        // It may stand behind a namespace and before an address.
        let name = name.split(':').next().unwrap_or_default();
        let name = name.rsplit('#').next().unwrap_or_default();
        Self {
            status: response.status,
            name: shown(name),
            message,
            date: response.date,
            request_id: header("x-amzn-requestid").map(|id| shown(&id)),
        }
    }

    /// The service's name for it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What can be done about it.
    pub(super) fn remedy(&self) -> Remedy {
        match self.name.as_str() {
            "RequestTimeTooSkewed"
            | "RequestExpired"
            | "RequestInTheFuture"
            | "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "AuthFailure" => Remedy::Clock,
            "ExpiredTokenException"
            | "ExpiredToken"
            | "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "InvalidAccessKeyId"
            | "IncompleteSignature"
            | "IncompleteSignatureException"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException" => Remedy::Credentials,
            _ => Remedy::Nothing,
        }
    }

    /// The service's time: from the answer's head, or from what it says of a signature's age,
    /// "Signature expired: T1 is now earlier than T2 (T3 - 5 min.)".
    pub(super) fn service_time(&self) -> Option<SystemTime> {
        self.date.or_else(|| {
            let (_, rest) = self.message.split_once('(')?;
            time::parse(rest.split_whitespace().next()?)
        })
    }

    /// The error for whoever asked, made with these credentials.
    pub(super) fn into_error(self, asked: Asked<'_>, credentials: &Credentials) -> TokenError {
        let Asked { operation, key } = asked;
        let about = match key {
            Some(key) => format!("AWS KMS, {operation} with {}", shown(key)),
            None => format!("AWS KMS, {operation}"),
        };
        let id = match &self.request_id {
            Some(id) => format!(" (request {id})"),
            None => String::new(),
        };
        // A service may repeat what it was sent.
        let message = match credentials.are_in(&self.message) {
            true => String::new(),
            false => shown(&self.message),
        };
        let said = match message.is_empty() {
            true => self.name.clone(),
            false => format!("{}: {message}", self.name),
        };
        let refused =
            |what: String| TokenError::Refused(Reason::new(format!("{about}: {what}{id}")));
        match self.name.as_str() {
            // What a mismatch is explained with has the session token in it, and is not shown.
            _ if self.remedy() == Remedy::Clock => refused(format!(
                "{}: the signature of the request is not accepted: check the clock, the secret access key and the region ({credentials})",
                self.name
            )),
            _ if self.remedy() == Remedy::Credentials => refused(format!(
                "{}: the credentials are not accepted: renew or replace them ({credentials})",
                self.name
            )),
            "AccessDeniedException"
            | "AccessDenied"
            | "UnauthorizedOperation"
            | "NotAuthorized" => refused(format!(
                "access denied: allow kms:{operation} in the key policy or the identity's policy ({credentials}): {message}"
            )),
            "OptInRequired" => refused(format!(
                "the account has no access to this service ({credentials})"
            )),
            "DisabledException" => refused("the key is disabled: enable it".to_owned()),
            "KMSInvalidStateException" => refused(format!("the key cannot be used now: {said}")),
            "InvalidKeyUsageException" | "UnsupportedOperationException" => refused(format!(
                "the key is not for that: list the token's keys anew (ctk refresh): {said}"
            )),
            "NotFoundException" | "InvalidArnException" if key.is_some() => {
                log::warn!("{about}: {said}{id}");
                TokenError::ObjectNotFound
            }
            "InvalidCiphertextException" | "IncorrectKeyException" => TokenError::BadCiphertext,
            "LimitExceededException" => refused(format!("a quota is used up: {said}")),
            name if name.contains("Thrott") || self.status == 429 => refused(format!(
                "too many requests at a time, and waiting did not help: {said}"
            )),
            name if PASSING.contains(&name) || self.status >= 500 => {
                let said = if name.is_empty() {
                    format!("status {}", self.status)
                } else {
                    said
                };
                let text = format!("{about}: the service fails, try again later: {said}{id}");
                TokenError::Unreachable(Reason::new(text))
            }
            "" if matches!(self.status, 401 | 403 | 407) => refused(format!(
                "refused with status {} by something that is not KMS",
                self.status
            )),
            "" => TokenError::Corrupted(Reason::new(format!(
                "{about}: status {} and nothing that KMS would say: check the endpoint{id}",
                self.status
            ))),
            _ => refused(said),
        }
    }
}

/// What to do with an answer: errors that pass have statuses of ones that do not.
pub(super) fn judge(response: &Response) -> Verdict {
    if response.status == 200 || judge_by_status(response) == Verdict::Later {
        return judge_by_status(response);
    }
    match PASSING.contains(&Failure::read(response).name()) {
        true => Verdict::Later,
        false => Verdict::Final,
    }
}

/// What a service said, for a person: not all of it, and nothing that moves a cursor.
pub(super) fn shown(text: &str) -> String {
    let mut shown: String = text.trim().chars().take(MAX_SHOWN).map(plain).collect();
    if text.trim().chars().nth(MAX_SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

/// Name and message (AWS JSON 1.1).
fn json_error(body: &[u8]) -> Option<(String, String)> {
    let error = Object::read(body)?;
    let name = error.text("__type").or_else(|| error.text("code"));
    let message = error.text("message").or_else(|| error.text("Message"));
    Some((name.unwrap_or_default(), message.unwrap_or_default()))
}

/// The same of the query protocol's XML, which gateways answer with.
fn xml_error(body: &[u8]) -> Option<(String, String)> {
    let text = std::str::from_utf8(body).ok()?;
    let element = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        let (content, _) = rest.split_once(&format!("</{name}>"))?;
        Some(content.to_owned())
    };
    Some((element("Code")?, element("Message").unwrap_or_default()))
}
