//! The same calls with the same keys against this module and SoftHSM2: whatever differs has to stand in a table with its reason.

mod compare;
mod expected;
mod reasons;
mod runner;
mod script;
mod scripts;
mod table;

use std::{collections::HashSet, env, fs, io::Write, path::Path, process::Command, time::Duration};

use compare::{Report, Transcript};
use runner::{KEPT, TOKEN};
use softhsm_tests::{
    bed::{Bed, Kind, PIN},
    isolated::Environment,
    process::{run, run_within},
    work::Work,
};

/// SoftHSM2, where Debian puts it.
const SOFTHSM: &str = "/usr/lib/softhsm/libsofthsm2.so";
/// Tells a process of this test program which script to run, against which module, with which keys.
const SCRIPT: &str = "CTK_COMPARE_SCRIPT";
const MODULE: &str = "CTK_COMPARE_MODULE";
const IDS: &str = "CTK_COMPARE_IDS";
/// And what the other module wrote in the scripts before.
const PEERS: &str = "CTK_COMPARE_PEERS";

const KINDS: &[(Kind, &str)] = &[
    (Kind::Rsa2048, "rsa"),
    (Kind::P256, "p256"),
    (Kind::P384, "p384"),
    (Kind::Ed25519, "ed25519"),
];

/// How many calls come after one that only one of the modules refused, and before the end of its operation.
const NOT_COMPARED: usize = 121;

#[test]
fn differences_from_softhsm2_are_expected() {
    let scripts = scripts::all();
    if let Ok(name) = env::var(SCRIPT) {
        let script = scripts.iter().find(|script| script.name == name);
        let variable = |name| env::var(name).expect("a variable");
        runner::run(
            script.expect("a script"),
            &variable(MODULE),
            &variable(IDS),
            &variable(PEERS),
        );
        // SoftHSM2's library crashes at the end of a process that unloads OpenSSL before it.
        // SAFETY: a plain system call.
        unsafe { libc::_exit(0) };
    }
    let names: HashSet<_> = scripts.iter().map(|script| script.name).collect();
    assert_eq!(names.len(), scripts.len(), "two scripts of one name");
    for row in table::EXPECTED {
        assert!(names.contains(row.script), "no script {}", row.script);
    }
    let only = env::var("CTK_COMPARE_ONLY").ok();
    if let Some(only) = &only {
        assert!(names.contains(only.as_str()), "no script {only}");
    }

    let (bed, ids) = tokens();
    let (mut our_kept, mut their_kept) = (String::new(), String::new());
    let whole = Work::new();
    copy(bed.work.path(), whole.path());
    let mut report = Report::default();
    for script in &scripts {
        if only.as_deref().is_some_and(|only| only != script.name) {
            continue;
        }
        let run = |module, peers: &str| transcript(&bed, script.name, module, &ids, peers);
        let (ours, our_output) = run(&bed.module, &their_kept);
        let (theirs, their_output) = run(Path::new(SOFTHSM), &our_kept);
        for (kept, output) in [(&mut our_kept, our_output), (&mut their_kept, their_output)] {
            let lines = output.lines().filter(|line| line.contains(KEPT));
            let lines = lines.filter(|line| !line.contains("ciphertext"));
            kept.extend(lines.flat_map(|line| [line, "\n"]));
        }
        if only.is_some() {
            for (number, step) in script.steps.iter().enumerate() {
                println!(
                    "{}\n    {:?}\n    {:?}",
                    step.title,
                    ours.get(&number),
                    theirs.get(&number)
                );
            }
        }
        report.add(script, &ours, &theirs);
        // A script may have changed PINs.
        copy(whole.path(), bed.work.path());
    }

    let table = report.table();
    println!("{table}");
    let steps: usize = scripts.iter().map(|script| script.steps.len()).sum();
    let summary = format!(
        "{steps} calls in {} scripts: {} answered alike, {} differently as expected, {} not compared",
        scripts.len(),
        report.alike,
        report.expected.len(),
        report.not_compared.len()
    );
    // Not by println, which shows nothing of a test that passes: each run says what it has compared.
    let line = format!("compared with SoftHSM2: {summary}\n");
    std::io::stderr()
        .write_all(line.as_bytes())
        .expect("written");
    for place in &report.not_compared {
        println!("not compared, as something before it differs: {place}");
    }
    if only.is_none() {
        let work = Path::new(env!("CARGO_MANIFEST_DIR")).join("work");
        fs::create_dir_all(&work).expect("a folder for the table");
        fs::write(work.join("differences.md"), format!("{summary}\n\n{table}")).expect("the table");
    }
    assert!(
        report.wrong.is_empty(),
        "{} wrong:\n{}",
        report.wrong.len(),
        report.wrong.join("\n")
    );
    if only.is_none() {
        assert_eq!(report.not_compared.len(), NOT_COMPARED, "not compared");
    }
}

/// A token of the same keys and certificates for each module; a line "NAME ID" for each identity.
fn tokens() -> (Bed, String) {
    assert!(
        Path::new(SOFTHSM).is_file(),
        "{SOFTHSM} is not there: apt-get install softhsm2"
    );
    let kinds: Vec<_> = KINDS.iter().map(|(kind, _)| *kind).collect();
    let bed = Bed::empty();
    let identities = bed.token(TOKEN, &kinds);
    let folder = bed.work.path().join("softhsm");
    fs::create_dir(&folder).expect("a folder for SoftHSM2");
    bed.work.write(
        "softhsm2.conf",
        format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            folder.display()
        ),
    );
    let softhsm = || {
        let mut command = bed.command("softhsm2-util");
        command.envs(variables(&bed));
        command
    };
    run(softhsm()
        .args(["--init-token", "--free", "--label", TOKEN])
        .args(["--so-pin", PIN, "--pin", PIN]))
    .succeeded();
    let mut ids = String::new();
    for (identity, (_, name)) in identities.iter().zip(KINDS) {
        // softhsm2-util forbids keys to derive.
        let tool = || {
            let mut tool = bed.command("pkcs11-tool");
            tool.envs(variables(&bed)).args([
                "--module",
                SOFTHSM,
                "--token-label",
                TOKEN,
                "--login",
                "--pin",
                PIN,
            ]);
            tool.args(["--id", &identity.id, "--label", &identity.name]);
            tool
        };
        if matches!(identity.kind, Kind::P256 | Kind::P384) {
            for (file, kind) in [(&identity.key, "privkey"), (&identity.public, "pubkey")] {
                run(tool()
                    .args([
                        "--usage-sign",
                        "--usage-derive",
                        "--type",
                        kind,
                        "--write-object",
                    ])
                    .arg(file))
                .succeeded();
            }
        } else {
            run(softhsm()
                .arg("--import")
                .arg(&identity.key)
                .args(["--token", TOKEN, "--label", &identity.name])
                .args(["--id", &identity.id, "--pin", PIN]))
            .succeeded();
        }
        let der = identity.certificate.with_extension("der");
        run(Command::new("openssl")
            .args(["x509", "-outform", "DER", "-in"])
            .arg(&identity.certificate)
            .arg("-out")
            .arg(&der))
        .succeeded();
        run(tool().args(["--type", "cert", "--write-object"]).arg(&der)).succeeded();
        ids += &format!("{name} {}\n", identity.id);
    }
    (bed, ids)
}

/// Copies all that is in a folder into another, in place of what is there.
fn copy(from: &Path, to: &Path) {
    let mut copy = Command::new("cp");
    copy.args(["-a", "--remove-destination"]);
    run(copy.arg(from.join(".")).arg(to)).succeeded();
}

fn variables(bed: &Bed) -> Vec<(String, String)> {
    let mut variables = bed.variables();
    let configuration = bed.work.path().join("softhsm2.conf");
    let configuration = configuration.to_str().expect("UTF-8").to_owned();
    variables.push(("SOFTHSM2_CONF".to_owned(), configuration));
    variables
}

/// What a script in a process of its own answered, and all that it wrote.
fn transcript(
    bed: &Bed,
    script: &str,
    module: &Path,
    ids: &str,
    peers: &str,
) -> (Transcript, String) {
    let mut command = bed.command(env::current_exe().expect("this program"));
    command
        .args([
            "--exact",
            "differences_from_softhsm2_are_expected",
            "--nocapture",
        ])
        .envs(variables(bed))
        .env(SCRIPT, script)
        .env(MODULE, module)
        .env(IDS, ids)
        .env(PEERS, peers);
    let outcome = run_within(Duration::from_secs(120), &mut command, b"");
    let text = outcome.text();
    let mut transcript = compare::read(&String::from_utf8_lossy(&outcome.stdout));
    if !outcome.status.success() {
        println!("{script}: {}: {}\n{text}", module.display(), outcome.status);
        transcript.insert(
            transcript.len(),
            vec![format!("the process ended: {}", outcome.status)],
        );
    }
    (
        transcript,
        String::from_utf8_lossy(&outcome.stdout).into_owned(),
    )
}
