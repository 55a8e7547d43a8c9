//! What a service needs to be asked and nobody has said yet: questions at a terminal, or what to write on the command line.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::PathBuf,
};

use ctk_host::{
    SecretSource, Unwritten,
    config::{Scope, Setting, Settings},
    network::{Kind, Protocol, SettingRow},
};
use zeroize::Zeroizing;

use super::args::{absolute, each_once, given_as, is_positional, option, rows};
use crate::{
    console::{Console, Failure, Outcome, failure, short},
    sys::EchoKept,
};

/// How a person or machine is known to a service, where there are several ways.
pub(crate) const AUTHENTICATION: &str = "authentication";

/// What each way of being known to a service wants, by the names of settings.
const NEEDED: [(&str, &[&str]); 5] = [
    ("bearer", &["bearer"]),
    ("basic", &["user", "password"]),
    ("oauth2-client", &["client_id", "client_secret"]),
    ("oauth2-password", &["client_id", "user", "password"]),
    ("tls", &["client_certificate", "client_key"]),
];

/// The settings that this way of being known to a service wants.
pub(crate) fn needed(way: &str) -> &'static [&'static str] {
    let needed = NEEDED.iter().find(|(known, _)| *known == way);
    needed.map_or(&[], |(_, names)| names)
}

/// How often a source is asked for that is none.
const TRIES: usize = 3;

/// Longest secret that can be typed, in bytes: of a line of 4096 or more a terminal hands over only the beginning.
const MAX_SECRET: usize = 4000;

/// Secrets that were typed, in files now. They go again if the command does not do its work.
#[derive(Debug, Default)]
pub(crate) struct Written(Vec<PathBuf>);

impl Written {
    /// Writes each into its file, which nobody else can read.
    pub(crate) fn new(console: &Console, typed: &Unwritten) -> Outcome<Self> {
        let mut written = Self::default();
        for (file, secret) in typed.files() {
            let shown = short(file, &console.environment);
            write_secret(file, secret)
                .or_else(|error| failure(format!("{shown} cannot be written: {error}")))?;
            written.0.push(file.to_owned());
        }
        Ok(written)
    }

    /// They stay.
    pub(crate) fn keep(mut self) -> Vec<PathBuf> {
        std::mem::take(&mut self.0)
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        for file in &self.0 {
            let _ = fs::remove_file(file);
        }
    }
}

/// Asks for what every token of this protocol must have.
pub(crate) fn required(
    console: &Console,
    protocol: &'static Protocol,
    settings: &mut Settings,
) -> Outcome {
    for (row, _) in rows(protocol).filter(|(row, _)| row.required) {
        if settings.0.contains_key(row.name) {
            continue;
        }
        if !console.is_interactive() {
            return Err(missing(protocol, &[row]));
        }
        if row.kind == Kind::Secret {
            continue; // Asked for with the other secrets, when the token has a name.
        }
        let setting = ask(console, row)?;
        settings.0.insert(row.name.to_owned(), setting);
    }
    ask_region(console, protocol, settings)
}

/// Asks for the region of a cloud where nothing else tells it. Who types none has it where the service's own tools look.
fn ask_region(console: &Console, protocol: &'static Protocol, settings: &mut Settings) -> Outcome {
    const REGION: &str = "region";
    let mut rows = rows(protocol).map(|(row, _)| row);
    let is_given = |name: &&str| settings.0.contains_key(*name);
    let is_told = [REGION, "profile", "keys"].iter().any(is_given)
        || ["AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"]
            .iter()
            .any(|name| (console.environment.variable)(name).is_some());
    let Some(row) = rows.find(|row| row.name == REGION) else {
        return Ok(());
    };
    if is_told || !console.is_interactive() {
        return Ok(());
    }
    let answer = console.ask(&format!("{}: ", row.about))?;
    if !answer.is_empty() {
        let region = Setting::Text(answer);
        settings.0.insert(row.name.to_owned(), region);
    }
    Ok(())
}

/// Asks how the service knows who asks, where there are several ways, and for what that wants. `name` is the token's. A
/// secret that was typed is in no file yet: whoever stops the command while the service is asked leaves none behind.
pub(crate) fn authentication(
    console: &Console,
    protocol: &'static Protocol,
    settings: &mut Settings,
    (name, scope): (&str, Scope),
) -> Outcome<Unwritten> {
    let find = |name: &str| {
        rows(protocol)
            .map(|(row, _)| row)
            .find(|row| row.name == name)
    };
    let mut typed = Unwritten::default();
    if let Some(row) = find(AUTHENTICATION)
        && !settings.0.contains_key(AUTHENTICATION)
        && let Some(way) = choose(console, row, settings)?
    {
        settings.0.insert(row.name.to_owned(), Setting::Text(way));
    }
    let chosen = settings.text(AUTHENTICATION).unwrap_or_default();
    let needed = needed(chosen);
    let is_wanted = |row: &SettingRow| row.required || needed.contains(&row.name);
    let wanted: Vec<_> = rows(protocol)
        .map(|(row, _)| row)
        .filter(|row| is_wanted(row) && !settings.0.contains_key(row.name))
        .collect();
    if !wanted.is_empty() && !console.is_interactive() {
        return Err(missing(protocol, &wanted));
    }
    for row in wanted {
        let setting = match row.kind {
            Kind::Secret => secret(console, row, (name, scope), &mut typed)?,
            _ => ask(console, row)?,
        };
        settings.0.insert(row.name.to_owned(), setting);
    }
    Ok(typed)
}

/// How the service is to know who asks: as what was given says, or as a person says. `None`: it is not to know.
fn choose(console: &Console, row: &SettingRow, settings: &Settings) -> Outcome<Option<String>> {
    if let Some(way) = meant(settings) {
        return Ok(Some(way.to_owned()));
    }
    let mut needed = NEEDED.iter().flat_map(|(_, names)| *names);
    let given = needed.find(|name| settings.0.contains_key(**name));
    if console.is_interactive() {
        let answer = console.ask(&format!("{}: ", row.about))?;
        return Ok((!answer.is_empty()).then_some(answer));
    }
    match given {
        None => Ok(None),
        Some(name) => Err(Failure::Usage(format!(
            "{name} alone does not say how the service is to know you; give the rest, or say it with {} ({})",
            option(row),
            row.about
        ))),
    }
}

/// The way of which all is given that it wants; of several the one that wants most.
fn meant(settings: &Settings) -> Option<&'static str> {
    let is_given = |names: &[&str]| names.iter().all(|name| settings.0.contains_key(*name));
    let complete = NEEDED.iter().filter(|(_, names)| is_given(names));
    // A certificate can come with any of the others.
    let way = complete.max_by_key(|(way, names)| (*way != "tls", names.len()));
    way.map(|(way, _)| *way)
}

/// What is said where nobody can be asked.
fn missing(protocol: &Protocol, rows: &[&SettingRow]) -> Failure {
    let wanted = rows.iter().map(|row| match is_positional(row) {
        true => format!("ctk add {} https://… ({})", protocol.name, row.about),
        false => format!("{} ({})", given_as(row), row.about),
    });
    let wanted: Vec<_> = wanted.collect();
    Failure::Usage(format!(
        "something is missing, and nobody can be asked here: {}",
        wanted.join(", ")
    ))
}

fn ask(console: &Console, row: &SettingRow) -> Outcome<Setting> {
    let answer = console.ask(&format!("{}: ", row.about))?;
    if answer.is_empty() {
        let what = row.name.replace('_', " ");
        return failure(format!("no {what} was typed; nothing was changed"));
    }
    match row.kind {
        Kind::Texts => parse(row, &answer.split_whitespace().collect::<Vec<_>>()),
        _ => parse(row, &[&answer]),
    }
}

/// The value of a setting as a person writes it; of several texts a list is made.
pub(crate) fn parse(row: &SettingRow, texts: &[&str]) -> Outcome<Setting> {
    let text = *texts.last().unwrap_or(&"");
    let wrong = |what: &str| {
        let name = row.name;
        Err(Failure::Usage(format!(
            "{name} must be {what}; nothing was changed"
        )))
    };
    let setting = match row.kind {
        Kind::Text => Setting::Text(text.to_owned()),
        Kind::Texts => Setting::Texts(each_once(texts.iter().copied())),
        Kind::Path => Setting::Path(std::path::absolute(text)?),
        Kind::Flag => match text {
            "true" => Setting::Flag(true),
            "false" => Setting::Flag(false),
            _ => return wrong("true or false"),
        },
        Kind::Number => match text.parse() {
            Ok(number) => Setting::Number(number),
            Err(_) => return wrong("a whole number"),
        },
        // What is wrong may be the secret itself, so it is not repeated.
        Kind::Secret => match SecretSource::parse(text) {
            Ok(source) => Setting::Secret(absolute(source)),
            Err(error) => return Err(Failure::Usage(format!("{}: {error}", row.name))),
        },
    };
    match setting.check(row.name) {
        Ok(()) => Ok(setting),
        Err(message) => wrong_text(row.name, message),
    }
}

fn wrong_text<T>(name: &str, message: &str) -> Outcome<T> {
    Err(Failure::Usage(format!(
        "{name}: {message}; nothing was changed"
    )))
}

/// Refuses what stands in no configuration, before the service is asked.
pub(crate) fn check(given: &Settings) -> Outcome {
    for (name, setting) in &given.0 {
        if let Err(message) = setting.check(name) {
            return wrong_text(name, message);
        }
    }
    Ok(())
}

/// Asks where a secret is, or for the secret itself and where it may be written to. It stands in no configuration.
fn secret(
    console: &Console,
    row: &SettingRow,
    (name, scope): (&str, Scope),
    typed: &mut Unwritten,
) -> Outcome<Setting> {
    let question = format!(
        "{}: where is it? file:PATH, env:NAME, credential:NAME, or nothing to type it now: ",
        row.about
    );
    for _ in 0..TRIES {
        let answer = console.ask(&question)?;
        if answer.is_empty() {
            let (file, secret) = ask_secret(console, row, (name, scope))?;
            let source = format!("file:{}", file.display());
            typed.insert(file, secret);
            return parse(row, &[&source]);
        }
        match parse(row, &[&answer]) {
            Err(Failure::Usage(message)) => console.warn(message),
            parsed => return parsed,
        }
    }
    failure("no source was typed; nothing was changed")
}

/// Asks for a secret that will be in a file which nobody else can read, if the person agrees to that.
fn ask_secret(
    console: &Console,
    row: &SettingRow,
    (name, scope): (&str, Scope),
) -> Outcome<(PathBuf, Zeroizing<Vec<u8>>)> {
    let environment = &console.environment;
    let folder = match scope {
        Scope::System => Some(environment.system_folder.clone()),
        Scope::User | Scope::Chosen => environment.user_folder(),
    };
    let Some(folder) = folder.map(|folder| folder.join("secrets")) else {
        return failure("there is no home directory to write to: set HOME, or name a source");
    };
    let file = folder.join(format!("{name}.{}", row.name));
    let shown = short(&file, environment);
    if file.exists() {
        return failure(format!(
            "{shown} is there already; if that is the secret, say file:{}; nothing was changed",
            file.display()
        ));
    }
    console.confirm(
        &format!("It would be written to {shown}, which only you can read. Do that? [y/N]"),
        &["y", "yes"],
        "name a source",
        "nothing was written; put the secret where programs find it and name that place",
    )?;
    let echo = EchoKept::new();
    let typed = rpassword::prompt_password(format!("{} (not shown): ", row.about));
    drop(echo);
    let typed = match typed {
        Ok(typed) => Zeroizing::new(typed.into_bytes()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return failure("nothing was typed; nothing was changed");
        }
        Err(error) => return Err(error.into()),
    };
    if typed.is_empty() || typed.len() > MAX_SECRET {
        return failure(format!(
            "a secret that is typed has 1 to {MAX_SECRET} bytes; write a longer one into a file and name that; nothing was \
             changed"
        ));
    }
    Ok((file, typed))
}

fn write_secret(file: &std::path::Path, secret: &[u8]) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
    }
    let mut options = OpenOptions::new();
    let mut opened = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)?;
    let written = opened.write_all(secret).and_then(|()| opened.sync_all());
    if written.is_err() {
        let _ = fs::remove_file(file);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(names: &[&str]) -> Settings {
        let text = |name: &&str| ((*name).to_owned(), Setting::Text(String::new()));
        Settings(names.iter().map(text).collect())
    }

    #[test]
    fn what_is_given_says_how_the_service_is_to_know() {
        for (given, way) in [
            (&[][..], None),
            (&["user"], None),
            (&["client_certificate", "client_key"], Some("tls")),
            (&["bearer"], Some("bearer")),
            (
                &["bearer", "client_certificate", "client_key"],
                Some("bearer"),
            ),
            (&["user", "password"], Some("basic")),
            (&["client_id", "client_secret"], Some("oauth2-client")),
            (
                &["client_id", "client_secret", "user", "password"],
                Some("oauth2-password"),
            ),
        ] {
            assert_eq!(meant(&settings(given)), way, "{given:?}");
        }
    }

    #[test]
    fn each_way_of_being_known_is_made_of_settings() {
        let protocols = ctk_host::network::protocols();
        let all = protocols.iter().flat_map(|protocol| rows(protocol));
        let all: Vec<_> = all.map(|(row, _)| row.name).collect();
        for (way, names) in NEEDED {
            for name in names {
                assert!(all.contains(name), "{way} {name}");
            }
        }
    }

    #[test]
    fn a_value_is_what_its_row_says() {
        let row = |kind| SettingRow {
            name: "it",
            kind,
            required: false,
            about: "It",
        };
        let parsed = |kind, texts: &[&str]| parse(&row(kind), texts).ok();
        let texts = Setting::Texts(vec!["a b".into(), "c".into()]);
        assert_eq!(parsed(Kind::Texts, &["a b", "c"]), Some(texts));
        assert_eq!(
            parsed(Kind::Text, &["a", "b"]),
            Some(Setting::Text("b".into()))
        );
        assert_eq!(parsed(Kind::Number, &["-1"]), Some(Setting::Number(-1)));
        assert_eq!(parsed(Kind::Flag, &["false"]), Some(Setting::Flag(false)));
        for (kind, wrong) in [
            (Kind::Number, "x"),
            (Kind::Flag, "yes"),
            (Kind::Secret, "s3cret"),
            (Kind::Text, "http://u:s3cret@h"),
            (Kind::Texts, "http://u:s3cret@h"),
        ] {
            let Err(Failure::Usage(said)) = parse(&row(kind), &[wrong]) else {
                panic!("{wrong} is taken");
            };
            assert!(said.starts_with("it") && !said.contains("s3cret"), "{said}");
        }
    }
}
