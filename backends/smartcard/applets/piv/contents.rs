//! Reading what is on the card: in the order that costs the fewest commands, and so that a damaged object costs nothing but
//! itself.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use ctk_token::{Item, ObjectId, Origin, TokenError};

use super::{
    Piv, ROW, ReadForLabel, certificate,
    container::{self, CardHolder, PinReference},
    data,
    found::{Found, combine},
    slot::{RETIRED, Slot},
    yubikey::{self, Told},
};
use crate::{
    apdu::{Command, Le},
    applet::{Applet as _, Failure, Result},
    card::Transaction,
    status::Status,
    tlv,
};

/// How long a certificate that was read is the one on the card. Another program may write at any time.
const JUST_NOW: Duration = Duration::from_secs(5);

const GET_DATA: u8 = 0xcb;
/// The tag of what a container holds, in the answer to GET DATA.
const CONTENT: u8 = 0x53;

impl Piv {
    /// Everything that needs no PIN.
    pub(super) fn read_contents(&self, card: &mut Transaction<'_>) -> Result<Vec<Item>> {
        let holder = self.holder(card)?;
        let is_federal = holder.as_ref().is_some_and(|holder| holder.is_federal());
        let history = self.read_container(card, data::KEY_HISTORY)?;
        let counted = history.as_deref().map(container::parse_key_history);
        let counted = counted.map(Option::unwrap_or_default);
        // Nobody who writes to a YubiKey writes a key history: the places are looked at one by one.
        let by_default = if self.is_yubikey { RETIRED } else { 0 };
        let mut retired_left = counted.unwrap_or(by_default);
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
            // The first places are the ones that count, and where one of them is empty another must be meant.
            if matches!(slot, Slot::Retired(_)) && retired_left == 0 {
                break;
            }
            let answer = match read_for_label.get(&slot) {
                Some(answer) => answer.clone(),
                None => self.read_container(card, &slot.certificate_tag())?,
            };
            if matches!(slot, Slot::Retired(_)) && answer.is_some() {
                retired_left -= 1;
            }
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
        items.extend(objects(&values, counted.unwrap_or_default()));
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
        let is_federal = holder.is_some_and(|holder| holder.is_federal());
        let has_global_pin = is_federal
            && match self.pin_reference(card) {
                Ok(reference) => reference == PinReference::Global,
                Err(Failure::Link(error)) => return Err(error.into()),
                // It is asked for once more before a PIN goes out.
                Err(_) => false,
            };
        if has_global_pin {
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
        if tag == data::DISCOVERY && container::parse_discovery(&response.data).is_none() {
            // Another applet's.
            return Err(Failure::Status(Status::FILE_NOT_FOUND));
        }
        prove_by(card, &response.data);
        Ok(response.data.to_vec())
    }

    /// Reads a container: `None` if the card has none, an empty one, or does not give it to anybody.
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
                Ok(content_of(&response.data))
            }
            Status::FILE_NOT_FOUND | Status::REFERENCED_DATA_NOT_FOUND => Ok(None),
            // Cards have many ways to say that they do not know a container, and other applets one that needs no question.
            status
                if card.is_proven(&ROW) || knows_command(status) && self.is_selected(card)? =>
            {
                log::debug!("PIV: container {tag:02X?} is not read: {status}");
                Ok(None)
            }
            status => Err(Failure::Status(status)),
        }
    }

    /// Reads a container whose place is about to be written: `None` if the card says that there is nothing.
    ///
    /// # Errors
    /// Every other status: what could not be read is not nothing.
    pub(super) fn container_before_writing(
        &self,
        card: &mut Transaction<'_>,
        tag: &[u8],
    ) -> Result<Option<Vec<u8>>> {
        let response = card.send(&get_data(tag))?;
        match response.status {
            Status::OK => {
                prove_by(card, &response.data);
                Ok(content_of(&response.data))
            }
            Status::FILE_NOT_FOUND | Status::REFERENCED_DATA_NOT_FOUND => Ok(None),
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
        let told = if self.asks_for_metadata(slot, answer.as_deref()) {
            yubikey::metadata(card, slot.key_reference())?
        } else {
            Told::Nothing
        };
        self.known.lock().tells_nothing |= told == Told::NoCommand;
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
    fn asks_for_metadata(&self, slot: Slot, answer: Option<&[u8]>) -> bool {
        let is_empty = matches!(slot, Slot::Retired(_)) && answer.is_none();
        self.is_yubikey && !is_empty && !self.known.lock().tells_nothing
    }
}

/// The data objects, with the values that are known because something else needed them. Of the certificates of retired keys
/// as many as the history counts are listed, and those that are there.
fn objects(values: &[(Vec<u8>, Option<Vec<u8>>)], retired: u8) -> Vec<Item> {
    let value_of = |tag: &[u8]| {
        let mut found = values.iter().filter(|(known, _)| known == tag);
        found.next().and_then(|(_, value)| value.clone())
    };
    let mut tags: Vec<Vec<u8>> = data::tags().map(<[u8]>::to_vec).collect();
    tags.extend((1..=RETIRED).filter_map(|number| {
        let tag = Slot::Retired(number).certificate_tag().to_vec();
        (number <= retired || value_of(&tag).is_some()).then_some(tag)
    }));
    tags.iter()
        .filter_map(|tag| data::object(tag, value_of(tag)))
        .map(Item::Data)
        .collect()
}

/// GET DATA for the object with this tag (SP 800-73-4 part 2 §3.1.2).
pub(super) fn get_data(tag: &[u8]) -> Command {
    Command::new(GET_DATA, 0x3f, 0xff)
        .data(&tlv::encode(0x5c, tag))
        .le(Le::All)
}

fn knows_command(status: Status) -> bool {
    !matches!(
        status,
        Status::INSTRUCTION_NOT_SUPPORTED | Status::CLASS_NOT_SUPPORTED
    )
}

/// No other applet answers so to GET DATA with such a tag list. (A discovery object is ISO 7816-4's, and names its applet.)
fn prove_by(card: &mut Transaction<'_>, answer: &[u8]) {
    if answer.first() == Some(&CONTENT) || container::parse_discovery(answer).is_some() {
        card.prove(&ROW);
    }
}

/// An answer to GET DATA, if it is not that of an empty container.
fn content_of(answer: &[u8]) -> Option<Vec<u8>> {
    let is_empty = answer.is_empty() || container::field(answer, CONTENT.into()) == Some(&[]);
    (!is_empty).then(|| answer.to_vec())
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
    use super::*;

    #[test]
    fn labels_are_cut_between_letters() {
        assert_eq!(shortened("Jané", 4), "Jan");
        assert_eq!(shortened("Jané", 5), "Jané");
        assert_eq!(shortened("Jane", 40), "Jane");
    }
}
