//! An OpenPGP card's contents (OpenPGP card 3.4), written as its holder's tools write them.

use std::io;

use super::{authority::Certified, wire::Wire};

/// The keys of a card: signature, decryption, authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OpenPgpKeys {
    /// RSA-2048 three times.
    Rsa,
    /// P-256, P-256, Ed25519.
    Ec,
}

pub(super) fn make(
    _wire: Wire<'_>,
    _keys: OpenPgpKeys,
    _certified: &Certified<'_>,
) -> io::Result<()> {
    Err(io::Error::other("not yet"))
}
