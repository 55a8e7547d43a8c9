//! Tokens with the private keys of vectors: the module takes none by C_CreateObject, so they come to
//! it as a person's keys do, in PKCS#12 files (RFC 7292).

use std::process::Command;

use softhsm_tests::{
    bed::Bed,
    process::{LIMIT, run, run_within},
};

use crate::der::{explicit, integer, octets, oid, sequence, set, tlv};

/// The PIN of the tokens.
pub(crate) const PIN: &str = "vectors";

/// The most keys that are put into one file: a bit less than the module reads.
const MAX_KEYS: usize = 250;
/// The most bytes of keys. OpenSSL takes a quarter of a second to check an RSA key of 4096 bits, so that
/// a file with many would keep a program waiting for too long.
const MAX_BYTES: usize = 64 << 10;

/// The name of a key that is in every token and in no vector.
pub(crate) const COMPANION: &str = "companion";

/// A private key with the name by which the test finds it again.
pub(crate) struct Key {
    /// CKA_LABEL.
    pub(crate) label: String,
    /// What is the same for private keys with the same public key; empty where there are no two.
    pub(crate) public: Vec<u8>,
    /// PrivateKeyInfo (RFC 5208).
    pub(crate) pkcs8: Vec<u8>,
}

/// A home with these keys, in as many tokens as it takes.
///
/// Of several private keys with one public key a token has the first only, so each of them is in another
/// token. Nothing else is wrong with a token: besides keys that are none it has one that is.
pub(crate) fn bed(keys: &[Key]) -> Bed {
    let bed = Bed::empty();
    let companion = Key {
        label: COMPANION.to_owned(),
        public: Vec::new(),
        pkcs8: pkcs8(&[oid("1.3.101.110")], &octets(&[7; 32])),
    };
    let mut files: Vec<Vec<&Key>> = Vec::new();
    for key in keys {
        let has_room = |file: &&mut Vec<&Key>| {
            let bytes: usize = file.iter().map(|key| key.pkcs8.len()).sum();
            let same = |other: &&Key| !key.public.is_empty() && other.public == key.public;
            file.len() < MAX_KEYS && bytes < MAX_BYTES && !file.iter().any(same)
        };
        match files.iter_mut().find(has_room) {
            Some(file) => file.push(key),
            None => files.push(vec![&companion, key]),
        }
    }
    for (number, keys) in files.iter().enumerate() {
        let file = bed
            .work
            .write(&format!("vectors{number}.p12"), pfx(&bed, keys));
        bed.register(&file, PIN);
    }
    bed
}

/// PrivateKeyInfo.
pub(crate) fn pkcs8(algorithm: &[Vec<u8>], private_key: &[u8]) -> Vec<u8> {
    sequence(&[integer(0), sequence(algorithm), octets(private_key)])
}

/// A PFX with the keys in the clear, which is what makes it fast, and a MAC over it.
fn pfx(bed: &Bed, keys: &[&Key]) -> Vec<u8> {
    let data =
        |content: &[u8]| sequence(&[oid("1.2.840.113549.1.7.1"), explicit(&octets(content))]);
    let bags: Vec<_> = keys.iter().map(|key| key_bag(key)).collect();
    let auth_safe = sequence(&[data(&sequence(&bags))]);
    sequence(&[integer(3), data(&auth_safe), mac_data(bed, &auth_safe)])
}

fn key_bag(key: &Key) -> Vec<u8> {
    let name: Vec<u8> = key
        .label
        .encode_utf16()
        .flat_map(u16::to_be_bytes)
        .collect();
    let friendly_name = sequence(&[oid("1.2.840.113549.1.9.20"), set(&[tlv(0x1E, &name)])]);
    sequence(&[
        oid("1.2.840.113549.1.12.10.1.1"),
        explicit(&key.pkcs8),
        set(&[friendly_name]),
    ])
}

/// MacData with one iteration. The openssl command derives its key and computes it.
fn mac_data(bed: &Bed, auth_safe: &[u8]) -> Vec<u8> {
    const SALT: &[u8] = b"saltsalt";
    let password: Vec<u8> = PIN
        .encode_utf16()
        .chain([0])
        .flat_map(u16::to_be_bytes)
        .collect();
    let mut kdf = Command::new("openssl");
    kdf.args(["kdf", "-binary", "-keylen", "32"]);
    for option in [
        "digest:SHA256".to_owned(),
        "id:3".to_owned(),
        "iter:1".to_owned(),
        format!("hexsalt:{}", hex(SALT)),
        format!("hexpass:{}", hex(&password)),
    ] {
        kdf.args(["-kdfopt", &option]);
    }
    let key = run(kdf.arg("PKCS12KDF")).succeeded().stdout;
    assert_eq!(key.len(), 32);
    let file = bed.work.write("authenticated-safe", auth_safe);
    let mut hmac = Command::new("openssl");
    hmac.args(["mac", "-binary", "-digest", "SHA256", "-macopt"]);
    hmac.arg(format!("hexkey:{}", hex(&key)))
        .arg("-in")
        .arg(file);
    let mac = run_within(LIMIT, hmac.arg("HMAC"), b"").succeeded().stdout;
    assert_eq!(mac.len(), 32);
    let sha256 = sequence(&[oid("2.16.840.1.101.3.4.2.1"), tlv(0x05, &[])]);
    sequence(&[sequence(&[sha256, octets(&mac)]), octets(SALT), integer(1)])
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
