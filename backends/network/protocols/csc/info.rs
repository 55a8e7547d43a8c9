//! What a service says of itself (`info`).

use crate::{http::Endpoint, json::Object};

use super::facts::Version;

/// What is remembered of it, for as long as the process lives.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Info {
    pub(super) version: Version,
    /// What a person calls it.
    pub(super) name: String,
    /// Where OAuth 2.0 begins (`oauth2`).
    pub(super) oauth2: Option<String>,
}

impl Info {
    /// Reads the answer; `None` if it is none. The first number of `specs` is the version, or else the endpoint's path.
    pub(super) fn read(body: &[u8], endpoint: &Endpoint) -> Option<Self> {
        let object = Object::read(body)?;
        let specs = object.text("specs").unwrap_or_default();
        let number = specs
            .split('.')
            .next()
            .and_then(|number| number.trim().parse().ok());
        Some(Self {
            version: number.map_or_else(|| version_of(endpoint), Version::from_number),
            name: super::error::shown(&object.text("name").unwrap_or_default()),
            oauth2: object.text("oauth2").filter(|url| is_safe(url, endpoint)),
        })
    }

    /// What is assumed of a service that does not say.
    pub(super) fn assumed(endpoint: &Endpoint) -> Self {
        Self {
            version: version_of(endpoint),
            name: String::new(),
            oauth2: None,
        }
    }

    /// Where tokens come from, as the service says or as its document has it.
    pub(super) fn token_url(&self, endpoint: &Endpoint) -> String {
        let base = match &self.oauth2 {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!(
                "{}://{}{}",
                endpoint.scheme,
                endpoint.authority(),
                endpoint.base
            ),
        };
        match base {
            base if base.ends_with("/oauth2/token") => base,
            base if base.ends_with("/oauth2") => format!("{base}/token"),
            base => format!("{base}/oauth2/token"),
        }
    }
}

/// Whether our secrets may go to where the service says: not in plain text, which anybody on this machine could listen to,
/// unless the service itself is spoken to so.
fn is_safe(url: &str, endpoint: &Endpoint) -> bool {
    let has_tls = url
        .get(..8)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"));
    let is_safe = has_tls || endpoint.scheme == "http";
    if !is_safe && !url.is_empty() {
        log::warn!(
            "{} says that access tokens come from {:?}, which is not https: set `token_url` if it is right",
            endpoint.authority(),
            super::error::shown(url)
        );
    }
    is_safe && !url.is_empty()
}

/// The last part of the path that looks like a version; 1 if none does.
fn version_of(endpoint: &Endpoint) -> Version {
    let numbers = endpoint.base.rsplit('/').filter_map(|part| {
        let number = part.strip_prefix(['v', 'V'])?;
        number.split('.').next()?.parse().ok()
    });
    numbers
        .map(Version::from_number)
        .next()
        .unwrap_or(Version::V1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(base: &str) -> Endpoint {
        Endpoint {
            scheme: "https",
            host: "signing.example".to_owned(),
            port: 443,
            base: base.to_owned(),
        }
    }

    #[test]
    fn the_version_is_the_services_or_the_paths() {
        let version = |body: &str, base| {
            Info::read(body.as_bytes(), &endpoint(base))
                .unwrap()
                .version
        };
        assert_eq!(version(r#"{"specs":"1.0.4.0"}"#, "/csc/v2"), Version::V1);
        assert_eq!(version(r#"{"specs":"2.0.0.2"}"#, "/csc/v1"), Version::V2);
        assert_eq!(version(r#"{"specs":"0.1.7.9"}"#, ""), Version::V0);
        assert_eq!(version(r#"{"specs":"3.1"}"#, ""), Version::V2);
        assert_eq!(version(r#"{"specs":"new"}"#, "/csc/v2"), Version::V2);
        assert_eq!(version("{}", "/csc/v0/local"), Version::V0);
        assert_eq!(version("{}", "/vault"), Version::V1);
        assert_eq!(Info::assumed(&endpoint("/csc/v1")).version, Version::V1);
        assert!(Info::read(b"<html>", &endpoint("")).is_none());
    }

    #[test]
    fn tokens_come_from_where_the_service_says() {
        let url = |oauth2: Option<&str>| {
            let info = Info {
                oauth2: oauth2.map(str::to_owned),
                ..Info::assumed(&endpoint("/csc/v1"))
            };
            info.token_url(&endpoint("/csc/v1"))
        };
        assert_eq!(
            url(Some("https://a.example/x/")),
            "https://a.example/x/oauth2/token"
        );
        assert_eq!(
            url(Some("https://a.example/oauth2")),
            "https://a.example/oauth2/token"
        );
        assert_eq!(
            url(Some("https://a.example/oauth2/token")),
            "https://a.example/oauth2/token"
        );
        assert!(url(None).ends_with("/csc/v1/oauth2/token"));
    }

    #[test]
    fn secrets_go_nowhere_in_plain_text_because_a_service_says_so() {
        let told = |url: &str, endpoint: &Endpoint| {
            let body = format!(r#"{{"oauth2":"{url}"}}"#);
            Info::read(body.as_bytes(), endpoint).unwrap().oauth2
        };
        let local = Endpoint {
            scheme: "http",
            ..endpoint("")
        };
        for url in [
            "http://127.0.0.1:9/x",
            "//a.example",
            "ftp://a.example",
            "h",
            "",
        ] {
            assert_eq!(told(url, &endpoint("")), None, "{url}");
        }
        for (url, endpoint) in [
            ("https://a.example/x", &endpoint("")),
            ("HTTPS://a.example", &endpoint("")),
            ("http://127.0.0.1:9/x", &local),
        ] {
            assert_eq!(told(url, endpoint).as_deref(), Some(url));
        }
    }
}
