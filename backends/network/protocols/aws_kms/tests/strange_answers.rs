//! Answers that nobody sends on purpose: those of an honest service, damaged on the way. Whatever comes, there is a result
//! and no panic, no secret is told, and no wrong signature passes.

use std::sync::OnceLock;

use ctk_token::{
    Curve, Digest, KeyAlgorithm as A, KeyType, Oaep, Operation, PublicKey, PublicKeyMaterial,
    Reason, Result, TokenError,
};
use parking_lot::Mutex;
use serde_json::json;
use zeroize::Zeroizing;

use crate::{
    Inventory, KeyRecord, Service, base64,
    http::Response,
    walk::{Turns, walk},
};

use super::world::{
    ARN, Asked, Held, World, answer, blob, configuration, failure, settings, success, surroundings,
    text, with_access_key,
};

/// The most requests that one use takes: two lists of many pages, and each is tried a few times.
const MAX_REQUESTS: usize = 1000;
/// Of the access key.
const SECRET: &str = "wJalrXUtnFEMI";

/// The keys of the account, by the ends of their ARNs.
fn keys() -> &'static [(&'static str, &'static Held)] {
    static KEYS: OnceLock<Vec<(&str, &Held)>> = OnceLock::new();
    let (rsa, ec) = (KeyType::Rsa { bits: 2048 }, KeyType::Ec(Curve::P256));
    let make = |key_type, usage, algorithm| -> &Held {
        Box::leak(Box::new(Held::new(key_type, usage, &[algorithm])))
    };
    KEYS.get_or_init(|| {
        vec![
            ("rsa", Held::rsa()),
            ("ec", make(ec, "SIGN_VERIFY", "ECDSA_SHA_256")),
            (
                "decrypt",
                make(rsa, "ENCRYPT_DECRYPT", "RSAES_OAEP_SHA_256"),
            ),
            ("agree", make(ec, "KEY_AGREEMENT", "ECDH")),
        ]
    })
}

fn arn(name: &str) -> String {
    format!("arn:aws:kms:eu-central-1:111122223333:key/{name}")
}

/// An account with four keys on two pages.
fn honest(asked: &Asked) -> Result<Response> {
    let body = asked.json();
    let id = body["KeyId"].as_str().unwrap_or_default();
    let found = keys().iter().find(|(name, _)| id.ends_with(name));
    let listed = |names: &[&str]| {
        let all = names.iter();
        let all = all.map(|name| json!({"KeyId": name, "KeyArn": arn(name)}));
        json!(all.collect::<Vec<_>>())
    };
    let (operation, found) = match (asked.operation(), found) {
        ("ListKeys", _) => match body["Marker"].as_str() {
            None => {
                return success(
                    &json!({"Keys": listed(&["rsa", "ec"]), "NextMarker": "page 2",
                    "Truncated": true}),
                );
            }
            Some(_) => {
                return success(
                    &json!({"Keys": listed(&["decrypt", "agree"]), "Truncated": false}),
                );
            }
        },
        ("ListAliases", _) => {
            return success(
                &json!({"Aliases": [{"AliasName": "alias/x", "TargetKeyId": "ec"}],
                "Truncated": false}),
            );
        }
        (_, None) => return failure(400, "NotFoundException", "there is no such key"),
        (operation, Some((name, held))) => (operation, (name, held)),
    };
    let (name, held) = found;
    let spec = match held.private.public_key().key_type() {
        KeyType::Ec(_) => "ECC_NIST_P256",
        _ => "RSA_2048",
    };
    let names = match held.usage {
        "SIGN_VERIFY" => "SigningAlgorithms",
        "ENCRYPT_DECRYPT" => "EncryptionAlgorithms",
        _ => "KeyAgreementAlgorithms",
    };
    match operation {
        "DescribeKey" => success(&json!({"KeyMetadata": {"KeyId": name, "Arn": arn(name),
            "Enabled": true, "KeyState": "Enabled", "KeySpec": spec, "KeyUsage": held.usage,
            "CreationDate": 1.5e9}})),
        "GetPublicKey" => success(
            &json!({"KeyId": arn(name), "PublicKey": base64::encode(held.spki()),
            "KeySpec": spec, "KeyUsage": held.usage, names: held.algorithms}),
        ),
        "Sign" => {
            let how = match *name {
                "rsa" => A::RsaPkcs1Digest(Digest::Sha256),
                _ => A::EcdsaDigest,
            };
            let signature = held.sign(how, &blob(asked, "Message"));
            success(&json!({"KeyId": arn(name), "Signature": base64::encode(&signature)}))
        }
        "Decrypt" => success(&json!({"KeyId": arn(name), "Plaintext": base64::encode(b"plain")})),
        "DeriveSharedSecret" => {
            success(&json!({"KeyId": arn(name), "SharedSecret": base64::encode(&[7; 32])}))
        }
        other => panic!("{other}"),
    }
}

/// What other services and what stands before them say.
const SAMPLES: &[&str] = &[
    r#"{"__type":"a#ThrottlingException:b","message":"(20150830T123600Z - 5 min.)"}"#,
    r#"{"__type":"InvalidSignatureException","message":"Signature expired: 20150830T120000Z is now earlier than 20150830T123600Z (20150830T124100Z - 5 min.)"}"#,
    r#"{"__type":"AccessDeniedException","Message":"User: arn is not authorized"}"#,
    r#"{"__type":"NotFoundException","message":"Key 'x' does not exist"}"#,
    r#"{"__type":"ExpiredTokenException"}"#,
    r#"{"Keys":[{"KeyId":"a","KeyArn":"arn:aws:kms:us-east-1:1:key/a"},{"KeyId":"a"}],"NextMarker":"m","Truncated":true}"#,
    "<ErrorResponse><Error><Code>AccessDenied</Code><Message>m</Message></Error></ErrorResponse>",
];

/// Does harm to an answer, once in `rarely` times.
fn harmed(turns: &mut Turns, rarely: usize, honest: Result<Response>) -> Result<Response> {
    let mut response = honest?;
    if !turns.one_in(rarely) {
        return Ok(response);
    }
    let status = [200, 204, 302, 400, 400, 403, 404, 429, 500, 503];
    match turns.below(8) {
        0 => response.status = turns.one_of(&status),
        1 => {
            let why = Reason::new("test");
            let errors = [
                TokenError::TimedOut,
                TokenError::Unreachable(why.clone()),
                TokenError::Corrupted(why),
            ];
            return Err(turns.one_of(&errors));
        }
        2 | 3 => {
            response.status = turns.one_of(&status);
            let sample = turns.one_of(SAMPLES);
            response.body = Zeroizing::new(turns.damaged_json(sample.as_bytes()));
        }
        _ => response.body = Zeroizing::new(turns.damaged_json(&response.body)),
    }
    Ok(response)
}

/// How often something worked, so that it is sure that everything was reached.
#[derive(Debug, Default)]
struct Reached {
    lists: usize,
    lists_changed: usize,
    operations: usize,
    errors: usize,
}

#[test]
fn no_answer_is_too_strange() {
    let stored = with_access_key([]);
    let stored = World::new(honest).service(&configuration(stored, vec![]));
    let stored = stored.list(None, &mut |_| {}).unwrap();
    assert_eq!(stored.keys.len(), keys().len());
    let mut reached = Reached::default();
    let steps = walk(300, |turns| {
        let rarely = turns.one_of(&[1, 5, 20, 50]);
        let on_the_way = Mutex::new(turns.branch());
        let world = World::new(move |asked| harmed(&mut on_the_way.lock(), rarely, honest(asked)));
        use_up(&world, &stored, turns, &mut reached);
        let requests = world.asked.lock().len();
        assert!(requests < MAX_REQUESTS, "{requests} requests");
    });
    println!("{reached:?}");
    let Reached {
        lists,
        lists_changed,
        operations,
        errors,
    } = reached;
    let least = [lists, operations, errors].into_iter().min();
    assert!(least > Some(steps / 50), "not everything was tried");
    // Many of its answers have to come through.
    assert!(lists_changed > steps / 300, "no list has changed");
}

/// Lists, and does everything with what is listed or was stored.
fn use_up(world: &World, stored: &Inventory, turns: &mut Turns, reached: &mut Reached) {
    let configuration = configuration(with_access_key([]), stored.keys.clone());
    let service = world.service(&configuration);
    let mut keys = stored.keys.clone();
    if turns.one_in(2)
        && let Some(listed) = told(service.list(None, &mut is_told), reached)
    {
        is_bounded(&listed);
        reached.lists += 1;
        reached.lists_changed += usize::from(listed != *stored);
        keys = listed.keys;
    }
    if turns.one_in(4) {
        service.check(&mut |finding| match &finding.result {
            Ok(text) => text.lines().for_each(is_told),
            Err(why) => why.as_str().lines().for_each(is_told),
        });
    }
    let session = service.clone().open_session();
    let point = peer_point();
    let oaep = A::RsaOaep(Oaep {
        digest: Digest::Sha256,
        mgf: Digest::Sha256,
    });
    for key in &keys {
        let supports = |operation, how| service.supports(key, operation, how);
        for how in [A::RsaPkcs1Digest(Digest::Sha256), A::EcdsaDigest] {
            if supports(Operation::Sign, how)
                && let Some(signature) = told(session.sign(key, how, &[7; 32]), reached)
            {
                is_signature(key, how, &signature);
                reached.operations += 1;
            }
        }
        if supports(Operation::Decrypt, oaep)
            && let Some(plaintext) = told(session.decrypt(key, oaep, &[7; 256]), reached)
        {
            assert!(plaintext.len() < 256);
            reached.operations += 1;
        }
        if supports(Operation::KeyExchange, A::Ecdh)
            && let Some(secret) = told(session.key_exchange(key, A::Ecdh, &point), reached)
        {
            assert_eq!(secret.len(), 32);
            reached.operations += 1;
        }
    }
}

fn peer_point() -> Vec<u8> {
    let (_, ec) = &keys()[1];
    match ec.private.public_key().material() {
        PublicKeyMaterial::Ec { point, .. } => point.to_vec(),
        _ => panic!("no EC key"),
    }
}

#[track_caller]
fn is_signature(key: &KeyRecord, how: A, signature: &[u8]) {
    let public_key = PublicKey::from_spki(&key.spki).unwrap();
    let is_right = ctk_crypto::verify(&public_key, how, &[7; 32], signature);
    assert_eq!(is_right, Ok(true));
}

/// What an operation has given; of its error, that a person can be told.
fn told<T>(result: Result<T>, reached: &mut Reached) -> Option<T> {
    result
        .map_err(|error| {
            reached.errors += 1;
            is_told(&error.to_string());
        })
        .ok()
}

/// One line, not long, without a secret.
#[track_caller]
fn is_told(text: &str) {
    is_line(text);
    assert!(!text.contains(SECRET), "{text:?}");
}

#[track_caller]
fn is_line(text: &str) {
    assert!(text.len() < 2000, "{} bytes: {text:?}", text.len());
    assert!(!text.chars().any(char::is_control), "{text:?}");
}

fn is_bounded(inventory: &Inventory) {
    assert!(inventory.keys.len() <= 100);
    assert!(inventory.left_out.len() <= 20_000);
    inventory.left_out.iter().for_each(|why| is_told(why));
    for key in &inventory.keys {
        is_told(&key.label);
        assert!(key.spki.len() < 3000);
    }
}

#[test]
fn no_length_or_depth_is_too_strange() {
    let record = Held::rsa().record();
    for body in [
        b"[".repeat(100_000),
        b"{\"Keys\":".repeat(50_000),
        [
            &b"{\"Keys\":[{\"KeyId\":\""[..],
            &b"x".repeat(900_000),
            b"\"}]}",
        ]
        .concat(),
        [&b"{\"a\":1e"[..], &b"9".repeat(10_000), b"}"].concat(),
    ] {
        for status in [200, 400, 500] {
            let body = body.clone();
            let world = World::new(move |_| answer(status, body.clone()));
            let service = world.service(&configuration(with_access_key([]), vec![record.clone()]));
            let session = service.clone().open_session();
            let how = A::RsaPkcs1Digest(Digest::Sha256);
            assert!(session.sign(&record, how, &[7; 32]).is_err());
            if let Err(error) = service.list(None, &mut |_| {}) {
                is_told(&error.to_string());
            }
            service.check(&mut |_| {});
        }
    }
}

#[test]
fn no_metadata_are_too_strange() {
    let good = json!({"Code": "Success", "AccessKeyId": "A", "SecretAccessKey": SECRET,
        "Token": "t", "Expiration": "2015-08-30T18:36:00Z"})
    .to_string();
    let (mut known, mut unknown) = (0, 0);
    let steps = walk(2000, |turns| {
        let sample = turns.one_of(&[&good, &good, SAMPLES[0], SAMPLES[6], ARN]);
        let body = turns.damaged_json(sample.as_bytes());
        // Whoever tells secrets by another name has them told.
        let parts: Vec<_> = body.split(|byte| *byte == b':').collect();
        let in_place = parts.windows(2).all(|pair| {
            let has_secret = pair[1]
                .windows(SECRET.len())
                .any(|part| part == SECRET.as_bytes());
            !has_secret || pair[0].ends_with(b"\"SecretAccessKey\"")
        });
        let role = match turns.one_in(4) {
            true => turns.damaged(
                b"role",
                &[b"\n", b"/", b"\0", b"\xff", b"..", b"%", b"<html>"],
            ),
            false => b"role".to_vec(),
        };
        let world = World::new(
            move |asked| match (asked.local, asked.line.starts_with("Put")) {
                (true, true) => answer(200, "token"),
                (true, false) if asked.line.ends_with("credentials/") => answer(200, role.clone()),
                (true, false) => answer(200, body.clone()),
                (false, _) => failure(400, "ExpiredTokenException", ""),
            },
        );
        let mut configuration = configuration(settings([("region", text("eu-west-1"))]), vec![]);
        configuration.surroundings = surroundings(|_| None);
        let service = world.service(&configuration);
        let error = service.list(None, &mut |_| {}).unwrap_err();
        match in_place {
            true => is_told(&error.to_string()),
            false => is_line(&error.to_string()),
        }
        let asked = world.asked.lock();
        match asked.iter().any(|asked| !asked.local) {
            true => known += 1,
            false => unknown += 1,
        }
        assert!(asked.len() < 100, "{} requests", asked.len());
    });
    assert!(
        known > steps / 50 && unknown > steps / 50,
        "{known} {unknown}"
    );
}
