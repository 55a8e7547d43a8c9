//! What is listed, and what is left out.

use std::sync::atomic::{AtomicUsize, Ordering};

use ctk_token::{Curve, KeyType, PublicKey, Result, TokenError};
use serde_json::{Value as Json, json};

use crate::{Inventory, Service, Settings, Value, base64, certificate::made, http::Response};

use super::world::{Asked, World, configuration, failure, reason, success, text, with_access_key};

fn arn(id: &str) -> String {
    format!("arn:aws:kms:eu-central-1:111122223333:key/{id}")
}

/// A public key that differs by `fill`; nobody asks whether it is on the curve.
fn spki(fill: u8) -> Vec<u8> {
    let point = [&[4][..], &[fill; 64]].concat();
    PublicKey::ec(Curve::P256, &point).unwrap().spki().to_vec()
}

fn public_key(id: &str, fill: u8) -> Json {
    json!({
        "KeyId": arn(id), "PublicKey": base64::encode(&spki(fill)), "KeySpec": "ECC_NIST_P256",
        "KeyUsage": "SIGN_VERIFY", "SigningAlgorithms": ["ECDSA_SHA_256"],
    })
}

fn described(state: &str, spec: &str) -> Json {
    json!({"KeyMetadata": {"KeyId": "x", "Enabled": state == "Enabled", "KeyState": state, "KeySpec": spec,
        "KeyUsage": "SIGN_VERIFY", "MultiRegion": false, "CreationDate": 1.5e9}})
}

fn list(world: &World, settings: Settings) -> Result<Inventory> {
    let service = world.service(&configuration(settings, vec![]));
    let mut steps = 0;
    let listed = service.list(None, &mut |_| steps += 1);
    assert!(steps > 0 || listed.is_err());
    listed
}

fn configured(keys: &[&str]) -> Settings {
    let keys = keys.iter().map(|key| (*key).to_owned()).collect();
    with_access_key([("keys", Value::Texts(keys))])
}

/// An account with six keys on two pages.
fn account(asked: &Asked) -> Result<Response> {
    let body = asked.json();
    let id = body["KeyId"].as_str().unwrap_or_default();
    let id = id.rsplit('/').next().unwrap();
    match (asked.operation(), id) {
        ("ListKeys", _) => match body["Marker"].as_str() {
            None => success(
                &json!({"Keys": [{"KeyId": "good", "KeyArn": arn("good")}, {"KeyId": "aes"}, {"KeyId": "off"}],
                "NextMarker": "page 2", "Truncated": true}),
            ),
            Some("page 2") => success(
                &json!({"Keys": [{"KeyId": "mrk-2"}, {"KeyId": "dying"}, {"KeyId": "good"},
                {"KeyId": "secret"}, {}], "Truncated": false}),
            ),
            other => panic!("{other:?}"),
        },
        ("ListAliases", _) => success(&json!({"Aliases": [
            {"AliasName": "alias/zebra", "TargetKeyId": "good"}, {"AliasName": "alias/code signing", "TargetKeyId": "good"},
            {"AliasName": "alias/aws/ebs", "TargetKeyId": "aes"}, {"AliasName": "alias/unused"}]})),
        ("DescribeKey", "aes") => success(&described("Enabled", "SYMMETRIC_DEFAULT")),
        ("DescribeKey", "off") => success(&described("Disabled", "ECC_NIST_P256")),
        ("DescribeKey", "dying") => success(&described("PendingDeletion", "ECC_NIST_P256")),
        ("DescribeKey", "secret") => failure(400, "AccessDeniedException", "no"),
        ("DescribeKey", _) => success(&described("Enabled", "ECC_NIST_P256")),
        ("GetPublicKey", "good") => success(&public_key("good", 1)),
        ("GetPublicKey", "mrk-2") => success(&public_key("mrk-2", 2)),
        ("GetPublicKey", "secret") => failure(400, "AccessDeniedException", "no"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_account_is_listed_page_by_page() {
    let world = World::new(account);
    let inventory = list(&world, with_access_key([])).unwrap();
    let labels: Vec<_> = inventory.keys.iter().map(|key| &*key.label).collect();
    assert_eq!(labels, ["code signing", "mrk-2"]);
    let facts = &inventory.keys[0].facts;
    assert_eq!(facts.text("key"), Some(&*arn("good")));
    assert_eq!(facts.text("spec"), Some("ECC_NIST_P256"));
    assert_eq!(facts.text("usage"), Some("SIGN_VERIFY"));
    assert_eq!(facts.texts("algorithms"), ["ECDSA_SHA_256"]);
    let left_out = inventory.left_out.join("\n");
    for words in [
        "\"off\" is left out: it is disabled",
        "\"dying\" is left out: it waits for its deletion",
        "\"secret\" is left out: AWS KMS, GetPublicKey",
        "1 symmetric",
    ] {
        assert!(left_out.contains(words), "{left_out}");
    }
    assert_eq!(inventory.left_out.len(), 4);
    for fact in super::super::PROTOCOL.key_facts {
        assert!(facts.0.contains_key(fact.name), "{}", fact.name);
    }
}

#[test]
fn a_list_without_end_ends() {
    static PAGES: AtomicUsize = AtomicUsize::new(0);
    let world = World::new(|asked| match asked.operation() {
        "ListKeys" => {
            let page = PAGES.fetch_add(1, Ordering::Relaxed);
            let keys: Vec<_> = (0..200)
                .map(|n| json!({"KeyId": format!("{page}-{n}")}))
                .collect();
            success(&json!({"Keys": keys, "NextMarker": format!("m{page}"), "Truncated": true}))
        }
        "ListAliases" => success(&json!({"Aliases": [], "NextMarker": "same", "Truncated": true})),
        "DescribeKey" => success(&described("Enabled", "HMAC_256")),
        other => panic!("{other}"),
    });
    let inventory = list(&world, with_access_key([])).unwrap();
    assert!(inventory.keys.is_empty());
    let left_out = inventory.left_out.join("\n");
    assert!(left_out.contains("10000 were looked at"), "{left_out}");
    assert!(left_out.contains("10000 symmetric"), "{left_out}");
    assert_eq!(PAGES.load(Ordering::Relaxed), 50);
    let pages = world
        .operations()
        .iter()
        .filter(|name| *name == "ListAliases")
        .count();
    assert_eq!(pages, 100);
}

#[test]
fn configured_keys_need_no_right_to_list_anything() {
    let world = World::new(
        |asked| match (asked.operation(), asked.json()["KeyId"].as_str()) {
            ("GetPublicKey", Some("alias/code")) => success(&public_key("one", 1)),
            ("GetPublicKey", Some("two")) => success(&public_key("two", 2)),
            ("GetPublicKey", Some("three")) => failure(400, "UnsupportedOperationException", ""),
            ("GetPublicKey", Some("four")) => failure(400, "DisabledException", ""),
            ("GetPublicKey", Some("five")) => failure(400, "NotFoundException", ""),
            ("GetPublicKey", Some("six")) => {
                failure(400, "KMSInvalidStateException", "six is pending deletion.")
            }
            ("ListAliases", _) => failure(400, "AccessDeniedException", ""),
            other => panic!("{other:?}"),
        },
    );
    let keys = ["alias/code", "two", "three", "four", "five", "six"];
    let inventory = list(&world, configured(&keys)).unwrap();
    let labels: Vec<_> = inventory.keys.iter().map(|key| &*key.label).collect();
    assert_eq!(labels, ["code", "two"]);
    // What an alias means today is what is kept.
    assert_eq!(inventory.keys[0].facts.text("key"), Some(&*arn("one")));
    let left_out = inventory.left_out.join("\n");
    for words in [
        "\"three\" is left out: it is symmetric",
        "disabled: enable it",
        "there is none of this name",
        "pending deletion",
    ] {
        assert!(left_out.contains(words), "{left_out}");
    }
    assert_eq!(
        world
            .operations()
            .iter()
            .filter(|name| *name == "ListAliases")
            .count(),
        1
    );
}

#[test]
fn nothing_but_refusals_is_an_error() {
    let world = World::new(|asked| match asked.operation() {
        "ListAliases" => success(&json!({"Aliases": []})),
        _ => failure(400, "AccessDeniedException", ""),
    });
    let error = list(&world, configured(&["one", "two"])).unwrap_err();
    assert!(reason(&error).contains("kms:GetPublicKey"), "{error}");
    let error = list(&world, with_access_key([])).unwrap_err();
    assert!(reason(&error).contains("kms:ListKeys"), "{error}");
    let world = World::new(|_| failure(400, "NotFoundException", ""));
    let error = list(&world, configured(&["alias/none"])).unwrap_err();
    assert!(reason(&error).contains("no key \"alias/none\""), "{error}");
    let world = World::new(|_| Err(TokenError::TimedOut));
    assert_eq!(
        list(&world, configured(&["one"])),
        Err(TokenError::TimedOut)
    );
    let world = World::new(|_| super::world::answer(200, "[]"));
    assert!(matches!(
        list(&world, with_access_key([])),
        Err(TokenError::Corrupted(_))
    ));
}

#[test]
fn keys_are_asked_for_in_their_own_regions() {
    let elsewhere = "arn:aws:kms:us-east-1:111122223333:key/mrk-1";
    let world = World::new(|asked| match asked.operation() {
        "ListAliases" => success(&json!({})),
        _ => success(&public_key("mrk-1", 1)),
    });
    list(&world, configured(&[elsewhere])).unwrap();
    let asked = world.asked.lock();
    let asked = asked
        .iter()
        .find(|asked| asked.operation() == "GetPublicKey")
        .unwrap();
    assert_eq!(asked.host, "kms.us-east-1.amazonaws.com");
    assert!(asked.headers["authorization"].contains("/us-east-1/kms/"));
}

#[test]
fn certificates_find_their_keys() {
    let folder = std::env::temp_dir().join(format!("ctk-kms-{}-certificates", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(folder.join("folder.pem")).unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.join(name), bytes).unwrap();
    let pem = |der: &[u8]| {
        let text = base64::encode(der);
        let lines: Vec<_> = text
            .as_bytes()
            .chunks(64)
            .map(|line| std::str::from_utf8(line).unwrap())
            .collect();
        format!(
            "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
            lines.join("\n")
        )
    };
    let alice = made::certificate("Alice", "250101000000Z", &spki(1));
    let ca = made::certificate("CA", "200101000000Z", &spki(9));
    let bob = made::certificate("Bob", "250101000000Z", &spki(2));
    let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    write(
        "alice.pem",
        format!("words\n{}{key}{}", pem(&alice), pem(&ca)).as_bytes(),
    );
    write("bob.DER", &bob);
    write(
        "broken.crt",
        b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
    );
    write("cut.cer", pem(&alice).replace("-----END", "").as_bytes());
    write("empty.pem", key.as_bytes());
    write("noise.der", &[0x30, 3, 2, 1, 0]);
    write("read.me", b"\x30");
    write(".hidden.pem", b"nothing");

    let world = World::new(account);
    let path =
        |path: &std::path::Path| with_access_key([("certificates", Value::Path(path.to_owned()))]);
    let inventory = list(&world, path(&folder)).unwrap();
    let of = |at: usize| {
        (
            &*inventory.certificates[at].label,
            &inventory.certificates[at].der,
        )
    };
    assert_eq!(of(0), ("code signing", &alice));
    assert_eq!(of(1), ("mrk-2", &bob));
    assert_eq!(of(2), ("CA", &ca));
    assert_eq!(inventory.certificates.len(), 3);
    assert_eq!(
        inventory.certificates[0].identity,
        inventory.keys[0].identity
    );
    assert_eq!(
        inventory.keys[0].subject.as_deref(),
        Some(&*made::name("Alice"))
    );
    let left_out = inventory.left_out.join("\n");
    for words in [
        "broken.crt",
        "cut.cer",
        "empty.pem",
        "folder.pem",
        "noise.der",
    ] {
        assert!(left_out.contains(words), "{words}: {left_out}");
    }
    assert!(
        !left_out.contains("read.me") && !left_out.contains("hidden"),
        "{left_out}"
    );

    let inventory = list(&world, path(&folder.join("bob.DER"))).unwrap();
    assert_eq!(inventory.certificates.len(), 1);
    let error = list(&world, path(&folder.join("absent"))).unwrap_err();
    assert!(reason(&error).contains("absent"), "{error}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn other_kinds_of_keys_tell_what_they_do() {
    let curve = KeyType::Ec(Curve::P256);
    let agreement = ctk_crypto::PrivateKey::generate(curve).unwrap();
    let public = base64::encode(agreement.public_key().spki());
    let world = World::new(move |asked| match asked.operation() {
        "ListAliases" => success(&json!({})),
        // An older service: the old name of the spec, and no list of algorithms.
        _ => success(
            &json!({"PublicKey": public, "CustomerMasterKeySpec": "ECC_NIST_P256", "KeyUsage": "KEY_AGREEMENT"}),
        ),
    });
    let inventory = list(&world, configured(&["id-1"])).unwrap();
    let facts = &inventory.keys[0].facts;
    assert_eq!(facts.text("key"), Some("id-1"));
    assert_eq!(facts.text("spec"), Some("ECC_NIST_P256"));
    assert_eq!(facts.texts("algorithms"), ["ECDH"]);
    let settings = with_access_key([("region", text("eu-west-1"))]);
    let service = world.service(&configuration(settings, vec![]));
    let ecdh = ctk_token::KeyAlgorithm::Ecdh;
    assert!(service.supports(&inventory.keys[0], ctk_token::Operation::KeyExchange, ecdh));
}
