//! The policies over a token of one key with a PIN, which counts what is sent to it.

use std::sync::{
    Barrier,
    atomic::{AtomicBool, AtomicUsize},
};

use ctk_token::{AuthId, Certificate, Key, Origin, PinState, PublicKey, Reuse};

use super::*;
use crate::{
    config::{Contents, Login, Place, Scope, Settings},
    pin::PinSource,
    test_folder::TestFolder,
};

const PIN: &[u8] = b"1234";

/// Signs with `input` itself, in a session that has logged in with the PIN.
struct Store {
    pin: Mutex<Vec<u8>>,
    /// What a wrong PIN leaves, if they are counted.
    tries: Option<u32>,
    sent: AtomicUsize,
    reuse_operation: bool,
    /// Where two sessions meet that find themselves closed for the first time.
    meeting: Option<Barrier>,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            pin: Mutex::new(PIN.to_vec()),
            tries: Some(2),
            sent: AtomicUsize::new(0),
            reuse_operation: false,
            meeting: None,
        }
    }
}

struct TestSlot(Arc<TestToken>);
struct TestToken(Arc<Store>, Arc<KeychainContents>);
struct TestSession {
    store: Arc<Store>,
    open: Mutex<bool>,
    has_met: AtomicBool,
}
struct TestOperation<'a>(&'a TestSession);

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
            login: LoginPolicy::App,
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
            has_met: AtomicBool::new(false),
        }))
    }
}

impl TokenSession for TestSession {
    fn begin_auth(&self, _: Role, _: Option<&ObjectId>) -> Result<Box<dyn AuthOperation + '_>> {
        Ok(Box::new(TestOperation(self)))
    }
    fn end_auth(&self, _: Role) {
        *self.open.lock() = false;
    }
    fn supports(&self, _: Operation, _: &ObjectId, _: KeyAlgorithm) -> bool {
        true
    }
    fn sign(
        &self,
        _: &ObjectId,
        _: KeyAlgorithm,
        input: &[u8],
        signature: &mut [u8],
    ) -> Result<usize> {
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
        store.sent.fetch_add(1, Ordering::Relaxed);
        if pin != *store.pin.lock() {
            return Err(TokenError::AuthenticationFailed { tries: store.tries });
        }
        *self.0.open.lock() = true;
        Ok(())
    }
}

fn identity(number: u8, label: &str) -> [Item; 2] {
    let spki = [
        crate::config::from_hex("302a300506032b6570032100").unwrap(),
        vec![number; 32],
    ];
    let auth = Constraint::Auth(AuthId(0), Reuse::Session);
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
    let items = [identity(1, "one"), identity(2, "two")].concat();
    let contents = Arc::new(KeychainContents {
        generation: 3,
        items,
    });
    let token = Arc::new(TestToken(store.clone(), contents));
    ConfiguredSlot::new(Arc::new(TestSlot(token)), config, &Environment::empty())
}

fn sign(session: &dyn TokenSession) -> Result<usize> {
    session.sign(
        &ObjectId::new(b"k\x01"),
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
        let keys = [identity(1, "one"), identity(2, "two")].map(|[_, key]| match key {
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

#[test]
fn a_stored_pin_logs_in_when_the_program_asks() {
    let folder = TestFolder::new();
    let store = Arc::new(Store::default());
    let pin = PinSource::File(folder.write("pin", "1234\n"));
    let token = slot(config(pin, Login::App), &store).token().unwrap();
    assert_eq!(token.info().login, LoginPolicy::AppWithoutPin);
    assert!(token.contents().keys().all(Key::needs_auth));
    let session = token.create_session().unwrap();
    assert_eq!(sign(&*session), Err(TokenError::AuthenticationNeeded));
    assert_eq!(
        session.begin_auth(Role::User, None).unwrap().method(),
        AuthMethod::FromToken
    );
    assert_eq!(log_in(&*session, AuthSecret::FromToken), Ok(()));
    assert_eq!(sign(&*session), Ok(3));
    // What a program gives is checked by the key store, always.
    assert_eq!(log_in(&*session, AuthSecret::Pin(b"no")), WRONG);
    assert_eq!(log_in(&*session, AuthSecret::Pin(b"")), WRONG);
    assert_eq!(store.sent.load(Ordering::Relaxed), 3);
    // The administrator's secret is not ours to give.
    let admin = session.begin_auth(Role::Admin, None).unwrap();
    assert_eq!(
        admin.finish(AuthSecret::FromToken),
        Err(TokenError::BadParameter)
    );
}

#[test]
fn on_use_a_signature_logs_in() {
    let folder = TestFolder::new();
    for reuse_operation in [false, true] {
        let store = Arc::new(Store {
            reuse_operation,
            ..Store::default()
        });
        let pin = PinSource::File(folder.write("pin", "1234"));
        let token = slot(config(pin, Login::OnUse), &store).token().unwrap();
        assert_eq!(token.info().login, LoginPolicy::OnUse);
        let contents = token.contents();
        assert_eq!(contents.generation, 3);
        assert!(contents.keys().all(|key| {
            !key.needs_auth() && key.sign == Constraint::Free && key.decrypt == Constraint::Never
        }));
        let session = token.create_session().unwrap();
        assert_eq!((sign(&*session), sign(&*session)), (Ok(3), Ok(3)));
        let sent = if reuse_operation { 2 } else { 1 };
        assert_eq!(store.sent.load(Ordering::Relaxed), sent);
        session.end_auth(Role::User);
        assert_eq!(sign(&*session), Ok(3));
        assert_eq!(store.sent.load(Ordering::Relaxed), sent + 1);
    }
}

#[test]
fn a_wrong_stored_pin_is_sent_once() {
    let folder = TestFolder::new();
    for login in [Login::App, Login::OnUse] {
        let store = Arc::new(Store::default());
        let file = folder.write("pin", "wrong");
        let token = slot(config(PinSource::File(file), login), &store)
            .token()
            .unwrap();
        for _ in 0..3 {
            let session = token.create_session().unwrap();
            assert_eq!(log_in(&*session, AuthSecret::FromToken), WRONG);
            assert!(sign(&*session).is_err());
        }
        assert_eq!(store.sent.load(Ordering::Relaxed), 1);
        folder.write("pin", "1234");
        let session = token.create_session().unwrap();
        assert_eq!(log_in(&*session, AuthSecret::FromToken), Ok(()));
        assert_eq!(sign(&*session), Ok(3));
        assert_eq!(store.sent.load(Ordering::Relaxed), 2);
    }
}

/// A PIN file is often written before the key store that it is for.
#[test]
fn a_stored_pin_is_sent_again_to_a_store_that_counts_no_tries() {
    let folder = TestFolder::new();
    for login in [Login::App, Login::OnUse] {
        let store = Arc::new(Store {
            tries: None,
            ..Store::default()
        });
        let pin = PinSource::File(folder.write("pin", "new"));
        let token = slot(config(pin, login), &store).token().unwrap();
        let session = token.create_session().unwrap();
        for sent in 1..=2 {
            let refused = Err(TokenError::AuthenticationFailed { tries: None });
            assert_eq!(log_in(&*session, AuthSecret::FromToken), refused);
            assert_eq!(store.sent.load(Ordering::Relaxed), sent);
        }
        *store.pin.lock() = b"new".to_vec();
        if login == Login::App {
            assert_eq!(log_in(&*session, AuthSecret::FromToken), Ok(()));
        }
        assert_eq!(sign(&*session), Ok(3));
    }
}

#[test]
fn sessions_that_sign_at_once_log_in_each_for_itself() {
    let folder = TestFolder::new();
    let store = Arc::new(Store {
        meeting: Some(Barrier::new(2)),
        ..Store::default()
    });
    let pin = PinSource::File(folder.write("pin", "1234"));
    let token = slot(config(pin, Login::OnUse), &store).token().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let session = token.create_session().unwrap();
            scope.spawn(move || assert_eq!(sign(&*session), Ok(3)));
        }
    });
    assert_eq!(store.sent.load(Ordering::Relaxed), 2);
}

#[test]
fn threads_that_sign_at_once_send_a_wrong_pin_once_together() {
    let folder = TestFolder::new();
    for (pin, right) in [("wrong", false), ("1234", true)] {
        let store = Arc::new(Store::default());
        let file = folder.write("pin", pin);
        let token = slot(config(PinSource::File(file), Login::OnUse), &store)
            .token()
            .unwrap();
        let session = token.create_session().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert_eq!(sign(&*session).is_ok(), right));
            }
        });
        assert_eq!(store.sent.load(Ordering::Relaxed), 1);
    }
}

#[test]
fn a_missing_pin_source_says_so() {
    let store = Arc::new(Store::default());
    let pin = PinSource::File("/nonexistent/pin".into());
    let token = slot(config(pin, Login::OnUse), &store).token().unwrap();
    let error = sign(&*token.create_session().unwrap()).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/pin"), "{error}");
    assert_eq!(store.sent.load(Ordering::Relaxed), 0);
}

#[test]
fn a_stored_pin_is_not_changed_behind_its_store() {
    let is_refused = |answer: Result<()>| {
        let Err(TokenError::ReadOnly(reason)) = answer else {
            panic!("{answer:?}")
        };
        assert!(reason.as_str().contains("`ctk passwd "), "{reason}");
    };
    let folder = TestFolder::new();
    let stored = PinSource::File(folder.write("pin", "1234"));
    for (pin, login, changes) in [
        (PinSource::App, Login::App, true),
        (stored.clone(), Login::App, false),
        (stored, Login::OnUse, false),
    ] {
        let store = Arc::new(Store::default());
        let slot = slot(config(pin, login), &store);
        let session = slot.token().unwrap().create_session().unwrap();
        let change = |role| session.change_pin(role, AuthSecret::Pin(PIN), b"5678");
        if changes {
            let wrong = session.change_pin(Role::User, AuthSecret::Pin(b"wrong"), b"5678");
            assert!(matches!(
                wrong,
                Err(TokenError::AuthenticationFailed { .. })
            ));
            assert_eq!(change(Role::User), Ok(()));
            assert_eq!(*store.pin.lock(), b"5678");
            continue;
        }
        for role in [Role::User, Role::Context] {
            is_refused(change(role));
        }
        let from_token = session.change_pin(Role::User, AuthSecret::FromToken, b"5678");
        is_refused(from_token);
        is_refused(session.unblock_pin(b"5678"));
        assert_eq!(*store.pin.lock(), PIN);
        // The administrator's is not the stored one.
        assert_eq!(change(Role::Admin), Ok(()));
    }
}
