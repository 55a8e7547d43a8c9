//! The example keeps every rule of the contract.
#![allow(clippy::unwrap_used, reason = "a test reports by panicking")]

use ctk_token::{KeyAlgorithm, PublicKey, TokenDriver, conformance};

struct Example;

impl conformance::Fixture for Example {
    fn driver(&self) -> Box<dyn TokenDriver> {
        Box::new(ctk_example_backend::Driver::new().unwrap())
    }

    fn pin(&self) -> Option<&[u8]> {
        None
    }

    fn wrong_pin(&self) -> &[u8] {
        b"none is right"
    }

    fn verify(&self, key: &PublicKey, how: KeyAlgorithm, input: &[u8], signature: &[u8]) -> bool {
        ctk_crypto::verify(key, how, input, signature).unwrap()
    }
}

#[test]
fn conforms() {
    let outcomes = conformance::run(&Example);
    let held = outcomes.iter().filter(|it| it.not_applicable.is_none());
    // Seven are about a PIN, which it does not have, and one about ML-DSA.
    assert_eq!(held.count(), conformance::RULES - 8);
}
