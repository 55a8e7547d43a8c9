//! Signatures that carry their data (PKCS#11 §5.13.5, §5.13.6, §5.15.5, §5.15.6): RSA's, whose
//! public key gives back what the private key was used on.

use std::sync::Arc;

use cryptoki_sys::*;
use ctk_crypto::{Block, MAX_BLOCK, verify_recover};
use ctk_token::{KeyAlgorithm, TokenError};
use zeroize::Zeroizing;

use crate::{
    abi::ptr::{Input, List, Mechanism, Room},
    error::{During, Error, Result},
    key::{self, Context, PublicUse},
    mechanism::table::{self, Purpose},
    session::Session,
    signed_data::Data,
    signer::Signer,
};

/// A signature in the making.
pub(crate) struct SignRecovering(Signer);

/// A signature whose data are to be recovered.
pub(crate) struct VerifyRecovering {
    key: PublicUse,
    algorithm: KeyAlgorithm,
}

impl SignRecovering {
    /// What a CKU_CONTEXT_SPECIFIC login authenticates for.
    pub(crate) fn authenticates(&self) -> Option<Arc<Context>> {
        self.0.authenticates()
    }
}

/// C_SignRecoverInit (PKCS#11 §5.13.5). A mechanism of NULL cancels an active operation.
pub(crate) fn sign_init(
    session: &Session,
    mechanism: Option<Mechanism<'_>>,
    key: CK_OBJECT_HANDLE,
) -> Result<()> {
    session.begin(mechanism, |mechanism| {
        Signer::new(session, mechanism, key, CKF_SIGN_RECOVER).map(SignRecovering)
    })
}

/// C_SignRecover (PKCS#11 §5.13.6).
pub(crate) fn sign(
    session: &Session,
    data: Result<Input<'_>>,
    out: Result<List<'_, u8>>,
) -> Result<()> {
    let taken = session.take::<SignRecovering>()?;
    let (data, out) = (data?, out?);
    let room = out.room(taken.0.len);
    if room != Ok(Room::Enough) {
        taken.put_back();
        return room.map(|_| ());
    }
    let Err(failure) = taken.0.sign(session, Data::Whole(data), out) else {
        return Ok(());
    };
    if failure.only_authentication_lacks {
        taken.put_back();
    }
    Err(failure.error)
}

/// C_VerifyRecoverInit (PKCS#11 §5.15.5). A mechanism of NULL cancels an active operation.
pub(crate) fn verify_init(
    session: &Session,
    mechanism: Option<Mechanism<'_>>,
    key: CK_OBJECT_HANDLE,
) -> Result<()> {
    session.begin(mechanism, |mechanism| {
        let form = table::row_for(mechanism.kind, CKF_VERIFY_RECOVER)?.form;
        let (handle, key) = (key, PublicUse::find(session, key)?);
        if !form.takes(key.public_key()?.key_type()) {
            return Err(Error::KeyTypeInconsistent);
        }
        let key = key.permitted(CKA_VERIFY_RECOVER)?;
        key::check_allowed(session, handle, mechanism.kind)?;
        form.permitted(key.public_key()?)?;
        if key.public_key()?.max_signature_len() > MAX_BLOCK {
            return Err(Error::KeySizeRange);
        }
        let algorithm = form.algorithm(mechanism.parameter?, Purpose::Verify)?;
        Ok(VerifyRecovering { key, algorithm })
    })
}

/// C_VerifyRecover (PKCS#11 §5.15.6). Whether the signature is right comes before the question
/// whether there is room for its data, so the data are recovered for a length query as well.
pub(crate) fn verify(
    session: &Session,
    signature: Result<Input<'_>>,
    out: Result<List<'_, u8>>,
) -> Result<()> {
    let taken = session.take::<VerifyRecovering>()?;
    let (signature, out) = (signature?, out?);
    let mut block: Block = Zeroizing::new([0; MAX_BLOCK]);
    let key = taken.key.public_key()?;
    let len = verify_recover(key, taken.algorithm, signature.bytes(), &mut *block)
        .map_err(|error| wrong(&error))?;
    let room = out.room(len);
    if room != Ok(Room::Enough) {
        taken.put_back();
        return room.map(|_| ());
    }
    out.fill(block.get(..len).unwrap_or_default())
}

/// What is wrong with a signature that nothing can be recovered from.
fn wrong(error: &TokenError) -> Error {
    match error {
        TokenError::DataLength => Error::SignatureLenRange,
        TokenError::DataInvalid => Error::SignatureInvalid,
        error => Error::from_token(During::Operation, error),
    }
}
