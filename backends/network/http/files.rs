//! The files that TLS needs, believed only if nobody else can have written them, and read by nobody else where they are
//! secret.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::Read,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use zeroize::Zeroizing;

/// The largest file, in bytes: the roots of a whole system fit in it.
const MAX_FILE: usize = 2 << 20;

/// What others may do with a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Purpose {
    /// Read it.
    Public,
    /// Nothing.
    Secret,
}

/// Tells one state of a file from another.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Stamp {
    inode: u64,
    changed: (i64, i64),
}

/// What a file is now; `None` if it is not there.
pub(super) fn stamp(path: &Path) -> Option<Stamp> {
    fs::metadata(path).ok().map(|metadata| Stamp {
        inode: metadata.ino(),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}

/// Reads a file if it is to be believed: a regular one of root's or the user's own, in folders that nobody else can write,
/// not writable by others, and not readable by them if it is secret.
///
/// # Errors
/// A sentence for a person, with the file's name.
pub(super) fn read(path: &Path, purpose: Purpose) -> Result<Zeroizing<Vec<u8>>, String> {
    read_as(path, purpose, effective_uid())
}

fn read_as(path: &Path, purpose: Purpose, euid: Option<u32>) -> Result<Zeroizing<Vec<u8>>, String> {
    let about = |reason: &str| format!("{}: {reason}", path.display());
    // A FIFO put in the file's place must not hang the program.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(|error| about(&format!("cannot be read: {error}")))?;
    check(&file, path, purpose, euid).map_err(|reason| about(&reason))?;
    // Never grows: what a vector leaves behind is not zeroized.
    let len = file.metadata().map_or(0, |metadata| metadata.len());
    let too_large = || about("is larger than any such file");
    let len = usize::try_from(len).ok().filter(|len| *len <= MAX_FILE);
    let len = len.ok_or_else(too_large)?;
    let mut bytes = Zeroizing::new(vec![0; len + 1]);
    let mut read = 0;
    let mut file = &file;
    while let Some(room) = bytes.get_mut(read..).filter(|room| !room.is_empty()) {
        match file.read(room) {
            Ok(0) => break,
            Ok(count) => read += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(about(&format!("cannot be read: {error}"))),
        }
    }
    if read > len {
        return Err(about("changes while it is read"));
    }
    bytes.truncate(read);
    Ok(bytes)
}

fn check(file: &File, path: &Path, purpose: Purpose, euid: Option<u32>) -> Result<(), String> {
    let unread = |error: std::io::Error| format!("cannot be read: {error}");
    let metadata = file.metadata().map_err(unread)?;
    if !metadata.is_file() {
        return Err("is not a regular file".into());
    }
    check_owner(&metadata, euid)?;
    let (bits, what, mode) = match purpose {
        Purpose::Public => (0o022, "writable by group or others", "go-w"),
        Purpose::Secret => (0o077, "open to group or others", "go="),
    };
    if metadata.mode() & bits != 0 {
        return Err(format!(
            "not used, because it is {what} (run: chmod {mode} on it)"
        ));
    }
    // Nobody else may be able to put another file in its place, neither where it is named nor where a link leads to.
    let named = match path.parent() {
        Some(folder) => folder.canonicalize().map_err(unread)?,
        None => return Ok(()),
    };
    let target = path.canonicalize().map_err(unread)?;
    for folder in [Some(named.as_path()), target.parent()]
        .into_iter()
        .flatten()
    {
        for ancestor in folder.ancestors() {
            let metadata = ancestor.metadata().map_err(unread)?;
            check_owner(&metadata, euid)
                .map_err(|reason| format!("{reason}: {}", ancestor.display()))?;
            // In a sticky folder only the owner of a file can replace it.
            if metadata.mode() & 0o022 != 0 && metadata.mode() & 0o1000 == 0 {
                return Err(format!(
                    "not used, because it is in {}, which is writable by group or others (run: chmod go-w on that \
                     folder)",
                    ancestor.display()
                ));
            }
        }
    }
    Ok(())
}

fn check_owner(metadata: &Metadata, euid: Option<u32>) -> Result<(), String> {
    let owner = metadata.uid();
    if owner == 0 || euid == Some(owner) {
        return Ok(());
    }
    Err(format!(
        "not used, because user {owner} owns it, and not root or the user who runs this program"
    ))
}

/// The user whose rights count now, as the kernel tells it (proc(5)).
fn effective_uid() -> Option<u32> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::http::tests::folder::TestFolder;

    #[test]
    fn a_secret_is_read_by_its_owner_only() {
        let folder = TestFolder::new();
        let file = folder.write("key.pem", b"key");
        let own = effective_uid();
        assert!(own.is_some());
        for (mode, public, secret) in [
            (0o600, true, true),
            (0o400, true, true),
            (0o640, true, false),
            (0o644, true, false),
            (0o620, false, false),
            (0o666, false, false),
        ] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(read(&file, Purpose::Public).is_ok(), public, "{mode:o}");
            let read = read(&file, Purpose::Secret);
            assert_eq!(read.is_ok(), secret, "{mode:o}");
            match read {
                Ok(bytes) => assert_eq!(**bytes, *b"key"),
                Err(reason) => assert!(reason.contains("chmod go="), "{reason}"),
            }
        }
    }

    #[test]
    fn only_root_and_the_user_are_believed() {
        let folder = TestFolder::new();
        let file = folder.write("ca.pem", b"ca");
        let owner = fs::metadata(&file).unwrap().uid();
        if owner == 0 {
            std::os::unix::fs::chown(&file, Some(12345), None).unwrap();
            let refused = read_as(&file, Purpose::Public, Some(0)).unwrap_err();
            assert!(refused.contains("user 12345"), "{refused}");
            assert!(read_as(&file, Purpose::Public, Some(12345)).is_ok());
        } else {
            let refused = read_as(&file, Purpose::Public, Some(owner + 1)).unwrap_err();
            assert!(refused.contains("owns it"), "{refused}");
        }
    }

    #[test]
    fn what_is_no_file_or_too_large_is_refused_without_waiting() {
        let folder = TestFolder::new();
        assert!(read(&folder.path().join("none"), Purpose::Public).is_err());
        assert!(read(folder.path(), Purpose::Public).is_err());
        let fifo = folder.path().join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status();
        assert!(made.unwrap().success());
        assert!(read(&fifo, Purpose::Public).is_err());
        let large = folder.write("large", b"");
        let file = File::options().write(true).open(&large).unwrap();
        file.set_len(MAX_FILE as u64 + 1).unwrap();
        assert!(read(&large, Purpose::Public).is_err());
        file.set_len(MAX_FILE as u64).unwrap();
        assert_eq!(read(&large, Purpose::Public).unwrap().len(), MAX_FILE);
        let open = folder.write("open/ca.pem", b"ca");
        fs::set_permissions(open.parent().unwrap(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(read(&open, Purpose::Public).unwrap_err().contains("go-w"));
        assert_ne!(stamp(&open), stamp(&large));
        assert_eq!(stamp(&open), stamp(&open));
    }
}
