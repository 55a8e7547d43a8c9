//! The suite that every backend runs: the rules of the contract, executable.
//!
//! [`run`] takes a [`Fixture`] and panics at the first rule that does not hold, so it is called from a
//! `#[test]`. A token behind a socket runs the same suite with the same fixture.
#![allow(
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test suite reports by panicking"
)]

mod authentication;
mod contents;
mod decryption;
mod inputs;
mod new_secrets;
mod refusals;
mod signatures;
mod steps;

pub use inputs::{decryption_algorithms, exchange_algorithms, sample_input, signing_algorithms};

use crate::{KeyAlgorithm, PublicKey, TokenDriver};

/// What the suite needs from a backend: a driver with at least one token that has at least one key for signatures.
pub trait Fixture {
    /// A fresh driver. Called several times; each time the same tokens in the same state.
    fn driver(&self) -> Box<dyn TokenDriver>;

    /// The right user secret, or `None` if the keys need none.
    fn pin(&self) -> Option<&[u8]>;

    /// A wrong secret of acceptable length. It is sent a few times, never twice without the right one in between.
    fn wrong_pin(&self) -> &[u8];

    /// Whether `signature` (ECDSA in DER) fits `input`, which is what `algorithm` takes.
    fn verify(
        &self,
        key: &PublicKey,
        algorithm: KeyAlgorithm,
        input: &[u8],
        signature: &[u8],
    ) -> bool;

    /// A ciphertext that `algorithm` decrypts to `plaintext`; for [`KeyAlgorithm::RsaRaw`] the plaintext is a whole block.
    /// Needed, with RsaRaw in any case, if a key decrypts.
    fn encrypt(
        &self,
        key: &PublicKey,
        algorithm: KeyAlgorithm,
        plaintext: &[u8],
    ) -> Option<Vec<u8>> {
        let _ = (key, algorithm, plaintext);
        None
    }

    /// Somebody to agree with: what [`key_exchange`](crate::TokenSession::key_exchange) takes, and the secret that it
    /// gives then. Needed if a key agrees on secrets.
    fn peer(&self, key: &PublicKey, algorithm: KeyAlgorithm) -> Option<(Vec<u8>, Vec<u8>)> {
        let _ = (key, algorithm);
        None
    }

    /// Another user secret, needed if the first token that signs lets it be changed. It is changed back.
    fn new_pin(&self) -> Option<&[u8]> {
        None
    }
}

/// How many rules there are.
pub const RULES: usize = 24;

/// What became of a rule that was not broken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Outcome {
    /// The rule, in words.
    pub rule: &'static str,
    /// Why nothing could break the rule with these tokens, if it was not held to anything.
    pub not_applicable: Option<&'static str>,
}

/// What a rule says of itself: nothing if it held, or why it does not apply.
type Verdict = Result<(), NotApplicable>;

/// Why a rule does not apply.
struct NotApplicable(&'static str);

const NO_PIN: NotApplicable = NotApplicable("the keys need no secret");
const EACH_TIME: NotApplicable = NotApplicable("each use of the key needs a secret");

/// Runs every rule and says of each whether it held or does not apply, in order. A test names the ones
/// that it expects not to apply, so that no rule is left out unseen.
pub fn run(fixture: &dyn Fixture) -> Vec<Outcome> {
    type Rule = fn(&dyn Fixture) -> Verdict;
    let rules: [(&'static str, Rule); RULES] = [
        (
            "a driver names its slots once and in a stable order",
            contents::slots_are_stable,
        ),
        ("a slot keeps its token", contents::slot_keeps_its_token),
        ("a token describes itself", contents::token_describes_itself),
        (
            "items have unique names and identities",
            contents::items_are_unique,
        ),
        (
            "a certificate and the key of its identity fit",
            contents::identities_fit,
        ),
        (
            "contents stay the same snapshot",
            contents::contents_are_a_snapshot,
        ),
        (
            "an unknown key is not found",
            refusals::unknown_key_is_not_found,
        ),
        (
            "keys need their authentication",
            authentication::keys_need_authentication,
        ),
        (
            "a wrong secret changes nothing",
            authentication::wrong_secret_changes_nothing,
        ),
        (
            "an abandoned authentication changes nothing",
            authentication::abandoned_auth_changes_nothing,
        ),
        (
            "every supported algorithm signs",
            signatures::every_supported_algorithm_signs,
        ),
        (
            "no two ML-DSA signatures are the same",
            signatures::ml_dsa_is_hedged,
        ),
        (
            "an input that cannot be signed is refused",
            signatures::wrong_inputs_are_refused,
        ),
        (
            "too little room is refused",
            refusals::short_buffers_are_refused,
        ),
        (
            "every supported algorithm decrypts",
            decryption::every_supported_algorithm_decrypts,
        ),
        (
            "every supported algorithm agrees on a secret",
            decryption::every_supported_algorithm_agrees,
        ),
        (
            "the end of an authentication is its end",
            authentication::end_auth_ends,
        ),
        (
            "the end of another role's authentication is not the user's",
            authentication::other_roles_end_apart,
        ),
        (
            "sessions do not share authentication",
            authentication::sessions_are_apart,
        ),
        (
            "a login that races its end is whole or not at all",
            authentication::logins_race_their_end,
        ),
        ("several threads sign", signatures::threads_sign),
        (
            "a new secret replaces the old one",
            new_secrets::new_secret_replaces_the_old,
        ),
        (
            "a new secret of the wrong length is refused",
            new_secrets::wrong_lengths_are_refused,
        ),
        (
            "a role that the token does not have has no secret",
            new_secrets::other_roles_have_none,
        ),
    ];
    rules
        .into_iter()
        .map(|(name, rule)| Outcome {
            rule: name,
            not_applicable: rule(fixture).err().map(|NotApplicable(why)| why),
        })
        .collect()
}

#[cfg(test)]
mod tests;
