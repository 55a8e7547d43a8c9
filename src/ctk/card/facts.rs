//! What is shown of a card: one set of facts for text and for JSON, whose field names are promised.

use ctk_host::config::to_hex;
use ctk_token::{Key, LoginPolicy, PinState, Role};
use serde::Serialize;

use super::{
    find::Card,
    place::{Kind, Place},
};
use crate::{
    console::{Outcome, failure},
    facts::{CertificateFacts, before_use, uses},
    uri::uri,
};

/// A card.
#[derive(Debug, Serialize)]
pub(crate) struct CardFacts {
    pub(crate) reader: String,
    /// What kind of card it is, like `PIV card`.
    pub(crate) kind: String,
    pub(crate) label: String,
    pub(crate) manufacturer: String,
    pub(crate) model: String,
    pub(crate) serial: String,
    pub(crate) pin: PinFacts,
    /// The PUK of a PIV card, the admin PIN of an OpenPGP card.
    pub(crate) admin: SecretFacts,
    pub(crate) keys: Vec<KeyFacts>,
}

/// What is known of the PIN.
#[derive(Debug, Serialize)]
pub(crate) struct PinFacts {
    #[serde(flatten)]
    pub(crate) secret: SecretFacts,
    pub(crate) min_length: usize,
    pub(crate) max_length: usize,
    /// Whether it is typed on the reader's own keys.
    pub(crate) on_reader: bool,
}

/// What is known of a secret's tries.
#[derive(Debug, Serialize)]
pub(crate) struct SecretFacts {
    /// ok, wrong (at least one wrong try), last (the next wrong one locks), locked.
    pub(crate) state: &'static str,
    /// Null where the card does not tell.
    pub(crate) tries_left: Option<u32>,
}

/// A key with its certificate, or one of them alone.
#[derive(Debug, Serialize)]
pub(crate) struct KeyFacts {
    /// What a person calls its place, like `9a`.
    pub(crate) place: Option<String>,
    /// CKA_ID in hexadecimal.
    pub(crate) id: String,
    pub(crate) label: String,
    /// The kind of key, like `RSA-2048`; null for a certificate without key.
    pub(crate) key: Option<String>,
    pub(crate) uses: Vec<&'static str>,
    /// What stands before a use of the key: nothing, pin, pin-each-time.
    pub(crate) before_use: Option<&'static str>,
    #[serde(flatten)]
    pub(crate) certificate: CertificateFacts,
    pub(crate) uri: String,
}

impl CardFacts {
    /// Reads what is on the card that anybody may read.
    pub(crate) fn read(card: &Card) -> Outcome<Self> {
        let token = &card.token;
        token
            .load()
            .or_else(|error| failure(format!("{}: {error}", card.named())))?;
        let info = token.info();
        let secret = |state, role| SecretFacts {
            state: word(state),
            tries_left: token.tries_left(role),
        };
        let admin = match card.kind() {
            Kind::Piv => Role::Unblock,
            _ => Role::Admin,
        };
        Ok(Self {
            reader: card.reader.clone(),
            kind: token.kind(),
            pin: PinFacts {
                secret: secret(info.user_pin, Role::User),
                min_length: info.min_pin_len,
                max_length: info.max_pin_len,
                on_reader: token.login_policy() == LoginPolicy::AppWithoutPin,
            },
            admin: secret(info.admin_pin, admin),
            keys: keys(card),
            label: info.label,
            manufacturer: info.manufacturer,
            model: info.model,
            serial: info.serial_number,
        })
    }
}

fn word(state: PinState) -> &'static str {
    match state {
        PinState::Normal => "ok",
        PinState::CountLow => "wrong",
        PinState::FinalTry => "last",
        PinState::Locked => "locked",
    }
}

fn keys(card: &Card) -> Vec<KeyFacts> {
    let (info, contents, kind) = (card.token.info(), card.token.contents(), card.kind());
    let facts = |identity: &[u8], label: &str, key: Option<&Key>, der: Option<&[u8]>| KeyFacts {
        place: Place::of(kind, identity).name().map(ToOwned::to_owned),
        id: to_hex(identity),
        label: label.to_owned(),
        key: key.map(|key| key.public_key.key_type().to_string()),
        uses: key.map(uses).unwrap_or_default(),
        before_use: key.map(before_use),
        certificate: der.map(CertificateFacts::of).unwrap_or_default(),
        uri: uri(&info, identity, label),
    };
    let of_key = |key: &Key| {
        let mut certificates = contents.certificates();
        let certificate = certificates.find(|other| other.identity == key.identity);
        let der = certificate.map(|certificate| &*certificate.der);
        facts(&key.identity, &key.label, Some(key), der)
    };
    let without_key = contents
        .certificates()
        .filter(|certificate| {
            !contents
                .keys()
                .any(|key| key.identity == certificate.identity)
        })
        .map(|certificate| {
            let (identity, der) = (&certificate.identity, &certificate.der);
            facts(identity, &certificate.label, None, Some(der))
        });
    contents.keys().map(of_key).chain(without_key).collect()
}

impl SecretFacts {
    /// In words.
    pub(crate) fn tries(&self) -> String {
        let left = self.tries_left.map(|tries| match tries {
            1 => "1 try left".to_owned(),
            tries => format!("{tries} tries left"),
        });
        match (self.state, left) {
            ("locked", _) => "LOCKED".to_owned(),
            ("last", _) => "1 try left: the next wrong one locks it".to_owned(),
            ("wrong", Some(left)) => format!("{left}, after wrong ones"),
            ("wrong", None) => "after wrong ones".to_owned(),
            (_, Some(left)) => left,
            (_, None) => "not locked".to_owned(),
        }
    }
}
