//! A replacement that stops at any step, by an error or with its process, leaves one whole file.

use std::{
    os::unix::fs::symlink,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::*;

const STEPS: [Step; 7] = [
    Step::Create,
    Step::Own,
    Step::Write,
    Step::Sync,
    Step::Compare,
    Step::Rename,
    Step::SyncFolder,
];

const OLD: &[u8] = b"the old file";
const NEW: &[u8] = b"the new file, which is longer";

/// A folder with one file in it, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("ctk-replace-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).unwrap();
        let folder = Self(folder.canonicalize().unwrap());
        fs::write(folder.file(), OLD).unwrap();
        fs::set_permissions(folder.file(), Permissions::from_mode(0o640)).unwrap();
        folder
    }

    fn file(&self) -> PathBuf {
        self.0.join("work.p12")
    }

    fn begin(&self) -> Change {
        Change::begin(&self.file(), "").unwrap()
    }

    fn content(&self) -> Vec<u8> {
        fs::read(self.file()).unwrap()
    }

    fn names(&self) -> Vec<OsString> {
        let entries = fs::read_dir(&self.0).unwrap();
        entries.map(|entry| entry.unwrap().file_name()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_file_keeps_its_owner_mode_and_links() {
    let folder = Folder::new();
    let link = folder.0.join("link.p12");
    symlink("work.p12", &link).unwrap();
    let before = fs::metadata(folder.file()).unwrap();
    let change = Change::begin(&link, "").unwrap();
    assert_eq!(&**change.read().unwrap(), OLD);
    change.commit(NEW).unwrap();
    let after = fs::metadata(folder.file()).unwrap();
    assert_eq!(folder.content(), NEW);
    assert_ne!(before.ino(), after.ino());
    let facts = |file: &Metadata| (file.mode(), file.uid(), file.gid());
    assert_eq!(facts(&after), facts(&before));
    assert_eq!(fs::read_link(&link).unwrap(), Path::new("work.p12"));
    assert_eq!(folder.names().len(), 2);
}

#[test]
fn every_step_that_fails_leaves_the_old_file_alone() {
    for failing in STEPS {
        let folder = Folder::new();
        let answer = folder
            .begin()
            .commit_watched(NEW, &mut |step| match step == failing {
                true => Err(Error::from_raw_os_error(libc::ENOSPC)),
                false => Ok(()),
            });
        if failing == Step::SyncFolder {
            assert_eq!((answer, folder.content()), (Ok(()), NEW.to_vec()));
        } else {
            assert!(
                matches!(answer, Err(TokenError::Unreachable(_))),
                "{failing:?}: {answer:?}"
            );
            assert_eq!(folder.content(), OLD, "{failing:?}");
        }
        assert_eq!(folder.names(), ["work.p12"], "{failing:?}");
    }
}

#[test]
fn what_may_not_be_written_is_read_only() {
    let is_read_only = |answer: Result<()>, why: &str| {
        let Err(TokenError::ReadOnly(reason)) = answer else {
            panic!("{answer:?}")
        };
        assert!(reason.as_str().contains("work.p12: "), "{reason}");
        assert!(reason.as_str().contains(why), "{reason}");
    };
    let folder = Folder::new();
    for refusal in [libc::EACCES, libc::EPERM, libc::EROFS] {
        let answer = folder
            .begin()
            .commit_watched(NEW, &mut |_| Err(Error::from_raw_os_error(refusal)));
        is_read_only(answer, "folder");
    }
    fs::set_permissions(folder.file(), Permissions::from_mode(0o400)).unwrap();
    let answer = Change::begin(&folder.file(), "").map(drop);
    is_read_only(answer, "may not write to it");
    assert_eq!(folder.content(), OLD);
}

#[test]
fn a_file_that_another_program_changes_meanwhile_is_not_overwritten() {
    let folder = Folder::new();
    for replaced in [false, true] {
        let other = folder.0.join("other.p12");
        fs::write(&other, b"somebody else's").unwrap();
        let answer = folder.begin().commit_watched(NEW, &mut |step| match step {
            Step::Compare if replaced => fs::rename(&other, folder.file()),
            Step::Compare => fs::write(folder.file(), b"somebody else's"),
            _ => Ok(()),
        });
        let Err(TokenError::Unreachable(reason)) = answer else {
            panic!("{answer:?}")
        };
        assert!(reason.as_str().contains(CHANGED), "{reason}");
        assert_eq!(folder.content(), b"somebody else's");
        let _ = fs::remove_file(&other);
        assert_eq!(folder.names(), ["work.p12"]);
    }
}

#[test]
fn one_change_waits_for_the_other() {
    let folder = Folder::new();
    let first = folder.begin();
    thread::scope(|scope| {
        let second = scope.spawn(|| folder.begin().read().unwrap().to_vec());
        // Long enough for the other to find the lock; whether it does changes nothing here.
        thread::sleep(Duration::from_millis(50));
        first.commit(NEW).unwrap();
        assert_eq!(second.join().unwrap(), NEW);
    });
}

fn without_locks(_: &File) -> std::io::Result<()> {
    Err(Error::from_raw_os_error(libc::ENOLCK))
}

/// On a file system without locks the first of two changes at once counts, and only its owner hears
/// that it does.
#[test]
fn without_locks_one_change_does_not_take_the_other_s_file() {
    for step in &STEPS[..6] {
        let folder = Folder::new();
        let begin = || Change::begin_with(&folder.file(), "", without_locks).unwrap();
        let (slow, mut fast) = (begin(), Some(begin()));
        let mut won = None;
        let answer = slow.commit_watched(b"what the slow one writes", &mut |now| {
            if now == *step {
                won = fast.take().map(|fast| fast.commit(NEW));
            }
            Ok(())
        });
        assert_eq!(won, Some(Ok(())), "{step:?}");
        assert!(
            matches!(&answer, Err(TokenError::Unreachable(reason)) if reason.as_str().contains(CHANGED)),
            "{step:?}: {answer:?}"
        );
        assert_eq!(folder.content(), NEW, "{step:?}");
        assert_eq!(folder.names(), ["work.p12"], "{step:?}");
    }
}

#[test]
fn who_waits_for_a_lock_in_vain_hears_of_it() {
    let folder = Folder::new();
    let holder = File::open(folder.file()).unwrap();
    sys::try_lock(&holder).unwrap();
    let opened = File::open(folder.file()).unwrap();
    let answer = lock(&opened, &folder.file(), Instant::now(), sys::try_lock);
    let Err(TokenError::Unreachable(reason)) = answer else {
        panic!("{answer:?}")
    };
    assert!(reason.as_str().contains("holds a lock"), "{reason}");
}

/// Of a list, the bits of the group in a file's mode are the most that anybody but its owner gets.
#[test]
fn an_access_control_list_stays() {
    let folder = Folder::new();
    let file = OpenOptions::new().write(true).open(folder.file()).unwrap();
    // acl(5) in the kernel's form: version 2, then tag, permissions and id of each entry. The owner
    // may read and write, user 33 may read, the group may do nothing; the mask lets all read.
    let nobody = u32::MAX;
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in [
        (0x01_u16, 6_u16, nobody),
        (0x02, 4, 33),
        (0x04, 0, nobody),
        (0x10, 4, nobody),
        (0x20, 0, nobody),
    ] {
        list.extend(tag.to_le_bytes());
        list.extend(permissions.to_le_bytes());
        list.extend(id.to_le_bytes());
    }
    if !sys::set_access_list(&file, &list) {
        let line = "access control lists: this file system has none\n";
        eprint!("skipped: {line}");
        // Where whoever counts the tests looks.
        if let Some(file) = std::env::var_os("CTK_TEST_SKIPS") {
            let mut file = OpenOptions::new().append(true).open(file).unwrap();
            Write::write_all(&mut file, line.as_bytes()).unwrap();
        }
        return;
    }
    let mode = |folder: &Folder| fs::metadata(folder.file()).unwrap().mode() & 0o777;
    assert_eq!(mode(&folder), 0o640);
    folder.begin().commit(NEW).unwrap();
    let after = File::open(folder.file()).unwrap();
    assert_eq!(sys::access_list(&after), list);
    assert_eq!(mode(&folder), 0o640);
}

/// Set for a process of its own: the file that it changes, and the step at which it is killed.
const FILE: &str = "CTK_TEST_REPLACE";
const KILLED_AT: &str = "CTK_TEST_KILLED_AT";

#[test]
fn a_process_that_is_killed_at_any_step_leaves_a_whole_file() {
    if let (Some(file), Some(number)) = (std::env::var_os(FILE), std::env::var_os(KILLED_AT)) {
        let killed_at = STEPS[number.to_str().unwrap().parse::<usize>().unwrap()];
        let change = Change::begin(Path::new(&file), "").unwrap();
        let _ = change.commit_watched(NEW, &mut |step| {
            if step == killed_at {
                let own = std::process::id().to_string();
                Command::new("kill").args(["-KILL", &own]).status()?;
            }
            Ok(())
        });
        return;
    }
    for (number, step) in STEPS.iter().enumerate() {
        let folder = Folder::new();
        let name = "replace::tests::a_process_that_is_killed_at_any_step_leaves_a_whole_file";
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name])
            .env(FILE, folder.file())
            .env(KILLED_AT, number.to_string())
            .output()
            .unwrap()
            .status;
        let signal = std::os::unix::process::ExitStatusExt::signal(&status);
        assert_eq!(signal, Some(libc::SIGKILL), "{step:?}: {status}");
        let expected = if *step == Step::SyncFolder { NEW } else { OLD };
        assert_eq!(folder.content(), expected, "{step:?}");
        // What it left is cleaned away by the next change.
        folder.begin().commit(NEW).unwrap();
        assert_eq!(folder.content(), NEW, "{step:?}");
        let left: Vec<_> = folder.names();
        assert_eq!(left, ["work.p12"], "{step:?}");
    }
}
