//! What a token holds, as far as anybody may know: certificates and the public facts of keys.

use std::{fmt, sync::Arc};

use crate::{Operation, PublicKey};

/// Names an item of a token. Opaque, unique within the token, the same across generations and processes.
#[doc(alias = "TKTokenObjectID")]
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ObjectId(Arc<[u8]>);

impl ObjectId {
    /// An id of these bytes.
    pub fn new(bytes: &[u8]) -> Self {
        Self(Arc::from(bytes))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ObjectId({})",
            String::from_utf8_lossy(&self.0).escape_debug()
        )
    }
}

/// Names one of a token's secrets: two keys with the same id are opened by the same PIN.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct AuthId(pub u8);

/// How long an authentication counts.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Reuse {
    /// Until it is ended or lost.
    Session,
    /// For one operation.
    Operation,
}

/// What stands before an operation with a key.
#[doc(alias = "TKTokenOperationConstraint")]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Constraint {
    /// The key is not for this.
    Never,
    /// Nothing.
    Free,
    /// An authentication.
    Auth(AuthId, Reuse),
}

/// Where a private key came from.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Origin {
    /// It was made inside the key store and never was outside.
    Generated,
    /// It was made elsewhere, or nobody knows.
    Imported,
}

/// A certificate.
#[doc(alias = "TKTokenKeychainCertificate")]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Certificate {
    /// Its name on the token.
    pub id: ObjectId,
    /// For a person.
    pub label: String,
    /// Shared with the key that it belongs to; unique among the token's certificates. PKCS#11 shows it as CKA_ID.
    pub identity: Vec<u8>,
    /// X.509, DER.
    pub der: Vec<u8>,
}

/// A private key, as far as anybody may know.
#[doc(alias = "TKTokenKeychainKey")]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Key {
    /// Its name on the token.
    pub id: ObjectId,
    /// For a person.
    pub label: String,
    /// The label of the public key, where that is another one.
    pub public_label: Option<String>,
    /// Shared with the certificate; unique among the token's keys, 1 to 255 bytes. PKCS#11 shows it as CKA_ID.
    pub identity: Vec<u8>,
    /// The public half.
    pub public_key: PublicKey,
    /// The name in its certificate, DER, if it has one.
    pub subject: Option<Vec<u8>>,
    /// What stands before a signature.
    pub sign: Constraint,
    /// What stands before a decryption.
    pub decrypt: Constraint,
    /// What stands before a key agreement.
    pub key_exchange: Constraint,
    /// Where the private half came from.
    pub origin: Origin,
}

impl Key {
    /// A key that can do nothing yet: [`Constraint::Never`] throughout, imported, without certificate.
    pub fn new(id: ObjectId, label: &str, identity: &[u8], public_key: PublicKey) -> Self {
        Self {
            id,
            label: label.into(),
            public_label: None,
            identity: identity.into(),
            public_key,
            subject: None,
            sign: Constraint::Never,
            decrypt: Constraint::Never,
            key_exchange: Constraint::Never,
            origin: Origin::Imported,
        }
    }

    /// What stands before `operation`.
    pub fn constraint(&self, operation: Operation) -> Constraint {
        match operation {
            Operation::Sign => self.sign,
            Operation::Decrypt => self.decrypt,
            Operation::KeyExchange => self.key_exchange,
        }
    }

    /// Whether anything at all stands before its use, so that it is private.
    pub fn needs_auth(&self) -> bool {
        [self.sign, self.decrypt, self.key_exchange]
            .iter()
            .any(|constraint| matches!(constraint, Constraint::Auth(..)))
    }

    /// Whether there is something that anybody can do with it, without authentication.
    pub fn is_free(&self) -> bool {
        [self.sign, self.decrypt, self.key_exchange].contains(&Constraint::Free)
    }

    /// Whether some use of it wants an authentication each time. PKCS#11 shows it as CKA_ALWAYS_AUTHENTICATE.
    pub fn authenticates_always(&self) -> bool {
        [self.sign, self.decrypt, self.key_exchange]
            .iter()
            .any(|constraint| matches!(constraint, Constraint::Auth(_, Reuse::Operation)))
    }
}

/// Bytes that the token keeps for somebody.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DataObject {
    /// Its name on the token.
    pub id: ObjectId,
    /// For a person.
    pub label: String,
    /// Which program keeps it.
    pub application: String,
    /// The object identifier of its kind, DER; empty if none.
    pub object_id: Vec<u8>,
    /// The bytes, or `None` if they have to be [`read`](crate::TokenSession::read).
    pub value: Option<Vec<u8>>,
    /// What stands before reading: [`Constraint::Free`], or an authentication, which makes it private.
    pub read: Constraint,
}

/// One thing on a token.
#[doc(alias = "TKTokenKeychainItem")]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Item {
    /// A certificate.
    Certificate(Certificate),
    /// A key.
    Key(Box<Key>),
    /// Other data.
    Data(DataObject),
}

impl Item {
    /// Its name on the token.
    pub fn id(&self) -> &ObjectId {
        match self {
            Self::Certificate(certificate) => &certificate.id,
            Self::Key(key) => &key.id,
            Self::Data(data) => &data.id,
        }
    }
}

/// A snapshot of what a token holds.
#[doc(alias = "TKTokenKeychainContents")]
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct KeychainContents {
    /// Grows with each change.
    pub generation: u64,
    /// In the order in which a person should see them.
    pub items: Vec<Item>,
}

impl KeychainContents {
    /// The certificates, in order.
    pub fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        self.items.iter().filter_map(|item| match item {
            Item::Certificate(certificate) => Some(certificate),
            Item::Key(_) | Item::Data(_) => None,
        })
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.items.iter().filter_map(|item| match item {
            Item::Key(key) => Some(&**key),
            Item::Certificate(_) | Item::Data(_) => None,
        })
    }

    /// The key of this name.
    pub fn key(&self, id: &ObjectId) -> Option<&Key> {
        self.keys().find(|key| key.id == *id)
    }
}
