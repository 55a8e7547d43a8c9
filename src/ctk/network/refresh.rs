//! `ctk refresh`: asks the services of network tokens again, reads files that need no password, and stores what is another.

use ctk_host::{
    TokenConfig,
    config::{Contents, write},
    network, pkcs12,
};
use serde::Serialize;

use super::{
    difference::{Difference, difference, keeping},
    service,
    split::belonging,
};
use crate::{
    args::RefreshArguments,
    console::{Console, Failure, Outcome, failure},
    contents, serial, settings,
};

#[derive(Serialize)]
struct Report {
    tokens: Vec<Refreshed>,
    ok: bool,
}

/// What became of one token.
#[derive(Serialize)]
struct Refreshed {
    name: String,
    state: State,
    #[serde(flatten)]
    difference: Difference,
    /// What the service has besides, each a sentence.
    left_out: Vec<String>,
    /// Why it failed, or is not for this command.
    error: Option<String>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// All is as it was; nothing was written.
    Same,
    /// What is another was stored.
    Changed,
    /// Only a person can read it.
    Skipped,
    Failed,
}

pub(crate) fn run(console: &Console, arguments: &RefreshArguments) -> Outcome {
    let mut tokens = Vec::new();
    let mut reports = Vec::new();
    match arguments.names.is_empty() {
        true => tokens = console.configuration().tokens,
        false => {
            for name in &arguments.names {
                match console.token(name) {
                    Ok(token) if tokens.contains(&token) => {}
                    Ok(token) => tokens.push(token),
                    Err(Failure::Said(message)) => {
                        let failed = Refreshed::failed(name, message);
                        tell(console, &failed)?;
                        reports.push(failed);
                    }
                    Err(other) => return Err(other),
                }
            }
        }
    }
    if tokens.is_empty() && reports.is_empty() && !console.json {
        return console.text("There are no tokens. ctk add registers one.\n");
    }
    for token in &tokens {
        let mut report = match refresh(console, token) {
            Ok(report) => report,
            Err(Failure::Said(message)) => Refreshed::failed(&token.name, message),
            Err(other) => return Err(other),
        };
        // Who names a token wants it refreshed.
        if report.state == State::Skipped && !arguments.names.is_empty() {
            report.state = State::Failed;
        }
        tell(console, &report)?;
        reports.push(report);
    }
    let ok = reports.iter().all(|report| report.state != State::Failed);
    if console.json {
        let tokens = reports;
        console.object(&Report { tokens, ok })?;
    }
    match ok {
        true => Ok(()),
        false => Err(Failure::Shown),
    }
}

impl Refreshed {
    fn new(name: &str, state: State) -> Self {
        Self {
            name: name.to_owned(),
            state,
            difference: Difference::default(),
            left_out: Vec::new(),
            error: None,
        }
    }

    fn failed(name: &str, message: String) -> Self {
        Self {
            error: Some(message),
            ..Self::new(name, State::Failed)
        }
    }
}

/// Asks one token's key store, and stores what is another.
fn refresh(console: &Console, token: &TokenConfig) -> Outcome<Refreshed> {
    let name = &token.name;
    let (contents, left_out) = match network::protocol(&token.driver) {
        Some(protocol) => {
            let found = service::list(console, token);
            let found = found.or_else(|error| failure(service::explain(token, &error)))?;
            if found.contents.keys.is_empty() && !token.contents.keys.is_empty() {
                return failure(none_left(token, &found.left_out));
            }
            let (contents, others) =
                belonging(token, found.contents, protocol, &console.environment)?;
            (contents, [found.left_out, others].concat())
        }
        None => match read_file(console, token)? {
            Some(contents) => (contents, Vec::new()),
            None => {
                let message = format!("its file has a password: ctk update {name} asks for it");
                return Ok(Refreshed {
                    error: Some(message),
                    ..Refreshed::new(name, State::Skipped)
                });
            }
        },
    };
    let (difference, kept) = store(console, token, contents)?;
    let state = match kept {
        true => State::Same,
        false => State::Changed,
    };
    Ok(Refreshed {
        difference,
        left_out,
        ..Refreshed::new(name, state)
    })
}

/// A service that has nothing at all is more often one that does not know who asks than one whose keys are gone.
fn none_left(token: &TokenConfig, left_out: &[String]) -> String {
    let why: String = left_out.iter().map(|why| format!("; {why}")).collect();
    format!(
        "{} has no key any more that can be used, so nothing was changed{why}; if that is right: ctk remove {}",
        service::called(token),
        token.name
    )
}

/// Stores what a key store has now, unless all is as it was, and says what is another.
pub(crate) fn store(
    console: &Console,
    token: &TokenConfig,
    contents: Contents,
) -> Outcome<(Difference, bool)> {
    let mut new = token.clone();
    new.contents = keeping(&token.contents, contents);
    let difference = difference(&token.contents, &new.contents);
    // It stays the same token for programs that know it by its serial number.
    if new.serial.is_empty() {
        new.serial = serial::serial(&new.contents).or_else(failure)?;
    }
    if new == *token {
        return Ok((difference, true));
    }
    settings::warn_of_hiding_nothing(console, &new);
    write::update(&new, &console.environment)?;
    Ok((difference, false))
}

/// What is in the file of a token, if nobody needs to be asked.
fn read_file(console: &Console, token: &TokenConfig) -> Outcome<Option<Contents>> {
    match token.settings.path(pkcs12::FILE) {
        Some(file) => contents::read_unasked(console, token, file),
        None => Ok(None),
    }
}

/// One token in words.
fn tell(console: &Console, report: &Refreshed) -> Outcome {
    if console.json {
        return Ok(());
    }
    let name = &report.name;
    if let Some(error) = &report.error {
        console.warn(format!("token {name:?}: {error}"));
        return Ok(());
    }
    for left_out in &report.left_out {
        console.warn(format!("token {name:?}: {left_out}"));
    }
    let lines = report.difference.lines();
    console.text(&match (report.state, lines.is_empty()) {
        (State::Same, _) => format!("Token {name:?} is as it was.\n"),
        (_, true) => format!("Token {name:?} is up to date now.\n"),
        (_, false) => {
            let lines: String = lines.iter().map(|line| format!("  {line}\n")).collect();
            format!("Token {name:?}:\n{lines}")
        }
    })
}
