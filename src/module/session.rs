//! Sessions (PKCS#11 §5.6): the threads of work that a program has with a token.

use std::{
    collections::BTreeMap,
    marker::PhantomData,
    ops::{Deref, DerefMut},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use cryptoki_sys::*;
use ctk_token::Role;
use parking_lot::Mutex;

use crate::{
    abi::ptr::{Mechanism, Place},
    decrypt::Decrypting,
    digest::Digesting,
    encrypt::Encrypting,
    error::{Error, Result},
    insertion::Insertion,
    key::Context,
    library::{self, Library},
    message::{MessageSigning, MessageVerifying},
    object::find::Search,
    recover::{SignRecovering, VerifyRecovering},
    sign::Signing,
    slots::SlotEntry,
    standing::{LastStanding, Standing},
    verify::Verifying,
    verify_signature::VerifyingSignature,
};

/// All sessions of the library, by handle, in parts: threads with sessions of their own mostly look
/// into different ones.
#[derive(Default)]
pub(crate) struct Sessions([Part; 16]);

/// Alone in the memory that two cores would fight for.
#[derive(Default)]
#[repr(align(128))]
struct Part(Mutex<BTreeMap<CK_SESSION_HANDLE, Arc<Session>>>);

impl Sessions {
    fn part(&self, handle: CK_SESSION_HANDLE) -> &Mutex<BTreeMap<CK_SESSION_HANDLE, Arc<Session>>> {
        let [first, ..] = &self.0;
        let index = usize::try_from(handle % 16).unwrap_or_default();
        &self.0.get(index).unwrap_or(first).0
    }

    pub(crate) fn session(&self, handle: CK_SESSION_HANDLE) -> Result<Arc<Session>> {
        let session = self.part(handle).lock().get(&handle).cloned();
        session.ok_or(Error::SessionHandleInvalid)
    }

    fn add(&self, session: Arc<Session>) {
        let handle = session.handle;
        self.part(handle).lock().insert(handle, session);
    }

    /// Closes one session.
    fn close(&self, handle: CK_SESSION_HANDLE) -> Result<()> {
        let session = self.part(handle).lock().remove(&handle);
        session.ok_or(Error::SessionHandleInvalid)?.close();
        Ok(())
    }

    /// Closes those sessions. The table is not locked while their tokens log out.
    pub(crate) fn close_those(&self, which: impl Fn(&Session) -> bool) {
        let mut closed = Vec::new();
        for Part(part) in &self.0 {
            let mut sessions = part.lock();
            let handles: Vec<_> = sessions
                .iter()
                .filter(|(_, session)| which(session))
                .map(|(handle, _)| *handle)
                .collect();
            closed.extend(handles.iter().filter_map(|handle| sessions.remove(handle)));
        }
        // In the order in which they were opened.
        closed.sort_by_key(|session| session.handle);
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
    pub(crate) read_write: bool,
    /// Whether it is being closed, or has been: a call that is still at work may ask.
    closed: AtomicBool,
    last_standing: LastStanding,
    operations: Mutex<Operations>,
}

macro_rules! operations {
    ($($field:ident: $operation:ident $flag:ident,)*) => {
        /// What a session is in the middle of: at most one of each kind, side by side. An operation
        /// may be the last that holds a token's session, whose end is work for a card, so none is
        /// dropped under the lock on these.
        #[derive(Default)]
        pub(crate) struct Operations {
            pub(crate) search: Option<Search>,
            $($field: Stage<$operation>,)*
        }

        impl Operations {
            /// Whether an operation of this kind can be set up. Those that share a flag are of one
            /// kind: a session verifies in one way at a time.
            fn ready(&self, flag: CK_FLAGS) -> Result<()> {
                $(if flag == $flag {
                    self.$field.ready()?;
                })*
                Ok(())
            }

            /// Takes out the active operations of the kinds that C_SessionCancel's flags name. One
            /// that a call works on is told, and does not keep the others.
            fn cancel(&mut self, flags: CK_FLAGS) -> (Self, Result<()>) {
                let (mut ended, mut outcome) = (Self::default(), Ok(()));
                $(if flags & $flag != 0 {
                    match self.$field.cancel() {
                        Ok(stage) => ended.$field = stage,
                        Err(error) => outcome = Err(error),
                    }
                })*
                if flags & CKF_FIND_OBJECTS != 0 {
                    ended.search = self.search.take();
                }
                (ended, outcome)
            }
        }

        $(impl Operation for $operation {
            const FLAG: CK_FLAGS = $flag;

            fn stage(operations: &mut Operations) -> &mut Stage<Self> {
                &mut operations.$field
            }
        })*
    };
}

operations! {
    encrypting: Encrypting CKF_ENCRYPT,
    decrypting: Decrypting CKF_DECRYPT,
    digesting: Digesting CKF_DIGEST,
    signing: Signing CKF_SIGN,
    sign_recovering: SignRecovering CKF_SIGN_RECOVER,
    verifying: Verifying CKF_VERIFY,
    verify_recovering: VerifyRecovering CKF_VERIFY_RECOVER,
    verifying_signature: VerifyingSignature CKF_VERIFY,
    message_signing: MessageSigning CKF_MESSAGE_SIGN,
    message_verifying: MessageVerifying CKF_MESSAGE_VERIFY,
}

impl Operations {
    /// What a CKU_CONTEXT_SPECIFIC login authenticates for: the active operation whose key wants an
    /// authentication for each use.
    pub(crate) fn to_authenticate(&self) -> Result<Arc<Context>> {
        let mut running = false;
        let mut see = |stage: Result<Option<Arc<Context>>>| match stage {
            Ok(found) => found,
            Err(_) => {
                running = true;
                None
            }
        };
        let found = see(self.signing.look(Signing::authenticates))
            .or_else(|| see(self.decrypting.look(Decrypting::authenticates)))
            .or_else(|| see(self.sign_recovering.look(SignRecovering::authenticates)))
            .or_else(|| see(self.message_signing.look(MessageSigning::authenticates)));
        match found {
            Some(found) => Ok(found),
            None if running => Err(Error::OperationActive),
            None => Err(Error::OperationNotInitialized),
        }
    }
}

/// One kind of operation, of which a session can have one.
pub(crate) trait Operation: Sized {
    /// The flag of C_SessionCancel and C_GetMechanismInfo for its kind.
    const FLAG: CK_FLAGS;

    /// Where a session keeps it.
    fn stage(operations: &mut Operations) -> &mut Stage<Self>;
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
    /// What an active operation says.
    ///
    /// # Errors
    /// CKR_OPERATION_ACTIVE while a call works on it.
    fn look<R>(&self, ask: impl FnOnce(&T) -> Option<R>) -> Result<Option<R>> {
        match self {
            Self::Active(operation) => Ok(ask(operation)),
            Self::Idle => Ok(None),
            Self::Running => Err(Error::OperationActive),
        }
    }

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

    /// Takes out what is active. What a call in another thread works on cannot be ended from here.
    fn cancel(&mut self) -> Result<Self> {
        if matches!(self, Self::Running) {
            return Err(Error::OperationCancelFailed);
        }
        Ok(std::mem::take(self))
    }

    /// Whether an operation can be set up.
    fn ready(&self) -> Result<()> {
        match self {
            Self::Idle => Ok(()),
            Self::Active(_) | Self::Running => Err(Error::OperationActive),
        }
    }
}

impl Session {
    /// How it stands with its token now.
    pub(crate) fn standing(&self) -> Result<Arc<Standing>> {
        self.last_standing.now(&self.insertion)
    }

    /// What it is in the middle of. Locked for a moment only, never while a token works.
    pub(crate) fn operations(&self) -> parking_lot::MutexGuard<'_, Operations> {
        self.operations.lock()
    }

    /// Sets an operation up. A mechanism of NULL ends the active one; with nothing to end it is what
    /// it was before 3.0: a missing argument.
    pub(crate) fn begin<T: Operation>(
        &self,
        mechanism: Option<Mechanism<'_>>,
        plan: impl FnOnce(&Mechanism<'_>) -> Result<T>,
    ) -> Result<()> {
        let Some(mechanism) = mechanism else {
            let ended = T::stage(&mut self.operations()).cancel()?;
            return match ended {
                Stage::Active(_) => Ok(()),
                Stage::Idle | Stage::Running => Err(Error::ArgumentsBad),
            };
        };
        self.operations().ready(T::FLAG)?;
        // Not under the lock: a token may be asked here.
        let operation = plan(&mechanism)?;
        let mut operations = self.operations();
        operations.ready(T::FLAG)?;
        *T::stage(&mut operations) = Stage::Active(operation);
        Ok(())
    }

    /// Takes an operation out: unless it is put back, it has ended.
    pub(crate) fn take<T: Operation>(&self) -> Result<Taken<'_, T>> {
        let operation = T::stage(&mut self.operations()).take()?;
        Ok(Taken {
            place: Vacancy {
                session: Some(self),
                kind: PhantomData,
            },
            operation,
        })
    }

    /// Whether somebody has closed it: nothing that is made for it now would ever be removed.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Ends it; it is not in the table any more.
    fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        let ended = std::mem::take(&mut *self.operations());
        drop(ended);
        self.last_standing.forget();
        self.insertion.objects.remove_of(self.handle);
        self.insertion.session_closed(self.read_write);
    }
}

/// An operation that a call works on. However the call ends, in an error or a panic, the
/// session is left with the operation put back or over, and never with one that nobody can end.
pub(crate) struct Taken<'a, T: Operation> {
    place: Vacancy<'a, T>,
    operation: T,
}

/// Where the operation was taken from; `None` once something has been put there.
struct Vacancy<'a, T: Operation> {
    session: Option<&'a Session>,
    kind: PhantomData<T>,
}

impl<T: Operation> Taken<'_, T> {
    /// Leaves the operation as it is, for the next call.
    pub(crate) fn put_back(self) {
        let Self {
            mut place,
            operation,
        } = self;
        place.fill(Stage::Active(operation));
    }
}

impl<T: Operation> Deref for Taken<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.operation
    }
}

impl<T: Operation> DerefMut for Taken<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.operation
    }
}

impl<T: Operation> Vacancy<'_, T> {
    fn fill(&mut self, stage: Stage<T>) {
        let Some(session) = self.session.take() else {
            return;
        };
        let mut operations = session.operations();
        let place = T::stage(&mut operations);
        // C_CloseSession may have ended it meanwhile.
        if matches!(place, Stage::Running) {
            *place = stage;
        }
    }
}

impl<T: Operation> Drop for Vacancy<'_, T> {
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
        closed: AtomicBool::new(false),
        last_standing: LastStanding::default(),
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

/// C_GetSessionInfo (PKCS#11 §5.6.4). NSS finds out by it whether the token is still there, so it
/// looks.
pub(crate) fn info(session: &Session, out: Result<Place<'_, CK_SESSION_INFO>>) -> Result<()> {
    let out = out?;
    if !session.slot.still_holds(&session.insertion) {
        return Err(Error::SessionHandleInvalid);
    }
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
    let (ended, outcome) = session.operations().cancel(flags);
    drop(ended);
    outcome
}

/// C_GetSessionValidationFlags (PKCS#11 3.2 §5.6.11): nobody has validated this module, so that no
/// operation was a validated one.
pub(crate) fn validation_flags(
    _: &Session,
    kind: CK_SESSION_VALIDATION_FLAGS_TYPE,
    out: Result<Place<'_, CK_FLAGS>>,
) -> Result<()> {
    let out = out?;
    if kind != CKS_LAST_VALIDATION_OK {
        return Err(Error::ArgumentsBad);
    }
    out.set(0);
    Ok(())
}
