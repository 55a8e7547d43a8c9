//! Digests and MACs (PKCS#11 §5.12, §5.13, §6.14, §6.20 to §6.24).

use cryptoki_sys::*;
use softhsm_tests::calls::Parameter;

use crate::script::{Arg, S, Script, Start, bytes};

const NONE: Parameter = Parameter::None;

macro_rules! named {
    ($($name:ident)*) => { [$((stringify!($name), $name),)*] };
}

pub fn all() -> Vec<Script> {
    vec![digests(), macs()]
}

fn digests() -> Script {
    let mut s = Script::new("digest", Start::Session);
    for (name, kind) in named!(CKM_SHA_1 CKM_SHA224 CKM_SHA256 CKM_SHA384 CKM_SHA512) {
        let init = |s: &mut Script, title: &str| {
            s.call(
                format!("{name} {title}"),
                "C_DigestInit",
                [S, Arg::Mechanism(kind, NONE)],
            );
        };
        init(&mut s, "init");
        s.call(
            format!("{name} length"),
            "C_Digest",
            [S, bytes("abc"), Arg::Query],
        );
        s.call(
            format!("{name} too small"),
            "C_Digest",
            [S, bytes("abc"), Arg::Room(19)],
        );
        s.call(
            format!("{name} one part"),
            "C_Digest",
            [S, bytes("abc"), Arg::Room(64)],
        );
        init(&mut s, "parts");
        s.call(format!("{name} a"), "C_DigestUpdate", [S, bytes("a")]);
        s.call(
            format!("{name} nothing"),
            "C_DigestUpdate",
            [S, Arg::Bytes(vec![])],
        );
        s.call(format!("{name} bc"), "C_DigestUpdate", [S, bytes("bc")]);
        s.call(
            format!("{name} final length"),
            "C_DigestFinal",
            [S, Arg::Query],
        );
        s.call(
            format!("{name} final too small"),
            "C_DigestFinal",
            [S, Arg::Room(1)],
        );
        s.call(format!("{name} final"), "C_DigestFinal", [S, Arg::Room(64)]);
        init(&mut s, "of nothing");
        s.call(
            format!("{name} nothing at all"),
            "C_Digest",
            [S, Arg::Bytes(vec![]), Arg::Room(64)],
        );
    }
    s.call(
        "digest without init",
        "C_Digest",
        [S, bytes("abc"), Arg::Room(64)],
    );
    s.call("update without init", "C_DigestUpdate", [S, bytes("abc")]);
    s.call("final without init", "C_DigestFinal", [S, Arg::Room(64)]);
    s.call(
        "unknown mechanism",
        "C_DigestInit",
        [S, Arg::Mechanism(0x7fff_0000, NONE)],
    );
    s.call(
        "mechanism of another kind",
        "C_DigestInit",
        [S, Arg::Mechanism(CKM_RSA_PKCS, NONE)],
    );
    s.call("NULL mechanism", "C_DigestInit", [S, Arg::Null]);
    s.call(
        "a parameter",
        "C_DigestInit",
        [S, Arg::Mechanism(CKM_SHA256, Parameter::Raw(vec![1; 8]))],
    );
    s.call(
        "init for a digest",
        "C_DigestInit",
        [S, Arg::Mechanism(CKM_SHA256, NONE)],
    )
    .fresh();
    s.call(
        "init while one is active",
        "C_DigestInit",
        [S, Arg::Mechanism(CKM_SHA256, NONE)],
    );
    s.call(
        "NULL data",
        "C_Digest",
        [S, Arg::NullBytes(3), Arg::Room(64)],
    );
    s.call(
        "update after NULL data",
        "C_DigestUpdate",
        [S, bytes("abc")],
    );
    s.call(
        "init after NULL data",
        "C_DigestInit",
        [S, Arg::Mechanism(CKM_SHA256, NONE)],
    )
    .fresh();
    s.call(
        "NULL length",
        "C_Digest",
        [S, bytes("abc"), Arg::Null, Arg::Null],
    );
    s.call(
        "update after NULL length",
        "C_DigestUpdate",
        [S, bytes("abc")],
    );
    s.call(
        "init after NULL length",
        "C_DigestInit",
        [S, Arg::Mechanism(CKM_SHA256, NONE)],
    )
    .fresh();
    s.call(
        "update before one part",
        "C_DigestUpdate",
        [S, bytes("abc")],
    );
    s.call(
        "one part after update",
        "C_Digest",
        [S, bytes("abc"), Arg::Room(64)],
    );
    s.call("NULL part", "C_DigestUpdate", [S, Arg::NullBytes(3)]);
    s.call(
        "init for a key",
        "C_DigestInit",
        [S, Arg::Mechanism(CKM_SHA256, NONE)],
    )
    .fresh();
    s.secret_key(CKK_GENERIC_SECRET, b"key", "k");
    s.call("a key", "C_DigestKey", [S, Arg::Handle("k")]);
    s.call("final of a key", "C_DigestFinal", [S, Arg::Room(64)]);
    s
}

fn macs() -> Script {
    let mut s = Script::with_own_sessions("MAC", Start::Session);
    for (name, kind) in
        named!(CKM_SHA_1_HMAC CKM_SHA224_HMAC CKM_SHA256_HMAC CKM_SHA384_HMAC CKM_SHA512_HMAC)
    {
        for (len, key) in [(20usize, "short"), (200, "long"), (64, "middle")] {
            let title = format!("{name} {key}");
            let key: &'static str = key;
            s.create(
                format!("key for {title}"),
                crate::script::secret(CKK_GENERIC_SECRET, &vec![9; len]),
                key,
            );
            s.init(format!("{title} init"), "C_SignInit", kind, &NONE, key);
            s.call(
                format!("{title} length"),
                "C_Sign",
                [S, bytes("abc"), Arg::Query],
            );
            s.call(
                format!("{title} one part"),
                "C_Sign",
                [S, bytes("abc"), Arg::Room(64)],
            )
            .keep("mac");
            s.init(
                format!("{title} verify init"),
                "C_VerifyInit",
                kind,
                &NONE,
                key,
            );
            s.call(
                format!("{title} verify"),
                "C_Verify",
                [S, bytes("abc"), Arg::Kept("mac")],
            );
            s.init(
                format!("{title} wrong init"),
                "C_VerifyInit",
                kind,
                &NONE,
                key,
            );
            s.call(
                format!("{title} wrong"),
                "C_Verify",
                [S, bytes("abc"), Arg::Damaged("mac")],
            );
            s.init(
                format!("{title} cut init"),
                "C_VerifyInit",
                kind,
                &NONE,
                key,
            );
            s.call(
                format!("{title} cut"),
                "C_Verify",
                [S, bytes("abc"), Arg::Bytes(vec![1; 10])],
            );
            s.init(format!("{title} parts"), "C_SignInit", kind, &NONE, key);
            s.call(format!("{title} a"), "C_SignUpdate", [S, bytes("a")]);
            s.call(format!("{title} bc"), "C_SignUpdate", [S, bytes("bc")]);
            s.call(format!("{title} final"), "C_SignFinal", [S, Arg::Room(64)]);
        }
    }
    s.secret_key(CKK_AES, b"0123456789abcdef", "aes");
    s.init(
        "HMAC with an AES key",
        "C_SignInit",
        CKM_SHA256_HMAC,
        &NONE,
        "aes",
    );
    s.call("end of it", "C_SignFinal", [S, Arg::Room(64)]);
    s.init("CMAC init", "C_SignInit", CKM_AES_CMAC, &NONE, "aes");
    s.call("CMAC", "C_Sign", [S, bytes("abc"), Arg::Room(16)])
        .keep("mac");
    s.init(
        "CMAC verify init",
        "C_VerifyInit",
        CKM_AES_CMAC,
        &NONE,
        "aes",
    );
    s.call(
        "CMAC verify",
        "C_Verify",
        [S, bytes("abc"), Arg::Kept("mac")],
    );
    s.init(
        "CMAC with a generic key",
        "C_SignInit",
        CKM_AES_CMAC,
        &NONE,
        "short",
    );
    s
}
