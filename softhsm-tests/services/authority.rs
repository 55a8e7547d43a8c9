//! An authority of the tests: certificates for servers, good and bad, for clients, and for keys that are elsewhere.

use std::path::PathBuf;

use openssl::{
    asn1::Asn1Time,
    bn::{BigNum, MsbOption},
    ec::{EcGroup, EcKey},
    error::ErrorStack,
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private, Public},
    x509::{
        X509, X509NameBuilder,
        extension::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName},
    },
};

use crate::work::Work;

const DAY: i64 = 24 * 60 * 60;

/// A certificate authority that exists as long as the test.
#[derive(Debug)]
pub struct Authority {
    work: Work,
    certificate: X509,
    key: PKey<Private>,
}

/// What a server shows in TLS.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ServerCertificate {
    /// For localhost and 127.0.0.1.
    Good,
    /// It was good until yesterday.
    Expired,
    /// It will be good from tomorrow on.
    NotYetValid,
    /// For a host of another name.
    WrongHost,
    /// For the right names, by an authority that nobody knows.
    UnknownAuthority,
}

/// A key with its certificate.
#[derive(Clone, Debug)]
pub struct ServerIdentity {
    pub(crate) certificate: X509,
    pub(crate) key: PKey<Private>,
}

impl ServerIdentity {
    /// SHA-256 of its public key (DER SubjectPublicKeyInfo) in base64, as pins are written.
    pub fn pin(&self) -> String {
        let spki = self.key.public_key_to_der().expect("a public key");
        let digest = openssl::hash::hash(MessageDigest::sha256(), &spki).expect("SHA-256");
        openssl::base64::encode_block(&digest)
    }
}

impl Authority {
    /// A new one.
    pub fn new() -> Self {
        Self::named("Test authority")
    }

    fn named(name: &str) -> Self {
        let key = new_key().expect("a key");
        let certificate = Issue {
            name,
            valid: (-DAY, 2 * DAY),
            hosts: &[],
            is_authority: true,
        };
        let certificate = certificate
            .sign(&public(&key), None, &key)
            .expect("a certificate");
        let work = Work::new();
        work.write("authority.pem", certificate.to_pem().expect("PEM"));
        Self {
            work,
            certificate,
            key,
        }
    }

    /// The file of its certificate (PEM).
    pub fn file(&self) -> PathBuf {
        self.work.path().join("authority.pem")
    }

    /// A server's key and certificate.
    pub fn server(&self, certificate: ServerCertificate) -> ServerIdentity {
        let own = ["localhost", "127.0.0.1"];
        let elsewhere = ["elsewhere.test"];
        let (valid, hosts) = match certificate {
            ServerCertificate::Good | ServerCertificate::UnknownAuthority => {
                ((-DAY, DAY), &own[..])
            }
            ServerCertificate::Expired => ((-2 * DAY, -DAY), &own[..]),
            ServerCertificate::NotYetValid => ((DAY, 2 * DAY), &own[..]),
            ServerCertificate::WrongHost => ((-DAY, DAY), &elsewhere[..]),
        };
        let issue = Issue {
            name: "Test service",
            valid,
            hosts,
            is_authority: false,
        };
        let key = new_key().expect("a key");
        if certificate == ServerCertificate::UnknownAuthority {
            return Self::named("Another authority").identity(&issue, key);
        }
        self.identity(&issue, key)
    }

    /// The files of a client's certificate and key (PEM).
    pub fn client(&self, name: &str) -> (PathBuf, PathBuf) {
        let issue = Issue {
            name,
            valid: (-DAY, DAY),
            hosts: &[],
            is_authority: false,
        };
        let identity = self.identity(&issue, new_key().expect("a key"));
        let certificate = identity.certificate.to_pem().expect("PEM");
        let key = identity.key.private_key_to_pem_pkcs8().expect("PEM");
        let certificate = self.work.write(&format!("{name}.crt"), certificate);
        let file = self.work.write(&format!("{name}.key"), key);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&file, mode).expect("chmod");
        (certificate, file)
    }

    /// A certificate (DER) for a key that is in a service, by its public key (DER SubjectPublicKeyInfo).
    pub fn certify(&self, name: &str, spki: &[u8]) -> Vec<u8> {
        let public = PKey::public_key_from_der(spki).expect("a public key");
        let issue = Issue {
            name,
            valid: (-DAY, DAY),
            hosts: &["localhost"],
            is_authority: false,
        };
        let certificate = issue.sign(&public, Some(&self.certificate), &self.key);
        certificate.expect("a certificate").to_der().expect("DER")
    }

    /// As [`Self::certify`], into the file `NAME.pem` of a folder that the authority has: the certificates that stand
    /// beside a KMS' keys.
    pub fn certify_into_folder(&self, name: &str, spki: &[u8]) -> PathBuf {
        let folder = self.work.path().join("certificates");
        std::fs::create_dir_all(&folder).expect("a folder");
        let certificate = X509::from_der(&self.certify(name, spki)).expect("a certificate");
        let pem = certificate.to_pem().expect("PEM");
        std::fs::write(folder.join(format!("{name}.pem")), pem).expect("a certificate");
        folder
    }

    pub(crate) fn certificate(&self) -> &X509 {
        &self.certificate
    }

    fn identity(&self, issue: &Issue<'_>, key: PKey<Private>) -> ServerIdentity {
        let certificate = issue.sign(&public(&key), Some(&self.certificate), &self.key);
        ServerIdentity {
            certificate: certificate.expect("a certificate"),
            key,
        }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

/// What a certificate says.
struct Issue<'a> {
    name: &'a str,
    /// From and to, in seconds from now.
    valid: (i64, i64),
    hosts: &'a [&'a str],
    is_authority: bool,
}

impl Issue<'_> {
    fn sign(
        &self,
        public: &PKey<Public>,
        issuer: Option<&X509>,
        key: &PKey<Private>,
    ) -> Result<X509, ErrorStack> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = now.map_or(0, |since| since.as_secs().cast_signed());
        let mut name = X509NameBuilder::new()?;
        name.append_entry_by_nid(Nid::COMMONNAME, self.name)?;
        let name = name.build();
        let mut serial = BigNum::new()?;
        serial.rand(120, MsbOption::ONE, false)?;
        let mut builder = X509::builder()?;
        builder.set_version(2)?;
        let serial = serial.to_asn1_integer()?;
        builder.set_serial_number(&serial)?;
        builder.set_subject_name(&name)?;
        builder.set_issuer_name(issuer.map_or(&*name, |issuer| issuer.subject_name()))?;
        let (from, to) = (now + self.valid.0, now + self.valid.1);
        let (from, to) = (Asn1Time::from_unix(from)?, Asn1Time::from_unix(to)?);
        builder.set_not_before(&from)?;
        builder.set_not_after(&to)?;
        builder.set_pubkey(public)?;
        if self.is_authority {
            builder.append_extension(BasicConstraints::new().critical().ca().build()?)?;
            builder.append_extension(KeyUsage::new().critical().key_cert_sign().build()?)?;
        } else {
            builder.append_extension(BasicConstraints::new().build()?)?;
            let mut uses = ExtendedKeyUsage::new();
            uses.server_auth().client_auth().code_signing();
            builder.append_extension(uses.build()?)?;
        }
        if !self.hosts.is_empty() {
            let mut names = SubjectAlternativeName::new();
            for host in self.hosts {
                match host.parse::<std::net::IpAddr>() {
                    Ok(_) => names.ip(host),
                    Err(_) => names.dns(host),
                };
            }
            let context = builder.x509v3_context(None, None);
            let names = names.build(&context)?;
            builder.append_extension(names)?;
        }
        builder.sign(key, MessageDigest::sha256())?;
        Ok(builder.build())
    }
}

fn new_key() -> Result<PKey<Private>, ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    PKey::from_ec_key(EcKey::generate(&group)?)
}

fn public(key: &PKey<Private>) -> PKey<Public> {
    let spki = key.public_key_to_der().expect("a public key");
    PKey::public_key_from_der(&spki).expect("a public key")
}
