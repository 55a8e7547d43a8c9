//! What is shown of a network token: its keys with what stands before their use, and its settings.

use std::{collections::BTreeMap, path::PathBuf};

use ctk_host::{
    SecretSource,
    config::{Setting, Settings},
};
use serde_json::Value;

use crate::{
    facts::{IdentityFacts, TokenFacts},
    list::identity_row,
    table::table,
};

/// The fact of a key that tells what a service wants before it signs.
const AUTHORIZATION: &str = "authorization";

/// The keys and certificates of one token as a table.
pub(crate) fn key_table(token: &TokenFacts) -> String {
    let row = |identity: &IdentityFacts| {
        let [key, subject, expires, id] = identity_row(identity);
        let uses = match identity.uses.is_empty() {
            true => "-".to_owned(),
            false => identity.uses.join(", "),
        };
        vec![key, subject, uses, before_use(token, identity), expires, id]
    };
    let rows: Vec<_> = token.identities.iter().map(row).collect();
    let heading = ["KEY", "SUBJECT", "USES", "BEFORE USE", "EXPIRES", "ID"];
    table(&heading, &rows)
}

/// What a person or program gives before a key is used, in words.
pub(crate) fn before_use(token: &TokenFacts, identity: &IdentityFacts) -> String {
    let wanted = identity.facts.get(AUTHORIZATION).and_then(Value::as_array);
    let texts = wanted.into_iter().flatten().filter_map(Value::as_str);
    // Some have an id after their kind.
    let kinds = texts.map(|it| it.split('=').next().unwrap_or_default());
    let pin = match identity.before_use {
        None => return "-".to_owned(),
        // What a program logs in with need not be a PIN.
        Some(_) if wanted.is_some() && !kinds.clone().any(|kind| kind == "pin") => "",
        Some("pin") => "PIN",
        Some("pin-each-time") => "PIN each time",
        Some(_) => "",
    };
    let others = kinds.filter_map(|kind| match kind {
        "otp" | "online-otp" if is_otp_typed(token) => Some("OTP"),
        "out-of-band" => Some("confirmation"),
        "oauth2code" => Some("token"),
        _ => None,
    });
    let all: Vec<_> = std::iter::once(pin)
        .filter(|pin| !pin.is_empty())
        .chain(others)
        .collect();
    match all.is_empty() {
        true => "nothing".to_owned(),
        false => all.join(" + "),
    }
}

/// Whether a one-time password comes with what a program logs in with, and not from a source.
pub(crate) fn is_otp_typed(token: &TokenFacts) -> bool {
    let has = |name: &str| token.settings.contains_key(name);
    token.settings.get("otp_from_login") == Some(&Value::Bool(true))
        || (!has("otp") && !has("otp_seed"))
}

/// Settings as JSON has them. Of a secret it is where it comes from.
pub(crate) fn json(settings: &Settings) -> BTreeMap<String, Value> {
    let value = |setting: &Setting| match setting {
        Setting::Path(path) => path.to_string_lossy().into(),
        Setting::Text(text) => text.as_str().into(),
        Setting::Texts(texts) => texts.as_slice().into(),
        Setting::Flag(flag) => (*flag).into(),
        Setting::Number(number) => (*number).into(),
        Setting::Secret(source) => source.to_string().into(),
    };
    let settings = settings.0.iter();
    settings
        .map(|(name, setting)| (name.clone(), value(setting)))
        .collect()
}

/// The files with secrets that settings name.
pub(crate) fn secret_files(settings: &Settings) -> Vec<PathBuf> {
    let files = settings.0.values().filter_map(|setting| match setting {
        Setting::Secret(SecretSource::File(path)) => Some(path.clone()),
        _ => None,
    });
    files.collect()
}

/// The same for a person.
pub(crate) fn words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => {
            let values: Vec<_> = values.iter().map(words).collect();
            values.join(", ")
        }
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::facts::CertificateFacts;

    #[test]
    fn what_stands_before_use_is_what_a_person_gives() {
        let said = |settings: Value, before: &'static str, authorization: Value| {
            let token: TokenFacts = TokenFacts {
                settings: serde_json::from_value(settings).unwrap(),
                ..TokenFacts::default()
            };
            let identity = IdentityFacts {
                before_use: Some(before),
                facts: serde_json::from_value(authorization).unwrap(),
                certificate: CertificateFacts::default(),
                ..IdentityFacts::default()
            };
            before_use(&token, &identity)
        };
        let facts = |kinds: &[&str]| json!({ "authorization": kinds });
        let bare = || json!({});
        assert_eq!(said(bare(), "nothing", bare()), "nothing");
        assert_eq!(said(bare(), "pin", bare()), "PIN");
        assert_eq!(said(bare(), "nothing", facts(&["implicit"])), "nothing");
        assert_eq!(said(bare(), "nothing", facts(&["oauth2code"])), "token");
        assert_eq!(said(bare(), "pin", facts(&["pin=P1"])), "PIN");
        let both = facts(&["pin", "otp=O"]);
        assert_eq!(
            said(bare(), "pin-each-time", both.clone()),
            "PIN each time + OTP"
        );
        assert_eq!(said(bare(), "pin-each-time", facts(&["online-otp"])), "OTP");
        let seed = || json!({ "otp_seed": "env:SEED" });
        assert_eq!(said(seed(), "pin", both.clone()), "PIN");
        assert_eq!(said(seed(), "nothing", facts(&["otp"])), "nothing");
        let typed = json!({ "otp_seed": "env:SEED", "otp_from_login": true });
        assert_eq!(said(typed, "pin", both), "PIN + OTP");
        let phone = facts(&["pin", "out-of-band=phone"]);
        assert_eq!(said(bare(), "pin", phone), "PIN + confirmation");
    }
}
