//! Why an attempt gave no answer, and what that means for the next one.

use std::{io, time::Duration};

use ctk_token::{Reason, TokenError};

use super::endpoint::Endpoint;

/// An attempt that failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// Whether the service may have received the request, or the beginning of it.
    pub(super) sent: bool,
    /// What happened.
    pub(super) cause: Cause,
}

/// What can happen to an attempt.
#[derive(Debug)]
pub(super) enum Cause {
    /// There was no way to the service, now.
    Unreachable(String),
    /// There is none, and trying again does not change that: a certificate, a setting, a file.
    Misconfigured(String),
    /// The connection ended before the answer began.
    Lost {
        /// It had been kept after an earlier answer, and the service may have closed it at any time.
        reused: bool,
        /// What the system says.
        error: String,
    },
    /// The service sent nothing for as long as one waits.
    Silent {
        /// It was to answer over a connection that had been kept, and that something on the way may have forgotten.
        reused: bool,
    },
    /// The time for everything is over.
    OutOfTime,
    /// The answer ended early.
    Cut,
    /// The answer is no HTTP, or more of it than anybody needs.
    Garbled(String),
    /// The request could not be made.
    Unmade(TokenError),
}

impl Failure {
    /// Nothing was sent, and it may work later.
    pub(super) fn unreachable(reason: impl Into<String>) -> Self {
        Self::unsent(Cause::Unreachable(reason.into()))
    }

    /// Nothing was sent, and it will not work later.
    pub(super) fn misconfigured(reason: impl Into<String>) -> Self {
        Self::unsent(Cause::Misconfigured(reason.into()))
    }

    /// Nothing was sent.
    pub(super) fn unsent(cause: Cause) -> Self {
        Self { sent: false, cause }
    }

    /// Some or all of the request was sent.
    pub(super) fn sent(cause: Cause) -> Self {
        Self { sent: true, cause }
    }

    /// What `ureq` reports. Our own failures pass through it as they are; of its own ones nobody can say that nothing was
    /// sent before.
    pub(super) fn from_ureq(error: ureq::Error) -> Self {
        match error {
            ureq::Error::Other(other) => match other.downcast::<Self>() {
                Ok(failure) => *failure,
                Err(other) => Self::sent(Cause::Garbled(other.to_string())),
            },
            ureq::Error::Timeout(_) => Self::sent(Cause::OutOfTime),
            ureq::Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Self::sent(Cause::Cut)
            }
            ureq::Error::Http(_) | ureq::Error::BadUri(_) => {
                Self::unsent(Cause::Unmade(TokenError::BadParameter))
            }
            ureq::Error::LargeResponseHeader(..) => {
                Self::sent(Cause::Garbled("the head of the answer is too long".into()))
            }
            // What such an error says may be a piece of the answer.
            ureq::Error::Protocol(_) => Self::sent(Cause::Garbled("the answer is no HTTP".into())),
            error => Self::sent(Cause::Garbled(error.to_string())),
        }
    }

    /// As it travels through `ureq`.
    pub(super) fn into_ureq(self) -> ureq::Error {
        ureq::Error::Other(Box::new(self))
    }

    /// What the caller is told who asked for `what` and has waited so long. Reasons name the endpoint.
    pub(super) fn into_error(
        self,
        endpoint: &Endpoint,
        what: &str,
        waited: Duration,
    ) -> TokenError {
        let place = endpoint.host_and_port();
        let seconds = waited.as_secs_f32().round().max(1.0);
        let unreachable = |reason| TokenError::Unreachable(Reason::new(reason));
        match self.cause {
            Cause::Unreachable(reason) | Cause::Misconfigured(reason) => unreachable(reason),
            Cause::Lost { error, .. } if self.sent => unreachable(format!(
                "{place} ended the connection without an answer ({error}): try again, and see the service's log"
            )),
            Cause::Lost { error, .. } => {
                unreachable(format!("{place} ended the connection ({error})"))
            }
            Cause::Silent { .. } => unreachable(format!(
                "{place} did not answer {what} in time, {seconds} s without a byte: try again, see its log, or raise \
                 read_timeout"
            )),
            Cause::OutOfTime if self.sent => unreachable(format!(
                "{place} did not answer {what} in time, which were {seconds} s: try again, see its log, or raise total_timeout"
            )),
            Cause::OutOfTime => unreachable(format!(
                "the time was over before {place} could be asked for {what}: try again, or raise total_timeout"
            )),
            Cause::Cut => TokenError::Corrupted(Reason::new(format!(
                "the answer of {place} ended early: is something between here and there that cuts connections?"
            ))),
            Cause::Garbled(what) => TokenError::Corrupted(Reason::new(format!(
                "{place} gives no proper answer: {what}; is this the address of the service?"
            ))),
            Cause::Unmade(error) => error,
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.cause {
            Cause::Unreachable(reason) | Cause::Misconfigured(reason) => f.write_str(reason),
            Cause::Lost { error, .. } => write!(f, "the connection ended: {error}"),
            Cause::Silent { .. } => f.write_str("no answer in time"),
            Cause::OutOfTime => f.write_str("the time is over"),
            Cause::Cut => f.write_str("the answer ended early"),
            Cause::Garbled(what) => f.write_str(what),
            Cause::Unmade(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Failure {}
