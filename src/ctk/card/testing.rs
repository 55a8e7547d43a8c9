//! A card in software for unit tests: its keys work, and it counts what it was asked for.

use std::sync::Arc;

use ctk_crypto::PrivateKey;
use ctk_token::{
    AuthId, AuthMethod, AuthOperation, AuthSecret, Constraint, Curve, DataObject, Item, Key,
    KeyAlgorithm, KeyType, KeychainContents, ObjectId, Operation, PinState, PublicKey, Reason,
    Result, Reuse, Role, Slot, SlotInfo, Token, TokenError, TokenInfo, TokenSession,
};
use parking_lot::Mutex;

use super::find::Card;

pub(crate) const PIN: &[u8] = b"123456";

/// A reader in which a card is or is not.
pub(crate) struct TestReader {
    name: String,
    pub(crate) token: Mutex<Option<Arc<dyn Token>>>,
    pub(crate) obstacle: Mutex<Option<Reason>>,
}

impl TestReader {
    pub(crate) fn new(name: &str, token: Option<Arc<dyn Token>>) -> Self {
        Self {
            name: name.to_owned(),
            token: Mutex::new(token),
            obstacle: Mutex::default(),
        }
    }

    /// With a card that is no token.
    pub(crate) fn with_obstacle(name: &str, reason: &str) -> Self {
        let reader = Self::new(name, None);
        *reader.obstacle.lock() = Some(Reason::new(reason));
        reader
    }
}

impl Slot for TestReader {
    fn id(&self) -> &str {
        &self.name
    }

    fn info(&self) -> SlotInfo {
        SlotInfo {
            description: self.name.clone(),
            manufacturer: String::new(),
            removable: true,
            hardware: true,
        }
    }

    fn token(&self) -> Option<Arc<dyn Token>> {
        self.token.lock().clone()
    }

    fn obstacle(&self) -> Option<Reason> {
        self.obstacle.lock().clone()
    }
}

/// What is on a card.
pub(crate) struct TestCard {
    info: TokenInfo,
    tries: Option<u32>,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    keys: Mutex<Vec<(Key, Option<Arc<PrivateKey>>)>>,
    /// What has to be read, or is not there.
    data: Mutex<Vec<(DataObject, Option<Vec<u8>>)>>,
    /// Which roles are authenticated, and for which key once more.
    user: Mutex<bool>,
    context: Mutex<Option<ObjectId>>,
}

impl TestCard {
    /// A PIV card without keys.
    pub(crate) fn empty() -> Self {
        let info = TokenInfo {
            manufacturer: "piv_II".to_owned(),
            min_pin_len: 6,
            max_pin_len: 8,
            writable: true,
            ..TokenInfo::software("Test Card", "PKCS#15 emulated", "0011223344556677")
        };
        Self {
            info,
            tries: None,
            state: Arc::default(),
        }
    }

    /// A PIV card with an authentication key (P-256) and a signature key (P-384), which wants the PIN each time.
    pub(crate) fn piv() -> Self {
        Self::empty()
            .with(KeyType::Ec(Curve::P256), 1, Reuse::Session)
            .with(KeyType::Ec(Curve::P384), 2, Reuse::Operation)
    }

    /// With a key of this kind.
    pub(crate) fn with(self, key_type: KeyType, id: u8, reuse: Reuse) -> Self {
        let private = PrivateKey::generate(key_type).unwrap();
        let mut key = key(id, private.public_key().clone());
        key.sign = Constraint::Auth(AuthId(1), reuse);
        self.state.keys.lock().push((key, Some(Arc::new(private))));
        self
    }

    /// With a data object that tells its value when it is read, or has none.
    pub(crate) fn with_data(self, label: &str, value: Option<&[u8]>) -> Self {
        let object = DataObject {
            id: ObjectId::new(label.as_bytes()),
            label: label.to_owned(),
            application: String::new(),
            object_id: Vec::new(),
            value: None,
            read: Constraint::Free,
        };
        let value = value.map(ToOwned::to_owned);
        self.state.data.lock().push((object, value));
        self
    }

    /// As it is after wrong PINs.
    pub(crate) fn tries(mut self, left: u32) -> Self {
        self.tries = Some(left);
        self.info.user_pin = match left {
            0 => PinState::Locked,
            1 => PinState::FinalTry,
            2 => PinState::CountLow,
            _ => PinState::Normal,
        };
        self
    }

    pub(crate) fn token(self) -> Arc<dyn Token> {
        Arc::new(self)
    }

    pub(crate) fn card(self) -> Card {
        Card {
            reader: "Test Reader".to_owned(),
            token: self.token(),
        }
    }
}

fn key(id: u8, public_key: PublicKey) -> Key {
    Key::new(
        ObjectId::new(&[id]),
        &format!("key {id:02}"),
        &[id],
        public_key,
    )
}

impl Token for TestCard {
    fn info(&self) -> TokenInfo {
        self.info.clone()
    }

    fn kind(&self) -> String {
        "PIV card".to_owned()
    }

    fn tries_left(&self, role: Role) -> Option<u32> {
        self.tries.filter(|_| role == Role::User)
    }

    fn contents(&self) -> Arc<KeychainContents> {
        let keys = self.state.keys.lock();
        let data = self.state.data.lock();
        let items = keys.iter().map(|(key, _)| Item::Key(Box::new(key.clone())));
        let items = items.chain(data.iter().map(|(data, _)| Item::Data(data.clone())));
        Arc::new(KeychainContents {
            generation: keys.len() as u64,
            items: items.collect(),
        })
    }

    fn create_session(&self) -> Result<Arc<dyn TokenSession>> {
        Ok(Arc::new(TestSession(self.state.clone())))
    }
}

struct TestSession(Arc<State>);

struct Login {
    state: Arc<State>,
    role: Role,
    key: Option<ObjectId>,
}

impl AuthOperation for Login {
    fn method(&self) -> AuthMethod {
        AuthMethod::Password
    }

    fn finish(self: Box<Self>, secret: AuthSecret<'_>) -> Result<()> {
        let AuthSecret::Pin(pin) = secret else {
            return Err(TokenError::BadParameter);
        };
        if pin != PIN {
            return Err(TokenError::AuthenticationFailed { tries: Some(2) });
        }
        match self.role {
            Role::Context => *self.state.context.lock() = self.key,
            _ => *self.state.user.lock() = true,
        }
        Ok(())
    }
}

impl TokenSession for TestSession {
    fn begin_auth(
        &self,
        role: Role,
        item: Option<&ObjectId>,
    ) -> Result<Box<dyn AuthOperation + '_>> {
        Ok(Box::new(Login {
            state: self.0.clone(),
            role,
            key: item.cloned(),
        }))
    }

    fn supports(&self, operation: Operation, _: &ObjectId, algorithm: KeyAlgorithm) -> bool {
        operation == Operation::Sign
            && matches!(
                algorithm,
                KeyAlgorithm::RsaRaw | KeyAlgorithm::EcdsaDigest | KeyAlgorithm::EdDsa
            )
    }

    fn sign(
        &self,
        id: &ObjectId,
        algorithm: KeyAlgorithm,
        input: &[u8],
        signature: &mut [u8],
    ) -> Result<usize> {
        let keys = self.0.keys.lock();
        let found = keys.iter().find(|(key, _)| key.id == *id);
        let (key, private) = found.ok_or(TokenError::ObjectNotFound)?;
        let ready = self.0.context.lock().take().as_ref() == Some(id);
        if !*self.0.user.lock() || (key.authenticates_always() && !ready) {
            return Err(TokenError::AuthenticationNeeded);
        }
        let private = private.as_ref().ok_or(TokenError::ObjectNotFound)?;
        private.sign(algorithm, input, signature)
    }

    fn read(&self, item: &ObjectId) -> Result<Vec<u8>> {
        let data = self.0.data.lock();
        let found = data.iter().find(|(data, _)| data.id == *item);
        found
            .and_then(|(_, value)| value.clone())
            .ok_or(TokenError::ObjectNotFound)
    }

    fn introduce_key(&self, identity: &[u8], public_key: &PublicKey) -> Result<ObjectId> {
        let [id] = identity else {
            return Err(TokenError::ObjectNotFound);
        };
        let key = key(*id, public_key.clone());
        let name = key.id.clone();
        self.0.keys.lock().push((key, None));
        Ok(name)
    }
}
