//! RSA private keys: the raw operation for every input, and the secret behind implicit rejection.

use ctk_token::{Digest, Reason, Result, TokenError};
use openssl::{
    pkey::{PKey, Private},
    rsa::{Padding, Rsa},
};
use zeroize::Zeroizing;

use crate::{digest::Hasher, rsa_check, sys};

/// The moduli that are taken, in bits: shorter ones are broken, longer ones are in nobody's use and slow.
pub(crate) const BITS: std::ops::RangeInclusive<u32> = 1024..=8192;

/// An RSA private key. Used directly: the library blinds, uses the Chinese remainders and checks their result.
pub(crate) struct RsaKey {
    key: Rsa<Private>,
    /// SHA-256 of the private exponent, as long as the modulus: the key of implicit rejection, as OpenSSL 3.2 makes it.
    /// Boxed, because a move of the key would leave a copy behind.
    rejection_key: Box<Zeroizing<[u8; 32]>>,
}

impl RsaKey {
    /// Checks that the numbers belong together: a wrong signature can give the key away.
    pub(crate) fn new(key: &PKey<Private>) -> Result<Self> {
        let key = key.rsa().map_err(|_| unsound())?;
        let bits = u32::try_from(key.n().num_bits()).unwrap_or(0);
        if !BITS.contains(&bits) {
            return Err(TokenError::Corrupted(Reason::new(format!(
                "an RSA key of {bits} bits is not used, only those of {} to {}: replace it",
                BITS.start(),
                BITS.end()
            ))));
        }
        if !rsa_check::is_sound(&key) {
            return Err(unsound());
        }
        let exponent = key.d().to_vec_padded(key.size() as i32);
        let exponent = Zeroizing::new(exponent.map_err(|_| unsound())?);
        let mut rejection_key = Box::new(Zeroizing::new([0; 32]));
        let mut hasher = Hasher::new(Digest::Sha256)?;
        hasher.update(&exponent)?;
        hasher.finish_into(&mut **rejection_key)?;
        Ok(Self { key, rejection_key })
    }

    /// See [`Decryption::finish`](crate::Decryption::finish).
    pub(crate) fn rejection_key(&self) -> &[u8; 32] {
        &self.rejection_key
    }

    /// m^d mod n (RFC 8017 §5.1.2, §5.2.1): of a block as long as the modulus, which anybody may know, makes one of the
    /// same length. The caller is inside the library.
    ///
    /// # Errors
    /// [`TokenError::DataLength`] for a block of another length, [`TokenError::DataInvalid`] for one that is not below
    /// the modulus, [`TokenError::BadParameter`] if `out` is shorter than the modulus.
    pub(crate) fn raw(&self, modulus: &[u8], block: &[u8], out: &mut [u8]) -> Result<usize> {
        let out = out
            .get_mut(..modulus.len())
            .ok_or(TokenError::BadParameter)?;
        check_block(modulus, block)?;
        if is_fixed(modulus, block) {
            out.copy_from_slice(block);
            return Ok(block.len());
        }
        self.key
            .private_encrypt(block, out, Padding::NONE)
            .map_err(sys::failed)
    }
}

/// Whether a block is a number that the raw operations take. Of equal length, so bytes compare like numbers.
pub(crate) fn check_block(modulus: &[u8], block: &[u8]) -> Result<()> {
    if block.len() != modulus.len() {
        return Err(TokenError::DataLength);
    }
    if block >= modulus {
        return Err(TokenError::DataInvalid);
    }
    Ok(())
}

/// Whether a block is 0, 1 or n − 1: its own power for every odd exponent, and RSA has no others. AWS-LC refuses these.
pub(crate) fn is_fixed(modulus: &[u8], block: &[u8]) -> bool {
    let (Some((last, rest)), Some((modulus_last, modulus_rest))) =
        (block.split_last(), modulus.split_last())
    else {
        return false;
    };
    let below_two = *last < 2 && rest.iter().all(|byte| *byte == 0);
    // The modulus is odd.
    below_two || (rest == modulus_rest && *last == modulus_last & !1)
}

pub(crate) fn unsound() -> TokenError {
    TokenError::Corrupted(Reason::new(
        "the private key is damaged: restore the file from a copy",
    ))
}
