//! `ctk remove`: forgets a token. The file with its keys is the person's and stays.

use std::io::{self, BufRead, Write};

use ctk_host::{config::write, pkcs12};

use crate::{
    args::RemoveArguments,
    console::{Console, Failure, Outcome, short},
};

pub(crate) fn run(console: &Console, arguments: &RemoveArguments) -> Outcome {
    let token = console.token(&arguments.name)?;
    let file = token.settings.path(pkcs12::FILE);
    if !arguments.yes {
        confirm(console, &token.name)?;
    }
    write::remove(&token, &console.environment)?;
    if console.json {
        return console.object(&serde_json::json!({
            "name": token.name,
            "configuration": token.place.file,
            "file": file,
        }));
    }
    let stays = match file {
        Some(file) => format!("; {} stays", short(file, &console.environment)),
        None => String::new(),
    };
    console.text(&format!("Removed token {:?}{stays}\n", token.name))
}

fn confirm(console: &Console, name: &str) -> Outcome {
    if !console.is_interactive() {
        let message =
            format!("nobody can be asked here; to remove token {name:?}: ctk remove --yes {name}");
        return Err(Failure::Usage(message));
    }
    let mut out = io::stderr();
    write!(out, "Remove token {name:?}? Its file stays. [y/N] ")?;
    out.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::Said("nothing was removed".to_owned())),
    }
}
