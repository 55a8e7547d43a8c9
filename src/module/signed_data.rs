//! The data that are signed or verified: taken in one piece or many, as they are, through a hash or
//! into a message authentication code.

use ctk_crypto::{Hash, Hasher, Mac};
use ctk_token::{Digest, TokenError};

use crate::{
    abi::ptr::Input,
    error::{During, Error, Result},
    mac::MacKey,
};

/// The longest message, in bytes, that is collected for a mechanism that needs it whole.
const MAX_MESSAGE: usize = 64 << 20;

/// What becomes of the data before they are signed or verified.
pub(crate) enum Preparation {
    Hash(Digest),
    Mac(MacKey),
    /// Nothing, but their length in bytes has to be one of these.
    Whole {
        min: usize,
        max: usize,
    },
}

/// Data to prepare.
#[derive(Clone, Copy)]
pub(crate) enum Data<'a> {
    /// All of them, where the program has them.
    Whole(Input<'a>),
    /// Those that came in parts, of which there are no more.
    Parts(&'a Parts),
}

/// What of the data has come.
#[derive(Default)]
pub(crate) enum Parts {
    /// No part yet: they may still come in one piece.
    #[default]
    Nothing,
    Hashing(Hasher),
    Authenticating(Mac),
    /// The data themselves, for what cannot be prepared piece by piece.
    Collecting(Vec<u8>),
    /// All of them: nothing is missing but the signature.
    Prepared(Hash),
    Collected(Vec<u8>),
}

impl Preparation {
    /// Prepares data. `place` is for what is made of them.
    ///
    /// # Errors
    /// CKR_DATA_LEN_RANGE, CKR_USER_NOT_LOGGED_IN.
    pub(crate) fn apply<'a>(
        &self,
        data: Data<'a>,
        place: &'a mut Option<Hash>,
    ) -> Result<&'a [u8]> {
        self.check_login()?;
        let bytes = match data {
            Data::Whole(input) => input.bytes(),
            Data::Parts(Parts::Prepared(hash)) => return Ok(hash),
            Data::Parts(Parts::Collected(bytes)) => bytes,
            // Only data that are complete come here.
            Data::Parts(_) => return Err(Error::GeneralError),
        };
        let hash = match self {
            Self::Hash(digest) => ctk_crypto::hash(*digest, bytes),
            Self::Mac(key) => key.begin().and_then(|mut mac| {
                mac.update(bytes)?;
                mac.finish()
            }),
            Self::Whole { min, max } if (*min..=*max).contains(&bytes.len()) => return Ok(bytes),
            Self::Whole { .. } => return Err(Error::DataLenRange),
        };
        Ok(place.insert(hash.map_err(failed)?))
    }

    /// A code's key is used with every part.
    fn check_login(&self) -> Result<()> {
        match self {
            Self::Mac(key) => key.check_login(),
            Self::Hash(_) | Self::Whole { .. } => Ok(()),
        }
    }
}

impl Parts {
    /// Whether there are none.
    pub(crate) fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    /// Takes the next part.
    ///
    /// Mechanisms that sign their data as it is collect it: pkcs11-tool and others send what they have
    /// in pieces to any mechanism.
    ///
    /// # Errors
    /// CKR_DATA_LEN_RANGE for more than the mechanism takes, and CKR_OPERATION_ACTIVE after the last
    /// part.
    pub(crate) fn add(&mut self, preparation: &Preparation, part: &[u8]) -> Result<()> {
        self.begin(preparation)?;
        match self {
            Self::Hashing(hasher) => hasher.update(part).map_err(failed),
            Self::Authenticating(mac) => mac.update(part).map_err(failed),
            Self::Collecting(message) => {
                let longest = match preparation {
                    Preparation::Whole { max, .. } => MAX_MESSAGE.min(*max),
                    Preparation::Hash(_) | Preparation::Mac(_) => MAX_MESSAGE,
                };
                if message.len().saturating_add(part.len()) > longest {
                    return Err(Error::DataLenRange);
                }
                message.extend_from_slice(part);
                Ok(())
            }
            Self::Nothing | Self::Prepared(_) | Self::Collected(_) => Err(Error::OperationActive),
        }
    }

    /// Takes the parts that have come for the whole. Once more changes nothing.
    pub(crate) fn end(&mut self, preparation: &Preparation) -> Result<()> {
        self.begin(preparation)?;
        *self = match std::mem::take(self) {
            Self::Hashing(hasher) => Self::Prepared(hasher.finish().map_err(failed)?),
            Self::Authenticating(mac) => Self::Prepared(mac.finish().map_err(failed)?),
            Self::Collecting(message) => Self::Collected(message),
            complete => complete,
        };
        Ok(())
    }

    /// Takes the last part. If it has been taken, it has come again with the same call.
    pub(crate) fn complete(&mut self, preparation: &Preparation, part: &[u8]) -> Result<()> {
        if !matches!(self, Self::Prepared(_) | Self::Collected(_)) {
            self.add(preparation, part)?;
        }
        self.end(preparation)
    }

    fn begin(&mut self, preparation: &Preparation) -> Result<()> {
        preparation.check_login()?;
        if self.is_nothing() {
            *self = match preparation {
                Preparation::Hash(digest) => Self::Hashing(Hasher::new(*digest).map_err(failed)?),
                Preparation::Mac(key) => Self::Authenticating(key.begin().map_err(failed)?),
                Preparation::Whole { .. } => Self::Collecting(Vec::new()),
            };
        }
        Ok(())
    }
}

#[allow(clippy::needless_pass_by_value)] // what map_err hands over
fn failed(error: TokenError) -> Error {
    Error::from_token(During::Operation, &error)
}
