//! Keys that are generated (PKCS#11 §5.18.1, §5.18.2).

use cryptoki_sys::*;
use softhsm_tests::calls::{Parameter, Value};

use super::{
    keys::{readable, session_key},
    session_objects::P256,
};
use crate::script::{Arg, S, Script, Start, number};

const NONE: Parameter = Parameter::None;

pub fn all() -> Vec<Script> {
    vec![generate(), generate_pairs()]
}

fn generate() -> Script {
    let mut s = Script::new("generate", Start::LoggedIn);
    let aes = || Arg::Mechanism(CKM_AES_KEY_GEN, NONE);
    let generic = || Arg::Mechanism(CKM_GENERIC_SECRET_KEY_GEN, NONE);
    let len = |len| vec![(CKA_VALUE_LEN, number(len))];
    for (title, mechanism, template) in [
        ("AES 16", aes(), session_key(len(16))),
        ("AES 32", aes(), session_key(len(32))),
        ("AES 17", aes(), session_key(len(17))),
        ("AES 0", aes(), session_key(len(0))),
        ("AES without length", aes(), session_key(vec![])),
        (
            "AES with a value",
            aes(),
            session_key([len(16), vec![(CKA_VALUE, Value::Bytes(vec![1; 16]))]].concat()),
        ),
        (
            "AES of another class",
            aes(),
            session_key([len(16), vec![(CKA_CLASS, number(CKO_DATA))]].concat()),
        ),
        (
            "AES of another type",
            aes(),
            session_key([len(16), vec![(CKA_KEY_TYPE, number(CKK_DES3))]].concat()),
        ),
        (
            "AES with a length of 4 bytes",
            aes(),
            session_key(vec![(CKA_VALUE_LEN, Value::Bytes(vec![16, 0, 0, 0]))]),
        ),
        (
            "AES for the token",
            aes(),
            Arg::Template(vec![
                (CKA_TOKEN, Value::Bool(true)),
                (CKA_VALUE_LEN, number(16)),
            ]),
        ),
        (
            "AES with a parameter",
            Arg::Mechanism(CKM_AES_KEY_GEN, Parameter::Raw(vec![1])),
            session_key(len(16)),
        ),
        ("generic 20", generic(), session_key(len(20))),
        ("generic without length", generic(), session_key(vec![])),
        (
            "generic of a huge length",
            generic(),
            session_key(len(u64::MAX)),
        ),
        (
            "by another mechanism",
            Arg::Mechanism(CKM_SHA256, NONE),
            session_key(len(16)),
        ),
        (
            "by an unknown mechanism",
            Arg::Mechanism(0x7fff_0000, NONE),
            session_key(len(16)),
        ),
        (
            "by a key pair's mechanism",
            Arg::Mechanism(CKM_RSA_PKCS_KEY_PAIR_GEN, NONE),
            session_key(len(16)),
        ),
        ("by no mechanism", Arg::Null, session_key(len(16))),
        ("with NULL for a template", aes(), Arg::NullBytes(1)),
    ] {
        s.call(
            title,
            "C_GenerateKey",
            [S, mechanism, template, Arg::New("k")],
        );
    }
    s.call(
        "no place for the handle",
        "C_GenerateKey",
        [S, aes(), session_key(len(16)), Arg::Null],
    );
    s.call(
        "a readable one",
        "C_GenerateKey",
        [
            S,
            aes(),
            session_key([len(16), readable()].concat()),
            Arg::New("r"),
        ],
    );
    for (name, kind) in [
        ("CKA_LOCAL", CKA_LOCAL),
        ("CKA_ALWAYS_SENSITIVE", CKA_ALWAYS_SENSITIVE),
        ("CKA_NEVER_EXTRACTABLE", CKA_NEVER_EXTRACTABLE),
        ("CKA_KEY_GEN_MECHANISM", CKA_KEY_GEN_MECHANISM),
        ("CKA_KEY_TYPE", CKA_KEY_TYPE),
        ("CKA_VALUE_LEN", CKA_VALUE_LEN),
    ] {
        s.call(
            name,
            "C_GetAttributeValue",
            [
                S,
                Arg::Handle("r"),
                Arg::Template(vec![(kind, Value::Room(64))]),
            ],
        );
    }
    s.call(
        "CKA_VALUE",
        "C_GetAttributeValue",
        [
            S,
            Arg::Handle("r"),
            Arg::Template(vec![(CKA_VALUE, Value::Room(64))]),
        ],
    )
    .random();
    s
}

fn generate_pairs() -> Script {
    let mut s = Script::new("generate pairs", Start::LoggedIn);
    let rsa = || Arg::Mechanism(CKM_RSA_PKCS_KEY_PAIR_GEN, NONE);
    let ec = || Arg::Mechanism(CKM_EC_KEY_PAIR_GEN, NONE);
    let bits = |bits| vec![(CKA_MODULUS_BITS, number(bits))];
    let exponent = |exponent: &[u8]| vec![(CKA_PUBLIC_EXPONENT, Value::Bytes(exponent.to_vec()))];
    let curve = |curve: &[u8]| vec![(CKA_EC_PARAMS, Value::Bytes(curve.to_vec()))];
    for (title, mechanism, public) in [
        ("RSA 2048", rsa(), bits(2048)),
        (
            "RSA 2048 with 65537",
            rsa(),
            [bits(2048), exponent(&[1, 0, 1])].concat(),
        ),
        (
            "RSA 2048 with 2",
            rsa(),
            [bits(2048), exponent(&[2])].concat(),
        ),
        ("RSA 512", rsa(), bits(512)),
        ("RSA without bits", rsa(), vec![]),
        ("RSA of a huge size", rsa(), bits(1 << 40)),
        ("P-256", ec(), curve(P256)),
        ("EC without curve", ec(), vec![]),
        ("EC of an unknown curve", ec(), curve(&[6, 1, 42])),
        ("EC of no curve at all", ec(), curve(&[1, 2, 3])),
        (
            "Ed25519",
            Arg::Mechanism(CKM_EC_EDWARDS_KEY_PAIR_GEN, NONE),
            curve(b"\x13\x0cedwards25519"),
        ),
        (
            "by another mechanism",
            Arg::Mechanism(CKM_AES_KEY_GEN, NONE),
            bits(2048),
        ),
        (
            "RSA with a modulus",
            rsa(),
            [bits(2048), vec![(CKA_MODULUS, Value::Bytes(vec![1; 256]))]].concat(),
        ),
        (
            "RSA of another type",
            rsa(),
            [bits(2048), vec![(CKA_KEY_TYPE, number(CKK_EC))]].concat(),
        ),
    ] {
        let private = session_key(vec![]);
        s.call(
            title,
            "C_GenerateKeyPair",
            [
                S,
                mechanism,
                session_key(public),
                private,
                Arg::New("pub"),
                Arg::New("priv"),
            ],
        );
    }
    s.call(
        "NULL for a handle",
        "C_GenerateKeyPair",
        [
            S,
            ec(),
            session_key(curve(P256)),
            session_key(vec![]),
            Arg::Null,
            Arg::New("x"),
        ],
    );
    s.call(
        "a pair",
        "C_GenerateKeyPair",
        [
            S,
            ec(),
            session_key(curve(P256)),
            session_key(vec![]),
            Arg::New("pub"),
            Arg::New("priv"),
        ],
    );
    for (name, kind) in [
        ("CKA_LOCAL", CKA_LOCAL),
        ("CKA_SENSITIVE", CKA_SENSITIVE),
        ("CKA_EXTRACTABLE", CKA_EXTRACTABLE),
        ("CKA_ALWAYS_SENSITIVE", CKA_ALWAYS_SENSITIVE),
        ("CKA_NEVER_EXTRACTABLE", CKA_NEVER_EXTRACTABLE),
        ("CKA_EC_PARAMS", CKA_EC_PARAMS),
        ("CKA_VALUE", CKA_VALUE),
        ("CKA_SIGN", CKA_SIGN),
        ("CKA_DERIVE", CKA_DERIVE),
    ] {
        s.call(
            name,
            "C_GetAttributeValue",
            [
                S,
                Arg::Handle("priv"),
                Arg::Template(vec![(kind, Value::Room(64))]),
            ],
        );
    }
    s.init("sign init", "C_SignInit", CKM_ECDSA, &NONE, "priv");
    s.call(
        "sign",
        "C_Sign",
        [S, Arg::Bytes(vec![1; 32]), Arg::Room(64)],
    )
    .random()
    .keep("signature");
    s.init("verify init", "C_VerifyInit", CKM_ECDSA, &NONE, "pub");
    s.call(
        "verify",
        "C_Verify",
        [S, Arg::Bytes(vec![1; 32]), Arg::Kept("signature")],
    );
    s
}
