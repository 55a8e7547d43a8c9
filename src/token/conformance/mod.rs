//! The suite that every backend runs: the rules of the contract, executable.
//!
//! [`run`] takes a [`Fixture`] and panics at the first rule that does not hold, so it is called from a `#[test]`. A token
//! behind a socket runs the same suite with the same fixture.
#![allow(
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test suite reports by panicking"
)]

mod inputs;
mod steps;

use std::{collections::HashSet, sync::Arc, thread};

pub use inputs::{sample_input, signing_algorithms};
use steps::{
    authenticate, begin, first_key, must_need_authentication, must_sign, session, sign, supported,
    tokens,
};

use crate::{
    AuthMethod, AuthSecret, Constraint, Item, KeyAlgorithm, KeychainContents, LoginPolicy,
    ObjectId, Operation, PublicKey, PublicKeyMaterial, Role, Slot, TokenDriver, TokenError,
};

/// What the suite needs from a backend: a driver with at least one token that has at least one key for signatures.
pub trait Fixture {
    /// A fresh driver. Called several times; each time the same tokens in the same state.
    fn driver(&self) -> Box<dyn TokenDriver>;

    /// The right user secret, or `None` if the keys need none.
    fn pin(&self) -> Option<&[u8]>;

    /// A wrong secret of acceptable length. It is sent a few times, never twice without the right one in between.
    fn wrong_pin(&self) -> &[u8];

    /// Whether `signature` (ECDSA in DER) fits `input`, which is what `algorithm` takes.
    fn verify(
        &self,
        key: &PublicKey,
        algorithm: KeyAlgorithm,
        input: &[u8],
        signature: &[u8],
    ) -> bool;
}

/// Runs every rule and returns the names of the rules that held, in order.
pub fn run(fixture: &dyn Fixture) -> Vec<&'static str> {
    type Rule = fn(&dyn Fixture);
    let rules: [(&'static str, Rule); 16] = [
        (
            "a driver names its slots once and in a stable order",
            slots_are_stable,
        ),
        ("a slot keeps its token", slot_keeps_its_token),
        ("a token describes itself", token_describes_itself),
        ("items have unique names and identities", items_are_unique),
        (
            "a certificate and the key of its identity fit",
            identities_fit,
        ),
        ("contents stay the same snapshot", contents_are_a_snapshot),
        ("an unknown key is not found", unknown_key_is_not_found),
        ("keys need their authentication", keys_need_authentication),
        (
            "a wrong secret changes nothing",
            wrong_secret_changes_nothing,
        ),
        (
            "an abandoned authentication changes nothing",
            abandoned_auth_changes_nothing,
        ),
        (
            "every supported algorithm signs",
            every_supported_algorithm_signs,
        ),
        (
            "an input of the wrong length is refused",
            wrong_lengths_are_refused,
        ),
        ("the end of an authentication is its end", end_auth_ends),
        (
            "the end of another role's authentication is not the user's",
            other_roles_end_apart,
        ),
        ("sessions do not share authentication", sessions_are_apart),
        ("several threads sign", threads_sign),
    ];
    rules
        .into_iter()
        .map(|(name, rule)| {
            rule(fixture);
            name
        })
        .collect()
}

fn slots_are_stable(fixture: &dyn Fixture) {
    let driver = fixture.driver();
    assert!(!driver.name().is_empty(), "the driver has no name");
    let ids = |slots: Vec<Arc<dyn Slot>>| -> Vec<String> {
        slots.iter().map(|slot| slot.id().to_owned()).collect()
    };
    let first = ids(driver.slots());
    assert_eq!(first, ids(driver.slots()), "two looks at the slots differ");
    assert_eq!(
        first,
        ids(fixture.driver().slots()),
        "two processes would see different slots"
    );
    let unique: HashSet<&String> = first.iter().collect();
    assert_eq!(
        unique.len(),
        first.len(),
        "two slots with one id: {first:?}"
    );
}

fn slot_keeps_its_token(fixture: &dyn Fixture) {
    let driver = fixture.driver();
    for slot in driver.slots() {
        match (slot.token(), slot.token()) {
            (Some(one), Some(two)) => {
                assert!(
                    Arc::ptr_eq(&one, &two),
                    "slot {}: a new token object each time",
                    slot.id()
                );
            }
            (None, None) => {}
            _ => panic!("slot {}: a token that comes and goes", slot.id()),
        }
    }
}

fn token_describes_itself(fixture: &dyn Fixture) {
    for token in tokens(&*fixture.driver()) {
        let info = token.info();
        assert!(!info.label.is_empty(), "a token without label");
        assert!(
            !info.label.contains(':'),
            "NSS cuts a nickname at the colon of {:?}",
            info.label
        );
        assert!(
            !info.serial_number.is_empty(),
            "{}: no serial number",
            info.label
        );
        assert!(
            info.min_pin_len <= info.max_pin_len,
            "{}: no PIN could fit",
            info.label
        );
        assert_eq!(info, token.info(), "two looks at the token differ");
    }
}

fn items_are_unique(fixture: &dyn Fixture) {
    let (driver, other) = (fixture.driver(), fixture.driver());
    for (token, other) in tokens(&*driver).into_iter().zip(tokens(&*other)) {
        let contents = token.contents();
        let names = |contents: &KeychainContents| -> Vec<ObjectId> {
            contents.items.iter().map(Item::id).cloned().collect()
        };
        assert_eq!(
            names(&contents),
            names(&other.contents()),
            "two processes would see different names"
        );
        let ids: HashSet<&ObjectId> = contents.items.iter().map(Item::id).collect();
        assert_eq!(ids.len(), contents.items.len(), "two items with one id");
        let identities: Vec<&[u8]> = contents.keys().map(|key| &*key.identity).collect();
        let unique: HashSet<&[u8]> = identities.iter().copied().collect();
        assert_eq!(unique.len(), identities.len(), "two keys with one identity");
        let all = identities
            .into_iter()
            .chain(contents.certificates().map(|c| &*c.identity));
        for identity in all {
            assert!(
                (1..=255).contains(&identity.len()),
                "an identity of {} bytes",
                identity.len()
            );
        }
        let certificates: Vec<&[u8]> = contents.certificates().map(|c| &*c.identity).collect();
        let unique: HashSet<&[u8]> = certificates.iter().copied().collect();
        assert_eq!(
            unique.len(),
            certificates.len(),
            "two certificates with one identity"
        );
    }
}

fn identities_fit(fixture: &dyn Fixture) {
    for token in tokens(&*fixture.driver()) {
        let contents = token.contents();
        for key in contents.keys() {
            let Some(certificate) = contents.certificates().find(|c| c.identity == key.identity)
            else {
                continue;
            };
            let Ok(certified) = PublicKey::from_certificate(&certificate.der) else {
                panic!("{}: a certificate that cannot be read", certificate.label);
            };
            assert_eq!(
                certified.material(),
                key.public_key.material(),
                "{}: another key",
                key.label
            );
            assert!(
                key.subject.is_some(),
                "{}: a key with certificate, without subject",
                key.label
            );
        }
    }
}

fn contents_are_a_snapshot(fixture: &dyn Fixture) {
    for token in tokens(&*fixture.driver()) {
        let first = token.contents();
        let session = session(&*token);
        authenticate(fixture, &*session);
        let second = token.contents();
        assert_eq!(
            first.generation == second.generation,
            first.items == second.items,
            "the generation must change with the contents and only with them"
        );
        assert!(
            second.generation >= first.generation,
            "a generation that shrinks"
        );
    }
}

fn unknown_key_is_not_found(fixture: &dyn Fixture) {
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
}

fn keys_need_authentication(fixture: &dyn Fixture) {
    for token in tokens(&*fixture.driver()) {
        let session = session(&*token);
        for key in token.contents().keys() {
            for operation in [Operation::Decrypt, Operation::KeyExchange] {
                let never = key.constraint(operation) == Constraint::Never;
                for algorithm in signing_algorithms() {
                    assert!(
                        !never || !session.supports(operation, &key.id, algorithm),
                        "{}: not for {operation:?}, yet supports {algorithm:?}",
                        key.label
                    );
                }
            }
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
}

fn wrong_secret_changes_nothing(fixture: &dyn Fixture) {
    let (token, key) = first_key(&*fixture.driver());
    let session = session(&*token);
    if fixture.pin().is_none() {
        return;
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
        must_sign(fixture, &*session, &key, 3);
    }
    authenticate(fixture, &*session);
    must_sign(fixture, &*session, &key, 4);
}

fn abandoned_auth_changes_nothing(fixture: &dyn Fixture) {
    let (token, key) = first_key(&*fixture.driver());
    let session = session(&*token);
    if fixture.pin().is_none() {
        return;
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
}

fn every_supported_algorithm_signs(fixture: &dyn Fixture) {
    for token in tokens(&*fixture.driver()) {
        let session = session(&*token);
        for key in token.contents().keys() {
            let mut signed = 0;
            for algorithm in signing_algorithms() {
                authenticate(fixture, &*session);
                let supported = session.supports(Operation::Sign, &key.id, algorithm);
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
}

fn wrong_lengths_are_refused(fixture: &dyn Fixture) {
    for token in tokens(&*fixture.driver()) {
        let session = session(&*token);
        for key in token.contents().keys() {
            for algorithm in signing_algorithms() {
                if !session.supports(Operation::Sign, &key.id, algorithm) {
                    continue;
                }
                for len in wrong_lengths(&key.public_key, algorithm) {
                    authenticate(fixture, &*session);
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
            if key.sign != Constraint::Never {
                authenticate(fixture, &*session);
                must_sign(fixture, &*session, key, 10);
            }
        }
    }
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

fn other_roles_end_apart(fixture: &dyn Fixture) {
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
}

fn end_auth_ends(fixture: &dyn Fixture) {
    let (token, key) = first_key(&*fixture.driver());
    let session = session(&*token);
    session.end_auth(Role::User);
    if fixture.pin().is_none() {
        return;
    }
    authenticate(fixture, &*session);
    must_sign(fixture, &*session, &key, 6);
    session.end_auth(Role::User);
    must_need_authentication(&*session, &key);
    session.end_auth(Role::User);
    authenticate(fixture, &*session);
    must_sign(fixture, &*session, &key, 7);
}

fn sessions_are_apart(fixture: &dyn Fixture) {
    let (token, key) = first_key(&*fixture.driver());
    if fixture.pin().is_none() {
        return;
    }
    let (one, two) = (session(&*token), session(&*token));
    authenticate(fixture, &*one);
    must_sign(fixture, &*one, &key, 8);
    must_need_authentication(&*two, &key);
    authenticate(fixture, &*two);
    drop(one);
    must_sign(fixture, &*two, &key, 9);
}

fn threads_sign(fixture: &dyn Fixture) {
    let (token, key) = first_key(&*fixture.driver());
    if matches!(key.sign, Constraint::Auth(_, crate::Reuse::Operation)) {
        return;
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
}
