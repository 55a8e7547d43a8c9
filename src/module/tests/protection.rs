//! What keeps a session's key in: trust, attributes that nobody takes back, lists of mechanisms, the
//! end of the login.
#![allow(clippy::undocumented_unsafe_blocks)] // calls of the C functions that are under test
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a test's own functions

mod key_functions;
mod made;
mod operations;
mod support;

use cryptoki_sys::*;
use ctk_pkcs11::abi::*;
use key_functions::*;
use made::{copy, destroy, set};
use operations::{
    Answer, Mechanism, Object, Session, decrypt, decrypt_init, encrypt, encrypt_init,
    message_sign_init, sign, sign_init, sign_message, verify_init, verify_update,
};
use support::*;

const SIXTEEN: [u8; 8] = [16, 0, 0, 0, 0, 0, 0, 0];

/// An AES key that the session makes.
fn aes_with(session: Session, more: &[(CK_ATTRIBUTE_TYPE, &[u8])]) -> Answer<Object> {
    let template = [&[(CKA_VALUE_LEN, &SIXTEEN[..])], more].concat();
    generate(session, &Mechanism::new(CKM_AES_KEY_GEN), &template)
}

fn log_out(session: Session) {
    assert_eq!(unsafe { C_Logout(session) }, CKR_OK);
}

#[test]
fn a_trusted_key_gets_no_more_uses_and_its_copies_do_not_either() {
    let settings = Settings {
        has_admin: true,
        ..Settings::default()
    };
    let _module = Module::start(&[TestToken::new(&[], settings)]);
    let session = open(0, CKF_SERIAL_SESSION | CKF_RW_SESSION);
    assert_eq!(login(session, CKU_SO, Some(PIN)), CKR_OK);
    let trusted = |modifiable| {
        let template = [
            (CKA_TRUSTED, YES),
            (CKA_SENSITIVE, YES),
            (CKA_EXTRACTABLE, NO),
            (CKA_DECRYPT, NO),
            (CKA_UNWRAP, NO),
            (CKA_MODIFIABLE, modifiable),
            (CKA_PRIVATE, NO),
        ];
        aes_with(session, &template).unwrap()
    };
    let keys = [trusted(NO), trusted(YES)];
    log_out(session);
    for user in [false, true] {
        if user {
            assert_eq!(login(session, CKU_USER, Some(PIN)), CKR_OK);
        }
        for key in keys {
            for use_of_it in [CKA_DECRYPT, CKA_UNWRAP, CKA_DERIVE] {
                assert_ne!(set(session, key, &[(use_of_it, YES)]), CKR_OK);
                for wish in [
                    &[(use_of_it, YES)][..],
                    &[(use_of_it, YES), (CKA_MODIFIABLE, YES)],
                    &[(use_of_it, YES), (CKA_TRUSTED, NO)],
                ] {
                    let copied = copy(session, key, wish);
                    assert_eq!(copied, Err(CKR_ATTRIBUTE_READ_ONLY), "{wish:?}");
                }
            }
            // What was wrapped with it while it was trusted stays closed.
            assert_ne!(set(session, key, &[(CKA_TRUSTED, NO)]), CKR_OK);
            let untrusted = copy(session, key, &[(CKA_TRUSTED, NO)]);
            assert_eq!(untrusted, Err(CKR_ATTRIBUTE_READ_ONLY));
            let again = copy(session, key, &[]).unwrap();
            assert_ne!(set(session, again, &[(CKA_DECRYPT, YES)]), CKR_OK);
            let same = [(CKA_ENCRYPT, YES), (CKA_DECRYPT, NO)];
            copy(session, key, &same).unwrap();
        }
    }
    log_out(session);
    // Who made it may.
    assert_eq!(login(session, CKU_SO, Some(PIN)), CKR_OK);
    assert_eq!(set(session, keys[1], &[(CKA_DECRYPT, YES)]), CKR_OK);
    assert_eq!(set(session, keys[1], &[(CKA_TRUSTED, NO)]), CKR_OK);
}
#[test]
fn a_copy_of_what_cannot_be_modified_is_the_same_or_stricter() {
    let module = Module::start(&[TestToken::new(&[], Settings::default())]);
    let session = module.open_and_login();
    let fixed = [
        (CKA_MODIFIABLE, NO),
        (CKA_DECRYPT, NO),
        (CKA_PRIVATE, NO),
        (CKA_LABEL, b"fixed"),
    ];
    let key = aes_with(session, &fixed).unwrap();
    for wish in [
        (CKA_DECRYPT, YES),
        (CKA_DERIVE, YES),
        (CKA_MODIFIABLE, YES),
        (CKA_LABEL, b"other"),
        (CKA_ID, b"other"),
    ] {
        let copied = copy(session, key, &[wish]);
        assert_eq!(copied, Err(CKR_ATTRIBUTE_READ_ONLY), "{wish:?}");
    }
    for wish in [
        (CKA_LABEL, &b"fixed"[..]),
        (CKA_TOKEN, NO),
        (CKA_PRIVATE, YES),
        (CKA_SENSITIVE, YES),
        (CKA_EXTRACTABLE, NO),
        (CKA_WRAP_WITH_TRUSTED, YES),
        (CKA_COPYABLE, NO),
        (CKA_ENCRYPT, NO),
    ] {
        let copied = copy(session, key, &[wish]).unwrap();
        assert_eq!(value(session, copied, wish.0), Ok(wish.1.to_vec()));
        assert_eq!(value(session, copied, CKA_MODIFIABLE), Ok(NO.to_vec()));
        let refused = set(session, copied, &[(CKA_DECRYPT, YES)]);
        assert_eq!(refused, CKR_ACTION_PROHIBITED);
    }
}
