//! `ctk doctor card`: what stands between programs and a smart card, from the service to the PIN, and what to do.

use ctk_host::smartcard::{Answer, CardDiagnosis, Diagnosis, Program, ReaderDiagnosis, UsbReader};
use ctk_token::PinState;

use super::{
    facts::CardFacts,
    find::{self, Card, matching},
    place::Kind,
};
use crate::{
    console::Console,
    doctor::{Check, SOON, State},
    table::printable,
};

/// GnuPG's program for cards, which keeps them for itself unless it is told to share.
const SCDAEMON: &str = "scdaemon";
/// The status word of success (ISO 7816-4 §5.6).
const SELECTED: u16 = 0x9000;

/// Everything about cards, in the order in which one thing needs the other.
pub(crate) fn check(console: &Console) -> Vec<Check> {
    // Before anything else is connected, for a card that is in use is not asked what it is.
    let diagnosis = ctk_host::smartcard::diagnose();
    let mut checks = service_and_readers(&diagnosis);
    let Ok(readers) = &diagnosis.readers else {
        return checks;
    };
    let slots = find::readers(&console.environment);
    for reader in readers {
        let slot = matching(&slots, &reader.name).into_iter().next();
        let token = slot.and_then(|slot| slot.token());
        match token {
            Some(token) => card(
                &Card {
                    reader: reader.name.clone(),
                    token,
                },
                &mut checks,
            ),
            None => checks.push(no_token(reader, &diagnosis.programs)),
        }
    }
    checks
}

/// What belongs in a look at the whole set-up: nothing that is as it should be but the cards themselves.
pub(crate) fn check_briefly(console: &Console) -> Vec<Check> {
    let mut checks = check(console);
    let has_reader = checks
        .iter()
        .any(|check| check.subject.starts_with("reader"));
    checks.retain(|check| has_reader || check.state != State::Ok);
    // Who has no reader wants no card.
    if !has_reader {
        for check in &mut checks {
            if check.state == State::Problem && check.subject == SERVICE {
                check.state = State::Hint;
            }
        }
        checks.truncate(1);
    }
    checks
}

const SERVICE: &str = "PC/SC service";

fn service_and_readers(diagnosis: &Diagnosis) -> Vec<Check> {
    let socket = diagnosis.socket.display();
    let service = |state, message: String| Check::new(state, SERVICE, message);
    let readers = match &diagnosis.readers {
        Ok(readers) => readers,
        Err(_) if !diagnosis.socket_exists && !diagnosis.service_installed => {
            let message = "it is not installed, so no program can use a smart card → install it (Debian: apt install pcscd; \
                           Fedora: dnf install pcsc-lite), then: systemctl enable --now pcscd.socket";
            let mut checks = vec![service(State::Problem, message.to_owned())];
            checks.extend(diagnosis.usb.iter().map(unserved));
            return checks;
        }
        Err(_) if !diagnosis.socket_exists => {
            let message = format!(
                "it is not running: its socket {socket} is not there → systemctl enable --now pcscd.socket"
            );
            let mut checks = vec![service(State::Problem, message)];
            checks.extend(diagnosis.usb.iter().map(unserved));
            return checks;
        }
        Err(reason) => {
            return vec![service(State::Problem, format!("{socket}: {reason}"))];
        }
    };
    let mut checks = vec![service(State::Ok, format!("it answers at {socket}"))];
    let is_served = |usb: &&UsbReader| {
        let has_name = |reader: &ReaderDiagnosis| {
            !usb.product.is_empty() && reader.name.contains(&usb.product)
        };
        usb.taken && !readers.is_empty() || readers.iter().any(has_name)
    };
    checks.extend(
        diagnosis
            .usb
            .iter()
            .filter(|usb| !is_served(usb))
            .map(without_driver),
    );
    if readers.is_empty() && diagnosis.usb.is_empty() {
        let message = "there is none → plug one in; if one is plugged in, it may need a driver of its maker (most need \
                       none but the package libccid)";
        checks.push(Check::new(State::Problem, "readers", message.to_owned()));
    }
    checks
}

/// How a person knows a reader on USB.
fn usb_name(usb: &UsbReader) -> String {
    let subject = format!("reader on USB {} ({})", printable(&usb.product), usb.id);
    subject.replace("  ", " ")
}

fn unserved(usb: &UsbReader) -> Check {
    let message =
        "it is plugged in, and there is no service that uses it → start the PC/SC service";
    Check::new(State::Problem, &usb_name(usb), message.to_owned())
}

fn without_driver(usb: &UsbReader) -> Check {
    let message = match usb.taken {
        true => {
            "another program has taken it from the PC/SC service → if GnuPG has: write disable-ccid into \
             ~/.gnupg/scdaemon.conf, then gpgconf --kill scdaemon, and plug the reader in again"
        }
        false => {
            "the PC/SC service has no driver for it → install libccid (Debian: apt install libccid; Fedora: dnf install \
             pcsc-lite-ccid) or its maker's driver, and plug the reader in again"
        }
    };
    Check::new(State::Problem, &usb_name(usb), message.to_owned())
}

/// A reader whose card, if there is one, is no token.
fn no_token(reader: &ReaderDiagnosis, programs: &[Program]) -> Check {
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

fn subject(reader: &str) -> String {
    format!("reader {}", printable(reader))
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

/// A card that programs can use, with what they will run into.
fn card(card: &Card, checks: &mut Vec<Check>) {
    let subject = subject(&card.reader);
    let mut add = |state, message: String| checks.push(Check::new(state, &subject, message));
    let Ok(facts) = CardFacts::read(card) else {
        let message = format!(
            "the {} stopped answering → take it out and put it in again",
            card.token.kind()
        );
        return add(State::Problem, message);
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
}

fn hex(bytes: &[u8]) -> String {
    ctk_host::config::to_hex(bytes).to_uppercase()
}

#[cfg(test)]
mod tests {
    use ctk_token::Reason;

    use super::*;
    use crate::card::testing::TestCard;

    fn running(readers: Vec<ReaderDiagnosis>) -> Diagnosis {
        Diagnosis {
            socket: "/run/pcscd/pcscd.comm".into(),
            socket_exists: true,
            service_installed: true,
            readers: Ok(readers),
            usb: Vec::new(),
            programs: Vec::new(),
        }
    }

    fn said(checks: &[Check]) -> Vec<String> {
        let line =
            |check: &Check| format!("{:?} {}: {}", check.state, check.subject, check.message);
        checks.iter().map(line).collect()
    }

    fn usb(product: &str, taken: bool) -> UsbReader {
        UsbReader {
            id: "04e6:5116".into(),
            product: product.into(),
            taken,
        }
    }

    #[test]
    fn a_service_that_does_not_answer_is_told_from_one_that_is_not_there() {
        let down = Diagnosis {
            readers: Err(Reason::new("no PC/SC service answers")),
            ..running(Vec::new())
        };
        let only = |diagnosis: &Diagnosis| said(&service_and_readers(diagnosis)).remove(0);
        assert_eq!(
            only(&down),
            "Problem PC/SC service: /run/pcscd/pcscd.comm: no PC/SC service answers"
        );
        let stopped = Diagnosis {
            socket_exists: false,
            ..down.clone()
        };
        let stopped_said = only(&stopped);
        assert!(stopped_said.contains("not running") && stopped_said.contains("pcscd.socket"));
        let missing = Diagnosis {
            service_installed: false,
            usb: vec![usb("SCR3310", false)],
            ..stopped
        };
        let missing = said(&service_and_readers(&missing));
        assert!(missing[0].contains("apt install pcscd"), "{missing:?}");
        assert!(
            missing[1].starts_with("Problem reader on USB SCR3310 (04e6:5116): it is plugged in")
        );
    }

    #[test]
    fn a_reader_without_driver_is_told_from_none() {
        let none = said(&service_and_readers(&running(Vec::new())));
        assert!(
            none[1].starts_with("Problem readers: there is none"),
            "{none:?}"
        );
        let with_usb = |usb: UsbReader, readers: Vec<ReaderDiagnosis>| {
            let diagnosis = Diagnosis {
                usb: vec![usb],
                ..running(readers)
            };
            said(&service_and_readers(&diagnosis))
        };
        let bare = with_usb(usb("SCR3310", false), Vec::new());
        assert!(bare[1].contains("install libccid"), "{bare:?}");
        let taken = with_usb(usb("SCR3310", true), Vec::new());
        assert!(taken[1].contains("disable-ccid"), "{taken:?}");
        let reader = |name: &str| ReaderDiagnosis {
            name: name.into(),
            card: CardDiagnosis::Empty,
        };
        let served = vec![reader("Identiv SCR3310 [CCID] 00 00")];
        assert_eq!(with_usb(usb("SCR3310", false), served).len(), 1);
        // A driver may give it another name.
        assert_eq!(
            with_usb(usb("uTrust", true), vec![reader("Other")]).len(),
            1
        );
        assert_eq!(
            with_usb(usb("uTrust", false), vec![reader("Other")]).len(),
            2
        );
    }

    #[test]
    fn a_card_that_is_no_token_has_its_reason() {
        let with = |card: CardDiagnosis, programs: &[Program]| {
            let reader = ReaderDiagnosis {
                name: "Blue".into(),
                card,
            };
            said(&[no_token(&reader, programs)]).remove(0)
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
        let of = |test: TestCard| {
            let mut checks = Vec::new();
            card(&test.card(), &mut checks);
            said(&checks)
        };
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
