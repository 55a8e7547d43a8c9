//! Tokens of a CSC service keep every rule of the contract: against certomancer-csc, which is not ours, as it is, and with the
//! rules of real services before it.

mod support;

use std::sync::Arc;

use ctk_network::{Configuration, Settings, Value};
use ctk_services::{
    Backend, Csc, Forward, Proxy, Scal,
    csc::{Authentication, Credential, Rules, Version0, Version2},
};
use support::{
    Fixture, by_label, empty, list, listed, openssl_program, secret, settings, text, texts,
};

const PIN: &str = "27182818";
const NO_SECRET: &str = "the keys need no secret";
const EACH_TIME: &str = "each use of the key needs a secret";
const NOT_CHANGED: &str = "the secret cannot be changed";

/// The rules that no token of a service can break.
const NEVER: [(&str, &str); 3] = [
    (
        "no two ML-DSA signatures are the same",
        "no key is for ML-DSA",
    ),
    ("a new secret replaces the old one", NOT_CHANGED),
    ("a new secret of the wrong length is refused", NOT_CHANGED),
];

/// Those that no token without PIN can break, too.
fn without_pin() -> Vec<(&'static str, &'static str)> {
    let [ml_dsa, replaces, lengths] = NEVER;
    vec![
        ("a wrong secret changes nothing", NO_SECRET),
        ("an abandoned authentication changes nothing", NO_SECRET),
        ml_dsa,
        ("the end of an authentication is its end", NO_SECRET),
        ("sessions do not share authentication", NO_SECRET),
        (
            "a login that races its end is whole or not at all",
            NO_SECRET,
        ),
        replaces,
        lengths,
    ]
}

/// Those that no token can break whose PIN is wanted each time, too.
fn each_time() -> Vec<(&'static str, &'static str)> {
    let [ml_dsa, replaces, lengths] = NEVER;
    vec![
        ml_dsa,
        (
            "a login that races its end is whole or not at all",
            EACH_TIME,
        ),
        ("several threads sign", EACH_TIME),
        replaces,
        lengths,
    ]
}

/// What a person configures for a service at this URL that wants to know nothing of us.
fn at(url: &str) -> Settings {
    settings([("endpoints", texts(&[url]))])
}

/// The rules before the server that the tests share.
fn rules(credential: Credential) -> Arc<Rules> {
    let rules = Rules::new(Forward::to(Csc::shared().port()));
    rules.list_only(&["t/rsa", "t/p256", "t/p384", "t/p521"]);
    rules.all(credential);
    Arc::new(rules)
}

/// A token with one PIN for all of its credentials.
fn with_pin(url: &str) -> Configuration {
    let mut settings = at(url);
    let shared = Value::Flag(true);
    settings.0.insert("shared_pin".to_owned(), shared);
    listed("csc", settings)
}

fn conforms_with_pin(
    backend: impl Backend + 'static,
    version: &str,
) -> Vec<(&'static str, &'static str)> {
    let proxy = Proxy::start(backend);
    let token = with_pin(&format!("{}/csc/{version}", proxy.url()));
    assert_eq!(token.contents.keys.len(), 4);
    let fixture = Fixture {
        pin: Some(PIN),
        ..Fixture::free(vec![token])
    };
    fixture.not_applicable()
}

#[test]
fn a_service_is_listed_as_it_is() {
    let csc = Csc::shared();
    let inventory = list(&empty("csc", at(&csc.url()))).expect("a list");
    let keys = by_label(&inventory);
    assert_eq!(keys.len(), Csc::CREDENTIALS.len(), "{:?}", keys.keys());
    for name in Csc::CREDENTIALS {
        let chain = csc.chain(name);
        let leaf = &chain[0];
        let spki = openssl_program::spki_of(leaf);
        let key = inventory.keys.iter().find(|key| key.spki == spki);
        let key = key.unwrap_or_else(|| panic!("no key {name}"));
        let certificate = inventory
            .certificates
            .iter()
            .find(|certificate| certificate.identity == key.identity)
            .unwrap_or_else(|| panic!("no certificate of {name}"));
        assert_eq!(&certificate.der, leaf, "{name}");
        assert_eq!(key.facts.text("credential"), Some(name));
        assert!(openssl_program::certificate_is_of(
            leaf,
            &csc.chain("t/root")[0]
        ));
    }
    let disabled = openssl_program::spki_of(&csc.chain(Csc::DISABLED)[0]);
    assert!(!inventory.keys.iter().any(|key| key.spki == disabled));
    assert!(
        inventory
            .left_out
            .iter()
            .any(|why| why.contains(Csc::DISABLED)),
        "{:?}",
        inventory.left_out
    );
}

#[test]
fn credentials_without_pin_conform() {
    let token = listed("csc", at(&Csc::shared().url()));
    assert_eq!(Fixture::free(vec![token]).not_applicable(), without_pin());
}

#[test]
fn credentials_without_pin_conform_where_hashes_are_bound() {
    let csc = Csc::start(Scal::Two);
    let token = listed("csc", at(&csc.url()));
    assert_eq!(Fixture::free(vec![token]).not_applicable(), without_pin());
}

#[test]
fn a_pin_for_many_signatures_conforms() {
    let credential = Credential {
        multisign: 1000,
        ..Credential::with_pin(PIN)
    };
    assert_eq!(conforms_with_pin(rules(credential), "v1"), NEVER);
}

#[test]
fn a_pin_for_each_signature_conforms() {
    let credential = Credential {
        hashes_are_bound: true,
        ..Credential::with_pin(PIN)
    };
    assert_eq!(conforms_with_pin(rules(credential), "v1"), each_time());
}

#[test]
fn version_2_conforms() {
    let credential = Credential {
        multisign: 1000,
        ..Credential::with_pin(PIN)
    };
    let version2 = Version2::new(rules(credential));
    assert_eq!(conforms_with_pin(version2, "v2"), NEVER);
    let credential = Credential {
        hashes_are_bound: true,
        ..Credential::with_pin(PIN)
    };
    let version2 = Version2::new(rules(credential));
    assert_eq!(conforms_with_pin(version2, "v2"), each_time());
}

#[test]
fn version_0_conforms_with_a_login_by_name_and_password() {
    let rules = rules(Credential::default());
    rules.authentication(Authentication::Password {
        client: "app".to_owned(),
        user: "somebody".to_owned(),
        password: "sea & sand+".to_owned(),
    });
    let proxy = Proxy::start(Version0::new(Arc::clone(&rules)));
    let url = format!("{}/csc/v0", proxy.url());
    let token = listed(
        "csc",
        settings([
            ("endpoints", texts(&[&url])),
            ("authentication", text("oauth2-password")),
            ("client_id", text("app")),
            ("user", text("somebody")),
            ("password", secret("sea & sand+")),
            ("token_url", text(&format!("{}/oauth2/token", proxy.url()))),
        ]),
    );
    assert_eq!(Fixture::free(vec![token]).not_applicable(), without_pin());
    assert!(rules.bearers_issued() > 0);
}
