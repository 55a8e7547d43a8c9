//! Encryption and decryption with RSA keys (PKCS#11 §5.8, §5.10, §6.1).

use cryptoki_sys::*;
use softhsm_tests::calls::Parameter;

use crate::script::{Arg, S, Script, Start, bytes};

const NONE: Parameter = Parameter::None;

pub fn all() -> Vec<Script> {
    vec![rsa(), exchanged(), too_long()]
}

fn oaep(hash: u64, mgf: u64, label: &[u8]) -> Parameter {
    Parameter::Oaep(hash, mgf, CKZ_DATA_SPECIFIED, label.to_vec())
}

fn rsa() -> Script {
    let mut s = Script::with_own_sessions("RSA encryption", Start::LoggedIn);
    let (private, public) = ("rsa private", "rsa public");
    let cases = [
        ("PKCS #1", CKM_RSA_PKCS, NONE, vec![3; 40], true),
        ("PKCS #1, all of it", CKM_RSA_PKCS, NONE, vec![3; 245], true),
        ("PKCS #1, too much", CKM_RSA_PKCS, NONE, vec![3; 246], true),
        ("PKCS #1, nothing", CKM_RSA_PKCS, NONE, vec![], true),
        (
            "OAEP",
            CKM_RSA_PKCS_OAEP,
            oaep(CKM_SHA_1, CKG_MGF1_SHA1, b""),
            vec![3; 40],
            true,
        ),
        (
            "OAEP, all of it",
            CKM_RSA_PKCS_OAEP,
            oaep(CKM_SHA_1, CKG_MGF1_SHA1, b""),
            vec![3; 214],
            true,
        ),
        (
            "OAEP, too much",
            CKM_RSA_PKCS_OAEP,
            oaep(CKM_SHA_1, CKG_MGF1_SHA1, b""),
            vec![3; 215],
            true,
        ),
        (
            "OAEP SHA-256",
            CKM_RSA_PKCS_OAEP,
            oaep(CKM_SHA256, CKG_MGF1_SHA256, b""),
            vec![3; 40],
            true,
        ),
        (
            "OAEP with a label",
            CKM_RSA_PKCS_OAEP,
            oaep(CKM_SHA_1, CKG_MGF1_SHA1, b"label"),
            vec![3; 40],
            true,
        ),
        (
            "OAEP without source",
            CKM_RSA_PKCS_OAEP,
            Parameter::Oaep(CKM_SHA_1, CKG_MGF1_SHA1, 0, vec![]),
            vec![3; 40],
            true,
        ),
        (
            "OAEP without parameter",
            CKM_RSA_PKCS_OAEP,
            NONE,
            vec![3; 40],
            true,
        ),
        (
            "OAEP, short parameter",
            CKM_RSA_PKCS_OAEP,
            Parameter::Raw(vec![0; 39]),
            vec![3; 40],
            true,
        ),
        (
            "OAEP, unknown hash",
            CKM_RSA_PKCS_OAEP,
            oaep(CKM_MD5, CKG_MGF1_SHA1, b""),
            vec![3; 40],
            true,
        ),
        ("raw", CKM_RSA_X_509, NONE, vec![3; 256], false),
        ("raw, little", CKM_RSA_X_509, NONE, vec![3; 20], false),
        (
            "raw, above the modulus",
            CKM_RSA_X_509,
            NONE,
            vec![0xff; 256],
            false,
        ),
    ];
    for (name, kind, parameter, data, random) in cases {
        let data = || Arg::Bytes(data.clone());
        s.init(
            format!("{name}: init"),
            "C_EncryptInit",
            kind,
            &parameter,
            public,
        );
        s.call(
            format!("{name}: length"),
            "C_Encrypt",
            [S, data(), Arg::Query],
        );
        s.call(
            format!("{name}: too small"),
            "C_Encrypt",
            [S, data(), Arg::Room(255)],
        );
        let step = s.call(
            format!("{name}: encrypt"),
            "C_Encrypt",
            [S, data(), Arg::Room(256)],
        );
        step.keep(name);
        step.random = random;
        s.init(
            format!("{name}: decrypt init"),
            "C_DecryptInit",
            kind,
            &parameter,
            private,
        );
        s.call(
            format!("{name}: decrypt length"),
            "C_Decrypt",
            [S, Arg::Kept(name), Arg::Query],
        );
        s.call(
            format!("{name}: decrypt too small"),
            "C_Decrypt",
            [S, Arg::Kept(name), Arg::Room(2)],
        );
        s.call(
            format!("{name}: decrypt"),
            "C_Decrypt",
            [S, Arg::Kept(name), Arg::Room(256)],
        );
        s.call(
            format!("{name}: end"),
            "C_DecryptFinal",
            [S, Arg::Room(256)],
        );
    }
    for (title, input) in [
        ("what is short", vec![1; 255]),
        ("what is long", vec![1; 257]),
        ("what is above the modulus", vec![0xff; 256]),
        ("no ciphertext", vec![]),
    ] {
        for (name, kind, parameter) in [
            ("PKCS #1", CKM_RSA_PKCS, NONE),
            (
                "OAEP",
                CKM_RSA_PKCS_OAEP,
                oaep(CKM_SHA_1, CKG_MGF1_SHA1, b""),
            ),
            ("raw", CKM_RSA_X_509, NONE),
        ] {
            s.init(
                format!("{name}, {title}: init"),
                "C_DecryptInit",
                kind,
                &parameter,
                private,
            );
            s.call(
                format!("{name}, {title}"),
                "C_Decrypt",
                [S, Arg::Bytes(input.clone()), Arg::Room(256)],
            );
            s.call(
                format!("{name}, {title}: end"),
                "C_DecryptFinal",
                [S, Arg::Room(256)],
            );
        }
    }
    s.init(
        "OAEP, damaged: init",
        "C_DecryptInit",
        CKM_RSA_PKCS_OAEP,
        &oaep(CKM_SHA_1, CKG_MGF1_SHA1, b""),
        private,
    );
    s.call(
        "OAEP, damaged",
        "C_Decrypt",
        [S, Arg::Damaged("OAEP"), Arg::Room(256)],
    );
    s.call("OAEP, damaged: end", "C_DecryptFinal", [S, Arg::Room(256)]);
    s.init(
        "PKCS #1, damaged: init",
        "C_DecryptInit",
        CKM_RSA_PKCS,
        &NONE,
        private,
    );
    s.call(
        "PKCS #1, damaged",
        "C_Decrypt",
        [S, Arg::Damaged("PKCS #1"), Arg::Room(256)],
    )
    .random();
    s.call(
        "PKCS #1, damaged: end",
        "C_DecryptFinal",
        [S, Arg::Room(256)],
    );
    s.init(
        "private key encrypts",
        "C_EncryptInit",
        CKM_RSA_PKCS,
        &NONE,
        private,
    );
    s.call(
        "private key encrypts: end",
        "C_EncryptFinal",
        [S, Arg::Room(256)],
    );
    s.init(
        "public key decrypts",
        "C_DecryptInit",
        CKM_RSA_PKCS,
        &NONE,
        public,
    );
    s.call(
        "public key decrypts: end",
        "C_DecryptFinal",
        [S, Arg::Room(256)],
    );
    s.init(
        "EC key decrypts",
        "C_DecryptInit",
        CKM_RSA_PKCS,
        &NONE,
        "p256 private",
    );
    s.init(
        "EC key encrypts",
        "C_EncryptInit",
        CKM_RSA_PKCS,
        &NONE,
        "p256 public",
    );
    s.init("parts: init", "C_EncryptInit", CKM_RSA_PKCS, &NONE, public);
    s.call(
        "parts: update",
        "C_EncryptUpdate",
        [S, bytes("abc"), Arg::Room(256)],
    );
    s.call("parts: final", "C_EncryptFinal", [S, Arg::Room(256)])
        .random();
    s
}

/// What one module encrypted, the other decrypts.
fn exchanged() -> Script {
    let mut s = Script::with_own_sessions("ciphertexts of the other", Start::LoggedIn);
    let oaep = oaep(CKM_SHA_1, CKG_MGF1_SHA1, b"");
    for (name, kind, parameter) in [
        ("PKCS #1", CKM_RSA_PKCS, &NONE),
        ("PKCS #1, all of it", CKM_RSA_PKCS, &NONE),
        ("OAEP", CKM_RSA_PKCS_OAEP, &oaep),
        ("OAEP, all of it", CKM_RSA_PKCS_OAEP, &oaep),
    ] {
        s.init(
            format!("{name} init"),
            "C_DecryptInit",
            kind,
            parameter,
            "rsa private",
        );
        let arguments = [S, Arg::Peers(name), Arg::Room(256)];
        s.call(format!("{name} decrypt"), "C_Decrypt", arguments);
    }
    s
}

/// SoftHSM2 ends the process.
fn too_long() -> Script {
    let mut s = Script::new("raw RSA encryption of 257 bytes", Start::Session);
    s.init("init", "C_EncryptInit", CKM_RSA_X_509, &NONE, "rsa public");
    s.call(
        "encrypt",
        "C_Encrypt",
        [S, Arg::Bytes(vec![3; 257]), Arg::Room(256)],
    );
    s
}
