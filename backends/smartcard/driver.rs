//! Readers as slots: which reader is which slot, and which card in it is the token that is there.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    thread::sleep,
    time::{Duration, Instant},
};

use ctk_token::{Reason, Result, Slot, SlotInfo, Token, TokenDriver, Wait};
use parking_lot::{Mutex, RwLock};

use crate::{
    link::{Link, LinkError},
    pcsc::PcscReaders,
    readers::{ReaderStatus, Readers},
    token::{self, CardToken},
};

/// The name of the driver.
pub const NAME: &str = "smartcard";
/// The slot of a machine without readers has this id until the first one comes.
pub const NO_READER: &str = "no-reader";
/// How many readers are slots; as many as pcsc-lite can have at a time.
pub const MAX_READERS: usize = 16;

/// How old an answer of the service may be to be taken for the state of now.
const FRESH: Duration = Duration::from_millis(20);
/// How long a card that could not be read is left alone: each try may take seconds.
const PAUSE: Duration = Duration::from_secs(2);
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
            Ok(token::recognize(link)?.map(|token| -> Arc<dyn Inserted> { token }))
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

    /// Whether the card is gone as far as the token has noticed.
    fn is_removed(&self) -> bool;
}

impl Inserted for CardToken {
    fn removed(&self) {
        self.removed();
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
        let waited = self.readers.list().and_then(|all| {
            let used = all
                .iter()
                .filter(|reader| self.configuration.uses(&reader.name));
            if is_same(known.iter(), used) {
                self.readers.wait(&all, deadline)
            } else {
                Ok(Wait::Changed)
            }
        });
        let wait = match waited {
            Ok(wait) => wait,
            Err(_) if known.is_empty() => self.wait_for_service(deadline),
            Err(_) => Wait::Changed,
        };
        if wait == Wait::Changed {
            self.view.lock().at = None;
        }
        wait
    }

    /// Looks from time to time whether there is a service now.
    fn wait_for_service(&self, deadline: Instant) -> Wait {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Wait::TimedOut;
            }
            sleep(left.min(POLL));
            if self.readers.list().is_ok() {
                return Wait::Changed;
            }
        }
    }
}

impl View {
    /// Gives each reader that was not seen before a slot. Of those that are seen first at the same
    /// time, the ones with a card come first: many programs take the first slot there is.
    fn add_names(&mut self, readers: &[ReaderStatus]) {
        let with_card = readers.iter().filter(|reader| reader.present);
        let without = readers.iter().filter(|reader| !reader.present);
        for reader in with_card.chain(without) {
            if self.names.contains(&reader.name) {
                continue;
            }
            if self.names.len() >= MAX_READERS {
                log::warn!(
                    "{}: not used, because there were {MAX_READERS} readers before it",
                    reader.name
                );
                continue;
            }
            self.names.push(reader.name.clone());
        }
    }
}

/// The slot of one reader, also while that is not there; the first one waits for a reader if there
/// was none yet.
struct ReaderSlot {
    index: usize,
    source: Arc<Source>,
    name: OnceLock<String>,
    /// Held while a card is asked what it is, so that it is asked once.
    inside: Mutex<Inside>,
    /// The token in it, for a short look.
    current: RwLock<Option<Arc<dyn Inserted>>>,
}

/// What was found in a reader.
#[derive(Default)]
struct Inside {
    /// The card's number of events, from which on this is true. `None` without a card.
    events: Option<u64>,
    found: Found,
}

#[derive(Default)]
enum Found {
    /// No card.
    #[default]
    Nothing,
    /// A card that is none that is known here, or does not answer its reset.
    Unusable(Reason),
    Token(Arc<dyn Inserted>),
    /// A card that could not be read; it is tried again then.
    Failed(Instant, Reason),
}

impl ReaderSlot {
    fn new(index: usize, source: &Arc<Source>) -> Self {
        Self {
            index,
            source: Arc::clone(source),
            name: OnceLock::new(),
            inside: Mutex::default(),
            current: RwLock::default(),
        }
    }

    fn is_known(&self, inside: &Inside, events: Option<u64>) -> bool {
        inside.events == events
            && match &inside.found {
                Found::Nothing | Found::Unusable(_) => true,
                Found::Token(token) => !token.is_removed(),
                Found::Failed(until, _) => Instant::now() < *until,
            }
    }

    /// Finds out what is in the reader now.
    fn find(&self, reader: &ReaderStatus) -> Found {
        if reader.mute {
            log::warn!("{}: the card in it does not answer", reader.name);
            return Found::Unusable(Reason::new("the card does not answer"));
        }
        let mut tries = 0;
        let recognized = loop {
            let link = self.source.readers.connect(reader);
            tries += 1;
            match link.and_then(self.source.recognize) {
                // Another program reset it meanwhile.
                Err(LinkError::Reset) if tries < 3 => {}
                other => break other,
            }
        };
        match recognized {
            Ok(Some(token)) => Found::Token(token),
            Ok(None) => {
                log::info!(
                    "{}: the card in it is of no kind that is known",
                    reader.name
                );
                Found::Unusable(Reason::new("the card is of no kind that is known"))
            }
            Err(error) => {
                log::warn!("{}: {error}", reader.name);
                Found::Failed(Instant::now() + PAUSE, Reason::new(error.to_string()))
            }
        }
    }
}

impl Slot for ReaderSlot {
    fn id(&self) -> &str {
        if let Some(name) = self.name.get() {
            return name;
        }
        let name = self.source.view.lock().names.get(self.index).cloned();
        match name {
            Some(name) => self.name.get_or_init(|| name),
            None => NO_READER,
        }
    }

    fn info(&self) -> SlotInfo {
        let description = match self.id() {
            NO_READER => "No smart card reader",
            name => name,
        };
        SlotInfo {
            description: description.into(),
            manufacturer: String::new(),
            removable: true,
            hardware: true,
        }
    }

    fn token(&self) -> Option<Arc<dyn Token>> {
        let mut inside = self.inside.lock();
        // Under that lock, or two threads could take an older and a newer state in the wrong order.
        let reader = self.source.reader(self.index);
        let reader = reader.filter(|reader| reader.present);
        let events = reader.as_ref().map(|reader| reader.events);
        if !self.is_known(&inside, events) {
            let gone = self.current.write().take();
            if let Some(gone) = gone {
                gone.removed();
            }
            *inside = Inside::default();
            inside.found = reader
                .as_ref()
                .map_or(Found::Nothing, |reader| self.find(reader));
            inside.events = events;
            if let Found::Token(token) = &inside.found {
                *self.current.write() = Some(Arc::clone(token));
            }
        }
        match &inside.found {
            Found::Token(token) => Some(Arc::clone(token) as _),
            Found::Nothing | Found::Unusable(_) | Found::Failed(..) => None,
        }
    }

    fn obstacle(&self) -> Option<Reason> {
        match &self.inside.lock().found {
            Found::Unusable(reason) | Found::Failed(_, reason) => Some(reason.clone()),
            Found::Nothing | Found::Token(_) => None,
        }
    }

    fn holds(&self, token: &Arc<dyn Token>) -> bool {
        self.current.read().as_ref().is_some_and(|current| {
            std::ptr::addr_eq(Arc::as_ptr(current), Arc::as_ptr(token)) && !current.is_removed()
        })
    }
}

#[cfg(test)]
mod tests;
