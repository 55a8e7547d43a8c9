//! What a card is asked for, and how often.

use ctk_token::{ObjectId, PinState, Role, Token, TokenError};

use super::{log_in, ready, sign};
use crate::{
    link::LinkError,
    recognition::{recognize, recognize_among},
    test_applet::{PIN, ROW, SESSION, TestCard, wire},
    testing::{Wire, bytes},
};

#[test]
fn a_whole_process_asks_for_nothing_twice() {
    let card = TestCard::new();
    let token = card.token();
    assert_eq!(card.sent(), [wire::SELECT]);
    for expected in [&[wire::IDENTITY, wire::INFO, wire::TRIES][..], &[]] {
        let info = token.info();
        assert_eq!((&*info.label, info.user_pin), ("Card", PinState::Normal));
        assert_eq!(card.sent(), expected);
    }
    for expected in [&[wire::CONTENTS][..], &[]] {
        token.load().unwrap();
        assert_eq!(card.sent(), expected);
    }
    let session = token.create_session().unwrap();
    log_in(&*session, Role::User, PIN).unwrap();
    sign(&*session, SESSION).unwrap();
    sign(&*session, SESSION).unwrap();
    assert_eq!(
        card.sent(),
        [wire::IDENTITY, wire::PIN, wire::SESSION, wire::SESSION]
    );
    drop(session);
    assert_eq!(card.sent(), [""; 0]);
    assert_eq!(card.wire.resets(), 1);
    card.wire.finish();
}

#[test]
fn a_login_before_anything_else_reads_what_proves_the_applet() {
    let card = TestCard::new();
    let token = card.token();
    let session = token.create_session().unwrap();
    log_in(&*session, Role::User, PIN).unwrap();
    sign(&*session, SESSION).unwrap();
    let expected = [
        wire::SELECT,
        wire::IDENTITY,
        wire::CONTENTS,
        wire::PIN,
        wire::SESSION,
    ];
    assert_eq!(card.sent(), expected);
    // The tries are known from the login.
    token.info();
    assert_eq!(card.sent(), [wire::INFO]);
}

#[test]
fn a_card_in_use_is_not_selected_again() {
    let card = TestCard::in_reader(Wire::new().with_in_use());
    card.set(|card| (card.is_selected, card.user) = (true, true));
    let token = card.token();
    assert_eq!(card.sent(), [wire::PROVE]);
    token.info();
    assert_eq!(card.sent(), [wire::IDENTITY, wire::INFO, wire::TRIES]);
    assert!(card.is_logged_in(), "another program's login was ended");
    // With something else selected there, nothing is left but to select.
    let card = TestCard::in_reader(Wire::new().with_in_use());
    card.token();
    assert_eq!(card.sent(), [wire::PROVE, wire::SELECT]);
}

#[test]
fn what_others_have_selected_does_not_make_it_another_token() {
    // Both PIV and OpenPGP, as on security keys. Another program keeps OpenPGP selected.
    const PIV: &str = "A000000308";
    const OPENPGP: &str = "D27600012401";
    let wire = Wire::new().with_in_use();
    let mut selected = OPENPGP;
    wire.answer_by(move |command| {
        let is_of = |aid| {
            command
                .get(5..)
                .is_some_and(|data| data.starts_with(&bytes(aid)))
        };
        let answer = match (command, selected) {
            ([0, 0xa4, 4, 0, ..], _) if is_of(PIV) => {
                selected = PIV;
                "9000"
            }
            ([0, 0xa4, 4, 0, ..], _) if is_of(OPENPGP) => {
                selected = OPENPGP;
                "9000"
            }
            ([0, 0xca, 0, 0x4f, ..], OPENPGP) => "D2760001240103040006000000010000 9000",
            _ => "6D00",
        };
        Ok(bytes(answer))
    });
    let token = recognize(wire.link()).unwrap().expect("a known card");
    assert_eq!(token.kind(), "PIV card");
}

#[test]
fn an_unknown_card_is_no_token() {
    let card = TestCard::new();
    card.set(|card| card.has_applet = false);
    assert!(
        recognize_among(card.wire.link(), &[&ROW])
            .unwrap()
            .is_none()
    );
    for error in [LinkError::Removed, LinkError::Busy] {
        card.set(|card| card.failure = Some(error.clone()));
        assert_eq!(
            recognize_among(card.wire.link(), &[&ROW]).err(),
            Some(error)
        );
    }
    // An answer that says nothing of what is on it is not the last word.
    for answer in ["6F00", "6985", ""] {
        let garbled = Wire::new();
        garbled.expect(wire::SELECT, answer);
        let answer = recognize_among(garbled.link(), &[&ROW]);
        assert!(matches!(answer, Err(LinkError::Mute(_))));
    }
    // A reset while it is asked is nothing to give up for.
    card.set(|card| (card.failure, card.has_applet) = (Some(LinkError::Reset), true));
    assert!(
        recognize_among(card.wire.link(), &[&ROW])
            .unwrap()
            .is_some()
    );
}

#[test]
fn a_card_that_says_nothing_is_told_by_its_kind() {
    let card = TestCard::new();
    let token = card.token();
    card.set(|card| card.failure = Some(LinkError::Busy));
    assert_eq!(token.info().label, "unread");
    // Who must not take it for another token is told that it did not answer.
    card.set(|card| card.failure = Some(LinkError::Busy));
    assert!(matches!(token.read_info(), Err(TokenError::Unreachable(_))));
    assert_eq!(token.read_info().unwrap().label, "Card");
    assert_eq!(token.info().label, "Card");
    card.set(|card| card.failure = Some(LinkError::Busy));
    assert!(matches!(token.load(), Err(TokenError::Unreachable(_))));
    assert_eq!(token.contents().items.len(), 0);
    token.load().unwrap();
    assert_eq!(token.contents().keys().count(), 3);
}

#[test]
fn a_protected_object_is_read_by_who_is_logged_in() {
    let (card, _, session) = ready();
    let data = ObjectId::new(b"data");
    assert_eq!(session.read(&data), Err(TokenError::AuthenticationNeeded));
    log_in(&*session, Role::User, PIN).unwrap();
    assert_eq!(session.read(&data).unwrap(), b"data");
    assert_eq!(card.sent(), [wire::IDENTITY, wire::PIN, wire::READ]);
    let nothing = ObjectId::new(b"nothing");
    assert_eq!(session.read(&nothing), Err(TokenError::ObjectNotFound));
}
