//! Firefox asks for the PIN and shows a token's certificate to a TLS 1.3 server.

use std::time::Duration;

use softhsm_tests::{
    bed::{Bed, Kind, PIN, WRONG_PIN},
    process::run_within,
    python::{python, script},
    tls::{self, PAGE_TEXT},
};

/// A browser takes its time to start.
const LIMIT: Duration = Duration::from_secs(100);
/// What its dialog says. It has no other words for the second time.
const ASKED: &str = "asked Please authenticate to the security device (token).";

fn shows_its_certificate(kind: Kind) {
    let (bed, identities) = Bed::with(&[kind]);
    let (server, port) = tls::server(&bed);
    let profile = bed.nss_database("profile");
    let [first, second] =
        ["first", "second"].map(|page| format!("https://localhost:{port}/?{page}"));
    let mut command = bed.command(python());
    command
        .arg(script("firefox.py"))
        .arg(profile)
        .args([&first, &second])
        .env_remove("DISPLAY");
    // The first page: a wrong PIN, and then no more. The second: a wrong PIN again, and then the right one.
    let pins = format!("{WRONG_PIN}\n\n{WRONG_PIN}\n{PIN}\n");
    let outcome = run_within(LIMIT, &mut command, pins.as_bytes()).succeeded();
    let said = String::from_utf8(outcome.stdout).expect("text");
    let lines: Vec<&str> = said.lines().collect();
    let [asked, again, address, text, rest @ ..] = &lines[..] else {
        panic!("{said}")
    };
    assert_eq!([*asked, *again], [ASKED; 2], "{said}");
    assert!(address.starts_with("address about:neterror?"), "{said}");
    assert!(!text.contains(PAGE_TEXT), "{said}");
    let [asked, again, address, text] = rest else {
        panic!("{said}")
    };
    assert_eq!([*asked, *again], [ASKED; 2], "{said}");
    assert_eq!(*address, format!("address {second}"));
    assert!(text.contains(PAGE_TEXT), "{said}");
    assert!(text.contains("TLSv1.3, Cipher is TLS_"), "{said}");
    let log = server.log();
    assert!(log.contains("peer did not return a certificate"), "{log}");
    assert!(
        log.contains(&format!("depth=0 CN = {}\n", identities[0].name)),
        "{log}"
    );
}

#[test]
fn an_rsa_certificate_after_the_pin() {
    shows_its_certificate(Kind::Rsa2048);
}

#[test]
fn an_ec_certificate_after_the_pin() {
    shows_its_certificate(Kind::P256);
}
