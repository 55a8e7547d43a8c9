//! A card in a reader, in memory: it comes and goes, its contents are read late, and its
//! administrator writes to it.
#![allow(dead_code, unused_imports)] // each test file uses its part
#![allow(unreachable_pub)] // a module of several test programs
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a test's own functions

mod reader;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use ctk_crypto::PrivateKey;
use ctk_token::*;

pub use reader::{Opens, Reader, Readers};

use crate::support::PIN;

/// The management key.
pub const ADMIN: &[u8] = b"administrator";
/// What only a new PIN is set with, and what C_Login cannot check.
pub const PUK: &[u8] = b"87654321";
/// The last of the places for keys, which are numbered from 1.
pub const LAST: u8 = 4;

/// A card with places for keys, which it makes itself.
#[derive(Default)]
pub struct Card {
    /// What is on it, and whether it has been read.
    contents: Mutex<Arc<KeychainContents>>,
    items: Mutex<Vec<Item>>,
    keys: Mutex<Vec<(ObjectId, Arc<PrivateKey>)>>,
    pub write_protected: bool,
    pub pin: Mutex<Vec<u8>>,
    /// Wrong user PINs since the last right one.
    pub wrong: AtomicUsize,
    pub wrong_admin: AtomicUsize,
    /// What becomes of the next command.
    pub next_error: Mutex<Option<TokenError>>,
    /// How often it was asked what it is, for its contents, and for a value.
    pub infos: AtomicUsize,
    pub loads: AtomicUsize,
    pub reads: AtomicUsize,
    /// The authentications that were ended, in order.
    pub ended: Mutex<Vec<Role>>,
    /// How many sessions there are, and how many secrets were sent.
    pub sessions: AtomicUsize,
    pub attempts: AtomicUsize,
    /// Is asked when a session ends an authentication.
    pub while_ending: Mutex<Option<Box<dyn FnMut() + Send>>>,
}

impl Card {
    pub fn new(items: Vec<Item>) -> Arc<Self> {
        Arc::new(Self::unread(items))
    }

    pub fn unread(items: Vec<Item>) -> Self {
        Self {
            items: Mutex::new(items),
            pin: Mutex::new(PIN.to_vec()),
            ..Self::default()
        }
    }

    /// Puts a key into a place, that of a card that was in use for long.
    pub fn add_key(&self, place: u8, key: PrivateKey, reuse: Reuse) {
        let auth = Constraint::Auth(AuthId(0), reuse);
        let id = ObjectId::new(&[b'k', place]);
        let item = Item::Key(Box::new(Key {
            sign: auth,
            decrypt: auth,
            key_exchange: auth,
            public_label: Some(format!("Public {place}")),
            origin: Origin::Generated,
            ..Key::new(
                id.clone(),
                &format!("Private {place}"),
                &[place],
                key.public_key().clone(),
            )
        }));
        self.keys.lock().unwrap().push((id, Arc::new(key)));
        self.items.lock().unwrap().push(item);
    }

    fn command(&self) -> Result<()> {
        self.next_error.lock().unwrap().take().map_or(Ok(()), Err)
    }

    /// Changes what is on it, and what is known of that.
    fn change(&self, change: impl FnOnce(&mut Vec<Item>)) {
        let mut items = self.items.lock().unwrap();
        change(&mut items);
        self.publish(&items);
    }

    fn publish(&self, items: &[Item]) {
        let mut contents = self.contents.lock().unwrap();
        *contents = Arc::new(KeychainContents {
            generation: contents.generation + 1,
            items: items.to_vec(),
        });
    }

    fn key(&self, id: &ObjectId) -> Result<Arc<PrivateKey>> {
        let keys = self.keys.lock().unwrap();
        let key = keys.iter().find(|(known, _)| known == id);
        key.map(|(_, key)| Arc::clone(key))
            .ok_or(TokenError::ObjectNotFound)
    }

    fn reuse(&self, id: &ObjectId) -> Reuse {
        let items = self.items.lock().unwrap();
        let key = items.iter().find(|item| item.id() == id);
        match key {
            Some(Item::Key(key)) if key.authenticates_always() => Reuse::Operation,
            _ => Reuse::Session,
        }
    }
}

/// Data that somebody may read, or the user alone.
pub fn data(name: &str, read: Constraint) -> Item {
    Item::Data(DataObject {
        id: ObjectId::new(name.as_bytes()),
        label: name.into(),
        application: "test".into(),
        object_id: vec![6, 1, 42],
        value: None,
        read,
    })
}

/// The card as a reader hands it out.
pub struct Face(pub Arc<Card>);

impl Token for Face {
    fn info(&self) -> TokenInfo {
        self.0.infos.fetch_add(1, Ordering::SeqCst);
        let state = |wrong: &AtomicUsize| match wrong.load(Ordering::SeqCst) {
            0 => PinState::Normal,
            1 => PinState::CountLow,
            2 => PinState::FinalTry,
            _ => PinState::Locked,
        };
        TokenInfo {
            writable: !self.0.write_protected,
            user_pin: state(&self.0.wrong),
            admin_pin: state(&self.0.wrong_admin),
            ..TokenInfo::software("Card", "Test", "0001")
        }
    }
    fn login_policy(&self) -> LoginPolicy {
        LoginPolicy::App
    }
    fn load(&self) -> Result<()> {
        self.0.loads.fetch_add(1, Ordering::SeqCst);
        self.0.command()?;
        if self.0.contents.lock().unwrap().generation == 0 {
            let items = self.0.items.lock().unwrap();
            self.0.publish(&items);
        }
        Ok(())
    }
    fn contents(&self) -> Arc<KeychainContents> {
        Arc::clone(&self.0.contents.lock().unwrap())
    }
    fn create_session(&self) -> Result<Arc<dyn TokenSession>> {
        self.0.sessions.fetch_add(1, Ordering::SeqCst);
        Ok(Arc::new(CardSession {
            card: Arc::clone(&self.0),
            user: AtomicBool::default(),
            admin: AtomicBool::default(),
            context: AtomicBool::default(),
            puk: Mutex::default(),
        }))
    }
}

struct CardSession {
    card: Arc<Card>,
    user: AtomicBool,
    admin: AtomicBool,
    context: AtomicBool,
    puk: Mutex<Option<Vec<u8>>>,
}

impl CardSession {
    fn need(&self, role: &AtomicBool) -> Result<()> {
        self.card.command()?;
        match role.load(Ordering::SeqCst) {
            true => Ok(()),
            false => Err(TokenError::AuthenticationNeeded),
        }
    }

    fn need_for(&self, key: &ObjectId) -> Result<Arc<PrivateKey>> {
        match self.card.reuse(key) {
            Reuse::Session => self.need(&self.user)?,
            Reuse::Operation => {
                self.need(&self.context)?;
                self.context.store(false, Ordering::SeqCst);
            }
        }
        self.card.key(key)
    }

    fn check(&self, secret: &[u8], right: &[u8], wrong: &AtomicUsize) -> Result<()> {
        self.card.attempts.fetch_add(1, Ordering::SeqCst);
        self.card.command()?;
        if wrong.load(Ordering::SeqCst) >= 3 {
            return Err(TokenError::PinLocked);
        }
        if secret == right {
            wrong.store(0, Ordering::SeqCst);
            return Ok(());
        }
        let left = 2 - wrong.fetch_add(1, Ordering::SeqCst);
        Err(TokenError::AuthenticationFailed {
            tries: u32::try_from(left).ok(),
        })
    }
}

struct Login<'a>(&'a CardSession, Role);

impl AuthOperation for Login<'_> {
    fn method(&self) -> AuthMethod {
        AuthMethod::Password
    }
    fn finish(self: Box<Self>, secret: AuthSecret<'_>) -> Result<()> {
        let Self(session, role) = *self;
        let AuthSecret::Pin(secret) = secret else {
            return Err(TokenError::BadParameter);
        };
        if role == Role::Admin && secret.len() == PUK.len() {
            // Kept until it is used.
            *session.puk.lock().unwrap() = Some(secret.to_vec());
            return Ok(());
        }
        let (right, wrong, is) = match role {
            Role::Admin => (ADMIN.to_vec(), &session.card.wrong_admin, &session.admin),
            role => (
                session.card.pin.lock().unwrap().clone(),
                &session.card.wrong,
                match role {
                    Role::Context => &session.context,
                    _ => &session.user,
                },
            ),
        };
        session.check(secret, &right, wrong)?;
        is.store(true, Ordering::SeqCst);
        Ok(())
    }
}

impl TokenSession for CardSession {
    fn begin_auth(&self, role: Role, _: Option<&ObjectId>) -> Result<Box<dyn AuthOperation + '_>> {
        match role {
            Role::User | Role::Admin | Role::Context => Ok(Box::new(Login(self, role))),
            Role::Unblock => Err(TokenError::NotSupported),
        }
    }
    fn end_auth(&self, role: Role) {
        self.card.ended.lock().unwrap().push(role);
        if let Some(work) = &mut *self.card.while_ending.lock().unwrap() {
            work();
        }
        match role {
            Role::User => self.user.store(false, Ordering::SeqCst),
            Role::Context => self.context.store(false, Ordering::SeqCst),
            Role::Admin | Role::Unblock => {
                self.admin.store(false, Ordering::SeqCst);
                *self.puk.lock().unwrap() = None;
            }
        }
    }
    fn supports(&self, operation: Operation, key: &ObjectId, algorithm: KeyAlgorithm) -> bool {
        let key = self.card.key(key);
        key.is_ok_and(|key| key.supports(operation, algorithm))
    }
    fn sign(
        &self,
        key: &ObjectId,
        algorithm: KeyAlgorithm,
        input: &[u8],
        signature: &mut [u8],
    ) -> Result<usize> {
        self.need_for(key)?.sign(algorithm, input, signature)
    }
    fn decrypt(
        &self,
        key: &ObjectId,
        algorithm: KeyAlgorithm,
        input: &[u8],
        plaintext: &mut [u8],
    ) -> Result<usize> {
        self.need_for(key)?.decrypt(algorithm, input, plaintext)
    }
    fn key_exchange(
        &self,
        key: &ObjectId,
        algorithm: KeyAlgorithm,
        peer: &[u8],
        secret: &mut [u8],
    ) -> Result<usize> {
        self.need_for(key)?.key_exchange(algorithm, peer, secret)
    }
    fn read(&self, item: &ObjectId) -> Result<Vec<u8>> {
        let reads = self.card.reads.fetch_add(1, Ordering::SeqCst);
        let contents = self.card.contents.lock().unwrap().clone();
        let found = contents.items.iter().find(|one| one.id() == item);
        match found {
            Some(Item::Data(data)) if data.read == Constraint::Free => self.card.command()?,
            _ => self.need(&self.user)?,
        }
        // Another one each time, to see which one a program gets.
        Ok(format!("{item:?} {reads}").into_bytes())
    }
    fn change_pin(&self, role: Role, old: AuthSecret<'_>, new: &[u8]) -> Result<()> {
        let AuthSecret::Pin(old) = old else {
            return Err(TokenError::BadParameter);
        };
        match role {
            Role::Admin => self.check(old, ADMIN, &self.card.wrong_admin),
            _ => {
                let mut pin = self.card.pin.lock().unwrap();
                self.check(old, &pin, &self.card.wrong)?;
                *pin = new.to_vec();
                Ok(())
            }
        }
    }
    fn unblock_pin(&self, new: &[u8]) -> Result<()> {
        let puk = self.puk.lock().unwrap().clone();
        match puk {
            Some(puk) => self.check(&puk, PUK, &self.card.wrong_admin)?,
            None => self.need(&self.admin)?,
        }
        if new.len() < 4 {
            return Err(TokenError::PinLength { min: 4, max: 8 });
        }
        if !new.is_ascii() {
            return Err(TokenError::DataInvalid);
        }
        *self.card.pin.lock().unwrap() = new.to_vec();
        self.card.wrong.store(0, Ordering::SeqCst);
        Ok(())
    }
    fn generate_key(&self, wanted: &NewKey<'_>) -> Result<ObjectId> {
        self.need(&self.admin)?;
        let taken = |place: u8| {
            let items = self.card.items.lock().unwrap();
            let key = ObjectId::new(&[b'k', place]);
            items.iter().any(|item| *item.id() == key)
        };
        let place = match wanted.identity {
            Some([place @ 1..=LAST]) => *place,
            Some(_) => return Err(TokenError::ObjectNotFound),
            None => (1..=LAST)
                .find(|place| !taken(*place))
                .ok_or(TokenError::NoSpace)?,
        };
        if matches!(
            wanted.key_type,
            KeyType::Ed448 | KeyType::Rsa { bits: 1024 }
        ) || matches!(wanted.key_type, KeyType::MlDsa44)
        {
            return Err(TokenError::BadParameter);
        }
        let id = ObjectId::new(&[b'k', place]);
        let key = PrivateKey::generate(wanted.key_type)?;
        self.card
            .items
            .lock()
            .unwrap()
            .retain(|item| *item.id() != id);
        self.card
            .keys
            .lock()
            .unwrap()
            .retain(|(known, _)| *known != id);
        self.card.add_key(place, key, Reuse::Session);
        self.card.change(|items| {
            if let (Some(Item::Key(key)), Some(label)) = (items.last_mut(), wanted.label) {
                key.label = label.into();
            }
        });
        Ok(id)
    }
    fn import_certificate(&self, identity: Option<&[u8]>, der: &[u8]) -> Result<ObjectId> {
        self.need(&self.admin)?;
        let public_key = PublicKey::from_certificate(der).map_err(|_| TokenError::DataInvalid)?;
        let contents = self.card.contents.lock().unwrap().clone();
        let about = contents.keys().find(|key| key.public_key == public_key);
        let place = match (identity, about) {
            (Some([place @ 1..=LAST]), _) => *place,
            (Some(_), _) | (None, None) => return Err(TokenError::ObjectNotFound),
            (None, Some(key)) => key.identity[0],
        };
        if contents
            .keys()
            .any(|key| key.identity == [place] && key.public_key != public_key)
        {
            return Err(TokenError::DataInvalid);
        }
        let id = ObjectId::new(&[b'c', place]);
        let certificate = Item::Certificate(Certificate {
            id: id.clone(),
            label: format!("Certificate {place}"),
            identity: vec![place],
            der: der.to_vec(),
        });
        self.card.change(|items| {
            items.retain(|item| *item.id() != id);
            items.push(certificate);
        });
        Ok(id)
    }
    fn delete(&self, item: &ObjectId) -> Result<()> {
        self.need(&self.admin)?;
        self.card
            .change(|items| items.retain(|one| one.id() != item));
        Ok(())
    }
}

impl Drop for CardSession {
    fn drop(&mut self) {
        self.card.sessions.fetch_sub(1, Ordering::SeqCst);
    }
}
