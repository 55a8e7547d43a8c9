//! Making, copying, changing and destroying session objects (PKCS#11 §5.7.1 to §5.7.4, §5.7.6).

use cryptoki_sys::*;

use crate::{
    abi::ptr::{Place, Template},
    error::{Error, Result},
    session::Session,
};

pub(crate) fn create(
    session: &Session,
    template: Result<Template<'_>>,
    handle: Result<Place<'_, CK_OBJECT_HANDLE>>,
) -> Result<()> {
    let _ = (session, template, handle);
    Err(Error::FunctionNotSupported)
}

pub(crate) fn copy(
    session: &Session,
    key: CK_OBJECT_HANDLE,
    template: Result<Template<'_>>,
    handle: Result<Place<'_, CK_OBJECT_HANDLE>>,
) -> Result<()> {
    let _ = (session, key, template, handle);
    Err(Error::FunctionNotSupported)
}

pub(crate) fn destroy(session: &Session, key: CK_OBJECT_HANDLE) -> Result<()> {
    let _ = (session, key);
    Err(Error::FunctionNotSupported)
}

pub(crate) fn set_attribute_value(
    session: &Session,
    key: CK_OBJECT_HANDLE,
    template: Result<Template<'_>>,
) -> Result<()> {
    let _ = (session, key, template);
    Err(Error::FunctionNotSupported)
}
