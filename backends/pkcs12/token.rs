//! A configured file as a token: what it is and holds, without looking at the file.

use std::{
    collections::HashSet,
    sync::{Arc, Weak},
};

use ctk_token::{
    AuthId, Certificate, Constraint, Item, Key, KeyAlgorithm, KeyType, KeychainContents, ObjectId,
    Origin, PublicKey, Result, Reuse, Token, TokenInfo, TokenSession,
};

use crate::{CertificateRecord, Configuration, KeyRecord, session::Session};

/// The longest password in bytes; more does not fit what PKCS#11 programs send.
pub(crate) const MAX_PIN: usize = 255;

/// A configured file.
pub(crate) struct FileToken {
    configuration: Configuration,
    contents: Arc<KeychainContents>,
    itself: Weak<Self>,
}

impl FileToken {
    /// The token of this configuration. A record that makes no sense costs itself only.
    pub(crate) fn new(configuration: Configuration) -> Arc<Self> {
        let contents = Arc::new(contents(&configuration));
        Arc::new_cyclic(|itself| Self {
            configuration,
            contents,
            itself: itself.clone(),
        })
    }

    pub(crate) fn configuration(&self) -> &Configuration {
        &self.configuration
    }
}

impl Token for FileToken {
    fn info(&self) -> TokenInfo {
        let label = match &*self.configuration.label {
            "" => &self.configuration.name,
            label => label,
        };
        TokenInfo {
            min_pin_len: 0,
            max_pin_len: MAX_PIN,
            ..TokenInfo::software(label, "PKCS#12", &self.configuration.serial_number)
        }
    }

    fn contents(&self) -> Arc<KeychainContents> {
        self.contents.clone()
    }

    fn create_session(&self) -> Result<Arc<dyn TokenSession>> {
        let token = self
            .itself
            .upgrade()
            .ok_or(ctk_token::TokenError::TokenRemoved)?;
        Ok(Arc::new(Session::new(token)))
    }
}

/// The one form of signature that a key of this kind makes by itself; the others are made from it.
pub(crate) fn primitive(key_type: KeyType) -> Option<KeyAlgorithm> {
    match key_type {
        KeyType::Rsa { .. } => Some(KeyAlgorithm::RsaRaw),
        KeyType::Ec(_) => Some(KeyAlgorithm::EcdsaDigest),
        KeyType::Ed25519 => Some(KeyAlgorithm::EdDsa),
        _ => None,
    }
}

fn contents(configuration: &Configuration) -> KeychainContents {
    let left_out = |what: &str, label: &str, why: &str| {
        let name = &configuration.name;
        log::warn!("token {name}: {what} {label:?} is left out: {why}: run `ctk update {name}`");
    };
    let mut items = Vec::new();
    let mut seen = HashSet::new();
    for record in &configuration.contents.certificates {
        match certificate(record) {
            Ok(item) if seen.insert(item.id().clone()) => items.push(item),
            Ok(_) => left_out("certificate", &record.label, "another has the same id"),
            Err(why) => left_out("certificate", &record.label, &why),
        }
    }
    for record in &configuration.contents.keys {
        match key(record) {
            Ok(item) if seen.insert(item.id().clone()) => items.push(item),
            Ok(_) => left_out("key", &record.label, "another has the same id"),
            Err(why) => left_out("key", &record.label, &why),
        }
    }
    KeychainContents {
        generation: 0,
        items,
    }
}

fn certificate(record: &CertificateRecord) -> std::result::Result<Item, String> {
    check_identity(&record.identity)?;
    crate::certificate::Facts::read(&record.der).map_err(|why| why.0.to_owned())?;
    Ok(Item::Certificate(Certificate {
        id: object_id(b"cert:", &record.identity),
        label: record.label.clone(),
        identity: record.identity.clone(),
        der: record.der.clone(),
    }))
}

fn key(record: &KeyRecord) -> std::result::Result<Item, String> {
    check_identity(&record.identity)?;
    let public_key = PublicKey::from_spki(&record.spki).map_err(|error| error.to_string())?;
    let sign = match primitive(public_key.key_type()) {
        Some(_) => Constraint::Auth(AuthId(0), Reuse::Session),
        None => Constraint::Never,
    };
    Ok(Item::Key(Box::new(Key {
        id: object_id(b"key:", &record.identity),
        label: record.label.clone(),
        identity: record.identity.clone(),
        public_key,
        subject: record.subject.clone(),
        sign,
        decrypt: Constraint::Never,
        key_exchange: Constraint::Never,
        origin: Origin::Imported,
    })))
}

fn check_identity(identity: &[u8]) -> std::result::Result<(), String> {
    match identity.len() {
        1..=255 => Ok(()),
        len => Err(format!("its id has {len} bytes instead of 1 to 255")),
    }
}

fn object_id(kind: &[u8], identity: &[u8]) -> ObjectId {
    ObjectId::new(&[kind, identity].concat())
}
