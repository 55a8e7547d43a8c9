//! `ctk update`: takes over a renewed file, or changes what is configured.

use std::collections::HashSet;

use ctk_host::{
    Configuration, TokenConfig,
    config::{Contents, Setting, write},
    pkcs12,
};

use crate::{
    add,
    args::{SettingArguments, UpdateArguments},
    console::{Console, Failure, Outcome, failure},
    contents, network, serial, settings,
};

pub(crate) fn run(console: &Console, arguments: &UpdateArguments) -> Outcome {
    let mut token = console.token(&arguments.name)?;
    if let Some(protocol) = ctk_host::network::protocol(&token.driver) {
        return network::update(console, arguments, token, protocol);
    }
    if !arguments.set.is_empty() {
        return Err(Failure::Usage(format!(
            "--set is for network tokens, and token {:?} has a file",
            token.name
        )));
    }
    settings::apply(&arguments.settings, &mut token)?;
    if arguments.file.is_some() || arguments.settings == SettingArguments::default() {
        read_again(console, arguments, &mut token)?;
    } else if arguments.settings.pin.is_some() {
        let strict = contents::is_strict(&token, &arguments.settings);
        contents::check_pin(console, &token, strict)?;
    }
    settings::check_hidden(&arguments.settings, &token)?;
    settings::warn_of_hiding_nothing(console, &token);
    write::update(&token, &console.environment)?;
    add::done(console, "Updated", &token)
}

fn read_again(console: &Console, arguments: &UpdateArguments, token: &mut TokenConfig) -> Outcome {
    let named = arguments
        .file
        .as_deref()
        .or_else(|| token.settings.path(pkcs12::FILE));
    let Some(named) = named.map(ToOwned::to_owned) else {
        return failure(format!("token {:?} has no file", token.name));
    };
    let file = add::existing(&named)?;
    let configuration = Configuration::read(&console.environment);
    add::check_file(token, &file, &configuration, Some(&token.name))?;
    contents::refuse_pem(&named, &file)?;
    let strict = contents::is_strict(token, &arguments.settings);
    let contents = contents::read(console, token, &named, &file, strict)?;
    if !console.json {
        console.text(&format!("{}\n", difference(&token.contents, &contents)))?;
    }
    if arguments.file.is_some() && !contents::share_a_key(&token.contents, &contents) {
        console.warn(format!(
            "{} has none of the keys that token {:?} had; if it is another identity: ctk add",
            file.display(),
            token.name
        ));
    }
    token.contents = contents;
    add::warn_of_twins(console, token, &configuration);
    // It stays the same token for programs that know it by its serial number.
    if token.serial.is_empty() {
        token.serial = serial::serial(&token.contents).or_else(failure)?;
    }
    // A path that a person wrote by links stays.
    if arguments.file.is_some() {
        token
            .settings
            .0
            .insert(pkcs12::FILE.to_owned(), Setting::Path(file));
    }
    Ok(())
}

fn difference(old: &Contents, new: &Contents) -> String {
    let keys = |contents: &Contents| -> HashSet<Vec<u8>> {
        contents
            .keys
            .iter()
            .map(|key| key.identity.clone())
            .collect()
    };
    let certificates = |contents: &Contents| -> HashSet<Vec<u8>> {
        contents
            .certificates
            .iter()
            .map(|certificate| certificate.der.clone())
            .collect()
    };
    let count = |what: &str, old: &HashSet<Vec<u8>>, new: &HashSet<Vec<u8>>| {
        let (added, gone) = (new.difference(old).count(), old.difference(new).count());
        let plural = if new.len() == 1 { "" } else { "s" };
        format!("{} {what}{plural} ({added} new, {gone} gone)", new.len())
    };
    format!(
        "The file holds {} and {}.",
        count("key", &keys(old), &keys(new)),
        count("certificate", &certificates(old), &certificates(new))
    )
}
