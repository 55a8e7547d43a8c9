//! A virtual card in a reader of pcscd, or behind a pipe, told by lines on standard input what happens to it.

use std::{
    env, fmt,
    io::{self, BufRead as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use virtual_cards::{
    Applet, Card, Faults, Log, Memory, Model,
    personalise::{self, Profile},
    vpcd::{self, Inserted},
};

const USAGE: &str = "\
virtual-card [--port PORT] --state DIR [--applets piv,openpgp] [--short] [--plain-piv] [--log FILE] [--out]
    A card. With --port it is put into the reader of vpcd at 127.0.0.1:PORT, unless --out; without, `apdu` drives it.
    --short      no extended length: says so in the ATR and refuses it
    --plain-piv  PIV without the commands of YubiKeys
    --log FILE   one line per command: bytes, status word, length of the response, microseconds
    The first line on standard output is \"ready\". Each line on standard input is answered by one line, \"ok …\" or \"error …\":
        insert          puts the card into its reader         remove        pulls it out
        state DIR       another card next time                delay MS      each command takes so much longer
        cut-after N     after N more commands the card goes silent in the middle of the next and is out
        cut-in-key-operation    the power fails in the middle of the next operation with a key
        count           commands since the start              reset-count
        apdu HEX        a command without a reader            reset         the same: a reset; the ATR
        quit            as the end of standard input
virtual-card provision --state DIR --profile NAME [--ca DIR]
    Makes a card by the commands of a personalisation tool, and beside it ca.crt, ca.key, and for each key NAME.pub and
    NAME.crt. Profiles: piv-four piv-one piv-empty piv-9a-rsa-retired
    piv-large piv-compressed openpgp-rsa openpgp-ec both
virtual-card renew --state DIR
    Makes it another card of the same make: a serial number and a CHUID of its own, the keys stay.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let result = match arguments.first().map(String::as_str) {
        Some("provision") => provision(&arguments[1..]),
        Some("renew") => renew(&arguments[1..]),
        Some(_) => Session::start(&arguments).and_then(|mut session| session.run()),
        None => Err(Failure::usage("nothing to do")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("virtual-card: {failure}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug)]
struct Failure(String);

impl Failure {
    fn usage(what: impl fmt::Display) -> Self {
        Self(format!("{what}\n\n{USAGE}"))
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Options with values, and switches.
struct Options<'a>(std::slice::Iter<'a, String>);

impl<'a> Options<'a> {
    fn value(&mut self, option: &str) -> Result<&'a str, Failure> {
        let value = self.0.next().map(String::as_str);
        value.ok_or_else(|| Failure::usage(format!("{option} wants a value")))
    }

    fn parsed<T: FromStr>(&mut self, option: &str) -> Result<T, Failure> {
        let value = self.value(option)?;
        value
            .parse()
            .map_err(|_| Failure::usage(format!("{option}: not {value:?}")))
    }
}

fn provision(arguments: &[String]) -> Result<(), Failure> {
    let mut options = Options(arguments.iter());
    let (mut state, mut profile, mut authority) = (None, None, None);
    while let Some(option) = options.0.next() {
        match option.as_str() {
            "--state" => state = Some(PathBuf::from(options.value(option)?)),
            "--profile" => profile = Some(options.parsed::<Profile>(option)?),
            "--ca" => authority = Some(PathBuf::from(options.value(option)?)),
            _ => return Err(Failure::usage(format!("unknown option {option}"))),
        }
    }
    let (Some(state), Some(profile)) = (state, profile) else {
        return Err(Failure::usage("provision wants --state and --profile"));
    };
    personalise::provision(&state, profile, authority.as_deref().unwrap_or(&state))?;
    Ok(())
}

fn renew(arguments: &[String]) -> Result<(), Failure> {
    match arguments {
        [option, state] if option == "--state" => Ok(personalise::renew(Path::new(state))?),
        _ => Err(Failure::usage("renew wants --state")),
    }
}

/// What the lines on standard input act on.
struct Session {
    state: PathBuf,
    port: Option<u16>,
    model: Model,
    faults: Arc<Faults>,
    log: Log,
    inserted: Option<Inserted>,
    /// The card of `apdu`.
    direct: Option<Card>,
}

impl Session {
    fn start(arguments: &[String]) -> Result<Self, Failure> {
        let mut options = Options(arguments.iter());
        let mut session = Self {
            state: PathBuf::new(),
            port: None,
            model: Model::default(),
            faults: Arc::default(),
            log: Log::default(),
            inserted: None,
            direct: None,
        };
        let (mut out, mut has_state) = (false, false);
        while let Some(option) = options.0.next() {
            match option.as_str() {
                "--port" => session.port = Some(options.parsed(option)?),
                "--state" => {
                    session.state = options.value(option)?.into();
                    has_state = true;
                }
                "--applets" => session.model.applets = applets(options.value(option)?)?,
                "--short" => session.model.extended_length = false,
                "--plain-piv" => session.model.yubikey_commands = false,
                "--log" => session.log = Log::to_file(options.value(option)?.as_ref())?,
                "--out" => out = true,
                _ => return Err(Failure::usage(format!("unknown option {option}"))),
            }
        }
        if !has_state {
            return Err(Failure::usage("--state is missing"));
        }
        if session.port.is_some() && !out {
            session.insert()?;
        }
        Ok(session)
    }

    fn run(&mut self) -> Result<(), Failure> {
        let mut output = io::stdout();
        writeln!(output, "ready")?;
        output.flush()?;
        for line in io::stdin().lock().lines() {
            let line = line?;
            if line.trim() == "quit" {
                writeln!(output, "ok")?;
                break;
            }
            match self.command(line.trim()) {
                Ok(answer) => writeln!(output, "{}", format!("ok {answer}").trim_end())?,
                Err(failure) => writeln!(output, "error {}", failure.0.replace('\n', " "))?,
            }
            output.flush()?;
        }
        Ok(())
    }

    fn command(&mut self, line: &str) -> Result<String, Failure> {
        let (command, argument) = line.split_once(' ').unwrap_or((line, ""));
        let number = || {
            argument
                .parse::<u64>()
                .map_err(|_| Failure(format!("not a number: {argument}")))
        };
        match command {
            "insert" => self.insert()?,
            "remove" => self.inserted = None,
            "state" => {
                self.state = argument.into();
                self.direct = None;
            }
            "delay" => self.faults.delay(Duration::from_millis(number()?)),
            "cut-after" => self.faults.cut_after(number()?),
            "cut-in-key-operation" => self.faults.cut_in_key_operation(),
            "count" => return Ok(self.log.count().to_string()),
            "reset-count" => self.log.reset_count(),
            "apdu" => {
                let apdu = from_hex(argument)?;
                let result = self.direct()?.transmit(&apdu);
                if result.is_err() {
                    self.direct = None;
                }
                return Ok(hex(&result?));
            }
            "reset" => {
                let card = self.direct()?;
                card.reset();
                return Ok(hex(&card.atr()));
            }
            _ => return Err(Failure(format!("unknown command {command}"))),
        }
        Ok(String::new())
    }

    fn insert(&mut self) -> Result<(), Failure> {
        let port = self
            .port
            .ok_or_else(|| Failure("there is no --port".to_owned()))?;
        // One card is not in two places: the former one is out first.
        self.inserted = None;
        self.direct = None;
        self.inserted = Some(vpcd::insert(port, self.card()?)?);
        Ok(())
    }

    fn direct(&mut self) -> Result<&mut Card, Failure> {
        if self.inserted.is_some() {
            return Err(Failure("the card is in a reader".to_owned()));
        }
        if self.direct.is_none() {
            self.direct = Some(self.card()?);
        }
        self.direct
            .as_mut()
            .ok_or_else(|| Failure("no card".to_owned()))
    }

    fn card(&self) -> Result<Card, Failure> {
        let memory = Memory::open(&self.state)?;
        Ok(Card::with(
            memory,
            self.model.clone(),
            self.faults.clone(),
            self.log.clone(),
        ))
    }
}

fn applets(list: &str) -> Result<Vec<Applet>, Failure> {
    list.split(',')
        .map(|name| match name {
            "piv" => Ok(Applet::Piv),
            "openpgp" => Ok(Applet::OpenPgp),
            _ => Err(Failure::usage(format!("--applets: not {name:?}"))),
        })
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn from_hex(digits: &str) -> Result<Vec<u8>, Failure> {
    let bad = || Failure(format!("not hexadecimal digits: {digits}"));
    if !digits.len().is_multiple_of(2) || !digits.is_ascii() {
        return Err(bad());
    }
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).map_err(|_| bad()))
        .collect()
}
