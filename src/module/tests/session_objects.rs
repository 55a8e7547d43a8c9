//! Objects that programs make: what a template may say, who sees them, how they change and end.
#![allow(clippy::undocumented_unsafe_blocks)] // calls of the C functions that are under test
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a test's own functions

mod support;

use std::sync::Arc;

use cryptoki_sys::*;
use ctk_pkcs11::abi::*;
use ctk_token::*;
use openssl::nid::Nid;
use support::*;

/// What [`create`] and its like take.
type Pairs<'a> = Vec<(CK_ATTRIBUTE_TYPE, &'a [u8])>;

const YES: &[u8] = &[CK_TRUE];
const NO: &[u8] = &[CK_FALSE];

fn template(pairs: &[(CK_ATTRIBUTE_TYPE, &[u8])]) -> Vec<CK_ATTRIBUTE> {
    let one = |(kind, value): &(_, &[u8])| attribute(*kind, value);
    pairs.iter().map(one).collect()
}

fn create(
    session: CK_SESSION_HANDLE,
    pairs: &[(CK_ATTRIBUTE_TYPE, &[u8])],
) -> std::result::Result<CK_OBJECT_HANDLE, CK_RV> {
    let mut template = template(pairs);
    let (len, mut handle) = (template.len() as CK_ULONG, 0);
    match unsafe { C_CreateObject(session, template.as_mut_ptr(), len, &raw mut handle) } {
        CKR_OK => Ok(handle),
        rv => {
            assert_eq!(handle, 0);
            Err(rv)
        }
    }
}

fn copy(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    pairs: &[(CK_ATTRIBUTE_TYPE, &[u8])],
) -> std::result::Result<CK_OBJECT_HANDLE, CK_RV> {
    let mut template = template(pairs);
    let (len, mut handle) = (template.len() as CK_ULONG, 0);
    let template = template.as_mut_ptr();
    match unsafe { C_CopyObject(session, object, template, len, &raw mut handle) } {
        CKR_OK => Ok(handle),
        rv => Err(rv),
    }
}

fn set(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    pairs: &[(CK_ATTRIBUTE_TYPE, &[u8])],
) -> CK_RV {
    let mut template = template(pairs);
    let len = template.len() as CK_ULONG;
    unsafe { C_SetAttributeValue(session, object, template.as_mut_ptr(), len) }
}

fn destroy(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> CK_RV {
    unsafe { C_DestroyObject(session, object) }
}

fn number(value: CK_ULONG) -> [u8; size_of::<CK_ULONG>()] {
    value.to_ne_bytes()
}

/// A template of owned values.
struct Owned(Vec<(CK_ATTRIBUTE_TYPE, Vec<u8>)>);

impl Owned {
    fn pairs(&self) -> Pairs<'_> {
        let pairs = self.0.iter();
        pairs.map(|(kind, value)| (*kind, &value[..])).collect()
    }

    fn without(&self, kind: CK_ATTRIBUTE_TYPE) -> Self {
        let others = self.0.iter().filter(|(other, _)| *other != kind);
        Self(others.cloned().collect())
    }

    fn with(&self, kind: CK_ATTRIBUTE_TYPE, value: &[u8]) -> Self {
        let mut all = self.without(kind).0;
        all.push((kind, value.to_vec()));
        Self(all)
    }
}

fn secret_key(key_type: CK_KEY_TYPE, value: &[u8]) -> Owned {
    Owned(vec![
        (CKA_CLASS, number(CKO_SECRET_KEY).to_vec()),
        (CKA_KEY_TYPE, number(key_type).to_vec()),
        (CKA_VALUE, value.to_vec()),
    ])
}

fn certificate(identity: &Identity) -> Owned {
    Owned(vec![
        (CKA_CLASS, number(CKO_CERTIFICATE).to_vec()),
        (CKA_CERTIFICATE_TYPE, number(CKC_X_509).to_vec()),
        (
            CKA_SUBJECT,
            identity.certificate.subject_name().to_der().unwrap(),
        ),
        (CKA_VALUE, identity.certificate.to_der().unwrap()),
    ])
}

/// What C_CreateObject needs of a public key, as the token's own object shows it.
fn public_key_of(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> Owned {
    let kinds = [
        CKA_CLASS,
        CKA_KEY_TYPE,
        CKA_MODULUS,
        CKA_PUBLIC_EXPONENT,
        CKA_EC_PARAMS,
        CKA_EC_POINT,
        CKA_PARAMETER_SET,
        CKA_VALUE,
    ];
    let shown = |kind| Some((kind, value(session, object, kind).ok()?));
    Owned(kinds.into_iter().filter_map(shown).collect())
}

fn token() -> Arc<TestToken> {
    let identities = [
        Identity::rsa(2048, 1),
        Identity::ec(Nid::X9_62_PRIME256V1, 2),
        Identity::ed25519(3),
    ];
    TestToken::new(&identities, Settings::default())
}

#[test]
fn a_public_key_of_every_kind_can_be_made() {
    let module = Module::start(&[token()]);
    let session = module.open();
    for original in of_class(session, CKO_PUBLIC_KEY) {
        let template = public_key_of(session, original);
        let made = create(session, &template.pairs()).unwrap();
        for kind in [
            CKA_KEY_TYPE,
            CKA_MODULUS,
            CKA_MODULUS_BITS,
            CKA_PUBLIC_EXPONENT,
            CKA_EC_PARAMS,
            CKA_EC_POINT,
            CKA_PUBLIC_KEY_INFO,
        ] {
            assert_eq!(value(session, made, kind), value(session, original, kind));
        }
        assert_eq!(value(session, made, CKA_TOKEN), Ok(NO.to_vec()));
        assert_eq!(value(session, made, CKA_LOCAL), Ok(NO.to_vec()));
        assert_eq!(value(session, made, CKA_VERIFY), Ok(YES.to_vec()));
        assert_eq!(value(session, made, CKA_DERIVE), Ok(NO.to_vec()));
        assert_eq!(value(session, made, CKA_ID), Ok(vec![]));
        for (kind, _) in template.0 {
            if ![CKA_CLASS, CKA_KEY_TYPE].contains(&kind) {
                let incomplete = public_key_of(session, original).without(kind);
                let made = create(session, &incomplete.pairs());
                assert_eq!(made, Err(CKR_TEMPLATE_INCOMPLETE), "{kind:#x}");
            }
        }
    }
    for (key_type, sets) in [
        (
            CKK_ML_DSA,
            [
                (CKP_ML_DSA_44, 1312),
                (CKP_ML_DSA_65, 1952),
                (CKP_ML_DSA_87, 2592),
            ],
        ),
        (
            CKK_ML_KEM,
            [
                (CKP_ML_KEM_512, 800),
                (CKP_ML_KEM_768, 1184),
                (CKP_ML_KEM_1024, 1568),
            ],
        ),
    ] {
        for (set, len) in sets {
            let template = Owned(vec![
                (CKA_CLASS, number(CKO_PUBLIC_KEY).to_vec()),
                (CKA_KEY_TYPE, number(key_type).to_vec()),
                (CKA_PARAMETER_SET, number(set).to_vec()),
                (CKA_VALUE, vec![7; len]),
            ]);
            let made = create(session, &template.pairs()).unwrap();
            assert_eq!(value(session, made, CKA_VALUE), Ok(vec![7; len]));
            assert_eq!(
                value(session, made, CKA_PARAMETER_SET),
                Ok(number(set).to_vec())
            );
            assert_eq!(
                value(session, made, CKA_EC_POINT),
                Err(CKR_ATTRIBUTE_TYPE_INVALID)
            );
            let encapsulates = if key_type == CKK_ML_KEM { YES } else { NO };
            assert_eq!(
                value(session, made, CKA_ENCAPSULATE),
                Ok(encapsulates.to_vec())
            );
            let long = template.with(CKA_VALUE, &vec![7; len + 1]);
            let made = create(session, &long.pairs());
            assert_eq!(made, Err(CKR_ATTRIBUTE_VALUE_INVALID));
            let unknown = template.with(CKA_PARAMETER_SET, &number(9));
            let made = create(session, &unknown.pairs());
            assert_eq!(made, Err(CKR_PARAMETER_SET_NOT_SUPPORTED));
            // FIPS 203 §7.2: coefficients are below q.
            if key_type == CKK_ML_KEM {
                let unreduced = template.with(CKA_VALUE, &vec![0xFF; len]);
                let made = create(session, &unreduced.pairs());
                assert_eq!(made, Err(CKR_ATTRIBUTE_VALUE_INVALID));
            }
        }
    }
}

#[test]
fn a_point_comes_in_each_of_its_forms_and_lies_on_its_curve() {
    let module = Module::start(&[token()]);
    let session = module.open();
    let of_type = |key_type: CK_KEY_TYPE| {
        let public = of_class(session, CKO_PUBLIC_KEY);
        let right = |object: &CK_OBJECT_HANDLE| {
            value(session, *object, CKA_KEY_TYPE) == Ok(number(key_type).to_vec())
        };
        public_key_of(session, public.into_iter().find(right).unwrap())
    };
    for (key_type, header) in [(CKK_EC, 2), (CKK_EC_EDWARDS, 2)] {
        let good = of_type(key_type);
        let point = good
            .0
            .iter()
            .find(|(kind, _)| *kind == CKA_EC_POINT)
            .unwrap()
            .1
            .clone();
        let bare = &point[header..];
        let made = create(session, &good.with(CKA_EC_POINT, bare).pairs()).unwrap();
        // Shown in one form, whichever it came in, and found in both.
        assert_eq!(value(session, made, CKA_EC_POINT), Ok(point.clone()));
        assert!(find(session, &[(CKA_EC_POINT, bare)]).contains(&made));
        assert!(find(session, &[(CKA_EC_POINT, &point)]).contains(&made));
        for wrong in [&bare[1..], &[], &point[..5], &[&point[..], &[0]].concat()] {
            let made = create(session, &good.with(CKA_EC_POINT, wrong).pairs());
            assert_eq!(made, Err(CKR_ATTRIBUTE_VALUE_INVALID));
        }
        for (parameters, rv) in [
            // brainpoolP160r1, explicit parameters, nothing at all.
            (
                &b"\x06\x09\x2b\x24\x03\x03\x02\x08\x01\x01\x01"[..],
                CKR_CURVE_NOT_SUPPORTED,
            ),
            (b"\x30\x00", CKR_CURVE_NOT_SUPPORTED),
            (b"\x13\x01x", CKR_CURVE_NOT_SUPPORTED),
            (b"", CKR_DOMAIN_PARAMS_INVALID),
            (b"\x06\x09\x2b", CKR_DOMAIN_PARAMS_INVALID),
        ] {
            let made = create(session, &good.with(CKA_EC_PARAMS, parameters).pairs());
            assert_eq!(made, Err(rv));
        }
    }
    let ec = of_type(CKK_EC);
    let mut off_curve =
        ec.0.iter()
            .find(|(kind, _)| *kind == CKA_EC_POINT)
            .unwrap()
            .1
            .clone();
    off_curve[40] ^= 1;
    let made = create(session, &ec.with(CKA_EC_POINT, &off_curve).pairs());
    assert_eq!(made, Err(CKR_ATTRIBUTE_VALUE_INVALID));
    let hybrid = [&[6 | off_curve[66] & 1], &off_curve[3..]].concat();
    let made = create(session, &ec.with(CKA_EC_POINT, &hybrid).pairs());
    assert_eq!(made, Err(CKR_ATTRIBUTE_VALUE_INVALID));
    let edwards = of_type(CKK_EC_EDWARDS);
    let named = edwards.with(CKA_EC_PARAMS, b"\x13\x0cedwards25519");
    let made = create(session, &named.pairs()).unwrap();
    assert_eq!(
        value(session, made, CKA_EC_PARAMS),
        Ok(b"\x06\x03\x2b\x65\x70".to_vec())
    );
    // A curve of the other kind of key.
    let other = edwards.with(CKA_EC_PARAMS, b"\x13\x0acurve25519");
    assert_eq!(
        create(session, &other.pairs()),
        Err(CKR_CURVE_NOT_SUPPORTED)
    );
}

#[test]
fn each_mistake_in_a_template_has_its_answer_and_makes_nothing() {
    let module = Module::start(&[token()]);
    let session = module.open();
    let before = find(session, &[]).len();
    let aes = secret_key(CKK_AES, &[1; 16]);
    let rsa = of_class(session, CKO_PUBLIC_KEY)[0];
    let rsa = public_key_of(session, rsa);
    let x509 = certificate(&Identity::ec(Nid::SECP384R1, 9));
    let private_class = aes
        .without(CKA_VALUE)
        .with(CKA_CLASS, &number(CKO_PRIVATE_KEY));
    for (template, rv) in [
        (Owned(vec![]), CKR_TEMPLATE_INCOMPLETE),
        (aes.without(CKA_CLASS), CKR_TEMPLATE_INCOMPLETE),
        (aes.without(CKA_KEY_TYPE), CKR_TEMPLATE_INCOMPLETE),
        (aes.without(CKA_VALUE), CKR_TEMPLATE_INCOMPLETE),
        (
            aes.with(CKA_CLASS, &number(CKO_OTP_KEY)),
            CKR_ATTRIBUTE_VALUE_INVALID,
        ),
        (
            aes.with(CKA_CLASS, &number(CKO_PROFILE)),
            CKR_ATTRIBUTE_VALUE_INVALID,
        ),
        (aes.with(CKA_CLASS, &[4]), CKR_ATTRIBUTE_VALUE_INVALID),
        (private_class, CKR_ATTRIBUTE_VALUE_INVALID),
        (
            aes.with(CKA_KEY_TYPE, &number(CKK_DES)),
            CKR_ATTRIBUTE_VALUE_INVALID,
        ),
        (aes.with(CKA_KEY_TYPE, &[31]), CKR_ATTRIBUTE_VALUE_INVALID),
        (aes.with(CKA_VALUE, &[1; 17]), CKR_ATTRIBUTE_VALUE_INVALID),
        (
            secret_key(CKK_GENERIC_SECRET, b""),
            CKR_ATTRIBUTE_VALUE_INVALID,
        ),
        (
            aes.with(CKA_CHECK_VALUE, b"no!"),
            CKR_ATTRIBUTE_VALUE_INVALID,
        ),
        (
            aes.with(CKA_SENSITIVE, &[1, 1]),
            CKR_ATTRIBUTE_VALUE_INVALID,
        ),
        (
            aes.with(CKA_START_DATE, b"soon"),
            CKR_ATTRIBUTE_VALUE_INVALID,
        ),
        (
            aes.with(CKA_VALUE_LEN, &number(16)),
            CKR_ATTRIBUTE_READ_ONLY,
        ),
        (aes.with(CKA_LOCAL, YES), CKR_ATTRIBUTE_READ_ONLY),
        (
            aes.with(CKA_NEVER_EXTRACTABLE, YES),
            CKR_ATTRIBUTE_READ_ONLY,
        ),
        (aes.with(CKA_UNIQUE_ID, b"1"), CKR_ATTRIBUTE_READ_ONLY),
        (aes.with(CKA_TRUSTED, YES), CKR_ATTRIBUTE_READ_ONLY),
        (aes.with(CKA_MODULUS, &[1]), CKR_TEMPLATE_INCONSISTENT),
        (
            aes.with(CKA_VENDOR_DEFINED | 1, &[1]),
            CKR_ATTRIBUTE_TYPE_INVALID,
        ),
        (aes.with(CKA_WRAP_TEMPLATE, &[]), CKR_ATTRIBUTE_TYPE_INVALID),
        (aes.with(CKA_TOKEN, YES), CKR_TOKEN_WRITE_PROTECTED),
        (aes.with(CKA_PRIVATE, YES), CKR_USER_NOT_LOGGED_IN),
        (rsa.with(CKA_MODULUS, &[]), CKR_ATTRIBUTE_VALUE_INVALID),
        (
            rsa.with(CKA_MODULUS, &[0xC1; 64]),
            CKR_ATTRIBUTE_VALUE_INVALID,
        ),
        (
            rsa.with(CKA_MODULUS, &[0xC1; 4096]),
            CKR_ATTRIBUTE_VALUE_INVALID,
        ),
        (
            rsa.with(CKA_MODULUS_BITS, &number(2048)),
            CKR_ATTRIBUTE_READ_ONLY,
        ),
        (rsa.with(CKA_EC_PARAMS, &[6, 0]), CKR_TEMPLATE_INCONSISTENT),
        (
            rsa.with(CKA_PUBLIC_KEY_INFO, &[0x30, 0]),
            CKR_TEMPLATE_INCONSISTENT,
        ),
        (x509.without(CKA_CERTIFICATE_TYPE), CKR_TEMPLATE_INCOMPLETE),
        (x509.without(CKA_SUBJECT), CKR_TEMPLATE_INCOMPLETE),
        (x509.without(CKA_VALUE), CKR_TEMPLATE_INCOMPLETE),
        (x509.with(CKA_VALUE, b""), CKR_TEMPLATE_INCOMPLETE),
        (x509.with(CKA_VALUE, b"no"), CKR_ATTRIBUTE_VALUE_INVALID),
        (
            x509.with(CKA_CHECK_VALUE, b"no!"),
            CKR_ATTRIBUTE_VALUE_INVALID,
        ),
        (
            x509.with(CKA_CERTIFICATE_TYPE, &number(CKC_WTLS)),
            CKR_ATTRIBUTE_VALUE_INVALID,
        ),
        (
            x509.with(CKA_KEY_TYPE, &number(CKK_RSA)),
            CKR_TEMPLATE_INCONSISTENT,
        ),
    ] {
        let kinds: Vec<_> = template
            .0
            .iter()
            .map(|(kind, _)| format!("{kind:#x}"))
            .collect();
        assert_eq!(create(session, &template.pairs()), Err(rv), "{kinds:?}");
    }
    // The same thing said twice is said once; two things are a contradiction.
    let pairs = aes.pairs();
    let twice = [&pairs[..], &[(CKA_ID, b"1"), (CKA_ID, b"1")]].concat();
    let made = create(session, &twice).unwrap();
    let both = [&pairs[..], &[(CKA_ID, b"1"), (CKA_ID, b"2")]].concat();
    assert_eq!(create(session, &both), Err(CKR_TEMPLATE_INCONSISTENT));
    let no_value = CK_ATTRIBUTE {
        type_: CKA_LABEL,
        pValue: std::ptr::null_mut(),
        ulValueLen: 4,
    };
    let mut template = [&template(&pairs)[..], &[no_value]].concat();
    let mut handle = 0;
    unsafe {
        let rv = C_CreateObject(session, template.as_mut_ptr(), 4, &raw mut handle);
        assert_eq!(rv, CKR_ATTRIBUTE_VALUE_INVALID);
        let rv = C_CreateObject(session, template.as_mut_ptr(), 3, std::ptr::null_mut());
        assert_eq!(rv, CKR_ARGUMENTS_BAD);
    }
    assert_eq!(destroy(session, made), CKR_OK);
    assert_eq!(find(session, &[]).len(), before);
}

#[test]
fn a_secret_key_is_read_by_its_attributes_and_protected_only_more() {
    let module = Module::start(&[token()]);
    let session = module.open();
    let bytes = *b"0123456789abcdef";
    let aes = secret_key(CKK_AES, &bytes);
    let open = create(session, &aes.pairs()).unwrap();
    assert_eq!(value(session, open, CKA_VALUE), Ok(bytes.to_vec()));
    assert_eq!(value(session, open, CKA_VALUE_LEN), Ok(number(16).to_vec()));
    let check =
        openssl::symm::encrypt(openssl::symm::Cipher::aes_128_ecb(), &bytes, None, &[0; 16]);
    let check = check.unwrap()[..3].to_vec();
    assert_eq!(value(session, open, CKA_CHECK_VALUE), Ok(check));
    assert_eq!(find(session, &[(CKA_VALUE, &bytes)]), [open]);
    let unchecked = create(session, &aes.with(CKA_CHECK_VALUE, b"").pairs()).unwrap();
    assert_eq!(value(session, unchecked, CKA_CHECK_VALUE), Ok(vec![]));
    assert_eq!(destroy(session, unchecked), CKR_OK);
    let generic = secret_key(CKK_GENERIC_SECRET, b"0000");
    let generic = create(session, &generic.pairs()).unwrap();
    assert_eq!(value(session, generic, CKA_CHECK_VALUE), Ok(vec![]));
    let closed = |object| {
        assert_eq!(
            value(session, object, CKA_VALUE),
            Err(CKR_ATTRIBUTE_SENSITIVE)
        );
        assert!(!find(session, &[(CKA_VALUE, &bytes)]).contains(&object));
    };
    closed(create(session, &aes.with(CKA_SENSITIVE, YES).pairs()).unwrap());
    closed(create(session, &aes.with(CKA_EXTRACTABLE, NO).pairs()).unwrap());
    // Copies: the same key, protected as much or more.
    let same = copy(session, open, &[(CKA_LABEL, b"copy")]).unwrap();
    assert_eq!(value(session, same, CKA_VALUE), Ok(bytes.to_vec()));
    assert_eq!(value(session, same, CKA_LABEL), Ok(b"copy".to_vec()));
    assert_eq!(value(session, open, CKA_LABEL), Ok(vec![]));
    assert_ne!(
        value(session, open, CKA_UNIQUE_ID),
        value(session, same, CKA_UNIQUE_ID)
    );
    let hidden = copy(session, open, &[(CKA_SENSITIVE, YES)]).unwrap();
    closed(hidden);
    let kept = copy(session, open, &[(CKA_EXTRACTABLE, NO)]).unwrap();
    closed(kept);
    for (object, back) in [
        (hidden, (CKA_SENSITIVE, NO)),
        (kept, (CKA_EXTRACTABLE, YES)),
    ] {
        assert_eq!(copy(session, object, &[back]), Err(CKR_ATTRIBUTE_READ_ONLY));
        assert_eq!(set(session, object, &[back]), CKR_ATTRIBUTE_READ_ONLY);
        closed(object);
        closed(copy(session, object, &[]).unwrap());
    }
    assert_eq!(set(session, same, &[(CKA_SENSITIVE, YES)]), CKR_OK);
    closed(same);
    for kind in [CKA_ALWAYS_SENSITIVE, CKA_NEVER_EXTRACTABLE, CKA_LOCAL] {
        assert_eq!(value(session, hidden, kind), Ok(NO.to_vec()));
        assert_eq!(value(session, kept, kind), Ok(NO.to_vec()));
    }
    assert_eq!(
        copy(session, open, &[(CKA_VALUE, &bytes)]),
        Err(CKR_ATTRIBUTE_READ_ONLY)
    );
    assert_eq!(
        copy(session, open, &[(CKA_TOKEN, YES)]),
        Err(CKR_TOKEN_WRITE_PROTECTED)
    );
}

#[test]
fn objects_change_as_a_whole_or_not_at_all_and_say_what_they_forbid() {
    let module = Module::start(&[token()]);
    let session = module.open();
    let data = Owned(vec![
        (CKA_CLASS, number(CKO_DATA).to_vec()),
        (CKA_VALUE, b"1".to_vec()),
    ]);
    let object = create(session, &data.pairs()).unwrap();
    assert_eq!(
        set(session, object, &[(CKA_VALUE, b"2"), (CKA_LABEL, b"two")]),
        CKR_OK
    );
    assert_eq!(value(session, object, CKA_VALUE), Ok(b"2".to_vec()));
    // The indexes follow.
    assert_eq!(find(session, &[(CKA_LABEL, b"two")]), [object]);
    assert_eq!(find(session, &[(CKA_VALUE, b"1")]), []);
    for (wrong, rv) in [
        ((CKA_CLASS, &number(CKO_DATA)[..]), CKR_ATTRIBUTE_READ_ONLY),
        ((CKA_PRIVATE, NO), CKR_ATTRIBUTE_READ_ONLY),
        ((CKA_MODIFIABLE, NO), CKR_ATTRIBUTE_READ_ONLY),
        ((CKA_KEY_TYPE, &number(0)), CKR_TEMPLATE_INCONSISTENT),
        ((CKA_VENDOR_DEFINED, b""), CKR_ATTRIBUTE_TYPE_INVALID),
    ] {
        assert_eq!(set(session, object, &[(CKA_LABEL, b"three"), wrong]), rv);
        assert_eq!(value(session, object, CKA_LABEL), Ok(b"two".to_vec()));
    }
    let fixed = create(session, &data.with(CKA_MODIFIABLE, NO).pairs()).unwrap();
    assert_eq!(
        set(session, fixed, &[(CKA_LABEL, b"x")]),
        CKR_ACTION_PROHIBITED
    );
    let kept = create(session, &data.with(CKA_DESTROYABLE, NO).pairs()).unwrap();
    assert_eq!(destroy(session, kept), CKR_ACTION_PROHIBITED);
    let single = create(session, &data.with(CKA_COPYABLE, NO).pairs()).unwrap();
    assert_eq!(copy(session, single, &[]), Err(CKR_ACTION_PROHIBITED));
    assert_eq!(
        set(session, single, &[(CKA_COPYABLE, YES)]),
        CKR_ATTRIBUTE_READ_ONLY
    );
    assert_eq!(destroy(session, object), CKR_OK);
    assert_eq!(destroy(session, object), CKR_OBJECT_HANDLE_INVALID);
    assert_eq!(set(session, object, &[]), CKR_OBJECT_HANDLE_INVALID);
    assert_eq!(copy(session, object, &[]), Err(CKR_OBJECT_HANDLE_INVALID));
    assert_eq!(
        value(session, object, CKA_VALUE),
        Err(CKR_OBJECT_HANDLE_INVALID)
    );
}

#[test]
fn what_is_on_the_token_stays_as_it_is() {
    let module = Module::start(&[token()]);
    let session = open(0, CKF_SERIAL_SESSION | CKF_RW_SESSION);
    assert_eq!(login(session, CKU_USER, Some(PIN)), CKR_OK);
    for object in find(session, &[]) {
        assert_eq!(destroy(session, object), CKR_ACTION_PROHIBITED);
        assert_eq!(copy(session, object, &[]), Err(CKR_ACTION_PROHIBITED));
        let open = [(CKA_EXTRACTABLE, YES), (CKA_SENSITIVE, NO)];
        assert_eq!(set(session, object, &open), CKR_ACTION_PROHIBITED);
        for kind in [CKA_MODIFIABLE, CKA_DESTROYABLE, CKA_COPYABLE] {
            assert_eq!(value(session, object, kind), Ok(NO.to_vec()));
        }
    }
    drop(module);
}

#[test]
fn session_objects_are_for_all_sessions_and_end_with_their_own() {
    let module = Module::start(&[token()]);
    let (first, second) = (module.open(), module.open());
    let public = create(first, &secret_key(CKK_GENERIC_SECRET, b"x").pairs()).unwrap();
    assert_eq!(value(second, public, CKA_PRIVATE), Ok(NO.to_vec()));
    assert_eq!(of_class(second, CKO_SECRET_KEY), [public]);
    assert_eq!(login(first, CKU_USER, Some(PIN)), CKR_OK);
    // Made by somebody who is logged in, a key goes with the login unless it is to stay.
    let private = create(second, &secret_key(CKK_GENERIC_SECRET, b"y").pairs()).unwrap();
    let stays = secret_key(CKK_GENERIC_SECRET, b"z").with(CKA_PRIVATE, NO);
    let stays = create(second, &stays.pairs()).unwrap();
    assert_eq!(value(first, private, CKA_PRIVATE), Ok(YES.to_vec()));
    let less = copy(second, private, &[(CKA_PRIVATE, NO)]);
    assert_eq!(less, Err(CKR_TEMPLATE_INCONSISTENT));
    assert_eq!(of_class(first, CKO_SECRET_KEY), [public, private, stays]);
    assert_eq!(unsafe { C_Logout(first) }, CKR_OK);
    assert_eq!(of_class(first, CKO_SECRET_KEY), [public, stays]);
    assert_eq!(
        value(second, private, CKA_CLASS),
        Err(CKR_OBJECT_HANDLE_INVALID)
    );
    assert_eq!(login(first, CKU_USER, Some(PIN)), CKR_OK);
    assert_eq!(
        value(second, private, CKA_CLASS),
        Err(CKR_OBJECT_HANDLE_INVALID)
    );
    assert_eq!(unsafe { C_CloseSession(first) }, CKR_OK);
    assert_eq!(of_class(second, CKO_SECRET_KEY), [stays]);
    let newest = create(second, &secret_key(CKK_GENERIC_SECRET, b"x").pairs()).unwrap();
    assert!(
        newest > stays && newest > private,
        "a handle was given out twice"
    );
}

#[test]
fn certificates_and_data_have_the_defaults_of_the_specification() {
    let module = Module::start(&[token()]);
    let session = module.open();
    let identity = Identity::ec(Nid::SECP384R1, 9);
    let made = create(session, &certificate(&identity).pairs()).unwrap();
    let get = |kind| value(session, made, kind).unwrap();
    assert_eq!(get(CKA_VALUE), identity.certificate.to_der().unwrap());
    for kind in [
        CKA_ID,
        CKA_ISSUER,
        CKA_SERIAL_NUMBER,
        CKA_URL,
        CKA_START_DATE,
        CKA_LABEL,
    ] {
        assert_eq!(get(kind), b"");
    }
    let sha1 = openssl::sha::sha1(&get(CKA_VALUE));
    assert_eq!(get(CKA_CHECK_VALUE), sha1[..3]);
    assert_eq!(
        ulong(&get(CKA_CERTIFICATE_CATEGORY)),
        CK_CERTIFICATE_CATEGORY_UNSPECIFIED
    );
    assert_eq!(ulong(&get(CKA_NAME_HASH_ALGORITHM)), CKM_SHA_1);
    assert_eq!(
        (get(CKA_TRUSTED), get(CKA_PRIVATE)),
        (NO.to_vec(), NO.to_vec())
    );
    let elsewhere = certificate(&identity)
        .with(CKA_VALUE, b"")
        .with(CKA_URL, b"https://x.test/");
    assert_eq!(
        create(session, &elsewhere.pairs()),
        Err(CKR_TEMPLATE_INCOMPLETE)
    );
    let hashes = elsewhere
        .with(CKA_HASH_OF_SUBJECT_PUBLIC_KEY, &[1; 20])
        .with(CKA_HASH_OF_ISSUER_PUBLIC_KEY, &[2; 20]);
    assert!(create(session, &hashes.pairs()).is_ok());
    let data = create(session, &[(CKA_CLASS, &number(CKO_DATA))]).unwrap();
    for kind in [CKA_VALUE, CKA_APPLICATION, CKA_OBJECT_ID, CKA_LABEL] {
        assert_eq!(value(session, data, kind), Ok(vec![]));
    }
    for kind in [CKA_MODIFIABLE, CKA_COPYABLE, CKA_DESTROYABLE] {
        assert_eq!(value(session, data, kind), Ok(YES.to_vec()));
    }
    let size = |object| {
        let mut size = 0;
        let rv = unsafe { C_GetObjectSize(session, object, &raw mut size) };
        (rv, size as usize)
    };
    let (rv, len) = size(made);
    assert!(rv == CKR_OK && len > get(CKA_VALUE).len() && len < 2 * get(CKA_VALUE).len());
    assert_eq!(size(999_999_999).0, CKR_OBJECT_HANDLE_INVALID);
}

#[test]
fn profiles_are_for_those_who_ask_for_them() {
    let module = Module::start(&[token()]);
    let session = module.open();
    let profiles = of_class(session, CKO_PROFILE);
    let id = |object: &_| ulong(&value(session, *object, CKA_PROFILE_ID).unwrap());
    assert_eq!(
        profiles.iter().map(id).collect::<Vec<_>>(),
        [
            CKP_BASELINE_PROVIDER,
            CKP_EXTENDED_PROVIDER,
            CKP_AUTHENTICATION_TOKEN,
            CKP_PUBLIC_CERTIFICATES_TOKEN
        ]
    );
    let wanted = number(CKP_PUBLIC_CERTIFICATES_TOKEN);
    assert_eq!(find(session, &[(CKA_PROFILE_ID, &wanted)]), [profiles[3]]);
    assert_eq!(value(session, profiles[0], CKA_TOKEN), Ok(YES.to_vec()));
    let name = value(session, profiles[0], CKA_UNIQUE_ID).unwrap();
    assert_eq!(find(session, &[(CKA_UNIQUE_ID, &name)]), [profiles[0]]);
    for template in [&[][..], &[(CKA_TOKEN, YES)], &[(CKA_LABEL, b"")]] {
        let found = find(session, template);
        assert!(profiles.iter().all(|profile| !found.contains(profile)));
    }
    for class in [
        CKO_MECHANISM,
        CKO_HW_FEATURE,
        CKO_VALIDATION,
        CKO_TRUST,
        CKO_OTP_KEY,
    ] {
        assert_eq!(of_class(session, class), []);
    }
}

/// What a search should find: all objects that show these values.
fn by_hand(
    session: CK_SESSION_HANDLE,
    all: &[CK_OBJECT_HANDLE],
    pairs: &[(CK_ATTRIBUTE_TYPE, &[u8])],
) -> Vec<CK_OBJECT_HANDLE> {
    let shows = |object: CK_OBJECT_HANDLE, (kind, wanted): &(_, &[u8])| {
        value(session, object, *kind).is_ok_and(|value| value == *wanted)
    };
    let matching = all
        .iter()
        .filter(|object| pairs.iter().all(|pair| shows(**object, pair)));
    matching.copied().collect()
}

#[test]
fn searches_by_indexes_find_what_looking_at_every_object_finds() {
    let token = token();
    token.change(|items| {
        let [Item::Certificate(first), ..] = &items[..] else {
            panic!()
        };
        let first = first.clone();
        for number in 0..60_u8 {
            items.push(Item::Certificate(Certificate {
                id: ObjectId::new(&[b'c', number]),
                label: format!("Label {}", number % 7),
                identity: vec![100 + number],
                der: first.der.clone(),
            }));
        }
    });
    let module = Module::start(&[token]);
    let session = module.open_and_login();
    for number in 0..40_u8 {
        let template = secret_key(CKK_GENERIC_SECRET, &[number])
            .with(CKA_ID, &[90 + number])
            .with(CKA_LABEL, format!("Label {}", number % 5).as_bytes());
        create(session, &template.pairs()).unwrap();
    }
    let all = find(session, &[]);
    assert_eq!(all.len(), 9 + 60 + 40);
    for object in &all {
        for kind in [
            CKA_CLASS,
            CKA_LABEL,
            CKA_ID,
            CKA_SUBJECT,
            CKA_ISSUER,
            CKA_SERIAL_NUMBER,
            CKA_VALUE,
            CKA_MODULUS,
            CKA_EC_POINT,
            CKA_PUBLIC_KEY_INFO,
            CKA_UNIQUE_ID,
        ] {
            let Ok(wanted) = value(session, *object, kind) else {
                continue;
            };
            let found = find(session, &[(kind, &wanted)]);
            assert!(found.contains(object));
            assert_eq!(
                found,
                by_hand(session, &all, &[(kind, &wanted)]),
                "{kind:#x}"
            );
        }
        let class = value(session, *object, CKA_CLASS).unwrap();
        let label = value(session, *object, CKA_LABEL).unwrap();
        let both = [
            (CKA_CLASS, &class[..]),
            (CKA_LABEL, &label),
            (CKA_TOKEN, YES),
        ];
        assert_eq!(find(session, &both), by_hand(session, &all, &both));
    }
    let issuer = value(session, of_class(session, CKO_CERTIFICATE)[0], CKA_ISSUER).unwrap();
    let serial = [2, 3, 0, 0x80, 0xAB];
    let by_name = find(
        session,
        &[(CKA_ISSUER, &issuer), (CKA_SERIAL_NUMBER, &serial)],
    );
    assert_eq!(by_name.len(), 61);
    assert_eq!(find(session, &[(CKA_ID, b"nobody's")]), []);
    assert_eq!(find(session, &[(CKA_ID, b"")]), []);
}

fn generate_pair(
    session: CK_SESSION_HANDLE,
    mechanism: CK_MECHANISM_TYPE,
    public: &[(CK_ATTRIBUTE_TYPE, &[u8])],
    private: &[(CK_ATTRIBUTE_TYPE, &[u8])],
) -> std::result::Result<(CK_OBJECT_HANDLE, CK_OBJECT_HANDLE), CK_RV> {
    let mut mechanism = CK_MECHANISM {
        mechanism,
        pParameter: std::ptr::null_mut(),
        ulParameterLen: 0,
    };
    let (mut public, mut private) = (template(public), template(private));
    let (public_len, private_len) = (public.len() as CK_ULONG, private.len() as CK_ULONG);
    let (mut first, mut second) = (0, 0);
    let rv = unsafe {
        C_GenerateKeyPair(
            session,
            &raw mut mechanism,
            public.as_mut_ptr(),
            public_len,
            private.as_mut_ptr(),
            private_len,
            &raw mut first,
            &raw mut second,
        )
    };
    match rv {
        CKR_OK => Ok((first, second)),
        rv => Err(rv),
    }
}

#[test]
fn a_private_key_of_a_session_is_as_closed_as_a_tokens_whatever_is_asked() {
    let module = Module::start(&[token()]);
    let session = module.open();
    let (bits, p256) = (number(1024), b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07");
    let edwards = b"\x06\x03\x2b\x65\x70";
    let hostile = [
        (CKA_SENSITIVE, NO),
        (CKA_EXTRACTABLE, YES),
        (CKA_COPYABLE, YES),
        (CKA_ID, b"pair"),
    ];
    for (mechanism, public, secrets) in [
        (
            CKM_RSA_PKCS_KEY_PAIR_GEN,
            (CKA_MODULUS_BITS, &bits[..]),
            &[CKA_PRIVATE_EXPONENT, CKA_PRIME_1, CKA_COEFFICIENT][..],
        ),
        (
            CKM_EC_KEY_PAIR_GEN,
            (CKA_EC_PARAMS, &p256[..]),
            &[CKA_VALUE],
        ),
        (
            CKM_EC_EDWARDS_KEY_PAIR_GEN,
            (CKA_EC_PARAMS, edwards),
            &[CKA_VALUE],
        ),
    ] {
        let (public, private) = generate_pair(session, mechanism, &[public], &hostile).unwrap();
        for (kind, expected) in [
            (CKA_SENSITIVE, YES),
            (CKA_ALWAYS_SENSITIVE, YES),
            (CKA_EXTRACTABLE, NO),
            (CKA_NEVER_EXTRACTABLE, YES),
            (CKA_COPYABLE, NO),
            (CKA_LOCAL, YES),
            (CKA_SIGN, YES),
            (CKA_TOKEN, NO),
        ] {
            assert_eq!(
                value(session, private, kind),
                Ok(expected.to_vec()),
                "{kind:#x}"
            );
        }
        for kind in secrets {
            assert_eq!(value(session, private, *kind), Err(CKR_ATTRIBUTE_SENSITIVE));
        }
        assert_eq!(copy(session, private, &[]), Err(CKR_ACTION_PROHIBITED));
        for change in [
            (CKA_SENSITIVE, NO),
            (CKA_EXTRACTABLE, YES),
            (CKA_COPYABLE, YES),
        ] {
            assert_eq!(set(session, private, &[change]), CKR_ATTRIBUTE_READ_ONLY);
        }
        let mechanism = number(mechanism).to_vec();
        for key in [public, private] {
            assert_eq!(
                value(session, key, CKA_KEY_GEN_MECHANISM),
                Ok(mechanism.clone())
            );
        }
        let info = value(session, public, CKA_PUBLIC_KEY_INFO);
        assert!(info.is_ok() && info == value(session, private, CKA_PUBLIC_KEY_INFO));
        assert_eq!(find(session, &[(CKA_ID, b"pair")]), [private]);
        assert_eq!(
            (destroy(session, public), destroy(session, private)),
            (CKR_OK, CKR_OK)
        );
    }
    // Half a pair is none.
    let before = find(session, &[]).len();
    for private in [(CKA_TOKEN, YES), (CKA_PRIVATE, YES), (CKA_MODULUS, NO)] {
        let public = (CKA_EC_PARAMS, &p256[..]);
        assert!(generate_pair(session, CKM_EC_KEY_PAIR_GEN, &[public], &[private]).is_err());
    }
    assert_eq!(find(session, &[]).len(), before);
}

#[test]
fn a_key_can_be_used_in_one_session_while_its_own_is_closed_in_another_thread() {
    let module = Module::start(&[token()]);
    let user = module.open();
    let p256 = b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
    for _ in 0..20 {
        let owner = open(0, CKF_SERIAL_SESSION);
        let public = [(CKA_EC_PARAMS, &p256[..])];
        let (_, key) = generate_pair(owner, CKM_EC_KEY_PAIR_GEN, &public, &[]).unwrap();
        assert_eq!(sign_init(user, CKM_ECDSA_SHA256, None::<&()>, key), CKR_OK);
        std::thread::scope(|scope| {
            scope.spawn(|| assert_eq!(unsafe { C_CloseSession(owner) }, CKR_OK));
            assert_eq!(sign(user, b"x", 64).unwrap().len(), 64);
        });
        let again = sign_init(user, CKM_ECDSA_SHA256, None::<&()>, key);
        assert_eq!(again, CKR_KEY_HANDLE_INVALID);
    }
    assert_eq!(of_class(user, CKO_PRIVATE_KEY), []);
}

#[test]
fn a_token_without_login_has_private_objects_as_well() {
    let settings = Settings {
        login: LoginPolicy::OnUse,
        ..Settings::default()
    };
    let module = Module::start(&[TestToken::new(&[], settings)]);
    let session = module.open();
    let private = secret_key(CKK_GENERIC_SECRET, b"x").with(CKA_PRIVATE, YES);
    let made = create(session, &private.pairs()).unwrap();
    assert_eq!(of_class(session, CKO_SECRET_KEY), [made]);
}

#[test]
fn threads_that_make_find_and_end_things_at_once_leave_nothing_behind() {
    let token = token();
    let module = Module::start(&[Arc::clone(&token)]);
    let watcher = module.open();
    let p256 = b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            scope.spawn(move || {
                for round in 0..50_u8 {
                    let session = open(0, CKF_SERIAL_SESSION);
                    let label = [thread, round];
                    let key = secret_key(CKK_GENERIC_SECRET, b"x").with(CKA_LABEL, &label);
                    let key = create(session, &key.with(CKA_PRIVATE, NO).pairs()).unwrap();
                    assert_eq!(find(session, &[(CKA_LABEL, &label)]), [key]);
                    let public = [(CKA_EC_PARAMS, &p256[..])];
                    // A logout may come in between: then there is none.
                    let pair = generate_pair(session, CKM_EC_KEY_PAIR_GEN, &public, &[]);
                    assert!(matches!(pair, Ok(_) | Err(CKR_USER_NOT_LOGGED_IN)));
                    assert_eq!(set(session, key, &[(CKA_LABEL, b"old")]), CKR_OK);
                    assert_eq!(find(session, &[(CKA_LABEL, &label)]), []);
                    if round % 2 == 0 {
                        assert_eq!(destroy(session, key), CKR_OK);
                    }
                    assert_eq!(unsafe { C_CloseSession(session) }, CKR_OK);
                }
            });
        }
        for _ in 0..50 {
            assert_eq!(login(watcher, CKU_USER, Some(PIN)), CKR_OK);
            assert_eq!(find(watcher, &[(CKA_TOKEN, YES)]).len(), 9);
            assert_eq!(unsafe { C_Logout(watcher) }, CKR_OK);
        }
    });
    assert_eq!(find(watcher, &[(CKA_TOKEN, NO)]), []);
    assert_eq!(find(watcher, &[(CKA_LABEL, b"old")]), []);
}

/// Numbers that look random and are the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

#[test]
fn templates_of_anything_get_an_answer_of_the_specification() {
    const ANSWERS: [CK_RV; 14] = [
        CKR_OK,
        CKR_ACTION_PROHIBITED,
        CKR_ATTRIBUTE_READ_ONLY,
        CKR_ATTRIBUTE_TYPE_INVALID,
        CKR_ATTRIBUTE_VALUE_INVALID,
        CKR_BUFFER_TOO_SMALL,
        CKR_CURVE_NOT_SUPPORTED,
        CKR_DOMAIN_PARAMS_INVALID,
        CKR_OBJECT_HANDLE_INVALID,
        CKR_PARAMETER_SET_NOT_SUPPORTED,
        CKR_TEMPLATE_INCOMPLETE,
        CKR_TEMPLATE_INCONSISTENT,
        CKR_TOKEN_WRITE_PROTECTED,
        CKR_USER_NOT_LOGGED_IN,
    ];
    let module = Module::start(&[token()]);
    let session = module.open();
    let mut random = Random(1);
    let kinds: Vec<_> = (0..0x220)
        .chain(0x500..0x640)
        .chain([CKA_ALLOWED_MECHANISMS])
        .collect();
    let numbers: Vec<_> = (0..80).map(|value: CK_ULONG| value.to_ne_bytes()).collect();
    let mut values: Vec<Vec<u8>> = numbers.iter().map(|number| number.to_vec()).collect();
    values.extend([0, 1, 8, 16, 32, 65, 128, 256].map(|len| vec![4; len]));
    for object in find(session, &[]) {
        let template = public_key_of(session, object);
        values.extend(template.0.into_iter().map(|(_, value)| value));
    }
    let mut made = 0;
    for round in 0..3000 {
        // Half of them are objects to begin with.
        let mut owned = match round % 6 {
            0 => secret_key(CKK_GENERIC_SECRET, b"x"),
            1 => secret_key(CKK_AES, &[1; 16]),
            2 => Owned(vec![(CKA_CLASS, number(CKO_DATA).to_vec())]),
            _ => Owned(Vec::new()),
        };
        for _ in 0..random.below(5) {
            let kind = kinds[random.below(kinds.len())];
            owned
                .0
                .push((kind, values[random.below(values.len())].clone()));
        }
        let pairs = owned.pairs();
        let object = CK_OBJECT_HANDLE::try_from(random.below(200)).unwrap();
        let created = create(session, &pairs);
        made += usize::from(created.is_ok());
        let copied = copy(session, created.unwrap_or(object), &pairs);
        for rv in [
            created.map_or_else(|rv| rv, |_| CKR_OK),
            copied.map_or_else(|rv| rv, |_| CKR_OK),
            set(session, created.unwrap_or(object), &pairs),
        ] {
            assert!(ANSWERS.contains(&rv), "{rv:#x} to {:x?}", owned.0);
        }
        // What an object was made to be it is found by, unless that is hidden.
        if let Ok(object) = created {
            let shown =
                |(kind, _): &&(CK_ATTRIBUTE_TYPE, &[u8])| value(session, object, *kind).is_ok();
            let shown: Pairs<'_> = pairs.iter().filter(shown).copied().collect();
            let expected = shown
                .iter()
                .all(|(kind, wanted)| value(session, object, *kind).as_deref() == Ok(wanted));
            assert_eq!(find(session, &shown).contains(&object), expected);
        }
    }
    assert!(made > 300, "{made}");
}
