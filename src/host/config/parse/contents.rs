//! What is stored of a token's contents: the tables `[[token.certificate]]` and `[[token.key]]`.

use std::collections::HashSet;

use ctk_token::{PublicKey, TokenError};

use super::{
    super::{
        fields::Fields,
        text::{from_base64, from_hex},
        token::{CertificateFacts, Contents, KeyFacts},
    },
    Reader,
};
use crate::drivers::Key;

const CERTIFICATE_KEYS: [&str; 3] = ["label", "id", "der"];
const KEY_KEYS: [&str; 4] = ["label", "id", "public", "subject"];

impl Reader<'_> {
    /// What the token holds, each key with what its driver needs to know of it.
    pub(super) fn contents(&self, fields: &mut Fields<'_>, facts: &[Key], owner: &str) -> Contents {
        let mut contents = Contents::default();
        let mut seen = HashSet::new();
        let in_owner = |what: &str| format!("a {what} of {owner}");
        for mut inner in fields.tables("certificate") {
            inner.refuse_unknown(&in_owner("certificate"), &CERTIFICATE_KEYS);
            let label = inner.text("label");
            let identity = identity(&mut inner, &in_owner("certificate"), &mut seen);
            let der = bytes(&mut inner, "der", Some(&in_owner("certificate")));
            if der.as_ref().is_some_and(|der| !is_der_sequence(der)) {
                inner.refuse(
                    "der",
                    "der is not a certificate; run ctk update to store it anew",
                );
            }
            if let (Some(identity), Some(der)) = (identity, der) {
                contents.certificates.push(CertificateFacts {
                    label: label.unwrap_or_default(),
                    identity,
                    der,
                });
            }
            fields.absorb(inner);
        }
        seen.clear();
        let known: Vec<_> = KEY_KEYS
            .iter()
            .copied()
            .chain(facts.iter().map(|fact| fact.name))
            .collect();
        for mut inner in fields.tables("key") {
            inner.refuse_unknown(&in_owner("key"), &known);
            let label = inner.text("label");
            let identity = identity(&mut inner, &in_owner("key"), &mut seen);
            let spki = bytes(&mut inner, "public", Some(&in_owner("key")));
            let subject = bytes(&mut inner, "subject", None);
            // A kind of key that this version does not know is not the configuration's fault.
            if let Some(Err(TokenError::Corrupted(reason))) =
                spki.as_deref().map(PublicKey::from_spki)
            {
                inner.refuse(
                    "public",
                    format!("public is {reason}; run ctk update to store it anew"),
                );
            }
            let facts = self.settings(&mut inner, facts, &in_owner("key"), false);
            if let (Some(identity), Some(spki)) = (identity, spki) {
                contents.keys.push(KeyFacts {
                    label: label.unwrap_or_default(),
                    identity,
                    spki,
                    subject,
                    facts,
                });
            }
            fields.absorb(inner);
        }
        contents
    }
}

fn identity(fields: &mut Fields<'_>, owner: &str, seen: &mut HashSet<Vec<u8>>) -> Option<Vec<u8>> {
    let text = fields.required_text("id", owner)?;
    let Some(identity) = from_hex(&text).filter(|id| (1..=255).contains(&id.len())) else {
        fields.refuse(
            "id",
            format!("id = {text:?} is not 1 to 255 bytes in hexadecimal"),
        );
        return None;
    };
    if !seen.insert(identity.clone()) {
        fields.refuse("id", format!("id = {text:?} is there twice in {owner}"));
    }
    Some(identity)
}

fn bytes(fields: &mut Fields<'_>, key: &str, required_in: Option<&str>) -> Option<Vec<u8>> {
    let text = match required_in {
        Some(owner) => fields.required_text(key, owner),
        None => fields.text(key),
    }?;
    let bytes = from_base64(&text);
    if bytes.is_none() {
        fields.refuse(
            key,
            format!("{key} is not base64; run ctk update to store it anew"),
        );
    }
    bytes
}

/// One DER SEQUENCE and nothing after it. What is in it is the driver's to judge.
fn is_der_sequence(der: &[u8]) -> bool {
    let (Some(0x30), Some(&first)) = (der.first(), der.get(1)) else {
        return false;
    };
    let len_bytes = if first < 0x80 {
        0
    } else {
        usize::from(first & 0x7F)
    };
    if len_bytes > 4 || first == 0x80 {
        return false;
    }
    let Some(long) = der.get(2..2 + len_bytes) else {
        return false;
    };
    let long = long
        .iter()
        .fold(0_usize, |len, byte| len << 8 | usize::from(*byte));
    let len = if first < 0x80 {
        usize::from(first)
    } else {
        long
    };
    der.len() == 2 + len_bytes + len
}
