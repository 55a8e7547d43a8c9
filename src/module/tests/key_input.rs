//! The functions that make keys under bad input: lengths that cannot be, pointers that are missing or
//! at odd addresses, and what is left of a key that was refused.
#![allow(clippy::undocumented_unsafe_blocks)] // calls of the C functions that are under test
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a test's own functions

mod key_functions;
mod operations;
mod support;

use std::ptr::null_mut;

use cryptoki_sys::*;
use ctk_pkcs11::abi::*;
use ctk_token::Curve;
use key_functions::*;
use operations::*;
use support::*;

const HUGE: [CK_ULONG; 3] = [CK_ULONG::MAX, CK_ULONG::MAX / 2 + 1, CK_ULONG::MAX / 16];

/// What a call gets; each is good until a test spoils it.
struct Arguments {
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
    /// Another key, for those who take two.
    other: CK_OBJECT_HANDLE,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    data: *mut CK_BYTE,
    data_len: CK_ULONG,
    out: *mut CK_BYTE,
    out_len: *mut CK_ULONG,
    handle: *mut CK_OBJECT_HANDLE,
}

type Function = (&'static str, CK_MECHANISM_TYPE, fn(&Arguments) -> CK_RV);

/// Each function with a mechanism for the key that it gets.
const FUNCTIONS: [Function; 5] = [
    ("C_GenerateKey", CKM_AES_KEY_GEN, |it| unsafe {
        C_GenerateKey(it.session, it.mechanism, it.template, it.count, it.handle)
    }),
    ("C_WrapKey", CKM_AES_KEY_WRAP, |it| unsafe {
        C_WrapKey(
            it.session,
            it.mechanism,
            it.key,
            it.other,
            it.out,
            it.out_len,
        )
    }),
    ("C_UnwrapKey", CKM_AES_KEY_WRAP, |it| unsafe {
        let (data, len) = (it.data, it.data_len);
        let (template, count) = (it.template, it.count);
        C_UnwrapKey(
            it.session,
            it.mechanism,
            it.key,
            data,
            len,
            template,
            count,
            it.handle,
        )
    }),
    ("C_DeriveKey", CKM_ECDH1_DERIVE, |it| unsafe {
        C_DeriveKey(
            it.session,
            it.mechanism,
            it.key,
            it.template,
            it.count,
            it.handle,
        )
    }),
    ("C_EncapsulateKey", CKM_ML_KEM, |it| unsafe {
        let (template, count) = (it.template, it.count);
        let (out, len) = (it.out, it.out_len);
        C_EncapsulateKey(
            it.session,
            it.mechanism,
            it.key,
            template,
            count,
            out,
            len,
            it.handle,
        )
    }),
];

/// A template, data and room at odd addresses, with everything good in them, and what then comes.
fn with_good_arguments(
    session: Session,
    function: &Function,
    call: impl Fn(&mut Arguments) -> CK_RV,
) {
    let (name, kind, _) = function;
    let (key, point) = match *kind {
        CKM_ECDH1_DERIVE => {
            let curve = b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
            let params = [(CKA_EC_PARAMS, &curve[..])];
            let private = [(CKA_DERIVE, YES)];
            let made = generate_pair(session, CKM_EC_KEY_PAIR_GEN, &params, &private);
            let (public, private) = made.unwrap();
            (private, value(session, public, CKA_EC_POINT).unwrap())
        }
        CKM_ML_KEM => {
            let set = CKP_ML_KEM_768.to_ne_bytes();
            let params = [(CKA_PARAMETER_SET, &set[..])];
            let made = generate_pair(session, CKM_ML_KEM_KEY_PAIR_GEN, &params, &[]);
            (made.unwrap().0, Vec::new())
        }
        _ => (aes(session, 32), Vec::new()),
    };
    let other = aes(session, 16);
    let wrapped = match *kind {
        CKM_AES_KEY_WRAP => wrap(session, &Mechanism::new(CKM_AES_KEY_WRAP), key, other).unwrap(),
        _ => vec![0; 24],
    };
    let len = 16u64.to_ne_bytes();
    let attributes = match *name {
        "C_EncapsulateKey" => vec![attribute(CKA_KEY_TYPE, &AES)],
        _ => vec![
            attribute(CKA_KEY_TYPE, &AES),
            attribute(CKA_VALUE_LEN, &len),
        ],
    };
    let size = size_of::<CK_ATTRIBUTE>();
    let mut template = vec![0u8; attributes.len() * size + 1];
    for (index, attribute) in attributes.iter().enumerate() {
        let place = template[1 + index * size..].as_mut_ptr();
        unsafe { place.cast::<CK_ATTRIBUTE>().write_unaligned(*attribute) };
    }
    let parameter = CK_ECDH1_DERIVE_PARAMS {
        kdf: CKD_NULL,
        ulSharedDataLen: 0,
        pSharedData: null_mut(),
        ulPublicDataLen: point.len() as CK_ULONG,
        pPublicData: point.as_ptr().cast_mut(),
    };
    let mechanism = match *kind {
        CKM_ECDH1_DERIVE => Mechanism::with(*kind, &parameter),
        _ => Mechanism::new(*kind),
    };
    let (mut out, mut out_len, mut handle) = (vec![0; 2000], [0u8; 9], [0u8; 9]);
    mechanism.given(|mechanism| {
        let out_len = out_len[1..].as_mut_ptr().cast::<CK_ULONG>();
        unsafe { out_len.write_unaligned(2000) };
        let mut arguments = Arguments {
            session,
            mechanism,
            key,
            other,
            template: template[1..].as_mut_ptr().cast(),
            count: attributes.len() as CK_ULONG,
            data: wrapped.as_ptr().cast_mut(),
            data_len: wrapped.len() as CK_ULONG,
            out: out.as_mut_ptr(),
            out_len,
            handle: handle[1..].as_mut_ptr().cast(),
        };
        call(&mut arguments)
    });
}

#[test]
fn odd_addresses_are_as_good_as_others_and_what_cannot_be_is_refused() {
    let module = Module::start(&[TestToken::new(&[], Settings::default())]);
    let session = module.open();
    for function in &FUNCTIONS {
        let (name, _, run) = function;
        with_good_arguments(session, function, |arguments| {
            let rv = run(arguments);
            assert_eq!(rv, CKR_OK, "{name}");
            rv
        });
        let refused = |spoil: &dyn Fn(&mut Arguments), expected: CK_RV| {
            with_good_arguments(session, function, |arguments| {
                spoil(arguments);
                let rv = run(arguments);
                assert_eq!(rv, expected, "{name}");
                rv
            });
        };
        refused(&|it| it.mechanism = null_mut(), CKR_ARGUMENTS_BAD);
        refused(&|it| it.session = 0, CKR_SESSION_HANDLE_INVALID);
        let has_template = *name != "C_WrapKey";
        if has_template {
            refused(&|it| it.handle = null_mut(), CKR_ARGUMENTS_BAD);
            refused(&|it| it.template = null_mut(), CKR_ARGUMENTS_BAD);
            for huge in HUGE {
                refused(&|it| it.count = huge, CKR_ARGUMENTS_BAD);
            }
        }
        if *name == "C_UnwrapKey" {
            refused(&|it| it.data = null_mut(), CKR_ARGUMENTS_BAD);
            refused(&|it| it.data_len = HUGE[0], CKR_ARGUMENTS_BAD);
            refused(&|it| it.data_len = 0, CKR_WRAPPED_KEY_LEN_RANGE);
        }
        if matches!(*name, "C_WrapKey" | "C_EncapsulateKey") {
            refused(&|it| it.out_len = null_mut(), CKR_ARGUMENTS_BAD);
            let short = |it: &mut Arguments| unsafe { it.out_len.write_unaligned(3) };
            refused(&short, CKR_BUFFER_TOO_SMALL);
        }
    }
}

#[test]
fn nothing_is_left_of_a_key_that_was_refused() {
    let module = Module::start(&[TestToken::new(&[], Settings::default())]);
    let session = module.open();
    let before = find(session, &[]).len();
    let bad = [(CKA_VALUE_LEN, &17u64.to_ne_bytes()[..])];
    generate(session, &Mechanism::new(CKM_AES_KEY_GEN), &bad).unwrap_err();
    let bits = 1024u64.to_ne_bytes();
    let public = [(CKA_MODULUS_BITS, &bits[..])];
    let private = [(CKA_ALWAYS_AUTHENTICATE, YES)];
    let pair = generate_pair(session, CKM_RSA_PKCS_KEY_PAIR_GEN, &public, &private);
    assert_eq!(pair, Err(CKR_TEMPLATE_INCONSISTENT));
    assert_eq!(find(session, &[]).len(), before);
    let key = aes(session, 16);
    assert_eq!(find(session, &[]).len(), before + 1);
    // An operation that has begun with it goes on; a new one does not begin.
    let ecb = Mechanism::new(CKM_AES_ECB);
    encrypt_init(session, &ecb, key).unwrap();
    assert_eq!(unsafe { C_DestroyObject(session, key) }, CKR_OK);
    assert_eq!(encrypt(session, &[1; 32]).unwrap().len(), 32);
    assert_eq!(
        encrypt_init(session, &ecb, key),
        Err(CKR_KEY_HANDLE_INVALID)
    );
}

#[test]
fn a_wrong_wish_for_a_key_has_its_answer() {
    let module = Module::start(&[TestToken::new(&[], Settings::default())]);
    let session = module.open();
    let aes = Mechanism::new(CKM_AES_KEY_GEN);
    let sixteen = number(16);
    let refused =
        |pairs: &[(CK_ATTRIBUTE_TYPE, &[u8])]| generate(session, &aes, pairs).unwrap_err();
    assert_eq!(refused(&[]), CKR_TEMPLATE_INCOMPLETE);
    for len in [0, 1, 15, 17, 33, 64, CK_ULONG::MAX] {
        assert_eq!(
            refused(&[(CKA_VALUE_LEN, &number(len))]),
            CKR_ATTRIBUTE_VALUE_INVALID
        );
    }
    assert_eq!(
        refused(&[(CKA_VALUE_LEN, b"16")]),
        CKR_ATTRIBUTE_VALUE_INVALID
    );
    let with = |kind, value: &'static [u8]| refused(&[(CKA_VALUE_LEN, &sixteen), (kind, value)]);
    assert_eq!(with(CKA_KEY_TYPE, &GENERIC), CKR_TEMPLATE_INCONSISTENT);
    static PRIVATE: [u8; 8] = CKO_PRIVATE_KEY.to_ne_bytes();
    assert_eq!(with(CKA_CLASS, &PRIVATE), CKR_TEMPLATE_INCONSISTENT);
    assert_eq!(with(CKA_TOKEN, YES), CKR_TOKEN_WRITE_PROTECTED);
    assert_eq!(with(CKA_PRIVATE, YES), CKR_USER_NOT_LOGGED_IN);
    assert_eq!(with(CKA_LOCAL, YES), CKR_ATTRIBUTE_READ_ONLY);
    assert_eq!(with(CKA_VENDOR_DEFINED, YES), CKR_ATTRIBUTE_TYPE_INVALID);
    let good = [(CKA_VALUE_LEN, &sixteen[..])];
    let parameter = with_iv(CKM_AES_KEY_GEN, &[9; 16]);
    assert_eq!(
        generate(session, &parameter, &good),
        Err(CKR_MECHANISM_PARAM_INVALID)
    );
    for other in [CKM_AES_CBC, CKM_RSA_PKCS_KEY_PAIR_GEN, CKM_VENDOR_DEFINED] {
        let answer = generate(session, &Mechanism::new(other), &good);
        assert_eq!(answer, Err(CKR_MECHANISM_INVALID));
    }
    let mut key = 77;
    unsafe {
        let rv = C_GenerateKey(session, null_mut(), null_mut(), 0, &raw mut key);
        assert_eq!((rv, key), (CKR_ARGUMENTS_BAD, 77));
        let mut mechanism = CK_MECHANISM {
            mechanism: CKM_AES_KEY_GEN,
            pParameter: null_mut(),
            ulParameterLen: 0,
        };
        let start = &raw mut mechanism;
        let huge = CK_ULONG::MAX;
        let mut attribute = attribute(CKA_VALUE_LEN, &sixteen);
        let rv = C_GenerateKey(session, start, &raw mut attribute, huge, &raw mut key);
        assert_eq!((rv, key), (CKR_ARGUMENTS_BAD, 77));
        let rv = C_GenerateKey(session, start, &raw mut attribute, 1, null_mut());
        assert_eq!(rv, CKR_ARGUMENTS_BAD);
        attribute.pValue = null_mut();
        let rv = C_GenerateKey(session, start, &raw mut attribute, 1, &raw mut key);
        assert_eq!((rv, key), (CKR_ATTRIBUTE_VALUE_INVALID, 77));
    }
}

#[test]
fn a_wrong_wish_for_a_pair_has_its_answer() {
    let module = Module::start(&[TestToken::new(&[], Settings::default())]);
    let session = module.open();
    let refused = |mechanism, public: &[(CK_ATTRIBUTE_TYPE, &[u8])]| {
        generate_pair(session, mechanism, public, &[]).unwrap_err()
    };
    let rsa = |bits, more: &[(CK_ATTRIBUTE_TYPE, &[u8])]| {
        let bits = number(bits);
        let template = [&[(CKA_MODULUS_BITS, &bits[..])], more].concat();
        refused(CKM_RSA_PKCS_KEY_PAIR_GEN, &template)
    };
    assert_eq!(
        refused(CKM_RSA_PKCS_KEY_PAIR_GEN, &[]),
        CKR_TEMPLATE_INCOMPLETE
    );
    for bits in [0, 512, 1000, 1025, 8193, 16384, CK_ULONG::MAX] {
        assert_eq!(rsa(bits, &[]), CKR_ATTRIBUTE_VALUE_INVALID);
    }
    for exponent in [&[3][..], &[], &[0], &[1, 0, 0, 1]] {
        let template = [(CKA_PUBLIC_EXPONENT, exponent)];
        assert_eq!(rsa(2048, &template), CKR_TEMPLATE_INCONSISTENT);
    }
    assert_eq!(
        rsa(2048, &[(CKA_KEY_TYPE, &AES)]),
        CKR_TEMPLATE_INCONSISTENT
    );
    assert_eq!(rsa(2048, &[(CKA_TOKEN, YES)]), CKR_TOKEN_WRITE_PROTECTED);
    let curve = |mechanism, parameters: &[u8]| refused(mechanism, &[(CKA_EC_PARAMS, parameters)]);
    assert_eq!(refused(CKM_EC_KEY_PAIR_GEN, &[]), CKR_TEMPLATE_INCOMPLETE);
    let ed25519 = [6, 3, 0x2b, 0x65, 0x70];
    for (mechanism, parameters, expected) in [
        (CKM_EC_KEY_PAIR_GEN, &ed25519[..], CKR_CURVE_NOT_SUPPORTED),
        (
            CKM_EC_MONTGOMERY_KEY_PAIR_GEN,
            &ed25519,
            CKR_CURVE_NOT_SUPPORTED,
        ),
        (
            CKM_EC_EDWARDS_KEY_PAIR_GEN,
            &params(Curve::P384),
            CKR_CURVE_NOT_SUPPORTED,
        ),
        (
            CKM_EC_KEY_PAIR_GEN,
            &[6, 3, 1, 2, 3],
            CKR_CURVE_NOT_SUPPORTED,
        ),
        (CKM_EC_KEY_PAIR_GEN, b"\x30\x03abc", CKR_CURVE_NOT_SUPPORTED),
        (CKM_EC_KEY_PAIR_GEN, b"P-256", CKR_DOMAIN_PARAMS_INVALID),
        (CKM_EC_KEY_PAIR_GEN, &[6, 4, 1], CKR_DOMAIN_PARAMS_INVALID),
        (CKM_EC_KEY_PAIR_GEN, b"", CKR_DOMAIN_PARAMS_INVALID),
    ] {
        assert_eq!(curve(mechanism, parameters), expected, "{parameters:?}");
    }
    for mechanism in [CKM_ML_DSA_KEY_PAIR_GEN, CKM_ML_KEM_KEY_PAIR_GEN] {
        assert_eq!(refused(mechanism, &[]), CKR_TEMPLATE_INCOMPLETE);
        let set = number(4);
        let unknown = refused(mechanism, &[(CKA_PARAMETER_SET, &set)]);
        assert_eq!(unknown, CKR_PARAMETER_SET_NOT_SUPPORTED);
    }
    assert_eq!(refused(CKM_AES_KEY_GEN, &[]), CKR_MECHANISM_INVALID);
}
