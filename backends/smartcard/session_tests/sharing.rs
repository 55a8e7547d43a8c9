//! Several sessions and threads, and a card that goes.

use std::{thread, time::Duration};

use ctk_token::{PinState, Role, Token, TokenError};

use super::{NEEDED, WRONG, authenticate, log_in, logged_in, ready, sign};
use crate::{
    link::LinkError,
    test_applet::{EACH, FREE, PIN, SESSION, wire},
};

#[test]
fn others_do_not_wait_for_ever() {
    let (card, token, session) = logged_in();
    let other = token.create_session().unwrap();
    authenticate(&*session, PIN).unwrap();
    let waited = thread::scope(|scope| {
        let waits = scope.spawn(|| {
            let before = std::time::Instant::now();
            sign(&*other, FREE).unwrap();
            before.elapsed()
        });
        waits.join().unwrap()
    });
    assert!(waited >= Duration::from_millis(900), "{waited:?}");
    assert_eq!(sign(&*session, EACH), NEEDED);
    sign(&*session, SESSION).unwrap();
    // However long nobody has asked for the card: the other one waits, and both work.
    authenticate(&*session, PIN).unwrap();
    thread::sleep(Duration::from_millis(1100));
    card.sent();
    thread::scope(|scope| {
        let waits = scope.spawn(|| sign(&*other, FREE));
        thread::sleep(Duration::from_millis(50));
        sign(&*session, EACH).unwrap();
        waits.join().unwrap().unwrap();
    });
    assert_eq!(card.sent(), [wire::EACH, wire::FREE]);
    card.wire.finish();
}

#[test]
fn a_removed_card_answers_at_once() {
    let (card, token, session) = logged_in();
    let other = token.create_session().unwrap();
    authenticate(&*session, PIN).unwrap();
    thread::scope(|scope| {
        let waits = scope.spawn(|| sign(&*other, FREE));
        thread::sleep(Duration::from_millis(20));
        token.removed();
        assert_eq!(waits.join().unwrap(), Err(TokenError::TokenRemoved));
    });
    assert_eq!(sign(&*session, EACH), Err(TokenError::TokenRemoved));
    assert_eq!(sign(&*session, SESSION), Err(TokenError::TokenRemoved));
    let answer = log_in(&*session, Role::User, PIN);
    assert_eq!(answer, Err(TokenError::TokenRemoved));
    assert_eq!(token.info().label, "Card");
    assert_eq!(token.contents().keys().count(), 3);
    drop((session, other));
    card.wire.finish();
}

#[test]
fn a_card_that_goes_during_an_operation_is_removed() {
    let (card, token, session) = logged_in();
    card.set(|card| card.failure = Some(LinkError::Removed));
    assert_eq!(sign(&*session, SESSION), Err(TokenError::TokenRemoved));
    assert!(token.is_removed());
    card.wire.finish();
}

#[test]
fn sessions_do_not_share_a_login() {
    let (card, token, one) = logged_in();
    let two = token.create_session().unwrap();
    assert_eq!(sign(&*two, SESSION), NEEDED);
    log_in(&*two, Role::User, PIN).unwrap();
    drop(one);
    sign(&*two, SESSION).unwrap();
    assert!(card.is_logged_in());
    drop(two);
    assert!(!card.is_logged_in());
    card.wire.finish();
}

#[test]
fn threads_log_in_and_out_and_sign() {
    let (card, _, session) = ready();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..50 {
                    assert_eq!(log_in(&*session, Role::User, PIN), Ok(()));
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..100 {
                session.end_auth(Role::User);
            }
        });
        for _ in 0..200 {
            let answer = sign(&*session, SESSION);
            assert!(answer.is_ok() || answer == NEEDED, "{answer:?}");
        }
    });
    session.end_auth(Role::User);
    assert!(!card.is_logged_in());
    assert_eq!(sign(&*session, SESSION), NEEDED);
    card.wire.finish();
}

#[test]
fn a_card_in_use_keeps_nobody_from_what_is_known() {
    let (card, token, session) = ready();
    log_in(&*session, Role::User, WRONG).unwrap_err();
    card.sent();
    let others = token.card().transaction().unwrap();
    assert_eq!(token.info().user_pin, PinState::CountLow);
    assert_eq!(token.contents().keys().count(), 3);
    drop(others);
    assert_eq!(card.sent(), [""; 0]);
}
