//! Signatures (PKCS#11 §5.13): C_SignInit decides everything, C_Sign carries it out.

use std::sync::Arc;

use cryptoki_sys::*;

use crate::{
    abi::ptr::{Input, List, Mechanism, Room},
    error::{Error, Result},
    key::Context,
    session::{Session, Taken},
    signed_data::{Data, Parts},
    signer::Signer,
};

/// A signature in the making.
pub(crate) struct Signing {
    signer: Signer,
    parts: Parts,
}

impl Signing {
    /// What a CKU_CONTEXT_SPECIFIC login authenticates for.
    pub(crate) fn authenticates(&self) -> Option<Arc<Context>> {
        self.signer.authenticates()
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
            signer: Signer::new(session, mechanism, key, CKF_SIGN)?,
            parts: Parts::Nothing,
        })
    })
}

/// C_Sign (PKCS#11 §5.13.2).
pub(crate) fn sign(
    session: &Session,
    data: Result<Input<'_>>,
    out: Result<List<'_, u8>>,
) -> Result<()> {
    let taken = session.take::<Signing>()?;
    let (data, out) = (data?, out?);
    if !taken.parts.is_nothing() {
        // It is in the middle of its parts. Like every error this ends it: only a query of the
        // length and a buffer that is too small leave an operation active (§5.13.2).
        return Err(Error::OperationActive);
    }
    let room = out.room(taken.signer.len);
    if room != Ok(Room::Enough) {
        taken.put_back();
        return room.map(|_| ());
    }
    conclude(session, taken, Some(data), out)
}

/// C_SignUpdate (PKCS#11 §5.13.3).
pub(crate) fn update(session: &Session, part: Result<Input<'_>>) -> Result<()> {
    let mut taken = session.take::<Signing>()?;
    let part = part?;
    let Signing { signer, parts } = &mut *taken;
    parts.add(&signer.preparation, part.bytes())?;
    taken.put_back();
    Ok(())
}

/// C_SignFinal (PKCS#11 §5.13.4).
pub(crate) fn finish(session: &Session, out: Result<List<'_, u8>>) -> Result<()> {
    let mut taken = session.take::<Signing>()?;
    let out = out?;
    let room = out.room(taken.signer.len);
    if room != Ok(Room::Enough) {
        taken.put_back();
        return room.map(|_| ());
    }
    let Signing { signer, parts } = &mut *taken;
    parts.end(&signer.preparation)?;
    conclude(session, taken, None, out)
}

/// Signs the data, or the parts if there are none. Either way the operation is over, unless all that
/// is missing is the authentication that this key wants for each use: with that, the same call
/// works.
fn conclude(
    session: &Session,
    taken: Taken<'_, Signing>,
    data: Option<Input<'_>>,
    out: List<'_, u8>,
) -> Result<()> {
    let data = data.map_or(Data::Parts(&taken.parts), Data::Whole);
    let Err(failure) = taken.signer.sign(session, data, out) else {
        return Ok(());
    };
    if failure.only_authentication_lacks {
        taken.put_back();
    }
    Err(failure.error)
}
