//! Decryption: every padding against another implementation, and nothing learnt from a wrong one.

// clippy.toml's allowances for tests end at the helper functions.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;
#[path = "vectors/rejection.rs"]
mod rejection;

use common::{ec, file, openssl, pkcs8, rsa, unhex};
use ctk_crypto::{Decryption, PrivateKey, RsaEncryption, encrypt, hash, random};
use ctk_token::{
    Digest, KeyAlgorithm, Oaep, Operation, PublicKey, PublicKeyMaterial, Result, TokenError,
};

fn oaep(digest: Digest, mgf: Digest, label: &[u8]) -> RsaEncryption {
    RsaEncryption::Oaep {
        digest,
        mgf,
        label: label.to_vec(),
    }
}

fn modulus_len(key: &PublicKey) -> usize {
    key.max_signature_len()
}

/// Decrypts as the module does, with whatever of the key's own forms `offered` lets through.
fn decrypt_by(
    key: &PrivateKey,
    how: &RsaEncryption,
    offered: impl Fn(KeyAlgorithm) -> bool,
    ciphertext: &[u8],
) -> Result<Vec<u8>> {
    let supported = |form| offered(form) && key.supports(Operation::Decrypt, form);
    let plan = Decryption::new(how.clone(), key.public_key(), supported)?;
    let plan = plan.ok_or(TokenError::NotSupported)?;
    let mut performed = vec![0xee; plan.input_len()];
    let len = key.decrypt(plan.performed(), ciphertext, &mut performed)?;
    let mut plaintext = vec![0xee; plan.max_plaintext_len()];
    let len = plan.finish(ciphertext, &performed[..len], &[7; 32], &mut plaintext)?;
    plaintext.truncate(len);
    Ok(plaintext)
}

fn decrypt(key: &PrivateKey, how: &RsaEncryption, ciphertext: &[u8]) -> Result<Vec<u8>> {
    decrypt_by(key, how, |_| true, ciphertext)
}

/// The ciphertext of a block that no encryption would make.
fn ciphertext_of(key: &PrivateKey, block: &[u8]) -> Vec<u8> {
    let mut ciphertext = vec![0; block.len()];
    encrypt(
        &RsaEncryption::Raw,
        key.public_key(),
        block,
        &mut ciphertext,
    )
    .unwrap();
    ciphertext
}

/// A number below the modulus.
fn random_block(len: usize) -> Vec<u8> {
    let mut block = vec![0; len];
    random(&mut block[1..]).unwrap();
    block
}

fn name(digest: Digest) -> String {
    format!("{digest:?}").to_lowercase().replace('_', "-")
}

fn options(how: &RsaEncryption) -> Vec<String> {
    match how {
        RsaEncryption::Raw => vec!["rsa_padding_mode:none".to_owned()],
        RsaEncryption::Pkcs1 => vec!["rsa_padding_mode:pkcs1".to_owned()],
        RsaEncryption::Oaep { digest, mgf, label } => {
            let mut options = vec![
                "rsa_padding_mode:oaep".to_owned(),
                format!("rsa_oaep_md:{}", name(*digest)),
                format!("rsa_mgf1_md:{}", name(*mgf)),
            ];
            if !label.is_empty() {
                let hex: String = label.iter().map(|byte| format!("{byte:02x}")).collect();
                options.push(format!("rsa_oaep_label:{hex}"));
            }
            options
        }
    }
}

/// `openssl pkeyutl` with this key.
fn command(what: &str, key: &[u8], how: &RsaEncryption, input: &[u8]) -> (bool, Vec<u8>) {
    let (key, input) = (file("key.der", key), file("input", input));
    let options = options(how);
    let mut arguments = vec!["pkeyutl", what, "-keyform", "DER"];
    arguments.extend(["-inkey", key.to_str().unwrap()]);
    arguments.extend(["-in", input.to_str().unwrap()]);
    for option in &options {
        arguments.extend(["-pkeyopt", option]);
    }
    openssl(&arguments)
}

#[test]
fn what_others_encrypt_is_decrypted_and_the_other_way_round() {
    let der = rsa(2048);
    let key = PrivateKey::from_pkcs8(&der).unwrap();
    let mut ways = vec![RsaEncryption::Raw, RsaEncryption::Pkcs1];
    for digest in Digest::ALL {
        ways.push(oaep(digest, digest, b""));
        ways.push(oaep(digest, Digest::Sha1, b"a label"));
        ways.push(oaep(Digest::Sha256, digest, b""));
    }
    for how in ways {
        let plan = Decryption::new(how.clone(), key.public_key(), |_| true);
        let longest = plan.unwrap().unwrap().max_plaintext_len();
        let lens: &[usize] = match how {
            RsaEncryption::Raw => &[256],
            // The command takes no empty file.
            _ => &[1, 32, longest - 1, longest],
        };
        for len in lens {
            let plaintext = random_block(*len);
            let (encrypted, ciphertext) = command("-encrypt", &der, &how, &plaintext);
            assert!(encrypted, "{how:?}");
            assert_eq!(
                decrypt(&key, &how, &ciphertext).unwrap(),
                plaintext,
                "{how:?} {len}"
            );

            let mut ciphertext = [0; 256];
            let written = encrypt(&how, key.public_key(), &plaintext, &mut ciphertext);
            assert_eq!(written, Ok(256));
            let (decrypted, opened) = command("-decrypt", &der, &how, &ciphertext);
            assert!(decrypted && opened == plaintext, "{how:?} {len}");
        }
    }
}

/// Moduli whose length is no whole number of bytes, and the shortest and longest plaintexts.
#[test]
fn every_modulus_and_plaintext_length() {
    for bits in [1024, 1025, 1031, 1032, 1536] {
        let key = PrivateKey::from_pkcs8(&rsa(bits)).unwrap();
        for how in [
            RsaEncryption::Pkcs1,
            oaep(Digest::Sha1, Digest::Sha256, b"label"),
        ] {
            let plan = Decryption::new(how.clone(), key.public_key(), |_| true);
            let plan = plan.unwrap().unwrap();
            assert_eq!(plan.input_len(), bits.div_ceil(8) as usize);
            for len in [0, 1, plan.max_plaintext_len() - 1, plan.max_plaintext_len()] {
                let plaintext = vec![0; len];
                let mut ciphertext = vec![0; plan.input_len()];
                encrypt(&how, key.public_key(), &plaintext, &mut ciphertext).unwrap();
                assert_eq!(
                    decrypt(&key, &how, &ciphertext).unwrap(),
                    plaintext,
                    "{bits} {how:?} {len}"
                );
            }
            assert_eq!(
                encrypt(
                    &how,
                    key.public_key(),
                    &vec![1; plan.max_plaintext_len() + 1],
                    &mut [0; 256]
                ),
                Err(TokenError::DataLength)
            );
        }
    }
}

/// Wrong blocks, and the plaintexts that every implementation must make of them.
#[test]
fn rejected_ciphertexts_give_the_plaintexts_that_openssl_gives() {
    let key = PrivateKey::from_pkcs8(&unhex(rejection::TEST_RSA_2048)).unwrap();
    for (ciphertext, plaintext) in rejection::VECTORS {
        let plaintext = unhex(plaintext);
        assert_eq!(
            decrypt(&key, &RsaEncryption::Pkcs1, &unhex(ciphertext)),
            Ok(plaintext)
        );
    }
}

/// Whatever is wrong with the padding, there is a plaintext, the same each time, and another for each ciphertext.
#[test]
fn a_wrong_padding_cannot_be_told_from_a_right_one() {
    let key = PrivateKey::from_pkcs8(&rsa(1024)).unwrap();
    let good = [&[0, 2][..], &[0x5a; 8], &[0], &[0x42; 117]].concat();
    assert_eq!(
        decrypt(&key, &RsaEncryption::Pkcs1, &ciphertext_of(&key, &good)),
        Ok(vec![0x42; 117])
    );
    let mut plaintexts = Vec::new();
    let mut rejected = |block: &[u8], why: &str| {
        let ciphertext = ciphertext_of(&key, block);
        let plaintext = decrypt(&key, &RsaEncryption::Pkcs1, &ciphertext).unwrap();
        assert_eq!(
            decrypt(&key, &RsaEncryption::Pkcs1, &ciphertext).unwrap(),
            plaintext
        );
        assert!(plaintext.len() <= 117);
        let is_suffix = !plaintext.is_empty() && block.ends_with(&plaintext);
        assert!(!is_suffix || plaintext.len() < 4, "{why}");
        plaintexts.push(plaintext);
    };
    for at in 2..10 {
        let mut block = good.clone();
        block[at] = 0;
        rejected(&block, "a padding of less than eight bytes");
    }
    for (first, second) in [(0, 0), (0, 1), (0, 3), (0, 0x82), (1, 2)] {
        let mut block = good.clone();
        (block[0], block[1]) = (first, second);
        rejected(&block, "another block type");
    }
    let mut block = good.clone();
    block[10] = 1;
    rejected(&block, "no separator");
    for _ in 0..50 {
        let mut block = random_block(128);
        // One in 256 would have the right type, and one in three of those a right padding.
        if block[1] == 2 {
            block[1] = 0xfd;
        }
        rejected(&block, "a random block");
    }
    rejected(&[0; 128], "zero");
    plaintexts.retain(|plaintext| plaintext.len() >= 8);
    let count = plaintexts.len();
    plaintexts.sort();
    plaintexts.dedup();
    assert!(count > 40 && plaintexts.len() == count);
}

/// The static OpenSSL rejects by itself, and is asked.
#[test]
fn implicit_rejection_is_byte_for_byte_that_of_openssl() {
    use openssl::{pkey::PKey, rsa::Padding};

    if cfg!(feature = "aws-lc") {
        // AWS-LC only errs; the vectors above stand for OpenSSL here.
        let key = PKey::private_key_from_der(&rsa(1024)).unwrap();
        let answer = key
            .rsa()
            .unwrap()
            .private_decrypt(&[1; 128], &mut [0; 128], Padding::PKCS1);
        assert!(answer.is_err());
        return;
    }
    // What the build on AWS-LC is compared with.
    let theirs = PKey::private_key_from_der(&unhex(rejection::TEST_RSA_2048)).unwrap();
    let theirs = theirs.rsa().unwrap();
    for (ciphertext, plaintext) in rejection::VECTORS {
        let mut decrypted = [0; 256];
        let len = theirs
            .private_decrypt(&unhex(ciphertext), &mut decrypted, Padding::PKCS1)
            .unwrap();
        assert_eq!(decrypted[..len], unhex(plaintext));
    }
    for bits in [1024, 1025, 2048, 3072] {
        let der = rsa(bits);
        let key = PrivateKey::from_pkcs8(&der).unwrap();
        let theirs = PKey::private_key_from_der(&der).unwrap().rsa().unwrap();
        let len = modulus_len(key.public_key());
        for number in 0..200 {
            let mut block = random_block(len);
            if number % 2 == 0 {
                // Almost right, and often right: a padding of zero to nine bytes before the first zero.
                block[..2].copy_from_slice(&[0, 2]);
                block[2..14].fill(0x5a);
                block[2 + number / 2 % 12] = 0;
            }
            let ciphertext = ciphertext_of(&key, &block);
            let mut expected = vec![0; len];
            let expected_len = theirs
                .private_decrypt(&ciphertext, &mut expected, Padding::PKCS1)
                .unwrap();
            assert_eq!(
                decrypt(&key, &RsaEncryption::Pkcs1, &ciphertext).unwrap(),
                expected[..expected_len],
                "{bits} {number}"
            );
        }
    }
}

/// A store with the raw operation only: the padding is undone here, with the rejection key that the caller has.
#[test]
fn a_store_of_raw_operations_is_enough() {
    let der = rsa(1024);
    let key = PrivateKey::from_pkcs8(&der).unwrap();
    let raw = |form| form == KeyAlgorithm::RsaRaw;
    let plan = Decryption::new(RsaEncryption::Pkcs1, key.public_key(), raw);
    let plan = plan.unwrap().unwrap();
    assert_eq!(plan.performed(), KeyAlgorithm::RsaRaw);
    assert_eq!(plan.max_plaintext_len(), 117);

    let mut ciphertext = [0; 128];
    encrypt(
        &RsaEncryption::Pkcs1,
        key.public_key(),
        b"secret",
        &mut ciphertext,
    )
    .unwrap();
    assert_eq!(
        decrypt_by(&key, &RsaEncryption::Pkcs1, raw, &ciphertext),
        Ok(b"secret".to_vec())
    );

    // With the secret that OpenSSL ties to a key, the same plaintext comes out as when the key does it by itself.
    let exponent = openssl::pkey::PKey::private_key_from_der(&der).unwrap();
    let exponent = exponent.rsa().unwrap().d().to_vec_padded(128).unwrap();
    let mut rejection_key = [0; 32];
    rejection_key.copy_from_slice(&hash(Digest::Sha256, &exponent).unwrap());
    let wrong = ciphertext_of(&key, &[0x11; 128]);
    let mut block = [0; 128];
    key.decrypt(KeyAlgorithm::RsaRaw, &wrong, &mut block)
        .unwrap();
    let mut plaintext = [0; 117];
    let len = plan
        .finish(&wrong, &block, &rejection_key, &mut plaintext)
        .unwrap();
    assert_eq!(
        decrypt(&key, &RsaEncryption::Pkcs1, &wrong).unwrap(),
        plaintext[..len]
    );
    // And with another secret another one.
    let mut other = [0; 117];
    let other_len = plan.finish(&wrong, &block, &[9; 32], &mut other).unwrap();
    assert_ne!(other[..other_len], plaintext[..len]);
}

#[test]
fn the_plan_prefers_what_the_store_does_by_itself() {
    let key = PrivateKey::from_pkcs8(&rsa(1024)).unwrap();
    let own = Oaep {
        digest: Digest::Sha256,
        mgf: Digest::Sha1,
    };
    let plain = oaep(own.digest, own.mgf, b"");
    let labelled = oaep(own.digest, own.mgf, b"label");
    let own = KeyAlgorithm::RsaOaep(own);
    let walk = |how: &RsaEncryption, offered: &[KeyAlgorithm]| {
        Decryption::new(how.clone(), key.public_key(), |form| {
            offered.contains(&form)
        })
        .unwrap()
        .map(|plan| plan.performed())
    };
    let all = [KeyAlgorithm::RsaRaw, KeyAlgorithm::RsaPkcs1, own];
    let (raw, pkcs1) = (Some(KeyAlgorithm::RsaRaw), Some(KeyAlgorithm::RsaPkcs1));
    assert_eq!(walk(&RsaEncryption::Raw, &all), raw);
    assert_eq!(walk(&RsaEncryption::Raw, &all[1..]), None);
    assert_eq!(walk(&RsaEncryption::Pkcs1, &all), pkcs1);
    assert_eq!(walk(&RsaEncryption::Pkcs1, &all[..1]), raw);
    assert_eq!(walk(&plain, &all), Some(own));
    assert_eq!(walk(&plain, &all[..2]), raw);
    assert_eq!(walk(&labelled, &all), raw);
    assert_eq!(walk(&labelled, &all[1..]), None);

    // What the store made is handed through, and something of an impossible length is not.
    let plan = Decryption::new(plain, key.public_key(), |form| form == own);
    let plan = plan.unwrap().unwrap();
    let mut plaintext = vec![0; plan.max_plaintext_len()];
    assert_eq!(
        plan.finish(&[1; 128], b"plain", &[0; 32], &mut plaintext),
        Ok(5)
    );
    assert_eq!(&plaintext[..5], b"plain");
    assert!(matches!(
        plan.finish(&[1; 128], &[1; 128], &[0; 32], &mut plaintext),
        Err(TokenError::Corrupted(_))
    ));
    assert_eq!(
        plan.finish(&[1; 127], b"plain", &[0; 32], &mut plaintext),
        Err(TokenError::DataLength)
    );
    assert_eq!(
        plan.finish(&[1; 128], b"plain", &[0; 32], &mut plaintext[1..]),
        Err(TokenError::BadParameter)
    );
    let raw_plan = Decryption::new(RsaEncryption::Pkcs1, key.public_key(), |form| {
        form == KeyAlgorithm::RsaRaw
    });
    assert!(matches!(
        raw_plan
            .unwrap()
            .unwrap()
            .finish(&[1; 128], &[1; 127], &[0; 32], &mut [0; 117]),
        Err(TokenError::Corrupted(_))
    ));
}

/// One error, whatever is wrong: the first byte, the label, the zeros, the separator.
#[test]
fn oaep_has_one_error() {
    let key = PrivateKey::from_pkcs8(&rsa(1024)).unwrap();
    let how = oaep(Digest::Sha256, Digest::Sha256, b"label");
    // A block as RFC 8017 §7.1.1 makes it, with any of its parts wrong.
    let block = |first: u8, label: &[u8], data: &[u8]| {
        let seed = [0x33; 32];
        let mut masked = [&*hash(Digest::Sha256, label).unwrap(), data].concat();
        assert_eq!(masked.len(), 95);
        mgf1(&seed, &mut masked);
        let mut masked_seed = seed;
        mgf1(&masked, &mut masked_seed);
        [&[first][..], &masked_seed, &masked].concat()
    };
    let good = [&[0; 40][..], &[1], &[0x42; 22]].concat();
    let decrypted = |block: &[u8]| decrypt(&key, &how, &ciphertext_of(&key, block));
    assert_eq!(decrypted(&block(0, b"label", &good)), Ok(vec![0x42; 22]));
    let mut empty = [0; 63];
    empty[62] = 1;
    assert_eq!(decrypted(&block(0, b"label", &empty)), Ok(vec![]));

    let mut two = good.clone();
    two[40] = 2;
    let mut before = good.clone();
    before[7] = 0x80;
    for (block, why) in [
        (block(1, b"label", &good), "the first byte"),
        (block(0, b"", &good), "an empty label"),
        (block(0, b"labem", &good), "another label"),
        (block(0, b"label", &two), "no separator, but a 2"),
        (block(0, b"label", &before), "a byte before the separator"),
        (block(0, b"label", &[0; 63]), "zeros only"),
        (vec![0; 128], "no block at all"),
    ] {
        assert_eq!(decrypted(&block), Err(TokenError::BadCiphertext), "{why}");
    }
    for other in [
        oaep(Digest::Sha256, Digest::Sha1, b"label"),
        oaep(Digest::Sha1, Digest::Sha256, b"label"),
    ] {
        let ciphertext = ciphertext_of(&key, &block(0, b"label", &good));
        assert_eq!(
            decrypt(&key, &other, &ciphertext),
            Err(TokenError::BadCiphertext)
        );
    }
}

/// MGF1 with SHA-256 (RFC 8017 §B.2.1).
fn mgf1(seed: &[u8], data: &mut [u8]) {
    for (counter, chunk) in (0_u32..).zip(data.chunks_mut(32)) {
        let input = [seed, &counter.to_be_bytes()].concat();
        for (byte, mask) in chunk
            .iter_mut()
            .zip(&*hash(Digest::Sha256, &input).unwrap())
        {
            *byte ^= mask;
        }
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let key = PrivateKey::from_pkcs8(&rsa(1024)).unwrap();
    let public = key.public_key();
    let PublicKeyMaterial::Rsa { modulus, .. } = public.material() else {
        panic!("an RSA key");
    };
    // 2 · 64 + 2 bytes do not fit 128.
    let too_long = oaep(Digest::Sha512, Digest::Sha1, b"");
    assert_eq!(
        Decryption::new(too_long.clone(), public, |_| true).map(drop),
        Err(TokenError::BadParameter)
    );
    assert_eq!(
        encrypt(&too_long, public, b"", &mut [0; 128]),
        Err(TokenError::BadParameter)
    );
    assert_eq!(
        encrypt(&RsaEncryption::Pkcs1, public, b"", &mut [0; 127]),
        Err(TokenError::BadParameter)
    );
    assert_eq!(
        key.decrypt(KeyAlgorithm::RsaPkcs1, &[1; 128], &mut [0; 127]),
        Err(TokenError::BadParameter)
    );
    for (block, error) in [
        (&[0; 127][..], TokenError::DataLength),
        (&[0; 129], TokenError::DataLength),
        (modulus, TokenError::DataInvalid),
    ] {
        assert_eq!(
            encrypt(&RsaEncryption::Raw, public, block, &mut [0; 128]),
            Err(error)
        );
    }
    for other in [ec("P-256"), pkcs8(&["X25519"])] {
        let other = PrivateKey::from_pkcs8(&other).unwrap();
        for how in [RsaEncryption::Raw, RsaEncryption::Pkcs1] {
            let plan = Decryption::new(how.clone(), other.public_key(), |_| true);
            assert!(plan.unwrap().is_none());
            assert_eq!(
                encrypt(&how, other.public_key(), &[1; 32], &mut [0; 128]),
                Err(TokenError::NotSupported)
            );
        }
        assert_eq!(
            other.decrypt(KeyAlgorithm::RsaRaw, &[1; 128], &mut [0; 128]),
            Err(TokenError::NotSupported)
        );
    }
}
