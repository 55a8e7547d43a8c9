//! Private keys: what is taken, what is refused, and that what they sign is right.

// clippy.toml's allowances for tests end at the helper functions.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use common::{CURVES, ec, file, openssl, pkcs8, position, rsa, unhex};
use ctk_crypto::{PrivateKey, verify};
use ctk_token::{Curve, KeyAlgorithm, KeyType, Operation, PublicKey, TokenError};

fn sign(key: &PrivateKey, algorithm: KeyAlgorithm, input: &[u8]) -> Result<Vec<u8>, TokenError> {
    let mut signature = vec![0xee; key.public_key().max_signature_len()];
    let len = key.sign(algorithm, input, &mut signature)?;
    signature.truncate(len);
    Ok(signature)
}

/// The form that a key performs, and an input for it.
fn primitive(key: &PrivateKey) -> (KeyAlgorithm, Vec<u8>) {
    match key.public_key().key_type() {
        KeyType::Rsa { bits } => {
            let mut block = vec![0x5a; bits.div_ceil(8) as usize];
            block[..2].copy_from_slice(&[0, 1]);
            (KeyAlgorithm::RsaRaw, block)
        }
        KeyType::Ec(curve) => (KeyAlgorithm::EcdsaDigest, vec![0x5a; curve.bytes()]),
        _ => (KeyAlgorithm::EdDsa, b"a message".to_vec()),
    }
}

fn kinds() -> Vec<(String, Vec<u8>)> {
    let mut kinds = Vec::new();
    for bits in [1024, 2048, 3072, 4096] {
        kinds.push((format!("RSA-{bits}"), rsa(bits)));
    }
    for curve in CURVES {
        kinds.push((curve.to_owned(), ec(curve)));
    }
    kinds.push(("Ed25519".to_owned(), pkcs8(&["ED25519"])));
    kinds
}

#[test]
fn every_kind_signs_what_verifies() {
    for (name, der) in kinds() {
        let key = PrivateKey::from_pkcs8(&der).unwrap();
        assert_eq!(key.public_key().key_type().to_string(), name);
        assert_eq!(format!("{key:?}"), format!("PrivateKey({name})"));

        let path = file("key.der", &der);
        let path = path.to_str().unwrap();
        let (_, spki) = openssl(&[
            "pkey", "-inform", "DER", "-in", path, "-pubout", "-outform", "DER",
        ]);
        assert_eq!(key.public_key().spki(), spki, "{name}");

        let (algorithm, mut input) = primitive(&key);
        assert!(key.supports(Operation::Sign, algorithm));
        assert_eq!(
            key.supports(Operation::Decrypt, algorithm),
            algorithm == KeyAlgorithm::RsaRaw
        );
        let mut signature = sign(&key, algorithm, &input).unwrap();
        let public = PublicKey::from_spki(&spki).unwrap();
        assert_eq!(
            verify(&public, algorithm, &input, &signature),
            Ok(true),
            "{name}"
        );

        input[5] ^= 1;
        assert_eq!(
            verify(&public, algorithm, &input, &signature),
            Ok(false),
            "{name}"
        );
        input[5] ^= 1;
        *signature.last_mut().unwrap() ^= 1;
        assert_eq!(
            verify(&public, algorithm, &input, &signature),
            Ok(false),
            "{name}"
        );
        for bad in [&signature[..signature.len() - 1], &[], &[0; 2000]] {
            assert_eq!(verify(&public, algorithm, &input, bad), Ok(false), "{name}");
        }
    }
}

/// RFC 8032 §7.1, tests 1 to 3.
#[test]
fn ed25519_is_that_of_rfc_8032() {
    for (seed, message, expected) in [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bac\
             c61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e\
             458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290\
             ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ),
    ] {
        let der = [unhex("302e020100300506032b657004220420"), unhex(seed)].concat();
        let key = PrivateKey::from_pkcs8(&der).unwrap();
        let signature = sign(&key, KeyAlgorithm::EdDsa, &unhex(message)).unwrap();
        assert_eq!(signature, unhex(expected));
    }
}

/// sssd signs SHA-512 with P-256: only the leftmost bits of the order's length count, and other programs agree.
#[test]
fn ecdsa_truncates_long_hashes() {
    for curve in CURVES {
        let der = ec(curve);
        let key = PrivateKey::from_pkcs8(&der).unwrap();
        let KeyType::Ec(curve) = key.public_key().key_type() else {
            panic!("an EC key");
        };
        let path = file("key.der", &der);
        for len in [1, 20, 28, 32, 48, 64, 65, 66, 67, 100] {
            let hash: Vec<u8> = (0..len).map(|byte| 0xa5 ^ byte).collect();
            let signature = sign(&key, KeyAlgorithm::EcdsaDigest, &hash).unwrap();
            let verified = |hash: &[u8]| {
                verify(
                    key.public_key(),
                    KeyAlgorithm::EcdsaDigest,
                    hash,
                    &signature,
                )
                .unwrap()
            };
            assert!(verified(&hash));
            assert!(verified(&hash[..hash.len().min(curve.bytes())]));
            if hash.len() > curve.bytes() {
                assert!(!verified(&hash[..curve.bytes() - 1]));
            }
            // The command takes up to 64 bytes as a hash.
            if len <= 64 {
                let (verified, _) = openssl(&[
                    "pkeyutl",
                    "-verify",
                    "-keyform",
                    "DER",
                    "-inkey",
                    path.to_str().unwrap(),
                    "-in",
                    file("hash", &hash).to_str().unwrap(),
                    "-sigfile",
                    file("signature", &signature).to_str().unwrap(),
                ]);
                assert!(verified, "{curve:?} {len}");
            }
        }
        assert_eq!(
            sign(&key, KeyAlgorithm::EcdsaDigest, &[]),
            Err(TokenError::DataLength)
        );
    }
}

/// P-521's order has 521 bits: of 66 bytes, the last seven bits never count.
#[test]
fn ecdsa_truncates_to_bits() {
    let key = PrivateKey::from_pkcs8(&ec("P-521")).unwrap();
    let hash = [0xa5; 66];
    let signature = sign(&key, KeyAlgorithm::EcdsaDigest, &hash).unwrap();
    let verified = |last| {
        let mut hash = hash;
        hash[65] = last;
        verify(
            key.public_key(),
            KeyAlgorithm::EcdsaDigest,
            &hash,
            &signature,
        )
        .unwrap()
    };
    assert!(verified(0xa5 ^ 0x7f));
    assert!(!verified(0xa5 ^ 0x80));
}

#[test]
fn keys_do_only_what_their_kind_does() {
    let rsa = PrivateKey::from_pkcs8(&rsa(1024)).unwrap();
    let ec = PrivateKey::from_pkcs8(&ec("P-256")).unwrap();
    let ed = PrivateKey::from_pkcs8(&pkcs8(&["ED25519"])).unwrap();
    let agreement = PrivateKey::from_pkcs8(&pkcs8(&["X25519"])).unwrap();
    assert_eq!(agreement.public_key().key_type(), KeyType::X25519);

    let forms = [
        KeyAlgorithm::RsaRaw,
        KeyAlgorithm::EcdsaDigest,
        KeyAlgorithm::EdDsa,
        KeyAlgorithm::RsaPkcs1,
    ];
    for (number, key) in [&rsa, &ec, &ed, &agreement].into_iter().enumerate() {
        for (form_number, form) in forms.into_iter().enumerate() {
            let own = number == form_number && number < 3;
            assert_eq!(key.supports(Operation::Sign, form), own);
            if !own {
                assert_eq!(
                    key.sign(form, &[1; 128], &mut [0; 200]),
                    Err(TokenError::NotSupported)
                );
            }
        }
        if number < 3 {
            let (form, input) = primitive(key);
            let mut short = vec![0; key.public_key().max_signature_len() - 1];
            assert_eq!(
                key.sign(form, &input, &mut short),
                Err(TokenError::BadParameter)
            );
        }
    }
    assert_eq!(
        verify(ec.public_key(), KeyAlgorithm::EdDsa, b"", &[0; 64]),
        Err(TokenError::NotSupported)
    );
}

#[test]
fn a_damaged_ec_key_is_refused() {
    let der = ec("P-256");
    let key = openssl::pkey::PKey::private_key_from_der(&der).unwrap();
    let secret = key
        .ec_key()
        .unwrap()
        .private_key()
        .to_vec_padded(32)
        .unwrap();
    let place = position(&der, &secret);
    // The private number, then the point, which ends the file.
    for at in [place, place + 31, der.len() - 64, der.len() - 1] {
        let mut damaged = der.clone();
        damaged[at] ^= 2;
        assert!(
            matches!(
                PrivateKey::from_pkcs8(&damaged),
                Err(TokenError::Corrupted(_))
            ),
            "{at}"
        );
    }
}

#[test]
fn what_is_no_key_is_refused() {
    for der in [rsa(1024), ec("P-256"), pkcs8(&["ED25519"])] {
        for len in 0..der.len() {
            assert!(
                matches!(
                    PrivateKey::from_pkcs8(&der[..len]),
                    Err(TokenError::Corrupted(_))
                ),
                "{len}"
            );
        }
        let longer = [&der[..], &[0]].concat();
        assert!(matches!(
            PrivateKey::from_pkcs8(&longer),
            Err(TokenError::Corrupted(_))
        ));
    }
    assert!(PrivateKey::from_pkcs8(&[0x30; 1000]).is_err());
}

/// Any single bit turned makes an error or another whole key, never a panic and never a wrong signature.
#[test]
fn no_bit_makes_a_key_that_signs_wrongly() {
    for der in [ec("P-256"), pkcs8(&["ED25519"])] {
        for bit in 0..8 * der.len() {
            let mut damaged = der.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let Ok(key) = PrivateKey::from_pkcs8(&damaged) else {
                continue;
            };
            let (algorithm, input) = primitive(&key);
            if key.supports(Operation::Sign, algorithm) {
                let signature = sign(&key, algorithm, &input).unwrap();
                assert_eq!(
                    verify(key.public_key(), algorithm, &input, &signature),
                    Ok(true)
                );
            }
        }
    }
}

/// What a key file may leave out or write otherwise: the public point, or the point in compressed form.
#[test]
fn ec_keys_of_other_forms_have_the_same_public_key() {
    let der = ec("P-256");
    let path = file("key.der", &der);
    let expected = PrivateKey::from_pkcs8(&der).unwrap();
    for conversion in [&["-no_public"][..], &["-conv_form", "compressed"]] {
        let sec1 = [
            &["ec", "-inform", "DER", "-outform", "PEM", "-in"][..],
            &[path.to_str().unwrap()],
            conversion,
        ]
        .concat();
        let (_, sec1) = openssl(&sec1);
        let sec1 = file("key.pem", &sec1);
        let (converted, other) = openssl(&[
            "pkcs8",
            "-topk8",
            "-nocrypt",
            "-outform",
            "DER",
            "-in",
            sec1.to_str().unwrap(),
        ]);
        assert!(converted);
        assert_ne!(other, der, "{conversion:?}");
        let key = PrivateKey::from_pkcs8(&other).unwrap();
        assert_eq!(key.public_key(), expected.public_key(), "{conversion:?}");
    }
}

/// OneAsymmetricKey with attributes and the public key (RFC 8410 §10.3), as Bouncy Castle writes.
#[test]
fn a_key_with_its_public_key_beside_it_loads() {
    let der = unhex(
        "3072020101300506032b657004220420d4ee72dbf913584ad5b6d8f1f769f8ad3afe7c28cbf1d4fbe097a88f\
         44755842a01f301d060a2a864886f70d01090914310f0c0d437572646c6520436861697273812100\
         19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1",
    );
    let key = PrivateKey::from_pkcs8(&der).unwrap();
    assert!(key.public_key().spki().ends_with(&der[der.len() - 32..]));
    let signature = sign(&key, KeyAlgorithm::EdDsa, b"a message").unwrap();
    assert_eq!(
        verify(
            key.public_key(),
            KeyAlgorithm::EdDsa,
            b"a message",
            &signature
        ),
        Ok(true)
    );
}

#[test]
fn kinds_without_a_name_in_the_contract_are_not_supported() {
    let p192 = ec("prime192v1");
    assert_eq!(
        PrivateKey::from_pkcs8(&p192).unwrap_err(),
        TokenError::NotSupported
    );
}

/// What AWS-LC lacks; static OpenSSL has it.
#[test]
fn brainpool_and_ed448_depend_on_the_library() {
    for der in [
        ec("brainpoolP256r1"),
        ec("brainpoolP384r1"),
        ec("brainpoolP512r1"),
        pkcs8(&["ED448"]),
        pkcs8(&["X448"]),
    ] {
        let key = PrivateKey::from_pkcs8(&der);
        if cfg!(feature = "aws-lc") {
            assert_eq!(key.unwrap_err(), TokenError::NotSupported);
            continue;
        }
        let key = key.unwrap();
        let (algorithm, input) = primitive(&key);
        if key.supports(Operation::Sign, algorithm) {
            let signature = sign(&key, algorithm, &input).unwrap();
            assert_eq!(
                verify(key.public_key(), algorithm, &input, &signature),
                Ok(true)
            );
        }
    }
}

#[test]
fn one_key_signs_from_many_threads() {
    for der in [rsa(2048), ec("P-256"), pkcs8(&["ED25519"])] {
        let key = PrivateKey::from_pkcs8(&der).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..8_u8 {
                let key = &key;
                scope.spawn(move || {
                    let (algorithm, mut input) = primitive(key);
                    for round in 0..20_u8 {
                        input[2..4].copy_from_slice(&[thread, round]);
                        let signature = sign(key, algorithm, &input).unwrap();
                        assert_eq!(
                            verify(key.public_key(), algorithm, &input, &signature),
                            Ok(true)
                        );
                    }
                });
            }
        });
    }
}

/// A signature in DER always fits what the contract says.
#[test]
fn signatures_fit() {
    for (name, curve) in [("P-256", Curve::P256), ("P-521", Curve::P521)] {
        let key = PrivateKey::from_pkcs8(&ec(name)).unwrap();
        for round in 0..50_u8 {
            let der = sign(&key, KeyAlgorithm::EcdsaDigest, &[round; 32]).unwrap();
            let (mut fixed, mut again) = ([0; 132], [0; 160]);
            let len = ctk_crypto::ecdsa::der_to_fixed(curve, &der, &mut fixed).unwrap();
            assert_eq!(len, 2 * curve.bytes());
            let len = ctk_crypto::ecdsa::fixed_to_der(curve, &fixed[..len], &mut again).unwrap();
            assert_eq!(again[..len], der);
        }
    }
}
