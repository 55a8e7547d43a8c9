//! A client that does nothing but send the bytes of one request and read the answer, on a connection that is kept: what a
//! signature by a service costs at least.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use openssl::ssl::{Ssl, SslContext, SslMethod, SslVerifyMode};
use softhsm_bench::{Each, serve, timed};

const USAGE: &str = "bench-http PORT REQUEST [AUTHORITY]: to that port of 127.0.0.1 goes the content of the file REQUEST, in TLS if \
                     the server's certificate has to come from AUTHORITY";

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let port = arguments.next().and_then(|port| port.into_string().ok());
    let client = Client {
        port: port.and_then(|port| port.parse().ok()).expect(USAGE),
        request: std::fs::read(arguments.next().expect(USAGE)).expect("the request"),
        authority: arguments.next().map(PathBuf::from),
    };
    let mut kept = None;
    serve(|words| match *words {
        ["each", count] => {
            let count = count.parse().map_err(|_| "how many?")?;
            let wire = kept.get_or_insert_with(|| client.connect());
            Ok(Each::measure(|| client.ask(wire), count).answer())
        }
        ["sign", _, threads, millis] => {
            let threads: usize = threads.parse().map_err(|_| "how many threads?")?;
            let time = Duration::from_millis(millis.parse().map_err(|_| "how long?")?);
            let asking = |_| {
                let mut wire = client.connect();
                let client = &client;
                move || client.ask(&mut wire)
            };
            Ok(timed((0..threads).map(asking).collect(), time).answer())
        }
        _ => Err(USAGE.to_owned()),
    });
}

struct Client {
    port: u16,
    request: Vec<u8>,
    authority: Option<PathBuf>,
}

trait Wire: Read + Write + Send {}
impl<T: Read + Write + Send> Wire for T {}

impl Client {
    fn connect(&self) -> Box<dyn Wire> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).expect("a connection");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        match &self.authority {
            None => Box::new(stream),
            Some(authority) => {
                let ssl = tls(authority).expect("a TLS connection");
                Box::new(ssl.connect(stream).expect("a TLS handshake"))
            }
        }
    }

    /// Sends the request and reads the answer to its end.
    fn ask(&self, wire: &mut Box<dyn Wire>) {
        wire.write_all(&self.request).expect("a request");
        let mut answer = [0; 16 << 10];
        let mut len = 0;
        loop {
            match wire.read(&mut answer[len..]).expect("an answer") {
                0 => panic!("half an answer"),
                more => len += more,
            }
            if is_whole(&answer[..len]) {
                break;
            }
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "a refusal");
    }
}

fn tls(authority: &Path) -> Result<Ssl, openssl::error::ErrorStack> {
    let mut context = SslContext::builder(SslMethod::tls_client())?;
    context.set_ca_file(authority)?;
    context.set_verify(SslVerifyMode::PEER);
    let mut ssl = Ssl::new(&context.build())?;
    ssl.set_hostname("localhost")?;
    ssl.param_mut().set_host("localhost")?;
    Ok(ssl)
}

/// Whether these bytes are head and body of an answer that tells its length.
fn is_whole(answer: &[u8]) -> bool {
    const END: &[u8] = b"\r\n\r\n";
    const LENGTH: &str = "\r\nContent-Length: ";
    let Some(head) = answer.windows(END.len()).position(|bytes| bytes == END) else {
        return false;
    };
    let text = std::str::from_utf8(&answer[..head + 2]).expect("a head");
    let (_, length) = text.split_once(LENGTH).expect("a length");
    let (length, _) = length.split_once("\r\n").expect("a length");
    let length: usize = length.parse().expect("a length");
    answer.len() >= head + END.len() + length
}

#[cfg(test)]
mod tests {
    use super::is_whole;

    #[test]
    fn an_answer_ends_with_its_body() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nA: b\r\n\r\nabc";
        for len in 0..answer.len() {
            assert!(!is_whole(&answer[..len]), "{len}");
        }
        assert!(is_whole(answer));
    }
}
