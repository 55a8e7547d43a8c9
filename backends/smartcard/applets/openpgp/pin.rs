//! PINs: PW1 in its two modes, PW3, the resetting code (OpenPGP card 3.4 §4.3).

use ctk_token::{ObjectId, Role, TokenError};
use zeroize::Zeroizing;

use super::{
    application::PinStatus,
    data,
    kdf::{Kdf, Secret},
    place::Place,
};
use crate::{
    apdu::Command,
    applet::{Failure, Result},
    card::Transaction,
    status::Status,
    tlv,
};

const VERIFY: u8 = 0x20;
const CHANGE_REFERENCE_DATA: u8 = 0x24;
const RESET_RETRY_COUNTER: u8 = 0x2C;
/// P1 of VERIFY that ends what a right PIN has begun.
const FORGET: u8 = 0xFF;
/// P1 of RESET RETRY COUNTER: the resetting code goes with it, or PW3 has been verified.
const WITH_CODE: u8 = 0;
const AS_ADMIN: u8 = 2;

/// PW1 for one signature, or for several.
const SIGNING: u8 = 0x81;
/// PW1 for everything else.
const USER: u8 = 0x82;
const ADMIN: u8 = 0x83;

/// The shortest PINs (§4.3), in bytes.
pub(super) const MIN_USER: usize = 6;
pub(super) const MIN_ADMIN: usize = 8;
pub(super) const MIN_RESETTING: usize = 8;

/// Refuses a secret that the card would count as a wrong one because of its form.
///
/// # Errors
/// [`Failure::Token`] with `PinLength`, or as [`PinStatus::check_format`].
pub(super) fn check(pins: &PinStatus, which: Secret, secret: &[u8]) -> Result<()> {
    pins.check_format(which)?;
    let (min, max) = match which {
        Secret::User => (MIN_USER, pins.max_user),
        Secret::ResettingCode => (MIN_RESETTING, pins.max_resetting),
        Secret::Admin => (MIN_ADMIN, pins.max_admin),
    };
    match (min..=max).contains(&secret.len()) {
        true => Ok(()),
        false => Err(TokenError::PinLength { min, max }.into()),
    }
}

/// What an administrator's secret begins with if it is the resetting code: PW3 and the code look
/// the same, and to try the one as the other would cost tries.
pub(super) const RESETTING_CODE: &[u8] = b"resetting-code:";

/// The tries left and the longest PINs, asked now.
pub(super) fn status(card: &mut Transaction<'_>) -> Result<PinStatus> {
    let answer = data::read(card, 0xC4)?;
    let bytes = tlv::find(&answer, 0xC4).ok().flatten();
    PinStatus::parse(bytes.unwrap_or(&answer))
        .ok_or_else(|| Failure::corrupted("the OpenPGP card does not tell the state of its PINs"))
}

/// VERIFY in every mode that `role` is about.
///
/// The user's PIN is for two modes. The one for signatures comes second, with a PIN that has been
/// right a moment ago, and not at all where it would count for one signature: so a wrong PIN is
/// sent once.
pub(super) fn verify(
    card: &mut Transaction<'_>,
    kdf: &Kdf,
    role: Role,
    key: Option<&ObjectId>,
    each_signature: bool,
    secret: &[u8],
) -> Result<()> {
    match role {
        Role::User => {
            let pin = kdf.derive(Secret::User, secret)?;
            send(card, USER, &pin)?;
            if each_signature {
                return Ok(());
            }
            let Err(failure) = send(card, SIGNING, &pin) else {
                return Ok(());
            };
            // Half a login is none. A card that stays half logged in is the caller's to deal with,
            // who takes a refused PIN for one that opened nothing.
            match forget_mode(card, USER)? {
                true => Err(failure),
                false => Err(Failure::corrupted(
                    "the OpenPGP card takes the PIN for one of its two uses only",
                )),
            }
        }
        Role::Context => {
            let pin = kdf.derive(Secret::User, secret)?;
            match key.and_then(Place::of_key) {
                Some(Place::Signature) => send(card, SIGNING, &pin),
                Some(Place::Encryption | Place::Authentication) => send(card, USER, &pin),
                None => Err(TokenError::ObjectNotFound.into()),
            }
        }
        Role::Admin => send(card, ADMIN, &kdf.derive(Secret::Admin, secret)?),
        // It can only be used, not checked.
        Role::Unblock => Err(TokenError::NotSupported.into()),
    }
}

/// Ends what [`verify`] has begun. `false` if the card does not know how.
pub(super) fn forget(card: &mut Transaction<'_>, role: Role) -> Result<bool> {
    match role {
        // Both, whatever the first says.
        Role::User => Ok(forget_mode(card, USER)? & forget_mode(card, SIGNING)?),
        Role::Context => forget_mode(card, SIGNING),
        Role::Admin => forget_mode(card, ADMIN),
        Role::Unblock => Ok(true),
    }
}

/// CHANGE REFERENCE DATA.
pub(super) fn change(
    card: &mut Transaction<'_>,
    kdf: &Kdf,
    role: Role,
    old: &[u8],
    new: &[u8],
) -> Result<()> {
    let (which, reference) = match role {
        Role::User => (Secret::User, SIGNING),
        Role::Admin => (Secret::Admin, ADMIN),
        Role::Context | Role::Unblock => return Err(TokenError::NotSupported.into()),
    };
    let both = joined(&kdf.derive(which, old)?, &kdf.derive(which, new)?);
    let command = Command::new(CHANGE_REFERENCE_DATA, 0, reference)
        .data(&both)
        .secret();
    match card.send(&command)?.status {
        Status::OK => Ok(()),
        status => Err(refusal(card, status, which)),
    }
}

/// RESET RETRY COUNTER: a new user PIN in the name of the resetting code, or of PW3 that has been
/// verified.
pub(super) fn unblock(
    card: &mut Transaction<'_>,
    kdf: &Kdf,
    code: Option<&[u8]>,
    new: &[u8],
) -> Result<()> {
    let new = kdf.derive(Secret::User, new)?;
    let Some(code) = code else {
        let command = Command::new(RESET_RETRY_COUNTER, AS_ADMIN, SIGNING)
            .data(&new)
            .secret();
        card.call(&command)?;
        return Ok(());
    };
    let code = resetting_code(code);
    let both = joined(&kdf.derive(Secret::ResettingCode, code)?, &new);
    let command = Command::new(RESET_RETRY_COUNTER, WITH_CODE, SIGNING)
        .data(&both)
        .secret();
    match card.send(&command)?.status {
        Status::OK => Ok(()),
        status => Err(refusal(card, status, Secret::ResettingCode)),
    }
}

/// The resetting code itself.
pub(super) fn resetting_code(secret: &[u8]) -> &[u8] {
    secret.strip_prefix(RESETTING_CODE).unwrap_or(secret)
}

fn send(card: &mut Transaction<'_>, mode: u8, pin: &[u8]) -> Result<()> {
    match card
        .send(&Command::new(VERIFY, 0, mode).data(pin).secret())?
        .status
    {
        Status::OK => Ok(()),
        status => {
            let which = if mode == ADMIN {
                Secret::Admin
            } else {
                Secret::User
            };
            Err(refusal(card, status, which))
        }
    }
}

fn forget_mode(card: &mut Transaction<'_>, mode: u8) -> Result<bool> {
    Ok(card
        .send(&Command::new(VERIFY, FORGET, mode))?
        .status
        .is_ok())
}

/// What it means that a secret was not taken. Most cards answer to a wrong one that security is not
/// satisfied, and keep the tries for who asks (§7.2.2).
fn refusal(card: &mut Transaction<'_>, status: Status, which: Secret) -> Failure {
    if status == Status::AUTHENTICATION_BLOCKED {
        return TokenError::PinLocked.into();
    }
    let left = match (status.tries_left(), status) {
        (Some(left), _) => Some(left),
        (None, Status::SECURITY_STATUS_NOT_SATISFIED | Status(0x6300)) => {
            let pins = self::status(card).ok();
            pins.map(|pins| match which {
                Secret::User => pins.user.into(),
                Secret::ResettingCode => pins.resetting.into(),
                Secret::Admin => pins.admin.into(),
            })
        }
        _ => return Failure::Status(status),
    };
    match left {
        Some(0) => TokenError::PinLocked.into(),
        tries => TokenError::AuthenticationFailed { tries }.into(),
    }
}

fn joined(first: &[u8], second: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new([first, second].concat())
}
