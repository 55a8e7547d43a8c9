//! Four programs share one card: ssh-agent, Firefox, a program that signs all the time, and programs that come and go.
//!
//! A card has one PIN and one "verified", whoever verified it. When a program logs out and is not alone with the card, it says so
//! to the card, and the logins of the others are over with it: fail closed. So a program may be told at any time that it is not
//! logged in, and a new login must then do: CKR_USER_NOT_LOGGED_IN; of ssh-agent "agent refused operation"; in Firefox no page,
//! and at the next one its dialog. That is all that may happen: every signature verifies, every PIN is right, no other error is
//! seen, nobody hangs, and nobody waits longer than [`PATIENCE`] from one signature to the next.
//!
//! `CTK_SHARE_SECONDS` says how long it goes on, 60 s if it does not.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use softhsm_tests::{
    bed::{Bed, Kind},
    cards::{Options, PIN, Profile, VirtualCard},
    pcscd::Pcscd,
    process::{LIMIT, Server, free_port, run, run_within},
    python::{python, script},
    tls::PAGE_TEXT,
};

/// How long a program that wants to sign may be kept from it, its own new logins included.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often a program may be refused in a row, with a new login each time.
const REFUSALS: usize = 20;

/// What one of the programs has got of the card.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    signatures: usize,
    refused: usize,
    longest: Duration,
}

/// A card with four keys, for several programs.
struct Shared {
    bed: Bed,
    pcscd: Pcscd,
    /// Where the certificates of the card are.
    folder: PathBuf,
    end: Instant,
}

impl Shared {
    fn new(pcscd: Pcscd, card: &VirtualCard, seconds: u64) -> Self {
        Self {
            bed: Bed::with_cards(),
            pcscd,
            folder: card.folder(),
            end: Instant::now() + Duration::from_secs(seconds),
        }
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = self.bed.command(program);
        command.envs([self.pcscd.env()]);
        command
    }

    fn file(&self, name: &str) -> PathBuf {
        self.bed.work.path().join(name)
    }

    fn public(&self) -> PathBuf {
        self.folder.join("9a.pub")
    }

    /// Signs until the end: `sign` says whether it was let, and `log_in` is done when it was not.
    #[track_caller]
    fn until_the_end(&self, sign: impl Fn(usize) -> bool, log_in: impl Fn()) -> Share {
        let mut share = Share::default();
        let mut last = Instant::now();
        let mut in_a_row = 0;
        while Instant::now() < self.end {
            if sign(share.signatures) {
                share.signatures += 1;
                share.longest = share.longest.max(last.elapsed());
                last = Instant::now();
                in_a_row = 0;
            } else {
                share.refused += 1;
                in_a_row += 1;
                assert!(
                    in_a_row < REFUSALS,
                    "refused {in_a_row} times in a row: {share:?}"
                );
                log_in();
            }
        }
        share.longest = share.longest.max(last.elapsed());
        share
    }

    /// ssh-agent keeps the module loaded, and signs files with the key in 9A.
    fn ssh_agent(&self) -> Share {
        let socket = self.file("agent");
        let module = self.bed.module.canonicalize().expect("the module");
        let askpass = self
            .bed
            .work
            .write("askpass", format!("#!/bin/sh\necho {PIN}\n"));
        fs::set_permissions(&askpass, fs::Permissions::from_mode(0o700)).expect("askpass");
        let mut agent = self.command("ssh-agent");
        agent
            .args(["-d", "-P", module.to_str().expect("UTF-8"), "-a"])
            .arg(&socket);
        let mut agent = Server::start(&mut agent, &self.file("agent.log"));
        agent.wait_until("listening", |_| socket.exists());
        let add = |action: &str| {
            let mut command = self.command("ssh-add");
            command
                .env("SSH_ASKPASS", &askpass)
                .env("SSH_ASKPASS_REQUIRE", "force");
            run(command
                .env("SSH_AUTH_SOCK", &socket)
                .arg(action)
                .arg(&module))
        };
        add("-s").succeeded();
        let mut convert = self.command("ssh-keygen");
        let key = run(convert.args(["-i", "-m", "PKCS8", "-f"]).arg(self.public())).succeeded();
        let key = self.bed.work.write("agent-key.pub", key.stdout);
        let sign = |count: usize| {
            let message = format!("message {count} of ssh-agent\n");
            let mut command = self.command("ssh-keygen");
            command
                .env("SSH_AUTH_SOCK", &socket)
                .args(["-Y", "sign", "-n", "test", "-f"]);
            let signed = run_within(LIMIT, command.arg(&key), message.as_bytes());
            if !signed.status.success() {
                signed.refused().says("agent refused operation");
                return false;
            }
            let signature = self.bed.work.write("agent.sig", signed.stdout);
            let mut verify = self.command("ssh-keygen");
            verify
                .args(["-Y", "check-novalidate", "-n", "test", "-s"])
                .arg(signature);
            run_within(LIMIT, &mut verify, message.as_bytes()).succeeded();
            true
        };
        self.until_the_end(sign, || {
            add("-e").succeeded();
            add("-s").succeeded();
        })
    }

    /// Firefox keeps the module loaded, and shows the certificate of 9A to a server that wants to see it in each new connection.
    /// It asks for the PIN when it is not logged in.
    fn firefox(&self) -> Share {
        let own = self.bed.identity("server", Kind::P256);
        let port = free_port();
        let mut server = Command::new("openssl");
        server.args(["s_server", "-www", "-Verify", "1", "-verify_return_error"]);
        // A session that goes on where another one was would sign nothing.
        server.args(["-no_ticket", "-num_tickets", "0", "-no_cache", "-quiet"]);
        server
            .args(["-accept", &format!("127.0.0.1:{port}"), "-cert"])
            .arg(&own.certificate);
        server
            .arg("-key")
            .arg(&own.key)
            .arg("-CAfile")
            .arg(self.folder.join("ca.crt"));
        let mut server = Server::start(&mut server, &self.file("s_server.log"));
        server.wait_for_port(port);
        let left = self.end.saturating_duration_since(Instant::now());
        let mut command = self.command(python());
        command
            .arg(script("firefox_share.py"))
            .arg(self.bed.nss_database("profile"));
        command.args([
            &format!("https://localhost:{port}/"),
            &left.as_secs().to_string(),
        ]);
        let pins = format!("{PIN}\n").repeat(1000);
        let command = command.env_remove("DISPLAY");
        let outcome = run_within(left + LIMIT, command, pins.as_bytes()).succeeded();
        let said = String::from_utf8(outcome.stdout).expect("text");
        let mut share = Share::default();
        let mut in_a_row = 0;
        let mut since = Duration::ZERO;
        for line in said.lines() {
            if let Some(text) = line.strip_prefix("text ") {
                let arrived = text.contains(PAGE_TEXT);
                in_a_row = if arrived { 0 } else { in_a_row + 1 };
                assert!(in_a_row < REFUSALS, "{said}");
                share.signatures += usize::from(arrived);
                share.refused += usize::from(!arrived);
            } else if let Some(took) = line.strip_prefix("took ") {
                since += Duration::from_millis(took.parse().expect("a number"));
                share.longest = share.longest.max(since);
                if in_a_row == 0 {
                    since = Duration::ZERO;
                }
            }
        }
        share
    }

    /// A program that stays, signs without a pause, and logs out and in every 25 signatures.
    fn signing_loop(&self) -> Share {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let program = self.file("share");
        let mut compile = Command::new("cc");
        compile.args([
            "-std=gnu11",
            "-O1",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-pthread",
            "-I",
        ]);
        compile
            .arg(folder.join("../include"))
            .arg("-o")
            .arg(&program);
        run(compile
            .arg(folder.join("hosts/share.c"))
            .args(["-ldl", "-lcrypto"]))
        .succeeded();
        let left = self.end.saturating_duration_since(Instant::now());
        let mut command = self.command(program);
        command
            .env("TEST_PIN", PIN)
            .env("TEST_PUBLIC", self.public());
        command.arg(left.as_secs().to_string());
        let outcome = run_within(left + LIMIT, &mut command, b"").succeeded();
        let text = String::from_utf8(outcome.stdout).expect("text");
        let numbers: Vec<u64> = text
            .split_whitespace()
            .map(|word| word.parse().expect("a number"))
            .collect();
        let [signatures, refused, longest] = numbers[..] else {
            panic!("{text}");
        };
        Share {
            signatures: signatures as usize,
            refused: refused as usize,
            longest: Duration::from_millis(longest),
        }
    }

    /// pkcs11-tool again and again: it starts, logs in, signs, and ends.
    fn passers_by(&self) -> Share {
        let sign = |count: usize| {
            self.bed
                .work
                .write("message", format!("message {count} of pkcs11-tool"));
            let mut command = self.command("pkcs11-tool");
            command.arg("--module").arg(&self.bed.module);
            command.args([
                "--login",
                "--pin",
                PIN,
                "--sign",
                "--id",
                "01",
                "-m",
                "SHA256-RSA-PKCS",
            ]);
            let outcome =
                run(command.args(["--input-file", "message", "--output-file", "signature"]));
            if !outcome.status.success() {
                outcome.refused().says("CKR_USER_NOT_LOGGED_IN");
                return false;
            }
            let mut verify = self.command("openssl");
            verify
                .args(["dgst", "-sha256", "-verify"])
                .arg(self.public());
            run(verify.args(["-signature", "signature", "message"])).succeeded();
            true
        };
        self.until_the_end(sign, || ())
    }
}

fn seconds() -> u64 {
    let seconds = std::env::var("CTK_SHARE_SECONDS").ok();
    seconds.map_or(60, |text| {
        text.parse().expect("CTK_SHARE_SECONDS: a number")
    })
}

#[test]
fn nobody_starves_and_nothing_is_wrong() {
    let seconds = seconds();
    let pcscd = Pcscd::start();
    let card = pcscd.insert(0, Profile::PivFour, Options::default());
    let shared = Shared::new(pcscd, &card, seconds);
    let shares = thread::scope(|scope| {
        let threads = [
            ("ssh-agent", scope.spawn(|| shared.ssh_agent())),
            ("Firefox", scope.spawn(|| shared.firefox())),
            (
                "a loop of signatures",
                scope.spawn(|| shared.signing_loop()),
            ),
            ("pkcs11-tool", scope.spawn(|| shared.passers_by())),
        ];
        threads.map(|(name, thread)| (name, thread.join().expect(name)))
    });
    for (name, share) in shares {
        println!("{name}: {share:?}");
    }
    let apdus = card.log();
    let wrong = apdus
        .iter()
        .filter(|apdu| apdu.command.starts_with("00200080") && apdu.command.len() > 10);
    for verify in wrong {
        assert_eq!(
            verify.status,
            Some(0x9000),
            "a PIN that is wrong: {verify:?}"
        );
    }
    for (name, share) in shares {
        assert!(share.longest < PATIENCE, "{name} starved: {share:?}");
        assert!(share.signatures as u64 > seconds / 2, "{name}: {share:?}");
    }
}
