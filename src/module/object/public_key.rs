//! The attributes that follow from a public key (PKCS#11 §6.1, §6.3, §6.67, §6.68).

use std::borrow::Cow;

use cryptoki_sys::*;
use ctk_token::{KeyType, PublicKey, PublicKeyMaterial};

use super::certificate::octet_string;

/// CKA_KEY_TYPE.
pub(super) fn key_type(key: KeyType) -> CK_KEY_TYPE {
    match key {
        KeyType::Rsa { .. } => CKK_RSA,
        KeyType::Ec(_) => CKK_EC,
        KeyType::Ed25519 | KeyType::Ed448 => CKK_EC_EDWARDS,
        KeyType::X25519 | KeyType::X448 => CKK_EC_MONTGOMERY,
        KeyType::MlDsa44 | KeyType::MlDsa65 | KeyType::MlDsa87 => CKK_ML_DSA,
        KeyType::MlKem512 | KeyType::MlKem768 | KeyType::MlKem1024 => CKK_ML_KEM,
    }
}

/// Modulus and exponent.
pub(super) fn rsa(key: &PublicKey) -> Option<(&[u8], &[u8])> {
    match key.material() {
        PublicKeyMaterial::Rsa { modulus, exponent } => Some((modulus, exponent)),
        PublicKeyMaterial::Ec { .. } | PublicKeyMaterial::Raw { .. } => None,
    }
}

pub(super) fn modulus_bits(key: &PublicKey) -> Option<CK_ULONG> {
    match key.key_type() {
        KeyType::Rsa { bits } => Some(CK_ULONG::from(bits)),
        _ => None,
    }
}

/// The public point of an elliptic curve key, bare.
pub(super) fn point(key: &PublicKey) -> Option<&[u8]> {
    match key.material() {
        PublicKeyMaterial::Ec { point, .. } => Some(point),
        PublicKeyMaterial::Raw { key_type, bytes } if parameter_set(*key_type).is_none() => {
            Some(bytes)
        }
        PublicKeyMaterial::Raw { .. } | PublicKeyMaterial::Rsa { .. } => None,
    }
}

/// CKA_VALUE of an ML-DSA or ML-KEM key.
pub(super) fn encoded(key: &PublicKey) -> Option<&[u8]> {
    match key.material() {
        PublicKeyMaterial::Raw { key_type, bytes } if parameter_set(*key_type).is_some() => {
            Some(bytes)
        }
        _ => None,
    }
}

/// The curve as a DER OBJECT IDENTIFIER: OpenSSH reads no other form for ECDSA, and reads it for
/// Ed25519 as well.
pub(super) fn ec_params(key: KeyType) -> Option<Vec<u8>> {
    const EDWARDS: [u8; 4] = [0x06, 0x03, 0x2B, 0x65];
    let edwards = |last: u8| [&EDWARDS[..], &[last]].concat();
    match key {
        KeyType::Ec(curve) => {
            let oid = curve.oid();
            let content = oid.as_bytes();
            Some([&[0x06, u8::try_from(content.len()).ok()?], content].concat())
        }
        // 1.3.101.110 to 113 (RFC 8410 §3).
        KeyType::X25519 => Some(edwards(0x6E)),
        KeyType::X448 => Some(edwards(0x6F)),
        KeyType::Ed25519 => Some(edwards(0x70)),
        KeyType::Ed448 => Some(edwards(0x71)),
        _ => None,
    }
}

/// CKA_PARAMETER_SET of an ML-DSA or ML-KEM key.
pub(super) fn parameter_set(key: KeyType) -> Option<CK_ULONG> {
    Some(match key {
        KeyType::MlDsa44 => CKP_ML_DSA_44,
        KeyType::MlDsa65 => CKP_ML_DSA_65,
        KeyType::MlDsa87 => CKP_ML_DSA_87,
        KeyType::MlKem512 => CKP_ML_KEM_512,
        KeyType::MlKem768 => CKP_ML_KEM_768,
        KeyType::MlKem1024 => CKP_ML_KEM_1024,
        _ => return None,
    })
}

/// All of them, as they stand on the C side. What only one half of a pair has says `public`.
pub(super) fn attributes(key: &PublicKey, public: bool) -> Vec<(CK_ATTRIBUTE_TYPE, Cow<'_, [u8]>)> {
    let number = |value: CK_ULONG| Cow::Owned(value.to_ne_bytes().to_vec());
    let kind = key.key_type();
    let mut all = vec![
        (CKA_KEY_TYPE, number(key_type(kind))),
        (CKA_PUBLIC_KEY_INFO, Cow::Borrowed(key.spki())),
    ];
    if let Some((modulus, exponent)) = rsa(key) {
        all.push((CKA_MODULUS, Cow::Borrowed(modulus)));
        all.push((CKA_PUBLIC_EXPONENT, Cow::Borrowed(exponent)));
    }
    if let Some(bits) = modulus_bits(key).filter(|_| public) {
        all.push((CKA_MODULUS_BITS, number(bits)));
    }
    if let Some(parameters) = ec_params(kind) {
        all.push((CKA_EC_PARAMS, Cow::Owned(parameters)));
    }
    if let Some(point) = point(key) {
        all.push((CKA_EC_POINT, Cow::Owned(octet_string(point))));
    }
    if let Some(set) = parameter_set(kind) {
        all.push((CKA_PARAMETER_SET, number(set)));
    }
    if let Some(encoded) = encoded(key).filter(|_| public) {
        all.push((CKA_VALUE, Cow::Borrowed(encoded)));
    }
    all
}

/// What the public and the private half of a key of this kind can be used for unless a template says
/// otherwise. CKA_DERIVE is false by default (PKCS#11 §4.8), also where it is all that a key can do.
pub(super) fn uses(key: KeyType) -> (&'static [CK_ATTRIBUTE_TYPE], &'static [CK_ATTRIBUTE_TYPE]) {
    match key {
        KeyType::Rsa { .. } => (
            &[CKA_ENCRYPT, CKA_VERIFY, CKA_VERIFY_RECOVER, CKA_WRAP],
            &[CKA_DECRYPT, CKA_SIGN, CKA_SIGN_RECOVER, CKA_UNWRAP],
        ),
        KeyType::Ec(_)
        | KeyType::Ed25519
        | KeyType::Ed448
        | KeyType::MlDsa44
        | KeyType::MlDsa65
        | KeyType::MlDsa87 => (&[CKA_VERIFY], &[CKA_SIGN]),
        KeyType::X25519 | KeyType::X448 => (&[], &[]),
        KeyType::MlKem512 | KeyType::MlKem768 | KeyType::MlKem1024 => {
            (&[CKA_ENCAPSULATE], &[CKA_DECAPSULATE])
        }
    }
}
