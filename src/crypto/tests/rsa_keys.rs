//! What is particular to RSA: the raw operation, keys of odd lengths, keys for RSASSA-PSS only, recovery from signatures.

// clippy.toml's allowances for tests end at the helper functions.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use common::{file, openssl, pkcs8, position, rsa, unhex};
use ctk_crypto::{
    Decryption, PrivateKey, Reduction, RsaEncryption, encrypt, verify, verify_recover,
};
use ctk_token::{
    Digest, KeyAlgorithm, KeyType, Operation, Pss, PublicKey, PublicKeyMaterial, TokenError,
};

fn sign(key: &PrivateKey, algorithm: KeyAlgorithm, input: &[u8]) -> Result<Vec<u8>, TokenError> {
    let mut signature = vec![0xee; key.public_key().max_signature_len()];
    let len = key.sign(algorithm, input, &mut signature)?;
    signature.truncate(len);
    Ok(signature)
}

/// A block below every modulus of this length.
fn block(key: &PrivateKey) -> Vec<u8> {
    let mut block = vec![0x5a; key.public_key().max_signature_len()];
    block[..2].copy_from_slice(&[0, 1]);
    block
}

/// The raw operation is m^d mod n, whatever the library does with it inside.
#[test]
fn raw_rsa_is_undone_by_the_public_key() {
    use openssl::bn::{BigNum, BigNumContext};

    let key = PrivateKey::from_pkcs8(&rsa(2048)).unwrap();
    let PublicKeyMaterial::Rsa { modulus, exponent } = key.public_key().material() else {
        panic!("an RSA key");
    };
    let block = block(&key);
    let signature = sign(&key, KeyAlgorithm::RsaRaw, &block).unwrap();
    let number = |bytes| BigNum::from_slice(bytes).unwrap();
    let mut opened = BigNum::new().unwrap();
    opened
        .mod_exp(
            &number(&signature),
            &number(exponent),
            &number(modulus),
            &mut BigNumContext::new().unwrap(),
        )
        .unwrap();
    assert_eq!(opened.to_vec_padded(256).unwrap(), block);
}

#[test]
fn a_raw_block_has_the_length_of_the_modulus_and_is_below_it() {
    let key = PrivateKey::from_pkcs8(&rsa(2048)).unwrap();
    let PublicKeyMaterial::Rsa { modulus, .. } = key.public_key().material() else {
        panic!("an RSA key");
    };
    for (block, error) in [
        (&[][..], TokenError::DataLength),
        (&[1; 255], TokenError::DataLength),
        (&[0; 257], TokenError::DataLength),
        (modulus, TokenError::DataInvalid),
        (&[0xff; 256], TokenError::DataInvalid),
    ] {
        assert_eq!(sign(&key, KeyAlgorithm::RsaRaw, block), Err(error.clone()));
        assert_eq!(
            key.decrypt(KeyAlgorithm::RsaRaw, block, &mut [0; 256]),
            Err(error.clone())
        );
        assert_eq!(
            key.decrypt(KeyAlgorithm::RsaPkcs1, block, &mut [0; 256]),
            Err(error)
        );
    }
}

/// The numbers that are their own powers, which AWS-LC refuses.
#[test]
fn raw_rsa_takes_every_number_below_the_modulus() {
    let key = PrivateKey::from_pkcs8(&rsa(1024)).unwrap();
    let PublicKeyMaterial::Rsa { modulus, .. } = key.public_key().material() else {
        panic!("an RSA key");
    };
    let zero = vec![0; 128];
    let mut one = zero.clone();
    one[127] = 1;
    let mut two = zero.clone();
    two[127] = 2;
    let mut last = modulus.to_vec();
    last[127] -= 1;
    let mut before_last = last.clone();
    before_last[127] -= 1;
    for (block, fixed) in [
        (zero, true),
        (one, true),
        (last, true),
        (two, false),
        (before_last, false),
    ] {
        let signature = sign(&key, KeyAlgorithm::RsaRaw, &block).unwrap();
        assert_eq!(signature == block, fixed);
        let mut plaintext = [0xee; 128];
        assert_eq!(
            key.decrypt(KeyAlgorithm::RsaRaw, &block, &mut plaintext),
            Ok(128)
        );
        assert_eq!(plaintext[..], signature);
        assert_eq!(
            verify(key.public_key(), KeyAlgorithm::RsaRaw, &block, &signature),
            Ok(true)
        );
        let mut recovered = [0; 128];
        assert_eq!(
            verify_recover(
                key.public_key(),
                KeyAlgorithm::RsaRaw,
                &signature,
                &mut recovered
            ),
            Ok(128)
        );
        assert_eq!(recovered[..], block);
    }
}

/// RFC 4055 §1.2, §3.3: what a key for RSASSA-PSS only may do, and with which parameters.
#[test]
fn a_key_for_pss_only_does_nothing_else() {
    let restricted = [
        "RSA-PSS",
        "rsa_keygen_bits:2048",
        "rsa_pss_keygen_md:sha384",
        "rsa_pss_keygen_mgf1_md:sha256",
        "rsa_pss_keygen_saltlen:40",
    ];
    for options in [&restricted[..2], &restricted] {
        let der = pkcs8(options);
        let key = PrivateKey::from_pkcs8(&der).unwrap();
        let public = key.public_key();
        assert!(public.is_pss_only());
        let (_, spki) = openssl(&[
            "pkey",
            "-inform",
            "DER",
            "-in",
            file("key.der", &der).to_str().unwrap(),
            "-pubout",
            "-outform",
            "DER",
        ]);
        assert_eq!(public.spki(), spki);

        let block = block(&key);
        let signature = sign(&key, KeyAlgorithm::RsaRaw, &block).unwrap();
        for algorithm in [
            KeyAlgorithm::RsaRaw,
            KeyAlgorithm::RsaPkcs1,
            KeyAlgorithm::RsaPkcs1Digest(Digest::Sha256),
            KeyAlgorithm::RsaPkcs1Message(Digest::Sha256),
        ] {
            let plan = Reduction::new(algorithm, public, |_| true).unwrap();
            assert!(plan.is_none(), "{algorithm:?}");
            assert_eq!(
                verify(public, algorithm, &block, &signature),
                Err(TokenError::NotSupported)
            );
            assert!(!key.supports(Operation::Decrypt, algorithm));
        }
        let oaep = RsaEncryption::Oaep {
            digest: Digest::Sha256,
            mgf: Digest::Sha256,
            label: Vec::new(),
        };
        for how in [RsaEncryption::Raw, RsaEncryption::Pkcs1, oaep] {
            let plan = Decryption::new(how.clone(), public, |_| true).unwrap();
            assert!(plan.is_none(), "{how:?}");
            assert_eq!(
                encrypt(&how, public, &block, &mut [0; 256]),
                Err(TokenError::NotSupported)
            );
        }

        let free = options.len() == 2;
        for (digest, mgf, salt_len, allowed) in [
            (Digest::Sha384, Digest::Sha256, 40, true),
            (Digest::Sha384, Digest::Sha256, 48, true),
            (Digest::Sha384, Digest::Sha256, 39, free),
            (Digest::Sha384, Digest::Sha384, 40, free),
            (Digest::Sha256, Digest::Sha256, 40, free),
        ] {
            let asked = KeyAlgorithm::RsaPssDigest(Pss {
                digest,
                mgf,
                salt_len,
            });
            let hash = vec![7; digest.len()];
            let raw = |form| form == KeyAlgorithm::RsaRaw;
            let plan = Reduction::new(asked, public, raw);
            if !allowed {
                assert_eq!(plan.map(drop), Err(TokenError::BadParameter), "{asked:?}");
                assert_eq!(
                    verify(public, asked, &hash, &signature),
                    Err(TokenError::BadParameter)
                );
                continue;
            }
            let plan = plan.unwrap().unwrap();
            let mut place = None;
            let request = plan.apply(&hash, &mut place).unwrap();
            let signature = sign(&key, request.algorithm, request.input).unwrap();
            assert_eq!(verify(public, asked, &hash, &signature), Ok(true));
        }
    }
}

/// Too short is broken; too long is slow.
#[test]
fn rsa_keys_have_1024_to_8192_bits() {
    for bits in [512, 1023] {
        let refused = PrivateKey::from_pkcs8(&rsa(bits)).unwrap_err();
        assert!(
            refused.to_string().contains(&format!("{bits} bits")),
            "{refused}"
        );
    }
    let taken = |der: &[u8]| PrivateKey::from_pkcs8(der).map(|key| key.public_key().key_type());
    assert_eq!(taken(&rsa(1025)), Ok(KeyType::Rsa { bits: 1025 }));

    // Long keys take long to make, but of two Mersenne primes only a moment.
    assert_eq!(
        taken(&mersenne(3217, 4423)),
        Ok(KeyType::Rsa { bits: 7640 })
    );
    let refused = taken(&mersenne(4253, 4423)).unwrap_err().to_string();
    assert!(refused.contains("8676 bits"), "{refused}");
}

/// The numbers of such a key belong together, so that only what it computes tells.
#[test]
fn a_key_of_a_number_that_is_not_prime_signs_nothing() {
    // 2^521 − 1 is prime and 2^523 − 1 is not, which Fermat's test with 3 tells.
    match PrivateKey::from_pkcs8(&mersenne(523, 521)) {
        Err(error) => assert!(matches!(error, TokenError::Corrupted(_)), "{error:?}"),
        Ok(key) => {
            let mut signature = vec![0; key.public_key().max_signature_len()];
            let signed = key.sign(KeyAlgorithm::RsaRaw, &block(&key), &mut signature);
            assert!(signed.is_err(), "{signed:?}");
        }
    }
}

/// The key of the primes 2^p − 1 and 2^q − 1.
fn mersenne(p: i32, q: i32) -> Vec<u8> {
    use openssl::bn::{BigNum, BigNumContext};
    use openssl::{pkey::PKey, rsa::Rsa};

    let mut context = BigNumContext::new().unwrap();
    let prime = |bits| {
        let mut prime = BigNum::new().unwrap();
        prime.set_bit(bits).unwrap();
        prime.sub_word(1).unwrap();
        let mut before = prime.to_owned().unwrap();
        before.sub_word(1).unwrap();
        (prime, before)
    };
    let ((p, p1), (q, q1)) = (prime(p), prime(q));
    let number = || BigNum::new().unwrap();
    let (mut n, mut phi, mut d) = (number(), number(), number());
    let (mut dp, mut dq, mut inverse) = (number(), number(), number());
    let e = BigNum::from_u32(65537).unwrap();
    n.checked_mul(&p, &q, &mut context).unwrap();
    phi.checked_mul(&p1, &q1, &mut context).unwrap();
    d.mod_inverse(&e, &phi, &mut context).unwrap();
    dp.nnmod(&d, &p1, &mut context).unwrap();
    dq.nnmod(&d, &q1, &mut context).unwrap();
    inverse.mod_inverse(&q, &p, &mut context).unwrap();
    let key = Rsa::from_private_components(n, e, d, p, q, dp, dq, inverse).unwrap();
    let key = PKey::from_rsa(key).unwrap();
    key.private_key_to_pkcs8().unwrap()
}

/// A signature with one of these would be wrong, and a wrong RSA signature can give the key away.
#[test]
fn a_damaged_rsa_key_is_refused() {
    let der = rsa(1024);
    let parsed = openssl::pkey::PKey::private_key_from_der(&der).unwrap();
    let parsed = parsed.rsa().unwrap();
    for (name, number) in [
        ("n", parsed.n()),
        ("e", parsed.e()),
        ("d", parsed.d()),
        ("p", parsed.p().unwrap()),
        ("q", parsed.q().unwrap()),
        ("d mod p-1", parsed.dmp1().unwrap()),
        ("d mod q-1", parsed.dmq1().unwrap()),
        ("1/q mod p", parsed.iqmp().unwrap()),
    ] {
        let number = number.to_vec();
        let place = position(&der, &number);
        for offset in [0, number.len() / 2, number.len() - 1] {
            let mut damaged = der.clone();
            damaged[place + offset] ^= 2;
            assert!(
                matches!(
                    PrivateKey::from_pkcs8(&damaged),
                    Err(TokenError::Corrupted(_))
                ),
                "{name} at {offset}"
            );
        }
    }
}

/// RFC 4055 §3.1: what is not named is SHA-1, MGF1 with SHA-1 and a salt of 20 bytes.
#[test]
fn pss_parameters_have_defaults() {
    let spki = |parameters: &str| {
        let key = PublicKey::rsa(&[0xc1; 128], &[1, 0, 1]).unwrap();
        let bits = &key.spki()[key.spki().len() - 128 - 16..];
        let oid = unhex("06092a864886f70d01010a");
        let identifier = [oid, unhex(parameters)].concat();
        let identifier = [&[0x30, identifier.len() as u8][..], &identifier].concat();
        let contents = [&identifier[..], bits].concat();
        [&[0x30, 0x81, contents.len() as u8][..], &contents].concat()
    };
    let pss = |digest, mgf, salt_len| Pss {
        digest,
        mgf,
        salt_len,
    };
    let default = PublicKey::from_spki(&spki("3000")).unwrap();
    assert!(default.is_pss_only());
    for (asked, allowed) in [
        (pss(Digest::Sha1, Digest::Sha1, 20), true),
        (pss(Digest::Sha1, Digest::Sha1, 94), true),
        (pss(Digest::Sha1, Digest::Sha1, 19), false),
        (pss(Digest::Sha256, Digest::Sha1, 20), false),
        (pss(Digest::Sha1, Digest::Sha256, 20), false),
    ] {
        assert_eq!(default.allows_pss(asked), allowed, "{asked:?}");
    }
    let free = PublicKey::from_spki(&spki("")).unwrap();
    assert!(free.allows_pss(pss(Digest::Sha3_512, Digest::Sha1, 0)));

    // SHA-512/256 and another trailer have no name here; rubbish has none anywhere.
    for parameters in ["3011a00f300d06096086480165030402060500", "3005a303020102"] {
        assert_eq!(
            PublicKey::from_spki(&spki(parameters)),
            Err(TokenError::NotSupported)
        );
    }
    for parameters in ["0500", "3003020101"] {
        assert!(matches!(
            PublicKey::from_spki(&spki(parameters)),
            Err(TokenError::Corrupted(_))
        ));
    }
}

#[test]
fn what_was_signed_is_recovered() {
    let der = rsa(1024);
    let key = PrivateKey::from_pkcs8(&der).unwrap();
    let public = key.public_key();
    let raw = |form| form == KeyAlgorithm::RsaRaw;
    let plan = Reduction::new(KeyAlgorithm::RsaPkcs1, public, raw);
    let plan = plan.unwrap().unwrap();
    for len in [0, 1, 36, 117] {
        let input = vec![0; len];
        let mut place = None;
        let padded = plan.apply(&input, &mut place).unwrap().input;
        let signature = sign(&key, KeyAlgorithm::RsaRaw, padded).unwrap();
        let mut recovered = [0xee; 128];
        let recovered_len =
            verify_recover(public, KeyAlgorithm::RsaPkcs1, &signature, &mut recovered);
        assert_eq!(recovered_len, Ok(len));
        assert_eq!(recovered[..len], input);
        let recovered_len =
            verify_recover(public, KeyAlgorithm::RsaRaw, &signature, &mut recovered);
        assert_eq!(recovered_len, Ok(128));
        assert_eq!(recovered[..], *padded);
    }

    let PublicKeyMaterial::Rsa { modulus, .. } = public.material() else {
        panic!("an RSA key");
    };
    let mut encryption = block(&key);
    encryption[1] = 2;
    encryption[50] = 0;
    let not_a_signature = sign(&key, KeyAlgorithm::RsaRaw, &encryption).unwrap();
    for (form, signature, error) in [
        (
            KeyAlgorithm::RsaPkcs1,
            &not_a_signature[..],
            TokenError::DataInvalid,
        ),
        (KeyAlgorithm::RsaPkcs1, &[0; 128], TokenError::DataInvalid),
        (KeyAlgorithm::RsaPkcs1, modulus, TokenError::DataInvalid),
        (KeyAlgorithm::RsaRaw, modulus, TokenError::DataInvalid),
        (KeyAlgorithm::RsaPkcs1, &[1; 127], TokenError::DataLength),
        (KeyAlgorithm::RsaRaw, &[1; 129], TokenError::DataLength),
        (KeyAlgorithm::RsaRaw, &[], TokenError::DataLength),
        (
            KeyAlgorithm::RsaPkcs1Digest(Digest::Sha256),
            &not_a_signature,
            TokenError::NotSupported,
        ),
    ] {
        let answer = verify_recover(public, form, signature, &mut [0; 128]);
        assert_eq!(answer, Err(error), "{form:?}");
    }
    assert_eq!(
        verify_recover(
            public,
            KeyAlgorithm::RsaRaw,
            &not_a_signature,
            &mut [0; 127]
        ),
        Err(TokenError::BadParameter)
    );
}
