//! Secrets: when they are sent, to which card, and what becomes of a wrong one.

use ctk_token::{
    AuthMethod, AuthSecret, Curve, KeyType, LoginPolicy, NewKey, PinState, Result, Role, Token,
    TokenError, TokenSession,
};

use super::{NEEDED, WRONG, authenticate, log_in, logged_in, ready, sign};
use crate::{
    link::LinkError,
    test_applet::{ADMIN, FREE, PIN, PUK, SESSION, TestCard, wire},
    testing::Wire,
};

#[test]
fn a_pin_goes_only_to_an_applet_that_has_just_answered() {
    let (card, _, session) = ready();
    log_in(&*session, Role::User, PIN).unwrap();
    assert_eq!(card.sent(), [wire::IDENTITY, wire::PIN]);
    card.select_other();
    log_in(&*session, Role::User, PIN).unwrap();
    assert_eq!(
        card.sent(),
        [
            wire::IDENTITY,
            wire::PROVE,
            wire::SELECT,
            wire::IDENTITY,
            wire::PIN
        ]
    );
    card.reset_by_others();
    log_in(&*session, Role::User, PIN).unwrap();
    assert_eq!(card.sent(), [wire::SELECT, wire::IDENTITY, wire::PIN]);
}

#[test]
fn another_card_gets_no_pin() {
    for is_other_kind in [false, true] {
        let (card, token, session) = logged_in();
        card.reset_by_others();
        card.set(|card| {
            card.identity = 8;
            card.has_applet = !is_other_kind;
        });
        let answer = log_in(&*session, Role::User, PIN);
        assert_eq!(answer, Err(TokenError::TokenRemoved));
        assert!(!card.sent().contains(&wire::PIN.to_owned()));
        assert!(token.is_removed());
        assert_eq!(sign(&*session, FREE), Err(TokenError::TokenRemoved));
        assert_eq!(card.tries(), 3);
        assert!(token.create_session().is_err());
    }
}

#[test]
fn another_card_that_nobody_has_seen_come_gets_no_pin() {
    for is_selected in [false, true] {
        let (card, token, session) = ready();
        card.swap();
        card.set(|card| card.is_selected = is_selected);
        let answer = log_in(&*session, Role::User, PIN);
        assert_eq!(answer, Err(TokenError::TokenRemoved));
        assert!(!card.sent().contains(&wire::PIN.to_owned()));
        assert!(token.is_removed() && card.tries() == 3);
    }
}

#[test]
fn an_applet_that_is_not_selected_for_once_is_not_gone() {
    let (card, token, session) = ready();
    card.select_other();
    card.wire
        .expect(wire::IDENTITY, "6D00")
        .expect(wire::PROVE, "6D00")
        .expect(wire::SELECT, "6F00");
    let answer = log_in(&*session, Role::User, PIN);
    assert!(
        matches!(answer, Err(TokenError::Corrupted(_))),
        "{answer:?}"
    );
    assert!(!token.is_removed());
    log_in(&*session, Role::User, PIN).unwrap();
}

#[test]
fn a_wrong_pin_is_sent_once_and_counts_live() {
    let (card, token, session) = ready();
    for (left, state) in [(2, PinState::CountLow), (1, PinState::FinalTry)] {
        let failed = Err(TokenError::AuthenticationFailed { tries: Some(left) });
        assert_eq!(log_in(&*session, Role::User, WRONG), failed);
        assert_eq!(card.tries(), left as u8);
        assert_eq!(token.info().user_pin, state);
        assert_eq!(token.tries_left(Role::User), Some(left));
    }
    assert_eq!(
        log_in(&*session, Role::User, WRONG),
        Err(TokenError::PinLocked)
    );
    assert_eq!(token.info().user_pin, PinState::Locked);
    assert_eq!(
        log_in(&*session, Role::User, PIN),
        Err(TokenError::PinLocked)
    );
    assert_eq!(sign(&*session, SESSION), NEEDED);
    // Another program has set it right.
    card.set(|card| card.tries = 3);
    assert_eq!(token.info().user_pin, PinState::Normal);
    card.sent();
    token.info();
    assert_eq!(card.sent(), [""; 0]);
    log_in(&*session, Role::User, PIN).unwrap();
    assert_eq!(token.info().user_pin, PinState::Normal);
}

#[test]
fn a_link_that_fails_under_a_pin_does_not_get_it_again() {
    for failure in [LinkError::Reset, LinkError::Busy, LinkError::Removed] {
        let (card, _, session) = ready();
        // The question who answers goes through; the PIN does not.
        let error = failure.clone();
        card.wire.answer_by(move |command| match command.get(1) {
            Some(0xca) => Ok(vec![7, 0x90, 0]),
            _ => Err(error.clone()),
        });
        card.sent();
        let answer = log_in(&*session, Role::User, PIN);
        assert!(answer.is_err(), "{failure:?}");
        let pins = card.sent().iter().filter(|sent| *sent == wire::PIN).count();
        assert_eq!(pins, 1, "{failure:?}");
        assert!(sign(&*session, SESSION).is_err(), "{failure:?}");
        let is_reset = matches!(failure, LinkError::Busy);
        assert_eq!(
            card.wire.resets(),
            usize::from(is_reset),
            "it may have arrived"
        );
    }
}

#[test]
fn a_secret_of_the_wrong_form_costs_no_try() {
    let (card, _, session) = logged_in();
    let length = Err(TokenError::PinLength { min: 6, max: 8 });
    for pin in [&b""[..], b"12345", b"123456789"] {
        assert_eq!(log_in(&*session, Role::User, pin), length);
        assert_eq!(authenticate(&*session, pin), length);
        let change = |old, new| session.change_pin(Role::User, AuthSecret::Pin(old), new);
        assert_eq!(change(pin, PIN), length);
        assert_eq!(change(PIN, pin), length);
    }
    let failed = Err(TokenError::AuthenticationFailed { tries: None });
    assert_eq!(log_in(&*session, Role::User, b"12345a"), failed);
    let new = session.change_pin(Role::User, AuthSecret::Pin(PIN), b"12345a");
    assert_eq!(new, Err(TokenError::DataInvalid));
    let nobody = session.begin_auth(Role::User, None).unwrap();
    assert_eq!(
        nobody.finish(AuthSecret::FromToken),
        Err(TokenError::BadParameter)
    );
    assert_eq!(card.sent(), [""; 0]);
    sign(&*session, SESSION).unwrap();
}

#[test]
fn a_secret_too_long_for_a_card_that_nobody_has_asked_costs_no_try() {
    let long = Err(TokenError::PinLength { min: 6, max: 8 });
    let tried: [fn(&dyn TokenSession) -> Result<()>; 3] = [
        |session| log_in(session, Role::User, b"123456789"),
        |session| session.change_pin(Role::User, AuthSecret::Pin(b"123456789"), PIN),
        |session| session.change_pin(Role::User, AuthSecret::Pin(PIN), b"123456789"),
    ];
    for tried in tried {
        let card = TestCard::new();
        let token = card.token();
        let session = token.create_session().unwrap();
        assert_eq!(tried(&*session), long);
        assert_eq!(card.sent(), [wire::SELECT, wire::IDENTITY, wire::CONTENTS]);
        assert_eq!(sign(&*session, SESSION), NEEDED);
        drop(session);
        assert_eq!(card.wire.resets(), 0, "the card was told nothing");
    }
}

#[test]
fn a_key_that_was_made_halfway_is_not_shown_as_the_old_one() {
    let (card, token, session) = ready();
    log_in(&*session, Role::Admin, ADMIN).unwrap();
    let wanted = NewKey {
        key_type: KeyType::Ec(Curve::P256),
        identity: Some(&[9]),
        label: None,
    };
    let id = session.generate_key(&wanted).unwrap();
    let before = token.generation();
    card.sent();
    card.wire.expect(wire::GENERATE, "6581");
    assert!(session.generate_key(&wanted).is_err());
    // Whoever looks reads the card again, which does not tell of that key.
    assert!(token.generation() > before);
    token.load().unwrap();
    assert_eq!(card.sent(), [wire::GENERATE, wire::CONTENTS]);
    assert!(token.contents().key(&id).is_none());
}

#[test]
fn a_pin_is_changed_by_who_knows_it() {
    let (card, _, session) = ready();
    let change = |old, new| session.change_pin(Role::User, AuthSecret::Pin(old), new);
    assert!(matches!(
        change(WRONG, b"222222"),
        Err(TokenError::AuthenticationFailed { .. })
    ));
    change(PIN, b"222222").unwrap();
    assert!(!card.is_logged_in(), "a change is no login");
    assert_eq!(sign(&*session, SESSION), NEEDED);
    log_in(&*session, Role::User, b"222222").unwrap();
    change(b"222222", PIN).unwrap();
    sign(&*session, SESSION).unwrap();
}

#[test]
fn a_pinpad_asks_by_itself() {
    let card = TestCard::in_reader(Wire::new().with_pinpad());
    let token = card.token();
    token.load().unwrap();
    assert_eq!(token.login_policy(), LoginPolicy::AppWithoutPin);
    assert_eq!(token.info().login, LoginPolicy::AppWithoutPin);
    let session = token.create_session().unwrap();
    let by_pinpad = |answer: &str| {
        card.wire.expect_pinpad(answer);
        let operation = session.begin_auth(Role::User, None).unwrap();
        assert_eq!(operation.method(), AuthMethod::FromToken);
        operation.finish(AuthSecret::FromToken)
    };
    for (answer, error) in [
        ("6401", TokenError::CanceledByUser),
        ("6400", TokenError::TimedOut),
        ("6403", TokenError::PinLength { min: 6, max: 8 }),
        ("63C2", TokenError::AuthenticationFailed { tries: Some(2) }),
        ("6983", TokenError::PinLocked),
    ] {
        assert_eq!(by_pinpad(answer), Err(error));
        assert_eq!(sign(&*session, SESSION), NEEDED);
    }
    card.set(|card| card.user = true);
    by_pinpad("9000").unwrap();
    sign(&*session, SESSION).unwrap();
    let admin = session.begin_auth(Role::Admin, None).unwrap();
    assert_eq!(admin.method(), AuthMethod::Password);
}

#[test]
fn an_administrator_is_logged_in_or_has_a_secret_for_later() {
    let (card, token, session) = ready();
    let generate = || {
        session.generate_key(&NewKey {
            key_type: KeyType::Ec(Curve::P256),
            identity: None,
            label: None,
        })
    };
    assert_eq!(generate(), Err(TokenError::AuthenticationNeeded));
    assert_eq!(card.sent(), [""; 0]);
    // The PUK is sent when it is used, and not before.
    log_in(&*session, Role::Admin, PUK).unwrap();
    assert_eq!(card.sent(), [""; 0]);
    assert_eq!(generate(), Err(TokenError::AuthenticationNeeded));
    card.set(|card| card.tries = 0);
    session.unblock_pin(b"999999").unwrap();
    assert_eq!(token.info().user_pin, PinState::Normal);
    log_in(&*session, Role::User, b"999999").unwrap();
    session.end_auth(Role::User);
    // A wrong one is not sent twice.
    log_in(&*session, Role::Admin, b"00000000").unwrap();
    let failed = Err(TokenError::AuthenticationFailed { tries: Some(4) });
    assert_eq!(session.unblock_pin(PIN), failed);
    assert_eq!(
        session.unblock_pin(PIN),
        Err(TokenError::AuthenticationNeeded)
    );
    assert_eq!(token.info().admin_pin, PinState::CountLow);
    log_in(&*session, Role::Admin, ADMIN).unwrap();
    session.unblock_pin(PIN).unwrap();
    session.end_auth(Role::Admin);
    assert_eq!(
        session.unblock_pin(PIN),
        Err(TokenError::AuthenticationNeeded)
    );
    card.wire.finish();
}

#[test]
fn a_new_key_is_in_the_contents() {
    let (card, token, session) = ready();
    log_in(&*session, Role::Admin, ADMIN).unwrap();
    card.sent();
    let before = token.generation();
    let wanted = NewKey {
        key_type: KeyType::Ec(Curve::P256),
        identity: None,
        label: None,
    };
    let id = session.generate_key(&wanted).unwrap();
    assert_eq!(card.sent(), [wire::GENERATE, wire::CONTENTS]);
    assert!(token.generation() > before);
    assert!(token.contents().key(&id).is_some());
    // Lost in the middle.
    card.reset_by_others();
    assert_eq!(session.generate_key(&wanted), Err(TokenError::StateLost));
    assert_eq!(
        session.generate_key(&wanted),
        Err(TokenError::AuthenticationNeeded)
    );
}

#[test]
fn a_card_that_takes_no_pin_says_so() {
    let (card, _, session) = ready();
    card.wire.answer_by(|command| match command.get(1) {
        Some(0x20) => Ok(vec![0x69, 0x82]),
        _ => Ok(vec![7, 0x90, 0]),
    });
    assert_eq!(log_in(&*session, Role::User, PIN), Err(TokenError::Denied));
    assert_eq!(card.wire.resets(), 1, "nobody knows what it has taken");
}
