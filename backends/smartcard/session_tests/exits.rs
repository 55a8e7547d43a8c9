//! A process that ends without a word: its logins end, and nothing keeps it from ending.

use std::time::Duration;

use ctk_token::{Role, Token, TokenError};

use super::{authenticate, log_in, logged_in, ready, sign};
use crate::{
    card::END_PATIENCE,
    link::LinkError,
    test_applet::{ADMIN, FREE, PIN, SESSION},
};

#[test]
fn the_card_forgets_every_login_and_gets_no_other() {
    for alone in [true, false] {
        for (role, secret) in [(Role::User, PIN), (Role::Admin, ADMIN)] {
            let (card, token, session) = ready();
            card.wire.set_alone(alone);
            let other = token.create_session().unwrap();
            log_in(&*session, role, secret).unwrap();
            token.process_ends();
            assert!(!card.is_logged_in(), "{role:?}, alone: {alone}");
            // Other threads go on meanwhile.
            card.sent();
            let removed = Err(TokenError::TokenRemoved);
            assert!(sign(&*session, SESSION).is_err());
            assert_eq!(log_in(&*other, role, secret), removed);
            session.end_auth(role);
            drop((session, other));
            assert_eq!(card.sent(), [""; 0]);
            card.wire.finish();
        }
    }
}

#[test]
fn an_authentication_that_was_not_used_is_void() {
    let (card, token, session) = logged_in();
    authenticate(&*session, PIN).unwrap();
    token.process_ends();
    assert!(!card.is_logged_in());
    drop(session);
    card.wire.finish();
}

#[test]
fn who_was_never_logged_in_sends_nothing() {
    let (card, token, session) = ready();
    sign(&*session, FREE).unwrap();
    card.sent();
    token.process_ends();
    assert_eq!((card.sent().len(), card.wire.resets()), (0, 0));
    assert!(!token.is_removed());
}

#[test]
fn nobody_waits_for_long_for_others() {
    let (card, token, _session) = logged_in();
    card.wire.fail_next_begin(LinkError::Busy);
    token.process_ends();
    assert_eq!(card.wire.patience(), END_PATIENCE);
    // Nor for this thread itself, stopped in the middle of an operation.
    let (_card, token, _session) = logged_in();
    let (ended, end) = std::sync::mpsc::channel();
    let operation = token.card().transaction().unwrap();
    std::thread::scope(|scope| {
        let token = &token;
        scope.spawn(move || {
            token.process_ends();
            ended.send(())
        });
        let end = end.recv_timeout(Duration::from_secs(60));
        drop(operation);
        end.unwrap();
    });
}
