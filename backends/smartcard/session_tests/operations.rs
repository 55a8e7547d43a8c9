//! Operations: in whose name they are performed, and what another program's doing makes of them.

use ctk_token::{KeyAlgorithm, ObjectId, Role, Token, TokenError, TokenSession};

use super::{NEEDED, authenticate, log_in, logged_in, mute, ready, sign};
use crate::{
    link::LinkError,
    test_applet::{EACH, FREE, PIN, SESSION, TestCard, wire},
};

#[test]
fn a_free_key_works_although_others_use_the_card() {
    let (card, _, session) = ready();
    sign(&*session, FREE).unwrap();
    assert_eq!(card.sent(), [wire::FREE]);
    card.select_other();
    sign(&*session, FREE).unwrap();
    assert_eq!(
        card.sent(),
        [
            wire::FREE,
            wire::PROVE,
            wire::SELECT,
            wire::IDENTITY,
            wire::FREE
        ]
    );
    card.reset_by_others();
    sign(&*session, FREE).unwrap();
    assert_eq!(card.sent(), [wire::SELECT, wire::IDENTITY, wire::FREE]);
    // A reset in the middle of it.
    card.set(|card| card.failure = Some(LinkError::Reset));
    sign(&*session, FREE).unwrap();
    let sent = card.sent();
    assert_eq!(sent.first().map(String::as_str), Some(wire::FREE));
    assert_eq!(sent.last().map(String::as_str), Some(wire::FREE));
    card.wire.finish();
}

#[test]
fn a_lost_login_is_told_once_and_never_made_again() {
    for lose in [
        (|card: &TestCard| card.select_other()) as fn(&TestCard),
        |card| card.reset_by_others(),
        |card| card.set(|card| card.user = false),
        |card| card.set(|card| card.failure = Some(LinkError::Reset)),
    ] {
        let (card, _, session) = logged_in();
        sign(&*session, SESSION).unwrap();
        lose(&card);
        assert_eq!(sign(&*session, SESSION), Err(TokenError::StateLost));
        assert_eq!(sign(&*session, SESSION), NEEDED);
        assert!(
            !card.sent().contains(&wire::PIN.to_owned()),
            "logged in by itself"
        );
        log_in(&*session, Role::User, PIN).unwrap();
        sign(&*session, SESSION).unwrap();
        session.end_auth(Role::User);
        assert!(!card.is_logged_in());
        card.wire.finish();
    }
}

#[test]
fn nothing_comes_between_an_authentication_and_its_operation() {
    let (card, _, session) = logged_in();
    assert_eq!(sign(&*session, SESSION), Ok(()));
    assert_eq!(sign(&*session, EACH), NEEDED);
    for _ in 0..3 {
        card.sent();
        authenticate(&*session, PIN).unwrap();
        assert!(card.wire.is_kept(), "others may come between");
        sign(&*session, EACH).unwrap();
        assert_eq!(card.sent(), [wire::IDENTITY, wire::PIN, wire::EACH]);
        assert!(!card.wire.is_kept());
        assert_eq!(sign(&*session, EACH), NEEDED);
    }
    sign(&*session, SESSION).unwrap();
    card.wire.finish();
}

#[test]
fn a_login_counts_for_an_operation_right_after_it() {
    let (card, _, session) = logged_in();
    sign(&*session, EACH).unwrap();
    assert_eq!(card.sent(), [wire::EACH]);
    assert_eq!(sign(&*session, EACH), NEEDED);
    assert_eq!(card.sent(), [""; 0]);
    // The card has the last word.
    log_in(&*session, Role::User, PIN).unwrap();
    card.set(|card| card.user = false);
    card.wire.answer_by(|command| match command.get(1) {
        Some(0x88) => Ok(vec![0x69, 0x82]),
        _ => Ok(vec![0xaa, 0x90, 0]),
    });
    assert_eq!(sign(&*session, EACH), NEEDED);
}

#[test]
fn an_authentication_ends_with_its_operation_that_never_comes() {
    let (card, _, session) = ready();
    authenticate(&*session, PIN).unwrap();
    session.end_auth(Role::Context);
    assert!(!card.wire.is_kept());
    assert!(!card.is_logged_in(), "the PIN counts on");
    assert_eq!(sign(&*session, EACH), NEEDED);
    // With a session.
    authenticate(&*session, PIN).unwrap();
    drop(session);
    assert!(!card.wire.is_kept() && !card.is_logged_in());
    card.wire.finish();
}

#[test]
fn an_operation_that_is_refused_here_ends_its_authentication() {
    let (card, _, session) = ready();
    authenticate(&*session, PIN).unwrap();
    let key = ObjectId::new(EACH);
    let answer = session.sign(&key, KeyAlgorithm::EcdsaDigest, &[1], &mut [0; 10]);
    assert_eq!(answer, Err(TokenError::BadParameter));
    assert!(!card.wire.is_kept() && !card.is_logged_in());
    assert_eq!(sign(&*session, EACH), NEEDED);
}

#[test]
fn the_card_forgets_an_authentication_that_was_not_used() {
    let (card, token, session) = logged_in();
    let give_up: [fn(&dyn TokenSession); 2] = [
        |session| session.end_auth(Role::Context),
        |session| {
            let key = ObjectId::new(EACH);
            let answer = session.sign(&key, KeyAlgorithm::EcdsaDigest, &[1], &mut [0; 10]);
            assert_eq!(answer, Err(TokenError::BadParameter));
        },
    ];
    for give_up in give_up {
        authenticate(&*session, PIN).unwrap();
        card.sent();
        give_up(&*session);
        assert_eq!(card.sent(), [wire::FORGET_EACH]);
        // The user stays, and it is not told a second time.
        sign(&*session, SESSION).unwrap();
        assert_eq!(card.sent(), [wire::SESSION]);
    }
    // Broken by somebody else.
    let other = token.create_session().unwrap();
    authenticate(&*session, PIN).unwrap();
    card.sent();
    sign(&*other, FREE).unwrap();
    assert_eq!(card.sent(), [wire::FORGET_EACH, wire::FREE]);
    card.wire.finish();
}

#[test]
fn another_card_does_not_sign() {
    let (card, token, session) = ready();
    card.reset_by_others();
    card.set(|card| card.identity = 8);
    assert_eq!(sign(&*session, FREE), Err(TokenError::TokenRemoved));
    assert_eq!(card.sent(), [wire::SELECT, wire::IDENTITY]);
    assert!(token.is_removed());
}

#[test]
fn another_card_that_nobody_has_seen_come_does_not_sign() {
    // It is there instead of the other before its reader tells: nothing was reset.
    for is_noticed in [false, true] {
        let (card, token, session) = ready();
        card.swap();
        if is_noticed {
            card.set(|card| card.failure = Some(mute()));
            assert!(sign(&*session, FREE).is_err());
        }
        assert_eq!(sign(&*session, FREE), Err(TokenError::TokenRemoved));
        assert!(token.is_removed());
        let signed = card.sent().into_iter().filter(|sent| sent == wire::FREE);
        assert_eq!(signed.count(), 1, "the one that was refused");
    }
    // Nor for who was logged in on the other.
    let (card, token, session) = logged_in();
    card.swap();
    card.set(|card| card.failure = Some(mute()));
    assert!(sign(&*session, SESSION).is_err());
    card.set(|card| (card.is_selected, card.user) = (true, true));
    assert_eq!(sign(&*session, SESSION), Err(TokenError::TokenRemoved));
    assert!(token.is_removed());
}

#[test]
fn a_card_that_was_silent_for_once_is_asked_who_it_is() {
    let (card, _, session) = logged_in();
    card.set(|card| card.failure = Some(mute()));
    assert!(sign(&*session, SESSION).is_err());
    card.sent();
    sign(&*session, SESSION).unwrap();
    sign(&*session, SESSION).unwrap();
    assert_eq!(card.sent(), [wire::IDENTITY, wire::SESSION, wire::SESSION]);
    card.wire.finish();
}

#[test]
fn what_an_applet_makes_of_an_answer_is_not_believed_at_once() {
    // Something else is selected, which answers everything with success and more bytes than there
    // is room for.
    let (card, _, session) = logged_in();
    card.wire.answer_by(|command| match command.get(1) {
        Some(0x88) => Ok([&[0; 200][..], &[0x90, 0]].concat()),
        _ => Ok(vec![0x6d, 0]),
    });
    assert_eq!(sign(&*session, SESSION), Err(TokenError::StateLost));
    assert_eq!(sign(&*session, SESSION), NEEDED);
}
