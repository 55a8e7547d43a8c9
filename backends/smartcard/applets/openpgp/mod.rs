//! The OpenPGP card, version 2.0 to 3.4 ("Functional Specification of the OpenPGP application on
//! ISO Smart Card Operating Systems"; § means a section of its version 3.4.1).
//!
//! The card has three places for keys, for signatures, decryption and authentication, and pads by
//! itself. PW1 is one PIN with two modes, one of which is for signatures and may count for a single
//! one.

mod application;
mod attributes;
mod contents;
mod data;
mod fingerprint;
mod kdf;
mod manufacturers;
mod operations;
mod pin;
mod place;
mod provision;
mod public_key;
mod rejection;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use ctk_token::{
    Item, Key, KeyAlgorithm, LoginPolicy, NewKey, ObjectId, Operation, PinState,
    Result as TokenResult, Role, TokenError, TokenInfo,
};
use parking_lot::Mutex;

use self::{
    application::{Application, Identifier, PinStatus},
    kdf::{Kdf, Secret},
    place::Place,
    rejection::RejectionKey,
};
use crate::{
    apdu::{Command, Le},
    applet::{Applet, Failure, Result, Row, SecretForm, Tries},
    card::Transaction,
    status::Status,
    tlv,
};

/// Its row.
pub(crate) static ROW: Row = Row {
    name: "OpenPGP",
    aid: application::AID,
    reason: "after PIV: on cards with both, certificates for programs other than GnuPG are in PIV",
    open,
};

const GET_CHALLENGE: u8 = 0x84;
/// The tag of the KDF-DO.
const KDF: u16 = 0xF9;
/// The longest PIN of a card that has not been asked: as long as a length has bits for.
const MAX_PIN: usize = 127;

/// As OpenSC names its first slot for such a card. It has another one, `OpenPGP card (User PIN
/// (sig))`, for the key for signatures, because there one token has one PIN; here one token has
/// both modes of it.
const LABEL: &str = "OpenPGP card (User PIN)";
/// As OpenSC calls every card that is not made for PKCS#15.
const MODEL: &str = "PKCS#15 emulated";

/// An OpenPGP card, and what was learned of it.
#[derive(Default)]
struct OpenPgp {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// What the card has said of itself last.
    application: Option<Application>,
    /// Whose tries in there were read with the card's identity, and are wanted next: they need not
    /// be asked for.
    fresh_tries: Vec<Role>,
    kdf: Option<Kdf>,
    rejection: Option<Arc<RejectionKey>>,
}

fn open(selected: &[u8], _atr: &[u8]) -> Option<Box<dyn Applet>> {
    // Most cards answer nothing. One that names another application has not selected this one.
    let name = tlv::find_path(selected, &[0x6F, 0x84]).ok().flatten();
    let is_ours = name.is_none_or(|name| name.starts_with(application::AID));
    is_ours.then(|| Box::new(OpenPgp::default()) as Box<dyn Applet>)
}

impl OpenPgp {
    /// Asks the card for what it says of itself.
    fn ask(&self, card: &mut Transaction<'_>) -> Result<Application> {
        let application = Application::parse(&data::read(card, 0x6E)?)?;
        // Nobody else has an OpenPGP card's identifier in there.
        card.prove(&ROW);
        card.set_extended(application.extended_length);
        let mut known = self.known.lock();
        known.application = Some(application.clone());
        known.fresh_tries.clear();
        Ok(application)
    }

    /// The same, from memory if it was asked before.
    fn application(&self, card: &mut Transaction<'_>) -> Result<Application> {
        let known = self.known.lock().application.clone();
        match known {
            Some(application) => Ok(application),
            None => self.ask(card),
        }
    }

    /// How the card wants its PINs. Another program can have set that up since the last time, and a
    /// PIN in the wrong form is a wrong one: so it is asked for each login, where the card can have
    /// it at all.
    fn kdf(&self, card: &mut Transaction<'_>) -> Result<Kdf> {
        let kdf = match self.application(card)?.capabilities.kdf {
            true => match data::read(card, KDF) {
                Ok(object) => Kdf::parse(&object)?,
                Err(Failure::Status(
                    Status::REFERENCED_DATA_NOT_FOUND | Status::FILE_NOT_FOUND,
                )) => Kdf::Plain,
                // Not to know is no reason to try.
                Err(failure) => return Err(failure),
            },
            false => Kdf::Plain,
        };
        let mut known = self.known.lock();
        known.kdf = Some(kdf.clone());
        known.fresh_tries.clear();
        Ok(kdf)
    }

    /// The state of the PINs, if it has just been read; once for each role.
    fn fresh_pins(&self, role: Role) -> Option<PinStatus> {
        let mut known = self.known.lock();
        let at = known.fresh_tries.iter().position(|fresh| *fresh == role)?;
        known.fresh_tries.swap_remove(at);
        known
            .application
            .as_ref()
            .map(|application| application.pins)
    }

    /// The secret of the key's implicit rejection, made at its first use.
    fn rejection(
        &self,
        card: &mut Transaction<'_>,
        key: &Key,
        application: &Application,
    ) -> Result<Arc<RejectionKey>> {
        let known = self.known.lock().rejection.clone();
        if let Some(known) = known.filter(|known| known.is_of(key)) {
            return Ok(known);
        }
        let made = Arc::new(RejectionKey::make(card, key, application)?);
        self.known.lock().rejection = Some(made.clone());
        Ok(made)
    }
}

impl Applet for OpenPgp {
    fn row(&self) -> &'static Row {
        &ROW
    }

    fn is_selected(&self, card: &mut Transaction<'_>) -> Result<bool> {
        let answer = data::read_optional(card, 0x4F)?;
        let is_selected = identifier(&answer).is_some();
        if is_selected {
            card.prove(&ROW);
        }
        Ok(is_selected)
    }

    fn identity(&self, card: &mut Transaction<'_>) -> Result<Vec<u8>> {
        let identifier = self.ask(card)?.identifier;
        // What a token is told to be comes next, tries included.
        self.known.lock().fresh_tries = vec![Role::User, Role::Admin];
        Ok(identifier.as_bytes().to_vec())
    }

    fn info(&self, card: &mut Transaction<'_>) -> Result<TokenInfo> {
        let application = self.application(card)?;
        let identifier = application.identifier;
        Ok(TokenInfo {
            manufacturer: manufacturers::name(identifier.manufacturer()).into(),
            serial_number: identifier.serial_number(),
            max_pin_len: application.pins.max_user,
            has_random: application.capabilities.challenge_len.is_some(),
            hardware_version: identifier.version(),
            firmware_version: identifier.version(),
            ..self.info_unread()
        })
    }

    fn info_unread(&self) -> TokenInfo {
        TokenInfo {
            label: LABEL.into(),
            manufacturer: manufacturers::UNKNOWN.into(),
            model: MODEL.into(),
            serial_number: String::new(),
            login: LoginPolicy::App,
            min_pin_len: pin::MIN_USER,
            max_pin_len: MAX_PIN,
            user_pin: PinState::Normal,
            admin_pin: PinState::Normal,
            writable: true,
            has_random: false,
            hardware_version: (0, 0),
            firmware_version: (0, 0),
        }
    }

    fn contents(&self, card: &mut Transaction<'_>) -> Result<Vec<Item>> {
        let application = self.ask(card)?;
        contents::read(card, &application)
    }

    fn tries(&self, card: &mut Transaction<'_>, role: Role) -> Result<Option<Tries>> {
        let pins = match self.fresh_pins(role) {
            Some(pins) => pins,
            None => pin::status(card)?,
        };
        Ok(Some(application::tries(match role {
            Role::User | Role::Context => pins.user,
            Role::Admin => pins.admin,
            Role::Unblock => pins.resetting,
        })))
    }

    fn secret_form(&self, role: Role) -> TokenResult<SecretForm> {
        let pins = self
            .known
            .lock()
            .application
            .as_ref()
            .map(|known| known.pins);
        let (min, max) = match role {
            Role::User | Role::Context => (pin::MIN_USER, pins.map(|pins| pins.max_user)),
            // Either of the two: which it is, and its own length, is seen before it is sent.
            Role::Admin => {
                let code = |max| pin::RESETTING_CODE.len() + max;
                let longest = pins.map(|pins| pins.max_admin.max(code(pins.max_resetting)));
                (pin::MIN_ADMIN, longest)
            }
            Role::Unblock => (pin::MIN_RESETTING, pins.map(|pins| pins.max_resetting)),
        };
        Ok(SecretForm {
            min,
            max: max.unwrap_or(MAX_PIN),
            digits_only: false,
        })
    }

    fn verify(
        &self,
        card: &mut Transaction<'_>,
        role: Role,
        key: Option<&ObjectId>,
        secret: &[u8],
    ) -> Result<()> {
        self.known.lock().fresh_tries.clear();
        // A second PIN for one operation follows a login that has asked.
        let known = self.known.lock().kdf.clone();
        let kdf = match known.filter(|_| role == Role::Context) {
            Some(kdf) => kdf,
            None => self.kdf(card)?,
        };
        let pins = self.application(card)?.pins;
        pin::check(&pins, secret_of(role), secret)?;
        pin::verify(card, &kdf, role, key, pins.each_signature, secret)
    }

    fn verify_template(&self, role: Role, key: Option<&ObjectId>) -> Option<(Vec<u8>, usize)> {
        // The PIN would have to be typed once for each of its modes, and is not padded to a length
        // that a template has.
        let _ = (role, key);
        None
    }

    fn forget(&self, card: &mut Transaction<'_>, role: Role) -> Result<bool> {
        pin::forget(card, role)
    }

    fn supports(&self, operation: Operation, key: &Key, algorithm: KeyAlgorithm) -> bool {
        operations::supports(operation, key, algorithm)
    }

    fn sign(
        &self,
        card: &mut Transaction<'_>,
        key: &Key,
        algorithm: KeyAlgorithm,
        input: &[u8],
        signature: &mut [u8],
    ) -> Result<usize> {
        if !self.supports(Operation::Sign, key, algorithm) {
            return Err(TokenError::NotSupported.into());
        }
        // Unless the applet is selected, the key may be another one (see `rejection`).
        if Place::of_key(&key.id) == Some(Place::Authentication) && !card.is_selected_last(&ROW) {
            card.select(&ROW)?;
        }
        operations::sign(card, key, input, signature)
    }

    fn decrypt(
        &self,
        card: &mut Transaction<'_>,
        key: &Key,
        algorithm: KeyAlgorithm,
        input: &[u8],
        plaintext: &mut [u8],
    ) -> Result<usize> {
        if !self.supports(Operation::Decrypt, key, algorithm) {
            return Err(TokenError::NotSupported.into());
        }
        rejection::check(key, input, plaintext)?;
        // Another applet's refusal must not be taken for a wrong padding, and to look afterwards
        // would show in the time that a wrong padding takes.
        if !card.is_proven(&ROW) && !self.is_selected(card)? {
            return Err(Failure::Status(Status::INSTRUCTION_NOT_SUPPORTED));
        }
        let application = self.application(card)?;
        let rejection = self.rejection(card, key, &application)?;
        let touch = application.key(Place::Encryption).touch;
        rejection::decrypt(card, key, touch, &rejection, input, plaintext)
    }

    fn key_exchange(
        &self,
        card: &mut Transaction<'_>,
        key: &Key,
        algorithm: KeyAlgorithm,
        peer: &[u8],
        secret: &mut [u8],
    ) -> Result<usize> {
        if !self.supports(Operation::KeyExchange, key, algorithm) {
            return Err(TokenError::NotSupported.into());
        }
        operations::key_exchange(card, key, peer, secret)
    }

    fn read(&self, card: &mut Transaction<'_>, item: &ObjectId) -> Result<Vec<u8>> {
        let tag = contents::data_object_tag(item).ok_or(TokenError::ObjectNotFound)?;
        Ok(data::read_protected(card, tag)?.to_vec())
    }

    fn random(&self, card: &mut Transaction<'_>, out: &mut [u8]) -> Result<()> {
        let longest = self.application(card)?.capabilities.challenge_len;
        let longest = longest
            .filter(|len| *len > 0)
            .ok_or(TokenError::NotSupported)?;
        for chunk in out.chunks_mut(longest.min(255).into()) {
            // At most 255, which fits.
            let command = Command::new(GET_CHALLENGE, 0, 0).le(Le::Exactly(chunk.len() as u16));
            let response = card.call(&command.secret())?;
            let bytes = response.data.get(..chunk.len());
            let bytes = bytes.ok_or_else(|| {
                Failure::corrupted("the card gives fewer random bytes than asked for")
            })?;
            chunk.copy_from_slice(bytes);
        }
        Ok(())
    }

    fn change_secret(
        &self,
        card: &mut Transaction<'_>,
        role: Role,
        old: &[u8],
        new: &[u8],
    ) -> Result<()> {
        if !matches!(role, Role::User | Role::Admin) {
            return Err(TokenError::NotSupported.into());
        }
        let pins = self.application(card)?.pins;
        for secret in [old, new] {
            pin::check(&pins, secret_of(role), secret)?;
        }
        let kdf = self.kdf(card)?;
        pin::change(card, &kdf, role, old, new)
    }

    fn unblock(
        &self,
        card: &mut Transaction<'_>,
        unblocking: Option<&[u8]>,
        new: &[u8],
    ) -> Result<()> {
        let pins = self.application(card)?.pins;
        pin::check(&pins, Secret::User, new)?;
        if let Some(code) = unblocking {
            pin::check(&pins, Secret::ResettingCode, pin::resetting_code(code))?;
        }
        let kdf = self.kdf(card)?;
        pin::unblock(card, &kdf, unblocking, new)
    }

    fn is_unblocking_secret(&self, secret: &[u8]) -> bool {
        secret.starts_with(pin::RESETTING_CODE)
    }

    fn personalize(&self, card: &mut Transaction<'_>) -> Result<()> {
        // A card is made with all that it needs.
        let _ = card;
        Ok(())
    }

    fn is_free(&self, card: &mut Transaction<'_>, known: &[Item], identity: &[u8]) -> Result<bool> {
        let place = Place::of_identity(identity).ok_or(TokenError::ObjectNotFound)?;
        let has_identity = |item: &Item| match item {
            Item::Key(key) => key.identity == identity,
            Item::Certificate(certificate) => certificate.identity == identity,
            Item::Data(_) => false,
        };
        let application = self.ask(card)?;
        Ok(!known.iter().any(has_identity) && provision::is_free(card, &application, place)?)
    }

    fn generate_key(
        &self,
        card: &mut Transaction<'_>,
        _known: &[Item],
        wanted: &NewKey<'_>,
    ) -> Result<Key> {
        let application = self.ask(card)?;
        provision::generate(card, &application, wanted)
    }

    fn import_certificate(
        &self,
        card: &mut Transaction<'_>,
        known: &[Item],
        identity: Option<&[u8]>,
        der: &[u8],
    ) -> Result<ObjectId> {
        let application = self.application(card)?;
        provision::import_certificate(card, &application, known, identity, der)
    }

    fn delete(&self, card: &mut Transaction<'_>, item: &ObjectId) -> Result<()> {
        let application = self.application(card)?;
        provision::delete(card, &application, item)
    }
}

fn secret_of(role: Role) -> Secret {
    match role {
        Role::User | Role::Context => Secret::User,
        Role::Admin => Secret::Admin,
        Role::Unblock => Secret::ResettingCode,
    }
}

/// An identifier in what GET DATA 4F answers: with its tag or without.
fn identifier(answer: &[u8]) -> Option<Identifier> {
    let inner = tlv::find(answer, 0x4F).ok().flatten();
    Identifier::parse(inner.unwrap_or(answer))
}
