//! Rules for decryption and key agreement.

use std::collections::HashSet;

use super::{
    Fixture, Verdict, decryption_algorithms, exchange_algorithms,
    steps::{authenticate_for, session, tokens},
};
use crate::{
    Constraint, Key, KeyAlgorithm, Operation, PublicKeyMaterial, Result, TokenError, TokenSession,
};

pub(super) fn every_supported_algorithm_decrypts(fixture: &dyn Fixture) -> Verdict {
    for token in tokens(&*fixture.driver()) {
        let session = session(&*token);
        for key in token.contents().keys() {
            let mut decrypted = 0;
            for algorithm in decryption_algorithms() {
                let supported = session.supports(Operation::Decrypt, &key.id, algorithm);
                authenticate_for(fixture, &*session, key);
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
    Ok(())
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
    let last = plaintexts[0].clone();
    for plaintext in plaintexts {
        authenticate_for(fixture, session, key);
        let answer = decrypt(session, key, algorithm, &encrypted(&plaintext, algorithm));
        assert_eq!(answer, Ok(plaintext), "{}: {algorithm:?}", key.label);
    }
    for len in [0, modulus.len() - 1, modulus.len() + 1] {
        authenticate_for(fixture, session, key);
        let answer = decrypt(session, key, algorithm, &vec![1; len]);
        assert_eq!(
            answer,
            Err(TokenError::DataLength),
            "{}: {len} bytes with {algorithm:?}",
            key.label
        );
    }
    authenticate_for(fixture, session, key);
    let answer = decrypt(session, key, algorithm, &vec![0xff; modulus.len()]);
    assert_eq!(
        answer,
        Err(TokenError::DataInvalid),
        "{}: decrypts a number that is not below the modulus, with {algorithm:?}",
        key.label
    );
    let wrong: Vec<_> = wrong_blocks(modulus.len())
        .into_iter()
        // One that begins with 01 may be none for a modulus of an odd length.
        .filter(|block| **block < **modulus)
        .map(|block| (encrypted(&block, KeyAlgorithm::RsaRaw), block))
        .collect();
    let wrong_answers = |count: usize| -> Vec<_> {
        let answers = wrong.iter().take(count).map(|(ciphertext, _)| {
            authenticate_for(fixture, session, key);
            decrypt(session, key, algorithm, ciphertext)
        });
        answers.collect()
    };
    match algorithm {
        KeyAlgorithm::RsaPkcs1 => {
            let blocks: Vec<_> = wrong.iter().map(|(_, block)| &**block).collect();
            let answers = wrong_answers(wrong.len());
            rejects_implicitly(&key.label, &blocks, &answers);
            let again = wrong_answers(3);
            assert_eq!(
                answers[..3],
                again,
                "{}: another answer each time",
                key.label
            );
        }
        KeyAlgorithm::RsaRaw => {}
        _ => {
            for answer in wrong_answers(3) {
                let refused = Err(TokenError::BadCiphertext);
                assert_eq!(answer, refused, "{}: {algorithm:?}", key.label);
            }
        }
    }
    authenticate_for(fixture, session, key);
    let answer = decrypt(session, key, algorithm, &encrypted(&last, algorithm));
    assert_eq!(
        answer,
        Ok(last),
        "{}: {algorithm:?} after wrong ones",
        key.label
    );
}

/// Blocks without any padding of v1.5 or OAEP in them, each wrong in another way or with another
/// message.
fn wrong_blocks(len: usize) -> Vec<Vec<u8>> {
    // What v1.5 wants: 00 02, eight bytes or more that are not zero, a zero and the message.
    let padded = |salt: u8, message_len: usize| {
        let mut block: Vec<u8> = (0..len)
            .map(|at| (at as u8).wrapping_mul(7).wrapping_add(salt) | 1)
            .collect();
        block[..2].copy_from_slice(&[0, 2]);
        block[len - message_len - 1] = 0;
        block
    };
    let mut blocks = Vec::new();
    for salt in [16, 80, 144, 208] {
        let at = usize::from(salt / 16);
        let mut other_first = padded(salt, at);
        other_first[0] = 1;
        let mut other_second = padded(salt, at + 16);
        other_second[1] = salt;
        let mut too_short = padded(salt, at + 32);
        too_short[2 + at % 8] = 0;
        let mut endless = padded(salt, at);
        endless[len - at - 1] = 1;
        blocks.extend([other_first, other_second, too_short, endless]);
    }
    blocks
}

/// What wrong paddings give must look like what right ones do: plaintexts of every length with
/// nothing in common, neither with one another nor with the block. By chance an honest key store
/// fails here once in more than 10^9 times.
fn rejects_implicitly(label: &str, blocks: &[&[u8]], answers: &[Result<Vec<u8>>]) {
    let plaintexts: Vec<&[u8]> = answers
        .iter()
        .map(|answer| match answer {
            Ok(plaintext) => &**plaintext,
            Err(error) => panic!("{label}: tells that the padding is wrong: {error}"),
        })
        .collect();
    let lengths: HashSet<usize> = plaintexts.iter().map(|plaintext| plaintext.len()).collect();
    assert!(
        lengths.len() > 2,
        "{label}: wrong paddings are told by the plaintext's length: {lengths:?}"
    );
    // Shorter ones may be the same by chance.
    let long = plaintexts.iter().filter(|plaintext| plaintext.len() >= 8);
    let long: Vec<&[u8]> = long.copied().collect();
    assert!(
        long.len() > 2,
        "{label}: wrong paddings are told by short plaintexts: {lengths:?}"
    );
    for (block, plaintext) in blocks.iter().zip(&plaintexts) {
        assert!(
            plaintext.len() < 8 || !block.ends_with(plaintext),
            "{label}: a wrong padding gives the end of its block"
        );
    }
    let starts: HashSet<&[u8]> = long.iter().map(|plaintext| &plaintext[..8]).collect();
    assert_eq!(
        starts.len(),
        long.len(),
        "{label}: different ciphertexts with wrong paddings give the same plaintext"
    );
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

pub(super) fn every_supported_algorithm_agrees(fixture: &dyn Fixture) -> Verdict {
    for token in tokens(&*fixture.driver()) {
        let session = session(&*token);
        for key in token.contents().keys() {
            let mut agreed = 0;
            for algorithm in exchange_algorithms() {
                authenticate_for(fixture, &*session, key);
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
    Ok(())
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
        authenticate_for(fixture, session, key);
        let answer = agree(session, key, algorithm, &peer);
        assert_eq!(answer, Ok(secret), "{}: {algorithm:?}", key.label);
        let longer = [&peer[..], &[0]].concat();
        for wrong in [&[][..], &peer[..1], &peer[..peer.len() - 1], &longer] {
            authenticate_for(fixture, session, key);
            let answer = agree(session, key, algorithm, wrong);
            let refused = match algorithm {
                KeyAlgorithm::MlKem => TokenError::DataLength,
                _ => TokenError::BadParameter,
            };
            assert_eq!(
                answer,
                Err(refused),
                "{}: {algorithm:?} with a peer of {} bytes",
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
