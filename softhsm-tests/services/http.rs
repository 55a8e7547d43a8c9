//! HTTP/1.1 as far as the services of the tests speak it: messages with a length, or in chunks.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpStream},
    time::Duration,
};

use serde_json::Value;

/// What is read of a message at most, in bytes.
const MAX_MESSAGE: u64 = 16 << 20;

/// A request.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Request {
    /// `GET`, `POST`, `PUT`.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The header fields as they came, in order.
    pub headers: Vec<(String, String)>,
    /// What came after them.
    pub body: Vec<u8>,
}

impl Request {
    /// A request with a body of JSON.
    pub fn post_json(target: &str, body: &Value) -> Self {
        Self {
            method: "POST".to_owned(),
            target: target.to_owned(),
            headers: vec![("Content-Type".to_owned(), "application/json".to_owned())],
            body: body.to_string().into_bytes(),
        }
    }

    /// The same with this header field.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The value of a header field; names in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// What is asked for: AWS' operation (`Sign`), else the path without its query.
    pub fn operation(&self) -> &str {
        if let Some(target) = self.header("X-Amz-Target") {
            return target.rsplit('.').next().unwrap_or(target);
        }
        self.target.split('?').next().unwrap_or_default()
    }

    /// The body as JSON; [`Value::Null`] if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Reads the next request of a connection; `None` if the connection ends before it.
    pub(crate) fn read(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let Some(start) = line(from)? else {
            return Ok(None);
        };
        let mut words = start.split(' ');
        let (Some(method), Some(target), Some("HTTP/1.1")) =
            (words.next(), words.next(), words.next())
        else {
            return Err(invalid(&start));
        };
        let headers = headers(from)?;
        let body = body(from, &headers, Some(0))?;
        Ok(Some(Self {
            method: method.to_owned(),
            target: target.to_owned(),
            headers,
            body,
        }))
    }
}

/// An answer.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Response {
    /// HTTP's status code.
    pub status: u16,
    /// Header fields but those that say where the body and the connection end.
    pub headers: Vec<(String, String)>,
    /// What comes after them.
    pub body: Vec<u8>,
}

impl Response {
    /// An answer with a body of JSON.
    pub fn json(status: u16, body: &Value) -> Self {
        Self::new(status, "application/json", &body.to_string())
    }

    /// An answer with any body.
    pub fn new(status: u16, content_type: &str, body: &str) -> Self {
        Self {
            status,
            headers: vec![("Content-Type".to_owned(), content_type.to_owned())],
            body: body.as_bytes().to_vec(),
        }
    }

    /// The same with this header field.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The value of a header field; names in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// The body as JSON; [`Value::Null`] if it is none.
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Status line and header fields, `length` being what is said of the body.
    pub(crate) fn head(&self, length: &str, close: bool) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += length;
        head += if close {
            "Connection: close\r\n\r\n"
        } else {
            "\r\n"
        };
        head.into_bytes()
    }

    fn read(from: &mut impl BufRead) -> io::Result<Self> {
        let start = line(from)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let status = start
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3))
            .and_then(|code| code.parse().ok())
            .ok_or_else(|| invalid(&start))?;
        let mut headers = headers(from)?;
        let body = body(from, &headers, None)?;
        headers.retain(|(name, _)| !is_framing(name));
        Ok(Self {
            status,
            headers,
            body,
        })
    }
}

/// Sends a request to a server on this machine and reads the answer, by a connection of its own.
pub fn ask(port: u16, request: &Request) -> io::Result<Response> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut message = format!("{} {} HTTP/1.1\r\n", request.method, request.target);
    let mut has_host = false;
    for (name, value) in request.headers.iter().filter(|(name, _)| !is_framing(name)) {
        has_host |= name.eq_ignore_ascii_case("Host");
        message += &format!("{name}: {value}\r\n");
    }
    if !has_host {
        message += &format!("Host: 127.0.0.1:{port}\r\n");
    }
    message += &format!(
        "Content-Length: {}\r\nConnection: close\r\n\r\n",
        request.body.len()
    );
    let mut message = message.into_bytes();
    message.extend_from_slice(&request.body);
    (&stream).write_all(&message)?;
    Response::read(&mut BufReader::new(&stream))
}

/// Whether a header field is of one connection only.
fn is_framing(name: &str) -> bool {
    const FRAMING: [&str; 4] = [
        "Content-Length",
        "Transfer-Encoding",
        "Connection",
        "Keep-Alive",
    ];
    FRAMING.iter().any(|known| name.eq_ignore_ascii_case(known))
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
}

fn headers(from: &mut impl BufRead) -> io::Result<Vec<(String, String)>> {
    let mut headers = Vec::new();
    loop {
        let line = line(from)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if line.is_empty() {
            return Ok(headers);
        }
        let (name, value) = line.split_once(':').ok_or_else(|| invalid(&line))?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
}

/// What follows the header fields. `without` is how long it is if they do not say: the connection's rest for `None`.
fn body(
    from: &mut impl BufRead,
    headers: &[(String, String)],
    without: Option<u64>,
) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if find(headers, "Transfer-Encoding").is_some_and(|coding| coding == "chunked") {
        loop {
            let size = line(from)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let size = u64::from_str_radix(&size, 16).map_err(|_| invalid(&size))?;
            from.by_ref().take(size).read_to_end(&mut body)?;
            line(from)?;
            if size == 0 {
                return Ok(body);
            }
        }
    }
    let length = match find(headers, "Content-Length") {
        Some(length) => Some(length.parse().map_err(|_| invalid(length))?),
        None => without,
    };
    from.take(length.unwrap_or(MAX_MESSAGE))
        .read_to_end(&mut body)?;
    if length.is_some_and(|length| length != body.len() as u64) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(body)
}

/// The next line without its end; `None` at the end of the connection.
fn line(from: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = String::new();
    if from.take(64 << 10).read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let Some(line) = line.strip_suffix("\r\n") else {
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    Ok(Some(line.to_owned()))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Status",
    }
}
