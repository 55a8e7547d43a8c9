//! A token in memory, and the module driven over its own C functions as a program drives it.
#![allow(dead_code)] // each test file uses its part
#![allow(unreachable_pub)] // a module of several test programs
#![allow(clippy::undocumented_unsafe_blocks)] // calls of the C functions that are under test
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a test's own functions

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use cryptoki_sys::*;
use ctk_crypto::PrivateKey;
use ctk_pkcs11::{SlotSource, abi::*, initialize_with};
use ctk_token::*;
use openssl::{
    asn1::Asn1Time,
    bn::BigNum,
    ec::{EcGroup, EcKey},
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    rsa::Rsa,
    x509::{X509, X509NameBuilder, extension::BasicConstraints},
};

pub const PIN: &[u8] = b"1234";

/// An identity that a test token has.
pub struct Identity {
    pub key: PKey<Private>,
    pub certificate: X509,
    pub id: u8,
}

impl Identity {
    pub fn new(key: PKey<Private>, id: u8) -> Self {
        let certificate = certify(&key, &format!("Person {id}"));
        Self {
            key,
            certificate,
            id,
        }
    }

    pub fn rsa(bits: u32, id: u8) -> Self {
        Self::new(PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap(), id)
    }

    pub fn ec(curve: Nid, id: u8) -> Self {
        let group = EcGroup::from_curve_name(curve).unwrap();
        Self::new(
            PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap(),
            id,
        )
    }

    pub fn ed25519(id: u8) -> Self {
        Self::new(PKey::generate_ed25519().unwrap(), id)
    }

    pub fn public_key(&self) -> PublicKey {
        PublicKey::from_spki(&self.key.public_key_to_der().unwrap()).unwrap()
    }
}

fn certify(key: &PKey<Private>, name: &str) -> X509 {
    let mut builder = X509::builder().unwrap();
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_nid(Nid::COMMONNAME, name).unwrap();
    let subject = subject.build();
    builder.set_version(2).unwrap();
    builder
        .set_serial_number(&BigNum::from_u32(0x80AB).unwrap().to_asn1_integer().unwrap())
        .unwrap();
    builder.set_subject_name(&subject).unwrap();
    builder.set_issuer_name(&subject).unwrap();
    builder.set_pubkey(key).unwrap();
    builder
        .set_not_before(&Asn1Time::from_str("20260102030405Z").unwrap())
        .unwrap();
    builder
        .set_not_after(&Asn1Time::from_str("20510203040506Z").unwrap())
        .unwrap();
    builder
        .append_extension(BasicConstraints::new().critical().ca().build().unwrap())
        .unwrap();
    // The library signs no certificate with Ed25519 by this call; who signed it does not matter
    // here.
    let other = EcKey::generate(&EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap()).unwrap();
    let signer = match key.id() {
        openssl::pkey::Id::ED25519 => PKey::from_ec_key(other).unwrap(),
        _ => key.clone(),
    };
    builder.sign(&signer, MessageDigest::sha256()).unwrap();
    builder.build()
}

/// What a test can set on its token.
pub struct Settings {
    pub login: LoginPolicy,
    pub reuse: Reuse,
    pub has_random: bool,
    pub has_admin: bool,
    pub user_pin: PinState,
    /// The keys also decrypt and agree on secrets.
    pub decrypts: bool,
    /// To decrypt, RSA keys perform nothing but the raw operation.
    pub raw_only: bool,
    /// Its slot is a device.
    pub hardware: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            login: LoginPolicy::App,
            reuse: Reuse::Session,
            has_random: false,
            has_admin: false,
            user_pin: PinState::Normal,
            decrypts: false,
            raw_only: false,
            hardware: false,
        }
    }
}

/// A token of software keys, its slot and its one session.
pub struct TestToken {
    keys: Vec<(ObjectId, PrivateKey)>,
    contents: Mutex<Arc<KeychainContents>>,
    settings: Settings,
    /// How many sessions the user, and the SO, is logged in with.
    verified: [AtomicUsize; 2],
    /// The secret of all roles.
    pub pin: Mutex<Vec<u8>>,
    context: AtomicBool,
    pub present: AtomicBool,
    pub attempts: AtomicUsize,
    pub signatures: AtomicUsize,
    /// How often a key decrypted or agreed on a secret.
    pub decryptions: AtomicUsize,
    pub sessions: AtomicUsize,
    /// Opens no session while this is set.
    pub refuses_sessions: AtomicBool,
    /// How often an authentication was ended.
    pub ends: AtomicUsize,
    /// While this is set, the end of an authentication has begun and does not come about, and
    /// neither does the check of a secret.
    pub hold_auth: (Mutex<bool>, Condvar),
    /// The next signature waits until this is set.
    pub hold: (Mutex<bool>, Condvar),
    /// How many signatures wait.
    pub waiting: AtomicUsize,
    /// While this is set, an agreed secret is there and does not come out.
    pub hold_result: (Mutex<bool>, Condvar),
    pub next_error: Mutex<Option<TokenError>>,
    /// What the end of the next session does.
    pub at_end: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl TestToken {
    pub fn new(identities: &[Identity], settings: Settings) -> Arc<Self> {
        Self::with_keys(identities, Vec::new(), settings)
    }

    /// Identities, and keys that sign without a certificate, with the byte of their CKA_ID.
    pub fn with_keys(
        identities: &[Identity],
        others: Vec<(u8, PrivateKey)>,
        settings: Settings,
    ) -> Arc<Self> {
        let mut items = Vec::new();
        let mut keys = Vec::new();
        let other_use = match settings.decrypts {
            true => Constraint::Auth(AuthId(0), settings.reuse),
            false => Constraint::Never,
        };
        for identity in identities {
            let private =
                PrivateKey::from_pkcs8(&identity.key.private_key_to_pkcs8().unwrap()).unwrap();
            let name = |kind: &str| ObjectId::new(format!("{kind}{}", identity.id).as_bytes());
            items.push(Item::Certificate(Certificate {
                id: name("certificate"),
                label: format!("Identity {}", identity.id),
                identity: vec![identity.id],
                der: identity.certificate.to_der().unwrap(),
            }));
            items.push(Item::Key(Box::new(Key {
                id: name("key"),
                label: format!("Identity {}", identity.id),
                public_label: None,
                identity: vec![identity.id],
                public_key: identity.public_key(),
                subject: Some(identity.certificate.subject_name().to_der().unwrap()),
                sign: Constraint::Auth(AuthId(0), settings.reuse),
                decrypt: other_use,
                key_exchange: other_use,
                origin: Origin::Imported,
            })));
            keys.push((name("key"), private));
        }
        for (id, private) in others {
            let name = ObjectId::new(format!("key{id}").as_bytes());
            items.push(Item::Key(Box::new(Key {
                sign: Constraint::Auth(AuthId(0), settings.reuse),
                decrypt: other_use,
                key_exchange: other_use,
                ..Key::new(name.clone(), "Other", &[id], private.public_key().clone())
            })));
            keys.push((name, private));
        }
        Arc::new(Self {
            keys,
            contents: Mutex::new(Arc::new(KeychainContents {
                generation: 1,
                items,
            })),
            settings,
            verified: Default::default(),
            pin: Mutex::new(PIN.to_vec()),
            context: AtomicBool::new(false),
            present: AtomicBool::new(true),
            attempts: AtomicUsize::new(0),
            signatures: AtomicUsize::new(0),
            decryptions: AtomicUsize::new(0),
            sessions: AtomicUsize::new(0),
            refuses_sessions: AtomicBool::new(false),
            ends: AtomicUsize::new(0),
            hold_auth: (Mutex::new(false), Condvar::new()),
            hold: (Mutex::new(false), Condvar::new()),
            waiting: AtomicUsize::new(0),
            hold_result: (Mutex::new(false), Condvar::new()),
            next_error: Mutex::new(None),
            at_end: Mutex::new(None),
        })
    }

    /// Puts new contents in place of the old.
    pub fn change(&self, change: impl FnOnce(&mut Vec<Item>)) {
        let mut contents = self.contents.lock().unwrap();
        let mut items = contents.items.clone();
        change(&mut items);
        *contents = Arc::new(KeychainContents {
            generation: contents.generation + 1,
            items,
        });
    }

    pub fn is_verified(&self) -> bool {
        [Role::User, Role::Admin]
            .into_iter()
            .any(|role| self.is_verified_as(role))
    }

    pub fn is_verified_as(&self, role: Role) -> bool {
        let sessions = place_of(role).map(|place| &self.verified[place]);
        sessions.is_some_and(|sessions| sessions.load(Ordering::SeqCst) > 0)
    }
}

struct TestSlot(Arc<TestToken>, Arc<dyn Token>, String);
struct TestTokenFace(Arc<TestToken>);
/// Whether the user, and the SO, is logged in with it.
struct TestSession(Arc<TestToken>, [AtomicBool; 2]);

fn place_of(role: Role) -> Option<usize> {
    match role {
        Role::User => Some(0),
        Role::Admin => Some(1),
        Role::Context | Role::Unblock => None,
    }
}

impl Slot for TestSlot {
    fn id(&self) -> &str {
        &self.2
    }
    fn info(&self) -> SlotInfo {
        SlotInfo {
            description: format!("Test slot {}", self.2),
            manufacturer: "Tests".into(),
            removable: true,
            hardware: self.0.settings.hardware,
        }
    }
    fn token(&self) -> Option<Arc<dyn Token>> {
        self.0
            .present
            .load(Ordering::SeqCst)
            .then(|| Arc::clone(&self.1))
    }
}

impl Token for TestTokenFace {
    fn info(&self) -> TokenInfo {
        TokenInfo {
            login: self.0.settings.login,
            min_pin_len: 4,
            max_pin_len: 8,
            has_random: self.0.settings.has_random,
            user_pin: self.0.settings.user_pin,
            ..TokenInfo::software("Test: token", "Test", "0123456789abcdef")
        }
    }
    fn contents(&self) -> Arc<KeychainContents> {
        Arc::clone(&self.0.contents.lock().unwrap())
    }
    fn create_session(&self) -> Result<Arc<dyn TokenSession>> {
        if self.0.refuses_sessions.load(Ordering::SeqCst) {
            return Err(TokenError::Denied);
        }
        self.0.sessions.fetch_add(1, Ordering::SeqCst);
        let session = TestSession(Arc::clone(&self.0), Default::default());
        Ok(Arc::new(session))
    }
}

struct TestLogin<'a>(&'a TestSession, Role);

impl AuthOperation for TestLogin<'_> {
    fn method(&self) -> AuthMethod {
        AuthMethod::AlreadyAuthenticated
    }
    fn finish(self: Box<Self>, secret: AuthSecret<'_>) -> Result<()> {
        let token = &self.0.0;
        token.attempts.fetch_add(1, Ordering::SeqCst);
        wait_while(&token.hold_auth);
        match secret {
            AuthSecret::Pin(pin) if pin == *token.pin.lock().unwrap() => {}
            AuthSecret::Pin(_) => return Err(TokenError::AuthenticationFailed { tries: None }),
            AuthSecret::FromToken if token.settings.login == LoginPolicy::AppWithoutPin => {}
            AuthSecret::FromToken => return Err(TokenError::BadParameter),
        }
        match self.1 {
            Role::Context => token.context.store(true, Ordering::SeqCst),
            role => self.0.set_verified(role, true),
        }
        Ok(())
    }
}

/// Sets what [`wait_while`] waits for.
pub fn set_hold(hold: &(Mutex<bool>, Condvar), on: bool) {
    *hold.0.lock().unwrap() = on;
    hold.1.notify_all();
}

pub fn wait_while(hold: &(Mutex<bool>, Condvar)) {
    let held = hold.0.lock().unwrap();
    drop(hold.1.wait_while(held, |held| *held).unwrap());
}

impl TestSession {
    fn set_verified(&self, role: Role, verified: bool) {
        let Some(place) = place_of(role) else {
            return;
        };
        let sessions = &self.0.verified[place];
        match (self.1[place].swap(verified, Ordering::SeqCst), verified) {
            (false, true) => sessions.fetch_add(1, Ordering::SeqCst),
            (true, false) => sessions.fetch_sub(1, Ordering::SeqCst),
            _ => 0,
        };
    }
}

impl TestSession {
    /// Whether a key can be used now.
    fn is_open(&self) -> bool {
        match (self.0.settings.login, self.0.settings.reuse) {
            (LoginPolicy::OnUse, _) => true,
            (_, Reuse::Session) => self.1[0].load(Ordering::SeqCst),
            (_, Reuse::Operation) => self.0.context.swap(false, Ordering::SeqCst),
        }
    }

    /// The key, for something else than a signature.
    fn opened(&self, key: &ObjectId) -> Result<&PrivateKey> {
        if let Some(error) = self.0.next_error.lock().unwrap().take() {
            return Err(error);
        }
        if !self.is_open() {
            return Err(TokenError::AuthenticationNeeded);
        }
        self.0.decryptions.fetch_add(1, Ordering::SeqCst);
        let known = self.0.keys.iter().find(|(id, _)| id == key);
        known.map(|(_, key)| key).ok_or(TokenError::ObjectNotFound)
    }
}

impl TokenSession for TestSession {
    fn begin_auth(&self, role: Role, _: Option<&ObjectId>) -> Result<Box<dyn AuthOperation + '_>> {
        match role {
            Role::Admin if !self.0.settings.has_admin => Err(TokenError::NotSupported),
            Role::User | Role::Context | Role::Admin => Ok(Box::new(TestLogin(self, role))),
            Role::Unblock => Err(TokenError::NotSupported),
        }
    }
    fn end_auth(&self, role: Role) {
        self.0.ends.fetch_add(1, Ordering::SeqCst);
        wait_while(&self.0.hold_auth);
        self.set_verified(role, false);
    }
    fn supports(&self, operation: Operation, key: &ObjectId, algorithm: KeyAlgorithm) -> bool {
        if (operation, algorithm) == (Operation::Decrypt, KeyAlgorithm::RsaPkcs1)
            && self.0.settings.raw_only
        {
            return false;
        }
        let known = self.0.keys.iter().find(|(id, _)| id == key);
        known.is_some_and(|(_, key)| key.supports(operation, algorithm))
    }
    fn decrypt(
        &self,
        key: &ObjectId,
        algorithm: KeyAlgorithm,
        input: &[u8],
        plaintext: &mut [u8],
    ) -> Result<usize> {
        self.opened(key)?.decrypt(algorithm, input, plaintext)
    }
    fn key_exchange(
        &self,
        key: &ObjectId,
        algorithm: KeyAlgorithm,
        peer: &[u8],
        secret: &mut [u8],
    ) -> Result<usize> {
        let written = self.opened(key)?.key_exchange(algorithm, peer, secret);
        wait_while(&self.0.hold_result);
        written
    }
    fn sign(
        &self,
        key: &ObjectId,
        algorithm: KeyAlgorithm,
        input: &[u8],
        signature: &mut [u8],
    ) -> Result<usize> {
        if let Some(error) = self.0.next_error.lock().unwrap().take() {
            return Err(error);
        }
        let mut held = self.0.hold.0.lock().unwrap();
        self.0
            .waiting
            .fetch_add(usize::from(*held), Ordering::SeqCst);
        while *held {
            held = self.0.hold.1.wait(held).unwrap();
        }
        drop(held);
        if !self.is_open() {
            return Err(TokenError::AuthenticationNeeded);
        }
        self.0.signatures.fetch_add(1, Ordering::SeqCst);
        let known = self.0.keys.iter().find(|(id, _)| id == key);
        known
            .ok_or(TokenError::ObjectNotFound)?
            .1
            .sign(algorithm, input, signature)
    }
    fn change_pin(&self, role: Role, old: AuthSecret<'_>, new: &[u8]) -> Result<()> {
        if role != Role::User {
            return Err(TokenError::NotSupported);
        }
        self.0.attempts.fetch_add(1, Ordering::SeqCst);
        if let Some(error) = self.0.next_error.lock().unwrap().take() {
            return Err(error);
        }
        let mut pin = self.0.pin.lock().unwrap();
        match old {
            AuthSecret::Pin(old) if old == *pin => {}
            _ => return Err(TokenError::AuthenticationFailed { tries: None }),
        }
        if !(4..=8).contains(&new.len()) {
            return Err(TokenError::PinLength { min: 4, max: 8 });
        }
        *pin = new.to_vec();
        Ok(())
    }
    fn random(&self, out: &mut [u8]) -> Result<()> {
        ctk_crypto::random(out)
    }
}

impl Drop for TestSession {
    fn drop(&mut self) {
        self.set_verified(Role::User, false);
        self.set_verified(Role::Admin, false);
        self.0.sessions.fetch_sub(1, Ordering::SeqCst);
        let at_end = self.0.at_end.lock().unwrap().take();
        if let Some(at_end) = at_end {
            at_end();
        }
    }
}

/// The slots of test tokens.
pub struct Source(Vec<Arc<dyn Slot>>);

impl Source {
    pub fn new(tokens: &[Arc<TestToken>]) -> Box<Self> {
        let slot = |(index, token): (usize, &Arc<TestToken>)| -> Arc<dyn Slot> {
            let face = Arc::new(TestTokenFace(Arc::clone(token)));
            Arc::new(TestSlot(Arc::clone(token), face, format!("{index}")))
        };
        Box::new(Self(tokens.iter().enumerate().map(slot).collect()))
    }
}

impl SlotSource for Source {
    fn slots(&self) -> Vec<Arc<dyn Slot>> {
        self.0.clone()
    }
    fn wait_for_change(&self, _: Instant) -> Result<Wait> {
        Err(TokenError::NotSupported)
    }
}

/// The module, initialised, for one test at a time: it is one per process.
pub struct Module {
    _turn: MutexGuard<'static, ()>,
}

static TURN: Mutex<()> = Mutex::new(());

/// Waits for this test's turn with the module.
pub fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Module {
    pub fn start(tokens: &[Arc<TestToken>]) -> Self {
        Self::start_with(Source::new(tokens))
    }

    pub fn start_with(source: Box<dyn SlotSource>) -> Self {
        let module = Self { _turn: turn() };
        // What a failed test may have left behind.
        unsafe { C_Finalize(std::ptr::null_mut()) };
        initialize_with(source).unwrap();
        module
    }

    pub fn open(&self) -> CK_SESSION_HANDLE {
        open(0, CKF_SERIAL_SESSION)
    }

    pub fn open_and_login(&self) -> CK_SESSION_HANDLE {
        let session = self.open();
        assert_eq!(login(session, CKU_USER, Some(PIN)), CKR_OK);
        session
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        unsafe { C_Finalize(std::ptr::null_mut()) };
    }
}

pub fn open(slot: CK_SLOT_ID, flags: CK_FLAGS) -> CK_SESSION_HANDLE {
    let mut session = 0;
    let rv = unsafe { C_OpenSession(slot, flags, std::ptr::null_mut(), None, &raw mut session) };
    assert_eq!(rv, CKR_OK);
    assert_ne!(session, CK_INVALID_HANDLE);
    session
}

pub fn login(session: CK_SESSION_HANDLE, user: CK_USER_TYPE, pin: Option<&[u8]>) -> CK_RV {
    let (start, len) = pin.map_or((std::ptr::null_mut(), 0), |pin| {
        (pin.as_ptr().cast_mut(), pin.len() as CK_ULONG)
    });
    unsafe { C_Login(session, user, start, len) }
}

pub fn attribute(kind: CK_ATTRIBUTE_TYPE, value: &[u8]) -> CK_ATTRIBUTE {
    CK_ATTRIBUTE {
        type_: kind,
        pValue: value.as_ptr().cast_mut().cast(),
        ulValueLen: value.len() as CK_ULONG,
    }
}

/// All handles of a search.
pub fn find(
    session: CK_SESSION_HANDLE,
    template: &[(CK_ATTRIBUTE_TYPE, &[u8])],
) -> Vec<CK_OBJECT_HANDLE> {
    let mut template: Vec<_> = template
        .iter()
        .map(|(kind, value)| attribute(*kind, value))
        .collect();
    let len = template.len() as CK_ULONG;
    let mut found = Vec::new();
    unsafe {
        assert_eq!(
            C_FindObjectsInit(session, template.as_mut_ptr(), len),
            CKR_OK
        );
        loop {
            let (mut handles, mut count) = ([0; 3], 0);
            assert_eq!(
                C_FindObjects(session, handles.as_mut_ptr(), 3, &raw mut count),
                CKR_OK
            );
            if count == 0 {
                break;
            }
            found.extend(&handles[..count as usize]);
        }
        assert_eq!(C_FindObjectsFinal(session), CKR_OK);
    }
    found
}

pub fn of_class(session: CK_SESSION_HANDLE, class: CK_OBJECT_CLASS) -> Vec<CK_OBJECT_HANDLE> {
    find(session, &[(CKA_CLASS, &class.to_ne_bytes())])
}

/// The private key of an identity.
pub fn key(session: CK_SESSION_HANDLE, identity: u8) -> CK_OBJECT_HANDLE {
    let class = CKO_PRIVATE_KEY.to_ne_bytes();
    find(session, &[(CKA_CLASS, &class), (CKA_ID, &[identity])])[0]
}

/// One attribute, or the error.
pub fn value(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    kind: CK_ATTRIBUTE_TYPE,
) -> std::result::Result<Vec<u8>, CK_RV> {
    let mut one = CK_ATTRIBUTE {
        type_: kind,
        pValue: std::ptr::null_mut(),
        ulValueLen: 77,
    };
    unsafe {
        let rv = C_GetAttributeValue(session, object, &raw mut one, 1);
        if rv != CKR_OK {
            if rv != CKR_OBJECT_HANDLE_INVALID {
                assert_eq!(one.ulValueLen, CK_UNAVAILABLE_INFORMATION);
            }
            return Err(rv);
        }
        let mut bytes = vec![0; one.ulValueLen as usize];
        one.pValue = bytes.as_mut_ptr().cast();
        assert_eq!(
            C_GetAttributeValue(session, object, &raw mut one, 1),
            CKR_OK
        );
        assert_eq!(one.ulValueLen as usize, bytes.len());
        Ok(bytes)
    }
}

pub fn ulong(bytes: &[u8]) -> CK_ULONG {
    CK_ULONG::from_ne_bytes(bytes.try_into().unwrap())
}

pub fn sign_init<T>(
    session: CK_SESSION_HANDLE,
    mechanism: CK_MECHANISM_TYPE,
    parameter: Option<&T>,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    let mut mechanism = CK_MECHANISM {
        mechanism,
        pParameter: parameter.map_or(std::ptr::null_mut(), |value| {
            std::ptr::from_ref(value).cast_mut().cast()
        }),
        ulParameterLen: parameter.map_or(0, |_| size_of::<T>() as CK_ULONG),
    };
    unsafe { C_SignInit(session, &raw mut mechanism, key) }
}

/// C_Sign with a buffer of this length.
pub fn sign(
    session: CK_SESSION_HANDLE,
    data: &[u8],
    room: usize,
) -> std::result::Result<Vec<u8>, (CK_RV, CK_ULONG)> {
    let mut out = vec![0; room];
    let mut len = room as CK_ULONG;
    let rv = unsafe {
        C_Sign(
            session,
            data.as_ptr().cast_mut(),
            data.len() as CK_ULONG,
            out.as_mut_ptr(),
            &raw mut len,
        )
    };
    if rv != CKR_OK {
        return Err((rv, len));
    }
    out.truncate(len as usize);
    Ok(out)
}

/// A condition that other threads bring about, within seconds.
pub fn eventually(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "it never happened");
        std::thread::yield_now();
    }
}
