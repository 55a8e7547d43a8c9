//! A reader with a virtual card in it, as the product's driver sees readers.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use ctk_smartcard::{Configuration, Driver, Link, LinkError, ReaderStatus, Readers};
use ctk_token::{Reason, Wait};
use virtual_cards::Card;

/// A reader. Clones are the same.
#[derive(Clone, Debug)]
pub struct Reader(Arc<Place>);

#[derive(Debug)]
struct Place {
    state: Mutex<State>,
    /// Told when a transaction ends, and when a card comes or goes.
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    card: Option<Card>,
    /// How often a card came or went.
    events: u64,
    /// How often the card was reset.
    resets: u64,
    connections: usize,
    /// Whether some connection keeps the card.
    is_kept: bool,
    max_command_len: usize,
}

impl Reader {
    /// A reader that takes extended commands, with this card in it.
    pub fn new(card: Card) -> Self {
        Self(Arc::new(Place {
            state: Mutex::new(State {
                card: Some(card),
                events: 1,
                resets: 0,
                connections: 0,
                is_kept: false,
                max_command_len: 65_544,
            }),
            changed: Condvar::new(),
        }))
    }

    /// The product's driver over this reader alone.
    pub fn driver(&self) -> Driver {
        Driver::with_readers(Configuration::default(), Box::new(self.clone()))
    }

    /// Takes the card out.
    pub fn remove(&self) -> Option<Card> {
        let mut state = self.lock();
        state.events += 1;
        self.0.changed.notify_all();
        state.card.take()
    }

    /// Puts a card in.
    pub fn insert(&self, mut card: Card) {
        card.reset();
        let mut state = self.lock();
        state.events += 1;
        state.card = Some(card);
        self.0.changed.notify_all();
    }

    /// What another program does to the card, which nobody is told of.
    pub fn meanwhile<T>(&self, work: impl FnOnce(&mut Card) -> T) -> T {
        let mut state = self.lock();
        work(state.card.as_mut().expect("there is a card"))
    }

    /// Another program resets the card.
    pub fn reset(&self) {
        let mut state = self.lock();
        state.resets += 1;
        if let Some(card) = &mut state.card {
            card.reset();
        }
    }

    /// How many commands the card was sent.
    pub fn commands(&self) -> u64 {
        let state = self.lock();
        state.card.as_ref().map_or(0, |card| card.log().count())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Readers for Reader {
    fn list(&self) -> Result<Vec<ReaderStatus>, LinkError> {
        let state = self.lock();
        Ok(vec![ReaderStatus {
            name: "Reader in this process".into(),
            events: state.events,
            present: state.card.is_some(),
            mute: false,
            in_use: state.connections > 0,
            atr: state.card.as_ref().map(Card::atr).unwrap_or_default(),
        }])
    }

    fn connect(&self, reader: &ReaderStatus) -> Result<Box<dyn Link>, LinkError> {
        let mut state = self.lock();
        let card = state.card.as_ref().ok_or(LinkError::Removed)?;
        let atr = card.atr();
        let was_in_use = state.connections > 0;
        state.connections += 1;
        Ok(Box::new(Connection {
            reader: self.clone(),
            events: state.events,
            resets: state.resets,
            is_keeping: false,
            is_reset_when_dropped: false,
            max_command_len: state.max_command_len,
            was_in_use: was_in_use || reader.in_use,
            atr,
        }))
    }

    fn wait(&self, known: &[ReaderStatus], deadline: Instant) -> Result<Wait, LinkError> {
        loop {
            if self.list()? != known {
                return Ok(Wait::Changed);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Wait::TimedOut);
            }
            let state = self.lock();
            drop(
                self.0
                    .changed
                    .wait_timeout(state, left.min(Duration::from_millis(20))),
            );
        }
    }
}

struct Connection {
    reader: Reader,
    /// Of the reader, when the card was connected to.
    events: u64,
    /// Of the card, as far as the product was told.
    resets: u64,
    is_keeping: bool,
    is_reset_when_dropped: bool,
    max_command_len: usize,
    was_in_use: bool,
    atr: Vec<u8>,
}

impl Connection {
    /// The state of the card, if it is still the one that was connected to.
    fn connected(&mut self) -> Result<MutexGuard<'_, State>, LinkError> {
        let (events, resets) = (self.events, self.resets);
        let mut state = self.reader.lock();
        if state.events != events {
            return Err(LinkError::Removed);
        }
        if state.resets != resets {
            if self.is_keeping {
                state.is_kept = false;
                self.reader.0.changed.notify_all();
            }
            self.is_keeping = false;
            self.resets = state.resets;
            return Err(LinkError::Reset);
        }
        Ok(state)
    }
}

impl Link for Connection {
    fn atr(&self) -> &[u8] {
        &self.atr
    }

    fn was_in_use(&self) -> bool {
        self.was_in_use
    }

    fn max_command_len(&self) -> usize {
        self.max_command_len
    }

    fn begin(&mut self, patience: Duration) -> Result<(), LinkError> {
        let deadline = Instant::now() + patience;
        loop {
            let mut state = self.connected()?;
            if !state.is_kept {
                state.is_kept = true;
                drop(state);
                self.is_keeping = true;
                return Ok(());
            }
            drop(state);
            if Instant::now() >= deadline {
                return Err(LinkError::Busy);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn end(&mut self) {
        if std::mem::take(&mut self.is_keeping) {
            self.reader.lock().is_kept = false;
            self.reader.0.changed.notify_all();
        }
    }

    fn transmit(&mut self, command: &[u8]) -> Result<Vec<u8>, LinkError> {
        let mut state = self.connected()?;
        let card = state.card.as_mut().ok_or(LinkError::Removed)?;
        let answer = card.transmit(command);
        answer.map_err(|_| LinkError::Mute(Reason::new("the card went silent")))
    }

    fn reset_if_alone(&mut self) -> bool {
        let is_alone = self.reader.lock().connections == 1;
        if is_alone {
            self.reset();
        } else {
            self.end();
        }
        is_alone
    }

    fn reset(&mut self) -> bool {
        self.reader.reset();
        // This connection's own reset is no news to it.
        self.resets = self.reader.lock().resets;
        self.end();
        true
    }

    fn reset_when_dropped(&mut self) {
        self.is_reset_when_dropped = true;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let is_there = self.reader.lock().events == self.events;
        if self.is_reset_when_dropped && is_there {
            self.reader.reset();
        }
        self.end();
        self.reader.lock().connections -= 1;
    }
}
