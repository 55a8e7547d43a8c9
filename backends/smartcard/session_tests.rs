//! What a session sends and what it does not, with a card that behaves and other programs that do not.

use std::{sync::Arc, thread, time::Duration};

use ctk_token::{
    AuthMethod, AuthSecret, Curve, KeyAlgorithm, KeyType, LoginPolicy, NewKey, ObjectId, PinState,
    Result, Role, Token, TokenError, TokenSession,
};

use crate::{
    link::LinkError,
    test_applet::{ADMIN, EACH, FREE, PIN, PUK, ROW, SESSION, SIGNATURE, TestCard, wire},
    testing::Wire,
    token::{CardToken, recognize_among},
};

fn sign(session: &dyn TokenSession, key: &[u8]) -> Result<()> {
    let mut signature = [0; 100];
    let key = ObjectId::new(key);
    let len = session.sign(
        &key,
        KeyAlgorithm::EcdsaDigest,
        &[1, 2, 3, 4],
        &mut signature,
    )?;
    assert_eq!(signature[..len], *SIGNATURE);
    Ok(())
}

fn log_in(session: &dyn TokenSession, role: Role, secret: &[u8]) -> Result<()> {
    session
        .begin_auth(role, None)?
        .finish(AuthSecret::Pin(secret))
}

fn authenticate(session: &dyn TokenSession, pin: &[u8]) -> Result<()> {
    let key = ObjectId::new(EACH);
    let operation = session.begin_auth(Role::Context, Some(&key))?;
    operation.finish(AuthSecret::Pin(pin))
}

/// A card whose contents are known, its token and a session, with nothing sent that counts.
fn ready() -> (TestCard, Arc<CardToken>, Arc<dyn TokenSession>) {
    let card = TestCard::new();
    let token = card.token();
    token.info();
    token.load().unwrap();
    card.sent();
    let session = token.create_session().unwrap();
    (card, token, session)
}

fn logged_in() -> (TestCard, Arc<CardToken>, Arc<dyn TokenSession>) {
    let (card, token, session) = ready();
    log_in(&*session, Role::User, PIN).unwrap();
    card.sent();
    (card, token, session)
}

const WRONG: &[u8] = b"000000";
const NEEDED: Result<()> = Err(TokenError::AuthenticationNeeded);

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
        [wire::PROVE, wire::PIN, wire::SESSION, wire::SESSION]
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
    // A reset while it is asked is nothing to give up for.
    card.set(|card| (card.failure, card.has_applet) = (Some(LinkError::Reset), true));
    assert!(
        recognize_among(card.wire.link(), &[&ROW])
            .unwrap()
            .is_some()
    );
}

#[test]
fn a_free_key_works_although_others_use_the_card() {
    let (card, _, session) = ready();
    sign(&*session, FREE).unwrap();
    assert_eq!(card.sent(), [wire::FREE]);
    card.select_other();
    sign(&*session, FREE).unwrap();
    assert_eq!(
        card.sent(),
        [wire::FREE, wire::PROVE, wire::SELECT, wire::FREE]
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
fn a_pin_goes_only_to_an_applet_that_has_just_answered() {
    let (card, _, session) = ready();
    log_in(&*session, Role::User, PIN).unwrap();
    assert_eq!(card.sent(), [wire::PROVE, wire::PIN]);
    card.select_other();
    log_in(&*session, Role::User, PIN).unwrap();
    assert_eq!(card.sent(), [wire::PROVE, wire::SELECT, wire::PIN]);
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
    card.set(|card| card.tries = 3);
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
            Some(0xca) => Ok(vec![0xaa, 0x90, 0]),
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
fn nothing_comes_between_an_authentication_and_its_operation() {
    let (card, _, session) = logged_in();
    assert_eq!(sign(&*session, SESSION), Ok(()));
    assert_eq!(sign(&*session, EACH), NEEDED);
    for _ in 0..3 {
        card.sent();
        authenticate(&*session, PIN).unwrap();
        assert!(card.wire.is_kept(), "others may come between");
        sign(&*session, EACH).unwrap();
        assert_eq!(card.sent(), [wire::PROVE, wire::PIN, wire::EACH]);
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
    let (card, _, session) = logged_in();
    authenticate(&*session, PIN).unwrap();
    let key = ObjectId::new(EACH);
    let answer = session.sign(&key, KeyAlgorithm::EcdsaDigest, &[1], &mut [0; 10]);
    assert_eq!(answer, Err(TokenError::BadParameter));
    assert!(!card.wire.is_kept());
    assert_eq!(sign(&*session, EACH), NEEDED);
}

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
    // In time, the other one waits and both work.
    authenticate(&*session, PIN).unwrap();
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
fn a_login_never_outlives_us() {
    for alone in [true, false] {
        for role in [Role::User, Role::Admin] {
            let (card, _, session) = ready();
            card.wire.set_alone(alone);
            let secret = if role == Role::User { PIN } else { ADMIN };
            log_in(&*session, role, secret).unwrap();
            card.sent();
            session.end_auth(role);
            let sent = card.sent();
            match (alone, role) {
                (true, _) => assert_eq!(sent, [""; 0]),
                (false, Role::User) => assert_eq!(sent, [wire::FORGET]),
                // This applet does not forget its administrator: another one is selected.
                (false, _) => assert!(sent.iter().any(|sent| sent.starts_with("00A40400"))),
            }
            assert_eq!(card.wire.resets(), usize::from(alone));
            card.wire.finish();
        }
    }
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
fn a_protected_object_is_read_by_who_is_logged_in() {
    let (card, _, session) = ready();
    let data = ObjectId::new(b"data");
    assert_eq!(session.read(&data), Err(TokenError::AuthenticationNeeded));
    log_in(&*session, Role::User, PIN).unwrap();
    assert_eq!(session.read(&data).unwrap(), b"data");
    assert_eq!(card.sent(), [wire::PROVE, wire::PIN, wire::READ]);
    let nothing = ObjectId::new(b"nothing");
    assert_eq!(session.read(&nothing), Err(TokenError::ObjectNotFound));
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
fn a_card_that_says_nothing_is_told_by_its_kind() {
    let card = TestCard::new();
    let token = card.token();
    card.set(|card| card.failure = Some(LinkError::Busy));
    assert_eq!(token.info().label, "unread");
    assert_eq!(token.info().label, "Card");
    card.set(|card| card.failure = Some(LinkError::Busy));
    assert!(matches!(token.load(), Err(TokenError::Unreachable(_))));
    assert_eq!(token.contents().items.len(), 0);
    token.load().unwrap();
    assert_eq!(token.contents().keys().count(), 3);
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
