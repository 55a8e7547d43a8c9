//! Tokens of a KMS keep every rule of the contract: against localstack, which is not ours and computes correctly, with every
//! kind of key that it has; and credentials are taken and refused by moto, which checks them.

mod support;

use std::collections::BTreeSet;

use ctk_network::{Configuration, Settings, Value};
use ctk_services::{Access, Account, Authority, DecryptingKms, Kms, Moto, Proxy};
use ctk_token::TokenError;
use support::{
    Fixture, by_label, empty, list, listed, openssl_program, secret, settings, text, texts,
};

const NO_SECRET: &str = "the keys need no secret";

/// The rules that no token of a KMS can break.
const NOT_APPLICABLE: [(&str, &str); 8] = [
    ("a wrong secret changes nothing", NO_SECRET),
    ("an abandoned authentication changes nothing", NO_SECRET),
    // localstack has no such keys.
    (
        "no two ML-DSA signatures are the same",
        "no key is for ML-DSA",
    ),
    ("the end of an authentication is its end", NO_SECRET),
    ("sessions do not share authentication", NO_SECRET),
    (
        "a login that races its end is whole or not at all",
        NO_SECRET,
    ),
    (
        "a new secret replaces the old one",
        "the secret cannot be changed",
    ),
    (
        "a new secret of the wrong length is refused",
        "the secret cannot be changed",
    ),
];

/// What a person configures for an account.
fn of(account: &Account) -> Settings {
    settings([
        ("region", text(Account::REGION)),
        ("endpoints", texts(&[&Kms::shared().url()])),
        ("access_key_id", text(&account.access_key_id)),
        ("secret_access_key", secret(Account::SECRET_ACCESS_KEY)),
    ])
}

fn with(mut settings: Settings, name: &str, value: Value) -> Settings {
    settings.0.insert(name.to_owned(), value);
    settings
}

#[test]
fn every_kind_of_key_conforms() {
    let account = Kms::shared().account();
    let keys = account.create_every_key();
    let proxy = Proxy::start(DecryptingKms::new(Kms::shared()));
    let settings = with(of(&account), "endpoints", texts(&[&proxy.url()]));
    let mut token = listed("aws-kms", settings);
    assert_eq!(token.contents.keys.len(), keys.len());
    assert_eq!(token.contents.left_out, [""; 0]);
    // localstack lists RSAES_OAEP_SHA_1 and decrypts with SHA-256 all the same.
    for key in &mut token.contents.keys {
        if let Some(Value::Texts(algorithms)) = key.facts.0.get_mut("algorithms") {
            algorithms.retain(|algorithm| algorithm != "RSAES_OAEP_SHA_1");
        }
    }
    let outcomes = Fixture::free(vec![token]).not_applicable();
    assert_eq!(outcomes, NOT_APPLICABLE);
}

#[test]
fn an_account_is_listed_with_its_aliases_and_certificates() {
    let account = Kms::shared().account();
    let authority = Authority::new();
    let signing = account.create_key("RSA_2048", "SIGN_VERIFY");
    let nameless = account.create_key("ECC_NIST_P521", "SIGN_VERIFY");
    let agreeing = account.create_key("ECC_NIST_P256", "KEY_AGREEMENT");
    let disabled = account.create_key("ECC_NIST_P256", "SIGN_VERIFY");
    account.create_alias("release", &signing);
    account.create_alias("agreement", &agreeing);
    account.create_alias("off", &disabled);
    account.disable(&disabled);
    authority.certify_into_folder("release", &signing.spki);
    let folder = authority.certify_into_folder("nameless", &nameless.spki);
    // Somebody else's certificate is there too.
    let other = Kms::shared()
        .account()
        .create_key("ECC_NIST_P256", "SIGN_VERIFY");
    authority.certify_into_folder("other", &other.spki);

    let settings = with(of(&account), "certificates", Value::Path(folder));
    let inventory = list(&empty("aws-kms", settings)).expect("a list");
    let labels: BTreeSet<_> = by_label(&inventory)
        .into_keys()
        .map(str::to_owned)
        .collect();
    assert_eq!(labels.len(), 3, "{labels:?}");
    for (key, name, has_certificate) in [
        (&signing, Some("release"), true),
        (&nameless, None, true),
        (&agreeing, Some("agreement"), false),
    ] {
        let record = inventory.keys.iter().find(|record| record.spki == key.spki);
        let record = record.expect("a key");
        let label = record.label.as_str();
        assert!(name.is_none_or(|name| label.contains(name)), "{label}");
        let named = record.facts.text("key").expect("its name");
        assert!(named == key.arn || named == key.id, "{named}");
        let certificate = inventory
            .certificates
            .iter()
            .find(|certificate| certificate.identity == record.identity);
        assert_eq!(certificate.is_some(), has_certificate, "{label}");
        if let Some(certificate) = certificate {
            assert_eq!(openssl_program::spki_of(&certificate.der), key.spki);
        }
    }
    assert!(
        inventory
            .left_out
            .iter()
            .any(|why| why.contains("off") || why.contains(&disabled.id)),
        "{:?}",
        inventory.left_out
    );
}

#[test]
fn only_the_keys_that_are_named_are_asked_for() {
    let account = Kms::shared().account();
    let by_alias = account.create_key("ECC_NIST_P256", "SIGN_VERIFY");
    let by_arn = account.create_key("ECC_NIST_P384", "SIGN_VERIFY");
    let by_id = account.create_key("ECC_NIST_P521", "SIGN_VERIFY");
    account.create_key("ECC_SECG_P256K1", "SIGN_VERIFY");
    account.create_alias("one", &by_alias);
    let names = texts(&["alias/one", &by_arn.arn, &by_id.id]);
    let token = listed("aws-kms", with(of(&account), "keys", names));
    let found: BTreeSet<_> = token
        .contents
        .keys
        .iter()
        .map(|key| key.spki.clone())
        .collect();
    let wanted = [by_alias, by_arn, by_id].map(|key| key.spki);
    assert_eq!(found, wanted.into());
    assert_eq!(Fixture::free(vec![token]).not_applicable(), NOT_APPLICABLE);
}

/// A token of a user of moto.
fn user(moto: &Moto, access: &Access, keys: &[&str]) -> Configuration {
    let mut settings = settings([
        ("region", text(Moto::REGION)),
        ("endpoints", texts(&[&moto.url()])),
        ("access_key_id", text(&access.access_key_id)),
        ("secret_access_key", secret(&access.secret_access_key)),
        ("keys", texts(keys)),
    ]);
    if let Some(token) = &access.session_token {
        settings = with(settings, "session_token", secret(token));
    }
    empty("aws-kms", settings)
}

#[test]
fn credentials_are_taken_and_refused() {
    let moto = Moto::start();
    let all = list(&user(&moto, &moto.allowed, &[])).expect("the right credentials");
    assert_eq!(all.keys.len(), 1);
    let named =
        list(&user(&moto, &moto.signer, &[moto.key()])).expect("enough for a key that is named");
    assert_eq!(named.keys.len(), 1);
    assert_eq!(named.keys[0].spki, all.keys[0].spki);

    let temporary = list(&user(&moto, &moto.temporary, &[])).expect("credentials for an hour");
    assert_eq!(temporary.keys.len(), 1);

    let refused = |access: &Access, keys: &[&str], says: &str| {
        let error = list(&user(&moto, access, keys)).expect_err("refused");
        let TokenError::Refused(reason) = &error else {
            panic!("{says}: {error:?}");
        };
        assert!(reason.as_str().contains(says), "{reason:?}");
        assert!(!reason.as_str().contains(&access.secret_access_key));
    };
    refused(&moto.signer, &[], "ListKeys");
    refused(&moto.forbidden, &[moto.key()], "allow kms:GetPublicKey");
    let wrong_secret = Access {
        secret_access_key: moto.forbidden.secret_access_key.clone(),
        ..moto.allowed.clone()
    };
    refused(&wrong_secret, &[], "SignatureDoesNotMatch");
    let without_token = Access {
        session_token: None,
        ..moto.temporary.clone()
    };
    refused(&without_token, &[], "InvalidClientTokenId");
    let unknown = Access {
        access_key_id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
        ..moto.allowed.clone()
    };
    refused(&unknown, &[], "InvalidClientTokenId");
}
