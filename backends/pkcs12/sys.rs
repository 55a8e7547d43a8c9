//! What the system does for a file that is changed. The only file of this crate with `unsafe` in it.
#![allow(unsafe_code)]

use std::{ffi::CStr, fs::File, io, os::fd::AsRawFd};

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

/// Where Linux keeps the access control list of a file (acl(5)).
const ACCESS_LIST: &CStr = c"system.posix_acl_access";

/// Gives `to` the access control list of `from`, or none: its folder may have given it one.
///
/// # Errors
/// What fsetxattr(2) says, and the other calls but for there being no list.
pub(crate) fn copy_access_list(from: &File, to: &File) -> io::Result<()> {
    // The longest value that there is (xattr(7)).
    let mut list = vec![0_u8; 64 * 1024];
    // SAFETY: the descriptor is open, the name ends with a zero, and the call writes at most as many
    // bytes as the list has.
    let len = unsafe {
        libc::fgetxattr(
            from.as_raw_fd(),
            ACCESS_LIST.as_ptr(),
            list.as_mut_ptr().cast(),
            list.len(),
        )
    };
    let Ok(len) = usize::try_from(len) else {
        let error = io::Error::last_os_error();
        return match is_no_list(&error) {
            true => remove_access_list(to),
            false => Err(error),
        };
    };
    // SAFETY: as above; the call reads as many bytes as it has just been given.
    let set = unsafe {
        libc::fsetxattr(
            to.as_raw_fd(),
            ACCESS_LIST.as_ptr(),
            list.as_ptr().cast(),
            len.min(list.len()),
            0,
        )
    };
    match set {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn remove_access_list(file: &File) -> io::Result<()> {
    // SAFETY: as above.
    let removed = unsafe { libc::fremovexattr(file.as_raw_fd(), ACCESS_LIST.as_ptr()) };
    let error = io::Error::last_os_error();
    match removed == 0 || is_no_list(&error) {
        true => Ok(()),
        false => Err(error),
    }
}

fn is_no_list(error: &io::Error) -> bool {
    let number = error.raw_os_error();
    matches!(number, Some(libc::ENODATA | libc::ENOTSUP | libc::ENOSYS))
}

/// The list of a file, empty if there is none.
#[cfg(test)]
pub(crate) fn access_list(file: &File) -> Vec<u8> {
    let mut list = vec![0; 1024];
    // SAFETY: as in `copy_access_list`.
    let len = unsafe {
        libc::fgetxattr(
            file.as_raw_fd(),
            ACCESS_LIST.as_ptr(),
            list.as_mut_ptr().cast(),
            list.len(),
        )
    };
    list.truncate(usize::try_from(len).unwrap_or(0));
    list
}

/// Gives a file this list; says whether its file system has lists.
#[cfg(test)]
pub(crate) fn set_access_list(file: &File, list: &[u8]) -> bool {
    // SAFETY: as above.
    let set = unsafe {
        libc::fsetxattr(
            file.as_raw_fd(),
            ACCESS_LIST.as_ptr(),
            list.as_ptr().cast(),
            list.len(),
            0,
        )
    };
    set == 0
}
