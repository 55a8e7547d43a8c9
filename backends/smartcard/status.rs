//! Status words (ISO 7816-4 §5.6): the one table of what they mean.

use std::fmt;

use ctk_token::{Reason, TokenError};

/// A status word, SW1 and SW2.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub(crate) struct Status(pub(crate) u16);

impl Status {
    pub(crate) const OK: Self = Self(0x9000);
    /// No card's, but ours for an answer that is none: without a status word, or without an end.
    pub(crate) const NO_ANSWER: Self = Self(0);
    pub(crate) const WRONG_LENGTH: Self = Self(0x6700);
    pub(crate) const SECURITY_STATUS_NOT_SATISFIED: Self = Self(0x6982);
    pub(crate) const AUTHENTICATION_BLOCKED: Self = Self(0x6983);
    pub(crate) const CONDITIONS_NOT_SATISFIED: Self = Self(0x6985);
    pub(crate) const FILE_NOT_FOUND: Self = Self(0x6a82);
    pub(crate) const REFERENCED_DATA_NOT_FOUND: Self = Self(0x6a88);
    pub(crate) const INSTRUCTION_NOT_SUPPORTED: Self = Self(0x6d00);
    pub(crate) const CLASS_NOT_SUPPORTED: Self = Self(0x6e00);

    /// Whether it is 9000.
    pub(crate) fn is_ok(self) -> bool {
        self == Self::OK
    }

    /// SW1.
    pub(crate) fn sw1(self) -> u8 {
        self.0.to_be_bytes()[0]
    }

    /// SW2.
    pub(crate) fn sw2(self) -> u8 {
        self.0.to_be_bytes()[1]
    }

    /// How many tries are left, of `63Cx`.
    pub(crate) fn tries_left(self) -> Option<u32> {
        (self.0 & 0xfff0 == 0x63c0).then_some(u32::from(self.0 & 0xf))
    }

    /// Whether an applet answers so for a command that is not for it: then another one may be
    /// selected.
    pub(crate) fn is_of_another_applet(self) -> bool {
        matches!(
            self.0,
            0x6700
                | 0x6881..=0x6884
                | 0x6900
                | 0x6981..=0x6986
                | 0x6a00..=0x6a88
                | 0x6b00
                | 0x6d00
                | 0x6e00
        )
    }

    /// Whether a card answers so to SELECT that does not have the applet. Another answer may be
    /// one to what a card has just been through.
    pub(crate) fn is_no_such_applet(self) -> bool {
        matches!(
            self.0,
            0x6700 | 0x6a80..=0x6a88 | 0x6b00 | 0x6d00 | 0x6e00 | 0x9400..=0x94ff
        )
    }

    /// Its row of the table.
    fn row(self) -> (&'static str, Kind) {
        use Kind as K;
        match self.0 {
            0x9000 => ("the card succeeded", K::Fault),
            0x0000 => ("the card gave an answer that is none", K::Fault),
            0x6281 => ("part of the card's answer may be damaged", K::Fault),
            0x6282 => ("an object on the card ends early", K::Fault),
            0x6283 | 0x6285 => ("the application on the card was terminated", K::Fault),
            0x63c0 => ("the PIN is locked", K::Locked),
            0x6300 | 0x63c1..=0x63cf => ("wrong PIN", K::WrongPin),
            0x6400 | 0x6500 => ("the card could not finish the operation", K::Fault),
            0x6581 => ("the card's memory fails", K::Fault),
            0x6700 => ("the card does not take data of this length", K::Length),
            0x6881 => ("the card has no logical channels", K::NotSupported),
            0x6882 | 0x6987 | 0x6988 => ("the card wants secure messaging", K::NotSupported),
            0x6883 | 0x6884 => ("the card takes no chained commands", K::NotSupported),
            0x6900 | 0x6981 | 0x6986 => ("the card does not allow this command", K::NotSupported),
            0x6982 => ("the card wants a login first", K::Authentication),
            0x6983 => ("the PIN is locked", K::Locked),
            0x6984 => ("the card has no usable PIN of this kind", K::Fault),
            0x6985 => ("the card does not allow this now", K::Denied),
            0x6a80 => ("the card does not take these data", K::Parameter),
            0x6a81 => ("the card does not have this function", K::NotSupported),
            0x6a82 | 0x6a83 | 0x6a88 => ("there is no such object on the card", K::NotFound),
            0x6a84 => ("the card is full", K::NoSpace),
            0x6a86 => (
                "the card does not have this key or kind of key",
                K::NotSupported,
            ),
            0x6a85 | 0x6a87 => ("the card does not take data of this length", K::Length),
            0x6b00 => ("the card does not have this function", K::NotSupported),
            0x6d00 => ("the card does not know this command", K::NotSupported),
            0x6e00 => (
                "the card does not know this kind of command",
                K::NotSupported,
            ),
            0x6f00..=0x6fff => ("the card reports a fault of its own", K::Fault),
            _ => (
                "the card answered what this program does not know",
                K::Fault,
            ),
        }
    }

    /// What it means, for a person.
    pub(crate) fn words(self) -> &'static str {
        self.row().0
    }

    /// What it means for a caller, where the applet does not know better.
    pub(crate) fn error(self) -> TokenError {
        match self.row().1 {
            Kind::WrongPin => TokenError::AuthenticationFailed {
                tries: self.tries_left(),
            },
            Kind::Locked => TokenError::PinLocked,
            Kind::Authentication => TokenError::AuthenticationNeeded,
            Kind::Denied => TokenError::Denied,
            Kind::Length => TokenError::DataLength,
            Kind::Parameter => TokenError::BadParameter,
            Kind::NotSupported => TokenError::NotSupported,
            Kind::NotFound => TokenError::ObjectNotFound,
            Kind::NoSpace => TokenError::NoSpace,
            Kind::Fault => TokenError::Corrupted(Reason::new(format!("{} ({self})", self.words()))),
        }
    }
}

/// What a caller can do about a status word.
#[derive(Clone, Copy)]
enum Kind {
    WrongPin,
    Locked,
    Authentication,
    Denied,
    Length,
    Parameter,
    NotSupported,
    NotFound,
    NoSpace,
    Fault,
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04X}", self.0)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "status {:04X}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_caller_can_act_on() {
        let failed = |tries| TokenError::AuthenticationFailed { tries };
        for (status, error) in [
            (0x6300, failed(None)),
            (0x63c1, failed(Some(1))),
            (0x63cf, failed(Some(15))),
            (0x63c0, TokenError::PinLocked),
            (0x6983, TokenError::PinLocked),
            (0x6982, TokenError::AuthenticationNeeded),
            (0x6a84, TokenError::NoSpace),
            (0x6a82, TokenError::ObjectNotFound),
            (0x6d00, TokenError::NotSupported),
            (0x6700, TokenError::DataLength),
        ] {
            assert_eq!(Status(status).error(), error, "{status:04X}");
        }
    }

    #[test]
    fn every_status_says_something() {
        for status in (0..=u16::MAX).map(Status) {
            assert!(!status.words().is_empty());
            if let TokenError::Corrupted(reason) = status.error() {
                assert!(reason.as_str().contains(&format!("{:04X}", status.0)));
            }
            assert_eq!(status.tries_left().is_some(), status.0 >> 4 == 0x63c);
        }
    }

    #[test]
    fn a_pin_is_never_taken_for_wrong_because_of_another_applet() {
        for status in (0..=u16::MAX).map(Status) {
            let is_about_a_pin = matches!(
                status.error(),
                TokenError::AuthenticationFailed { .. } | TokenError::PinLocked
            );
            // 6983 alone is both: the caller has proven the applet before it sends a PIN.
            assert!(!is_about_a_pin || !status.is_of_another_applet() || status.0 == 0x6983);
        }
    }
}
