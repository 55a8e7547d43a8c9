//! Keys made at run time, and the `openssl` command as a second opinion.

#![allow(dead_code)] // each test file uses its part
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Runs `openssl` and returns whether it succeeded and what it printed.
pub(crate) fn openssl(arguments: &[&str]) -> (bool, Vec<u8>) {
    let output = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("these tests compare with the openssl command: install it");
    if !output.status.success() {
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    }
    (output.status.success(), output.stdout)
}

/// A file for the openssl command, in the build folder's own place for test files; gone when dropped.
pub(crate) struct TestFile(PathBuf);

impl std::ops::Deref for TestFile {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

pub(crate) fn file(name: &str, contents: &[u8]) -> TestFile {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("{}-{number}-{name}", std::process::id()));
    std::fs::write(&path, contents).unwrap();
    TestFile(path)
}

/// A new key in PKCS#8, by `openssl genpkey`: `kind` and its options, such as `["RSA", "rsa_keygen_bits:2048"]`.
pub(crate) fn pkcs8(kind: &[&str]) -> Vec<u8> {
    let mut arguments = vec!["genpkey", "-algorithm", kind[0]];
    for option in &kind[1..] {
        arguments.extend(["-pkeyopt", option]);
    }
    let (made, pem) = openssl(&arguments);
    assert!(made, "{kind:?}");
    // genpkey's own DER is each algorithm's older form.
    let pem = file("key.pem", &pem);
    let pem = pem.to_str().unwrap();
    let (converted, der) = openssl(&["pkcs8", "-topk8", "-nocrypt", "-outform", "DER", "-in", pem]);
    assert!(converted, "{kind:?}");
    der
}

pub(crate) fn rsa(bits: u32) -> Vec<u8> {
    pkcs8(&["RSA", &format!("rsa_keygen_bits:{bits}")])
}

pub(crate) fn ec(curve: &str) -> Vec<u8> {
    pkcs8(&[
        "EC",
        &format!("ec_paramgen_curve:{curve}"),
        "ec_param_enc:named_curve",
    ])
}

/// Curves that both libraries have.
pub(crate) const CURVES: [&str; 5] = ["P-224", "P-256", "P-384", "P-521", "secp256k1"];

/// The one place of `needle` in `haystack`.
pub(crate) fn position(haystack: &[u8], needle: &[u8]) -> usize {
    let mut places = (0..haystack.len()).filter(|at| haystack[*at..].starts_with(needle));
    let place = places.next().unwrap();
    assert_eq!(places.next(), None);
    place
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `len` bytes that count up from `from`.
pub(crate) fn numbers(from: u8, len: usize) -> Vec<u8> {
    (0..len)
        .map(|number| from.wrapping_add(number as u8))
        .collect()
}
