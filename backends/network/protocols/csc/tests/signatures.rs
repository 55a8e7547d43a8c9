//! What a signature costs, which form it has, and what is no signature.

use std::{sync::Arc, thread};

use ctk_token::{
    Constraint, Digest, KeyAlgorithm, LoginPolicy, Operation, Pss, PublicKey, Reuse, Role,
    TokenError,
};
use serde_json::json;

use crate::{KeyRecord, Service, ServiceSession, Value};

use super::{
    fake::{Fake, OTP, P256, PIN, RSA, credential},
    world::{World, secret},
};

const SHA256: KeyAlgorithm = KeyAlgorithm::RsaPkcs1Digest(Digest::Sha256);

/// Signs, and says whether the signature is right.
fn sign(session: &dyn ServiceSession, key: &KeyRecord, how: KeyAlgorithm, len: usize) {
    let input = vec![7; len];
    let signature = session.sign(key, how, &input).unwrap();
    let public_key = PublicKey::from_spki(&key.spki).unwrap();
    assert!(ctk_crypto::verify(&public_key, how, &input, &signature).unwrap());
}

fn pss(digest: Digest) -> KeyAlgorithm {
    KeyAlgorithm::RsaPssDigest(Pss {
        digest,
        mgf: digest,
        salt_len: digest.len() as u32,
    })
}

#[test]
fn a_signature_after_the_first_is_one_request() {
    for version in [0, 1, 2] {
        for is_fixed in [false, true] {
            let credentials = vec![
                credential(RSA, &["implicit"]),
                credential(P256, &["implicit"]),
            ];
            let mut fake = Fake::new(version, credentials);
            fake.is_fixed = is_fixed;
            let world = World::new(fake, &[]);
            let [rsa, ec] = &world.inventory.keys[..] else {
                panic!("{:?}", world.inventory)
            };
            assert_eq!(
                world.service.login_policy(&world.inventory.keys),
                LoginPolicy::OnUse
            );
            assert_eq!(
                world.service.constraint(rsa, Operation::Sign),
                Constraint::Free
            );
            assert_eq!(
                world.service.constraint(rsa, Operation::Decrypt),
                Constraint::Never
            );
            let session = world.session();
            sign(&*session, rsa, SHA256, 32);
            let first = world.fake.operations();
            assert_eq!(first, ["credentials/authorize", "signatures/signHash"]);
            for (how, len) in [
                (SHA256, 32),
                (KeyAlgorithm::RsaPkcs1Digest(Digest::Sha384), 48),
                (pss(Digest::Sha256), 32),
                (pss(Digest::Sha512), 64),
            ] {
                assert!(world.service.supports(rsa, Operation::Sign, how));
                sign(&*session, rsa, how, len);
                assert_eq!(world.fake.operations(), ["signatures/signHash"], "{how:?}");
            }
            sign(&*session, ec, KeyAlgorithm::EcdsaDigest, 32);
            world.fake.calls();
            for len in [1, 20, 48, 64] {
                sign(&*session, ec, KeyAlgorithm::EcdsaDigest, len);
                assert_eq!(world.fake.operations(), ["signatures/signHash"], "{len}");
            }
        }
    }
}

#[test]
fn an_authorisation_for_a_hash_is_asked_for_with_it() {
    for version in [0, 1, 2] {
        let mut bound = credential(RSA, &["implicit"]);
        bound.scal = 2;
        let world = World::new(Fake::new(version, vec![bound]), &[]);
        let session = world.session();
        for _ in 0..2 {
            sign(&*session, &world.inventory.keys[0], SHA256, 32);
            let calls = world.fake.operations();
            assert_eq!(calls, ["credentials/authorize", "signatures/signHash"]);
        }
    }
}

#[test]
fn a_free_authorisation_that_ends_is_renewed_unseen() {
    let mut few = credential(P256, &["implicit"]);
    few.multisign = 3;
    let world = World::new(Fake::new(1, vec![few]), &[]);
    let (session, key) = (world.session(), &world.inventory.keys[0]);
    for _ in 0..7 {
        sign(&*session, key, KeyAlgorithm::EcdsaDigest, 32);
    }
    let calls = world.fake.operations();
    assert_eq!(
        calls
            .iter()
            .filter(|name| name.ends_with("authorize"))
            .count(),
        3
    );
    assert_eq!(calls.len(), 10);
    // The service has forgotten it, and may or may not say so in words.
    world.fake.restart();
    sign(&*session, key, KeyAlgorithm::EcdsaDigest, 32);
    assert_eq!(world.fake.operations().len(), 3);
}

/// What `otp` tells may be the same password still.
#[test]
fn a_one_time_password_is_read_for_one_signature_once() {
    let world = World::new(
        Fake::new(1, vec![credential(P256, &["otp"])]),
        &[("otp", secret(OTP))],
    );
    let (session, key) = (world.session(), &world.inventory.keys[0]);
    let how = KeyAlgorithm::EcdsaDigest;
    for _ in 0..2 {
        sign(&*session, key, how, 32);
    }
    world.fake.restart();
    world.fake.calls();
    let refused = session.sign(key, how, &[7; 32]);
    assert!(
        matches!(refused, Err(TokenError::Refused(_))),
        "{refused:?}"
    );
    assert_eq!(world.fake.operations(), ["signatures/signHash"]);
    sign(&*session, key, how, 32);
    // It was good for two: the next is as well.
    world.fake.calls();
    sign(&*session, key, how, 32);
    assert_eq!(world.fake.operations(), ["signatures/signHash"]);
}

#[test]
fn a_signature_that_may_have_been_made_is_not_asked_for_again() {
    let world = World::new(Fake::new(1, vec![credential(P256, &["implicit"])]), &[]);
    let (session, key) = (world.session(), &world.inventory.keys[0]);
    sign(&*session, key, KeyAlgorithm::EcdsaDigest, 32);
    for (status, body, requests) in [
        (500, "Server got itself in trouble", 1),
        (503, "", 1),
        (429, "", 1),
        (400, "400: Bad Request", 3),
    ] {
        world.fake.calls();
        world.fake.answer("signatures/signHash", status, body);
        let answer = session.sign(key, KeyAlgorithm::EcdsaDigest, &[7; 32]);
        assert!(answer.is_err());
        assert_eq!(world.fake.calls().len(), requests, "{status}");
        world.fake.answer_well();
    }
}

#[test]
fn a_service_that_takes_an_authorisation_once_is_found_out() {
    let mut fake = Fake::new(1, vec![credential(P256, &["implicit"])]);
    fake.is_single_use = true;
    let world = World::new(fake, &[]);
    let (session, key) = (world.session(), &world.inventory.keys[0]);
    let mut costs = Vec::new();
    for _ in 0..4 {
        sign(&*session, key, KeyAlgorithm::EcdsaDigest, 32);
        costs.push(world.fake.calls().len());
    }
    assert_eq!(costs, [2, 3, 2, 2]);

    // Where that needs the password that `otp` tells, one signature is lost to it.
    let mut fake = Fake::new(1, vec![credential(P256, &["otp"])]);
    fake.is_single_use = true;
    let world = World::new(fake, &[("otp", secret(OTP))]);
    let (session, key) = (world.session(), &world.inventory.keys[0]);
    let how = KeyAlgorithm::EcdsaDigest;
    sign(&*session, key, how, 32);
    assert!(session.sign(key, how, &[7; 32]).is_err());
    for _ in 0..4 {
        sign(&*session, key, how, 32);
    }
}

#[test]
fn signatures_share_one_authorisation_and_its_count() {
    let mut few = credential(P256, &["pin"]);
    few.multisign = 40;
    let world = World::new(Fake::new(1, vec![few]), &[]);
    let (session, keys) = (world.session(), &world.inventory.keys);
    session
        .login(Role::User, keys, None, PIN.as_bytes())
        .unwrap();
    let made: Vec<_> = thread::scope(|scope| {
        let work = || {
            let one = || session.sign(&keys[0], KeyAlgorithm::EcdsaDigest, &[7; 32]);
            (0..4).map(|_| one()).collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    let (good, bad): (Vec<_>, Vec<_>) = made.into_iter().partition(Result::is_ok);
    assert_eq!((good.len(), bad.len()), (40, 24));
    assert!(
        bad.into_iter()
            .all(|answer| answer == Err(TokenError::AuthenticationNeeded))
    );
    let calls = world.fake.operations();
    assert_eq!(
        calls
            .iter()
            .filter(|name| name.ends_with("authorize"))
            .count(),
        1
    );
    assert_eq!(calls.len(), 41);
}

#[test]
fn sixteen_threads_authorise_a_free_key_once() {
    let world = World::new(Fake::new(2, vec![credential(P256, &["implicit"])]), &[]);
    let (session, key) = (world.session(), &world.inventory.keys[0]);
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| sign(&*session, key, KeyAlgorithm::EcdsaDigest, 32));
        }
    });
    assert_eq!(world.fake.calls().len(), 17);
}

#[test]
fn fewer_signatures_per_login_are_asked_for_if_a_person_wants_that() {
    let per_login = |number| ("signatures_per_login", Value::Number(number));
    let world = World::new(
        Fake::new(1, vec![credential(P256, &["pin"])]),
        &[per_login(2)],
    );
    let (session, keys) = (world.session(), &world.inventory.keys);
    session
        .login(Role::User, keys, None, PIN.as_bytes())
        .unwrap();
    assert_eq!(world.fake.calls()[0].body["numSignatures"], 2);
    for _ in 0..2 {
        sign(&*session, &keys[0], KeyAlgorithm::EcdsaDigest, 32);
    }
    let answer = session.sign(&keys[0], KeyAlgorithm::EcdsaDigest, &[7; 32]);
    assert_eq!(answer, Err(TokenError::AuthenticationNeeded));
    let world = World::new(
        Fake::new(1, vec![credential(P256, &["pin"])]),
        &[per_login(1)],
    );
    assert!(matches!(
        world
            .service
            .constraint(&world.inventory.keys[0], Operation::Sign),
        Constraint::Auth(_, Reuse::Operation)
    ));
}

#[test]
fn what_is_no_signature_of_this_key_passes_nowhere() {
    let credentials = vec![
        credential(P256, &["implicit"]),
        credential(RSA, &["implicit"]),
    ];
    let world = World::new(Fake::new(1, credentials), &[]);
    let session = world.session();
    let other = Arc::new(Fake::new(1, vec![credential(P256, &["implicit"])]));
    let of_other = World::new(Arc::into_inner(other).unwrap(), &[]);
    let foreign = of_other
        .session()
        .sign(
            &of_other.inventory.keys[0],
            KeyAlgorithm::EcdsaDigest,
            &[7; 32],
        )
        .unwrap();
    for answer in [
        json!({"signatures": [crate::base64::encode(&foreign)]}).to_string(),
        json!({"signatures": [crate::base64::encode(&[1; 64])]}).to_string(),
        json!({"signatures": [crate::base64::encode(&[1; 256])]}).to_string(),
        json!({"signatures": [""]}).to_string(),
        json!({"signatures": ["!"]}).to_string(),
        json!({"signatures": []}).to_string(),
        "{}".to_owned(),
        "<html>".to_owned(),
    ] {
        world.fake.answer("signatures/signHash", 200, &answer);
        for (key, how) in [(0, KeyAlgorithm::EcdsaDigest), (1, SHA256)] {
            let made = session.sign(&world.inventory.keys[key], how, &[7; 32]);
            assert!(
                matches!(made, Err(TokenError::Corrupted(_))),
                "{answer}: {made:?}"
            );
        }
    }
}

#[test]
fn a_token_of_scope_credential_authorises() {
    for version in [1, 2] {
        let fake = Fake::new(version, vec![credential(P256, &["oauth2code"])]);
        let world = World::new(fake, &[("authorization_token", secret("grant"))]);
        sign(
            &*world.session(),
            &world.inventory.keys[0],
            KeyAlgorithm::EcdsaDigest,
            32,
        );
        let calls = world.fake.calls();
        assert_eq!(calls.len(), 1);
        let bearer = calls[0].authorization.as_deref();
        match version {
            1 => assert_eq!((bearer, &calls[0].body["SAD"]), (None, &json!("grant"))),
            _ => {
                assert_eq!(bearer, Some("Bearer grant"));
                assert!(calls[0].body.get("SAD").is_none());
            }
        }
        // One that is refused is not what the service knows us by.
        world.fake.answer_by(move |call| match &*call.operation {
            "signatures/signHash" => Some((401, String::new())),
            _ => None,
        });
        let session = world.session();
        let key = &world.inventory.keys[0];
        let refused = session.sign(key, KeyAlgorithm::EcdsaDigest, &[7; 32]);
        let Err(TokenError::Refused(why)) = refused else {
            panic!("{refused:?}")
        };
        assert!(why.as_str().contains("`authorization_token`"), "{why}");
    }
}

#[test]
fn refusals_reach_the_program_as_what_they_are() {
    let world = World::new(Fake::new(1, vec![credential(P256, &["implicit"])]), &[]);
    let (session, key) = (world.session(), &world.inventory.keys[0]);
    let sign = || {
        session
            .sign(key, KeyAlgorithm::EcdsaDigest, &[7; 32])
            .unwrap_err()
    };
    let words = |words| json!({"error": "invalid_request", "error_description": words}).to_string();
    for operation in ["credentials/authorize", "signatures/signHash"] {
        world
            .fake
            .answer(operation, 400, &words("Invalid parameter credentialID"));
        assert_eq!(sign(), TokenError::ObjectNotFound);
        world
            .fake
            .answer(operation, 400, &words("The credential is disabled"));
        assert!(matches!(sign(), TokenError::Refused(why) if why.as_str().contains("disabled")));
        world.fake.answer(operation, 429, "");
        assert!(matches!(sign(), TokenError::Refused(_)));
        world.fake.answer(operation, 503, "");
        assert!(matches!(sign(), TokenError::Unreachable(_)));
        world
            .fake
            .answer(operation, 500, "Server got itself in trouble");
        assert!(matches!(sign(), TokenError::Unreachable(_)));
        // Nobody can log in, so that no login helps.
        world.fake.answer(operation, 400, &words("SAD expired"));
        assert!(matches!(sign(), TokenError::Refused(_)));
        world.fake.answer_well();
    }
}
