//! Tokens whose services are behind proxies that make faults.

use std::sync::Arc;

use ctk_services::{
    Account, Backend, Csc, Forward, Kms, KmsKey, Proxy, Scal,
    csc::{Authentication, Credential, Rules},
};
use softhsm_tests::{
    bed::{Bed, Kind},
    network::{Answer, IMPATIENT, Program, p256_verifies, spki_of},
};

/// CKM_ECDSA over [`HASH`].
pub(crate) const SIGN: &str =
    "sign 1041 5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a";
/// As long as one of SHA-256.
pub(crate) const HASH: [u8; 32] = [0x5a; 32];
/// The PIN of the credentials that have one.
pub(crate) const CSC_PIN: &str = "4711-pin";
/// What the CSC services want to see.
pub(crate) const BEARER: &str = "bearer-that-nobody-may-see";

/// The KMS of this process behind a proxy, and a key in it that is called `key`.
pub(crate) struct KmsScene {
    pub(crate) account: Account,
    pub(crate) key: KmsKey,
    pub(crate) proxy: Proxy,
}

impl KmsScene {
    pub(crate) fn new() -> Self {
        let kms = Kms::shared();
        let account = kms.account();
        let key = account.create_key("ECC_NIST_P256", "SIGN_VERIFY");
        account.create_alias("key", &key);
        Self {
            account,
            key,
            proxy: Proxy::start(Forward::to(kms.port())),
        }
    }

    #[track_caller]
    pub(crate) fn register(&self, bed: &Bed, name: &str, options: &[&str]) {
        self.register_at(bed, name, &self.proxy.url(), options);
    }

    /// openssl finds that the key has signed [`HASH`].
    #[track_caller]
    pub(crate) fn verify(&self, answer: &Answer) {
        assert!(p256_verifies(&self.key.spki, &HASH, &answer.bytes()));
    }

    #[track_caller]
    pub(crate) fn register_at(&self, bed: &Bed, name: &str, url: &str, options: &[&str]) {
        let options = [&IMPATIENT, options].concat();
        bed.add_kms(name, url, &self.account.access_key_id, &options);
    }
}

/// A CSC service with the credential `t/p256` behind rules and a proxy.
pub(crate) struct CscScene {
    pub(crate) rules: Arc<Rules>,
    pub(crate) proxy: Proxy,
    /// The public key in the credential's certificate (DER SubjectPublicKeyInfo).
    spki: Vec<u8>,
}

impl CscScene {
    pub(crate) fn new(csc: &Csc, credential: Credential) -> Self {
        let rules = Arc::new(Rules::new(Forward::to(csc.port())));
        rules.list_only(&["t/p256"]);
        rules.set("t/p256", credential);
        rules.authentication(Authentication::Bearer(BEARER.to_owned()));
        let backend: Arc<dyn Backend> = rules.clone();
        Self {
            proxy: Proxy::start(backend),
            rules,
            spki: spki_of(&csc.chain("t/p256")[0]),
        }
    }

    #[track_caller]
    pub(crate) fn register(&self, bed: &Bed, name: &str, options: &[&str]) {
        let bearer = format!("file:{}", bed.secret("bearer", BEARER).display());
        let own = ["--authentication", "bearer", "--bearer", &bearer];
        let url = format!("{}/csc/v1", self.proxy.url());
        bed.add_csc(name, &url, &[&IMPATIENT, &own[..], options].concat());
    }

    /// As [`KmsScene::verify`].
    #[track_caller]
    pub(crate) fn verify(&self, answer: &Answer) {
        assert!(p256_verifies(&self.spki, &HASH, &answer.bytes()));
    }
}

/// Everything that goes wrong in the table.
pub(crate) struct Scene {
    pub(crate) kms: KmsScene,
    pub(crate) implicit: CscScene,
    pub(crate) pin: CscScene,
    pub(crate) program: Program,
    _bed: Bed,
    _csc: Csc,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let bed = Bed::empty();
        bed.token("file", &[Kind::P256]);
        let csc = Csc::start(Scal::One);
        let kms = KmsScene::new();
        kms.register(&bed, "kms", &[]);
        let implicit = CscScene::new(&csc, Credential::default());
        implicit.register(&bed, "implicit", &[]);
        let pin = CscScene::new(&csc, Credential::with_pin(CSC_PIN));
        pin.register(&bed, "pin", &[]);
        Self {
            kms,
            implicit,
            pin,
            program: Program::start(&bed, "trace"),
            _bed: bed,
            _csc: csc,
        }
    }

    /// Logs in where that is necessary, and chooses the key.
    #[track_caller]
    pub(crate) fn get_ready(&mut self, token: &str) {
        if token == "pin" {
            self.program.ask(&format!("login {CSC_PIN}")).ok();
        }
        let key = if token == "kms" { "key" } else { "Test P-256" };
        self.program.ask(&format!("key {key}")).ok();
    }

    /// openssl finds that this is a signature by the token's key.
    #[track_caller]
    pub(crate) fn verify(&self, token: &str, answer: &Answer) {
        match token {
            "kms" => self.kms.verify(answer),
            "implicit" => self.implicit.verify(answer),
            _ => self.pin.verify(answer),
        }
    }

    pub(crate) fn clear(&self) {
        for proxy in [&self.kms.proxy, &self.implicit.proxy, &self.pin.proxy] {
            proxy.clear();
        }
    }
}

/// What the module has told that is not as it should be.
pub(crate) fn warnings(log: &str) -> Vec<&str> {
    let warning = |line| str::split_once(line, " warn: ").map(|(_, said)| said);
    log.lines().filter_map(warning).collect()
}

/// The last of it.
pub(crate) fn last_warning(log: &str) -> &str {
    warnings(log).last().copied().unwrap_or_default()
}
