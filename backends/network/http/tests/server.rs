//! A server on this machine that answers as a test says.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

/// What a connection is for what answers: bytes, encrypted or not.
pub(in crate::http) trait Wire: Read + Write {}

impl<T: Read + Write> Wire for T {}

/// A request as it came.
#[derive(Debug)]
pub(in crate::http) struct Heard {
    /// Which request to this server it is, counted from 0.
    pub(in crate::http) number: usize,
    pub(in crate::http) head: String,
    pub(in crate::http) body: Vec<u8>,
}

impl Heard {
    pub(in crate::http) fn first_line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// The value of a header field.
    pub(in crate::http) fn field(&self, name: &str) -> Option<&str> {
        let fields = self
            .head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "));
        fields
            .into_iter()
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

/// What becomes of the connection after an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::http) enum After {
    Keep,
    Close,
}

type Answers = dyn Fn(&Heard, &mut dyn Wire) -> After + Send + Sync;

/// Wraps an accepted socket, as in TLS.
pub(in crate::http) type Wrap = dyn Fn(TcpStream) -> io::Result<Box<dyn Wire>> + Send + Sync;

/// A server; gone when dropped.
pub(in crate::http) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    answers: Box<Answers>,
    wrap: Box<Wrap>,
    /// Leaves the last byte of each request unread until it is answered: closing then resets the connection.
    reset: bool,
    stopped: AtomicBool,
    connections: AtomicUsize,
    requests: AtomicUsize,
}

impl Server {
    /// A server in plain HTTP.
    pub(in crate::http) fn start(
        answers: impl Fn(&Heard, &mut dyn Wire) -> After + Send + Sync + 'static,
    ) -> Self {
        Self::with(false, |stream| Ok(Box::new(stream)), answers)
    }

    /// A server that resets a connection where another would close it.
    pub(in crate::http) fn start_resetting(
        answers: impl Fn(&Heard, &mut dyn Wire) -> After + Send + Sync + 'static,
    ) -> Self {
        Self::with(true, |stream| Ok(Box::new(stream)), answers)
    }

    pub(in crate::http) fn with(
        reset: bool,
        wrap: impl Fn(TcpStream) -> io::Result<Box<dyn Wire>> + Send + Sync + 'static,
        answers: impl Fn(&Heard, &mut dyn Wire) -> After + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            answers: Box::new(answers),
            wrap: Box::new(wrap),
            reset,
            stopped: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
        });
        let serving = Arc::clone(&shared);
        let accepting = std::thread::spawn(move || accept(&listener, &serving));
        Self {
            address,
            shared,
            accepting: Some(accepting),
        }
    }

    pub(in crate::http) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(in crate::http) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many connections were accepted.
    pub(in crate::http) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many requests were heard.
    pub(in crate::http) fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the accepting thread.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut threads = Vec::new();
    for stream in listener.incoming() {
        if shared.stopped.load(Ordering::SeqCst) {
            break;
        }
        let Ok(stream) = stream else { continue };
        shared.connections.fetch_add(1, Ordering::SeqCst);
        let shared = Arc::clone(shared);
        threads.push(std::thread::spawn(move || {
            // A client that goes away is no failure of the server's.
            let _ = serve(stream, &shared);
        }));
    }
    for thread in threads {
        let _ = thread.join();
    }
}

fn serve(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_millis(20)))?;
    let mut wire = (shared.wrap)(stream)?;
    let wire = &mut *wire;
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r") {
            head.push(byte(wire, shared)?);
        }
        let text = String::from_utf8_lossy(&head).into_owned();
        let mut heard = Heard {
            number: shared.requests.fetch_add(1, Ordering::SeqCst),
            head: text,
            body: Vec::new(),
        };
        let length = heard.field("content-length");
        let mut rest = 1 + length.map_or(0, |length| length.parse::<usize>().unwrap());
        if shared.reset {
            rest -= 1;
        }
        for _ in 0..rest {
            heard.body.push(byte(wire, shared)?);
        }
        if !heard.body.is_empty() {
            heard.body.remove(0);
        }
        if (shared.answers)(&heard, wire) == After::Close {
            return Ok(());
        }
    }
}

fn byte(wire: &mut dyn Wire, shared: &Shared) -> io::Result<u8> {
    let mut byte = [0];
    loop {
        match wire.read(&mut byte) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => return Ok(byte[0]),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) && !shared.stopped.load(Ordering::SeqCst) => {}
            Err(error) => return Err(error),
        }
    }
}

/// A whole answer.
pub(in crate::http) fn answer(wire: &mut dyn Wire, status: u16, fields: &str, body: &str) -> After {
    let length = body.len();
    let text = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n{fields}\r\n{body}");
    say(wire, &text)
}

/// Some bytes.
pub(in crate::http) fn say(wire: &mut dyn Wire, text: &str) -> After {
    match wire.write_all(text.as_bytes()).and_then(|()| wire.flush()) {
        Ok(()) => After::Keep,
        Err(_) => After::Close,
    }
}
