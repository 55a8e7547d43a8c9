//! `ctk test`: logs in as a program would, and does with each key what it is for.

use ctk_host::{
    PinSource,
    config::{TokenConfig, to_hex},
};
use ctk_token::{AuthSecret, Key, Role, TokenError, TokenSession};
use serde::Serialize;

use crate::{
    card::{self, Card},
    console::{Console, Failure, Outcome, failure},
    facts, network,
    password::with_password,
    table::{printable, table},
    trial::{Ready, Trial, trials},
};

#[derive(Serialize)]
struct Report {
    name: String,
    keys: Vec<KeyReport>,
    ok: bool,
}

#[derive(Serialize)]
pub(crate) struct KeyReport {
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
    if let Some(card) = card::named(console, name)? {
        return run_card(console, &card);
    }
    let config = console.token(name)?;
    if network::is_network(&config.driver) {
        let keys = network::test(console, &config)?;
        return report(console, name, keys);
    }
    let token = facts::slot(&config, &console.environment).and_then(|slot| slot.token());
    let Some(token) = token else {
        return failure(format!("token {name:?} is not present"));
    };
    let session = token.create_session().or_else(failure)?;
    log_in(console, &config, &*session)?;
    let contents = token.contents();
    let keys: Vec<_> = contents
        .keys()
        .map(|key| {
            test_key(key, trials(key), |trial| {
                trial.run(&*session, key, &|| Ok(()))
            })
        })
        .collect();
    session.end_auth(Role::User);
    report(console, name, keys)
}

/// As a program would use the card, with the PIN again for each use of a key that wants that.
fn run_card(console: &Console, card: &Card) -> Outcome {
    let which = card.named();
    let said = |error| format!("{which}: {error}");
    card.token.load().or_else(|error| failure(said(error)))?;
    let session = card.token.create_session();
    let session = session.or_else(|error| failure(said(error)))?;
    let pin = card::log_in(console, card, &*session)?;
    let contents = card.token.contents();
    let test = |key: &Key| {
        let again = || card::authenticate_again(&*session, &key.id, &pin);
        let ready: Ready<'_> = match key.authenticates_always() {
            true => &again,
            false => &|| Ok(()),
        };
        let mut offered = trials(key);
        offered.retain(|trial| trial.is_offered(&*session, key));
        test_key(key, offered, |trial| trial.run(&*session, key, ready))
    };
    let keys: Vec<_> = contents.keys().map(test).collect();
    session.end_auth(Role::User);
    report(console, &card.reader, keys)
}

fn report(console: &Console, name: &str, keys: Vec<KeyReport>) -> Outcome {
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

/// Logs in with the stored PIN, or with the one that a person gives.
pub(crate) fn log_in(
    console: &Console,
    config: &TokenConfig,
    session: &dyn TokenSession,
) -> Outcome {
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

/// What came of each trial of a key.
pub(crate) fn test_key(
    key: &Key,
    trials: Vec<Trial>,
    mut run: impl FnMut(&Trial) -> ctk_token::Result<()>,
) -> KeyReport {
    let results = trials.into_iter().map(|trial| {
        let tested = run(&trial);
        AlgorithmReport {
            algorithm: trial.name,
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

fn show(console: &Console, report: &Report) -> Outcome {
    if console.json {
        return console.object(report);
    }
    if report.keys.is_empty() {
        return console.text("The password is right. There is no key to use.\n");
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
    let rows = report.keys.iter().flat_map(|key| {
        let tried = key.results.iter().map(|result| {
            let said = if result.ok { "OK" } else { "FAILED" };
            row(key, result.algorithm, said.to_owned())
        });
        match key.results.is_empty() {
            true => vec![row(key, "-", "not supported".to_owned())],
            false => tried.collect(),
        }
    });
    let rows: Vec<_> = rows.collect();
    let mut text = table(&["LABEL", "KEY", "ALGORITHM", "RESULT", "ID"], &rows);
    // Reasons are long, and stand below.
    for key in &report.keys {
        for result in &key.results {
            if let Some(error) = &result.error {
                let (label, algorithm) = (printable(&key.label), result.algorithm);
                text += &format!("\n{label}, {algorithm}: {}\n", printable(error));
            }
        }
    }
    console.text(&text)
}
