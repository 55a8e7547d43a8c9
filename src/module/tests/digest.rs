//! Digests and random numbers.
#![allow(clippy::undocumented_unsafe_blocks)] // calls of the C functions that are under test
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a test's own functions

mod operations;
mod support;

use std::ptr::null_mut;

use cryptoki_sys::*;
use ctk_pkcs11::abi::*;
use ctk_token::Digest;
use operations::{self as op, Mechanism, pss_hash};
use support::{Identity, Module, Settings, TestToken, key};

#[test]
fn every_digest_is_that_of_the_crypto_library() {
    let module = Module::start(&[TestToken::new(&[], Settings::default())]);
    let session = module.open();
    let data: Vec<u8> = (0..1000_u32).map(|number| number as u8).collect();
    for digest in Digest::ALL {
        let mechanism = Mechanism::new(pss_hash(digest).0);
        for data in [&data[..], &[]] {
            let expected = ctk_crypto::hash(digest, data).unwrap();
            op::digest_init(session, &mechanism).unwrap();
            assert_eq!(op::digest(session, data).unwrap(), *expected);
            op::digest_init(session, &mechanism).unwrap();
            for part in data.chunks(77) {
                op::digest_update(session, part).unwrap();
            }
            assert_eq!(op::digest_final(session).unwrap(), *expected);
            let over = op::digest_final(session);
            assert_eq!(over, Err(CKR_OPERATION_NOT_INITIALIZED));
        }
    }
}

#[test]
fn a_digest_may_be_written_over_its_data() {
    let module = Module::start(&[TestToken::new(&[], Settings::default())]);
    let session = module.open();
    let expected = ctk_crypto::hash(Digest::Sha256, &[3; 32]).unwrap();
    let (mut buffer, mut len) = ([3; 32], 32);
    let start = buffer.as_mut_ptr();
    op::digest_init(session, &Mechanism::new(CKM_SHA256)).unwrap();
    let rv = unsafe { C_Digest(session, start, 32, start, &raw mut len) };
    assert_eq!((rv, len), (CKR_OK, 32));
    assert_eq!(buffer, *expected);
}

#[test]
fn a_digest_is_refused_at_the_start_and_ended_by_errors() {
    let identity = Identity::rsa(1024, 1);
    let module = Module::start(&[TestToken::new(&[identity], Settings::default())]);
    let session = module.open_and_login();
    let sha256 = Mechanism::new(CKM_SHA256);
    let init = |mechanism: &Mechanism| op::digest_init(session, mechanism);
    assert_eq!(init(&Mechanism::new(CKM_MD5)), Err(CKR_MECHANISM_INVALID));
    assert_eq!(
        init(&Mechanism::new(CKM_SHA256_RSA_PKCS)),
        Err(CKR_MECHANISM_INVALID)
    );
    let parameter = Mechanism::with(CKM_SHA256, &1u8);
    assert_eq!(init(&parameter), Err(CKR_MECHANISM_PARAM_INVALID));
    init(&sha256).unwrap();
    assert_eq!(init(&sha256), Err(CKR_OPERATION_ACTIVE));
    let over = |answer: CK_RV, expected| {
        assert_eq!(answer, expected);
        assert_eq!(
            op::digest_update(session, b"x"),
            Err(CKR_OPERATION_NOT_INITIALIZED)
        );
        init(&sha256).unwrap();
    };
    let (mut byte, mut len) = (0, 1);
    let byte = &raw mut byte;
    let len = &raw mut len;
    unsafe {
        over(C_DigestInit(session, null_mut()), CKR_OK);
        over(C_SessionCancel(session, CKF_DIGEST), CKR_OK);
        over(C_DigestUpdate(session, null_mut(), 1), CKR_ARGUMENTS_BAD);
        over(
            C_DigestUpdate(session, byte, CK_ULONG::MAX),
            CKR_ARGUMENTS_BAD,
        );
        over(
            C_Digest(session, byte, 1, byte, null_mut()),
            CKR_ARGUMENTS_BAD,
        );
        over(C_DigestFinal(session, byte, null_mut()), CKR_ARGUMENTS_BAD);
        over(C_DigestKey(session, 0), CKR_KEY_HANDLE_INVALID);
        over(C_DigestKey(session, key(session, 1)), CKR_KEY_INDIGESTIBLE);
        over(
            C_DigestKey(session, op::public_key(session, 1)),
            CKR_KEY_INDIGESTIBLE,
        );
        let certificate = support::of_class(session, CKO_CERTIFICATE)[0];
        over(C_DigestKey(session, certificate), CKR_KEY_HANDLE_INVALID);
        op::digest_update(session, b"part").unwrap();
        // Room is not looked at, for it is in the middle of its parts.
        over(C_Digest(session, byte, 1, byte, len), CKR_OPERATION_ACTIVE);
    }
}

#[test]
fn random_numbers_come_from_the_token_or_the_crypto_library() {
    let of_token = Settings {
        has_random: true,
        ..Settings::default()
    };
    let tokens = [of_token, Settings::default()].map(|settings| TestToken::new(&[], settings));
    let _module = Module::start(&tokens);
    for slot in [0, 1] {
        let session = support::open(slot, CKF_SERIAL_SESSION);
        let mut bytes = vec![0u8; 10_001];
        unsafe {
            // At an odd address, and not beyond its end.
            let start = bytes.as_mut_ptr().add(1);
            assert_eq!(C_GenerateRandom(session, start, 9_999), CKR_OK);
            assert_eq!((bytes[0], bytes[10_000]), (0, 0));
            assert!(
                bytes[1..10_000]
                    .chunks(16)
                    .all(|chunk| chunk.iter().any(|byte| *byte != 0))
            );
            assert_eq!(C_GenerateRandom(session, start, 0), CKR_OK);
            assert_eq!(C_GenerateRandom(session, null_mut(), 0), CKR_OK);
            assert_eq!(C_GenerateRandom(session, null_mut(), 1), CKR_ARGUMENTS_BAD);
            assert_eq!(
                C_GenerateRandom(session, start, CK_ULONG::MAX),
                CKR_ARGUMENTS_BAD
            );
            assert_eq!(
                C_SeedRandom(session, start, 8),
                CKR_RANDOM_SEED_NOT_SUPPORTED
            );
            assert_eq!(C_SeedRandom(session, null_mut(), 8), CKR_ARGUMENTS_BAD);
        }
    }
    // A token that says it has random numbers and then has none.
    let session = support::open(0, CKF_SERIAL_SESSION);
    let session_with = |session| unsafe { C_GenerateRandom(session, null_mut(), 1) };
    assert_eq!(session_with(session + 1000), CKR_SESSION_HANDLE_INVALID);
}
