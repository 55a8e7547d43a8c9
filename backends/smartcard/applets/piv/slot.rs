//! The places for keys (SP 800-73-4 part 1 table 4b): where the key is, where its certificate is, and what they are called.

use ctk_token::{Curve, KeyType, ObjectId};

/// A place for a key and its certificate.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) enum Slot {
    /// 9A, to log in to systems.
    Authentication,
    /// 9C, to sign documents: wants the PIN each time.
    Signature,
    /// 9D, to decrypt.
    KeyManagement,
    /// 9E, to say that the card is there: without PIN, also without contact.
    CardAuthentication,
    /// 82 to 95, keys that were in 9D once: 1 to 20.
    Retired(u8),
}

/// How many retired keys there can be.
pub(super) const RETIRED: u8 = 20;

impl Slot {
    /// The four that every card has.
    pub(super) const ACTIVE: [Self; 4] = [
        Self::Authentication,
        Self::Signature,
        Self::KeyManagement,
        Self::CardAuthentication,
    ];

    /// All 24, in the order in which they are listed.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        Self::ACTIVE
            .into_iter()
            .chain((1..=RETIRED).map(Self::Retired))
    }

    /// The key reference in commands.
    pub(super) fn key_reference(self) -> u8 {
        match self {
            Self::Authentication => 0x9a,
            Self::Signature => 0x9c,
            Self::KeyManagement => 0x9d,
            Self::CardAuthentication => 0x9e,
            Self::Retired(number) => 0x81_u8.saturating_add(number),
        }
    }

    /// The tag of the certificate's container (SP 800-73-4 part 1 table 3).
    pub(super) fn certificate_tag(self) -> [u8; 3] {
        let last = match self {
            Self::Authentication => 0x05,
            Self::Signature => 0x0a,
            Self::KeyManagement => 0x0b,
            Self::CardAuthentication => 0x01,
            Self::Retired(number) => 0x0c_u8.saturating_add(number),
        };
        [0x5f, 0xc1, last]
    }

    /// What PKCS#11 shows as CKA_ID, as OpenSC numbers them: two decimal digits in one byte, 01 to 09, 10 to 24.
    pub(super) fn identity(self) -> u8 {
        match self {
            Self::Authentication => 1,
            Self::Signature => 2,
            Self::KeyManagement => 3,
            Self::CardAuthentication => 4,
            Self::Retired(number) => {
                let place = number.saturating_add(4);
                ((place / 10) << 4) | (place % 10)
            }
        }
    }

    /// The place of this identity.
    pub(super) fn of_identity(identity: &[u8]) -> Option<Self> {
        Self::all().find(|slot| identity == [slot.identity()])
    }

    /// The private key's name in a list.
    pub(super) fn key_label(self) -> String {
        match self {
            Self::Authentication => "PIV AUTH key".into(),
            Self::Signature => "SIGN key".into(),
            Self::KeyManagement => "KEY MAN key".into(),
            Self::CardAuthentication => "CARD AUTH key".into(),
            Self::Retired(number) => format!("Retired KEY MAN {number}"),
        }
    }

    /// The public key's name in a list.
    pub(super) fn public_label(self) -> String {
        match self {
            Self::Authentication => "PIV AUTH pubkey".into(),
            Self::Signature => "SIGN pubkey".into(),
            Self::KeyManagement => "KEY MAN pubkey".into(),
            Self::CardAuthentication => "CARD AUTH pubkey".into(),
            Self::Retired(number) => format!("Retired KEY MAN {number}"),
        }
    }

    /// The certificate's name in a list.
    pub(super) fn certificate_label(self) -> String {
        match self {
            Self::Authentication => "Certificate for PIV Authentication".into(),
            Self::Signature => "Certificate for Digital Signature".into(),
            Self::KeyManagement => "Certificate for Key Management".into(),
            Self::CardAuthentication => "Certificate for Card Authentication".into(),
            Self::Retired(number) => format!("Retired Certificate for Key Management {number}"),
        }
    }

    /// The name of the key among the token's objects.
    pub(super) fn key_id(self) -> ObjectId {
        self.id("key")
    }

    /// The place of the key of this name.
    pub(super) fn of_key(id: &ObjectId) -> Option<Self> {
        Self::all().find(|slot| slot.key_id() == *id)
    }

    /// The name of the certificate among the token's objects.
    pub(super) fn certificate_id(self) -> ObjectId {
        self.id("certificate")
    }

    /// The place of the certificate of this name.
    pub(super) fn of_certificate(id: &ObjectId) -> Option<Self> {
        Self::all().find(|slot| slot.certificate_id() == *id)
    }

    /// The name of the attestation among the token's objects.
    pub(super) fn attestation_id(self) -> ObjectId {
        self.id("attestation")
    }

    fn id(self, kind: &str) -> ObjectId {
        ObjectId::new(format!("piv-{kind}-{:02x}", self.key_reference()).as_bytes())
    }
}

/// The kinds of keys that the applet knows, with their numbers in commands: SP 800-78-5 table 5 for RSA of up to 3072 bits
/// and the two curves, the others as YubiKeys and firmware for free hardware number them.
const ALGORITHMS: [(KeyType, u8); 8] = [
    (KeyType::Rsa { bits: 1024 }, 0x06),
    (KeyType::Rsa { bits: 2048 }, 0x07),
    (KeyType::Rsa { bits: 3072 }, 0x05),
    (KeyType::Rsa { bits: 4096 }, 0x16),
    (KeyType::Ec(Curve::P256), 0x11),
    (KeyType::Ec(Curve::P384), 0x14),
    (KeyType::Ed25519, 0xe0),
    (KeyType::X25519, 0xe1),
];

/// The number of this kind of key in commands.
pub(super) fn algorithm_of(key_type: KeyType) -> Option<u8> {
    ALGORITHMS
        .iter()
        .find(|(known, _)| *known == key_type)
        .map(|(_, number)| *number)
}

/// The kind of key of this number.
pub(super) fn key_type_of(algorithm: u8) -> Option<KeyType> {
    ALGORITHMS
        .iter()
        .find(|(_, number)| *number == algorithm)
        .map(|(known, _)| *known)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_slot_is_found_by_each_of_its_names() {
        let slots: Vec<_> = Slot::all().collect();
        assert_eq!(slots.len(), 24);
        for slot in &slots {
            assert_eq!(Slot::of_identity(&[slot.identity()]), Some(*slot));
            assert_eq!(Slot::of_key(&slot.key_id()), Some(*slot));
            assert_eq!(Slot::of_certificate(&slot.certificate_id()), Some(*slot));
        }
        let tags: HashSet<_> = slots.iter().map(|slot| slot.certificate_tag()).collect();
        assert_eq!(tags.len(), 24);
        assert_eq!(Slot::of_identity(&[]), None);
        assert_eq!(Slot::of_identity(&[1, 1]), None);
        assert_eq!(Slot::of_identity(&[0x0a]), None);
        assert_eq!(Slot::of_key(&Slot::Signature.certificate_id()), None);
    }

    #[test]
    fn the_ends_of_the_retired_keys_are_where_the_standard_has_them() {
        let (first, last) = (Slot::Retired(1), Slot::Retired(20));
        assert_eq!((first.key_reference(), last.key_reference()), (0x82, 0x95));
        assert_eq!(first.certificate_tag(), [0x5f, 0xc1, 0x0d]);
        assert_eq!(last.certificate_tag(), [0x5f, 0xc1, 0x20]);
        assert_eq!(Slot::Retired(5).identity(), 0x09);
        assert_eq!(Slot::Retired(6).identity(), 0x10);
        assert_eq!(last.identity(), 0x24);
    }

    #[test]
    fn algorithms_are_found_both_ways() {
        for (key_type, number) in ALGORITHMS {
            assert_eq!(algorithm_of(key_type), Some(number));
            assert_eq!(key_type_of(number), Some(key_type));
        }
        assert_eq!(algorithm_of(KeyType::Rsa { bits: 2047 }), None);
        assert_eq!(key_type_of(0x03), None);
    }
}
