//! The module's log: off, unless `CTK_LOG=level[:file]` asks for it. Never standard output, never a
//! secret.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
};

use log::{LevelFilter, Log, Metadata, Record};
use once_cell::sync::OnceCell;

use crate::sys;

/// Where lines go: the file, or standard error.
struct Sink {
    file: File,
}

impl Log for Sink {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let line = format!(
            "ctk-pkcs11[{}] {}: {}\n",
            std::process::id(),
            record.level().as_str().to_ascii_lowercase(),
            record.args()
        );
        // One write, so that lines of several threads do not mix. A log that cannot be written is
        // no reason to fail.
        let _ = (&self.file).write_all(line.as_bytes());
    }

    fn flush(&self) {}
}

/// Starts the log if the environment asks for it. The environment of a program with special rights
/// is not asked.
pub(crate) fn start() {
    static STARTED: OnceCell<()> = OnceCell::new();
    if sys::is_secure_execution() {
        return;
    }
    let Some(setting) = std::env::var_os("CTK_LOG") else {
        return;
    };
    STARTED.get_or_init(|| {
        let setting = setting.to_string_lossy();
        let (level, file) = setting.split_once(':').unwrap_or((&setting, ""));
        let Ok(level) = level.trim().parse::<LevelFilter>() else {
            return;
        };
        // `log` is linked into this library and is nobody else's, so that the program's own logger
        // stays as it is.
        if let Some(sink) = open(file)
            && log::set_logger(Box::leak(Box::new(sink))).is_ok()
        {
            log::set_max_level(level);
        }
    });
}

/// The file, readable by its owner only, or standard error.
fn open(file: &str) -> Option<Sink> {
    let file = if file.is_empty() {
        File::from(std::io::stderr().as_fd().try_clone_to_owned().ok()?)
    } else {
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NOCTTY)
            .open(file)
            .ok()?
    };
    Some(Sink { file })
}
