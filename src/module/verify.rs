//! Verification (PKCS#11 §5.15), in software with public keys and secret keys.

use cryptoki_sys::*;

use crate::{
    abi::ptr::{Input, Mechanism},
    error::{Error, Result},
    session::Session,
};

/// To be written.
pub(crate) struct Verifying {}

pub(crate) fn init(
    session: &Session,
    mechanism: Option<Mechanism<'_>>,
    key: CK_OBJECT_HANDLE,
) -> Result<()> {
    let _ = (session, mechanism, key);
    Err(Error::FunctionNotSupported)
}

pub(crate) fn verify(
    session: &Session,
    data: Result<Input<'_>>,
    more: Result<Input<'_>>,
) -> Result<()> {
    let _ = (session, data, more);
    Err(Error::FunctionNotSupported)
}

pub(crate) fn update(session: &Session, data: Result<Input<'_>>) -> Result<()> {
    let _ = (session, data);
    Err(Error::FunctionNotSupported)
}

pub(crate) fn finish(session: &Session, data: Result<Input<'_>>) -> Result<()> {
    let _ = (session, data);
    Err(Error::FunctionNotSupported)
}
