//! The steps that the rules are made of: finding a key, authenticating, signing, each with a panic that says what went
//! wrong.

use std::sync::Arc;

use super::{Fixture, sample_input, signing_algorithms};
use crate::{
    AuthOperation, AuthSecret, Constraint, Key, KeyAlgorithm, Operation, Role, Token, TokenDriver,
    TokenError, TokenSession,
};

pub(super) fn tokens(driver: &dyn TokenDriver) -> Vec<Arc<dyn Token>> {
    let tokens: Vec<_> = driver
        .slots()
        .iter()
        .filter_map(|slot| slot.token())
        .collect();
    assert!(!tokens.is_empty(), "the fixture has no token");
    for token in &tokens {
        if let Err(error) = token.load() {
            panic!("what the token holds cannot be read: {error}");
        }
    }
    tokens
}

/// The first key that signs; one that needs an authentication comes before one that is free, which tells nothing about it.
pub(super) fn first_key(driver: &dyn TokenDriver) -> (Arc<dyn Token>, Key) {
    let tokens = tokens(driver);
    let needs = |key: &Key| matches!(key.sign, Constraint::Auth(..));
    let signs = |key: &Key| key.sign != Constraint::Never;
    let first = |wanted: &dyn Fn(&Key) -> bool| {
        tokens.iter().find_map(|token| {
            let contents = token.contents();
            let key = contents.keys().find(|key| wanted(key))?;
            Some((Arc::clone(token), key.clone()))
        })
    };
    match first(&needs).or_else(|| first(&signs)) {
        Some(found) => found,
        None => panic!("the fixture has no key that signs"),
    }
}

pub(super) fn session(token: &dyn Token) -> Arc<dyn TokenSession> {
    match token.create_session() {
        Ok(session) => session,
        Err(error) => panic!("no session: {error}"),
    }
}

pub(super) fn begin(session: &dyn TokenSession) -> Box<dyn AuthOperation + '_> {
    match session.begin_auth(Role::User, None) {
        Ok(operation) => operation,
        Err(error) => panic!("no authentication as user: {error}"),
    }
}

pub(super) fn authenticate(fixture: &dyn Fixture, session: &dyn TokenSession) {
    let Some(pin) = fixture.pin() else { return };
    if let Err(error) = begin(session).finish(AuthSecret::Pin(pin)) {
        panic!("the right secret was refused: {error}");
    }
}

/// Authenticates for the next operation with this key, once more where each wants it.
pub(super) fn authenticate_for(fixture: &dyn Fixture, session: &dyn TokenSession, key: &Key) {
    authenticate(fixture, session);
    if let Some(pin) = fixture.pin() {
        authenticate_once_more(session, key, pin);
    }
}

/// For a key that wants each operation authenticated: what follows a login.
fn authenticate_once_more(session: &dyn TokenSession, key: &Key, pin: &[u8]) {
    if !key.authenticates_always() {
        return;
    }
    let operation = match session.begin_auth(Role::Context, Some(&key.id)) {
        Ok(operation) => operation,
        Err(error) => panic!(
            "{}: no authentication for one operation: {error}",
            key.label
        ),
    };
    if let Err(error) = operation.finish(AuthSecret::Pin(pin)) {
        panic!("{}: the right secret was refused: {error}", key.label);
    }
}

pub(super) fn supported(session: &dyn TokenSession, key: &Key) -> (KeyAlgorithm, Vec<u8>) {
    let found = signing_algorithms().into_iter().find_map(|algorithm| {
        let input = sample_input(&key.public_key, algorithm, 0)?;
        session
            .supports(Operation::Sign, &key.id, algorithm)
            .then_some((algorithm, input))
    });
    match found {
        Some(found) => found,
        None => panic!("{}: signs, but supports no algorithm", key.label),
    }
}

pub(super) fn sign(
    session: &dyn TokenSession,
    key: &Key,
    algorithm: KeyAlgorithm,
    input: &[u8],
) -> Vec<u8> {
    let mut signature = vec![0; key.public_key.max_signature_len()];
    match session.sign(&key.id, algorithm, input, &mut signature) {
        Ok(len) => signature.truncate(len),
        Err(error) => panic!("{}: {algorithm:?}: {error}", key.label),
    }
    signature
}

pub(super) fn must_sign(fixture: &dyn Fixture, session: &dyn TokenSession, key: &Key, salt: u8) {
    must_sign_after(fixture, session, key, salt, fixture.pin());
}

/// The same where the secret is another one now.
pub(super) fn must_sign_after(
    fixture: &dyn Fixture,
    session: &dyn TokenSession,
    key: &Key,
    salt: u8,
    pin: Option<&[u8]>,
) {
    let (algorithm, _) = supported(session, key);
    let Some(input) = sample_input(&key.public_key, algorithm, salt) else {
        panic!("no input for {algorithm:?}");
    };
    if let Some(pin) = pin {
        authenticate_once_more(session, key, pin);
    }
    let signature = sign(session, key, algorithm, &input);
    assert!(
        fixture.verify(&key.public_key, algorithm, &input, &signature),
        "{}: a wrong signature with {algorithm:?}",
        key.label
    );
}

pub(super) fn must_need_authentication(session: &dyn TokenSession, key: &Key) {
    if !matches!(key.sign, Constraint::Auth(..)) {
        return;
    }
    let (algorithm, input) = supported(session, key);
    let mut signature = vec![0; key.public_key.max_signature_len()];
    let answer = session.sign(&key.id, algorithm, &input, &mut signature);
    assert_eq!(
        answer,
        Err(TokenError::AuthenticationNeeded),
        "{}",
        key.label
    );
}
