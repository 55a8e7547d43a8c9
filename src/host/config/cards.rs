//! What is configured for the cards in this machine's readers: the table `[smartcard]`.

use std::path::{Path, PathBuf};

use super::token::{Contents, Login, Place, Scope, Settings, TokenConfig, is_for};
use crate::pin::PinSource;

/// How the cards in this machine's readers are shown. They need no table of their own: this is for
/// who wants it otherwise.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CardsConfig {
    /// Whether they are shown at all.
    pub enabled: bool,
    /// The only readers that are used, by a part of their name; all if empty.
    pub readers: Vec<String>,
    /// Readers that are not used, by a part of their name.
    pub not_readers: Vec<String>,
    /// The only programs that see cards; all if empty.
    pub programs: Vec<String>,
    /// Programs that see none.
    pub not_programs: Vec<String>,
    /// Identities that programs do not see, by CKA_ID in hexadecimal or by label.
    pub hidden: Vec<String>,
    /// Where the table stands, if there is one.
    pub place: Option<Place>,
}

impl Default for CardsConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            readers: Vec::new(),
            not_readers: Vec::new(),
            programs: Vec::new(),
            not_programs: Vec::new(),
            hidden: Vec::new(),
            place: None,
        }
    }
}

impl CardsConfig {
    /// Whether the running program may see cards, as [`TokenConfig::is_for`] says.
    pub fn is_for(&self, program: Option<&Path>) -> bool {
        self.enabled && is_for(&self.programs, &self.not_programs, program)
    }

    /// What is the same for every card, as if each were a configured token of that name.
    pub(crate) fn as_token(&self, name: &str) -> TokenConfig {
        TokenConfig {
            name: name.to_owned(),
            driver: name.to_owned(),
            label: String::new(),
            serial: String::new(),
            order: 0,
            removable: true,
            hidden: self.hidden.clone(),
            programs: self.programs.clone(),
            not_programs: self.not_programs.clone(),
            pin: PinSource::App,
            login: Login::App,
            commands: false,
            settings: Settings::default(),
            contents: Contents::default(),
            place: self.place.clone().unwrap_or(Place {
                file: PathBuf::new(),
                line: 0,
                scope: Scope::System,
            }),
        }
    }
}
