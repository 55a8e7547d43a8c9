//! HTTP as a guest in somebody's process: blocking, in the caller's thread, within limits, over connections that are kept.
//!
//! A [`Client`] belongs to one token. It knows the token's endpoints and goes to the next when one cannot be reached; it
//! repeats a request only if that is safe ([`Repeat`]), with growing pauses, and all of it ends within the total time. It
//! follows no redirect, reads no more of an answer than [`MAX_BODY`], starts no thread, and sets nothing in the process.

use std::time::{Duration, SystemTime};

use ctk_token::{Reason, Result, TokenError};
use zeroize::Zeroizing;

use crate::{Finding, Kind, SettingRow, Settings, Surroundings};

/// The most that is read of an answer, in bytes.
pub const MAX_BODY: usize = 1 << 20;

/// The settings that all protocols share.
pub const SETTINGS: &[SettingRow] = &[
    SettingRow {
        name: "ca_file",
        kind: Kind::Path,
        required: false,
        about: "Certificates (PEM) that the service's certificate must come from, instead of the system's",
    },
    SettingRow {
        name: "client_certificate",
        kind: Kind::Path,
        required: false,
        about: "Certificate chain (PEM) that the service is shown in TLS",
    },
    SettingRow {
        name: "client_key",
        kind: Kind::Path,
        required: false,
        about: "Its private key (PEM), in a file that only its owner can read",
    },
    SettingRow {
        name: "public_key_pins",
        kind: Kind::Texts,
        required: false,
        about: "SHA-256 of public keys (base64 of the SubjectPublicKeyInfo's) of which the service must have one",
    },
    SettingRow {
        name: "proxy",
        kind: Kind::Text,
        required: false,
        about: "Proxy (http://HOST:PORT), or none; otherwise HTTPS_PROXY and NO_PROXY count",
    },
    SettingRow {
        name: "connect_timeout",
        kind: Kind::Number,
        required: false,
        about: "Seconds for a connection and its TLS handshake [default: 5]",
    },
    SettingRow {
        name: "read_timeout",
        kind: Kind::Number,
        required: false,
        about: "Seconds without a byte of an answer [default: 15]",
    },
    SettingRow {
        name: "total_timeout",
        kind: Kind::Number,
        required: false,
        about: "Seconds for everything, repetitions included [default: 30]",
    },
];

/// Where a service is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoint {
    /// `https`, or `http` for an address of this machine.
    pub scheme: &'static str,
    /// The host's name or address, lower case.
    pub host: String,
    /// The port, also if it is the scheme's own.
    pub port: u16,
    /// The path that all requests begin with, without a slash at the end; often empty.
    pub base: String,
}

impl Endpoint {
    /// An endpoint as a person writes it. Plain `http` is for addresses of this machine only.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub fn parse(url: &str) -> std::result::Result<Self, String> {
        let _ = url;
        Err("not yet".to_owned())
    }

    /// What stands in the `Host` header: the port only if it is not the scheme's own.
    pub fn authority(&self) -> String {
        self.host.clone()
    }
}

/// When a request may be sent once more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Repeat {
    /// Whenever an attempt failed: sending it twice does no harm.
    Always,
    /// Only if the attempt before was certainly not sent: something may be spent by it.
    Unsent,
}

/// How a request is made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Method {
    /// GET
    Get,
    /// POST
    Post,
    /// PUT
    Put,
}

/// One attempt. It is prepared anew for each, because signatures in it are of a time and an endpoint.
#[derive(Debug)]
pub struct Request {
    /// GET, POST or PUT.
    pub method: Method,
    /// Path and query after the endpoint's base, beginning with a slash.
    pub target: String,
    /// Header fields besides Host, Content-Length and User-Agent. Values are shown nowhere.
    pub headers: Vec<(&'static str, Zeroizing<String>)>,
    /// What is sent.
    pub body: Zeroizing<Vec<u8>>,
}

/// An answer of whatever status, read to its end.
#[derive(Debug)]
pub struct Response {
    /// HTTP's status code.
    pub status: u16,
    /// Content-Type without its parameters, in lower case; empty if there was none.
    pub content_type: String,
    /// What the Date header says.
    pub date: Option<SystemTime>,
    /// What Retry-After says, as a time from now; at most a day.
    pub retry_after: Option<Duration>,
    /// Other header fields that protocols need: `x-amzn-errortype`, `x-amzn-requestid`, `www-authenticate`.
    pub headers: Vec<(String, String)>,
    /// At most [`MAX_BODY`] bytes.
    pub body: Zeroizing<Vec<u8>>,
}

/// What a protocol thinks of an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It is the answer, good or bad.
    Final,
    /// The service could not do it now: once more later, or elsewhere.
    Later,
}

/// What a request is for.
pub struct Exchange<'a> {
    /// For logs, like `Sign`.
    pub name: &'static str,
    /// When it may be sent again.
    pub repeat: Repeat,
    /// Makes the request of one attempt at one endpoint.
    pub prepare: &'a dyn Fn(&Endpoint) -> Result<Request>,
    /// Looks at an answer. With [`Repeat::Unsent`], [`Verdict::Later`] does not repeat.
    pub judge: &'a dyn Fn(&Response) -> Verdict,
}

impl std::fmt::Debug for Exchange<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Exchange({})", self.name)
    }
}

/// The usual judgement: 429, 500, 502, 503 and 504 are for later.
pub fn judge_by_status(response: &Response) -> Verdict {
    match response.status {
        429 | 500 | 502 | 503 | 504 => Verdict::Later,
        _ => Verdict::Final,
    }
}

/// A token's way to its service.
#[derive(Debug)]
pub struct Client {}

impl Client {
    /// A client of these endpoints, of which the first is preferred. Touches neither network nor files: what is wrong with
    /// a file is told when it is needed.
    ///
    /// # Errors
    /// [`TokenError::Unreachable`] with what is wrong with the settings.
    pub fn new(
        settings: &Settings,
        surroundings: &Surroundings,
        endpoints: Vec<Endpoint>,
    ) -> Result<Self> {
        let _ = (settings, surroundings, endpoints);
        Err(TokenError::Unreachable(Reason::new("not yet")))
    }

    /// Sends a request until there is an answer that is final. One that is for later is handed out too if it cannot be
    /// repeated, or not within the total time.
    ///
    /// # Errors
    /// [`TokenError::Unreachable`] with the reason if no endpoint could be reached, [`TimedOut`](TokenError::TimedOut) if time
    /// ran out, [`Corrupted`](TokenError::Corrupted) for what is no HTTP or too long, and what `prepare` says.
    pub fn send(&self, exchange: &Exchange<'_>) -> Result<Response> {
        let _ = exchange;
        Err(TokenError::Unreachable(Reason::new("not yet")))
    }

    /// The steps of a doctor's look up to TLS, at each endpoint. Says whether all is well so far.
    pub fn check(&self, findings: &mut dyn FnMut(Finding)) -> bool {
        let _ = findings;
        false
    }
}
