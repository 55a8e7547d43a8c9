//! GET DATA and PUT DATA (OpenPGP card 3.4 §7.2.5 to §7.2.8).

use zeroize::Zeroizing;

use crate::{
    apdu::{Command, Le},
    applet::{Failure, Result},
    card::Transaction,
    status::Status,
};

const SELECT_DATA: u8 = 0xA5;
const GET_DATA: u8 = 0xCA;
const GET_NEXT_DATA: u8 = 0xCC;
const PUT_DATA: u8 = 0xDA;

/// The tag of the cardholder certificates.
const CERTIFICATE: u16 = 0x7F21;

/// Reads a data object.
pub(super) fn read(card: &mut Transaction<'_>, tag: u16) -> Result<Zeroizing<Vec<u8>>> {
    Ok(card.call(&with_tag(GET_DATA, tag).le(Le::All))?.data)
}

/// Reads a data object that a PIN has opened: no log shows it.
pub(super) fn read_protected(card: &mut Transaction<'_>, tag: u16) -> Result<Zeroizing<Vec<u8>>> {
    Ok(card
        .call(&with_tag(GET_DATA, tag).le(Le::All).secret())?
        .data)
}

/// Reads a data object that a card need not have, or not for everybody: whatever the card refuses
/// is empty.
pub(super) fn read_optional(card: &mut Transaction<'_>, tag: u16) -> Result<Zeroizing<Vec<u8>>> {
    or_empty(read(card, tag))
}

/// Writes a data object; empty to delete it.
pub(super) fn write(card: &mut Transaction<'_>, tag: u16, value: &[u8]) -> Result<()> {
    card.call(&with_tag(PUT_DATA, tag).data(value))?;
    Ok(())
}

/// The certificates of all occurrences, empty where there is none; of a card that has one only, the
/// first.
pub(super) fn certificates(
    card: &mut Transaction<'_>,
    counted: bool,
) -> Result<[Zeroizing<Vec<u8>>; 3]> {
    // What was read before by others decides which comes first unless one is selected.
    let counted = counted && succeeded(select_certificate(card, 0))?;
    let first = read_optional(card, CERTIFICATE)?;
    if !counted {
        return Ok([first, Zeroizing::default(), Zeroizing::default()]);
    }
    let mut others = [Zeroizing::default(), Zeroizing::default()];
    let mut goes_on = true;
    for (occurrence, certificate) in (1..).zip(&mut others) {
        let next = with_tag(GET_NEXT_DATA, CERTIFICATE).le(Le::All);
        let response = if goes_on {
            Some(card.send(&next)?)
        } else {
            None
        };
        match response.filter(|response| response.status.is_ok()) {
            Some(response) => *certificate = response.data,
            // Not every card has GET NEXT DATA, and some have it for as long as there is a next.
            None => {
                goes_on = false;
                if succeeded(select_certificate(card, occurrence))? {
                    *certificate = read_optional(card, CERTIFICATE)?;
                }
            }
        }
    }
    let [second, third] = others;
    Ok([first, second, third])
}

/// Writes the certificate of this occurrence; empty to delete it.
pub(super) fn write_certificate(
    card: &mut Transaction<'_>,
    occurrence: Option<u8>,
    der: &[u8],
) -> Result<()> {
    if let Some(occurrence) = occurrence {
        select_certificate(card, occurrence)?;
    }
    write(card, CERTIFICATE, der)
}

/// The first certificate, of a card that has no more, for who is about to write another: empty if
/// there is none, and an error if that is not certain.
pub(super) fn only_certificate(card: &mut Transaction<'_>) -> Result<Zeroizing<Vec<u8>>> {
    match read(card, CERTIFICATE) {
        Err(Failure::Status(Status::FILE_NOT_FOUND | Status::REFERENCED_DATA_NOT_FOUND)) => {
            Ok(Zeroizing::default())
        }
        other => other,
    }
}

/// Decides which certificate the next commands mean.
fn select_certificate(card: &mut Transaction<'_>, occurrence: u8) -> Result<()> {
    // A general reference: a list of one tag.
    let reference = [0x60, 4, 0x5C, 2, 0x7F, 0x21];
    card.call(&Command::new(SELECT_DATA, occurrence, 4).data(&reference))?;
    Ok(())
}

fn with_tag(instruction: u8, tag: u16) -> Command {
    let [high, low] = tag.to_be_bytes();
    Command::new(instruction, high, low)
}

fn or_empty(answer: Result<Zeroizing<Vec<u8>>>) -> Result<Zeroizing<Vec<u8>>> {
    match answer {
        Err(Failure::Status(_)) => Ok(Zeroizing::default()),
        other => other,
    }
}

fn succeeded(answer: Result<()>) -> Result<bool> {
    match answer {
        Ok(()) => Ok(true),
        Err(Failure::Status(_)) => Ok(false),
        Err(other) => Err(other),
    }
}
