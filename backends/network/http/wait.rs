//! Reading from and writing to a socket, for a limited time.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use ureq::unversioned::transport::NextTimeout;

/// How long to wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    /// When all is over.
    pub(super) until: Instant,
    /// How long for one step of it.
    pub(super) each: Duration,
}

/// Why there is nothing.
#[derive(Debug)]
pub(super) enum WaitError {
    /// No byte came or went for as long as one step may take.
    Silent,
    /// All is over.
    OutOfTime,
    /// The connection is no more.
    Io(io::Error),
}

impl Wait {
    /// As long as `ureq` says.
    pub(super) fn from_ureq(timeout: NextTimeout) -> Self {
        // A time that never comes does not fit in an Instant.
        let after = |duration: Duration| duration.min(Duration::from_secs(86_400));
        Self {
            until: Instant::now() + after(*timeout.after),
            each: timeout
                .per_read
                .map_or(Duration::from_secs(86_400), |each| after(*each)),
        }
    }

    /// Until then, with no other limit.
    pub(super) fn until(until: Instant) -> Self {
        Self {
            until,
            each: Duration::MAX,
        }
    }

    /// What is left of the time.
    pub(super) fn left(&self) -> Result<Duration, WaitError> {
        let left = self.until.saturating_duration_since(Instant::now());
        // The system takes no zero, and rounds to its ticks.
        if left < Duration::from_micros(100) {
            return Err(WaitError::OutOfTime);
        }
        Ok(left)
    }

    /// Reads what there is, at least a byte; 0 is the end.
    pub(super) fn read(&self, stream: &TcpStream, buffer: &mut [u8]) -> Result<usize, WaitError> {
        self.steps(|left| {
            stream.set_read_timeout(Some(left))?;
            (&*stream).read(buffer)
        })
    }

    /// Writes some of it, at least a byte.
    pub(super) fn write(&self, stream: &TcpStream, bytes: &[u8]) -> Result<usize, WaitError> {
        let written = self.steps(|left| {
            stream.set_write_timeout(Some(left))?;
            (&*stream).write(bytes)
        })?;
        match written {
            0 => Err(WaitError::Io(io::ErrorKind::WriteZero.into())),
            written => Ok(written),
        }
    }

    /// Writes all of it.
    pub(super) fn write_all(&self, stream: &TcpStream, bytes: &[u8]) -> Result<(), WaitError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let written = self.write(stream, rest)?;
            rest = rest.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    fn steps(
        &self,
        mut step: impl FnMut(Duration) -> io::Result<usize>,
    ) -> Result<usize, WaitError> {
        let began = Instant::now();
        loop {
            let step_left = self.each.saturating_sub(began.elapsed());
            let left = self.left()?.min(step_left.max(Duration::from_micros(100)));
            match step(left) {
                Ok(count) => return Ok(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) => {
                    self.left()?;
                    if began.elapsed() >= self.each {
                        return Err(WaitError::Silent);
                    }
                }
                Err(error) => return Err(WaitError::Io(error)),
            }
        }
    }
}

/// A socket with a timeout says that it would block.
pub(super) fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}
