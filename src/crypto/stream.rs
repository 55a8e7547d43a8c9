//! Symmetric ciphers over data in pieces: AES and triple DES.

use std::fmt;

use ctk_token::{Result, TokenError};
use openssl::cipher::{Cipher, CipherRef};
use zeroize::Zeroizing;

use crate::sys::{self, CipherContext, Direction};
use crate::{gcm, pkcs7};

/// The longest block of the ciphers here, in bytes: AES.
const MAX_BLOCK: usize = 16;

/// A cipher and how it is used on data longer than its block. AES takes keys of 16, 24 and 32 bytes, triple DES of 24.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CipherMode {
    /// AES block by block (SP 800-38A §6.1); no IV.
    AesEcb,
    /// AES-CBC over whole blocks (SP 800-38A §6.2); an IV of 16 bytes.
    AesCbc,
    /// AES-CBC with PKCS#7 padding (RFC 5652 §6.3), over any length.
    AesCbcPad,
    /// AES in counter mode (SP 800-38A §6.5); the IV is the first counter block, of 16 bytes.
    AesCtr {
        /// How many of the counter block's last bits count, 1 to 128. Data for which they would overflow is refused.
        counter_bits: u32,
    },
    /// AES-GCM (SP 800-38D); an IV of 1 to [`MAX_GCM_IV`](crate::MAX_GCM_IV) bytes. The tag stands after the ciphertext.
    AesGcm {
        /// Additional data that is authenticated and not encrypted.
        aad: Vec<u8>,
        /// The tag's length, in bytes: 4, 8 or 12 to 16.
        tag_len: usize,
    },
    /// Triple DES with three keys in CBC mode over whole blocks; an IV of 8 bytes.
    DesEde3Cbc,
    /// Triple DES with three keys in CBC mode with PKCS#7 padding.
    DesEde3CbcPad,
}

/// An encryption or decryption in progress.
///
/// What is ready after each piece is known beforehand: [`update_len`](Self::update_len). Only the decryption with padding
/// has an end of unknown length, and decryption by GCM keeps everything until the tag has been seen (PKCS#11 3.2 §6.13.2),
/// for which it allocates; nothing else does.
pub struct CipherStream {
    context: CipherContext,
    direction: Direction,
    form: Form,
    /// The beginning of a block, or a whole last block that has to wait for the end.
    pending: Zeroizing<[u8; MAX_BLOCK]>,
    pending_len: usize,
    /// What [`finish`](Self::finish) has said.
    outcome: Option<Result<End>>,
}

enum Form {
    Blocks {
        block: usize,
        padded: bool,
    },
    Counter {
        /// How many bytes may follow before the counter would overflow.
        left: u128,
    },
    Gcm {
        tag_len: usize,
        /// How many bytes have been encrypted.
        taken: u64,
        /// What waits for its tag.
        ciphertext: Vec<u8>,
    },
}

/// The last bytes of an output.
enum End {
    Short {
        bytes: Zeroizing<[u8; MAX_BLOCK]>,
        len: usize,
    },
    Whole(Zeroizing<Vec<u8>>),
}

impl fmt::Debug for CipherStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CipherStream({:?})", self.direction)
    }
}

impl CipherStream {
    /// Begins to encrypt.
    ///
    /// # Errors
    /// [`TokenError::BadParameter`] for a key or IV of another length than [`CipherMode`] says, and for its own numbers.
    pub fn encrypt(mode: &CipherMode, key: &[u8], iv: &[u8]) -> Result<Self> {
        Self::begin(mode, Direction::Encrypt, key, iv)
    }

    /// Begins to decrypt.
    ///
    /// # Errors
    /// As [`encrypt`](Self::encrypt).
    pub fn decrypt(mode: &CipherMode, key: &[u8], iv: &[u8]) -> Result<Self> {
        Self::begin(mode, Direction::Decrypt, key, iv)
    }

    /// How many bytes [`update`](Self::update) will write for as many bytes of input: never more than the input and what was
    /// kept from before.
    pub fn update_len(&self, input_len: usize) -> usize {
        match &self.form {
            Form::Blocks { block, .. } => {
                // No slice is so long that this saturates.
                let all = self.pending_len.saturating_add(input_len);
                let last_waits = self.holds_last_block() && all > 0;
                let kept = if last_waits {
                    (all - 1) % block + 1
                } else {
                    all % block
                };
                all - kept
            }
            Form::Counter { .. } => input_len,
            Form::Gcm { .. } if self.direction == Direction::Decrypt => 0,
            Form::Gcm { .. } => input_len,
        }
    }

    /// How many bytes [`finish`](Self::finish) will give at most; exactly as many, but for a decryption with padding that has
    /// not been finished yet.
    pub fn finish_len(&self) -> usize {
        if let Some(outcome) = &self.outcome {
            return outcome.as_ref().map_or(0, |end| end.bytes().len());
        }
        match (&self.form, self.direction) {
            (Form::Blocks { padded: false, .. } | Form::Counter { .. }, _) => 0,
            (Form::Blocks { block, .. }, Direction::Encrypt) => *block,
            (Form::Blocks { block, .. }, Direction::Decrypt) => block - 1,
            (Form::Gcm { tag_len, .. }, Direction::Encrypt) => *tag_len,
            (
                Form::Gcm {
                    tag_len,
                    ciphertext,
                    ..
                },
                Direction::Decrypt,
            ) => ciphertext.len().saturating_sub(*tag_len),
        }
    }

    /// Takes the next piece and writes what is ready to the beginning of `out`; returns its length.
    ///
    /// # Errors
    /// Nothing has been taken after [`TokenError::BadParameter`], which says that `out` is shorter than
    /// [`update_len`](Self::update_len) or the stream has been finished. [`TokenError::DataLength`] if a counter would
    /// overflow or GCM's limit of 2³⁶ − 32 bytes is passed.
    pub fn update(&mut self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        let ready = self.update_len(input.len());
        let out = out.get_mut(..ready).ok_or(TokenError::BadParameter)?;
        if self.outcome.is_some() {
            return Err(TokenError::BadParameter);
        }
        match &mut self.form {
            Form::Blocks { block, .. } => {
                let block = *block;
                self.update_blocks(block, input, out)?;
            }
            Form::Counter { left } => {
                let rest = left.checked_sub(input.len() as u128);
                *left = rest.ok_or(TokenError::DataLength)?;
                self.context.update(input, out)?;
            }
            Form::Gcm {
                taken, ciphertext, ..
            } => {
                let all = taken.saturating_add(input.len() as u64);
                if all > gcm::MAX_TEXT {
                    return Err(TokenError::DataLength);
                }
                *taken = all;
                match self.direction {
                    Direction::Encrypt => self.context.update(input, out)?,
                    Direction::Decrypt => {
                        let room = ciphertext.try_reserve(input.len());
                        room.map_err(|_| TokenError::DataLength)?;
                        ciphertext.extend_from_slice(input);
                    }
                }
            }
        }
        Ok(ready)
    }

    /// Ends, and gives the last bytes of the output: the padded block, the tag, what was in the last block, or for a
    /// decryption by GCM everything. A second call gives the same again, so a caller may find his buffer too short.
    ///
    /// # Errors
    /// [`TokenError::DataLength`] if a mode without padding was given part of a block. [`TokenError::BadCiphertext`] for
    /// every fault of a ciphertext with padding or a tag.
    pub fn finish(&mut self) -> Result<&[u8]> {
        if self.outcome.is_none() {
            self.outcome = Some(self.end());
        }
        match &self.outcome {
            Some(Ok(end)) => Ok(end.bytes()),
            Some(Err(error)) => Err(error.clone()),
            None => Ok(&[]),
        }
    }

    /// A second stream in the same state, for who has to try what the end is.
    ///
    /// # Errors
    /// [`TokenError::BadParameter`] after [`finish`](Self::finish).
    pub fn try_clone(&self) -> Result<Self> {
        if self.outcome.is_some() {
            return Err(TokenError::BadParameter);
        }
        Ok(Self {
            context: self.context.try_clone()?,
            direction: self.direction,
            form: match &self.form {
                Form::Blocks { block, padded } => Form::Blocks {
                    block: *block,
                    padded: *padded,
                },
                Form::Counter { left } => Form::Counter { left: *left },
                Form::Gcm {
                    tag_len,
                    taken,
                    ciphertext,
                } => Form::Gcm {
                    tag_len: *tag_len,
                    taken: *taken,
                    ciphertext: ciphertext.clone(),
                },
            },
            pending: self.pending.clone(),
            pending_len: self.pending_len,
            outcome: None,
        })
    }

    fn begin(mode: &CipherMode, direction: Direction, key: &[u8], iv: &[u8]) -> Result<Self> {
        sys::ready();
        let cipher = || library_cipher(mode, key.len()).ok_or(TokenError::BadParameter);
        let (context, form) = match mode {
            CipherMode::AesGcm { aad, tag_len } => {
                let form = Form::Gcm {
                    tag_len: *tag_len,
                    taken: 0,
                    ciphertext: Vec::new(),
                };
                (gcm::begin(direction, key, iv, aad, *tag_len)?, form)
            }
            CipherMode::AesCtr { counter_bits } => {
                let left = counter_range(*counter_bits, iv)?;
                let context = CipherContext::begin(cipher()?, direction, key, iv)?;
                (context, Form::Counter { left })
            }
            _ => {
                let padded = matches!(mode, CipherMode::AesCbcPad | CipherMode::DesEde3CbcPad);
                let cipher = cipher()?;
                let block = cipher.block_size();
                let context = CipherContext::begin(cipher, direction, key, iv)?;
                (context, Form::Blocks { block, padded })
            }
        };
        Ok(Self {
            context,
            direction,
            form,
            pending: Zeroizing::new([0; MAX_BLOCK]),
            pending_len: 0,
            outcome: None,
        })
    }

    /// Whether a whole block may be the last one, which has the padding in it.
    fn holds_last_block(&self) -> bool {
        self.direction == Direction::Decrypt
            && matches!(self.form, Form::Blocks { padded: true, .. })
    }

    /// `out` has room for exactly what is ready.
    fn update_blocks(&mut self, block: usize, input: &[u8], out: &mut [u8]) -> Result<()> {
        let mut input = input;
        let mut out = out;
        if self.pending_len > 0 && !out.is_empty() {
            let missing = block - self.pending_len;
            let (head, rest) = input
                .split_at_checked(missing)
                .ok_or(TokenError::BadParameter)?;
            self.keep(head)?;
            let (first, others) = out
                .split_at_mut_checked(block)
                .ok_or(TokenError::BadParameter)?;
            let pending = self.pending.get(..block).unwrap_or_default();
            self.context.update(pending, first)?;
            self.pending_len = 0;
            (input, out) = (rest, others);
        }
        let (whole, rest) = input
            .split_at_checked(out.len())
            .ok_or(TokenError::BadParameter)?;
        self.context.update(whole, out)?;
        self.keep(rest)
    }

    /// Appends to what is pending.
    fn keep(&mut self, bytes: &[u8]) -> Result<()> {
        let end = self.pending_len + bytes.len();
        let place = self.pending.get_mut(self.pending_len..end);
        place
            .ok_or(TokenError::BadParameter)?
            .copy_from_slice(bytes);
        self.pending_len = end;
        Ok(())
    }

    fn end(&mut self) -> Result<End> {
        match (&self.form, self.direction) {
            (Form::Blocks { padded: false, .. }, _) if self.pending_len > 0 => {
                Err(TokenError::DataLength)
            }
            (Form::Blocks { padded: false, .. } | Form::Counter { .. }, _) => Ok(End::empty()),
            (Form::Blocks { block, .. }, Direction::Encrypt) => {
                let block = *block;
                let last = self.pending.get_mut(..block).unwrap_or_default();
                pkcs7::pad(last, self.pending_len);
                self.last_block(block)
            }
            (Form::Blocks { block, .. }, Direction::Decrypt) => {
                let block = *block;
                if self.pending_len != block {
                    return Err(TokenError::BadCiphertext);
                }
                let padded = self.last_block(block)?;
                let len = pkcs7::unpadded_len(padded.bytes(), block);
                let len = len.ok_or(TokenError::BadCiphertext)?;
                Ok(padded.first(len))
            }
            (Form::Gcm { tag_len, .. }, Direction::Encrypt) => {
                let len = *tag_len;
                let mut bytes = Zeroizing::new([0; MAX_BLOCK]);
                let tag = bytes.get_mut(..len).ok_or(TokenError::BadParameter)?;
                self.context.finish_gcm(tag)?;
                Ok(End::Short { bytes, len })
            }
            (
                Form::Gcm {
                    tag_len,
                    ciphertext,
                    ..
                },
                Direction::Decrypt,
            ) => {
                let text = ciphertext.len().saturating_sub(*tag_len);
                let mut plaintext = Zeroizing::new(Vec::new());
                let room = plaintext.try_reserve_exact(text);
                room.map_err(|_| TokenError::DataLength)?;
                plaintext.resize(text, 0);
                gcm::open(&mut self.context, *tag_len, ciphertext, &mut plaintext)?;
                Ok(End::Whole(plaintext))
            }
        }
    }

    /// Runs the pending block.
    fn last_block(&mut self, block: usize) -> Result<End> {
        let mut bytes = Zeroizing::new([0; MAX_BLOCK]);
        let pending = self.pending.get(..block).unwrap_or_default();
        let out = bytes.get_mut(..block).unwrap_or_default();
        self.context.update(pending, out)?;
        Ok(End::Short { bytes, len: block })
    }
}

impl End {
    fn empty() -> Self {
        Self::Short {
            bytes: Zeroizing::new([0; MAX_BLOCK]),
            len: 0,
        }
    }

    fn first(mut self, count: usize) -> Self {
        match &mut self {
            Self::Short { len, .. } => *len = count,
            Self::Whole(bytes) => bytes.truncate(count),
        }
        self
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Short { bytes, len } => bytes.get(..*len).unwrap_or_default(),
            Self::Whole(bytes) => bytes,
        }
    }
}

/// The library's cipher; `None` for a key of a wrong length, and for GCM, which begins in a way of its own.
fn library_cipher(mode: &CipherMode, key_len: usize) -> Option<&'static CipherRef> {
    Some(match (mode, key_len) {
        (CipherMode::AesEcb, 16) => Cipher::aes_128_ecb(),
        (CipherMode::AesEcb, 24) => Cipher::aes_192_ecb(),
        (CipherMode::AesEcb, 32) => Cipher::aes_256_ecb(),
        (CipherMode::AesCbc | CipherMode::AesCbcPad, 16) => Cipher::aes_128_cbc(),
        (CipherMode::AesCbc | CipherMode::AesCbcPad, 24) => Cipher::aes_192_cbc(),
        (CipherMode::AesCbc | CipherMode::AesCbcPad, 32) => Cipher::aes_256_cbc(),
        (CipherMode::AesCtr { .. }, 16) => Cipher::aes_128_ctr(),
        (CipherMode::AesCtr { .. }, 24) => Cipher::aes_192_ctr(),
        (CipherMode::AesCtr { .. }, 32) => Cipher::aes_256_ctr(),
        (CipherMode::DesEde3Cbc | CipherMode::DesEde3CbcPad, 24) => Cipher::des_ede3_cbc(),
        _ => return None,
    })
}

/// How many bytes a counter in the last `bits` bits of this block is good for (PKCS#11 3.2 §6.11.3: "allow the final post
/// increment to overflow").
fn counter_range(bits: u32, iv: &[u8]) -> Result<u128> {
    let unused = 128_u32.checked_sub(bits).ok_or(TokenError::BadParameter)?;
    let mask = u128::MAX
        .checked_shr(unused)
        .ok_or(TokenError::BadParameter)?;
    let block = <[u8; MAX_BLOCK]>::try_from(iv).map_err(|_| TokenError::BadParameter)?;
    let increments = mask - (u128::from_be_bytes(block) & mask);
    Ok(increments.saturating_add(1).saturating_mul(16))
}
