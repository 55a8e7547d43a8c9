//! Named curves and the points on them.

use ctk_token::{Curve, Result, TokenError};
use openssl::{
    bn::BigNumContext,
    ec::{EcGroup, EcKey, EcPoint},
    nid::Nid,
    pkey::{PKey, Public},
};

use crate::{fork, sys};

/// Checks that `point` is somebody's public key on this curve: `04‖x‖y` (SEC 1 §2.3.3) of an affine point.
///
/// The hybrid forms 06 and 07, the compressed ones and the point at infinity are refused: nothing that uses public keys
/// takes them, and a library that reads them takes two encodings for one key.
///
/// # Errors
/// [`TokenError::BadParameter`] for anything else than such a point, [`TokenError::NotSupported`] for a curve that the
/// library lacks.
pub fn check_point(curve: Curve, point: &[u8]) -> Result<()> {
    sys::ready();
    let _inside = fork::enter();
    public_key(curve, point).map(drop)
}

/// The library's form of a checked point. The caller is inside the library.
pub(crate) fn public_key(curve: Curve, point: &[u8]) -> Result<PKey<Public>> {
    if point.first() != Some(&4) || point.len() != 1 + 2 * curve.bytes() {
        return Err(TokenError::BadParameter);
    }
    let group = group(curve)?;
    let mut numbers = BigNumContext::new().map_err(sys::failed)?;
    // Both libraries refuse here what is not on the curve. All curves have cofactor 1, so every point on one is of the
    // right order.
    let point =
        EcPoint::from_bytes(&group, point, &mut numbers).map_err(|_| TokenError::BadParameter)?;
    let on_curve = point.is_on_curve(&group, &mut numbers);
    if !on_curve.map_err(sys::failed)? || point.is_infinity(&group) {
        return Err(TokenError::BadParameter);
    }
    EcKey::from_public_key(&group, &point)
        .and_then(PKey::from_ec_key)
        .map_err(sys::failed)
}

/// The library's form of a curve.
///
/// # Errors
/// [`TokenError::NotSupported`] if it lacks the curve.
pub(crate) fn group(curve: Curve) -> Result<EcGroup> {
    let name = match curve {
        Curve::P224 => Nid::SECP224R1,
        Curve::P256 => Nid::X9_62_PRIME256V1,
        Curve::P384 => Nid::SECP384R1,
        Curve::P521 => Nid::SECP521R1,
        Curve::Secp256k1 => Nid::SECP256K1,
        Curve::BrainpoolP256r1 => Nid::BRAINPOOL_P256R1,
        Curve::BrainpoolP384r1 => Nid::BRAINPOOL_P384R1,
        Curve::BrainpoolP512r1 => Nid::BRAINPOOL_P512R1,
    };
    EcGroup::from_curve_name(name).map_err(|_| TokenError::NotSupported)
}
