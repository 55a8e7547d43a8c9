//! The card's memory that survives a reset: two flash images, kept in this process and on request in a folder.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use littlefs2::{
    consts::{U8, U512},
    driver::Storage,
    io::{Error, Result},
};

const BLOCK: usize = 512;
const BLOCKS: usize = 256;
const SIZE: usize = BLOCK * BLOCKS;

/// One flash memory of 128 KiB. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Flash(Arc<Mutex<Cells>>);

#[derive(Debug)]
struct Cells {
    bytes: Vec<u8>,
    changed: bool,
    /// How many writes the power lasts for, if it is about to fail.
    writes_left: Option<u32>,
    /// What was in the memory when the power failed. The chip, which does not know, goes on with `bytes`.
    remains: Option<Vec<u8>>,
}

impl Flash {
    fn new(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(Cells {
            bytes,
            changed: false,
            writes_left: None,
            remains: None,
        })))
    }

    /// A factory-new one: erased.
    pub(crate) fn erased() -> Self {
        Self::new(vec![0xFF; SIZE])
    }

    fn cells(&self) -> MutexGuard<'_, Cells> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From here on only so many writes reach the memory: the power fails in the middle of something.
    pub(crate) fn fail_after(&self, writes: u32) {
        self.cells().writes_left = Some(writes);
    }

    /// The chip is gone: what the power has not lasted for never was.
    pub(crate) fn power_off(&self) {
        let mut cells = self.cells();
        cells.writes_left = None;
        if let Some(remains) = cells.remains.take() {
            cells.bytes = remains;
        }
    }
}

impl Cells {
    /// The cells of one write, which may be the first after the power has failed.
    fn changing(&mut self, offset: usize, length: usize) -> Result<&mut [u8]> {
        match &mut self.writes_left {
            None => {}
            Some(0) if self.remains.is_none() => self.remains = Some(self.bytes.clone()),
            Some(left) => *left = left.saturating_sub(1),
        }
        self.changed = true;
        self.bytes
            .get_mut(offset..offset + length)
            .ok_or(Error::NO_SPACE)
    }
}

impl Storage for Flash {
    const READ_SIZE: usize = 16;
    const WRITE_SIZE: usize = 16;
    const BLOCK_SIZE: usize = BLOCK;
    const BLOCK_COUNT: usize = BLOCKS;
    type CACHE_SIZE = U512;
    type LOOKAHEAD_SIZE = U8;

    fn read(&mut self, offset: usize, buffer: &mut [u8]) -> Result<usize> {
        let cells = self.cells();
        let stored = cells
            .bytes
            .get(offset..offset + buffer.len())
            .ok_or(Error::IO)?;
        buffer.copy_from_slice(stored);
        Ok(buffer.len())
    }

    fn write(&mut self, offset: usize, data: &[u8]) -> Result<usize> {
        let mut cells = self.cells();
        cells.changing(offset, data.len())?.copy_from_slice(data);
        Ok(data.len())
    }

    fn erase(&mut self, offset: usize, length: usize) -> Result<usize> {
        self.cells().changing(offset, length)?.fill(0xFF);
        Ok(length)
    }
}

/// Everything of a card that survives a reset. Clones share it; [`Memory::copy`] makes another card.
#[derive(Clone, Debug)]
pub struct Memory {
    /// The serial number, which is burnt in: YubiKey's GET SERIAL and the AID of OpenPGP show it.
    serial: u32,
    folder: Option<PathBuf>,
    pub(crate) internal: Flash,
    pub(crate) external: Flash,
}

const FILES: [&str; 2] = ["internal.flash", "external.flash"];
const SERIAL_FILE: &str = "serial";

impl Memory {
    /// A factory-new card, kept in this process only.
    pub fn new(serial: u32) -> Self {
        Self {
            serial,
            folder: None,
            internal: Flash::erased(),
            external: Flash::erased(),
        }
    }

    /// The card kept in a folder: a factory-new one with a random serial number if there is none yet. What changes is
    /// written back after each command.
    pub fn open(folder: &Path) -> io::Result<Self> {
        if !folder.join(SERIAL_FILE).exists() {
            fs::create_dir_all(folder)?;
            let mut card = Self::new(random_serial()?);
            card.folder = Some(folder.to_owned());
            card.write_everything()?;
            return Ok(card);
        }
        let text = fs::read_to_string(folder.join(SERIAL_FILE))?;
        let damaged = || io::Error::other(format!("{}: not a card's state", folder.display()));
        let serial = u32::from_str_radix(text.trim(), 16).map_err(|_| damaged())?;
        let flash = |name: &str| -> io::Result<Flash> {
            let bytes = fs::read(folder.join(name))?;
            if bytes.len() == SIZE {
                Ok(Flash::new(bytes))
            } else {
                Err(damaged())
            }
        };
        Ok(Self {
            serial,
            folder: Some(folder.to_owned()),
            internal: flash(FILES[0])?,
            external: flash(FILES[1])?,
        })
    }

    /// Another card with the same contents but a serial number of its own, kept in this process only.
    pub fn copy(&self, serial: u32) -> Self {
        let copied = |flash: &Flash| Flash::new(flash.cells().bytes.clone());
        Self {
            serial,
            folder: None,
            internal: copied(&self.internal),
            external: copied(&self.external),
        }
    }

    /// The serial number.
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// Gives the card another serial number, as if it were another card of the same make.
    pub fn renumber(&mut self, serial: u32) -> io::Result<()> {
        self.serial = serial;
        self.write_everything()
    }

    /// Writes back what has changed, if the card is kept in a folder.
    pub(crate) fn save(&self) -> io::Result<()> {
        let Some(folder) = &self.folder else {
            return Ok(());
        };
        for (flash, name) in [&self.internal, &self.external].into_iter().zip(FILES) {
            let mut cells = flash.cells();
            if cells.changed {
                write_whole(&folder.join(name), &cells.bytes)?;
                cells.changed = false;
            }
        }
        Ok(())
    }

    fn write_everything(&self) -> io::Result<()> {
        let Some(folder) = &self.folder else {
            return Ok(());
        };
        for (flash, name) in [&self.internal, &self.external].into_iter().zip(FILES) {
            write_whole(&folder.join(name), &flash.cells().bytes)?;
        }
        write_whole(
            &folder.join(SERIAL_FILE),
            format!("{:08x}\n", self.serial).as_bytes(),
        )
    }
}

/// A random serial number of eight decimal digits at most, as YubiKeys have.
pub fn random_serial() -> io::Result<u32> {
    let bytes = random_bytes::<4>()?;
    Ok(10_000_000 + u32::from_be_bytes(bytes) % 80_000_000)
}

/// Random bytes from the kernel.
pub(crate) fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    use io::Read as _;
    let mut bytes = [0; N];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// A reader sees the old file or the new one, whenever this program is killed.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, bytes)?;
    fs::rename(new, path)
}
