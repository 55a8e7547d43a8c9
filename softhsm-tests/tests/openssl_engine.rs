//! The program openssl signs, requests certificates and makes TLS handshakes through libengine-pkcs11-openssl.

use std::{fs, path::Path};

use softhsm_tests::{
    bed::{Bed, Identity, Kind, PIN, WRONG_PIN, percent_encoded},
    process::{LIMIT, Outcome, run, run_within},
    tls::{self, PAGE},
};

/// What libp11 says when C_Login gives CKR_PIN_INCORRECT.
const PIN_REFUSED: &str = "ERR_CKR_error:PIN incorrect";

fn uri(identity: &Identity, pin: &str) -> String {
    let (id, pin) = (identity.uri_id(), percent_encoded(pin));
    format!("pkcs11:id={id};type=private?pin-value={pin}")
}

fn both() -> (Bed, Vec<Identity>) {
    Bed::with(&[Kind::Rsa2048, Kind::P256])
}

#[test]
fn dgst_signs() {
    let (bed, identities) = both();
    bed.work.write("message", vec![7; 100_000]);
    for identity in &identities {
        let sign = |pin: &str| {
            let mut command = bed.openssl();
            command.args([
                "dgst", "-sha256", "-engine", "pkcs11", "-keyform", "engine", "-sign",
            ]);
            run(command
                .arg(uri(identity, pin))
                .args(["-out", "signature", "message"]))
        };
        sign(PIN).succeeded();
        let mut verify = bed.command("openssl");
        verify
            .args(["dgst", "-sha256", "-verify"])
            .arg(&identity.public);
        run(verify.args(["-signature", "signature", "message"])).succeeded();
        fs::remove_file(bed.work.path().join("signature")).expect("the signature");
        sign(WRONG_PIN).refused().says(PIN_REFUSED);
        let refused = fs::read(bed.work.path().join("signature")).unwrap_or_default();
        assert!(refused.is_empty(), "a signature in spite of a wrong PIN");
        sign(PIN).succeeded();
    }
}

#[test]
fn req_makes_a_certificate_request() {
    let (bed, identities) = both();
    for identity in &identities {
        let request = |pin: &str| {
            let mut command = bed.openssl();
            command.args([
                "req",
                "-new",
                "-subj",
                "/CN=From the token",
                "-out",
                "request.csr",
            ]);
            run(command
                .args(["-engine", "pkcs11", "-keyform", "engine", "-key"])
                .arg(uri(identity, pin)))
        };
        request(PIN).succeeded();
        let mut verify = bed.command("openssl");
        verify.args(["req", "-verify", "-noout", "-pubkey", "-in", "request.csr"]);
        let outcome = run(&mut verify).succeeded();
        let public = fs::read_to_string(&identity.public).expect("PEM");
        assert!(
            outcome.text().contains(public.trim()),
            "a request for another key"
        );
        fs::remove_file(bed.work.path().join("request.csr")).expect("the request");
        request(WRONG_PIN).refused().says(PIN_REFUSED);
        assert!(!bed.work.path().join("request.csr").exists());
    }
}

#[test]
fn pkeyutl_decrypts() {
    let (bed, identities) = both();
    let rsa = &identities[0];
    bed.work.write("message", b"a secret");
    for options in [
        &["rsa_padding_mode:pkcs1"][..],
        &["rsa_padding_mode:oaep"],
        &["rsa_padding_mode:oaep", "rsa_oaep_md:sha256"],
    ] {
        let options: Vec<_> = options.iter().flat_map(|one| ["-pkeyopt", one]).collect();
        let mut encrypt = bed.command("openssl");
        encrypt.args(["pkeyutl", "-encrypt", "-pubin", "-in", "message"]);
        encrypt.args(["-out", "sealed", "-inkey"]).arg(&rsa.public);
        run(encrypt.args(&options)).succeeded();
        let decrypt = |pin: &str| {
            let mut command = bed.openssl();
            command.args(["pkeyutl", "-decrypt", "-engine", "pkcs11", "-keyform"]);
            command.args(["engine", "-in", "sealed", "-inkey", &uri(rsa, pin)]);
            run(command.args(&options))
        };
        assert_eq!(decrypt(PIN).succeeded().stdout, b"a secret", "{options:?}");
        let refused = decrypt(WRONG_PIN).refused().says(PIN_REFUSED);
        assert_eq!(refused.stdout, b"");
    }
}

fn connect(bed: &Bed, port: u16, version: &str, certificate: &Path, key: Option<&str>) -> Outcome {
    let mut command = bed.openssl();
    command
        .args([
            "s_client",
            version,
            "-verify_return_error",
            "-ign_eof",
            "-servername",
            "localhost",
        ])
        .args(["-connect", &format!("127.0.0.1:{port}"), "-CAfile"])
        .arg(&bed.authority);
    if let Some(key) = key {
        command
            .args([
                "-engine", "pkcs11", "-keyform", "engine", "-key", key, "-cert",
            ])
            .arg(certificate);
    }
    run_within(LIMIT, &mut command, b"GET / HTTP/1.0\r\n\r\n")
}

fn handshake(version: &str) {
    let (bed, identities) = both();
    let (_server, port) = tls::server(&bed);
    for identity in &identities {
        let connect = |key: Option<String>| {
            connect(&bed, port, version, &identity.certificate, key.as_deref())
        };
        connect(Some(uri(identity, PIN))).succeeded().says(PAGE);
        // The server does ask: without a certificate there is no page.
        let without = connect(None);
        assert!(!without.text().contains(PAGE), "{}", without.text());
        let wrong = connect(Some(uri(identity, WRONG_PIN)))
            .refused()
            .says(PIN_REFUSED);
        assert!(!wrong.text().contains(PAGE), "{}", wrong.text());
        // The server is still there, and it was the PIN alone.
        connect(Some(uri(identity, PIN))).succeeded().says(PAGE);
    }
}

#[test]
fn tls_1_2_client() {
    handshake("-tls1_2");
}

#[test]
fn tls_1_3_client() {
    handshake("-tls1_3");
}

#[test]
fn the_engine_may_load_the_module_while_openssl_reads_its_configuration() {
    let (bed, identities) = both();
    bed.work.write("message", b"a message");
    let eager = bed.eager_openssl_configuration();
    // A program that wants no key, and one that does.
    let mut digest = bed.openssl();
    run(digest
        .env("OPENSSL_CONF", &eager)
        .args(["dgst", "-sha256", "message"]))
    .succeeded();
    for identity in &identities {
        let mut command = bed.openssl();
        command.env("OPENSSL_CONF", &eager);
        command.args([
            "dgst", "-sha256", "-engine", "pkcs11", "-keyform", "engine", "-sign",
        ]);
        run(command
            .arg(uri(identity, PIN))
            .args(["-out", "signature", "message"]))
        .succeeded();
        let mut verify = bed.command("openssl");
        verify
            .args(["dgst", "-sha256", "-verify"])
            .arg(&identity.public);
        run(verify.args(["-signature", "signature", "message"])).succeeded();
    }
}
