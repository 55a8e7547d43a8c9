//! `ctk add`: registers a PKCS#12 file. Its public facts are stored, its keys and password are not. Services are registered
//! elsewhere.

use std::{collections::BTreeSet, path::Path};

use ctk_host::{
    Configuration, PinSource, TokenConfig,
    config::{Contents, Login, Place, Scope, Setting, Settings, write},
    pkcs12,
};
use serde::Serialize;

use crate::{
    args::{AddArguments, NewArguments},
    console::{Console, Failure, Outcome, costs, failure, short},
    contents,
    facts::TokenFacts,
    list::identity_table,
    module, network, serial, settings,
};

pub(crate) fn run(console: &Console, arguments: &AddArguments) -> Outcome {
    match (&arguments.service, &arguments.file) {
        (Some(service), _) => network::add(console, service),
        (None, Some(file)) => add_file(console, file, &arguments.new),
        (None, None) => Err(Failure::Usage("the file is missing".to_owned())),
    }
}

fn add_file(console: &Console, named: &Path, arguments: &NewArguments) -> Outcome {
    let file = existing(named)?;
    let name = match &arguments.name {
        Some(name) => name.clone(),
        None => free_name(console, settings::name_of(&file)),
    };
    let Some((place, scope)) = write::place(&console.environment, arguments.system, &name) else {
        return failure("there is no home directory to write to: set HOME, or use --system");
    };
    if !place.is_absolute() {
        return failure("CTK_CONFIG must be the whole path of a file, from / on");
    }
    let mut token = TokenConfig {
        label: settings::label_of(&file),
        name,
        driver: pkcs12::NAME.to_owned(),
        serial: String::new(),
        order: 0,
        removable: false,
        commands: false,
        hidden: Vec::new(),
        programs: Vec::new(),
        not_programs: Vec::new(),
        pin: PinSource::App,
        login: Login::App,
        settings: Settings([(pkcs12::FILE.to_owned(), Setting::Path(file.clone()))].into()),
        contents: Contents::default(),
        place: Place {
            file: place,
            line: 1,
            scope,
        },
    };
    // What can be refused without the password is refused before a person types it.
    settings::apply(&arguments.settings, &mut token)?;
    let configuration = console.configuration_for(&token.name);
    check_new(console, &token, &file, &configuration)?;
    contents::refuse_pem(named, &file)?;
    let strict = contents::is_strict(&token, &arguments.settings);
    token.contents = contents::read(console, &token, named, &file, strict)?;
    settings::check_hidden(&arguments.settings, &token)?;
    token.serial = serial::serial(&token.contents).or_else(failure)?;
    write::add(&token, &console.environment)?;
    warn_of_twins(console, &token, &configuration);
    done(console, "Added", &token)
}

/// A name that says nothing of the file is counted up until it is free; any other is the person's to change.
fn free_name(console: &Console, name: String) -> String {
    if name != settings::UNNAMED {
        return name;
    }
    let configuration = Configuration::read(&console.environment);
    let is_free = |name: &String| {
        let mut problems = configuration.problems.iter();
        configuration.token(name).is_none() && !problems.any(|problem| costs(problem, name))
    };
    let numbered = (2..).map(|number: u32| format!("{name}-{number}"));
    let mut names = std::iter::once(name.clone()).chain(numbered);
    names.find(is_free).unwrap_or(name)
}

/// The file's whole path, without links, so that programs find it from anywhere and twins are noticed.
pub(crate) fn existing(file: &Path) -> Outcome<std::path::PathBuf> {
    let whole = file
        .canonicalize()
        .or_else(|error| failure(format!("{}: {error}", file.display())))?;
    if !whole.is_file() {
        return failure(format!("{}: not a file", file.display()));
    }
    if whole.to_str().is_none() {
        return failure(format!(
            "{}: the path is not UTF-8 text; rename it",
            file.display()
        ));
    }
    Ok(whole)
}

fn check_new(
    console: &Console,
    token: &TokenConfig,
    file: &Path,
    configuration: &Configuration,
) -> Outcome {
    check_file(token, file, configuration, None)?;
    let is_own = |scope: Scope| scope == token.place.scope;
    let mut tokens = configuration.tokens.iter();
    if tokens.any(|other| is_own(other.place.scope) && other.name == token.name) {
        return failure(format!(
            "the name {:?} is taken; choose another with --name, or if that token is to use this file: ctk update {} \
             --file {}",
            token.name,
            token.name,
            file.display()
        ));
    }
    let broken = configuration.problems.iter().find(|problem| {
        costs(problem, &token.name) && is_own(write::scope(&console.environment, &problem.file))
    });
    match broken {
        None => Ok(()),
        Some(problem) => failure(format!(
            "the name {:?} is taken by a token that is not usable: {problem}; mend that, forget it with ctk remove \
             {}, or choose another name with --name",
            token.name, token.name
        )),
    }
}

/// Refuses a file that a token of the same scope has, `except` for the token of this name.
pub(crate) fn check_file(
    token: &TokenConfig,
    file: &Path,
    configuration: &Configuration,
    except: Option<&str>,
) -> Outcome {
    let has = |other: &&TokenConfig| {
        let path = other.settings.path(pkcs12::FILE);
        path.is_some_and(|path| path == file || path.canonicalize().is_ok_and(|path| path == file))
    };
    let others = configuration.tokens.iter();
    let mut others = others.filter(|other| other.place.scope == token.place.scope);
    match others.find(|other| except != Some(&other.name) && has(other)) {
        None => Ok(()),
        Some(other) => failure(format!(
            "{} is registered already, as token {:?}; if the file was renewed: ctk update {}",
            file.display(),
            other.name,
            other.name
        )),
    }
}

/// Says which other tokens have these keys. Their serial numbers do not tell: a renewal keeps them.
pub(crate) fn warn_of_twins(console: &Console, token: &TokenConfig, configuration: &Configuration) {
    let own = keys(token);
    let others = configuration.tokens.iter();
    for other in others.filter(|other| other.name != token.name && keys(other) == own) {
        console.warn(format!(
            "token {:?} has the same keys; programs will show both (ctk remove {} forgets the other)",
            other.name, other.name
        ));
    }
}

/// What tells tokens apart: their public keys, or their certificates if they have none.
fn keys(token: &TokenConfig) -> BTreeSet<&[u8]> {
    let contents = &token.contents;
    match contents.keys.is_empty() {
        true => contents.certificates.iter().map(|it| &*it.der).collect(),
        false => contents.keys.iter().map(|it| &*it.spki).collect(),
    }
}

#[derive(Serialize)]
struct Done {
    #[serde(flatten)]
    token: TokenFacts,
    module: Option<std::path::PathBuf>,
}

/// Says what the token is now and how it is used.
pub(crate) fn done(console: &Console, verb: &str, token: &TokenConfig) -> Outcome {
    // As it is read again: the place is the true one then.
    let read = Configuration::read(&console.environment);
    let facts = TokenFacts::new(
        read.token(&token.name).unwrap_or(token),
        &console.environment,
    );
    let module = module::find();
    if console.json {
        return console.object(&Done {
            token: facts,
            module,
        });
    }
    let place = short(&token.place.file, &console.environment);
    let mut text = format!("{verb} token {:?} in {place}\n\n", token.name);
    text += &identity_table(&facts);
    text += "\n";
    text += &how_to_use(std::slice::from_ref(&facts), module.as_deref());
    console.text(&text)
}

/// What a person gives to programs so that they use these tokens.
pub(crate) fn how_to_use(tokens: &[TokenFacts], module: Option<&Path>) -> String {
    let mut text = String::from(
        "To use it, give programs the module, and where they want one the address of a key:\n",
    );
    text += &match module {
        Some(path) => format!("  {}\n", path.display()),
        None => format!(
            "  {} (not found on this machine; ctk doctor says more)\n",
            module::FILE
        ),
    };
    let identities = tokens.iter().flat_map(|token| &token.identities);
    let keys = identities.filter(|identity| identity.key.is_some() && !identity.hidden);
    text += &keys
        .map(|identity| format!("  {}\n", identity.uri))
        .collect::<String>();
    text
}
