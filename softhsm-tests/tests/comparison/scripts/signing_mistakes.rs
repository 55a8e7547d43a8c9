//! Signatures: what is in the wrong order, and what is wrong (PKCS#11 §5.13, §5.15).

use cryptoki_sys::*;
use softhsm_tests::calls::Parameter;

use crate::script::{Arg, S, Script, Start, bytes};

const NONE: Parameter = Parameter::None;
const HUGE: u64 = u64::MAX;

pub fn all() -> Vec<Script> {
    vec![order(), mistakes(), too_long()]
}

fn order() -> Script {
    let mut s = Script::new("order of calls", Start::LoggedIn);
    let rsa = "rsa private";
    let m = CKM_SHA256_RSA_PKCS;
    s.call(
        "sign without init",
        "C_Sign",
        [S, bytes("abc"), Arg::Room(256)],
    );
    s.call("update without init", "C_SignUpdate", [S, bytes("abc")]);
    s.call("final without init", "C_SignFinal", [S, Arg::Room(256)]);
    s.call(
        "verify without init",
        "C_Verify",
        [S, bytes("abc"), bytes([1; 256])],
    );
    s.call(
        "verify final without init",
        "C_VerifyFinal",
        [S, bytes([1; 256])],
    );
    s.init("init", "C_SignInit", m, &NONE, rsa);
    s.init("init again", "C_SignInit", m, &NONE, rsa);
    s.init(
        "verify init meanwhile",
        "C_VerifyInit",
        m,
        &NONE,
        "rsa public",
    );
    s.call(
        "search meanwhile",
        "C_FindObjectsInit",
        [S, Arg::NullBytes(0)],
    );
    s.call("end search", "C_FindObjectsFinal", [S]);
    s.call(
        "digest meanwhile",
        "C_DigestInit",
        [S, Arg::Mechanism(CKM_SHA256, NONE)],
    );
    s.call("update", "C_SignUpdate", [S, bytes("abc")]);
    s.call(
        "one part after update",
        "C_Sign",
        [S, bytes("abc"), Arg::Room(256)],
    );
    s.call("final after that", "C_SignFinal", [S, Arg::Room(256)]);
    s.call("final again", "C_SignFinal", [S, Arg::Room(256)]);
    s.init("cancel: init", "C_SignInit", m, &NONE, rsa).fresh();
    s.call(
        "cancel by a NULL mechanism",
        "C_SignInit",
        [S, Arg::Null, Arg::Number(0)],
    );
    s.call(
        "sign after cancel",
        "C_Sign",
        [S, bytes("abc"), Arg::Room(256)],
    );
    s
}

fn mistakes() -> Script {
    let mut s = Script::with_own_sessions("mistakes in signing", Start::LoggedIn);
    let rsa = "rsa private";
    s.call(
        "no key",
        "C_SignInit",
        [S, Arg::Mechanism(CKM_RSA_PKCS, NONE), Arg::Number(0)],
    );
    s.call(
        "certificate as key",
        "C_SignInit",
        [
            S,
            Arg::Mechanism(CKM_RSA_PKCS, NONE),
            Arg::Handle("rsa certificate"),
        ],
    );
    s.init("wrong type of key", "C_SignInit", CKM_ECDSA, &NONE, rsa);
    s.init(
        "EC key for RSA",
        "C_SignInit",
        CKM_RSA_PKCS,
        &NONE,
        "p256 private",
    );
    s.init(
        "EC key for EdDSA",
        "C_SignInit",
        CKM_EDDSA,
        &NONE,
        "p256 private",
    );
    s.init("unknown mechanism", "C_SignInit", 0x7fff_0000, &NONE, rsa);
    s.init(
        "mechanism of another kind",
        "C_SignInit",
        CKM_SHA256,
        &NONE,
        rsa,
    );
    s.init(
        "parameter where none is",
        "C_SignInit",
        CKM_SHA256_RSA_PKCS,
        &Parameter::Raw(vec![1; 8]),
        rsa,
    );
    s.call("end 1", "C_SignFinal", [S, Arg::Room(256)]);
    s.init(
        "PSS without parameter",
        "C_SignInit",
        CKM_RSA_PKCS_PSS,
        &NONE,
        rsa,
    );
    s.init(
        "PSS with a short parameter",
        "C_SignInit",
        CKM_RSA_PKCS_PSS,
        &Parameter::Raw(vec![0; 23]),
        rsa,
    );
    s.init(
        "PSS with a long parameter",
        "C_SignInit",
        CKM_RSA_PKCS_PSS,
        &Parameter::Raw(vec![0; 32]),
        rsa,
    );
    s.init(
        "PSS with another hash",
        "C_SignInit",
        CKM_SHA256_RSA_PKCS_PSS,
        &Parameter::Pss(CKM_SHA_1, CKG_MGF1_SHA1, 20),
        rsa,
    );
    s.init(
        "PSS with another MGF",
        "C_SignInit",
        CKM_SHA256_RSA_PKCS_PSS,
        &Parameter::Pss(CKM_SHA256, CKG_MGF1_SHA1, 32),
        rsa,
    );
    s.call("end 2", "C_SignFinal", [S, Arg::Room(256)]).random();
    s.init(
        "PSS with too much salt",
        "C_SignInit",
        CKM_SHA256_RSA_PKCS_PSS,
        &Parameter::Pss(CKM_SHA256, CKG_MGF1_SHA256, 223),
        rsa,
    );
    s.init(
        "PSS with an unknown hash",
        "C_SignInit",
        CKM_RSA_PKCS_PSS,
        &Parameter::Pss(CKM_MD5, CKG_MGF1_SHA1, 16),
        rsa,
    );
    s.call(
        "no session",
        "C_SignInit",
        [
            Arg::Number(0),
            Arg::Mechanism(CKM_RSA_PKCS, NONE),
            Arg::Handle(rsa),
        ],
    );
    for (title, kind, key, data) in [
        (
            "too much for PKCS #1",
            CKM_RSA_PKCS,
            rsa,
            Arg::Bytes(vec![1; 246]),
        ),
        (
            "as much as PKCS #1 takes",
            CKM_RSA_PKCS,
            rsa,
            Arg::Bytes(vec![1; 245]),
        ),
        ("nothing for PKCS #1", CKM_RSA_PKCS, rsa, Arg::Bytes(vec![])),
        (
            "little for raw RSA",
            CKM_RSA_X_509,
            rsa,
            Arg::Bytes(vec![1; 8]),
        ),
        (
            "more than the modulus",
            CKM_RSA_X_509,
            rsa,
            Arg::Bytes(vec![0xff; 256]),
        ),
        (
            "a long hash for P-256",
            CKM_ECDSA,
            "p256 private",
            Arg::Bytes(vec![1; 64]),
        ),
        (
            "a short hash for P-256",
            CKM_ECDSA,
            "p256 private",
            Arg::Bytes(vec![1; 20]),
        ),
        (
            "a message for P-256",
            CKM_ECDSA,
            "p256 private",
            Arg::Bytes(vec![1; 200]),
        ),
        (
            "nothing for P-256",
            CKM_ECDSA,
            "p256 private",
            Arg::Bytes(vec![]),
        ),
        ("NULL data", CKM_SHA256_RSA_PKCS, rsa, Arg::NullBytes(3)),
        (
            "nothing for a hash",
            CKM_SHA256_RSA_PKCS,
            rsa,
            Arg::NullBytes(0),
        ),
    ] {
        s.init(format!("{title}: init"), "C_SignInit", kind, &NONE, key);
        let step = s.call(title, "C_Sign", [S, data, Arg::Room(256)]);
        step.random = kind == CKM_ECDSA;
        s.call(format!("{title}: end"), "C_SignFinal", [S, Arg::Room(256)])
            .random();
    }
    s.init(
        "init for a NULL length",
        "C_SignInit",
        CKM_SHA256_RSA_PKCS,
        &NONE,
        rsa,
    );
    s.call(
        "NULL length",
        "C_Sign",
        [S, bytes("abc"), Arg::Null, Arg::Null],
    );
    s.init(
        "init for a huge length",
        "C_VerifyInit",
        CKM_SHA256_RSA_PKCS,
        &NONE,
        "rsa public",
    );
    s.call(
        "huge signature of NULL",
        "C_Verify",
        [S, bytes("abc"), Arg::NullBytes(HUGE)],
    );
    s.init(
        "init for a NULL signature",
        "C_VerifyInit",
        CKM_SHA256_RSA_PKCS,
        &NONE,
        "rsa public",
    );
    s.call(
        "NULL signature",
        "C_Verify",
        [S, bytes("abc"), Arg::NullBytes(256)],
    );
    s
}

/// SoftHSM2 ends the process.
fn too_long() -> Script {
    let mut s = Script::new("raw RSA of 257 bytes", Start::LoggedIn);
    s.init("init", "C_SignInit", CKM_RSA_X_509, &NONE, "rsa private");
    s.call(
        "sign",
        "C_Sign",
        [S, Arg::Bytes(vec![1; 257]), Arg::Room(256)],
    );
    s
}
