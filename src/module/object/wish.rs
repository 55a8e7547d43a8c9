//! A template for an object that is to be made, read once: what the program wishes it to be.

use std::collections::BTreeMap;

use cryptoki_sys::*;
use ctk_token::Role;
use zeroize::Zeroizing;

use super::{
    Class,
    schema::{self, Act},
};
use crate::{
    abi::ptr::Template,
    cipher,
    error::{Error, Result},
    session::Session,
};

/// Where a key comes from, which decides what the library says of its past (PKCS#11 §4.8 to §4.11).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum How {
    /// C_CreateObject.
    Created,
    /// C_GenerateKey and C_GenerateKeyPair, with this mechanism.
    Generated(CK_MECHANISM_TYPE),
    /// C_UnwrapKey; C_EncapsulateKey and C_DecapsulateKey: the bytes were outside or agreed on.
    Unwrapped,
    /// C_DeriveKey: no key is better kept than the one that it is made from.
    Derived {
        /// CKA_ALWAYS_SENSITIVE of that key.
        always_sensitive: bool,
        /// CKA_NEVER_EXTRACTABLE of that key.
        never_extractable: bool,
    },
}

impl How {
    fn act(self) -> Act {
        match self {
            Self::Created => Act::Create,
            Self::Generated(_) => Act::Generate,
            Self::Unwrapped | Self::Derived { .. } => Act::Unwrap,
        }
    }
}

/// The attributes of a template, copied: the caller's memory is not looked at again. Some may be
/// keys, so all are wiped.
pub(super) type Given = BTreeMap<CK_ATTRIBUTE_TYPE, Zeroizing<Vec<u8>>>;

/// What a program wishes an object to be that is about to be made.
///
/// Everything that can be refused without the object's key is refused by [`Wish::new`], so that
/// no card computes and nobody is asked for a PIN in vain.
pub(crate) struct Wish {
    pub(super) class: Class,
    pub(super) how: How,
    /// Whether it is to be on the token.
    pub(crate) on_token: bool,
    /// Whether only a user who is logged in sees it. On the token, that is the token's to say.
    pub(super) private: bool,
    pub(super) given: Given,
}

impl Wish {
    /// Reads a template for an object of this class.
    ///
    /// # Errors
    /// As PKCS#11 §4.1.1 has them, and CKR_USER_NOT_LOGGED_IN for a private object that the session
    /// could not see. For one that is to be on the token CKR_TOKEN_WRITE_PROTECTED,
    /// CKR_TEMPLATE_INCONSISTENT if tokens take none like it, and CKR_SESSION_READ_ONLY.
    pub(crate) fn new(
        session: &Session,
        class: Class,
        how: How,
        template: Template<'_>,
    ) -> Result<Self> {
        Self::of(session, class, how, read(template)?)
    }

    /// The wish that these attributes are.
    pub(super) fn of(session: &Session, class: Class, how: How, given: Given) -> Result<Self> {
        for (kind, value) in &given {
            schema::check(class, how.act(), *kind, value)?;
        }
        let mut wish = Self {
            class,
            how,
            on_token: bool_of(&given, CKA_TOKEN) == Some(true),
            private: false,
            given,
        };
        let named = wish.ulong(CKA_CLASS);
        if named.is_some_and(|named| named != class.value()) {
            return Err(Error::TemplateInconsistent);
        }
        if wish.on_token {
            wish.check_on_token(session)?;
        } else {
            wish.private = check_storage(session, class, &wish.given)?;
        }
        Ok(wish)
    }

    /// Whether an object like this can be on the token: a certificate, and keys that it makes
    /// itself.
    ///
    /// Who may put it there the token knows. A private key that the SO makes is one that the SO
    /// does not see; but a card's keys are made by who administers it, for its user.
    fn check_on_token(&self, session: &Session) -> Result<()> {
        let certificate = self.class == Class::Certificate && self.how == How::Created;
        let key = matches!(self.class, Class::PublicKey | Class::PrivateKey)
            && matches!(self.how, How::Generated(_));
        check_writable(session)?;
        // What is public on a token is not hidden because somebody asks, and none keeps trust.
        let hides = self.class != Class::PrivateKey && self.bool(CKA_PRIVATE) == Some(true);
        if !certificate && !key || hides || self.bool(CKA_TRUSTED) == Some(true) {
            return Err(Error::TemplateInconsistent);
        }
        if !session.read_write {
            return Err(Error::SessionReadOnly);
        }
        Ok(())
    }

    /// A CK_BBOOL of the template.
    pub(crate) fn bool(&self, kind: CK_ATTRIBUTE_TYPE) -> Option<bool> {
        bool_of(&self.given, kind)
    }

    /// A CK_ULONG of the template.
    pub(crate) fn ulong(&self, kind: CK_ATTRIBUTE_TYPE) -> Option<CK_ULONG> {
        ulong_of(&self.given, kind)
    }

    /// The bytes of an attribute of the template.
    pub(crate) fn bytes(&self, kind: CK_ATTRIBUTE_TYPE) -> Option<&[u8]> {
        self.given.get(&kind).map(|value| value.as_slice())
    }

    /// A copy of the bytes of an attribute of the template; empty if it has none.
    pub(super) fn copied(&self, kind: CK_ATTRIBUTE_TYPE) -> Vec<u8> {
        self.bytes(kind).unwrap_or_default().to_vec()
    }

    /// The bytes of an attribute without which there is no such object.
    pub(crate) fn required(&self, kind: CK_ATTRIBUTE_TYPE) -> Result<&[u8]> {
        self.bytes(kind).ok_or(Error::TemplateIncomplete)
    }

    /// CKA_KEY_TYPE, if the template has it.
    pub(crate) fn key_type(&self) -> Option<CK_KEY_TYPE> {
        self.ulong(CKA_KEY_TYPE)
    }

    /// CKA_VALUE_LEN in bytes, if the template has it.
    ///
    /// # Errors
    /// CKR_ATTRIBUTE_VALUE_INVALID for a length that no key has.
    pub(crate) fn value_len(&self) -> Result<Option<usize>> {
        let len = self.ulong(CKA_VALUE_LEN);
        let len = len.map(usize::try_from).transpose();
        match len {
            Ok(Some(0)) | Err(_) => Err(Error::AttributeValueInvalid),
            Ok(len) => Ok(len),
        }
    }
}

pub(super) fn bool_of(given: &Given, kind: CK_ATTRIBUTE_TYPE) -> Option<bool> {
    let [value] = given.get(&kind)?.as_slice() else {
        return None;
    };
    Some(*value != CK_FALSE)
}

pub(super) fn ulong_of(given: &Given, kind: CK_ATTRIBUTE_TYPE) -> Option<CK_ULONG> {
    let bytes = given.get(&kind)?.as_slice().try_into().ok()?;
    Some(CK_ULONG::from_ne_bytes(bytes))
}

/// The attributes of a template. One that is there twice with one value is there once (§4.1.1).
///
/// # Errors
/// CKR_TEMPLATE_INCONSISTENT for two values of one attribute, CKR_ATTRIBUTE_VALUE_INVALID for a
/// length without a value.
pub(super) fn read(template: Template<'_>) -> Result<Given> {
    let mut given = Given::new();
    for entry in template.entries() {
        let value = entry.value().map_err(|_| Error::AttributeValueInvalid)?;
        let mut copy = cipher::buffer(value.len())?;
        copy.copy_from_slice(value.bytes());
        if let [value] = copy.as_mut_slice()
            && schema::is_bool(entry.kind)
        {
            // Every other value than CK_FALSE means true, and is shown and found as CK_TRUE.
            *value = CK_BBOOL::from(*value != CK_FALSE);
        }
        let value = copy;
        let before = given.get(&entry.kind);
        if before.is_some_and(|before| before != &value) {
            return Err(Error::TemplateInconsistent);
        }
        given.insert(entry.kind, value);
    }
    Ok(given)
}

/// Checks what a template says of where an object is, who sees it, and who trusts it. Returns
/// whether it is private: if the template does not say, a secret or private key that is made by
/// somebody who is logged in goes with the login, and nothing else does.
pub(super) fn check_storage(session: &Session, class: Class, given: &Given) -> Result<bool> {
    if bool_of(given, CKA_TOKEN) == Some(true) {
        check_writable(session)?;
        // A copy: no key store of ours takes one.
        return Err(Error::TemplateInconsistent);
    }
    if bool_of(given, CKA_TRUSTED) == Some(true) && session.insertion.login() != Some(Role::Admin) {
        // Only the SO says what is trusted (§4.6.2, §4.9, §4.11).
        return Err(Error::AttributeReadOnly);
    }
    let logged_in = session.insertion.login() == Some(Role::User);
    let goes_with_login = logged_in && matches!(class, Class::PrivateKey | Class::SecretKey);
    let private = bool_of(given, CKA_PRIVATE).unwrap_or(goes_with_login);
    if private && !session.insertion.shows_private() {
        return Err(Error::UserNotLoggedIn);
    }
    Ok(private)
}

/// # Errors
/// CKR_TOKEN_WRITE_PROTECTED, in a read-only session as well: in another one it would be no
/// different.
fn check_writable(session: &Session) -> Result<()> {
    if session.insertion.is_writable() {
        Ok(())
    } else {
        Err(Error::TokenWriteProtected)
    }
}
