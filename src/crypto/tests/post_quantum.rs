//! ML-DSA and ML-KEM keys in every form of their PKCS#8, and keys that are made.

// clippy.toml's allowances for tests end at the helper functions.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use ctk_crypto::{PrivateKey, encapsulate, hash, verify};
use ctk_token::{
    Curve, Digest, KeyAlgorithm, KeyType, Operation, PublicKey, PublicKeyMaterial, TokenError,
};
use openssl::pkey::PKey;

const KINDS: [(KeyType, u8, u8); 6] = [
    (KeyType::MlDsa44, 3, 17),
    (KeyType::MlDsa65, 3, 18),
    (KeyType::MlDsa87, 3, 19),
    (KeyType::MlKem512, 4, 1),
    (KeyType::MlKem768, 4, 2),
    (KeyType::MlKem1024, 4, 3),
];

fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
    let len = contents.len();
    let head = match len {
        0..0x80 => vec![tag, len as u8],
        0x80..0x100 => vec![tag, 0x81, len as u8],
        _ => vec![tag, 0x82, (len >> 8) as u8, len as u8],
    };
    [head, contents.to_vec()].concat()
}

/// PrivateKeyInfo of a key of arc 2.16.840.1.101.3.4.
fn private_key_info(arc: u8, number: u8, private_key: &[u8]) -> Vec<u8> {
    let oid = [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, arc, number];
    let algorithm = element(0x30, &element(6, &oid));
    element(
        0x30,
        &[vec![2, 1, 0], algorithm, element(4, private_key)].concat(),
    )
}

fn seed(kind: KeyType) -> Vec<u8> {
    let len = if kind.ciphertext_len().is_some() {
        64
    } else {
        32
    };
    (0..len).collect()
}

/// The three forms of the key of one seed; the library says what it expands to.
struct Forms {
    seed: Vec<u8>,
    expanded: Vec<u8>,
    both: Vec<u8>,
    expanded_key: Vec<u8>,
}

fn forms(kind: KeyType, arc: u8, number: u8) -> Forms {
    let seed = seed(kind);
    let short = private_key_info(arc, number, &element(0x80, &seed));
    let library_key = PKey::private_key_from_der(&short).unwrap();
    let expanded_key = library_key.raw_private_key().unwrap();
    let both = [element(4, &seed), element(4, &expanded_key)].concat();
    Forms {
        seed: short,
        expanded: private_key_info(arc, number, &element(4, &expanded_key)),
        both: private_key_info(arc, number, &element(0x30, &both)),
        expanded_key,
    }
}

/// Uses the private half and asks the public one.
fn works(key: &PrivateKey, public: &PublicKey) -> bool {
    let Some(len) = public.key_type().ciphertext_len() else {
        let mut signature = vec![0; public.max_signature_len()];
        let len = key
            .sign(KeyAlgorithm::MlDsa, b"a message", &mut signature)
            .unwrap();
        assert_eq!(len, signature.len());
        let mut hedged = signature.clone();
        key.sign(KeyAlgorithm::MlDsa, b"a message", &mut hedged)
            .unwrap();
        assert_ne!(hedged, signature);
        assert_eq!(
            verify(public, KeyAlgorithm::MlDsa, b"a messagf", &signature),
            Ok(false)
        );
        for bad in [&signature[1..], &[], &[0; 5000]] {
            assert_eq!(
                verify(public, KeyAlgorithm::MlDsa, b"a message", bad),
                Ok(false)
            );
        }
        return verify(public, KeyAlgorithm::MlDsa, b"a message", &signature).unwrap();
    };
    let (mut ciphertext, mut sent, mut received) = (vec![0; len], [0; 32], [0; 32]);
    encapsulate(public, &mut ciphertext, &mut sent).unwrap();
    key.key_exchange(KeyAlgorithm::MlKem, &ciphertext, &mut received)
        .unwrap();
    sent == received
}

/// SHA-256 of the public keys of the seed 00 01 02 …, on which AWS-LC and OpenSSL agree.
#[test]
fn a_seed_is_a_key() {
    let expected = [
        "9f107644c1084526af3bc8098680b05499a2325a644e388fb4f970e058d19d46",
        "d666806e11cee19a7c989f7445f90dd419cf4d2d51db8c0fdb4c0f0a542238c9",
        "91dc389cfaa01470b7f66eee45a4ae9026d154817c754dfe22298b3fa241ffcd",
        "3ae268dccc5456ac0d0f9b39257dc48fe081383b97c400512d712b739762daee",
        "0b7934c83125c788995e2ba6bd761e33046b3e40571be53e023309a29f398cc9",
        "c7b8fa0aa471d5ae18922d6ccad5b31e1d84f92ae723abfd13747018740a8530",
    ];
    for ((kind, arc, number), expected) in KINDS.into_iter().zip(expected) {
        let key = PrivateKey::from_pkcs8(&forms(kind, arc, number).seed).unwrap();
        let PublicKeyMaterial::Raw { bytes, .. } = key.public_key().material() else {
            panic!("a key that is not taken apart");
        };
        let digest = hash(Digest::Sha256, bytes).unwrap();
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, expected, "{kind}");
    }
}

#[test]
fn all_three_forms_are_the_same_key() {
    for (kind, arc, number) in KINDS {
        let forms = forms(kind, arc, number);
        let key = PrivateKey::from_pkcs8(&forms.seed).unwrap();
        let public = key.public_key();
        assert_eq!(public.key_type(), kind);
        assert_eq!(format!("{key:?}"), format!("PrivateKey({kind})"));
        let operation = if kind.ciphertext_len().is_some() {
            (Operation::KeyExchange, KeyAlgorithm::MlKem)
        } else {
            (Operation::Sign, KeyAlgorithm::MlDsa)
        };
        for form in [&forms.seed, &forms.expanded, &forms.both] {
            let other = PrivateKey::from_pkcs8(form).unwrap();
            assert_eq!(other.public_key(), public, "{kind}");
            assert!(other.supports(operation.0, operation.1));
            assert!(!other.supports(Operation::Decrypt, operation.1));
            assert!(works(&other, public), "{kind}");
        }
    }
}

#[test]
fn a_damaged_key_is_refused() {
    for (kind, arc, number) in KINDS {
        let forms = forms(kind, arc, number);
        let (seed, expanded) = (seed(kind), forms.expanded_key);
        let flipped = |at: usize| {
            let mut damaged = expanded.clone();
            damaged[at] ^= 1;
            damaged
        };
        let both = |seed: &[u8], expanded: &[u8]| {
            element(0x30, &[element(4, seed), element(4, expanded)].concat())
        };
        let mut other_seed = seed.clone();
        other_seed[31] ^= 1;
        let longer = [&seed[..], &[0]].concat();
        for (private_key, why) in [
            (element(0x80, &seed[1..]), "a short seed"),
            (element(0x80, &longer), "a long seed"),
            (element(0x81, &seed), "a form that there is not"),
            (element(4, &seed), "a seed that says it is expanded"),
            (element(4, &expanded[1..]), "a short expanded key"),
            (
                element(4, &[&expanded[..], &[0]].concat()),
                "a long expanded key",
            ),
            (
                [element(0x80, &seed), vec![5, 0]].concat(),
                "something after the seed",
            ),
            (both(&other_seed, &expanded), "two keys in one"),
            (both(&seed, &flipped(0)), "two keys in one"),
            (both(&seed, &flipped(expanded.len() - 1)), "two keys in one"),
            (both(&seed, &expanded[1..]), "two keys in one"),
            (element(0x30, &element(4, &seed)), "one where there are two"),
            (vec![], "nothing"),
        ] {
            let der = private_key_info(arc, number, &private_key);
            assert!(
                matches!(PrivateKey::from_pkcs8(&der), Err(TokenError::Corrupted(_))),
                "{kind}: {why}"
            );
        }
        // Every part of an expanded key that something depends on: of ML-KEM not the last 32 bytes, which only make what
        // is wrong; of ML-DSA not the 32 bytes of K, which only make signatures vary.
        let unseen = if kind.ciphertext_len().is_some() {
            expanded.len() - 32..expanded.len()
        } else {
            32..64
        };
        for part in 0..16 {
            let at = part * expanded.len() / 16 + 3;
            if unseen.contains(&at) {
                continue;
            }
            let der = private_key_info(arc, number, &element(4, &flipped(at)));
            match PrivateKey::from_pkcs8(&der) {
                Err(TokenError::Corrupted(_)) => {}
                other => panic!("{kind}: byte {at}: {other:?}"),
            }
        }
    }
}

/// Keys for one session, of every kind.
#[test]
fn made_keys_work_and_differ() {
    let mut kinds = vec![
        KeyType::Rsa { bits: 1024 },
        KeyType::Rsa { bits: 1152 },
        KeyType::Rsa { bits: 2048 },
        KeyType::Ed25519,
        KeyType::Ed448,
        KeyType::X25519,
        KeyType::X448,
    ];
    kinds.extend(Curve::ALL.iter().map(|curve| KeyType::Ec(*curve)));
    kinds.extend(KINDS.map(|(kind, ..)| kind));
    let mut lacking = Vec::new();
    for kind in kinds {
        let key = match PrivateKey::generate(kind) {
            Ok(key) => key,
            Err(error) => {
                assert_eq!(error, TokenError::NotSupported);
                lacking.push(kind.to_string());
                continue;
            }
        };
        let public = key.public_key();
        assert_eq!(public.key_type(), kind);
        assert_ne!(
            PrivateKey::generate(kind).unwrap().public_key(),
            public,
            "{kind}"
        );
        assert_eq!(PublicKey::from_spki(public.spki()).as_ref(), Ok(public));
        let (algorithm, input) = match kind {
            KeyType::Rsa { bits } => {
                let PublicKeyMaterial::Rsa { exponent, .. } = public.material() else {
                    panic!("an RSA key");
                };
                assert_eq!(**exponent, [1, 0, 1]);
                (KeyAlgorithm::RsaRaw, vec![0x11; bits as usize / 8])
            }
            KeyType::Ec(_) => (KeyAlgorithm::EcdsaDigest, vec![7; 32]),
            KeyType::Ed25519 | KeyType::Ed448 => (KeyAlgorithm::EdDsa, vec![7; 100]),
            KeyType::X25519 | KeyType::X448 => {
                let peer = PrivateKey::generate(kind).unwrap();
                let agree = |key: &PrivateKey, peer: &PrivateKey| {
                    let PublicKeyMaterial::Raw { bytes, .. } = peer.public_key().material() else {
                        panic!("a raw key");
                    };
                    let mut secret = [0; 56];
                    key.key_exchange(KeyAlgorithm::Ecdh, bytes, &mut secret)
                        .unwrap();
                    secret
                };
                assert_eq!(agree(&key, &peer), agree(&peer, &key));
                continue;
            }
            _ => {
                assert!(works(&key, public), "{kind}");
                continue;
            }
        };
        let mut signature = vec![0; public.max_signature_len()];
        let len = key.sign(algorithm, &input, &mut signature).unwrap();
        assert_eq!(
            verify(public, algorithm, &input, &signature[..len]),
            Ok(true),
            "{kind}"
        );
    }
    let expected: &[&str] = if cfg!(feature = "aws-lc") {
        &[
            "Ed448",
            "X448",
            "brainpoolP256r1",
            "brainpoolP384r1",
            "brainpoolP512r1",
        ]
    } else {
        &[]
    };
    assert_eq!(lacking, expected);
    for bits in [0, 512, 1023, 1025, 1032, 8320, 16384, u32::MAX] {
        assert_eq!(
            PrivateKey::generate(KeyType::Rsa { bits }).map(drop),
            Err(TokenError::BadParameter)
        );
    }
}
