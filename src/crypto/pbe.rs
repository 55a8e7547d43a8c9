//! Decryption with the ciphers of password-based encryption.

use ctk_token::{Result, TokenError};
use openssl::cipher::{Cipher, CipherRef};
use zeroize::Zeroizing;

use crate::sys::{self, CipherContext, Direction};
use crate::{SecretBytes, pkcs7};

/// Ciphers of password-based encryption (RFC 7292 appendix C, RFC 8018 §B.2), all CBC with PKCS#7 padding but RC4.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PbeCipher {
    /// RC2 (RFC 2268) with 40-bit key and effective key.
    Rc2_40,
    /// RC2 with 128-bit key and effective key.
    Rc2_128,
    /// Triple DES with two keys.
    DesEde2,
    /// Triple DES with three keys.
    DesEde3,
    /// AES-128.
    Aes128,
    /// AES-192.
    Aes192,
    /// AES-256.
    Aes256,
    /// RC4 with a 40-bit key; no IV.
    Rc4_40,
    /// RC4 with a 128-bit key; no IV.
    Rc4_128,
}

impl PbeCipher {
    /// Key length in bytes.
    pub fn key_len(self) -> usize {
        match self {
            Self::Rc2_40 | Self::Rc4_40 => 5,
            Self::Rc2_128 | Self::DesEde2 | Self::Aes128 | Self::Rc4_128 => 16,
            Self::DesEde3 | Self::Aes192 => 24,
            Self::Aes256 => 32,
        }
    }

    /// IV length in bytes; 0 for RC4.
    pub fn iv_len(self) -> usize {
        match self {
            Self::Rc2_40 | Self::Rc2_128 | Self::DesEde2 | Self::DesEde3 => 8,
            Self::Aes128 | Self::Aes192 | Self::Aes256 => 16,
            Self::Rc4_40 | Self::Rc4_128 => 0,
        }
    }

    fn library_cipher(self) -> Result<&'static CipherRef> {
        sys::ready();
        if matches!(
            self,
            Self::Rc2_40 | Self::Rc2_128 | Self::Rc4_40 | Self::Rc4_128
        ) {
            sys::legacy_ciphers()?;
        }
        Ok(match self {
            Self::Rc2_40 => sys::rc2_40_cbc(),
            Self::Rc2_128 => sys::rc2_cbc(),
            Self::DesEde2 | Self::DesEde3 => Cipher::des_ede3_cbc(),
            Self::Aes128 => Cipher::aes_128_cbc(),
            Self::Aes192 => Cipher::aes_192_cbc(),
            Self::Aes256 => Cipher::aes_256_cbc(),
            Self::Rc4_40 | Self::Rc4_128 => Cipher::rc4(),
        })
    }
}

/// Decrypts a whole ciphertext.
///
/// The padding tells nothing about integrity: whoever calls this with data of others checks a MAC first, or treats
/// every later parse error as a wrong password.
///
/// # Errors
/// [`TokenError::BadCiphertext`] for a wrong length or padding, [`TokenError::BadParameter`] if `key` or `iv` is not
/// as long as [`PbeCipher::key_len`] and [`PbeCipher::iv_len`] say.
pub fn pbe_decrypt(cipher: PbeCipher, key: &[u8], iv: &[u8], data: &[u8]) -> Result<SecretBytes> {
    if key.len() != cipher.key_len() || iv.len() != cipher.iv_len() {
        return Err(TokenError::BadParameter);
    }
    // For a block cipher the IV is as long as a block.
    let block = cipher.iv_len();
    if block > 0 && (data.is_empty() || !data.len().is_multiple_of(block)) {
        return Err(TokenError::BadCiphertext);
    }
    let mut three_keys = Zeroizing::new([0; 24]);
    let key = match (cipher, key.split_at_checked(8)) {
        (PbeCipher::DesEde2, Some((first, second))) => {
            for (part, from) in three_keys.chunks_mut(8).zip([first, second, first]) {
                part.copy_from_slice(from);
            }
            three_keys.as_slice()
        }
        _ => key,
    };
    let mut context = CipherContext::begin(cipher.library_cipher()?, Direction::Decrypt, key, iv)?;
    let mut plaintext = SecretBytes::zeroed(data.len());
    context.update(data, &mut plaintext)?;
    if block > 0 {
        let len = pkcs7::unpadded_len(&plaintext, block).ok_or(TokenError::BadCiphertext)?;
        plaintext.truncate(len);
    }
    Ok(plaintext)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex::unhex;

    /// Made with `openssl enc` 3.0: key 00 01 02 …, IV 10 11 12 …, over the sentence below.
    const SENTENCE: &[u8] = b"attack at dawn, not at dusk";
    const VECTORS: [(PbeCipher, &str); 9] = [
        (
            PbeCipher::Rc2_40,
            "f0a8c7184e330ec9c9afbc70edd2198d259a27d81df0316aa7fb51599534822f",
        ),
        (
            PbeCipher::Rc2_128,
            "655a70624250451be959b73f05fb1ccc76d0d75b880238d998b14feca41657f3",
        ),
        (
            PbeCipher::DesEde2,
            "d86af51319b92eb9ee5c823e3864e9d15c2dfbe9e7b1f4806ac0a7d8cc139771",
        ),
        (
            PbeCipher::DesEde3,
            "0765d1acc5bf14d03143babfd240074e15709df3b37d4f0cb5af0452e1f81c2c",
        ),
        (
            PbeCipher::Aes128,
            "9febb9354d4b1b8da53a788f2d6ca8d2ea93f670436e50d2c96b323ecfb1a9c9",
        ),
        (
            PbeCipher::Aes192,
            "334643b9e62c1aa44c5c51b3e7201ce9674c04b756e59ed68c03d02a7a79147c",
        ),
        (
            PbeCipher::Aes256,
            "98dbb2438ce8b2d157d303e7d6a67b6135503329843a0e2ff1b0ffe28d886350",
        ),
        (
            PbeCipher::Rc4_40,
            "9f697f52877a7af372fce3a59a2be767039aa4af7601b82bccead2",
        ),
        (
            PbeCipher::Rc4_128,
            "88e83498248939ad72fbf3a779b3066fbd1ef57f93c3628afaedce",
        ),
    ];
    const ALL: [PbeCipher; 9] = [
        PbeCipher::Rc2_40,
        PbeCipher::Rc2_128,
        PbeCipher::DesEde2,
        PbeCipher::DesEde3,
        PbeCipher::Aes128,
        PbeCipher::Aes192,
        PbeCipher::Aes256,
        PbeCipher::Rc4_40,
        PbeCipher::Rc4_128,
    ];

    fn key_and_iv(cipher: PbeCipher) -> (Vec<u8>, Vec<u8>) {
        (
            (0..cipher.key_len() as u8).collect(),
            (0x10..0x10 + cipher.iv_len() as u8).collect(),
        )
    }

    #[test]
    fn every_cipher_decrypts_what_openssl_encrypted() {
        for (cipher, ciphertext) in VECTORS {
            let (key, iv) = key_and_iv(cipher);
            let plaintext = pbe_decrypt(cipher, &key, &iv, &unhex(ciphertext));
            assert_eq!(&*plaintext.unwrap(), SENTENCE, "{cipher:?}");
        }
    }

    #[test]
    fn a_wrong_length_or_padding_is_a_bad_ciphertext() {
        for (cipher, ciphertext) in VECTORS {
            if cipher.iv_len() == 0 {
                continue;
            }
            let (key, iv) = key_and_iv(cipher);
            let ciphertext = unhex(ciphertext);
            let truncated = &ciphertext[..ciphertext.len() - 1];
            let block_less = &ciphertext[..ciphertext.len() - cipher.iv_len()];
            for bad in [truncated, block_less, &[]] {
                assert_eq!(
                    pbe_decrypt(cipher, &key, &iv, bad).unwrap_err(),
                    TokenError::BadCiphertext,
                    "{cipher:?}"
                );
            }
        }
    }

    #[test]
    fn rc4_of_nothing_is_nothing() {
        assert!(
            pbe_decrypt(PbeCipher::Rc4_128, &[1; 16], &[], &[])
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn keys_and_ivs_of_other_lengths_are_refused() {
        for cipher in ALL {
            let (key, iv) = key_and_iv(cipher);
            for (key, iv) in [(&key[1..], &iv[..]), (&key[..], &[&iv[..], &[0]].concat())] {
                assert_eq!(
                    pbe_decrypt(cipher, key, iv, &[0; 16]).unwrap_err(),
                    TokenError::BadParameter
                );
            }
        }
    }
}
