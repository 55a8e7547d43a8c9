//! Writes DER (X.690 §10), zeroized when dropped: what is written may be a private key.

use der::asn1::ObjectIdentifier;
use zeroize::Zeroizing;

use crate::ber::{
    CONSTRUCTED, CONTEXT_0, Element, INTEGER, Malformed, OBJECT_IDENTIFIER, OCTET_STRING, Reader,
    SEQUENCE,
};

/// NULL, as parameter of an algorithm that has none.
pub(crate) const NULL: &[u8] = &[0x05, 0];

/// An element whose content is these parts in a row.
pub(crate) fn element(identifier: u8, parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let octets = len.to_be_bytes();
    let zeros = octets.iter().take_while(|octet| **octet == 0).count();
    let significant = octets.get(zeros..).unwrap_or_default();
    // With all its room from the start, the buffer never moves and leaves no copy behind.
    let mut written = Zeroizing::new(Vec::with_capacity(2 + octets.len() + len));
    written.push(identifier);
    if len < 0x80 {
        written.push(len as u8);
    } else {
        written.push(0x80 | significant.len() as u8);
        written.extend_from_slice(significant);
    }
    for part in parts {
        written.extend_from_slice(part);
    }
    written
}

/// SEQUENCE.
pub(crate) fn sequence(parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    element(SEQUENCE, parts)
}

/// `[0] EXPLICIT`.
pub(crate) fn explicit(content: &[u8]) -> Zeroizing<Vec<u8>> {
    element(CONTEXT_0 | CONSTRUCTED, &[content])
}

/// OCTET STRING.
pub(crate) fn octets(content: &[u8]) -> Zeroizing<Vec<u8>> {
    element(OCTET_STRING, &[content])
}

/// OBJECT IDENTIFIER.
pub(crate) fn oid(oid: ObjectIdentifier) -> Zeroizing<Vec<u8>> {
    element(OBJECT_IDENTIFIER, &[oid.as_bytes()])
}

/// A non-negative INTEGER.
pub(crate) fn integer(value: u32) -> Zeroizing<Vec<u8>> {
    let octets = u64::from(value).to_be_bytes();
    // One zero stays before a set bit, which would be a sign.
    let zeros = (value.leading_zeros() as usize + 31) / 8;
    element(INTEGER, &[octets.get(zeros..).unwrap_or_default()])
}

/// An element that was read, with every length definite and every OCTET STRING in one piece: some
/// readers take nothing else. What it means, and the order of everything, stays.
pub(crate) fn definite(read: &Element<'_>) -> Result<Zeroizing<Vec<u8>>, Malformed> {
    if read.identifier & CONSTRUCTED == 0 {
        return Ok(element(read.identifier, &[read.content]));
    }
    if read.identifier == OCTET_STRING | CONSTRUCTED {
        return Ok(octets(&read.octets()?));
    }
    let children = all_definite(read.children()?)?;
    Ok(element(read.identifier, &[&children]))
}

/// The same of everything that is left.
pub(crate) fn all_definite(mut rest: Reader<'_>) -> Result<Zeroizing<Vec<u8>>, Malformed> {
    let mut parts = Vec::new();
    while let Some(child) = rest.next()? {
        parts.push(definite(&child)?);
    }
    Ok(joined(&parts))
}

/// Parts in a row.
pub(crate) fn joined(parts: &[Zeroizing<Vec<u8>>]) -> Zeroizing<Vec<u8>> {
    let len = parts.iter().map(|part| part.len()).sum();
    let mut joined = Zeroizing::new(Vec::with_capacity(len));
    for part in parts {
        joined.extend_from_slice(part);
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_have_no_needless_octet() {
        for (value, expected) in [
            (0, &[2, 1, 0][..]),
            (0x7f, &[2, 1, 0x7f]),
            (0x80, &[2, 2, 0, 0x80]),
            (300_000, &[2, 3, 4, 0x93, 0xe0]),
            (u32::MAX, &[2, 5, 0, 0xff, 0xff, 0xff, 0xff]),
        ] {
            assert_eq!(&*integer(value), expected);
            assert_eq!(
                Reader::new(expected).unsigned(),
                Ok(u64::from(value)),
                "{value}"
            );
        }
    }

    #[test]
    fn lengths_are_the_shortest() {
        for (len, header) in [
            (0x7f_usize, &[0x04, 0x7f][..]),
            (0x80, &[0x04, 0x81, 0x80]),
            (0x100, &[0x04, 0x82, 1, 0]),
        ] {
            let written = octets(&vec![7; len]);
            assert_eq!(&written[..header.len()], header);
            assert_eq!(written.len(), header.len() + len);
        }
    }

    #[test]
    fn indefinite_lengths_become_definite() {
        let read = [
            0x31, 0x80, 0x24, 0x80, 0x04, 1, 1, 0x24, 3, 0x04, 1, 2, 0, 0, 0xa0, 0x82, 0, 3, 0x02,
            1, 5, 0, 0,
        ];
        let element = Reader::new(&read).any().unwrap();
        let written = definite(&element).unwrap();
        assert_eq!(*written, [0x31, 9, 0x04, 2, 1, 2, 0xa0, 3, 0x02, 1, 5]);
        let again = Reader::new(&written).any().unwrap();
        assert_eq!(definite(&again).unwrap(), written);
    }
}
