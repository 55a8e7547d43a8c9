//! A configured file as a token: what it is and holds, without looking at the file.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Weak},
};

use ctk_crypto::Reduction;
use ctk_token::{
    AuthId, Certificate, Constraint, Item, Key, KeyAlgorithm, KeyType, KeychainContents, ObjectId,
    Operation, Origin, PublicKey, Result, Reuse, Token, TokenInfo, TokenSession,
};

use crate::{CertificateRecord, Configuration, KeyRecord, session::Session};

/// The longest password in bytes; more does not fit what PKCS#11 programs send.
pub(crate) const MAX_PIN: usize = 255;

/// A configured file.
pub(crate) struct FileToken {
    configuration: Configuration,
    contents: Arc<KeychainContents>,
    /// Where in the contents each key is.
    keys: HashMap<ObjectId, usize>,
    itself: Weak<Self>,
}

impl FileToken {
    /// The token of this configuration. A record that makes no sense costs itself only.
    pub(crate) fn new(configuration: Configuration) -> Arc<Self> {
        let contents = Arc::new(contents(&configuration));
        let items = contents.items.iter().enumerate();
        let keys = items
            .filter(|(_, item)| matches!(item, Item::Key(_)))
            .map(|(index, item)| (item.id().clone(), index))
            .collect();
        Arc::new_cyclic(|itself| Self {
            configuration,
            contents,
            keys,
            itself: itself.clone(),
        })
    }

    /// The key of this name.
    pub(crate) fn key(&self, id: &ObjectId) -> Option<&Key> {
        match self.contents.items.get(*self.keys.get(id)?)? {
            Item::Key(key) => Some(key),
            Item::Certificate(_) | Item::Data(_) => None,
        }
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

    fn generation(&self) -> u64 {
        self.contents.generation
    }

    fn create_session(&self) -> Result<Arc<dyn TokenSession>> {
        let token = self
            .itself
            .upgrade()
            .ok_or(ctk_token::TokenError::TokenRemoved)?;
        Ok(Arc::new(Session::new(token)))
    }
}

/// Which forms of an operation a key of this kind performs by itself, whether or not it is ready; the
/// others are made from them.
///
/// A key for RSASSA-PSS only performs signatures with the parameters that it allows, and no raw
/// operation, with which any other could be made (RFC 4055 §1.2).
pub(crate) fn performs(key: &PublicKey, operation: Operation, algorithm: KeyAlgorithm) -> bool {
    use KeyAlgorithm as A;
    let key_type = key.key_type();
    if !ctk_crypto::has_key_type(key_type) {
        return false;
    }
    match (key_type, operation) {
        (KeyType::Rsa { .. }, Operation::Sign) if key.is_pss_only() => {
            let by_raw = |form| form == A::RsaRaw;
            matches!(algorithm, A::RsaPssDigest(_))
                && matches!(Reduction::new(algorithm, key, by_raw), Ok(Some(_)))
        }
        (KeyType::Rsa { .. }, Operation::Sign) => algorithm == A::RsaRaw,
        (KeyType::Rsa { .. }, Operation::Decrypt) => {
            !key.is_pss_only() && matches!(algorithm, A::RsaRaw | A::RsaPkcs1)
        }
        (KeyType::Ec(_), Operation::Sign) => algorithm == A::EcdsaDigest,
        (KeyType::Ec(_), Operation::KeyExchange) => {
            matches!(algorithm, A::Ecdh | A::EcdhCofactor)
        }
        (KeyType::Ed25519 | KeyType::Ed448, Operation::Sign) => algorithm == A::EdDsa,
        (KeyType::MlDsa44 | KeyType::MlDsa65 | KeyType::MlDsa87, Operation::Sign) => {
            algorithm == A::MlDsa
        }
        (KeyType::X25519 | KeyType::X448, Operation::KeyExchange) => algorithm == A::Ecdh,
        (KeyType::MlKem512 | KeyType::MlKem768 | KeyType::MlKem1024, Operation::KeyExchange) => {
            algorithm == A::MlKem
        }
        _ => false,
    }
}

/// What stands before an operation: the password, if a key of this kind performs it in any form. What
/// its certificate says of its use (RFC 5280 §4.2.1.3) binds whoever relies on the certificate, and is
/// left to the programs: an old mail is still to be decrypted when the certificate of today is for
/// signatures.
fn constraint(key: &PublicKey, operation: Operation) -> Constraint {
    let is_performed = match (key.key_type(), operation) {
        (key_type, _) if !ctk_crypto::has_key_type(key_type) => false,
        (_, Operation::Sign) => key.max_signature_len() > 0,
        (KeyType::Rsa { .. }, Operation::Decrypt) => !key.is_pss_only(),
        (_, Operation::Decrypt) => false,
        (_, Operation::KeyExchange) => key.shared_secret_len() > 0,
    };
    match is_performed {
        true => Constraint::Auth(AuthId(0), Reuse::Session),
        false => Constraint::Never,
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
    let key_type = public_key.key_type();
    if !ctk_crypto::has_key_type(key_type) {
        let label = &record.label;
        log::warn!(
            "pkcs12: the key {label:?} cannot be used: the crypto library of this build has no \
             {key_type}"
        );
    }
    Ok(Item::Key(Box::new(Key {
        id: object_id(b"key:", &record.identity),
        label: record.label.clone(),
        public_label: None,
        identity: record.identity.clone(),
        sign: constraint(&public_key, Operation::Sign),
        decrypt: constraint(&public_key, Operation::Decrypt),
        key_exchange: constraint(&public_key, Operation::KeyExchange),
        public_key,
        subject: record.subject.clone(),
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
