//! localstack: AWS KMS with correct cryptography. It does not look at signatures of requests.

use std::{
    io,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use serde_json::{Value, json};

use crate::{
    forward::{Backend, Forward},
    http::{Request, Response, ask},
    process::{Server, free_port},
    programs::{program, tied, wait_for_answer},
    work::Work,
};

/// The region of all keys.
const REGION: &str = "us-east-1";

/// A KMS.
///
/// It closes the connection after each answer: for kept connections, put a [`Proxy`](crate::Proxy) before it.
#[derive(Debug)]
pub struct Kms {
    port: u16,
    server: Server,
    _work: Work,
}

impl Kms {
    /// The one of this process, started by the first test that wants it. It ends with the process.
    #[track_caller]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Kms> = OnceLock::new();
        SHARED.get_or_init(|| {
            // Nobody drops what is static: its folder is removed by what ends it.
            let work = Work::new();
            let path = work.path().to_owned();
            Self::launch(&path, Some(&path), work)
        })
    }

    /// Starts one for this test alone and waits until it answers.
    #[track_caller]
    pub fn start() -> Self {
        let work = Work::new();
        let path = work.path().to_owned();
        Self::launch(&path, None, work)
    }

    /// The port of 127.0.0.1 on which it listens, for HTTP and for HTTPS.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The number of the process group that it is.
    pub fn id(&self) -> u32 {
        self.server.id()
    }

    /// An account without keys that no other test has.
    pub fn account(&self) -> Account {
        static NEXT: AtomicU64 = AtomicU64::new(100_000_000_001);
        Account {
            port: self.port,
            access_key_id: NEXT.fetch_add(1, Ordering::Relaxed).to_string(),
        }
    }

    #[track_caller]
    fn launch(folder: &std::path::Path, litter: Option<&std::path::Path>, work: Work) -> Self {
        let port = free_port();
        // -P: it would take a folder named like a package in the current one for that package.
        let mut command = tied(program("localstack", "python"), litter);
        command
            .args(["-P", "-m", "localstack.runtime.main"])
            .current_dir(folder)
            .env("SERVICES", "kms")
            .env("EAGER_SERVICE_LOADING", "1")
            // The usual one ignores the address and listens on all.
            .env("GATEWAY_SERVER", "hypercorn")
            .env("GATEWAY_LISTEN", format!("127.0.0.1:{port}"))
            .env("DNS_ADDRESS", "0")
            .env("DISABLE_EVENTS", "1")
            .env("SKIP_SSL_CERT_DOWNLOAD", "1")
            .env("OVERRIDE_IN_DOCKER", "0")
            .env("FILESYSTEM_ROOT", folder);
        let mut server = Server::start(&mut command, &folder.join("log"));
        let any = request("000000000000", "ListKeys", &json!({}));
        wait_for_answer(&mut server, port, &any);
        Self {
            port,
            server,
            _work: work,
        }
    }
}

/// A [`Kms`] that refuses what it cannot decrypt as AWS does: it fails with 500 itself.
///
/// It cannot decrypt what is encrypted with `RSAES_OAEP_SHA_1` at all: it takes all for `RSAES_OAEP_SHA_256`.
#[derive(Clone, Copy, Debug)]
pub struct DecryptingKms(Forward);

impl DecryptingKms {
    /// Before this one.
    pub fn new(kms: &Kms) -> Self {
        Self(Forward::to(kms.port))
    }
}

impl Backend for DecryptingKms {
    fn answer(&self, request: &Request) -> io::Result<Response> {
        let response = self.0.answer(request)?;
        let text = String::from_utf8_lossy(&response.body);
        if request.operation() == "Decrypt" && text.contains("Decryption failed") {
            let body = json!({"__type": "InvalidCiphertextException", "message": null});
            return Ok(Response::json(400, &body));
        }
        Ok(response)
    }
}

/// An account of a [`Kms`]: an access key and what was made with it.
#[derive(Clone, Debug)]
pub struct Account {
    port: u16,
    /// The access key; localstack takes its digits for the account's number.
    pub access_key_id: String,
}

impl Account {
    /// The region of its keys.
    pub const REGION: &str = REGION;
    /// What it signs requests with; localstack does not look.
    pub const SECRET_ACCESS_KEY: &str = "localstack-does-not-look-at-it";

    /// Makes a key, like (`RSA_2048`, `SIGN_VERIFY`).
    #[track_caller]
    pub fn create_key(&self, spec: &str, usage: &str) -> KmsKey {
        let question = json!({"KeySpec": spec, "KeyUsage": usage});
        let metadata = self.ask("CreateKey", &question);
        let text = |name: &str| {
            let value = metadata["KeyMetadata"][name].as_str();
            value.expect("key metadata").to_owned()
        };
        let (id, arn) = (text("KeyId"), text("Arn"));
        let public = self.ask("GetPublicKey", &json!({"KeyId": id}));
        let public = public["PublicKey"].as_str().expect("a public key");
        KmsKey {
            id,
            arn,
            spki: openssl::base64::decode_block(public).expect("base64"),
        }
    }

    /// Makes a key of each kind: for signatures, for decryption and for agreeing on secrets.
    #[track_caller]
    pub fn create_every_key(&self) -> Vec<KmsKey> {
        Self::EVERY_KEY
            .iter()
            .map(|(spec, usage)| self.create_key(spec, usage))
            .collect()
    }

    /// The kinds of keys that localstack has and PKCS#11 has a use for. It has no ML-DSA and no Ed25519.
    pub const EVERY_KEY: [(&str, &str); 13] = [
        ("RSA_2048", "SIGN_VERIFY"),
        ("RSA_3072", "SIGN_VERIFY"),
        ("RSA_4096", "SIGN_VERIFY"),
        ("ECC_NIST_P256", "SIGN_VERIFY"),
        ("ECC_NIST_P384", "SIGN_VERIFY"),
        ("ECC_NIST_P521", "SIGN_VERIFY"),
        ("ECC_SECG_P256K1", "SIGN_VERIFY"),
        ("RSA_2048", "ENCRYPT_DECRYPT"),
        ("RSA_3072", "ENCRYPT_DECRYPT"),
        ("RSA_4096", "ENCRYPT_DECRYPT"),
        ("ECC_NIST_P256", "KEY_AGREEMENT"),
        ("ECC_NIST_P384", "KEY_AGREEMENT"),
        ("ECC_NIST_P521", "KEY_AGREEMENT"),
    ];

    /// Makes `alias/NAME` a name of this key.
    #[track_caller]
    pub fn create_alias(&self, name: &str, key: &KmsKey) {
        let question = json!({"AliasName": format!("alias/{name}"), "TargetKeyId": key.id});
        self.ask("CreateAlias", &question);
    }

    /// Makes a key unusable.
    #[track_caller]
    pub fn disable(&self, key: &KmsKey) {
        self.ask("DisableKey", &json!({"KeyId": key.id}));
    }

    /// Makes it usable again.
    #[track_caller]
    pub fn enable(&self, key: &KmsKey) {
        self.ask("EnableKey", &json!({"KeyId": key.id}));
    }

    /// Asks something that must succeed.
    #[track_caller]
    pub fn ask(&self, operation: &str, question: &Value) -> Value {
        let response = self.try_ask(operation, question);
        let text = String::from_utf8_lossy(&response.body);
        assert_eq!(response.status, 200, "{operation} {question}: {text}");
        response.value()
    }

    /// Asks something, whatever comes of it.
    #[track_caller]
    pub fn try_ask(&self, operation: &str, question: &Value) -> Response {
        let request = request(&self.access_key_id, operation, question);
        ask(self.port, &request).expect("an answer")
    }
}

/// A key of an [`Account`].
#[derive(Clone, Debug)]
pub struct KmsKey {
    /// Its id.
    pub id: String,
    /// Its full name.
    pub arn: String,
    /// Its public key (DER SubjectPublicKeyInfo).
    pub spki: Vec<u8>,
}

/// A request of AWS JSON 1.1 without a signature: the access key says whose it is.
pub(crate) fn request(access_key_id: &str, operation: &str, question: &Value) -> Request {
    let scope = format!("{access_key_id}/20260101/{REGION}/kms/aws4_request");
    Request {
        method: "POST".to_owned(),
        target: "/".to_owned(),
        headers: Vec::new(),
        body: question.to_string().into_bytes(),
    }
    .with("Content-Type", "application/x-amz-json-1.1")
    .with("X-Amz-Target", &format!("TrentService.{operation}"))
    .with(
        "Authorization",
        &format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"),
    )
}
