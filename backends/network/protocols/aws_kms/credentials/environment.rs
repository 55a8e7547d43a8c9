//! Credentials in environment variables.

use ctk_token::Result;

use crate::Surroundings;

use super::{super::time, Credentials, unusable, variable};

/// Those in `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`.
///
/// # Errors
/// [`TokenError::Unreachable`](ctk_token::TokenError::Unreachable) if half of them is missing.
pub(super) fn credentials(surroundings: &Surroundings) -> Result<Option<Credentials>> {
    let id = variable(surroundings, "AWS_ACCESS_KEY_ID");
    let secret = variable(surroundings, "AWS_SECRET_ACCESS_KEY");
    let (id, secret) = match (id, secret) {
        (None, None) => return Ok(None),
        (Some(id), Some(secret)) => (id, secret),
        _ => {
            return Err(unusable(
                "of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY only one is set: set both or none",
            ));
        }
    };
    // The second name is an old one that some programs still set.
    let token = variable(surroundings, "AWS_SESSION_TOKEN")
        .or_else(|| variable(surroundings, "AWS_SECURITY_TOKEN"));
    let token = token.as_ref().map(|token| token.as_str());
    // Nobody changes the environment of a process that runs: the time would only tell that they have ended.
    let expires = variable(surroundings, "AWS_CREDENTIAL_EXPIRATION");
    let expires = expires.and_then(|text| time::parse(&text));
    Credentials::new(&id, &secret, token, expires, "the environment").map(Some)
}

/// Ends the search where the environment means an identity that is not supported here.
///
/// # Errors
/// [`TokenError::Unreachable`](ctk_token::TokenError::Unreachable) with what to do instead.
pub(super) fn refuse_web_identity(surroundings: &Surroundings) -> Result<()> {
    if variable(surroundings, "AWS_WEB_IDENTITY_TOKEN_FILE").is_none() {
        return Ok(());
    }
    Err(unusable(
        "AWS_WEB_IDENTITY_TOKEN_FILE is set, and web identities are not supported: let `aws configure export-credentials \
         --format process` get the credentials, as credential_process of a profile that the token's setting `profile` names",
    ))
}
