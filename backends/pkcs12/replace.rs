//! Replaces a file so that there is a whole one at every moment, whenever the process or the machine
//! stops: the new one is written beside it, and then takes its name.

use std::{
    ffi::OsString,
    fs::{self, File, Metadata, OpenOptions, Permissions},
    io::{Error, ErrorKind, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use ctk_token::{Reason, Result, TokenError};
use zeroize::Zeroizing;

use crate::{file, sys};

/// How long another change of the same file is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// A file that is being changed. As long as this lives, no other process or thread that goes by
/// these rules changes it.
pub(crate) struct Change {
    /// Without symbolic links, which stay what they are.
    path: PathBuf,
    opened: File,
    metadata: Metadata,
    /// Whether nobody else is at it: some file systems have no locks.
    is_locked: bool,
}

impl Change {
    /// Begins to change a file, once nobody else does.
    ///
    /// # Errors
    /// [`TokenError::ReadOnly`] for a file that may not be written, [`TokenError::Unreachable`] if
    /// another change does not end, and as [`file::read`].
    pub(crate) fn begin(file: &Path, missing: &str) -> Result<Self> {
        Self::begin_with(file, missing, sys::try_lock)
    }

    fn begin_with(
        file: &Path,
        missing: &str,
        try_lock: fn(&File) -> std::io::Result<()>,
    ) -> Result<Self> {
        let end = Instant::now() + PATIENCE;
        loop {
            let path = file.canonicalize();
            let path = path.map_err(|error| file::unreachable(file, missing, &error))?;
            let opened = file::open(&path, missing)?;
            let is_locked = lock(&opened, &path, end, try_lock)?;
            let metadata = opened.metadata();
            let metadata = metadata.map_err(|error| file::unreachable(&path, missing, &error))?;
            // While it was waited for, another file may have got the name.
            if is_at(&path, &metadata) {
                refuse_read_only(&path, &metadata)?;
                return Ok(Self {
                    path,
                    opened,
                    metadata,
                    is_locked,
                });
            }
            if !is_locked || Instant::now() >= end {
                return Err(busy(&path));
            }
        }
    }

    /// What is in it.
    ///
    /// # Errors
    /// As [`file::read`].
    pub(crate) fn read(&self) -> Result<Zeroizing<Vec<u8>>> {
        file::read_opened(&self.opened, &self.path)
    }

    /// Puts a file with these bytes in its place, with the same owner and mode.
    ///
    /// # Errors
    /// [`TokenError::ReadOnly`] if its folder may not be written or the owner cannot be kept,
    /// [`TokenError::Unreachable`] if it has changed meanwhile or there is no room. The file is what
    /// it was then.
    pub(crate) fn commit(self, bytes: &[u8]) -> Result<()> {
        self.commit_watched(bytes, &mut |_| Ok(()))
    }

    /// The same with somebody who is told of each step before it is taken, and may fail it.
    fn commit_watched(self, bytes: &[u8], watch: &mut dyn FnMut(Step) -> Watched) -> Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let new = self.temporary().map(|name| folder.join(name))?;
        let mut made = None;
        let written = self.write(&new, bytes, &mut made, watch).and_then(|()| {
            watch(Step::Rename)?;
            // Once more, as late as can be: without a lock nothing else keeps two changes apart.
            match is_own(&new, made) && is_at(&self.path, &self.metadata) {
                true => fs::rename(&new, &self.path),
                false => Err(Error::other(CHANGED)),
            }
        });
        if let Err(error) = written {
            // What is left behind has the keys under the new password; nobody is to find it.
            if is_own(&new, made) {
                let _ = fs::remove_file(&new);
            }
            return Err(self.refused(&error));
        }
        // The new file counts from here on. That the disk knows of it is worth a wait, and no error.
        let synced = watch(Step::SyncFolder).and_then(|()| File::open(folder)?.sync_all());
        if let Err(error) = synced {
            log::warn!("{}: {error}", folder.display());
        }
        Ok(())
    }

    /// `made` tells which file is ours, once it is made.
    fn write(
        &self,
        new: &Path,
        bytes: &[u8],
        made: &mut Option<Identity>,
        watch: &mut dyn FnMut(Step) -> Watched,
    ) -> Watched {
        watch(Step::Create)?;
        if self.is_locked {
            // What a process left that was killed. Nobody is writing it: the lock is ours.
            match fs::remove_file(new) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(new)?;
        let (old, new) = (&self.metadata, file.metadata()?);
        *made = Some((new.dev(), new.ino()));
        watch(Step::Own)?;
        if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
            fchown(&file, Some(old.uid()), Some(old.gid()))?;
        }
        // After the owner, whose change takes bits away. With an access control list the bits of the
        // group are its mask: the group itself may have had nothing, so the list comes first, and
        // the mode, which is the same then, with it.
        sys::copy_access_list(&self.opened, &file)?;
        file.set_permissions(Permissions::from_mode(old.mode() & 0o7777))?;
        watch(Step::Write)?;
        file.write_all(bytes)?;
        watch(Step::Sync)?;
        file.sync_all()?;
        watch(Step::Compare)?;
        match is_at(&self.path, old) {
            true => Ok(()),
            false => Err(Error::other(CHANGED)),
        }
    }

    /// A name in the folder of the file that is always the same for it, so that what a killed process
    /// left is found. Where there are no locks it is another each time: somebody else may be writing
    /// one.
    fn temporary(&self) -> Result<OsString> {
        let file = self.metadata.ino();
        if self.is_locked {
            return Ok(format!(".ctk-{file:x}.new").into());
        }
        let mut number = [0; 8];
        ctk_crypto::random(&mut number)?;
        let number = u64::from_ne_bytes(number);
        Ok(format!(".ctk-{file:x}-{number:016x}.new").into())
    }

    fn refused(&self, error: &Error) -> TokenError {
        match error.kind() {
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => read_only(
                &self.path,
                "this user needs the right to write to its folder, and to \
                           give a file to its owner and group",
            ),
            _ => unchanged(&self.path, &error.to_string()),
        }
    }
}

/// Device and inode of a file.
type Identity = (u64, u64);

/// Whether the file of this name is the one that was made.
fn is_own(path: &Path, made: Option<Identity>) -> bool {
    let now = fs::symlink_metadata(path).map(|now| (now.dev(), now.ino()));
    now.is_ok_and(|now| made == Some(now))
}

/// What comes of one step.
type Watched = std::io::Result<()>;

/// The steps of a replacement, in this order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    Create,
    Own,
    Write,
    Sync,
    Compare,
    Rename,
    SyncFolder,
}

const CHANGED: &str = "another program has changed it meanwhile: try again";

/// Waits until `end` for the lock; says whether there is one.
fn lock(
    opened: &File,
    path: &Path,
    end: Instant,
    try_lock: fn(&File) -> std::io::Result<()>,
) -> Result<bool> {
    loop {
        match try_lock(opened) {
            Ok(()) => return Ok(true),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            // A file system without locks. The comparison before the end still finds most others.
            Err(error) => {
                log::debug!("{}: no lock: {error}", path.display());
                return Ok(false);
            }
        }
        if Instant::now() >= end {
            return Err(busy(path));
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Whether the file of this name is still the one that was opened, as it was then.
fn is_at(path: &Path, opened: &Metadata) -> bool {
    let facts = |file: &Metadata| {
        (
            (file.dev(), file.ino(), file.len()),
            (
                file.mtime(),
                file.mtime_nsec(),
                file.ctime(),
                file.ctime_nsec(),
            ),
        )
    };
    fs::symlink_metadata(path).is_ok_and(|now| facts(&now) == facts(opened))
}

/// A file that nobody may write to is not to be changed, even where its folder would let us.
fn refuse_read_only(path: &Path, metadata: &Metadata) -> Result<()> {
    // The superuser may write to any; whoever took the bits away meant them all the same.
    let refused = match metadata.mode() & 0o222 {
        0 => Err(ErrorKind::PermissionDenied.into()),
        _ => OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(path)
            .map(drop),
    };
    match refused {
        Ok(()) => Ok(()),
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem
            ) =>
        {
            Err(read_only(path, "this user may not write to it"))
        }
        Err(error) => Err(unchanged(path, &error.to_string())),
    }
}

fn read_only(path: &Path, why: &str) -> TokenError {
    let why = format!("{}: it cannot be replaced: {why}", path.display());
    // For the programs that show no more than a number.
    log::warn!("{why}");
    TokenError::ReadOnly(Reason::new(why))
}

/// Whoever may read a file may lock it, and need not be changing it.
fn busy(path: &Path) -> TokenError {
    unchanged(
        path,
        "another program is changing it, or holds a lock on it: try again when it is done",
    )
}

fn unchanged(path: &Path, why: &str) -> TokenError {
    TokenError::Unreachable(Reason::new(format!(
        "{}: nothing was changed: {why}",
        path.display()
    )))
}

#[cfg(test)]
mod tests;
