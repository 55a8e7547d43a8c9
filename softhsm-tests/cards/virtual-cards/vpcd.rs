//! A card in a reader of vpcd, pcscd's driver for virtual readers: a length in two bytes before each message, over TCP.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{Card, sys};

/// How long a reader may take to appear.
const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(10);

/// A card in a reader. It is out when this is dropped.
#[derive(Debug)]
pub struct Inserted {
    shared: Arc<Shared>,
    faults: Arc<crate::Faults>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    removed: AtomicBool,
    stream: Mutex<Option<TcpStream>>,
}

impl Shared {
    fn stream(&self) -> MutexGuard<'_, Option<TcpStream>> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Relaxed)
    }
}

/// Puts the card into the reader of this port, when that is there. It stays in when pcscd restarts; a card that goes mute is out.
pub fn insert(port: u16, mut card: Card) -> io::Result<Inserted> {
    let shared = Arc::<Shared>::default();
    let faults = card.faults().clone();
    let mut stream = connect(port, &shared)?;
    let in_thread = shared.clone();
    let thread = thread::spawn(move || {
        loop {
            let lost = serve(&mut stream, &mut card);
            let _ = stream.shutdown(Shutdown::Both);
            if lost == Lost::Card || in_thread.is_removed() {
                return;
            }
            card.reset();
            match connect(port, &in_thread) {
                Ok(new) => stream = new,
                Err(_) => return,
            }
        }
    });
    Ok(Inserted {
        shared,
        faults,
        thread: Some(thread),
    })
}

impl Inserted {
    /// Pulls the card out, also in the middle of a command.
    pub fn remove(self) {
        drop(self);
    }
}

impl Drop for Inserted {
    fn drop(&mut self) {
        self.shared.removed.store(true, Ordering::Relaxed);
        self.faults.pull_out();
        if let Some(stream) = self.shared.stream().take() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn connect(port: u16, shared: &Shared) -> io::Result<TcpStream> {
    let started = Instant::now();
    loop {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                *shared.stream() = Some(stream.try_clone()?);
                // `remove` may have come before there was a stream to shut down.
                if shared.is_removed() {
                    return Err(io::ErrorKind::ConnectionAborted.into());
                }
                return Ok(stream);
            }
            Err(error) if shared.is_removed() || started.elapsed() > PATIENCE => return Err(error),
            Err(_) => thread::sleep(POLL),
        }
    }
}

#[derive(PartialEq, Eq)]
enum Lost {
    Reader,
    Card,
}

fn serve(stream: &mut TcpStream, card: &mut Card) -> Lost {
    const POWER_OFF: u8 = 0;
    const POWER_ON: u8 = 1;
    const RESET: u8 = 2;
    const GET_ATR: u8 = 4;
    loop {
        let Ok(message) = receive(stream) else {
            return Lost::Reader;
        };
        let answer = match *message.as_slice() {
            [POWER_OFF | POWER_ON | RESET] => {
                card.reset();
                continue;
            }
            [GET_ATR] => card.atr(),
            [_] | [] => continue,
            _ => match card.transmit(&message) {
                Ok(response) => response,
                Err(_) => return Lost::Card,
            },
        };
        if send(stream, &answer).is_err() {
            return Lost::Reader;
        }
    }
}

fn receive(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    sys::acknowledge_at_once(stream)?;
    stream.read_exact(&mut length)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    sys::acknowledge_at_once(stream)?;
    stream.read_exact(&mut message)?;
    Ok(message)
}

fn send(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], message].concat())
}
