//! C_SignInit and C_Sign allocate no memory of their own: all there is, the crypto library allocates for its numbers.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use softhsm_bench::{Allocations, Key};
use softhsm_tests::{
    bed::{Bed, Kind, PIN},
    process::{LIMIT, run, run_within},
};

const COUNT: u64 = 1_000;

/// hosts/count_allocations.c as a library to preload.
fn counter(bed: &Bed) -> PathBuf {
    let library = bed.work.path().join("count_allocations.so");
    let hosts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../hosts");
    run(Command::new("cc")
        .args(["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror"])
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(hosts.join("count_allocations.c"))
        .arg("-ldl"))
    .succeeded();
    library
}

/// Where and how often a worker allocates in [`COUNT`] signatures with this key.
fn allocations(mut worker: Command, counter: &Path, key: Key) -> Allocations {
    let question = format!("count {} {COUNT}\n", key.name());
    let worker = worker.env("LD_PRELOAD", counter);
    let outcome = run_within(LIMIT, worker, question.as_bytes()).succeeded();
    let text = String::from_utf8(outcome.stdout).expect("text");
    text.trim()
        .strip_prefix("ok")
        .and_then(Allocations::from_answer)
        .unwrap_or_else(|| panic!("{text}"))
}

#[test]
fn a_signature_allocates_nothing_outside_of_the_crypto_library() {
    let (bed, identities) = Bed::with(&[Kind::Rsa2048, Kind::P256, Kind::P384, Kind::Ed25519]);
    let counter = counter(&bed);
    let keys = bed.work.path().join("keys");
    fs::create_dir(&keys).expect("a folder");
    fs::copy(&identities[0].key, keys.join("rsa2048.key")).expect("the key");
    let module = || {
        let mut worker = bed.command(env!("CARGO_BIN_EXE_bench-module"));
        worker.arg(&bed.module).arg("token").env("BENCH_PIN", PIN);
        worker
    };
    let mut bare = Command::new(env!("CARGO_BIN_EXE_bench-bare"));
    bare.arg(&keys);

    // With RSA they are as many as without the module, so the places where they are made are the library's. Blinding is random,
    // and so is a small part of the number; one allocation a signature would be a thousand.
    let library = allocations(bare, &counter, Key::Rsa2048).total();
    let rsa = allocations(module(), &counter, Key::Rsa2048);
    assert!(library >= COUNT, "nothing was counted: {library}");
    assert!(
        rsa.total() < library + COUNT / 2,
        "{rsa:?} in the module, {library} in the library"
    );
    for key in [Key::P256, Key::P384, Key::Ed25519] {
        let found = allocations(module(), &counter, key);
        let own = found.0.keys().filter(|place| !rsa.0.contains_key(place));
        assert_eq!(own.count(), 0, "{}: {found:?}, RSA: {rsa:?}", key.title());
    }
}
