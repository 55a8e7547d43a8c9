//! Tokens of one key behind a proxy, with short times, and tables of what goes wrong.

use std::{
    ops::RangeInclusive,
    sync::Arc,
    time::{Duration, Instant},
};

use ctk_network::{Configuration, Settings, Value};
use ctk_services::{
    Account, Csc, Fault, Forward, Kms, KmsKey, Proxy, Response,
    csc::{Authentication, Credential, Rules},
};
use ctk_token::Result;

use super::{
    listed, secret, settings,
    signer::{Signer, kind},
    text, texts,
};

/// What one call may take, and what a slow machine takes besides.
const LIMIT: Duration = Duration::from_secs(12 + 10);

/// Twelve seconds for everything.
fn with_times(settings: Settings) -> Settings {
    with_seconds(settings, 5, 12)
}

/// Five seconds for everything, for what lasts until they are over.
pub fn hurried(mut token: Configuration) -> Configuration {
    token.settings = with_seconds(token.settings, 2, 5);
    token
}

fn with_seconds(mut settings: Settings, each: i64, total: i64) -> Settings {
    let times = [
        ("connect_timeout", each),
        ("read_timeout", each),
        ("total_timeout", total),
    ];
    let times = times.map(|(name, seconds)| (name.to_owned(), Value::Number(seconds)));
    settings.0.extend(times);
    settings
}

/// What a person configures for an account of a KMS that is there.
pub fn kms_settings(account: &Account, urls: &[&str]) -> Settings {
    with_times(settings([
        ("region", text(Account::REGION)),
        ("endpoints", texts(urls)),
        ("access_key_id", text(&account.access_key_id)),
        ("secret_access_key", secret(Account::SECRET_ACCESS_KEY)),
    ]))
}

/// A key of a KMS.
pub struct KmsBed {
    /// Before the KMS.
    pub proxy: Proxy,
    /// Whose the key is.
    pub account: Account,
    /// The key.
    pub key: KmsKey,
    /// What holds it.
    pub token: Configuration,
}

impl KmsBed {
    /// Of the KMS that the tests share.
    pub fn new() -> Self {
        let proxy = Proxy::start(Forward::to(Kms::shared().port()));
        let account = Kms::shared().account();
        let key = account.create_key("ECC_NIST_P256", "SIGN_VERIFY");
        let token = listed("aws-kms", kms_settings(&account, &[&proxy.url()]));
        Self {
            proxy,
            account,
            key,
            token,
        }
    }

    /// The token, elsewhere.
    pub fn at(&self, urls: &[&str]) -> Configuration {
        let mut token = self.token.clone();
        token.settings = kms_settings(&self.account, urls);
        token
    }
}

/// A credential of a CSC service with the rules of a real one.
pub struct CscBed {
    /// Before the rules.
    pub proxy: Proxy,
    /// What the service checks.
    pub rules: Arc<Rules>,
    /// What holds the credential.
    pub token: Configuration,
}

impl CscBed {
    /// Of a service that wants a bearer.
    pub fn new(credential: Credential) -> Self {
        let bearer = Authentication::Bearer("from-the-test".to_owned());
        let settings = settings([
            ("authentication", text("bearer")),
            ("bearer", secret("from-the-test")),
        ]);
        Self::with(credential, bearer, settings)
    }

    /// Of a service that knows who asks in this way, and the settings that tell the token about it.
    pub fn with(credential: Credential, how: Authentication, mut settings: Settings) -> Self {
        let rules = Arc::new(Rules::new(Forward::to(Csc::shared().port())));
        rules.list_only(&["t/rsa"]);
        rules.all(credential);
        rules.authentication(how);
        let proxy = Proxy::start(Arc::clone(&rules));
        rules.oauth2(&proxy.url());
        let url = format!("{}/csc/v1", proxy.url());
        let endpoints = ("endpoints".to_owned(), texts(&[&url]));
        settings.0.extend([endpoints]);
        let token = listed("csc", with_times(settings));
        Self {
            proxy,
            rules,
            token,
        }
    }
}

/// What goes wrong, and what comes of it.
pub struct Row {
    /// For a person.
    pub name: &'static str,
    /// What goes wrong.
    pub fault: Fault,
    /// The error's variant; empty if it goes well all the same.
    pub becomes: &'static str,
    /// A word of what a person is told.
    pub says: &'static str,
    /// How often the service is asked.
    pub requests: RangeInclusive<usize>,
}

/// A row of a table.
pub fn row(
    name: &'static str,
    fault: Fault,
    becomes: &'static str,
    says: &'static str,
    requests: RangeInclusive<usize>,
) -> Row {
    Row {
        name,
        fault,
        becomes,
        says,
        requests,
    }
}

/// An answer that is not the service's own.
pub fn answer(status: u16, content_type: &str, body: &str) -> Fault {
    Fault::Answer(Response::new(status, content_type, body))
}

impl Row {
    /// Has an operation go wrong, and sees what comes of it; says whether it went well.
    #[track_caller]
    pub fn check(&self, proxy: &Proxy, operation: &str, act: impl FnOnce() -> Result<()>) {
        let name = self.name;
        proxy.forget();
        proxy.fault(operation, self.fault.clone());
        let start = Instant::now();
        let result = act();
        let took = start.elapsed();
        proxy.clear();
        assert!(took < LIMIT, "{name}: took {took:?}");
        match result {
            Ok(()) => assert_eq!(self.becomes, "", "{name}: it went well"),
            Err(error) => {
                assert_eq!(kind(&error), self.becomes, "{name}: {error:?}");
                let told = error.to_string();
                assert!(told.contains(self.says), "{name}: {told}");
            }
        }
        let requests = proxy.requests_for(operation).len();
        assert!(
            self.requests.contains(&requests),
            "{name}: {requests} requests"
        );
    }
}

/// Waits until a proxy's connections have ended on its side.
#[track_caller]
pub fn wait_until_closed(proxy: &Proxy) {
    let end = Instant::now() + LIMIT;
    while proxy.counts().open > 0 {
        assert!(Instant::now() < end, "connections are open still");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Signs, and the most of memory that this process has held grows by less than 32 MiB.
#[track_caller]
pub fn holds_little(act: impl FnOnce()) {
    let before = most_memory();
    act();
    let grown = most_memory() - before;
    assert!(grown < 32 << 10, "{grown} KiB more");
}

/// The most memory that this process has held, in KiB.
fn most_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.expect("VmHWM").parse().expect("a number")
}

/// Signs, which must go well.
#[track_caller]
pub fn signs(signer: &Signer) {
    if let Err(error) = signer.sign() {
        panic!("{error:?}");
    }
}
