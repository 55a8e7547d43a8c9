//! Where a service is, and how a person writes it.

use std::net::IpAddr;

use crate::text::plain;

/// Addresses that a cloud gives its machines for asking who they are. They lead to the machine's own host and to nobody
/// else, and are spoken to in plain HTTP (the AWS instance, container and pod credentials).
const METADATA: [IpAddr; 5] = [
    IpAddr::V4(std::net::Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(std::net::Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(std::net::Ipv4Addr::new(169, 254, 170, 23)),
    IpAddr::V6(std::net::Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(std::net::Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
];

/// The longest endpoint, in bytes.
const MAX_URL: usize = 2048;

/// Where a service is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoint {
    /// `https`, or `http` for an address of this machine.
    pub scheme: &'static str,
    /// The host's name or address, lower case; an IPv6 address without its brackets.
    pub host: String,
    /// The port, also if it is the scheme's own.
    pub port: u16,
    /// The path that all requests begin with, without a slash at the end; often empty.
    pub base: String,
}

impl Endpoint {
    /// An endpoint as a person writes it, like `https://service.example/csc/v1`. Plain `http` is for addresses of this
    /// machine (`localhost` included): everybody else on the way could read the secrets.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub fn parse(url: &str) -> Result<Self, String> {
        Self::read(url, false)
    }

    /// The same for where a machine asks who it is, which may also be one of the addresses that a cloud has for that, in
    /// plain `http`.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_metadata(url: &str) -> Result<Self, String> {
        Self::read(url, true)
    }

    fn read(url: &str, is_for_metadata: bool) -> Result<Self, String> {
        if url.len() > MAX_URL {
            return Err(format!("an endpoint of more than {MAX_URL} bytes"));
        }
        let about = |what: &str| match &*without_userinfo(url) {
            "" => what.to_owned(),
            shown => format!("{shown}: {what}"),
        };
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| about("an endpoint begins with https://"))?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "https" => "https",
            "http" => "http",
            _ => return Err(about("an endpoint begins with https://")),
        };
        if rest.contains(['?', '#']) {
            return Err(about("an endpoint has no query and no fragment"));
        }
        let (authority, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, ""),
        };
        if authority.contains('@') {
            return Err(about(
                "an endpoint has no user and no password in it: there are settings for them",
            ));
        }
        let (host, port) = host_and_port(authority).map_err(about)?;
        let is_path = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
        if !path.bytes().all(is_path) {
            return Err(about("a path has letters, digits and %XX"));
        }
        let endpoint = Self {
            scheme,
            host,
            port: port.unwrap_or(if scheme == "https" { 443 } else { 80 }),
            base: path.trim_end_matches('/').to_owned(),
        };
        let is_plain = endpoint.is_here() || (is_for_metadata && endpoint.is_metadata());
        if !endpoint.is_tls() && !is_plain {
            return Err(about(
                "http:// is for this machine only, use https:// so that nobody on the way reads the secrets",
            ));
        }
        Ok(endpoint)
    }

    /// What stands in the `Host` header: the port only if it is not the scheme's own.
    pub fn authority(&self) -> String {
        let usual = if self.is_tls() { 443 } else { 80 };
        match self.port == usual {
            true => bracketed(&self.host),
            false => self.host_and_port(),
        }
    }

    /// Host and port, as messages name an endpoint.
    pub(super) fn host_and_port(&self) -> String {
        format!("{}:{}", bracketed(&self.host), self.port)
    }

    pub(super) fn is_tls(&self) -> bool {
        self.scheme == "https"
    }

    /// Whether the name means this machine. Such an endpoint is never asked for through a proxy.
    pub(super) fn is_here(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(address) => address.is_loopback(),
            Err(_) => is_localhost(&self.host),
        }
    }

    /// Whether connections may go to this address: a name of this machine must not lead elsewhere in plain HTTP.
    pub(super) fn allows(&self, address: IpAddr) -> bool {
        self.is_tls() || address.to_canonical().is_loopback() || self.is_metadata()
    }

    fn is_metadata(&self) -> bool {
        self.host
            .parse::<IpAddr>()
            .is_ok_and(|address| METADATA.contains(&address))
    }
}

/// Reads `host`, `host:port`, `[v6]` and `[v6]:port`; the host comes out in lower case and without brackets.
pub(super) fn host_and_port(authority: &str) -> Result<(String, Option<u16>), &'static str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest
                .split_once(']')
                .ok_or("an IPv6 address stands in brackets")?;
            address
                .parse::<std::net::Ipv6Addr>()
                .map_err(|_| "what is in the brackets is no IPv6 address")?;
            match after {
                "" => (address, None),
                _ => (
                    address,
                    Some(after.strip_prefix(':').ok_or("no port after ]")?),
                ),
            }
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let bare = host.to_ascii_lowercase();
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if !authority.starts_with('[') && (bare.is_empty() || !bare.bytes().all(is_name)) {
        return Err("a host's name has letters, digits, hyphens and dots");
    }
    if !authority.starts_with('[') && bare.trim_end_matches('.').split('.').any(str::is_empty) {
        return Err("a host's name has something between its dots");
    }
    if bare.len() > 253 {
        return Err("a host's name has at most 253 bytes");
    }
    let port = match port {
        None => None,
        // `parse` alone takes a plus sign.
        Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            let port = text.parse::<u16>().ok().filter(|port| *port != 0);
            Some(port.ok_or("a port is a number from 1 to 65535")?)
        }
        Some(_) => return Err("a port is a number from 1 to 65535"),
    };
    Ok((bare, port))
}

/// A host as it stands before a port.
pub(super) fn bracketed(host: &str) -> String {
    match host.contains(':') {
        true => format!("[{host}]"),
        false => host.to_owned(),
    }
}

/// The URL up to its path, without what may be a password in it.
fn without_userinfo(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let shown: String = host.chars().take(100).map(plain).collect();
    match scheme {
        "" => shown,
        "http" | "https" => format!("{scheme}://{shown}"),
        _ => format!("…://{shown}"),
    }
}

fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_as_people_write_them() {
        for (url, host, port, base, authority) in [
            ("https://kms.example", "kms.example", 443, "", "kms.example"),
            (
                "https://KMS.example:443/",
                "kms.example",
                443,
                "",
                "kms.example",
            ),
            ("HTTPS://h:8443/csc/v1/", "h", 8443, "/csc/v1", "h:8443"),
            ("https://[::1]/x", "::1", 443, "/x", "[::1]"),
            (
                "https://[2001:DB8::1]:444",
                "2001:db8::1",
                444,
                "",
                "[2001:db8::1]:444",
            ),
            (
                "http://127.0.0.1:80/a%20b",
                "127.0.0.1",
                80,
                "/a%20b",
                "127.0.0.1",
            ),
            (
                "http://localhost:4566",
                "localhost",
                4566,
                "",
                "localhost:4566",
            ),
        ] {
            let endpoint = Endpoint::parse(url).unwrap();
            assert_eq!(endpoint.host, host, "{url}");
            assert_eq!(endpoint.port, port, "{url}");
            assert_eq!(endpoint.base, base, "{url}");
            assert_eq!(endpoint.authority(), authority, "{url}");
        }
    }

    #[test]
    fn what_is_no_endpoint_is_refused_with_a_reason_and_without_the_password() {
        for (url, says) in [
            ("", "https://"),
            ("kms.example", "https://"),
            ("ftp://kms.example", "https://"),
            ("https://", "name"),
            ("https://a b", "name"),
            ("https://h:", "port"),
            ("https://h:0", "port"),
            ("https://h:65536", "port"),
            ("https://h:+80", "port"),
            ("https://h:1:2", "port"),
            ("https://[::1", "brackets"),
            ("https://[h]", "IPv6"),
            ("https://[::1]x", "port"),
            ("https://h/?a=b", "query"),
            ("https://h/#a", "fragment"),
            ("https://h/a b", "path"),
            ("https://h/a\r\nb", "path"),
            ("https://h/ä", "path"),
            ("http://kms.example", "https://"),
            ("http://10.0.0.1", "https://"),
            ("http://169.254.1.1", "https://"),
            ("http://169.254.169.254", "https://"),
            ("https://.example", "dots"),
            ("https://a..example", "dots"),
            ("https://.", "dots"),
            ("http://localhost.example", "https://"),
            ("https://user:s3cret@h", "settings"),
            ("s3cret@h", "https://"),
        ] {
            let refused = Endpoint::parse(url).unwrap_err();
            assert!(refused.contains(says), "{url}: {refused}");
            assert!(!refused.contains("s3cret"), "{refused}");
        }
        assert!(Endpoint::parse(&format!("https://{}", "a".repeat(300))).is_err());
        assert!(Endpoint::parse(&format!("https://h/{}", "a".repeat(3000))).is_err());
    }

    #[test]
    fn plain_http_goes_to_this_machine_only() {
        let plain = Endpoint::parse("http://localhost:1").unwrap();
        assert!(plain.allows("127.0.0.1".parse().unwrap()));
        assert!(plain.allows("::1".parse().unwrap()));
        assert!(!plain.allows("169.254.170.2".parse().unwrap()));
        assert!(!plain.allows("192.0.2.1".parse().unwrap()));
        let metadata = Endpoint::parse_metadata("http://169.254.169.254").unwrap();
        assert_eq!(
            (metadata.port, &*metadata.authority()),
            (80, "169.254.169.254")
        );
        assert!(metadata.allows("169.254.169.254".parse().unwrap()));
        for elsewhere in [
            "http://169.254.1.1",
            "http://metadata.example",
            "http://10.0.0.1",
        ] {
            assert!(Endpoint::parse_metadata(elsewhere).is_err(), "{elsewhere}");
        }
        let tls = Endpoint::parse("https://localhost:1").unwrap();
        assert!(tls.allows("192.0.2.1".parse().unwrap()));
    }
}
