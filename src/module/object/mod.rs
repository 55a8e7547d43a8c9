//! Objects (PKCS#11 §5.7): those of a token and those of its sessions, and C_GetAttributeValue.

mod catalog;
mod certificate;
pub(crate) mod create;
pub(crate) mod data;
pub(crate) mod find;
mod held;
mod index;
pub(crate) mod make;
pub(crate) mod provision;
mod public_key;
mod schema;
pub(crate) mod session_object;
mod table;
pub(crate) mod wish;

use std::{borrow::Cow, sync::Arc};

use cryptoki_sys::*;
use zeroize::Zeroizing;

pub(crate) use catalog::Catalog;
use catalog::{Object, View};
pub(crate) use public_key::{curve, of_set};
use session_object::{Attributes, SessionObject};

use crate::{
    abi::ptr::{Place, Template, ulong},
    error::{Error, Result},
    insertion::Insertion,
    session::Session,
    standing::Standing,
};

/// The kinds of objects that we show.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Class {
    Data,
    Certificate,
    PublicKey,
    PrivateKey,
    SecretKey,
    Profile,
}

impl Class {
    const ALL: &[Self] = &[
        Self::Data,
        Self::Certificate,
        Self::PublicKey,
        Self::PrivateKey,
        Self::SecretKey,
        Self::Profile,
    ];

    pub(crate) fn value(self) -> CK_OBJECT_CLASS {
        match self {
            Self::Data => CKO_DATA,
            Self::Certificate => CKO_CERTIFICATE,
            Self::PublicKey => CKO_PUBLIC_KEY,
            Self::PrivateKey => CKO_PRIVATE_KEY,
            Self::SecretKey => CKO_SECRET_KEY,
            Self::Profile => CKO_PROFILE,
        }
    }
}

/// What there is to say about an attribute of an object.
#[derive(Debug, Eq, PartialEq)]
enum Answer<'a> {
    Shown(Value<'a>),
    /// The object has it, and the token has to be asked for it.
    Unread,
    /// The object has it, and nobody gets it.
    Sensitive,
    Absent,
}

/// The value of an attribute as it stands in memory on the C side: a byte for a CK_BBOOL, native
/// order for a CK_ULONG.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Value<'a> {
    Bool([u8; 1]),
    Ulong([u8; size_of::<CK_ULONG>()]),
    Bytes(Cow<'a, [u8]>),
    /// What was read of the token.
    Read(Arc<Zeroizing<Vec<u8>>>),
}

impl Value<'_> {
    fn bool(value: bool) -> Self {
        Self::Bool([if value { CK_TRUE } else { CK_FALSE }])
    }

    fn ulong(value: CK_ULONG) -> Self {
        Self::Ulong(value.to_ne_bytes())
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Bool(byte) => byte,
            Self::Ulong(bytes) => bytes,
            Self::Bytes(bytes) => bytes,
            Self::Read(bytes) => bytes,
        }
    }
}

/// What a session can see of its token now.
struct Sight<'a> {
    standing: Arc<Standing>,
    insertion: &'a Insertion,
}

impl<'i> Sight<'i> {
    fn new(session: &'i Session) -> Result<Self> {
        Ok(Self {
            standing: session.standing()?,
            insertion: &session.insertion,
        })
    }

    fn catalog(&self) -> &Catalog {
        &self.standing.catalog
    }

    /// The object of this handle, if it can be seen.
    fn object(&self, handle: CK_OBJECT_HANDLE) -> Option<View<'_>> {
        self.catalog()
            .object(handle)
            .and_then(|object| self.view(object))
    }

    fn view<'a>(&'a self, object: &'a Object) -> Option<View<'a>> {
        let seen = !object.private || self.standing.shows_private;
        seen.then_some(View {
            catalog: self.catalog(),
            object,
            insertion: self.insertion,
        })
    }
}

/// An object that a session sees, wherever it is.
enum Seen<'a> {
    Token(View<'a>, &'a Standing),
    Session(&'a SessionObject, &'a Attributes),
}

impl<'a> Seen<'a> {
    /// What there is to say about an attribute, once the token has been asked for what has to be
    /// read.
    fn attribute(&self, kind: CK_ATTRIBUTE_TYPE) -> Result<Answer<'a>> {
        let (view, standing) = match self {
            Self::Token(view, standing) => (view, standing),
            Self::Session(object, attributes) => return Ok(object.attribute(attributes, kind)),
        };
        Ok(match table::attribute(view, kind) {
            Answer::Unread => Answer::Shown(Value::Read(data::read(view, standing)?)),
            answer => answer,
        })
    }
}

/// Lets `work` look at an object.
///
/// # Errors
/// CKR_OBJECT_HANDLE_INVALID for one that the session does not see: a private object does not exist
/// for those who are not logged in.
fn look<T>(
    session: &Session,
    handle: CK_OBJECT_HANDLE,
    work: impl FnOnce(Seen<'_>) -> Result<T>,
) -> Result<T> {
    let sight = Sight::new(session)?;
    if let Some(view) = sight.object(handle) {
        return work(Seen::Token(view, &sight.standing));
    }
    let object = session.insertion.objects.find(session, handle);
    let object = object.ok_or(Error::ObjectHandleInvalid)?;
    let attributes = object.attributes.read();
    work(Seen::Session(&object, &attributes))
}

/// C_GetObjectSize (PKCS#11 §5.7.4): the length of all that can be read of it.
pub(crate) fn size(
    session: &Session,
    object: CK_OBJECT_HANDLE,
    out: Result<Place<'_, CK_ULONG>>,
) -> Result<()> {
    let size: usize = look(session, object, |object| {
        let len = |kind| {
            Ok(match object.attribute(kind)? {
                Answer::Shown(value) => value.bytes().len(),
                Answer::Unread | Answer::Sensitive | Answer::Absent => 0,
            })
        };
        schema::kinds().map(len).sum()
    })?;
    out?.set(ulong(size));
    Ok(())
}

/// C_GetAttributeValue (PKCS#11 §5.7.5): every entry is answered, and one of the errors is returned
/// at the end.
pub(crate) fn attribute_value(
    session: &Session,
    object: CK_OBJECT_HANDLE,
    template: Result<Template<'_>>,
) -> Result<()> {
    look(session, object, |object| {
        let mut outcome = Ok(());
        for entry in template?.entries() {
            let why_not = match object.attribute(entry.kind) {
                Ok(Answer::Shown(value)) => {
                    outcome = outcome.and(entry.answer(value.bytes()));
                    continue;
                }
                Ok(Answer::Sensitive) => Error::AttributeSensitive,
                Ok(Answer::Unread | Answer::Absent) => Error::AttributeTypeInvalid,
                Err(error) => error,
            };
            entry.refuse();
            outcome = outcome.and(Err(why_not));
        }
        // The first error was kept: it is the one about the entry that a program sees first.
        outcome
    })
}
