//! The table: for each function a call that is right, and for each mechanism the keys that are.

use cryptoki_sys::*;
use softhsm_tests::calls::{Parameter, Value};

/// An argument, or a pointer and its length, which are two.
#[derive(Clone, Debug)]
pub enum Arg {
    Session,
    Slot,
    Key(&'static str),
    Number(usize),
    Bytes(Vec<u8>),
    Mechanism(u64, Parameter),
    Template(Vec<(u64, Value)>),
    /// A buffer and a pointer to its length.
    Room(usize),
    /// A buffer and its length.
    Fill(usize),
    /// A structure or handle of that many bytes.
    Place(usize),
    /// Where handles go, how many, and how many there were.
    Handles(usize),
}

pub const S: Arg = Arg::Session;

/// A call that is right after those before it.
pub struct Good {
    pub function: &'static str,
    pub before: Vec<(&'static str, Vec<Arg>)>,
    pub arguments: Vec<Arg>,
    /// What it writes differs each time.
    pub random: bool,
}

type Before = (&'static str, Vec<Arg>);

const NONE: Parameter = Parameter::None;

fn iv() -> Parameter {
    Parameter::Raw(vec![1; 16])
}

fn bytes(len: usize) -> Arg {
    Arg::Bytes(vec![3; len])
}

/// A readable secret key of 16 bytes.
pub fn secret(key_type: u64) -> Vec<(u64, Value)> {
    let mut template = vec![
        (CKA_CLASS, Value::Number(CKO_SECRET_KEY)),
        (CKA_KEY_TYPE, Value::Number(key_type)),
        (CKA_VALUE, Value::Bytes(vec![5; 16])),
        (CKA_PRIVATE, Value::Bool(false)),
    ];
    for kind in [
        CKA_ENCRYPT,
        CKA_DECRYPT,
        CKA_SIGN,
        CKA_VERIFY,
        CKA_WRAP,
        CKA_UNWRAP,
    ] {
        template.push((kind, Value::Bool(true)));
    }
    template
}

fn init(function: &'static str, kind: u64, parameter: Parameter, key: &'static str) -> Before {
    (
        function,
        vec![S, Arg::Mechanism(kind, parameter), Arg::Key(key)],
    )
}

/// One call for each function that takes anything but handles.
pub fn good() -> Vec<Good> {
    let mut all = Vec::new();
    let mut good = |function, before: Vec<Before>, arguments: Vec<Arg>| {
        all.push(Good {
            function,
            before,
            arguments,
            random: false,
        });
    };
    let first = |function, kind, parameter: Parameter, key| {
        let (function, arguments) = init(function, kind, parameter, key);
        (function, vec![], arguments)
    };
    good(
        "C_GetSlotInfo",
        vec![],
        vec![Arg::Slot, Arg::Place(size_of::<CK_SLOT_INFO>())],
    );
    good(
        "C_GetTokenInfo",
        vec![],
        vec![Arg::Slot, Arg::Place(size_of::<CK_TOKEN_INFO>())],
    );
    good(
        "C_GetMechanismInfo",
        vec![],
        vec![
            Arg::Slot,
            Arg::Number(CKM_RSA_PKCS as usize),
            Arg::Place(24),
        ],
    );
    good(
        "C_GetSessionInfo",
        vec![],
        vec![S, Arg::Place(size_of::<CK_SESSION_INFO>())],
    );
    good(
        "C_GetObjectSize",
        vec![],
        vec![S, Arg::Key("rsa public"), Arg::Place(8)],
    );
    let digest = || ("C_DigestInit", vec![S, Arg::Mechanism(CKM_SHA256, NONE)]);
    good("C_DigestInit", vec![], digest().1);
    good("C_Digest", vec![digest()], vec![S, bytes(9), Arg::Room(32)]);
    good("C_DigestUpdate", vec![digest()], vec![S, bytes(9)]);
    good("C_DigestKey", vec![digest()], vec![S, Arg::Key("generic")]);
    good("C_DigestFinal", vec![digest()], vec![S, Arg::Room(32)]);
    let sign = || init("C_SignInit", CKM_SHA256_RSA_PKCS, NONE, "rsa private");
    let verify = || init("C_VerifyInit", CKM_SHA256_HMAC, NONE, "generic");
    let mac = HMAC_OF_NINE.to_vec();
    let (f, b, a) = first("C_SignInit", CKM_SHA256_RSA_PKCS, NONE, "rsa private");
    good(f, b, a);
    let pss = Parameter::Pss(CKM_SHA256, CKG_MGF1_SHA256, 32);
    let (f, b, a) = first("C_SignInit", CKM_RSA_PKCS_PSS, pss, "rsa private");
    good(f, b, a);
    good("C_Sign", vec![sign()], vec![S, bytes(9), Arg::Room(256)]);
    good("C_SignUpdate", vec![sign()], vec![S, bytes(9)]);
    good("C_SignFinal", vec![sign()], vec![S, Arg::Room(256)]);
    let (f, b, a) = first("C_SignRecoverInit", CKM_RSA_PKCS, NONE, "rsa private");
    good(f, b, a);
    let recover = || init("C_SignRecoverInit", CKM_RSA_PKCS, NONE, "rsa private");
    good(
        "C_SignRecover",
        vec![recover()],
        vec![S, bytes(9), Arg::Room(256)],
    );
    let (f, b, a) = first("C_VerifyInit", CKM_SHA256_HMAC, NONE, "generic");
    good(f, b, a);
    good(
        "C_Verify",
        vec![verify()],
        vec![S, bytes(9), Arg::Bytes(mac.clone())],
    );
    good("C_VerifyUpdate", vec![verify()], vec![S, bytes(9)]);
    let update = || ("C_VerifyUpdate", vec![S, bytes(9)]);
    good(
        "C_VerifyFinal",
        vec![verify(), update()],
        vec![S, Arg::Bytes(mac.clone())],
    );
    let (f, b, a) = first("C_VerifyRecoverInit", CKM_RSA_PKCS, NONE, "rsa public");
    good(f, b, a);
    let encrypt = || init("C_EncryptInit", CKM_AES_CBC, iv(), "aes");
    let decrypt = || init("C_DecryptInit", CKM_AES_CBC, iv(), "aes");
    for (begin, one, update, end) in [
        (encrypt(), "C_Encrypt", "C_EncryptUpdate", "C_EncryptFinal"),
        (decrypt(), "C_Decrypt", "C_DecryptUpdate", "C_DecryptFinal"),
    ] {
        good(begin.0, vec![], begin.1.clone());
        good(one, vec![begin.clone()], vec![S, bytes(32), Arg::Room(32)]);
        good(
            update,
            vec![begin.clone()],
            vec![S, bytes(32), Arg::Room(32)],
        );
        good(end, vec![begin], vec![S, Arg::Room(32)]);
    }
    good(
        "C_DigestEncryptUpdate",
        vec![digest(), encrypt()],
        vec![S, bytes(32), Arg::Room(32)],
    );
    good(
        "C_DecryptDigestUpdate",
        vec![digest(), decrypt()],
        vec![S, bytes(32), Arg::Room(32)],
    );
    good(
        "C_SignEncryptUpdate",
        vec![sign(), encrypt()],
        vec![S, bytes(32), Arg::Room(32)],
    );
    good(
        "C_DecryptVerifyUpdate",
        vec![verify(), decrypt()],
        vec![S, bytes(32), Arg::Room(32)],
    );
    let message = || {
        init(
            "C_MessageSignInit",
            CKM_SHA256_RSA_PKCS,
            NONE,
            "rsa private",
        )
    };
    good(message().0, vec![], message().1);
    let none = || [Arg::Number(0), Arg::Number(0)];
    let [a, b] = none();
    good(
        "C_SignMessage",
        vec![message()],
        vec![S, a, b, bytes(9), Arg::Room(256)],
    );
    let nothing = || vec![S, Arg::Number(0), Arg::Number(0)];
    let part = |end: [Arg; 2]| {
        let mut arguments = nothing();
        arguments.push(bytes(9));
        arguments.extend(end);
        arguments
    };
    let begun = || vec![message(), ("C_SignMessageBegin", nothing())];
    good("C_SignMessageBegin", vec![message()], nothing());
    good("C_SignMessageNext", begun(), part(none()));
    good("C_MessageSignFinal", vec![message()], vec![S]);
    let check = || init("C_MessageVerifyInit", CKM_SHA256_HMAC, NONE, "generic");
    good(check().0, vec![], check().1);
    let [a, b] = none();
    good(
        "C_VerifyMessage",
        vec![check()],
        vec![S, a, b, bytes(9), Arg::Bytes(mac.clone())],
    );
    let begun = || vec![check(), ("C_VerifyMessageBegin", nothing())];
    good("C_VerifyMessageBegin", vec![check()], nothing());
    good("C_VerifyMessageNext", begun(), part(none()));
    good("C_MessageVerifyFinal", vec![check()], vec![S]);
    let mut whole = init("C_VerifySignatureInit", CKM_SHA256_HMAC, NONE, "generic");
    whole.1.push(Arg::Bytes(mac));
    good(whole.0, vec![], whole.1.clone());
    good("C_VerifySignature", vec![whole.clone()], vec![S, bytes(9)]);
    good("C_VerifySignatureUpdate", vec![whole], vec![S, bytes(9)]);
    let search = || {
        (
            "C_FindObjectsInit",
            vec![
                S,
                Arg::Template(vec![(CKA_CLASS, Value::Number(CKO_CERTIFICATE))]),
            ],
        )
    };
    good("C_FindObjectsInit", vec![], search().1);
    good("C_FindObjects", vec![search()], vec![S, Arg::Handles(2)]);
    good("C_FindObjectsFinal", vec![search()], vec![S]);
    good(
        "C_CreateObject",
        vec![],
        vec![S, Arg::Template(secret(CKK_AES)), Arg::Place(8)],
    );
    let label = || Arg::Template(vec![(CKA_LABEL, Value::Bytes(vec![b'x'; 3]))]);
    good(
        "C_CopyObject",
        vec![],
        vec![S, Arg::Key("aes"), label(), Arg::Place(8)],
    );
    good(
        "C_SetAttributeValue",
        vec![],
        vec![S, Arg::Key("aes"), label()],
    );
    let wanted = vec![(CKA_CLASS, Value::Room(8)), (CKA_MODULUS, Value::Room(256))];
    good(
        "C_GetAttributeValue",
        vec![],
        vec![S, Arg::Key("rsa public"), Arg::Template(wanted)],
    );
    let key = |more: Option<(u64, Value)>| {
        let mut template = vec![
            (CKA_CLASS, Value::Number(CKO_SECRET_KEY)),
            (CKA_KEY_TYPE, Value::Number(CKK_AES)),
            (CKA_PRIVATE, Value::Bool(false)),
        ];
        template.extend(more);
        Arg::Template(template)
    };
    let len = || Some((CKA_VALUE_LEN, Value::Number(16)));
    good(
        "C_GenerateKey",
        vec![],
        vec![
            S,
            Arg::Mechanism(CKM_AES_KEY_GEN, NONE),
            key(len()),
            Arg::Place(8),
        ],
    );
    let curve = Value::Bytes(vec![6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7]);
    let public = Arg::Template(vec![(CKA_EC_PARAMS, curve)]);
    let private = Arg::Template(vec![(CKA_TOKEN, Value::Bool(false))]);
    let pair = Arg::Mechanism(CKM_EC_KEY_PAIR_GEN, NONE);
    good(
        "C_GenerateKeyPair",
        vec![],
        vec![S, pair, public, private, Arg::Place(8), Arg::Place(8)],
    );
    let wrap = || Arg::Mechanism(CKM_AES_CBC_PAD, iv());
    good(
        "C_WrapKey",
        vec![],
        vec![
            S,
            wrap(),
            Arg::Key("aes"),
            Arg::Key("generic"),
            Arg::Room(32),
        ],
    );
    let unwrap = Arg::Mechanism(CKM_AES_CBC, iv());
    good(
        "C_UnwrapKey",
        vec![],
        vec![
            S,
            unwrap,
            Arg::Key("aes"),
            bytes(16),
            key(None),
            Arg::Place(8),
        ],
    );
    let ecdh = Parameter::Ecdh(CKD_NULL, vec![], P256_POINT.to_vec());
    let derive = Arg::Mechanism(CKM_ECDH1_DERIVE, ecdh);
    good(
        "C_DeriveKey",
        vec![],
        vec![S, derive, Arg::Key("ec private"), key(len()), Arg::Place(8)],
    );
    good("C_GenerateRandom", vec![], vec![S, Arg::Fill(20)]);
    for good in &mut all {
        good.random = good.function == "C_GenerateRandom";
    }
    all
}

/// HMAC-SHA-256 of nine bytes 3 with a key of sixteen bytes 5.
const HMAC_OF_NINE: [u8; 32] = [
    0xca, 0x98, 0x4e, 0x5b, 0x38, 0x5e, 0x8c, 0x2b, 0xbf, 0xa1, 0xd0, 0x42, 0x09, 0x94, 0x2e, 0x7e,
    0x4f, 0xda, 0xca, 0x08, 0x16, 0xf3, 0xf3, 0x67, 0xa6, 0x78, 0x07, 0xcd, 0x4e, 0x90, 0x39, 0x2f,
];

/// The generator of P-256.
const P256_POINT: [u8; 65] = [
    0x04, 0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4, 0x40,
    0xf2, 0x77, 0x03, 0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2,
    0x96, 0x4f, 0xe3, 0x42, 0xe2, 0xfe, 0x1a, 0x7f, 0x9b, 0x8e, 0xe7, 0xeb, 0x4a, 0x7c, 0x0f, 0x9e,
    0x16, 0x2b, 0xce, 0x33, 0x57, 0x6b, 0x31, 0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51,
    0xf5,
];

/// A function that begins an operation, a mechanism with its parameter, and the keys that it takes.
type Begin = (&'static str, u64, Parameter, &'static [&'static str]);

pub fn mechanisms() -> Vec<Begin> {
    let pss = || Parameter::Pss(CKM_SHA256, CKG_MGF1_SHA256, 32);
    let oaep = || Parameter::Oaep(CKM_SHA256, CKG_MGF1_SHA256, CKZ_DATA_SPECIFIED, vec![]);
    let gcm = || Parameter::Gcm(vec![1; 12], vec![], 128);
    let ctr = || Parameter::Ctr(128, [1; 16]);
    let mut all: Vec<Begin> = Vec::new();
    const PRIVATE: &[&str] = &["rsa private"];
    const PUBLIC: &[&str] = &["rsa public"];
    for (kind, parameter) in [
        (CKM_RSA_PKCS, NONE),
        (CKM_RSA_X_509, NONE),
        (CKM_SHA1_RSA_PKCS, NONE),
        (CKM_SHA512_RSA_PKCS, NONE),
        (CKM_RSA_PKCS_PSS, pss()),
        (CKM_SHA256_RSA_PKCS_PSS, pss()),
    ] {
        all.push(("C_SignInit", kind, parameter.clone(), PRIVATE));
        all.push(("C_VerifyInit", kind, parameter, PUBLIC));
    }
    for kind in [CKM_RSA_PKCS, CKM_RSA_X_509] {
        all.push(("C_SignRecoverInit", kind, NONE, PRIVATE));
        all.push(("C_VerifyRecoverInit", kind, NONE, PUBLIC));
    }
    for (kind, parameter) in [
        (CKM_RSA_PKCS, NONE),
        (CKM_RSA_X_509, NONE),
        (CKM_RSA_PKCS_OAEP, oaep()),
    ] {
        all.push(("C_EncryptInit", kind, parameter.clone(), PUBLIC));
        all.push(("C_DecryptInit", kind, parameter, PRIVATE));
    }
    for kind in [CKM_ECDSA, CKM_ECDSA_SHA256, CKM_ECDSA_SHA512] {
        all.push(("C_SignInit", kind, NONE, &["ec private"]));
        all.push(("C_VerifyInit", kind, NONE, &["ec public"]));
    }
    all.push(("C_SignInit", CKM_EDDSA, NONE, &["ed private"]));
    for function in ["C_EncryptInit", "C_DecryptInit"] {
        for (kind, parameter) in [
            (CKM_AES_ECB, NONE),
            (CKM_AES_CBC, iv()),
            (CKM_AES_CBC_PAD, iv()),
            (CKM_AES_CTR, ctr()),
            (CKM_AES_GCM, gcm()),
        ] {
            all.push((function, kind, parameter, &["aes"]));
        }
    }
    for function in ["C_SignInit", "C_VerifyInit"] {
        all.push((function, CKM_AES_CMAC, NONE, &["aes"]));
        all.push((function, CKM_SHA256_HMAC, NONE, &["generic"]));
        all.push((
            function,
            CKM_SHA256_HMAC_GENERAL,
            Parameter::MacLen(16),
            &["generic"],
        ));
    }
    all
}
