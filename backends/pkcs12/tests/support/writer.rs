//! Writes PKCS#12 files that no tool at hand writes: Windows style, BER with indefinite lengths,
//! and broken ones.

use ctk_crypto::{Pkcs12Purpose, hmac, pkcs12_kdf};
use ctk_token::Digest;
use der::asn1::ObjectIdentifier;

pub(crate) const DATA: &str = "1.2.840.113549.1.7.1";
pub(crate) const ENCRYPTED_DATA: &str = "1.2.840.113549.1.7.6";
pub(crate) const KEY_BAG: &str = "1.2.840.113549.1.12.10.1.1";
pub(crate) const SHROUDED_KEY_BAG: &str = "1.2.840.113549.1.12.10.1.2";
pub(crate) const CERT_BAG: &str = "1.2.840.113549.1.12.10.1.3";
pub(crate) const SAFE_CONTENTS_BAG: &str = "1.2.840.113549.1.12.10.1.6";
pub(crate) const SHA1: &str = "1.3.14.3.2.26";

/// An element with the shortest definite length.
pub(crate) fn tlv(identifier: u8, content: &[u8]) -> Vec<u8> {
    let len = content.len();
    let octets = len.to_be_bytes();
    let significant = &octets[octets.iter().take_while(|octet| **octet == 0).count()..];
    let mut element = vec![identifier];
    if len < 0x80 {
        element.push(len as u8);
    } else {
        element.push(0x80 | significant.len() as u8);
        element.extend_from_slice(significant);
    }
    element.extend_from_slice(content);
    element
}

pub(crate) fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x30, &parts.concat())
}

pub(crate) fn set(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x31, &parts.concat())
}

pub(crate) fn explicit(content: &[u8]) -> Vec<u8> {
    tlv(0xa0, content)
}

pub(crate) fn octets(content: &[u8]) -> Vec<u8> {
    tlv(0x04, content)
}

pub(crate) fn oid(dotted: &str) -> Vec<u8> {
    tlv(0x06, ObjectIdentifier::new_unwrap(dotted).as_bytes())
}

pub(crate) fn integer(value: u64) -> Vec<u8> {
    let octets = value.to_be_bytes();
    let zeros = octets
        .iter()
        .take(7)
        .take_while(|octet| **octet == 0)
        .count();
    let mut content = octets[zeros..].to_vec();
    if content[0] & 0x80 != 0 {
        content.insert(0, 0);
    }
    tlv(0x02, &content)
}

/// ContentInfo of the kind `data`.
pub(crate) fn data(content: &[u8]) -> Vec<u8> {
    sequence(&[oid(DATA), explicit(&octets(content))])
}

pub(crate) fn bag(kind: &str, value: &[u8], attributes: &[Vec<u8>]) -> Vec<u8> {
    let mut parts = vec![oid(kind), explicit(value)];
    if !attributes.is_empty() {
        parts.push(set(attributes));
    }
    sequence(&parts)
}

pub(crate) fn certificate_bag(der: &[u8], attributes: &[Vec<u8>]) -> Vec<u8> {
    let value = sequence(&[oid("1.2.840.113549.1.9.22.1"), explicit(&octets(der))]);
    bag(CERT_BAG, &value, attributes)
}

pub(crate) fn attribute(kind: &str, value: &[u8]) -> Vec<u8> {
    sequence(&[oid(kind), set(&[value.to_vec()])])
}

pub(crate) fn friendly_name(name: &str) -> Vec<u8> {
    let units: Vec<u8> = name.encode_utf16().flat_map(u16::to_be_bytes).collect();
    attribute("1.2.840.113549.1.9.20", &tlv(0x1e, &units))
}

pub(crate) fn local_key_id(id: &[u8]) -> Vec<u8> {
    attribute("1.2.840.113549.1.9.21", &octets(id))
}

/// PFX over an encoded AuthenticatedSafe, with a MacData if there is one.
pub(crate) fn pfx(auth_safe: &[u8], mac_data: Option<Vec<u8>>) -> Vec<u8> {
    let mut parts = vec![integer(3), data(auth_safe)];
    parts.extend(mac_data);
    sequence(&parts)
}

pub(crate) fn mac_data(digest: &str, mac: &[u8], salt: &[u8], iterations: u64) -> Vec<u8> {
    let algorithm = sequence(&[oid(digest), vec![0x05, 0]]);
    sequence(&[
        sequence(&[algorithm, octets(mac)]),
        octets(salt),
        integer(iterations),
    ])
}

/// The MacData with SHA-1 that Windows writes.
pub(crate) fn sha1_mac(auth_safe: &[u8], password: &str) -> Vec<u8> {
    let bmp: Vec<u8> = password
        .encode_utf16()
        .chain([0])
        .flat_map(u16::to_be_bytes)
        .collect();
    let mut key = [0; 20];
    pkcs12_kdf(
        Digest::Sha1,
        Pkcs12Purpose::Mac,
        &bmp,
        b"saltsalt",
        2000,
        &mut key,
    )
    .unwrap();
    mac_data(
        SHA1,
        &hmac(Digest::Sha1, &key, auth_safe).unwrap(),
        b"saltsalt",
        2000,
    )
}

/// The ContentInfos in the AuthenticatedSafe of a DER file.
pub(crate) fn safes(pfx: &[u8]) -> Vec<Vec<u8>> {
    let inside = |der: &[u8], number: usize| elements(der)[number].1.to_vec();
    let auth_safe = inside(&inside(pfx, 0), 1);
    let content = inside(&inside(&auth_safe, 1), 0);
    let safes = inside(&content, 0);
    elements(&safes)
        .into_iter()
        .map(|(identifier, content)| tlv(identifier, content))
        .collect()
}

/// Whether this ContentInfo is of the kind `data`.
pub(crate) fn is_data(safe: &[u8]) -> bool {
    elements(safe)[0].1.starts_with(&oid(DATA))
}

/// EncryptedData with PBES2: this key derivation, AES-256, and this ciphertext.
pub(crate) fn encrypted(derivation: Vec<u8>, ciphertext: &[u8]) -> Vec<u8> {
    let cipher = sequence(&[oid("2.16.840.1.101.3.4.1.42"), octets(&[7; 16])]);
    let algorithm = sequence(&[
        oid("1.2.840.113549.1.5.13"),
        sequence(&[derivation, cipher]),
    ]);
    let info = sequence(&[oid(DATA), algorithm, tlv(0x80, ciphertext)]);
    sequence(&[
        oid(ENCRYPTED_DATA),
        explicit(&sequence(&[integer(0), info])),
    ])
}

/// The AlgorithmIdentifier of PBKDF2 with HMAC-SHA-1.
pub(crate) fn pbkdf2(iterations: u64) -> Vec<u8> {
    let parameters = sequence(&[octets(b"salt"), integer(iterations)]);
    sequence(&[oid("1.2.840.113549.1.5.12"), parameters])
}

/// The AlgorithmIdentifier of scrypt.
pub(crate) fn scrypt(n: u64, r: u64, p: u64) -> Vec<u8> {
    let parameters = sequence(&[octets(b"salt"), integer(n), integer(r), integer(p)]);
    sequence(&[oid("1.3.6.1.4.1.11591.4.11"), parameters])
}

/// Writes DER again as BER: indefinite lengths, strings in pieces (some of them in pieces again),
/// other lengths in a long form with leading zeros. Strings of the kind `data` are opened and
/// written again to a depth of `open` strings; what else is in a string (certificates, ciphertexts)
/// stays.
pub(crate) fn to_ber(der: &[u8], open: usize) -> Vec<u8> {
    let mut ber = Vec::new();
    for (identifier, content) in elements(der) {
        let mut indefinite = |constructed: u8, content: &[u8]| {
            ber.extend_from_slice(&[constructed, 0x80]);
            ber.extend_from_slice(content);
            ber.extend_from_slice(&[0, 0]);
        };
        match identifier {
            0x04 | 0x80 if identifier == 0x80 || content.len() > 8 => {
                let opened = open > 0 && content[0] == 0x30 && is_whole(content);
                let content = if opened {
                    to_ber(content, open - 1)
                } else {
                    content.to_vec()
                };
                indefinite(identifier | 0x20, &pieces(&content));
            }
            constructed if constructed & 0x20 != 0 => {
                // Certificates and keys stand inside strings, which only `data` opens.
                let is_data = content.starts_with(&oid(DATA));
                let open = if is_data || identifier != 0x30 {
                    open
                } else {
                    open.min(open_below(content, open))
                };
                indefinite(identifier, &to_ber(content, open));
            }
            _ => {
                ber.extend_from_slice(&[identifier, 0x84]);
                ber.extend_from_slice(&(content.len() as u32).to_be_bytes());
                ber.extend_from_slice(content);
            }
        }
    }
    ber
}

/// Bags are not opened any further.
fn open_below(content: &[u8], open: usize) -> usize {
    let is_bag = content.starts_with(&oid(CERT_BAG))
        || content.starts_with(&oid(SHROUDED_KEY_BAG))
        || content.starts_with(&oid(KEY_BAG));
    if is_bag { 0 } else { open }
}

fn pieces(content: &[u8]) -> Vec<u8> {
    let mut pieces = vec![0x04, 0];
    for (number, piece) in content.chunks(97).enumerate() {
        let piece = tlv(0x04, piece);
        if number % 5 == 3 {
            pieces.extend_from_slice(&[0x24, 0x80]);
            pieces.extend_from_slice(&piece);
            pieces.extend_from_slice(&[0, 0]);
        } else {
            pieces.extend_from_slice(&piece);
        }
    }
    pieces
}

/// Identifier and content of each element of well-formed DER.
pub(crate) fn elements(mut der: &[u8]) -> Vec<(u8, &[u8])> {
    let mut found = Vec::new();
    while !der.is_empty() {
        let (header, len) = header(der).expect("DER");
        found.push((der[0], &der[header..header + len]));
        der = &der[header + len..];
    }
    found
}

fn is_whole(der: &[u8]) -> bool {
    header(der).is_some_and(|(header, len)| header + len == der.len())
}

/// The lengths of the first element's header and content.
fn header(der: &[u8]) -> Option<(usize, usize)> {
    let first = *der.get(1)?;
    if first < 0x80 {
        return Some((2, first.into()));
    }
    let count = usize::from(first & 0x7f);
    let len = der
        .get(2..2 + count)?
        .iter()
        .fold(0, |len, octet| len << 8 | usize::from(*octet));
    Some((2 + count, len))
}
