//! Searches, and the attributes of a token's objects (PKCS#11 §4, §5.7).

use cryptoki_sys::*;
use softhsm_tests::calls::Value;

use crate::script::{Arg, S, Script, Start, number};

pub fn all() -> Vec<Script> {
    vec![
        finds(),
        finds_before_login(),
        attributes(),
        attribute_lengths(),
    ]
}

macro_rules! named {
    ($($name:ident)*) => { &[$((stringify!($name), $name),)*] };
}

const ATTRIBUTES: &[(&str, u64)] = named! {
    CKA_CLASS CKA_TOKEN CKA_PRIVATE CKA_MODIFIABLE CKA_LABEL CKA_COPYABLE CKA_DESTROYABLE CKA_UNIQUE_ID
    CKA_CERTIFICATE_TYPE CKA_TRUSTED CKA_CERTIFICATE_CATEGORY CKA_CHECK_VALUE CKA_START_DATE CKA_END_DATE
    CKA_PUBLIC_KEY_INFO CKA_SUBJECT CKA_ID CKA_ISSUER CKA_SERIAL_NUMBER CKA_VALUE CKA_URL
    CKA_HASH_OF_SUBJECT_PUBLIC_KEY CKA_JAVA_MIDP_SECURITY_DOMAIN CKA_NAME_HASH_ALGORITHM
    CKA_KEY_TYPE CKA_DERIVE CKA_LOCAL CKA_KEY_GEN_MECHANISM CKA_ALLOWED_MECHANISMS
    CKA_ENCRYPT CKA_VERIFY CKA_VERIFY_RECOVER CKA_WRAP CKA_WRAP_TEMPLATE
    CKA_SENSITIVE CKA_DECRYPT CKA_SIGN CKA_SIGN_RECOVER CKA_UNWRAP CKA_EXTRACTABLE CKA_ALWAYS_SENSITIVE
    CKA_NEVER_EXTRACTABLE CKA_WRAP_WITH_TRUSTED CKA_UNWRAP_TEMPLATE CKA_ALWAYS_AUTHENTICATE
    CKA_MODULUS CKA_MODULUS_BITS CKA_PUBLIC_EXPONENT CKA_PRIVATE_EXPONENT CKA_PRIME_1 CKA_PRIME_2
    CKA_EXPONENT_1 CKA_EXPONENT_2 CKA_COEFFICIENT CKA_EC_PARAMS CKA_EC_POINT CKA_VALUE_LEN
};

const OBJECTS: &[&str] = &[
    "rsa private",
    "rsa public",
    "rsa certificate",
    "p256 private",
    "p256 public",
    "ed25519 private",
    "ed25519 public",
];

fn attributes() -> Script {
    let mut s = Script::new("attributes", Start::LoggedIn);
    for object in OBJECTS {
        for (name, kind) in ATTRIBUTES {
            let template = Arg::Template(vec![(*kind, Value::Room(4096))]);
            let step = s.call(
                format!("{object} {name}"),
                "C_GetAttributeValue",
                [S, Arg::Handle(object), template],
            );
            // Dates are those of the day.
            step.random = matches!(*kind, CKA_START_DATE | CKA_END_DATE | CKA_UNIQUE_ID);
        }
    }
    s
}

fn attribute_lengths() -> Script {
    let mut s = Script::new("attribute lengths", Start::LoggedIn);
    let rsa = || Arg::Handle("rsa private");
    let get = |s: &mut Script, title: &str, template: Vec<(u64, Value)>| {
        s.call(
            title,
            "C_GetAttributeValue",
            [S, rsa(), Arg::Template(template)],
        );
    };
    get(
        &mut s,
        "length of the modulus",
        vec![(CKA_MODULUS, Value::Null(0))],
    );
    get(
        &mut s,
        "no room for the modulus",
        vec![(CKA_MODULUS, Value::Room(255))],
    );
    get(
        &mut s,
        "no room for a number",
        vec![(CKA_CLASS, Value::Room(4))],
    );
    get(&mut s, "room to spare", vec![(CKA_CLASS, Value::Room(16))]);
    get(
        &mut s,
        "a secret's length",
        vec![(CKA_PRIVATE_EXPONENT, Value::Null(0))],
    );
    get(
        &mut s,
        "a secret in between",
        vec![
            (CKA_CLASS, Value::Room(8)),
            (CKA_PRIVATE_EXPONENT, Value::Room(512)),
            (CKA_KEY_TYPE, Value::Room(8)),
        ],
    );
    get(
        &mut s,
        "an unknown one in between",
        vec![
            (CKA_CLASS, Value::Room(8)),
            (0x7fff_0000, Value::Room(512)),
            (CKA_KEY_TYPE, Value::Room(8)),
        ],
    );
    get(
        &mut s,
        "one of another class",
        vec![
            (CKA_CERTIFICATE_TYPE, Value::Room(8)),
            (CKA_KEY_TYPE, Value::Room(8)),
        ],
    );
    get(
        &mut s,
        "too little room in between",
        vec![
            (CKA_CLASS, Value::Room(8)),
            (CKA_MODULUS, Value::Room(8)),
            (CKA_KEY_TYPE, Value::Room(8)),
        ],
    );
    s.call(
        "no attribute",
        "C_GetAttributeValue",
        [S, rsa(), Arg::NullBytes(0)],
    );
    s.call(
        "NULL for a template",
        "C_GetAttributeValue",
        [S, rsa(), Arg::NullBytes(1)],
    );
    s.call(
        "no object",
        "C_GetAttributeValue",
        [
            S,
            Arg::Number(0),
            Arg::Template(vec![(CKA_CLASS, Value::Room(8))]),
        ],
    );
    s.call(
        "no object, number unknown",
        "C_GetAttributeValue",
        [
            S,
            Arg::Number(0x7fff_ffff),
            Arg::Template(vec![(CKA_CLASS, Value::Room(8))]),
        ],
    );
    s.call(
        "no session",
        "C_GetAttributeValue",
        [
            Arg::Number(0),
            rsa(),
            Arg::Template(vec![(CKA_CLASS, Value::Room(8))]),
        ],
    );
    s.call("size to NULL", "C_GetObjectSize", [S, rsa(), Arg::Null]);
    s.call(
        "size of no object",
        "C_GetObjectSize",
        [S, Arg::Number(0), Arg::Structure(8)],
    );
    s.call(
        "size",
        "C_GetObjectSize",
        [S, Arg::Handle("rsa public"), Arg::Structure(8)],
    );
    s
}

fn templates() -> Vec<(&'static str, Vec<(u64, Value)>)> {
    let class = |class| (CKA_CLASS, number(class));
    vec![
        ("certificates", vec![class(CKO_CERTIFICATE)]),
        ("public keys", vec![class(CKO_PUBLIC_KEY)]),
        ("private keys", vec![class(CKO_PRIVATE_KEY)]),
        ("secret keys", vec![class(CKO_SECRET_KEY)]),
        ("data", vec![class(CKO_DATA)]),
        ("an unknown class", vec![class(0xCE53_4351)]),
        ("RSA keys", vec![(CKA_KEY_TYPE, number(CKK_RSA))]),
        (
            "EC private keys",
            vec![class(CKO_PRIVATE_KEY), (CKA_KEY_TYPE, number(CKK_EC))],
        ),
        ("keys that sign", vec![(CKA_SIGN, Value::Bool(true))]),
        (
            "by a label",
            vec![(CKA_LABEL, Value::Bytes(b"token Rsa2048".to_vec()))],
        ),
        (
            "by part of a label",
            vec![(CKA_LABEL, Value::Bytes(b"token".to_vec()))],
        ),
        ("by an empty id", vec![(CKA_ID, Value::Bytes(vec![]))]),
        (
            "by an unknown attribute",
            vec![(0x7fff_0000, Value::Bytes(b"x".to_vec()))],
        ),
        (
            "by a secret",
            vec![(CKA_PRIVATE_EXPONENT, Value::Bytes(b"x".to_vec()))],
        ),
        (
            "by a class of 4 bytes",
            vec![(CKA_CLASS, Value::Bytes(vec![3, 0, 0, 0]))],
        ),
        (
            "by CKA_TOKEN of no byte",
            vec![(CKA_TOKEN, Value::Bytes(vec![]))],
        ),
        ("the token's", vec![(CKA_TOKEN, Value::Bool(true))]),
        ("the session's", vec![(CKA_TOKEN, Value::Bool(false))]),
        (
            "two classes",
            vec![class(CKO_CERTIFICATE), class(CKO_PUBLIC_KEY)],
        ),
        (
            "private and not extractable",
            vec![
                class(CKO_PRIVATE_KEY),
                (CKA_EXTRACTABLE, Value::Bool(false)),
            ],
        ),
    ]
}

fn finds_with(name: &'static str, start: Start) -> Script {
    let mut s = Script::new(name, start);
    for (title, template) in templates() {
        s.call(
            format!("init: {title}"),
            "C_FindObjectsInit",
            [S, Arg::Template(template)],
        );
        s.call(
            format!("find: {title}"),
            "C_FindObjects",
            [S, Arg::Found(64)],
        );
        s.call(format!("final: {title}"), "C_FindObjectsFinal", [S]);
    }
    s
}

fn finds_before_login() -> Script {
    finds_with("searches before login", Start::Session)
}

fn finds() -> Script {
    let mut s = finds_with("searches", Start::LoggedIn);
    let certificates = || Arg::Template(vec![(CKA_CLASS, number(CKO_CERTIFICATE))]);
    s.call("find without init", "C_FindObjects", [S, Arg::Found(1)]);
    s.call("final without init", "C_FindObjectsFinal", [S]);
    s.call(
        "NULL for a template",
        "C_FindObjectsInit",
        [S, Arg::NullBytes(1)],
    );
    s.call("no template", "C_FindObjectsInit", [S, Arg::NullBytes(0)]);
    s.call(
        "init while one is active",
        "C_FindObjectsInit",
        [S, certificates()],
    );
    s.call(
        "find to NULL",
        "C_FindObjects",
        [S, Arg::Null, Arg::Number(1), Arg::Structure(8)],
    );
    s.call(
        "count to NULL",
        "C_FindObjects",
        [S, Arg::Structure(8), Arg::Number(1), Arg::Null],
    );
    s.call("end it", "C_FindObjectsFinal", [S]);
    s.call("init again", "C_FindObjectsInit", [S, certificates()]);
    s.call("three of four", "C_FindObjects", [S, Arg::Found(3)]);
    s.call("the last", "C_FindObjects", [S, Arg::Found(3)]);
    s.call("no more", "C_FindObjects", [S, Arg::Found(3)]);
    s.call("none asked for", "C_FindObjects", [S, Arg::Found(0)]);
    s.call("log out meanwhile", "C_Logout", [S]);
    s.call("find after logout", "C_FindObjects", [S, Arg::Found(1)]);
    s.call("final after logout", "C_FindObjectsFinal", [S]);
    s
}
