//! One reader as a slot: which card in it is the token that is there.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use ctk_token::{Reason, Slot, SlotInfo, Token};
use parking_lot::{Mutex, RwLock};

use super::{Inserted, NO_READER, Source};
use crate::{link::LinkError, readers::ReaderStatus};

/// How long a card that could not be read is left alone: each try may take seconds.
const PAUSE: Duration = Duration::from_secs(2);

/// The slot of one reader, also while that is not there; the first one waits for a reader if there
/// was none yet.
pub(super) struct ReaderSlot {
    index: usize,
    source: Arc<Source>,
    names: Names,
    /// Held while a card is asked what it is, so that it is asked once.
    pub(super) inside: Mutex<Inside>,
    /// The same for a short look.
    pub(super) current: RwLock<Current>,
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
pub(super) struct Inside {
    /// The reader and its number of events, from which on this is true. `None` without a card.
    since: Option<(String, u64)>,
    pub(super) found: Found,
}

/// What was found, as others want to know it.
#[derive(Default)]
pub(super) struct Current {
    pub(super) token: Option<Arc<dyn Inserted>>,
    /// Why there is none.
    obstacle: Option<Reason>,
}

#[derive(Default)]
pub(super) enum Found {
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
    pub(super) fn new(index: usize, source: &Arc<Source>) -> Self {
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
