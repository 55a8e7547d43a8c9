//! Verification, with data and signatures that are right, wrong, long and short.
#![allow(clippy::undocumented_unsafe_blocks)] // calls of the C functions that are under test
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a test's own functions

mod operations;
mod support;

use std::{ptr::null_mut, sync::Arc};

use cryptoki_sys::*;
use ctk_crypto::PrivateKey;
use ctk_pkcs11::abi::*;
use ctk_token::{Curve, Digest, Item, KeyType, PublicKey};
use openssl::nid::Nid;
use operations::{self as op, Mechanism};
use support::{Identity, Module, Settings, TestToken, key};

/// A message-signing mechanism for each kind of key.
fn kinds() -> Vec<(KeyType, Mechanism)> {
    let pss = Mechanism::pss(CKM_SHA384_RSA_PKCS_PSS, Digest::Sha384, 48);
    let kinds = vec![
        (
            KeyType::Rsa { bits: 2048 },
            Mechanism::new(CKM_SHA256_RSA_PKCS),
        ),
        (KeyType::Rsa { bits: 1024 }, pss),
        (KeyType::Ec(Curve::P256), Mechanism::new(CKM_ECDSA_SHA256)),
        (KeyType::Ec(Curve::P521), Mechanism::new(CKM_ECDSA_SHA3_512)),
        (
            KeyType::Ec(Curve::Secp256k1),
            Mechanism::new(CKM_ECDSA_SHA1),
        ),
        (KeyType::Ec(Curve::P224), Mechanism::new(CKM_ECDSA_SHA224)),
        (
            KeyType::Ec(Curve::BrainpoolP512r1),
            Mechanism::new(CKM_ECDSA_SHA512),
        ),
        (KeyType::Ed448, Mechanism::new(CKM_EDDSA)),
        (KeyType::Ed25519, Mechanism::new(CKM_EDDSA)),
        (KeyType::MlDsa44, Mechanism::new(CKM_ML_DSA)),
        (KeyType::MlDsa65, Mechanism::new(CKM_ML_DSA)),
        (KeyType::MlDsa87, Mechanism::new(CKM_ML_DSA)),
    ];
    let in_this_build = |kind: &(KeyType, _)| ctk_crypto::has_key_type(kind.0);
    kinds.into_iter().filter(in_this_build).collect()
}

#[test]
fn a_signature_is_right_for_its_data_and_nothing_else() {
    let kinds = kinds();
    let keys = (1..).zip(&kinds);
    let keys = keys.map(|(id, (kind, _))| (id, PrivateKey::generate(*kind).unwrap()));
    let token = TestToken::with_keys(&[], keys.collect(), Settings::default());
    let module = Module::start(&[token]);
    let session = module.open_and_login();
    let message = b"what somebody has written".as_slice();
    for (id, (kind, mechanism)) in (1..).zip(&kinds) {
        let public = op::public_key(session, id);
        op::sign_init(session, mechanism, key(session, id)).unwrap();
        let signature = op::sign(session, message).unwrap();
        let whole = |data: &[u8], signature: &[u8]| {
            op::verify_init(session, mechanism, public).unwrap();
            let answer = op::verify(session, data, signature);
            // Whatever it says, it is over.
            assert_eq!(
                op::verify(session, data, signature),
                Err(CKR_OPERATION_NOT_INITIALIZED)
            );
            answer
        };
        let parts = |data: &[u8], signature: &[u8]| {
            op::verify_init(session, mechanism, public).unwrap();
            for part in data.chunks(7) {
                op::verify_update(session, part).unwrap();
            }
            let answer = op::verify_final(session, signature);
            let again = op::verify_final(session, signature);
            assert_eq!(again, Err(CKR_OPERATION_NOT_INITIALIZED));
            answer
        };
        let signature_first = |data: &[u8], signature: &[u8]| {
            op::verify_signature_init(session, mechanism, public, signature).unwrap();
            let answer = op::verify_signature(session, data);
            let again = op::verify_signature(session, data);
            assert_eq!(again, Err(CKR_OPERATION_NOT_INITIALIZED));
            answer
        };
        let signature_first_parts = |data: &[u8], signature: &[u8]| {
            op::verify_signature_init(session, mechanism, public, signature).unwrap();
            for part in data.chunks(7) {
                op::verify_signature_update(session, part).unwrap();
            }
            let answer = op::verify_signature_final(session);
            let again = op::verify_signature_final(session);
            assert_eq!(again, Err(CKR_OPERATION_NOT_INITIALIZED));
            answer
        };
        let message_function = |data: &[u8], signature: &[u8]| {
            op::message_verify_init(session, mechanism, public).unwrap();
            let answer = op::verify_message(session, data, signature);
            op::message_verify_final(session).unwrap();
            answer
        };
        type Way<'a> = &'a dyn Fn(&[u8], &[u8]) -> op::Answer<()>;
        let ways: [Way<'_>; 5] = [
            &whole,
            &parts,
            &signature_first,
            &signature_first_parts,
            &message_function,
        ];
        for (number, way) in ways.into_iter().enumerate() {
            assert_eq!(way(message, &signature), Ok(()), "{kind} {number}");
            let invalid = Err(CKR_SIGNATURE_INVALID);
            assert_eq!(way(b"what nobody has written", &signature), invalid);
            assert_eq!(way(b"", &signature), invalid);
            for place in [0, signature.len() / 2, signature.len() - 1] {
                let mut changed = signature.clone();
                changed[place] ^= 1;
                assert_eq!(way(message, &changed), invalid, "{kind} {number}");
            }
            let wrong_len = Err(CKR_SIGNATURE_LEN_RANGE);
            let longer = [&*signature, &[0]].concat();
            let far_longer = [&*signature, &*vec![0; 100_000]].concat();
            let shorter = &signature[..signature.len() - 1];
            for signature in [&*longer, &far_longer, shorter, &[]] {
                assert_eq!(way(message, signature), wrong_len, "{kind} {number}");
            }
        }
    }
}

#[test]
fn the_halves_of_an_ecdsa_signature_may_be_shorter() {
    let identity = Identity::ec(Nid::SECP521R1, 1);
    let module = Module::start(&[TestToken::new(&[identity], Settings::default())]);
    let session = module.open_and_login();
    let mechanism = Mechanism::new(CKM_ECDSA_SHA512);
    let public = op::public_key(session, 1);
    // The order has 521 bits: every fourth signature begins both halves with a zero.
    let signature = std::iter::repeat_with(|| {
        op::sign_init(session, &mechanism, key(session, 1)).unwrap();
        op::sign(session, b"message").unwrap()
    })
    .find(|signature| signature[0] == 0 && signature[66] == 0)
    .unwrap();
    let check = |signature: &[u8]| {
        op::verify_init(session, &mechanism, public).unwrap();
        op::verify(session, b"message", signature)
    };
    let (r, s) = signature.split_at(66);
    assert_eq!(check(&signature), Ok(()));
    assert_eq!(check(&[&r[1..], &s[1..]].concat()), Ok(()));
    // Halves of different lengths cannot be told apart, and longer ones than the order's are no
    // signature, whatever their zeros.
    let wrong_len = Err(CKR_SIGNATURE_LEN_RANGE);
    assert_eq!(check(&[&r[1..], s].concat()), wrong_len);
    assert_eq!(check(&[&[0], r, &[0], s].concat()), wrong_len);
    for out_of_range in [&[0; 132][..], &[0xff; 132], &[1, 1], &[0, 0]] {
        assert_eq!(check(out_of_range), Err(CKR_SIGNATURE_INVALID));
    }
}

#[test]
fn data_have_the_lengths_that_they_have_for_signing() {
    let identities = [
        Identity::rsa(1024, 1),
        Identity::ec(Nid::X9_62_PRIME256V1, 2),
    ];
    let module = Module::start(&[TestToken::new(&identities, Settings::default())]);
    let session = module.open_and_login();
    let pss = Mechanism::pss(CKM_RSA_PKCS_PSS, Digest::Sha256, 32);
    for (id, mechanism, good, bad) in [
        (1, Mechanism::new(CKM_RSA_PKCS), 117, vec![118, 128]),
        (1, Mechanism::new(CKM_RSA_X_509), 100, vec![129, 1000]),
        (1, pss, 32, vec![0, 31, 33]),
        (2, Mechanism::new(CKM_ECDSA), 128, vec![0, 129]),
    ] {
        let (private, public) = (key(session, id), op::public_key(session, id));
        let data = vec![0x33; good];
        op::sign_init(session, &mechanism, private).unwrap();
        let signature = op::sign(session, &data).unwrap();
        op::verify_init(session, &mechanism, public).unwrap();
        assert_eq!(op::verify(session, &data, &signature), Ok(()));
        for len in bad {
            let data = vec![0x33; len];
            let expected = Err(CKR_DATA_LEN_RANGE);
            op::verify_init(session, &mechanism, public).unwrap();
            assert_eq!(op::verify(session, &data, &signature), expected);
            op::verify_init(session, &mechanism, public).unwrap();
            let updated = op::verify_update(session, &data);
            let finished = updated.and_then(|()| op::verify_final(session, &signature));
            assert_eq!(finished, expected, "{:#x} {len}", mechanism.kind);
            assert_eq!(
                op::verify_final(session, &signature),
                Err(CKR_OPERATION_NOT_INITIALIZED)
            );
            op::sign_init(session, &mechanism, private).unwrap();
            let signed = unsafe {
                let (mut out, mut out_len) = ([0; 128], 128);
                let data = data.as_ptr().cast_mut();
                C_Sign(
                    session,
                    data,
                    len as CK_ULONG,
                    out.as_mut_ptr(),
                    &raw mut out_len,
                )
            };
            assert_eq!(signed, CKR_DATA_LEN_RANGE);
        }
    }
}

#[test]
fn raw_rsa_takes_numbers_below_the_modulus() {
    let identity = Identity::rsa(1024, 1);
    let modulus = identity.key.rsa().unwrap().n().to_vec();
    let module = Module::start(&[TestToken::new(&[identity], Settings::default())]);
    let session = module.open_and_login();
    let (private, public) = (key(session, 1), op::public_key(session, 1));
    let raw = Mechanism::new(CKM_RSA_X_509);
    let room = 128;
    for data in [
        &[][..],
        &[0],
        &[1],
        b"short",
        &[0; 128],
        &[0x7f; 128],
        &[2; 127],
    ] {
        op::sign_init(session, &raw, private).unwrap();
        let signature = op::sign(session, data).unwrap();
        assert_eq!(signature.len(), room);
        op::verify_init(session, &raw, public).unwrap();
        assert_eq!(op::verify(session, data, &signature), Ok(()));
        // The zeros before a number do not count.
        op::verify_init(session, &raw, public).unwrap();
        let padded = [&*vec![0; room - data.len()], data].concat();
        assert_eq!(op::verify(session, &padded, &signature), Ok(()));
    }
    for data in [&modulus[..], &[0xff; 128]] {
        op::sign_init(session, &raw, private).unwrap();
        let (mut out, mut len) = ([0; 128], 128);
        let start = data.as_ptr().cast_mut();
        let rv = unsafe { C_Sign(session, start, 128, out.as_mut_ptr(), &raw mut len) };
        assert_eq!(rv, CKR_DATA_INVALID);
    }
}

#[test]
fn what_is_signed_with_recovery_is_recovered() {
    let module = Module::start(&[TestToken::new(
        &[
            Identity::rsa(1024, 1),
            Identity::ec(Nid::X9_62_PRIME256V1, 2),
        ],
        Settings::default(),
    )]);
    let session = module.open_and_login();
    let (private, public) = (key(session, 1), op::public_key(session, 1));
    let pkcs = Mechanism::new(CKM_RSA_PKCS);
    let raw = Mechanism::new(CKM_RSA_X_509);
    for data in [&[][..], b"carried", &[7; 117]] {
        op::sign_recover_init(session, &pkcs, private).unwrap();
        let signature = op::sign_recover(session, data).unwrap();
        op::verify_recover_init(session, &pkcs, public).unwrap();
        assert_eq!(op::verify_recover(session, &signature).unwrap(), data);
        // It is a signature like any other.
        op::verify_init(session, &pkcs, public).unwrap();
        assert_eq!(op::verify(session, data, &signature), Ok(()));
        let block = {
            op::verify_recover_init(session, &raw, public).unwrap();
            op::verify_recover(session, &signature).unwrap()
        };
        assert_eq!((block.len(), &block[..2]), (128, &[0, 1][..]));
        assert!(block.ends_with(data));
    }
    op::sign_recover_init(session, &raw, private).unwrap();
    let signature = op::sign_recover(session, b"raw").unwrap();
    op::verify_recover_init(session, &raw, public).unwrap();
    assert!(
        op::verify_recover(session, &signature)
            .unwrap()
            .ends_with(b"\0raw")
    );
    // Without room, a wrong signature is still a wrong signature.
    let (mut out, mut len) = ([0; 1], 1);
    for (wrong, expected) in [
        (&signature[..], CKR_SIGNATURE_INVALID),
        (&signature[..127], CKR_SIGNATURE_LEN_RANGE),
        (&[0xff; 128][..], CKR_SIGNATURE_INVALID),
        (&[], CKR_SIGNATURE_LEN_RANGE),
    ] {
        op::verify_recover_init(session, &pkcs, public).unwrap();
        let (start, wrong_len) = (wrong.as_ptr().cast_mut(), wrong.len() as CK_ULONG);
        let rv =
            unsafe { C_VerifyRecover(session, start, wrong_len, out.as_mut_ptr(), &raw mut len) };
        assert_eq!(rv, expected);
        assert_eq!(
            op::verify_recover(session, wrong),
            Err(CKR_OPERATION_NOT_INITIALIZED)
        );
    }
    let sha = Mechanism::new(CKM_SHA256_RSA_PKCS);
    for init in [op::sign_recover_init, op::verify_recover_init] {
        assert_eq!(init(session, &sha, private), Err(CKR_MECHANISM_INVALID));
    }
    let (ec, ec_public) = (key(session, 2), op::public_key(session, 2));
    let inconsistent = Err(CKR_KEY_TYPE_INCONSISTENT);
    assert_eq!(op::sign_recover_init(session, &pkcs, ec), inconsistent);
    assert_eq!(
        op::verify_recover_init(session, &pkcs, ec_public),
        inconsistent
    );
    assert_eq!(
        op::verify_recover_init(session, &pkcs, private),
        inconsistent
    );
    assert_eq!(op::sign_recover_init(session, &pkcs, public), inconsistent);
    op::sign_recover_init(session, &pkcs, private).unwrap();
    let (mut out, mut len) = ([0; 128], 128);
    let data = [0; 118].as_mut_ptr();
    let rv = unsafe { C_SignRecover(session, data, 118, out.as_mut_ptr(), &raw mut len) };
    assert_eq!(rv, CKR_DATA_LEN_RANGE);
}

#[test]
fn a_verification_is_refused_at_the_start() {
    let identities = [
        Identity::rsa(1024, 1),
        Identity::ec(Nid::X9_62_PRIME256V1, 2),
    ];
    let module = Module::start(&[TestToken::new(&identities, Settings::default())]);
    // Nobody has to be logged in.
    let session = module.open();
    let (rsa, ec) = (op::public_key(session, 1), op::public_key(session, 2));
    let certificate = support::of_class(session, CKO_CERTIFICATE)[0];
    type Init = fn(op::Session, &Mechanism, op::Object) -> op::Answer<()>;
    let signature_first: Init =
        |session, mechanism, key| op::verify_signature_init(session, mechanism, key, &[1; 64]);
    for init in [
        op::verify_init as Init,
        op::message_verify_init,
        signature_first,
    ] {
        let init = |mechanism: &Mechanism, key| init(session, mechanism, key);
        let plain = Mechanism::new;
        assert_eq!(init(&plain(CKM_AES_CBC), rsa), Err(CKR_MECHANISM_INVALID));
        assert_eq!(
            init(&plain(CKM_RSA_PKCS_OAEP), rsa),
            Err(CKR_MECHANISM_INVALID)
        );
        assert_eq!(init(&plain(0x9999), rsa), Err(CKR_MECHANISM_INVALID));
        assert_eq!(
            init(&plain(CKM_RSA_PKCS), ec),
            Err(CKR_KEY_TYPE_INCONSISTENT)
        );
        assert_eq!(init(&plain(CKM_EDDSA), ec), Err(CKR_KEY_TYPE_INCONSISTENT));
        assert_eq!(
            init(&plain(CKM_SHA256_HMAC), ec),
            Err(CKR_KEY_TYPE_INCONSISTENT)
        );
        assert_eq!(
            init(&plain(CKM_ECDSA), certificate),
            Err(CKR_KEY_HANDLE_INVALID)
        );
        assert_eq!(
            init(&plain(CKM_SHA256_HMAC), certificate),
            Err(CKR_KEY_HANDLE_INVALID)
        );
        assert_eq!(init(&plain(CKM_ECDSA), 0), Err(CKR_KEY_HANDLE_INVALID));
        let parameter_invalid = Err(CKR_MECHANISM_PARAM_INVALID);
        assert_eq!(init(&plain(CKM_RSA_PKCS_PSS), rsa), parameter_invalid);
        let too_long = Mechanism::pss(CKM_RSA_PKCS_PSS, Digest::Sha256, 95);
        assert_eq!(init(&too_long, rsa), parameter_invalid);
        let other_hash = Mechanism::pss(CKM_SHA512_RSA_PKCS_PSS, Digest::Sha256, 32);
        assert_eq!(init(&other_hash, rsa), parameter_invalid);
        assert_eq!(
            init(&Mechanism::with(CKM_ECDSA, &1u8), ec),
            parameter_invalid
        );
        // None of this has left an operation behind.
        assert_eq!(init(&plain(CKM_ECDSA), ec), Ok(()));
        assert_eq!(init(&plain(CKM_ECDSA), ec), Err(CKR_OPERATION_ACTIVE));
        let flags = CKF_VERIFY | CKF_MESSAGE_VERIFY;
        assert_eq!(unsafe { C_SessionCancel(session, flags) }, CKR_OK);
    }
    // NULL for the mechanism ends it.
    let ecdsa = Mechanism::new(CKM_ECDSA);
    op::verify_init(session, &ecdsa, ec).unwrap();
    unsafe {
        assert_eq!(C_VerifyInit(session, null_mut(), 0), CKR_OK);
        assert_eq!(C_VerifyInit(session, null_mut(), 0), CKR_ARGUMENTS_BAD);
        op::verify_signature_init(session, &ecdsa, ec, &[1; 64]).unwrap();
        let cancel = C_VerifySignatureInit(session, null_mut(), 0, null_mut(), 0);
        assert_eq!(cancel, CKR_OK);
        assert_eq!(
            op::verify_signature(session, &[1; 32]),
            Err(CKR_OPERATION_NOT_INITIALIZED)
        );
        // Lengths that cannot be.
        op::verify_init(session, &ecdsa, ec).unwrap();
        let mut byte = 0;
        let rv = C_Verify(session, &raw mut byte, CK_ULONG::MAX, &raw mut byte, 1);
        assert_eq!(rv, CKR_ARGUMENTS_BAD);
        op::verify_init(session, &ecdsa, ec).unwrap();
        let rv = C_Verify(session, &raw mut byte, 1, null_mut(), 64);
        assert_eq!(rv, CKR_ARGUMENTS_BAD);
        op::verify_init(session, &ecdsa, ec).unwrap();
        op::verify_update(session, &[1]).unwrap();
        assert_eq!(
            op::verify(session, &[1; 32], &[1; 64]),
            Err(CKR_OPERATION_ACTIVE)
        );
        let over = op::verify(session, &[1; 32], &[1; 64]);
        assert_eq!(over, Err(CKR_OPERATION_NOT_INITIALIZED));
    }
}

#[test]
fn ml_dsa_takes_an_empty_context_and_hedges() {
    let keys = vec![(1, PrivateKey::generate(KeyType::MlDsa65).unwrap())];
    let module = Module::start(&[TestToken::with_keys(&[], keys, Settings::default())]);
    let session = module.open_and_login();
    let (private, public) = (key(session, 1), op::public_key(session, 1));
    let byte = [7];
    let context = |hedge, len| {
        Mechanism::with(
            CKM_ML_DSA,
            &CK_SIGN_ADDITIONAL_CONTEXT {
                hedgeVariant: hedge,
                pContext: if len == 0 {
                    null_mut()
                } else {
                    byte.as_ptr().cast_mut()
                },
                ulContextLen: len,
            },
        )
    };
    let plain = Mechanism::new(CKM_ML_DSA);
    let mut signatures = Vec::new();
    for mechanism in [
        &plain,
        &context(CKH_HEDGE_PREFERRED, 0),
        &context(CKH_HEDGE_REQUIRED, 0),
    ] {
        op::sign_init(session, mechanism, private).unwrap();
        signatures.push(op::sign(session, b"message").unwrap());
    }
    signatures.dedup();
    assert_eq!(signatures.len(), 3, "hedged signatures differ");
    let deterministic = context(CKH_DETERMINISTIC_REQUIRED, 0);
    for mechanism in [&plain, &deterministic, &context(CKH_HEDGE_REQUIRED, 0)] {
        for signature in &signatures {
            op::verify_init(session, mechanism, public).unwrap();
            assert_eq!(op::verify(session, b"message", signature), Ok(()));
        }
    }
    let invalid = Err(CKR_MECHANISM_PARAM_INVALID);
    assert_eq!(op::sign_init(session, &deterministic, private), invalid);
    for wrong in [
        context(CKH_HEDGE_PREFERRED, 1),
        context(CKH_HEDGE_PREFERRED, CK_ULONG::MAX),
        context(7, 0),
        Mechanism::with(CKM_ML_DSA, &1u64),
    ] {
        assert_eq!(op::sign_init(session, &wrong, private), invalid);
        assert_eq!(op::verify_init(session, &wrong, public), invalid);
    }
}

/// The same RSA key, marked for RSASSA-PSS only (RFC 4055 §3.1).
fn for_pss_only(key: &PublicKey) -> PublicKey {
    let rsa_encryption = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
    let pss = b"\x30\x0b\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a";
    let spki = key.spki();
    let at = spki
        .windows(15)
        .position(|bytes| bytes == rsa_encryption)
        .unwrap();
    let mut changed = [&spki[..at], pss, &spki[at + 15..]].concat();
    // The outer SEQUENCE, of a length in two bytes, is two bytes shorter now.
    assert_eq!(changed[1], 0x81);
    changed[2] -= 2;
    PublicKey::from_spki(&changed).unwrap()
}

#[test]
fn a_key_for_pss_only_does_nothing_else() {
    let token = TestToken::new(&[Identity::rsa(1024, 1)], Settings::default());
    token.change(|items| {
        for item in items {
            if let Item::Key(key) = item {
                key.public_key = for_pss_only(&key.public_key);
            }
        }
    });
    let module = Module::start(&[Arc::clone(&token)]);
    let session = module.open_and_login();
    let (private, public) = (key(session, 1), op::public_key(session, 1));
    let pss = Mechanism::pss(CKM_SHA256_RSA_PKCS_PSS, Digest::Sha256, 32);
    op::sign_init(session, &pss, private).unwrap();
    let signature = op::sign(session, b"message").unwrap();
    op::verify_init(session, &pss, public).unwrap();
    assert_eq!(op::verify(session, b"message", &signature), Ok(()));
    let refused = Err(CKR_KEY_FUNCTION_NOT_PERMITTED);
    for other in [CKM_RSA_PKCS, CKM_SHA256_RSA_PKCS, CKM_RSA_X_509] {
        let other = Mechanism::new(other);
        assert_eq!(op::sign_init(session, &other, private), refused);
        assert_eq!(op::verify_init(session, &other, public), refused);
    }
    let raw = Mechanism::new(CKM_RSA_X_509);
    assert_eq!(op::sign_recover_init(session, &raw, private), refused);
    assert_eq!(op::verify_recover_init(session, &raw, public), refused);
    let allowed = support::value(session, private, CKA_ALLOWED_MECHANISMS).unwrap();
    let allowed: Vec<_> = allowed.chunks(8).map(support::ulong).collect();
    assert_eq!(allowed.len(), 10);
    assert!(allowed.contains(&CKM_RSA_PKCS_PSS) && !allowed.contains(&CKM_RSA_PKCS));
}
