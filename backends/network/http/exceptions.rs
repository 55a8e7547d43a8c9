//! What is reached without a proxy (NO_PROXY).

use std::net::IpAddr;

use super::endpoint::Endpoint;

/// The entries of NO_PROXY, each with its port if it is for one only.
#[derive(Clone, Debug, Default)]
pub(super) struct Exceptions(Vec<(Exception, Option<u16>)>);

/// What an entry names.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Exception {
    All,
    Address(IpAddr),
    /// A network: its address and the number of bits that count.
    Network(IpAddr, u32),
    /// A name and every name under it.
    Domain(String),
}

impl Exceptions {
    /// The entries as most programs read them: names with or without a dot in front, addresses, networks, `*`; all but
    /// networks also with a port.
    pub(super) fn parse(text: &str) -> Self {
        let entries = text.split([',', ' ']).map(str::trim);
        let entries = entries.filter(|entry| !entry.is_empty());
        Self(entries.map(Exception::with_port).collect())
    }

    /// Whether one of them is for this endpoint.
    pub(super) fn cover(&self, endpoint: &Endpoint) -> bool {
        self.0.iter().any(|(exception, port)| {
            port.is_none_or(|port| port == endpoint.port) && exception.covers(&endpoint.host)
        })
    }
}

impl Exception {
    /// One that may be for a port: `host:443`, `[::1]:443`.
    fn with_port(entry: &str) -> (Self, Option<u16>) {
        let is_host = |host: &str| !host.contains(':') || host.ends_with(']');
        let parts = entry.rsplit_once(':').filter(|(host, _)| is_host(host));
        match parts.and_then(|(host, port)| Some((host, port.parse().ok()?))) {
            Some((host, port)) => (Self::parse(host), Some(port)),
            None => (Self::parse(entry), None),
        }
    }

    fn parse(entry: &str) -> Self {
        if entry == "*" {
            return Self::All;
        }
        if let Some((network, bits)) = entry.split_once('/')
            && let (Ok(network), Ok(bits)) = (network.parse::<IpAddr>(), bits.parse::<u32>())
        {
            return Self::Network(network, bits);
        }
        let bare = entry.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = bare.parse() {
            return Self::Address(address);
        }
        let name = entry.trim_start_matches("*.").trim_start_matches('.');
        let name = name.trim_end_matches('.');
        Self::Domain(name.to_ascii_lowercase())
    }

    fn covers(&self, host: &str) -> bool {
        let address = host.parse::<IpAddr>().ok();
        match self {
            Self::All => true,
            Self::Address(excepted) => address.as_ref() == Some(excepted),
            Self::Network(network, bits) => match (address, network) {
                (Some(IpAddr::V4(address)), IpAddr::V4(network)) => {
                    let differ = address.to_bits() ^ network.to_bits();
                    *bits <= 32 && differ.leading_zeros() >= *bits
                }
                (Some(IpAddr::V6(address)), IpAddr::V6(network)) => {
                    let differ = address.to_bits() ^ network.to_bits();
                    *bits <= 128 && differ.leading_zeros() >= *bits
                }
                _ => false,
            },
            Self::Domain(name) => {
                let under = host.trim_end_matches('.').strip_suffix(name.as_str());
                under.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_are_names_addresses_and_networks() {
        for (text, host, covered) in [
            ("*", "a.example", true),
            ("a.example", "a.example", true),
            (".a.example", "b.a.example", true),
            ("*.a.example", "b.a.example", true),
            ("a.example", "ba.example", false),
            ("A.Example, b", "a.example", true),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.0/24", "192.0.2.77", true),
            ("192.0.2.0/24", "192.0.3.1", false),
            ("0.0.0.0/0", "192.0.3.1", true),
            ("192.0.2.0/33", "192.0.2.1", false),
            ("[2001:db8::1]", "2001:db8::1", true),
            ("2001:db8::/32", "2001:db8:5::1", true),
            ("2001:db8::/32", "192.0.2.1", false),
            ("", "a.example", false),
            (",, ", "a.example", false),
            ("a.example.", "a.example", true),
            ("a.example", "b.a.example.", true),
        ] {
            let exceptions = Exceptions::parse(text);
            let found = exceptions
                .0
                .iter()
                .any(|(exception, _)| exception.covers(host));
            assert_eq!(found, covered, "{text} {host}");
            assert!(
                exceptions.0.iter().all(|(_, port)| port.is_none()),
                "{text}"
            );
        }
    }
}
