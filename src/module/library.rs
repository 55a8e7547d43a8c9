//! The library between C_Initialize and C_Finalize: one per process, and none in a forked child
//! until it asks for one.

use std::{
    ops::Deref,
    panic::catch_unwind,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use cryptoki_sys::{CK_SESSION_HANDLE, CK_SLOT_ID, CK_ULONG};
use ctk_crypto::{PerThread, SecretBytes, random};
use ctk_token::TokenError;
use once_cell::sync::OnceCell;
use parking_lot::{Condvar, Mutex, RwLock};

use crate::{
    error::{Error, Result},
    session::{Session, Sessions},
    slots::{SlotEntry, SlotSource},
    sys::{self, PerProcess},
};

/// How long the end of the process waits for a C_Finalize that another thread is in.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// What a process has of us from its first C_Initialize on.
struct Place {
    /// Held while the library is made or ended, so that of several threads exactly one does it, and
    /// a new one begins when the old one has logged out. Nobody else waits for it.
    changing: Mutex<()>,
    /// The thread that holds `changing`, or 0.
    changer: AtomicI64,
    /// The same for each thread, with counted references of its own.
    current: PerThread<RwLock<Option<Arc<Current>>>>,
}

impl Place {
    fn new() -> Self {
        Self {
            changing: Mutex::new(()),
            changer: AtomicI64::new(0),
            current: PerThread::new(RwLock::default),
        }
    }

    /// Does `work` as the one thread that makes or ends the library.
    ///
    /// # Errors
    /// CKR_FUNCTION_FAILED if this thread is at it already: something that making the library calls
    /// into (a hook of the program's, a driver's library) calls C_Initialize again.
    fn change(&self, work: impl FnOnce() -> Result<()>) -> Result<()> {
        let this_thread = sys::thread_id();
        if self.changer.load(Ordering::Relaxed) == this_thread {
            return Err(Error::FunctionFailed);
        }
        let _changing = self.changing.lock();
        self.changer.store(this_thread, Ordering::Relaxed);
        // Dropped before the lock, also by a panic in `work`.
        let _changer = Changer(&self.changer);
        work()
    }
}

/// Forgets who changes.
struct Changer<'a>(&'a AtomicI64);

impl Drop for Changer<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// The library, with a count of the references of one thread.
pub(crate) struct Current(Arc<Library>);

impl Deref for Current {
    type Target = Library;

    fn deref(&self) -> &Library {
        &self.0
    }
}

static PLACE: PerProcess<Place> = PerProcess::new();

/// The library, if it is initialised. A call keeps it alive while C_Finalize ends it in another
/// thread.
pub(crate) fn current() -> Result<Arc<Current>> {
    let place = PLACE.get().ok_or(Error::CryptokiNotInitialized)?;
    place
        .current
        .mine()
        .read()
        .clone()
        .ok_or(Error::CryptokiNotInitialized)
}

/// Makes the library, over the slots that `open` finds. On an error or panic in there it stays as
/// it was: not there.
pub(crate) fn start(open: impl FnOnce() -> Result<Box<dyn SlotSource>>) -> Result<()> {
    let place = PLACE.get_or_make(Place::new);
    place.change(|| {
        if place.current.mine().read().is_some() {
            return Err(Error::CryptokiAlreadyInitialized);
        }
        let library = Arc::new(Library::new(open()?));
        for current in place.current.all() {
            *current.write() = Some(Arc::new(Current(Arc::clone(&library))));
        }
        Ok(())
    })
}

/// Ends the library: its sessions close, its tokens are logged out, its waiters return.
pub(crate) fn end() -> Result<()> {
    let place = PLACE.get().ok_or(Error::CryptokiNotInitialized)?;
    place.change(|| {
        let ended: Vec<_> = place
            .current
            .all()
            .filter_map(|current| current.write().take())
            .collect();
        let library = ended.first().ok_or(Error::CryptokiNotInitialized)?;
        library.end();
        Ok(())
    })
}

/// Sees to it that the end of the process ends its logins to devices, which would outlive it: many
/// programs never call C_Finalize. One that is killed, or ends by _exit(), cannot be helped.
pub(crate) fn end_logins_at_exit() {
    /// A forked child has what its parent had registered, as it has this.
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    if !REGISTERED.swap(true, Ordering::Relaxed) && !sys::at_exit(process_ends) {
        log::warn!("a login may outlive this program if it does not call C_Finalize");
    }
}

/// Other threads go on meanwhile, and this one may be in the middle of a call, if a signal has ended
/// the process: so nothing here waits without a limit. The library stays, because a destructor of
/// the program may still end it.
extern "C" fn process_ends() {
    let ended = catch_unwind(|| {
        // A forked child that has not begun yet has nothing to end, its parent's login least of all.
        let Some(place) = PLACE.get() else { return };
        if place.changer.load(Ordering::Relaxed) == sys::thread_id() {
            return;
        }
        // Another thread may be in C_Finalize, and has logged out when it is done.
        let _changing = place.changing.try_lock_for(END_PATIENCE);
        let current = |share: &RwLock<Option<Arc<Current>>>| share.try_read()?.clone();
        if let Some(library) = place.current.all().find_map(current) {
            library.source.process_ends();
        }
    });
    if let Err(payload) = ended {
        // Dropping it could panic once more.
        std::mem::forget(payload);
    }
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
    slots: Mutex<Slots>,
    /// Slots know of it as well, to close what they see removed.
    pub(crate) sessions: Arc<Sessions>,
    /// Made when it is first asked for.
    secret: OnceCell<SecretBytes>,
    ended: Mutex<bool>,
    ending: Condvar,
}

/// The slots that have been seen, by number.
#[derive(Default)]
struct Slots {
    entries: Vec<Arc<SlotEntry>>,
    /// Whether anybody has looked for slots.
    looked: bool,
}

impl Library {
    /// Asks for no slot: C_Initialize does no I/O.
    fn new(source: Box<dyn SlotSource>) -> Self {
        Self {
            source,
            slots: Mutex::default(),
            sessions: Arc::default(),
            secret: OnceCell::new(),
            ended: Mutex::new(false),
            ending: Condvar::new(),
        }
    }

    /// The slots, with those that have come since. A slot keeps its number and is never dropped.
    pub(crate) fn refresh_slots(&self) -> Vec<Arc<SlotEntry>> {
        // Not under the lock: the service of local devices is asked here.
        let found = self.source.slots();
        let mut slots = self.slots.lock();
        for slot in found {
            if slots.entries.iter().any(|known| known.is(&slot)) {
                continue;
            }
            let id = CK_SLOT_ID::try_from(slots.entries.len()).unwrap_or(CK_SLOT_ID::MAX);
            let entry = SlotEntry::new(id, slot, &self.sessions, slots.looked);
            slots.entries.push(Arc::new(entry));
        }
        slots.looked = true;
        slots.entries.clone()
    }

    /// The slot of this number. Slots are looked for if it is not known: a program that has the
    /// number in its configuration may never ask for the list.
    ///
    /// # Errors
    /// CKR_SLOT_ID_INVALID.
    pub(crate) fn slot(&self, id: CK_SLOT_ID) -> Result<Arc<SlotEntry>> {
        let index = usize::try_from(id).map_err(|_| Error::SlotIdInvalid)?;
        let known = self.slots.lock().entries.get(index).cloned();
        known
            .or_else(|| self.refresh_slots().get(index).cloned())
            .ok_or(Error::SlotIdInvalid)
    }

    /// The session of this handle, if its token has been there without interruption.
    pub(crate) fn session(&self, handle: CK_SESSION_HANDLE) -> Result<Arc<Session>> {
        let session = self.sessions.session(handle)?;
        if session.slot.holds(&session.insertion) {
            return Ok(session);
        }
        // Also one that was being opened while another thread saw the removal.
        session.slot.removed(&session.insertion);
        Err(Error::SessionHandleInvalid)
    }

    /// 32 random bytes that nobody else has: no other process, and nobody after C_Finalize. A
    /// forked child has a library, and so a secret, of its own.
    ///
    /// # Errors
    /// Those of the crypto library's random numbers.
    pub(crate) fn secret(&self) -> std::result::Result<&[u8], TokenError> {
        let secret = self.secret.get_or_try_init(|| {
            let mut secret = SecretBytes::zeroed(32);
            random(&mut secret).map(|()| secret)
        })?;
        Ok(secret)
    }

    /// Blocks until a slot may have changed or `slice` is over.
    ///
    /// # Errors
    /// CKR_CRYPTOKI_NOT_INITIALIZED if C_Finalize comes meanwhile.
    pub(crate) fn wait(&self, slice: Duration) -> Result<()> {
        let deadline = Instant::now() + slice;
        if self.source.wait_for_change(deadline).is_err() {
            // Nothing that could block, so this waits for the end, and for the next look.
            let mut ended = self.ended.lock();
            if !*ended {
                self.ending.wait_until(&mut ended, deadline);
            }
        }
        self.check_running()
    }

    /// # Errors
    /// CKR_CRYPTOKI_NOT_INITIALIZED once C_Finalize has come, for a call that began before.
    pub(crate) fn check_running(&self) -> Result<()> {
        if *self.ended.lock() {
            Err(Error::CryptokiNotInitialized)
        } else {
            Ok(())
        }
    }

    fn end(&self) {
        *self.ended.lock() = true;
        self.ending.notify_all();
        self.sessions.close_those(|_| true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No slots at all.
    struct Nothing;

    impl SlotSource for Nothing {
        fn slots(&self) -> Vec<Arc<dyn ctk_token::Slot>> {
            Vec::new()
        }
        fn wait_for_change(&self, _: Instant) -> ctk_token::Result<ctk_token::Wait> {
            Err(TokenError::NotSupported)
        }
    }

    #[test]
    fn a_failed_start_leaves_nothing_behind() {
        assert_eq!(start(|| Err(Error::GeneralError)), Err(Error::GeneralError));
        let panicked = catch_unwind(|| start(|| panic!("on purpose")));
        assert!(panicked.is_err());
        assert_eq!(end(), Err(Error::CryptokiNotInitialized));
        assert_eq!(start(|| Ok(Box::new(Nothing))), Ok(()));
        assert_eq!(end(), Ok(()));
    }
}
