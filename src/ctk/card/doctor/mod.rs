//! `ctk doctor card`: what stands between programs and a smart card, from the service to the PIN, and what to do.

mod readers;
mod service;

use ctk_host::{
    CardsConfig, Configuration,
    smartcard::{Diagnosis, ReaderDiagnosis, diagnose},
};

use super::find::{self, Card, matching};
use crate::{
    console::Console,
    doctor::{Check, State},
    table::printable,
};

/// Everything about cards, in the order in which one thing needs the other.
pub(crate) fn check(console: &Console) -> Vec<Check> {
    // Before anything else is connected, for a card that is in use is not asked what it is.
    check_found(console, &diagnose())
}

/// What belongs in a look at the whole set-up: who has no reader wants no card.
pub(crate) fn check_briefly(console: &Console) -> Vec<Check> {
    let diagnosis = diagnose();
    let has_reader = diagnosis
        .readers
        .as_ref()
        .is_ok_and(|readers| !readers.is_empty());
    if has_reader || !diagnosis.usb.is_empty() {
        return check_found(console, &diagnosis);
    }
    let message = "there is no reader; if there should be, ctk doctor card says what is wrong";
    vec![Check::new(State::Hint, "smart cards", message.to_owned())]
}

fn check_found(console: &Console, diagnosis: &Diagnosis) -> Vec<Check> {
    let mut checks = service::check(diagnosis);
    let Ok(found) = &diagnosis.readers else {
        return checks;
    };
    let configured = Configuration::read(&console.environment).cards;
    checks.extend(kept_from_programs(&configured, found));
    let slots = find::readers(&console.environment);
    for reader in found {
        let slot = matching(&slots, &reader.name).into_iter().next();
        match slot.and_then(|slot| slot.token()) {
            Some(token) => checks.extend(readers::check_card(&Card {
                reader: reader.name.clone(),
                token,
            })),
            None => checks.push(readers::check_without_token(reader, &diagnosis.programs)),
        }
    }
    checks
}

/// What the configuration keeps from programs, which this command shows all the same.
fn kept_from_programs(cards: &CardsConfig, readers: &[ReaderDiagnosis]) -> Vec<Check> {
    let Some(place) = &cards.place else {
        return Vec::new();
    };
    let place = format!("{}:{}", place.file.display(), place.line);
    let mut checks = Vec::new();
    let mut add = |state, subject: &str, message: String| {
        checks.push(Check::new(state, subject, format!("{message} ({place})")));
    };
    const SUBJECT: &str = "configuration";
    if !cards.enabled {
        let message =
            "programs see no cards: [smartcard] says so, or has a mistake → enabled = true";
        add(State::Warning, SUBJECT, message.to_owned());
        return checks;
    }
    if !cards.programs.is_empty() {
        let programs = cards.programs.join(", ");
        let message = format!("only these programs see cards: {programs}");
        add(State::Hint, SUBJECT, message);
    }
    if !cards.not_programs.is_empty() {
        let programs = cards.not_programs.join(", ");
        let message = format!("these programs see no cards: {programs}");
        add(State::Hint, SUBJECT, message);
    }
    if !cards.hidden.is_empty() {
        let hidden = cards.hidden.join(", ");
        let message = format!("what is called this is hidden from programs: {hidden}");
        add(State::Hint, SUBJECT, message);
    }
    for reader in readers {
        let listed = |texts: &[String]| texts.iter().any(|text| reader.name.contains(text));
        let is_used = cards.readers.is_empty() || listed(&cards.readers);
        if !is_used || listed(&cards.not_readers) {
            let message = "programs do not see it → readers or not_readers of [smartcard]";
            add(State::Hint, &subject(&reader.name), message.to_owned());
        }
    }
    checks
}

/// How a reader is called where something is said of it.
fn subject(reader: &str) -> String {
    format!("reader {}", printable(reader))
}

#[cfg(test)]
mod tests {
    use ctk_host::{
        config::{Place, Scope},
        smartcard::CardDiagnosis,
    };

    use super::*;

    /// Checks as lines.
    pub(super) fn said(checks: &[Check]) -> Vec<String> {
        let line =
            |check: &Check| format!("{:?} {}: {}", check.state, check.subject, check.message);
        checks.iter().map(line).collect()
    }

    #[test]
    fn what_is_kept_from_programs_is_told() {
        let readers = ["Blue 00", "Green 00"].map(|name| ReaderDiagnosis {
            name: name.into(),
            card: CardDiagnosis::Empty,
        });
        let place = Place {
            file: "/etc/ctk/ctk.toml".into(),
            line: 3,
            scope: Scope::System,
        };
        let all = CardsConfig {
            place: Some(place),
            ..CardsConfig::default()
        };
        let told = |cards: &CardsConfig| said(&kept_from_programs(cards, &readers));
        assert_eq!(told(&CardsConfig::default()), [""; 0]);
        assert_eq!(told(&all), [""; 0]);
        let off = CardsConfig {
            enabled: false,
            ..all.clone()
        };
        let off = told(&off);
        assert!(off[0].starts_with("Warning configuration: programs see no cards"));
        assert!(off[0].ends_with("(/etc/ctk/ctk.toml:3)"), "{off:?}");
        let some = CardsConfig {
            readers: vec!["00".into()],
            not_readers: vec!["Blue".into()],
            programs: vec!["ssh".into()],
            hidden: vec!["02".into()],
            ..all
        };
        let some = told(&some);
        assert!(some[0].contains("only these programs see cards: ssh"));
        assert!(some[1].contains("hidden from programs: 02"));
        assert!(some[2].starts_with("Hint reader Blue 00: programs do not see it"));
        assert_eq!(some.len(), 3);
    }
}
