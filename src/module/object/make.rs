//! New session objects, and what the library itself says of them.

use std::sync::Arc;

use cryptoki_sys::*;
use ctk_crypto::{CipherMode, CipherStream, PrivateKey};
use ctk_token::{Constraint, Key, KeyType, ObjectId, Origin, PublicKey};

use super::{
    Class,
    held::Held,
    public_key,
    session_object::{Attributes, Material, SessionObject},
    wish::{Given, How, Wish},
};
use crate::{
    abi::ptr::ulong,
    error::{During, Error, Result},
    library,
    mechanism::table::MAX_SECRET_LEN,
    session::Session,
};

/// Makes a secret key of the session, of these bytes.
///
/// # Errors
/// CKR_TEMPLATE_INCONSISTENT if the template names another type or length, CKR_KEY_SIZE_RANGE for a
/// length that no key of this type has, CKR_ATTRIBUTE_VALUE_INVALID for a type that we do not have,
/// and CKR_SESSION_CLOSED if the session ended meanwhile.
pub(crate) fn new_secret_key(
    session: &Session,
    mut wish: Wish,
    key_type: CK_KEY_TYPE,
    value: &[u8],
) -> Result<CK_OBJECT_HANDLE> {
    if wish.key_type().is_some_and(|named| named != key_type)
        || wish.value_len()?.is_some_and(|named| named != value.len())
    {
        return Err(Error::TemplateInconsistent);
    }
    check_secret_len(key_type, value.len())?;
    let check_value = check_value(key_type, value)?;
    // An empty one in the template is the wish for none (§4.11).
    let named = wish.bytes(CKA_CHECK_VALUE).unwrap_or_default();
    if !named.is_empty() && check_value.is_none_or(|value| named != value) {
        return Err(Error::AttributeValueInvalid);
    }
    // Attributes are not wiped.
    wish.given.remove(&CKA_VALUE);
    let mut parts = Parts::new(wish);
    parts.set_ulong(CKA_KEY_TYPE, key_type);
    parts.set_ulong(CKA_VALUE_LEN, ulong(value.len()));
    let check_value = check_value.as_ref().map_or(&[][..], |value| value);
    parts.default_value(CKA_CHECK_VALUE, check_value);
    let cipher = key_type == CKK_AES;
    parts.default_bools(&[
        (CKA_SENSITIVE, false),
        (CKA_EXTRACTABLE, true),
        (CKA_ENCRYPT, cipher),
        (CKA_DECRYPT, cipher),
        (CKA_WRAP, cipher),
        (CKA_UNWRAP, cipher),
        (CKA_SIGN, true),
        (CKA_VERIFY, true),
        (CKA_WRAP_WITH_TRUSTED, false),
        (CKA_TRUSTED, false),
    ]);
    parts.describe_key();
    parts.describe_past();
    let value = session.insertion.objects.keep(value);
    add(session, [(parts, Material::Secret(value))]).map(|[handle]| handle)
}

/// Whether templates can be those of a key pair of this kind: asked before it is generated, which may
/// take seconds.
///
/// # Errors
/// CKR_TEMPLATE_INCONSISTENT.
pub(crate) fn check_key_pair(public: &Wish, private: &Wish, kind: KeyType) -> Result<()> {
    if private.bool(CKA_ALWAYS_AUTHENTICATE) == Some(true) {
        // There is no PIN that a session key could ask for; on a token, the key's place decides.
        return Err(Error::TemplateInconsistent);
    }
    public_key::check_kind(kind, true, |kind| public.bytes(kind))?;
    public_key::check_kind(kind, false, |kind| private.bytes(kind))
}

/// Makes a key pair of the session, of templates that [`check_key_pair`] has seen: the handles of
/// the public and of the private key.
///
/// The private key is CKA_SENSITIVE, not CKA_EXTRACTABLE and not CKA_COPYABLE whatever the template
/// says. Java asks for the contrary for keys that it never reads, so this is no error.
///
/// # Errors
/// CKR_TEMPLATE_INCONSISTENT if a template is for another kind of key, and CKR_SESSION_CLOSED if the
/// session ended meanwhile. Either both keys are there afterwards, or none.
pub(crate) fn new_key_pair(
    session: &Session,
    public: Wish,
    private: Wish,
    key: PrivateKey,
) -> Result<(CK_OBJECT_HANDLE, CK_OBJECT_HANDLE)> {
    let public_key = key.public_key().clone();
    let public_parts = public_parts(public, &public_key)?;
    let private_parts = private_parts(private, &public_key)?;
    let facts = facts(&private_parts, &public_key);
    let material = Material::Private(Box::new(facts), Arc::new(Held(key)));
    let [public, private] = add(
        session,
        [
            (public_parts, Material::Public(public_key)),
            (private_parts, material),
        ],
    )?;
    Ok((public, private))
}

/// Makes a public key of the session.
pub(super) fn new_public_key(
    session: &Session,
    wish: Wish,
    key: PublicKey,
) -> Result<CK_OBJECT_HANDLE> {
    let parts = public_parts(wish, &key)?;
    add(session, [(parts, Material::Public(key))]).map(|[handle]| handle)
}

/// Makes an object of these attributes: a certificate, data, or a copy.
pub(super) fn new_object(
    session: &Session,
    parts: Parts,
    material: Material,
) -> Result<CK_OBJECT_HANDLE> {
    add(session, [(parts, material)]).map(|[handle]| handle)
}

fn public_parts(wish: Wish, key: &PublicKey) -> Result<Parts> {
    let mut parts = Parts::new(wish);
    parts.follow(key, true)?;
    let (uses, _) = public_key::uses(key.key_type());
    let all = [
        CKA_ENCRYPT,
        CKA_VERIFY,
        CKA_VERIFY_RECOVER,
        CKA_WRAP,
        CKA_ENCAPSULATE,
    ];
    parts.default_bools(&all.map(|kind| (kind, uses.contains(&kind))));
    parts.default_bools(&[(CKA_TRUSTED, false)]);
    parts.default_bytes(CKA_SUBJECT);
    parts.describe_key();
    Ok(parts)
}

fn private_parts(wish: Wish, key: &PublicKey) -> Result<Parts> {
    let mut parts = Parts::new(wish);
    parts.follow(key, false)?;
    parts.set_bool(CKA_SENSITIVE, true);
    parts.set_bool(CKA_EXTRACTABLE, false);
    parts.set_bool(CKA_COPYABLE, false);
    let (_, uses) = public_key::uses(key.key_type());
    let all = [
        CKA_DECRYPT,
        CKA_SIGN,
        CKA_SIGN_RECOVER,
        CKA_UNWRAP,
        CKA_DECAPSULATE,
    ];
    parts.default_bools(&all.map(|kind| (kind, uses.contains(&kind))));
    parts.default_bools(&[
        (CKA_WRAP_WITH_TRUSTED, false),
        (CKA_ALWAYS_AUTHENTICATE, false),
    ]);
    parts.default_bytes(CKA_SUBJECT);
    parts.describe_key();
    parts.describe_past();
    Ok(parts)
}

/// The facts of a private key of the session, as the contract has them.
fn facts(parts: &Parts, public_key: &PublicKey) -> Key {
    let bytes = |kind| parts.attributes.get(&kind).map(|value| &**value);
    let constraint = |kinds: [CK_ATTRIBUTE_TYPE; 2]| {
        let free = kinds.iter().any(|kind| bytes(*kind) == Some(&[CK_TRUE]));
        if free {
            Constraint::Free
        } else {
            Constraint::Never
        }
    };
    let label = String::from_utf8_lossy(bytes(CKA_LABEL).unwrap_or_default());
    Key {
        sign: constraint([CKA_SIGN, CKA_SIGN_RECOVER]),
        decrypt: constraint([CKA_DECRYPT, CKA_UNWRAP]),
        key_exchange: constraint([CKA_DERIVE, CKA_DECAPSULATE]),
        origin: Origin::Generated,
        ..Key::new(
            ObjectId::new(b"session"),
            &label,
            bytes(CKA_ID).unwrap_or_default(),
            public_key.clone(),
        )
    }
}

/// The attributes of an object that is being made.
pub(super) struct Parts {
    attributes: Attributes,
    private: bool,
    how: How,
}

impl Parts {
    /// What the template says, and what every object has.
    pub(super) fn new(wish: Wish) -> Self {
        let given = wish.given.into_iter();
        let mut parts = Self {
            attributes: given
                .map(|(kind, value)| (kind, value.as_slice().into()))
                .collect(),
            private: wish.private,
            how: wish.how,
        };
        parts.set_ulong(CKA_CLASS, wish.class.value());
        parts.set_bool(CKA_TOKEN, false);
        parts.set_bool(CKA_PRIVATE, wish.private);
        parts.default_bools(&[
            (CKA_MODIFIABLE, true),
            (CKA_COPYABLE, true),
            (CKA_DESTROYABLE, true),
        ]);
        parts.default_bytes(CKA_LABEL);
        parts
    }

    /// The attributes of an object, changed by what a template says.
    pub(super) fn copy(attributes: Attributes, changes: &Given, private: bool) -> Self {
        let mut parts = Self {
            attributes,
            private,
            how: How::Created,
        };
        for (kind, value) in changes {
            parts.set(*kind, value);
        }
        parts
    }

    pub(super) fn set(&mut self, kind: CK_ATTRIBUTE_TYPE, value: &[u8]) {
        self.attributes.insert(kind, value.into());
    }

    pub(super) fn set_bool(&mut self, kind: CK_ATTRIBUTE_TYPE, value: bool) {
        self.set(kind, &[if value { CK_TRUE } else { CK_FALSE }]);
    }

    pub(super) fn set_ulong(&mut self, kind: CK_ATTRIBUTE_TYPE, value: CK_ULONG) {
        self.set(kind, &value.to_ne_bytes());
    }

    pub(super) fn default_bools(&mut self, defaults: &[(CK_ATTRIBUTE_TYPE, bool)]) {
        for (kind, value) in defaults {
            if !self.attributes.contains_key(kind) {
                self.set_bool(*kind, *value);
            }
        }
    }

    pub(super) fn default_ulong(&mut self, kind: CK_ATTRIBUTE_TYPE, value: CK_ULONG) {
        if !self.attributes.contains_key(&kind) {
            self.set_ulong(kind, value);
        }
    }

    pub(super) fn default_bytes(&mut self, kind: CK_ATTRIBUTE_TYPE) {
        self.attributes.entry(kind).or_default();
    }

    fn default_value(&mut self, kind: CK_ATTRIBUTE_TYPE, value: &[u8]) {
        let entry = self.attributes.entry(kind);
        entry.or_insert_with(|| value.into());
    }

    /// Takes over what follows from the public key.
    ///
    /// # Errors
    /// CKR_TEMPLATE_INCONSISTENT if the template says otherwise or has what other kinds of keys have.
    fn follow(&mut self, key: &PublicKey, public: bool) -> Result<()> {
        let named = |kind| self.attributes.get(&kind).map(|value| &**value);
        public_key::check_kind(key.key_type(), public, named)?;
        if let Some(info) = self.attributes.get(&CKA_PUBLIC_KEY_INFO)
            && !info.is_empty()
            && **info != *key.spki()
        {
            return Err(Error::TemplateInconsistent);
        }
        for (kind, value) in public_key::attributes(key, public) {
            self.set(kind, &value);
        }
        Ok(())
    }

    /// What every key has (§4.8).
    fn describe_key(&mut self) {
        for kind in [CKA_ID, CKA_START_DATE, CKA_END_DATE] {
            self.default_bytes(kind);
        }
        self.default_bools(&[(CKA_DERIVE, false)]);
        let mechanism = match self.how {
            How::Generated(mechanism) => Some(mechanism),
            How::Created | How::Unwrapped | How::Derived { .. } => None,
        };
        self.set_bool(CKA_LOCAL, mechanism.is_some());
        self.set_ulong(
            CKA_KEY_GEN_MECHANISM,
            mechanism.unwrap_or(CK_UNAVAILABLE_INFORMATION),
        );
    }

    /// Whether the key was ever to be had (§4.10, §4.11).
    fn describe_past(&mut self) {
        let (always_sensitive, never_extractable) = match self.how {
            How::Created | How::Unwrapped => (false, false),
            How::Generated(_) => (true, true),
            How::Derived {
                always_sensitive,
                never_extractable,
            } => (always_sensitive, never_extractable),
        };
        let is = |kind| {
            self.attributes
                .get(&kind)
                .is_some_and(|value| **value != [CK_FALSE])
        };
        let (sensitive, extractable) = (is(CKA_SENSITIVE), is(CKA_EXTRACTABLE));
        self.set_bool(CKA_ALWAYS_SENSITIVE, always_sensitive && sensitive);
        self.set_bool(CKA_NEVER_EXTRACTABLE, never_extractable && !extractable);
    }
}

/// Adds objects to the session: all or none.
fn add<const N: usize>(
    session: &Session,
    objects: [(Parts, Material); N],
) -> Result<[CK_OBJECT_HANDLE; N]> {
    let mut handles = [CK_INVALID_HANDLE; N];
    let mut made = Vec::with_capacity(N);
    for (place, (mut parts, material)) in handles.iter_mut().zip(objects) {
        let handle = library::new_handle()?;
        parts.set(CKA_UNIQUE_ID, format!("session-{handle}").as_bytes());
        made.push(SessionObject::new(
            handle,
            session.handle,
            parts.private,
            parts.attributes,
            material,
        ));
        *place = handle;
    }
    session.insertion.objects.add_all(session, made)?;
    Ok(handles)
}

/// Whether keys of this type can have that many bytes.
///
/// # Errors
/// CKR_KEY_SIZE_RANGE if not, CKR_ATTRIBUTE_VALUE_INVALID for a type that we do not have.
pub(crate) fn check_secret_len(key_type: CK_KEY_TYPE, len: usize) -> Result<()> {
    match key_type {
        CKK_AES if matches!(len, 16 | 24 | 32) => Ok(()),
        CKK_AES => Err(Error::KeySizeRange),
        CKK_GENERIC_SECRET | CKK_SHA_1_HMAC | CKK_SHA224_HMAC | CKK_SHA256_HMAC
        | CKK_SHA384_HMAC | CKK_SHA512_HMAC | CKK_SHA3_224_HMAC | CKK_SHA3_256_HMAC
        | CKK_SHA3_384_HMAC | CKK_SHA3_512_HMAC
            if (1..=usize::from(MAX_SECRET_LEN)).contains(&len) =>
        {
            Ok(())
        }
        CKK_GENERIC_SECRET | CKK_SHA_1_HMAC | CKK_SHA224_HMAC | CKK_SHA256_HMAC
        | CKK_SHA384_HMAC | CKK_SHA512_HMAC | CKK_SHA3_224_HMAC | CKK_SHA3_256_HMAC
        | CKK_SHA3_384_HMAC | CKK_SHA3_512_HMAC => Err(Error::KeySizeRange),
        _ => Err(Error::AttributeValueInvalid),
    }
}

/// The first three bytes of a block of zeros under the key (§4.11). Only of ciphers' keys: of a
/// short secret it would tell a guess from the truth.
fn check_value(key_type: CK_KEY_TYPE, value: &[u8]) -> Result<Option<[u8; 3]>> {
    if key_type != CKK_AES {
        return Ok(None);
    }
    let failed = |error| Error::from_token(During::Operation, &error);
    let mut block = [0; 16];
    let mut stream = CipherStream::encrypt(&CipherMode::AesEcb, value, &[]).map_err(failed)?;
    stream.update(&[0; 16], &mut block).map_err(failed)?;
    let [a, b, c, ..] = block;
    Ok(Some([a, b, c]))
}

impl Class {
    /// Whether objects of this class can be made by programs.
    pub(super) fn of_new(value: CK_OBJECT_CLASS) -> Option<Self> {
        [
            Self::Data,
            Self::Certificate,
            Self::PublicKey,
            Self::PrivateKey,
            Self::SecretKey,
        ]
        .into_iter()
        .find(|class| class.value() == value)
    }
}
