//! nginx makes TLS handshakes with the keys of a token in forked workers, under load, while it reloads and when a worker dies.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
};

use softhsm_tests::{
    bed::{Bed, Identity, Kind, NO_CARDS, PIN, WRONG_PIN, percent_encoded},
    process::{LIMIT, Outcome, Server, free_port, run, run_within},
    python::script,
};

/// Clients that [`Load`] runs side by side: as many connections can be with a worker when it dies.
const CLIENTS: usize = 6;
/// Handshakes that show that things go on.
const SOME: usize = 40;

/// The example's nginx.conf, with what the test has in place of what a person has.
struct Nginx {
    bed: Bed,
    port: u16,
    /// Whether workers run as another user than this test.
    other_user: bool,
}

impl Nginx {
    /// With the PIN in the URIs of nginx.conf, or with none.
    fn new(bed: Bed, identities: &[Identity], pin: Option<&str>) -> Self {
        // SAFETY: a plain system call.
        let root = unsafe { libc::geteuid() } == 0;
        let nginx = Self {
            port: free_port(),
            other_user: root,
            bed,
        };
        nginx.configure(identities, pin);
        if nginx.other_user {
            nginx.open_to_workers();
        }
        nginx
    }

    fn path(&self, name: &str) -> PathBuf {
        self.bed.work.path().join(name)
    }

    fn configure(&self, identities: &[Identity], pin: Option<&str>) {
        let [rsa, ec] = identities else {
            panic!("an RSA and an EC key")
        };
        let mut configuration = example("nginx.conf");
        let mut put = |place: &str, value: &str| {
            assert_eq!(configuration.matches(place).count(), 1, "{place}");
            configuration = configuration.replace(place, value);
        };
        let pin = pin.map_or(String::new(), |pin| {
            format!("?pin-value={}", percent_encoded(pin))
        });
        put(
            "token=work;id=%01;type=private?pin-value=1234",
            &format!("token=token;id={};type=private{pin}", rsa.uri_id()),
        );
        put(
            "token=work;id=%02;type=private?pin-value=1234",
            &format!("token=token;id={};type=private{pin}", ec.uri_id()),
        );
        put(
            "/etc/nginx/rsa.crt",
            &format!("\"{}\"", rsa.certificate.display()),
        );
        put(
            "/etc/nginx/ec.crt",
            &format!("\"{}\"", ec.certificate.display()),
        );
        put("listen 443", &format!("listen 127.0.0.1:{}", self.port));
        let user = if self.other_user { "www-data" } else { "root" };
        put("user www-data;", &format!("user {user};"));
        let folders: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| {
                format!(
                    "    {name}_temp_path \"{}/{name}\";\n",
                    self.path("tmp").display()
                )
            })
            .concat();
        put(
            "http {\n",
            &format!("http {{\n    access_log off;\n{folders}"),
        );
        fs::create_dir_all(self.path("tmp")).expect("a folder");
        let file = self.bed.work.write("nginx.conf", configuration);
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("chmod");
    }

    /// What workers need to open the token as www-data, as it would be below /etc.
    fn open_to_workers(&self) {
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
        };
        mode(self.bed.work.path(), 0o711);
        let read = |name| fs::read_to_string(self.bed.configuration().join(name)).expect("a token");
        let configuration = read("another.toml") + &read("token.toml") + NO_CARDS;
        fs::write(self.path("ctk.toml"), configuration).expect("the tokens' configuration");
        mode(&self.path("ctk.toml"), 0o644);
        let (user, group) = (www_data("-u"), www_data("-g"));
        for file in ["token.p12", "another.p12"] {
            chown(self.path(file), None, Some(group)).expect("chgrp");
            mode(&self.path(file), 0o640);
        }
        // Where the PIN is stored, it is theirs.
        if self.path("pin").exists() {
            chown(self.path("pin"), Some(user), None).expect("chown");
        }
    }

    fn command(&self) -> Command {
        let mut command = self.bed.command("/usr/sbin/nginx");
        if self.other_user {
            command.env("CTK_CONFIG", self.path("ctk.toml"));
        }
        let pid = self.path("nginx.pid");
        command
            .env("OPENSSL_CONF", examples().join("openssl.cnf"))
            .args(["-e", "stderr", "-c"])
            .arg(self.path("nginx.conf"))
            .args(["-g", &format!("daemon off; pid \"{}\";", pid.display())]);
        command
    }

    fn start(&self) -> Server {
        let mut server = Server::start(&mut self.command(), &self.path("nginx.log"));
        server.wait_for_port(self.port);
        server
    }

    fn handshake(&self, options: &[&str]) -> Outcome {
        let mut command = self.bed.command("openssl");
        command.args([
            "s_client",
            "-verify_return_error",
            "-ign_eof",
            "-servername",
            "localhost",
        ]);
        command.args(["-connect", &format!("127.0.0.1:{}", self.port), "-CAfile"]);
        command.arg(&self.bed.authority).args(options);
        run_within(LIMIT, &mut command, b"GET / HTTP/1.0\r\n\r\n")
    }

    /// Each key signs in each version, chosen by the client.
    fn signs_with_every_key(&self) {
        for (options, wanted) in [
            (
                ["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"],
                "Peer signature type: RSA",
            ),
            (
                ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"],
                "Peer signature type: ECDSA",
            ),
            (
                ["-tls1_3", "-sigalgs", "rsa_pss_rsae_sha256"],
                "Peer signature type: RSA-PSS",
            ),
            (
                ["-tls1_3", "-sigalgs", "ecdsa_secp256r1_sha256"],
                "Peer signature type: ECDSA",
            ),
        ] {
            self.handshake(&options)
                .succeeded()
                .says(wanted)
                .says("signed by a token");
        }
    }
}

/// The token whose keys nginx is given, behind another one.
fn two_tokens() -> (Bed, Vec<Identity>) {
    let bed = Bed::empty();
    bed.token("another", &[Kind::P256]);
    let identities = bed.token("token", &[Kind::Rsa2048, Kind::P256]);
    (bed, identities)
}

/// The user or group that Debian's web servers run as.
fn www_data(option: &str) -> u32 {
    let outcome = run(Command::new("id").args([option, "www-data"])).succeeded();
    let number = String::from_utf8(outcome.stdout).expect("text");
    number.trim().parse().expect("a number")
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/nginx")
}

fn example(name: &str) -> String {
    fs::read_to_string(examples().join(name)).expect("the example")
}

/// Clients that make one handshake after the other.
struct Load {
    server: Server,
    stop: PathBuf,
}

impl Load {
    fn start(nginx: &Nginx) -> Self {
        let stop = nginx.path("stop");
        let mut command = Command::new("/usr/bin/python3");
        command
            .arg(script("tls_load.py"))
            .arg(nginx.port.to_string())
            .arg(&nginx.bed.authority)
            .arg(&stop);
        let server = Server::start(&mut command, &nginx.path("load.log"));
        Self { server, stop }
    }

    /// The workers that have answered since the line `from`, and how often.
    fn since(log: &str, from: usize) -> (BTreeSet<i32>, usize) {
        let answers = log
            .lines()
            .skip(from)
            .filter_map(|line| line.strip_prefix("ok "));
        let workers: Vec<i32> = answers
            .map(|line| {
                line.split(' ')
                    .next()
                    .expect("a worker")
                    .parse()
                    .expect("a pid")
            })
            .collect();
        (workers.iter().copied().collect(), workers.len())
    }

    /// Waits until `wanted` workers that are not among `known` have answered, and [`SOME`] handshakes went well.
    #[track_caller]
    fn wait_for_workers(&mut self, known: &BTreeSet<i32>, wanted: usize) -> BTreeSet<i32> {
        let from = self.server.log().lines().count();
        self.server.wait_until("served by new workers", |server| {
            let (workers, answers) = Self::since(&server.log(), from);
            workers.difference(known).count() >= wanted && answers >= SOME
        });
        let (workers, _) = Self::since(&self.server.log(), from);
        workers.difference(known).copied().collect()
    }

    fn failures(&self) -> Vec<String> {
        let log = self.server.log();
        log.lines()
            .filter(|line| !line.starts_with("ok ") && *line != "done")
            .map(str::to_owned)
            .collect()
    }

    fn stop(&mut self) {
        fs::write(&self.stop, "").expect("a file");
        self.server
            .wait_until("done", |server| server.log().ends_with("done\n"));
    }
}

fn under_load(nginx: &Nginx) {
    let _server = nginx.start();
    nginx.signs_with_every_key();
    let mut load = Load::start(nginx);
    let first = load.wait_for_workers(&BTreeSet::new(), 2);

    run(nginx.command().args(["-s", "reload"])).succeeded();
    let second = load.wait_for_workers(&first, 2);
    assert_eq!(load.failures(), Vec::<String>::new(), "while it reloaded");

    let victim = *second.first().expect("a worker");
    // SAFETY: a plain system call; nginx has not ended, so the number is still its worker's.
    assert_eq!(unsafe { libc::kill(victim, libc::SIGKILL) }, 0);
    let both = first.union(&second).copied().collect();
    load.wait_for_workers(&both, 1);
    load.stop();
    // What the dead worker had in its hands is lost, and nothing else.
    let failures = load.failures();
    assert!(failures.len() <= CLIENTS, "{failures:#?}");
    for failure in &failures {
        assert!(failure.starts_with("failed lost "), "{failures:#?}");
    }
    let log = load.server.log();
    for name in ["RSA", "EC", "TLS1.3"] {
        assert!(
            log.lines()
                .any(|line| line.starts_with("ok ") && line.ends_with(name)),
            "{name}"
        );
    }
}

#[test]
fn workers_sign_under_load_while_it_reloads_and_when_one_dies() {
    let (bed, identities) = two_tokens();
    under_load(&Nginx::new(bed, &identities, Some(PIN)));
}

#[test]
fn a_stored_pin_does_for_workers_as_well() {
    let (bed, identities) = two_tokens();
    let pin = bed.work.write("pin", format!("{PIN}\n"));
    fs::set_permissions(&pin, fs::Permissions::from_mode(0o600)).expect("chmod");
    let pin = format!("file:{}", pin.display());
    bed.update("token", &["--pin", &pin, "--login", "on-use"]);
    under_load(&Nginx::new(bed, &identities, None));
}

#[test]
fn a_wrong_pin_is_refused_when_it_starts() {
    let (bed, identities) = two_tokens();
    let nginx = Nginx::new(bed, &identities, Some(WRONG_PIN));
    run(nginx.command().arg("-t"))
        .refused()
        .says("ENGINE_load_private_key() failed")
        .says("PIN incorrect");
    run(&mut nginx.command())
        .refused()
        .says("ENGINE_load_private_key() failed");
    nginx.configure(&identities, Some(PIN));
    run(nginx.command().arg("-t"))
        .succeeded()
        .says("test is successful");
}
