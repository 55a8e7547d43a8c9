//! What is wrong with a server in TLS, and connections that a fork finds.

use cryptoki_sys::*;
use ctk_services::{Authority, Forward, Kms, Proxy, ServerCertificate, Tls};
use softhsm_tests::{
    bed::Bed,
    calls::rv_name,
    network::{PATIENCE, Program},
};

use crate::scenes::{KmsScene, SIGN, last_warning};

#[test]
fn a_server_that_is_not_the_right_one_in_tls_gets_no_request() {
    let bed = Bed::empty();
    let scene = KmsScene::new();
    let authority = Authority::new();
    let port = Kms::shared().port();
    let good = Tls::new(&authority, ServerCertificate::Good);
    let proxy = Proxy::start_tls(Forward::to(port), &good);
    let file = authority.file();
    let pin = authority.server(ServerCertificate::Good).pin();
    let ca = ["--ca-file", file.to_str().expect("UTF-8")];
    scene.register_at(&bed, "tls", &proxy.url(), &ca);
    let configuration = bed.configuration().join("tls.toml");
    let written = std::fs::read_to_string(&configuration).expect("the token");
    let mut program = Program::start(&bed, "debug");
    program.open("tls", "key");
    program.ask(SIGN).ok();

    let server = |certificate| Tls::new(&authority, certificate);
    let table = [
        (
            "expired certificate",
            server(ServerCertificate::Expired),
            "",
            "expired",
        ),
        (
            "certificate of tomorrow",
            server(ServerCertificate::NotYetValid),
            "",
            "is valid from",
        ),
        (
            "wrong host name",
            server(ServerCertificate::WrongHost),
            "",
            "localhost",
        ),
        (
            "unknown authority",
            server(ServerCertificate::UnknownAuthority),
            "",
            "ca_file",
        ),
        ("TLS 1.1 only", good.clone().only_tls_1_1(), "", "TLS 1.2"),
        (
            "wants a client certificate",
            good.clone().for_clients_of(&authority),
            "",
            "client_certificate",
        ),
        (
            "another key than the pinned one",
            good.clone(),
            &pin,
            "public_key_pins",
        ),
    ];
    let mut wrong = Vec::new();
    for (fault, tls, pin, says) in table {
        let bad = Proxy::start_tls(Forward::to(port), &tls);
        let mut changed = written.replace(&proxy.url(), &bad.url());
        if !pin.is_empty() {
            changed = changed.replace(
                "driver =",
                &format!("public_key_pins = [\"{pin}\"]\ndriver ="),
            );
        }
        assert_ne!(changed, written);
        std::fs::write(&configuration, changed).expect("the token");
        program.ask("finalize").ok();
        program.ask("initialize").ok();
        program.open("tls", "key");
        program.new_log();
        let answer = program.ask(SIGN);
        let log = program.new_log();
        let said = last_warning(&log);
        println!(
            "{fault:<36} {:<18} {:>6}  {said}",
            rv_name(answer.rv),
            answer.took.as_millis()
        );
        if answer.rv != CKR_DEVICE_ERROR || !said.contains(says) || bad.counts().requests > 0 {
            wrong.push(format!(
                "{fault}: {} {said:?}, {:?}",
                rv_name(answer.rv),
                bad.counts()
            ));
        }
        assert!(answer.took < PATIENCE, "{:?}", answer.took);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn over_tls_a_child_leaves_its_parents_connection_alone() {
    let bed = Bed::empty();
    let scene = KmsScene::new();
    let authority = Authority::new();
    let tls = Tls::new(&authority, ServerCertificate::Good);
    let proxy = Proxy::start_tls(Forward::to(Kms::shared().port()), &tls);
    let file = authority.file();
    scene.register_at(
        &bed,
        "kms",
        &proxy.url(),
        &["--ca-file", file.to_str().expect("UTF-8")],
    );
    let mut program = Program::start(&bed, "debug");
    program.open("kms", "key");
    program.ask(SIGN).ok();
    proxy.forget();
    for _ in 0..3 {
        program.ask(&SIGN.replace("sign", "child")).ok();
        program.ask(SIGN).ok();
    }
    let counts = proxy.counts();
    assert_eq!((counts.requests, counts.handshakes), (6, 3), "{counts:?}");
}
