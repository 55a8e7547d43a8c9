//! Who we are to the service: access tokens, got, kept until they expire, and renewed.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use ctk_token::{Reason, Result, TokenError};
use parking_lot::Mutex;
use zeroize::{Zeroize, Zeroizing};

use crate::{
    Secret, base64,
    http::{Endpoint, Method, Repeat, Request, Response},
    json::{Body, Object},
};

use super::{
    api::{self, Api, Connect, Wire},
    error::{Failure, Problem},
    facts::Version,
    fetch::Fetch,
    options::{Authentication, Options},
    refused::Refused,
};

/// How long a token counts if nobody says, in seconds (CSC API 1.0.4 §8.3.3, §11.2).
const LIFETIME: u64 = 3600;

/// What authenticates requests, and how it is got.
pub(super) struct Identity {
    connect: Arc<Connect>,
    token: Mutex<Option<Token>>,
    fetch: Fetch,
    refused: Refused,
    token_url: Mutex<Option<String>>,
    token_wire: Mutex<Option<(String, Arc<dyn Wire>)>>,
    /// The service has no `auth/login` and takes the password with each request.
    has_no_login: AtomicBool,
}

struct Token {
    /// The whole header: `Bearer …`.
    header: Arc<Zeroizing<String>>,
    /// When to get another; `None` if nobody knows.
    until: Option<Instant>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity")
    }
}

impl Identity {
    pub(super) fn new(connect: Arc<Connect>) -> Self {
        Self {
            connect,
            token: Mutex::default(),
            fetch: Fetch::default(),
            refused: Refused::default(),
            token_url: Mutex::default(),
            token_wire: Mutex::default(),
            has_no_login: AtomicBool::new(false),
        }
    }

    /// The Authorization header of a request, if it has one.
    ///
    /// # Errors
    /// What keeps a token from being got; [`TokenError::Refused`] if we are refused one.
    pub(super) fn authorization(
        &self,
        api: &Api<'_>,
        version: Version,
    ) -> Result<Option<Arc<Zeroizing<String>>>> {
        if api.options.authentication == Authentication::Nothing {
            return Ok(None);
        }
        let present = || {
            let token = self.token.lock();
            let token = token.as_ref()?;
            let is_good = token.until.is_none_or(|until| Instant::now() < until);
            is_good.then(|| token.header.clone())
        };
        let get = || {
            let token = self.renew(api, version)?;
            let header = token.header.clone();
            *self.token.lock() = Some(token);
            Ok(header)
        };
        self.fetch.get(api.deadline, present, get).map(Some)
    }

    /// The service refuses this header: the next request gets another, unless somebody has got one meanwhile.
    pub(super) fn forget(&self, header: &Arc<Zeroizing<String>>) {
        let mut token = self.token.lock();
        if token
            .as_ref()
            .is_some_and(|token| Arc::ptr_eq(&token.header, header))
        {
            *token = None;
        }
    }

    pub(super) fn remember_token_url(&self, url: &str) {
        self.token_url.lock().get_or_insert_with(|| url.to_owned());
    }

    fn renew(&self, api: &Api<'_>, version: Version) -> Result<Token> {
        match api.options.authentication {
            // Where nothing is wanted nothing is got.
            Authentication::Nothing => Ok(token(&Zeroizing::default(), None)),
            Authentication::Bearer => {
                let bearer = read(api, api.options.bearer.as_ref())?;
                Ok(token(&bearer, None))
            }
            Authentication::Basic => {
                let password = read(api, api.options.password.as_ref())?;
                let ask = || self.log_in(api, &password);
                self.refused.ask(vec![password.clone()], ask)
            }
            Authentication::OAuth2Client | Authentication::OAuth2Password => {
                let secret = match &api.options.client_secret {
                    Some(_) => Some(read(api, api.options.client_secret.as_ref())?),
                    None => None,
                };
                let password = match api.options.authentication {
                    Authentication::OAuth2Password => {
                        Some(read(api, api.options.password.as_ref())?)
                    }
                    _ => None,
                };
                let secrets = secret.iter().chain(&password).cloned().collect();
                let ask = || self.ask_for_token(api, version, secret.as_ref(), password.as_ref());
                self.refused.ask(secrets, ask)
            }
        }
    }

    /// `auth/login`; a service without it is given user and password with each request.
    fn log_in(&self, api: &Api<'_>, password: &Zeroizing<String>) -> Result<Token> {
        let user = api.options.user.as_deref().unwrap_or_default();
        let basic = basic(user, password);
        let itself = |header| Token {
            header: Arc::new(header),
            until: None,
        };
        if self.has_no_login.load(Ordering::Relaxed) {
            return Ok(itself(basic));
        }
        let body = Body::new().finish();
        match api.send("auth/login", Repeat::Unsent, &body, Some(&basic)) {
            Ok(answer) => {
                access_token(&answer).ok_or_else(|| api.nonsense("auth/login", "no access token"))
            }
            // Only what HTTP says: a text may say of the user that he is not found.
            Err(Failure::Refused(problem)) if matches!(problem.status, 404 | 405 | 501) => {
                self.has_no_login.store(true, Ordering::Relaxed);
                Ok(itself(basic))
            }
            Err(failure) => Err(refused(failure, "check `user` and `password`")),
        }
    }

    /// OAuth 2.0 (RFC 6749 §4.3, §4.4). The client names itself in the body, as this API's document has it, and if that is
    /// refused in the header, as RFC 6749 §2.3.1 prefers it.
    fn ask_for_token(
        &self,
        api: &Api<'_>,
        version: Version,
        secret: Option<&Zeroizing<String>>,
        password: Option<&Zeroizing<String>>,
    ) -> Result<Token> {
        let url = self.token_url(api)?;
        let (wire, target) = self.token_wire(&url)?;
        // A wrong password of a user counts.
        let repeat = match password {
            Some(_) => Repeat::Unsent,
            None => Repeat::Always,
        };
        let ask = |header: Option<&Zeroizing<String>>| {
            let in_body = secret.filter(|_| header.is_none());
            let parameters = parameters(&api.options, in_body, password);
            let prepare = || {
                let (mut headers, body) = match version {
                    Version::V0 => (api::json_headers(), json(&parameters)),
                    Version::V1 | Version::V2 => (form_headers(), form(&parameters)),
                };
                headers.extend(header.map(|value| ("Authorization", value.clone())));
                Ok(Request {
                    method: Method::Post,
                    target: target.clone(),
                    headers,
                    body,
                })
            };
            api::send(
                &*wire,
                "oauth2/token",
                repeat,
                api.deadline,
                &prepare,
                &|| secret.into_iter().chain(password).cloned().collect(),
            )
        };
        let mut answer = ask(None);
        // A refusal of the user is none of the client: a wrong password is not sent twice.
        let is_of_client = |problem: &Problem| match &*problem.code {
            "invalid_client" => true,
            "" => problem.status == 401 && password.is_none(),
            _ => false,
        };
        if let (Err(Failure::Refused(problem)), Some(secret)) = (&answer, secret)
            && is_of_client(problem)
        {
            let client = api.options.client_id.as_deref().unwrap_or_default();
            answer = ask(Some(&basic_of_client(client, secret)));
        }
        match answer {
            Ok(answer) => {
                access_token(&answer).ok_or_else(|| api.nonsense("oauth2/token", "no access token"))
            }
            Err(failure) => Err(refused(
                failure,
                "check `client_id`, `client_secret`, `token_url`, and `user` and `password` if they are used",
            )),
        }
    }

    fn token_url(&self, api: &Api<'_>) -> Result<String> {
        if let Some(url) = &api.options.token_url {
            return Ok(url.clone());
        }
        if let Some(url) = &*self.token_url.lock() {
            return Ok(url.clone());
        }
        Err(TokenError::Unreachable(Reason::new(
            "where access tokens come from is not stored: run `ctk refresh`, or set `token_url`"
                .to_owned(),
        )))
    }

    /// A wire to where tokens come from, with its kept connections, and the path there.
    fn token_wire(&self, url: &str) -> Result<(Arc<dyn Wire>, String)> {
        let (base, target) = split(url);
        let mut known = self.token_wire.lock();
        if let Some((of, wire)) = &*known
            && of == base
        {
            return Ok((wire.clone(), target));
        }
        let endpoint = Endpoint::parse(base)
            .map_err(|why| TokenError::Unreachable(Reason::new(format!("`token_url`: {why}"))))?;
        let wire = (self.connect)(vec![endpoint])?;
        *known = Some((base.to_owned(), wire.clone()));
        Ok((wire, target))
    }
}

/// The last part of the path, with its slash, is the target: the rest is an endpoint.
pub(super) fn split(url: &str) -> (&str, String) {
    let start = url.find("://").map_or(0, |at| at + 3);
    let path = url.get(start..).and_then(|rest| rest.rfind('/'));
    match path.and_then(|at| url.split_at_checked(start + at)) {
        Some((base, target)) => (base, target.to_owned()),
        None => (url, "/".to_owned()),
    }
}

/// The text of a secret.
pub(super) fn read(api: &Api<'_>, secret: Option<&Secret>) -> Result<Zeroizing<String>> {
    let Some(secret) = secret else {
        return Ok(Zeroizing::default());
    };
    let bytes = secret.read(api.deadline.left()?)?;
    let text = std::str::from_utf8(&bytes).map(str::trim);
    let text = text.ok().filter(|text| !text.is_empty());
    text.map(|text| Zeroizing::new(text.to_owned()))
        .ok_or_else(|| {
            let why = format!("{} is empty or no text", secret.source());
            TokenError::Unreachable(Reason::new(why))
        })
}

fn access_token(answer: &Response) -> Option<Token> {
    let object = Object::read(&answer.body)?;
    let bearer = ["access_token", "accessToken"]
        .iter()
        .find_map(|name| object.secret(name))?;
    let lifetime = object.number("expires_in").unwrap_or(LIFETIME).min(86_400);
    // Somewhat less, so that it does not expire on its way.
    let lifetime = lifetime - (lifetime / 10).min(60);
    Some(token(&bearer, Some(Duration::from_secs(lifetime))))
}

fn token(bearer: &Zeroizing<String>, lifetime: Option<Duration>) -> Token {
    let mut header = Zeroizing::new(String::with_capacity(7 + bearer.len()));
    header.push_str("Bearer ");
    header.push_str(bearer);
    Token {
        header: Arc::new(header),
        until: lifetime.and_then(|lifetime| Instant::now().checked_add(lifetime)),
    }
}

/// RFC 7617.
fn basic(user: &str, password: &Zeroizing<String>) -> Zeroizing<String> {
    let mut pair = Zeroizing::new(Vec::with_capacity(user.len() + 1 + password.len()));
    for part in [user, ":", password] {
        pair.extend_from_slice(part.as_bytes());
    }
    basic_of(&pair)
}

/// RFC 6749 §2.3.1: both are escaped before they are put together.
fn basic_of_client(client: &str, secret: &Zeroizing<String>) -> Zeroizing<String> {
    let room = 3 * (client.len() + secret.len()) + 1;
    let mut pair = Zeroizing::new(Vec::with_capacity(room));
    escape(client, &mut pair);
    pair.push(b':');
    escape(secret, &mut pair);
    basic_of(&pair)
}

fn basic_of(pair: &[u8]) -> Zeroizing<String> {
    let encoded = Zeroizing::new(base64::encode(pair));
    let mut header = Zeroizing::new(String::with_capacity(6 + encoded.len()));
    header.push_str("Basic ");
    header.push_str(&encoded);
    header
}

/// The service does not know us: no secret of the token's owner helps.
fn refused(failure: Failure, what_to_do: &str) -> TokenError {
    let is_for_later = failure.is_for_later();
    match failure {
        // No word on the secret, which may be sent again.
        Failure::Refused(problem) if is_for_later => {
            TokenError::Unreachable(Reason::new(problem.reason))
        }
        Failure::Refused(problem) if problem.status < 500 => {
            TokenError::Refused(Reason::new(format!("{}; {what_to_do}", problem.reason)))
        }
        failure => failure.into(),
    }
}

type Parameters<'a> = Vec<(&'static str, &'a str)>;

fn parameters<'a>(
    options: &'a Options,
    secret: Option<&'a Zeroizing<String>>,
    password: Option<&'a Zeroizing<String>>,
) -> Parameters<'a> {
    let client = (
        "client_id",
        options.client_id.as_deref().unwrap_or_default(),
    );
    let mut parameters = match password {
        Some(password) => vec![
            ("grant_type", "password"),
            client,
            ("username", options.user.as_deref().unwrap_or_default()),
            ("password", password),
        ],
        None => vec![("grant_type", "client_credentials"), client],
    };
    parameters.extend(secret.map(|secret| ("client_secret", secret.as_str())));
    parameters.push(("scope", "service"));
    parameters
}

fn json(parameters: &Parameters<'_>) -> Zeroizing<Vec<u8>> {
    let body = parameters.iter().filter(|(name, _)| *name != "scope");
    body.fold(Body::new(), |body, (name, value)| body.text(name, value))
        .finish()
}

fn form_headers() -> Vec<(&'static str, Zeroizing<String>)> {
    [
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Accept", "application/json"),
    ]
    .map(|(name, value)| (name, Zeroizing::new(value.to_owned())))
    .to_vec()
}

/// `application/x-www-form-urlencoded`.
fn form(parameters: &Parameters<'_>) -> Zeroizing<Vec<u8>> {
    let len = |(name, value): &(&str, &str)| name.len() + 2 + 3 * value.len();
    // Never grows: what a vector leaves behind is not zeroized.
    let mut body = Zeroizing::new(Vec::with_capacity(parameters.iter().map(len).sum()));
    for (index, (name, value)) in parameters.iter().enumerate() {
        body.extend_from_slice(if index == 0 { b"" } else { b"&" });
        body.extend_from_slice(name.as_bytes());
        body.push(b'=');
        escape(value, &mut body);
    }
    body
}

/// Adds a value, which becomes up to three times as long.
fn escape(value: &str, body: &mut Vec<u8>) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            body.push(byte);
            continue;
        }
        let mut escaped = *b"%00";
        for (place, digit) in escaped.iter_mut().skip(1).zip([byte >> 4, byte & 15]) {
            *place = b"0123456789ABCDEF"
                .get(usize::from(digit))
                .copied()
                .unwrap_or(b'0');
        }
        body.extend_from_slice(&escaped);
        escaped.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_escaped() {
        let body = form(&vec![("a", "x y&z=ä+%"), ("client_secret", "-._~Az09")]);
        assert_eq!(
            &body[..],
            b"a=x%20y%26z%3D%C3%A4%2B%25&client_secret=-._~Az09"
        );
    }

    #[test]
    fn headers_are_those_of_the_rfcs() {
        let header = basic("Aladdin", &Zeroizing::new("open sesame".to_owned()));
        assert_eq!(*header, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        let client = basic_of_client("a:b", &Zeroizing::new("c+d".to_owned()));
        let escaped = base64::encode(b"a%3Ab:c%2Bd");
        assert_eq!(*client, format!("Basic {escaped}"));
        assert_eq!(
            **token(&Zeroizing::new("x".to_owned()), None).header,
            "Bearer x"
        );
    }

    #[test]
    fn a_url_is_an_endpoint_and_a_target() {
        for (url, base, target) in [
            (
                "https://a.example/oauth2/token",
                "https://a.example/oauth2",
                "/token",
            ),
            ("https://a.example/token", "https://a.example", "/token"),
            ("https://a.example", "https://a.example", "/"),
            ("nonsense", "nonsense", "/"),
        ] {
            assert_eq!(split(url), (base, target.to_owned()), "{url}");
        }
    }
}
