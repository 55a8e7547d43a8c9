//! Writing to the card as its administrator (SP 800-73-4 part 2 §3.3): an identity of its own, keys, certificates.

use ctk_token::{
    Item, Key, NewKey, ObjectId, Origin, PublicKey, Reason, Result as TokenResult, TokenError,
};

use super::{
    Piv,
    container::{self, field},
    data, found, keys,
    slot::{self, RETIRED, Slot},
    yubikey,
};
use crate::{
    apdu::{Command, Le},
    applet::{Failure, Result},
    card::Transaction,
    tlv::Writer,
};

const PUT_DATA: u8 = 0xdb;
const GENERATE_ASYMMETRIC_KEY_PAIR: u8 = 0x47;

impl Piv {
    /// Writes a card holder unique identifier and a card capability container where there is none.
    pub(super) fn write_identity(&self, card: &mut Transaction<'_>) -> Result<()> {
        if self.read_container(card, data::CHUID)?.is_none() {
            let mut guid = [0; 16];
            ctk_crypto::random(&mut guid)?;
            // A UUID of random numbers (RFC 9562 §5.4).
            guid[6] = guid[6] & 0x0f | 0x40;
            guid[8] = guid[8] & 0x3f | 0x80;
            put(card, data::CHUID, &container::new_card_holder(&guid))?;
            self.known.lock().holder = None;
        }
        if self.read_container(card, data::CCC)?.is_none() {
            let mut number = [0; 14];
            ctk_crypto::random(&mut number)?;
            put(card, data::CCC, &container::new_capabilities(&number))?;
        }
        Ok(())
    }

    /// GENERATE ASYMMETRIC KEY PAIR, in a slot without certificate if no slot is named. The certificate of the key that
    /// was there goes: whoever reads it would take its public key for the new one's.
    pub(super) fn generate(&self, card: &mut Transaction<'_>, wanted: &NewKey<'_>) -> Result<Key> {
        let algorithm = slot::algorithm_of(wanted.key_type).ok_or(TokenError::BadParameter)?;
        let slot = match wanted.identity {
            Some(identity) => Slot::of_identity(identity).ok_or(TokenError::ObjectNotFound)?,
            None => self.free_slot(card)?,
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
        let public = field(&response.data, 0x7f49)
            .and_then(|template| keys::public_key(wanted.key_type, template))
            .ok_or_else(|| {
                Failure::corrupted("the card's answer about its new key is malformed")
            })?;
        let origin = Origin::Generated;
        let key = found::key(slot, public, None, None, origin, false);
        self.known.lock().taken.insert(slot);
        if let Err(failure) = self.delete_certificate(card, slot) {
            // The key is there all the same, and this process does not show the certificate with it.
            let (place, error) = (slot.key_reference(), failure.into_token_error());
            log::warn!("PIV: the certificate of the old key stays in slot {place:02X}: {error}");
        }
        Ok(key)
    }

    fn delete_certificate(&self, card: &mut Transaction<'_>, slot: Slot) -> Result<()> {
        match self.read_container(card, &slot.certificate_tag())? {
            Some(_) => put(card, &slot.certificate_tag(), &Writer::new()),
            None => Ok(()),
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
        // A key that only a certificate tells of may be another one by now, if another program has made it: that certificate
        // is what is being replaced. Whoever asks a person asks whether that is meant.
        let is_other = |key: &Key| {
            let is_known = self.is_yubikey || key.subject.is_none();
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

    /// The first slot without certificate and without a key that is known of.
    fn free_slot(&self, card: &mut Transaction<'_>) -> Result<Slot> {
        for slot in Slot::ACTIVE {
            if self.known.lock().taken.contains(&slot) {
                continue;
            }
            let certificate = self.read_container(card, &slot.certificate_tag())?;
            if certificate.is_none() && !self.tells_key(card, slot)? {
                return Ok(slot);
            }
        }
        Err(TokenError::NoSpace.into())
    }

    fn tells_key(&self, card: &mut Transaction<'_>, slot: Slot) -> Result<bool> {
        if !self.is_yubikey {
            return Ok(false);
        }
        let told = yubikey::metadata(card, slot.key_reference())?;
        Ok(matches!(told, yubikey::Told::Key(_)))
    }

    /// Has the key history count a retired key, so that its certificate is looked for.
    fn note_retired(&self, card: &mut Transaction<'_>, number: u8) -> Result<()> {
        let older = self.read_container(card, data::KEY_HISTORY)?;
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
