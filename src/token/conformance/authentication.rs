//! Rules for secrets: what they open, for whom and for how long.

use std::{collections::HashSet, thread};

use super::{
    EACH_TIME, Fixture, NO_PIN, Verdict, decryption_algorithms, exchange_algorithms,
    signing_algorithms,
    steps::{
        authenticate, begin, first_key, must_need_authentication, must_sign, session, supported,
        tokens,
    },
};
use crate::{
    AuthMethod, AuthSecret, Constraint, Key, LoginPolicy, Operation, Role, TokenError, TokenSession,
};

pub(super) fn keys_need_authentication(fixture: &dyn Fixture) -> Verdict {
    for token in tokens(&*fixture.driver()) {
        let session = session(&*token);
        for key in token.contents().keys() {
            needs_authentication(&*session, key);
            match key.sign {
                Constraint::Never => {
                    for algorithm in signing_algorithms() {
                        assert!(
                            !session.supports(Operation::Sign, &key.id, algorithm),
                            "{}: never signs, yet supports {algorithm:?}",
                            key.label
                        );
                    }
                }
                Constraint::Free => must_sign(fixture, &*session, key, 1),
                Constraint::Auth(..) => {
                    must_need_authentication(&*session, key);
                }
            }
        }
    }
    Ok(())
}

/// Before an authentication, an operation other than signing fails for the lack of one, or because
/// the key is not for it.
fn needs_authentication(session: &dyn TokenSession, key: &Key) {
    let decryption = decryption_algorithms().into_iter();
    let exchange = exchange_algorithms().into_iter();
    let all = decryption
        .map(|algorithm| (Operation::Decrypt, algorithm))
        .chain(exchange.map(|algorithm| (Operation::KeyExchange, algorithm)));
    for (operation, algorithm) in all {
        let supported = session.supports(operation, &key.id, algorithm);
        let constraint = key.constraint(operation);
        assert!(
            !supported || constraint != Constraint::Never,
            "{}: not for {operation:?}, yet supports {algorithm:?}",
            key.label
        );
        if !supported || constraint == Constraint::Free {
            continue;
        }
        let (input, mut out) = (vec![1; 256], vec![0; 1024]);
        let answer = match operation {
            Operation::Decrypt => session.decrypt(&key.id, algorithm, &input, &mut out),
            _ => session.key_exchange(&key.id, algorithm, &input, &mut out),
        };
        assert_eq!(
            answer,
            Err(TokenError::AuthenticationNeeded),
            "{}: {algorithm:?}",
            key.label
        );
    }
}

pub(super) fn wrong_secret_changes_nothing(fixture: &dyn Fixture) -> Verdict {
    let (token, key) = first_key(&*fixture.driver());
    let session = session(&*token);
    if fixture.pin().is_none() {
        return Err(NO_PIN);
    }
    let try_wrong = || {
        let answer = begin(&*session).finish(AuthSecret::Pin(fixture.wrong_pin()));
        assert!(
            matches!(answer, Err(TokenError::AuthenticationFailed { .. })),
            "a wrong secret gave {answer:?}"
        );
    };
    try_wrong();
    must_need_authentication(&*session, &key);
    authenticate(fixture, &*session);
    must_sign(fixture, &*session, &key, 2);
    try_wrong();
    if matches!(key.sign, Constraint::Auth(_, crate::Reuse::Session)) {
        must_sign_or_have_lost_its_state(fixture, &*session, &key);
    }
    authenticate(fixture, &*session);
    must_sign(fixture, &*session, &key, 4);
    Ok(())
}

/// A card ends a login when it is told a wrong secret, and nobody has the right one any more.
fn must_sign_or_have_lost_its_state(fixture: &dyn Fixture, session: &dyn TokenSession, key: &Key) {
    let (algorithm, input) = supported(session, key);
    let mut signature = vec![0; key.public_key.max_signature_len()];
    match session.sign(&key.id, algorithm, &input, &mut signature) {
        Err(TokenError::StateLost) => must_need_authentication(session, key),
        _ => must_sign(fixture, session, key, 3),
    }
}

pub(super) fn abandoned_auth_changes_nothing(fixture: &dyn Fixture) -> Verdict {
    let (token, key) = first_key(&*fixture.driver());
    let session = session(&*token);
    if fixture.pin().is_none() {
        return Err(NO_PIN);
    }
    drop(begin(&*session));
    must_need_authentication(&*session, &key);
    assert_eq!(
        begin(&*session).method() == AuthMethod::FromToken,
        token.info().login != LoginPolicy::App,
        "who gets the secret is told in two ways"
    );
    if begin(&*session).method() == AuthMethod::Password {
        let answer = begin(&*session).finish(AuthSecret::FromToken);
        assert_eq!(
            answer,
            Err(TokenError::BadParameter),
            "a secret that nobody gave"
        );
        must_need_authentication(&*session, &key);
    }
    Ok(())
}

pub(super) fn end_auth_ends(fixture: &dyn Fixture) -> Verdict {
    let (token, key) = first_key(&*fixture.driver());
    let session = session(&*token);
    session.end_auth(Role::User);
    if fixture.pin().is_none() {
        return Err(NO_PIN);
    }
    authenticate(fixture, &*session);
    must_sign(fixture, &*session, &key, 6);
    session.end_auth(Role::User);
    must_need_authentication(&*session, &key);
    session.end_auth(Role::User);
    authenticate(fixture, &*session);
    must_sign(fixture, &*session, &key, 7);
    Ok(())
}

pub(super) fn other_roles_end_apart(fixture: &dyn Fixture) -> Verdict {
    let (token, key) = first_key(&*fixture.driver());
    let session = session(&*token);
    for role in [Role::Context, Role::Admin, Role::Unblock] {
        session.end_auth(role);
        must_need_authentication(&*session, &key);
    }
    authenticate(fixture, &*session);
    for role in [Role::Context, Role::Admin, Role::Unblock] {
        session.end_auth(role);
        if matches!(key.sign, Constraint::Auth(_, crate::Reuse::Operation)) {
            continue;
        }
        must_sign(fixture, &*session, &key, 11);
    }
    Ok(())
}

pub(super) fn sessions_are_apart(fixture: &dyn Fixture) -> Verdict {
    let (token, key) = first_key(&*fixture.driver());
    if fixture.pin().is_none() {
        return Err(NO_PIN);
    }
    let (one, two) = (session(&*token), session(&*token));
    authenticate(fixture, &*one);
    must_sign(fixture, &*one, &key, 8);
    must_need_authentication(&*two, &key);
    authenticate(fixture, &*two);
    drop(one);
    must_sign(fixture, &*two, &key, 9);
    Ok(())
}

pub(super) fn logins_race_their_end(fixture: &dyn Fixture) -> Verdict {
    let (token, key) = first_key(&*fixture.driver());
    let Some(pin) = fixture.pin() else {
        return Err(NO_PIN);
    };
    if matches!(key.sign, Constraint::Auth(_, crate::Reuse::Operation)) {
        return Err(EACH_TIME);
    }
    let session = session(&*token);
    let (algorithm, input) = supported(&*session, &key);
    let log_in = || {
        for _ in 0..4 {
            let answer = begin(&*session).finish(AuthSecret::Pin(pin));
            assert_eq!(answer, Ok(()), "the right secret was refused");
        }
    };
    let sign = || {
        let mut signature = vec![0; key.public_key.max_signature_len()];
        let len = session.sign(&key.id, algorithm, &input, &mut signature)?;
        signature.truncate(len);
        Ok::<_, TokenError>(signature)
    };
    let made: Vec<_> = thread::scope(|scope| {
        scope.spawn(log_in);
        scope.spawn(log_in);
        scope.spawn(|| {
            for _ in 0..8 {
                session.end_auth(Role::User);
                thread::yield_now();
            }
        });
        (0..32).map(|_| sign()).collect()
    });
    for answer in made {
        match answer {
            Ok(signature) => assert!(
                fixture.verify(&key.public_key, algorithm, &input, &signature),
                "{}: a wrong signature with {algorithm:?}",
                key.label
            ),
            Err(error) => assert_eq!(error, TokenError::AuthenticationNeeded, "{}", key.label),
        }
    }
    // Nobody logs in or out any more: whichever was last, every thread says the same.
    let afterwards: HashSet<bool> = thread::scope(|scope| {
        let threads: Vec<_> = (0..20).map(|_| scope.spawn(|| sign().is_ok())).collect();
        let answers = threads.into_iter().map(|thread| match thread.join() {
            Ok(signed) => signed,
            Err(_) => panic!("a signing thread failed"),
        });
        answers.collect()
    });
    assert_eq!(
        afterwards.len(),
        1,
        "{}: some threads are logged in and some are not",
        key.label
    );
    session.end_auth(Role::User);
    must_need_authentication(&*session, &key);
    authenticate(fixture, &*session);
    must_sign(fixture, &*session, &key, 13);
    Ok(())
}
