//! Objects that programs make: who sees and uses them, how they change and end.
#![allow(clippy::undocumented_unsafe_blocks)] // calls of the C functions that are under test
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a test's own functions

mod made;
mod support;

use std::sync::Arc;

use cryptoki_sys::*;
use ctk_pkcs11::abi::*;
use ctk_token::*;
use made::*;
use support::*;

#[test]
fn a_secret_key_is_read_by_its_attributes_and_protected_only_more() {
    let module = Module::start(&[token()]);
    let session = module.open();
    let bytes = *b"0123456789abcdef";
    let aes = secret_key(CKK_AES, &bytes);
    let open = create(session, &aes.pairs()).unwrap();
    assert_eq!(value(session, open, CKA_VALUE), Ok(bytes.to_vec()));
    assert_eq!(value(session, open, CKA_VALUE_LEN), Ok(number(16).to_vec()));
    let check =
        openssl::symm::encrypt(openssl::symm::Cipher::aes_128_ecb(), &bytes, None, &[0; 16]);
    let check = check.unwrap()[..3].to_vec();
    assert_eq!(value(session, open, CKA_CHECK_VALUE), Ok(check));
    assert_eq!(find(session, &[(CKA_VALUE, &bytes)]), [open]);
    let unchecked = create(session, &aes.with(CKA_CHECK_VALUE, b"").pairs()).unwrap();
    assert_eq!(value(session, unchecked, CKA_CHECK_VALUE), Ok(vec![]));
    assert_eq!(destroy(session, unchecked), CKR_OK);
    let generic = secret_key(CKK_GENERIC_SECRET, b"0000");
    let generic = create(session, &generic.pairs()).unwrap();
    assert_eq!(value(session, generic, CKA_CHECK_VALUE), Ok(vec![]));
    let closed = |object| {
        assert_eq!(
            value(session, object, CKA_VALUE),
            Err(CKR_ATTRIBUTE_SENSITIVE)
        );
        assert!(!find(session, &[(CKA_VALUE, &bytes)]).contains(&object));
    };
    closed(create(session, &aes.with(CKA_SENSITIVE, YES).pairs()).unwrap());
    closed(create(session, &aes.with(CKA_EXTRACTABLE, NO).pairs()).unwrap());
    // Copies: the same key, protected as much or more.
    let same = copy(session, open, &[(CKA_LABEL, b"copy")]).unwrap();
    assert_eq!(value(session, same, CKA_VALUE), Ok(bytes.to_vec()));
    assert_eq!(value(session, same, CKA_LABEL), Ok(b"copy".to_vec()));
    assert_eq!(value(session, open, CKA_LABEL), Ok(vec![]));
    assert_ne!(
        value(session, open, CKA_UNIQUE_ID),
        value(session, same, CKA_UNIQUE_ID)
    );
    let hidden = copy(session, open, &[(CKA_SENSITIVE, YES)]).unwrap();
    closed(hidden);
    let kept = copy(session, open, &[(CKA_EXTRACTABLE, NO)]).unwrap();
    closed(kept);
    for (object, back) in [
        (hidden, (CKA_SENSITIVE, NO)),
        (kept, (CKA_EXTRACTABLE, YES)),
    ] {
        assert_eq!(copy(session, object, &[back]), Err(CKR_ATTRIBUTE_READ_ONLY));
        assert_eq!(set(session, object, &[back]), CKR_ATTRIBUTE_READ_ONLY);
        closed(object);
        closed(copy(session, object, &[]).unwrap());
    }
    assert_eq!(set(session, same, &[(CKA_SENSITIVE, YES)]), CKR_OK);
    closed(same);
    for kind in [CKA_ALWAYS_SENSITIVE, CKA_NEVER_EXTRACTABLE, CKA_LOCAL] {
        assert_eq!(value(session, hidden, kind), Ok(NO.to_vec()));
        assert_eq!(value(session, kept, kind), Ok(NO.to_vec()));
    }
    assert_eq!(
        copy(session, open, &[(CKA_VALUE, &bytes)]),
        Err(CKR_ATTRIBUTE_READ_ONLY)
    );
    assert_eq!(
        copy(session, open, &[(CKA_TOKEN, YES)]),
        Err(CKR_TOKEN_WRITE_PROTECTED)
    );
}

#[test]
fn objects_change_as_a_whole_or_not_at_all_and_say_what_they_forbid() {
    let module = Module::start(&[token()]);
    let session = module.open();
    let data = Owned(vec![
        (CKA_CLASS, number(CKO_DATA).to_vec()),
        (CKA_VALUE, b"1".to_vec()),
    ]);
    let object = create(session, &data.pairs()).unwrap();
    assert_eq!(
        set(session, object, &[(CKA_VALUE, b"2"), (CKA_LABEL, b"two")]),
        CKR_OK
    );
    assert_eq!(value(session, object, CKA_VALUE), Ok(b"2".to_vec()));
    // The indexes follow.
    assert_eq!(find(session, &[(CKA_LABEL, b"two")]), [object]);
    assert_eq!(find(session, &[(CKA_VALUE, b"1")]), [0; 0]);
    for (wrong, rv) in [
        ((CKA_CLASS, &number(CKO_DATA)[..]), CKR_ATTRIBUTE_READ_ONLY),
        ((CKA_PRIVATE, NO), CKR_ATTRIBUTE_READ_ONLY),
        ((CKA_MODIFIABLE, NO), CKR_ATTRIBUTE_READ_ONLY),
        ((CKA_KEY_TYPE, &number(0)), CKR_TEMPLATE_INCONSISTENT),
        ((CKA_VENDOR_DEFINED, b""), CKR_ATTRIBUTE_TYPE_INVALID),
    ] {
        assert_eq!(set(session, object, &[(CKA_LABEL, b"three"), wrong]), rv);
        assert_eq!(value(session, object, CKA_LABEL), Ok(b"two".to_vec()));
    }
    let fixed = create(session, &data.with(CKA_MODIFIABLE, NO).pairs()).unwrap();
    assert_eq!(
        set(session, fixed, &[(CKA_LABEL, b"x")]),
        CKR_ACTION_PROHIBITED
    );
    let kept = create(session, &data.with(CKA_DESTROYABLE, NO).pairs()).unwrap();
    assert_eq!(destroy(session, kept), CKR_ACTION_PROHIBITED);
    let single = create(session, &data.with(CKA_COPYABLE, NO).pairs()).unwrap();
    assert_eq!(copy(session, single, &[]), Err(CKR_ACTION_PROHIBITED));
    assert_eq!(
        set(session, single, &[(CKA_COPYABLE, YES)]),
        CKR_ATTRIBUTE_READ_ONLY
    );
    assert_eq!(destroy(session, object), CKR_OK);
    assert_eq!(destroy(session, object), CKR_OBJECT_HANDLE_INVALID);
    assert_eq!(set(session, object, &[]), CKR_OBJECT_HANDLE_INVALID);
    assert_eq!(copy(session, object, &[]), Err(CKR_OBJECT_HANDLE_INVALID));
    assert_eq!(
        value(session, object, CKA_VALUE),
        Err(CKR_OBJECT_HANDLE_INVALID)
    );
}

#[test]
fn what_is_on_the_token_stays_as_it_is() {
    let module = Module::start(&[token()]);
    let session = open(0, CKF_SERIAL_SESSION | CKF_RW_SESSION);
    assert_eq!(login(session, CKU_USER, Some(PIN)), CKR_OK);
    for object in find(session, &[]) {
        assert_eq!(destroy(session, object), CKR_ACTION_PROHIBITED);
        assert_eq!(copy(session, object, &[]), Err(CKR_ACTION_PROHIBITED));
        let open = [(CKA_EXTRACTABLE, YES), (CKA_SENSITIVE, NO)];
        assert_eq!(set(session, object, &open), CKR_ACTION_PROHIBITED);
        for kind in [CKA_MODIFIABLE, CKA_DESTROYABLE, CKA_COPYABLE] {
            assert_eq!(value(session, object, kind), Ok(NO.to_vec()));
        }
    }
    drop(module);
}

#[test]
fn session_objects_are_for_all_sessions_and_end_with_their_own() {
    let module = Module::start(&[token()]);
    let (first, second) = (module.open(), module.open());
    let public = create(first, &secret_key(CKK_GENERIC_SECRET, b"x").pairs()).unwrap();
    assert_eq!(value(second, public, CKA_PRIVATE), Ok(NO.to_vec()));
    assert_eq!(of_class(second, CKO_SECRET_KEY), [public]);
    assert_eq!(login(first, CKU_USER, Some(PIN)), CKR_OK);
    // Made by somebody who is logged in, a key goes with the login unless it is to stay.
    let private = create(second, &secret_key(CKK_GENERIC_SECRET, b"y").pairs()).unwrap();
    let stays = secret_key(CKK_GENERIC_SECRET, b"z").with(CKA_PRIVATE, NO);
    let stays = create(second, &stays.pairs()).unwrap();
    assert_eq!(value(first, private, CKA_PRIVATE), Ok(YES.to_vec()));
    let less = copy(second, private, &[(CKA_PRIVATE, NO)]);
    assert_eq!(less, Err(CKR_TEMPLATE_INCONSISTENT));
    assert_eq!(of_class(first, CKO_SECRET_KEY), [public, private, stays]);
    assert_eq!(unsafe { C_Logout(first) }, CKR_OK);
    assert_eq!(of_class(first, CKO_SECRET_KEY), [public, stays]);
    assert_eq!(
        value(second, private, CKA_CLASS),
        Err(CKR_OBJECT_HANDLE_INVALID)
    );
    assert_eq!(login(first, CKU_USER, Some(PIN)), CKR_OK);
    assert_eq!(
        value(second, private, CKA_CLASS),
        Err(CKR_OBJECT_HANDLE_INVALID)
    );
    assert_eq!(unsafe { C_CloseSession(first) }, CKR_OK);
    assert_eq!(of_class(second, CKO_SECRET_KEY), [stays]);
    let newest = create(second, &secret_key(CKK_GENERIC_SECRET, b"x").pairs()).unwrap();
    assert!(
        newest > stays && newest > private,
        "a handle was given out twice"
    );
}

#[test]
fn a_private_key_of_a_session_is_as_closed_as_a_tokens_whatever_is_asked() {
    let module = Module::start(&[token()]);
    let session = module.open();
    let (bits, p256) = (number(1024), b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07");
    let edwards = b"\x06\x03\x2b\x65\x70";
    let hostile = [
        (CKA_SENSITIVE, NO),
        (CKA_EXTRACTABLE, YES),
        (CKA_COPYABLE, YES),
        (CKA_ID, b"pair"),
    ];
    for (mechanism, public, secrets) in [
        (
            CKM_RSA_PKCS_KEY_PAIR_GEN,
            (CKA_MODULUS_BITS, &bits[..]),
            &[CKA_PRIVATE_EXPONENT, CKA_PRIME_1, CKA_COEFFICIENT][..],
        ),
        (
            CKM_EC_KEY_PAIR_GEN,
            (CKA_EC_PARAMS, &p256[..]),
            &[CKA_VALUE],
        ),
        (
            CKM_EC_EDWARDS_KEY_PAIR_GEN,
            (CKA_EC_PARAMS, edwards),
            &[CKA_VALUE],
        ),
    ] {
        let (public, private) = generate_pair(session, mechanism, &[public], &hostile).unwrap();
        for (kind, expected) in [
            (CKA_SENSITIVE, YES),
            (CKA_ALWAYS_SENSITIVE, YES),
            (CKA_EXTRACTABLE, NO),
            (CKA_NEVER_EXTRACTABLE, YES),
            (CKA_COPYABLE, NO),
            (CKA_LOCAL, YES),
            (CKA_SIGN, YES),
            (CKA_TOKEN, NO),
        ] {
            assert_eq!(
                value(session, private, kind),
                Ok(expected.to_vec()),
                "{kind:#x}"
            );
        }
        for kind in secrets {
            assert_eq!(value(session, private, *kind), Err(CKR_ATTRIBUTE_SENSITIVE));
        }
        assert_eq!(copy(session, private, &[]), Err(CKR_ACTION_PROHIBITED));
        for change in [
            (CKA_SENSITIVE, NO),
            (CKA_EXTRACTABLE, YES),
            (CKA_COPYABLE, YES),
        ] {
            assert_eq!(set(session, private, &[change]), CKR_ATTRIBUTE_READ_ONLY);
        }
        let mechanism = number(mechanism).to_vec();
        for key in [public, private] {
            assert_eq!(
                value(session, key, CKA_KEY_GEN_MECHANISM),
                Ok(mechanism.clone())
            );
        }
        let info = value(session, public, CKA_PUBLIC_KEY_INFO);
        assert!(info.is_ok() && info == value(session, private, CKA_PUBLIC_KEY_INFO));
        assert_eq!(find(session, &[(CKA_ID, b"pair")]), [private]);
        assert_eq!(
            (destroy(session, public), destroy(session, private)),
            (CKR_OK, CKR_OK)
        );
    }
    // Half a pair is none.
    let before = find(session, &[]).len();
    for private in [(CKA_TOKEN, YES), (CKA_PRIVATE, YES), (CKA_MODULUS, NO)] {
        let public = (CKA_EC_PARAMS, &p256[..]);
        assert!(generate_pair(session, CKM_EC_KEY_PAIR_GEN, &[public], &[private]).is_err());
    }
    assert_eq!(find(session, &[]).len(), before);
}

#[test]
fn a_key_can_be_used_in_one_session_while_its_own_is_closed_in_another_thread() {
    let module = Module::start(&[token()]);
    let user = module.open();
    let p256 = b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
    for _ in 0..20 {
        let owner = open(0, CKF_SERIAL_SESSION);
        let public = [(CKA_EC_PARAMS, &p256[..])];
        let (_, key) = generate_pair(owner, CKM_EC_KEY_PAIR_GEN, &public, &[]).unwrap();
        assert_eq!(sign_init(user, CKM_ECDSA_SHA256, None::<&()>, key), CKR_OK);
        std::thread::scope(|scope| {
            scope.spawn(|| assert_eq!(unsafe { C_CloseSession(owner) }, CKR_OK));
            assert_eq!(sign(user, b"x", 64).unwrap().len(), 64);
        });
        let again = sign_init(user, CKM_ECDSA_SHA256, None::<&()>, key);
        assert_eq!(again, CKR_KEY_HANDLE_INVALID);
    }
    assert_eq!(of_class(user, CKO_PRIVATE_KEY), [0; 0]);
}

#[test]
fn a_token_without_login_has_private_objects_as_well() {
    let settings = Settings {
        login: LoginPolicy::OnUse,
        ..Settings::default()
    };
    let module = Module::start(&[TestToken::new(&[], settings)]);
    let session = module.open();
    let private = secret_key(CKK_GENERIC_SECRET, b"x").with(CKA_PRIVATE, YES);
    let made = create(session, &private.pairs()).unwrap();
    assert_eq!(of_class(session, CKO_SECRET_KEY), [made]);
}

#[test]
fn threads_that_make_find_and_end_things_at_once_leave_nothing_behind() {
    let token = token();
    let module = Module::start(&[Arc::clone(&token)]);
    let watcher = module.open();
    let p256 = b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            scope.spawn(move || {
                for round in 0..50_u8 {
                    let session = open(0, CKF_SERIAL_SESSION);
                    let label = [thread, round];
                    let key = secret_key(CKK_GENERIC_SECRET, b"x").with(CKA_LABEL, &label);
                    let key = create(session, &key.with(CKA_PRIVATE, NO).pairs()).unwrap();
                    assert_eq!(find(session, &[(CKA_LABEL, &label)]), [key]);
                    let public = [(CKA_EC_PARAMS, &p256[..])];
                    // A logout may come in between: then there is none.
                    let pair = generate_pair(session, CKM_EC_KEY_PAIR_GEN, &public, &[]);
                    assert!(matches!(pair, Ok(_) | Err(CKR_USER_NOT_LOGGED_IN)));
                    assert_eq!(set(session, key, &[(CKA_LABEL, b"old")]), CKR_OK);
                    assert_eq!(find(session, &[(CKA_LABEL, &label)]), [0; 0]);
                    if round % 2 == 0 {
                        assert_eq!(destroy(session, key), CKR_OK);
                    }
                    assert_eq!(unsafe { C_CloseSession(session) }, CKR_OK);
                }
            });
        }
        for _ in 0..50 {
            assert_eq!(login(watcher, CKU_USER, Some(PIN)), CKR_OK);
            assert_eq!(find(watcher, &[(CKA_TOKEN, YES)]).len(), 9);
            assert_eq!(unsafe { C_Logout(watcher) }, CKR_OK);
        }
    });
    assert_eq!(find(watcher, &[(CKA_TOKEN, NO)]), [0; 0]);
    assert_eq!(find(watcher, &[(CKA_LABEL, b"old")]), [0; 0]);
}
