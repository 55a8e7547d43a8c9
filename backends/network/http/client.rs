//! A token's way to its service: which endpoint is asked, and what is done when it does not answer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use ctk_token::{Reason, Result, TokenError};
use parking_lot::Mutex;

use super::{
    ask::{agent, ask},
    connector::Way,
    endpoint::Endpoint,
    exchange::{Exchange, Repeat, Response, Verdict},
    failure::{Cause, Failure},
    retry::Pauses,
    settings::wrong,
};
use crate::{Settings, Surroundings};

/// How often all endpoints are asked when each says "later".
const MAX_ROUNDS: usize = 8;

/// How often they are tried when none can be reached, or connections end without an answer: for a second or so, which is what
/// a server needs to be started again.
const MAX_FAILED_ROUNDS: usize = 5;

/// How long a thread that looks up its process's connections can hold what they are in. Longer does so one that has forked
/// and is not here.
const LOCKED: Duration = Duration::from_secs(1);

/// The longest reason, in characters, where several endpoints have one.
const MAX_REASON: usize = 500;

/// A token's way to its service. Its connections are shared by all threads.
pub struct Client {
    /// The connections of the process that made the client.
    own: Arc<Line>,
    /// Those of a child that was forked with the client in it, which must not write to its parent's. The parent never
    /// touches this, but a child's own child may find it locked for ever.
    child: Mutex<Option<Arc<Line>>>,
    /// The endpoint that answered last.
    preferred: AtomicUsize,
}

/// The connections of one process.
struct Line {
    process: u32,
    way: Arc<Way>,
    /// Taken only when dropped.
    agent: Option<ureq::Agent>,
}

impl Client {
    /// A client of these endpoints, of which the first is preferred. Touches neither network nor files: what is wrong with
    /// a file is told when it is needed.
    ///
    /// # Errors
    /// [`TokenError::Unreachable`] with what is wrong with the settings.
    pub fn new(
        settings: &Settings,
        surroundings: &Surroundings,
        endpoints: Vec<Endpoint>,
    ) -> Result<Self> {
        if endpoints.is_empty() {
            return Err(wrong("no endpoint is configured"));
        }
        Ok(Self {
            own: Arc::new(Line::new(Way::new(settings, surroundings, endpoints)?)),
            child: Mutex::new(None),
            preferred: AtomicUsize::new(0),
        })
    }

    /// Sends a request until there is an answer that is final. One that is for later is handed out too if it cannot be
    /// repeated, or not within the total time.
    ///
    /// # Errors
    /// [`TokenError::Unreachable`] with the reason if no endpoint could be reached or none answered in time,
    /// [`Corrupted`](TokenError::Corrupted) for what is no HTTP or too long, and what `prepare` says.
    pub fn send(&self, exchange: &Exchange<'_>) -> Result<Response> {
        let line = self.line();
        let began = Instant::now();
        let until = exchange.deadline.instant();
        let until = until.min(began + line.way.limits.total);
        let mut pauses = Pauses::default();
        let mut round = 0;
        loop {
            round += 1;
            let outcome = self.ask_all(&line, exchange, until)?;
            let rounds = match &outcome {
                Outcome::Later(_) => MAX_ROUNDS,
                // Who has waited for a connection once knows enough.
                Outcome::Failed { lasting: false, .. }
                    if began.elapsed() < line.way.limits.connect =>
                {
                    MAX_FAILED_ROUNDS
                }
                Outcome::Final(_) | Outcome::Failed { .. } => 0,
            };
            let pause = pauses.next(outcome.asked_pause());
            if round >= rounds || pause >= until.saturating_duration_since(Instant::now()) {
                return outcome.result();
            }
            log::debug!("{}: once more in {} ms", exchange.name, pause.as_millis());
            std::thread::sleep(pause);
        }
    }

    /// Asks the endpoints, the last good one first, until one has an answer.
    fn ask_all(&self, line: &Line, exchange: &Exchange<'_>, until: Instant) -> Result<Outcome> {
        let endpoints = &line.way.endpoints;
        let first = self.preferred.load(Ordering::Relaxed) % endpoints.len();
        let order = (first..endpoints.len()).chain(0..first);
        let mut later = None;
        let mut failures = Vec::new();
        for at in order {
            let Some(endpoint) = endpoints.get(at) else {
                continue;
            };
            let began = Instant::now();
            match line.ask(exchange, endpoint, until) {
                Ok(response) => {
                    let verdict = (exchange.judge)(&response);
                    // Where this one may not be sent again, the next one goes elsewhere first.
                    let next = match verdict {
                        Verdict::Final => at,
                        Verdict::Later => at + 1,
                    };
                    if verdict == Verdict::Final || exchange.repeat == Repeat::Unsent {
                        self.preferred.store(next, Ordering::Relaxed);
                        return Ok(Outcome::Final(response));
                    }
                    later = Some(response);
                }
                Err(failure) => {
                    log::debug!(
                        "{} at {}: {failure}",
                        exchange.name,
                        endpoint.host_and_port()
                    );
                    let may_be_spent = failure.sent && exchange.repeat == Repeat::Unsent;
                    let has_more_to_tell = later.is_some() || !failures.is_empty();
                    match &failure.cause {
                        // What kept the others from answering says more than that the time is over now.
                        Cause::OutOfTime if has_more_to_tell && !may_be_spent => break,
                        Cause::Unmade(error) => return Err(error.clone()),
                        cause => {
                            let is_lasting =
                                matches!(cause, Cause::Misconfigured(_) | Cause::Garbled(_));
                            let ends = matches!(cause, Cause::OutOfTime) || may_be_spent;
                            let waited = began.elapsed();
                            let error = failure.into_error(endpoint, exchange.name, waited);
                            if ends {
                                return Err(error);
                            }
                            failures.push((error, is_lasting));
                        }
                    }
                }
            }
        }
        Ok(match later {
            Some(response) => Outcome::Later(response),
            None => Outcome::of_failures(failures),
        })
    }

    /// The connections of this process.
    fn line(&self) -> Arc<Line> {
        let process = std::process::id();
        if self.own.process == process {
            return Arc::clone(&self.own);
        }
        let line = || Arc::new(Line::new(self.own.way.anew()));
        let Some(mut child) = self.child.try_lock_for(LOCKED) else {
            return line();
        };
        match &*child {
            Some(line) if line.process == process => Arc::clone(line),
            _ => {
                let line = line();
                // The parent's, if this is a child of a child, is forgotten as it is.
                *child = Some(Arc::clone(&line));
                line
            }
        }
    }

    pub(super) fn way(&self) -> Arc<Way> {
        Arc::clone(&self.line().way)
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let endpoints = &self.own.way.endpoints;
        let places = endpoints.iter().map(Endpoint::host_and_port);
        f.debug_set().entries(places).finish()
    }
}

impl Line {
    fn new(way: Way) -> Self {
        let way = Arc::new(way);
        Self {
            process: std::process::id(),
            agent: Some(agent(&way)),
            way,
        }
    }

    /// One attempt at one endpoint; two if the first met a kept connection that was no more.
    fn ask(
        &self,
        exchange: &Exchange<'_>,
        endpoint: &Endpoint,
        until: Instant,
    ) -> std::result::Result<Response, Failure> {
        let failure = match self.ask_once(exchange, endpoint, until, false) {
            Err(failure) => failure,
            answer => return answer,
        };
        let lost = matches!(
            failure.cause,
            Cause::Lost { reused: true, .. } | Cause::Silent { reused: true }
        );
        match lost && (!failure.sent || exchange.repeat == Repeat::Always) {
            true => self.ask_once(exchange, endpoint, until, true),
            false => Err(failure),
        }
    }

    fn ask_once(
        &self,
        exchange: &Exchange<'_>,
        endpoint: &Endpoint,
        until: Instant,
        fresh: bool,
    ) -> std::result::Result<Response, Failure> {
        let unmade = |error| Failure::unsent(Cause::Unmade(error));
        let agent = self.agent.as_ref();
        let agent = agent.ok_or_else(|| unmade(TokenError::TokenRemoved))?;
        let request = (exchange.prepare)(endpoint).map_err(unmade)?;
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Failure::unsent(Cause::OutOfTime));
        }
        log::debug!(
            "{}: {} {}{}{}",
            exchange.name,
            request.method.as_str(),
            endpoint.host_and_port(),
            endpoint.base,
            request.path()
        );
        ask(agent, endpoint, request, left, fresh)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // A child of a fork leaves its parent's connections alone: locks in there may be held by threads that it does not
        // have.
        if std::process::id() != self.process {
            std::mem::forget(self.agent.take());
        }
    }
}

/// What came of asking all endpoints.
enum Outcome {
    Final(Response),
    /// At least one answered, and none could do it now.
    Later(Response),
    Failed {
        error: TokenError,
        /// Whether trying again is no use.
        lasting: bool,
    },
}

impl Outcome {
    /// Of errors, each with whether trying again is no use.
    fn of_failures(failures: Vec<(TokenError, bool)>) -> Self {
        let lasting = failures.iter().all(|(_, is_lasting)| *is_lasting);
        let mut errors = failures.into_iter().map(|(error, _)| error);
        let first = errors.next().unwrap_or(TokenError::TimedOut);
        Self::Failed {
            error: errors.fold(first, |first, next| joined(first, &next)),
            lasting,
        }
    }

    fn asked_pause(&self) -> Option<Duration> {
        match self {
            Self::Later(response) => response.retry_after,
            Self::Final(_) | Self::Failed { .. } => None,
        }
    }

    fn result(self) -> Result<Response> {
        match self {
            Self::Final(response) | Self::Later(response) => Ok(response),
            Self::Failed { error, .. } => Err(error),
        }
    }
}

/// Both reasons, if both are such that nobody could be reached; otherwise what was there first.
fn joined(first: TokenError, next: &TokenError) -> TokenError {
    match (&first, next) {
        (TokenError::Unreachable(one), TokenError::Unreachable(other)) => {
            let both = format!("{one}; {other}");
            match both.chars().count() <= MAX_REASON {
                true => TokenError::Unreachable(Reason::new(both)),
                false => first,
            }
        }
        _ => first,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::tests::{
        asking::{client_of, post},
        server::{Server, answer},
    };

    #[test]
    fn a_child_of_a_fork_makes_its_own_connections() {
        let server = Server::start(|_, wire| answer(wire, 200, "", "x"));
        let mut client = client_of(&server);
        for _ in 0..2 {
            post(&client, Repeat::Unsent, "parent").unwrap();
        }
        assert_eq!(server.connections(), 1);
        // As it is in a child: the process is another one.
        Arc::get_mut(&mut client.own).unwrap().process = 0;
        for _ in 0..2 {
            post(&client, Repeat::Unsent, "child").unwrap();
        }
        assert_eq!(server.connections(), 2);
        // And in a child of the child.
        let mut inherited = client.child.lock().take().unwrap();
        Arc::get_mut(&mut inherited).unwrap().process = 0;
        *client.child.lock() = Some(inherited);
        for _ in 0..2 {
            post(&client, Repeat::Unsent, "grandchild").unwrap();
        }
        assert_eq!((server.connections(), server.requests()), (3, 6));
        // Back in the parent, whose connection nobody has touched.
        Arc::get_mut(&mut client.own).unwrap().process = std::process::id();
        post(&client, Repeat::Unsent, "parent").unwrap();
        assert_eq!((server.connections(), server.requests()), (3, 7));
    }
}
