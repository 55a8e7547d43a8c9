//! What a token's table says shows in real programs: who sees what and in which order, whose PIN is sent, and what a mistake costs.

use std::{
    ffi::OsStr,
    fs,
    io::Write,
    os::unix::fs::{PermissionsExt, chown},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

use softhsm_tests::{
    bed::{Bed, Identity, Kind, PIN, WRONG_PIN},
    process::{Outcome, run},
};

/// The labels of the tokens that pkcs11-tool sees, in its order.
fn labels(mut pkcs11_tool: Command) -> Vec<String> {
    let outcome = run(pkcs11_tool.arg("-L"));
    // It takes a machine without slots for an error.
    let outcome = match outcome.text().contains("No slots.") {
        true => outcome.refused(),
        false => outcome.succeeded(),
    };
    let text = String::from_utf8(outcome.stdout).expect("text");
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("token label        : "))
        .map(str::to_owned)
        .collect()
}

/// Has pkcs11-tool sign `message` with the RSA key of a token, after whatever options for the login.
fn sign(bed: &Bed, identity: &Identity, login: &[&str]) -> Outcome {
    bed.work.write("message", b"a message");
    let _ = fs::remove_file(bed.work.path().join("signature"));
    let mut command = bed.pkcs11_tool();
    command
        .args(login)
        .args(["--id", &identity.id, "--sign", "-m", "SHA256-RSA-PKCS"])
        .args(["--input-file", "message", "--output-file", "signature"]);
    run(&mut command)
}

/// openssl finds that the key of `identity` has made the file `signature`.
#[track_caller]
fn verifies(bed: &Bed, identity: &Identity) {
    let mut command = bed.command("openssl");
    command
        .args(["dgst", "-sha256", "-verify"])
        .arg(&identity.public);
    run(command.args(["-signature", "signature", "message"])).succeeded();
}

#[track_caller]
fn no_signature(bed: &Bed) {
    let signature = fs::read(bed.work.path().join("signature")).unwrap_or_default();
    assert!(signature.is_empty(), "a signature all the same");
}

/// A copy of pkcs11-tool under another name.
fn copy_of_pkcs11_tool(bed: &Bed, name: &str) -> PathBuf {
    let copy = bed.work.path().join(name);
    fs::copy("/usr/bin/pkcs11-tool", &copy).expect("a copy of pkcs11-tool");
    copy
}

/// Writes a file that only its owner can read.
fn secret(bed: &Bed, name: &str, content: &str) -> PathBuf {
    let path = bed.work.write(name, content);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("permissions");
    path
}

#[test]
fn programs_are_let_in_and_kept_out() {
    let (bed, identities) = Bed::with(&[Kind::Rsa2048]);
    let copy = copy_of_pkcs11_tool(&bed, "other-tool");
    let by_copy = || {
        let mut command = bed.command(&copy);
        command.arg("--module").arg(&bed.module);
        labels(command)
    };
    let by_ssh_keygen = || {
        let outcome = run(bed.command("ssh-keygen").arg("-D").arg(&bed.module));
        outcome.text().contains("ssh-rsa ")
    };
    let seen = || {
        (
            labels(bed.pkcs11_tool()).len(),
            by_copy().len(),
            by_ssh_keygen(),
        )
    };
    assert_eq!(seen(), (1, 1, true));
    bed.update("token", &["--program", "ssh-keygen"]);
    assert_eq!(seen(), (0, 0, true));
    bed.update("token", &["--program", copy.to_str().expect("UTF-8")]);
    assert_eq!(seen(), (0, 1, false));
    bed.update("token", &["--program", "", "--not-program", "pkcs11-tool"]);
    assert_eq!(seen(), (0, 1, true));
    // Not listed is not there: it cannot be used either.
    sign(&bed, &identities[0], &["--login", "--pin", PIN]).refused();
    no_signature(&bed);
    bed.update("token", &["--not-program", ""]);
    assert_eq!(seen(), (1, 1, true));
}

#[test]
fn tokens_come_in_their_order() {
    let bed = Bed::empty();
    for name in ["first", "second", "third"] {
        bed.token(name, &[Kind::P256]);
    }
    assert_eq!(labels(bed.pkcs11_tool()), ["first", "second", "third"]);
    bed.update("third", &["--order", "-5"]);
    bed.update("first", &["--order", "7"]);
    assert_eq!(labels(bed.pkcs11_tool()), ["third", "second", "first"]);
}

#[test]
fn a_removable_token_is_shown_as_one() {
    let (bed, _) = Bed::with(&[Kind::P256]);
    let shows = || run(bed.pkcs11_tool().args(["-L", "-v"])).succeeded().text();
    assert!(shows().contains("token present"), "{}", shows());
    assert!(!shows().contains("removable device"), "{}", shows());
    bed.update("token", &["--removable"]);
    assert!(shows().contains("removable device"), "{}", shows());
}

#[test]
fn a_hidden_identity_is_not_there() {
    let (bed, identities) = Bed::with(&[Kind::Rsa2048, Kind::Ed25519]);
    let [rsa, edwards] = &identities[..] else {
        panic!("two identities");
    };
    bed.update("token", &["--hide", &edwards.id]);
    let listed = run(bed.pkcs11_tool().args(["-O", "--login", "--pin", PIN]))
        .succeeded()
        .says(&rsa.id)
        .text();
    assert!(!listed.contains(&edwards.id), "{listed}");
    assert!(!listed.contains(&edwards.name), "{listed}");
    // What it is for: the engine fails for every key of a token that shows it an Ed25519 key.
    bed.work.write("message", b"a message");
    let pin: String = PIN.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let mut command = bed.openssl();
    command.args(["dgst", "-sha256", "-engine", "pkcs11", "-keyform", "engine"]);
    run(command
        .args(["-out", "signature", "-sign"])
        .arg(format!(
            "pkcs11:id={};type=private?pin-value={pin}",
            rsa.uri_id()
        ))
        .arg("message"))
    .succeeded();
    verifies(&bed, rsa);
}

#[test]
fn a_stored_pin_is_sent_when_the_program_logs_in() {
    let (bed, identities) = Bed::with(&[Kind::Rsa2048]);
    let stored = secret(&bed, "stored", &format!("{PIN}\n"));
    bed.update("token", &["--pin", &format!("file:{}", stored.display())]);
    // pkcs11-tool asks nobody for a PIN that the token does not want, and sends none.
    run(bed.pkcs11_tool().arg("-L"))
        .succeeded()
        .says("login required")
        .says("PIN pad present");
    sign(&bed, &identities[0], &["--login"]).succeeded();
    verifies(&bed, &identities[0]);

    secret(&bed, "stored", WRONG_PIN);
    sign(&bed, &identities[0], &["--login"])
        .refused()
        .says("CKR_PIN_INCORRECT");
    no_signature(&bed);
    fs::remove_file(&stored).expect("the PIN's file");
    sign(&bed, &identities[0], &["--login"])
        .refused()
        .says("CKR_DEVICE_ERROR");
    no_signature(&bed);
}

#[test]
fn a_stored_pin_is_sent_when_a_key_is_used() {
    let (bed, identities) = Bed::with(&[Kind::Rsa2048]);
    let stored = secret(&bed, "stored", PIN);
    let file = format!("file:{}", stored.display());
    bed.update("token", &["--pin", &file, "--login", "on-use"]);
    let listed = run(bed.pkcs11_tool().arg("-L")).succeeded().text();
    assert!(!listed.contains("login required"), "{listed}");
    bed.work.write("message", b"a message");
    let (outcome, log) = logged(&bed, "trace", |mut command| {
        command.args(["--id", &identities[0].id, "--sign", "-m", "SHA256-RSA-PKCS"]);
        run(command.args(["--input-file", "message", "--output-file", "signature"]))
    });
    outcome.succeeded();
    verifies(&bed, &identities[0]);
    // The program did not log in.
    assert!(log.contains("C_SignInit"), "{log}");
    assert!(!log.contains("C_Login"), "{log}");
    secret(&bed, "stored", WRONG_PIN);
    sign(&bed, &identities[0], &[])
        .refused()
        .says("CKR_USER_NOT_LOGGED_IN");
    no_signature(&bed);

    bed.update("token", &["--pin", "env:STORED_PIN"]);
    let sign_with = |pin: &str| {
        let _ = fs::remove_file(bed.work.path().join("signature"));
        let mut command = bed.pkcs11_tool();
        command.env("STORED_PIN", pin);
        command.args(["--id", &identities[0].id, "--sign", "-m", "SHA256-RSA-PKCS"]);
        run(command.args(["--input-file", "message", "--output-file", "signature"]))
    };
    sign_with(PIN).succeeded();
    verifies(&bed, &identities[0]);
    sign_with(WRONG_PIN)
        .refused()
        .says("CKR_USER_NOT_LOGGED_IN");
    no_signature(&bed);
}

/// The log that `CTK_LOG=LEVEL:FILE` gives while pkcs11-tool does something.
fn logged(bed: &Bed, level: &str, act: impl FnOnce(Command) -> Outcome) -> (Outcome, String) {
    let log = bed.work.path().join("log");
    let _ = fs::remove_file(&log);
    let mut command = bed.pkcs11_tool();
    command.env("CTK_LOG", format!("{level}:{}", log.display()));
    let outcome = act(command);
    (outcome, fs::read_to_string(&log).unwrap_or_default())
}

#[test]
fn a_wrong_line_costs_its_own_token_only() {
    let (bed, identities) = Bed::with(&[Kind::Rsa2048]);
    bed.token("another", &[Kind::P256]);
    let place = bed.configuration().join("another.toml");
    let good = fs::read_to_string(&place).expect("the table");
    assert_eq!(labels(bed.pkcs11_tool()), ["another", "token"]);
    for wrong in ["ordr = 1\n", "order = \"first\"\n", "no TOML at all\n"] {
        let text = good.replacen("[[token]]\n", &format!("[[token]]\n{wrong}"), 1);
        assert_ne!(text, good);
        let line = 1 + text
            .lines()
            .position(|line| line == wrong.trim())
            .expect("it");
        fs::write(&place, text).expect("a wrong line");
        let (_, log) = logged(&bed, "warn", |command| {
            assert_eq!(labels(command), ["token"], "{wrong}");
            sign(&bed, &identities[0], &["--login", "--pin", PIN]).succeeded()
        });
        verifies(&bed, &identities[0]);
        let wanted = format!("{}:{line}:", place.display());
        assert!(log.contains(&wanted), "{wrong}: no {wanted} in\n{log}");
    }
}

#[test]
fn a_file_that_is_gone_or_another_or_damaged_signs_nothing_and_is_named() {
    let (bed, identities) = Bed::with(&[Kind::Rsa2048]);
    let other = bed.identity("other", Kind::Rsa2048);
    let another = bed.p12("another", &[other], PIN);
    let place = bed.work.path().join("token.p12");
    let good = fs::read(&place).expect("the token's file");
    let log_in = || {
        logged(&bed, "warn", |mut command| {
            bed.work.write("message", b"a message");
            let _ = fs::remove_file(bed.work.path().join("signature"));
            command.args(["--login", "--pin", PIN, "--id", &identities[0].id]);
            command.args(["--sign", "-m", "SHA256-RSA-PKCS"]);
            run(command.args(["--input-file", "message", "--output-file", "signature"]))
        })
    };
    let (outcome, log) = log_in();
    outcome.succeeded();
    verifies(&bed, &identities[0]);
    assert_eq!(log, "", "a warning without a reason");

    let gone = || fs::remove_file(&place).expect("the token's file");
    let replaced = || {
        fs::copy(&another, &place).expect("another file");
    };
    let damaged = || fs::write(&place, &good[..good.len() / 2]).expect("half a file");
    let cases: [(&str, &dyn Fn(), &str); 3] = [
        ("gone", &gone, "put it back"),
        ("replaced", &replaced, "ctk update"),
        ("damaged", &damaged, "restore"),
    ];
    for (case, spoil, advice) in cases {
        spoil();
        let (outcome, log) = log_in();
        outcome.refused().says("CKR_DEVICE_ERROR");
        no_signature(&bed);
        let name = place.to_str().expect("UTF-8");
        assert!(log.contains(name), "{case}: the file is not named:\n{log}");
        assert!(
            log.contains(advice),
            "{case}: no word of what to do:\n{log}"
        );
        // It is still listed, and comes back with its file.
        assert_eq!(labels(bed.pkcs11_tool()), ["token"], "{case}");
        fs::write(&place, &good).expect("the good file again");
        log_in().0.succeeded();
        verifies(&bed, &identities[0]);
    }
}

#[test]
fn no_pin_is_in_the_finest_log() {
    let (bed, identities) = Bed::with(&[Kind::Rsa2048]);
    let stored = secret(&bed, "stored", PIN);
    for pin in [PIN, WRONG_PIN] {
        let (_, log) = logged(&bed, "trace", |mut command| {
            command.args(["--login", "--pin", pin, "-O"]);
            run(&mut command)
        });
        no_pin(&log, pin);
    }
    bed.update("token", &["--pin", &format!("file:{}", stored.display())]);
    let (outcome, log) = logged(&bed, "trace", |mut command| {
        command.args(["--login", "--id", &identities[0].id, "--sign"]);
        command.args(["-m", "SHA256-RSA-PKCS", "--input-file"]);
        run(command.arg(&identities[0].public).args(["-o", "signature"]))
    });
    outcome.succeeded();
    no_pin(&log, PIN);
}

#[track_caller]
fn no_pin(log: &str, pin: &str) {
    assert!(log.contains("C_Login"), "not even the call:\n{log}");
    let bytes: Vec<_> = pin.bytes().collect();
    let hexadecimal: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let ascii = pin.get(..8).expect("eight letters");
    for trace in [
        ascii,
        &hexadecimal,
        &format!("{bytes:?}"),
        &format!("{pin:?}"),
    ] {
        let found = log.to_lowercase().contains(&trace.to_lowercase());
        assert!(!found, "{trace} in\n{log}");
    }
}

/// A user that no machine has.
const NOBODY: u32 = 41_234;

#[test]
fn a_setuid_program_sees_nothing_of_its_callers() {
    let (bed, _) = Bed::with(&[Kind::P256]);
    let copy = copy_of_pkcs11_tool(&bed, "setuid-tool");
    let module = bed.work.path().join("module.so");
    fs::copy(&bed.module, &module).expect("a copy of the module");
    let status = fs::read_to_string("/proc/self/status").expect("status");
    if chown(&copy, Some(NOBODY), Some(NOBODY)).is_err() || !status.contains("NoNewPrivs:\t0") {
        return skip("setuid pkcs11-tool: making a setuid program needs root");
    }
    // Nothing but the rule may keep the configuration from the other user.
    open_for_reading(bed.work.path());
    let logs = bed.work.path().join("logs");
    fs::create_dir(&logs).expect("a folder for logs");
    fs::set_permissions(&logs, fs::Permissions::from_mode(0o777)).expect("permissions");
    let seen = |name: &str, is_other_user: bool| {
        let log = logs.join(name);
        let mut command = bed.command(&copy);
        command.env("CTK_LOG", format!("trace:{}", log.display()));
        command.arg("--module").arg(&module);
        if is_other_user {
            command.uid(NOBODY).gid(NOBODY);
        }
        let outcome = run(command.arg("-L"));
        (
            outcome.text().contains("token label        : token"),
            log.exists(),
        )
    };
    let mode = |mode| fs::set_permissions(&copy, fs::Permissions::from_mode(mode));
    mode(0o755).expect("permissions");
    assert_eq!(seen("caller", false), (true, true));
    assert_eq!(seen("other", true), (true, true));
    mode(0o4755).expect("permissions");
    assert_eq!(seen("setuid", false), (false, false));
}

/// `chmod -R a+rX`.
fn open_for_reading(folder: &Path) {
    let mut command = Command::new("chmod");
    run(command.args([OsStr::new("-R"), OsStr::new("a+rX"), folder.as_os_str()])).succeeded();
}

/// Tells that a test cannot run here: in the file that `CTK_TEST_SKIPS` names, which run.sh reads.
fn skip(line: &str) {
    eprintln!("skipped: {line}");
    if let Some(file) = std::env::var_os("CTK_TEST_SKIPS") {
        let mut file = fs::OpenOptions::new()
            .append(true)
            .open(file)
            .expect("the list");
        writeln!(file, "{line}").expect("the list");
    }
}
