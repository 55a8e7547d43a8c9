//! Many messages with one key (PKCS#11 §5.14, §5.16): each has a signature of its own, and the plan
//! is made once.
//!
//! An error ends the message that it is about. The key stays ready for the next one until
//! C_Message…Final.

use std::sync::Arc;

use cryptoki_sys::*;

use crate::{
    abi::ptr::{Input, List, Mechanism, Room},
    error::{Error, Result},
    key::Context,
    session::Session,
    signed_data::{Data, Parts},
    signer::Signer,
    verifier::Verifier,
};

/// A key that signs messages.
pub(crate) struct MessageSigning {
    signer: Signer,
    /// What has come of a message in parts.
    message: Option<Parts>,
}

/// A key that verifies the signatures of messages.
pub(crate) struct MessageVerifying {
    verifier: Verifier,
    /// What has come of a message in parts.
    message: Option<Parts>,
}

impl MessageSigning {
    /// What a CKU_CONTEXT_SPECIFIC login authenticates for.
    pub(crate) fn authenticates(&self) -> Option<Arc<Context>> {
        self.signer.authenticates()
    }
}

/// C_MessageSignInit (PKCS#11 §5.14.1). A mechanism of NULL cancels an active operation.
pub(crate) fn sign_init(
    session: &Session,
    mechanism: Option<Mechanism<'_>>,
    key: CK_OBJECT_HANDLE,
) -> Result<()> {
    session.begin(mechanism, |mechanism| {
        Ok(MessageSigning {
            signer: Signer::new(session, mechanism, key, CKF_MESSAGE_SIGN)?,
            message: None,
        })
    })
}

/// C_SignMessage (PKCS#11 §5.14.2).
pub(crate) fn sign(
    session: &Session,
    parameter: Result<Input<'_>>,
    data: Result<Input<'_>>,
    out: Result<List<'_, u8>>,
) -> Result<()> {
    let taken = session.take::<MessageSigning>()?;
    let signed = (|| {
        not_in_parts(taken.message.as_ref())?;
        none(parameter?)?;
        let (data, out) = (data?, out?);
        match out.room(taken.signer.len)? {
            Room::Query => Ok(()),
            Room::Enough => {
                let signed = taken.signer.sign(session, Data::Whole(data), out);
                signed.map_err(|failure| failure.error)
            }
        }
    })();
    taken.put_back();
    signed
}

/// C_SignMessageBegin (PKCS#11 §5.14.3).
pub(crate) fn sign_begin(session: &Session, parameter: Result<Input<'_>>) -> Result<()> {
    let mut taken = session.take::<MessageSigning>()?;
    let begun = begin(&mut taken.message, parameter);
    taken.put_back();
    begun
}

/// C_SignMessageNext (PKCS#11 §5.14.4). `out` comes with the last part. A query of the signature's
/// length takes no part in.
pub(crate) fn sign_next(
    session: &Session,
    parameter: Result<Input<'_>>,
    part: Result<Input<'_>>,
    out: Option<List<'_, u8>>,
) -> Result<()> {
    let mut taken = session.take::<MessageSigning>()?;
    let operation = &mut *taken;
    let result = operation.next(session, parameter, part, out);
    taken.put_back();
    result
}

impl MessageSigning {
    fn next(
        &mut self,
        session: &Session,
        parameter: Result<Input<'_>>,
        part: Result<Input<'_>>,
        out: Option<List<'_, u8>>,
    ) -> Result<()> {
        let Some(out) = out else {
            return next(&mut self.message, parameter, part, |message, part| {
                message.add(&self.signer.preparation, part)
            });
        };
        // Before the message is taken out: it goes on after a query.
        if self.message.is_some() {
            match out.room(self.signer.len) {
                Ok(Room::Enough) => {}
                other => return other.map(|_| ()),
            }
        }
        let signer = &self.signer;
        let message = last(&mut self.message, parameter, part, |message, part| {
            message.complete(&signer.preparation, part)
        })?;
        let Err(failure) = signer.sign(session, Data::Parts(&message), out) else {
            return Ok(());
        };
        if failure.only_authentication_lacks {
            // With it, the same call works.
            self.message = Some(message);
        }
        Err(failure.error)
    }
}

/// C_MessageSignFinal (PKCS#11 §5.14.5).
pub(crate) fn sign_end(session: &Session) -> Result<()> {
    let taken = session.take::<MessageSigning>()?;
    if taken.message.is_some() {
        taken.put_back();
        return Err(Error::OperationActive);
    }
    Ok(())
}

/// C_MessageVerifyInit (PKCS#11 §5.16.1). A mechanism of NULL cancels an active operation.
pub(crate) fn verify_init(
    session: &Session,
    mechanism: Option<Mechanism<'_>>,
    key: CK_OBJECT_HANDLE,
) -> Result<()> {
    session.begin(mechanism, |mechanism| {
        Ok(MessageVerifying {
            verifier: Verifier::new(session, mechanism, key, CKF_MESSAGE_VERIFY)?,
            message: None,
        })
    })
}

/// C_VerifyMessage (PKCS#11 §5.16.2).
pub(crate) fn verify(
    session: &Session,
    parameter: Result<Input<'_>>,
    data: Result<Input<'_>>,
    signature: Result<Input<'_>>,
) -> Result<()> {
    let taken = session.take::<MessageVerifying>()?;
    let verified = (|| {
        not_in_parts(taken.message.as_ref())?;
        none(parameter?)?;
        let data = Data::Whole(data?);
        taken.verifier.verify(data, signature?.bytes())
    })();
    taken.put_back();
    verified
}

/// C_VerifyMessageBegin (PKCS#11 §5.16.3).
pub(crate) fn verify_begin(session: &Session, parameter: Result<Input<'_>>) -> Result<()> {
    let mut taken = session.take::<MessageVerifying>()?;
    let begun = begin(&mut taken.message, parameter);
    taken.put_back();
    begun
}

/// C_VerifyMessageNext (PKCS#11 §5.16.4). The signature comes with the last part.
pub(crate) fn verify_next(
    session: &Session,
    parameter: Result<Input<'_>>,
    part: Result<Input<'_>>,
    signature: Result<Option<Input<'_>>>,
) -> Result<()> {
    let mut taken = session.take::<MessageVerifying>()?;
    let MessageVerifying { verifier, message } = &mut *taken;
    let verified = match signature {
        Ok(None) => next(message, parameter, part, |message, part| {
            message.add(&verifier.preparation, part)
        }),
        signature => last(message, parameter, part, |message, part| {
            message.complete(&verifier.preparation, part)
        })
        .and_then(|message| verifier.verify(Data::Parts(&message), given(signature)?.bytes())),
    };
    taken.put_back();
    verified
}

/// C_MessageVerifyFinal (PKCS#11 §5.16.5).
pub(crate) fn verify_end(session: &Session) -> Result<()> {
    let taken = session.take::<MessageVerifying>()?;
    if taken.message.is_some() {
        taken.put_back();
        return Err(Error::OperationActive);
    }
    Ok(())
}

fn given(signature: Result<Option<Input<'_>>>) -> Result<Input<'_>> {
    signature?.ok_or(Error::ArgumentsBad)
}

/// No mechanism of ours has a parameter for a single message.
fn none(parameter: Input<'_>) -> Result<()> {
    if parameter.len() == 0 {
        Ok(())
    } else {
        Err(Error::MechanismParamInvalid)
    }
}

fn not_in_parts(message: Option<&Parts>) -> Result<()> {
    match message {
        None => Ok(()),
        Some(_) => Err(Error::OperationActive),
    }
}

/// Begins a message in parts.
fn begin(message: &mut Option<Parts>, parameter: Result<Input<'_>>) -> Result<()> {
    not_in_parts(message.as_ref())?;
    none(parameter?)?;
    *message = Some(Parts::Nothing);
    Ok(())
}

/// Takes a part that is not the last. After an error the message is over.
fn next(
    message: &mut Option<Parts>,
    parameter: Result<Input<'_>>,
    part: Result<Input<'_>>,
    add: impl FnOnce(&mut Parts, &[u8]) -> Result<()>,
) -> Result<()> {
    *message = Some(last(message, parameter, part, add)?);
    Ok(())
}

/// Takes a part, and the message with it.
fn last(
    message: &mut Option<Parts>,
    parameter: Result<Input<'_>>,
    part: Result<Input<'_>>,
    add: impl FnOnce(&mut Parts, &[u8]) -> Result<()>,
) -> Result<Parts> {
    let mut message = message.take().ok_or(Error::OperationNotInitialized)?;
    none(parameter?)?;
    add(&mut message, part?.bytes())?;
    Ok(message)
}
