//! What the standard library lacks: values that a forked child does not inherit, work for the end of
//! the process, a thread's number, and writing without SIGPIPE.
#![allow(unsafe_code)]

use std::{
    mem::MaybeUninit,
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

/// Has `work` done when the process ends by exit() or by a return from main. This library is never
/// unloaded before (build.rs), so that `work` is still there. Says whether it will be done.
pub(crate) fn at_exit(work: extern "C" fn()) -> bool {
    // SAFETY: a function that lives as long as the process; `extern "C"` lets no panic through.
    unsafe { libc::atexit(work) == 0 }
}

/// The calling thread's number, never 0. Asked of the kernel: a thread-local variable of a loaded
/// library is allocated at its first use.
pub(crate) fn thread_id() -> i64 {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::syscall(libc::SYS_gettid) }
}

/// Does `write` without the SIGPIPE that a pipe or socket without a reader causes and that would
/// end the program: it is blocked for this thread, and taken away if it came. One that waited
/// before stays.
pub(crate) fn without_sigpipe<T>(write: impl FnOnce() -> T) -> T {
    let mut pipe = empty_set();
    // SAFETY: a set of our own and a signal that exists.
    unsafe { libc::sigaddset(&raw mut pipe, libc::SIGPIPE) };
    if is_pending(libc::SIGPIPE) {
        // It is blocked, or it would not wait, and another one adds nothing to it.
        return write();
    }
    let mut before = empty_set();
    // SAFETY: both are sets of our own.
    if unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const pipe, &raw mut before) } != 0 {
        return write();
    }
    let result = write();
    if is_pending(libc::SIGPIPE) {
        let now = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: a set and a time of our own; NULL asks for no details.
        unsafe { libc::sigtimedwait(&raw const pipe, null_mut(), &raw const now) };
    }
    // SAFETY: the mask from above; NULL asks for nothing.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, null_mut()) };
    result
}

fn empty_set() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: makes a set of the place, whatever was in it.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        set.assume_init()
    }
}

fn is_pending(signal: libc::c_int) -> bool {
    let mut pending = empty_set();
    // SAFETY: a set of our own and a signal that exists.
    unsafe {
        libc::sigpending(&raw mut pending) == 0
            && libc::sigismember(&raw const pending, signal) == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writing_to_a_pipe_without_reader_ends_nobody_and_keeps_a_signal_that_waited() {
        use std::io::Write;
        let (reader, mut writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut write_fails = || without_sigpipe(|| writer.write(b"line")).is_err();
        // SAFETY: the child works on its own memory and signals, and leaves with _exit.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: a Rust test ignores the signal that kills a C program; `set` is ours.
            unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
            let quiet = write_fails() && !is_pending(libc::SIGPIPE);
            let mut set = empty_set();
            // SAFETY: `set` is ours.
            unsafe {
                libc::sigaddset(&raw mut set, libc::SIGPIPE);
                libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, null_mut());
                libc::raise(libc::SIGPIPE);
            }
            let kept = write_fails() && is_pending(libc::SIGPIPE);
            // SAFETY: ends the child.
            unsafe { libc::_exit(i32::from(!(quiet && kept))) };
        }
        let mut status = -1;
        // SAFETY: waits for the child made above.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0);
    }

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
