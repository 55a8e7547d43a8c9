//! A whole token backend in about 70 lines: one slot, one token, one fixed key, no PIN.
//!
//! The key in `TEST-KEY.p8` is public by being here: it is for looking at, never for use.
#![forbid(unsafe_code)]

use std::sync::Arc;

use ctk_crypto::PrivateKey;
use ctk_token::*;

/// One fixed key, as a driver.
#[derive(Debug)]
pub struct Driver(Arc<OneKey>);

/// The token and, as it needs no state, its session.
#[derive(Clone, Debug)]
struct OneKey(Arc<PrivateKey>, Arc<KeychainContents>);

/// The place of the token.
struct Place(Arc<OneKey>);

impl Driver {
    /// Parses the key.
    pub fn new() -> Result<Self> {
        let private = PrivateKey::from_pkcs8(include_bytes!("TEST-KEY.p8"))?;
        let id = ObjectId::new(b"the-key");
        let key = Key::new(id, "Example key", &[1], private.public_key().clone());
        let items = vec![Item::Key(Box::new(Key {
            sign: Constraint::Free,
            ..key
        }))];
        let contents = KeychainContents {
            generation: 0,
            items,
        };
        Ok(Self(Arc::new(OneKey(
            Arc::new(private),
            Arc::new(contents),
        ))))
    }
}

impl TokenDriver for Driver {
    fn name(&self) -> &'static str {
        "example"
    }
    fn slots(&self) -> Vec<Arc<dyn Slot>> {
        vec![Arc::new(Place(self.0.clone()))]
    }
}

impl Slot for Place {
    fn id(&self) -> &str {
        "example"
    }
    fn token(&self) -> Option<Arc<dyn Token>> {
        Some(self.0.clone())
    }
}

impl Token for OneKey {
    fn info(&self) -> TokenInfo {
        TokenInfo {
            login: LoginPolicy::OnUse,
            ..TokenInfo::software("Example", "One key", "1")
        }
    }
    fn contents(&self) -> Arc<KeychainContents> {
        self.1.clone()
    }
    fn create_session(&self) -> Result<Arc<dyn TokenSession>> {
        Ok(Arc::new(self.clone()))
    }
}

impl TokenSession for OneKey {
    fn supports(&self, operation: Operation, key: &ObjectId, algorithm: KeyAlgorithm) -> bool {
        let is_for_it = operation == Operation::Sign && self.1.key(key).is_some();
        is_for_it && self.0.supports(operation, algorithm)
    }
    fn sign(
        &self,
        key: &ObjectId,
        how: KeyAlgorithm,
        text: &[u8],
        out: &mut [u8],
    ) -> Result<usize> {
        self.1.key(key).ok_or(TokenError::ObjectNotFound)?;
        self.0.sign(how, text, out)
    }
}
