//! What the system does for the command: loading a shared object, to see whether programs can, giving the terminal back its
//! echo, telling of a signal to end, and the time. The only file of this crate with `unsafe` in it.
#![allow(unsafe_code)]

use std::{
    fs::File,
    mem::MaybeUninit,
    os::fd::AsRawFd,
    path::Path,
    ptr,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use libc::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, c_int, sigaction, termios};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

/// Loads the module and looks for the function with which programs begin. Nothing of it is called.
///
/// # Errors
/// What the loader says.
pub(crate) fn check_module(path: &Path) -> Result<(), String> {
    // SAFETY: loading runs the object's initialisers; it is our own module, which has none that ask anything of their
    // caller.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) };
    let library = library.map_err(|error| error.to_string())?;
    // SAFETY: the symbol is only looked up, so its type does not matter.
    let found = unsafe { library.get::<*const ()>(b"C_GetFunctionList\0") }.is_ok();
    // Unloading is the loader's and the module's affair, and not what is asked here.
    std::mem::forget(library);
    match found {
        true => Ok(()),
        false => Err("it has no C_GetFunctionList, so it is not a PKCS#11 module".to_owned()),
    }
}

/// The terminal with the settings that it had before a question.
static TERMINAL: OnceLock<(File, termios)> = OnceLock::new();

/// While it lives, a signal that ends the command gives the terminal its settings back first. Else a person would type
/// blindly after Ctrl-C, for whoever reads a password switches the echo off.
pub(crate) struct EchoKept(Vec<(c_int, sigaction)>);

impl EchoKept {
    /// For the terminal as it is at the first call.
    pub(crate) fn new() -> Self {
        if TERMINAL.get().is_none()
            && let Some(terminal) = terminal()
        {
            let _ = TERMINAL.set(terminal);
        }
        let signals = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];
        Self(signals.into_iter().filter_map(catch).collect())
    }
}

impl Drop for EchoKept {
    fn drop(&mut self) {
        for (signal, old) in &self.0 {
            // SAFETY: `old` is what sigaction(2) gave for this signal.
            unsafe { sigaction(*signal, old, ptr::null_mut()) };
        }
    }
}

/// Whether a signal has told the command to end.
static ENDED: AtomicBool = AtomicBool::new(false);

/// From now on the signals that end a command only set what is returned; a second one ends it as ever.
pub(crate) fn end_by_signal() -> &'static AtomicBool {
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        set_handler(signal, note_end);
    }
    &ENDED
}

extern "C" fn note_end(_: c_int) {
    ENDED.store(true, Ordering::Relaxed);
}

/// The time of day where the person is, like `14:03:22`.
pub(crate) fn local_clock() -> String {
    let mut parts = MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: there is room for the answer, and the time that is pointed to lives as long as the call.
    let known = unsafe { !libc::localtime_r(&now(), parts.as_mut_ptr()).is_null() };
    // SAFETY: localtime_r has filled it in, or it is all zeros, which it may be.
    let parts = unsafe { parts.assume_init() };
    match known {
        true => format!(
            "{:02}:{:02}:{:02}",
            parts.tm_hour, parts.tm_min, parts.tm_sec
        ),
        false => "--:--:--".to_owned(),
    }
}

/// The time in UTC, as RFC 3339 writes it.
pub(crate) fn utc_time() -> String {
    let seconds = u64::try_from(now()).unwrap_or(0);
    let since = std::time::Duration::from_secs(seconds);
    x509_cert::der::DateTime::from_unix_duration(since)
        .map(|time| time.to_string())
        .unwrap_or_default()
}

fn now() -> libc::time_t {
    // SAFETY: without a place for the answer it is only returned.
    unsafe { libc::time(ptr::null_mut()) }
}

fn terminal() -> Option<(File, termios)> {
    let file = File::open("/dev/tty").ok()?;
    let mut settings = MaybeUninit::uninit();
    // SAFETY: the descriptor is open, and there is room for the settings.
    let read = unsafe { libc::tcgetattr(file.as_raw_fd(), settings.as_mut_ptr()) };
    // SAFETY: tcgetattr has filled them in.
    (read == 0).then(|| (file, unsafe { settings.assume_init() }))
}

/// Sets the handler of a signal that would end the command, and gives its old action.
fn catch(signal: c_int) -> Option<(c_int, sigaction)> {
    // SAFETY: all zeros is a `sigaction` without flags, with an empty mask and the default action.
    let mut old: sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: only asks; there is room for the answer.
    let asked = unsafe { sigaction(signal, ptr::null(), &raw mut old) };
    if asked != 0 || old.sa_sigaction != libc::SIG_DFL {
        return None;
    }
    set_handler(signal, give_back).then_some((signal, old))
}

/// Sets a handler that does only what a handler may. It is called once: then the signal does again what it does by itself.
fn set_handler(signal: c_int, handler: extern "C" fn(c_int)) -> bool {
    // SAFETY: all zeros is a `sigaction` without flags, with an empty mask and the default action.
    let mut new: sigaction = unsafe { std::mem::zeroed() };
    new.sa_sigaction = handler as libc::sighandler_t;
    new.sa_flags = libc::SA_RESETHAND;
    // SAFETY: the handlers here do only what a handler may, see there.
    unsafe { sigaction(signal, &raw const new, ptr::null_mut()) == 0 }
}

extern "C" fn give_back(signal: c_int) {
    if let Some((file, settings)) = TERMINAL.get() {
        // SAFETY: tcsetattr is async-signal-safe (signal-safety(7)), and the file is never closed.
        unsafe { libc::tcsetattr(file.as_raw_fd(), libc::TCSANOW, settings) };
    }
    // SAFETY: raise is async-signal-safe. SA_RESETHAND made the default action the signal's again, so that it ends the
    // command as soon as this returns, and whoever waits for it sees why.
    unsafe { libc::raise(signal) };
}
