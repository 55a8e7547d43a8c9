//! Which files are believed: only what nobody but the user and root can have written.

use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

/// The largest configuration file that is read, in bytes: room for 10,000 certificates.
pub(crate) const MAX_FILE: u64 = 16 << 20;

/// What a file is used as, and so how closed it must be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Purpose {
    /// It says which keys and PIN files are used: others may read but not write it.
    Configuration,
    /// It is a PIN: others may not even read it.
    Secret,
    /// It is a PIN that systemd placed for one service. Access by an ACL shows as group rights, so these are allowed.
    Credential,
}

impl Purpose {
    fn forbidden(self) -> (u32, &'static str, &'static str) {
        match self {
            Self::Configuration => (0o022, "writable by group or others", "go-w"),
            Self::Secret => (0o077, "open to group or others", "go="),
            Self::Credential => (0o027, "writable by its group or open to others", "g-w,o="),
        }
    }
}

/// Opens a file if it is to be believed. `Ok(None)`: there is none.
///
/// # Errors
/// A sentence for a person, without the file's name.
pub(crate) fn open(path: &Path, euid: u32, purpose: Purpose) -> Result<Option<File>, Refusal> {
    // O_NONBLOCK: a FIFO put in the file's place must not hang the program.
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(Refusal::Closed);
        }
        Err(error) => return Err(Refusal::Unread(error.to_string())),
    };
    let metadata = file
        .metadata()
        .map_err(|error| Refusal::Unread(error.to_string()))?;
    check_file(&metadata, euid, purpose)?;
    check_folders(path, euid)?;
    Ok(Some(file))
}

/// Whether a program may be run in the user's name: nobody but the user and root can have changed it.
///
/// # Errors
/// What is wrong, as the end of a sentence that begins with its name.
pub(crate) fn check_program(path: &Path, euid: u32) -> Result<(), String> {
    let metadata = path.metadata().map_err(|error| match is_absent(&error) {
        true => "does not exist".to_owned(),
        false => format!("cannot be looked at: {error}"),
    })?;
    let checked = check_file(&metadata, euid, Purpose::Configuration);
    match checked.and_then(|()| check_folders(path, euid)) {
        Ok(()) if metadata.mode() & 0o111 == 0 => {
            Err("is not executable (run: chmod u+x on it)".to_owned())
        }
        Ok(()) => Ok(()),
        Err(Refusal::Untrusted(reason)) => Err(reason),
        Err(refusal) => Err(refusal.to_string()),
    }
}

/// Whether this is a file that somebody may run.
pub(crate) fn is_executable(path: &Path) -> bool {
    let metadata = path.metadata();
    metadata.is_ok_and(|metadata| metadata.is_file() && metadata.mode() & 0o111 != 0)
}

/// Reads a configuration file if it is to be believed. `Ok(None)`: there is none.
///
/// # Errors
/// As [`open`], and for more than [`MAX_FILE`] bytes.
pub(crate) fn read(path: &Path, euid: u32) -> Result<Option<Vec<u8>>, Refusal> {
    let Some(file) = open(path, euid, Purpose::Configuration)? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Refusal::Unread(error.to_string()))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Refusal::Untrusted(
            "is larger than 16 MiB, which no configuration needs".into(),
        ));
    }
    Ok(Some(bytes))
}

/// Why a file is not used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Refusal {
    /// The user may not read it.
    Closed,
    /// The system could not read it.
    Unread(String),
    /// Others may have written it.
    Untrusted(String),
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed => f.write_str("not used, because this user may not read it"),
            Self::Unread(error) => write!(f, "cannot be read: {error}"),
            Self::Untrusted(reason) => write!(f, "not used, because it {reason}"),
        }
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn check_file(metadata: &Metadata, euid: u32, purpose: Purpose) -> Result<(), Refusal> {
    if !metadata.is_file() {
        return Err(Refusal::Untrusted("is not a regular file".into()));
    }
    check_owner(metadata, euid).map_err(Refusal::Untrusted)?;
    let (bits, what, mode) = purpose.forbidden();
    if metadata.mode() & bits != 0 {
        return Err(Refusal::Untrusted(format!(
            "is {what} (run: chmod {mode} on it)"
        )));
    }
    Ok(())
}

fn check_owner(metadata: &Metadata, euid: u32) -> Result<(), String> {
    let owner = metadata.uid();
    if owner != euid && owner != 0 {
        return Err(format!(
            "belongs to user {owner}, not to root or the user {euid} who runs this program"
        ));
    }
    Ok(())
}

/// Nobody else may be able to put another file in its place, neither where it is named nor where a link leads to: as
/// sshd's StrictModes, but up to the root.
fn check_folders(path: &Path, euid: u32) -> Result<(), Refusal> {
    let unread = |error: io::Error| Refusal::Unread(error.to_string());
    let named = match path.parent() {
        Some(folder) => folder.canonicalize().map_err(unread)?,
        None => return Ok(()),
    };
    let file = path.canonicalize().map_err(unread)?;
    for folder in [Some(named.as_path()), file.parent()].into_iter().flatten() {
        for ancestor in folder.ancestors() {
            let metadata = ancestor.metadata().map_err(unread)?;
            check_folder(&metadata, euid).map_err(|reason| {
                Refusal::Untrusted(format!("is in {}, which {reason}", ancestor.display()))
            })?;
        }
    }
    Ok(())
}

fn check_folder(metadata: &Metadata, euid: u32) -> Result<(), String> {
    check_owner(metadata, euid)?;
    let mode = metadata.mode();
    // In a sticky folder only the owner of a file can replace it.
    if mode & 0o022 != 0 && mode & 0o1000 == 0 {
        return Err("is writable by group or others (run: chmod go-w on that folder)".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;
    use crate::test_folder::TestFolder;

    fn euid() -> u32 {
        crate::sys::effective_uid()
    }

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn an_absent_file_is_no_error() {
        let folder = TestFolder::new();
        assert_eq!(read(&folder.join("none.toml"), euid()), Ok(None));
        assert_eq!(read(&folder.join("none/none.toml"), euid()), Ok(None));
    }

    #[test]
    fn what_others_can_write_is_not_used() {
        let folder = TestFolder::new();
        let file = folder.write("a.toml", "x");
        assert_eq!(read(&file, euid()), Ok(Some(b"x".to_vec())));
        for mode in [0o620, 0o602, 0o666] {
            chmod(&file, mode);
            let refusal = read(&file, euid()).unwrap_err().to_string();
            assert!(refusal.contains("chmod go-w"), "{refusal}");
        }
        chmod(&file, 0o644);
        assert!(
            open(&file, euid(), Purpose::Configuration)
                .unwrap()
                .is_some()
        );
        assert!(open(&file, euid(), Purpose::Secret).is_err());
        assert!(open(&file, euid(), Purpose::Credential).is_err());
        chmod(&file, 0o440);
        assert!(open(&file, euid(), Purpose::Secret).is_err());
        assert!(open(&file, euid(), Purpose::Credential).unwrap().is_some());
        chmod(&file, 0o600);
        assert!(open(&file, euid(), Purpose::Secret).unwrap().is_some());
    }

    #[test]
    fn a_folder_that_others_can_write_is_not_used() {
        let folder = TestFolder::new();
        let file = folder.write("open/inner/a.toml", "x");
        for open in [folder.join("open"), folder.join("open/inner")] {
            for mode in [0o777, 0o775, 0o757, 0o720] {
                chmod(&open, mode);
                let refusal = read(&file, euid()).unwrap_err().to_string();
                let advice = format!(
                    "is in {}, which is writable by group or others (run: chmod go-w",
                    open.display()
                );
                assert!(refusal.contains(&advice), "{mode:o}: {refusal}");
            }
            chmod(&open, 0o1777);
            assert!(read(&file, euid()).is_ok());
            chmod(&open, 0o755);
            assert!(read(&file, euid()).is_ok());
        }
    }

    #[test]
    fn a_folder_of_another_user_is_not_used_wherever_it_stands() {
        if euid() != 0 {
            println!("skipped: only root can give a folder away");
            return;
        }
        let folder = TestFolder::new();
        let file = folder.write("theirs/ours/a.toml", "x");
        for theirs in ["theirs", "theirs/ours"] {
            let theirs = folder.join(theirs);
            std::os::unix::fs::chown(&theirs, Some(12345), None).unwrap();
            let refusal = read(&file, 0).unwrap_err().to_string();
            let advice = format!("is in {}, which belongs to user 12345", theirs.display());
            assert!(refusal.contains(&advice), "{refusal}");
            std::os::unix::fs::chown(&theirs, Some(0), None).unwrap();
        }
        assert!(read(&file, 0).is_ok());
    }

    #[test]
    fn a_link_is_followed_and_its_target_judged() {
        let folder = TestFolder::new();
        let file = folder.write("open/a.toml", "x");
        let link = folder.join("link.toml");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(read(&link, euid()).is_ok());
        chmod(&folder.join("open"), 0o777);
        assert!(read(&link, euid()).is_err());
    }

    #[test]
    fn only_regular_files_of_the_user_or_root_are_used() {
        let folder = TestFolder::new();
        assert!(read(&folder.join("."), euid()).is_err());
        let file = folder.write("a.toml", "x");
        let owner = fs::metadata(&file).unwrap().uid();
        if owner != 0 {
            let refusal = read(&file, owner + 1).unwrap_err().to_string();
            assert!(refusal.contains("belongs to user"), "{refusal}");
        } else {
            // Root can give a file away, and then does not believe it.
            std::os::unix::fs::chown(&file, Some(12345), None).unwrap();
            let refusal = read(&file, 0).unwrap_err().to_string();
            assert!(refusal.contains("belongs to user 12345"), "{refusal}");
            assert!(read(&file, 12345).is_ok());
        }
    }

    #[test]
    fn a_gigantic_file_is_refused() {
        let folder = TestFolder::new();
        let file = folder.write("a.toml", "");
        File::options()
            .write(true)
            .open(&file)
            .unwrap()
            .set_len(MAX_FILE + 1)
            .unwrap();
        assert!(
            read(&file, euid())
                .unwrap_err()
                .to_string()
                .contains("16 MiB")
        );
        File::options()
            .write(true)
            .open(&file)
            .unwrap()
            .set_len(MAX_FILE)
            .unwrap();
        assert!(read(&file, euid()).is_ok());
    }
}
