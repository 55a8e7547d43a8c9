//! A service made for tests, and its client in a process that knows what is stored.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
    time::{Duration, UNIX_EPOCH},
};

use ctk_token::TokenError;
use parking_lot::Mutex;
use zeroize::Zeroizing;

use crate::{
    Configuration, Inventory, Protocol, Secret, Service, ServiceSession, Settings, Surroundings,
    Value,
    protocols::csc::{
        api::{Connect, Wire},
        facts::KEY_FACTS,
        options::SETTINGS,
        service::CscService,
        totp::Clock,
    },
};

use super::fake::Fake;

/// Settings of a token of this service, with these besides.
pub(super) fn settings(more: &[(&str, Value)]) -> Settings {
    let endpoints = Value::Texts(vec!["https://signing.example/csc/v1".to_owned()]);
    let all = [("endpoints", endpoints)]
        .into_iter()
        .chain(more.iter().cloned());
    Settings(all.map(|(name, value)| (name.to_owned(), value)).collect())
}

pub(super) fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

pub(super) fn secret(text: &'static str) -> Value {
    Value::Secret(Secret::new("test", move |_| {
        Ok(Zeroizing::new(text.as_bytes().to_vec()))
    }))
}

/// A time at which nothing waits.
pub(super) const CLOCK: Clock = Clock {
    now: || UNIX_EPOCH + Duration::from_secs(59),
    sleep: |_| {},
};

/// The client of this service.
pub(super) fn client(fake: &Arc<Fake>, settings: &Settings) -> Arc<CscService> {
    let fake = fake.clone();
    let connect: Arc<Connect> = Arc::new(move |_| Ok(fake.clone() as Arc<dyn Wire>));
    Arc::new(CscService::over(settings, CLOCK, connect))
}

/// A service, its client, and what that has found there.
pub(super) struct World {
    pub(super) fake: Arc<Fake>,
    pub(super) service: Arc<CscService>,
    pub(super) inventory: Inventory,
    settings: Settings,
}

impl World {
    pub(super) fn new(fake: Fake, more: &[(&str, Value)]) -> Self {
        let (fake, settings) = (Arc::new(fake), settings(more));
        let inventory = client(&fake, &settings).list(None, &mut |_| {}).unwrap();
        fake.calls();
        Self {
            // As in another process, which has seen what is stored only.
            service: client(&fake, &settings),
            fake,
            inventory,
            settings,
        }
    }

    pub(super) fn session(&self) -> Box<dyn ServiceSession> {
        self.service.clone().open_session()
    }

    /// A token of it, for the driver.
    pub(super) fn configuration(&self, name: &str) -> Configuration {
        let served = (self.fake.clone(), self.settings.clone());
        SERVED.lock().insert(name.to_owned(), served);
        Configuration {
            name: name.to_owned(),
            label: String::new(),
            serial_number: "1".to_owned(),
            removable: false,
            protocol: &FAKE_PROTOCOL,
            settings: self.settings.clone(),
            contents: self.inventory.clone(),
            surroundings: Surroundings {
                home: None,
                variable: |_| None,
                run: Arc::new(|_, _| Err(TokenError::NotSupported)),
            },
        }
    }
}

type Served = HashMap<String, (Arc<Fake>, Settings)>;

static SERVED: LazyLock<Mutex<Served>> = LazyLock::new(Mutex::default);

/// This protocol over wires to services here, found by the token's name.
pub(super) static FAKE_PROTOCOL: Protocol = Protocol {
    name: "csc",
    title: "CSC API",
    settings: SETTINGS,
    key_facts: KEY_FACTS,
    open: |configuration| {
        let (fake, settings) = SERVED.lock().get(&configuration.name).cloned().unwrap();
        client(&fake, &settings)
    },
};
