//! Network tokens: registering the keys of a service, asking it again, and what is wrong with the way to it.

mod add;
mod args;
mod ask;
mod difference;
mod doctor;
mod facts;
mod refresh;
mod service;
mod split;
mod test;
mod update;

pub(crate) use add::run as add;
pub(crate) use args::ServiceArguments;
pub(crate) use doctor::{
    check as check_services, check_briefly as check_services_briefly, check_stored,
};
pub(crate) use facts::{before_use, json, secret_files, words};
pub(crate) use refresh::run as refresh;
pub(crate) use service::called;
pub(crate) use test::run as test;
pub(crate) use update::run as update;

/// Whether tokens of this driver are at a service.
pub(crate) fn is_network(driver: &str) -> bool {
    ctk_host::network::protocol(driver).is_some()
}
