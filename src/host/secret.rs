//! Where a secret comes from that stands in no configuration: a file, a variable, a credential, a command.

use std::{
    io::Read,
    os::unix::{ffi::OsStringExt, fs::MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use ctk_token::{Reason, Result, TokenError};
use zeroize::Zeroizing;

use crate::{
    Environment,
    command::{self, CommandLine},
    config::trust::{self, Purpose},
};

/// Where a secret comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SecretSource {
    /// A file that only the user can read; one newline at its end does not count.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A credential that systemd hands to a service (`LoadCredential=`, systemd.exec(5)).
    Credential(String),
    /// What a program prints; one newline at its end does not count. Only where the token says `commands = true`.
    Command(CommandLine),
}

/// What a secret is for: what a person calls it, and its longest value in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Purposed {
    name: &'static str,
    max: usize,
    /// How another source is chosen.
    choose: &'static str,
}

/// A person's PIN.
pub(crate) const PIN: Purposed = Purposed {
    name: "PIN",
    max: 255,
    choose: ": ctk update --pin",
};

/// What a service knows us by.
pub(crate) const SECRET: Purposed = Purposed {
    name: "secret",
    max: 16 << 10,
    choose: "",
};

/// A secret that was read, and what tells whether its source was touched since.
#[derive(Eq, PartialEq)]
pub(crate) struct Stored {
    pub(crate) bytes: Zeroizing<Vec<u8>>,
    /// Of the file that it is from.
    pub(crate) stamp: Stamp,
}

/// Inode and time of change of a file.
pub(crate) type Stamp = Option<(u64, i64, i64)>;

impl std::fmt::Debug for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stored(…)")
    }
}

impl SecretSource {
    /// What is written in a configuration. A path is still as the person wrote it.
    ///
    /// # Errors
    /// A sentence that says what is wrong, without the text: who takes this for the place of the secret itself has
    /// written the secret.
    pub fn parse(text: &str) -> std::result::Result<Self, String> {
        let parsed = parse(text)?;
        parsed.ok_or_else(|| {
            "this is no source of a secret: use \"file:/path\", \"env:NAME\", \"credential:NAME\" or \
             \"command:PROGRAM ARGUMENTS\", and never the secret itself"
                .to_owned()
        })
    }

    /// Whether a program has to be run for it.
    pub fn is_command(&self) -> bool {
        matches!(self, Self::Command(_))
    }

    /// The secret as it can be read now. A command has no longer than `limit`.
    ///
    /// # Errors
    /// [`TokenError::Unreachable`] with the reason.
    pub fn secret(&self, environment: &Environment, limit: Duration) -> Result<Zeroizing<Vec<u8>>> {
        Ok(self.read_within(environment, SECRET, limit)?.bytes)
    }

    /// Reads the secret.
    ///
    /// # Errors
    /// [`TokenError::Unreachable`] with the reason.
    pub(crate) fn read(&self, environment: &Environment, purpose: Purposed) -> Result<Stored> {
        self.read_within(environment, purpose, Duration::MAX)
    }

    fn read_within(
        &self,
        environment: &Environment,
        purpose: Purposed,
        limit: Duration,
    ) -> Result<Stored> {
        let name = purpose.name;
        let stored = match self {
            Self::File(path) => {
                match environment.unwritten.files().find(|(file, _)| file == path) {
                    Some((_, secret)) => Stored {
                        bytes: Zeroizing::new(secret.to_vec()),
                        stamp: None,
                    },
                    None => read_file(path, environment.euid, Purpose::Secret, purpose)?,
                }
            }
            Self::Env(_) | Self::Credential(_) if environment.secure => {
                return Err(unreachable(format!(
                    "the {name} source {self} is not used by a program that runs with more rights than its caller; \
                     use file:/path"
                )));
            }
            Self::Env(variable) => read_variable(variable, environment, purpose)?,
            Self::Credential(credential) => {
                let folder = environment.credentials.as_ref().ok_or_else(|| {
                    unreachable(format!(
                        "the {name} source {self} needs CREDENTIALS_DIRECTORY: start the program as a systemd service \
                         with LoadCredential={credential}:…"
                    ))
                })?;
                let path = folder.join(credential);
                read_file(&path, environment.euid, Purpose::Credential, purpose)?
            }
            Self::Command(command) => {
                let bytes = command::run(command.words(), environment, limit)?;
                if bytes.is_empty() {
                    return Err(unreachable(format!(
                        "the command {:?}, which is to print the {name}, printed nothing",
                        command.program()
                    )));
                }
                Stored { bytes, stamp: None }
            }
        };
        if stored.bytes.len() > purpose.max {
            return Err(unreachable(format!(
                "the {name} source {} holds more than {} bytes, so it is not a {name}",
                self.shown(),
                purpose.max
            )));
        }
        Ok(stored)
    }

    /// What is said of it in messages: of a command only the program, because its arguments are for the program alone.
    pub fn shown(&self) -> String {
        match self {
            Self::Command(command) => format!("command:{}", command.program()),
            other => other.to_string(),
        }
    }
}

/// Secrets whose files are not there yet: what somebody types is tried before anything is written.
#[derive(Clone, Default)]
pub struct Unwritten(Vec<(PathBuf, Arc<Zeroizing<Vec<u8>>>)>);

impl Unwritten {
    /// This secret is to be in that file.
    pub fn insert(&mut self, file: PathBuf, secret: Zeroizing<Vec<u8>>) {
        self.0.push((file, Arc::new(secret)));
    }

    /// Each file with its secret.
    pub fn files(&self) -> impl Iterator<Item = (&Path, &[u8])> {
        let all = self.0.iter();
        all.map(|(file, secret)| (file.as_path(), secret.as_slice()))
    }
}

impl std::fmt::Debug for Unwritten {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.files().map(|(file, _)| file))
            .finish()
    }
}

/// What is written in a configuration; `None` for what is no source at all.
///
/// # Errors
/// What is wrong with a source of a known kind.
pub(crate) fn parse(text: &str) -> std::result::Result<Option<SecretSource>, String> {
    let Some((kind, value)) = text.split_once(':') else {
        return Ok(None);
    };
    let is_file_name = !value.contains('/') && value != "." && value != "..";
    Ok(match kind {
        _ if value.is_empty() || value.contains('\0') => None,
        "file" => Some(SecretSource::File(PathBuf::from(value))),
        "env" if !value.contains('=') => Some(SecretSource::Env(value.to_owned())),
        "credential" if is_file_name => Some(SecretSource::Credential(value.to_owned())),
        "command" => Some(SecretSource::Command(CommandLine::parse(value)?)),
        _ => None,
    })
}

impl std::fmt::Display for SecretSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Env(name) => write!(f, "env:{name}"),
            Self::Credential(name) => write!(f, "credential:{name}"),
            Self::Command(command) => write!(f, "command:{command}"),
        }
    }
}

fn read_variable(name: &str, environment: &Environment, purpose: Purposed) -> Result<Stored> {
    let value = (environment.variable)(name).ok_or_else(|| {
        unreachable(format!(
            "the environment variable {name}, which holds the {}, is not set",
            purpose.name
        ))
    })?;
    Ok(Stored {
        bytes: Zeroizing::new(value.into_vec()),
        stamp: None,
    })
}

fn read_file(path: &Path, euid: u32, file: Purpose, purpose: Purposed) -> Result<Stored> {
    let Purposed { name, max, choose } = purpose;
    let about =
        |reason: String| unreachable(format!("the {name} file {}: {reason}", path.display()));
    let file = trust::open(path, euid, file)
        .map_err(|refusal| about(refusal.to_string()))?
        .ok_or_else(|| {
            about(format!(
                "does not exist; write the {name} into it, or choose another source{choose}"
            ))
        })?;
    let unread = |error: std::io::Error| about(format!("cannot be read: {error}"));
    let metadata = file.metadata().map_err(unread)?;
    // Room for one byte too many, a newline, and the last question whether there is more: the buffer never moves and
    // leaves no copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 * max));
    file.take(max as u64 + 2)
        .read_to_end(&mut bytes)
        .map_err(unread)?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    Ok(Stored {
        bytes,
        stamp: Some((metadata.ino(), metadata.ctime(), metadata.ctime_nsec())),
    })
}

fn unreachable(reason: String) -> TokenError {
    TokenError::Unreachable(Reason::new(reason))
}

#[cfg(test)]
mod tests;
