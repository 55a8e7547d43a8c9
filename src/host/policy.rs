//! What the configuration adds to a driver's token: hidden identities, and a PIN that the program need not ask for.
//!
//! Each is a layer over the contract, so that no driver knows of it.

mod session;
mod stored_pin;

use std::{collections::HashSet, sync::Arc};

use ctk_token::{
    Constraint, Item, Key, KeychainContents, LoginPolicy, ObjectId, Reason, Result, Role, Slot,
    SlotInfo, Token, TokenError, TokenInfo, TokenSession,
};
use parking_lot::Mutex;

use crate::{Environment, config::TokenConfig};
use session::ConfiguredSession;
use stored_pin::Policy;

/// What the driver made, and ours of it.
#[derive(Debug)]
struct Layered<T: ?Sized> {
    inner: Arc<T>,
    ours: Arc<T>,
}

impl<T: ?Sized> Layered<T> {
    /// Ours, if it is of this very `inner`. (Pointers to traits may differ in their tables even then.)
    fn of(&self, inner: &Arc<T>) -> Option<Arc<T>> {
        let is_same = std::ptr::addr_eq(Arc::as_ptr(&self.inner), Arc::as_ptr(inner));
        is_same.then(|| self.ours.clone())
    }
}

/// A slot whose token follows its configuration.
#[derive(Debug)]
pub(crate) struct ConfiguredSlot {
    inner: Arc<dyn Slot>,
    policy: Arc<Policy>,
    /// As long as the driver's token is the same, so is ours.
    current: Mutex<Option<Layered<dyn Token>>>,
}

impl ConfiguredSlot {
    /// `slot` as `config` wants it seen by a process in `environment`.
    pub(crate) fn new(slot: Arc<dyn Slot>, config: TokenConfig, environment: &Environment) -> Self {
        Self {
            inner: slot,
            policy: Arc::new(Policy::new(config, environment)),
            current: Mutex::default(),
        }
    }
}

impl Slot for ConfiguredSlot {
    fn id(&self) -> &str {
        self.inner.id()
    }

    fn info(&self) -> SlotInfo {
        SlotInfo {
            removable: self.policy.config.removable || self.inner.info().removable,
            ..self.inner.info()
        }
    }

    fn token(&self) -> Option<Arc<dyn Token>> {
        let inner = self.inner.token();
        let mut current = self.current.lock();
        let Some(inner) = inner else {
            *current = None;
            return None;
        };
        if let Some(ours) = current.as_ref().and_then(|layered| layered.of(&inner)) {
            return Some(ours);
        }
        let ours: Arc<dyn Token> = Arc::new(ConfiguredToken(Arc::new(View {
            inner: inner.clone(),
            policy: self.policy.clone(),
            seen: Mutex::default(),
        })));
        *current = Some(Layered {
            inner,
            ours: ours.clone(),
        });
        Some(ours)
    }

    fn obstacle(&self) -> Option<Reason> {
        self.inner.obstacle()
    }

    fn changes(&self) -> Option<u64> {
        self.inner.changes()
    }

    fn holds(&self, token: &Arc<dyn Token>) -> bool {
        let current = self.current.lock().as_ref().and_then(|layered| {
            let is_ours = std::ptr::addr_eq(Arc::as_ptr(&layered.ours), Arc::as_ptr(token));
            is_ours.then(|| layered.inner.clone())
        });
        current.is_some_and(|inner| self.inner.holds(&inner))
    }
}

/// What a program sees of a driver's token.
struct View {
    inner: Arc<dyn Token>,
    policy: Arc<Policy>,
    /// As long as the driver's snapshot is the same, so is ours.
    seen: Mutex<Option<Layered<KeychainContents>>>,
}

impl View {
    fn info(&self, inner: TokenInfo) -> TokenInfo {
        TokenInfo {
            login: self.login(inner.login).unwrap_or(inner.login),
            ..inner
        }
    }

    /// How a program gets to use the keys because a PIN is stored. Where the driver says that there is nothing to log in
    /// with, a PIN is for nobody: a service may have wanted one when it was stored.
    fn login(&self, inner: LoginPolicy) -> Option<LoginPolicy> {
        self.policy.login().filter(|_| inner != LoginPolicy::OnUse)
    }

    fn contents(&self) -> Arc<KeychainContents> {
        let inner = self.inner.contents();
        let mut seen = self.seen.lock();
        if let Some(ours) = seen.as_ref().and_then(|layered| layered.of(&inner)) {
            return ours;
        }
        let ours = visible(&inner, &self.policy);
        *seen = Some(Layered {
            inner,
            ours: ours.clone(),
        });
        ours
    }

    /// Refuses an item that is there but hidden; of one that is not there, the driver says so.
    fn check_visible(&self, id: &ObjectId) -> Result<()> {
        if self.policy.config.hidden.is_empty() {
            return Ok(());
        }
        let has = |contents: &KeychainContents| contents.items.iter().any(|item| item.id() == id);
        match has(&self.inner.contents()) && !has(&self.contents()) {
            true => Err(TokenError::ObjectNotFound),
            false => Ok(()),
        }
    }

    /// Refuses the place of a hidden identity, in which what is there would be lost.
    fn check_place(&self, identity: &[u8]) -> Result<()> {
        let is_hidden = self.policy.config.hides(identity, "")
            || hidden(&self.inner.contents(), &self.policy).contains(identity);
        match is_hidden {
            true => Err(TokenError::ObjectNotFound),
            false => Ok(()),
        }
    }

    /// Refuses a certificate that is about a hidden key, and would go to its place.
    fn check_subject(&self, der: &[u8]) -> Result<()> {
        let all = self.inner.contents();
        let hidden = hidden(&all, &self.policy);
        let is_about = |key: &Key| {
            let spki = key.public_key.spki();
            der.windows(spki.len().max(1)).any(|part| part == spki)
        };
        let is_about_hidden = all
            .keys()
            .any(|key| hidden.contains(&key.identity) && is_about(key));
        match is_about_hidden {
            true => Err(TokenError::ObjectNotFound),
            false => Ok(()),
        }
    }
}

struct ConfiguredToken(Arc<View>);

impl Token for ConfiguredToken {
    fn info(&self) -> TokenInfo {
        self.0.info(self.0.inner.info())
    }

    fn kind(&self) -> String {
        self.0.inner.kind()
    }

    fn tries_left(&self, role: Role) -> Option<u32> {
        self.0.inner.tries_left(role)
    }

    fn login_policy(&self) -> LoginPolicy {
        let inner = self.0.inner.login_policy();
        self.0.login(inner).unwrap_or(inner)
    }

    fn read_info(&self) -> Result<TokenInfo> {
        let info = self.0.inner.read_info()?;
        Ok(self.0.info(info))
    }

    fn load(&self) -> Result<()> {
        self.0.inner.load()
    }

    fn contents(&self) -> Arc<KeychainContents> {
        self.0.contents()
    }

    fn generation(&self) -> u64 {
        // What is left out of the contents does not change while they do not.
        self.0.inner.generation()
    }

    fn create_session(&self) -> Result<Arc<dyn TokenSession>> {
        let inner = self.0.inner.create_session()?;
        Ok(Arc::new(ConfiguredSession::new(inner, self.0.clone())))
    }
}

/// The contents without hidden identities, and with keys free to use if they are opened on use.
fn visible(all: &Arc<KeychainContents>, policy: &Policy) -> Arc<KeychainContents> {
    let is_on_use = policy.login() == Some(LoginPolicy::OnUse);
    if policy.config.hidden.is_empty() && !is_on_use {
        return all.clone();
    }
    let hidden = hidden(all, policy);
    let kept = |item: &&Item| named(item).is_none_or(|(identity, _)| !hidden.contains(identity));
    let items = all
        .items
        .iter()
        .filter(kept)
        .cloned()
        .map(|item| match item {
            Item::Key(mut key) if is_on_use => {
                for constraint in [&mut key.sign, &mut key.decrypt, &mut key.key_exchange] {
                    if matches!(constraint, Constraint::Auth(..)) {
                        *constraint = Constraint::Free;
                    }
                }
                Item::Key(key)
            }
            other => other,
        });
    Arc::new(KeychainContents {
        generation: all.generation,
        items: items.collect(),
    })
}

/// The identities that are hidden: a label may be on the key only, and it is always all of one.
fn hidden(all: &KeychainContents, policy: &Policy) -> HashSet<Vec<u8>> {
    let named = all.items.iter().filter_map(named);
    named
        .filter(|(identity, label)| policy.config.hides(identity, label))
        .map(|(identity, _)| identity.to_vec())
        .collect()
}

/// The identity and the label of what may be hidden.
fn named(item: &Item) -> Option<(&[u8], &str)> {
    match item {
        Item::Certificate(certificate) => Some((&certificate.identity, &certificate.label)),
        Item::Key(key) => Some((&key.identity, &key.label)),
        Item::Data(_) => None,
    }
}

#[cfg(all(test, feature = "pkcs12"))]
mod conformance;
#[cfg(test)]
mod tests;
