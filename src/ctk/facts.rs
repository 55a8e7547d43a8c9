//! What is shown of a token: one set of facts for tables, for details and for JSON, whose field names are promised.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use ctk_host::{
    Environment, Host, Problem, TokenConfig,
    config::{Scope, to_hex},
};
use ctk_token::{Constraint, Key, Operation, PublicKey, Slot};
use serde::Serialize;
use x509_cert::{
    certificate::{CertificateInner, Profile},
    der::{Decode, asn1::ObjectIdentifier},
    name::Name,
    serial_number::SerialNumber,
    time::Time,
};

use crate::{network, uri::uri};

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const DAY: i64 = 24 * 60 * 60;

/// What programs can do with a key, as a person reads it.
pub(crate) const USES: [(Operation, &str); 3] = [
    (Operation::Sign, "sign"),
    (Operation::Decrypt, "decrypt"),
    (Operation::KeyExchange, "agree"),
];

/// Certificates as they are out there: one with an odd serial number is still to be shown.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct AsIssued;

impl Profile for AsIssued {
    fn check_serial_number(_: &SerialNumber<Self>) -> x509_cert::der::Result<()> {
        Ok(())
    }
}

/// A token.
#[derive(Debug, Default, Serialize)]
pub(crate) struct TokenFacts {
    pub(crate) name: String,
    pub(crate) label: String,
    pub(crate) driver: String,
    pub(crate) serial: String,
    pub(crate) file: Option<PathBuf>,
    pub(crate) configuration: PathBuf,
    pub(crate) line: usize,
    pub(crate) scope: &'static str,
    pub(crate) order: i64,
    pub(crate) removable: bool,
    pub(crate) hidden: Vec<String>,
    pub(crate) programs: Vec<String>,
    pub(crate) not_programs: Vec<String>,
    pub(crate) pin: String,
    pub(crate) login: &'static str,
    /// Whether programs are run for its secrets.
    pub(crate) commands: bool,
    /// Of a network token.
    pub(crate) settings: BTreeMap<String, serde_json::Value>,
    pub(crate) identities: Vec<IdentityFacts>,
}

/// A key with its certificate, or one of them alone.
#[derive(Debug, Default, Serialize)]
pub(crate) struct IdentityFacts {
    /// CKA_ID in hexadecimal.
    pub(crate) id: String,
    pub(crate) label: String,
    /// The kind of key, like `RSA-2048`; null for a certificate without key.
    pub(crate) key: Option<String>,
    /// What programs can do with the key: sign, decrypt, agree. Nothing for a certificate without key, and for a key that
    /// this build cannot use.
    pub(crate) uses: Vec<&'static str>,
    /// What stands before a use of the key: nothing, pin, pin-each-time; null for a certificate without key.
    pub(crate) before_use: Option<&'static str>,
    /// What a service says of the key.
    pub(crate) facts: BTreeMap<String, serde_json::Value>,
    #[serde(flatten)]
    pub(crate) certificate: CertificateFacts,
    pub(crate) hidden: bool,
    pub(crate) uri: String,
}

/// What only a certificate says.
#[derive(Debug, Default, Serialize)]
pub(crate) struct CertificateFacts {
    /// RFC 4514.
    pub(crate) subject: Option<String>,
    pub(crate) issuer: Option<String>,
    /// RFC 3339.
    pub(crate) not_before: Option<String>,
    pub(crate) not_after: Option<String>,
    /// Whole days until it expires, negative since then.
    pub(crate) days_left: Option<i64>,
    pub(crate) expired: Option<bool>,
    #[serde(skip)]
    pub(crate) common_name: Option<String>,
}

/// Something wrong in the configuration.
#[derive(Debug, Serialize)]
pub(crate) struct ProblemFacts<'a> {
    file: PathBuf,
    line: Option<usize>,
    token: Option<&'a str>,
    message: &'a str,
}

impl<'a> ProblemFacts<'a> {
    pub(crate) fn new(problem: &'a Problem) -> Self {
        Self {
            file: problem.file.clone(),
            line: problem.line,
            token: problem.token.as_deref(),
            message: &problem.message,
        }
    }
}

impl TokenFacts {
    pub(crate) fn new(token: &TokenConfig, environment: &Environment) -> Self {
        Self {
            name: token.name.clone(),
            label: token.label.clone(),
            driver: token.driver.clone(),
            serial: token.serial.clone(),
            file: token.settings.path(ctk_host::pkcs12::FILE).map(Into::into),
            configuration: token.place.file.clone(),
            line: token.place.line,
            scope: match token.place.scope {
                Scope::User => "user",
                Scope::System => "system",
                Scope::Chosen => "chosen",
            },
            order: token.order,
            removable: token.removable,
            hidden: token.hidden.clone(),
            programs: token.programs.clone(),
            not_programs: token.not_programs.clone(),
            pin: token.pin.to_string(),
            login: token.login.as_str(),
            commands: token.commands,
            settings: match network::is_network(&token.driver) {
                true => network::json(&token.settings),
                false => BTreeMap::new(),
            },
            identities: identities(token, environment),
        }
    }
}

/// The slot of a token as its programs would have it, but with nothing hidden.
pub(crate) fn slot(token: &TokenConfig, environment: &Environment) -> Option<Arc<dyn Slot>> {
    let open = TokenConfig {
        hidden: Vec::new(),
        ..token.clone()
    };
    let slots = Host::of_tokens(vec![open], environment).slots();
    slots.into_iter().find(|slot| slot.id() == token.name)
}

fn identities(token: &TokenConfig, environment: &Environment) -> Vec<IdentityFacts> {
    let slot = slot(token, environment).and_then(|slot| slot.token());
    let info = slot.as_ref().map(|token| token.info());
    let offered = slot.map(|token| token.contents());
    let known = |id: &[u8]| {
        let mut keys = offered.iter().flat_map(|contents| contents.keys());
        keys.find(|key| key.identity == id)
    };
    let facts = |id: &[u8], label: &str, key: Option<String>, der: Option<&[u8]>| {
        let offered = key.as_ref().and_then(|_| known(id));
        IdentityFacts {
            id: to_hex(id),
            label: label.to_owned(),
            uses: offered.map(uses).unwrap_or_default(),
            before_use: offered.map(before_use),
            facts: BTreeMap::new(),
            key,
            certificate: der.map(CertificateFacts::of).unwrap_or_default(),
            hidden: token.hides(id, label),
            uri: info
                .as_ref()
                .map(|info| uri(info, id, label))
                .unwrap_or_default(),
        }
    };
    let (keys, certificates) = (&token.contents.keys, &token.contents.certificates);
    let with_key = keys.iter().map(|key| {
        let certificate = certificates
            .iter()
            .find(|other| other.identity == key.identity);
        let kind = match PublicKey::from_spki(&key.spki) {
            Ok(public) => public.key_type().to_string(),
            Err(_) => "unknown".to_owned(),
        };
        let der = certificate.map(|certificate| &*certificate.der);
        IdentityFacts {
            facts: network::json(&key.facts),
            ..facts(&key.identity, &key.label, Some(kind), der)
        }
    });
    let without = certificates
        .iter()
        .filter(|certificate| !keys.iter().any(|key| key.identity == certificate.identity))
        .map(|certificate| {
            facts(
                &certificate.identity,
                &certificate.label,
                None,
                Some(&certificate.der),
            )
        });
    with_key.chain(without).collect()
}

/// What programs can do with a key.
pub(crate) fn uses(key: &Key) -> Vec<&'static str> {
    let is_for = |operation| key.constraint(operation) != Constraint::Never;
    let named = USES.iter().filter(|(operation, _)| is_for(*operation));
    named.map(|(_, name)| *name).collect()
}

/// What stands before a use of the key.
pub(crate) fn before_use(key: &Key) -> &'static str {
    match (key.authenticates_always(), key.needs_auth()) {
        (true, _) => "pin-each-time",
        (false, true) => "pin",
        (false, false) => "nothing",
    }
}

impl CertificateFacts {
    /// Of a certificate that cannot be read, nothing is known.
    pub(crate) fn of(der: &[u8]) -> Self {
        let Ok(certificate) = CertificateInner::<AsIssued>::from_der(der) else {
            return Self::default();
        };
        let certificate = certificate.tbs_certificate();
        let validity = certificate.validity();
        let end = seconds(&validity.not_after);
        let left = end - now();
        Self {
            subject: Some(certificate.subject().to_string()),
            issuer: Some(certificate.issuer().to_string()),
            not_before: Some(date(&validity.not_before)),
            not_after: Some(date(&validity.not_after)),
            days_left: Some(left.div_euclid(DAY)),
            expired: Some(left < 0),
            common_name: common_name(certificate.subject()),
        }
    }

    /// The date of expiry with what it means today.
    pub(crate) fn expiry(&self) -> String {
        let day = self
            .not_after
            .as_deref()
            .and_then(|date| date.get(..10))
            .unwrap_or("-");
        match (self.expired, self.days_left) {
            (Some(true), _) => format!("{day} EXPIRED"),
            (_, Some(1)) => format!("{day} (1 day)"),
            (_, Some(days)) => format!("{day} ({days} days)"),
            _ => day.to_owned(),
        }
    }
}

fn common_name(name: &Name) -> Option<String> {
    let attribute = name
        .iter()
        .filter(|attribute| attribute.oid == COMMON_NAME)
        .last()?;
    let text = attribute.to_string();
    Some(text.strip_prefix("CN=").unwrap_or(&text).to_owned())
}

fn date(time: &Time) -> String {
    time.to_date_time().to_string()
}

fn seconds(time: &Time) -> i64 {
    i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX)
}

fn now() -> i64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}
