//! Which of a key's algorithms (`key.algo`) signs what is asked for, and how a request names it.

use ctk_token::{Curve, Digest, KeyAlgorithm, KeyType, Pss, PublicKey, Result, TokenError};

/// What `signatures/signHash` is told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Plan {
    /// `signAlgo`, word for word as the key lists it.
    pub(super) algorithm: String,
    /// The hash that `digest` is of, or counts as.
    pub(super) hash: Digest,
    /// Whether `algorithm` leaves open which hash it is, so that `hashAlgo` must say it.
    pub(super) names_no_hash: bool,
    /// `signAlgoParams`: DER RSASSA-PSS-params.
    pub(super) parameters: Option<Vec<u8>>,
    /// What is signed.
    pub(super) digest: Vec<u8>,
}

/// What an object identifier in `key.algo` stands for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Scheme {
    /// RSASSA-PKCS1-v1_5 with whatever hash the request names, or with this one.
    Rsa(Option<Digest>),
    /// RSASSA-PSS with the request's parameters.
    Pss,
    /// ECDSA, likewise.
    Ecdsa(Option<Digest>),
}

const SCHEMES: &[(&str, Scheme)] = &[
    // RFC 8017 appendix C
    ("1.2.840.113549.1.1.1", Scheme::Rsa(None)),
    ("1.2.840.113549.1.1.5", Scheme::Rsa(Some(Digest::Sha1))),
    ("1.3.14.3.2.29", Scheme::Rsa(Some(Digest::Sha1))),
    ("1.2.840.113549.1.1.14", Scheme::Rsa(Some(Digest::Sha224))),
    ("1.2.840.113549.1.1.11", Scheme::Rsa(Some(Digest::Sha256))),
    ("1.2.840.113549.1.1.12", Scheme::Rsa(Some(Digest::Sha384))),
    ("1.2.840.113549.1.1.13", Scheme::Rsa(Some(Digest::Sha512))),
    ("1.2.840.113549.1.1.10", Scheme::Pss),
    // RFC 5480, RFC 5758
    ("1.2.840.10045.2.1", Scheme::Ecdsa(None)),
    ("1.2.840.10045.4.1", Scheme::Ecdsa(Some(Digest::Sha1))),
    ("1.2.840.10045.4.3.1", Scheme::Ecdsa(Some(Digest::Sha224))),
    ("1.2.840.10045.4.3.2", Scheme::Ecdsa(Some(Digest::Sha256))),
    ("1.2.840.10045.4.3.3", Scheme::Ecdsa(Some(Digest::Sha384))),
    ("1.2.840.10045.4.3.4", Scheme::Ecdsa(Some(Digest::Sha512))),
    // BSI TR-03111 §5.2.1: the signature is r‖s
    (
        "0.4.0.127.0.7.1.1.4.1.3",
        Scheme::Ecdsa(Some(Digest::Sha256)),
    ),
    (
        "0.4.0.127.0.7.1.1.4.1.4",
        Scheme::Ecdsa(Some(Digest::Sha384)),
    ),
    (
        "0.4.0.127.0.7.1.1.4.1.5",
        Scheme::Ecdsa(Some(Digest::Sha512)),
    ),
];

/// The hashes that a request can name. Not those of SHA-3: the API's documents name none.
const HASHES: [Digest; 5] = [
    Digest::Sha1,
    Digest::Sha224,
    Digest::Sha256,
    Digest::Sha384,
    Digest::Sha512,
];

/// Whether a key of this kind signs with any of its algorithms.
pub(super) fn signs(algorithms: &[String], key: &PublicKey) -> bool {
    let asked = match key.key_type() {
        KeyType::Rsa { .. } => |scheme| matches!(scheme, Scheme::Rsa(_) | Scheme::Pss),
        KeyType::Ec(_) => |scheme| matches!(scheme, Scheme::Ecdsa(_)),
        _ => |_| false,
    };
    known(algorithms).any(|(_, scheme)| asked(scheme))
}

/// Whether the service signs so with this key.
pub(super) fn supports(algorithms: &[String], key: &PublicKey, asked: KeyAlgorithm) -> bool {
    let is_rsa = matches!(key.key_type(), KeyType::Rsa { .. });
    match asked {
        KeyAlgorithm::RsaPkcs1Digest(hash) => is_rsa && rsa(algorithms, hash).is_some(),
        KeyAlgorithm::RsaPssDigest(pss) => is_rsa && pss_algorithm(algorithms, pss).is_some(),
        KeyAlgorithm::EcdsaDigest => {
            matches!(key.key_type(), KeyType::Ec(_)) && !ecdsa(algorithms).is_empty()
        }
        _ => false,
    }
}

/// The request for a signature over `input`.
///
/// # Errors
/// [`TokenError::NotSupported`] for what [`supports`] denies, [`TokenError::DataLength`] for an input of the wrong length.
pub(super) fn plan(
    algorithms: &[String],
    key: &PublicKey,
    asked: KeyAlgorithm,
    input: &[u8],
) -> Result<Plan> {
    let (found, hash) = match (asked, key.key_type()) {
        (KeyAlgorithm::RsaPkcs1Digest(hash), KeyType::Rsa { .. }) => (rsa(algorithms, hash), hash),
        (KeyAlgorithm::RsaPssDigest(pss), KeyType::Rsa { .. }) => {
            (pss_algorithm(algorithms, pss), pss.digest)
        }
        (KeyAlgorithm::EcdsaDigest, KeyType::Ec(curve)) => {
            return plan_ecdsa(algorithms, curve, input);
        }
        _ => (None, Digest::Sha256),
    };
    let (algorithm, names_no_hash) = found.ok_or(TokenError::NotSupported)?;
    if input.len() != hash.len() {
        return Err(TokenError::DataLength);
    }
    Ok(Plan {
        algorithm: algorithm.to_owned(),
        hash,
        names_no_hash,
        parameters: matches!(asked, KeyAlgorithm::RsaPssDigest(_)).then(|| pss_parameters(hash)),
        digest: input.to_vec(),
    })
}

/// ECDSA takes a hash of any length, of which the leftmost bits count; a service wants one as long as its algorithm's
/// hash. The same number in that length makes the same signature.
fn plan_ecdsa(algorithms: &[String], curve: Curve, input: &[u8]) -> Result<Plan> {
    let mut offers = ecdsa(algorithms);
    if offers.is_empty() {
        return Err(TokenError::NotSupported);
    }
    // Best the hash that it is, then the shortest that holds every bit that counts, then the longest.
    offers.sort_by_key(|(_, hash, _)| {
        let len = hash.len();
        let whole = len >= curve.bytes();
        (
            len != input.len(),
            !whole,
            if whole { len } else { usize::MAX - len },
        )
    });
    for (algorithm, hash, names_no_hash) in offers {
        let digest = match hash.len() == input.len() {
            true => input.to_vec(),
            false => match ctk_crypto::ecdsa::digest_of_len(input, curve, hash.len()) {
                Ok(digest) => digest,
                Err(_) => continue,
            },
        };
        return Ok(Plan {
            algorithm: algorithm.to_owned(),
            hash,
            names_no_hash,
            parameters: None,
            digest,
        });
    }
    Err(TokenError::DataLength)
}

fn known(algorithms: &[String]) -> impl Iterator<Item = (&str, Scheme)> {
    algorithms.iter().filter_map(|listed| {
        let found = SCHEMES.iter().find(|(oid, _)| oid == listed);
        found.map(|(_, scheme)| (&**listed, *scheme))
    })
}

/// The algorithm that names this hash, or else the one that names none; and whether it is that.
fn rsa(algorithms: &[String], hash: Digest) -> Option<(&str, bool)> {
    let named = |wanted| known(algorithms).find(|(_, scheme)| *scheme == Scheme::Rsa(wanted));
    let any = || named(None).filter(|_| HASHES.contains(&hash));
    named(Some(hash))
        .map(|(algorithm, _)| (algorithm, false))
        .or_else(|| any().map(|(algorithm, _)| (algorithm, true)))
}

/// The parameters that every service of RSASSA-PSS takes: one hash for all, and a salt of its length (the recommendation
/// of RFC 4055 §3.1, and what TLS wants). What else one takes is told nowhere and would be found out by a signature.
fn pss_algorithm(algorithms: &[String], pss: Pss) -> Option<(&str, bool)> {
    let is_usual = pss.mgf == pss.digest
        && pss.salt_len as usize == pss.digest.len()
        && matches!(pss.digest, Digest::Sha256 | Digest::Sha384 | Digest::Sha512);
    let found = known(algorithms).find(|(_, scheme)| *scheme == Scheme::Pss);
    found
        .filter(|_| is_usual)
        .map(|(algorithm, _)| (algorithm, true))
}

fn ecdsa(algorithms: &[String]) -> Vec<(&str, Digest, bool)> {
    let offers = known(algorithms).flat_map(|(algorithm, scheme)| match scheme {
        Scheme::Ecdsa(Some(hash)) => vec![(algorithm, hash, false)],
        Scheme::Ecdsa(None) => HASHES.map(|hash| (algorithm, hash, true)).to_vec(),
        Scheme::Rsa(_) | Scheme::Pss => Vec::new(),
    });
    offers.collect()
}

/// DER RSASSA-PSS-params (RFC 4055 §3.1) of one of the SHA-2 hashes from 256 bits on, with a salt of the same length. The
/// trailer field has its default value, and so DER leaves it out.
fn pss_parameters(hash: Digest) -> Vec<u8> {
    let last = match hash {
        Digest::Sha384 => 2,
        Digest::Sha512 => 3,
        _ => 1,
    };
    let hash_identifier = [
        0x30, 0x0d, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, last, 5, 0,
    ];
    let mgf1 = [
        0x30, 0x1a, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 8,
    ];
    [
        &[0x30, 0x34, 0xa0, 0x0f][..],
        &hash_identifier,
        &[0xa1, 0x1c],
        &mgf1,
        &hash_identifier,
        &[0xa2, 3, 2, 1, hash.len() as u8],
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(oids: &[&str]) -> Vec<String> {
        oids.iter().map(|oid| (*oid).to_owned()).collect()
    }

    fn rsa_key() -> PublicKey {
        PublicKey::rsa(&[0xc1; 256], &[1, 0, 1]).unwrap()
    }

    fn ec_key(curve: Curve) -> PublicKey {
        let point = [&[4][..], &vec![1; 2 * curve.bytes()]].concat();
        PublicKey::ec(curve, &point).unwrap()
    }

    fn pss(digest: Digest, salt_len: u32) -> KeyAlgorithm {
        KeyAlgorithm::RsaPssDigest(Pss {
            digest,
            mgf: digest,
            salt_len,
        })
    }

    /// Against encodings that another program made.
    #[test]
    fn pss_parameters_are_der() {
        for (hash, expected) in [
            (
                Digest::Sha256,
                "MDSgDzANBglghkgBZQMEAgEFAKEcMBoGCSqGSIb3DQEBCDANBglghkgBZQMEAgEFAKIDAgEg",
            ),
            (
                Digest::Sha384,
                "MDSgDzANBglghkgBZQMEAgIFAKEcMBoGCSqGSIb3DQEBCDANBglghkgBZQMEAgIFAKIDAgEw",
            ),
            (
                Digest::Sha512,
                "MDSgDzANBglghkgBZQMEAgMFAKEcMBoGCSqGSIb3DQEBCDANBglghkgBZQMEAgMFAKIDAgFA",
            ),
        ] {
            assert_eq!(crate::base64::encode(&pss_parameters(hash)), expected);
        }
    }

    #[test]
    fn the_algorithm_that_names_the_hash_is_preferred() {
        let both = list(&["1.2.840.113549.1.1.1", "1.2.840.113549.1.1.11"]);
        let asked = |hash| KeyAlgorithm::RsaPkcs1Digest(hash);
        let made = plan(&both, &rsa_key(), asked(Digest::Sha256), &[1; 32]).unwrap();
        assert_eq!(made.algorithm, "1.2.840.113549.1.1.11");
        assert!(!made.names_no_hash && made.parameters.is_none());
        let made = plan(&both, &rsa_key(), asked(Digest::Sha384), &[1; 48]).unwrap();
        assert_eq!(made.algorithm, "1.2.840.113549.1.1.1");
        assert!(made.names_no_hash);
        let short = plan(&both, &rsa_key(), asked(Digest::Sha384), &[1; 32]);
        assert_eq!(short, Err(TokenError::DataLength));
    }

    #[test]
    fn what_the_key_does_not_list_is_not_supported() {
        let one = list(&["1.2.840.113549.1.1.11", "9.9.9", ""]);
        let key = rsa_key();
        assert!(supports(
            &one,
            &key,
            KeyAlgorithm::RsaPkcs1Digest(Digest::Sha256)
        ));
        for denied in [
            KeyAlgorithm::RsaPkcs1Digest(Digest::Sha384),
            KeyAlgorithm::RsaPkcs1Digest(Digest::Sha3_256),
            KeyAlgorithm::RsaPkcs1,
            KeyAlgorithm::RsaRaw,
            KeyAlgorithm::EcdsaDigest,
            pss(Digest::Sha256, 32),
        ] {
            assert!(!supports(&one, &key, denied), "{denied:?}");
            assert_eq!(
                plan(&one, &key, denied, &[1; 32]),
                Err(TokenError::NotSupported)
            );
        }
        let bare = list(&["1.2.840.113549.1.1.1"]);
        assert!(!supports(
            &bare,
            &key,
            KeyAlgorithm::RsaPkcs1Digest(Digest::Sha3_256)
        ));
        assert!(!supports(
            &bare,
            &ec_key(Curve::P256),
            KeyAlgorithm::EcdsaDigest
        ));
        assert!(!signs(&bare, &ec_key(Curve::P256)) && signs(&bare, &key));
        assert!(!signs(&list(&["1.3.101.112"]), &key));
    }

    #[test]
    fn pss_has_the_usual_parameters_or_none() {
        let listed = list(&["1.2.840.113549.1.1.10"]);
        let key = rsa_key();
        assert!(supports(&listed, &key, pss(Digest::Sha512, 64)));
        for denied in [
            pss(Digest::Sha256, 20),
            pss(Digest::Sha1, 20),
            KeyAlgorithm::RsaPssDigest(Pss {
                digest: Digest::Sha256,
                mgf: Digest::Sha1,
                salt_len: 32,
            }),
        ] {
            assert!(!supports(&listed, &key, denied), "{denied:?}");
        }
        let made = plan(&listed, &key, pss(Digest::Sha256, 32), &[1; 32]).unwrap();
        assert_eq!(made.parameters, Some(pss_parameters(Digest::Sha256)));
    }

    #[test]
    fn ecdsa_takes_hashes_of_any_length() {
        let one = list(&["1.2.840.10045.4.3.2"]);
        let key = ec_key(Curve::P256);
        for len in [1, 20, 28, 32, 48, 64, 128] {
            let made = plan(&one, &key, KeyAlgorithm::EcdsaDigest, &vec![7; len]).unwrap();
            assert_eq!(
                (made.hash, made.digest.len()),
                (Digest::Sha256, 32),
                "{len}"
            );
            assert_eq!(*made.digest.last().unwrap(), 7);
        }
        let all = list(&["1.2.840.10045.2.1"]);
        for hash in HASHES {
            let made = plan(&all, &key, KeyAlgorithm::EcdsaDigest, &vec![7; hash.len()]).unwrap();
            assert_eq!((made.hash, made.names_no_hash), (hash, true));
        }
        let large = ec_key(Curve::P521);
        let both = list(&["1.2.840.10045.4.3.2", "1.2.840.10045.4.3.4"]);
        let made = plan(&both, &large, KeyAlgorithm::EcdsaDigest, &[7; 48]).unwrap();
        assert_eq!((made.hash, made.digest.len()), (Digest::Sha512, 64));
        let too_long = plan(&both, &large, KeyAlgorithm::EcdsaDigest, &[7; 66]);
        assert_eq!(too_long, Err(TokenError::DataLength));
    }
}
