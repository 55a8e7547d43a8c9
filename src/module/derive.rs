//! Key derivation (PKCS#11 §5.18.5).

use cryptoki_sys::*;

use crate::{
    abi::ptr::{Mechanism, Place, Template},
    error::{Error, Result},
    session::Session,
};

pub(crate) fn derive(
    session: &Session,
    mechanism: Option<Mechanism<'_>>,
    key: CK_OBJECT_HANDLE,
    template: Result<Template<'_>>,
    handle: Result<Place<'_, CK_OBJECT_HANDLE>>,
) -> Result<()> {
    let _ = (session, mechanism, key, template, handle);
    Err(Error::FunctionNotSupported)
}
