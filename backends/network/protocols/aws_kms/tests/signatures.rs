//! What is sent for each algorithm, and what comes of the answers.

use std::sync::Arc;

use ctk_crypto::{MlDsaMu, hash, verify};
use ctk_token::{
    Constraint, Curve, Digest, KeyAlgorithm as A, KeyType, LoginPolicy, Oaep, Operation, Pss,
    PublicKeyMaterial, TokenError,
};
use serde_json::json;

use crate::{KeyRecord, Service, base64};

use super::{
    super::service::Kms,
    world::{
        ARN, Asked, Held, World, blob, configuration, failure, reason, success, text,
        with_access_key,
    },
};

const HASHES: [Digest; 3] = [Digest::Sha256, Digest::Sha384, Digest::Sha512];

fn pss(digest: Digest) -> Pss {
    Pss {
        digest,
        mgf: digest,
        salt_len: u32::try_from(digest.len()).unwrap(),
    }
}

/// A service that signs by `sign`, its world, and the key's record.
fn signing(
    key: &'static Held,
    sign: impl Fn(&Asked) -> Vec<u8> + Send + Sync + 'static,
) -> (Arc<Kms>, World, KeyRecord) {
    let world = World::new(move |asked| {
        assert_eq!(asked.operation(), "Sign");
        assert_eq!(asked.json()["KeyId"], ARN);
        success(&json!({"KeyId": ARN, "Signature": base64::encode(&sign(asked))}))
    });
    let record = key.record();
    let configuration = configuration(with_access_key([]), vec![record.clone()]);
    (world.service(&configuration), world, record)
}

fn leak(key: Held) -> &'static Held {
    Box::leak(Box::new(key))
}

#[test]
fn rsa_signatures_are_of_hashes() {
    let key = Held::rsa();
    for digest in HASHES {
        for (algorithm, name) in [
            (A::RsaPkcs1Digest(digest), "PKCS1_V1_5"),
            (A::RsaPssDigest(pss(digest)), "PSS"),
        ] {
            let (service, world, record) = signing(key, move |asked| {
                assert_eq!(asked.json()["MessageType"], "DIGEST");
                let expected = format!("RSASSA_{name}_SHA_{}", 8 * digest.len());
                assert_eq!(asked.json()["SigningAlgorithm"], *expected);
                key.sign(algorithm, &blob(asked, "Message"))
            });
            assert!(service.supports(&record, Operation::Sign, algorithm));
            let input = hash(digest, b"message").unwrap();
            let signature = service
                .open_session()
                .sign(&record, algorithm, &input)
                .unwrap();
            let public_key = key.private.public_key();
            assert_eq!(verify(public_key, algorithm, &input, &signature), Ok(true));
            assert_eq!(world.asked.lock().len(), 1);
        }
    }
}

#[test]
fn ecdsa_signatures_are_of_hashes_of_the_curves_length() {
    for (curve, name, len) in [
        (Curve::P256, "ECDSA_SHA_256", 32),
        (Curve::P384, "ECDSA_SHA_384", 48),
        (Curve::P521, "ECDSA_SHA_512", 64),
        (Curve::Secp256k1, "ECDSA_SHA_256", 32),
    ] {
        if !ctk_crypto::has_key_type(KeyType::Ec(curve)) {
            continue;
        }
        let key = leak(Held::new(KeyType::Ec(curve), "SIGN_VERIFY", &[name]));
        for digest in Digest::ALL {
            let (service, _, record) = signing(key, move |asked| {
                assert_eq!(asked.json()["MessageType"], "DIGEST");
                assert_eq!(asked.json()["SigningAlgorithm"], name);
                let message = blob(asked, "Message");
                assert_eq!(message.len(), len, "{curve:?} {digest:?}");
                key.sign(A::EcdsaDigest, &message)
            });
            assert!(service.supports(&record, Operation::Sign, A::EcdsaDigest));
            let input = hash(digest, b"message").unwrap();
            let session = service.open_session();
            let signature = session.sign(&record, A::EcdsaDigest, &input).unwrap();
            let message = A::EcdsaMessage(digest);
            let is_right = verify(key.private.public_key(), message, b"message", &signature);
            assert_eq!(is_right, Ok(true), "{curve:?} {digest:?}");
        }
    }
}

#[test]
fn long_messages_of_ml_dsa_are_sent_as_their_representative() {
    let key = leak(Held::new(
        KeyType::MlDsa65,
        "SIGN_VERIFY",
        &["ML_DSA_SHAKE_256"],
    ));
    for len in [0, 1, 4096, 4097, 20_000] {
        let message = vec![7; len];
        let copy = message.clone();
        let (service, _, record) = signing(key, move |asked| {
            assert_eq!(asked.json()["SigningAlgorithm"], "ML_DSA_SHAKE_256");
            let sent = blob(asked, "Message");
            if len <= 4096 {
                assert_eq!(asked.json()["MessageType"], "RAW");
                assert_eq!(sent, copy);
            } else {
                assert_eq!(asked.json()["MessageType"], "EXTERNAL_MU");
                let mut mu = MlDsaMu::new(key.private.public_key()).unwrap();
                mu.update(&copy).unwrap();
                assert_eq!(sent, mu.finish().unwrap());
            }
            key.sign(A::MlDsa, &copy)
        });
        assert!(service.supports(&record, Operation::Sign, A::MlDsa));
        let signature = service
            .open_session()
            .sign(&record, A::MlDsa, &message)
            .unwrap();
        assert_eq!(
            verify(key.private.public_key(), A::MlDsa, &message, &signature),
            Ok(true)
        );
    }
}

#[test]
fn ed25519_signs_whole_messages_of_a_length() {
    let key = leak(Held::new(
        KeyType::Ed25519,
        "SIGN_VERIFY",
        &["ED25519_SHA_512", "ED25519_PH_SHA_512"],
    ));
    let (service, world, record) = signing(key, |asked| {
        assert_eq!(asked.json()["MessageType"], "RAW");
        assert_eq!(asked.json()["SigningAlgorithm"], "ED25519_SHA_512");
        key.sign(A::EdDsa, &blob(asked, "Message"))
    });
    let session = service.open_session();
    session.sign(&record, A::EdDsa, &[7; 4096]).unwrap();
    assert_eq!(
        session.sign(&record, A::EdDsa, &[7; 4097]),
        Err(TokenError::DataLength)
    );
    assert_eq!(world.asked.lock().len(), 1);
}

#[test]
fn what_the_service_cannot_do_is_not_supported() {
    let world = World::new(|_| panic!("nothing is asked"));
    let service = world.service(&configuration(with_access_key([]), vec![]));
    let supports =
        |record: &KeyRecord, operation, algorithm| service.supports(record, operation, algorithm);
    let rsa = Held::rsa().record();
    let usual = pss(Digest::Sha256);
    for refused in [
        A::RsaRaw,
        A::RsaPkcs1,
        A::RsaPkcs1Digest(Digest::Sha1),
        A::RsaPkcs1Digest(Digest::Sha224),
        A::RsaPkcs1Digest(Digest::Sha3_256),
        A::RsaPkcs1Message(Digest::Sha256),
        A::RsaPssDigest(pss(Digest::Sha1)),
        A::RsaPssDigest(Pss {
            salt_len: 20,
            ..usual
        }),
        A::RsaPssDigest(Pss {
            salt_len: 222,
            ..usual
        }),
        A::RsaPssDigest(Pss {
            mgf: Digest::Sha1,
            ..usual
        }),
        A::EcdsaDigest,
        A::MlDsa,
    ] {
        assert!(!supports(&rsa, Operation::Sign, refused), "{refused:?}");
    }
    assert!(supports(&rsa, Operation::Sign, A::RsaPssDigest(usual)));
    let oaep = |digest, mgf| A::RsaOaep(Oaep { digest, mgf });
    let sha1 = oaep(Digest::Sha1, Digest::Sha1);
    assert!(!supports(&rsa, Operation::Decrypt, sha1));
    assert_eq!(service.constraint(&rsa, Operation::Sign), Constraint::Free);
    assert_eq!(
        service.constraint(&rsa, Operation::Decrypt),
        Constraint::Never
    );
    assert_eq!(
        service.constraint(&rsa, Operation::KeyExchange),
        Constraint::Never
    );
    assert_eq!(
        service.login_policy(std::slice::from_ref(&rsa)),
        LoginPolicy::OnUse
    );

    let mut decrypting = rsa;
    decrypting.facts = super::world::settings([
        ("usage", text("ENCRYPT_DECRYPT")),
        (
            "algorithms",
            crate::Value::Texts(vec!["RSAES_OAEP_SHA_1".into(), "RSAES_OAEP_SHA_256".into()]),
        ),
    ]);
    assert!(supports(&decrypting, Operation::Decrypt, sha1));
    assert!(supports(
        &decrypting,
        Operation::Decrypt,
        oaep(Digest::Sha256, Digest::Sha256)
    ));
    for refused in [
        oaep(Digest::Sha256, Digest::Sha1),
        oaep(Digest::Sha384, Digest::Sha384),
        A::RsaPkcs1,
        A::RsaRaw,
    ] {
        assert!(
            !supports(&decrypting, Operation::Decrypt, refused),
            "{refused:?}"
        );
    }
    // A key without a name is damaged configuration, and not somebody else's.
    let session = service.clone().open_session();
    let error = session.decrypt(&decrypting, sha1, &[0; 256]).unwrap_err();
    assert!(matches!(error, TokenError::Corrupted(_)), "{error:?}");
}

#[test]
fn a_wrong_signature_is_not_handed_out() {
    let key = Held::rsa();
    let algorithm = A::RsaPkcs1Digest(Digest::Sha256);
    let input = hash(Digest::Sha256, b"message").unwrap();
    let other = hash(Digest::Sha256, b"another").unwrap();
    for wrong in [
        key.sign(algorithm, &other),
        vec![],
        vec![0; 256],
        vec![1; 255],
    ] {
        let (service, _, record) = signing(key, move |_| wrong.clone());
        let error = service
            .open_session()
            .sign(&record, algorithm, &input)
            .unwrap_err();
        assert!(matches!(error, TokenError::Corrupted(_)), "{error:?}");
        assert!(reason(&error).contains("ctk refresh"), "{error}");
    }
}

#[test]
fn plaintexts_are_shorter_than_their_blocks() {
    let names = ["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"];
    let key = Held {
        private: ctk_crypto::PrivateKey::generate(KeyType::Rsa { bits: 2048 }).unwrap(),
        usage: "ENCRYPT_DECRYPT",
        algorithms: names.to_vec(),
    };
    let record = key.record();
    let world = World::new(|asked| {
        assert_eq!(asked.operation(), "Decrypt");
        assert_eq!(asked.json()["EncryptionAlgorithm"], "RSAES_OAEP_SHA_256");
        match blob(asked, "CiphertextBlob")[..] {
            [1, ..] => success(&json!({"KeyId": ARN, "Plaintext": "c2VjcmV0"})),
            [2, ..] => success(&json!({"Plaintext": base64::encode(&[7; 256])})),
            [3, ..] => success(&json!({"Plaintext": ""})),
            _ => failure(400, "InvalidCiphertextException", ""),
        }
    });
    let service = world.service(&configuration(with_access_key([]), vec![record.clone()]));
    let session = service.open_session();
    let algorithm = A::RsaOaep(Oaep {
        digest: Digest::Sha256,
        mgf: Digest::Sha256,
    });
    let decrypt = |first: u8| session.decrypt(&record, algorithm, &[first; 256]);
    assert_eq!(*decrypt(1).unwrap(), b"secret");
    assert!(matches!(decrypt(2), Err(TokenError::Corrupted(_))));
    assert_eq!(*decrypt(3).unwrap(), b"");
    assert_eq!(decrypt(4), Err(TokenError::BadCiphertext));
}

#[test]
fn agreement_sends_the_peer_as_spki() {
    let key = Held::new(KeyType::Ec(Curve::P384), "KEY_AGREEMENT", &["ECDH"]);
    let peer = Held::new(KeyType::Ec(Curve::P384), "KEY_AGREEMENT", &["ECDH"]);
    let PublicKeyMaterial::Ec { point, .. } = peer.private.public_key().material() else {
        panic!()
    };
    let record = key.record();
    let spki = base64::encode(peer.spki());
    let world = World::new(move |asked| {
        assert_eq!(asked.operation(), "DeriveSharedSecret");
        assert_eq!(asked.json()["KeyAgreementAlgorithm"], "ECDH");
        assert_eq!(asked.json()["PublicKey"], *spki);
        success(&json!({"SharedSecret": base64::encode(&[7; 48])}))
    });
    let service = world.service(&configuration(with_access_key([]), vec![record.clone()]));
    assert!(service.supports(&record, Operation::KeyExchange, A::EcdhCofactor));
    let session = service.open_session();
    assert_eq!(
        *session.key_exchange(&record, A::Ecdh, point).unwrap(),
        [7; 48]
    );
    let mut off = point.to_vec();
    off[50] ^= 1;
    for wrong in [&off[..], &point[1..], &[4; 65], &[]] {
        let refused = session.key_exchange(&record, A::Ecdh, wrong);
        assert_eq!(refused, Err(TokenError::BadParameter));
    }
    assert_eq!(world.asked.lock().len(), 1);

    let world = World::new(|_| success(&json!({"SharedSecret": base64::encode(&[7; 47])})));
    let service = world.service(&configuration(with_access_key([]), vec![record.clone()]));
    let short = service.open_session().key_exchange(&record, A::Ecdh, point);
    assert!(matches!(short, Err(TokenError::Corrupted(_))));
}
