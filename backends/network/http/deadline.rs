//! When an operation has to be over, whatever it waits for.

use std::time::{Duration, Instant};

use ctk_token::{Result, TokenError};

use super::settings::Limits;
use crate::Settings;

/// The end of an operation. It is made where the operation begins, and handed to everything in it that may wait: requests
/// and their repetitions, locks, commands, one-time passwords. So what a program asks for is over within the total time,
/// however many requests it takes.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// So long from now.
    pub fn after(total: Duration) -> Self {
        // A time that never comes does not fit in an Instant.
        Self(Instant::now() + total.min(Duration::from_secs(86_400)))
    }

    /// The total time of a token with these settings, from now.
    ///
    /// # Errors
    /// [`TokenError::Unreachable`] for settings that are wrong.
    pub fn of(settings: &Settings) -> Result<Self> {
        Ok(Self::after(Limits::of(settings)?.total))
    }

    /// When it is.
    pub fn instant(self) -> Instant {
        self.0
    }

    /// What is left of the time.
    ///
    /// # Errors
    /// [`TokenError::TimedOut`] if nothing is.
    pub fn left(self) -> Result<Duration> {
        match self.0.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(TokenError::TimedOut),
            left => Ok(left),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Value;

    #[test]
    fn a_deadline_is_the_configured_time_from_now() {
        let mut settings = Settings::default();
        settings
            .0
            .insert("total_timeout".into(), Value::Number(100));
        let left = Deadline::of(&settings).unwrap().left().unwrap();
        assert!(left <= Duration::from_secs(100) && left > Duration::from_secs(50));
        settings.0.insert("total_timeout".into(), Value::Number(0));
        assert!(Deadline::of(&settings).is_err());
        assert_eq!(
            Deadline::after(Duration::ZERO).left(),
            Err(TokenError::TimedOut)
        );
        assert!(Deadline::after(Duration::MAX).left().is_ok());
    }
}
