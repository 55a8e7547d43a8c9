//! Who answers requests: a real server, or a layer before one.

use std::{io, sync::Arc};

use crate::http::{Request, Response, ask};

/// Answers requests.
pub trait Backend: Send + Sync {
    /// The answer. An error ends the connection without one.
    ///
    /// # Errors
    /// What the server behind it failed with.
    fn answer(&self, request: &Request) -> io::Result<Response>;
}

/// A server on this machine; each request has a connection of its own.
#[derive(Clone, Copy, Debug)]
pub struct Forward {
    port: u16,
}

impl Forward {
    /// Of the server on this port of 127.0.0.1.
    pub fn to(port: u16) -> Self {
        Self { port }
    }
}

impl Backend for Forward {
    fn answer(&self, request: &Request) -> io::Result<Response> {
        ask(self.port, request)
    }
}

impl<F: Fn(&Request) -> Response + Send + Sync> Backend for F {
    fn answer(&self, request: &Request) -> io::Result<Response> {
        Ok(self(request))
    }
}

impl<T: Backend + ?Sized> Backend for Arc<T> {
    fn answer(&self, request: &Request) -> io::Result<Response> {
        (**self).answer(request)
    }
}
