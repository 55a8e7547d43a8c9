//! `ctk add csc` and its like: registers the keys of a service as tokens. Their public facts are stored, and where secrets
//! are, but no secret.

use std::{collections::HashSet, path::Path};

use ctk_host::{
    Configuration, PinSource, TokenConfig,
    config::{Contents, Login, Place, Scope, Settings, write},
};
use serde::Serialize;

use super::{
    args::{ServiceArguments, given_as},
    ask,
    facts::{before_use, key_table},
    service,
    split::{asking, auth_id, label, split},
    update,
};
use crate::{
    add,
    console::{Console, Failure, Outcome, costs, failure, short},
    facts::{self, TokenFacts},
    module, serial, settings,
};

pub(crate) fn run(console: &Console, arguments: &ServiceArguments) -> Outcome {
    let protocol = arguments.protocol;
    let mut given = arguments.given.clone();
    if given.0.is_empty() && Path::new(protocol.name).exists() {
        let name = protocol.name;
        console.warn(format!(
            "this registers keys of a service; to register the file {name} here: ctk add ./{name}"
        ));
    }
    ask::check(&given)?;
    ask::required(console, protocol, &mut given)?;
    let mut names = Names::new(console, arguments, &given)?;
    let mut token = names.token(console, arguments, given)?;
    let named = (token.name.as_str(), token.place.scope);
    let typed = ask::authentication(console, protocol, &mut token.settings, named)?;
    settings::check_commands(&token)?;
    let found = service::list_some(&console.with_unwritten(&typed), &token, given_as)?;
    token.contents = found.contents;
    settings::check_hidden(&arguments.new.settings, &token)?;
    let tokens = in_tokens(console, arguments, token, &mut names)?;
    let written = ask::Written::new(console, &typed)?;
    register(console, &tokens)?;
    for file in written.keep() {
        console.warn(format!(
            "the secret is in {}",
            short(&file, &console.environment)
        ));
    }
    let configuration = Configuration::read(&console.environment);
    for token in &tokens {
        add::warn_of_twins(console, token, &configuration);
        update::warn_of_untried_pin(console, token);
    }
    done(console, &tokens, found.left_out)
}

/// The names that new tokens get.
struct Names {
    first: String,
    taken: HashSet<String>,
    count: usize,
}

impl Names {
    fn new(console: &Console, arguments: &ServiceArguments, given: &Settings) -> Outcome<Self> {
        let first = match &arguments.new.name {
            Some(name) => name.clone(),
            None => settings::name_from(&service::name(arguments.protocol, given)),
        };
        let configuration = console.configuration_for(&first);
        let (_, scope) = place(console, arguments.new.system, &first)?;
        let is_own = |other: Scope| other == scope;
        let tokens = configuration.tokens.iter();
        let tokens = tokens.filter(|token| is_own(token.place.scope));
        let taken: HashSet<_> = tokens.map(|token| token.name.clone()).collect();
        if taken.contains(&first) {
            return failure(format!(
                "the name {first:?} is taken; choose another with --name, or if that is the token you mean: ctk refresh \
                 {first} asks its service again, and ctk update {first} --set changes how it is reached"
            ));
        }
        let broken = configuration.problems.iter().find(|problem| {
            costs(problem, &first) && is_own(write::scope(&console.environment, &problem.file))
        });
        if let Some(problem) = broken {
            return failure(format!(
                "the name {first:?} is taken by a token that is not usable: {problem}; mend that, forget it with ctk \
                 remove {first}, or choose another name with --name"
            ));
        }
        Ok(Self {
            first,
            taken,
            count: 1,
        })
    }

    /// The first with a number that is free.
    fn next(&mut self) -> String {
        loop {
            self.count += 1;
            let end = format!("-{}", self.count);
            let room = ctk_host::config::MAX_NAME.saturating_sub(end.len());
            // Names are ASCII.
            let name = format!("{}{end}", self.first.get(..room).unwrap_or(&self.first));
            if self.taken.insert(name.clone()) {
                return name;
            }
        }
    }

    fn token(
        &self,
        console: &Console,
        arguments: &ServiceArguments,
        given: Settings,
    ) -> Outcome<TokenConfig> {
        let (file, scope) = place(console, arguments.new.system, &self.first)?;
        let mut token = TokenConfig {
            name: self.first.clone(),
            label: String::new(),
            driver: arguments.protocol.name.to_owned(),
            serial: String::new(),
            order: 0,
            removable: false,
            commands: false,
            hidden: Vec::new(),
            programs: Vec::new(),
            not_programs: Vec::new(),
            pin: PinSource::App,
            login: Login::App,
            settings: given,
            contents: Contents::default(),
            place: Place {
                file,
                line: 1,
                scope,
            },
        };
        // What can be refused without the service is refused before it is asked.
        settings::apply(&arguments.new.settings, &mut token)?;
        Ok(token)
    }
}

/// Where a token of this name is written.
fn place(console: &Console, system: bool, name: &str) -> Outcome<(std::path::PathBuf, Scope)> {
    let Some((place, scope)) = write::place(&console.environment, system, name) else {
        return failure("there is no home directory to write to: set HOME, or use --system");
    };
    match place.is_absolute() {
        true => Ok((place, scope)),
        false => failure("CTK_CONFIG must be the whole path of a file, from / on"),
    }
}

/// The tokens that the keys of the service become, as they are to be stored.
fn in_tokens(
    console: &Console,
    arguments: &ServiceArguments,
    token: TokenConfig,
    names: &mut Names,
) -> Outcome<Vec<TokenConfig>> {
    let slot = facts::slot(&asking(&token), &console.environment).and_then(|slot| slot.token());
    let Some(offered) = slot.map(|token| token.contents()) else {
        return failure(format!(
            "{} cannot be used by this build",
            service::called(&token)
        ));
    };
    let service = service::label(arguments.protocol, &token.settings);
    let mut tokens = split(token, arguments.protocol, &offered, || names.next());
    let has_pin = |token: &TokenConfig| {
        let mut keys = token.contents.keys.iter();
        keys.any(|key| auth_id(key, &offered).is_some())
    };
    let with_pin = tokens.iter().filter(|token| has_pin(token)).count();
    check_pin(arguments, with_pin)?;
    let mut labels = HashSet::new();
    for token in &mut tokens {
        if !has_pin(token) {
            token.pin = PinSource::App;
            token.login = Login::App;
        }
        if token.label.is_empty() {
            token.label = label(&token.contents, &service);
        }
        token.label = another(&mut labels, &token.label);
        let (file, scope) = place(console, arguments.new.system, &token.name)?;
        token.place = Place {
            file,
            line: 1,
            scope,
        };
        token.serial = serial::serial(&token.contents).or_else(failure)?;
        let whole = token.clone();
        token
            .hidden
            .retain(|hidden| settings::hides_something(hidden, &whole));
    }
    Ok(tokens)
}

/// A stored PIN is one PIN, and of a key that has one.
fn check_pin(arguments: &ServiceArguments, with_pin: usize) -> Outcome {
    let given = arguments.new.settings.pin.as_ref();
    match (given, with_pin) {
        (None | Some(PinSource::App), _) | (_, 1) => Ok(()),
        (_, 0) => Err(Failure::Usage(
            "--pin: no key there has a PIN, so leave it out; nothing was changed".to_owned(),
        )),
        (_, count) => Err(Failure::Usage(format!(
            "--pin: there are {count} keys with PINs of their own; choose one (ctk list shows them without --pin), or \
             say --shared-pin if the PIN is the same; nothing was changed"
        ))),
    }
}

/// A label that no other token has got here.
fn another(taken: &mut HashSet<String>, label: &str) -> String {
    let mut labels = std::iter::once(label.to_owned()).chain((2..).map(|number: u32| {
        let end = format!(" {number}");
        let room = ctk_host::config::MAX_LABEL - end.len();
        let ends = label.char_indices().map(|(at, c)| at + c.len_utf8());
        let cut = ends.take_while(|end| *end <= room).last().unwrap_or(0);
        format!("{}{end}", label.get(..cut).unwrap_or_default())
    }));
    let label = labels
        .find(|label| !taken.contains(label))
        .unwrap_or_default();
    taken.insert(label.clone());
    label
}

/// Writes all of them or none.
fn register(console: &Console, tokens: &[TokenConfig]) -> Outcome {
    for (at, token) in tokens.iter().enumerate() {
        if let Err(problem) = write::add(token, &console.environment) {
            for written in tokens.iter().take(at) {
                let _ = write::remove(&written.name, &written.place.file, &console.environment);
            }
            return Err(problem.into());
        }
    }
    Ok(())
}

#[derive(Serialize)]
struct Done {
    tokens: Vec<TokenFacts>,
    /// What the service has besides, each a sentence.
    left_out: Vec<String>,
    module: Option<std::path::PathBuf>,
}

fn done(console: &Console, tokens: &[TokenConfig], left_out: Vec<String>) -> Outcome {
    // As they are read again: the place is the true one then.
    let read = Configuration::read(&console.environment);
    let facts = tokens.iter().map(|token| {
        let token = read.token(&token.name).unwrap_or(token);
        TokenFacts::new(token, &console.environment)
    });
    let facts: Vec<_> = facts.collect();
    let module = module::find();
    if console.json {
        return console.object(&Done {
            tokens: facts,
            left_out,
            module,
        });
    }
    let mut text = String::new();
    for (token, facts) in tokens.iter().zip(&facts) {
        let place = short(&token.place.file, &console.environment);
        text += &format!(
            "Added token {:?} ({}) in {place}\n\n",
            token.name, token.label
        );
        text += &key_table(facts);
        text += "\n";
    }
    let identities = facts.iter().flat_map(|token| {
        let identities = token.identities.iter();
        identities.map(move |identity| before_use(token, identity))
    });
    if identities.into_iter().any(|before| before.contains("OTP")) {
        text += "Programs log in with PIN,OTP. With --otp-seed or --otp the one-time password comes by itself.\n\n";
    }
    if tokens.len() > 1 {
        text += "A token has one PIN, so keys with PINs of their own are tokens of their own.\n\n";
    }
    text += &add::how_to_use(&facts, module.as_deref());
    console.text(&text)
}
