//! Signatures that carry their data (PKCS#11 §5.14, §5.16).

use cryptoki_sys::*;

use crate::{
    abi::ptr::{Input, List, Mechanism},
    error::{Error, Result},
    session::Session,
};

/// To be written.
pub(crate) struct SignRecovering {}

/// To be written.
pub(crate) struct VerifyRecovering {}

impl SignRecovering {
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
    out: Result<List<'_, u8>>,
) -> Result<()> {
    let _ = (session, data, out);
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
    out: Result<List<'_, u8>>,
) -> Result<()> {
    let _ = (session, data, out);
    Err(Error::FunctionNotSupported)
}
