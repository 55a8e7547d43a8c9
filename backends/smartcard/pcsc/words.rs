//! What errors of PC/SC mean, and what a person can do about them.

use ctk_token::Reason;
use pcsc::Error;

use crate::link::LinkError;

/// An error of PC/SC from where no card is connected yet.
pub(super) fn link_error(error: Error) -> LinkError {
    match error {
        Error::NoSmartcard
        | Error::RemovedCard
        | Error::UnknownReader
        | Error::ReaderUnavailable => LinkError::Removed,
        Error::ResetCard | Error::UnpoweredCard => LinkError::Reset,
        Error::SharingViolation | Error::ServerTooBusy => LinkError::Busy,
        Error::UnresponsiveCard | Error::UnsupportedCard | Error::InvalidAtr | Error::NotReady => {
            LinkError::Mute(Reason::new(
                "the card does not answer its reset: is it the right way round, and clean?",
            ))
        }
        Error::ProtoMismatch | Error::CardUnsupported => LinkError::Mute(Reason::new(
            "the card speaks neither T=0 nor T=1, so it is none that could be used here",
        )),
        Error::NotTransacted | Error::CommError | Error::CommDataLost | Error::WaitedTooLong => {
            LinkError::Mute(Reason::new(
                "the card does not answer: take it out and put it in again",
            ))
        }
        Error::NoService | Error::ServiceStopped | Error::Shutdown => {
            LinkError::Unavailable(Reason::new(
                "no PC/SC service answers: is pcscd installed and running? `systemctl enable --now pcscd.socket` \
                 starts it",
            ))
        }
        Error::NoAccess | Error::SecurityViolation => LinkError::Unavailable(Reason::new(
            "the PC/SC service refuses this user: polkit allows cards to users at the machine only. A rule for \
             org.debian.pcsc-lite.access_pcsc and org.debian.pcsc-lite.access_card allows others",
        )),
        Error::ReaderUnsupported | Error::DuplicateReader => LinkError::Unavailable(Reason::new(
            "the PC/SC service cannot use this reader: is there a newer driver (package libccid)?",
        )),
        Error::NoMemory => LinkError::Unavailable(Reason::new(
            "the PC/SC service is out of memory or has too many programs connected",
        )),
        other => LinkError::Unavailable(Reason::new(format!("the PC/SC service says: {other}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_can_do_is_said() {
        let said = |error| match link_error(error) {
            LinkError::Unavailable(reason) | LinkError::Mute(reason) => reason.as_str().to_owned(),
            other => panic!("{other}"),
        };
        assert!(said(Error::NoService).contains("pcscd.socket"));
        assert!(said(Error::NoAccess).contains("polkit"));
        assert!(said(Error::SecurityViolation).contains("polkit"));
        assert!(said(Error::UnresponsiveCard).contains("right way round"));
        assert!(said(Error::InternalError).contains("internal"));
    }

    #[test]
    fn what_the_program_can_do_is_a_variant() {
        assert_eq!(link_error(Error::NoSmartcard), LinkError::Removed);
        assert_eq!(link_error(Error::UnknownReader), LinkError::Removed);
        assert_eq!(link_error(Error::ResetCard), LinkError::Reset);
        assert_eq!(link_error(Error::SharingViolation), LinkError::Busy);
    }
}
