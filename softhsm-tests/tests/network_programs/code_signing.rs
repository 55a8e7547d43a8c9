//! jarsigner and osslsigncode sign with a KMS and with a CSC service, with and without a PIN.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use ctk_services::csc::Credential;
use softhsm_tests::{
    bed::Bed,
    process::{Outcome, run},
    python::script,
};

use crate::remote::{CSC_PIN, CscBed, KmsBed, Remote, WRONG_PIN, each_time};

/// Signs a program for Windows.
fn sign_program(bed: &Bed, token: &str, key: &Remote, pin: Option<&str>) -> Outcome {
    let path = |name: &str| bed.work.path().join(name);
    run(Command::new("python3")
        .arg(script("plain_exe.py"))
        .arg(path("plain.exe")))
    .succeeded();
    let _ = fs::remove_file(path("signed.exe"));
    let engines = run(Command::new("openssl").args(["version", "-e"]))
        .succeeded()
        .text();
    let engines = engines
        .split('"')
        .nth(1)
        .expect("the engines' folder")
        .to_owned();
    let mut command = bed.command("osslsigncode");
    command.args(["sign", "-h", "sha256", "-pkcs11engine"]);
    command.arg(Path::new(&engines).join("pkcs11.so"));
    command.arg("-pkcs11module").arg(&bed.module);
    command
        .args(["-key", &key.uri(token), "-certs"])
        .arg(&key.certificate);
    if let Some(pin) = pin {
        command.args(["-pass", pin]);
    }
    command.args(["-in", "plain.exe", "-out", "signed.exe"]);
    run(&mut command)
}

/// Signs a program for Windows, and has the signature checked up to the authority.
#[track_caller]
fn osslsigncode(bed: &Bed, token: &str, key: &Remote, authority: &Path, pin: Option<&str>) {
    sign_program(bed, token, key, pin).succeeded();
    let mut verify = bed.command("osslsigncode");
    verify
        .args(["verify", "-in", "signed.exe", "-CAfile"])
        .arg(authority);
    run(&mut verify)
        .succeeded()
        .says("Signature verification: ok");
}

/// Signs an archive of Java.
#[track_caller]
fn sign_archive(bed: &Bed, alias: &str, pin: Option<&str>) -> Outcome {
    bed.work.write("content", "content of the archive");
    let module = bed.module.display();
    bed.work
        .write("ctk.cfg", format!("name = ctk\nlibrary = {module}\n"));
    run(bed.command("jar").args(["cf", "plain.jar", "content"])).succeeded();
    let mut sign = bed.command("jarsigner");
    sign.args(["-addprovider", "SunPKCS11", "-providerArg", "ctk.cfg"]);
    sign.args(["-keystore", "NONE", "-storetype", "PKCS11"]);
    match pin {
        Some(pin) => sign.args(["-storepass", pin]),
        None => sign.arg("-protected"),
    };
    let _ = fs::remove_file(bed.work.path().join("signed.jar"));
    run(sign.args(["-signedjar", "signed.jar", "plain.jar", alias]))
}

/// Signs an archive of Java, and has the signature checked up to the authority.
#[track_caller]
fn jarsigner(bed: &Bed, key: &Remote, alias: &str, authority: &Path, pin: Option<&str>) {
    sign_archive(bed, alias, pin)
        .succeeded()
        .says("jar signed.");
    let trusted: PathBuf = bed.work.path().join("trusted.p12");
    let _ = fs::remove_file(&trusted);
    let mut trust = bed.command("keytool");
    trust.args(["-importcert", "-noprompt", "-keystore", "trusted.p12"]);
    trust.args(["-storepass", "public", "-alias", "authority", "-file"]);
    run(trust.arg(authority)).succeeded();
    let mut verify = bed.command("jarsigner");
    verify.args(["-verify", "-verbose", "-certs", "-keystore", "trusted.p12"]);
    let verified = run(verify.args(["-storepass", "public", "signed.jar"])).succeeded();
    let text = verified.says("jar verified.").text();
    assert!(!text.contains("chain is invalid"), "{text}");
    // Of the key that was meant.
    let mut subject = bed.command("openssl");
    subject.args([
        "x509",
        "-noout",
        "-subject",
        "-nameopt",
        "sep_multiline",
        "-in",
    ]);
    let subject = run(subject.arg(&key.certificate)).succeeded().text();
    let name = subject
        .lines()
        .find_map(|line| line.trim().strip_prefix("CN="));
    assert!(
        text.contains(&format!("CN={}", name.expect("a name"))),
        "{text}"
    );
}

#[test]
fn programs_for_windows_are_signed_with_a_kms() {
    let KmsBed { bed, keys } = KmsBed::new(&[
        ("RSA_2048", "SIGN_VERIFY"),
        ("ECC_NIST_P384", "SIGN_VERIFY"),
    ]);
    for key in &keys {
        osslsigncode(&bed, "kms", key, &bed.authority, None);
    }
}

#[test]
fn programs_for_windows_are_signed_with_a_csc_service() {
    let csc = CscBed::new("t/rsa", Credential::default());
    osslsigncode(&csc.bed, "csc", &csc.key, &csc.authority, None);
    let csc = CscBed::new("t/rsa-3072", Credential::with_pin(CSC_PIN));
    let refused = sign_program(&csc.bed, "csc", &csc.key, Some(WRONG_PIN));
    csc.has_refused_pin(refused);
    assert!(!csc.bed.work.path().join("signed.exe").exists());
    osslsigncode(&csc.bed, "csc", &csc.key, &csc.authority, Some(CSC_PIN));
    // It would ask at its terminal before each signature.
    let csc = CscBed::new("t/rsa", each_time());
    csc.store_pin();
    osslsigncode(&csc.bed, "csc", &csc.key, &csc.authority, None);
}

#[test]
fn archives_are_signed_with_a_kms() {
    let KmsBed { bed, keys } = KmsBed::new(&[
        ("RSA_2048", "SIGN_VERIFY"),
        ("ECC_NIST_P256", "SIGN_VERIFY"),
    ]);
    for key in &keys {
        jarsigner(&bed, key, &key.label, &bed.authority, None);
    }
}

#[test]
fn archives_are_signed_with_a_csc_service() {
    let csc = CscBed::new("t/p384", Credential::default());
    jarsigner(&csc.bed, &csc.key, "Test P-384", &csc.authority, None);
    for credential in [Credential::with_pin(CSC_PIN), each_time()] {
        let csc = CscBed::new("t/rsa", credential);
        csc.has_refused_pin(sign_archive(&csc.bed, "Test RSA", Some(WRONG_PIN)));
        assert!(!csc.bed.work.path().join("signed.jar").exists());
        let pin = Some(CSC_PIN);
        jarsigner(&csc.bed, &csc.key, "Test RSA", &csc.authority, pin);
    }
}
