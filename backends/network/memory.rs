//! A service in this process, for tests: it holds keys, checks a PIN, and counts what is asked of it.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test reports by panicking"
)]

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use ctk_crypto::{Decryption, PrivateKey, Reduction, RsaEncryption};
use ctk_token::{
    AuthId, Constraint, KeyAlgorithm, KeyType, LoginPolicy, Operation, Result, Reuse, Role,
    TokenError,
};
use parking_lot::Mutex;
use zeroize::Zeroizing;

use crate::{
    Configuration, Finding, Inventory, KeyRecord, Kind, Protocol, Records, Service, ServiceSession,
    SettingRow, Settings, Step, Surroundings, Value, http::Deadline,
};

/// The protocol of such services.
pub static PROTOCOL: Protocol = Protocol {
    name: "memory",
    title: "Memory",
    settings: &[SettingRow {
        name: "server",
        kind: Kind::Text,
        required: true,
        about: "The name of the server in this process",
    }],
    key_facts: &[SettingRow {
        name: "needs",
        kind: Kind::Text,
        required: true,
        about: "nothing, session or operation",
    }],
    open: |configuration| {
        let name = configuration.settings.text("server").unwrap_or_default();
        let server = SERVERS.lock().get(name).cloned();
        Arc::new(Memory {
            server: server.unwrap_or_else(|| panic!("there is no server {name:?}")),
        })
    },
};

static SERVERS: LazyLock<Mutex<HashMap<String, Arc<Server>>>> = LazyLock::new(Mutex::default);

/// What a key needs before each signature.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Needs {
    /// Nothing.
    Nothing,
    /// A login.
    Session,
    /// A login each time.
    Operation,
}

impl Needs {
    const ALL: [(&'static str, Self); 3] = [
        ("nothing", Self::Nothing),
        ("session", Self::Session),
        ("operation", Self::Operation),
    ];

    fn of(key: &KeyRecord) -> Self {
        let name = key.facts.text("needs");
        let found = Self::ALL.into_iter().find(|(known, _)| name == Some(known));
        found.expect("the key says what it needs").1
    }
}

/// A server with its keys.
#[derive(Debug)]
pub struct Server {
    name: String,
    pin: Vec<u8>,
    keys: Mutex<Vec<Stored>>,
    lists: AtomicUsize,
    logins: AtomicUsize,
    logouts: AtomicUsize,
    operations: AtomicUsize,
    /// What an operation answers instead of doing it.
    answer: Mutex<Option<Result<Vec<u8>>>>,
}

#[derive(Debug)]
struct Stored {
    private: PrivateKey,
    label: String,
    needs: Needs,
    certificates: Vec<Vec<u8>>,
}

impl Server {
    /// A server of this name, which no other in this process has, that lets in who knows `pin`.
    pub fn start(name: &str, pin: &[u8]) -> Arc<Self> {
        let server = Arc::new(Self {
            name: name.to_owned(),
            pin: pin.to_vec(),
            keys: Mutex::default(),
            lists: AtomicUsize::new(0),
            logins: AtomicUsize::new(0),
            logouts: AtomicUsize::new(0),
            operations: AtomicUsize::new(0),
            answer: Mutex::new(None),
        });
        let before = SERVERS.lock().insert(name.to_owned(), server.clone());
        assert!(before.is_none(), "two servers with the name {name:?}");
        server
    }

    /// Makes a key.
    pub fn add(&self, label: &str, key_type: KeyType, needs: Needs) {
        self.keys.lock().push(Stored {
            private: PrivateKey::generate(key_type).expect("this build makes such keys"),
            label: label.to_owned(),
            needs,
            certificates: Vec::new(),
        });
    }

    /// Gives the key of this label a certificate, made of its SubjectPublicKeyInfo.
    pub fn certify(&self, label: &str, certificate: impl Fn(&[u8]) -> Vec<u8>) {
        for key in &mut *self.keys.lock() {
            if key.label == label {
                let spki = key.private.public_key().spki();
                key.certificates.push(certificate(spki));
            }
        }
    }

    /// Forgets a key.
    pub fn remove(&self, label: &str) {
        self.keys.lock().retain(|key| key.label != label);
    }

    /// Has every operation with a key answer this from now on; `None`: what is right.
    pub fn answer(&self, answer: Option<Result<Vec<u8>>>) {
        *self.answer.lock() = answer;
    }

    /// How often it was asked what there is.
    pub fn lists(&self) -> usize {
        self.lists.load(Ordering::Relaxed)
    }

    /// How many secrets it has checked.
    pub fn logins(&self) -> usize {
        self.logins.load(Ordering::Relaxed)
    }

    /// How many logins of a user were ended.
    pub fn logouts(&self) -> usize {
        self.logouts.load(Ordering::Relaxed)
    }

    /// How many operations it was asked for.
    pub fn operations(&self) -> usize {
        self.operations.load(Ordering::Relaxed)
    }

    /// What there is.
    pub fn inventory(&self) -> Inventory {
        let mut records = Records::new();
        for key in &*self.keys.lock() {
            let (name, _) = Needs::ALL
                .into_iter()
                .find(|(_, needs)| *needs == key.needs)
                .expect("all have names");
            let facts = BTreeMap::from([("needs".to_owned(), Value::Text(name.to_owned()))]);
            let spki = key.private.public_key().spki();
            records.key(&key.label, spki, &key.certificates, Settings(facts));
        }
        records.finish().expect("SHA-1 works")
    }

    /// A token of this server with all that is there now.
    pub fn configuration(&self) -> Configuration {
        let server = Value::Text(self.name.clone());
        Configuration {
            name: self.name.clone(),
            label: String::new(),
            serial_number: "0001".to_owned(),
            removable: false,
            protocol: &PROTOCOL,
            settings: Settings([("server".to_owned(), server)].into()),
            contents: self.inventory(),
            surroundings: Surroundings {
                home: None,
                variable: |_| None,
                run: Arc::new(|_, _| Err(TokenError::NotSupported)),
            },
        }
    }

    fn perform(
        &self,
        key: &KeyRecord,
        perform: impl FnOnce(&PrivateKey) -> Result<Vec<u8>>,
    ) -> Result<Vec<u8>> {
        self.operations.fetch_add(1, Ordering::Relaxed);
        if let Some(answer) = self.answer.lock().clone() {
            return answer;
        }
        let keys = self.keys.lock();
        let stored = keys
            .iter()
            .find(|stored| stored.private.public_key().spki() == key.spki);
        perform(&stored.ok_or(TokenError::ObjectNotFound)?.private)
    }
}

struct Memory {
    server: Arc<Server>,
}

impl Service for Memory {
    fn login_policy(&self, keys: &[KeyRecord]) -> LoginPolicy {
        match keys.iter().any(|key| Needs::of(key) != Needs::Nothing) {
            true => LoginPolicy::App,
            false => LoginPolicy::OnUse,
        }
    }

    fn constraint(&self, key: &KeyRecord, operation: Operation) -> Constraint {
        let kind = ctk_token::PublicKey::from_spki(&key.spki).map(|key| key.key_type());
        let is_for = match (kind, operation) {
            (Ok(KeyType::Rsa { .. }), operation) => operation != Operation::KeyExchange,
            (Ok(KeyType::Ec(_)), operation) => operation != Operation::Decrypt,
            (Ok(KeyType::X25519), operation) => operation == Operation::KeyExchange,
            (kind, operation) => kind.is_ok() && operation == Operation::Sign,
        };
        match Needs::of(key) {
            _ if !is_for => Constraint::Never,
            Needs::Nothing => Constraint::Free,
            Needs::Session => Constraint::Auth(AuthId(0), Reuse::Session),
            Needs::Operation => Constraint::Auth(AuthId(0), Reuse::Operation),
        }
    }

    fn supports(&self, _: &KeyRecord, _: Operation, algorithm: KeyAlgorithm) -> bool {
        match algorithm {
            KeyAlgorithm::RsaPkcs1Digest(_)
            | KeyAlgorithm::RsaPssDigest(_)
            | KeyAlgorithm::EcdsaDigest
            | KeyAlgorithm::EdDsa
            | KeyAlgorithm::MlDsa
            | KeyAlgorithm::Ecdh => true,
            KeyAlgorithm::RsaOaep(oaep) => oaep.digest == oaep.mgf,
            _ => false,
        }
    }

    fn open_session(self: Arc<Self>) -> Box<dyn ServiceSession> {
        Box::new(MemorySession {
            server: self.server.clone(),
            logins: Mutex::default(),
        })
    }

    fn list(&self, _: Option<Deadline>, progress: &mut dyn FnMut(&str)) -> Result<Inventory> {
        self.server.lists.fetch_add(1, Ordering::Relaxed);
        progress("looking");
        Ok(self.server.inventory())
    }

    fn check(&self, findings: &mut dyn FnMut(Finding)) {
        findings(Finding {
            step: Step::Settings,
            result: Ok("well".to_owned()),
        });
    }
}

/// One application's use of it.
struct MemorySession {
    server: Arc<Server>,
    logins: Mutex<Logins>,
}

#[derive(Default)]
struct Logins {
    user: bool,
    /// The user's login counts for one operation that wants its own.
    once: bool,
    /// The identities that may be used once.
    context: Vec<Vec<u8>>,
}

impl MemorySession {
    /// Whether the key may be used now; if it is `used`, what counts once is spent.
    fn check(&self, key: &KeyRecord, used: bool) -> Result<()> {
        let mut logins = self.logins.lock();
        let at = logins.context.iter().position(|id| *id == key.identity);
        let is_open = match Needs::of(key) {
            Needs::Nothing => true,
            Needs::Session => logins.user,
            Needs::Operation => logins.once || at.is_some(),
        };
        if !is_open {
            return Err(TokenError::AuthenticationNeeded);
        }
        match at {
            _ if !used || Needs::of(key) != Needs::Operation => {}
            Some(at) => drop(logins.context.swap_remove(at)),
            None => logins.once = false,
        }
        Ok(())
    }
}

impl ServiceSession for MemorySession {
    fn login(
        &self,
        role: Role,
        keys: &[KeyRecord],
        key: Option<&KeyRecord>,
        secret: &[u8],
    ) -> Result<()> {
        assert!(!keys.is_empty(), "a login is for some key");
        assert_eq!(key.is_some(), role == Role::Context, "{role:?}");
        self.server.logins.fetch_add(1, Ordering::Relaxed);
        if secret != self.server.pin {
            return Err(TokenError::AuthenticationFailed { tries: None });
        }
        let mut logins = self.logins.lock();
        match key {
            Some(key) => logins.context.push(key.identity.clone()),
            None => (logins.user, logins.once) = (true, true),
        }
        Ok(())
    }

    fn logout(&self, role: Role) {
        let mut logins = self.logins.lock();
        logins.context.clear();
        if role == Role::User && logins.user {
            self.server.logouts.fetch_add(1, Ordering::Relaxed);
            (logins.user, logins.once) = (false, false);
        }
    }

    fn check_authenticated(&self, key: &KeyRecord, _: Operation) -> Result<()> {
        self.check(key, false)
    }

    fn sign(&self, key: &KeyRecord, algorithm: KeyAlgorithm, input: &[u8]) -> Result<Vec<u8>> {
        self.check(key, true)?;
        self.server.perform(key, |private| {
            let by = |form| private.supports(Operation::Sign, form);
            let reduction = Reduction::new(algorithm, private.public_key(), by)?
                .ok_or(TokenError::NotSupported)?;
            let mut block = None;
            let request = reduction.apply(input, &mut block)?;
            let mut signature = vec![0; private.public_key().max_signature_len()];
            let len = private.sign(request.algorithm, request.input, &mut signature)?;
            signature.truncate(len);
            Ok(signature)
        })
    }

    fn decrypt(
        &self,
        key: &KeyRecord,
        algorithm: KeyAlgorithm,
        input: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>> {
        self.check(key, true)?;
        let decrypted = self.server.perform(key, |private| {
            let KeyAlgorithm::RsaOaep(oaep) = algorithm else {
                return Err(TokenError::NotSupported);
            };
            let asked = RsaEncryption::Oaep {
                digest: oaep.digest,
                mgf: oaep.mgf,
                label: Vec::new(),
            };
            let by_raw = |form| form == KeyAlgorithm::RsaRaw;
            let way = Decryption::new(asked, private.public_key(), by_raw)?
                .ok_or(TokenError::NotSupported)?;
            let mut block = vec![0; input.len()];
            let len = private.decrypt(KeyAlgorithm::RsaRaw, input, &mut block)?;
            block.truncate(len);
            let mut plaintext = vec![0; way.max_plaintext_len()];
            let len = way.finish(input, &block, &[0; 32], &mut plaintext)?;
            plaintext.truncate(len);
            Ok(plaintext)
        });
        decrypted.map(Zeroizing::new)
    }

    fn key_exchange(
        &self,
        key: &KeyRecord,
        algorithm: KeyAlgorithm,
        peer: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>> {
        self.check(key, true)?;
        let agreed = self.server.perform(key, |private| {
            let mut secret = vec![0; private.public_key().shared_secret_len()];
            let len = private.key_exchange(algorithm, peer, &mut secret)?;
            secret.truncate(len);
            Ok(secret)
        });
        agreed.map(Zeroizing::new)
    }
}
