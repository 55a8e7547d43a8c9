//! `openssl` signs files and shows client certificates in TLS 1.2 and 1.3 with keys of services, by the engine.

use std::{fs, path::Path};

use ctk_services::csc::Credential;
use softhsm_tests::{
    bed::Bed,
    process::{LIMIT, Outcome, run, run_within},
    tls::{self, PAGE},
};

use crate::remote::{CSC_PIN, CscBed, KmsBed, WRONG_PIN, each_time, verifies};

/// Asks for the page of a server that wants a certificate of the bed's authority.
#[track_caller]
fn ask(bed: &Bed, uri: &str, certificate: &Path, version: &str, port: u16) -> Outcome {
    let mut command = bed.openssl();
    command.args(["s_client", version, "-verify_return_error", "-ign_eof"]);
    command.args(["-servername", "localhost", "-CAfile"]);
    command.arg(&bed.authority);
    command.args(["-connect", &format!("127.0.0.1:{port}")]);
    command.args(["-engine", "pkcs11", "-keyform", "engine", "-key", uri]);
    command.arg("-cert").arg(certificate);
    let request = b"GET / HTTP/1.0\r\n\r\n";
    run_within(LIMIT, &mut command, request)
}

/// Gets it.
#[track_caller]
fn connect(bed: &Bed, uri: &str, certificate: &Path, version: &str, port: u16) {
    ask(bed, uri, certificate, version, port)
        .succeeded()
        .says(PAGE);
}

#[test]
fn s_client_shows_a_certificate_whose_key_is_at_a_csc_service() {
    for (name, credential, pin) in [
        ("t/rsa", Credential::default(), ""),
        ("t/p521", Credential::default(), ""),
        (
            "t/p256",
            Credential::with_pin(CSC_PIN),
            "?pin-value=4711-pin",
        ),
        ("t/p384", each_time(), ""),
    ] {
        let csc = CscBed::new(name, credential);
        if name == "t/p384" {
            // The engine would ask at its terminal before each signature.
            csc.store_pin();
        }
        let (server, port) = tls::server(&csc.bed);
        let uri = csc.key.uri("csc") + pin;
        for version in ["-tls1_2", "-tls1_3"] {
            if !pin.is_empty() {
                let uri = format!("{}?pin-value={WRONG_PIN}", csc.key.uri("csc"));
                csc.proxy.forget();
                csc.has_refused_pin(ask(&csc.bed, &uri, &csc.own_certificate, version, port));
            }
            connect(&csc.bed, &uri, &csc.own_certificate, version, port);
        }
        let seen = server.log().matches("depth=0 CN = csc\n").count();
        assert_eq!(seen, 2, "{}", server.log());
    }
}

#[test]
fn s_client_shows_a_certificate_whose_key_is_in_a_kms() {
    let KmsBed { bed, keys } = KmsBed::new(&[
        ("RSA_2048", "SIGN_VERIFY"),
        ("ECC_NIST_P256", "SIGN_VERIFY"),
        ("ECC_NIST_P384", "SIGN_VERIFY"),
        ("ECC_NIST_P521", "SIGN_VERIFY"),
    ]);
    let (server, port) = tls::server(&bed);
    for version in ["-tls1_2", "-tls1_3"] {
        for key in &keys {
            connect(&bed, &key.uri("kms"), &key.certificate, version, port);
        }
    }
    for key in &keys {
        let seen = format!("depth=0 CN = {}\n", key.label);
        assert_eq!(server.log().matches(&seen).count(), 2, "{}", server.log());
    }
}

#[test]
fn dgst_signs_with_every_type_of_key() {
    let KmsBed { bed, keys } = KmsBed::new(&[
        ("RSA_2048", "SIGN_VERIFY"),
        ("RSA_4096", "SIGN_VERIFY"),
        ("ECC_NIST_P256", "SIGN_VERIFY"),
        ("ECC_NIST_P384", "SIGN_VERIFY"),
        ("ECC_NIST_P521", "SIGN_VERIFY"),
        ("ECC_SECG_P256K1", "SIGN_VERIFY"),
    ]);
    bed.work.write("message", vec![7; 100_000]);
    for key in &keys {
        for digest in ["sha256", "sha384", "sha512"] {
            let mut command = bed.openssl();
            command.args(["dgst", &format!("-{digest}"), "-engine", "pkcs11"]);
            command.args(["-keyform", "engine", "-sign", &key.uri("kms")]);
            run(command.args(["-out", "signature", "message"])).succeeded();
            verifies(&bed, key, digest, &[]);
            fs::remove_file(bed.work.path().join("signature")).expect("the signature");
        }
    }
}
