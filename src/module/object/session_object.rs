//! Session objects (PKCS#11 §4.4): what programs make for themselves, gone with the session that
//! made it.

use std::{collections::BTreeMap, sync::Arc};

use cryptoki_sys::*;
use ctk_crypto::{PrivateKey, SecretBytes};
use ctk_token::{Key, PublicKey};
use parking_lot::{Mutex, RwLock};

use crate::session::Session;

/// The value of each attribute of a session object, as it stands on the C side. What is secret is
/// not among them.
pub(crate) type Attributes = BTreeMap<CK_ATTRIBUTE_TYPE, Box<[u8]>>;

/// The session objects of one token's sessions.
#[derive(Default)]
pub(crate) struct SessionObjects(Mutex<BTreeMap<CK_OBJECT_HANDLE, Arc<SessionObject>>>);

impl SessionObjects {
    /// Adds one.
    pub(crate) fn add(&self, object: SessionObject) -> CK_OBJECT_HANDLE {
        let handle = object.handle;
        self.0.lock().insert(handle, Arc::new(object));
        handle
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
