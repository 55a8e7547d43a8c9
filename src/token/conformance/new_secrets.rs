//! Rules for the change of a secret.

use super::{
    Fixture, NO_PIN, NotApplicable, Verdict,
    steps::{authenticate, begin, first_key, must_sign, must_sign_after, session},
};
use crate::{AuthSecret, Constraint, Role, TokenError, TokenSession};

const NOT_CHANGED: NotApplicable = NotApplicable("the secret cannot be changed");

pub(super) fn new_secret_replaces_the_old(fixture: &dyn Fixture) -> Verdict {
    let Some(new) = fixture.new_pin() else {
        return Err(must_not_change(fixture));
    };
    let Some(old) = fixture.pin() else {
        return Err(NO_PIN);
    };
    let (token, key) = first_key(&*fixture.driver());
    let (one, two) = (session(&*token), session(&*token));
    let change = |session: &dyn TokenSession, old: &[u8], new: &[u8]| {
        session.change_pin(Role::User, AuthSecret::Pin(old), new)
    };
    let opens = |pin: &[u8]| begin(&*two).finish(AuthSecret::Pin(pin));
    let refused = change(&*one, fixture.wrong_pin(), new);
    assert!(
        matches!(refused, Err(TokenError::AuthenticationFailed { .. })),
        "a wrong secret was replaced: {refused:?}"
    );
    assert_eq!(opens(old), Ok(()), "after a change that was refused");
    authenticate(fixture, &*one);
    for (old, new) in [(old, new), (new, old)] {
        assert_eq!(change(&*one, old, new), Ok(()));
        if matches!(key.sign, Constraint::Auth(_, crate::Reuse::Session)) {
            must_sign(fixture, &*one, &key, 14);
        }
        let refused = opens(old);
        assert!(
            matches!(refused, Err(TokenError::AuthenticationFailed { .. })),
            "the old secret after a change: {refused:?}"
        );
        assert_eq!(opens(new), Ok(()), "the new secret");
        must_sign_after(fixture, &*two, &key, 15, Some(new));
    }
    Ok(())
}

/// Where there is no other secret to try, the one there is stays: otherwise the fixture has
/// forgotten it, and nobody would look at what a change does.
fn must_not_change(fixture: &dyn Fixture) -> NotApplicable {
    let (token, _) = first_key(&*fixture.driver());
    let secret = fixture.pin().unwrap_or(fixture.wrong_pin());
    let answer = session(&*token).change_pin(Role::User, AuthSecret::Pin(secret), secret);
    assert!(
        is_refused(&answer),
        "the secret can be changed, so the fixture needs another one: {answer:?}"
    );
    NOT_CHANGED
}

pub(super) fn wrong_lengths_are_refused(fixture: &dyn Fixture) -> Verdict {
    if fixture.new_pin().is_none() {
        return Err(NOT_CHANGED);
    }
    let Some(pin) = fixture.pin() else {
        return Err(NO_PIN);
    };
    let (token, key) = first_key(&*fixture.driver());
    let info = token.info();
    let session = session(&*token);
    let too_short = info.min_pin_len.checked_sub(1);
    for len in too_short.into_iter().chain([info.max_pin_len + 1]) {
        let new = vec![b'1'; len];
        let answer = session.change_pin(Role::User, AuthSecret::Pin(pin), &new);
        assert!(
            matches!(answer, Err(TokenError::PinLength { .. })),
            "a new secret of {len} bytes: {answer:?}"
        );
    }
    authenticate(fixture, &*session);
    must_sign(fixture, &*session, &key, 16);
    Ok(())
}

pub(super) fn other_roles_have_none(fixture: &dyn Fixture) -> Verdict {
    let (token, key) = first_key(&*fixture.driver());
    let session = session(&*token);
    let secret = fixture.pin().unwrap_or(fixture.wrong_pin());
    let mut verdict = Err(NotApplicable("the token has every role"));
    for role in [Role::Context, Role::Admin, Role::Unblock] {
        let item = (role == Role::Context).then_some(&key.id);
        if !matches!(
            session.begin_auth(role, item),
            Err(TokenError::NotSupported)
        ) {
            continue;
        }
        let answer = session.change_pin(role, AuthSecret::Pin(secret), secret);
        assert!(is_refused(&answer), "the secret of {role:?}: {answer:?}");
        verdict = Ok(());
    }
    authenticate(fixture, &*session);
    must_sign(fixture, &*session, &key, 17);
    verdict
}

fn is_refused(answer: &crate::Result<()>) -> bool {
    matches!(
        answer,
        Err(TokenError::NotSupported | TokenError::ReadOnly(_))
    )
}
