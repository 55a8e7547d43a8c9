//! pkcs11-tool makes a card ready through the module: a key, its certificate, a new PIN.

use std::{path::PathBuf, process::Command};

use softhsm_tests::{
    cards::{Apdu, MANAGEMENT_KEY, Options, PIN, PUK, Profile, VirtualCard},
    module::module_path,
    pcscd::Pcscd,
    process::{Outcome, run},
    work::Work,
};

/// A pcscd with a card in its first reader, and a folder.
struct Desk {
    // The card goes before its reader.
    card: VirtualCard,
    pcscd: Pcscd,
    work: Work,
}

impl Desk {
    fn with(profile: Profile) -> Self {
        let pcscd = Pcscd::start();
        let card = pcscd.insert(0, profile, Options::default());
        Self {
            card,
            pcscd,
            work: Work::new(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    #[track_caller]
    fn tool(&self, arguments: &[&str]) -> Outcome {
        let mut command = self.pcscd.command("pkcs11-tool");
        command.arg("--module").arg(module_path()).args(arguments);
        run(command.current_dir(self.work.path()))
    }

    /// As the card's administrator.
    #[track_caller]
    fn so(&self, secret: &str, arguments: &[&str]) -> Outcome {
        let login = ["--login", "--login-type", "so", "--so-pin", secret];
        self.tool(&[&login, arguments].concat())
    }

    #[track_caller]
    fn user(&self, pin: &str, arguments: &[&str]) -> Outcome {
        self.tool(&[&["--login", "--pin", pin], arguments].concat())
    }

    #[track_caller]
    fn openssl(&self, arguments: &[&str]) -> Outcome {
        let mut command = Command::new("openssl");
        run(command.args(arguments).current_dir(self.work.path()))
    }

    /// Has an authority made for this sign a certificate of a public key.
    #[track_caller]
    fn certify(&self, public: &str, certificate: &str) {
        let authority = ["req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"];
        let names = [
            "-subj",
            "/CN=Test authority",
            "-keyout",
            "ca.key",
            "-out",
            "ca.crt",
        ];
        let curve = ["-pkeyopt", "ec_paramgen_curve:P-256"];
        self.openssl(&[&authority[..], &curve, &names].concat())
            .succeeded();
        self.openssl(&[
            "x509",
            "-new",
            "-subj",
            "/CN=Alice",
            "-force_pubkey",
            public,
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-days",
            "2",
            "-outform",
            "DER",
            "-out",
            certificate,
        ])
        .succeeded();
    }
}

/// The P-256 public key that pkcs11-tool has printed, as SubjectPublicKeyInfo (RFC 5480 §2).
fn public_key(printed: &str) -> Vec<u8> {
    const HEADER: &str = "3059301306072a8648ce3d020106082a8648ce3d030107034200";
    let (_, point) = printed.split_once("EC_POINT:   0441").expect("a point");
    let point = point.split_whitespace().next().expect("digits");
    let digits = format!("{HEADER}{point}");
    let byte =
        |place| u8::from_str_radix(&digits[place..place + 2], 16).expect("hexadecimal digits");
    (0..digits.len()).step_by(2).map(byte).collect()
}

#[test]
fn pkcs11_tool_makes_a_piv_card_ready() {
    let desk = Desk::with(Profile::PivEmpty);
    let generate = ["--keypairgen", "--key-type", "EC:prime256v1", "--id", "01"];
    // The user does not make keys, and a wrong management key does nothing.
    desk.user(PIN, &generate)
        .refused()
        .says("CKR_USER_NOT_LOGGED_IN");
    let wrong = MANAGEMENT_KEY.replace("08", "07");
    desk.so(&wrong, &generate)
        .refused()
        .says("CKR_PIN_INCORRECT");
    let made = desk.so(MANAGEMENT_KEY, &generate).succeeded().text();
    let elsewhere = ["--keypairgen", "--key-type", "EC:prime256v1", "--id", "77"];
    desk.so(MANAGEMENT_KEY, &elsewhere)
        .refused()
        .says("CKR_ATTRIBUTE_VALUE_INVALID");

    // Without a place it could be the one of this key: the card does not tell where there is one.
    desk.so(MANAGEMENT_KEY, &generate[..3])
        .refused()
        .says("CKR_TEMPLATE_INCOMPLETE");

    // The card does not tell of the key again before it has a certificate.
    std::fs::write(desk.path("key.der"), public_key(&made)).expect("write");
    let pem = [
        "pkey", "-pubin", "-inform", "DER", "-in", "key.der", "-out", "key.pem",
    ];
    desk.openssl(&pem).succeeded();
    desk.certify("key.pem", "certificate.der");
    let write = [
        "--write-object",
        "certificate.der",
        "--type",
        "cert",
        "--id",
        "01",
    ];
    desk.user(PIN, &write)
        .refused()
        .says("CKR_USER_NOT_LOGGED_IN");
    desk.so(MANAGEMENT_KEY, &write).succeeded();
    let listed = desk.tool(&["-O", "--type", "cert"]).succeeded();
    listed.says("CN=Alice");

    std::fs::write(desk.path("data"), "data").expect("write");
    let sign = [
        "--sign",
        "-m",
        "ECDSA-SHA256",
        "--id",
        "01",
        "--signature-format",
        "openssl",
        "-i",
        "data",
        "-o",
        "signature",
    ];
    desk.user(PIN, &sign).succeeded();
    let verify = [
        "dgst",
        "-sha256",
        "-verify",
        "key.pem",
        "-signature",
        "signature",
        "data",
    ];
    desk.openssl(&verify).succeeded();

    let delete = ["--delete-object", "--type", "cert", "--id", "01"];
    desk.user(PIN, &delete).refused();
    desk.so(MANAGEMENT_KEY, &delete).succeeded();
    let key = ["--delete-object", "--type", "pubkey", "--id", "01"];
    desk.so(MANAGEMENT_KEY, &key).refused();
    let listed = desk.tool(&["-O", "--type", "cert"]).succeeded().text();
    assert!(!listed.contains("CN=Alice"), "{listed}");
}

#[test]
fn pkcs11_tool_sets_a_new_pin_by_the_puk_and_sends_a_wrong_one_once() {
    for profile in [Profile::PivEmpty, Profile::OpenPgpRsa] {
        let desk = Desk::with(profile);
        for wrong in ["000000", "111111", "222222"] {
            desk.user(wrong, &["-O"]).refused();
        }
        desk.user(PIN, &["-O"]).refused().says("CKR_PIN_LOCKED");
        let init = ["--init-pin", "--new-pin", "654321"];
        let before = desk.card.log().len();
        desk.so("87654321", &init)
            .refused()
            .says("CKR_PIN_INCORRECT");
        // VERIFY of PW3 for OpenPGP cards; for PIV cards RESET RETRY COUNTER, the only use of a PUK.
        let log = desk.card.log();
        let secret = |apdu: &&Apdu| apdu.command.contains("**");
        let sent = log.iter().skip(before).filter(secret).count();
        assert_eq!(sent, 1, "{log:#?}");
        desk.so(PUK, &init).succeeded();
        desk.user("654321", &["-O"]).succeeded();
    }
}
