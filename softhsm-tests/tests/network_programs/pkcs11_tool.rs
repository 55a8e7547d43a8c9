//! OpenSC's pkcs11-tool lists, signs, decrypts and agrees on secrets with keys of a KMS.

use std::{fs, process::Command};

use softhsm_tests::{
    bed::Bed,
    process::{Outcome, run},
};

use crate::remote::{CSC_PIN, CscBed, KmsBed, Remote, verifies};

/// pkcs11-tool with a key, from the file `message` to the file `output`.
fn with_key(
    bed: &Bed,
    token: &str,
    key: &Remote,
    input: &str,
    output: &str,
    options: &[&str],
) -> Outcome {
    let _ = fs::remove_file(bed.work.path().join(output));
    let mut command = bed.pkcs11_tool();
    command.args(["--token-label", token, "--id", &key.id]);
    command.args(["--input-file", input, "--output-file", output]);
    run(command.args(options))
}

fn read(bed: &Bed, name: &str) -> Vec<u8> {
    fs::read(bed.work.path().join(name)).expect("a file")
}

#[test]
fn it_lists_what_a_kms_has_and_can() {
    let KmsBed { bed, keys } = KmsBed::new(&[
        ("RSA_2048", "SIGN_VERIFY"),
        ("ECC_NIST_P256", "SIGN_VERIFY"),
        ("RSA_2048", "ENCRYPT_DECRYPT"),
        ("ECC_NIST_P384", "KEY_AGREEMENT"),
    ]);
    let objects = run(bed.pkcs11_tool().arg("-O")).succeeded().text();
    for key in &keys {
        // The private key, the public key and the certificate.
        let id = format!("ID:         {}\n", key.id);
        assert_eq!(objects.matches(&id).count(), 3, "{objects}");
    }
    let token = run(bed.pkcs11_tool().arg("-L")).succeeded().text();
    assert!(
        token.contains("AWS KMS") && !token.contains("login required"),
        "{token}"
    );
    let mechanisms = run(bed.pkcs11_tool().arg("-M")).succeeded().text();
    for name in [
        "SHA256-RSA-PKCS,",
        "SHA512-RSA-PKCS-PSS,",
        "ECDSA,",
        "ECDH1-DERIVE,",
        "RSA-PKCS-OAEP,",
    ] {
        assert!(mechanisms.contains(name), "no {name}\n{mechanisms}");
    }
}

#[test]
fn it_signs_with_every_type_of_key_of_a_kms() {
    let KmsBed { bed, keys } = KmsBed::new(&[
        ("RSA_2048", "SIGN_VERIFY"),
        ("RSA_3072", "SIGN_VERIFY"),
        ("ECC_NIST_P256", "SIGN_VERIFY"),
        ("ECC_NIST_P384", "SIGN_VERIFY"),
        ("ECC_NIST_P521", "SIGN_VERIFY"),
        ("ECC_SECG_P256K1", "SIGN_VERIFY"),
    ]);
    bed.work.write("message", vec![7; 10_000]);
    let sign = |key: &Remote, options: &[&str]| {
        let options = [&["--sign", "-m"], options].concat();
        with_key(&bed, "kms", key, "message", "signature", &options).succeeded();
    };
    for bits in ["256", "384", "512"] {
        let digest = format!("sha{bits}");
        for key in &keys[..2] {
            sign(key, &[&format!("SHA{bits}-RSA-PKCS")]);
            verifies(&bed, key, &digest, &[]);
            sign(key, &[&format!("SHA{bits}-RSA-PKCS-PSS")]);
            let pss = ["rsa_padding_mode:pss", "rsa_pss_saltlen:digest"];
            verifies(&bed, key, &digest, &pss);
        }
        for key in &keys[2..] {
            sign(
                key,
                &[&format!("ECDSA-SHA{bits}"), "--signature-format", "openssl"],
            );
            verifies(&bed, key, &digest, &[]);
        }
    }
}

#[test]
fn it_decrypts_with_a_kms() {
    let KmsBed { bed, keys } = KmsBed::new(&[
        ("RSA_2048", "ENCRYPT_DECRYPT"),
        ("RSA_4096", "ENCRYPT_DECRYPT"),
    ]);
    bed.work
        .write("secret", b"what only the holder of the key may read");
    for key in &keys {
        // With SHA-256 only: localstack takes what is encrypted with SHA-1 for that.
        let mut command = bed.command("openssl");
        command.args([
            "pkeyutl", "-encrypt", "-pubin", "-in", "secret", "-out", "sealed",
        ]);
        command.args([
            "-pkeyopt",
            "rsa_padding_mode:oaep",
            "-pkeyopt",
            "rsa_oaep_md:sha256",
        ]);
        run(command.arg("-inkey").arg(&key.public)).succeeded();
        let oaep = ["--decrypt", "-m", "RSA-PKCS-OAEP", "--hash-algorithm"];
        let options = [&oaep[..], &["SHA256", "--mgf", "MGF1-SHA256"]].concat();
        with_key(&bed, "kms", key, "sealed", "opened", &options).succeeded();
        assert_eq!(read(&bed, "opened"), read(&bed, "secret"));
    }
}

#[test]
fn it_agrees_on_secrets_with_a_kms() {
    let curves = [
        ("ECC_NIST_P256", "P-256"),
        ("ECC_NIST_P384", "P-384"),
        ("ECC_NIST_P521", "P-521"),
    ];
    let kinds = curves.map(|(spec, _)| (spec, "KEY_AGREEMENT"));
    let KmsBed { bed, keys } = KmsBed::new(&kinds);
    for (key, (_, curve)) in keys.iter().zip(curves) {
        let openssl = |arguments: &[&str]| {
            let mut command = Command::new("openssl");
            run(command.args(arguments).current_dir(bed.work.path())).succeeded();
        };
        let option = format!("ec_paramgen_curve:{curve}");
        openssl(&[
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            &option,
            "-out",
            "peer.key",
        ]);
        openssl(&[
            "pkey", "-in", "peer.key", "-pubout", "-outform", "DER", "-out", "peer.der",
        ]);
        let public = key.public.to_str().expect("UTF-8");
        openssl(&[
            "pkeyutl", "-derive", "-inkey", "peer.key", "-peerkey", public, "-out", "wanted",
        ]);
        let options = ["--derive", "-m", "ECDH1-DERIVE"];
        with_key(&bed, "kms", key, "peer.der", "agreed", &options).succeeded();
        assert_eq!(read(&bed, "agreed"), read(&bed, "wanted"), "{curve}");
    }
}

#[test]
fn it_logs_in_to_a_csc_service() {
    let csc = CscBed::new("t/rsa", ctk_services::csc::Credential::with_pin(CSC_PIN));
    let bed = &csc.bed;
    bed.work.write("message", vec![7; 10_000]);
    let sign = |pin: &str| {
        let options = [
            "--login",
            "--pin",
            pin,
            "--sign",
            "-m",
            "SHA256-RSA-PKCS-PSS",
        ];
        with_key(bed, "csc", &csc.key, "message", "signature", &options)
    };
    sign("0815").refused().says("CKR_PIN_INCORRECT");
    sign(CSC_PIN).succeeded();
    let pss = ["rsa_padding_mode:pss", "rsa_pss_saltlen:digest"];
    verifies(bed, &csc.key, "sha256", &pss);
}

#[test]
fn it_signs_with_a_csc_service_without_a_login() {
    let csc = CscBed::new("t/p384", ctk_services::csc::Credential::default());
    let bed = &csc.bed;
    bed.work.write("message", vec![7; 10_000]);
    let options = ["--sign", "-m", "ECDSA-SHA384"];
    let options = [&options[..], &["--signature-format", "openssl"]].concat();
    csc.proxy.forget();
    with_key(bed, "csc", &csc.key, "message", "signature", &options).succeeded();
    verifies(bed, &csc.key, "sha384", &[]);
    // What authorises it, and the signature: the listing before it costs nothing.
    assert_eq!(csc.proxy.counts().requests, 2);
}
