//! Public keys: what is known of a key without having it.

use der::{
    Decode, Encode, Reader, SliceReader,
    asn1::{AnyRef, BitStringRef, ObjectIdentifier, UintRef},
};
use x509_cert::spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};

use crate::{Curve, KeyType, Pss, Reason, Result, TokenError, pss::restriction};

/// The numbers of a public key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PublicKeyMaterial {
    /// RSA: both unsigned big-endian without leading zero.
    Rsa {
        /// n.
        modulus: Box<[u8]>,
        /// e.
        exponent: Box<[u8]>,
    },
    /// A curve point as in the certificate: `04‖x‖y` in SEC 1 form.
    Ec {
        /// The curve.
        curve: Curve,
        /// The point.
        point: Box<[u8]>,
    },
    /// The encoded public key of a kind that has nothing to take apart: RFC 8032 and RFC 7748 (32, 57 or 56 bytes),
    /// FIPS 204 (1312, 1952 or 2592 bytes), FIPS 203 (800, 1184 or 1568 bytes).
    Raw {
        /// Which kind.
        key_type: KeyType,
        /// The bytes.
        bytes: Box<[u8]>,
    },
}

/// A public key, parsed and as SubjectPublicKeyInfo.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PublicKey {
    spki: Box<[u8]>,
    material: PublicKeyMaterial,
    pss_only: bool,
    /// The parameters of a key for RSASSA-PSS only, if it has any.
    pss: Option<Pss>,
}

const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
pub(crate) const RSASSA_PSS: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// RFC 8410 §3, RFC 9881 §2, RFC 9935 §3.
const RAW_KEYS: [(ObjectIdentifier, KeyType, usize); 10] = [
    (
        ObjectIdentifier::new_unwrap("1.3.101.112"),
        KeyType::Ed25519,
        32,
    ),
    (
        ObjectIdentifier::new_unwrap("1.3.101.113"),
        KeyType::Ed448,
        57,
    ),
    (
        ObjectIdentifier::new_unwrap("1.3.101.110"),
        KeyType::X25519,
        32,
    ),
    (
        ObjectIdentifier::new_unwrap("1.3.101.111"),
        KeyType::X448,
        56,
    ),
    (
        ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.17"),
        KeyType::MlDsa44,
        1312,
    ),
    (
        ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.18"),
        KeyType::MlDsa65,
        1952,
    ),
    (
        ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.19"),
        KeyType::MlDsa87,
        2592,
    ),
    (
        ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.4.1"),
        KeyType::MlKem512,
        800,
    ),
    (
        ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.4.2"),
        KeyType::MlKem768,
        1184,
    ),
    (
        ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.4.3"),
        KeyType::MlKem1024,
        1568,
    ),
];

impl PublicKey {
    /// Parses a DER SubjectPublicKeyInfo (RFC 5280 §4.1.2.7).
    ///
    /// # Errors
    /// [`TokenError::Corrupted`] if it is not one, [`TokenError::NotSupported`] for a kind of key that is not in
    /// [`KeyType`].
    pub fn from_spki(der: &[u8]) -> Result<Self> {
        let info = SubjectPublicKeyInfoRef::from_der(der)
            .map_err(|error| corrupted(&format!("not a SubjectPublicKeyInfo: {error}")))?;
        let bits = info
            .subject_public_key
            .as_bytes()
            .ok_or_else(|| corrupted("a public key that is not whole bytes"))?;
        let material = parse_material(info.algorithm, bits)?;
        Ok(Self {
            spki: der.into(),
            material,
            pss_only: info.algorithm.oid == RSASSA_PSS,
            pss: restriction(info.algorithm)?,
        })
    }

    /// The public key of a DER certificate (RFC 5280). Nothing else in the certificate is looked at: real ones break rules
    /// that have nothing to do with their key, such as serial numbers of more than 20 bytes.
    ///
    /// # Errors
    /// As [`from_spki`](Self::from_spki).
    pub fn from_certificate(der: &[u8]) -> Result<Self> {
        let spki = certified_spki(der)
            .map_err(|error| corrupted(&format!("not an X.509 certificate: {error}")))?;
        Self::from_spki(spki)
    }

    /// An RSA key of these unsigned big-endian numbers (RFC 8017 §3.1); leading zeros do not count.
    ///
    /// # Errors
    /// [`TokenError::BadParameter`] for a number that is zero, here and below for what is not of the kind.
    pub fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Self> {
        let number = |bytes| UintRef::new(bytes).map_err(|_| TokenError::BadParameter);
        let key = RsaPublicKey {
            modulus: number(modulus)?,
            exponent: number(exponent)?,
        };
        let bits = key.to_der().map_err(|_| TokenError::BadParameter)?;
        Self::from_parts(RSA_ENCRYPTION, Some(AnyRef::NULL), &bits)
    }

    /// A point `04‖x‖y` of a curve (SEC 1 §2.3.3). Whether it is on the curve is not looked at.
    ///
    /// # Errors
    /// As [`rsa`](Self::rsa).
    pub fn ec(curve: Curve, point: &[u8]) -> Result<Self> {
        Self::from_parts(EC_PUBLIC_KEY, Some((&curve.oid()).into()), point)
    }

    /// The encoded public key of one of the kinds that [`PublicKeyMaterial::Raw`] is for.
    ///
    /// # Errors
    /// As [`rsa`](Self::rsa).
    pub fn raw(key_type: KeyType, bytes: &[u8]) -> Result<Self> {
        let (oid, ..) = RAW_KEYS
            .into_iter()
            .find(|(_, known, _)| *known == key_type)
            .ok_or(TokenError::BadParameter)?;
        Self::from_parts(oid, None, bytes)
    }

    fn from_parts(
        oid: ObjectIdentifier,
        parameters: Option<AnyRef<'_>>,
        bits: &[u8],
    ) -> Result<Self> {
        let invalid = |_| TokenError::BadParameter;
        let info = SubjectPublicKeyInfoRef {
            algorithm: AlgorithmIdentifierRef { oid, parameters },
            subject_public_key: BitStringRef::from_bytes(bits).map_err(invalid)?,
        };
        let spki = info.to_der().map_err(invalid)?;
        Self::from_spki(&spki).map_err(|_| TokenError::BadParameter)
    }

    /// DER SubjectPublicKeyInfo.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The numbers.
    pub fn material(&self) -> &PublicKeyMaterial {
        &self.material
    }

    /// The kind.
    pub fn key_type(&self) -> KeyType {
        match &self.material {
            PublicKeyMaterial::Rsa { modulus, .. } => KeyType::Rsa {
                bits: bit_len(modulus),
            },
            PublicKeyMaterial::Ec { curve, .. } => KeyType::Ec(*curve),
            PublicKeyMaterial::Raw { key_type, .. } => *key_type,
        }
    }

    /// Whether this is an RSA key for RSASSA-PSS and nothing else (RFC 4055 §1.2).
    pub fn is_pss_only(&self) -> bool {
        self.pss_only
    }

    /// Whether signatures with these parameters are what the key is for: a key for RSASSA-PSS only may name the two hashes
    /// and the shortest salt (RFC 4055 §3.3). Any other key allows all.
    pub fn allows_pss(&self, pss: Pss) -> bool {
        self.pss.is_none_or(|only| {
            pss.digest == only.digest && pss.mgf == only.mgf && pss.salt_len >= only.salt_len
        })
    }

    /// The longest signature that a session writes for this key, in bytes: the modulus' length, a DER
    /// `ECDSA-Sig-Value`, two EdDSA halves, or an ML-DSA signature (FIPS 204 table 2). 0 for a key that cannot sign.
    pub fn max_signature_len(&self) -> usize {
        match &self.material {
            PublicKeyMaterial::Rsa { modulus, .. } => modulus.len(),
            // Two INTEGERs with a possible zero before each, and a long-form SEQUENCE header.
            PublicKeyMaterial::Ec { curve, .. } => 2 * (curve.bytes() + 3) + 3,
            PublicKeyMaterial::Raw { key_type, .. } => match key_type {
                KeyType::Ed25519 => 64,
                KeyType::Ed448 => 114,
                KeyType::MlDsa44 => 2420,
                KeyType::MlDsa65 => 3309,
                KeyType::MlDsa87 => 4627,
                _ => 0,
            },
        }
    }

    /// The length of what [`key_exchange`](crate::TokenSession::key_exchange) writes for this key, in bytes; 0 for a key
    /// that does not agree on anything.
    pub fn shared_secret_len(&self) -> usize {
        match &self.material {
            PublicKeyMaterial::Rsa { .. } => 0,
            PublicKeyMaterial::Ec { curve, .. } => curve.bytes(),
            PublicKeyMaterial::Raw { key_type, .. } => match key_type {
                KeyType::X25519 | KeyType::MlKem512 | KeyType::MlKem768 | KeyType::MlKem1024 => 32,
                KeyType::X448 => 56,
                _ => 0,
            },
        }
    }
}

/// The SubjectPublicKeyInfo of a certificate (RFC 5280 §4.1).
fn certified_spki(der: &[u8]) -> der::Result<&[u8]> {
    let certificate = AnyRef::from_der(der)?;
    let tbs = AnyRef::decode(&mut SliceReader::new(certificate.value())?)?;
    let mut fields = SliceReader::new(tbs.value())?;
    // version, which is left out in version 1; serialNumber, signature, issuer, validity, subject
    let before = if fields.peek_byte() == Some(0xa0) {
        6
    } else {
        5
    };
    for _ in 0..before {
        fields.tlv_bytes()?;
    }
    fields.tlv_bytes()
}

fn parse_material(algorithm: AlgorithmIdentifierRef<'_>, bits: &[u8]) -> Result<PublicKeyMaterial> {
    if [RSA_ENCRYPTION, RSASSA_PSS].contains(&algorithm.oid) {
        return parse_rsa(bits);
    }
    if algorithm.oid == EC_PUBLIC_KEY {
        let curve = algorithm
            .parameters
            .and_then(|parameters| parameters.decode_as::<ObjectIdentifier>().ok())
            .and_then(Curve::from_oid)
            .ok_or(TokenError::NotSupported)?;
        if bits.first() != Some(&4) || bits.len() != 1 + 2 * curve.bytes() {
            return Err(corrupted(
                "an EC public key that is not an uncompressed point",
            ));
        }
        return Ok(PublicKeyMaterial::Ec {
            curve,
            point: bits.into(),
        });
    }
    let (_, key_type, len) = RAW_KEYS
        .into_iter()
        .find(|(oid, ..)| *oid == algorithm.oid)
        .ok_or(TokenError::NotSupported)?;
    if bits.len() != len {
        return Err(corrupted("a public key of the wrong length"));
    }
    Ok(PublicKeyMaterial::Raw {
        key_type,
        bytes: bits.into(),
    })
}

/// RSAPublicKey (RFC 8017 §A.1.1).
#[derive(der::Sequence)]
struct RsaPublicKey<'a> {
    modulus: UintRef<'a>,
    exponent: UintRef<'a>,
}

fn parse_rsa(bits: &[u8]) -> Result<PublicKeyMaterial> {
    let key = RsaPublicKey::from_der(bits)
        .map_err(|error| corrupted(&format!("not an RSA public key: {error}")))?;
    let number = |value: UintRef<'_>| -> Box<[u8]> {
        let bytes = value.as_bytes();
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        bytes.get(zeros..).unwrap_or_default().into()
    };
    let (modulus, exponent) = (number(key.modulus), number(key.exponent));
    if modulus.is_empty() || exponent.is_empty() {
        return Err(corrupted("an RSA public key of zeros"));
    }
    Ok(PublicKeyMaterial::Rsa { modulus, exponent })
}

fn bit_len(number: &[u8]) -> u32 {
    let first = number.first().copied().unwrap_or(0);
    u32::try_from(number.len())
        .unwrap_or(u32::MAX)
        .saturating_mul(8)
        .saturating_sub(first.leading_zeros())
}

fn corrupted(reason: &str) -> TokenError {
    TokenError::Corrupted(Reason::new(reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
            .collect()
    }

    #[test]
    fn ed25519_of_rfc_8410() {
        let spki = bytes(
            "302a300506032b657003210019bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1",
        );
        let key = PublicKey::from_spki(&spki).unwrap();
        assert_eq!(key.key_type(), KeyType::Ed25519);
        assert_eq!(key.max_signature_len(), 64);
        assert_eq!(key.spki(), spki);
    }

    #[test]
    fn an_odd_certificate_has_its_key() {
        let spki = "302a300506032b657003210019bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1";
        let sequence = |content: &str| match content.len() / 2 {
            len @ 0..0x80 => format!("30{len:02x}{content}"),
            len => format!("3081{len:02x}{content}"),
        };
        let long_serial = format!("021e{}", "7f".repeat(30));
        for (version, serial) in [
            ("a003020102", &*long_serial),
            ("a003020102", "0201fb"),
            ("", "020100"),
        ] {
            let fields = format!("{version}{serial}{}{spki}", "3000".repeat(4));
            let der = bytes(&sequence(&format!("{}3000030100", sequence(&fields))));
            let key = PublicKey::from_certificate(&der).unwrap();
            assert_eq!(key.spki(), bytes(spki));
            for len in 0..der.len() {
                assert!(
                    PublicKey::from_certificate(&der[..len]).is_err(),
                    "{len} bytes"
                );
            }
        }
        assert!(PublicKey::from_certificate(&bytes("3003020100")).is_err());
    }

    #[test]
    fn a_point_has_two_coordinates() {
        let head = "3059301306072a8648ce3d020106082a8648ce3d030107034200";
        let good = bytes(&format!("{head}04{}", "11".repeat(64)));
        let key = PublicKey::from_spki(&good).unwrap();
        assert_eq!(key.key_type(), KeyType::Ec(Curve::P256));
        assert_eq!(key.max_signature_len(), 73);
        let compressed_mark = bytes(&format!("{head}02{}", "11".repeat(64)));
        assert!(matches!(
            PublicKey::from_spki(&compressed_mark),
            Err(TokenError::Corrupted(_))
        ));
        assert!(matches!(
            PublicKey::from_spki(&good[..90]),
            Err(TokenError::Corrupted(_))
        ));
    }

    #[test]
    fn rsa_numbers_lose_their_leading_zero() {
        let spki = bytes(&format!(
            "3023300d06092a864886f70d0101010500031200300f020900{}020203fb",
            "81".repeat(8)
        ));
        let key = PublicKey::from_spki(&spki).unwrap();
        assert_eq!(key.key_type(), KeyType::Rsa { bits: 64 });
        let PublicKeyMaterial::Rsa { modulus, exponent } = key.material() else {
            panic!()
        };
        assert_eq!((&**modulus, &**exponent), (&[0x81; 8][..], &[3, 0xfb][..]));
    }

    #[test]
    fn a_key_of_its_parts_is_the_key_of_its_spki() {
        let spki = bytes(&format!(
            "3023300d06092a864886f70d0101010500031200300f020900{}020203fb",
            "81".repeat(8)
        ));
        let zeros_before = [&[0, 0][..], &[0x81; 8]].concat();
        let key = PublicKey::rsa(&zeros_before, &[0, 3, 0xfb]).unwrap();
        assert_eq!(key.spki(), spki);
        assert_eq!(PublicKey::rsa(&[0, 0], &[3]), Err(TokenError::BadParameter));

        let point = [&[4][..], &[0x11; 64]].concat();
        let key = PublicKey::ec(Curve::P256, &point).unwrap();
        assert_eq!(key, PublicKey::from_spki(key.spki()).unwrap());
        assert_eq!(key.spki().get(26..), Some(&*point));
        let short = PublicKey::ec(Curve::P384, &point);
        assert_eq!(short, Err(TokenError::BadParameter));

        for (_, key_type, len) in RAW_KEYS {
            let key = PublicKey::raw(key_type, &vec![7; len]).unwrap();
            assert_eq!(key.key_type(), key_type);
            let long = PublicKey::raw(key_type, &vec![7; len + 1]);
            assert_eq!(long, Err(TokenError::BadParameter));
        }
        let no_raw = PublicKey::raw(KeyType::Ec(Curve::P256), &point);
        assert_eq!(no_raw, Err(TokenError::BadParameter));
    }

    #[test]
    fn an_unknown_kind_is_told_from_garbage() {
        let dsa = bytes("3011300906072a8648ce38040103040002010f");
        assert_eq!(PublicKey::from_spki(&dsa), Err(TokenError::NotSupported));
        assert!(matches!(
            PublicKey::from_spki(b"garbage"),
            Err(TokenError::Corrupted(_))
        ));
    }
}
