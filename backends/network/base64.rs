//! Base64 (RFC 4648 §4), as services send bytes in JSON and files keep them in PEM.

use zeroize::Zeroizing;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// With padding, on one line.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let number = (0..3).fold(0_u32, |number, at| {
            number << 8 | u32::from(chunk.get(at).copied().unwrap_or(0))
        });
        for at in 0..4 {
            let symbol = ALPHABET.get((number >> (18 - 6 * at) & 63) as usize);
            let symbol = symbol.filter(|_| at <= chunk.len());
            text.push(char::from(symbol.copied().unwrap_or(b'=')));
        }
    }
    text
}

/// The bytes of it; white space in between is skipped, as PEM has it. They may be secret, and so no copy of them is left
/// behind. `None` for anything else, for missing padding and for stray bits after the last byte.
pub(crate) fn decode(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    // Never grows: what a vector leaves behind is not zeroized.
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() / 4 * 3));
    let (mut number, mut symbols, mut padding) = (0_u32, 0_usize, 0_usize);
    for symbol in text.bytes().filter(|byte| !byte.is_ascii_whitespace()) {
        let value = match symbol {
            b'A'..=b'Z' => symbol - b'A',
            b'a'..=b'z' => symbol - b'a' + 26,
            b'0'..=b'9' => symbol - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => 0,
            _ => return None,
        };
        match (symbol == b'=', padding) {
            (true, _) => padding += 1,
            (false, 0) => {}
            (false, _) => return None,
        }
        number = number << 6 | u32::from(value);
        symbols += 1;
        if symbols % 4 == 0 {
            let [_, three @ ..] = number.to_be_bytes();
            let kept = 3_usize.checked_sub(padding).filter(|kept| *kept > 0)?;
            let (kept, rest) = three.split_at_checked(kept)?;
            if rest.iter().any(|byte| *byte != 0) {
                return None;
            }
            bytes.extend_from_slice(kept);
            number = 0;
        }
    }
    (symbols % 4 == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4648 §10.
    #[test]
    fn it_is_that_of_the_rfc() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!(decode(text).unwrap().as_slice(), bytes.as_bytes());
        }
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(*decode(&encode(&all)).unwrap(), all);
        assert_eq!(decode("Zm9v\r\n  YmFy\n").unwrap().as_slice(), b"foobar");
    }

    #[test]
    fn what_is_wrong_is_nothing() {
        for text in [
            "Z", "Zg", "Zg=", "Zg===", "Zh==", "Zm9=", "====", "Z===", "Zg==Zg==", "=Zg=", "Zm-v",
            "Zm9v\0", "Zm9vé",
        ] {
            assert_eq!(decode(text), None, "{text:?}");
        }
    }
}
