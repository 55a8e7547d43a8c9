//! A card that answers wrongly, in a reader of a [`Pcscd`]: a good one, with somebody in between who changes its answers.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, TcpStream},
    os::fd::AsRawFd as _,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{
    cards::{Options, PipedCard, Profile},
    pcscd::Pcscd,
};

/// How long pcscd's reader may take to appear.
const PATIENCE: Duration = Duration::from_secs(20);

/// What becomes of a good answer: the command, and the answer with its status word. `None`: no answer, and the card is out.
pub type Fault = Box<dyn FnMut(&[u8], Vec<u8>) -> Option<Vec<u8>> + Send>;

/// A faulty card in a reader. It is out when this is dropped.
#[derive(Debug)]
pub struct FaultyCard {
    stream: TcpStream,
    commands: Arc<Mutex<Vec<Vec<u8>>>>,
    thread: Option<JoinHandle<()>>,
}

impl Pcscd {
    /// Puts a fresh card with this fault into a reader, and waits until pcscd has seen it.
    #[track_caller]
    pub fn insert_faulty(
        &self,
        reader: usize,
        profile: Profile,
        options: Options,
        mut fault: Fault,
    ) -> FaultyCard {
        let mut card = PipedCard::new(profile, options);
        let mut stream = connect(self.port(reader));
        let commands = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let faulty = FaultyCard {
            stream: stream.try_clone().expect("the stream once more"),
            commands: commands.clone(),
            thread: Some(thread::spawn(move || {
                let _ = serve(&mut stream, &mut card, &mut fault, &commands);
                let _ = stream.shutdown(Shutdown::Both);
            })),
        };
        self.wait_for_card(reader, true);
        faulty
    }
}

impl FaultyCard {
    /// Every command so far.
    pub fn commands(&self) -> Vec<Vec<u8>> {
        let commands = self.commands.lock();
        commands.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for FaultyCard {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn connect(port: u16) -> TcpStream {
    let started = Instant::now();
    loop {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            Ok(stream) => {
                stream.set_nodelay(true).expect("no delay");
                return stream;
            }
            Err(error) => assert!(started.elapsed() < PATIENCE, "no reader: {error}"),
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn serve(
    stream: &mut TcpStream,
    card: &mut PipedCard,
    fault: &mut Fault,
    commands: &Mutex<Vec<Vec<u8>>>,
) -> io::Result<()> {
    const POWER_OFF: u8 = 0;
    const POWER_ON: u8 = 1;
    const RESET: u8 = 2;
    const GET_ATR: u8 = 4;
    let mut atr = card.reset();
    loop {
        let message = receive(stream)?;
        let answer = match *message.as_slice() {
            [POWER_OFF | POWER_ON | RESET] => {
                atr = card.reset();
                continue;
            }
            [GET_ATR] => atr.clone(),
            [_] | [] => continue,
            _ => {
                let mut log = commands.lock().unwrap_or_else(PoisonError::into_inner);
                log.push(message.clone());
                drop(log);
                let good = card.transmit(&message);
                match good.and_then(|good| fault(&message, good)) {
                    Some(answer) => answer,
                    None => return Ok(()),
                }
            }
        };
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        stream.write_all(&[&length.to_be_bytes()[..], &answer].concat())?;
    }
}

fn receive(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    acknowledge_at_once(stream);
    stream.read_exact(&mut length)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    acknowledge_at_once(stream);
    stream.read_exact(&mut message)?;
    Ok(message)
}

/// vpcd writes each message in two parts, and waits for the acknowledgement of the first.
fn acknowledge_at_once(stream: &TcpStream) {
    let on: libc::c_int = 1;
    let size = libc::socklen_t::try_from(size_of_val(&on)).expect("a small number");
    // SAFETY: the descriptor is open, and the option is an int that is read during the call.
    unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_QUICKACK,
            (&raw const on).cast(),
            size,
        );
    }
}
