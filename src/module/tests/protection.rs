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
#[test]
fn a_list_of_mechanisms_holds_for_every_use_of_the_key() {
    let module = Module::start(&[TestToken::new(&[], Settings::default())]);
    let session = module.open();
    let allowed = number(CKM_AES_KEY_WRAP_KWP);
    let list = [(CKA_ALLOWED_MECHANISMS, &allowed[..])];
    let (wrapping, key) = (aes_with(session, &list).unwrap(), aes(session, 16));
    let [yes, no] = [CKM_AES_KEY_WRAP_KWP, CKM_AES_KEY_WRAP].map(Mechanism::new);
    let refused = CKR_KEY_FUNCTION_NOT_PERMITTED;
    assert_eq!(wrap(session, &no, wrapping, key), Err(refused));
    let wrapped = wrap(session, &yes, wrapping, key).unwrap();
    let template = of_any_length(&AES);
    let unwrapped = |mechanism| unwrap(session, mechanism, wrapping, &wrapped, &template);
    assert_eq!(unwrapped(&no), Err(refused));
    unwrapped(&yes).unwrap();

    if !ctk_crypto::has_key_type(ctk_token::KeyType::MlKem768) {
        return;
    }
    let set = number(CKP_ML_KEM_768);
    let with = |list: &[(CK_ATTRIBUTE_TYPE, &[u8])]| {
        let public = [&[(CKA_PARAMETER_SET, &set[..])], list].concat();
        generate_pair(session, CKM_ML_KEM_KEY_PAIR_GEN, &public, list).unwrap()
    };
    let secret = of_any_length(&GENERIC);
    let (public, private) = with(&list);
    assert_eq!(encapsulate(session, public, &secret), Err(refused));
    let decapsulated = decapsulate(session, CKM_ML_KEM, private, &[0; 1088], &secret);
    assert_eq!(decapsulated, Err(refused));
    let own = number(CKM_ML_KEM);
    let (public, private) = with(&[(CKA_ALLOWED_MECHANISMS, &own)]);
    let (ciphertext, _) = encapsulate(session, public, &secret).unwrap();
    decapsulate(session, CKM_ML_KEM, private, &ciphertext, &secret).unwrap();
}

#[test]
fn a_key_that_is_ready_after_the_end_of_its_login_or_session_is_not_there() {
    let settings = Settings {
        decrypts: true,
        ..Settings::default()
    };
    let identity = Identity::ec(openssl::nid::Nid::X9_62_PRIME256V1, 1);
    let point = match identity.public_key().material() {
        ctk_token::PublicKeyMaterial::Ec { point, .. } => point.to_vec(),
        other => panic!("{other:?}"),
    };
    let token = TestToken::new(&[identity], settings);
    let module = Module::start(&[std::sync::Arc::clone(&token)]);
    let watcher = module.open_and_login();
    let parameter = CK_ECDH1_DERIVE_PARAMS {
        kdf: CKD_NULL,
        ulSharedDataLen: 0,
        pSharedData: std::ptr::null_mut(),
        ulPublicDataLen: point.len() as CK_ULONG,
        pPublicData: point.as_ptr().cast_mut(),
    };
    let ecdh = Mechanism::with(CKM_ECDH1_DERIVE, &parameter);
    for (exchanges, closes, private, expected) in [
        (1, false, YES, Err(CKR_USER_NOT_LOGGED_IN)),
        (2, true, NO, Err(CKR_SESSION_CLOSED)),
    ] {
        let session = module.open();
        let base = key(session, 1);
        let mut template = of_any_length(&GENERIC);
        template.push((CKA_PRIVATE, private));
        set_hold(&token.hold_result, true);
        let derived = std::thread::scope(|scope| {
            let deriving = scope.spawn(|| derive(session, &ecdh, base, &template));
            eventually(|| token.decryptions.load(std::sync::atomic::Ordering::SeqCst) == exchanges);
            if closes {
                assert_eq!(unsafe { C_CloseSession(session) }, CKR_OK);
            } else {
                log_out(watcher);
            }
            set_hold(&token.hold_result, false);
            deriving.join().unwrap()
        });
        assert_eq!(derived, expected);
        if !closes {
            assert_eq!(login(watcher, CKU_USER, Some(PIN)), CKR_OK);
        }
        assert_eq!(of_class(watcher, CKO_SECRET_KEY), [0; 0]);
    }
}
#[test]
fn with_the_login_ends_what_runs_with_a_private_key_of_the_session() {
    let module = Module::start(&[TestToken::new(&[], Settings::default())]);
    let other = module.open();
    let p256 = params(ctk_token::Curve::P256);
    let iv = with_iv(CKM_AES_CBC_PAD, &[9; 16]);
    for private in [YES, NO] {
        let session = module.open_and_login();
        let public = [(CKA_EC_PARAMS, &p256[..]), (CKA_PRIVATE, NO)];
        let wish = [(CKA_PRIVATE, private)];
        let (_, key) = generate_pair(session, CKM_EC_KEY_PAIR_GEN, &public, &wish).unwrap();
        let ecdsa = Mechanism::new(CKM_ECDSA_SHA256);
        sign_init(session, &ecdsa, key).unwrap();
        message_sign_init(session, &ecdsa, key).unwrap();
        sign_message(session, b"message").unwrap();
        let aes = aes_with(session, &wish).unwrap();
        encrypt_init(session, &iv, aes).unwrap();
        let ciphertext = encrypt(session, &[5; 40]).unwrap();
        encrypt_init(session, &iv, aes).unwrap();
        decrypt_init(session, &iv, aes).unwrap();
        decrypt_update(session, &ciphertext[..32]).unwrap();
        // Codes: one that has begun, and one that has not.
        let cmac = Mechanism::new(CKM_AES_CMAC);
        verify_init(session, &cmac, aes).unwrap();
        verify_update(session, b"part").unwrap();
        sign_init(other, &cmac, aes).unwrap();
        message_sign_init(other, &cmac, aes).unwrap();
        let (rsa, pkcs1) = (Mechanism::new(CKM_RSA_PKCS), number(1024));
        let public = [(CKA_MODULUS_BITS, &pkcs1[..])];
        let generated = generate_pair(session, CKM_RSA_PKCS_KEY_PAIR_GEN, &public, &wish);
        let (rsa_public, rsa_private) = generated.unwrap();
        encrypt_init(other, &rsa, rsa_public).unwrap();
        let short = encrypt(other, b"plaintext").unwrap();
        decrypt_init(other, &rsa, rsa_private).unwrap();
        // A plaintext that waits for a longer buffer.
        let (mut place, mut len) = ([0; 4], 4);
        let (start, short_len) = (short.as_ptr().cast_mut(), short.len() as CK_ULONG);
        let rv = unsafe { C_Decrypt(other, start, short_len, place.as_mut_ptr(), &raw mut len) };
        assert_eq!(rv, CKR_BUFFER_TOO_SMALL);

        log_out(session);
        // A later login brings nothing back.
        assert_eq!(login(session, CKU_USER, Some(PIN)), CKR_OK);
        let rest = ciphertext[32..].to_vec();
        let answers = [
            ("sign", sign(session, b"data").map(drop)),
            ("message", sign_message(session, b"message").map(drop)),
            ("encrypt", encrypt(session, b"data").map(drop)),
            ("decrypt update", decrypt_update(session, &rest).map(drop)),
            ("verify update", verify_update(session, b"more")),
            ("mac", sign(other, b"data").map(drop)),
            ("mac message", sign_message(other, b"message").map(drop)),
            ("kept plaintext", decrypt(other, &short).map(drop)),
        ];
        for (what, answer) in answers {
            match private {
                YES => assert_eq!(answer, Err(CKR_USER_NOT_LOGGED_IN), "{what}"),
                _ => assert_eq!(answer, Ok(()), "{what}"),
            }
        }
        log_out(session);
        assert_eq!(unsafe { C_CloseSession(session) }, CKR_OK);
        assert_eq!(unsafe { C_SessionCancel(other, CKF_MESSAGE_SIGN) }, CKR_OK);
    }
}

#[test]
fn a_plaintext_that_waits_for_a_longer_buffer_goes_with_the_login() {
    let settings = Settings {
        decrypts: true,
        ..Settings::default()
    };
    let token = TestToken::new(&[Identity::rsa(2048, 1)], settings);
    let module = Module::start(&[token]);
    let session = module.open_and_login();
    let rsa = Mechanism::new(CKM_RSA_PKCS);
    encrypt_init(session, &rsa, operations::public_key(session, 1)).unwrap();
    let ciphertext = encrypt(session, b"plaintext").unwrap();
    for ends in [false, true] {
        decrypt_init(session, &rsa, key(session, 1)).unwrap();
        let (mut place, mut len) = ([0; 4], 4);
        let (start, start_len) = (ciphertext.as_ptr().cast_mut(), ciphertext.len() as CK_ULONG);
        let rv = unsafe { C_Decrypt(session, start, start_len, place.as_mut_ptr(), &raw mut len) };
        assert_eq!(rv, CKR_BUFFER_TOO_SMALL);
        let expected = if ends {
            log_out(session);
            assert_eq!(login(session, CKU_USER, Some(PIN)), CKR_OK);
            Err(CKR_USER_NOT_LOGGED_IN)
        } else {
            Ok(b"plaintext".to_vec())
        };
        assert_eq!(decrypt(session, &ciphertext), expected);
    }
}

/// As with SoftHSM and NSS: some destroy a key as soon as they have set its operation up.
#[test]
fn an_operation_keeps_the_key_that_is_destroyed_meanwhile_until_its_end() {
    let module = Module::start(&[TestToken::new(&[], Settings::default())]);
    let session = module.open_and_login();
    let aes = aes_with(session, &[]).unwrap();
    let cmac = Mechanism::new(CKM_AES_CMAC);
    sign_init(session, &cmac, aes).unwrap();
    let code = sign(session, b"data").unwrap();
    sign_init(session, &cmac, aes).unwrap();
    assert_eq!(destroy(session, aes), CKR_OK);
    assert_eq!(sign(session, b"data"), Ok(code));
    assert_eq!(sign_init(session, &cmac, aes), Err(CKR_KEY_HANDLE_INVALID));
}
#[test]
fn what_is_not_false_is_true_and_found_so() {
    let module = Module::start(&[TestToken::new(&[], Settings::default())]);
    let session = module.open();
    let key = aes_with(session, &[(CKA_DERIVE, &[2]), (CKA_LABEL, &[2])]).unwrap();
    assert_eq!(value(session, key, CKA_DERIVE), Ok(YES.to_vec()));
    assert_eq!(value(session, key, CKA_LABEL), Ok(vec![2]));
    assert_eq!(find(session, &[(CKA_DERIVE, YES)]), [key]);
    assert_eq!(set(session, key, &[(CKA_DERIVE, NO)]), CKR_OK);
    assert_eq!(set(session, key, &[(CKA_DERIVE, &[0xff])]), CKR_OK);
    assert_eq!(find(session, &[(CKA_DERIVE, YES)]), [key]);
}
#[test]
fn a_private_key_is_not_wrapped_whether_its_token_answers_or_not() {
    let settings = Settings {
        login: ctk_token::LoginPolicy::OnUse,
        ..Settings::default()
    };
    let on_use = TestToken::new(&[Identity::rsa(2048, 1)], settings);
    on_use
        .refuses_sessions
        .store(true, std::sync::atomic::Ordering::SeqCst);
    let module = Module::start(&[on_use]);
    let session = module.open();
    let wrapping = aes(session, 32);
    let refused = wrap(
        session,
        &Mechanism::new(CKM_AES_KEY_WRAP_KWP),
        wrapping,
        key(session, 1),
    );
    assert_eq!(refused, Err(CKR_KEY_UNEXTRACTABLE));
}
