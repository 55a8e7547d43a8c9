//! A pcscd of the test's own, with two virtual readers that no other program sees.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener},
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{cards, isolated::Environment, process::Server, process::free_port, work::Work};

const DRIVER: &str = "/usr/lib/pcsc/drivers/serial/libifdvpcd.so";
const POLL: Duration = Duration::from_millis(10);
/// How long pcscd may take to see what has happened in a reader. It looks every 0.2 to 0.4 s.
pub const LIMIT: Duration = Duration::from_secs(20);

/// The name of readers in which Yubico's programs look for a card.
pub const YUBIKEY: &str = "Yubico YubiKey";

/// A running pcscd with two readers. It ends with the test.
#[derive(Debug)]
pub struct Pcscd {
    work: Work,
    name: String,
    /// How many drivers of two readers each.
    pairs: u16,
    port: u16,
    server: Option<Server>,
}

/// What pcscd knows of a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReaderState {
    /// Its name, as `SCardListReaders` gives it.
    pub name: String,
    /// A card is in it and has answered.
    pub card: bool,
    /// Insertions and removals so far.
    pub events: u32,
}

impl Pcscd {
    /// Two readers named `Virtual Reader`.
    pub fn start() -> Self {
        Self::with_readers_named("Virtual Reader")
    }

    /// Two readers with this name and a number behind it.
    pub fn with_readers_named(name: &str) -> Self {
        Self::launched(name, 1)
    }

    /// No readers yet.
    pub fn without_readers() -> Self {
        Self::launched("Virtual Reader", 0)
    }

    /// As many readers as it can have. No card can be put in: the readers' driver mixes them up.
    pub fn with_sixteen_readers() -> Self {
        Self::launched("Virtual Reader", 8)
    }

    /// Starts it again, with its two readers now. Debian's pcscd takes only USB readers without a new start.
    pub fn plug_in_readers(&mut self) {
        self.pairs = 1;
        self.restart();
    }

    fn launched(name: &str, pairs: u16) -> Self {
        let mut pcscd = Self {
            work: Work::new(),
            name: name.to_owned(),
            pairs,
            port: 0,
            server: None,
        };
        pcscd.launch();
        pcscd
    }

    /// The name of the first (0) or second (1) reader.
    pub fn reader(&self, number: usize) -> String {
        format!("{} 00 {number:02}", self.name)
    }

    /// The port on which vpcd waits for the card of this reader.
    pub fn port(&self, reader: usize) -> u16 {
        self.port + u16::try_from(reader).expect("reader 0 or 1")
    }

    /// The variable by which programs find it.
    pub fn env(&self) -> (String, String) {
        let socket = self.socket().to_str().expect("UTF-8").to_owned();
        ("PCSCLITE_CSOCK_NAME".to_owned(), socket)
    }

    /// A program that talks to this pcscd, with a home of its own: OpenSC keeps what it has read of a card there.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let home = self.work.path().join("home");
        fs::create_dir_all(&home).expect("a home");
        let mut command = Command::new(program);
        command.envs([self.env()]).env("HOME", home);
        command
            .env_remove("XDG_CACHE_HOME")
            .env("LC_ALL", "C.UTF-8");
        command
    }

    /// A folder of the test's own.
    pub fn work(&self) -> &Work {
        &self.work
    }

    /// Ends it as a crash does: programs that talk to it lose the connection, and nobody listens any more.
    pub fn kill(&mut self) {
        self.server = None;
        let _ = fs::remove_file(self.socket());
    }

    /// Ends it and starts it again with the same readers. Cards that were in are in again.
    pub fn restart(&mut self) {
        self.kill();
        self.launch();
    }

    /// What it knows of its readers.
    pub fn readers(&self) -> io::Result<Vec<ReaderState>> {
        readers(&self.socket())
    }

    /// One of its readers, to look at.
    pub fn watch(&self, reader: usize) -> Reader {
        Reader {
            socket: self.socket(),
            name: self.reader(reader),
        }
    }

    /// Waits until a card is in the reader, or is not, and returns what pcscd knows of it then.
    #[track_caller]
    pub fn wait_for_card(&self, reader: usize, present: bool) -> ReaderState {
        self.watch(reader).wait_for_card(present)
    }

    fn socket(&self) -> PathBuf {
        self.work.path().join("pcscd")
    }

    fn launch(&mut self) {
        if self.pairs == 0 {
            self.server = Some(self.started(""));
            return;
        }
        for _ in 0..10 {
            if self.port == 0 {
                self.port = free_ports(2 * self.pairs);
            }
            let server = self.started(&self.configuration());
            let mut ports = self.port..self.port + 2 * self.pairs;
            if ports.all(|port| listens(server.id(), port)) {
                self.server = Some(server);
                return;
            }
            // Somebody else was faster with one of the ports.
            drop(server);
            self.port = 0;
        }
        panic!("pcscd found no free ports for its readers in ten tries");
    }

    fn configuration(&self) -> String {
        let entry = |pair| {
            let port = self.port + 2 * pair;
            let name = match pair {
                0 => self.name.clone(),
                more => format!("{} {more}", self.name),
            };
            format!(
                "FRIENDLYNAME \"{name}\"\nDEVICENAME /dev/null:0x{port:X}\nLIBPATH {DRIVER}\nCHANNELID 0x{port:X}\n"
            )
        };
        (0..self.pairs).map(entry).collect()
    }

    /// As a service manager starts it: the socket is there already and becomes descriptor 3.
    fn started(&self, configuration: &str) -> Server {
        assert!(
            Path::new(DRIVER).exists(),
            "{DRIVER} is missing: install vsmartcard-vpcd"
        );
        let configuration = self.work.write("reader.conf", configuration);
        let _ = fs::remove_file(self.socket());
        let listener = UnixListener::bind(self.socket()).expect("a socket for pcscd");
        let mut command = Command::new("/bin/sh");
        command
            .arg("-c")
            .arg("exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"")
            .args(["sh", "/usr/sbin/pcscd", "--foreground", "--config"])
            .arg(configuration)
            .env("LD_PRELOAD", cards::loopback_only());
        let log = self.work.path().join("pcscd.log");
        let stdin = Stdio::from(OwnedFd::from(listener));
        let mut server = Server::start_with(&mut command, &log, stdin);
        // It reads its configuration before it answers.
        let socket = self.socket();
        server.wait_until("answering", |_| readers(&socket).is_ok());
        server
    }
}

/// One reader of a [`Pcscd`].
#[derive(Clone, Debug)]
pub struct Reader {
    socket: PathBuf,
    name: String,
}

impl Reader {
    /// What pcscd knows of it.
    #[track_caller]
    pub fn state(&self) -> ReaderState {
        let states = readers(&self.socket).expect("pcscd tells its readers");
        let state = states.into_iter().find(|state| state.name == self.name);
        state.unwrap_or_else(|| panic!("pcscd has no reader {}", self.name))
    }

    /// Waits until a card is in it, or is not.
    #[track_caller]
    pub fn wait_for_card(&self, present: bool) -> ReaderState {
        self.wait_until(
            if present {
                "with a card"
            } else {
                "without a card"
            },
            |state| state.card == present,
        )
    }

    /// Waits until it is so.
    #[track_caller]
    pub fn wait_until(&self, what: &str, ready: impl Fn(&ReaderState) -> bool) -> ReaderState {
        let end = Instant::now() + LIMIT;
        loop {
            let state = self.state();
            if ready(&state) {
                return state;
            }
            assert!(
                Instant::now() < end,
                "not {what} after {LIMIT:?}: {state:?}"
            );
            thread::sleep(POLL);
        }
    }
}

impl Environment for Pcscd {
    fn variables(&self) -> Vec<(String, String)> {
        vec![self.env()]
    }
}

/// The first of so many ports side by side of 127.0.0.1 that nothing listens on.
fn free_ports(count: u16) -> u16 {
    let is_free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    loop {
        let port = free_port();
        if let Some(end) = port.checked_add(count)
            && (port..end).all(is_free)
        {
            return port;
        }
    }
}

/// Whether this process, and no other, listens on the port. Connecting would put a card into the reader.
fn listens(process: u32, port: u16) -> bool {
    const LISTEN: &str = "0A";
    let table = fs::read_to_string("/proc/net/tcp").expect("/proc/net/tcp");
    let address = format!("0100007F:{port:04X}");
    let socket = table.lines().find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let found = fields.get(1) == Some(&address.as_str()) && fields.get(3) == Some(&LISTEN);
        found.then(|| format!("socket:[{}]", fields[9]))
    });
    let Some(socket) = socket else {
        return false;
    };
    let descriptors = fs::read_dir(format!("/proc/{process}/fd")).expect("its descriptors");
    descriptors
        .flatten()
        .any(|fd| fs::read_link(fd.path()).is_ok_and(|target| target == Path::new(&socket)))
}

/// Asks a pcscd for its readers, by the protocol of its own library: that knows one pcscd per process, and tests have several.
fn readers(socket: &Path) -> io::Result<Vec<ReaderState>> {
    const VERSION: u32 = 0x11;
    const READERS_STATE: u32 = 0x12;
    const MAJOR: u32 = 4;
    const MINOR: u32 = 4;
    /// `READER_STATE` of pcsc-lite 1.8.24 and later: the name, the counter of events, and state bits among other things.
    const RECORD: usize = 184;
    const EVENTS: usize = 128;
    const STATE: usize = 132;
    const RECORDS: usize = 16;
    const PRESENT: u32 = 4;

    let word = |record: &[u8], at: usize| {
        let bytes = record[at..at + 4].try_into().expect("four bytes");
        u32::from_ne_bytes(bytes)
    };
    let message =
        |words: &[u32]| -> Vec<u8> { words.iter().copied().flat_map(u32::to_ne_bytes).collect() };
    let mut pcscd = UnixStream::connect(socket)?;
    pcscd.set_read_timeout(Some(LIMIT))?;
    pcscd.write_all(&message(&[12, VERSION, MAJOR, MINOR, 0]))?;
    let mut version = [0; 12];
    pcscd.read_exact(&mut version)?;
    if word(&version, 8) != 0 {
        return Err(io::Error::other(
            "pcscd speaks another version of its protocol",
        ));
    }
    pcscd.write_all(&message(&[0, READERS_STATE]))?;
    let mut states = vec![0; RECORD * RECORDS];
    pcscd.read_exact(&mut states)?;
    let known = states.chunks_exact(RECORD).filter(|record| record[0] != 0);
    Ok(known
        .map(|record| ReaderState {
            name: record[..EVENTS]
                .split(|&byte| byte == 0)
                .next()
                .map(|name| String::from_utf8_lossy(name).into_owned())
                .unwrap_or_default(),
            card: word(record, STATE) & PRESENT != 0,
            events: word(record, EVENTS),
        })
        .collect())
}
