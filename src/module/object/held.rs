//! A private key of a session, which this process has itself.

use ctk_crypto::PrivateKey;
use ctk_token::{KeyAlgorithm, ObjectId, Operation, Result, TokenSession};

/// The key, as one who performs with it. Nobody has to log in, and it has no other key.
pub(super) struct Held(pub(super) PrivateKey);

impl TokenSession for Held {
    fn supports(&self, operation: Operation, _: &ObjectId, algorithm: KeyAlgorithm) -> bool {
        self.0.supports(operation, algorithm)
    }

    fn sign(
        &self,
        _: &ObjectId,
        algorithm: KeyAlgorithm,
        input: &[u8],
        signature: &mut [u8],
    ) -> Result<usize> {
        self.0.sign(algorithm, input, signature)
    }

    fn decrypt(
        &self,
        _: &ObjectId,
        algorithm: KeyAlgorithm,
        input: &[u8],
        plaintext: &mut [u8],
    ) -> Result<usize> {
        self.0.decrypt(algorithm, input, plaintext)
    }

    fn key_exchange(
        &self,
        _: &ObjectId,
        algorithm: KeyAlgorithm,
        peer: &[u8],
        secret: &mut [u8],
    ) -> Result<usize> {
        self.0.key_exchange(algorithm, peer, secret)
    }
}
