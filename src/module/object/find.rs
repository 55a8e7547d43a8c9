//! Searches (PKCS#11 §5.7.7 to §5.7.9).

use cryptoki_sys::*;

use super::{Answer, Class, Sight, index, table};
use crate::{
    abi::ptr::{Array, Place, Template, ulong},
    error::{Error, Result},
    session::Session,
};

/// A search: the handles of what could be seen when it began.
pub(crate) struct Search {
    found: Vec<CK_OBJECT_HANDLE>,
    /// How many of them have been told.
    told: usize,
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
    let found = search(session, &wanted)?;
    let mut operations = session.operations();
    if operations.search.is_some() {
        return Err(Error::OperationActive);
    }
    operations.search = Some(Search { found, told: 0 });
    Ok(())
}

/// What the session sees that has all these values: the token's objects in its order, then those of
/// its sessions, as they were made.
///
/// A sensitive attribute never matches: by searches one could guess it.
fn search(
    session: &Session,
    wanted: &[(CK_ATTRIBUTE_TYPE, &[u8])],
) -> Result<Vec<CK_OBJECT_HANDLE>> {
    let sight = Sight::new(session)?;
    // Profiles tell of the token and are none of what it holds. Like the objects that describe
    // hardware and mechanisms (§4.3, §4.13) they are for those who ask for them.
    let asks_for_profiles = wanted
        .iter()
        .any(|(kind, _)| matches!(*kind, CKA_CLASS | CKA_PROFILE_ID | CKA_UNIQUE_ID));
    let mut found = Vec::new();
    for object in sight.catalog().candidates(wanted, sight.insertion) {
        let hidden = object.class == Class::Profile && !asks_for_profiles;
        let Some(view) = sight.view(object).filter(|_| !hidden) else {
            continue;
        };
        let matches = |(kind, value): &(CK_ATTRIBUTE_TYPE, &[u8])| {
            matches!(table::attribute(&view, *kind),
                Answer::Shown(shown) if index::matches(*kind, shown.bytes(), value))
        };
        if wanted.iter().all(matches) {
            found.push(object.handle);
        }
    }
    let objects = &session.insertion.objects;
    objects.search(wanted, sight.standing.shows_private, &mut found);
    Ok(found)
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
    let rest = search.found.get(search.told..).unwrap_or_default();
    let handles = rest.get(..out.room()).unwrap_or(rest);
    out.write(0, handles);
    count.set(ulong(handles.len()));
    search.told += handles.len();
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
