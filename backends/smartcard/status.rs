//! Status words (ISO 7816-4 §5.6): the one table of what they mean.

use std::fmt;

/// A status word, SW1 and SW2.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub(crate) struct Status(pub(crate) u16);

impl Status {
    pub(crate) const OK: Self = Self(0x9000);

    /// Whether it is 9000.
    pub(crate) fn is_ok(self) -> bool {
        self == Self::OK
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04X}", self.0)
    }
}
