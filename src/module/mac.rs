//! Message authentication codes (PKCS#11 §6.14, §6.20 to §6.24, §6.28 to §6.31), with the secret
//! keys of sessions.

use std::sync::Arc;

use cryptoki_sys::*;
use ctk_crypto::Mac;
use ctk_token::{Digest, TokenError};

use crate::{
    abi::{parameter::Parameter, ptr::Mechanism},
    cipher::secret_key_type,
    error::{Error, Result},
    key,
    mechanism::table::{Form, MacLen},
    object::session_object::SessionObject,
    session::Session,
};

/// AES-CMAC's length, in bytes: a block (SP 800-38B §6.2).
const CMAC_LEN: usize = 16;

/// A secret key for one kind of code.
pub(crate) struct MacKey {
    object: Arc<SessionObject>,
    kind: Kind,
    len: usize,
}

#[derive(Clone, Copy)]
enum Kind {
    Hmac(Digest),
    Cmac,
}

impl MacKey {
    /// The secret key of this handle, if its attribute `usage` (CKA_SIGN, CKA_VERIFY) is true. `None`
    /// if the mechanism makes no such code.
    ///
    /// # Errors
    /// CKR_KEY_HANDLE_INVALID, CKR_KEY_TYPE_INCONSISTENT, CKR_KEY_FUNCTION_NOT_PERMITTED,
    /// CKR_KEY_SIZE_RANGE, CKR_MECHANISM_PARAM_INVALID.
    pub(crate) fn new(
        session: &Session,
        form: Form,
        mechanism: &Mechanism<'_>,
        handle: CK_OBJECT_HANDLE,
        usage: CK_ATTRIBUTE_TYPE,
    ) -> Result<Option<Self>> {
        let (kind, asked) = match form {
            Form::Hmac(digest, len) => (Kind::Hmac(digest), len),
            Form::Cmac(len) => (Kind::Cmac, len),
            _ => return Ok(None),
        };
        let object = session.insertion.objects.find(session, handle);
        let Some(object) = object.filter(|object| object.secret_key().is_some()) else {
            return Err(if key::is_key(session, handle) {
                Error::KeyTypeInconsistent
            } else {
                Error::KeyHandleInvalid
            });
        };
        if !secret_key_type(&object).is_some_and(|key| kind.takes(key)) {
            return Err(Error::KeyTypeInconsistent);
        }
        if !object.is_true(usage) {
            return Err(Error::KeyFunctionNotPermitted);
        }
        key::check_allowed(session, handle, mechanism.kind)?;
        if matches!(kind, Kind::Cmac) && !matches!(key::secret(&object)?.len(), 16 | 24 | 32) {
            return Err(Error::KeySizeRange);
        }
        let len = kind.len(asked, mechanism.parameter?)?;
        Ok(Some(Self { object, kind, len }))
    }

    /// The code's length, in bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether an operation that was set up with it may go on.
    ///
    /// # Errors
    /// CKR_USER_NOT_LOGGED_IN.
    pub(crate) fn check_login(&self) -> Result<()> {
        self.object.check_login()
    }

    /// Begins a code. It comes out whole; [`len`](Self::len) says how much of it counts.
    pub(crate) fn begin(&self) -> std::result::Result<Mac, TokenError> {
        let key = self.object.secret_key().ok_or(TokenError::ObjectNotFound)?;
        match self.kind {
            Kind::Hmac(digest) => Mac::new(digest, key),
            Kind::Cmac => Mac::aes_cmac(key),
        }
    }
}

impl Kind {
    /// Whether a key of this type is for it.
    fn takes(self, key: CK_KEY_TYPE) -> bool {
        match self {
            // Table 150 and its like have generic secrets and a type for each hash.
            Self::Hmac(digest) => key == CKK_GENERIC_SECRET || key == hmac_key_type(digest),
            Self::Cmac => key == CKK_AES,
        }
    }

    /// The length that is asked for, in bytes. None at all would fit every message.
    fn len(self, asked: MacLen, parameter: Parameter<'_>) -> Result<usize> {
        let whole = match self {
            Self::Hmac(digest) => digest.len(),
            Self::Cmac => CMAC_LEN,
        };
        match asked {
            MacLen::Whole if parameter.len() == 0 => Ok(whole),
            MacLen::Whole => Err(Error::MechanismParamInvalid),
            // CK_MAC_GENERAL_PARAMS
            MacLen::Parameter => parameter
                .read::<CK_ULONG>()
                .and_then(|len| usize::try_from(len).ok())
                .filter(|len| (1..=whole).contains(len))
                .ok_or(Error::MechanismParamInvalid),
        }
    }
}

fn hmac_key_type(digest: Digest) -> CK_KEY_TYPE {
    match digest {
        Digest::Sha1 => CKK_SHA_1_HMAC,
        Digest::Sha224 => CKK_SHA224_HMAC,
        Digest::Sha256 => CKK_SHA256_HMAC,
        Digest::Sha384 => CKK_SHA384_HMAC,
        Digest::Sha512 => CKK_SHA512_HMAC,
        Digest::Sha3_224 => CKK_SHA3_224_HMAC,
        Digest::Sha3_256 => CKK_SHA3_256_HMAC,
        Digest::Sha3_384 => CKK_SHA3_384_HMAC,
        Digest::Sha3_512 => CKK_SHA3_512_HMAC,
    }
}
