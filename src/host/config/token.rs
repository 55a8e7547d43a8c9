//! One configured token: everything its table says, checked.

use std::{
    collections::BTreeMap,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use crate::{pin::PinSource, secret::SecretSource};

/// Longest name of a token, in bytes.
pub const MAX_NAME: usize = 64;
/// Longest label of a token, in bytes: what a PKCS#11 token can show (CK_TOKEN_INFO).
pub const MAX_LABEL: usize = 32;
/// Longest serial number of a token, in bytes (CK_TOKEN_INFO).
pub const MAX_SERIAL: usize = 16;

/// A token as it is configured.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TokenConfig {
    /// What a person calls it in commands; unique, and the id of its slot.
    pub name: String,
    /// The driver of its key store.
    pub driver: String,
    /// What programs show.
    pub label: String,
    /// What tells tokens of one model apart; may be empty.
    pub serial: String,
    /// Its place among the others: lower is earlier, equal ones go by name.
    pub order: i64,
    /// Whether programs are told that it can be removed: some look at no others.
    pub removable: bool,
    /// Identities that programs do not see, by CKA_ID in hexadecimal or by label.
    pub hidden: Vec<String>,
    /// The only programs that see it; all if empty.
    pub programs: Vec<String>,
    /// Programs that do not see it.
    pub not_programs: Vec<String>,
    /// Where its PIN comes from.
    pub pin: PinSource,
    /// When it is sent.
    pub login: Login,
    /// Whether programs are run for its secrets.
    pub commands: bool,
    /// What its driver needs to know.
    pub settings: Settings,
    /// What it holds, as far as anybody may know.
    pub contents: Contents,
    /// Where all this stands.
    pub place: Place,
}

/// When a token gets its PIN.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Login {
    /// When the program logs in.
    #[default]
    App,
    /// When a key is used; the program need not log in.
    OnUse,
}

impl Login {
    /// Both, as they are written.
    pub const ALL: [(&'static str, Self); 2] = [("app", Self::App), ("on-use", Self::OnUse)];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::OnUse => "on-use",
        }
    }
}

/// What only one driver knows, by the names in its row of the driver list.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Settings(pub BTreeMap<String, Setting>);

/// The value of a driver's key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Setting {
    /// An absolute path.
    Path(PathBuf),
    /// Any text.
    Text(String),
    /// A list of texts.
    Texts(Vec<String>),
    /// Yes or no.
    Flag(bool),
    /// A whole number.
    Number(i64),
    /// Where a secret is read from.
    Secret(SecretSource),
}

impl Setting {
    /// Refuses a URL with a user or a password in it, because a configuration is shown to people and the machine's is for
    /// everybody to read; and control characters, which nothing that is configured has. What `name` says to be an address
    /// is one without its scheme too.
    ///
    /// # Errors
    /// What is wrong and what to do, without the text.
    pub fn check(&self, name: &str) -> Result<(), &'static str> {
        let is_address = name == "proxy" || name.contains("endpoint") || name.ends_with("_url");
        let has_user = |text: &String| {
            let schemeless = if is_address { text } else { "" };
            let rest = text.split_once("://").map_or(schemeless, |(_, rest)| rest);
            let place = rest.split(['?', '#']).next().unwrap_or_default();
            // Whatever a password is made of: in a path @ can be written as %40.
            place.contains('@')
        };
        let texts = match self {
            Self::Text(text) => std::slice::from_ref(text),
            Self::Texts(texts) => texts,
            Self::Path(_) | Self::Flag(_) | Self::Number(_) | Self::Secret(_) => &[],
        };
        if texts.iter().any(has_user) {
            return Err(
                "a URL here has no user and no password in it: secrets have settings of their own, like proxy_password, \
                 that say where they are",
            );
        }
        match texts
            .iter()
            .flat_map(|text| text.chars())
            .any(char::is_control)
        {
            true => Err("it has a control character in it, like the end of a line"),
            false => Ok(()),
        }
    }
}

impl Settings {
    /// The path of this name.
    pub fn path(&self, name: &str) -> Option<&Path> {
        match self.0.get(name)? {
            Setting::Path(path) => Some(path),
            _ => None,
        }
    }

    /// The text of this name.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.0.get(name)? {
            Setting::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The list of this name; empty if there is none.
    pub fn texts(&self, name: &str) -> &[String] {
        match self.0.get(name) {
            Some(Setting::Texts(texts)) => texts,
            _ => &[],
        }
    }

    /// Whether the flag of this name is raised.
    pub fn flag(&self, name: &str) -> bool {
        matches!(self.0.get(name), Some(Setting::Flag(true)))
    }

    /// The number of this name.
    pub fn number(&self, name: &str) -> Option<i64> {
        match self.0.get(name)? {
            Setting::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// Where the secret of this name is read from.
    pub fn secret(&self, name: &str) -> Option<&SecretSource> {
        match self.0.get(name)? {
            Setting::Secret(source) => Some(source),
            _ => None,
        }
    }
}

/// The public facts of what a token holds, stored so that listing it needs no file, card or network.
#[doc(alias = "keychainItems")]
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Contents {
    /// The private keys.
    pub keys: Vec<KeyFacts>,
    /// The certificates.
    pub certificates: Vec<CertificateFacts>,
}

/// The public facts of a private key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyFacts {
    /// For a person.
    pub label: String,
    /// CKA_ID, 1 to 255 bytes.
    pub identity: Vec<u8>,
    /// DER SubjectPublicKeyInfo.
    pub spki: Vec<u8>,
    /// DER Name in its certificate.
    pub subject: Option<Vec<u8>>,
    /// What its driver needs to know of it.
    pub facts: Settings,
}

/// A certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertificateFacts {
    /// For a person.
    pub label: String,
    /// CKA_ID, 1 to 255 bytes.
    pub identity: Vec<u8>,
    /// X.509.
    pub der: Vec<u8>,
}

/// Whose configuration it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scope {
    /// The user's, in `~/.config/ctk`.
    User,
    /// The machine's, in `/etc/ctk`.
    System,
    /// The file that `$CTK_CONFIG` names.
    Chosen,
}

/// Where a token's table stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// The line of the table's header, counted from 1.
    pub line: usize,
    /// Whose file it is.
    pub scope: Scope,
}

impl TokenConfig {
    /// Whether the running program may see this token. A pattern with a slash is the program's whole path, one without
    /// is its last part. A program that cannot be told is in no list.
    pub fn is_for(&self, program: Option<&Path>) -> bool {
        is_for(&self.programs, &self.not_programs, program)
    }

    /// Whether it has a secret that a program is run for, which it must then [allow](Self::commands).
    pub fn needs_commands(&self) -> bool {
        let mut settings = self.settings.0.values();
        matches!(self.pin, PinSource::Command(_))
            || settings.any(|setting| matches!(setting, Setting::Secret(it) if it.is_command()))
    }

    /// Whether programs are kept from seeing the identity of this CKA_ID and label.
    pub fn hides(&self, identity: &[u8], label: &str) -> bool {
        self.hidden.iter().any(|hidden| {
            hidden == label || super::text::from_hex(hidden).is_some_and(|id| id == identity)
        })
    }
}

/// Whether `program` is among those that are meant.
pub(super) fn is_for(programs: &[String], not_programs: &[String], program: Option<&Path>) -> bool {
    let listed = |patterns: &[String]| {
        patterns
            .iter()
            .any(|pattern| program.is_some_and(|program| is_program(pattern, program)))
    };
    (programs.is_empty() || listed(programs)) && !listed(not_programs)
}

fn is_program(pattern: &str, program: &Path) -> bool {
    if pattern.contains('/') {
        return Path::new(pattern) == program;
    }
    program
        .file_name()
        .is_some_and(|name| name.as_bytes() == pattern.as_bytes())
}

/// Whether a token may have this name: `A-Z a-z 0-9 . _ -`, 1 to 64 of them, and no dot first.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn check_name(name: &str) -> Result<(), String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty()
        || name.len() > MAX_NAME
        || name.starts_with('.')
        || !name.bytes().all(is_plain)
    {
        return Err(format!(
            "{name:?} is not a name: use 1 to {MAX_NAME} of A-Z a-z 0-9 . _ - and no dot first"
        ));
    }
    Ok(())
}

/// Whether a token may have this label. Colons are refused because programs put them between a token's label and a
/// certificate's.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn check_label(label: &str) -> Result<(), String> {
    if label.trim().is_empty() || label.len() > MAX_LABEL {
        return Err(format!(
            "the label {label:?} must have 1 to {MAX_LABEL} bytes"
        ));
    }
    if label.contains(':') || label.chars().any(char::is_control) {
        return Err(format!(
            "the label {label:?} must not have a colon or control characters in it"
        ));
    }
    Ok(())
}

/// The longest beginning of `text` that fits into a label, whole characters only.
pub fn cut_label(text: &str) -> &str {
    let ends = text
        .char_indices()
        .map(|(at, character)| at + character.len_utf8());
    let end = ends.take_while(|end| *end <= MAX_LABEL).last().unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_labels_are_checked() {
        for name in ["work", "a", "A.b_c-9", &"n".repeat(64)] {
            assert_eq!(check_name(name), Ok(()));
        }
        for name in ["", ".hidden", "a b", "a/b", "é", &"n".repeat(65)] {
            assert!(check_name(name).is_err(), "{name}");
        }
        for label in ["Work", "Ärzte", &"l".repeat(32)] {
            assert_eq!(check_label(label), Ok(()));
        }
        for label in ["", "  ", "a:b", "a\nb", &"l".repeat(33)] {
            assert!(check_label(label).is_err(), "{label}");
        }
        assert_eq!(cut_label(&"é".repeat(40)), "é".repeat(16));
        assert_eq!(cut_label("short"), "short");
    }

    #[test]
    fn programs_are_matched_by_name_or_path() {
        let ssh = Path::new("/usr/bin/ssh");
        assert!(is_program("ssh", ssh));
        assert!(is_program("/usr/bin/ssh", ssh));
        assert!(!is_program("ssh-agent", ssh));
        assert!(!is_program("bin/ssh", ssh));
        assert!(!is_program("/opt/bin/ssh", ssh));
    }
}
