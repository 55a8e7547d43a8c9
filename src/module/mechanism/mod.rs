//! Mechanisms (PKCS#11 §5.5.5, §5.5.6): what a program can ask of a token.
//!
//! With public keys, secret keys and keys that a session made, the module works by itself, so all
//! rows of the [`table`] work that the crypto library of this build has. What is listed leaves out
//! what none of the token's own keys does, where it has keys of that type: programs look here to find
//! out. What one of the keys allows follows from the mechanism's row, the key and whether there is a
//! way to something that the token performs; C_SignInit and its like ask for the same three, so they
//! always agree.

pub(crate) mod table;

use std::sync::Arc;

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
    object::Catalog,
};
use table::{Form, ROWS, Row};

/// The mechanisms that one key of a token can be used with, in the table's order.
pub(crate) fn allowed(key: &Key, session: &dyn TokenSession) -> Vec<CK_MECHANISM_TYPE> {
    ROWS.iter()
        .filter(|row| can(row, key, session))
        .map(|row| row.mechanism)
        .collect()
}

/// The way from a signature of `algorithm`, which is `form` with its parameter, to what the token performs with this key.
///
/// # Errors
/// As [`reduction`], CKR_MECHANISM_PARAM_INVALID if the token does it with this key and other
/// parameters, such as another salt, and CKR_MECHANISM_INVALID if it does not do it at all.
pub(crate) fn signature(
    form: Form,
    algorithm: KeyAlgorithm,
    key: &PublicKey,
    supported: impl Fn(KeyAlgorithm) -> bool,
) -> Result<Reduction> {
    let found = reduction(algorithm, key, &supported)?;
    found.ok_or_else(|| match reduces(form, key, supported) {
        true => Error::MechanismParamInvalid,
        false => Error::MechanismInvalid,
    })
}

/// The same for a decryption.
///
/// # Errors
/// Likewise: for OAEP, the hashes and the label are parameters.
pub(crate) fn decryption(
    form: Form,
    asked: RsaEncryption,
    key: &PublicKey,
    supported: impl Fn(KeyAlgorithm) -> bool,
) -> Result<Decryption> {
    let found = Decryption::new(asked, key, &supported).map_err(|error| match error {
        // No mistake of the parameter: this key is too short for such a hash.
        TokenError::BadParameter => Error::KeySizeRange,
        error => Error::from_token(During::Init, &error),
    })?;
    found.ok_or_else(|| match unpads(form, key, supported) {
        true => Error::MechanismParamInvalid,
        false => Error::MechanismInvalid,
    })
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
    key.sign != Constraint::Never && reduces(form, &key.public_key, supported)
}

/// Whether a key signs so with some parameter.
fn reduces(form: Form, key: &PublicKey, supported: impl Fn(KeyAlgorithm) -> bool) -> bool {
    let mut examples = form.examples().into_iter();
    examples.any(|algorithm| matches!(reduction(algorithm, key, &supported), Ok(Some(_))))
}

fn decrypts(form: Form, key: &Key, session: &dyn TokenSession) -> bool {
    let supported = |algorithm| session.supports(Operation::Decrypt, &key.id, algorithm);
    key.decrypt != Constraint::Never && unpads(form, &key.public_key, supported)
}

/// Whether a key decrypts so with some parameter.
fn unpads(form: Form, key: &PublicKey, supported: impl Fn(KeyAlgorithm) -> bool) -> bool {
    let possible = |encryption| matches!(Decryption::new(encryption, key, &supported), Ok(Some(_)));
    let oaep = |digest, mgf| {
        possible(RsaEncryption::Oaep {
            digest,
            mgf,
            label: Vec::new(),
        })
    };
    match form {
        Form::RsaPkcs1(None) => possible(RsaEncryption::Pkcs1),
        Form::RsaX509 => possible(RsaEncryption::Raw),
        // One hash that fits the modulus is enough; Java's default for MGF1 is SHA-1 with any.
        Form::RsaOaep => Digest::ALL
            .into_iter()
            .any(|digest| oaep(digest, digest) || oaep(digest, Digest::Sha1)),
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
    let slot = library.slot(slot)?;
    let insertion = slot.token()?;
    let out = out?;
    // A card is not read for a list that programs ask for at once, whatever they want.
    let catalog = match slot.is_hardware() {
        true => None,
        false => insertion.catalog().ok(),
    };
    let own = Own::new(catalog, &insertion);
    let mechanisms: Vec<_> = ROWS
        .iter()
        .filter(|row| row.form.key_sizes().is_some() && !is_idle(row, own.functions(row)))
        .map(|row| row.mechanism)
        .collect();
    out.fill(&mechanisms)
}

/// The token's own private keys, as far as it says what they do.
struct Own {
    catalog: Option<Arc<Catalog>>,
    session: Option<Arc<dyn TokenSession>>,
}

impl Own {
    /// While the token cannot be read or opens no session, nothing is known of what its keys do.
    fn new(catalog: Option<Arc<Catalog>>, insertion: &Insertion) -> Self {
        let session = catalog
            .as_ref()
            .and_then(|_| insertion.token_session().ok());
        Self { catalog, session }
    }

    /// Those that can be used with a mechanism, by their type.
    fn keys(&self, row: &Row) -> impl Iterator<Item = &Key> {
        let keys = self
            .catalog
            .iter()
            .flat_map(|catalog| catalog.contents().keys());
        let form = row.form;
        keys.filter(move |key| form.takes(key.public_key.key_type()))
    }

    /// Whether one of them does it in some function. While the token opens no session, none does.
    fn perform(&self, row: &Row) -> bool {
        let session = self.session.as_ref();
        session.is_some_and(|session| self.keys(row).any(|key| can(row, key, &**session)))
    }

    /// The flags of a mechanism on this token. Where the token has private keys of the mechanism's type, what none of them
    /// does is left out, though it works with session keys: programs ask this to find out what the token's keys
    /// do.
    fn functions(&self, row: &Row) -> CK_FLAGS {
        let all = row.form.flags();
        let Some(session) = &self.session else {
            return all;
        };
        if self.keys(row).next().is_none() {
            return all;
        }
        type Can = fn(Form, &Key, &dyn TokenSession) -> bool;
        let private: [(CK_FLAGS, Can); 3] = [(SIGN, signs), (DECRYPT, decrypts), (AGREE, agrees)];
        let undone = private.into_iter().filter(|(functions, can)| {
            all & functions != 0 && !self.keys(row).any(|key| can(row.form, key, &**session))
        });
        undone.fold(all, |left, (functions, _)| left & !functions)
    }
}

// The functions that need a private key.
const SIGN: CK_FLAGS = CKF_SIGN | CKF_SIGN_RECOVER | CKF_MESSAGE_SIGN;
const DECRYPT: CK_FLAGS = CKF_DECRYPT | CKF_UNWRAP;
const AGREE: CK_FLAGS = CKF_DERIVE | CKF_DECAPSULATE;

/// Whether all is left out of a mechanism that a private key is needed for.
fn is_idle(row: &Row, left: CK_FLAGS) -> bool {
    let needs_key = |flags| flags & (SIGN | DECRYPT | AGREE) != 0;
    needs_key(row.form.flags()) && !needs_key(left)
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
    let own = Own::new(catalog, &insertion);
    let flags = own.functions(row);
    if is_idle(row, flags) && !slot.is_hardware() {
        return Err(Error::MechanismInvalid);
    }
    let sizes = own
        .keys(row)
        .map(|key| table::key_size(key.public_key.key_type()));
    let (min, max) = sizes.fold(in_software, |(min, max), size| {
        (size.min(min), size.max(max))
    });
    let hardware = slot.is_hardware() && own.perform(row);
    out.set(CK_MECHANISM_INFO {
        ulMinKeySize: min,
        ulMaxKeySize: max,
        flags: flags | if hardware { CKF_HW } else { 0 },
    });
    Ok(())
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
