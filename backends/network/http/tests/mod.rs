//! The client against servers that answer as they are told.

mod alerts;
pub(super) mod asking;
mod authority;
mod connections;
mod faults;
pub(super) mod folder;
mod fuzz;
mod log;
mod repetitions;
pub(super) mod server;
mod tls;
