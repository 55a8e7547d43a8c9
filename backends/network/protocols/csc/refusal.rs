//! What a service's refusal means.
//!
//! The API answers nearly every error with 400 `invalid_request`; only `error_description` tells which it is, in words
//! that its document fixes and services vary. So the words are looked for, and the code counts where it says more.

use crate::http::Response;

/// What kind of refusal it is, as far as something can be done about it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Refusal {
    /// The access token has expired, or was never good.
    Token,
    /// 401, and no word of whether that is for the access token or for what the owner gave.
    Unauthorized,
    /// The activation data (SAD) has expired, is used up or was never good.
    Sad,
    /// A wrong PIN or other secret of the owner, or one that may be.
    Secret,
    /// A wrong one-time password, which says nothing of the PIN beside it.
    Otp,
    /// Too many of those.
    Locked,
    /// The credential cannot be used now, whatever secret is given: it is switched off, its certificate has expired.
    Disabled,
    /// No such credential, or no such method.
    NotFound,
    /// The service cannot now.
    Unavailable,
    /// The service does not know the method.
    NotOffered,
    /// Something without words: 400 or 500 and no JSON.
    Silent,
    /// Anything else: a quota, a permission.
    Other,
}

/// Where the owner's secrets are asked about.
const OF_OWNER: &[&str] = &[
    "credentials/authorize",
    "credentials/authorizeCheck",
    "credentials/getChallenge",
    "credentials/sendOTP",
    "signatures/signHash",
];
/// What of an owner can be locked.
const LOCKABLE: &[&str] = &[
    "pin",
    "otp",
    "password",
    "authentication",
    "credential",
    "credentials",
    "user",
    "account",
];

impl Refusal {
    /// What an answer to `operation` that is not 2xx means. `code` is in lower case. Nothing that begins with 5 is a statement
    /// about a secret: a service that fails has not checked it.
    pub(super) fn read(
        operation: &str,
        response: &Response,
        code: &str,
        words: &str,
        is_json: bool,
    ) -> Self {
        let words = &words.to_lowercase();
        let says = |parts: &[&str]| parts.iter().any(|part| words.contains(part));
        let has_word = |of: &[&str]| {
            let mut words = words.split(|char: char| !char.is_alphanumeric());
            words.any(|word| of.contains(&word))
        };
        match response.status {
            429 => return Self::Other,
            501 => return Self::NotOffered,
            500 if !is_json => return Self::Silent,
            500.. => return Self::Unavailable,
            300..400 => return Self::Other,
            _ => {}
        }
        // A number of tries, of PINs or signatures, is no lock; nor is a request that a firewall has blocked.
        if is_json
            && OF_OWNER.contains(&operation)
            && has_word(&["locked", "blocked"])
            && has_word(LOCKABLE)
        {
            return Self::Locked;
        }
        match code {
            "invalid_pin" | "invalid_authentication_data" => return Self::Secret,
            "invalid_otp" => return Self::Otp,
            "invalid_sad" => return Self::Sad,
            "expired_token" | "invalid_token" => return Self::Token,
            _ => {}
        }
        if says(&[
            "pin is invalid",
            "invalid pin",
            "wrong pin",
            "parameter pin",
            "authentication data is invalid",
        ]) {
            return Self::Secret;
        }
        if says(&[
            "otp is invalid",
            "invalid otp",
            "wrong otp",
            "parameter otp",
        ]) {
            // It may be either of the two.
            return match has_word(&["pin"]) {
                true => Self::Secret,
                false => Self::Otp,
            };
        }
        if says(&[
            "parameter sad",
            "sad expired",
            "sad has expired",
            "invalid sad",
            "by the sad",
            "sad is ",
        ]) {
            return Self::Sad;
        }
        if says(&["access token", "bearer token"])
            && says(&["expired", "not valid", "invalid", "revoked"])
        {
            return Self::Token;
        }
        if says(&[
            "parameter credentialid",
            "unknown credential",
            "credential not found",
        ]) || (says(&["credential"]) && says(&["not exist", "not found"]))
        {
            return Self::NotFound;
        }
        let is_of_key = has_word(&["credential", "key", "certificate"])
            && !has_word(&["pin", "otp", "password", "authentication"]);
        if is_of_key && has_word(&["disabled", "suspended", "revoked", "expired"]) {
            return Self::Disabled;
        }
        match response.status {
            401 if names_token(response) => Self::Token,
            401 => Self::Unauthorized,
            404 | 405 | 410 => Self::NotFound,
            400 if !is_json => Self::Silent,
            _ => Self::Other,
        }
    }
}

/// Whether the header says that it is the access token (RFC 6750 §3.1).
fn names_token(response: &Response) -> bool {
    let header = response.header("www-authenticate").unwrap_or_default();
    header.contains("invalid_token")
}
