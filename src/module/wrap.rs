//! Wrapping and unwrapping of secret keys (PKCS#11 §5.18.3, §5.18.4).
//!
//! Private keys are neither wrapped nor unwrapped: no key of a token ever leaves it, and none that a
//! session has made does.

use std::sync::Arc;

use cryptoki_sys::*;
use ctk_crypto::{
    Block, CipherMode, CipherStream, MAX_BLOCK, SecretBytes, gcm_decrypt, gcm_encrypt, key_unwrap,
    key_unwrap_padded, key_wrap, key_wrap_padded, key_wrap_padded_len,
};
use ctk_token::TokenError;
use zeroize::Zeroizing;

use crate::{
    abi::{
        parameter::Parameter,
        ptr::{Input, List, Mechanism, Place, Room, Template},
    },
    cipher::{self, buffer},
    decrypt::RsaDecryption,
    encrypt::RsaPlan,
    error::{During, Error, Result},
    key,
    mechanism::table::{self, AesMode, Form, Row},
    new_secret::NewSecret,
    object::{session_object::SessionObject, wish::How},
    session::Session,
};

const BLOCK: usize = 16;
const SEMIBLOCK: usize = 8;

/// C_WrapKey (PKCS#11 §5.18.3).
pub(crate) fn wrap(
    session: &Session,
    mechanism: Option<Mechanism<'_>>,
    wrapping_key: CK_OBJECT_HANDLE,
    key: CK_OBJECT_HANDLE,
    out: Result<List<'_, u8>>,
) -> Result<()> {
    let out = out?;
    let mechanism = mechanism.ok_or(Error::ArgumentsBad)?;
    let row = table::row_for(mechanism.kind, CKF_WRAP)?;
    let wrapping = Wrapping::new(session, row, mechanism.parameter, wrapping_key);
    let wrapping = wrapping.map_err(of_wrapping_key)?;
    let object = wrappable(session, key, &wrapping)?;
    let key = key::secret(&object)?;
    let len = wrapping.wrapped_len(key.len())?;
    if out.room(len)? != Room::Enough {
        return Ok(());
    }
    let wrapped = wrapping.wrap(key, len).map_err(|error| match error {
        TokenError::DataLength => Error::KeySizeRange,
        TokenError::BadParameter => Error::WrappingKeySizeRange,
        error => Error::from_token(During::Operation, &error),
    })?;
    out.fill(&wrapped)
}

/// C_UnwrapKey (PKCS#11 §5.18.4).
pub(crate) fn unwrap(
    session: &Session,
    mechanism: Option<Mechanism<'_>>,
    unwrapping_key: CK_OBJECT_HANDLE,
    data: Result<Input<'_>>,
    template: Result<Template<'_>>,
    handle: Result<Place<'_, CK_OBJECT_HANDLE>>,
) -> Result<()> {
    let (data, template, handle) = (data?, template?, handle?);
    let mechanism = mechanism.ok_or(Error::ArgumentsBad)?;
    let row = table::row_for(mechanism.kind, CKF_UNWRAP)?;
    let unwrapping = Unwrapping::new(session, row, mechanism.parameter, unwrapping_key);
    let unwrapping = unwrapping.map_err(of_unwrapping_key)?;
    let new = NewSecret::new(
        session,
        template,
        How::Unwrapped,
        None,
        Error::WrappedKeyLenRange,
    )?;
    let value = unwrapping.unwrap(session, data.bytes(), &new)?;
    handle.set(new.make(session, &value)?);
    Ok(())
}

/// What C_WrapKey calls what is wrong with the key that it wraps with.
fn of_wrapping_key(error: Error) -> Error {
    match error {
        Error::KeyHandleInvalid => Error::WrappingKeyHandleInvalid,
        Error::KeyTypeInconsistent => Error::WrappingKeyTypeInconsistent,
        Error::KeySizeRange => Error::WrappingKeySizeRange,
        error => error,
    }
}

/// What C_UnwrapKey and C_DecapsulateKey call what is wrong with the key that they work with.
pub(crate) fn of_unwrapping_key(error: Error) -> Error {
    match error {
        Error::KeyHandleInvalid => Error::UnwrappingKeyHandleInvalid,
        Error::KeyTypeInconsistent => Error::UnwrappingKeyTypeInconsistent,
        Error::KeySizeRange => Error::UnwrappingKeySizeRange,
        error => error,
    }
}

/// The key of this handle, if it can be wrapped so.
///
/// # Errors
/// CKR_KEY_UNEXTRACTABLE for every private key and for a secret one that says so, and
/// CKR_KEY_NOT_WRAPPABLE for one that wants a trusted key around it.
fn wrappable(
    session: &Session,
    handle: CK_OBJECT_HANDLE,
    wrapping: &Wrapping,
) -> Result<Arc<SessionObject>> {
    if key::is_private_of_token(session, handle)? {
        return Err(Error::KeyUnextractable);
    }
    let object = session.insertion.objects.find(session, handle);
    let object = object.ok_or(Error::KeyHandleInvalid)?;
    if object.private_key().is_some() {
        return Err(Error::KeyUnextractable);
    }
    if object.secret_key().is_none() {
        return Err(Error::KeyHandleInvalid);
    }
    if !object.is_true(CKA_EXTRACTABLE) {
        return Err(Error::KeyUnextractable);
    }
    if object.is_true(CKA_WRAP_WITH_TRUSTED) && !wrapping.is_trusted() {
        return Err(Error::KeyNotWrappable);
    }
    Ok(object)
}

/// How a key is wrapped.
enum Wrapping {
    Rsa(RsaPlan),
    Aes(AesWrap),
}

impl Wrapping {
    fn new(
        session: &Session,
        row: &Row,
        parameter: Result<Parameter<'_>>,
        handle: CK_OBJECT_HANDLE,
    ) -> Result<Self> {
        Ok(match row.form {
            Form::RsaPkcs1(_) | Form::RsaOaep => {
                Self::Rsa(RsaPlan::new(session, row, parameter, handle, CKA_WRAP)?)
            }
            _ => Self::Aes(AesWrap::new(session, row, parameter, handle, CKA_WRAP)?),
        })
    }

    fn is_trusted(&self) -> bool {
        match self {
            Self::Rsa(plan) => plan.is_trusted(),
            Self::Aes(aes) => aes.object.is_true(CKA_TRUSTED),
        }
    }

    /// How long a key of so many bytes gets.
    fn wrapped_len(&self, len: usize) -> Result<usize> {
        let wrapped = match self {
            Self::Rsa(plan) => return Ok(plan.len()),
            Self::Aes(aes) => match &aes.how {
                Around::Cipher(CipherMode::AesGcm { tag_len, .. }, _) => len.checked_add(*tag_len),
                Around::Cipher(CipherMode::AesCbc, _) => len.checked_next_multiple_of(BLOCK),
                Around::Cipher(..) => len
                    .checked_add(1)
                    .and_then(|len| len.checked_next_multiple_of(BLOCK)),
                Around::KeyWrap { padded: true, .. } => key_wrap_padded_len(len),
                Around::KeyWrap { padded: false, .. } => len
                    .checked_next_multiple_of(SEMIBLOCK)
                    .filter(|len| *len >= 2 * SEMIBLOCK)
                    .and_then(|len| len.checked_add(SEMIBLOCK)),
            },
        };
        wrapped.ok_or(Error::KeySizeRange)
    }

    /// Wraps a key, to as many bytes as [`wrapped_len`](Self::wrapped_len) says.
    fn wrap(&self, key: &[u8], len: usize) -> std::result::Result<Vec<u8>, TokenError> {
        let aes = match self {
            Self::Rsa(plan) => {
                let mut wrapped = [0; MAX_BLOCK];
                let len = plan.encrypt(key, &mut wrapped)?;
                return Ok(wrapped.get(..len).unwrap_or_default().to_vec());
            }
            Self::Aes(aes) => aes,
        };
        let with = key::secret(&aes.object).map_err(|_| TokenError::ObjectNotFound)?;
        let mut out = vec![0; len];
        let written = match &aes.how {
            Around::Cipher(CipherMode::AesGcm { aad, tag_len }, iv) => {
                gcm_encrypt(with, iv, aad, *tag_len, key, &mut out)?
            }
            Around::Cipher(mode, iv) => {
                let mut stream = CipherStream::encrypt(mode, with, iv)?;
                let padded = match mode {
                    CipherMode::AesCbc => filled_up(key, BLOCK),
                    _ => Zeroizing::new(key.to_vec()),
                };
                let written = stream.update(&padded, &mut out)?;
                let last = stream.finish()?;
                let place = written
                    .checked_add(last.len())
                    .and_then(|end| out.get_mut(written..end));
                place.ok_or(TokenError::BadParameter)?.copy_from_slice(last);
                written + last.len()
            }
            Around::KeyWrap { padded: true, iv } => {
                key_wrap_padded(with, iv.as_deref(), key, &mut out)?
            }
            Around::KeyWrap { padded: false, iv } => {
                key_wrap(with, iv.as_deref(), &filled_up(key, SEMIBLOCK), &mut out)?
            }
        };
        out.truncate(written);
        Ok(out)
    }
}

/// The key with zeros behind it (PKCS#11 §6.10.4, §6.16.3.1).
fn filled_up(key: &[u8], unit: usize) -> Zeroizing<Vec<u8>> {
    let mut padded = Zeroizing::new(vec![0; key.len().next_multiple_of(unit)]);
    for (place, byte) in padded.iter_mut().zip(key) {
        *place = *byte;
    }
    padded
}

/// How a wrapped key is unwrapped.
enum Unwrapping {
    Rsa {
        plan: RsaDecryption,
        /// Nothing may be learned from what comes out.
        conceals: bool,
    },
    Aes(AesWrap),
}

impl Unwrapping {
    fn new(
        session: &Session,
        row: &Row,
        parameter: Result<Parameter<'_>>,
        handle: CK_OBJECT_HANDLE,
    ) -> Result<Self> {
        Ok(match row.form {
            Form::RsaPkcs1(_) | Form::RsaOaep => Self::Rsa {
                plan: RsaDecryption::new(session, row, parameter, handle, CKA_UNWRAP)?,
                conceals: row.form == Form::RsaPkcs1(None),
            },
            _ => Self::Aes(AesWrap::new(session, row, parameter, handle, CKA_UNWRAP)?),
        })
    }

    fn unwrap(&self, session: &Session, wrapped: &[u8], new: &NewSecret) -> Result<SecretBytes> {
        match self {
            Self::Rsa { plan, conceals } => {
                if new.len().is_some_and(|len| len > plan.max_plaintext_len()) {
                    return Err(Error::WrappedKeyLenRange);
                }
                let mut plaintext: Block = Zeroizing::new([0; MAX_BLOCK]);
                let len = plan
                    .decrypt(wrapped, &mut plaintext)
                    .map_err(|error| plan.failed(session, During::Unwrapping, &error).error)?;
                if *conceals {
                    return concealed(plan, wrapped, &*plaintext, len, new);
                }
                exactly(plaintext.get(..len).unwrap_or_default(), new)
            }
            Self::Aes(aes) => aes.unwrap(wrapped, new),
        }
    }
}

/// The key that came out of a v1.5 block, or for one of another length than the template wishes, a
/// pseudo-random one of that length. An error instead would tell whether the padding was right: what
/// comes out of a wrong one has a random length (RFC 8017 §7.2, Bleichenbacher's attack).
///
/// Without a wished length the key has the length that came out, if keys of its type can have it,
/// and else 32 bytes.
fn concealed(
    plan: &RsaDecryption,
    wrapped: &[u8],
    plaintext: &[u8],
    len: usize,
    new: &NewSecret,
) -> Result<SecretBytes> {
    let natural = if new.takes(len) { len } else { 32 };
    let wished = new.len().unwrap_or(natural);
    let mut value = SecretBytes::zeroed(wished);
    plan.made_up_key(wrapped, &mut value)
        .map_err(|error| Error::from_token(During::Unwrapping, &error))?;
    // Made up in any case, and taken or not without a branch.
    let mask = 0u8.wrapping_sub(u8::from(len == wished));
    for (place, byte) in value.iter_mut().zip(plaintext) {
        *place = (*place & !mask) | (byte & mask);
    }
    Ok(value)
}

/// The key that came out of a mechanism which keeps its length.
fn exactly(plaintext: &[u8], new: &NewSecret) -> Result<SecretBytes> {
    if new.takes(plaintext.len()) {
        Ok(SecretBytes::copy_of(plaintext))
    } else {
        Err(Error::WrappedKeyLenRange)
    }
}

/// The key that came out of a mechanism which fills it up to whole units.
fn filled(plaintext: &[u8], unit: usize, new: &NewSecret) -> Result<SecretBytes> {
    let len = match new.len() {
        Some(len) => len,
        None if new.has_fixed_lengths() => plaintext.len(),
        None => return Err(Error::TemplateIncomplete),
    };
    let padding = plaintext.len().checked_sub(len);
    if !new.takes(len) || padding.is_none_or(|padding| padding >= unit) {
        return Err(Error::WrappedKeyLenRange);
    }
    let key = plaintext.get(..len).unwrap_or_default();
    Ok(SecretBytes::copy_of(key))
}

/// An AES key around another.
struct AesWrap {
    object: Arc<SessionObject>,
    how: Around,
}

enum Around {
    /// A mode and its IV.
    Cipher(CipherMode, Vec<u8>),
    /// AES key wrap (SP 800-38F), with an initial value of the caller's or the usual one.
    KeyWrap { padded: bool, iv: Option<Vec<u8>> },
}

impl AesWrap {
    fn new(
        session: &Session,
        row: &Row,
        parameter: Result<Parameter<'_>>,
        handle: CK_OBJECT_HANDLE,
        usage: CK_ATTRIBUTE_TYPE,
    ) -> Result<Self> {
        let object = cipher::aes_key(session, handle, usage)?;
        key::check_allowed(session, handle, row.mechanism)?;
        let parameter = parameter?;
        let how = match row.form {
            Form::Aes(mode @ (AesMode::Cbc | AesMode::CbcPad | AesMode::Gcm)) => {
                let (mode, iv) = cipher::parameters(mode, parameter)?;
                // What the mode's numbers can have wrong is found out by beginning.
                CipherStream::encrypt(&mode, key::secret(&object)?, &iv)
                    .map_err(|error| Error::from_token(During::Init, &error))?;
                Around::Cipher(mode, iv)
            }
            Form::KeyWrap { padded } => {
                let iv_len = if padded { 4 } else { 8 };
                let iv = match parameter.len() {
                    0 => None,
                    len if len == iv_len => Some(parameter.bytes().to_vec()),
                    _ => return Err(Error::MechanismParamInvalid),
                };
                Around::KeyWrap { padded, iv }
            }
            _ => return Err(Error::MechanismInvalid),
        };
        Ok(Self { object, how })
    }

    fn unwrap(&self, wrapped: &[u8], new: &NewSecret) -> Result<SecretBytes> {
        let with = key::secret(&self.object)?;
        let units = |unit: usize, least: usize| {
            if wrapped.len().is_multiple_of(unit) && wrapped.len() >= least {
                Ok(())
            } else {
                Err(Error::WrappedKeyLenRange)
            }
        };
        let failed = |error: TokenError| Error::from_token(During::Unwrapping, &error);
        let mut out = buffer(wrapped.len())?;
        let len = match &self.how {
            Around::Cipher(CipherMode::AesGcm { aad, tag_len }, iv) => {
                units(1, *tag_len)?;
                gcm_decrypt(with, iv, aad, *tag_len, wrapped, &mut out)
            }
            Around::Cipher(mode, iv) => {
                units(BLOCK, BLOCK)?;
                decrypt_cbc(mode, with, iv, wrapped, &mut out)
            }
            Around::KeyWrap { padded: true, iv } => {
                units(SEMIBLOCK, 2 * SEMIBLOCK)?;
                key_unwrap_padded(with, iv.as_deref(), wrapped, &mut out)
            }
            Around::KeyWrap { padded: false, iv } => {
                units(SEMIBLOCK, 3 * SEMIBLOCK)?;
                key_unwrap(with, iv.as_deref(), wrapped, &mut out)
            }
        };
        let plaintext = out.get(..len.map_err(failed)?).unwrap_or_default();
        match self.how {
            Around::Cipher(CipherMode::AesCbc, _) => filled(plaintext, BLOCK, new),
            Around::KeyWrap { padded: false, .. } => filled(plaintext, SEMIBLOCK, new),
            _ => exactly(plaintext, new),
        }
    }
}

fn decrypt_cbc(
    mode: &CipherMode,
    key: &[u8],
    iv: &[u8],
    wrapped: &[u8],
    out: &mut [u8],
) -> std::result::Result<usize, TokenError> {
    let mut stream = CipherStream::decrypt(mode, key, iv)?;
    let written = stream.update(wrapped, out)?;
    let last = stream.finish()?;
    let end = written + last.len();
    let place = out.get_mut(written..end);
    place.ok_or(TokenError::BadParameter)?.copy_from_slice(last);
    Ok(end)
}
