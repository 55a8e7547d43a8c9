//! A key of a token, to sign with.

use std::sync::Arc;

use ctk_network::{Configuration, Driver};
use ctk_token::{
    AuthSecret, Digest, Key, KeyAlgorithm, KeyType, Operation, Result, Role, TokenDriver,
    TokenError, TokenSession,
};

use super::openssl_program;

/// The first key of a token, in a session of its own.
pub struct Signer {
    session: Arc<dyn TokenSession>,
    key: Key,
}

/// What is signed: a hash.
const HASH: [u8; 32] = [0x5a; 32];

impl Signer {
    /// Of a new driver.
    pub fn new(configuration: &Configuration) -> Self {
        let driver = Driver::new(configuration.protocol, vec![configuration.clone()]);
        let token = driver.slots()[0].token().expect("a token");
        let key = token.contents().keys().next().expect("a key").clone();
        Self {
            session: token.create_session().expect("a session"),
            key,
        }
    }

    /// Logs in for all of the session, or for the key's next operation.
    pub fn log_in(&self, role: Role, pin: &str) -> Result<()> {
        let item = (role == Role::Context).then_some(&self.key.id);
        let login = self.session.begin_auth(role, item)?;
        login.finish(AuthSecret::Pin(pin.as_bytes()))
    }

    /// Signs; what comes of it is a signature of the key.
    pub fn sign(&self) -> Result<()> {
        let algorithm = match self.key.public_key.key_type() {
            KeyType::Rsa { .. } => KeyAlgorithm::RsaPkcs1Digest(Digest::Sha256),
            _ => KeyAlgorithm::EcdsaDigest,
        };
        assert!(
            self.session
                .supports(Operation::Sign, &self.key.id, algorithm)
        );
        let mut signature = vec![0; self.key.public_key.max_signature_len()];
        let len = self
            .session
            .sign(&self.key.id, algorithm, &HASH, &mut signature)?;
        let spki = self.key.public_key.spki();
        let fits = openssl_program::verifies(spki, algorithm, &HASH, &signature[..len]);
        assert!(fits, "a wrong signature");
        Ok(())
    }
}

/// The variant of an error without its reason.
pub fn kind(error: &TokenError) -> String {
    let text = format!("{error:?}");
    text.split(['(', '{', ' '])
        .next()
        .unwrap_or_default()
        .to_owned()
}
