//! Keeps credentials for as long as they are good, and renews them before they end: one thread at a time, while the others
//! go on with the old ones.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use ctk_token::{Result, TokenError};
use parking_lot::Mutex;

use crate::http::Deadline;

use super::{super::outside::Outside, Chain, Credentials, unusable};

/// So long before they end, new ones are asked for (AWS' programs do the same).
const EARLY: Duration = Duration::from_secs(15 * 60);
/// So long after an attempt that gave nothing better, the next one is made.
const PAUSE: Duration = Duration::from_secs(60);

/// The credentials of a token.
#[derive(Debug)]
pub(in super::super) struct Store {
    chain: Chain,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    renewal: Renewal,
    current: Option<Arc<Credentials>>,
    /// Before this time no attempt is made to replace the current ones, unless they were refused.
    not_before: Option<SystemTime>,
    /// How many attempts there were.
    attempts: u64,
    /// What came of the last one, if it failed.
    failure: Option<TokenError>,
}

/// Held while new ones are fetched, by a thread of the process of this number: what another thread held when the process
/// forked stays held in the child for ever, and the child has a new one.
#[derive(Debug, Default)]
struct Renewal {
    process: u32,
    lock: Arc<Mutex<()>>,
}

impl State {
    fn renewal(&mut self) -> Arc<Mutex<()>> {
        let process = std::process::id();
        if self.renewal.process != process {
            self.renewal = Renewal {
                process,
                lock: Arc::default(),
            };
        }
        self.renewal.lock.clone()
    }
}

impl Store {
    /// None yet.
    pub(in super::super) fn new(chain: Chain) -> Self {
        Self {
            chain,
            state: Mutex::default(),
        }
    }

    /// The credentials to use at `now`, which is the service's time. While there are some that count, the search for new
    /// ones takes half of the time at most: what the credentials are for has to be over in it as well.
    ///
    /// # Errors
    /// As [`Chain::find`], if there are none that count; [`TokenError::Unreachable`] as well if another thread is still
    /// looking at the deadline.
    pub(in super::super) fn current(
        &self,
        outside: &dyn Outside,
        now: SystemTime,
        deadline: Deadline,
    ) -> Result<Arc<Credentials>> {
        let (current, before, renewal) = {
            let mut state = self.state.lock();
            let is_early = state.not_before.is_some_and(|time| now < time);
            match &state.current {
                Some(current) if is_early || !ends_within(current, now, EARLY) => {
                    return Ok(current.clone());
                }
                current => (current.clone(), state.attempts, state.renewal()),
            }
        };
        match current.filter(|current| !ends_within(current, now, Duration::ZERO)) {
            // They still count: whoever comes first looks for new ones, and nobody waits.
            Some(current) => match (renewal.try_lock(), deadline.left()) {
                (Some(_renewing), Ok(left)) => Ok(self
                    .fetch(outside, now, Deadline::after(left / 2), before)
                    .unwrap_or(current)),
                _ => Ok(current),
            },
            None => {
                let _renewing = renewal
                    .try_lock_until(deadline.instant())
                    .ok_or_else(late)?;
                self.fetch(outside, now, deadline, before)
            }
        }
    }

    /// Other credentials than `refused`, which the service did not take; `None` if there are none.
    ///
    /// # Errors
    /// As [`current`](Self::current).
    pub(in super::super) fn renew(
        &self,
        refused: &Credentials,
        outside: &dyn Outside,
        now: SystemTime,
        deadline: Deadline,
    ) -> Result<Option<Arc<Credentials>>> {
        let other = |state: &State| {
            let current = state.current.clone();
            current.filter(|current| !current.is_same(refused))
        };
        let (before, renewal) = {
            let mut state = self.state.lock();
            if let Some(current) = other(&state) {
                return Ok(Some(current));
            }
            (state.attempts, state.renewal())
        };
        let _renewing = renewal
            .try_lock_until(deadline.instant())
            .ok_or_else(late)?;
        self.fetch(outside, now, deadline, before)?;
        Ok(other(&self.state.lock()))
    }

    /// Looks for credentials, unless another thread did while this one, which knew of `before` attempts, waited: what came
    /// of that is this one's too. The caller renews.
    fn fetch(
        &self,
        outside: &dyn Outside,
        now: SystemTime,
        deadline: Deadline,
        before: u64,
    ) -> Result<Arc<Credentials>> {
        {
            let state = self.state.lock();
            if state.attempts != before {
                return match (&state.failure, &state.current) {
                    (None, Some(current)) => Ok(current.clone()),
                    (Some(failure), _) => Err(failure.clone()),
                    (None, None) => Err(late()),
                };
            }
        }
        // Not under the lock of the state: others use the old ones meanwhile.
        let found = self.chain.find(outside, deadline);
        let mut state = self.state.lock();
        state.attempts += 1;
        match found {
            Ok(found) => {
                log::debug!("AWS credentials: {found}");
                let found = Arc::new(found);
                // The metadata service hands out old ones when it cannot get new ones, and the services take them then.
                let is_late = ends_within(&found, now, EARLY);
                state.not_before = is_late.then_some(now + PAUSE);
                state.current = Some(found.clone());
                state.failure = None;
                Ok(found)
            }
            Err(error) => {
                log::warn!("no new AWS credentials: {error}");
                state.not_before = None;
                if let Some(current) = &state.current
                    && !ends_within(current, now, Duration::ZERO)
                {
                    state.not_before = Some(now + PAUSE);
                }
                state.failure = Some(error.clone());
                Err(error)
            }
        }
    }
}

/// Another thread has looked for longer than this one may wait.
fn late() -> TokenError {
    unusable(
        "AWS credentials are still being looked for by another thread: see whether credential_process or the metadata hang",
    )
}

/// Whether they have ended so long after `now`.
fn ends_within(credentials: &Credentials, now: SystemTime, time: Duration) -> bool {
    credentials
        .expires()
        .is_some_and(|expires| expires <= now + time)
}
