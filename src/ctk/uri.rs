//! `pkcs11:` URIs (RFC 7512), with which programs name a key.

use std::fmt::Write;

use ctk_token::TokenInfo;

/// Names the identity `id` on a token; programs add what kind of object they want.
pub(crate) fn uri(token: &TokenInfo, id: &[u8], label: &str) -> String {
    let mut uri = String::from("pkcs11:");
    let shown = [
        ("model", cut(&token.model, 16)),
        ("manufacturer", cut(&token.manufacturer, 32)),
        ("serial", cut(&token.serial_number, 16)),
        ("token", cut(&token.label, 32)),
    ];
    for (name, value) in shown {
        if !value.is_empty() {
            let _ = write!(uri, "{name}={};", encode(value.as_bytes(), false));
        }
    }
    let _ = write!(uri, "id={}", encode(id, true));
    if !label.is_empty() {
        let _ = write!(uri, ";object={}", encode(label.as_bytes(), false));
    }
    uri
}

/// Percent-encodes everything but RFC 3986's unreserved characters; ids completely, as they are bytes and not text.
fn encode(bytes: &[u8], all: bool) -> String {
    bytes.iter().fold(String::new(), |mut text, &byte| {
        if !all && (byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

/// What fits into a field of CK_TOKEN_INFO, whole characters only.
fn cut(text: &str, len: usize) -> &str {
    let ends = text
        .char_indices()
        .map(|(at, character)| at + character.len_utf8());
    let end = ends.take_while(|end| *end <= len).last().unwrap_or(0);
    text.get(..end).unwrap_or_default().trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_encoded_and_cut_to_its_field() {
        assert_eq!(encode("PKCS#12 ü".as_bytes(), false), "PKCS%2312%20%C3%BC");
        assert_eq!(encode(b"a\x00", true), "%61%00");
        assert_eq!(cut("ééé", 5), "éé");
        assert_eq!(cut("ab", 16), "ab");
    }
}
