//! Which card is meant: the one in the reader that a person names, or the only one there is.

use std::sync::Arc;

use ctk_host::{Configuration, Environment, Host};
use ctk_token::{Slot, Token};

use super::place::Kind;
use crate::{
    console::{Console, Outcome, costs, failure},
    table::printable,
};

/// What is said wherever a reader or card should be there and is not.
pub(crate) const ASK_DOCTOR: &str = "ctk doctor card says what is wrong";

/// A card in its reader.
#[derive(Clone, Debug)]
pub(crate) struct Card {
    /// The reader's name.
    pub(crate) reader: String,
    pub(crate) token: Arc<dyn Token>,
}

impl Card {
    pub(crate) fn kind(&self) -> Kind {
        Kind::of(&self.token.kind())
    }

    /// How a sentence calls it.
    pub(crate) fn named(&self) -> String {
        format!("the {} in {}", self.token.kind(), printable(&self.reader))
    }
}

/// The cards of this machine, whatever programs may see.
pub(crate) fn host(environment: &Environment) -> Host {
    Host::cards(environment)
}

/// Every reader of this machine.
pub(crate) fn readers(environment: &Environment) -> Vec<Arc<dyn Slot>> {
    let slots = host(environment).slots();
    slots.into_iter().filter(is_reader).collect()
}

/// Whether a slot is a reader, and not the place of one that may come.
pub(crate) fn is_reader(slot: &Arc<dyn Slot>) -> bool {
    slot.id() != ctk_host::smartcard::NO_READER
}

/// The card that is meant.
pub(crate) fn card(console: &Console, reader: Option<&str>) -> Outcome<Card> {
    choose(&readers(&console.environment), reader)
}

/// The card in the reader that is meant by a name, unless a registered token has the name. `None` if no reader has it.
pub(crate) fn named(console: &Console, name: &str) -> Outcome<Option<Card>> {
    let configuration = Configuration::read(&console.environment);
    let mut problems = configuration.problems.iter();
    if configuration.token(name).is_some() || problems.any(|problem| costs(problem, name)) {
        return Ok(None);
    }
    let readers = readers(&console.environment);
    match matching(&readers, name).is_empty() {
        true => Ok(None),
        false => choose(&readers, Some(name)).map(Some),
    }
}

/// As [`card`], among these readers.
pub(crate) fn choose(readers: &[Arc<dyn Slot>], reader: Option<&str>) -> Outcome<Card> {
    let named: Vec<_> = match reader {
        Some(name) => matching(readers, name),
        None => readers.iter().collect(),
    };
    let names = |readers: &[&Arc<dyn Slot>]| -> String {
        let names: Vec<_> = readers.iter().map(|slot| printable(&name(slot))).collect();
        names.join(", ")
    };
    if readers.is_empty() {
        return failure(format!("there is no smart card reader: {ASK_DOCTOR}"));
    }
    if let (Some(reader), []) = (reader, named.as_slice()) {
        let known: Vec<_> = readers.iter().collect();
        return failure(format!(
            "no reader is called {reader:?}; there are: {}",
            names(&known)
        ));
    }
    let with_card = |slot: &&Arc<dyn Slot>| {
        slot.token().map(|token| Card {
            reader: name(slot),
            token,
        })
    };
    let mut cards: Vec<_> = named.iter().filter_map(with_card).collect();
    match (cards.len(), cards.pop()) {
        (1, Some(card)) => Ok(card),
        (0, _) => {
            let obstacles: Vec<_> = named.iter().filter_map(|slot| obstacle(slot)).collect();
            match obstacles.is_empty() {
                true => failure(format!("no card is in {}: put one in", names(&named))),
                false => failure(format!("{}: {ASK_DOCTOR}", obstacles.join("; "))),
            }
        }
        (_, last) => {
            cards.extend(last);
            let readers: Vec<_> = cards
                .iter()
                .map(|card| format!("{:?}", card.reader))
                .collect();
            failure(format!(
                "there are several cards; say which with --reader: {}",
                readers.join(", ")
            ))
        }
    }
}

/// What keeps a card in this reader from being used.
pub(crate) fn obstacle(slot: &Arc<dyn Slot>) -> Option<String> {
    let reason = slot.obstacle()?;
    Some(format!("{}: {reason}", printable(&name(slot))))
}

/// The readers of this name, else those with it in their names.
pub(crate) fn matching<'a>(readers: &'a [Arc<dyn Slot>], wanted: &str) -> Vec<&'a Arc<dyn Slot>> {
    let exact: Vec<_> = readers.iter().filter(|slot| name(slot) == wanted).collect();
    if !exact.is_empty() || wanted.is_empty() {
        return exact;
    }
    let wanted = wanted.to_lowercase();
    let has = |slot: &&Arc<dyn Slot>| name(slot).to_lowercase().contains(&wanted);
    readers.iter().filter(has).collect()
}

/// The reader's name.
pub(crate) fn name(slot: &Arc<dyn Slot>) -> String {
    slot.info().description
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        card::testing::{TestCard, TestReader},
        console::Failure,
    };

    fn said(chosen: Outcome<Card>) -> String {
        match chosen {
            Ok(card) => card.reader,
            Err(Failure::Said(message)) => message,
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_only_card_needs_no_name() {
        let reader = |name: &str, has_card: bool| -> Arc<dyn Slot> {
            let card = has_card.then(|| TestCard::piv().token());
            Arc::new(TestReader::new(name, card))
        };
        let none = said(choose(&[], None));
        assert_eq!(
            none,
            "there is no smart card reader: ctk doctor card says what is wrong"
        );
        let readers = [reader("Blue 00", false), reader("Green 00", true)];
        assert_eq!(said(choose(&readers, None)), "Green 00");
        assert_eq!(said(choose(&readers, Some("gREEN"))), "Green 00");
        let empty = said(choose(&readers, Some("Blue")));
        assert_eq!(empty, "no card is in Blue 00: put one in");
        let unknown: Arc<dyn Slot> = Arc::new(TestReader::with_obstacle("Blue 00", "unknown"));
        assert_eq!(
            said(choose(&[unknown], None)),
            "Blue 00: unknown: ctk doctor card says what is wrong"
        );
        let unknown = said(choose(&readers, Some("Red")));
        assert_eq!(
            unknown,
            "no reader is called \"Red\"; there are: Blue 00, Green 00"
        );
    }

    #[test]
    fn one_of_several_cards_has_to_be_named() {
        let readers: Vec<Arc<dyn Slot>> = ["A 00", "A 00 b", "C"]
            .into_iter()
            .map(|name| -> Arc<dyn Slot> {
                Arc::new(TestReader::new(name, Some(TestCard::piv().token())))
            })
            .collect();
        let several = said(choose(&readers, None));
        assert!(
            several.ends_with("--reader: \"A 00\", \"A 00 b\", \"C\""),
            "{several}"
        );
        // A whole name is no part of another.
        assert_eq!(said(choose(&readers, Some("A 00"))), "A 00");
        assert_eq!(said(choose(&readers, Some("00 b"))), "A 00 b");
        assert!(said(choose(&readers, Some("a"))).contains("several cards"));
    }
}
