//! Session objects (PKCS#11 §4.4): what programs make for themselves, gone with the session that
//! made it.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use cryptoki_sys::*;
use ctk_crypto::{SecretBytes, SecretStore};
use ctk_token::{Key, PublicKey, TokenSession};
use parking_lot::{Mutex, RwLock};

use super::{
    Answer, Class, Value,
    index::{self, INDEXED},
    public_key,
};
use crate::{
    error::{Error, Result},
    session::Session,
};

/// The value of each attribute of a session object, as it stands on the C side. What is secret is
/// not among them.
pub(crate) type Attributes = BTreeMap<CK_ATTRIBUTE_TYPE, Box<[u8]>>;

/// The session objects of one token's sessions.
#[derive(Default)]
pub(crate) struct SessionObjects {
    store: Mutex<Store>,
    /// Where the secret keys' bytes are: a program may have thousands of them.
    secrets: SecretStore,
}

#[derive(Default)]
struct Store {
    by_handle: BTreeMap<CK_OBJECT_HANDLE, Arc<SessionObject>>,
    /// The objects of each session: sessions come and go with every signature of some programs.
    by_owner: BTreeSet<(CK_SESSION_HANDLE, CK_OBJECT_HANDLE)>,
    /// Which objects have a value of this hash, for each attribute of [`INDEXED`]. What is secret is
    /// not hashed.
    index: BTreeSet<(CK_ATTRIBUTE_TYPE, u64, CK_OBJECT_HANDLE)>,
}

/// What finds an object in the index.
fn index_entries(
    handle: CK_OBJECT_HANDLE,
    attributes: &Attributes,
) -> Vec<(CK_ATTRIBUTE_TYPE, u64, CK_OBJECT_HANDLE)> {
    let of_kind = |kind| {
        let value = attributes.get(&kind).map(|value| &**value);
        let forms = value
            .into_iter()
            .flat_map(move |value| index::forms(kind, value));
        forms.map(move |form| (kind, index::hash(kind, form), handle))
    };
    INDEXED.into_iter().flat_map(of_kind).collect()
}

impl Store {
    fn add(&mut self, object: Arc<SessionObject>) {
        let entries = index_entries(object.handle, &object.attributes.read());
        self.index.extend(entries);
        self.by_owner.insert((object.owner, object.handle));
        self.by_handle.insert(object.handle, object);
    }

    fn remove(&mut self, handle: CK_OBJECT_HANDLE) -> Option<Arc<SessionObject>> {
        let object = self.by_handle.remove(&handle)?;
        self.by_owner.remove(&(object.owner, handle));
        for entry in index_entries(handle, &object.attributes.read()) {
            self.index.remove(&entry);
        }
        Some(object)
    }

    fn with(&self, kind: CK_ATTRIBUTE_TYPE, value: &[u8]) -> impl Iterator<Item = &SessionObject> {
        let hash = index::hash(kind, value);
        let first = (kind, hash, CK_OBJECT_HANDLE::MIN);
        let last = (kind, hash, CK_OBJECT_HANDLE::MAX);
        let handles = self.index.range(first..=last);
        handles.filter_map(|(.., handle)| self.by_handle.get(handle).map(|object| &**object))
    }
}

impl SessionObjects {
    /// Adds what a session has made: all of it or nothing.
    ///
    /// # Errors
    /// CKR_SESSION_CLOSED and CKR_USER_NOT_LOGGED_IN if the session or the login has ended meanwhile:
    /// nobody would remove them any more.
    pub(crate) fn add_all(&self, session: &Session, made: Vec<SessionObject>) -> Result<()> {
        // The end of a session or login is said before its objects are removed under this lock, which
        // is taken before the login's.
        let mut store = self.store.lock();
        if session.is_closed() {
            return Err(Error::SessionClosed);
        }
        let private = made.iter().any(|object| object.private);
        if private && !session.insertion.shows_private() {
            return Err(Error::UserNotLoggedIn);
        }
        for object in made {
            store.add(Arc::new(object));
        }
        Ok(())
    }

    /// The bytes of a new secret key, in the memory for those.
    pub(super) fn keep(&self, secret: &[u8]) -> SecretBytes {
        self.secrets.keep(secret)
    }

    /// The object of this handle, if the session can see it: a private one only after login.
    pub(crate) fn find(
        &self,
        session: &Session,
        handle: CK_OBJECT_HANDLE,
    ) -> Option<Arc<SessionObject>> {
        let object = self.store.lock().by_handle.get(&handle).cloned()?;
        (!object.private || session.insertion.shows_private()).then_some(object)
    }

    /// The handles of the objects that match a template, of those that can be seen.
    pub(super) fn search(
        &self,
        wanted: &[(CK_ATTRIBUTE_TYPE, &[u8])],
        shows_private: bool,
        found: &mut Vec<CK_OBJECT_HANDLE>,
    ) {
        let store = self.store.lock();
        if store.by_handle.is_empty() {
            return;
        }
        let matches = |object: &&SessionObject| {
            let attributes = object.attributes.read();
            let seen = !object.private || shows_private;
            seen && wanted.iter().all(|(kind, value)| {
                matches!(object.attribute(&attributes, *kind),
                    Answer::Shown(shown) if index::matches(*kind, shown.bytes(), value))
            })
        };
        let best =
            index::best(wanted).and_then(|(place, value)| Some((*INDEXED.get(place)?, value)));
        let Some((kind, value)) = best else {
            let all = store.by_handle.values().map(|object| &**object);
            found.extend(all.filter(matches).map(|object| object.handle));
            return;
        };
        let candidates = store.with(kind, value);
        found.extend(candidates.filter(matches).map(|object| object.handle));
        if kind == CKA_VALUE {
            // Keys that can be read are found by their value as well.
            let class = Class::SecretKey.value().to_ne_bytes();
            let keys = store.with(CKA_CLASS, &class);
            found.extend(keys.filter(matches).map(|object| object.handle));
        }
    }

    /// Changes an object's attributes by `change`, which changes nothing if it fails.
    pub(super) fn change(
        &self,
        object: &SessionObject,
        change: impl FnOnce(&mut Attributes) -> Result<()>,
    ) -> Result<()> {
        let mut store = self.store.lock();
        if !store.by_handle.contains_key(&object.handle) {
            return Err(Error::ObjectHandleInvalid);
        }
        let mut attributes = object.attributes.write();
        let before = index_entries(object.handle, &attributes);
        change(&mut attributes)?;
        for entry in before {
            store.index.remove(&entry);
        }
        store
            .index
            .extend(index_entries(object.handle, &attributes));
        Ok(())
    }

    /// Removes one object.
    pub(super) fn remove(&self, handle: CK_OBJECT_HANDLE) -> Result<()> {
        let removed = self.store.lock().remove(handle);
        // Dropped after the lock: wiping keys takes a moment.
        removed.map(drop).ok_or(Error::ObjectHandleInvalid)
    }

    /// Removes the objects of a session, at its end.
    pub(crate) fn remove_of(&self, owner: CK_SESSION_HANDLE) {
        self.remove_those(|store| {
            let first = (owner, CK_OBJECT_HANDLE::MIN);
            let own = store.by_owner.range(first..=(owner, CK_OBJECT_HANDLE::MAX));
            own.map(|(_, handle)| *handle).collect()
        });
    }

    /// Removes what only a user who is logged in sees, at logout. Operations that have such a key end
    /// at their next use of it.
    pub(crate) fn remove_private(&self) {
        self.remove_those(|store| {
            let private = store.by_handle.values().filter(|object| object.private);
            let end = |object: &Arc<SessionObject>| {
                object.login_is_over.store(true, Ordering::SeqCst);
                object.handle
            };
            private.map(end).collect()
        });
    }

    fn remove_those(&self, which: impl FnOnce(&Store) -> Vec<CK_OBJECT_HANDLE>) {
        let mut store = self.store.lock();
        let handles = which(&store).into_iter();
        let removed: Vec<_> = handles.filter_map(|handle| store.remove(handle)).collect();
        drop(store);
        // Dropped after the lock: wiping keys takes a moment.
        drop(removed);
    }
}

/// A session object.
pub(crate) struct SessionObject {
    pub(crate) handle: CK_OBJECT_HANDLE,
    /// The session that made it, with which it ends. All sessions with the token see it.
    pub(crate) owner: CK_SESSION_HANDLE,
    /// Seen by a user who is logged in only.
    pub(crate) private: bool,
    /// It is a private one, and the login that it went with has ended.
    login_is_over: AtomicBool,
    pub(crate) attributes: RwLock<Attributes>,
    pub(crate) material: Material,
}

/// What a session object is made of besides its attributes.
pub(crate) enum Material {
    /// A certificate or data: the attributes are all of it.
    Nothing,
    Public(PublicKey),
    Secret(SecretBytes),
    /// What there is to say of the key, and who performs with it: the key itself nobody gets.
    Private(Box<Key>, Arc<dyn TokenSession>),
}

impl SessionObject {
    pub(super) fn new(
        handle: CK_OBJECT_HANDLE,
        owner: CK_SESSION_HANDLE,
        private: bool,
        attributes: Attributes,
        material: Material,
    ) -> Self {
        Self {
            handle,
            owner,
            private,
            login_is_over: AtomicBool::new(false),
            attributes: RwLock::new(attributes),
            material,
        }
    }

    /// What there is to say about one of its attributes, which are locked for that. A secret key that
    /// nobody hides can be read; of a private key no secret ever is.
    pub(super) fn attribute<'a>(
        &'a self,
        attributes: &'a Attributes,
        kind: CK_ATTRIBUTE_TYPE,
    ) -> Answer<'a> {
        if let Some(value) = attributes.get(&kind) {
            return Answer::Shown(Value::Bytes(Cow::Borrowed(value)));
        }
        match &self.material {
            Material::Secret(key) if kind == CKA_VALUE => {
                let is = |kind| matches!(attributes.get(&kind).map(|value| &**value), Some([value]) if *value != CK_FALSE);
                if is(CKA_EXTRACTABLE) && !is(CKA_SENSITIVE) {
                    Answer::Shown(Value::Bytes(Cow::Borrowed(key)))
                } else {
                    Answer::Sensitive
                }
            }
            Material::Private(facts, _)
                if public_key::has_secret(facts.public_key.key_type(), kind) =>
            {
                Answer::Sensitive
            }
            _ => Answer::Absent,
        }
    }

    /// Whether an operation that was set up with it may go on.
    ///
    /// # Errors
    /// CKR_USER_NOT_LOGGED_IN if it is private and the login that it went with has ended, whoever has
    /// logged in since. An object that was destroyed serves until the end of the operation.
    pub(crate) fn check_login(&self) -> Result<()> {
        if self.login_is_over.load(Ordering::SeqCst) {
            return Err(Error::UserNotLoggedIn);
        }
        Ok(())
    }

    pub(super) fn class(&self) -> Option<Class> {
        let attributes = self.attributes.read();
        let class = attributes.get(&CKA_CLASS)?.as_ref().try_into().ok()?;
        Class::of_new(CK_OBJECT_CLASS::from_ne_bytes(class))
    }

    /// Whether this attribute is CK_TRUE.
    pub(crate) fn is_true(&self, kind: CK_ATTRIBUTE_TYPE) -> bool {
        matches!(self.attributes.read().get(&kind).map(|value| &**value), Some([value]) if *value != CK_FALSE)
    }

    pub(crate) fn public_key(&self) -> Option<&PublicKey> {
        match &self.material {
            Material::Public(key) => Some(key),
            _ => None,
        }
    }

    pub(crate) fn secret_key(&self) -> Option<&SecretBytes> {
        match &self.material {
            Material::Secret(key) => Some(key),
            _ => None,
        }
    }

    pub(crate) fn private_key(&self) -> Option<(&Key, &Arc<dyn TokenSession>)> {
        match &self.material {
            Material::Private(facts, key) => Some((facts, key)),
            _ => None,
        }
    }
}
