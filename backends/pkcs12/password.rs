//! A password in the forms in which files take it.

use zeroize::Zeroizing;

use crate::failure::Result;

/// A password as it may have gone into a file. Zeroized when dropped.
///
/// The PKCS#12 key derivation takes a BMPString with its two terminating zeros (RFC 7292 Appendix
/// B.1), PBES2 takes bytes, in practice UTF-8 (RFC 8018 §3). Programs differ in three corners, so
/// that more than one reading of what was given may have to be tried:
/// - The empty password is two zeros, or nothing at all.
/// - OpenSSL before 1.1 made a BMPString of bytes, whatever they meant.
/// - Bytes that are not UTF-8 may be characters that lost all but their low byte (the PINs that
///   Java's SunPKCS11 hands on), or what a terminal gave OpenSSL, which takes it as it is.
///
/// One reading opens a whole file: what opens with one form settles the other.
pub(crate) struct Password {
    readings: Vec<Reading>,
    is_text: bool,
}

/// What a derivation takes of a password.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    /// The PKCS#12 key derivation.
    Bmp,
    /// PBES2 and PBMAC1.
    Bytes,
}

/// One way to understand the bytes that were given.
struct Reading {
    bmp: Zeroizing<Vec<u8>>,
    bytes: Zeroizing<Vec<u8>>,
}

impl Reading {
    fn form(&self, form: Form) -> &[u8] {
        match form {
            Form::Bmp => &self.bmp,
            Form::Bytes => &self.bytes,
        }
    }
}

impl Password {
    /// A password as a person typed it: UTF-8, or any bytes.
    pub(crate) fn new(given: &[u8]) -> Self {
        let by_byte = || bmp_string(given.iter().map(|byte| u16::from(*byte)), given.len());
        let text = std::str::from_utf8(given).ok();
        let bmp_and_bytes = match text {
            Some("") => vec![(by_byte(), copy(given)), (copy(b""), copy(given))],
            Some(text) if text.is_ascii() => vec![(by_byte(), copy(given))],
            Some(text) => {
                let utf_16 = bmp_string(text.encode_utf16(), given.len());
                vec![(utf_16, copy(given)), (by_byte(), copy(given))]
            }
            None => vec![(by_byte(), latin_1(given)), (by_byte(), copy(given))],
        };
        let readings = bmp_and_bytes.into_iter();
        Self {
            readings: readings
                .map(|(bmp, bytes)| Reading { bmp, bytes })
                .collect(),
            is_text: text.is_some(),
        }
    }

    /// Tries each form, the likeliest first, until one opens something; from then on, only the
    /// readings with that form count.
    ///
    /// # Errors
    /// The first that `attempt` meets.
    pub(crate) fn find<T>(
        &mut self,
        form: Form,
        mut attempt: impl FnMut(&[u8]) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let mut tried: Vec<&[u8]> = Vec::new();
        let mut found = None;
        for reading in &self.readings {
            let candidate = reading.form(form);
            if tried.contains(&candidate) {
                continue;
            }
            tried.push(candidate);
            found = attempt(candidate)?;
            if found.is_some() {
                break;
            }
        }
        if let (Some(_), Some(fitting)) = (&found, tried.last()) {
            let fitting = copy(fitting);
            self.readings
                .retain(|reading| reading.form(form) == fitting.as_slice());
        }
        Ok(found)
    }

    /// The form that is written.
    pub(crate) fn likeliest(&self, form: Form) -> &[u8] {
        let first = self.readings.first();
        first.map_or(&[], |reading| reading.form(form))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.likeliest(Form::Bytes).is_empty()
    }

    /// Whether it was given in UTF-8, so that there is little doubt what a person typed.
    pub(crate) fn is_text(&self) -> bool {
        self.is_text
    }
}

fn copy(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(bytes.to_vec())
}

/// `max_units` is an upper bound, so that the buffer never moves and leaves no copy behind.
fn bmp_string(units: impl Iterator<Item = u16>, max_units: usize) -> Zeroizing<Vec<u8>> {
    let mut string = Zeroizing::new(Vec::with_capacity(2 * max_units + 2));
    for unit in units.chain([0]) {
        string.extend_from_slice(&unit.to_be_bytes());
    }
    string
}

/// Latin-1 in UTF-8.
fn latin_1(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut text = Zeroizing::new(Vec::with_capacity(2 * bytes.len()));
    for byte in bytes {
        let mut encoded = Zeroizing::new([0; 2]);
        text.extend_from_slice(char::from(*byte).encode_utf8(&mut *encoded).as_bytes());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forms(password: &mut Password, form: Form) -> Vec<Vec<u8>> {
        let mut forms = Vec::new();
        let nothing = password.find(form, |candidate| {
            forms.push(candidate.to_vec());
            Ok(None::<()>)
        });
        assert_eq!(nothing, Ok(None));
        forms
    }

    fn settle(password: &mut Password, form: Form, on: &[u8]) {
        let found = password.find(form, |candidate| Ok((candidate == on).then_some(())));
        assert_eq!(found, Ok(Some(())));
    }

    #[test]
    fn ascii_has_one_form() {
        let mut password = Password::new(b"ab");
        assert_eq!(forms(&mut password, Form::Bmp), [[0, b'a', 0, b'b', 0, 0]]);
        assert_eq!(forms(&mut password, Form::Bytes), [b"ab"]);
    }

    #[test]
    fn the_empty_password_has_two() {
        let mut password = Password::new(b"");
        assert!(password.is_empty());
        assert_eq!(forms(&mut password, Form::Bmp), [vec![0, 0], vec![]]);
        assert_eq!(forms(&mut password, Form::Bytes), [b""]);
        settle(&mut password, Form::Bmp, b"");
        assert_eq!(forms(&mut password, Form::Bmp), [b""]);
        assert!(password.is_empty());
    }

    #[test]
    fn text_beyond_ascii_is_utf_16_first() {
        let mut password = Password::new("é𝄞".as_bytes());
        assert_eq!(
            forms(&mut password, Form::Bmp),
            [
                &[0, 0xe9, 0xd8, 0x34, 0xdd, 0x1e, 0, 0][..],
                &[0, 0xc3, 0, 0xa9, 0, 0xf0, 0, 0x9d, 0, 0x84, 0, 0x9e, 0, 0]
            ]
        );
        assert_eq!(
            forms(&mut password, Form::Bytes),
            ["é𝄞".as_bytes().to_vec()]
        );
    }

    #[test]
    fn other_bytes_go_one_by_one() {
        let both = [&b"\xc3\xa9"[..], b"\xe9"];
        let mut password = Password::new(&[0xe9]);
        assert!(!password.is_text());
        assert_eq!(forms(&mut password, Form::Bmp), [[0, 0xe9, 0, 0]]);
        assert_eq!(forms(&mut password, Form::Bytes), both);
        // What is the same in both readings settles nothing.
        settle(&mut password, Form::Bmp, &[0, 0xe9, 0, 0]);
        assert_eq!(forms(&mut password, Form::Bytes), both);
        settle(&mut password, Form::Bytes, b"\xe9");
        assert_eq!(forms(&mut password, Form::Bytes), [b"\xe9"]);
    }

    #[test]
    fn a_form_that_opens_nothing_settles_nothing() {
        let mut password = Password::new(b"");
        let failed = password.find(Form::Bmp, |_| {
            Err::<Option<()>, _>(crate::failure::Failure::Unprotected)
        });
        assert!(failed.is_err());
        assert_eq!(forms(&mut password, Form::Bmp), [vec![0, 0], vec![]]);
    }
}
