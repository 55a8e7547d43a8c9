//! Tokens whose keys are in a service: what the configuration knows of them, for the driver and for the command.

use std::{collections::BTreeMap, sync::Arc};

use ctk_network::{
    CertificateRecord, Configuration, Driver, Inventory, KeyRecord, PROTOCOLS, Secret,
    Surroundings, Value,
};
use ctk_token::{Reason, Result, TokenDriver, TokenError};

use crate::{
    Environment, command,
    config::{CertificateFacts, Contents, KeyFacts, Setting, Settings, TokenConfig},
    drivers::{self, Key, Row},
};

pub use ctk_network::{
    Finding, Kind, Protocol, SettingRow, Step, http::SETTINGS as SHARED_SETTINGS,
};

pub use crate::secret::SecretSource;

/// Every protocol, in the order in which a person is told of them. A token of one has the settings of its own and
/// [`SHARED_SETTINGS`].
pub fn protocols() -> &'static [&'static Protocol] {
    PROTOCOLS
}

/// The protocol of this name.
pub fn protocol(name: &str) -> Option<&'static Protocol> {
    PROTOCOLS
        .iter()
        .copied()
        .find(|protocol| protocol.name == name)
}

/// What was found at a service.
#[derive(Clone, Debug)]
pub struct Inspected {
    /// What is stored of it.
    pub contents: Contents,
    /// What the service has besides, each a sentence for a person that says why it is left out.
    pub left_out: Vec<String>,
}

/// Asks the service of a token what there is. `progress` is told each step, for a person.
///
/// # Errors
/// [`TokenError::Unreachable`], [`TimedOut`](TokenError::TimedOut), [`Refused`](TokenError::Refused) with the service's
/// reason, [`Corrupted`](TokenError::Corrupted) for an answer that is none; [`NotSupported`](TokenError::NotSupported) for
/// a token of another driver.
pub fn list(
    token: &TokenConfig,
    environment: &Environment,
    progress: &mut dyn FnMut(&str),
) -> Result<Inspected> {
    let configuration = configuration_of(token, environment)?;
    let service = (configuration.protocol.open)(&configuration);
    Ok(inspected(service.list(None, progress)?))
}

fn inspected(found: Inventory) -> Inspected {
    let Inventory {
        keys,
        certificates,
        left_out,
    } = found;
    Inspected {
        contents: Contents {
            keys: keys.into_iter().map(key_facts).collect(),
            certificates: certificates.into_iter().map(certificate_facts).collect(),
        },
        left_out,
    }
}

/// Looks for what is wrong between here and the service of a token, in the order in which one thing needs the other.
///
/// # Errors
/// [`TokenError::NotSupported`] for a token of another driver.
pub fn check(
    token: &TokenConfig,
    environment: &Environment,
    findings: &mut dyn FnMut(Finding),
) -> Result<()> {
    let configuration = configuration_of(token, environment)?;
    let service = (configuration.protocol.open)(&configuration);
    service.check(findings);
    Ok(())
}

/// The rows of the driver list: each protocol is one.
pub(crate) fn rows() -> Vec<Row> {
    PROTOCOLS.iter().map(|protocol| row(protocol)).collect()
}

fn row(protocol: &'static Protocol) -> Row {
    let settings = protocol.settings.iter().chain(SHARED_SETTINGS);
    Row {
        name: protocol.name,
        keys: settings.map(key).collect(),
        key_facts: protocol.key_facts.iter().map(key).collect(),
        is_service: true,
        open: Box::new(move |tokens, environment| {
            let tokens: Vec<_> = tokens
                .iter()
                .map(|token| configuration(protocol, token, environment))
                .collect();
            (!tokens.is_empty())
                .then(|| -> Arc<dyn TokenDriver> { Arc::new(Driver::new(protocol, tokens)) })
        }),
    }
}

fn key(row: &SettingRow) -> Key {
    Key {
        name: row.name,
        kind: match row.kind {
            Kind::Text => drivers::Kind::Text,
            Kind::Texts => drivers::Kind::Texts,
            Kind::Path => drivers::Kind::Path,
            Kind::Flag => drivers::Kind::Flag,
            Kind::Number => drivers::Kind::Number,
            Kind::Secret => drivers::Kind::Secret,
        },
        required: row.required,
    }
}

fn configuration_of(token: &TokenConfig, environment: &Environment) -> Result<Configuration> {
    let protocol = protocol(&token.driver).ok_or(TokenError::NotSupported)?;
    Ok(configuration(protocol, token, environment))
}

fn configuration(
    protocol: &'static Protocol,
    token: &TokenConfig,
    environment: &Environment,
) -> Configuration {
    Configuration {
        name: token.name.clone(),
        label: token.label.clone(),
        serial_number: token.serial.clone(),
        removable: token.removable,
        protocol,
        settings: values(&token.settings, environment),
        contents: Inventory {
            keys: (token.contents.keys.iter())
                .map(|key| key_record(key, environment))
                .collect(),
            certificates: (token.contents.certificates.iter())
                .map(certificate_record)
                .collect(),
            left_out: Vec::new(),
        },
        surroundings: surroundings(token, environment),
    }
}

/// What a protocol may know of the process. Under AT_SECURE that is nothing.
fn surroundings(token: &TokenConfig, environment: &Environment) -> Surroundings {
    let (name, commands) = (token.name.clone(), token.commands);
    let environment = environment.clone();
    Surroundings {
        home: environment.home.clone().filter(|_| !environment.secure),
        variable: match environment.secure {
            true => |_| None,
            false => environment.variable,
        },
        run: Arc::new(move |words, limit| match commands {
            true => command::run(words, &environment, limit),
            false => Err(TokenError::Unreachable(Reason::new(format!(
                "token {name:?}: a command is run only for a token with `commands = true`; add that line if you \
                 trust the program"
            )))),
        }),
    }
}

fn values(settings: &Settings, environment: &Environment) -> ctk_network::Settings {
    let value = |setting: &Setting| match setting {
        Setting::Path(path) => Value::Path(path.clone()),
        Setting::Text(text) => Value::Text(text.clone()),
        Setting::Texts(texts) => Value::Texts(texts.clone()),
        Setting::Flag(flag) => Value::Flag(*flag),
        Setting::Number(number) => Value::Number(*number),
        Setting::Secret(source) => Value::Secret(secret(source.clone(), environment.clone())),
    };
    let settings = settings.0.iter();
    let values: BTreeMap<_, _> = settings
        .map(|(name, setting)| (name.clone(), value(setting)))
        .collect();
    ctk_network::Settings(values)
}

fn secret(source: SecretSource, environment: Environment) -> Secret {
    let (name, shown) = (source.to_string(), source.shown());
    Secret::new(&name, move |limit| source.secret(&environment, limit)).shown_as(&shown)
}

/// What is stored of a key's facts. A secret is none, and no protocol has one there.
fn facts(values: ctk_network::Settings) -> Settings {
    let setting = |value| match value {
        Value::Path(path) => Some(Setting::Path(path)),
        Value::Text(text) => Some(Setting::Text(text)),
        Value::Texts(texts) => Some(Setting::Texts(texts)),
        Value::Flag(flag) => Some(Setting::Flag(flag)),
        Value::Number(number) => Some(Setting::Number(number)),
        Value::Secret(_) => None,
    };
    let values = values.0.into_iter();
    Settings(
        values
            .filter_map(|(name, value)| Some((name, setting(value)?)))
            .collect(),
    )
}

fn key_facts(key: KeyRecord) -> KeyFacts {
    KeyFacts {
        label: key.label,
        identity: key.identity,
        spki: key.spki,
        subject: key.subject,
        facts: facts(key.facts),
    }
}

fn key_record(key: &KeyFacts, environment: &Environment) -> KeyRecord {
    KeyRecord {
        label: key.label.clone(),
        identity: key.identity.clone(),
        spki: key.spki.clone(),
        subject: key.subject.clone(),
        facts: values(&key.facts, environment),
    }
}

fn certificate_facts(certificate: CertificateRecord) -> CertificateFacts {
    CertificateFacts {
        label: certificate.label,
        identity: certificate.identity,
        der: certificate.der,
    }
}

fn certificate_record(certificate: &CertificateFacts) -> CertificateRecord {
    CertificateRecord {
        label: certificate.label.clone(),
        identity: certificate.identity.clone(),
        der: certificate.der.clone(),
    }
}

#[cfg(test)]
mod tests;
