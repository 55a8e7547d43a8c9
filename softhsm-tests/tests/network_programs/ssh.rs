//! ssh-keygen lists the keys of a KMS, and ssh logs in with them.

use std::{fs, process::Command};

use softhsm_tests::process::{Outcome, Server, free_port, run};

use crate::remote::{KmsBed, Remote};

/// What `ssh-keygen -D` lists: type and base64 of each key.
fn listed(kms: &KmsBed) -> Vec<String> {
    let outcome = run(kms.bed.command("ssh-keygen").arg("-D").arg(&kms.bed.module)).succeeded();
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
fn sshd(kms: &KmsBed) -> (Server, u16) {
    let path = |name: &str| kms.bed.work.path().join(name);
    let mut keygen = kms.bed.command("ssh-keygen");
    run(keygen.args(["-q", "-t", "ed25519", "-N", "", "-f", "host_key"])).succeeded();
    let port = free_port();
    let host = fs::read_to_string(path("host_key.pub")).expect("the host's key");
    kms.bed
        .work
        .write("known_hosts", format!("[127.0.0.1]:{port} {host}"));
    // sshd as root wants this folder, which a service manager would have made.
    // SAFETY: a plain system call.
    if unsafe { libc::geteuid() } == 0 {
        fs::create_dir_all("/run/sshd").expect("/run/sshd");
    }
    let mut command = kms.bed.command("/usr/sbin/sshd");
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

fn log_in(kms: &KmsBed, port: u16) -> Outcome {
    let user = run(Command::new("id").arg("-un")).succeeded();
    let user = String::from_utf8(user.stdout).expect("text");
    let hosts = kms.bed.work.path().join("known_hosts");
    let hosts = format!("UserKnownHostsFile=\"{}\"", hosts.display());
    let mut command = kms.bed.command("ssh");
    command
        .env_remove("SSH_AUTH_SOCK")
        .args(["-F", "none", "-I"])
        .arg(&kms.bed.module);
    command.args(["-p", &port.to_string()]);
    for option in [
        "IdentityFile=none",
        "IdentityAgent=none",
        "StrictHostKeyChecking=yes",
        "GlobalKnownHostsFile=none",
        "PreferredAuthentications=publickey",
        "BatchMode=yes",
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
    let listed = listed(&kms);
    let (_server, port) = sshd(&kms);
    for key in &kms.keys {
        let line = public_line(key);
        assert!(listed.contains(&line), "{line} is not in {listed:#?}");
        kms.bed.work.write("authorized_keys", line + "\n");
        log_in(&kms, port).succeeded().says("arrived");
    }
    kms.bed.work.write("authorized_keys", "");
    log_in(&kms, port).refused().says("Permission denied");
}
