//! What only YubiKeys have (Yubico's PIV extensions): serial number, facts of a key without certificate, attestation.
//!
//! Written after Yubico's documentation and tested against scripted answers: not tried on hardware.

use ctk_token::{Constraint, DataObject, ObjectId, Origin, PublicKey, Reuse, TokenError};
use zeroize::Zeroizing;

use super::{
    container::field,
    data::{self, PIN},
    keys, management_key,
    slot::{self, Slot},
};
use crate::{
    apdu::{Command, Le},
    applet::{Failure, Result},
    card::Transaction,
    status::Status,
};

const GET_METADATA: u8 = 0xf7;
const GET_SERIAL: u8 = 0xf8;
const ATTEST: u8 = 0xf9;
const SET_MANAGEMENT_KEY: u8 = 0xff;
const MOVE_KEY: u8 = 0xf6;
/// Where MOVE KEY deletes.
const NOWHERE: u8 = 0xff;

/// The container with the certificate of the key F9, which attests the others.
const ATTESTING: &[u8] = &[0x5f, 0xff, 0x01];

/// Whether this is the ATR of a YubiKey: its historical bytes end with its name, written in several ways over the years.
pub(super) fn is_atr(atr: &[u8]) -> bool {
    atr.windows(7)
        .any(|window| window.eq_ignore_ascii_case(b"yubikey"))
}

/// The serial number, four bytes; `None` where the version has no command for it.
pub(super) fn serial_number(card: &mut Transaction<'_>) -> Result<Option<Vec<u8>>> {
    let response = card.send(&Command::new(GET_SERIAL, 0, 0).le(Le::All))?;
    let known = response.status.is_ok() && !response.data.is_empty();
    Ok(known.then(|| [b"YubiKey ", &**response.data].concat()))
}

/// What a YubiKey tells of a key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Metadata {
    /// The algorithm's number.
    pub(super) algorithm: u8,
    /// When the PIN is wanted; `None` for what the slot's default is.
    pub(super) constraint: Option<Constraint>,
    pub(super) origin: Origin,
    pub(super) public_key: Option<PublicKey>,
}

/// What is in a slot, as far as the YubiKey tells.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Told {
    /// This version tells nothing of any (before 5.3).
    NoCommand,
    /// Nothing that is understood.
    Nothing,
    /// There is no key.
    NoKey,
    /// There is one.
    Key(Metadata),
}

/// Asks for the facts of a slot's key.
pub(super) fn metadata(card: &mut Transaction<'_>, reference: u8) -> Result<Told> {
    let response = card.send(&Command::new(GET_METADATA, 0, reference).le(Le::All))?;
    Ok(match response.status {
        Status::OK => match parse(&response.data) {
            Some(metadata) => Told::Key(metadata),
            None => {
                log::warn!("PIV: unknown facts of key {reference:02X} are not used");
                Told::Nothing
            }
        },
        Status::REFERENCED_DATA_NOT_FOUND | Status::FILE_NOT_FOUND => Told::NoKey,
        Status::INSTRUCTION_NOT_SUPPORTED => Told::NoCommand,
        _ => Told::Nothing,
    })
}

/// How many tries a PIN or PUK has in all and left.
pub(super) fn tries(card: &mut Transaction<'_>, reference: u8) -> Result<Option<(u8, u8)>> {
    let response = card.send(&Command::new(GET_METADATA, 0, reference).le(Le::All))?;
    if !response.status.is_ok() {
        return Ok(None);
    }
    Ok(match field(&response.data, 0x06) {
        Some([all, left]) => Some((*all, *left)),
        _ => None,
    })
}

fn parse(answer: &[u8]) -> Option<Metadata> {
    let [algorithm] = *field(answer, 0x01)? else {
        return None;
    };
    let constraint = match field(answer, 0x02) {
        Some([1, ..]) => Some(Constraint::Free),
        // 4 and 5 take a fingerprint as well.
        Some([2 | 4, ..]) => Some(Constraint::Auth(PIN, Reuse::Session)),
        Some([3 | 5, ..]) => Some(Constraint::Auth(PIN, Reuse::Operation)),
        _ => None,
    };
    let origin = match field(answer, 0x03) {
        Some([1]) => Origin::Generated,
        _ => Origin::Imported,
    };
    let key_type = slot::key_type_of(algorithm);
    let public_key = key_type
        .zip(field(answer, 0x04))
        .and_then(|(key_type, template)| keys::public_key(key_type, template));
    Some(Metadata {
        algorithm,
        constraint,
        origin,
        public_key,
    })
}

/// Has the card certify that it made a slot's key: X.509, DER.
pub(super) fn attest(card: &mut Transaction<'_>, slot: Slot) -> Result<Vec<u8>> {
    let command = Command::new(ATTEST, slot.key_reference(), 0).le(Le::All);
    Ok(card.call(&command)?.data.to_vec())
}

/// The proof that a key was made on the card. It is made when it is read, because that takes as long as a signature; so it
/// is no certificate of the contents, which nobody has to ask for.
pub(super) fn attestation(slot: Slot) -> DataObject {
    let reference = slot.key_reference();
    object(
        slot.attestation_id(),
        format!("X.509 Certificate for PIV Attestation {reference:02x}"),
    )
}

/// The certificate of the key by which Yubico proves it.
pub(super) fn attesting() -> DataObject {
    let label = "X.509 Certificate for PIV Attestation";
    object(data::id(ATTESTING), label.into())
}

/// The tag of the container of this name.
pub(super) fn tag_of(id: &ObjectId) -> Option<Vec<u8>> {
    (*id == data::id(ATTESTING)).then(|| ATTESTING.to_vec())
}

fn object(id: ObjectId, label: String) -> DataObject {
    DataObject {
        id,
        application: label.clone(),
        label,
        object_id: Vec::new(),
        value: None,
        read: Constraint::Free,
    }
}

/// The slot whose attestation this object is.
pub(super) fn attested(id: &ObjectId) -> Option<Slot> {
    Slot::all().find(|slot| slot.attestation_id() == *id)
}

/// Replaces the management key; the old one has been shown.
pub(super) fn set_management_key(
    card: &mut Transaction<'_>,
    algorithm: u8,
    key: &[u8],
) -> Result<()> {
    let len = u8::try_from(key.len()).map_err(|_| TokenError::DataLength)?;
    let mut data = Zeroizing::new(Vec::with_capacity(key.len() + 3));
    data.extend([algorithm, management_key::REFERENCE, len]);
    data.extend_from_slice(key);
    let command = Command::new(SET_MANAGEMENT_KEY, 0xff, 0xff)
        .data(&data)
        .secret();
    card.call(&command).map(drop)
}

/// Deletes a key (since 5.7).
pub(super) fn delete_key(card: &mut Transaction<'_>, slot: Slot) -> Result<()> {
    let command = Command::new(MOVE_KEY, NOWHERE, slot.key_reference());
    match card.call(&command) {
        Err(Failure::Status(status)) if status.error() == TokenError::NotSupported => {
            Err(TokenError::NotSupported.into())
        }
        other => other.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use ctk_token::Curve;

    use super::*;
    use crate::{testing::bytes, tlv::Writer};

    #[test]
    fn yubikeys_are_known_by_their_atr() {
        for atr in [
            "3BFD1300008131FE158073C021C057597562694B657940",
            "3BF81300008131FE15597562696B657934D4",
            "3BFC1300008131FE15597562696B65794E454F7233E1",
        ] {
            assert!(is_atr(&bytes(atr)), "{atr}");
        }
        assert!(!is_atr(&bytes("3B800181")));
        assert!(!is_atr(&[]));
    }

    #[test]
    fn metadata_is_taken_apart() {
        let point = [&[4][..], &[7; 64]].concat();
        let told = |policy: u8, origin: u8| {
            let key = Writer::new().put(0x86, &point);
            let answer = Writer::new()
                .put(0x01, &[0x11])
                .put(0x02, &[policy, 1])
                .put(0x03, &[origin])
                .nest(0x04, &key);
            parse(answer.as_bytes()).unwrap()
        };
        let generated = told(2, 1);
        assert_eq!(generated.origin, Origin::Generated);
        assert_eq!(
            generated.public_key,
            PublicKey::ec(Curve::P256, &point).ok()
        );
        let session = Constraint::Auth(PIN, Reuse::Session);
        let operation = Constraint::Auth(PIN, Reuse::Operation);
        for (policy, constraint) in [
            (0, None),
            (1, Some(Constraint::Free)),
            (2, Some(session)),
            (3, Some(operation)),
            (4, Some(session)),
            (5, Some(operation)),
            (9, None),
        ] {
            assert_eq!(told(policy, 2).constraint, constraint, "{policy}");
        }
        assert_eq!(told(1, 2).origin, Origin::Imported);
        assert_eq!(parse(&[]), None);
        assert_eq!(parse(&[1, 2, 0x11, 0x11]), None);
        // A key that cannot be read is no key, and the rest is still told.
        assert_eq!(
            parse(&[1, 1, 0x11, 4, 2, 0x86, 9]).unwrap().public_key,
            None
        );
    }
}
