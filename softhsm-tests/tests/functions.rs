//! Every function of PKCS#11 3.2 in every state that a program can bring the module into: one table, one loop for each state.

use std::{ffi::c_void, ptr};

use cryptoki_sys::*;
use softhsm_tests::{
    bed::{Bed, Kind, PIN},
    isolated::isolated,
    module::Module,
};

/// What an argument is.
#[derive(Clone, Copy, Debug)]
enum Argument {
    /// A session handle.
    Session,
    /// A slot number.
    Slot,
    /// A pointer to something that the module reads or writes.
    Pointer,
    /// A pointer to a CK_ULONG that says how much room there is.
    Room,
    /// How many bytes or entries the pointer before it goes to.
    Count,
    /// A pointer that has to be NULL.
    Reserved,
    /// Any other value.
    Value(usize),
}

use Argument::{Count, Pointer, Reserved, Room, Session as S, Slot, Value};

const ANY: Argument = Value(0);
/// The flags with which a session is opened.
const SERIAL: Argument = Value(CKF_SERIAL_SESSION as usize);
const DONT_BLOCK: Argument = Value(CKF_DONT_BLOCK as usize);
const RSA_PKCS: Argument = Value(CKM_RSA_PKCS as usize);
const USER: Argument = Value(CKU_USER as usize);

/// One function, and what it answers.
struct Row {
    name: &'static str,
    arguments: &'static [Argument],
    /// Before C_Initialize, after C_Finalize and in a child after fork.
    uninitialised: CK_RV,
    /// With a good session or slot and NULL for every pointer. Where the specification leaves the order of checks open, each right answer.
    null: &'static [CK_RV],
    /// With a session or slot that does not exist, and with good pointers.
    handle: CK_RV,
}

const NOT_INITIALISED: CK_RV = CKR_CRYPTOKI_NOT_INITIALIZED;

const fn row(
    name: &'static str,
    arguments: &'static [Argument],
    null: &'static [CK_RV],
    handle: CK_RV,
) -> Row {
    Row {
        name,
        arguments,
        uninitialised: NOT_INITIALISED,
        null,
        handle,
    }
}

/// A function that takes a session.
const fn on_session(
    name: &'static str,
    arguments: &'static [Argument],
    null: &'static [CK_RV],
) -> Row {
    row(name, arguments, null, CKR_SESSION_HANDLE_INVALID)
}

/// A function that takes a slot.
const fn on_slot(
    name: &'static str,
    arguments: &'static [Argument],
    null: &'static [CK_RV],
) -> Row {
    row(name, arguments, null, CKR_SLOT_ID_INVALID)
}

/// A function that works before C_Initialize.
const fn always(name: &'static str, arguments: &'static [Argument]) -> Row {
    Row {
        name,
        arguments,
        uninitialised: CKR_OK,
        null: &[CKR_ARGUMENTS_BAD],
        handle: CKR_OK,
    }
}

/// A function that this release does not have.
const fn unsupported(name: &'static str) -> Row {
    const ALL: &[Argument] = &[S, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY];
    row(
        name,
        ALL,
        &[CKR_FUNCTION_NOT_SUPPORTED],
        CKR_FUNCTION_NOT_SUPPORTED,
    )
}

const BAD: &[CK_RV] = &[CKR_ARGUMENTS_BAD];
const NO_OPERATION: &[CK_RV] = &[CKR_OPERATION_NOT_INITIALIZED];
const BAD_OR_NO_OPERATION: &[CK_RV] = &[CKR_ARGUMENTS_BAD, CKR_OPERATION_NOT_INITIALIZED];
const BAD_OR_NO_OBJECT: &[CK_RV] = &[CKR_ARGUMENTS_BAD, CKR_OBJECT_HANDLE_INVALID];

/// A mechanism and a key. NULL as mechanism ends the running operation (PKCS#11 3.0); here there is none, and so an
/// argument is missing.
const INIT: &[Argument] = &[S, Pointer, ANY];
const INPUT: &[Argument] = &[S, Pointer, Count];
const OUTPUT: &[Argument] = &[S, Pointer, Room];
const INPUT_AND_OUTPUT: &[Argument] = &[S, Pointer, Count, Pointer, Room];

/// C_Initialize changes the state, so it has tests of its own below; all others stand here in the order of the lists.
const FUNCTIONS: &[Row] = &[
    // Reserved stays NULL, so "NULL arguments" is its right use; another pointer is tested below.
    row("C_Finalize", &[Reserved], &[CKR_OK], CKR_OK),
    row("C_GetInfo", &[Pointer], BAD, CKR_OK),
    always("C_GetFunctionList", &[Pointer]),
    row("C_GetSlotList", &[ANY, Pointer, Room], BAD, CKR_OK),
    on_slot("C_GetSlotInfo", &[Slot, Pointer], BAD),
    on_slot("C_GetTokenInfo", &[Slot, Pointer], BAD),
    on_slot("C_GetMechanismList", &[Slot, Pointer, Room], BAD),
    on_slot("C_GetMechanismInfo", &[Slot, RSA_PKCS, Pointer], BAD),
    unsupported("C_InitToken"),
    on_session("C_InitPIN", &[S, Pointer, Count], &[CKR_USER_NOT_LOGGED_IN]),
    on_session(
        "C_SetPIN",
        &[S, Pointer, Count, Pointer, Count],
        &[CKR_ARGUMENTS_BAD, CKR_SESSION_READ_ONLY],
    ),
    on_slot(
        "C_OpenSession",
        &[Slot, SERIAL, Pointer, Pointer, Pointer],
        BAD,
    ),
    on_session("C_CloseSession", &[S], &[CKR_OK]),
    on_slot("C_CloseAllSessions", &[Slot], &[CKR_OK]),
    on_session("C_GetSessionInfo", &[S, Pointer], BAD),
    unsupported("C_GetOperationState"),
    unsupported("C_SetOperationState"),
    on_session("C_Login", &[S, USER, Pointer, Count], BAD),
    on_session("C_Logout", &[S], &[CKR_USER_NOT_LOGGED_IN]),
    on_session("C_CreateObject", &[S, Pointer, Count, Pointer], BAD),
    on_session(
        "C_CopyObject",
        &[S, ANY, Pointer, Count, Pointer],
        BAD_OR_NO_OBJECT,
    ),
    on_session("C_DestroyObject", &[S, ANY], &[CKR_OBJECT_HANDLE_INVALID]),
    on_session("C_GetObjectSize", &[S, ANY, Pointer], BAD_OR_NO_OBJECT),
    on_session(
        "C_GetAttributeValue",
        &[S, ANY, Pointer, Count],
        &[CKR_ARGUMENTS_BAD, CKR_OBJECT_HANDLE_INVALID],
    ),
    on_session(
        "C_SetAttributeValue",
        &[S, ANY, Pointer, Count],
        BAD_OR_NO_OBJECT,
    ),
    on_session("C_FindObjectsInit", &[S, Pointer, Count], BAD),
    on_session(
        "C_FindObjects",
        &[S, Pointer, Count, Room],
        BAD_OR_NO_OPERATION,
    ),
    on_session("C_FindObjectsFinal", &[S], &[CKR_OPERATION_NOT_INITIALIZED]),
    on_session("C_EncryptInit", INIT, BAD),
    on_session("C_Encrypt", INPUT_AND_OUTPUT, BAD_OR_NO_OPERATION),
    on_session("C_EncryptUpdate", INPUT_AND_OUTPUT, BAD_OR_NO_OPERATION),
    on_session("C_EncryptFinal", OUTPUT, BAD_OR_NO_OPERATION),
    on_session("C_DecryptInit", INIT, BAD),
    on_session("C_Decrypt", INPUT_AND_OUTPUT, BAD_OR_NO_OPERATION),
    on_session("C_DecryptUpdate", INPUT_AND_OUTPUT, BAD_OR_NO_OPERATION),
    on_session("C_DecryptFinal", OUTPUT, BAD_OR_NO_OPERATION),
    on_session("C_DigestInit", &[S, Pointer], BAD),
    on_session("C_Digest", INPUT_AND_OUTPUT, BAD_OR_NO_OPERATION),
    on_session("C_DigestUpdate", INPUT, BAD_OR_NO_OPERATION),
    on_session("C_DigestKey", &[S, ANY], NO_OPERATION),
    on_session("C_DigestFinal", OUTPUT, BAD_OR_NO_OPERATION),
    on_session("C_SignInit", INIT, BAD),
    on_session("C_Sign", INPUT_AND_OUTPUT, BAD_OR_NO_OPERATION),
    on_session("C_SignUpdate", INPUT, BAD_OR_NO_OPERATION),
    on_session("C_SignFinal", OUTPUT, BAD_OR_NO_OPERATION),
    on_session("C_SignRecoverInit", INIT, BAD),
    on_session("C_SignRecover", INPUT_AND_OUTPUT, BAD_OR_NO_OPERATION),
    on_session("C_VerifyInit", INIT, BAD),
    on_session(
        "C_Verify",
        &[S, Pointer, Count, Pointer, Count],
        BAD_OR_NO_OPERATION,
    ),
    on_session("C_VerifyUpdate", INPUT, BAD_OR_NO_OPERATION),
    on_session("C_VerifyFinal", INPUT, BAD_OR_NO_OPERATION),
    on_session("C_VerifyRecoverInit", INIT, BAD),
    on_session("C_VerifyRecover", INPUT_AND_OUTPUT, BAD_OR_NO_OPERATION),
    on_session(
        "C_DigestEncryptUpdate",
        INPUT_AND_OUTPUT,
        BAD_OR_NO_OPERATION,
    ),
    on_session(
        "C_DecryptDigestUpdate",
        INPUT_AND_OUTPUT,
        BAD_OR_NO_OPERATION,
    ),
    on_session("C_SignEncryptUpdate", INPUT_AND_OUTPUT, BAD_OR_NO_OPERATION),
    on_session(
        "C_DecryptVerifyUpdate",
        INPUT_AND_OUTPUT,
        BAD_OR_NO_OPERATION,
    ),
    on_session("C_GenerateKey", &[S, Pointer, Pointer, Count, Pointer], BAD),
    on_session(
        "C_GenerateKeyPair",
        &[S, Pointer, Pointer, Count, Pointer, Count, Pointer, Pointer],
        BAD,
    ),
    on_session("C_WrapKey", &[S, Pointer, ANY, ANY, Pointer, Room], BAD),
    on_session(
        "C_UnwrapKey",
        &[S, Pointer, ANY, Pointer, Count, Pointer, Count, Pointer],
        BAD,
    ),
    on_session(
        "C_DeriveKey",
        &[S, Pointer, ANY, Pointer, Count, Pointer],
        BAD,
    ),
    on_session(
        "C_SeedRandom",
        &[S, Pointer, Count],
        &[CKR_ARGUMENTS_BAD, CKR_RANDOM_SEED_NOT_SUPPORTED],
    ),
    on_session("C_GenerateRandom", &[S, Pointer, Count], BAD),
    on_session("C_GetFunctionStatus", &[S], &[CKR_FUNCTION_NOT_PARALLEL]),
    on_session("C_CancelFunction", &[S], &[CKR_FUNCTION_NOT_PARALLEL]),
    row(
        "C_WaitForSlotEvent",
        &[DONT_BLOCK, Pointer, Reserved],
        BAD,
        CKR_NO_EVENT,
    ),
    always("C_GetInterfaceList", &[Pointer, Room]),
    always("C_GetInterface", &[Reserved, Reserved, Pointer, ANY]),
    on_session(
        "C_LoginUser",
        &[S, USER, Pointer, Count, Pointer, Count],
        BAD,
    ),
    on_session("C_SessionCancel", &[S, ANY], &[CKR_OK]),
    unsupported("C_MessageEncryptInit"),
    unsupported("C_EncryptMessage"),
    unsupported("C_EncryptMessageBegin"),
    unsupported("C_EncryptMessageNext"),
    unsupported("C_MessageEncryptFinal"),
    unsupported("C_MessageDecryptInit"),
    unsupported("C_DecryptMessage"),
    unsupported("C_DecryptMessageBegin"),
    unsupported("C_DecryptMessageNext"),
    unsupported("C_MessageDecryptFinal"),
    on_session("C_MessageSignInit", INIT, BAD),
    on_session(
        "C_SignMessage",
        &[S, Pointer, Count, Pointer, Count, Pointer, Room],
        BAD_OR_NO_OPERATION,
    ),
    on_session("C_SignMessageBegin", INPUT, BAD_OR_NO_OPERATION),
    on_session(
        "C_SignMessageNext",
        &[S, Pointer, Count, Pointer, Count, Pointer, Room],
        BAD_OR_NO_OPERATION,
    ),
    on_session("C_MessageSignFinal", &[S], NO_OPERATION),
    on_session("C_MessageVerifyInit", INIT, BAD),
    on_session(
        "C_VerifyMessage",
        &[S, Pointer, Count, Pointer, Count, Pointer, Count],
        BAD_OR_NO_OPERATION,
    ),
    on_session("C_VerifyMessageBegin", INPUT, BAD_OR_NO_OPERATION),
    on_session(
        "C_VerifyMessageNext",
        &[S, Pointer, Count, Pointer, Count, Pointer, Count],
        BAD_OR_NO_OPERATION,
    ),
    on_session("C_MessageVerifyFinal", &[S], NO_OPERATION),
    on_session(
        "C_EncapsulateKey",
        &[S, Pointer, ANY, Pointer, Count, Pointer, Room, Pointer],
        BAD,
    ),
    on_session(
        "C_DecapsulateKey",
        &[S, Pointer, ANY, Pointer, Count, Pointer, Count, Pointer],
        BAD,
    ),
    on_session(
        "C_VerifySignatureInit",
        &[S, Pointer, ANY, Pointer, Count],
        BAD,
    ),
    on_session("C_VerifySignature", INPUT, BAD_OR_NO_OPERATION),
    on_session("C_VerifySignatureUpdate", INPUT, BAD_OR_NO_OPERATION),
    on_session("C_VerifySignatureFinal", &[S], NO_OPERATION),
    on_session("C_GetSessionValidationFlags", &[S, ANY, Pointer], BAD),
    unsupported("C_AsyncComplete"),
    unsupported("C_AsyncGetID"),
    unsupported("C_AsyncJoin"),
    unsupported("C_WrapKeyAuthenticated"),
    unsupported("C_UnwrapKeyAuthenticated"),
];

/// Memory for every pointer of a call: one page each, zeroed.
struct Pages(Vec<[u64; 512]>);

impl Pages {
    fn new() -> Self {
        Self(vec![[0; 512]; 10])
    }

    /// The arguments with a session and a slot as given; pointers go to zeroed memory.
    fn arguments(&mut self, row: &Row, session: usize, slot: usize) -> Vec<usize> {
        row.arguments
            .iter()
            .zip(&mut self.0)
            .map(|(argument, page)| match argument {
                S => session,
                Slot => slot,
                Pointer => page.as_mut_ptr() as usize,
                Room => {
                    page[0] = 256;
                    page.as_mut_ptr() as usize
                }
                Count => 1,
                Reserved => 0,
                Value(value) => *value,
            })
            .collect()
    }
}

/// The arguments with NULL for every pointer.
fn null_arguments(row: &Row, session: usize, slot: usize) -> Vec<usize> {
    row.arguments
        .iter()
        .map(|argument| match argument {
            S => session,
            Slot => slot,
            Pointer | Room | Reserved => 0,
            Count => 1,
            Value(value) => *value,
        })
        .collect()
}

/// Every function answers as before C_Initialize, whatever its arguments are.
fn assert_uninitialised(module: &Module, state: &str) {
    for row in FUNCTIONS {
        let rv = module.call(row.name, &Pages::new().arguments(row, 1, 0));
        assert_eq!(rv, row.uninitialised, "{} {state}", row.name);
        if row.uninitialised == NOT_INITIALISED {
            let rv = module.call(row.name, &null_arguments(row, 0, 0));
            assert_eq!(
                rv, row.uninitialised,
                "{} {state}, with NULL arguments",
                row.name
            );
        }
    }
}

fn initialise(module: &Module) {
    assert_eq!(module.call("C_Initialize", &[0]), CKR_OK, "C_Initialize");
}

fn first_slot(module: &Module) -> usize {
    let mut slots = [0usize; 16];
    let mut count = slots.len();
    let rv = module.call(
        "C_GetSlotList",
        &[1, slots.as_mut_ptr() as usize, &raw mut count as usize],
    );
    assert_eq!(rv, CKR_OK, "C_GetSlotList");
    assert!(count > 0, "no token");
    slots[0]
}

fn open_session(module: &Module, slot: usize) -> usize {
    let mut session = 0usize;
    let flags = CKF_SERIAL_SESSION as usize;
    let rv = module.call(
        "C_OpenSession",
        &[slot, flags, 0, 0, &raw mut session as usize],
    );
    assert_eq!(rv, CKR_OK, "C_OpenSession");
    session
}

/// What `body` answers in a child of this process; a child that crashes or hangs fails the test.
fn in_child(body: impl FnOnce()) {
    // SAFETY: the child runs only the module and code that needs no other thread, and leaves by _exit.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork");
    if child == 0 {
        // SAFETY: a plain system call. A child that hangs ends by SIGALRM, which is in its status.
        unsafe { libc::alarm(60) };
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        // SAFETY: a plain system call.
        unsafe { libc::_exit(i32::from(result.is_err())) };
    }
    let mut status = 0;
    // SAFETY: the child is ours, the status has its room.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0, "the child ended with {status:#x}");
}

fn one_token() -> Bed {
    Bed::with(&[Kind::P256]).0
}

#[test]
fn the_table_is_the_list_of_pkcs11_3_2() {
    let module = Module::load();
    let wanted: Vec<_> = std::iter::once("C_Initialize")
        .chain(FUNCTIONS.iter().map(|row| row.name))
        .collect();
    assert_eq!(wanted.len(), 104);
    let version = CK_VERSION { major: 3, minor: 2 };
    let interface = module.interface(None, Some(version), 0).expect("3.2");
    let list = softhsm_tests::module::functions_of(interface, wanted.len());
    assert_eq!(
        (wanted.len() + 1) * size_of::<usize>(),
        size_of::<CK_FUNCTION_LIST_3_2>()
    );
    for (name, address) in wanted.iter().zip(list) {
        assert_eq!(
            module.symbol(name),
            Some(address),
            "{name} is another function in the list"
        );
    }
}

#[test]
fn before_initialisation() {
    isolated("before_initialisation", one_token, || {
        assert_uninitialised(&Module::load(), "before C_Initialize");
    });
}

#[test]
fn after_finalisation() {
    isolated("after_finalisation", one_token, || {
        let module = Module::load();
        initialise(&module);
        let session = open_session(&module, first_slot(&module));
        assert_ne!(session, 0);
        assert_eq!(module.call("C_Finalize", &[0]), CKR_OK);
        assert_uninitialised(&module, "after C_Finalize");
    });
}

#[test]
fn in_a_forked_child() {
    isolated("in_a_forked_child", one_token, || {
        let module = Module::load();
        initialise(&module);
        let slot = first_slot(&module);
        let session = open_session(&module, slot);
        let pin = PIN.as_bytes();
        let login = [session, CKU_USER as usize, pin.as_ptr() as usize, pin.len()];
        assert_eq!(module.call("C_Login", &login), CKR_OK, "C_Login");
        in_child(|| {
            assert_uninitialised(&module, "in a child");
            // The child may start for itself, and then has neither sessions nor a login.
            initialise(&module);
            let mut information = [0u64; 64];
            let rv = module.call(
                "C_GetSessionInfo",
                &[session, information.as_mut_ptr() as usize],
            );
            assert_eq!(rv, CKR_SESSION_HANDLE_INVALID, "an inherited session");
            let own = open_session(&module, first_slot(&module));
            assert_eq!(
                module.call("C_Logout", &[own]),
                CKR_USER_NOT_LOGGED_IN,
                "an inherited login"
            );
            let login = [own, CKU_USER as usize, pin.as_ptr() as usize, pin.len()];
            assert_eq!(
                module.call("C_Login", &login),
                CKR_OK,
                "C_Login in the child"
            );
            assert_eq!(
                module.call("C_Finalize", &[0]),
                CKR_OK,
                "C_Finalize in the child"
            );
        });
        // The parent has noticed nothing.
        assert_eq!(module.call("C_Login", &login), CKR_USER_ALREADY_LOGGED_IN);
        assert_eq!(module.call("C_Logout", &[session]), CKR_OK);
    });
}

#[test]
fn with_null_arguments() {
    isolated("with_null_arguments", one_token, || {
        let module = Module::load();
        initialise(&module);
        let slot = first_slot(&module);
        for row in FUNCTIONS {
            let session = open_session(&module, slot);
            let rv = module.call(row.name, &null_arguments(row, session, slot));
            assert!(
                row.null.contains(&rv),
                "{}: {rv:#x} is not one of {:x?}",
                row.name,
                row.null
            );
            if row.name == "C_Finalize" {
                initialise(&module);
            }
            module.call("C_CloseAllSessions", &[slot]);
        }
    });
}

#[test]
fn with_handles_that_do_not_exist() {
    isolated("with_handles_that_do_not_exist", one_token, || {
        let module = Module::load();
        initialise(&module);
        open_session(&module, first_slot(&module));
        // 0 is CK_INVALID_HANDLE, and the last is CK_UNAVAILABLE_INFORMATION. Slot 0 may exist.
        for (handle, slot) in [(0, 0xDEAD), (0xDEAD, 0xDEAD), (usize::MAX, usize::MAX)] {
            for row in FUNCTIONS {
                let rv = module.call(row.name, &Pages::new().arguments(row, handle, slot));
                assert_eq!(rv, row.handle, "{} with handle {handle:#x}", row.name);
                if row.name == "C_Finalize" {
                    initialise(&module);
                    open_session(&module, first_slot(&module));
                }
            }
        }
    });
}

/// Addresses that a module must not look at.
const GARBAGE: [usize; 4] = [1, 0xDEAD_BEEF, 0x8000_0000_0000_0000, usize::MAX];

#[test]
fn reserved_pointers_are_refused_unread() {
    isolated("reserved_pointers_are_refused_unread", one_token, || {
        let module = Module::load();
        for garbage in GARBAGE {
            let arguments = CK_C_INITIALIZE_ARGS {
                CreateMutex: None,
                DestroyMutex: None,
                LockMutex: None,
                UnlockMutex: None,
                flags: CKF_OS_LOCKING_OK,
                pReserved: garbage as *mut c_void,
            };
            let rv = module.call("C_Initialize", &[&raw const arguments as usize]);
            assert_eq!(
                rv, CKR_ARGUMENTS_BAD,
                "C_Initialize with pReserved {garbage:#x}"
            );
            // What failed has changed nothing.
            assert_eq!(module.call("C_Finalize", &[0]), NOT_INITIALISED);
            initialise(&module);
            let session = open_session(&module, first_slot(&module));
            assert_eq!(module.call("C_Finalize", &[garbage]), CKR_ARGUMENTS_BAD);
            let mut slot = 0usize;
            for flags in [0, CKF_DONT_BLOCK as usize] {
                let rv = module.call(
                    "C_WaitForSlotEvent",
                    &[flags, &raw mut slot as usize, garbage],
                );
                assert_eq!(rv, CKR_ARGUMENTS_BAD, "C_WaitForSlotEvent");
            }
            let mut information = [0u64; 64];
            let rv = module.call(
                "C_GetSessionInfo",
                &[session, information.as_mut_ptr() as usize],
            );
            assert_eq!(rv, CKR_OK, "the session is still there");
            assert_eq!(module.call("C_Finalize", &[0]), CKR_OK);
        }
    });
}

unsafe extern "C" fn create_mutex(_: *mut *mut c_void) -> CK_RV {
    CKR_OK
}

unsafe extern "C" fn with_mutex(_: *mut c_void) -> CK_RV {
    CKR_OK
}

#[test]
fn initialisation_takes_the_arguments_that_programs_give() {
    isolated(
        "initialisation_takes_the_arguments_that_programs_give",
        one_token,
        || {
            let module = Module::load();
            let locking = |callbacks: usize, flags: CK_FLAGS| CK_C_INITIALIZE_ARGS {
                CreateMutex: (callbacks > 0).then_some(create_mutex),
                DestroyMutex: (callbacks > 1).then_some(with_mutex),
                LockMutex: (callbacks > 2).then_some(with_mutex),
                UnlockMutex: (callbacks > 3).then_some(with_mutex),
                flags,
                pReserved: ptr::null_mut(),
            };
            let no_threads = CKF_LIBRARY_CANT_CREATE_OS_THREADS;
            let cases = [
                ("nothing said", locking(0, 0), CKR_OK),
                ("libp11, Java", locking(0, CKF_OS_LOCKING_OK), CKR_OK),
                (
                    "NSS, p11-kit",
                    locking(4, CKF_OS_LOCKING_OK | no_threads),
                    CKR_OK,
                ),
                (
                    "no threads",
                    locking(0, CKF_OS_LOCKING_OK | no_threads),
                    CKR_OK,
                ),
                ("only its own mutexes", locking(4, 0), CKR_CANT_LOCK),
                (
                    "one of four",
                    locking(1, CKF_OS_LOCKING_OK),
                    CKR_ARGUMENTS_BAD,
                ),
                ("three of four", locking(3, 0), CKR_ARGUMENTS_BAD),
            ];
            for (name, arguments, wanted) in cases {
                let arguments = &raw const arguments as usize;
                assert_eq!(module.call("C_Initialize", &[arguments]), wanted, "{name}");
                if wanted == CKR_OK {
                    let again = module.call("C_Initialize", &[arguments]);
                    assert_eq!(again, CKR_CRYPTOKI_ALREADY_INITIALIZED, "{name}");
                    assert_eq!(module.call("C_Finalize", &[0]), CKR_OK);
                }
                assert_eq!(module.call("C_Finalize", &[0]), NOT_INITIALISED, "{name}");
            }
        },
    );
}
