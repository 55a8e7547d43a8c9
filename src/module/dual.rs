//! Two operations over the same data (PKCS#11 §5.17): each part goes through both, as by two calls.

use cryptoki_sys::CK_ULONG;

use crate::{
    abi::ptr::{Input, List, Room},
    cipher::buffer,
    decrypt,
    digest::{self, Digesting},
    encrypt,
    error::{Error, Result},
    session::{Operation, Session},
    sign::{self, Signing},
    verify::{self, Verifying},
};

/// C_DigestEncryptUpdate (PKCS#11 §5.17.1).
pub(crate) fn digest_encrypt(
    session: &Session,
    part: Result<Input<'_>>,
    out: Result<List<'_, u8>>,
) -> Result<()> {
    and_encrypt::<Digesting>(session, part, out, digest::update)
}

/// C_DecryptDigestUpdate (PKCS#11 §5.17.2).
pub(crate) fn decrypt_digest(
    session: &Session,
    part: Result<Input<'_>>,
    out: Result<List<'_, u8>>,
) -> Result<()> {
    decrypt_and::<Digesting>(session, part, out, digest::update)
}

/// C_SignEncryptUpdate (PKCS#11 §5.17.3).
pub(crate) fn sign_encrypt(
    session: &Session,
    part: Result<Input<'_>>,
    out: Result<List<'_, u8>>,
) -> Result<()> {
    and_encrypt::<Signing>(session, part, out, sign::update)
}

/// C_DecryptVerifyUpdate (PKCS#11 §5.17.4).
pub(crate) fn decrypt_verify(
    session: &Session,
    part: Result<Input<'_>>,
    out: Result<List<'_, u8>>,
) -> Result<()> {
    decrypt_and::<Verifying>(session, part, out, verify::update)
}

/// Has both operations take a part. Nothing is taken in for a query, or if there is too little room.
fn and_encrypt<T: Operation>(
    session: &Session,
    part: Result<Input<'_>>,
    out: Result<List<'_, u8>>,
    update: fn(&Session, Result<Input<'_>>) -> Result<()>,
) -> Result<()> {
    check_active::<T>(session)?;
    let (part, out) = (part?, out?);
    let mut len = 0;
    encrypt::update(session, Ok(part), Ok(List::own(None, &mut len)))?;
    if out.room(size(len)?)? == Room::Query {
        return Ok(());
    }
    // Before the ciphertext is written, which may go where the part is.
    update(session, Ok(part))?;
    encrypt::update(session, Ok(part), Ok(out))
}

/// As [`and_encrypt`], the other way round: the second operation takes the plaintext.
fn decrypt_and<T: Operation>(
    session: &Session,
    part: Result<Input<'_>>,
    out: Result<List<'_, u8>>,
    update: fn(&Session, Result<Input<'_>>) -> Result<()>,
) -> Result<()> {
    check_active::<T>(session)?;
    let (part, out) = (part?, out?);
    let mut len = 0;
    decrypt::update(session, Ok(part), Ok(List::own(None, &mut len)))?;
    if out.room(size(len)?)? == Room::Query {
        return Ok(());
    }
    let mut plaintext = buffer(size(len)?)?;
    let room = List::own(Some(&mut plaintext), &mut len);
    decrypt::update(session, Ok(part), Ok(room))?;
    let plaintext = plaintext.get(..size(len)?).unwrap_or_default();
    update(session, Ok(Input::own(plaintext)))?;
    out.fill(plaintext)
}

/// # Errors
/// CKR_OPERATION_NOT_INITIALIZED before the other operation has taken anything.
fn check_active<T: Operation>(session: &Session) -> Result<()> {
    session.take::<T>()?.put_back();
    Ok(())
}

fn size(len: CK_ULONG) -> Result<usize> {
    usize::try_from(len).map_err(|_| Error::GeneralError)
}
