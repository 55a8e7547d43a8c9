//! ssh, ssh-keygen and ssh-agent log in to a real sshd with the keys of a token.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use softhsm_tests::{
    bed::{Bed, Identity, Kind, PIN, WRONG_PIN},
    process::{Outcome, Server, free_port, run},
};

/// A token with an RSA and a P-256 key, and a sshd that lets both in.
struct Ssh {
    bed: Bed,
    identities: Vec<Identity>,
    port: u16,
    askpass: PathBuf,
    _server: Server,
}

impl Ssh {
    fn new() -> Self {
        let (bed, identities) = Bed::with(&[Kind::Rsa2048, Kind::P256]);
        let path = |name: &str| bed.work.path().join(name);
        run(bed
            .command("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f", "host_key"]))
        .succeeded();
        let port = free_port();
        let host = fs::read_to_string(path("host_key.pub")).expect("the host's key");
        bed.work
            .write("known_hosts", format!("[127.0.0.1]:{port} {host}"));
        bed.work
            .write("authorized_keys", list(&bed).join("\n") + "\n");
        let askpass = bed
            .work
            .write("askpass", "#!/bin/sh\nprintf '%s\\n' \"$TEST_PIN\"\n");
        fs::set_permissions(&askpass, fs::Permissions::from_mode(0o700)).expect("askpass");
        // sshd as root wants this folder, which a service manager would have made.
        // SAFETY: a plain system call.
        if unsafe { libc::geteuid() } == 0 {
            fs::create_dir_all("/run/sshd").expect("/run/sshd");
        }
        let mut command = bed.command("/usr/sbin/sshd");
        command.args(["-D", "-e", "-f", "/dev/null", "-p", &port.to_string()]);
        command.arg("-h").arg(path("host_key"));
        for option in [
            "ListenAddress=127.0.0.1",
            "PidFile=none",
            "UsePAM=no",
            "StrictModes=no",
            "PasswordAuthentication=no",
            "KbdInteractiveAuthentication=no",
            "PermitRootLogin=prohibit-password",
        ] {
            command.args(["-o", option]);
        }
        command.args([
            "-o",
            &format!(
                "AuthorizedKeysFile=\"{}\"",
                path("authorized_keys").display()
            ),
        ]);
        let mut server = Server::start(&mut command, &path("sshd.log"));
        server.wait_for_port(port);
        Self {
            bed,
            identities,
            port,
            askpass,
            _server: server,
        }
    }

    /// A command to which SSH_ASKPASS gives this PIN.
    fn with_pin(&self, program: &str, pin: &str) -> Command {
        let mut command = self.bed.command(program);
        command
            .env("SSH_ASKPASS", &self.askpass)
            .env("SSH_ASKPASS_REQUIRE", "force")
            .env("TEST_PIN", pin)
            .env_remove("SSH_AUTH_SOCK");
        command
    }

    /// Logs in and says where it has come.
    fn log_in(&self, mut command: Command, options: &[String]) -> Outcome {
        let user =
            String::from_utf8(run(Command::new("id").arg("-un")).succeeded().stdout).expect("text");
        command.args(["-p", &self.port.to_string()]);
        for option in [
            "StrictHostKeyChecking=yes",
            "GlobalKnownHostsFile=none",
            "PreferredAuthentications=publickey",
            "NumberOfPasswordPrompts=1",
        ] {
            command.args(["-o", option]);
        }
        command.args([
            "-o",
            &format!(
                "UserKnownHostsFile=\"{}\"",
                self.bed.work.path().join("known_hosts").display()
            ),
        ]);
        command
            .args(options)
            .arg(format!("{}@127.0.0.1", user.trim()))
            .arg("echo arrived");
        run(&mut command)
    }

    /// `ssh -I MODULE`, with the authorized key of one identity only.
    fn log_in_with(&self, identity: &Identity, pin: &str) -> Outcome {
        let wanted = public_line(identity);
        self.bed
            .work
            .write("authorized_keys", format!("{wanted}\n"));
        let module = self.bed.module.to_str().expect("UTF-8");
        let options = [
            "-F",
            "none",
            "-I",
            module,
            "-o",
            "IdentityFile=none",
            "-o",
            "IdentityAgent=none",
        ];
        self.log_in(self.with_pin("ssh", pin), &options.map(str::to_owned))
    }
}

/// The key as ssh-keygen makes it from OpenSSL's public key: type and base64.
fn public_line(identity: &Identity) -> String {
    let mut command = Command::new("ssh-keygen");
    let outcome = run(command
        .args(["-i", "-m", "PKCS8", "-f"])
        .arg(&identity.public))
    .succeeded();
    String::from_utf8(outcome.stdout)
        .expect("text")
        .trim()
        .to_owned()
}

/// What `ssh-keygen -D` lists, without the labels.
fn list(bed: &Bed) -> Vec<String> {
    let outcome = run(bed.command("ssh-keygen").arg("-D").arg(&bed.module)).succeeded();
    let text = String::from_utf8(outcome.stdout).expect("text");
    text.lines()
        .map(|line| line.splitn(3, ' ').take(2).collect::<Vec<_>>().join(" "))
        .collect()
}

#[test]
fn ssh_keygen_lists_the_public_keys() {
    let (bed, identities) = Bed::with(&[Kind::Rsa2048, Kind::P256]);
    let listed = list(&bed);
    for identity in &identities {
        let wanted = public_line(identity);
        assert!(listed.contains(&wanted), "{wanted} is not in {listed:#?}");
    }
    let unique: std::collections::HashSet<_> = listed.iter().collect();
    assert_eq!(unique.len(), identities.len(), "{listed:#?}");
}

#[test]
fn ssh_logs_in() {
    let ssh = Ssh::new();
    for identity in &ssh.identities {
        ssh.log_in_with(identity, PIN).succeeded().says("arrived");
        let refused = ssh
            .log_in_with(identity, WRONG_PIN)
            .refused()
            .says("login failed: PIN incorrect")
            .says("Permission denied");
        assert!(!refused.text().contains("arrived"));
    }
}

#[test]
fn ssh_logs_in_by_the_example_configuration() {
    let ssh = Ssh::new();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/openssh/config");
    let example = fs::read_to_string(example).expect("the example");
    let place = "/usr/local/lib/libctk_pkcs11.so";
    assert!(example.contains(place));
    let config = example.replace(place, &format!("\"{}\"", ssh.bed.module.display()));
    let config = ssh.bed.work.write("config", config);
    let options = ["-F", config.to_str().expect("UTF-8")].map(str::to_owned);
    ssh.log_in(ssh.with_pin("ssh", PIN), &options)
        .succeeded()
        .says("arrived");
    ssh.log_in(ssh.with_pin("ssh", WRONG_PIN), &options)
        .refused()
        .says("login failed: PIN incorrect")
        .says("Permission denied");
}

#[test]
fn ssh_agent_takes_the_token() {
    let ssh = Ssh::new();
    let socket = ssh.bed.work.path().join("agent");
    let module = ssh.bed.module.canonicalize().expect("the module");
    let mut command = ssh.bed.command("ssh-agent");
    // The agent takes modules of the system's folders only, unless it is told another.
    // -d: in the foreground, with what the helper says.
    command
        .args(["-d", "-P", module.to_str().expect("UTF-8"), "-a"])
        .arg(&socket);
    // ssh-pkcs11-helper runs under the agent, so the agent needs the home of the token.
    let mut agent = Server::start(&mut command, &ssh.bed.work.path().join("agent.log"));
    agent.wait_until("listening", |_| socket.exists());

    let add = |pin: &str, action: &str| {
        let mut command = ssh.with_pin("ssh-add", pin);
        run(command
            .env("SSH_AUTH_SOCK", &socket)
            .arg(action)
            .arg(&module))
    };
    let listed = || {
        run(ssh
            .bed
            .command("ssh-add")
            .env("SSH_AUTH_SOCK", &socket)
            .arg("-L"))
    };
    add(WRONG_PIN, "-s")
        .refused()
        .says("agent refused operation");
    // What the module has said to the agent's helper: 160 is CKR_PIN_INCORRECT.
    agent.wait_until("told of the wrong PIN", |agent| {
        agent.log().contains("C_Login failed: 160")
    });
    listed().refused().says("no identities");
    add(PIN, "-s").succeeded();
    let keys = listed().succeeded().text();
    for identity in &ssh.identities {
        assert!(keys.contains(&public_line(identity)), "{keys}");
        ssh.bed
            .work
            .write("authorized_keys", public_line(identity) + "\n");
        let mut command = ssh.bed.command("ssh");
        command.env("SSH_AUTH_SOCK", &socket);
        let options = ["-F", "none", "-o", "IdentityFile=none"].map(str::to_owned);
        ssh.log_in(command, &options).succeeded().says("arrived");
    }
    add(PIN, "-e").succeeded();
    listed().refused().says("no identities");
}
