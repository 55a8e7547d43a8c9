//! The driver: one slot per configured token of one protocol.

use std::sync::Arc;

use ctk_token::{Slot, SlotInfo, Token, TokenDriver};

use crate::{Configuration, Protocol, token::NetworkToken};

/// The tokens of one protocol.
pub struct Driver {
    protocol: &'static Protocol,
    slots: Vec<Arc<Place>>,
}

impl Driver {
    /// Tokens of this protocol, in this order. Nothing is asked of a service.
    pub fn new(protocol: &'static Protocol, tokens: Vec<Configuration>) -> Self {
        let place = |configuration| {
            Arc::new(Place {
                token: NetworkToken::new(configuration),
            })
        };
        Self {
            protocol,
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
        self.protocol.name
    }

    fn slots(&self) -> Vec<Arc<dyn Slot>> {
        self.slots
            .iter()
            .map(|slot| Arc::clone(slot) as Arc<dyn Slot>)
            .collect()
    }
}

/// The place of one configured token. The token is in it whether or not its service is there: only using a key can tell.
struct Place {
    token: Arc<NetworkToken>,
}

impl Slot for Place {
    fn id(&self) -> &str {
        &self.token.configuration().name
    }

    fn info(&self) -> SlotInfo {
        let configuration = self.token.configuration();
        let description = format!("{} {}", configuration.protocol.title, configuration.name);
        SlotInfo {
            removable: configuration.removable,
            ..SlotInfo::software(&description, "ctk-pkcs11")
        }
    }

    fn token(&self) -> Option<Arc<dyn Token>> {
        Some(self.token.clone())
    }
}
