//! Tokens whose keys are in a service: a trust provider's remote signing (CSC API) or a cloud's key management (AWS KMS).
//!
//! A protocol is one [`Protocol`] row and one [`Service`] in `protocols`; everything else is the same for all: the
//! `Driver` with its slots, tokens and sessions, and the HTTP client with its endpoints, limits and repetitions. What a
//! token holds is configured with it ([`Inventory`]), so that only using a key, and asking for what there is
//! ([`Service::list`]), touches the network.
//!
//! A protocol makes the inventory with [`Records`]: it gives it each key with its certificates, and gets names, identities
//! and pairs that are the same for all protocols.

#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod base64;
mod certificate;
mod configuration;
mod driver;
mod finding;
pub mod http;
mod json;
#[cfg(any(test, feature = "memory"))]
pub mod memory;
mod protocol;
mod protocols;
mod records;
mod session;
mod text;
mod token;
#[cfg(test)]
mod walk;

pub use configuration::{
    CertificateRecord, Configuration, Inventory, KeyRecord, RunCommand, Secret, Settings,
    Surroundings, Value,
};
pub use driver::Driver;
pub use finding::{Finding, Step};
pub use protocol::{Kind, Protocol, Service, ServiceSession, SettingRow};
pub use protocols::PROTOCOLS;
pub use records::{MAX_CERTIFICATE, MAX_CHAIN, MAX_KEYS, Records};
