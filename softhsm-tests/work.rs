//! A folder of the test's own, gone when the test ends.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

/// A private folder that is removed with all it holds. A failed test keeps it and says where it is.
#[derive(Debug)]
pub struct Work(PathBuf);

static COUNT: AtomicUsize = AtomicUsize::new(0);

impl Work {
    /// A new one.
    pub fn new() -> Self {
        loop {
            let name = format!(
                "ctk-test-{}-{}",
                std::process::id(),
                COUNT.fetch_add(1, Ordering::Relaxed)
            );
            // A short path: Unix sockets have room for 108 bytes.
            let path = std::env::temp_dir().join(name);
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Self(path),
                // Another crate of the tests has compiled this file too, and counts by itself.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => panic!("{}: {error}", path.display()),
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file into it.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).expect("a file of the test");
        path
    }
}

impl Default for Work {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the files of this test are in {}", self.0.display());
        } else {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}
