//! The protocol against scripted answers: no socket, no clock of this machine.

mod credentials;
mod keys;
mod requests;
mod signatures;
mod strange_answers;
mod world;
