//! How a connection comes about: name, TCP, proxy, TLS.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use ctk_crypto::tls::{TlsClient, TlsProblem};
use ctk_token::Result as TokenResult;
use ureq::unversioned::transport::{ConnectionDetails, Connector};

use super::{
    endpoint::{Endpoint, bracketed},
    failure::{Cause, Failure},
    names::Names,
    proxy::{Proxies, Proxy},
    security::Security,
    settings::Limits,
    transport::{Connection, feed},
    wait::{Wait, WaitError, is_timeout},
};
use crate::{Settings, Surroundings};

/// The way to a token's endpoints.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) limits: Limits,
    pub(super) proxies: Proxies,
    names: Names,
    security: Security,
}

impl Way {
    pub(super) fn new(
        settings: &Settings,
        surroundings: &Surroundings,
        endpoints: Vec<Endpoint>,
    ) -> TokenResult<Self> {
        Ok(Self {
            endpoints,
            limits: Limits::of(settings)?,
            proxies: Proxies::of(settings, surroundings)?,
            names: Names::default(),
            security: Security::of(settings)?,
        })
    }

    /// The same way for another process: with nothing in it that this one has made.
    pub(super) fn anew(&self) -> Self {
        Self {
            endpoints: self.endpoints.clone(),
            limits: self.limits,
            proxies: self.proxies.clone(),
            names: Names::default(),
            security: self.security.anew(),
        }
    }

    /// A connection on which requests can be sent.
    fn open(&self, endpoint: &Endpoint, until: Instant) -> Result<Connection, Failure> {
        let wait = Wait::until(until);
        let hop = self.hop(endpoint)?;
        let addresses = self.addresses(&hop, until)?;
        if wait.left().is_err() {
            let host = hop.host();
            return Err(Failure::unreachable(format!(
                "looking up the name {host} took all of the time: does DNS work (see resolv.conf)? Or raise connect_timeout"
            )));
        }
        let stream = self.connect(&hop, &addresses, &wait)?;
        let tls = self.secure(&hop, &stream, &wait)?;
        Ok(Connection::new(endpoint.host_and_port(), stream, tls))
    }

    /// Where the TCP connection for an endpoint goes.
    ///
    /// # Errors
    /// A proxy that cannot be used.
    pub(super) fn hop<'a>(&'a self, endpoint: &'a Endpoint) -> Result<Hop<'a>, Failure> {
        let proxy = self.proxies.of_endpoint(endpoint)?;
        Ok(Hop { endpoint, proxy })
    }

    /// The addresses of the next host; at least one. If another thread looks them up, it is waited for until then.
    pub(super) fn addresses(&self, hop: &Hop<'_>, until: Instant) -> Result<Vec<IpAddr>, Failure> {
        let host = hop.host();
        let mut addresses = self.names.addresses(host, until).map_err(|error| {
            Failure::unreachable(format!(
                "the name {host} cannot be looked up ({error}): is it right, and is the network up?"
            ))
        })?;
        if hop.proxy.is_none() {
            addresses.retain(|address| hop.endpoint.allows(*address));
        }
        if addresses.is_empty() {
            return Err(Failure::misconfigured(format!(
                "{host} is not this machine: use https://, so that nobody on the way reads the secrets"
            )));
        }
        Ok(addresses)
    }

    /// TCP to the first address that answers.
    pub(super) fn connect(
        &self,
        hop: &Hop<'_>,
        addresses: &[IpAddr],
        wait: &Wait,
    ) -> Result<TcpStream, Failure> {
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for (tried, ip) in addresses.iter().enumerate() {
            let Ok(left) = wait.left() else {
                last = io::ErrorKind::TimedOut.into();
                break;
            };
            // Each gets its share, so that an address that swallows everything leaves time for the next.
            let share = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
            let address = SocketAddr::new(*ip, hop.port());
            match TcpStream::connect_timeout(&address, left / share) {
                Ok(stream) => {
                    // Head and body leave together: nothing is gained by waiting for more.
                    let _ = stream.set_nodelay(true);
                    if tried > 0 {
                        self.names.prefer(hop.host(), *ip);
                    }
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        self.names.doubt(hop.host());
        Err(Failure::unreachable(hop.unconnected(&last)))
    }

    /// Through the proxy, if there is one, and TLS, if the endpoint has it.
    pub(super) fn secure(
        &self,
        hop: &Hop<'_>,
        stream: &TcpStream,
        wait: &Wait,
    ) -> Result<Option<TlsClient>, Failure> {
        if let Some(proxy) = hop.proxy {
            proxy.connect(stream, hop.endpoint, wait)?;
        }
        if !hop.endpoint.is_tls() {
            return Ok(None);
        }
        let place = hop.endpoint.host_and_port();
        let mut tls = self
            .security
            .context()?
            .connect(&hop.endpoint.host)
            .map_err(|error| Failure::misconfigured(format!("{place}: {error}")))?;
        shake_hands(&mut tls, stream, wait, &place)?;
        Ok(Some(tls))
    }
}

/// The host that a TCP connection goes to: the proxy's, or the endpoint's.
pub(super) struct Hop<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) proxy: Option<&'a Proxy>,
}

impl Hop<'_> {
    pub(super) fn host(&self) -> &str {
        self.proxy.map_or(&self.endpoint.host, |proxy| &proxy.host)
    }

    fn port(&self) -> u16 {
        self.proxy.map_or(self.endpoint.port, |proxy| proxy.port)
    }

    /// For a person.
    pub(super) fn place(&self) -> String {
        let place = format!("{}:{}", bracketed(self.host()), self.port());
        match self.proxy {
            Some(_) => format!("the proxy {place}"),
            None => place,
        }
    }

    fn unconnected(&self, error: &io::Error) -> String {
        let place = self.place();
        match error.kind() {
            io::ErrorKind::ConnectionRefused => format!(
                "{place} refuses the connection: is the service running, and is this its port?"
            ),
            _ if is_timeout(error) => format!(
                "{place} does not answer: is the service up, does a firewall stand between, is a proxy needed?"
            ),
            _ => format!("no connection to {place} ({error}): is the network up?"),
        }
    }
}

fn shake_hands(
    tls: &mut TlsClient,
    stream: &TcpStream,
    wait: &Wait,
    place: &str,
) -> Result<(), Failure> {
    let failed = |error: WaitError| {
        Failure::unreachable(match error {
            WaitError::Silent | WaitError::OutOfTime => {
                format!("{place} does not finish the TLS handshake in time: is this an https port?")
            }
            WaitError::Io(error) => format!(
                "{place} ends the connection during the TLS handshake ({error}): is this an https port?"
            ),
        })
    };
    loop {
        let step = tls.handshake();
        // Also after a failure: an alert says to the server why.
        let sent = wait.write_all(stream, tls.outgoing());
        tls.outgoing().clear();
        match step {
            Ok(true) => return sent.map_err(failed),
            Ok(false) => sent.map_err(failed)?,
            Err(error) => {
                let reason = format!("{place}: {error}");
                return Err(match error.problem {
                    // A service that restarts ends connections at any time.
                    TlsProblem::Broken => Failure::unreachable(reason),
                    _ => Failure::misconfigured(reason),
                });
            }
        }
        feed(tls, stream, wait).map_err(failed)?;
    }
}

/// What `ureq` makes its connections with.
#[derive(Debug)]
pub(super) struct WayConnector(pub(super) Arc<Way>);

impl Connector for WayConnector {
    type Out = Connection;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<Connection>, ureq::Error> {
        let authority = details.uri.authority().map(|authority| authority.as_str());
        let scheme = details.uri.scheme_str();
        let endpoint = self.0.endpoints.iter().find(|endpoint| {
            Some(endpoint.scheme) == scheme && Some(endpoint.authority().as_str()) == authority
        });
        let Some(endpoint) = endpoint else {
            return Err(
                Failure::unsent(Cause::Unmade(ctk_token::TokenError::BadParameter)).into_ureq(),
            );
        };
        let time = (*details.timeout.after).min(Duration::from_secs(86_400));
        self.0
            .open(endpoint, Instant::now() + time)
            .map(Some)
            .map_err(Failure::into_ureq)
    }
}
