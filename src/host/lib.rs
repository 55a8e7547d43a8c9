//! What serves tokens in one process: configuration, the list of drivers, PIN sources and login
//! policies.
//!
//! The module runs on it inside a program, and a broker can run on it for several.

#![deny(unsafe_code)]
#![deny(missing_docs)]

mod command;
pub mod config;
mod drivers;
mod environment;
#[cfg(feature = "network")]
pub mod network;
mod pin;
mod policy;
mod secret;
mod sys;
#[cfg(test)]
mod test_folder;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ctk_token::{Result, Slot, TokenDriver, TokenError, Wait};
use parking_lot::Mutex;

pub use command::CommandLine;
pub use config::{CardsConfig, Configuration, Problem, TokenConfig};
#[cfg(feature = "smartcard")]
pub use ctk_smartcard as smartcard;
#[cfg(feature = "pkcs12")]
pub use drivers::pkcs12;
pub use environment::Environment;
pub use pin::PinSource;
pub use secret::{SecretSource, Unwritten};

/// The longest time that one driver is waited for before the others are asked.
const SLICE: Duration = Duration::from_millis(500);

/// All tokens of one process.
#[derive(Debug)]
pub struct Host {
    drivers: Vec<Arc<dyn TokenDriver>>,
    cards: Option<Cards>,
    /// Every slot that was ever seen, by driver and id, in the order in which they are shown.
    slots: Mutex<Vec<(&'static str, Arc<dyn Slot>)>>,
    problems: Vec<Problem>,
}

/// The cards in this machine's readers.
#[derive(Debug)]
struct Cards {
    driver: Arc<dyn TokenDriver>,
    config: CardsConfig,
    environment: Environment,
}

impl Cards {
    fn open(config: CardsConfig, environment: &Environment) -> Option<Self> {
        Some(Self {
            driver: drivers::cards(&config)?,
            config,
            environment: environment.clone(),
        })
    }

    /// A reader's slot as it is to be seen.
    fn configured(&self, slot: Arc<dyn Slot>) -> Arc<dyn Slot> {
        if self.config.hidden.is_empty() {
            return slot;
        }
        let config = self.config.as_token(self.driver.name());
        Arc::new(policy::ConfiguredSlot::new(slot, config, &self.environment))
    }
}

impl Host {
    /// Reads the configuration and makes the tokens ready that this program may see. Opens no key
    /// store, no card and no network: the readers' service is asked when [`slots`](Self::slots) are
    /// first asked for.
    ///
    /// Never fails as a whole: what is wrong costs its own token, is logged, and is found in
    /// [`problems`](Self::problems).
    pub fn open(environment: &Environment) -> Self {
        let Configuration {
            tokens,
            cards,
            problems,
            ..
        } = Configuration::read(environment);
        for problem in &problems {
            log::warn!("{problem}");
        }
        let program = environment.program.as_deref();
        let tokens = tokens
            .into_iter()
            .filter(|token| token.is_for(program))
            .collect();
        let mut host = Self::of_tokens(tokens, environment);
        host.problems = problems;
        if cards.is_for(program) {
            host.cards = Cards::open(cards, environment);
            host.drivers
                .extend(host.cards.iter().map(|cards| cards.driver.clone()));
        }
        host
    }

    /// Serves the cards in all readers of this machine, whatever program this is and whatever is
    /// configured, with nothing hidden: for the command that maintains them. Without a reader there
    /// is one slot that waits for one; a build without smart cards has none.
    pub fn cards(environment: &Environment) -> Self {
        let mut host = Self::of_tokens(Vec::new(), environment);
        host.cards = Cards::open(CardsConfig::default(), environment);
        host.drivers
            .extend(host.cards.iter().map(|cards| cards.driver.clone()));
        host
    }

    /// Serves these tokens and no cards, whatever program this is: for the command that maintains
    /// them.
    pub fn of_tokens(mut tokens: Vec<TokenConfig>, environment: &Environment) -> Self {
        tokens.sort_by(|a, b| (a.order, &a.name).cmp(&(b.order, &b.name)));
        let mut drivers = Vec::new();
        let mut slots: Vec<(&'static str, Arc<dyn Slot>)> = Vec::new();
        for row in drivers::rows() {
            let own: Vec<_> = tokens
                .iter()
                .filter(|token| token.driver == row.name)
                .collect();
            drivers.extend((row.open)(&own, environment));
        }
        let found: Vec<_> = drivers
            .iter()
            .flat_map(|driver| named_slots(&**driver))
            .collect();
        for token in tokens {
            let slot = found
                .iter()
                .find(|(driver, slot)| *driver == token.driver && slot.id() == token.name);
            if let Some((driver, slot)) = slot {
                let configured = policy::ConfiguredSlot::new(slot.clone(), token, environment);
                slots.push((driver, Arc::new(configured)));
            }
        }
        Self {
            drivers,
            cards: None,
            slots: Mutex::new(slots),
            problems: Vec::new(),
        }
    }

    /// The slots: configured tokens first in their order, then readers, of which those with a card
    /// come first. Later ones are added at the end, and none is ever dropped.
    pub fn slots(&self) -> Vec<Arc<dyn Slot>> {
        self.find_new_slots();
        self.slots
            .lock()
            .iter()
            .map(|(_, slot)| slot.clone())
            .collect()
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

    /// Blocks the calling thread until some slot changes or `deadline` has come. No thread is made:
    /// the driver of local devices is waited for in slices, and the others are polled in between.
    ///
    /// # Errors
    /// [`TokenError::NotSupported`] if no driver can block: the caller waits by its own means,
    /// which it can also end, and asks [`changed`](Self::changed) from time to time.
    pub fn wait_for_change(&self, deadline: Instant) -> Result<Wait> {
        loop {
            if self.changed() {
                return Ok(Wait::Changed);
            }
            let now = Instant::now();
            if now >= deadline {
                return Ok(Wait::TimedOut);
            }
            if self.wait_a_slice(deadline.min(now + SLICE))? == Wait::Changed {
                return Ok(Wait::Changed);
            }
        }
    }

    /// The process ends, and nobody has closed the sessions: as
    /// [`TokenDriver::process_ends`] says.
    pub fn process_ends(&self) {
        for driver in &self.drivers {
            driver.process_ends();
        }
    }

    /// What is wrong with the configuration.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    fn wait_a_slice(&self, deadline: Instant) -> Result<Wait> {
        for driver in &self.drivers {
            match driver.wait_for_change(deadline) {
                Ok(wait) => return Ok(wait),
                Err(TokenError::NotSupported) => {}
                Err(error) => log::debug!("{}: {error}", driver.name()),
            }
        }
        Err(TokenError::NotSupported)
    }

    fn find_new_slots(&self) {
        let found: Vec<_> = self
            .drivers
            .iter()
            .flat_map(|driver| named_slots(&**driver))
            .collect();
        let mut slots = self.slots.lock();
        for (driver, slot) in found {
            let is_known = slots
                .iter()
                .any(|(owner, known)| *owner == driver && known.id() == slot.id());
            if !is_known {
                let cards = self.cards.as_ref();
                let cards = cards.filter(|cards| cards.driver.name() == driver);
                slots.push((
                    driver,
                    match cards {
                        Some(cards) => cards.configured(slot),
                        None => slot,
                    },
                ));
            }
        }
    }
}

fn named_slots(driver: &dyn TokenDriver) -> Vec<(&'static str, Arc<dyn Slot>)> {
    driver
        .slots()
        .into_iter()
        .map(|slot| (driver.name(), slot))
        .collect()
}

#[cfg(all(test, feature = "pkcs12"))]
mod tests {
    use super::*;
    use crate::test_folder::TestFolder;

    /// A host without the cards of the machine that runs the test.
    fn host(text: &str, program: &str) -> Host {
        let folder = TestFolder::new();
        let text = format!("{text}\n[smartcard]\nenabled = false\n");
        Host::open(&Environment {
            config_file: Some(folder.write("ctk.toml", &text)),
            program: Some(program.into()),
            ..Environment::empty()
        })
    }

    fn ids(host: &Host) -> Vec<String> {
        host.slots()
            .iter()
            .map(|slot| slot.id().to_owned())
            .collect()
    }

    const TOKENS: &str = r#"
        [[token]]
        name = "late"
        driver = "pkcs12"
        file = "late.p12"
        order = 1
        [[token]]
        name = "broken"
        driver = "pkcs12"
        [[token]]
        name = "for-ssh"
        driver = "pkcs12"
        file = "ssh.p12"
        programs = ["ssh"]
        [[token]]
        name = "early"
        driver = "pkcs12"
        file = "early.p12"
        order = -1
        removable = true
        not_programs = ["/usr/bin/curl"]
    "#;

    #[test]
    fn a_program_sees_its_tokens_in_their_order() {
        let ssh = host(TOKENS, "/usr/bin/ssh");
        assert_eq!(ids(&ssh), ["early", "for-ssh", "late"]);
        assert_eq!(ids(&host(TOKENS, "/usr/bin/curl")), ["late"]);
        assert_eq!(ids(&host(TOKENS, "/usr/bin/firefox")), ["early", "late"]);
        assert_eq!(ssh.problems().len(), 1);
        assert_eq!(ssh.problems()[0].token.as_deref(), Some("broken"));
        let slots = ssh.slots();
        assert!(slots[0].info().removable && !slots[1].info().removable);
        // The very same slots and tokens each time.
        let again = ssh.slots();
        assert!(slots.iter().zip(&again).all(|(slot, other)| {
            Arc::ptr_eq(slot, other) && Arc::ptr_eq(&slot.token().unwrap(), &other.token().unwrap())
        }));
    }

    #[test]
    fn without_a_driver_that_blocks_nobody_is_kept_waiting() {
        let host = host("", "/usr/bin/ssh");
        assert_eq!(
            (ids(&host).len(), host.problems().len(), host.changed()),
            (0, 0, false)
        );
        let started = Instant::now();
        let waited = host.wait_for_change(started + Duration::from_secs(60));
        assert_eq!(waited, Err(TokenError::NotSupported));
        assert!(started.elapsed() < Duration::from_secs(30));
        assert_eq!(host.wait_for_change(started), Ok(Wait::TimedOut));
    }
}
