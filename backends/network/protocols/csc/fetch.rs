//! One thread fetches what many want.

use std::sync::atomic::{AtomicU64, Ordering};

use ctk_token::{Result, TokenError};
use parking_lot::Mutex;

use crate::http::Deadline;

/// Something that is fetched over the network, by one thread at a time.
#[derive(Debug, Default)]
pub(super) struct Fetch {
    /// How often it was fetched.
    rounds: AtomicU64,
    /// Locked while it is fetched; why it failed, if it did.
    failed: Mutex<Option<TokenError>>,
}

impl Fetch {
    /// What `present` finds, or else what `fetch` gets. Who waited while somebody else's fetch failed shares that
    /// failure: 16 threads would wait 16 times for a service that does not answer, and send it a secret 16 times.
    ///
    /// # Errors
    /// Those of `fetch`; [`TokenError::TimedOut`] if somebody else's lasts beyond the deadline.
    pub(super) fn get<T>(
        &self,
        deadline: Deadline,
        present: impl Fn() -> Option<T>,
        fetch: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        if let Some(found) = present() {
            return Ok(found);
        }
        let round = self.rounds.load(Ordering::Acquire);
        let failed = self.failed.try_lock_until(deadline.instant());
        let mut failed = failed.ok_or(TokenError::TimedOut)?;
        if let Some(found) = present() {
            return Ok(found);
        }
        if self.rounds.load(Ordering::Acquire) != round
            && let Some(error) = &*failed
        {
            return Err(error.clone());
        }
        let fetched = fetch();
        *failed = fetched.as_ref().err().cloned();
        self.rounds.fetch_add(1, Ordering::Release);
        fetched
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Barrier, atomic::AtomicUsize},
        thread,
        time::Duration,
    };

    use super::*;

    fn in_a_minute() -> Deadline {
        Deadline::after(Duration::from_secs(60))
    }

    #[test]
    fn nobody_waits_for_anothers_fetch_beyond_its_own_time() {
        let (fetch, begun, over) = (Fetch::default(), Barrier::new(2), Barrier::new(2));
        thread::scope(|scope| {
            scope.spawn(|| {
                let slow = || {
                    begun.wait();
                    over.wait();
                    Ok(1)
                };
                assert_eq!(fetch.get(in_a_minute(), || None, slow), Ok(1));
            });
            begun.wait();
            let soon = Deadline::after(Duration::from_millis(20));
            let waited = fetch.get(soon, || None, || Ok(2));
            assert_eq!(waited, Err(TokenError::TimedOut));
            over.wait();
        });
    }

    #[test]
    fn many_threads_share_what_one_has_fetched() {
        let (fetch, fetched, value) = (Fetch::default(), AtomicUsize::new(0), Mutex::new(None));
        let get = || {
            fetch.get(
                in_a_minute(),
                || *value.lock(),
                || {
                    thread::sleep(Duration::from_millis(20));
                    *value.lock() = Some(5);
                    fetched.fetch_add(1, Ordering::Relaxed);
                    Ok(5)
                },
            )
        };
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| assert_eq!(get(), Ok(5)));
            }
        });
        assert_eq!(fetched.into_inner(), 1);
    }

    #[test]
    fn who_waited_shares_a_failure_and_who_comes_later_tries_anew() {
        let (fetch, fetched) = (Fetch::default(), AtomicUsize::new(0));
        let begun = Barrier::new(2);
        let get = |wait: bool| {
            fetch.get::<()>(
                in_a_minute(),
                || None,
                || {
                    fetched.fetch_add(1, Ordering::Relaxed);
                    if wait {
                        begun.wait();
                        // Long enough for the others to come.
                        thread::sleep(Duration::from_millis(100));
                    }
                    Err(TokenError::TimedOut)
                },
            )
        };
        thread::scope(|scope| {
            scope.spawn(|| get(true));
            begun.wait();
            for _ in 0..8 {
                scope.spawn(|| assert_eq!(get(false), Err(TokenError::TimedOut)));
            }
        });
        let shared = fetched.load(Ordering::Relaxed);
        assert!(shared < 9, "{shared}");
        assert_eq!(get(false), Err(TokenError::TimedOut));
        assert_eq!(fetched.load(Ordering::Relaxed), shared + 1);
    }
}
