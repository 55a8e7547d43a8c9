//! Wrapping and unwrapping of keys (PKCS#11 §5.18.3, §5.18.4).

use cryptoki_sys::*;

use crate::{
    abi::ptr::{Input, List, Mechanism, Place, Template},
    error::{Error, Result},
    session::Session,
};

pub(crate) fn wrap(
    session: &Session,
    mechanism: Option<Mechanism<'_>>,
    key: CK_OBJECT_HANDLE,
    other: CK_OBJECT_HANDLE,
    out: Result<List<'_, u8>>,
) -> Result<()> {
    let _ = (session, mechanism, key, other, out);
    Err(Error::FunctionNotSupported)
}

pub(crate) fn unwrap(
    session: &Session,
    mechanism: Option<Mechanism<'_>>,
    key: CK_OBJECT_HANDLE,
    data: Result<Input<'_>>,
    template: Result<Template<'_>>,
    handle: Result<Place<'_, CK_OBJECT_HANDLE>>,
) -> Result<()> {
    let _ = (session, mechanism, key, data, template, handle);
    Err(Error::FunctionNotSupported)
}
