//! `ctk list` and `ctk show`: the tokens and cards and what they hold, without any password.

use std::{collections::BTreeMap, sync::Arc};

use ctk_token::Token;
use serde::Serialize;

use crate::{
    card::{self, Card, CardFacts, KeyFacts},
    console::{Console, Failure, Outcome, short},
    facts::{IdentityFacts, ProblemFacts, TokenFacts},
    network,
    table::{printable, table},
};

#[derive(Serialize)]
struct Listing<'a> {
    tokens: Vec<TokenFacts>,
    readers: Vec<ReaderFacts>,
    problems: Vec<ProblemFacts<'a>>,
}

/// A reader with what is in it.
#[derive(Serialize)]
struct ReaderFacts {
    reader: String,
    card: Option<CardFacts>,
    /// Why the card cannot be used.
    error: Option<String>,
}

/// All tokens and cards, one line for each key.
pub(crate) fn run_list(console: &Console) -> Outcome {
    let configuration = console.configuration();
    let tokens: Vec<_> = configuration
        .tokens
        .iter()
        .map(|token| TokenFacts::new(token, &console.environment))
        .collect();
    let readers: Vec<_> = card::readers(&console.environment)
        .iter()
        .map(|slot| {
            let token = slot.token();
            reader_facts(card::reader_name(slot), token, card::obstacle(slot))
        })
        .collect();
    if console.json {
        let problems = configuration
            .problems
            .iter()
            .map(ProblemFacts::new)
            .collect();
        return console.object(&Listing {
            tokens,
            readers,
            problems,
        });
    }
    let of_cards = readers.iter().flat_map(reader_rows);
    let rows: Vec<_> = tokens.iter().flat_map(rows).chain(of_cards).collect();
    match rows.is_empty() {
        true => console.text(
            "No tokens. ctk add registers one; \
             for a smart card, ctk doctor card says what is wrong.\n",
        )?,
        false => console.text(&table(
            &["TOKEN", "LABEL", "KEY", "SUBJECT", "EXPIRES", "ID"],
            &rows,
        ))?,
    }
    let empty: Vec<_> = readers
        .iter()
        .filter(|reader| reader.card.is_none() && reader.error.is_none())
        .map(|reader| printable(&reader.reader))
        .collect();
    if !empty.is_empty() {
        console.text(&format!("No card in {}.\n", empty.join(", ")))?;
    }
    for reader in &readers {
        if let Some(error) = &reader.error {
            console.warn(error);
        }
    }
    Ok(())
}

fn reader_facts(
    reader: String,
    token: Option<Arc<dyn Token>>,
    obstacle: Option<String>,
) -> ReaderFacts {
    let card = token.map(|token| Card {
        reader: reader.clone(),
        token,
    });
    let (card, error) = match card.as_ref().map(CardFacts::read) {
        None => (None, obstacle),
        Some(Ok(facts)) => (Some(facts), None),
        Some(Err(Failure::Said(message))) => (None, Some(message)),
        Some(Err(_)) => (None, Some(String::new())),
    };
    ReaderFacts {
        reader,
        card,
        error,
    }
}

fn reader_rows(reader: &ReaderFacts) -> Vec<Vec<String>> {
    let Some(card) = &reader.card else {
        return Vec::new();
    };
    let first = [reader.reader.clone(), card.label.clone()];
    if card.keys.is_empty() {
        let nothing = ["-", "(nothing)", "-", "-"].map(ToOwned::to_owned);
        return vec![[&first[..], &nothing[..]].concat()];
    }
    let row = |key: &KeyFacts| {
        let certificate = &key.certificate;
        let subject = certificate
            .common_name
            .as_ref()
            .or(certificate.subject.as_ref());
        let rest = [
            key.key.clone().unwrap_or_else(|| "-".to_owned()),
            subject.unwrap_or(&key.label).clone(),
            certificate.expiry(),
            key.id.clone(),
        ];
        [&first[..], &rest[..]].concat()
    };
    card.keys.iter().map(row).collect()
}

/// Everything about one token, or the card in one reader.
pub(crate) fn run_show(console: &Console, name: &str) -> Outcome {
    if let Some(card) = card::named(console, name)? {
        return card::show(console, &card);
    }
    let token = TokenFacts::new(&console.token(name)?, &console.environment);
    if console.json {
        return console.object(&token);
    }
    console.text(&details(&token, console))
}

fn rows(token: &TokenFacts) -> Vec<Vec<String>> {
    let name = token.name.clone();
    let with_key: Vec<_> = token
        .identities
        .iter()
        .filter(|identity| identity.key.is_some())
        .collect();
    // Certificates without keys are only worth a line if they are all there is.
    let shown = match with_key.is_empty() {
        true => token.identities.iter().collect(),
        false => with_key,
    };
    if shown.is_empty() {
        let nothing = "(nothing)".to_owned();
        return vec![vec![
            name,
            token.label.clone(),
            "-".into(),
            nothing,
            "-".into(),
            "-".into(),
        ]];
    }
    let more = token.identities.len() - shown.len();
    let row = |identity: &IdentityFacts| {
        let mut row = vec![name.clone(), token.label.clone()];
        row.extend(identity_row(identity));
        row
    };
    let mut rows: Vec<_> = shown.into_iter().map(row).collect();
    if more == 0 {
        return rows;
    }
    let plural = if more == 1 { "" } else { "s" };
    match rows.as_mut_slice() {
        // The chain of the only key.
        [row] => {
            if let Some(subject) = row.get_mut(3) {
                *subject += &format!(" (+{more} certificate{plural})");
            }
        }
        _ => {
            let more = format!("(+{more} certificate{plural})");
            let label = token.label.clone();
            rows.push(vec![name, label, "-".into(), more, "-".into(), "-".into()]);
        }
    }
    rows
}

/// What each table of identities shows: the kind of key, whose it is, when it expires, and its id.
pub(crate) fn identity_row(identity: &IdentityFacts) -> [String; 4] {
    let certificate = &identity.certificate;
    let subject = certificate
        .common_name
        .as_ref()
        .or(certificate.subject.as_ref());
    let hidden = if identity.hidden { " (hidden)" } else { "" };
    [
        identity.key.clone().unwrap_or_else(|| "-".to_owned()),
        format!("{}{hidden}", subject.unwrap_or(&identity.label)),
        certificate.expiry(),
        identity.id.clone(),
    ]
}

/// The keys and certificates of one token as a table.
pub(crate) fn identity_table(token: &TokenFacts) -> String {
    let rows: Vec<_> = token
        .identities
        .iter()
        .map(|identity| identity_row(identity).to_vec())
        .collect();
    table(&["KEY", "SUBJECT", "EXPIRES", "ID"], &rows)
}

fn list<T: AsRef<str>>(entries: &[T], none: &str) -> String {
    let entries: Vec<&str> = entries.iter().map(AsRef::as_ref).collect();
    match entries.as_slice() {
        [] => none.to_owned(),
        entries => entries.join(", "),
    }
}

fn details(token: &TokenFacts, console: &Console) -> String {
    let path = |path| short(path, &console.environment);
    let mut lines = vec![
        ("Token", token.name.clone()),
        ("Label", token.label.clone()),
        ("Driver", token.driver.clone()),
        ("Serial", token.serial.clone()),
        ("PIN", token.pin.clone()),
        ("Login", token.login.to_owned()),
        ("Order", token.order.to_string()),
        (
            "Removable",
            if token.removable { "yes" } else { "no" }.to_owned(),
        ),
        ("Hidden", list(&token.hidden, "nothing")),
        ("Programs", list(&token.programs, "all")),
        ("Not for", list(&token.not_programs, "none")),
        (
            "Configured",
            format!("{}:{}", path(&token.configuration), token.line),
        ),
    ];
    match network::is_network(&token.driver) {
        true => {
            let commands = if token.commands {
                "run for secrets"
            } else {
                "not run"
            };
            lines.push(("Commands", commands.to_owned()));
            lines.extend(named(&token.settings));
        }
        false => {
            let file = token.file.as_deref().map_or_else(|| "-".to_owned(), path);
            lines.insert(3, ("File", file));
        }
    }
    for identity in &token.identities {
        let certificate = &identity.certificate;
        let kind = match &identity.key {
            Some(key) => format!("{key}, {}", identity.label),
            None => format!("{} (certificate only)", identity.label),
        };
        lines.push(("", String::new()));
        lines.push((
            if identity.key.is_some() {
                "Key"
            } else {
                "Certificate"
            },
            kind,
        ));
        if identity.key.is_some() {
            lines.push(("Uses", list(&identity.uses, "none that this build knows")));
        }
        if network::is_network(&token.driver) && identity.key.is_some() {
            lines.push(("Before use", network::before_use(token, identity)));
            lines.extend(named(&identity.facts));
        }
        lines.push(("ID", identity.id.clone()));
        for (name, value) in [
            ("Subject", &certificate.subject),
            ("Issuer", &certificate.issuer),
        ] {
            lines.extend(value.clone().map(|value| (name, value)));
        }
        if let Some(start) = &certificate.not_before {
            lines.push(("Valid from", start.get(..10).unwrap_or(start).to_owned()));
            lines.push(("Expires", certificate.expiry()));
        }
        if identity.hidden {
            lines.push(("Hidden", "yes, programs do not see it".to_owned()));
        }
        lines.push(("URI", identity.uri.clone()));
    }
    let longest = lines.iter().map(|(name, _)| name.len() + 2).max();
    let width = longest.unwrap_or(0).max(12);
    let line = |(name, value): &(&str, String)| {
        format!(
            "{}\n",
            format!("{name:<width$}{}", printable(value)).trim_end()
        )
    };
    lines.iter().map(line).collect()
}

/// Settings or facts as they are called in a configuration.
fn named(values: &BTreeMap<String, serde_json::Value>) -> impl Iterator<Item = (&str, String)> {
    let values = values.iter();
    values.map(|(name, value)| (name.as_str(), network::words(value)))
}
