//! One application's use of a service: signatures by what it has been authorised for, and logins that authorise.

use std::{
    cell::Cell,
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
    time::Instant,
};

use ctk_token::{
    Constraint, Digest, KeyAlgorithm, Operation, PublicKey, Reason, Result, Reuse, Role, TokenError,
};
use parking_lot::Mutex;
use zeroize::Zeroizing;

use crate::{KeyRecord, ServiceSession};

use super::{
    algorithm::{self, Plan},
    api::Api,
    authorize::{Given, Sad, authorize, check_password},
    error::{Failure, Refusal},
    facts::{Authorization, Facts},
    fetch::Fetch,
    grants::{Grants, Once, Shared, Taken},
    identity,
    service::{CscService, signing_constraint},
    sign::{Ticket, checked, sign_hash},
};

/// The session of one application.
pub(super) struct CscSession {
    service: Arc<CscService>,
    grants: Mutex<Grants>,
    /// By credential: what is asked of the service for one keeps nobody from another.
    fetches: Mutex<HashMap<String, Arc<Fetch>>>,
}

/// A signature that is asked for.
struct Work<'a> {
    api: &'a Api<'a>,
    facts: &'a Facts,
    plan: &'a Plan,
}

impl fmt::Debug for CscSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CscSession")
    }
}

impl CscSession {
    pub(super) fn new(service: Arc<CscService>) -> Self {
        Self {
            service,
            grants: Mutex::default(),
            fetches: Mutex::default(),
        }
    }

    /// One signature of an authorisation: of the one that is there, or of the one that `authorize` gets. Threads that want it
    /// at the same time share what one of them gets.
    fn take(&self, work: &Work<'_>, authorize: impl FnOnce() -> Result<Taken>) -> Result<Taken> {
        let credential = &*work.facts.credential;
        let fetch = {
            let mut fetches = self.fetches.lock();
            fetches.entry(credential.to_owned()).or_default().clone()
        };
        let present = || self.grants.lock().take(credential);
        fetch.get(work.api.deadline, present, authorize)
    }

    /// Signs with a key that nobody logs in for.
    fn sign_free(&self, work: &Work<'_>) -> Result<Vec<u8>> {
        let (api, facts) = (work.api, work.facts);
        if facts.authorization == Authorization::OAuth2Code {
            let token = identity::read(api, api.options.authorization_token.as_ref())?;
            return work.sign(&Ticket::Token(&token)).map_err(unauthorized);
        }
        let credential = &*facts.credential;
        let signatures = facts.signatures(&api.options);
        if signatures == 1 || self.grants.lock().is_fleeting(credential) {
            return work.authorize_and_sign(None).map_err(unauthorized);
        }
        let is_fresh = Cell::new(false);
        let authorize_anew = || {
            let login = self.grants.lock().login();
            let sad = authorize(api, facts, None, None, signatures).map_err(unauthorized)?;
            is_fresh.set(true);
            let left = signatures - 1;
            let number = self.grants.lock().keep(login, credential, &sad, left);
            Ok((sad.value, number))
        };
        let (sad, number) = self.take(work, authorize_anew)?;
        let answer = work.sign(&Ticket::Sad(&sad));
        let Err(failure) = answer else {
            self.grants.lock().note_use(credential, number);
            return answer.map_err(unauthorized);
        };
        // A kept authorisation may have ended in any way, and another one spends nothing that somebody has to give again. A
        // service that has failed may have signed, and is not asked again.
        if is_fresh.get() || !(is_ended(&failure) || is_silent(&failure)) {
            return Err(unauthorized(failure));
        }
        let uses = {
            let mut grants = self.grants.lock();
            let uses = grants.uses(credential, number);
            grants.lose(credential, number);
            uses
        };
        // The password that `otp` tells may be the same still, and wrong by now; the next signature asks for it.
        if facts.wants_otp() && api.options.otp_seed.is_none() {
            // Each signature costs a password from now on: only if it was no good for a second one.
            if uses == 1 {
                self.grants.lock().note_fleeting(credential);
            }
            return Err(unauthorized(failure));
        }
        let signature = work.authorize_and_sign(None).map_err(unauthorized)?;
        if uses > 0 {
            log::info!(
                "an authorisation of {credential:?} counts once only, it is asked for each time"
            );
            self.grants.lock().note_fleeting(credential);
        }
        Ok(signature)
    }

    /// Signs with what a login has opened.
    fn sign_opened(&self, work: &Work<'_>) -> Result<Vec<u8>> {
        let credential = &*work.facts.credential;
        let (sad, number) = self.take(work, || self.open_shared(work))?;
        let answer = work.sign(&Ticket::Sad(&sad));
        let mut grants = self.grants.lock();
        match answer {
            Ok(signature) => {
                grants.note_use(credential, number);
                Ok(signature)
            }
            // Some services have no word for an authorisation that is used up.
            Err(failure) if is_silent(&failure) && grants.was_used(credential, number) => {
                grants.lose(credential, number);
                log::warn!("{}", TokenError::from(failure));
                Err(TokenError::StateLost)
            }
            Err(failure) => {
                if is_ended(&failure) {
                    grants.lose(credential, number);
                }
                Err(failure.into())
            }
        }
    }

    /// Opens a credential with the PIN of the login, which it shares with another, on its first use.
    fn open_shared(&self, work: &Work<'_>) -> Result<Taken> {
        let (api, facts) = (work.api, work.facts);
        let credential = &*facts.credential;
        let (login, secret) = self.grants.lock().shared(credential)?;
        let given = Given::read(api, facts, &secret)?;
        let signatures = facts.signatures(&api.options);
        match authorize(api, facts, Some(&given), None, signatures) {
            Ok(sad) => {
                let left = signatures - 1;
                let number = self.grants.lock().keep(login, credential, &sad, left);
                Ok((sad.value, number))
            }
            Err(failure) => {
                let (may_count, is_wrong) = (failure.may_count(), is_wrong(&failure));
                let error = TokenError::from(failure);
                let mut grants = self.grants.lock();
                if is_wrong {
                    grants.refuse_all(login, &error);
                } else if may_count {
                    grants.refuse(login, credential, &error);
                }
                Err(error)
            }
        }
    }

    /// Signs with what was logged in with for this operation.
    fn sign_once(&self, work: &Work<'_>) -> Result<Vec<u8>> {
        let (login, once) = {
            let mut grants = self.grants.lock();
            (grants.login(), grants.take_once(&work.facts.credential))
        };
        match once.ok_or(TokenError::AuthenticationNeeded)? {
            Once::Secret(of, secret) => {
                let given = Given::read(work.api, work.facts, &secret)?;
                drop(secret);
                let answer = work.authorize_and_sign(Some(&given));
                let is_of_login = of.is_none();
                let is_wrong = answer.as_ref().err().is_some_and(is_wrong);
                answer.map_err(|failure| {
                    let error = TokenError::from(failure);
                    if is_of_login && is_wrong {
                        self.grants.lock().refuse_all(login, &error);
                    }
                    error
                })
            }
            Once::Sad(_, sad) if Instant::now() >= sad.until => {
                Err(TokenError::AuthenticationNeeded)
            }
            Once::Sad(_, sad) => Ok(work.sign(&Ticket::Sad(&sad.value))?),
        }
    }

    /// A login as the token's owner. The PIN is checked by an authorisation, which is kept if it can be.
    fn log_in(&self, api: &Api<'_>, keys: &[KeyRecord], secret: &[u8]) -> Result<()> {
        let login = self.grants.lock().login();
        let all = with_login(api, keys);
        if all.len() > 1 && !api.options.shared_pin {
            return Err(TokenError::Refused(Reason::new(format!(
                "{} credentials want a PIN: set `shared_pin = true` if it is the same, or make a token of each with `credentials`",
                all.len()
            ))));
        }
        let signatures = |facts: &Facts| facts.signatures(&api.options);
        let (lasting, single): (Vec<&Facts>, Vec<&Facts>) =
            all.iter().partition(|facts| signatures(facts) > 1);
        let opened = open_any(api, lasting.iter().chain(&single).copied(), secret)?;
        let Opened { facts, sad, .. } = opened;
        let (is_good_again, is_lasting) = (!opened.is_secret_spent, signatures(facts) > 1);

        let own = || Zeroizing::new(secret.to_vec());
        let lasting: Vec<&str> = lasting.iter().map(|facts| &*facts.credential).collect();
        let closed = lasting.iter().filter(|name| **name != facts.credential);
        let closed: HashMap<_, _> = closed.map(|name| ((*name).to_owned(), None)).collect();
        let shared = (is_good_again && !closed.is_empty()).then(|| Shared {
            secret: own(),
            closed,
        });
        let mut grants = self.grants.lock();
        if is_lasting {
            let once = is_good_again && !single.is_empty();
            let once = once.then(|| Once::Secret(None, own()));
            grants.log_in(login, &lasting, shared, once);
            grants.keep(login, &facts.credential, &sad, signatures(facts));
            return Ok(());
        }
        // An authorisation for whatever comes is kept instead of the PIN, if nothing else wants that.
        let keeps_sad = !facts.is_hash_bound && (single.len() == 1 || !is_good_again);
        let once = match keeps_sad {
            true => Some(Once::Sad(facts.credential.clone(), sad)),
            false => is_good_again.then(|| Once::Secret(None, own())),
        };
        grants.log_in(login, &lasting, shared, once);
        Ok(())
    }

    /// A login for the next operation with one key. Where an authorisation is for a hash, it has to wait for that.
    fn log_in_once(&self, api: &Api<'_>, key: &KeyRecord, secret: &[u8]) -> Result<()> {
        let login = self.grants.lock().context_login();
        let facts = facts(key)?;
        remember(api, &facts);
        let credential = facts.credential.clone();
        let given = Given::read(api, &facts, secret)?;
        let once = match facts.is_hash_bound {
            true => {
                check_password(api, &facts, &given)?;
                Once::Secret(Some(credential), Zeroizing::new(secret.to_vec()))
            }
            false => Once::Sad(credential, authorize(api, &facts, Some(&given), None, 1)?),
        };
        self.grants.lock().log_in_once(login, once);
        Ok(())
    }
}

/// A credential that a login has opened.
struct Opened<'a> {
    facts: &'a Facts,
    sad: Sad,
    /// What was logged in with is good for nothing else.
    is_secret_spent: bool,
}

/// Opens the first of these that is not switched off, which checks the secret.
fn open_any<'a>(
    api: &Api<'_>,
    credentials: impl Iterator<Item = &'a Facts>,
    secret: &[u8],
) -> Result<Opened<'a>> {
    let mut refusal = None;
    for facts in credentials {
        remember(api, facts);
        let given = Given::read(api, facts, secret)?;
        let something = facts.is_hash_bound.then(something).transpose()?;
        let signatures = facts.signatures(&api.options);
        let is_secret_spent = given.is_spent_by_use();
        match authorize(api, facts, Some(&given), something.as_ref(), signatures) {
            Ok(sad) => {
                return Ok(Opened {
                    facts,
                    sad,
                    is_secret_spent,
                });
            }
            // That says nothing of the secret, and another credential can.
            Err(failure)
                if matches!(
                    failure.refusal(),
                    Some(Refusal::Disabled | Refusal::NotFound)
                ) && !is_secret_spent =>
            {
                refusal.get_or_insert(failure);
            }
            Err(failure) => return Err(failure.into()),
        }
    }
    Err(refusal.map_or(TokenError::NotSupported, TokenError::from))
}

impl Work<'_> {
    fn sign(&self, ticket: &Ticket<'_>) -> std::result::Result<Vec<u8>, Failure> {
        sign_hash(self.api, self.facts, self.plan, ticket)
    }

    /// Authorises this signature, and no other.
    fn authorize_and_sign(&self, given: Option<&Given>) -> std::result::Result<Vec<u8>, Failure> {
        let hash = self.facts.is_hash_bound.then_some(self.plan);
        let sad = authorize(self.api, self.facts, given, hash, 1)?;
        self.sign(&Ticket::Sad(&sad.value))
    }
}

impl ServiceSession for CscSession {
    fn check_authenticated(&self, key: &KeyRecord, operation: Operation) -> Result<()> {
        let options = &self.service.remote()?.options;
        let facts = facts(key)?;
        let credential = &*facts.credential;
        let grants = self.grants.lock();
        let is_open = match signing_constraint(&facts, options) {
            _ if operation != Operation::Sign => return Ok(()),
            Constraint::Auth(_, Reuse::Session) => grants.is_open(credential),
            Constraint::Auth(_, Reuse::Operation) => grants.is_open_once(credential),
            Constraint::Free | Constraint::Never => true,
        };
        match is_open {
            true => Ok(()),
            false => Err(TokenError::AuthenticationNeeded),
        }
    }

    fn login(
        &self,
        role: Role,
        keys: &[KeyRecord],
        key: Option<&KeyRecord>,
        secret: &[u8],
    ) -> Result<()> {
        let api = &self.service.begin()?;
        match (role, key) {
            (Role::User, _) => self.log_in(api, keys, secret),
            (Role::Context, Some(key)) => self.log_in_once(api, key, secret),
            (Role::Context, None) => Err(TokenError::BadParameter),
            (Role::Admin | Role::Unblock, _) => Err(TokenError::NotSupported),
        }
    }

    fn logout(&self, role: Role) {
        self.grants.lock().log_out(role);
    }

    fn sign(&self, key: &KeyRecord, algorithm: KeyAlgorithm, input: &[u8]) -> Result<Vec<u8>> {
        let api = &self.service.begin()?;
        let facts = facts(key)?;
        let public_key = PublicKey::from_spki(&key.spki)?;
        let plan = algorithm::plan(&facts.algorithms, &public_key, algorithm, input)?;
        remember(api, &facts);
        let work = Work {
            api,
            facts: &facts,
            plan: &plan,
        };
        let constraint = signing_constraint(&facts, &api.options);
        if !matches!(constraint, Constraint::Auth(_, Reuse::Operation)) {
            self.grants.lock().end_once();
        }
        let signature = match constraint {
            Constraint::Auth(_, Reuse::Session) => self.sign_opened(&work),
            Constraint::Auth(_, Reuse::Operation) => self.sign_once(&work),
            Constraint::Free | Constraint::Never => self.sign_free(&work),
        }?;
        checked(api, &public_key, algorithm, input, signature)
    }
}

/// The facts of a key.
fn facts(key: &KeyRecord) -> Result<Facts> {
    Facts::read(&key.facts).ok_or_else(|| {
        TokenError::Corrupted(Reason::new(format!(
            "what is stored with the key {:?} is incomplete: `ctk refresh` stores it anew",
            key.label
        )))
    })
}

/// Where tokens come from is stored with each key.
fn remember(api: &Api<'_>, facts: &Facts) {
    if let Some(url) = &facts.token_url {
        api.remember_token_url(url);
    }
}

/// Whether the service says that a secret is wrong, or was so too often.
fn is_wrong(failure: &Failure) -> bool {
    matches!(failure.refusal(), Some(Refusal::Secret | Refusal::Locked))
}

/// Whether the service says that an authorisation is over.
fn is_ended(failure: &Failure) -> bool {
    failure.refusal() == Some(Refusal::Sad)
}

/// Whether the service refuses without a word, and has not failed.
fn is_silent(failure: &Failure) -> bool {
    matches!(failure, Failure::Refused(problem)
        if problem.refusal == Refusal::Silent && problem.status < 500)
}

/// The credentials that a login is for, each once.
fn with_login(api: &Api<'_>, keys: &[KeyRecord]) -> Vec<Facts> {
    let mut seen = HashSet::new();
    keys.iter()
        .filter_map(|key| Facts::read(&key.facts))
        .filter(|facts| facts.needs_login(&api.options))
        .filter(|facts| seen.insert(facts.credential.clone()))
        .collect()
}

/// A hash of nothing, to check a PIN with where each authorisation is for a hash. Nobody knows what would have it.
fn something() -> Result<Plan> {
    let mut digest = vec![0; Digest::Sha256.len()];
    ctk_crypto::random(&mut digest)?;
    Ok(Plan {
        algorithm: String::new(),
        hash: Digest::Sha256,
        names_no_hash: false,
        parameters: None,
        digest,
    })
}

/// Where nobody logs in, no program can act on a wrong secret: it is the configuration's.
fn unauthorized(failure: Failure) -> TokenError {
    let what_to_do = match failure.refusal() {
        Some(Refusal::Secret) => "check `otp_seed` or `otp`, and this machine's clock",
        Some(Refusal::Locked) => "the service has to unlock it",
        Some(Refusal::Sad) => {
            "check what authorises this credential, and `authorization_token` if it is used"
        }
        _ => return failure.into(),
    };
    match failure {
        Failure::Refused(problem) => {
            TokenError::Refused(Reason::new(format!("{}; {what_to_do}", problem.reason)))
        }
        Failure::Token(error) => error,
    }
}
