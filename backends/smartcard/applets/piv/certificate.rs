//! What the token tells of a key from its certificate (RFC 5280 §4.1). Read leniently: real certificates break rules that
//! have nothing to do with these fields.

use crate::tlv::{self, Malformed, Reader};

/// What a certificate says of whose key it is and what it is for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Facts {
    /// Name, DER.
    pub(super) subject: Vec<u8>,
    /// The first common name in it, as text.
    pub(super) common_name: Option<String>,
    /// The extension of this name, if there is one.
    pub(super) key_usage: Option<KeyUsage>,
}

/// The bits of KeyUsage (RFC 5280 §4.2.1.3), the first in 0x80.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct KeyUsage(u8);

impl KeyUsage {
    pub(super) const DIGITAL_SIGNATURE: u8 = 0x80;
    pub(super) const NON_REPUDIATION: u8 = 0x40;
    pub(super) const KEY_ENCIPHERMENT: u8 = 0x20;
    pub(super) const DATA_ENCIPHERMENT: u8 = 0x10;
    pub(super) const KEY_AGREEMENT: u8 = 0x08;
    pub(super) const KEY_CERT_SIGN: u8 = 0x04;
    pub(super) const CRL_SIGN: u8 = 0x02;
    pub(super) const ENCIPHER_ONLY: u8 = 0x01;

    /// Whether one of these is among them.
    pub(super) fn has(self, bits: u8) -> bool {
        self.0 & bits != 0
    }
}

const SEQUENCE: u32 = 0x30;
const VERSION: u32 = 0xa0;
const EXTENSIONS: u32 = 0xa3;
const OBJECT_IDENTIFIER: u32 = 0x06;
const OCTET_STRING: u32 = 0x04;
const BIT_STRING: u32 = 0x03;
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];

/// Reads the facts as far as the certificate has them.
pub(super) fn facts(der: &[u8]) -> Facts {
    read(der).unwrap_or_default()
}

fn read(der: &[u8]) -> Result<Facts, Malformed> {
    let certificate = tlv::find(der, SEQUENCE)?.ok_or(Malformed)?;
    let tbs = tlv::find(certificate, SEQUENCE)?.ok_or(Malformed)?;
    let fields = Reader::new(tbs).collect::<Result<Vec<_>, _>>()?;
    let with_version = fields.first().is_some_and(|field| field.tag == VERSION);
    // serialNumber, signature, issuer, validity
    let before = if with_version { 5 } else { 4 };
    let subject = fields.get(before).ok_or(Malformed)?;
    let extensions = fields.iter().find(|field| field.tag == EXTENSIONS);
    Ok(Facts {
        subject: tlv::encode(subject.tag, subject.value).to_vec(),
        common_name: common_name(subject.value).unwrap_or_default(),
        key_usage: extensions.and_then(|field| key_usage(field.value).ok().flatten()),
    })
}

fn common_name(subject: &[u8]) -> Result<Option<String>, Malformed> {
    for relative_name in Reader::new(subject) {
        for attribute in Reader::new(relative_name?.value) {
            let mut parts = Reader::new(attribute?.value);
            let (Some(oid), Some(value)) = (parts.next(), parts.next()) else {
                continue;
            };
            if oid?.value == COMMON_NAME {
                let value = value?;
                return Ok(text(value.tag, value.value));
            }
        }
    }
    Ok(None)
}

/// A DirectoryString (RFC 5280 §4.1.2.4).
fn text(tag: u32, bytes: &[u8]) -> Option<String> {
    let text = match tag {
        0x0c | 0x13 | 0x16 => String::from_utf8_lossy(bytes).into_owned(),
        0x14 => bytes.iter().copied().map(char::from).collect(),
        0x1e => {
            let units = bytes.chunks(2).map(|unit| match *unit {
                [high, low] => u16::from_be_bytes([high, low]),
                _ => u16::MAX,
            });
            char::decode_utf16(units)
                .map(|character| character.unwrap_or(char::REPLACEMENT_CHARACTER))
                .collect()
        }
        _ => return None,
    };
    Some(text).filter(|text: &String| !text.is_empty())
}

fn key_usage(extensions: &[u8]) -> Result<Option<KeyUsage>, Malformed> {
    let list = tlv::find(extensions, SEQUENCE)?.ok_or(Malformed)?;
    for extension in Reader::new(list) {
        let extension = extension?.value;
        if tlv::find(extension, OBJECT_IDENTIFIER)? != Some(KEY_USAGE) {
            continue;
        }
        let value = tlv::find(extension, OCTET_STRING)?.ok_or(Malformed)?;
        return match tlv::find(value, BIT_STRING)? {
            // The first byte counts the bits of the last that have no meaning.
            Some([_, bits, ..]) => Ok(Some(KeyUsage(*bits))),
            _ => Err(Malformed),
        };
    }
    Ok(None)
}

#[cfg(test)]
pub(super) mod tests {
    use ctk_token::PublicKey;

    use super::*;
    use crate::tlv::Writer;

    /// A certificate about this key with this common name and these bits of KeyUsage. Nobody signed it.
    pub(in super::super) fn certificate(key: &PublicKey, name: &str, usage: Option<u8>) -> Vec<u8> {
        let sequence = |writer: &Writer| Writer::new().nest(SEQUENCE, writer);
        let attribute = sequence(
            &Writer::new()
                .put(OBJECT_IDENTIFIER, COMMON_NAME)
                .put(0x0c, name.as_bytes()),
        );
        let subject = Writer::new().nest(0x31, &attribute);
        let mut tbs = Writer::new()
            .put(VERSION, &[2, 1, 2])
            .put(0x02, &[1])
            .put(SEQUENCE, &[])
            .put(SEQUENCE, &[])
            .put(SEQUENCE, &[])
            .nest(SEQUENCE, &subject)
            .put(SEQUENCE, tlv::find(key.spki(), SEQUENCE).unwrap().unwrap());
        if let Some(bits) = usage {
            let value = Writer::new().put(BIT_STRING, &[0, bits]);
            let extension = Writer::new()
                .put(OBJECT_IDENTIFIER, KEY_USAGE)
                .put(0x01, &[0xff])
                .nest(OCTET_STRING, &value);
            tbs = tbs.nest(EXTENSIONS, &sequence(&sequence(&extension)));
        }
        let signed = sequence(&tbs).put(SEQUENCE, &[]).put(BIT_STRING, &[0, 1]);
        sequence(&signed).as_bytes().to_vec()
    }

    /// A point that is on no curve, which nobody looks at here.
    pub(in super::super) fn key(mark: u8) -> PublicKey {
        let point = [&[4][..], &[mark; 64]].concat();
        PublicKey::ec(ctk_token::Curve::P256, &point).unwrap()
    }

    #[test]
    fn name_and_usage_are_read() {
        let der = certificate(&key(1), "Jane Doe", Some(0xc0));
        assert_eq!(PublicKey::from_certificate(&der).unwrap(), key(1));
        let facts = facts(&der);
        assert_eq!(facts.common_name.as_deref(), Some("Jane Doe"));
        let usage = facts.key_usage.unwrap();
        assert!(usage.has(KeyUsage::DIGITAL_SIGNATURE) && usage.has(KeyUsage::NON_REPUDIATION));
        assert!(!usage.has(KeyUsage::KEY_AGREEMENT));
        assert_eq!(facts.subject.first(), Some(&0x30));
        assert!(facts.subject.ends_with(b"Jane Doe"));

        let bare = super::facts(&certificate(&key(1), "", None));
        assert_eq!((bare.common_name, bare.key_usage), (None, None));
    }

    #[test]
    fn other_alphabets_become_text() {
        assert_eq!(text(0x1e, b"\0J\0\xe9").as_deref(), Some("Jé"));
        assert_eq!(text(0x1e, b"\xd8\0").as_deref(), Some("\u{fffd}"));
        assert_eq!(text(0x14, b"J\xe9").as_deref(), Some("Jé"));
        assert_eq!(text(0x0c, b"J\xff").as_deref(), Some("J\u{fffd}"));
        assert_eq!(text(0x04, b"J"), None);
    }

    #[test]
    fn a_damaged_certificate_says_nothing_wrong() {
        let der = certificate(&key(1), "Jane Doe", Some(0xc0));
        for len in 0..der.len() {
            assert_eq!(facts(&der[..len]), Facts::default(), "{len} bytes");
        }
        for at in 0..der.len() {
            for bit in 0..8 {
                let mut damaged = der.clone();
                damaged[at] ^= 1 << bit;
                let _ = facts(&damaged);
            }
        }
    }
}
