//! An empty home for one test, the command in it, and files made by openssl.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail at any step"
)]
#![allow(dead_code, reason = "no file of tests needs all of it")]

pub(crate) mod terminal;

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

/// How long a command may take.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct Bed(PathBuf);

/// How a command ended and what it printed.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) error: String,
}

impl Ran {
    /// What it printed, after checking that it has done its work.
    pub(crate) fn succeeded(self) -> String {
        assert_eq!(self.code, 0, "{}{}", self.out, self.error);
        self.out
    }

    /// What it complained of, after checking that it failed so.
    pub(crate) fn failed(self, code: i32) -> String {
        assert_eq!(self.code, code, "{}{}", self.out, self.error);
        assert!(!self.error.is_empty());
        self.error
    }
}

impl Bed {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // Closed to others, for keys are in it; and made by nobody else.
        let mut folder = fs::DirBuilder::new();
        folder.mode(0o700);
        let made = loop {
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!("ctk-command-{}-{number}", std::process::id());
            let path = std::env::temp_dir().join(name);
            match folder.create(&path) {
                Ok(()) => break path,
                Err(error) => assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}"),
            }
        };
        folder.create(made.join("home")).unwrap();
        Self(made.canonicalize().unwrap())
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.path("home")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A file of the user's configuration, written by hand.
    pub(crate) fn configuration(&self, name: &str, text: &str) -> PathBuf {
        let file = self.home().join(".config/ctk").join(name);
        let mut folder = fs::DirBuilder::new();
        folder.recursive(true).mode(0o755);
        folder.create(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        file
    }

    /// The user's own file of the token of this name.
    pub(crate) fn stored(&self, name: &str) -> String {
        let file = format!(".config/ctk/tokens.d/{name}.toml");
        fs::read_to_string(self.home().join(file)).unwrap()
    }

    /// A file with a secret that only its owner can read, as the source that it is.
    pub(crate) fn secret(&self, name: &str, text: &str) -> String {
        let file = self.path(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        format!("file:{}", file.display())
    }

    /// The command with these arguments, in this home.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ctk"));
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.home())
            // No card of this machine.
            .env("PCSCLITE_CSOCK_NAME", self.path("no-pcscd"))
            .current_dir(&self.0);
        command
    }

    pub(crate) fn ctk(&self, arguments: &[&str], input: &str) -> Ran {
        self.run(&mut self.command(arguments), input)
    }

    /// Its JSON, after checking that it has done its work.
    pub(crate) fn json(&self, arguments: &[&str], input: &str) -> Value {
        let ran = self.ctk(&[&["--json"], arguments].concat(), input);
        serde_json::from_str(&ran.succeeded()).unwrap()
    }

    /// What the doctor says, whatever it finds.
    pub(crate) fn doctor(&self) -> Value {
        serde_json::from_str(&self.ctk(&["doctor", "--json"], "").out).unwrap()
    }

    pub(crate) fn run(&self, command: &mut Command, input: &str) -> Ran {
        let command = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A command that needs no input may have ended already.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let out = text_of(child.stdout.take().unwrap());
        let error = text_of(child.stderr.take().unwrap());
        let end = Instant::now() + LIMIT;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > end {
                child.kill().unwrap();
                child.wait().unwrap();
                let (out, error) = (out.join().unwrap(), error.join().unwrap());
                panic!("{command:?} still ran after {LIMIT:?}: {out}{error}");
            }
            thread::sleep(Duration::from_millis(2));
        };
        Ran {
            code: status.code().unwrap(),
            out: out.join().unwrap(),
            error: error.join().unwrap(),
        }
    }

    /// NAME.p12 with one new identity, and its parts NAME.key and NAME.crt.
    pub(crate) fn p12(&self, name: &str, kind: &str, password: &str) -> PathBuf {
        let (key, certificate) = (format!("{name}.key"), format!("{name}.crt"));
        let kind: &[&str] = match kind {
            "ec" => &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
            kind => &["-newkey", kind],
        };
        let subject = format!("/CN=CN of {name}");
        let mut request = vec!["req", "-x509", "-nodes", "-days", "100", "-subj", &subject];
        request.extend(["-keyout", &key, "-out", &certificate]);
        request.extend(kind);
        self.openssl(&request);
        let (file, label) = (format!("{name}.p12"), format!("label of {name}"));
        let secret = format!("pass:{password}");
        self.openssl(&[
            "pkcs12",
            "-export",
            "-inkey",
            &key,
            "-in",
            &certificate,
            "-name",
            &label,
            "-passout",
            &secret,
            "-out",
            &file,
        ]);
        self.path(&file)
    }

    /// The id of a key, as its certificate names it.
    pub(crate) fn key_id(&self, name: &str) -> String {
        let certificate = format!("{name}.crt");
        let text = self.openssl(&[
            "x509",
            "-in",
            &certificate,
            "-noout",
            "-ext",
            "subjectKeyIdentifier",
        ]);
        let text = String::from_utf8(text).unwrap();
        text.lines()
            .last()
            .unwrap()
            .trim()
            .replace(':', "")
            .to_lowercase()
    }

    /// The serial number that a token of this key alone has.
    pub(crate) fn serial(&self, name: &str) -> String {
        let (key, public) = (format!("{name}.key"), format!("{name}.pub"));
        self.openssl(&[
            "pkey", "-in", &key, "-pubout", "-outform", "DER", "-out", &public,
        ]);
        let text = String::from_utf8(self.openssl(&["dgst", "-sha256", "-r", &public])).unwrap();
        text.chars().take(16).collect()
    }

    pub(crate) fn openssl(&self, arguments: &[&str]) -> Vec<u8> {
        let output = Command::new("openssl")
            .args(arguments)
            .current_dir(&self.0)
            .output();
        let output = output.expect("openssl is installed");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }
}

/// All that is printed, read as it comes so that a full pipe stops nobody.
fn text_of(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text).unwrap();
        text
    })
}

impl Drop for Bed {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(Path::new(&self.0));
    }
}

/// Tells that a test cannot run here: in the file that `CTK_TEST_SKIPS` names, where whoever counts the tests looks.
pub(crate) fn skip(line: &str) {
    eprintln!("skipped: {line}");
    if let Some(file) = std::env::var_os("CTK_TEST_SKIPS") {
        let mut file = fs::OpenOptions::new().append(true).open(file).unwrap();
        file.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}
