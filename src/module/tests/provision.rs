//! Keys and certificates that are made on a card and deleted there, and the PINs that its
//! administrator sets.
#![allow(clippy::undocumented_unsafe_blocks)] // calls of the C functions that are under test
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a test's own functions

mod card;
mod operations;
mod support;

use std::sync::{Arc, atomic::Ordering};

use card::{ADMIN, Card, LAST, PUK, Reader, Readers};
use cryptoki_sys::*;
use ctk_crypto::PrivateKey;
use ctk_pkcs11::abi::*;
use ctk_token::{Constraint, Curve, KeyType, Reason, Reuse, Role, TokenError};
use openssl::{
    asn1::Asn1Time, ec::EcGroup, ec::EcKey, hash::MessageDigest, nid::Nid, pkey::PKey, x509::X509,
};
use operations::{self as op, Mechanism};
use support::*;

const YES: &[u8] = &[CK_TRUE];
const NO: &[u8] = &[CK_FALSE];
/// id-prime256v1 (RFC 5480 §2.1.1.1).
const P256: &[u8] = &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];

type Template<'a> = Vec<(CK_ATTRIBUTE_TYPE, &'a [u8])>;

fn start_with(card: Card) -> (Arc<Card>, Module) {
    let card = Arc::new(card);
    let reader = Reader::new("reader", Some(&card));
    let module = Module::start_with(Readers::new(&[reader]).source());
    (card, module)
}

fn start() -> (Arc<Card>, Module) {
    start_with(Card::unread(Vec::new()))
}

/// A read-write session of the card's administrator.
fn officer() -> CK_SESSION_HANDLE {
    let session = open(0, CKF_SERIAL_SESSION | CKF_RW_SESSION);
    assert_eq!(login(session, CKU_SO, Some(ADMIN)), CKR_OK);
    session
}

fn generate(
    session: CK_SESSION_HANDLE,
    public: &[(CK_ATTRIBUTE_TYPE, &[u8])],
    private: &[(CK_ATTRIBUTE_TYPE, &[u8])],
) -> Result<(CK_OBJECT_HANDLE, CK_OBJECT_HANDLE), CK_RV> {
    let public = [&[(CKA_TOKEN, YES), (CKA_EC_PARAMS, P256)], public].concat();
    let private = [&[(CKA_TOKEN, YES)], private].concat();
    let mechanism = Mechanism::new(CKM_EC_KEY_PAIR_GEN);
    op::generate_key_pair(session, &mechanism, &public, &private)
}

/// A certificate of this public key.
fn certificate(spki: &[u8]) -> X509 {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let issuer = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let mut builder = X509::builder().unwrap();
    let begin = Asn1Time::days_from_now(0).unwrap();
    builder.set_not_before(&begin).unwrap();
    let end = Asn1Time::days_from_now(1).unwrap();
    builder.set_not_after(&end).unwrap();
    let key = PKey::public_key_from_der(spki).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.sign(&issuer, MessageDigest::sha256()).unwrap();
    builder.build()
}

/// The template of a certificate on the token.
fn template(der: &[u8]) -> Template<'_> {
    const CLASS: [u8; 8] = CKO_CERTIFICATE.to_ne_bytes();
    const X_509: [u8; 8] = CKC_X_509.to_ne_bytes();
    vec![
        (CKA_CLASS, &CLASS),
        (CKA_CERTIFICATE_TYPE, &X_509),
        (CKA_TOKEN, YES),
        (CKA_SUBJECT, b"\x30\0"),
        (CKA_VALUE, der),
    ]
}

fn with<'a>(
    template: &[(CK_ATTRIBUTE_TYPE, &'a [u8])],
    more: &[(CK_ATTRIBUTE_TYPE, &'a [u8])],
) -> Template<'a> {
    [template, more].concat()
}

fn destroy(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> CK_RV {
    unsafe { C_DestroyObject(session, object) }
}

fn init_pin(session: CK_SESSION_HANDLE, pin: Option<&[u8]>) -> CK_RV {
    let start = pin.map_or(std::ptr::null_mut(), |pin| pin.as_ptr().cast_mut());
    unsafe { C_InitPIN(session, start, pin.map_or(0, <[u8]>::len) as CK_ULONG) }
}

fn state(session: CK_SESSION_HANDLE) -> CK_STATE {
    let mut info = unsafe { std::mem::zeroed::<CK_SESSION_INFO>() };
    assert_eq!(unsafe { C_GetSessionInfo(session, &raw mut info) }, CKR_OK);
    info.state
}

#[test]
fn the_administrator_makes_a_key_and_the_user_signs_with_it() {
    let (_card, module) = start();
    let session = officer();
    let mechanism = Mechanism::new(CKM_EC_KEY_PAIR_GEN);
    let public = [(CKA_TOKEN, YES), (CKA_EC_PARAMS, P256), (CKA_ID, &[3][..])];
    let private = [(CKA_TOKEN, YES), (CKA_PRIVATE, YES), (CKA_LABEL, b"Mine")];
    let made = op::generate_key_pair(session, &mechanism, &public, &private);
    let (public, private) = made.unwrap();
    assert_eq!(of_class(session, CKO_PUBLIC_KEY), [public]);
    assert_eq!(value(session, public, CKA_ID), Ok(vec![3]));
    assert_eq!(value(session, public, CKA_TOKEN), Ok(YES.to_vec()));
    assert_eq!(value(session, public, CKA_LOCAL), Ok(YES.to_vec()));
    // The SO has its handle and does not see it.
    assert_eq!(of_class(session, CKO_PRIVATE_KEY), [0; 0]);
    assert_eq!(
        value(session, private, CKA_ID),
        Err(CKR_OBJECT_HANDLE_INVALID)
    );
    assert_eq!(unsafe { C_Logout(session) }, CKR_OK);
    let user = module.open_and_login();
    assert_eq!(of_class(user, CKO_PRIVATE_KEY), [private]);
    assert_eq!(value(user, private, CKA_LABEL), Ok(b"Mine".to_vec()));
    assert_eq!(value(user, private, CKA_EXTRACTABLE), Ok(NO.to_vec()));
    op::sign_init(user, &Mechanism::new(CKM_ECDSA_SHA256), private).unwrap();
    let signature = op::sign(user, b"data").unwrap();
    op::verify_init(user, &Mechanism::new(CKM_ECDSA_SHA256), public).unwrap();
    assert_eq!(op::verify(user, b"data", &signature), Ok(()));
}

#[test]
fn a_key_of_every_kind_is_made_in_its_place() {
    let (_card, _module) = start();
    let session = officer();
    let bits = CK_ULONG::from(2048_u32).to_ne_bytes();
    let curve25519 = [6, 3, 0x2b, 0x65, 0x70];
    for (mechanism, template, id) in [
        (CKM_RSA_PKCS_KEY_PAIR_GEN, (CKA_MODULUS_BITS, &bits[..]), 1),
        (CKM_EC_KEY_PAIR_GEN, (CKA_EC_PARAMS, P256), 2),
        (CKM_EC_EDWARDS_KEY_PAIR_GEN, (CKA_EC_PARAMS, &curve25519), 3),
    ] {
        let public = [(CKA_TOKEN, YES), template];
        let private = [(CKA_TOKEN, YES)];
        let mechanism = Mechanism::new(mechanism);
        let made = op::generate_key_pair(session, &mechanism, &public, &private);
        let (public, _) = made.unwrap();
        // The first place that is free.
        assert_eq!(value(session, public, CKA_ID), Ok(vec![id]));
        assert_eq!(
            value(session, public, template.0).map(|v| v == template.1),
            Ok(true)
        );
    }
    assert_eq!(of_class(session, CKO_PUBLIC_KEY).len(), 3);
    // Another one in a place is another key, with the handle of the place.
    let before = of_class(session, CKO_PUBLIC_KEY);
    let id = [(CKA_ID, &[2][..])];
    let (public, _) = generate(session, &id, &id).unwrap();
    assert!(before.contains(&public));
    assert_eq!(of_class(session, CKO_PUBLIC_KEY).len(), 3);
    generate(session, &[], &[(CKA_ID, &[LAST])]).unwrap();
    assert_eq!(generate(session, &[], &[]), Err(CKR_DEVICE_MEMORY));
}

#[test]
fn what_is_wrong_with_a_wish_for_keys_is_said_before_the_card_is_asked() {
    let (card, module) = start();
    let reader = module.open();
    assert_eq!(generate(reader, &[], &[]), Err(CKR_SESSION_READ_ONLY));
    assert_eq!(unsafe { C_CloseSession(reader) }, CKR_OK);
    let session = officer();
    // What the card would say to whatever reached it.
    *card.next_error.lock().unwrap() = Some(TokenError::TimedOut);
    let refused = |public: &[(CK_ATTRIBUTE_TYPE, &[u8])], private: &[_]| {
        generate(session, public, private).unwrap_err()
    };
    let inconsistent = CKR_TEMPLATE_INCONSISTENT;
    assert_eq!(refused(&[(CKA_ID, &[1])], &[(CKA_ID, &[2])]), inconsistent);
    assert_eq!(
        refused(&[], &[(CKA_ALWAYS_AUTHENTICATE, YES)]),
        inconsistent
    );
    assert_eq!(refused(&[(CKA_TRUSTED, YES)], &[]), inconsistent);
    assert_eq!(refused(&[(CKA_PRIVATE, YES)], &[]), inconsistent);
    assert_eq!(refused(&[(CKA_MODULUS_BITS, &[0; 8])], &[]), inconsistent);
    let not_text = [(CKA_LABEL, &[0xff][..])];
    assert_eq!(refused(&[], &not_text), CKR_ATTRIBUTE_VALUE_INVALID);
    assert_eq!(refused(&[(CKA_LOCAL, YES)], &[]), CKR_ATTRIBUTE_READ_ONLY);
    // One half here and one there.
    let mechanism = Mechanism::new(CKM_EC_KEY_PAIR_GEN);
    for (public, private) in [(YES, NO), (NO, YES)] {
        let public = [(CKA_TOKEN, public), (CKA_EC_PARAMS, P256)];
        let private = [(CKA_TOKEN, private)];
        let made = op::generate_key_pair(session, &mechanism, &public, &private);
        assert_eq!(made, Err(inconsistent));
    }
    // An empty identity is none, and the same one twice is one.
    assert_eq!(
        refused(&[(CKA_ID, b"")], &[(CKA_ID, &[2])]),
        CKR_DEVICE_ERROR
    );
    generate(session, &[(CKA_ID, &[2])], &[(CKA_ID, &[2])]).unwrap();
}

#[test]
fn what_a_card_says_of_a_wish_for_keys_is_told() {
    let (card, module) = start();
    let session = officer();
    let of = |mechanism, template| {
        let public = [(CKA_TOKEN, YES), template];
        let mechanism = Mechanism::new(mechanism);
        op::generate_key_pair(session, &mechanism, &public, &[(CKA_TOKEN, YES)]).unwrap_err()
    };
    let bits = CK_ULONG::from(1024_u32).to_ne_bytes();
    let set = CKP_ML_DSA_44.to_ne_bytes();
    let rsa = of(CKM_RSA_PKCS_KEY_PAIR_GEN, (CKA_MODULUS_BITS, &bits[..]));
    assert_eq!(rsa, CKR_ATTRIBUTE_VALUE_INVALID);
    let ed448 = (CKA_EC_PARAMS, &[6, 3, 0x2b, 0x65, 0x71][..]);
    assert_eq!(
        of(CKM_EC_EDWARDS_KEY_PAIR_GEN, ed448),
        CKR_CURVE_NOT_SUPPORTED
    );
    let ml_dsa = of(CKM_ML_DSA_KEY_PAIR_GEN, (CKA_PARAMETER_SET, &set[..]));
    assert_eq!(ml_dsa, CKR_PARAMETER_SET_NOT_SUPPORTED);
    let nowhere = generate(session, &[(CKA_ID, &[LAST + 1])], &[]);
    assert_eq!(nowhere, Err(CKR_ATTRIBUTE_VALUE_INVALID));
    for (error, expected) in [
        (TokenError::NotSupported, CKR_MECHANISM_INVALID),
        (
            TokenError::ReadOnly(Reason::new("x")),
            CKR_TOKEN_WRITE_PROTECTED,
        ),
        (TokenError::Unreachable(Reason::new("x")), CKR_DEVICE_ERROR),
        (TokenError::AuthenticationNeeded, CKR_USER_NOT_LOGGED_IN),
    ] {
        *card.next_error.lock().unwrap() = Some(error);
        assert_eq!(generate(session, &[], &[]), Err(expected));
        assert_eq!(state(session), CKS_RW_SO_FUNCTIONS);
    }
    *card.next_error.lock().unwrap() = Some(TokenError::StateLost);
    assert_eq!(generate(session, &[], &[]), Err(CKR_USER_NOT_LOGGED_IN));
    assert_eq!(state(session), CKS_RW_PUBLIC_SESSION);
    // Nobody, and the user, whose login stays.
    assert_eq!(generate(session, &[], &[]), Err(CKR_USER_NOT_LOGGED_IN));
    assert_eq!(login(session, CKU_USER, Some(PIN)), CKR_OK);
    assert_eq!(generate(session, &[], &[]), Err(CKR_USER_NOT_LOGGED_IN));
    assert_eq!(state(session), CKS_RW_USER_FUNCTIONS);
    let other = module.open();
    assert_eq!(of_class(other, CKO_PUBLIC_KEY), [0; 0]);
}

#[test]
fn a_certificate_is_written_shown_replaced_and_deleted() {
    let (card, _module) = start();
    let session = officer();
    let (public, _) = generate(session, &[(CKA_ID, &[2])], &[]).unwrap();
    let spki = value(session, public, CKA_PUBLIC_KEY_INFO).unwrap();
    let (first, second) = (certificate(&spki), certificate(&spki));
    let (first, second) = (first.to_der().unwrap(), second.to_der().unwrap());
    // To the place of its key, and by name.
    let written = op::create(session, &template(&first)).unwrap();
    assert_eq!(of_class(session, CKO_CERTIFICATE), [written]);
    assert_eq!(value(session, written, CKA_VALUE), Ok(first));
    assert_eq!(value(session, written, CKA_ID), Ok(vec![2]));
    assert_eq!(value(session, written, CKA_DESTROYABLE), Ok(YES.to_vec()));
    assert_eq!(value(session, written, CKA_MODIFIABLE), Ok(NO.to_vec()));
    assert_eq!(value(session, written, CKA_COPYABLE), Ok(NO.to_vec()));
    assert_eq!(value(session, public, CKA_DESTROYABLE), Ok(NO.to_vec()));
    let named = with(&template(&second), &[(CKA_ID, &[2])]);
    assert_eq!(op::create(session, &named), Ok(written));
    assert_eq!(value(session, written, CKA_VALUE), Ok(second));
    assert_eq!(of_class(session, CKO_CERTIFICATE), [written]);
    // Nothing else goes.
    assert_eq!(destroy(session, public), CKR_ACTION_PROHIBITED);
    let profile = of_class(session, CKO_PROFILE)[0];
    assert_eq!(destroy(session, profile), CKR_ACTION_PROHIBITED);
    for (error, expected) in [
        (
            TokenError::ReadOnly(Reason::new("x")),
            CKR_ACTION_PROHIBITED,
        ),
        (TokenError::AuthenticationNeeded, CKR_USER_NOT_LOGGED_IN),
        (TokenError::ObjectNotFound, CKR_OBJECT_HANDLE_INVALID),
        (TokenError::TimedOut, CKR_DEVICE_ERROR),
    ] {
        *card.next_error.lock().unwrap() = Some(error);
        assert_eq!(destroy(session, written), expected);
    }
    assert_eq!(destroy(session, written), CKR_OK);
    assert_eq!(destroy(session, written), CKR_OBJECT_HANDLE_INVALID);
    assert_eq!(of_class(session, CKO_CERTIFICATE), [0; 0]);
    assert_eq!(of_class(session, CKO_PUBLIC_KEY), [public]);
}

#[test]
fn what_is_wrong_with_a_certificate_is_said_and_nothing_is_written() {
    let (card, module) = start();
    let session = officer();
    let (public, _) = generate(session, &[(CKA_ID, &[2])], &[]).unwrap();
    let spki = value(session, public, CKA_PUBLIC_KEY_INFO).unwrap();
    let der = certificate(&spki).to_der().unwrap();
    let other = PrivateKey::generate(KeyType::Ec(Curve::P384)).unwrap();
    let foreign = certificate(other.public_key().spki()).to_der().unwrap();
    let good = template(&der);
    let refused = |template: &[_]| op::create(session, template).unwrap_err();
    let invalid = CKR_ATTRIBUTE_VALUE_INVALID;
    assert_eq!(refused(&with(&good, &[(CKA_ID, &[LAST + 1])])), invalid);
    assert_eq!(refused(&template(&foreign)), invalid, "about no key");
    let misplaced = with(&template(&foreign), &[(CKA_ID, &[2])]);
    assert_eq!(refused(&misplaced), invalid, "about another key");
    assert_eq!(refused(&template(b"no certificate")), invalid);
    let inconsistent = CKR_TEMPLATE_INCONSISTENT;
    assert_eq!(refused(&with(&good, &[(CKA_PRIVATE, YES)])), inconsistent);
    assert_eq!(refused(&with(&good, &[(CKA_TRUSTED, YES)])), inconsistent);
    let elsewhere = with(
        &template(b""),
        &[
            (CKA_URL, b"http://localhost/"),
            (CKA_HASH_OF_SUBJECT_PUBLIC_KEY, &[1; 20]),
            (CKA_HASH_OF_ISSUER_PUBLIC_KEY, &[1; 20]),
        ],
    );
    assert_eq!(refused(&elsewhere), inconsistent, "only where it is");
    let without = |kind| {
        let rest = good.iter().filter(|(one, _)| *one != kind);
        refused(&rest.copied().collect::<Vec<_>>())
    };
    assert_eq!(without(CKA_SUBJECT), CKR_TEMPLATE_INCOMPLETE);
    assert_eq!(without(CKA_VALUE), CKR_TEMPLATE_INCOMPLETE);
    for (error, expected) in [
        (TokenError::NoSpace, CKR_DEVICE_MEMORY),
        (TokenError::NotSupported, inconsistent),
        (TokenError::DataLength, invalid),
        (TokenError::AuthenticationNeeded, CKR_USER_NOT_LOGGED_IN),
    ] {
        *card.next_error.lock().unwrap() = Some(error);
        assert_eq!(refused(&good), expected);
    }
    assert_eq!(of_class(session, CKO_CERTIFICATE), [0; 0]);
    let written = op::create(session, &good).unwrap();
    assert_eq!(unsafe { C_Logout(session) }, CKR_OK);
    assert_eq!(refused(&good), CKR_USER_NOT_LOGGED_IN);
    let reader = module.open();
    assert_eq!(op::create(reader, &good), Err(CKR_SESSION_READ_ONLY));
    assert_eq!(destroy(reader, written), CKR_SESSION_READ_ONLY);
}

#[test]
fn what_a_token_does_not_keep_is_inconsistent_and_nothing_goes_to_one_that_cannot_be_written() {
    let class = |class: CK_OBJECT_CLASS| class.to_ne_bytes();
    let (secret, data, private) = (
        class(CKO_SECRET_KEY),
        class(CKO_DATA),
        class(CKO_PRIVATE_KEY),
    );
    let ec = CKK_EC.to_ne_bytes();
    let aes = CKK_AES.to_ne_bytes();
    for protected in [false, true] {
        let mut unread = Card::unread(vec![card::data("open", Constraint::Free)]);
        unread.write_protected = protected;
        let (card, _module) = start_with(unread);
        let key = PrivateKey::generate(KeyType::Ec(Curve::P256)).unwrap();
        let der = certificate(key.public_key().spki()).to_der().unwrap();
        card.add_key(1, key, Reuse::Session);
        let session = officer();
        let token = (CKA_TOKEN, YES);
        let expected = match protected {
            false => CKR_TEMPLATE_INCONSISTENT,
            true => CKR_TOKEN_WRITE_PROTECTED,
        };
        for template in [
            vec![
                (CKA_CLASS, &secret[..]),
                (CKA_KEY_TYPE, &aes),
                (CKA_VALUE, &[1; 16]),
                token,
            ],
            vec![(CKA_CLASS, &data[..]), (CKA_VALUE, b"text"), token],
            // A private key that a program has in its own memory gains nothing on a card.
            vec![
                (CKA_CLASS, &private[..]),
                (CKA_KEY_TYPE, &ec),
                (CKA_EC_PARAMS, P256),
                (CKA_VALUE, &[1; 32]),
                token,
            ],
        ] {
            assert_eq!(op::create(session, &template), Err(expected));
        }
        let len = CK_ULONG::from(16_u8).to_ne_bytes();
        let aes_key = [(CKA_VALUE_LEN, &len[..]), token];
        let made = op::generate_key(session, &Mechanism::new(CKM_AES_KEY_GEN), &aes_key);
        assert_eq!(made, Err(expected));
        let (generated, written) = (
            generate(session, &[], &[]),
            op::create(session, &template(&der)),
        );
        assert_eq!(generated.is_ok(), !protected);
        assert_eq!(written.is_ok(), !protected);
        let mut info = unsafe { std::mem::zeroed::<CK_TOKEN_INFO>() };
        assert_eq!(unsafe { C_GetTokenInfo(0, &raw mut info) }, CKR_OK);
        assert_eq!(info.flags & CKF_WRITE_PROTECTED != 0, protected);
        if protected {
            assert_eq!(generated.err(), Some(CKR_TOKEN_WRITE_PROTECTED));
            assert_eq!(written.err(), Some(CKR_TOKEN_WRITE_PROTECTED));
            let object = of_class(session, CKO_DATA)[0];
            assert_eq!(destroy(session, object), CKR_ACTION_PROHIBITED);
            // It would not help to try again in another session.
            assert_eq!(unsafe { C_Logout(session) }, CKR_OK);
            let reader = open(0, CKF_SERIAL_SESSION);
            assert_eq!(generate(reader, &[], &[]), Err(CKR_TOKEN_WRITE_PROTECTED));
        }
    }
}

#[test]
fn the_administrator_sets_a_new_pin() {
    let (card, module) = start();
    let reader = module.open();
    assert_eq!(init_pin(reader, Some(b"4321")), CKR_USER_NOT_LOGGED_IN);
    assert_eq!(
        login(reader, CKU_SO, Some(ADMIN)),
        CKR_SESSION_READ_ONLY_EXISTS
    );
    assert_eq!(login(reader, CKU_USER, Some(PIN)), CKR_OK);
    assert_eq!(init_pin(reader, Some(b"4321")), CKR_USER_NOT_LOGGED_IN);
    assert_eq!(unsafe { C_CloseSession(reader) }, CKR_OK);
    card.wrong.store(3, Ordering::SeqCst);
    let session = officer();
    assert_eq!(state(session), CKS_RW_SO_FUNCTIONS);
    assert_eq!(init_pin(session, None), CKR_ARGUMENTS_BAD);
    assert_eq!(init_pin(session, Some(b"123")), CKR_PIN_LEN_RANGE);
    assert_eq!(
        init_pin(session, Some(b"\xff\xff\xff\xff")),
        CKR_PIN_INVALID
    );
    for (error, expected) in [
        (TokenError::NotSupported, CKR_FUNCTION_NOT_SUPPORTED),
        (TokenError::TimedOut, CKR_FUNCTION_CANCELED),
        (TokenError::Unreachable(Reason::new("x")), CKR_DEVICE_ERROR),
    ] {
        *card.next_error.lock().unwrap() = Some(error);
        assert_eq!(init_pin(session, Some(b"4321")), expected);
    }
    assert_eq!(init_pin(session, Some(b"4321")), CKR_OK);
    assert_eq!(state(session), CKS_RW_SO_FUNCTIONS);
    assert_eq!(unsafe { C_Logout(session) }, CKR_OK);
    assert_eq!(login(session, CKU_USER, Some(b"4321")), CKR_OK);
}

#[test]
fn a_puk_that_was_wrong_is_sent_once() {
    let (card, _module) = start();
    let session = open(0, CKF_SERIAL_SESSION | CKF_RW_SESSION);
    // Nothing can check it but its use.
    assert_eq!(login(session, CKU_SO, Some(b"12345678")), CKR_OK);
    assert_eq!(card.attempts.load(Ordering::SeqCst), 0);
    assert_eq!(init_pin(session, Some(b"4321")), CKR_PIN_INCORRECT);
    assert_eq!(card.attempts.load(Ordering::SeqCst), 1);
    // Who gave it was never the SO.
    assert_eq!(state(session), CKS_RW_PUBLIC_SESSION);
    assert_eq!(init_pin(session, Some(b"4321")), CKR_USER_NOT_LOGGED_IN);
    assert_eq!(card.attempts.load(Ordering::SeqCst), 1);
    assert_eq!(login(session, CKU_SO, Some(PUK)), CKR_OK);
    assert_eq!(init_pin(session, Some(b"4321")), CKR_OK);
    // A PUK that is locked says so, and is not one to be logged in with either.
    card.wrong_admin.store(3, Ordering::SeqCst);
    assert_eq!(init_pin(session, Some(b"1111")), CKR_PIN_LOCKED);
    assert_eq!(state(session), CKS_RW_PUBLIC_SESSION);
    assert_eq!(login(session, CKU_USER, Some(b"4321")), CKR_OK);
    assert!(card.ended.lock().unwrap().contains(&Role::Admin));
}

#[test]
fn who_is_logged_in_changes_his_own_secret() {
    let (card, _module) = start();
    let set_pin = |session, old: &[u8], new: &[u8]| unsafe {
        let (old_len, new_len) = (old.len() as CK_ULONG, new.len() as CK_ULONG);
        let (old, new) = (old.as_ptr().cast_mut(), new.as_ptr().cast_mut());
        C_SetPIN(session, old, old_len, new, new_len)
    };
    let session = officer();
    assert_eq!(set_pin(session, PIN, b"4321"), CKR_PIN_INCORRECT);
    assert_eq!(card.wrong_admin.load(Ordering::SeqCst), 1);
    assert_eq!(state(session), CKS_RW_SO_FUNCTIONS);
    assert_eq!(set_pin(session, ADMIN, b"another administrator"), CKR_OK);
    assert_eq!(*card.pin.lock().unwrap(), PIN);
    // Two wrong ones more lock it, and the login is over.
    for expected in [
        CKR_PIN_INCORRECT,
        CKR_PIN_INCORRECT,
        CKR_PIN_INCORRECT,
        CKR_PIN_LOCKED,
    ] {
        assert_eq!(set_pin(session, b"wrong", b"4321"), expected);
    }
    assert_eq!(state(session), CKS_RW_PUBLIC_SESSION);
    assert_eq!(set_pin(session, PIN, b"4321"), CKR_OK);
    assert_eq!(login(session, CKU_USER, Some(b"4321")), CKR_OK);
}
