//! Linux login: PAM and SSSD, set up by the examples' files in an /etc of their own, ask the module who somebody is.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{
    bed::Bed,
    process::{LIMIT, Outcome, run, run_within},
};

/// Where the examples expect the module.
const INSTALLED: &str = "/usr/local/lib/libctk_pkcs11.so";
/// SSSD's program that speaks PKCS#11.
const P11_CHILD: &str = "/usr/libexec/sssd/p11_child";

/// A user of the machine.
pub const USER: &str = "alice";
/// Another one, to whom no certificate belongs.
pub const OTHER_USER: &str = "bob";

/// What decides whether somebody comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// libpam-pkcs11: authorities, and certificates by their fingerprints.
    PamPkcs11,
    /// libpam-p11: certificates in the user's home.
    PamP11,
    /// libpam-sss with a running sssd, which starts p11_child.
    Sssd,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::PamPkcs11, Self::PamP11, Self::Sssd];

    /// The folder in examples/.
    fn example(self) -> &'static str {
        match self {
            Self::PamPkcs11 => "pam-pkcs11",
            Self::PamP11 => "pam-p11",
            Self::Sssd => "sssd",
        }
    }

    /// How it asks for the PIN.
    pub fn prompt(self) -> &'static str {
        match self {
            Self::PamPkcs11 => "Smart card PIN: ",
            Self::PamP11 => "Login with ",
            Self::Sssd => "PIN for ",
        }
    }
}

/// What a program has of its own: files over others, and its processes, which all end with it; of sssd there are several.
const NAMESPACES: &[&str] = &["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];

/// Puts an /etc of the test's own over the machine's, for one program and what it starts; the rest of the arguments is the program.
const IN_ETC: &str = r#"set -eu
etc=$1 way=$2 daemon=$3
shift 3
mount --bind "$etc/$way/pam.d" /etc/pam.d
mount --bind "$etc/pam_pkcs11" /etc/pam_pkcs11
mount --bind "$etc/passwd" /etc/passwd
mount --bind "$etc/modules" /usr/share/p11-kit/modules
mount --bind "$etc/sssd" /etc/sssd
if [ "$daemon" = yes ]; then
    for folder in /var/lib/sss /var/log/sssd /run; do mount -t tmpfs tmpfs "$folder"; done
    mkdir -p /var/lib/sss/mc /var/lib/sss/pubconf/krb5.include.d /var/lib/sss/gpo_cache /var/lib/sss/deskprofile
    mkdir -m 700 -p /var/lib/sss/db /var/lib/sss/pipes/private /var/lib/sss/secrets /var/lib/sss/keytabs
    chmod 755 /var/lib/sss/pipes
    sssd -i --logger=stderr -d 0x3f0 >"$etc/sssd.log" 2>&1 &
    tries=0
    until [ -S /var/lib/sss/pipes/pam ] && [ -S /var/lib/sss/pipes/nss ]; do
        kill -0 $! && [ "$tries" -lt 400 ] || { cat "$etc/sssd.log"; echo "sssd does not start"; exit 99; }
        tries=$((tries + 1))
        sleep 0.05
    done
fi
exec "$@"
"#;

/// Whether /etc may be replaced for a program; if not, tells so where the tests are counted.
pub fn can_replace_etc() -> bool {
    let mut unshare = Command::new("unshare");
    unshare
        .args(NAMESPACES)
        .args(["mount", "--bind", "/etc", "/etc"]);
    if run(&mut unshare).status.success() {
        return true;
    }
    let line = "linux login: a program cannot be given another /etc here: unshare --mount --pid is refused";
    println!("skipped: {line}");
    if let Some(file) = std::env::var_os("CTK_TEST_SKIPS") {
        let mut file = File::options()
            .append(true)
            .open(file)
            .expect("CTK_TEST_SKIPS");
        writeln!(file, "{line}").expect("CTK_TEST_SKIPS");
    }
    false
}

/// A machine on which people log in.
#[derive(Debug)]
pub struct Machine<'a> {
    bed: &'a Bed,
    etc: PathBuf,
    variables: Vec<(String, String)>,
}

impl<'a> Machine<'a> {
    /// With the examples' configuration, two users, and no authority and no certificate that anybody trusts.
    pub fn new(bed: &'a Bed) -> Self {
        let machine = Self {
            bed,
            etc: bed.work.path().join("etc"),
            variables: Vec::new(),
        };
        for folder in [
            "pam_pkcs11/cacerts",
            "pam_pkcs11/crls",
            "modules",
            "sssd/pki",
        ] {
            fs::create_dir_all(machine.etc.join(folder)).expect("a folder for /etc");
        }
        for way in Way::ALL {
            let pam = machine.etc.join(way.example()).join("pam.d");
            fs::create_dir_all(&pam).expect("a folder for /etc/pam.d");
            for common in fs::read_dir("/etc/pam.d").expect("/etc/pam.d").flatten() {
                fs::copy(common.path(), pam.join(common.file_name())).expect("a copy");
            }
            let service = machine.example(way, "pam.d/card-login");
            machine.write(&format!("{}/pam.d/card-login", way.example()), &service);
        }
        machine.write(
            "pam_pkcs11/pam_pkcs11.conf",
            &machine.example(Way::PamPkcs11, "pam_pkcs11.conf"),
        );
        machine.write(
            "modules/ctk.module",
            &machine.example(Way::Sssd, "ctk.module"),
        );
        machine.write("sssd/sssd.conf", &machine.sssd_configuration());
        let mut passwd = fs::read_to_string("/etc/passwd").expect("/etc/passwd");
        for (user, id) in [(USER, 64001), (OTHER_USER, 64002)] {
            let home = machine.home(user);
            fs::create_dir_all(home.join(".eid")).expect("a home");
            passwd += &format!("{user}:x:{id}:{id}::{}:/bin/sh\n", home.display());
        }
        machine.write("passwd", &passwd);
        machine
    }

    /// Sets a variable of the environment of whatever logs somebody in.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// Whoever shows a certificate of this authority, and of no other, may come in.
    pub fn trust(&self, authority: &Path) {
        let folder = self.etc.join("pam_pkcs11/cacerts");
        for old in fs::read_dir(&folder).expect("the authorities").flatten() {
            fs::remove_file(old.path()).expect("an authority is removed");
        }
        fs::copy(authority, folder.join("authority.pem")).expect("an authority");
        run(Command::new("openssl").arg("rehash").arg(folder)).succeeded();
        let database = self.etc.join("sssd/pki/sssd_auth_ca_db.pem");
        fs::copy(authority, database).expect("an authority");
    }

    /// The certificate (PEM) is [`USER`]'s.
    pub fn enrol(&self, certificate: &Path) {
        let of = |options: &[&str]| {
            let mut openssl = Command::new("openssl");
            openssl.args(["x509", "-noout", "-in"]).arg(certificate);
            let outcome = run(openssl.args(options)).succeeded();
            let text = String::from_utf8(outcome.stdout).expect("text");
            let (_, value) = text.trim().split_once('=').expect("a value");
            value.to_owned()
        };
        let fingerprint = of(&["-fingerprint", "-sha256"]);
        self.write(
            "pam_pkcs11/digest_mapping",
            &format!("{fingerprint} -> {USER}\n"),
        );
        let own = self.home(USER).join(".eid/authorized_certificates");
        fs::copy(certificate, own).expect("the user's certificates");
        // As RFC 4514 writes it, backwards; sssd reads it in the order of the certificate.
        let subject = of(&["-subject", "-nameopt", "RFC2253"]);
        let example = self.sssd_configuration();
        assert!(example.contains("<SUBJECT>^CN=alice$"), "{example}");
        self.write(
            "sssd/sssd.conf",
            &example.replace("^CN=alice$", &format!("^{subject}$")),
        );
    }

    /// [`USER`], or somebody else, tries to come in with this PIN.
    pub fn log_in(&self, way: Way, user: &str, pin: &str) -> Outcome {
        run_within(
            LIMIT,
            &mut self.pamtester(way, user),
            format!("{pin}\n").as_bytes(),
        )
    }

    /// As [`Self::log_in`], stopping where the PIN is asked for.
    #[track_caller]
    pub fn start_to_log_in(&self, way: Way, user: &str) -> Attempt {
        let mut attempt = self.start(way, user);
        attempt.wait_for(way.prompt());
        attempt
    }

    /// As [`Self::log_in`], going on by itself until it asks for something.
    pub fn start(&self, way: Way, user: &str) -> Attempt {
        let log = self.bed.work.path().join("attempt.log");
        Attempt::start(&mut self.pamtester(way, user), log)
    }

    /// p11_child as sssd starts it before a login: it lists the certificates that would let somebody in.
    pub fn certificates_for_sssd(&self) -> Outcome {
        let mut command = self.p11_child("--pre");
        run(&mut command)
    }

    /// p11_child as sssd starts it for a login with a certificate that it has listed.
    pub fn log_in_by_p11_child(&self, token: &str, id: &str, pin: &str) -> Outcome {
        let mut command = self.p11_child("--auth");
        command.arg("--pin").arg(format!("--token_name={token}"));
        command.arg(format!("--key_id={}", id.to_uppercase()));
        command.arg(format!("--module_name={}", self.bed.module.display()));
        run_within(LIMIT, &mut command, pin.as_bytes())
    }

    /// What sssd, and p11_child under it, have said in the last login.
    pub fn sssd_log(&self) -> String {
        read(&self.etc.join("sssd.log"))
    }

    fn p11_child(&self, mode: &str) -> Command {
        let mut command = self.command(Way::Sssd, false, P11_CHILD);
        command.args([mode, "-d", "0x3f0", "--logger=stderr", "--debug-fd=2"]);
        command.arg("--ca_db=/etc/sssd/pki/sssd_auth_ca_db.pem");
        command
    }

    fn pamtester(&self, way: Way, user: &str) -> Command {
        let mut command = self.command(way, way == Way::Sssd, "pamtester");
        command.args(["card-login", user, "authenticate"]);
        command
    }

    /// A program on this machine, with or without a running sssd.
    fn command(&self, way: Way, daemon: bool, program: &str) -> Command {
        let mut command = self.bed.command("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        command.args(["sh", "-c", IN_ETC, "sh"]).arg(&self.etc);
        command.args([way.example(), if daemon { "yes" } else { "no" }, program]);
        command.envs(self.variables.iter().cloned());
        command
    }

    fn home(&self, user: &str) -> PathBuf {
        self.bed.work.path().join("homes").join(user)
    }

    /// A file of the examples, with the place of this module.
    fn example(&self, way: Way, name: &str) -> String {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
        let path = folder.join(way.example()).join(name);
        let text =
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        text.replace(INSTALLED, self.bed.module.to_str().expect("UTF-8"))
    }

    /// The example's, with less patience: where a card was pulled out, sssd waits for it until its time is over.
    fn sssd_configuration(&self) -> String {
        let patient = self.example(Way::Sssd, "sssd.conf");
        let with = patient.replace("p11_child_timeout = 30", "p11_child_timeout = 15");
        let with = with.replace("card_timeout = 60", "card_timeout = 1");
        assert_eq!(with.len(), patient.len() - 1, "{with}");
        with
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.etc.join(name);
        fs::write(&path, content).expect("a file of /etc");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("permissions");
    }
}

/// Somebody who tries to come in, and has not given a PIN yet.
#[derive(Debug)]
pub struct Attempt {
    child: Child,
    line: String,
    log: PathBuf,
}

impl Attempt {
    fn start(command: &mut Command, log: PathBuf) -> Self {
        let line = format!("{command:?}");
        let file = File::create(&log).expect("a log");
        let child = command
            .stdin(Stdio::piped())
            .stdout(file.try_clone().expect("a log"))
            .stderr(file)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{line}: {error}"));
        Self { child, line, log }
    }

    /// Waits until it has said this.
    #[track_caller]
    pub fn wait_for(&mut self, prompt: &str) {
        let log = self.log.clone();
        self.wait_until(&format!("saying {prompt:?}"), || {
            read(&log).contains(prompt)
        });
    }

    /// Waits until it is so.
    #[track_caller]
    pub fn wait_until(&mut self, what: &str, ready: impl Fn() -> bool) {
        let end = Instant::now() + LIMIT;
        while !ready() {
            let ended = self.child.try_wait().expect("wait");
            assert_eq!(
                ended,
                None,
                "{}: ended, not {what}:\n{}",
                self.line,
                self.said()
            );
            assert!(
                Instant::now() < end,
                "{}: not {what}:\n{}",
                self.line,
                self.said()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// What it has said after this time, whether or not it still runs.
    pub fn after(&mut self, time: Duration) -> String {
        thread::sleep(time);
        self.said()
    }

    fn said(&self) -> String {
        read(&self.log)
    }

    /// Gives the PIN, and waits until it is decided.
    #[track_caller]
    pub fn answer(mut self, pin: &str) -> Outcome {
        let mut stdin = self.child.stdin.take().expect("a pipe");
        // Whoever has given up does not read it.
        let _ = stdin.write_all(format!("{pin}\n").as_bytes());
        drop(stdin);
        let end = Instant::now() + LIMIT;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                break status;
            }
            assert!(
                Instant::now() < end,
                "{} still runs:\n{}",
                self.line,
                self.said()
            );
            thread::sleep(Duration::from_millis(10));
        };
        Outcome {
            command: self.line.clone(),
            status,
            stdout: self.said().into_bytes(),
            stderr: Vec::new(),
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        // Its children end with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A log, as far as it is written.
fn read(log: &Path) -> String {
    String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned()
}
