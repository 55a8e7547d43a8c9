//! Every function of the table × {not initialised, bad handle, NULL, after C_Finalize, in a forked
//! child}, and the lists.
#![allow(clippy::undocumented_unsafe_blocks)] // calls of the C functions that are under test
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a test's own functions

mod support;

use std::{
    path::{Path, PathBuf},
    ptr::null_mut,
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Instant,
};

use cryptoki_sys::*;
use ctk_pkcs11::abi::*;
use support::*;

/// A handle that is never given out.
const BAD: CK_ULONG = CK_ULONG::MAX - 1;

/// Functions that work without C_Initialize, and what they say to NULL.
const ALWAYS: &[(&str, CK_RV)] = &[
    ("C_GetFunctionList", CKR_ARGUMENTS_BAD),
    ("C_GetInterfaceList", CKR_ARGUMENTS_BAD),
    ("C_GetInterface", CKR_ARGUMENTS_BAD),
];

/// Functions that are there, and what they say to a valid session or slot and NULL or 0 for
/// everything else.
const REAL: &[(&str, CK_RV)] = &[
    ("C_GetInfo", CKR_ARGUMENTS_BAD),
    ("C_GetSlotList", CKR_ARGUMENTS_BAD),
    ("C_GetSlotInfo", CKR_ARGUMENTS_BAD),
    ("C_GetTokenInfo", CKR_ARGUMENTS_BAD),
    ("C_GetMechanismList", CKR_ARGUMENTS_BAD),
    ("C_GetMechanismInfo", CKR_ARGUMENTS_BAD),
    ("C_OpenSession", CKR_ARGUMENTS_BAD),
    ("C_CloseSession", CKR_OK),
    ("C_CloseAllSessions", CKR_OK),
    ("C_GetSessionInfo", CKR_ARGUMENTS_BAD),
    ("C_Login", CKR_ARGUMENTS_BAD),
    ("C_Logout", CKR_USER_NOT_LOGGED_IN),
    ("C_CreateObject", CKR_ARGUMENTS_BAD),
    ("C_CopyObject", CKR_OBJECT_HANDLE_INVALID),
    ("C_DestroyObject", CKR_OBJECT_HANDLE_INVALID),
    ("C_GetObjectSize", CKR_OBJECT_HANDLE_INVALID),
    ("C_SetAttributeValue", CKR_OBJECT_HANDLE_INVALID),
    ("C_SetPIN", CKR_SESSION_READ_ONLY),
    ("C_InitPIN", CKR_USER_NOT_LOGGED_IN),
    ("C_LoginUser", CKR_ARGUMENTS_BAD),
    ("C_GetSessionValidationFlags", CKR_ARGUMENTS_BAD),
    ("C_GetAttributeValue", CKR_OBJECT_HANDLE_INVALID),
    ("C_FindObjectsInit", CKR_OK),
    ("C_FindObjects", CKR_ARGUMENTS_BAD),
    ("C_FindObjectsFinal", CKR_OPERATION_NOT_INITIALIZED),
    ("C_EncryptInit", CKR_ARGUMENTS_BAD),
    ("C_Encrypt", CKR_OPERATION_NOT_INITIALIZED),
    ("C_EncryptUpdate", CKR_OPERATION_NOT_INITIALIZED),
    ("C_EncryptFinal", CKR_OPERATION_NOT_INITIALIZED),
    ("C_DecryptInit", CKR_ARGUMENTS_BAD),
    ("C_Decrypt", CKR_OPERATION_NOT_INITIALIZED),
    ("C_DecryptUpdate", CKR_OPERATION_NOT_INITIALIZED),
    ("C_DecryptFinal", CKR_OPERATION_NOT_INITIALIZED),
    ("C_SignInit", CKR_ARGUMENTS_BAD),
    ("C_Sign", CKR_OPERATION_NOT_INITIALIZED),
    ("C_SignUpdate", CKR_OPERATION_NOT_INITIALIZED),
    ("C_SignFinal", CKR_OPERATION_NOT_INITIALIZED),
    ("C_SignRecoverInit", CKR_ARGUMENTS_BAD),
    ("C_SignRecover", CKR_OPERATION_NOT_INITIALIZED),
    ("C_VerifyInit", CKR_ARGUMENTS_BAD),
    ("C_Verify", CKR_OPERATION_NOT_INITIALIZED),
    ("C_VerifyUpdate", CKR_OPERATION_NOT_INITIALIZED),
    ("C_VerifyFinal", CKR_OPERATION_NOT_INITIALIZED),
    ("C_VerifyRecoverInit", CKR_ARGUMENTS_BAD),
    ("C_VerifyRecover", CKR_OPERATION_NOT_INITIALIZED),
    ("C_DigestInit", CKR_ARGUMENTS_BAD),
    ("C_Digest", CKR_OPERATION_NOT_INITIALIZED),
    ("C_DigestUpdate", CKR_OPERATION_NOT_INITIALIZED),
    ("C_DigestKey", CKR_OPERATION_NOT_INITIALIZED),
    ("C_DigestFinal", CKR_OPERATION_NOT_INITIALIZED),
    ("C_DigestEncryptUpdate", CKR_OPERATION_NOT_INITIALIZED),
    ("C_DecryptDigestUpdate", CKR_OPERATION_NOT_INITIALIZED),
    ("C_SignEncryptUpdate", CKR_OPERATION_NOT_INITIALIZED),
    ("C_DecryptVerifyUpdate", CKR_OPERATION_NOT_INITIALIZED),
    ("C_GenerateKey", CKR_ARGUMENTS_BAD),
    ("C_GenerateKeyPair", CKR_ARGUMENTS_BAD),
    ("C_WrapKey", CKR_ARGUMENTS_BAD),
    ("C_UnwrapKey", CKR_ARGUMENTS_BAD),
    ("C_DeriveKey", CKR_ARGUMENTS_BAD),
    ("C_SeedRandom", CKR_RANDOM_SEED_NOT_SUPPORTED),
    ("C_GenerateRandom", CKR_OK),
    ("C_MessageSignInit", CKR_ARGUMENTS_BAD),
    ("C_SignMessage", CKR_OPERATION_NOT_INITIALIZED),
    ("C_SignMessageBegin", CKR_OPERATION_NOT_INITIALIZED),
    ("C_SignMessageNext", CKR_OPERATION_NOT_INITIALIZED),
    ("C_MessageSignFinal", CKR_OPERATION_NOT_INITIALIZED),
    ("C_MessageVerifyInit", CKR_ARGUMENTS_BAD),
    ("C_VerifyMessage", CKR_OPERATION_NOT_INITIALIZED),
    ("C_VerifyMessageBegin", CKR_OPERATION_NOT_INITIALIZED),
    ("C_VerifyMessageNext", CKR_OPERATION_NOT_INITIALIZED),
    ("C_MessageVerifyFinal", CKR_OPERATION_NOT_INITIALIZED),
    ("C_EncapsulateKey", CKR_ARGUMENTS_BAD),
    ("C_DecapsulateKey", CKR_ARGUMENTS_BAD),
    ("C_VerifySignatureInit", CKR_ARGUMENTS_BAD),
    ("C_VerifySignature", CKR_OPERATION_NOT_INITIALIZED),
    ("C_VerifySignatureUpdate", CKR_OPERATION_NOT_INITIALIZED),
    ("C_VerifySignatureFinal", CKR_OPERATION_NOT_INITIALIZED),
    ("C_GetFunctionStatus", CKR_FUNCTION_NOT_PARALLEL),
    ("C_CancelFunction", CKR_FUNCTION_NOT_PARALLEL),
    ("C_WaitForSlotEvent", CKR_ARGUMENTS_BAD),
    ("C_SessionCancel", CKR_OK),
];

fn in_list(list: &[(&str, CK_RV)], name: &str) -> Option<CK_RV> {
    list.iter()
        .find(|(known, _)| *known == name)
        .map(|(_, rv)| *rv)
}

fn first_is(function: &Function, parameter: &str) -> bool {
    function.parameters.first() == Some(&parameter)
}

fn token() -> Arc<TestToken> {
    TestToken::new(&[], Settings::default())
}

#[test]
fn the_table_is_the_specification() {
    assert_eq!(FUNCTIONS.len(), 104);
    let mut names: Vec<_> = FUNCTIONS.iter().map(|function| function.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 104);
    for (name, _) in ALWAYS.iter().chain(REAL) {
        assert!(names.contains(name), "{name}");
    }
}

#[test]
fn nothing_works_before_initialize_and_after_finalize() {
    let _turn = turn();
    let check = || {
        for function in FUNCTIONS
            .iter()
            .filter(|function| function.name != "C_Initialize")
        {
            let expected = in_list(ALWAYS, function.name).unwrap_or(CKR_CRYPTOKI_NOT_INITIALIZED);
            for first in [0, 1, BAD] {
                assert_eq!(
                    unsafe { (function.call)(first) },
                    expected,
                    "{}",
                    function.name
                );
            }
        }
    };
    check();
    for _ in 0..3 {
        assert!(ctk_pkcs11::initialize_with(Source::new(&[token()])).is_ok());
        let session = open(0, CKF_SERIAL_SESSION);
        assert_eq!(unsafe { C_Finalize(null_mut()) }, CKR_OK);
        check();
        // Sessions do not survive into the next library.
        assert!(ctk_pkcs11::initialize_with(Source::new(&[token()])).is_ok());
        assert_eq!(
            unsafe { C_CloseSession(session) },
            CKR_SESSION_HANDLE_INVALID
        );
        assert!(
            open(0, CKF_SERIAL_SESSION) > session,
            "a handle was given out twice"
        );
        assert_eq!(unsafe { C_Finalize(null_mut()) }, CKR_OK);
    }
}

#[test]
fn every_function_withstands_null() {
    let module = Module::start(&[token()]);
    for function in FUNCTIONS {
        if ["C_Initialize", "C_Finalize"].contains(&function.name) {
            continue;
        }
        let first = if first_is(function, "hSession") {
            module.open()
        } else {
            0
        };
        let expected = in_list(REAL, function.name)
            .or_else(|| in_list(ALWAYS, function.name))
            .unwrap_or(CKR_FUNCTION_NOT_SUPPORTED);
        assert_eq!(
            unsafe { (function.call)(first) },
            expected,
            "{}",
            function.name
        );
    }
    assert_eq!(
        unsafe { C_Initialize(null_mut()) },
        CKR_CRYPTOKI_ALREADY_INITIALIZED
    );
}

#[test]
fn every_function_refuses_a_bad_handle_and_slot() {
    let _module = Module::start(&[token()]);
    for (name, _) in REAL {
        let function = FUNCTIONS
            .iter()
            .find(|function| function.name == *name)
            .unwrap();
        let expected = if first_is(function, "hSession") {
            CKR_SESSION_HANDLE_INVALID
        } else if first_is(function, "slotID") {
            CKR_SLOT_ID_INVALID
        } else {
            continue;
        };
        assert_eq!(unsafe { (function.call)(BAD) }, expected, "{name}");
    }
}

#[test]
fn a_forked_child_has_to_initialize_and_does_not_disturb_its_parent() {
    let module = Module::start(&[TestToken::new(
        &[Identity::rsa(2048, 1)],
        Settings::default(),
    )]);
    let session = module.open_and_login();
    let child = unsafe { libc::fork() };
    if child == 0 {
        // No assertion here: a panic in the child would run the parent's test harness.
        let not_initialized = |function: &&Function| {
            let expected = in_list(ALWAYS, function.name).unwrap_or(CKR_CRYPTOKI_NOT_INITIALIZED);
            function.name == "C_Initialize" || unsafe { (function.call)(session) } == expected
        };
        let all = FUNCTIONS.iter().all(|function| not_initialized(&function));
        let started = ctk_pkcs11::initialize_with(Source::new(&[token()])).is_ok();
        let old = unsafe { C_CloseSession(session) } == CKR_SESSION_HANDLE_INVALID;
        let fresh = open(0, CKF_SERIAL_SESSION) != session;
        let ended = unsafe { C_Finalize(null_mut()) } == CKR_OK;
        unsafe { libc::_exit(i32::from(!(all && started && old && fresh && ended))) };
    }
    let mut status = -1;
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0);
    let mut info = unsafe { std::mem::zeroed::<CK_SESSION_INFO>() };
    assert_eq!(unsafe { C_GetSessionInfo(session, &raw mut info) }, CKR_OK);
    assert_eq!(info.state, CKS_RO_USER_FUNCTIONS);
}

#[test]
fn of_racing_threads_one_initializes_and_one_finalizes() {
    let _turn = turn();
    for _ in 0..50 {
        let race = |call: fn() -> bool| -> usize {
            std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(call)).collect();
                threads
                    .into_iter()
                    .map(|thread| usize::from(thread.join().unwrap()))
                    .sum()
            })
        };
        assert_eq!(
            race(|| ctk_pkcs11::initialize_with(Source::new(&[])).is_ok()),
            1
        );
        assert_eq!(race(|| unsafe { C_Finalize(null_mut()) } == CKR_OK), 1);
    }
}

#[test]
fn reserved_arguments_are_refused_and_not_followed() {
    let _module = Module::start(&[]);
    let garbage = std::ptr::dangling_mut::<std::ffi::c_void>();
    assert_eq!(unsafe { C_Finalize(garbage) }, CKR_ARGUMENTS_BAD);
    let mut slot = 0;
    let mut wait =
        |reserved| unsafe { C_WaitForSlotEvent(CKF_DONT_BLOCK, &raw mut slot, reserved) };
    assert_eq!(wait(garbage), CKR_ARGUMENTS_BAD);
    assert_eq!(unsafe { C_Finalize(null_mut()) }, CKR_OK);
    let mut arguments = unsafe { std::mem::zeroed::<CK_C_INITIALIZE_ARGS>() };
    arguments.pReserved = garbage;
    assert_eq!(
        unsafe { C_Initialize((&raw mut arguments).cast()) },
        CKR_ARGUMENTS_BAD
    );
    assert_eq!(
        unsafe { C_Finalize(null_mut()) },
        CKR_CRYPTOKI_NOT_INITIALIZED
    );
}

#[test]
fn a_panic_ends_at_the_c_abi() {
    struct Panics;
    impl ctk_pkcs11::SlotSource for Panics {
        fn slots(&self) -> Vec<Arc<dyn ctk_token::Slot>> {
            panic!("on purpose")
        }
        fn wait_for_change(&self, _: Instant) -> ctk_token::Result<ctk_token::Wait> {
            Err(ctk_token::TokenError::NotSupported)
        }
    }
    let _turn = turn();
    // C_Initialize asks for no slot.
    assert!(ctk_pkcs11::initialize_with(Box::new(Panics)).is_ok());
    let mut count = 0;
    for _ in 0..2 {
        let answer = unsafe { C_GetSlotList(CK_FALSE, null_mut(), &raw mut count) };
        assert_eq!(answer, CKR_GENERAL_ERROR);
    }
    // No lock is left behind.
    assert_eq!(unsafe { C_Finalize(null_mut()) }, CKR_OK);
}

#[test]
fn each_list_says_the_version_of_its_layout_and_so_does_its_information() {
    let _module = Module::start(&[]);
    let mut count = 0;
    let mut list = null_mut();
    unsafe {
        assert_eq!(C_GetFunctionList(&raw mut list), CKR_OK);
        let version = (*list).version;
        assert_eq!((version.major, version.minor), (2, 40));
        assert_eq!(C_GetInterfaceList(null_mut(), &raw mut count), CKR_OK);
        assert_eq!(count, 3);
        let mut interfaces = [std::mem::zeroed::<CK_INTERFACE>(); 3];
        count = 2;
        assert_eq!(
            C_GetInterfaceList(interfaces.as_mut_ptr(), &raw mut count),
            CKR_BUFFER_TOO_SMALL
        );
        assert_eq!(count, 3);
        assert_eq!(
            C_GetInterfaceList(interfaces.as_mut_ptr(), &raw mut count),
            CKR_OK
        );
        for (interface, expected) in interfaces.iter().zip([(3, 2), (3, 0), (2, 40)]) {
            let name = std::ffi::CStr::from_ptr(interface.pInterfaceName.cast());
            assert_eq!(name.to_bytes(), b"PKCS 11");
            // All three layouts begin alike.
            let list = &*interface.pFunctionList.cast::<CK_FUNCTION_LIST>();
            let mut info = std::mem::zeroed::<CK_INFO>();
            assert_eq!((list.C_GetInfo.unwrap())(&raw mut info), CKR_OK);
            for version in [list.version, info.cryptokiVersion] {
                assert_eq!((version.major, version.minor), expected);
            }
            assert_eq!(&info.manufacturerID, b"ctk-pkcs11                      ");
        }
    }
}

#[test]
fn interfaces_are_found_by_name_version_and_flags() {
    let ask = |name: Option<&std::ffi::CStr>, version: Option<(u8, u8)>, flags| unsafe {
        let mut version = version.map(|(major, minor)| CK_VERSION { major, minor });
        let mut interface = null_mut();
        let rv = C_GetInterface(
            name.map_or(null_mut(), |name| name.as_ptr().cast_mut().cast()),
            version.as_mut().map_or(null_mut(), std::ptr::from_mut),
            &raw mut interface,
            flags,
        );
        if rv != CKR_OK {
            return Err(rv);
        }
        let version = *(*interface).pFunctionList.cast::<CK_VERSION>();
        Ok((version.major, version.minor))
    };
    assert_eq!(ask(None, None, 0), Ok((3, 2)));
    assert_eq!(ask(Some(c"PKCS 11"), None, 0), Ok((3, 2)));
    assert_eq!(ask(Some(c"PKCS 11"), Some((3, 0)), 0), Ok((3, 0)));
    assert_eq!(ask(None, Some((2, 40)), 0), Ok((2, 40)));
    assert_eq!(ask(None, Some((3, 1)), 0), Err(CKR_ARGUMENTS_BAD));
    assert_eq!(ask(Some(c"PKCS 11 "), None, 0), Err(CKR_ARGUMENTS_BAD));
    assert_eq!(ask(Some(c"Vendor"), None, 0), Err(CKR_ARGUMENTS_BAD));
    assert_eq!(
        ask(Some(c"PKCS 11"), None, CKF_INTERFACE_FORK_SAFE),
        Err(CKR_ARGUMENTS_BAD)
    );
}

#[test]
fn a_driver_that_calls_back_while_the_library_is_made_gets_an_error() {
    struct Recursive;
    impl ctk_pkcs11::SlotSource for Recursive {
        fn slots(&self) -> Vec<Arc<dyn ctk_token::Slot>> {
            let again = ctk_pkcs11::initialize_with(Source::new(&[]));
            assert_eq!(again, Err(ctk_pkcs11::error::Error::FunctionFailed));
            assert_eq!(unsafe { C_Initialize(null_mut()) }, CKR_FUNCTION_FAILED);
            assert_eq!(
                unsafe { C_Finalize(null_mut()) },
                CKR_CRYPTOKI_NOT_INITIALIZED
            );
            Vec::new()
        }
        fn wait_for_change(&self, _: Instant) -> ctk_token::Result<ctk_token::Wait> {
            Err(ctk_token::TokenError::NotSupported)
        }
    }
    let _turn = turn();
    assert_eq!(ctk_pkcs11::initialize_with(Box::new(Recursive)), Ok(()));
    assert_eq!(unsafe { C_Finalize(null_mut()) }, CKR_OK);
    // The guard is open again.
    assert_eq!(ctk_pkcs11::initialize_with(Source::new(&[])), Ok(()));
    assert_eq!(unsafe { C_Finalize(null_mut()) }, CKR_OK);
}

/// The slots of a host without tokens, and until when they were waited for.
struct Watched {
    host: ctk_host::Host,
    deadlines: Arc<Mutex<Vec<Instant>>>,
}

impl ctk_pkcs11::SlotSource for Watched {
    fn slots(&self) -> Vec<Arc<dyn ctk_token::Slot>> {
        self.host.slots()
    }
    fn wait_for_change(&self, deadline: Instant) -> ctk_token::Result<ctk_token::Wait> {
        self.deadlines.lock().unwrap().push(deadline);
        self.host.wait_for_change(deadline)
    }
}

/// A thread in a C_WaitForSlotEvent that blocks.
struct Waiting {
    thread: JoinHandle<CK_RV>,
    /// Its folder below /proc.
    task: PathBuf,
}

impl Waiting {
    fn start() -> Self {
        let (sender, receiver) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let task = std::fs::read_link("/proc/thread-self").unwrap();
            sender.send(task).unwrap();
            let mut slot = 0;
            unsafe { C_WaitForSlotEvent(0, &raw mut slot, null_mut()) }
        });
        let task = Path::new("/proc").join(receiver.recv().unwrap());
        Self { thread, task }
    }

    /// The kernel says that it sleeps: "TID (name) S …".
    fn sleeps(&self) -> bool {
        let stat = std::fs::read_to_string(self.task.join("stat")).unwrap();
        let (_, after_name) = stat.rsplit_once(") ").unwrap();
        after_name.starts_with('S')
    }

    fn ends_with(self, rv: CK_RV) {
        assert_eq!(self.thread.join().unwrap(), rv);
    }
}

#[test]
fn finalize_wakes_who_waits_for_the_configured_slots() {
    let _turn = turn();
    let woken_before_its_deadline = || {
        let deadlines = Arc::new(Mutex::new(Vec::new()));
        let host = ctk_host::Host::of_tokens(Vec::new(), &ctk_host::Environment::empty());
        let source = Watched {
            host,
            deadlines: Arc::clone(&deadlines),
        };
        assert_eq!(ctk_pkcs11::initialize_with(Box::new(source)), Ok(()));
        let waiting = Waiting::start();
        eventually(|| !deadlines.lock().unwrap().is_empty() && waiting.sleeps());
        assert_eq!(unsafe { C_Finalize(null_mut()) }, CKR_OK);
        waiting.ends_with(CKR_CRYPTOKI_NOT_INITIALIZED);
        let ended = Instant::now();
        let last = deadlines.lock().unwrap().last().copied().unwrap();
        ended < last
    };
    // Who is not woken never ends before the deadline; who is may be late on a busy machine, but not
    // each time.
    eventually(woken_before_its_deadline);
}

#[test]
fn a_blocking_wait_ends_with_finalize_and_tells_insertions() {
    let token = token();
    let module = Module::start(std::slice::from_ref(&token));
    let mut slot = BAD;
    let mut poll = || unsafe { C_WaitForSlotEvent(CKF_DONT_BLOCK, &raw mut slot, null_mut()) };
    assert_eq!(poll(), CKR_NO_EVENT);
    token
        .present
        .store(false, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(poll(), CKR_OK);
    assert_eq!(poll(), CKR_NO_EVENT);
    assert_eq!(slot, 0);
    let waiting = Waiting::start();
    eventually(|| waiting.sleeps());
    drop(module);
    waiting.ends_with(CKR_CRYPTOKI_NOT_INITIALIZED);
}
