//! `ctk passwd`: gives a token's file another password.

use std::path::PathBuf;

use ctk_host::{
    PinSource, TokenConfig,
    config::{Login, write},
    pkcs12,
};
use ctk_token::{AuthSecret, Role, TokenError};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::{
    card,
    console::{Console, Outcome, failure},
    contents, facts, network,
    password::{ask, with_password},
};

/// What is said where standard input ends after the old password.
const NEW_MISSING: &str = "the new password is missing, and nothing was changed: standard input has the old one and the \
                           new one, each as one line";

#[derive(Serialize)]
struct Changed {
    name: String,
    file: Option<PathBuf>,
}

pub(crate) fn run(console: &Console, name: &str) -> Outcome {
    if let Some(card) = card::named(console, name)? {
        return failure(format!(
            "{} is no file: ctk pin change --reader {:?} gives it another PIN",
            card.named(),
            card.reader
        ));
    }
    let config = console.token(name)?;
    if network::is_network(&config.driver) {
        return failure(format!(
            "token {name:?} is at a service ({}), which keeps its PINs: change them there, by its own application or site",
            network::called(&config)
        ));
    }
    // The person gives both passwords, whatever programs are given.
    let open = TokenConfig {
        pin: PinSource::App,
        login: Login::App,
        ..config.clone()
    };
    let token = facts::slot(&open, &console.environment).and_then(|slot| slot.token());
    let Some(token) = token else {
        return failure(format!("token {name:?} is not present"));
    };
    let session = token.create_session().or_else(failure)?;
    // Nobody is asked for a new one before the old one is right.
    let old = with_password(
        console,
        &format!("Password of token {name:?}: "),
        |old| {
            let login = session.begin_auth(Role::User, None)?;
            login.finish(AuthSecret::Pin(old))?;
            Ok(Zeroizing::new(old.to_vec()))
        },
        |error| format!("token {name:?}: {error}"),
    )?;
    session.end_auth(Role::User);
    let new = ask_new(console)?;
    session
        .change_pin(Role::User, AuthSecret::Pin(&old), &new)
        .or_else(|error| failure(format!("{}; nothing was changed", explain(&config, &error))))?;
    done(console, &config, &new)
}

/// A person at a terminal types it twice, because nobody sees what is typed.
fn ask_new(console: &Console) -> Outcome<Zeroizing<Vec<u8>>> {
    let new = ask(console, "New password: ", NEW_MISSING)?;
    if console.is_interactive() && *ask(console, "New password again: ", NEW_MISSING)? != *new {
        return failure("the two new passwords differ; nothing was changed");
    }
    Ok(new)
}

fn done(console: &Console, config: &TokenConfig, new: &[u8]) -> Outcome {
    let (name, file) = (&config.name, config.settings.path(pkcs12::FILE));
    let found = file.and_then(|file| pkcs12::inspect(file, new).ok());
    if found.is_some_and(|found| contents::is_same(&found.contents, &config.contents)) {
        // Written again as it is: ctk doctor takes a file that is newer for a renewed one. The machine's configuration may
        // not be ours to write, and then it says so without need.
        let _ = write::update(config, &console.environment);
    }
    if config.pin != PinSource::App {
        console.warn(format!(
            "programs log in to token {name:?} with the PIN from {}, which is the old one: write the new one there",
            config.pin
        ));
    }
    if console.json {
        return console.object(&Changed {
            name: name.clone(),
            file: file.map(Into::into),
        });
    }
    console.text(&format!("Token {name:?} has a new password.\n"))
}

fn explain(config: &TokenConfig, error: &TokenError) -> String {
    match error {
        TokenError::DataInvalid => "the new password is not text in UTF-8".to_owned(),
        // The key store's own words name the file.
        TokenError::ReadOnly(reason)
        | TokenError::Unreachable(reason)
        | TokenError::Corrupted(reason) => reason.to_string(),
        error => format!("token {:?}: {error}", config.name),
    }
}
