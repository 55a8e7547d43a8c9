//! Where cards are made for a test: one of each profile, of which every test gets copies.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use virtual_cards::{
    Card, Memory, Model,
    personalise::{Profile, provision},
    random_serial,
};

/// A folder with a card in it and the authority that certified its keys. It is gone when this is dropped.
#[derive(Debug)]
pub struct Bench {
    folder: PathBuf,
    memory: Memory,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

impl Bench {
    /// Makes a card of this profile, which takes some seconds.
    pub fn new(profile: Profile) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("in-process-cards-{}-{number}", process::id()));
        let state = folder.join("card");
        provision(&state, profile, &folder).expect("a card is made");
        let memory = Memory::open(&state).expect("the card is there");
        Self { folder, memory }
    }

    /// A copy of the card, with power, and a serial number of its own. What happens to it is not kept.
    pub fn card(&self, model: Model) -> Card {
        let serial = random_serial().expect("random numbers");
        Card::new(self.memory.copy(serial), model)
    }

    /// Where `NAME.crt` and `NAME.pub` of the card's keys are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
