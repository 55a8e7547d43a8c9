//! Readers as slots: which reader is which slot.

mod slot;

use std::{
    fmt,
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};

use ctk_token::{Result, Slot, Token, TokenDriver, Wait};
use parking_lot::Mutex;

use crate::{
    link::{Link, LinkError},
    pcsc::PcscReaders,
    readers::{ReaderStatus, Readers},
    recognition,
    token::CardToken,
};
use slot::ReaderSlot;

/// The name of the driver.
pub const NAME: &str = "smartcard";
/// The slot of a machine without readers has this id until the first one comes.
pub const NO_READER: &str = "no-reader";
/// How many readers are slots; as many as pcsc-lite can have at a time.
pub const MAX_READERS: usize = 16;

/// How old an answer of the service may be to be taken for the state of now.
const FRESH: Duration = Duration::from_millis(20);
/// How long something that is never held for long is waited for where nobody may wait for ever.
const MOMENT: Duration = Duration::from_millis(100);
/// How often a service that is not there is looked for by who waits for a change.
const POLL: Duration = Duration::from_millis(100);

/// Which readers are used.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Configuration {
    /// Only those with one of these texts in their name; all if empty.
    pub readers: Vec<String>,
    /// None with one of these in its name.
    pub not_readers: Vec<String>,
}

impl Configuration {
    fn uses(&self, reader: &str) -> bool {
        let listed = |texts: &[String]| texts.iter().any(|text| reader.contains(text.as_str()));
        (self.readers.is_empty() || listed(&self.readers)) && !listed(&self.not_readers)
    }
}

/// The smart cards of this machine: every reader is a slot.
pub struct Driver {
    source: Arc<Source>,
    slots: Mutex<Vec<Arc<ReaderSlot>>>,
    /// What was last told to be a change.
    told: Mutex<Option<Arc<[ReaderStatus]>>>,
}

impl Driver {
    /// The cards in the readers of PC/SC. Asks nothing of the service yet.
    pub fn new(configuration: Configuration) -> Self {
        Self::with_readers(configuration, Box::new(PcscReaders::default()))
    }

    /// The cards in other readers, such as virtual ones in a test.
    pub fn with_readers(configuration: Configuration, readers: Box<dyn Readers>) -> Self {
        Self::recognizing(configuration, readers, |link| {
            Ok(recognition::recognize(link)?.map(|token| -> Arc<dyn Inserted> { token }))
        })
    }

    fn recognizing(
        configuration: Configuration,
        readers: Box<dyn Readers>,
        recognize: Recognize,
    ) -> Self {
        Self {
            source: Arc::new(Source {
                configuration,
                readers,
                recognize,
                view: Mutex::default(),
            }),
            slots: Mutex::default(),
            told: Mutex::default(),
        }
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Driver")
            .field(&self.source.configuration)
            .finish()
    }
}

impl TokenDriver for Driver {
    fn name(&self) -> &'static str {
        NAME
    }

    fn slots(&self) -> Vec<Arc<dyn Slot>> {
        let readers = self.source.look_for_readers().max(1);
        let mut slots = self.slots.lock();
        for index in slots.len()..readers {
            slots.push(Arc::new(ReaderSlot::new(index, &self.source)));
        }
        slots
            .iter()
            .map(|slot| -> Arc<dyn Slot> { Arc::clone(slot) as _ })
            .collect()
    }

    fn changed(&self) -> bool {
        let now = self.source.look();
        let mut told = self.told.lock();
        // Who asks for the first time has seen nothing yet that could have changed.
        let changed = told
            .as_ref()
            .is_some_and(|told| !is_same(told.iter(), now.iter()));
        *told = Some(now);
        changed
    }

    fn wait_for_change(&self, deadline: Instant) -> Result<Wait> {
        let known = {
            let mut told = self.told.lock();
            Arc::clone(told.get_or_insert_with(|| self.source.look()))
        };
        let wait = self.source.wait(&known, deadline);
        if wait == Wait::Changed {
            *self.told.lock() = Some(self.source.look());
        }
        Ok(wait)
    }

    fn process_ends(&self) {
        let slots = self.slots.try_lock_for(MOMENT);
        for slot in slots.iter().flat_map(|slots| slots.iter()) {
            let current = slot.current.try_read_for(MOMENT);
            let token = current.and_then(|current| current.token.clone());
            if let Some(token) = token {
                token.process_ends();
            }
        }
    }
}

/// Whether the same readers are there, and nothing was put in or taken out.
fn is_same<'a>(
    before: impl Iterator<Item = &'a ReaderStatus>,
    now: impl Iterator<Item = &'a ReaderStatus>,
) -> bool {
    let facts = |reader: &'a ReaderStatus| (&reader.name, reader.events, reader.present);
    before.map(facts).eq(now.map(facts))
}

/// A token that was found in a reader.
trait Inserted: Token {
    /// Takes note that the card is gone: everything answers so from now on.
    fn removed(&self);

    /// Ends what nobody waits for any more, if that takes no waiting.
    fn look_after(&self);

    /// The process ends: nobody is logged in any more, and nobody can be again.
    fn process_ends(&self);

    /// Whether the card is gone as far as the token has noticed.
    fn is_removed(&self) -> bool;
}

impl Inserted for CardToken {
    fn removed(&self) {
        self.removed();
    }

    fn look_after(&self) {
        self.look_after();
    }

    fn process_ends(&self) {
        self.process_ends();
    }

    fn is_removed(&self) -> bool {
        self.is_removed()
    }
}

/// Finds out what card it is; `None` if it is none that is known here.
type Recognize = fn(Box<dyn Link>) -> std::result::Result<Option<Arc<dyn Inserted>>, LinkError>;

/// What all slots share: the readers, and how they were last seen.
struct Source {
    configuration: Configuration,
    readers: Box<dyn Readers>,
    recognize: Recognize,
    view: Mutex<View>,
}

#[derive(Default)]
struct View {
    /// The readers that are used, as they were at that time.
    seen: Arc<[ReaderStatus]>,
    at: Option<Instant>,
    /// The name of each slot's reader, in the order in which they were first seen.
    names: Vec<String>,
    /// Readers for which there is no slot, so that each is logged once.
    left_out: Vec<String>,
    /// Why the service could not be asked, so that it is logged once.
    failure: Option<LinkError>,
}

impl Source {
    /// The readers as they are now.
    fn look(&self) -> Arc<[ReaderStatus]> {
        let mut view = self.view.lock();
        self.refresh(&mut view);
        Arc::clone(&view.seen)
    }

    /// How many readers there are and were.
    fn look_for_readers(&self) -> usize {
        let mut view = self.view.lock();
        self.refresh(&mut view);
        view.names.len()
    }

    /// How this slot's reader is now, if it is there.
    fn reader(&self, slot: usize) -> Option<ReaderStatus> {
        let mut view = self.view.lock();
        self.refresh(&mut view);
        let name = view.names.get(slot)?;
        let mut seen = view.seen.iter();
        seen.find(|reader| reader.name == *name).cloned()
    }

    fn refresh(&self, view: &mut View) {
        if view.at.is_some_and(|at| at.elapsed() < FRESH) {
            return;
        }
        let (mut readers, failure) = match self.readers.list() {
            Ok(readers) => (readers, None),
            Err(error @ LinkError::Unavailable(_)) => (Vec::new(), Some(error)),
            Err(error) => {
                log::debug!("readers: {error}; they are taken to be as they were");
                return;
            }
        };
        if view.failure != failure {
            match &failure {
                Some(failure) => log::info!("no smart cards: {failure}"),
                None => log::info!("there are smart card readers again"),
            }
            view.failure = failure;
        }
        readers.retain(|reader| self.configuration.uses(&reader.name));
        view.add_names(&readers);
        view.seen = readers.into();
        view.at = Some(Instant::now());
    }

    /// Blocks until the readers that are used are not as in `known` any more, or `deadline` has
    /// come.
    fn wait(&self, known: &[ReaderStatus], deadline: Instant) -> Wait {
        // All readers of the service, also those that are not used here: it compares the whole
        // list.
        let waited = self
            .readers
            .list()
            .and_then(|all| match self.is_still(known, &all) {
                true => self.readers.wait(&all, deadline),
                false => Ok(Wait::Changed),
            });
        let wait = match waited {
            Ok(wait) => wait,
            Err(LinkError::Unavailable(_)) if self.is_service_gone(known) => Wait::Changed,
            Err(error) => {
                log::debug!("readers: {error}; they are looked at from time to time");
                self.poll(known, deadline)
            }
        };
        if wait == Wait::Changed {
            self.view.lock().at = None;
        }
        wait
    }

    /// The same where the service cannot be waited with: each look costs a pause.
    fn poll(&self, known: &[ReaderStatus], deadline: Instant) -> Wait {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Wait::TimedOut;
            }
            sleep(left.min(POLL));
            let is_changed = match self.readers.list() {
                Ok(all) => !self.is_still(known, &all),
                Err(LinkError::Unavailable(_)) => !known.is_empty(),
                Err(_) => false,
            };
            if is_changed {
                return Wait::Changed;
            }
        }
    }

    /// Whether there were readers, and there is no service any more.
    fn is_service_gone(&self, known: &[ReaderStatus]) -> bool {
        let is_gone = || matches!(self.readers.list(), Err(LinkError::Unavailable(_)));
        !known.is_empty() && is_gone()
    }

    /// Whether the readers that are used are those of `known`, of all that there are.
    fn is_still(&self, known: &[ReaderStatus], all: &[ReaderStatus]) -> bool {
        let used = all
            .iter()
            .filter(|reader| self.configuration.uses(&reader.name));
        is_same(known.iter(), used)
    }
}

impl View {
    /// Gives each reader that has none a slot. Of those that are seen first at the same time, the
    /// ones with a card come first: many programs take the first slot there is.
    fn add_names(&mut self, readers: &[ReaderStatus]) {
        let is_there = |name: &String| readers.iter().any(|reader| reader.name == *name);
        let with_card = readers.iter().filter(|reader| reader.present);
        let without = readers.iter().filter(|reader| !reader.present);
        for ReaderStatus { name, .. } in with_card.chain(without) {
            if self.names.contains(name) {
                continue;
            }
            if self.names.len() < MAX_READERS {
                self.names.push(name.clone());
            } else if let Some(free) = self.names.iter_mut().find(|name| !is_there(name)) {
                // A reader that is plugged in again may have another name each time.
                log::debug!("{name}: in the slot of {free}, which is gone");
                free.clone_from(name);
            } else if !self.left_out.contains(name) {
                log::warn!("{name}: not used, because there are {MAX_READERS} other readers");
                self.left_out.push(name.clone());
            }
        }
        let names = &self.names;
        self.left_out
            .retain(|name| is_there(name) && !names.contains(name));
    }
}

#[cfg(test)]
mod tests;
