//! What a key does, and how the service is asked for it (AWS KMS API: Sign, Decrypt, DeriveSharedSecret).

use ctk_crypto::{MlDsaMu, check_point, ecdsa, verify};
use ctk_token::{
    Curve, Digest, KeyAlgorithm, KeyType, Oaep, Operation, Pss, PublicKey, Reason, Result,
    TokenError,
};
use zeroize::Zeroizing;

use crate::{
    KeyRecord, base64,
    http::Response,
    json::{Body, Object},
};

use super::requests::Requests;

/// The longest message that is sent whole, in bytes.
const MAX_MESSAGE: usize = 4096;

/// The service's name for an algorithm of this key; `None` for what it does not do.
pub(super) fn algorithm(
    key: &KeyRecord,
    operation: Operation,
    algorithm: KeyAlgorithm,
) -> Option<&'static str> {
    use KeyAlgorithm as A;
    let facts = &key.facts;
    let names: &[&'static str] = match (operation, algorithm) {
        (Operation::Sign, A::RsaPkcs1Digest(digest)) => match digest {
            Digest::Sha256 => &["RSASSA_PKCS1_V1_5_SHA_256"],
            Digest::Sha384 => &["RSASSA_PKCS1_V1_5_SHA_384"],
            Digest::Sha512 => &["RSASSA_PKCS1_V1_5_SHA_512"],
            _ => &[],
        },
        // The salt is as long as the hash, and MGF1 is of the same hash.
        (Operation::Sign, A::RsaPssDigest(pss)) if is_usual(pss) => match pss.digest {
            Digest::Sha256 => &["RSASSA_PSS_SHA_256"],
            Digest::Sha384 => &["RSASSA_PSS_SHA_384"],
            Digest::Sha512 => &["RSASSA_PSS_SHA_512"],
            _ => &[],
        },
        // Each key has one of them, that of its curve.
        (Operation::Sign, A::EcdsaDigest) => &["ECDSA_SHA_256", "ECDSA_SHA_384", "ECDSA_SHA_512"],
        (Operation::Sign, A::EdDsa) => &["ED25519_SHA_512"],
        (Operation::Sign, A::MlDsa) => &["ML_DSA_SHAKE_256"],
        (Operation::Decrypt, A::RsaOaep(Oaep { digest, mgf })) if digest == mgf => match digest {
            Digest::Sha1 => &["RSAES_OAEP_SHA_1"],
            Digest::Sha256 => &["RSAES_OAEP_SHA_256"],
            _ => &[],
        },
        // The curves have cofactor 1.
        (Operation::KeyExchange, A::Ecdh | A::EcdhCofactor) => &["ECDH"],
        _ => &[],
    };
    let known = facts.texts("algorithms");
    let fits = |name: &&'static str| known.iter().any(|known| known == name);
    names.iter().copied().find(fits)
}

fn is_usual(pss: Pss) -> bool {
    pss.digest == pss.mgf && usize::try_from(pss.salt_len) == Ok(pss.digest.len())
}

/// Signs, and checks the signature.
///
/// # Errors
/// As [`ServiceSession::sign`](crate::ServiceSession::sign).
pub(super) fn sign(
    requests: &Requests,
    key: &KeyRecord,
    asked: KeyAlgorithm,
    input: &[u8],
) -> Result<Vec<u8>> {
    let name = algorithm(key, Operation::Sign, asked).ok_or(TokenError::NotSupported)?;
    let id = id(key)?;
    let public_key = PublicKey::from_spki(&key.spki)?;
    let (kind, message) = message(&public_key, name, asked, input)?;
    let body = Body::new()
        .text("KeyId", id)
        .text("MessageType", kind)
        .text("SigningAlgorithm", name)
        .text("Message", &Zeroizing::new(base64::encode(&message)))
        .finish();
    let response = requests.call("Sign", Some(id), &body)?;
    let signature = blob(&response, "Signature", "Sign")?;
    // A service that signs with another key, or something else, is found out here and not by whoever gets the signature.
    // It costs a small part of the way to the service and back.
    match verify(&public_key, asked, input, &signature) {
        Ok(true) => Ok(signature.to_vec()),
        Ok(false) => Err(corrupted(format!(
            "AWS KMS, Sign with {id}: the signature is wrong for the public key that is configured: list the token's keys \
             anew (ctk refresh)"
        ))),
        Err(error) => Err(error),
    }
}

/// What is sent of the input, and what the service calls it.
fn message(
    key: &PublicKey,
    name: &str,
    asked: KeyAlgorithm,
    input: &[u8],
) -> Result<(&'static str, Zeroizing<Vec<u8>>)> {
    let whole = |input: &[u8]| Zeroizing::new(input.to_vec());
    match (asked, key.key_type()) {
        (KeyAlgorithm::EcdsaDigest, KeyType::Ec(curve)) => {
            let len = match name {
                "ECDSA_SHA_256" => 32,
                "ECDSA_SHA_384" => 48,
                _ => 64,
            };
            // The service wants as many bytes as its hash has; the number they stand for is the same.
            let digest = ecdsa::digest_of_len(input, curve, len)?;
            Ok(("DIGEST", Zeroizing::new(digest)))
        }
        (KeyAlgorithm::MlDsa, _) if input.len() > MAX_MESSAGE => {
            let mut mu = MlDsaMu::new(key)?;
            mu.update(input)?;
            Ok(("EXTERNAL_MU", whole(&mu.finish()?)))
        }
        (KeyAlgorithm::MlDsa, _) => Ok(("RAW", whole(input))),
        (KeyAlgorithm::EdDsa, _) if input.len() > MAX_MESSAGE => Err(TokenError::DataLength),
        (KeyAlgorithm::EdDsa, _) => Ok(("RAW", whole(input))),
        _ => Ok(("DIGEST", whole(input))),
    }
}

/// Decrypts one block.
///
/// # Errors
/// As [`ServiceSession::decrypt`](crate::ServiceSession::decrypt).
pub(super) fn decrypt(
    requests: &Requests,
    key: &KeyRecord,
    asked: KeyAlgorithm,
    input: &[u8],
) -> Result<Zeroizing<Vec<u8>>> {
    let name = algorithm(key, Operation::Decrypt, asked).ok_or(TokenError::NotSupported)?;
    let id = id(key)?;
    let body = Body::new()
        .text("KeyId", id)
        .text("EncryptionAlgorithm", name)
        .text("CiphertextBlob", &base64::encode(input))
        .finish();
    let response = requests.call("Decrypt", Some(id), &body)?;
    let plaintext = blob(&response, "Plaintext", "Decrypt")?;
    match plaintext.len() < input.len() {
        true => Ok(plaintext),
        false => Err(corrupted(
            "AWS KMS, Decrypt: a plaintext longer than its block".to_owned(),
        )),
    }
}

/// Agrees on a secret with the owner of the point `peer`.
///
/// # Errors
/// As [`ServiceSession::key_exchange`](crate::ServiceSession::key_exchange).
pub(super) fn key_exchange(
    requests: &Requests,
    key: &KeyRecord,
    asked: KeyAlgorithm,
    peer: &[u8],
) -> Result<Zeroizing<Vec<u8>>> {
    let name = algorithm(key, Operation::KeyExchange, asked).ok_or(TokenError::NotSupported)?;
    let id = id(key)?;
    let KeyType::Ec(curve) = PublicKey::from_spki(&key.spki)?.key_type() else {
        return Err(TokenError::NotSupported);
    };
    check_point(curve, peer)?;
    let body = agreement(id, name, curve, peer)?.finish();
    let response = requests.call("DeriveSharedSecret", Some(id), &body)?;
    let secret = blob(&response, "SharedSecret", "DeriveSharedSecret")?;
    match secret.len() == curve.bytes() {
        true => Ok(secret),
        false => Err(corrupted(format!(
            "AWS KMS, DeriveSharedSecret: a secret of {} bytes instead of {}",
            secret.len(),
            curve.bytes()
        ))),
    }
}

fn agreement(id: &str, name: &str, curve: Curve, peer: &[u8]) -> Result<Body> {
    let peer = PublicKey::ec(curve, peer)?;
    Ok(Body::new()
        .text("KeyId", id)
        .text("KeyAgreementAlgorithm", name)
        .text("PublicKey", &base64::encode(peer.spki())))
}

/// Asks whether this key would be used, without using it: operation and body with `DryRun`; `None` for a key that cannot
/// be tried so, as a decryption needs a ciphertext.
pub(super) fn dry_run(key: &KeyRecord) -> Option<(&'static str, Zeroizing<Vec<u8>>)> {
    let id = key.facts.text("key")?;
    let name = key.facts.texts("algorithms").first()?.as_str();
    let public_key = PublicKey::from_spki(&key.spki).ok()?;
    match key.facts.text("usage")? {
        "SIGN_VERIFY" => {
            let (kind, len) = match name {
                _ if name.starts_with("ED25519") || name.starts_with("ML_DSA") => ("RAW", 1),
                _ if name.ends_with("_256") => ("DIGEST", 32),
                _ if name.ends_with("_384") => ("DIGEST", 48),
                _ => ("DIGEST", 64),
            };
            let body = Body::new()
                .text("KeyId", id)
                .text("MessageType", kind)
                .text("SigningAlgorithm", name)
                .text("Message", &base64::encode(&vec![0; len]))
                .flag("DryRun", true);
            Some(("Sign", body.finish()))
        }
        "KEY_AGREEMENT" => {
            let ctk_token::PublicKeyMaterial::Ec { curve, point } = public_key.material() else {
                return None;
            };
            let body = agreement(id, name, *curve, point)
                .ok()?
                .flag("DryRun", true);
            Some(("DeriveSharedSecret", body.finish()))
        }
        _ => None,
    }
}

/// What the service knows the key by.
fn id(key: &KeyRecord) -> Result<&str> {
    key.facts.text("key").ok_or_else(|| {
        corrupted(format!(
            "the key {:?} is configured without its name at the service",
            key.label
        ))
    })
}

/// Bytes in an answer.
pub(super) fn blob(response: &Response, name: &str, operation: &str) -> Result<Zeroizing<Vec<u8>>> {
    let text = Object::read(&response.body).and_then(|answer| answer.secret(name));
    let bytes = text.and_then(|text| base64::decode(&text));
    bytes.ok_or_else(|| corrupted(format!("AWS KMS, {operation}: an answer without {name}")))
}

fn corrupted(reason: String) -> TokenError {
    TokenError::Corrupted(Reason::new(reason))
}
