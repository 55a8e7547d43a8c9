//! ssh-keygen lists the keys of services, and ssh logs in with them.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

use ctk_services::csc::Credential;
use softhsm_tests::{
    bed::Bed,
    process::{Outcome, Server, free_port, run},
};

use crate::remote::{CSC_PIN, CscBed, KmsBed, Remote, each_time};

/// What `ssh-keygen -D` lists: type and base64 of each key.
fn listed(bed: &Bed) -> Vec<String> {
    let outcome = run(bed.command("ssh-keygen").arg("-D").arg(&bed.module)).succeeded();
    let text = String::from_utf8(outcome.stdout).expect("text");
    let line = |line: &str| line.splitn(3, ' ').take(2).collect::<Vec<_>>().join(" ");
    text.lines().map(line).collect()
}

/// The key as ssh-keygen makes it from OpenSSL's public key.
fn public_line(key: &Remote) -> String {
    let mut command = Command::new("ssh-keygen");
    command.args(["-i", "-m", "PKCS8", "-f"]).arg(&key.public);
    let outcome = run(&mut command).succeeded();
    String::from_utf8(outcome.stdout)
        .expect("text")
        .trim()
        .to_owned()
}

/// A sshd that lets in who has the key in authorized_keys.
fn sshd(bed: &Bed) -> (Server, u16) {
    let path = |name: &str| bed.work.path().join(name);
    let mut keygen = bed.command("ssh-keygen");
    run(keygen.args(["-q", "-t", "ed25519", "-N", "", "-f", "host_key"])).succeeded();
    let port = free_port();
    let host = fs::read_to_string(path("host_key.pub")).expect("the host's key");
    bed.work
        .write("known_hosts", format!("[127.0.0.1]:{port} {host}"));
    // sshd as root wants this folder, which a service manager would have made.
    // SAFETY: a plain system call.
    if unsafe { libc::geteuid() } == 0 {
        fs::create_dir_all("/run/sshd").expect("/run/sshd");
    }
    let mut command = bed.command("/usr/sbin/sshd");
    command.args(["-D", "-e", "-f", "/dev/null", "-p", &port.to_string()]);
    command.arg("-h").arg(path("host_key"));
    let keys = format!(
        "AuthorizedKeysFile=\"{}\"",
        path("authorized_keys").display()
    );
    for option in [
        "ListenAddress=127.0.0.1",
        "PidFile=none",
        "UsePAM=no",
        "StrictModes=no",
        "PasswordAuthentication=no",
        "KbdInteractiveAuthentication=no",
        "PermitRootLogin=prohibit-password",
        &keys,
    ] {
        command.args(["-o", option]);
    }
    let mut server = Server::start(&mut command, &path("sshd.log"));
    server.wait_for_port(port);
    (server, port)
}

fn log_in(bed: &Bed, port: u16, pin: Option<&str>) -> Outcome {
    let user = run(Command::new("id").arg("-un")).succeeded();
    let user = String::from_utf8(user.stdout).expect("text");
    let hosts = bed.work.path().join("known_hosts");
    let hosts = format!("UserKnownHostsFile=\"{}\"", hosts.display());
    let askpass = bed
        .work
        .write("askpass", "#!/bin/sh\nprintf '%s\\n' \"$TEST_PIN\"\n");
    fs::set_permissions(&askpass, fs::Permissions::from_mode(0o700)).expect("chmod");
    let mut command = bed.command("ssh");
    command
        .env_remove("SSH_AUTH_SOCK")
        .env("SSH_ASKPASS", &askpass)
        .env("SSH_ASKPASS_REQUIRE", "force")
        .env("TEST_PIN", pin.unwrap_or_default())
        .args(["-F", "none", "-I"])
        .arg(&bed.module);
    command.args(["-p", &port.to_string()]);
    for option in [
        "IdentityFile=none",
        "IdentityAgent=none",
        "StrictHostKeyChecking=yes",
        "GlobalKnownHostsFile=none",
        "PreferredAuthentications=publickey",
        // In a batch nobody is asked.
        if pin.is_none() {
            "BatchMode=yes"
        } else {
            "BatchMode=no"
        },
        &hosts,
    ] {
        command.args(["-o", option]);
    }
    run(command
        .arg(format!("{}@127.0.0.1", user.trim()))
        .arg("echo arrived"))
}

#[test]
fn ssh_logs_in_with_keys_of_a_kms() {
    let kms = KmsBed::new(&[
        ("RSA_2048", "SIGN_VERIFY"),
        ("ECC_NIST_P256", "SIGN_VERIFY"),
        ("ECC_NIST_P521", "SIGN_VERIFY"),
    ]);
    let listed = listed(&kms.bed);
    let (_server, port) = sshd(&kms.bed);
    for key in &kms.keys {
        let line = public_line(key);
        assert!(listed.contains(&line), "{line} is not in {listed:#?}");
        kms.bed.work.write("authorized_keys", line + "\n");
        log_in(&kms.bed, port, None).succeeded().says("arrived");
    }
    kms.bed.work.write("authorized_keys", "");
    let refused = log_in(&kms.bed, port, None).refused();
    refused.says("Permission denied");
}

#[test]
fn ssh_logs_in_with_credentials_of_a_csc_service() {
    for (name, credential, pin) in [
        ("t/p384", Credential::default(), None),
        ("t/rsa", Credential::with_pin(CSC_PIN), Some(CSC_PIN)),
        ("t/p256", each_time(), Some(CSC_PIN)),
    ] {
        let csc = CscBed::new(name, credential);
        let (_server, port) = sshd(&csc.bed);
        let line = public_line(&csc.key);
        assert!(listed(&csc.bed).contains(&line), "{name}");
        csc.bed.work.write("authorized_keys", line + "\n");
        if pin.is_some() {
            log_in(&csc.bed, port, Some("0815")).refused();
        }
        log_in(&csc.bed, port, pin).succeeded().says("arrived");
    }
}
