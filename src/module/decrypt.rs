//! Decryption (PKCS#11 §5.10).
//!
//! What a private key is asked for is asked once: a program whose buffer turns out too short for the
//! plaintext gets it from here the second time.

use std::sync::Arc;

use cryptoki_sys::*;
use ctk_crypto::{Block, Decryption, MAX_BLOCK, RsaEncryption, hmac, x963_kdf};
use ctk_token::{Digest, KeyAlgorithm, Operation, TokenError};
use zeroize::Zeroizing;

use crate::{
    abi::{
        parameter::Parameter,
        ptr::{Input, List, Mechanism, Room},
    },
    cipher::{Aes, After, Direction},
    error::{During, Error, Result},
    key::{self, Context, Failure, PrivateUse},
    library,
    mechanism::{
        self,
        table::{self, Form, Row},
    },
    oaep::rsa_encryption,
    session::Session,
};

/// A decryption in the making.
pub(crate) enum Decrypting {
    Rsa(Box<RsaDecrypting>),
    Aes(Box<Aes>),
}

/// A decryption with a private key.
pub(crate) struct RsaDecrypting {
    plan: RsaDecryption,
    /// What has come in parts; `None` before the first.
    collected: Option<Vec<u8>>,
    /// A plaintext that the caller's buffer was too short for, and what it was made from.
    kept: Option<(Vec<u8>, Zeroizing<Vec<u8>>)>,
}

impl Decrypting {
    /// What a CKU_CONTEXT_SPECIFIC login authenticates for.
    pub(crate) fn authenticates(&self) -> Option<Arc<Context>> {
        match self {
            Self::Rsa(rsa) => rsa.plan.key.authenticates(),
            Self::Aes(_) => None,
        }
    }
}

/// C_DecryptInit (PKCS#11 §5.10.1). A mechanism of NULL cancels an active operation.
pub(crate) fn init(
    session: &Session,
    mechanism: Option<Mechanism<'_>>,
    key: CK_OBJECT_HANDLE,
) -> Result<()> {
    session.begin(mechanism, |mechanism| {
        let row = table::row_for(mechanism.kind, CKF_DECRYPT)?;
        if let Form::Aes(mode) = row.form {
            let parameter = mechanism.parameter;
            let aes = Aes::new(
                session,
                row.mechanism,
                mode,
                Direction::Decrypt,
                parameter,
                key,
            )?;
            return Ok(Decrypting::Aes(Box::new(aes)));
        }
        Ok(Decrypting::Rsa(Box::new(RsaDecrypting {
            plan: RsaDecryption::new(session, row, mechanism.parameter, key, CKA_DECRYPT)?,
            collected: None,
            kept: None,
        })))
    })
}

/// C_Decrypt (PKCS#11 §5.10.2).
pub(crate) fn decrypt(
    session: &Session,
    data: Result<Input<'_>>,
    out: Result<List<'_, u8>>,
) -> Result<()> {
    let mut taken = session.take::<Decrypting>()?;
    let (data, out) = (data?, out?);
    let after = match &mut *taken {
        Decrypting::Rsa(rsa) if rsa.collected.is_some() => Err(Error::OperationActive),
        Decrypting::Rsa(rsa) => {
            // Of what is too long, so much stays too long.
            let longest = rsa.plan.input_len() + 1;
            let ciphertext = data.bytes().iter().take(longest).copied().collect();
            rsa.answer(session, ciphertext, out)
        }
        Decrypting::Aes(aes) => aes.whole(data, out),
    };
    after?.leave(taken)
}

/// C_DecryptUpdate (PKCS#11 §5.10.3). For RSA it collects the ciphertext.
pub(crate) fn update(
    session: &Session,
    data: Result<Input<'_>>,
    out: Result<List<'_, u8>>,
) -> Result<()> {
    let mut taken = session.take::<Decrypting>()?;
    let (data, out) = (data?, out?);
    let after = match &mut *taken {
        Decrypting::Rsa(rsa) => rsa.collect(data, out),
        Decrypting::Aes(aes) => aes.part(data, out),
    };
    after?.leave(taken)
}

/// C_DecryptFinal (PKCS#11 §5.10.4).
pub(crate) fn finish(session: &Session, out: Result<List<'_, u8>>) -> Result<()> {
    let mut taken = session.take::<Decrypting>()?;
    let out = out?;
    let after = match &mut *taken {
        Decrypting::Rsa(rsa) => {
            let ciphertext = rsa.collected.get_or_insert_default().clone();
            rsa.answer(session, ciphertext, out)
        }
        Decrypting::Aes(aes) => aes.end(out),
    };
    after?.leave(taken)
}

impl RsaDecrypting {
    /// Takes a part of the ciphertext.
    fn collect(&mut self, part: Input<'_>, out: List<'_, u8>) -> Result<After> {
        if self.kept.is_some() {
            return Err(Error::OperationActive);
        }
        let room = out.room(0);
        if room != Ok(Room::Enough) {
            return Ok(After::told(room));
        }
        let collected = self.collected.get_or_insert_default();
        if part.len() > self.plan.input_len().saturating_sub(collected.len()) {
            return Err(Error::EncryptedDataLenRange);
        }
        collected.extend_from_slice(part.bytes());
        Ok(After::Stays(out.fill(&[])))
    }

    /// Decrypts all of it. A query is answered with the length of the longest plaintext, and
    /// nothing is decrypted for it.
    ///
    /// The ciphertext is a copy of our own: where the caller's is, the plaintext or its length may
    /// go.
    fn answer(
        &mut self,
        session: &Session,
        ciphertext: Vec<u8>,
        out: List<'_, u8>,
    ) -> Result<After> {
        self.plan.key.check_login(session)?;
        if let Some((of, plaintext)) = &self.kept
            && *of == ciphertext
        {
            return match out.room(plaintext.len()) {
                Ok(Room::Enough) => out.fill(plaintext).map(|()| After::Over),
                room => Ok(After::told(room)),
            };
        }
        if out.is_query() {
            return Ok(After::told(out.room(self.plan.max_plaintext_len())));
        }
        let mut plaintext: Block = Zeroizing::new([0; MAX_BLOCK]);
        let len = match self.plan.decrypt(&ciphertext, &mut plaintext) {
            Ok(len) => len,
            Err(error) => {
                let failure = self.plan.failed(session, During::Decrypting, &error);
                return match failure.only_authentication_lacks {
                    true => Ok(After::Stays(Err(failure.error))),
                    false => Err(failure.error),
                };
            }
        };
        let plaintext = plaintext.get(..len).unwrap_or_default();
        match out.fill(plaintext) {
            Ok(()) => Ok(After::Over),
            Err(error) => {
                self.kept = Some((ciphertext, Zeroizing::new(plaintext.to_vec())));
                Ok(After::Stays(Err(error)))
            }
        }
    }
}

/// The way from a ciphertext to a plaintext by a private RSA key, decided once: for C_Decrypt and
/// for C_UnwrapKey.
pub(crate) struct RsaDecryption {
    key: PrivateUse,
    decryption: Decryption,
    /// What the plaintexts are derived from that stand for wrong ciphertexts; zeros where the token
    /// makes them up.
    rejection_key: Zeroizing<[u8; 32]>,
    /// The same for the keys that stand for wrong wrapped ones, if there are any.
    made_up_from: Option<Zeroizing<[u8; 32]>>,
}

impl RsaDecryption {
    /// `usage` is CKA_DECRYPT or CKA_UNWRAP.
    ///
    /// # Errors
    /// As C_DecryptInit.
    pub(crate) fn new(
        session: &Session,
        row: &Row,
        parameter: Result<Parameter<'_>>,
        handle: CK_OBJECT_HANDLE,
        usage: CK_ATTRIBUTE_TYPE,
    ) -> Result<Self> {
        let private = key::private(session, handle)?;
        if !row.form.takes(private.key()?.public_key.key_type()) {
            return Err(Error::KeyTypeInconsistent);
        }
        let private = private.permitted_for(Operation::Decrypt, usage)?;
        row.form.permitted(&private.key()?.public_key)?;
        key::check_allowed(session, handle, row.mechanism)?;
        let asked = rsa_encryption(row.form, parameter?)?;
        let implicitly_rejects = asked == RsaEncryption::Pkcs1;
        let key = private.key()?;
        let supported = |form| private.supports(Operation::Decrypt, form);
        let decryption = mechanism::decryption(row.form, asked, &key.public_key, supported)?;
        if decryption.input_len() > MAX_BLOCK {
            return Err(Error::KeySizeRange);
        }
        let spki = key.public_key.spki();
        let rejection_key = match decryption.performed() {
            KeyAlgorithm::RsaRaw if implicitly_rejects => secret_of(b"reject", spki)?,
            _ => Zeroizing::new([0; 32]),
        };
        let made_up_from = match usage {
            CKA_UNWRAP if implicitly_rejects => Some(secret_of(b"unwrap", spki)?),
            _ => None,
        };
        Ok(Self {
            decryption,
            rejection_key,
            made_up_from,
            key: private,
        })
    }

    /// The length of a ciphertext, in bytes.
    pub(crate) fn input_len(&self) -> usize {
        self.decryption.input_len()
    }

    /// The length of the longest plaintext, in bytes.
    pub(crate) fn max_plaintext_len(&self) -> usize {
        self.decryption.max_plaintext_len()
    }

    /// Decrypts and returns how many bytes of `plaintext` were written.
    ///
    /// For PKCS#1 v1.5 there is no error that depends on what is in the ciphertext.
    pub(crate) fn decrypt(
        &self,
        ciphertext: &[u8],
        plaintext: &mut [u8; MAX_BLOCK],
    ) -> std::result::Result<usize, TokenError> {
        if ciphertext.len() != self.input_len() {
            return Err(TokenError::DataLength);
        }
        let mut performed: Block = Zeroizing::new([0; MAX_BLOCK]);
        let room = performed.get_mut(..self.input_len()).unwrap_or_default();
        let algorithm = self.decryption.performed();
        let len = self.key.decrypt(algorithm, ciphertext, room)?;
        let performed = room.get(..len).unwrap_or_default();
        let key = &self.rejection_key;
        self.decryption
            .finish(ciphertext, performed, key, plaintext)
    }

    /// Fills `key` with what nobody can tell and what is the same for the same ciphertext: the secret
    /// key that a wrong one wraps.
    ///
    /// # Errors
    /// [`TokenError::NotSupported`] for what is no PKCS#1 v1.5 for C_UnwrapKey.
    pub(crate) fn made_up_key(
        &self,
        ciphertext: &[u8],
        key: &mut [u8],
    ) -> std::result::Result<(), TokenError> {
        let secret = self.made_up_from.as_ref().ok_or(TokenError::NotSupported)?;
        let secret = hmac(Digest::Sha256, &**secret, ciphertext)?;
        x963_kdf(Digest::Sha256, &secret, &[], key)
    }

    /// What the program hears when it could not be done.
    pub(crate) fn failed(&self, session: &Session, during: During, error: &TokenError) -> Failure {
        self.key.failed(session, during, error)
    }
}

/// A secret that belongs to a purpose and a key and stays in this process: what is made up for
/// ciphertexts that are none is derived from it. Nobody outside can tell it, and the same
/// ciphertext always gives the same.
fn secret_of(purpose: &[u8], spki: &[u8]) -> Result<Zeroizing<[u8; 32]>> {
    let failed = |error: TokenError| Error::from_token(During::Init, &error);
    let library = library::current()?;
    let secret = library.secret().map_err(failed)?;
    let mac = hmac(Digest::Sha256, secret, &[purpose, spki].concat()).map_err(failed)?;
    let mut derived = Zeroizing::new([0; 32]);
    derived.copy_from_slice(&mac);
    Ok(derived)
}
