//! nginx makes TLS handshakes with keys of a KMS in forked workers, under load and while it reloads.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use softhsm_tests::{
    process::{LIMIT, Server, free_port, run, run_within},
    python::script,
};

use crate::remote::KmsBed;

/// Handshakes that show that things go on.
const SOME: usize = 40;

/// The example's nginx.conf with the keys of the KMS, and without files outside of the bed.
fn configure(kms: &KmsBed, port: u16) {
    let [rsa, ec] = kms.keys.as_slice() else {
        panic!("an RSA and an EC key")
    };
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/nginx");
    let mut configuration = fs::read_to_string(examples.join("nginx.conf")).expect("the example");
    let mut put = |place: &str, value: &str| {
        assert_eq!(configuration.matches(place).count(), 1, "{place}");
        configuration = configuration.replace(place, value);
    };
    put(
        "pkcs11:token=work;id=%01;type=private?pin-value=1234",
        &rsa.uri("kms"),
    );
    put(
        "pkcs11:token=work;id=%02;type=private?pin-value=1234",
        &ec.uri("kms"),
    );
    put(
        "/etc/nginx/rsa.crt",
        &format!("\"{}\"", rsa.certificate.display()),
    );
    put(
        "/etc/nginx/ec.crt",
        &format!("\"{}\"", ec.certificate.display()),
    );
    put("listen 443", &format!("listen 127.0.0.1:{port}"));
    put("user www-data;", "user root;");
    let folder = kms.bed.work.path().join("tmp");
    fs::create_dir_all(&folder).expect("a folder");
    let folders = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let folders =
        folders.map(|name| format!("{name}_temp_path \"{}/{name}\";\n", folder.display()));
    put(
        "http {\n",
        &format!("http {{\naccess_log off;\n{}", folders.concat()),
    );
    kms.bed.work.write("nginx.conf", configuration);
}

fn nginx(kms: &KmsBed) -> Command {
    let path = |name: &str| kms.bed.work.path().join(name);
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/nginx");
    let mut command = kms.bed.command("/usr/sbin/nginx");
    let options = format!("daemon off; pid \"{}\";", path("nginx.pid").display());
    command.env("OPENSSL_CONF", examples.join("openssl.cnf"));
    command
        .args(["-e", "stderr", "-c"])
        .arg(path("nginx.conf"))
        .args(["-g", &options]);
    command
}

/// The workers that have answered since the line `from`, and how often.
fn since(log: &str, from: usize) -> (BTreeSet<String>, usize) {
    let answers = log
        .lines()
        .skip(from)
        .filter_map(|line| line.strip_prefix("ok "));
    let workers = answers.map(|line| line.split(' ').next().unwrap_or_default().to_owned());
    let workers: Vec<_> = workers.collect();
    (workers.iter().cloned().collect(), workers.len())
}

/// Waits until two workers that are not among `known` have answered, and [`SOME`] handshakes went well.
#[track_caller]
fn new_workers(load: &mut Server, known: &BTreeSet<String>) -> BTreeSet<String> {
    let from = load.log().lines().count();
    load.wait_until("served by new workers", |load| {
        let (workers, answers) = since(&load.log(), from);
        workers.difference(known).count() >= 2 && answers >= SOME
    });
    let (workers, _) = since(&load.log(), from);
    workers.difference(known).cloned().collect()
}

#[test]
fn workers_sign_under_load_with_keys_of_a_kms() {
    let kms = KmsBed::new(&[
        ("RSA_2048", "SIGN_VERIFY"),
        ("ECC_NIST_P256", "SIGN_VERIFY"),
    ]);
    let port = free_port();
    configure(&kms, port);
    let path = |name: &str| kms.bed.work.path().join(name);
    let mut server = Server::start(&mut nginx(&kms), &path("nginx.log"));
    server.wait_for_port(port);
    for options in [
        ["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"],
        ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"],
        ["-tls1_3", "-sigalgs", "rsa_pss_rsae_sha256"],
        ["-tls1_3", "-sigalgs", "ecdsa_secp256r1_sha256"],
    ] {
        let mut client = kms.bed.command("openssl");
        client.args([
            "s_client",
            "-verify_return_error",
            "-ign_eof",
            "-servername",
            "localhost",
        ]);
        client.args(["-connect", &format!("127.0.0.1:{port}"), "-CAfile"]);
        client.arg(&kms.bed.authority).args(options);
        let request = b"GET / HTTP/1.0\r\n\r\n";
        run_within(LIMIT, &mut client, request)
            .succeeded()
            .says("signed by a token");
    }
    let mut command = Command::new("/usr/bin/python3");
    command.arg(script("tls_load.py")).arg(port.to_string());
    command.arg(&kms.bed.authority).arg(path("stop"));
    let mut load = Server::start(&mut command, &path("load.log"));
    let first = new_workers(&mut load, &BTreeSet::new());
    run(nginx(&kms).args(["-s", "reload"])).succeeded();
    new_workers(&mut load, &first);
    fs::write(path("stop"), "").expect("a file");
    load.wait_until("done", |load| load.log().ends_with("done\n"));
    let log = load.log();
    let failed: Vec<_> = log
        .lines()
        .filter(|line| line.starts_with("failed"))
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
    for name in ["RSA", "EC", "TLS1.3"] {
        let served = log
            .lines()
            .any(|line| line.starts_with("ok ") && line.ends_with(name));
        assert!(served, "{name}");
    }
}
