//! Keys that are wrapped and unwrapped (PKCS#11 §5.18.3, §5.18.4).

use cryptoki_sys::*;
use softhsm_tests::calls::{Parameter, Value};

use crate::script::{Arg, S, Script, Start, number, secret};

const NONE: Parameter = Parameter::None;

pub fn all() -> Vec<Script> {
    vec![wrap(), unwrap()]
}

pub fn session_key(more: Vec<(u64, Value)>) -> Arg {
    let mut template = vec![
        (CKA_TOKEN, Value::Bool(false)),
        (CKA_PRIVATE, Value::Bool(false)),
    ];
    template.extend(more);
    Arg::Template(template)
}

pub fn readable() -> Vec<(u64, Value)> {
    vec![
        (CKA_SENSITIVE, Value::Bool(false)),
        (CKA_EXTRACTABLE, Value::Bool(true)),
    ]
}

fn iv() -> Parameter {
    Parameter::Raw((0..16).collect())
}

fn oaep() -> Parameter {
    Parameter::Oaep(CKM_SHA_1, CKG_MGF1_SHA1, CKZ_DATA_SPECIFIED, vec![])
}

fn wrap() -> Script {
    let mut s = Script::new("wrap", Start::LoggedIn);
    s.secret_key(CKK_AES, b"0123456789abcdef", "k");
    s.secret_key(CKK_AES, &[9; 32], "wrapping");
    s.secret_key(CKK_GENERIC_SECRET, &[5; 20], "generic");
    let mut inside = secret(CKK_AES, &[4; 16]);
    inside.retain(|(kind, _)| *kind != CKA_EXTRACTABLE);
    inside.push((CKA_EXTRACTABLE, Value::Bool(false)));
    s.create("key that stays", inside, "inside");
    let cases: Vec<(&str, u64, Parameter, &'static str, &'static str, bool)> = vec![
        (
            "AES_KEY_WRAP",
            CKM_AES_KEY_WRAP,
            NONE,
            "wrapping",
            "k",
            false,
        ),
        (
            "AES_KEY_WRAP of 20 bytes",
            CKM_AES_KEY_WRAP,
            NONE,
            "wrapping",
            "generic",
            false,
        ),
        (
            "AES_KEY_WRAP_PAD of 20 bytes",
            CKM_AES_KEY_WRAP_PAD,
            NONE,
            "wrapping",
            "generic",
            false,
        ),
        ("AES_CBC", CKM_AES_CBC, iv(), "wrapping", "k", false),
        (
            "AES_CBC_PAD of 20 bytes",
            CKM_AES_CBC_PAD,
            iv(),
            "wrapping",
            "generic",
            false,
        ),
        ("AES_ECB", CKM_AES_ECB, NONE, "wrapping", "k", false),
        ("RSA", CKM_RSA_PKCS, NONE, "rsa public", "k", true),
        ("OAEP", CKM_RSA_PKCS_OAEP, oaep(), "rsa public", "k", true),
        (
            "key that stays inside",
            CKM_AES_KEY_WRAP,
            NONE,
            "wrapping",
            "inside",
            false,
        ),
        (
            "a token's private key",
            CKM_AES_KEY_WRAP,
            NONE,
            "wrapping",
            "rsa private",
            false,
        ),
        (
            "a public key",
            CKM_AES_KEY_WRAP,
            NONE,
            "wrapping",
            "rsa public",
            false,
        ),
        (
            "a certificate",
            CKM_AES_KEY_WRAP,
            NONE,
            "wrapping",
            "rsa certificate",
            false,
        ),
        (
            "with a generic key",
            CKM_AES_KEY_WRAP,
            NONE,
            "generic",
            "k",
            false,
        ),
        (
            "with a private key",
            CKM_RSA_PKCS,
            NONE,
            "rsa private",
            "k",
            true,
        ),
        (
            "with an EC key",
            CKM_RSA_PKCS,
            NONE,
            "p256 public",
            "k",
            true,
        ),
        ("by a digest", CKM_SHA256, NONE, "wrapping", "k", false),
        (
            "by an unknown mechanism",
            0x7fff_0000,
            NONE,
            "wrapping",
            "k",
            false,
        ),
    ];
    for (title, kind, parameter, wrapping, key, random) in cases {
        let call = |room| {
            [
                S,
                Arg::Mechanism(kind, parameter.clone()),
                Arg::Handle(wrapping),
                Arg::Handle(key),
                room,
            ]
        };
        s.call(format!("{title}: length"), "C_WrapKey", call(Arg::Query));
        s.call(
            format!("{title}: too small"),
            "C_WrapKey",
            call(Arg::Room(1)),
        );
        s.call(title, "C_WrapKey", call(Arg::Room(512))).random = random;
    }
    s.call(
        "no wrapping key",
        "C_WrapKey",
        [
            S,
            Arg::Mechanism(CKM_AES_KEY_WRAP, NONE),
            Arg::Number(0),
            Arg::Handle("k"),
            Arg::Room(64),
        ],
    );
    s.call(
        "no key",
        "C_WrapKey",
        [
            S,
            Arg::Mechanism(CKM_AES_KEY_WRAP, NONE),
            Arg::Handle("wrapping"),
            Arg::Number(0),
            Arg::Room(64),
        ],
    );
    s.call(
        "no mechanism",
        "C_WrapKey",
        [
            S,
            Arg::Null,
            Arg::Handle("wrapping"),
            Arg::Handle("k"),
            Arg::Room(64),
        ],
    );
    s
}

fn unwrap() -> Script {
    let mut s = Script::new("unwrap", Start::LoggedIn);
    s.secret_key(CKK_AES, b"0123456789abcdef", "k");
    s.secret_key(CKK_AES, &[9; 32], "wrapping");
    let key = |key_type, more: Vec<(u64, Value)>| {
        let mut template = vec![
            (CKA_CLASS, number(CKO_SECRET_KEY)),
            (CKA_KEY_TYPE, number(key_type)),
        ];
        template.extend(readable());
        template.extend(more);
        session_key(template)
    };
    for (name, kind, parameter, wrapping, unwrapping, random) in [
        (
            "AES_KEY_WRAP",
            CKM_AES_KEY_WRAP,
            NONE,
            "wrapping",
            "wrapping",
            false,
        ),
        (
            "AES_CBC_PAD",
            CKM_AES_CBC_PAD,
            iv(),
            "wrapping",
            "wrapping",
            false,
        ),
        ("RSA", CKM_RSA_PKCS, NONE, "rsa public", "rsa private", true),
        (
            "OAEP",
            CKM_RSA_PKCS_OAEP,
            oaep(),
            "rsa public",
            "rsa private",
            true,
        ),
    ] {
        let mechanism = || Arg::Mechanism(kind, parameter.clone());
        let step = s.call(
            format!("{name}: wrap"),
            "C_WrapKey",
            [
                S,
                mechanism(),
                Arg::Handle(wrapping),
                Arg::Handle("k"),
                Arg::Room(512),
            ],
        );
        step.keep("wrapped");
        step.random = random;
        let unwrap = |wrapped, template| {
            [
                S,
                mechanism(),
                Arg::Handle(unwrapping),
                wrapped,
                template,
                Arg::New("u"),
            ]
        };
        s.call(
            format!("{name}: unwrap"),
            "C_UnwrapKey",
            unwrap(Arg::Kept("wrapped"), key(CKK_AES, vec![])),
        );
        s.call(
            format!("{name}: value"),
            "C_GetAttributeValue",
            [
                S,
                Arg::Handle("u"),
                Arg::Template(vec![(CKA_VALUE, Value::Room(64))]),
            ],
        );
        s.call(
            format!("{name}: local"),
            "C_GetAttributeValue",
            [
                S,
                Arg::Handle("u"),
                Arg::Template(vec![(CKA_LOCAL, Value::Room(1))]),
            ],
        );
        s.call(
            format!("{name}: with a length"),
            "C_UnwrapKey",
            unwrap(
                Arg::Kept("wrapped"),
                key(CKK_AES, vec![(CKA_VALUE_LEN, number(16))]),
            ),
        );
        s.call(
            format!("{name}: with another length"),
            "C_UnwrapKey",
            unwrap(
                Arg::Kept("wrapped"),
                key(CKK_AES, vec![(CKA_VALUE_LEN, number(32))]),
            ),
        );
        s.call(
            format!("{name}: with a value"),
            "C_UnwrapKey",
            unwrap(
                Arg::Kept("wrapped"),
                key(CKK_AES, vec![(CKA_VALUE, Value::Bytes(vec![1; 16]))]),
            ),
        );
        s.call(
            format!("{name}: without type"),
            "C_UnwrapKey",
            unwrap(
                Arg::Kept("wrapped"),
                session_key(vec![(CKA_CLASS, number(CKO_SECRET_KEY))]),
            ),
        );
        s.call(
            format!("{name}: without class"),
            "C_UnwrapKey",
            unwrap(
                Arg::Kept("wrapped"),
                session_key(vec![(CKA_KEY_TYPE, number(CKK_AES))]),
            ),
        );
        s.call(
            format!("{name}: as a private key"),
            "C_UnwrapKey",
            unwrap(
                Arg::Kept("wrapped"),
                session_key(vec![
                    (CKA_CLASS, number(CKO_PRIVATE_KEY)),
                    (CKA_KEY_TYPE, number(CKK_RSA)),
                ]),
            ),
        );
        s.call(
            format!("{name}: as data"),
            "C_UnwrapKey",
            unwrap(
                Arg::Kept("wrapped"),
                session_key(vec![(CKA_CLASS, number(CKO_DATA))]),
            ),
        );
        s.call(
            format!("{name}: short"),
            "C_UnwrapKey",
            unwrap(Arg::Bytes(vec![1; 15]), key(CKK_AES, vec![])),
        );
        s.call(
            format!("{name}: nothing"),
            "C_UnwrapKey",
            unwrap(Arg::Bytes(vec![]), key(CKK_AES, vec![])),
        );
        s.call(
            format!("{name}: NULL"),
            "C_UnwrapKey",
            unwrap(Arg::NullBytes(24), key(CKK_AES, vec![])),
        );
        if name != "RSA" && name != "AES_CBC_PAD" {
            s.call(
                format!("{name}: damaged"),
                "C_UnwrapKey",
                unwrap(Arg::Damaged("wrapped"), key(CKK_AES, vec![])),
            );
        }
    }
    s.call(
        "no unwrapping key",
        "C_UnwrapKey",
        [
            S,
            Arg::Mechanism(CKM_AES_KEY_WRAP, NONE),
            Arg::Number(0),
            Arg::Kept("wrapped"),
            key(CKK_AES, vec![]),
            Arg::New("u"),
        ],
    );
    s.call(
        "with a public key",
        "C_UnwrapKey",
        [
            S,
            Arg::Mechanism(CKM_RSA_PKCS, NONE),
            Arg::Handle("rsa public"),
            Arg::Kept("wrapped"),
            key(CKK_AES, vec![]),
            Arg::New("u"),
        ],
    );
    s
}
