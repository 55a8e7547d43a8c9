//! PINs that are hashed before they are sent, where the card says so in its KDF-DO (OpenPGP card
//! 3.4 §4.3.2).

use ctk_crypto::Hasher;
use ctk_token::{Digest, Reason, Result, TokenError};
use zeroize::Zeroizing;

use crate::tlv;

/// Which secret is derived: each has a salt of its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Secret {
    /// PW1, the user's PIN.
    User,
    /// The resetting code.
    ResettingCode,
    /// PW3, the administrator's PIN.
    Admin,
}

/// How a card wants its PINs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Kdf {
    /// As they were typed.
    Plain,
    /// Iterated and salted S2K (RFC 9580 §3.7.1.3).
    Iterated {
        digest: Digest,
        /// How many bytes are hashed.
        count: u32,
        user_salt: Salt,
        /// The user's salt where the card has no other (§4.3.2).
        resetting_salt: Option<Salt>,
        admin_salt: Option<Salt>,
    },
}

type Salt = [u8; 8];

/// A count above which nobody's PIN is meant: 0x3E00000 is the largest that OpenPGP can express
/// elsewhere.
const MAX_COUNT: u32 = 0x03E0_0000;

/// How often salt and PIN stand in what is hashed at once.
const REPETITIONS: usize = 64;

impl Kdf {
    /// Parses the contents of a KDF-DO. An empty one is none.
    ///
    /// # Errors
    /// [`TokenError::Corrupted`] for anything else that is not of its form, and for an algorithm
    /// that is unknown: a PIN that is sent in the wrong form is a wrong PIN.
    pub(super) fn parse(object: &[u8]) -> Result<Self> {
        let contents = value(object, 0xF9)?.unwrap_or(object);
        if contents.is_empty() {
            return Ok(Self::Plain);
        }
        match value(contents, 0x81)? {
            Some([0]) => return Ok(Self::Plain),
            Some([3]) => {}
            _ => return Err(unknown()),
        }
        let digest = match value(contents, 0x82)? {
            Some([8]) => Digest::Sha256,
            Some([10]) => Digest::Sha512,
            _ => return Err(unknown()),
        };
        let count = value(contents, 0x83)?
            .and_then(|count| <[u8; 4]>::try_from(count).ok())
            .map(u32::from_be_bytes)
            .filter(|count| *count <= MAX_COUNT)
            .ok_or_else(unknown)?;
        let salt = |tag| {
            let salt = value(contents, tag)?.map(Salt::try_from);
            salt.transpose().map_err(|_| unknown())
        };
        Ok(Self::Iterated {
            digest,
            count,
            user_salt: salt(0x84)?.ok_or_else(unknown)?,
            resetting_salt: salt(0x85)?,
            admin_salt: salt(0x86)?,
        })
    }

    /// What goes to the card for a PIN that was typed.
    ///
    /// # Errors
    /// As the crypto library.
    pub(super) fn derive(&self, which: Secret, pin: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let Self::Iterated {
            digest,
            count,
            user_salt,
            resetting_salt,
            admin_salt,
        } = self
        else {
            return Ok(Zeroizing::new(pin.to_vec()));
        };
        let salt = match which {
            Secret::User => *user_salt,
            Secret::ResettingCode => resetting_salt.unwrap_or(*user_salt),
            Secret::Admin => admin_salt.unwrap_or(*user_salt),
        };
        let salted = Zeroizing::new([&salt[..], pin].concat());
        // Many at once, because each call of the library has its price.
        let block = Zeroizing::new(salted.repeat(REPETITIONS));
        let mut hasher = Hasher::new(*digest)?;
        // The whole of salt and PIN at least once, then on and on up to the count.
        let mut left = (*count as usize).max(salted.len());
        while left > 0 {
            let part = block.get(..left).unwrap_or(&block);
            hasher.update(part)?;
            left -= part.len();
        }
        Ok(Zeroizing::new(hasher.finish()?.to_vec()))
    }
}

fn value(bytes: &[u8], tag: u32) -> Result<Option<&[u8]>> {
    tlv::find(bytes, tag).map_err(|_| unknown())
}

fn unknown() -> TokenError {
    TokenError::Corrupted(Reason::new(
        "the card wants its PINs hashed in a way that is not known here: no PIN was sent",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(algorithm: u8, digest: u8, count: u32) -> Vec<u8> {
        tlv::Writer::new()
            .put(0x81, &[algorithm])
            .put(0x82, &[digest])
            .put(0x83, &count.to_be_bytes())
            .put(0x84, &[0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37])
            .put(0x85, &[0x41; 8])
            .put(0x86, &[0x38, 0x39, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46])
            .as_bytes()
            .to_vec()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn salts_and_hashes() {
        let derived = |kdf: &Kdf, which, pin| hex(&kdf.derive(which, pin).unwrap());
        let kdf = Kdf::parse(&object(3, 8, 100_000)).unwrap();
        // The example of OpenPGP card 3.4 §4.3.2.
        assert_eq!(
            derived(&kdf, Secret::User, b"123456"),
            "773784a602b6c81e3f092f4d7d00e17cc822d88f7360fcf2d2ef2d9d901f44b6"
        );
        // Made with another implementation (Python's hashlib).
        assert_eq!(
            derived(&kdf, Secret::Admin, b"12345678"),
            "1adcb74812d8ef20f879696261953fbd1a1f20f48ef6cec21bd9e84a8e3568e4"
        );
        let long = Kdf::parse(&object(3, 10, 100_000)).unwrap();
        assert_eq!(
            derived(&long, Secret::ResettingCode, b"12345678"),
            "9c6058a7b7c169a94db12ccd7bc35419b4254a70349715a11c4a5e2cd438a4db\
             8cf3112762373a25be7d0e952e03434294f3dd696df036b8ad36ab1d30c045c2"
        );
        let least = Kdf::parse(&object(3, 8, 3)).unwrap();
        assert_eq!(
            derived(&least, Secret::User, b"123456"),
            "e4b90d63237d4e6f88e6e894d473b8763673ba0b23d6e4760fb1fe0d719bddbc",
            "salt and PIN as a whole at least"
        );
    }

    #[test]
    fn a_card_without_takes_pins_as_they_are() {
        for object in [&[][..], &[0x81, 1, 0], &[0xF9, 0], &[0xF9, 3, 0x81, 1, 0]] {
            let kdf = Kdf::parse(object).unwrap();
            assert_eq!(kdf, Kdf::Plain);
            assert_eq!(**kdf.derive(Secret::User, b"123456").unwrap(), *b"123456");
        }
    }

    #[test]
    fn what_is_unknown_sends_no_pin() {
        let good = object(3, 8, 1000);
        let short = &good[..good.len() - 40];
        for object in [
            &object(1, 8, 1000)[..],
            &object(3, 2, 1000),
            &object(3, 8, u32::MAX),
            &[0x81, 1, 3],
            &[0x81],
            &[0x81, 2, 0, 0],
            short,
            &good[..good.len() - 1],
            &[&good[..good.len() - 10], &[0x86, 1, 0]].concat(),
        ] {
            let answer = Kdf::parse(object);
            assert!(
                matches!(answer, Err(TokenError::Corrupted(_))),
                "{answer:?}"
            );
        }
    }
}
