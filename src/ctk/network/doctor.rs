//! `ctk doctor network`: what stands between programs and the services of network tokens, in the order in which one thing
//! needs the other, and what to do.

use std::time::Duration;

use ctk_host::{
    Configuration, SecretSource, TokenConfig,
    config::Setting,
    network::{self, Finding},
};

use super::{service, split::check_pins};
use crate::{
    console::{Console, Outcome},
    doctor::{Check, State},
    progress::Progress,
};

/// A look at the services of all network tokens, or at that of the one of this name.
pub(crate) fn check(console: &Console, name: Option<&str>) -> Outcome<Vec<Check>> {
    let tokens = match name {
        Some(name) => vec![network_token(console, name)?],
        None => tokens(console),
    };
    if tokens.is_empty() {
        let message =
            "there is none; ctk add csc and ctk add aws-kms register the keys of a service";
        return Ok(vec![Check::new(
            State::Hint,
            "network tokens",
            message.to_owned(),
        )]);
    }
    let checks = tokens
        .iter()
        .flat_map(|token| check_service(console, token));
    Ok(checks.collect())
}

/// What belongs in a look at the whole set-up, which asks no service: that may take long and cost something.
pub(crate) fn check_briefly(console: &Console) -> Vec<Check> {
    let tokens = tokens(console);
    if tokens.is_empty() {
        return Vec::new();
    }
    let count = match tokens.len() {
        1 => "1 token is".to_owned(),
        count => format!("{count} tokens are"),
    };
    let message = format!("{count} at a service, which was not asked; ctk doctor network asks");
    vec![Check::new(State::Hint, "network tokens", message)]
}

/// The token of this name, which is to be one of a service.
pub(crate) fn network_token(console: &Console, name: &str) -> Outcome<TokenConfig> {
    let token = console.token(name)?;
    match network::protocol(&token.driver) {
        Some(_) => Ok(token),
        None => crate::console::failure(format!(
            "token {name:?} is not at a service; ctk doctor looks at it"
        )),
    }
}

/// Whether programs can log in to a token, and its secrets be read as far as that runs no program.
pub(crate) fn check_stored(console: &Console, token: &TokenConfig) -> Vec<(State, String)> {
    let mut checks = check_secrets(console, token);
    let Some(protocol) = network::protocol(&token.driver) else {
        return checks;
    };
    let (pins, several) = check_pins(token, protocol, &console.environment);
    checks.extend(several.map(|several| (State::Problem, several)));
    if pins == Some(0)
        && let Some(source) = token.pin.source()
    {
        let message = format!(
            "the PIN from {} is for no key of it, and not used: ctk update {} --pin app --login app",
            source.shown(),
            token.name
        );
        checks.push((State::Hint, message));
    }
    checks
}

fn check_secrets(console: &Console, token: &TokenConfig) -> Vec<(State, String)> {
    let sources = token
        .settings
        .0
        .iter()
        .filter_map(|(name, setting)| match setting {
            Setting::Secret(source) if !source.is_command() => Some((name, source)),
            _ => None,
        });
    let checks = sources.filter_map(|(name, source)| {
        // Only a command takes time.
        let error = source.secret(&console.environment, Duration::MAX).err()?;
        Some(match source {
            SecretSource::File(_) => (State::Problem, format!("{name}: {error}")),
            // The variables and credentials of a service are only there in the service.
            _ => {
                let message =
                    format!("{name}: {error}; that is right if only a service is given it");
                (State::Hint, message)
            }
        })
    });
    checks.collect()
}

fn tokens(console: &Console) -> Vec<TokenConfig> {
    let mut tokens = Configuration::read(&console.environment).tokens;
    tokens.retain(|token| network::protocol(&token.driver).is_some());
    tokens
}

fn check_service(console: &Console, token: &TokenConfig) -> Vec<Check> {
    let subject = format!("token {:?}", token.name);
    let mut checks = Vec::new();
    let mut progress = Progress::new(console);
    progress.tell(&format!("{subject}: looking at {}", service::called(token)));
    let checked = network::check(token, &console.environment, &mut |finding: Finding| {
        progress.tell(&format!("{subject}: after {}", finding.step));
        let (state, said) = match &finding.result {
            Ok(said) => (State::Ok, said.as_str()),
            Err(reason) => (State::Problem, reason.as_str()),
        };
        // What is worth knowing besides stands in lines of its own.
        let mut lines = said.lines();
        let message = format!("{}: {}", finding.step, lines.next().unwrap_or_default());
        checks.push(Check::new(state, &subject, message));
        checks.extend(lines.map(|line| Check::new(State::Hint, &subject, line.to_owned())));
    });
    let protocol = network::protocol(&token.driver);
    let pins = protocol.map(|protocol| check_pins(token, protocol, &console.environment));
    if let Some((_, Some(several))) = pins {
        checks.push(Check::new(State::Problem, &subject, several));
    }
    if let Err(error) = checked {
        checks.push(Check::new(
            State::Problem,
            &subject,
            service::explain(token, &error),
        ));
    }
    checks
}
