//! BER-TLV as cards use it (ISO 7816-4 §5.2.2): read with bounds, written with the shortest
//! lengths.

use std::fmt;

use zeroize::Zeroizing;

use crate::applet::Failure;

/// How deep [`find_path`] goes: deeper than anything that a card nests.
const MAX_DEPTH: usize = 8;

/// One data object. The tag is its bytes as a number: 0x7F49 for `7F 49`.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) struct Tlv<'a> {
    pub(crate) tag: u32,
    pub(crate) value: &'a [u8],
}

/// Shows no values: they may be secret.
impl fmt::Debug for Tlv<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02X}({} bytes)", self.tag, self.value.len())
    }
}

/// Bytes that are no sequence of data objects.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the card's answer is malformed")
    }
}

impl From<Malformed> for Failure {
    fn from(malformed: Malformed) -> Self {
        Self::corrupted(malformed.to_string())
    }
}

type Result<T> = std::result::Result<T, Malformed>;

/// Goes over the data objects in some bytes, and ends after the first malformed one.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn byte(&mut self) -> Result<u8> {
        let (first, rest) = self.rest.split_first().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*first)
    }

    /// One to three bytes.
    fn tag(&mut self) -> Result<u32> {
        let first = self.byte()?;
        let mut tag = u32::from(first);
        if first & 0x1f != 0x1f {
            return Ok(tag);
        }
        for _ in 0..2 {
            let next = self.byte()?;
            tag = tag << 8 | u32::from(next);
            if next & 0x80 == 0 {
                return Ok(tag);
            }
        }
        Err(Malformed)
    }

    /// Up to three bytes after the first. Indefinite lengths have no place on cards.
    fn len(&mut self) -> Result<usize> {
        let first = self.byte()?;
        let more = match first {
            0..=0x7f => return Ok(first.into()),
            0x81..=0x83 => first & 0x7f,
            _ => return Err(Malformed),
        };
        let mut len = 0;
        for _ in 0..more {
            len = len << 8 | usize::from(self.byte()?);
        }
        Ok(len)
    }

    fn object(&mut self) -> Result<Tlv<'a>> {
        let tag = self.tag()?;
        let len = self.len()?;
        let (value, rest) = self.rest.split_at_checked(len).ok_or(Malformed)?;
        self.rest = rest;
        Ok(Tlv { tag, value })
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<Tlv<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        // Bytes without a meaning may stand around data objects (ISO 7816-4 §5.2.2.1).
        while let Some((0 | 0xff, rest)) = self.rest.split_first() {
            self.rest = rest;
        }
        if self.rest.is_empty() {
            return None;
        }
        let object = self.object();
        if object.is_err() {
            self.rest = &[];
        }
        Some(object)
    }
}

/// The value of the first data object with this tag. What comes after it is not looked at.
///
/// # Errors
/// [`Malformed`] if something malformed comes first.
pub(crate) fn find(bytes: &[u8], tag: u32) -> Result<Option<&[u8]>> {
    for object in Reader::new(bytes) {
        let object = object?;
        if object.tag == tag {
            return Ok(Some(object.value));
        }
    }
    Ok(None)
}

/// The value at the end of a path of tags, each inside the one before.
///
/// # Errors
/// As [`find`].
pub(crate) fn find_path<'a>(bytes: &'a [u8], path: &[u32]) -> Result<Option<&'a [u8]>> {
    let mut found = bytes;
    for tag in path.iter().take(MAX_DEPTH) {
        match find(found, *tag)? {
            Some(value) => found = value,
            None => return Ok(None),
        }
    }
    Ok(Some(found))
}

/// Data objects to be sent. Zeroized, because some are secret.
pub(crate) struct Writer {
    bytes: Zeroizing<Vec<u8>>,
}

impl Writer {
    pub(crate) fn new() -> Self {
        Self {
            bytes: Zeroizing::new(Vec::new()),
        }
    }

    /// Adds a data object.
    pub(crate) fn put(mut self, tag: u32, value: &[u8]) -> Self {
        let mut head = Vec::with_capacity(8);
        write_tag(&mut head, tag);
        write_len(&mut head, value.len());
        append(&mut self.bytes, &head);
        append(&mut self.bytes, value);
        self
    }

    /// Adds a data object made of others.
    pub(crate) fn nest(self, tag: u32, inner: &Self) -> Self {
        self.put(tag, &inner.bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// One data object.
pub(crate) fn encode(tag: u32, value: &[u8]) -> Zeroizing<Vec<u8>> {
    Writer::new().put(tag, value).bytes
}

/// Appends bytes without leaving copies of a secret in memory that was given back.
pub(crate) fn append(buffer: &mut Zeroizing<Vec<u8>>, more: &[u8]) {
    let wanted = buffer.len().saturating_add(more.len());
    if wanted > buffer.capacity() {
        let room = wanted.max(buffer.capacity().saturating_mul(2));
        let mut larger = Zeroizing::new(Vec::with_capacity(room));
        larger.extend_from_slice(buffer);
        // The old one is zeroized when it is dropped here.
        *buffer = larger;
    }
    buffer.extend_from_slice(more);
}

fn write_tag(out: &mut Vec<u8>, tag: u32) {
    let bytes = tag.to_be_bytes();
    let zeros = bytes.iter().take(3).take_while(|byte| **byte == 0).count();
    out.extend(bytes.iter().skip(zeros));
}

fn write_len(out: &mut Vec<u8>, len: usize) {
    let bytes = len.to_be_bytes();
    let significant = bytes.len() - bytes.iter().take_while(|byte| **byte == 0).count();
    if len > 0x7f {
        // At most eight, as many as a length has bytes.
        out.push(0x80 | significant as u8);
    }
    out.extend(bytes.iter().skip(bytes.len() - significant.max(1)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Vec<Result<Tlv<'_>>> {
        Reader::new(bytes).collect()
    }

    #[test]
    fn tags_and_lengths_of_every_size() {
        for tag in [0x4f, 0x7f49, 0x5f_c102, 0x5f_2f] {
            for len in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000] {
                let value = vec![0xab; len];
                let encoded = encode(tag, &value);
                let read = read(&encoded);
                assert_eq!(read, [Ok(Tlv { tag, value: &value })], "{tag:x} {len}");
                for cut in [1, encoded.len() / 2, encoded.len() - 1] {
                    let answer = Reader::new(&encoded[..cut]).last();
                    assert_eq!(answer, Some(Err(Malformed)), "{tag:x} {len} cut at {cut}");
                }
            }
        }
        assert_eq!(*encode(0x5f_c102, &[1; 0x80]), {
            let mut bytes = vec![0x5f, 0xc1, 0x02, 0x81, 0x80];
            bytes.extend([1; 0x80]);
            bytes
        });
    }

    #[test]
    fn lengths_that_no_card_has_are_malformed() {
        for bytes in [
            &[0x53, 0x80, 0, 0][..],
            &[0x53, 0x84, 0, 0, 0, 1, 7],
            &[0x53, 0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            &[0x5f, 0x81, 0x82, 0x83, 0x01, 0x00],
            &[0x5f],
            &[0x53],
            &[0x53, 0x82, 0x01],
        ] {
            assert_eq!(read(bytes), [Err(Malformed)], "{bytes:x?}");
        }
        // Longer than needed is no mistake in BER.
        let value = &[7][..];
        assert_eq!(
            read(&[0x53, 0x83, 0, 0, 1, 7]),
            [Ok(Tlv { tag: 0x53, value })]
        );
    }

    #[test]
    fn padding_has_no_meaning() {
        let bytes = [0, 0xff, 0x53, 1, 9, 0, 0, 0x54, 0, 0xff, 0xff];
        let tags: Vec<_> = Reader::new(&bytes)
            .map(|object| object.unwrap().tag)
            .collect();
        assert_eq!(tags, [0x53, 0x54]);
        assert_eq!(read(&[0, 0]), []);
    }

    #[test]
    fn paths_are_followed() {
        let inner = Writer::new().put(0x81, b"one").put(0x82, b"two");
        let outer = Writer::new().put(0x4f, b"aid").nest(0x7f49, &inner);
        let bytes = outer.as_bytes();
        assert_eq!(find_path(bytes, &[0x7f49, 0x82]), Ok(Some(&b"two"[..])));
        assert_eq!(find_path(bytes, &[0x7f49, 0x83]), Ok(None));
        assert_eq!(find(bytes, 0x4f), Ok(Some(&b"aid"[..])));
        assert_eq!(find(&[0x53, 5, 1], 0x54), Err(Malformed));
        // What follows what was found may be anything.
        assert_eq!(find(&[0x53, 1, 1, 0x54, 9], 0x53), Ok(Some(&[1][..])));
    }

    #[test]
    fn a_growing_secret_is_moved_as_a_whole() {
        let mut buffer = Zeroizing::new(Vec::new());
        for byte in 0..=255 {
            append(&mut buffer, &[byte; 3]);
        }
        assert_eq!(buffer.len(), 768);
        assert!(
            buffer
                .chunks(3)
                .zip(0..=255)
                .all(|(chunk, byte)| chunk == [byte; 3])
        );
    }
}
