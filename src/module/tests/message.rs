//! Many messages with one key.
#![allow(clippy::undocumented_unsafe_blocks)] // calls of the C functions that are under test
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a test's own functions

mod operations;
mod support;

use std::{
    ptr::null_mut,
    sync::{Arc, atomic::Ordering},
};

use cryptoki_sys::*;
use ctk_pkcs11::abi::*;
use ctk_token::Reuse;
use openssl::nid::Nid;
use operations::{self as op, Mechanism};
use support::{Identity, Module, PIN, Settings, TestToken, key};

fn message_sign_init(session: op::Session) -> Mechanism {
    let mechanism = Mechanism::new(CKM_ECDSA_SHA256);
    op::message_sign_init(session, &mechanism, key(session, 1)).unwrap();
    mechanism
}

#[test]
fn each_message_gets_a_signature_until_the_end() {
    let identity = Identity::ec(Nid::X9_62_PRIME256V1, 1);
    let token = TestToken::new(&[identity], Settings::default());
    let module = Module::start(&[Arc::clone(&token)]);
    let session = module.open_and_login();
    let mechanism = message_sign_init(session);
    let mut signed = Vec::new();
    for number in 0..3_u8 {
        let message = vec![number; 100];
        signed.push((
            message.clone(),
            op::sign_message(session, &message).unwrap(),
        ));
        op::sign_message_begin(session).unwrap();
        op::sign_message_next(session, &message[..30]).unwrap();
        op::sign_message_next(session, &[]).unwrap();
        let signature = op::sign_message_last(session, &message[30..]).unwrap();
        signed.push((message, signature));
        op::sign_message_begin(session).unwrap();
        signed.push((Vec::new(), op::sign_message_last(session, &[]).unwrap()));
    }
    // A length query makes no signature.
    assert_eq!(token.signatures.load(Ordering::SeqCst), signed.len());
    op::message_sign_final(session).unwrap();
    assert_eq!(
        op::message_sign_final(session),
        Err(CKR_OPERATION_NOT_INITIALIZED)
    );
    assert_eq!(
        op::sign_message(session, b"x"),
        Err(CKR_OPERATION_NOT_INITIALIZED)
    );

    op::message_verify_init(session, &mechanism, op::public_key(session, 1)).unwrap();
    for (message, signature) in &signed {
        op::verify_message(session, message, signature).unwrap();
        op::verify_message_begin(session).unwrap();
        let (first, last) = message.split_at(message.len() / 3);
        op::verify_message_next(session, first, None).unwrap();
        op::verify_message_next(session, last, Some(signature)).unwrap();
        // A wrong one ends its message only.
        let invalid = Err(CKR_SIGNATURE_INVALID);
        assert_eq!(op::verify_message(session, b"other", signature), invalid);
        op::verify_message_begin(session).unwrap();
        assert_eq!(
            op::verify_message_next(session, b"other", Some(signature)),
            invalid
        );
        let over = op::verify_message_next(session, last, Some(signature));
        assert_eq!(over, Err(CKR_OPERATION_NOT_INITIALIZED));
        let short = op::verify_message(session, message, &signature[1..]);
        assert_eq!(short, Err(CKR_SIGNATURE_LEN_RANGE));
    }
    op::message_verify_final(session).unwrap();
    assert_eq!(
        op::message_verify_final(session),
        Err(CKR_OPERATION_NOT_INITIALIZED)
    );
}

#[test]
fn the_wrong_order_is_told_and_leaves_the_message_as_it_is() {
    let identity = Identity::ec(Nid::X9_62_PRIME256V1, 1);
    let module = Module::start(&[TestToken::new(&[identity], Settings::default())]);
    let session = module.open_and_login();
    let mechanism = message_sign_init(session);
    let again = op::message_sign_init(session, &mechanism, key(session, 1));
    assert_eq!(again, Err(CKR_OPERATION_ACTIVE));
    let missing = Err(CKR_OPERATION_NOT_INITIALIZED);
    assert_eq!(op::sign_message_next(session, b"x"), missing);
    op::sign_message_begin(session).unwrap();
    op::sign_message_next(session, b"first ").unwrap();
    assert_eq!(op::sign_message_begin(session), Err(CKR_OPERATION_ACTIVE));
    assert_eq!(op::sign_message(session, b"x"), Err(CKR_OPERATION_ACTIVE));
    assert_eq!(op::message_sign_final(session), Err(CKR_OPERATION_ACTIVE));
    // An ordinary signature is another operation.
    op::sign_init(session, &mechanism, key(session, 1)).unwrap();
    op::sign(session, b"x").unwrap();
    let signature = op::sign_message_last(session, b"last").unwrap();
    let verify = |data: &[u8], signature: &[u8]| {
        op::verify_init(session, &mechanism, op::public_key(session, 1)).unwrap();
        op::verify(session, data, signature)
    };
    assert_eq!(verify(b"first last", &signature), Ok(()));
    // An error ends the message, and not the key's readiness.
    op::sign_message_begin(session).unwrap();
    let (mut byte, mut len) = (0, 0);
    let byte = &raw mut byte;
    let len = &raw mut len;
    unsafe {
        let rv = C_SignMessageNext(
            session,
            null_mut(),
            0,
            null_mut(),
            5,
            null_mut(),
            null_mut(),
        );
        assert_eq!(rv, CKR_ARGUMENTS_BAD);
        assert_eq!(op::sign_message_next(session, b"x"), missing);
        let parameter = CKR_MECHANISM_PARAM_INVALID;
        assert_eq!(
            C_SignMessage(session, byte.cast(), 1, byte, 1, byte, len),
            parameter
        );
        assert_eq!(C_SignMessageBegin(session, byte.cast(), 1), parameter);
        assert_eq!(
            C_SignMessageBegin(session, null_mut(), 1),
            CKR_ARGUMENTS_BAD
        );
        let rv = C_SignMessage(session, null_mut(), 0, byte, 1, byte, null_mut());
        assert_eq!(rv, CKR_ARGUMENTS_BAD);
        let rv = C_SignMessage(session, null_mut(), 0, byte, CK_ULONG::MAX, byte, len);
        assert_eq!(rv, CKR_ARGUMENTS_BAD);
        let signature = op::sign_message(session, b"still").unwrap();
        assert_eq!(verify(b"still", &signature), Ok(()));
        assert_eq!(C_SessionCancel(session, CKF_MESSAGE_SIGN), CKR_OK);
        assert_eq!(op::sign_message(session, b"x").map(drop), missing);
        message_sign_init(session);
        assert_eq!(C_MessageSignInit(session, null_mut(), 0), CKR_OK);
        assert_eq!(op::message_sign_final(session), missing);
    }
}

#[test]
fn a_key_that_wants_a_pin_each_time_waits_for_it_with_its_message() {
    let settings = Settings {
        reuse: Reuse::Operation,
        ..Settings::default()
    };
    let identity = Identity::ec(Nid::X9_62_PRIME256V1, 1);
    let module = Module::start(&[TestToken::new(&[identity], settings)]);
    let session = module.open_and_login();
    let mechanism = message_sign_init(session);
    let pin = || support::login(session, CKU_CONTEXT_SPECIFIC, Some(PIN));
    let verify = |data: &[u8], signature: &[u8]| {
        op::verify_init(session, &mechanism, op::public_key(session, 1)).unwrap();
        op::verify(session, data, signature)
    };
    let needed = Err(CKR_USER_NOT_LOGGED_IN);
    for message in [&b"one"[..], b"two"] {
        assert_eq!(op::sign_message(session, message), needed);
        assert_eq!(pin(), CKR_OK);
        let signature = op::sign_message(session, message).unwrap();
        assert_eq!(verify(message, &signature), Ok(()));
    }
    op::sign_message_begin(session).unwrap();
    op::sign_message_next(session, b"part ").unwrap();
    assert_eq!(op::sign_message_last(session, b"last"), needed);
    assert_eq!(pin(), CKR_OK);
    // The same call again: its part counts once.
    let signature = op::sign_message_last(session, b"last").unwrap();
    assert_eq!(verify(b"part last", &signature), Ok(()));
    op::message_sign_final(session).unwrap();
}
