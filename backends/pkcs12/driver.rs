//! The driver: one slot per configured file, each with its token.

use std::{path::PathBuf, sync::Arc};

use ctk_token::{Slot, SlotInfo, Token, TokenDriver};

use crate::{Inventory, token::FileToken};

/// A file that a person has registered.
#[derive(Clone, Debug, PartialEq)]
pub struct Configuration {
    /// Unique among the configured files and never changed: the slot's id, and how the command
    /// `ctk` calls the token.
    pub name: String,
    /// For a person; without a colon, as the contract wants it. Empty: the name.
    pub label: String,
    /// Distinguishes the token from others; PKCS#11 shows 16 bytes.
    pub serial_number: String,
    /// Where the file is.
    pub file: PathBuf,
    /// Whether programs are told that the token can be removed: some look at no others.
    pub removable: bool,
    /// What [`inspect`](crate::inspect) found in the file.
    pub contents: Inventory,
}

/// The PKCS#12 files as tokens.
pub struct Driver {
    slots: Vec<Arc<Place>>,
}

impl Driver {
    /// Tokens of these files, in this order. No file is touched.
    pub fn new(tokens: Vec<Configuration>) -> Self {
        let place = |configuration| {
            Arc::new(Place {
                token: FileToken::new(configuration),
            })
        };
        Self {
            slots: tokens.into_iter().map(place).collect(),
        }
    }
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.slots.iter().map(|slot| slot.id()))
            .finish()
    }
}

impl TokenDriver for Driver {
    fn name(&self) -> &'static str {
        "pkcs12"
    }

    fn slots(&self) -> Vec<Arc<dyn Slot>> {
        self.slots
            .iter()
            .map(|slot| Arc::clone(slot) as Arc<dyn Slot>)
            .collect()
    }
}

/// The place of one configured file. The token is in it whether or not the file is there: only a
/// login can tell.
struct Place {
    token: Arc<FileToken>,
}

impl Slot for Place {
    fn id(&self) -> &str {
        &self.token.configuration().name
    }

    fn info(&self) -> SlotInfo {
        let configuration = self.token.configuration();
        let file = configuration
            .file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        SlotInfo {
            removable: configuration.removable,
            ..SlotInfo::software(&format!("PKCS#12 file {file}"), "ctk-pkcs11")
        }
    }

    fn token(&self) -> Option<Arc<dyn Token>> {
        Some(self.token.clone())
    }
}
