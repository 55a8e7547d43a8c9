//! Key encapsulation (PKCS#11 3.2 §5.18.8).

use cryptoki_sys::*;

use crate::{
    abi::ptr::{Input, List, Mechanism, Place, Template},
    error::{Error, Result},
    session::Session,
};

pub(crate) fn encapsulate(
    session: &Session,
    mechanism: Option<Mechanism<'_>>,
    key: CK_OBJECT_HANDLE,
    template: Result<Template<'_>>,
    out: Result<List<'_, u8>>,
    handle: Result<Place<'_, CK_OBJECT_HANDLE>>,
) -> Result<()> {
    let _ = (session, mechanism, key, template, out, handle);
    Err(Error::FunctionNotSupported)
}

pub(crate) fn decapsulate(
    session: &Session,
    mechanism: Option<Mechanism<'_>>,
    key: CK_OBJECT_HANDLE,
    template: Result<Template<'_>>,
    data: Result<Input<'_>>,
    handle: Result<Place<'_, CK_OBJECT_HANDLE>>,
) -> Result<()> {
    let _ = (session, mechanism, key, template, data, handle);
    Err(Error::FunctionNotSupported)
}
