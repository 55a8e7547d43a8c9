//! Tokens with keys that are made for the test, registered as a person registers them.

use std::{
    fs::{self, DirBuilder},
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    isolated::Environment,
    module::{command_path, module_path},
    process::{LIMIT, run, run_within},
    work::Work,
};

/// The PIN of the tokens of a bed, with what shells and URIs make trouble with.
pub const PIN: &str = "Pa55 %&wörd";
/// Another one.
pub const WRONG_PIN: &str = "Pa55 %&word";

/// A type of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// RSA with 2048 bits.
    Rsa2048,
    /// RSA with 4096 bits.
    Rsa4096,
    /// NIST P-256.
    P256,
    /// NIST P-384.
    P384,
    /// NIST P-521.
    P521,
    /// Ed25519.
    Ed25519,
}

impl Kind {
    fn openssl(self) -> &'static [&'static str] {
        match self {
            Self::Rsa2048 => &["rsa:2048"],
            Self::Rsa4096 => &["rsa:4096"],
            Self::P256 => &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
            Self::P384 => &["ec", "-pkeyopt", "ec_paramgen_curve:P-384"],
            Self::P521 => &["ec", "-pkeyopt", "ec_paramgen_curve:P-521"],
            Self::Ed25519 => &["ed25519"],
        }
    }
}

/// A key with its certificate, as the test knows them.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its type.
    pub kind: Kind,
    /// The common name of its certificate.
    pub name: String,
    /// The private key, which the module must never show.
    pub key: PathBuf,
    /// Its certificate, PEM.
    pub certificate: PathBuf,
    /// Its public key, PEM.
    pub public: PathBuf,
    /// Its CKA_ID as lower-case hexadecimal digits: SHA-1 of the public key, as OpenSSL counts it.
    pub id: String,
}

impl Identity {
    /// The id as RFC 7512 writes it.
    pub fn uri_id(&self) -> String {
        uri_id(&self.id)
    }
}

/// An id in hexadecimal digits as RFC 7512 writes it.
pub fn uri_id(id: &str) -> String {
    (0..id.len())
        .step_by(2)
        .map(|at| format!("%{}", &id[at..at + 2]))
        .collect()
}

/// A home of its own with one or more registered tokens, and a certificate authority.
#[derive(Debug)]
pub struct Bed {
    /// Everything of the test.
    pub work: Work,
    /// The module under test.
    pub module: PathBuf,
    /// The certificate of the authority that signed the identities.
    pub authority: PathBuf,
    authority_key: PathBuf,
    home: PathBuf,
}

/// A configuration in which the readers of the machine that runs the test are no slots.
pub const NO_CARDS: &str = "[smartcard]\nenabled = false\n";

impl Bed {
    /// A home without tokens, in which no cards are shown.
    pub fn empty() -> Self {
        let bed = Self::with_cards();
        let folder = bed.home.join(".config/ctk");
        // Nobody else may write there, whatever the umask of who runs the tests.
        let mut closed = DirBuilder::new();
        closed.recursive(true).mode(0o700);
        closed
            .create(&folder)
            .expect("a folder for the configuration");
        let file = folder.join("ctk.toml");
        fs::write(&file, NO_CARDS).expect("the configuration");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("chmod");
        bed
    }

    /// A home without configuration: a program in it sees the cards of the PC/SC service that it finds, so it is to be
    /// given a [`Pcscd`](crate::pcscd::Pcscd) of the test's own.
    pub fn with_cards() -> Self {
        let work = Work::new();
        let home = work.path().join("home");
        fs::create_dir(&home).expect("a home");
        let authority = work.path().join("authority.crt");
        let authority_key = work.path().join("authority.key");
        run(Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
            ])
            .args(["-days", "2", "-subj", "/CN=Test authority", "-keyout"])
            .arg(&authority_key)
            .arg("-out")
            .arg(&authority))
        .succeeded();
        Self {
            work,
            module: module_path(),
            authority,
            authority_key,
            home,
        }
    }

    /// A home with one token of these keys, named `token`.
    pub fn with(kinds: &[Kind]) -> (Self, Vec<Identity>) {
        let bed = Self::empty();
        let identities = bed.token("token", kinds);
        (bed, identities)
    }

    /// Makes keys and registers them as one token.
    pub fn token(&self, name: &str, kinds: &[Kind]) -> Vec<Identity> {
        let identities: Vec<_> = kinds
            .iter()
            .map(|&kind| self.identity(&format!("{name} {kind:?}"), kind))
            .collect();
        let file = self.p12(name, &identities, PIN);
        self.register(&file, PIN);
        identities
    }

    /// Makes a key and a certificate for it.
    pub fn identity(&self, name: &str, kind: Kind) -> Identity {
        let stem = name.replace(' ', "-");
        let path = |suffix: &str| self.work.path().join(format!("{stem}.{suffix}"));
        let (key, request, certificate, public) =
            (path("key"), path("csr"), path("crt"), path("pub"));
        let extensions = self.work.write(
            "leaf.cnf",
            "subjectKeyIdentifier=hash\nbasicConstraints=CA:FALSE\nsubjectAltName=DNS:localhost\n",
        );
        run(Command::new("openssl")
            .args([
                "req",
                "-new",
                "-nodes",
                "-subj",
                &format!("/CN={name}"),
                "-newkey",
            ])
            .args(kind.openssl())
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&request))
        .succeeded();
        run(Command::new("openssl")
            .args(["x509", "-req", "-days", "2", "-in"])
            .arg(&request)
            .arg("-CA")
            .arg(&self.authority)
            .arg("-CAkey")
            .arg(&self.authority_key)
            .arg("-extfile")
            .arg(extensions)
            .arg("-out")
            .arg(&certificate))
        .succeeded();
        run(Command::new("openssl")
            .args(["pkey", "-pubout", "-in"])
            .arg(&key)
            .arg("-out")
            .arg(&public))
        .succeeded();
        Identity {
            kind,
            name: name.to_owned(),
            key,
            public,
            id: key_identifier(&certificate),
            certificate,
        }
    }

    /// A certificate of the bed's authority for a key that is elsewhere, by its public key (PEM).
    pub fn certify(&self, name: &str, public: &Path, certificate: &Path) {
        let extensions = self.work.write(
            "remote.cnf",
            "subjectKeyIdentifier=hash\nbasicConstraints=CA:FALSE\nsubjectAltName=DNS:localhost\n\
             extendedKeyUsage=codeSigning,clientAuth,serverAuth\n",
        );
        run(Command::new("openssl")
            .args([
                "x509",
                "-new",
                "-days",
                "2",
                "-subj",
                &format!("/CN={name}"),
            ])
            .arg("-force_pubkey")
            .arg(public)
            .arg("-CA")
            .arg(&self.authority)
            .arg("-CAkey")
            .arg(&self.authority_key)
            .arg("-extfile")
            .arg(extensions)
            .arg("-out")
            .arg(certificate))
        .succeeded();
    }

    /// One PKCS#12 file of these identities.
    pub fn p12(&self, name: &str, identities: &[Identity], password: &str) -> PathBuf {
        let file = self.work.path().join(format!("{name}.p12"));
        if let [one] = identities {
            run_within(
                LIMIT,
                Command::new("openssl")
                    .args([
                        "pkcs12", "-export", "-passout", "stdin", "-name", &one.name, "-inkey",
                    ])
                    .arg(&one.key)
                    .arg("-in")
                    .arg(&one.certificate)
                    .arg("-out")
                    .arg(&file),
                format!("{password}\n").as_bytes(),
            )
            .succeeded();
            return file;
        }
        // OpenSSL writes one identity into a file; GnuTLS writes several.
        let bundle = |paths: Vec<&PathBuf>| -> String {
            paths
                .iter()
                .map(|path| fs::read_to_string(path).expect("PEM"))
                .collect()
        };
        let keys = self.work.write(
            "keys.pem",
            bundle(identities.iter().map(|i| &i.key).collect()),
        );
        let certificates = self.work.write(
            "certificates.pem",
            bundle(identities.iter().map(|i| &i.certificate).collect()),
        );
        run(Command::new("certtool")
            .args([
                "--to-p12",
                "--outder",
                "--p12-name",
                "",
                "--password",
                password,
                "--load-privkey",
            ])
            .arg(&keys)
            .arg("--load-certificate")
            .arg(&certificates)
            .arg("--outfile")
            .arg(&file))
        .succeeded();
        file
    }

    /// `ctk add FILE`.
    pub fn register(&self, file: &Path, password: &str) {
        run_within(
            LIMIT,
            self.ctk().arg("add").arg(file),
            format!("{password}\n").as_bytes(),
        )
        .succeeded();
    }

    /// `ctk update TOKEN OPTION…`.
    pub fn update(&self, token: &str, options: &[&str]) {
        run(self.ctk().args(["update", token]).args(options)).succeeded();
    }

    /// The folder of the token files that `ctk add` writes in this home.
    pub fn configuration(&self) -> PathBuf {
        self.home.join(".config/ctk/tokens.d")
    }

    /// The command `ctk` in this home.
    pub fn ctk(&self) -> Command {
        self.command(command_path())
    }

    /// A program in this home.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .envs(self.variables())
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("CTK_CONFIG");
        command
            .env_remove("CTK_LOG")
            // Nobody here is on a machine of EC2: whoever has no credentials is to say so, and not to ask the network.
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("LC_ALL", "C.UTF-8")
            .current_dir(self.work.path());
        command
    }

    /// pkcs11-tool with the module under test.
    pub fn pkcs11_tool(&self) -> Command {
        let mut command = self.command("pkcs11-tool");
        command.arg("--module").arg(&self.module);
        command
    }

    /// A database of NSS in the folder `name` of the bed, as every program on NSS has one: it trusts the bed's authority, and
    /// `modutil` has added the module to it.
    pub fn nss_database(&self, name: &str) -> PathBuf {
        let folder = self.work.path().join(name);
        fs::create_dir(&folder).expect("a folder for the database");
        let database = format!("sql:{name}");
        let mut certutil = self.command("certutil");
        run(certutil.args(["-N", "-d", &database, "--empty-password"])).succeeded();
        let mut certutil = self.command("certutil");
        certutil.args(["-A", "-d", &database, "-n", "authority", "-t", "CT,C,C"]);
        run(certutil.arg("-i").arg(&self.authority)).succeeded();
        let mut modutil = self.command("modutil");
        modutil.args(["-dbdir", &database, "-force", "-add", "ctk", "-libfile"]);
        run(modutil.arg(&self.module)).succeeded();
        folder
    }

    /// The program openssl, with the engine set up for the module by openssl.cnf, as on a person's machine.
    pub fn openssl(&self) -> Command {
        let mut command = self.command("openssl");
        command.env("OPENSSL_CONF", self.openssl_configuration());
        command
    }

    /// The example's openssl.cnf, changed so that OpenSSL loads the module when it starts.
    pub fn eager_openssl_configuration(&self) -> PathBuf {
        let example = fs::read_to_string(self.openssl_configuration()).expect("the example");
        let eager = example.replace("\ninit = 0\n", "\ninit = 1\n");
        assert_ne!(eager, example);
        self.work.write("eager.cnf", eager)
    }

    /// The example's openssl.cnf, which sets up the engine for the module that CTK_MODULE names.
    pub fn openssl_configuration(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/openssl-engine/openssl.cnf")
    }
}

/// The subject key identifier of a certificate, which is the CKA_ID of its key: lower-case hexadecimal digits.
pub fn key_identifier(certificate: &Path) -> String {
    let identifier = run(Command::new("openssl")
        .args(["x509", "-noout", "-ext", "subjectKeyIdentifier", "-in"])
        .arg(certificate))
    .succeeded();
    let identifier = String::from_utf8(identifier.stdout).expect("text");
    let id = identifier
        .lines()
        .last()
        .expect("the identifier")
        .chars()
        .filter(char::is_ascii_hexdigit)
        .collect::<String>()
        .to_lowercase();
    assert_eq!(id.len(), 40, "{identifier}");
    id
}

/// As RFC 7512 writes a PIN: whatever is not unreserved is percent-encoded.
pub fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

impl Environment for Bed {
    fn variables(&self) -> Vec<(String, String)> {
        let utf8 = |path: &Path| path.to_str().expect("UTF-8").to_owned();
        vec![
            ("HOME".to_owned(), utf8(&self.home)),
            ("CTK_MODULE".to_owned(), utf8(&self.module)),
            ("CTK_COMMAND".to_owned(), utf8(&command_path())),
        ]
    }
}
