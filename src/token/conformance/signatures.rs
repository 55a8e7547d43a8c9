//! Rules for signatures.

use std::{collections::BTreeSet, thread};

use super::{
    EACH_TIME, Fixture, NotApplicable, Verdict, sample_input, signing_algorithms,
    steps::{
        authenticate, authenticate_for, first_key, must_sign, session, sign, supported, tokens,
    },
};
use crate::{
    Constraint, Digest, Key, KeyAlgorithm, Operation, PublicKey, PublicKeyMaterial, TokenError,
    TokenSession,
};

pub(super) fn every_supported_algorithm_signs(fixture: &dyn Fixture) -> Verdict {
    for token in tokens(&*fixture.driver()) {
        let session = session(&*token);
        for key in token.contents().keys() {
            let mut signed = 0;
            for algorithm in signing_algorithms() {
                authenticate_for(fixture, &*session, key);
                let supported = session.supports(Operation::Sign, &key.id, algorithm);
                if supported && algorithm == KeyAlgorithm::EcdsaDigest {
                    signs_hashes_of_each_length(fixture, &*session, key);
                    authenticate_for(fixture, &*session, key);
                }
                let Some(input) = sample_input(&key.public_key, algorithm, 5) else {
                    assert!(
                        !supported,
                        "{}: supports {algorithm:?} of another kind",
                        key.label
                    );
                    continue;
                };
                let mut signature = vec![0; key.public_key.max_signature_len()];
                let answer = session.sign(&key.id, algorithm, &input, &mut signature);
                if !supported {
                    assert!(
                        answer.is_err(),
                        "{}: signs {algorithm:?} unasked",
                        key.label
                    );
                    continue;
                }
                let Ok(len) = answer else {
                    panic!(
                        "{}: {algorithm:?} is supported and gave {answer:?}",
                        key.label
                    );
                };
                signature.truncate(len);
                assert!(
                    fixture.verify(&key.public_key, algorithm, &input, &signature),
                    "{}: a wrong signature with {algorithm:?}",
                    key.label
                );
                signed += 1;
            }
            assert_eq!(
                signed > 0,
                key.sign != Constraint::Never,
                "{}: {signed} forms",
                key.label
            );
        }
    }
    Ok(())
}

/// ECDSA takes the hash of any hash function with any curve, whatever the key store's own algorithms are called.
fn signs_hashes_of_each_length(fixture: &dyn Fixture, session: &dyn TokenSession, key: &Key) {
    let lengths: BTreeSet<_> = Digest::ALL.into_iter().map(Digest::len).collect();
    for len in lengths {
        authenticate_for(fixture, session, key);
        let algorithm = KeyAlgorithm::EcdsaDigest;
        // All bits of the first byte are set: the number is as large as it can be.
        let hash = vec![0xff; len];
        let signature = sign(session, key, algorithm, &hash);
        assert!(
            fixture.verify(&key.public_key, algorithm, &hash, &signature),
            "{}: a wrong signature over a hash of {len} bytes",
            key.label
        );
    }
}

pub(super) fn ml_dsa_is_hedged(fixture: &dyn Fixture) -> Verdict {
    let mut verdict = Err(NotApplicable("no key is for ML-DSA"));
    for token in tokens(&*fixture.driver()) {
        let session = session(&*token);
        for key in token.contents().keys() {
            let algorithm = KeyAlgorithm::MlDsa;
            if !session.supports(Operation::Sign, &key.id, algorithm) {
                continue;
            }
            let signatures = [(); 2].map(|()| {
                authenticate_for(fixture, &*session, key);
                let mut signature = vec![0; key.public_key.max_signature_len()];
                let answer = session.sign(&key.id, algorithm, b"message", &mut signature);
                assert!(answer.is_ok(), "{}: {answer:?}", key.label);
                signature
            });
            assert_ne!(signatures[0], signatures[1], "{}: deterministic", key.label);
            verdict = Ok(());
        }
    }
    verdict
}

pub(super) fn wrong_inputs_are_refused(fixture: &dyn Fixture) -> Verdict {
    for token in tokens(&*fixture.driver()) {
        let session = session(&*token);
        for key in token.contents().keys() {
            for algorithm in signing_algorithms() {
                if !session.supports(Operation::Sign, &key.id, algorithm) {
                    continue;
                }
                for len in wrong_lengths(&key.public_key, algorithm) {
                    authenticate_for(fixture, &*session, key);
                    let mut signature = vec![0; key.public_key.max_signature_len()];
                    // 01 at the start: a block for RSA that is smaller than the modulus as a number.
                    let input = vec![1; len];
                    let answer = session.sign(&key.id, algorithm, &input, &mut signature);
                    assert_eq!(
                        answer,
                        Err(TokenError::DataLength),
                        "{}: {len} bytes with {algorithm:?}",
                        key.label
                    );
                }
            }
            if session.supports(Operation::Sign, &key.id, KeyAlgorithm::RsaRaw) {
                authenticate_for(fixture, &*session, key);
                let mut signature = vec![0; key.public_key.max_signature_len()];
                let block = vec![0xff; signature.len()];
                let algorithm = KeyAlgorithm::RsaRaw;
                let answer = session.sign(&key.id, algorithm, &block, &mut signature);
                assert_eq!(
                    answer,
                    Err(TokenError::DataInvalid),
                    "{}: signs a number that is not below the modulus",
                    key.label
                );
            }
            if key.sign != Constraint::Never {
                authenticate(fixture, &*session);
                must_sign(fixture, &*session, key, 10);
            }
        }
    }
    Ok(())
}

/// Lengths that `algorithm` does not take as input with this key. A message may have any.
fn wrong_lengths(key: &PublicKey, algorithm: KeyAlgorithm) -> Vec<usize> {
    let not = |len: usize| vec![0, len.saturating_sub(1), len + 1];
    match (algorithm, key.material()) {
        (KeyAlgorithm::RsaRaw, PublicKeyMaterial::Rsa { modulus, .. }) => not(modulus.len()),
        (KeyAlgorithm::RsaPkcs1, PublicKeyMaterial::Rsa { modulus, .. }) => {
            vec![modulus.len().saturating_sub(10), modulus.len()]
        }
        (KeyAlgorithm::RsaPkcs1Digest(digest), _) => not(digest.len()),
        (KeyAlgorithm::RsaPssDigest(pss), _) => not(pss.digest.len()),
        _ => Vec::new(),
    }
}

pub(super) fn threads_sign(fixture: &dyn Fixture) -> Verdict {
    let (token, key) = first_key(&*fixture.driver());
    if matches!(key.sign, Constraint::Auth(_, crate::Reuse::Operation)) {
        return Err(EACH_TIME);
    }
    let session = session(&*token);
    authenticate(fixture, &*session);
    let (algorithm, _) = supported(&*session, &key);
    let made: Vec<(Vec<u8>, Vec<u8>)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..4_u8)
            .map(|number| {
                let (session, key) = (&session, &key);
                scope.spawn(move || {
                    (0..8_u8)
                        .map(|round| {
                            let Some(input) =
                                sample_input(&key.public_key, algorithm, number * 8 + round)
                            else {
                                panic!("no input for {algorithm:?}");
                            };
                            let signature = sign(&**session, key, algorithm, &input);
                            (input, signature)
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| match thread.join() {
                Ok(made) => made,
                Err(_) => panic!("a signing thread failed"),
            })
            .collect()
    });
    assert_eq!(made.len(), 32);
    for (input, signature) in made {
        assert!(
            fixture.verify(&key.public_key, algorithm, &input, &signature),
            "a mixed-up signature"
        );
    }
    Ok(())
}
