//! What is needed of a certificate, read so tolerantly that an odd one does not cost its key.

use der::{
    Decode, Reader, SliceReader, Tag, Tagged,
    asn1::{AnyRef, BitStringRef, ObjectIdentifier},
};

/// Parts of a certificate (RFC 5280 §4.1).
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    /// The certificate without anything that follows it.
    pub(crate) der: &'a [u8],
    /// DER Name.
    pub(crate) subject: &'a [u8],
    /// The bits of its public key.
    pub(crate) bits: &'a [u8],
    /// The last common name in the subject.
    pub(crate) common_name: Option<String>,
    /// `YYYYMMDDHHMMSSZ`, for comparisons.
    pub(crate) not_before: Vec<u8>,
}

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
/// How many bytes of a time are kept: real ones have up to 15.
const MAX_TIME: usize = 32;

impl<'a> Facts<'a> {
    /// Reads a certificate; `None` for what is none.
    pub(crate) fn read(der: &'a [u8]) -> Option<Self> {
        let der = SliceReader::new(der).ok()?.tlv_bytes().ok()?;
        let tbs = first(content(der)?)?;
        let mut fields = SliceReader::new(content(tbs)?).ok()?;
        // version, which is left out in version 1
        if fields.peek_byte() == Some(0xa0) {
            fields.tlv_bytes().ok()?;
        }
        let _serial_number = fields.tlv_bytes().ok()?;
        let _signature = fields.tlv_bytes().ok()?;
        let _issuer = fields.tlv_bytes().ok()?;
        let validity = fields.tlv_bytes().ok()?;
        let subject = fields.tlv_bytes().ok()?;
        let spki = fields.tlv_bytes().ok()?;
        Some(Self {
            der,
            subject,
            bits: public_key_bits(spki)?,
            common_name: common_name(subject),
            not_before: time(first(content(validity)?)?)?,
        })
    }
}

/// The bits of the public key in a SubjectPublicKeyInfo, which identities are made from.
pub(crate) fn public_key_bits(spki: &[u8]) -> Option<&[u8]> {
    let mut fields = SliceReader::new(content(spki)?).ok()?;
    let _algorithm = fields.tlv_bytes().ok()?;
    BitStringRef::decode(&mut fields).ok()?.as_bytes()
}

/// What is inside of an element.
fn content(element: &[u8]) -> Option<&[u8]> {
    Some(AnyRef::from_der(element).ok()?.value())
}

/// The first of several elements.
fn first(elements: &[u8]) -> Option<&[u8]> {
    SliceReader::new(elements).ok()?.tlv_bytes().ok()
}

/// UTCTime has two digits of the year: 50 to 99 are 1950 to 1999 (RFC 5280 §4.1.2.5.1).
fn time(element: &[u8]) -> Option<Vec<u8>> {
    let time = AnyRef::from_der(element).ok()?;
    let century: &[u8] = match (time.tag(), time.value().first()) {
        (Tag::UtcTime, Some(b'5'..=b'9')) => b"19",
        (Tag::UtcTime, _) => b"20",
        _ => b"",
    };
    let kept = time.value().get(..MAX_TIME).unwrap_or(time.value());
    Some([century, kept].concat())
}

fn common_name(subject: &[u8]) -> Option<String> {
    let mut last = None;
    let mut relatives = SliceReader::new(content(subject)?).ok()?;
    while !relatives.is_finished() {
        let relative = relatives.tlv_bytes().ok()?;
        let mut attributes = SliceReader::new(content(relative)?).ok()?;
        while !attributes.is_finished() {
            let attribute = attributes.tlv_bytes().ok()?;
            let mut fields = SliceReader::new(content(attribute)?).ok()?;
            if ObjectIdentifier::decode(&mut fields).ok()? == COMMON_NAME {
                last = Some(text(AnyRef::decode(&mut fields).ok()?));
            }
        }
    }
    last.filter(|name| !name.is_empty())
}

/// A DirectoryString (RFC 5280 §4.1.2.4), whatever is wrong with it.
fn text(value: AnyRef<'_>) -> String {
    let bytes = value.value();
    match value.tag() {
        Tag::BmpString => {
            let units = bytes.chunks_exact(2).map(|pair| {
                pair.iter()
                    .fold(0, |unit, byte| unit << 8 | u16::from(*byte))
            });
            char::decode_utf16(units)
                .map(|char| char.unwrap_or(char::REPLACEMENT_CHARACTER))
                .collect()
        }
        // Real ones are Latin-1, whatever T.61 says.
        Tag::TeletexString => bytes.iter().copied().map(char::from).collect(),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// Certificates for the tests of this crate.
#[cfg(test)]
pub(crate) mod made {
    /// An element of these contents.
    pub(crate) fn element(tag: u8, contents: &[&[u8]]) -> Vec<u8> {
        let content = contents.concat();
        let len = u16::try_from(content.len()).unwrap();
        let head = match len {
            ..0x80 => vec![tag, u8::try_from(len).unwrap()],
            0x80..0x100 => vec![tag, 0x81, u8::try_from(len).unwrap()],
            _ => [&[tag, 0x82][..], &len.to_be_bytes()].concat(),
        };
        [head, content].concat()
    }

    /// A Name with this common name, or none.
    pub(crate) fn name(common_name: &str) -> Vec<u8> {
        if common_name.is_empty() {
            return element(0x30, &[]);
        }
        let value = element(0x0c, &[common_name.as_bytes()]);
        let attribute = element(0x30, &[&[6, 3, 0x55, 4, 3], &value]);
        element(0x30, &[&element(0x31, &[&attribute])])
    }

    /// A certificate that nobody has signed.
    pub(crate) fn certificate(common_name: &str, not_before: &str, spki: &[u8]) -> Vec<u8> {
        let time = |text: &str| {
            element(
                if text.len() == 13 { 0x17 } else { 0x18 },
                &[text.as_bytes()],
            )
        };
        let validity = element(0x30, &[&time(not_before), &time("21000101000000Z")]);
        let subject = name(common_name);
        let fields: [&[u8]; 6] = [
            &[2, 1, 1],
            &[0x30, 0],
            &[0x30, 0],
            &validity,
            &subject,
            spki,
        ];
        let tbs = element(0x30, &fields);
        element(0x30, &[&tbs, &[0x30, 0], &[3, 2, 0, 0]])
    }
}

#[cfg(test)]
mod tests {
    use ctk_token::{Curve, PublicKey};

    use super::*;

    fn spki() -> Vec<u8> {
        let point = [&[4][..], &[0x11; 64]].concat();
        PublicKey::ec(Curve::P256, &point).unwrap().spki().to_vec()
    }

    #[test]
    fn a_certificate_tells_what_is_needed() {
        let spki = spki();
        let der = made::certificate("Alice", "991231235959Z", &spki);
        let with_tail = [&der[..], b"tail"].concat();
        let facts = Facts::read(&with_tail).unwrap();
        assert_eq!(facts.der, der);
        assert_eq!(facts.subject, made::name("Alice"));
        assert_eq!(facts.bits.len(), 65);
        assert_eq!(facts.common_name.as_deref(), Some("Alice"));
        assert_eq!(facts.not_before, b"19991231235959Z");
        for len in 0..der.len() {
            assert!(Facts::read(&der[..len]).is_none(), "{len} bytes");
        }
        let nameless = made::certificate("", "20500101000000Z", &spki);
        let facts = Facts::read(&nameless).unwrap();
        assert_eq!(facts.common_name, None);
        assert_eq!(facts.not_before, b"20500101000000Z");
    }

    #[test]
    fn names_are_read_in_their_encodings() {
        let read = |tag: u8, bytes: &[u8]| {
            let element = made::element(tag, &[bytes]);
            text(AnyRef::from_der(&element).unwrap())
        };
        assert_eq!(read(0x0c, "Zoë".as_bytes()), "Zoë");
        assert_eq!(read(0x13, b"Zoe"), "Zoe");
        assert_eq!(read(0x14, b"Zo\xeb"), "Zoë");
        assert_eq!(read(0x1e, b"\0Z\0o\0\xeb"), "Zoë");
    }
}
