//! Connections: kept, shared, found closed.

use std::sync::Barrier;

use zeroize::Zeroizing;

use super::{
    asking::{client_of, in_a_minute, post},
    server::{After, Server, answer},
};
use crate::http::{Endpoint, Exchange, Method, Repeat, Request, judge_by_status};

#[test]
fn requests_arrive_whole_over_one_connection() {
    let server = Server::start(|heard, wire| {
        assert_eq!(heard.first_line(), "POST /path?query=s3cret HTTP/1.1");
        assert_eq!(heard.field("authorization"), Some("Bearer s3cret"));
        assert!(
            heard
                .field("user-agent")
                .unwrap()
                .starts_with("ctk-pkcs11/")
        );
        assert!(heard.field("host").unwrap().starts_with("127.0.0.1:"));
        assert_eq!(heard.field("accept-encoding"), None);
        assert_eq!(heard.field("expect"), None);
        let fields = "Content-Type: Application/JSON; charset=utf-8\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
                      X-Amzn-RequestId: 1\r\nX-Other: 2\r\n";
        answer(wire, 200, fields, &String::from_utf8_lossy(&heard.body))
    });
    let client = client_of(&server);
    for number in 0..50 {
        let body = format!("{{\"number\": {number}}}");
        let response = post(&client, Repeat::Unsent, &body).unwrap();
        assert_eq!(response.status, 200);
        assert_eq!(response.body.as_slice(), body.as_bytes());
        assert_eq!(response.content_type, "application/json");
        assert!(response.date.is_some());
        assert_eq!(response.header("x-amzn-requestid"), Some("1"));
        assert_eq!(response.header("x-other"), None);
    }
    assert_eq!((server.connections(), server.requests()), (1, 50));
}

#[test]
fn an_empty_body_has_a_length_and_a_long_field_arrives() {
    let long = "x".repeat(16 << 10);
    let server = Server::start({
        let long = long.clone();
        move |heard, wire| {
            let sends = !heard.first_line().starts_with("GET ");
            assert_eq!(heard.field("content-length"), sends.then_some("0"));
            assert_eq!(heard.field("x-aws-token"), Some(long.as_str()));
            answer(wire, 204, "", "")
        }
    });
    let client = client_of(&server);
    for method in [Method::Get, Method::Post, Method::Put] {
        let prepare = |_: &Endpoint| {
            Ok(Request {
                method,
                target: "/".into(),
                headers: vec![("x-aws-token", Zeroizing::new(long.clone()))],
                body: Zeroizing::default(),
            })
        };
        let exchange = Exchange {
            name: "Test",
            repeat: Repeat::Unsent,
            deadline: in_a_minute(),
            prepare: &prepare,
            judge: &judge_by_status,
        };
        let response = client.send(&exchange).unwrap();
        assert_eq!((response.status, response.body.len()), (204, 0));
    }
    assert_eq!((server.connections(), server.requests()), (1, 3));
}

#[test]
fn sixteen_threads_have_sixteen_connections_at_most() {
    let server =
        Server::start(|heard, wire| answer(wire, 200, "", &String::from_utf8_lossy(&heard.body)));
    let client = client_of(&server);
    let barrier = Barrier::new(16);
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let (client, barrier) = (&client, &barrier);
            scope.spawn(move || {
                for number in 0..30 {
                    barrier.wait();
                    let body = format!("{thread} {number}");
                    let response = post(client, Repeat::Unsent, &body).unwrap();
                    assert_eq!(response.body.as_slice(), body.as_bytes());
                }
            });
        }
    });
    assert_eq!(server.requests(), 16 * 30);
    assert!(server.connections() <= 16, "{}", server.connections());
}

#[test]
fn a_connection_that_the_server_ends_is_not_used_again() {
    let server = Server::start(|_, wire| {
        answer(wire, 200, "Connection: close\r\n", "x");
        After::Close
    });
    let client = client_of(&server);
    for _ in 0..5 {
        // Nothing that may be spent is sent twice, and nothing fails.
        post(&client, Repeat::Unsent, "once").unwrap();
    }
    assert_eq!((server.connections(), server.requests()), (5, 5));
}
