//! HTTP as a guest in somebody's process: blocking, in the caller's thread, within limits, over connections that are kept.
//!
//! A [`Client`] belongs to one token. It knows the token's endpoints and goes to the next when one cannot be reached; it
//! repeats a request only if that is safe ([`Repeat`]), with growing pauses, and all of it ends by the operation's
//! [`Deadline`]. It
//! follows no redirect, reads no more of an answer than [`MAX_BODY`], starts no thread, and sets nothing in the process.
//!
//! HTTP/1.1 itself is `ureq`'s, which keeps the connections; the sockets, names, proxies and TLS under it are ours.

mod ask;
mod buffers;
mod check;
mod client;
mod connector;
mod date;
mod deadline;
mod endpoint;
mod exceptions;
mod exchange;
mod failure;
mod files;
mod names;
mod proxy;
mod retry;
mod security;
mod settings;
#[cfg(test)]
mod tests;
mod transport;
mod wait;

pub use client::Client;
pub use deadline::Deadline;
pub use endpoint::Endpoint;
pub use exchange::{Exchange, Method, Repeat, Request, Response, Verdict, judge_by_status};
pub use settings::SETTINGS;

/// The most that is read of an answer, in bytes.
pub const MAX_BODY: usize = 1 << 20;
