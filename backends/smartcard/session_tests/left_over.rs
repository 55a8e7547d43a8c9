//! Logins that no session counts on any more: the card forgets them, whatever keeps it from that.

use std::{thread, time::Duration};

use ctk_token::{Role, Token};

use super::{NEEDED, authenticate, log_in, logged_in, mute, ready, sign};
use crate::{
    card::END_PATIENCE,
    link::LinkError,
    test_applet::{ADMIN, EACH, FREE, PIN, SESSION, wire},
};

#[test]
fn a_login_never_outlives_its_session() {
    for alone in [true, false] {
        for role in [Role::User, Role::Admin] {
            let (card, _, session) = ready();
            card.wire.set_alone(alone);
            let secret = if role == Role::User { PIN } else { ADMIN };
            log_in(&*session, role, secret).unwrap();
            card.sent();
            session.end_auth(role);
            assert!(!card.is_logged_in());
            let sent = card.sent();
            let resets = (card.wire.resets(), card.wire.forced_resets());
            match (alone, role) {
                (true, _) => assert_eq!((sent.len(), resets), (0, (1, 0))),
                (false, Role::User) => {
                    assert_eq!((&*sent, resets), (&[wire::FORGET.into()][..], (0, 0)));
                }
                // This applet does not forget its administrator, and no other is there to be
                // selected instead.
                (false, _) => {
                    assert!(sent.iter().any(|sent| sent.starts_with("00A40400")));
                    assert_eq!(resets, (1, 1));
                }
            }
            card.wire.finish();
        }
    }
}

#[test]
fn a_card_that_others_keep_is_logged_out_by_who_has_it_next() {
    let (card, token, session) = logged_in();
    card.wire.fail_next_begin(LinkError::Busy);
    session.end_auth(Role::User);
    assert_eq!(card.wire.patience(), END_PATIENCE, "nobody waits for long");
    assert!(card.is_logged_in());
    assert_eq!(sign(&*session, SESSION), NEEDED);
    let other = token.create_session().unwrap();
    sign(&*other, FREE).unwrap();
    assert!(!card.is_logged_in());
    assert_eq!(card.sent(), [wire::SELECT, wire::IDENTITY, wire::FREE]);
    // Or by who logs out next.
    log_in(&*session, Role::User, PIN).unwrap();
    card.wire.fail_next_begin(LinkError::Busy);
    session.end_auth(Role::User);
    other.end_auth(Role::User);
    assert!(!card.is_logged_in());
    card.wire.finish();
}

#[test]
fn a_card_that_others_keep_is_logged_out_when_it_is_closed() {
    for failures in [1, 2] {
        let (card, token, session) = logged_in();
        for _ in 0..failures {
            card.wire.fail_next_begin(LinkError::Busy);
        }
        drop(session);
        assert!(card.is_logged_in());
        drop(token);
        assert!(!card.is_logged_in(), "after {failures} failures");
        assert_eq!(card.wire.resets(), 1);
        card.wire.finish();
    }
}

#[test]
fn a_card_that_is_taken_for_removed_is_logged_out_when_it_is_closed() {
    let (card, token, session) = logged_in();
    token.removed();
    drop((token, session));
    assert!(!card.is_logged_in());
    // One without a login is left alone.
    let (card, token, session) = ready();
    token.removed();
    drop((token, session));
    assert_eq!(card.wire.resets(), 0);
}

#[test]
fn whoever_breaks_an_authentication_has_the_card_forget_it() {
    let (card, token, session) = ready();
    let other = token.create_session().unwrap();
    authenticate(&*session, PIN).unwrap();
    sign(&*other, FREE).unwrap();
    assert!(!card.is_logged_in());
    assert_eq!(sign(&*session, EACH), NEEDED);
    card.wire.finish();
}

#[test]
fn an_authentication_that_nobody_uses_is_void_after_a_while() {
    let (card, token, session) = ready();
    authenticate(&*session, PIN).unwrap();
    token.look_after();
    assert!(card.wire.is_kept(), "it was voided at once");
    thread::sleep(Duration::from_millis(2100));
    token.look_after();
    assert!(!card.wire.is_kept() && !card.is_logged_in());
    assert_eq!(sign(&*session, EACH), NEEDED);
    // Of a user who is logged in, that stays.
    log_in(&*session, Role::User, PIN).unwrap();
    authenticate(&*session, PIN).unwrap();
    thread::sleep(Duration::from_millis(2100));
    token.look_after();
    assert!(!card.wire.is_kept() && card.is_logged_in());
    sign(&*session, SESSION).unwrap();
    drop(session);
    card.wire.finish();
}

#[test]
fn what_is_left_over_is_ended_by_who_looks_after_the_card() {
    let (card, token, session) = logged_in();
    card.wire.fail_next_begin(LinkError::Busy);
    session.end_auth(Role::User);
    token.look_after();
    assert_eq!(card.wire.patience(), Duration::ZERO, "nobody waits for it");
    assert!(!card.is_logged_in());
    card.wire.finish();
}

#[test]
fn a_card_is_kept_while_it_is_made_to_forget() {
    // Another program came while this one looked whether it is alone.
    let (card, _, session) = logged_in();
    card.wire.set_alone(false);
    let begins = card.wire.begins();
    session.end_auth(Role::User);
    assert_eq!(card.wire.begins(), begins + 2);
    assert_eq!(card.sent(), [wire::FORGET]);
    // And if it cannot be kept again, nothing is sent.
    log_in(&*session, Role::User, PIN).unwrap();
    card.sent();
    card.wire.fail_begin_after_next(LinkError::Busy);
    session.end_auth(Role::User);
    assert_eq!(card.sent(), [""; 0]);
    drop(session);
    assert!(!card.is_logged_in());
    card.wire.finish();
}

#[test]
fn a_card_that_does_not_forget_is_reset_whoever_uses_it() {
    let (card, _, session) = logged_in();
    card.wire.set_alone(false);
    card.set(|card| card.forgets = false);
    session.end_auth(Role::User);
    assert!(!card.is_logged_in());
    assert_eq!(card.wire.forced_resets(), 1);
    card.wire.finish();
    // What was not answered at all is tried again.
    let (card, token, session) = logged_in();
    card.wire.set_alone(false);
    card.set(|card| card.failure = Some(mute()));
    session.end_auth(Role::User);
    token.look_after();
    assert!(!card.is_logged_in());
}

#[test]
fn who_selects_another_applet_to_log_out_selects_its_own_again() {
    let (card, _, session) = ready();
    card.wire.set_alone(false);
    card.set(|card| card.has_other = true);
    log_in(&*session, Role::Admin, ADMIN).unwrap();
    card.sent();
    session.end_auth(Role::Admin);
    assert!(!card.is_logged_in());
    assert_eq!(card.sent().last().map(String::as_str), Some(wire::SELECT));
    assert_eq!((card.wire.resets(), card.wire.forced_resets()), (0, 0));
    // Nobody has to select it again; which card it is, is asked, because others are there.
    sign(&*session, FREE).unwrap();
    assert_eq!(card.sent(), [wire::IDENTITY, wire::FREE]);
    card.wire.finish();
}
