//! Answers that are none, or late, or too much.

use std::time::{Duration, Instant};

use ctk_token::TokenError;
use zeroize::Zeroizing;

use super::{
    asking::{client, client_of, post},
    server::{After, Server, answer, say},
};
use crate::{
    Value,
    http::{Deadline, Exchange, Method, Repeat, Request, judge_by_status},
};

const LIMITS: [(&str, Value); 3] = [
    ("connect_timeout", Value::Number(1)),
    ("read_timeout", Value::Number(1)),
    ("total_timeout", Value::Number(3)),
];

/// What nothing here takes longer than: several times the total time.
const FOREVER: Duration = Duration::from_secs(15);

fn is_corrupted(result: &ctk_token::Result<crate::http::Response>, server: &Server) -> bool {
    match result {
        Err(TokenError::Corrupted(reason)) => {
            let place = format!("127.0.0.1:{}", server.port());
            assert!(reason.as_str().contains(&place), "{reason}");
            assert!(!reason.as_str().contains("s3cret"), "{reason}");
            true
        }
        _ => false,
    }
}

/// What a person is told of an answer that did not come.
fn late(result: ctk_token::Result<crate::http::Response>) -> String {
    match result {
        Err(TokenError::Unreachable(reason)) => reason.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_no_answer_is_corrupted_and_sent_once_if_it_may_be_spent() {
    for text in [
        "",
        "\r\n",
        "GARBAGE\r\n\r\n",
        "HTTP/1.1 200\r\n: x\r\n\r\n",
        "HTTP/1.1 099 X\r\nContent-Length: 0\r\n\r\n",
        "HTTP/3 200 X\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 X\r\nContent-Length: 5\r\n\r\nabc",
        "HTTP/1.1 200 X\r\nContent-Length: five\r\n\r\nabcde",
        "HTTP/1.1 200 X\r\nContent-Length: -5\r\n\r\nabcde",
        "HTTP/1.1 200 X\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
        "HTTP/1.1 200 X\r\nContent-Length: 99999999999999999999999\r\n\r\nabcde",
        "HTTP/1.1 200 X\r\nContent-Length: 104857600\r\n\r\nabcde",
        "HTTP/1.1 200 X\r\nContent-Len",
        "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
        "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcdefgh\r\n0\r\n\r\n",
        "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ] {
        let server = Server::start(move |_, wire| {
            say(wire, text);
            After::Close
        });
        let began = Instant::now();
        let result = post(&client_of(&server), Repeat::Unsent, "once");
        match text {
            // Nothing at all is a connection that ended.
            "" => assert!(
                matches!(result, Err(TokenError::Unreachable(_))),
                "{result:?}"
            ),
            _ => assert!(is_corrupted(&result, &server), "{text:?}: {result:?}"),
        }
        assert_eq!(server.requests(), 1, "{text:?}");
        assert!(began.elapsed() < FOREVER);
    }
}

#[test]
fn a_cut_answer_is_asked_for_again_where_that_does_no_harm() {
    let server = Server::start(|heard, wire| match heard.number {
        0 => {
            say(wire, "HTTP/1.1 200 X\r\nContent-Length: 5\r\n\r\nab");
            After::Close
        }
        1 => After::Close,
        _ => answer(wire, 200, "", "whole"),
    });
    let response = post(&client_of(&server), Repeat::Always, "often").unwrap();
    assert_eq!(response.body.as_slice(), b"whole");
    assert_eq!(server.requests(), 3);
    // And not for ever.
    let server = Server::start(|_, wire| {
        say(wire, "HTTP/1.1 200 X\r\nContent-Length: 5\r\n\r\nab");
        After::Close
    });
    let result = post(&client_of(&server), Repeat::Always, "often");
    assert!(is_corrupted(&result, &server), "{result:?}");
    assert_eq!(server.requests(), 5);
}

#[test]
fn a_reset_in_the_answer_is_no_end_of_it() {
    for text in [
        "",
        "HTTP/1.1 2",
        "HTTP/1.1 200 X\r\nContent-Length: 5\r\n\r\nab",
        // An answer that lasts until the connection ends, which a reset does not do properly.
        "HTTP/1.1 200 X\r\nConnection: close\r\n\r\nab",
    ] {
        let server = Server::start_resetting(move |_, wire| {
            say(wire, text);
            // So that what was said is not thrown away with the rest.
            std::thread::sleep(Duration::from_millis(50));
            After::Close
        });
        let result = post(&client_of(&server), Repeat::Unsent, "once");
        match text {
            "" => assert!(
                matches!(result, Err(TokenError::Unreachable(_))),
                "{result:?}"
            ),
            _ => assert!(is_corrupted(&result, &server), "{text:?}: {result:?}"),
        }
        assert_eq!(server.requests(), 1);
    }
}

#[test]
fn an_answer_without_length_ends_with_its_connection() {
    let server = Server::start(|_, wire| {
        say(wire, "HTTP/1.0 200 OK\r\n\r\nuntil the end");
        After::Close
    });
    let client = client_of(&server);
    for _ in 0..2 {
        let response = post(&client, Repeat::Unsent, "").unwrap();
        assert_eq!(response.body.as_slice(), b"until the end");
    }
}

#[test]
fn chunks_and_interim_answers_are_put_together() {
    let server = Server::start(|_, wire| {
        say(
            wire,
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n\
             HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n\
             3;a=b\r\nabc\r\n0a\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n",
        )
    });
    let client = client_of(&server);
    for _ in 0..3 {
        let response = post(&client, Repeat::Unsent, "").unwrap();
        assert_eq!(response.body.as_slice(), b"abc0123456789");
    }
    assert_eq!(server.connections(), 1);
}

#[test]
fn the_longest_body_is_a_mebibyte_however_it_is_sent() {
    for (chunked, size) in [
        (false, 1 << 20),
        (true, 1 << 20),
        (false, (1 << 20) + 1),
        (true, (1 << 20) + 1),
        (true, 100 << 20),
    ] {
        let server = Server::start(move |_, wire| {
            let head = match chunked {
                true => "Transfer-Encoding: chunked".to_owned(),
                false => format!("Content-Length: {size}"),
            };
            say(wire, &format!("HTTP/1.1 200 X\r\n{head}\r\n\r\n"));
            let block = "x".repeat(1 << 16);
            let mut left = size;
            while left > 0 {
                let now = left.min(block.len());
                let sent = match chunked {
                    true => write!(wire, "{now:x}\r\n{}\r\n", &block[..now]),
                    false => write!(wire, "{}", &block[..now]),
                };
                if sent.is_err() {
                    return After::Close;
                }
                left -= now;
            }
            say(wire, if chunked { "0\r\n\r\n" } else { "" })
        });
        let client = client_of(&server);
        for _ in 0..2 {
            let result = post(&client, Repeat::Unsent, "");
            match size > crate::http::MAX_BODY {
                true => assert!(is_corrupted(&result, &server), "{result:?}"),
                false => assert_eq!(result.unwrap().body.len(), size),
            }
        }
    }
}

#[test]
fn a_head_that_never_ends_is_refused() {
    let many = "X-Field: value\r\n".repeat(200);
    let long = format!("X-Field: {}\r\n", "v".repeat(100_000));
    let endless = "v".repeat(10_000_000);
    for fields in [many, long, endless] {
        let server = Server::start(move |_, wire| {
            say(wire, "HTTP/1.1 200 X\r\nX: ");
            say(wire, &fields);
            answer(wire, 200, "", "x");
            After::Close
        });
        let result = post(&client_of(&server), Repeat::Always, "");
        assert!(is_corrupted(&result, &server), "{result:?}");
        assert_eq!(server.requests(), 1);
    }
}

#[test]
fn a_stalled_answer_ends_with_the_time_for_a_byte() {
    for text in [
        "",
        "HTTP/1.1 200 X\r\n",
        "HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\nab",
    ] {
        let server = Server::start(move |_, wire| {
            say(wire, text);
            std::thread::sleep(Duration::from_secs(2));
            After::Close
        });
        let began = Instant::now();
        let result = post(&client(&[&server.url()], &LIMITS), Repeat::Unsent, "once");
        let place = format!(
            "127.0.0.1:{} did not answer Test in time, 1 s ",
            server.port()
        );
        assert!(late(result).starts_with(&place));
        assert!(began.elapsed() < FOREVER);
        assert_eq!(server.requests(), 1);
    }
}

#[test]
fn a_dripping_answer_ends_with_the_total_time() {
    let server = Server::start(|_, wire| {
        say(wire, "HTTP/1.1 200 X\r\nContent-Length: 1000000\r\n\r\n");
        for _ in 0..100 {
            std::thread::sleep(Duration::from_millis(100));
            if wire.write_all(b"x").is_err() {
                break;
            }
        }
        After::Close
    });
    let began = Instant::now();
    let result = post(&client(&[&server.url()], &LIMITS), Repeat::Always, "often");
    let told = late(result);
    assert!(
        told.contains("3 s") && told.contains("raise total_timeout"),
        "{told}"
    );
    assert!(began.elapsed() >= Duration::from_secs(2));
    assert!(began.elapsed() < FOREVER);
}

#[test]
fn an_operation_that_is_over_asks_for_nothing_and_waits_for_nobody() {
    let server = Server::start(|_, wire| {
        std::thread::sleep(Duration::from_secs(2));
        answer(wire, 200, "", "late")
    });
    let client = client_of(&server);
    let ask = |deadline| {
        client.send(&Exchange {
            name: "Test",
            repeat: Repeat::Always,
            deadline,
            prepare: &|_| {
                Ok(Request {
                    method: Method::Get,
                    target: "/".into(),
                    headers: Vec::new(),
                    body: Zeroizing::default(),
                })
            },
            judge: &judge_by_status,
        })
    };
    let over = ask(Deadline::after(Duration::ZERO));
    assert!(late(over).contains("before 127.0.0.1:"));
    assert_eq!(server.requests(), 0);
    // The client itself would wait for 20 s.
    let slow = ask(Deadline::after(Duration::from_millis(200)));
    assert!(late(slow).contains("in time"));
    assert_eq!(server.requests(), 1);
}

#[test]
fn a_redirect_is_not_followed_and_names_the_host_only() {
    for (location, named) in [
        (
            "https://user:s3cret@elsewhere.example:1/s3cret?s3cret",
            Some("elsewhere.example"),
        ),
        ("/s3cret", None),
        ("", None),
    ] {
        for status in [301, 302, 307, 308, 304] {
            let server = Server::start(move |_, wire| {
                answer(wire, status, &format!("Location: {location}\r\n"), "moved")
            });
            let refused = post(&client_of(&server), Repeat::Always, "").unwrap_err();
            let TokenError::Unreachable(reason) = &refused else {
                panic!("{refused:?}");
            };
            let reason = reason.as_str();
            assert!(
                reason.contains("127.0.0.1:") && !reason.contains("s3cret"),
                "{reason}"
            );
            assert_eq!(
                reason.contains("elsewhere.example"),
                named.is_some(),
                "{reason}"
            );
            assert_eq!(server.requests(), 1);
        }
    }
}
