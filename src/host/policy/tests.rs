//! The policies over a token of two keys with a PIN, which counts what is sent to it.

mod stored_pin;

use std::{
    collections::HashMap,
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use ctk_token::{
    AuthId, AuthMethod, AuthOperation, AuthSecret, Certificate, Key, KeyAlgorithm, NewKey,
    Operation, Origin, PinState, PublicKey, Reuse, TokenSession,
};

use super::*;
use crate::{
    config::{Contents, Login, Place, Scope, Settings},
    pin::PinSource,
    test_folder::TestFolder,
};

const PIN: &[u8] = b"1234";
/// How many use a token at once.
const THREADS: usize = 8;

/// Signs with `input` itself, in a session that has logged in with the PIN.
struct Store {
    pin: Mutex<Vec<u8>>,
    /// What a wrong PIN leaves, if they are counted.
    tries: Option<u32>,
    sent: AtomicUsize,
    reuse_operation: bool,
    /// Whether the PIN for one operation is looked at only when that comes.
    looks_late: bool,
    login: LoginPolicy,
    /// Where two sessions meet that find themselves closed for the first time.
    meeting: Option<Barrier>,
    /// Whether it does not answer, and gives all that begin the time to wait for one another.
    stalls: AtomicBool,
    begun: AtomicUsize,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            pin: Mutex::new(PIN.to_vec()),
            tries: Some(2),
            sent: AtomicUsize::new(0),
            reuse_operation: false,
            looks_late: false,
            login: LoginPolicy::App,
            meeting: None,
            stalls: AtomicBool::new(false),
            begun: AtomicUsize::new(0),
        }
    }
}

impl Store {
    fn look_at(&self, pin: &[u8]) -> Result<()> {
        self.sent.fetch_add(1, Ordering::Relaxed);
        if self.stalls.load(Ordering::Acquire) {
            let deadline = Instant::now() + Duration::from_secs(60);
            while self.begun.load(Ordering::Acquire) < THREADS && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(1));
            }
            // For the way from there to the wait.
            thread::sleep(Duration::from_millis(500));
            return Err(TokenError::TimedOut);
        }
        match pin == *self.pin.lock() {
            true => Ok(()),
            false => Err(TokenError::AuthenticationFailed { tries: self.tries }),
        }
    }
}

struct TestSlot(Arc<TestToken>);
struct TestToken(Arc<Store>, Arc<KeychainContents>);
struct TestSession {
    store: Arc<Store>,
    open: Mutex<bool>,
    /// What was given for one operation, by a key.
    held: Mutex<HashMap<ObjectId, Vec<u8>>>,
    has_met: AtomicBool,
}
struct TestOperation<'a>(&'a TestSession, Option<ObjectId>);

impl Slot for TestSlot {
    fn id(&self) -> &str {
        "test"
    }
    fn info(&self) -> SlotInfo {
        SlotInfo {
            description: "test".into(),
            manufacturer: "test".into(),
            removable: false,
            hardware: false,
        }
    }
    fn token(&self) -> Option<Arc<dyn Token>> {
        Some(self.0.clone())
    }
}

impl Token for TestToken {
    fn info(&self) -> TokenInfo {
        TokenInfo {
            label: "test".into(),
            manufacturer: "test".into(),
            model: "test".into(),
            serial_number: "1".into(),
            login: self.0.login,
            min_pin_len: 0,
            max_pin_len: 255,
            user_pin: PinState::Normal,
            admin_pin: PinState::Normal,
            writable: false,
            has_random: false,
            hardware_version: (0, 0),
            firmware_version: (0, 0),
        }
    }
    fn contents(&self) -> Arc<KeychainContents> {
        self.1.clone()
    }
    fn create_session(&self) -> Result<Arc<dyn TokenSession>> {
        Ok(Arc::new(TestSession {
            store: self.0.clone(),
            open: Mutex::new(false),
            held: Mutex::default(),
            has_met: AtomicBool::new(false),
        }))
    }
}

impl TokenSession for TestSession {
    fn begin_auth(&self, _: Role, key: Option<&ObjectId>) -> Result<Box<dyn AuthOperation + '_>> {
        Ok(Box::new(TestOperation(self, key.cloned())))
    }
    fn end_auth(&self, _: Role) {
        *self.open.lock() = false;
        self.held.lock().clear();
    }
    fn supports(&self, _: Operation, _: &ObjectId, _: KeyAlgorithm) -> bool {
        true
    }
    fn sign(
        &self,
        key: &ObjectId,
        _: KeyAlgorithm,
        input: &[u8],
        signature: &mut [u8],
    ) -> Result<usize> {
        let held = self.held.lock().remove(key);
        if let Some(pin) = held {
            self.store.look_at(&pin)?;
            *self.open.lock() = true;
        }
        let mut open = self.open.lock();
        if !*open {
            drop(open);
            if let Some(meeting) = &self.store.meeting
                && !self.has_met.swap(true, Ordering::Relaxed)
            {
                meeting.wait();
            }
            return Err(TokenError::AuthenticationNeeded);
        }
        *open = !self.store.reuse_operation;
        signature[..input.len()].copy_from_slice(input);
        Ok(input.len())
    }
    fn generate_key(&self, _: &NewKey<'_>) -> Result<ObjectId> {
        Ok(ObjectId::new(b"new"))
    }
    fn introduce_key(&self, _: &[u8], _: &PublicKey) -> Result<ObjectId> {
        Ok(ObjectId::new(b"new"))
    }
    fn import_certificate(&self, _: Option<&[u8]>, _: &[u8]) -> Result<ObjectId> {
        Ok(ObjectId::new(b"new"))
    }
    fn change_pin(&self, _: Role, old: AuthSecret<'_>, new: &[u8]) -> Result<()> {
        let mut pin = self.store.pin.lock();
        match old {
            AuthSecret::Pin(old) if old == *pin => *pin = new.to_vec(),
            _ => return Err(TokenError::AuthenticationFailed { tries: None }),
        }
        Ok(())
    }
}

impl AuthOperation for TestOperation<'_> {
    fn method(&self) -> AuthMethod {
        AuthMethod::Password
    }
    fn finish(self: Box<Self>, secret: AuthSecret<'_>) -> Result<()> {
        let AuthSecret::Pin(pin) = secret else {
            return Err(TokenError::BadParameter);
        };
        let store = &self.0.store;
        match self.1 {
            Some(key) if store.looks_late => {
                self.0.held.lock().insert(key, pin.to_vec());
                return Ok(());
            }
            _ => store.look_at(pin)?,
        }
        *self.0.open.lock() = true;
        Ok(())
    }
}

fn identity(number: u8, label: &str, reuse: Reuse) -> [Item; 2] {
    let spki = [
        crate::config::from_hex("302a300506032b6570032100").unwrap(),
        vec![number; 32],
    ];
    let auth = Constraint::Auth(AuthId(0), reuse);
    [
        Item::Certificate(Certificate {
            id: ObjectId::new(&[b'c', number]),
            label: "certificate".into(),
            identity: vec![number],
            der: vec![0x30, 0],
        }),
        Item::Key(Box::new(Key {
            id: ObjectId::new(&[b'k', number]),
            public_label: None,
            label: label.into(),
            identity: vec![number],
            public_key: PublicKey::from_spki(&spki.concat()).unwrap(),
            subject: None,
            sign: auth,
            decrypt: Constraint::Never,
            key_exchange: auth,
            origin: Origin::Imported,
        })),
    ]
}

fn config(pin: PinSource, login: Login) -> TokenConfig {
    TokenConfig {
        name: "test".into(),
        driver: "test".into(),
        label: "Test".into(),
        serial: String::new(),
        order: 0,
        removable: true,
        hidden: Vec::new(),
        programs: Vec::new(),
        not_programs: Vec::new(),
        pin,
        login,
        commands: false,
        settings: Settings::default(),
        contents: Contents::default(),
        place: Place {
            file: "/test".into(),
            line: 1,
            scope: Scope::User,
        },
    }
}

fn slot(config: TokenConfig, store: &Arc<Store>) -> ConfiguredSlot {
    let reuse = match store.reuse_operation {
        true => Reuse::Operation,
        false => Reuse::Session,
    };
    let items = [identity(1, "one", reuse), identity(2, "two", reuse)].concat();
    let contents = Arc::new(KeychainContents {
        generation: 3,
        items,
    });
    let token = Arc::new(TestToken(store.clone(), contents));
    ConfiguredSlot::new(Arc::new(TestSlot(token)), config, &Environment::empty())
}

fn sign(session: &dyn TokenSession) -> Result<usize> {
    sign_with(session, b"k\x01")
}

fn sign_with(session: &dyn TokenSession, key: &[u8]) -> Result<usize> {
    session.sign(
        &ObjectId::new(key),
        KeyAlgorithm::EdDsa,
        b"abc",
        &mut [0; 64],
    )
}

fn log_in(session: &dyn TokenSession, secret: AuthSecret<'_>) -> Result<()> {
    session.begin_auth(Role::User, None)?.finish(secret)
}

const WRONG: Result<()> = Err(TokenError::AuthenticationFailed { tries: Some(2) });

#[test]
fn without_policy_the_token_is_as_the_driver_made_it() {
    let store = Arc::new(Store::default());
    let slot = slot(config(PinSource::App, Login::App), &store);
    assert!(slot.info().removable);
    let token = slot.token().unwrap();
    assert!(Arc::ptr_eq(&token, &slot.token().unwrap()));
    assert_eq!(token.info().login, LoginPolicy::App);
    assert_eq!(token.contents().items.len(), 4);
    let session = token.create_session().unwrap();
    assert_eq!(sign(&*session), Err(TokenError::AuthenticationNeeded));
    assert_eq!(
        log_in(&*session, AuthSecret::FromToken),
        Err(TokenError::BadParameter)
    );
    assert_eq!(log_in(&*session, AuthSecret::Pin(PIN)), Ok(()));
    assert_eq!(sign(&*session), Ok(3));
}

#[test]
fn hidden_identities_are_not_there() {
    let store = Arc::new(Store::default());
    for hidden in ["01", "one"] {
        let mut config = config(PinSource::App, Login::App);
        config.hidden = vec![hidden.into()];
        let token = slot(config, &store).token().unwrap();
        let contents = token.contents();
        let ids: Vec<_> = contents
            .items
            .iter()
            .map(|item| item.id().as_bytes())
            .collect();
        assert_eq!(ids, [b"c\x02", b"k\x02"], "{hidden}");
        assert!(Arc::ptr_eq(&contents, &token.contents()));
        let session = token.create_session().unwrap();
        let key = ObjectId::new(b"k\x01");
        assert_eq!(sign(&*session), Err(TokenError::ObjectNotFound));
        assert!(!session.supports(Operation::Sign, &key, KeyAlgorithm::EdDsa));
        assert!(session.begin_auth(Role::Context, Some(&key)).is_err());
    }
}

#[test]
fn nothing_is_put_in_the_place_of_a_hidden_identity() {
    let store = Arc::new(Store::default());
    for hidden in ["01", "one"] {
        let mut config = config(PinSource::App, Login::App);
        config.hidden = vec![hidden.into()];
        let token = slot(config, &store).token().unwrap();
        let session = token.create_session().unwrap();
        let keys =
            [(1, "one"), (2, "two")].map(|(number, label)| identity(number, label, Reuse::Session));
        let keys = keys.map(|[_, key]| match key {
            Item::Key(key) => key.public_key,
            _ => panic!("the second is the key"),
        });
        for ((place, key), is_hidden) in (1..).zip(&keys).zip([true, false]) {
            let expected = match is_hidden {
                true => Err(TokenError::ObjectNotFound),
                false => Ok(ObjectId::new(b"new")),
            };
            let place: &[u8] = &[place];
            let generated = session.generate_key(&NewKey {
                key_type: key.key_type(),
                identity: Some(place),
                label: None,
            });
            assert_eq!(generated, expected, "{hidden}");
            assert_eq!(session.introduce_key(place, key), expected, "{hidden}");
            let certificate = [b"certificate", key.spki()].concat();
            let import = |place| session.import_certificate(place, &certificate);
            assert_eq!(import(Some(place)), expected, "{hidden}");
            assert_eq!(import(None), expected, "{hidden}");
        }
    }
}
