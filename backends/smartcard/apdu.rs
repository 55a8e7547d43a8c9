//! Commands and responses (ISO 7816-4 §5): what they are made of and how they look on the wire.

use zeroize::Zeroizing;

use crate::status::Status;

/// How much of an answer is wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Le {
    /// None.
    None,
    /// All there is.
    All,
    /// At most this many bytes, 1 to 256.
    Exactly(u16),
}

/// One command, however long: the card cuts it as the card and the reader want it.
pub(crate) struct Command {
    pub(crate) cla: u8,
    pub(crate) ins: u8,
    pub(crate) p1: u8,
    pub(crate) p2: u8,
    /// Zeroized, because PINs and plaintexts are in here.
    pub(crate) data: Zeroizing<Vec<u8>>,
    pub(crate) le: Le,
    /// Whether the log shows the data and the answer as lengths only.
    pub(crate) secret: bool,
}

impl Command {
    /// A command of class 00 without data and answer.
    pub(crate) fn new(ins: u8, p1: u8, p2: u8) -> Self {
        Self {
            cla: 0,
            ins,
            p1,
            p2,
            data: Zeroizing::new(Vec::new()),
            le: Le::None,
            secret: false,
        }
    }

    /// With data.
    pub(crate) fn data(mut self, data: &[u8]) -> Self {
        self.data = Zeroizing::new(data.to_vec());
        self
    }

    /// With an answer.
    pub(crate) fn le(mut self, le: Le) -> Self {
        self.le = le;
        self
    }

    /// With something in data or answer that no log may show.
    pub(crate) fn secret(mut self) -> Self {
        self.secret = true;
        self
    }
}

/// What a card answered, in one piece.
pub(crate) struct Response {
    pub(crate) data: Zeroizing<Vec<u8>>,
    pub(crate) status: Status,
}
