//! The management key 9B, by which an administrator writes to the card (SP 800-73-4 part 2 appendix A.1): shown by mutual
//! authentication, so that the card proves that it knows the key as well.

use ctk_crypto::{CipherMode, CipherStream, constant_time_eq};
use ctk_token::TokenError;
use zeroize::Zeroizing;

use super::{
    Piv, ROW,
    container::field,
    yubikey::{self, Told},
};
use crate::{
    apdu::{Command, Le},
    applet::{Failure, Result},
    card::Transaction,
    tlv::Writer,
};

/// The key's reference.
pub(super) const REFERENCE: u8 = 0x9b;
/// The longest key, AES-256, in hexadecimal digits.
pub(super) const MAX_DIGITS: usize = 64;
/// And the shortest, AES-128.
const MIN_DIGITS: usize = 32;

const GENERAL_AUTHENTICATE: u8 = 0x87;
const TEMPLATE: u32 = 0x7c;
const WITNESS: u32 = 0x80;
const CHALLENGE: u32 = 0x81;
const RESPONSE: u32 = 0x82;

/// A cipher of SP 800-78-4 table 6-2.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Cipher {
    TripleDes,
    Aes128,
    Aes192,
    Aes256,
}

impl Cipher {
    const ALL: [Self; 4] = [Self::TripleDes, Self::Aes128, Self::Aes192, Self::Aes256];

    fn number(self) -> u8 {
        match self {
            Self::TripleDes => 0x03,
            Self::Aes128 => 0x08,
            Self::Aes192 => 0x0a,
            Self::Aes256 => 0x0c,
        }
    }

    fn key_len(self) -> usize {
        match self {
            Self::Aes128 => 16,
            Self::TripleDes | Self::Aes192 => 24,
            Self::Aes256 => 32,
        }
    }

    fn block_len(self) -> usize {
        match self {
            Self::TripleDes => 8,
            _ => 16,
        }
    }

    /// The mode for one block, and the IV with which it is the bare cipher.
    fn mode(self) -> (CipherMode, &'static [u8]) {
        match self {
            Self::TripleDes => (CipherMode::DesEde3Cbc, &[0; 8]),
            _ => (CipherMode::AesEcb, &[]),
        }
    }

    fn encrypt(self, key: &[u8], block: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let (mode, iv) = self.mode();
        run(CipherStream::encrypt(&mode, key, iv)?, block)
    }

    fn decrypt(self, key: &[u8], block: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let (mode, iv) = self.mode();
        run(CipherStream::decrypt(&mode, key, iv)?, block)
    }
}

fn run(mut cipher: CipherStream, block: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let mut out = Zeroizing::new(vec![0; block.len()]);
    match cipher.update(block, &mut out)? {
        len if len == block.len() => Ok(out),
        _ => Err(TokenError::BadParameter.into()),
    }
}

impl Piv {
    /// Shows the management key, in hexadecimal digits.
    pub(super) fn authenticate_admin(
        &self,
        card: &mut Transaction<'_>,
        digits: &[u8],
    ) -> Result<()> {
        let key = parse(digits)?;
        self.show(card, &key).map(drop)
    }

    /// Replaces the management key by one of the same or another length: a YubiKey's command that other firmware has as
    /// well.
    pub(super) fn change_management_key(
        &self,
        card: &mut Transaction<'_>,
        old: &[u8],
        new: &[u8],
    ) -> Result<()> {
        let new = parse(new).map_err(|_| TokenError::DataInvalid)?;
        let old = parse(old)?;
        let shown = self.show(card, &old)?;
        // The card's own cipher, where the new key is for that as well.
        let cipher = [shown]
            .into_iter()
            .chain(Cipher::ALL)
            .find(|cipher| cipher.key_len() == new.len())
            .ok_or(TokenError::DataInvalid)?;
        let set = yubikey::set_management_key(card, cipher.number(), &new);
        if set.is_err() {
            // Whoever asked takes some errors for a proof that nobody was let in.
            card.select(&ROW)?;
        }
        set
    }

    /// Shows a key, and says which cipher it is for.
    fn show(&self, card: &mut Transaction<'_>, key: &[u8]) -> Result<Cipher> {
        let mut refused = Failure::Token(WRONG);
        for cipher in self.ciphers(card, key.len())? {
            match authenticate(card, cipher, key) {
                // Nothing has been tried: this is not the cipher of the card's key.
                Err(Step::Witness(Failure::Status(status))) => refused = Failure::Status(status),
                Err(Step::Witness(failure) | Step::Response(failure)) => return Err(failure),
                Ok(()) => return Ok(cipher),
            }
        }
        Err(match refused {
            // The key is of a kind that the card's own is not.
            Failure::Status(status) if NOT_THIS_CIPHER.contains(&status.0) => WRONG.into(),
            other => other,
        })
    }

    /// The ciphers that a key of this length may be for, in the order in which the card is asked. Asking costs no try.
    fn ciphers(&self, card: &mut Transaction<'_>, key_len: usize) -> Result<Vec<Cipher>> {
        let fitting = |cipher: &Cipher| cipher.key_len() == key_len;
        let mut ciphers: Vec<_> = Cipher::ALL.into_iter().filter(fitting).collect();
        if self.is_yubikey
            && ciphers.len() > 1
            && let Told::Key(metadata) = yubikey::metadata(card, REFERENCE)?
        {
            ciphers.retain(|cipher| cipher.number() == metadata.algorithm);
        }
        Ok(ciphers)
    }
}

const WRONG: TokenError = TokenError::AuthenticationFailed { tries: None };
/// What cards answer to a cipher that is not that of their key.
const NOT_THIS_CIPHER: [u16; 5] = [0x6a80, 0x6a81, 0x6a86, 0x6a88, 0x6b00];

/// How far an authentication came.
enum Step {
    Witness(Failure),
    Response(Failure),
}

/// The card encrypts a witness for us to decrypt, and we send it a challenge to encrypt.
fn authenticate(
    card: &mut Transaction<'_>,
    cipher: Cipher,
    key: &[u8],
) -> std::result::Result<(), Step> {
    let answer = exchange(card, cipher, &Writer::new().put(WITNESS, &[])).map_err(Step::Witness)?;
    prove_key(card, cipher, key, &answer).map_err(Step::Response)
}

fn prove_key(card: &mut Transaction<'_>, cipher: Cipher, key: &[u8], answer: &[u8]) -> Result<()> {
    let witness = part(answer, WITNESS).filter(|witness| witness.len() == cipher.block_len());
    let witness = witness.ok_or_else(malformed)?;
    let witness = cipher.decrypt(key, witness)?;
    let mut challenge = vec![0; cipher.block_len()];
    ctk_crypto::random(&mut challenge)?;
    let shown = Writer::new()
        .put(WITNESS, &witness)
        .put(CHALLENGE, &challenge);
    let answer = exchange(card, cipher, &shown).map_err(|failure| match failure {
        Failure::Status(status) if REFUSED.contains(&status.0) || status.sw1() == 0x63 => {
            WRONG.into()
        }
        other => other,
    })?;
    let expected = cipher.encrypt(key, &challenge)?;
    // Cards differ in how they read the standard: some answer under the tag of the witness.
    let response = part(&answer, RESPONSE)
        .or_else(|| part(&answer, WITNESS))
        .unwrap_or_default();
    if !constant_time_eq(&expected, response) {
        return Err(Failure::corrupted(
            "the card does not know its management key: it is not the card that it seems to be",
        ));
    }
    Ok(())
}

/// What cards answer to a wrong key.
const REFUSED: [u16; 3] = [0x6982, 0x6985, 0x6a80];

fn exchange(
    card: &mut Transaction<'_>,
    cipher: Cipher,
    parts: &Writer,
) -> Result<Zeroizing<Vec<u8>>> {
    let command = Command::new(GENERAL_AUTHENTICATE, cipher.number(), REFERENCE)
        .data(Writer::new().nest(TEMPLATE, parts).as_bytes())
        .le(Le::All)
        .secret();
    Ok(card.call(&command)?.data)
}

fn part(answer: &[u8], tag: u32) -> Option<&[u8]> {
    field(field(answer, TEMPLATE)?, tag)
}

fn malformed() -> Failure {
    Failure::corrupted("the card's answer about its management key is malformed")
}

/// The key's bytes.
fn parse(digits: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    if !matches!(digits.len(), MIN_DIGITS | 48 | MAX_DIGITS) {
        return Err(TokenError::PinLength {
            min: MIN_DIGITS,
            max: MAX_DIGITS,
        }
        .into());
    }
    let value = |digit: &u8| {
        char::from(*digit)
            .to_digit(16)
            .and_then(|value| u8::try_from(value).ok())
    };
    let mut key = Zeroizing::new(Vec::with_capacity(digits.len() / 2));
    for pair in digits.chunks(2) {
        let [high, low] = pair else {
            return Err(WRONG.into());
        };
        let (high, low) = value(high).zip(value(low)).ok_or(WRONG)?;
        key.push(high << 4 | low);
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::bytes;

    #[test]
    fn keys_are_hexadecimal() {
        let digits = b"000102030405060708090a0b0C0D0E0F";
        assert_eq!(**parse(digits).unwrap(), (0..16).collect::<Vec<u8>>());
        assert_eq!(parse(&[b'0'; 48]).unwrap().len(), 24);
        assert_eq!(parse(&[b'f'; 64]).unwrap().len(), 32);
        let lengths = TokenError::PinLength { min: 32, max: 64 };
        for len in [9, 16, 31, 33, 47, 63, 65] {
            assert_eq!(
                parse(&vec![b'0'; len]),
                Err(lengths.clone().into()),
                "{len}"
            );
        }
        assert_eq!(parse(&[b'g'; 48]), Err(WRONG.into()));
    }

    #[test]
    fn ciphers_are_the_bare_ones() {
        // SP 800-38A §F.1.1, F.1.3 and F.1.5; SP 800-67 has no vectors of its own: SP 800-20 table A.1.
        let block = bytes("6bc1bee22e409f96e93d7e117393172a");
        for (cipher, key, encrypted) in [
            (
                Cipher::Aes128,
                "2b7e151628aed2a6abf7158809cf4f3c",
                "3ad77bb40d7a3660a89ecaf32466ef97",
            ),
            (
                Cipher::Aes192,
                "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b",
                "bd334f1d6e45f25ff712a214571fa5cc",
            ),
            (
                Cipher::Aes256,
                "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
                "f3eed1bdb5d2a03c064b5a7e3db181f8",
            ),
        ] {
            let key = bytes(key);
            assert_eq!(**cipher.encrypt(&key, &block).unwrap(), bytes(encrypted));
            assert_eq!(**cipher.decrypt(&key, &bytes(encrypted)).unwrap(), block);
        }
        let key = bytes(&"0101010101010101".repeat(3));
        let block = bytes("8000000000000000");
        let encrypted = bytes("95f8a5e5dd31d900");
        assert_eq!(
            **Cipher::TripleDes.encrypt(&key, &block).unwrap(),
            encrypted
        );
        assert_eq!(
            **Cipher::TripleDes.decrypt(&key, &encrypted).unwrap(),
            block
        );
    }
}
