//! The objects of a token: what one snapshot of its contents looks like from PKCS#11.

use std::{collections::BTreeMap, sync::Arc};

use cryptoki_sys::*;
use ctk_token::{
    Certificate, Constraint, DataObject, Item, Key, KeychainContents, ObjectId, PublicKey,
};
use once_cell::sync::OnceCell;
use parking_lot::Mutex;

use super::{
    Answer, Class,
    index::{self, INDEXED, Index},
    table,
};
use crate::{error::Result, insertion::Insertion, library, mechanism};

/// The profiles that hold for every token of ours (PKCS#11 Profiles §2).
const PROFILES: [CK_PROFILE_ID; 4] = [
    CKP_BASELINE_PROVIDER,
    CKP_EXTENDED_PROVIDER,
    CKP_AUTHENTICATION_TOKEN,
    CKP_PUBLIC_CERTIFICATES_TOKEN,
];

/// One object.
pub(crate) struct Object {
    pub(super) handle: CK_OBJECT_HANDLE,
    pub(super) class: Class,
    /// Whether it can be seen by a user who is logged in only.
    pub(super) private: bool,
    source: Source,
}

/// Where an object's facts are.
#[derive(Clone, Copy)]
enum Source {
    /// In the contents, at this place.
    Item(usize),
    Profile(CK_PROFILE_ID),
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
    /// The place of each handle, sorted.
    by_handle: Vec<(CK_OBJECT_HANDLE, usize)>,
    /// What each private key can be used with. Found out when somebody asks.
    allowed: Mutex<BTreeMap<CK_OBJECT_HANDLE, Arc<[CK_MECHANISM_TYPE]>>>,
    /// Those of [`INDEXED`], each made when a search first goes by it.
    indexes: [OnceCell<Index>; INDEXED.len()],
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
            by_handle: Vec::new(),
            allowed: Mutex::default(),
            indexes: Default::default(),
        };
        for (place, item) in contents.items.iter().enumerate() {
            let id = item.id();
            let source = Source::Item(place);
            match item {
                Item::Certificate(_) => catalog.add(Class::Certificate, false, id, source)?,
                Item::Key(key) => {
                    catalog.add(Class::PublicKey, false, id, source)?;
                    // Nobody can see before login what needs one, or a key that nobody can use.
                    let private = !on_use && (key.needs_auth() || !key.is_free());
                    catalog.add(Class::PrivateKey, private, id, source)?;
                }
                Item::Data(data) => {
                    // Likewise.
                    let private = !on_use && data.read != Constraint::Free;
                    catalog.add(Class::Data, private, id, source)?;
                }
            }
        }
        for profile in PROFILES {
            let id = ObjectId::new(&profile.to_be_bytes());
            catalog.add(Class::Profile, false, &id, Source::Profile(profile))?;
        }
        catalog.by_handle.sort_unstable();
        Ok(catalog)
    }

    fn add(&mut self, class: Class, private: bool, id: &ObjectId, source: Source) -> Result<()> {
        let name = (class, id.clone());
        let handle = match self.handles.get(&name) {
            Some(handle) => *handle,
            None => {
                let handle = library::new_handle()?;
                self.handles.insert(name, handle);
                handle
            }
        };
        self.by_handle.push((handle, self.objects.len()));
        self.objects.push(Object {
            handle,
            class,
            private,
            source,
        });
        Ok(())
    }

    pub(crate) fn generation(&self) -> u64 {
        self.contents.generation
    }

    /// What the objects are of.
    pub(crate) fn contents(&self) -> &KeychainContents {
        &self.contents
    }

    /// The handle of what this item is as an object of this class, if it is in the contents.
    pub(super) fn handle(&self, class: Class, id: &ObjectId) -> Option<CK_OBJECT_HANDLE> {
        let handle = self.handles.get(&(class, id.clone()))?;
        self.object(*handle).map(|object| object.handle)
    }

    /// The object of this handle, whoever may see it.
    pub(super) fn object(&self, handle: CK_OBJECT_HANDLE) -> Option<&Object> {
        let by_handle = self
            .by_handle
            .binary_search_by_key(&handle, |(known, _)| *known);
        let (_, place) = self.by_handle.get(by_handle.ok()?)?;
        self.objects.get(*place)
    }

    fn item(&self, object: &Object) -> Option<&Item> {
        match object.source {
            Source::Item(place) => self.contents.items.get(place),
            Source::Profile(_) => None,
        }
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

    /// The objects that can match a template, in order, each once: all those that have the right
    /// value of one of its attributes, if one has an index.
    pub(super) fn candidates<'a>(
        &'a self,
        wanted: &[(CK_ATTRIBUTE_TYPE, &[u8])],
        insertion: &Insertion,
    ) -> impl Iterator<Item = &'a Object> + use<'a> {
        let (found, all) = match index::best(wanted) {
            Some((place, value)) => (Some(self.with(place, value, insertion)), None),
            None => (None, Some(&self.objects)),
        };
        found.into_iter().flatten().chain(all.into_iter().flatten())
    }

    /// The objects whose indexed attribute may have this value.
    fn with<'a>(
        &'a self,
        index: usize,
        value: &[u8],
        insertion: &Insertion,
    ) -> impl Iterator<Item = &'a Object> + use<'a> {
        let kind = INDEXED.get(index).copied().unwrap_or(CKA_CLASS);
        let index = self.indexes.get(index);
        let index = index.map(|index| index.get_or_init(|| self.index(kind, insertion)));
        let hash = index::hash(kind, value);
        index
            .into_iter()
            .flat_map(move |index| index.places(hash))
            .filter_map(|place| self.objects.get(place))
    }

    fn index(&self, kind: CK_ATTRIBUTE_TYPE, insertion: &Insertion) -> Index {
        let hashes = |(place, object)| {
            let view = View {
                catalog: self,
                object,
                insertion,
            };
            let Answer::Shown(value) = table::attribute(&view, kind) else {
                return Vec::new();
            };
            let value = value.bytes();
            let hash = |form| (index::hash(kind, form), place);
            index::forms(kind, value).map(hash).collect()
        };
        Index::new(self.objects.iter().enumerate().flat_map(hashes))
    }
}

/// An object with all that its attributes are made of.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(super) catalog: &'a Catalog,
    pub(super) object: &'a Object,
    pub(super) insertion: &'a Insertion,
}

impl<'a> View<'a> {
    fn item(&self) -> Option<&'a Item> {
        self.catalog.item(self.object)
    }

    pub(super) fn certificate(&self) -> Option<&'a Certificate> {
        match self.item()? {
            Item::Certificate(certificate) => Some(certificate),
            Item::Key(_) | Item::Data(_) => None,
        }
    }

    pub(super) fn key(&self) -> Option<&'a Key> {
        match self.item()? {
            Item::Key(key) => Some(key),
            Item::Certificate(_) | Item::Data(_) => None,
        }
    }

    pub(super) fn data(&self) -> Option<&'a DataObject> {
        match self.item()? {
            Item::Data(data) => Some(data),
            Item::Certificate(_) | Item::Key(_) => None,
        }
    }

    pub(super) fn profile(&self) -> Option<CK_PROFILE_ID> {
        match self.object.source {
            Source::Profile(profile) => Some(profile),
            Source::Item(_) => None,
        }
    }

    pub(super) fn label(&self) -> &'a str {
        match self.item() {
            Some(Item::Certificate(certificate)) => &certificate.label,
            Some(Item::Key(key)) => match &key.public_label {
                Some(label) if self.object.class == Class::PublicKey => label,
                _ => &key.label,
            },
            Some(Item::Data(data)) => &data.label,
            None => "",
        }
    }

    /// The token's own name for what the object shows.
    pub(super) fn id(&self) -> Option<&'a ObjectId> {
        self.item().map(Item::id)
    }

    /// CKA_ID.
    pub(super) fn identity(&self) -> Option<&'a [u8]> {
        match self.item()? {
            Item::Certificate(certificate) => Some(&certificate.identity),
            Item::Key(key) => Some(&key.identity),
            Item::Data(_) => None,
        }
    }

    /// Whether the token has the private key of this identity.
    pub(super) fn has_private_key(&self) -> bool {
        let identity = self.identity().unwrap_or_default();
        let other = |object| Self { object, ..*self };
        let candidates = self
            .catalog
            .candidates(&[(CKA_ID, identity)], self.insertion);
        candidates
            .map(other)
            .any(|view| view.object.class == Class::PrivateKey && view.identity() == Some(identity))
    }

    /// The mechanisms that the key can be used with; none while the token opens no session.
    ///
    /// Nothing else about an object needs a session, so certificates can be read without one.
    pub(super) fn allowed(&self, key: &Key) -> Arc<[CK_MECHANISM_TYPE]> {
        let handle = self.object.handle;
        if let Some(known) = self.catalog.allowed.lock().get(&handle) {
            return Arc::clone(known);
        }
        // Not under the lock: a token may be asked here. Without a session nothing is remembered.
        let Ok(session) = self.insertion.token_session() else {
            return Arc::default();
        };
        let allowed: Arc<[_]> = mechanism::allowed(key, &*session).into();
        let mut known = self.catalog.allowed.lock();
        Arc::clone(known.entry(handle).or_insert(allowed))
    }
}
