//! What the standard library does not tell about this process. The only file of this crate with `unsafe` in it.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
    time::Duration,
};

/// Whether the kernel started this program with more rights than its caller has (setuid, setgid, file capabilities).
/// Such a program must not believe what its caller can write: environment, home directory (getauxval(3), AT_SECURE).
pub(crate) fn is_secure_execution() -> bool {
    // SAFETY: getauxval takes any value and only reads the vector that the kernel gave to the process.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// The user whose rights count now.
pub(crate) fn effective_uid() -> u32 {
    // SAFETY: geteuid has no arguments, no memory and no failure.
    unsafe { libc::geteuid() }
}

/// The user who started the program.
pub(crate) fn real_uid() -> u32 {
    // SAFETY: getuid has no arguments, no memory and no failure.
    unsafe { libc::getuid() }
}

/// The group whose rights count now.
pub(crate) fn effective_gid() -> u32 {
    // SAFETY: getegid has no arguments, no memory and no failure.
    unsafe { libc::getegid() }
}

/// The group of who started the program.
pub(crate) fn real_gid() -> u32 {
    // SAFETY: getgid has no arguments, no memory and no failure.
    unsafe { libc::getgid() }
}

/// Waits until there is something to read, or the end, for at most so long; says whether there is. A signal ends the
/// wait early.
pub(crate) fn is_readable(file: BorrowedFd<'_>, wait: Duration) -> io::Result<bool> {
    let mut asked = libc::pollfd {
        fd: file.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    let wait = libc::c_int::try_from(wait.as_millis()).unwrap_or(libc::c_int::MAX);
    // SAFETY: `asked` is one pollfd that outlives the call, and its file is borrowed for as long.
    let ready = unsafe { libc::poll(&raw mut asked, 1, wait) };
    match ready {
        -1 => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            error => Err(error),
        },
        ready => Ok(ready > 0),
    }
}

/// Ends a process group. The caller has started its leader and not yet waited for it, so that the number is still its.
pub(crate) fn kill_group(leader: u32) {
    if let Ok(leader @ 2..) = libc::pid_t::try_from(leader) {
        // SAFETY: kill has no memory; a negative number of more than 1 names one group and nobody else.
        unsafe { libc::kill(-leader, libc::SIGKILL) };
    }
}
