//! Operations that a program ends before they are done.
#![allow(clippy::undocumented_unsafe_blocks)] // calls of the C functions that are under test
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a test's own functions

mod operations;
mod support;

use std::{
    ptr::null_mut,
    sync::{Arc, atomic::Ordering, mpsc::channel},
    thread,
    time::Duration,
};

use cryptoki_sys::*;
use ctk_pkcs11::abi::*;
use openssl::nid::Nid;
use operations::{self as op, Mechanism, Session};
use support::*;

fn token() -> Arc<TestToken> {
    let identity = Identity::ec(Nid::X9_62_PRIME256V1, 1);
    TestToken::new(&[identity], Settings::default())
}

#[test]
fn a_session_is_not_locked_while_the_token_works_at_the_end_of_an_operation() {
    let token = token();
    let module = Module::start(&[Arc::clone(&token)]);
    let ways: [fn(Session) -> CK_RV; 2] = [
        |session| unsafe { C_SessionCancel(session, CKF_SIGN) },
        |session| unsafe { C_SignInit(session, null_mut(), 0) },
    ];
    for end in ways {
        let session = module.open_and_login();
        let ecdsa = Mechanism::new(CKM_ECDSA);
        op::sign_init(session, &ecdsa, key(session, 1)).unwrap();
        // From here on only the operation holds the token's session.
        assert_eq!(unsafe { C_Logout(session) }, CKR_OK);
        assert_eq!(of_class(session, CKO_PRIVATE_KEY), [0; 0]);
        assert_eq!(token.sessions.load(Ordering::SeqCst), 1);
        let (answered, answer) = channel();
        *token.at_end.lock().unwrap() = Some(Box::new(move || {
            let (done, waiting) = channel();
            thread::spawn(move || done.send(unsafe { C_SessionCancel(session, 0) }));
            answered
                .send(waiting.recv_timeout(Duration::from_secs(5)))
                .unwrap();
        }));
        assert_eq!(end(session), CKR_OK);
        assert_eq!(token.sessions.load(Ordering::SeqCst), 0);
        assert_eq!(answer.recv().unwrap(), Ok(CKR_OK));
        assert_eq!(unsafe { C_CloseSession(session) }, CKR_OK);
    }
}

#[test]
fn a_session_verifies_in_one_way_at_a_time() {
    let module = Module::start(&[token()]);
    let session = module.open();
    let ecdsa = Mechanism::new(CKM_ECDSA);
    let public_key = op::public_key(session, 1);
    let signature_first = || op::verify_signature_init(session, &ecdsa, public_key, &[1; 64]);
    let data_first = || op::verify_init(session, &ecdsa, public_key);
    data_first().unwrap();
    assert_eq!(signature_first(), Err(CKR_OPERATION_ACTIVE));
    let answer = op::verify(session, &[1; 32], &[1; 64]);
    assert_eq!(answer, Err(CKR_SIGNATURE_INVALID));
    signature_first().unwrap();
    assert_eq!(data_first(), Err(CKR_OPERATION_ACTIVE));
    assert_eq!(unsafe { C_SessionCancel(session, CKF_VERIFY) }, CKR_OK);
    data_first().unwrap();
}

#[test]
fn an_operation_that_runs_does_not_keep_the_others_from_being_cancelled() {
    let token = token();
    let module = Module::start(&[Arc::clone(&token)]);
    let session = module.open_and_login();
    let generic = op::secret_key(session, CKK_GENERIC_SECRET, &[1; 20]);
    op::digest_init(session, &Mechanism::new(CKM_SHA256)).unwrap();
    op::verify_init(session, &Mechanism::new(CKM_SHA256_HMAC), generic).unwrap();
    op::sign_init(session, &Mechanism::new(CKM_ECDSA), key(session, 1)).unwrap();
    set_hold(&token.hold, true);
    let signing = thread::spawn(move || sign(session, &[1; 32], 64));
    eventually(|| token.waiting.load(Ordering::SeqCst) == 1);
    let all = CKF_SIGN | CKF_VERIFY | CKF_DIGEST;
    let cancelled = unsafe { C_SessionCancel(session, all) };
    set_hold(&token.hold, false);
    assert_eq!(cancelled, CKR_OPERATION_CANCEL_FAILED);
    assert_eq!(signing.join().unwrap().unwrap().len(), 64);
    let missing = Err(CKR_OPERATION_NOT_INITIALIZED);
    assert_eq!(op::digest_update(session, b"part"), missing);
    assert_eq!(op::verify_update(session, b"part"), missing);
}
