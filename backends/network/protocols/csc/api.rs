//! Calls of the API: one method each, in our name, with what the service answers told apart.

use std::{cell::RefCell, fmt, ops::Deref, sync::Arc, time::Duration};

use ctk_token::{Reason, Result, TokenError};
use parking_lot::Mutex;
use zeroize::Zeroizing;

use crate::{
    Finding, base64,
    http::{
        Client, Deadline, Endpoint, Exchange, Method, Repeat, Request, Response, judge_by_status,
    },
    json::{Body, Object},
};

use super::{
    error::{Failure, Problem, Refusal, shown},
    facts::Version,
    identity::{self, Identity},
    info::Info,
    options::{Authentication, Options},
    totp::{Clock, Generator},
};

/// What carries requests: an HTTP client, or a test's script.
pub(super) trait Wire: Send + Sync {
    /// As [`Client::send`].
    fn send(&self, exchange: &Exchange<'_>) -> Result<Response>;

    /// As [`Client::check`].
    fn check(&self, findings: &mut dyn FnMut(Finding)) -> bool;
}

impl Wire for Client {
    fn send(&self, exchange: &Exchange<'_>) -> Result<Response> {
        Self::send(self, exchange)
    }

    fn check(&self, findings: &mut dyn FnMut(Finding)) -> bool {
        Self::check(self, findings)
    }
}

/// Makes a wire to endpoints.
pub(super) type Connect = dyn Fn(Vec<Endpoint>) -> Result<Arc<dyn Wire>> + Send + Sync;

/// A service, and what is known of it and of us there.
pub(super) struct Remote {
    pub(super) options: Options,
    pub(super) clock: Clock,
    pub(super) passwords: Generator,
    wire: Arc<dyn Wire>,
    identity: Identity,
    info: Mutex<Option<Arc<Info>>>,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote")
            .field("endpoints", &self.options.endpoints)
            .finish_non_exhaustive()
    }
}

impl Remote {
    /// Touches no network.
    ///
    /// # Errors
    /// Those of `connect`.
    pub(super) fn new(options: Options, clock: Clock, connect: Arc<Connect>) -> Result<Self> {
        Ok(Self {
            wire: connect(options.endpoints.clone())?,
            identity: Identity::new(connect),
            info: Mutex::default(),
            passwords: Generator::default(),
            options,
            clock,
        })
    }

    /// The endpoint that is named to a person and that says the version if nobody does.
    pub(super) fn endpoint(&self) -> &Endpoint {
        // `Options` has at least one.
        static NONE: Endpoint = Endpoint {
            scheme: "https",
            host: String::new(),
            port: 443,
            base: String::new(),
        };
        self.options.endpoints.first().unwrap_or(&NONE)
    }

    /// The service as a person is told of it: its host, and its port if that is not the usual one.
    pub(super) fn place(&self) -> String {
        self.endpoint().authority()
    }

    /// What is asked of it for one operation, which begins now and ends within the total time.
    pub(super) fn begin(&self) -> Api<'_> {
        Api {
            remote: self,
            deadline: Deadline::after(Duration::from_secs(self.options.total_timeout)),
        }
    }

    /// The same for an operation that has begun.
    pub(super) fn within(&self, deadline: Deadline) -> Api<'_> {
        Api {
            remote: self,
            deadline,
        }
    }

    /// Takes note of where tokens come from, as it was stored, so that nobody has to ask; the first that is told counts.
    pub(super) fn remember_token_url(&self, url: &str) {
        self.identity.remember_token_url(url);
    }

    pub(super) fn wire(&self) -> &dyn Wire {
        &*self.wire
    }
}

/// A service, spoken to in our name for one operation: whatever that asks and waits for is over by one deadline.
#[derive(Clone, Copy, Debug)]
pub(super) struct Api<'a> {
    remote: &'a Remote,
    pub(super) deadline: Deadline,
}

impl Deref for Api<'_> {
    type Target = Remote;

    fn deref(&self) -> &Remote {
        self.remote
    }
}

impl Api<'_> {
    /// Calls a method and answers with its answer, 2xx. Where the service does not take our access token, it is asked once
    /// more with a new one.
    ///
    /// # Errors
    /// [`Refusal::Token`] if it does not know us whatever we do; [`Refusal::Unauthorized`] is for something else in a request
    /// that has secrets of the owner.
    pub(super) fn call(
        &self,
        operation: &'static str,
        repeat: Repeat,
        body: Body,
        version: Version,
    ) -> std::result::Result<Response, Failure> {
        let body = body.finish();
        let authorization = self.identity.authorization(self, version)?;
        let answer = self.send(operation, repeat, &body, authorization.as_deref());
        let Err(failure) = answer else {
            return answer;
        };
        // Somebody's secret is not sent again before it is certain that nobody has looked at it.
        let has_to_ask = failure.refusal() == Some(Refusal::Unauthorized)
            && repeat == Repeat::Unsent
            && !secrets(&body).is_empty();
        let is_known = |authorization: Option<&Zeroizing<String>>| match has_to_ask {
            true => self.is_known(&body, authorization),
            false => Ok(false),
        };
        let may_be_of_us = matches!(
            failure.refusal(),
            Some(Refusal::Token | Refusal::Unauthorized)
        );
        if !may_be_of_us || is_known(authorization.as_deref())? {
            return Err(failure);
        }
        let failure = failure.being(Refusal::Token);
        let Some(refused) = &authorization else {
            return Err(failure);
        };
        self.identity.forget(refused);
        let renewed = self.identity.authorization(self, version)?;
        if renewed == authorization || (has_to_ask && !is_known(renewed.as_deref())?) {
            return Err(failure);
        }
        self.send(operation, repeat, &body, renewed.as_deref())
    }

    /// Whether the service knows who asks. A service that answers 401 may mean a wrong PIN by it, which must not be sent
    /// again; so it is asked for something that only wants to know us.
    fn is_known(
        &self,
        body: &[u8],
        authorization: Option<&Zeroizing<String>>,
    ) -> std::result::Result<bool, Failure> {
        let credential = Object::read(body).and_then(|object| object.text("credentialID"));
        let body = Body::new().optional("credentialID", credential.as_deref());
        let answer = self.send(
            "credentials/info",
            Repeat::Always,
            &body.finish(),
            authorization,
        );
        // What stands before a service throttles before anybody looks at who asks.
        if answer.as_ref().is_err_and(Failure::is_for_later) {
            return answer.map(|_| true);
        }
        match answer.as_ref().err().and_then(Failure::refusal) {
            Some(Refusal::Token | Refusal::Unauthorized) => Ok(false),
            Some(Refusal::Unavailable) | None => answer.map(|_| true),
            Some(_) => Ok(true),
        }
    }

    /// The same in the name of whoever this header names.
    pub(super) fn send(
        &self,
        operation: &'static str,
        repeat: Repeat,
        body: &Zeroizing<Vec<u8>>,
        authorization: Option<&Zeroizing<String>>,
    ) -> std::result::Result<Response, Failure> {
        let prepare = || {
            let mut headers = json_headers();
            headers.extend(authorization.map(|value| ("Authorization", value.clone())));
            Ok(Request {
                method: Method::Post,
                target: format!("/{operation}"),
                headers,
                body: body.clone(),
            })
        };
        send(
            &*self.wire,
            operation,
            repeat,
            self.deadline,
            &prepare,
            &|| {
                let header = authorization.map(|header| of_header(header));
                secrets(body)
                    .into_iter()
                    .chain(header.into_iter().flatten())
                    .collect()
            },
        )
    }

    /// What the service says of itself; asked for once. A service that does not say is taken for what its address says.
    ///
    /// # Errors
    /// What keeps it from being reached.
    pub(super) fn info(&self) -> Result<Arc<Info>> {
        Ok(self.ask_info()?.0)
    }

    /// The same, with the answer if it had to be asked for.
    pub(super) fn ask_info(&self) -> Result<(Arc<Info>, Option<Response>)> {
        if let Some(known) = &*self.info.lock() {
            return Ok((known.clone(), None));
        }
        let body = Body::new().finish();
        let (info, answer) = match self.send("info", Repeat::Always, &body, None) {
            Ok(answer) => (Info::read(&answer.body, self.endpoint()), Some(answer)),
            Err(Failure::Refused(problem)) if problem.refusal != Refusal::Unavailable => {
                log::info!("{}", problem.reason);
                (None, None)
            }
            Err(failure) => return Err(failure.into()),
        };
        let info = Arc::new(info.unwrap_or_else(|| Info::assumed(self.endpoint())));
        *self.info.lock() = Some(info.clone());
        Ok((info, answer))
    }

    /// Where tokens come from by what the service says, if we need any and nobody has configured it. Our secrets go to another
    /// host than the service's only if a person has said so.
    ///
    /// # Errors
    /// [`TokenError::Refused`] with what to do.
    pub(super) fn token_url(&self, info: &Info) -> Result<Option<String>> {
        let is_needed = matches!(
            self.options.authentication,
            Authentication::OAuth2Client | Authentication::OAuth2Password
        );
        if !is_needed || self.options.token_url.is_some() {
            return Ok(None);
        }
        let url = info.token_url(self.endpoint());
        let (base, _) = identity::split(&url);
        let mut hosts = self.options.endpoints.iter().map(|endpoint| &endpoint.host);
        let is_ours = |endpoint: Endpoint| hosts.any(|host| *host == endpoint.host);
        if !Endpoint::parse(base).is_ok_and(is_ours) {
            return Err(TokenError::Refused(Reason::new(format!(
                "{} says that access tokens come from {}, which is another host: if that is right, set `token_url` to it",
                self.place(),
                shown(&url)
            ))));
        }
        self.remember_token_url(&url);
        Ok(Some(url))
    }

    /// Whether we are somebody to the service; nothing is asked that needs a right.
    pub(super) fn authenticate(&self, version: Version) -> Result<()> {
        self.identity.authorization(self, version).map(drop)
    }

    /// An answer that is JSON.
    pub(super) fn object<'a>(&self, operation: &str, answer: &'a Response) -> Result<Object<'a>> {
        Object::read(&answer.body).ok_or_else(|| self.nonsense(operation, "no JSON object"))
    }

    /// What an answer is that is none.
    pub(super) fn nonsense(&self, operation: &str, what: &str) -> TokenError {
        let place = self.place();
        TokenError::Corrupted(Reason::new(format!(
            "{place} answers {operation} with {what}: check that `endpoints` has the path of its CSC API"
        )))
    }
}

/// What a body of JSON comes with.
pub(super) fn json_headers() -> Vec<(&'static str, Zeroizing<String>)> {
    [
        ("Content-Type", "application/json"),
        ("Accept", "application/json"),
    ]
    .map(|(name, value)| (name, Zeroizing::new(value.to_owned())))
    .to_vec()
}

/// The secrets in a body of ours.
fn secrets(body: &[u8]) -> Vec<Zeroizing<String>> {
    let Some(object) = Object::read(body) else {
        return Vec::new();
    };
    let own = ["PIN", "OTP", "SAD"].iter();
    let own = own.filter_map(|name| object.secret(name));
    let data = object.objects("authData").into_iter();
    own.chain(data.filter_map(|object| object.secret("value")))
        .collect()
}

/// The secrets in an Authorization header: what comes after its scheme, and the password in that.
fn of_header(header: &str) -> Vec<Zeroizing<String>> {
    let Some((scheme, value)) = header.split_once(' ') else {
        return Vec::new();
    };
    let mut secrets = vec![Zeroizing::new(value.to_owned())];
    let pair = base64::decode(value).filter(|_| scheme == "Basic");
    let pair = pair
        .as_ref()
        .and_then(|pair| std::str::from_utf8(pair).ok());
    if let Some((_, password)) = pair.and_then(|pair| pair.split_once(':')) {
        secrets.push(Zeroizing::new(password.to_owned()));
    }
    secrets
}

/// Sends a request over a wire, and tells an answer of 2xx from a refusal, which is not shown if it repeats a secret of the
/// request.
pub(super) fn send(
    wire: &dyn Wire,
    operation: &'static str,
    repeat: Repeat,
    deadline: Deadline,
    prepare: &dyn Fn() -> Result<Request>,
    secrets: &dyn Fn() -> Vec<Zeroizing<String>>,
) -> std::result::Result<Response, Failure> {
    let place = RefCell::new(String::new());
    let answer = wire.send(&Exchange {
        name: operation,
        repeat,
        deadline,
        prepare: &|endpoint| {
            *place.borrow_mut() = endpoint.authority();
            prepare()
        },
        // What may be spent is not sent again, but the next request begins elsewhere.
        judge: &judge_by_status,
    })?;
    match answer.status {
        200..300 => Ok(answer),
        _ => Err(Failure::Refused(Problem::read(
            operation,
            &place.borrow(),
            &answer,
            &secrets(),
        ))),
    }
}
