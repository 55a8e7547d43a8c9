//! Logins for one operation, and what becomes of them when there is none.
#![allow(clippy::undocumented_unsafe_blocks)] // calls of the C functions that are under test
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a test's own functions

mod card;
mod operations;
mod support;

use std::{
    ptr::null_mut,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use card::{Card, Reader, Readers};
use cryptoki_sys::*;
use ctk_crypto::PrivateKey;
use ctk_pkcs11::abi::*;
use ctk_token::{Curve, KeyType, Reuse, Role, TokenError};
use operations::{self as op, Mechanism};
use support::*;

const NONE: Option<&()> = None;

/// A card whose keys want a PIN for each use: 1 is an EC key, 2 an RSA key.
fn start() -> (Arc<Card>, Arc<Reader>, Module) {
    let card = Card::new(Vec::new());
    let kinds = [KeyType::Ec(Curve::P256), KeyType::Rsa { bits: 2048 }];
    for (place, kind) in (1..).zip(kinds) {
        let key = PrivateKey::generate(kind).unwrap();
        card.add_key(place, key, Reuse::Operation);
    }
    let reader = Reader::new("reader", Some(&card));
    let module = Module::start_with(Readers::new(&[Arc::clone(&reader)]).source());
    (card, reader, module)
}

fn context_login(session: CK_SESSION_HANDLE, pin: &[u8]) -> CK_RV {
    login(session, CKU_CONTEXT_SPECIFIC, Some(pin))
}

/// How often a login for one operation was ended.
fn ends(card: &Card) -> usize {
    let ended = card.ended.lock().unwrap();
    ended.iter().filter(|role| **role == Role::Context).count()
}

/// C_SignInit and a login for it.
fn authenticated(session: CK_SESSION_HANDLE) -> CK_OBJECT_HANDLE {
    let key = key(session, 1);
    assert_eq!(sign_init(session, CKM_ECDSA_SHA256, NONE, key), CKR_OK);
    assert_eq!(context_login(session, PIN), CKR_OK);
    key
}

#[test]
fn a_login_that_is_used_needs_no_end() {
    let (card, _, module) = start();
    let session = module.open_and_login();
    for _ in 0..2 {
        authenticated(session);
        assert_eq!(sign(session, b"x", 64).unwrap().len(), 64);
    }
    // One that failed never began.
    let key = key(session, 1);
    assert_eq!(sign_init(session, CKM_ECDSA_SHA256, NONE, key), CKR_OK);
    assert_eq!(context_login(session, b"wrong"), CKR_PIN_INCORRECT);
    assert_eq!(
        sign(session, b"x", 64).unwrap_err().0,
        CKR_USER_NOT_LOGGED_IN
    );
    assert_eq!(unsafe { C_SessionCancel(session, CKF_SIGN) }, CKR_OK);
    assert_eq!(ends(&card), 0);
}

#[test]
fn a_login_that_no_operation_uses_ends_with_it() {
    let ways: [fn(CK_SESSION_HANDLE); 6] = [
        |session| assert_eq!(unsafe { C_SessionCancel(session, CKF_SIGN) }, CKR_OK),
        |session| assert_eq!(unsafe { C_SignInit(session, null_mut(), 0) }, CKR_OK),
        |session| assert_eq!(unsafe { C_CloseSession(session) }, CKR_OK),
        |_| assert_eq!(unsafe { C_CloseAllSessions(0) }, CKR_OK),
        // An argument that ends the operation before the card is asked.
        |session| {
            let rv = unsafe { C_Sign(session, null_mut(), 1, null_mut(), null_mut()) };
            assert_eq!(rv, CKR_ARGUMENTS_BAD);
        },
        |_| assert_eq!(unsafe { C_Finalize(null_mut()) }, CKR_OK),
    ];
    for (way, count) in ways.iter().zip(1..) {
        let (card, _, module) = start();
        let (session, other) = (module.open_and_login(), module.open());
        authenticated(session);
        assert_eq!(ends(&card), 0);
        // The session is not locked meanwhile: the card may take its time.
        let asked = Arc::new(AtomicUsize::new(0));
        let answers = Arc::clone(&asked);
        *card.while_ending.lock().unwrap() = Some(Box::new(move || {
            let rv = unsafe { C_SessionCancel(other, CKF_SIGN) };
            answers.fetch_add(usize::from(rv != CKR_GENERAL_ERROR), Ordering::SeqCst);
        }));
        way(session);
        assert_eq!(ends(&card), 1, "way {count}");
        assert!(asked.load(Ordering::SeqCst) >= 1);
        *card.while_ending.lock().unwrap() = None;
    }
}

#[test]
fn a_failed_use_ends_the_login_that_it_may_have_left() {
    let (card, _, module) = start();
    let session = module.open_and_login();
    authenticated(session);
    *card.next_error.lock().unwrap() = Some(TokenError::TimedOut);
    assert_eq!(sign(session, b"x", 64).unwrap_err().0, CKR_DEVICE_ERROR);
    assert_eq!(ends(&card), 1);
    // The same while the data of a decryption are not what they should be.
    let key = key(session, 2);
    op::decrypt_init(session, &Mechanism::new(CKM_RSA_PKCS), key).unwrap();
    assert_eq!(context_login(session, PIN), CKR_OK);
    let too_long = [0; 257];
    assert_eq!(
        op::decrypt(session, &too_long).err(),
        Some(CKR_ENCRYPTED_DATA_LEN_RANGE)
    );
    assert_eq!(ends(&card), 2);
}

#[test]
fn a_login_that_somebody_broke_is_asked_for_again() {
    let (card, _, module) = start();
    let session = module.open_and_login();
    authenticated(session);
    // Another program has used the card in between.
    *card.next_error.lock().unwrap() = Some(TokenError::AuthenticationNeeded);
    assert_eq!(
        sign(session, b"x", 64).unwrap_err().0,
        CKR_USER_NOT_LOGGED_IN
    );
    assert_eq!(context_login(session, PIN), CKR_OK);
    assert_eq!(sign(session, b"x", 64).unwrap().len(), 64);
    assert_eq!(ends(&card), 0);
}

#[test]
fn each_message_of_a_key_wants_a_login_and_the_last_one_does_not_stay() {
    let (card, _, module) = start();
    let session = module.open_and_login();
    let key = key(session, 1);
    op::message_sign_init(session, &Mechanism::new(CKM_ECDSA_SHA256), key).unwrap();
    for _ in 0..2 {
        assert_eq!(
            op::sign_message(session, b"x").err(),
            Some(CKR_USER_NOT_LOGGED_IN)
        );
        assert_eq!(context_login(session, PIN), CKR_OK);
        assert_eq!(op::sign_message(session, b"x").unwrap().len(), 64);
    }
    assert_eq!(context_login(session, PIN), CKR_OK);
    assert_eq!(ends(&card), 0);
    op::message_sign_final(session).unwrap();
    assert_eq!(ends(&card), 1);
}

#[test]
fn a_removal_ends_it_as_well() {
    let (card, reader, module) = start();
    let session = module.open_and_login();
    authenticated(session);
    reader.remove();
    reader.notice();
    assert_eq!(
        sign(session, b"x", 64).unwrap_err().0,
        CKR_SESSION_HANDLE_INVALID
    );
    assert_eq!(ends(&card), 1);
}

#[test]
fn functions_that_do_it_all_at_once_have_no_operation_to_log_in_for() {
    let (card, _, module) = start();
    let session = module.open_and_login();
    let attempts = card.attempts.load(Ordering::SeqCst);
    let (ec, rsa) = (key(session, 1), key(session, 2));
    assert_eq!(
        value(session, ec, CKA_ALWAYS_AUTHENTICATE),
        Ok(vec![CK_TRUE])
    );
    let class = CKO_SECRET_KEY.to_ne_bytes();
    let aes = CKK_AES.to_ne_bytes();
    let template = [
        (CKA_CLASS, &class[..]),
        (CKA_KEY_TYPE, &aes),
        (CKA_VALUE_LEN, &[16, 0, 0, 0, 0, 0, 0, 0]),
    ];
    let peer = PrivateKey::generate(KeyType::Ec(Curve::P256)).unwrap();
    let ctk_token::PublicKeyMaterial::Ec { point, .. } = peer.public_key().material() else {
        panic!("it is an EC key")
    };
    let mut point = point.to_vec();
    let parameter = CK_ECDH1_DERIVE_PARAMS {
        kdf: CKD_NULL,
        ulSharedDataLen: 0,
        pSharedData: null_mut(),
        ulPublicDataLen: point.len() as CK_ULONG,
        pPublicData: point.as_mut_ptr(),
    };
    let ecdh = Mechanism::with(CKM_ECDH1_DERIVE, &parameter);
    let wrapped = [1; 256];
    for _ in 0..2 {
        let derived = op::derive_key(session, &ecdh, ec, &template);
        assert_eq!(derived, Err(CKR_USER_NOT_LOGGED_IN));
        let pkcs1 = Mechanism::new(CKM_RSA_PKCS);
        let unwrapped = op::unwrap_key(session, &pkcs1, rsa, &wrapped, &template[..2]);
        assert_eq!(unwrapped, Err(CKR_USER_NOT_LOGGED_IN));
        // No PIN is sent that nothing could use; a card would count a wrong one.
        assert_eq!(context_login(session, PIN), CKR_OPERATION_NOT_INITIALIZED);
    }
    assert_eq!(card.attempts.load(Ordering::SeqCst), attempts);
    // The login itself is as it was.
    authenticated(session);
    assert_eq!(sign(session, b"x", 64).unwrap().len(), 64);
}

#[test]
fn a_login_is_for_the_operation_of_its_session_only() {
    let (card, _, module) = start();
    let (one, two) = (module.open_and_login(), module.open());
    let key = authenticated(one);
    assert_eq!(sign_init(two, CKM_ECDSA_SHA256, NONE, key), CKR_OK);
    let refused = |session| sign(session, b"x", 64).unwrap_err().0;
    assert_eq!(refused(two), CKR_USER_NOT_LOGGED_IN);
    assert_eq!(sign(one, b"x", 64).unwrap().len(), 64);
    // It stays set up, and the login is all that it lacks.
    assert_eq!(context_login(two, PIN), CKR_OK);
    assert_eq!(sign(two, b"x", 64).unwrap().len(), 64);
    // A later one is instead of an earlier one, and outlives that one's operation.
    authenticated(one);
    authenticated(two);
    assert_eq!(refused(one), CKR_USER_NOT_LOGGED_IN);
    assert_eq!(unsafe { C_SessionCancel(one, CKF_SIGN) }, CKR_OK);
    assert_eq!(ends(&card), 0);
    assert_eq!(sign(two, b"x", 64).unwrap().len(), 64);
}

#[test]
fn no_pin_is_sent_for_an_operation_of_a_login_that_has_ended() {
    let (card, _, module) = start();
    let session = module.open_and_login();
    let key = key(session, 1);
    assert_eq!(sign_init(session, CKM_ECDSA_SHA256, NONE, key), CKR_OK);
    assert_eq!(unsafe { C_Logout(session) }, CKR_OK);
    let attempts = card.attempts.load(Ordering::SeqCst);
    assert_eq!(context_login(session, PIN), CKR_USER_NOT_LOGGED_IN);
    assert_eq!(login(session, CKU_USER, Some(PIN)), CKR_OK);
    assert_eq!(context_login(session, PIN), CKR_USER_NOT_LOGGED_IN);
    assert_eq!(card.attempts.load(Ordering::SeqCst), attempts + 1);
}
