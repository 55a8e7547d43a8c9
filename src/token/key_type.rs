//! Kinds of keys and curves.

use der::asn1::ObjectIdentifier;

macro_rules! curves {
    ($($(#[$doc:meta])* $name:ident = $oid:literal, $bits:literal, $label:literal;)*) => {
        /// A named elliptic curve for ECDSA and ECDH.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub enum Curve { $($(#[$doc])* $name,)* }

        impl Curve {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The curve's object identifier.
            pub const fn oid(self) -> ObjectIdentifier {
                match self { $(Self::$name => ObjectIdentifier::new_unwrap($oid),)* }
            }

            /// The length of the order and of a field element, in bits.
            pub const fn bits(self) -> u32 {
                match self { $(Self::$name => $bits,)* }
            }

            /// The customary name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }
        }
    };
}

curves! {
    /// NIST P-224.
    P224 = "1.3.132.0.33", 224, "P-224";
    /// NIST P-256.
    P256 = "1.2.840.10045.3.1.7", 256, "P-256";
    /// NIST P-384.
    P384 = "1.3.132.0.34", 384, "P-384";
    /// NIST P-521.
    P521 = "1.3.132.0.35", 521, "P-521";
    /// SEC 2 secp256k1.
    Secp256k1 = "1.3.132.0.10", 256, "secp256k1";
    /// RFC 5639 brainpoolP256r1.
    BrainpoolP256r1 = "1.3.36.3.3.2.8.1.1.7", 256, "brainpoolP256r1";
    /// RFC 5639 brainpoolP384r1.
    BrainpoolP384r1 = "1.3.36.3.3.2.8.1.1.11", 384, "brainpoolP384r1";
    /// RFC 5639 brainpoolP512r1.
    BrainpoolP512r1 = "1.3.36.3.3.2.8.1.1.13", 512, "brainpoolP512r1";
}

impl Curve {
    /// The curve of this object identifier.
    pub fn from_oid(oid: ObjectIdentifier) -> Option<Self> {
        Self::ALL.iter().copied().find(|curve| curve.oid() == oid)
    }

    /// The length of the order and of a field element, in whole bytes.
    pub const fn bytes(self) -> usize {
        self.bits().div_ceil(8) as usize
    }
}

/// What kind of key it is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum KeyType {
    /// RSA.
    Rsa {
        /// The modulus' length in bits.
        bits: u32,
    },
    /// An elliptic curve key for ECDSA and ECDH.
    Ec(Curve),
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// Ed448 (RFC 8032).
    Ed448,
    /// X25519 (RFC 7748).
    X25519,
    /// X448 (RFC 7748).
    X448,
    /// ML-DSA-44 (FIPS 204).
    MlDsa44,
    /// ML-DSA-65 (FIPS 204).
    MlDsa65,
    /// ML-DSA-87 (FIPS 204).
    MlDsa87,
    /// ML-KEM-512 (FIPS 203).
    MlKem512,
    /// ML-KEM-768 (FIPS 203).
    MlKem768,
    /// ML-KEM-1024 (FIPS 203).
    MlKem1024,
}

impl KeyType {
    /// The length of an ML-KEM ciphertext, in bytes (FIPS 203 table 3); `None` for other keys.
    pub const fn ciphertext_len(self) -> Option<usize> {
        match self {
            Self::MlKem512 => Some(768),
            Self::MlKem768 => Some(1088),
            Self::MlKem1024 => Some(1568),
            _ => None,
        }
    }
}

impl std::fmt::Display for KeyType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rsa { bits } => write!(f, "RSA-{bits}"),
            Self::Ec(curve) => f.write_str(curve.name()),
            Self::Ed25519 => f.write_str("Ed25519"),
            Self::Ed448 => f.write_str("Ed448"),
            Self::X25519 => f.write_str("X25519"),
            Self::X448 => f.write_str("X448"),
            Self::MlDsa44 => f.write_str("ML-DSA-44"),
            Self::MlDsa65 => f.write_str("ML-DSA-65"),
            Self::MlDsa87 => f.write_str("ML-DSA-87"),
            Self::MlKem512 => f.write_str("ML-KEM-512"),
            Self::MlKem768 => f.write_str("ML-KEM-768"),
            Self::MlKem1024 => f.write_str("ML-KEM-1024"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_found_by_their_oid() {
        for curve in Curve::ALL {
            assert_eq!(Curve::from_oid(curve.oid()), Some(*curve));
        }
        assert_eq!(Curve::P521.bytes(), 66);
    }
}
