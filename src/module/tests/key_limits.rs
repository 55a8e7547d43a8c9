//! Which sizes and numbers keys may have, refused before anything is computed; and what thousands of
//! them cost the program around us.
#![allow(clippy::undocumented_unsafe_blocks)] // calls of the C functions that are under test
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a test's own functions

mod key_functions;
mod made;
mod operations;
mod support;

use cryptoki_sys::*;
use key_functions::*;
use made::Owned;
use operations::{Answer, Mechanism, Object, Session, mechanism_info, sign, sign_init};
use support::*;

fn software() -> (Module, Session) {
    let module = Module::start(&[TestToken::new(&[], Settings::default())]);
    let session = module.open();
    (module, session)
}

#[test]
fn one_upper_limit_of_secrets_is_told_and_kept_by_every_function() {
    let settings = Settings {
        decrypts: true,
        ..Settings::default()
    };
    let identity = Identity::ec(openssl::nid::Nid::X9_62_PRIME256V1, 1);
    let point = match identity.public_key().material() {
        ctk_token::PublicKeyMaterial::Ec { point, .. } => point.to_vec(),
        other => panic!("{other:?}"),
    };
    let module = Module::start(&[TestToken::new(&[identity], settings)]);
    let session = module.open_and_login();
    let told = |mechanism| mechanism_info(mechanism).unwrap();
    let longest = told(CKM_GENERIC_SECRET_KEY_GEN).ulMaxKeySize;
    let hmac = told(CKM_SHA256_HMAC);
    assert_eq!((hmac.ulMinKeySize, hmac.ulMaxKeySize), (1, longest));

    let (exact, over) = (longest as usize, longest as usize + 1);
    let create = |len| {
        let key = made::secret_key(CKK_GENERIC_SECRET, &vec![7; len]);
        made::create(session, &key.pairs())
    };
    let mac_key = create(exact).unwrap();
    sign_init(session, &Mechanism::new(CKM_SHA256_HMAC), mac_key).unwrap();
    sign(session, b"data").unwrap();
    assert_eq!(create(over), Err(CKR_ATTRIBUTE_VALUE_INVALID));
    assert_eq!(create(5000), Err(CKR_ATTRIBUTE_VALUE_INVALID));

    let generic = |len: CK_ULONG| {
        let len = number(len);
        let made = Mechanism::new(CKM_GENERIC_SECRET_KEY_GEN);
        generate(session, &made, &[(CKA_VALUE_LEN, &len)])
    };
    generic(longest).unwrap();
    assert_eq!(generic(longest + 1), Err(CKR_ATTRIBUTE_VALUE_INVALID));

    let parameter = CK_ECDH1_DERIVE_PARAMS {
        kdf: CKD_SHA256_KDF,
        ulSharedDataLen: 0,
        pSharedData: std::ptr::null_mut(),
        ulPublicDataLen: point.len() as CK_ULONG,
        pPublicData: point.as_ptr().cast_mut(),
    };
    let ecdh = Mechanism::with(CKM_ECDH1_DERIVE, &parameter);
    let base = key(session, 1);
    let derived = |len: CK_ULONG| {
        let len = number(len);
        derive(session, &ecdh, base, &readable(&GENERIC, &len))
    };
    derived(longest).unwrap();
    for len in [longest + 1, 65537, 1 << 40, CK_ULONG::MAX] {
        assert_eq!(derived(len), Err(CKR_ATTRIBUTE_VALUE_INVALID), "{len}");
    }

    // The longer one comes from elsewhere.
    let wrapping = aes(session, 32);
    let bytes = openssl::symm::encrypt(
        openssl::symm::Cipher::aes_256_cbc(),
        &bytes_of(session, wrapping),
        Some(&[9; 16]),
        &vec![7; over],
    );
    let wrapped = bytes.unwrap();
    let mechanism = with_iv(CKM_AES_CBC_PAD, &[9; 16]);
    let template = of_any_length(&GENERIC);
    let unwrapped = unwrap(session, &mechanism, wrapping, &wrapped, &template);
    assert_eq!(unwrapped, Err(CKR_WRAPPED_KEY_LEN_RANGE));
}
/// Of two mistakes it is told which was seen first: this modulus is refused by who generates.
#[test]
fn a_key_pair_is_refused_before_it_is_generated() {
    let (_module, session) = software();
    let wrong = number(1000);
    let generate = |public: &Pairs<'_>, private: &Pairs<'_>| -> Answer<(Object, Object)> {
        let public = [&[(CKA_MODULUS_BITS, &wrong[..])], public].concat();
        generate_pair(session, CKM_RSA_PKCS_KEY_PAIR_GEN, &public, private)
    };
    assert_eq!(generate(&[], &[]), Err(CKR_ATTRIBUTE_VALUE_INVALID));
    let curve = params(ctk_token::Curve::P256);
    let set = number(CKP_ML_DSA_65);
    let strange = [(CKA_EC_PARAMS, &curve[..]), (CKA_PARAMETER_SET, &set)];
    for one in strange {
        assert_eq!(generate(&[one], &[]), Err(CKR_TEMPLATE_INCONSISTENT));
        assert_eq!(generate(&[], &[one]), Err(CKR_TEMPLATE_INCONSISTENT));
    }
    let always = [(CKA_ALWAYS_AUTHENTICATE, YES)];
    assert_eq!(generate(&[], &always), Err(CKR_TEMPLATE_INCONSISTENT));
}
#[test]
fn a_check_value_is_the_library_s_word_or_none() {
    let (_module, session) = software();
    let create = |key: &Owned, check: &[u8]| {
        made::create(session, &key.with(CKA_CHECK_VALUE, check).pairs())
    };
    for kind in [CKK_GENERIC_SECRET, CKK_SHA256_HMAC] {
        let key = made::secret_key(kind, b"abcd");
        assert_eq!(create(&key, b"bogus"), Err(CKR_ATTRIBUTE_VALUE_INVALID));
        assert_eq!(create(&key, b"abc"), Err(CKR_ATTRIBUTE_VALUE_INVALID));
        let none = create(&key, b"").unwrap();
        assert_eq!(value(session, none, CKA_CHECK_VALUE), Ok(vec![]));
    }
    let aes = made::secret_key(CKK_AES, b"0123456789abcdef");
    assert_eq!(create(&aes, b"abc"), Err(CKR_ATTRIBUTE_VALUE_INVALID));
}
#[test]
fn rsa_public_keys_have_an_odd_modulus_and_a_sensible_odd_exponent() {
    let (_module, session) = software();
    let mut modulus = [0xC1; 256];
    let create = |modulus: &[u8], exponent: &[u8]| {
        let key = Owned(vec![
            (CKA_CLASS, number(CKO_PUBLIC_KEY).to_vec()),
            (CKA_KEY_TYPE, number(CKK_RSA).to_vec()),
            (CKA_MODULUS, modulus.to_vec()),
            (CKA_PUBLIC_EXPONENT, exponent.to_vec()),
        ]);
        made::create(session, &key.pairs())
    };
    for good in [&[3][..], &[0, 17], &[1, 0, 1], &[1, 0xff, 0xff, 0xff, 0xff]] {
        create(&modulus, good).unwrap();
    }
    for bad in [
        &[1][..],
        &[2],
        &[0, 1],
        &[1, 0, 0],
        &[2, 0, 0, 0, 1],
        &[0xC1; 256],
    ] {
        let created = create(&modulus, bad);
        assert_eq!(created, Err(CKR_ATTRIBUTE_VALUE_INVALID), "{bad:?}");
    }
    modulus[255] = 0xC0;
    assert_eq!(
        create(&modulus, &[1, 0, 1]),
        Err(CKR_ATTRIBUTE_VALUE_INVALID)
    );
}
/// A program's threads and libraries need mappings too, and its PINs locked memory.
#[cfg(target_os = "linux")]
#[test]
fn thousands_of_keys_take_few_mappings_and_little_locked_memory() {
    let (_module, session) = software();
    let mappings = || {
        std::fs::read_to_string("/proc/self/maps")
            .unwrap()
            .lines()
            .count()
    };
    let locked = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmLck:"));
        let number = line
            .and_then(|line| line.split_whitespace().nth(1))
            .unwrap();
        number.parse::<usize>().unwrap()
    };
    let key = made::secret_key(CKK_AES, b"0123456789abcdef");
    let pairs = key.pairs();
    made::create(session, &pairs).unwrap();
    let before = (mappings(), locked());
    let keys: Vec<_> = (0..6000).map(|_| made::create(session, &pairs)).collect();
    assert!(keys.iter().all(Result::is_ok));
    let more = (mappings() - before.0, locked() - before.1);
    assert!(more.0 <= 200, "{} mappings", more.0);
    assert!(more.1 <= 256, "{} kB", more.1);
    for key in keys {
        assert_eq!(bytes_of(session, key.unwrap()), b"0123456789abcdef");
    }
}
