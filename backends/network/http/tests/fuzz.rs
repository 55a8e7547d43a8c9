//! Answers that are damaged on the way: there is an answer or an error in time, and whoever reads a text survives it.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use ctk_token::TokenError;
use parking_lot::Mutex;

use super::{
    asking::{client, post},
    server::{After, Server, say},
};
use crate::{
    Value,
    http::{
        Endpoint, Repeat,
        date::{http_date, retry_after},
    },
    walk::walk,
};

const GOOD: [&str; 4] = [
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 13\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
     \r\n{\"key\": \"id\"}",
    "HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n10;x=y\r\n0123456789abcdef\r\n\
     0\r\nT: x\r\n\r\n",
    "HTTP/1.0 403 No\r\nWWW-Authenticate: Bearer\r\n\r\nuntil the end",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 None\r\n\r\n",
];

const PIECES: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b":",
    b" ",
    b"\0",
    b"\xff",
    b"ffffffffffffffff",
    b"-1",
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"HTTP/1.1 200 X\r\n",
];

/// How many answers one server gives: it keeps something of each connection.
const ANSWERS: usize = 500;

/// Answers the texts that it finds, each once.
fn server(next: &Arc<Mutex<Vec<u8>>>) -> Server {
    let next = next.clone();
    Server::start(move |_, wire| {
        let text = std::mem::take(&mut *next.lock());
        let _ = wire.write_all(&text);
        let _ = say(wire, "");
        After::Close
    })
}

#[test]
fn whatever_comes_there_is_an_answer_or_an_error_in_time() {
    let next = Arc::new(Mutex::new(Vec::new()));
    let limits = [
        ("read_timeout", Value::Number(2)),
        ("total_timeout", Value::Number(4)),
    ];
    let begin = || {
        let server = server(&next);
        let client = client(&[&server.url()], &limits);
        (server, client, 0)
    };
    let (mut serving, mut answers, mut errors) = (begin(), 0, 0);
    let steps = walk(1500, |turns| {
        if serving.2 == ANSWERS {
            serving = begin();
        }
        let (server, client, asked) = &mut serving;
        *asked += 1;
        let good = turns.one_of(&GOOD);
        *next.lock() = turns.damaged(good.as_bytes(), PIECES);
        let began = Instant::now();
        match post(client, Repeat::Unsent, "x") {
            Ok(response) => {
                // After 101 nothing else comes either; it is no success to anybody.
                let is_final = response.status == 101 || response.status >= 200;
                assert!(response.body.len() <= 4096 && is_final, "{response:?}");
                answers += 1;
            }
            Err(TokenError::Corrupted(_) | TokenError::Unreachable(_)) => errors += 1,
            Err(error) => panic!("{error:?}"),
        }
        assert!(began.elapsed() < Duration::from_secs(10));
        // What may be spent is never sent twice.
        assert!(server.requests() <= *asked);
    });
    assert!(
        answers > steps / 10 && errors > steps / 10,
        "{answers} {errors}"
    );
}

#[test]
fn no_text_upsets_who_reads_it() {
    const SAMPLES: [&str; 6] = [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "https://kms.example:443/a%20b/",
        "http://[::1]:80",
        "http://localhost",
    ];
    let (mut dates, mut endpoints) = (0, 0);
    let steps = walk(50_000, |turns| {
        let good = turns.one_of(&SAMPLES);
        let text = turns.damaged(good.as_bytes(), PIECES);
        let text = String::from_utf8_lossy(&text);
        let now = SystemTime::now();
        if http_date(&text).is_some() {
            dates += 1;
            assert!(retry_after(&text, now).unwrap() <= Duration::from_secs(86_400));
        }
        if let Ok(endpoint) = Endpoint::parse(&text) {
            endpoints += 1;
            // What was understood is understood again, and as the same.
            let Endpoint { scheme, base, .. } = &endpoint;
            let again = format!("{scheme}://{}{base}", endpoint.authority());
            assert_eq!(Endpoint::parse(&again).as_ref(), Ok(&endpoint), "{text}");
        }
    });
    assert!(
        dates > steps / 100 && endpoints > steps / 50,
        "{dates} {endpoints}"
    );
}
