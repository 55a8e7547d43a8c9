//! The command over smart cards: from an empty card to a signature with its certificate, PINs, events, and what is wrong.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use softhsm_tests::{
    cards::{MANAGEMENT_KEY, Options, PIN, PUK, Profile, VirtualCard},
    module::{command_path, module_path},
    pcscd::Pcscd,
    process::{LIMIT, Outcome, run, run_within},
    work::Work,
};

/// A pcscd with a card in its first reader, and the command beside it.
struct Desk {
    // The card goes before its reader.
    card: VirtualCard,
    pcscd: Pcscd,
    work: Work,
}

impl Desk {
    fn with(profile: Profile) -> Self {
        let pcscd = Pcscd::start();
        let card = pcscd.insert(0, profile, Options::default());
        let work = Work::new();
        let key = work.write("management-key", MANAGEMENT_KEY);
        fs::set_permissions(key, fs::Permissions::from_mode(0o600)).expect("chmod");
        Self { card, pcscd, work }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.pcscd.command(command_path());
        command.args(arguments).current_dir(self.work.path());
        command
    }

    /// The command, with these lines on its standard input.
    #[track_caller]
    fn ctk(&self, arguments: &[&str], input: &str) -> Outcome {
        run_within(LIMIT, &mut self.command(arguments), input.as_bytes())
    }

    /// The command with the management key, which stands in a file.
    #[track_caller]
    fn admin(&self, arguments: &[&str], input: &str) -> Outcome {
        let with_key = [arguments, &["--management-key-file", "management-key"]].concat();
        self.ctk(&with_key, input)
    }

    #[track_caller]
    fn openssl(&self, arguments: &[&str]) -> Outcome {
        let mut command = Command::new("openssl");
        run(command.args(arguments).current_dir(self.work.path()))
    }

    /// A certificate for a request, by an authority that is made for it.
    #[track_caller]
    fn certify(&self, request: &str, certificate: &str) {
        let curve = ["-pkeyopt", "ec_paramgen_curve:P-256"];
        let authority = ["req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"];
        let names = [
            "-subj",
            "/CN=Test authority",
            "-keyout",
            "ca.key",
            "-out",
            "ca.crt",
        ];
        self.openssl(&[&authority[..], &curve, &names].concat())
            .succeeded();
        self.openssl(&[
            "x509",
            "-req",
            "-in",
            request,
            "-days",
            "60",
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-out",
            certificate,
        ])
        .succeeded();
    }

    /// How many commands with this beginning the card has seen.
    fn sent(&self, beginning: &str) -> usize {
        let log = self.card.log();
        log.iter()
            .filter(|apdu| apdu.command.starts_with(beginning))
            .count()
    }
}

/// Commands with a PIN in them (SP 800-73-4 part 2 §3.2): VERIFY and CHANGE REFERENCE DATA.
const VERIFY: &str = "0020008008";
const CHANGE: &str = "00240080";

#[test]
fn a_key_made_on_an_empty_card_gets_a_certificate_and_signs() {
    let desk = Desk::with(Profile::PivEmpty);
    // It has an identity already, so nobody is asked for a management key.
    desk.ctk(&["card", "init"], "")
        .succeeded()
        .says("nothing was changed");
    desk.ctk(&["card", "info"], "")
        .succeeded()
        .says("none that the card tells of");

    desk.admin(
        &[
            "card", "generate", "9a", "--type", "rsa2048", "--out", "9a.pub",
        ],
        "",
    )
    .succeeded()
    .says("RSA-2048 made in 9a");
    desk.openssl(&["pkey", "-pubin", "-in", "9a.pub", "-noout", "-text"])
        .succeeded()
        .says("(2048 bit)");
    let subject = ["--subject", "CN=Alice Doe, O=Example"];
    let names = [
        "--san",
        "email:alice@example.org",
        "--san",
        "upn:alice@EXAMPLE.ORG",
    ];
    let request = ["card", "request", "9a", "--out", "9a.csr"];
    let input = format!("{PIN}\n");
    let without = desk.ctk(&[&request[..], &subject].concat(), &input);
    without.refused().says("--public-key");
    let public = ["--public-key", "9a.pub"];
    desk.ctk(&[&request[..], &subject, &names, &public].concat(), &input)
        .succeeded();
    desk.openssl(&["req", "-verify", "-noout", "-text", "-in", "9a.csr"])
        .succeeded()
        .says("verify OK")
        .says("Subject: O = Example, CN = Alice Doe")
        .says("email:alice@example.org")
        .says("UPN::alice@EXAMPLE.ORG");
    desk.certify("9a.csr", "9a.crt");
    desk.admin(&["card", "import-cert", "9a", "9a.crt"], "")
        .succeeded()
        .says("has the certificate of CN=Alice Doe,O=Example");

    desk.ctk(&["card", "info"], "")
        .succeeded()
        .says("9a: RSA-2048, PIV AUTH key")
        .says("Issuer      CN=Test authority")
        .says("Label       Alice Doe");
    desk.ctk(&["list"], "")
        .succeeded()
        .says("Alice Doe  RSA-2048  Alice Doe  ")
        .says(&format!(
            "No card that can be used in {}",
            desk.pcscd.reader(1)
        ));
    desk.ctk(&["test", &desk.pcscd.reader(0)], &input)
        .succeeded()
        .says("RSA PKCS#1 v1.5 SHA-256      OK");

    fs::write(desk.path("text"), "to be signed").expect("a text");
    run(desk
        .pcscd
        .command("pkcs11-tool")
        .arg("--module")
        .arg(module_path())
        .args([
            "--login",
            "--pin",
            PIN,
            "--sign",
            "--id",
            "01",
            "-m",
            "SHA256-RSA-PKCS",
        ])
        .args(["--input-file", "text", "--output-file", "signature"])
        .current_dir(desk.work.path()))
    .succeeded();
    desk.openssl(&[
        "dgst",
        "-sha256",
        "-verify",
        "9a.pub",
        "-signature",
        "signature",
        "text",
    ])
    .succeeded()
    .says("Verified OK");
}

#[test]
fn key_and_request_are_made_together() {
    let desk = Desk::with(Profile::PivEmpty);
    let generate = [
        "card",
        "generate",
        "9c",
        "--type",
        "p256",
        "--request",
        "9c.csr",
    ];
    let subject = ["--subject", "CN=Alice signs"];
    let generate = [&generate[..], &subject].concat();
    // Who has no right to sign finds out before a key is made.
    desk.admin(&generate, "000000\n")
        .refused()
        .says("wrong PIN; 2 tries");
    assert_eq!(desk.sent("0047"), 0, "a key was made all the same");
    let made = desk.admin(&generate, &format!("{PIN}\n")).succeeded();
    fs::write(desk.path("9c.pub"), &made.stdout).expect("the public key");
    desk.openssl(&["req", "-verify", "-noout", "-in", "9c.csr"])
        .succeeded()
        .says("verify OK");
    let of_request = desk.openssl(&["req", "-noout", "-pubkey", "-in", "9c.csr"]);
    assert_eq!(of_request.succeeded().stdout, made.stdout);

    desk.certify("9c.csr", "9c.crt");
    let import = ["card", "import-cert", "9c", "9c.crt"];
    desk.admin(&import, "").succeeded();
    // The PIN goes out before each signature of this key.
    desk.ctk(&["test", "Virtual"], &format!("{PIN}\n"))
        .succeeded()
        .says("SIGN key  P-256  ECDSA SHA-256  OK      02");
    desk.admin(&["card", "generate", "9c", "--type", "p256"], "")
        .refused()
        .says("which would be destroyed for good");
    let other = ["card", "generate", "9c", "--type", "p384", "--force"];
    desk.admin(&other, "").succeeded();
    // Its certificate is gone with it, and does not go back.
    desk.ctk(&["card", "delete-cert", "9c", "--yes"], "")
        .refused()
        .says("no certificate in 9c");
}

#[test]
fn a_certificate_of_another_key_is_refused() {
    let desk = Desk::with(Profile::PivFour);
    let theirs = desk.card.folder();
    let other = fs::read_dir(&theirs).expect("the card's files");
    let names: Vec<_> = other
        .filter_map(|entry| entry.expect("a file").file_name().into_string().ok())
        .collect();
    let certificate = |wanted: &str| {
        let name = names
            .iter()
            .find(|name| name.to_lowercase().contains(wanted) && name.ends_with(".crt"));
        let name = name.unwrap_or_else(|| panic!("no {wanted} among {names:?}"));
        theirs.join(name).to_str().expect("UTF-8").to_owned()
    };
    let (own, other) = (certificate("9a"), certificate("9d"));
    desk.admin(&["card", "import-cert", "9a", &other], "")
        .refused()
        .says("is about another key");
    desk.admin(&["card", "import-cert", "9a", &own], "")
        .succeeded();
    desk.admin(&["card", "import-cert", "9a", "management-key"], "")
        .refused()
        .says("no X.509 certificate");
    let wrong = "00".repeat(24);
    desk.ctk(&["card", "import-cert", "9a", &own], &format!("{wrong}\n"))
        .refused()
        .says("wrong management key");
    desk.ctk(&["card", "import-cert", "9a", &own], &format!("{PUK}\n"))
        .refused()
        .says("32, 48 or 64 hexadecimal digits");
    let open = desk.work.write("open-key", MANAGEMENT_KEY);
    fs::set_permissions(open, fs::Permissions::from_mode(0o644)).expect("chmod");
    let read_by_all = ["--management-key-file", "open-key"];
    desk.ctk(
        &[&["card", "import-cert", "9a", &own][..], &read_by_all].concat(),
        "",
    )
    .refused()
    .says("chmod go=");
    desk.admin(&["card", "delete-cert", "9a", "--yes"], "")
        .succeeded()
        .says("its key stays");
    let left = desk.ctk(&["card", "info", "--json"], "").succeeded();
    let left = String::from_utf8(left.stdout).expect("JSON");
    assert!(
        !left.contains("\"9a\"") && left.contains("\"9c\""),
        "{left}"
    );
}

#[test]
fn a_pin_is_changed_locked_and_unblocked() {
    let desk = Desk::with(Profile::PivOne);
    let change = ["pin", "change"];
    desk.ctk(&change, &format!("{PIN}\n654321\n"))
        .succeeded()
        .says("has a new PIN");
    // What cannot be a PIN is not sent, and costs no try.
    let before = desk.sent(VERIFY);
    desk.ctk(&change, "12345\n")
        .refused()
        .says("no try was spent");
    desk.ctk(&change, "123456789\n")
        .refused()
        .says("no try was spent");
    assert_eq!(desk.sent(VERIFY), before);
    // This card refuses letters by itself, and does not count them.
    desk.ctk(&change, "12345x\n")
        .refused()
        .says("no try was spent");
    desk.ctk(&["card", "info"], "")
        .succeeded()
        .says("3 tries left");
    let before = desk.sent(CHANGE);
    desk.ctk(&change, "654321\n12345\n")
        .refused()
        .says("6 to 8 digits; nothing was changed");
    assert_eq!(desk.sent(CHANGE), before);
    desk.ctk(&change, "654321\nabcdef\n")
        .refused()
        .says("nothing was changed");

    desk.ctk(&change, "000000\n111111\n")
        .refused()
        .says("2 tries are left");
    desk.ctk(&["card", "info"], "")
        .succeeded()
        .says("2 tries left");
    desk.ctk(&change, "000000\n111111\n")
        .refused()
        .says("one try is left");
    desk.ctk(&["doctor", "card"], "")
        .succeeded()
        .says("the next wrong one locks it");
    desk.ctk(&change, "000000\n111111\n")
        .refused()
        .says("ctk pin unblock");
    // Nobody is asked for a PIN that is locked.
    let before = desk.sent(VERIFY);
    desk.ctk(&change, "").refused().says("is locked");
    assert_eq!(desk.sent(VERIFY), before);
    desk.ctk(&["doctor", "card"], "")
        .refused()
        .says("PROBLEM")
        .says("the PIN is locked");

    let unblock = ["pin", "unblock"];
    desk.ctk(&unblock, "00000000\n222222\n")
        .refused()
        .says("wrong PUK");
    desk.ctk(&unblock, &format!("{PUK}\n222222\n"))
        .succeeded()
        .says("has a new PIN");
    desk.ctk(&["pin", "change", "--admin"], &format!("{PUK}\n87654321\n"))
        .succeeded()
        .says("has a new PUK");
    desk.ctk(&unblock, &format!("{PUK}\n333333\n"))
        .refused()
        .says("wrong PUK");
    desk.ctk(&["test", "Virtual"], "222222\n").succeeded();
    // None of it is in what was printed or can be seen by others.
    for (wrong, said) in [
        ("pin", "a command is missing"),
        ("change", "an argument too many"),
    ] {
        let arguments = match wrong {
            "pin" => vec!["pin", "222222"],
            _ => vec!["pin", "change", "222222"],
        };
        let refused = desk.ctk(&arguments, "").refused().says(said);
        assert!(!refused.text().contains("222222"));
    }
}

/// Types each text when what stands before it was printed, at a terminal that `script` makes, and gives all that was printed.
#[track_caller]
fn typing(desk: &Desk, command: &str, dialogue: &[(&str, &str)]) -> String {
    let mut script = desk.pcscd.command("timeout");
    let mut child = script
        .args(["60", "script", "-qec", command, "/dev/null"])
        .env("CTK", command_path())
        .env("SHELL", "/bin/sh")
        .current_dir(desk.work.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script");
    let mut input = child.stdin.take().expect("a pipe");
    let mut output = child.stdout.take().expect("a pipe");
    let (mut printed, mut seen, mut buffer) = (Vec::new(), 0, [0; 4096]);
    for (prompt, typed) in dialogue {
        while !String::from_utf8_lossy(&printed[seen..]).contains(prompt) {
            let len = output.read(&mut buffer).expect("what it prints");
            let text = String::from_utf8_lossy(&printed);
            assert_ne!(len, 0, "{prompt:?} does not come: {text}");
            printed.extend_from_slice(&buffer[..len]);
        }
        seen = printed.len();
        // The question is printed just before the echo is switched off. Typed too early, the text is read all the same.
        thread::sleep(Duration::from_millis(200));
        input.write_all(typed.as_bytes()).expect("a terminal");
    }
    output.read_to_end(&mut printed).expect("what it prints");
    child.wait().expect("its status");
    String::from_utf8_lossy(&printed).into_owned()
}

#[test]
fn nobody_locks_a_card_by_typing_on() {
    let desk = Desk::with(Profile::PivOne);
    let (prompt, wrong) = ("PIN of the PIV card", "000000\n");
    let change = "\"$CTK\" pin change; echo ended $?";
    // Three may be tried at a terminal, but not the card's last.
    let refused = typing(&desk, change, &[(prompt, wrong), (prompt, wrong)]);
    assert!(refused.contains("2 tries are left; try again"), "{refused}");
    assert!(refused.contains("one try is left"), "{refused}");
    assert!(refused.contains("ended 1"), "{refused}");
    let right = (prompt, "123456\n");
    let new = ("New PIN (6 to 8 digits): ", "654321\n");
    let differ = ("New PIN again: ", "654322\n");
    let refused = typing(&desk, change, &[(prompt, "123\n"), right, new, differ]);
    assert!(refused.contains("the next wrong PIN locks it"), "{refused}");
    assert!(refused.contains("no try was spent; try again"), "{refused}");
    assert!(refused.contains("differ; nothing was changed"), "{refused}");
    let again = ("New PIN again: ", "654321\n");
    let changed = typing(&desk, change, &[right, new, again]);
    assert!(changed.contains("has a new PIN"), "{changed}");
    assert!(!(refused + &changed).contains("654321"), "it was shown");

    let generate = "\"$CTK\" card generate 9a --type p256; echo ended $?";
    let kept = typing(&desk, generate, &[("Type yes to go on: ", "y\n")]);
    assert!(
        kept.contains("nothing was changed") && kept.contains("ended 1"),
        "{kept}"
    );
    assert_eq!(desk.sent("0047"), 0);
    let management_key = ("Management key of", "default\n");
    let made = typing(
        &desk,
        generate,
        &[("Type yes to go on: ", "yes\n"), management_key],
    );
    assert!(
        made.contains("BEGIN PUBLIC KEY") && made.contains("ended 0"),
        "{made}"
    );
}

/// Keeps the card in the reader that is named for itself, until its input ends.
const KEEPER: &str = "
import ctypes, sys
library = ctypes.CDLL('libpcsclite.so.1')
context, card, protocol = ctypes.c_long(), ctypes.c_long(), ctypes.c_ulong()
assert library.SCardEstablishContext(2, None, None, ctypes.byref(context)) == 0
name = sys.argv[1].encode()
assert library.SCardConnect(context, name, 1, 3, ctypes.byref(card), ctypes.byref(protocol)) == 0
print('kept', flush=True)
sys.stdin.read()
";

#[test]
fn who_keeps_a_card_is_named() {
    let desk = Desk::with(Profile::PivOne);
    let mut keeper = desk.pcscd.command("python3");
    let mut keeper = keeper
        .args(["-c", KEEPER, &desk.pcscd.reader(0)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3");
    let mut said = String::new();
    let out = keeper.stdout.take().expect("a pipe");
    BufReader::new(out).read_line(&mut said).expect("a line");
    assert_eq!(said, "kept\n");
    // Processes are looked through while others come and go, so that one may be missed once.
    let named = format!("({})", keeper.id());
    let end = Instant::now() + LIMIT;
    loop {
        let told = desk.ctk(&["doctor", "card"], "").refused();
        let told = told.says("by another program").text();
        if told.contains(&named) {
            break;
        }
        assert!(Instant::now() < end, "{named} is not in {told}");
    }
    drop(keeper.stdin.take());
    assert!(keeper.wait().expect("its status").success());
    desk.ctk(&["doctor", "card"], "").succeeded();
}

#[test]
fn an_openpgp_card_is_provisioned_alike() {
    let desk = Desk::with(Profile::OpenPgpRsa);
    desk.ctk(&["card", "info"], "")
        .succeeded()
        .says("OpenPGP card")
        .says("sign: RSA-2048")
        .says("auth: RSA-2048");
    desk.ctk(&["test", "Virtual"], &format!("{PIN}\n"))
        .succeeded();
    desk.ctk(&["pin", "change"], &format!("{PIN}\n654321\n"))
        .succeeded()
        .says("has a new PIN");
    let subject = ["--subject", "CN=Alice"];
    let generate = [
        "card",
        "generate",
        "auth",
        "--type",
        "p256",
        "--request",
        "auth.csr",
        "--force",
    ];
    let input = format!("654321\n{PUK}\n");
    desk.ctk(&[&generate[..], &subject].concat(), &input)
        .succeeded();
    desk.openssl(&["req", "-verify", "-noout", "-in", "auth.csr"])
        .succeeded()
        .says("verify OK");
    desk.certify("auth.csr", "auth.crt");
    desk.ctk(
        &["card", "import-cert", "auth", "auth.crt"],
        &format!("{PUK}\n"),
    )
    .succeeded();
    desk.ctk(&["card", "info"], "")
        .succeeded()
        .says("auth: P-256")
        .says("Subject     CN=Alice");
    desk.ctk(&["pin", "change", "--admin"], &format!("{PUK}\n87654321\n"))
        .succeeded()
        .says("has a new admin PIN");
    desk.ctk(&["pin", "unblock"], "87654321\n111111\n")
        .succeeded()
        .says("has a new PIN");
    desk.ctk(&["test", "Virtual"], "111111\n").succeeded();
    desk.ctk(&["card", "init"], "")
        .refused()
        .says("nothing to do");
}

/// A running `ctk watch`, whose lines come as it prints them.
struct Watch {
    child: Child,
    lines: Receiver<String>,
}

impl Watch {
    fn start(desk: &Desk) -> Self {
        let mut child = desk
            .command(&["watch", "--json"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("ctk watch");
        let out = BufReader::new(child.stdout.take().expect("a pipe"));
        let (send, lines) = channel();
        thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// The next event, which has to be this one in this reader.
    #[track_caller]
    fn tells(&self, event: &str, reader: &str) -> String {
        let line = self.lines.recv_timeout(LIMIT).expect("an event");
        assert!(line.contains(&format!("\"event\":\"{event}\"")), "{line}");
        assert!(line.contains(&format!("\"reader\":\"{reader}\"")), "{line}");
        line
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn cards_are_watched_until_somebody_ends_it() {
    let mut desk = Desk::with(Profile::PivOne);
    let (first, second) = (desk.pcscd.reader(0), desk.pcscd.reader(1));
    let mut watch = Watch::start(&desk);
    watch.tells("reader", &first);
    let present = watch.tells("present", &first);
    assert!(present.contains("\"kind\":\"PIV card\""), "{present}");
    watch.tells("reader", &second);
    desk.card.remove();
    watch.tells("removed", &first);
    desk.card.insert();
    watch.tells("inserted", &first);
    desk.card.swap(Profile::PivEmpty, Duration::from_millis(50));
    watch.tells("removed", &first);
    let other = watch.tells("inserted", &first);
    assert!(!other.contains("Test Key"), "{other}");
    let terminated = Command::new("kill")
        .args(["-TERM", &watch.child.id().to_string()])
        .status();
    assert!(terminated.expect("kill").success());
    let end = Instant::now() + LIMIT;
    let status = loop {
        if let Some(status) = watch.child.try_wait().expect("its status") {
            break status;
        }
        assert!(Instant::now() < end, "it still runs");
        thread::sleep(Duration::from_millis(10));
    };
    assert_eq!(status.code(), Some(0));
}

#[test]
fn the_doctor_says_what_is_missing() {
    let mut desk = Desk::with(Profile::PivFour);
    let doctor = ["doctor", "card"];
    let good = desk.ctk(&doctor, "").succeeded();
    good.says("ok       PC/SC service: it answers at")
        .says("PIV card")
        .says("3 tries left")
        .says(&format!(
            "reader {}: no card is in it",
            desk.pcscd.reader(1)
        ));
    desk.ctk(&["doctor"], "").says("PIV card");
    desk.card.remove();
    let empty = format!("reader {}: no card is in it", desk.pcscd.reader(0));
    desk.ctk(&doctor, "").succeeded().says(&empty);
    desk.ctk(&["card", "info"], "")
        .refused()
        .says("put one in; if it is in, ctk doctor card says what is wrong");
    desk.pcscd.kill();
    desk.ctk(&doctor, "")
        .refused()
        .says("PROBLEM  PC/SC service")
        .says("systemctl enable --now pcscd.socket");
    desk.ctk(&["card", "info"], "")
        .refused()
        .says("there is no smart card reader");
}
