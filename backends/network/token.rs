//! A configured token: what it is and holds, without asking its service.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use ctk_token::{
    Certificate, Constraint, Item, Key, KeychainContents, LoginPolicy, ObjectId, Operation,
    PublicKey, Reason, Result, Token, TokenError, TokenInfo, TokenSession,
};
use parking_lot::{Mutex, RwLock};

use crate::{
    CertificateRecord, Configuration, Inventory, KeyRecord, Service, certificate::Facts,
    http::Deadline, session::Session,
};

/// The shortest secret in bytes.
pub(crate) const MIN_PIN: usize = 1;
/// The longest secret in bytes; more does not fit what PKCS#11 programs send.
pub(crate) const MAX_PIN: usize = 255;
/// How long a service is not asked again what there is.
const LISTED_FOR: Duration = Duration::from_secs(60);

/// A configured token.
pub(crate) struct NetworkToken {
    configuration: Configuration,
    service: Arc<dyn Service>,
    /// Held only to look up or swap, never while the service is asked.
    snapshot: RwLock<Arc<Snapshot>>,
    /// When the service was last asked what there is; held while it is.
    listed: Mutex<Option<Instant>>,
    itself: Weak<Self>,
}

/// What a token holds, until something else is known.
pub(crate) struct Snapshot {
    pub(crate) contents: Arc<KeychainContents>,
    /// The keys that are in the contents.
    pub(crate) records: Vec<KeyRecord>,
    pub(crate) login: LoginPolicy,
    keys: HashMap<ObjectId, Position>,
}

/// Where a key is.
#[derive(Clone, Copy)]
struct Position {
    item: usize,
    record: usize,
}

impl Snapshot {
    /// What these records make. One that makes no sense costs itself only.
    fn new(generation: u64, inventory: Inventory, name: &str, service: &dyn Service) -> Self {
        let left_out = |what: &str, label: &str, why: &str| {
            log::warn!(
                "token {name}: {what} {label:?} is left out: {why}: run `ctk refresh {name}`"
            );
        };
        let mut items = Vec::new();
        let mut seen = HashSet::new();
        for record in inventory.certificates {
            let label = record.label.clone();
            match certificate(record) {
                Ok(item) if seen.insert(item.id().clone()) => items.push(item),
                Ok(_) => left_out("certificate", &label, "another has the same id"),
                Err(why) => left_out("certificate", &label, &why),
            }
        }
        let (mut keys, mut records) = (HashMap::new(), Vec::new());
        for record in inventory.keys {
            match key(&record, service) {
                Ok(item) if seen.insert(item.id().clone()) => {
                    let position = Position {
                        item: items.len(),
                        record: records.len(),
                    };
                    keys.insert(item.id().clone(), position);
                    items.push(item);
                    records.push(record);
                }
                Ok(_) => left_out("key", &record.label, "another has the same id"),
                Err(why) => left_out("key", &record.label, &why),
            }
        }
        Self {
            contents: Arc::new(KeychainContents { generation, items }),
            login: service.login_policy(&records),
            records,
            keys,
        }
    }

    /// What the service has now, told as far as it was told before: keys that are still there keep their names and
    /// certificates, as somebody has configured them, and learn what the service says of them. A list may leave out keys that
    /// are still there and sign, so only the one that the service has `denied` as well goes; where it is not known which one
    /// that was, all that are left out go if the list is about the same keys at all. Keys of another way to log in are for
    /// another process.
    fn updated(
        &self,
        now: Inventory,
        denied: Option<&ObjectId>,
        service: &dyn Service,
    ) -> Inventory {
        let Inventory {
            keys: mut listed,
            certificates,
            left_out,
        } = now;
        let (mut keys, mut gone) = (Vec::new(), HashSet::new());
        let is_listed = |record: &KeyRecord| listed.iter().any(|key| key.spki == record.spki);
        let knows_some = self.records.iter().any(is_listed);
        for record in &self.records {
            let may_go = match denied {
                Some(id) => object_id(b"key:", &record.identity) == *id,
                None => knows_some,
            };
            match listed.iter().position(|key| key.spki == record.spki) {
                Some(at) => keys.push(KeyRecord {
                    facts: listed.remove(at).facts,
                    ..record.clone()
                }),
                None if may_go => drop(gone.insert(&*record.identity)),
                None => keys.push(record.clone()),
            }
        }
        let can_log_in =
            |key: &KeyRecord| self.login == service.login_policy(std::slice::from_ref(key));
        let is_new = |key: &KeyRecord| self.login == LoginPolicy::App || can_log_in(key);
        keys.extend(listed.into_iter().filter(is_new));
        let known = self.contents.items.iter().filter_map(|item| match item {
            Item::Certificate(known) if !gone.contains(&*known.identity) => {
                Some(CertificateRecord {
                    label: known.label.clone(),
                    identity: known.identity.clone(),
                    der: known.der.clone(),
                })
            }
            _ => None,
        });
        let mut all: Vec<_> = known.collect();
        let names: HashSet<_> = all.iter().map(|known| known.identity.clone()).collect();
        let is_new = |new: &CertificateRecord| {
            !names.contains(&new.identity) && !gone.contains(&*new.identity)
        };
        all.extend(certificates.into_iter().filter(is_new));
        Inventory {
            keys,
            certificates: all,
            left_out,
        }
    }

    /// The key of this name.
    ///
    /// # Errors
    /// [`TokenError::ObjectNotFound`]
    pub(crate) fn key(&self, id: &ObjectId) -> Result<(&Key, &KeyRecord)> {
        let position = self.keys.get(id).ok_or(TokenError::ObjectNotFound)?;
        let item = self.contents.items.get(position.item);
        match (item, self.records.get(position.record)) {
            (Some(Item::Key(key)), Some(record)) => Ok((key, record)),
            _ => Err(TokenError::ObjectNotFound),
        }
    }
}

impl NetworkToken {
    /// The token of this configuration.
    pub(crate) fn new(mut configuration: Configuration) -> Arc<Self> {
        let service = (configuration.protocol.open)(&configuration);
        let inventory = std::mem::take(&mut configuration.contents);
        let snapshot = Snapshot::new(0, inventory, &configuration.name, &*service);
        Arc::new_cyclic(|itself| Self {
            configuration,
            service,
            snapshot: RwLock::new(Arc::new(snapshot)),
            listed: Mutex::new(None),
            itself: itself.clone(),
        })
    }

    pub(crate) fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    pub(crate) fn service(&self) -> &Arc<dyn Service> {
        &self.service
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.read().clone()
    }

    /// When an operation that begins now is over.
    pub(crate) fn deadline(&self) -> Deadline {
        // With wrong settings nothing is asked at all.
        Deadline::of(&self.configuration.settings).unwrap_or(Deadline::after(Duration::ZERO))
    }

    /// An operation that was over before its answer came, as a person is told of it; other errors as they are. A program hears
    /// that the token fails: nobody has cancelled anything.
    pub(crate) fn in_words(&self, error: TokenError) -> TokenError {
        match error {
            TokenError::TimedOut => TokenError::Unreachable(Reason::new(format!(
                "the service of token {} did not answer in time: try again, or raise total_timeout",
                self.configuration.name
            ))),
            error => error,
        }
    }

    /// The service does not know a key that is in the contents: asks it what there is, for this process, unless that was
    /// asked a moment ago or is being asked right now. `denied` is that key, `None` if a login was for several. Who tried to
    /// use the key learns of it by the generation. It waits for the answers, but not beyond the time that its operation has.
    pub(crate) fn list_anew(&self, denied: Option<&ObjectId>, deadline: Deadline) {
        let Some(mut listed) = self.listed.try_lock() else {
            return;
        };
        if listed.is_some_and(|at| at.elapsed() < LISTED_FOR) || deadline.left().is_err() {
            return;
        }
        let name = &self.configuration.name;
        log::warn!("token {name}: its service does not know a key of it, so it is asked for all");
        let answer = self.service.list(Some(deadline), &mut |step| {
            log::debug!("token {name}: {step}");
        });
        *listed = Some(Instant::now());
        match answer {
            Ok(inventory) => self.replace(inventory, denied),
            Err(error) => log::warn!("token {name}: what it holds could not be asked for: {error}"),
        }
    }

    fn replace(&self, inventory: Inventory, denied: Option<&ObjectId>) {
        let name = &self.configuration.name;
        let before = self.snapshot();
        if inventory.keys.is_empty() && !before.records.is_empty() {
            log::warn!(
                "token {name}: its service has no key at all now, which is more likely a mistake: nothing is changed"
            );
            return;
        }
        let generation = before.contents.generation.saturating_add(1);
        let inventory = before.updated(inventory, denied, &*self.service);
        let mut now = Snapshot::new(generation, inventory, name, &*self.service);
        // Programs have been told how to log in.
        now.login = before.login;
        if now.contents.items == before.contents.items && now.records == before.records {
            return;
        }
        log::warn!("token {name}: it holds something else now: run `ctk refresh {name}`");
        *self.snapshot.write() = Arc::new(now);
    }
}

impl Token for NetworkToken {
    fn info(&self) -> TokenInfo {
        let label = match &*self.configuration.label {
            "" => &self.configuration.name,
            label => label,
        };
        let title = self.configuration.protocol.title;
        let login = self.login_policy();
        TokenInfo {
            login,
            min_pin_len: if login == LoginPolicy::App {
                MIN_PIN
            } else {
                0
            },
            max_pin_len: MAX_PIN,
            ..TokenInfo::software(label, title, &self.configuration.serial_number)
        }
    }

    fn login_policy(&self) -> LoginPolicy {
        self.snapshot.read().login
    }

    fn contents(&self) -> Arc<KeychainContents> {
        self.snapshot.read().contents.clone()
    }

    fn generation(&self) -> u64 {
        self.snapshot.read().contents.generation
    }

    fn create_session(&self) -> Result<Arc<dyn TokenSession>> {
        let token = self.itself.upgrade().ok_or(TokenError::TokenRemoved)?;
        Ok(Arc::new(Session::new(token)))
    }
}

fn certificate(record: CertificateRecord) -> std::result::Result<Item, String> {
    check_identity(&record.identity)?;
    if Facts::read(&record.der).is_none() {
        return Err("it is no certificate".to_owned());
    }
    Ok(Item::Certificate(Certificate {
        id: object_id(b"cert:", &record.identity),
        label: record.label,
        identity: record.identity,
        der: record.der,
    }))
}

fn key(record: &KeyRecord, service: &dyn Service) -> std::result::Result<Item, String> {
    check_identity(&record.identity)?;
    let public_key = PublicKey::from_spki(&record.spki).map_err(|error| error.to_string())?;
    let constraint = |operation| match is_for(&public_key, operation) {
        true => service.constraint(record, operation),
        false => Constraint::Never,
    };
    let (sign, decrypt, key_exchange) = (
        constraint(Operation::Sign),
        constraint(Operation::Decrypt),
        constraint(Operation::KeyExchange),
    );
    let id = object_id(b"key:", &record.identity);
    Ok(Item::Key(Box::new(Key {
        subject: record.subject.clone(),
        sign,
        decrypt,
        key_exchange,
        ..Key::new(id, &record.label, &record.identity, public_key)
    })))
}

/// Whether keys of this kind are for `operation` at all.
fn is_for(key: &PublicKey, operation: Operation) -> bool {
    let is_rsa = matches!(key.key_type(), ctk_token::KeyType::Rsa { .. });
    match operation {
        Operation::Sign => key.max_signature_len() > 0,
        Operation::Decrypt => is_rsa && !key.is_pss_only(),
        Operation::KeyExchange => key.shared_secret_len() > 0,
    }
}

fn check_identity(identity: &[u8]) -> std::result::Result<(), String> {
    match identity.len() {
        1..=255 => Ok(()),
        len => Err(format!("its id has {len} bytes instead of 1 to 255")),
    }
}

fn object_id(kind: &[u8], identity: &[u8]) -> ObjectId {
    ObjectId::new(&[kind, identity].concat())
}
