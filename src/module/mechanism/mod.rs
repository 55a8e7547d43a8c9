//! Mechanisms (PKCS#11 §5.5.5, §5.5.6): what a program can ask of the keys of a token.
//!
//! What is listed, what a key allows and what C_SignInit accepts follow from the same three things:
//! the mechanism's row, the key, and whether there is a [`Reduction`] to something that the token
//! performs. So they always agree.

pub(crate) mod table;

use cryptoki_sys::*;
use ctk_crypto::{MAX_BLOCK, Reduction};
use ctk_token::{
    Constraint, Key, KeyAlgorithm, KeyType, KeychainContents, Operation, TokenError, TokenSession,
};

use crate::{
    abi::ptr::{List, Place},
    error::{During, Error, Result},
    library::Library,
};
use table::{ROWS, Row};

/// A mechanism that some key of a token can be used with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Offer {
    pub(crate) row: &'static Row,
    min_key_size: CK_ULONG,
    max_key_size: CK_ULONG,
}

impl Offer {
    /// All that the keys of `contents` can be used with, in the table's order.
    pub(crate) fn all(contents: &KeychainContents, session: &dyn TokenSession) -> Vec<Self> {
        ROWS.iter()
            .filter_map(|row| Self::of(row, contents, session))
            .collect()
    }

    fn of(
        row: &'static Row,
        contents: &KeychainContents,
        session: &dyn TokenSession,
    ) -> Option<Self> {
        let sizes = contents
            .keys()
            .filter(|key| can(row, key, session))
            .map(key_size);
        let (min_key_size, max_key_size) = sizes.fold(None, |range, size| {
            let (min, max) = range.unwrap_or((size, size));
            Some((size.min(min), size.max(max)))
        })?;
        Some(Self {
            row,
            min_key_size,
            max_key_size,
        })
    }
}

/// The mechanisms that one key can be used with, in the table's order.
pub(crate) fn allowed(key: &Key, session: &dyn TokenSession) -> Vec<CK_MECHANISM_TYPE> {
    ROWS.iter()
        .filter(|row| can(row, key, session))
        .map(|row| row.mechanism)
        .collect()
}

/// The way from a signature of `algorithm` to what the token performs with this key, if there is
/// one.
///
/// # Errors
/// CKR_KEY_SIZE_RANGE for a key that is too short for the hash or longer than a block of ours, and
/// CKR_MECHANISM_PARAM_INVALID for a salt that does not fit the key.
pub(crate) fn reduction(
    algorithm: KeyAlgorithm,
    key: &Key,
    session: &dyn TokenSession,
) -> Result<Option<Reduction>> {
    if key.public_key.max_signature_len() > MAX_BLOCK {
        return Err(Error::KeySizeRange);
    }
    let supported = |form| session.supports(Operation::Sign, &key.id, form);
    Reduction::new(algorithm, &key.public_key, supported).map_err(|error| {
        match (error, algorithm) {
            (
                TokenError::BadParameter,
                KeyAlgorithm::RsaPssDigest(_) | KeyAlgorithm::RsaPssMessage(_),
            ) => Error::MechanismParamInvalid,
            (TokenError::BadParameter, _) => Error::KeySizeRange,
            (error, _) => Error::from_token(During::Init, &error),
        }
    })
}

fn can(row: &Row, key: &Key, session: &dyn TokenSession) -> bool {
    let reduces = |algorithm| matches!(reduction(algorithm, key, session), Ok(Some(_)));
    key.sign != Constraint::Never
        && row.form.takes(key.public_key.key_type())
        && row.form.examples().into_iter().any(reduces)
}

/// The size by which mechanisms measure keys: bits of the modulus, the order or the field.
fn key_size(key: &Key) -> CK_ULONG {
    CK_ULONG::from(match key.public_key.key_type() {
        KeyType::Rsa { bits } => bits,
        KeyType::Ec(curve) => curve.bits(),
        KeyType::Ed25519 | KeyType::X25519 => 255,
        KeyType::Ed448 | KeyType::X448 => 448,
        KeyType::MlDsa44 => 1312 * 8,
        KeyType::MlDsa65 => 1952 * 8,
        KeyType::MlDsa87 => 2592 * 8,
        KeyType::MlKem512 => 800 * 8,
        KeyType::MlKem768 => 1184 * 8,
        KeyType::MlKem1024 => 1568 * 8,
    })
}

/// C_GetMechanismList.
pub(crate) fn list(
    library: &Library,
    slot: CK_SLOT_ID,
    out: Result<List<'_, CK_MECHANISM_TYPE>>,
) -> Result<()> {
    let insertion = library.slot(slot)?.token()?;
    let out = out?;
    let offers = insertion.offers();
    let mechanisms: Vec<_> = offers.iter().map(|offer| offer.row.mechanism).collect();
    out.fill(&mechanisms)
}

/// C_GetMechanismInfo.
pub(crate) fn info(
    library: &Library,
    slot: CK_SLOT_ID,
    mechanism: CK_MECHANISM_TYPE,
    out: Result<Place<'_, CK_MECHANISM_INFO>>,
) -> Result<()> {
    let slot = library.slot(slot)?;
    let insertion = slot.token()?;
    let out = out?;
    let offers = insertion.offers();
    let offer = offers
        .iter()
        .find(|offer| offer.row.mechanism == mechanism)
        .ok_or(Error::MechanismInvalid)?;
    let hardware = if slot.is_hardware() { CKF_HW } else { 0 };
    out.set(CK_MECHANISM_INFO {
        ulMinKeySize: offer.min_key_size,
        ulMaxKeySize: offer.max_key_size,
        flags: offer.row.form.flags() | hardware,
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use ctk_token::{AuthId, ObjectId, PublicKey, Reuse};
    use openssl::{bn::BigNum, pkey::PKey, rsa::Rsa};

    use super::*;

    /// A key store that performs everything by itself.
    struct All;

    impl TokenSession for All {
        fn supports(&self, _: Operation, _: &ObjectId, _: KeyAlgorithm) -> bool {
            true
        }
        fn sign(
            &self,
            _: &ObjectId,
            _: KeyAlgorithm,
            _: &[u8],
            _: &mut [u8],
        ) -> ctk_token::Result<usize> {
            Err(TokenError::NotSupported)
        }
    }

    fn rsa_key(bits: usize) -> Key {
        let modulus = BigNum::from_slice(&vec![0xff; bits / 8]).unwrap();
        let exponent = BigNum::from_u32(65537).unwrap();
        let rsa = Rsa::from_public_components(modulus, exponent).unwrap();
        let spki = PKey::from_rsa(rsa).unwrap().public_key_to_der().unwrap();
        let public_key = PublicKey::from_spki(&spki).unwrap();
        Key {
            sign: Constraint::Auth(AuthId(0), Reuse::Session),
            ..Key::new(ObjectId::new(b"key"), "Key", b"1", public_key)
        }
    }

    #[test]
    fn a_key_longer_than_a_block_is_neither_taken_nor_offered() {
        let longest = rsa_key(8 * MAX_BLOCK);
        let taken = reduction(KeyAlgorithm::RsaPkcs1, &longest, &All);
        assert!(taken.unwrap().is_some());
        assert!(allowed(&longest, &All).contains(&CKM_RSA_PKCS));
        let longer = rsa_key(8 * MAX_BLOCK + 8);
        let taken = reduction(KeyAlgorithm::RsaPkcs1, &longer, &All);
        assert_eq!(taken.err(), Some(Error::KeySizeRange));
        assert!(allowed(&longer, &All).is_empty());
    }
}
