//! BER-TLV as cards and certificates use it.

/// One data object: a tag of one or two bytes, the shortest length, the value.
pub(super) fn tlv(tag: u16, value: &[u8]) -> Vec<u8> {
    let mut object = Vec::new();
    if tag > 0xFF {
        object.push((tag >> 8) as u8);
    }
    object.push((tag & 0xFF) as u8);
    match u16::try_from(value.len()).expect("an object of a card") {
        length @ 0..=0x7F => object.push(length as u8),
        length @ 0x80..=0xFF => object.extend([0x81, length as u8]),
        length => {
            object.push(0x82);
            object.extend(length.to_be_bytes());
        }
    }
    object.extend(value);
    object
}

/// The value of the first object with this tag among these.
pub(super) fn find(objects: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut rest = objects;
    while let Some((tag, value, next)) = take(rest) {
        if tag == wanted {
            return Some(value);
        }
        rest = next;
    }
    None
}

fn take(objects: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (tag, rest) = match *objects {
        [high, low, ref rest @ ..] if high & 0x1F == 0x1F => {
            (u16::from_be_bytes([high, low]), rest)
        }
        [tag, ref rest @ ..] => (u16::from(tag), rest),
        [] => return None,
    };
    let (length, rest) = match *rest {
        [0x82, high, low, ref rest @ ..] => (u16::from_be_bytes([high, low]), rest),
        [0x81, length, ref rest @ ..] => (u16::from(length), rest),
        [length @ 0..=0x7F, ref rest @ ..] => (u16::from(length), rest),
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(usize::from(length))?;
    Some((tag, value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_found() {
        for length in [0, 1, 127, 128, 255, 256, 3000] {
            let value = vec![7; length];
            let objects = [tlv(0x7F49, b"x"), tlv(0x53, &value)].concat();
            assert_eq!(find(&objects, 0x53), Some(value.as_slice()));
            assert_eq!(find(&objects, 0x7F49), Some(&b"x"[..]));
            assert_eq!(find(&objects, 0x54), None);
        }
    }
}
