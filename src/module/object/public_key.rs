//! The attributes that follow from a public key (PKCS#11 §6.1, §6.3, §6.67, §6.68).

use std::borrow::Cow;

use cryptoki_sys::*;
use ctk_crypto::has_key_type;
use ctk_token::{Curve, KeyType, Operation, PublicKey, PublicKeyMaterial};

use super::{certificate::octet_string, index};
use crate::error::{Error, Result};

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

/// Whether a template of these attributes can be that of a key of this kind. Numbers and points have
/// several spellings, so that they are not compared; the key's kind and size are.
///
/// # Errors
/// CKR_TEMPLATE_INCONSISTENT if it says otherwise or has what other kinds of keys have.
pub(super) fn check_kind<'a>(
    kind: KeyType,
    public: bool,
    named: impl Fn(CK_ATTRIBUTE_TYPE) -> Option<&'a [u8]>,
) -> Result<()> {
    let bits = match kind {
        KeyType::Rsa { bits } => Some(CK_ULONG::from(bits)),
        _ => None,
    };
    let (rsa, set) = (bits.is_some(), parameter_set(kind));
    let curve = !rsa && set.is_none();
    for (attribute, has, value) in [
        (CKA_KEY_TYPE, true, Some(key_type(kind))),
        (CKA_MODULUS, rsa, None),
        (CKA_MODULUS_BITS, rsa && public, bits),
        (CKA_PUBLIC_EXPONENT, rsa, None),
        (CKA_EC_PARAMS, curve, None),
        (CKA_EC_POINT, curve, None),
        (CKA_PARAMETER_SET, set.is_some(), set),
        (CKA_VALUE, set.is_some() && public, None),
    ] {
        let differs = |named: &[u8]| value.is_some_and(|value| *named != value.to_ne_bytes());
        if named(attribute).is_some_and(|named| !has || differs(named)) {
            return Err(Error::TemplateInconsistent);
        }
    }
    Ok(())
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

/// Whether keys of this kind can be used so at all, whatever a token says of its own.
pub(super) fn serves(key: &PublicKey, operation: Operation) -> bool {
    match operation {
        Operation::Sign => key.max_signature_len() > 0,
        Operation::Decrypt => matches!(key.key_type(), KeyType::Rsa { .. }) && !key.is_pss_only(),
        Operation::KeyExchange => key.shared_secret_len() > 0,
    }
}

/// Whether private keys of this kind have this attribute, which nobody gets.
pub(super) fn has_secret(key: KeyType, attribute: CK_ATTRIBUTE_TYPE) -> bool {
    let rsa = matches!(key, KeyType::Rsa { .. });
    match attribute {
        CKA_PRIVATE_EXPONENT | CKA_PRIME_1 | CKA_PRIME_2 | CKA_EXPONENT_1 | CKA_EXPONENT_2
        | CKA_COEFFICIENT => rsa,
        CKA_VALUE => !rsa,
        CKA_SEED => parameter_set(key).is_some(),
        _ => false,
    }
}

/// The kind of an elliptic curve key of this CKA_KEY_TYPE and CKA_EC_PARAMS (PKCS#11 §6.3.3, §6.3.5,
/// §6.3.7): the curve's OBJECT IDENTIFIER, or its name as a PrintableString.
///
/// # Errors
/// CKR_CURVE_NOT_SUPPORTED for another curve, CKR_DOMAIN_PARAMS_INVALID for what names none.
pub(crate) fn curve(key_type: CK_KEY_TYPE, parameters: &[u8]) -> Result<KeyType> {
    const RAW: [(KeyType, &str); 4] = [
        (KeyType::Ed25519, "edwards25519"),
        (KeyType::Ed448, "edwards448"),
        (KeyType::X25519, "curve25519"),
        (KeyType::X448, "curve448"),
    ];
    let named = match parameters {
        [0x06, len, oid @ ..] if usize::from(*len) == oid.len() => None,
        [0x13, len, name @ ..] if usize::from(*len) == name.len() => Some(name),
        // Explicit parameters, which are not taken from anybody (RFC 5480 §2.1.1).
        [0x30, ..] => return Err(Error::CurveNotSupported),
        _ => return Err(Error::DomainParamsInvalid),
    };
    let curves = Curve::ALL.iter().map(|curve| KeyType::Ec(*curve));
    let found = match named {
        None => curves
            .chain(RAW.map(|(kind, _)| kind))
            .find(|kind| ec_params(*kind).as_deref() == Some(parameters)),
        Some(name) => RAW
            .into_iter()
            .find(|(_, known)| known.as_bytes() == name)
            .map(|(kind, _)| kind),
    };
    found
        .filter(|kind| self::key_type(*kind) == key_type)
        .ok_or(Error::CurveNotSupported)
}

/// The ML-DSA or ML-KEM keys of this CKA_KEY_TYPE and CKA_PARAMETER_SET (PKCS#11 §6.67, §6.68).
///
/// # Errors
/// CKR_PARAMETER_SET_NOT_SUPPORTED for a set that there is not.
pub(crate) fn of_set(key_type: CK_KEY_TYPE, set: CK_ULONG) -> Result<KeyType> {
    [
        KeyType::MlDsa44,
        KeyType::MlDsa65,
        KeyType::MlDsa87,
        KeyType::MlKem512,
        KeyType::MlKem768,
        KeyType::MlKem1024,
    ]
    .into_iter()
    .find(|kind| self::key_type(*kind) == key_type && parameter_set(*kind) == Some(set))
    .ok_or(Error::ParameterSetNotSupported)
}

/// A public key of this kind whose CKA_EC_POINT is this: bare, or in an OCTET STRING; of the keys
/// that have no coordinates 3.0 also had a BIT STRING.
///
/// # Errors
/// CKR_ATTRIBUTE_VALUE_INVALID for what is not on the curve, CKR_CURVE_NOT_SUPPORTED for a curve that
/// the crypto library lacks.
pub(super) fn of_point(kind: KeyType, value: &[u8]) -> Result<PublicKey> {
    if !has_key_type(kind) {
        return Err(Error::CurveNotSupported);
    }
    let invalid = |_| Error::AttributeValueInvalid;
    let bare = match kind {
        KeyType::Ec(curve) if value.len() == 1 + 2 * curve.bytes() => value,
        KeyType::Ec(_) => index::content(value).ok_or(Error::AttributeValueInvalid)?,
        _ => match value {
            [0x03, len, 0, point @ ..] if usize::from(*len) == point.len() + 1 => point,
            _ if [32, 56, 57].contains(&value.len()) => value,
            _ => index::content(value).ok_or(Error::AttributeValueInvalid)?,
        },
    };
    if let KeyType::Ec(curve) = kind {
        ctk_crypto::check_point(curve, bare).map_err(invalid)?;
        return PublicKey::ec(curve, bare).map_err(invalid);
    }
    PublicKey::raw(kind, bare).map_err(invalid)
}
