//! Signing (PKCS#11 §6): what C_SignInit and its siblings decide, and how it is carried out.

use std::sync::Arc;

use cryptoki_sys::*;
use ctk_crypto::{Block, MAX_BLOCK, Reduction, Request, ecdsa};
use ctk_token::{Curve, KeyAlgorithm, KeyType, Operation, Reason, TokenError};
use zeroize::Zeroizing;

use crate::{
    abi::ptr::{List, Mechanism},
    error::{During, Error, Result},
    key::{self, Context, Failure, PrivateUse},
    mac::MacKey,
    mechanism::{
        self,
        table::{self, Purpose},
    },
    session::Session,
    signed_data::{Data, Preparation},
};

/// The longest signature of all kinds, in bytes: ML-DSA-87's (FIPS 204 table 2).
const LONGEST: usize = 4627;
/// The longest of most kinds, in bytes: that of RSA-4096. Signatures up to this one are made in less
/// memory, which has to be cleared each time.
const SHORT: usize = 512;

/// A key that makes signatures or message authentication codes in a way that has been decided.
pub(crate) struct Signer {
    pub(crate) preparation: Preparation,
    by: By,
    /// The signature's length on the C side, in bytes.
    pub(crate) len: usize,
}

enum By {
    /// The preparation makes the code; it may be cut.
    Mac,
    PrivateKey(Plan),
}

/// How a private key is used.
struct Plan {
    key: PrivateUse,
    reduction: Reduction,
    /// The curve, if the signature has to be turned from DER into r‖s.
    curve: Option<Curve>,
    /// The length that shorter data get by zeros before them, in bytes.
    padded_len: Option<usize>,
    /// Room that the token needs, in bytes.
    token_len: usize,
}

impl Signer {
    /// Decides how to sign, or why not. `function` is the flag of C_GetMechanismInfo for what is
    /// being set up.
    ///
    /// # Errors
    /// All that the C_…Init function can answer.
    pub(crate) fn new(
        session: &Session,
        mechanism: &Mechanism<'_>,
        handle: CK_OBJECT_HANDLE,
        function: CK_FLAGS,
    ) -> Result<Self> {
        let row = table::row_for(mechanism.kind, function)?;
        let mac = MacKey::new(session, row.form, mechanism, handle, CKA_SIGN)?;
        if let Some(key) = mac {
            return Ok(Self {
                len: key.len(),
                preparation: Preparation::Mac(key),
                by: By::Mac,
            });
        }
        let key = key::private(session, handle)?;
        let key_type = key.key()?.public_key.key_type();
        if !row.form.takes(key_type) {
            return Err(Error::KeyTypeInconsistent);
        }
        let usage = if function == CKF_SIGN_RECOVER {
            CKA_SIGN_RECOVER
        } else {
            CKA_SIGN
        };
        let key = key.permitted_for(Operation::Sign, usage)?;
        key.check_allowed(mechanism.kind)?;
        let public = &key.key()?.public_key;
        row.form.permitted(public)?;
        let algorithm = row.form.algorithm(mechanism.parameter?, Purpose::Sign)?;
        let supported = |form| key.supports(Operation::Sign, form);
        let reduction = mechanism::signature(row.form, algorithm, public, supported)?;
        let curve = match key_type {
            KeyType::Ec(curve) => Some(curve),
            _ => None,
        };
        let token_len = public.max_signature_len();
        if token_len > LONGEST {
            return Err(Error::KeySizeRange);
        }
        let padded_len = (algorithm == KeyAlgorithm::RsaRaw).then_some(token_len);
        Ok(Self {
            preparation: preparation(&reduction, padded_len.is_some()),
            len: curve.map_or(token_len, |curve| 2 * curve.bytes()),
            by: By::PrivateKey(Plan {
                reduction,
                curve,
                padded_len,
                token_len,
                key,
            }),
        })
    }

    /// What a CKU_CONTEXT_SPECIFIC login authenticates for.
    pub(crate) fn authenticates(&self) -> Option<Arc<Context>> {
        match &self.by {
            By::Mac => None,
            By::PrivateKey(plan) => plan.key.authenticates(),
        }
    }

    /// Signs, and hands the signature out: `out` has room for it.
    ///
    /// # Errors
    /// All that C_Sign can answer.
    pub(crate) fn sign(
        &self,
        session: &Session,
        data: Data<'_>,
        out: List<'_, u8>,
    ) -> std::result::Result<(), Failure> {
        let room = match &self.by {
            By::Mac => self.len,
            By::PrivateKey(plan) => plan.token_len,
        };
        if room <= SHORT {
            self.sign_in::<SHORT>(session, data, out)
        } else {
            self.sign_in::<LONGEST>(session, data, out)
        }
    }

    fn sign_in<const ROOM: usize>(
        &self,
        session: &Session,
        data: Data<'_>,
        out: List<'_, u8>,
    ) -> std::result::Result<(), Failure> {
        let mut signature = [0; ROOM];
        // The data are let go of before the signature is written: it may go where they are.
        self.make(session, data, &mut signature)?;
        let signature = signature.get(..self.len).unwrap_or_default();
        Ok(out.fill(signature)?)
    }

    fn make(
        &self,
        session: &Session,
        data: Data<'_>,
        signature: &mut [u8],
    ) -> std::result::Result<(), Failure> {
        let mut place = None;
        let prepared = self.preparation.apply(data, &mut place)?;
        let plan = match &self.by {
            By::Mac => {
                for (place, byte) in signature.iter_mut().zip(prepared.iter().take(self.len)) {
                    *place = *byte;
                }
                return Ok(());
            }
            By::PrivateKey(plan) => plan,
        };
        match plan.sign(prepared, signature) {
            Ok(len) if len == self.len => Ok(()),
            Ok(_) => Err(plan.key.failed(session, During::Operation, &wrong_length())),
            Err(error) => Err(plan.key.failed(session, During::Operation, &error)),
        }
    }
}

/// What becomes of data on the way to what the token performs.
pub(crate) fn preparation(reduction: &Reduction, padded: bool) -> Preparation {
    match reduction.message_digest() {
        Some(digest) => Preparation::Hash(digest),
        None => {
            let (min, max) = reduction.input_len();
            let min = if padded { 0 } else { min };
            Preparation::Whole { min, max }
        }
    }
}

/// Puts zeros before a number up to a length in bytes (PKCS#11 §6.1.12).
///
/// # Errors
/// [`TokenError::DataLength`] for one that is longer.
pub(crate) fn pad_left<'a>(
    number: &[u8],
    len: usize,
    block: &'a mut Block,
) -> std::result::Result<&'a [u8], TokenError> {
    let block = block.get_mut(..len).ok_or(TokenError::DataLength)?;
    let zeros = len.checked_sub(number.len());
    let (padding, place) = block.split_at_mut(zeros.ok_or(TokenError::DataLength)?);
    padding.fill(0);
    place.copy_from_slice(number);
    Ok(block)
}

impl Plan {
    /// Signs what the preparation made and returns how many bytes were written.
    fn sign(&self, input: &[u8], out: &mut [u8]) -> std::result::Result<usize, TokenError> {
        let (mut padded, mut block) = (None, None);
        let input = match self.padded_len {
            Some(len) => pad_left(input, len, padded.insert(Zeroizing::new([0; MAX_BLOCK])))?,
            None => input,
        };
        let Request { algorithm, input } = self.reduction.apply(input, &mut block)?;
        let perform = |room: &mut [u8]| self.key.sign(algorithm, input, room);
        let Some(curve) = self.curve else {
            return perform(out.get_mut(..self.token_len).unwrap_or_default());
        };
        let mut der = [0; SHORT];
        let len = perform(der.get_mut(..self.token_len).unwrap_or_default())?;
        ecdsa::der_to_fixed(curve, der.get(..len).unwrap_or_default(), out)
    }
}

fn wrong_length() -> TokenError {
    TokenError::Corrupted(Reason::new(
        "the key store returned a signature of the wrong length",
    ))
}
