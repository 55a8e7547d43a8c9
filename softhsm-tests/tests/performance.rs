//! What makes a module slow or big, counted and not timed: system calls, memory that is left behind, memory that is used wrongly.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use softhsm_tests::{
    bed::{Bed, Identity, Kind, PIN},
    process::{Outcome, run, run_within},
};

/// A token of these keys and hosts/steady.c, compiled.
struct Steady {
    bed: Bed,
    program: PathBuf,
}

impl Steady {
    fn with(kinds: &[Kind]) -> Self {
        let (bed, _) = Bed::with(kinds);
        Self::on(bed)
    }

    /// A token whose password is derived in one step, so that a login takes no longer than what is left to do.
    fn quick_login(kind: Kind) -> Self {
        let bed = Bed::empty();
        let identity = bed.identity("token", kind);
        let file = quick_p12(&bed, &identity);
        bed.register(&file, PIN);
        Self::on(bed)
    }

    fn on(bed: Bed) -> Self {
        let program = bed.work.path().join("steady");
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        run(Command::new("cc")
            .args(["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror"])
            .arg("-I")
            .arg(folder.join("../include"))
            .arg("-o")
            .arg(&program)
            .arg(folder.join("hosts/steady.c"))
            .arg("-ldl"))
        .succeeded();
        Self { bed, program }
    }

    /// The program that does `what` that often, under another program if `above` names one.
    fn command(&self, above: &[&str], what: &str, count: u32) -> Command {
        let mut command = match above {
            [] => self.bed.command(&self.program),
            [first, rest @ ..] => {
                let mut command = self.bed.command(first);
                command.args(rest).arg(&self.program);
                command
            }
        };
        command.arg(&self.bed.module).args(["token", what]);
        command.arg(count.to_string()).env("TEST_PIN", PIN);
        command
    }

    #[track_caller]
    fn run(&self, above: &[&str], what: &str, count: u32) -> Outcome {
        ends(self.command(above, what, count))
    }

    /// By how many bytes the heap is bigger after that.
    #[track_caller]
    fn growth(&self, what: &str, count: u32) -> i64 {
        let mut command = self.command(&[], what, count);
        // What glibc keeps for the next request of a thread would count as used.
        command.env("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0");
        let outcome = ends(command);
        let text = String::from_utf8(outcome.stdout).expect("text");
        text.trim().parse().expect("a number")
    }

    /// The names of the system calls in between.
    #[track_caller]
    fn system_calls(&self, what: &str, count: u32) -> Vec<String> {
        let log = self.bed.work.path().join("trace");
        let path = log.to_str().expect("UTF-8");
        self.run(&["strace", "-f", "-qq", "-o", path], what, count);
        let text = fs::read_to_string(&log).expect("the trace");
        let mut calls = Vec::new();
        let mut marks = 0;
        for line in text.lines() {
            // "PID name(arguments) = result"
            let call = line.split_once(' ').expect("a process and a call").1.trim();
            if call.starts_with("write(-1, \"mark\"") {
                marks += 1;
            } else if marks == 1 {
                calls.push(call.split('(').next().expect("a name").to_owned());
            }
        }
        assert_eq!(marks, 2, "{text}");
        calls
    }
}

/// A host program's success, in minutes.
#[track_caller]
fn ends(mut command: Command) -> Outcome {
    run_within(Duration::from_secs(300), &mut command, b"").succeeded()
}

/// A PKCS #12 file that nobody should have: one iteration.
fn quick_p12(bed: &Bed, identity: &Identity) -> PathBuf {
    let file = bed.work.path().join("token.p12");
    run_within(
        Duration::from_secs(60),
        Command::new("openssl")
            .args(["pkcs12", "-export", "-passout", "stdin", "-name", "token"])
            .args(["-iter", "1", "-inkey"])
            .arg(&identity.key)
            .arg("-in")
            .arg(&identity.certificate)
            .arg("-out")
            .arg(&file),
        format!("{PIN}\n").as_bytes(),
    )
    .succeeded();
    file
}

/// The crypto library takes fresh randomness from the system after some thousands of random numbers. Nothing else may ask it for
/// anything, and a signature needs less than ten of them. But OpenSSL asks for the process's number with each random number, to
/// see a fork, for which AWS-LC has a page that the kernel wipes.
fn only_reseeds(calls: &[String], signatures: u32) {
    let on_openssl = std::env::var("CTK_CRYPTO_LIBRARY").is_ok_and(|name| name == "openssl");
    let calls: Vec<_> = calls
        .iter()
        .filter(|call| !(on_openssl && *call == "getpid"))
        .collect();
    assert!(calls.iter().all(|call| *call == "getrandom"), "{calls:?}");
    let allowed = usize::try_from(signatures / 400).expect("a number");
    assert!(
        calls.len() <= allowed,
        "{} in {signatures} signatures",
        calls.len()
    );
}

#[test]
fn a_signature_asks_the_system_for_nothing() {
    let steady = Steady::with(&[Kind::Rsa2048, Kind::P256, Kind::Ed25519]);
    for (what, count) in [
        ("sign-rsa", 1_000),
        ("sign-rsa-pss", 1_000),
        ("sign-ec", 10_000),
        ("sign-ed25519", 10_000),
    ] {
        only_reseeds(&steady.system_calls(what, count), count);
    }
}

#[test]
fn searches_and_attributes_ask_the_system_for_nothing() {
    let steady = Steady::with(&[Kind::P256]);
    for what in ["find", "attributes"] {
        assert_eq!(steady.system_calls(what, 1_000), [""; 0], "{what}");
    }
}

/// How many bytes may be in use at the end that were not at the beginning: room for sixteen pieces of malloc's smallest size, so
/// what is lost once in some thousand times is found.
const SLACK: i64 = 512;

/// RSA and logins as often as they can be in the time that the 100,000 of all others take.
fn leaves_no_memory_behind(steady: &Steady, things: &[(&str, u32)]) {
    for (what, count) in things {
        let growth = steady.growth(what, *count);
        assert!(growth <= SLACK, "{what}, {count} times: {growth} bytes");
    }
}

#[test]
fn signing_verifying_decrypting_and_deriving_leave_no_memory_behind() {
    let steady = Steady::with(&[Kind::Rsa2048, Kind::P256, Kind::Ed25519]);
    leaves_no_memory_behind(
        &steady,
        &[
            ("sign-rsa", 10_000),
            ("sign-rsa-pss", 10_000),
            ("decrypt-rsa", 10_000),
            ("sign-ec", 100_000),
            ("sign-ed25519", 100_000),
            ("verify-ec", 100_000),
            ("derive", 100_000),
        ],
    );
}

#[test]
fn searches_attributes_objects_and_sessions_leave_no_memory_behind() {
    let steady = Steady::with(&[Kind::P256]);
    let things = ["find", "attributes", "objects", "generate", "session"];
    leaves_no_memory_behind(&steady, &things.map(|what| (what, 100_000)));
}

#[test]
fn logins_leave_no_memory_behind() {
    let steady = Steady::quick_login(Kind::P256);
    leaves_no_memory_behind(&steady, &[("login", 20_000), ("initialize", 2_000)]);
}

#[test]
fn memory_is_used_rightly_and_given_back() {
    let checked = |steady: &Steady, what: &str| {
        let valgrind = [
            "valgrind",
            "--quiet",
            "--error-exitcode=9",
            "--leak-check=full",
            "--errors-for-leak-kinds=definite",
        ];
        steady.run(&valgrind, what, 4);
    };
    let steady = Steady::quick_login(Kind::Rsa2048);
    for what in ["sign-rsa", "sign-rsa-pss", "decrypt-rsa"] {
        checked(&steady, what);
    }
    checked(&Steady::quick_login(Kind::Ed25519), "sign-ed25519");
    let steady = Steady::quick_login(Kind::P256);
    for what in [
        "sign-ec",
        "verify-ec",
        "derive",
        "objects",
        "generate",
        "find",
        "attributes",
        "login",
        "session",
        "initialize",
    ] {
        checked(&steady, what);
    }
}
