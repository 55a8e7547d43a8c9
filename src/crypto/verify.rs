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
use crate::reduction::{fits, input_len, refuse_parameters};
use crate::{encryption, rsa, sys};

/// Verifies in any form of [`KeyAlgorithm`] that signs: `input` is what that form takes; an ECDSA signature is DER.
///
/// `Ok(false)` is a wrong signature, whatever is wrong with it.
///
/// # Errors
/// [`TokenError::NotSupported`] if the key is of another kind, for RSASSA-PSS only and the form another, or the library
/// cannot use it; [`TokenError::BadParameter`] if the modulus is too short for the parameters or the key does not allow
/// them; [`TokenError::DataLength`] for an input that this form does not take.
pub fn verify(
    key: &PublicKey,
    algorithm: KeyAlgorithm,
    input: &[u8],
    signature: &[u8],
) -> Result<bool> {
    let key_type = key.key_type();
    if !fits(algorithm, key) {
        return Err(TokenError::NotSupported);
    }
    refuse_parameters(algorithm, key)?;
    let (min, max) = input_len(algorithm, key_type);
    if !(min..=max).contains(&input.len()) {
        return Err(TokenError::DataLength);
    }
    if let (Some(digest), Some(digest_form)) = (algorithm.message_digest(), algorithm.simpler()) {
        return verify(key, digest_form, &hash(digest, input)?, signature);
    }
    if matches!(algorithm, KeyAlgorithm::RsaPkcs1 | KeyAlgorithm::RsaRaw) {
        return verify_by_recovery(key, algorithm, input, signature);
    }

    let library_key = library_key(key)?;
    if matches!(algorithm, KeyAlgorithm::EdDsa | KeyAlgorithm::MlDsa) {
        return verify_message(&library_key, input, signature);
    }
    if let KeyType::Rsa { bits } = key_type
        && signature.len() != bits.div_ceil(8) as usize
    {
        return Ok(false);
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

/// What an RSA signature was made of: for [`KeyAlgorithm::RsaPkcs1`] what stands in its padding, for
/// [`KeyAlgorithm::RsaRaw`] the whole block. Writes it to `out`, at least as long as the modulus, and returns its length.
///
/// # Errors
/// [`TokenError::NotSupported`] for other forms and keys and for a key that the library cannot use,
/// [`TokenError::BadParameter`] if `out` is too short,
/// [`TokenError::DataLength`] for a signature that is not as long as the modulus, [`TokenError::DataInvalid`] for one that
/// is not below it or has another padding.
pub fn verify_recover(
    key: &PublicKey,
    algorithm: KeyAlgorithm,
    signature: &[u8],
    out: &mut [u8],
) -> Result<usize> {
    let recovers = matches!(algorithm, KeyAlgorithm::RsaPkcs1 | KeyAlgorithm::RsaRaw);
    let PublicKeyMaterial::Rsa { modulus, .. } = key.material() else {
        return Err(TokenError::NotSupported);
    };
    if !recovers || !fits(algorithm, key) {
        return Err(TokenError::NotSupported);
    }
    let library_key = library_rsa(key)?;
    let out = out
        .get_mut(..modulus.len())
        .ok_or(TokenError::BadParameter)?;
    if algorithm == KeyAlgorithm::RsaRaw {
        return encryption::raw(&library_key, modulus, signature, out);
    }
    rsa::check_block(modulus, signature)?;
    library_key
        .public_decrypt(signature, out, Padding::PKCS1)
        .map_err(|_| TokenError::DataInvalid)
}

/// What the signature was made of must be the input. Not by a context: OpenSSL's takes no empty input.
fn verify_by_recovery(
    key: &PublicKey,
    algorithm: KeyAlgorithm,
    input: &[u8],
    signature: &[u8],
) -> Result<bool> {
    let mut signed = vec![0; key.max_signature_len()];
    match verify_recover(key, algorithm, signature, &mut signed) {
        Ok(len) => Ok(signed.get(..len) == Some(input)),
        Err(TokenError::DataLength | TokenError::DataInvalid) => Ok(false),
        Err(error) => Err(error),
    }
}

fn set_padding(
    context: &mut PkeyCtx<Public>,
    algorithm: KeyAlgorithm,
) -> std::result::Result<(), ErrorStack> {
    match algorithm {
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

fn verify_message(key: &PKey<Public>, message: &[u8], signature: &[u8]) -> Result<bool> {
    let mut context = MdCtx::new().map_err(sys::failed)?;
    context.digest_verify_init(None, key).map_err(sys::failed)?;
    Ok(context.digest_verify(message, signature).unwrap_or(false))
}

/// The library's form of a public key. RSA is built from its numbers, so that a key marked for PSS only is judged by
/// whoever asks and not by the library.
pub(crate) fn library_key(key: &PublicKey) -> Result<PKey<Public>> {
    let library_key = match key.material() {
        PublicKeyMaterial::Rsa { .. } => PKey::from_rsa(library_rsa(key)?),
        _ => {
            sys::ready();
            PKey::public_key_from_der(key.spki())
        }
    };
    library_key.map_err(|_| TokenError::NotSupported)
}

/// The same of an RSA key. Numbers that the library would refuse in the middle of an operation, as if
/// it had failed, are refused here: anybody can hand over two numbers and call them a key.
pub(crate) fn library_rsa(key: &PublicKey) -> Result<Rsa<Public>> {
    sys::ready();
    let PublicKeyMaterial::Rsa { modulus, exponent } = key.material() else {
        return Err(TokenError::NotSupported);
    };
    let number = |bytes| BigNum::from_slice(bytes).map_err(sys::failed);
    let (n, e) = (number(modulus)?, number(exponent)?);
    // A modulus is a product of odd primes, and an exponent has no factor in common with p - 1.
    let is_key = n.is_odd() && e.is_odd() && e.num_bits() > 1 && e.ucmp(&n).is_lt();
    if !is_key || !sys::takes_rsa(n.num_bits(), e.num_bits()) {
        return Err(TokenError::NotSupported);
    }
    Rsa::from_public_components(n, e).map_err(sys::failed)
}

#[cfg(test)]
mod tests {
    use ctk_token::{Curve, Digest};

    use super::*;
    use crate::hex::unhex;
    use crate::{RsaEncryption, encrypt};

    /// RFC 6979 §A.2.5: P-256, SHA-256, "sample".
    #[test]
    fn ecdsa_is_that_of_rfc_6979() {
        let spki = [
            unhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004"),
            unhex("60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"),
            unhex("7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299"),
        ]
        .concat();
        let key = PublicKey::from_spki(&spki).unwrap();
        let fixed = [
            unhex("efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"),
            unhex("f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"),
        ]
        .concat();
        let mut der = [0; 80];
        let len = crate::ecdsa::fixed_to_der(Curve::P256, &fixed, &mut der).unwrap();
        let signature = &der[..len];
        let algorithm = KeyAlgorithm::EcdsaMessage(Digest::Sha256);
        assert_eq!(verify(&key, algorithm, b"sample", signature), Ok(true));
        assert_eq!(verify(&key, algorithm, b"samplf", signature), Ok(false));
        assert_eq!(verify(&key, algorithm, b"sample", &fixed), Ok(false));
    }

    #[test]
    fn a_point_that_is_not_on_its_curve_verifies_nothing() {
        let spki = [
            unhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004"),
            vec![7; 64],
        ]
        .concat();
        let key = PublicKey::from_spki(&spki).unwrap();
        let signature = [0x30, 6, 2, 1, 1, 2, 1, 1];
        assert_eq!(
            verify(&key, KeyAlgorithm::EcdsaDigest, &[1; 32], &signature),
            Err(TokenError::NotSupported)
        );
    }

    /// Two numbers that are no RSA key, or none that the library takes: every operation says so, and
    /// none that the library has failed.
    #[test]
    fn impossible_rsa_keys_are_not_supported() {
        let odd = [0xc7; 128];
        let mut even = odd;
        even[127] = 0xc6;
        let long = [&[1_u8][..], &[0; 7], &[1]].concat();
        let keys: [(&[u8], &[u8]); 7] = [
            (&even, &[1, 0, 1]),
            (&odd, &[1]),
            (&odd, &[2]),
            (&odd, &[1, 0, 0]),
            (&odd, &odd),
            (&[0xc7; 512], &long),
            (&[0xc7; 2049], &[3]),
        ];
        for (n, e) in keys {
            let key = PublicKey::rsa(n, e).unwrap();
            let refused = Err(TokenError::NotSupported);
            let (input, mut out) = (vec![1; n.len()], vec![0; n.len()]);
            for algorithm in [
                KeyAlgorithm::RsaRaw,
                KeyAlgorithm::RsaPkcs1,
                KeyAlgorithm::RsaPkcs1Digest(Digest::Sha256),
            ] {
                let len = match algorithm {
                    KeyAlgorithm::RsaRaw => n.len(),
                    _ => 32,
                };
                let answer = verify(&key, algorithm, &input[..len], &input);
                assert_eq!(answer, Err(TokenError::NotSupported), "{algorithm:?}");
            }
            for algorithm in [KeyAlgorithm::RsaRaw, KeyAlgorithm::RsaPkcs1] {
                let answer = verify_recover(&key, algorithm, &input, &mut out);
                assert_eq!(answer, refused, "{algorithm:?}");
            }
            let oaep = RsaEncryption::Oaep {
                digest: Digest::Sha1,
                mgf: Digest::Sha1,
                label: Vec::new(),
            };
            for how in [RsaEncryption::Raw, RsaEncryption::Pkcs1, oaep] {
                let len = match how {
                    RsaEncryption::Raw => n.len(),
                    _ => 8,
                };
                let answer = encrypt(&how, &key, &input[..len], &mut out);
                assert_eq!(answer, refused, "{how:?}");
            }
        }
    }

    /// The longest exponents that the libraries take, and the shortest.
    #[test]
    fn odd_exponents_are_used() {
        let fermat = [0x01, 0, 0, 0, 1];
        for exponent in [&[3][..], &[1, 0, 1], &fermat] {
            let key = PublicKey::rsa(&[0xc7; 128], exponent).unwrap();
            let mut out = [0; 128];
            let written = encrypt(&RsaEncryption::Pkcs1, &key, b"text", &mut out);
            assert_eq!(written, Ok(128), "{exponent:?}");
        }
    }
}
