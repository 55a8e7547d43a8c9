//! Services whose keys the tests use: other people's servers, started from nothing, and a proxy that stands before them.
//!
//! [`Csc`], [`Kms`] and [`Moto`] are servers from PyPI, each in a process of its own on a free port of 127.0.0.1. A
//! [`Proxy`] serves what a [`Backend`] answers, over HTTP or TLS, and makes the faults that networks and servers make.
//! Backends are stacked: [`Forward`] asks a real server, [`csc::Rules`] adds what certomancer-csc does not check, and the
//! dialects of [`csc`] translate.

#![deny(missing_docs)]

mod authority;
mod certomancer;
mod connection;
pub mod csc;
mod forward;
mod http;
mod localstack;
mod loopback;
mod moto;
mod programs;
mod proxy;
mod sys;
mod tls;

#[path = "../process.rs"]
pub mod process;
#[path = "../work.rs"]
pub mod work;

pub use authority::{Authority, ServerCertificate, ServerIdentity};
pub use certomancer::{Csc, Scal};
pub use forward::{Backend, Forward};
pub use http::{Request, Response, ask};
pub use localstack::{Account, DecryptingKms, Kms, KmsKey};
pub use loopback::listening_addresses;
pub use moto::{Access, Moto};
pub use proxy::{Connecting, Counts, Fault, Proxy};
pub use tls::Tls;
