//! Encryption (PKCS#11 §5.8), all of it in software: with public keys and with session keys.

use cryptoki_sys::*;
use ctk_crypto::{Decryption, MAX_BLOCK, RsaEncryption};
use ctk_token::{KeyType, TokenError};
use zeroize::Zeroizing;

use crate::{
    abi::{
        parameter::Parameter,
        ptr::{Input, List, Mechanism, Room},
    },
    cipher::{Aes, After, Direction},
    error::{During, Error, Result},
    key::{self, PublicUse},
    mechanism::table::{self, Form, Row},
    oaep::rsa_encryption,
    session::Session,
};

/// An encryption in the making.
pub(crate) enum Encrypting {
    Rsa(Box<RsaEncrypting>),
    Aes(Box<Aes>),
}

/// An encryption for the owner of a private key.
pub(crate) struct RsaEncrypting {
    plan: RsaPlan,
    /// What has come in parts; `None` before the first.
    collected: Option<Zeroizing<Vec<u8>>>,
}

/// C_EncryptInit (PKCS#11 §5.8.1). A mechanism of NULL cancels an active operation.
pub(crate) fn init(
    session: &Session,
    mechanism: Option<Mechanism<'_>>,
    key: CK_OBJECT_HANDLE,
) -> Result<()> {
    session.begin(mechanism, |mechanism| {
        let row = table::row_for(mechanism.kind, CKF_ENCRYPT)?;
        if let Form::Aes(mode) = row.form {
            let parameter = mechanism.parameter;
            let aes = Aes::new(
                session,
                row.mechanism,
                mode,
                Direction::Encrypt,
                parameter,
                key,
            )?;
            return Ok(Encrypting::Aes(Box::new(aes)));
        }
        Ok(Encrypting::Rsa(Box::new(RsaEncrypting {
            plan: RsaPlan::new(session, row, mechanism.parameter, key, CKA_ENCRYPT)?,
            collected: None,
        })))
    })
}

/// C_Encrypt (PKCS#11 §5.8.2).
pub(crate) fn encrypt(
    session: &Session,
    data: Result<Input<'_>>,
    out: Result<List<'_, u8>>,
) -> Result<()> {
    let mut taken = session.take::<Encrypting>()?;
    let (data, out) = (data?, out?);
    let after = match &mut *taken {
        Encrypting::Rsa(rsa) if rsa.collected.is_some() => Err(Error::OperationActive),
        Encrypting::Rsa(rsa) => rsa.plan.answer(data, out),
        Encrypting::Aes(aes) => aes.whole(data, out),
    };
    after?.leave(taken)
}

/// C_EncryptUpdate (PKCS#11 §5.8.3). For RSA it collects the plaintext.
pub(crate) fn update(
    session: &Session,
    data: Result<Input<'_>>,
    out: Result<List<'_, u8>>,
) -> Result<()> {
    let mut taken = session.take::<Encrypting>()?;
    let (data, out) = (data?, out?);
    let after = match &mut *taken {
        Encrypting::Rsa(rsa) => rsa.collect(data, out),
        Encrypting::Aes(aes) => aes.part(data, out),
    };
    after?.leave(taken)
}

/// C_EncryptFinal (PKCS#11 §5.8.4).
pub(crate) fn finish(session: &Session, out: Result<List<'_, u8>>) -> Result<()> {
    let mut taken = session.take::<Encrypting>()?;
    let out = out?;
    let after = match &mut *taken {
        Encrypting::Rsa(rsa) => {
            let plaintext = rsa.collected.get_or_insert_default();
            rsa.plan.answer(Input::own(plaintext), out)
        }
        Encrypting::Aes(aes) => aes.end(out),
    };
    after?.leave(taken)
}

impl RsaEncrypting {
    /// Takes a part of the plaintext. One that is too long is refused by the query, too, before an
    /// operation that goes with this one has taken it.
    fn collect(&mut self, part: Input<'_>, out: List<'_, u8>) -> Result<After> {
        let longest = self.plan.len;
        let taken = self.collected.as_ref().map_or(0, |bytes| bytes.len());
        if part.len() > longest.saturating_sub(taken) {
            return Err(Error::DataLenRange);
        }
        let room = out.room(0);
        if room != Ok(Room::Enough) {
            return Ok(After::told(room));
        }
        // With room for all that can come, so that none of it is left behind by a move.
        let collected = self
            .collected
            .get_or_insert_with(|| Zeroizing::new(Vec::with_capacity(longest)));
        collected.extend_from_slice(part.bytes());
        Ok(After::Stays(out.fill(&[])))
    }
}

/// How to encrypt with a public RSA key: for C_Encrypt and for C_WrapKey.
pub(crate) struct RsaPlan {
    key: PublicUse,
    how: RsaEncryption,
    /// The length of the ciphertext, in bytes.
    len: usize,
}

impl RsaPlan {
    /// `usage` is CKA_ENCRYPT or CKA_WRAP.
    ///
    /// # Errors
    /// As C_EncryptInit.
    pub(crate) fn new(
        session: &Session,
        row: &Row,
        parameter: Result<Parameter<'_>>,
        handle: CK_OBJECT_HANDLE,
        usage: CK_ATTRIBUTE_TYPE,
    ) -> Result<Self> {
        let key = key::public(session, handle, usage)?;
        let public_key = key.public_key()?;
        let KeyType::Rsa { bits } = public_key.key_type() else {
            return Err(Error::KeyTypeInconsistent);
        };
        row.form.permitted(public_key)?;
        key::check_allowed(session, handle, row.mechanism)?;
        let how = rsa_encryption(row.form, parameter?)?;
        // Refused here already if the modulus is too short for the hash.
        Decryption::new(how.clone(), public_key, |_| true).map_err(|_| Error::KeySizeRange)?;
        let len = bits.div_ceil(8) as usize;
        if len > MAX_BLOCK {
            return Err(Error::KeySizeRange);
        }
        Ok(Self { key, how, len })
    }

    /// Whether the key says that it is CKA_TRUSTED; none of a token does.
    pub(crate) fn is_trusted(&self) -> bool {
        match &self.key {
            PublicUse::Token(..) => false,
            PublicUse::Session(object) => object.is_true(CKA_TRUSTED),
        }
    }

    /// The length of the ciphertext, in bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Encrypts; the ciphertext has the modulus' length.
    pub(crate) fn encrypt(
        &self,
        plaintext: &[u8],
        out: &mut [u8; MAX_BLOCK],
    ) -> std::result::Result<usize, TokenError> {
        let key = self
            .key
            .public_key()
            .map_err(|_| TokenError::ObjectNotFound)?;
        if self.how != RsaEncryption::Raw {
            return ctk_crypto::encrypt(&self.how, key, plaintext, out);
        }
        // A number: shorter ones get zeros in front (§6.1.12).
        let mut block = Zeroizing::new([0; MAX_BLOCK]);
        let block = block.get_mut(..self.len).unwrap_or_default();
        let start = self.len.checked_sub(plaintext.len());
        let place = start.and_then(|start| block.get_mut(start..));
        place
            .ok_or(TokenError::DataLength)?
            .copy_from_slice(plaintext);
        ctk_crypto::encrypt(&self.how, key, block, out)
    }

    fn answer(&self, plaintext: Input<'_>, out: List<'_, u8>) -> Result<After> {
        let room = out.room(self.len);
        if room != Ok(Room::Enough) {
            return Ok(After::told(room));
        }
        let mut ciphertext = [0; MAX_BLOCK];
        let len = self
            .encrypt(plaintext.bytes(), &mut ciphertext)
            .map_err(|error| Error::from_token(During::Operation, &error))?;
        out.fill(ciphertext.get(..len).unwrap_or_default())
            .map(|()| After::Over)
    }
}
