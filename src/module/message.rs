//! Many messages with one key (PKCS#11 §5.13.5 to §5.15).

use cryptoki_sys::*;

use crate::{
    abi::ptr::{Input, List, Mechanism},
    error::{Error, Result},
    session::Session,
};

/// To be written.
pub(crate) struct MessageSigning {}

/// To be written.
pub(crate) struct MessageVerifying {}

impl MessageSigning {
    pub(crate) fn authenticates(&self) -> Option<crate::key::Authenticates> {
        None
    }
}

pub(crate) fn sign_init(
    session: &Session,
    mechanism: Option<Mechanism<'_>>,
    key: CK_OBJECT_HANDLE,
) -> Result<()> {
    let _ = (session, mechanism, key);
    Err(Error::FunctionNotSupported)
}

pub(crate) fn sign(
    session: &Session,
    data: Result<Input<'_>>,
    more: Result<Input<'_>>,
    out: Result<List<'_, u8>>,
) -> Result<()> {
    let _ = (session, data, more, out);
    Err(Error::FunctionNotSupported)
}

pub(crate) fn sign_begin(session: &Session, data: Result<Input<'_>>) -> Result<()> {
    let _ = (session, data);
    Err(Error::FunctionNotSupported)
}

pub(crate) fn sign_next(
    session: &Session,
    data: Result<Input<'_>>,
    more: Result<Input<'_>>,
    out: Option<List<'_, u8>>,
) -> Result<()> {
    let _ = (session, data, more, out);
    Err(Error::FunctionNotSupported)
}

pub(crate) fn sign_end(session: &Session) -> Result<()> {
    let _ = (session,);
    Err(Error::FunctionNotSupported)
}

pub(crate) fn verify_init(
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
    rest: Result<Input<'_>>,
) -> Result<()> {
    let _ = (session, data, more, rest);
    Err(Error::FunctionNotSupported)
}

pub(crate) fn verify_begin(session: &Session, data: Result<Input<'_>>) -> Result<()> {
    let _ = (session, data);
    Err(Error::FunctionNotSupported)
}

pub(crate) fn verify_next(
    session: &Session,
    data: Result<Input<'_>>,
    more: Result<Input<'_>>,
    signature: Result<Option<Input<'_>>>,
) -> Result<()> {
    let _ = (session, data, more, signature);
    Err(Error::FunctionNotSupported)
}

pub(crate) fn verify_end(session: &Session) -> Result<()> {
    let _ = (session,);
    Err(Error::FunctionNotSupported)
}
