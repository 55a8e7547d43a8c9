//! Whether there is a PC/SC service, and whether it has the readers that are there.

use ctk_host::smartcard::{Diagnosis, ReaderDiagnosis, UsbReader};

use crate::{
    doctor::{Check, State},
    table::printable,
};

const SERVICE: &str = "PC/SC service";

/// Whether the service answers, and has the readers that are plugged in.
pub(super) fn check(diagnosis: &Diagnosis) -> Vec<Check> {
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

#[cfg(test)]
mod tests {
    use ctk_host::smartcard::CardDiagnosis;
    use ctk_token::Reason;

    use super::{super::tests::said, *};

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
        let only = |diagnosis: &Diagnosis| said(&check(diagnosis)).remove(0);
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
        let missing = said(&check(&missing));
        assert!(missing[0].contains("apt install pcscd"), "{missing:?}");
        assert!(
            missing[1].starts_with("Problem reader on USB SCR3310 (04e6:5116): it is plugged in")
        );
    }

    #[test]
    fn a_reader_without_driver_is_told_from_none() {
        let none = said(&check(&running(Vec::new())));
        assert!(
            none[1].starts_with("Problem readers: there is none"),
            "{none:?}"
        );
        let with_usb = |usb: UsbReader, readers: Vec<ReaderDiagnosis>| {
            let diagnosis = Diagnosis {
                usb: vec![usb],
                ..running(readers)
            };
            said(&check(&diagnosis))
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
}
