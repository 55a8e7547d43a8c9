//! AES in Galois/Counter Mode (SP 800-38D), in one go.

use ctk_token::{Result, TokenError};
use zeroize::Zeroize;

use crate::sys::{self, CipherContext, Direction};

/// The longest IV, in bytes: what both libraries take.
pub const MAX_GCM_IV: usize = 128;

/// The longest text, in bytes (SP 800-38D §5.2.1.1).
pub(crate) const MAX_TEXT: u64 = (1 << 36) - 32;

/// Encrypts; ciphertext and tag go to the beginning of `out`, the sum of their lengths is returned.
///
/// An IV must never be used twice with a key. `key` has 16, 24 or 32 bytes, `iv` 1 to [`MAX_GCM_IV`], the tag 4, 8 or
/// 12 to 16.
///
/// # Errors
/// [`TokenError::BadParameter`] for other lengths and for an `out` that is too short, [`TokenError::DataLength`] for more
/// than 2³⁶ − 32 bytes.
pub fn gcm_encrypt(
    key: &[u8],
    iv: &[u8],
    aad: &[u8],
    tag_len: usize,
    plaintext: &[u8],
    out: &mut [u8],
) -> Result<usize> {
    let mut context = begin(Direction::Encrypt, key, iv, aad, tag_len)?;
    if plaintext.len() as u64 > MAX_TEXT {
        return Err(TokenError::DataLength);
    }
    let len = plaintext.len() + tag_len;
    let out = out.get_mut(..len).ok_or(TokenError::BadParameter)?;
    let (ciphertext, tag) = out.split_at_mut(plaintext.len());
    context.update(plaintext, ciphertext)?;
    context.finish_gcm(tag)?;
    Ok(len)
}

/// Decrypts a ciphertext with its tag behind it; the plaintext goes to the beginning of `out`, its length is returned. If the
/// tag is wrong, nothing of it stays there.
///
/// # Errors
/// [`TokenError::BadCiphertext`] if key, IV, additional data, ciphertext and tag do not belong together;
/// [`TokenError::BadParameter`] as [`gcm_encrypt`].
pub fn gcm_decrypt(
    key: &[u8],
    iv: &[u8],
    aad: &[u8],
    tag_len: usize,
    ciphertext: &[u8],
    out: &mut [u8],
) -> Result<usize> {
    let mut context = begin(Direction::Decrypt, key, iv, aad, tag_len)?;
    let len = ciphertext
        .len()
        .checked_sub(tag_len)
        .ok_or(TokenError::BadCiphertext)?;
    let out = out.get_mut(..len).ok_or(TokenError::BadParameter)?;
    open(&mut context, tag_len, ciphertext, out)?;
    Ok(len)
}

/// A context that has taken everything but the text.
pub(crate) fn begin(
    direction: Direction,
    key: &[u8],
    iv: &[u8],
    aad: &[u8],
    tag_len: usize,
) -> Result<CipherContext> {
    sys::ready();
    if !matches!(tag_len, 4 | 8 | 12..=16) || iv.len() > MAX_GCM_IV {
        return Err(TokenError::BadParameter);
    }
    CipherContext::begin_gcm(direction, key, iv, aad)
}

/// Decrypts into `plaintext`, which is as long as the ciphertext without its tag, and wipes it if the tag is wrong.
pub(crate) fn open(
    context: &mut CipherContext,
    tag_len: usize,
    ciphertext: &[u8],
    plaintext: &mut [u8],
) -> Result<()> {
    let split = ciphertext
        .len()
        .checked_sub(tag_len)
        .and_then(|text_len| ciphertext.split_at_checked(text_len));
    let (text, tag) = split.ok_or(TokenError::BadCiphertext)?;
    if text.len() as u64 > MAX_TEXT {
        return Err(TokenError::BadCiphertext);
    }
    context.update(text, plaintext)?;
    if !context.verify_gcm(tag)? {
        plaintext.zeroize();
        return Err(TokenError::BadCiphertext);
    }
    Ok(())
}
