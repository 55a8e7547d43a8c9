//! `ctk remove`: forgets a token. The file with its keys is the person's and stays.

use std::{collections::BTreeSet, path::PathBuf};

use ctk_host::{Problem, config::write, pkcs12};

use crate::{
    args::RemoveArguments,
    console::{Console, Named, Outcome, failure, short},
    network,
};

pub(crate) fn run(console: &Console, arguments: &RemoveArguments) -> Outcome {
    let name = &arguments.name;
    let (mut secrets, mut is_network) = (Vec::new(), false);
    let (place, file, advice) = match console.named(name)? {
        Named::Token(token) => {
            let file = token.settings.path(pkcs12::FILE).map(ToOwned::to_owned);
            secrets = network::secret_files(&token.settings);
            is_network = network::is_network(&token.driver);
            (token.place.file, file, "")
        }
        Named::Broken(problems) => (
            place_of(name, &problems)?,
            None,
            "; or delete the file, if nothing else is in it",
        ),
    };
    if !arguments.yes {
        console.confirm(
            &match is_network {
                true => format!("Remove token {name:?}? Its keys stay at the service. [y/N]"),
                false => format!("Remove token {name:?}? Its file stays. [y/N]"),
            },
            &["y", "yes"],
            &format!("to remove token {name:?}: ctk remove --yes {name}"),
            "nothing was removed",
        )?;
    }
    write::remove(name, &place, &console.environment)
        .or_else(|problem| failure(format!("{problem}{advice}")))?;
    if console.json {
        return console.object(&serde_json::json!({
            "name": name,
            "configuration": place,
            "file": file,
        }));
    }
    let stay: Vec<_> = file.into_iter().chain(secrets).collect();
    let stay: Vec<_> = (stay.iter())
        .map(|file| short(file, &console.environment))
        .collect();
    let stays = match stay.as_slice() {
        [] => String::new(),
        [file] => format!("; {file} stays"),
        files => format!("; {} stay", files.join(", ")),
    };
    console.text(&format!("Removed token {name:?}{stays}\n"))
}

/// The file that a token which cannot be used stands in.
fn place_of(name: &str, problems: &[Problem]) -> Outcome<PathBuf> {
    let files: BTreeSet<_> = problems.iter().map(|problem| &problem.file).collect();
    let mut files = files.into_iter();
    match (files.next(), files.next()) {
        (Some(file), None) => Ok(file.clone()),
        (Some(first), Some(second)) => failure(format!(
            "token {name:?} stands in {} and {}; take it out of one of them by hand",
            first.display(),
            second.display()
        )),
        (None, _) => failure(format!("no token {name:?}")),
    }
}
