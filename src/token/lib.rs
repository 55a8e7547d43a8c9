//! The contract of ctk-pkcs11: what a token is.
//!
//! A key store becomes a token by implementing four traits: a [`TokenDriver`] knows the [`Slot`]s of one kind of
//! key store, a slot may hold a [`Token`], a token lists its contents and opens a [`TokenSession`], and the session
//! authenticates and uses keys. Everything else here is plain data.
//!
//! The names are those of Apple's CryptoTokenKit without the TK. Nothing here knows PKCS#11, a backend or a crypto
//! library, and no private key material has a place in any of these types.
//!
//! # Rules for an implementation
//!
//! - Every method takes `&self` and may be called from several threads at once.
//! - [`Slot::holds`], [`Token::login_policy`], [`Token::contents`], [`Token::create_session`] and
//!   [`TokenSession::supports`] answer from memory: no file, no card command, no network. [`Slot::token`],
//!   [`Token::info`] and [`Token::load`] may ask a local device, and never a network.
//! - A method with a default body answers [`TokenError::NotSupported`] and never fails silently.
//! - The `conformance` module is the executable form of these rules; every backend runs it.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod algorithm;
#[cfg(feature = "conformance")]
pub mod conformance;
mod contents;
mod driver;
mod error;
mod key;
mod key_type;
mod pss;
mod session;

pub use algorithm::{Digest, KeyAlgorithm, Oaep, Operation, Pss};
pub use contents::{
    AuthId, Certificate, Constraint, DataObject, Item, Key, KeychainContents, ObjectId, Origin,
    Reuse,
};
pub use driver::{LoginPolicy, PinState, Slot, SlotInfo, Token, TokenDriver, TokenInfo, Wait};
pub use error::{Reason, Result, TokenError};
pub use key::{PublicKey, PublicKeyMaterial};
pub use key_type::{Curve, KeyType};
pub use session::{AuthMethod, AuthOperation, AuthSecret, NewKey, PinFormat, Role, TokenSession};
