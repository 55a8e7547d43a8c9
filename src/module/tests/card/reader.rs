//! Readers that cards are put into and taken out of, in memory.

use std::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use ctk_pkcs11::SlotSource;
use ctk_token::*;

use super::{Card, Face};
use crate::support::{set_hold, wait_while};

/// Something that waits while it is set.
pub type Gate = (Mutex<bool>, Condvar);

/// A reader. What is in it, and what has been noticed of that, are two things.
pub struct Reader {
    name: String,
    inside: Mutex<Option<Arc<dyn Token>>>,
    noticed: Mutex<Option<Arc<dyn Token>>>,
    /// How often it was asked for its card.
    pub asked: AtomicUsize,
    /// How often a card came or went; 0 if nobody counts that.
    pub counted: AtomicU64,
    /// Does not answer while this is set.
    pub slow: Gate,
}

impl Reader {
    pub fn new(name: &str, card: Option<&Arc<Card>>) -> Arc<Self> {
        let reader = Self {
            name: name.into(),
            inside: Mutex::default(),
            noticed: Mutex::default(),
            asked: AtomicUsize::new(0),
            counted: AtomicU64::new(0),
            slow: Gate::default(),
        };
        if let Some(card) = card {
            reader.insert(card);
        }
        Arc::new(reader)
    }

    /// Puts the card in: each time it is another insertion.
    pub fn insert(&self, card: &Arc<Card>) {
        *self.inside.lock().unwrap() = Some(Arc::new(Face(Arc::clone(card))));
    }

    pub fn remove(&self) {
        *self.inside.lock().unwrap() = None;
    }

    /// Some other call has noticed what is in it now.
    pub fn notice(&self) {
        *self.noticed.lock().unwrap() = self.inside.lock().unwrap().clone();
    }

    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Slot for Reader {
    fn id(&self) -> &str {
        &self.name
    }
    fn info(&self) -> SlotInfo {
        SlotInfo {
            description: self.name.clone(),
            manufacturer: "Tests".into(),
            removable: true,
            hardware: true,
        }
    }
    fn token(&self) -> Option<Arc<dyn Token>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        wait_while(&self.slow);
        self.notice();
        self.noticed.lock().unwrap().clone()
    }
    fn changes(&self) -> Option<u64> {
        Some(self.counted.load(Ordering::SeqCst)).filter(|counted| *counted > 0)
    }
    fn holds(&self, token: &Arc<dyn Token>) -> bool {
        let noticed = self.noticed.lock().unwrap();
        noticed.as_ref().is_some_and(|now| Arc::ptr_eq(now, token))
    }
}

/// The readers of a machine, and a driver that blocks until something changes.
#[derive(Default)]
pub struct Readers {
    readers: Mutex<Vec<Arc<Reader>>>,
    /// How often somebody asked which there are.
    pub asked: AtomicUsize,
    changes: Mutex<usize>,
    changed: Condvar,
    /// How many threads wait for a change, and the longest time that one was told to.
    pub waiting: AtomicUsize,
    pub longest_wait: Mutex<Duration>,
}

impl Readers {
    pub fn new(readers: &[Arc<Reader>]) -> Arc<Self> {
        Arc::new(Self {
            readers: Mutex::new(readers.to_vec()),
            ..Self::default()
        })
    }

    /// The same, for the module.
    pub fn source(self: &Arc<Self>) -> Box<dyn SlotSource> {
        Box::new(Source(Arc::clone(self)))
    }

    pub fn plug_in(&self, reader: Arc<Reader>) {
        self.readers.lock().unwrap().push(reader);
    }

    /// Something has changed.
    pub fn tell(&self) {
        *self.changes.lock().unwrap() += 1;
        self.changed.notify_all();
    }
}

struct Source(Arc<Readers>);

impl SlotSource for Source {
    fn slots(&self) -> Vec<Arc<dyn Slot>> {
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        let readers = self.0.readers.lock().unwrap();
        readers.iter().map(|one| Arc::clone(one) as _).collect()
    }
    fn wait_for_change(&self, deadline: Instant) -> Result<Wait> {
        let changes = self.0.changes.lock().unwrap();
        let before = *changes;
        self.0.waiting.fetch_add(1, Ordering::SeqCst);
        let rest = deadline.saturating_duration_since(Instant::now());
        let mut longest = self.0.longest_wait.lock().unwrap();
        *longest = longest.max(rest);
        drop(longest);
        let waited = self
            .0
            .changed
            .wait_timeout_while(changes, rest, |now| *now == before);
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
        match waited.unwrap().1.timed_out() {
            true => Ok(Wait::TimedOut),
            false => Ok(Wait::Changed),
        }
    }
}

/// Opens a gate even if a test fails.
pub struct Opens<'a>(pub &'a Gate);

impl Drop for Opens<'_> {
    fn drop(&mut self) {
        set_hold(self.0, false);
    }
}
