//! The settings that all protocols share, and what they mean.

use std::time::Duration;

use ctk_token::{Reason, Result, TokenError};

use crate::{Kind, SettingRow, Settings};

/// The settings that all protocols share.
pub const SETTINGS: &[SettingRow] = &[
    SettingRow {
        name: "ca_file",
        kind: Kind::Path,
        required: false,
        about: "Certificates (PEM) that the service's certificate must come from, instead of the system's",
    },
    SettingRow {
        name: "client_certificate",
        kind: Kind::Path,
        required: false,
        about: "Certificate chain (PEM) that the service is shown in TLS",
    },
    SettingRow {
        name: "client_key",
        kind: Kind::Path,
        required: false,
        about: "Its private key (PEM), in a file that only its owner can read",
    },
    SettingRow {
        name: "public_key_pins",
        kind: Kind::Texts,
        required: false,
        about: "SHA-256 of public keys (base64 of the SubjectPublicKeyInfo's) of which the service must have one",
    },
    SettingRow {
        name: "proxy",
        kind: Kind::Text,
        required: false,
        about: "Proxy (http://HOST:PORT), or none; otherwise HTTPS_PROXY and NO_PROXY count",
    },
    SettingRow {
        name: "proxy_user",
        kind: Kind::Text,
        required: false,
        about: "User that the proxy knows",
    },
    SettingRow {
        name: "proxy_password",
        kind: Kind::Secret,
        required: false,
        about: "Password of that user",
    },
    SettingRow {
        name: "connect_timeout",
        kind: Kind::Number,
        required: false,
        about: "Seconds for a connection and its TLS handshake [default: 5]",
    },
    SettingRow {
        name: "read_timeout",
        kind: Kind::Number,
        required: false,
        about: "Seconds without a byte of an answer [default: 15]",
    },
    SettingRow {
        name: "total_timeout",
        kind: Kind::Number,
        required: false,
        about: "Seconds for everything, repetitions included [default: 30]",
    },
];

/// The longest timeout, in seconds: an hour, for services that ask a person's telephone.
const MAX_TIMEOUT: i64 = 3600;

/// How long is waited.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Limits {
    /// For a connection, its proxy and its TLS handshake.
    pub(super) connect: Duration,
    /// For the next byte.
    pub(super) read: Duration,
    /// For everything.
    pub(super) total: Duration,
}

impl Limits {
    /// What is configured.
    ///
    /// # Errors
    /// [`TokenError::Unreachable`] that names the setting.
    pub(super) fn of(settings: &Settings) -> Result<Self> {
        let seconds = |name: &str, usual: u64| match settings.number(name) {
            None => Ok(Duration::from_secs(usual)),
            Some(seconds @ 1..=MAX_TIMEOUT) => Ok(Duration::from_secs(seconds.unsigned_abs())),
            Some(seconds) => Err(wrong(format!(
                "{name} = {seconds}: a timeout is a number of seconds from 1 to {MAX_TIMEOUT}"
            ))),
        };
        Ok(Self {
            connect: seconds("connect_timeout", 5)?,
            read: seconds("read_timeout", 15)?,
            total: seconds("total_timeout", 30)?,
        })
    }
}

/// A setting that cannot be used.
pub(super) fn wrong(reason: impl Into<String>) -> TokenError {
    TokenError::Unreachable(Reason::new(reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Value;

    #[test]
    fn timeouts_are_finite_whatever_is_configured() {
        let none = Limits::of(&Settings::default()).unwrap();
        let seconds = [none.connect, none.read, none.total].map(|limit| limit.as_secs());
        assert_eq!(seconds, [5, 15, 30]);
        for name in ["connect_timeout", "read_timeout", "total_timeout"] {
            let mut settings = Settings::default();
            for (number, good) in [
                (1, true),
                (3600, true),
                (0, false),
                (-1, false),
                (i64::MAX, false),
            ] {
                settings.0.insert(name.into(), Value::Number(number));
                let limits = Limits::of(&settings);
                assert_eq!(limits.is_ok(), good, "{number}");
                if let Err(error) = limits {
                    assert!(error.to_string().contains(name));
                }
            }
        }
    }
}
