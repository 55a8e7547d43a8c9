//! RSA decryption by a card that tells a wrong padding, so that nobody else is told.
//!
//! Who learns for ciphertexts of their choice whether the v1.5 padding was right decrypts any other
//! one (Bleichenbacher). The contract wants implicit rejection for that reason: a wrong padding
//! gives a pseudo-random plaintext, always the same for the same ciphertext, in every program. So
//! the card's answer is made into the block that it has seen, or into a wrong one, and `ctk_crypto`
//! undoes that as it does for a key in software, in constant time. What remains is what the card
//! itself shows by the time that it takes.
//!
//! Implicit rejection hashes the ciphertext with a secret of the key. A card gives none, but a key
//! can make one: the decryption key's own signature over a text that nobody else has signed is
//! always the same and nobody else's.

use ctk_crypto::{Decryption, RsaEncryption};
use ctk_token::{Digest, Key, KeyAlgorithm, KeyType, PublicKey, PublicKeyMaterial, TokenError};
use zeroize::Zeroizing;

use super::{application::Application, operations, place::Place};
use crate::{
    apdu::Command,
    applet::{Failure, Result},
    card::Transaction,
    status::Status,
};

const MANAGE_SECURITY_ENVIRONMENT: u8 = 0x22;
/// What is signed. It is no DigestInfo, so that it is no signature over anything.
const TEXT: &[u8] = b"ctk-pkcs11 implicit rejection 1";

/// The secret of one key's implicit rejection.
pub(super) struct RejectionKey {
    of: PublicKey,
    secret: Zeroizing<[u8; 32]>,
}

impl RejectionKey {
    /// Makes it, in a transaction in which the user's PIN has been right.
    pub(super) fn make(
        card: &mut Transaction<'_>,
        key: &Key,
        application: &Application,
    ) -> Result<Self> {
        let mut secret = Zeroizing::new([0; 32]);
        match secret_signature(card, application)? {
            Some(signature) => {
                // The key that signed may be another one: each decryption key has a secret of its
                // own.
                let hashed = Zeroizing::new([&signature, key.public_key.spki()].concat());
                secret.copy_from_slice(&ctk_crypto::hash(Digest::Sha256, &hashed)?);
            }
            // Different in each program that runs: still none learns from the plaintext alone that
            // it was made up.
            None => ctk_crypto::random(&mut *secret)?,
        }
        Ok(Self {
            of: key.public_key.clone(),
            secret,
        })
    }

    /// Whether it is this key's.
    pub(super) fn is_of(&self, key: &Key) -> bool {
        self.of == key.public_key
    }
}

/// RSAES-PKCS1-v1_5 (RFC 8017 §7.2) with the key in the place for encryption.
pub(super) fn decrypt(
    card: &mut Transaction<'_>,
    key: &Key,
    touch: bool,
    rejection: &RejectionKey,
    ciphertext: &[u8],
    plaintext: &mut [u8],
) -> Result<usize> {
    let unpadding = unpadding(key)?;
    let response = operations::decipher(card, ciphertext)?;
    let opened = match response.status {
        Status::OK => Some(&response.data[..]),
        status if is_about_padding(status, touch) => None,
        status => return Err(Failure::Status(status)),
    };
    let block = block(unpadding.input_len(), opened)?;
    let len = unpadding.finish(ciphertext, &block, &rejection.secret, plaintext)?;
    Ok(len)
}

/// Refuses what anybody can see: a wrong length, a number that is not below the modulus, too little
/// room.
pub(super) fn check(key: &Key, ciphertext: &[u8], plaintext: &[u8]) -> Result<()> {
    let PublicKeyMaterial::Rsa { modulus, .. } = key.public_key.material() else {
        return Err(TokenError::NotSupported.into());
    };
    if plaintext.len() < modulus.len() {
        return Err(TokenError::BadParameter.into());
    }
    if ciphertext.len() != modulus.len() {
        return Err(TokenError::DataLength.into());
    }
    if ciphertext >= &modulus[..] {
        return Err(TokenError::DataInvalid.into());
    }
    Ok(())
}

/// Undoes the padding of a whole block, as if the card gave it.
fn unpadding(key: &Key) -> Result<Decryption> {
    let raw = |algorithm| algorithm == KeyAlgorithm::RsaRaw;
    let unpadding = Decryption::new(RsaEncryption::Pkcs1, &key.public_key, raw)?;
    unpadding.ok_or_else(|| TokenError::NotSupported.into())
}

/// The block that holds this message, or one that holds none.
fn block(len: usize, message: Option<&[u8]>) -> Result<Zeroizing<Vec<u8>>> {
    let mut block = Zeroizing::new(vec![0; len]);
    let Some(message) = message else {
        return Ok(block);
    };
    let start = len
        .checked_sub(message.len())
        .filter(|start| *start >= 11)
        .ok_or_else(|| Failure::corrupted("the OpenPGP card gives a plaintext longer than fits"))?;
    let (padding, end) = block.split_at_mut(start);
    // 00 02, bytes that are not zero, 00 (RFC 8017 §7.2.1).
    padding.fill(0xFF);
    if let [first, second, .., last] = padding {
        (*first, *second, *last) = (0, 2, 0);
    }
    end.copy_from_slice(message);
    Ok(block)
}

/// Whether a card answers so for a wrong padding. They do not agree on a status, so it is every one
/// that has no other meaning for a command that the card knows, in its applet, with the right
/// length.
fn is_about_padding(status: Status, touch: bool) -> bool {
    let nobody_touched = touch && status == Status::CONDITIONS_NOT_SATISFIED;
    let is_known_otherwise = matches!(
        status.0,
        0x6700 | 0x6881
            ..=0x6884
                | 0x6982
                | 0x6983
                | 0x6A81
                | 0x6A82
                | 0x6A86
                | 0x6A88
                | 0x6B00
                | 0x6D00
                | 0x6E00
    );
    !nobody_touched && !is_known_otherwise
}

/// A signature over [`TEXT`] that is the same every time, by the decryption key itself or else by
/// the one for authentication. `None` if the card cannot do it, or not without being touched for
/// it.
fn secret_signature(
    card: &mut Transaction<'_>,
    application: &Application,
) -> Result<Option<Zeroizing<Vec<u8>>>> {
    if application.capabilities.swaps_keys && !application.key(Place::Encryption).touch {
        if !let_authenticate(card, Place::Encryption)? {
            return Ok(None);
        }
        let signature = operations::authenticate(card, TEXT);
        // Everybody's signatures would come from the wrong key.
        if !let_authenticate(card, Place::Authentication)? {
            return Err(Failure::corrupted(
                "the OpenPGP card does not go back to its authentication key",
            ));
        }
        return unless_refused(signature);
    }
    let other = application.key(Place::Authentication);
    let same_every_time = matches!(other.key_type, Some(KeyType::Rsa { .. } | KeyType::Ed25519));
    if other.exists && same_every_time && !other.touch {
        return unless_refused(operations::authenticate(card, TEXT));
    }
    Ok(None)
}

/// A card need not sign such a text; that nobody is logged in is the caller's to hear.
fn unless_refused(signature: Result<Zeroizing<Vec<u8>>>) -> Result<Option<Zeroizing<Vec<u8>>>> {
    match signature {
        Err(Failure::Status(status)) if status != Status::SECURITY_STATUS_NOT_SATISFIED => Ok(None),
        other => other.map(Some),
    }
}

/// Has INTERNAL AUTHENTICATE use the key in `place` (§7.2.18). Lasts until the applet is selected
/// or the card reset.
fn let_authenticate(card: &mut Transaction<'_>, place: Place) -> Result<bool> {
    let reference = [0x83, 1, place.number()];
    let command = Command::new(MANAGE_SECURITY_ENVIRONMENT, 0x41, 0xA4).data(&reference);
    Ok(card.send(&command)?.status.is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_hold_messages() {
        let block_of = |message: &[u8]| block(32, Some(message)).unwrap();
        let short = block_of(b"");
        assert_eq!(short[..3], [0, 2, 0xFF]);
        assert_eq!(short[30..], [0xFF, 0]);
        let long = block_of(&[7; 21]);
        assert_eq!(long[10..], [&[0][..], &[7; 21]].concat());
        assert!(long[2..10].iter().all(|byte| *byte == 0xFF));
        assert!(block(32, Some(&[7; 22])).is_err());
        assert_eq!(*block(32, None).unwrap(), vec![0; 32]);
    }

    #[test]
    fn a_state_is_no_padding() {
        for status in [0x6982, 0x6D00, 0x6E00, 0x6A88, 0x6700] {
            assert!(!is_about_padding(Status(status), false));
        }
        for status in [0x6A80, 0x6F00, 0x6F13, 0x6400, 0x6985] {
            assert!(is_about_padding(Status(status), false));
        }
        assert!(!is_about_padding(Status::CONDITIONS_NOT_SATISFIED, true));
    }
}
