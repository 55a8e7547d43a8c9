//! `ctk card info`: what is on a card and what its PINs are like, without any PIN.

use super::{
    args::ReaderArguments,
    facts::{CardFacts, KeyFacts},
    find,
    place::Kind,
};
use crate::{
    console::{Console, Outcome},
    table::printable,
};

pub(crate) fn run(console: &Console, arguments: &ReaderArguments) -> Outcome {
    let card = find::card(console, arguments.reader.as_deref())?;
    show(console, &card)
}

/// Everything about this card.
pub(crate) fn show(console: &Console, card: &find::Card) -> Outcome {
    let facts = CardFacts::read(card)?;
    if console.json {
        return console.object(&facts);
    }
    console.text(&text(&facts))
}

fn text(card: &CardFacts) -> String {
    let kind = Kind::of(&card.kind);
    let pin = &card.pin;
    let mut length = format!("{} to {} characters", pin.min_length, pin.max_length);
    if pin.on_reader {
        length += ", typed on the reader";
    }
    let admin = match kind {
        Kind::Piv => "PUK",
        Kind::OpenPgp => "Admin PIN",
        Kind::Other => "Admin",
    };
    let mut lines = vec![
        ("Reader", card.reader.clone()),
        ("Card", card.kind.clone()),
        ("Label", card.label.clone()),
        ("Made by", card.manufacturer.clone()),
        ("Serial", card.serial.clone()),
        ("PIN", format!("{} ({length})", pin.secret.tries())),
    ];
    // Where nothing is known of it, there is nothing to say.
    if card.admin.tries_left.is_some() || card.admin.state != "ok" {
        lines.push((admin, card.admin.tries()));
    }
    for key in &card.keys {
        lines.push(("", String::new()));
        lines.extend(key_lines(key));
    }
    if card.keys.is_empty() {
        let nothing = match kind {
            Kind::Piv => "none that the card tells of: it tells of those with a certificate",
            _ => "none",
        };
        lines.push(("Keys", nothing.to_owned()));
    }
    let line = |(name, value): &(&str, String)| {
        format!("{}\n", format!("{name:<12}{}", printable(value)).trim_end())
    };
    lines.iter().map(line).collect()
}

fn key_lines(key: &KeyFacts) -> Vec<(&'static str, String)> {
    let certificate = &key.certificate;
    let place = key.place.as_ref().map(|place| format!("{place}: "));
    let place = place.unwrap_or_default();
    let (heading, kind) = match &key.key {
        Some(kind) => ("Key", format!("{place}{kind}, {}", key.label)),
        None => (
            "Certificate",
            format!("{place}{} (certificate only)", key.label),
        ),
    };
    let mut lines = vec![(heading, kind)];
    if let Some(before) = key.before_use {
        lines.push(("Uses", key.uses.join(", ")));
        let before = match before {
            "pin" => "the PIN, once",
            "pin-each-time" => "the PIN, each time",
            _ => "nothing",
        };
        lines.push(("Before use", before.to_owned()));
    }
    lines.push(("ID", key.id.clone()));
    for (name, value) in [
        ("Subject", &certificate.subject),
        ("Issuer", &certificate.issuer),
    ] {
        lines.extend(value.clone().map(|value| (name, value)));
    }
    if certificate.not_after.is_some() {
        lines.push(("Expires", certificate.expiry()));
    }
    lines.push(("URI", key.uri.clone()));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::testing::TestCard;

    #[test]
    fn a_person_sees_places_tries_and_what_stands_before_use() {
        let card = TestCard::piv().tries(2).card();
        let said = text(&CardFacts::read(&card).unwrap());
        assert!(said.starts_with("Reader      Test Reader\nCard        PIV card\n"));
        assert!(
            said.contains("\nPIN         2 tries left, after wrong ones (6 to 8 characters)\n"),
            "{said}"
        );
        assert!(
            said.contains(
                "\nKey         9a: P-256, key 01\nUses        sign\nBefore use  the PIN, once\n"
            ),
            "{said}"
        );
        assert!(
            said.contains("\nKey         9c: P-384, key 02\nUses        sign\nBefore use  the PIN, each time\n"),
            "{said}"
        );
        assert!(said.contains("id=%02"), "{said}");
        let empty = text(&CardFacts::read(&TestCard::empty().card()).unwrap());
        assert!(empty.contains("none that the card tells of"), "{empty}");
    }

    #[test]
    fn the_fields_of_json_are_promised() {
        let facts = CardFacts::read(&TestCard::piv().tries(1).card()).unwrap();
        let json = serde_json::to_value(&facts).unwrap();
        assert_eq!(json["reader"], "Test Reader");
        assert_eq!(json["pin"]["state"], "last");
        assert_eq!(json["pin"]["tries_left"], 1);
        assert_eq!(json["pin"]["min_length"], 6);
        assert_eq!(json["admin"]["state"], "ok");
        let key = &json["keys"][1];
        assert_eq!((&key["place"], &key["id"]), (&"9c".into(), &"02".into()));
        assert_eq!(key["before_use"], "pin-each-time");
        assert_eq!(key["uses"], serde_json::json!(["sign"]));
        assert!(key["subject"].is_null() && key["expired"].is_null());
    }
}
