//! What becomes of a login: lost by the token, ended while another one is made, or with a removed
//! token.
#![allow(clippy::undocumented_unsafe_blocks)] // calls of the C functions that are under test
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a test's own functions

mod support;

use std::{
    ptr::null_mut,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use cryptoki_sys::*;
use ctk_pkcs11::abi::*;
use ctk_token::*;
use openssl::nid::Nid;
use support::*;

const NONE: Option<&()> = None;

fn token(settings: Settings) -> Arc<TestToken> {
    TestToken::new(&[Identity::ec(Nid::X9_62_PRIME256V1, 1)], settings)
}

/// C_SignInit and C_Sign.
fn signs(session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE) -> CK_RV {
    match sign_init(session, CKM_ECDSA_SHA256, NONE, key) {
        CKR_OK => sign(session, b"x", 64).map_or_else(|(rv, _)| rv, |_| CKR_OK),
        rv => rv,
    }
}

fn state(session: CK_SESSION_HANDLE) -> CK_STATE {
    let mut info = unsafe { std::mem::zeroed::<CK_SESSION_INFO>() };
    assert_eq!(unsafe { C_GetSessionInfo(session, &raw mut info) }, CKR_OK);
    info.state
}

#[test]
fn a_key_that_needs_no_login_for_each_use_gets_none() {
    let token = token(Settings::default());
    let module = Module::start(&[Arc::clone(&token)]);
    let session = module.open_and_login();
    let key = key(session, 1);
    assert_eq!(sign_init(session, CKM_ECDSA_SHA256, NONE, key), CKR_OK);
    for pin in [Some(PIN), Some(b"wrong"), None] {
        assert_eq!(
            login(session, CKU_CONTEXT_SPECIFIC, pin),
            CKR_OPERATION_NOT_INITIALIZED
        );
    }
    // Only the login's own secret reached the token, and the operation is as it was.
    assert_eq!(token.attempts.load(Ordering::SeqCst), 1);
    assert_eq!(sign(session, b"x", 64).unwrap().len(), 64);
}

#[test]
fn a_login_made_while_the_token_still_logs_out_is_a_good_one() {
    let token = token(Settings::default());
    let module = Module::start(&[Arc::clone(&token)]);
    let (session, other) = (module.open_and_login(), module.open());
    let key = key(session, 1);
    set_hold(&token.hold_auth, true);
    std::thread::scope(|scope| {
        let logout = scope.spawn(|| unsafe { C_Logout(other) });
        eventually(|| token.ends.load(Ordering::SeqCst) == 1);
        let attempts = token.attempts.load(Ordering::SeqCst);
        let again = scope.spawn(|| login(session, CKU_USER, Some(PIN)));
        eventually(|| token.attempts.load(Ordering::SeqCst) > attempts);
        set_hold(&token.hold_auth, false);
        assert_eq!(logout.join().unwrap(), CKR_OK);
        assert_eq!(again.join().unwrap(), CKR_OK);
    });
    assert_eq!(state(session), CKS_RO_USER_FUNCTIONS);
    assert_eq!(signs(session, key), CKR_OK);
}

#[test]
fn a_token_that_wants_a_login_again_gets_one() {
    for error in [TokenError::AuthenticationNeeded, TokenError::StateLost] {
        let token = token(Settings::default());
        let module = Module::start(&[Arc::clone(&token)]);
        let (session, other) = (module.open_and_login(), module.open());
        let key = key(session, 1);
        // An operation that began in the login before.
        assert_eq!(sign_init(other, CKM_ECDSA_SHA256, NONE, key), CKR_OK);
        *token.next_error.lock().unwrap() = Some(error);
        assert_eq!(signs(session, key), CKR_USER_NOT_LOGGED_IN);
        assert_eq!(state(session), CKS_RO_PUBLIC_SESSION);
        assert_eq!(login(session, CKU_USER, Some(PIN)), CKR_OK);
        assert_eq!(sign(other, b"x", 64).unwrap_err().0, CKR_USER_NOT_LOGGED_IN);
        // It ended, but not the login that was made since.
        assert_eq!(signs(session, key), CKR_OK);
    }
}

#[test]
fn a_wrong_stored_pin_does_not_blame_the_program() {
    let token = token(Settings {
        login: LoginPolicy::OnUse,
        ..Settings::default()
    });
    let module = Module::start(&[Arc::clone(&token)]);
    let session = module.open();
    let key = key(session, 1);
    for error in [
        TokenError::AuthenticationFailed { tries: Some(1) },
        TokenError::PinLocked,
        TokenError::PinLength { min: 4, max: 8 },
        TokenError::PinExpired,
    ] {
        *token.next_error.lock().unwrap() = Some(error);
        assert_eq!(signs(session, key), CKR_USER_NOT_LOGGED_IN);
    }
    // There was no login to end.
    assert_eq!(token.ends.load(Ordering::SeqCst), 0);
    assert_eq!(login(session, CKU_USER, Some(PIN)), CKR_OK);
    assert_eq!(signs(session, key), CKR_OK);
}

#[test]
fn a_removed_token_is_logged_out_as_soon_as_anybody_looks() {
    let look: [fn(); 2] = [
        || unsafe {
            let mut info = std::mem::zeroed::<CK_SLOT_INFO>();
            assert_eq!(C_GetSlotInfo(0, &raw mut info), CKR_OK);
        },
        || unsafe {
            let mut slot = 0;
            assert_eq!(
                C_WaitForSlotEvent(CKF_DONT_BLOCK, &raw mut slot, null_mut()),
                CKR_OK
            );
        },
    ];
    for look in look {
        let token = token(Settings::default());
        let module = Module::start(&[Arc::clone(&token)]);
        let session = module.open_and_login();
        token.present.store(false, Ordering::SeqCst);
        look();
        assert_eq!(token.ends.load(Ordering::SeqCst), 2, "as user and as SO");
        assert!(!token.is_verified());
        assert_eq!(token.sessions.load(Ordering::SeqCst), 0);
        token.present.store(true, Ordering::SeqCst);
        let fresh = module.open();
        assert_eq!(state(fresh), CKS_RO_PUBLIC_SESSION);
        assert_eq!(
            unsafe { C_CloseSession(session) },
            CKR_SESSION_HANDLE_INVALID
        );
    }
}

#[test]
fn a_read_only_session_opened_meanwhile_keeps_the_so_out() {
    let token = token(Settings {
        has_admin: true,
        ..Settings::default()
    });
    let _module = Module::start(&[Arc::clone(&token)]);
    let writer = open(0, CKF_SERIAL_SESSION | CKF_RW_SESSION);
    set_hold(&token.hold_auth, true);
    std::thread::scope(|scope| {
        let officer = scope.spawn(|| login(writer, CKU_SO, Some(PIN)));
        eventually(|| token.attempts.load(Ordering::SeqCst) == 1);
        open(0, CKF_SERIAL_SESSION);
        set_hold(&token.hold_auth, false);
        assert_eq!(officer.join().unwrap(), CKR_SESSION_READ_ONLY_EXISTS);
    });
    assert_eq!(state(writer), CKS_RW_PUBLIC_SESSION);
    assert!(!token.is_verified());
}

#[test]
fn certificates_can_be_read_while_the_token_opens_no_session() {
    let token = token(Settings::default());
    let module = Module::start(&[Arc::clone(&token)]);
    token.refuses_sessions.store(true, Ordering::SeqCst);
    let session = module.open();
    let certificate = of_class(session, CKO_CERTIFICATE)[0];
    assert!(value(session, certificate, CKA_VALUE).is_ok());
    let mechanisms = || {
        let mut count = 77;
        let rv = unsafe { C_GetMechanismList(0, null_mut(), &raw mut count) };
        (rv, count)
    };
    let (rv, count) = mechanisms();
    assert!(rv == CKR_OK && count > 0, "what needs no key of the token");
    // Nothing of this is remembered.
    token.refuses_sessions.store(false, Ordering::SeqCst);
    assert_eq!(login(session, CKU_USER, Some(PIN)), CKR_OK);
    let allowed = value(session, key(session, 1), CKA_ALLOWED_MECHANISMS);
    assert!(!allowed.unwrap().is_empty());
}

#[test]
fn a_key_that_can_do_nothing_is_private_and_one_that_is_free_is_not() {
    let token = token(Settings::default());
    let module = Module::start(&[Arc::clone(&token)]);
    let session = module.open();
    let set = |constraint| {
        token.change(|items| {
            for item in items {
                if let Item::Key(key) = item {
                    key.sign = constraint;
                }
            }
        });
        of_class(session, CKO_PRIVATE_KEY).len()
    };
    assert_eq!(set(Constraint::Never), 0);
    assert_eq!(set(Constraint::Free), 1);
}

#[test]
fn initialize_waits_until_the_library_before_has_logged_out() {
    let token = token(Settings::default());
    let module = Module::start(&[Arc::clone(&token)]);
    module.open_and_login();
    set_hold(&token.hold_auth, true);
    let begun = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let ending = scope.spawn(|| unsafe { C_Finalize(null_mut()) });
        eventually(|| token.ends.load(Ordering::SeqCst) == 1);
        let next = scope.spawn(|| {
            let made = ctk_pkcs11::initialize_with(Source::new(&[Arc::clone(&token)]));
            begun.store(true, Ordering::SeqCst);
            made
        });
        std::thread::sleep(std::time::Duration::from_millis(50));
        let early = begun.load(Ordering::SeqCst);
        set_hold(&token.hold_auth, false);
        assert!(!early);
        assert_eq!(ending.join().unwrap(), CKR_OK);
        assert_eq!(next.join().unwrap(), Ok(()));
    });
}

#[test]
fn of_two_roles_that_log_in_at_once_one_stays() {
    let token = token(Settings {
        has_admin: true,
        ..Settings::default()
    });
    let _module = Module::start(&[Arc::clone(&token)]);
    let session = open(0, CKF_SERIAL_SESSION | CKF_RW_SESSION);
    for _ in 0..8 {
        let attempts = token.attempts.load(Ordering::SeqCst);
        set_hold(&token.hold_auth, true);
        let (user, officer) = std::thread::scope(|scope| {
            let user = scope.spawn(|| login(session, CKU_USER, Some(PIN)));
            let officer = scope.spawn(|| login(session, CKU_SO, Some(PIN)));
            eventually(|| token.attempts.load(Ordering::SeqCst) == attempts + 2);
            set_hold(&token.hold_auth, false);
            (user.join().unwrap(), officer.join().unwrap())
        });
        let (winner, other) = match user {
            CKR_OK => (Role::User, officer),
            _ => (Role::Admin, user),
        };
        assert_eq!(other, CKR_USER_ANOTHER_ALREADY_LOGGED_IN);
        for role in [Role::User, Role::Admin] {
            assert_eq!(token.is_verified_as(role), role == winner);
        }
        assert_eq!(unsafe { C_Logout(session) }, CKR_OK);
        assert!(!token.is_verified());
    }
}

#[test]
fn a_login_during_which_another_comes_and_goes_counts() {
    let token = token(Settings::default());
    let _module = Module::start(&[Arc::clone(&token)]);
    let session = open(0, CKF_SERIAL_SESSION);
    set_hold(&token.hold_auth, true);
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| login(session, CKU_USER, Some(PIN)));
        eventually(|| token.attempts.load(Ordering::SeqCst) == 1);
        // Nobody tells the one that waits already.
        *token.hold_auth.0.lock().unwrap() = false;
        assert_eq!(login(session, CKU_USER, Some(PIN)), CKR_OK);
        assert_eq!(unsafe { C_Logout(session) }, CKR_OK);
        set_hold(&token.hold_auth, false);
        assert_eq!(slow.join().unwrap(), CKR_OK);
    });
    assert_eq!(token.attempts.load(Ordering::SeqCst), 3);
    assert!(token.is_verified());
    assert_eq!(unsafe { C_Logout(session) }, CKR_OK);
    assert!(!token.is_verified());
}

fn set_pin(session: CK_SESSION_HANDLE, old: Option<&[u8]>, new: Option<&[u8]>) -> CK_RV {
    let parts = |pin: Option<&[u8]>| {
        let start = pin.map_or(null_mut(), |pin| pin.as_ptr().cast_mut());
        (start, pin.map_or(0, <[u8]>::len) as CK_ULONG)
    };
    let ((old, old_len), (new, new_len)) = (parts(old), parts(new));
    unsafe { C_SetPIN(session, old, old_len, new, new_len) }
}

#[test]
fn a_pin_is_changed_by_who_knows_it_in_a_session_that_writes() {
    let token = token(Settings::default());
    let module = Module::start(&[Arc::clone(&token)]);
    let reader = module.open();
    assert_eq!(
        set_pin(reader, Some(PIN), Some(b"4321")),
        CKR_SESSION_READ_ONLY
    );
    assert_eq!(token.attempts.load(Ordering::SeqCst), 0);
    let session = open(0, CKF_SERIAL_SESSION | CKF_RW_SESSION);
    for (old, new) in [(None, None), (Some(PIN), None), (None, Some(PIN))] {
        assert_eq!(set_pin(session, old, new), CKR_ARGUMENTS_BAD);
    }
    assert_eq!(token.attempts.load(Ordering::SeqCst), 0);
    assert_eq!(
        set_pin(session, Some(b"wrong"), Some(b"4321")),
        CKR_PIN_INCORRECT
    );
    assert_eq!(
        set_pin(session, Some(b""), Some(b"4321")),
        CKR_PIN_INCORRECT
    );
    assert_eq!(set_pin(session, Some(PIN), Some(b"123")), CKR_PIN_LEN_RANGE);
    assert_eq!(login(session, CKU_USER, Some(PIN)), CKR_OK);
    // Who is logged in has to know it all the same, and stays logged in.
    assert_eq!(
        set_pin(session, Some(b"wrong"), Some(b"4321")),
        CKR_PIN_INCORRECT
    );
    assert_eq!(state(session), CKS_RW_USER_FUNCTIONS);
    assert_eq!(set_pin(session, Some(PIN), Some(b"4321")), CKR_OK);
    assert_eq!(signs(session, key(session, 1)), CKR_OK);
    assert_eq!(unsafe { C_Logout(session) }, CKR_OK);
    assert_eq!(login(session, CKU_USER, Some(PIN)), CKR_PIN_INCORRECT);
    assert_eq!(login(session, CKU_USER, Some(b"4321")), CKR_OK);
    for (error, rv, after) in [
        (
            TokenError::ReadOnly(Reason::new("the file may not be written")),
            CKR_TOKEN_WRITE_PROTECTED,
            CKS_RW_USER_FUNCTIONS,
        ),
        (TokenError::PinLocked, CKR_PIN_LOCKED, CKS_RW_PUBLIC_SESSION),
    ] {
        *token.next_error.lock().unwrap() = Some(error);
        assert_eq!(set_pin(session, Some(b"4321"), Some(PIN)), rv);
        assert_eq!(state(session), after);
    }
}

#[test]
fn a_pin_that_is_not_the_users_or_not_the_programs_is_not_changed() {
    let officers = token(Settings {
        has_admin: true,
        ..Settings::default()
    });
    let stored = token(Settings {
        login: LoginPolicy::AppWithoutPin,
        ..Settings::default()
    });
    let _module = Module::start(&[officers, stored]);
    let session = open(0, CKF_SERIAL_SESSION | CKF_RW_SESSION);
    assert_eq!(login(session, CKU_SO, Some(PIN)), CKR_OK);
    let rv = set_pin(session, Some(PIN), Some(b"4321"));
    assert_eq!(rv, CKR_FUNCTION_NOT_SUPPORTED);
    let session = open(1, CKF_SERIAL_SESSION | CKF_RW_SESSION);
    assert_eq!(set_pin(session, None, None), CKR_FUNCTION_NOT_SUPPORTED);
    assert_eq!(set_pin(session, None, Some(PIN)), CKR_ARGUMENTS_BAD);
    assert_eq!(set_pin(session, Some(PIN), Some(b"4321")), CKR_OK);
}

#[test]
fn a_user_without_a_name_is_the_user_and_nobody_has_one() {
    let token = token(Settings::default());
    let module = Module::start(&[Arc::clone(&token)]);
    let session = module.open();
    let login_user = |user, pin: &[u8], name: &[u8]| {
        let (pin_start, pin_len) = (pin.as_ptr().cast_mut(), pin.len() as CK_ULONG);
        let (name_start, name_len) = (name.as_ptr().cast_mut(), name.len() as CK_ULONG);
        unsafe { C_LoginUser(session, user, pin_start, pin_len, name_start, name_len) }
    };
    assert_eq!(login_user(CKU_USER, PIN, b"alice"), CKR_USER_TYPE_INVALID);
    assert_eq!(token.attempts.load(Ordering::SeqCst), 0);
    assert_eq!(login_user(CKU_USER, b"wrong", b""), CKR_PIN_INCORRECT);
    assert_eq!(login_user(77, PIN, b""), CKR_USER_TYPE_INVALID);
    let pin = PIN.as_ptr().cast_mut();
    let rv = unsafe { C_LoginUser(session, CKU_USER, pin, 4, null_mut(), 0) };
    assert_eq!(rv, CKR_OK);
    assert_eq!(login_user(CKU_USER, PIN, b""), CKR_USER_ALREADY_LOGGED_IN);
    let rv = unsafe { C_LoginUser(session, CKU_USER, pin, 4, null_mut(), 4) };
    assert_eq!(rv, CKR_ARGUMENTS_BAD);
}

#[test]
fn no_session_was_validated() {
    let module = Module::start(&[token(Settings::default())]);
    let session = module.open();
    let flags = |kind| {
        let mut flags = 77;
        let rv = unsafe { C_GetSessionValidationFlags(session, kind, &raw mut flags) };
        (rv, flags)
    };
    assert_eq!(flags(CKS_LAST_VALIDATION_OK), (CKR_OK, 0));
    assert_eq!(flags(0), (CKR_ARGUMENTS_BAD, 77));
}
