//! PIN and PUK (SP 800-73-4 part 1 §2.4.3, part 2 §3.2.1 to §3.2.3): checked, changed, counted and forgotten.

use ctk_token::{PinState, Role, TokenError};
use zeroize::Zeroizing;

use super::{Piv, container::PinReference, management_key, yubikey};
use crate::{
    apdu::Command,
    applet::{Failure, Result, SecretForm, Tries},
    card::Transaction,
    status::Status,
};

/// Shortest PIN and PUK, in bytes.
pub(super) const MIN_LEN: usize = 6;
/// Longest PIN and PUK, in bytes: they are filled up to this with FF.
pub(super) const MAX_LEN: usize = 8;

const VERIFY: u8 = 0x20;
const CHANGE_REFERENCE_DATA: u8 = 0x24;
const RESET_RETRY_COUNTER: u8 = 0x2c;
/// P1 of a VERIFY that ends a login.
const LOGS_OUT: u8 = 0xff;
const PUK: u8 = 0x81;
const PADDING: u8 = 0xff;

/// How many tries cards customarily give: fewer that are left mean that some were wrong.
const CUSTOMARY_TRIES: u32 = 3;

/// The form of a role's secret. Digits are the standard's rule for a PIN (part 2 §2.4.3), which a federal card keeps. YubiKeys
/// and free firmware take anything: whoever has letters in the PIN must not be locked out. For a new PIN see
/// [`Piv::new_pin`].
pub(super) fn form(role: Role, is_federal: bool) -> SecretForm {
    let max = match role {
        Role::User | Role::Context | Role::Unblock => MAX_LEN,
        // A management key, in digits.
        Role::Admin => management_key::MAX_DIGITS,
    };
    SecretForm {
        min: MIN_LEN,
        max,
        digits_only: is_federal && matches!(role, Role::User | Role::Context),
    }
}

impl Piv {
    /// VERIFY.
    pub(super) fn verify_pin(&self, card: &mut Transaction<'_>, pin: &[u8]) -> Result<()> {
        let block = padded(pin).ok_or(WRONG)?;
        let reference = self.reference_for_secret(card)?;
        let command = Command::new(VERIFY, 0, reference.number())
            .data(&*block)
            .secret();
        let checked = checked(card.send(&command)?.status);
        self.learn_from(card, &checked);
        checked
    }

    /// A wrong PIN may be one for the other reference. It stays wrong, whatever becomes of the question.
    fn learn_from(&self, card: &mut Transaction<'_>, checked: &Result<()>) {
        if matches!(
            checked,
            Err(Failure::Token(TokenError::AuthenticationFailed { .. }))
        ) && let Err(failure) = self.learn_reference(card)
        {
            let error = failure.into_token_error();
            log::warn!("PIV: the card does not say which PIN it wants: {error}");
        }
    }

    /// The VERIFY command for a pinpad, and where the PIN goes.
    pub(super) fn pin_template(&self, role: Role) -> Option<(Vec<u8>, usize)> {
        if !matches!(role, Role::User | Role::Context) {
            return None;
        }
        let reference = self.known.lock().pin.unwrap_or(PinReference::Application);
        let header = [0, VERIFY, 0, reference.number(), MAX_LEN as u8];
        Some(([&header[..], &[PADDING; MAX_LEN]].concat(), header.len()))
    }

    /// Ends a login (since SP 800-73-4). Says whether the card knows how. There is nothing to end
    /// after an authentication for one operation: the PIN counts for a command that follows at once.
    pub(super) fn forget_pin(&self, card: &mut Transaction<'_>, role: Role) -> Result<bool> {
        match role {
            Role::User => {}
            Role::Context => return Ok(true),
            Role::Admin | Role::Unblock => return Ok(false),
        }
        let reference = self.known.lock().pin.unwrap_or(PinReference::Application);
        let command = Command::new(VERIFY, LOGS_OUT, reference.number());
        Ok(card.send(&command)?.status.is_ok())
    }

    /// The tries that are left, by a VERIFY without PIN.
    pub(super) fn pin_tries(
        &self,
        card: &mut Transaction<'_>,
        role: Role,
    ) -> Result<Option<Tries>> {
        if !matches!(role, Role::User | Role::Context) {
            let puk = if self.is_yubikey {
                yubikey::tries(card, PUK)?
            } else {
                None
            };
            return Ok(puk.map(|(all, left)| tries(left.into(), all.into())));
        }
        let reference = self.pin_reference(card)?;
        if self.is_yubikey
            && let Some((all, left)) = yubikey::tries(card, reference.number())?
        {
            return Ok(Some(tries(left.into(), all.into())));
        }
        let found = count(card, reference)?;
        let left = found.map(|tries| tries.left);
        let is_customary = left == Some(Some(CUSTOMARY_TRIES));
        self.known.lock().has_customary_tries = is_customary;
        // A card that is logged in has told of the right one.
        let is_known = is_customary || left == Some(None);
        if !is_known && self.learn_reference(card)? == PinReference::Global {
            return count(card, PinReference::Global);
        }
        Ok(found)
    }

    /// CHANGE REFERENCE DATA, and a YubiKey's command for the management key.
    pub(super) fn change_reference_data(
        &self,
        card: &mut Transaction<'_>,
        role: Role,
        old: &[u8],
        new: &[u8],
    ) -> Result<()> {
        let reference = match role {
            Role::User | Role::Context => self.reference_for_secret(card)?.number(),
            Role::Unblock => PUK,
            Role::Admin if old.len() > MAX_LEN || new.len() > MAX_LEN => {
                return self.change_management_key(card, old, new);
            }
            Role::Admin => PUK,
        };
        let old = padded(old).ok_or(WRONG)?;
        let new = match reference {
            PUK => padded(new).ok_or(TokenError::DataInvalid)?,
            _ => self.new_pin(new)?,
        };
        let command = Command::new(CHANGE_REFERENCE_DATA, 0, reference);
        let replaced = replace(card, command, &old, &new);
        if reference != PUK {
            self.learn_from(card, &replaced);
        }
        replaced
    }

    /// A new PIN, filled up. A card that takes letters here may refuse them with VERIFY, and only the PUK would help then:
    /// digits only, but for YubiKeys, which say that they take anything.
    fn new_pin(&self, new: &[u8]) -> Result<Zeroizing<[u8; MAX_LEN]>> {
        if !self.is_yubikey && !new.iter().all(u8::is_ascii_digit) {
            return Err(TokenError::DataInvalid.into());
        }
        Ok(padded(new).ok_or(TokenError::DataInvalid)?)
    }

    /// RESET RETRY COUNTER, which there is for the applet's own PIN only.
    pub(super) fn reset_retry_counter(
        &self,
        card: &mut Transaction<'_>,
        puk: Option<&[u8]>,
        new: &[u8],
    ) -> Result<()> {
        // The management key does not set PINs.
        let puk = puk.ok_or(TokenError::NotSupported)?;
        let reference = self.reference_for_secret(card)?;
        if reference == PinReference::Global {
            return Err(TokenError::NotSupported.into());
        }
        let puk = padded(puk).ok_or(WRONG)?;
        let new = self.new_pin(new)?;
        let command = Command::new(RESET_RETRY_COUNTER, 0, reference.number());
        replace(card, command, &puk, &new)
    }

    /// Which PIN a person has for the card.
    ///
    /// The discovery object tells, and costs a command. Global PINs are for cards of federal agencies, and only those are
    /// asked before a PIN is needed. Any other card is asked as soon as the applet's own PIN looks as if nobody used it:
    /// after a wrong PIN, and when it has not the tries that a card customarily gives.
    pub(super) fn pin_reference(&self, card: &mut Transaction<'_>) -> Result<PinReference> {
        let known = self.known.lock().pin;
        if let Some(reference) = known {
            return Ok(reference);
        }
        let holder = self.holder(card)?;
        if holder.is_some_and(|holder| holder.is_federal()) {
            return self.learn_reference(card);
        }
        Ok(PinReference::Application)
    }

    /// As [`pin_reference`](Self::pin_reference), before a secret goes out. Whose tries nobody has looked at, that card is
    /// asked: a PIN for the other reference would cost a try of this one in each program that logs in.
    fn reference_for_secret(&self, card: &mut Transaction<'_>) -> Result<PinReference> {
        let reference = self.pin_reference(card)?;
        let known = self.known.lock();
        if self.is_yubikey || known.has_customary_tries || known.pin.is_some() {
            return Ok(reference);
        }
        drop(known);
        match self.learn_reference(card) {
            // Nobody but federal agencies has a global PIN as a rule.
            Err(Failure::Token(_)) => Ok(reference),
            learned => learned,
        }
    }

    /// Asks for the discovery object, once.
    ///
    /// # Errors
    /// A status that says anything else than that there is none: not to know is no reason to send a PIN anywhere.
    fn learn_reference(&self, card: &mut Transaction<'_>) -> Result<PinReference> {
        let known = self.known.lock().pin;
        if let Some(reference) = known {
            return Ok(reference);
        }
        let found = match self.discover(card) {
            Ok(found) => found,
            Err(Failure::Status(status)) if says_none(status) => None,
            Err(Failure::Status(status)) => {
                let why = format!("the card does not say which PIN it wants ({status})");
                return Err(Failure::corrupted(why));
            }
            Err(failure) => return Err(failure),
        };
        let reference = found.unwrap_or(PinReference::Application);
        self.known.lock().pin = Some(reference);
        Ok(reference)
    }
}

/// Whether a card answers so to GET DATA that does not have the object, or no object of such a tag.
fn says_none(status: Status) -> bool {
    matches!(
        status.0,
        0x6700 | 0x6a80..=0x6a88 | 0x6b00 | 0x6d00 | 0x6e00
    )
}

const WRONG: TokenError = TokenError::AuthenticationFailed { tries: None };

/// Asks for the tries left. A card that is logged in does not tell.
fn count(card: &mut Transaction<'_>, reference: PinReference) -> Result<Option<Tries>> {
    let status = card
        .send(&Command::new(VERIFY, 0, reference.number()))?
        .status;
    Ok(match (status, tries_left(status)) {
        (_, Some(left)) => Some(tries(left, CUSTOMARY_TRIES)),
        (Status::AUTHENTICATION_BLOCKED, _) => Some(tries(0, CUSTOMARY_TRIES)),
        (Status::OK, _) => Some(Tries {
            left: None,
            state: PinState::Normal,
        }),
        _ => None,
    })
}

/// How many tries a status leaves: 63Cx, and 630x from a YubiKey NEO, which has no x of 0.
fn tries_left(status: Status) -> Option<u32> {
    let of_neo = matches!(status.0, 0x6301..=0x630f).then(|| u32::from(status.sw2()));
    status.tries_left().or(of_neo)
}

fn tries(left: u32, all: u32) -> Tries {
    Tries {
        left: Some(left),
        state: match left {
            0 => PinState::Locked,
            1 => PinState::FinalTry,
            left if left < all => PinState::CountLow,
            _ => PinState::Normal,
        },
    }
}

/// Sends a secret and the one that replaces another.
fn replace(
    card: &mut Transaction<'_>,
    command: Command,
    first: &[u8; MAX_LEN],
    second: &[u8; MAX_LEN],
) -> Result<()> {
    let mut blocks = Zeroizing::new([0; 2 * MAX_LEN]);
    let (left, right) = blocks.split_at_mut(MAX_LEN);
    left.copy_from_slice(first);
    right.copy_from_slice(second);
    let status = card.send(&command.data(&*blocks).secret())?.status;
    match status.0 {
        // The new one is of a form that this card does not take (part 2 §3.2.2).
        0x6a80 | 0x6985 => Err(TokenError::DataInvalid.into()),
        _ => checked(status),
    }
}

/// What the status after a PIN means.
fn checked(status: Status) -> Result<()> {
    match status.0 {
        0x9000 => Ok(()),
        0x6983 => Err(TokenError::PinLocked.into()),
        // Of a form that no PIN of this card has.
        0x6a80 => Err(WRONG.into()),
        _ => match tries_left(status) {
            Some(0) => Err(TokenError::PinLocked.into()),
            Some(left) => Err(TokenError::AuthenticationFailed { tries: Some(left) }.into()),
            None if status.sw1() == 0x63 => Err(WRONG.into()),
            None => Err(Failure::Status(status)),
        },
    }
}

/// A PIN filled up for the card; `None` for one of another length, or that could not be told from its padding.
fn padded(pin: &[u8]) -> Option<Zeroizing<[u8; MAX_LEN]>> {
    if !(MIN_LEN..=MAX_LEN).contains(&pin.len()) || pin.contains(&PADDING) {
        return None;
    }
    let mut block = Zeroizing::new([PADDING; MAX_LEN]);
    block.get_mut(..pin.len())?.copy_from_slice(pin);
    Some(block)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_filled_up() {
        assert_eq!(*padded(b"123456").unwrap(), *b"123456\xff\xff");
        assert_eq!(*padded(b"12345678").unwrap(), *b"12345678");
        for pin in [&b""[..], b"12345", b"123456789", b"123456\xff"] {
            assert!(padded(pin).is_none());
        }
    }

    #[test]
    fn states_follow_the_tries() {
        for (left, all, state) in [
            (0, 3, PinState::Locked),
            (1, 3, PinState::FinalTry),
            (2, 3, PinState::CountLow),
            (3, 3, PinState::Normal),
            (8, 3, PinState::Normal),
            (4, 5, PinState::CountLow),
        ] {
            assert_eq!(tries(left, all).state, state, "{left} of {all}");
        }
    }

    #[test]
    fn a_status_that_is_not_about_the_pin_is_no_wrong_pin() {
        for status in [0x6d00, 0x6a82, 0x6982, 0x6700, 0x6e00, 0x6f00] {
            assert_eq!(
                checked(Status(status)),
                Err(Failure::Status(Status(status)))
            );
        }
        assert_eq!(checked(Status(0x63c0)), Err(TokenError::PinLocked.into()));
        assert_eq!(checked(Status(0x6300)), Err(WRONG.into()));
        let two_left = TokenError::AuthenticationFailed { tries: Some(2) };
        assert_eq!(checked(Status(0x6302)), Err(two_left.into()));
    }
}
