//! What the tests against real servers share: tokens of a server, and the openssl program to check what it signs.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking; not every test program uses all of it"
)]

pub mod beds;
pub mod openssl_program;
pub mod signer;

use std::{collections::BTreeMap, ffi::OsString, sync::Arc};

use ctk_crypto::PrivateKey;
use ctk_network::{
    Configuration, Driver, Inventory, KeyRecord, PROTOCOLS, Protocol, Secret, Settings,
    Surroundings, Value,
};
use ctk_token::{
    KeyAlgorithm, PublicKey, PublicKeyMaterial, Reason, Result, TokenDriver, TokenError,
    conformance,
};
use zeroize::Zeroizing;

/// The row of a protocol.
pub fn protocol(name: &str) -> &'static Protocol {
    let found = PROTOCOLS.iter().find(|protocol| protocol.name == name);
    found.unwrap_or_else(|| panic!("no protocol {name}"))
}

/// Settings as a person writes them.
pub fn settings<const N: usize>(rows: [(&str, Value); N]) -> Settings {
    Settings(
        rows.into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}

/// A text.
pub fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

/// A list of texts.
pub fn texts(values: &[&str]) -> Value {
    Value::Texts(values.iter().map(|&value| value.to_owned()).collect())
}

/// A secret that is always the same.
pub fn secret(value: &str) -> Value {
    let value = value.to_owned();
    let read = move |_| Ok(Zeroizing::new(value.clone().into_bytes()));
    Value::Secret(Secret::new("the test", read))
}

/// A token with these settings that holds nothing yet.
pub fn empty(protocol_name: &str, settings: Settings) -> Configuration {
    Configuration {
        name: "token".to_owned(),
        label: String::new(),
        serial_number: "0001".to_owned(),
        removable: false,
        protocol: protocol(protocol_name),
        settings,
        contents: Inventory::default(),
        surroundings: Surroundings {
            home: None,
            variable: no_variable,
            run: Arc::new(|_, _| Err(TokenError::Unreachable(Reason::new("commands are off")))),
        },
    }
}

fn no_variable(_: &str) -> Option<OsString> {
    None
}

/// Asks the service of a token what there is.
pub fn list(configuration: &Configuration) -> Result<Inventory> {
    (configuration.protocol.open)(configuration).list(None, &mut |_| {})
}

/// A token with these settings that holds what its service lists.
#[track_caller]
pub fn listed(protocol_name: &str, settings: Settings) -> Configuration {
    let mut configuration = empty(protocol_name, settings);
    configuration.contents = list(&configuration).expect("a list");
    configuration
}

/// The keys of an inventory by their labels.
pub fn by_label(inventory: &Inventory) -> BTreeMap<&str, &KeyRecord> {
    let keys = inventory.keys.iter();
    keys.map(|key| (key.label.as_str(), key)).collect()
}

/// What the contract's conformance suite needs of tokens whose signatures the openssl program checks.
pub struct Fixture {
    /// The tokens.
    pub tokens: Vec<Configuration>,
    /// What they are logged in to with.
    pub pin: Option<&'static str>,
    /// Told before each driver is made.
    pub reset: Box<dyn Fn()>,
}

impl Fixture {
    /// Tokens without PIN.
    pub fn free(tokens: Vec<Configuration>) -> Self {
        Self {
            tokens,
            pin: None,
            reset: Box::new(|| {}),
        }
    }

    /// Runs the suite; the rules that there was nothing to hold to.
    pub fn not_applicable(&self) -> Vec<(&'static str, &'static str)> {
        let outcomes = conformance::run(self);
        assert_eq!(outcomes.len(), conformance::RULES);
        outcomes
            .iter()
            .filter_map(|outcome| outcome.not_applicable.map(|why| (outcome.rule, why)))
            .collect()
    }
}

impl conformance::Fixture for Fixture {
    fn driver(&self) -> Box<dyn TokenDriver> {
        (self.reset)();
        let protocol = self.tokens[0].protocol;
        Box::new(Driver::new(protocol, self.tokens.clone()))
    }

    fn pin(&self) -> Option<&[u8]> {
        self.pin.map(str::as_bytes)
    }

    fn wrong_pin(&self) -> &[u8] {
        b"99999999"
    }

    fn verify(&self, key: &PublicKey, how: KeyAlgorithm, input: &[u8], signature: &[u8]) -> bool {
        openssl_program::verifies(key.spki(), how, input, signature)
    }

    fn encrypt(&self, key: &PublicKey, how: KeyAlgorithm, plaintext: &[u8]) -> Option<Vec<u8>> {
        openssl_program::encrypted(key.spki(), how, plaintext)
    }

    fn peer(&self, key: &PublicKey, how: KeyAlgorithm) -> Option<(Vec<u8>, Vec<u8>)> {
        let point = |key: &PublicKey| match key.material() {
            PublicKeyMaterial::Ec { point, .. } => point.to_vec(),
            _ => panic!("services agree on curves only"),
        };
        let other = PrivateKey::generate(key.key_type()).expect("a key");
        let mut secret = vec![0; key.shared_secret_len()];
        other
            .key_exchange(how, &point(key), &mut secret)
            .expect("a secret");
        Some((point(other.public_key()), secret))
    }
}
