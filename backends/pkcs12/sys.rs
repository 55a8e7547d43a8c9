//! What the system does for a file that is changed. The only file of this crate with `unsafe` in it.
#![allow(unsafe_code)]

use std::{fs::File, io, os::fd::AsRawFd};

/// Locks a file against every other open file description of it, or says at once that another has it
/// ([`io::ErrorKind::WouldBlock`]). The lock ends when the file is closed.
///
/// # Errors
/// What flock(2) says: some network file systems have no locks.
pub(crate) fn try_lock(file: &File) -> io::Result<()> {
    // SAFETY: flock(2) takes numbers only, and the descriptor is open for as long as `file` lives.
    match unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
