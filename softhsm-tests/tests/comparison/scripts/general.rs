//! C_Initialize and C_Finalize, slots and tokens, sessions, login, random numbers (PKCS#11 §5.4 to §5.6, §5.19).

use cryptoki_sys::*;
use softhsm_tests::bed::PIN;

use crate::script::{Arg, S, Script, Start, bytes};

const USER: Arg = Arg::Number(CKU_USER);
const SERIAL: u64 = CKF_SERIAL_SESSION;
const BOTH: u64 = CKF_SERIAL_SESSION | CKF_RW_SESSION;

pub fn all() -> Vec<Script> {
    vec![
        initialise(),
        slots(),
        sessions(),
        read_write_sessions(),
        random(),
        older_functions(),
    ]
}

fn initialise() -> Script {
    let mut s = Script::new("initialise", Start::Loaded);
    s.call("finalize before initialize", "C_Finalize", [Arg::Null]);
    s.call("info before initialize", "C_GetInfo", [Arg::Structure(512)]);
    s.call(
        "open before initialize",
        "C_OpenSession",
        [
            Arg::Number(0),
            Arg::Number(SERIAL),
            Arg::Null,
            Arg::Null,
            Arg::New("x"),
        ],
    );
    for (title, flags, callbacks, reserved) in [
        ("reserved is set", CKF_OS_LOCKING_OK, 0, 8),
        ("one callback of four", 0, 1, 0),
        ("three callbacks of four", CKF_OS_LOCKING_OK, 3, 0),
        ("OS locking", CKF_OS_LOCKING_OK, 0, 0),
        ("no threads", CKF_LIBRARY_CANT_CREATE_OS_THREADS, 0, 0),
        ("own callbacks and OS locking", CKF_OS_LOCKING_OK, 4, 0),
        ("own callbacks alone", 0, 4, 0),
        ("unknown flag", 1 << 20, 0, 0),
    ] {
        s.call(
            title,
            "C_Initialize",
            [Arg::Initialize(flags, callbacks, reserved)],
        );
        s.call(format!("again after {title}"), "C_Initialize", [Arg::Null]);
        s.call(
            format!("finalize with an argument after {title}"),
            "C_Finalize",
            [Arg::Number(8)],
        );
        s.call(format!("finalize after {title}"), "C_Finalize", [Arg::Null]);
        s.call(
            format!("finalize again after {title}"),
            "C_Finalize",
            [Arg::Null],
        );
    }
    s.call("NULL", "C_Initialize", [Arg::Null]);
    s.call("info to NULL", "C_GetInfo", [Arg::Null]);
    s.call("info", "C_GetInfo", [Arg::Structure(512)]);
    s
}

fn slots() -> Script {
    let mut s = Script::new("slots", Start::Initialised);
    const GONE: Arg = Arg::Number(0x7fff_ffff_0000);
    s.call(
        "list to NULL",
        "C_GetSlotList",
        [Arg::Number(1), Arg::Null, Arg::Null],
    );
    s.call(
        "list into no room",
        "C_GetSlotList",
        [Arg::Number(0), Arg::Room(0)],
    );
    for function in ["C_GetSlotInfo", "C_GetTokenInfo"] {
        s.call(
            format!("{function} to NULL"),
            function,
            [Arg::Slot, Arg::Null],
        );
        s.call(
            format!("{function} of no slot"),
            function,
            [GONE, Arg::Structure(512)],
        );
        s.call(
            format!("{function} of no slot to NULL"),
            function,
            [GONE, Arg::Null],
        );
        s.call(function, function, [Arg::Slot, Arg::Structure(512)]);
    }
    s.call(
        "mechanisms to NULL",
        "C_GetMechanismList",
        [Arg::Slot, Arg::Null, Arg::Null],
    );
    s.call(
        "mechanisms into no room",
        "C_GetMechanismList",
        [Arg::Slot, Arg::Structure(8), Arg::Null],
    );
    s.call(
        "mechanisms of no slot",
        "C_GetMechanismList",
        [GONE, Arg::Query],
    );
    s.call(
        "mechanism to NULL",
        "C_GetMechanismInfo",
        [Arg::Slot, Arg::Number(CKM_RSA_PKCS), Arg::Null],
    );
    s.call(
        "unknown mechanism",
        "C_GetMechanismInfo",
        [Arg::Slot, Arg::Number(0x7fff_0000), Arg::Structure(64)],
    );
    s.call(
        "mechanism of no slot",
        "C_GetMechanismInfo",
        [GONE, Arg::Number(CKM_RSA_PKCS), Arg::Structure(64)],
    );
    for (name, kind) in [
        ("CKM_RSA_PKCS", CKM_RSA_PKCS),
        ("CKM_ECDSA", CKM_ECDSA),
        ("CKM_SHA256", CKM_SHA256),
        ("CKM_AES_CBC", CKM_AES_CBC),
        ("CKM_MD5", CKM_MD5),
        ("CKM_DES3_CBC", CKM_DES3_CBC),
    ] {
        s.call(
            name,
            "C_GetMechanismInfo",
            [Arg::Slot, Arg::Number(kind), Arg::Structure(64)],
        );
    }
    s.call(
        "event",
        "C_WaitForSlotEvent",
        [Arg::Number(CKF_DONT_BLOCK), Arg::Structure(8), Arg::Null],
    );
    s.call(
        "event with a reserved argument",
        "C_WaitForSlotEvent",
        [
            Arg::Number(CKF_DONT_BLOCK),
            Arg::Structure(8),
            Arg::Number(8),
        ],
    );
    s.call(
        "event to NULL",
        "C_WaitForSlotEvent",
        [Arg::Number(CKF_DONT_BLOCK), Arg::Null, Arg::Null],
    );
    s
}

fn sessions() -> Script {
    let mut s = Script::new("sessions", Start::Initialised);
    let open = |flags, name| {
        [
            Arg::Slot,
            Arg::Number(flags),
            Arg::Null,
            Arg::Null,
            Arg::New(name),
        ]
    };
    s.call("not serial", "C_OpenSession", open(0, "x"));
    s.call(
        "not serial, read-write",
        "C_OpenSession",
        open(CKF_RW_SESSION, "x"),
    );
    s.call(
        "no place for the handle",
        "C_OpenSession",
        [
            Arg::Slot,
            Arg::Number(SERIAL),
            Arg::Null,
            Arg::Null,
            Arg::Null,
        ],
    );
    s.call(
        "no slot",
        "C_OpenSession",
        [
            Arg::Number(0x7fff_ffff_0000),
            Arg::Number(SERIAL),
            Arg::Null,
            Arg::Null,
            Arg::New("x"),
        ],
    );
    s.call("unknown flag", "C_OpenSession", open(SERIAL | 1 << 30, "x"));
    s.call("read-only", "C_OpenSession", open(SERIAL, "a"));
    s.call("a second", "C_OpenSession", open(SERIAL, "b"));
    s.call(
        "info to NULL",
        "C_GetSessionInfo",
        [Arg::Handle("a"), Arg::Null],
    );
    s.call(
        "info",
        "C_GetSessionInfo",
        [Arg::Handle("a"), Arg::Structure(64)],
    );
    s.call(
        "info of no session",
        "C_GetSessionInfo",
        [Arg::Number(0), Arg::Structure(64)],
    );
    s.call(
        "info of no session to NULL",
        "C_GetSessionInfo",
        [Arg::Number(0xDEAD_BEEF), Arg::Null],
    );
    s.call("close", "C_CloseSession", [Arg::Handle("a")]);
    s.call("close again", "C_CloseSession", [Arg::Handle("a")]);
    s.call(
        "info of a closed one",
        "C_GetSessionInfo",
        [Arg::Handle("a"), Arg::Structure(64)],
    );
    s.call(
        "close all of no slot",
        "C_CloseAllSessions",
        [Arg::Number(0x7fff_ffff_0000)],
    );
    s.call("close all", "C_CloseAllSessions", [Arg::Slot]);
    s.call("close all again", "C_CloseAllSessions", [Arg::Slot]);
    s.call("the second is closed", "C_CloseSession", [Arg::Handle("b")]);
    s.call(
        "state to NULL",
        "C_GetOperationState",
        [Arg::Number(0), Arg::Query],
    );
    s
}

fn read_write_sessions() -> Script {
    let mut s = Script::new("read-write sessions", Start::Session);
    s.call(
        "open",
        "C_OpenSession",
        [
            Arg::Slot,
            Arg::Number(BOTH),
            Arg::Null,
            Arg::Null,
            Arg::New("rw"),
        ],
    );
    s.call("operation state", "C_GetOperationState", [S, Arg::Query]);
    s.call(
        "SO beside a read-only one",
        "C_Login",
        [Arg::Handle("rw"), Arg::Number(CKU_SO), bytes(PIN)],
    );
    s.call("user", "C_Login", [Arg::Handle("rw"), USER, bytes(PIN)]);
    s.call(
        "SO beside the user",
        "C_Login",
        [Arg::Handle("rw"), Arg::Number(CKU_SO), bytes(PIN)],
    );
    s.call("close", "C_CloseSession", [Arg::Handle("rw")]);
    s.call("still logged in", "C_Login", [S, USER, bytes(PIN)]);
    s.call("close all", "C_CloseAllSessions", [Arg::Slot]);
    s.call(
        "open again",
        "C_OpenSession",
        [
            Arg::Slot,
            Arg::Number(BOTH),
            Arg::Null,
            Arg::Null,
            Arg::New("again"),
        ],
    );
    s.call("logged out", "C_Logout", [Arg::Handle("again")]);
    s
}

fn random() -> Script {
    let mut s = Script::new("random", Start::Session);
    s.call("32 bytes", "C_GenerateRandom", [S, Arg::Fill(32)])
        .random();
    s.call("no bytes", "C_GenerateRandom", [S, Arg::Fill(0)]);
    s.call("to NULL", "C_GenerateRandom", [S, Arg::NullBytes(8)]);
    s.call("seed", "C_SeedRandom", [S, bytes("seed")]);
    s.call("seed of NULL", "C_SeedRandom", [S, Arg::NullBytes(4)]);
    s
}

fn older_functions() -> Script {
    let mut s = Script::new("functions without use", Start::Session);
    s.call("status", "C_GetFunctionStatus", [S]);
    s.call("cancel", "C_CancelFunction", [S]);
    s.call(
        "status of no session",
        "C_GetFunctionStatus",
        [Arg::Number(0)],
    );
    s.call(
        "state",
        "C_SetOperationState",
        [S, bytes("abc"), Arg::Number(0), Arg::Number(0)],
    );
    s
}
