//! A reader of BER (X.690 §8) for what PKCS#12 files hold: indefinite lengths, strings in pieces,
//! lengths in long form.
//!
//! It borrows from its input and checks only what it is asked for. Whatever the input, it neither
//! panics nor goes deeper than [`MAX_DEPTH`]; as each level is searched for its end at most once
//! per level above it, the work is linear in the input's length.

use std::{fmt, ops::Deref};

use zeroize::Zeroizing;

/// How many elements may stand inside each other. Real files need about a dozen.
pub(crate) const MAX_DEPTH: u8 = 32;

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;
/// `[0]`, primitive; with [`CONSTRUCTED`], what an EXPLICIT tag or a string in pieces looks like.
pub(crate) const CONTEXT_0: u8 = 0x80;
/// The bit of an identifier that says that the content is elements.
pub(crate) const CONSTRUCTED: u8 = 0x20;

/// Why the input is not BER, or not what was expected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Malformed(pub(crate) &'static str);

type Result<T> = std::result::Result<T, Malformed>;

/// One element: identifier, length, content.
#[derive(Clone, Copy)]
pub(crate) struct Element<'a> {
    /// The identifier octet, with class and [`CONSTRUCTED`] bit.
    pub(crate) identifier: u8,
    /// The content octets, without an end-of-contents mark.
    pub(crate) content: &'a [u8],
    /// The whole element as it stands in the input.
    pub(crate) raw: &'a [u8],
    depth: u8,
}

/// What is read may be a private key, so none of these shows its bytes.
impl fmt::Debug for Element<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (identifier, len) = (self.identifier, self.content.len());
        write!(f, "Element({identifier:#04x}, {len} bytes)")
    }
}

impl fmt::Debug for Octets<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Octets({} bytes)", self.len())
    }
}

impl fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reader({} bytes left)", self.rest.len())
    }
}

impl<'a> Element<'a> {
    /// The elements inside.
    pub(crate) fn children(&self) -> Result<Reader<'a>> {
        if self.identifier & CONSTRUCTED == 0 {
            return Err(Malformed(
                "a primitive element in place of a constructed one",
            ));
        }
        if self.depth >= MAX_DEPTH {
            return Err(Malformed("nested too deeply"));
        }
        Ok(Reader {
            rest: self.content,
            depth: self.depth + 1,
        })
    }

    /// The content of a string, put together if it comes in pieces (X.690 §8.7.3).
    pub(crate) fn octets(&self) -> Result<Octets<'a>> {
        if self.identifier & CONSTRUCTED == 0 {
            return Ok(Octets::Borrowed(self.content));
        }
        // All pieces together are shorter than what holds them, so the buffer never moves and
        // leaves no copy behind.
        let mut joined = Zeroizing::new(Vec::with_capacity(self.content.len()));
        self.join(&mut joined)?;
        Ok(Octets::Joined(joined))
    }

    fn join(&self, joined: &mut Vec<u8>) -> Result<()> {
        let mut pieces = self.children()?;
        while let Some(piece) = pieces.next()? {
            let tag = piece.identifier & !CONSTRUCTED;
            if tag != OCTET_STRING && tag != self.identifier & !CONSTRUCTED {
                return Err(Malformed("a string with a piece that is none"));
            }
            if piece.identifier & CONSTRUCTED == 0 {
                joined.extend_from_slice(piece.content);
            } else {
                piece.join(joined)?;
            }
        }
        Ok(())
    }

    /// A non-negative INTEGER of at most 64 bits.
    pub(crate) fn unsigned(&self) -> Result<u64> {
        if self.identifier != INTEGER || self.content.is_empty() {
            return Err(Malformed("no INTEGER where one is due"));
        }
        if self.content.first().is_some_and(|first| first & 0x80 != 0) {
            return Err(Malformed("a negative number"));
        }
        self.content.iter().try_fold(0_u64, |value, byte| {
            if value >> 56 != 0 {
                return Err(Malformed("a number of more than 64 bits"));
            }
            Ok(value << 8 | u64::from(*byte))
        })
    }
}

/// The content of a string.
pub(crate) enum Octets<'a> {
    /// As it stands in the input.
    Borrowed(&'a [u8]),
    /// Put together from pieces; zeroized, because it may be an unencrypted key.
    Joined(Zeroizing<Vec<u8>>),
}

impl Deref for Octets<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Joined(bytes) => bytes,
        }
    }
}

/// Reads elements one after the other.
#[derive(Clone)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    depth: u8,
}

impl<'a> Reader<'a> {
    /// A reader of the outermost elements of `input`.
    pub(crate) fn new(input: &'a [u8]) -> Self {
        Self {
            rest: input,
            depth: 0,
        }
    }

    /// The next element, or `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Element<'a>>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let header = Header::read(self.rest)?;
        let body = self.rest.get(header.len..).ok_or(TRUNCATED)?;
        let (content_len, body_len) = match header.content {
            Length::End => return Err(Malformed("an end-of-contents mark where nothing ends")),
            Length::Definite(len) => (len, len),
            Length::Indefinite => {
                let len = find_end(body, self.depth)?;
                (len, len + END_LEN)
            }
        };
        let content = body.get(..content_len).ok_or(TRUNCATED)?;
        let (raw, rest) = self
            .rest
            .split_at_checked(header.len + body_len)
            .ok_or(TRUNCATED)?;
        self.rest = rest;
        Ok(Some(Element {
            identifier: header.identifier,
            content,
            raw,
            depth: self.depth,
        }))
    }

    /// The next element, which must be there.
    pub(crate) fn any(&mut self) -> Result<Element<'a>> {
        self.next()?
            .ok_or(Malformed("something is missing at the end"))
    }

    /// The next element if it has this identifier; otherwise it stays.
    pub(crate) fn optional(&mut self, identifier: u8) -> Result<Option<Element<'a>>> {
        if self.rest.first() == Some(&identifier) {
            self.next()
        } else {
            Ok(None)
        }
    }

    /// The next element, which must have this identifier.
    pub(crate) fn element(&mut self, identifier: u8) -> Result<Element<'a>> {
        self.optional(identifier)?
            .ok_or(Malformed("another element than the one that is due"))
    }

    /// The inside of the SEQUENCE that must come next.
    pub(crate) fn sequence(&mut self) -> Result<Reader<'a>> {
        self.element(SEQUENCE)?.children()
    }

    /// The inside of the `[0] EXPLICIT` that must come next.
    pub(crate) fn explicit(&mut self) -> Result<Reader<'a>> {
        self.element(CONTEXT_0 | CONSTRUCTED)?.children()
    }

    /// The content of the string with this tag, in one piece or several, that must come next.
    pub(crate) fn string(&mut self, tag: u8) -> Result<Octets<'a>> {
        let element = self.any()?;
        if element.identifier & !CONSTRUCTED != tag {
            return Err(Malformed("no string where one is due"));
        }
        element.octets()
    }

    /// The encoded OBJECT IDENTIFIER that must come next.
    pub(crate) fn oid(&mut self) -> Result<&'a [u8]> {
        Ok(self.element(OBJECT_IDENTIFIER)?.content)
    }

    /// The INTEGER that must come next.
    pub(crate) fn unsigned(&mut self) -> Result<u64> {
        self.element(INTEGER)?.unsigned()
    }
}

const TRUNCATED: Malformed = Malformed("it ends too early");
const END_LEN: usize = 2;

enum Length {
    Definite(usize),
    Indefinite,
    /// The two zeros that end an element of indefinite length.
    End,
}

/// Identifier and length octets.
struct Header {
    identifier: u8,
    content: Length,
    len: usize,
}

impl Header {
    fn read(bytes: &[u8]) -> Result<Self> {
        let (&identifier, rest) = bytes.split_first().ok_or(TRUNCATED)?;
        let (&first, rest) = rest.split_first().ok_or(TRUNCATED)?;
        if identifier == 0 {
            return match first {
                0 => Ok(Self {
                    identifier,
                    content: Length::End,
                    len: END_LEN,
                }),
                _ => Err(Malformed("an end-of-contents mark with a length")),
            };
        }
        if identifier & 0x1f == 0x1f {
            return Err(Malformed("a tag number above 30"));
        }
        let (content, len) = match first {
            0..=0x7f => (Length::Definite(usize::from(first)), 2),
            0x80 if identifier & CONSTRUCTED == 0 => {
                return Err(Malformed("a primitive element of indefinite length"));
            }
            0x80 => (Length::Indefinite, 2),
            0xff => return Err(Malformed("a reserved length")),
            _ => {
                let count = usize::from(first & 0x7f);
                let octets = rest.get(..count).ok_or(TRUNCATED)?;
                (Length::Definite(long_length(octets)?), 2 + count)
            }
        };
        Ok(Self {
            identifier,
            content,
            len,
        })
    }
}

/// A length in long form. Leading zeros are allowed in BER.
fn long_length(octets: &[u8]) -> Result<usize> {
    octets.iter().try_fold(0_usize, |len, octet| {
        len.checked_mul(0x100)
            .map(|len| len | usize::from(*octet))
            .ok_or(TRUNCATED)
    })
}

/// The length of the content of an element of indefinite length, whose content begins at `bytes`.
fn find_end(bytes: &[u8], depth: u8) -> Result<usize> {
    let mut open = depth;
    let mut position = 0;
    loop {
        let header = Header::read(bytes.get(position..).ok_or(TRUNCATED)?)?;
        match header.content {
            Length::End if open == depth => return Ok(position),
            Length::End => open -= 1,
            Length::Indefinite if open >= MAX_DEPTH => return Err(Malformed("nested too deeply")),
            Length::Indefinite => open += 1,
            Length::Definite(len) => position = position.checked_add(len).ok_or(TRUNCATED)?,
        }
        position = position.checked_add(header.len).ok_or(TRUNCATED)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(input: &[u8]) -> Result<Vec<Vec<u8>>> {
        let mut reader = Reader::new(input);
        let mut found = Vec::new();
        while let Some(element) = reader.next()? {
            found.push(element.content.to_vec());
        }
        Ok(found)
    }

    #[test]
    fn nothing_that_is_read_is_printed() {
        let input = [0x24, 6, 4, 1, 0x5a, 4, 1, 0x5b];
        let element = Reader::new(&input).any().unwrap();
        let octets = element.octets().unwrap();
        let printed = format!("{:?} {element:?} {octets:?}", Reader::new(&input));
        let expected = "Reader(8 bytes left) Element(0x24, 6 bytes) Octets(2 bytes)";
        assert_eq!(printed, expected);
    }

    #[test]
    fn definite_lengths_in_every_form() {
        for input in [
            &[0x04, 1, 7][..],
            &[0x04, 0x81, 1, 7],
            &[0x04, 0x84, 0, 0, 0, 1, 7],
            &[0x04, 0x8a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 7],
        ] {
            assert_eq!(all(input), Ok(vec![vec![7]]), "{input:x?}");
        }
    }

    #[test]
    fn lengths_beyond_the_input_are_truncation() {
        for input in [
            &[0x04][..],
            &[0x04, 2, 7],
            &[0x04, 0x84, 0x80, 0, 0, 0, 7],
            &[0x04, 0x88, 0x80, 0, 0, 0, 0, 0, 0, 0, 7],
            &[
                0x04, 0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 7,
            ],
            &[0x04, 0x89, 1, 0, 0, 0, 0, 0, 0, 0, 0, 7],
            &[
                0x30, 0x80, 0x04, 0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe, 0, 0,
            ],
            &[0x30, 0x80],
            &[0x30, 0x80, 0],
        ] {
            assert_eq!(all(input), Err(TRUNCATED), "{input:x?}");
        }
    }

    #[test]
    fn what_is_no_ber_is_refused() {
        for input in [
            &[0, 0][..],
            &[0, 1, 7],
            &[0x1f, 1, 7],
            &[0x3f, 0x81, 0x01, 0],
            &[0x04, 0x80, 7, 0, 0],
            &[0x04, 0xff, 7],
        ] {
            assert!(all(input).is_err(), "{input:x?}");
        }
    }

    #[test]
    fn indefinite_lengths_end_where_they_should() {
        let input = [
            0x30, 0x80, 0x30, 0x80, 0x02, 1, 5, 0, 0, 0x04, 2, 0, 0, 0, 0, 0x02, 1, 9,
        ];
        assert_eq!(
            all(&input),
            Ok(vec![
                vec![0x30, 0x80, 0x02, 1, 5, 0, 0, 0x04, 2, 0, 0],
                vec![9]
            ])
        );
        let mut inside = Reader::new(&input).sequence().unwrap();
        assert_eq!(inside.sequence().unwrap().unsigned(), Ok(5));
        assert_eq!(&*inside.string(OCTET_STRING).unwrap(), &[0, 0]);
        assert!(inside.next().unwrap().is_none());
    }

    #[test]
    fn strings_in_pieces_are_put_together() {
        let input = [
            0x24, 0x80, 0x04, 1, 1, 0x24, 4, 0x04, 2, 2, 3, 0x04, 0, 0x04, 1, 4, 0, 0,
        ];
        let joined = Reader::new(&input).string(OCTET_STRING).unwrap();
        assert_eq!(&*joined, &[1, 2, 3, 4]);
        let implicit = [0xa0, 5, 0x04, 3, 1, 2, 3];
        assert_eq!(
            &*Reader::new(&implicit).string(CONTEXT_0).unwrap(),
            &[1, 2, 3]
        );
        let wrong = [0x24, 3, 0x02, 1, 3];
        assert!(Reader::new(&wrong).string(OCTET_STRING).is_err());
    }

    #[test]
    fn depth_is_limited() {
        for (open, close) in [
            (&[0x24, 0x80][..], &[0, 0][..]),
            (&[0x24, 0x84, 0, 0, 0, 0], &[]),
        ] {
            let nested = |levels: usize| {
                (0..levels).fold(vec![0x04, 1, 7], |inner, _| {
                    let mut outer = open.to_vec();
                    if close.is_empty() {
                        let len = u32::try_from(inner.len()).unwrap().to_be_bytes();
                        outer[2..].copy_from_slice(&len);
                    }
                    [outer, inner, close.to_vec()].concat()
                })
            };
            let depth = usize::from(MAX_DEPTH);
            assert_eq!(
                &*Reader::new(&nested(depth)).string(OCTET_STRING).unwrap(),
                &[7]
            );
            assert!(
                Reader::new(&nested(depth + 1))
                    .string(OCTET_STRING)
                    .is_err()
            );
        }
    }

    #[test]
    fn numbers_have_64_bits() {
        let read = |content: &[u8]| {
            let input = [&[0x02, u8::try_from(content.len()).unwrap()], content].concat();
            Reader::new(&input).unsigned()
        };
        assert_eq!(read(&[0]), Ok(0));
        assert_eq!(
            read(&[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            Ok(u64::MAX)
        );
        assert!(read(&[1, 0, 0, 0, 0, 0, 0, 0, 0]).is_err());
        assert!(read(&[0x80]).is_err());
        assert!(read(&[]).is_err());
    }
}
