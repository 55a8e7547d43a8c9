//! The containers that are shown as data objects (SP 800-73-4 part 1 table 3), under the names that OpenSC gives them.

use ctk_token::{AuthId, Constraint, DataObject, ObjectId, Reuse};
use der::{Encode, asn1::ObjectIdentifier};

use super::slot::Slot;

/// The one PIN that all of the applet's keys and containers know.
pub(super) const PIN: AuthId = AuthId(1);

/// A container.
#[derive(Clone, Copy, Debug)]
pub(super) struct Container {
    /// Its tag in GET DATA.
    pub(super) tag: &'static [u8],
    label: &'static str,
    oid: &'static str,
    /// Whether it is read with the PIN only.
    protected: bool,
}

/// The discovery object's tag (SP 800-73-4 part 1 §3.3.2).
pub(super) const DISCOVERY: &[u8] = &[0x7e];
/// The card holder unique identifier's.
pub(super) const CHUID: &[u8] = &[0x5f, 0xc1, 0x02];
/// The card capability container's.
pub(super) const CCC: &[u8] = &[0x5f, 0xc1, 0x07];
/// The key history's.
pub(super) const KEY_HISTORY: &[u8] = &[0x5f, 0xc1, 0x0c];

const fn free(tag: &'static [u8], label: &'static str, oid: &'static str) -> Container {
    Container {
        tag,
        label,
        oid,
        protected: false,
    }
}

const fn protected(tag: &'static [u8], label: &'static str, oid: &'static str) -> Container {
    Container {
        tag,
        label,
        oid,
        protected: true,
    }
}

/// All that OpenSC lists of a card without retired keys, whether they are there or not: only reading tells, and nobody reads
/// them to list them.
const CONTAINERS: [Container; 13] = [
    free(
        CCC,
        "Card Capability Container",
        "2.16.840.1.101.3.7.1.219.0",
    ),
    free(
        CHUID,
        "Card Holder Unique Identifier",
        "2.16.840.1.101.3.7.2.48.0",
    ),
    free(
        &[0x5f, 0xc1, 0x04],
        "Unsigned Card Holder Unique Identifier",
        "2.16.840.1.101.3.7.2.48.2",
    ),
    free(
        &[0x5f, 0xc1, 0x05],
        "X.509 Certificate for PIV Authentication",
        "2.16.840.1.101.3.7.2.1.1",
    ),
    protected(
        &[0x5f, 0xc1, 0x03],
        "Cardholder Fingerprints",
        "2.16.840.1.101.3.7.2.96.16",
    ),
    protected(
        &[0x5f, 0xc1, 0x09],
        "Printed Information",
        "2.16.840.1.101.3.7.2.48.1",
    ),
    protected(
        &[0x5f, 0xc1, 0x08],
        "Cardholder Facial Image",
        "2.16.840.1.101.3.7.2.96.48",
    ),
    free(
        &[0x5f, 0xc1, 0x0a],
        "X.509 Certificate for Digital Signature",
        "2.16.840.1.101.3.7.2.1.0",
    ),
    free(
        &[0x5f, 0xc1, 0x0b],
        "X.509 Certificate for Key Management",
        "2.16.840.1.101.3.7.2.1.2",
    ),
    free(
        &[0x5f, 0xc1, 0x01],
        "X.509 Certificate for Card Authentication",
        "2.16.840.1.101.3.7.2.5.0",
    ),
    free(
        &[0x5f, 0xc1, 0x06],
        "Security Object",
        "2.16.840.1.101.3.7.2.144.0",
    ),
    free(DISCOVERY, "Discovery Object", "2.16.840.1.101.3.7.2.96.80"),
    free(
        KEY_HISTORY,
        "Key History Object",
        "2.16.840.1.101.3.7.2.96.96",
    ),
];

/// The tags of the containers in the order in which they are listed, but for those of retired keys.
pub(super) fn tags() -> impl Iterator<Item = &'static [u8]> {
    CONTAINERS.iter().map(|container| container.tag)
}

/// The object that stands for the container with this tag, or for that of a retired key's certificate; `value` as the card
/// gave it.
pub(super) fn object(tag: &[u8], value: Option<Vec<u8>>) -> Option<DataObject> {
    let (label, oid, is_protected) = match CONTAINERS.iter().find(|known| known.tag == tag) {
        Some(known) => (
            known.label.to_owned(),
            known.oid.to_owned(),
            known.protected,
        ),
        None => Slot::all().find_map(|slot| match slot {
            Slot::Retired(number) if slot.certificate_tag() == tag => Some((
                format!("Retired X.509 Certificate for Key Management {number}"),
                format!("2.16.840.1.101.3.7.2.16.{number}"),
                false,
            )),
            _ => None,
        })?,
    };
    let oid = ObjectIdentifier::new(&oid).ok()?;
    Some(DataObject {
        id: id(tag),
        application: label.clone(),
        label,
        object_id: oid.to_der().ok()?,
        value,
        read: if is_protected {
            Constraint::Auth(PIN, Reuse::Session)
        } else {
            Constraint::Free
        },
    })
}

/// The tag of the container of this name.
pub(super) fn tag_of(wanted: &ObjectId) -> Option<Vec<u8>> {
    let retired = Slot::all().map(|slot| slot.certificate_tag().to_vec());
    tags()
        .map(<[u8]>::to_vec)
        .chain(retired)
        .find(|tag| id(tag) == *wanted)
}

/// The name of a container among the token's objects.
pub(super) fn id(tag: &[u8]) -> ObjectId {
    let hex: String = tag.iter().map(|byte| format!("{byte:02x}")).collect();
    ObjectId::new(format!("piv-data-{hex}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_container_has_an_object_and_is_found_by_its_name() {
        let retired = (1..=20).map(|number| Slot::Retired(number).certificate_tag().to_vec());
        let all: Vec<_> = tags().map(<[u8]>::to_vec).chain(retired).collect();
        assert_eq!(all.len(), 33);
        for tag in all {
            let object = object(&tag, None).unwrap();
            assert_eq!(object.object_id.first(), Some(&6));
            assert_eq!(tag_of(&object.id), Some(tag));
        }
        assert_eq!(object(&[0x5f, 0xc1, 0x7f], None), None);
        assert_eq!(tag_of(&Slot::Signature.key_id()), None);
    }

    #[test]
    fn printed_information_wants_the_pin() {
        let printed = object(&[0x5f, 0xc1, 0x09], None).unwrap();
        assert_eq!(printed.read, Constraint::Auth(PIN, Reuse::Session));
        assert_eq!(object(CHUID, None).unwrap().read, Constraint::Free);
    }
}
