//! The same keys and certificates as tokens of this repository's module and of SoftHSM2.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use openssl::{
    asn1::Asn1Time,
    base64,
    bn::BigNum,
    ec::{EcGroup, EcKey},
    hash::MessageDigest,
    nid::Nid,
    pkey::PKey,
    sha::sha1,
    x509::{X509, X509NameBuilder},
};
use softhsm_bench::{Key, host, place::Place};
use softhsm_tests::{
    bed::{Bed, Kind, NO_CARDS, PIN},
    isolated::Environment,
    process::run,
};

/// SoftHSM2, where Debian puts it.
pub const SOFTHSM: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// The name of a token of this many certificates and no key.
pub fn certificates(count: usize) -> String {
    format!("certificates-{count}")
}

/// The token of one key of each type.
pub const KEYS: &str = "keys";
/// The token of an RSA-2048 and a P-256 key with their certificates: what a person has.
pub const TWO: &str = "two";

/// All tokens of both modules, gone when dropped.
#[derive(Debug)]
pub struct Tokens {
    bed: Bed,
    module: PathBuf,
}

impl Tokens {
    /// Makes the tokens of keys.
    pub fn new(module: Option<PathBuf>) -> Self {
        let bed = Bed::empty();
        let module = module.unwrap_or_else(|| bed.module.clone());
        let tokens = Self { bed, module };
        let kinds = [
            Kind::Rsa2048,
            Kind::Rsa4096,
            Kind::P256,
            Kind::P384,
            Kind::Ed25519,
        ];
        tokens.make(KEYS, &kinds);
        tokens.make(TWO, &[Kind::Rsa2048, Kind::P256]);
        tokens
    }

    /// One token of these keys for each module; the keys' files are also there under their names.
    fn make(&self, name: &str, kinds: &[Kind]) {
        let identities = self.bed.token(name, kinds);
        self.make_softhsm(name);
        let folder = self.keys(name);
        fs::create_dir(&folder).expect("a folder for keys");
        let mut list = String::new();
        for identity in &identities {
            let key = match identity.kind {
                Kind::Rsa2048 => Key::Rsa2048,
                Kind::Rsa4096 => Key::Rsa4096,
                Kind::P256 => Key::P256,
                Kind::P384 => Key::P384,
                Kind::P521 => panic!("not measured"),
                Kind::Ed25519 => Key::Ed25519,
            };
            fs::copy(&identity.key, folder.join(format!("{}.key", key.name()))).expect("the key");
            fs::copy(&identity.public, folder.join(format!("{}.pub", key.name())))
                .expect("the public key");
            run(self
                .softhsm(name)
                .command(Path::new("softhsm2-util"))
                .args(["--import"])
                .arg(&identity.key)
                .args(["--token", name, "--label", &identity.name])
                .args(["--id", &identity.id, "--pin", PIN]))
            .succeeded();
            let pem = fs::read(&identity.certificate).expect("the certificate");
            let certificate = X509::from_pem(&pem).expect("a certificate");
            let id = unhex(&identity.id);
            list += &Record::new(&certificate, id, &identity.name).line();
        }
        self.bed.work.write(&format!("{name}.list"), list);
    }

    /// Where the keys of this token are as files.
    pub fn keys(&self, token: &str) -> PathBuf {
        self.bed.work.path().join(format!("{token}-keys"))
    }

    /// Makes a token of `count` certificates for each module. Those of SoftHSM2 are in a list that [`Self::list`] names, and
    /// have to be created through the module.
    pub fn make_certificates(&self, count: usize) {
        let name = certificates(count);
        let records = records(count);
        let mut table = format!(
            "[[token]]\nname = \"{name}\"\ndriver = \"pkcs12\"\nfile = \"{}\"\n",
            self.bed.work.path().join("keys.p12").display()
        );
        let mut list = String::new();
        for record in &records {
            let id = hex(&record.id);
            let der = base64::encode_block(&record.der);
            let label = &record.label;
            write!(
                table,
                "\n[[token.certificate]]\nlabel = \"{label}\"\nid = \"{id}\"\nder = \"{der}\"\n"
            )
            .expect("text");
            list += &record.line();
        }
        self.bed.work.write(&format!("{name}.toml"), table);
        self.bed.work.write(&format!("{name}.list"), list);
        self.make_softhsm(&name);
    }

    /// The certificates of a token, for SoftHSM2's worker to create.
    pub fn list(&self, token: &str) -> PathBuf {
        self.bed.work.path().join(format!("{token}.list"))
    }

    /// The token in the module under test.
    pub fn ours(&self, token: &str) -> Place {
        let own = self.bed.work.path().join(format!("{token}.toml"));
        let registered = self.bed.configuration().join(format!("{token}.toml"));
        let table = fs::read_to_string(if own.exists() { own } else { registered });
        let table = table.expect("the token's table");
        let file = format!("{token}-alone.toml");
        let file = self.bed.work.write(&file, table + NO_CARDS);
        let mut variables = self.bed.variables();
        variables.push(("CTK_CONFIG".to_owned(), utf8(&file)));
        // For another build of SoftHSM2.
        variables.extend(self.softhsm(token).variables);
        Place {
            module: self.module.clone(),
            label: token.to_owned(),
            // Nobody logs in to read certificates.
            pin: self.keys(token).exists().then(|| PIN.to_owned()),
            variables,
        }
    }

    /// The token in SoftHSM2.
    pub fn softhsm(&self, token: &str) -> Place {
        Place {
            module: SOFTHSM.into(),
            label: token.to_owned(),
            pin: Some(PIN.to_owned()),
            variables: vec![("SOFTHSM2_CONF".to_owned(), utf8(&self.conf(token)))],
        }
    }

    fn conf(&self, token: &str) -> PathBuf {
        self.bed.work.path().join(format!("{token}-softhsm2.conf"))
    }

    fn make_softhsm(&self, token: &str) {
        let folder = self.bed.work.path().join(format!("{token}-softhsm2"));
        fs::create_dir(&folder).expect("a folder for SoftHSM2");
        let conf = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            folder.display()
        );
        fs::write(self.conf(token), conf).expect("SoftHSM2's configuration");
        run(self
            .softhsm(token)
            .command(Path::new("softhsm2-util"))
            .args(["--init-token", "--free", "--label", token])
            .args(["--pin", PIN, "--so-pin", PIN]))
        .succeeded();
    }

    /// Compiles hosts/NAME.c to a program or, if `shared`, to a library.
    pub fn host(&self, name: &str, shared: bool) -> PathBuf {
        host::compile(self.bed.work.path(), name, shared)
    }

    /// A file of the run, which need not exist yet.
    pub fn file(&self, name: &str) -> PathBuf {
        self.bed.work.path().join(name)
    }
}

/// A certificate and what PKCS #11 says about it.
struct Record {
    der: Vec<u8>,
    id: Vec<u8>,
    label: String,
    subject: Vec<u8>,
    issuer: Vec<u8>,
    serial: Vec<u8>,
}

impl Record {
    fn new(certificate: &X509, id: Vec<u8>, label: &str) -> Self {
        let number = certificate.serial_number().to_bn().expect("a number");
        let mut serial = number.to_vec();
        if serial.first().is_none_or(|&byte| byte >= 0x80) {
            serial.insert(0, 0);
        }
        let len = u8::try_from(serial.len()).expect("a short serial number");
        Self {
            der: certificate.to_der().expect("DER"),
            id,
            label: label.to_owned(),
            subject: certificate.subject_name().to_der().expect("DER"),
            issuer: certificate.issuer_name().to_der().expect("DER"),
            serial: [&[2, len], serial.as_slice()].concat(),
        }
    }

    fn line(&self) -> String {
        let fields = [
            &self.der,
            &self.id,
            self.label.as_bytes(),
            &self.subject,
            &self.issuer,
            &self.serial,
        ];
        let fields: Vec<_> = fields.into_iter().map(hex).collect();
        fields.join(" ") + "\n"
    }
}

/// Certificates of one key with subjects, serial numbers, labels and ids of their own.
fn records(count: usize) -> Vec<Record> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("P-256");
    let key = PKey::from_ec_key(EcKey::generate(&group).expect("a key")).expect("a key");
    let name = |text: &str| {
        let mut name = X509NameBuilder::new().expect("a name");
        name.append_entry_by_nid(Nid::COMMONNAME, text)
            .expect("a name");
        name.append_entry_by_nid(Nid::ORGANIZATIONNAME, "Benchmark")
            .expect("a name");
        name.build()
    };
    let issuer = name("Authority");
    let (from, until) = (Asn1Time::days_from_now(0), Asn1Time::days_from_now(365));
    let (from, until) = (from.expect("a time"), until.expect("a time"));
    (0..count)
        .map(|number| {
            let label = format!("Certificate {number}");
            let mut certificate = X509::builder().expect("a certificate");
            let serial = BigNum::from_u32(1_000_000 + u32::try_from(number).expect("a number"));
            let serial = serial.and_then(|serial| serial.to_asn1_integer());
            certificate
                .set_version(2)
                .and_then(|()| certificate.set_serial_number(&*serial?))
                .and_then(|()| certificate.set_subject_name(&name(&label)))
                .and_then(|()| certificate.set_issuer_name(&issuer))
                .and_then(|()| certificate.set_not_before(&from))
                .and_then(|()| certificate.set_not_after(&until))
                .and_then(|()| certificate.set_pubkey(&key))
                .and_then(|()| certificate.sign(&key, MessageDigest::sha256()))
                .expect("a certificate");
            let id = sha1(label.as_bytes()).to_vec();
            Record::new(&certificate.build(), id, &label)
        })
        .collect()
}

fn utf8(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal"))
        .collect()
}
