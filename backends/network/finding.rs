//! What a look at a service finds, for `ctk doctor`.

use std::fmt;

use ctk_token::Reason;

/// One thing that was looked at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// What it was.
    pub step: Step,
    /// What was found, for a person; or what is wrong and what to do.
    pub result: Result<String, Reason>,
}

/// What is looked at, in this order: each needs the one before.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Step {
    /// The settings, and files and secrets that they name.
    Settings,
    /// The service's name in DNS.
    Name,
    /// A TCP connection, to the proxy if there is one.
    Connection,
    /// TLS: certificate, name, version.
    Tls,
    /// The difference of both clocks.
    Clock,
    /// Who we are, for the service.
    Credentials,
    /// What we may do there.
    Permission,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Settings => "settings",
            Self::Name => "name",
            Self::Connection => "connection",
            Self::Tls => "TLS",
            Self::Clock => "clock",
            Self::Credentials => "credentials",
            Self::Permission => "permission",
        })
    }
}
