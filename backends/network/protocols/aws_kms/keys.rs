//! What keys there are: the configured ones, or all that the account's region has (AWS KMS API: ListKeys, ListAliases,
//! DescribeKey, GetPublicKey).

use std::collections::{BTreeMap, BTreeSet};

use ctk_token::{Reason, Result, TokenError};

use crate::{
    Inventory, MAX_KEYS, Records, Settings, Value,
    http::Response,
    json::{Body, Object},
};

use super::{certificates, error::shown, requests::Within, sign::blob};

/// The most pages of a list.
const MAX_PAGES: usize = 100;

/// Asks for everything that a token of these settings holds. `progress` is told each step.
///
/// # Errors
/// As [`Service::list`](crate::Service::list).
pub(super) fn list(
    requests: Within<'_>,
    settings: &Settings,
    progress: &mut dyn FnMut(&str),
) -> Result<Inventory> {
    let mut records = Records::new();
    let configured = settings.texts("keys");
    match configured {
        [] => list_all(requests, &mut records, progress)?,
        keys => list_configured(requests, keys, &mut records, progress)?,
    }
    if let Some(path) = settings.path("certificates") {
        progress("certificates");
        let found = certificates::read(path)?;
        records.certificates(found.certificates.iter().map(Vec::as_slice));
        found
            .left_out
            .into_iter()
            .for_each(|why| records.left_out(why));
    }
    records.finish()
}

/// Keys that somebody has named: they are asked for their public keys only, because often no more is allowed.
fn list_configured(
    requests: Within<'_>,
    keys: &[String],
    records: &mut Records,
    progress: &mut dyn FnMut(&str),
) -> Result<()> {
    let is_alias = |key: &str| key.starts_with("alias/") || key.contains(":alias/");
    let mut aliases = None;
    let mut failure = None;
    for key in keys.iter().take(MAX_KEYS) {
        progress(&format!("key {}", shown(key)));
        let label = match is_alias(key) {
            true => key.split_once("alias/").map(|(_, name)| name.to_owned()),
            false => {
                // Whoever may not list them has keys without names.
                let known =
                    aliases.get_or_insert_with(|| list_aliases(requests).unwrap_or_default());
                let id = key.rsplit('/').next().unwrap_or(key);
                known.get(id).cloned()
            }
        };
        match public_key(requests, key) {
            Ok(Some(found)) => {
                let label = label.unwrap_or_else(|| found.id().to_owned());
                records.key(&label, &found.spki, &[], found.facts());
            }
            Ok(None) => records.left_out(format!(
                "the key {:?} is left out: it is symmetric, and has no public key",
                shown(key)
            )),
            Err(error) => {
                let error = leave_out(records, key, error)?;
                failure.get_or_insert(error);
            }
        }
    }
    if keys.len() > MAX_KEYS {
        records.left_out(format!("a token has at most {MAX_KEYS} keys"));
    }
    // Nothing but refusals is no token without keys, but a mistake to tell of.
    match failure {
        Some(failure) if records.is_empty() => Err(failure),
        _ => Ok(()),
    }
}

fn list_all(
    requests: Within<'_>,
    records: &mut Records,
    progress: &mut dyn FnMut(&str),
) -> Result<()> {
    progress("keys");
    let keys = list_keys(requests, records)?;
    progress("aliases");
    let aliases = match list_aliases(requests) {
        Err(TokenError::Refused(why)) => {
            records.left_out(format!("the keys have no names: {why}"));
            BTreeMap::new()
        }
        aliases => aliases?,
    };
    let mut symmetric = 0;
    let mut failure = None;
    for (number, key) in (1..).zip(&keys) {
        progress(&format!("key {number} of {}", keys.len()));
        let name = aliases.get(&key.id).unwrap_or(&key.id);
        let found = match description(requests, key) {
            Ok(Description::Asymmetric) => public_key(requests, &key.arn),
            Ok(Description::Symmetric) => Ok(None),
            Ok(Description::Unusable(why)) => {
                records.left_out(format!("the key {name:?} is left out: {why}"));
                continue;
            }
            Err(error) => Err(error),
        };
        match found {
            Ok(Some(found)) => {
                records.key(name, &found.spki, &[], found.facts());
            }
            Ok(None) => symmetric += 1,
            Err(error) => {
                let error = leave_out(records, name, error)?;
                failure.get_or_insert(error);
            }
        }
    }
    if symmetric > 0 {
        records.left_out(format!("{symmetric} symmetric and HMAC keys are left out"));
    }
    match failure {
        Some(failure) if records.is_empty() => Err(failure),
        _ => Ok(()),
    }
}

/// A key that the service refuses is left out; everything else would be the same with the next one and ends the list.
fn leave_out(records: &mut Records, key: &str, error: TokenError) -> Result<TokenError> {
    match &error {
        TokenError::Refused(why) => {
            records.left_out(format!("the key {:?} is left out: {why}", shown(key)));
        }
        TokenError::ObjectNotFound => {
            records.left_out(format!(
                "the key {:?} is left out: there is none of this name",
                shown(key)
            ));
            return Ok(TokenError::Refused(Reason::new(format!(
                "AWS KMS has no key {:?} in this account and region",
                shown(key)
            ))));
        }
        _ => return Err(error),
    }
    Ok(error)
}

/// A key in the account's list.
struct Listed {
    id: String,
    /// The id where the list has no ARN.
    arn: String,
}

fn list_keys(requests: Within<'_>, records: &mut Records) -> Result<Vec<Listed>> {
    let mut keys = Vec::new();
    let mut seen = BTreeSet::new();
    let is_whole = each_page(requests, "ListKeys", 1000, &mut |page| {
        for key in page.objects("Keys") {
            let Some(id) = key.text("KeyId") else {
                continue;
            };
            let arn = key.text("KeyArn").unwrap_or_else(|| id.clone());
            if seen.insert(id.clone()) && keys.len() < MAX_KEYS {
                keys.push(Listed { id, arn });
            }
        }
        keys.len() < MAX_KEYS
    })?;
    if !is_whole {
        records.left_out(format!(
            "the account has more keys: {} were looked at",
            keys.len()
        ));
    }
    Ok(keys)
}

/// Names of keys by their ids; of several names of one key the first.
fn list_aliases(requests: Within<'_>) -> Result<BTreeMap<String, String>> {
    let mut aliases: BTreeMap<String, String> = BTreeMap::new();
    each_page(requests, "ListAliases", 100, &mut |page| {
        for alias in page.objects("Aliases") {
            let (Some(name), Some(key)) = (alias.text("AliasName"), alias.text("TargetKeyId"))
            else {
                continue;
            };
            let name = name.strip_prefix("alias/").unwrap_or(&name);
            // Those of AWS' own keys.
            if name.starts_with("aws/") || name.is_empty() {
                continue;
            }
            match aliases.get_mut(&key) {
                Some(known) if name < known.as_str() => *known = name.to_owned(),
                Some(_) => {}
                None => drop(aliases.insert(key, name.to_owned())),
            }
        }
        aliases.len() < MAX_KEYS
    })?;
    Ok(aliases)
}

/// Hands out page by page for as long as there are more and `take` wants them. Says whether that was everything.
fn each_page(
    requests: Within<'_>,
    operation: &'static str,
    limit: u64,
    take: &mut dyn FnMut(&Object<'_>) -> bool,
) -> Result<bool> {
    let mut marker: Option<String> = None;
    for _ in 0..MAX_PAGES {
        let body = Body::new()
            .number("Limit", limit)
            .optional("Marker", marker.as_deref());
        let response = requests.call(operation, None, &body.finish())?;
        let page = object(&response, operation)?;
        let wants_more = take(&page);
        marker = page.text("NextMarker").filter(|marker| !marker.is_empty());
        if page.flag("Truncated") != Some(true) || marker.is_none() {
            return Ok(true);
        }
        if !wants_more {
            return Ok(false);
        }
    }
    Ok(false)
}

enum Description {
    Asymmetric,
    Symmetric,
    /// Why.
    Unusable(String),
}

/// What kind of key it is, and whether it can be used.
fn description(requests: Within<'_>, key: &Listed) -> Result<Description> {
    let body = Body::new().text("KeyId", &key.arn).finish();
    let response = match requests.ask("DescribeKey", Some(&key.arn), &body)? {
        Ok(response) => response,
        // Its public key may be allowed all the same, and tells the rest.
        Err(refusal) if refusal.name().starts_with("AccessDenied") => {
            return Ok(Description::Asymmetric);
        }
        Err(refusal) => return Err(refusal.into_error("DescribeKey", Some(&key.arn))),
    };
    let answer = object(&response, "DescribeKey")?;
    let metadata = answer
        .object("KeyMetadata")
        .ok_or_else(|| no_answer("DescribeKey"))?;
    let spec = metadata
        .text("KeySpec")
        .or_else(|| metadata.text("CustomerMasterKeySpec"));
    let spec = spec.unwrap_or_default();
    if spec.starts_with("SYMMETRIC") || spec.starts_with("HMAC") {
        return Ok(Description::Symmetric);
    }
    let state = metadata.text("KeyState").unwrap_or_default();
    Ok(match (&*state, metadata.flag("Enabled")) {
        ("PendingDeletion" | "PendingReplicaDeletion", _) => {
            Description::Unusable("it waits for its deletion".to_owned())
        }
        ("Disabled", _) => Description::Unusable("it is disabled".to_owned()),
        ("PendingImport", _) => Description::Unusable("it waits for its key material".to_owned()),
        ("Creating", _) => Description::Unusable("it is being made".to_owned()),
        ("Enabled" | "Updating" | "", Some(true) | None) => Description::Asymmetric,
        (state, _) => Description::Unusable(format!("it is {:?}", shown(state))),
    })
}

/// What GetPublicKey tells.
struct Found {
    key: String,
    spki: Vec<u8>,
    spec: String,
    usage: String,
    algorithms: Vec<String>,
}

impl Found {
    /// The key's id, without what an ARN has before it.
    fn id(&self) -> &str {
        self.key.rsplit('/').next().unwrap_or(&self.key)
    }

    fn facts(&self) -> Settings {
        let facts = [
            ("key", Value::Text(self.key.clone())),
            ("spec", Value::Text(self.spec.clone())),
            ("usage", Value::Text(self.usage.clone())),
            ("algorithms", Value::Texts(self.algorithms.clone())),
        ];
        Settings(facts.map(|(name, value)| (name.to_owned(), value)).into())
    }
}

/// The public key of a key and what it is for; `None` for one that has none.
fn public_key(requests: Within<'_>, key: &str) -> Result<Option<Found>> {
    let body = Body::new().text("KeyId", key).finish();
    let response = match requests.ask("GetPublicKey", Some(key), &body)? {
        Ok(response) => response,
        Err(refusal) if refusal.name() == "UnsupportedOperationException" => return Ok(None),
        Err(refusal) => return Err(refusal.into_error("GetPublicKey", Some(key))),
    };
    let spki = blob(&response, "PublicKey", "GetPublicKey")?.to_vec();
    let answer = object(&response, "GetPublicKey")?;
    let usage = answer.text("KeyUsage").unwrap_or_default();
    let algorithms = match &*usage {
        "SIGN_VERIFY" => answer.texts("SigningAlgorithms"),
        "ENCRYPT_DECRYPT" => answer.texts("EncryptionAlgorithms"),
        "KEY_AGREEMENT" => match answer.texts("KeyAgreementAlgorithms") {
            // There is one, and not every answer names it.
            none if none.is_empty() => vec!["ECDH".to_owned()],
            algorithms => algorithms,
        },
        _ => Vec::new(),
    };
    let algorithms = algorithms.into_iter().take(20).map(|name| shown(&name));
    let spec = answer
        .text("KeySpec")
        .or_else(|| answer.text("CustomerMasterKeySpec"));
    // The ARN, whatever the key was asked for by: an alias may be another key's tomorrow.
    let arn = answer.text("KeyId").filter(|arn| arn.starts_with("arn:"));
    Ok(Some(Found {
        key: arn.map_or_else(|| key.to_owned(), |arn| shown(&arn)),
        spki,
        spec: shown(&spec.unwrap_or_default()),
        usage: shown(&usage),
        algorithms: algorithms.collect(),
    }))
}

fn object<'a>(response: &'a Response, operation: &str) -> Result<Object<'a>> {
    Object::read(&response.body).ok_or_else(|| no_answer(operation))
}

fn no_answer(operation: &str) -> TokenError {
    TokenError::Corrupted(Reason::new(format!(
        "AWS KMS, {operation}: an answer that is none: check the endpoint"
    )))
}
