//! Mechanisms (PKCS#11 §5.5.5, §5.5.6): what a program can ask of a token.
//!
//! With public keys, secret keys and keys that a session made, the module works by itself, so what
//! is listed is the same for every token: the rows of the [`table`] that the crypto library of this
//! build has. What one of the token's own keys allows follows from the mechanism's row, the key and
//! whether there is a way to something that the token performs; C_SignInit and its like ask for the
//! same three, so they always agree.

pub(crate) mod table;

use cryptoki_sys::*;
use ctk_crypto::{Decryption, MAX_BLOCK, Reduction, RsaEncryption};
use ctk_token::{
    Constraint, Digest, Key, KeyAlgorithm, KeyType, Operation, PublicKey, TokenError, TokenSession,
};

use crate::{
    abi::ptr::{List, Place},
    error::{During, Error, Result},
    insertion::Insertion,
    library::Library,
};
use table::{Form, ROWS, Row};

/// The mechanisms that one key of a token can be used with, in the table's order.
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
    key: &PublicKey,
    supported: impl Fn(KeyAlgorithm) -> bool,
) -> Result<Option<Reduction>> {
    if matches!(key.key_type(), KeyType::Rsa { .. }) && key.max_signature_len() > MAX_BLOCK {
        return Err(Error::KeySizeRange);
    }
    Reduction::new(algorithm, key, supported).map_err(|error| match (error, algorithm) {
        (
            TokenError::BadParameter,
            KeyAlgorithm::RsaPssDigest(_) | KeyAlgorithm::RsaPssMessage(_),
        ) => Error::MechanismParamInvalid,
        (TokenError::BadParameter, _) => Error::KeySizeRange,
        (error, _) => Error::from_token(During::Init, &error),
    })
}

fn can(row: &Row, key: &Key, session: &dyn TokenSession) -> bool {
    row.form.takes(key.public_key.key_type())
        && (signs(row.form, key, session)
            || decrypts(row.form, key, session)
            || agrees(row.form, key, session))
}

fn signs(form: Form, key: &Key, session: &dyn TokenSession) -> bool {
    let supported = |algorithm| session.supports(Operation::Sign, &key.id, algorithm);
    let reduces = |algorithm| {
        matches!(
            reduction(algorithm, &key.public_key, supported),
            Ok(Some(_))
        )
    };
    key.sign != Constraint::Never && form.examples().into_iter().any(reduces)
}

fn decrypts(form: Form, key: &Key, session: &dyn TokenSession) -> bool {
    let supported = |algorithm| session.supports(Operation::Decrypt, &key.id, algorithm);
    let possible = |encryption| {
        matches!(
            Decryption::new(encryption, &key.public_key, supported),
            Ok(Some(_))
        )
    };
    key.decrypt != Constraint::Never
        && match form {
            Form::RsaPkcs1(None) => possible(RsaEncryption::Pkcs1),
            Form::RsaX509 => possible(RsaEncryption::Raw),
            // One hash that fits the modulus is enough.
            Form::RsaOaep => Digest::ALL.into_iter().any(|digest| {
                possible(RsaEncryption::Oaep {
                    digest,
                    mgf: digest,
                    label: Vec::new(),
                })
            }),
            _ => false,
        }
}

fn agrees(form: Form, key: &Key, session: &dyn TokenSession) -> bool {
    let algorithm = match form {
        Form::Ecdh { cofactor: false } => KeyAlgorithm::Ecdh,
        Form::Ecdh { cofactor: true } => KeyAlgorithm::EcdhCofactor,
        Form::MlKem => KeyAlgorithm::MlKem,
        _ => return false,
    };
    key.key_exchange != Constraint::Never
        && session.supports(Operation::KeyExchange, &key.id, algorithm)
}

/// C_GetMechanismList.
pub(crate) fn list(
    library: &Library,
    slot: CK_SLOT_ID,
    out: Result<List<'_, CK_MECHANISM_TYPE>>,
) -> Result<()> {
    library.slot(slot)?.token()?;
    let out = out?;
    let mechanisms: Vec<_> = ROWS
        .iter()
        .filter(|row| row.form.key_sizes().is_some())
        .map(|row| row.mechanism)
        .collect();
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
    let row = table::row(mechanism)?;
    let in_software = row.form.key_sizes().ok_or(Error::MechanismInvalid)?;
    // Only these have to do with what is on the token, which may have to be read first.
    let catalog = match row.form.uses_key_pairs() {
        true => Some(insertion.catalog()?),
        false => None,
    };
    let keys = || catalog.iter().flat_map(|catalog| catalog.contents().keys());
    let sizes = keys()
        .map(|key| key.public_key.key_type())
        .filter(|key| row.form.takes(*key))
        .map(table::key_size);
    let (min, max) = sizes.fold(in_software, |(min, max), size| {
        (size.min(min), size.max(max))
    });
    let hardware = slot.is_hardware() && performs_itself(row, keys(), &insertion);
    out.set(CK_MECHANISM_INFO {
        ulMinKeySize: min,
        ulMaxKeySize: max,
        flags: row.form.flags() | if hardware { CKF_HW } else { 0 },
    });
    Ok(())
}

/// Whether one of the token's own keys does it. While the token opens no session, none does.
fn performs_itself<'a>(
    row: &Row,
    mut keys: impl Iterator<Item = &'a Key>,
    insertion: &Insertion,
) -> bool {
    insertion
        .token_session()
        .is_ok_and(|session| keys.any(|key| can(row, key, &*session)))
}

#[cfg(test)]
mod tests {
    use ctk_token::{AuthId, ObjectId, Reuse};
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
        let taken = reduction(KeyAlgorithm::RsaPkcs1, &longest.public_key, |_| true);
        assert!(taken.unwrap().is_some());
        assert!(allowed(&longest, &All).contains(&CKM_RSA_PKCS));
        let longer = rsa_key(8 * MAX_BLOCK + 8);
        let taken = reduction(KeyAlgorithm::RsaPkcs1, &longer.public_key, |_| true);
        assert_eq!(taken.err(), Some(Error::KeySizeRange));
        assert!(allowed(&longer, &All).is_empty());
    }
}
