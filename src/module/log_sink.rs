//! The module's log: off, unless `CTK_LOG=level[:file]` asks for it. Never standard output, never a
//! secret.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
    sync::atomic::{AtomicBool, Ordering},
};

use ctk_host::Environment;
use log::{LevelFilter, Log, Metadata, Record};

use crate::sys;

/// Where lines go: the file, or standard error.
struct Sink {
    file: File,
}

impl Log for Sink {
    /// Only our own crates are heard: an HTTP library logs, at the level of traces, every byte that a service answers.
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level() && metadata.target().starts_with("ctk_")
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
        // no reason to fail, nor one whose reader has gone.
        let _ = sys::without_sigpipe(|| (&self.file).write_all(line.as_bytes()));
    }

    fn flush(&self) {}
}

/// Starts the log, once, if the environment asks for it, with the crypto library that this module
/// really has. The environment of a program with special rights is not asked.
pub(crate) fn start(environment: &Environment) {
    // Nothing that a thread could be in the middle of while another one forks.
    static STARTED: AtomicBool = AtomicBool::new(false);
    if environment.secure {
        return;
    }
    let Some(setting) = (environment.variable)("CTK_LOG") else {
        return;
    };
    if STARTED.swap(true, Ordering::Relaxed) {
        return;
    }
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
        // Asked for only where the line is written.
        log::info!("crypto library: {}", ctk_crypto::library_version());
    }
}

/// The regular file, readable by its owner only, or standard error. A FIFO would keep the program
/// waiting for a reader.
fn open(file: &str) -> Option<Sink> {
    let file = if file.is_empty() {
        File::from(std::io::stderr().as_fd().try_clone_to_owned().ok()?)
    } else {
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NOCTTY | libc::O_NONBLOCK)
            .open(file)
            .ok()
            .filter(|file| file.metadata().is_ok_and(|metadata| metadata.is_file()))?
    };
    Some(Sink { file })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_other_libraries_log_is_not_written() {
        log::set_max_level(LevelFilter::Trace);
        let sink = Sink {
            file: File::open("/dev/null").unwrap(),
        };
        let heard = |target| {
            let mut metadata = Metadata::builder();
            let metadata = metadata.level(log::Level::Error).target(target).build();
            sink.enabled(&metadata)
        };
        assert!(heard(module_path!()));
        assert!(heard("ctk_network::http::client"));
        assert!(!heard("ureq_proto::util"));
        assert!(!heard("ureq::run"));
    }

    #[test]
    fn the_log_is_a_regular_file_and_opening_it_never_waits() {
        let folder = std::env::temp_dir().join(format!("ctk-log-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        let made = std::process::Command::new("mkfifo")
            .arg(path("fifo"))
            .status();
        assert!(made.unwrap().success());
        std::os::unix::fs::symlink(path("file"), path("link")).unwrap();
        assert!(open(&path("fifo")).is_none());
        let _reader = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path("fifo"))
            .unwrap();
        assert!(open(&path("fifo")).is_none());
        assert!(open("/dev/null").is_none());
        assert!(open(&path("link")).is_none());
        assert!(open(&path("file")).is_some());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
