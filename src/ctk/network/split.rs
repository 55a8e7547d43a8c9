//! Which tokens the keys of a service become. A PKCS#11 token has one PIN, so keys with PINs of their own are tokens of their
//! own, and keys that nothing stands before are one more, which no program has to log in to.

use std::collections::HashSet;

use ctk_host::{
    Environment, PinSource, TokenConfig,
    config::{Contents, KeyFacts, Login, Setting, check_label, cut_label},
    network::Protocol,
};
use ctk_token::{AuthId, Constraint, KeychainContents};
use x509_cert::der::{Decode, Encode};

use super::args::{SHARED_PIN, rows};
use crate::{
    console::{Outcome, failure},
    facts::{self, AsIssued},
    table::printable,
};

/// Makes a token for each group of keys, of which the first keeps its name; one alone stays as it is.
pub(crate) fn split(
    token: TokenConfig,
    protocol: &'static Protocol,
    offered: &KeychainContents,
    mut next_name: impl FnMut() -> String,
) -> Vec<TokenConfig> {
    let groups = groups(&token, protocol, offered);
    let (Some((fact, setting)), 2..) = (selecting(protocol), groups.len()) else {
        return vec![token];
    };
    let mut tokens = Vec::new();
    for keys in groups {
        let mut part = token.clone();
        let texts = keys.iter().filter_map(|key| key.facts.text(fact));
        let texts = texts.map(str::to_owned).collect();
        let texts = Setting::Texts(texts);
        part.settings.0.insert(setting.to_owned(), texts);
        part.contents = only(&token.contents, keys);
        if !tokens.is_empty() {
            part.name = next_name();
        }
        tokens.push(part);
    }
    tokens
}

/// What of new contents belongs into a token that is there already, and a sentence about each key that does not: a PIN of
/// its own would be another one than the token's.
///
/// # Errors
/// A sentence, if no program could log in to what belongs there: several of its keys have PINs of their own now.
pub(crate) fn belonging(
    token: &TokenConfig,
    new: Contents,
    protocol: &'static Protocol,
    environment: &Environment,
) -> Outcome<(Contents, Vec<String>)> {
    let asking = TokenConfig {
        contents: new,
        ..asking(token)
    };
    let offered = facts::slot(&asking, environment).and_then(|slot| slot.token());
    let (Some(offered), Some((fact, setting))) = (offered, selecting(protocol)) else {
        return Ok((asking.contents, Vec::new()));
    };
    let offered = offered.contents();
    let groups = groups(&asking, protocol, &offered);
    let was_there = |key: &KeyFacts| {
        let mut keys = token.contents.keys.iter();
        keys.any(|old| old.spki == key.spki)
    };
    let known = |group: &Vec<KeyFacts>| group.iter().any(was_there);
    let (own, others): (Vec<_>, Vec<_>) = match groups.iter().any(known) {
        true => groups.into_iter().partition(known),
        false => (groups, Vec::new()),
    };
    match pins(&own, &offered) {
        0 | 1 => {}
        count => return failure(several_pins(&token.name, count)),
    }
    if others.is_empty() {
        return Ok((asking.contents, Vec::new()));
    }
    let option = setting.trim_end_matches('s').replace('_', "-");
    let said = others.iter().flatten().map(|key| {
        let name = key.facts.text(fact).unwrap_or_default();
        format!(
            "the key {:?} is new and has not the PIN of this token; ctk add {} with --{option} {name} makes one of it",
            printable(&key.label),
            protocol.name
        )
    });
    let own = own.into_iter().flatten().collect();
    Ok((only(&asking.contents, own), said.collect()))
}

/// How many PINs the keys of a token have that is there already, and the sentence about it if programs cannot log in so.
/// `None`: that is not known yet.
pub(crate) fn check_pins(
    token: &TokenConfig,
    protocol: &'static Protocol,
    environment: &Environment,
) -> (Option<usize>, Option<String>) {
    if token.contents.keys.is_empty() {
        return (None, None);
    }
    let asking = asking(token);
    let slot = facts::slot(&asking, environment).and_then(|slot| slot.token());
    let Some(offered) = slot.map(|token| token.contents()) else {
        return (None, None);
    };
    let count = pins(&groups(&asking, protocol, &offered), &offered);
    let said = (count > 1).then(|| several_pins(&token.name, count));
    (Some(count), said)
}

/// How many of these groups of keys have a PIN.
fn pins(groups: &[Vec<KeyFacts>], offered: &KeychainContents) -> usize {
    let has_pin = |keys: &&Vec<KeyFacts>| keys.iter().any(|key| auth_id(key, offered).is_some());
    groups.iter().filter(has_pin).count()
}

fn several_pins(name: &str, count: usize) -> String {
    format!(
        "{count} of its keys have PINs of their own, so no program can log in: if the PIN is the same, \
         ctk update {name} --set shared_pin=true; otherwise ctk remove {name}, and ctk add makes a token of each"
    )
}

/// The token as if no PIN were stored, which would hide what stands before a key.
pub(crate) fn asking(token: &TokenConfig) -> TokenConfig {
    TokenConfig {
        pin: PinSource::App,
        login: Login::App,
        ..token.clone()
    }
}

/// The fact of a key that a setting chooses keys by: `credential` by `credentials`.
pub(crate) fn selecting(protocol: &'static Protocol) -> Option<(&'static str, &'static str)> {
    protocol.key_facts.iter().find_map(|fact| {
        let mut rows = rows(protocol);
        let (row, _) = rows.find(|(row, _)| row.name.strip_suffix('s') == Some(fact.name))?;
        Some((fact.name, row.name))
    })
}

/// The keys by the secret that stands before them, in the order in which the first of each is told. Where keys can share a
/// PIN, each has its own unless that is said.
fn groups(
    token: &TokenConfig,
    protocol: &'static Protocol,
    offered: &KeychainContents,
) -> Vec<Vec<KeyFacts>> {
    let has_own_pins = rows(protocol).any(|(row, _)| row.name == SHARED_PIN);
    let keys = &token.contents.keys;
    if token.settings.flag(SHARED_PIN) {
        return vec![keys.clone()];
    }
    let mut groups: Vec<(Option<AuthId>, Vec<KeyFacts>)> = Vec::new();
    for key in keys {
        let auth = auth_id(key, offered);
        let is_alone = has_own_pins && auth.is_some();
        match groups
            .iter_mut()
            .find(|(known, _)| *known == auth && !is_alone)
        {
            Some((_, group)) => group.push(key.clone()),
            None => groups.push((auth, vec![key.clone()])),
        }
    }
    groups.into_iter().map(|(_, keys)| keys).collect()
}

/// What a person or program has to give before the key can be used.
pub(crate) fn auth_id(key: &KeyFacts, offered: &KeychainContents) -> Option<AuthId> {
    let key = offered
        .keys()
        .find(|other| other.identity == key.identity)?;
    facts::USES
        .iter()
        .find_map(|(operation, _)| match key.constraint(*operation) {
            Constraint::Auth(id, _) => Some(id),
            Constraint::Never | Constraint::Free => None,
        })
}

/// These keys with their certificates, and those that have issued them.
fn only(contents: &Contents, keys: Vec<KeyFacts>) -> Contents {
    let names: Vec<_> = (contents.certificates.iter())
        .map(|certificate| names(&certificate.der))
        .collect();
    let is_own = |identity: &[u8]| keys.iter().any(|key| key.identity == identity);
    let is_of_other = |identity: &[u8]| {
        !is_own(identity) && contents.keys.iter().any(|key| key.identity == identity)
    };
    let mut wanted: HashSet<usize> = HashSet::new();
    let mut issuers: HashSet<&[u8]> = HashSet::new();
    loop {
        let before = wanted.len();
        for (at, (certificate, names)) in contents.certificates.iter().zip(&names).enumerate() {
            let is_issuer = names
                .as_ref()
                .is_some_and(|(subject, _)| issuers.contains(&**subject));
            let is_wanted =
                is_own(&certificate.identity) || (is_issuer && !is_of_other(&certificate.identity));
            if is_wanted && wanted.insert(at) {
                issuers.extend(names.as_ref().map(|(_, issuer)| &**issuer));
            }
        }
        if wanted.len() == before {
            break;
        }
    }
    let certificates = contents.certificates.iter().enumerate();
    let certificates = certificates.filter(|(at, _)| wanted.contains(at));
    Contents {
        certificates: certificates
            .map(|(_, certificate)| certificate.clone())
            .collect(),
        keys,
    }
}

/// The names of subject and issuer, DER.
fn names(der: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let certificate = x509_cert::certificate::CertificateInner::<AsIssued>::from_der(der).ok()?;
    let certificate = certificate.tbs_certificate();
    Some((
        certificate.subject().to_der().ok()?,
        certificate.issuer().to_der().ok()?,
    ))
}

/// What programs show of a token whose keys are these: the common name of the only key's certificate, or what the service
/// is called.
pub(crate) fn label(contents: &Contents, service: &str) -> String {
    let (keys, certificates) = (&contents.keys, &contents.certificates);
    let common_name = match keys.as_slice() {
        [key] => certificates
            .iter()
            .find(|certificate| certificate.identity == key.identity)
            .and_then(|certificate| facts::CertificateFacts::of(&certificate.der).common_name),
        _ => None,
    };
    let plain = |text: &str| -> String {
        let plain = |c: char| if c == ':' || c.is_control() { ' ' } else { c };
        let text: String = text.chars().map(plain).collect();
        cut_label(text.trim()).trim_end().to_owned()
    };
    let labels = [common_name.as_deref().unwrap_or_default(), service, "Token"];
    let mut labels = labels.into_iter().map(plain);
    labels
        .find(|label| check_label(label).is_ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use ctk_host::{
        config::{CertificateFacts, Settings},
        network,
    };

    use super::*;

    fn key(identity: u8) -> KeyFacts {
        KeyFacts {
            label: format!("key {identity}"),
            identity: vec![identity],
            spki: vec![identity],
            subject: None,
            facts: Settings::default(),
        }
    }

    fn contents(keys: Vec<KeyFacts>) -> Contents {
        Contents {
            keys,
            certificates: Vec::new(),
        }
    }

    #[test]
    fn each_protocol_chooses_keys_by_a_setting() {
        for protocol in network::protocols() {
            let (fact, setting) = selecting(protocol).unwrap();
            assert_eq!(format!("{fact}s"), setting, "{}", protocol.name);
        }
    }

    #[test]
    fn a_label_is_one_that_programs_can_show() {
        let none = contents(Vec::new());
        assert_eq!(label(&none, "signing.example"), "signing.example");
        assert_eq!(label(&none, "::1"), "1");
        assert_eq!(label(&none, &"é".repeat(40)), "é".repeat(16));
        assert_eq!(label(&none, ":"), "Token");
        assert_eq!(label(&contents(vec![key(1)]), "h"), "h");
    }

    #[test]
    fn certificates_go_with_their_keys() {
        let certificate = |identity: u8| CertificateFacts {
            label: String::new(),
            identity: vec![identity],
            der: vec![identity],
        };
        let all = Contents {
            keys: vec![key(1), key(2)],
            certificates: vec![certificate(1), certificate(2), certificate(9)],
        };
        let one = only(&all, vec![key(2)]);
        assert_eq!(one.keys, [key(2)]);
        // What cannot be read has issued nothing.
        assert_eq!(one.certificates, [certificate(2)]);
    }
}
