//! Encryption with public keys, by the library's own paddings and not by those of `unpadding`.

use ctk_token::{PublicKey, PublicKeyMaterial, Result, TokenError};
use openssl::{error::ErrorStack, pkey_ctx::PkeyCtx, rsa::Padding};

use crate::{RsaEncryption, digest::md, fork, rsa, sys, verify};

/// Encrypts for the owner of an RSA key: writes a ciphertext as long as the modulus and returns its length.
///
/// # Errors
/// [`TokenError::NotSupported`] for another kind of key, one for RSASSA-PSS only and one that the
/// library cannot use; [`TokenError::BadParameter`] if the modulus is too short for the hash or `out`
/// shorter than the modulus, [`TokenError::DataLength`] for a plaintext that is too long, or for
/// [`RsaEncryption::Raw`] not as long as the modulus, [`TokenError::DataInvalid`] for a raw block that
/// is not below the modulus.
pub fn encrypt(
    how: &RsaEncryption,
    key: &PublicKey,
    plaintext: &[u8],
    out: &mut [u8],
) -> Result<usize> {
    let PublicKeyMaterial::Rsa { modulus, .. } = key.material() else {
        return Err(TokenError::NotSupported);
    };
    if key.is_pss_only() {
        return Err(TokenError::NotSupported);
    }
    let room = how.room(modulus.len())?;
    let out = out
        .get_mut(..modulus.len())
        .ok_or(TokenError::BadParameter)?;
    if plaintext.len() > room {
        return Err(TokenError::DataLength);
    }
    if *how == RsaEncryption::Raw {
        return raw(&*verify::library_rsa(key)?, modulus, plaintext, out);
    }

    let _inside = fork::enter();
    let key = verify::library_key(key)?;
    let encrypt = |out| -> std::result::Result<usize, ErrorStack> {
        let mut context = PkeyCtx::new(&key)?;
        context.encrypt_init()?;
        if let RsaEncryption::Oaep { digest, mgf, label } = how {
            context.set_rsa_padding(Padding::PKCS1_OAEP)?;
            context.set_rsa_oaep_md(md(*digest))?;
            context.set_rsa_mgf1_md(md(*mgf))?;
            if !label.is_empty() {
                context.set_rsa_oaep_label(label)?;
            }
        } else {
            context.set_rsa_padding(Padding::PKCS1)?;
        }
        context.encrypt(plaintext, Some(out))
    };
    encrypt(out).map_err(sys::failed)
}

/// m^e mod n (RFC 8017 §5.1.1, §5.2.2) of a block as long as the modulus.
///
/// # Errors
/// As [`RsaKey::raw`](rsa::RsaKey::raw).
pub(crate) fn raw(
    key: &openssl::rsa::RsaRef<openssl::pkey::Public>,
    modulus: &[u8],
    block: &[u8],
    out: &mut [u8],
) -> Result<usize> {
    let out = out
        .get_mut(..modulus.len())
        .ok_or(TokenError::BadParameter)?;
    rsa::check_block(modulus, block)?;
    if rsa::is_fixed(modulus, block) {
        out.copy_from_slice(block);
        return Ok(block.len());
    }
    key.public_encrypt(block, out, Padding::NONE)
        .map_err(sys::failed)
}
