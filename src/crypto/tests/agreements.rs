//! Key agreement and encapsulation: against the `openssl` command and published vectors, and what no peer may send.

// clippy.toml's allowances for tests end at the helper functions.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use common::{CURVES, ec, file, openssl, pkcs8, rsa, unhex};
use ctk_crypto::{PrivateKey, check_encapsulation_key, check_point, encapsulate};
use ctk_token::{
    Curve, KeyAlgorithm, KeyType, Operation, PublicKey, PublicKeyMaterial, Result, TokenError,
};

fn agree(key: &PrivateKey, algorithm: KeyAlgorithm, peer: &[u8]) -> Result<Vec<u8>> {
    let mut secret = vec![0xee; 200];
    let len = key.key_exchange(algorithm, peer, &mut secret)?;
    assert_eq!(len, key.public_key().shared_secret_len());
    secret.truncate(len);
    Ok(secret)
}

fn point(key: &PublicKey) -> &[u8] {
    match key.material() {
        PublicKeyMaterial::Ec { point, .. } => point,
        PublicKeyMaterial::Raw { bytes, .. } => bytes,
        PublicKeyMaterial::Rsa { .. } => panic!("no point"),
    }
}

/// What the openssl command agrees on.
fn command_agrees(der: &[u8], peer: &PublicKey) -> Vec<u8> {
    let (key, peer) = (file("key.der", der), file("peer.der", peer.spki()));
    let (agreed, secret) = openssl(&[
        "pkeyutl",
        "-derive",
        "-keyform",
        "DER",
        "-inkey",
        key.to_str().unwrap(),
        "-peerform",
        "DER",
        "-peerkey",
        peer.to_str().unwrap(),
    ]);
    assert!(agreed);
    secret
}

#[test]
fn both_sides_and_the_openssl_command_agree() {
    let mut kinds: Vec<Vec<&str>> = Vec::new();
    let options: Vec<String> = CURVES
        .iter()
        .copied()
        .chain(["brainpoolP256r1", "brainpoolP384r1", "brainpoolP512r1"])
        .map(|curve| format!("ec_paramgen_curve:{curve}"))
        .collect();
    for option in &options {
        kinds.push(vec!["EC", option, "ec_param_enc:named_curve"]);
    }
    kinds.push(vec!["X25519"]);
    kinds.push(vec!["X448"]);
    let mut lacking = 0;
    for kind in kinds {
        let der = pkcs8(&kind);
        let ours = match PrivateKey::from_pkcs8(&der) {
            Ok(key) => key,
            Err(error) => {
                assert_eq!(error, TokenError::NotSupported, "{kind:?}");
                lacking += 1;
                continue;
            }
        };
        let theirs = PrivateKey::from_pkcs8(&pkcs8(&kind)).unwrap();
        assert!(ours.supports(Operation::KeyExchange, KeyAlgorithm::Ecdh));
        let expected = command_agrees(&der, theirs.public_key());
        for (key, peer) in [(&ours, &theirs), (&theirs, &ours)] {
            let peer = point(peer.public_key());
            assert_eq!(
                agree(key, KeyAlgorithm::Ecdh, peer),
                Ok(expected.clone()),
                "{kind:?}"
            );
            // All curves have cofactor 1; RFC 7748 has no form with a cofactor.
            let cofactor = agree(key, KeyAlgorithm::EcdhCofactor, peer);
            if kind[0] == "EC" {
                assert_eq!(cofactor, Ok(expected.clone()));
            } else {
                assert_eq!(cofactor, Err(TokenError::NotSupported));
            }
        }
    }
    // AWS-LC: brainpool and X448.
    assert_eq!(lacking, if cfg!(feature = "aws-lc") { 4 } else { 0 });
}

/// RFC 7748 §5.2. The second peer has its highest bit set, which does not count.
#[test]
fn x25519_is_that_of_rfc_7748() {
    for (secret, peer, expected) in [
        (
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ),
        (
            "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
            "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
            "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
        ),
    ] {
        let der = [unhex("302e020100300506032b656e04220420"), unhex(secret)].concat();
        let key = PrivateKey::from_pkcs8(&der).unwrap();
        assert_eq!(
            agree(&key, KeyAlgorithm::Ecdh, &unhex(peer)),
            Ok(unhex(expected))
        );
    }
}

/// RFC 7748 §6.1: with a peer of small order everybody would get zeros.
#[test]
fn peers_of_small_order_are_refused() {
    let key = PrivateKey::generate(KeyType::X25519).unwrap();
    let zeros = "0".repeat(62);
    let ones = "f".repeat(60);
    for peer in [
        format!("00{zeros}"),
        format!("01{zeros}"),
        format!("ec{ones}7f"),
        format!("ed{ones}7f"),
        format!("ee{ones}7f"),
        format!("ed{ones}ff"),
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800".to_owned(),
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157".to_owned(),
    ] {
        let mut secret = [0; 32];
        let answer = key.key_exchange(KeyAlgorithm::Ecdh, &unhex(&peer), &mut secret);
        assert_eq!(answer, Err(TokenError::BadParameter), "{peer}");
        assert_eq!(secret, [0; 32]);
    }
    for len in [0, 31, 33, 56] {
        assert_eq!(
            agree(&key, KeyAlgorithm::Ecdh, &vec![9; len]),
            Err(TokenError::BadParameter)
        );
    }
    if cfg!(not(feature = "aws-lc")) {
        let key = PrivateKey::generate(KeyType::X448).unwrap();
        for first in [0, 1] {
            let mut peer = [0; 56];
            peer[0] = first;
            assert_eq!(
                agree(&key, KeyAlgorithm::Ecdh, &peer),
                Err(TokenError::BadParameter)
            );
        }
    }
}

/// Every encoding of SEC 1 §2.3.3 but one, and numbers that are no point.
#[test]
fn only_uncompressed_points_of_the_curve_are_taken() {
    for (name, curve, other) in [
        ("P-224", Curve::P224, Curve::P256),
        ("P-256", Curve::P256, Curve::Secp256k1),
        ("P-384", Curve::P384, Curve::P256),
        ("P-521", Curve::P521, Curve::P384),
        ("secp256k1", Curve::Secp256k1, Curve::P256),
    ] {
        let key = PrivateKey::from_pkcs8(&ec(name)).unwrap();
        assert_eq!(key.public_key().key_type(), KeyType::Ec(curve));
        let peer = PrivateKey::generate(KeyType::Ec(curve)).unwrap();
        let good = point(peer.public_key());
        let half = curve.bytes();
        assert_eq!(check_point(curve, good), Ok(()));
        assert!(agree(&key, KeyAlgorithm::Ecdh, good).is_ok());

        let odd = good[2 * half] & 1;
        let with = |first: u8, rest: &[u8]| [&[first], rest].concat();
        let mut off_curve = good.to_vec();
        off_curve[2 * half] ^= 1;
        let mut too_large = good.to_vec();
        too_large[1..=half].fill(0xff);
        for (point, why) in [
            (vec![], "nothing"),
            (vec![0], "infinity"),
            (with(0, &good[1..]), "infinity with coordinates"),
            (with(2 + odd, &good[1..=half]), "compressed"),
            (with(6 + odd, &good[1..]), "hybrid"),
            (with(7 - odd, &good[1..]), "hybrid of the other point"),
            (with(5, &good[1..]), "no form at all"),
            (good[1..].to_vec(), "no form byte"),
            (good[..2 * half].to_vec(), "a byte too few"),
            (with(4, &[&good[1..], &[0]].concat()), "a byte too many"),
            (with(4, &vec![0; 2 * half]), "zeros"),
            (off_curve, "not on the curve"),
            (too_large, "not below the prime"),
        ] {
            assert_eq!(
                check_point(curve, &point),
                Err(TokenError::BadParameter),
                "{name}: {why}"
            );
            assert_eq!(
                agree(&key, KeyAlgorithm::Ecdh, &point),
                Err(TokenError::BadParameter),
                "{name}: {why}"
            );
        }
        let elsewhere = PrivateKey::generate(KeyType::Ec(other)).unwrap();
        assert_eq!(
            agree(&key, KeyAlgorithm::Ecdh, point(elsewhere.public_key())),
            Err(TokenError::BadParameter),
            "{name}: a point of {other:?}"
        );
    }
    if cfg!(feature = "aws-lc") {
        let point = [&[4][..], &[1; 64]].concat();
        assert_eq!(
            check_point(Curve::BrainpoolP256r1, &point),
            Err(TokenError::NotSupported)
        );
    }
}

#[test]
fn keys_agree_only_as_their_kind_does() {
    let signer = PrivateKey::from_pkcs8(&pkcs8(&["ED25519"])).unwrap();
    let rsa = PrivateKey::from_pkcs8(&rsa(1024)).unwrap();
    let ec = PrivateKey::generate(KeyType::Ec(Curve::P256)).unwrap();
    let kem = PrivateKey::generate(KeyType::MlKem768).unwrap();
    for (key, own) in [
        (&signer, &[][..]),
        (&rsa, &[]),
        (&ec, &[KeyAlgorithm::Ecdh, KeyAlgorithm::EcdhCofactor]),
        (&kem, &[KeyAlgorithm::MlKem]),
    ] {
        for algorithm in [
            KeyAlgorithm::Ecdh,
            KeyAlgorithm::EcdhCofactor,
            KeyAlgorithm::MlKem,
            KeyAlgorithm::RsaRaw,
        ] {
            let supported = own.contains(&algorithm);
            assert_eq!(key.supports(Operation::KeyExchange, algorithm), supported);
            if !supported {
                assert_eq!(
                    agree(key, algorithm, &[4; 65]),
                    Err(TokenError::NotSupported)
                );
            }
        }
    }
    let peer = PrivateKey::generate(KeyType::Ec(Curve::P256)).unwrap();
    assert_eq!(
        ec.key_exchange(KeyAlgorithm::Ecdh, point(peer.public_key()), &mut [0; 31]),
        Err(TokenError::BadParameter)
    );
}

#[test]
fn one_key_agrees_from_many_threads() {
    for kind in [KeyType::Ec(Curve::P256), KeyType::X25519] {
        let key = PrivateKey::generate(kind).unwrap();
        let peer = PrivateKey::generate(kind).unwrap();
        let expected = agree(&peer, KeyAlgorithm::Ecdh, point(key.public_key()));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let secret = agree(&key, KeyAlgorithm::Ecdh, point(peer.public_key()));
                        assert_eq!(secret, expected);
                    }
                });
            }
        });
    }
}

#[test]
fn a_coefficient_of_an_encapsulation_key_is_below_q() {
    for kind in [KeyType::MlKem512, KeyType::MlKem768, KeyType::MlKem1024] {
        let key = PrivateKey::generate(kind).unwrap();
        let right = point(key.public_key()).to_vec();
        let verdict = |bytes: &[u8]| {
            let key = PublicKey::raw(kind, bytes).unwrap();
            let (mut ciphertext, mut secret) = (vec![0; 1568], [0; 32]);
            let encapsulated = encapsulate(&key, &mut ciphertext, &mut secret).map(drop);
            assert_eq!(check_encapsulation_key(&key), encapsulated);
            encapsulated
        };
        assert_eq!(verdict(&right), Ok(()));
        let last = right.len() - 32 - 3;
        for at in [0, 3, last] {
            for (pair, expected) in [
                // 3328 and 0, 3329 and 0; 0 and 3328, 0 and 3329.
                ([0x00, 0x0D, 0x00], Ok(())),
                ([0x01, 0x0D, 0x00], Err(TokenError::BadParameter)),
                ([0x00, 0x00, 0xD0], Ok(())),
                ([0x00, 0x10, 0xD0], Err(TokenError::BadParameter)),
            ] {
                let mut changed = right.clone();
                changed[at..at + 3].copy_from_slice(&pair);
                assert_eq!(verdict(&changed), expected, "{kind} {at}");
            }
        }
        let mut any_seed = right.clone();
        any_seed[last + 3..].fill(0xFF);
        assert_eq!(verdict(&any_seed), Ok(()));
    }
}

#[test]
fn what_is_encapsulated_comes_out_again() {
    for (kind, ciphertext_len) in [
        (KeyType::MlKem512, 768),
        (KeyType::MlKem768, 1088),
        (KeyType::MlKem1024, 1568),
    ] {
        let key = PrivateKey::generate(kind).unwrap();
        assert_eq!(key.public_key().key_type(), kind);
        let mut ciphertext = vec![0; ciphertext_len];
        let mut secret = [0; 32];
        assert_eq!(
            encapsulate(key.public_key(), &mut ciphertext, &mut secret),
            Ok((ciphertext_len, 32))
        );
        assert_eq!(
            agree(&key, KeyAlgorithm::MlKem, &ciphertext),
            Ok(secret.to_vec())
        );

        // FIPS 203 §7.3: a wrong ciphertext of the right length gives a secret too, always the same, and not the right one.
        ciphertext[7] ^= 1;
        let rejected = agree(&key, KeyAlgorithm::MlKem, &ciphertext).unwrap();
        assert_ne!(rejected, secret);
        assert_eq!(agree(&key, KeyAlgorithm::MlKem, &ciphertext), Ok(rejected));
        for len in [0, ciphertext_len - 1, ciphertext_len + 1] {
            assert_eq!(
                agree(&key, KeyAlgorithm::MlKem, &vec![1; len]),
                Err(TokenError::DataLength)
            );
        }

        let public = key.public_key();
        assert_eq!(
            encapsulate(public, &mut vec![0; ciphertext_len - 1], &mut secret),
            Err(TokenError::BadParameter)
        );
        assert_eq!(
            encapsulate(public, &mut ciphertext, &mut [0; 31]),
            Err(TokenError::BadParameter)
        );
        // FIPS 203 §7.2: coefficients that are not below q.
        let impossible = PublicKey::raw(kind, &vec![0xff; point(public).len()]).unwrap();
        assert_eq!(
            encapsulate(&impossible, &mut ciphertext, &mut secret),
            Err(TokenError::BadParameter)
        );
    }
    let other = PrivateKey::generate(KeyType::X25519).unwrap();
    assert_eq!(
        check_encapsulation_key(other.public_key()),
        Err(TokenError::NotSupported)
    );
    assert_eq!(
        encapsulate(other.public_key(), &mut [0; 2000], &mut [0; 32]),
        Err(TokenError::NotSupported)
    );
}
