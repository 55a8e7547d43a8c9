//! Commands to a card that is being made, of which each must succeed.

use std::io;

use crate::Card;

/// The line to a card.
pub(super) struct Wire<'a>(&'a mut Card);

impl<'a> Wire<'a> {
    pub(super) fn new(card: &'a mut Card) -> Self {
        Self(card)
    }

    /// Sends a command in the extended form and gives its response data.
    pub(super) fn send(&mut self, header: [u8; 4], data: &[u8]) -> io::Result<Vec<u8>> {
        let mut apdu = [&header[..], &[0]].concat();
        if !data.is_empty() {
            let length = u16::try_from(data.len()).map_err(io::Error::other)?;
            apdu.extend(length.to_be_bytes());
            apdu.extend(data);
        }
        apdu.extend([0, 0]);
        let response = self.0.transmit(&apdu).map_err(io::Error::other)?;
        match response.split_last_chunk() {
            Some((data, [0x90, 0x00])) => Ok(data.to_vec()),
            _ => Err(io::Error::other(format!(
                "the card answers {:02X?} to {header:02X?}",
                &response[response.len().saturating_sub(2)..]
            ))),
        }
    }
}

/// An error about something the card has said.
pub(super) fn unexpected(what: &str) -> io::Error {
    io::Error::other(format!("the card's answer has no {what}"))
}
