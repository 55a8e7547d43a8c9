//! What the tests of this crate share: a work folder, the tools that write files, and checks of
//! signatures by openssl.
#![allow(dead_code, reason = "each test uses its part")]

pub(crate) mod check;
pub(crate) mod writer;

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use ctk_pkcs12::{Configuration, Driver, Inventory};
use ctk_token::{
    AuthSecret, Digest, Key, KeyAlgorithm, KeyType, PublicKeyMaterial, Result, Role, Token,
    TokenDriver, TokenSession,
};

/// A folder for one test, removed at its end.
pub(crate) struct Workshop(PathBuf);

impl Workshop {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("ctk-pkcs12-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        // Where a file is written over, ext4 waits for the disk.
        let _ = fs::remove_file(&path);
        fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// Runs a tool in the folder; it must be there and succeed.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, program: &str, arguments: &[S]) -> Output {
        let output = self.try_run(program, arguments);
        assert!(
            output.status.success(),
            "{program} {:?} failed:\n{}{}",
            arguments.iter().map(AsRef::as_ref).collect::<Vec<_>>(),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        output
    }

    pub(crate) fn try_run<S: AsRef<OsStr>>(&self, program: &str, arguments: &[S]) -> Output {
        Command::new(program)
            .args(arguments)
            .current_dir(&self.0)
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| {
                panic!(
                    "{program} does not start ({error}): \
                     apt install openssl gnutls-bin libnss3-tools default-jre-headless"
                )
            })
    }

    /// Runs openssl with arguments in one line.
    pub(crate) fn openssl(&self, line: &str) -> Output {
        self.run("openssl", &line.split_whitespace().collect::<Vec<_>>())
    }

    /// Makes `NAME.key`, a private key of this kind: `rsa`, `rsa-1024`, `rsa-pss`, `ec`, `ed25519`, `ed448`,
    /// `x25519`, `x448` or a curve's name.
    pub(crate) fn key(&self, name: &str, kind: &str) {
        let kind = match kind {
            "rsa" => "RSA -pkeyopt rsa_keygen_bits:2048".to_owned(),
            "ec" => "EC -pkeyopt ec_paramgen_curve:P-256".to_owned(),
            "rsa-1024" => "RSA -pkeyopt rsa_keygen_bits:1024".to_owned(),
            "rsa-pss" => "RSA-PSS -pkeyopt rsa_keygen_bits:2048".to_owned(),
            "ed25519" | "ed448" | "x25519" | "x448" => kind.to_owned(),
            curve => format!("EC -pkeyopt ec_paramgen_curve:{curve}"),
        };
        self.openssl(&format!("genpkey -algorithm {kind} -out {name}.key"));
    }

    /// Makes `NAME.key` and a self-signed `NAME.crt` with the common name NAME.
    pub(crate) fn identity(&self, name: &str, kind: &str) {
        self.key(name, kind);
        self.openssl(&format!(
            "req -x509 -new -key {name}.key -out {name}.crt -days 30 -subj /CN={name}"
        ));
    }

    /// SubjectPublicKeyInfo of `NAME.key`, by openssl.
    pub(crate) fn spki(&self, name: &str) -> Vec<u8> {
        self.openssl(&format!("pkey -in {name}.key -pubout -outform DER"))
            .stdout
    }

    /// The DER of `NAME.crt`.
    pub(crate) fn der(&self, name: &str) -> Vec<u8> {
        self.openssl(&format!("x509 -in {name}.crt -outform DER"))
            .stdout
    }

    /// Lets openssl verify what a session signed with its primitive; the key is given by its
    /// SubjectPublicKeyInfo.
    pub(crate) fn openssl_verifies(
        &self,
        spki: &[u8],
        key_type: KeyType,
        input: &[u8],
        signature: &[u8],
    ) -> bool {
        self.write("verify.pub", spki);
        self.write("verify.in", input);
        self.write("verify.sig", signature);
        let public = "-pubin -keyform DER -inkey verify.pub -sigfile verify.sig";
        let line = match key_type {
            KeyType::Rsa { .. } => {
                let line = "pkeyutl -verifyrecover -pubin -keyform DER -inkey verify.pub \
                 -in verify.sig -pkeyopt rsa_padding_mode:none";
                let recovered =
                    self.try_run("openssl", &line.split_whitespace().collect::<Vec<_>>());
                return recovered.status.success() && recovered.stdout == input;
            }
            KeyType::Ed25519 => format!("pkeyutl -verify {public} -rawin -in verify.in"),
            _ => format!("pkeyutl -verify {public} -in verify.in"),
        };
        self.try_run("openssl", &line.split_whitespace().collect::<Vec<_>>())
            .status
            .success()
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a login may need at most, in a program that is somebody else's.
pub(crate) const MAX_MEMORY: u64 = 64 << 20;

/// The most memory that this process has had, in bytes, with what libraries and the crypto library
/// allocate.
pub(crate) fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib << 10
}

/// A configuration as `ctk add` writes it.
pub(crate) fn configuration(file: &Path, contents: Inventory) -> Configuration {
    Configuration {
        name: "work".into(),
        label: "Work".into(),
        serial_number: "0123456789abcdef".into(),
        file: file.into(),
        removable: false,
        contents,
    }
}

pub(crate) fn token(configuration: Configuration) -> Arc<dyn Token> {
    Driver::new(vec![configuration]).slots()[0].token().unwrap()
}

pub(crate) fn log_in(session: &dyn TokenSession, password: &[u8]) -> Result<()> {
    session
        .begin_auth(Role::User, None)?
        .finish(AuthSecret::Pin(password))
}

/// The primitive of this key, and an input for it that differs with `salt`.
pub(crate) fn request(key: &Key, salt: u8) -> (KeyAlgorithm, Vec<u8>) {
    match key.public_key.material() {
        PublicKeyMaterial::Rsa { modulus, .. } => {
            let mut block = vec![salt; modulus.len()];
            block[0] = 0;
            (KeyAlgorithm::RsaRaw, block)
        }
        PublicKeyMaterial::Ec { .. } => {
            (KeyAlgorithm::EcdsaDigest, vec![salt; Digest::Sha256.len()])
        }
        PublicKeyMaterial::Raw { .. } => (KeyAlgorithm::EdDsa, vec![salt; 1000]),
    }
}

pub(crate) fn sign(session: &dyn TokenSession, key: &Key, salt: u8) -> Result<(Vec<u8>, Vec<u8>)> {
    let (algorithm, input) = request(key, salt);
    let mut signature = vec![0; key.public_key.max_signature_len()];
    let len = session.sign(&key.id, algorithm, &input, &mut signature)?;
    signature.truncate(len);
    Ok((input, signature))
}

/// A key as openssl encrypts it, ready for a bag.
pub(crate) fn shrouded(workshop: &Workshop, name: &str, password: &str, options: &str) -> Vec<u8> {
    let password = format!("pass:{password}");
    let line = format!(
        "pkcs8 -topk8 -provider legacy -provider default -in {name}.key -outform DER {options}"
    );
    let arguments: Vec<&str> = line
        .split_whitespace()
        .chain(["-passout", &password])
        .collect();
    workshop.run("openssl", &arguments).stdout
}
