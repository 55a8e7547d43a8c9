//! The values of a token's data objects that are not part of its contents: read when a program asks
//! for one, and kept no longer than it may be seen.

use std::{collections::BTreeMap, sync::Arc};

use cryptoki_sys::CK_OBJECT_HANDLE;
use ctk_token::{Constraint, TokenError};
use parking_lot::Mutex;
use zeroize::Zeroizing;

use super::catalog::View;
use crate::{
    error::{During, Error, Result},
    insertion::Insertion,
    standing::Standing,
};

/// A value. It may be one that only the user is to see, so it is wiped.
type Secret = Arc<Zeroizing<Vec<u8>>>;

/// The values that were read, of one token. Programs ask for the length first, and a card is not
/// read twice for that.
#[derive(Default)]
pub(crate) struct ReadValues(Mutex<BTreeMap<CK_OBJECT_HANDLE, ReadValue>>);

struct ReadValue {
    /// Of the contents that it belongs to.
    generation: u64,
    /// Whether it is not to be seen after the login.
    protected: bool,
    value: Secret,
}

impl ReadValues {
    /// Forgets all, with the token's session.
    pub(crate) fn forget(&self) {
        let forgotten = std::mem::take(&mut *self.0.lock());
        drop(forgotten);
    }

    /// Forgets what was read in a login that is over.
    pub(crate) fn forget_protected(&self) {
        self.0.lock().retain(|_, known| !known.protected);
    }

    fn find(&self, handle: CK_OBJECT_HANDLE, generation: u64) -> Option<Secret> {
        let values = self.0.lock();
        let known = values.get(&handle)?;
        (known.generation == generation).then(|| Arc::clone(&known.value))
    }

    /// Keeps a value, unless the login in which it was read is over: that is said before values are
    /// forgotten under this lock.
    fn keep(
        &self,
        handle: CK_OBJECT_HANDLE,
        read: ReadValue,
        standing: &Standing,
        insertion: &Insertion,
    ) {
        let mut values = self.0.lock();
        if !read.protected || standing.is_of_this_login(insertion) {
            values.insert(handle, read);
        }
    }
}

/// The value of a data object of the token, which the session sees.
///
/// # Errors
/// CKR_OBJECT_HANDLE_INVALID if the token wants a login after all: for who is not logged in there
/// is no such object. And whatever keeps it from being read.
pub(super) fn read(view: &View<'_>, standing: &Standing) -> Result<Secret> {
    let insertion = view.insertion;
    let data = view.data().ok_or(Error::GeneralError)?;
    let (handle, generation) = (view.object.handle, view.catalog.generation());
    if let Some(known) = insertion.values.find(handle, generation) {
        return Ok(known);
    }
    let session = standing.token_session(insertion)?;
    let value = session.read(&data.id).map_err(|error| {
        insertion.heed(session, &error);
        if error == TokenError::AuthenticationNeeded {
            insertion.lost(session);
        }
        Error::from_token(During::Reading, &error)
    })?;
    let value = Arc::new(Zeroizing::new(value));
    let read = ReadValue {
        generation,
        protected: matches!(data.read, Constraint::Auth(..)),
        value: Arc::clone(&value),
    };
    insertion.values.keep(handle, read, standing, insertion);
    Ok(value)
}
