//! The one system call that Rust's library lacks.
#![allow(unsafe_code)]

use std::{io, mem::size_of_val, net::TcpStream, os::fd::AsRawFd as _};

/// Acknowledges what comes next at once. The kernel forgets this by itself, so it is to be said before each read: vpcd sends a
/// length and a command in two packets, and waits for the first acknowledgement before the second (44 ms when it is delayed).
pub(crate) fn acknowledge_at_once(stream: &TcpStream) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of_val(&on)).expect("four bytes");
    // SAFETY: the descriptor is open as long as `stream` lives, and the option's value is an int of the length given.
    let result = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_QUICKACK,
            (&raw const on).cast(),
            length,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
