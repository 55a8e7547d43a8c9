//! What a service's refusal means.
//!
//! The API answers nearly every error with 400 `invalid_request`; only `error_description` tells which it is, in words
//! that its document fixes and services vary. So the words are looked for, and the code counts where it says more.

use ctk_token::{Reason, TokenError};

use crate::{http::Response, json::Object};

/// The most characters of what a service says that are shown.
const MAX_SHOWN: usize = 200;

/// What kind of refusal it is, as far as something can be done about it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Refusal {
    /// The access token has expired, or was never good.
    Token,
    /// The activation data (SAD) has expired, is used up or was never good.
    Sad,
    /// A wrong PIN, one-time password or other secret of the owner.
    Secret,
    /// Too many of those.
    Locked,
    /// No such credential, or no such method.
    NotFound,
    /// The service cannot now.
    Unavailable,
    /// The service does not know the method.
    NotOffered,
    /// Something without words: 400 or 500 and no JSON.
    Silent,
    /// Anything else: a key that is switched off, an expired certificate, a quota, a permission.
    Other,
}

/// A refusal with the service's own words.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Problem {
    pub(super) refusal: Refusal,
    pub(super) status: u16,
    /// `error`, in lower case.
    pub(super) code: String,
    /// For a person: who refused what, and why.
    pub(super) reason: String,
}

/// Why a call gave no answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Failure {
    /// The service says no.
    Refused(Problem),
    /// It could not be asked, or answered nonsense.
    Token(TokenError),
}

impl From<TokenError> for Failure {
    fn from(error: TokenError) -> Self {
        Self::Token(error)
    }
}

impl From<Failure> for TokenError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Token(error) => error,
            Failure::Refused(problem) => problem.error(),
        }
    }
}

impl Failure {
    /// What kind of refusal it is, if it is one.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Refused(problem) => Some(problem.refusal),
            Self::Token(_) => None,
        }
    }
}

impl Problem {
    /// Reads an answer that is not 2xx. `operation` and `host` are named in the reason.
    pub(super) fn read(operation: &str, host: &str, response: &Response) -> Self {
        let object = Object::read(&response.body);
        let text = |names: &[&str]| {
            let object = object.as_ref()?;
            names.iter().find_map(|name| object.text(name))
        };
        let code = text(&["error", "errorCode"])
            .unwrap_or_default()
            .to_lowercase();
        let description = text(&["error_description", "errorDescription", "message"]);
        let words = match (&description, object.is_some()) {
            (Some(words), _) => words.clone(),
            (None, true) => code.clone(),
            (None, false) if response.content_type.starts_with("text/plain") => {
                String::from_utf8_lossy(&response.body).into_owned()
            }
            (None, false) => String::new(),
        };
        let refusal = refusal(
            response.status,
            &code,
            &words.to_lowercase(),
            object.is_some(),
        );
        // Who refuses a secret may repeat it.
        let words = if refusal == Refusal::Secret {
            code.clone()
        } else {
            words
        };
        let reason = match shown(&words) {
            words if words.is_empty() => {
                format!(
                    "{host} refuses {operation} with HTTP status {}",
                    response.status
                )
            }
            words => format!("{host} refuses {operation} ({}): {words}", response.status),
        };
        Self {
            refusal,
            status: response.status,
            code,
            reason,
        }
    }

    /// As a program hears of it.
    pub(super) fn error(self) -> TokenError {
        let reason = |text: &str| Reason::new(format!("{}{text}", self.reason));
        match self.refusal {
            Refusal::Secret => {
                log::warn!("{}", self.reason);
                TokenError::AuthenticationFailed { tries: None }
            }
            Refusal::Locked => {
                log::warn!("{}", self.reason);
                TokenError::PinLocked
            }
            Refusal::Sad => {
                log::warn!("{}", self.reason);
                TokenError::StateLost
            }
            Refusal::NotFound => {
                log::warn!("{}", self.reason);
                TokenError::ObjectNotFound
            }
            Refusal::Unavailable => TokenError::Unreachable(reason("")),
            Refusal::Silent if self.status >= 500 => TokenError::Unreachable(reason("")),
            Refusal::Token => {
                TokenError::Refused(reason("; check `authentication` and what it needs"))
            }
            Refusal::NotOffered | Refusal::Silent | Refusal::Other => {
                TokenError::Refused(reason(""))
            }
        }
    }
}

/// Text of a service as a person can be shown it: at most 200 characters, without control characters.
pub(super) fn shown(text: &str) -> String {
    let text: String = text
        .trim()
        .chars()
        .map(|char| if char.is_control() { ' ' } else { char })
        .take(MAX_SHOWN)
        .collect();
    text.trim_end().to_owned()
}

/// `words` are in lower case. Nothing that ends with 5 is a statement about a secret: a service that fails has not checked it.
fn refusal(status: u16, code: &str, words: &str, is_json: bool) -> Refusal {
    let says = |parts: &[&str]| parts.iter().any(|part| words.contains(part));
    match status {
        429 => return Refusal::Other,
        501 => return Refusal::NotOffered,
        500 if !is_json => return Refusal::Silent,
        500.. => return Refusal::Unavailable,
        300..400 => return Refusal::Other,
        _ => {}
    }
    // A number of tries, of PINs or signatures, is no lock; "blocked" is.
    if says(&["locked", "blocked"]) {
        return Refusal::Locked;
    }
    match code {
        "invalid_pin" | "invalid_otp" | "invalid_authentication_data" => return Refusal::Secret,
        "invalid_sad" => return Refusal::Sad,
        "expired_token" | "invalid_token" => return Refusal::Token,
        _ => {}
    }
    if says(&[
        "pin is invalid",
        "otp is invalid",
        "invalid pin",
        "invalid otp",
        "wrong pin",
        "wrong otp",
    ]) || says(&[
        "parameter pin",
        "parameter otp",
        "authentication data is invalid",
    ]) {
        return Refusal::Secret;
    }
    if says(&[
        "parameter sad",
        "sad expired",
        "sad has expired",
        "invalid sad",
        "by the sad",
        "sad is ",
    ]) {
        return Refusal::Sad;
    }
    if says(&["access token", "bearer token"])
        && says(&["expired", "not valid", "invalid", "revoked"])
    {
        return Refusal::Token;
    }
    if says(&[
        "parameter credentialid",
        "unknown credential",
        "credential not found",
    ]) || (says(&["credential"]) && says(&["not exist", "not found"]))
    {
        return Refusal::NotFound;
    }
    match status {
        401 => Refusal::Token,
        404 | 405 | 410 => Refusal::NotFound,
        400 if !is_json => Refusal::Silent,
        _ => Refusal::Other,
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    fn problem(status: u16, content_type: &str, body: &str) -> Problem {
        let response = Response {
            status,
            content_type: content_type.to_owned(),
            date: None,
            retry_after: None,
            headers: Vec::new(),
            body: Zeroizing::new(body.as_bytes().to_vec()),
        };
        Problem::read("credentials/authorize", "signing.example", &response)
    }

    /// The errors of the API's document, and what services make of them.
    #[test]
    fn each_refusal_is_what_its_words_say() {
        for (status, code, words, expected) in [
            (400, "invalid_pin", "The PIN is invalid", Refusal::Secret),
            (400, "invalid_pin", "The OTP is invalid", Refusal::Secret),
            (
                400,
                "invalid_request",
                "The PIN is invalid",
                Refusal::Secret,
            ),
            (401, "invalid_pin", "", Refusal::Secret),
            (400, "invalid_otp", "The OTP is invalid", Refusal::Secret),
            (
                400,
                "invalid_authentication_data",
                "The authentication data is invalid",
                Refusal::Secret,
            ),
            (400, "invalid_request", "PIN locked", Refusal::Locked),
            (400, "invalid_request", "Credential locked", Refusal::Locked),
            (
                400,
                "invalid_request",
                "Invalid parameter SAD",
                Refusal::Sad,
            ),
            (400, "invalid_request", "SAD expired", Refusal::Sad),
            (
                400,
                "invalid_request",
                "Hash is not authorized by the SAD",
                Refusal::Sad,
            ),
            (401, "invalid_sad", "no", Refusal::Sad),
            (
                401,
                "invalid_request",
                "The access token is not valid",
                Refusal::Token,
            ),
            (
                400,
                "invalid_request",
                "The access token has expired",
                Refusal::Token,
            ),
            (401, "", "", Refusal::Token),
            (400, "expired_token", "", Refusal::Token),
            (
                400,
                "invalid_request",
                "Invalid parameter credentialID",
                Refusal::NotFound,
            ),
            (404, "", "", Refusal::NotFound),
            (
                400,
                "invalid_request",
                "The credential identified by credentialID is disabled",
                Refusal::Other,
            ),
            (
                400,
                "invalid_request",
                "Signing certificate ['CN=a'] is expired",
                Refusal::Other,
            ),
            (
                400,
                "invalid_request",
                "Numbers of signatures is too high",
                Refusal::Other,
            ),
            (403, "access_denied", "", Refusal::Other),
            (429, "", "", Refusal::Other),
            (500, "server_error", "invalid PIN", Refusal::Unavailable),
            (503, "temporarily_unavailable", "", Refusal::Unavailable),
            (501, "", "", Refusal::NotOffered),
        ] {
            let body = format!(r#"{{"error":"{code}","error_description":"{words}"}}"#);
            let found = problem(status, "application/json", &body);
            assert_eq!(found.refusal, expected, "{status} {code} {words}");
        }
        let other = problem(
            400,
            "application/json",
            r#"{"errorCode":"x","errorDescription":"PIN locked"}"#,
        );
        assert_eq!(other.refusal, Refusal::Locked);
        let plain = problem(400, "text/plain", "400: Bad Request");
        assert_eq!(plain.refusal, Refusal::Silent);
        assert_eq!(
            plain.reason,
            "signing.example refuses credentials/authorize (400): 400: Bad Request"
        );
        let page = problem(400, "text/html", "<html>long page</html>");
        assert_eq!(
            page.reason,
            "signing.example refuses credentials/authorize with HTTP status 400"
        );
    }

    #[test]
    fn a_reason_is_short_and_in_one_line() {
        let long = format!(
            r#"{{"error":"x","error_description":"a\nb\u0007{}"}}"#,
            "ä".repeat(5000)
        );
        let found = problem(400, "application/json", &long);
        assert!(found.reason.chars().count() < 300);
        assert!(found.reason.contains("a b ä") && !found.reason.contains('\n'));
    }

    #[test]
    fn a_secret_that_is_repeated_is_not_shown() {
        let body = r#"{"error":"invalid_pin","error_description":"The PIN 271828 is invalid"}"#;
        let found = problem(400, "application/json", body);
        assert_eq!(found.refusal, Refusal::Secret);
        assert!(found.reason.ends_with(": invalid_pin"), "{}", found.reason);
    }

    #[test]
    fn programs_hear_what_they_can_act_on() {
        let error = |status, words: &str| {
            let body = format!(r#"{{"error":"invalid_request","error_description":"{words}"}}"#);
            problem(status, "application/json", &body).error()
        };
        assert_eq!(
            error(400, "The PIN is invalid"),
            TokenError::AuthenticationFailed { tries: None }
        );
        assert_eq!(error(400, "PIN locked"), TokenError::PinLocked);
        assert_eq!(error(400, "SAD expired"), TokenError::StateLost);
        assert_eq!(
            error(400, "Invalid parameter credentialID"),
            TokenError::ObjectNotFound
        );
        assert!(matches!(
            error(400, "credential is disabled"),
            TokenError::Refused(_)
        ));
        assert!(matches!(error(503, ""), TokenError::Unreachable(_)));
        let silent = |status| problem(status, "text/plain", "trouble").error();
        assert!(matches!(silent(500), TokenError::Unreachable(_)));
        assert!(matches!(silent(400), TokenError::Refused(_)));
        let Some(TokenError::Refused(reason)) = Some(error(401, "no")) else {
            panic!("401 is a refusal")
        };
        assert!(reason.as_str().contains("authentication"));
    }
}
