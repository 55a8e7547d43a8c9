//! What whole processes cost a card, in commands on the wire: the scenarios of the budgets and of the table that
//! `bench.sh apdu` prints.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    cards::{Options, PIN, Profile, VirtualCard},
    pcscd::{Pcscd, YUBIKEY},
    process::run,
};

/// OpenSC keeps what it has read of a card when it is told to.
const CACHING: &str = "app default { framework pkcs15 { use_file_caching = yes; } }\n";

/// What a process does with the card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// C_Initialize and the list of slots.
    Slots,
    /// `pkcs11-tool -L`.
    List,
    /// `pkcs11-tool -O`.
    Objects,
    /// `pkcs11-tool --login --sign` with the RSA-2048 key of slot 9A.
    SignRsa,
    /// Each further signature with that key: a tenth of what ten more cost.
    FurtherRsa,
    /// Each further signature with the P-256 key of slot 9E.
    FurtherEc,
    /// A login and ten signatures with the P-256 key of slot 9C, the PIN each time.
    SignEachTime,
    /// `ssh-keygen -D`.
    SshKeygen,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Slots,
        Self::List,
        Self::Objects,
        Self::SignRsa,
        Self::FurtherRsa,
        Self::FurtherEc,
        Self::SignEachTime,
        Self::SshKeygen,
    ];

    /// For a reader.
    pub fn title(self) -> &'static str {
        match self {
            Self::Slots => "C_Initialize + slot list",
            Self::List => "pkcs11-tool -L",
            Self::Objects => "pkcs11-tool -O",
            Self::SignRsa => "login + 1 RSA-2048 signature",
            Self::FurtherRsa => "each further RSA-2048 signature",
            Self::FurtherEc => "each further P-256 signature",
            Self::SignEachTime => "login + 10 with 9C P-256, PIN each time",
            Self::SshKeygen => "ssh-keygen -D",
        }
    }

    /// How many commands it may cost, with and without extended length.
    pub fn budget(self, is_short: bool) -> usize {
        match (self, is_short) {
            (Self::Slots, _) => 3,
            (Self::List, true) => 7,
            (Self::List, false) => 4,
            (Self::Objects | Self::SshKeygen, true) => 20,
            (Self::Objects | Self::SshKeygen, false) => 8,
            (Self::SignRsa, true) => 24,
            (Self::SignRsa, false) => 10,
            (Self::FurtherRsa, true) => 3,
            (Self::FurtherRsa, false) | (Self::FurtherEc, _) => 1,
            (Self::SignEachTime, true) => 52,
            (Self::SignEachTime, false) => 40,
        }
    }
}

/// A module that is measured.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its name.
    pub name: &'static str,
    /// Its file.
    pub module: PathBuf,
    /// Whether it keeps what it has read, for the next process to find.
    pub is_warm: bool,
}

/// A PIV card with four keys in a reader, and a program that calls modules.
#[derive(Debug)]
pub struct ApduBed {
    pcscd: Pcscd,
    card: VirtualCard,
    calls: PathBuf,
}

impl ApduBed {
    /// A fresh card that takes extended length or does not.
    pub fn new(is_short: bool) -> Self {
        let pcscd = Pcscd::with_readers_named(YUBIKEY);
        let options = Options {
            short: is_short,
            plain_piv: true,
        };
        let card = pcscd.insert(0, Profile::PivFour, options);
        let calls = compile(&pcscd);
        Self { pcscd, card, calls }
    }

    /// How many commands the scenario costs with this module.
    ///
    /// # Errors
    /// What a program says that ended with an error.
    pub fn measure(&mut self, peer: &Peer, scenario: Scenario) -> Result<usize, String> {
        let sign = |id: &str, kind: &str, count: &str| {
            ["sign", id, kind, count].map(str::to_owned).to_vec()
        };
        match scenario {
            Scenario::Slots => self.calls(peer, &["slots".to_owned()]),
            Scenario::FurtherRsa => self.further(peer, |count| sign("01", "rsa", count)),
            Scenario::FurtherEc => self.further(peer, |count| sign("04", "ecdsa", count)),
            Scenario::SignEachTime => self.calls(peer, &sign("02", "ecdsa", "10")),
            Scenario::List => self.pkcs11_tool(peer, &["-L"]),
            Scenario::Objects => self.pkcs11_tool(peer, &["-O"]),
            Scenario::SignRsa => {
                let data = self.pcscd.work().write("data", "data");
                let data = data.to_str().expect("UTF-8");
                let options = ["--login", "--pin", PIN, "--sign", "--id", "01"];
                let what = ["-m", "SHA256-RSA-PKCS", "-i", data, "-o", "/dev/null"];
                self.pkcs11_tool(peer, &[options, what].concat())
            }
            Scenario::SshKeygen => {
                let mut command = self.command(peer, Path::new("ssh-keygen"));
                command.arg("-D").arg(&peer.module);
                self.count(command)
            }
        }
    }

    /// The commands of the last measurements, for a message.
    pub fn log(&self, last: usize) -> String {
        let log = self.card.log();
        let from = log.len().saturating_sub(last);
        let lines = log.iter().skip(from).map(|apdu| {
            let status = apdu.status.unwrap_or_default();
            format!("{} > {} bytes, {status:04X}", apdu.command, apdu.length)
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    fn further(
        &mut self,
        peer: &Peer,
        arguments: impl Fn(&str) -> Vec<String>,
    ) -> Result<usize, String> {
        let few = self.calls(peer, &arguments("1"))?;
        let many = self.calls(peer, &arguments("11"))?;
        Ok(many.saturating_sub(few).div_ceil(10))
    }

    fn calls(&mut self, peer: &Peer, arguments: &[String]) -> Result<usize, String> {
        let mut command = self.command(peer, &self.calls);
        command.args(arguments);
        self.count(command)
    }

    fn pkcs11_tool(&mut self, peer: &Peer, arguments: &[&str]) -> Result<usize, String> {
        let mut command = self.command(peer, Path::new("pkcs11-tool"));
        command.arg("--module").arg(&peer.module).args(arguments);
        self.count(command)
    }

    fn command(&self, peer: &Peer, program: &Path) -> Command {
        let mut command = self.pcscd.command(program);
        let homes = self.pcscd.work().path().join("homes");
        let home = homes.join(peer.name.replace(' ', "-"));
        if !peer.is_warm {
            let _ = std::fs::remove_dir_all(&home);
        }
        std::fs::create_dir_all(&home).expect("a home");
        if peer.is_warm {
            let configuration = self.pcscd.work().write("opensc.conf", CACHING);
            command.env("OPENSC_CONF", configuration);
        }
        command.env("HOME", home).env("TEST_PIN", PIN);
        command.env("CTK_MODULE", &peer.module);
        command
    }

    fn count(&mut self, mut command: Command) -> Result<usize, String> {
        self.card.reset_count();
        let outcome = run(&mut command);
        if !outcome.status.success() {
            return Err(outcome.text());
        }
        Ok(self.card.count())
    }
}

fn compile(pcscd: &Pcscd) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = pcscd.work().path().join("card_calls");
    let mut command = Command::new("cc");
    command.args(["-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-I"]);
    command.arg(folder.join("../include")).arg("-o");
    command
        .arg(&program)
        .arg(folder.join("hosts/card_calls.c"))
        .args(["-ldl", "-lcrypto"]);
    run(&mut command).succeeded();
    program
}
