//! The card in a reader with its state: which applet is selected, and what dies when the card is reset. It is used in a
//! [`Transaction`], which is the lock on the card, in this process and between programs.

use crate::{
    apdu::{Command, Response},
    applet::{Failure, Row},
    link::LinkError,
    status::Status,
};

/// A card in a reader.
pub(crate) struct SmartCard {}

/// The use of a card that nobody else has at the time. Dropping it lets others have the card.
pub(crate) struct Transaction<'a> {
    card: &'a SmartCard,
}

impl Transaction<'_> {
    /// Sends a command and answers with the whole response: cut into a chain and put together (GET RESPONSE) where card
    /// and reader need it. A status word is no error here.
    pub(crate) fn send(&mut self, command: &Command) -> Result<Response, LinkError> {
        let _ = (self.card, command);
        unimplemented!()
    }

    /// Sends a command that has to succeed, and answers with the data.
    pub(crate) fn call(&mut self, command: &Command) -> Result<Response, Failure> {
        let response = self.send(command)?;
        match response.status {
            Status::OK => Ok(response),
            status => Err(Failure::Status(status)),
        }
    }

    /// Selects an applet by its AID and answers with the response's data. Who was logged in there is not any more.
    pub(crate) fn select(&mut self, row: &'static Row) -> Result<Response, Failure> {
        let _ = row;
        unimplemented!()
    }

    /// Takes note that the applet has answered a command in this transaction that no other would have answered so. Only
    /// then a PIN may be sent.
    pub(crate) fn prove(&mut self, row: &'static Row) {
        let _ = row;
        unimplemented!()
    }

    /// Whether the applet was selected or proven to be selected in this transaction.
    pub(crate) fn is_proven(&self, row: &'static Row) -> bool {
        let _ = row;
        unimplemented!()
    }

    /// The card's answer to reset.
    pub(crate) fn atr(&self) -> Vec<u8> {
        unimplemented!()
    }
}
