//! What the card says of itself and of its keys: the application related data (OpenPGP card 3.4
//! §4.4.1, DO 6E).

use ctk_token::{KeyType, PinState};

use super::{attributes, fingerprint, kdf::Secret, place::Place};
use crate::{
    applet::{Failure, Result, Tries},
    tlv,
};

/// The application identifier of every OpenPGP card, without version and serial number (§4.2.1).
pub(super) const AID: &[u8] = &[0xD2, 0x76, 0, 1, 0x24, 1];
/// The length of a whole AID, in bytes.
const AID_LEN: usize = 16;

/// An application identifier (§4.2.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Identifier([u8; AID_LEN]);

impl Identifier {
    /// Takes what GET DATA 4F answers; `None` if it is not an OpenPGP card's.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes = <[u8; AID_LEN]>::try_from(bytes).ok()?;
        bytes.starts_with(AID).then_some(Self(bytes))
    }

    /// The version of the specification, major and minor, each as two decimal digits in BCD.
    pub(super) fn version(&self) -> (u8, u8) {
        let [_, _, _, _, _, _, major, minor, ..] = self.0;
        (major, minor)
    }

    /// Who made the card.
    pub(super) fn manufacturer(&self) -> u16 {
        let [.., high, low, _, _, _, _, _, _] = self.0;
        u16::from_be_bytes([high, low])
    }

    /// Manufacturer and serial number in hexadecimal, as OpenSC shows them: what no other card has.
    pub(super) fn serial_number(&self) -> String {
        let [_, _, _, _, _, _, _, _, unique @ .., _, _] = self.0;
        unique.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// All of it.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What the card can do (§4.4.3.7, DO C0). A card that does not say can nothing.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Capabilities {
    /// GET CHALLENGE, with so many bytes at once.
    pub(super) challenge_len: Option<u16>,
    /// The length of the longest certificate.
    pub(super) certificate_len: u16,
    /// The data objects for private use are there.
    pub(super) private_use: bool,
    /// Algorithm attributes can be changed.
    pub(super) changes_attributes: bool,
    /// PINs may have to be hashed.
    pub(super) kdf: bool,
    /// MANAGE SECURITY ENVIRONMENT lets keys 2 and 3 stand in for one another.
    pub(super) swaps_keys: bool,
    /// There are three certificates, told apart by SELECT DATA (§7.2.5); otherwise one.
    pub(super) counts_certificates: bool,
}

impl Capabilities {
    fn parse(bytes: &[u8], version: (u8, u8)) -> Self {
        let [first, _, a, b, c, d, ..] = *bytes else {
            return Self::default();
        };
        let has = |bit: u8| first & bit != 0;
        // What follows, and the last bit of the first byte, meant something else or nothing before
        // version 3.
        let three = version >= (3, 0);
        Self {
            challenge_len: has(0x40).then_some(u16::from_be_bytes([a, b])),
            certificate_len: u16::from_be_bytes([c, d]),
            private_use: has(0x08),
            changes_attributes: has(0x04),
            kdf: three && has(0x01),
            swaps_keys: three && bytes.get(9) == Some(&1),
            counts_certificates: three,
        }
    }
}

/// The state of the PINs (§4.4.1, DO C4).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct PinStatus {
    /// PW1 in mode 81 counts for one signature only ("forced PIN").
    pub(super) each_signature: bool,
    /// The longest user PIN.
    pub(super) max_user: usize,
    /// The longest resetting code.
    pub(super) max_resetting: usize,
    /// The longest administrator's PIN.
    pub(super) max_admin: usize,
    /// Tries left for the user PIN.
    pub(super) user: u8,
    /// Tries left for the resetting code; 0 if there is none.
    pub(super) resetting: u8,
    /// Tries left for the administrator's PIN.
    pub(super) admin: u8,
    /// The first bits of the lengths above, in their order: the secret is sent as a PIN block of
    /// format 2, which nothing here makes.
    is_block: [bool; 3],
}

impl PinStatus {
    /// Takes the seven bytes of C4.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let [
            validity,
            max_user,
            max_resetting,
            max_admin,
            user,
            resetting,
            admin,
            ..,
        ] = *bytes
        else {
            return None;
        };
        let len = |byte: u8| usize::from(byte & 0x7F);
        Some(Self {
            each_signature: validity == 0,
            max_user: len(max_user),
            max_resetting: len(max_resetting),
            max_admin: len(max_admin),
            user,
            resetting,
            admin,
            is_block: [max_user, max_resetting, max_admin].map(|byte| byte & 0x80 != 0),
        })
    }

    /// Refuses a secret that the card wants in a form that nothing here makes: in another one it
    /// would be a wrong one.
    ///
    /// # Errors
    /// [`Failure::Token`] with `Corrupted`.
    pub(super) fn check_format(&self, which: Secret) -> Result<()> {
        let [user, resetting, admin] = self.is_block;
        let (is_block, name) = match which {
            Secret::User => (user, "PIN"),
            Secret::ResettingCode => (resetting, "resetting code"),
            Secret::Admin => (admin, "admin PIN"),
        };
        match is_block {
            false => Ok(()),
            true => Err(Failure::corrupted(format!(
                "the OpenPGP card wants its {name} as a PIN block of format 2, which is not \
                 supported: it was not sent"
            ))),
        }
    }
}

/// What so many tries left mean. Cards start with three.
pub(super) fn tries(left: u8) -> Tries {
    Tries {
        left: Some(left.into()),
        state: match left {
            0 => PinState::Locked,
            1 => PinState::FinalTry,
            2 => PinState::CountLow,
            _ => PinState::Normal,
        },
    }
}

/// What is known of the key in one place.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct KeyFacts {
    /// Its kind, if it is one that is known here; also of a place without a key.
    pub(super) key_type: Option<KeyType>,
    /// As the card has written them.
    pub(super) attributes: Vec<u8>,
    /// There is a key, as far as is known.
    pub(super) exists: bool,
    /// The card says itself whether there is one (DE); otherwise it is guessed from the fingerprint,
    /// which nobody need have written.
    pub(super) is_told: bool,
    /// It was made on the card.
    pub(super) generated: bool,
    /// The card wants to be touched for each use (§4.4.3.6).
    pub(super) touch: bool,
}

/// The application related data.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Application {
    pub(super) identifier: Identifier,
    pub(super) capabilities: Capabilities,
    pub(super) pins: PinStatus,
    /// The card takes and gives extended lengths (ISO 7816-4 §12.1.1.9).
    pub(super) extended_length: bool,
    keys: [KeyFacts; 3],
}

impl Application {
    /// Takes what GET DATA 6E answers. Some cards answer with the object, some with its contents.
    ///
    /// # Errors
    /// [`Failure::Token`] with `Corrupted` for what is malformed or lacks what every card has.
    pub(super) fn parse(answer: &[u8]) -> Result<Self> {
        let contents = tlv::find(answer, 0x6E)?.unwrap_or(answer);
        let identifier = tlv::find(contents, 0x4F)?
            .and_then(Identifier::parse)
            .ok_or_else(|| missing("an application identifier"))?;
        if identifier.version() < (2, 0) {
            return Err(Failure::corrupted(
                "OpenPGP cards of version 1 are not supported: they have two user PINs",
            ));
        }
        // Some cards have part of it outside of 73.
        let field = |tag| match tlv::find_path(contents, &[0x73, tag])? {
            Some(value) => Ok(Some(value)),
            None => tlv::find(contents, tag),
        };
        let pins = field(0xC4)?
            .and_then(PinStatus::parse)
            .ok_or_else(|| missing("the state of its PINs"))?;
        let historical = tlv::find(contents, 0x5F52)?.unwrap_or_default();
        let mut keys = [const { None }; 3];
        for (place, facts) in Place::ALL.into_iter().zip(&mut keys) {
            let touch = field(place.touch_tag().into())?;
            *facts = Some(KeyFacts::parse(
                place,
                field(place.attributes_tag().into())?.unwrap_or_default(),
                field(0xC5)?.unwrap_or_default(),
                field(0xDE)?,
                touch.and_then(<[u8]>::first).is_some_and(|flag| *flag != 0),
            ));
        }
        Ok(Self {
            identifier,
            capabilities: Capabilities::parse(
                field(0xC0)?.unwrap_or_default(),
                identifier.version(),
            ),
            pins,
            extended_length: says_extended_length(historical),
            keys: keys.map(Option::unwrap_or_default),
        })
    }

    /// What is known of the key in `place`.
    pub(super) fn key(&self, place: Place) -> &KeyFacts {
        let [signature, encryption, authentication] = &self.keys;
        match place {
            Place::Signature => signature,
            Place::Encryption => encryption,
            Place::Authentication => authentication,
        }
    }
}

impl KeyFacts {
    fn parse(
        place: Place,
        attributes: &[u8],
        fingerprints: &[u8],
        information: Option<&[u8]>,
        touch: bool,
    ) -> Self {
        // Key information (DE) is from version 3.4: before, a key is there if it has a fingerprint.
        let state = information.and_then(|information| {
            let mut entries = information.as_chunks::<2>().0.iter();
            entries.find_map(|[number, state]| (*number == place.number()).then_some(*state))
        });
        let fingerprint = fingerprints.chunks(fingerprint::LEN).nth(place.index());
        let has_fingerprint = fingerprint.is_some_and(|bytes| bytes.iter().any(|byte| *byte != 0));
        Self {
            key_type: attributes::key_type(place, attributes),
            attributes: attributes.into(),
            exists: state.map_or(has_fingerprint, |state| state != 0),
            is_told: state.is_some(),
            generated: state == Some(1),
            touch,
        }
    }
}

/// Whether the historical bytes promise extended length: bit 7 of the third byte of the card
/// capabilities.
fn says_extended_length(historical: &[u8]) -> bool {
    // Category 00, then COMPACT-TLV, then three bytes of status.
    let Some((0, rest)) = historical.split_first() else {
        return false;
    };
    let mut rest = rest.split_last_chunk::<3>().map_or(rest, |(rest, _)| rest);
    while let Some((head, after)) = rest.split_first() {
        let Some((value, after)) = after.split_at_checked(usize::from(head & 0x0F)) else {
            return false;
        };
        if head >> 4 == 7 {
            return value.get(2).is_some_and(|third| third & 0x40 != 0);
        }
        rest = after;
    }
    false
}

fn missing(what: &str) -> Failure {
    Failure::corrupted(format!("the OpenPGP card does not tell {what}"))
}
