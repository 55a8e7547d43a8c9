//! A password in the forms in which files take it.

use zeroize::Zeroizing;

/// A password as it may have gone into a file. Zeroized when dropped.
///
/// The PKCS#12 key derivation takes a BMPString with its two terminating zeros (RFC 7292 Appendix
/// B.1), PBES2 takes bytes, in practice UTF-8 (RFC 8018 §3). Tools differ in two corners, so that
/// more than one BMPString may have to be tried: the empty password (two zeros, or nothing at all),
/// and characters beyond ASCII, which OpenSSL before 1.1 wrote byte by byte.
pub(crate) struct Password {
    bytes: Zeroizing<Vec<u8>>,
    bmp: Vec<Zeroizing<Vec<u8>>>,
}

impl Password {
    /// A password as a person typed it: UTF-8, or any bytes.
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let by_byte = || bmp_string(bytes.iter().map(|byte| u16::from(*byte)), bytes.len());
        let bmp = match std::str::from_utf8(bytes) {
            Ok("") => vec![by_byte(), Zeroizing::new(Vec::new())],
            Ok(text) if text.is_ascii() => vec![by_byte()],
            Ok(text) => vec![bmp_string(text.encode_utf16(), bytes.len()), by_byte()],
            Err(_) => vec![by_byte()],
        };
        Self {
            bytes: Zeroizing::new(bytes.to_vec()),
            bmp,
        }
    }

    /// For PBES2.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// For the PKCS#12 key derivation, the likeliest first.
    pub(crate) fn bmp_forms(&self) -> impl Iterator<Item = &[u8]> {
        self.bmp.iter().map(|form| &***form)
    }

    /// Makes this form the first, because the file's MAC was made with it.
    pub(crate) fn prefer_bmp_form(&mut self, index: usize) {
        if let Some(preferred) = self.bmp.get_mut(..=index) {
            preferred.rotate_right(1);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// `max_units` is an upper bound, so that the buffer never moves and leaves no copy behind.
fn bmp_string(units: impl Iterator<Item = u16>, max_units: usize) -> Zeroizing<Vec<u8>> {
    let mut string = Zeroizing::new(Vec::with_capacity(2 * max_units + 2));
    for unit in units.chain([0]) {
        string.extend_from_slice(&unit.to_be_bytes());
    }
    string
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forms(password: &Password) -> Vec<Vec<u8>> {
        password.bmp_forms().map(<[u8]>::to_vec).collect()
    }

    #[test]
    fn ascii_has_one_form() {
        assert_eq!(forms(&Password::new(b"ab")), [[0, b'a', 0, b'b', 0, 0]]);
    }

    #[test]
    fn the_empty_password_has_two() {
        assert_eq!(forms(&Password::new(b"")), [vec![0, 0], vec![]]);
    }

    #[test]
    fn text_beyond_ascii_is_utf_16_first() {
        let password = Password::new("é𝄞".as_bytes());
        let [first, second] = &forms(&password)[..] else {
            panic!("two forms")
        };
        assert_eq!(first, &[0, 0xe9, 0xd8, 0x34, 0xdd, 0x1e, 0, 0]);
        assert_eq!(
            second,
            &[0, 0xc3, 0, 0xa9, 0, 0xf0, 0, 0x9d, 0, 0x84, 0, 0x9e, 0, 0]
        );
    }

    #[test]
    fn other_bytes_go_one_by_one() {
        assert_eq!(forms(&Password::new(&[0xe9])), [[0, 0xe9, 0, 0]]);
    }

    #[test]
    fn a_preferred_form_comes_first() {
        let mut password = Password::new(b"");
        password.prefer_bmp_form(1);
        assert_eq!(forms(&password), [vec![], vec![0, 0]]);
        password.prefer_bmp_form(0);
        assert_eq!(forms(&password), [vec![], vec![0, 0]]);
    }
}
