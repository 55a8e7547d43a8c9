//! What can be wrong with a connection, in words for the person who has to mend it.

use std::fmt;

use ctk_token::{Reason, TokenError};
use openssl::{
    error::ErrorStack,
    ssl::ErrorCode,
    x509::{X509Ref, X509VerifyResult},
};

use super::short_name;

/// What kind of problem it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TlsProblem {
    /// A certificate of the server's chain has expired, or the clock here is wrong.
    Expired,
    /// A certificate of the server's chain is not valid yet, or the clock here is wrong.
    NotYetValid,
    /// The certificate is for other names or addresses.
    WrongName,
    /// The chain ends at nobody who is trusted.
    UnknownIssuer,
    /// Something else is wrong with a certificate: its signature, its use, a key that is too short.
    Certificate,
    /// The certificate is good, and none of its chain's keys is among the pins.
    Pin,
    /// The server speaks TLS 1.1 or older only.
    Version,
    /// The server refused with this alert (RFC 8446 §6).
    Refused(u8),
    /// What came is no TLS, was cut off, or was changed on the way.
    Broken,
    /// Roots, certificate or key of this side cannot be used.
    LocalFile,
}

/// A connection that did not come about, or broke. It does not name the host, but for what its certificate is not for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TlsError {
    /// What kind of problem it is.
    pub problem: TlsProblem,
    /// What is wrong and what to do, for a person, without a full stop. What it quotes of the server's is short and printable.
    pub text: String,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for TlsError {}

impl From<TlsError> for TokenError {
    fn from(error: TlsError) -> Self {
        Self::Unreachable(Reason::new(error.text))
    }
}

// From verification, in both libraries.
const NOT_YET_VALID: i32 = 9;
const EXPIRED: i32 = 10;
const UNKNOWN_ISSUER: [i32; 6] = [2, 18, 19, 20, 21, 27];
const WRONG_HOST: i32 = 62;
const WRONG_ADDRESS: i32 = 64;

/// What both libraries add to an alert's number to make it a reason.
const ALERTS: i32 = 1000;

impl TlsError {
    pub(super) fn new(problem: TlsProblem, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { problem, text }
    }

    pub(super) fn broken(text: impl Into<String>) -> Self {
        Self::new(TlsProblem::Broken, text)
    }

    pub(super) fn local(text: impl Into<String>) -> Self {
        Self::new(TlsProblem::LocalFile, text)
    }

    /// A failure that nobody outside has caused: no memory, no entropy.
    pub(super) fn library() -> Self {
        let errors = ErrorStack::get();
        let reason = errors.errors().first().and_then(|error| error.reason());
        let reason = reason.unwrap_or("no reason given");
        Self::broken(format!("the TLS library failed: {reason}"))
    }

    pub(super) fn no_name(host: &str) -> Self {
        let host = clean(host);
        Self::new(
            TlsProblem::WrongName,
            format!("no certificate can be for \"{host}\""),
        )
    }

    pub(super) fn no_pin() -> Self {
        let text = "none of the keys in the server's certificate chain is pinned; if the service has changed its \
                    key, correct public_key_pins";
        Self::new(TlsProblem::Pin, text)
    }

    /// What is wrong with a certificate of a chain that was to be for `host`.
    pub(super) fn certificate(
        result: X509VerifyResult,
        certificate: Option<&X509Ref>,
        host: &str,
    ) -> Self {
        let subject = certificate.map_or_else(
            || "(none)".to_owned(),
            |certificate| short_name(certificate.subject_name()),
        );
        match result.as_raw() {
            EXPIRED => {
                let end = certificate.map(|one| one.not_after().to_string());
                let end = end.unwrap_or_default();
                let text = format!(
                    "the certificate \"{subject}\" expired on {end}; the service has to renew it, or the clock \
                     here is wrong"
                );
                Self::new(TlsProblem::Expired, text)
            }
            NOT_YET_VALID => {
                let start = certificate.map(|one| one.not_before().to_string());
                let start = start.unwrap_or_default();
                let text = format!(
                    "the certificate \"{subject}\" is valid from {start} only; the clock here may be wrong"
                );
                Self::new(TlsProblem::NotYetValid, text)
            }
            WRONG_HOST | WRONG_ADDRESS => {
                let names = certificate.map(names).unwrap_or_default();
                let is_for = if names.is_empty() {
                    "names no host".to_owned()
                } else {
                    format!("is for {}", names.join(", "))
                };
                let text = format!("the certificate {is_for}, not for {}", clean(host));
                Self::new(TlsProblem::WrongName, text)
            }
            unknown if UNKNOWN_ISSUER.contains(&unknown) => {
                let issuer = certificate.map(|one| short_name(one.issuer_name()));
                let issuer = issuer.unwrap_or_default();
                let text = format!(
                    "the certificate \"{subject}\" comes from \"{issuer}\", which is not trusted here; if it is the \
                     right one, name its certificate (PEM) in ca_file"
                );
                Self::new(TlsProblem::UnknownIssuer, text)
            }
            _ => {
                let text = format!(
                    "the certificate \"{subject}\" is not acceptable: {}",
                    result.error_string()
                );
                Self::new(TlsProblem::Certificate, text)
            }
        }
    }

    /// What the library says of bytes that came; `first` is the very first of them.
    pub(super) fn of_library(error: &openssl::ssl::Error, first: Option<u8>) -> Self {
        /// The types of record that a server begins with (RFC 8446 §5.1).
        const ALERT_OR_HANDSHAKE: [u8; 2] = [21, 22];
        if first.is_some_and(|first| !ALERT_OR_HANDSHAKE.contains(&first)) {
            return Self::broken(
                "what answers there does not speak TLS; is it the right port, and is it https?",
            );
        }
        let errors = error
            .ssl_error()
            .map(ErrorStack::errors)
            .unwrap_or_default();
        let alert = errors.iter().find_map(|error| {
            let alert = error.reason_code().checked_sub(ALERTS)?;
            u8::try_from(alert).ok()
        });
        let reason = errors.first().and_then(|error| error.reason());
        let reason = reason.unwrap_or("no reason given");
        let reason = reason.to_lowercase().replace('_', " ");
        match alert {
            Some(PROTOCOL_VERSION) => Self::old(),
            Some(alert) => Self::refused(alert),
            None if ["unsupported protocol", "wrong version number"].contains(&&*reason) => {
                Self::old()
            }
            None if error.code() == ErrorCode::SSL => {
                Self::broken(format!("the TLS connection is broken: {reason}"))
            }
            None => Self::broken("the TLS connection is broken"),
        }
    }

    fn old() -> Self {
        Self::new(
            TlsProblem::Version,
            "the server speaks TLS 1.1 or older only, which is no longer safe; it has to offer TLS 1.2",
        )
    }

    fn refused(alert: u8) -> Self {
        let (name, advice) = alert_in_words(alert);
        let text = format!("the server refused the TLS connection: {name} (alert {alert}){advice}");
        Self::new(TlsProblem::Refused(alert), text)
    }
}

const PROTOCOL_VERSION: u8 = 70;

/// An alert's name (RFC 8446 §6) and what helps.
fn alert_in_words(alert: u8) -> (&'static str, &'static str) {
    const CLIENT: &str = "; it may want a client certificate, or another: see client_certificate";
    match alert {
        40 => ("no agreement on parameters", CLIENT),
        42 => ("bad certificate", CLIENT),
        43 => ("unsupported certificate", CLIENT),
        44 => ("revoked certificate", CLIENT),
        45 => ("expired certificate", CLIENT),
        46 => ("unknown problem with the certificate", CLIENT),
        48 => ("unknown issuer of the certificate", CLIENT),
        49 => ("access denied", CLIENT),
        116 => (
            "it wants a client certificate",
            "; set client_certificate and client_key",
        ),
        71 => ("too little security", ""),
        80 => ("internal error", ""),
        112 => ("it does not know this host name", ""),
        120 => ("no common application protocol", ""),
        _ => ("protocol error", ""),
    }
}

/// The names and addresses that a certificate is for, the first five of them.
fn names(certificate: &X509Ref) -> Vec<String> {
    let names = certificate.subject_alt_names();
    let names = names.iter().flatten().filter_map(|name| {
        let address = || {
            let bytes = name.ipaddress()?;
            let v4 = <[u8; 4]>::try_from(bytes).map(std::net::IpAddr::from);
            let v6 = <[u8; 16]>::try_from(bytes).map(std::net::IpAddr::from);
            v4.or(v6).ok().map(|address| address.to_string())
        };
        name.dnsname().map(clean).or_else(address)
    });
    names.take(5).collect()
}

/// What a server sent, fit for a terminal and a log: at most 100 characters, none of which moves a cursor.
pub(super) fn clean(text: &str) -> String {
    let printable = |c: char| match c {
        c if c.is_control() => '\u{fffd}',
        // What turns the direction of writing, or ends a line.
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            '\u{fffd}'
        }
        c => c,
    };
    text.chars().take(100).map(printable).collect()
}
