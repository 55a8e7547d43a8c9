//! From the decryption that is asked for to one that the key store performs.

use ctk_token::{Digest, KeyAlgorithm, KeyType, Oaep, PublicKey, Reason, Result, TokenError};
use zeroize::Zeroizing;

use crate::encoding::{Block, MAX_BLOCK};
use crate::unpadding::{PKCS1_PADDING, oaep_room, unpad_oaep, unpad_pkcs1};

/// How a plaintext becomes the block that RSA encrypts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RsaEncryption {
    /// Not at all: it is the block, as long as the modulus.
    Raw,
    /// RSAES-PKCS1-v1_5 (RFC 8017 §7.2).
    Pkcs1,
    /// RSAES-OAEP (RFC 8017 §7.1).
    Oaep {
        /// The hash of the label.
        digest: Digest,
        /// The hash inside MGF1.
        mgf: Digest,
        /// The label, often empty.
        label: Vec<u8>,
    },
}

impl RsaEncryption {
    /// The longest plaintext for a modulus of so many bytes.
    ///
    /// # Errors
    /// [`TokenError::BadParameter`] if the modulus is too short for any.
    pub(crate) fn room(&self, modulus_len: usize) -> Result<usize> {
        let room = match self {
            Self::Raw => Some(modulus_len),
            Self::Pkcs1 => modulus_len.checked_sub(PKCS1_PADDING),
            Self::Oaep { digest, mgf, .. } => oaep_room(
                Oaep {
                    digest: *digest,
                    mgf: *mgf,
                },
                modulus_len,
            ),
        };
        room.ok_or(TokenError::BadParameter)
    }
}

/// The way from the decryption that is asked for to one that the key store performs, decided once: what
/// [`Reduction`](crate::Reduction) is for signatures.
///
/// Everything that can be refused for the key or the parameters is refused by [`Decryption::new`].
#[derive(Clone, Debug)]
pub struct Decryption {
    asked: RsaEncryption,
    performed: KeyAlgorithm,
    modulus_len: usize,
    room: usize,
}

impl Decryption {
    /// Chooses what `supported` affirms. For v1.5 that is the store's own, which keeps its padding to itself; for OAEP with
    /// an empty label the store's own; in all other cases the raw operation, whose result is taken apart here.
    ///
    /// `None` if neither is supported, if the key is of another kind, or if it is for RSASSA-PSS only (RFC 4055 §1.2).
    ///
    /// # Errors
    /// [`TokenError::BadParameter`] if the modulus is too short for the hash, whoever performs it.
    pub fn new(
        asked: RsaEncryption,
        key: &PublicKey,
        supported: impl Fn(KeyAlgorithm) -> bool,
    ) -> Result<Option<Self>> {
        let KeyType::Rsa { bits } = key.key_type() else {
            return Ok(None);
        };
        if key.is_pss_only() {
            return Ok(None);
        }
        let modulus_len = bits.div_ceil(8) as usize;
        let room = asked.room(modulus_len)?;
        let own = match &asked {
            RsaEncryption::Raw => None,
            RsaEncryption::Pkcs1 => Some(KeyAlgorithm::RsaPkcs1),
            RsaEncryption::Oaep { digest, mgf, label } if label.is_empty() => {
                Some(KeyAlgorithm::RsaOaep(Oaep {
                    digest: *digest,
                    mgf: *mgf,
                }))
            }
            RsaEncryption::Oaep { .. } => None,
        };
        let raw_fits = asked == RsaEncryption::Raw || modulus_len <= MAX_BLOCK;
        let raw = raw_fits.then_some(KeyAlgorithm::RsaRaw);
        let performed = own
            .filter(|own| supported(*own))
            .or(raw.filter(|raw| supported(*raw)));
        Ok(performed.map(|performed| Self {
            asked,
            performed,
            modulus_len,
            room,
        }))
    }

    /// What the key store is asked to perform.
    pub fn performed(&self) -> KeyAlgorithm {
        self.performed
    }

    /// The length of a ciphertext, in bytes: the modulus'.
    pub fn input_len(&self) -> usize {
        self.modulus_len
    }

    /// The length of the longest plaintext, in bytes, for whoever asks how much room it needs.
    pub fn max_plaintext_len(&self) -> usize {
        self.room
    }

    /// Turns what the key store returned for `ciphertext` into the plaintext: writes it to `plaintext`, of at least
    /// [`max_plaintext_len`](Self::max_plaintext_len) bytes, and returns its length. What follows it is undefined but no
    /// secret.
    ///
    /// `rejection_key` is used for v1.5 from the raw operation only, which then gives a pseudo-random plaintext for a wrong
    /// padding (implicit rejection). It must be secret, belong to this key and stay the same; where the private exponent is
    /// known, it is the SHA-256 of it, as long as the modulus, as in OpenSSL. A decryption takes the same time whatever the
    /// block holds.
    ///
    /// # Errors
    /// [`TokenError::BadCiphertext`] for OAEP, whatever is wrong; [`TokenError::BadParameter`] if `plaintext` is too short;
    /// [`TokenError::DataLength`] if `ciphertext` is not as long as the modulus; [`TokenError::Corrupted`] if the key store
    /// returned something of an impossible length.
    pub fn finish(
        &self,
        ciphertext: &[u8],
        performed: &[u8],
        rejection_key: &[u8; 32],
        plaintext: &mut [u8],
    ) -> Result<usize> {
        let plaintext = plaintext
            .get_mut(..self.room)
            .ok_or(TokenError::BadParameter)?;
        if ciphertext.len() != self.modulus_len {
            return Err(TokenError::DataLength);
        }
        let as_it_is = self.performed != KeyAlgorithm::RsaRaw || self.asked == RsaEncryption::Raw;
        if as_it_is {
            let place = plaintext.get_mut(..performed.len());
            place.ok_or_else(impossible)?.copy_from_slice(performed);
            return Ok(performed.len());
        }

        let mut block: Block = Zeroizing::new([0; MAX_BLOCK]);
        let block = block
            .get_mut(..self.modulus_len)
            .filter(|block| block.len() == performed.len())
            .ok_or_else(impossible)?;
        block.copy_from_slice(performed);
        match &self.asked {
            RsaEncryption::Oaep { digest, mgf, label } => {
                let oaep = Oaep {
                    digest: *digest,
                    mgf: *mgf,
                };
                unpad_oaep(oaep, label, block, plaintext)
            }
            // Raw is done above.
            RsaEncryption::Raw | RsaEncryption::Pkcs1 => {
                unpad_pkcs1(block, ciphertext, rejection_key, plaintext)
            }
        }
    }
}

fn impossible() -> TokenError {
    TokenError::Corrupted(Reason::new(
        "the key store answered with something that is no RSA plaintext",
    ))
}
