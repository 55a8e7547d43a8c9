//! Every command on the wire, in a file or only counted. PINs and keys that travel in a command are masked.

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, Write as _},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// The log of one card. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<Entries>>);

#[derive(Debug, Default)]
struct Entries {
    count: u64,
    file: Option<File>,
}

impl Log {
    /// Appends to a file, one line per command: its bytes as hexadecimal digits, `**` for each secret one; the status word,
    /// or `----` if the card went silent; the length of the response's data; and the microseconds it took.
    pub fn to_file(path: &Path) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        Ok(Self(Arc::new(Mutex::new(Entries {
            count: 0,
            file: Some(file),
        }))))
    }

    /// The commands since the start or since [`Log::reset_count`], GET RESPONSE and each part of a chain included.
    pub fn count(&self) -> u64 {
        self.entries().count
    }

    /// Starts counting anew.
    pub fn reset_count(&self) {
        self.entries().count = 0;
    }

    pub(crate) fn add(&self, apdu: &[u8], response: Option<&[u8]>, took: Duration) {
        let mut entries = self.entries();
        entries.count += 1;
        let Some(file) = &mut entries.file else {
            return;
        };
        let (status, length) = match response.and_then(|all| all.split_last_chunk::<2>()) {
            Some((data, status)) => (format!("{:04X}", u16::from_be_bytes(*status)), data.len()),
            None => ("----".to_owned(), 0),
        };
        let line = format!("{} {status} {length} {}\n", masked(apdu), took.as_micros());
        file.write_all(line.as_bytes())
            .expect("the log can be written");
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bytes as hexadecimal digits, with `**` for each byte of data of a command that carries a PIN or a key.
fn masked(apdu: &[u8]) -> String {
    let secret = match *apdu {
        // VERIFY, CHANGE REFERENCE DATA, RESET RETRY COUNTER; YubiKey's IMPORT KEY and SET MANAGEMENT KEY
        [_, 0x20 | 0x24 | 0x2C | 0xFE | 0xFF, ..] => true,
        // OpenPGP: PUT DATA of the resetting code and of keys
        [_, 0xDA, 0x00, 0xD3, ..] | [_, 0xDB, 0x3F, 0xFF, _, 0x4D, ..] => true,
        [_, 0xDB, 0x3F, 0xFF, 0, _, _, 0x4D, ..] => true,
        _ => false,
    };
    let shown = if !secret {
        apdu.len()
    } else if apdu.get(4) == Some(&0) {
        7
    } else {
        5
    };
    let mut text = String::with_capacity(apdu.len() * 2);
    for (at, byte) in apdu.iter().enumerate() {
        if at < shown {
            let _ = write!(text, "{byte:02X}");
        } else {
            text.push_str("**");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::masked;

    #[test]
    fn pins_are_masked_in_short_and_extended_commands() {
        assert_eq!(
            masked(b"\x00\x20\x00\x80\x08123456\xff\xff"),
            "0020008008****************"
        );
        assert_eq!(
            masked(b"\x00\x20\x00\x81\x00\x00\x061234"),
            "00200081000006********"
        );
        assert_eq!(masked(b"\x00\x20\x00\x80"), "00200080");
        assert_eq!(
            masked(b"\x00\xcb\x3f\xff\x03\x5c\x01\x7e\x00"),
            "00CB3FFF035C017E00"
        );
    }
}
