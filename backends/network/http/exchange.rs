//! What a protocol asks and what it is answered.

use std::time::{Duration, SystemTime};

use ctk_token::Result;
use zeroize::Zeroizing;

use super::{Deadline, Endpoint};

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

impl Method {
    /// As it stands in the request.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
        }
    }
}

/// One attempt. It is prepared anew for each, because signatures in it are of a time and an endpoint.
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

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method.as_str(), self.path())
    }
}

impl Request {
    /// The target without its query, in which there may be a secret.
    pub(super) fn path(&self) -> &str {
        self.target.split(['?', '#']).next().unwrap_or_default()
    }
}

/// An answer of whatever status, read to its end.
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
    /// At most [`MAX_BODY`](super::MAX_BODY) bytes.
    pub body: Zeroizing<Vec<u8>>,
}

impl Response {
    /// The first header field of this name, which is given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(field, _)| field == name);
        found.map(|(_, value)| value.as_str())
    }
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            status,
            content_type,
            body,
            ..
        } = self;
        write!(
            f,
            "Response({status}, {content_type}, {} bytes)",
            body.len()
        )
    }
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
    /// When the operation that it is part of is over, and with it all repetitions. It ends after the client's total time in
    /// any case.
    pub deadline: Deadline,
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
