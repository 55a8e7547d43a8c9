//! Encryption and decryption (PKCS#11 §5.8 to §5.11).

use cryptoki_sys::*;
use softhsm_tests::calls::Parameter;

use crate::script::{Arg, S, Script, Start, bytes};

const NONE: Parameter = Parameter::None;

pub fn all() -> Vec<Script> {
    vec![aes(), aes_parts(), aes_mistakes(), order()]
}

fn iv() -> Parameter {
    Parameter::Raw((0..16).collect())
}

fn modes() -> Vec<(&'static str, u64, Parameter)> {
    vec![
        ("ECB", CKM_AES_ECB, NONE),
        ("CBC", CKM_AES_CBC, iv()),
        ("CBC_PAD", CKM_AES_CBC_PAD, iv()),
        ("CTR", CKM_AES_CTR, Parameter::Ctr(128, [3; 16])),
        ("CTR of 32 bits", CKM_AES_CTR, Parameter::Ctr(32, [3; 16])),
        (
            "GCM",
            CKM_AES_GCM,
            Parameter::Gcm(vec![1; 12], b"aad".to_vec(), 128),
        ),
        (
            "GCM, short tag",
            CKM_AES_GCM,
            Parameter::Gcm(vec![1; 12], vec![], 96),
        ),
        (
            "GCM, long IV",
            CKM_AES_GCM,
            Parameter::Gcm(vec![1; 60], vec![], 128),
        ),
    ]
}

fn aes() -> Script {
    let mut s = Script::with_own_sessions("AES", Start::Session);
    for (key, len) in [("aes128", 16), ("aes192", 24), ("aes256", 32)] {
        s.secret_key(CKK_AES, &vec![8; len], key);
        for (name, kind, parameter) in modes() {
            for len in [0usize, 1, 15, 16, 17, 32, 100] {
                let title = format!("{key} {name} {len}");
                let data: Vec<u8> = (0..len).map(|byte| byte as u8).collect();
                let data = || Arg::Bytes(data.clone());
                s.init(
                    format!("{title}: init"),
                    "C_EncryptInit",
                    kind,
                    &parameter,
                    key,
                );
                s.call(
                    format!("{title}: length"),
                    "C_Encrypt",
                    [S, data(), Arg::Query],
                );
                s.call(
                    format!("{title}: encrypt"),
                    "C_Encrypt",
                    [S, data(), Arg::Room(256)],
                )
                .keep("ciphertext");
                s.call(
                    format!("{title}: end"),
                    "C_EncryptFinal",
                    [S, Arg::Room(256)],
                );
                s.init(
                    format!("{title}: decrypt init"),
                    "C_DecryptInit",
                    kind,
                    &parameter,
                    key,
                );
                s.call(
                    format!("{title}: decrypt"),
                    "C_Decrypt",
                    [S, Arg::Kept("ciphertext"), Arg::Room(256)],
                );
                s.call(
                    format!("{title}: decrypt end"),
                    "C_DecryptFinal",
                    [S, Arg::Room(256)],
                );
            }
        }
    }
    s
}

fn aes_parts() -> Script {
    let mut s = Script::with_own_sessions("AES in parts", Start::Session);
    s.secret_key(CKK_AES, b"0123456789abcdef", "k");
    for (name, kind, parameter) in modes() {
        s.init(
            format!("{name}: init"),
            "C_EncryptInit",
            kind,
            &parameter,
            "k",
        );
        for len in [0usize, 5, 11, 16, 20, 12] {
            s.call(
                format!("{name}: length for {len}"),
                "C_EncryptUpdate",
                [S, Arg::Bytes(vec![6; len]), Arg::Query],
            );
            s.call(
                format!("{name}: {len}"),
                "C_EncryptUpdate",
                [S, Arg::Bytes(vec![6; len]), Arg::Room(64)],
            );
        }
        s.call(
            format!("{name}: final length"),
            "C_EncryptFinal",
            [S, Arg::Query],
        );
        s.call(
            format!("{name}: final"),
            "C_EncryptFinal",
            [S, Arg::Room(128)],
        );
        s.init(
            format!("{name}: whole init"),
            "C_EncryptInit",
            kind,
            &parameter,
            "k",
        );
        s.call(
            format!("{name}: whole"),
            "C_Encrypt",
            [S, Arg::Bytes(vec![6; 64]), Arg::Room(128)],
        )
        .keep("ciphertext");
        s.init(
            format!("{name}: decrypt init"),
            "C_DecryptInit",
            kind,
            &parameter,
            "k",
        );
        s.call(
            format!("{name}: decrypt update"),
            "C_DecryptUpdate",
            [S, Arg::Kept("ciphertext"), Arg::Room(128)],
        );
        s.call(
            format!("{name}: decrypt final length"),
            "C_DecryptFinal",
            [S, Arg::Query],
        );
        s.call(
            format!("{name}: decrypt final"),
            "C_DecryptFinal",
            [S, Arg::Room(128)],
        );
    }
    s
}

fn aes_mistakes() -> Script {
    let mut s = Script::with_own_sessions("mistakes with AES", Start::Session);
    s.secret_key(CKK_AES, b"0123456789abcdef", "k");
    s.secret_key(CKK_GENERIC_SECRET, b"0123456789abcdef", "generic");
    let gcm = |iv: usize, bits| Parameter::Gcm(vec![1; iv], vec![], bits);
    for (title, kind, parameter, key) in [
        ("CBC without IV", CKM_AES_CBC, NONE, "k"),
        (
            "CBC with 15 bytes of IV",
            CKM_AES_CBC,
            Parameter::Raw(vec![0; 15]),
            "k",
        ),
        (
            "CBC with 17 bytes of IV",
            CKM_AES_CBC,
            Parameter::Raw(vec![0; 17]),
            "k",
        ),
        (
            "ECB with a parameter",
            CKM_AES_ECB,
            Parameter::Raw(vec![0; 16]),
            "k",
        ),
        ("CTR without parameter", CKM_AES_CTR, NONE, "k"),
        (
            "CTR of no bits",
            CKM_AES_CTR,
            Parameter::Ctr(0, [0; 16]),
            "k",
        ),
        (
            "CTR of 129 bits",
            CKM_AES_CTR,
            Parameter::Ctr(129, [0; 16]),
            "k",
        ),
        ("GCM without parameter", CKM_AES_GCM, NONE, "k"),
        (
            "GCM with a short parameter",
            CKM_AES_GCM,
            Parameter::Raw(vec![0; 40]),
            "k",
        ),
        ("GCM with no IV", CKM_AES_GCM, gcm(0, 128), "k"),
        ("GCM with a tag of 136 bits", CKM_AES_GCM, gcm(12, 136), "k"),
        ("GCM with a tag of 7 bits", CKM_AES_GCM, gcm(12, 7), "k"),
        ("GCM with no tag", CKM_AES_GCM, gcm(12, 0), "k"),
        ("a generic key", CKM_AES_CBC, iv(), "generic"),
        ("an RSA key", CKM_AES_CBC, iv(), "rsa public"),
        ("a digest", CKM_SHA256, NONE, "k"),
        ("an unknown mechanism", 0x7fff_0000, NONE, "k"),
    ] {
        s.init(title, "C_EncryptInit", kind, &parameter, key);
        s.call(
            format!("{title}: end"),
            "C_Encrypt",
            [S, bytes([1; 16]), Arg::Room(64)],
        );
        s.init(
            format!("decrypt: {title}"),
            "C_DecryptInit",
            kind,
            &parameter,
            key,
        );
        s.call(
            format!("decrypt: {title}: end"),
            "C_Decrypt",
            [S, bytes([1; 32]), Arg::Room(64)],
        )
        .random();
    }
    for (title, kind, parameter, input) in [
        ("CBC_PAD of nothing", CKM_AES_CBC_PAD, iv(), vec![]),
        ("CBC_PAD of 15 bytes", CKM_AES_CBC_PAD, iv(), vec![1; 15]),
        (
            "CBC_PAD of a wrong padding",
            CKM_AES_CBC_PAD,
            iv(),
            vec![1; 16],
        ),
        ("CBC of 15 bytes", CKM_AES_CBC, iv(), vec![1; 15]),
        (
            "GCM of less than a tag",
            CKM_AES_GCM,
            gcm(12, 128),
            vec![1; 15],
        ),
        ("GCM of a wrong tag", CKM_AES_GCM, gcm(12, 128), vec![1; 32]),
    ] {
        s.init(
            format!("{title}: init"),
            "C_DecryptInit",
            kind,
            &parameter,
            "k",
        );
        s.call(title, "C_Decrypt", [S, Arg::Bytes(input), Arg::Room(64)]);
        s.call(
            format!("{title}: over"),
            "C_DecryptFinal",
            [S, Arg::Room(64)],
        );
    }
    s
}

fn order() -> Script {
    let mut s = Script::new("order of ciphers", Start::Session);
    s.secret_key(CKK_AES, b"0123456789abcdef", "k");
    for function in [
        "C_Encrypt",
        "C_Decrypt",
        "C_EncryptUpdate",
        "C_DecryptUpdate",
    ] {
        s.call(
            format!("{function} without init"),
            function,
            [S, bytes([1; 16]), Arg::Room(64)],
        );
    }
    s.call(
        "encrypt final without init",
        "C_EncryptFinal",
        [S, Arg::Room(64)],
    );
    s.call(
        "decrypt final without init",
        "C_DecryptFinal",
        [S, Arg::Room(64)],
    );
    s.init("init", "C_EncryptInit", CKM_AES_CBC, &iv(), "k");
    s.init("init again", "C_EncryptInit", CKM_AES_CBC, &iv(), "k");
    s.init(
        "decrypt init meanwhile",
        "C_DecryptInit",
        CKM_AES_CBC,
        &iv(),
        "k",
    );
    s.call("too small", "C_Encrypt", [S, bytes([1; 32]), Arg::Room(31)]);
    s.call(
        "update",
        "C_EncryptUpdate",
        [S, bytes([1; 16]), Arg::Room(64)],
    );
    s.call(
        "update too small",
        "C_EncryptUpdate",
        [S, bytes([1; 16]), Arg::Room(1)],
    );
    s.call(
        "one part after update",
        "C_Encrypt",
        [S, bytes([1; 16]), Arg::Room(64)],
    );
    s.call("final after that", "C_EncryptFinal", [S, Arg::Room(64)]);
    s.call(
        "decrypt is still there",
        "C_DecryptFinal",
        [S, Arg::Room(64)],
    );
    s.init(
        "init for NULL data",
        "C_EncryptInit",
        CKM_AES_CBC,
        &iv(),
        "k",
    )
    .fresh();
    s.call(
        "NULL data",
        "C_Encrypt",
        [S, Arg::NullBytes(16), Arg::Room(64)],
    );
    s.init(
        "init for a NULL length",
        "C_EncryptInit",
        CKM_AES_CBC,
        &iv(),
        "k",
    )
    .fresh();
    s.call(
        "NULL length",
        "C_Encrypt",
        [S, bytes([1; 16]), Arg::Null, Arg::Null],
    );
    s.init("cancel: init", "C_EncryptInit", CKM_AES_CBC, &iv(), "k")
        .fresh();
    s.call(
        "cancel by a NULL mechanism",
        "C_EncryptInit",
        [S, Arg::Null, Arg::Number(0)],
    );
    s.call(
        "encrypt after cancel",
        "C_Encrypt",
        [S, bytes([1; 16]), Arg::Room(64)],
    );
    s.call(
        "NULL mechanism without operation",
        "C_DecryptInit",
        [S, Arg::Null, Arg::Handle("k")],
    );
    s
}
