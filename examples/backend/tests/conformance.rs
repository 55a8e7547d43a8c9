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
    assert_eq!(conformance::run(&Example).len(), conformance::RULES);
}
