//! Java's SunPKCS11 lists and signs with the keys of a token, and every service that it makes of the token's mechanisms works.

use std::{fs, path::Path, process::Command, time::Duration};

use softhsm_tests::{
    bed::{Bed, Identity, Kind},
    process::{self, Outcome, run, run_within},
    python::script,
    tls::{self, PAGE_TEXT},
};

/// SunPKCS11 of Java 17 hands on the low byte of each character of a PIN, so that the "ö" comes as a byte that is no UTF-8.
const PIN: &str = "Pa55 %&wörd";
const WRONG_PIN: &str = "Pa55 %&Wörd";
/// It compiles the program and makes RSA keys.
const LIMIT: Duration = process::LIMIT.saturating_mul(2);
const PIN_REFUSED: &str = "CKR_PIN_INCORRECT";

/// A token with an RSA and a P-256 key, and the example's configuration of SunPKCS11.
struct Java {
    bed: Bed,
    identities: Vec<Identity>,
}

impl Java {
    fn new() -> Self {
        let bed = Bed::empty();
        let identities = [Kind::Rsa2048, Kind::P256].map(|kind| {
            let name = format!("token {kind:?}");
            bed.identity(&name, kind)
        });
        let file = bed.p12("token", &identities, PIN);
        bed.register(&file, PIN);
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/java/ctk.cfg");
        let example = fs::read_to_string(example).expect("the example");
        let installed = "/usr/local/lib/libctk_pkcs11.so";
        assert_eq!(example.matches(installed).count(), 1);
        let module = bed.module.to_str().expect("UTF-8");
        bed.work
            .write("ctk.cfg", example.replace(installed, module));
        Self {
            bed,
            identities: identities.into(),
        }
    }

    /// keytool or jarsigner with the token as its key store.
    fn tool(&self, program: &str, pin: &str) -> Command {
        let mut command = self.bed.command(program);
        command
            .args(["-addprovider", "SunPKCS11", "-providerArg", "ctk.cfg"])
            .args(["-keystore", "NONE", "-storetype", "PKCS11"])
            .args(["-storepass:env", "TOKEN_PIN"])
            .env("TOKEN_PIN", pin);
        command
    }

    /// programs/Token.java
    fn token(&self, pin: &str, arguments: &[&str]) -> Outcome {
        let mut command = self.bed.command("java");
        command.arg(script("Token.java")).args(["ctk.cfg", pin]);
        run_within(LIMIT, command.args(arguments), b"")
    }
}

#[test]
fn keytool_lists_the_keys() {
    let java = Java::new();
    let listed = run(java.tool("keytool", PIN).arg("-list"))
        .succeeded()
        .says("contains 2 entries");
    let listed = listed.text();
    for identity in &java.identities {
        let entry = format!("{}, PrivateKeyEntry", identity.name);
        assert!(listed.contains(&entry), "no {entry}:\n{listed}");
    }
    let refused = run(java.tool("keytool", WRONG_PIN).args(["-list", "-v"])).refused();
    assert!(refused.text().contains(PIN_REFUSED), "{}", refused.text());
}

#[test]
fn jarsigner_signs() {
    let java = Java::new();
    java.bed.work.write("content", "content of the archive");
    let trust = |identity: &Identity| {
        let mut command = java.bed.command("keytool");
        command.args(["-importcert", "-noprompt", "-keystore", "trusted.p12"]);
        command.args(["-storepass", "public", "-alias", &identity.name, "-file"]);
        run(command.arg(&identity.certificate)).succeeded();
    };
    for identity in &java.identities {
        trust(identity);
        run(java.bed.command("jar").args(["cf", "plain.jar", "content"])).succeeded();
        let sign = |pin: &str| {
            let mut command = java.tool("jarsigner", pin);
            command.args(["-signedjar", "signed.jar", "plain.jar", &identity.name]);
            run(&mut command)
        };
        sign(WRONG_PIN).refused();
        assert!(!java.bed.work.path().join("signed.jar").exists());
        sign(PIN).succeeded().says("jar signed.");
        let mut verify = java.bed.command("jarsigner");
        verify.args(["-verify", "-verbose", "-certs", "-keystore", "trusted.p12"]);
        verify.args(["-storepass", "public", "signed.jar"]);
        run(&mut verify)
            .succeeded()
            .says("jar verified.")
            .says(&format!("CN={}", identity.name))
            .says("smk ");
        fs::remove_file(java.bed.work.path().join("signed.jar")).expect("the archive");
    }
}

#[test]
fn a_client_shows_its_certificate_in_tls_1_3() {
    let java = Java::new();
    let (server, port) = tls::server(&java.bed);
    let url = format!("https://localhost:{port}/");
    let authority = java.bed.authority.to_str().expect("UTF-8");
    for identity in &java.identities {
        let arguments = ["get", &identity.name, authority, &url];
        let got = java.token(PIN, &arguments).succeeded();
        got.says("200\n")
            .says(PAGE_TEXT)
            .says("TLSv1.3, Cipher is TLS_");
        let seen = format!("depth=0 CN = {}\n", identity.name);
        assert_eq!(server.log().matches(&seen).count(), 1, "{}", server.log());
        let refused = java
            .token(WRONG_PIN, &arguments)
            .refused()
            .says(PIN_REFUSED);
        assert!(!refused.text().contains(PAGE_TEXT), "{}", refused.text());
    }
}

#[test]
fn every_service_of_the_provider_works() {
    let java = Java::new();
    let outcome = java.token(PIN, &["services"]).succeeded();
    let said = outcome.text();
    assert!(!said.contains("FAILED"), "{said}");
    // Java 17 has no way to hand on these parameters, whatever module it is.
    let not_called: Vec<_> = said
        .lines()
        .filter_map(|line| line.strip_prefix("not called "))
        .collect();
    let sha3 = [224, 256, 384, 512].map(|bits| format!("Signature SHA3-{bits}withRSASSA-PSS"));
    assert_eq!(not_called, sha3);
    // What a program would miss first; whatever else is offered was used as well.
    for wanted in [
        "Cipher AES/CBC/PKCS5Padding",
        "Cipher AES/GCM/NoPadding",
        "Cipher RSA/ECB/PKCS1Padding",
        "KeyAgreement ECDH",
        "KeyGenerator AES",
        "KeyPairGenerator EC",
        "KeyPairGenerator RSA",
        "KeyStore PKCS11",
        "Mac HmacSHA256",
        "MessageDigest SHA-256",
        "MessageDigest SHA3-256",
        "SecureRandom PKCS11",
        "Signature RSASSA-PSS",
        "Signature SHA256withECDSA",
        "Signature SHA256withRSA",
    ] {
        let line = format!("ok {wanted}");
        assert!(said.lines().any(|said| said == line), "no {line}:\n{said}");
    }
    java.token(WRONG_PIN, &["services"])
        .refused()
        .says(PIN_REFUSED);
}
