//! What a template may say of an object that is to be made, and what becomes of what it does not say.
#![allow(clippy::undocumented_unsafe_blocks)] // calls of the C functions that are under test
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a test's own functions

mod made;
mod support;

use cryptoki_sys::*;
use ctk_pkcs11::abi::*;
use made::*;
use openssl::nid::Nid;
use support::*;

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
