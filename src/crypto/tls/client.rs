//! One connection: what is fed comes out decrypted, what is written goes out encrypted.

use std::{
    io::{self, Read, Write},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use openssl::{
    asn1::{Asn1Time, Asn1TimeRef},
    error::ErrorStack,
    ssl::{ErrorCode, Ssl, SslStream},
};

use super::{Seen, TlsError, problem::clean, short_name};
use crate::fork;

/// What [`TlsClient::read`] has found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Received {
    /// So many bytes are in the buffer.
    Bytes(usize),
    /// Nothing yet: feed more.
    More,
    /// The server has ended the connection and said so.
    End,
    /// The connection ended without a word: whoever is on the way can do that, so what is not complete by its own length is cut.
    Truncated,
}

/// Who is at the other end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Peer {
    /// Such as `TLSv1.3`.
    pub version: &'static str,
    /// Its certificate's common name, or the first part of its subject.
    pub subject: String,
    /// The same of the certificate's issuer.
    pub issuer: String,
    /// The certificate's last second.
    pub expiry: Option<SystemTime>,
}

/// A connection to one server. Dropped, it sends nothing, not even a goodbye: HTTP says where an answer ends, and a forked
/// child must not end its parent's connection.
///
/// Each call may leave bytes in [`outgoing`](Self::outgoing), also those that only read, and those that fail: an alert says
/// the server why.
pub struct TlsClient {
    /// Taken when dropped, inside the gate.
    stream: Option<SslStream<Pipe>>,
    /// Where bytes would go if there were no stream, which is so in no living client.
    nowhere: Vec<u8>,
    seen: Arc<Mutex<Seen>>,
    pins: Arc<[[u8; 32]]>,
    done: bool,
    first: Option<u8>,
    failed: Option<TlsError>,
}

impl TlsClient {
    pub(super) fn new(
        ssl: Ssl,
        seen: Arc<Mutex<Seen>>,
        pins: Arc<[[u8; 32]]>,
    ) -> Result<Self, TlsError> {
        let stream = SslStream::new(ssl, Pipe::default()).map_err(|_| TlsError::library())?;
        Ok(Self {
            stream: Some(stream),
            nowhere: Vec::new(),
            seen,
            pins,
            done: false,
            first: None,
            failed: None,
        })
    }

    /// Goes on with the handshake as far as the bytes reach, and says whether it is done. If not: send what is outgoing,
    /// feed what comes, and call again.
    ///
    /// # Errors
    /// Whatever is wrong with the server, its certificate or the way to it; the same again from each call after.
    pub fn handshake(&mut self) -> Result<bool, TlsError> {
        self.check()?;
        if self.done {
            return Ok(true);
        }
        let step = self.inside(SslStream::do_handshake)?;
        match step {
            Ok(()) => {
                self.check_pins()?;
                self.done = true;
                Ok(true)
            }
            Err(error) if self.waits(&error) => Ok(false),
            Err(error) => Err(self.fail(&error)),
        }
    }

    /// Takes bytes that the server sent.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.first.is_none() {
            self.first = bytes.first().copied();
        }
        if let Some(stream) = &mut self.stream {
            stream.get_mut().feed(bytes);
        }
    }

    /// Says that the server sends no more.
    pub fn feed_end(&mut self) {
        if let Some(stream) = &mut self.stream {
            stream.get_mut().ended = true;
        }
    }

    /// What has to be sent to the server. The caller takes it out.
    pub fn outgoing(&mut self) -> &mut Vec<u8> {
        match &mut self.stream {
            Some(stream) => &mut stream.get_mut().outgoing,
            None => &mut self.nowhere,
        }
    }

    /// Decrypts into `buffer`. An empty one gets nothing.
    ///
    /// # Errors
    /// [`TlsProblem::Broken`](super::TlsProblem::Broken) for what was changed on the way or before the handshake is done, and
    /// [`Refused`](super::TlsProblem::Refused): a server of TLS 1.3 tells only here that it wants another client certificate.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<Received, TlsError> {
        self.check_done()?;
        if buffer.is_empty() {
            return Ok(Received::Bytes(0));
        }
        let read = self.inside(|stream| stream.ssl_read(buffer))?;
        match read {
            Ok(len) => Ok(Received::Bytes(len)),
            Err(error) if error.code() == ErrorCode::ZERO_RETURN => Ok(Received::End),
            Err(error) if self.waits(&error) => Ok(Received::More),
            Err(_) if self.cut() => Ok(Received::Truncated),
            Err(error) => Err(self.fail(&error)),
        }
    }

    /// Encrypts all of `bytes` to [`outgoing`](Self::outgoing).
    ///
    /// # Errors
    /// [`TlsProblem::Broken`](super::TlsProblem::Broken) before the handshake is done or after the connection broke.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), TlsError> {
        self.check_done()?;
        while !bytes.is_empty() {
            let written = self.inside(|stream| stream.ssl_write(bytes))?;
            let written = written.map_err(|error| self.fail(&error))?;
            bytes = bytes.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    /// Whether bytes are here that [`read`](Self::read) would look at. On a connection that should be idle they mean that the
    /// server has ended it, or said what nobody asked for.
    pub fn has_unread(&self) -> bool {
        self.stream
            .as_ref()
            .is_some_and(|stream| !stream.get_ref().is_empty() || stream.ssl().pending() > 0)
    }

    /// Who is at the other end; `None` before its certificate was seen and found good.
    pub fn peer(&self) -> Option<Peer> {
        if !self.done {
            return None;
        }
        let _inside = fork::enter();
        let ssl = self.stream.as_ref()?.ssl();
        let certificate = ssl.peer_certificate()?;
        Some(Peer {
            version: ssl.version_str(),
            subject: clean(&short_name(certificate.subject_name())),
            issuer: clean(&short_name(certificate.issuer_name())),
            expiry: system_time(certificate.not_after()),
        })
    }

    /// Calls into the library, which has to find its queue of errors empty: it would take an old one for its own.
    fn inside<T>(&mut self, call: impl FnOnce(&mut SslStream<Pipe>) -> T) -> Result<T, TlsError> {
        let stream = self.stream.as_mut().ok_or_else(TlsError::library)?;
        let _inside = fork::enter();
        drop(ErrorStack::get());
        Ok(call(stream))
    }

    fn check(&self) -> Result<(), TlsError> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    fn check_done(&self) -> Result<(), TlsError> {
        self.check()?;
        if self.done {
            return Ok(());
        }
        Err(TlsError::broken("the TLS handshake is not done"))
    }

    fn check_pins(&mut self) -> Result<(), TlsError> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.has_pin(&self.pins) {
            return Ok(());
        }
        drop(seen);
        Err(self.failed.insert(TlsError::no_pin()).clone())
    }

    fn waits(&self, error: &openssl::ssl::Error) -> bool {
        error.code() == ErrorCode::WANT_READ && !self.cut()
    }

    /// Whether everything that came was taken and no more will come.
    fn cut(&self) -> bool {
        let pipe = self.stream.as_ref().map(SslStream::get_ref);
        pipe.is_none_or(|pipe| pipe.ended && pipe.is_empty())
    }

    /// Remembers what ended the connection. What the verification has seen says more than the library's error.
    fn fail(&mut self, error: &openssl::ssl::Error) -> TlsError {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let problem = seen.problem.take().filter(|_| !self.done);
        drop(seen);
        let failed = problem.unwrap_or_else(|| {
            let nothing_said = error.code() != ErrorCode::SSL || self.cut_says(error);
            if self.cut() && nothing_said {
                return TlsError::broken("the server closed the connection in the middle of TLS");
            }
            TlsError::of_library(error, self.first)
        });
        self.failed.insert(failed).clone()
    }

    /// OpenSSL reports the end of the bytes as an error of its own, AWS-LC as one of the system.
    fn cut_says(&self, error: &openssl::ssl::Error) -> bool {
        let errors = error
            .ssl_error()
            .map(ErrorStack::errors)
            .unwrap_or_default();
        let reason = errors.first().and_then(|error| error.reason());
        reason.is_none_or(|reason| reason.contains("unexpected eof"))
    }
}

impl Drop for TlsClient {
    fn drop(&mut self) {
        let _inside = fork::enter();
        self.stream = None;
    }
}

impl std::fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "TlsClient(done: {}, failed: {:?})",
            self.done, self.failed
        )
    }
}

/// What stands where the library expects a socket.
#[derive(Default)]
struct Pipe {
    incoming: Vec<u8>,
    /// How much of it the library has taken.
    taken: usize,
    ended: bool,
    outgoing: Vec<u8>,
}

impl Pipe {
    fn feed(&mut self, bytes: &[u8]) {
        if self.is_empty() {
            self.incoming.clear();
            self.taken = 0;
        }
        self.incoming.extend_from_slice(bytes);
    }

    fn rest(&self) -> &[u8] {
        self.incoming.get(self.taken..).unwrap_or_default()
    }

    fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.rest().read(buffer)?;
        if len == 0 && !buffer.is_empty() && !self.ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.taken += len;
        Ok(len)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outgoing.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn system_time(time: &Asn1TimeRef) -> Option<SystemTime> {
    let since = Asn1Time::from_unix(0).ok()?.diff(time).ok()?;
    let seconds = i64::from(since.days) * 86_400 + i64::from(since.secs);
    let since = Duration::from_secs(u64::try_from(seconds).ok()?);
    SystemTime::UNIX_EPOCH.checked_add(since)
}
