//! What stands in a decrypted RSA block, found out in constant time (RFC 8017 §7).
//!
//! Whoever learns for chosen ciphertexts whether the padding was right can decrypt any other one (Bleichenbacher, Manger).
//! So nothing here branches on a byte of the block or on what was found in it, and nothing is addressed by it: every byte
//! is read and written each time, conditions are masks of `subtle`, and a message moves to its place by a fixed number of
//! shifts. What remains visible is the answer itself: the length of a v1.5 plaintext, which may be a made-up one, and
//! whether an OAEP block was right as a whole.

use ctk_token::{Digest, Oaep, Result, TokenError};
use subtle::{
    Choice, ConditionallySelectable, ConstantTimeEq, ConstantTimeGreater, ConstantTimeLess,
};
use zeroize::Zeroizing;

use crate::encoding::{Block, MAX_BLOCK, mask};
use crate::{digest, mac::hmac_into};

/// The shortest padding of a v1.5 block: 00 02, eight other bytes, 00 (RFC 8017 §7.2.1).
pub(crate) const PKCS1_PADDING: usize = 11;

/// The message in a v1.5 block; for a wrong block a message that depends on the key and the ciphertext only (implicit
/// rejection), byte for byte the one that OpenSSL makes since 3.2: what two programs make of the same key must not differ,
/// or their difference would be the oracle again.
///
/// `rejection_key` is SHA-256 of the private exponent in OpenSSL, and `ciphertext` is as long as `block`. The message goes to the
/// start of `out`, zeros follow it; its length is returned.
///
/// # Errors
/// [`TokenError::BadParameter`] if `block` is not 11 to [`MAX_BLOCK`] bytes or `out` more than 11 shorter than `block`.
/// Both have nothing to do with their contents.
pub(crate) fn unpad_pkcs1(
    block: &mut [u8],
    ciphertext: &[u8],
    rejection_key: &[u8; 32],
    out: &mut [u8],
) -> Result<usize> {
    let len = block.len();
    let longest = len
        .checked_sub(PKCS1_PADDING)
        .ok_or(TokenError::BadParameter)?;
    let out = out.get_mut(..longest).ok_or(TokenError::BadParameter)?;
    let mut made_up = Block::new([0; MAX_BLOCK]);
    let made_up = made_up.get_mut(..len).ok_or(TokenError::BadParameter)?;
    let mut derived_key = Zeroizing::new([0; 32]);
    hmac_into(Digest::Sha256, rejection_key, ciphertext, &mut *derived_key)?;
    expand(&*derived_key, b"message", made_up)?;
    let made_up_len = made_up_len(&*derived_key, longest)?;

    // 00 02 and no zero in the next eight bytes; the message begins after the first zero.
    let mut right = Choice::from(1);
    let mut separator = 0_u32;
    let mut found = Choice::from(0);
    for (at, byte) in (0_u32..).zip(block.iter()) {
        match at {
            0 => right &= byte.ct_eq(&0),
            1 => right &= byte.ct_eq(&2),
            _ => {
                let zero = byte.ct_eq(&0);
                separator.conditional_assign(&at, zero & !found);
                found |= zero;
            }
        }
    }
    right &= found & !separator.ct_lt(&(PKCS1_PADDING as u32 - 1));

    for (byte, other) in block.iter_mut().zip(made_up.iter()) {
        byte.conditional_assign(other, !right);
    }
    let start = u32::conditional_select(&(len as u32 - made_up_len), &(separator + 1), right);
    shift_left(block, start);
    for (place, byte) in out.iter_mut().zip(block.iter()) {
        *place = *byte;
    }
    Ok(len - start as usize)
}

/// The message in an OAEP block (RFC 8017 §7.1.2 step 3) goes to the start of `out`, zeros follow it; its length is
/// returned. `block` is undone in place.
///
/// # Errors
/// [`TokenError::BadCiphertext`] whatever is wrong with the block, [`TokenError::BadParameter`] if it is too short for the
/// hash or `out` too short for the longest message.
pub(crate) fn unpad_oaep(
    oaep: Oaep,
    label: &[u8],
    block: &mut [u8],
    out: &mut [u8],
) -> Result<usize> {
    let longest = oaep_room(oaep, block.len()).ok_or(TokenError::BadParameter)?;
    let out = out.get_mut(..longest).ok_or(TokenError::BadParameter)?;
    let hash_len = oaep.digest.len();
    let label_hash = digest::hash(oaep.digest, label)?;

    // 00 ‖ seed ‖ data with data = hash of the label ‖ 00 … 00 ‖ 01 ‖ message; oaep_room has left room for all.
    let (first, rest) = block.split_at_mut(1);
    let (seed, data) = rest.split_at_mut(hash_len);
    mask(oaep.mgf, data, seed)?;
    mask(oaep.mgf, seed, data)?;
    let (hash, message) = data.split_at_mut(hash_len);
    let mut right = (*first).ct_eq(&[0]) & (*hash).ct_eq(&label_hash);
    let mut start = 0_u32;
    let mut found = Choice::from(0);
    for (at, byte) in (0_u32..).zip(message.iter()) {
        let (zero, one) = (byte.ct_eq(&0), byte.ct_eq(&1));
        start.conditional_assign(&(at + 1), one & !found);
        right &= found | zero | one;
        found |= one;
    }
    right &= found;

    let message_len = message.len() as u32 - start;
    shift_left(message, start);
    for (place, byte) in out.iter_mut().zip(message.iter()) {
        *place = u8::conditional_select(&0, byte, right);
    }
    // The one thing that everybody learns.
    if bool::from(right) {
        Ok(message_len as usize)
    } else {
        Err(TokenError::BadCiphertext)
    }
}

/// The longest message that fits a block with these parameters (RFC 8017 §7.1.1 step 1), in bytes.
pub(crate) fn oaep_room(oaep: Oaep, block_len: usize) -> Option<usize> {
    block_len.checked_sub(2 * oaep.digest.len() + 2)
}

/// Moves everything `by` bytes towards the start and fills the end with zeros, by steps that are taken or not: neither
/// their number nor what they touch depends on `by`, which is at most the length.
fn shift_left(bytes: &mut [u8], by: u32) {
    let len = bytes.len();
    for bit in 0..=len.checked_ilog2().unwrap_or(0) {
        let wanted = Choice::from((by >> bit) as u8 & 1);
        for at in 0..len {
            let other = bytes.get(at + (1 << bit)).copied().unwrap_or(0);
            if let Some(byte) = bytes.get_mut(at) {
                byte.conditional_assign(&other, wanted);
            }
        }
    }
}

/// How long a made-up message is: the last of 128 numbers that is not longer than the longest message, or 0. A number is
/// cut to as many bits as the longest has, so that one of 128 fits but for a chance of 2^-128.
fn made_up_len(derived_key: &[u8], longest: usize) -> Result<u32> {
    let mut candidates = Zeroizing::new([0; 256]);
    expand(derived_key, b"length", &mut *candidates)?;
    let above = longest as u32 + 1;
    let bits = above.checked_ilog2().map_or(0, |bits| (2 << bits) - 1);
    let mut len = 0_u32;
    for pair in candidates.chunks_exact(2) {
        let candidate = pair
            .iter()
            .fold(0, |number, byte| number << 8 | u32::from(*byte))
            & bits;
        len.conditional_assign(&candidate, !(candidate.ct_gt(&(above - 1))));
    }
    Ok(len)
}

/// Fills with HMAC-SHA256 of counter ‖ label ‖ length in bits (draft-irtf-cfrg-rsa-guidance §7.1).
fn expand(key: &[u8], label: &[u8], out: &mut [u8]) -> Result<()> {
    let bits = u16::try_from(8 * out.len()).map_err(|_| TokenError::BadParameter)?;
    let mut code = Zeroizing::new([0; 32]);
    for (counter, chunk) in (0_u16..).zip(out.chunks_mut(32)) {
        let input = [&counter.to_be_bytes()[..], label, &bits.to_be_bytes()].concat();
        hmac_into(Digest::Sha256, key, &input, &mut *code)?;
        for (byte, made) in chunk.iter_mut().zip(&*code) {
            *byte = *made;
        }
    }
    Ok(())
}
