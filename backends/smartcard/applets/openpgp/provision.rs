//! New keys, certificates, and data that goes (OpenPGP card 3.4 §7.2.8, §7.2.14). All of it is the
//! administrator's.

use std::time::{SystemTime, UNIX_EPOCH};

use ctk_token::{Item, Key, KeyType, NewKey, ObjectId, Origin, PublicKey, Reason, TokenError};

use super::{
    application::Application, attributes, contents, data, fingerprint, place::Place, public_key,
};
use crate::{
    applet::{Failure, Result},
    card::Transaction,
    tlv,
};

/// What kinds of keys the card has for which place (§4.4.3.11).
const ALGORITHM_INFORMATION: u16 = 0xFA;

/// Makes a key, and has OpenPGP programs know of it: to them a key is one with a fingerprint.
pub(super) fn generate(
    card: &mut Transaction<'_>,
    application: &Application,
    wanted: &NewKey<'_>,
) -> Result<Key> {
    let place = place_for(card, application, wanted)?;
    let facts = application.key(place);
    if facts.key_type != Some(wanted.key_type) {
        change_type(card, application, place, wanted.key_type)?;
    }
    let public_key = public_key::generate(card, place, wanted.key_type)?;
    let time = SystemTime::now().duration_since(UNIX_EPOCH);
    // The card has four bytes for it.
    let time = time.map_or(0, |time| u32::try_from(time.as_secs()).unwrap_or(u32::MAX));
    let fingerprint = fingerprint::of(place, &public_key, time)?;
    let told = data::write(card, place.fingerprint_tag(), &fingerprint)
        .and_then(|()| data::write(card, place.time_tag(), &time.to_be_bytes()));
    if let Err(failure) = told {
        // The key is there all the same, and the old one is gone.
        let (label, error) = (place.key_label(), failure.into_token_error());
        log::warn!("{label}: GnuPG will not know it, its fingerprint is not on the card: {error}");
    }
    let mut key = contents::key(place, public_key, application);
    key.origin = Origin::Generated;
    Ok(key)
}

/// Writes a certificate to the place of this identity, or of the key that it is about.
pub(super) fn import_certificate(
    card: &mut Transaction<'_>,
    application: &Application,
    known: &[Item],
    identity: Option<&[u8]>,
    der: &[u8],
) -> Result<ObjectId> {
    let about = PublicKey::from_certificate(der);
    if contents::subject(der).is_none() || matches!(about, Err(TokenError::Corrupted(_))) {
        return Err(TokenError::DataInvalid.into());
    }
    let about = about.ok();
    let is_about_key = |key: &PublicKey| {
        about
            .as_ref()
            .is_some_and(|about| about.material() == key.material())
    };
    let is_about = |key: &Key| is_about_key(&key.public_key);
    let mut keys = known.iter().filter_map(|item| match item {
        Item::Key(key) => Some(&**key),
        Item::Certificate(_) | Item::Data(_) => None,
    });
    let place = match identity {
        Some(identity) => Place::of_identity(identity),
        None => keys
            .clone()
            .find(|key| is_about(key))
            .and_then(|key| Place::of_key(&key.id)),
    };
    let place = place.ok_or(TokenError::ObjectNotFound)?;
    if keys.any(|key| Place::of_key(&key.id) == Some(place) && !is_about(key)) {
        return Err(TokenError::DataInvalid.into());
    }
    let capabilities = &application.capabilities;
    let longest = usize::from(capabilities.certificate_len);
    if longest != 0 && der.len() > longest {
        return Err(TokenError::NoSpace.into());
    }
    if capabilities.counts_certificates {
        data::write_certificate(card, Some(place.occurrence()), der)?;
        return Ok(place.certificate_id());
    }
    // The only one there is may be another key's, or who knows what: then it is not replaced
    // unasked.
    let there = data::only_certificate(card)?;
    let about_there = PublicKey::from_certificate(&there).ok();
    let is_of_same_key = about_there.is_some_and(|there| is_about_key(&there));
    if !there.is_empty() && !is_of_same_key {
        return Err(TokenError::NoSpace.into());
    }
    data::write_certificate(card, None, der)?;
    Ok(only_certificate_id())
}

/// Deletes a certificate or a data object. A key has no command for that.
pub(super) fn delete(
    card: &mut Transaction<'_>,
    application: &Application,
    item: &ObjectId,
) -> Result<()> {
    if let Some(tag) = contents::data_object_tag(item) {
        // The odd ones are the user's, and whoever deletes is the administrator (§4.4.1).
        if tag == 0x0101 || tag == 0x0103 {
            let reason = "only programs that log in as the user can write to this object";
            return Err(TokenError::ReadOnly(Reason::new(reason)).into());
        }
        return data::write(card, tag, &[]);
    }
    if let Some(place) = Place::of_certificate(item) {
        let counted = application.capabilities.counts_certificates;
        return data::write_certificate(card, counted.then(|| place.occurrence()), &[]);
    }
    if Place::of_key(item).is_some() {
        let reason =
            "OpenPGP cards replace keys and never delete one: generate another in its place";
        return Err(TokenError::ReadOnly(Reason::new(reason)).into());
    }
    Err(TokenError::ObjectNotFound.into())
}

/// Whether it is certain that there is no key in `place`, not even one that is of no use here.
pub(super) fn is_free(
    card: &mut Transaction<'_>,
    application: &Application,
    place: Place,
) -> Result<bool> {
    let facts = application.key(place);
    Ok(!facts.exists && (facts.is_told || public_key::is_none(card, place)?))
}

/// The name of the only certificate: as if it stood first.
fn only_certificate_id() -> ObjectId {
    Place::Authentication.certificate_id()
}

/// The place of this identity, or the first that is free and takes such a key.
fn place_for(
    card: &mut Transaction<'_>,
    application: &Application,
    wanted: &NewKey<'_>,
) -> Result<Place> {
    let takes = |place: &Place| place.takes(wanted.key_type);
    if let Some(identity) = wanted.identity {
        let place = Place::of_identity(identity).ok_or(TokenError::ObjectNotFound)?;
        return match takes(&place) {
            true => Ok(place),
            false => Err(TokenError::BadParameter.into()),
        };
    }
    let mut places = Place::ALL.into_iter().filter(takes).peekable();
    if places.peek().is_none() {
        return Err(TokenError::BadParameter.into());
    }
    for place in places {
        if is_free(card, application, place)? {
            return Ok(place);
        }
    }
    Err(TokenError::NoSpace.into())
}

/// Has `place` take another type of key, where the card allows that. The key that is there is gone
/// then.
fn change_type(
    card: &mut Transaction<'_>,
    application: &Application,
    place: Place,
    wanted: KeyType,
) -> Result<()> {
    if !application.capabilities.changes_attributes {
        return Err(TokenError::BadParameter.into());
    }
    let information = data::read_optional(card, ALGORITHM_INFORMATION)?;
    let list = tlv::find(&information, ALGORITHM_INFORMATION.into())
        .ok()
        .flatten();
    // A list that is malformed from somewhere on is as good as its beginning.
    let offered: Vec<&[u8]> = tlv::Reader::new(list.unwrap_or(&information))
        .filter_map(|entry| entry.ok())
        .filter(|entry| entry.tag == u32::from(place.attributes_tag()))
        .map(|entry| entry.value)
        .collect();
    let current = &application.key(place).attributes;
    let new = attributes::for_new_key(place, wanted, current, &offered)
        .ok_or(TokenError::BadParameter)?;
    match data::write(card, place.attributes_tag(), &new) {
        // What the card says of a type that it does not have.
        Err(Failure::Status(status)) if status.error() == TokenError::BadParameter => {
            Err(TokenError::BadParameter.into())
        }
        other => other,
    }
}
