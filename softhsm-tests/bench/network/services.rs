//! The services that are measured, what stands before them, and the tokens of their keys.

use std::{
    collections::HashMap,
    fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use ctk_services::{
    Account, Authority, Backend, Csc, Forward, Kms, Proxy, Request, Response, Scal,
    ServerCertificate, Tls,
    csc::{Credential, Rules},
};
use openssl::pkey::{PKey, Public};
use softhsm_bench::{Key, place::Place};
use softhsm_tests::{
    bed::{Bed, Kind, NO_CARDS},
    isolated::Environment,
    module::module_path,
};

/// What a signature takes at the fixed-answer server.
pub(crate) const DELAY: Duration = Duration::from_millis(20);
/// The keys that sign.
pub(crate) const KEYS: [Key; 2] = [Key::Rsa2048, Key::P256];
/// The PIN of the credential that has one.
const PIN: &str = "4711-pin";
/// How many signatures an authorisation of the CSC service is for: more than are made by one, so that none ends meanwhile.
const MULTISIGN: u64 = 10_000;
/// The token of a file, beside those of services.
pub(crate) const FILE: &str = "file";

/// Which service a token is of, and what stands before the use of its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// AWS KMS.
    Kms,
    /// CSC API, credentials without PIN.
    CscImplicit,
    /// CSC API, a credential with a PIN; what a login has opened is kept.
    CscPin,
}

impl Which {
    /// For a reader.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Kms => "KMS",
            Self::CscImplicit => "CSC implicit",
            Self::CscPin => "CSC PIN",
        }
    }

    /// The keys of its token.
    pub(crate) fn keys(self) -> &'static [Key] {
        match self {
            // A credential with a PIN makes a token of its own.
            Self::CscPin => &[Key::P256],
            _ => &KEYS,
        }
    }

    /// How the operation is called that signs.
    pub(crate) fn operation(self) -> &'static str {
        match self {
            Self::Kms => "Sign",
            _ => "signHash",
        }
    }

    fn pin(self) -> Option<String> {
        (self == Self::CscPin).then(|| PIN.to_owned())
    }
}

/// How a token's service is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// HTTP.
    Plain,
    /// HTTPS, TLS 1.3.
    Tls,
}

impl Wire {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Plain, Self::Tls];

    /// For a reader.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Plain => "HTTP",
            Self::Tls => "TLS 1.3",
        }
    }
}

/// The real servers, and a home in which their keys are registered. All of it is gone when dropped.
pub(crate) struct Services {
    kms: Kms,
    account: Account,
    csc: Csc,
    authority: Authority,
    pub(crate) bed: Bed,
}

/// A token and the server of ours before its service.
pub(crate) struct Remote {
    pub(crate) which: Which,
    pub(crate) wire: Wire,
    pub(crate) proxy: Proxy,
    pub(crate) place: Place,
}

impl Remote {
    /// For a reader.
    pub(crate) fn title(&self) -> String {
        format!("{}, {}", self.which.title(), self.wire.title())
    }
}

impl Services {
    /// Starts the servers and makes the keys that sign.
    pub(crate) fn start() -> Self {
        let kms = Kms::start();
        let account = kms.account();
        for key in KEYS {
            let spec = match key {
                Key::Rsa2048 => "RSA_2048",
                _ => "ECC_NIST_P256",
            };
            let made = account.create_key(spec, "SIGN_VERIFY");
            account.create_alias(key.name(), &made);
        }
        Self {
            account,
            kms,
            csc: Csc::start(Scal::One),
            authority: Authority::new(),
            bed: Bed::empty(),
        }
    }

    /// A token of the real service, with a server of ours before it that counts.
    pub(crate) fn counted(&self, which: Which, wire: Wire) -> Remote {
        self.remote(which, wire, &self.backend(which))
    }

    /// A token of a server that gives, after [`DELAY`], the answer that the real service has given to the same request.
    pub(crate) fn fixed(&self, which: Which, wire: Wire) -> (Remote, Arc<dyn Backend>) {
        let backend: Arc<dyn Backend> = Arc::new(Fixed::new(self.backend(which), DELAY));
        (self.remote(which, wire, &backend), backend)
    }

    /// A server of its own with these answers.
    pub(crate) fn serve(&self, backend: &Arc<dyn Backend>, wire: Wire) -> Proxy {
        let backend = Arc::clone(backend);
        match wire {
            Wire::Plain => Proxy::start(backend),
            Wire::Tls => {
                Proxy::start_tls(backend, &Tls::new(&self.authority, ServerCertificate::Good))
            }
        }
    }

    /// The file of the certificate that the servers' come from.
    pub(crate) fn authority(&self) -> PathBuf {
        self.authority.file()
    }

    /// The public key of a token's key, as its service tells it.
    pub(crate) fn public_key(&self, which: Which, key: Key) -> PKey<Public> {
        if which == Which::Kms {
            let alias = format!("alias/{}", key.name());
            let question = serde_json::json!({ "KeyId": alias });
            let answer = self.account.ask("GetPublicKey", &question);
            let spki = answer["PublicKey"].as_str().expect("a public key");
            let spki = openssl::base64::decode_block(spki).expect("base64");
            return PKey::public_key_from_der(&spki).expect("a public key");
        }
        let chain = self.csc.chain(credential(key));
        let leaf = openssl::x509::X509::from_der(&chain[0]).expect("a certificate");
        leaf.public_key().expect("a public key")
    }

    /// The token of a file with an RSA-2048 and a P-256 key: what a person has.
    pub(crate) fn file(&self) {
        self.bed.token(FILE, &[Kind::Rsa2048, Kind::P256]);
    }

    /// Registers a token of so many KMS keys, each with a certificate. Its service is dead when this returns.
    pub(crate) fn dead(&self, name: &str, count: usize) {
        let account = self.kms.account();
        let authority = Authority::new();
        let mut certificates = PathBuf::new();
        for number in 0..count {
            let spec = match number % 2 {
                0 => "RSA_2048",
                _ => "ECC_NIST_P256",
            };
            let key = account.create_key(spec, "SIGN_VERIFY");
            let label = format!("key-{number}");
            account.create_alias(&label, &key);
            certificates = authority.certify_into_folder(&label, &key.spki);
        }
        let mut proxy = Proxy::start(Forward::to(self.kms.port()));
        let options = ["--certificates", utf8(&certificates)];
        let id = &account.access_key_id;
        self.bed.add_kms(name, &proxy.url(), id, &options);
        proxy.go_down();
    }

    /// A process that sees these registered tokens and no other.
    pub(crate) fn place(&self, tokens: &[&str], pin: Option<String>) -> Place {
        let table = |token: &&str| {
            let file = self.bed.configuration().join(format!("{token}.toml"));
            fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display())) + "\n"
        };
        let tables: String = tokens.iter().map(table).collect();
        let name = format!("only-{}.toml", tokens.join("-"));
        let file = self.bed.work.write(&name, tables + NO_CARDS);
        let mut variables = self.bed.variables();
        variables.push(("CTK_CONFIG".to_owned(), utf8(&file).to_owned()));
        Place {
            module: module_path(),
            label: tokens.first().copied().unwrap_or_default().to_owned(),
            pin,
            variables,
        }
    }

    fn backend(&self, which: Which) -> Arc<dyn Backend> {
        if which == Which::Kms {
            return Arc::new(Forward::to(self.kms.port()));
        }
        let rules = Rules::new(Forward::to(self.csc.port()));
        let names: Vec<_> = which.keys().iter().map(|&key| credential(key)).collect();
        rules.list_only(&names);
        rules.all(Credential {
            pin: which.pin(),
            multisign: MULTISIGN,
            ..Credential::default()
        });
        Arc::new(rules)
    }

    fn remote(&self, which: Which, wire: Wire, backend: &Arc<dyn Backend>) -> Remote {
        let proxy = self.serve(backend, wire);
        let name = format!("at-{}", proxy.port());
        let authority = self.authority();
        let options = match wire {
            Wire::Plain => vec![],
            Wire::Tls => vec!["--ca-file", utf8(&authority)],
        };
        match which {
            Which::Kms => {
                let id = &self.account.access_key_id;
                self.bed.add_kms(&name, &proxy.url(), id, &options);
            }
            Which::CscImplicit | Which::CscPin => {
                let url = format!("{}/csc/v1", proxy.url());
                self.bed.add_csc(&name, &url, &options);
            }
        }
        Remote {
            which,
            wire,
            proxy,
            place: self.place(&[&name], which.pin()),
        }
    }
}

/// certomancer's name of the credential with a key of this type.
fn credential(key: Key) -> &'static str {
    match key {
        Key::Rsa2048 => "t/rsa",
        _ => "t/p256",
    }
}

fn utf8(path: &std::path::Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Asks the server behind it once for each request, and gives the same answer from then on, so much later.
struct Fixed {
    inner: Arc<dyn Backend>,
    delay: Duration,
    known: Mutex<HashMap<(String, Vec<u8>), Response>>,
}

impl Fixed {
    fn new(inner: Arc<dyn Backend>, delay: Duration) -> Self {
        Self {
            inner,
            delay,
            known: Mutex::default(),
        }
    }
}

impl Backend for Fixed {
    fn answer(&self, request: &Request) -> io::Result<Response> {
        let question = (request.operation().to_owned(), request.body.clone());
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = known().get(&question).cloned();
        if let Some(answer) = answer {
            thread::sleep(self.delay);
            return Ok(answer);
        }
        let answer = self.inner.answer(request)?;
        known().insert(question, answer.clone());
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn the_same_request_has_the_same_answer_and_the_service_is_asked_once() {
        let asked = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&asked);
        let inner = move |request: &Request| {
            let count = counter.fetch_add(1, Ordering::SeqCst);
            Response::new(
                200,
                "text/plain",
                &format!("{} {count}", request.operation()),
            )
        };
        let fixed = Fixed::new(Arc::new(inner), Duration::ZERO);
        let ask = |target: &str, body: i32| {
            let request = Request::post_json(target, &serde_json::json!(body));
            let answer = fixed.answer(&request).expect("an answer");
            String::from_utf8(answer.body).expect("text")
        };
        assert_eq!(ask("/sign", 1), "/sign 0");
        assert_eq!(ask("/sign", 2), "/sign 1");
        assert_eq!(ask("/list", 1), "/list 2");
        assert_eq!(ask("/sign", 1), "/sign 0");
        assert_eq!(asked.load(Ordering::SeqCst), 3);
    }
}
