//! What the standard library does not tell about this process. The only file of this crate with `unsafe` in it.
#![allow(unsafe_code)]

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
