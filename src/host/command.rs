//! Runs a program for what it prints: without a shell, within bounds of time and size.
//!
//! The program gets what we have: the environment, the current folder, the rights. It gets nothing to read, what it
//! writes to its standard error is dropped, and it is the leader of a process group of its own, so that all of it can be
//! ended. A program that could have been changed by somebody else than the user and root is not run.

use std::{
    ffi::OsStr,
    io::{self, Read},
    os::{
        fd::AsFd,
        unix::{ffi::OsStrExt, process::CommandExt, process::ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use ctk_token::{Reason, Result, TokenError};
use zeroize::Zeroizing;

use crate::{Environment, config::trust, sys};

/// A command as a person writes it: a program and its arguments.
///
/// White space is between words. In single quotes everything stands for itself; in double quotes and outside of them a
/// backslash makes the next character stand for itself. There are no variables, patterns or pipes: no shell is asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CommandLine {
    text: String,
    words: Vec<String>,
}

impl CommandLine {
    /// What is written after `command:`.
    ///
    /// # Errors
    /// A sentence that says what is wrong, without the text.
    pub fn parse(text: &str) -> std::result::Result<Self, String> {
        let words = words(text)?;
        match words.first() {
            None => Err("the command must have a program".to_owned()),
            Some(program) if program.is_empty() => {
                Err("the command must have a program, not an empty word".to_owned())
            }
            Some(_) => Ok(Self {
                text: text.to_owned(),
                words,
            }),
        }
    }

    /// The program and its arguments.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// What runs it, without the arguments, which may say more than a log should.
    pub fn program(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// The same with another program; it is still written as before.
    pub(crate) fn with_program(mut self, program: &Path) -> Self {
        if let Some(first) = self.words.first_mut() {
            *first = program.to_string_lossy().into_owned();
        }
        self
    }
}

impl std::fmt::Display for CommandLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

fn words(text: &str) -> std::result::Result<Vec<String>, String> {
    if text.contains('\0') {
        return Err("the command must not have a zero byte in it".to_owned());
    }
    let unfinished = |what: &str| format!("the command ends in the middle of {what}");
    let (mut words, mut word) = (Vec::new(), None::<String>);
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            character if character.is_ascii_whitespace() => words.extend(word.take()),
            quote @ ('\'' | '"') => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next() {
                        None => return Err(unfinished("a quoted word")),
                        Some(end) if end == quote => break,
                        Some('\\') if quote == '"' => {
                            let next = characters.next();
                            word.push(next.ok_or_else(|| unfinished("a quoted word"))?);
                        }
                        Some(other) => word.push(other),
                    }
                }
            }
            '\\' => {
                let next = characters.next();
                let next = next.ok_or_else(|| unfinished("an escape"))?;
                word.get_or_insert_default().push(next);
            }
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Ok(words)
}

/// How much a command may do.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    time: Duration,
    /// Of its output, in bytes.
    size: usize,
}

const BOUNDS: Bounds = Bounds {
    time: Duration::from_secs(30),
    size: 64 << 10,
};
/// How often a program is looked at that neither writes nor ends its output.
const SLICE: Duration = Duration::from_millis(100);
/// How long a program that was stopped may take to be gone.
const STOPPING: Duration = Duration::from_secs(2);

/// Runs a program, named by its whole path or to be found in PATH, with these arguments, and returns what it prints
/// without a newline at the end. It has 64 KiB, and 30 seconds or `limit`, whichever is shorter.
///
/// # Errors
/// [`TokenError::Unreachable`] with what is wrong, also if the program ends with another status than 0; always if this
/// process has more rights than its caller.
pub(crate) fn run<W: AsRef<OsStr>>(
    words: &[W],
    environment: &Environment,
    limit: Duration,
) -> Result<Zeroizing<Vec<u8>>> {
    let bounds = Bounds {
        time: BOUNDS.time.min(limit),
        ..BOUNDS
    };
    run_within(words, environment, bounds)
}

fn run_within<W: AsRef<OsStr>>(
    words: &[W],
    environment: &Environment,
    bounds: Bounds,
) -> Result<Zeroizing<Vec<u8>>> {
    let (program, arguments) = words
        .split_first()
        .ok_or_else(|| TokenError::Unreachable(Reason::new("a command without a program")))?;
    let program = program.as_ref();
    let about = |why: String| {
        let program = program.to_string_lossy();
        TokenError::Unreachable(Reason::new(format!("the command {program:?} {why}")))
    };
    let file = find(program, environment).map_err(about)?;
    let mut child = Command::new(&file)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|error| about(format!("cannot be started: {error}")))?;
    let deadline = Instant::now() + bounds.time;
    let finished = finish(&mut child, deadline, bounds);
    match finished {
        Ok(output) => Ok(output),
        Err(Failure { why, running }) => {
            if running {
                stop(&mut child);
            }
            Err(about(why))
        }
    }
}

/// Why a command gave nothing.
struct Failure {
    why: String,
    /// Whether it may be running.
    running: bool,
}

impl Failure {
    fn running(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            running: true,
        }
    }
}

/// Reads what the program prints until it has ended, and ended well.
fn finish(
    child: &mut Child,
    deadline: Instant,
    bounds: Bounds,
) -> std::result::Result<Zeroizing<Vec<u8>>, Failure> {
    let unread = |error: io::Error| Failure::running(format!("cannot be read from: {error}"));
    let stdout = child.stdout.take();
    let mut stdout = stdout.ok_or_else(|| Failure::running("has no output"))?;
    // Room for all of it from the beginning, so that no copy is left behind.
    let mut output = Zeroizing::new(Vec::with_capacity(bounds.size));
    let mut ended = None;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // Once it has ended, only what is there is read: what it has started may keep its output open.
        let wait = if ended.is_some() {
            Duration::ZERO
        } else {
            left.min(SLICE)
        };
        if sys::is_readable(stdout.as_fd(), wait).map_err(unread)? {
            match read(&mut stdout, &mut output, bounds.size).map_err(unread)? {
                More::Some => {}
                More::None => break,
                More::TooMuch => {
                    let why = format!("was stopped: it printed more than {} bytes", bounds.size);
                    return Err(Failure {
                        why,
                        running: ended.is_none(),
                    });
                }
            }
        } else if ended.is_some() {
            break;
        } else {
            ended = status(child)?;
        }
        if left.is_zero() && ended.is_none() {
            return Err(too_slow(bounds));
        }
    }
    drop(stdout);
    let mut pause = Duration::from_millis(1);
    let status = loop {
        if let Some(status) = ended {
            break status;
        }
        ended = status(child)?;
        if ended.is_none() {
            if Instant::now() >= deadline {
                return Err(too_slow(bounds));
            }
            thread::sleep(pause);
            pause = (pause * 2).min(SLICE);
        }
    };
    if let Some(why) = failed(status) {
        return Err(Failure {
            why,
            running: false,
        });
    }
    if output.last() == Some(&b'\n') {
        output.pop();
    }
    Ok(output)
}

enum More {
    Some,
    None,
    TooMuch,
}

fn read(stdout: &mut ChildStdout, output: &mut Vec<u8>, room: usize) -> io::Result<More> {
    let mut piece = Zeroizing::new([0; 4096]);
    let len = loop {
        match stdout.read(&mut *piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => break read?,
        }
    };
    match piece.get(..len) {
        None | Some([]) => Ok(More::None),
        Some(piece) if output.len() + piece.len() > room => Ok(More::TooMuch),
        Some(piece) => {
            output.extend_from_slice(piece);
            Ok(More::Some)
        }
    }
}

/// How it ended, if it has.
fn status(child: &mut Child) -> std::result::Result<Option<ExitStatus>, Failure> {
    child.try_wait().map_err(|error| Failure {
        // ECHILD: somebody else has taken its status, or nobody gets one.
        why: format!(
            "has ended, but not how is known, because this program waits for all of its children or ignores SIGCHLD: \
             {error}; use file: instead"
        ),
        running: false,
    })
}

fn failed(status: ExitStatus) -> Option<String> {
    match (status.code(), status.signal()) {
        (Some(0), _) => None,
        (Some(code), _) => Some(format!(
            "failed with status {code}; run it by hand to see why"
        )),
        (None, Some(signal)) => Some(format!("was ended by signal {signal}")),
        (None, None) => Some("did not end well".to_owned()),
    }
}

fn too_slow(bounds: Bounds) -> Failure {
    Failure::running(format!(
        "was stopped: it had not ended after {} seconds",
        bounds.time.as_secs()
    ))
}

/// Ends a program with all that it has started in its group, and waits until it is gone.
fn stop(child: &mut Child) {
    sys::kill_group(child.id());
    let deadline = Instant::now() + STOPPING;
    while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(5));
    }
}

/// The file of a program, if it is to be believed.
fn find(program: &OsStr, environment: &Environment) -> std::result::Result<PathBuf, String> {
    if environment.secure {
        return Err(
            "is not run by a program that has more rights than its caller; use file:/path"
                .to_owned(),
        );
    }
    let file = match program.as_bytes().contains(&b'/') {
        true => PathBuf::from(program),
        false => in_path(program, environment).ok_or("is not in a folder of PATH")?,
    };
    if !file.is_absolute() {
        return Err("must be a whole path, from / on, or a name in PATH".to_owned());
    }
    trust::check_program(&file, environment.euid)
        .map_err(|why| format!("is not run, because {} {why}", file.display()))?;
    Ok(file)
}

/// As execvp(3) looks, but never in the current folder.
fn in_path(name: &OsStr, environment: &Environment) -> Option<PathBuf> {
    let path = (environment.variable)("PATH")?;
    let folders = std::env::split_paths(&path).filter(|folder| folder.is_absolute());
    let mut files = folders.map(|folder| folder.join(name));
    files.find(|file| trust::is_executable(file))
}

#[cfg(test)]
mod tests;
