//! Writing to the card as its administrator (SP 800-73-4 part 2 §3.3): an identity of its own, keys, certificates.

use ctk_token::{
    Item, Key, NewKey, ObjectId, Origin, PublicKey, Reason, Result as TokenResult, TokenError,
};

use super::{
    Piv,
    container::{self, field},
    data, found, keys,
    slot::{self, RETIRED, Slot},
    yubikey::{self, Told},
};
use crate::{
    apdu::{Command, Le},
    applet::{Failure, Result},
    card::Transaction,
    tlv::Writer,
};

const PUT_DATA: u8 = 0xdb;
const GENERATE_ASYMMETRIC_KEY_PAIR: u8 = 0x47;

/// What is known of a slot before a key is made there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Vacancy {
    /// The card says that there is neither a key nor a certificate.
    Free,
    /// There is something, or it could not be read.
    Taken,
    /// The card does not tell of keys without certificate.
    Unknown,
}

impl Piv {
    /// Writes a card holder unique identifier and a card capability container where there is none.
    pub(super) fn write_identity(&self, card: &mut Transaction<'_>) -> Result<()> {
        if self.container_before_writing(card, data::CHUID)?.is_none() {
            let mut guid = [0; 16];
            ctk_crypto::random(&mut guid)?;
            // A UUID of random numbers (RFC 9562 §5.4).
            guid[6] = guid[6] & 0x0f | 0x40;
            guid[8] = guid[8] & 0x3f | 0x80;
            put(card, data::CHUID, &container::new_card_holder(&guid))?;
            self.known.lock().holder = None;
        }
        if self.container_before_writing(card, data::CCC)?.is_none() {
            let mut number = [0; 14];
            ctk_crypto::random(&mut number)?;
            put(card, data::CCC, &container::new_capabilities(&number))?;
        }
        Ok(())
    }

    /// GENERATE ASYMMETRIC KEY PAIR, in a free slot if none is named. The certificate of the key that was there goes:
    /// whoever reads it would take its public key for the new one's.
    pub(super) fn generate(
        &self,
        card: &mut Transaction<'_>,
        known: &[Item],
        wanted: &NewKey<'_>,
    ) -> Result<Key> {
        let algorithm = slot::algorithm_of(wanted.key_type).ok_or(TokenError::BadParameter)?;
        let slot = match wanted.identity {
            Some(identity) => Slot::of_identity(identity).ok_or(TokenError::ObjectNotFound)?,
            None => self.free_slot(card, known)?,
        };
        let template = Writer::new().nest(0xac, &Writer::new().put(0x80, &[algorithm]));
        let command = Command::new(GENERATE_ASYMMETRIC_KEY_PAIR, 0, slot.key_reference())
            .data(template.as_bytes())
            .le(Le::All);
        let response = card.call(&command).map_err(|failure| match failure {
            // The card has no keys of this type.
            Failure::Status(status) if matches!(status.0, 0x6a80 | 0x6a86) => {
                TokenError::BadParameter.into()
            }
            other => other,
        })?;
        self.known.lock().taken.insert(slot);
        if let Err(failure) = self.delete_certificate(card, slot) {
            // The key is there all the same, and this process does not show the certificate with it.
            let (place, error) = (slot.key_reference(), failure.into_token_error());
            log::warn!("PIV: the certificate of the old key stays in slot {place:02X}: {error}");
        }
        let public = field(&response.data, 0x7f49)
            .and_then(|template| keys::public_key(wanted.key_type, template))
            .ok_or_else(|| {
                Failure::corrupted("the card's answer about its new key is malformed")
            })?;
        Ok(found::key(
            slot,
            public,
            None,
            None,
            Origin::Generated,
            false,
        ))
    }

    /// Whatever cannot be read there is no certificate of the new key.
    fn delete_certificate(&self, card: &mut Transaction<'_>, slot: Slot) -> Result<()> {
        match self.container_before_writing(card, &slot.certificate_tag()) {
            Ok(None) => Ok(()),
            Ok(Some(_)) | Err(Failure::Status(_)) => {
                put(card, &slot.certificate_tag(), &Writer::new())
            }
            Err(failure) => Err(failure),
        }
    }

    /// A key that somebody else made, and that the card cannot tell of.
    pub(super) fn introduce(&self, identity: &[u8], public_key: &PublicKey) -> TokenResult<Key> {
        let slot = Slot::of_identity(identity).ok_or(TokenError::ObjectNotFound)?;
        if slot::algorithm_of(public_key.key_type()).is_none() {
            return Err(TokenError::BadParameter);
        }
        self.known.lock().taken.insert(slot);
        let (public_key, origin) = (public_key.clone(), Origin::Imported);
        Ok(found::key(slot, public_key, None, None, origin, false))
    }

    /// Writes a certificate to the slot of its key.
    pub(super) fn write_certificate(
        &self,
        card: &mut Transaction<'_>,
        known: &[Item],
        identity: Option<&[u8]>,
        der: &[u8],
    ) -> Result<ObjectId> {
        let certified = PublicKey::from_certificate(der).map_err(|_| TokenError::DataInvalid)?;
        let keys = || {
            known.iter().filter_map(|item| match item {
                Item::Key(key) => Some(&**key),
                Item::Certificate(_) | Item::Data(_) => None,
            })
        };
        let slot = match identity {
            Some(identity) => Slot::of_identity(identity),
            None => keys()
                .find(|key| key.public_key.material() == certified.material())
                .and_then(|key| Slot::of_key(&key.id)),
        };
        let slot = slot.ok_or(TokenError::ObjectNotFound)?;
        // What only a deleted certificate has told of may be another key by now. One that is there is not replaced unasked:
        // whoever means it deletes it first.
        let is_certified = known.iter().any(|item| *item.id() == slot.certificate_id());
        let is_other = |key: &Key| {
            let is_known = is_certified || key.subject.is_none() || self.tells_keys();
            is_known && key.public_key.material() != certified.material()
        };
        if keys().any(|key| key.id == slot.key_id() && is_other(key)) {
            return Err(TokenError::DataInvalid.into());
        }
        put(card, &slot.certificate_tag(), &container::certificate(der))?;
        if let Slot::Retired(number) = slot {
            self.note_retired(card, number)?;
        }
        Ok(slot.certificate_id())
    }

    /// Deletes a certificate; a key only where the card can.
    pub(super) fn delete_item(&self, card: &mut Transaction<'_>, item: &ObjectId) -> Result<()> {
        if let Some(slot) = Slot::of_certificate(item) {
            self.known.lock().taken.insert(slot);
            return put(card, &slot.certificate_tag(), &Writer::new());
        }
        let Some(slot) = Slot::of_key(item) else {
            return Err(match data::tag_of(item) {
                Some(_) => read_only("this object of a PIV card is its issuer's"),
                None => TokenError::ObjectNotFound.into(),
            });
        };
        let deleted = match self.is_yubikey {
            true => yubikey::delete_key(card, slot),
            false => Err(TokenError::NotSupported.into()),
        };
        match deleted {
            Err(Failure::Token(TokenError::NotSupported)) => Err(read_only(
                "this card cannot delete a key: a new one in its place replaces it",
            )),
            Ok(()) => {
                self.known.lock().taken.remove(&slot);
                Ok(())
            }
            Err(failure) => Err(failure),
        }
    }

    /// The first slot that is sure to be free. On a card that tells nothing of its keys there is none: somebody has to say
    /// where, or a key that waits for its certificate would be gone.
    fn free_slot(&self, card: &mut Transaction<'_>, known: &[Item]) -> Result<Slot> {
        let mut none = TokenError::NoSpace;
        for slot in Slot::ACTIVE {
            match self.vacancy(card, known, slot)? {
                Vacancy::Free => return Ok(slot),
                Vacancy::Taken => {}
                Vacancy::Unknown => none = TokenError::ObjectNotFound,
            }
        }
        Err(none.into())
    }

    /// Whether a key can be made in this slot without another's end.
    pub(super) fn vacancy(
        &self,
        card: &mut Transaction<'_>,
        known: &[Item],
        slot: Slot,
    ) -> Result<Vacancy> {
        let is_there = |item: &Item| [slot.key_id(), slot.certificate_id()].contains(item.id());
        if self.known.lock().taken.contains(&slot) || known.iter().any(is_there) {
            return Ok(Vacancy::Taken);
        }
        if !self.tells_keys() {
            return Ok(Vacancy::Unknown);
        }
        match self.container_before_writing(card, &slot.certificate_tag()) {
            Ok(None) => {}
            Ok(Some(_)) | Err(Failure::Status(_)) => return Ok(Vacancy::Taken),
            Err(failure) => return Err(failure),
        }
        Ok(match yubikey::metadata(card, slot.key_reference())? {
            Told::NoKey => Vacancy::Free,
            Told::Key(_) | Told::Nothing => Vacancy::Taken,
            Told::NoCommand => Vacancy::Unknown,
        })
    }

    /// Whether the card tells of a key that has no certificate.
    fn tells_keys(&self) -> bool {
        self.is_yubikey && !self.known.lock().tells_nothing
    }

    /// Has the key history count a retired key, so that its certificate is looked for.
    fn note_retired(&self, card: &mut Transaction<'_>, number: u8) -> Result<()> {
        let older = match self.container_before_writing(card, data::KEY_HISTORY) {
            Ok(older) => older,
            // What else stands there would be lost, and the certificate is there all the same.
            Err(Failure::Status(status)) => {
                log::warn!(
                    "PIV: the key history is not read, retired key {number} not counted: {status}"
                );
                return Ok(());
            }
            Err(failure) => return Err(failure),
        };
        let counted = older.as_deref().and_then(container::parse_key_history);
        if counted.is_some_and(|count| count >= number.min(RETIRED)) {
            return Ok(());
        }
        let newer = container::key_history(number, older.as_deref());
        match put(card, data::KEY_HISTORY, &newer) {
            // The certificate is there all the same.
            Err(Failure::Status(status)) => {
                log::warn!("PIV: the card does not count its retired key {number}: {status}");
                Ok(())
            }
            other => other,
        }
    }
}

/// PUT DATA (SP 800-73-4 part 2 §3.3.1).
fn put(card: &mut Transaction<'_>, tag: &[u8], content: &Writer) -> Result<()> {
    let data = Writer::new().put(0x5c, tag).nest(0x53, content);
    let command = Command::new(PUT_DATA, 0x3f, 0xff).data(data.as_bytes());
    match card.call(&command) {
        // Longer than the card's memory for it.
        Err(Failure::Status(status)) if status.0 == 0x6700 => Err(TokenError::NoSpace.into()),
        other => other.map(drop),
    }
}

fn read_only(why: &str) -> Failure {
    TokenError::ReadOnly(Reason::new(why)).into()
}
