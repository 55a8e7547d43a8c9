//! The client against servers that answer as they are told.

mod asking;
mod connections;
pub(super) mod folder;
mod server;
