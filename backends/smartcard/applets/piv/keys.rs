//! Using keys: GENERAL AUTHENTICATE (SP 800-73-4 part 2 §3.2.4, appendices A.3 to A.5).

use ctk_token::{
    Constraint, Curve, Key, KeyAlgorithm, KeyType, Operation, PublicKey, PublicKeyMaterial,
    TokenError,
};
use zeroize::Zeroizing;

use super::{
    container::field,
    slot::{self, Slot},
};
use crate::{
    apdu::{Command, Le},
    applet::{Failure, Result},
    card::Transaction,
    status::Status,
    tlv::Writer,
};

const GENERAL_AUTHENTICATE: u8 = 0x87;
const GET_CHALLENGE: u8 = 0x84;
const TEMPLATE: u32 = 0x7c;
const CHALLENGE: u32 = 0x81;
const RESPONSE: u32 = 0x82;
const EXPONENTIATION: u32 = 0x85;

/// The primitives of the card. Whether a key is used for one is its constraint's.
pub(super) fn supports(operation: Operation, key: &Key, algorithm: KeyAlgorithm) -> bool {
    use KeyAlgorithm as A;
    if key.constraint(operation) == Constraint::Never || Slot::of_key(&key.id).is_none() {
        return false;
    }
    let key_type = key.public_key.key_type();
    if slot::algorithm_of(key_type).is_none() {
        return false;
    }
    match (operation, key_type) {
        (Operation::Sign, KeyType::Rsa { .. }) => algorithm == A::RsaRaw,
        (Operation::Decrypt, KeyType::Rsa { .. }) => {
            !key.public_key.is_pss_only() && algorithm == A::RsaRaw
        }
        (Operation::Sign, KeyType::Ec(_)) => algorithm == A::EcdsaDigest,
        (Operation::KeyExchange, KeyType::Ec(_)) => matches!(algorithm, A::Ecdh | A::EcdhCofactor),
        (Operation::Sign, KeyType::Ed25519) => algorithm == A::EdDsa,
        (Operation::KeyExchange, KeyType::X25519) => algorithm == A::Ecdh,
        _ => false,
    }
}

/// Signs: an RSA block, a hash for ECDSA, a message for Ed25519.
pub(super) fn sign(
    card: &mut Transaction<'_>,
    key: &Key,
    algorithm: KeyAlgorithm,
    input: &[u8],
    signature: &mut [u8],
) -> Result<usize> {
    let used = Used::new(key, Operation::Sign, algorithm)?;
    let max = key.public_key.max_signature_len();
    let signature = signature.get_mut(..max).ok_or(TokenError::BadParameter)?;
    match key.public_key.material() {
        PublicKeyMaterial::Rsa { modulus, .. } => {
            check_block(modulus, input)?;
            let answer = used.ask(card, CHALLENGE, input)?;
            copy_block(&answer, signature)
        }
        PublicKeyMaterial::Ec { curve, .. } => {
            let hash = fitted(*curve, input)?;
            let answer = used.ask(card, CHALLENGE, &hash)?;
            let der = Used::response(&answer)?;
            signature
                .get_mut(..der.len())
                .ok_or_else(malformed)?
                .copy_from_slice(der);
            Ok(der.len())
        }
        PublicKeyMaterial::Raw { .. } => {
            let answer = used.ask(card, CHALLENGE, input).map_err(too_long)?;
            copy_block(&answer, signature)
        }
    }
}

/// Decrypts an RSA block; the whole block comes back, and whoever asked takes off the padding.
pub(super) fn decrypt(
    card: &mut Transaction<'_>,
    key: &Key,
    algorithm: KeyAlgorithm,
    input: &[u8],
    plaintext: &mut [u8],
) -> Result<usize> {
    let used = Used::new(key, Operation::Decrypt, algorithm)?;
    let PublicKeyMaterial::Rsa { modulus, .. } = key.public_key.material() else {
        return Err(TokenError::NotSupported.into());
    };
    let plaintext = plaintext
        .get_mut(..modulus.len())
        .ok_or(TokenError::BadParameter)?;
    check_block(modulus, input)?;
    let answer = used.ask(card, CHALLENGE, input)?;
    copy_block(&answer, plaintext)
}

/// Agrees with a peer's public key on a secret.
pub(super) fn key_exchange(
    card: &mut Transaction<'_>,
    key: &Key,
    algorithm: KeyAlgorithm,
    peer: &[u8],
    secret: &mut [u8],
) -> Result<usize> {
    let used = Used::new(key, Operation::KeyExchange, algorithm)?;
    let secret = secret
        .get_mut(..key.public_key.shared_secret_len())
        .ok_or(TokenError::BadParameter)?;
    match key.public_key.key_type() {
        // The card may not look, and a point of another curve would tell of its key.
        KeyType::Ec(curve) => ctk_crypto::check_point(curve, peer)?,
        _ if peer.len() == secret.len() => {}
        _ => return Err(TokenError::BadParameter.into()),
    }
    let answer = used.ask(card, EXPONENTIATION, peer)?;
    let len = copy_block(&answer, secret)?;
    // A peer of small order (RFC 7748 §6.1).
    if ctk_crypto::constant_time_eq(secret, &Zeroizing::new(vec![0; len])) {
        return Err(TokenError::BadParameter.into());
    }
    Ok(len)
}

/// The card's random numbers. SP 800-73-4 has no command for them; cards with an ISO 7816 system below have.
pub(super) fn random(card: &mut Transaction<'_>, out: &mut [u8]) -> Result<()> {
    for piece in out.chunks_mut(CHALLENGE_LEN) {
        // No more than asked, and 8 bytes are what every card with the command gives.
        let command = Command::new(GET_CHALLENGE, 0, 0)
            .le(Le::Exactly(CHALLENGE_LEN as u16))
            .secret();
        let response = card.send(&command)?;
        let answer = match response.status {
            Status::OK => response.data.get(..piece.len()).ok_or_else(malformed)?,
            _ => return Err(TokenError::NotSupported.into()),
        };
        piece.copy_from_slice(answer);
    }
    Ok(())
}

const CHALLENGE_LEN: usize = 8;

/// The public key in the template 7F49 (SP 800-73-4 part 2 §3.3.2), of the type that was asked for.
pub(super) fn public_key(key_type: KeyType, template: &[u8]) -> Option<PublicKey> {
    let key = match key_type {
        KeyType::Rsa { .. } => PublicKey::rsa(field(template, 0x81)?, field(template, 0x82)?),
        KeyType::Ec(curve) => PublicKey::ec(curve, field(template, 0x86)?),
        _ => PublicKey::raw(key_type, field(template, 0x86)?),
    }
    .ok()?;
    let is_odd = |number: &[u8]| number.last().is_some_and(|last| last & 1 != 0);
    if let PublicKeyMaterial::Rsa { modulus, exponent } = key.material()
        && !(is_odd(modulus) && is_odd(exponent))
    {
        return None;
    }
    (key.key_type() == key_type).then_some(key)
}

/// A key in use.
struct Used {
    algorithm: u8,
    reference: u8,
}

impl Used {
    fn new(key: &Key, operation: Operation, algorithm: KeyAlgorithm) -> Result<Self> {
        let slot = Slot::of_key(&key.id).ok_or(TokenError::ObjectNotFound)?;
        if !supports(operation, key, algorithm) {
            return Err(TokenError::NotSupported.into());
        }
        let number = slot::algorithm_of(key.public_key.key_type());
        Ok(Self {
            algorithm: number.ok_or(TokenError::NotSupported)?,
            reference: slot.key_reference(),
        })
    }

    /// Sends the data under their tag and asks for the response to them.
    fn ask(&self, card: &mut Transaction<'_>, tag: u32, data: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let parts = Writer::new().put(RESPONSE, &[]).put(tag, data);
        let command = Command::new(GENERAL_AUTHENTICATE, self.algorithm, self.reference)
            .data(Writer::new().nest(TEMPLATE, &parts).as_bytes())
            .le(Le::All)
            .secret();
        Ok(card.call(&command)?.data)
    }

    fn response(answer: &[u8]) -> Result<&[u8]> {
        field(answer, TEMPLATE)
            .and_then(|template| field(template, RESPONSE))
            .ok_or_else(malformed)
    }
}

/// Copies a response that has to be as long as the place for it.
fn copy_block(answer: &[u8], out: &mut [u8]) -> Result<usize> {
    let response = Used::response(answer)?;
    if response.len() != out.len() {
        return Err(malformed());
    }
    out.copy_from_slice(response);
    Ok(out.len())
}

fn malformed() -> Failure {
    Failure::corrupted("the card's answer to the use of a key is malformed")
}

/// What a card says of a message that is longer than its memory.
fn too_long(failure: Failure) -> Failure {
    match failure {
        Failure::Status(Status(0x6700 | 0x6a80 | 0x6a84)) => TokenError::DataLength.into(),
        other => other,
    }
}

/// Whether a block is as long as the modulus and below it.
fn check_block(modulus: &[u8], block: &[u8]) -> Result<()> {
    if block.len() != modulus.len() {
        return Err(TokenError::DataLength.into());
    }
    // Big-endian numbers of the same length compare as bytes do.
    if block >= modulus {
        return Err(TokenError::DataInvalid.into());
    }
    Ok(())
}

/// A hash as long as the curve's order: the leftmost bytes of a longer one (FIPS 186-5 §6.4), and a shorter one with zeros
/// before it, which is the same number.
fn fitted(curve: Curve, hash: &[u8]) -> Result<Vec<u8>> {
    if hash.is_empty() {
        return Err(TokenError::DataLength.into());
    }
    let len = curve.bytes();
    let kept = hash.get(..len).unwrap_or(hash);
    let mut fitted = vec![0; len.saturating_sub(kept.len())];
    fitted.extend(kept);
    Ok(fitted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_fitted_to_the_curve() {
        let hash: Vec<u8> = (1..=64).collect();
        assert_eq!(fitted(Curve::P256, &hash).unwrap(), hash[..32]);
        assert_eq!(fitted(Curve::P256, &hash[..32]).unwrap(), hash[..32]);
        let short = fitted(Curve::P384, &hash[..32]).unwrap();
        assert_eq!((&short[..16], &short[16..]), (&[0; 16][..], &hash[..32]));
        assert_eq!(fitted(Curve::P256, &[]), Err(TokenError::DataLength.into()));
    }

    #[test]
    fn blocks_are_below_the_modulus() {
        let modulus = [0xc0, 0, 1];
        assert_eq!(check_block(&modulus, &[0xc0, 0, 0]), Ok(()));
        assert_eq!(
            check_block(&modulus, &modulus),
            Err(TokenError::DataInvalid.into())
        );
        assert_eq!(
            check_block(&modulus, &[0, 0]),
            Err(TokenError::DataLength.into())
        );
    }

    #[test]
    fn a_public_key_is_of_the_type_that_was_asked_for() {
        let rsa = |bits: u32, last: u8, exponent: &[u8]| {
            let mut modulus = vec![0xff; bits as usize / 8];
            *modulus.last_mut().unwrap() = last;
            let template = Writer::new().put(0x81, &modulus).put(0x82, exponent);
            public_key(KeyType::Rsa { bits: 1024 }, template.as_bytes())
        };
        assert!(rsa(1024, 0xff, &[1, 0, 1]).is_some());
        assert!(rsa(1032, 0xff, &[1, 0, 1]).is_none());
        assert!(rsa(1024, 0xfe, &[1, 0, 1]).is_none());
        assert!(rsa(1024, 0xff, &[2]).is_none());
        assert!(rsa(1024, 0xff, &[]).is_none());
        let raw = Writer::new().put(0x86, &[9; 32]);
        assert!(public_key(KeyType::Ed25519, raw.as_bytes()).is_some());
        assert!(public_key(KeyType::X25519, &[0x86, 31, 1]).is_none());
    }
}
