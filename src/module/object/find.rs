//! Searches (PKCS#11 §5.7.7 to §5.7.9).

use cryptoki_sys::*;

use super::{Sight, View, certificate::octet_string, table};
use crate::{
    abi::ptr::{Array, Place, Template, ulong},
    error::{Error, Result},
    session::Session,
};

/// A search: the handles of what could be seen when it began.
pub(crate) struct Search {
    found: std::vec::IntoIter<CK_OBJECT_HANDLE>,
}

/// C_FindObjectsInit (PKCS#11 §5.7.7).
///
/// A class or attribute that we do not know matches nothing; NSS asks every token for its own.
pub(crate) fn init(session: &Session, template: Result<Template<'_>>) -> Result<()> {
    let mut wanted = Vec::new();
    for entry in template?.entries() {
        wanted.push((entry.kind, entry.value()?.bytes()));
    }
    if session.operations().search.is_some() {
        return Err(Error::OperationActive);
    }
    let sight = Sight::new(&session.insertion)?;
    let identity = wanted
        .iter()
        .find(|(kind, _)| *kind == CKA_ID)
        .map(|(_, value)| *value);
    let found: Vec<_> = sight
        .views(identity)
        .into_iter()
        .filter(|view| {
            wanted
                .iter()
                .all(|(kind, value)| matches(view, *kind, value))
        })
        .map(|view| view.object.handle)
        .collect();
    let mut operations = session.operations();
    if operations.search.is_some() {
        return Err(Error::OperationActive);
    }
    operations.search = Some(Search {
        found: found.into_iter(),
    });
    Ok(())
}

/// C_FindObjects (PKCS#11 §5.7.8).
pub(crate) fn next(
    session: &Session,
    out: Result<Array<'_, CK_OBJECT_HANDLE>>,
    count: Result<Place<'_, CK_ULONG>>,
) -> Result<()> {
    let (out, count) = (out?, count?);
    let mut operations = session.operations();
    let search = operations
        .search
        .as_mut()
        .ok_or(Error::OperationNotInitialized)?;
    let handles: Vec<_> = search.found.by_ref().take(out.room()).collect();
    out.write(0, &handles);
    count.set(ulong(handles.len()));
    Ok(())
}

/// C_FindObjectsFinal (PKCS#11 §5.7.9).
pub(crate) fn finish(session: &Session) -> Result<()> {
    session
        .operations()
        .search
        .take()
        .map(|_| ())
        .ok_or(Error::OperationNotInitialized)
}

/// Whether an object has an attribute of this value. A sensitive one never matches: by searches one
/// could guess it.
fn matches(view: &View<'_>, kind: CK_ATTRIBUTE_TYPE, wanted: &[u8]) -> bool {
    let table::Answer::Shown(value) = table::attribute(view, kind) else {
        return false;
    };
    let value = value.bytes();
    match kind {
        // Some programs keep the zero that makes an ASN.1 INTEGER positive.
        CKA_MODULUS | CKA_PUBLIC_EXPONENT => *value == *without_zeros(wanted),
        // NSS looks for the bare point, others for the OCTET STRING.
        CKA_EC_POINT => *value == *wanted || *value == *octet_string(wanted),
        _ => *value == *wanted,
    }
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}
