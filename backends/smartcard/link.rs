//! The raw connection to the card in one reader: bytes of APDUs, and what the reader can do.

use std::{fmt, time::Duration};

use ctk_token::{Reason, TokenError};

/// Why a card could not be reached.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LinkError {
    /// The card, or the reader with it, is gone, or another card is there.
    Removed,
    /// The card was reset by somebody else, or the service was restarted with the card still there: everything that it
    /// knew of us is lost. The link is connected again, and the next command goes to a fresh card.
    Reset,
    /// Another program keeps the card.
    Busy,
    /// The card did not answer in time, or with something that is no answer.
    Mute(Reason),
    /// No service, a refusal, a reader out of order: what and what to do.
    Unavailable(Reason),
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Removed => f.write_str("the card was removed"),
            Self::Reset => f.write_str("the card was reset"),
            Self::Busy => f.write_str("another program keeps the card"),
            Self::Mute(reason) | Self::Unavailable(reason) => write!(f, "{reason}"),
        }
    }
}

impl From<LinkError> for TokenError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Removed => Self::TokenRemoved,
            LinkError::Reset => Self::StateLost,
            LinkError::Busy => Self::Unreachable(Reason::new(
                "another program keeps the card: end what it does there, or close it",
            )),
            LinkError::Mute(reason) | LinkError::Unavailable(reason) => Self::Unreachable(reason),
        }
    }
}

/// What the reader can do with a PIN by itself (PC/SC part 10).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Pinpad {
    /// FEATURE_VERIFY_PIN_DIRECT.
    pub verify: bool,
}

/// How a pinpad sends a PIN (PC/SC part 10 §2.5.2, PIN_VERIFY).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PinpadVerify {
    /// The VERIFY command with the PIN block filled with padding.
    pub template: Vec<u8>,
    /// Where the PIN's first byte stands in the block.
    pub pin_offset: u8,
    /// Shortest PIN, in digits.
    pub min_len: u8,
    /// Longest PIN, in digits.
    pub max_len: u8,
}

/// The connection to the card in one reader, used by one thread at a time.
pub trait Link: Send {
    /// The card's answer to reset (ISO 7816-3 §8.2), at most 33 bytes.
    fn atr(&self) -> &[u8];

    /// Whether another program was connected to the card when this one came: it may be logged in, so nothing that could
    /// end its login (a SELECT) is sent without need.
    fn was_in_use(&self) -> bool;

    /// Longest command the reader takes, in bytes: 261 for one that knows short APDUs only, up to 65,544.
    fn max_command_len(&self) -> usize;

    /// Whether the card speaks T=0 (ISO 7816-3 §10), in which a command has either data or an answer.
    fn is_t0(&self) -> bool {
        false
    }

    /// What the reader can do with a PIN by itself.
    fn pinpad(&self) -> Pinpad {
        Pinpad::default()
    }

    /// Keeps the card for this link until [`end`](Self::end). Waits for other programs, for as long as `patience` says.
    ///
    /// # Errors
    /// [`LinkError::Busy`] if they keep it for longer. [`LinkError::Reset`] once after somebody has reset the card; the
    /// card is not kept then, and the next call works.
    fn begin(&mut self, patience: Duration) -> Result<(), LinkError>;

    /// Lets others have the card.
    fn end(&mut self);

    /// Sends one command as it is on the wire and returns what the card answered, status word included.
    ///
    /// # Errors
    /// After [`LinkError::Reset`] the card is not kept any more.
    fn transmit(&mut self, command: &[u8]) -> Result<Vec<u8>, LinkError>;

    /// Has the reader's own keys ask for a PIN and send it; answers with the status word (two bytes).
    ///
    /// # Errors
    /// [`LinkError::Unavailable`] where [`pinpad`](Self::pinpad) says that it cannot.
    fn verify_on_pinpad(&mut self, verify: &PinpadVerify) -> Result<Vec<u8>, LinkError> {
        let _ = verify;
        Err(LinkError::Unavailable(Reason::new(
            "this reader has no keys of its own",
        )))
    }

    /// Makes the card forget every login without a command, if no other program is connected to it: by a reset. Says
    /// whether it did. The card is not kept any more, whatever the answer; others may have used it meanwhile.
    fn reset_if_alone(&mut self) -> bool;

    /// Resets the card that is kept, also if other programs are connected to it: they lose their logins. Says whether it
    /// did; then the link can be used as after [`LinkError::Reset`].
    fn reset(&mut self) -> bool;

    /// Has the card reset when this link is dropped: it may be logged in, and nothing else could be done about that.
    fn reset_when_dropped(&mut self);
}
