//! What is in each reader: a card that programs can use, with what they will run into, or why it is none.

use ctk_host::smartcard::{Answer, CardDiagnosis, Program, ReaderDiagnosis};
use ctk_token::PinState;

use super::subject;
use crate::{
    card::{facts::CardFacts, find::Card, place::Kind},
    doctor::{Check, SOON, State},
    table::printable,
};

/// GnuPG's program for cards, which keeps them for itself unless it is told to share.
const SCDAEMON: &str = "scdaemon";
/// The status word of success (ISO 7816-4 §5.6).
const SELECTED: u16 = 0x9000;

/// A card that programs can use, with what they will run into.
pub(super) fn check_card(card: &Card) -> Vec<Check> {
    let mut checks = Vec::new();
    let subject = subject(&card.reader);
    let mut add = |state, message: String| checks.push(Check::new(state, &subject, message));
    let Ok(facts) = CardFacts::read(card) else {
        let message = format!(
            "the {} stopped answering → take it out and put it in again",
            card.token.kind()
        );
        add(State::Problem, message);
        return checks;
    };
    add(
        State::Ok,
        format!(
            "{} {:?}, serial number {}",
            facts.kind,
            printable(&facts.label),
            printable(&facts.serial)
        ),
    );
    let tries = facts.pin.secret.tries();
    match card.token.info().user_pin {
        PinState::Normal => add(State::Ok, format!("PIN: {tries}")),
        PinState::CountLow => add(State::Warning, format!("PIN: {tries}")),
        PinState::FinalTry => add(
            State::Warning,
            format!(
                "PIN: {tries} → if you do not know it for sure, ctk pin unblock sets a new one"
            ),
        ),
        PinState::Locked => add(
            State::Problem,
            "the PIN is locked after too many wrong ones → ctk pin unblock sets a new one"
                .to_owned(),
        ),
    }
    if facts.keys.is_empty() {
        let message = match card.kind() {
            Kind::Piv => {
                "no certificate is on it, so programs see no key → ctk card generate and ctk card import-cert"
            }
            _ => "no key is on it → ctk card generate makes one",
        };
        add(State::Hint, message.to_owned());
    }
    for key in &facts.keys {
        let label = printable(&key.label);
        match (key.certificate.expired, key.certificate.days_left) {
            (Some(true), _) => add(
                State::Warning,
                format!(
                    "the certificate {label:?} has expired → ctk card request asks for a new one"
                ),
            ),
            (_, Some(days)) if days < SOON => {
                let when = match days {
                    0 => "today or tomorrow".to_owned(),
                    1 => "in 1 day".to_owned(),
                    days => format!("in {days} days"),
                };
                add(
                    State::Warning,
                    format!(
                        "the certificate {label:?} expires {when} → ctk card request asks for a new one"
                    ),
                );
            }
            _ => {}
        }
    }
    checks
}

/// A reader whose card, if there is one, is no token.
pub(super) fn check_without_token(reader: &ReaderDiagnosis, programs: &[Program]) -> Check {
    let (state, message) = match &reader.card {
        CardDiagnosis::Empty => (State::Ok, "no card is in it".to_owned()),
        CardDiagnosis::Mute => (
            State::Problem,
            "the card does not answer → take it out, clean its contacts, and put it in with the chip first; if it still does \
             not, try another reader"
                .to_owned(),
        ),
        CardDiagnosis::Busy => (
            State::Problem,
            format!(
                "another program keeps the card for itself → {}",
                who_to_end(programs)
            ),
        ),
        CardDiagnosis::InUse { atr } => (
            State::Problem,
            format!(
                "the card is used by another program, and could not be recognized meanwhile (ATR {}) → {}",
                hex(atr),
                who_to_end(programs)
            ),
        ),
        CardDiagnosis::Unreachable(reason) => (State::Problem, reason.to_string()),
        CardDiagnosis::Asked { atr, answers } => (State::Problem, not_a_token(atr, answers)),
    };
    Check::new(state, &subject(&reader.name), message)
}

fn not_a_token(atr: &[u8], answers: &[Answer]) -> String {
    let selected: Vec<_> = answers
        .iter()
        .filter(|answer| answer.status == SELECTED)
        .map(|answer| answer.applet)
        .collect();
    let said: Vec<_> = answers
        .iter()
        .map(|answer| format!("{}: {:04X}", answer.applet, answer.status))
        .collect();
    let atr = hex(atr);
    match selected.is_empty() {
        true => format!(
            "the card is of no kind that is known here (ATR {atr}; to SELECT it said {}) → if OpenSC knows it, opensc-tool -n \
             says its name, and opensc-pkcs11.so serves it",
            said.join(", ")
        ),
        false => format!(
            "the card says that it has {}, and could not be read (ATR {atr}) → take it out and put it in again; \
             CTK_LOG=debug in a program's environment tells what it answers",
            selected.join(" and ")
        ),
    }
}

fn who_to_end(programs: &[Program]) -> String {
    if programs.iter().any(|program| program.name == SCDAEMON) {
        return "GnuPG does that: write pcsc-shared and disable-ccid into ~/.gnupg/scdaemon.conf, then gpgconf --kill \
                scdaemon"
            .to_owned();
    }
    let named: Vec<_> = programs
        .iter()
        .map(|program| format!("{} ({})", printable(&program.name), program.pid))
        .collect();
    match named.is_empty() {
        true => "close the programs that use cards, such as browsers, ssh-agent and gpg".to_owned(),
        false => format!("one of these uses cards: {}", named.join(", ")),
    }
}

fn hex(bytes: &[u8]) -> String {
    ctk_host::config::to_hex(bytes).to_uppercase()
}

#[cfg(test)]
mod tests {
    use super::{super::tests::said, *};
    use crate::card::testing::TestCard;

    #[test]
    fn a_card_that_is_no_token_has_its_reason() {
        let with = |card: CardDiagnosis, programs: &[Program]| {
            let reader = ReaderDiagnosis {
                name: "Blue".into(),
                card,
            };
            said(&[check_without_token(&reader, programs)]).remove(0)
        };
        assert_eq!(
            with(CardDiagnosis::Empty, &[]),
            "Ok reader Blue: no card is in it"
        );
        assert!(with(CardDiagnosis::Mute, &[]).contains("does not answer → take it out"));
        let program = |name: &str| Program {
            pid: 7,
            name: name.into(),
        };
        let busy = |programs: &[Program]| with(CardDiagnosis::Busy, programs);
        assert!(busy(&[]).contains("close the programs"));
        assert!(busy(&[program("firefox")]).contains("one of these uses cards: firefox (7)"));
        assert!(busy(&[program("x"), program("scdaemon")]).contains("pcsc-shared"));
        let asked = |status| CardDiagnosis::Asked {
            atr: vec![0x3b, 0x8f],
            answers: vec![Answer {
                applet: "PIV",
                status,
            }],
        };
        let unknown = with(asked(0x6a82), &[]);
        assert!(
            unknown
                .contains("of no kind that is known here (ATR 3B8F; to SELECT it said PIV: 6A82)"),
            "{unknown}"
        );
        assert!(with(asked(0x9000), &[]).contains("says that it has PIV, and could not be read"));
    }

    #[test]
    fn tries_and_missing_keys_are_told() {
        let of = |test: TestCard| said(&check_card(&test.card()));
        let good = of(TestCard::piv());
        assert_eq!(
            good,
            [
                "Ok reader Test Reader: PIV card \"Test Card\", serial number 0011223344556677",
                "Ok reader Test Reader: PIN: not locked"
            ]
        );
        assert!(
            of(TestCard::piv().tries(1))[1].starts_with("Warning reader Test Reader: PIN: 1 try")
        );
        assert!(
            of(TestCard::piv().tries(0))[1]
                .contains("Problem reader Test Reader: the PIN is locked")
        );
        assert!(of(TestCard::empty())[2].starts_with("Hint reader Test Reader: no certificate"));
    }
}
