//! What the tests of the built module share: tokens with keys made for the test, programs with a time limit, the loaded module.

pub mod apdus;
pub mod bed;
pub mod calls;
pub mod cards;
pub mod desk;
pub mod faulty;
pub mod isolated;
pub mod login;
pub mod module;
pub mod network;
pub mod other_program;
pub mod pcscd;
pub mod process;
pub mod python;
pub mod random;
pub mod tls;
pub mod work;
