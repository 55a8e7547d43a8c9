//! Cards and readers come and go, and pcscd as well, while a program uses the module: each time it is told what happened, in the
//! words of PKCS#11, and can go on.

use std::{
    cell::Cell,
    ptr,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use cryptoki_sys::*;
use softhsm_tests::{
    calls::rv_name,
    cards::{Options, PIN, Profile},
    isolated::{Environment, isolated},
    module::{Module, text},
    pcscd::{self, Pcscd},
};

/// How long anything here may take at most.
const LIMIT: Duration = pcscd::LIMIT;

/// A pcscd and a program that has loaded the module, which are this process.
struct Program {
    pcscd: Pcscd,
    module: Module,
    /// The module is initialised.
    running: Cell<bool>,
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
    fn start() -> Self {
        let program = Self::load();
        program.initialize();
        program
    }

    /// A program that has not begun yet.
    fn load() -> Self {
        let pcscd = Pcscd::start();
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
            running: Cell::new(false),
        }
    }

    fn initialize(&self) {
        ok(self.module.call("C_Initialize", &[0]), "C_Initialize");
        self.running.set(true);
    }

    fn finalize(&self) {
        ok(self.module.call("C_Finalize", &[0]), "C_Finalize");
        self.running.set(false);
    }

    fn slots(&self, with_token: bool) -> Vec<CK_SLOT_ID> {
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

    fn slot_info(&self, slot: CK_SLOT_ID) -> CK_SLOT_INFO {
        let mut info = CK_SLOT_INFO::default();
        let arguments = [slot as usize, &raw mut info as usize];
        ok(
            self.module.call("C_GetSlotInfo", &arguments),
            "C_GetSlotInfo",
        );
        info
    }

    fn has_token(&self, slot: CK_SLOT_ID) -> bool {
        self.slot_info(slot).flags & CKF_TOKEN_PRESENT != 0
    }

    fn serial(&self, slot: CK_SLOT_ID) -> String {
        let mut info = CK_TOKEN_INFO::default();
        let arguments = [slot as usize, &raw mut info as usize];
        ok(
            self.module.call("C_GetTokenInfo", &arguments),
            "C_GetTokenInfo",
        );
        text(&info.serialNumber)
    }

    fn open(&self, slot: CK_SLOT_ID) -> CK_SESSION_HANDLE {
        let mut session = 0;
        let out = &raw mut session as usize;
        let arguments = [slot as usize, CKF_SERIAL_SESSION as usize, 0, 0, out];
        ok(
            self.module.call("C_OpenSession", &arguments),
            "C_OpenSession",
        );
        session
    }

    fn session_info(&self, session: CK_SESSION_HANDLE) -> CK_RV {
        let mut info = CK_SESSION_INFO::default();
        let arguments = [session as usize, &raw mut info as usize];
        self.module.call("C_GetSessionInfo", &arguments)
    }

    fn login(&self, session: CK_SESSION_HANDLE) -> CK_RV {
        let arguments = [
            session as usize,
            CKU_USER as usize,
            PIN.as_ptr() as usize,
            PIN.len(),
        ];
        self.module.call("C_Login", &arguments)
    }

    /// A new session in which the owner is logged in.
    fn logged_in(&self, slot: CK_SLOT_ID) -> CK_SESSION_HANDLE {
        let session = self.open(slot);
        ok(self.login(session), "C_Login");
        session
    }

    fn find_init(&self, session: CK_SESSION_HANDLE, class: CK_OBJECT_CLASS) -> CK_RV {
        let mut class = class;
        let mut template = CK_ATTRIBUTE {
            type_: CKA_CLASS,
            pValue: (&raw mut class).cast(),
            ulValueLen: size_of_val(&class) as CK_ULONG,
        };
        let arguments = [session as usize, &raw mut template as usize, 1];
        self.module.call("C_FindObjectsInit", &arguments)
    }

    fn find_next(&self, session: CK_SESSION_HANDLE) -> Result<Option<CK_OBJECT_HANDLE>, CK_RV> {
        let (mut object, mut count): (CK_OBJECT_HANDLE, CK_ULONG) = (0, 0);
        let (object_at, count_at) = (&raw mut object as usize, &raw mut count as usize);
        let arguments = [session as usize, object_at, 1, count_at];
        match self.module.call("C_FindObjects", &arguments) {
            CKR_OK => Ok((count == 1).then_some(object)),
            rv => Err(rv),
        }
    }

    /// The first private key: PIV's 9A, RSA.
    fn key(&self, session: CK_SESSION_HANDLE) -> CK_OBJECT_HANDLE {
        ok(
            self.find_init(session, CKO_PRIVATE_KEY),
            "C_FindObjectsInit",
        );
        let key = self.find_next(session).expect("C_FindObjects");
        let end = self.module.call("C_FindObjectsFinal", &[session as usize]);
        ok(end, "C_FindObjectsFinal");
        key.expect("a private key")
    }

    fn sign_init(&self, session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE) -> CK_RV {
        let mut mechanism = CK_MECHANISM {
            mechanism: CKM_SHA256_RSA_PKCS,
            pParameter: ptr::null_mut(),
            ulParameterLen: 0,
        };
        let arguments = [session as usize, &raw mut mechanism as usize, key as usize];
        self.module.call("C_SignInit", &arguments)
    }

    fn sign(&self, session: CK_SESSION_HANDLE) -> CK_RV {
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

    /// A whole signature in a new session.
    fn works(&self, slot: CK_SLOT_ID) {
        let session = self.logged_in(slot);
        let key = self.key(session);
        ok(self.sign_init(session, key), "C_SignInit");
        ok(self.sign(session), "C_Sign");
        let closed = self.module.call("C_CloseSession", &[session as usize]);
        ok(closed, "C_CloseSession");
    }

    /// C_WaitForSlotEvent.
    fn event(&self, flags: CK_FLAGS) -> Result<CK_SLOT_ID, CK_RV> {
        let mut slot = CK_SLOT_ID::MAX;
        let arguments = [flags as usize, &raw mut slot as usize, 0];
        match self.module.call("C_WaitForSlotEvent", &arguments) {
            CKR_OK => Ok(slot),
            rv => Err(rv),
        }
    }

    /// Looks until it is so.
    #[track_caller]
    fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let end = Instant::now() + LIMIT;
        while !is_so(self) {
            assert!(Instant::now() < end, "not {what} after {LIMIT:?}");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.running.get() && !thread::panicking() {
            self.finalize();
        }
    }
}

#[track_caller]
fn ok(rv: CK_RV, what: &str) {
    assert_eq!(rv_name(rv), "CKR_OK", "{what}");
}

/// Asserts that `rv` is one of those that tell a program that its token is gone.
#[track_caller]
fn gone(rv: CK_RV, what: &str) {
    assert!(
        [CKR_DEVICE_REMOVED, CKR_SESSION_HANDLE_INVALID].contains(&rv),
        "{what}: {}",
        rv_name(rv)
    );
}

/// Runs `body` as a program of its own.
#[track_caller]
fn alone(test: &str, body: impl FnOnce()) {
    isolated(test, || Empty, body);
}

#[test]
fn a_card_comes_goes_and_comes_back() {
    alone("a_card_comes_goes_and_comes_back", || {
        let program = Program::start();
        let slots = program.slots(false);
        assert_eq!(slots.len(), 2);
        assert_eq!(program.slots(true), []);
        for &slot in &slots {
            let info = program.slot_info(slot);
            assert_eq!(info.flags, CKF_REMOVABLE_DEVICE | CKF_HW_SLOT);
            assert!(text(&info.slotDescription).starts_with("Virtual Reader 00 0"));
        }
        let mut card = program.pcscd.insert(0, Profile::PivOne, Options::default());
        program.until("a token", |program| program.slots(true).len() == 1);
        let slot = program.slots(true)[0];
        let serial = program.serial(slot);
        let session = program.logged_in(slot);
        let key = program.key(session);
        card.remove();
        assert!(!program.has_token(slot));
        assert_eq!(program.session_info(session), CKR_SESSION_HANDLE_INVALID);
        assert_eq!(program.sign_init(session, key), CKR_SESSION_HANDLE_INVALID);
        assert_eq!(program.slots(false), slots);
        card.insert();
        assert_eq!(program.serial(slot), serial);
        // The session of before is not alive again, and nobody is logged in.
        assert_eq!(program.session_info(session), CKR_SESSION_HANDLE_INVALID);
        let session = program.open(slot);
        assert_eq!(program.find_init(session, CKO_PRIVATE_KEY), CKR_OK);
        assert_eq!(program.find_next(session), Ok(None));
        program.works(slot);
    });
}

#[test]
fn a_card_goes_in_the_middle_of_a_search() {
    alone("a_card_goes_in_the_middle_of_a_search", || {
        let program = Program::start();
        let mut card = program
            .pcscd
            .insert(0, Profile::PivFour, Options::default());
        let slot = program.slots(true)[0];
        let session = program.open(slot);
        ok(
            program.find_init(session, CKO_CERTIFICATE),
            "C_FindObjectsInit",
        );
        assert!(matches!(program.find_next(session), Ok(Some(_))));
        card.remove();
        // What was found is known without the card, until somebody looks.
        assert!(matches!(program.find_next(session), Ok(Some(_))));
        assert!(!program.has_token(slot));
        assert_eq!(program.find_next(session), Err(CKR_SESSION_HANDLE_INVALID));
        card.insert();
        program.works(slot);
    });
}

#[test]
fn a_card_goes_before_anything_was_read() {
    alone("a_card_goes_before_anything_was_read", || {
        let program = Program::start();
        let mut card = program.pcscd.insert(0, Profile::PivOne, Options::default());
        let slot = program.slots(true)[0];
        let session = program.open(slot);
        card.remove();
        // An empty list would say that there is nothing on the card.
        gone(
            program.find_init(session, CKO_CERTIFICATE),
            "C_FindObjectsInit",
        );
        card.insert();
        program.works(slot);
    });
}

#[test]
fn a_card_goes_before_the_signature() {
    alone("a_card_goes_before_the_signature", || {
        let program = Program::start();
        let mut card = program.pcscd.insert(0, Profile::PivOne, Options::default());
        let slot = program.slots(true)[0];
        let session = program.logged_in(slot);
        let key = program.key(session);
        ok(program.sign_init(session, key), "C_SignInit");
        card.remove();
        assert_eq!(rv_name(program.sign(session)), "CKR_DEVICE_REMOVED");
        assert_eq!(program.session_info(session), CKR_SESSION_HANDLE_INVALID);
        assert!(!program.has_token(slot));
        card.insert();
        program.works(slot);
    });
}

#[test]
fn a_card_goes_in_the_middle_of_a_signature() {
    alone("a_card_goes_in_the_middle_of_a_signature", || {
        let program = Program::start();
        let mut card = program.pcscd.insert(0, Profile::PivOne, Options::default());
        let slot = program.slots(true)[0];
        let session = program.logged_in(slot);
        let key = program.key(session);
        ok(program.sign_init(session, key), "C_SignInit");
        card.cut_in_key_operation();
        let started = Instant::now();
        assert_eq!(rv_name(program.sign(session)), "CKR_DEVICE_REMOVED");
        assert!(started.elapsed() < LIMIT, "{:?}", started.elapsed());
        assert_eq!(program.session_info(session), CKR_SESSION_HANDLE_INVALID);
        program.pcscd.wait_for_card(0, false);
        assert!(!program.has_token(slot));
        card.insert();
        program.works(slot);
    });
}

#[test]
fn a_card_goes_in_the_middle_of_a_login() {
    alone("a_card_goes_in_the_middle_of_a_login", || {
        let program = Program::start();
        let mut card = program.pcscd.insert(0, Profile::PivOne, Options::default());
        let slot = program.slots(true)[0];
        let session = program.open(slot);
        // Everything is read, so that the next command is VERIFY.
        ok(
            program.find_init(session, CKO_CERTIFICATE),
            "C_FindObjectsInit",
        );
        card.reset_count();
        card.cut_after(0);
        assert_eq!(rv_name(program.login(session)), "CKR_DEVICE_REMOVED");
        program.pcscd.wait_for_card(0, false);
        card.insert();
        let verify = |command: &str| command.starts_with("00200080") && command.contains("**");
        let sent = card
            .log()
            .iter()
            .filter(|apdu| verify(&apdu.command))
            .count();
        assert!(sent <= 1, "a PIN was sent {sent} times");
        program.works(slot);
    });
}

#[test]
fn another_card_is_another_token() {
    alone("another_card_is_another_token", || {
        let program = Program::start();
        let mut card = program.pcscd.insert(0, Profile::PivOne, Options::default());
        let slot = program.slots(true)[0];
        let serial = program.serial(slot);
        let session = program.logged_in(slot);
        let key = program.key(session);
        ok(program.sign_init(session, key), "C_SignInit");
        card.swap(Profile::PivOne, Duration::from_millis(50));
        // No PIN, no signature and no session goes over to it.
        gone(program.sign(session), "C_Sign");
        assert!(program.has_token(slot));
        assert_ne!(program.serial(slot), serial);
        assert_eq!(program.session_info(session), CKR_SESSION_HANDLE_INVALID);
        program.works(slot);
    });
}

#[test]
fn a_swap_is_seen_by_who_only_looks() {
    alone("a_swap_is_seen_by_who_only_looks", || {
        let program = Program::start();
        let mut card = program.pcscd.insert(0, Profile::PivOne, Options::default());
        let slot = program.slots(true)[0];
        let serial = program.serial(slot);
        let session = program.logged_in(slot);
        assert_eq!(program.event(CKF_DONT_BLOCK), Err(CKR_NO_EVENT));
        card.swap(Profile::PivFour, Duration::from_millis(50));
        assert_eq!(program.event(CKF_DONT_BLOCK), Ok(slot));
        assert_eq!(program.event(CKF_DONT_BLOCK), Err(CKR_NO_EVENT));
        assert_eq!(program.session_info(session), CKR_SESSION_HANDLE_INVALID);
        assert_ne!(program.serial(slot), serial);
    });
}

#[test]
fn pcscd_ends_and_starts_again() {
    alone("pcscd_ends_and_starts_again", || {
        let mut program = Program::start();
        let _card = program.pcscd.insert(0, Profile::PivOne, Options::default());
        let slots = program.slots(false);
        let slot = program.slots(true)[0];
        let session = program.logged_in(slot);
        let key = program.key(session);
        ok(program.sign_init(session, key), "C_SignInit");
        program.pcscd.kill();
        let started = Instant::now();
        assert_eq!(rv_name(program.sign(session)), "CKR_DEVICE_REMOVED");
        program.until("no token", |program| program.slots(true).is_empty());
        assert!(started.elapsed() < LIMIT);
        assert_eq!(program.slots(false), slots);
        assert_eq!(program.session_info(session), CKR_SESSION_HANDLE_INVALID);
        program.pcscd.restart();
        program.pcscd.wait_for_card(0, true);
        program.until("a token", |program| program.slots(true) == [slot]);
        assert_eq!(program.slots(false), slots);
        program.works(slot);
    });
}

#[test]
fn pcscd_starts_again_unseen() {
    alone("pcscd_starts_again_unseen", || {
        let mut program = Program::start();
        let _card = program.pcscd.insert(0, Profile::PivOne, Options::default());
        let slot = program.slots(true)[0];
        let session = program.logged_in(slot);
        let key = program.key(session);
        program.pcscd.restart();
        program.pcscd.wait_for_card(0, true);
        // Whoever was logged in is not any more.
        let begun = program.sign_init(session, key);
        if begun == CKR_OK {
            gone(program.sign(session), "C_Sign");
        } else {
            gone(begun, "C_SignInit");
        }
        program.until("a token", |program| program.slots(true) == [slot]);
        program.works(slot);
    });
}

#[test]
fn a_reader_is_plugged_in_later() {
    alone("a_reader_is_plugged_in_later", || {
        let mut program = Program::load();
        program.pcscd.kill();
        program.initialize();
        // Firefox looks again at a removable slot without a token, and at nothing else.
        let slots = program.slots(false);
        assert_eq!(slots.len(), 1);
        let info = program.slot_info(slots[0]);
        assert_eq!(info.flags, CKF_REMOVABLE_DEVICE | CKF_HW_SLOT);
        assert_eq!(program.event(CKF_DONT_BLOCK), Err(CKR_NO_EVENT));
        program.pcscd.restart();
        let _card = program.pcscd.insert(1, Profile::PivOne, Options::default());
        // Also without a new list.
        program.until("a token", |program| program.has_token(slots[0]));
        assert_eq!(program.event(CKF_DONT_BLOCK), Ok(slots[0]));
        let description = text(&program.slot_info(slots[0]).slotDescription);
        assert_eq!(description, program.pcscd.reader(1));
        let more = program.slots(false);
        assert_eq!((more.len(), more[0]), (2, slots[0]));
        program.works(slots[0]);
    });
}

#[test]
fn who_waits_is_told() {
    alone("who_waits_is_told", || {
        let program = Program::start();
        let slots = program.slots(false);
        let mut card = program.pcscd.insert(1, Profile::PivOne, Options::default());
        let slot = program.event(0).expect("an insertion");
        assert!(slots.contains(&slot) && program.has_token(slot));
        card.pull_out();
        assert_eq!(program.event(0), Ok(slot));
        assert!(!program.has_token(slot));
        card.push_in();
        assert_eq!(program.event(0), Ok(slot));
        assert!(program.has_token(slot));
        assert_eq!(program.event(CKF_DONT_BLOCK), Err(CKR_NO_EVENT));
    });
}

#[test]
fn who_waits_is_told_of_the_service() {
    alone("who_waits_is_told_of_the_service", || {
        let mut program = Program::start();
        let _card = program.pcscd.insert(0, Profile::PivOne, Options::default());
        let slot = program.slots(true)[0];
        assert_eq!(program.event(CKF_DONT_BLOCK), Err(CKR_NO_EVENT));
        program.pcscd.kill();
        assert_eq!(program.event(0), Ok(slot));
        assert!(!program.has_token(slot));
        program.pcscd.restart();
        assert_eq!(program.event(0), Ok(slot));
        assert!(program.has_token(slot));
    });
}

#[test]
fn the_end_ends_waiting() {
    alone("the_end_ends_waiting", || {
        for with_service in [true, false] {
            let mut program = Program::load();
            if !with_service {
                program.pcscd.kill();
            }
            program.initialize();
            program.slots(false);
            let (waiting, waits) = mpsc::channel();
            let module = &program.module;
            thread::scope(|scope| {
                let waiter = scope.spawn(move || {
                    let mut slot: CK_SLOT_ID = 0;
                    waiting.send(()).expect("somebody listens");
                    module.call("C_WaitForSlotEvent", &[0, &raw mut slot as usize, 0])
                });
                waits.recv().expect("the thread runs");
                // It may be anywhere in its first slice of half a second.
                thread::sleep(Duration::from_millis(300));
                let started = Instant::now();
                ok(module.call("C_Finalize", &[0]), "C_Finalize");
                let rv = waiter.join().expect("it ends");
                println!("waiting ended after {:?}", started.elapsed());
                assert_eq!(rv, CKR_CRYPTOKI_NOT_INITIALIZED);
                assert!(started.elapsed() < Duration::from_secs(5));
            });
            program.running.set(false);
        }
    });
}
