//! The API of the Cloud Signature Consortium: remote signing by trust service providers.
//!
//! Versions 1.0.4 and 2.x, and 0.1.7.9, which SSL.com's eSigner speaks. A service tells its version, its credentials and
//! what each wants of its owner once, when the token is registered or refreshed; a [`Facts`](facts::Facts) of that is
//! stored with each key, so that a signature needs nothing but `credentials/authorize` and `signatures/signHash`, and the
//! latter alone where an authorisation lasts.

mod algorithm;
mod api;
mod authorize;
mod check;
mod credentials;
mod error;
mod expression;
mod facts;
mod fetch;
mod grants;
mod identity;
mod info;
mod options;
mod refusal;
mod refused;
mod service;
mod session;
mod sign;
#[cfg(test)]
mod tests;
mod totp;

use std::sync::Arc;

use crate::Protocol;

/// The row of this protocol.
pub(super) static PROTOCOL: Protocol = Protocol {
    name: "csc",
    title: "CSC API",
    settings: options::SETTINGS,
    key_facts: facts::KEY_FACTS,
    open: |configuration| Arc::new(service::CscService::open(configuration)),
};
