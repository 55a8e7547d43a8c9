//! Tokens from PKCS#12 files (RFC 7292): each file is a token, its password is the PIN.
//!
//! What may be known without the password (certificates, public keys, labels) is stored with the
//! configuration when a person registers the file ([`inspect`]); the file itself is read at login
//! only, and the keys in it are then kept ready in memory until the session ends.
//!
//! The rooms, from the file to the signature: `file` reads it, `ber` its encoding, `pfx` and `bags`
//! its structure, `mac`, `pbe` and `password` its protection, `identity` pairs keys with
//! certificates, `driver` and `session` are the contract. A new password goes the other way: `rewrite`
//! and `encode` write the file again, `replace` and `sys` put it in its place.

#![deny(missing_docs, unsafe_code)]

mod bags;
mod ber;
mod budget;
mod certificate;
mod driver;
mod encode;
mod failure;
mod file;
mod identity;
mod inventory;
mod mac;
mod oid;
mod password;
mod pbe;
mod pfx;
mod replace;
mod rewrite;
mod session;
mod sys;
mod token;

pub use driver::{Configuration, Driver};
pub use inventory::{CertificateRecord, Inventory, KeyRecord, inspect};
