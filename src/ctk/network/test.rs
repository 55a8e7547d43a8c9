//! `ctk test` of a network token: each key is used once for each thing that it is for, because a use may cost something.

use std::{cell::RefCell, collections::HashMap};

use ctk_host::{PinSource, TokenConfig};
use ctk_token::{
    AuthSecret, Constraint, Key, LoginPolicy, Operation, Reason, Reuse, Role, Token, TokenError,
    TokenSession,
};
use zeroize::Zeroizing;

use super::{before_use, service};
use crate::{
    console::{Console, Failure, Outcome, failure},
    facts::{self, TokenFacts},
    password::ask,
    progress::Progress,
    test::{KeyReport, log_in, test_key},
    trial::{Ready, few},
};

type Pin = Zeroizing<Vec<u8>>;

/// What a person has given for uses of keys. The service may look at it only when a key is used.
#[derive(Default)]
struct Given {
    /// For the use that comes.
    now: Option<Pin>,
    /// A PIN that was right, for further keys.
    right: Option<Pin>,
    /// One was refused: no other key gets it, because a service may have one counter for all.
    is_refused: bool,
}

impl Given {
    /// Refuses a use for which a secret would be sent, after one was wrong.
    fn check(&self) -> ctk_token::Result<()> {
        match self.is_refused {
            true => Err(TokenError::Refused(Reason::new(
                "not tried, because the secret was refused for another use: one more wrong one might lock it",
            ))),
            false => Ok(()),
        }
    }

    /// Takes note of what came of a use.
    fn note(&mut self, result: &ctk_token::Result<()>) {
        let now = self.now.take();
        match result {
            Ok(()) if now.is_some() => self.right = now,
            Err(TokenError::AuthenticationFailed { .. } | TokenError::PinLocked) => {
                self.is_refused = true;
            }
            _ => {}
        }
    }
}

pub(crate) fn run(console: &Console, config: &TokenConfig) -> Outcome<Vec<KeyReport>> {
    let name = &config.name;
    let token = facts::slot(config, &console.environment).and_then(|slot| slot.token());
    let Some(token) = token else {
        return failure(format!("token {name:?} cannot be used by this build"));
    };
    let session = token.create_session().or_else(failure)?;
    let contents = token.contents();
    let mut keys = Vec::new();
    for key in contents.keys() {
        keys.push((key, few(&*session, key)));
    }
    if keys.is_empty() {
        return failure(format!(
            "no key is known of token {name:?}: ctk refresh {name}"
        ));
    }
    tell_cost(
        console,
        config,
        keys.iter().map(|(_, trials)| trials.len()).sum(),
    );
    let with_otp = keys_with_otp(console, config);
    let given = RefCell::new(Given::default());
    log_in_if_needed(console, config, &*token, &*session)?;
    let progress = RefCell::new(Progress::new(console));
    let mut reports = Vec::new();
    for (key, trials) in keys {
        let step = format!("{}: {}", service::called(config), key.label);
        progress.borrow_mut().tell(&step);
        let once = with_otp.get(&key.identity).copied();
        let again = || {
            // A question stands where the line was.
            progress.borrow_mut().clear();
            authenticate(console, config, &*session, key, (&given, once))?;
            progress.borrow_mut().tell(&step);
            Ok(())
        };
        let ready: Ready<'_> = match key.authenticates_always() {
            true => &again,
            false => &|| Ok(()),
        };
        reports.push(test_key(key, trials, |trial| {
            if key.needs_auth() {
                given.borrow().check()?;
            }
            let result = trial.run(&*session, key, ready);
            given.borrow_mut().note(&result);
            result.map_err(|error| match (once, error) {
                // Which of the two, only some services say.
                (Some(_), TokenError::AuthenticationFailed { .. }) => TokenError::Refused(
                    Reason::new("wrong one-time password, or wrong PIN if there is one"),
                ),
                (_, error) => error,
            })
        }));
    }
    drop(progress);
    session.end_auth(Role::User);
    Ok(reports)
}

/// Says what will be asked of the service before it is.
fn tell_cost(console: &Console, config: &TokenConfig, uses: usize) {
    if console.json {
        return;
    }
    let uses = match uses {
        1 => "1 use of a key".to_owned(),
        uses => format!("{uses} uses of keys"),
    };
    console.warn(format!(
        "this is {uses} at {}, which the service may charge for",
        service::called(config)
    ));
}

/// Keys for which what is typed is good for one use, because there is a one-time password in it, and how that is called.
fn keys_with_otp(console: &Console, config: &TokenConfig) -> HashMap<Vec<u8>, &'static str> {
    let token = TokenFacts::new(config, &console.environment);
    // Keys come first, in the order of the configuration.
    let keys = config.contents.keys.iter().zip(&token.identities);
    let with_otp = keys.filter_map(|(key, identity)| {
        let before = before_use(&token, identity);
        let what = match (before.contains("OTP"), before.contains("PIN")) {
            (false, _) => return None,
            (true, true) => "PIN and one-time password, as PIN,OTP,",
            (true, false) => "One-time password",
        };
        Some((key.identity.clone(), what))
    });
    with_otp.collect()
}

/// Logs in where a key wants that. One that wants an authentication for each use gets that alone: the service checks it then,
/// and a one-time password would be spent twice.
fn log_in_if_needed(
    console: &Console,
    config: &TokenConfig,
    token: &dyn Token,
    session: &dyn TokenSession,
) -> Outcome {
    let contents = token.contents();
    let mut keys = contents.keys();
    let wants_login = |key: &Key| {
        let once = |operation| {
            matches!(
                key.constraint(operation),
                Constraint::Auth(_, Reuse::Session)
            )
        };
        [Operation::Sign, Operation::Decrypt, Operation::KeyExchange]
            .into_iter()
            .any(once)
    };
    match token.info().login {
        LoginPolicy::OnUse => Ok(()),
        _ if keys.any(wants_login) => log_in(console, config, session),
        _ => Ok(()),
    }
}

/// Authenticates for the next use of a key, with the stored PIN or the one that a person gives once, or each time if it is
/// good for one use.
fn authenticate(
    console: &Console,
    config: &TokenConfig,
    session: &dyn TokenSession,
    key: &Key,
    (given, once): (&RefCell<Given>, Option<&str>),
) -> ctk_token::Result<()> {
    let finish = |secret: AuthSecret<'_>| {
        let operation = session.begin_auth(Role::Context, Some(&key.id))?;
        operation.finish(secret)
    };
    if config.pin != PinSource::App {
        return finish(AuthSecret::FromToken);
    }
    let right = given.borrow_mut().right.take().filter(|_| once.is_none());
    let pin = match right {
        Some(pin) => pin,
        None => {
            let what = once.unwrap_or("PIN");
            let prompt = format!("{what} of token {:?} for {:?}: ", config.name, key.label);
            let missing = "no PIN on standard input: write it there as one line for each key";
            ask(console, &prompt, missing).map_err(refused)?
        }
    };
    finish(AuthSecret::Pin(&pin))?;
    if once.is_none() {
        given.borrow_mut().now = Some(pin);
    }
    Ok(())
}

fn refused(failure: Failure) -> TokenError {
    match failure {
        Failure::Said(message) | Failure::Usage(message) => {
            TokenError::Refused(Reason::new(message))
        }
        Failure::Shown | Failure::Unheard => TokenError::CanceledByUser,
    }
}
