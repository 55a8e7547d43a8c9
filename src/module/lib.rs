//! libctk_pkcs11.so: PKCS#11 2.40, 3.0 and 3.2 spoken over the contract of `ctk_token`.
//!
//! A call comes in through its row of [`abi`]'s table, which checks initialisation, handle and
//! pointers and stops panics; its body is in the file of its chapter; the [`error`] it returns
//! becomes a CK_RV in one place. Mechanisms and attributes are tables as well.
//!
//! A body gets its pointers checked but as `Result`s, and asks for them after the handle or slot has
//! been found: of two mistakes in a call, the wrong handle is the one that is told.
//!
//! # Locks
//!
//! In this order, and none of them held while a key store works: the tables of the library (slots,
//! sessions), what is known of one slot's token (login, objects), one session's operations. An
//! operation in progress is *taken* out of its session, so that not even the session is locked
//! meanwhile.
//!
//! Two are held while key stores work, and stand before all of these. The library's `changing`,
//! while tokens log out: it keeps C_Initialize and C_Finalize of several threads apart, and no
//! other function takes it. And a slot's `looking`, while the slot is asked which token is in it:
//! functions about the slot take it; sessions, other slots and C_Finalize never do.

#![deny(unsafe_code)]

pub mod abi;
mod cipher;
mod decrypt;
mod derive;
mod digest;
mod dual;
mod encapsulate;
mod encrypt;
pub mod error;
mod general;
mod generate;
mod insertion;
mod key;
mod library;
mod log_sink;
mod login;
mod mac;
mod mechanism;
mod message;
mod new_secret;
mod oaep;
mod object;
mod random;
mod recover;
mod session;
mod sign;
mod signed_data;
mod signer;
mod slots;
mod standing;
mod sys;
mod verifier;
mod verify;
mod verify_signature;
mod working;
mod wrap;

pub use general::initialize_with;
pub use slots::SlotSource;
