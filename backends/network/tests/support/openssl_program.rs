//! The openssl program, which shares nothing with what is tested.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use ctk_services::{process::run, work::Work};
use ctk_token::{Digest, KeyAlgorithm, Pss};

/// Whether a signature fits.
pub fn verifies(spki: &[u8], how: KeyAlgorithm, input: &[u8], signature: &[u8]) -> bool {
    let work = Work::new();
    let mut command = pkeyutl("-verify", &work, spki, input);
    command
        .arg("-sigfile")
        .arg(work.write("signature", signature));
    match how {
        KeyAlgorithm::RsaPkcs1 => option(&mut command, "rsa_padding_mode:pkcs1"),
        KeyAlgorithm::RsaPkcs1Digest(digest) => {
            option(&mut command, "rsa_padding_mode:pkcs1");
            option(&mut command, &format!("digest:{}", name(digest)));
        }
        KeyAlgorithm::RsaPssDigest(Pss {
            digest,
            mgf,
            salt_len,
        }) => {
            option(&mut command, "rsa_padding_mode:pss");
            option(&mut command, &format!("digest:{}", name(digest)));
            option(&mut command, &format!("rsa_mgf1_md:{}", name(mgf)));
            option(&mut command, &format!("rsa_pss_saltlen:{salt_len}"));
        }
        KeyAlgorithm::EcdsaDigest => {}
        other => panic!("no service signs {other:?}"),
    }
    run(&mut command).status.success()
}

/// What `how` decrypts to this; `None` if the program does not encrypt it.
pub fn encrypted(spki: &[u8], how: KeyAlgorithm, plaintext: &[u8]) -> Option<Vec<u8>> {
    let work = Work::new();
    let mut command = pkeyutl("-encrypt", &work, spki, plaintext);
    match how {
        KeyAlgorithm::RsaRaw => option(&mut command, "rsa_padding_mode:none"),
        KeyAlgorithm::RsaOaep(oaep) => {
            option(&mut command, "rsa_padding_mode:oaep");
            option(&mut command, &format!("rsa_oaep_md:{}", name(oaep.digest)));
            option(&mut command, &format!("rsa_mgf1_md:{}", name(oaep.mgf)));
        }
        _ => return None,
    }
    let ciphertext = work.path().join("ciphertext");
    run(command.arg("-out").arg(&ciphertext)).succeeded();
    Some(fs::read(ciphertext).expect("a ciphertext"))
}

/// Whether a certificate is of the authority (both DER).
pub fn certificate_is_of(certificate: &[u8], authority: &[u8]) -> bool {
    let work = Work::new();
    let mut command = Command::new("openssl");
    command
        .args(["verify", "-CAfile"])
        .arg(pem(&work, "authority", authority))
        .arg(pem(&work, "certificate", certificate));
    run(&mut command).status.success()
}

/// The public key (DER SubjectPublicKeyInfo) in a certificate (DER).
pub fn spki_of(certificate: &[u8]) -> Vec<u8> {
    let work = Work::new();
    let public = run(Command::new("openssl")
        .args(["x509", "-inform", "DER", "-noout", "-pubkey", "-in"])
        .arg(work.write("certificate", certificate)))
    .succeeded()
    .stdout;
    let der = work.path().join("public.der");
    run(Command::new("openssl")
        .args(["pkey", "-pubin", "-outform", "DER", "-in"])
        .arg(work.write("public.pem", public))
        .arg("-out")
        .arg(&der))
    .succeeded();
    fs::read(der).expect("a public key")
}

fn pkeyutl(what: &str, work: &Work, spki: &[u8], input: &[u8]) -> Command {
    let mut command = Command::new("openssl");
    command
        .args(["pkeyutl", what, "-pubin", "-keyform", "DER", "-inkey"])
        .arg(work.write("public", spki))
        .arg("-in")
        .arg(work.write("input", input));
    command
}

fn option(command: &mut Command, option: &str) {
    command.args(["-pkeyopt", option]);
}

fn pem(work: &Work, name: &str, der: &[u8]) -> PathBuf {
    let path: &Path = &work.path().join(format!("{name}.pem"));
    run(Command::new("openssl")
        .args(["x509", "-inform", "DER", "-in"])
        .arg(work.write(name, der))
        .arg("-out")
        .arg(path))
    .succeeded();
    path.to_owned()
}

fn name(digest: Digest) -> &'static str {
    match digest {
        Digest::Sha1 => "sha1",
        Digest::Sha224 => "sha224",
        Digest::Sha256 => "sha256",
        Digest::Sha384 => "sha384",
        Digest::Sha512 => "sha512",
        Digest::Sha3_224 => "sha3-224",
        Digest::Sha3_256 => "sha3-256",
        Digest::Sha3_384 => "sha3-384",
        Digest::Sha3_512 => "sha3-512",
    }
}
