//! Key generation (PKCS#11 §5.18.1, §5.18.2): session keys.

use cryptoki_sys::*;

use crate::{
    abi::ptr::{Mechanism, Place, Template},
    error::{Error, Result},
    session::Session,
};

pub(crate) fn key(
    session: &Session,
    mechanism: Option<Mechanism<'_>>,
    template: Result<Template<'_>>,
    handle: Result<Place<'_, CK_OBJECT_HANDLE>>,
) -> Result<()> {
    let _ = (session, mechanism, template, handle);
    Err(Error::FunctionNotSupported)
}

pub(crate) fn key_pair(
    session: &Session,
    mechanism: Option<Mechanism<'_>>,
    template: Result<Template<'_>>,
    second_template: Result<Template<'_>>,
    handle: Result<Place<'_, CK_OBJECT_HANDLE>>,
    second_handle: Result<Place<'_, CK_OBJECT_HANDLE>>,
) -> Result<()> {
    let _ = (
        session,
        mechanism,
        template,
        second_template,
        handle,
        second_handle,
    );
    Err(Error::FunctionNotSupported)
}
