//! Verification of signatures, by the library's own paddings and not by those of `encoding`.

use ctk_token::{KeyAlgorithm, KeyType, Pss, PublicKey, PublicKeyMaterial, Result, TokenError};
use openssl::bn::BigNum;
use openssl::error::ErrorStack;
use openssl::md_ctx::MdCtx;
use openssl::pkey::{PKey, Public};
use openssl::pkey_ctx::PkeyCtx;
use openssl::rsa::{Padding, Rsa};
use openssl::sign::RsaPssSaltlen;

use crate::digest::{hash, md};
use crate::reduction::{fits, input_len, refuse_short_modulus};
use crate::sys;

/// Verifies in any form of [`KeyAlgorithm`] that signs: `input` is what that form takes; an ECDSA signature is DER.
///
/// `Ok(false)` is a wrong signature, whatever is wrong with it.
///
/// # Errors
/// [`TokenError::NotSupported`] if the key is of another kind or the library cannot use it,
/// [`TokenError::BadParameter`] if the modulus is too short for the parameters, [`TokenError::DataLength`] for an
/// input that this form does not take.
pub fn verify(
    key: &PublicKey,
    algorithm: KeyAlgorithm,
    input: &[u8],
    signature: &[u8],
) -> Result<bool> {
    let key_type = key.key_type();
    if !fits(algorithm, key_type) {
        return Err(TokenError::NotSupported);
    }
    let bits = match key_type {
        KeyType::Rsa { bits } => bits,
        _ => 0,
    };
    refuse_short_modulus(algorithm, bits)?;
    let (min, max) = input_len(algorithm, bits);
    if !(min..=max).contains(&input.len()) {
        return Err(TokenError::DataLength);
    }
    if let (Some(digest), Some(digest_form)) = (algorithm.message_digest(), algorithm.simpler()) {
        return verify(key, digest_form, &hash(digest, input)?, signature);
    }

    let library_key = library_key(key)?;
    if algorithm == KeyAlgorithm::EdDsa {
        return verify_eddsa(&library_key, input, signature);
    }
    let input = match key_type {
        KeyType::Ec(curve) => input.get(..curve.bytes()).unwrap_or(input),
        _ => input,
    };
    let mut context = PkeyCtx::new(&library_key).map_err(sys::failed)?;
    context.verify_init().map_err(sys::failed)?;
    set_padding(&mut context, algorithm).map_err(sys::failed)?;
    // Once set up, every refusal speaks of the signature: too long, not below the modulus, not DER.
    Ok(context.verify(input, signature).unwrap_or(false))
}

fn set_padding(
    context: &mut PkeyCtx<Public>,
    algorithm: KeyAlgorithm,
) -> std::result::Result<(), ErrorStack> {
    match algorithm {
        KeyAlgorithm::RsaRaw => context.set_rsa_padding(Padding::NONE),
        KeyAlgorithm::RsaPkcs1 => context.set_rsa_padding(Padding::PKCS1),
        KeyAlgorithm::RsaPkcs1Digest(digest) => {
            context.set_rsa_padding(Padding::PKCS1)?;
            context.set_signature_md(md(digest))
        }
        KeyAlgorithm::RsaPssDigest(Pss {
            digest,
            mgf,
            salt_len,
        }) => {
            context.set_rsa_padding(Padding::PKCS1_PSS)?;
            context.set_signature_md(md(digest))?;
            context.set_rsa_mgf1_md(md(mgf))?;
            // It fits the modulus, so it fits an i32.
            context.set_rsa_pss_saltlen(RsaPssSaltlen::custom(salt_len as i32))
        }
        _ => Ok(()),
    }
}

fn verify_eddsa(key: &PKey<Public>, message: &[u8], signature: &[u8]) -> Result<bool> {
    let mut context = MdCtx::new().map_err(sys::failed)?;
    context.digest_verify_init(None, key).map_err(sys::failed)?;
    Ok(context.digest_verify(message, signature).unwrap_or(false))
}

/// The library's form of a public key. RSA is built from its numbers, so that a key marked for PSS only is judged by
/// whoever asks and not by the library.
fn library_key(key: &PublicKey) -> Result<PKey<Public>> {
    sys::ready();
    let library_key = match key.material() {
        PublicKeyMaterial::Rsa { modulus, exponent } => BigNum::from_slice(modulus)
            .and_then(|n| Rsa::from_public_components(n, BigNum::from_slice(exponent)?))
            .and_then(PKey::from_rsa),
        _ => PKey::public_key_from_der(key.spki()),
    };
    library_key.map_err(|_| TokenError::NotSupported)
}
