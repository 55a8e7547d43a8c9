//! One signature by a key of a token, from the whole message.

use ctk_crypto::Reduction;
use ctk_token::{Key, KeyAlgorithm, Operation, Result, TokenError, TokenSession};

/// Signs a message; `ready` is called just before the key is used, for a key that wants an authentication each time.
pub(crate) fn sign(
    session: &dyn TokenSession,
    key: &Key,
    algorithm: KeyAlgorithm,
    message: &[u8],
    ready: &dyn Fn() -> Result<()>,
) -> Result<Vec<u8>> {
    let public = &key.public_key;
    let supports = |form| session.supports(Operation::Sign, &key.id, form);
    let reduction = Reduction::new(algorithm, public, supports)?.ok_or(TokenError::NotSupported)?;
    let hash = match reduction.message_digest() {
        Some(digest) => Some(ctk_crypto::hash(digest, message)?),
        None => None,
    };
    let mut block = None;
    let request = reduction.apply(hash.as_deref().unwrap_or(message), &mut block)?;
    let mut signature = vec![0; public.max_signature_len()];
    ready()?;
    let len = session.sign(&key.id, request.algorithm, request.input, &mut signature)?;
    signature.truncate(len);
    Ok(signature)
}
