//! The client that does nothing but send the bytes of one request and read the answer: a process of its own.

use std::{fs, process::Command};

use ctk_services::{Proxy, Request};
use softhsm_bench::contestant::{Contestant, program};
use softhsm_tests::work::Work;

use crate::services::{Services, Wire};

/// A running one, with what it sends.
pub(crate) struct Bare {
    pub(crate) worker: Contestant,
    _work: Work,
}

impl Bare {
    /// A client of this server that sends this request again and again.
    pub(crate) fn new(services: &Services, proxy: &Proxy, wire: Wire, request: &Request) -> Self {
        let work = Work::new();
        let file = work.path().join("request");
        fs::write(&file, bytes(request)).expect("the request");
        let mut command = Command::new(program("bench-http"));
        command.arg(proxy.port().to_string()).arg(file);
        if wire == Wire::Tls {
            command.arg(services.authority());
        }
        Self {
            worker: Contestant::start(&mut command),
            _work: work,
        }
    }
}

/// A request as it came over the wire.
fn bytes(request: &Request) -> Vec<u8> {
    let mut bytes = format!("{} {} HTTP/1.1\r\n", request.method, request.target);
    for (name, value) in &request.headers {
        bytes += &format!("{name}: {value}\r\n");
    }
    bytes += "\r\n";
    [bytes.as_bytes(), &request.body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_what_came() {
        let request = Request {
            method: "POST".to_owned(),
            target: "/sign".to_owned(),
            headers: vec![("Content-Length".to_owned(), "2".to_owned())],
            body: b"{}".to_vec(),
        };
        let expected = b"POST /sign HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(bytes(&request), expected);
    }
}
