//! PIV (SP 800-73-4 and -5): the applet of US government cards, of YubiKeys, and of most tokens for companies.
//!
//! `slot` and `data` are its tables, `container` and `certificate` what is in its objects, `contents` reads them, and `found` is what a slot
//! has of them; `pin`,
//! `management_key`, `keys` and `provisioning` are its commands, `yubikey` those that only YubiKeys have. A token on it has
//! the names that OpenSC gives it, so that the URIs in people's configurations hold.

mod certificate;
mod container;
mod contents;
mod data;
mod found;
mod gzip;
mod keys;
mod management_key;
mod pin;
mod provisioning;
mod slot;
#[cfg(test)]
mod tests;
mod yubikey;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use ctk_token::{
    Item, Key, KeyAlgorithm, LoginPolicy, NewKey, ObjectId, Operation, PinState, PublicKey,
    Result as TokenResult, Role, TokenError, TokenInfo,
};
use parking_lot::Mutex;

use self::{
    container::{CardHolder, PinReference},
    provisioning::Vacancy,
    slot::Slot,
};
use crate::{
    applet::{Applet, Failure, Result, Row, SecretForm, Tries},
    card::Transaction,
};

/// PIV's row in the table of applets.
pub(crate) static ROW: Row = Row {
    name: "PIV",
    aid: AID,
    reason: "first, because it is the applet of most cards, and of those that have both it is the one with certificates",
    open,
};

/// Without the version at its end, as SP 800-73-4 part 2 §3.1.1 lets it be selected.
const AID: &[u8] = &[0xa0, 0x00, 0x00, 0x03, 0x08, 0x00, 0x00, 0x10, 0x00];
/// The part of it that is the applet's own, without the issuer's.
const PIX: &[u8] = &[0x00, 0x00, 0x10, 0x00];

fn open(selected: &[u8], atr: &[u8]) -> Option<Box<dyn Applet>> {
    is_ours(selected).then(|| Box::new(Piv::new(atr)) as Box<dyn Applet>)
}

/// Whether SELECT was answered by PIV. It knows the AID already, so only an answer that names another one is refused.
fn is_ours(selected: &[u8]) -> bool {
    let template = container::field(selected, 0x61).or_else(|| container::field(selected, 0x6f));
    let Some(template) = template else {
        return true;
    };
    let name = container::field(template, 0x4f).or_else(|| container::field(template, 0x84));
    // The application property template names the PIX alone (SP 800-73-4 part 2 table 3), and some cards the whole AID.
    name.is_none_or(|name| name.starts_with(AID) || name.starts_with(PIX) || AID.starts_with(name))
}

/// The applet on one card.
struct Piv {
    /// Whether it is a YubiKey, which has commands of its own. Its ATR says so: any other test would cost a command for
    /// every card.
    is_yubikey: bool,
    known: Mutex<Known>,
}

/// What was learned of the card.
#[derive(Default)]
struct Known {
    holder: Option<Arc<CardHolder>>,
    pin: Option<PinReference>,
    /// Whether the applet's own PIN has as many tries left as cards customarily give.
    has_customary_tries: bool,
    read_for_label: Option<ReadForLabel>,
    /// Where a key was made, or said to be: the card cannot tell of one without a certificate.
    taken: BTreeSet<Slot>,
    /// A YubiKey of a version that does not tell of its keys.
    tells_nothing: bool,
}

/// The containers of certificates that were read for the token's label: the contents take them if that was just now.
struct ReadForLabel {
    at: Instant,
    containers: BTreeMap<Slot, Option<Vec<u8>>>,
}

impl Piv {
    fn new(atr: &[u8]) -> Self {
        Self {
            is_yubikey: yubikey::is_atr(atr),
            known: Mutex::default(),
        }
    }

    /// Forgets what may not be so any more.
    fn before_writing(&self) {
        self.known.lock().read_for_label = None;
    }
}

impl Applet for Piv {
    fn row(&self) -> &'static Row {
        &ROW
    }

    fn is_selected(&self, card: &mut Transaction<'_>) -> Result<bool> {
        match self.discover(card) {
            Ok(found) => Ok(found.is_some()),
            Err(Failure::Status(_)) => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    fn identity(&self, card: &mut Transaction<'_>) -> Result<Vec<u8>> {
        if let Some(answer) = self.read_container(card, data::CHUID)? {
            let holder = Arc::new(CardHolder::parse(answer));
            self.known.lock().holder = Some(holder.clone());
            return Ok(holder.answer.clone());
        }
        if self.is_yubikey
            && let Some(serial) = yubikey::serial_number(card)?
        {
            return Ok(serial);
        }
        // A card that was never personalised has no keys that anybody could want: one is as good as the other.
        Ok(b"PIV without CHUID".to_vec())
    }

    fn info(&self, card: &mut Transaction<'_>) -> Result<TokenInfo> {
        let holder = self.holder(card)?;
        let label = self.label(card)?;
        let serial_number = holder.as_ref().and_then(|holder| holder.serial_number());
        let unread = self.info_unread();
        Ok(TokenInfo {
            label: label.unwrap_or(unread.label),
            serial_number: serial_number.unwrap_or(unread.serial_number),
            ..unread
        })
    }

    fn info_unread(&self) -> TokenInfo {
        TokenInfo {
            label: "PIV_II".into(),
            manufacturer: "piv_II".into(),
            model: "PKCS#15 emulated".into(),
            serial_number: "00000000".into(),
            login: LoginPolicy::App,
            min_pin_len: pin::MIN_LEN,
            max_pin_len: pin::MAX_LEN,
            user_pin: PinState::Normal,
            admin_pin: PinState::Normal,
            writable: true,
            has_random: false,
            hardware_version: (0, 0),
            firmware_version: (0, 0),
        }
    }

    fn contents(&self, card: &mut Transaction<'_>) -> Result<Vec<Item>> {
        self.read_contents(card)
    }

    fn tries(&self, card: &mut Transaction<'_>, role: Role) -> Result<Option<Tries>> {
        self.pin_tries(card, role)
    }

    fn secret_form(&self, role: Role) -> TokenResult<SecretForm> {
        let is_federal = |holder: &Arc<CardHolder>| holder.is_federal();
        let is_federal = self.known.lock().holder.as_ref().is_some_and(is_federal);
        Ok(pin::form(role, is_federal))
    }

    fn verify(
        &self,
        card: &mut Transaction<'_>,
        role: Role,
        _key: Option<&ObjectId>,
        secret: &[u8],
    ) -> Result<()> {
        match role {
            Role::User | Role::Context => self.verify_pin(card, secret),
            Role::Admin => self.authenticate_admin(card, secret),
            Role::Unblock => Err(TokenError::NotSupported.into()),
        }
    }

    fn verify_template(&self, role: Role, _key: Option<&ObjectId>) -> Option<(Vec<u8>, usize)> {
        self.pin_template(role)
    }

    fn forget(&self, card: &mut Transaction<'_>, role: Role) -> Result<bool> {
        self.forget_pin(card, role)
    }

    fn supports(&self, operation: Operation, key: &Key, algorithm: KeyAlgorithm) -> bool {
        keys::supports(operation, key, algorithm)
    }

    fn sign(
        &self,
        card: &mut Transaction<'_>,
        key: &Key,
        algorithm: KeyAlgorithm,
        input: &[u8],
        signature: &mut [u8],
    ) -> Result<usize> {
        keys::sign(card, key, algorithm, input, signature)
    }

    fn decrypt(
        &self,
        card: &mut Transaction<'_>,
        key: &Key,
        algorithm: KeyAlgorithm,
        input: &[u8],
        plaintext: &mut [u8],
    ) -> Result<usize> {
        keys::decrypt(card, key, algorithm, input, plaintext)
    }

    fn key_exchange(
        &self,
        card: &mut Transaction<'_>,
        key: &Key,
        algorithm: KeyAlgorithm,
        peer: &[u8],
        secret: &mut [u8],
    ) -> Result<usize> {
        keys::key_exchange(card, key, algorithm, peer, secret)
    }

    fn read(&self, card: &mut Transaction<'_>, item: &ObjectId) -> Result<Vec<u8>> {
        self.read_object(card, item)
    }

    fn random(&self, card: &mut Transaction<'_>, out: &mut [u8]) -> Result<()> {
        keys::random(card, out)
    }

    fn change_secret(
        &self,
        card: &mut Transaction<'_>,
        role: Role,
        old: &[u8],
        new: &[u8],
    ) -> Result<()> {
        self.change_reference_data(card, role, old, new)
    }

    fn unblock(
        &self,
        card: &mut Transaction<'_>,
        unblocking: Option<&[u8]>,
        new: &[u8],
    ) -> Result<()> {
        self.reset_retry_counter(card, unblocking, new)
    }

    fn is_unblocking_secret(&self, secret: &[u8]) -> bool {
        (pin::MIN_LEN..=pin::MAX_LEN).contains(&secret.len())
    }

    fn personalize(&self, card: &mut Transaction<'_>) -> Result<()> {
        self.before_writing();
        self.write_identity(card)
    }

    fn is_free(&self, card: &mut Transaction<'_>, known: &[Item], identity: &[u8]) -> Result<bool> {
        let slot = Slot::of_identity(identity).ok_or(TokenError::ObjectNotFound)?;
        Ok(self.vacancy(card, known, slot)? == Vacancy::Free)
    }

    fn generate_key(
        &self,
        card: &mut Transaction<'_>,
        known: &[Item],
        wanted: &NewKey<'_>,
    ) -> Result<Key> {
        self.before_writing();
        self.generate(card, known, wanted)
    }

    fn introduced_key(&self, identity: &[u8], public_key: &PublicKey) -> TokenResult<Key> {
        self.introduce(identity, public_key)
    }

    fn import_certificate(
        &self,
        card: &mut Transaction<'_>,
        known: &[Item],
        identity: Option<&[u8]>,
        der: &[u8],
    ) -> Result<ObjectId> {
        self.before_writing();
        self.write_certificate(card, known, identity, der)
    }

    fn delete(&self, card: &mut Transaction<'_>, item: &ObjectId) -> Result<()> {
        self.before_writing();
        self.delete_item(card, item)
    }
}
