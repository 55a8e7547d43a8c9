//! One application's use of a service: what it has been authorised for, and signatures by it.

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
    identity,
    service::{CscService, signing_constraint},
    sign::{Ticket, checked, sign_hash},
};

/// The session of one application.
pub(super) struct CscSession {
    service: Arc<CscService>,
    /// Never locked while the service is asked.
    state: Mutex<State>,
    /// Authorisations that nobody logs in for.
    fetch: Fetch,
}

#[derive(Default)]
struct State {
    /// Authorisations for several signatures, by credential.
    grants: HashMap<String, Grant>,
    /// The number of the last grant.
    last: u64,
    /// The login where several credentials share a PIN, and those that it has not opened yet.
    shared: Option<(Zeroizing<Vec<u8>>, HashSet<String>)>,
    /// What the login is good for besides: one operation, directly after it.
    once: Option<Once>,
    /// What a login for one operation is good for.
    context: Option<Once>,
    /// Credentials whose service takes an authorisation once, whatever it says.
    fleeting: HashSet<String>,
}

/// An authorisation for several signatures.
struct Grant {
    number: u64,
    sad: Arc<Zeroizing<String>>,
    until: Instant,
    /// Signatures that are left of it.
    left: u32,
    used: bool,
}

/// Something good for one signature.
enum Once {
    /// What somebody logged in with. `None` is any credential that wants it each time.
    Secret(Option<String>, Zeroizing<Vec<u8>>),
    Sad(String, Sad),
}

impl Once {
    fn is_for(&self, credential: &str) -> bool {
        match self {
            Self::Secret(None, _) => true,
            Self::Secret(Some(of), _) | Self::Sad(of, _) => of == credential,
        }
    }
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
            state: Mutex::default(),
            fetch: Fetch::default(),
        }
    }

    /// One signature of what is left of an authorisation; and the authorisation's number.
    fn take(&self, credential: &str) -> Option<(Arc<Zeroizing<String>>, u64)> {
        let mut state = self.state.lock();
        let grant = state.grants.get_mut(credential)?;
        if grant.left == 0 || Instant::now() >= grant.until {
            state.grants.remove(credential);
            return None;
        }
        grant.left -= 1;
        Some((grant.sad.clone(), grant.number))
    }

    /// Keeps an authorisation for `left` signatures.
    fn keep(&self, credential: &str, sad: &Sad, left: u32) -> u64 {
        let mut state = self.state.lock();
        state.last += 1;
        let number = state.last;
        let grant = Grant {
            number,
            sad: sad.value.clone(),
            until: sad.until,
            left,
            used: false,
        };
        state.grants.insert(credential.to_owned(), grant);
        number
    }

    /// The service does not take an authorisation any more. Says whether it did before.
    fn lose(&self, credential: &str, number: u64) -> bool {
        let mut state = self.state.lock();
        let was_used = match state.grants.get(credential) {
            Some(grant) if grant.number == number => grant.used,
            _ => return false,
        };
        state.grants.remove(credential);
        was_used
    }

    fn note_use(&self, credential: &str, number: u64) {
        let mut state = self.state.lock();
        if let Some(grant) = state.grants.get_mut(credential)
            && grant.number == number
        {
            grant.used = true;
        }
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
        if signatures == 1 || self.state.lock().fleeting.contains(credential) {
            return work.authorize_and_sign(None).map_err(unauthorized);
        }
        let is_fresh = Cell::new(false);
        let authorize_anew = || {
            let sad = authorize(api, facts, None, None, signatures).map_err(unauthorized)?;
            is_fresh.set(true);
            let number = self.keep(credential, &sad, signatures - 1);
            Ok((sad.value, number))
        };
        let (sad, number) =
            (self.fetch).get(api.deadline, || self.take(credential), authorize_anew)?;
        let answer = work.sign(&Ticket::Sad(&sad));
        let Err(failure) = answer else {
            self.note_use(credential, number);
            return answer.map_err(unauthorized);
        };
        // A kept authorisation may have ended in any way, and no secret is spent by another one. A service that has
        // failed may have signed, and is not asked again.
        let may_have_ended = match &failure {
            Failure::Refused(problem) => {
                problem.refusal == Refusal::Sad
                    || (problem.refusal == Refusal::Silent && problem.status < 500)
            }
            Failure::Token(_) => false,
        };
        if is_fresh.get() || !may_have_ended {
            return Err(unauthorized(failure));
        }
        let was_used = self.lose(credential, number);
        let signature = work.authorize_and_sign(None).map_err(unauthorized)?;
        if was_used {
            log::info!(
                "an authorisation of {credential:?} counts once only, it is asked for each time"
            );
            self.state.lock().fleeting.insert(credential.to_owned());
        }
        Ok(signature)
    }

    /// Signs with what a login has opened.
    fn sign_opened(&self, work: &Work<'_>) -> Result<Vec<u8>> {
        let credential = &*work.facts.credential;
        let (sad, number) = match self.take(credential) {
            Some(taken) => taken,
            None => self.open_shared(work.api, work.facts)?,
        };
        let answer = work.sign(&Ticket::Sad(&sad));
        if answer.as_ref().err().and_then(Failure::refusal) == Some(Refusal::Sad) {
            self.lose(credential, number);
        }
        Ok(answer?)
    }

    /// Opens a credential with the PIN of the login, which it shares with another, on its first use.
    fn open_shared(&self, api: &Api<'_>, facts: &Facts) -> Result<(Arc<Zeroizing<String>>, u64)> {
        let secret = {
            let mut state = self.state.lock();
            let shared = state.shared.as_mut();
            let shared = shared.filter(|(_, closed)| closed.contains(&facts.credential));
            let (secret, closed) = shared.ok_or(TokenError::AuthenticationNeeded)?;
            closed.remove(&facts.credential);
            secret.clone()
        };
        let given = Given::read(api, facts, &secret)?;
        let signatures = facts.signatures(&api.options);
        let sad = authorize(api, facts, Some(&given), None, signatures)?;
        let number = self.keep(&facts.credential, &sad, signatures - 1);
        Ok((sad.value, number))
    }

    /// Signs with what was logged in with for this operation.
    fn sign_once(&self, work: &Work<'_>) -> Result<Vec<u8>> {
        let credential = &*work.facts.credential;
        let once = {
            let mut state = self.state.lock();
            let context = state.context.take_if(|once| once.is_for(credential));
            // Whatever comes first after the login uses it up.
            let user = state.once.take().filter(|once| once.is_for(credential));
            context.or(user)
        };
        match once.ok_or(TokenError::AuthenticationNeeded)? {
            Once::Secret(_, secret) => {
                let given = Given::read(work.api, work.facts, &secret)?;
                drop(secret);
                Ok(work.authorize_and_sign(Some(&given))?)
            }
            Once::Sad(_, sad) if Instant::now() >= sad.until => {
                Err(TokenError::AuthenticationNeeded)
            }
            Once::Sad(_, sad) => Ok(work.sign(&Ticket::Sad(&sad.value))?),
        }
    }

    /// A login as the token's owner. The PIN is checked by an authorisation, which is kept if it can be.
    fn log_in(&self, api: &Api<'_>, keys: &[KeyRecord], secret: &[u8]) -> Result<()> {
        let all = with_login(api, keys);
        let is_lasting = |facts: &&Facts| facts.signatures(&api.options) > 1;
        let Some(first) = all.iter().find(is_lasting).or(all.first()) else {
            return Err(TokenError::NotSupported);
        };
        if all.len() > 1 && !api.options.shared_pin {
            return Err(TokenError::Refused(Reason::new(format!(
                "{} credentials want a PIN: set `shared_pin = true` if it is the same, or make a token of each with `credentials`",
                all.len()
            ))));
        }
        remember(api, first);
        let given = Given::read(api, first, secret)?;
        let signatures = first.signatures(&api.options);
        let something = first.is_hash_bound.then(something).transpose()?;
        let sad = authorize(api, first, Some(&given), something.as_ref(), signatures)?;
        let is_good_again = !given.is_spent_by_use();
        let own = || Zeroizing::new(secret.to_vec());
        let (lasting, single): (Vec<&Facts>, Vec<&Facts>) = all.iter().partition(is_lasting);

        let once = match &*single {
            [] => None,
            // The authorisation is for whatever comes: no PIN has to be kept for it.
            [only] if lasting.is_empty() && !only.is_hash_bound => None,
            _ => is_good_again.then(|| Once::Secret(None, own())),
        };
        let closed = lasting.iter().map(|facts| facts.credential.clone());
        let closed: HashSet<String> = closed.filter(|name| *name != first.credential).collect();
        let shared = (is_good_again && !closed.is_empty()).then(|| (own(), closed));
        let others = |name: &String| lasting.iter().any(|facts| facts.credential == *name);
        {
            let mut state = self.state.lock();
            state.grants.retain(|name, _| !others(name));
            state.shared = shared;
            state.once = once;
        }
        if is_lasting(&first) {
            self.keep(&first.credential, &sad, signatures);
        } else if !first.is_hash_bound && single.len() == 1 {
            self.state.lock().once = Some(Once::Sad(first.credential.clone(), sad));
        }
        Ok(())
    }

    /// A login for the next operation with one key. Where an authorisation is for a hash, it has to wait for that.
    fn log_in_once(&self, api: &Api<'_>, key: &KeyRecord, secret: &[u8]) -> Result<()> {
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
        self.state.lock().context = Some(once);
        Ok(())
    }
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
        let state = self.state.lock();
        let is_open = match signing_constraint(&facts, options) {
            _ if operation != Operation::Sign => return Ok(()),
            Constraint::Auth(_, Reuse::Session) => {
                let grant = state.grants.get(credential);
                let shared = state.shared.as_ref();
                grant.is_some_and(|grant| grant.left > 0 && Instant::now() < grant.until)
                    || shared.is_some_and(|(_, closed)| closed.contains(credential))
            }
            Constraint::Auth(_, Reuse::Operation) => {
                let mut all = [&state.context, &state.once].into_iter().flatten();
                all.any(|once| once.is_for(credential))
            }
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
        let mut state = self.state.lock();
        match role {
            Role::User => {
                let fleeting = std::mem::take(&mut state.fleeting);
                // Numbers go on, so that who still signs takes no new authorisation for its own.
                *state = State {
                    last: state.last,
                    fleeting,
                    ..State::default()
                };
            }
            Role::Context => state.context = None,
            Role::Admin | Role::Unblock => {}
        }
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
        let signature = match signing_constraint(&facts, &api.options) {
            Constraint::Auth(_, Reuse::Session) => {
                self.state.lock().once = None;
                self.sign_opened(&work)
            }
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
