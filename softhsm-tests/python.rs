//! Python, with the packages from PyPI that the tests use, and our programs for it.

use std::path::{Path, PathBuf};

/// The Python of softhsm-tests/work/venv, which `make_venv` of install.sh makes; `CTK_PYTHON` names another one.
pub fn python() -> PathBuf {
    if let Some(path) = std::env::var_os("CTK_PYTHON") {
        return path.into();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("work/venv/bin/python");
    assert!(
        path.exists(),
        "{} is not there: softhsm-tests/run.sh makes it",
        path.display()
    );
    path
}

/// A program of the folder programs/.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("programs")
        .join(name)
}
