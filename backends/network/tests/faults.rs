//! What becomes of a signature when the network or a KMS fails: each fault has its error, within its time, and the service is
//! asked again as often as that can help. The KMS behind is localstack; a proxy of ours makes the faults.

mod support;

use std::{thread, time::Duration};

use ctk_network::{Configuration, Value};
use ctk_services::{
    Authority, Connecting, Fault, Forward, Kms, Proxy, Response, ServerCertificate, Tls,
    process::free_port,
};
use ctk_token::TokenError;
use serde_json::json;
use support::{
    beds::{KmsBed, answer, holds_little, hurried, row, signs, wait_until_closed},
    list,
    signer::{Signer, kind},
    text, texts,
};

const DENIED: &str = r#"{"__type": "AccessDeniedException", "Message": "not for you"}"#;
const DENIED_XML: &str = "<ErrorResponse><Errors><Error><Code>AccessDenied</Code><Message>not for you</Message></Error></Errors></ErrorResponse>";
const THROTTLED: &str = r#"{"__type": "ThrottlingException", "message": "Rate exceeded"}"#;
const JSON: &str = "application/x-amz-json-1.1";
/// More than one, and not without end.
const AGAIN: std::ops::RangeInclusive<usize> = 2..=20;
const ONCE: std::ops::RangeInclusive<usize> = 1..=1;

fn later(status: u16) -> Fault {
    let response = Response::json(status, &json!({"message": "later"}));
    Fault::Answer(response.with("Retry-After", "1"))
}

#[test]
fn answers_that_are_none() {
    let bed = KmsBed::new();
    let signer = Signer::new(&bed.token);
    signs(&signer);
    let redirect = Response::new(302, "text/html", "").with("Location", "http://127.0.0.1:1/");
    holds_little(|| {
        for row in [
            row("401", answer(401, JSON, "{}"), "Refused", "401", ONCE),
            row(
                "403 in JSON",
                answer(403, JSON, DENIED),
                "Refused",
                "kms:Sign",
                ONCE,
            ),
            row(
                "403 in XML",
                answer(403, "text/xml", DENIED_XML),
                "Refused",
                "kms:Sign",
                ONCE,
            ),
            row(
                "another content type",
                answer(200, "text/html", "<html>"),
                "Corrupted",
                "no JSON object",
                ONCE,
            ),
            row(
                "a redirect",
                Fault::Answer(redirect),
                "Unreachable",
                "not followed",
                ONCE,
            ),
            row(
                "a truncated body",
                Fault::Truncate(10),
                "Corrupted",
                "ended early",
                AGAIN,
            ),
            row(
                "100 MB",
                Fault::Long(100_000_000),
                "Corrupted",
                "longer than any",
                ONCE,
            ),
            row(
                "no end",
                Fault::Endless,
                "Corrupted",
                "longer than any",
                ONCE,
            ),
            row(
                "a reset in mid-answer",
                Fault::Reset,
                "Corrupted",
                "ended early",
                AGAIN,
            ),
            row(
                "no answer",
                Fault::Close,
                "Unreachable",
                "without an answer",
                AGAIN,
            ),
            row(
                "something else",
                Fault::Garbage,
                "Corrupted",
                "no HTTP",
                ONCE,
            ),
        ] {
            row.check(&bed.proxy, "Sign", || signer.sign());
            signs(&signer);
        }
    });
}

#[test]
fn a_service_that_is_busy_or_broken() {
    let bed = KmsBed::new();
    let signer = Signer::new(&hurried(bed.token.clone()));
    for row in [
        row("429", later(429), "Refused", "too many requests", AGAIN),
        row("503", later(503), "Unreachable", "try again later", AGAIN),
        row(
            "500",
            answer(500, "text/html", "<html>"),
            "Unreachable",
            "try again later",
            AGAIN,
        ),
        row(
            "throttling",
            answer(400, JSON, THROTTLED),
            "Refused",
            "Rate exceeded",
            AGAIN,
        ),
    ] {
        row.check(&bed.proxy, "Sign", || signer.sign());
        signs(&signer);
    }
}

#[test]
fn a_service_that_is_slow() {
    let bed = KmsBed::new();
    let signer = Signer::new(&hurried(bed.token.clone()));
    let drip = Fault::Drip(Duration::from_millis(100));
    for row in [
        row("a slow drip", drip, "Unreachable", "in time", 1..=20),
        row("a stall", Fault::Stall, "Unreachable", "in time", AGAIN),
    ] {
        row.check(&bed.proxy, "Sign", || signer.sign());
        signs(&signer);
    }
    bed.proxy.drop_connections();
    wait_until_closed(&bed.proxy);
    for (connecting, becomes) in [
        (Connecting::Stall, "Unreachable"),
        (Connecting::Reset, "Unreachable"),
    ] {
        bed.proxy.connecting(connecting);
        let error = signer.sign().expect_err("nobody there");
        assert_eq!(kind(&error), becomes, "{connecting:?}: {error:?}");
        bed.proxy.clear();
        signs(&signer);
        bed.proxy.drop_connections();
        wait_until_closed(&bed.proxy);
    }
}

#[test]
fn what_fails_once_is_not_noticed() {
    let bed = KmsBed::new();
    let signer = Signer::new(&bed.token);
    for fault in [
        later(429),
        later(503),
        Fault::Reset,
        Fault::Close,
        Fault::Truncate(3),
        answer(400, JSON, THROTTLED),
    ] {
        bed.proxy.forget();
        bed.proxy.fault_times("Sign", 1, fault.clone());
        let start = std::time::Instant::now();
        signs(&signer);
        assert_eq!(bed.proxy.requests_for("Sign").len(), 2, "{fault:?}");
        if fault == later(503) {
            assert!(
                start.elapsed() >= Duration::from_secs(1),
                "Retry-After counts"
            );
        }
    }
    // A connection that the service has ended is not noticed either.
    bed.proxy.forget();
    bed.proxy.fault("Sign", Fault::CloseAfter);
    for _ in 0..3 {
        signs(&signer);
        wait_until_closed(&bed.proxy);
    }
    assert_eq!(bed.proxy.counts().requests, 3);
}

#[test]
fn signatures_cost_one_request_on_a_kept_connection() {
    let bed = KmsBed::new();
    let authority = Authority::new();
    let tls = Tls::new(&authority, ServerCertificate::Good);
    let proxy = Proxy::start_tls(Forward::to(Kms::shared().port()), &tls);
    let signer = Signer::new(&trusting(&authority, bed.at(&[&proxy.url()])));
    for _ in 0..10 {
        signs(&signer);
    }
    let counts = proxy.counts();
    assert_eq!(
        (counts.requests, counts.connections, counts.handshakes),
        (10, 1, 1)
    );
}

/// The token, with what this authority certifies.
fn trusting(authority: &Authority, mut token: Configuration) -> Configuration {
    let file = Value::Path(authority.file());
    token.settings.0.insert("ca_file".to_owned(), file);
    token
}

#[test]
fn tls_that_is_wrong_is_told() {
    let bed = KmsBed::new();
    let authority = Authority::new();
    let at = |tls: &Tls| {
        let proxy = Proxy::start_tls(Forward::to(Kms::shared().port()), tls);
        let token = trusting(&authority, bed.at(&[&proxy.url()]));
        (proxy, token)
    };
    let with = |certificate| Tls::new(&authority, certificate);
    let good = || with(ServerCertificate::Good);
    for (tls, says) in [
        (with(ServerCertificate::Expired), "expired"),
        (with(ServerCertificate::NotYetValid), "is valid from"),
        (with(ServerCertificate::WrongHost), "elsewhere.test"),
        (with(ServerCertificate::UnknownAuthority), "authority"),
        (good().only_tls_1_1(), "TLS"),
        (good().for_clients_of(&authority), "certificate"),
    ] {
        let (proxy, token) = at(&tls);
        let error = Signer::new(&token).sign().expect_err(says);
        assert_eq!(kind(&error), "Unreachable", "{says}: {error:?}");
        let told = error.to_string();
        assert!(
            told.contains(says) && told.contains("localhost"),
            "{says}: {told}"
        );
        assert_eq!(proxy.counts().requests, 0, "{says}");
    }
    let (_proxy, token) = at(&good().only_tls_1_2());
    signs(&Signer::new(&token));
    let (certificate, key) = authority.client("somebody");
    let (_proxy, mut token) = at(&good().for_clients_of(&authority));
    let settings = &mut token.settings.0;
    settings.insert("client_certificate".to_owned(), Value::Path(certificate));
    settings.insert("client_key".to_owned(), Value::Path(key));
    signs(&Signer::new(&token));

    // A key that is pinned, and another one.
    let identity = authority.server(ServerCertificate::Good);
    let other = authority.server(ServerCertificate::Good);
    let (_proxy, mut token) = at(&Tls::with(identity.clone()));
    let mut pinned = |pin: &str| {
        token
            .settings
            .0
            .insert("public_key_pins".to_owned(), texts(&[pin]));
        Signer::new(&token).sign()
    };
    assert_eq!(pinned(&identity.pin()), Ok(()));
    let error = pinned(&other.pin()).expect_err("another key");
    assert!(matches!(error, TokenError::Unreachable(_)), "{error:?}");
}

#[test]
fn the_next_endpoint_helps() {
    let bed = KmsBed::new();
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let signer = Signer::new(&bed.at(&[&nobody, &bed.proxy.url()]));
    bed.proxy.forget();
    for _ in 0..3 {
        signs(&signer);
    }
    assert_eq!(bed.proxy.counts().requests, 3);
    let error = Signer::new(&bed.at(&[&nobody]))
        .sign()
        .expect_err("nobody there");
    assert_eq!(kind(&error), "Unreachable");
    let port = nobody.rsplit(':').next().expect("a port");
    assert!(error.to_string().contains(port), "{error}");
}

#[test]
fn a_server_that_is_started_again_is_used_again() {
    let mut bed = KmsBed::new();
    let signer = Signer::new(&bed.token);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut signed = 0;
                    for _ in 0..30 {
                        match signer.sign() {
                            Ok(()) => signed += 1,
                            Err(
                                TokenError::Unreachable(_)
                                | TokenError::Corrupted(_)
                                | TokenError::TimedOut,
                            ) => {}
                            Err(other) => panic!("{other:?}"),
                        }
                    }
                    signed
                })
            })
            .collect();
        for _ in 0..3 {
            thread::sleep(Duration::from_millis(150));
            bed.proxy.go_down();
            thread::sleep(Duration::from_millis(50));
            bed.proxy.come_up();
        }
        for thread in threads {
            assert!(thread.join().expect("a thread") > 0, "nothing was signed");
        }
    });
    signs(&signer);
    bed.proxy.go_down();
    assert_eq!(
        kind(&signer.sign().expect_err("nobody there")),
        "Unreachable"
    );
    bed.proxy.come_up();
    signs(&signer);
}

#[test]
fn a_key_that_has_changed_is_told() {
    let bed = KmsBed::new();
    let signer = Signer::new(&bed.token);
    bed.account.disable(&bed.key);
    let error = signer.sign().expect_err("a disabled key");
    assert_eq!(kind(&error), "Refused", "{error:?}");
    assert!(error.to_string().contains("disabled"), "{error}");
    bed.account.enable(&bed.key);
    signs(&signer);

    let mut token = bed.token.clone();
    let gone = bed
        .key
        .arn
        .replace(&bed.key.id, "00000000-0000-4000-8000-000000000000");
    token.contents.keys[0]
        .facts
        .0
        .insert("key".to_owned(), text(&gone));
    bed.proxy.forget();
    let error = Signer::new(&token).sign().expect_err("no key");
    assert_eq!(error, TokenError::ObjectNotFound);
    assert_eq!(bed.proxy.requests_for("Sign").len(), 1);
    assert!(
        !bed.proxy.requests_for("ListKeys").is_empty(),
        "it was listed anew"
    );
}

#[test]
fn a_list_that_fails_is_told() {
    let bed = KmsBed::new();
    for row in [
        row(
            "403",
            answer(403, JSON, DENIED),
            "Refused",
            "kms:ListKeys",
            ONCE,
        ),
        row(
            "a hundred megabytes",
            Fault::Long(100_000_000),
            "Corrupted",
            "longer than any",
            ONCE,
        ),
        row(
            "another service",
            answer(200, "text/html", "<html>"),
            "Corrupted",
            "ListKeys",
            ONCE,
        ),
        row("a stall", Fault::Stall, "Unreachable", "in time", 1..=20),
    ] {
        let token = hurried(bed.token.clone());
        row.check(&bed.proxy, "ListKeys", || list(&token).map(drop));
    }
}
