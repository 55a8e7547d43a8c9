//! `ctk watch`: cards as they come and go, each in a line of its own, until somebody ends it.

use std::{
    fmt, io,
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use ctk_token::{Reason, Slot, Token, TokenError};
use serde::Serialize;

use super::find::{self, ASK_DOCTOR, is_reader, name};
use crate::{
    console::{Console, Failure, Outcome},
    sys,
    table::printable,
};

/// How long a wait lasts at most: a signal to end is noticed between two.
const SLICE: Duration = Duration::from_millis(300);

/// One thing that happened.
#[derive(Debug, Eq, PartialEq, Serialize)]
struct Event {
    /// RFC 3339, UTC.
    time: String,
    event: What,
    reader: String,
    /// The card that came, is there, or went.
    card: Option<CardLine>,
    /// Why a card cannot be used.
    reason: Option<String>,
    #[serde(skip)]
    clock: String,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum What {
    /// A reader that is there, or has come.
    Reader,
    /// A card that was in its reader before anybody watched it.
    Present,
    Inserted,
    /// A card that is no token: why.
    Unusable,
    Removed,
}

#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
struct CardLine {
    kind: String,
    label: String,
    serial: String,
}

/// What was seen in a reader.
struct Seen {
    reader: String,
    token: Option<Arc<dyn Token>>,
    card: Option<CardLine>,
    obstacle: Option<Reason>,
}

pub(crate) fn run(console: &Console) -> Outcome {
    let ended = sys::end_by_signal();
    let host = find::host(&console.environment);
    let mut seen: Option<Vec<Seen>> = None;
    if !host.slots().iter().any(is_reader) && !console.json {
        console.warn(format!(
            "there is no smart card reader yet; if there should be, {ASK_DOCTOR}"
        ));
    }
    while !ended.load(Ordering::Relaxed) {
        let is_first = seen.is_none();
        let seen = seen.get_or_insert_default();
        for event in events(seen, &host.slots(), is_first) {
            tell(console, &event)?;
        }
        let deadline = Instant::now() + SLICE;
        match host.wait_for_change(deadline) {
            Ok(_) => {}
            // Without a service that could be waited for.
            Err(TokenError::NotSupported) => thread::sleep(SLICE),
            Err(error) => return Err(Failure::Said(error.to_string())),
        }
    }
    Ok(())
}

/// What is not as it was seen; a card that is there at the first look has not just come.
fn events(seen: &mut Vec<Seen>, slots: &[Arc<dyn Slot>], is_first: bool) -> Vec<Event> {
    let mut events = Vec::new();
    for slot in slots.iter().filter(|slot| is_reader(slot)) {
        let reader = name(slot);
        let known = match seen.iter().position(|known| known.reader == reader) {
            Some(at) => at,
            None => {
                events.push(Event::now(What::Reader, &reader, None));
                seen.push(Seen {
                    reader: reader.clone(),
                    token: None,
                    card: None,
                    obstacle: None,
                });
                seen.len() - 1
            }
        };
        let Some(known) = seen.get_mut(known) else {
            continue;
        };
        let token = slot.token();
        let obstacle = slot.obstacle();
        let is_same = match (&known.token, &token) {
            (Some(old), Some(new)) => std::ptr::addr_eq(Arc::as_ptr(old), Arc::as_ptr(new)),
            (None, None) => true,
            _ => false,
        };
        if !is_same && known.token.is_some() {
            events.push(Event::now(What::Removed, &reader, known.card.take()));
        }
        match (&token, &obstacle) {
            (None, Some(reason)) if known.obstacle != obstacle => events.push(Event {
                reason: Some(reason.to_string()),
                ..Event::now(What::Unusable, &reader, None)
            }),
            (None, None) if known.obstacle.is_some() => {
                events.push(Event::now(What::Removed, &reader, None));
            }
            (Some(token), _) if !is_same => {
                known.card = Some(CardLine::of(&**token));
                let what = match is_first {
                    true => What::Present,
                    false => What::Inserted,
                };
                events.push(Event::now(what, &reader, known.card.clone()));
            }
            _ => {}
        }
        known.token = token;
        known.obstacle = obstacle;
    }
    events
}

fn tell(console: &Console, event: &Event) -> Outcome {
    if !console.json {
        return console.text(&format!("{event}\n"));
    }
    let line = serde_json::to_string(event).map_err(io::Error::from)?;
    console.text(&format!("{line}\n"))
}

impl Event {
    fn now(event: What, reader: &str, card: Option<CardLine>) -> Self {
        Self {
            time: sys::utc_time(),
            clock: sys::local_clock(),
            event,
            reader: reader.to_owned(),
            card,
            reason: None,
        }
    }
}

impl CardLine {
    fn of(token: &dyn Token) -> Self {
        let info = token.info();
        Self {
            kind: token.kind(),
            label: info.label,
            serial: info.serial_number,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.event {
            What::Reader => "reader",
            What::Present => "present",
            What::Inserted => "inserted",
            What::Unusable => "unusable",
            What::Removed => "removed",
        };
        write!(f, "{} {what:<8}  {}", self.clock, printable(&self.reader))?;
        match (&self.card, &self.reason) {
            (Some(card), _) => write!(f, ": {} “{}”", card.kind, printable(&card.label)),
            (None, Some(reason)) => write!(f, ": {reason} ({ASK_DOCTOR})"),
            (None, None) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::testing::{TestCard, TestReader};

    #[test]
    fn a_card_that_was_changed_for_another_is_two_events() {
        let reader = Arc::new(TestReader::new("Blue 00", None));
        let slots: Vec<Arc<dyn Slot>> = vec![reader.clone()];
        let mut seen = Vec::new();
        let mut happened = |is_first| -> Vec<String> {
            let events = events(&mut seen, &slots, is_first);
            let texts = events.iter().map(|event| event.to_string());
            // Without the time, which is eight characters and a blank.
            texts.map(|text| text[9..].to_owned()).collect()
        };
        assert_eq!(happened(true), ["reader    Blue 00"]);
        let mut happened = || happened(false);
        assert_eq!(happened(), [""; 0]);
        *reader.token.lock() = Some(TestCard::piv().token());
        assert_eq!(happened(), ["inserted  Blue 00: PIV card “Test Card”"]);
        assert_eq!(happened(), [""; 0]);
        *reader.token.lock() = Some(TestCard::empty().token());
        assert_eq!(
            happened(),
            [
                "removed   Blue 00: PIV card “Test Card”",
                "inserted  Blue 00: PIV card “Test Card”"
            ]
        );
        *reader.token.lock() = None;
        assert_eq!(happened(), ["removed   Blue 00: PIV card “Test Card”"]);
    }

    #[test]
    fn a_card_that_is_no_token_is_told_with_its_reason() {
        let reader = Arc::new(TestReader::with_obstacle("Blue 00", "it is unknown"));
        let slots: Vec<Arc<dyn Slot>> = vec![reader.clone()];
        let mut seen = Vec::new();
        let mut happened = || {
            let events = events(&mut seen, &slots, false);
            let texts = events.iter().map(|event| event.to_string());
            texts.map(|text| text[9..].to_owned()).collect::<Vec<_>>()
        };
        let unusable = "unusable  Blue 00: it is unknown (ctk doctor card says what is wrong)";
        assert_eq!(happened(), ["reader    Blue 00", unusable]);
        assert_eq!(happened(), [""; 0]);
        *reader.obstacle.lock() = None;
        assert_eq!(happened(), ["removed   Blue 00"]);
        *reader.token.lock() = Some(TestCard::piv().token());
        assert_eq!(happened(), ["inserted  Blue 00: PIV card “Test Card”"]);
        *reader.token.lock() = None;
        *reader.obstacle.lock() = Some(Reason::new("it is unknown"));
        assert_eq!(
            happened(),
            ["removed   Blue 00: PIV card “Test Card”", unusable]
        );
    }

    #[test]
    fn a_card_that_was_there_has_not_just_come() {
        let reader = TestReader::new("Blue 00", Some(TestCard::piv().token()));
        let events = events(&mut Vec::new(), &[Arc::new(reader)], true);
        let what: Vec<_> = events.iter().map(|event| event.event).collect();
        assert_eq!(what, [What::Reader, What::Present]);
    }

    #[test]
    fn an_event_is_one_object() {
        let card = CardLine::of(&*TestCard::piv().token());
        let event = Event::now(What::Inserted, "Blue 00", Some(card));
        let json = serde_json::to_value(&event).unwrap();
        assert_eq!(json["event"], "inserted");
        assert_eq!(json["card"]["serial"], "0011223344556677");
        let time = json["time"].as_str().unwrap();
        assert_eq!(time.len(), "2026-01-01T00:00:00Z".len(), "{time}");
        assert!(json.get("clock").is_none());
    }
}
