//! The object identifiers of PKCS#12 files: RFC 7292, RFC 8018, RFC 7914, RFC 2985.

use ctk_crypto::PbeCipher;
use ctk_token::Digest;
use der::asn1::ObjectIdentifier;

const fn oid(dotted: &str) -> ObjectIdentifier {
    ObjectIdentifier::new_unwrap(dotted)
}

pub(crate) const DATA: ObjectIdentifier = oid("1.2.840.113549.1.7.1");
pub(crate) const SIGNED_DATA: ObjectIdentifier = oid("1.2.840.113549.1.7.2");
pub(crate) const ENVELOPED_DATA: ObjectIdentifier = oid("1.2.840.113549.1.7.3");
pub(crate) const ENCRYPTED_DATA: ObjectIdentifier = oid("1.2.840.113549.1.7.6");

pub(crate) const KEY_BAG: ObjectIdentifier = oid("1.2.840.113549.1.12.10.1.1");
pub(crate) const SHROUDED_KEY_BAG: ObjectIdentifier = oid("1.2.840.113549.1.12.10.1.2");
pub(crate) const CERT_BAG: ObjectIdentifier = oid("1.2.840.113549.1.12.10.1.3");
pub(crate) const SECRET_BAG: ObjectIdentifier = oid("1.2.840.113549.1.12.10.1.5");
pub(crate) const SAFE_CONTENTS_BAG: ObjectIdentifier = oid("1.2.840.113549.1.12.10.1.6");
pub(crate) const X509_CERTIFICATE: ObjectIdentifier = oid("1.2.840.113549.1.9.22.1");

pub(crate) const FRIENDLY_NAME: ObjectIdentifier = oid("1.2.840.113549.1.9.20");
pub(crate) const LOCAL_KEY_ID: ObjectIdentifier = oid("1.2.840.113549.1.9.21");
pub(crate) const COMMON_NAME: ObjectIdentifier = oid("2.5.4.3");

pub(crate) const PBES2: ObjectIdentifier = oid("1.2.840.113549.1.5.13");
pub(crate) const PBKDF2: ObjectIdentifier = oid("1.2.840.113549.1.5.12");
pub(crate) const SCRYPT: ObjectIdentifier = oid("1.3.6.1.4.1.11591.4.11");
pub(crate) const PBMAC1: ObjectIdentifier = oid("1.2.840.113549.1.5.14");
pub(crate) const HMAC_SHA256: ObjectIdentifier = oid("1.2.840.113549.2.9");
pub(crate) const SHA256: ObjectIdentifier = oid("2.16.840.1.101.3.4.2.1");
pub(crate) const AES256_CBC: ObjectIdentifier = oid("2.16.840.1.101.3.4.1.42");
pub(crate) const RC2_CBC: ObjectIdentifier = oid("1.2.840.113549.3.2");

/// RFC 7292 Appendix C: password encryption with SHA-1 and the PKCS#12 key derivation.
const PBES1: [(ObjectIdentifier, PbeCipher); 6] = [
    (oid("1.2.840.113549.1.12.1.1"), PbeCipher::Rc4_128),
    (oid("1.2.840.113549.1.12.1.2"), PbeCipher::Rc4_40),
    (oid("1.2.840.113549.1.12.1.3"), PbeCipher::DesEde3),
    (oid("1.2.840.113549.1.12.1.4"), PbeCipher::DesEde2),
    (oid("1.2.840.113549.1.12.1.5"), PbeCipher::Rc2_128),
    (oid("1.2.840.113549.1.12.1.6"), PbeCipher::Rc2_40),
];

/// Encryption schemes of PBES2 whose parameter is nothing but the IV.
const CIPHERS: [(ObjectIdentifier, PbeCipher); 4] = [
    (oid("2.16.840.1.101.3.4.1.2"), PbeCipher::Aes128),
    (oid("2.16.840.1.101.3.4.1.22"), PbeCipher::Aes192),
    (AES256_CBC, PbeCipher::Aes256),
    (oid("1.2.840.113549.3.7"), PbeCipher::DesEde3),
];

/// HMAC with these hash functions: RFC 8018 §B.1, NIST's registry for SHA-3.
const HMACS: [(ObjectIdentifier, Digest); 9] = [
    (oid("1.2.840.113549.2.7"), Digest::Sha1),
    (oid("1.2.840.113549.2.8"), Digest::Sha224),
    (HMAC_SHA256, Digest::Sha256),
    (oid("1.2.840.113549.2.10"), Digest::Sha384),
    (oid("1.2.840.113549.2.11"), Digest::Sha512),
    (oid("2.16.840.1.101.3.4.2.13"), Digest::Sha3_224),
    (oid("2.16.840.1.101.3.4.2.14"), Digest::Sha3_256),
    (oid("2.16.840.1.101.3.4.2.15"), Digest::Sha3_384),
    (oid("2.16.840.1.101.3.4.2.16"), Digest::Sha3_512),
];

const DIGESTS: [(ObjectIdentifier, Digest); 5] = [
    (oid("1.3.14.3.2.26"), Digest::Sha1),
    (oid("2.16.840.1.101.3.4.2.4"), Digest::Sha224),
    (SHA256, Digest::Sha256),
    (oid("2.16.840.1.101.3.4.2.2"), Digest::Sha384),
    (oid("2.16.840.1.101.3.4.2.3"), Digest::Sha512),
];

/// The cipher of a PKCS#12 password encryption.
pub(crate) fn pbes1(content: &[u8]) -> Option<PbeCipher> {
    find(&PBES1, content)
}

/// The cipher of a PBES2 encryption scheme.
pub(crate) fn cipher(content: &[u8]) -> Option<PbeCipher> {
    find(&CIPHERS, content)
}

/// The hash inside an HMAC, such as the pseudo-random function of PBKDF2.
pub(crate) fn hmac(content: &[u8]) -> Option<Digest> {
    find(&HMACS, content)
}

/// The hash function.
pub(crate) fn digest(content: &[u8]) -> Option<Digest> {
    find(&DIGESTS, content)
}

/// Whether this is the content of `oid`'s encoding.
pub(crate) fn is(content: &[u8], oid: ObjectIdentifier) -> bool {
    content == oid.as_bytes()
}

/// In dots, for a message.
pub(crate) fn dotted(content: &[u8]) -> String {
    ObjectIdentifier::from_bytes(content).map_or_else(
        |_| "an invalid object identifier".into(),
        |oid| oid.to_string(),
    )
}

fn find<T: Copy>(table: &[(ObjectIdentifier, T)], content: &[u8]) -> Option<T> {
    table
        .iter()
        .find(|(oid, _)| is(content, *oid))
        .map(|(_, value)| *value)
}
