//! Signatures (PKCS#11 §5.13): C_SignInit decides everything, C_Sign carries it out.

use cryptoki_sys::*;
use ctk_crypto::{Block, Hash, Hasher, MAX_BLOCK, Reduction, ecdsa};
use ctk_token::{Curve, KeyType, ObjectId, Operation, TokenError};
use zeroize::Zeroizing;

use crate::{
    abi::ptr::{Input, List, Mechanism, Room},
    error::{During, Error, Result},
    key::{Authenticates, PrivateUse},
    mechanism::{self, table},
    session::{Session, Taken},
};

/// The longest message, in bytes, of a multi-part signature whose mechanism needs the message
/// whole.
const MAX_MESSAGE: usize = 64 << 20;

/// A signature in the making.
pub(crate) struct Signing {
    plan: Plan,
    progress: Progress,
}

/// What C_SignInit decided.
struct Plan {
    key: PrivateUse,
    /// The key's own name where it is.
    id: ObjectId,
    reduction: Reduction,
    /// The curve, if the signature has to be turned from DER into r‖s.
    curve: Option<Curve>,
    /// The signature's length on the C side, in bytes.
    len: usize,
    /// Room that the token needs, in bytes.
    token_len: usize,
}

/// What of the message has come.
enum Progress {
    /// Nothing yet: C_Sign and C_SignUpdate are both possible.
    Nothing,
    Hashing(Hasher),
    /// All of it: only the signature is missing.
    Hashed(Hash),
    /// The message itself, for what cannot be hashed piece by piece.
    Collected(Vec<u8>),
}

impl Signing {
    /// What a CKU_CONTEXT_SPECIFIC login authenticates for.
    pub(crate) fn authenticates(&self) -> Option<Authenticates> {
        self.plan.key.authenticates()
    }
}

/// C_SignInit (PKCS#11 §5.13.1). A mechanism of NULL cancels an active operation.
pub(crate) fn init(
    session: &Session,
    mechanism: Option<Mechanism<'_>>,
    key: CK_OBJECT_HANDLE,
) -> Result<()> {
    session.begin(mechanism, |mechanism| {
        Ok(Signing {
            plan: Plan::new(session, mechanism, key)?,
            progress: Progress::Nothing,
        })
    })
}

impl Plan {
    fn new(session: &Session, mechanism: &Mechanism<'_>, handle: CK_OBJECT_HANDLE) -> Result<Self> {
        let row = table::row(mechanism.kind)?;
        let private = PrivateUse::find(session, handle)?;
        let key_type = private.key()?.public_key.key_type();
        if !row.form.takes(key_type) {
            return Err(Error::KeyTypeInconsistent);
        }
        let private = private.permitted(Operation::Sign)?;
        let key = private.key()?;
        let algorithm = row.form.algorithm(mechanism.parameter?)?;
        let reduction = mechanism::reduction(algorithm, key, &*private.performer)?
            .ok_or(Error::MechanismInvalid)?;
        let curve = match key_type {
            KeyType::Ec(curve) => Some(curve),
            _ => None,
        };
        let token_len = key.public_key.max_signature_len();
        Ok(Self {
            id: key.id.clone(),
            reduction,
            curve,
            len: curve.map_or(token_len, |curve| 2 * curve.bytes()),
            token_len,
            key: private,
        })
    }

    /// Signs `input`: the message's hash if the plan hashes, else the message. Returns how many
    /// bytes were written.
    fn sign(
        &self,
        input: &[u8],
        out: &mut [u8; MAX_BLOCK],
    ) -> std::result::Result<usize, TokenError> {
        let mut block: Block;
        let input = if self.reduction.needs_block() {
            block = Zeroizing::new([0; MAX_BLOCK]);
            self.reduction.apply(input, &mut block)?
        } else {
            input
        };
        let mut signature = [0; MAX_BLOCK];
        let room = signature.get_mut(..self.token_len).unwrap_or_default();
        let algorithm = self.reduction.performed();
        let len = self.key.performer.sign(&self.id, algorithm, input, room)?;
        let signature = signature.get(..len).unwrap_or_default();
        let len = match self.curve {
            Some(curve) => ecdsa::der_to_fixed(curve, signature, out)?,
            None => {
                out.get_mut(..len)
                    .unwrap_or_default()
                    .copy_from_slice(signature);
                len
            }
        };
        if len == self.len {
            Ok(len)
        } else {
            Err(wrong_length())
        }
    }

    /// Whether data of this length can be signed, for what is not hashed first.
    fn check_len(&self, len: usize) -> Result<()> {
        let (min, max) = self.reduction.input_len();
        if self.reduction.message_digest().is_none() && !(min..=max).contains(&len) {
            return Err(Error::DataLenRange);
        }
        Ok(())
    }
}

fn wrong_length() -> TokenError {
    TokenError::Corrupted(ctk_token::Reason::new(
        "the key store returned a signature of the wrong length",
    ))
}

/// C_Sign (PKCS#11 §5.13.2).
pub(crate) fn sign(
    session: &Session,
    data: Result<Input<'_>>,
    out: Result<List<'_, u8>>,
) -> Result<()> {
    let taken = session.take::<Signing>()?;
    let (data, out) = (data?, out?);
    if !matches!(taken.progress, Progress::Nothing) {
        // It is in the middle of its parts. Like every error this ends it: only a query of the
        // length and a buffer that is too small leave an operation active (§5.13.2).
        return Err(Error::OperationActive);
    }
    let plan = &taken.plan;
    let room = out.room(plan.len);
    if room != Ok(Room::Enough) {
        taken.put_back();
        return room.map(|_| ());
    }
    plan.check_len(data.len())?;
    let mut signature = [0; MAX_BLOCK];
    let result = match plan.reduction.message_digest() {
        Some(digest) => {
            ctk_crypto::hash(digest, data.bytes()).and_then(|hash| plan.sign(&hash, &mut signature))
        }
        None => plan.sign(data.bytes(), &mut signature),
    };
    conclude(session, taken, result, &signature, out)
}

/// C_SignUpdate (PKCS#11 §5.13.3).
///
/// Mechanisms that sign their data as it is collect it: pkcs11-tool and others send what they have
/// in pieces to any mechanism.
pub(crate) fn update(session: &Session, part: Result<Input<'_>>) -> Result<()> {
    let mut taken = session.take::<Signing>()?;
    let part = part?;
    let signing = &mut *taken;
    signing.begin_parts()?;
    match &mut signing.progress {
        Progress::Hashing(hasher) => hasher
            .update(part.bytes())
            .map_err(|error| Error::from_token(During::Operation, &error))?,
        Progress::Collected(message) => {
            let (_, max) = signing.plan.reduction.input_len();
            let len = message.len().saturating_add(part.len());
            if len > max.min(MAX_MESSAGE) {
                return Err(Error::DataLenRange);
            }
            message.extend_from_slice(part.bytes());
        }
        Progress::Nothing | Progress::Hashed(_) => return Err(Error::OperationActive),
    }
    taken.put_back();
    Ok(())
}

/// C_SignFinal (PKCS#11 §5.13.4).
pub(crate) fn finish(session: &Session, out: Result<List<'_, u8>>) -> Result<()> {
    let mut taken = session.take::<Signing>()?;
    let out = out?;
    let room = out.room(taken.plan.len);
    if room != Ok(Room::Enough) {
        taken.put_back();
        return room.map(|_| ());
    }
    taken.end_parts()?;
    let plan = &taken.plan;
    let mut signature = [0; MAX_BLOCK];
    let result = match &taken.progress {
        Progress::Hashed(hash) => plan.sign(hash, &mut signature),
        Progress::Collected(message) => {
            plan.check_len(message.len())?;
            plan.sign(message, &mut signature)
        }
        Progress::Nothing | Progress::Hashing(_) => return Err(Error::GeneralError),
    };
    conclude(session, taken, result, &signature, out)
}

impl Signing {
    /// Gets ready for parts of the message.
    fn begin_parts(&mut self) -> Result<()> {
        if let Progress::Nothing = self.progress {
            self.progress = match self.plan.reduction.message_digest() {
                Some(digest) => Progress::Hashing(
                    Hasher::new(digest)
                        .map_err(|error| Error::from_token(During::Operation, &error))?,
                ),
                None => Progress::Collected(Vec::new()),
            };
        }
        Ok(())
    }

    /// Takes the parts that have come for the whole message.
    fn end_parts(&mut self) -> Result<()> {
        self.begin_parts()?;
        self.progress = match std::mem::replace(&mut self.progress, Progress::Nothing) {
            Progress::Hashing(hasher) => Progress::Hashed(
                hasher
                    .finish()
                    .map_err(|error| Error::from_token(During::Operation, &error))?,
            ),
            other => other,
        };
        Ok(())
    }
}

/// Hands a signature out, or says why there is none. Either way the operation is over, unless all
/// that is missing is the authentication that this key wants for each use: with that, the same call
/// works.
fn conclude(
    session: &Session,
    taken: Taken<'_, Signing>,
    result: std::result::Result<usize, TokenError>,
    signature: &[u8],
    out: List<'_, u8>,
) -> Result<()> {
    let error = match result {
        Ok(len) => return out.fill(signature.get(..len).unwrap_or_default()),
        Err(error) => error,
    };
    let failure = taken.plan.key.failed(session, During::Operation, &error);
    if failure.only_authentication_lacks {
        taken.put_back();
    }
    Err(failure.error)
}
