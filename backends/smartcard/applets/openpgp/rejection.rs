//! RSA decryption by a card that tells a wrong padding, so that nobody else is told.
//!
//! Who learns for ciphertexts of their choice whether the v1.5 padding was right decrypts any other
//! one (Bleichenbacher). The contract wants implicit rejection for that reason: a wrong padding
//! gives a pseudo-random plaintext, always the same for the same ciphertext, in every program. So
//! the card's answer is made into the block that it has seen, or into a wrong one, and `ctk_crypto`
//! undoes that as it does for a key in software, in constant time. What remains is what the card
//! itself shows by the time that it takes.
//!
//! Implicit rejection hashes the ciphertext with a secret of the key. A card gives none, but an RSA
//! key can make one: its v1.5 signature over a text that nobody has signed by accident is always the
//! same and nobody else's. (An Ed25519 key signs any text for whoever may use it, like this one for
//! an agent that was forwarded, and is not asked.)

use ctk_crypto::{Decryption, RsaEncryption};
use ctk_token::{Digest, Key, KeyAlgorithm, KeyType, PublicKey, PublicKeyMaterial, TokenError};
use zeroize::Zeroizing;

use super::{ROW, application::Application, operations, place::Place};
use crate::{
    apdu::Command,
    applet::{Failure, Result},
    card::Transaction,
    status::Status,
};

const MANAGE_SECURITY_ENVIRONMENT: u8 = 0x22;
/// What is signed with RSA. It is no DigestInfo, so that it is no signature over anything.
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
        // A card looks for the padding when it has the whole ciphertext.
        status if is_about_padding(status, touch) && !response.is_early => None,
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
/// length. What is no refusal of the card's says nothing of the padding.
fn is_about_padding(status: Status, touch: bool) -> bool {
    let nobody_touched = touch && status == Status::CONDITIONS_NOT_SATISFIED;
    // Not a status word of ISO 7816-4 §5.6, like our own NO_ANSWER; more data, warnings, a wrong Le.
    let is_no_refusal = matches!(status.sw1(), 0..=0x63 | 0x6C | 0x70..=0x8F | 0xA0..);
    // A memory failure, a kind of command, a length, a login, what is not there.
    let is_known_otherwise = matches!(
        status.0,
        0x6581 | 0x6700 | 0x6800
            ..=0x68FF
                | 0x6982
                | 0x6983
                | 0x6A81
                | 0x6A82
                | 0x6A86
                | 0x6A88
                | 0x6B00
                | 0x6D00
                | 0x6E00
                | 0x9000
    );
    !nobody_touched && !is_no_refusal && !is_known_otherwise
}

/// A signature over [`TEXT`] that is the same every time: by the key for authentication, or else by
/// the decryption key itself. `None` if the card cannot do it, or not without being touched for it.
fn secret_signature(
    card: &mut Transaction<'_>,
    application: &Application,
) -> Result<Option<Zeroizing<Vec<u8>>>> {
    let other = application.key(Place::Authentication);
    if other.exists && matches!(other.key_type, Some(KeyType::Rsa { .. })) && !other.touch {
        return unless_refused(operations::authenticate(card, TEXT));
    }
    match application.capabilities.swaps_keys && !application.key(Place::Encryption).touch {
        true => signature_of_decryption_key(card),
        false => Ok(None),
    }
}

/// The decryption key's signature. Other programs' signatures would come from the wrong key if it
/// stayed the one for authentication.
fn signature_of_decryption_key(card: &mut Transaction<'_>) -> Result<Option<Zeroizing<Vec<u8>>>> {
    // There need be no key for authentication, and some cards do not go back to none.
    if !let_authenticate(card, Place::Authentication)? {
        return Ok(None);
    }
    let signature = match let_authenticate(card, Place::Encryption) {
        Ok(true) => unless_refused(operations::authenticate(card, TEXT)),
        Ok(false) => Ok(None),
        Err(failure) => Err(failure),
    };
    // A reset goes back by itself, and ends the transaction.
    if card.is_proven(&ROW) {
        go_back(card)?;
    }
    signature
}

/// Has INTERNAL AUTHENTICATE use its own key again. If the card does not say that it does, the
/// applet is selected, which does it as well and ends the login; and if that fails too, it does not
/// count as selected.
fn go_back(card: &mut Transaction<'_>) -> Result<()> {
    let failure = match let_authenticate(card, Place::Authentication) {
        Ok(true) => return Ok(()),
        Ok(false) => Failure::corrupted(
            "the OpenPGP card does not go back to its authentication key: log in again",
        ),
        Err(failure) => failure,
    };
    if let Err(failure) = card.select(&ROW) {
        let error = failure.into_token_error();
        log::warn!("OpenPGP: the card may use its decryption key to authenticate: {error}");
    }
    Err(failure)
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
        for status in [
            0x0000, 0x6100, 0x6281, 0x6300, 0x63C2, 0x6581, 0x6700, 0x6800, 0x6882, 0x6982, 0x6A88,
            0x6C00, 0x6D00, 0x6E00, 0x9000, 0xFFFF,
        ] {
            assert!(!is_about_padding(Status(status), false), "{status:04X}");
        }
        for status in [0x6A80, 0x6F00, 0x6F13, 0x6400, 0x6985, 0x9F01] {
            assert!(is_about_padding(Status(status), false));
        }
        assert!(!is_about_padding(Status::CONDITIONS_NOT_SATISFIED, true));
    }
}
