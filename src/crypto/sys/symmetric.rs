//! Calls of symmetric cryptography that the safe bindings lack.

use std::ptr::NonNull;

use ctk_token::{Result, TokenError};
use foreign_types::ForeignTypeRef;
use openssl::cipher::{Cipher, CipherRef};
use openssl::cipher_ctx::CipherCtx;
use openssl::error::ErrorStack;

use super::failed;

/// The library counts in C ints. Of whole blocks, so that only the last chunk has an odd end.
const CHUNK: usize = 1 << 20;

/// Which way a cipher goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Direction {
    Encrypt,
    Decrypt,
}

/// An AES-CMAC in progress, always begun.
pub(crate) struct CmacContext(NonNull<openssl_sys::CMAC_CTX>);

// SAFETY: the context is this value's alone and the library keeps nothing of it in the thread.
unsafe impl Send for CmacContext {}

impl CmacContext {
    /// The code's length, in bytes.
    pub(crate) const LEN: usize = 16;

    pub(crate) fn begin(key: &[u8]) -> Result<Self> {
        let cipher = match key.len() {
            16 => Cipher::aes_128_cbc(),
            24 => Cipher::aes_192_cbc(),
            32 => Cipher::aes_256_cbc(),
            _ => return Err(TokenError::BadParameter),
        };
        // SAFETY: a new context, freed by drop, is keyed with a slice of the cipher's own length.
        let begun = unsafe {
            NonNull::new(openssl_sys::CMAC_CTX_new())
                .map(Self)
                .filter(|context| {
                    let (key, len) = (key.as_ptr().cast(), key.len());
                    let (context, engine) = (context.0.as_ptr(), std::ptr::null_mut());
                    openssl_sys::CMAC_Init(context, key, len, cipher.as_ptr(), engine) == 1
                })
        };
        begun.ok_or_else(|| failed(ErrorStack::get()))
    }

    pub(crate) fn update(&mut self, data: &[u8]) -> Result<()> {
        // SAFETY: the context is alive, begun and borrowed mutably.
        let status =
            unsafe { openssl_sys::CMAC_Update(self.0.as_ptr(), data.as_ptr().cast(), data.len()) };
        if status != 1 {
            return Err(failed(ErrorStack::get()));
        }
        Ok(())
    }

    pub(crate) fn finish(&mut self, out: &mut [u8]) -> Result<()> {
        let mut len = out.len();
        if len < Self::LEN {
            return Err(TokenError::BadParameter);
        }
        // SAFETY: as above; `out` has room for a code, checked above.
        let status =
            unsafe { openssl_sys::CMAC_Final(self.0.as_ptr(), out.as_mut_ptr(), &raw mut len) };
        if status != 1 {
            return Err(failed(ErrorStack::get()));
        }
        Ok(())
    }
}

impl Drop for CmacContext {
    fn drop(&mut self) {
        // SAFETY: the context came from CMAC_CTX_new and goes with self.
        unsafe { openssl_sys::CMAC_CTX_free(self.0.as_ptr()) };
    }
}

/// A cipher in progress that holds nothing back: a stream cipher, or a block cipher without padding that is given whole
/// blocks only. So each call writes as many bytes as it reads.
pub(crate) struct CipherContext(CipherCtx);

impl CipherContext {
    /// Begins; `key` and `iv` are as long as the cipher says, `iv` empty if it takes none. RC4 takes any key.
    pub(crate) fn begin(
        cipher: &CipherRef,
        direction: Direction,
        key: &[u8],
        iv: &[u8],
    ) -> Result<Self> {
        if iv.len() != cipher.iv_length() {
            return Err(TokenError::BadParameter);
        }
        let mut begun = Self::unkeyed(cipher, direction)?;
        let iv = (!iv.is_empty()).then_some(iv);
        begun.key(direction, key, iv)?;
        begun.0.set_padding(false);
        Ok(begun)
    }

    /// Begins an AES-GCM with additional data; a `key` of 16, 24 or 32 bytes, an IV of any length that the library takes.
    pub(crate) fn begin_gcm(
        direction: Direction,
        key: &[u8],
        iv: &[u8],
        aad: &[u8],
    ) -> Result<Self> {
        let cipher = match key.len() {
            16 => Cipher::aes_128_gcm(),
            24 => Cipher::aes_192_gcm(),
            32 => Cipher::aes_256_gcm(),
            _ => return Err(TokenError::BadParameter),
        };
        if iv.is_empty() || i32::try_from(iv.len()).is_err() {
            return Err(TokenError::BadParameter);
        }
        let mut begun = Self::unkeyed(cipher, direction)?;
        begun.0.set_iv_length(iv.len()).map_err(failed)?;
        begun.key(direction, key, Some(iv))?;
        for chunk in aad.chunks(CHUNK) {
            // No output: this is not text. Any other cipher would write to nowhere.
            begun.0.cipher_update(chunk, None).map_err(failed)?;
        }
        Ok(begun)
    }

    fn unkeyed(cipher: &CipherRef, direction: Direction) -> Result<Self> {
        let mut context = CipherCtx::new().map_err(failed)?;
        match direction {
            Direction::Encrypt => context.encrypt_init(Some(cipher), None, None),
            Direction::Decrypt => context.decrypt_init(Some(cipher), None, None),
        }
        .map_err(failed)?;
        Ok(Self(context))
    }

    fn key(&mut self, direction: Direction, key: &[u8], iv: Option<&[u8]>) -> Result<()> {
        if key.len() != self.0.key_length() {
            let changed = self.0.set_key_length(key.len());
            changed.map_err(|_| TokenError::BadParameter)?;
        }
        match direction {
            Direction::Encrypt => self.0.encrypt_init(None, Some(key), iv),
            Direction::Decrypt => self.0.decrypt_init(None, Some(key), iv),
        }
        .map_err(failed)
    }

    /// A second one in the same state.
    pub(crate) fn try_clone(&self) -> Result<Self> {
        let mut clone = CipherCtx::new().map_err(failed)?;
        clone.copy(&self.0).map_err(failed)?;
        Ok(Self(clone))
    }

    /// Runs `input`, whole blocks of it, into `out` of the same length.
    pub(crate) fn update(&mut self, input: &[u8], out: &mut [u8]) -> Result<()> {
        if input.len() != out.len() || !input.len().is_multiple_of(self.0.block_size()) {
            return Err(TokenError::BadParameter);
        }
        for (input, out) in input.chunks(CHUNK).zip(out.chunks_mut(CHUNK)) {
            // SAFETY: the library has no part of a block from before, since every length was checked here, and pads nothing:
            // it writes as many bytes as it reads, and `out` has as many.
            unsafe { self.0.cipher_update_unchecked(input, Some(out)) }.map_err(failed)?;
        }
        Ok(())
    }

    /// Ends the encryption by a GCM: the tag, of as many bytes as `tag` has.
    pub(crate) fn finish_gcm(&mut self, tag: &mut [u8]) -> Result<()> {
        self.0.cipher_final(&mut []).map_err(failed)?;
        self.0.tag(tag).map_err(failed)
    }

    /// Ends the decryption by a GCM: whether this is the tag. Compared in constant time.
    pub(crate) fn verify_gcm(&mut self, tag: &[u8]) -> Result<bool> {
        self.0.set_tag(tag).map_err(failed)?;
        Ok(self.0.cipher_final(&mut []).is_ok())
    }
}

/// RC2 with a 40-bit key and effective key, in CBC mode.
pub(crate) fn rc2_40_cbc() -> &'static CipherRef {
    // SAFETY: the library returns a static description, never null: RC2 is built into both libraries.
    unsafe { CipherRef::from_ptr(openssl_sys::EVP_rc2_40_cbc().cast_mut()) }
}

/// RC2 with a 128-bit key and effective key, in CBC mode.
pub(crate) fn rc2_cbc() -> &'static CipherRef {
    // SAFETY: as above.
    unsafe { CipherRef::from_ptr(openssl_sys::EVP_rc2_cbc().cast_mut()) }
}
