//! Which crypto library is in what was built: told by the module's log and by the command, from the library itself.

use std::{fs, io::Write};

use softhsm_tests::{
    bed::{Bed, Kind},
    process::run,
};

const SUBJECT: &str = "crypto library: ";

/// How the library that `CTK_CRYPTO_LIBRARY` names begins its version. The default build is on AWS-LC.
fn expected() -> &'static str {
    match std::env::var("CTK_CRYPTO_LIBRARY").as_deref() {
        Err(std::env::VarError::NotPresent) | Ok("aws-lc") => "AWS-LC ",
        Ok("openssl") => "OpenSSL 3.",
        other => panic!("CTK_CRYPTO_LIBRARY is {other:?}, and not aws-lc or openssl"),
    }
}

/// The libraries that are named in the log of a program that loads the module.
fn logged(bed: &Bed, level: &str) -> Vec<String> {
    let log = bed.work.path().join(format!("{level}.log"));
    let mut tool = bed.pkcs11_tool();
    tool.arg("--list-slots")
        .env("CTK_LOG", format!("{level}:{}", log.display()));
    run(&mut tool).succeeded();
    fs::read_to_string(&log)
        .expect("a log")
        .lines()
        .filter_map(|line| Some(line.split_once(SUBJECT)?.1.to_owned()))
        .collect()
}

#[test]
fn the_module_and_the_command_have_the_library_that_was_built() {
    // pkcs11-tool calls it a failure if there is no slot.
    let (bed, _) = Bed::with(&[Kind::P256]);
    let lines = logged(&bed, "info");
    let [version] = &lines[..] else {
        panic!("one line names the library: {lines:?}");
    };
    // Not by println, which shows nothing of a test that passes: each run says what it has tested.
    let line = format!("{SUBJECT}{version}\n");
    std::io::stderr()
        .write_all(line.as_bytes())
        .expect("written");
    assert!(version.starts_with(expected()), "{version}");

    run(bed.ctk().arg("--version"))
        .succeeded()
        .says(&format!("\n{SUBJECT}{version}\n"));
    assert!(logged(&bed, "warn").is_empty());
}
