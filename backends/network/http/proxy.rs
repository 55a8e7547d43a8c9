//! A proxy that connections are made through (RFC 9110 §9.3.6).

use std::{ffi::OsString, net::TcpStream};

use ctk_token::Result;
use zeroize::Zeroizing;

use super::{
    endpoint::{Endpoint, host_and_port},
    exceptions::Exceptions,
    failure::Failure,
    settings::wrong,
    wait::{Wait, WaitError},
};
use crate::{Secret, Settings, Surroundings, base64};

/// The longest head of a proxy's answer, in bytes.
const MAX_HEAD: usize = 16 << 10;

/// Which proxy is used for which endpoint.
#[derive(Clone)]
pub(super) struct Proxies {
    /// Or what is wrong with what the environment says, which is told where it would be used.
    proxy: std::result::Result<Option<Proxy>, String>,
    /// What is reached without it.
    exceptions: Exceptions,
}

/// A proxy.
#[derive(Clone)]
pub(super) struct Proxy {
    pub(super) host: String,
    pub(super) port: u16,
    login: Login,
}

/// What a proxy knows us by.
#[derive(Clone)]
enum Login {
    Nothing,
    /// What stands in the environment's URL, as the value of Proxy-Authorization (RFC 7617).
    Header(Zeroizing<String>),
    /// The settings `proxy_user` and `proxy_password`, which is read for each connection.
    Set(String, Option<Secret>),
}

impl Proxies {
    /// The setting `proxy`; without it, what the environment says, as for other programs.
    ///
    /// # Errors
    /// [`TokenError::Unreachable`](ctk_token::TokenError::Unreachable) for what is no proxy that can be used, without the
    /// password in it.
    pub(super) fn of(settings: &Settings, surroundings: &Surroundings) -> Result<Self> {
        let none = Self {
            proxy: Ok(None),
            exceptions: Exceptions::default(),
        };
        let login = Login::of(settings)?;
        match settings.text("proxy") {
            Some("none" | "") => return Ok(none),
            Some(url) => {
                let parsed = match url.contains('@') {
                    true => Err(
                        "a user and a password do not stand in there: set `proxy_user` and `proxy_password`",
                    ),
                    false => Proxy::parse(url),
                };
                let proxy = parsed.map_err(|reason| wrong(format!("`proxy`: {reason}")))?;
                return Ok(Self {
                    proxy: Ok(Some(Proxy { login, ..proxy })),
                    ..none
                });
            }
            None => {}
        }
        // The lower-case name first, as curl does it.
        let variable = |lower: &str, upper: &str| {
            let text = |value: OsString| Some(value.to_string_lossy().into_owned());
            [lower, upper]
                .into_iter()
                .filter_map(|name| (surroundings.variable)(name).and_then(text))
                .find(|value| !value.is_empty())
        };
        let Some(url) = variable("https_proxy", "HTTPS_PROXY").map(Zeroizing::new) else {
            return Ok(none);
        };
        let proxy = match Proxy::parse(&url) {
            Ok(proxy) if matches!(login, Login::Nothing) => Ok(Some(proxy)),
            Ok(proxy) => Ok(Some(Proxy { login, ..proxy })),
            Err(reason) => Err(format!("HTTPS_PROXY: {reason}; or set proxy = \"none\"")),
        };
        let exceptions = variable("no_proxy", "NO_PROXY").unwrap_or_default();
        Ok(Self {
            proxy,
            exceptions: Exceptions::parse(&exceptions),
        })
    }

    /// The proxy of an endpoint. One on this machine, and one in plain HTTP, is reached directly.
    ///
    /// # Errors
    /// What keeps the environment's from being used.
    pub(super) fn of_endpoint(
        &self,
        endpoint: &Endpoint,
    ) -> std::result::Result<Option<&Proxy>, Failure> {
        if !endpoint.is_tls() || endpoint.is_here() || self.exceptions.cover(endpoint) {
            return Ok(None);
        }
        match &self.proxy {
            Ok(proxy) => Ok(proxy.as_ref()),
            Err(reason) => Err(Failure::misconfigured(reason.clone())),
        }
    }
}

impl Login {
    fn of(settings: &Settings) -> Result<Self> {
        let password = settings.secret("proxy_password").cloned();
        match settings.text("proxy_user") {
            Some(user) if user.contains(':') => {
                Err(wrong("`proxy_user`: a user has no colon in it"))
            }
            Some(user) => Ok(Self::Set(user.to_owned(), password)),
            None if password.is_some() => Err(wrong("`proxy_password` is for a `proxy_user`")),
            None => Ok(Self::Nothing),
        }
    }

    /// The value of Proxy-Authorization.
    fn header(&self, wait: &Wait) -> std::result::Result<Option<Zeroizing<String>>, Failure> {
        match self {
            Self::Nothing => Ok(None),
            Self::Header(value) => Ok(Some(value.clone())),
            Self::Set(user, password) => {
                let limit = wait.left().unwrap_or_default();
                let password = match password {
                    Some(password) => password.read(limit).map_err(|error| {
                        Failure::misconfigured(format!("`proxy_password`: {error}"))
                    })?,
                    None => Zeroizing::default(),
                };
                let mut plain = Zeroizing::new(Vec::with_capacity(user.len() + 1 + password.len()));
                plain.extend_from_slice(user.as_bytes());
                plain.push(b':');
                plain.extend_from_slice(&password);
                Ok(Some(basic(&plain)))
            }
        }
    }
}

impl Proxy {
    /// A proxy as a person writes it: `http://user:password@host:port`, of which only the host must be there.
    fn parse(url: &str) -> std::result::Result<Self, &'static str> {
        let only_http = "a proxy is http://HOST:PORT; others are not supported";
        let rest = match url.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some(_) => return Err(only_http),
            None => url,
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let (user, authority) = match authority.rsplit_once('@') {
            Some((user, authority)) => (Some(user), authority),
            None => (None, authority),
        };
        let (host, port) = host_and_port(authority)?;
        let login = match user {
            Some(user) => Login::Header(basic(&unescaped(user)?)),
            None => Login::Nothing,
        };
        Ok(Self {
            host,
            port: port.unwrap_or(80),
            login,
        })
    }

    /// Asks the proxy for a connection to the endpoint.
    pub(super) fn connect(
        &self,
        stream: &TcpStream,
        endpoint: &Endpoint,
        wait: &Wait,
    ) -> std::result::Result<(), Failure> {
        let place = endpoint.host_and_port();
        let me = super::endpoint::bracketed(&self.host) + ":" + &self.port.to_string();
        let failed = |error: WaitError| match error {
            WaitError::Silent | WaitError::OutOfTime => Failure::unreachable(format!(
                "the proxy {me} does not connect to {place} in time: does it know the way there?"
            )),
            WaitError::Io(error) => Failure::unreachable(format!(
                "the proxy {me} ends the connection when it is asked for {place} ({error})"
            )),
        };
        let authorization = self.login.header(wait)?;
        let request = request(&place, authorization.as_ref());
        wait.write_all(stream, request.as_bytes()).map_err(failed)?;
        let mut head = Zeroizing::new(vec![0; MAX_HEAD]);
        let mut read = 0;
        let end = loop {
            let room = head.get_mut(read..).unwrap_or_default();
            let count = match room.is_empty() {
                true => 0,
                false => wait.read(stream, room).map_err(failed)?,
            };
            if count == 0 {
                return Err(Failure::unreachable(format!(
                    "{me} gives no proper answer when it is asked for {place}: is it an HTTP proxy?"
                )));
            }
            read += count;
            let so_far = head.get(..read).unwrap_or_default();
            if let Some(end) = so_far.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
        };
        let said = match status(&head) {
            // The service speaks only after our hello: what came with the proxy's answer is not from there.
            Some(200..=299) if end == read => return Ok(()),
            Some(407) if authorization.is_none() => {
                "wants a user and a password: set `proxy_user` and `proxy_password`".to_owned()
            }
            Some(407) => "does not take the user and the password".to_owned(),
            Some(403) => format!("does not allow connections to {place}"),
            Some(status) if status >= 300 => {
                format!("does not connect to {place}: it answers {status}")
            }
            _ => "gives no proper answer: is it an HTTP proxy?".to_owned(),
        };
        let reason = format!("the proxy {me} {said}");
        Err(match status(&head) {
            Some(502..=504) => Failure::unreachable(reason),
            _ => Failure::misconfigured(reason),
        })
    }
}

/// Asks for a connection to `place`.
fn request(place: &str, authorization: Option<&Zeroizing<String>>) -> Zeroizing<String> {
    let authorization = authorization.map_or("", |value| value.as_str());
    // One allocation of the right size: a growing one would leave the password behind.
    let mut request = Zeroizing::new(String::with_capacity(
        100 + 2 * place.len() + authorization.len(),
    ));
    for part in ["CONNECT ", place, " HTTP/1.1\r\nHost: ", place, "\r\n"] {
        request.push_str(part);
    }
    if !authorization.is_empty() {
        for part in ["Proxy-Authorization: ", authorization, "\r\n"] {
            request.push_str(part);
        }
    }
    request.push_str("\r\n");
    request
}

impl std::fmt::Debug for Proxies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.proxy {
            Ok(Some(proxy)) => write!(f, "Proxies({}:{})", proxy.host, proxy.port),
            Ok(None) => f.write_str("Proxies(none)"),
            Err(_) => f.write_str("Proxies(unusable)"),
        }
    }
}

/// `user:password` of a URL, in which %XX stands for what that cannot hold.
fn unescaped(user: &str) -> std::result::Result<Zeroizing<Vec<u8>>, &'static str> {
    let wrong = "in the user and password of a proxy, % is followed by two hexadecimal digits";
    let mut plain = Zeroizing::new(Vec::with_capacity(user.len() + 1));
    let mut bytes = user.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            plain.push(byte);
            continue;
        }
        let mut digit = || {
            let digit = char::from(bytes.next()?).to_digit(16)?;
            u8::try_from(digit).ok()
        };
        let (high, low) = (digit().ok_or(wrong)?, digit().ok_or(wrong)?);
        plain.push(high << 4 | low);
    }
    if !plain.contains(&b':') {
        plain.push(b':');
    }
    Ok(plain)
}

/// `Basic …` of `user:password`.
fn basic(plain: &[u8]) -> Zeroizing<String> {
    let encoded = Zeroizing::new(base64::encode(plain));
    let mut value = Zeroizing::new(String::with_capacity(6 + encoded.len()));
    value.push_str("Basic ");
    value.push_str(&encoded);
    value
}

/// The status in the first line of an answer.
fn status(head: &[u8]) -> Option<u16> {
    let rest = head
        .strip_prefix(b"HTTP/1.1 ")
        .or_else(|| head.strip_prefix(b"HTTP/1.0 "))?;
    let digits = rest.get(..3)?;
    if !matches!(rest.get(3), Some(b' ' | b'\r')) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
