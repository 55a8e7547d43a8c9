//! Reads a file, if it is one and not absurdly long.

use std::{
    fs::{File, OpenOptions},
    io::{Error, ErrorKind, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use ctk_token::{Reason, Result, TokenError};
use zeroize::Zeroizing;

use crate::budget::MAX_FILE;

/// The bytes of `file`; zeroized when dropped, because a file may hold keys in the clear. `missing`
/// says what to do if it is gone.
///
/// # Errors
/// [`TokenError::Unreachable`] if it cannot be read, [`TokenError::Corrupted`] if it is no file or
/// longer than [`MAX_FILE`].
pub(crate) fn read(file: &Path, missing: &str) -> Result<Zeroizing<Vec<u8>>> {
    read_opened(&open(file, missing)?, file)
}

/// Opens a regular file to be read.
///
/// # Errors
/// As [`read`].
pub(crate) fn open(file: &Path, missing: &str) -> Result<File> {
    // O_NONBLOCK, because opening a FIFO would wait for a writer. What was opened is looked at, not
    // the name: it may be another file by now. (The standard library adds O_CLOEXEC.)
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(file)
        .map_err(|error| unreachable(file, missing, &error))?;
    let metadata = opened.metadata();
    let metadata = metadata.map_err(|error| unreachable(file, missing, &error))?;
    if !metadata.is_file() {
        return Err(corrupted(file, "not a regular file"));
    }
    Ok(opened)
}

/// The bytes of what was opened as `file`, from where it stands.
///
/// # Errors
/// As [`read`].
pub(crate) fn read_opened(mut opened: &File, file: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let failed = |error: Error| unreachable(file, "check the path", &error);
    let len = opened.metadata().map_err(failed)?.len();
    let too_long = || {
        let what = format!("longer than {} MiB, so not a PKCS#12 file", MAX_FILE >> 20);
        corrupted(file, &what)
    };
    if len > MAX_FILE {
        return Err(too_long());
    }
    // One byte more than its length, so that the buffer does not move when the end is looked for.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(len).unwrap_or(0) + 1));
    Read::by_ref(&mut opened)
        .take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(too_long());
    }
    Ok(bytes)
}

/// Why the system does not give a file.
pub(crate) fn unreachable(file: &Path, missing: &str, error: &Error) -> TokenError {
    let shown = file.display();
    TokenError::Unreachable(Reason::new(match error.kind() {
        ErrorKind::NotFound => format!("{shown}: no such file: {missing}"),
        ErrorKind::PermissionDenied => {
            format!(
                "{shown}: this program may not read it: check the \
                 owner and mode of the file and its folders"
            )
        }
        _ => format!("{shown}: {error}"),
    }))
}

fn corrupted(file: &Path, what: &str) -> TokenError {
    TokenError::Corrupted(Reason::new(format!("{}: {what}", file.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifo_is_not_waited_for() {
        let path = std::env::temp_dir().join(format!("ctk-pkcs12-fifo-{}", std::process::id()));
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        let answer = read(&path, "");
        std::fs::remove_file(&path).unwrap();
        assert!(
            matches!(answer, Err(TokenError::Corrupted(_))),
            "{answer:?}"
        );
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let missing = read(Path::new("/nonexistent/work.p12"), "put it back");
        let Err(TokenError::Unreachable(reason)) = missing else {
            panic!("{missing:?}")
        };
        assert_eq!(
            reason.as_str(),
            "/nonexistent/work.p12: no such file: put it back"
        );
        for special in ["/", "/dev/zero"] {
            let answer = read(Path::new(special), "");
            assert!(
                matches!(answer, Err(TokenError::Corrupted(_))),
                "{special}: {answer:?}"
            );
        }
    }
}
