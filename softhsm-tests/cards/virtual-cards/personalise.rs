//! Cards that are ready for use, made by the commands of a personalisation tool.

mod authority;
mod openpgp;
mod piv;
mod tlv;
mod wire;

use std::{fs, io, path::Path, str::FromStr};

use crate::{Card, Memory, Model, random_serial};
use authority::{Authority, Certified};
use openpgp::OpenPgpKeys;
use piv::PivAdmin;
use wire::Wire;

/// What is on a card. PIV: PIN 123456, PUK 12345678, management key 01…08 three times (3DES). OpenPGP: PW1 123456, PW3 12345678.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// 9A RSA-2048, 9C P-256, 9D RSA-2048, 9E P-256, each with a certificate, and every data object that need not be signed.
    PivFour,
    /// 9A RSA-2048 only, its certificate with an e-mail address and a UPN.
    PivOne,
    /// A CHUID and no certificate.
    PivEmpty,
    /// 9A RSA-2048 and the retired key 82, which was a 9D, with key history.
    PivRetired,
    /// 9A P-384, 9C RSA-3072, 9D RSA-4096, 9E P-384.
    PivLarge,
    /// `PivOne` with its certificate compressed.
    PivCompressed,
    /// Three RSA-2048 keys.
    OpenPgpRsa,
    /// P-256 for signing, P-256 for decryption, Ed25519 for authentication.
    OpenPgpEc,
    /// `PivFour` and `OpenPgpRsa` on one card.
    Both,
}

impl FromStr for Profile {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Ok(match name {
            "piv-four" => Self::PivFour,
            "piv-one" => Self::PivOne,
            "piv-empty" => Self::PivEmpty,
            "piv-9a-rsa-retired" => Self::PivRetired,
            "piv-large" => Self::PivLarge,
            "piv-compressed" => Self::PivCompressed,
            "openpgp-rsa" => Self::OpenPgpRsa,
            "openpgp-ec" => Self::OpenPgpEc,
            "both" => Self::Both,
            _ => return Err(()),
        })
    }
}

/// Makes a card in the folder `state`, which must not hold one yet, and beside it `NAME.pub` and `NAME.crt` for each key. The
/// authority that signs is `ca.crt` and `ca.key` in the folder `authority`, made if it is not there.
pub fn provision(state: &Path, profile: Profile, authority: &Path) -> io::Result<()> {
    if state.join("serial").exists() {
        return Err(io::Error::other(format!(
            "{}: there is a card already",
            state.display()
        )));
    }
    fs::create_dir_all(state)?;
    let authority = Authority::open_or_make(authority)?;
    let mut card = Card::new(Memory::open(state)?, Model::default());
    let certified = Certified::new(&authority, state);
    if matches!(profile, Profile::PivFour | Profile::Both) {
        PivAdmin::log_in(Wire::new(&mut card))?.make_four(&certified)?;
    }
    match profile {
        Profile::PivOne => PivAdmin::log_in(Wire::new(&mut card))?.make_one(&certified)?,
        Profile::PivEmpty => PivAdmin::log_in(Wire::new(&mut card))?.put_chuid()?,
        Profile::PivRetired => PivAdmin::log_in(Wire::new(&mut card))?.make_retired(&certified)?,
        Profile::PivLarge => PivAdmin::log_in(Wire::new(&mut card))?.make_large(&certified)?,
        Profile::PivCompressed => {
            PivAdmin::log_in(Wire::new(&mut card))?.make_compressed(&certified)?;
        }
        Profile::OpenPgpRsa | Profile::Both => {
            openpgp::make(Wire::new(&mut card), OpenPgpKeys::Rsa, &certified)?;
        }
        Profile::OpenPgpEc => openpgp::make(Wire::new(&mut card), OpenPgpKeys::Ec, &certified)?,
        Profile::PivFour => {}
    }
    Ok(())
}

/// Makes the card in the folder `state` another card of the same make: another serial number, and another CHUID if it has
/// the management key it was made with. The keys and certificates stay.
pub fn renew(state: &Path) -> io::Result<()> {
    let mut memory = Memory::open(state)?;
    memory.renumber(random_serial()?)?;
    let mut card = Card::new(memory, Model::default());
    PivAdmin::log_in(Wire::new(&mut card))?.put_chuid()
}
