//! A program that uses a card, call by call, in this process.

use std::{
    ptr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use cryptoki_sys::*;
use softhsm_tests::{
    calls::rv_name,
    cards::PIN,
    isolated::{Environment, isolated},
    module::{Module, text},
    pcscd::{self, Pcscd},
};

/// How long anything here may take at most.
pub const LIMIT: Duration = pcscd::LIMIT;

/// A pcscd and a program that has loaded the module, which are this process.
pub struct Program {
    pub pcscd: Pcscd,
    pub module: Module,
    /// The module is initialised.
    pub running: AtomicBool,
}

/// Nothing: the process makes everything by itself, to have it at hand.
struct Empty;

impl Environment for Empty {
    fn variables(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}

impl Program {
    /// A program that starts while pcscd runs, with two empty readers.
    pub fn start() -> Self {
        let program = Self::load();
        program.initialize();
        program
    }

    /// A program that has not begun yet.
    pub fn load() -> Self {
        Self::of(Pcscd::start())
    }

    /// The same with this service.
    pub fn of(pcscd: Pcscd) -> Self {
        let (name, socket) = pcscd.env();
        // SAFETY: no other thread of this process reads its environment.
        unsafe {
            std::env::set_var(name, socket);
            std::env::set_var("HOME", pcscd.work().path());
            std::env::remove_var("XDG_CONFIG_HOME");
            std::env::remove_var("CTK_CONFIG");
        }
        Self {
            pcscd,
            module: Module::load(),
            running: AtomicBool::new(false),
        }
    }

    pub fn initialize(&self) {
        ok(self.module.call("C_Initialize", &[0]), "C_Initialize");
        self.running.store(true, Ordering::Relaxed);
    }

    pub fn finalize(&self) {
        ok(self.module.call("C_Finalize", &[0]), "C_Finalize");
        self.running.store(false, Ordering::Relaxed);
    }

    pub fn slots(&self, with_token: bool) -> Vec<CK_SLOT_ID> {
        let mut slots = [0; 20];
        let mut count: CK_ULONG = slots.len() as CK_ULONG;
        let arguments = [
            usize::from(with_token),
            slots.as_mut_ptr() as usize,
            &raw mut count as usize,
        ];
        ok(
            self.module.call("C_GetSlotList", &arguments),
            "C_GetSlotList",
        );
        slots[..count as usize].to_vec()
    }

    pub fn slot_info(&self, slot: CK_SLOT_ID) -> CK_SLOT_INFO {
        let mut info = CK_SLOT_INFO::default();
        let arguments = [slot as usize, &raw mut info as usize];
        ok(
            self.module.call("C_GetSlotInfo", &arguments),
            "C_GetSlotInfo",
        );
        info
    }

    pub fn has_token(&self, slot: CK_SLOT_ID) -> bool {
        self.slot_info(slot).flags & CKF_TOKEN_PRESENT != 0
    }

    pub fn serial(&self, slot: CK_SLOT_ID) -> String {
        let mut info = CK_TOKEN_INFO::default();
        let arguments = [slot as usize, &raw mut info as usize];
        ok(
            self.module.call("C_GetTokenInfo", &arguments),
            "C_GetTokenInfo",
        );
        text(&info.serialNumber)
    }

    pub fn open(&self, slot: CK_SLOT_ID) -> CK_SESSION_HANDLE {
        let mut session = 0;
        let out = &raw mut session as usize;
        let arguments = [slot as usize, CKF_SERIAL_SESSION as usize, 0, 0, out];
        ok(
            self.module.call("C_OpenSession", &arguments),
            "C_OpenSession",
        );
        session
    }

    pub fn session_info(&self, session: CK_SESSION_HANDLE) -> CK_RV {
        let mut info = CK_SESSION_INFO::default();
        let arguments = [session as usize, &raw mut info as usize];
        self.module.call("C_GetSessionInfo", &arguments)
    }

    pub fn login(&self, session: CK_SESSION_HANDLE) -> CK_RV {
        let arguments = [
            session as usize,
            CKU_USER as usize,
            PIN.as_ptr() as usize,
            PIN.len(),
        ];
        self.module.call("C_Login", &arguments)
    }

    /// A new session in which the owner is logged in.
    pub fn logged_in(&self, slot: CK_SLOT_ID) -> CK_SESSION_HANDLE {
        let session = self.open(slot);
        ok(self.login(session), "C_Login");
        session
    }

    pub fn find_init(&self, session: CK_SESSION_HANDLE, class: CK_OBJECT_CLASS) -> CK_RV {
        let mut class = class;
        let mut template = CK_ATTRIBUTE {
            type_: CKA_CLASS,
            pValue: (&raw mut class).cast(),
            ulValueLen: size_of_val(&class) as CK_ULONG,
        };
        let arguments = [session as usize, &raw mut template as usize, 1];
        self.module.call("C_FindObjectsInit", &arguments)
    }

    pub fn find_next(&self, session: CK_SESSION_HANDLE) -> Result<Option<CK_OBJECT_HANDLE>, CK_RV> {
        let (mut object, mut count): (CK_OBJECT_HANDLE, CK_ULONG) = (0, 0);
        let (object_at, count_at) = (&raw mut object as usize, &raw mut count as usize);
        let arguments = [session as usize, object_at, 1, count_at];
        match self.module.call("C_FindObjects", &arguments) {
            CKR_OK => Ok((count == 1).then_some(object)),
            rv => Err(rv),
        }
    }

    /// The first private key: PIV's 9A, RSA.
    pub fn key(&self, session: CK_SESSION_HANDLE) -> CK_OBJECT_HANDLE {
        ok(
            self.find_init(session, CKO_PRIVATE_KEY),
            "C_FindObjectsInit",
        );
        let key = self.find_next(session).expect("C_FindObjects");
        let end = self.module.call("C_FindObjectsFinal", &[session as usize]);
        ok(end, "C_FindObjectsFinal");
        key.expect("a private key")
    }

    pub fn sign_init(&self, session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE) -> CK_RV {
        let mut mechanism = CK_MECHANISM {
            mechanism: CKM_SHA256_RSA_PKCS,
            pParameter: ptr::null_mut(),
            ulParameterLen: 0,
        };
        let arguments = [session as usize, &raw mut mechanism as usize, key as usize];
        self.module.call("C_SignInit", &arguments)
    }

    pub fn sign(&self, session: CK_SESSION_HANDLE) -> CK_RV {
        let mut signature = [0_u8; 512];
        let mut len: CK_ULONG = signature.len() as CK_ULONG;
        let arguments = [
            session as usize,
            b"data".as_ptr() as usize,
            4,
            signature.as_mut_ptr() as usize,
            &raw mut len as usize,
        ];
        let rv = self.module.call("C_Sign", &arguments);
        assert!(
            rv != CKR_OK || len == 256 && signature[..256] != [0; 256],
            "no signature"
        );
        rv
    }

    /// A whole signature in a new session, whatever happens meanwhile.
    pub fn try_to_sign(&self, slot: CK_SLOT_ID) -> Result<(), (&'static str, CK_RV)> {
        let call = |name, arguments: &[usize]| match self.module.call(name, arguments) {
            CKR_OK => Ok(()),
            rv => Err((name, rv)),
        };
        let mut session: CK_SESSION_HANDLE = 0;
        let out = &raw mut session as usize;
        let flags = CKF_SERIAL_SESSION as usize;
        call("C_OpenSession", &[slot as usize, flags, 0, 0, out])?;
        let signed = self.try_to_sign_in(session);
        match call("C_CloseSession", &[session as usize]) {
            Err((_, CKR_SESSION_HANDLE_INVALID)) => signed,
            closed => signed.and(closed),
        }
    }

    fn try_to_sign_in(&self, session: CK_SESSION_HANDLE) -> Result<(), (&'static str, CK_RV)> {
        let when = |name, rv| {
            if rv == CKR_OK {
                Ok(())
            } else {
                Err((name, rv))
            }
        };
        when("C_Login", self.login(session))?;
        when(
            "C_FindObjectsInit",
            self.find_init(session, CKO_PRIVATE_KEY),
        )?;
        let found = self.find_next(session);
        let key = found.map_err(|rv| ("C_FindObjects", rv))?;
        // Of a card that went and came back, and nobody is logged in.
        let key = key.ok_or(("C_FindObjects", CKR_USER_NOT_LOGGED_IN))?;
        when("C_SignInit", self.sign_init(session, key))?;
        when("C_Sign", self.sign(session))
    }

    /// A whole signature in a new session.
    pub fn works(&self, slot: CK_SLOT_ID) {
        let session = self.logged_in(slot);
        let key = self.key(session);
        ok(self.sign_init(session, key), "C_SignInit");
        ok(self.sign(session), "C_Sign");
        let closed = self.module.call("C_CloseSession", &[session as usize]);
        ok(closed, "C_CloseSession");
    }

    /// Whether a child of a program sees the card as any program does, and nothing of its parent's.
    pub fn is_new_in_child(&self, session: CK_SESSION_HANDLE) -> bool {
        let was_off = self.session_info(session) == CKR_CRYPTOKI_NOT_INITIALIZED;
        let starts = self.module.call("C_Initialize", &[0]) == CKR_OK;
        was_off
            && starts
            && self.session_info(session) == CKR_SESSION_HANDLE_INVALID
            && self.slots(true).len() == 1
            && self.module.call("C_Finalize", &[0]) == CKR_OK
    }

    /// C_WaitForSlotEvent.
    pub fn event(&self, flags: CK_FLAGS) -> Result<CK_SLOT_ID, CK_RV> {
        let mut slot = CK_SLOT_ID::MAX;
        let arguments = [flags as usize, &raw mut slot as usize, 0];
        match self.module.call("C_WaitForSlotEvent", &arguments) {
            CKR_OK => Ok(slot),
            rv => Err(rv),
        }
    }

    /// Looks until it is so.
    #[track_caller]
    pub fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let end = Instant::now() + LIMIT;
        while !is_so(self) {
            assert!(Instant::now() < end, "not {what} after {LIMIT:?}");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.running.load(Ordering::Relaxed) && !thread::panicking() {
            self.finalize();
        }
    }
}

#[track_caller]
pub fn ok(rv: CK_RV, what: &str) {
    assert_eq!(rv_name(rv), "CKR_OK", "{what}");
}

/// Asserts that `rv` is one of those that tell a program that its token is gone.
#[track_caller]
pub fn gone(rv: CK_RV, what: &str) {
    assert!(
        [CKR_DEVICE_REMOVED, CKR_SESSION_HANDLE_INVALID].contains(&rv),
        "{what}: {}",
        rv_name(rv)
    );
}

/// Runs `body` as a program of its own.
#[track_caller]
pub fn alone(test: &str, body: impl FnOnce()) {
    isolated(test, || Empty, body);
}
