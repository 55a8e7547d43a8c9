//! A service made for tests ([`fake`]), and what becomes of its answers.

mod access;
mod conformance;
mod fake;
mod lists;
mod logins;
mod several;
mod signatures;
mod strange_answers;
mod unauthorized;
mod world;
