//! Every way down from a signature scheme ends in a signature that the library and the `openssl` command accept.

// clippy.toml's allowances for tests end at the helper functions.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::{ec, file, openssl, pkcs8, rsa};
use ctk_crypto::{PrivateKey, Reduction, Request, hash, verify};
use ctk_token::{Digest, KeyAlgorithm, KeyType, Operation, Pss, PublicKey, Result, TokenError};

const MESSAGE: &[u8] = b"pay to the bearer on demand";

/// Signs a message as the module does: plan, hash, reduce, raw operation.
fn sign(key: &PrivateKey, asked: KeyAlgorithm, input: &[u8]) -> Result<Vec<u8>> {
    let supported = |algorithm| key.supports(Operation::Sign, algorithm);
    let plan =
        Reduction::new(asked, key.public_key(), supported)?.ok_or(TokenError::NotSupported)?;
    let hashed;
    let input = match plan.message_digest() {
        Some(digest) => {
            hashed = hash(digest, input)?;
            &*hashed
        }
        None => input,
    };
    let mut place = None;
    let Request { algorithm, input } = plan.apply(input, &mut place)?;
    let mut signature = vec![0; key.public_key().max_signature_len()];
    let len = key.sign(algorithm, input, &mut signature)?;
    signature.truncate(len);
    Ok(signature)
}

/// The command's name of a hash: `sha256`, `sha3-256`.
fn name(digest: Digest) -> String {
    format!("{digest:?}").to_lowercase().replace('_', "-")
}

fn pss(digest: Digest, mgf: Digest, salt_len: u32) -> Pss {
    Pss {
        digest,
        mgf,
        salt_len,
    }
}

/// `openssl dgst -verify` over MESSAGE.
fn command_verifies(key: &[u8], digest: Digest, options: &[String], signature: &[u8]) -> bool {
    let (message, signature) = (file("message", MESSAGE), file("signature", signature));
    let key = file("key.der", key);
    let digest = format!("-{}", name(digest));
    let mut arguments = vec!["dgst", &digest, "-keyform", "DER", "-prverify"];
    arguments.push(key.to_str().unwrap());
    for option in options {
        arguments.extend(["-sigopt", option]);
    }
    arguments.extend(["-signature", signature.to_str().unwrap()]);
    arguments.push(message.to_str().unwrap());
    openssl(&arguments).0
}

#[test]
fn pkcs1_signatures_are_byte_for_byte_those_of_openssl() {
    for bits in [1024, 1025, 2048] {
        let der = rsa(bits);
        let key = PrivateKey::from_pkcs8(&der).unwrap();
        let (path, message) = (file("key.der", &der), file("message", MESSAGE));
        for digest in Digest::ALL {
            let asked = KeyAlgorithm::RsaPkcs1Message(digest);
            let signature = sign(&key, asked, MESSAGE).unwrap();
            let (_, expected) = openssl(&[
                "dgst",
                &format!("-{}", name(digest)),
                "-keyform",
                "DER",
                "-sign",
                path.to_str().unwrap(),
                message.to_str().unwrap(),
            ]);
            assert_eq!(signature, expected, "{bits} {digest:?}");
            let digest_form = KeyAlgorithm::RsaPkcs1Digest(digest);
            let hash = hash(digest, MESSAGE).unwrap();
            assert_eq!(sign(&key, digest_form, &hash).unwrap(), expected);
            for (form, input) in [(asked, MESSAGE), (digest_form, &*hash)] {
                assert_eq!(verify(key.public_key(), form, input, &signature), Ok(true));
                let mut other = input.to_vec();
                other[0] ^= 1;
                assert_eq!(
                    verify(key.public_key(), form, &other, &signature),
                    Ok(false)
                );
            }
        }
    }
}

/// TLS 1.0's 36 bytes, nothing, and the longest.
#[test]
fn pkcs1_takes_any_short_input() {
    let der = rsa(1024);
    let key = PrivateKey::from_pkcs8(&der).unwrap();
    let path = file("key.der", &der);
    for len in [0, 1, 36, 117] {
        let input = vec![0x42; len];
        let signature = sign(&key, KeyAlgorithm::RsaPkcs1, &input).unwrap();
        assert_eq!(
            verify(key.public_key(), KeyAlgorithm::RsaPkcs1, &input, &signature),
            Ok(true),
            "{len}"
        );
        let (_, opened) = openssl(&[
            "pkeyutl",
            "-verifyrecover",
            "-keyform",
            "DER",
            "-inkey",
            path.to_str().unwrap(),
            "-in",
            file("signature", &signature).to_str().unwrap(),
        ]);
        assert_eq!(opened, input, "{len}");
    }
    assert_eq!(
        sign(&key, KeyAlgorithm::RsaPkcs1, &[0x42; 118]),
        Err(TokenError::DataLength)
    );
}

/// Blocks that a lax reader takes for a padded DigestInfo: verification must not.
#[test]
fn only_the_one_pkcs1_padding_verifies() {
    let key = PrivateKey::from_pkcs8(&rsa(1024)).unwrap();
    let asked = KeyAlgorithm::RsaPkcs1Digest(Digest::Sha256);
    let hash = hash(Digest::Sha256, MESSAGE).unwrap();
    let raw = |algorithm| algorithm == KeyAlgorithm::RsaRaw;
    let plan = Reduction::new(asked, key.public_key(), raw)
        .unwrap()
        .unwrap();
    let right = plan.apply(&hash, &mut None).unwrap().input.to_vec();
    let info = &right[128 - 51..];
    let padded = |ones: usize, rest: &[u8]| {
        let mut block = [&[0, 1][..], &vec![0xff; ones], &[0], rest].concat();
        block.resize(128, 0x42);
        block
    };
    let mut without_null = info.to_vec();
    without_null.drain(15..17);
    (without_null[1], without_null[3]) = (without_null[1] - 2, without_null[3] - 2);
    let mut encryption = right.clone();
    encryption[1] = 2;
    let mut gap = right.clone();
    gap[20] = 0xfe;

    let verified = |block: &[u8]| {
        let mut signature = vec![0; key.public_key().max_signature_len()];
        key.sign(KeyAlgorithm::RsaRaw, block, &mut signature)
            .unwrap();
        verify(key.public_key(), asked, &hash, &signature)
    };
    assert_eq!(verified(&right), Ok(true));
    for (block, why) in [
        (padded(8, info), "bytes after the DigestInfo"),
        (padded(73, info), "a byte after the DigestInfo"),
        (padded(76, &without_null), "no NULL parameters"),
        (padded(125 - 32, &hash), "no DigestInfo"),
        (encryption, "block type 2"),
        (gap, "a byte that is not FF"),
    ] {
        assert_eq!(verified(&block), Ok(false), "{why}");
    }
}

#[test]
fn pss_signatures_verify_elsewhere() {
    let der = rsa(2048);
    let key = PrivateKey::from_pkcs8(&der).unwrap();
    for digest in Digest::ALL {
        for mgf in Digest::ALL {
            let longest = 256 - digest.len() as u32 - 2;
            for salt_len in [0, digest.len() as u32, longest] {
                let pss = pss(digest, mgf, salt_len);
                let signature = sign(&key, KeyAlgorithm::RsaPssMessage(pss), MESSAGE).unwrap();
                assert_eq!(
                    verify(
                        key.public_key(),
                        KeyAlgorithm::RsaPssMessage(pss),
                        MESSAGE,
                        &signature
                    ),
                    Ok(true),
                    "{pss:?}"
                );
                let options = [
                    "rsa_padding_mode:pss".to_owned(),
                    format!("rsa_pss_saltlen:{salt_len}"),
                    format!("rsa_mgf1_md:{}", name(mgf)),
                ];
                assert!(
                    command_verifies(&der, digest, &options, &signature),
                    "{pss:?}"
                );
            }
        }
    }
}

/// The encoded message has one bit less than the modulus: 8·n + 1 bits leave a whole byte out.
#[test]
fn pss_fits_moduli_of_every_length() {
    for bits in 1024..=1032_u32 {
        let der = rsa(bits);
        let key = PrivateKey::from_pkcs8(&der).unwrap();
        assert_eq!(key.public_key().key_type(), KeyType::Rsa { bits });
        let longest = (bits - 1).div_ceil(8) - 32 - 2;
        for salt_len in [0, 32, longest] {
            let asked = KeyAlgorithm::RsaPssMessage(pss(Digest::Sha256, Digest::Sha256, salt_len));
            let signature = sign(&key, asked, MESSAGE).unwrap();
            assert_eq!(signature.len(), bits.div_ceil(8) as usize);
            assert_eq!(
                verify(key.public_key(), asked, MESSAGE, &signature),
                Ok(true),
                "{bits} {salt_len}"
            );
            let options = [
                "rsa_padding_mode:pss".to_owned(),
                format!("rsa_pss_saltlen:{salt_len}"),
            ];
            assert!(
                command_verifies(&der, Digest::Sha256, &options, &signature),
                "{bits} {salt_len}"
            );
        }
        let asked = KeyAlgorithm::RsaPssMessage(pss(Digest::Sha256, Digest::Sha256, longest + 1));
        assert_eq!(sign(&key, asked, MESSAGE), Err(TokenError::BadParameter));
    }
}

#[test]
fn pss_parameters_are_part_of_the_signature() {
    let key = PrivateKey::from_pkcs8(&rsa(2048)).unwrap();
    let right = pss(Digest::Sha256, Digest::Sha256, 32);
    let hash = hash(Digest::Sha256, MESSAGE).unwrap();
    let signature = sign(&key, KeyAlgorithm::RsaPssDigest(right), &hash).unwrap();
    let verified = |pss| {
        verify(
            key.public_key(),
            KeyAlgorithm::RsaPssDigest(pss),
            &hash,
            &signature,
        )
    };
    assert_eq!(verified(right), Ok(true));
    assert_eq!(
        verified(Pss {
            salt_len: 31,
            ..right
        }),
        Ok(false)
    );
    assert_eq!(
        verified(Pss {
            salt_len: 0,
            ..right
        }),
        Ok(false)
    );
    assert_eq!(
        verified(Pss {
            mgf: Digest::Sha1,
            ..right
        }),
        Ok(false)
    );
    assert_eq!(
        verified(Pss {
            digest: Digest::Sha384,
            ..right
        }),
        Err(TokenError::DataLength)
    );
    assert_eq!(
        verified(Pss {
            salt_len: 223,
            ..right
        }),
        Err(TokenError::BadParameter)
    );
}

#[test]
fn elliptic_signatures_verify_elsewhere() {
    for curve in common::CURVES {
        let der = ec(curve);
        let key = PrivateKey::from_pkcs8(&der).unwrap();
        for digest in Digest::ALL {
            let asked = KeyAlgorithm::EcdsaMessage(digest);
            let signature = sign(&key, asked, MESSAGE).unwrap();
            assert_eq!(
                verify(key.public_key(), asked, MESSAGE, &signature),
                Ok(true)
            );
            assert!(
                command_verifies(&der, digest, &[], &signature),
                "{curve} {digest:?}"
            );
        }
    }
    let der = pkcs8(&["ED25519"]);
    let key = PrivateKey::from_pkcs8(&der).unwrap();
    for message in [b"".as_slice(), MESSAGE, &[0x42; 100_000]] {
        let signature = sign(&key, KeyAlgorithm::EdDsa, message).unwrap();
        assert_eq!(
            verify(key.public_key(), KeyAlgorithm::EdDsa, message, &signature),
            Ok(true)
        );
        // The command does not take an empty file.
        if !message.is_empty() {
            let (verified, _) = openssl(&[
                "pkeyutl",
                "-verify",
                "-rawin",
                "-keyform",
                "DER",
                "-inkey",
                file("key.der", &der).to_str().unwrap(),
                "-in",
                file("message", message).to_str().unwrap(),
                "-sigfile",
                file("signature", &signature).to_str().unwrap(),
            ]);
            assert!(verified);
        }
    }
}

/// Whatever step of the chain a key store offers, the rest is done here and the result is the same.
#[test]
fn the_walk_stops_at_the_first_supported_step() {
    let key = PrivateKey::from_pkcs8(&rsa(1024)).unwrap();
    let public = key.public_key();
    let asked = KeyAlgorithm::RsaPkcs1Message(Digest::Sha256);
    let digest_form = KeyAlgorithm::RsaPkcs1Digest(Digest::Sha256);
    let walk = |asked, offered: &[KeyAlgorithm]| {
        Reduction::new(asked, public, |algorithm| offered.contains(&algorithm)).unwrap()
    };

    // Hashing here is preferred to sending the message, whatever is below it.
    let everything = [
        asked,
        digest_form,
        KeyAlgorithm::RsaPkcs1,
        KeyAlgorithm::RsaRaw,
    ];
    let mut place = None;
    let plan = walk(asked, &everything).unwrap();
    assert_eq!(plan.message_digest(), Some(Digest::Sha256));
    assert_eq!(plan.input_len(), (0, usize::MAX));
    let request = plan.apply(&[7; 32], &mut place).unwrap();
    assert_eq!(
        (request.algorithm, request.input),
        (digest_form, &[7; 32][..])
    );
    assert!(place.is_none(), "nothing is made");
    let plan = walk(asked, &[asked, KeyAlgorithm::RsaRaw]).unwrap();
    let request = plan.apply(&[7; 32], &mut place).unwrap();
    assert_eq!(request.algorithm, KeyAlgorithm::RsaRaw);
    assert!(place.is_some());

    // Only the message form: the message goes through as it is.
    let plan = walk(asked, &[asked]).unwrap();
    assert_eq!(plan.message_digest(), None);
    let request = plan.apply(MESSAGE, &mut place).unwrap();
    assert_eq!((request.algorithm, request.input), (asked, MESSAGE));

    // A store that pads by itself gets the DigestInfo.
    let plan = walk(digest_form, &[KeyAlgorithm::RsaPkcs1]).unwrap();
    assert_eq!(plan.input_len(), (32, 32));
    let request = plan.apply(&[7; 32], &mut place).unwrap();
    assert_eq!(request.algorithm, KeyAlgorithm::RsaPkcs1);
    let info = request.input;
    assert_eq!(info.len(), 51);
    assert_eq!((info[0], &info[19..]), (0x30, &[7; 32][..]));
    let raw = walk(digest_form, &[KeyAlgorithm::RsaRaw]).unwrap();
    let mut place = None;
    let whole = raw.apply(&[7; 32], &mut place).unwrap().input;
    assert_eq!(whole.len(), 128);
    assert!(whole.ends_with(info));

    assert!(walk(asked, &[]).is_none());
    assert!(walk(digest_form, &[asked]).is_none());
    assert!(walk(KeyAlgorithm::RsaRaw, &[KeyAlgorithm::RsaPkcs1]).is_none());
    let plan = walk(KeyAlgorithm::RsaRaw, &[KeyAlgorithm::RsaRaw]).unwrap();
    assert_eq!(plan.input_len(), (128, 128));
}

/// A service that takes hashes only is asked by what the DigestInfo says.
#[test]
fn a_digest_info_finds_the_form_of_its_hash() {
    let key = PrivateKey::from_pkcs8(&rsa(1024)).unwrap();
    let public = key.public_key();
    let taken = [Digest::Sha256, Digest::Sha3_384, Digest::Sha512];
    let hashes_only = |form| match form {
        KeyAlgorithm::RsaPkcs1Digest(digest) => taken.contains(&digest),
        _ => false,
    };
    let plan = Reduction::new(KeyAlgorithm::RsaPkcs1, public, hashes_only);
    let plan = plan.unwrap().unwrap();
    assert_eq!(plan.message_digest(), None);
    assert_eq!(plan.input_len(), (0, 117));
    for digest in Digest::ALL {
        let hash = hash(digest, MESSAGE).unwrap();
        // What stands before the hash, as another key store would get it.
        let before = Reduction::new(KeyAlgorithm::RsaPkcs1Digest(digest), public, |form| {
            form == KeyAlgorithm::RsaPkcs1
        });
        let mut place = None;
        let before = before.unwrap().unwrap();
        let info = before.apply(&hash, &mut place).unwrap().input;
        let mut nothing = None;
        let request = plan.apply(info, &mut nothing);
        if !taken.contains(&digest) {
            assert_eq!(request, Err(TokenError::DataInvalid), "{digest:?}");
            continue;
        }
        let Request { algorithm, input } = request.unwrap();
        assert_eq!(algorithm, KeyAlgorithm::RsaPkcs1Digest(digest));
        assert_eq!(input, &*hash);
        assert_eq!(plan.apply(&hash, &mut None), Err(TokenError::DataInvalid));
    }
    for len in [0, 36, 51, 117] {
        let other = vec![0x30; len];
        assert_eq!(plan.apply(&other, &mut None), Err(TokenError::DataInvalid));
    }
    assert_eq!(
        plan.apply(&[0x30; 118], &mut None),
        Err(TokenError::DataLength)
    );

    // It is a way for CKM_RSA_PKCS alone, and only if some hash fits.
    let ways = |asked, form| Reduction::new(asked, public, move |other| other == form);
    let one = KeyAlgorithm::RsaPkcs1Digest(Digest::Sha256);
    for asked in [
        KeyAlgorithm::RsaRaw,
        KeyAlgorithm::RsaPkcs1Digest(Digest::Sha1),
        KeyAlgorithm::RsaPkcs1Message(Digest::Sha1),
    ] {
        assert!(ways(asked, one).unwrap().is_none(), "{asked:?}");
    }
    assert!(ways(KeyAlgorithm::RsaPkcs1, one).unwrap().is_some());
    let short = PublicKey::rsa(&[0xff; 61], &[3]).unwrap();
    let too_long = Reduction::new(KeyAlgorithm::RsaPkcs1, &short, |form| form == one);
    assert!(too_long.unwrap().is_none());

    // Whoever takes any input is asked with the input as it is.
    let both = Reduction::new(KeyAlgorithm::RsaPkcs1, public, |form| {
        form != KeyAlgorithm::RsaRaw
    });
    let request = both
        .unwrap()
        .unwrap()
        .apply(&[7; 36], &mut None)
        .map(|it| it.algorithm);
    assert_eq!(request, Ok(KeyAlgorithm::RsaPkcs1));
}

#[test]
fn a_key_of_another_kind_has_no_way() {
    let rsa = PrivateKey::from_pkcs8(&rsa(1024)).unwrap();
    let ec = PrivateKey::from_pkcs8(&ec("P-256")).unwrap();
    let ed = PrivateKey::from_pkcs8(&pkcs8(&["ED25519"])).unwrap();
    let agreement = PrivateKey::from_pkcs8(&pkcs8(&["X25519"])).unwrap();
    let pss = pss(Digest::Sha256, Digest::Sha256, 32);
    for (asked, home) in [
        (KeyAlgorithm::RsaRaw, &rsa),
        (KeyAlgorithm::RsaPkcs1, &rsa),
        (KeyAlgorithm::RsaPkcs1Digest(Digest::Sha1), &rsa),
        (KeyAlgorithm::RsaPkcs1Message(Digest::Sha1), &rsa),
        (KeyAlgorithm::RsaPssDigest(pss), &rsa),
        (KeyAlgorithm::RsaPssMessage(pss), &rsa),
        (KeyAlgorithm::EcdsaDigest, &ec),
        (KeyAlgorithm::EcdsaMessage(Digest::Sha1), &ec),
        (KeyAlgorithm::EdDsa, &ed),
    ] {
        for key in [&rsa, &ec, &ed, &agreement] {
            let plan = Reduction::new(asked, key.public_key(), |_| true).unwrap();
            assert_eq!(plan.is_some(), std::ptr::eq(key, home), "{asked:?} {key:?}");
        }
    }
}

#[test]
fn what_does_not_fit_the_modulus_is_refused_at_once() {
    let key = PublicKey::rsa(&[0xc1; 64], &[1, 0, 1]).unwrap();
    let plan = |asked| Reduction::new(asked, &key, |_| true).map(|plan| plan.is_some());
    // 19 + 64 + 11 bytes for SHA-512, 19 + 32 + 11 for SHA-256.
    assert_eq!(
        plan(KeyAlgorithm::RsaPkcs1Message(Digest::Sha512)),
        Err(TokenError::BadParameter)
    );
    assert_eq!(
        plan(KeyAlgorithm::RsaPkcs1Message(Digest::Sha256)),
        Ok(true)
    );
    for (salt_len, expected) in [
        (30, Ok(true)),
        (31, Err(TokenError::BadParameter)),
        (u32::MAX, Err(TokenError::BadParameter)),
    ] {
        let pss = pss(Digest::Sha256, Digest::Sha1, salt_len);
        assert_eq!(plan(KeyAlgorithm::RsaPssDigest(pss)), expected);
        assert_eq!(plan(KeyAlgorithm::RsaPssMessage(pss)), expected);
    }
}

#[test]
fn inputs_of_other_lengths_are_refused() {
    let rsa = PrivateKey::from_pkcs8(&rsa(1024)).unwrap();
    let ec = PrivateKey::from_pkcs8(&ec("P-256")).unwrap();
    let pss = pss(Digest::Sha256, Digest::Sha256, 32);
    for (key, asked, bad) in [
        (&rsa, KeyAlgorithm::RsaRaw, &[0, 127, 129][..]),
        (&rsa, KeyAlgorithm::RsaPkcs1, &[118, 128, 5000]),
        (
            &rsa,
            KeyAlgorithm::RsaPkcs1Digest(Digest::Sha256),
            &[0, 31, 33, 51],
        ),
        (&rsa, KeyAlgorithm::RsaPssDigest(pss), &[0, 20, 31, 33]),
        // After hashing, the hash is what goes in.
        (&rsa, KeyAlgorithm::RsaPssMessage(pss), &[0, 20, 31, 33]),
        (
            &rsa,
            KeyAlgorithm::RsaPkcs1Message(Digest::Sha256),
            &[0, 31, 33],
        ),
        (&ec, KeyAlgorithm::EcdsaDigest, &[0, 129, 100_000]),
    ] {
        let supported = |algorithm| key.supports(Operation::Sign, algorithm);
        let plan = Reduction::new(asked, key.public_key(), supported)
            .unwrap()
            .unwrap();
        for len in bad {
            assert_eq!(
                plan.apply(&vec![0; *len], &mut None),
                Err(TokenError::DataLength),
                "{asked:?} {len}"
            );
        }
        let (min, max) = plan.input_len();
        if asked.message_digest().is_none() {
            assert!(
                bad.iter().all(|len| !(min..=max).contains(len)),
                "{asked:?}"
            );
        }
    }
}
