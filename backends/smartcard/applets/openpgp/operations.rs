//! Signatures, decryption and key agreement (OpenPGP card 3.4 §7.2.10 to §7.2.13).

use ctk_token::{Curve, Key, KeyAlgorithm, KeyType, Operation, PublicKeyMaterial, TokenError};
use zeroize::Zeroizing;

use super::place::Place;
use crate::{
    apdu::{Command, Le, Response},
    applet::{Failure, Result},
    card::Transaction,
    status::Status,
    tlv,
};

const PERFORM_SECURITY_OPERATION: u8 = 0x2A;
const INTERNAL_AUTHENTICATE: u8 = 0x88;

/// Whether the card performs this. It pads RSA signatures and unpads RSA ciphertexts by itself, so
/// there is no raw operation, and with it neither PSS nor OAEP.
pub(super) fn supports(operation: Operation, key: &Key, algorithm: KeyAlgorithm) -> bool {
    let Some(place) = Place::of_key(&key.id) else {
        return false;
    };
    match (operation, place, key.public_key.key_type(), algorithm) {
        (Operation::Sign, Place::Signature | Place::Authentication, key_type, algorithm) => {
            matches!(
                (key_type, algorithm),
                (KeyType::Rsa { .. }, KeyAlgorithm::RsaPkcs1)
                    | (KeyType::Ec(_), KeyAlgorithm::EcdsaDigest)
                    | (KeyType::Ed25519, KeyAlgorithm::EdDsa)
            )
        }
        (Operation::Decrypt, Place::Encryption, KeyType::Rsa { .. }, algorithm) => {
            algorithm == KeyAlgorithm::RsaPkcs1
        }
        // All curves here have cofactor 1.
        (Operation::KeyExchange, Place::Encryption, KeyType::Ec(_), algorithm) => {
            matches!(algorithm, KeyAlgorithm::Ecdh | KeyAlgorithm::EcdhCofactor)
        }
        (Operation::KeyExchange, Place::Encryption, KeyType::X25519, algorithm) => {
            algorithm == KeyAlgorithm::Ecdh
        }
        _ => false,
    }
}

/// A signature in a form that [`supports`] affirms.
pub(super) fn sign(
    card: &mut Transaction<'_>,
    key: &Key,
    input: &[u8],
    signature: &mut [u8],
) -> Result<usize> {
    if signature.len() < key.public_key.max_signature_len() {
        return Err(TokenError::BadParameter.into());
    }
    let key_type = key.public_key.key_type();
    let fitted;
    let input = match key_type {
        KeyType::Rsa { bits } => {
            let room = (bits.div_ceil(8) as usize).saturating_sub(11);
            if input.len() > room {
                return Err(TokenError::DataLength.into());
            }
            input
        }
        KeyType::Ec(curve) => {
            fitted = fit(curve, input)?;
            &fitted
        }
        _ => input,
    };
    let command = match Place::of_key(&key.id) {
        Some(Place::Signature) => Command::new(PERFORM_SECURITY_OPERATION, 0x9E, 0x9A),
        Some(Place::Authentication) => Command::new(INTERNAL_AUTHENTICATE, 0, 0),
        _ => return Err(TokenError::NotSupported.into()),
    };
    // An Ed25519 key signs the message itself.
    let response = card.send(&command.data(input).le(Le::All).secret())?;
    let made = succeeded(response).map_err(|status| too_long(status, key_type, input.len()))?;
    write_signature(key_type, &made, signature)
}

/// INTERNAL AUTHENTICATE over these bytes, by whichever key that means now.
pub(super) fn authenticate(card: &mut Transaction<'_>, input: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let command = Command::new(INTERNAL_AUTHENTICATE, 0, 0)
        .data(input)
        .le(Le::All)
        .secret();
    Ok(card.call(&command)?.data)
}

/// PSO: DECIPHER of an RSA ciphertext. Whatever the card answers is for the caller to understand.
pub(super) fn decipher(card: &mut Transaction<'_>, ciphertext: &[u8]) -> Result<Response> {
    // 00: RSA (§7.2.11).
    let data = [&[0], ciphertext].concat();
    Ok(card.send(&decipher_command(&data))?)
}

/// A secret agreed on with `peer`.
pub(super) fn key_exchange(
    card: &mut Transaction<'_>,
    key: &Key,
    peer: &[u8],
    secret: &mut [u8],
) -> Result<usize> {
    let len = key.public_key.shared_secret_len();
    let secret = secret.get_mut(..len).ok_or(TokenError::BadParameter)?;
    match key.public_key.material() {
        PublicKeyMaterial::Ec { curve, .. } => check_point(*curve, peer)?,
        _ if peer.len() == len => {}
        _ => return Err(TokenError::BadParameter.into()),
    }
    let public_key = tlv::Writer::new().put(0x86, peer);
    let template = tlv::Writer::new().nest(0x7F49, &public_key);
    let data = tlv::encode(0xA6, template.as_bytes());
    let agreed = match succeeded(card.send(&decipher_command(&data))?) {
        Ok(agreed) => agreed,
        Err(status) if status.error() == TokenError::BadParameter => {
            return Err(TokenError::BadParameter.into());
        }
        Err(status) => return Err(Failure::Status(status)),
    };
    // The x coordinate, or the point that some cards give, or X25519 with the mark that OpenPGP
    // puts before it.
    let x = match &agreed[..] {
        [4, point @ ..] if point.len() == 2 * len => point.get(..len),
        [0x40, bare @ ..] if bare.len() == len => Some(bare),
        whole => Some(whole),
    };
    let x = x
        .filter(|x| x.len() == len)
        .ok_or_else(|| odd_answer("a shared secret"))?;
    if key.public_key.key_type() == KeyType::X25519 && x.iter().all(|byte| *byte == 0) {
        return Err(TokenError::BadParameter.into());
    }
    secret.copy_from_slice(x);
    Ok(len)
}

fn decipher_command(data: &[u8]) -> Command {
    Command::new(PERFORM_SECURITY_OPERATION, 0x80, 0x86)
        .data(data)
        .le(Le::All)
        .secret()
}

fn succeeded(response: Response) -> std::result::Result<Zeroizing<Vec<u8>>, Status> {
    if response.status.is_ok() {
        Ok(response.data)
    } else {
        Err(response.status)
    }
}

/// A hash as long as the card wants it for its curve: the number that it stands for is the same
/// (FIPS 186-5 §6.4.1).
fn fit(curve: Curve, hash: &[u8]) -> Result<Vec<u8>> {
    if !(1..=128).contains(&hash.len()) {
        return Err(TokenError::DataLength.into());
    }
    // The hash that goes with the curve (RFC 9580 §9.2): 64 bytes for P-521, whose numbers have 66.
    let usual = curve.bytes().min(64);
    let Some(missing) = usual.checked_sub(hash.len()) else {
        return Ok(leftmost(curve, hash));
    };
    Ok([vec![0; missing], hash.to_vec()].concat())
}

/// The leftmost bits, as many as the curve's order has.
fn leftmost(curve: Curve, hash: &[u8]) -> Vec<u8> {
    let cut = hash.get(..curve.bytes()).unwrap_or(hash);
    let surplus = (cut.len() * 8).saturating_sub(curve.bits() as usize);
    if surplus == 0 {
        return cut.into();
    }
    let mut before = 0;
    cut.iter()
        .map(|byte| {
            let pair = u16::from_be_bytes([before, *byte]);
            before = *byte;
            (pair >> surplus) as u8
        })
        .collect()
}

/// Cards take less than fits: 40 % of an RSA modulus (§7.2.10), or what their memory has room for.
fn too_long(status: Status, key_type: KeyType, len: usize) -> Failure {
    let usual = match key_type {
        KeyType::Rsa { bits } => bits as usize / 8 * 2 / 5,
        KeyType::Ec(_) => 64,
        // A hash of any kind: what the other users of such keys sign.
        _ => 64,
    };
    match status {
        Status(0x6700 | 0x6A80 | 0x6A84 | 0x6A87 | 0x6985) if len > usual => {
            TokenError::DataLength.into()
        }
        status => Failure::Status(status),
    }
}

fn write_signature(key_type: KeyType, made: &[u8], signature: &mut [u8]) -> Result<usize> {
    if let KeyType::Ec(curve) = key_type {
        if made.len() != 2 * curve.bytes() {
            return Err(odd_answer("a signature"));
        }
        return Ok(ctk_crypto::ecdsa::fixed_to_der(curve, made, signature)?);
    }
    let len = match key_type {
        KeyType::Rsa { bits } => bits.div_ceil(8) as usize,
        _ => 64,
    };
    if made.len() != len {
        return Err(odd_answer("a signature"));
    }
    let place = signature.get_mut(..len).ok_or(TokenError::BadParameter)?;
    place.copy_from_slice(made);
    Ok(len)
}

/// A public key of this curve. Where the crypto library does not know the curve, the card has to
/// look.
fn check_point(curve: Curve, peer: &[u8]) -> Result<()> {
    if peer.first() != Some(&4) || peer.len() != 1 + 2 * curve.bytes() {
        return Err(TokenError::BadParameter.into());
    }
    match ctk_crypto::check_point(curve, peer) {
        Ok(()) | Err(TokenError::NotSupported) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn odd_answer(what: &str) -> Failure {
    Failure::corrupted(format!(
        "the OpenPGP card answers with something that is not {what}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_fitted_to_curves() {
        let hash: Vec<u8> = (1..=128).collect();
        let fitted = |curve, len: usize| fit(curve, &hash[..len]).unwrap();
        assert_eq!(fitted(Curve::P256, 32), hash[..32]);
        assert_eq!(fitted(Curve::P256, 64), hash[..32]);
        assert_eq!(
            fitted(Curve::P256, 20),
            [&[0; 12][..], &hash[..20]].concat()
        );
        assert_eq!(fitted(Curve::P384, 48), hash[..48]);
        assert_eq!(fitted(Curve::P521, 64), hash[..64]);
        assert_eq!(
            fitted(Curve::P521, 32),
            [&[0; 32][..], &hash[..32]].concat()
        );
        let long = fit(Curve::P521, &[0xFF; 80]).unwrap();
        assert_eq!(long.len(), 66);
        assert_eq!(long[..2], [1, 0xFF], "521 bits");
        let odd = fitted(Curve::P521, 66);
        // 528 bits shifted by seven: the first is the upper bit of 01, and so on.
        assert_eq!(odd[..4], [0, 2, 4, 6]);
        for len in [0, 129] {
            let answer = fit(Curve::P256, &vec![1; len]);
            assert_eq!(answer, Err(TokenError::DataLength.into()));
        }
    }

    #[test]
    fn signatures_have_their_length() {
        let mut out = [0; 600];
        let mut write = |key_type, len: usize| write_signature(key_type, &vec![1; len], &mut out);
        assert_eq!(write(KeyType::Rsa { bits: 2048 }, 256), Ok(256));
        assert!(write(KeyType::Rsa { bits: 2048 }, 255).is_err());
        assert_eq!(write(KeyType::Ed25519, 64), Ok(64));
        assert!(write(KeyType::Ed25519, 63).is_err());
        assert_eq!(write(KeyType::Ec(Curve::P256), 64), Ok(70));
        assert!(write(KeyType::Ec(Curve::P256), 66).is_err());
    }
}
