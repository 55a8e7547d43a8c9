//! What the standard library lacks: values that a forked child does not inherit, and AT_SECURE.
#![allow(unsafe_code)]

use std::{
    ptr::null_mut,
    sync::atomic::{AtomicPtr, Ordering},
};

/// A value that is made at first use, once in each process, and lives as long as the process.
///
/// A forked child starts without one. The parent's value stays behind untouched and unreachable:
/// its locks may be held by threads that do not exist in the child, and its sockets and cards are
/// the parent's.
#[derive(Debug)]
pub(crate) struct PerProcess<T: 'static> {
    anchor: AtomicPtr<Anchor<T>>,
}

/// Where the value is found.
#[derive(Debug)]
struct Anchor<T: 'static> {
    /// Lies in a page that the kernel empties in a forked child, so that noticing a fork costs no
    /// system call.
    current: &'static AtomicPtr<Entry<T>>,
    /// Whether the kernel really does (Linux 4.14 and later).
    emptied: bool,
}

#[derive(Debug)]
struct Entry<T> {
    /// The process that made it, to compare with, where the kernel does not empty the page.
    process: Option<libc::pid_t>,
    value: T,
}

impl<T: Send + Sync> PerProcess<T> {
    pub(crate) const fn new() -> Self {
        Self {
            anchor: AtomicPtr::new(null_mut()),
        }
    }

    /// This process's value, if it has been made.
    pub(crate) fn get(&self) -> Option<&'static T> {
        // SAFETY: NULL, or an anchor that is never freed once it stands here.
        let anchor = unsafe { self.anchor.load(Ordering::Acquire).as_ref() }?;
        own(anchor.current.load(Ordering::Acquire))
    }

    /// This process's value, made by `make` if there is none. With several threads at once, all get
    /// the same.
    pub(crate) fn get_or_make(&self, make: impl Fn() -> T) -> &'static T {
        let Anchor { current, emptied } = self.anchor();
        let process = (!emptied).then(process_id);
        loop {
            let old = current.load(Ordering::Acquire);
            if let Some(value) = own(old) {
                return value;
            }
            let new = Box::into_raw(Box::new(Entry {
                process,
                value: make(),
            }));
            if current
                .compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire)
                .is_err()
            {
                // SAFETY: made two lines above and not published.
                drop(unsafe { Box::from_raw(new) });
            }
        }
    }

    fn anchor(&self) -> &'static Anchor<T> {
        let old = self.anchor.load(Ordering::Acquire);
        // SAFETY: NULL, or an anchor that is never freed once it stands here.
        if let Some(anchor) = unsafe { old.as_ref() } {
            return anchor;
        }
        let page = emptied_page().map(|page| {
            // SAFETY: a fresh page of zeros, which is a null pointer, aligned and never unmapped.
            unsafe { &*page.cast::<AtomicPtr<Entry<T>>>() }
        });
        let new = Box::leak(Box::new(Anchor {
            emptied: page.is_some(),
            current: page.unwrap_or_else(|| Box::leak(Box::new(AtomicPtr::new(null_mut())))),
        }));
        match self
            .anchor
            .compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire)
        {
            Ok(_) => new,
            // A page that lost this race is leaked: it happens once in a process, if ever.
            // SAFETY: an anchor that stands there is never freed.
            Err(winner) => unsafe { &*winner },
        }
    }
}

/// The value of `entry`, if there is one and this process made it.
fn own<T>(entry: *mut Entry<T>) -> Option<&'static T> {
    // SAFETY: NULL, or an entry that is never freed once it is published.
    let entry = unsafe { entry.as_ref() }?;
    match entry.process {
        Some(process) if process != process_id() => None,
        _ => Some(&entry.value),
    }
}

/// A page of zeros that is zeros again in a forked child.
fn emptied_page() -> Option<*mut libc::c_void> {
    // SAFETY: no arguments.
    let len = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()?;
    // SAFETY: a new mapping, of nobody's memory.
    let page = unsafe {
        libc::mmap(
            null_mut(),
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if page == libc::MAP_FAILED {
        return None;
    }
    // SAFETY: the mapping made above.
    if unsafe { libc::madvise(page, len, libc::MADV_WIPEONFORK) } == 0 {
        return Some(page);
    }
    // SAFETY: the mapping made above, which nobody else knows.
    unsafe { libc::munmap(page, len) };
    None
}

fn process_id() -> libc::pid_t {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::getpid() }
}

/// Whether the program runs with more rights than who started it (AT_SECURE): its environment is
/// not to be trusted.
pub(crate) fn is_secure_execution() -> bool {
    // SAFETY: reads a value that the kernel passed to the process.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forked_child_starts_without_the_value() {
        static VALUE: PerProcess<u32> = PerProcess::new();
        assert_eq!(VALUE.get(), None);
        assert_eq!(VALUE.get_or_make(|| 7), &7);
        assert_eq!(VALUE.get_or_make(|| 8), &7);
        // SAFETY: the child only reads and writes memory of its own and leaves with _exit.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let right = VALUE.get().is_none() && *VALUE.get_or_make(|| 9) == 9;
            // SAFETY: ends the child.
            unsafe { libc::_exit(i32::from(!right)) };
        }
        let mut status = -1;
        // SAFETY: waits for the child made above.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0);
        assert_eq!(VALUE.get(), Some(&7));
    }
}
