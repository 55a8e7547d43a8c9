//! A server of the test's own before another one, which makes the faults of networks and servers when it is told to.

use std::{
    collections::{HashMap, VecDeque},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use openssl::ssl::SslContext;

use crate::{
    connection,
    forward::Backend,
    http::{Request, Response},
    tls::Tls,
};

/// How many requests are kept for assertions.
const KEPT: usize = 10_000;

/// What goes wrong with an answer. But for [`Answer`](Self::Answer) and [`Stall`](Self::Stall) the server behind has done what
/// it was asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fault {
    /// This is answered; the server behind is not asked.
    Answer(Response),
    /// The answer comes so much later.
    Delay(Duration),
    /// The answer's length is told, and the connection ends after so many bytes of its body.
    Truncate(usize),
    /// Behind the header fields come so many bytes of nothing, whose number is told.
    Long(u64),
    /// Behind the header fields come chunks of nothing without an end.
    Endless,
    /// Each byte of the answer comes so much later than the one before.
    Drip(Duration),
    /// Nothing is answered and the connection stays open.
    Stall,
    /// The connection is reset in the middle of the answer.
    Reset,
    /// The connection ends without an answer.
    Close,
    /// The answer says nothing of it, but the connection ends with it.
    CloseAfter,
    /// The answer is not HTTP.
    Garbage,
    /// The answer says that it is of this media type.
    Called(&'static str),
}

/// What becomes of new connections.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Connecting {
    /// They are served.
    #[default]
    Serve,
    /// Nothing is said on them, not even in TLS.
    Stall,
    /// They are reset.
    Reset,
}

/// What a proxy has seen.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Requests that were read to their end.
    pub requests: u64,
    /// Connections that were accepted.
    pub connections: u64,
    /// TLS handshakes that were finished.
    pub handshakes: u64,
    /// Connections that are open.
    pub open: usize,
    /// The most that were open at a time.
    pub most_open: usize,
}

/// A server on a free port of 127.0.0.1 that gives the answers of a [`Backend`]. It ends with the test.
pub struct Proxy {
    shared: Arc<Shared>,
    port: u16,
    listening: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Serves HTTP.
    pub fn start(backend: impl Backend + 'static) -> Self {
        Self::launch(Box::new(backend), None)
    }

    /// Serves HTTPS.
    pub fn start_tls(backend: impl Backend + 'static, tls: &Tls) -> Self {
        Self::launch(Box::new(backend), Some(tls.context()))
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its URL without a path: `http://127.0.0.1:PORT` or `https://localhost:PORT`.
    pub fn url(&self) -> String {
        match self.shared.tls {
            None => format!("http://127.0.0.1:{}", self.port),
            Some(_) => format!("https://localhost:{}", self.port),
        }
    }

    /// From now on this goes wrong with an operation: one of AWS (`Sign`), or the end of a path (`signHash`); `*` for all.
    pub fn fault(&self, operation: &str, fault: Fault) {
        self.fault_times(operation, usize::MAX, fault);
    }

    /// The same for the next so many requests.
    pub fn fault_times(&self, operation: &str, times: usize, fault: Fault) {
        let operation = operation.to_owned();
        let rule = Rule {
            operation,
            times,
            fault,
        };
        lock(&self.shared.rules).push(rule);
    }

    /// From now on nothing goes wrong any more; what is stalled, goes on.
    pub fn clear(&self) {
        lock(&self.shared.rules).clear();
        *lock(&self.shared.connecting) = Connecting::Serve;
        self.shared.epoch.fetch_add(1, Ordering::SeqCst);
        self.shared.wake();
    }

    /// What becomes of connections from now on.
    pub fn connecting(&self, connecting: Connecting) {
        *lock(&self.shared.connecting) = connecting;
    }

    /// Ends all connections that are open.
    pub fn drop_connections(&self) {
        for stream in lock(&self.shared.open).values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Refuses connections from now on and ends those that are open, as if the server had ended.
    pub fn go_down(&mut self) {
        self.shared.down.store(true, Ordering::SeqCst);
        // So that it does not wait for a connection any more.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        if let Some(thread) = self.listening.take() {
            thread.join().expect("the proxy");
        }
        self.shared.epoch.fetch_add(1, Ordering::SeqCst);
        self.shared.wake();
        self.drop_connections();
    }

    /// Serves again, on the same port.
    pub fn come_up(&mut self) {
        assert!(self.listening.is_none(), "it is up");
        self.shared.down.store(false, Ordering::SeqCst);
        let end = Instant::now() + Duration::from_secs(20);
        let listener = loop {
            match TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)) {
                Ok(listener) => break listener,
                Err(error) => assert!(Instant::now() < end, "port {}: {error}", self.port),
            }
            thread::sleep(Duration::from_millis(10));
        };
        self.listening = Some(listen(&self.shared, listener));
    }

    /// What it has seen so far.
    pub fn counts(&self) -> Counts {
        let seen = &self.shared.seen;
        Counts {
            requests: seen.requests.load(Ordering::SeqCst),
            connections: seen.connections.load(Ordering::SeqCst),
            handshakes: seen.handshakes.load(Ordering::SeqCst),
            open: lock(&self.shared.open).len(),
            most_open: seen.most_open.load(Ordering::SeqCst),
        }
    }

    /// The last requests, at most 10,000, oldest first.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.shared.kept).iter().cloned().collect()
    }

    /// The requests of an operation among them.
    pub fn requests_for(&self, operation: &str) -> Vec<Request> {
        let mut requests = self.requests();
        requests.retain(|request| is_for(request, operation));
        requests
    }

    /// Counts from zero, and keeps requests from now on.
    pub fn forget(&self) {
        let seen = &self.shared.seen;
        for counter in [&seen.requests, &seen.connections, &seen.handshakes] {
            counter.store(0, Ordering::SeqCst);
        }
        seen.most_open
            .store(lock(&self.shared.open).len(), Ordering::SeqCst);
        lock(&self.shared.kept).clear();
    }

    fn launch(backend: Box<dyn Backend>, tls: Option<SslContext>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let shared = Arc::new(Shared {
            backend,
            tls,
            rules: Mutex::default(),
            connecting: Mutex::default(),
            kept: Mutex::default(),
            open: Mutex::default(),
            serving: Mutex::default(),
            seen: Seen::default(),
            down: AtomicBool::new(false),
            epoch: AtomicU64::new(0),
            change: Condvar::new(),
            changed: Mutex::new(()),
        });
        let listening = listen(&shared, listener);
        Self {
            shared,
            port,
            listening: Some(listening),
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.go_down();
        let serving = std::mem::take(&mut *lock(&self.shared.serving));
        for thread in serving {
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Proxy({})", self.url())
    }
}

/// What goes wrong, with what and how often.
struct Rule {
    operation: String,
    times: usize,
    fault: Fault,
}

#[derive(Default)]
struct Seen {
    requests: AtomicU64,
    connections: AtomicU64,
    handshakes: AtomicU64,
    most_open: AtomicUsize,
}

/// What the connections of a proxy share.
pub(crate) struct Shared {
    pub(crate) backend: Box<dyn Backend>,
    pub(crate) tls: Option<SslContext>,
    rules: Mutex<Vec<Rule>>,
    connecting: Mutex<Connecting>,
    kept: Mutex<VecDeque<Request>>,
    open: Mutex<HashMap<u64, TcpStream>>,
    serving: Mutex<Vec<JoinHandle<()>>>,
    seen: Seen,
    down: AtomicBool,
    /// Counts what ends stalls.
    epoch: AtomicU64,
    change: Condvar,
    changed: Mutex<()>,
}

impl Shared {
    /// Notes a request, and says what goes wrong with it.
    pub(crate) fn received(&self, request: &Request) -> Option<Fault> {
        self.seen.requests.fetch_add(1, Ordering::SeqCst);
        let mut kept = lock(&self.kept);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(request.clone());
        drop(kept);
        let mut rules = lock(&self.rules);
        let rule = rules
            .iter_mut()
            .rev()
            .find(|rule| rule.times > 0 && is_for(request, &rule.operation))?;
        rule.times -= 1;
        Some(rule.fault.clone())
    }

    pub(crate) fn connecting(&self) -> Connecting {
        *lock(&self.connecting)
    }

    pub(crate) fn shook_hands(&self) {
        self.seen.handshakes.fetch_add(1, Ordering::SeqCst);
    }

    /// Waits, but not longer than until faults are cleared or the proxy ends. Says whether all of it has passed.
    pub(crate) fn wait(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        let epoch = self.epoch.load(Ordering::SeqCst);
        let mut changed = lock(&self.changed);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            let is_over = self.epoch.load(Ordering::SeqCst) != epoch;
            if is_over || self.down.load(Ordering::SeqCst) {
                return false;
            }
            let woken = self.change.wait_timeout(changed, left);
            changed = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn wake(&self) {
        // Whoever is about to wait has looked at the epoch with this lock, or sees the new one.
        drop(lock(&self.changed));
        self.change.notify_all();
    }
}

/// Takes connections until the proxy goes down; each has a thread.
fn listen(shared: &Arc<Shared>, listener: TcpListener) -> JoinHandle<()> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        for stream in listener.incoming() {
            if shared.down.load(Ordering::SeqCst) {
                return;
            }
            let Ok(stream) = stream else { continue };
            shared.seen.connections.fetch_add(1, Ordering::SeqCst);
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let mut open = lock(&shared.open);
            open.insert(number, stream.try_clone().expect("a descriptor"));
            shared
                .seen
                .most_open
                .fetch_max(open.len(), Ordering::SeqCst);
            drop(open);
            let own = Arc::clone(&shared);
            let thread = thread::spawn(move || {
                connection::serve(&own, stream);
                lock(&own.open).remove(&number);
            });
            let mut serving = lock(&shared.serving);
            serving.retain(|thread| !thread.is_finished());
            serving.push(thread);
        }
    })
}

fn is_for(request: &Request, operation: &str) -> bool {
    operation == "*" || request.operation().ends_with(operation)
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
