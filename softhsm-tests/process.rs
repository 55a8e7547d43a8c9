//! Programs that must end in time, and servers that end with the test.

use std::{
    fs::File,
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// How long a program may take that only signs something.
pub const LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);

/// How a program ended, and what it said.
#[derive(Debug)]
pub struct Outcome {
    /// The command line, for messages.
    pub command: String,
    /// Its exit status.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

impl Outcome {
    /// Standard output and standard error as text.
    pub fn text(&self) -> String {
        format!(
            "{}\n{}",
            String::from_utf8_lossy(&self.stdout),
            String::from_utf8_lossy(&self.stderr)
        )
    }

    /// The program ended with status 0.
    #[track_caller]
    pub fn succeeded(self) -> Self {
        assert!(
            self.status.success(),
            "{} ended with {}:\n{}",
            self.command,
            self.status,
            self.text()
        );
        self
    }

    /// The program ended by itself with another status than 0: a crash is not a refusal.
    #[track_caller]
    pub fn refused(self) -> Self {
        assert!(
            !self.status.success(),
            "{} went through:\n{}",
            self.command,
            self.text()
        );
        assert_eq!(
            self.status.signal(),
            None,
            "{} crashed:\n{}",
            self.command,
            self.text()
        );
        self
    }

    /// Its output holds this text.
    #[track_caller]
    pub fn says(self, wanted: &str) -> Self {
        let text = self.text();
        assert!(
            text.contains(wanted),
            "{} does not say {wanted:?}:\n{text}",
            self.command
        );
        self
    }
}

/// Runs a program with `input` on its standard input. Ends the test if it takes longer than `limit`, and tells what the program
/// said until then.
#[track_caller]
pub fn run_within(limit: Duration, command: &mut Command, input: &[u8]) -> Outcome {
    let line = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap_or_else(|error| panic!("{line}: {error}"));
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_vec();
    // A program that ends without reading its input closes the pipe: not an error.
    let writer = thread::spawn(move || drop(stdin.write_all(&input)));
    let stdout = Reader::start(child.stdout.take().expect("a pipe"));
    let stderr = Reader::start(child.stderr.take().expect("a pipe"));
    let Some(status) = ends_within(&mut child, limit) else {
        end(&mut child);
        panic!(
            "{line} still ran after {limit:?}. It said:\n{}\n{}",
            String::from_utf8_lossy(&stdout.until_now()),
            String::from_utf8_lossy(&stderr.until_now())
        );
    };
    let _ = writer.join();
    Outcome {
        command: line,
        status,
        stdout: stdout.all(),
        stderr: stderr.all(),
    }
}

/// Runs a program without input, within [`LIMIT`].
#[track_caller]
pub fn run(command: &mut Command) -> Outcome {
    run_within(LIMIT, command, b"")
}

/// A thread that reads what a program says.
struct Reader {
    thread: thread::JoinHandle<()>,
    read: Arc<Mutex<Vec<u8>>>,
}

impl Reader {
    fn start(mut pipe: impl Read + Send + 'static) -> Self {
        let read = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&read);
        let thread = thread::spawn(move || {
            let mut part = [0; 8192];
            while let Ok(len @ 1..) = pipe.read(&mut part) {
                all.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend_from_slice(&part[..len]);
            }
        });
        Self { thread, read }
    }

    /// All of it: whoever has the pipe has closed it.
    fn all(self) -> Vec<u8> {
        self.thread.join().expect("reader");
        std::mem::take(&mut self.read.lock().expect("what was read"))
    }

    /// What was said by a program that has been ended. Another one that it started may have the pipe still, so this does not
    /// wait for long.
    fn until_now(&self) -> Vec<u8> {
        let end = Instant::now() + Duration::from_secs(5);
        while !self.thread.is_finished() && Instant::now() < end {
            thread::sleep(POLL);
        }
        self.read
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

fn ends_within(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().expect("wait") {
            return Some(status);
        }
        if Instant::now() > end {
            return None;
        }
        thread::sleep(POLL);
    }
}

/// Ends a program that we started, and what it started: it has a process group of its own.
fn end(child: &mut Child) {
    if let Ok(pid) = i32::try_from(child.id()) {
        // SAFETY: a plain system call; the child is not waited for yet, so the number is still its own.
        unsafe { libc::kill(-pid, libc::SIGKILL) };
    }
    let _ = child.wait();
}

/// A program that runs until the test ends.
#[derive(Debug)]
pub struct Server {
    child: Child,
    log: PathBuf,
    line: String,
}

impl Server {
    /// Starts it; what it says goes to the file `log`. Its standard input stays open and empty.
    #[track_caller]
    pub fn start(command: &mut Command, log: &Path) -> Self {
        Self::start_with(command, log, Stdio::piped())
    }

    /// Starts it with this as its standard input.
    #[track_caller]
    pub fn start_with(command: &mut Command, log: &Path, stdin: Stdio) -> Self {
        let line = format!("{command:?}");
        let file = File::create(log).expect("the server's log");
        let child = command
            .stdin(stdin)
            .stdout(file.try_clone().expect("the server's log"))
            .stderr(file)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{line}: {error}"));
        Self {
            child,
            log: log.to_owned(),
            line,
        }
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it said until now.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits until `ready`, or ends the test if the server ends or takes longer than [`LIMIT`].
    #[track_caller]
    pub fn wait_until(&mut self, what: &str, ready: impl Fn(&Self) -> bool) {
        let end = Instant::now() + LIMIT;
        while !ready(self) {
            if let Some(status) = self.child.try_wait().expect("wait") {
                panic!("{} ended with {status}:\n{}", self.line, self.log());
            }
            assert!(
                Instant::now() < end,
                "{}: not {what} after {LIMIT:?}:\n{}",
                self.line,
                self.log()
            );
            thread::sleep(POLL);
        }
    }

    /// Waits until it takes connections on `port` of 127.0.0.1.
    #[track_caller]
    pub fn wait_for_port(&mut self, port: u16) {
        self.wait_until("listening", |_| {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.child);
        if thread::panicking() {
            eprintln!("{} said:\n{}", self.line, self.log());
        }
    }
}

/// A port of 127.0.0.1 that nothing listens on.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_that_hangs_has_said_is_told() {
        let mut hangs = Command::new("sh");
        hangs.args(["-c", "echo one; echo two >&2; exec sleep 600"]);
        let run = || run_within(Duration::from_secs(5), &mut hangs, b"");
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
        let panic = panic.expect_err("it ended");
        let text = panic.downcast_ref::<String>().expect("a text");
        assert!(text.contains("said:\none\n\ntwo\n"), "{text}");
    }
}
