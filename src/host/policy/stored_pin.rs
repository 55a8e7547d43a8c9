//! A PIN that the program need not ask for: when it is sent, and when not again.

use std::sync::atomic::AtomicBool;

use ctk_token::{AuthOperation, AuthSecret, LoginPolicy, Reason, Result, Role, TokenError};
use parking_lot::Mutex;

use crate::{
    Environment,
    config::{Login, TokenConfig},
    drivers,
    pin::PinSource,
    secret::Stored,
};

/// What is configured for one token, and what became of its stored PIN in this process.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) config: TokenConfig,
    environment: Environment,
    /// The PIN that a key store which counts tries refused, and how.
    pub(super) refused: Mutex<Option<Refused>>,
    /// Whether an operation has succeeded that the PIN was sent for.
    pub(super) proven: AtomicBool,
}

pub(super) type Refused = (Stored, TokenError);

impl Policy {
    /// What `config` says, in a process in `environment`.
    pub(super) fn new(config: TokenConfig, environment: &Environment) -> Self {
        Self {
            config,
            environment: environment.clone(),
            refused: Mutex::default(),
            proven: AtomicBool::new(false),
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
        let why = format!(
            "token {name:?}: its PIN is stored ({pin}), so no program may change it: `ctk passwd {name}` can"
        );
        log::warn!("{why}");
        Err(TokenError::ReadOnly(Reason::new(why)))
    }

    /// Finishes an authentication with the stored PIN and hands it out. One that was refused by a key store that counts
    /// tries is not sent again before its source has changed: a card would lock. Where nothing counts, it is sent again,
    /// because what changed may be the key store: a file is often renewed after its password.
    ///
    /// `refused` stays locked meanwhile, so that two threads cannot spend two tries on one wrong PIN. No other lock of
    /// ours is taken under it.
    pub(super) fn finish(
        &self,
        refused: &mut Option<Refused>,
        operation: Box<dyn AuthOperation + '_>,
    ) -> Result<Stored> {
        let pin = self
            .config
            .pin
            .read(&self.environment)?
            .ok_or(TokenError::BadParameter)?;
        if let Some((before, error)) = refused
            && *before == pin
        {
            return Err(error.clone());
        }
        match operation.finish(AuthSecret::Pin(&pin.bytes)) {
            Ok(()) => {
                *refused = None;
                Ok(pin)
            }
            Err(error) => {
                self.note(refused, pin, &error);
                Err(error)
            }
        }
    }

    /// Takes note of what the key store said to the stored PIN.
    pub(super) fn note(&self, refused: &mut Option<Refused>, pin: Stored, error: &TokenError) {
        if is_refusal(error) {
            log::warn!(
                "token {:?}: the stored PIN from {} is refused: {error}",
                self.config.name,
                self.source()
            );
        }
        *refused = self.spends_tries(error).then(|| (pin, error.clone()));
    }

    /// Whether the same PIN once more would bring the key store nearer to its lock.
    fn spends_tries(&self, error: &TokenError) -> bool {
        match error {
            TokenError::AuthenticationFailed { tries } => {
                let row = drivers::row(&self.config.driver);
                tries.is_some() || row.is_some_and(|row| row.locks_unseen)
            }
            TokenError::PinLocked => true,
            _ => false,
        }
    }
}

fn is_refusal(error: &TokenError) -> bool {
    matches!(
        error,
        TokenError::AuthenticationFailed { .. }
            | TokenError::PinLocked
            | TokenError::PinLength { .. }
            | TokenError::PinExpired
    )
}
