//! Objects (PKCS#11 §5.7): what a token's contents look like from PKCS#11, and C_GetAttributeValue.

mod certificate;
pub(crate) mod create;
pub(crate) mod find;
pub(crate) mod make;
mod public_key;
mod schema;
pub(crate) mod session_object;
mod table;
pub(crate) mod wish;

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use cryptoki_sys::*;
use ctk_token::{Certificate, DataObject, Item, Key, KeychainContents, ObjectId, PublicKey};
use once_cell::sync::OnceCell;

use crate::{
    abi::ptr::{Place, Template},
    error::{Error, Result},
    insertion::Insertion,
    library, mechanism,
    session::Session,
};

/// The kinds of objects that we show.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Class {
    Data,
    Certificate,
    PublicKey,
    PrivateKey,
    SecretKey,
}

impl Class {
    const ALL: &[Self] = &[
        Self::Data,
        Self::Certificate,
        Self::PublicKey,
        Self::PrivateKey,
        Self::SecretKey,
    ];

    pub(crate) fn value(self) -> CK_OBJECT_CLASS {
        match self {
            Self::Data => CKO_DATA,
            Self::Certificate => CKO_CERTIFICATE,
            Self::PublicKey => CKO_PUBLIC_KEY,
            Self::PrivateKey => CKO_PRIVATE_KEY,
            Self::SecretKey => CKO_SECRET_KEY,
        }
    }
}

/// One object.
pub(crate) struct Object {
    pub(crate) handle: CK_OBJECT_HANDLE,
    pub(crate) class: Class,
    /// Whether it can be seen by a user who is logged in only.
    pub(crate) private: bool,
    /// Where in the contents its facts are.
    item: usize,
    /// What the key can be used with. Found out when somebody asks.
    allowed: OnceCell<Box<[CK_MECHANISM_TYPE]>>,
}

/// The objects of one snapshot of a token's contents, in the token's order.
///
/// An object's handle follows the kind and the [`ObjectId`]: it stays the same over generations and
/// logins.
pub(crate) struct Catalog {
    contents: Arc<KeychainContents>,
    /// The token authenticates by itself, so that nothing is hidden from the program.
    on_use: bool,
    objects: Vec<Object>,
    /// Every handle that was ever given out, also for objects that are gone.
    handles: BTreeMap<(Class, ObjectId), CK_OBJECT_HANDLE>,
    by_handle: BTreeMap<CK_OBJECT_HANDLE, usize>,
    /// Programs look for the parts of an identity by their common CKA_ID.
    by_identity: BTreeMap<Box<[u8]>, Vec<usize>>,
}

impl Catalog {
    /// The objects of `contents`, with the handles of the generation before it.
    pub(crate) fn new(
        contents: &Arc<KeychainContents>,
        on_use: bool,
        before: Option<&Self>,
    ) -> Result<Self> {
        let mut catalog = Self {
            contents: Arc::clone(contents),
            on_use,
            objects: Vec::new(),
            handles: before
                .map(|before| before.handles.clone())
                .unwrap_or_default(),
            by_handle: BTreeMap::new(),
            by_identity: BTreeMap::new(),
        };
        for (index, item) in contents.items.iter().enumerate() {
            match item {
                Item::Certificate(_) => catalog.add(Class::Certificate, false, index, item)?,
                Item::Key(key) => {
                    catalog.add(Class::PublicKey, false, index, item)?;
                    // Nobody can see before login what needs one, or a key that nobody can use.
                    let private = !on_use && (key.needs_auth() || !key.is_free());
                    catalog.add(Class::PrivateKey, private, index, item)?;
                }
                Item::Data(data) if data.value.is_some() => {
                    catalog.add(Class::Data, false, index, item)?;
                }
                // Data that have to be read after login: no backend has them yet.
                Item::Data(_) => {}
            }
        }
        Ok(catalog)
    }

    fn add(&mut self, class: Class, private: bool, index: usize, item: &Item) -> Result<()> {
        let name = (class, item.id().clone());
        let handle = match self.handles.get(&name) {
            Some(handle) => *handle,
            None => library::new_handle()?,
        };
        self.handles.insert(name, handle);
        let place = self.objects.len();
        self.by_handle.insert(handle, place);
        if let Some(identity) = identity(item) {
            self.by_identity
                .entry(identity.into())
                .or_default()
                .push(place);
        }
        self.objects.push(Object {
            handle,
            class,
            private,
            item: index,
            allowed: OnceCell::new(),
        });
        Ok(())
    }

    pub(crate) fn generation(&self) -> u64 {
        self.contents.generation
    }

    /// The object of this handle, whoever may see it.
    fn object(&self, handle: CK_OBJECT_HANDLE) -> Option<&Object> {
        self.by_handle
            .get(&handle)
            .and_then(|place| self.objects.get(*place))
    }

    fn item(&self, object: &Object) -> Option<&Item> {
        self.contents.items.get(object.item)
    }

    /// The private key of this handle, and whether one has to be logged in to see it.
    pub(crate) fn private_key(&self, handle: CK_OBJECT_HANDLE) -> Option<(&Key, bool)> {
        let object = self.object(handle)?;
        match (object.class, self.item(object)?) {
            (Class::PrivateKey, Item::Key(key)) => Some((key, object.private)),
            _ => None,
        }
    }

    /// The public key of this handle.
    pub(crate) fn public_key(&self, handle: CK_OBJECT_HANDLE) -> Option<&PublicKey> {
        let object = self.object(handle)?;
        match (object.class, self.item(object)?) {
            (Class::PublicKey, Item::Key(key)) => Some(&key.public_key),
            _ => None,
        }
    }

    /// Whether a program has to log in again for each use of the key.
    pub(crate) fn authenticates_always(&self, key: &Key) -> bool {
        !self.on_use && key.authenticates_always()
    }

    /// The objects that can have this CKA_ID.
    fn with_identity<'a>(&'a self, identity: &[u8]) -> impl Iterator<Item = &'a Object> {
        let places = self
            .by_identity
            .get(identity)
            .map(Vec::as_slice)
            .unwrap_or_default();
        places.iter().filter_map(|place| self.objects.get(*place))
    }
}

fn identity(item: &Item) -> Option<&[u8]> {
    match item {
        Item::Certificate(certificate) => Some(&certificate.identity),
        Item::Key(key) => Some(&key.identity),
        Item::Data(_) => None,
    }
}

/// An object with all that its attributes are made of.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    catalog: &'a Catalog,
    object: &'a Object,
    item: &'a Item,
    insertion: &'a Insertion,
}

/// The value of an attribute.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Value<'a> {
    Bool(bool),
    Ulong(CK_ULONG),
    Bytes(Cow<'a, [u8]>),
}

impl Value<'_> {
    /// The value as it stands in memory on the C side: a byte for a CK_BBOOL, native order for a
    /// CK_ULONG.
    pub(crate) fn bytes(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Bool(value) => Cow::Owned(vec![if *value { CK_TRUE } else { CK_FALSE }]),
            Self::Ulong(value) => Cow::Owned(value.to_ne_bytes().to_vec()),
            Self::Bytes(bytes) => Cow::Borrowed(bytes),
        }
    }
}

impl<'a> View<'a> {
    fn certificate(&self) -> Option<&'a Certificate> {
        match self.item {
            Item::Certificate(certificate) => Some(certificate),
            Item::Key(_) | Item::Data(_) => None,
        }
    }

    fn key(&self) -> Option<&'a Key> {
        match self.item {
            Item::Key(key) => Some(key),
            Item::Certificate(_) | Item::Data(_) => None,
        }
    }

    fn data(&self) -> Option<&'a DataObject> {
        match self.item {
            Item::Data(data) => Some(data),
            Item::Certificate(_) | Item::Key(_) => None,
        }
    }

    fn label(&self) -> &'a str {
        match self.item {
            Item::Certificate(certificate) => &certificate.label,
            Item::Key(key) => &key.label,
            Item::Data(data) => &data.label,
        }
    }

    fn identity(&self) -> Option<&'a [u8]> {
        identity(self.item)
    }

    /// Whether the token has the private key of this identity.
    fn has_private_key(&self) -> bool {
        let identity = self.identity().unwrap_or_default();
        self.catalog
            .with_identity(identity)
            .any(|object| object.class == Class::PrivateKey)
    }

    /// The mechanisms that the key can be used with; none while the token opens no session.
    ///
    /// Nothing else about an object needs a session, so certificates can be read without one.
    fn allowed(&self, key: &Key) -> &'a [CK_MECHANISM_TYPE] {
        let allowed = self.object.allowed.get_or_try_init(|| {
            let session = self.insertion.token_session()?;
            Ok::<_, Error>(mechanism::allowed(key, &*session).into())
        });
        allowed.map(|list| &**list).unwrap_or_default()
    }
}

/// What a session can see of its token now.
pub(crate) struct Sight<'a> {
    catalog: Arc<Catalog>,
    insertion: &'a Insertion,
    shows_private: bool,
}

impl<'i> Sight<'i> {
    pub(crate) fn new(insertion: &'i Insertion) -> Result<Self> {
        Ok(Self {
            catalog: insertion.catalog()?,
            insertion,
            shows_private: insertion.shows_private(),
        })
    }

    /// The object of this handle, if it can be seen.
    fn object(&self, handle: CK_OBJECT_HANDLE) -> Option<View<'_>> {
        self.catalog
            .object(handle)
            .and_then(|object| self.view(object))
    }

    fn view<'a>(&'a self, object: &'a Object) -> Option<View<'a>> {
        if object.private && !self.shows_private {
            return None;
        }
        Some(View {
            catalog: &self.catalog,
            object,
            item: self.catalog.item(object)?,
            insertion: self.insertion,
        })
    }

    /// All that can be seen, or those of them that can have this CKA_ID.
    fn views<'a>(&'a self, identity: Option<&[u8]>) -> Vec<View<'a>> {
        match identity {
            Some(identity) => self
                .catalog
                .with_identity(identity)
                .filter_map(|object| self.view(object))
                .collect(),
            None => self
                .catalog
                .objects
                .iter()
                .filter_map(|object| self.view(object))
                .collect(),
        }
    }
}

/// C_GetObjectSize (PKCS#11 §5.7.4).
pub(crate) fn size(
    session: &Session,
    object: CK_OBJECT_HANDLE,
    out: Result<Place<'_, CK_ULONG>>,
) -> Result<()> {
    let _ = (session, object, out);
    Err(Error::FunctionNotSupported)
}

/// C_GetAttributeValue (PKCS#11 §5.7.5): every entry is answered, and one of the errors is returned
/// at the end.
pub(crate) fn attribute_value(
    session: &Session,
    object: CK_OBJECT_HANDLE,
    template: Result<Template<'_>>,
) -> Result<()> {
    let sight = Sight::new(&session.insertion)?;
    // A private object that cannot be seen does not exist.
    let view = sight.object(object).ok_or(Error::ObjectHandleInvalid)?;
    let mut outcome = Ok(());
    for entry in template?.entries() {
        let answered = match table::attribute(&view, entry.kind) {
            table::Answer::Shown(value) => entry.answer(&value.bytes()),
            table::Answer::Sensitive => {
                entry.refuse();
                Err(Error::AttributeSensitive)
            }
            table::Answer::Absent => {
                entry.refuse();
                Err(Error::AttributeTypeInvalid)
            }
        };
        // The first error is kept: it is the one about the entry that a program sees first.
        outcome = outcome.and(answered);
    }
    outcome
}
