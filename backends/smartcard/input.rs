//! What a card is given and gives, checked before and after: the same for every applet.

use ctk_token::{KeyAlgorithm, KeyType, PublicKey, PublicKeyMaterial, Result, TokenError};

use crate::applet::Failure;

/// Bytes around what is signed in RSASSA-PKCS1-v1_5 (RFC 8017 §9.2).
const PKCS1_PADDING: usize = 11;

/// Checks what is to be signed.
///
/// # Errors
/// [`TokenError::DataLength`] and [`TokenError::DataInvalid`].
pub(crate) fn check_for_signature(
    key: &PublicKey,
    algorithm: KeyAlgorithm,
    input: &[u8],
) -> Result<()> {
    match algorithm {
        KeyAlgorithm::RsaRaw => check_ciphertext(key, input),
        KeyAlgorithm::RsaPkcs1 => match modulus(key)?.len().checked_sub(PKCS1_PADDING) {
            Some(room) if input.len() <= room => Ok(()),
            _ => Err(TokenError::DataLength),
        },
        KeyAlgorithm::RsaPkcs1Digest(digest) if input.len() != digest.len() => {
            Err(TokenError::DataLength)
        }
        KeyAlgorithm::EcdsaDigest if input.is_empty() => Err(TokenError::DataLength),
        _ => Ok(()),
    }
}

/// Checks a block for RSA: as long as the modulus, and below it as a number.
pub(crate) fn check_ciphertext(key: &PublicKey, input: &[u8]) -> Result<()> {
    let modulus = modulus(key)?;
    if input.len() != modulus.len() {
        return Err(TokenError::DataLength);
    }
    match *input < *modulus {
        true => Ok(()),
        false => Err(TokenError::DataInvalid),
    }
}

/// Checks somebody's public key for an agreement with `key`: a card is not asked to compute with a
/// point that is not on its curve.
pub(crate) fn check_peer(key: &PublicKey, peer: &[u8]) -> Result<()> {
    let is_len = |len| match peer.len() == len {
        true => Ok(()),
        false => Err(TokenError::BadParameter),
    };
    match key.key_type() {
        KeyType::Ec(curve) => ctk_crypto::check_point(curve, peer),
        KeyType::X25519 => is_len(32),
        KeyType::X448 => is_len(56),
        _ => Err(TokenError::NotSupported),
    }
}

/// Checks what a card says was agreed on. All zeros are what a peer of small order makes of any key
/// (RFC 7748 §6.1).
pub(crate) fn check_secret(secret: Option<&[u8]>, len: usize) -> std::result::Result<(), Failure> {
    match secret {
        Some(secret) if secret.len() == len => {
            match secret.iter().fold(0, |seen, byte| seen | byte) {
                0 => Err(TokenError::BadParameter.into()),
                _ => Ok(()),
            }
        }
        _ => Err(Failure::corrupted("the card's secret has a wrong length")),
    }
}

/// Checks how long a signature is that a card says it has made.
pub(crate) fn check_signature_len(key: &PublicKey, len: usize) -> std::result::Result<(), Failure> {
    let most = key.max_signature_len();
    let is_right = match key.material() {
        PublicKeyMaterial::Ec { .. } => (8..=most).contains(&len),
        PublicKeyMaterial::Rsa { .. } | PublicKeyMaterial::Raw { .. } => len == most,
    };
    match is_right {
        true => Ok(()),
        false => Err(Failure::corrupted(
            "the card's signature has a wrong length",
        )),
    }
}

/// The modulus of an RSA key.
pub(crate) fn modulus(key: &PublicKey) -> Result<&[u8]> {
    match key.material() {
        PublicKeyMaterial::Rsa { modulus, .. } => Ok(modulus),
        _ => Err(TokenError::NotSupported),
    }
}

/// Copies a result to the caller and answers with its length.
pub(crate) fn copy(result: &[u8], out: &mut [u8]) -> Result<usize> {
    let out = out
        .get_mut(..result.len())
        .ok_or(TokenError::BadParameter)?;
    out.copy_from_slice(result);
    Ok(result.len())
}

#[cfg(test)]
mod tests {
    use ctk_token::Digest;

    use super::*;

    #[test]
    fn a_block_is_as_long_as_the_modulus_and_below_it() {
        let key = PublicKey::rsa(&[0xc5; 128], &[1, 0, 1]).unwrap();
        let sign = |algorithm, input: &[u8]| check_for_signature(&key, algorithm, input);
        assert_eq!(
            sign(KeyAlgorithm::RsaRaw, &[0xc5; 127]),
            Err(TokenError::DataLength)
        );
        assert_eq!(
            sign(KeyAlgorithm::RsaRaw, &[0xc5; 129]),
            Err(TokenError::DataLength)
        );
        assert_eq!(
            sign(KeyAlgorithm::RsaRaw, &[0xc5; 128]),
            Err(TokenError::DataInvalid)
        );
        assert_eq!(sign(KeyAlgorithm::RsaRaw, &[0xc4; 128]), Ok(()));
        assert_eq!(sign(KeyAlgorithm::RsaPkcs1, &[0xff; 117]), Ok(()));
        assert_eq!(
            sign(KeyAlgorithm::RsaPkcs1, &[0; 118]),
            Err(TokenError::DataLength)
        );
        let digest = KeyAlgorithm::RsaPkcs1Digest(Digest::Sha256);
        assert_eq!(sign(digest, &[0; 31]), Err(TokenError::DataLength));
        assert_eq!(sign(digest, &[0; 32]), Ok(()));
        assert!(check_signature_len(&key, 128).is_ok());
        assert!(check_signature_len(&key, 127).is_err());
    }

    #[test]
    fn a_peer_is_a_public_key_of_the_same_kind() {
        let key = PublicKey::raw(KeyType::X25519, &[9; 32]).unwrap();
        assert_eq!(check_peer(&key, &[9; 32]), Ok(()));
        assert_eq!(check_peer(&key, &[9; 33]), Err(TokenError::BadParameter));
        let not_on_curve = [&[4][..], &[1; 64]].concat();
        let key = PublicKey::ec(ctk_token::Curve::P256, &not_on_curve).unwrap();
        assert_eq!(
            check_peer(&key, &not_on_curve),
            Err(TokenError::BadParameter)
        );
    }

    #[test]
    fn zeros_are_no_secret() {
        assert!(check_secret(Some(&[0; 32]), 32).is_err());
        assert!(check_secret(Some(&[1; 31]), 32).is_err());
        assert!(check_secret(None, 32).is_err());
        assert!(check_secret(Some(&[0, 0, 1]), 3).is_ok());
    }
}
