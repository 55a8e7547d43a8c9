//! What real CSC services do and certomancer-csc does not: who may ask, PINs, one-time passwords, authorisations that are
//! used up, and the versions 0 and 2 of the API. All of it stands before a server of version 1.

mod authorization;
mod dialects;
mod logins;
mod rules;
mod totp;

pub use dialects::{Version0, Version2};
pub use logins::Authentication;
pub use rules::{Credential, Rules};
pub use totp::{base32, totp};

use serde_json::json;

use crate::http::Response;

/// A refusal as the API writes it.
fn refusal(status: u16, error: &str, description: &str) -> Response {
    let body = json!({"error": error, "error_description": description});
    Response::json(status, &body)
}

/// What is wrong with a request itself.
fn invalid(description: &str) -> Response {
    refusal(400, "invalid_request", description)
}
