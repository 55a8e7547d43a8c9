//! Tokens whose keys are in services, registered as a person registers them, and a program that uses one as it is told.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use cryptoki_sys::*;

use crate::{
    bed::Bed,
    calls::rv_name,
    process::{Outcome, run},
    work::Work,
};

/// Options of `ctk add` for tests in which time runs out: a second for a connection, one without a byte, three in all.
pub const IMPATIENT: [&str; 6] = [
    "--connect-timeout",
    "1",
    "--read-timeout",
    "1",
    "--total-timeout",
    "3",
];
/// The most that a call may take with [`IMPATIENT`], on a machine that has other work to do.
pub const PATIENCE: Duration = Duration::from_secs(6);

/// What says who asks in this process, and would be taken for a test's own.
const FOREIGN: [&str; 10] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "HTTPS_PROXY",
    "https_proxy",
    "NO_PROXY",
    "no_proxy",
];

impl Bed {
    /// `ctk add aws-kms` of all keys that the service at `url` has for this access key. The token is named `name`.
    #[track_caller]
    pub fn add_kms(&self, name: &str, url: &str, access_key_id: &str, options: &[&str]) -> Outcome {
        let secret = self.secret("aws-secret", KMS_SECRET);
        let mut command = self.without_foreign(self.ctk());
        command
            .args(["add", "aws-kms", "--name", name, "--label", name])
            .args(["--region", "us-east-1", "--endpoint", url])
            .args(["--access-key-id", access_key_id, "--secret-access-key"])
            .arg(format!("file:{}", secret.display()))
            .args(options);
        run(&mut command).succeeded()
    }

    /// `ctk add csc` of all credentials that the service at `url` has. The first token is named `name`.
    #[track_caller]
    pub fn add_csc(&self, name: &str, url: &str, options: &[&str]) -> Outcome {
        let mut command = self.without_foreign(self.ctk());
        command.args(["add", "csc", url, "--name", name, "--label", name]);
        run(command.args(options)).succeeded()
    }

    /// A file that only its owner can read.
    pub fn secret(&self, name: &str, content: &str) -> PathBuf {
        let path = self.work.write(name, content);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
        path
    }

    /// A command that knows nothing of who asks in this process.
    pub fn without_foreign(&self, mut command: Command) -> Command {
        for name in FOREIGN {
            command.env_remove(name);
        }
        command
    }
}

/// What KMS requests are signed with, which must be in no log.
pub const KMS_SECRET: &str = "wJalrXUtnFEMI-very-secret-K7MDENG";

/// A program that uses one token as it is told: hosts/network.c. It ends with the test.
#[derive(Debug)]
pub struct Program {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    log: PathBuf,
    read: usize,
}

/// What became of one call.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What the module returned.
    pub rv: CK_RV,
    /// How long it took.
    pub took: Duration,
    /// What else there is to say.
    pub text: String,
}

impl Answer {
    /// It went well.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.gives(CKR_OK)
    }

    /// It ended so.
    #[track_caller]
    pub fn gives(self, rv: CK_RV) -> Self {
        assert_eq!(rv_name(self.rv), rv_name(rv), "after {:?}", self.took);
        self
    }

    /// The bytes that came out.
    pub fn bytes(&self) -> Vec<u8> {
        let digits = self.text.as_bytes().chunks(2);
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        digits
            .map(|pair| byte(pair).expect("hexadecimal"))
            .collect()
    }

    /// The number that came out.
    pub fn number(&self) -> u64 {
        self.text.parse().expect("a number")
    }
}

impl Program {
    /// Starts it and initialises the module, which logs at this level.
    #[track_caller]
    pub fn start(bed: &Bed, level: &str) -> Self {
        let program = bed.work.path().join("network");
        if !program.exists() {
            compile(&program);
        }
        let log = bed.work.path().join(format!("{level}.log"));
        let mut command = bed.without_foreign(bed.command(program));
        command
            .env("CTK_LOG", format!("{level}:{}", log.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("the program");
        let mut program = Self {
            stdin: child.stdin.take().expect("a pipe"),
            stdout: BufReader::new(child.stdout.take().expect("a pipe")),
            child,
            log,
            read: 0,
        };
        program.ask("initialize").ok();
        program
    }

    /// Has it do this.
    #[track_caller]
    pub fn ask(&mut self, line: &str) -> Answer {
        self.tell(line);
        self.answer(line)
    }

    /// Has it begin this; [`Self::answer`] waits for the end.
    #[track_caller]
    pub fn tell(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").expect("the program reads");
    }

    /// What became of what it was told.
    #[track_caller]
    pub fn answer(&mut self, line: &str) -> Answer {
        let mut answer = String::new();
        let _ = self.stdout.read_line(&mut answer);
        let mut words = answer.trim_end().splitn(3, ' ');
        let mut word = || words.next().unwrap_or_default().to_owned();
        let (rv, took, text) = (word(), word(), word());
        let (Ok(rv), Ok(took)) = (CK_RV::from_str_radix(&rv, 16), took.parse()) else {
            panic!("the program ended at {line:?}:\n{}", self.log());
        };
        Answer {
            rv,
            took: Duration::from_millis(took),
            text,
        }
    }

    /// A session on this token, and this key for what is to come.
    #[track_caller]
    pub fn open(&mut self, token: &str, key: &str) {
        self.ask(&format!("open {token}")).ok();
        self.ask(&format!("key {key}")).ok();
    }

    /// What the module has logged since this was asked the last time.
    pub fn new_log(&mut self) -> String {
        let log = self.log();
        let new = log.get(self.read..).unwrap_or_default().to_owned();
        self.read = log.len();
        new
    }

    /// All that the module has logged.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

/// Whether openssl takes this for a signature of the hash by a P-256 key (DER SubjectPublicKeyInfo). The signature is as PKCS#11
/// has it: r and s, 32 bytes each.
#[track_caller]
pub fn p256_verifies(spki: &[u8], hash: &[u8], signature: &[u8]) -> bool {
    assert_eq!(signature.len(), 64);
    let integers: Vec<u8> = signature.chunks(32).flat_map(der_integer).collect();
    let length = u8::try_from(integers.len()).expect("a short signature");
    let work = Work::new();
    let mut command = Command::new("openssl");
    command
        .args(["pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey"])
        .arg(work.write("public", spki))
        .arg("-in")
        .arg(work.write("hash", hash))
        .arg("-sigfile")
        .arg(work.write("signature", [&[0x30, length], &*integers].concat()));
    run(&mut command).status.success()
}

/// A positive INTEGER (X.690 §8.3): as short as it can be, and not taken for a negative one.
fn der_integer(bytes: &[u8]) -> Vec<u8> {
    let mut value = bytes;
    while let [0, rest @ ..] = value
        && !rest.is_empty()
    {
        value = rest;
    }
    let sign: &[u8] = if value[0] < 0x80 { &[] } else { &[0] };
    let length = u8::try_from(sign.len() + value.len()).expect("a short integer");
    [&[2, length], sign, value].concat()
}

/// The public key (DER SubjectPublicKeyInfo) in a certificate (DER).
#[track_caller]
pub fn spki_of(certificate: &[u8]) -> Vec<u8> {
    let work = Work::new();
    let mut extract = Command::new("openssl");
    extract.args(["x509", "-inform", "DER", "-noout", "-pubkey", "-in"]);
    let public = run(extract.arg(work.write("certificate", certificate))).succeeded();
    let mut convert = Command::new("openssl");
    convert.args(["pkey", "-pubin", "-outform", "DER", "-in"]);
    run(convert.arg(work.write("public", public.stdout)))
        .succeeded()
        .stdout
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn compile(program: &Path) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut compile = Command::new("cc");
    compile.args(["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror"]);
    compile
        .arg("-pthread")
        .arg("-I")
        .arg(folder.join("../include"));
    compile.arg("-o").arg(program);
    compile.arg(folder.join("hosts/network.c"));
    run(compile.args(["-ldl", "-lcrypto"])).succeeded();
}
