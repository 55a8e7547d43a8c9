//! Who may ask a CSC service: bearers that are configured, or got by a name and a password (CSC API 1.0.4 §11.2) or from an
//! OAuth 2 token endpoint (RFC 6749).

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{invalid, refusal};
use crate::http::{Request, Response};

/// How a client shows who it is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Authentication {
    /// Not at all.
    #[default]
    None,
    /// By this bearer.
    Bearer(String),
    /// By a name and a password at `auth/login`.
    Basic {
        /// The name.
        user: String,
        /// The password.
        password: String,
    },
    /// As an OAuth 2 client by its secret at `oauth2/token`.
    Client {
        /// `client_id`
        id: String,
        /// `client_secret`
        secret: String,
    },
    /// By a name and a password at `oauth2/token`, for a client without a secret: a dialect.
    Password {
        /// `client_id`
        client: String,
        /// `username`
        user: String,
        /// `password`
        password: String,
    },
}

/// What has been issued.
#[derive(Debug, Default)]
pub(super) struct Logins {
    pub(super) authentication: Authentication,
    /// How long a bearer is good for.
    pub(super) lifetime: Option<Duration>,
    issued: HashMap<String, Instant>,
    /// How many bearers were issued ever.
    pub(super) count: u64,
}

impl Logins {
    /// What `info` says of it.
    pub(super) fn auth_type(&self) -> &'static str {
        match self.authentication {
            Authentication::None | Authentication::Bearer(_) => "external",
            Authentication::Basic { .. } => "basic",
            Authentication::Client { .. } | Authentication::Password { .. } => "oauth2client",
        }
    }

    /// Every bearer that was issued is worth nothing from now on.
    pub(super) fn expire(&mut self) {
        self.issued.clear();
    }

    /// Whether a request may be answered; or the refusal.
    pub(super) fn check(&self, request: &Request) -> Result<(), Response> {
        let shown = request.header("Authorization");
        let bearer = shown.and_then(|value| value.strip_prefix("Bearer "));
        let is_good = match (&self.authentication, bearer) {
            (Authentication::None, _) => true,
            (Authentication::Bearer(known), Some(bearer)) => known == bearer,
            (_, Some(bearer)) => self
                .issued
                .get(bearer)
                .is_some_and(|&end| Instant::now() < end),
            (_, None) => false,
        };
        match (is_good, bearer) {
            (true, _) => Ok(()),
            (false, Some(_)) => Err(refusal(
                401,
                "invalid_token",
                "The access token is expired, revoked or malformed",
            )),
            (false, None) => Err(refusal(
                400,
                "invalid_request",
                "Malformed authorization header",
            )),
        }
    }

    /// `auth/login`.
    pub(super) fn login(&mut self, request: &Request) -> Response {
        let Authentication::Basic { user, password } = &self.authentication else {
            return refusal(501, "invalid_request", "Not implemented");
        };
        let expected = openssl::base64::encode_block(format!("{user}:{password}").as_bytes());
        match request.header("Authorization") {
            Some(shown) if shown == format!("Basic {expected}") => self.issue(),
            Some(shown) if shown.starts_with("Basic ") => refusal(
                400,
                "authentication_error",
                "An error occurred during authentication process",
            ),
            _ => refusal(401, "invalid_request", "Malformed authorization header"),
        }
    }

    /// `oauth2/token`: a form, as RFC 6749 §4 has it, or JSON.
    pub(super) fn token(&mut self, request: &Request) -> Response {
        let fields = fields(request);
        let field = |name: &str| fields.get(name).map_or("", String::as_str);
        let shown = request.header("Authorization").unwrap_or_default();
        let is_known = match &self.authentication {
            Authentication::Client { id, secret } => {
                let basic = openssl::base64::encode_block(format!("{id}:{secret}").as_bytes());
                field("grant_type") == "client_credentials"
                    && ((field("client_id") == id && field("client_secret") == secret)
                        || shown == format!("Basic {basic}"))
            }
            Authentication::Password {
                client,
                user,
                password,
            } => {
                field("grant_type") == "password"
                    && field("client_id") == client
                    && field("username") == user
                    && field("password") == password
            }
            _ => return invalid("This service has no token endpoint"),
        };
        if !is_known {
            return refusal(400, "invalid_client", "Client authentication failed");
        }
        self.issue()
    }

    fn issue(&mut self) -> Response {
        self.count += 1;
        let bearer = super::authorization::random_name();
        let lifetime = self.lifetime.unwrap_or(Duration::from_secs(3600));
        let end = Instant::now() + lifetime;
        self.issued.insert(bearer.clone(), end);
        let body = json!({
            "access_token": bearer, "token_type": "Bearer", "expires_in": lifetime.as_secs(),
        });
        Response::json(200, &body)
    }
}

fn fields(request: &Request) -> HashMap<String, String> {
    if let Value::Object(object) = request.json() {
        let text = |value: Value| value.as_str().map(str::to_owned);
        return object
            .into_iter()
            .filter_map(|(name, value)| Some((name, text(value)?)))
            .collect();
    }
    let body = String::from_utf8_lossy(&request.body);
    body.split('&')
        .filter_map(|field| field.split_once('='))
        .map(|(name, value)| (form_decoded(name), form_decoded(value)))
        .collect()
}

fn form_decoded(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [bytes.next().unwrap_or(b'0'), bytes.next().unwrap_or(b'0')];
                let digits = String::from_utf8_lossy(&digits).into_owned();
                u8::from_str_radix(&digits, 16).unwrap_or(b'?')
            }
            other => other,
        });
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
