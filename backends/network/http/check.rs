//! A doctor's look at the way to a service: name, connection, TLS.

use std::time::{Duration, Instant, SystemTime};

use ctk_crypto::tls::Peer;
use ctk_token::Reason;

use super::{
    Client,
    connector::{Hop, Way},
    date::day,
    endpoint::Endpoint,
    failure::Failure,
    wait::Wait,
};
use crate::{Finding, Step};

/// A certificate that ends so soon is worth a word.
const SOON: Duration = Duration::from_secs(14 * 86_400);

impl Client {
    /// The steps of a doctor's look up to TLS, at each endpoint, over connections of its own. Says whether at least one
    /// endpoint is well so far: that one will be used.
    pub fn check(&self, findings: &mut dyn FnMut(Finding)) -> bool {
        let way = self.way();
        let mut well = false;
        for endpoint in &way.endpoints {
            well |= check(&way, endpoint, findings).is_some();
        }
        well
    }
}

/// `None` at the first step that is wrong.
fn check(way: &Way, endpoint: &Endpoint, findings: &mut dyn FnMut(Finding)) -> Option<()> {
    let mut note = |step, result: Result<String, Failure>| {
        let result = result.map_err(|failure| {
            match failure.into_error(endpoint, "a connection", way.limits.connect) {
                ctk_token::TokenError::Unreachable(reason) => reason,
                error => Reason::new(format!("{}: {error}", endpoint.host_and_port())),
            }
        });
        let well = result.is_ok().then_some(());
        findings(Finding { step, result });
        well
    };
    let hop = match way.hop(endpoint) {
        Ok(hop) => hop,
        Err(failure) => return note(Step::Connection, Err(failure)),
    };
    let addresses = way.addresses(&hop, Instant::now() + way.limits.total);
    let named = addresses.as_ref().map(|addresses| named(&hop, addresses));
    let addresses = match named {
        Ok(text) => {
            note(Step::Name, Ok(text))?;
            addresses.ok()?
        }
        Err(_) => {
            note(Step::Name, addresses.map(|_| String::new()))?;
            return None;
        }
    };
    let began = Instant::now();
    let wait = Wait::until(began + way.limits.connect);
    let stream = match way.connect(&hop, &addresses, &wait) {
        Ok(stream) => {
            let took = began.elapsed().as_millis();
            note(
                Step::Connection,
                Ok(format!("{} in {took} ms", hop.place())),
            )?;
            stream
        }
        Err(failure) => {
            note(Step::Connection, Err(failure))?;
            return None;
        }
    };
    let place = endpoint.host_and_port();
    let secured = way.secure(&hop, &stream, &wait).map(|tls| {
        let peer = tls.as_ref().and_then(|tls| tls.peer());
        match (tls.is_some(), peer) {
            (true, Some(peer)) => format!("{place}: {}", described(&peer, SystemTime::now())),
            (true, None) => format!("{place}: verified"),
            (false, _) => format!("{place}: none, plain HTTP on this machine"),
        }
    });
    note(Step::Tls, secured)
}

fn named(hop: &Hop<'_>, addresses: &[std::net::IpAddr]) -> String {
    let list: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let list = list.join(", ");
    let host = hop.host();
    let own = match list == host {
        true => format!("{host} is an address"),
        false => format!("{host} is {list}"),
    };
    match hop.proxy {
        Some(_) => format!("{own}, the proxy that looks up {}", hop.endpoint.host),
        None => own,
    }
}

fn described(peer: &Peer, now: SystemTime) -> String {
    let Peer {
        version,
        subject,
        issuer,
        expiry,
    } = peer;
    let end = expiry.map_or(String::new(), |expiry| {
        let soon = expiry < now + SOON;
        let word = if soon { ", which is soon" } else { "" };
        format!(", valid until {}{word}", day(expiry))
    });
    format!("{version}, the certificate of \"{subject}\" by \"{issuer}\"{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_ends_soon_is_said_to() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(951_782_400);
        let mut peer = Peer {
            version: "TLSv1.3",
            subject: "kms.example".into(),
            issuer: "CA".into(),
            expiry: Some(now + SOON * 2),
        };
        let text = described(&peer, now);
        assert_eq!(
            text,
            "TLSv1.3, the certificate of \"kms.example\" by \"CA\", valid until 2000-03-28"
        );
        peer.expiry = Some(now);
        let text = described(&peer, now);
        assert!(text.ends_with("2000-02-29, which is soon"), "{text}");
    }
}
