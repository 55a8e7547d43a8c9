//! What is outside of this process: services and the clock. Tests have their own.

use std::{fmt, time::SystemTime};

use ctk_token::Result;

use crate::{
    Finding, Settings, Surroundings, Value,
    http::{Client, Endpoint, Exchange, Response},
};

/// The world as a token of this protocol sees it.
pub(super) trait Outside: fmt::Debug + Send + Sync {
    /// A way to the service at these endpoints, of which the first is preferred. Touches no network.
    fn service(&self, endpoints: Vec<Endpoint>) -> Result<Box<dyn Channel>>;

    /// A way to what tells a machine who it is: near, without a proxy, and there soon or not at all.
    fn local(&self, endpoint: Endpoint, patience: Patience) -> Result<Box<dyn Channel>>;

    /// What time it is here.
    fn now(&self) -> SystemTime;
}

/// How long something near by is waited for, in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For a connection, and for a byte.
    pub(super) each: i64,
    /// For an answer, repetitions included.
    pub(super) total: i64,
}

/// A way to a service.
pub(super) trait Channel: fmt::Debug + Send + Sync {
    /// As [`Client::send`].
    fn send(&self, exchange: &Exchange<'_>) -> Result<Response>;

    /// As [`Client::check`].
    fn check(&self, findings: &mut dyn FnMut(Finding)) -> bool;
}

/// The real one.
#[derive(Debug)]
pub(super) struct Network {
    settings: Settings,
    surroundings: Surroundings,
}

impl Network {
    /// As a token with these settings sees it.
    pub(super) fn new(settings: &Settings, surroundings: &Surroundings) -> Self {
        Self {
            settings: settings.clone(),
            surroundings: surroundings.clone(),
        }
    }
}

impl Outside for Network {
    fn service(&self, endpoints: Vec<Endpoint>) -> Result<Box<dyn Channel>> {
        let client = Client::new(&self.settings, &self.surroundings, endpoints)?;
        Ok(Box::new(client))
    }

    fn local(&self, endpoint: Endpoint, patience: Patience) -> Result<Box<dyn Channel>> {
        let Patience { each, total } = patience;
        let seconds = [
            ("connect_timeout", each),
            ("read_timeout", each),
            ("total_timeout", total),
        ];
        let seconds = seconds.map(|(name, number)| (name.to_owned(), Value::Number(number)));
        let direct = ("proxy".to_owned(), Value::Text("none".to_owned()));
        let settings = Settings(seconds.into_iter().chain([direct]).collect());
        let client = Client::new(&settings, &self.surroundings, vec![endpoint])?;
        Ok(Box::new(client))
    }

    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

impl Channel for Client {
    fn send(&self, exchange: &Exchange<'_>) -> Result<Response> {
        Self::send(self, exchange)
    }

    fn check(&self, findings: &mut dyn FnMut(Finding)) -> bool {
        Self::check(self, findings)
    }
}
