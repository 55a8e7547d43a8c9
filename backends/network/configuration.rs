//! What a token of this crate is made from: settings, secrets, and the public facts of its keys.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use ctk_token::Result;
use zeroize::Zeroizing;

use crate::Protocol;

/// A token as a person has registered it.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// Unique among the configured tokens and never changed: the slot's id.
    pub name: String,
    /// For a person; without a colon, as the contract wants it. Empty: the name.
    pub label: String,
    /// Distinguishes the token from others; PKCS#11 shows 16 bytes.
    pub serial_number: String,
    /// Whether programs are told that the token can be removed: some look at no others.
    pub removable: bool,
    /// How its service is spoken to.
    pub protocol: &'static Protocol,
    /// What the protocol needs to know, by the names in its [`settings`](Protocol::settings).
    pub settings: Settings,
    /// What [`Service::list`](crate::Service::list) found at the service.
    pub contents: Inventory,
    /// The process that it is in.
    pub surroundings: Surroundings,
}

/// Values by the names of [`SettingRow`](crate::SettingRow)s. What is not there was not configured.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Settings(pub BTreeMap<String, Value>);

/// The value of a setting.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Value {
    /// Any text.
    Text(String),
    /// A list of texts.
    Texts(Vec<String>),
    /// An absolute path.
    Path(PathBuf),
    /// Yes or no.
    Flag(bool),
    /// A whole number.
    Number(i64),
    /// Where a secret is read from.
    Secret(Secret),
}

impl Settings {
    /// The text of this name.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.0.get(name)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The list of this name; empty if there is none.
    pub fn texts(&self, name: &str) -> &[String] {
        match self.0.get(name) {
            Some(Value::Texts(texts)) => texts,
            _ => &[],
        }
    }

    /// The path of this name.
    pub fn path(&self, name: &str) -> Option<&Path> {
        match self.0.get(name)? {
            Value::Path(path) => Some(path),
            _ => None,
        }
    }

    /// Whether the flag of this name is raised.
    pub fn flag(&self, name: &str) -> bool {
        matches!(self.0.get(name), Some(Value::Flag(true)))
    }

    /// The number of this name.
    pub fn number(&self, name: &str) -> Option<i64> {
        match self.0.get(name)? {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The secret of this name.
    pub fn secret(&self, name: &str) -> Option<&Secret> {
        match self.0.get(name)? {
            Value::Secret(secret) => Some(secret),
            _ => None,
        }
    }
}

type ReadSecret = dyn Fn(Duration) -> Result<Zeroizing<Vec<u8>>> + Send + Sync;

/// Where a secret comes from. It is read each time it is needed and kept nowhere.
#[derive(Clone)]
pub struct Secret {
    /// What tells it from others.
    name: String,
    /// What a person is told.
    source: String,
    read: Arc<ReadSecret>,
}

impl Secret {
    /// A secret that `read` reads, within the time that it is given. `source` says where from, for a person, like `file:/run/token`; two secrets of one
    /// source are equal.
    pub fn new(
        source: &str,
        read: impl Fn(Duration) -> Result<Zeroizing<Vec<u8>>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: source.to_owned(),
            source: source.to_owned(),
            read: Arc::new(read),
        }
    }

    /// The same, of which messages say less: the arguments of a command are for the program alone.
    pub fn shown_as(mut self, shown: &str) -> Self {
        shown.clone_into(&mut self.source);
        self
    }

    /// Where it comes from, for a person.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Its bytes as they are now, without a newline at the end. A command that tells it has no longer than `limit`.
    ///
    /// # Errors
    /// [`TokenError::Unreachable`](ctk_token::TokenError::Unreachable) with what is wrong with the source.
    pub fn read(&self, limit: Duration) -> Result<Zeroizing<Vec<u8>>> {
        (self.read)(limit)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.source)
    }
}

impl Eq for Secret {}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// What a token holds, as far as anybody may know.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Inventory {
    /// The private keys, in the service's order.
    pub keys: Vec<KeyRecord>,
    /// The certificates: those of the keys in the keys' order, then the others of their chains.
    pub certificates: Vec<CertificateRecord>,
    /// What the service has and is not in the lists above, each a sentence for a person that says why.
    pub left_out: Vec<String>,
}

/// The public facts of a private key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyRecord {
    /// For a person.
    pub label: String,
    /// SHA-1 of the public key's bits (RFC 5280 §4.2.1.2, method 1), shared with its certificate: CKA_ID.
    pub identity: Vec<u8>,
    /// DER SubjectPublicKeyInfo.
    pub spki: Vec<u8>,
    /// DER Name in its certificate, if it has one.
    pub subject: Option<Vec<u8>>,
    /// What the protocol needs to know of the key, by the names in its [`key_facts`](Protocol::key_facts).
    pub facts: Settings,
}

/// A certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertificateRecord {
    /// For a person; the key's if it belongs to one.
    pub label: String,
    /// SHA-1 of the public key's bits; of all of `der` for the lesser ones of several certificates with one key.
    pub identity: Vec<u8>,
    /// X.509.
    pub der: Vec<u8>,
}

/// Runs a command, given as a program and its arguments, and answers with its standard output, of at most 64 KiB, without
/// a newline at the end. It ends within the time that is given and within 30 seconds, or is stopped.
pub type RunCommand =
    Arc<dyn Fn(&[OsString], Duration) -> Result<Zeroizing<Vec<u8>>> + Send + Sync>;

/// The process that a token is in, as far as a protocol depends on it.
#[derive(Clone)]
pub struct Surroundings {
    /// The user's home directory; `None` under AT_SECURE.
    pub home: Option<PathBuf>,
    /// Reads an environment variable; answers `None` to all under AT_SECURE.
    pub variable: fn(&str) -> Option<OsString>,
    /// Runs a command. Answers [`Unreachable`](ctk_token::TokenError::Unreachable), with what to do, unless the token's
    /// configuration says `commands = true`, and always under AT_SECURE.
    pub run: RunCommand,
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings").finish_non_exhaustive()
    }
}
