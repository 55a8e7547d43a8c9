//! Messages that a mechanism needs whole, and that have to be kept until their last part.
#![allow(clippy::undocumented_unsafe_blocks)] // calls of the C functions that are under test
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a test's own functions

mod operations;
mod support;

use cryptoki_sys::*;
use operations::{self as op, Answer, Mechanism, Session, public_key};
use support::*;

/// The longest, in bytes.
const LONGEST: usize = 64 << 20;

#[test]
fn what_is_kept_of_a_message_has_a_limit() {
    let module = Module::start(&[TestToken::new(&[Identity::ed25519(1)], Settings::default())]);
    let session = module.open_and_login();
    let eddsa = Mechanism::new(CKM_EDDSA);
    let part = vec![7; LONGEST / 4];
    let up_to_the_limit = |update: fn(Session, &[u8]) -> Answer<()>| {
        for _ in 0..4 {
            update(session, &part).unwrap();
        }
        update(session, b"").unwrap();
        assert_eq!(update(session, b"1"), Err(CKR_DATA_LEN_RANGE));
        // Like every error this ended it.
        assert_eq!(update(session, b"1"), Err(CKR_OPERATION_NOT_INITIALIZED));
    };
    op::sign_init(session, &eddsa, key(session, 1)).unwrap();
    up_to_the_limit(op::sign_update);
    op::verify_init(session, &eddsa, public_key(session, 1)).unwrap();
    up_to_the_limit(op::verify_update);
    op::message_sign_init(session, &eddsa, key(session, 1)).unwrap();
    op::sign_message_begin(session).unwrap();
    up_to_the_limit(op::sign_message_next);
    // The key is ready for the next message.
    assert_eq!(op::sign_message(session, b"short").unwrap().len(), 64);

    // What can be hashed on the way is not kept and has none.
    op::digest_init(session, &Mechanism::new(CKM_SHA256)).unwrap();
    for _ in 0..5 {
        op::digest_update(session, &part).unwrap();
    }
    assert_eq!(op::digest_final(session).unwrap().len(), 32);
}
