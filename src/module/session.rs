//! Sessions (PKCS#11 §5.6): the threads of work that a program has with a token.

use std::{
    collections::BTreeMap,
    ops::{Deref, DerefMut},
    sync::Arc,
};

use cryptoki_sys::*;
use ctk_token::Role;
use parking_lot::Mutex;

use crate::{
    abi::ptr::Place,
    error::{Error, Result},
    insertion::Insertion,
    library::{self, Library},
    object::find::Search,
    sign::Signing,
    slots::SlotEntry,
};

/// All sessions of the library, by handle.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<BTreeMap<CK_SESSION_HANDLE, Arc<Session>>>);

impl Sessions {
    pub(crate) fn session(&self, handle: CK_SESSION_HANDLE) -> Result<Arc<Session>> {
        let session = self.0.lock().get(&handle).cloned();
        session.ok_or(Error::SessionHandleInvalid)
    }

    fn add(&self, session: Arc<Session>) {
        self.0.lock().insert(session.handle, session);
    }

    /// Closes one session.
    fn close(&self, handle: CK_SESSION_HANDLE) -> Result<()> {
        let session = self.0.lock().remove(&handle);
        session.ok_or(Error::SessionHandleInvalid)?.close();
        Ok(())
    }

    /// Closes those sessions. The table is not locked while their tokens log out.
    pub(crate) fn close_those(&self, which: impl Fn(&Session) -> bool) {
        let closed: Vec<_> = {
            let mut sessions = self.0.lock();
            let handles: Vec<_> = sessions
                .iter()
                .filter(|(_, session)| which(session))
                .map(|(handle, _)| *handle)
                .collect();
            handles
                .iter()
                .filter_map(|handle| sessions.remove(handle))
                .collect()
        };
        for session in closed {
            session.close();
        }
    }

    /// Closes the sessions with a token that was taken out.
    pub(crate) fn close_with(&self, insertion: &Arc<Insertion>) {
        self.close_those(|session| Arc::ptr_eq(&session.insertion, insertion));
    }
}

/// A session.
pub(crate) struct Session {
    pub(crate) handle: CK_SESSION_HANDLE,
    pub(crate) slot: Arc<SlotEntry>,
    pub(crate) insertion: Arc<Insertion>,
    read_write: bool,
    operations: Mutex<Operations>,
}

/// What a session is in the middle of.
#[derive(Default)]
pub(crate) struct Operations {
    pub(crate) search: Option<Search>,
    pub(crate) signing: Stage<Signing>,
}

/// Where an operation is between its C_…Init and its end.
#[derive(Default)]
pub(crate) enum Stage<T> {
    #[default]
    Idle,
    /// Waiting for the program's next call.
    Active(T),
    /// Taken by a call in some thread.
    Running,
}

impl<T> Stage<T> {
    /// Takes the operation, for a call that works on it.
    fn take(&mut self) -> Result<T> {
        match std::mem::replace(self, Self::Running) {
            Self::Active(operation) => Ok(operation),
            Self::Idle => {
                *self = Self::Idle;
                Err(Error::OperationNotInitialized)
            }
            Self::Running => Err(Error::OperationActive),
        }
    }

    /// Ends what is active. What a call in another thread works on cannot be ended from here.
    pub(crate) fn cancel(&mut self) -> Result<()> {
        if matches!(self, Self::Running) {
            return Err(Error::OperationCancelFailed);
        }
        *self = Self::Idle;
        Ok(())
    }

    /// Whether an operation can be set up.
    pub(crate) fn ready(&self) -> Result<()> {
        match self {
            Self::Idle => Ok(()),
            Self::Active(_) | Self::Running => Err(Error::OperationActive),
        }
    }
}

impl Session {
    /// What it is in the middle of. Locked for a moment only, never while a token works.
    pub(crate) fn operations(&self) -> parking_lot::MutexGuard<'_, Operations> {
        self.operations.lock()
    }

    /// Takes the signing operation out: unless it is put back, it has ended.
    pub(crate) fn take_signing(&self) -> Result<Taken<'_>> {
        let operation = self.operations().signing.take()?;
        Ok(Taken {
            place: Vacancy {
                session: Some(self),
            },
            operation,
        })
    }

    /// Ends it; it is not in the table any more.
    fn close(&self) {
        *self.operations() = Operations::default();
        self.insertion.session_closed(self.read_write);
    }
}

/// A signing operation that a call works on. However the call ends, in an error or a panic, the
/// session is left with the operation put back or over, and never with one that nobody can end.
pub(crate) struct Taken<'a> {
    place: Vacancy<'a>,
    operation: Signing,
}

/// Where the operation was taken from; `None` once something has been put there.
struct Vacancy<'a> {
    session: Option<&'a Session>,
}

impl Taken<'_> {
    /// Leaves the operation as it is, for the next call.
    pub(crate) fn put_back(self) {
        let Self {
            mut place,
            operation,
        } = self;
        place.fill(Stage::Active(operation));
    }
}

impl Deref for Taken<'_> {
    type Target = Signing;

    fn deref(&self) -> &Signing {
        &self.operation
    }
}

impl DerefMut for Taken<'_> {
    fn deref_mut(&mut self) -> &mut Signing {
        &mut self.operation
    }
}

impl Vacancy<'_> {
    fn fill(&mut self, stage: Stage<Signing>) {
        let Some(session) = self.session.take() else {
            return;
        };
        let mut operations = session.operations();
        // C_CloseSession may have ended it meanwhile.
        if matches!(operations.signing, Stage::Running) {
            operations.signing = stage;
        }
    }
}

impl Drop for Vacancy<'_> {
    fn drop(&mut self) {
        self.fill(Stage::Idle);
    }
}

/// C_OpenSession (PKCS#11 §5.6.1).
///
/// A read-write session with a token that cannot be written is allowed: ssh and pkcs11-tool always
/// ask for one. The application's callback is accepted and never called.
pub(crate) fn open(
    library: &Library,
    slot: CK_SLOT_ID,
    flags: CK_FLAGS,
    out: Result<Place<'_, CK_SESSION_HANDLE>>,
) -> Result<()> {
    let slot = library.slot(slot)?;
    let out = out?;
    if flags & CKF_SERIAL_SESSION == 0 {
        return Err(Error::SessionParallelNotSupported);
    }
    if flags & CKF_ASYNC_SESSION != 0 {
        return Err(Error::SessionAsyncNotSupported);
    }
    let insertion = slot.token()?;
    let read_write = flags & CKF_RW_SESSION != 0;
    let handle = library::new_handle()?;
    insertion.session_opened(read_write)?;
    library.sessions.add(Arc::new(Session {
        handle,
        slot,
        insertion,
        read_write,
        operations: Mutex::default(),
    }));
    out.set(handle);
    Ok(())
}

/// C_CloseSession (PKCS#11 §5.6.2).
pub(crate) fn close(library: &Library, handle: CK_SESSION_HANDLE) -> Result<()> {
    library.sessions.close(handle)
}

/// C_CloseAllSessions (PKCS#11 §5.6.3).
pub(crate) fn close_all(library: &Library, slot: CK_SLOT_ID) -> Result<()> {
    let slot = library.slot(slot)?;
    library
        .sessions
        .close_those(|session| Arc::ptr_eq(&session.slot, &slot));
    Ok(())
}

/// C_GetSessionInfo (PKCS#11 §5.6.4).
pub(crate) fn info(session: &Session, out: Result<Place<'_, CK_SESSION_INFO>>) -> Result<()> {
    let out = out?;
    let state = match (session.insertion.login(), session.read_write) {
        (Some(Role::User), false) => CKS_RO_USER_FUNCTIONS,
        (Some(Role::User), true) => CKS_RW_USER_FUNCTIONS,
        (Some(Role::Admin), _) => CKS_RW_SO_FUNCTIONS,
        (_, false) => CKS_RO_PUBLIC_SESSION,
        (_, true) => CKS_RW_PUBLIC_SESSION,
    };
    let read_write = if session.read_write {
        CKF_RW_SESSION
    } else {
        0
    };
    out.set(CK_SESSION_INFO {
        slotID: session.slot.id,
        state,
        flags: CKF_SERIAL_SESSION | read_write,
        ulDeviceError: 0,
    });
    Ok(())
}

/// C_SessionCancel (PKCS#11 §5.6.5). Operations that are not active count as cancelled.
pub(crate) fn cancel(session: &Session, flags: CK_FLAGS) -> Result<()> {
    let mut operations = session.operations();
    if flags & CKF_SIGN != 0 {
        operations.signing.cancel()?;
    }
    if flags & CKF_FIND_OBJECTS != 0 {
        operations.search = None;
    }
    Ok(())
}
