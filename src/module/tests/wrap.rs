//! Keys wrapped and unwrapped; and that no private key leaves that way.
#![allow(clippy::undocumented_unsafe_blocks)] // calls of the C functions that are under test
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a test's own functions

mod key_functions;
mod operations;
mod support;

use std::sync::{Arc, atomic::Ordering};

use cryptoki_sys::*;
use ctk_token::*;
use key_functions::*;
use openssl::{
    rsa::Padding,
    symm::{self, Cipher},
};
use operations::*;
use support::*;

const IV: [u8; 16] = [9; 16];

fn software() -> (Module, CK_SESSION_HANDLE) {
    let module = Module::start(&[TestToken::new(&[], Settings::default())]);
    let session = module.open();
    (module, session)
}

fn decrypting(identity: Identity, raw_only: bool) -> Arc<TestToken> {
    let settings = Settings {
        decrypts: true,
        raw_only,
        ..Settings::default()
    };
    TestToken::new(&[identity], settings)
}

#[test]
fn keys_of_a_session_wrap_each_other() {
    let (_module, session) = software();
    let wrapping = aes(session, 32);
    let wrapping_bytes = bytes_of(session, wrapping);
    let aad = b"context";
    for mechanism in [
        with_iv(CKM_AES_CBC, &IV),
        with_iv(CKM_AES_CBC_PAD, &IV),
        gcm(&IV[..12], aad, 128),
        Mechanism::new(CKM_AES_KEY_WRAP),
        with_iv(CKM_AES_KEY_WRAP, b"initial!"),
        Mechanism::new(CKM_AES_KEY_WRAP_KWP),
        with_iv(CKM_AES_KEY_WRAP_KWP, b"init"),
    ] {
        for (key_type, len) in [
            (&AES, 16),
            (&AES, 24),
            (&AES, 32),
            (&GENERIC, 21),
            (&GENERIC, 64),
        ] {
            let value_bytes: Vec<u8> = (1..=len).collect();
            let key = secret_key(session, ulong(key_type), &value_bytes);
            let wrapped = wrap(session, &mechanism, wrapping, key).unwrap();
            assert!(!wrapped.windows(8).any(|part| part == &value_bytes[..8]));
            let len_bytes = number(len.into());
            let template = readable(key_type, &len_bytes);
            let again = unwrap(session, &mechanism, wrapping, &wrapped, &template).unwrap();
            assert_eq!(bytes_of(session, again), value_bytes);
            assert_eq!(value(session, again, CKA_LOCAL), Ok(NO.to_vec()));
            // The other party is OpenSSL.
            let expected = match mechanism.kind {
                CKM_AES_CBC_PAD => {
                    let cipher = Cipher::aes_256_cbc();
                    symm::encrypt(cipher, &wrapping_bytes, Some(&IV), &value_bytes).unwrap()
                }
                CKM_AES_GCM => {
                    let (cipher, iv) = (Cipher::aes_256_gcm(), Some(&IV[..12]));
                    let mut tag = [0; 16];
                    let key = &wrapping_bytes;
                    let text = symm::encrypt_aead(cipher, key, iv, aad, &value_bytes, &mut tag);
                    [text.unwrap(), tag.to_vec()].concat()
                }
                CKM_AES_KEY_WRAP | CKM_AES_KEY_WRAP_KWP => {
                    let mut padded = value_bytes.clone();
                    let (name, default) = match mechanism.kind {
                        CKM_AES_KEY_WRAP => {
                            padded.resize(padded.len().next_multiple_of(8), 0);
                            ("-id-aes256-wrap", "a6a6a6a6a6a6a6a6".to_owned())
                        }
                        _ => ("-id-aes256-wrap-pad", "a65959a6".to_owned()),
                    };
                    let iv = match mechanism.parameter.len() {
                        0 => default,
                        _ => hex(&mechanism.parameter),
                    };
                    let key = hex(&wrapping_bytes);
                    openssl(&["enc", "-e", name, "-K", &key, "-iv", &iv], &[], &padded)
                }
                _ => continue,
            };
            assert_eq!(wrapped, expected, "{mechanism:?} {len}");
        }
    }
}

#[test]
fn wrapped_keys_that_are_wrong_are_told() {
    let (_module, session) = software();
    let wrapping = aes(session, 16);
    let key = secret_key(session, CKK_AES, &[7; 16]);
    let sixteen = number(16);
    let template = readable(&AES, &sixteen);
    for (mechanism, unit) in [
        (with_iv(CKM_AES_CBC_PAD, &IV), 16),
        (gcm(&IV[..12], b"", 128), 1),
        (Mechanism::new(CKM_AES_KEY_WRAP), 8),
        (Mechanism::new(CKM_AES_KEY_WRAP_KWP), 8),
    ] {
        let open = |wrapped: &[u8], template: &[(CK_ATTRIBUTE_TYPE, &[u8])]| {
            unwrap(session, &mechanism, wrapping, wrapped, template)
        };
        let wrapped = wrap(session, &mechanism, wrapping, key).unwrap();
        let mut spoiled = wrapped.clone();
        // With a block of CBC a bit of the next one's plaintext turns, here of its padding. A change in the last block makes
        // something else of it, which is a padding once in 256 times.
        let at = wrapped.len() - if unit == 16 { 17 } else { 1 };
        spoiled[at] ^= 0x80;
        assert_eq!(open(&spoiled, &template), Err(CKR_WRAPPED_KEY_INVALID));
        assert_eq!(open(&[], &template), Err(CKR_WRAPPED_KEY_LEN_RANGE));
        if unit > 1 {
            let cut = &wrapped[..wrapped.len() - 1];
            assert_eq!(open(cut, &template), Err(CKR_WRAPPED_KEY_LEN_RANGE));
        }
        // The bytes tell how many they are, and the template may say the same and nothing else.
        let again = open(&wrapped, &of_any_length(&AES)).unwrap();
        assert_eq!(bytes_of(session, again), [7; 16]);
        for len in [24, 32, 17, 0xffff_ffff] {
            let len = number(len);
            let answer = open(&wrapped, &readable(&AES, &len));
            assert_eq!(answer, Err(CKR_WRAPPED_KEY_LEN_RANGE));
        }
        assert_eq!(open(&wrapped, &[]), Err(CKR_TEMPLATE_INCOMPLETE));
        let private = number(CKO_PRIVATE_KEY);
        let rsa = number(CKK_RSA);
        let a_private_key = [(CKA_CLASS, &private[..]), (CKA_KEY_TYPE, &rsa)];
        assert_eq!(
            open(&wrapped, &a_private_key),
            Err(CKR_TEMPLATE_INCONSISTENT)
        );
        let unknown = number(CKK_DES2);
        let answer = open(&wrapped, &of_any_length(&unknown));
        assert_eq!(answer, Err(CKR_ATTRIBUTE_VALUE_INVALID));
        let with_value = [&template[..], &[(CKA_VALUE, &[1; 16][..])]].concat();
        assert_eq!(open(&wrapped, &with_value), Err(CKR_ATTRIBUTE_READ_ONLY));
        let token = [&template[..], &[(CKA_TOKEN, YES)]].concat();
        assert_eq!(open(&wrapped, &token), Err(CKR_TOKEN_WRITE_PROTECTED));
    }
    // What fills up with zeros does not tell.
    let key_wrap = Mechanism::new(CKM_AES_KEY_WRAP);
    let wrapped = wrap(session, &key_wrap, wrapping, key).unwrap();
    let any = of_any_length(&GENERIC);
    let answer = unwrap(session, &key_wrap, wrapping, &wrapped, &any);
    assert_eq!(answer, Err(CKR_TEMPLATE_INCOMPLETE));
    for (len, expected) in [(9, true), (16, true), (8, false), (17, false)] {
        let len = number(len);
        let answer = unwrap(
            session,
            &key_wrap,
            wrapping,
            &wrapped,
            &readable(&GENERIC, &len),
        );
        assert_eq!(answer.is_ok(), expected);
    }
    for (mechanism, parameter) in [
        (CKM_AES_KEY_WRAP, 4),
        (CKM_AES_KEY_WRAP, 9),
        (CKM_AES_KEY_WRAP_KWP, 8),
        (CKM_AES_CBC, 15),
        (CKM_AES_GCM, 47),
    ] {
        let mechanism = with_iv(mechanism, &vec![1; parameter]);
        let answer = wrap(session, &mechanism, wrapping, key);
        assert_eq!(answer, Err(CKR_MECHANISM_PARAM_INVALID));
        let answer = unwrap(session, &mechanism, wrapping, &wrapped, &template);
        assert_eq!(answer, Err(CKR_MECHANISM_PARAM_INVALID));
    }
}

#[test]
fn a_key_that_wants_a_trusted_one_around_it_goes_under_no_other() {
    let token = TestToken::new(
        &[Identity::rsa(2048, 1)],
        Settings {
            decrypts: true,
            has_admin: true,
            ..Settings::default()
        },
    );
    let _module = Module::start(&[token]);
    let session = open(0, CKF_SERIAL_SESSION | CKF_RW_SESSION);
    let sixteen = number(16);
    let made = |more: &[(CK_ATTRIBUTE_TYPE, &[u8])]| {
        let template = [&[(CKA_VALUE_LEN, &sixteen[..])], more].concat();
        generate(session, &Mechanism::new(CKM_AES_KEY_GEN), &template)
    };
    let wants = made(&[(CKA_WRAP_WITH_TRUSTED, YES), (CKA_EXTRACTABLE, YES)]).unwrap();
    let key_wrap = Mechanism::new(CKM_AES_KEY_WRAP_KWP);
    let pkcs1 = Mechanism::new(CKM_RSA_PKCS);
    let all = [
        (&key_wrap, aes(session, 32)),
        (&key_wrap, made(&[(CKA_TRUSTED, NO)]).unwrap()),
        (&pkcs1, public_key(session, 1)),
    ];
    for role in [None, Some(CKU_USER), Some(CKU_SO)] {
        if let Some(role) = role {
            assert_eq!(login(session, role, Some(PIN)), CKR_OK);
        }
        for (mechanism, wrapping) in all {
            let refused = wrap(session, mechanism, wrapping, wants);
            assert_eq!(
                refused,
                Err(CKR_KEY_NOT_WRAPPABLE),
                "{role:?} {mechanism:?}"
            );
        }
        let trusted = made(&[(CKA_TRUSTED, YES)]);
        if role == Some(CKU_SO) {
            wrap(session, &key_wrap, trusted.unwrap(), wants).unwrap();
        } else {
            assert_eq!(trusted, Err(CKR_ATTRIBUTE_READ_ONLY), "{role:?}");
        }
        if role.is_some() {
            assert_eq!(unsafe { ctk_pkcs11::abi::C_Logout(session) }, CKR_OK);
        }
    }
}

#[test]
fn what_may_not_be_wrapped_is_not_a_byte_of_it() {
    let identity = Identity::rsa(2048, 1);
    let module = Module::start(&[decrypting(identity, false)]);
    let session = module.open_and_login();
    let wrapping = aes(session, 32);
    let key_wrap = Mechanism::new(CKM_AES_KEY_WRAP_KWP);
    let refused = |key| wrap(session, &key_wrap, wrapping, key).unwrap_err();
    // Of the token, and of the session however it was wished.
    assert_eq!(refused(key(session, 1)), CKR_KEY_UNEXTRACTABLE);
    let p256 = params(Curve::P256);
    let wish = [(CKA_EXTRACTABLE, YES), (CKA_SENSITIVE, NO)];
    let params = [(CKA_EC_PARAMS, &p256[..]), (CKA_WRAP, YES)];
    let (public, private) = generate_pair(session, CKM_EC_KEY_PAIR_GEN, &params, &wish).unwrap();
    assert_eq!(refused(private), CKR_KEY_UNEXTRACTABLE);
    assert_eq!(refused(public), CKR_KEY_HANDLE_INVALID);
    assert_eq!(refused(0), CKR_KEY_HANDLE_INVALID);
    let sixteen = number(16);
    let made = |more: &[(CK_ATTRIBUTE_TYPE, &[u8])]| {
        let template = [&[(CKA_VALUE_LEN, &sixteen[..])], more].concat();
        generate(session, &Mechanism::new(CKM_AES_KEY_GEN), &template).unwrap()
    };
    assert_eq!(
        refused(made(&[(CKA_EXTRACTABLE, NO)])),
        CKR_KEY_UNEXTRACTABLE
    );
    // A sensitive one may be, if it is extractable.
    let sensitive = made(&[(CKA_SENSITIVE, YES), (CKA_EXTRACTABLE, YES)]);
    wrap(session, &key_wrap, wrapping, sensitive).unwrap();

    let with = |mechanism: &Mechanism, wrapping| {
        wrap(session, mechanism, wrapping, sensitive).unwrap_err()
    };
    assert_eq!(with(&key_wrap, 0), CKR_WRAPPING_KEY_HANDLE_INVALID);
    assert_eq!(with(&key_wrap, public), CKR_WRAPPING_KEY_TYPE_INCONSISTENT);
    let pkcs1 = Mechanism::new(CKM_RSA_PKCS);
    assert_eq!(with(&pkcs1, public), CKR_WRAPPING_KEY_TYPE_INCONSISTENT);
    assert_eq!(with(&pkcs1, wrapping), CKR_WRAPPING_KEY_TYPE_INCONSISTENT);
    let no = made(&[(CKA_WRAP, NO)]);
    assert_eq!(with(&key_wrap, no), CKR_KEY_FUNCTION_NOT_PERMITTED);
    for other in [CKM_AES_ECB, CKM_AES_CTR, CKM_RSA_X_509, CKM_SHA256] {
        assert_eq!(
            with(&Mechanism::new(other), wrapping),
            CKR_MECHANISM_INVALID
        );
    }
    // Too long for the modulus, and too short for key wrap.
    let long = secret_key(session, CKK_GENERIC_SECRET, &[1; 246]);
    let rsa = public_key(session, 1);
    assert_eq!(wrap(session, &pkcs1, rsa, long), Err(CKR_KEY_SIZE_RANGE));
    let short = secret_key(session, CKK_GENERIC_SECRET, &[1; 8]);
    let exact = Mechanism::new(CKM_AES_KEY_WRAP);
    assert_eq!(
        wrap(session, &exact, wrapping, short),
        Err(CKR_KEY_SIZE_RANGE)
    );
    let unwrapped = |mechanism: &Mechanism, unwrapping| {
        let template = of_any_length(&AES);
        unwrap(session, mechanism, unwrapping, &[0; 256], &template).unwrap_err()
    };
    assert_eq!(unwrapped(&key_wrap, 0), CKR_UNWRAPPING_KEY_HANDLE_INVALID);
    assert_eq!(
        unwrapped(&pkcs1, private),
        CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT
    );
    assert_eq!(
        unwrapped(&pkcs1, wrapping),
        CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT
    );
    assert_eq!(
        unwrapped(&key_wrap, private),
        CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT
    );
    let no = made(&[(CKA_UNWRAP, NO)]);
    assert_eq!(unwrapped(&key_wrap, no), CKR_KEY_FUNCTION_NOT_PERMITTED);
    let x509 = Mechanism::new(CKM_RSA_X_509);
    assert_eq!(unwrapped(&x509, key(session, 1)), CKR_MECHANISM_INVALID);
}

#[test]
fn a_token_unwraps_what_was_wrapped_for_it() {
    let identity = Identity::rsa(2048, 1);
    let token = decrypting(identity, false);
    let module = Module::start(&[Arc::clone(&token)]);
    let session = module.open_and_login();
    let (public, private) = (public_key(session, 1), key(session, 1));
    for mechanism in [
        Mechanism::new(CKM_RSA_PKCS),
        oaep(CKM_SHA256, CKG_MGF1_SHA256, b"label"),
    ] {
        let secret = secret_key(session, CKK_AES, &[0x42; 32]);
        let wrapped = wrap(session, &mechanism, public, secret).unwrap();
        let len = number(32);
        for template in [
            readable(&AES, &len),
            of_any_length(&AES),
            of_any_length(&GENERIC),
        ] {
            let key = unwrap(session, &mechanism, private, &wrapped, &template).unwrap();
            assert_eq!(bytes_of(session, key), [0x42; 32]);
        }
        let before = token.decryptions.load(Ordering::SeqCst);
        let long = number(246);
        let template = readable(&GENERIC, &long);
        let answer = unwrap(session, &mechanism, private, &wrapped, &template);
        assert_eq!(answer, Err(CKR_WRAPPED_KEY_LEN_RANGE));
        let cut = &wrapped[1..];
        let template = of_any_length(&AES);
        let answer = unwrap(session, &mechanism, private, cut, &template);
        assert_eq!(answer, Err(CKR_WRAPPED_KEY_LEN_RANGE));
        assert_eq!(token.decryptions.load(Ordering::SeqCst), before);
    }
    // OAEP says what it can say without giving anything away.
    let mechanism = oaep(CKM_SHA_1, CKG_MGF1_SHA1, b"");
    let secret = secret_key(session, CKK_GENERIC_SECRET, &[1; 20]);
    let wrapped = wrap(session, &mechanism, public, secret).unwrap();
    let answer = unwrap(session, &mechanism, private, &wrapped, &of_any_length(&AES));
    assert_eq!(answer, Err(CKR_WRAPPED_KEY_LEN_RANGE));
    let other = oaep(CKM_SHA_1, CKG_MGF1_SHA1, b"other");
    let answer = unwrap(session, &other, private, &wrapped, &of_any_length(&GENERIC));
    assert_eq!(answer, Err(CKR_WRAPPED_KEY_INVALID));
}

/// A wrapped key of the wrong length and one of a wrong padding both become a key that nobody knows.
#[test]
fn unwrapping_tells_nobody_whether_a_padding_was_right() {
    for raw_only in [false, true] {
        let identity = Identity::rsa(2048, 1);
        let rsa = identity.key.rsa().unwrap();
        let module = Module::start(&[decrypting(identity, raw_only)]);
        let session = module.open_and_login();
        let private = key(session, 1);
        let sealed = |data: &[u8], padding| {
            let mut out = vec![0; 256];
            rsa.public_encrypt(data, &mut out, padding).unwrap();
            out
        };
        let mut block = [0xa5; 256];
        block[0] = 0;
        block[1] = 2;
        let no_separator = sealed(&block, Padding::NONE);
        block[1] = 1;
        block[200] = 0;
        let wrong_type = sealed(&block, Padding::NONE);
        let mut keys = Vec::new();
        for wrapped in [
            sealed(&[7; 15], Padding::PKCS1),
            sealed(&[7; 17], Padding::PKCS1),
            sealed(b"", Padding::PKCS1),
            no_separator,
            wrong_type,
        ] {
            let mechanism = Mechanism::new(CKM_RSA_PKCS);
            let mut made = |template: &[(CK_ATTRIBUTE_TYPE, &[u8])]| {
                let key = unwrap(session, &mechanism, private, &wrapped, template).unwrap();
                let again = unwrap(session, &mechanism, private, &wrapped, template).unwrap();
                let key = bytes_of(session, key);
                assert_eq!(bytes_of(session, again), key);
                assert!(!key.starts_with(&[7; 15]));
                keys.push(key.clone());
                key.len()
            };
            let len = number(16);
            assert_eq!(made(&readable(&AES, &len)), 16);
            assert!([16, 24, 32].contains(&made(&of_any_length(&AES))));
        }
        keys.sort();
        keys.dedup();
        assert!(keys.len() >= 5);
        let good = sealed(&[7; 16], Padding::PKCS1);
        let mechanism = Mechanism::new(CKM_RSA_PKCS);
        let key = unwrap(session, &mechanism, private, &good, &of_any_length(&AES)).unwrap();
        assert_eq!(bytes_of(session, key), [7; 16]);
    }
}
