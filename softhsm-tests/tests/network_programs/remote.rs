//! Beds whose tokens are services: a KMS with certificates for its keys, and a CSC service whose credentials have a PIN.

use std::{fs, path::PathBuf, process::Command, sync::Arc};

use ctk_services::{
    Backend, Csc, Forward, Kms, Proxy, Scal,
    csc::{Credential, Rules},
};
use softhsm_tests::{
    bed::{Bed, key_identifier, uri_id},
    process::{Outcome, run},
};

/// The PIN of the credentials of [`CscBed`].
pub(crate) const CSC_PIN: &str = "4711-pin";
/// Another.
pub(crate) const WRONG_PIN: &str = "0815-pin";

/// A credential that wants [`CSC_PIN`] for each signature (SCAL 2).
pub(crate) fn each_time() -> Credential {
    Credential {
        hashes_are_bound: true,
        ..Credential::with_pin(CSC_PIN)
    }
}

/// A key in a service.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    /// CKA_LABEL of the key.
    pub(crate) label: String,
    /// CKA_ID, in hexadecimal digits.
    pub(crate) id: String,
    /// Its public key, PEM.
    pub(crate) public: PathBuf,
    /// Its certificate, PEM.
    pub(crate) certificate: PathBuf,
}

impl Remote {
    /// Its address for engines.
    pub(crate) fn uri(&self, token: &str) -> String {
        format!("pkcs11:token={token};id={};type=private", uri_id(&self.id))
    }
}

/// A token `kms` whose keys are in a KMS.
pub(crate) struct KmsBed {
    pub(crate) bed: Bed,
    pub(crate) keys: Vec<Remote>,
}

impl KmsBed {
    /// With keys of these specifications and usages, labelled by their number: `key-0`.
    #[track_caller]
    pub(crate) fn new(kinds: &[(&str, &str)]) -> Self {
        let bed = Bed::empty();
        let account = Kms::shared().account();
        let folder = bed.work.path().join("certificates");
        fs::create_dir(&folder).expect("a folder");
        let keys = kinds.iter().enumerate().map(|(at, (spec, usage))| {
            let label = format!("key-{at}");
            let key = account.create_key(spec, usage);
            account.create_alias(&label, &key);
            let der = bed.work.write(&format!("{label}.der"), &key.spki);
            let public = bed.work.path().join(format!("{label}.pub"));
            run(Command::new("openssl")
                .args(["pkey", "-pubin", "-inform", "DER", "-in"])
                .arg(der)
                .arg("-out")
                .arg(&public))
            .succeeded();
            let certificate = folder.join(format!("{label}.crt"));
            bed.certify(&label, &public, &certificate);
            let id = key_identifier(&certificate);
            Remote {
                label,
                id,
                public,
                certificate,
            }
        });
        let keys = keys.collect();
        let folder = folder.to_str().expect("UTF-8");
        let url = Kms::shared().url();
        bed.add_kms(
            "kms",
            &url,
            &account.access_key_id,
            &["--certificates", folder],
        );
        Self { bed, keys }
    }
}

/// A token `csc` of one credential of a CSC service, which has the PIN [`CSC_PIN`].
pub(crate) struct CscBed {
    pub(crate) bed: Bed,
    pub(crate) key: Remote,
    /// A certificate for the key by the authority of [`Self::bed`], PEM.
    pub(crate) own_certificate: PathBuf,
    /// Before the service.
    pub(crate) proxy: Proxy,
    /// The certificate of the service's authority, PEM.
    pub(crate) authority: PathBuf,
    _csc: Csc,
}

impl CscBed {
    /// With this credential.
    #[track_caller]
    pub(crate) fn new(name: &str, credential: Credential) -> Self {
        let bed = Bed::empty();
        let csc = Csc::start(Scal::One);
        let rules = Arc::new(Rules::new(Forward::to(csc.port())));
        rules.list_only(&[name]);
        rules.all(credential);
        let backend: Arc<dyn Backend> = rules;
        let proxy = Proxy::start(backend);
        bed.add_csc(
            "csc",
            &format!("{}/csc/v1", proxy.url()),
            &["--authentication", "none"],
        );
        let files = csc.chain(name).into_iter().enumerate().map(|(at, der)| {
            let der = bed.work.write(&format!("chain-{at}.der"), der);
            let pem = bed.work.path().join(format!("chain-{at}.crt"));
            let mut convert = Command::new("openssl");
            convert
                .args(["x509", "-inform", "DER", "-in"])
                .arg(der)
                .arg("-out");
            run(convert.arg(&pem)).succeeded();
            pem
        });
        let files: Vec<_> = files.collect();
        let public = bed.work.path().join("csc.pub");
        let mut extract = Command::new("openssl");
        extract
            .args(["x509", "-noout", "-pubkey", "-in"])
            .arg(&files[0]);
        let text = run(&mut extract).succeeded().stdout;
        fs::write(&public, text).expect("the public key");
        // certomancer's certificates have no identifier of their key: ours says which it is.
        let with_identifier = bed.work.path().join("csc-id.crt");
        bed.certify("csc", &public, &with_identifier);
        Self {
            key: Remote {
                label: String::new(),
                id: key_identifier(&with_identifier),
                public,
                certificate: files[0].clone(),
            },
            authority: files[1].clone(),
            own_certificate: with_identifier,
            bed,
            proxy,
            _csc: csc,
        }
    }
}

impl CscBed {
    /// Has the PIN stored, for programs that ask at a terminal before each signature.
    #[track_caller]
    pub(crate) fn store_pin(&self) {
        let pin = self.bed.secret("pin", CSC_PIN);
        let source = format!("file:{}", pin.display());
        self.bed
            .update("csc", &["--pin", &source, "--login", "on-use"]);
    }

    /// The program was refused with [`WRONG_PIN`], by the service.
    #[track_caller]
    pub(crate) fn has_refused_pin(&self, outcome: Outcome) {
        let outcome = outcome.refused();
        let asked = self.proxy.requests_for("credentials/authorize");
        let has_come = asked
            .iter()
            .any(|request| request.json()["PIN"] == WRONG_PIN);
        assert!(has_come, "the PIN did not come:\n{}", outcome.text());
        assert!(self.proxy.requests_for("signatures/signHash").is_empty());
    }
}

/// openssl finds that the key made the file `signature` of the file `message`.
#[track_caller]
pub(crate) fn verifies(bed: &Bed, key: &Remote, digest: &str, options: &[&str]) {
    let mut command = bed.command("openssl");
    command
        .args(["dgst", &format!("-{digest}"), "-verify"])
        .arg(&key.public);
    for option in options {
        command.args(["-sigopt", option]);
    }
    run(command.args(["-signature", "signature", "message"])).succeeded();
}
