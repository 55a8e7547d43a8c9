//! Signatures (PKCS#11 §5.13 to §5.15, §6.1, §6.3).

use cryptoki_sys::*;
use softhsm_tests::calls::Parameter;

use crate::script::{Arg, S, Script, Start};

const NONE: Parameter = Parameter::None;

pub fn all() -> Vec<Script> {
    vec![signatures(), exchanged(), recovery()]
}

const PSS256: Parameter = Parameter::Pss(CKM_SHA256, CKG_MGF1_SHA256, 32);

/// A name, a mechanism with its parameter, the key, what is signed, and whether signatures differ.
type Case = (&'static str, u64, Parameter, &'static str, Vec<u8>, bool);

fn cases() -> Vec<Case> {
    let hash = vec![7; 32];
    let message = b"a message".to_vec();
    vec![
        (
            "CKM_RSA_PKCS",
            CKM_RSA_PKCS,
            NONE,
            "rsa",
            hash.clone(),
            false,
        ),
        (
            "CKM_RSA_X_509",
            CKM_RSA_X_509,
            NONE,
            "rsa",
            vec![5; 256],
            false,
        ),
        (
            "CKM_SHA1_RSA_PKCS",
            CKM_SHA1_RSA_PKCS,
            NONE,
            "rsa",
            message.clone(),
            false,
        ),
        (
            "CKM_SHA224_RSA_PKCS",
            CKM_SHA224_RSA_PKCS,
            NONE,
            "rsa",
            message.clone(),
            false,
        ),
        (
            "CKM_SHA256_RSA_PKCS",
            CKM_SHA256_RSA_PKCS,
            NONE,
            "rsa",
            message.clone(),
            false,
        ),
        (
            "CKM_SHA384_RSA_PKCS",
            CKM_SHA384_RSA_PKCS,
            NONE,
            "rsa",
            message.clone(),
            false,
        ),
        (
            "CKM_SHA512_RSA_PKCS",
            CKM_SHA512_RSA_PKCS,
            NONE,
            "rsa",
            message.clone(),
            false,
        ),
        (
            "CKM_RSA_PKCS_PSS",
            CKM_RSA_PKCS_PSS,
            PSS256,
            "rsa",
            hash.clone(),
            true,
        ),
        (
            "CKM_SHA256_RSA_PKCS_PSS",
            CKM_SHA256_RSA_PKCS_PSS,
            PSS256,
            "rsa",
            message.clone(),
            true,
        ),
        (
            "PSS without salt",
            CKM_SHA256_RSA_PKCS_PSS,
            Parameter::Pss(CKM_SHA256, CKG_MGF1_SHA256, 0),
            "rsa",
            message.clone(),
            false,
        ),
        ("CKM_ECDSA", CKM_ECDSA, NONE, "p256", hash.clone(), true),
        (
            "CKM_ECDSA P-384",
            CKM_ECDSA,
            NONE,
            "p384",
            hash.clone(),
            true,
        ),
        (
            "CKM_EDDSA",
            CKM_EDDSA,
            NONE,
            "ed25519",
            message.clone(),
            false,
        ),
    ]
}

/// The keys of a case.
fn pair(key: &str) -> (&'static str, &'static str) {
    match key {
        "rsa" => ("rsa private", "rsa public"),
        "p256" => ("p256 private", "p256 public"),
        "p384" => ("p384 private", "p384 public"),
        _ => ("ed25519 private", "ed25519 public"),
    }
}

/// What one module signed, the other verifies.
fn exchanged() -> Script {
    let mut s = Script::with_own_sessions("signatures of the other", Start::Session);
    for (name, kind, parameter, key, data, _) in cases() {
        s.init(
            format!("{name} init"),
            "C_VerifyInit",
            kind,
            &parameter,
            pair(key).1,
        );
        let arguments = [S, Arg::Bytes(data), Arg::Peers(name)];
        s.call(format!("{name} verify"), "C_Verify", arguments);
    }
    s
}

fn signatures() -> Script {
    let mut s = Script::with_own_sessions("sign", Start::LoggedIn);
    for (name, kind, parameter, key, data, random) in cases() {
        let (private, public) = pair(key);
        let data = || Arg::Bytes(data.clone());
        s.init(
            format!("{name} init"),
            "C_SignInit",
            kind,
            &parameter,
            private,
        );
        s.call(format!("{name} length"), "C_Sign", [S, data(), Arg::Query]);
        s.call(
            format!("{name} too small"),
            "C_Sign",
            [S, data(), Arg::Room(63)],
        );
        let step = s.call(
            format!("{name} one part"),
            "C_Sign",
            [S, data(), Arg::Room(512)],
        );
        step.keep(name);
        step.random = random;
        s.call(
            format!("{name} over"),
            "C_Sign",
            [S, data(), Arg::Room(512)],
        );
        s.init(
            format!("{name} verify init"),
            "C_VerifyInit",
            kind,
            &parameter,
            public,
        );
        s.call(
            format!("{name} verify"),
            "C_Verify",
            [S, data(), Arg::Kept(name)],
        );
        s.init(
            format!("{name} init to verify a wrong one"),
            "C_VerifyInit",
            kind,
            &parameter,
            public,
        );
        s.call(
            format!("{name} verify a wrong one"),
            "C_Verify",
            [S, data(), Arg::Damaged(name)],
        );
        s.init(
            format!("{name} init to verify a short one"),
            "C_VerifyInit",
            kind,
            &parameter,
            public,
        );
        s.call(
            format!("{name} verify a short one"),
            "C_Verify",
            [S, data(), Arg::Bytes(vec![1; 31])],
        );
        s.init(
            format!("{name} init for parts"),
            "C_SignInit",
            kind,
            &parameter,
            private,
        );
        s.call(format!("{name} part"), "C_SignUpdate", [S, data()]);
        s.call(
            format!("{name} final length"),
            "C_SignFinal",
            [S, Arg::Query],
        );
        s.call(
            format!("{name} final too small"),
            "C_SignFinal",
            [S, Arg::Room(3)],
        );
        s.call(format!("{name} final"), "C_SignFinal", [S, Arg::Room(512)])
            .random = random;
        s.init(
            format!("{name} verify parts init"),
            "C_VerifyInit",
            kind,
            &parameter,
            public,
        );
        s.call(format!("{name} verify part"), "C_VerifyUpdate", [S, data()]);
        s.call(
            format!("{name} verify final"),
            "C_VerifyFinal",
            [S, Arg::Kept(name)],
        );
        s.init(
            format!("{name} by a public key"),
            "C_SignInit",
            kind,
            &parameter,
            public,
        );
        s.call(format!("{name} end"), "C_SignFinal", [S, Arg::Room(512)])
            .random();
    }
    s
}

fn recovery() -> Script {
    let mut s = Script::with_own_sessions("recovery", Start::LoggedIn);
    for (name, kind, len) in [
        ("CKM_RSA_PKCS", CKM_RSA_PKCS, 20),
        ("CKM_RSA_X_509", CKM_RSA_X_509, 256),
    ] {
        s.init(
            format!("{name} init"),
            "C_SignRecoverInit",
            kind,
            &NONE,
            "rsa private",
        );
        s.call(
            format!("{name} sign"),
            "C_SignRecover",
            [S, Arg::Bytes(vec![1; len]), Arg::Room(256)],
        );
        s.init(
            format!("{name} verify init"),
            "C_VerifyRecoverInit",
            kind,
            &NONE,
            "rsa public",
        );
        s.call(
            format!("{name} verify"),
            "C_VerifyRecover",
            [S, Arg::Bytes(vec![1; 256]), Arg::Room(256)],
        );
    }
    s
}
