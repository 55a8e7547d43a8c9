//! A desk: a card in a reader of the test's own, and the command `ctk` with what it works on.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, process::Command};

use crate::{
    cards::{MANAGEMENT_KEY, Options, Profile, VirtualCard},
    module::command_path,
    pcscd::Pcscd,
    process::{LIMIT, Outcome, run, run_within},
    work::Work,
};

/// A pcscd with a card in its first reader, and the command beside it.
#[derive(Debug)]
pub struct Desk {
    /// The card in the first reader. It goes before its reader.
    pub card: VirtualCard,
    /// What has the readers.
    pub pcscd: Pcscd,
    /// Where the command works, with the file `management-key`.
    pub work: Work,
}

impl Desk {
    /// With a fresh card of this profile.
    pub fn with(profile: Profile) -> Self {
        let pcscd = Pcscd::start();
        let card = pcscd.insert(0, profile, Options::default());
        let work = Work::new();
        let key = work.write("management-key", MANAGEMENT_KEY);
        fs::set_permissions(key, fs::Permissions::from_mode(0o600)).expect("chmod");
        Self { card, pcscd, work }
    }

    /// A file of the work folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    /// The command, still to be run.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.pcscd.command(command_path());
        command.args(arguments).current_dir(self.work.path());
        command
    }

    /// The command, with these lines on its standard input.
    #[track_caller]
    pub fn ctk(&self, arguments: &[&str], input: &str) -> Outcome {
        run_within(LIMIT, &mut self.command(arguments), input.as_bytes())
    }

    /// The command with the management key, which stands in a file.
    #[track_caller]
    pub fn admin(&self, arguments: &[&str], input: &str) -> Outcome {
        let with_key = [arguments, &["--management-key-file", "management-key"]].concat();
        self.ctk(&with_key, input)
    }

    /// OpenSSL in the work folder.
    #[track_caller]
    pub fn openssl(&self, arguments: &[&str]) -> Outcome {
        let mut command = Command::new("openssl");
        run(command.args(arguments).current_dir(self.work.path()))
    }

    /// A certificate for a request, by an authority that is made for it.
    #[track_caller]
    pub fn certify(&self, request: &str, certificate: &str) {
        let curve = ["-pkeyopt", "ec_paramgen_curve:P-256"];
        let authority = ["req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"];
        let names = [
            "-subj",
            "/CN=Test authority",
            "-keyout",
            "ca.key",
            "-out",
            "ca.crt",
        ];
        self.openssl(&[&authority[..], &curve, &names].concat())
            .succeeded();
        self.openssl(&[
            "x509",
            "-req",
            "-in",
            request,
            "-days",
            "60",
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-out",
            certificate,
        ])
        .succeeded();
    }

    /// How many commands with this beginning the card has seen.
    pub fn sent(&self, beginning: &str) -> usize {
        let log = self.card.log();
        log.iter()
            .filter(|apdu| apdu.command.starts_with(beginning))
            .count()
    }
}
