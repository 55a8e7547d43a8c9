//! Agreement on a secret with somebody's public key: ECDH (SP 800-56A §5.7.1.2), X25519 and X448 (RFC 7748 §6).

use ctk_token::{Curve, KeyType, Result, TokenError};
use openssl::{
    pkey::{Id, PKey, Private, Public},
    pkey_ctx::PkeyCtx,
};
use zeroize::Zeroize;

use crate::{curve, sys};

/// Writes the x coordinate of the shared point, as long as a field element. The caller is inside the library.
pub(crate) fn ecdh(
    curve: Curve,
    key: &PKey<Private>,
    peer: &[u8],
    secret: &mut [u8],
) -> Result<usize> {
    derive(key, &curve::public_key(curve, peer)?, secret)
}

/// Writes the shared u coordinate. The caller is inside the library.
pub(crate) fn montgomery(
    key_type: KeyType,
    key: &PKey<Private>,
    peer: &[u8],
    secret: &mut [u8],
) -> Result<usize> {
    let id = match key_type {
        KeyType::X25519 => Id::X25519,
        KeyType::X448 => sys::X448.ok_or(TokenError::NotSupported)?,
        _ => return Err(TokenError::NotSupported),
    };
    let peer = PKey::public_key_from_raw_bytes(peer, id).map_err(|_| TokenError::BadParameter)?;
    let len = derive(key, &peer, secret)?;
    // A peer of small order makes zeros whatever our key is (RFC 7748 §6.1): no secret at all. Both libraries refuse it
    // by themselves; this does not depend on it. Every byte is looked at, whatever is in it.
    let written = secret.get(..len).unwrap_or_default();
    if written.iter().fold(0, |seen, byte| seen | byte) == 0 {
        return Err(TokenError::BadParameter);
    }
    Ok(len)
}

fn derive(key: &PKey<Private>, peer: &PKey<Public>, secret: &mut [u8]) -> Result<usize> {
    let mut context = PkeyCtx::new(key).map_err(sys::failed)?;
    context.derive_init().map_err(sys::failed)?;
    // What fails from here on is the peer's doing.
    context
        .derive_set_peer(peer)
        .and_then(|()| context.derive(Some(secret)))
        .map_err(|_| {
            secret.zeroize();
            TokenError::BadParameter
        })
}
