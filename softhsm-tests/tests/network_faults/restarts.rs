//! A server that is started again while threads sign, and one that stays away.

use std::{sync::Arc, thread, time::Duration};

use ctk_services::{Backend, Csc, Forward, Kms, Proxy, Scal, csc::Credential};
use softhsm_tests::{bed::Bed, network::Program};

use crate::scenes::{CscScene, KmsScene, SIGN, last_warning};

#[test]
fn a_server_that_is_started_again_under_load_costs_what_it_had_in_hand() {
    const THREADS: u64 = 8;
    const TIMES: u64 = 40;
    let bed = Bed::empty();
    let mut kms = KmsScene::new();
    // With the usual timeouts: what is tried is not how fast the server behind is on a machine that does other things.
    bed.add_kms("kms", &kms.proxy.url(), &kms.account.access_key_id, &[]);
    let csc = Csc::start(Scal::One);
    let mut implicit = CscScene::new(
        &csc,
        Credential {
            multisign: 10_000,
            ..Credential::default()
        },
    );
    implicit.register(&bed, "implicit", &[]);
    for token in ["kms", "implicit"] {
        let mut program = Program::start(&bed, token_level(token));
        program.open(token, if token == "kms" { "key" } else { "Test P-256" });
        program.ask(SIGN).ok();
        let proxy = if token == "kms" {
            &mut kms.proxy
        } else {
            &mut implicit.proxy
        };
        proxy.forget();
        let line = format!(
            "threads {THREADS:x} {TIMES:x} {}",
            SIGN.trim_start_matches("sign ")
        );
        program.tell(&line);
        for part in 1..=2 {
            while proxy.counts().requests < part * 60 {
                thread::sleep(Duration::from_millis(2));
            }
            proxy.go_down();
            thread::sleep(Duration::from_millis(100));
            proxy.come_up();
        }
        let answer = program.answer(&line);
        let good = answer.number();
        println!(
            "{token}: {good} of {} signatures, {:?}",
            THREADS * TIMES,
            answer.took
        );
        match token {
            // A request for a signature may be sent twice there.
            "kms" => assert_eq!(good, THREADS * TIMES, "{}", last_warning(&program.log())),
            // Each thread fails until the service is back, a few times at the most.
            _ => assert!(good > THREADS * TIMES / 2, "{good}"),
        }
        program.ask(SIGN).ok();
    }
}

/// Logs of their own for programs of one bed.
fn token_level(token: &str) -> &'static str {
    if token == "kms" { "debug" } else { "warn" }
}

#[test]
fn the_next_endpoint_is_used_when_the_first_is_dead() {
    let bed = Bed::empty();
    let mut kms = KmsScene::new();
    let second = Proxy::start(Forward::to(Kms::shared().port()));
    kms.register(&bed, "kms", &["--endpoint", &second.url()]);
    kms.proxy.go_down();
    second.forget();
    let mut program = Program::start(&bed, "debug");
    program.open("kms", "key");
    for _ in 0..3 {
        let answer = program.ask(SIGN).ok();
        kms.verify(&answer);
        assert!(answer.took < Duration::from_secs(2), "{:?}", answer.took);
    }
    assert_eq!(second.counts().requests, 3);
}

#[test]
fn so_is_that_of_a_csc_service() {
    let bed = Bed::empty();
    let csc = Csc::start(Scal::One);
    let mut implicit = CscScene::new(
        &csc,
        Credential {
            multisign: 100,
            ..Credential::default()
        },
    );
    let same: Arc<dyn Backend> = implicit.rules.clone();
    let second = Proxy::start(same);
    implicit.register(&bed, "implicit", &[&format!("{}/csc/v1", second.url())]);
    implicit.proxy.go_down();
    second.forget();
    let mut program = Program::start(&bed, "debug");
    program.open("implicit", "Test P-256");
    for _ in 0..3 {
        let answer = program.ask(SIGN).ok();
        implicit.verify(&answer);
    }
    assert_eq!(second.counts().requests, 4, "one authorises");
}
