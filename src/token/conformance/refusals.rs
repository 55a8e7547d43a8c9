//! Rules for what no operation does: with a key that is not there, or without room for its result.

use super::{
    Fixture, Verdict, decryption_algorithms, exchange_algorithms, sample_input, signing_algorithms,
    steps::{authenticate, authenticate_for, first_key, must_sign, session, supported, tokens},
};
use crate::{
    Constraint, Key, KeyAlgorithm, ObjectId, Operation, PublicKeyMaterial, Result, Token,
    TokenError, TokenSession,
};

pub(super) fn unknown_key_is_not_found(fixture: &dyn Fixture) -> Verdict {
    let (token, key) = first_key(&*fixture.driver());
    let session = session(&*token);
    authenticate(fixture, &*session);
    let nobody = ObjectId::new(b"no such object \0\xff");
    for algorithm in signing_algorithms() {
        assert!(!session.supports(Operation::Sign, &nobody, algorithm));
        let Some(input) = sample_input(&key.public_key, algorithm, 0) else {
            continue;
        };
        let mut signature = vec![0; 4096];
        let answer = session.sign(&nobody, algorithm, &input, &mut signature);
        assert_eq!(
            answer,
            Err(TokenError::ObjectNotFound),
            "{algorithm:?} with an unknown key"
        );
    }
    for token in tokens(&*fixture.driver()) {
        unknown_key_opens_nothing(fixture, &*token, &nobody);
    }
    Ok(())
}

/// The same for operations that a session need not have: without a key for one it has none.
fn unknown_key_opens_nothing(fixture: &dyn Fixture, token: &dyn Token, nobody: &ObjectId) {
    let session = session(token);
    let contents = token.contents();
    authenticate(fixture, &*session);
    let refused = |operation, algorithm, answer: Result<usize>| {
        assert!(!session.supports(operation, nobody, algorithm));
        let mut keys = contents.keys();
        let has_it = keys.any(|key| key.constraint(operation) != Constraint::Never);
        assert!(
            answer == Err(TokenError::ObjectNotFound)
                || !has_it && answer == Err(TokenError::NotSupported),
            "{algorithm:?} with an unknown key: {answer:?}"
        );
    };
    for algorithm in decryption_algorithms() {
        let answer = session.decrypt(nobody, algorithm, &[1; 256], &mut [0; 1024]);
        refused(Operation::Decrypt, algorithm, answer);
    }
    for algorithm in exchange_algorithms() {
        let answer = session.key_exchange(nobody, algorithm, &[4; 65], &mut [0; 1024]);
        refused(Operation::KeyExchange, algorithm, answer);
    }
}

pub(super) fn short_buffers_are_refused(fixture: &dyn Fixture) -> Verdict {
    for token in tokens(&*fixture.driver()) {
        let session = session(&*token);
        let contents = token.contents();
        for key in contents.keys().filter(|key| key.sign != Constraint::Never) {
            let (algorithm, input) = supported(&*session, key);
            let room = key.public_key.max_signature_len();
            refuses_short_buffers(fixture, &*session, key, algorithm, room, |signature| {
                session.sign(&key.id, algorithm, &input, signature)
            });
            authenticate(fixture, &*session);
            must_sign(fixture, &*session, key, 12);
        }
        for key in contents.keys() {
            for algorithm in decryption_algorithms() {
                let PublicKeyMaterial::Rsa { modulus, .. } = key.public_key.material() else {
                    continue;
                };
                if !session.supports(Operation::Decrypt, &key.id, algorithm) {
                    continue;
                }
                // Below every modulus, and wrong in every padding: what it gives may be short.
                let mut block = vec![0; modulus.len()];
                block[modulus.len() - 1] = 2;
                refuses_short_buffers(
                    fixture,
                    &*session,
                    key,
                    algorithm,
                    modulus.len(),
                    |plaintext| session.decrypt(&key.id, algorithm, &block, plaintext),
                );
            }
            for algorithm in exchange_algorithms() {
                if !session.supports(Operation::KeyExchange, &key.id, algorithm) {
                    continue;
                }
                let Some((peer, _)) = fixture.peer(&key.public_key, algorithm) else {
                    panic!("{}: the fixture has no peer for {algorithm:?}", key.label);
                };
                let room = key.public_key.shared_secret_len();
                refuses_short_buffers(fixture, &*session, key, algorithm, room, |secret| {
                    session.key_exchange(&key.id, algorithm, &peer, secret)
                });
            }
        }
    }
    Ok(())
}

/// The caller's mistake, told before anything is done, however short the result would be.
fn refuses_short_buffers(
    fixture: &dyn Fixture,
    session: &dyn TokenSession,
    key: &Key,
    algorithm: KeyAlgorithm,
    room: usize,
    mut perform: impl FnMut(&mut [u8]) -> Result<usize>,
) {
    for len in [0, 1, room - 1] {
        authenticate_for(fixture, session, key);
        let answer = perform(&mut vec![0; len]);
        assert_eq!(
            answer,
            Err(TokenError::BadParameter),
            "{}: room for {len} bytes with {algorithm:?}",
            key.label
        );
    }
}
