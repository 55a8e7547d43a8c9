//! Addresses of names, as the system's resolver tells them, remembered for a while.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, ToSocketAddrs},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use ureq::{
    config::Config,
    http::Uri,
    unversioned::{
        resolver::{ResolvedSocketAddrs, Resolver},
        transport::NextTimeout,
    },
};

/// How long an answer is used without asking again. Services move with DNS, so it is short.
const FRESH: Duration = Duration::from_secs(60);

/// How long an old answer is used when there is no new one, so that not each connection waits for a resolver that is dead.
const STALE: Duration = Duration::from_secs(10);

/// How many addresses of a name are tried.
const MAX_ADDRESSES: usize = 16;

/// What was looked up in this process.
///
/// The resolver is the system's, called in the caller's thread: how long it takes is a matter of resolv.conf (by default
/// up to 5 seconds for each server and try), and no timeout of ours can end it. A name that was found once is known for as
/// long as the process lives, so that a service goes on working when DNS does not.
#[derive(Debug, Default)]
pub(super) struct Names(Mutex<BTreeMap<String, Known>>);

#[derive(Clone, Debug)]
struct Known {
    addresses: Vec<IpAddr>,
    /// When to ask again.
    until: Instant,
}

impl Names {
    /// The addresses of a host, in the system's order; at least one.
    ///
    /// # Errors
    /// What the resolver says, or that it knows no address.
    pub(super) fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        self.addresses_by(host, &resolve)
    }

    /// Asks again next time: nobody answers at the addresses that are known.
    pub(super) fn doubt(&self, host: &str) {
        if let Some(known) = self.0.lock().get_mut(host) {
            known.until = Instant::now();
        }
    }

    fn addresses_by(
        &self,
        host: &str,
        resolve: &dyn Fn(&str) -> io::Result<Vec<IpAddr>>,
    ) -> io::Result<Vec<IpAddr>> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let known = self.0.lock().get(host).cloned();
        if let Some(known) = &known
            && Instant::now() < known.until
        {
            return Ok(known.addresses.clone());
        }
        // No lock is held while the resolver works.
        match (resolve(host), known) {
            (Ok(addresses), _) if !addresses.is_empty() => {
                let known = Known {
                    addresses: addresses.clone(),
                    until: Instant::now() + FRESH,
                };
                self.0.lock().insert(host.to_owned(), known);
                Ok(addresses)
            }
            (result, Some(mut known)) => {
                known.until = Instant::now() + STALE;
                self.0.lock().insert(host.to_owned(), known.clone());
                let error = result.err().map(|error| error.to_string());
                log::debug!(
                    "{host}: its known addresses are used, looking it up failed: {}",
                    error.as_deref().unwrap_or("no address")
                );
                Ok(known.addresses)
            }
            (Ok(_), None) => Err(io::Error::other("it has no address")),
            (Err(error), None) => Err(error),
        }
    }
}

fn resolve(host: &str) -> io::Result<Vec<IpAddr>> {
    // The port is none that matters: the system wants one.
    let found = (host, 443).to_socket_addrs()?;
    let mut addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
    addresses.dedup();
    addresses.truncate(MAX_ADDRESSES);
    Ok(addresses)
}

/// A resolver that looks nothing up: `ureq` asks it before each request, also for one over a connection that is there
/// already, and its own starts a thread. The connector asks [`Names`] when it makes a connection.
#[derive(Debug)]
pub(super) struct LaterResolver;

impl Resolver for LaterResolver {
    fn resolve(
        &self,
        _: &Uri,
        _: &Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        Ok(self.empty())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_name_is_asked_for_once_and_known_when_dns_is_dead() {
        let names = Names::default();
        let asked = Cell::new(0);
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let alive = |_: &str| {
            asked.set(asked.get() + 1);
            Ok(vec![address])
        };
        let dead = |_: &str| Err(io::Error::other("dead"));
        assert!(names.addresses_by("a.example", &dead).is_err());
        assert!(names.addresses_by("a.example", &|_| Ok(vec![])).is_err());
        for _ in 0..3 {
            assert_eq!(names.addresses_by("a.example", &alive).unwrap(), [address]);
        }
        assert_eq!(asked.get(), 1);
        names.doubt("a.example");
        for answer in [&dead as &dyn Fn(&str) -> _, &|_: &str| Ok(vec![])] {
            assert_eq!(names.addresses_by("a.example", answer).unwrap(), [address]);
            // And not asked for again at once.
            assert_eq!(names.addresses_by("a.example", &alive).unwrap(), [address]);
            assert_eq!(asked.get(), 1);
            names.doubt("a.example");
        }
        assert_eq!(names.addresses_by("a.example", &alive).unwrap(), [address]);
        assert_eq!(asked.get(), 2);
    }

    #[test]
    fn addresses_need_no_resolver() {
        let names = Names::default();
        let never = |_: &str| -> io::Result<Vec<IpAddr>> { panic!("asked") };
        for text in ["192.0.2.1", "2001:db8::1"] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(names.addresses_by(text, &never).unwrap(), [address]);
        }
        assert!(Names::default().addresses("localhost").unwrap()[0].is_loopback());
    }
}
