//! What a protocol is: one row, and a service that answers for the keys behind it.

use std::{fmt, sync::Arc};

use ctk_token::{Constraint, KeyAlgorithm, LoginPolicy, Operation, Result, Role, TokenError};

use crate::{Configuration, Inventory, KeyRecord, http::Deadline};

/// A protocol as configurations and commands know it.
pub struct Protocol {
    /// What `driver =` says in a configuration, like `aws-kms`.
    pub name: &'static str,
    /// What a person calls such a service, like `AWS KMS`. PKCS#11 shows the first 16 bytes as the token's model.
    pub title: &'static str,
    /// The settings of a token that this protocol has besides [`http::SETTINGS`](crate::http::SETTINGS).
    pub settings: &'static [SettingRow],
    /// What is stored with each key.
    pub key_facts: &'static [SettingRow],
    /// Makes the service of a token. From memory: what is wrong with the settings is an error of the service's methods.
    pub open: fn(&Configuration) -> Arc<dyn Service>,
}

impl fmt::Debug for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Protocol({})", self.name)
    }
}

/// One setting.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SettingRow {
    /// Its name in a configuration, `snake_case`.
    pub name: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// Whether a token must have it.
    pub required: bool,
    /// What it is for, as one line of a command's help, without a full stop.
    pub about: &'static str,
}

/// What a setting's value is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// [`Value::Text`](crate::Value::Text)
    Text,
    /// [`Value::Texts`](crate::Value::Texts)
    Texts,
    /// [`Value::Path`](crate::Value::Path)
    Path,
    /// [`Value::Flag`](crate::Value::Flag)
    Flag,
    /// [`Value::Number`](crate::Value::Number)
    Number,
    /// [`Value::Secret`](crate::Value::Secret): `file:`, `env:`, `credential:` or `command:`
    Secret,
}

/// One configured service. All methods but [`list`](Self::list) and [`check`](Self::check) answer from memory.
pub trait Service: Send + Sync {
    /// Whether the program logs in with a PIN ([`LoginPolicy::App`]) or there is nothing to log in with
    /// ([`LoginPolicy::OnUse`]), with these keys.
    fn login_policy(&self, keys: &[KeyRecord]) -> LoginPolicy;

    /// What stands before an operation with this key; [`Constraint::Never`] for what it is not for.
    fn constraint(&self, key: &KeyRecord, operation: Operation) -> Constraint;

    /// Whether the service performs `algorithm` with this key, as [`TokenSession::supports`](ctk_token::TokenSession::supports).
    fn supports(&self, key: &KeyRecord, operation: Operation, algorithm: KeyAlgorithm) -> bool;

    /// Opens the session of one application: what it authenticates with is kept there. From memory.
    fn open_session(self: Arc<Self>) -> Box<dyn ServiceSession>;

    /// Asks the service what there is. `progress` is told each step, for a person. All of it is over by `deadline`; without
    /// one each request has the total time, of which there may be many: somebody who is told of each is waiting.
    ///
    /// # Errors
    /// [`TokenError::Unreachable`], [`TimedOut`](TokenError::TimedOut), [`Refused`](TokenError::Refused) with the service's
    /// reason, [`Corrupted`](TokenError::Corrupted) for an answer that is none.
    fn list(&self, deadline: Option<Deadline>, progress: &mut dyn FnMut(&str))
    -> Result<Inventory>;

    /// Looks for what is wrong between here and the service, in the order in which one thing needs the other: name, TCP, TLS,
    /// clock, credentials, permission. Stops at the first that is wrong.
    fn check(&self, findings: &mut dyn FnMut(crate::Finding));
}

/// One application's use of a service. Each call ends within the total time of the token's settings, however many requests it
/// takes and whatever it waits for. What is given to it has been checked against [`Service::constraint`] and
/// [`Service::supports`], and lengths against the contract.
pub trait ServiceSession: Send + Sync {
    /// Checks a secret at the service and keeps what it opens. `key` is given with [`Role::Context`], and the secret counts
    /// for its next operation then.
    ///
    /// # Errors
    /// As [`AuthOperation::finish`](ctk_token::AuthOperation::finish). [`TokenError::NotSupported`] by default, for a service
    /// without PIN.
    fn login(
        &self,
        role: Role,
        keys: &[KeyRecord],
        key: Option<&KeyRecord>,
        secret: &[u8],
    ) -> Result<()> {
        let _ = (role, keys, key, secret);
        Err(TokenError::NotSupported)
    }

    /// Ends what [`login`](Self::login) began, and zeroizes it. Touches no network.
    fn logout(&self, role: Role) {
        let _ = role;
    }

    /// Whether this session may do `operation` with a key that is not free, as far as it knows: asked before anything
    /// else is looked at, from memory, and before each operation.
    ///
    /// # Errors
    /// [`TokenError::AuthenticationNeeded`] without what [`login`](Self::login) opens, and
    /// [`StateLost`](TokenError::StateLost) if it was there and has ended. By default the operation itself tells.
    fn check_authenticated(&self, key: &KeyRecord, operation: Operation) -> Result<()> {
        let _ = (key, operation);
        Ok(())
    }

    /// Signs; ECDSA signatures are DER, RSA's as long as the modulus.
    ///
    /// # Errors
    /// As [`TokenSession::sign`](ctk_token::TokenSession::sign); [`TokenError::ObjectNotFound`] if the service does not know
    /// the key (any more), upon which the caller lists anew, once.
    fn sign(&self, key: &KeyRecord, algorithm: KeyAlgorithm, input: &[u8]) -> Result<Vec<u8>>;

    /// Decrypts one block.
    ///
    /// # Errors
    /// As [`TokenSession::decrypt`](ctk_token::TokenSession::decrypt). [`TokenError::NotSupported`] by default.
    fn decrypt(
        &self,
        key: &KeyRecord,
        algorithm: KeyAlgorithm,
        input: &[u8],
    ) -> Result<zeroize::Zeroizing<Vec<u8>>> {
        let _ = (key, algorithm, input);
        Err(TokenError::NotSupported)
    }

    /// Agrees on a secret with the peer's uncompressed point.
    ///
    /// # Errors
    /// As [`TokenSession::key_exchange`](ctk_token::TokenSession::key_exchange). [`TokenError::NotSupported`] by default.
    fn key_exchange(
        &self,
        key: &KeyRecord,
        algorithm: KeyAlgorithm,
        peer: &[u8],
    ) -> Result<zeroize::Zeroizing<Vec<u8>>> {
        let _ = (key, algorithm, peer);
        Err(TokenError::NotSupported)
    }
}
