//! The token of the walk, and what of it no answer may hold.

use std::process::Command;

use softhsm_tests::{
    bed::{Bed, Kind},
    isolated::Environment,
    process::run,
};

/// The variables in which the walk's process finds the file for the call that is made, the module's log, and the secrets.
pub const LAST_CALL: &str = "CTK_FUZZ_LAST_CALL";
pub const SECRETS: &str = "CTK_FUZZ_SECRETS";
pub const LOG: &str = "CTK_FUZZ_LOG";

/// What the walk's process needs besides the bed.
pub struct Prepared(Bed, Vec<(String, String)>);

impl Environment for Prepared {
    fn variables(&self) -> Vec<(String, String)> {
        [self.0.variables(), self.1.clone()].concat()
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // A process that crashes or hangs cannot say it, and the test's folder may not outlive the test.
            let call = std::fs::read_to_string(self.0.work.path().join("last-call"));
            eprintln!("the last call: {}", call.unwrap_or_default().trim_end());
        }
    }
}

/// A token of three keys, with what of them is secret: 16 bytes of each number.
pub fn prepare() -> Prepared {
    let (bed, identities) = Bed::with(&[Kind::Rsa2048, Kind::P256, Kind::Ed25519]);
    let mut secrets = String::new();
    for identity in &identities {
        let mut openssl = Command::new("openssl");
        openssl
            .args(["pkey", "-noout", "-text", "-in"])
            .arg(&identity.key);
        let text = String::from_utf8(run(&mut openssl).succeeded().stdout).expect("text");
        let mut name = "";
        let mut digits = String::new();
        for line in text.lines().chain(["end:"]) {
            if line.starts_with(' ') {
                digits.extend(line.chars().filter(char::is_ascii_hexdigit));
                continue;
            }
            // The public exponent stands in one line, and modulus and pub are public.
            if !matches!(name, "" | "modulus:" | "pub:") && digits.len() >= 64 {
                let digits = digits.trim_start_matches('0');
                let even = digits.len() % 2;
                secrets += &format!("{} ", &digits[even..even + 32]);
            }
            name = line;
            digits.clear();
        }
    }
    // d, p, q, dP, dQ, qInv of RSA, and one number of each of the others.
    assert_eq!(secrets.split_whitespace().count(), 8, "{secrets}");
    let path = |name: &str| {
        bed.work
            .path()
            .join(name)
            .to_str()
            .expect("UTF-8")
            .to_owned()
    };
    let variables = vec![
        (SECRETS.to_owned(), secrets),
        (LAST_CALL.to_owned(), path("last-call")),
        ("CTK_LOG".to_owned(), format!("error:{}", path("log"))),
        (LOG.to_owned(), path("log")),
    ];
    Prepared(bed, variables)
}

/// Whether these bytes are anywhere in those.
pub fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    let (bytes, len) = (bytes.as_ptr().cast(), bytes.len());
    // SAFETY: both are as long as is said.
    !unsafe { libc::memmem(bytes, len, wanted.as_ptr().cast(), wanted.len()) }.is_null()
}
