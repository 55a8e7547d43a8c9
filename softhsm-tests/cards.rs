//! Virtual cards: in a reader of a [`Pcscd`], or behind a pipe. Each is a fresh copy of one that is made when first needed.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, channel},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use crate::{
    pcscd::{Pcscd, Reader},
    process::run_within,
    work::Work,
};

/// How long one command to a card's program may take; making an RSA-4096 key is the longest.
const LIMIT: Duration = Duration::from_secs(120);
/// How long building the cards may take on a slow machine.
const BUILD_LIMIT: Duration = Duration::from_secs(1800);
/// When pcscd treats a card as any other.
const SETTLED: Duration = Duration::from_millis(1000);
/// Certificates of the cards are good for 30 days.
const TEMPLATE_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// The PIN of a PIV card and PW1 of an OpenPGP card.
pub const PIN: &str = "123456";
/// The PUK of a PIV card and PW3 of an OpenPGP card.
pub const PUK: &str = "12345678";
/// The management key of a PIV card (3DES), as hexadecimal digits.
pub const MANAGEMENT_KEY: &str = "010203040506070801020304050607080102030405060708";

/// What is on a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// PIV: 9A RSA-2048, 9C P-256, 9D RSA-2048, 9E P-256, each with a certificate of 700 to 1000 bytes.
    PivFour,
    /// PIV: 9A RSA-2048 only, its certificate with an e-mail address and a UPN.
    PivOne,
    /// PIV: a CHUID and no certificate.
    PivEmpty,
    /// PIV: 9A RSA-2048 and the retired key 82 RSA-2048.
    PivRetired,
    /// PIV: 9A P-384, 9C RSA-3072, 9D RSA-4096, 9E P-384. Making the first one takes ten seconds and more.
    PivLarge,
    /// PIV: `PivOne` with its certificate compressed by gzip.
    PivCompressed,
    /// OpenPGP: three RSA-2048 keys and a cardholder certificate.
    OpenPgpRsa,
    /// OpenPGP: P-256 for signing, P-256 for decryption, Ed25519 for authentication.
    OpenPgpEc,
    /// `PivFour` and `OpenPgpRsa` on one card.
    Both,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Self::PivFour => "piv-four",
            Self::PivOne => "piv-one",
            Self::PivEmpty => "piv-empty",
            Self::PivRetired => "piv-9a-rsa-retired",
            Self::PivLarge => "piv-large",
            Self::PivCompressed => "piv-compressed",
            Self::OpenPgpRsa => "openpgp-rsa",
            Self::OpenPgpEc => "openpgp-ec",
            Self::Both => "both",
        }
    }

    fn applets(self) -> &'static str {
        match self {
            Self::OpenPgpRsa | Self::OpenPgpEc => "openpgp",
            Self::Both => "piv,openpgp",
            _ => "piv",
        }
    }
}

/// What kind of card it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// No extended length.
    pub short: bool,
    /// PIV without the commands of YubiKeys.
    pub plain_piv: bool,
}

impl Options {
    /// No extended length.
    pub const SHORT: Self = Self {
        short: true,
        plain_piv: false,
    };
}

/// One command on the wire, from the card's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Apdu {
    /// Its bytes as upper-case hexadecimal digits, `**` for each that is secret.
    pub command: String,
    /// The status word, or none if the card went silent.
    pub status: Option<u16>,
    /// The length of the response's data in bytes.
    pub length: usize,
}

impl Options {
    fn pass_to(self, command: &mut Command, profile: Profile) {
        command.args(["--applets", profile.applets()]);
        if self.short {
            command.arg("--short");
        }
        if self.plain_piv {
            command.arg("--plain-piv");
        }
    }
}

/// A card in a reader of a [`Pcscd`]. When it is dropped it is pulled out.
#[derive(Debug)]
pub struct VirtualCard {
    program: Program,
    reader: Reader,
    states: Work,
    copies: usize,
    inserted: Instant,
}

impl Pcscd {
    /// Puts a fresh card into a reader, and waits until pcscd has seen it.
    #[track_caller]
    pub fn insert(&self, reader: usize, profile: Profile, options: Options) -> VirtualCard {
        let states = Work::new();
        let state = states.path().join("0");
        fresh(profile, &state);
        let mut command = Command::new(virtual_card());
        command.args(["--port", &self.port(reader).to_string(), "--out"]);
        command.arg("--state").arg(state);
        command.arg("--log").arg(states.path().join("log"));
        options.pass_to(&mut command, profile);
        let reader = self.watch(reader);
        // A card that was in before, and was dropped, is there for pcscd until it looks.
        reader.wait_for_card(false);
        let mut card = VirtualCard {
            program: Program::start(&mut command),
            reader,
            states,
            copies: 1,
            inserted: Instant::now(),
        };
        card.insert();
        card
    }
}

impl VirtualCard {
    /// The folder of the card that is in now: `ca.crt` and `ca.key`, and `NAME.crt` and `NAME.pub` for each key.
    pub fn folder(&self) -> PathBuf {
        self.states.path().join((self.copies - 1).to_string())
    }

    /// Pulls it out, and waits until pcscd has seen that.
    #[track_caller]
    pub fn remove(&mut self) {
        self.pull_out();
        self.reader.wait_for_card(false);
    }

    /// Pulls it out, in the middle of whatever it does; pcscd sees it when it looks.
    #[track_caller]
    pub fn pull_out(&mut self) {
        self.program.ask("remove");
    }

    /// Puts it in again, and waits until pcscd has seen that.
    #[track_caller]
    pub fn insert(&mut self) {
        self.push_in();
        self.reader.wait_for_card(true);
        self.inserted = Instant::now();
    }

    /// Puts it in again; pcscd sees it when it looks.
    #[track_caller]
    pub fn push_in(&mut self) {
        self.program.ask("insert");
    }

    /// Another card of this profile instead, with so much time between them; waits until pcscd has seen it.
    #[track_caller]
    pub fn swap(&mut self, profile: Profile, pause: Duration) {
        self.next(profile);
        // When pcscd looks at a new card for the second time, it looks twice and powers it down between: it would take a card
        // that is swapped before that for the former one.
        thread::sleep(SETTLED.saturating_sub(self.inserted.elapsed()));
        let before = self.reader.state().events;
        self.pull_out();
        thread::sleep(pause);
        self.push_in();
        self.reader.wait_until("with the other card", |state| {
            state.card && state.events > before
        });
        self.inserted = Instant::now();
    }

    /// It is another card of this profile when it is put in next.
    #[track_caller]
    pub fn next(&mut self, profile: Profile) {
        let state = self.states.path().join(self.copies.to_string());
        fresh(profile, &state);
        self.copies += 1;
        self.program.ask(&format!("state {}", state.display()));
    }

    /// Each command takes so much longer.
    #[track_caller]
    pub fn delay(&mut self, delay: Duration) {
        self.program.ask(&format!("delay {}", delay.as_millis()));
    }

    /// After so many more commands the card goes silent in the middle of the next, and is out.
    #[track_caller]
    pub fn cut_after(&mut self, commands: u64) {
        self.program.ask(&format!("cut-after {commands}"));
    }

    /// The power fails in the middle of the next operation with a key, and the card is out.
    #[track_caller]
    pub fn cut_in_key_operation(&mut self) {
        self.program.ask("cut-in-key-operation");
    }

    /// The commands on the wire since it was made, or since [`Self::reset_count`].
    #[track_caller]
    pub fn count(&mut self) -> usize {
        self.program.ask("count").parse().expect("a number")
    }

    /// Counts anew.
    #[track_caller]
    pub fn reset_count(&mut self) {
        self.program.ask("reset-count");
    }

    /// Every command on the wire since it was made.
    pub fn log(&self) -> Vec<Apdu> {
        let text = fs::read_to_string(self.states.path().join("log")).expect("the log");
        text.lines().map(Apdu::parse).collect()
    }
}

impl Apdu {
    fn parse(line: &str) -> Self {
        let fields: Vec<_> = line.split(' ').collect();
        let [command, status, length, _microseconds] = fields[..] else {
            panic!("not a line of a card's log: {line}");
        };
        Self {
            command: command.to_owned(),
            status: u16::from_str_radix(status, 16).ok(),
            length: length.parse().expect("a length"),
        }
    }
}

/// A card without a reader: a program of ours sends it commands by a pipe.
#[derive(Debug)]
pub struct PipedCard {
    program: Program,
    state: Work,
}

impl PipedCard {
    /// A fresh card.
    #[track_caller]
    pub fn new(profile: Profile, options: Options) -> Self {
        let state = Work::new();
        fresh(profile, &state.path().join("card"));
        let mut command = Command::new(virtual_card());
        command.arg("--state").arg(state.path().join("card"));
        options.pass_to(&mut command, profile);
        Self {
            program: Program::start(&mut command),
            state,
        }
    }

    /// Its folder, as of [`VirtualCard::folder`].
    pub fn folder(&self) -> PathBuf {
        self.state.path().join("card")
    }

    /// Sends a command APDU. The response ends with the status word; none if the card goes silent.
    #[track_caller]
    pub fn transmit(&mut self, apdu: &[u8]) -> Option<Vec<u8>> {
        let digits: String = apdu.iter().map(|byte| format!("{byte:02X}")).collect();
        let answer = self.program.tell(&format!("apdu {digits}"));
        match answer.split_once(' ') {
            Some(("ok", response)) => Some(bytes(response)),
            _ if answer == "error the card is mute" => None,
            _ => panic!("virtual-card: {answer}"),
        }
    }

    /// A reset: nothing is selected, nobody is logged in. Returns the ATR.
    #[track_caller]
    pub fn reset(&mut self) -> Vec<u8> {
        bytes(&self.program.ask("reset"))
    }

    /// As of [`VirtualCard::cut_after`].
    #[track_caller]
    pub fn cut_after(&mut self, commands: u64) {
        self.program.ask(&format!("cut-after {commands}"));
    }

    /// As of [`VirtualCard::cut_in_key_operation`].
    #[track_caller]
    pub fn cut_in_key_operation(&mut self) {
        self.program.ask("cut-in-key-operation");
    }

    /// The commands so far.
    #[track_caller]
    pub fn count(&mut self) -> usize {
        self.program.ask("count").parse().expect("a number")
    }
}

fn bytes(digits: &str) -> Vec<u8> {
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal digits"))
        .collect()
}

/// The running program of a card: a line to it, a line from it.
#[derive(Debug)]
struct Program {
    child: Child,
    stdin: ChildStdin,
    answers: Receiver<String>,
}

impl Program {
    #[track_caller]
    fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdin = child.stdin.take().expect("a pipe");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let (lines, answers) = channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if lines.send(line).is_err() {
                    return;
                }
            }
        });
        let program = Self {
            child,
            stdin,
            answers,
        };
        assert_eq!(program.answer(), "ready");
        program
    }

    /// Sends a line that must succeed, and returns what follows `ok`.
    #[track_caller]
    fn ask(&mut self, line: &str) -> String {
        let answer = self.tell(line);
        match answer.split_once(' ').unwrap_or((answer.as_str(), "")) {
            ("ok", rest) => rest.to_owned(),
            _ => panic!("virtual-card: {line}: {answer}"),
        }
    }

    #[track_caller]
    fn tell(&mut self, line: &str) -> String {
        writeln!(self.stdin, "{line}").expect("the card's program reads");
        self.answer()
    }

    #[track_caller]
    fn answer(&self) -> String {
        let answer = self.answers.recv_timeout(LIMIT);
        answer.unwrap_or_else(|error| panic!("no answer of the card's program: {error}"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A copy of the card of this profile, with a serial number and CHUID of its own, in the folder `state`.
#[track_caller]
fn fresh(profile: Profile, state: &Path) {
    let template = template(profile);
    fs::create_dir(state).expect("a folder for the card");
    for file in fs::read_dir(template).expect("the card") {
        let file = file.expect("the card");
        fs::copy(file.path(), state.join(file.file_name())).expect("a copy of the card");
    }
    let mut command = Command::new(virtual_card());
    command.args(["renew", "--state"]).arg(state);
    run_within(LIMIT, &mut command, b"").succeeded();
}

/// The card of this profile that others are copied from. Making it takes seconds, so all tests of a build share it.
#[track_caller]
fn template(profile: Profile) -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let program = virtual_card();
    let built = fs::metadata(&program).and_then(|file| file.modified());
    let built = built.expect("the card's program");
    let built = built.duration_since(SystemTime::UNIX_EPOCH);
    let folder = program.with_file_name("templates");
    let folder = folder.join(format!("{:x}", built.expect("a time").as_nanos()));
    fs::create_dir_all(&folder).expect("a folder for cards");
    let template = folder.join(profile.name());
    let age = |card: &Path| {
        let made = fs::metadata(card.join("serial")).and_then(|file| file.modified());
        made.ok().map(|made| made.elapsed().unwrap_or_default())
    };
    if age(&template).is_some_and(|age| age < TEMPLATE_AGE) {
        return template;
    }
    // Tests of several programs may come here at once: each makes one in a folder of its own, and the first one stays.
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let own = folder.join(format!("{}.{}.{count}", profile.name(), std::process::id()));
    let mut command = Command::new(program);
    command.args(["provision", "--profile", profile.name(), "--state"]);
    run_within(LIMIT, command.arg(&own), b"").succeeded();
    let old = own.with_extension("old");
    if age(&template).is_some_and(|age| age >= TEMPLATE_AGE) && fs::rename(&template, &old).is_ok()
    {
        fs::remove_dir_all(old).expect("the old card is gone");
    }
    if fs::rename(&own, &template).is_err() {
        assert!(
            age(&template).is_some(),
            "{} cannot be made",
            template.display()
        );
        fs::remove_dir_all(own).expect("the second card is gone");
    }
    template
}

/// What keeps pcscd's virtual readers off the network.
pub fn loopback_only() -> PathBuf {
    virtual_card().with_file_name("libloopback_only.so")
}

/// The built program of the cards: `CTK_VIRTUAL_CARD`, else built now into the folder of this build.
#[track_caller]
fn virtual_card() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT
        .get_or_init(|| match std::env::var_os("CTK_VIRTUAL_CARD") {
            Some(path) => {
                let path = PathBuf::from(path);
                assert!(
                    path.is_file(),
                    "CTK_VIRTUAL_CARD={}: no such file",
                    path.display()
                );
                path
            }
            None => build(),
        })
        .clone()
}

fn build() -> PathBuf {
    // …/target/debug/deps/sweep-0123456789abcdef
    let test = std::env::current_exe().expect("this program");
    let target = test.ancestors().nth(3).expect("a target folder");
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("cards/Cargo.toml");
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--locked"]);
    command.args(["-p", "virtual-cards", "-p", "loopback-only"]);
    command.arg("--manifest-path").arg(manifest);
    command.arg("--target-dir").arg(target);
    run_within(BUILD_LIMIT, &mut command, b"").succeeded();
    target.join("debug/virtual-card")
}
