//! Verification of signatures and MACs (PKCS#11 §5.15).

use cryptoki_sys::*;

use crate::{
    abi::ptr::{Input, Mechanism},
    error::{Error, Result},
    session::Session,
    signed_data::{Data, Parts},
    verifier::Verifier,
};

/// A signature to be verified.
pub(crate) struct Verifying {
    verifier: Verifier,
    parts: Parts,
}

/// C_VerifyInit (PKCS#11 §5.15.1). A mechanism of NULL cancels an active operation.
pub(crate) fn init(
    session: &Session,
    mechanism: Option<Mechanism<'_>>,
    key: CK_OBJECT_HANDLE,
) -> Result<()> {
    session.begin(mechanism, |mechanism| {
        Ok(Verifying {
            verifier: Verifier::new(session, mechanism, key, CKF_VERIFY)?,
            parts: Parts::Nothing,
        })
    })
}

/// C_Verify (PKCS#11 §5.15.2). Whatever it says, the operation is over.
pub(crate) fn verify(
    session: &Session,
    data: Result<Input<'_>>,
    signature: Result<Input<'_>>,
) -> Result<()> {
    let taken = session.take::<Verifying>()?;
    let (data, signature) = (data?, signature?);
    if !taken.parts.is_nothing() {
        return Err(Error::OperationActive);
    }
    taken.verifier.verify(Data::Whole(data), signature.bytes())
}

/// C_VerifyUpdate (PKCS#11 §5.15.3).
pub(crate) fn update(session: &Session, part: Result<Input<'_>>) -> Result<()> {
    let mut taken = session.take::<Verifying>()?;
    let part = part?;
    let Verifying { verifier, parts } = &mut *taken;
    parts.add(&verifier.preparation, part.bytes())?;
    taken.put_back();
    Ok(())
}

/// C_VerifyFinal (PKCS#11 §5.15.4). Whatever it says, the operation is over.
pub(crate) fn finish(session: &Session, signature: Result<Input<'_>>) -> Result<()> {
    let mut taken = session.take::<Verifying>()?;
    let signature = signature?;
    let Verifying { verifier, parts } = &mut *taken;
    parts.end(&verifier.preparation)?;
    verifier.verify(Data::Parts(parts), signature.bytes())
}
