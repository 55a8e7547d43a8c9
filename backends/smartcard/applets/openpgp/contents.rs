//! What is on the card: its keys, the certificates for them, and data that anybody may read.

use ctk_token::{
    Certificate, Constraint, DataObject, Item, Key, KeyType, ObjectId, Origin, PublicKey, Reuse,
};
use der::{Decode, Reader, SliceReader, asn1::AnyRef};

use super::{
    application::{Application, KeyFacts},
    data,
    place::{Place, USER_PIN},
    public_key,
};
use crate::{
    applet::{Failure, Result},
    card::Transaction,
};

/// A data object that belongs to nobody's key: its tag and its label.
struct Named {
    tag: u16,
    label: &'static str,
    /// What stands before reading it.
    read: Constraint,
}

/// OpenSC has the same labels for those that it shows. 0104 is missing: it opens with the
/// administrator's PIN only, and who logs in with that sees no private objects.
const DATA_OBJECTS: [Named; 5] = [
    named(0x5E, "Login data", Constraint::Free),
    named(0x5F50, "URL", Constraint::Free),
    named(0x0101, "PrivDO1", Constraint::Free),
    named(0x0102, "PrivDO2", Constraint::Free),
    named(
        0x0103,
        "PrivDO3",
        Constraint::Auth(USER_PIN, Reuse::Session),
    ),
];

const fn named(tag: u16, label: &'static str, read: Constraint) -> Named {
    Named { tag, label, read }
}

/// Everything that needs no authentication.
pub(super) fn read(card: &mut Transaction<'_>, application: &Application) -> Result<Vec<Item>> {
    let mut keys = Vec::new();
    for place in Place::ALL {
        let facts = application.key(place);
        if let Some(public_key) = existing_key(card, place, facts)? {
            keys.push(key(place, public_key, application));
        }
    }
    let counted = application.capabilities.counts_certificates;
    let certificates = certificates(&data::certificates(card, counted)?, &mut keys);

    let mut items = Vec::new();
    items.extend(certificates.into_iter().map(Item::Certificate));
    items.extend(keys.into_iter().map(|key| Item::Key(Box::new(key))));
    for object in &DATA_OBJECTS {
        let private_use = object.tag < 0x0200 && object.tag > 0xFF;
        if private_use && !application.capabilities.private_use {
            continue;
        }
        let value = match object.read {
            Constraint::Free => Some(data::read_optional(card, object.tag)?.to_vec()),
            _ => None,
        };
        if value.as_ref().is_some_and(Vec::is_empty) {
            continue;
        }
        items.push(Item::Data(DataObject {
            id: data_object_id(object.tag),
            label: object.label.into(),
            application: object.label.into(),
            object_id: Vec::new(),
            value,
            read: object.read,
        }));
    }
    Ok(items)
}

/// A key as it stands in the contents.
pub(super) fn key(place: Place, public_key: PublicKey, application: &Application) -> Key {
    let reuse = if place == Place::Signature && application.pins.each_signature {
        Reuse::Operation
    } else {
        Reuse::Session
    };
    let opened = Constraint::Auth(place.auth(), reuse);
    let key_type = public_key.key_type();
    let identity = [place.number()];
    let mut key = Key::new(place.key_id(), place.key_label(), &identity, public_key);
    match (place, key_type) {
        (Place::Signature | Place::Authentication, _) => key.sign = opened,
        (Place::Encryption, KeyType::Rsa { .. }) => key.decrypt = opened,
        (Place::Encryption, _) => key.key_exchange = opened,
    }
    if application.key(place).generated {
        key.origin = Origin::Generated;
    }
    key
}

/// The tag of the data object with this name.
pub(super) fn data_object_tag(id: &ObjectId) -> Option<u16> {
    let mut tags = DATA_OBJECTS.iter().map(|object| object.tag);
    tags.find(|tag| data_object_id(*tag) == *id)
}

/// The subject of a certificate, DER (RFC 5280 §4.1.2.6); `None` for what is no certificate.
pub(super) fn subject(der: &[u8]) -> Option<Vec<u8>> {
    let subject = || -> der::Result<Vec<u8>> {
        let certificate = AnyRef::from_der(der)?;
        let tbs = AnyRef::decode(&mut SliceReader::new(certificate.value())?)?;
        let mut fields = SliceReader::new(tbs.value())?;
        // version, which is left out in version 1; serialNumber, signature, issuer, validity
        let before = if fields.peek_byte() == Some(0xA0) {
            5
        } else {
            4
        };
        for _ in 0..before {
            fields.tlv_bytes()?;
        }
        fields.tlv_bytes().map(<[u8]>::to_vec)
    };
    subject().ok()
}

fn data_object_id(tag: u16) -> ObjectId {
    ObjectId::new(format!("data {tag:04X}").as_bytes())
}

/// The public half of the key in `place`, if there is a key that is of use here.
fn existing_key(
    card: &mut Transaction<'_>,
    place: Place,
    facts: &KeyFacts,
) -> Result<Option<PublicKey>> {
    if !facts.exists {
        return Ok(None);
    }
    let Some(key_type) = facts.key_type.filter(|key_type| place.takes(*key_type)) else {
        log::info!(
            "{}: a kind of key that is not known here",
            place.key_label()
        );
        return Ok(None);
    };
    match public_key::read(card, place, key_type) {
        Ok(key) => Ok(Some(key)),
        // One key that cannot be read takes nothing from the others.
        Err(Failure::Status(_) | Failure::Token(_)) => {
            log::warn!("{}: its public half cannot be read", place.key_label());
            Ok(None)
        }
        Err(unreachable) => Err(unreachable),
    }
}

/// A certificate in one of the places.
struct Placed<'a> {
    place: Place,
    der: &'a [u8],
    /// The key that it is about, among those on the card; each has one certificate at most.
    key: Option<usize>,
}

/// The certificates in the order of the places, each with the CKA_ID of the key that it is about,
/// wherever it stands: cards with one certificate have it for any of their keys.
fn certificates(occurrences: &[impl AsRef<[u8]>], keys: &mut [Key]) -> Vec<Certificate> {
    let mut found: Vec<Placed<'_>> = Vec::new();
    for place in Place::ALL {
        let der = occurrences.get(usize::from(place.occurrence()));
        let der = der.map(AsRef::as_ref).unwrap_or_default();
        let Some(subject) = subject(der) else {
            if !der.is_empty() {
                log::warn!("{}: not a certificate", place.certificate_label());
            }
            continue;
        };
        // A card that has one certificate may answer with it three times.
        if found.iter().any(|other| other.der == der) {
            continue;
        }
        let about = PublicKey::from_certificate(der).ok();
        let is_about = |key: &Key| {
            about
                .as_ref()
                .is_some_and(|about| about.material() == key.public_key.material())
        };
        let key = keys
            .iter()
            .position(is_about)
            .filter(|key| found.iter().all(|other| other.key != Some(*key)));
        if let Some(key) = key.and_then(|at| keys.get_mut(at)) {
            key.subject = Some(subject);
        }
        found.push(Placed { place, der, key });
    }
    found
        .iter()
        .map(|placed| {
            let key = placed.key.and_then(|at| keys.get(at));
            let own = [placed.place.number()];
            let identity = match key {
                Some(key) => key.identity.clone(),
                None if keys.iter().all(|key| key.identity != own) => own.to_vec(),
                // About no key here, in the place of one that is another: nothing may take it for
                // that one's.
                None => placed.place.certificate_id().as_bytes().to_vec(),
            };
            Certificate {
                id: placed.place.certificate_id(),
                label: placed.place.certificate_label().into(),
                identity,
                der: placed.der.into(),
            }
        })
        .collect()
}
