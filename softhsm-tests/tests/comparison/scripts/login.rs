//! Login, and what of it ends with it (PKCS#11 §5.6.8 to §5.6.10, §5.5.9).

use cryptoki_sys::*;
use softhsm_tests::{
    bed::{PIN, WRONG_PIN},
    calls::Parameter,
};

use crate::script::{Arg, S, Script, Start, bytes};

const USER: Arg = Arg::Number(CKU_USER);
const SERIAL: u64 = CKF_SERIAL_SESSION;
const BOTH: u64 = CKF_SERIAL_SESSION | CKF_RW_SESSION;

pub fn all() -> Vec<Script> {
    vec![
        login(),
        login_states(),
        context_login(),
        pins(),
        handles_after_close(),
    ]
}

fn login() -> Script {
    let mut s = Script::new("login", Start::Session);
    s.call("logout before", "C_Logout", [S]);
    s.call("no such user", "C_Login", [S, Arg::Number(77), bytes(PIN)]);
    s.call("wrong PIN", "C_Login", [S, USER, bytes(WRONG_PIN)]);
    s.call("empty PIN", "C_Login", [S, USER, Arg::Bytes(vec![])]);
    s.call(
        "NULL PIN with a length",
        "C_Login",
        [S, USER, Arg::NullBytes(4)],
    );
    s.call(
        "PIN of 4096 bytes",
        "C_Login",
        [S, USER, Arg::Bytes(vec![b'x'; 4096])],
    );
    s.call("no session", "C_Login", [Arg::Number(0), USER, bytes(PIN)]);
    s.call(
        "context-specific before",
        "C_Login",
        [S, Arg::Number(CKU_CONTEXT_SPECIFIC), bytes(PIN)],
    );
    s.call("right PIN", "C_Login", [S, USER, bytes(PIN)]);
    s.call("right PIN again", "C_Login", [S, USER, bytes(PIN)]);
    s.call(
        "wrong PIN after login",
        "C_Login",
        [S, USER, bytes(WRONG_PIN)],
    );
    s.call(
        "NULL PIN after login",
        "C_Login",
        [S, USER, Arg::NullBytes(0)],
    );
    s.call("logout", "C_Logout", [S]);
    s.call("logout again", "C_Logout", [S]);
    s.call("logout of no session", "C_Logout", [Arg::Number(0)]);
    s
}

fn login_states() -> Script {
    let mut s = Script::new("operations and login", Start::LoggedIn);
    let rsa = "rsa private";
    let none = Parameter::None;
    s.init("init", "C_SignInit", CKM_SHA256_RSA_PKCS, &none, rsa);
    s.call("update", "C_SignUpdate", [S, bytes("abc")]);
    s.call("logout", "C_Logout", [S]);
    s.call("final after logout", "C_SignFinal", [S, Arg::Room(256)]);
    s.init(
        "init after logout",
        "C_SignInit",
        CKM_SHA256_RSA_PKCS,
        &none,
        rsa,
    );
    s.call(
        "attributes after logout",
        "C_GetAttributeValue",
        [
            S,
            Arg::Handle(rsa),
            Arg::Template(vec![(CKA_CLASS, softhsm_tests::calls::Value::Room(8))]),
        ],
    );
    s.call("log in again", "C_Login", [S, USER, bytes(PIN)]);
    s.call(
        "final after the new login",
        "C_SignFinal",
        [S, Arg::Room(256)],
    );
    s.init(
        "the old handle",
        "C_SignInit",
        CKM_SHA256_RSA_PKCS,
        &none,
        rsa,
    );
    s
}

fn context_login() -> Script {
    let mut s = Script::new("context-specific login", Start::LoggedIn);
    s.call(
        "without operation",
        "C_Login",
        [S, Arg::Number(CKU_CONTEXT_SPECIFIC), bytes(PIN)],
    );
    s.init(
        "init",
        "C_SignInit",
        CKM_SHA256_RSA_PKCS,
        &Parameter::None,
        "rsa private",
    );
    s.call(
        "for a key that does not ask",
        "C_Login",
        [S, Arg::Number(CKU_CONTEXT_SPECIFIC), bytes(PIN)],
    );
    s.call("sign", "C_Sign", [S, bytes("abc"), Arg::Room(256)]);
    s
}

fn pins() -> Script {
    let mut s = Script::new("PINs", Start::Session);
    s.call(
        "set in a read-only session",
        "C_SetPIN",
        [S, bytes(PIN), bytes("another")],
    );
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
    s.call(
        "set with a wrong one",
        "C_SetPIN",
        [Arg::Handle("rw"), bytes(WRONG_PIN), bytes("another")],
    );
    s.call(
        "set to NULL",
        "C_SetPIN",
        [Arg::Handle("rw"), bytes(PIN), Arg::NullBytes(5)],
    );
    s.call(
        "set to 4096 bytes",
        "C_SetPIN",
        [Arg::Handle("rw"), bytes(PIN), Arg::Bytes(vec![b'x'; 4096])],
    );
    s.call(
        "init PIN without SO",
        "C_InitPIN",
        [Arg::Handle("rw"), bytes("another")],
    );
    s.call(
        "init token with open sessions",
        "C_InitToken",
        [Arg::Slot, bytes(WRONG_PIN), Arg::Structure(32)],
    );
    s.call(
        "change",
        "C_SetPIN",
        [Arg::Handle("rw"), bytes(PIN), bytes("another")],
    );
    s.call("the old one", "C_Login", [S, USER, bytes(PIN)]);
    s.call("the new one", "C_Login", [S, USER, bytes("another")]);
    s.call(
        "change while logged in",
        "C_SetPIN",
        [Arg::Handle("rw"), bytes("another"), bytes(PIN)],
    );
    s.call("log out", "C_Logout", [S]);
    s.call("the first one again", "C_Login", [S, USER, bytes(PIN)]);
    s.call(
        "set to an empty one",
        "C_SetPIN",
        [Arg::Handle("rw"), bytes(PIN), Arg::Bytes(vec![])],
    );
    s
}

fn handles_after_close() -> Script {
    let mut s = Script::new("handles after close", Start::LoggedIn);
    s.call(
        "open",
        "C_OpenSession",
        [
            Arg::Slot,
            Arg::Number(SERIAL),
            Arg::Null,
            Arg::Null,
            Arg::New("t"),
        ],
    );
    let t = || Arg::Handle("t");
    s.call(
        "object of the session",
        "C_CreateObject",
        [
            t(),
            Arg::Template(crate::script::secret(
                CKK_GENERIC_SECRET,
                b"0123456789abcdef",
            )),
            Arg::New("o"),
        ],
    );
    s.call(
        "seen by the other session",
        "C_GetAttributeValue",
        [
            S,
            Arg::Handle("o"),
            Arg::Template(vec![(CKA_CLASS, softhsm_tests::calls::Value::Room(8))]),
        ],
    );
    s.call(
        "begin in it",
        "C_DigestInit",
        [t(), Arg::Mechanism(CKM_SHA256, Parameter::None)],
    );
    s.call("close", "C_CloseSession", [t()]);
    s.call(
        "gone with its session",
        "C_GetAttributeValue",
        [
            S,
            Arg::Handle("o"),
            Arg::Template(vec![(CKA_CLASS, softhsm_tests::calls::Value::Room(8))]),
        ],
    );
    s.call(
        "destroy what is gone",
        "C_DestroyObject",
        [S, Arg::Handle("o")],
    );
    s.call(
        "digest in a closed one",
        "C_Digest",
        [t(), bytes("abc"), Arg::Room(64)],
    );
    s.call(
        "find in a closed one",
        "C_FindObjectsInit",
        [t(), Arg::NullBytes(0)],
    );
    s.call(
        "random in a closed one",
        "C_GenerateRandom",
        [t(), Arg::Fill(8)],
    );
    s.call(
        "token's object is still there",
        "C_GetAttributeValue",
        [
            S,
            Arg::Handle("rsa private"),
            Arg::Template(vec![(CKA_CLASS, softhsm_tests::calls::Value::Room(8))]),
        ],
    );
    s
}
