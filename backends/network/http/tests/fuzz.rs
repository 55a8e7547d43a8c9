//! Answers that were changed at random, always the same ones.

use std::time::{Duration, Instant};

use ctk_token::TokenError;

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
};

const GOOD: [&str; 4] = [
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 13\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
     \r\n{\"key\": \"id\"}",
    "HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n10;x=y\r\n0123456789abcdef\r\n\
     0\r\nT: x\r\n\r\n",
    "HTTP/1.0 403 No\r\nWWW-Authenticate: Bearer\r\n\r\nuntil the end",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 None\r\n\r\n",
];

/// A generator of numbers (xorshift), so that each run tries the same.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}

fn changed(numbers: &mut Numbers, samples: &[&str]) -> Vec<u8> {
    const PIECES: [&[u8]; 12] = [
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
    let mut text = samples[numbers.below(samples.len())].as_bytes().to_vec();
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(text.len().max(1));
        match numbers.below(5) {
            0 => text.truncate(at),
            1 if at < text.len() => text[at] = u8::try_from(numbers.below(256)).unwrap(),
            2 if at < text.len() => drop(text.remove(at)),
            3 => {
                let piece = PIECES[numbers.below(PIECES.len())];
                text.splice(at..at, piece.iter().copied());
            }
            _ => {
                let end = at + numbers.below(text.len() - at + 1);
                let repeated = text[at..end].to_vec();
                text.splice(at..at, repeated);
            }
        }
    }
    text
}

#[test]
fn whatever_comes_there_is_an_answer_or_an_error_in_time() {
    const ROUNDS: usize = 1500;
    let server = Server::start(|heard, wire| {
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15 ^ (heard.number as u64 + 1) << 20);
        for _ in 0..10 {
            numbers.below(2);
        }
        let text = changed(&mut numbers, &GOOD);
        let _ = wire.write_all(&text);
        let _ = say(wire, "");
        After::Close
    });
    let limits = [
        ("read_timeout", Value::Number(2)),
        ("total_timeout", Value::Number(4)),
    ];
    let client = client(&[&server.url()], &limits);
    let (mut answers, mut errors) = (0, 0);
    for round in 0..ROUNDS {
        let began = Instant::now();
        match post(&client, Repeat::Unsent, "x") {
            Ok(response) => {
                assert!(
                    response.body.len() <= 4096 && response.status >= 200,
                    "{round}: {response:?}"
                );
                answers += 1;
            }
            Err(TokenError::Corrupted(_) | TokenError::Unreachable(_)) => errors += 1,
            Err(error) => panic!("{round}: {error:?}"),
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{round}");
    }
    assert!(
        answers > ROUNDS / 10 && errors > ROUNDS / 10,
        "{answers} {errors}"
    );
    // What may be spent is never sent twice.
    assert!(server.requests() <= ROUNDS);
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
    let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
    let (mut dates, mut endpoints) = (0, 0);
    for _ in 0..50_000 {
        let text = changed(&mut numbers, &SAMPLES);
        let text = String::from_utf8_lossy(&text);
        let now = std::time::SystemTime::now();
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
    }
    assert!(dates > 1000 && endpoints > 1000, "{dates} {endpoints}");
}
