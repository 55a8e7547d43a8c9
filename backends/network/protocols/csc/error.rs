//! Why a call gave no answer, and what a program and a person hear of it.

use ctk_token::{Reason, TokenError};
use zeroize::Zeroizing;

use crate::{http::Response, json::Object};

pub(super) use super::refusal::Refusal;

/// The most characters of what a service says that are shown.
const MAX_SHOWN: usize = 200;

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

    /// Whether the service may have counted a secret of the request as a wrong one.
    pub(super) fn may_count(&self) -> bool {
        match self {
            Self::Refused(problem) => match problem.refusal {
                Refusal::Secret | Refusal::Otp | Refusal::Locked => true,
                Refusal::Silent | Refusal::Other | Refusal::NotFound => {
                    problem.status < 500 && problem.status != 429
                }
                _ => false,
            },
            Self::Token(_) => false,
        }
    }

    /// Whether the service, or what stands before it, has had no time to look at the request at all.
    pub(super) fn is_for_later(&self) -> bool {
        matches!(self, Self::Refused(problem) if matches!(problem.status, 408 | 429))
    }

    /// What it is for who knows more than the answer says.
    pub(super) fn being(self, refusal: Refusal) -> Self {
        match self {
            Self::Refused(problem) => Self::Refused(Problem { refusal, ..problem }),
            other => other,
        }
    }
}

impl Problem {
    /// Reads an answer that is not 2xx. `operation` and `host` are named in the reason; the service's words are not if they
    /// repeat one of the `secrets` that it was sent.
    pub(super) fn read(
        operation: &str,
        host: &str,
        response: &Response,
        secrets: &[Zeroizing<String>],
    ) -> Self {
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
        let refusal = Refusal::read(operation, response, &code, &words, object.is_some());
        // Who refuses a secret may repeat it in another form than it was sent in.
        let is_of_secret = matches!(refusal, Refusal::Secret | Refusal::Otp);
        let words = match is_of_secret {
            true => "",
            false => &words,
        };
        let is_harmless = |text: &&str| !repeats(text, secrets) && (!is_of_secret || is_code(text));
        let words = [words, &code]
            .into_iter()
            .find(|text| !text.is_empty() && is_harmless(text))
            .unwrap_or_default();
        let reason = match shown(words) {
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
            Refusal::Token | Refusal::Unauthorized => {
                TokenError::Refused(reason("; check `authentication` and what it needs"))
            }
            Refusal::Otp => TokenError::Refused(reason(
                "; check `otp_seed` or `otp`, and this machine's clock",
            )),
            Refusal::Disabled | Refusal::NotOffered | Refusal::Silent | Refusal::Other => {
                TokenError::Refused(reason(""))
            }
        }
    }
}

/// Text of a service as a person can be shown it: one line of at most 200 characters.
pub(super) fn shown(text: &str) -> String {
    crate::text::shown(text, MAX_SHOWN)
}

/// Whether a text has one of these in it.
fn repeats(text: &str, secrets: &[Zeroizing<String>]) -> bool {
    let text = text.to_lowercase();
    secrets.iter().any(|secret| {
        let secret = Zeroizing::new(secret.to_lowercase());
        !secret.is_empty() && text.contains(secret.as_str())
    })
}

/// Whether it is a name of an error, and not a sentence about it.
fn is_code(text: &str) -> bool {
    let is_part = |char: char| char.is_ascii_lowercase() || char == '_';
    text.len() <= 40 && text.chars().all(is_part)
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    fn response(status: u16, content_type: &str, body: &str) -> Response {
        Response {
            status,
            content_type: content_type.to_owned(),
            date: None,
            retry_after: None,
            headers: Vec::new(),
            body: Zeroizing::new(body.as_bytes().to_vec()),
        }
    }

    fn problem(status: u16, content_type: &str, body: &str) -> Problem {
        let response = response(status, content_type, body);
        Problem::read("credentials/authorize", "signing.example", &response, &[])
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
            (400, "invalid_otp", "The OTP is invalid", Refusal::Otp),
            (400, "invalid_request", "Wrong OTP", Refusal::Otp),
            (
                400,
                "invalid_request",
                "PIN or OTP is invalid",
                Refusal::Secret,
            ),
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
            (401, "", "", Refusal::Unauthorized),
            (
                401,
                "invalid_request",
                "Authentication failed",
                Refusal::Unauthorized,
            ),
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
                Refusal::Disabled,
            ),
            (
                400,
                "invalid_request",
                "Signing certificate ['CN=a'] is expired",
                Refusal::Disabled,
            ),
            (
                400,
                "invalid_request",
                "The PIN of this key has expired",
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
        let secrets = ["271828", "eyJh.SECRET"].map(|text| Zeroizing::new(text.to_owned()));
        for (content_type, body, shown) in [
            (
                "application/json",
                r#"{"error":"wrong pin 271828"}"#,
                " with HTTP status 400",
            ),
            (
                "application/json",
                r#"{"error":"invalid_token","error_description":"Access token eyJh.SECRET is not valid"}"#,
                " (400): invalid_token",
            ),
            (
                "application/json",
                r#"{"error":"invalid_request","error_description":"'271828' must have 8 digits"}"#,
                " (400): invalid_request",
            ),
            (
                "text/plain",
                "PIN=271828 is not what I like",
                " with HTTP status 400",
            ),
            (
                "application/json",
                r#"{"error":"access_denied","error_description":"27 is not 18"}"#,
                " (400): 27 is not 18",
            ),
        ] {
            let response = response(400, content_type, body);
            let found = Problem::read("credentials/authorize", "h", &response, &secrets);
            let expected = format!("h refuses credentials/authorize{shown}");
            assert_eq!(found.reason, expected);
        }
    }

    #[test]
    fn only_what_is_the_owners_is_locked() {
        let lock = |operation, status, content_type, body: &str| {
            let response = response(status, content_type, body);
            Problem::read(operation, "h", &response, &[]).refusal == Refusal::Locked
        };
        let said =
            |words| format!(r#"{{"error":"invalid_request","error_description":"{words}"}}"#);
        for operation in ["credentials/authorize", "signatures/signHash"] {
            for words in [
                "PIN locked",
                "Your account is blocked.",
                "Credential locked",
            ] {
                assert!(lock(operation, 400, "application/json", &said(words)));
            }
            for (status, words) in [
                (403, "Request blocked"),
                (400, "The user has unlocked nothing"),
                (400, "certificate blocked"),
                (503, "PIN locked"),
            ] {
                assert!(!lock(operation, status, "application/json", &said(words)));
            }
            let wall = "Your account has made a request that is blocked";
            assert!(!lock(operation, 403, "text/plain", wall));
        }
        for operation in ["credentials/list", "auth/login", "oauth2/token"] {
            assert!(!lock(
                operation,
                400,
                "application/json",
                &said("PIN locked")
            ));
        }
    }

    #[test]
    fn a_header_says_that_it_is_the_access_token() {
        let mut response = response(401, "", "");
        let header = r#"Bearer realm="x", error="invalid_token""#;
        response.headers = vec![("www-authenticate".to_owned(), header.to_owned())];
        let found = Problem::read("credentials/authorize", "h", &response, &[]);
        assert_eq!(found.refusal, Refusal::Token);
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
