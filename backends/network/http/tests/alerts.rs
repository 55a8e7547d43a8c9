//! Alerts that come after the handshake: which of them say that the request was not looked at.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ctk_token::TokenError;
use openssl::ssl::{SslAcceptor, SslMethod};

use super::{
    asking::{client, post},
    authority::{Authority, Wants, serve},
    folder::TestFolder,
    server::{After, Server, answer},
};
use crate::{Value, http::Repeat};

/// A stream on which nothing but a damaged record comes when it is told so.
#[derive(Debug)]
struct Spoiled {
    stream: TcpStream,
    is_spoiled: Arc<AtomicBool>,
}

impl Read for Spoiled {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.is_spoiled.load(Ordering::SeqCst) {
            return self.stream.read(buffer);
        }
        // Of application data, 32 bytes long.
        let record = [[23, 3, 3, 0, 32].as_slice(), &[0x55; 32]].concat();
        (&record[..]).read(buffer)
    }
}

impl Write for Spoiled {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

#[test]
fn an_alert_that_is_not_about_our_certificate_may_come_after_the_request_was_looked_at() {
    let (folder, authority) = (TestFolder::new(), Authority::new());
    let identity = authority.issue("127.0.0.1");
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
    acceptor.set_private_key(&identity.key).unwrap();
    acceptor.set_certificate(&identity.certificate).unwrap();
    let acceptor = acceptor.build();
    let is_spoiled = Arc::new(AtomicBool::new(false));
    let spoiled = Arc::clone(&is_spoiled);
    let failing = Server::with(
        false,
        move |stream| {
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            let stream = Spoiled {
                stream,
                is_spoiled: Arc::clone(&spoiled),
            };
            let accepted = acceptor.accept(stream);
            let accepted = accepted.map_err(|error| io::Error::other(error.to_string()))?;
            Ok(Box::new(accepted))
        },
        move |_, wire| {
            is_spoiled.store(true, Ordering::SeqCst);
            assert!(wire.read(&mut [0]).is_err());
            After::Close
        },
    );
    let good = serve(&identity, &authority, Wants::Nothing, |_, wire| {
        answer(wire, 200, "", "good")
    });
    let urls = [failing.port(), good.port()].map(|port| format!("https://127.0.0.1:{port}"));
    let ca = folder.write("ca.pem", &authority.pem());
    let client = client(&[&urls[0], &urls[1]], &[("ca_file", Value::Path(ca))]);
    let Err(TokenError::Unreachable(reason)) = post(&client, Repeat::Unsent, "once") else {
        panic!("what may have been done was asked for again")
    };
    assert!(reason.as_str().contains("without an answer"), "{reason}");
    assert_eq!((failing.requests(), good.requests()), (1, 0));
}
