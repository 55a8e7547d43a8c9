//! Verification with the signature first (PKCS#11 3.2 §5.16).

use cryptoki_sys::*;

use crate::{
    abi::ptr::{Input, Mechanism},
    error::{Error, Result},
    session::Session,
};

/// To be written.
pub(crate) struct VerifyingSignature {}

pub(crate) fn init(
    session: &Session,
    mechanism: Option<Mechanism<'_>>,
    key: CK_OBJECT_HANDLE,
    data: Result<Input<'_>>,
) -> Result<()> {
    let _ = (session, mechanism, key, data);
    Err(Error::FunctionNotSupported)
}

pub(crate) fn verify(session: &Session, data: Result<Input<'_>>) -> Result<()> {
    let _ = (session, data);
    Err(Error::FunctionNotSupported)
}

pub(crate) fn update(session: &Session, data: Result<Input<'_>>) -> Result<()> {
    let _ = (session, data);
    Err(Error::FunctionNotSupported)
}

pub(crate) fn finish(session: &Session) -> Result<()> {
    let _ = (session,);
    Err(Error::FunctionNotSupported)
}
