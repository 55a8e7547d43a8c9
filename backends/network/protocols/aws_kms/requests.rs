//! Requests to the service: signed with the credentials and the time that it takes (AWS KMS API, AWS JSON 1.1).

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

use ctk_token::{Reason, Result, TokenError};
use parking_lot::Mutex;
use zeroize::Zeroizing;

use crate::{
    Settings, Surroundings,
    http::{Deadline, Endpoint, Exchange, Method, Repeat, Request, Response, Verdict},
    json::Object,
};

use super::{
    credentials::{Chain, Credentials, Store},
    error::{Asked, Failure, Remedy, judge},
    outside::{Channel, Outside},
    places::Places,
    sigv4::{Signed, Signer},
};

const CONTENT_TYPE: &str = "application/x-amz-json-1.1";
/// Clocks that differ by less are no reason to refuse a signature, in seconds: the service allows 300.
const SKEW: i64 = 60;

/// A way of asking the service.
#[derive(Debug)]
pub(super) struct Requests {
    settings: Settings,
    surroundings: Surroundings,
    outside: Box<dyn Outside>,
    credentials: Store,
    signer: Signer,
    /// By how many seconds the service's clock is ahead of ours.
    skew: AtomicI64,
    places: Mutex<Option<Arc<Places>>>,
    /// By region.
    channels: Mutex<BTreeMap<String, Arc<dyn Channel>>>,
}

/// Requests, and how long they may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Within<'a> {
    requests: &'a Requests,
    /// Of all of them; `None`: each has the total time.
    deadline: Option<Deadline>,
}

impl Within<'_> {
    /// As [`Requests::call`].
    ///
    /// # Errors
    /// As there.
    pub(super) fn call(
        self,
        operation: &'static str,
        key: Option<&str>,
        body: &Zeroizing<Vec<u8>>,
    ) -> Result<Response> {
        self.ask(operation, key, body)?
            .map_err(|refusal| refusal.into_error(operation, key))
    }

    /// As [`Requests::ask`].
    ///
    /// # Errors
    /// As there.
    pub(super) fn ask(
        self,
        operation: &'static str,
        key: Option<&str>,
        body: &Zeroizing<Vec<u8>>,
    ) -> Result<std::result::Result<Response, Refusal>> {
        let requests = self.requests;
        let deadline = self.deadline.map_or_else(|| requests.begin(), Ok)?;
        requests.ask_by(deadline, operation, key, body)
    }
}

/// The service's refusal of a request.
#[derive(Debug)]
pub(super) struct Refusal {
    failure: Failure,
    credentials: Arc<Credentials>,
}

impl Refusal {
    /// The service's name for it, like `DisabledException`.
    pub(super) fn name(&self) -> &str {
        self.failure.name()
    }

    /// Whether it is about who asks, and not about what is asked for.
    pub(super) fn is_of_credentials(&self) -> bool {
        self.failure.remedy() != Remedy::Nothing
    }

    /// The error for whoever asked.
    pub(super) fn into_error(self, operation: &'static str, key: Option<&str>) -> TokenError {
        self.failure
            .into_error(Asked { operation, key }, &self.credentials)
    }
}

impl Requests {
    /// For a token with these settings. Touches nothing yet.
    pub(super) fn new(
        settings: &Settings,
        surroundings: &Surroundings,
        outside: Box<dyn Outside>,
    ) -> Self {
        Self {
            settings: settings.clone(),
            surroundings: surroundings.clone(),
            outside,
            credentials: Store::new(Chain::new(settings, surroundings)),
            signer: Signer::new("kms"),
            skew: AtomicI64::new(0),
            places: Mutex::default(),
            channels: Mutex::default(),
        }
    }

    /// Requests that all together end by a deadline; without one, each within the total time.
    pub(super) fn within(&self, deadline: Option<Deadline>) -> Within<'_> {
        Within {
            requests: self,
            deadline,
        }
    }

    /// Asks for an operation, in the region of `key` if it is about one, with the JSON object `body`, and answers with the
    /// body of a success. With everything that goes before it, credentials above all, it has the total time.
    ///
    /// # Errors
    /// What [`Client::send`](crate::http::Client::send) says, what is wrong with settings and credentials, and the service's
    /// refusals as [`Failure::into_error`] has them.
    pub(super) fn call(
        &self,
        operation: &'static str,
        key: Option<&str>,
        body: &Zeroizing<Vec<u8>>,
    ) -> Result<Response> {
        self.within(None).call(operation, key, body)
    }

    /// The same for whoever looks at refusals.
    ///
    /// # Errors
    /// As there, without the refusals.
    pub(super) fn ask(
        &self,
        operation: &'static str,
        key: Option<&str>,
        body: &Zeroizing<Vec<u8>>,
    ) -> Result<std::result::Result<Response, Refusal>> {
        self.within(None).ask(operation, key, body)
    }

    fn ask_by(
        &self,
        deadline: Deadline,
        operation: &'static str,
        key: Option<&str>,
        body: &Zeroizing<Vec<u8>>,
    ) -> Result<std::result::Result<Response, Refusal>> {
        let places = self.places()?;
        let region = places.region(key)?;
        let channel = self.channel(&places, &region)?;
        let mut credentials = self.current(deadline)?;
        let (mut is_renewed, mut is_corrected) = (false, false);
        loop {
            let signer = Some((&credentials, &*region));
            let response = self.send(deadline, &*channel, operation, body, signer)?;
            if response.status == 200 {
                return match Object::read(&response.body) {
                    Some(_) => Ok(Ok(response)),
                    None => Err(no_service(operation, &places.endpoints(&region)?)),
                };
            }
            let failure = Failure::read(&response);
            let remedy = failure.remedy();
            if remedy == Remedy::Clock && !is_corrected && self.correct_clock(&failure) {
                is_corrected = true;
                continue;
            }
            if remedy != Remedy::Nothing && !is_renewed {
                is_renewed = true;
                let renewed =
                    self.credentials
                        .renew(&credentials, &*self.outside, self.now(), deadline);
                match renewed {
                    Ok(Some(renewed)) => {
                        credentials = renewed;
                        continue;
                    }
                    Ok(None) => {}
                    // That the service refused the old ones is the better reason.
                    Err(error) => log::warn!("AWS credentials could not be renewed: {error}"),
                }
            }
            return Ok(Err(Refusal {
                failure,
                credentials,
            }));
        }
    }

    /// Asks in a region without credentials, which the service refuses: what it says of the time counts.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub(super) fn ask_unsigned(&self, region: &str) -> Result<Response> {
        let channel = self.channel(&*self.places()?, region)?;
        let body = Zeroizing::new(b"{}".to_vec());
        self.send(self.begin()?, &*channel, "ListKeys", &body, None)
    }

    /// The credentials of now.
    ///
    /// # Errors
    /// What keeps them from being found.
    pub(super) fn credentials(&self) -> Result<Arc<Credentials>> {
        self.current(self.begin()?)
    }

    fn current(&self, deadline: Deadline) -> Result<Arc<Credentials>> {
        self.credentials
            .current(&*self.outside, self.now(), deadline)
    }

    /// The end of an operation that begins now.
    fn begin(&self) -> Result<Deadline> {
        Deadline::of(&self.settings)
    }

    /// Where requests go.
    ///
    /// # Errors
    /// What is wrong with the settings.
    pub(super) fn places(&self) -> Result<Arc<Places>> {
        let mut places = self.places.lock();
        if let Some(places) = &*places {
            return Ok(places.clone());
        }
        let found = Arc::new(Places::find(&self.settings, &self.surroundings)?);
        *places = Some(found.clone());
        Ok(found)
    }

    /// The way to a region's endpoints.
    ///
    /// # Errors
    /// What is wrong with the settings.
    pub(super) fn channel(&self, places: &Places, region: &str) -> Result<Arc<dyn Channel>> {
        let mut channels = self.channels.lock();
        if let Some(channel) = channels.get(region) {
            return Ok(channel.clone());
        }
        let channel: Arc<dyn Channel> = self.outside.service(places.endpoints(region)?)?.into();
        channels.insert(region.to_owned(), channel.clone());
        Ok(channel)
    }

    /// What time it is here.
    pub(super) fn local_time(&self) -> SystemTime {
        self.outside.now()
    }

    /// What time the service has.
    fn now(&self) -> SystemTime {
        let skew = self.skew.load(Ordering::Relaxed);
        let difference = Duration::from_secs(skew.unsigned_abs());
        let now = self.outside.now();
        let moved = match skew < 0 {
            true => now.checked_sub(difference),
            false => now.checked_add(difference),
        };
        moved.unwrap_or(now)
    }

    /// Takes over the service's time. Says whether it differs from what was thought.
    fn correct_clock(&self, failure: &Failure) -> bool {
        let Some(theirs) = failure.service_time() else {
            return false;
        };
        let skew = difference(theirs, self.outside.now());
        let known = self.skew.load(Ordering::Relaxed);
        if (skew - known).abs() <= SKEW {
            return false;
        }
        log::warn!(
            "the clock of AWS KMS is {skew} seconds ahead of this machine's: signatures follow it"
        );
        self.skew.store(skew, Ordering::Relaxed);
        true
    }

    fn send(
        &self,
        deadline: Deadline,
        channel: &dyn Channel,
        operation: &'static str,
        body: &Zeroizing<Vec<u8>>,
        signer: Option<(&Arc<Credentials>, &str)>,
    ) -> Result<Response> {
        let target = format!("TrentService.{operation}");
        channel.send(&Exchange {
            name: operation,
            // Nothing is used up by a request, and nothing but a bill tells that there were two.
            repeat: Repeat::Always,
            deadline,
            prepare: &|endpoint| {
                let plain = [("content-type", CONTENT_TYPE), ("x-amz-target", &*target)];
                let mut headers = match signer {
                    // What is signed is the path that the service sees.
                    Some(_) if !endpoint.base.is_empty() => {
                        return Err(TokenError::Unreachable(Reason::new(
                            "the endpoint of AWS KMS has no path: configure it without one",
                        )));
                    }
                    Some((credentials, region)) => {
                        let host = endpoint.authority();
                        let signed = Signed {
                            host: &host,
                            headers: &plain,
                            body,
                        };
                        self.signer.sign(credentials, region, self.now(), &signed)?
                    }
                    None => Vec::new(),
                };
                let plain = [("Content-Type", CONTENT_TYPE), ("X-Amz-Target", &*target)];
                headers.extend(plain.map(|(name, value)| (name, Zeroizing::new(value.to_owned()))));
                Ok(Request {
                    method: Method::Post,
                    target: "/".to_owned(),
                    headers,
                    body: body.clone(),
                })
            },
            // Who asks without credentials wants the refusal itself.
            judge: if signer.is_some() {
                &judge
            } else {
                &|_| Verdict::Final
            },
        })
    }
}

/// What answers with something else is no KMS: a captive portal, another service's address.
fn no_service(operation: &str, endpoints: &[Endpoint]) -> TokenError {
    let hosts: Vec<_> = endpoints.iter().map(Endpoint::authority).collect();
    TokenError::Corrupted(Reason::new(format!(
        "{} answers {operation} with no JSON object: check that `endpoints`, or the region, leads to AWS KMS",
        hosts.join(", ")
    )))
}

/// By how many seconds `a` is later than `b`.
pub(super) fn difference(a: SystemTime, b: SystemTime) -> i64 {
    let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    match a.duration_since(b) {
        Ok(later) => seconds(later),
        Err(earlier) => -seconds(earlier.duration()),
    }
}
