//! Key encapsulation (PKCS#11 3.2 §5.18.8, §5.18.9) with ML-KEM.

use cryptoki_sys::*;
use ctk_crypto::SecretBytes;
use ctk_token::{KeyAlgorithm, Operation, TokenError};

use crate::{
    abi::ptr::{Input, List, Mechanism, Place, Room, Template},
    cipher::buffer,
    error::{During, Error, Result},
    key,
    mechanism::table,
    new_secret::NewSecret,
    object::wish::How,
    session::Session,
    wrap::of_unwrapping_key,
};

/// The length of a shared secret, in bytes (FIPS 203 table 3).
const SECRET_LEN: usize = 32;

/// C_EncapsulateKey (PKCS#11 3.2 §5.18.8). A query of the length makes no key.
pub(crate) fn encapsulate(
    session: &Session,
    mechanism: Option<Mechanism<'_>>,
    key: CK_OBJECT_HANDLE,
    template: Result<Template<'_>>,
    out: Result<List<'_, u8>>,
    handle: Result<Place<'_, CK_OBJECT_HANDLE>>,
) -> Result<()> {
    let (template, out, handle) = (template?, out?, handle?);
    let mechanism = mechanism.ok_or(Error::ArgumentsBad)?;
    let row = table::row_for(mechanism.kind, CKF_ENCAPSULATE)?;
    let public = key::public(session, key, CKA_ENCAPSULATE)?;
    let public_key = public.public_key()?;
    if !row.form.takes(public_key.key_type()) {
        return Err(Error::KeyTypeInconsistent);
    }
    key::check_allowed(session, key, row.mechanism)?;
    mechanism.parameter?.none()?;
    let new = new_secret(session, template)?;
    let len = public_key.key_type().ciphertext_len();
    let len = len.ok_or(Error::KeyTypeInconsistent)?;
    if out.room(len)? != Room::Enough {
        return Ok(());
    }
    let mut ciphertext = buffer(len)?;
    let mut secret = SecretBytes::zeroed(SECRET_LEN);
    ctk_crypto::encapsulate(public_key, &mut ciphertext, &mut secret)
        .map_err(|error| Error::from_token(During::Operation, &error))?;
    let new = new.make(session, &secret)?;
    out.fill(&ciphertext)?;
    handle.set(new);
    Ok(())
}

/// C_DecapsulateKey (PKCS#11 3.2 §5.18.9). A ciphertext of the right length always gives a key; a wrong
/// one gives a key that nobody else has (FIPS 203 §7.3).
pub(crate) fn decapsulate(
    session: &Session,
    mechanism: Option<Mechanism<'_>>,
    key: CK_OBJECT_HANDLE,
    template: Result<Template<'_>>,
    data: Result<Input<'_>>,
    handle: Result<Place<'_, CK_OBJECT_HANDLE>>,
) -> Result<()> {
    let (template, data, handle) = (template?, data?, handle?);
    let mechanism = mechanism.ok_or(Error::ArgumentsBad)?;
    let row = table::row_for(mechanism.kind, CKF_DECAPSULATE)?;
    let private = key::private(session, key).map_err(of_unwrapping_key)?;
    let key_type = private.key()?.public_key.key_type();
    if !row.form.takes(key_type) {
        return Err(Error::UnwrappingKeyTypeInconsistent);
    }
    let private = private.permitted_for(Operation::KeyExchange, CKA_DECAPSULATE)?;
    key::check_allowed(session, key, row.mechanism)?;
    mechanism.parameter?.none()?;
    let algorithm = KeyAlgorithm::MlKem;
    if !private.supports(Operation::KeyExchange, algorithm) {
        return Err(Error::MechanismInvalid);
    }
    if key_type.ciphertext_len() != Some(data.len()) {
        return Err(Error::WrappedKeyLenRange);
    }
    let new = new_secret(session, template)?;
    let mut secret = SecretBytes::zeroed(SECRET_LEN);
    let written = private
        .key_exchange(algorithm, data.bytes(), &mut secret)
        .and_then(|len| match len {
            SECRET_LEN => Ok(len),
            _ => Err(TokenError::Corrupted(ctk_token::Reason::new(
                "the key store returned a secret of the wrong length",
            ))),
        });
    written.map_err(|error| private.failed(session, During::Unwrapping, &error).error)?;
    handle.set(new.make(session, &secret)?);
    Ok(())
}

/// A key that has the secret's length: nothing is said of cutting it.
fn new_secret(session: &Session, template: Template<'_>) -> Result<NewSecret> {
    let invalid = Error::AttributeValueInvalid;
    let how = How::Unwrapped;
    let new = NewSecret::new(session, template, how, Some(CKK_GENERIC_SECRET), invalid)?;
    if new.takes(SECRET_LEN) {
        Ok(new)
    } else {
        Err(invalid)
    }
}
