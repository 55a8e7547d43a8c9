//! Digests (PKCS#11 §5.12).

use cryptoki_sys::*;

use crate::{
    abi::ptr::{Input, List, Mechanism},
    error::{Error, Result},
    session::Session,
};

/// To be written.
pub(crate) struct Digesting {}

pub(crate) fn init(session: &Session, mechanism: Option<Mechanism<'_>>) -> Result<()> {
    let _ = (session, mechanism);
    Err(Error::FunctionNotSupported)
}

pub(crate) fn digest(
    session: &Session,
    data: Result<Input<'_>>,
    out: Result<List<'_, u8>>,
) -> Result<()> {
    let _ = (session, data, out);
    Err(Error::FunctionNotSupported)
}

pub(crate) fn update(session: &Session, data: Result<Input<'_>>) -> Result<()> {
    let _ = (session, data);
    Err(Error::FunctionNotSupported)
}

pub(crate) fn key(session: &Session, key: CK_OBJECT_HANDLE) -> Result<()> {
    let _ = (session, key);
    Err(Error::FunctionNotSupported)
}

pub(crate) fn finish(session: &Session, out: Result<List<'_, u8>>) -> Result<()> {
    let _ = (session, out);
    Err(Error::FunctionNotSupported)
}
