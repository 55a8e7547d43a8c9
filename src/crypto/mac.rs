//! Message authentication codes: HMAC over every hash, and CMAC over AES.
//!
//! Whoever checks a code compares with [`constant_time_eq`](crate::constant_time_eq).

use std::fmt;

use ctk_token::{Digest, Result, TokenError};
use openssl::md_ctx::MdCtx;
use openssl::pkey::PKey;
use zeroize::Zeroizing;

use crate::digest::{Hash, Hasher, block_len, md};
use crate::sys;

/// A message authentication code in progress.
pub struct Mac {
    state: State,
}

enum State {
    Hmac { context: MdCtx, len: usize },
    Cmac(sys::CmacContext),
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.state {
            State::Hmac { .. } => f.write_str("Mac(HMAC)"),
            State::Cmac(_) => f.write_str("Mac(CMAC)"),
        }
    }
}

impl Mac {
    /// Begins an HMAC (RFC 2104, FIPS 198-1) with a key of any length; [`len`](Self::len) is that of the hash.
    ///
    /// # Errors
    /// [`TokenError::Unreachable`] if the library fails, here and below.
    pub fn new(digest: Digest, key: &[u8]) -> Result<Self> {
        sys::ready();
        let mut hashed = Zeroizing::new([0; Digest::MAX_LEN]);
        let key = if key.len() > block_len(digest) {
            // As RFC 2104 §2 has it, here because the library counts a key's bytes in a C int.
            let mut hasher = Hasher::new(digest)?;
            hasher.update(key)?;
            hasher.finish_into(&mut *hashed)?;
            hashed.get(..digest.len()).unwrap_or_default()
        } else if key.is_empty() {
            // Keys are filled up with zeros, so one zero is the same as nothing, which OpenSSL refuses.
            &[0]
        } else {
            key
        };
        let key = PKey::hmac(key).map_err(sys::failed)?;
        let mut context = MdCtx::new().map_err(sys::failed)?;
        context
            .digest_sign_init(Some(md(digest)), &key)
            .map_err(sys::failed)?;
        let len = digest.len();
        Ok(Self {
            state: State::Hmac { context, len },
        })
    }

    /// Begins an AES-CMAC (RFC 4493, SP 800-38B) with a key of 16, 24 or 32 bytes; [`len`](Self::len) is 16.
    ///
    /// # Errors
    /// [`TokenError::BadParameter`] for a key of another length.
    pub fn aes_cmac(key: &[u8]) -> Result<Self> {
        sys::ready();
        if !matches!(key.len(), 16 | 24 | 32) {
            return Err(TokenError::BadParameter);
        }
        Ok(Self {
            state: State::Cmac(sys::CmacContext::begin(key)?),
        })
    }

    /// The code's length, in bytes.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        match self.state {
            State::Hmac { len, .. } => len,
            State::Cmac(_) => sys::CmacContext::LEN,
        }
    }

    /// Takes the next bytes of the message.
    pub fn update(&mut self, data: &[u8]) -> Result<()> {
        match &mut self.state {
            State::Hmac { context, .. } => context.digest_sign_update(data).map_err(sys::failed),
            State::Cmac(context) => context.update(data),
        }
    }

    /// The code of everything taken.
    pub fn finish(mut self) -> Result<Hash> {
        Hash::written(self.len(), |bytes| self.write(bytes))
    }

    /// Writes the code into `out`, of at least [`len`](Self::len) bytes; the rest of it stays.
    fn write(&mut self, out: &mut [u8]) -> Result<()> {
        let out = out.get_mut(..self.len()).ok_or(TokenError::BadParameter)?;
        match &mut self.state {
            State::Hmac { context, .. } => {
                let written = context.digest_sign_final(Some(out));
                written.map(drop).map_err(sys::failed)
            }
            State::Cmac(context) => context.finish(out),
        }
    }
}

/// HMAC in one go.
///
/// # Errors
/// As [`Mac::new`].
pub fn hmac(digest: Digest, key: &[u8], data: &[u8]) -> Result<Hash> {
    let mut mac = Mac::new(digest, key)?;
    mac.update(data)?;
    mac.finish()
}

/// The same into `out`, of at least [`Digest::len`] bytes: for a secret, which has one place then.
pub(crate) fn hmac_into(digest: Digest, key: &[u8], data: &[u8], out: &mut [u8]) -> Result<()> {
    let mut mac = Mac::new(digest, key)?;
    mac.update(data)?;
    mac.write(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash;
    use crate::hex::{hex, unhex};

    #[test]
    fn hmac_is_that_of_rfc_2202_and_4231() {
        assert_eq!(
            hex(&hmac(Digest::Sha1, b"Jefe", b"what do ya want for nothing?").unwrap()),
            "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"
        );
        let expected = [
            (
                Digest::Sha224,
                "a30e01098bc6dbbf45690f3a7e9e6d0f8bbea2a39e6148008fd05e44",
            ),
            (
                Digest::Sha256,
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                Digest::Sha384,
                "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e\
                 8e2240ca5e69e2c78b3239ecfab21649",
            ),
            (
                Digest::Sha512,
                "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554\
                 9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
            ),
        ];
        for (digest, expected) in expected {
            assert_eq!(
                hex(&hmac(digest, b"Jefe", b"what do ya want for nothing?").unwrap()),
                expected
            );
        }
        // A key longer than the block (RFC 4231 §4.7).
        assert_eq!(
            hex(&hmac(
                Digest::Sha256,
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First"
            )
            .unwrap()),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }

    #[test]
    fn hmac_takes_an_empty_key() {
        assert_eq!(
            hex(&hmac(Digest::Sha256, b"", b"").unwrap()),
            "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad"
        );
    }

    #[test]
    fn cmac_is_that_of_rfc_4493_and_sp_800_38b() {
        let message = unhex(
            "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51\
             30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710",
        );
        let keys = [
            "2b7e151628aed2a6abf7158809cf4f3c",
            "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b",
            "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
        ];
        for (key, len, expected) in [
            (0, 0, "bb1d6929e95937287fa37d129b756746"),
            (0, 16, "070a16b46b4d4144f79bdd9dd04a287c"),
            (0, 40, "dfa66747de9ae63030ca32611497c827"),
            (0, 64, "51f0bebf7e3b9d92fc49741779363cfe"),
            (1, 0, "d17ddf46adaacde531cac483de7a9367"),
            (1, 64, "a1d5df0eed790f794d77589659f39a11"),
            (2, 0, "028962f61b7bf89efc6b551f4667d983"),
            (2, 64, "e1992190549f6ed5696a2c056c315410"),
        ] {
            let mut mac = Mac::aes_cmac(&unhex(keys[key])).unwrap();
            assert_eq!(mac.len(), 16);
            for piece in message[..len].chunks(7) {
                mac.update(piece).unwrap();
            }
            assert_eq!(hex(&mac.finish().unwrap()), expected);
        }
        for len in [0, 15, 17, 33] {
            let refused = Mac::aes_cmac(&vec![0; len]).unwrap_err();
            assert_eq!(refused, TokenError::BadParameter);
        }
    }

    /// Every hash, with keys around its block's length, against RFC 2104's own definition.
    #[test]
    fn hmac_in_pieces_is_the_definition() {
        let message: Vec<u8> = (0..300_u32).map(|number| number as u8).collect();
        for digest in Digest::ALL {
            let block = block_len(digest);
            for len in [0, 1, block - 1, block, block + 1, 3 * block, 100_000] {
                let key: Vec<u8> = (0..len).map(|number| (number * 7) as u8).collect();
                let mut padded = if len > block {
                    hash(digest, &key).unwrap().to_vec()
                } else {
                    key.clone()
                };
                padded.resize(block, 0);
                let masked = |mask| padded.iter().map(|byte| byte ^ mask).collect::<Vec<u8>>();
                let inner = hash(digest, &[masked(0x36), message.clone()].concat()).unwrap();
                let outer = hash(digest, &[masked(0x5c), inner.to_vec()].concat()).unwrap();

                let mut mac = Mac::new(digest, &key).unwrap();
                assert_eq!(mac.len(), digest.len());
                for piece in message.chunks(37) {
                    mac.update(piece).unwrap();
                }
                mac.update(&[]).unwrap();
                let code = mac.finish().unwrap();
                assert_eq!(*code, *outer, "{digest:?} {len}");
                let mut place = [7; Digest::MAX_LEN + 1];
                hmac_into(digest, &key, &message, &mut place).unwrap();
                assert_eq!(place[..digest.len()], *code);
                assert!(place[digest.len()..].iter().all(|byte| *byte == 7));
                let short = &mut place[..digest.len() - 1];
                assert!(hmac_into(digest, &key, &message, short).is_err());
                assert!(crate::constant_time_eq(
                    &code,
                    &hmac(digest, &key, &message).unwrap()
                ));
            }
        }
    }

    #[test]
    fn a_code_in_progress_moves_between_threads_and_tells_no_key() {
        fn send(_: &impl Send) {}
        let mac = Mac::new(Digest::Sha256, b"key").unwrap();
        send(&mac);
        assert_eq!(format!("{mac:?}"), "Mac(HMAC)");
        let mac = Mac::aes_cmac(&[1; 16]).unwrap();
        send(&mac);
        assert_eq!(format!("{mac:?}"), "Mac(CMAC)");
    }
}
