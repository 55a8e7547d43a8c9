//! Reading what is on the card: in the order that costs the fewest commands, and so that a damaged object costs nothing but
//! itself.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use ctk_token::{
    Certificate, Constraint, Item, Key, KeyType, ObjectId, Origin, PublicKey, Reuse, TokenError,
};

use super::{
    Piv, ROW, ReadForLabel,
    certificate::{self, Facts, KeyUsage},
    container::{self, CardHolder, PinReference},
    data::{self, PIN},
    slot::{self, RETIRED, Slot},
    yubikey::{self, Told},
};
use crate::{
    apdu::{Command, Le},
    applet::{Failure, Result},
    card::Transaction,
    status::Status,
    tlv,
};

/// How long a certificate that was read is the one on the card. Another program may write at any time.
const JUST_NOW: Duration = Duration::from_secs(5);

const GET_DATA: u8 = 0xcb;
/// The tag of what a container holds, in the answer to GET DATA.
const CONTENT: u8 = 0x53;

/// What was found in a slot.
#[derive(Default)]
struct Found {
    /// The whole container.
    answer: Option<Vec<u8>>,
    certificate: Option<Certificate>,
    key: Option<Key>,
}

impl Piv {
    /// Everything that needs no PIN.
    pub(super) fn read_contents(&self, card: &mut Transaction<'_>) -> Result<Vec<Item>> {
        let holder = self.holder(card)?;
        let history = self.read_container(card, data::KEY_HISTORY)?;
        let retired = match &history {
            Some(answer) => container::parse_key_history(answer).unwrap_or_default(),
            // Nobody who writes to a YubiKey writes a key history: the slots are looked at one by one.
            None if self.is_yubikey => RETIRED,
            None => 0,
        };
        let read_for_label = self.known.lock().read_for_label.take();
        let read_for_label = read_for_label
            .filter(|read| read.at.elapsed() < JUST_NOW)
            .map_or_else(BTreeMap::new, |read| read.containers);
        let mut items = Vec::new();
        let mut values = vec![(data::KEY_HISTORY.to_vec(), history)];
        if let Some(holder) = &holder {
            values.push((data::CHUID.to_vec(), Some(holder.answer.clone())));
        }
        for slot in Slot::all() {
            if matches!(slot, Slot::Retired(number) if number > retired) {
                continue;
            }
            let answer = match read_for_label.get(&slot) {
                Some(answer) => answer.clone(),
                None => self.read_container(card, &slot.certificate_tag())?,
            };
            let is_federal = holder.as_ref().is_some_and(|holder| holder.is_federal());
            let found = self.examine(card, slot, answer, is_federal)?;
            if self.is_yubikey
                && let Some(key) = &found.key
                && key.origin == Origin::Generated
            {
                items.push(Item::Data(yubikey::attestation(slot)));
            }
            items.extend(found.certificate.map(Item::Certificate));
            items.extend(found.key.map(|key| Item::Key(Box::new(key))));
            values.push((slot.certificate_tag().to_vec(), found.answer));
        }
        items.extend(objects(&values, retired));
        if self.is_yubikey {
            items.push(Item::Data(yubikey::attesting()));
        }
        // Keys and certificates first.
        items.sort_by_key(|item| matches!(item, Item::Data(_)));
        Ok(items)
    }

    /// The card holder unique identifier, from memory if it was read.
    pub(super) fn holder(&self, card: &mut Transaction<'_>) -> Result<Option<Arc<CardHolder>>> {
        if let Some(holder) = &self.known.lock().holder {
            return Ok(Some(holder.clone()));
        }
        let answer = self.read_container(card, data::CHUID)?;
        let holder = answer.map(|answer| Arc::new(CardHolder::parse(answer)));
        self.known.lock().holder.clone_from(&holder);
        Ok(holder)
    }

    /// The common name in the first certificate that has one, which OpenSC takes for the token's label.
    pub(super) fn label(&self, card: &mut Transaction<'_>) -> Result<Option<String>> {
        let mut name = None;
        let mut containers = BTreeMap::new();
        for slot in Slot::ACTIVE {
            let answer = self.read_container(card, &slot.certificate_tag())?;
            name = answer
                .as_deref()
                .and_then(|answer| container::parse_certificate(answer).ok().flatten())
                .and_then(|der| certificate::facts(&der).common_name);
            containers.insert(slot, answer);
            if name.is_some() {
                break;
            }
        }
        let at = Instant::now();
        self.known.lock().read_for_label = Some(ReadForLabel { at, containers });
        // Only a federal card is asked here: see `pin_reference`.
        let holder = self.holder(card)?;
        if holder.is_some_and(|holder| holder.is_federal())
            && self.pin_reference(card)? == PinReference::Global
        {
            let name = name.as_deref().unwrap_or("PIV_II");
            return Ok(Some(format!(
                "{} (Global PIN)",
                shortened(name, GLOBAL_ROOM)
            )));
        }
        Ok(name)
    }

    /// Reads the discovery object, and learns from it which PIN the card wants: `None` if it is not PIV's.
    pub(super) fn discover(&self, card: &mut Transaction<'_>) -> Result<Option<PinReference>> {
        let response = card.call(&get_data(data::DISCOVERY))?;
        let found = container::parse_discovery(&response.data);
        if found.is_some() {
            card.prove(&ROW);
            self.known.lock().pin = found;
        }
        Ok(found)
    }

    /// Reads a data object: its template and what is in it, as OpenSC gives it.
    pub(super) fn read_object(&self, card: &mut Transaction<'_>, id: &ObjectId) -> Result<Vec<u8>> {
        if let Some(slot) = yubikey::attested(id) {
            return yubikey::attest(card, slot);
        }
        let tag = data::tag_of(id).or_else(|| yubikey::tag_of(id));
        let tag = tag.ok_or(TokenError::ObjectNotFound)?;
        let response = card.call(&get_data(&tag))?;
        prove_by(card, &response.data);
        Ok(response.data.to_vec())
    }

    /// Reads a container: `None` if the card has none, or does not give it to anybody.
    ///
    /// # Errors
    /// A status that says that another applet was asked.
    pub(super) fn read_container(
        &self,
        card: &mut Transaction<'_>,
        tag: &[u8],
    ) -> Result<Option<Vec<u8>>> {
        let response = card.send(&get_data(tag))?;
        match response.status {
            Status::OK => {
                prove_by(card, &response.data);
                Ok(Some(response.data.to_vec()))
            }
            Status::FILE_NOT_FOUND => Ok(None),
            // Cards have many ways to say that they do not know a container.
            status if card.is_proven(&ROW) => {
                log::debug!("PIV: container {tag:02X?} is not read: {status}");
                Ok(None)
            }
            status => Err(Failure::Status(status)),
        }
    }

    /// Makes certificate and key of what is in a slot.
    fn examine(
        &self,
        card: &mut Transaction<'_>,
        slot: Slot,
        answer: Option<Vec<u8>>,
        is_federal: bool,
    ) -> Result<Found> {
        let told = if self.is_yubikey && !self.skips_metadata(slot, answer.as_deref()) {
            yubikey::metadata(card, slot.key_reference())?
        } else {
            Told::Nothing
        };
        let der = answer.as_deref().and_then(|answer| {
            container::parse_certificate(answer).unwrap_or_else(|why| {
                log::warn!(
                    "PIV: no certificate in slot {:02X}: {why}",
                    slot.key_reference()
                );
                None
            })
        });
        let mut found = combine(slot, der.as_deref(), told, is_federal);
        found.answer = answer;
        Ok(found)
    }

    /// An empty retired slot is not asked about: that would be a command for each of twenty.
    fn skips_metadata(&self, slot: Slot, answer: Option<&[u8]>) -> bool {
        matches!(slot, Slot::Retired(_)) && answer.is_none()
    }
}

/// Puts together what the certificate and the card tell of a slot. The card knows best what key it has; a certificate of
/// another one is not shown, because programs would take it for this one's.
fn combine(slot: Slot, der: Option<&[u8]>, told: Told, is_federal: bool) -> Found {
    let place = slot.key_reference();
    let certified = der.and_then(|der| match PublicKey::from_certificate(der) {
        Ok(key) => Some((der, Some(key))),
        // The certificate of a key that nobody here can use is still one.
        Err(TokenError::NotSupported) => Some((der, None)),
        Err(error) => {
            log::warn!("PIV: the certificate in slot {place:02X} is not shown: {error}");
            None
        }
    });
    let mut policy = None;
    let mut origin = Origin::Imported;
    let mut known = None;
    match told {
        Told::Nothing => {}
        Told::NoKey => {
            return Found {
                certificate: certified.map(|(der, _)| container::item(slot, der)),
                ..Found::default()
            };
        }
        Told::Key(metadata) => {
            policy = metadata.constraint;
            origin = metadata.origin;
            known = metadata.public_key;
        }
    }
    let certified = certified.filter(|(_, key)| {
        let fits = known.is_none() || known == *key;
        if !fits {
            log::warn!("PIV: the certificate in slot {place:02X} is of another key, not shown");
        }
        fits
    });
    let facts = certified.as_ref().map(|(der, _)| certificate::facts(der));
    let certificate = certified
        .as_ref()
        .map(|(der, _)| container::item(slot, der));
    let public_key = known.or(certified.and_then(|(_, key)| key));
    let key = public_key
        .filter(|key| slot::algorithm_of(key.key_type()).is_some())
        .map(|public| key(slot, public, facts, policy, origin, is_federal));
    Found {
        answer: None,
        certificate,
        key,
    }
}

/// A key as the token shows it.
pub(super) fn key(
    slot: Slot,
    public_key: PublicKey,
    facts: Option<Facts>,
    policy: Option<Constraint>,
    origin: Origin,
    is_federal: bool,
) -> Key {
    let constraint = policy.unwrap_or(match slot {
        Slot::CardAuthentication => Constraint::Free,
        Slot::Signature => Constraint::Auth(PIN, Reuse::Operation),
        Slot::Authentication | Slot::KeyManagement | Slot::Retired(_) => {
            Constraint::Auth(PIN, Reuse::Session)
        }
    });
    let allowed = |is_allowed| {
        if is_allowed {
            constraint
        } else {
            Constraint::Never
        }
    };
    let has_certificate = facts.is_some();
    let (subject, key_usage) =
        facts.map_or((None, None), |facts| (Some(facts.subject), facts.key_usage));
    let key_usage = key_usage.filter(|_| !is_federal);
    let uses = uses(slot, public_key.key_type(), key_usage, has_certificate);
    let labels = (slot.key_label(), slot.public_label());
    let key = Key::new(slot.key_id(), &labels.0, &[slot.identity()], public_key);
    Key {
        public_label: (labels.0 != labels.1).then_some(labels.1),
        subject,
        sign: allowed(uses.sign),
        decrypt: allowed(uses.decrypt),
        key_exchange: allowed(uses.key_exchange),
        origin,
        ..key
    }
}

/// What a key is for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Uses {
    sign: bool,
    decrypt: bool,
    key_exchange: bool,
}

/// As OpenSC tells it: by the certificate's KeyUsage, and by the slot for a card of a federal agency or a certificate
/// without KeyUsage. The card itself does not care. A key without certificate signs, at least its certificate request.
fn uses(slot: Slot, key_type: KeyType, key_usage: Option<KeyUsage>, has_certificate: bool) -> Uses {
    use KeyUsage as U;
    let is_rsa = matches!(key_type, KeyType::Rsa { .. });
    let can = Uses {
        sign: key_type != KeyType::X25519,
        decrypt: is_rsa,
        key_exchange: matches!(key_type, KeyType::Ec(_) | KeyType::X25519),
    };
    let signs = U::DIGITAL_SIGNATURE | U::NON_REPUDIATION;
    let wanted = match key_usage {
        Some(usage) => Uses {
            sign: usage.has(signs | U::KEY_CERT_SIGN | U::CRL_SIGN),
            decrypt: usage
                .has(signs | U::KEY_ENCIPHERMENT | U::DATA_ENCIPHERMENT | U::ENCIPHER_ONLY),
            key_exchange: usage.has(U::KEY_AGREEMENT),
        },
        None => {
            let is_management = matches!(slot, Slot::KeyManagement | Slot::Retired(_));
            Uses {
                sign: !is_management || !has_certificate,
                decrypt: slot != Slot::CardAuthentication,
                key_exchange: is_management,
            }
        }
    };
    let both = Uses {
        sign: can.sign && wanted.sign,
        decrypt: can.decrypt && wanted.decrypt,
        key_exchange: can.key_exchange && wanted.key_exchange,
    };
    // A key that is for nothing would be of no use to anybody, and X25519 in 9A is for that one thing.
    if both == Uses::default() { can } else { both }
}

/// The data objects, with the values that are known because something else needed them.
fn objects(values: &[(Vec<u8>, Option<Vec<u8>>)], retired: u8) -> Vec<Item> {
    let mut tags: Vec<Vec<u8>> = data::tags().map(<[u8]>::to_vec).collect();
    tags.extend((1..=retired).map(|number| Slot::Retired(number).certificate_tag().to_vec()));
    tags.iter()
        .filter_map(|tag| {
            let value = values.iter().find(|(known, _)| known == tag);
            data::object(tag, value.and_then(|(_, value)| value.clone()))
        })
        .map(Item::Data)
        .collect()
}

/// GET DATA for the object with this tag (SP 800-73-4 part 2 §3.1.2).
pub(super) fn get_data(tag: &[u8]) -> Command {
    Command::new(GET_DATA, 0x3f, 0xff)
        .data(&tlv::encode(0x5c, tag))
        .le(Le::All)
}

/// No other applet answers so to GET DATA with such a tag list.
fn prove_by(card: &mut Transaction<'_>, answer: &[u8]) {
    if let Some(&CONTENT | &0x7e) = answer.first() {
        card.prove(&ROW);
    }
}

/// How much of a label is left beside the PIN's name, in bytes of the 32 that PKCS#11 shows.
const GLOBAL_ROOM: usize = 32 - " (Global PIN)".len();

/// As much of a text as has room.
fn shortened(text: &str, room: usize) -> &str {
    let end = (0..=room.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use ctk_token::Curve;

    use super::*;

    const P256: KeyType = KeyType::Ec(Curve::P256);
    const RSA: KeyType = KeyType::Rsa { bits: 2048 };

    fn of_certificate(key: u8, usage: Option<u8>) -> Vec<u8> {
        certificate::tests::certificate(&certificate::tests::key(key), "Jane Doe", usage)
    }

    #[test]
    fn uses_are_opensc_s() {
        let names = |uses: Uses| {
            let mut names = String::new();
            for (is_set, name) in [
                (uses.sign, 's'),
                (uses.decrypt, 'd'),
                (uses.key_exchange, 'x'),
            ] {
                if is_set {
                    names.push(name);
                }
            }
            names
        };
        let by_slot = |slot, key_type| names(uses(slot, key_type, None, true));
        assert_eq!(by_slot(Slot::Authentication, RSA), "sd");
        assert_eq!(by_slot(Slot::Signature, RSA), "sd");
        assert_eq!(by_slot(Slot::KeyManagement, RSA), "d");
        assert_eq!(by_slot(Slot::CardAuthentication, RSA), "s");
        assert_eq!(by_slot(Slot::Retired(3), RSA), "d");
        assert_eq!(by_slot(Slot::Authentication, P256), "s");
        assert_eq!(by_slot(Slot::KeyManagement, P256), "x");
        assert_eq!(by_slot(Slot::Authentication, KeyType::X25519), "x");
        assert_eq!(by_slot(Slot::KeyManagement, KeyType::Ed25519), "s");

        let by_usage = |key_type, bits| {
            let der = of_certificate(1, Some(bits));
            let usage = certificate::facts(&der).key_usage;
            names(uses(Slot::KeyManagement, key_type, usage, true))
        };
        assert_eq!(by_usage(RSA, 0x80), "sd");
        assert_eq!(by_usage(RSA, 0x20), "d");
        assert_eq!(by_usage(P256, 0x80), "s");
        assert_eq!(by_usage(P256, 0x08), "x");
        assert_eq!(by_usage(P256, 0x88), "sx");
        assert_eq!(by_usage(P256, 0x20), "sx", "for nothing that it can");

        let without = uses(Slot::KeyManagement, P256, None, false);
        assert_eq!(names(without), "sx");
    }

    #[test]
    fn a_certificate_tells_of_its_key() {
        let der = of_certificate(1, Some(0x80));
        let found = combine(Slot::Authentication, Some(&der), Told::Nothing, false);
        assert!(found.certificate.is_some());
        let key = found.key.unwrap();
        assert_eq!(key.public_key, certificate::tests::key(1));
        assert_eq!(key.origin, Origin::Imported);
        assert!(key.subject.is_some());
        assert_eq!(key.public_label.as_deref(), Some("PIV AUTH pubkey"));
    }

    #[test]
    fn what_a_card_tells_of_its_key_counts() {
        let der = of_certificate(1, None);
        let told = |public_key| {
            Told::Key(yubikey::Metadata {
                algorithm: 0x11,
                constraint: Some(Constraint::Free),
                origin: Origin::Generated,
                public_key,
            })
        };
        let other = told(Some(certificate::tests::key(2)));
        let found = combine(Slot::Signature, Some(&der), other, false);
        assert!(found.certificate.is_none());
        let key = found.key.unwrap();
        assert_eq!(
            (key.sign, key.origin),
            (Constraint::Free, Origin::Generated)
        );
        assert_eq!(key.public_key, certificate::tests::key(2));

        let found = combine(Slot::Signature, Some(&der), told(None), false);
        assert!(found.certificate.is_some() && found.key.is_some());

        let found = combine(Slot::Signature, Some(&der), Told::NoKey, false);
        assert!(found.certificate.is_some() && found.key.is_none());

        let found = combine(Slot::Signature, Some(&[0x30, 1]), Told::Nothing, false);
        assert!(found.certificate.is_none() && found.key.is_none());
    }

    #[test]
    fn labels_are_cut_between_letters() {
        assert_eq!(shortened("Jané", 4), "Jan");
        assert_eq!(shortened("Jané", 5), "Jané");
        assert_eq!(shortened("Jane", 40), "Jane");
    }
}
