//! A certificate authority for one test, and the certificates it issues, by the program openssl.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use super::tlv::tlv;

/// A public key as a card gives it.
#[derive(Clone, Debug)]
pub(super) enum PublicKey {
    /// Modulus and exponent, big-endian.
    Rsa(Vec<u8>, Vec<u8>),
    /// A point of P-256, uncompressed.
    P256(Vec<u8>),
    /// A point of P-384, uncompressed.
    P384(Vec<u8>),
    /// A point of Ed25519, 32 bytes.
    Ed25519(Vec<u8>),
}

impl PublicKey {
    /// SubjectPublicKeyInfo, DER.
    fn info(&self) -> Vec<u8> {
        const RSA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
        const P256: &[u8] =
            b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
        const P384: &[u8] = b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22";
        const ED25519: &[u8] = b"\x06\x03\x2b\x65\x70";
        let (algorithm, key) = match self {
            Self::Rsa(modulus, exponent) => (
                RSA,
                tlv(0x30, &[integer(modulus), integer(exponent)].concat()),
            ),
            Self::P256(point) => (P256, point.clone()),
            Self::P384(point) => (P384, point.clone()),
            Self::Ed25519(point) => (ED25519, point.clone()),
        };
        let bits = tlv(0x03, &[&[0], key.as_slice()].concat());
        tlv(0x30, &[tlv(0x30, algorithm), bits].concat())
    }
}

fn integer(bytes: &[u8]) -> Vec<u8> {
    let bytes = &bytes[bytes.iter().take_while(|&&byte| byte == 0).count()..];
    match bytes.first() {
        Some(0x80..) => tlv(0x02, &[&[0], bytes].concat()),
        _ => tlv(0x02, bytes),
    }
}

/// What a certificate says beside the key.
#[derive(Clone, Debug)]
pub(super) struct Contents {
    /// The file name.
    pub(super) name: &'static str,
    /// The subject's common name.
    pub(super) subject: &'static str,
    /// Key usage as openssl names it.
    pub(super) usage: &'static str,
    /// Lines of openssl's extensions besides.
    pub(super) extensions: &'static str,
    /// The length in bytes, DER: an address of a revocation list is as long as it takes.
    pub(super) length: usize,
}

/// A certificate authority: `ca.crt` and `ca.key` in a folder.
pub(super) struct Authority {
    certificate: PathBuf,
    key: PathBuf,
}

impl Authority {
    /// The one in this folder, made if it is not there.
    pub(super) fn open_or_make(folder: &Path) -> io::Result<Self> {
        let authority = Self {
            certificate: folder.join("ca.crt"),
            key: folder.join("ca.key"),
        };
        if authority.certificate.exists() {
            return Ok(authority);
        }
        fs::create_dir_all(folder)?;
        let mut command = Command::new("openssl");
        command.args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30",
        ]);
        command.args(["-subj", "/CN=Test CA"]);
        command.args(["-addext", "keyUsage=critical,keyCertSign,cRLSign"]);
        command.arg("-keyout").arg(&authority.key);
        command.arg("-out").arg(&authority.certificate);
        openssl(&mut command)?;
        Ok(authority)
    }
}

/// Where certificates are issued for the keys of one card.
pub(super) struct Certified<'a> {
    authority: &'a Authority,
    folder: &'a Path,
}

impl<'a> Certified<'a> {
    pub(super) fn new(authority: &'a Authority, folder: &'a Path) -> Self {
        Self { authority, folder }
    }

    /// Issues a certificate and returns it as DER. The public key and the certificate are in the folder as PEM.
    pub(super) fn issue(&self, key: &PublicKey, contents: &Contents) -> io::Result<Vec<u8>> {
        let public = self.public_key(contents.name, key)?;
        // The encodings of lengths and of the signature's serial number move it by a few bytes.
        let mut padding = 0;
        for _ in 0..5 {
            self.sign(&public, contents, padding)?;
            let made = self.read_der(contents.name)?;
            if made.len().abs_diff(contents.length) <= 10 {
                return Ok(made);
            }
            padding = (padding + contents.length).saturating_sub(made.len());
        }
        Err(io::Error::other(format!(
            "{}: no certificate of {} bytes",
            contents.subject, contents.length
        )))
    }

    /// Writes the public key as PEM.
    pub(super) fn public_key(&self, name: &str, key: &PublicKey) -> io::Result<PathBuf> {
        let (info, public) = (self.file(name, "spki"), self.file(name, "pub"));
        fs::write(&info, key.info())?;
        let mut command = Command::new("openssl");
        command
            .args(["pkey", "-pubin", "-inform", "DER", "-in"])
            .arg(&info);
        openssl(command.arg("-out").arg(&public))?;
        fs::remove_file(info)?;
        Ok(public)
    }

    fn sign(&self, public: &Path, contents: &Contents, padding: usize) -> io::Result<()> {
        let extensions = self.file(contents.name, "cnf");
        let text = format!(
            "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,{}\nsubjectKeyIdentifier=hash\n\
             authorityKeyIdentifier=keyid\ncrlDistributionPoints=URI:http://crl.example.org/{}.crl\n{}\n",
            contents.usage,
            "x".repeat(padding),
            contents.extensions
        );
        fs::write(&extensions, text)?;
        let pem = self.file(contents.name, "crt");
        let mut command = Command::new("openssl");
        command.args(["x509", "-new", "-days", "30", "-sha256", "-subj"]);
        command.arg(format!("/CN={}", contents.subject));
        command.arg("-force_pubkey").arg(public);
        command.arg("-CA").arg(&self.authority.certificate);
        command.arg("-CAkey").arg(&self.authority.key);
        command
            .arg("-extfile")
            .arg(&extensions)
            .arg("-out")
            .arg(&pem);
        openssl(&mut command)?;
        fs::remove_file(extensions)
    }

    /// A certificate that was issued.
    pub(super) fn read_der(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut command = Command::new("openssl");
        command.args(["x509", "-outform", "DER", "-in"]);
        openssl(command.arg(self.file(name, "crt")))
    }

    pub(super) fn file(&self, name: &str, suffix: &str) -> PathBuf {
        self.folder.join(format!("{name}.{suffix}"))
    }
}

/// Runs openssl; its complaint is the error.
pub(super) fn openssl(command: &mut Command) -> io::Result<Vec<u8>> {
    let output = command
        .env_remove("OPENSSL_CONF")
        .output()
        .map_err(|error| io::Error::other(format!("openssl: {error}")))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(io::Error::other(
        String::from_utf8_lossy(&output.stderr).into_owned(),
    ))
}
