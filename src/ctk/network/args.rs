//! The command line of network tokens: each protocol is a subcommand of `ctk add`, each of its settings an option.

use std::path::PathBuf;

use clap::{
    Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, Subcommand, error::ErrorKind,
    value_parser,
};
use ctk_host::{
    SecretSource,
    config::{Setting, Settings},
    network::{self, Kind, Protocol, SettingRow},
};

use crate::args::NewArguments;

/// The setting of protocols that have PINs: it makes one token of several keys with one.
pub(crate) const SHARED_PIN: &str = "shared_pin";
/// The setting with a service's addresses: arguments of their own where a token must have them.
pub(crate) const ENDPOINTS: &str = "endpoints";

const OF_SERVICE: &str = "The service";
const OF_CONNECTION: &str = "The way to it";

/// Which service, and all that was said of it.
#[derive(Debug)]
pub(crate) struct ServiceArguments {
    pub(crate) protocol: &'static Protocol,
    pub(crate) given: Settings,
    pub(crate) new: NewArguments,
}

impl Subcommand for ServiceArguments {
    fn augment_subcommands(command: Command) -> Command {
        command.subcommands(network::protocols().iter().map(|it| subcommand(it)))
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        Self::augment_subcommands(command)
    }

    fn has_subcommand(name: &str) -> bool {
        network::protocol(name).is_some()
    }
}

impl FromArgMatches for ServiceArguments {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let missing = || clap::Error::new(ErrorKind::MissingSubcommand);
        let (name, matches) = matches.subcommand().ok_or_else(missing)?;
        let protocol = network::protocol(name).ok_or_else(missing)?;
        let given = rows(protocol).filter_map(|(row, _)| {
            let value = value(row, matches)?;
            Some((row.name.to_owned(), value))
        });
        Ok(Self {
            protocol,
            given: Settings(given.collect()),
            new: NewArguments::from_arg_matches(matches)?,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// All settings of a protocol, each with what it is about.
pub(crate) fn rows(
    protocol: &'static Protocol,
) -> impl Iterator<Item = (&'static SettingRow, &'static str)> {
    let own = protocol.settings.iter().map(|row| (row, OF_SERVICE));
    let shared = network::SHARED_SETTINGS.iter();
    own.chain(shared.map(|row| (row, OF_CONNECTION)))
}

/// The option of a setting, as a person writes it.
pub(crate) fn option(row: &SettingRow) -> String {
    format!("--{}", long(row))
}

/// The same with what stands after it.
pub(crate) fn given_as(row: &SettingRow) -> String {
    match (is_positional(row), row.kind) {
        (true, _) => "URL".to_owned(),
        (_, Kind::Flag) => option(row),
        (_, Kind::Secret) => format!("{} SOURCE", option(row)),
        _ => format!("{} {}", option(row), value_name(row)),
    }
}

/// Of a list, the option is given once for each entry, and so is called after one.
fn long(row: &SettingRow) -> String {
    let name = match row.kind {
        Kind::Texts => row.name.strip_suffix('s').unwrap_or(row.name),
        _ => row.name,
    };
    name.replace('_', "-")
}

fn subcommand(protocol: &'static Protocol) -> Command {
    let about = format!(
        "Register the keys of a service as tokens: {}",
        protocol.title
    );
    let command = Command::new(protocol.name).after_help(SOURCES);
    let has_pin = rows(protocol).any(|(row, _)| row.name == SHARED_PIN);
    let command = NewArguments::augment_args(command)
        .about(about)
        .mut_arg("pin", |it| it.hide(!has_pin))
        .mut_arg("login", |it| it.hide(!has_pin))
        .mut_arg("name", |it| it.help(NAME_HELP))
        .mut_arg("label", |it| it.help(LABEL_HELP));
    rows(protocol).fold(command, |command, (row, heading)| {
        let argument = argument(row);
        command.arg(match is_positional(row) {
            true => argument,
            false => argument.help_heading(heading),
        })
    })
}

const SOURCES: &str = "\
A SOURCE says where a secret is, and is never the secret itself: file:PATH (which only its owner may read), env:NAME, \
credential:NAME (of systemd), or command:PROGRAM with --commands. What is missing is asked for at a terminal.";
const NAME_HELP: &str =
    "What commands call the token, and with -2, -3 … further ones [default: from the service]";
const LABEL_HELP: &str = "What programs show [default: from the certificate or the service]";

fn argument(row: &'static SettingRow) -> Arg {
    let argument = Arg::new(row.name).help(row.about);
    if is_positional(row) {
        return argument
            .value_name("URL")
            .num_args(0..)
            .action(ArgAction::Append);
    }
    let argument = argument.long(long(row));
    match row.kind {
        Kind::Text => argument.value_name(value_name(row)),
        Kind::Texts => argument
            .value_name(value_name(row))
            .help(format!("{}; can be given several times", row.about))
            .action(ArgAction::Append),
        Kind::Path => argument
            .value_name("PATH")
            .value_parser(value_parser!(PathBuf)),
        Kind::Flag => argument.action(ArgAction::SetTrue),
        Kind::Number => argument
            .value_name(match row.name.ends_with("_timeout") {
                true => "SECONDS",
                false => "NUMBER",
            })
            .value_parser(value_parser!(i64)),
        Kind::Secret => argument
            .value_name("SOURCE")
            .value_parser(SecretSource::parse),
    }
}

fn value_name(row: &SettingRow) -> String {
    long(row).replace('-', "_").to_uppercase()
}

/// Whether the setting is an argument without an option.
pub(crate) fn is_positional(row: &SettingRow) -> bool {
    row.name == ENDPOINTS && row.required
}

fn value(row: &SettingRow, matches: &ArgMatches) -> Option<Setting> {
    Some(match row.kind {
        Kind::Text => Setting::Text(matches.get_one::<String>(row.name)?.clone()),
        Kind::Texts => {
            let texts = matches.get_many::<String>(row.name)?;
            Setting::Texts(each_once(texts.map(String::as_str)))
        }
        Kind::Path => {
            let path = matches.get_one::<PathBuf>(row.name)?;
            Setting::Path(std::path::absolute(path).unwrap_or_else(|_| path.clone()))
        }
        Kind::Flag => matches.get_flag(row.name).then_some(Setting::Flag(true))?,
        Kind::Number => Setting::Number(*matches.get_one(row.name)?),
        Kind::Secret => {
            let source = matches.get_one::<SecretSource>(row.name)?;
            Setting::Secret(absolute(source.clone()))
        }
    })
}

/// A list without repetitions: one thing is not two because it is said twice.
pub(crate) fn each_once<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut list: Vec<String> = Vec::new();
    for text in texts {
        if !list.iter().any(|known| known == text) {
            list.push(text.to_owned());
        }
    }
    list
}

/// A path on the command line begins where the person is.
pub(crate) fn absolute(source: SecretSource) -> SecretSource {
    match source {
        SecretSource::File(path) => SecretSource::File(std::path::absolute(&path).unwrap_or(path)),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Arguments, Command};

    fn parse(arguments: &[&str]) -> Result<ServiceArguments, clap::Error> {
        let arguments = Arguments::try_parse_from([&["ctk", "add"], arguments].concat())?;
        match arguments.command {
            Command::Add(add) => Ok(add.service.unwrap()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_setting_of_every_protocol_has_an_option() {
        for protocol in network::protocols() {
            let mut arguments = vec![protocol.name.to_owned()];
            for (row, _) in rows(protocol) {
                let value = match row.kind {
                    Kind::Text | Kind::Texts => "value",
                    Kind::Path => "/some/path",
                    Kind::Flag => "",
                    Kind::Number => "7",
                    Kind::Secret => "env:NAME",
                };
                match (is_positional(row), value) {
                    (true, value) => arguments.push(value.to_owned()),
                    (_, "") => arguments.push(option(row)),
                    (_, value) => arguments.extend([option(row), value.to_owned()]),
                }
            }
            let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
            let parsed = parse(&arguments).unwrap();
            assert_eq!(parsed.protocol.name, protocol.name);
            let given = &parsed.given;
            assert_eq!(given.0.len(), rows(protocol).count());
            for (row, _) in rows(protocol) {
                let is_right = match row.kind {
                    Kind::Text => given.text(row.name) == Some("value"),
                    Kind::Texts => given.texts(row.name) == ["value"],
                    Kind::Path => given.path(row.name) == Some("/some/path".as_ref()),
                    Kind::Flag => given.flag(row.name),
                    Kind::Number => given.number(row.name) == Some(7),
                    Kind::Secret => given.secret(row.name).unwrap().to_string() == "env:NAME",
                };
                assert!(is_right, "{} {}", protocol.name, row.name);
            }
            // What was not said is not there.
            assert!(parse(&[protocol.name]).unwrap().given.0.is_empty());
        }
    }

    #[test]
    fn a_list_is_given_entry_by_entry_and_a_path_from_here_on() {
        let more = [
            "aws-kms", "--key", "alias/a", "--key", "alias/b", "--key", "alias/a",
        ];
        let secret = [
            "--secret-access-key",
            "file:key",
            "--name",
            "n",
            "--label",
            "L",
        ];
        let parsed = parse(&[&more[..], &secret].concat()).unwrap();
        assert_eq!(parsed.given.texts("keys"), ["alias/a", "alias/b"]);
        let here = std::env::current_dir().unwrap().join("key");
        let source = SecretSource::File(here);
        assert_eq!(parsed.given.secret("secret_access_key"), Some(&source));
        assert_eq!(parsed.new.name.as_deref(), Some("n"));
        assert_eq!(parsed.new.settings.label.as_deref(), Some("L"));
        let urls = parse(&["csc", "https://a/csc/v1", "https://b/csc/v1"]).unwrap();
        assert_eq!(urls.given.texts("endpoints").len(), 2);
    }

    #[test]
    fn a_file_of_this_name_is_given_with_its_folder() {
        let parsed = Arguments::try_parse_from(["ctk", "add", "./csc"]).unwrap();
        let Command::Add(add) = parsed.command else {
            panic!("not add");
        };
        assert_eq!(add.file, Some("./csc".into()));
        assert!(add.service.is_none());
    }
}
