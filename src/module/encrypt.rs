//! Encryption (PKCS#11 §5.8).

use cryptoki_sys::*;

use crate::{
    abi::ptr::{Input, List, Mechanism},
    error::{Error, Result},
    session::Session,
};

/// To be written.
pub(crate) struct Encrypting {}

pub(crate) fn init(
    session: &Session,
    mechanism: Option<Mechanism<'_>>,
    key: CK_OBJECT_HANDLE,
) -> Result<()> {
    let _ = (session, mechanism, key);
    Err(Error::FunctionNotSupported)
}

pub(crate) fn encrypt(
    session: &Session,
    data: Result<Input<'_>>,
    out: Result<List<'_, u8>>,
) -> Result<()> {
    let _ = (session, data, out);
    Err(Error::FunctionNotSupported)
}

pub(crate) fn update(
    session: &Session,
    data: Result<Input<'_>>,
    out: Result<List<'_, u8>>,
) -> Result<()> {
    let _ = (session, data, out);
    Err(Error::FunctionNotSupported)
}

pub(crate) fn finish(session: &Session, out: Result<List<'_, u8>>) -> Result<()> {
    let _ = (session, out);
    Err(Error::FunctionNotSupported)
}
