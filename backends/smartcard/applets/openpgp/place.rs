//! The three places for keys that every card has, and what belongs to each (OpenPGP card 3.4
//! §7.2.14).

use ctk_token::{AuthId, Curve, KeyType, ObjectId};

/// PW1 in mode 81: it opens PSO: COMPUTE DIGITAL SIGNATURE and nothing else (§4.3).
pub(super) const SIGNING_PIN: AuthId = AuthId(1);
/// PW1 in mode 82: it opens everything else that is the user's.
pub(super) const USER_PIN: AuthId = AuthId(2);

/// A place for a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Place {
    Signature,
    Encryption,
    Authentication,
}

impl Place {
    /// All of them, in the order of their numbers.
    pub(super) const ALL: [Self; 3] = [Self::Signature, Self::Encryption, Self::Authentication];

    /// 0 to 2: where its data stands in lists of three.
    pub(super) const fn index(self) -> usize {
        self as usize
    }

    /// Its number on the card (§4.4.3.8), which programs know as the key's CKA_ID.
    pub(super) const fn number(self) -> u8 {
        self as u8 + 1
    }

    /// The place with this CKA_ID.
    pub(super) fn of_identity(identity: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|place| identity == [place.number()])
    }

    /// The place whose key has this name.
    pub(super) fn of_key(id: &ObjectId) -> Option<Self> {
        Self::ALL.into_iter().find(|place| place.key_id() == *id)
    }

    /// The place whose certificate has this name.
    pub(super) fn of_certificate(id: &ObjectId) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|place| place.certificate_id() == *id)
    }

    /// The name of the key here.
    pub(super) fn key_id(self) -> ObjectId {
        ObjectId::new(format!("key {}", self.number()).as_bytes())
    }

    /// The name of the certificate here.
    pub(super) fn certificate_id(self) -> ObjectId {
        ObjectId::new(format!("certificate {}", self.number()).as_bytes())
    }

    /// The key's label, as OpenSC has it.
    pub(super) const fn key_label(self) -> &'static str {
        match self {
            Self::Signature => "Signature key",
            Self::Encryption => "Encryption key",
            Self::Authentication => "Authentication key",
        }
    }

    /// The label of its certificate, as OpenSC has it.
    pub(super) const fn certificate_label(self) -> &'static str {
        match self {
            Self::Signature => "SIG certificate",
            Self::Encryption => "DEC certificate",
            Self::Authentication => "AUT certificate",
        }
    }

    /// The control reference template that names the key in commands (§7.2.14).
    pub(super) const fn control_reference(self) -> &'static [u8] {
        match self {
            Self::Signature => &[0xB6, 0],
            Self::Encryption => &[0xB8, 0],
            Self::Authentication => &[0xA4, 0],
        }
    }

    /// The tag of its algorithm attributes, C1 to C3.
    pub(super) const fn attributes_tag(self) -> u16 {
        0xC1 + self as u16
    }

    /// The tag under which its fingerprint is written, C7 to C9.
    pub(super) const fn fingerprint_tag(self) -> u16 {
        0xC7 + self as u16
    }

    /// The tag under which the time of its generation is written, CE to D0.
    pub(super) const fn time_tag(self) -> u16 {
        0xCE + self as u16
    }

    /// The tag of its user interaction flag, D6 to D8.
    pub(super) const fn touch_tag(self) -> u16 {
        0xD6 + self as u16
    }

    /// Which of the cardholder certificates is the key's: they stand in the order authentication,
    /// encryption, signature (§7.2.5).
    pub(super) const fn occurrence(self) -> u8 {
        2 - self as u8
    }

    /// The PIN that opens the key.
    pub(super) const fn auth(self) -> AuthId {
        match self {
            Self::Signature => SIGNING_PIN,
            Self::Encryption | Self::Authentication => USER_PIN,
        }
    }

    /// Whether a key of this type has a use here.
    pub(super) fn takes(self, key_type: KeyType) -> bool {
        match key_type {
            KeyType::Rsa { bits } => bits.is_multiple_of(8) && (1024..=8192).contains(&bits),
            // The specification has no name for it.
            KeyType::Ec(curve) => curve != Curve::P224,
            KeyType::Ed25519 => self != Self::Encryption,
            KeyType::X25519 => self == Self::Encryption,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_has_tags_of_its_own() {
        let tags = |of: fn(Place) -> u16| Place::ALL.map(of);
        assert_eq!(tags(Place::attributes_tag), [0xC1, 0xC2, 0xC3]);
        assert_eq!(tags(Place::fingerprint_tag), [0xC7, 0xC8, 0xC9]);
        assert_eq!(tags(Place::time_tag), [0xCE, 0xCF, 0xD0]);
        assert_eq!(tags(Place::touch_tag), [0xD6, 0xD7, 0xD8]);
        assert_eq!(Place::ALL.map(Place::occurrence), [2, 1, 0]);
        for place in Place::ALL {
            assert_eq!(Place::of_identity(&[place.number()]), Some(place));
            assert_eq!(Place::of_key(&place.key_id()), Some(place));
            assert_eq!(Place::of_certificate(&place.certificate_id()), Some(place));
            assert_eq!(Place::of_key(&place.certificate_id()), None);
        }
        assert_eq!(Place::of_identity(&[1, 2]), None);
    }
}
