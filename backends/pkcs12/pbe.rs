//! Password-based encryption: the PKCS#12 schemes (RFC 7292 Appendix C) and PBES2 (RFC 8018 §6.2,
//! RFC 7914 §7).

use ctk_crypto::{
    CipherMode, CipherStream, PbeCipher, Pkcs12Purpose, SecretBytes, pbe_decrypt, pbkdf2,
    pkcs12_kdf, scrypt,
};
use ctk_token::{Digest, TokenError};

use crate::{
    ber::{INTEGER, Malformed, OCTET_STRING, Octets, Reader, SEQUENCE},
    budget::{Budget, MAX_SCRYPT_MEMORY},
    failure::{Failure, Result},
    oid,
    password::{Form, Password},
};

/// Decrypts `data` by the AlgorithmIdentifier whose inside is `algorithm`, and notes in `password` in
/// which form it fits. A wrong password can give a valid padding by chance, so a plaintext counts only
/// if it `fits`.
///
/// # Errors
/// [`Failure::WrongPassword`] if no form of the password gives such a plaintext.
pub(crate) fn open(
    algorithm: Reader<'_>,
    data: &[u8],
    password: &mut Password,
    budget: &mut Budget,
    fits: fn(&[u8]) -> bool,
) -> Result<SecretBytes> {
    let scheme = Scheme::read(algorithm)?;
    let plaintext = match &scheme {
        Scheme::Pkcs12(scheme) => scheme.open(data, password, budget, fits)?,
        Scheme::Pbes2(scheme) => scheme.open(data, password, budget, fits)?,
    };
    plaintext.ok_or(Failure::WrongPassword)
}

/// Encrypts `plaintext` with AES-256-CBC and padding, for a PBES2 that is written.
pub(crate) fn encrypt_aes256(key: &[u8], iv: &[u8], plaintext: &[u8]) -> Result<Vec<u8>> {
    let mut stream = CipherStream::encrypt(&CipherMode::AesCbcPad, key, iv)?;
    let mut ciphertext = vec![0; stream.update_len(plaintext.len())];
    stream.update(plaintext, &mut ciphertext)?;
    ciphertext.extend_from_slice(stream.finish()?);
    Ok(ciphertext)
}

enum Scheme<'a> {
    Pkcs12(Pkcs12<'a>),
    Pbes2(Pbes2<'a>),
}

impl<'a> Scheme<'a> {
    fn read(mut algorithm: Reader<'a>) -> Result<Self> {
        let name = algorithm.oid()?;
        if oid::is(name, oid::PBES2) {
            return Ok(Self::Pbes2(Pbes2::read(algorithm.sequence()?)?));
        }
        let cipher = oid::pbes1(name).ok_or_else(|| unsupported("encryption", name))?;
        let mut parameters = algorithm.sequence()?;
        Ok(Self::Pkcs12(Pkcs12 {
            cipher,
            salt: parameters.string(OCTET_STRING)?,
            iterations: parameters.unsigned()?,
        }))
    }
}

/// Key and IV from the PKCS#12 key derivation with SHA-1.
struct Pkcs12<'a> {
    cipher: PbeCipher,
    salt: Octets<'a>,
    iterations: u64,
}

impl Pkcs12<'_> {
    fn open(
        &self,
        data: &[u8],
        password: &mut Password,
        budget: &mut Budget,
        fits: fn(&[u8]) -> bool,
    ) -> Result<Option<SecretBytes>> {
        password.find(Form::Bmp, |form| {
            let mut derive = |purpose, len| -> Result<SecretBytes> {
                let mut out = SecretBytes::zeroed(len);
                if len > 0 {
                    let iterations = budget.spend_pkcs12(Digest::Sha1, self.iterations, len)?;
                    pkcs12_kdf(
                        Digest::Sha1,
                        purpose,
                        form,
                        &self.salt,
                        iterations,
                        &mut out,
                    )?;
                }
                Ok(out)
            };
            let key = derive(Pkcs12Purpose::Key, self.cipher.key_len())?;
            let iv = derive(Pkcs12Purpose::Iv, self.cipher.iv_len())?;
            let plaintext = decrypted(pbe_decrypt(self.cipher, &key, &iv, data))?;
            Ok(plaintext.filter(|plaintext| fits(plaintext)))
        })
    }
}

/// A key derivation and an encryption scheme, each with its own parameters.
struct Pbes2<'a> {
    derivation: Derivation<'a>,
    cipher: PbeCipher,
    iv: Octets<'a>,
}

impl<'a> Pbes2<'a> {
    fn read(mut parameters: Reader<'a>) -> Result<Self> {
        let (derivation, key_len) = Derivation::read(parameters.sequence()?)?;
        let (cipher, iv) = read_cipher(parameters.sequence()?, key_len)?;
        if key_len.is_some_and(|len| len != cipher.key_len() as u64) {
            return Err(Failure::Damaged(
                "a key length that its cipher does not have",
            ));
        }
        if iv.len() != cipher.iv_len() {
            return Err(Failure::Damaged("an IV of the wrong length"));
        }
        Ok(Self {
            derivation,
            cipher,
            iv,
        })
    }

    fn open(
        &self,
        data: &[u8],
        password: &mut Password,
        budget: &mut Budget,
        fits: fn(&[u8]) -> bool,
    ) -> Result<Option<SecretBytes>> {
        password.find(Form::Bytes, |form| {
            let mut key = SecretBytes::zeroed(self.cipher.key_len());
            self.derivation.derive(form, budget, &mut key)?;
            let plaintext = decrypted(pbe_decrypt(self.cipher, &key, &self.iv, data))?;
            Ok(plaintext.filter(|plaintext| fits(plaintext)))
        })
    }
}

/// A key derivation that takes the password as bytes.
pub(crate) enum Derivation<'a> {
    Pbkdf2 {
        prf: Digest,
        salt: Octets<'a>,
        iterations: u64,
    },
    Scrypt {
        salt: Octets<'a>,
        n: u64,
        r: u64,
        p: u64,
    },
}

impl<'a> Derivation<'a> {
    /// The key, as long as `key` is.
    pub(crate) fn derive(
        &self,
        password: &[u8],
        budget: &mut Budget,
        key: &mut [u8],
    ) -> Result<()> {
        match self {
            Self::Pbkdf2 {
                prf,
                salt,
                iterations,
            } => {
                let iterations = budget.spend_pbkdf2(*prf, *iterations, key.len())?;
                pbkdf2(*prf, password, salt, iterations, key)?;
            }
            Self::Scrypt { salt, n, r, p } => {
                budget.spend_scrypt(*n, *r, *p)?;
                scrypt(password, salt, *n, *r, *p, MAX_SCRYPT_MEMORY, key)?;
            }
        }
        Ok(())
    }

    /// The derivation, and the length of the key if it is said.
    pub(crate) fn read(mut algorithm: Reader<'a>) -> Result<(Self, Option<u64>)> {
        let name = algorithm.oid()?;
        if oid::is(name, oid::PBKDF2) {
            let mut parameters = algorithm.sequence()?;
            let salt = parameters.string(OCTET_STRING)?;
            let iterations = parameters.unsigned()?;
            let key_len = optional_unsigned(&mut parameters)?;
            let prf = match parameters.optional(SEQUENCE)? {
                None => Digest::Sha1,
                Some(prf) => {
                    let name = prf.children()?.oid()?;
                    oid::hmac(name).ok_or_else(|| unsupported("password hashing", name))?
                }
            };
            return Ok((
                Self::Pbkdf2 {
                    prf,
                    salt,
                    iterations,
                },
                key_len,
            ));
        }
        if oid::is(name, oid::SCRYPT) {
            let mut parameters = algorithm.sequence()?;
            let salt = parameters.string(OCTET_STRING)?;
            let [n, r, p] = [
                parameters.unsigned()?,
                parameters.unsigned()?,
                parameters.unsigned()?,
            ];
            let key_len = optional_unsigned(&mut parameters)?;
            return Ok((Self::Scrypt { salt, n, r, p }, key_len));
        }
        Err(unsupported("password hashing", name))
    }
}

fn read_cipher<'a>(
    mut algorithm: Reader<'a>,
    key_len: Option<u64>,
) -> Result<(PbeCipher, Octets<'a>)> {
    let name = algorithm.oid()?;
    if let Some(cipher) = oid::cipher(name) {
        return Ok((cipher, algorithm.string(OCTET_STRING)?));
    }
    if !oid::is(name, oid::RC2_CBC) {
        return Err(unsupported("encryption", name));
    }
    // RFC 8018 §B.2.3: the effective key bits are written in a code of their own.
    let mut parameters = algorithm.sequence()?;
    let version = optional_unsigned(&mut parameters)?;
    let cipher = match (version, key_len) {
        (Some(58), None | Some(16)) => PbeCipher::Rc2_128,
        (Some(160), None | Some(5)) => PbeCipher::Rc2_40,
        _ => {
            return Err(Failure::Unsupported(
                "RC2 with an unusual key length".into(),
            ));
        }
    };
    Ok((cipher, parameters.string(OCTET_STRING)?))
}

fn optional_unsigned(reader: &mut Reader<'_>) -> std::result::Result<Option<u64>, Malformed> {
    reader
        .optional(INTEGER)?
        .map(|element| element.unsigned())
        .transpose()
}

/// A ciphertext that does not decrypt is what a wrong password looks like.
fn decrypted(answer: ctk_token::Result<SecretBytes>) -> Result<Option<SecretBytes>> {
    match answer {
        Ok(plaintext) => Ok(Some(plaintext)),
        Err(TokenError::BadCiphertext | TokenError::DataLength) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn unsupported(what: &str, name: &[u8]) -> Failure {
    Failure::Unsupported(format!("its {what} ({})", oid::dotted(name)))
}
