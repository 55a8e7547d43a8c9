//! Keys of a session: generated, derived, encapsulated.
#![allow(clippy::undocumented_unsafe_blocks)] // calls of the C functions that are under test
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a test's own functions

mod key_functions;
mod operations;
mod support;

use std::{
    ptr::null_mut,
    sync::{Arc, atomic::Ordering},
};

use cryptoki_sys::*;
use ctk_crypto::PrivateKey;
use ctk_token::*;
use key_functions::*;
use openssl::{
    derive::Deriver,
    ec::EcKey,
    nid::Nid,
    pkey::{PKey, Private},
};
use operations::*;
use support::*;

fn software() -> (Module, CK_SESSION_HANDLE) {
    let module = Module::start(&[TestToken::new(&[], Settings::default())]);
    let session = module.open();
    (module, session)
}

fn decrypting(identities: &[Identity]) -> Arc<TestToken> {
    let settings = Settings {
        decrypts: true,
        ..Settings::default()
    };
    TestToken::new(identities, settings)
}

#[test]
fn secret_keys_are_generated() {
    let (_module, session) = software();
    for (mechanism, key_type, lengths) in [
        (CKM_AES_KEY_GEN, CKK_AES, &[16, 24, 32][..]),
        (
            CKM_GENERIC_SECRET_KEY_GEN,
            CKK_GENERIC_SECRET,
            &[1, 20, 512][..],
        ),
    ] {
        for len in lengths {
            let mechanism = Mechanism::new(mechanism);
            let key_type_bytes = number(key_type);
            let len_bytes = number(*len);
            let template = readable(&key_type_bytes, &len_bytes);
            let make = || generate(session, &mechanism, &template).unwrap();
            let (first, second) = (make(), make());
            assert_eq!(bytes_of(session, first).len() as CK_ULONG, *len);
            if *len > 1 {
                assert_ne!(bytes_of(session, first), bytes_of(session, second));
            }
            let at = |kind| value(session, first, kind).unwrap();
            assert_eq!(at(CKA_KEY_TYPE), key_type_bytes);
            assert_eq!(at(CKA_VALUE_LEN), len_bytes);
            assert_eq!(at(CKA_LOCAL), YES);
            assert_eq!(ulong(&at(CKA_KEY_GEN_MECHANISM)), mechanism.kind);
            assert_eq!(at(CKA_ALWAYS_SENSITIVE), NO);
        }
    }
    let sensitive = [(CKA_VALUE_LEN, &number(16)[..]), (CKA_SENSITIVE, YES)];
    let key = generate(session, &Mechanism::new(CKM_AES_KEY_GEN), &sensitive).unwrap();
    assert_eq!(value(session, key, CKA_VALUE), Err(CKR_ATTRIBUTE_SENSITIVE));
    assert_eq!(value(session, key, CKA_ALWAYS_SENSITIVE), Ok(YES.to_vec()));
}

#[test]
fn key_pairs_are_generated_and_work() {
    let (_module, session) = software();
    let p384 = params(Curve::P384);
    let (bits, exponent) = (number(2048), [1, 0, 1]);
    let rsa = [
        (CKA_MODULUS_BITS, &bits[..]),
        (CKA_PUBLIC_EXPONENT, &exponent),
    ];
    let ec = [(CKA_EC_PARAMS, &p384[..])];
    let ed25519 = [(CKA_EC_PARAMS, &[6, 3, 0x2b, 0x65, 0x70][..])];
    let named = [(CKA_EC_PARAMS, &b"\x13\x0cedwards25519"[..])];
    let set = number(CKP_ML_DSA_65);
    let ml_dsa = [(CKA_PARAMETER_SET, &set[..])];
    for (generation, public, signing) in [
        (CKM_RSA_PKCS_KEY_PAIR_GEN, &rsa[..], CKM_SHA256_RSA_PKCS),
        (CKM_EC_KEY_PAIR_GEN, &ec, CKM_ECDSA_SHA384),
        (CKM_EC_EDWARDS_KEY_PAIR_GEN, &ed25519, CKM_EDDSA),
        (CKM_EC_EDWARDS_KEY_PAIR_GEN, &named, CKM_EDDSA),
        (CKM_ML_DSA_KEY_PAIR_GEN, &ml_dsa, CKM_ML_DSA),
    ] {
        let private = [(CKA_SENSITIVE, NO), (CKA_EXTRACTABLE, YES)];
        let (public, private) = generate_pair(session, generation, public, &private).unwrap();
        let mechanism = Mechanism::new(signing);
        operations::sign_init(session, &mechanism, private).unwrap();
        let signature = operations::sign(session, b"data").unwrap();
        verify_init(session, &mechanism, public).unwrap();
        verify(session, b"data", &signature).unwrap();
        // Whatever was wished.
        assert_eq!(value(session, private, CKA_SENSITIVE), Ok(YES.to_vec()));
        assert_eq!(value(session, private, CKA_EXTRACTABLE), Ok(NO.to_vec()));
        for secret in [CKA_VALUE, CKA_PRIVATE_EXPONENT, CKA_PRIME_1] {
            assert!(value(session, private, secret).is_err());
        }
        for key in [public, private] {
            assert_eq!(value(session, key, CKA_LOCAL), Ok(YES.to_vec()));
            let mechanism = value(session, key, CKA_KEY_GEN_MECHANISM).unwrap();
            assert_eq!(ulong(&mechanism), generation);
        }
    }
}

/// What it points to has to outlive it.
fn ecdh(kdf: CK_EC_KDF_TYPE, shared: &[u8], public: &[u8]) -> Mechanism {
    Mechanism::with(
        CKM_ECDH1_DERIVE,
        &CK_ECDH1_DERIVE_PARAMS {
            kdf,
            ulSharedDataLen: shared.len() as CK_ULONG,
            pSharedData: match shared.len() {
                0 => null_mut(),
                _ => shared.as_ptr().cast_mut(),
            },
            ulPublicDataLen: public.len() as CK_ULONG,
            pPublicData: public.as_ptr().cast_mut(),
        },
    )
}

/// What OpenSSL agrees on, and the public key of the other party.
fn agreed(own: &PKey<Private>, other: &PKey<Private>) -> (Vec<u8>, Vec<u8>) {
    let own_public = PKey::public_key_from_der(&own.public_key_to_der().unwrap()).unwrap();
    let mut deriver = Deriver::new(other).unwrap();
    deriver.set_peer(&own_public).unwrap();
    let public = match other.ec_key() {
        Ok(ec) => {
            let form = openssl::ec::PointConversionForm::UNCOMPRESSED;
            let mut numbers = openssl::bn::BigNumContext::new().unwrap();
            let point = ec.public_key();
            point.to_bytes(ec.group(), form, &mut numbers).unwrap()
        }
        Err(_) => other.raw_public_key().unwrap(),
    };
    (deriver.derive_to_vec().unwrap(), public)
}

fn x963(hash: openssl::hash::MessageDigest, secret: &[u8], info: &[u8], len: usize) -> Vec<u8> {
    let block = |counter: u32| {
        let input = [secret, &counter.to_be_bytes(), info].concat();
        openssl::hash::hash(hash, &input).unwrap().to_vec()
    };
    (1..=10).flat_map(block).take(len).collect()
}

#[test]
fn a_token_agrees_on_secrets() {
    use openssl::hash::MessageDigest;
    let x25519 = || PKey::generate_x25519().unwrap();
    let ec = |curve| {
        let group = openssl::ec::EcGroup::from_curve_name(curve).unwrap();
        PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
    };
    for (own, other) in [
        (ec(Nid::X9_62_PRIME256V1), ec(Nid::X9_62_PRIME256V1)),
        (ec(Nid::SECP521R1), ec(Nid::SECP521R1)),
        (x25519(), x25519()),
    ] {
        let private = PrivateKey::from_pkcs8(&own.private_key_to_pkcs8().unwrap()).unwrap();
        let settings = Settings {
            decrypts: true,
            ..Settings::default()
        };
        let token = TestToken::with_keys(&[], vec![(1, private)], settings);
        let module = Module::start(&[token]);
        let session = module.open_and_login();
        let base = key(session, 1);
        let (secret, public) = agreed(&own, &other);
        let encoded = match public.len() {
            len @ 0x80.. => [&[4, 0x81, len as u8], &public[..]].concat(),
            len => [&[4, len as u8], &public[..]].concat(),
        };
        for public in [&public, &encoded] {
            let mechanism = ecdh(CKD_NULL, b"", public);
            let key = derive(session, &mechanism, base, &of_any_length(&GENERIC)).unwrap();
            assert_eq!(bytes_of(session, key), secret);
            assert_eq!(value(session, key, CKA_ALWAYS_SENSITIVE), Ok(NO.to_vec()));
            // Cut at its leading end.
            let len = number(16);
            let key = derive(session, &mechanism, base, &readable(&AES, &len)).unwrap();
            assert_eq!(bytes_of(session, key), secret[secret.len() - 16..]);
        }
        for (kdf, hash) in [
            (CKD_SHA1_KDF, MessageDigest::sha1()),
            (CKD_SHA224_KDF, MessageDigest::sha224()),
            (CKD_SHA256_KDF, MessageDigest::sha256()),
            (CKD_SHA384_KDF, MessageDigest::sha384()),
            (CKD_SHA512_KDF, MessageDigest::sha512()),
            (CKD_SHA3_224_KDF, MessageDigest::sha3_224()),
            (CKD_SHA3_256_KDF, MessageDigest::sha3_256()),
            (CKD_SHA3_384_KDF, MessageDigest::sha3_384()),
            (CKD_SHA3_512_KDF, MessageDigest::sha3_512()),
        ] {
            for (info, len) in [(&b""[..], 32), (b"shared info", 100)] {
                let len_bytes = number(len);
                let template = readable(&GENERIC, &len_bytes);
                let mechanism = ecdh(kdf, info, &public);
                let key = derive(session, &mechanism, base, &template).unwrap();
                assert_eq!(
                    bytes_of(session, key),
                    x963(hash, &secret, info, len as usize)
                );
            }
        }
        if own.ec_key().is_err() {
            // A peer with which every key makes the same secret (RFC 7748 §6.1).
            for small in [[0; 32], [&[1][..], &[0; 31]].concat().try_into().unwrap()] {
                let mechanism = ecdh(CKD_NULL, b"", &small);
                let answer = derive(session, &mechanism, base, &of_any_length(&GENERIC));
                assert_eq!(answer, Err(CKR_MECHANISM_PARAM_INVALID));
            }
            let mut cofactor = ecdh(CKD_NULL, b"", &public);
            cofactor.kind = CKM_ECDH1_COFACTOR_DERIVE;
            let answer = derive(session, &cofactor, base, &of_any_length(&GENERIC));
            assert_eq!(answer, Err(CKR_KEY_TYPE_INCONSISTENT));
        }
        if own.ec_key().is_ok() {
            let mut cofactor = ecdh(CKD_NULL, b"", &public);
            cofactor.kind = CKM_ECDH1_COFACTOR_DERIVE;
            let key = derive(session, &cofactor, base, &of_any_length(&GENERIC)).unwrap();
            assert_eq!(bytes_of(session, key), secret);
        }
    }
}

#[test]
fn a_wrong_peer_or_wish_has_its_answer() {
    let identities = [
        Identity::ec(Nid::X9_62_PRIME256V1, 1),
        Identity::rsa(2048, 2),
    ];
    let other = Identity::ec(Nid::X9_62_PRIME256V1, 3);
    let (_, point) = agreed(&identities[0].key, &other.key);
    let token = decrypting(&identities);
    let module = Module::start(&[Arc::clone(&token)]);
    let session = module.open_and_login();
    let base = key(session, 1);
    let refused = |mechanism: &Mechanism, pairs: &[(CK_ATTRIBUTE_TYPE, &[u8])]| {
        derive(session, mechanism, base, pairs).unwrap_err()
    };
    let any = of_any_length(&GENERIC);
    let mut off_curve = point.clone();
    off_curve[64] ^= 1;
    let with_mark = |mark| [&[mark], &point[1..]].concat();
    for public in [
        off_curve,
        // Hybrid and compressed forms, infinity, another curve's length, nothing.
        with_mark(6),
        with_mark(7),
        point[..33].to_vec(),
        [&[2], &point[1..33]].concat(),
        vec![0],
        [&point[..], &[0]].concat(),
        [&[4, 64], &point[1..]].concat(),
        [&[3, 65], &point[..]].concat(),
        vec![4; 97],
        vec![],
    ] {
        let mechanism = ecdh(CKD_NULL, b"", &public);
        assert_eq!(refused(&mechanism, &any), CKR_MECHANISM_PARAM_INVALID);
    }
    for (kdf, shared) in [
        (CKD_NULL, &b"info"[..]),
        (0x77, b""),
        (CKD_SHA256_KDF_SP800, b""),
        (CKD_CPDIVERSIFY_KDF, b""),
    ] {
        let mechanism = ecdh(kdf, shared, &point);
        assert_eq!(refused(&mechanism, &any), CKR_MECHANISM_PARAM_INVALID);
    }
    let good = ecdh(CKD_NULL, b"", &point);
    let mut short = good.clone();
    short.parameter.pop();
    for bad in [short, Mechanism::new(CKM_ECDH1_DERIVE)] {
        assert_eq!(refused(&bad, &any), CKR_MECHANISM_PARAM_INVALID);
    }
    let before = token.decryptions.load(Ordering::SeqCst);
    for len in [0, 33, 1 << 40, CK_ULONG::MAX] {
        let len = number(len);
        assert_eq!(
            refused(&good, &readable(&GENERIC, &len)),
            CKR_ATTRIBUTE_VALUE_INVALID
        );
    }
    let kdf = ecdh(CKD_SHA256_KDF, b"", &point);
    for len in [0, 1 << 40, CK_ULONG::MAX] {
        let len = number(len);
        assert_eq!(
            refused(&kdf, &readable(&GENERIC, &len)),
            CKR_ATTRIBUTE_VALUE_INVALID
        );
    }
    assert_eq!(refused(&kdf, &any), CKR_TEMPLATE_INCOMPLETE);
    let seventeen = number(17);
    let aes = readable(&AES, &seventeen);
    assert_eq!(refused(&good, &aes), CKR_ATTRIBUTE_VALUE_INVALID);
    let token_object = [&any[..], &[(CKA_TOKEN, YES)]].concat();
    assert_eq!(refused(&good, &token_object), CKR_TOKEN_WRITE_PROTECTED);
    assert_eq!(
        token.decryptions.load(Ordering::SeqCst),
        before,
        "asked for nothing"
    );

    let from = |base| derive(session, &good, base, &any).unwrap_err();
    assert_eq!(from(0), CKR_KEY_HANDLE_INVALID);
    assert_eq!(from(key(session, 2)), CKR_KEY_TYPE_INCONSISTENT);
    assert_eq!(from(public_key(session, 1)), CKR_KEY_TYPE_INCONSISTENT);
    let p256 = params(Curve::P256);
    let pair = [(CKA_EC_PARAMS, &p256[..])];
    let (_, no) = generate_pair(session, CKM_EC_KEY_PAIR_GEN, &pair, &[]).unwrap();
    assert_eq!(from(no), CKR_KEY_FUNCTION_NOT_PERMITTED);
    let yes = [(CKA_DERIVE, YES)];
    let (public, yes) = generate_pair(session, CKM_EC_KEY_PAIR_GEN, &pair, &yes).unwrap();
    // Two keys of the module agree with each other.
    let point_of = |public| value(session, public, CKA_EC_POINT).unwrap();
    let first = derive(session, &ecdh(CKD_NULL, b"", &point_of(public)), base, &any).unwrap();
    let own = point_of(public_key(session, 1));
    let second = derive(session, &ecdh(CKD_NULL, b"", &own), yes, &any).unwrap();
    assert_eq!(bytes_of(session, first), bytes_of(session, second));
    let wrong = Mechanism::new(CKM_ECDSA);
    assert_eq!(refused(&wrong, &any), CKR_MECHANISM_INVALID);
}

#[test]
fn a_curve_is_there_or_not_supported() {
    let (_module, session) = software();
    let edwards = |last| vec![6, 3, 0x2b, 0x65, last];
    let named = |name: &[u8]| [&[0x13, name.len() as u8], name].concat();
    let mut wishes: Vec<_> = Curve::ALL
        .iter()
        .map(|curve| (CKM_EC_KEY_PAIR_GEN, KeyType::Ec(*curve), params(*curve)))
        .collect();
    let (ed, mont) = (CKM_EC_EDWARDS_KEY_PAIR_GEN, CKM_EC_MONTGOMERY_KEY_PAIR_GEN);
    wishes.extend([
        (ed, KeyType::Ed25519, edwards(0x70)),
        (ed, KeyType::Ed448, named(b"edwards448")),
        (mont, KeyType::X25519, edwards(0x6e)),
        (mont, KeyType::X25519, named(b"curve25519")),
        (mont, KeyType::X448, edwards(0x6f)),
    ]);
    for (mechanism, key_type, params) in wishes {
        let public = [(CKA_EC_PARAMS, &params[..])];
        let agrees = mechanism != ed;
        let derives: &[u8] = if agrees { YES } else { NO };
        let pair = || generate_pair(session, mechanism, &public, &[(CKA_DERIVE, derives)]);
        if !ctk_crypto::has_key_type(key_type) {
            assert_eq!(pair(), Err(CKR_CURVE_NOT_SUPPORTED), "{key_type}");
            continue;
        }
        let (first, second) = (pair().unwrap(), pair().unwrap());
        let point_of = |public| value(session, public, CKA_EC_POINT).unwrap();
        assert_ne!(point_of(first.0), point_of(second.0));
        if agrees {
            let agree = |private, public| {
                let point = point_of(public);
                let mechanism = ecdh(CKD_NULL, b"", &point);
                let key = derive(session, &mechanism, private, &of_any_length(&GENERIC));
                bytes_of(session, key.unwrap())
            };
            assert_eq!(
                agree(first.1, second.0),
                agree(second.1, first.0),
                "{key_type}"
            );
        }
    }
}

#[test]
fn ml_kem_keys_encapsulate_and_decapsulate() {
    for (set, key_type) in [
        (CKP_ML_KEM_512, KeyType::MlKem512),
        (CKP_ML_KEM_768, KeyType::MlKem768),
        (CKP_ML_KEM_1024, KeyType::MlKem1024),
    ] {
        let of_token = PrivateKey::generate(key_type).unwrap();
        let settings = Settings {
            decrypts: true,
            ..Settings::default()
        };
        let token = TestToken::with_keys(&[], vec![(1, of_token)], settings);
        let module = Module::start(&[token]);
        let session = module.open_and_login();
        let set = number(set);
        let template = [(CKA_PARAMETER_SET, &set[..])];
        let pair = generate_pair(session, CKM_ML_KEM_KEY_PAIR_GEN, &template, &[]).unwrap();
        for (public, private) in [pair, (public_key(session, 1), key(session, 1))] {
            for template in [of_any_length(&AES), of_any_length(&GENERIC), vec![]] {
                let (ciphertext, sent) = encapsulate(session, public, &template).unwrap();
                assert_eq!(Some(ciphertext.len()), key_type.ciphertext_len());
                let open = |ciphertext: &[u8]| {
                    let key = decapsulate(session, CKM_ML_KEM, private, ciphertext, &template);
                    bytes_of(session, key.unwrap())
                };
                assert_eq!(open(&ciphertext), bytes_of(session, sent));
                assert_eq!(bytes_of(session, sent).len(), 32);
                let mut spoiled = ciphertext.clone();
                spoiled[3] ^= 1;
                assert_ne!(open(&spoiled), bytes_of(session, sent));
                let cut = &ciphertext[1..];
                let answer = decapsulate(session, CKM_ML_KEM, private, cut, &template);
                assert_eq!(answer, Err(CKR_WRAPPED_KEY_LEN_RANGE));
            }
            let sixteen = number(16);
            let short = readable(&AES, &sixteen);
            let refused = encapsulate(session, public, &short);
            assert_eq!(refused, Err(CKR_ATTRIBUTE_VALUE_INVALID));
            assert_eq!(
                encapsulate(session, private, &[]),
                Err(CKR_KEY_TYPE_INCONSISTENT)
            );
            assert_eq!(encapsulate(session, 0, &[]), Err(CKR_KEY_HANDLE_INVALID));
            let answer = decapsulate(session, CKM_ML_KEM, public, &[0; 768], &[]);
            assert_eq!(answer, Err(CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT));
            let answer = decapsulate(session, CKM_ML_KEM, 0, &[0; 768], &[]);
            assert_eq!(answer, Err(CKR_UNWRAPPING_KEY_HANDLE_INVALID));
            let answer = decapsulate(session, CKM_RSA_PKCS, private, &[0; 768], &[]);
            assert_eq!(answer, Err(CKR_MECHANISM_INVALID));
        }
    }
}
