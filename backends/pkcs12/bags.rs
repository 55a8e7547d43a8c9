//! What is in the safes of a file (RFC 7292 §4.2): private keys and certificates with their
//! attributes.

use ctk_crypto::SecretBytes;

use crate::{
    ber::{
        CONSTRUCTED, Element, Malformed, OBJECT_IDENTIFIER, OCTET_STRING, Reader, SEQUENCE, SET,
    },
    budget::{Budget, Hashing, MAX_CERTIFICATES, MAX_FAILED, MAX_KEYS},
    failure::{Failure, Result},
    oid,
    password::Password,
    pbe,
};

/// Everything of use in a file, in its order.
#[derive(Debug, Default)]
pub(crate) struct Bags {
    pub(crate) keys: Vec<KeyBag>,
    pub(crate) certificates: Vec<CertificateBag>,
    /// How many parts and keys have another password.
    pub(crate) failed: usize,
    /// How many parts and keys were decrypted, with what Java keeps in bags of its own; and how many
    /// keys are in the clear.
    pub(crate) parts: usize,
    /// How the password was hashed for what was tried to open.
    pub(crate) hashing: Hashing,
}

/// A private key.
#[derive(Debug)]
pub(crate) struct KeyBag {
    /// PrivateKeyInfo (RFC 5208).
    pub(crate) pkcs8: SecretBytes,
    pub(crate) attributes: Attributes,
}

/// A certificate.
#[derive(Debug)]
pub(crate) struct CertificateBag {
    /// X.509.
    pub(crate) der: Vec<u8>,
    pub(crate) attributes: Attributes,
}

/// What a file says of a bag.
#[derive(Debug, Default)]
pub(crate) struct Attributes {
    /// The name for a person; never empty.
    pub(crate) friendly_name: Option<String>,
    /// The same for a key and its certificate.
    pub(crate) local_key_id: Option<Vec<u8>>,
}

/// A walk through all bags of a file.
pub(crate) struct Walk<'p> {
    pub(crate) password: &'p mut Password,
    pub(crate) budget: Budget,
    /// What has shown that the password is right.
    proof: Proof,
    /// Whether the bags that are looked at were decrypted as a whole.
    in_decrypted: bool,
    bags: Bags,
}

/// What shows that a password is right, from little to much.
///
/// It is a login that depends on this, so it must be the key that is closed to another password. A
/// decrypted part without a key counts only where there is no key to protect: else a key in the
/// clear beside it would be had with the password of something else.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Proof {
    /// Nothing so far.
    None,
    /// An encrypted part could be read.
    Part,
    /// An encrypted private key could be read.
    Key,
    /// The MAC over the whole file fits.
    Mac,
}

impl<'p> Walk<'p> {
    /// A walk that has seen nothing yet but, perhaps, a MAC.
    pub(crate) fn new(password: &'p mut Password, budget: Budget, proof: Proof) -> Self {
        Self {
            password,
            budget,
            proof,
            in_decrypted: false,
            bags: Bags::default(),
        }
    }

    /// A part of the file, if it could be decrypted.
    pub(crate) fn decrypted_part(&mut self, opened: Result<SecretBytes>) -> Result<()> {
        let Some(plaintext) = self.note(opened, "a part of the file")? else {
            return Ok(());
        };
        let mut reader = Reader::new(&plaintext);
        let bags = reader.sequence()?;
        let is_whole = matches!(reader.next(), Ok(None));
        if is_whole && bags.clone().next()?.is_some() {
            self.proof = self.proof.max(Proof::Part);
        }
        self.in_decrypted = is_whole;
        let walked = self.safe_contents(bags);
        self.in_decrypted = false;
        walked
    }

    /// Notes what came of a decryption. One failure may be a part with another password, so it is
    /// no error yet.
    fn note(&mut self, opened: Result<SecretBytes>, what: &str) -> Result<Option<SecretBytes>> {
        match opened {
            Ok(plaintext) => {
                self.bags.parts += 1;
                Ok(Some(plaintext))
            }
            Err(Failure::WrongPassword) => {
                self.bags.failed += 1;
                log::debug!("pkcs12: {what} does not open with this password");
                match self.bags.failed {
                    ..=MAX_FAILED => Ok(None),
                    _ if self.proof < Proof::Key => Err(Failure::WrongPassword),
                    _ => Err(Failure::Excessive(format!(
                        "more than {MAX_FAILED} of its parts have another password"
                    ))),
                }
            }
            Err(failure) => Err(failure),
        }
    }

    /// SafeContents, from the inside of its SEQUENCE.
    pub(crate) fn safe_contents(&mut self, mut bags: Reader<'_>) -> Result<()> {
        while let Some(bag) = bags.next()? {
            if bag.identifier != SEQUENCE {
                return Err(Failure::Damaged("a bag that is none"));
            }
            self.bag(bag.children()?)?;
        }
        Ok(())
    }

    /// The bags, if the password was right.
    pub(crate) fn finish(mut self) -> Result<Bags> {
        let failed = self.bags.failed;
        let has_keys = !self.bags.keys.is_empty();
        match self.proof {
            // Bytes that are no text are a guess in the MAC too.
            Proof::Mac if failed > 0 && self.bags.parts == 0 && !self.password.is_text() => {
                return Err(Failure::WrongPassword);
            }
            Proof::Mac | Proof::Key => {}
            Proof::Part if !has_keys => {}
            // Keys in the clear: no password is theirs.
            _ if has_keys && self.password.is_empty() => {}
            _ if failed > 0 => return Err(Failure::WrongPassword),
            _ if self.password.is_empty() => {}
            _ => return Err(Failure::Unprotected),
        }
        if failed > 0 {
            log::warn!("pkcs12: {failed} parts have another password and are left out");
        }
        self.bags.hashing = self.budget.hashing(self.bags.parts);
        Ok(self.bags)
    }

    fn bag(&mut self, mut bag: Reader<'_>) -> Result<()> {
        let kind = bag.oid()?;
        let mut value = bag.explicit()?;
        if oid::is(kind, oid::SAFE_CONTENTS_BAG) {
            return self.safe_contents(value.sequence()?);
        }
        let attributes = bag.optional(SET)?;
        if oid::is(kind, oid::KEY_BAG) {
            let pkcs8 = SecretBytes::copy_of(value.element(SEQUENCE)?.raw);
            match self.in_decrypted {
                true => self.note_key(&pkcs8),
                false => self.bags.parts += 1,
            }
            return self.add_key(pkcs8, attributes);
        }
        if oid::is(kind, oid::SHROUDED_KEY_BAG) {
            let mut encrypted = value.sequence()?;
            let algorithm = encrypted.sequence()?;
            let ciphertext = encrypted.string(OCTET_STRING)?;
            let opened = pbe::open(
                algorithm,
                &ciphertext,
                self.password,
                &mut self.budget,
                is_private_key_info,
            );
            return match self.note(opened, "a private key")? {
                Some(pkcs8) => {
                    self.note_key(&pkcs8);
                    self.add_key(pkcs8, attributes)
                }
                None => Ok(()),
            };
        }
        if oid::is(kind, oid::CERT_BAG) {
            return self.add_certificate(value.sequence()?, attributes);
        }
        if oid::is(kind, oid::SECRET_BAG) {
            self.bags.parts += 1;
        }
        log::debug!(
            "pkcs12: a bag of the kind {} is left out",
            oid::dotted(kind)
        );
        Ok(())
    }

    /// A private key was decrypted.
    fn note_key(&mut self, pkcs8: &[u8]) {
        let mut reader = Reader::new(pkcs8);
        let is_whole = reader.next().is_ok() && matches!(reader.next(), Ok(None));
        if is_whole && is_private_key_info(pkcs8) {
            self.proof = self.proof.max(Proof::Key);
        }
    }

    /// Each key will be checked, which is work as well: the same bytes are so once.
    fn add_key(&mut self, pkcs8: SecretBytes, attributes: Option<Element<'_>>) -> Result<()> {
        let attributes = Attributes::read(attributes)?;
        if self.bags.keys.iter().any(|key| *key.pkcs8 == *pkcs8) {
            return Ok(());
        }
        if self.bags.keys.len() >= MAX_KEYS {
            return Err(Failure::Excessive(format!(
                "it has more than {MAX_KEYS} private keys"
            )));
        }
        self.budget.spend_key(pkcs8.len())?;
        self.bags.keys.push(KeyBag { pkcs8, attributes });
        Ok(())
    }

    fn add_certificate(
        &mut self,
        mut bag: Reader<'_>,
        attributes: Option<Element<'_>>,
    ) -> Result<()> {
        if !oid::is(bag.oid()?, oid::X509_CERTIFICATE) {
            log::debug!("pkcs12: a certificate of another kind than X.509 is left out");
            return Ok(());
        }
        if self.bags.certificates.len() >= MAX_CERTIFICATES {
            return Err(Failure::Excessive(format!(
                "it has more than {MAX_CERTIFICATES} certificates"
            )));
        }
        let der = bag.explicit()?.string(OCTET_STRING)?.to_vec();
        let attributes = Attributes::read(attributes)?;
        self.bags
            .certificates
            .push(CertificateBag { der, attributes });
        Ok(())
    }
}

impl Attributes {
    fn read(set: Option<Element<'_>>) -> std::result::Result<Self, Malformed> {
        let mut found = Self::default();
        let Some(set) = set else { return Ok(found) };
        let mut attributes = set.children()?;
        while let Some(attribute) = attributes.next()? {
            let mut attribute = attribute.children()?;
            let name = attribute.oid()?;
            let Some(value) = attribute.element(SET)?.children()?.next()? else {
                continue;
            };
            if oid::is(name, oid::FRIENDLY_NAME) {
                let text = text(value.identifier & !CONSTRUCTED, &value.octets()?);
                found.friendly_name = Some(text).filter(|text| !text.is_empty());
            } else if oid::is(name, oid::LOCAL_KEY_ID) {
                found.local_key_id = Some(value.octets()?.to_vec());
            }
        }
        Ok(found)
    }
}

/// Whether a plaintext has the form of SafeContents.
pub(crate) fn are_safe_contents(plaintext: &[u8]) -> bool {
    let walk = || -> std::result::Result<bool, Malformed> {
        let mut bags = Reader::new(plaintext).sequence()?;
        while let Some(bag) = bags.next()? {
            if bag.identifier != SEQUENCE {
                return Ok(false);
            }
            bag.children()?.element(OBJECT_IDENTIFIER)?;
        }
        Ok(true)
    };
    walk().unwrap_or(false)
}

/// Whether a plaintext has the form of PrivateKeyInfo.
pub(crate) fn is_private_key_info(plaintext: &[u8]) -> bool {
    let walk = || -> std::result::Result<(), Malformed> {
        let mut info = Reader::new(plaintext).sequence()?;
        info.unsigned()?;
        info.sequence()?.oid()?;
        info.string(OCTET_STRING)?;
        Ok(())
    };
    walk().is_ok()
}

/// Longest label that is kept, in bytes: what the programs that read labels have room for.
const MAX_TEXT: usize = 255;

/// The text of a string with this tag, on one line and of at most [`MAX_TEXT`] bytes.
pub(crate) fn text(tag: u8, content: &[u8]) -> String {
    const UNIVERSAL_STRING: u8 = 0x1c;
    const BMP_STRING: u8 = 0x1e;
    let text: String = match tag {
        BMP_STRING => {
            let (units, _) = content.as_chunks::<2>();
            let units = units.iter().map(|unit| u16::from_be_bytes(*unit));
            char::decode_utf16(units)
                .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
                .collect()
        }
        UNIVERSAL_STRING => {
            let (units, _) = content.as_chunks::<4>();
            let chars = units
                .iter()
                .map(|unit| char::from_u32(u32::from_be_bytes(*unit)));
            chars
                .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
                .collect()
        }
        _ => match std::str::from_utf8(content) {
            Ok(text) => text.into(),
            // T61String, in practice Latin-1
            Err(_) => content.iter().copied().map(char::from).collect(),
        },
    };
    let mut line = String::new();
    for c in text.chars().filter(|c| !c.is_control()) {
        if line.len() + c.len_utf8() > MAX_TEXT {
            break;
        }
        line.push(c);
    }
    line.trim().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_every_kind() {
        assert_eq!(text(0x1e, &[0, b'a', 0xd8, 0x34, 0xdd, 0x1e, 0, 0]), "a𝄞");
        assert_eq!(text(0x1e, &[0xd8, 0x34, 0, b'a', 7]), "\u{fffd}a");
        assert_eq!(
            text(0x1c, &[0, 1, 0xd1, 0x1e, 0xff, 0xff, 0xff, 0xff]),
            "𝄞\u{fffd}"
        );
        assert_eq!(text(0x0c, "é\n".as_bytes()), "é");
        assert_eq!(text(0x14, &[0xe9]), "é");
        assert_eq!(text(0x0c, "é".repeat(200).as_bytes()).len(), 254);
    }

    #[test]
    fn the_same_key_is_checked_once_and_long_ones_are_work() {
        let mut password = Password::new(b"");
        let mut walk = Walk::new(&mut password, Budget::new(), Proof::Mac);
        for _ in 0..=MAX_KEYS {
            walk.add_key(SecretBytes::copy_of(&[1; 5000]), None)
                .unwrap();
        }
        assert_eq!(walk.bags.keys.len(), 1);
        let refused = (0..MAX_KEYS).find_map(|number| {
            let mut key = [2; 5000];
            key[0] = number as u8;
            key[1] = 0;
            walk.add_key(SecretBytes::copy_of(&key), None).err()
        });
        assert!(
            matches!(&refused, Some(Failure::Excessive(why)) if why.contains("to check")),
            "{refused:?}"
        );
    }

    #[test]
    fn the_form_of_a_plaintext() {
        assert!(are_safe_contents(&[0x30, 0]));
        assert!(are_safe_contents(&[0x30, 5, 0x30, 3, 0x06, 1, 0x2a]));
        assert!(!are_safe_contents(&[0x30, 3, 0x02, 1, 0]));
        assert!(!are_safe_contents(&[0x31, 0]));
        assert!(!are_safe_contents(&[]));
        assert!(!is_private_key_info(&[0x30, 3, 0x02, 1, 0]));
    }
}
