//! What is asked of a key: every form of each operation, and inputs for signatures.

use crate::{Digest, KeyAlgorithm, KeyType, Oaep, Pss, PublicKey, PublicKeyMaterial};

/// Every form of signature there is, for a walk over what a key supports.
pub fn signing_algorithms() -> Vec<KeyAlgorithm> {
    let mut all = vec![
        KeyAlgorithm::RsaRaw,
        KeyAlgorithm::RsaPkcs1,
        KeyAlgorithm::EcdsaDigest,
        KeyAlgorithm::EdDsa,
        KeyAlgorithm::MlDsa,
    ];
    for digest in Digest::ALL {
        let pss = Pss {
            digest,
            mgf: digest,
            salt_len: u32::try_from(digest.len()).unwrap_or(0),
        };
        all.extend([
            KeyAlgorithm::RsaPkcs1Digest(digest),
            KeyAlgorithm::RsaPkcs1Message(digest),
            KeyAlgorithm::RsaPssDigest(pss),
            KeyAlgorithm::RsaPssMessage(pss),
            KeyAlgorithm::EcdsaMessage(digest),
        ]);
    }
    all
}

/// Every form of decryption there is, for a walk over what a key supports.
pub fn decryption_algorithms() -> Vec<KeyAlgorithm> {
    let oaep = |digest, mgf| KeyAlgorithm::RsaOaep(Oaep { digest, mgf });
    let mut all = vec![KeyAlgorithm::RsaRaw, KeyAlgorithm::RsaPkcs1];
    for digest in Digest::ALL {
        all.extend([oaep(digest, digest), oaep(digest, Digest::Sha1)]);
    }
    all
}

/// Every form of key agreement there is.
pub fn exchange_algorithms() -> [KeyAlgorithm; 3] {
    [
        KeyAlgorithm::Ecdh,
        KeyAlgorithm::EcdhCofactor,
        KeyAlgorithm::MlKem,
    ]
}

/// An input that `algorithm` takes with this key, different for each `salt`. `None` if the kinds do not go together.
pub fn sample_input(key: &PublicKey, algorithm: KeyAlgorithm, salt: u8) -> Option<Vec<u8>> {
    let filled = |len: usize| {
        (0..len)
            .map(|i| salt.wrapping_add(i as u8))
            .collect::<Vec<u8>>()
    };
    let is_rsa = matches!(key.key_type(), KeyType::Rsa { .. });
    match algorithm {
        KeyAlgorithm::RsaRaw => {
            let PublicKeyMaterial::Rsa { modulus, .. } = key.material() else {
                return None;
            };
            let mut block = vec![0xff; modulus.len()];
            block[..2].copy_from_slice(&[0, 1]);
            let text = filled(20);
            let start = block.len() - text.len();
            block[start - 1] = 0;
            block[start..].copy_from_slice(&text);
            Some(block)
        }
        KeyAlgorithm::RsaPkcs1 => is_rsa.then(|| filled(36)),
        KeyAlgorithm::RsaPkcs1Digest(digest) => is_rsa.then(|| filled(digest.len())),
        KeyAlgorithm::RsaPssDigest(pss) => is_rsa.then(|| filled(pss.digest.len())),
        KeyAlgorithm::RsaPkcs1Message(_) | KeyAlgorithm::RsaPssMessage(_) => {
            is_rsa.then(|| filled(1000))
        }
        KeyAlgorithm::EcdsaDigest => {
            matches!(key.key_type(), KeyType::Ec(_)).then(|| filled(Digest::Sha256.len()))
        }
        KeyAlgorithm::EcdsaMessage(_) => {
            matches!(key.key_type(), KeyType::Ec(_)).then(|| filled(1000))
        }
        KeyAlgorithm::EdDsa => {
            matches!(key.key_type(), KeyType::Ed25519 | KeyType::Ed448).then(|| filled(1000))
        }
        KeyAlgorithm::MlDsa => matches!(
            key.key_type(),
            KeyType::MlDsa44 | KeyType::MlDsa65 | KeyType::MlDsa87
        )
        .then(|| filled(1000)),
        // Nothing is signed with these.
        KeyAlgorithm::RsaOaep(_)
        | KeyAlgorithm::Ecdh
        | KeyAlgorithm::EcdhCofactor
        | KeyAlgorithm::MlKem => None,
    }
}
