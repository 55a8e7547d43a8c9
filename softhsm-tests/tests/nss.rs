//! The tools of NSS list, sign and decrypt with the keys of a token, and show its certificates to a TLS server.

use std::{fs, path::PathBuf, process::Command};

use softhsm_tests::{
    bed::{Bed, Identity, Kind, PIN, WRONG_PIN},
    process::{Outcome, run},
    tls::{self, PAGE},
};

/// What the tools say when C_Login gives CKR_PIN_INCORRECT.
const PIN_REFUSED: &str = "Incorrect password/PIN entered.";
const MESSAGE: &str = "a message for the holder of the token\n";

/// A token with an RSA and a P-256 key, in a database to which `modutil` has added the module.
struct Nss {
    bed: Bed,
    identities: Vec<Identity>,
    pin: PathBuf,
    wrong_pin: PathBuf,
}

impl Nss {
    fn new() -> Self {
        let (bed, identities) = Bed::with(&[Kind::Rsa2048, Kind::P256]);
        let pin = bed.work.write("pin", format!("{PIN}\n"));
        let wrong_pin = bed.work.write("wrong-pin", format!("{WRONG_PIN}\n"));
        bed.work.write("message", MESSAGE);
        let nss = Self {
            bed,
            identities,
            pin,
            wrong_pin,
        };
        nss.bed.nss_database("db");
        nss
    }

    fn tool(&self, program: &str) -> Command {
        let mut command = self.bed.command(program);
        command.args(["-d", "sql:db"]);
        command
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.bed.work.path().join(name)).unwrap_or_default()
    }
}

/// By this name NSS knows a certificate on the token.
fn nickname(identity: &Identity) -> String {
    format!("token:{}", identity.name)
}

#[test]
fn certutil_lists_certificates_and_keys() {
    let nss = Nss::new();
    run(nss
        .bed
        .command("modutil")
        .args(["-dbdir", "sql:db", "-list", "ctk"]))
    .succeeded()
    .says("Token Name: token")
    .says("Login Type: Login required");
    let listed = run(nss
        .tool("certutil")
        .args(["-L", "-h", "token", "-f"])
        .arg(&nss.pin))
    .succeeded();
    let listed = listed.text();
    // NSS sees that they are a user's own.
    for identity in &nss.identities {
        let line = listed
            .lines()
            .find(|line| line.starts_with(&nickname(identity)));
        let line = line.unwrap_or_else(|| panic!("no {}:\n{listed}", identity.name));
        assert!(line.ends_with(" u,u,u"), "{line}");
    }
    let keys = |pin: &PathBuf| {
        let mut command = nss.tool("certutil");
        run(command.args(["-K", "-h", "token", "-f"]).arg(pin))
    };
    let listed = keys(&nss.pin).succeeded().text();
    for (identity, name) in nss.identities.iter().zip(["rsa", "ec"]) {
        let wanted = format!("> {name} ");
        let line = listed.lines().find(|line| line.contains(&wanted));
        let line = line.unwrap_or_else(|| panic!("no key of type {name}:\n{listed}"));
        assert!(line.contains(&identity.id), "{line}");
        assert!(line.ends_with(&identity.name), "{line}");
    }
    let refused = keys(&nss.wrong_pin).refused().says(PIN_REFUSED).text();
    assert!(!refused.contains(&nss.identities[0].id), "{refused}");
}

#[test]
fn cmsutil_signs() {
    let nss = Nss::new();
    for identity in &nss.identities {
        let sign = |pin: &PathBuf| {
            let mut command = nss.tool("cmsutil");
            command.args(["-S", "-N", &nickname(identity), "-i", "message"]);
            run(command.args(["-o", "signed", "-f"]).arg(pin))
        };
        sign(&nss.pin).succeeded();
        let mut verify = nss.bed.command("openssl");
        verify.args(["cms", "-verify", "-binary", "-purpose", "any"]);
        verify.args(["-inform", "DER", "-in", "signed", "-signer", "signer"]);
        let verified = run(verify.arg("-CAfile").arg(&nss.bed.authority)).succeeded();
        assert_eq!(verified.stdout, MESSAGE.as_bytes());
        let signer = String::from_utf8(nss.read("signer")).expect("PEM");
        let own = fs::read_to_string(&identity.certificate).expect("PEM");
        assert_eq!(signer.trim(), own.trim(), "signed by somebody else");
        sign(&nss.wrong_pin).refused().says(PIN_REFUSED);
        assert!(
            nss.read("signed").is_empty(),
            "signed in spite of a wrong PIN"
        );
        // cmsutil -S itself refuses to go on without a certificate: the wrong PIN alone was what was wrong.
        sign(&nss.pin).succeeded();
    }
}

#[test]
fn cmsutil_decrypts() {
    let nss = Nss::new();
    let rsa = &nss.identities[0];
    // Of triple DES the module knows nothing: NSS lets it decrypt the key, and does the rest itself.
    for cipher in ["-aes-256-cbc", "-des3"] {
        let mut encrypt = nss.bed.command("openssl");
        encrypt.args(["cms", "-encrypt", "-binary", cipher, "-in", "message"]);
        encrypt.args(["-outform", "DER", "-out", "sealed", "-recip"]);
        run(encrypt.arg(&rsa.certificate)).succeeded();
        let decrypt = |pin: &PathBuf| {
            let mut command = nss.tool("cmsutil");
            command.args(["-D", "-i", "sealed", "-o", "opened", "-f"]);
            run(command.arg(pin))
        };
        decrypt(&nss.wrong_pin).refused().says(PIN_REFUSED);
        assert!(
            nss.read("opened").is_empty(),
            "opened in spite of a wrong PIN"
        );
        decrypt(&nss.pin).succeeded();
        assert_eq!(nss.read("opened"), MESSAGE.as_bytes(), "{cipher}");
    }
}

fn client(version: &str) {
    let nss = Nss::new();
    let (server, port) = tls::server(&nss.bed);
    nss.bed.work.write("request", "GET / HTTP/1.0\r\n\r\n");
    let connect = |certificate: Option<(&Identity, &PathBuf)>| -> Outcome {
        let mut command = nss.tool("tstclnt");
        command.args(["-4", "-h", "localhost", "-p", &port.to_string()]);
        command.args(["-A", "request", "-V", &format!("{version}:{version}")]);
        if let Some((identity, pin)) = certificate {
            command.args(["-n", &nickname(identity), "-W"]).arg(pin);
        }
        run(&mut command)
    };
    let no_page = |outcome: Outcome| {
        let outcome = outcome.refused();
        assert!(!outcome.text().contains(PAGE), "{}", outcome.text());
        outcome
    };
    no_page(connect(None));
    for identity in &nss.identities {
        connect(Some((identity, &nss.pin))).succeeded().says(PAGE);
        let seen = format!("depth=0 CN = {}\n", identity.name);
        assert_eq!(server.log().matches(&seen).count(), 1, "{}", server.log());
        no_page(connect(Some((identity, &nss.wrong_pin)))).says(PIN_REFUSED);
    }
}

#[test]
fn tstclnt_is_a_tls_1_2_client() {
    client("tls1.2");
}

#[test]
fn tstclnt_is_a_tls_1_3_client() {
    client("tls1.3");
}
