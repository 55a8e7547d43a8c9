//! Session objects (PKCS#11 §4.4): what programs make for themselves, gone with the session that
//! made it.

use std::{collections::BTreeMap, sync::Arc};

use cryptoki_sys::*;
use ctk_crypto::{PrivateKey, SecretBytes};
use ctk_token::{Key, PublicKey};
use parking_lot::{Mutex, RwLock};

use crate::{
    error::{Error, Result},
    session::Session,
};

/// The value of each attribute of a session object, as it stands on the C side. What is secret is
/// not among them.
pub(crate) type Attributes = BTreeMap<CK_ATTRIBUTE_TYPE, Box<[u8]>>;

/// The session objects of one token's sessions.
#[derive(Default)]
pub(crate) struct SessionObjects(Mutex<BTreeMap<CK_OBJECT_HANDLE, Arc<SessionObject>>>);

impl SessionObjects {
    /// Adds what a session has made: all of it or nothing.
    ///
    /// # Errors
    /// CKR_SESSION_CLOSED and CKR_USER_NOT_LOGGED_IN if the session or the login has ended meanwhile:
    /// nobody would remove them any more.
    pub(crate) fn add_all(&self, session: &Session, made: Vec<SessionObject>) -> Result<()> {
        // The end of a session or login is said before its objects are removed under this lock.
        let mut objects = self.0.lock();
        if session.is_closed() {
            return Err(Error::SessionClosed);
        }
        let private = made.iter().any(|object| object.private);
        if private && !session.insertion.shows_private() {
            return Err(Error::UserNotLoggedIn);
        }
        for object in made {
            objects.insert(object.handle, Arc::new(object));
        }
        Ok(())
    }

    /// The object of this handle, if the session can see it: a private one only after login.
    pub(crate) fn find(
        &self,
        session: &Session,
        handle: CK_OBJECT_HANDLE,
    ) -> Option<Arc<SessionObject>> {
        let object = self.0.lock().get(&handle).cloned()?;
        (!object.private || session.insertion.shows_private()).then_some(object)
    }

    /// Removes those objects: at the end of their session, or the private ones at logout.
    pub(crate) fn remove_those(&self, which: impl Fn(&SessionObject) -> bool) {
        let mut objects = self.0.lock();
        let mut removed = Vec::new();
        objects.retain(|_, object| {
            let gone = which(object);
            if gone {
                removed.push(Arc::clone(object));
            }
            !gone
        });
        // Dropped after the lock: wiping keys takes a moment.
        drop(objects);
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
    pub(crate) attributes: RwLock<Attributes>,
    pub(crate) material: Material,
}

/// What a session object is made of besides its attributes.
pub(crate) enum Material {
    /// A certificate or data: the attributes are all of it.
    Nothing,
    Public(PublicKey),
    Secret(SecretBytes),
    /// What there is to say of the key, and the key, which nobody gets.
    Private(Box<Key>, Arc<PrivateKey>),
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
            attributes: RwLock::new(attributes),
            material,
        }
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

    pub(crate) fn private_key(&self) -> Option<(&Key, &Arc<PrivateKey>)> {
        match &self.material {
            Material::Private(facts, key) => Some((facts, key)),
            _ => None,
        }
    }
}
