//! What serves tokens in one process: configuration, the list of drivers, PIN sources and login policies.
//!
//! The module runs on it inside a program, and a broker can run on it for several.

#![deny(unsafe_code)]
#![deny(missing_docs)]

pub mod config;
mod environment;
mod sys;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ctk_token::{Result, Slot, TokenDriver, TokenError, Wait};

pub use config::Problem;
pub use environment::Environment;

/// The longest time that one driver is waited for before the others are asked.
const SLICE: Duration = Duration::from_millis(500);

/// All tokens of one process.
#[derive(Debug, Default)]
pub struct Host {
    drivers: Vec<Arc<dyn TokenDriver>>,
    slots: Vec<Arc<dyn Slot>>,
    problems: Vec<Problem>,
}

impl Host {
    /// Reads the configuration and makes its tokens ready. Opens no key store, no card and no network.
    ///
    /// Never fails as a whole: what is wrong costs its own token and is found in [`problems`](Self::problems).
    pub fn open(environment: &Environment) -> Self {
        let _ = environment;
        Self::default()
    }

    /// The slots of the tokens that this program may see, in configured order. Slots are never dropped.
    pub fn slots(&self) -> Vec<Arc<dyn Slot>> {
        self.slots.clone()
    }

    /// Whether some slot may have changed since the last call: cheap, and never blocks.
    pub fn changed(&self) -> bool {
        // Every driver is asked, so that none keeps an old change for the next call.
        let mut changed = false;
        for driver in &self.drivers {
            changed |= driver.changed();
        }
        changed
    }

    /// Blocks the calling thread until some slot changes or `deadline` has come. No thread is made: the driver of
    /// local devices is waited for in slices, and the others are polled in between.
    ///
    /// # Errors
    /// None today; a driver that cannot wait is polled.
    pub fn wait_for_change(&self, deadline: Instant) -> Result<Wait> {
        loop {
            if self.changed() {
                return Ok(Wait::Changed);
            }
            let now = Instant::now();
            if now >= deadline {
                return Ok(Wait::TimedOut);
            }
            if self.wait_a_slice(deadline.min(now + SLICE)) == Wait::Changed {
                return Ok(Wait::Changed);
            }
        }
    }

    /// What is wrong with the configuration.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    fn wait_a_slice(&self, deadline: Instant) -> Wait {
        for driver in &self.drivers {
            match driver.wait_for_change(deadline) {
                Ok(wait) => return wait,
                Err(TokenError::NotSupported) => {}
                Err(error) => log::debug!("{}: {error}", driver.name()),
            }
        }
        std::thread::sleep(deadline.saturating_duration_since(Instant::now()));
        Wait::TimedOut
    }
}
