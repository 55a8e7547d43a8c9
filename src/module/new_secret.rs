//! Secret keys that are unwrapped, derived or agreed on: what a template says of their type and
//! length, known before anything is computed for them.

use cryptoki_sys::*;

use crate::{
    abi::ptr::Template,
    error::{Error, Result},
    object::{
        Class, make,
        wish::{How, Wish},
    },
    session::Session,
};

/// A secret key that is to be made of bytes which are not there yet.
pub(crate) struct NewSecret {
    wish: Wish,
    key_type: CK_KEY_TYPE,
    len: Option<usize>,
}

impl NewSecret {
    /// `key_type` is taken if the template names none. `wrong_len` is how this function calls a
    /// CKA_VALUE_LEN that keys of this type do not have.
    ///
    /// # Errors
    /// As PKCS#11 §4.1.1, and CKR_TEMPLATE_INCOMPLETE if there is no type.
    pub(crate) fn new(
        session: &Session,
        template: Template<'_>,
        how: How,
        key_type: Option<CK_KEY_TYPE>,
        wrong_len: Error,
    ) -> Result<Self> {
        let wish = Wish::new(session, Class::SecretKey, how, template)?;
        let key_type = wish
            .key_type()
            .or(key_type)
            .ok_or(Error::TemplateIncomplete)?;
        let len = wish.value_len()?;
        if let Some(len) = len {
            match make::check_secret_len(key_type, len) {
                Err(Error::KeySizeRange) => return Err(wrong_len),
                checked => checked?,
            }
        } else {
            // Of a length that every type has, to hear of a type that we do not have.
            make::check_secret_len(key_type, 32)?;
        }
        Ok(Self {
            wish,
            key_type,
            len,
        })
    }

    /// CKA_VALUE_LEN, if the template has it.
    pub(crate) fn len(&self) -> Option<usize> {
        self.len
    }

    /// Whether a key of this type and of the length that is wished, if there is one, can have so many
    /// bytes.
    pub(crate) fn takes(&self, len: usize) -> bool {
        self.len.is_none_or(|wished| wished == len)
            && make::check_secret_len(self.key_type, len).is_ok()
    }

    /// Whether there are only few lengths for a key of this type, so that the bytes tell which it is.
    pub(crate) fn has_fixed_lengths(&self) -> bool {
        make::check_secret_len(self.key_type, 1).is_err()
    }

    /// Makes it.
    pub(crate) fn make(self, session: &Session, value: &[u8]) -> Result<CK_OBJECT_HANDLE> {
        make::new_secret_key(session, self.wish, self.key_type, value)
    }
}
