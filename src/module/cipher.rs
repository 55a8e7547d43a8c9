//! What C_Encrypt and C_Decrypt share: AES over data in one part or many, and what a call does to
//! its operation.

use std::sync::Arc;

use cryptoki_sys::*;
use ctk_crypto::{CipherMode, CipherStream};
use ctk_token::TokenError;
use zeroize::Zeroizing;

use crate::{
    abi::{
        parameter::Parameter,
        ptr::{Input, List, Room},
    },
    error::{During, Error, Result},
    key,
    mechanism::table::AesMode,
    object::session_object::SessionObject,
    session::{Operation, Session, Taken},
};

/// The most that is kept, in bytes, of a multi-part decryption whose plaintext may not be given out
/// before its end has been seen (AES-GCM).
const MAX_KEPT: usize = 64 << 20;

const BLOCK: usize = 16;

/// What a call leaves behind.
pub(crate) enum After {
    /// The operation is over, with success.
    Over,
    /// It stays active: the caller asked for a length, has too small a buffer, or goes on.
    Stays(Result<()>),
}

impl After {
    /// Nothing but a length is known: a query, or a buffer that is too small for it.
    pub(crate) fn told(room: Result<Room>) -> Self {
        Self::Stays(room.map(|_| ()))
    }

    /// Leaves the operation so, and says what the program hears.
    pub(crate) fn leave<T: Operation>(self, taken: Taken<'_, T>) -> Result<()> {
        match self {
            Self::Over => Ok(()),
            Self::Stays(result) => {
                taken.put_back();
                result
            }
        }
    }
}

/// Which way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Direction {
    Encrypt,
    Decrypt,
}

/// AES at work.
pub(crate) struct Aes {
    key: Arc<SessionObject>,
    stream: CipherStream,
    mode: AesMode,
    tag_len: usize,
    direction: Direction,
    /// How many bytes have come in parts; `None` before the first.
    taken: Option<usize>,
    /// The end has been seen, and the caller's buffer was too small for it.
    ended: bool,
}

impl Aes {
    /// # Errors
    /// As C_EncryptInit.
    pub(crate) fn new(
        session: &Session,
        mechanism: CK_MECHANISM_TYPE,
        mode: AesMode,
        direction: Direction,
        parameter: Result<Parameter<'_>>,
        handle: CK_OBJECT_HANDLE,
    ) -> Result<Self> {
        let usage = match direction {
            Direction::Encrypt => CKA_ENCRYPT,
            Direction::Decrypt => CKA_DECRYPT,
        };
        let object = aes_key(session, handle, usage)?;
        key::check_allowed(session, handle, mechanism)?;
        let secret = key::secret(&object)?;
        let (cipher, iv) = parameters(mode, parameter?)?;
        let stream = match direction {
            Direction::Encrypt => CipherStream::encrypt(&cipher, secret, &iv),
            Direction::Decrypt => CipherStream::decrypt(&cipher, secret, &iv),
        };
        let tag_len = match cipher {
            CipherMode::AesGcm { tag_len, .. } => tag_len,
            _ => 0,
        };
        Ok(Self {
            stream: stream.map_err(|error| Error::from_token(During::Init, &error))?,
            key: object,
            mode,
            tag_len,
            direction,
            taken: None,
            ended: false,
        })
    }

    /// All in one part.
    pub(crate) fn whole(&mut self, input: Input<'_>, out: List<'_, u8>) -> Result<After> {
        self.key.check_login()?;
        if self.taken.is_some() {
            return Err(Error::OperationActive);
        }
        self.check_len(input.len())?;
        let decrypts = self.direction == Direction::Decrypt;
        let longest = match self.mode {
            AesMode::Gcm if decrypts => input.len().saturating_sub(self.tag_len),
            _ => self.stream.update_len(input.len()) + self.stream.finish_len(),
        };
        let exact = !decrypts || self.mode != AesMode::CbcPad;
        if !out.fits(longest) && (exact || out.is_query()) {
            return Ok(After::told(out.room(longest)));
        }
        let during = self.during();
        if out.fits(longest) {
            run(&mut self.stream, input, out, during)?;
            return Ok(After::Over);
        }
        // The plaintext may be up to a block shorter than it could be, and fit.
        let mut attempt = self
            .stream
            .try_clone()
            .map_err(|error| self.failed(&error))?;
        match run(&mut attempt, input, out, during) {
            Ok(()) => Ok(After::Over),
            Err(Error::BufferTooSmall) => Ok(After::Stays(Err(Error::BufferTooSmall))),
            Err(error) => Err(error),
        }
    }

    /// A part.
    pub(crate) fn part(&mut self, input: Input<'_>, out: List<'_, u8>) -> Result<After> {
        self.key.check_login()?;
        if self.ended {
            return Err(Error::OperationActive);
        }
        let taken = self.taken.unwrap_or(0).saturating_add(input.len());
        if self.direction == Direction::Decrypt && self.mode == AesMode::Gcm && taken > MAX_KEPT {
            return Err(Error::EncryptedDataLenRange);
        }
        let ready = self.stream.update_len(input.len());
        let room = out.room(ready);
        if room != Ok(Room::Enough) {
            return Ok(After::told(room));
        }
        let mut output = buffer(ready)?;
        self.stream
            .update(input.bytes(), &mut output)
            .map_err(|error| self.failed(&error))?;
        self.taken = Some(taken);
        Ok(After::Stays(out.fill(&output)))
    }

    /// The end.
    pub(crate) fn end(&mut self, out: List<'_, u8>) -> Result<After> {
        self.key.check_login()?;
        let room = out.room(self.stream.finish_len());
        let exact = self.direction == Direction::Encrypt || self.ended;
        if room == Ok(Room::Query) || exact && room != Ok(Room::Enough) {
            return Ok(After::told(room));
        }
        self.check_len(self.taken.unwrap_or(0))?;
        let during = self.during();
        let last = self.stream.finish();
        let last = last.map_err(|error| Error::from_token(during, &error))?;
        match out.fill(last) {
            Ok(()) => Ok(After::Over),
            Err(error) => {
                self.ended = true;
                Ok(After::Stays(Err(error)))
            }
        }
    }

    /// Whether there is anything at all of this length; nothing is decrypted to find out.
    fn check_len(&self, len: usize) -> Result<()> {
        let whole_blocks = len.is_multiple_of(BLOCK);
        match (self.direction, self.mode) {
            (Direction::Encrypt, AesMode::Ecb | AesMode::Cbc) if !whole_blocks => {
                Err(Error::DataLenRange)
            }
            (Direction::Decrypt, AesMode::Ecb | AesMode::Cbc) if !whole_blocks => {
                Err(Error::EncryptedDataLenRange)
            }
            (Direction::Decrypt, AesMode::CbcPad) if !whole_blocks || len == 0 => {
                Err(Error::EncryptedDataLenRange)
            }
            (Direction::Decrypt, AesMode::Gcm) if len < self.tag_len => {
                Err(Error::EncryptedDataLenRange)
            }
            _ => Ok(()),
        }
    }

    fn during(&self) -> During {
        match self.direction {
            Direction::Encrypt => During::Operation,
            Direction::Decrypt => During::Decrypting,
        }
    }

    fn failed(&self, error: &TokenError) -> Error {
        Error::from_token(self.during(), error)
    }
}

/// Puts a whole input through and hands the result out, by way of memory of our own: the caller's
/// two buffers may be one, and nothing is written there of a plaintext that turns out wrong.
fn run(
    stream: &mut CipherStream,
    input: Input<'_>,
    out: List<'_, u8>,
    during: During,
) -> Result<()> {
    let failed = |error: TokenError| Error::from_token(during, &error);
    let ready = stream.update_len(input.len());
    let mut output = buffer(ready.saturating_add(BLOCK))?;
    output.truncate(ready);
    stream.update(input.bytes(), &mut output).map_err(failed)?;
    let last = stream.finish().map_err(failed)?;
    if output.is_empty() {
        return out.fill(last);
    }
    output.extend_from_slice(last);
    out.fill(&output)
}

/// Zeros, if there is memory for so many.
pub(crate) fn buffer(len: usize) -> Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Vec::new();
    bytes
        .try_reserve_exact(len)
        .map_err(|_| Error::HostMemory)?;
    bytes.resize(len, 0);
    Ok(Zeroizing::new(bytes))
}

/// The AES key of this handle, if its attribute `usage` is true.
///
/// # Errors
/// CKR_KEY_HANDLE_INVALID, CKR_KEY_TYPE_INCONSISTENT, CKR_KEY_FUNCTION_NOT_PERMITTED.
pub(crate) fn aes_key(
    session: &Session,
    handle: CK_OBJECT_HANDLE,
    usage: CK_ATTRIBUTE_TYPE,
) -> Result<Arc<SessionObject>> {
    let object = key::secret_key(session, handle, usage)?;
    if secret_key_type(&object) == Some(CKK_AES) {
        Ok(object)
    } else {
        Err(Error::KeyTypeInconsistent)
    }
}

/// CKA_KEY_TYPE of a session object.
pub(crate) fn secret_key_type(object: &SessionObject) -> Option<CK_KEY_TYPE> {
    let attributes = object.attributes.read();
    let value = <[u8; size_of::<CK_KEY_TYPE>()]>::try_from(&**attributes.get(&CKA_KEY_TYPE)?);
    value.ok().map(CK_KEY_TYPE::from_ne_bytes)
}

/// What a mechanism with AES in its name means with this parameter, and its IV.
///
/// # Errors
/// CKR_MECHANISM_PARAM_INVALID.
pub(crate) fn parameters(mode: AesMode, parameter: Parameter<'_>) -> Result<(CipherMode, Vec<u8>)> {
    let invalid = Error::MechanismParamInvalid;
    match mode {
        AesMode::Ecb if parameter.len() == 0 => Ok((CipherMode::AesEcb, Vec::new())),
        AesMode::Cbc if parameter.len() == BLOCK => {
            Ok((CipherMode::AesCbc, parameter.bytes().to_vec()))
        }
        AesMode::CbcPad if parameter.len() == BLOCK => {
            Ok((CipherMode::AesCbcPad, parameter.bytes().to_vec()))
        }
        AesMode::Ecb | AesMode::Cbc | AesMode::CbcPad => Err(invalid),
        AesMode::Ctr => {
            let parameter: CK_AES_CTR_PARAMS = parameter.read().ok_or(invalid)?;
            let counter_bits = u32::try_from(parameter.ulCounterBits).map_err(|_| invalid)?;
            Ok((CipherMode::AesCtr { counter_bits }, parameter.cb.to_vec()))
        }
        AesMode::Gcm => {
            let parameter = parameter.gcm()?;
            if !parameter.tag_bits.is_multiple_of(8) {
                return Err(invalid);
            }
            let tag_len = usize::try_from(parameter.tag_bits / 8).map_err(|_| invalid)?;
            let aad = parameter.associated.bytes().to_vec();
            let mode = CipherMode::AesGcm { aad, tag_len };
            Ok((mode, parameter.iv.bytes().to_vec()))
        }
    }
}
