//! What is on a card is read when somebody needs it, once, and no failure looks like an empty card.
#![allow(clippy::undocumented_unsafe_blocks)] // calls of the C functions that are under test
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a test's own functions

mod card;
mod support;

use std::{
    ptr::null_mut,
    sync::{Arc, atomic::Ordering},
};

use card::{Card, Reader, Readers, data};
use cryptoki_sys::*;
use ctk_crypto::PrivateKey;
use ctk_pkcs11::abi::*;
use ctk_token::{AuthId, Constraint, Curve, Item, KeyType, Reason, Reuse, TokenError};
use support::*;

const NONE: Option<&()> = None;
const PROTECTED: Constraint = Constraint::Auth(AuthId(0), Reuse::Session);

fn start(items: Vec<Item>) -> (Arc<Card>, Arc<Reader>, Module) {
    let card = Card::new(items);
    let key = PrivateKey::generate(KeyType::Ec(Curve::P256)).unwrap();
    card.add_key(1, key, Reuse::Session);
    let reader = Reader::new("reader", Some(&card));
    let module = Module::start_with(Readers::new(&[Arc::clone(&reader)]).source());
    (card, reader, module)
}

fn loads(card: &Card) -> usize {
    card.loads.load(Ordering::SeqCst)
}

fn reads(card: &Card) -> usize {
    card.reads.load(Ordering::SeqCst)
}

fn mechanism_info(mechanism: CK_MECHANISM_TYPE) -> Result<CK_MECHANISM_INFO, CK_RV> {
    let mut info = unsafe { std::mem::zeroed::<CK_MECHANISM_INFO>() };
    match unsafe { C_GetMechanismInfo(0, mechanism, &raw mut info) } {
        CKR_OK => Ok(info),
        rv => Err(rv),
    }
}

#[test]
fn contents_are_read_at_the_first_need_and_then_never_again() {
    let (card, _, module) = start(Vec::new());
    let session = module.open();
    let mut count = 0;
    let rv = unsafe { C_GetMechanismList(0, null_mut(), &raw mut count) };
    assert_eq!(rv, CKR_OK);
    // What has nothing to do with keys of the token.
    assert!(mechanism_info(CKM_SHA256).is_ok());
    assert!(mechanism_info(CKM_AES_CBC).is_ok());
    assert_eq!(loads(&card), 0);
    assert_eq!(of_class(session, CKO_PUBLIC_KEY).len(), 1);
    assert_eq!(loads(&card), 1);
    let other = module.open_and_login();
    let key = of_class(other, CKO_PRIVATE_KEY)[0];
    assert_eq!(value(session, key, CKA_ID), Ok(vec![1]));
    assert_eq!(sign_init(other, CKM_ECDSA_SHA256, NONE, key), CKR_OK);
    assert_eq!(sign(other, b"x", 64).unwrap().len(), 64);
    assert_eq!(loads(&card), 1);
}

#[test]
fn a_card_that_cannot_be_read_is_no_empty_one() {
    let (card, _, module) = start(Vec::new());
    let session = module.open();
    for (error, expected) in [
        (TokenError::TimedOut, CKR_DEVICE_ERROR),
        (
            TokenError::Unreachable(Reason::new("busy")),
            CKR_DEVICE_ERROR,
        ),
        (TokenError::Corrupted(Reason::new("odd")), CKR_DEVICE_ERROR),
        (TokenError::StateLost, CKR_DEVICE_ERROR),
    ] {
        let fails = || *card.next_error.lock().unwrap() = Some(error.clone());
        fails();
        let rv = unsafe { C_FindObjectsInit(session, null_mut(), 0) };
        assert_eq!(rv, expected);
        fails();
        let mut label = attribute(CKA_LABEL, &[]);
        let rv = unsafe { C_GetAttributeValue(session, 1, &raw mut label, 1) };
        assert_eq!(rv, expected);
        fails();
        assert_eq!(sign_init(session, CKM_ECDSA, NONE, 1), expected);
        fails();
        assert_eq!(mechanism_info(CKM_ECDSA).err(), Some(expected));
    }
    // No search was begun, and the next one tries again.
    assert_eq!(of_class(session, CKO_PUBLIC_KEY).len(), 1);
}

/// CKA_VALUE.
fn value_of(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> Result<Vec<u8>, CK_RV> {
    value(session, object, CKA_VALUE)
}

#[test]
fn hardware_is_what_the_keys_of_the_card_do() {
    let (_card, _, _module) = start(Vec::new());
    let hardware = |mechanism| mechanism_info(mechanism).unwrap().flags & CKF_HW != 0;
    assert!(hardware(CKM_ECDSA) && hardware(CKM_ECDSA_SHA256) && hardware(CKM_ECDH1_DERIVE));
    assert!(!hardware(CKM_RSA_PKCS) && !hardware(CKM_EDDSA) && !hardware(CKM_SHA256));
}

#[test]
fn a_public_key_may_have_another_label_than_the_private_one() {
    let (_card, _, module) = start(Vec::new());
    let session = module.open_and_login();
    let label = |class| value(session, of_class(session, class)[0], CKA_LABEL).unwrap();
    assert_eq!(label(CKO_PUBLIC_KEY), b"Public 1");
    assert_eq!(label(CKO_PRIVATE_KEY), b"Private 1");
    let found = find(session, &[(CKA_LABEL, b"Public 1")]);
    assert_eq!(found, of_class(session, CKO_PUBLIC_KEY));
}

#[test]
fn public_data_are_read_when_somebody_asks_for_them_and_once() {
    let (card, _, module) = start(vec![data("open", Constraint::Free)]);
    let session = module.open();
    let object = of_class(session, CKO_DATA)[0];
    let get = |kind| value(session, object, kind);
    assert_eq!(get(CKA_PRIVATE), Ok(vec![CK_FALSE]));
    assert_eq!(get(CKA_LABEL), Ok(b"open".to_vec()));
    assert_eq!(get(CKA_OBJECT_ID), Ok(vec![6, 1, 42]));
    assert_eq!(get(CKA_MODIFIABLE), Ok(vec![CK_FALSE]));
    assert_eq!(get(CKA_DESTROYABLE), Ok(vec![CK_FALSE]));
    // Nor does a search for a value read anything, and it finds none that was not read.
    assert_eq!(find(session, &[(CKA_VALUE, b"ObjectId(open) 0")]), [0; 0]);
    assert_eq!(reads(&card), 0);
    // The length and the value are of one reading, of which other sessions have something as well.
    assert_eq!(get(CKA_VALUE), Ok(b"ObjectId(open) 0".to_vec()));
    let other = module.open();
    assert_eq!(value_of(other, object), Ok(b"ObjectId(open) 0".to_vec()));
    assert_eq!(reads(&card), 1);
    // As long as the token's session lasts.
    assert_eq!(unsafe { C_CloseAllSessions(0) }, CKR_OK);
    let session = module.open();
    assert_eq!(value_of(session, object), Ok(b"ObjectId(open) 1".to_vec()));
}

#[test]
fn every_entry_is_answered_when_a_value_cannot_be_read() {
    let (card, _, module) = start(vec![data("open", Constraint::Free)]);
    let session = module.open();
    let object = of_class(session, CKO_DATA)[0];
    for (error, expected) in [
        (TokenError::TimedOut, CKR_DEVICE_ERROR),
        (TokenError::ObjectNotFound, CKR_OBJECT_HANDLE_INVALID),
        (TokenError::NotSupported, CKR_FUNCTION_FAILED),
    ] {
        *card.next_error.lock().unwrap() = Some(error);
        let (mut room, mut label) = ([0_u8; 64], [0_u8; 8]);
        let mut template = [attribute(CKA_VALUE, &[]), attribute(CKA_LABEL, &[])];
        template[0].pValue = room.as_mut_ptr().cast();
        template[0].ulValueLen = 64;
        template[1].pValue = label.as_mut_ptr().cast();
        template[1].ulValueLen = 8;
        let rv = unsafe { C_GetAttributeValue(session, object, template.as_mut_ptr(), 2) };
        assert_eq!(rv, expected);
        assert_eq!(template[0].ulValueLen, CK_UNAVAILABLE_INFORMATION);
        assert_eq!((template[1].ulValueLen, &label[..4]), (4, &b"open"[..]));
        assert_eq!(room, [0; 64]);
    }
    let mut size = 0;
    *card.next_error.lock().unwrap() = Some(TokenError::TimedOut);
    let rv = unsafe { C_GetObjectSize(session, object, &raw mut size) };
    assert_eq!((rv, size), (CKR_DEVICE_ERROR, 0));
    let rv = unsafe { C_GetObjectSize(session, object, &raw mut size) };
    assert!(rv == CKR_OK && size > 16);
}

#[test]
fn protected_data_are_seen_and_kept_as_long_as_the_login() {
    let (card, _, module) = start(vec![data("closed", PROTECTED)]);
    let session = module.open();
    assert_eq!(of_class(session, CKO_DATA), [0; 0]);
    assert_eq!(login(session, CKU_USER, Some(PIN)), CKR_OK);
    let object = of_class(session, CKO_DATA)[0];
    assert_eq!(value(session, object, CKA_PRIVATE), Ok(vec![CK_TRUE]));
    let first = b"ObjectId(closed) 0".to_vec();
    assert_eq!(value_of(session, object), Ok(first.clone()));
    assert_eq!(value_of(session, object), Ok(first));
    assert_eq!(unsafe { C_Logout(session) }, CKR_OK);
    let gone = Err(CKR_OBJECT_HANDLE_INVALID);
    assert_eq!(value_of(session, object), gone);
    assert_eq!(login(session, CKU_USER, Some(PIN)), CKR_OK);
    let second = b"ObjectId(closed) 1".to_vec();
    assert_eq!(value_of(session, object), Ok(second));
    // The next login has lost the card before the value was asked for.
    assert_eq!(unsafe { C_Logout(session) }, CKR_OK);
    for lost in [TokenError::StateLost, TokenError::AuthenticationNeeded] {
        assert_eq!(login(session, CKU_USER, Some(PIN)), CKR_OK);
        *card.next_error.lock().unwrap() = Some(lost);
        assert_eq!(value_of(session, object), gone);
        // There is no login any more, so that the program can log in again.
        assert_eq!(of_class(session, CKO_DATA), [0; 0]);
    }
}
