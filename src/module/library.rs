//! The library between C_Initialize and C_Finalize: one per process, and none in a forked child
//! until it asks for one.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use cryptoki_sys::{CK_SESSION_HANDLE, CK_SLOT_ID, CK_ULONG};
use parking_lot::{Condvar, Mutex, RwLock};

use crate::{
    error::{Error, Result},
    session::Session,
    slots::{SlotEntry, SlotSource},
    sys::PerProcess,
};

/// What a process has of us from its first C_Initialize on.
struct Place {
    /// Held while the library is made or ended, so that of several threads exactly one does it.
    changing: Mutex<()>,
    current: RwLock<Option<Arc<Library>>>,
}

static PLACE: PerProcess<Place> = PerProcess::new();

/// The library, if it is initialised. A call keeps it alive while C_Finalize ends it in another
/// thread.
pub(crate) fn current() -> Result<Arc<Library>> {
    let place = PLACE.get().ok_or(Error::CryptokiNotInitialized)?;
    place
        .current
        .read()
        .clone()
        .ok_or(Error::CryptokiNotInitialized)
}

/// Makes the library, over the slots that `open` finds. On an error or panic in there it stays as
/// it was: not there.
pub(crate) fn start(open: impl FnOnce() -> Result<Box<dyn SlotSource>>) -> Result<()> {
    let place = PLACE.get_or_make(|| Place {
        changing: Mutex::new(()),
        current: RwLock::new(None),
    });
    let _changing = place.changing.lock();
    if place.current.read().is_some() {
        return Err(Error::CryptokiAlreadyInitialized);
    }
    let library = Arc::new(Library::new(open()?));
    *place.current.write() = Some(library);
    Ok(())
}

/// Ends the library: its sessions close, its tokens are logged out, its waiters return.
pub(crate) fn end() -> Result<()> {
    let place = PLACE.get().ok_or(Error::CryptokiNotInitialized)?;
    let library = {
        let _changing = place.changing.lock();
        place.current.write().take()
    };
    let library = library.ok_or(Error::CryptokiNotInitialized)?;
    library.end();
    Ok(())
}

/// The next handle of a session or object: never 0, and never again in this process.
pub(crate) fn new_handle() -> Result<CK_ULONG> {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let next = LAST.fetch_add(1, Ordering::Relaxed).saturating_add(1);
    CK_ULONG::try_from(next).map_err(|_| Error::HostMemory)
}

/// The tables of the module.
pub(crate) struct Library {
    source: Box<dyn SlotSource>,
    slots: Mutex<Vec<Arc<SlotEntry>>>,
    sessions: Mutex<BTreeMap<CK_SESSION_HANDLE, Arc<Session>>>,
    ended: Mutex<bool>,
    ending: Condvar,
}

impl Library {
    fn new(source: Box<dyn SlotSource>) -> Self {
        let library = Self {
            source,
            slots: Mutex::default(),
            sessions: Mutex::default(),
            ended: Mutex::new(false),
            ending: Condvar::new(),
        };
        // A program with a slot number in its configuration may never ask for the list.
        for slot in library.refresh_slots() {
            slot.forget_events();
        }
        library
    }

    /// The slots, with those that have come since. A slot keeps its number and is never dropped.
    pub(crate) fn refresh_slots(&self) -> Vec<Arc<SlotEntry>> {
        let found = self.source.slots();
        let mut slots = self.slots.lock();
        for slot in found {
            if !slots.iter().any(|known| known.is(&slot)) {
                let id = CK_SLOT_ID::try_from(slots.len()).unwrap_or(CK_SLOT_ID::MAX);
                slots.push(Arc::new(SlotEntry::new(id, slot)));
            }
        }
        slots.clone()
    }

    pub(crate) fn slot(&self, id: CK_SLOT_ID) -> Result<Arc<SlotEntry>> {
        let index = usize::try_from(id).map_err(|_| Error::SlotIdInvalid)?;
        self.slots
            .lock()
            .get(index)
            .cloned()
            .ok_or(Error::SlotIdInvalid)
    }

    /// The session of this handle, if its token has been there without interruption.
    pub(crate) fn session(&self, handle: CK_SESSION_HANDLE) -> Result<Arc<Session>> {
        let session = self.sessions.lock().get(&handle).cloned();
        let session = session.ok_or(Error::SessionHandleInvalid)?;
        if session.slot.holds(&session.insertion) {
            return Ok(session);
        }
        self.close_sessions(|other| Arc::ptr_eq(&other.insertion, &session.insertion));
        Err(Error::SessionHandleInvalid)
    }

    pub(crate) fn add_session(&self, session: Arc<Session>) {
        self.sessions.lock().insert(session.handle, session);
    }

    /// Closes one session.
    pub(crate) fn close_session(&self, handle: CK_SESSION_HANDLE) -> Result<()> {
        let session = self.sessions.lock().remove(&handle);
        session.ok_or(Error::SessionHandleInvalid)?.close();
        Ok(())
    }

    /// Closes those sessions.
    pub(crate) fn close_sessions(&self, which: impl Fn(&Session) -> bool) {
        let closed: Vec<_> = {
            let mut sessions = self.sessions.lock();
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

    /// Blocks until a slot may have changed or `slice` is over.
    ///
    /// # Errors
    /// CKR_CRYPTOKI_NOT_INITIALIZED if C_Finalize comes meanwhile.
    pub(crate) fn wait(&self, slice: Duration) -> Result<()> {
        let deadline = Instant::now() + slice;
        if self.source.wait_for_change(deadline).is_err() {
            // Nothing to wait for but the end.
            let mut ended = self.ended.lock();
            if !*ended {
                self.ending.wait_until(&mut ended, deadline);
            }
        }
        if *self.ended.lock() {
            Err(Error::CryptokiNotInitialized)
        } else {
            Ok(())
        }
    }

    fn end(&self) {
        *self.ended.lock() = true;
        self.ending.notify_all();
        self.close_sessions(|_| true);
    }
}
