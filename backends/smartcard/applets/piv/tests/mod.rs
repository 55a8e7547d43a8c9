//! The applet against scripted cards: what it sends, and what it makes of answers that no honest card gives.

mod reading;
mod secrets;
mod using_keys;
mod writing;
mod yubikeys;

use std::sync::Arc;

use ctk_token::{
    Certificate, Constraint, Curve, Item, Key, KeyAlgorithm, KeyType, NewKey, ObjectId, Operation,
    Origin, PinState, PublicKey, Reuse, Role, TokenError,
};

use super::{
    Piv, ROW, certificate::tests as certificates, container, contents, data, found, slot::Slot,
};
use crate::{
    applet::{Applet, Failure, Tries},
    card::{SmartCard, Transaction},
    status::Status,
    testing::{Wire, bytes, hex},
    tlv::{self, Writer},
};

const YUBIKEY: &str = "3BFD1300008131FE158073C021C057597562694B657940";

/// A card that takes short commands only, and the applet on it.
struct Bench {
    wire: Wire,
    card: SmartCard,
    piv: Piv,
}

impl Bench {
    fn new() -> Self {
        Self::over(Wire::new())
    }

    fn yubikey() -> Self {
        Self::over(Wire::new().with_atr(YUBIKEY).with_max_command_len(261))
    }

    fn over(wire: Wire) -> Self {
        let card = SmartCard::new(wire.link());
        let piv = Piv::new(card.atr());
        Self { wire, card, piv }
    }

    /// Sends commands, all of which were expected.
    #[track_caller]
    fn run<T>(&self, work: impl FnOnce(&Piv, &mut Transaction<'_>) -> T) -> T {
        let answer = work(&self.piv, &mut self.card.transaction().unwrap());
        self.wire.finish();
        answer
    }

    /// The next GET DATA and its answer, whole.
    fn expect_read(&self, tag: &[u8], answer: &str) -> &Self {
        let command = contents::get_data(tag).short(false);
        self.wire.expect(&hex(&command[0]), answer);
        self
    }

    /// The next GET DATA, answered with this in its template.
    fn expect_content(&self, tag: &[u8], content: &[u8]) -> &Self {
        let answer = tlv::encode(0x53, content);
        self.expect_read(tag, &format!("{}9000", hex(&answer)))
    }

    fn expect_certificate(&self, slot: Slot, der: &[u8]) -> &Self {
        let content = container::certificate(der);
        self.expect_content(&slot.certificate_tag(), content.as_bytes())
    }

    /// The next GET DATA, answered with nothing.
    fn expect_none(&self, tag: &[u8]) -> &Self {
        self.expect_read(tag, "6A82")
    }
}

fn holder(is_federal: bool) -> Vec<u8> {
    let mut content = container::new_card_holder(&[7; 16]).as_bytes().to_vec();
    if is_federal {
        // The agency in the FASC-N.
        content[3] ^= 2;
    }
    content
}

fn certificate(mark: u8, name: &str) -> Vec<u8> {
    certificates::certificate(&certificates::key(mark), name, Some(0x80))
}

fn key(slot: Slot, public_key: PublicKey) -> Key {
    found::key(slot, public_key, None, None, Origin::Generated, false)
}

fn rsa(bits: usize) -> PublicKey {
    PublicKey::rsa(&vec![0xff; bits / 8], &[1, 0, 1]).unwrap()
}

fn keys(items: &[Item]) -> Vec<&Key> {
    items
        .iter()
        .filter_map(|item| match item {
            Item::Key(key) => Some(&**key),
            _ => None,
        })
        .collect()
}

fn certified(items: &[Item]) -> Vec<&Certificate> {
    items
        .iter()
        .filter_map(|item| match item {
            Item::Certificate(certificate) => Some(certificate),
            _ => None,
        })
        .collect()
}
