//! Where readers come from: which there are, what is in them, and when that changes.

use std::time::Instant;

use ctk_token::Wait;

use crate::link::{Link, LinkError};

/// A reader as its service sees it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ReaderStatus {
    /// Its name, unique among the readers that are there at the same time.
    pub name: String,
    /// Differs from an earlier one of the same reader if a card was put in or taken out since,
    /// however fast, or if the service was restarted. A reset does not change it.
    pub events: u64,
    /// Whether there is a card in it.
    pub present: bool,
    /// Whether the card does not answer its reset.
    pub mute: bool,
    /// Whether some program is connected to the card.
    pub in_use: bool,
    /// The card's answer to reset, at most 33 bytes; empty without a card.
    pub atr: Vec<u8>,
}

/// The service that knows the readers.
pub trait Readers: Send + Sync {
    /// The readers that are there now, in a stable order. Never blocks for long: without a service
    /// it fails at once.
    ///
    /// # Errors
    /// [`LinkError::Unavailable`]: why no reader can be seen and what to do. Anything else means
    /// that it may work the next time.
    fn list(&self) -> Result<Vec<ReaderStatus>, LinkError>;

    /// Connects to the card in a reader, which others may use as well. `reader` is what
    /// [`list`](Self::list) said of it.
    ///
    /// # Errors
    /// [`LinkError::Removed`] if the card or the reader is gone, and whatever keeps the card from
    /// being reached.
    fn connect(&self, reader: &ReaderStatus) -> Result<Box<dyn Link>, LinkError>;

    /// Blocks until something is not as in `known` any more, which [`list`](Self::list) answered
    /// with, or `deadline` has come.
    ///
    /// # Errors
    /// At once, if the service is gone, or cannot be waited with.
    fn wait(&self, known: &[ReaderStatus], deadline: Instant) -> Result<Wait, LinkError>;
}
