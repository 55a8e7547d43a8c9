//! A command line that cannot be understood: what is said of it, and what is not repeated.

use std::{error::Error, process::ExitCode};

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::{
    console::{Console, Failure},
    network,
};

/// Prints what is wrong with the command line, or the help that it asked for.
pub(crate) fn refuse(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let json = std::env::args_os().any(|argument| argument == "--json");
    let secret = without_secret(error);
    if secret.is_none() && !json {
        let _ = error.print();
        return ExitCode::from(2);
    }
    let message = secret.unwrap_or_else(|| {
        let text = error.to_string();
        text.strip_prefix("error: ")
            .unwrap_or(&text)
            .trim_end()
            .to_owned()
    });
    Console::new(json).exit_code(Err(Failure::Usage(message)))
}

fn too_many() -> String {
    let mut arguments = std::env::args_os().filter_map(|it| it.into_string().ok());
    let service = arguments.find(|argument| network::is_network(argument));
    match service {
        Some(service) => format!(
            "options of a service stand after its kind: ctk add {service} [OPTIONS]; for a file of this name: ./{service}"
        ),
        None => {
            "there is an argument too many; a password is never one, it is asked for (ctk help)"
                .to_owned()
        }
    }
}

/// What could be a PIN where a command should stand.
fn looks_secret(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_digit())
}

/// What to say of a value that is probably a PIN or a password: it would be repeated on the screen and in logs.
fn without_secret(error: &clap::Error) -> Option<String> {
    if let Some(ContextValue::String(command)) = error.get(ContextKind::InvalidSubcommand)
        && looks_secret(command)
    {
        return Some(
            "a command is missing; a PIN is never written here, it is asked for (ctk help)"
                .to_owned(),
        );
    }
    // What follows a file is taken for a kind of service.
    if let Some(ContextValue::String(command)) = error.get(ContextKind::InvalidSubcommand)
        && error.kind() == ErrorKind::ArgumentConflict
        && !network::is_network(command)
    {
        return Some(too_many());
    }
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    match error.kind() {
        ErrorKind::ValueValidation if argument.ends_with("<SOURCE>") => {
            let option = argument.split(' ').next().unwrap_or_default();
            let reason = error.source().map(ToString::to_string);
            Some(format!("{option}: {}", reason.unwrap_or_default()))
        }
        ErrorKind::UnknownArgument if !argument.starts_with('-') => Some(too_many()),
        _ => None,
    }
}
