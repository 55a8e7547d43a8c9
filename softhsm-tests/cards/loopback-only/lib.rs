//! Preloaded into pcscd: vpcd listens on every address of the machine and cannot be told otherwise.

use libc::{
    AF_INET, INADDR_ANY, INADDR_LOOPBACK, SYS_bind, c_int, sockaddr, sockaddr_in, socklen_t,
};

/// bind(2), but whoever wants any address gets 127.0.0.1.
///
/// # Safety
///
/// As for bind(2): `address` is null or points to `length` readable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bind(socket: c_int, address: *const sockaddr, length: socklen_t) -> c_int {
    let mut loopback;
    let mut chosen = address;
    if !address.is_null() && length as usize == size_of::<sockaddr_in>() {
        // SAFETY: the caller's address has as many bytes, and every bit pattern is a sockaddr_in.
        loopback = unsafe { address.cast::<sockaddr_in>().read_unaligned() };
        if c_int::from(loopback.sin_family) == AF_INET && loopback.sin_addr.s_addr == INADDR_ANY {
            loopback.sin_addr.s_addr = INADDR_LOOPBACK.to_be();
            chosen = (&raw const loopback).cast();
        }
    }
    // SAFETY: the caller's pointer and length, or those of `loopback`, which is as long. The system call sets errno as the
    // function does.
    let result = unsafe { libc::syscall(SYS_bind, socket, chosen, length) };
    c_int::try_from(result).unwrap_or(-1)
}
