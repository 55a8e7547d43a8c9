//! `ctk update` of a network token: other settings, and what the service has then.

use std::collections::BTreeMap;

use ctk_host::{PinSource, TokenConfig, config::write, network::Protocol};

use super::{
    args::rows,
    ask::parse,
    difference::{difference, keeping},
    service,
    split::{belonging, check_pins},
};
use crate::{
    add,
    args::{SettingArguments, UpdateArguments},
    console::{Console, Failure, Outcome, failure},
    serial, settings,
};

/// Changes what is configured. The service is asked again if it is reached in another way now, and if nothing is changed.
pub(crate) fn run(
    console: &Console,
    arguments: &UpdateArguments,
    mut token: TokenConfig,
    protocol: &'static Protocol,
) -> Outcome {
    let name = token.name.clone();
    if arguments.file.is_some() {
        return Err(Failure::Usage(format!(
            "token {name:?} is at a service and has no file; ctk update {name} --set NAME=VALUE changes how it is reached"
        )));
    }
    set(&arguments.set, protocol, &mut token)?;
    settings::apply(&arguments.settings, &mut token)?;
    let is_asked = !arguments.set.is_empty() || arguments.settings == SettingArguments::default();
    if is_asked {
        let found = service::list_some(console, &token, |row| format!("--set {}=VALUE", row.name))?;
        let (contents, others) = belonging(&token, found.contents, protocol, &console.environment)?;
        for other in others {
            console.warn(other);
        }
        let contents = keeping(&token.contents, contents);
        let difference = difference(&token.contents, &contents);
        if !console.json {
            let lines = match difference.is_none() {
                true => vec!["The service has what was stored.".to_owned()],
                false => difference.lines(),
            };
            console.text(
                &lines
                    .iter()
                    .map(|line| format!("{line}\n"))
                    .collect::<String>(),
            )?;
        }
        token.contents = contents;
        if token.serial.is_empty() {
            token.serial = serial::serial(&token.contents).or_else(failure)?;
        }
    }
    let has_new_pin = !matches!(arguments.settings.pin, None | Some(PinSource::App));
    if has_new_pin && check_pins(&token, protocol, &console.environment).0 == Some(0) {
        return Err(Failure::Usage(format!(
            "--pin: no key of token {name:?} has a PIN, so leave it out; nothing was changed"
        )));
    }
    settings::check_hidden(&arguments.settings, &token)?;
    settings::warn_of_hiding_nothing(console, &token);
    write::update(&token, &console.environment)?;
    if arguments.settings.pin.is_some() {
        warn_of_untried_pin(console, &token);
    }
    add::done(console, "Updated", &token)
}

/// A PIN is tried only by using a key, which the service may charge for.
pub(crate) fn warn_of_untried_pin(console: &Console, token: &TokenConfig) {
    if token.pin != PinSource::App {
        console.warn(format!(
            "the PIN from {} was not tried: ctk test {} does that, with one use of each key",
            token.pin, token.name
        ));
    }
}

/// Applies what `--set` says: the last value of a name, all of them for a list, and an empty one takes the setting away.
fn set(given: &[String], protocol: &'static Protocol, token: &mut TokenConfig) -> Outcome {
    let mut texts: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for given in given {
        let Some((name, value)) = given.split_once('=') else {
            return Err(Failure::Usage(
                "--set wants NAME=VALUE; nothing was changed".to_owned(),
            ));
        };
        texts.entry(name).or_default().push(value);
    }
    for (name, texts) in texts {
        let Some((row, _)) = rows(protocol).find(|(row, _)| row.name == name) else {
            let known: Vec<_> = rows(protocol).map(|(row, _)| row.name).collect();
            return Err(Failure::Usage(format!(
                "--set: {} has no setting {name:?}; there are: {}",
                protocol.title,
                known.join(", ")
            )));
        };
        let texts: Vec<_> = texts.into_iter().filter(|text| !text.is_empty()).collect();
        if !texts.is_empty() {
            token
                .settings
                .0
                .insert(name.to_owned(), parse(row, &texts)?);
        } else if row.required {
            return Err(Failure::Usage(format!(
                "--set: {} cannot do without {name}; nothing was changed",
                protocol.title
            )));
        } else {
            token.settings.0.remove(name);
        }
    }
    Ok(())
}
