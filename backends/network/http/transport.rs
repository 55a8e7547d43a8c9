//! One connection to a service, as `ureq` uses it.

use std::{
    io::{self, Read},
    net::TcpStream,
};

use ctk_crypto::tls::{Received, TlsClient, TlsError, TlsProblem};
use ureq::unversioned::transport::{Buffers, NextTimeout, Transport};

use super::{
    buffers::ConnectionBuffers,
    failure::{Cause, Failure},
    wait::{Wait, WaitError, is_timeout},
};

/// How much is read from the socket at a time: a TLS record.
const RECORD: usize = 16 << 10;

/// A connection. It knows how far the request has come that is under way, so that whoever repeats requests knows whether one
/// was sent.
///
/// Dropping it closes the socket and sends nothing, so that the child of a fork cannot end its parent's connection.
pub(super) struct Connection {
    /// Host and port, for messages.
    place: String,
    stream: TcpStream,
    tls: Option<TlsClient>,
    buffers: ConnectionBuffers,
    request: Progress,
    /// Whether an answer came over it before.
    reused: bool,
}

/// How far a request has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Progress {
    /// None of it has left.
    Unsent,
    /// Some or all of it has.
    Sent,
    /// The first byte of the answer is here.
    Answered,
}

impl Connection {
    pub(super) fn new(place: String, stream: TcpStream, tls: Option<TlsClient>) -> Self {
        Self {
            place,
            stream,
            tls,
            buffers: ConnectionBuffers::default(),
            request: Progress::Unsent,
            reused: false,
        }
    }

    fn flush(&mut self, wait: &Wait) -> Result<(), Failure> {
        if self.buffers.gathered().is_empty() {
            return Ok(());
        }
        let flushed = match &mut self.tls {
            None => send(
                &self.stream,
                self.buffers.gathered(),
                wait,
                &mut self.request,
            ),
            Some(tls) => tls
                .write(self.buffers.gathered())
                .map_err(Ended::Tls)
                .and_then(|()| {
                    let sent = send(&self.stream, tls.outgoing(), wait, &mut self.request);
                    tls.outgoing().clear();
                    sent
                }),
        };
        self.buffers.sent();
        flushed.map_err(|ended| self.failed(ended))
    }

    /// Reads at least a byte of the answer; 0 is its proper end.
    fn receive(&mut self, wait: &Wait) -> Result<usize, Ended> {
        let room = self.buffers.input_append_buf();
        if room.is_empty() {
            return Err(Ended::TooLong);
        }
        let Some(tls) = &mut self.tls else {
            return Ok(wait.read(&self.stream, room)?);
        };
        loop {
            match tls.read(room)? {
                Received::Bytes(count) => return Ok(count),
                Received::End => return Ok(0),
                Received::Truncated => return Err(Ended::Cut),
                Received::More => {}
            }
            // What the library answers by itself, like an update of keys.
            if !tls.outgoing().is_empty() {
                wait.write_all(&self.stream, tls.outgoing())?;
                tls.outgoing().clear();
            }
            feed(tls, &self.stream, wait)?;
        }
    }

    fn failed(&self, ended: Ended) -> Failure {
        let sent = self.request != Progress::Unsent;
        let cause = match ended {
            Ended::Silent => Cause::Silent {
                reused: self.reused && self.request != Progress::Answered,
            },
            Ended::OutOfTime => Cause::OutOfTime,
            Ended::TooLong => Cause::Garbled("the head of the answer is too long".into()),
            // A server of TLS 1.3 says only now that it does not take our certificate. It has not looked at the request. What
            // else it may complain of (RFC 8446 §6.2) can come after it has.
            Ended::Tls(error)
                if matches!(error.problem, TlsProblem::Refused(42..=49 | 116))
                    && self.request != Progress::Answered
                    && !self.reused =>
            {
                return Failure::misconfigured(format!("{}: {error}", self.place));
            }
            Ended::Io(_) | Ended::Tls(_) | Ended::Cut if self.request == Progress::Answered => {
                Cause::Cut
            }
            Ended::Io(error) => Cause::Lost {
                reused: self.reused,
                error: error.to_string(),
            },
            Ended::Tls(error) => Cause::Lost {
                reused: self.reused,
                error: error.to_string(),
            },
            Ended::Cut => Cause::Lost {
                reused: self.reused,
                error: "closed".into(),
            },
        };
        Failure { sent, cause }
    }

    /// Whether nothing has come over an idle connection, not even its end.
    fn is_silent(&mut self) -> bool {
        if !self.buffers.input().is_empty() || self.stream.set_nonblocking(true).is_err() {
            return false;
        }
        let silent = match &mut self.tls {
            None => match self.stream.peek(&mut [0]) {
                Err(error) => is_timeout(&error),
                Ok(_) => false,
            },
            Some(tls) => is_silent_tls(tls, &self.stream),
        };
        self.stream.set_nonblocking(false).is_ok() && silent
    }
}

impl Transport for Connection {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    /// Gathers head and body, which leave together when the answer is waited for, or when there is much of it.
    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        if self.request == Progress::Answered {
            self.request = Progress::Unsent;
            self.reused = true;
        }
        if self.buffers.gather(amount) {
            self.flush(&Wait::from_ureq(timeout))
                .map_err(Failure::into_ureq)?;
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let wait = Wait::from_ureq(timeout);
        self.flush(&wait).map_err(Failure::into_ureq)?;
        let received = match self.receive(&wait) {
            // The end before an answer.
            Ok(0) if self.request != Progress::Answered => Err(Ended::Cut),
            received => received,
        };
        let count = received.map_err(|ended| self.failed(ended).into_ureq())?;
        if count > 0 {
            self.request = Progress::Answered;
            self.buffers.input_appended(count);
        }
        Ok(count > 0)
    }

    fn is_open(&mut self) -> bool {
        self.is_silent()
    }

    fn is_tls(&self) -> bool {
        self.tls.is_some()
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection({})", self.place)
    }
}

/// Why no more comes.
enum Ended {
    Silent,
    OutOfTime,
    Io(io::Error),
    Tls(TlsError),
    /// Without the goodbye that TLS has, or before an answer.
    Cut,
    /// There is no room for more.
    TooLong,
}

impl From<WaitError> for Ended {
    fn from(error: WaitError) -> Self {
        match error {
            WaitError::Silent => Self::Silent,
            WaitError::OutOfTime => Self::OutOfTime,
            WaitError::Io(error) => Self::Io(error),
        }
    }
}

impl From<TlsError> for Ended {
    fn from(error: TlsError) -> Self {
        Self::Tls(error)
    }
}

fn send(
    stream: &TcpStream,
    bytes: &[u8],
    wait: &Wait,
    request: &mut Progress,
) -> Result<(), Ended> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let written = wait.write(stream, rest)?;
        *request = Progress::Sent;
        rest = rest.get(written..).unwrap_or_default();
    }
    Ok(())
}

/// Reads from the socket for TLS.
pub(super) fn feed(tls: &mut TlsClient, stream: &TcpStream, wait: &Wait) -> Result<(), WaitError> {
    let mut record = [0; RECORD];
    match wait.read(stream, &mut record)? {
        0 => tls.feed_end(),
        count => tls.feed(record.get(..count).unwrap_or_default()),
    }
    Ok(())
}

/// What comes late belongs to TLS (a ticket, new keys) and is taken; anything else ends the connection.
fn is_silent_tls(tls: &mut TlsClient, mut stream: &TcpStream) -> bool {
    let mut record = [0; RECORD];
    match stream.read(&mut record) {
        Err(error) if is_timeout(&error) => {}
        Err(_) | Ok(0) => return false,
        Ok(count) => tls.feed(record.get(..count).unwrap_or_default()),
    }
    matches!(tls.read(&mut [0]), Ok(Received::More))
}
