//! Addresses of names, as the system's resolver tells them, remembered for a while.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, ToSocketAddrs},
    sync::Arc,
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

/// How long an old answer, or none, is used when there is no new one, so that not each connection waits for a resolver that
/// is dead.
const STALE: Duration = Duration::from_secs(10);

/// How many addresses of a name are tried.
const MAX_ADDRESSES: usize = 16;

/// What was looked up in this process.
///
/// The resolver is the system's, called in the caller's thread: how long it takes is a matter of resolv.conf (by default
/// up to 5 seconds for each server and try), and no timeout of ours can end it. So it is asked by one thread at a time for
/// each name, and not again at once if it fails; and a name that was found once is known for as long as the process lives,
/// so that a service goes on working when DNS does not.
#[derive(Debug, Default)]
pub(super) struct Names {
    known: Mutex<BTreeMap<String, Known>>,
    /// Held while a name is looked up.
    asking: Mutex<BTreeMap<String, Arc<Mutex<()>>>>,
}

#[derive(Clone, Debug)]
struct Known {
    /// Or why there are none.
    addresses: Result<Vec<IpAddr>, String>,
    /// Whether the resolver said so the last time that it was asked; otherwise it failed.
    is_answer: bool,
    /// When to ask again.
    until: Instant,
}

impl Names {
    /// The addresses of a host, in the system's order but for [`prefer`](Self::prefer); at least one. A thread that
    /// looks the name up already is waited for until then.
    ///
    /// # Errors
    /// What the resolver says, or that it knows no address.
    pub(super) fn addresses(&self, host: &str, until: Instant) -> Result<Vec<IpAddr>, String> {
        self.addresses_by(host, until, &resolve)
    }

    /// Asks again next time: nobody answers at the addresses that are known. A resolver that has just failed is left alone
    /// all the same: where the network is away, both are.
    pub(super) fn doubt(&self, host: &str) {
        if let Some(known) = self.known.lock().get_mut(host)
            && known.is_answer
        {
            known.until = Instant::now();
        }
    }

    /// Tries this address first from now on, because those before it did not answer.
    pub(super) fn prefer(&self, host: &str, address: IpAddr) {
        if let Some(known) = self.known.lock().get_mut(host)
            && let Ok(addresses) = &mut known.addresses
        {
            // The others stay in their order.
            addresses.sort_by_key(|other| *other != address);
        }
    }

    fn addresses_by(
        &self,
        host: &str,
        until: Instant,
        resolve: &dyn Fn(&str) -> io::Result<Vec<IpAddr>>,
    ) -> Result<Vec<IpAddr>, String> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        if let Some(fresh) = self.fresh(host) {
            return fresh;
        }
        let asking = {
            let mut all = self.asking.lock();
            Arc::clone(all.entry(host.to_owned()).or_default())
        };
        let Some(_asking) = asking.try_lock_until(until) else {
            return Err("the resolver does not answer".to_owned());
        };
        // What another thread has found meanwhile is good for this one too.
        if let Some(fresh) = self.fresh(host) {
            return fresh;
        }
        // The lock of what is known is not held while the resolver works.
        let found = match resolve(host) {
            Ok(addresses) if addresses.is_empty() => Err("it has no address".to_owned()),
            Ok(addresses) => Ok(addresses),
            Err(error) => Err(error.to_string()),
        };
        let mut all = self.known.lock();
        let before = all.get(host).and_then(|known| known.addresses.clone().ok());
        let is_answer = found.is_ok();
        let (addresses, time) = match (found, before) {
            (Ok(mut addresses), before) => {
                let preferred = before.and_then(|before| before.first().copied());
                addresses.sort_by_key(|address| Some(*address) != preferred);
                (Ok(addresses), FRESH)
            }
            (Err(why), Some(before)) => {
                log::debug!("{host}: its known addresses are used, looking it up failed: {why}");
                (Ok(before), STALE)
            }
            (Err(why), None) => (Err(why), STALE),
        };
        let known = Known {
            addresses: addresses.clone(),
            is_answer,
            until: Instant::now() + time,
        };
        all.insert(host.to_owned(), known);
        addresses
    }

    /// What need not be asked for.
    fn fresh(&self, host: &str) -> Option<Result<Vec<IpAddr>, String>> {
        let all = self.known.lock();
        let known = all.get(host).filter(|known| Instant::now() < known.until)?;
        Some(known.addresses.clone())
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
    use std::{cell::Cell, sync::Barrier};

    use super::*;

    fn soon() -> Instant {
        Instant::now() + FRESH
    }

    /// Has all be asked for again, as after a while.
    fn age(names: &Names) {
        for known in names.known.lock().values_mut() {
            known.until = Instant::now();
        }
    }

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
        let ask = |how: &dyn Fn(&str) -> io::Result<Vec<IpAddr>>| {
            names.addresses_by("a.example", soon(), how)
        };
        assert_eq!(ask(&dead).unwrap_err(), "dead");
        // That is remembered for a while.
        assert_eq!(ask(&alive).unwrap_err(), "dead");
        names.doubt("a.example");
        assert_eq!(ask(&alive).unwrap_err(), "dead");
        age(&names);
        assert_eq!(ask(&|_| Ok(vec![])).unwrap_err(), "it has no address");
        age(&names);
        for _ in 0..3 {
            assert_eq!(ask(&alive).unwrap(), [address]);
        }
        assert_eq!(asked.get(), 1);
        names.doubt("a.example");
        for answer in [&dead as &dyn Fn(&str) -> _, &|_: &str| Ok(vec![])] {
            assert_eq!(ask(answer).unwrap(), [address]);
            // And not asked for again at once, also if nobody answers there.
            assert_eq!(ask(&alive).unwrap(), [address]);
            names.doubt("a.example");
            assert_eq!(ask(&alive).unwrap(), [address]);
            assert_eq!(asked.get(), 1);
            age(&names);
        }
        assert_eq!(ask(&alive).unwrap(), [address]);
        assert_eq!(asked.get(), 2);
    }

    #[test]
    fn an_address_that_answered_is_tried_first() {
        let names = Names::default();
        let all: Vec<IpAddr> = ["2001:db8::1", "192.0.2.1", "192.0.2.2"]
            .map(|text| text.parse().unwrap())
            .into();
        let ask = || names.addresses_by("a.example", soon(), &|_| Ok(all.clone()));
        assert_eq!(ask().unwrap(), all);
        names.prefer("a.example", all[1]);
        let preferred = [all[1], all[0], all[2]];
        assert_eq!(ask().unwrap(), preferred);
        // Also when the name is looked up again.
        names.doubt("a.example");
        assert_eq!(ask().unwrap(), preferred);
    }

    #[test]
    fn a_resolver_that_hangs_is_asked_by_one_thread() {
        let names = Names::default();
        let (begun, over) = (Barrier::new(2), Barrier::new(2));
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        std::thread::scope(|scope| {
            let slow = scope.spawn(|| {
                names.addresses_by("a.example", soon(), &|_| {
                    begun.wait();
                    over.wait();
                    Ok(vec![address])
                })
            });
            begun.wait();
            let never = |_: &str| -> io::Result<Vec<IpAddr>> { panic!("asked twice") };
            let short = Instant::now() + Duration::from_millis(20);
            assert!(names.addresses_by("a.example", short, &never).is_err());
            let waiting = scope.spawn(|| {
                let never = |_: &str| -> io::Result<Vec<IpAddr>> { panic!("asked twice") };
                names.addresses_by("a.example", soon(), &never)
            });
            over.wait();
            assert_eq!(slow.join().unwrap().unwrap(), [address]);
            assert_eq!(waiting.join().unwrap().unwrap(), [address]);
        });
    }

    #[test]
    fn addresses_need_no_resolver() {
        let names = Names::default();
        let never = |_: &str| -> io::Result<Vec<IpAddr>> { panic!("asked") };
        for text in ["192.0.2.1", "2001:db8::1"] {
            let address: IpAddr = text.parse().unwrap();
            let found = names.addresses_by(text, soon(), &never);
            assert_eq!(found.unwrap(), [address]);
        }
        let here = Names::default().addresses("localhost", soon()).unwrap();
        assert!(here[0].is_loopback());
    }
}
