//! AES key wrap (RFC 3394, RFC 5649, SP 800-38F), over the library's AES.
//!
//! The libraries have it with other initial values than the default only in part, and OpenSSL's own goes around the
//! processor's AES instructions.

use ctk_token::{Result, TokenError};
use openssl::cipher::Cipher;
use subtle::{ConstantTimeEq, ConstantTimeLess};
use zeroize::{Zeroize, Zeroizing};

use crate::sys::{self, CipherContext, Direction};
use crate::{constant_time_eq, pkcs7};

/// Half a block of AES, in bytes: the unit of key wrap.
const SEMIBLOCK: usize = 8;
/// RFC 3394 §2.2.3.1.
const DEFAULT_IV: [u8; 8] = [0xa6; 8];
/// RFC 5649 §3.
const DEFAULT_PADDED_IV: [u8; 4] = [0xa6, 0x59, 0x59, 0xa6];

/// Wraps whole semiblocks (RFC 3394 §2.2.1; CKM_AES_KEY_WRAP). The result, 8 bytes longer than `data`, goes to the beginning
/// of `out`; its length is returned. `key` has 16, 24 or 32 bytes, an `iv` that is not the default one 8.
///
/// # Errors
/// [`TokenError::DataLength`] if `data` is not a multiple of 8 bytes, or fewer than 16; [`TokenError::BadParameter`] for
/// another length of `key` or `iv`, and for an `out` that is too short.
pub fn key_wrap(key: &[u8], iv: Option<&[u8]>, data: &[u8], out: &mut [u8]) -> Result<usize> {
    let iv = iv_or(iv, DEFAULT_IV)?;
    if data.len() < 2 * SEMIBLOCK || !data.len().is_multiple_of(SEMIBLOCK) {
        return Err(TokenError::DataLength);
    }
    let out = first(out, data.len().checked_add(SEMIBLOCK))?;
    let (_, text) = out.split_at_mut(SEMIBLOCK);
    text.copy_from_slice(data);
    wrap(key, iv, out)
}

/// Unwraps what [`key_wrap`] made; `out` needs 8 bytes less than `wrapped` has.
///
/// # Errors
/// [`TokenError::BadCiphertext`] whatever is wrong with `wrapped`, its length too, after which nothing of it is in `out`;
/// [`TokenError::BadParameter`] as [`key_wrap`].
pub fn key_unwrap(key: &[u8], iv: Option<&[u8]>, wrapped: &[u8], out: &mut [u8]) -> Result<usize> {
    let expected = iv_or(iv, DEFAULT_IV)?;
    if wrapped.len() < 3 * SEMIBLOCK {
        return Err(TokenError::BadCiphertext);
    }
    let (iv, text) = unwrap(key, wrapped, out)?;
    if !constant_time_eq(&*iv, &expected) {
        text.zeroize();
        return Err(TokenError::BadCiphertext);
    }
    Ok(text.len())
}

/// Wraps any length (RFC 5649 §4.1; CKM_AES_KEY_WRAP_KWP). The result is 9 to 16 bytes longer than `data`:
/// [`key_wrap_padded_len`]. An `iv` that is not the default one has 4 bytes.
///
/// # Errors
/// [`TokenError::DataLength`] for no byte or 2³² and more; otherwise as [`key_wrap`].
pub fn key_wrap_padded(
    key: &[u8],
    iv: Option<&[u8]>,
    data: &[u8],
    out: &mut [u8],
) -> Result<usize> {
    let mark = iv_or(iv, DEFAULT_PADDED_IV)?;
    let len = u32::try_from(data.len()).map_err(|_| TokenError::DataLength)?;
    if data.is_empty() {
        return Err(TokenError::DataLength);
    }
    let out = first(out, key_wrap_padded_len(data.len()))?;
    let mut iv = [0; SEMIBLOCK];
    for (byte, from) in iv.iter_mut().zip(mark.into_iter().chain(len.to_be_bytes())) {
        *byte = from;
    }
    let (_, padded) = out.split_at_mut(SEMIBLOCK);
    padded.fill(0);
    for (byte, from) in padded.iter_mut().zip(data) {
        *byte = *from;
    }
    wrap(key, iv, out)
}

/// How long [`key_wrap_padded`] makes this many bytes; `None` if that cannot be.
pub fn key_wrap_padded_len(data_len: usize) -> Option<usize> {
    data_len
        .checked_next_multiple_of(SEMIBLOCK)?
        .checked_add(SEMIBLOCK)
}

/// Unwraps what [`key_wrap_padded`] made and returns the length without padding; `out` needs 8 bytes less than `wrapped` has.
///
/// # Errors
/// As [`key_unwrap`].
pub fn key_unwrap_padded(
    key: &[u8],
    iv: Option<&[u8]>,
    wrapped: &[u8],
    out: &mut [u8],
) -> Result<usize> {
    let mark = iv_or(iv, DEFAULT_PADDED_IV)?;
    let (iv, text) = unwrap(key, wrapped, out)?;
    match padded_len(&iv, mark, text) {
        Some(len) => Ok(len),
        None => {
            text.zeroize();
            Err(TokenError::BadCiphertext)
        }
    }
}

/// Wraps 8 bytes and more, filled up to whole semiblocks as PKCS#7 has it (PKCS#11 3.2 §6.16.3.4; CKM_AES_KEY_WRAP_PKCS7). The
/// result is 9 to 16 bytes longer than `data`.
///
/// # Errors
/// [`TokenError::DataLength`] for fewer than 8 bytes, which would be one semiblock; otherwise as [`key_wrap`].
pub fn key_wrap_pkcs7(key: &[u8], iv: Option<&[u8]>, data: &[u8], out: &mut [u8]) -> Result<usize> {
    let iv = iv_or(iv, DEFAULT_IV)?;
    if data.len() < SEMIBLOCK {
        return Err(TokenError::DataLength);
    }
    let out = first(out, data.len().checked_add(1).and_then(key_wrap_padded_len))?;
    let (_, padded) = out.split_at_mut(SEMIBLOCK);
    for (byte, from) in padded.iter_mut().zip(data) {
        *byte = *from;
    }
    pkcs7::pad(padded, data.len());
    wrap(key, iv, out)
}

/// Unwraps what [`key_wrap_pkcs7`] made and returns the length without padding; `out` needs 8 bytes less than `wrapped` has.
///
/// # Errors
/// As [`key_unwrap`].
pub fn key_unwrap_pkcs7(
    key: &[u8],
    iv: Option<&[u8]>,
    wrapped: &[u8],
    out: &mut [u8],
) -> Result<usize> {
    let len = key_unwrap(key, iv, wrapped, out)?;
    let text = first(out, Some(len))?;
    match pkcs7::unpadded_len(text, SEMIBLOCK) {
        Some(len) => Ok(len),
        None => {
            text.zeroize();
            Err(TokenError::BadCiphertext)
        }
    }
}

fn iv_or<const LEN: usize>(iv: Option<&[u8]>, default: [u8; LEN]) -> Result<[u8; LEN]> {
    match iv {
        Some(iv) => iv.try_into().map_err(|_| TokenError::BadParameter),
        None => Ok(default),
    }
}

fn first(out: &mut [u8], len: Option<usize>) -> Result<&mut [u8]> {
    len.and_then(|len| out.get_mut(..len))
        .ok_or(TokenError::BadParameter)
}

/// AES on single blocks.
struct Blocks(CipherContext);

impl Blocks {
    fn begin(direction: Direction, key: &[u8]) -> Result<Self> {
        sys::ready();
        let cipher = match key.len() {
            16 => Cipher::aes_128_ecb(),
            24 => Cipher::aes_192_ecb(),
            32 => Cipher::aes_256_ecb(),
            _ => return Err(TokenError::BadParameter),
        };
        CipherContext::begin(cipher, direction, key, &[]).map(Self)
    }

    /// A block of two halves, which take the result.
    fn run(&mut self, left: &mut [u8; SEMIBLOCK], right: &mut [u8]) -> Result<()> {
        let mut input = Zeroizing::new([0; 2 * SEMIBLOCK]);
        let mut output = Zeroizing::new([0; 2 * SEMIBLOCK]);
        for (byte, from) in input.iter_mut().zip(left.iter().chain(right.iter())) {
            *byte = *from;
        }
        self.0.update(&*input, &mut *output)?;
        for (byte, from) in left.iter_mut().chain(right).zip(output.iter()) {
            *byte = *from;
        }
        Ok(())
    }
}

/// RFC 3394 §2.2.1 (index based) over the semiblocks of `out` but the first, which takes the last value of the register.
fn wrap(key: &[u8], iv: [u8; SEMIBLOCK], out: &mut [u8]) -> Result<usize> {
    let len = out.len();
    let mut blocks = Blocks::begin(Direction::Encrypt, key).inspect_err(|_| out.zeroize())?;
    let (start, text) = out.split_at_mut(SEMIBLOCK);
    let mut register = iv;
    if text.len() == SEMIBLOCK {
        // RFC 5649 §4.1: one semiblock is one block, encrypted once.
        blocks.run(&mut register, text)?;
    } else {
        let mut step = 0_u64;
        for _ in 0..6 {
            for semiblock in text.chunks_exact_mut(SEMIBLOCK) {
                blocks.run(&mut register, semiblock)?;
                step += 1;
                add(&mut register, step);
            }
        }
    }
    start.copy_from_slice(&register);
    Ok(len)
}

/// RFC 3394 §2.2.2 into the beginning of `out`: the register's value, which proves integrity, and the text.
fn unwrap<'a>(
    key: &[u8],
    wrapped: &[u8],
    out: &'a mut [u8],
) -> Result<(Zeroizing<[u8; SEMIBLOCK]>, &'a mut [u8])> {
    let mut blocks = Blocks::begin(Direction::Decrypt, key)?;
    let (start, rest) = wrapped
        .split_first_chunk::<SEMIBLOCK>()
        .filter(|(_, rest)| !rest.is_empty() && rest.len().is_multiple_of(SEMIBLOCK))
        .ok_or(TokenError::BadCiphertext)?;
    let text = first(out, Some(rest.len()))?;
    text.copy_from_slice(rest);
    let mut register = Zeroizing::new(*start);
    if text.len() == SEMIBLOCK {
        blocks.run(&mut register, text)?;
    } else {
        let mut step = 6 * (text.len() / SEMIBLOCK) as u64;
        for _ in 0..6 {
            for semiblock in text.chunks_exact_mut(SEMIBLOCK).rev() {
                add(&mut register, step);
                step -= 1;
                blocks.run(&mut register, semiblock)?;
            }
        }
    }
    Ok((register, text))
}

fn add(register: &mut [u8; SEMIBLOCK], step: u64) {
    *register = (u64::from_be_bytes(*register) ^ step).to_be_bytes();
}

/// RFC 5649 §3's three checks, all of them made whatever the first says.
fn padded_len(iv: &[u8; SEMIBLOCK], mark: [u8; 4], text: &[u8]) -> Option<usize> {
    let (found, len) = iv.split_at(4);
    let len = u64::from(u32::from_be_bytes(len.try_into().ok()?));
    // Wraps around to a large number if the length is too large.
    let padding = (text.len() as u64).wrapping_sub(len);
    let mut right = found.ct_eq(&mark) & padding.ct_lt(&(SEMIBLOCK as u64));
    for (place, byte) in (0..SEMIBLOCK as u64).zip(text.iter().rev()) {
        right &= !place.ct_lt(&padding) | byte.ct_eq(&0);
    }
    bool::from(right).then_some(len as usize)
}
