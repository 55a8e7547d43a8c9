//! Tokens on smart cards: every PC/SC reader is a slot, and a card in it with an applet that is
//! known here is a token.
//!
//! From the outside in: [`Driver`] and its slots (`driver`, `readers`) know of readers; `link` is
//! the raw connection to the card in one of them, `pcsc` the one over PC/SC; `exchange` sends a
//! command whole, and `card` is the card with its state, used in a `Transaction`; `applet` is what
//! an application on a card has to do, with one file or folder for each in `applets`; `token` and
//! `session` are the contract over any applet, where `permit` says in whose name an operation is
//! sent, `authentication` how a secret is, and `logins` when the card has to forget one.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod access;
mod apdu;
mod applet;
mod applets;
mod atr;
mod authentication;
mod card;
#[cfg(test)]
mod card_tests;
mod contents;
mod diagnose;
mod driver;
mod exchange;
#[cfg(test)]
mod fuzz_tests;
mod input;
mod link;
#[cfg(test)]
mod log_tests;
mod logins;
mod pcsc;
mod permit;
mod readers;
mod recognition;
mod session;
#[cfg(test)]
mod session_tests;
mod status;
#[cfg(test)]
mod test_applet;
#[cfg(test)]
mod testing;
mod tlv;
mod token;

pub use diagnose::{
    Answer, CardDiagnosis, Diagnosis, Program, ReaderDiagnosis, UsbReader, diagnose,
};
pub use driver::{Configuration, Driver, MAX_READERS, NAME, NO_READER};
pub use link::{Link, LinkError, Pinpad, PinpadVerify};
pub use readers::{ReaderStatus, Readers};
