//! Who is measured: a process each that does what it is told, one at a time.

use std::{
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use crate::{Each, Key, place::Place};

/// A running worker.
#[derive(Debug)]
pub struct Contestant {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

/// One answer of a timed loop.
#[derive(Clone, Copy, Debug)]
pub struct Slice {
    /// CPU time of one operation, in nanoseconds.
    pub cpu_ns: f64,
    /// Operations per second.
    pub rate: f64,
}

impl Contestant {
    /// A module's worker, logged in.
    pub fn module(place: &Place) -> Self {
        Self::start(
            place
                .command(&program("bench-module"))
                .arg(&place.module)
                .arg(&place.label),
        )
    }

    /// The crypto library, with the keys in this folder.
    pub fn bare(keys: PathBuf) -> Self {
        Self::start(Command::new(program("bench-bare")).arg(keys))
    }

    /// A worker of one's own making.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self {
            stdin: child.stdin.take(),
            stdout: BufReader::new(child.stdout.take().expect("a pipe")),
            child,
        }
    }

    /// What the worker says to this.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn ask(&mut self, question: &str) -> Result<String, String> {
        let stdin = self.stdin.as_mut().expect("a pipe");
        writeln!(stdin, "{question}").map_err(|error| error.to_string())?;
        let mut line = String::new();
        self.stdout
            .read_line(&mut line)
            .map_err(|error| error.to_string())?;
        let line = line.trim_end();
        // An answer may have no words.
        match line.split_once(' ').unwrap_or((line, "")) {
            ("ok", answer) => Ok(answer.to_owned()),
            ("error", reason) => Err(reason.to_owned()),
            _ => Err(format!("the worker ended at {question:?}")),
        }
    }

    /// What a timed loop came to.
    ///
    /// # Errors
    /// Why there is none.
    pub fn slice(&mut self, question: &str) -> Result<Slice, String> {
        let answer = self.ask(question)?;
        let numbers: Vec<f64> = answer
            .split(' ')
            .map(|number| number.parse().map_err(|_| format!("answered {answer:?}")))
            .collect::<Result<_, _>>()?;
        let [operations, cpu_ns, rate] = numbers.as_slice() else {
            return Err(format!("answered {answer:?}"));
        };
        Ok(Slice {
            cpu_ns: cpu_ns / operations,
            rate: *rate,
        })
    }

    /// How long single operations took, one after another.
    ///
    /// # Errors
    /// Why there are none.
    pub fn each(&mut self, question: &str) -> Result<Each, String> {
        let answer = self.ask(question)?;
        Each::from_answer(&answer).ok_or_else(|| format!("answered {answer:?}"))
    }

    /// What it has signed with the key.
    ///
    /// # Errors
    /// Why it has not.
    pub fn signature(&mut self, key: Key) -> Result<String, String> {
        self.ask(&format!("signature {}", key.name()))
    }
}

impl Drop for Contestant {
    fn drop(&mut self) {
        // The end of its input ends it.
        self.stdin = None;
        let _ = self.child.wait();
    }
}

/// A program of this package, built beside this one.
pub fn program(name: &str) -> PathBuf {
    let this = std::env::current_exe().expect("this program");
    this.with_file_name(name)
}

/// The middle one; of an even number, the mean of both.
///
/// # Panics
/// Without any.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) {
        (values[middle - 1] + values[middle]) / 2.0
    } else {
        values[middle]
    }
}
