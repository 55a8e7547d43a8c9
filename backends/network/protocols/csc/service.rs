//! A token's service: what its keys can do and want, from what is stored with them.

use std::{fmt, sync::Arc};

use ctk_token::{
    AuthId, Constraint, KeyAlgorithm, LoginPolicy, Operation, PublicKey, Result, Reuse,
};

use crate::{
    Configuration, Finding, Inventory, KeyRecord, Service, ServiceSession, Settings,
    http::{Client, Deadline},
};

use super::{
    algorithm,
    api::{Api, Connect, Remote, Wire},
    check, credentials,
    facts::Facts,
    options::Options,
    session::CscSession,
    totp::Clock,
};

/// The one PIN of a token. Credentials with different PINs are different tokens.
const PIN: AuthId = AuthId(0);

/// One configured service.
pub(super) struct CscService {
    /// Or what is wrong with the settings.
    remote: Result<Remote>,
}

impl fmt::Debug for CscService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CscService").field(&self.remote).finish()
    }
}

impl CscService {
    /// The service of a token. From memory.
    pub(super) fn open(configuration: &Configuration) -> Self {
        let settings = configuration.settings.clone();
        let surroundings = configuration.surroundings.clone();
        let connect: Arc<Connect> = Arc::new(move |endpoints| {
            let client = Client::new(&settings, &surroundings, endpoints)?;
            Ok(Arc::new(client) as Arc<dyn Wire>)
        });
        Self::over(&configuration.settings, Clock::SYSTEM, connect)
    }

    /// The same over other wires.
    pub(super) fn over(settings: &Settings, clock: Clock, connect: Arc<Connect>) -> Self {
        let options = Options::read(settings);
        Self {
            remote: options.and_then(|options| Remote::new(options, clock, connect)),
        }
    }

    /// What speaks to the service.
    ///
    /// # Errors
    /// What is wrong with the settings.
    pub(super) fn remote(&self) -> Result<&Remote> {
        self.remote.as_ref().map_err(Clone::clone)
    }

    /// The same for an operation that begins now.
    ///
    /// # Errors
    /// As [`remote`](Self::remote).
    pub(super) fn begin(&self) -> Result<Api<'_>> {
        self.remote().map(Remote::begin)
    }
}

/// Whether this key is used after a login, and for how long one counts.
pub(super) fn signing_constraint(facts: &Facts, options: &Options) -> Constraint {
    if !facts.needs_login(options) {
        return Constraint::Free;
    }
    match facts.signatures(options) {
        1 => Constraint::Auth(PIN, Reuse::Operation),
        _ => Constraint::Auth(PIN, Reuse::Session),
    }
}

impl Service for CscService {
    fn login_policy(&self, keys: &[KeyRecord]) -> LoginPolicy {
        let needs_login =
            |key: &KeyRecord| matches!(self.constraint(key, Operation::Sign), Constraint::Auth(..));
        match keys.iter().any(needs_login) {
            true => LoginPolicy::App,
            false => LoginPolicy::OnUse,
        }
    }

    fn constraint(&self, key: &KeyRecord, operation: Operation) -> Constraint {
        match (operation, Facts::read(&key.facts), &self.remote) {
            (Operation::Sign, Some(facts), Ok(remote)) => {
                signing_constraint(&facts, &remote.options)
            }
            // With wrong settings a use of the key says what is wrong.
            (Operation::Sign, Some(_), Err(_)) => Constraint::Free,
            _ => Constraint::Never,
        }
    }

    fn supports(&self, key: &KeyRecord, operation: Operation, algorithm: KeyAlgorithm) -> bool {
        let public_key = PublicKey::from_spki(&key.spki);
        let (Operation::Sign, Some(facts), Ok(public_key)) =
            (operation, Facts::read(&key.facts), public_key)
        else {
            return false;
        };
        algorithm::supports(&facts.algorithms, &public_key, algorithm)
    }

    fn open_session(self: Arc<Self>) -> Box<dyn ServiceSession> {
        Box::new(CscSession::new(self))
    }

    fn list(
        &self,
        deadline: Option<Deadline>,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Inventory> {
        credentials::inventory(self.remote()?, deadline, progress)
    }

    fn check(&self, findings: &mut dyn FnMut(Finding)) {
        check::check(self.remote(), findings);
    }
}
