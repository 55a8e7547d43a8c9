//! `ctk test`: logs in as a program would, and signs and verifies with each key.

use ctk_crypto::{Block, MAX_BLOCK, Reduction};
use ctk_host::{
    PinSource,
    config::{TokenConfig, to_hex},
};
use ctk_token::{
    AuthSecret, Digest, Key, KeyAlgorithm, KeyType, Operation, Pss, Role, TokenError, TokenSession,
};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::{
    console::{Console, Failure, Outcome, failure},
    contents::is_short_rsa,
    facts,
    password::with_password,
    table::table,
};

#[derive(Serialize)]
struct Report {
    name: String,
    keys: Vec<KeyReport>,
    ok: bool,
}

#[derive(Serialize)]
struct KeyReport {
    id: String,
    label: String,
    key: String,
    results: Vec<AlgorithmReport>,
}

#[derive(Serialize)]
struct AlgorithmReport {
    algorithm: &'static str,
    ok: bool,
    error: Option<String>,
}

pub(crate) fn run(console: &Console, name: &str) -> Outcome {
    let config = console.token(name)?;
    let token = facts::slot(&config, &console.environment).and_then(|slot| slot.token());
    let Some(token) = token else {
        return failure(format!("token {name:?} is not present"));
    };
    let session = token.create_session().or_else(failure)?;
    log_in(console, &config, &*session)?;
    let contents = token.contents();
    let keys: Vec<_> = contents
        .keys()
        .map(|key| test_key(&*session, key))
        .collect();
    session.end_auth(Role::User);
    let report = Report {
        name: name.to_owned(),
        ok: keys
            .iter()
            .flat_map(|key| &key.results)
            .all(|result| result.ok),
        keys,
    };
    show(console, &report)?;
    match report.ok {
        true => Ok(()),
        false => Err(Failure::Shown),
    }
}

fn log_in(console: &Console, config: &TokenConfig, session: &dyn TokenSession) -> Outcome {
    let finish = |secret: AuthSecret<'_>| session.begin_auth(Role::User, None)?.finish(secret);
    if config.pin != PinSource::App {
        return finish(AuthSecret::FromToken).or_else(|error| {
            failure(format!(
                "token {:?}, with the stored PIN from {}: {error}",
                config.name, config.pin
            ))
        });
    }
    let prompt = format!("PIN of token {:?}: ", config.name);
    let explain = |error: &TokenError| format!("token {:?}: {error}", config.name);
    with_password(
        console,
        &prompt,
        |pin| finish(AuthSecret::Pin(pin)),
        explain,
    )
}

fn test_key(session: &dyn TokenSession, key: &Key) -> KeyReport {
    let results = algorithms(key).iter().map(|(name, algorithm)| {
        let tested = sign_and_verify(session, key, *algorithm);
        AlgorithmReport {
            algorithm: name,
            ok: tested.is_ok(),
            error: tested.err().map(|error| error.to_string()),
        }
    });
    KeyReport {
        id: to_hex(&key.identity),
        label: key.label.clone(),
        key: key.public_key.key_type().to_string(),
        results: results.collect(),
    }
}

/// What a key of this kind is tried with; nothing for one that is not supported, or only agrees on secrets.
fn algorithms(key: &Key) -> &'static [(&'static str, KeyAlgorithm)] {
    match key.public_key.key_type() {
        short if is_short_rsa(short) => &[],
        KeyType::Rsa { .. } => &[
            (
                "RSA PKCS#1 v1.5 SHA-256",
                KeyAlgorithm::RsaPkcs1Message(Digest::Sha256),
            ),
            (
                "RSA-PSS SHA-256",
                KeyAlgorithm::RsaPssMessage(Pss {
                    digest: Digest::Sha256,
                    mgf: Digest::Sha256,
                    salt_len: 32,
                }),
            ),
        ],
        KeyType::Ec(_) => &[("ECDSA SHA-256", KeyAlgorithm::EcdsaMessage(Digest::Sha256))],
        KeyType::Ed25519 | KeyType::Ed448 => &[("EdDSA", KeyAlgorithm::EdDsa)],
        _ => &[],
    }
}

/// Signs a random message, and checks the signature with the public key that is configured.
fn sign_and_verify(
    session: &dyn TokenSession,
    key: &Key,
    algorithm: KeyAlgorithm,
) -> Result<(), TokenError> {
    let mut message = [0; 64];
    ctk_crypto::random(&mut message)?;
    let public = &key.public_key;
    let supports = |form| session.supports(Operation::Sign, &key.id, form);
    let reduction = Reduction::new(algorithm, public, supports)?.ok_or(TokenError::NotSupported)?;
    let hash = match reduction.message_digest() {
        Some(digest) => Some(ctk_crypto::hash(digest, &message)?),
        None => None,
    };
    let mut block: Block = Zeroizing::new([0; MAX_BLOCK]);
    let input = reduction.apply(hash.as_deref().unwrap_or(&message), &mut block)?;
    let mut signature = vec![0; public.max_signature_len()];
    let len = session.sign(&key.id, reduction.performed(), input, &mut signature)?;
    let signature = signature.get(..len).unwrap_or_default();
    match ctk_crypto::verify(public, algorithm, &message, signature)? {
        true => Ok(()),
        false => Err(TokenError::Corrupted(ctk_token::Reason::new(
            "the signature is not of the configured public key; ctk update reads the file again",
        ))),
    }
}

fn show(console: &Console, report: &Report) -> Outcome {
    if console.json {
        return console.object(report);
    }
    if report.keys.is_empty() {
        return console.text("The password is right. There is no key to sign with.\n");
    }
    let row = |key: &KeyReport, algorithm: &str, result: String| {
        vec![
            key.label.clone(),
            key.key.clone(),
            algorithm.to_owned(),
            result,
            key.id.clone(),
        ]
    };
    let rows: Vec<_> = report
        .keys
        .iter()
        .flat_map(|key| match key.results.as_slice() {
            [] => vec![row(key, "-", "not supported for signing".to_owned())],
            results => results
                .iter()
                .map(|result| {
                    let said = result
                        .error
                        .as_ref()
                        .map(|error| format!("FAILED: {error}"));
                    row(
                        key,
                        result.algorithm,
                        said.unwrap_or_else(|| "OK".to_owned()),
                    )
                })
                .collect(),
        })
        .collect();
    console.text(&table(
        &["LABEL", "KEY", "ALGORITHM", "RESULT", "ID"],
        &rows,
    ))
}
