//! What a process is and where it looks: decided once, so that nothing else here asks the system.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use crate::{secret::Unwritten, sys};

/// The facts about a process that decide which configuration it reads and which tokens it sees.
///
/// [`from_process`](Self::from_process) asks the system; tests set the fields.
#[derive(Clone, Debug)]
pub struct Environment {
    /// The program runs with more rights than who started it: environment and home are not to be trusted.
    pub secure: bool,
    /// The effective user, whose files are trusted besides root's.
    pub euid: u32,
    /// The user's home directory.
    pub home: Option<PathBuf>,
    /// Where the user's configuration stands: `$XDG_CONFIG_HOME`, else `~/.config`.
    pub config_home: Option<PathBuf>,
    /// `$CTK_CONFIG`: the one file to read instead of all others.
    pub config_file: Option<PathBuf>,
    /// `$CREDENTIALS_DIRECTORY`: where systemd puts a service's credentials.
    pub credentials: Option<PathBuf>,
    /// The program's file, for `programs` and `not_programs`.
    pub program: Option<PathBuf>,
    /// Where the machine's configuration stands: `/etc/ctk`.
    pub system_folder: PathBuf,
    /// Reads an environment variable, for PINs from `env:NAME`.
    pub variable: fn(&str) -> Option<OsString>,
    /// Secrets that are to be tried before they are written into their files.
    pub unwritten: Unwritten,
}

impl Environment {
    /// What this process is.
    pub fn from_process() -> Self {
        let secure = is_secure(
            sys::is_secure_execution(),
            (sys::real_uid(), sys::effective_uid()),
            (sys::real_gid(), sys::effective_gid()),
        );
        let euid = sys::effective_uid();
        let path = |name: &str| {
            variable(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let absolute = |name: &str| path(name).filter(|path| path.is_absolute());
        let mut environment = Self {
            secure,
            euid,
            program: fs::read_link("/proc/self/exe").ok().map(without_deleted),
            ..Self::empty()
        };
        if secure {
            return environment;
        }
        environment.home = absolute("HOME").or_else(|| home_in_passwd(euid));
        environment.config_home = absolute("XDG_CONFIG_HOME")
            .or_else(|| environment.home.as_ref().map(|home| home.join(".config")));
        environment.config_file = path("CTK_CONFIG");
        environment.credentials = absolute("CREDENTIALS_DIRECTORY");
        environment.variable = variable;
        environment
    }

    /// A process that has nothing but the machine's configuration.
    pub fn empty() -> Self {
        Self {
            secure: false,
            euid: sys::effective_uid(),
            home: None,
            config_home: None,
            config_file: None,
            credentials: None,
            program: None,
            system_folder: PathBuf::from("/etc/ctk"),
            variable: |_| None,
            unwritten: Unwritten::default(),
        }
    }

    /// The user's own folder of configuration, `~/.config/ctk`; `None` under AT_SECURE or without a home.
    pub fn user_folder(&self) -> Option<PathBuf> {
        if self.secure {
            return None;
        }
        self.config_home.as_ref().map(|folder| folder.join("ctk"))
    }
}

/// Whether a program has other rights than who started it. The kernel decides when it starts; what a program changed
/// since shows in its real and effective user and group.
fn is_secure(at_start: bool, user: (u32, u32), group: (u32, u32)) -> bool {
    at_start || user.0 != user.1 || group.0 != group.1
}

fn variable(name: &str) -> Option<OsString> {
    env::var_os(name)
}

/// The kernel marks the link of a program whose file was replaced since, as an upgrade does.
fn without_deleted(program: PathBuf) -> PathBuf {
    match program.as_os_str().as_bytes().strip_suffix(b" (deleted)") {
        Some(path) => PathBuf::from(OsStr::from_bytes(path)),
        None => program,
    }
}

/// Read by ourselves: getpwuid would load name services, which may ask the network, into somebody else's process.
fn home_in_passwd(uid: u32) -> Option<PathBuf> {
    home_of(uid, &fs::read(Path::new("/etc/passwd")).ok()?)
}

fn home_of(uid: u32, passwd: &[u8]) -> Option<PathBuf> {
    let uid = uid.to_string();
    passwd.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let found = fields.nth(2)? == uid.as_bytes();
        let home = fields.nth(2)?;
        (found && home.first() == Some(&b'/'))
            .then(|| PathBuf::from(OsString::from_vec(home.to_vec())))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_found_in_passwd() {
        let passwd = b"root:x:0:0:root:/root:/bin/sh\nshort:x\nu:x:1000:1000:U,,,:/home/u:/bin/sh\nn:x:7:7:::\n";
        assert_eq!(home_of(1000, passwd), Some(PathBuf::from("/home/u")));
        assert_eq!(home_of(0, passwd), Some(PathBuf::from("/root")));
        assert_eq!(home_of(7, passwd), None);
        assert_eq!(home_of(1, passwd), None);
    }

    #[test]
    fn an_upgraded_program_keeps_its_name() {
        assert_eq!(
            without_deleted(PathBuf::from("/usr/bin/ssh (deleted)")),
            PathBuf::from("/usr/bin/ssh")
        );
        assert_eq!(
            without_deleted(PathBuf::from("/usr/bin/ssh")),
            PathBuf::from("/usr/bin/ssh")
        );
    }

    #[test]
    fn more_rights_mean_no_folder_of_the_user() {
        let mut environment = Environment {
            config_home: Some(PathBuf::from("/home/u/.config")),
            ..Environment::empty()
        };
        assert_eq!(
            environment.user_folder(),
            Some(PathBuf::from("/home/u/.config/ctk"))
        );
        environment.secure = true;
        assert_eq!(environment.user_folder(), None);
    }

    #[test]
    fn another_effective_user_or_group_means_more_rights() {
        assert!(!is_secure(false, (1000, 1000), (100, 100)));
        assert!(is_secure(true, (1000, 1000), (100, 100)));
        assert!(is_secure(false, (1000, 0), (100, 100)));
        assert!(is_secure(false, (1000, 1000), (100, 42)));
    }

    #[test]
    fn this_process_is_known() {
        let environment = Environment::from_process();
        assert!(
            environment
                .program
                .is_some_and(|program| program.is_absolute())
        );
    }
}
