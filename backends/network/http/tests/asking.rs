//! What tests ask with.

use std::{ffi::OsString, sync::Arc, time::Duration};

use ctk_token::{Result, TokenError};
use zeroize::Zeroizing;

use super::server::Server;
use crate::{
    Settings, Surroundings, Value,
    http::{
        Client, Deadline, Endpoint, Exchange, Method, Repeat, Request, Response, judge_by_status,
    },
};

/// Settings with times that a test can wait for.
pub(in crate::http) fn settings(values: &[(&str, Value)]) -> Settings {
    let mut settings = Settings::default();
    for (name, seconds) in [
        ("connect_timeout", 5),
        ("read_timeout", 5),
        ("total_timeout", 20),
    ] {
        settings.0.insert(name.into(), Value::Number(seconds));
    }
    for (name, value) in values {
        settings.0.insert((*name).into(), value.clone());
    }
    settings
}

pub(in crate::http) fn surroundings(variable: fn(&str) -> Option<OsString>) -> Surroundings {
    Surroundings {
        home: None,
        variable,
        run: Arc::new(|_, _| Err(TokenError::NotSupported)),
    }
}

pub(in crate::http) fn client(urls: &[&str], values: &[(&str, Value)]) -> Client {
    let endpoints = urls.iter().map(|url| Endpoint::parse(url).unwrap());
    Client::new(
        &settings(values),
        &surroundings(|_| None),
        endpoints.collect(),
    )
    .unwrap()
}

pub(in crate::http) fn client_of(server: &Server) -> Client {
    client(&[&server.url()], &[])
}

pub(in crate::http) fn in_a_minute() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

/// Sends `body` to `/path?query` and takes the usual view of the answer.
pub(in crate::http) fn post(client: &Client, repeat: Repeat, body: &str) -> Result<Response> {
    let prepare = |_: &Endpoint| {
        Ok(Request {
            method: Method::Post,
            target: "/path?query=s3cret".into(),
            headers: vec![("authorization", Zeroizing::new("Bearer s3cret".to_owned()))],
            body: Zeroizing::new(body.as_bytes().to_vec()),
        })
    };
    client.send(&Exchange {
        name: "Test",
        repeat,
        deadline: in_a_minute(),
        prepare: &prepare,
        judge: &judge_by_status,
    })
}

/// A port on which nobody listens.
pub(in crate::http) fn dead_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
