//! Verification (PKCS#11 §6), in software: with the public keys of tokens and sessions, and with
//! secret keys.

use cryptoki_sys::*;
use ctk_crypto::{Block, MAX_BLOCK, Reduction, Request, constant_time_eq, ecdsa};
use ctk_token::{Curve, KeyAlgorithm, KeyType, TokenError};
use zeroize::Zeroizing;

use crate::{
    abi::ptr::Mechanism,
    error::{During, Error, Result},
    key::{self, PublicUse},
    mac::MacKey,
    mechanism::{
        self,
        table::{self, Purpose},
    },
    session::Session,
    signed_data::{Data, Preparation},
    signer::{pad_left, preparation},
};

/// Room for an ECDSA signature in DER, in bytes: that of P-521 has 141.
const MAX_DER: usize = 160;

/// A key that verifies signatures or message authentication codes in a way that has been decided.
pub(crate) struct Verifier {
    pub(crate) preparation: Preparation,
    by: By,
}

enum By {
    /// The preparation makes the code, of which so many bytes count.
    Mac(usize),
    PublicKey(Plan),
}

/// How a public key is used.
struct Plan {
    key: PublicUse,
    /// What takes the prepared data, and takes them as they are.
    reduction: Reduction,
    /// The curve, if signatures have to be turned from r‖s into DER.
    curve: Option<Curve>,
    /// The length that shorter data get by zeros before them, in bytes.
    padded_len: Option<usize>,
    /// How long signatures are, in bytes; those with a curve at most.
    len: usize,
}

impl Verifier {
    /// Decides how to verify, or why not. `function` is the flag of C_GetMechanismInfo for what is
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
        let mac = MacKey::new(session, row.form, mechanism, handle, CKA_VERIFY)?;
        if let Some(key) = mac {
            return Ok(Self {
                by: By::Mac(key.len()),
                preparation: Preparation::Mac(key),
            });
        }
        let key = PublicUse::find(session, handle)?;
        if !row.form.takes(key.public_key()?.key_type()) {
            return Err(Error::KeyTypeInconsistent);
        }
        let key = key.permitted(CKA_VERIFY)?;
        key::check_allowed(session, handle, mechanism.kind)?;
        if !ctk_crypto::has_key_type(key.public_key()?.key_type()) {
            return Err(Error::MechanismInvalid);
        }
        let public = key.public_key()?;
        row.form.permitted(public)?;
        let asked = row.form.algorithm(mechanism.parameter?, Purpose::Verify)?;
        // The library verifies whatever there is, so the first step is the last: the hash.
        let reduction = mechanism::reduction(asked, public, |_| true)?;
        let reduction = reduction.ok_or(Error::MechanismInvalid)?;
        let curve = match public.key_type() {
            KeyType::Ec(curve) => Some(curve),
            _ => None,
        };
        let len = public.max_signature_len();
        let padded_len = (asked == KeyAlgorithm::RsaRaw).then_some(len);
        Ok(Self {
            preparation: preparation(&reduction, padded_len.is_some()),
            by: By::PublicKey(Plan {
                reduction,
                curve,
                padded_len,
                len: curve.map_or(len, |curve| 2 * curve.bytes()),
                key,
            }),
        })
    }

    /// Says whether this is the signature of the data.
    ///
    /// # Errors
    /// CKR_SIGNATURE_INVALID and CKR_SIGNATURE_LEN_RANGE if it is not, CKR_DATA_LEN_RANGE for data
    /// that have no signature of this kind.
    pub(crate) fn verify(&self, data: Data<'_>, signature: &[u8]) -> Result<()> {
        let mut place = None;
        let prepared = self.preparation.apply(data, &mut place)?;
        let right = match &self.by {
            By::Mac(len) if signature.len() == *len => {
                constant_time_eq(prepared.get(..*len).unwrap_or_default(), signature)
            }
            By::Mac(_) => return Err(Error::SignatureLenRange),
            By::PublicKey(plan) => plan.verify(prepared, signature)?,
        };
        if right {
            Ok(())
        } else {
            Err(Error::SignatureInvalid)
        }
    }
}

impl Plan {
    fn verify(&self, input: &[u8], signature: &[u8]) -> Result<bool> {
        let mut der = [0; MAX_DER];
        let signature = match self.curve {
            // Shorter halves count as numbers with zeros before them (§6.3.1).
            Some(curve) => match ecdsa::fixed_to_der(curve, signature, &mut der) {
                Ok(len) => der.get(..len).unwrap_or_default(),
                Err(_) => return Err(Error::SignatureLenRange),
            },
            None if signature.len() == self.len => signature,
            None => return Err(Error::SignatureLenRange),
        };
        let mut block: Block;
        let input = match self.padded_len {
            Some(len) => {
                block = Zeroizing::new([0; MAX_BLOCK]);
                pad_left(input, len, &mut block).map_err(|error| failed(&error))?
            }
            None => input,
        };
        let public = self.key.public_key()?;
        let mut unused = None;
        let request = self.reduction.apply(input, &mut unused);
        request
            .and_then(|Request { algorithm, input }| {
                ctk_crypto::verify(public, algorithm, input, signature)
            })
            .map_err(|error| failed(&error))
    }
}

fn failed(error: &TokenError) -> Error {
    Error::from_token(During::Operation, error)
}
