//! The public facts of a file, which are stored with its configuration.

use std::path::Path;

use ctk_token::Result;

use crate::{file, identity};

/// What a file holds, as far as anybody may know.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Inventory {
    /// The private keys, in the file's order.
    pub keys: Vec<KeyRecord>,
    /// The certificates: those of the keys in the keys' order, then the others in the file's order.
    pub certificates: Vec<CertificateRecord>,
    /// What is in the file and not in the lists above, each a sentence for a person that says why.
    pub left_out: Vec<String>,
}

/// The public facts of a private key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyRecord {
    /// For a person.
    pub label: String,
    /// SHA-1 of the public key's bits (RFC 5280 §4.2.1.2, method 1), shared with its certificate:
    /// CKA_ID.
    pub identity: Vec<u8>,
    /// DER SubjectPublicKeyInfo.
    pub spki: Vec<u8>,
    /// DER Name in its certificate, if it has one.
    pub subject: Option<Vec<u8>>,
}

/// A certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertificateRecord {
    /// For a person; the key's if it belongs to one.
    pub label: String,
    /// SHA-1 of the public key's bits; of all of `der` for the lesser ones of several certificates
    /// with one key.
    pub identity: Vec<u8>,
    /// X.509.
    pub der: Vec<u8>,
}

/// Opens a file with its password and says what is in it.
///
/// # Errors
/// [`AuthenticationFailed`](ctk_token::TokenError::AuthenticationFailed) for a wrong password,
/// [`Unreachable`](ctk_token::TokenError::Unreachable) if the file cannot be read,
/// [`Corrupted`](ctk_token::TokenError::Corrupted) if it is damaged, of another format, or
/// protected in a way that is not supported; also if it is not protected at all and the password is
/// not empty.
pub fn inspect(file: &Path, password: &[u8]) -> Result<Inventory> {
    let bytes = file::read(file, "check the path")?;
    let opened = identity::open(&bytes, password).map_err(|failure| failure.about_new(file))?;
    Ok(opened.inventory)
}
