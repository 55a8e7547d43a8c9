//! One request and its answer, by `ureq`.

use std::{
    io::Read,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use ureq::{
    Agent,
    http::{self, HeaderMap, HeaderValue, header},
};
use zeroize::Zeroizing;

use super::{
    MAX_BODY,
    connector::{Way, WayConnector},
    date::{http_date, retry_after},
    endpoint::{Endpoint, host_and_port},
    exchange::{Request, Response},
    failure::{Cause, Failure},
    names::LaterResolver,
};
use crate::text::plain;

/// The longest head of an answer, in bytes. `ureq` takes at most 128 fields in it.
const MAX_HEAD: usize = 24 << 10;

/// How many connections are kept for each endpoint: one for each thread that signs, up to this.
const MAX_IDLE: usize = 16;

/// How long a connection is kept without a request. Services mostly close theirs after a minute.
const MAX_IDLE_AGE: Duration = Duration::from_secs(50);

/// The longest value of a field that is handed out, in characters.
const MAX_FIELD: usize = 1024;

/// The longest value of a field that is sent, in bytes.
const MAX_SENT_FIELD: usize = 16 << 10;

/// The fields that protocols look at.
const FIELDS: [&str; 3] = ["x-amzn-errortype", "x-amzn-requestid", "www-authenticate"];

/// What keeps the connections of one client in one process. Nothing of it touches the network yet.
pub(super) fn agent(way: &std::sync::Arc<Way>) -> Agent {
    let config = Agent::config_builder()
        // The proxy is the connector's business: `ureq` would look into the environment for it.
        .proxy(None)
        .http_status_as_error(false)
        .max_redirects(0)
        .user_agent(concat!("ctk-pkcs11/", env!("CARGO_PKG_VERSION")))
        .accept_encoding("")
        .max_response_header_size(MAX_HEAD)
        .max_idle_connections(MAX_IDLE * way.endpoints.len().max(1))
        .max_idle_connections_per_host(MAX_IDLE)
        .max_idle_age(MAX_IDLE_AGE)
        .timeout_connect(Some(way.limits.connect))
        .timeout_per_read(Some(way.limits.read))
        .timeout_per_write(Some(way.limits.read))
        .build();
    Agent::with_parts(
        config,
        WayConnector(std::sync::Arc::clone(way)),
        LaterResolver,
    )
}

/// Sends a request and reads the whole answer. With `fresh`, no connection is used that was kept.
pub(super) fn ask(
    agent: &Agent,
    endpoint: &Endpoint,
    request: Request,
    left: Duration,
    fresh: bool,
) -> Result<Response, Failure> {
    let began = Instant::now();
    let uri = format!(
        "{}://{}{}{}",
        endpoint.scheme,
        endpoint.authority(),
        endpoint.base,
        request.target
    );
    let mut asked = http::Request::builder()
        .method(request.method.as_str())
        .uri(uri);
    for (name, value) in request.headers {
        let value = header_value(value).ok_or_else(|| {
            Failure::misconfigured(format!(
                "the {name} for {} is too long or has a character in it that cannot be sent: see the secret that is \
                 configured",
                endpoint.host_and_port()
            ))
        })?;
        asked = asked.header(name, value);
    }
    let unmade = |error: http::Error| Failure::from_ureq(error.into());
    let answer = if request.body.is_empty() && request.method == super::Method::Get {
        let asked = asked.body(()).map_err(unmade)?;
        run(agent, asked, left, fresh)
    } else {
        let asked = asked.body(request.body.as_slice()).map_err(unmade)?;
        run(agent, asked, left, fresh)
    };
    let answer = answer.map_err(Failure::from_ureq)?;
    let (head, mut body) = answer.into_parts();
    if let 300..=399 = head.status.as_u16() {
        return Err(redirected(endpoint, &head.headers));
    }
    let body = read_body(&mut body, &head.headers)?;
    log::debug!(
        "answer of {}: {}, {} bytes in {} ms",
        endpoint.host_and_port(),
        head.status.as_u16(),
        body.len(),
        began.elapsed().as_millis()
    );
    Ok(response(head.status.as_u16(), &head.headers, body))
}

/// A value that is not copied, and zeroized when the last user lets go. `None` for what is not printable ASCII, and for
/// what no service takes.
fn header_value(value: Zeroizing<String>) -> Option<HeaderValue> {
    if value.len() > MAX_SENT_FIELD {
        return None;
    }
    let value = HeaderValue::from_maybe_shared(Bytes::from_owner(SecretText(value)));
    let mut value = value.ok().filter(|value| value.to_str().is_ok())?;
    value.set_sensitive(true);
    Some(value)
}

/// A header field's value.
struct SecretText(Zeroizing<String>);

impl AsRef<[u8]> for SecretText {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

fn run<B: ureq::AsSendBody>(
    agent: &Agent,
    request: http::Request<B>,
    left: Duration,
    fresh: bool,
) -> Result<http::Response<ureq::Body>, ureq::Error> {
    let mut configured = agent.configure_request(request).timeout_global(Some(left));
    if fresh {
        configured = configured.max_idle_age(Duration::ZERO);
    }
    agent.run(configured.build())
}

fn read_body(body: &mut ureq::Body, headers: &HeaderMap) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let too_long = || {
        Failure::sent(Cause::Garbled(
            "its answer is longer than any that a service gives".into(),
        ))
    };
    let length = headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.trim().parse::<usize>().ok());
    if length.is_some_and(|length| length > MAX_BODY) {
        return Err(too_long());
    }
    // One byte more than there should be, so that the end is seen without growing.
    let mut bytes = Zeroizing::new(vec![0; length.unwrap_or(4095) + 1]);
    let mut read = 0;
    let mut reader = body.as_reader();
    loop {
        if read == bytes.len() {
            if read > MAX_BODY {
                return Err(too_long());
            }
            // The old buffer is zeroized, which a growing vector's would not be.
            let mut longer = Zeroizing::new(vec![0; (2 * read).min(MAX_BODY + 1)]);
            for (to, from) in longer.iter_mut().zip(bytes.iter()) {
                *to = *from;
            }
            bytes = longer;
        }
        let room = bytes.get_mut(read..).unwrap_or_default();
        match reader.read(room) {
            Ok(0) => break,
            Ok(count) => read += count,
            Err(error) => return Err(Failure::from_ureq(error.into())),
        }
    }
    if read > MAX_BODY {
        return Err(too_long());
    }
    bytes.truncate(read);
    Ok(bytes)
}

fn response(status: u16, headers: &HeaderMap, body: Zeroizing<Vec<u8>>) -> Response {
    let now = SystemTime::now();
    let text = |name: &str| headers.get(name).map(printable);
    let content_type = text("content-type").unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default();
    Response {
        status,
        content_type: media_type.trim().to_ascii_lowercase(),
        date: text("date").and_then(|value| http_date(&value)),
        retry_after: text("retry-after").and_then(|value| retry_after(&value, now)),
        headers: FIELDS
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), text(name)?)))
            .collect(),
        body,
    }
}

/// A value as it may be shown.
fn printable(value: &HeaderValue) -> String {
    let text = String::from_utf8_lossy(value.as_bytes());
    text.chars().map(plain).take(MAX_FIELD).collect()
}

/// A redirect is not followed: what is sent is meant for this endpoint, secrets included. Only the host is told, because
/// the rest may be a secret of the service.
fn redirected(endpoint: &Endpoint, headers: &HeaderMap) -> Failure {
    let location = headers.get(header::LOCATION).map(printable);
    let host = location.as_deref().and_then(|location| {
        let authority = location
            .split_once("://")?
            .1
            .split(['/', '?', '#'])
            .next()?;
        let authority = authority.rsplit('@').next()?;
        let (host, _) = host_and_port(authority).ok()?;
        Some(host)
    });
    let place = endpoint.host_and_port();
    let cause = Cause::Misconfigured(match host {
        Some(host) => format!(
            "{place} sends on to {host}, which is not followed: is this the address of the service itself?"
        ),
        None => format!(
            "{place} sends on to another address, which is not followed: is this the address of the service itself?"
        ),
    });
    Failure::sent(cause)
}
