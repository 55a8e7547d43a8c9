//! Tokens from PKCS#12 files keep every rule of the contract, with every kind of key that openssl
//! makes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

mod support;

use std::fs;

use ctk_crypto::{PrivateKey, RsaEncryption};
use ctk_pkcs12::{Configuration, Driver, inspect};
use ctk_token::{KeyAlgorithm, KeyType, PublicKey, PublicKeyMaterial, TokenDriver, conformance};
use support::{
    Workshop, configuration,
    writer::{self, bag, data, integer, octets, sequence, tlv},
};

struct Files(Vec<Configuration>);

impl conformance::Fixture for Files {
    fn driver(&self) -> Box<dyn TokenDriver> {
        Box::new(Driver::new(self.0.clone()))
    }

    fn pin(&self) -> Option<&[u8]> {
        Some(b"correct")
    }

    fn wrong_pin(&self) -> &[u8] {
        b"wrong"
    }

    fn new_pin(&self) -> Option<&[u8]> {
        Some("neu €".as_bytes())
    }

    fn verify(&self, key: &PublicKey, how: KeyAlgorithm, input: &[u8], signature: &[u8]) -> bool {
        ctk_crypto::verify(key, how, input, signature).unwrap()
    }

    fn encrypt(&self, key: &PublicKey, how: KeyAlgorithm, plaintext: &[u8]) -> Option<Vec<u8>> {
        let how = match how {
            KeyAlgorithm::RsaRaw => RsaEncryption::Raw,
            KeyAlgorithm::RsaPkcs1 => RsaEncryption::Pkcs1,
            _ => return None,
        };
        let mut ciphertext = vec![0; key.max_signature_len()];
        let len = ctk_crypto::encrypt(&how, key, plaintext, &mut ciphertext).unwrap();
        ciphertext.truncate(len);
        Some(ciphertext)
    }

    fn peer(&self, key: &PublicKey, how: KeyAlgorithm) -> Option<(Vec<u8>, Vec<u8>)> {
        let mut secret = vec![0; key.shared_secret_len()];
        let key_type = key.key_type();
        if let Some(len) = key_type.ciphertext_len() {
            let mut ciphertext = vec![0; len];
            ctk_crypto::encapsulate(key, &mut ciphertext, &mut secret).unwrap();
            return Some((ciphertext, secret));
        }
        let bytes = |key: &PublicKey| match key.material() {
            PublicKeyMaterial::Ec { point, .. } => point.to_vec(),
            PublicKeyMaterial::Raw { bytes, .. } => bytes.to_vec(),
            PublicKeyMaterial::Rsa { .. } => panic!("RSA agrees on nothing"),
        };
        let other = PrivateKey::generate(key_type).unwrap();
        other.key_exchange(how, &bytes(key), &mut secret).unwrap();
        Some((bytes(other.public_key()), secret))
    }
}

/// A token of a file with one identity, or with a key alone that cannot sign its own certificate.
fn file(workshop: &Workshop, kind: &str) -> Configuration {
    let source = match kind {
        "x25519" | "x448" => {
            workshop.key(kind, kind);
            "-nocerts"
        }
        _ => {
            workshop.identity(kind, kind);
            ""
        }
    };
    let certificate = match source {
        "" => format!("-in {kind}.crt"),
        nothing => format!("{nothing} -in {kind}.key"),
    };
    workshop.openssl(&format!(
        "pkcs12 -export -inkey {kind}.key {certificate} -out {kind}.p12 -passout pass:correct"
    ));
    let path = workshop.path(&format!("{kind}.p12"));
    let contents = inspect(&path, b"correct").unwrap();
    assert_eq!(contents.keys.len(), 1, "{kind}");
    Configuration {
        name: kind.into(),
        ..configuration(&path, contents)
    }
}

/// A token of a key that the openssl at hand does not make: from a random seed (RFC 9881 §6, RFC 9935
/// §6).
fn seeded(workshop: &Workshop, name: &str, oid: &str, seed_len: usize) -> Configuration {
    let mut seed = vec![0; seed_len];
    ctk_crypto::random(&mut seed).unwrap();
    let pkcs8 = sequence(&[
        integer(0),
        sequence(&[writer::oid(oid)]),
        octets(&tlv(0x80, &seed)),
    ]);
    let safe = sequence(&[data(&sequence(&[bag(writer::KEY_BAG, &pkcs8, &[])]))]);
    let mac = writer::sha1_mac(&safe, "correct");
    let path = workshop.write(&format!("{name}.p12"), &writer::pfx(&safe, Some(mac)));
    let contents = inspect(&path, b"correct").unwrap();
    let public = PublicKey::from_spki(&contents.keys[0].spki).unwrap();
    assert_eq!(public.key_type().to_string(), name);
    Configuration {
        name: name.into(),
        ..configuration(&path, contents)
    }
}

#[test]
fn conforms() {
    let workshop = Workshop::new();
    let mut kinds = vec![
        "rsa",
        "rsa-pss",
        "ec",
        "secp224r1",
        "P-384",
        "P-521",
        "secp256k1",
        "ed25519",
        "x25519",
    ];
    if ctk_crypto::has_key_type(KeyType::Ed448) {
        kinds.extend([
            "brainpoolP256r1",
            "brainpoolP384r1",
            "brainpoolP512r1",
            "ed448",
            "x448",
        ]);
    }
    let mut files: Vec<_> = kinds.iter().map(|kind| file(&workshop, kind)).collect();
    for (name, oid, seed_len) in [
        ("ML-DSA-44", "2.16.840.1.101.3.4.3.17", 32),
        ("ML-DSA-65", "2.16.840.1.101.3.4.3.18", 32),
        ("ML-DSA-87", "2.16.840.1.101.3.4.3.19", 32),
        ("ML-KEM-512", "2.16.840.1.101.3.4.4.1", 64),
        ("ML-KEM-768", "2.16.840.1.101.3.4.4.2", 64),
        ("ML-KEM-1024", "2.16.840.1.101.3.4.4.3", 64),
    ] {
        files.push(seeded(&workshop, name, oid, seed_len));
    }
    let before = fs::read(workshop.path("rsa.p12")).unwrap();
    for outcome in conformance::run(&Files(files)) {
        assert_eq!(outcome.not_applicable, None, "{}", outcome.rule);
    }
    // The secret was changed to and fro.
    assert_ne!(before, fs::read(workshop.path("rsa.p12")).unwrap());
}
