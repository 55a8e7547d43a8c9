//! Objects that a program makes for its session: every mistake that a template can have (PKCS#11 §4.1, §5.7).

use cryptoki_sys::*;
use softhsm_tests::calls::Value;

use crate::script::{Arg, S, Script, Start, number, secret};

/// A template, as a program would say it.
pub type Template = Vec<(u64, Value)>;

/// A modulus of 2048 bits: an odd number, which is all that anybody looks at.
pub fn modulus() -> Vec<u8> {
    (0..256u32).map(|at| (at * 37 + 129) as u8 | 1).collect()
}

/// The DER object identifier of P-256, and its generator as a point.
pub const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
pub const P256_POINT: [u8; 65] = [
    0x04, 0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4, 0x40,
    0xf2, 0x77, 0x03, 0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2,
    0x96, 0x4f, 0xe3, 0x42, 0xe2, 0xfe, 0x1a, 0x7f, 0x9b, 0x8e, 0xe7, 0xeb, 0x4a, 0x7c, 0x0f, 0x9e,
    0x16, 0x2b, 0xce, 0x33, 0x57, 0x6b, 0x31, 0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51,
    0xf5,
];

/// A certificate that nobody has the key of, and its subject CN=Certificate.
const CERTIFICATE: &[u8] = include_bytes!("certificate.der");
const SUBJECT: &[u8] = b"\x30\x16\x31\x14\x30\x12\x06\x03\x55\x04\x03\x0c\x0bCertificate";

pub fn all() -> Vec<Script> {
    vec![creates(), creates_before_login()]
}

pub fn data() -> Template {
    vec![
        (CKA_CLASS, number(CKO_DATA)),
        (CKA_TOKEN, Value::Bool(false)),
        (CKA_PRIVATE, Value::Bool(false)),
        (CKA_LABEL, Value::Bytes(b"some data".to_vec())),
        (CKA_VALUE, Value::Bytes(b"0123456789".to_vec())),
    ]
}

fn certificate() -> Template {
    vec![
        (CKA_CLASS, number(CKO_CERTIFICATE)),
        (CKA_CERTIFICATE_TYPE, number(CKC_X_509)),
        (CKA_PRIVATE, Value::Bool(false)),
        (CKA_SUBJECT, Value::Bytes(SUBJECT.to_vec())),
        (CKA_VALUE, Value::Bytes(CERTIFICATE.to_vec())),
    ]
}

fn rsa_public() -> Template {
    vec![
        (CKA_CLASS, number(CKO_PUBLIC_KEY)),
        (CKA_KEY_TYPE, number(CKK_RSA)),
        (CKA_PRIVATE, Value::Bool(false)),
        (CKA_MODULUS, Value::Bytes(modulus())),
        (CKA_PUBLIC_EXPONENT, Value::Bytes(vec![1, 0, 1])),
    ]
}

fn ec_public() -> Template {
    let mut point = vec![4, 65];
    point.extend(P256_POINT);
    vec![
        (CKA_CLASS, number(CKO_PUBLIC_KEY)),
        (CKA_KEY_TYPE, number(CKK_EC)),
        (CKA_PRIVATE, Value::Bool(false)),
        (CKA_EC_PARAMS, Value::Bytes(P256.to_vec())),
        (CKA_EC_POINT, Value::Bytes(point)),
    ]
}

pub fn aes() -> Template {
    secret(CKK_AES, b"0123456789abcdef")
}

fn generic() -> Template {
    secret(CKK_GENERIC_SECRET, b"0123456789abcdef")
}

fn without(mut template: Template, kind: u64) -> Template {
    template.retain(|(other, _)| *other != kind);
    template
}

pub fn with(template: Template, kind: u64, value: Value) -> Template {
    let mut template = without(template, kind);
    template.push((kind, value));
    template
}

pub fn and(mut template: Template, kind: u64, value: Value) -> Template {
    template.push((kind, value));
    template
}

fn creates() -> Script {
    let mut s = Script::new("create", Start::LoggedIn);
    type Make = fn() -> Template;
    let kinds: [(&str, Make); 6] = [
        ("data", data),
        ("certificate", certificate),
        ("RSA public key", rsa_public),
        ("EC public key", ec_public),
        ("AES key", aes),
        ("generic secret", generic),
    ];
    for (kind, make) in kinds {
        s.create(kind, make(), "o");
        for (attribute, _) in make() {
            if matches!(
                attribute,
                CKA_CLASS
                    | CKA_KEY_TYPE
                    | CKA_CERTIFICATE_TYPE
                    | CKA_SUBJECT
                    | CKA_VALUE
                    | CKA_MODULUS
                    | CKA_PUBLIC_EXPONENT
                    | CKA_EC_PARAMS
                    | CKA_EC_POINT
            ) {
                s.create(
                    format!("{kind} without {attribute:#x}"),
                    without(make(), attribute),
                    "o",
                );
            }
        }
        for (title, attribute, value) in [
            ("a class of 4 bytes", CKA_CLASS, Value::Bytes(vec![0; 4])),
            ("CKA_TOKEN of 8 bytes", CKA_TOKEN, Value::Bytes(vec![0; 8])),
            ("CKA_TOKEN of value 7", CKA_TOKEN, Value::Bytes(vec![7])),
            ("CKA_PRIVATE of no byte", CKA_PRIVATE, Value::Bytes(vec![])),
            ("CKA_TOKEN", CKA_TOKEN, Value::Bool(true)),
            ("CKA_PRIVATE", CKA_PRIVATE, Value::Bool(true)),
            ("an unknown attribute", 0x7fff_0000, Value::Bytes(vec![1])),
            ("CKA_LOCAL", CKA_LOCAL, Value::Bool(true)),
            ("CKA_UNIQUE_ID", CKA_UNIQUE_ID, Value::Bytes(b"me".to_vec())),
            ("CKA_TRUSTED", CKA_TRUSTED, Value::Bool(true)),
            ("a label of NULL", CKA_LABEL, Value::Null(4)),
            ("a label of NULL and no length", CKA_LABEL, Value::Null(0)),
        ] {
            s.create(
                format!("{kind} with {title}"),
                with(make(), attribute, value),
                "o",
            );
        }
        s.create(
            format!("{kind} with one label twice"),
            and(
                with(make(), CKA_LABEL, Value::Bytes(b"a".to_vec())),
                CKA_LABEL,
                Value::Bytes(b"a".to_vec()),
            ),
            "o",
        );
        s.create(
            format!("{kind} with two labels"),
            and(
                with(make(), CKA_LABEL, Value::Bytes(b"a".to_vec())),
                CKA_LABEL,
                Value::Bytes(b"b".to_vec()),
            ),
            "o",
        );
    }
    s.create(
        "data with a modulus",
        and(data(), CKA_MODULUS, Value::Bytes(vec![1])),
        "o",
    );
    s.create("AES key of 15 bytes", secret(CKK_AES, &[1; 15]), "o");
    s.create("AES key of no bytes", secret(CKK_AES, &[]), "o");
    s.create(
        "generic secret of no bytes",
        secret(CKK_GENERIC_SECRET, &[]),
        "o",
    );
    s.create(
        "AES key with CKA_VALUE_LEN",
        and(aes(), CKA_VALUE_LEN, number(16)),
        "o",
    );
    s.create(
        "AES key with a modulus",
        and(aes(), CKA_MODULUS, Value::Bytes(vec![1])),
        "o",
    );
    s.create(
        "AES key with CKA_ALWAYS_SENSITIVE",
        and(aes(), CKA_ALWAYS_SENSITIVE, Value::Bool(true)),
        "o",
    );
    s.create(
        "AES key with CKA_KEY_GEN_MECHANISM",
        and(aes(), CKA_KEY_GEN_MECHANISM, number(CKM_AES_KEY_GEN)),
        "o",
    );
    s.create(
        "AES key of an unknown type",
        with(aes(), CKA_KEY_TYPE, number(0x7fff_0000)),
        "o",
    );
    s.create(
        "an unknown class",
        with(data(), CKA_CLASS, number(0x7fff_0000)),
        "o",
    );
    s.create(
        "hardware feature",
        with(data(), CKA_CLASS, number(CKO_HW_FEATURE)),
        "o",
    );
    s.create(
        "mechanism object",
        with(data(), CKA_CLASS, number(CKO_MECHANISM)),
        "o",
    );
    s.create(
        "EC public key with a point that is not on the curve",
        with(
            ec_public(),
            CKA_EC_POINT,
            Value::Bytes([&[4, 65, 4][..], &[5; 64]].concat()),
        ),
        "o",
    );
    s.create(
        "EC public key with unknown parameters",
        with(ec_public(), CKA_EC_PARAMS, Value::Bytes(vec![6, 1, 42])),
        "o",
    );
    s.create(
        "RSA public key with CKA_MODULUS_BITS",
        and(rsa_public(), CKA_MODULUS_BITS, number(2048)),
        "o",
    );
    s.create(
        "RSA public key with an even exponent",
        with(rsa_public(), CKA_PUBLIC_EXPONENT, Value::Bytes(vec![2])),
        "o",
    );
    s.create(
        "certificate that is none",
        with(certificate(), CKA_VALUE, Value::Bytes(vec![0x30, 0])),
        "o",
    );
    s.create(
        "certificate with a start date that is none",
        and(
            certificate(),
            CKA_START_DATE,
            Value::Bytes(b"tomorrow".to_vec()),
        ),
        "o",
    );
    s.call(
        "no place for the handle",
        "C_CreateObject",
        [S, Arg::Template(data()), Arg::Null],
    );
    s.call(
        "NULL for a template",
        "C_CreateObject",
        [S, Arg::NullBytes(3), Arg::New("o")],
    );
    s.call(
        "no template",
        "C_CreateObject",
        [S, Arg::NullBytes(0), Arg::New("o")],
    );
    s.create("a last key", aes(), "last");
    for (name, kind) in [
        ("CKA_LOCAL", CKA_LOCAL),
        ("CKA_SENSITIVE", CKA_SENSITIVE),
        ("CKA_ALWAYS_SENSITIVE", CKA_ALWAYS_SENSITIVE),
        ("CKA_NEVER_EXTRACTABLE", CKA_NEVER_EXTRACTABLE),
        ("CKA_KEY_GEN_MECHANISM", CKA_KEY_GEN_MECHANISM),
        ("CKA_VALUE", CKA_VALUE),
        ("CKA_VALUE_LEN", CKA_VALUE_LEN),
        ("CKA_CHECK_VALUE", CKA_CHECK_VALUE),
        ("CKA_TOKEN", CKA_TOKEN),
        ("CKA_MODIFIABLE", CKA_MODIFIABLE),
        ("CKA_COPYABLE", CKA_COPYABLE),
        ("CKA_DESTROYABLE", CKA_DESTROYABLE),
        ("CKA_TRUSTED", CKA_TRUSTED),
    ] {
        s.call(
            format!("the last key's {name}"),
            "C_GetAttributeValue",
            [
                S,
                Arg::Handle("last"),
                Arg::Template(vec![(kind, Value::Room(64))]),
            ],
        );
    }
    s
}

fn creates_before_login() -> Script {
    let mut s = Script::new("create before login", Start::Session);
    s.create("public data", data(), "o");
    s.create(
        "private data",
        with(data(), CKA_PRIVATE, Value::Bool(true)),
        "o",
    );
    s.create("data that says nothing", without(data(), CKA_PRIVATE), "o");
    s.create("key that says nothing", without(aes(), CKA_PRIVATE), "o");
    s.create("key that is public", aes(), "o");
    s.create(
        "token object",
        with(data(), CKA_TOKEN, Value::Bool(true)),
        "o",
    );
    s
}
