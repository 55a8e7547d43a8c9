//! Requests that are sent again, and those that are not.

use std::{
    cell::Cell,
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use ctk_token::{Reason, TokenError};
use zeroize::Zeroizing;

use super::{
    asking::{client, client_of, dead_port, in_a_minute, post},
    server::{After, Server, answer},
};
use crate::{
    Value,
    http::{Endpoint, Exchange, Method, Repeat, Request, judge_by_status},
};

#[test]
fn later_is_asked_again_after_the_pause_that_the_service_wants() {
    for status in [429, 500, 502, 503, 504] {
        let server = Server::start(move |heard, wire| match heard.number {
            0 => answer(wire, status, "Retry-After: 1\r\n", "later"),
            1 => answer(wire, status, "", "later"),
            _ => answer(wire, 200, "", "now"),
        });
        let began = Instant::now();
        let response = post(&client_of(&server), Repeat::Always, "often").unwrap();
        assert_eq!((response.status, server.requests()), (200, 3));
        assert_eq!(response.body.as_slice(), b"now");
        assert!(began.elapsed() >= Duration::from_secs(1));
        assert_eq!(server.connections(), 1);
    }
}

#[test]
fn what_may_be_spent_is_sent_once_and_its_answer_handed_out() {
    let server = Server::start(|_, wire| answer(wire, 503, "Retry-After: 7\r\n", "later"));
    let response = post(&client_of(&server), Repeat::Unsent, "once").unwrap();
    assert_eq!((response.status, server.requests()), (503, 1));
    assert_eq!(response.retry_after, Some(Duration::from_secs(7)));
}

#[test]
fn a_pause_beyond_the_total_time_is_not_waited_for() {
    let server = Server::start(|_, wire| answer(wire, 503, "Retry-After: 3600\r\n", "later"));
    let began = Instant::now();
    let response = post(&client_of(&server), Repeat::Always, "often").unwrap();
    assert_eq!((response.status, server.requests()), (503, 1));
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn an_endpoint_that_is_dead_costs_a_request_to_the_next_and_the_good_one_is_remembered() {
    let server = Server::start(|_, wire| answer(wire, 200, "", "x"));
    let dead = format!("http://127.0.0.1:{}", dead_port());
    let client = client(&[&dead, &server.url()], &[]);
    let asked = Cell::new(0);
    let prepare = |_: &Endpoint| {
        asked.set(asked.get() + 1);
        Ok(Request {
            method: Method::Get,
            target: "/".into(),
            headers: vec![],
            body: Zeroizing::default(),
        })
    };
    for _ in 0..3 {
        // Nothing was sent to the dead one, so that also what may be spent goes to the next.
        let exchange = Exchange {
            name: "Test",
            repeat: Repeat::Unsent,
            deadline: in_a_minute(),
            prepare: &prepare,
            judge: &judge_by_status,
        };
        assert_eq!(client.send(&exchange).unwrap().status, 200);
    }
    assert_eq!((asked.get(), server.requests()), (4, 3));
}

#[test]
fn where_an_answer_for_later_is_handed_out_the_next_request_goes_elsewhere() {
    let failing = Server::start(|_, wire| answer(wire, 503, "", "later"));
    let good = Server::start(|_, wire| answer(wire, 200, "", "good"));
    let client = client(&[&failing.url(), &good.url()], &[]);
    let statuses = [(); 4].map(|()| post(&client, Repeat::Unsent, "once").unwrap().status);
    assert_eq!(statuses, [503, 200, 200, 200]);
    assert_eq!((failing.requests(), good.requests()), (1, 3));
}

#[test]
fn who_did_not_answer_first_is_told_when_the_time_is_over() {
    let stalling = Server::start(|_, wire| {
        std::thread::sleep(Duration::from_secs(2));
        answer(wire, 200, "", "late")
    });
    let dead = format!("http://127.0.0.1:{}", dead_port());
    let limits = [("total_timeout", Value::Number(1))];
    let client = client(&[&dead, &stalling.url()], &limits);
    let Err(TokenError::Unreachable(reason)) = post(&client, Repeat::Always, "often") else {
        panic!("nobody answers")
    };
    let reason = reason.to_string();
    assert!(reason.contains("refuses the connection"), "{reason}");
}

#[test]
fn when_all_are_dead_each_is_named_soon() {
    let ports = [dead_port(), dead_port()];
    let urls = ports.map(|port| format!("http://127.0.0.1:{port}"));
    let client = client(&[&urls[0], &urls[1]], &[]);
    let began = Instant::now();
    let refused = post(&client, Repeat::Always, "").unwrap_err();
    let TokenError::Unreachable(reason) = refused else {
        panic!("{refused:?}");
    };
    for port in ports {
        let place = format!("127.0.0.1:{port} refuses the connection");
        assert!(reason.as_str().contains(&place), "{reason}");
    }
    assert!(began.elapsed() < Duration::from_secs(15));
}

#[test]
fn a_service_that_restarts_is_found_again() {
    let port = dead_port();
    let client = client(&[&format!("http://127.0.0.1:{port}")], &[]);
    let up = Arc::new(AtomicBool::new(false));
    let restarting = std::thread::spawn({
        let up = Arc::clone(&up);
        move || {
            std::thread::sleep(Duration::from_millis(50));
            let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
            up.store(true, Ordering::SeqCst);
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1000];
            let _ = std::io::Read::read(&mut stream, &mut request).unwrap();
            answer(&mut stream, 200, "", "back");
        }
    });
    let mut response = post(&client, Repeat::Unsent, "once");
    // On a slow machine all rounds may end before the service is there.
    while response.is_err() && !up.load(Ordering::SeqCst) {
        response = post(&client, Repeat::Unsent, "once");
    }
    let response = response.or_else(|_| post(&client, Repeat::Unsent, "once"));
    assert_eq!(response.unwrap().body.as_slice(), b"back");
    restarting.join().unwrap();
}

#[test]
fn a_connection_that_was_closed_while_idle_is_noticed_before_anything_is_sent() {
    let server = Server::start(|_, wire| {
        answer(wire, 200, "", "x");
        // Without a word about it in the answer.
        After::Close
    });
    let client = client_of(&server);
    for number in 0..10 {
        post(&client, Repeat::Unsent, "once").unwrap();
        // The end is on its way: wait for it as long as an idle program would.
        std::thread::sleep(Duration::from_millis(30));
        assert_eq!(server.requests(), number + 1);
    }
    assert_eq!(server.connections(), 10);
}

#[test]
fn a_kept_connection_that_dies_under_a_request_is_replaced_at_once_where_that_does_no_harm() {
    // The second request of each connection gets no answer.
    let server = Server::start(|heard, wire| match heard.number % 2 {
        1 => After::Close,
        _ => answer(wire, 200, "", "x"),
    });
    let client = client_of(&server);
    post(&client, Repeat::Always, "1").unwrap();
    let began = Instant::now();
    post(&client, Repeat::Always, "2").unwrap();
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!((server.connections(), server.requests()), (2, 3));
    let lost = post(&client, Repeat::Unsent, "3").unwrap_err();
    assert!(matches!(lost, TokenError::Unreachable(_)), "{lost:?}");
    assert_eq!((server.connections(), server.requests()), (2, 4));
}

#[test]
fn a_kept_connection_that_was_forgotten_on_the_way_is_replaced_where_that_does_no_harm() {
    // The second request is swallowed.
    let server = Server::start(|heard, wire| match heard.number {
        1 => {
            std::thread::sleep(Duration::from_secs(2));
            After::Close
        }
        _ => answer(wire, 200, "", "x"),
    });
    let limits = [("read_timeout", Value::Number(1))];
    let client = client(&[&server.url()], &limits);
    for number in 1..=3 {
        let response = post(&client, Repeat::Always, &number.to_string());
        assert_eq!(response.unwrap().status, 200);
    }
    assert_eq!((server.connections(), server.requests()), (2, 4));
}

#[test]
fn what_prepare_says_comes_out_as_it_is() {
    let server = Server::start(|_, wire| answer(wire, 200, "", "x"));
    let refused = || TokenError::Refused(Reason::new("no credentials"));
    let exchange = Exchange {
        name: "Test",
        repeat: Repeat::Always,
        deadline: in_a_minute(),
        prepare: &|_| Err(refused()),
        judge: &judge_by_status,
    };
    let client = client_of(&server);
    assert_eq!(client.send(&exchange).unwrap_err(), refused());
    assert_eq!(server.connections(), 0);
    let long = "s3cret".repeat(10_000);
    for secret in ["s3cret\r\nX: y", "s3cret\0", "s3cretä", &long] {
        let prepare = |_: &Endpoint| {
            Ok(Request {
                method: Method::Get,
                target: "/".into(),
                headers: vec![("authorization", Zeroizing::new(secret.to_owned()))],
                body: Zeroizing::default(),
            })
        };
        let exchange = Exchange {
            prepare: &prepare,
            ..exchange
        };
        let refused = client.send(&exchange).unwrap_err().to_string();
        assert!(
            refused.contains("authorization") && !refused.contains("s3cret"),
            "{refused}"
        );
    }
    assert_eq!(server.connections(), 0);
}

#[test]
fn an_address_that_swallows_everything_costs_the_connect_time() {
    // A listener whose queue is full: Linux then drops what would open a connection.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut held = Vec::new();
    let full = (0..1000).any(|_| {
        let opened = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(500));
        opened.map(|stream| held.push(stream)).is_err()
    });
    assert!(full, "a queue that is never full");
    let limits = [
        ("connect_timeout", Value::Number(1)),
        ("total_timeout", Value::Number(3)),
    ];
    let client = client(&[&format!("http://{address}")], &limits);
    let began = Instant::now();
    let silent = post(&client, Repeat::Unsent, "once").unwrap_err();
    assert!(
        matches!(&silent, TokenError::Unreachable(reason) if reason.as_str().contains("does not answer")),
        "{silent:?}"
    );
    assert!(began.elapsed() < Duration::from_secs(15));
}
