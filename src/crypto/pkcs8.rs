//! The shell around keys: PrivateKeyInfo (RFC 5208, RFC 5958) and SubjectPublicKeyInfo (RFC 5280).

use ctk_token::{Curve, KeyType, TokenError};
use zeroize::Zeroizing;

use crate::{available::has_key_type, der, rsa::unsound};

/// A private key's AlgorithmIdentifier and what it holds.
pub(crate) struct PrivateKeyInfo<'a> {
    /// The contents of the AlgorithmIdentifier.
    identifier: &'a [u8],
    algorithm: &'a [u8],
    parameters: &'a [u8],
    /// The contents of the OCTET STRING.
    pub(crate) private_key: &'a [u8],
}

impl<'a> PrivateKeyInfo<'a> {
    /// `None` if `der` is not a PrivateKeyInfo or something follows it, which the library would ignore.
    pub(crate) fn read(der: &'a [u8]) -> Option<Self> {
        let info = der::whole(der::SEQUENCE, der)?;
        let (_version, rest) = der::take(der::INTEGER, info)?;
        let (identifier, rest) = der::take(der::SEQUENCE, rest)?;
        let (algorithm, parameters) = der::take(der::OBJECT_IDENTIFIER, identifier)?;
        let (private_key, _attributes) = der::take(der::OCTET_STRING, rest)?;
        Some(Self {
            identifier,
            algorithm,
            parameters,
            private_key,
        })
    }

    /// The object identifier's contents.
    pub(crate) fn algorithm(&self) -> &'a [u8] {
        self.algorithm
    }

    pub(crate) fn has_parameters(&self) -> bool {
        !self.parameters.is_empty()
    }

    /// Why the library did not take such a key: because of its kind, or because it is damaged.
    pub(crate) fn refusal(&self) -> TokenError {
        let known = match self.algorithm {
            RSA | RSA_PSS => true,
            EC => der::whole(der::OBJECT_IDENTIFIER, self.parameters).is_some_and(|oid| {
                let mut curves = Curve::ALL.iter();
                let curve = curves.find(|curve| curve.oid().as_bytes() == oid);
                curve.is_some_and(|curve| has_key_type(KeyType::Ec(*curve)))
            }),
            other => RawKind::of(other).is_some_and(|kind| has_key_type(kind.key_type)),
        };
        if known {
            unsound()
        } else {
            TokenError::NotSupported
        }
    }
}

/// A kind of key whose public half has nothing to take apart and whose private half is made from a few random bytes.
#[derive(Clone, Copy)]
pub(crate) struct RawKind {
    pub(crate) key_type: KeyType,
    oid: &'static [u8],
    seed_len: usize,
}

impl RawKind {
    pub(crate) fn of(oid: &[u8]) -> Option<Self> {
        RAW_KINDS.into_iter().find(|kind| kind.oid == oid)
    }

    pub(crate) fn of_key(key_type: KeyType) -> Option<Self> {
        RAW_KINDS.into_iter().find(|kind| kind.key_type == key_type)
    }

    /// In bytes.
    pub(crate) fn seed_len(self) -> usize {
        self.seed_len
    }

    /// Whether it is ML-DSA or ML-KEM, whose private keys have three forms (RFC 9881 §6, RFC 9935 §6).
    pub(crate) fn is_post_quantum(&self) -> bool {
        !matches!(
            self.key_type,
            KeyType::Ed25519 | KeyType::Ed448 | KeyType::X25519 | KeyType::X448
        )
    }
}

/// PrivateKeyInfo of a key in its shortest form: CurvePrivateKey (RFC 8410 §7), or `seed [0]`.
pub(crate) fn from_seed(kind: RawKind, seed: &[u8]) -> Zeroizing<Vec<u8>> {
    let tag = if kind.is_post_quantum() {
        SEED
    } else {
        der::OCTET_STRING
    };
    private_key_info(kind, &der::element(tag, &[seed]))
}

/// PrivateKeyInfo around an encoded private key.
pub(crate) fn private_key_info(kind: RawKind, private_key: &[u8]) -> Zeroizing<Vec<u8>> {
    let oid = der::element(der::OBJECT_IDENTIFIER, &[kind.oid]);
    der::element(
        der::SEQUENCE,
        &[
            &[der::INTEGER, 1, 0],
            &der::element(der::SEQUENCE, &[&oid]),
            &der::element(der::OCTET_STRING, &[private_key]),
        ],
    )
}

/// The SubjectPublicKeyInfo of an RSA key under the AlgorithmIdentifier of its private half: one for RSASSA-PSS only keeps
/// its mark and its parameters (RFC 4055 §1.2, §3.1), which AWS-LC does not write.
pub(crate) fn rsa_spki(info: &PrivateKeyInfo<'_>, plain: &[u8]) -> Option<Vec<u8>> {
    if info.algorithm != RSA_PSS {
        return Some(plain.to_vec());
    }
    let (_, key) = der::take(der::SEQUENCE, der::whole(der::SEQUENCE, plain)?)?;
    let identifier = der::element(der::SEQUENCE, &[info.identifier]);
    Some(der::element(der::SEQUENCE, &[&identifier, key]).to_vec())
}

/// The tag of `seed [0] OCTET STRING`.
pub(crate) const SEED: u8 = 0x80;

const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const RSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];

/// RFC 8410 §3, RFC 9881 §2, RFC 9935 §3; the seeds' lengths are those of RFC 8032, RFC 7748, FIPS 204 §3.6.1 and
/// FIPS 203 §7.1.
const RAW_KINDS: [RawKind; 10] = [
    raw(KeyType::Ed25519, &[0x2b, 0x65, 0x70], 32),
    raw(KeyType::Ed448, &[0x2b, 0x65, 0x71], 57),
    raw(KeyType::X25519, &[0x2b, 0x65, 0x6e], 32),
    raw(KeyType::X448, &[0x2b, 0x65, 0x6f], 56),
    raw(
        KeyType::MlDsa44,
        b"\x60\x86\x48\x01\x65\x03\x04\x03\x11",
        32,
    ),
    raw(
        KeyType::MlDsa65,
        b"\x60\x86\x48\x01\x65\x03\x04\x03\x12",
        32,
    ),
    raw(
        KeyType::MlDsa87,
        b"\x60\x86\x48\x01\x65\x03\x04\x03\x13",
        32,
    ),
    raw(
        KeyType::MlKem512,
        b"\x60\x86\x48\x01\x65\x03\x04\x04\x01",
        64,
    ),
    raw(
        KeyType::MlKem768,
        b"\x60\x86\x48\x01\x65\x03\x04\x04\x02",
        64,
    ),
    raw(
        KeyType::MlKem1024,
        b"\x60\x86\x48\x01\x65\x03\x04\x04\x03",
        64,
    ),
];

const fn raw(key_type: KeyType, oid: &'static [u8], seed_len: usize) -> RawKind {
    RawKind {
        key_type,
        oid,
        seed_len,
    }
}
