//! The little DER that signatures and keys need, read strictly and without allocation (X.690 §10).

use zeroize::Zeroizing;

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(crate) const SEQUENCE: u8 = 0x30;

/// Takes one element with this tag: its contents, and what follows it. `None` if the tag is another, the length is
/// not in its shortest form, or the element is cut off.
pub(crate) fn take(tag: u8, input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, rest) = input.split_first()?;
    let (first, rest) = rest.split_first()?;
    if *found != tag {
        return None;
    }
    let (len, rest) = match *first {
        short @ 0..=0x7f => (usize::from(short), rest),
        long @ 0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            let len = bytes
                .iter()
                .fold(0, |len: u64, byte| len << 8 | u64::from(*byte));
            if bytes.first() == Some(&0) || len < 0x80 {
                return None;
            }
            (usize::try_from(len).ok()?, rest)
        }
        _ => return None,
    };
    rest.split_at_checked(len)
}

/// Takes an element that must be the whole of `input`.
pub(crate) fn whole(tag: u8, input: &[u8]) -> Option<&[u8]> {
    let (contents, rest) = take(tag, input)?;
    rest.is_empty().then_some(contents)
}

/// Writes an element of these parts' bytes, which may be secret.
pub(crate) fn element(tag: u8, parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    // Never grows: what a vector leaves behind is not zeroized.
    let mut element = Zeroizing::new(Vec::with_capacity(len + 2 + size_of::<usize>()));
    element.push(tag);
    let bytes = len.to_be_bytes();
    match u8::try_from(len) {
        Ok(short @ 0..=0x7f) => element.push(short),
        _ => {
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            let (_, bytes) = bytes.split_at(zeros);
            element.push(0x80 | bytes.len() as u8);
            element.extend_from_slice(bytes);
        }
    }
    for part in parts {
        element.extend_from_slice(part);
    }
    element
}

/// The magnitude of an INTEGER's contents, without leading zeros: empty for zero, `None` for a negative number or one
/// that is not in its shortest form.
pub(crate) fn magnitude(contents: &[u8]) -> Option<&[u8]> {
    match contents {
        [] | [0x80..=0xff, ..] | [0, 0..=0x7f, ..] => None,
        [0, rest @ ..] => Some(rest),
        rest => Some(rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_shortest_length_is_read() {
        assert_eq!(take(INTEGER, &[2, 1, 5, 9]), Some((&[5][..], &[9][..])));
        let mut long = vec![SEQUENCE, 0x81, 0x80];
        long.extend([7; 0x80]);
        assert_eq!(whole(SEQUENCE, &long), Some(&[7; 0x80][..]));
        for bad in [
            &[][..],
            &[2],
            &[2, 1],
            &[3, 1, 5],
            &[2, 0x80, 5, 0, 0],
            &[2, 0x81, 1, 5],
            &[2, 0x82, 0, 1, 5],
            &[2, 0x85, 0, 0, 0, 0, 1, 5],
            &[2, 0x84, 0xff, 0xff, 0xff, 0xff, 5],
            &[2, 0xff, 5],
        ] {
            assert_eq!(take(INTEGER, bad), None, "{bad:02x?}");
        }
        assert_eq!(whole(INTEGER, &[2, 1, 5, 9]), None);
    }

    #[test]
    fn what_is_written_is_read() {
        for len in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000] {
            let contents = vec![7; len];
            let written = element(OCTET_STRING, &[&contents[..len / 2], &contents[len / 2..]]);
            assert_eq!(whole(OCTET_STRING, &written), Some(&contents[..]), "{len}");
        }
    }

    #[test]
    fn numbers_are_positive_and_short() {
        assert_eq!(magnitude(&[0]), Some(&[][..]));
        assert_eq!(magnitude(&[0x7f]), Some(&[0x7f][..]));
        assert_eq!(magnitude(&[0, 0x80]), Some(&[0x80][..]));
        assert_eq!(magnitude(&[]), None);
        assert_eq!(magnitude(&[0x80]), None);
        assert_eq!(magnitude(&[0, 0x7f]), None);
        assert_eq!(magnitude(&[0, 0]), None);
    }
}
