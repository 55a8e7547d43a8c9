//! A card as a reader sees it: an ATR, a reset, commands and responses.

use std::{
    error, fmt, io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{
    chip::{Chip, Outcome},
    firmware,
    log::Log,
    memory::Memory,
};

/// An application on the card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applet {
    /// SP 800-73-4.
    Piv,
    /// The OpenPGP card, version 3.4.
    OpenPgp,
}

impl Applet {
    /// The name that selects it, as far as all its cards have the same.
    pub fn aid(self) -> &'static [u8] {
        match self {
            Self::Piv => &[
                0xA0, 0x00, 0x00, 0x03, 0x08, 0x00, 0x00, 0x10, 0x00, 0x01, 0x00,
            ],
            Self::OpenPgp => &[0xD2, 0x76, 0x00, 0x01, 0x24, 0x01],
        }
    }
}

/// What kind of card it is.
#[derive(Clone, Debug)]
pub struct Model {
    /// The applets on it.
    pub applets: Vec<Applet>,
    /// It takes extended lengths and says so in its ATR; one that does not refuses them with 6700.
    pub extended_length: bool,
    /// PIV answers YubiKey's commands for version, serial number, metadata and reset.
    pub yubikey_commands: bool,
    pub(crate) serial: u32,
}

impl Default for Model {
    /// Both applets, extended length, YubiKey's commands.
    fn default() -> Self {
        Self {
            applets: vec![Applet::Piv, Applet::OpenPgp],
            extended_length: true,
            yubikey_commands: true,
            serial: 0,
        }
    }
}

impl Model {
    /// The answer to reset (ISO 7816-3 §8): T=1 with 254-byte blocks, and historical bytes with the card's capabilities
    /// (ISO 7816-4 §12.1.1.9).
    pub fn atr(&self) -> Vec<u8> {
        // Command chaining, and extended Lc and Le.
        let third = if self.extended_length {
            0x80 | 0x40
        } else {
            0x80
        };
        let historical = [&[0x80, 0x73, 0xC0, 0x01, third, 0x57][..], b"Virtual"].concat();
        let format = 0x90 | u8::try_from(historical.len()).expect("at most 15 bytes");
        let mut atr = vec![0x3B, format, 0x13, 0x81, 0x31, 0xFE, 0x15];
        atr.extend(historical);
        let check = atr[1..].iter().fold(0, |check, byte| check ^ byte);
        atr.push(check);
        atr
    }
}

/// The card went silent: its power failed, or it was pulled out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mute;

impl fmt::Display for Mute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the card is mute")
    }
}

impl error::Error for Mute {}

/// What goes wrong on purpose. It may be changed while the card works.
#[derive(Debug)]
pub struct Faults {
    delay_ms: AtomicU64,
    commands_left: AtomicU64,
    in_key_operation: AtomicBool,
    gone: AtomicBool,
}

const FOREVER: u64 = u64::MAX;

impl Default for Faults {
    fn default() -> Self {
        Self {
            delay_ms: AtomicU64::new(0),
            commands_left: AtomicU64::new(FOREVER),
            in_key_operation: AtomicBool::new(false),
            gone: AtomicBool::new(false),
        }
    }
}

impl Faults {
    /// Each command takes this much longer.
    pub fn delay(&self, delay: Duration) {
        let delay = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.delay_ms.store(delay, Ordering::Relaxed);
    }

    /// After so many more commands the card goes silent in the middle of the next: executed, but never answered.
    pub fn cut_after(&self, commands: u64) {
        self.commands_left.store(commands, Ordering::Relaxed);
    }

    /// The power fails in the middle of the next operation with a key: of what the card writes then, the first write stays.
    pub fn cut_in_key_operation(&self) {
        self.in_key_operation.store(true, Ordering::Relaxed);
    }

    /// The card is pulled out: a command that waits is not executed any more.
    pub fn pull_out(&self) {
        self.gone.store(true, Ordering::Relaxed);
    }

    /// Waits as long as a command is to take longer. False if the card was pulled out meanwhile.
    fn wait(&self) -> bool {
        let delay = Duration::from_millis(self.delay_ms.load(Ordering::Relaxed));
        let started = Instant::now();
        while !self.gone.load(Ordering::Relaxed) {
            let left = delay.saturating_sub(started.elapsed());
            if left.is_zero() {
                return true;
            }
            thread::sleep(left.min(Duration::from_millis(5)));
        }
        false
    }

    /// Counts one command down. True if it is the one in whose middle the card goes silent.
    fn cuts_now(&self) -> bool {
        let count_down = |left| match left {
            FOREVER => None,
            0 => Some(FOREVER),
            left => Some(left - 1),
        };
        self.commands_left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, count_down)
            == Ok(0)
    }

    fn cuts_in(&self, apdu: &[u8]) -> bool {
        // GENERAL AUTHENTICATE, PERFORM SECURITY OPERATION, INTERNAL AUTHENTICATE, GENERATE ASYMMETRIC KEY PAIR
        matches!(apdu.get(1), Some(0x87 | 0x2A | 0x88 | 0x47))
            && apdu.first().is_some_and(|cla| cla & 0x10 == 0)
            && self.in_key_operation.swap(false, Ordering::Relaxed)
    }
}

/// A card with power. It runs in a thread of its own, which ends when the card is dropped.
#[derive(Debug)]
pub struct Card {
    model: Model,
    memory: Memory,
    faults: Arc<Faults>,
    log: Log,
    chip: Option<RunningChip>,
}

impl Card {
    /// Powers up the card that this memory belongs to.
    pub fn new(memory: Memory, model: Model) -> Self {
        Self::with(memory, model, Arc::default(), Log::default())
    }

    /// The same, with faults and a log that outlive this power cycle.
    pub fn with(memory: Memory, mut model: Model, faults: Arc<Faults>, log: Log) -> Self {
        model.serial = memory.serial();
        faults.gone.store(false, Ordering::Relaxed);
        Self {
            model,
            memory,
            faults,
            log,
            chip: None,
        }
    }

    /// The answer to reset.
    pub fn atr(&self) -> Vec<u8> {
        self.model.atr()
    }

    /// A reset: nothing is selected and nobody is logged in.
    pub fn reset(&mut self) {
        self.chip = None;
    }

    /// The log of this card.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// What goes wrong on purpose.
    pub fn faults(&self) -> &Arc<Faults> {
        &self.faults
    }

    /// What survives a reset.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Sends a command APDU; the response ends with its status word. After [`Mute`] only a new card answers again.
    pub fn transmit(&mut self, apdu: &[u8]) -> Result<Vec<u8>, Mute> {
        let started = Instant::now();
        let response = self.execute(apdu);
        self.log
            .add(apdu, response.as_deref().ok(), started.elapsed());
        response
    }

    fn execute(&mut self, apdu: &[u8]) -> Result<Vec<u8>, Mute> {
        if !self.faults.wait() {
            return Err(Mute);
        }
        let loses_power = self.faults.cuts_in(apdu);
        let goes_silent = self.faults.cuts_now();
        if loses_power {
            self.memory.internal.fail_after(1);
            self.memory.external.fail_after(1);
        }
        let chip = self
            .chip
            .get_or_insert_with(|| RunningChip::start(&self.memory, &self.model));
        let response = chip.execute(apdu);
        if loses_power || goes_silent {
            self.chip = None;
            self.memory.internal.power_off();
            self.memory.external.power_off();
        }
        let saved = self.memory.save();
        saved.expect("the card's folder can be written");
        if loses_power || goes_silent {
            Err(Mute)
        } else {
            response
        }
    }
}

/// The thread in which a chip runs until its next reset.
#[derive(Debug)]
struct RunningChip {
    commands: Option<Sender<Vec<u8>>>,
    responses: Receiver<Vec<u8>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl RunningChip {
    fn start(memory: &Memory, model: &Model) -> Self {
        let (commands, from_reader) = channel();
        let (to_reader, responses) = channel();
        let (memory, model) = (memory.clone(), model.clone());
        let thread = thread::Builder::new()
            .name("chip".to_owned())
            // The applets keep their buffers on the stack.
            .stack_size(16 << 20)
            .spawn(move || serve(&memory, &model, &from_reader, &to_reader))
            .expect("a thread for the card");
        Self {
            commands: Some(commands),
            responses,
            thread: Some(thread),
        }
    }

    fn execute(&self, apdu: &[u8]) -> Result<Vec<u8>, Mute> {
        let commands = self.commands.as_ref().ok_or(Mute)?;
        commands.send(apdu.to_vec()).map_err(|_| Mute)?;
        self.responses.recv().map_err(|_| Mute)
    }
}

impl Drop for RunningChip {
    fn drop(&mut self) {
        self.commands = None;
        let Some(Ok(Err(error))) = self.thread.take().map(JoinHandle::join) else {
            return;
        };
        eprintln!("the card failed: {error}");
    }
}

fn serve(
    memory: &Memory,
    model: &Model,
    commands: &Receiver<Vec<u8>>,
    responses: &Sender<Vec<u8>>,
) -> io::Result<()> {
    let mut waiting: Option<Vec<u8>> = None;
    loop {
        let ended = firmware::boot(memory, |applets| {
            let mut chip = Chip::new(applets, model);
            while let Some(apdu) = waiting.take().or_else(|| commands.recv().ok()) {
                match chip.execute(&apdu) {
                    Outcome::Response(response) => {
                        if responses.send(response).is_err() {
                            return true;
                        }
                    }
                    Outcome::StartAnew => {
                        waiting = Some(apdu);
                        return false;
                    }
                }
            }
            true
        })?;
        if ended {
            return Ok(());
        }
    }
}
