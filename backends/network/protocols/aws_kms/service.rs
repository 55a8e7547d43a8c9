//! A token's keys in AWS KMS, as the rest of the crate knows a service.

use std::{fmt, sync::Arc};

use ctk_token::{Constraint, KeyAlgorithm, LoginPolicy, Operation, Reason, Result, TokenError};
use zeroize::Zeroizing;

use crate::{
    Configuration, Finding, Inventory, KeyRecord, Service, ServiceSession, Settings, Step,
    http::Deadline, json::Body,
};

use super::{
    certificates, keys,
    outside::{Network, Outside},
    requests::{Requests, difference},
    sign,
};

/// A clock that is more than this wrong is told of, in seconds: the service allows 300.
const WRONG_CLOCK: i64 = 240;

/// The service of one token.
pub(super) struct Kms {
    settings: Settings,
    keys: Vec<KeyRecord>,
    requests: Requests,
}

impl Kms {
    /// The service as it is configured.
    pub(super) fn new(configuration: &Configuration) -> Self {
        let outside = Network::new(&configuration.settings, &configuration.surroundings);
        Self::within(configuration, Box::new(outside))
    }

    /// The same within a world that is made for it.
    pub(super) fn within(configuration: &Configuration, outside: Box<dyn Outside>) -> Self {
        let settings = &configuration.settings;
        Self {
            settings: settings.clone(),
            keys: configuration.contents.keys.clone(),
            requests: Requests::new(settings, &configuration.surroundings, outside),
        }
    }

    /// Where requests go, for a person; and the steps up to TLS of each region that keys are in. One of these regions, if all
    /// is well.
    fn check_way(&self, findings: &mut dyn FnMut(Finding)) -> Result<Option<String>> {
        let places = self.requests.places()?;
        if let Some(path) = self.settings.path("certificates") {
            let found = certificates::read(path)?;
            let count = found.certificates.len();
            let path = path.display();
            tell(
                findings,
                Step::Settings,
                Ok(format!("{count} certificates in {path}")),
            );
        }
        let known = self.keys.iter().filter_map(|key| key.facts.text("key"));
        let configured = self.settings.texts("keys").iter().map(String::as_str);
        let mut regions = Vec::new();
        for key in known.chain(configured).map(Some) {
            let region = places.region(key)?;
            if !regions.contains(&region) {
                regions.push(region);
            }
        }
        if regions.is_empty() {
            regions.push(places.region(None)?);
        }
        for region in &regions {
            let channel = self.requests.channel(&places, region)?;
            let endpoints = places.endpoints(region)?;
            let hosts: Vec<_> = endpoints
                .iter()
                .map(|endpoint| endpoint.authority())
                .collect();
            tell(
                findings,
                Step::Settings,
                Ok(format!("region {region} at {}", hosts.join(", "))),
            );
            if !channel.check(findings) {
                return Ok(None);
            }
        }
        Ok(regions.into_iter().next())
    }

    /// What the service's clock says.
    fn check_clock(&self, region: &str) -> Result<String> {
        let response = self.requests.ask_unsigned(region)?;
        let Some(theirs) = response.date else {
            return Ok("the service does not tell its time".to_owned());
        };
        let ahead = difference(theirs, self.requests.local_time());
        match ahead.abs() {
            0..=1 => Ok("the clocks agree".to_owned()),
            seconds @ 2..=WRONG_CLOCK => Ok(format!("the clocks differ by {seconds} seconds")),
            seconds => {
                let side = if ahead > 0 { "behind" } else { "ahead" };
                Err(refused(format!(
                    "this machine's clock is {seconds} seconds {side}: signatures are corrected for it, but set the clock \
                     (timedatectl set-ntp true)"
                )))
            }
        }
    }

    /// Whether the service takes the credentials, and what they may do.
    fn check_permission(&self, findings: &mut dyn FnMut(Finding)) {
        let credentials = match self.requests.credentials() {
            Ok(credentials) => credentials,
            Err(error) => return tell(findings, Step::Credentials, Err(error)),
        };
        let mut probes = self.probes();
        let first = probes.remove(0);
        let result = self
            .requests
            .ask(first.operation, first.key.as_deref(), &first.body);
        let outcome = match result {
            Err(error) => return tell(findings, Step::Credentials, Err(error)),
            Ok(Err(refusal)) if refusal.is_of_credentials() => {
                let error = refusal.into_error(first.operation, first.key.as_deref());
                return tell(findings, Step::Credentials, Err(error));
            }
            Ok(outcome) => outcome,
        };
        tell(
            findings,
            Step::Credentials,
            Ok(format!("{credentials}, accepted")),
        );
        let mut outcome = Ok(outcome);
        let mut probe = first;
        loop {
            let result = match outcome {
                Ok(Ok(_)) => Ok(probe.to_string()),
                Ok(Err(refusal)) if refusal.name() == "DryRunOperationException" => {
                    Ok(probe.to_string())
                }
                Ok(Err(refusal)) => Err(
                    match refusal.into_error(probe.operation, probe.key.as_deref()) {
                        TokenError::ObjectNotFound => {
                            refused(format!("there is no key for {probe}"))
                        }
                        error => error,
                    },
                ),
                Err(error) => Err(error),
            };
            let is_wrong = result.is_err();
            tell(findings, Step::Permission, result);
            if is_wrong || probes.is_empty() {
                return;
            }
            probe = probes.remove(0);
            outcome = self
                .requests
                .ask(probe.operation, probe.key.as_deref(), &probe.body);
        }
    }

    /// What is tried, at least one: each key's use where it can be tried without being used, and else its public key.
    fn probes(&self) -> Vec<Probe> {
        let public = |key: &str| Probe {
            operation: "GetPublicKey",
            key: Some(key.to_owned()),
            body: Body::new().text("KeyId", key).finish(),
        };
        let mut probes: Vec<_> = self
            .keys
            .iter()
            .filter_map(|key| {
                let id = key.facts.text("key")?;
                Some(match sign::dry_run(key) {
                    Some((operation, body)) => Probe {
                        operation,
                        key: Some(id.to_owned()),
                        body,
                    },
                    None => public(id),
                })
            })
            .collect();
        if probes.is_empty() {
            probes = self
                .settings
                .texts("keys")
                .iter()
                .map(|key| public(key))
                .collect();
        }
        if probes.is_empty() {
            probes.push(Probe {
                operation: "ListKeys",
                key: None,
                body: Body::new().number("Limit", 1).finish(),
            });
        }
        probes.truncate(20);
        probes
    }
}

/// A request that shows what is allowed.
struct Probe {
    operation: &'static str,
    key: Option<String>,
    body: Zeroizing<Vec<u8>>,
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kms:{}", self.operation)?;
        match &self.key {
            Some(key) => write!(f, " with {key}"),
            None => Ok(()),
        }
    }
}

impl Service for Kms {
    fn login_policy(&self, _: &[KeyRecord]) -> LoginPolicy {
        LoginPolicy::OnUse
    }

    fn constraint(&self, key: &KeyRecord, operation: Operation) -> Constraint {
        let usage = match operation {
            Operation::Sign => "SIGN_VERIFY",
            Operation::Decrypt => "ENCRYPT_DECRYPT",
            Operation::KeyExchange => "KEY_AGREEMENT",
        };
        match key.facts.text("usage") == Some(usage) {
            true => Constraint::Free,
            false => Constraint::Never,
        }
    }

    fn supports(&self, key: &KeyRecord, operation: Operation, algorithm: KeyAlgorithm) -> bool {
        self.constraint(key, operation) == Constraint::Free
            && sign::algorithm(key, operation, algorithm).is_some()
    }

    fn open_session(self: Arc<Self>) -> Box<dyn ServiceSession> {
        Box::new(Session(self))
    }

    fn list(
        &self,
        deadline: Option<Deadline>,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Inventory> {
        keys::list(self.requests.within(deadline), &self.settings, progress)
    }

    fn check(&self, findings: &mut dyn FnMut(Finding)) {
        let region = match self.check_way(findings) {
            Ok(Some(region)) => region,
            Ok(None) => return,
            Err(error) => return tell(findings, Step::Settings, Err(error)),
        };
        let clock = self.check_clock(&region);
        let is_wrong = clock.is_err();
        tell(findings, Step::Clock, clock);
        if !is_wrong {
            self.check_permission(findings);
        }
    }
}

/// One application's use: nothing is kept, because there is nothing to log in with.
struct Session(Arc<Kms>);

impl ServiceSession for Session {
    fn sign(&self, key: &KeyRecord, algorithm: KeyAlgorithm, input: &[u8]) -> Result<Vec<u8>> {
        sign::sign(&self.0.requests, key, algorithm, input)
    }

    fn decrypt(
        &self,
        key: &KeyRecord,
        algorithm: KeyAlgorithm,
        input: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>> {
        sign::decrypt(&self.0.requests, key, algorithm, input)
    }

    fn key_exchange(
        &self,
        key: &KeyRecord,
        algorithm: KeyAlgorithm,
        peer: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>> {
        sign::key_exchange(&self.0.requests, key, algorithm, peer)
    }
}

fn tell(findings: &mut dyn FnMut(Finding), step: Step, result: Result<String>) {
    let result = result.map_err(|error| match error {
        TokenError::Refused(reason)
        | TokenError::Unreachable(reason)
        | TokenError::Corrupted(reason) => reason,
        error => Reason::new(error.to_string()),
    });
    findings(Finding { step, result });
}

fn refused(why: String) -> TokenError {
    TokenError::Refused(Reason::new(why))
}
