//! Where a PIN comes from when it is not the program that asks for it.

use std::path::PathBuf;

use ctk_token::Result;
use zeroize::Zeroizing;

use crate::{
    Environment,
    command::CommandLine,
    secret::{self, PIN, SecretSource, Stored},
};

/// Where a token's PIN comes from.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum PinSource {
    /// The program asks its user.
    #[default]
    App,
    /// [`SecretSource::File`]
    File(PathBuf),
    /// [`SecretSource::Env`]
    Env(String),
    /// [`SecretSource::Credential`]
    Credential(String),
    /// [`SecretSource::Command`]
    Command(CommandLine),
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
        let parsed = secret::parse(text)?;
        parsed.map(Self::from).ok_or_else(|| {
            "this is no PIN source: use \"app\", \"file:/path\", \"env:NAME\", \"credential:NAME\" or \
             \"command:PROGRAM ARGUMENTS\", and never the PIN itself"
                .to_owned()
        })
    }

    /// The PIN as it can be read now, to see whether it is right. `None`: it is the program that asks.
    ///
    /// # Errors
    /// [`TokenError::Unreachable`](ctk_token::TokenError::Unreachable) with the reason.
    pub fn secret(&self, environment: &Environment) -> Result<Option<Zeroizing<Vec<u8>>>> {
        Ok(self.read(environment)?.map(|pin| pin.bytes))
    }

    /// Reads the PIN. `None`: it is the program that asks.
    ///
    /// # Errors
    /// [`TokenError::Unreachable`](ctk_token::TokenError::Unreachable) with the reason.
    pub(crate) fn read(&self, environment: &Environment) -> Result<Option<Stored>> {
        let source = self.source();
        source
            .map(|source| source.read(environment, PIN))
            .transpose()
    }

    /// Where it is stored. `None`: it is the program that asks.
    pub fn source(&self) -> Option<SecretSource> {
        match self {
            Self::App => None,
            Self::File(path) => Some(SecretSource::File(path.clone())),
            Self::Env(name) => Some(SecretSource::Env(name.clone())),
            Self::Credential(name) => Some(SecretSource::Credential(name.clone())),
            Self::Command(command) => Some(SecretSource::Command(command.clone())),
        }
    }
}

impl From<SecretSource> for PinSource {
    fn from(source: SecretSource) -> Self {
        match source {
            SecretSource::File(path) => Self::File(path),
            SecretSource::Env(name) => Self::Env(name),
            SecretSource::Credential(name) => Self::Credential(name),
            SecretSource::Command(command) => Self::Command(command),
        }
    }
}

impl std::fmt::Display for PinSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.source() {
            None => f.write_str("app"),
            Some(source) => source.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    /// Longest PIN that a source may give, in bytes.
    const MAX_PIN: usize = 255;
    use crate::test_folder::TestFolder;

    fn read(source: &str, environment: &Environment) -> std::result::Result<Vec<u8>, String> {
        let pin = PinSource::parse(source).unwrap().read(environment);
        pin.map(|pin| pin.unwrap().bytes.to_vec())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn sources_are_parsed_and_written_alike() {
        for text in [
            "app",
            "file:/run/pin",
            "env:PIN",
            "credential:p12",
            "command:/usr/bin/pass  show 'work pin'",
        ] {
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
            "command:",
            "command: ",
            "command:'",
        ] {
            assert!(PinSource::parse(wrong).is_err(), "{wrong}");
        }
        for secret in ["s3cret", "pin:s3cret", "file:s3cret\0", "command:'s3cret"] {
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
