//! Verification with the signature first (PKCS#11 3.2 §5.15.7 to §5.15.10).

use cryptoki_sys::*;

use crate::{
    abi::ptr::{Input, Mechanism},
    error::{Error, Result},
    session::Session,
    signed_data::{Data, Parts},
    verifier::Verifier,
};

/// More than any signature has, in bytes.
const TOO_LONG: usize = 8192;

/// A signature whose data are to come.
pub(crate) struct VerifyingSignature {
    verifier: Verifier,
    signature: Vec<u8>,
    parts: Parts,
}

/// C_VerifySignatureInit (PKCS#11 3.2 §5.15.7). A mechanism of NULL cancels an active operation.
///
/// A signature of the wrong length is told by the function that gets the data: for this one the
/// specification has no such error.
pub(crate) fn init(
    session: &Session,
    mechanism: Option<Mechanism<'_>>,
    key: CK_OBJECT_HANDLE,
    signature: Result<Input<'_>>,
) -> Result<()> {
    session.begin(mechanism, |mechanism| {
        let verifier = Verifier::new(session, mechanism, key, CKF_VERIFY)?;
        let signature = signature?.bytes();
        // Of what is too long, so much stays too long.
        let signature = signature.get(..TOO_LONG).unwrap_or(signature).to_vec();
        Ok(VerifyingSignature {
            verifier,
            signature,
            parts: Parts::Nothing,
        })
    })
}

/// C_VerifySignature (PKCS#11 3.2 §5.15.8). Whatever it says, the operation is over.
pub(crate) fn verify(session: &Session, data: Result<Input<'_>>) -> Result<()> {
    let taken = session.take::<VerifyingSignature>()?;
    let data = data?;
    if !taken.parts.is_nothing() {
        return Err(Error::OperationActive);
    }
    taken.verifier.verify(Data::Whole(data), &taken.signature)
}

/// C_VerifySignatureUpdate (PKCS#11 3.2 §5.15.9).
pub(crate) fn update(session: &Session, part: Result<Input<'_>>) -> Result<()> {
    let mut taken = session.take::<VerifyingSignature>()?;
    let part = part?;
    let operation = &mut *taken;
    operation
        .parts
        .add(&operation.verifier.preparation, part.bytes())?;
    taken.put_back();
    Ok(())
}

/// C_VerifySignatureFinal (PKCS#11 3.2 §5.15.10). Whatever it says, the operation is over.
pub(crate) fn finish(session: &Session) -> Result<()> {
    let mut taken = session.take::<VerifyingSignature>()?;
    let operation = &mut *taken;
    operation.parts.end(&operation.verifier.preparation)?;
    let data = Data::Parts(&operation.parts);
    operation.verifier.verify(data, &operation.signature)
}
