//! Keys that are derived with a peer (PKCS#11 §5.18.5, §6.3.17).

use cryptoki_sys::*;
use softhsm_tests::calls::{Parameter, Value};

use super::{
    keys::{readable, session_key},
    session_objects::P256_POINT,
};
use crate::script::{Arg, S, Script, Start, number};

const NONE: Parameter = Parameter::None;

pub fn all() -> Vec<Script> {
    vec![derive()]
}

fn derive() -> Script {
    let mut s = Script::new("derive", Start::LoggedIn);
    let der = || [&[4, 65][..], &P256_POINT].concat();
    let ecdh = |kdf, shared: &[u8], point: Vec<u8>| {
        Arg::Mechanism(
            CKM_ECDH1_DERIVE,
            Parameter::Ecdh(kdf, shared.to_vec(), point),
        )
    };
    let key = |key_type, len: Option<u64>| {
        let mut template = vec![
            (CKA_CLASS, number(CKO_SECRET_KEY)),
            (CKA_KEY_TYPE, number(key_type)),
        ];
        template.extend(readable());
        template.extend(len.map(|len| (CKA_VALUE_LEN, number(len))));
        session_key(template)
    };
    let generic = |len| key(CKK_GENERIC_SECRET, len);
    let off_curve = [&[4][..], &[5; 64]].concat();
    let hybrid = [&[7][..], &P256_POINT[1..]].concat();
    let compressed = [&[3][..], &P256_POINT[1..33]].concat();
    for (title, mechanism, base, template) in [
        (
            "raw point",
            ecdh(CKD_NULL, b"", P256_POINT.to_vec()),
            "p256 private",
            generic(Some(32)),
        ),
        (
            "DER point",
            ecdh(CKD_NULL, b"", der()),
            "p256 private",
            generic(Some(32)),
        ),
        (
            "without length",
            ecdh(CKD_NULL, b"", der()),
            "p256 private",
            generic(None),
        ),
        (
            "16 bytes",
            ecdh(CKD_NULL, b"", der()),
            "p256 private",
            generic(Some(16)),
        ),
        (
            "33 bytes",
            ecdh(CKD_NULL, b"", der()),
            "p256 private",
            generic(Some(33)),
        ),
        (
            "AES 32",
            ecdh(CKD_NULL, b"", der()),
            "p256 private",
            key(CKK_AES, Some(32)),
        ),
        (
            "AES 16",
            ecdh(CKD_NULL, b"", der()),
            "p256 private",
            key(CKK_AES, Some(16)),
        ),
        (
            "AES 17",
            ecdh(CKD_NULL, b"", der()),
            "p256 private",
            key(CKK_AES, Some(17)),
        ),
        (
            "SHA-1 KDF",
            ecdh(CKD_SHA1_KDF, b"", der()),
            "p256 private",
            generic(Some(32)),
        ),
        (
            "unknown KDF",
            ecdh(0x7fff_0000, b"", der()),
            "p256 private",
            generic(Some(32)),
        ),
        (
            "shared data without KDF",
            ecdh(CKD_NULL, b"abc", der()),
            "p256 private",
            generic(Some(32)),
        ),
        (
            "point off the curve",
            ecdh(CKD_NULL, b"", off_curve),
            "p256 private",
            generic(Some(32)),
        ),
        (
            "hybrid point",
            ecdh(CKD_NULL, b"", hybrid),
            "p256 private",
            generic(Some(32)),
        ),
        (
            "compressed point",
            ecdh(CKD_NULL, b"", compressed),
            "p256 private",
            generic(Some(32)),
        ),
        (
            "point at infinity",
            ecdh(CKD_NULL, b"", vec![0]),
            "p256 private",
            generic(Some(32)),
        ),
        (
            "empty point",
            ecdh(CKD_NULL, b"", vec![]),
            "p256 private",
            generic(Some(32)),
        ),
        (
            "point of another curve",
            ecdh(CKD_NULL, b"", der()),
            "p384 private",
            generic(Some(32)),
        ),
        (
            "RSA key",
            ecdh(CKD_NULL, b"", der()),
            "rsa private",
            generic(Some(32)),
        ),
        (
            "public key",
            ecdh(CKD_NULL, b"", der()),
            "p256 public",
            generic(Some(32)),
        ),
        (
            "no parameter",
            Arg::Mechanism(CKM_ECDH1_DERIVE, NONE),
            "p256 private",
            generic(Some(32)),
        ),
        (
            "short parameter",
            Arg::Mechanism(CKM_ECDH1_DERIVE, Parameter::Raw(vec![1; 24])),
            "p256 private",
            generic(Some(32)),
        ),
        (
            "another mechanism",
            Arg::Mechanism(CKM_SHA256, NONE),
            "p256 private",
            generic(Some(32)),
        ),
        (
            "unknown mechanism",
            Arg::Mechanism(0x7fff_0000, NONE),
            "p256 private",
            generic(Some(32)),
        ),
        (
            "as data",
            ecdh(CKD_NULL, b"", der()),
            "p256 private",
            session_key(vec![(CKA_CLASS, number(CKO_DATA))]),
        ),
    ] {
        s.call(
            title,
            "C_DeriveKey",
            [S, mechanism, Arg::Handle(base), template, Arg::New("d")],
        );
        if matches!(
            title,
            "raw point"
                | "DER point"
                | "without length"
                | "16 bytes"
                | "AES 32"
                | "AES 16"
                | "SHA-1 KDF"
        ) {
            s.call(
                format!("{title}: secret"),
                "C_GetAttributeValue",
                [
                    S,
                    Arg::Handle("d"),
                    Arg::Template(vec![(CKA_VALUE, Value::Room(64))]),
                ],
            );
        }
    }
    s.call(
        "no base key",
        "C_DeriveKey",
        [
            S,
            ecdh(CKD_NULL, b"", der()),
            Arg::Number(0),
            generic(Some(32)),
            Arg::New("d"),
        ],
    );
    s.call(
        "no place for the handle",
        "C_DeriveKey",
        [
            S,
            ecdh(CKD_NULL, b"", der()),
            Arg::Handle("p256 private"),
            generic(Some(32)),
            Arg::Null,
        ],
    );
    s
}
