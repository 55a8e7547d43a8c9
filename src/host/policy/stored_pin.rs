//! A PIN that the program need not ask for: when it is sent, and when not again.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use ctk_token::{AuthOperation, AuthSecret, LoginPolicy, Reason, Result, Role, TokenError};
use parking_lot::{FairMutex, FairMutexGuard, Mutex};

use crate::{
    Environment,
    config::{Login, TokenConfig},
    drivers,
    pin::PinSource,
    secret::{Stamp, Stored},
};

/// What is configured for one token, and what became of its stored PIN in this process.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) config: TokenConfig,
    environment: Environment,
    /// The PIN that a key store which counts tries refused, and how. Fair, so that nobody who comes later is before those
    /// who wait, and makes them wait for one attempt more.
    pub(super) refused: FairMutex<Refused>,
    /// How many attempts have ended for which `refused` was locked.
    attempts: AtomicU64,
    /// The source of the PIN that was right, as it was then.
    proven: Mutex<Option<Stamp>>,
}

/// The stored PIN that a key store does not want again.
#[derive(Debug, Default)]
pub(super) struct Refused {
    last: Option<(Arc<Stored>, TokenError)>,
    /// Why the last attempt has not reached the key store, or its PIN could not be had.
    unreached: Option<TokenError>,
}

impl Refused {
    /// What was said to this PIN, if it was refused.
    pub(super) fn of(&self, pin: &Stored) -> Option<TokenError> {
        let refused = self.last.as_ref().filter(|(refused, _)| **refused == *pin);
        refused.map(|(_, error)| error.clone())
    }
}

impl Policy {
    /// What `config` says, in a process in `environment`.
    pub(super) fn new(config: TokenConfig, environment: &Environment) -> Self {
        Self {
            config,
            environment: environment.clone(),
            refused: FairMutex::default(),
            attempts: AtomicU64::new(0),
            proven: Mutex::default(),
        }
    }

    /// How a program gets to use the keys, if that is configured.
    pub(super) fn login(&self) -> Option<LoginPolicy> {
        match (&self.config.pin, self.config.login) {
            (PinSource::App, _) => None,
            (_, Login::App) => Some(LoginPolicy::AppWithoutPin),
            (_, Login::OnUse) => Some(LoginPolicy::OnUse),
        }
    }

    /// What is said of where the PIN is stored.
    fn source(&self) -> String {
        let source = self.config.pin.source();
        source.map_or_else(String::new, |source| source.shown())
    }

    /// Refuses to change a PIN that is stored: the stored one would be wrong from then on, and nobody who uses the token
    /// by it would be asked for another.
    pub(super) fn check_not_stored(&self, role: Role) -> Result<()> {
        if self.login().is_none() || !matches!(role, Role::User | Role::Context) {
            return Ok(());
        }
        let (name, pin) = (&self.config.name, self.source());
        let how = match self.is_service() {
            true => "change it at the service, and then where it is stored".to_owned(),
            false => format!("`ctk passwd {name}` can"),
        };
        let why = format!(
            "token {name:?}: its PIN is stored ({pin}), so no program may change it: {how}"
        );
        log::warn!("{why}");
        Err(TokenError::ReadOnly(Reason::new(why)))
    }

    /// Waits until nobody else sends a stored PIN. If the attempt that was waited for has not reached the key store, its
    /// failure is this one's too: who waited through it would wait as long again, and the last of many without an end.
    pub(super) fn turn(&self) -> Result<FairMutexGuard<'_, Refused>> {
        let before = self.attempts.load(Ordering::Acquire);
        let refused = self.refused.lock();
        match &refused.unreached {
            Some(error) if self.attempts.load(Ordering::Acquire) != before => Err(error.clone()),
            _ => Ok(refused),
        }
    }

    /// Takes note of an attempt for which `refused` was locked.
    fn attempted<T>(&self, refused: &mut Refused, answer: &Result<T>) {
        let error = answer.as_ref().err();
        let unreached = error
            .filter(|error| matches!(error, TokenError::Unreachable(_) | TokenError::TimedOut));
        refused.unreached = unreached.cloned();
        self.attempts.fetch_add(1, Ordering::Release);
    }

    /// Finishes an authentication with the stored PIN and hands it out. One that was refused by a key store that counts
    /// tries is not sent again before its source has changed: a card would lock. Where nothing counts, it is sent again,
    /// because what changed may be the key store: a file is often renewed after its password.
    ///
    /// `refused` stays locked meanwhile, so that two threads cannot spend two tries on one wrong PIN. No lock of ours is
    /// waited for under it.
    pub(super) fn finish(
        &self,
        refused: &mut Refused,
        operation: Box<dyn AuthOperation + '_>,
    ) -> Result<Arc<Stored>> {
        let answer = self.send(refused, operation);
        self.attempted(refused, &answer);
        answer
    }

    fn send(
        &self,
        refused: &mut Refused,
        operation: Box<dyn AuthOperation + '_>,
    ) -> Result<Arc<Stored>> {
        let pin = self
            .config
            .pin
            .read(&self.environment)?
            .ok_or(TokenError::BadParameter)?;
        if let Some(error) = refused.of(&pin) {
            return Err(error);
        }
        let pin = Arc::new(pin);
        match operation.finish(AuthSecret::Pin(&pin.bytes)) {
            Ok(()) => {
                refused.last = None;
                Ok(pin)
            }
            Err(error) => {
                self.disprove(refused, &pin, &error);
                Err(error)
            }
        }
    }

    /// An operation for which this PIN was sent, and takes note of what that says of it. A service may look at a PIN only
    /// together with what is signed: until one was right once, `refused` is locked meanwhile and nobody else sends it.
    pub(super) fn performed<T>(
        &self,
        pin: &Arc<Stored>,
        mut refused: Option<FairMutexGuard<'_, Refused>>,
        perform: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let answer = perform();
        if let Some(refused) = &mut refused {
            self.attempted(refused, &answer);
        }
        match &answer {
            Ok(_) => self.prove(pin),
            Err(error) if !is_refusal(error) => {}
            Err(error) => {
                let mut refused = refused.unwrap_or_else(|| self.refused.lock());
                self.disprove(&mut refused, pin, error);
            }
        }
        answer
    }

    /// Whether this PIN was right.
    pub(super) fn is_proven(&self, pin: &Stored) -> bool {
        *self.proven.lock() == Some(pin.stamp)
    }

    /// Takes note that this PIN is right.
    pub(super) fn prove(&self, pin: &Stored) {
        *self.proven.lock() = Some(pin.stamp);
    }

    /// Takes note of what the key store said instead.
    pub(super) fn disprove(&self, refused: &mut Refused, pin: &Arc<Stored>, error: &TokenError) {
        if !is_refusal(error) {
            return;
        }
        log::warn!(
            "token {:?}: the stored PIN from {} is refused: {error}",
            self.config.name,
            self.source()
        );
        *self.proven.lock() = None;
        let is_last = self.spends_tries(error);
        refused.last = is_last.then(|| (pin.clone(), error.clone()));
    }

    fn is_service(&self) -> bool {
        drivers::row(&self.config.driver).is_some_and(|row| row.is_service)
    }

    /// Whether the same PIN once more would bring the key store nearer to its lock.
    fn spends_tries(&self, error: &TokenError) -> bool {
        match error {
            TokenError::AuthenticationFailed { tries } => tries.is_some() || self.is_service(),
            TokenError::PinLocked => true,
            _ => false,
        }
    }
}

/// Whether it is the PIN that is refused.
pub(super) fn is_refusal(error: &TokenError) -> bool {
    matches!(
        error,
        TokenError::AuthenticationFailed { .. }
            | TokenError::PinLocked
            | TokenError::PinLength { .. }
            | TokenError::PinExpired
    )
}
