//! What a person chooses about a token by options, for `ctk add` and `ctk update` alike.

use std::path::Path;

use ctk_host::{
    PinSource, TokenConfig,
    config::{Login, MAX_NAME, check_label, check_name, cut_label},
};

use crate::{
    args::{LoginArgument, SettingArguments},
    console::{Console, Failure, Outcome, failure},
};

/// Applies the options that were given. Nothing is written yet.
pub(crate) fn apply(settings: &SettingArguments, token: &mut TokenConfig) -> Outcome {
    if let Some(label) = &settings.label {
        token.label.clone_from(label);
    }
    token.order = settings.order.unwrap_or(token.order);
    token.removable = settings.removable.unwrap_or(token.removable);
    token.commands = settings.commands.unwrap_or(token.commands);
    if let Some(pin) = &settings.pin {
        token.pin = absolute(pin)?;
        if *pin == PinSource::App {
            token.login = Login::App;
        }
    }
    token.login = match settings.login {
        None => token.login,
        Some(LoginArgument::App) => Login::App,
        Some(LoginArgument::OnUse) => Login::OnUse,
    };
    if token.login == Login::OnUse && token.pin == PinSource::App {
        let message = "--login on-use needs a stored PIN: add --pin file:PATH, env:NAME, credential:NAME or command:PROGRAM";
        return Err(Failure::Usage(message.to_owned()));
    }
    let lists = [
        (&settings.hide, &mut token.hidden),
        (&settings.programs, &mut token.programs),
        (&settings.not_programs, &mut token.not_programs),
    ];
    for (given, list) in lists {
        if !given.is_empty() {
            *list = given
                .iter()
                .filter(|entry| !entry.is_empty())
                .cloned()
                .collect();
        }
    }
    check_commands(token)
}

/// Refuses a secret from a command before the command is run, unless the person allows that.
pub(crate) fn check_commands(token: &TokenConfig) -> Outcome {
    match token.needs_commands() && !token.commands {
        true => Err(Failure::Usage(
            "command: as the source of a secret needs --commands (commands = true in the configuration), for whoever uses the token runs that program".to_owned(),
        )),
        false => Ok(()),
    }
}

/// Refuses an option that hides nothing: a person who mistypes would believe a key to be hidden.
pub(crate) fn check_hidden(settings: &SettingArguments, token: &TokenConfig) -> Outcome {
    for hidden in settings.hide.iter().filter(|hidden| !hidden.is_empty()) {
        if !hides_something(hidden, token) {
            return failure(format!(
                "--hide {hidden:?}: no key or certificate of this token has this id or label; nothing was changed"
            ));
        }
    }
    Ok(())
}

/// Says which entries of `hidden` hide nothing any more: a renewed key has another id, so that it would be seen again
/// without a word.
pub(crate) fn warn_of_hiding_nothing(console: &Console, token: &TokenConfig) {
    for hidden in hiding_nothing(token) {
        console.warn(format!(
            "token {:?}: hidden = {hidden:?} hides nothing any more: no id or label is like this; give the new one to \
             `ctk update {} --hide`",
            token.name, token.name
        ));
    }
}

/// The entries of `hidden` that hide nothing of this token.
pub(crate) fn hiding_nothing(token: &TokenConfig) -> impl Iterator<Item = &str> {
    let entries = token.hidden.iter().map(String::as_str);
    entries.filter(|hidden| !hides_something(hidden, token))
}

/// Whether an entry of `hidden` hides something of this token.
pub(crate) fn hides_something(hidden: &str, token: &TokenConfig) -> bool {
    let only = TokenConfig {
        hidden: vec![hidden.to_owned()],
        ..token.clone()
    };
    let keys = token
        .contents
        .keys
        .iter()
        .map(|key| (&key.identity, &key.label));
    let certificates = token.contents.certificates.iter();
    let certificates = certificates.map(|certificate| (&certificate.identity, &certificate.label));
    keys.chain(certificates)
        .any(|(identity, label)| only.hides(identity, label))
}

/// A path on the command line begins where the person is.
fn absolute(pin: &PinSource) -> Outcome<PinSource> {
    Ok(match pin {
        PinSource::File(path) => PinSource::File(std::path::absolute(path)?),
        other => other.clone(),
    })
}

/// What a token is called of whose file's name nothing can stand in a name.
pub(crate) const UNNAMED: &str = "token";

/// A name made of a file's: what cannot stand in one becomes `-`.
pub(crate) fn name_of(file: &Path) -> String {
    name_from(&file.file_stem().unwrap_or_default().to_string_lossy())
}

/// A name made of any text.
pub(crate) fn name_from(text: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || "._-".contains(c) {
            c
        } else {
            '-'
        }
    };
    let name: String = text.chars().map(plain).take(MAX_NAME).collect();
    let name = name.trim_matches(['-', '.']);
    match check_name(name) {
        Ok(()) => name.to_owned(),
        Err(_) => UNNAMED.to_owned(),
    }
}

/// A label made of a file's name.
pub(crate) fn label_of(file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let label: String = stem
        .chars()
        .map(|c| if c == ':' || c.is_control() { ' ' } else { c })
        .collect();
    let label = cut_label(label.trim()).trim_end();
    match check_label(label) {
        Ok(()) => label.to_owned(),
        Err(_) => name_of(file),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_labels_come_from_file_names() {
        for (file, name, label) in [
            ("/k/work.p12", "work", "work"),
            ("/k/My Key: new.p12", "My-Key--new", "My Key  new"),
            ("/k/Bär.pfx", "B-r", "Bär"),
            ("/k/...p12", "token", ".."),
            ("/k/日本.p12", "token", "日本"),
        ] {
            assert_eq!(name_of(Path::new(file)), name, "{file}");
            assert_eq!(label_of(Path::new(file)), label, "{file}");
        }
        let long = "n".repeat(100);
        assert_eq!(name_of(Path::new(&long)).len(), MAX_NAME);
        assert_eq!(label_of(Path::new(&long)).len(), 32);
    }
}
