//! The list of drivers: a kind of key store is one row here, behind its feature.

use std::sync::{Arc, LazyLock};

use ctk_token::TokenDriver;

use crate::{
    Environment,
    config::{CardsConfig, TokenConfig},
};

/// A driver of configured tokens as the configuration and the host know it.
pub(crate) struct Row {
    /// What `driver =` says.
    pub(crate) name: &'static str,
    /// The keys of a token's table that only this driver has.
    pub(crate) keys: Vec<Key>,
    /// The keys of a `[[token.key]]` table that only this driver has.
    pub(crate) key_facts: Vec<Key>,
    /// Whether its key stores are services: they may lock a secret without having said how many tries are left, and only
    /// there it is changed.
    pub(crate) is_service: bool,
    /// Makes the driver of these tokens, in configured order; each becomes the slot whose id is its
    /// name. `None` if there is nothing for it to do. Touches no key store.
    pub(crate) open: Open,
}

type Open =
    Box<dyn Fn(&[&TokenConfig], &Environment) -> Option<Arc<dyn TokenDriver>> + Send + Sync>;

/// A key that only one driver has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) required: bool,
}

/// What a key's value is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[allow(dead_code, reason = "which kinds occur depends on the features")]
pub(crate) enum Kind {
    /// A path, made absolute.
    Path,
    /// Any text.
    Text,
    /// A list of texts.
    Texts,
    /// True or false.
    Flag,
    /// A whole number.
    Number,
    /// Where a secret is read from.
    Secret,
}

/// All drivers of this build that need a token's table to have something to do.
pub(crate) fn rows() -> &'static [Row] {
    static ROWS: LazyLock<Vec<Row>> =
        LazyLock::new(|| KINDS.iter().flat_map(|rows| rows()).collect());
    &ROWS
}

/// The rows of each kind of key store.
const KINDS: &[fn() -> Vec<Row>] = &[
    #[cfg(feature = "pkcs12")]
    pkcs12::rows,
    #[cfg(feature = "network")]
    crate::network::rows,
];

/// The driver of the cards in this machine's readers, which need no configuration. It asks its
/// service when it is first asked for slots. `None` if this build has none.
pub(crate) fn cards(config: &CardsConfig) -> Option<Arc<dyn TokenDriver>> {
    CARDS.map(|open| open(config))
}

type OpenCards = fn(&CardsConfig) -> Arc<dyn TokenDriver>;

#[cfg(feature = "smartcard")]
const CARDS: Option<OpenCards> = Some(|config| {
    Arc::new(ctk_smartcard::Driver::new(ctk_smartcard::Configuration {
        readers: config.readers.clone(),
        not_readers: config.not_readers.clone(),
    }))
});
#[cfg(not(feature = "smartcard"))]
const CARDS: Option<OpenCards> = None;

/// The driver of this name.
pub(crate) fn row(name: &str) -> Option<&'static Row> {
    rows().iter().find(|row| row.name == name)
}

#[cfg(feature = "pkcs12")]
pub mod pkcs12 {
    //! Tokens from PKCS#12 files.

    use std::{path::Path, sync::Arc};

    use ctk_pkcs12::{CertificateRecord, Configuration, Driver, Inventory, KeyRecord};
    use ctk_token::TokenDriver;

    use super::{Key, Kind, Row};
    use crate::config::{CertificateFacts, Contents, KeyFacts, Settings, TokenConfig};

    /// The name of the driver.
    pub const NAME: &str = "pkcs12";
    /// The key with the file's path.
    pub const FILE: &str = "file";

    pub(super) fn rows() -> Vec<Row> {
        vec![Row {
            name: NAME,
            keys: vec![Key {
                name: FILE,
                kind: Kind::Path,
                required: true,
            }],
            key_facts: Vec::new(),
            is_service: false,
            open: Box::new(|tokens, _| {
                let tokens: Vec<_> = tokens.iter().map(|token| configuration(token)).collect();
                (!tokens.is_empty())
                    .then(|| -> Arc<dyn TokenDriver> { Arc::new(Driver::new(tokens)) })
            }),
        }]
    }

    /// What was found in a file.
    #[derive(Clone, Debug)]
    pub struct Inspected {
        /// What is stored of it.
        pub contents: Contents,
        /// What is in it besides, each a sentence for a person that says why it cannot be used.
        pub left_out: Vec<String>,
    }

    /// Opens a PKCS#12 file and says what is in it.
    ///
    /// # Errors
    /// [`TokenError::AuthenticationFailed`](ctk_token::TokenError::AuthenticationFailed) for a
    /// wrong password, and why the file cannot be used otherwise.
    pub fn inspect(file: &Path, password: &[u8]) -> ctk_token::Result<Inspected> {
        let Inventory {
            keys,
            certificates,
            left_out,
        } = ctk_pkcs12::inspect(file, password)?;
        let key = |key: KeyRecord| KeyFacts {
            label: key.label,
            identity: key.identity,
            spki: key.spki,
            subject: key.subject,
            facts: Settings::default(),
        };
        let certificate = |certificate: CertificateRecord| CertificateFacts {
            label: certificate.label,
            identity: certificate.identity,
            der: certificate.der,
        };
        Ok(Inspected {
            contents: Contents {
                keys: keys.into_iter().map(key).collect(),
                certificates: certificates.into_iter().map(certificate).collect(),
            },
            left_out,
        })
    }

    fn configuration(token: &TokenConfig) -> Configuration {
        let key = |key: &KeyFacts| KeyRecord {
            label: key.label.clone(),
            identity: key.identity.clone(),
            spki: key.spki.clone(),
            subject: key.subject.clone(),
        };
        let certificate = |certificate: &CertificateFacts| CertificateRecord {
            label: certificate.label.clone(),
            identity: certificate.identity.clone(),
            der: certificate.der.clone(),
        };
        Configuration {
            name: token.name.clone(),
            label: token.label.clone(),
            serial_number: token.serial.clone(),
            file: token
                .settings
                .path(FILE)
                .map(Path::to_owned)
                .unwrap_or_default(),
            removable: token.removable,
            contents: Inventory {
                keys: token.contents.keys.iter().map(key).collect(),
                certificates: token
                    .contents
                    .certificates
                    .iter()
                    .map(certificate)
                    .collect(),
                left_out: Vec::new(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::{
        config::{COMMON_KEYS, Configuration},
        environment::Environment,
        test_folder::TestFolder,
    };

    /// A configuration of two tokens with every key that the driver has.
    fn configured(row: &Row) -> Vec<TokenConfig> {
        let folder = TestFolder::new();
        let mut text = String::new();
        for name in ["one", "two"] {
            text += &format!("[[token]]\nname = {name:?}\ndriver = {:?}\n", row.name);
            for key in &row.keys {
                let value = match key.kind {
                    Kind::Path | Kind::Text => "\"value\"",
                    Kind::Texts => "[\"https://localhost/one\"]",
                    Kind::Flag => "true",
                    Kind::Number => "7",
                    Kind::Secret => "\"env:NAME\"",
                };
                text += &format!("{} = {value}\n", key.name);
            }
        }
        let environment = Environment {
            config_file: Some(folder.write("ctk.toml", &text)),
            ..Environment::empty()
        };
        let configuration = Configuration::read(&environment);
        assert_eq!(configuration.problems, []);
        configuration.tokens
    }

    #[test]
    fn a_key_that_a_driver_requires_is_missed() {
        for row in rows() {
            let folder = TestFolder::new();
            let text = format!("[[token]]\nname = \"bare\"\ndriver = {:?}\n", row.name);
            let environment = Environment {
                config_file: Some(folder.write("ctk.toml", &text)),
                ..Environment::empty()
            };
            let configuration = Configuration::read(&environment);
            let missed: Vec<_> = configuration
                .problems
                .iter()
                .map(|problem| (problem.line, problem.message.clone()))
                .collect();
            let required = row.keys.iter().filter(|key| key.required);
            let expected: Vec<_> = required
                .map(|key| {
                    let message = format!("missing key {:?} in token \"bare\"", key.name);
                    (Some(1), message)
                })
                .collect();
            assert_eq!(missed, expected, "{}", row.name);
            assert_eq!(configuration.tokens.is_empty(), !expected.is_empty());
        }
    }

    #[test]
    fn every_driver_serves_what_is_configured() {
        let mut names = HashSet::new();
        for row in rows() {
            assert!(names.insert(row.name), "{} is there twice", row.name);
            let mut seen = HashSet::new();
            for key in &row.keys {
                assert!(seen.insert(key.name), "{} has {} twice", row.name, key.name);
                assert!(
                    !COMMON_KEYS.contains(&key.name),
                    "{} has {}",
                    row.name,
                    key.name
                );
            }
            let tokens = configured(row);
            let environment = Environment::empty();
            let driver = (row.open)(&tokens.iter().collect::<Vec<_>>(), &environment).unwrap();
            assert_eq!(driver.name(), row.name);
            let ids = || -> Vec<_> {
                driver
                    .slots()
                    .iter()
                    .map(|slot| slot.id().to_owned())
                    .collect()
            };
            assert_eq!(ids()[..2], ["one", "two"]);
            assert_eq!(ids(), ids());
            for (slot, config) in driver.slots().iter().zip(&tokens) {
                let token = slot.token().unwrap();
                assert_eq!(token.info().label, config.label);
                assert_eq!(slot.info().removable, config.removable);
                assert!(Arc::ptr_eq(&token, &slot.token().unwrap()));
                assert!(token.create_session().is_ok());
            }
        }
    }
}
