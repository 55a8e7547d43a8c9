//! Host programs in C that load, fork, thread, unload and exit as real ones do, and the example client.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use softhsm_tests::{
    bed::{Bed, Identity, Kind, PIN, WRONG_PIN},
    process::{LIMIT, Outcome, run, run_within},
};

/// The system's libcrypto verifies what the module has signed.
const CRYPTO: &[&str] = &["-lcrypto"];

/// The folder of this crate: C sources and headers are found from here.
fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Compiles a C program into the bed's folder.
fn compile(bed: &Bed, name: &str, libraries: &[&str]) -> PathBuf {
    let program = bed.work.path().join("program");
    run(Command::new("cc")
        .args([
            "-std=gnu11",
            "-O1",
            "-g",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-pthread",
            "-I",
        ])
        .arg(source("../include"))
        .arg("-o")
        .arg(&program)
        .arg(source(name))
        .arg("-ldl")
        .args(libraries))
    .succeeded();
    program
}

/// Runs hosts/NAME.c with a token of one P-256 key. A host that hangs is ended and fails.
fn host(name: &str) -> Outcome {
    let (bed, identities) = Bed::with(&[Kind::P256]);
    run_host(&bed, &identities[0], name)
}

/// As [`host`], under valgrind, which ends it with status 9 when it uses memory wrongly.
fn checked_host(name: &str, arguments: &[&str]) -> Outcome {
    let (bed, identities) = Bed::with(&[Kind::P256]);
    let program = compile(&bed, &format!("hosts/{name}.c"), CRYPTO);
    let mut command = bed.command("valgrind");
    command
        .args(["--quiet", "--error-exitcode=9", "--trace-children=no"])
        .arg(program)
        .args(arguments);
    run_program(command, &bed, &identities[0])
}

fn run_host(bed: &Bed, identity: &Identity, name: &str) -> Outcome {
    let program = compile(bed, &format!("hosts/{name}.c"), CRYPTO);
    run_program(bed.command(program), bed, identity)
}

fn run_program(command: Command, bed: &Bed, identity: &Identity) -> Outcome {
    run_program_with(command, &bed.openssl_configuration(), identity)
}

fn run_program_with(mut command: Command, openssl: &Path, identity: &Identity) -> Outcome {
    // The engine takes the PIN from the URI.
    let pin: String = PIN.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let key = format!(
        "pkcs11:id={};type=private?pin-value={pin}",
        identity.uri_id()
    );
    command
        .env("TEST_PIN", PIN)
        .env("TEST_KEY", key)
        .env("TEST_PUBLIC", &identity.public)
        .env("OPENSSL_CONF", openssl);
    run_within(Duration::from_secs(120), &mut command, b"").succeeded()
}

#[test]
fn loading_and_unloading_200_times() {
    host("reload");
}

#[test]
fn a_thread_that_ends_after_unloading() {
    host("late_thread");
}

#[test]
fn finalizing_in_a_destructor() {
    host("finalize_destructor").says("finalized");
}

#[test]
fn finalizing_at_exit() {
    host("finalize_atexit").says("finalized");
}

#[test]
fn forking_with_a_login() {
    host("fork");
}

#[test]
fn forking_while_threads_sign() {
    host("fork_busy");
}

#[test]
fn threads_racing_for_initialisation_and_finalisation() {
    host("race");
}

#[test]
fn eight_threads_signing() {
    host("threads");
}

#[test]
fn a_host_on_openssl_that_loads_the_engine_by_its_configuration() {
    let (bed, identities) = Bed::with(&[Kind::P256]);
    run_host(&bed, &identities[0], "openssl_host");
}

#[test]
fn a_host_whose_openssl_loads_the_module_before_it_does() {
    let (bed, identities) = Bed::with(&[Kind::P256]);
    let program = compile(&bed, "hosts/openssl_host.c", CRYPTO);
    let mut command = bed.command(program);
    command.env("TEST_OPENSSL_FIRST", "1");
    let configuration = bed.eager_openssl_configuration();
    run_program_with(command, &configuration, &identities[0]);
}

#[test]
fn memory_is_used_rightly_by_threads() {
    // Valgrind runs one thread at a time, and each twenty times slower.
    checked_host("threads", &["10"]);
}

#[test]
fn memory_is_used_rightly_after_fork() {
    checked_host("fork", &[]);
}

#[test]
fn memory_is_used_rightly_while_the_process_ends() {
    checked_host("finalize_destructor", &[]).says("finalized");
    checked_host("late_thread", &[]);
}

/// Runs the example client with this PIN on its standard input.
fn client(bed: &Bed, program: &Path, arguments: &[&str], pin: &str) -> Outcome {
    let mut command = bed.command(program);
    run_within(
        LIMIT,
        command.arg(&bed.module).args(arguments),
        format!("{pin}\n").as_bytes(),
    )
}

#[test]
fn the_example_client_lists_and_signs_and_reads_no_key() {
    let (bed, identities) = Bed::with(&[Kind::Rsa2048, Kind::P256]);
    let program = compile(&bed, "../examples/c-client/client.c", &[]);
    let mut list = client(&bed, &program, &["list"], "").succeeded();
    bed.work.write("message", vec![9; 10_000]);
    for identity in &identities {
        list = list.says(&identity.id);
        let signed = client(&bed, &program, &["sign", &identity.id, "message"], PIN).succeeded();
        let signature = match identity.kind {
            Kind::Rsa2048 => signed.stdout,
            _ => der_signature(&signed.stdout),
        };
        bed.work.write("signature", signature);
        let mut verify = bed.command("openssl");
        verify
            .args(["dgst", "-sha256", "-verify"])
            .arg(&identity.public);
        run(verify.args(["-signature", "signature", "message"])).succeeded();

        let wrong = client(
            &bed,
            &program,
            &["sign", &identity.id, "message"],
            WRONG_PIN,
        )
        .refused();
        assert!(wrong.stdout.is_empty());
        wrong.says("wrong PIN");
        let stolen = client(&bed, &program, &["read", &identity.id], PIN).refused();
        assert!(stolen.stdout.is_empty());
        stolen.says("CKR_ATTRIBUTE_SENSITIVE");
    }
}

/// r and s side by side, as OpenSSL wants them: SEQUENCE { INTEGER, INTEGER }, here with less than 128 bytes.
fn der_signature(plain: &[u8]) -> Vec<u8> {
    let (r, s) = plain.split_at(plain.len() / 2);
    let integer = |number: &[u8]| {
        let zeros = number.iter().take_while(|&&byte| byte == 0).count();
        let mut value = number[zeros..].to_vec();
        if value.first().is_none_or(|&byte| byte >= 0x80) {
            value.insert(0, 0);
        }
        [
            &[2, u8::try_from(value.len()).expect("short")],
            value.as_slice(),
        ]
        .concat()
    };
    let body = [integer(r), integer(s)].concat();
    [
        &[0x30, u8::try_from(body.len()).expect("short")],
        body.as_slice(),
    ]
    .concat()
}
