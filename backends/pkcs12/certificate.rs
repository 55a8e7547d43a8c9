//! What the token needs to know of a certificate, read so tolerantly that an odd one does not cost
//! its identity.
//!
//! Real certificates have serial numbers that are negative, zero or too long, and times that RFC
//! 5280 forbids: nothing here looks at what it does not need.

use crate::{
    bags::text,
    ber::{BIT_STRING, CONSTRUCTED, CONTEXT_0, INTEGER, Malformed, Reader, SEQUENCE, SET},
    oid,
};

type Result<T> = std::result::Result<T, Malformed>;

/// Parts of a certificate (RFC 5280 §4.1).
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    /// The certificate without anything that follows it.
    pub(crate) der: &'a [u8],
    /// DER Name.
    pub(crate) subject: &'a [u8],
    /// DER SubjectPublicKeyInfo.
    pub(crate) spki: &'a [u8],
    /// The last common name in the subject.
    pub(crate) common_name: Option<String>,
    /// `YYYYMMDDHHMMSSZ`, for comparisons.
    pub(crate) not_before: Vec<u8>,
}

impl<'a> Facts<'a> {
    /// Reads a certificate.
    pub(crate) fn read(der: &'a [u8]) -> Result<Self> {
        let certificate = Reader::new(der).element(SEQUENCE)?;
        let mut tbs = certificate.children()?.sequence()?;
        tbs.optional(CONTEXT_0 | CONSTRUCTED)?;
        let _serial_number = tbs.element(INTEGER)?;
        let _signature = tbs.element(SEQUENCE)?;
        let _issuer = tbs.element(SEQUENCE)?;
        let not_before = time(&mut tbs.sequence()?)?;
        let subject = tbs.element(SEQUENCE)?;
        let spki = tbs.element(SEQUENCE)?;
        Ok(Self {
            der: certificate.raw,
            subject: subject.raw,
            spki: spki.raw,
            common_name: common_name(subject.children()?).unwrap_or_default(),
            not_before,
        })
    }
}

/// How many bytes of a time are kept: real ones have up to 15.
const MAX_TIME: usize = 32;

/// The bytes of the BIT STRING in a SubjectPublicKeyInfo.
pub(crate) fn public_key_bits(spki: &[u8]) -> Result<&[u8]> {
    let mut spki = Reader::new(spki).sequence()?;
    spki.element(SEQUENCE)?;
    let bits = spki.element(BIT_STRING)?.content;
    bits.split_first()
        .map(|(_unused, bits)| bits)
        .ok_or(Malformed("an empty BIT STRING"))
}

/// UTCTime has two digits of the year: 50 to 99 are 1950 to 1999 (RFC 5280 §4.1.2.5.1).
fn time(validity: &mut Reader<'_>) -> Result<Vec<u8>> {
    const UTC_TIME: u8 = 0x17;
    let time = validity.any()?;
    let century: &[u8] = match (time.identifier, time.content.first()) {
        (UTC_TIME, Some(b'5'..=b'9')) => b"19",
        (UTC_TIME, _) => b"20",
        _ => b"",
    };
    let kept = time.content.get(..MAX_TIME).unwrap_or(time.content);
    Ok([century, kept].concat())
}

fn common_name(mut name: Reader<'_>) -> Result<Option<String>> {
    let mut last = None;
    while let Some(relative) = name.next()? {
        let mut attributes = if relative.identifier == SET {
            relative.children()?
        } else {
            continue;
        };
        while let Some(attribute) = attributes.next()? {
            let mut attribute = attribute.children()?;
            if oid::is(attribute.oid()?, oid::COMMON_NAME) {
                let value = attribute.any()?;
                last = Some(text(value.identifier & !CONSTRUCTED, &value.octets()?));
            }
        }
    }
    Ok(last.filter(|text| !text.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_short_whatever_a_certificate_says() {
        let read = |identifier: u8, content: &[u8]| {
            let len = u16::try_from(content.len()).unwrap().to_be_bytes();
            let element = [&[identifier, 0x82], &len[..], content].concat();
            time(&mut Reader::new(&element)).unwrap()
        };
        assert_eq!(read(0x17, b"991231235959Z"), b"19991231235959Z");
        assert_eq!(read(0x17, b"491231235959Z"), b"20491231235959Z");
        assert_eq!(read(0x18, b"20501231235959Z"), b"20501231235959Z");
        assert_eq!(read(0x18, &[b'2'; 60_000]).len(), MAX_TIME);
    }
}
