//! Rules for decryption and key agreement.

use super::{
    Fixture, decryption_algorithms, exchange_algorithms,
    steps::{authenticate, session, tokens},
};
use crate::{
    Constraint, Key, KeyAlgorithm, Operation, PublicKeyMaterial, Result, TokenError, TokenSession,
};

pub(super) fn every_supported_algorithm_decrypts(fixture: &dyn Fixture) {
    for token in tokens(&*fixture.driver()) {
        let session = session(&*token);
        for key in token.contents().keys() {
            let mut decrypted = 0;
            for algorithm in decryption_algorithms() {
                let supported = session.supports(Operation::Decrypt, &key.id, algorithm);
                authenticate(fixture, &*session);
                if !supported {
                    let answer = decrypt(&*session, key, algorithm, &[1; 256]);
                    assert!(
                        answer.is_err(),
                        "{}: decrypts {algorithm:?} unasked",
                        key.label
                    );
                    continue;
                }
                decrypts(fixture, &*session, key, algorithm);
                decrypted += 1;
            }
            assert_eq!(
                decrypted > 0,
                key.decrypt != Constraint::Never,
                "{}: {decrypted} forms of decryption",
                key.label
            );
        }
    }
}

fn decrypts(fixture: &dyn Fixture, session: &dyn TokenSession, key: &Key, algorithm: KeyAlgorithm) {
    let PublicKeyMaterial::Rsa { modulus, .. } = key.public_key.material() else {
        panic!("{}: {algorithm:?} with a key that is not RSA", key.label);
    };
    let block = |fill: u8| {
        let mut block = vec![fill; modulus.len()];
        block[0] = 0;
        block
    };
    let encrypted = |plaintext: &[u8], algorithm: KeyAlgorithm| match fixture.encrypt(
        &key.public_key,
        algorithm,
        plaintext,
    ) {
        Some(ciphertext) => ciphertext,
        None => panic!(
            "{}: decrypts {algorithm:?}, and the fixture does not encrypt it",
            key.label
        ),
    };
    let plaintexts = match algorithm {
        KeyAlgorithm::RsaRaw => vec![block(7), block(0)],
        _ => vec![b"a secret".to_vec(), Vec::new(), vec![0; 16]],
    };
    for plaintext in plaintexts {
        authenticate(fixture, session);
        let answer = decrypt(session, key, algorithm, &encrypted(&plaintext, algorithm));
        assert_eq!(answer, Ok(plaintext), "{}: {algorithm:?}", key.label);
    }
    for len in [0, modulus.len() - 1, modulus.len() + 1] {
        authenticate(fixture, session);
        let answer = decrypt(session, key, algorithm, &vec![1; len]);
        assert_eq!(
            answer,
            Err(TokenError::DataLength),
            "{}: {len} bytes with {algorithm:?}",
            key.label
        );
    }
    // A block without any padding in it.
    let unpadded = encrypted(&block(1), KeyAlgorithm::RsaRaw);
    authenticate(fixture, session);
    let answer = decrypt(session, key, algorithm, &unpadded);
    match algorithm {
        KeyAlgorithm::RsaPkcs1 => {
            assert!(
                answer.is_ok(),
                "{}: {algorithm:?} tells that the padding is wrong: {answer:?}",
                key.label
            );
            authenticate(fixture, session);
            let again = decrypt(session, key, algorithm, &unpadded);
            assert_eq!(answer, again, "{}: another answer each time", key.label);
        }
        KeyAlgorithm::RsaRaw => {}
        _ => assert_eq!(
            answer,
            Err(TokenError::BadCiphertext),
            "{}: {algorithm:?}",
            key.label
        ),
    }
}

fn decrypt(
    session: &dyn TokenSession,
    key: &Key,
    algorithm: KeyAlgorithm,
    input: &[u8],
) -> Result<Vec<u8>> {
    let len = match key.public_key.material() {
        PublicKeyMaterial::Rsa { modulus, .. } => modulus.len(),
        _ => 0,
    };
    let mut plaintext = vec![0; len];
    let len = session.decrypt(&key.id, algorithm, input, &mut plaintext)?;
    plaintext.truncate(len);
    Ok(plaintext)
}

pub(super) fn every_supported_algorithm_agrees(fixture: &dyn Fixture) {
    for token in tokens(&*fixture.driver()) {
        let session = session(&*token);
        for key in token.contents().keys() {
            let mut agreed = 0;
            for algorithm in exchange_algorithms() {
                authenticate(fixture, &*session);
                if !session.supports(Operation::KeyExchange, &key.id, algorithm) {
                    let answer = agree(&*session, key, algorithm, &[4; 65]);
                    assert!(
                        answer.is_err(),
                        "{}: agrees by {algorithm:?} unasked",
                        key.label
                    );
                    continue;
                }
                agrees(fixture, &*session, key, algorithm);
                agreed += 1;
            }
            assert_eq!(
                agreed > 0,
                key.key_exchange != Constraint::Never,
                "{}: {agreed} forms of key agreement",
                key.label
            );
        }
    }
}

fn agrees(fixture: &dyn Fixture, session: &dyn TokenSession, key: &Key, algorithm: KeyAlgorithm) {
    for _ in 0..2 {
        let Some((peer, secret)) = fixture.peer(&key.public_key, algorithm) else {
            panic!(
                "{}: agrees by {algorithm:?}, and the fixture has no peer for it",
                key.label
            );
        };
        assert_eq!(
            secret.len(),
            key.public_key.shared_secret_len(),
            "{}: {algorithm:?}: the peer's secret",
            key.label
        );
        authenticate(fixture, session);
        let answer = agree(session, key, algorithm, &peer);
        assert_eq!(answer, Ok(secret), "{}: {algorithm:?}", key.label);
        let longer = [&peer[..], &[0]].concat();
        for wrong in [&[][..], &peer[..1], &peer[..peer.len() - 1], &longer] {
            authenticate(fixture, session);
            let answer = agree(session, key, algorithm, wrong);
            assert!(
                matches!(
                    answer,
                    Err(TokenError::BadParameter | TokenError::DataLength)
                ),
                "{}: {algorithm:?} with a peer of {} bytes: {answer:?}",
                key.label,
                wrong.len()
            );
        }
    }
}

fn agree(
    session: &dyn TokenSession,
    key: &Key,
    algorithm: KeyAlgorithm,
    peer: &[u8],
) -> Result<Vec<u8>> {
    let mut secret = vec![0; key.public_key.shared_secret_len()];
    let len = session.key_exchange(&key.id, algorithm, peer, &mut secret)?;
    secret.truncate(len);
    Ok(secret)
}
