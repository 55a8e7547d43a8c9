//! What a private key can be asked to do, and how one request reduces to a simpler one.

use der::asn1::ObjectIdentifier;

/// A use of a private key.
#[doc(alias = "TKTokenOperation")]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Operation {
    /// Make a signature.
    #[doc(alias = "TKTokenOperationSignData")]
    Sign,
    /// Recover a plaintext.
    #[doc(alias = "TKTokenOperationDecryptData")]
    Decrypt,
    /// Agree on a secret with another party's public key.
    #[doc(alias = "TKTokenOperationPerformKeyExchange")]
    KeyExchange,
}

/// A hash function (FIPS 180-4, FIPS 202).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Digest {
    /// SHA-1, 20 bytes.
    Sha1,
    /// SHA-224, 28 bytes.
    Sha224,
    /// SHA-256, 32 bytes.
    Sha256,
    /// SHA-384, 48 bytes.
    Sha384,
    /// SHA-512, 64 bytes.
    Sha512,
    /// SHA3-224, 28 bytes.
    Sha3_224,
    /// SHA3-256, 32 bytes.
    Sha3_256,
    /// SHA3-384, 48 bytes.
    Sha3_384,
    /// SHA3-512, 64 bytes.
    Sha3_512,
}

impl Digest {
    /// All of them, family by family, weakest first.
    pub const ALL: [Self; 9] = [
        Self::Sha1,
        Self::Sha224,
        Self::Sha256,
        Self::Sha384,
        Self::Sha512,
        Self::Sha3_224,
        Self::Sha3_256,
        Self::Sha3_384,
        Self::Sha3_512,
    ];

    /// The longest [`len`](Self::len), in bytes.
    pub const MAX_LEN: usize = 64;

    /// The length of the hash, in bytes.
    #[allow(clippy::len_without_is_empty)]
    pub const fn len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha224 | Self::Sha3_224 => 28,
            Self::Sha256 | Self::Sha3_256 => 32,
            Self::Sha384 | Self::Sha3_384 => 48,
            Self::Sha512 | Self::Sha3_512 => 64,
        }
    }
}

impl Digest {
    /// The hash of this object identifier (RFC 4055 §2.1, RFC 8702 §2).
    pub fn from_oid(oid: ObjectIdentifier) -> Option<Self> {
        Self::ALL.into_iter().find(|digest| digest.oid() == oid)
    }

    /// The hash's object identifier.
    pub const fn oid(self) -> ObjectIdentifier {
        ObjectIdentifier::new_unwrap(match self {
            Self::Sha1 => "1.3.14.3.2.26",
            Self::Sha224 => "2.16.840.1.101.3.4.2.4",
            Self::Sha256 => "2.16.840.1.101.3.4.2.1",
            Self::Sha384 => "2.16.840.1.101.3.4.2.2",
            Self::Sha512 => "2.16.840.1.101.3.4.2.3",
            Self::Sha3_224 => "2.16.840.1.101.3.4.2.7",
            Self::Sha3_256 => "2.16.840.1.101.3.4.2.8",
            Self::Sha3_384 => "2.16.840.1.101.3.4.2.9",
            Self::Sha3_512 => "2.16.840.1.101.3.4.2.10",
        })
    }
}

/// Parameters of RSASSA-PSS (RFC 8017 §9.1).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Pss {
    /// The hash of the message.
    pub digest: Digest,
    /// The hash inside MGF1.
    pub mgf: Digest,
    /// The salt's length, in bytes.
    pub salt_len: u32,
}

/// Parameters of RSAES-OAEP (RFC 8017 §7.1).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Oaep {
    /// The hash of the label.
    pub digest: Digest,
    /// The hash inside MGF1.
    pub mgf: Digest,
}

/// How a private key is used, from the most convenient form (a whole message) to the raw primitive.
///
/// A session declares by [`supports`](crate::TokenSession::supports) the forms its key store performs; whoever calls it
/// walks down [`simpler`](Self::simpler) to one of them and does the steps in between itself (`ctk_crypto::Reduction`).
/// A backend therefore implements primitives only.
#[doc(alias = "TKTokenKeyAlgorithm")]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum KeyAlgorithm {
    /// RSA's private-key operation on one block of exactly the modulus' length (RFC 8017 §5.1.2, §5.2.1).
    RsaRaw,
    /// RSASSA-PKCS1-v1_5 padding over the input, a DigestInfo or anything else of at most modulus − 11 bytes;
    /// for [`Operation::Decrypt`], RSAES-PKCS1-v1_5 (RFC 8017 §7.2), by which nobody may learn whether the padding was
    /// right: a key store answers a wrong one with a pseudo-random plaintext, or does not offer this form.
    RsaPkcs1,
    /// RSASSA-PKCS1-v1_5 over a hash of this kind (RFC 8017 §8.2). A key store that does this and nothing below it, as services
    /// do, is also asked for it when [`RsaPkcs1`](Self::RsaPkcs1) is wanted of a DigestInfo.
    RsaPkcs1Digest(Digest),
    /// RSASSA-PKCS1-v1_5 over a message.
    RsaPkcs1Message(Digest),
    /// RSASSA-PSS over a hash (RFC 8017 §8.1).
    RsaPssDigest(Pss),
    /// RSASSA-PSS over a message.
    RsaPssMessage(Pss),
    /// RSAES-OAEP with an empty label (RFC 8017 §7.1); with another label it is made from [`RsaRaw`](Self::RsaRaw).
    RsaOaep(Oaep),
    /// ECDSA over a hash of any length; only as many leftmost bits as the curve's order has count (FIPS 186-5 §6.4). A key
    /// store that takes hashes of one length gets them by `ctk_crypto::ecdsa::digest_of_len`. The signature is a DER `ECDSA-Sig-Value` (RFC 3279 §2.2.3).
    EcdsaDigest,
    /// ECDSA over a message.
    EcdsaMessage(Digest),
    /// Ed25519 or Ed448 over a message, without context (RFC 8032).
    EdDsa,
    /// ML-DSA over a message, without context (FIPS 204 §5.2), hedged: with fresh randomness in each signature, the
    /// default of FIPS 204 §3.4. No key store is asked for the deterministic variant.
    MlDsa,
    /// The raw shared secret of two keys: the x coordinate (SP 800-56A §5.7.1.2, RFC 7748 §6).
    Ecdh,
    /// The same with the cofactor (SP 800-56A §5.7.1.2); for a curve with cofactor 1 it is [`Ecdh`](Self::Ecdh).
    EcdhCofactor,
    /// ML-KEM decapsulation (FIPS 203 §7.3): what the peer sends is a ciphertext.
    MlKem,
}

impl KeyAlgorithm {
    /// The next form down: the same result from a simpler request. `None` for a primitive.
    pub fn simpler(self) -> Option<Self> {
        match self {
            Self::RsaPkcs1Message(digest) => Some(Self::RsaPkcs1Digest(digest)),
            Self::RsaPkcs1Digest(_) => Some(Self::RsaPkcs1),
            Self::RsaPssMessage(pss) => Some(Self::RsaPssDigest(pss)),
            Self::EcdsaMessage(_) => Some(Self::EcdsaDigest),
            Self::RsaPkcs1 | Self::RsaPssDigest(_) | Self::RsaOaep(_) => Some(Self::RsaRaw),
            Self::RsaRaw
            | Self::EcdsaDigest
            | Self::EdDsa
            | Self::MlDsa
            | Self::Ecdh
            | Self::EcdhCofactor
            | Self::MlKem => None,
        }
    }

    /// The hash that a message goes through first, for the forms that take a message and hash it once.
    /// `None` for EdDSA and ML-DSA, which need the whole message.
    pub fn message_digest(self) -> Option<Digest> {
        match self {
            Self::RsaPkcs1Message(digest) | Self::EcdsaMessage(digest) => Some(digest),
            Self::RsaPssMessage(pss) => Some(pss.digest),
            Self::RsaRaw
            | Self::RsaPkcs1
            | Self::RsaPkcs1Digest(_)
            | Self::RsaPssDigest(_)
            | Self::RsaOaep(_)
            | Self::EcdsaDigest
            | Self::EdDsa
            | Self::MlDsa
            | Self::Ecdh
            | Self::EcdhCofactor
            | Self::MlKem => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chain_ends_in_a_primitive() {
        let pss = Pss {
            digest: Digest::Sha256,
            mgf: Digest::Sha256,
            salt_len: 32,
        };
        let chain = |start: KeyAlgorithm| -> Vec<_> {
            std::iter::successors(Some(start), |algorithm| algorithm.simpler()).collect()
        };
        assert_eq!(
            chain(KeyAlgorithm::RsaPkcs1Message(Digest::Sha1)),
            [
                KeyAlgorithm::RsaPkcs1Message(Digest::Sha1),
                KeyAlgorithm::RsaPkcs1Digest(Digest::Sha1),
                KeyAlgorithm::RsaPkcs1,
                KeyAlgorithm::RsaRaw
            ]
        );
        assert_eq!(
            chain(KeyAlgorithm::RsaPssMessage(pss)).last(),
            Some(&KeyAlgorithm::RsaRaw)
        );
        assert_eq!(
            chain(KeyAlgorithm::EcdsaMessage(Digest::Sha512)).last(),
            Some(&KeyAlgorithm::EcdsaDigest)
        );
    }
}
