//! Where a PIN comes from when it is not the program that asks for it.

use std::{
    io::Read,
    os::unix::{ffi::OsStringExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use ctk_token::{Reason, Result, TokenError};
use zeroize::Zeroizing;

use crate::{
    Environment,
    config::trust::{self, Purpose},
};

/// Longest PIN that a source may give, in bytes.
const MAX_PIN: usize = 255;

/// Where a token's PIN comes from.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum PinSource {
    /// The program asks its user.
    #[default]
    App,
    /// A file that only the user can read; one newline at its end does not count.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A credential that systemd hands to a service (`LoadCredential=`, systemd.exec(5)).
    Credential(String),
}

/// A PIN that was read, and what tells whether its source was touched since.
#[derive(Eq, PartialEq)]
pub(crate) struct StoredPin {
    pub(crate) bytes: Zeroizing<Vec<u8>>,
    /// Inode and time of change of the file.
    stamp: Option<(u64, i64, i64)>,
}

impl std::fmt::Debug for StoredPin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoredPin(…)")
    }
}

impl PinSource {
    /// What is written in a configuration. A path is still as the person wrote it.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(text: &str) -> std::result::Result<Self, String> {
        if text == "app" {
            return Ok(Self::App);
        }
        // The text is not repeated: who takes this for the place of the PIN itself has written the PIN.
        let wrong = || {
            "this is no PIN source: use \"app\", \"file:/path\", \"env:NAME\" or \"credential:NAME\", and never the PIN \
             itself"
                .to_owned()
        };
        let (kind, value) = text.split_once(':').ok_or_else(wrong)?;
        let is_file_name = !value.contains('/') && value != "." && value != "..";
        match kind {
            _ if value.is_empty() || value.contains('\0') => Err(wrong()),
            "file" => Ok(Self::File(PathBuf::from(value))),
            "env" if !value.contains('=') => Ok(Self::Env(value.to_owned())),
            "credential" if is_file_name => Ok(Self::Credential(value.to_owned())),
            _ => Err(wrong()),
        }
    }

    /// The PIN as it can be read now, to see whether it is right. `None`: it is the program that asks.
    ///
    /// # Errors
    /// [`TokenError::Unreachable`] with the reason.
    pub fn secret(&self, environment: &Environment) -> Result<Option<Zeroizing<Vec<u8>>>> {
        Ok(self.read(environment)?.map(|pin| pin.bytes))
    }

    /// Reads the PIN. `None`: it is the program that asks.
    ///
    /// # Errors
    /// [`TokenError::Unreachable`] with the reason.
    pub(crate) fn read(&self, environment: &Environment) -> Result<Option<StoredPin>> {
        let pin = match self {
            Self::App => return Ok(None),
            Self::File(path) => read_file(path, environment.euid, Purpose::Secret)?,
            Self::Env(_) | Self::Credential(_) if environment.secure => {
                return Err(unreachable(format!(
                    "the PIN source {self} is not used by a program that runs with more rights than its caller; \
                     use file:/path"
                )));
            }
            Self::Env(name) => read_variable(name, environment)?,
            Self::Credential(name) => {
                let folder = environment.credentials.as_ref().ok_or_else(|| {
                    unreachable(format!(
                        "the PIN source {self} needs CREDENTIALS_DIRECTORY: start the program as a systemd service with \
                         LoadCredential={name}:…"
                    ))
                })?;
                read_file(&folder.join(name), environment.euid, Purpose::Credential)?
            }
        };
        if pin.bytes.len() > MAX_PIN {
            return Err(unreachable(format!(
                "the PIN source {self} holds more than {MAX_PIN} bytes, so it is not a PIN"
            )));
        }
        Ok(Some(pin))
    }
}

impl std::fmt::Display for PinSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::App => f.write_str("app"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Env(name) => write!(f, "env:{name}"),
            Self::Credential(name) => write!(f, "credential:{name}"),
        }
    }
}

fn read_variable(name: &str, environment: &Environment) -> Result<StoredPin> {
    let value = (environment.variable)(name).ok_or_else(|| {
        unreachable(format!(
            "the environment variable {name}, which holds the PIN, is not set"
        ))
    })?;
    Ok(StoredPin {
        bytes: Zeroizing::new(value.into_vec()),
        stamp: None,
    })
}

fn read_file(path: &Path, euid: u32, purpose: Purpose) -> Result<StoredPin> {
    let about = |reason: String| unreachable(format!("the PIN file {}: {reason}", path.display()));
    let file = trust::open(path, euid, purpose)
        .map_err(|refusal| about(refusal.to_string()))?
        .ok_or_else(|| {
            about(
                "does not exist; write the PIN into it, or choose another source: ctk update --pin"
                    .into(),
            )
        })?;
    let unread = |error: std::io::Error| about(format!("cannot be read: {error}"));
    let metadata = file.metadata().map_err(unread)?;
    // Room for one byte too many, a newline, and the last question whether there is more: the buffer never moves and
    // leaves no copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 * MAX_PIN));
    file.take(MAX_PIN as u64 + 2)
        .read_to_end(&mut bytes)
        .map_err(unread)?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    Ok(StoredPin {
        bytes,
        stamp: Some((metadata.ino(), metadata.ctime(), metadata.ctime_nsec())),
    })
}

fn unreachable(reason: String) -> TokenError {
    TokenError::Unreachable(Reason::new(reason))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;
    use crate::test_folder::TestFolder;

    fn read(source: &str, environment: &Environment) -> std::result::Result<Vec<u8>, String> {
        let pin = PinSource::parse(source).unwrap().read(environment);
        pin.map(|pin| pin.unwrap().bytes.to_vec())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn sources_are_parsed_and_written_alike() {
        for text in ["app", "file:/run/pin", "env:PIN", "credential:p12"] {
            assert_eq!(PinSource::parse(text).unwrap().to_string(), text);
        }
        for wrong in [
            "",
            "file",
            "file:",
            "env:",
            "env:A=B",
            "credential:../x",
            "credential:..",
            "prompt:x",
        ] {
            assert!(PinSource::parse(wrong).is_err(), "{wrong}");
        }
        for secret in ["s3cret", "pin:s3cret", "file:s3cret\0"] {
            let said = PinSource::parse(secret).unwrap_err();
            assert!(!said.contains("s3cret"), "{said}");
        }
    }

    #[test]
    fn a_pin_file_loses_one_newline() {
        let folder = TestFolder::new();
        let environment = Environment::empty();
        for (text, pin) in [
            ("1234", "1234"),
            ("1234\n", "1234"),
            ("12\n\n", "12\n"),
            ("", ""),
            ("\n", ""),
        ] {
            let file = folder.write("pin", text);
            assert_eq!(
                read(&format!("file:{}", file.display()), &environment),
                Ok(pin.into())
            );
        }
        let longest = "p".repeat(MAX_PIN);
        let file = folder.write("pin", &format!("{longest}\n"));
        assert_eq!(
            read(&format!("file:{}", file.display()), &environment),
            Ok(longest.into())
        );
        let file = folder.write("pin", &"p".repeat(MAX_PIN + 1));
        let refused = read(&format!("file:{}", file.display()), &environment).unwrap_err();
        assert!(refused.contains("more than 255"), "{refused}");
    }

    #[test]
    fn a_pin_file_that_others_can_read_is_refused() {
        let folder = TestFolder::new();
        let file = folder.write("pin", "1234");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = read(&format!("file:{}", file.display()), &Environment::empty()).unwrap_err();
        assert!(refused.contains("chmod go="), "{refused}");
        let missing = read("file:/nonexistent/pin", &Environment::empty()).unwrap_err();
        assert!(missing.contains("does not exist"), "{missing}");
    }

    #[test]
    fn variables_and_credentials_are_read_unless_rights_were_raised() {
        let folder = TestFolder::new();
        folder.write("p12", "5678\n");
        let mut environment = Environment {
            credentials: Some(folder.path().to_owned()),
            variable: |name| (name == "CTK_TEST_PIN").then(|| "äö".into()),
            ..Environment::empty()
        };
        assert_eq!(read("env:CTK_TEST_PIN", &environment), Ok("äö".into()));
        assert_eq!(read("credential:p12", &environment), Ok("5678".into()));
        assert!(
            read("env:OTHER", &environment)
                .unwrap_err()
                .contains("OTHER")
        );
        environment.secure = true;
        assert!(read("env:CTK_TEST_PIN", &environment).is_err());
        assert!(read("credential:p12", &environment).is_err());
        environment.secure = false;
        environment.credentials = None;
        assert!(
            read("credential:p12", &environment)
                .unwrap_err()
                .contains("LoadCredential")
        );
    }

    #[test]
    fn a_touched_file_is_another_source() {
        let folder = TestFolder::new();
        let environment = Environment::empty();
        let source = PinSource::File(folder.write("pin", "1"));
        let before = source.read(&environment).unwrap();
        assert_eq!(before, source.read(&environment).unwrap());
        folder.write("pin", "2");
        assert_ne!(before, source.read(&environment).unwrap());
    }
}
