//! Smart cards: what is on them, keys and certificates for them, and their PINs.

mod args;
mod certificate;
mod doctor;
mod facts;
mod find;
mod generate;
mod info;
mod init;
mod pin;
mod pkcs10;
mod place;
mod request;
mod secret;
#[cfg(test)]
mod testing;
mod watch;

pub(crate) use args::{CardCommand, PinCommand};
pub(crate) use doctor::{check as check_cards, check_briefly as check_cards_briefly};
pub(crate) use facts::{CardFacts, KeyFacts};
pub(crate) use find::{Card, name as reader_name, named, obstacle, readers};
pub(crate) use info::show;
pub(crate) use secret::{authenticate_again, log_in};
pub(crate) use watch::run as watch;

use crate::console::{Console, Outcome};

pub(crate) fn run(console: &Console, command: &CardCommand) -> Outcome {
    match command {
        CardCommand::Info(arguments) => info::run(console, arguments),
        CardCommand::Init(arguments) => init::run(console, arguments),
        CardCommand::Generate(arguments) => generate::run(console, arguments),
        CardCommand::Request(arguments) => request::run(console, arguments),
        CardCommand::ImportCert(arguments) => certificate::import(console, arguments),
        CardCommand::DeleteCert(arguments) => certificate::delete(console, arguments),
    }
}

pub(crate) fn run_pin(console: &Console, command: &PinCommand) -> Outcome {
    match command {
        PinCommand::Change(arguments) => pin::change(console, arguments),
        PinCommand::Unblock(arguments) => pin::unblock(console, arguments),
    }
}
