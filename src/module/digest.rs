//! Digests (PKCS#11 §5.12).

use cryptoki_sys::*;
use ctk_crypto::Hasher;
use ctk_token::{Digest, TokenError};

use crate::{
    abi::ptr::{Input, List, Mechanism, Room},
    error::{During, Error, Result},
    key,
    mechanism::table::{self, Form},
    session::{Session, Taken},
};

/// A digest in the making.
pub(crate) struct Digesting {
    digest: Digest,
    /// What the parts that have come went into.
    parts: Option<Hasher>,
}

/// C_DigestInit (PKCS#11 §5.12.1). A mechanism of NULL cancels an active operation.
pub(crate) fn init(session: &Session, mechanism: Option<Mechanism<'_>>) -> Result<()> {
    session.begin(mechanism, |mechanism| {
        let Form::Digest(digest) = table::row_for(mechanism.kind, CKF_DIGEST)?.form else {
            return Err(Error::MechanismInvalid);
        };
        mechanism.parameter?.none()?;
        Ok(Digesting {
            digest,
            parts: None,
        })
    })
}

/// C_Digest (PKCS#11 §5.12.2).
pub(crate) fn digest(
    session: &Session,
    data: Result<Input<'_>>,
    out: Result<List<'_, u8>>,
) -> Result<()> {
    let taken = session.take::<Digesting>()?;
    let (data, out) = (data?, out?);
    if taken.parts.is_some() {
        return Err(Error::OperationActive);
    }
    let Some((taken, out)) = with_room(taken, out)? else {
        return Ok(());
    };
    // The data are let go of before the digest is written: it may go where they are.
    let hash = ctk_crypto::hash(taken.digest, data.bytes()).map_err(failed)?;
    out.fill(&hash)
}

/// C_DigestUpdate (PKCS#11 §5.12.3).
pub(crate) fn update(session: &Session, part: Result<Input<'_>>) -> Result<()> {
    let mut taken = session.take::<Digesting>()?;
    taken.add(part?.bytes())?;
    taken.put_back();
    Ok(())
}

/// C_DigestKey (PKCS#11 §5.12.4): of keys whose value the program may read anyway. The digest of
/// another, with something known beside it, would give a short key away.
pub(crate) fn key(session: &Session, key: CK_OBJECT_HANDLE) -> Result<()> {
    let mut taken = session.take::<Digesting>()?;
    let object = session.insertion.objects.find(session, key);
    let Some(object) = object.filter(|object| object.secret_key().is_some()) else {
        return Err(if key::is_key(session, key) {
            Error::KeyIndigestible
        } else {
            Error::KeyHandleInvalid
        });
    };
    if object.is_true(CKA_SENSITIVE) || !object.is_true(CKA_EXTRACTABLE) {
        return Err(Error::KeyIndigestible);
    }
    taken.add(key::secret(&object)?)?;
    taken.put_back();
    Ok(())
}

/// C_DigestFinal (PKCS#11 §5.12.5).
pub(crate) fn finish(session: &Session, out: Result<List<'_, u8>>) -> Result<()> {
    let taken = session.take::<Digesting>()?;
    let Some((mut taken, out)) = with_room(taken, out?)? else {
        return Ok(());
    };
    let hash = match taken.parts.take() {
        Some(hasher) => hasher.finish(),
        None => ctk_crypto::hash(taken.digest, &[]),
    };
    out.fill(&hash.map_err(failed)?)
}

/// The operation, if there is room for its result. If not, it is put back, and its length is told.
fn with_room<'s, 'o>(
    taken: Taken<'s, Digesting>,
    out: List<'o, u8>,
) -> Result<Option<(Taken<'s, Digesting>, List<'o, u8>)>> {
    let room = out.room(taken.digest.len());
    if room == Ok(Room::Enough) {
        return Ok(Some((taken, out)));
    }
    taken.put_back();
    room.map(|_| None)
}

impl Digesting {
    fn add(&mut self, part: &[u8]) -> Result<()> {
        let hasher = match &mut self.parts {
            Some(hasher) => hasher,
            None => self.parts.insert(Hasher::new(self.digest).map_err(failed)?),
        };
        hasher.update(part).map_err(failed)
    }
}

#[allow(clippy::needless_pass_by_value)] // what map_err hands over
fn failed(error: TokenError) -> Error {
    Error::from_token(During::Operation, &error)
}
