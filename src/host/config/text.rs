//! Bytes as text in a configuration: hexadecimal, and base64 (RFC 4648 §4).

use std::fmt::Write;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Lower-case hexadecimal digits.
pub fn to_hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// The bytes of hexadecimal digits of either case. `None` for an odd number of digits or anything else in between.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    pairs
        .iter()
        .map(|&[high, low]| u8::try_from(digit(high)? << 4 | digit(low)?).ok())
        .collect()
}

/// Base64 with padding, on one line.
pub(crate) fn to_base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let number = (0..3).fold(0_u32, |number, i| {
            number << 8 | u32::from(chunk.get(i).copied().unwrap_or(0))
        });
        for i in 0..4 {
            let symbol = ALPHABET
                .get((number >> (18 - 6 * i) & 63) as usize)
                .copied();
            let padded = i > chunk.len();
            text.push(char::from(if padded {
                b'='
            } else {
                symbol.unwrap_or(b'=')
            }));
        }
    }
    text
}

/// What each byte stands for in base64; 0xFF is none of it.
#[allow(
    clippy::indexing_slicing,
    reason = "the compiler evaluates it, and stops at a panic"
)]
const VALUES: [u8; 256] = {
    let mut values = [0xff; 256];
    let mut value = 0;
    while value < 64 {
        values[ALPHABET[value as usize] as usize] = value;
        value += 1;
    }
    values
};

/// Three bytes of four symbols, if they are all of the alphabet.
fn three_bytes(symbols: [u8; 4]) -> Option<[u8; 3]> {
    let value = |symbol: u8| VALUES.get(usize::from(symbol)).copied().unwrap_or(0xff);
    let [a, b, c, d] = symbols.map(value);
    if (a | b | c | d) & 0x80 != 0 {
        return None;
    }
    Some([a << 2 | b >> 4, b << 4 | c >> 2, c << 6 | d])
}

/// The bytes of base64; white space in between is skipped, so that a person may break the lines. `None` for anything
/// else, for missing padding and for stray bits after the last byte.
pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    // Nearly all of what is stored goes fast: a program that starts reads hundreds of certificates.
    let (groups, _) = text.as_bytes().as_chunks::<4>();
    let fast = groups.iter().map_while(|group| three_bytes(*group));
    let mut read = 0;
    for three in fast {
        bytes.extend_from_slice(&three);
        read += 4;
    }
    let text = text.as_bytes().get(read..)?;
    let (mut number, mut symbols, mut padding) = (0_u32, 0_usize, 0_usize);
    for symbol in text
        .iter()
        .copied()
        .filter(|byte| !byte.is_ascii_whitespace())
    {
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
            if three.get(kept..)?.iter().any(|byte| *byte != 0) {
                return None;
            }
            bytes.extend_from_slice(three.get(..kept)?);
            number = 0;
        }
    }
    (symbols % 4 == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_goes_both_ways() {
        assert_eq!(to_hex(&[0, 0xAF, 9]), "00af09");
        assert_eq!(from_hex("00Af09"), Some(vec![0, 0xAF, 9]));
        assert_eq!(from_hex(""), Some(vec![]));
        for wrong in ["0", "0g", "é", " 0", "+1"] {
            assert_eq!(from_hex(wrong), None, "{wrong}");
        }
    }

    /// RFC 4648 §10.
    #[test]
    fn base64_goes_both_ways() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(to_base64(bytes.as_bytes()), text);
            assert_eq!(from_base64(text).as_deref(), Some(bytes.as_bytes()));
        }
        let all: Vec<u8> = (0..=255).collect();
        for len in 0..all.len() {
            let text = to_base64(&all[..len]);
            assert_eq!(from_base64(&text).as_deref(), Some(&all[..len]));
            for at in [0, 1, 4, text.len() / 2]
                .into_iter()
                .filter(|at| *at <= text.len())
            {
                let (start, end) = text.split_at(at);
                let broken = from_base64(&format!("{start}\n {end}"));
                assert_eq!(broken.as_deref(), Some(&all[..len]));
                assert_eq!(from_base64(&format!("{start}-{end}")), None);
            }
        }
        assert_eq!(from_base64(&to_base64(&all)), Some(all));
        assert_eq!(
            from_base64("Zm9v\n  YmFy\n").as_deref(),
            Some(&b"foobar"[..])
        );
    }

    #[test]
    fn wrong_base64_is_refused() {
        for wrong in [
            "Z", "Zg", "Zg=", "Zg===", "Zh==", "Zm9=", "====", "Zg==Zg==", "Zm9v!", "Zm-_",
        ] {
            assert_eq!(from_base64(wrong), None, "{wrong}");
        }
    }
}
