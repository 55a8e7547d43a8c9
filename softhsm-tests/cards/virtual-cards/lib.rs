//! PIV and OpenPGP cards in software: real applets on their own firmware, for tests only.
//!
//! [`Card`] is one in this process; the program `virtual-card` puts one into a reader of pcscd.

#![deny(unsafe_code)]

mod apdu;
mod card;
mod chip;
mod corrections;
mod firmware;
mod log;
mod memory;
pub mod personalise;
mod sys;
pub mod vpcd;

pub use apdu::{Command, StatusWord};
pub use card::{Applet, Card, Faults, Model, Mute};
pub use log::Log;
pub use memory::{Memory, random_serial};
