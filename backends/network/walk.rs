//! Walks by chance through what a service can answer, for tests: good answers that are damaged on the way.
//!
//! By default a short walk that takes the same turns each time. With CTK_FUZZ_SECONDS=60 a walk of that length, whose turns
//! follow from a number that is printed; CTK_FUZZ_SEED takes them again. Keys are new each time, and signatures with them, so
//! what a test fails with is printed, and kept in the folder that CTK_FUZZ_KEEP names, or the one for temporary files.

#[allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "other tests share it and use more of it"
)]
#[path = "../../softhsm-tests/random.rs"]
mod random;

use std::{
    env, fs,
    io::Write as _,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::PathBuf,
    process,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant, SystemTime},
};

use parking_lot::Mutex;
use serde::de::IgnoredAny;

use self::random::Random;

/// How long one step may take; this machine may be slow and busy.
const LIMIT: Duration = Duration::from_secs(60);
/// How many of a step's damaged texts are remembered, the last ones.
const REMEMBERED: usize = 20;
/// How much of each is printed, in bytes.
const SHOWN: usize = 4096;

/// What is put into a JSON text, where it is wrong nearly everywhere.
const JSON_PIECES: &[&[u8]] = &[
    b"\"",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\\",
    b"\\u",
    b"\\u0000",
    b"\\ud834",
    b"\\udd1e",
    b"\\u001b[2J",
    b"\"a\":",
    b"null",
    b"-",
    b"1e999",
    b"0.5",
    b" ",
    b"\n",
    b"\0",
    b"\x7f",
    b"\xff",
    "\u{202e}ä𝄞".as_bytes(),
    "\u{feff}".as_bytes(),
];

/// The values that stand in the place of others.
const JSON_VALUES: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "-1",
    "1",
    "2.9",
    "1e999",
    "18446744073709551616",
    "99999999999999999999999999",
    "\"\"",
    "\"1\"",
    "\"-1\"",
    "\"inf\"",
    "\"true\"",
    "\"\\ud800\"",
    "\"\\u0000\\u001b[2J\"",
    "\"\u{202e}ä\\/\"",
    "\"AAAA\"",
    "{}",
    "[]",
    "[[]]",
    "[null]",
    "[\"\",\"x\"]",
    "{\"\":{}}",
];

/// The turns that a walk takes, and what it has made at this step.
#[derive(Debug)]
pub(crate) struct Turns {
    random: Random,
    step: Arc<Mutex<Step>>,
}

/// A step of a walk, for whoever has to tell of it.
#[derive(Debug)]
struct Step {
    number: usize,
    since: Instant,
    made: Vec<Vec<u8>>,
}

/// Walks until the time is over, or this many steps, and answers how many it has taken.
pub(crate) fn walk(short: usize, mut step: impl FnMut(&mut Turns)) -> usize {
    let number = |name| -> Option<u64> {
        let value = env::var(name).ok()?;
        Some(
            value
                .parse()
                .unwrap_or_else(|_| panic!("{name} is a number")),
        )
    };
    let time = number("CTK_FUZZ_SECONDS").map(Duration::from_secs);
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let otherwise = if time.is_some() { now } else { 1 };
    let seed = number("CTK_FUZZ_SEED").unwrap_or(otherwise);
    println!("CTK_FUZZ_SEED={seed}");

    let mut turns = Turns::new(seed);
    let name = thread::current().name().unwrap_or("walk").to_owned();
    let name = format!("ctk-network-{}-{seed}", name.replace("::", "-"));
    let walking = watch(turns.step.clone(), name.clone());
    let end = time.map(|time| Instant::now() + time);
    let mut taken = 0;
    while end.map_or(taken < short, |end| Instant::now() < end) {
        *turns.step.lock() = Step::new(taken);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| step(&mut turns))) {
            println!("{}", turns.step.lock().keep(&name));
            resume_unwind(panic);
        }
        taken += 1;
    }
    drop(walking);
    println!("{taken} steps");
    taken
}

/// Ends the process when a step takes too long, until what it answers is dropped: whoever hangs cannot be asked to stop.
fn watch(step: Arc<Mutex<Step>>, name: String) -> mpsc::Sender<()> {
    let (walking, over) = mpsc::channel();
    thread::spawn(move || {
        while over.recv_timeout(Duration::from_secs(1)) == Err(mpsc::RecvTimeoutError::Timeout) {
            let step = step.lock();
            if step.since.elapsed() > LIMIT {
                // Not by println: what it prints is kept back until a test ends, and this one does not.
                let told = format!("a step hangs: {}\n", step.keep(&name));
                let _ = std::io::stderr().write_all(told.as_bytes());
                process::abort();
            }
        }
    });
    walking
}

impl Step {
    fn new(number: usize) -> Self {
        Self {
            number,
            since: Instant::now(),
            made: Vec::new(),
        }
    }

    /// Keeps what was made, and says where it is and what is in it.
    fn keep(&self, name: &str) -> String {
        let folder = env::var_os("CTK_FUZZ_KEEP").map_or_else(env::temp_dir, PathBuf::from);
        let mut told = format!("step {} of {name}", self.number);
        for (index, text) in self.made.iter().enumerate() {
            let path = folder.join(format!("{name}-{}-{index}", self.number));
            let kept = fs::create_dir_all(&folder).and_then(|()| fs::write(&path, text));
            let kept = match kept {
                Ok(()) => format!("kept in {}", path.display()),
                Err(error) => format!("not kept in {}: {error}", path.display()),
            };
            let shown = &text[..text.len().min(SHOWN)];
            let more = if shown.len() < text.len() { "…" } else { "" };
            let len = text.len();
            let shown = shown.escape_ascii();
            told.push_str(&format!("\n{kept} ({len} bytes): b\"{shown}{more}\""));
        }
        told
    }
}

impl Turns {
    fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            step: Arc::new(Mutex::new(Step::new(0))),
        }
    }

    /// Turns of their own that follow from these, for what answers elsewhere during this step.
    pub(crate) fn branch(&mut self) -> Self {
        Self {
            random: Random::new(self.random.any()),
            step: self.step.clone(),
        }
    }

    /// A number below `end`, or 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.random.below(end)
    }

    /// True once in so many times.
    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.random.one_in(n)
    }

    /// One of these, of which there is one at least.
    pub(crate) fn one_of<T: Clone>(&mut self, choices: &[T]) -> T {
        self.random.one_of(choices)
    }

    /// Remembers what a step is about to try.
    pub(crate) fn tries(&mut self, text: &[u8]) {
        let mut step = self.step.lock();
        if step.made.len() == REMEMBERED {
            step.made.remove(0);
        }
        step.made.push(text.to_vec());
    }

    /// A text with a few things wrong in it: cut, changed, doubled, and with these pieces in between.
    pub(crate) fn damaged(&mut self, good: &[u8], pieces: &[&[u8]]) -> Vec<u8> {
        let mut text = good.to_vec();
        for _ in 0..=self.below(4) {
            self.damage(&mut text, pieces);
        }
        self.tries(&text);
        text
    }

    /// A JSON text of which a few values are others, or that is no JSON any more.
    pub(crate) fn damaged_json(&mut self, good: &[u8]) -> Vec<u8> {
        let mut text = good.to_vec();
        match self.below(30) {
            0 => text = self.long_json(),
            1..12 => self.exchange_member(&mut text),
            _ => {
                for _ in 0..=self.below(3) {
                    match self.below(3) {
                        0 => self.damage(&mut text, JSON_PIECES),
                        _ => self.exchange_value(&mut text),
                    }
                }
            }
        }
        self.tries(&text);
        text
    }

    fn damage(&mut self, text: &mut Vec<u8>, pieces: &[&[u8]]) {
        let at = self.below(text.len() + 1);
        let end = (at + self.below(40)).min(text.len());
        match self.below(8) {
            0 => text.truncate(at),
            1 if at < text.len() => text[at] ^= 1 << self.below(8),
            2 if at < text.len() => text[at] = self.below(256) as u8,
            3 => drop(text.drain(at..end)),
            4 => {
                let repeated = text[at..end].to_vec();
                text.splice(at..at, repeated);
            }
            5 => {
                let piece = self.one_of(pieces);
                text.splice(at..end, piece.iter().copied());
            }
            _ => {
                let piece = self.one_of(pieces);
                text.splice(at..at, piece.iter().copied());
            }
        }
    }

    /// Puts another value in the place of a member's, and it is JSON still.
    fn exchange_member(&mut self, text: &mut Vec<u8>) {
        let starts = starts(text, b":");
        if starts.is_empty() {
            return self.exchange_value(text);
        }
        let place = value(text, self.one_of(&starts));
        let other = value(text, self.one_of(&starts));
        let new = match self.below(2) {
            0 => text[other].to_vec(),
            _ => self.one_of(JSON_VALUES).into(),
        };
        text.splice(place, new);
    }

    /// Puts another value in the place of one, or of the name of one, or doubles or removes it.
    fn exchange_value(&mut self, text: &mut Vec<u8>) {
        let starts = starts(text, b"{[:,");
        if starts.is_empty() {
            *text = self.one_of(JSON_VALUES).into();
            return;
        }
        let place = value(text, self.one_of(&starts));
        let other = value(text, self.one_of(&starts));
        let new = match self.below(5) {
            0 => text[other].to_vec(),
            1 => [&text[place.clone()], b",", &text[place.clone()]].concat(),
            2 => Vec::new(),
            _ => self.one_of(JSON_VALUES).into(),
        };
        text.splice(place, new);
    }

    /// What is long, wide or deep.
    fn long_json(&mut self) -> Vec<u8> {
        let count = self.below(30_000);
        let text = match self.below(7) {
            0 => "[".repeat(count),
            1 => format!("{{\"error\":0{}}}", ",\"x\":0".repeat(count)),
            2 => format!(
                "{{\"a\":{}1{}}}",
                "[".repeat(count / 3),
                "]".repeat(count / 3)
            ),
            3 => "{\"a\":".repeat(count) + "1" + &"}".repeat(count),
            4 => format!("{{\"error\":\"{}\"}}", "A".repeat(count)),
            5 => format!(
                "{{\"credentialIDs\":[{}0],\"Keys\":[]}}",
                "\"x\",".repeat(count)
            ),
            _ => format!("{{\"a\":1e{}}}", "9".repeat(count)),
        };
        text.into_bytes()
    }
}

/// Where values may stand: after these.
fn starts(text: &[u8], after: &[u8]) -> Vec<usize> {
    let before = (0..text.len()).filter(|at| after.contains(&text[*at]));
    before.map(|at| at + 1).collect()
}

/// The value that stands here, or nothing.
fn value(text: &[u8], start: usize) -> Range<usize> {
    let values = serde_json::Deserializer::from_slice(&text[start..]);
    let mut values = values.into_iter::<IgnoredAny>();
    match values.next() {
        Some(Ok(_)) => start..start + values.byte_offset(),
        _ => start..start,
    }
}

#[test]
fn a_walk_can_be_taken_again() {
    let take = |seed| {
        let mut turns = Turns::new(seed);
        let good = br#"{"a":[1,"x",{"b":null}],"c":"d"}"#;
        let all = (0..200).map(|_| turns.damaged_json(good));
        all.collect::<Vec<_>>()
    };
    assert_eq!(take(5), take(5));
    assert_ne!(take(5), take(6));
    let is_json = |text: &Vec<u8>| serde_json::from_slice::<IgnoredAny>(text).is_ok();
    let good = take(5).iter().filter(|text| is_json(text)).count();
    assert!((20..180).contains(&good), "{good} of 200 are JSON");
}

#[test]
fn what_fails_is_kept() {
    let mut turns = Turns::new(1);
    turns.tries(b"\x01\"");
    let name = format!("ctk-network-walk-{}", process::id());
    let told = turns.step.lock().keep(&name);
    assert!(told.contains("(2 bytes): b\"\\x01\\\"\""), "{told}");
    let (_, path) = told.split_once("kept in ").unwrap();
    let (path, _) = path.split_once(" (").unwrap();
    assert_eq!(fs::read(path).unwrap(), b"\x01\"");
    fs::remove_file(path).unwrap();
}
