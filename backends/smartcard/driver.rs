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

/// The slot of one reader, also while that is not there; the first one waits for a reader if there
/// was none yet.
struct ReaderSlot {
    index: usize,
    source: Arc<Source>,
    names: Names,
    /// Held while a card is asked what it is, so that it is asked once.
    inside: Mutex<Inside>,
    /// The same for a short look.
    current: RwLock<Current>,
    /// What came and went, whether or not somebody asked a card.
    counted: Mutex<Counted>,
}

/// Insertions and removals in one slot, as the service tells them.
#[derive(Default)]
struct Counted {
    changes: u64,
    reader: Option<ReaderStatus>,
}

impl Counted {
    /// Looks once more. A reader that comes or goes without a card changes nothing.
    fn note(&mut self, now: Option<ReaderStatus>) {
        let has_card =
            |reader: &Option<ReaderStatus>| reader.as_ref().is_some_and(|reader| reader.present);
        let is_changed = match (&self.reader, &now) {
            (Some(before), Some(now)) if before.name == now.name => before.events != now.events,
            _ => has_card(&self.reader) || has_card(&now),
        };
        self.changes += u64::from(is_changed);
        self.reader = now;
    }
}

/// The names that the reader of a slot has had. They stay, because they are lent out.
#[derive(Default)]
struct Names(OnceLock<Box<(String, Names)>>);

impl Names {
    /// This name, which is kept.
    fn keep(&self, name: &str) -> &str {
        let mut names = self;
        loop {
            let (kept, others) = &**names
                .0
                .get_or_init(|| Box::new((name.to_owned(), Self::default())));
            if kept == name {
                return kept;
            }
            names = others;
        }
    }
}

/// What was found in a reader.
#[derive(Default)]
struct Inside {
    /// The reader and its number of events, from which on this is true. `None` without a card.
    since: Option<(String, u64)>,
    found: Found,
}

/// What was found, as others want to know it.
#[derive(Default)]
struct Current {
    token: Option<Arc<dyn Inserted>>,
    /// Why there is none.
    obstacle: Option<Reason>,
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

impl Found {
    fn as_current(&self) -> Current {
        match self {
            Self::Nothing => Current::default(),
            Self::Token(token) => Current {
                token: Some(Arc::clone(token)),
                obstacle: None,
            },
            Self::Unusable(reason) | Self::Failed(_, reason) => Current {
                token: None,
                obstacle: Some(reason.clone()),
            },
        }
    }
}

impl ReaderSlot {
    fn new(index: usize, source: &Arc<Source>) -> Self {
        Self {
            index,
            source: Arc::clone(source),
            names: Names::default(),
            inside: Mutex::default(),
            counted: Mutex::default(),
            current: RwLock::default(),
        }
    }

    /// The name of its reader, if there ever was one.
    fn name(&self) -> Option<String> {
        self.source.view.lock().names.get(self.index).cloned()
    }

    /// Its reader, if there is a card in it.
    fn reader_with_card(&self) -> Option<ReaderStatus> {
        let reader = self.source.reader(self.index);
        reader.filter(|reader| reader.present)
    }

    fn is_known(&self, inside: &Inside, since: Option<&(String, u64)>) -> bool {
        inside.since.as_ref() == since
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
        match self.name() {
            Some(name) => self.names.keep(&name),
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
        let reader = self.reader_with_card();
        let since = reader
            .as_ref()
            .map(|reader| (reader.name.clone(), reader.events));
        if !self.is_known(&inside, since.as_ref()) {
            let gone = std::mem::take(&mut *self.current.write());
            if let Some(gone) = gone.token {
                gone.removed();
            }
            *inside = Inside::default();
            inside.found = reader
                .as_ref()
                .map_or(Found::Nothing, |reader| self.find(reader));
            inside.since = since;
            *self.current.write() = inside.found.as_current();
        }
        let token = match &inside.found {
            Found::Token(token) => Arc::clone(token),
            Found::Nothing | Found::Unusable(_) | Found::Failed(..) => return None,
        };
        drop(inside);
        token.look_after();
        Some(token as _)
    }

    fn changes(&self) -> Option<u64> {
        let token = self.current.read().token.clone();
        if let Some(token) = token {
            token.look_after();
        }
        let mut counted = self.counted.lock();
        // Under that lock, as above.
        counted.note(self.source.reader(self.index));
        Some(counted.changes)
    }

    fn obstacle(&self) -> Option<Reason> {
        self.current.read().obstacle.clone()
    }

    fn holds(&self, token: &Arc<dyn Token>) -> bool {
        self.current.read().token.as_ref().is_some_and(|current| {
            std::ptr::addr_eq(Arc::as_ptr(current), Arc::as_ptr(token)) && !current.is_removed()
        })
    }
}

#[cfg(test)]
mod tests;
