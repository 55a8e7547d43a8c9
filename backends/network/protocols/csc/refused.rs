//! Our own secrets that a service has refused: they are not sent again at once, because services lock accounts.

use std::{
    fmt,
    time::{Duration, Instant},
};

use ctk_token::{Result, TokenError};
use parking_lot::Mutex;
use zeroize::Zeroizing;

/// How long they are not sent again. Somebody may unlock the account, which shows in no secret of ours.
pub(super) const PAUSE: Duration = Duration::from_secs(60);

/// The last secrets that were refused.
#[derive(Default)]
pub(super) struct Refused(Mutex<Option<Last>>);

struct Last {
    secrets: Vec<Zeroizing<String>>,
    at: Instant,
    error: TokenError,
}

impl fmt::Debug for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Refused(…)")
    }
}

impl Refused {
    /// What `ask` answers, which sends these secrets; or what it answered if they were refused a moment ago.
    ///
    /// # Errors
    /// Those of `ask`.
    pub(super) fn ask<T>(
        &self,
        secrets: Vec<Zeroizing<String>>,
        ask: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        if let Some(last) = &*self.0.lock()
            && last.secrets == secrets
            && last.at.elapsed() < PAUSE
        {
            return Err(last.error.clone());
        }
        let answer = ask();
        *self.0.lock() = match &answer {
            Err(error @ TokenError::Refused(_)) => Some(Last {
                secrets,
                at: Instant::now(),
                error: error.clone(),
            }),
            _ => None,
        };
        answer
    }
}

#[cfg(test)]
mod tests {
    use ctk_token::Reason;

    use super::*;

    #[test]
    fn a_secret_that_was_refused_is_not_sent_again_at_once() {
        let refused = Refused::default();
        let ask = |secret: &str, answer: Result<()>| {
            let mut is_sent = false;
            let secrets = vec![Zeroizing::new(secret.to_owned())];
            let told = refused.ask(secrets, || {
                is_sent = true;
                answer
            });
            (told, is_sent)
        };
        let no = || Err(TokenError::Refused(Reason::new("no")));
        assert_eq!(ask("a", no()), (no(), true));
        assert_eq!(ask("a", Ok(())), (no(), false));
        assert_eq!(ask("b", Ok(())), (Ok(()), true));
        assert_eq!(
            ask("a", Err(TokenError::TimedOut)).0,
            Err(TokenError::TimedOut)
        );
        assert_eq!(ask("a", no()), (no(), true));
        if let Some(last) = &mut *refused.0.lock() {
            last.at -= PAUSE;
        }
        assert_eq!(ask("a", Ok(())), (Ok(()), true));
    }
}
