//! What every command has: the process it runs in, where it prints, and how it ends.

use std::{
    ffi::OsStr,
    fmt,
    io::{self, BufRead, IsTerminal, Write},
    path::Path,
    process::ExitCode,
};

use ctk_host::{Configuration, Environment, Problem, TokenConfig, Unwritten};
use serde::Serialize;

/// How a command ended, if it did not do its work: a sentence that says what is wrong and what to do.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The sentence.
    Said(String),
    /// It has been printed already.
    Shown,
    /// The command line asks for something that does not go together.
    Usage(String),
    /// Nobody reads the output any more.
    Unheard,
}

pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Unheard,
            _ => Self::Said(error.to_string()),
        }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Said(problem.to_string())
    }
}

/// A failure in words.
pub(crate) fn failure<T>(message: impl fmt::Display) -> Outcome<T> {
    Err(Failure::Said(message.to_string()))
}

/// What a name in the configuration stands for.
#[derive(Debug)]
pub(crate) enum Named {
    Token(Box<TokenConfig>),
    /// A token that cannot be used for these reasons, of which there is one at least.
    Broken(Vec<Problem>),
}

/// Whether the token of this name is the one that a problem costs. Where no name is known, it is the file's.
pub(crate) fn costs(problem: &Problem, name: &str) -> bool {
    let folder = problem.file.parent().and_then(Path::file_name);
    let has_own_file = folder == Some(OsStr::new("tokens.d"));
    let stem = problem.file.file_stem().filter(|_| has_own_file);
    // What the parser makes of a half-written name is empty.
    match problem.token.as_deref() {
        Some(token) if !token.is_empty() => token == name,
        _ => stem == Some(OsStr::new(name)),
    }
}

#[derive(Debug)]
pub(crate) struct Console {
    pub(crate) json: bool,
    pub(crate) environment: Environment,
}

impl Console {
    pub(crate) fn new(json: bool) -> Self {
        Self {
            json,
            environment: Environment::from_process(),
        }
    }

    /// The same where these secrets are in their files already.
    pub(crate) fn with_unwritten(&self, typed: &Unwritten) -> Self {
        Self {
            json: self.json,
            environment: Environment {
                unwritten: typed.clone(),
                ..self.environment.clone()
            },
        }
    }

    /// The configuration. What is wrong with it is said on standard error, for it may explain what follows.
    pub(crate) fn configuration(&self) -> Configuration {
        let configuration = Configuration::read(&self.environment);
        self.tell(&configuration.problems);
        configuration
    }

    /// As [`configuration`](Self::configuration), but who asks speaks of what is wrong with the token of this name.
    pub(crate) fn configuration_for(&self, name: &str) -> Configuration {
        let configuration = Configuration::read(&self.environment);
        let problems = configuration.problems.iter();
        self.tell(problems.filter(|problem| !costs(problem, name)));
        configuration
    }

    fn tell<'a>(&self, problems: impl IntoIterator<Item = &'a Problem>) {
        if !self.json {
            for problem in problems {
                self.warn(problem);
            }
        }
    }

    /// The token of this name.
    pub(crate) fn token(&self, name: &str) -> Outcome<TokenConfig> {
        match self.named(name)? {
            Named::Token(token) => Ok(*token),
            Named::Broken(problems) => {
                self.tell(problems.iter().skip(1));
                let first = problems.first().map(ToString::to_string);
                failure(format!(
                    "token {name:?} is not usable: {}; mend that, or forget the token: ctk remove {name}",
                    first.unwrap_or_default()
                ))
            }
        }
    }

    /// What has this name, be it usable or not. What is wrong elsewhere is said on standard error.
    pub(crate) fn named(&self, name: &str) -> Outcome<Named> {
        let Configuration {
            tokens, problems, ..
        } = Configuration::read(&self.environment);
        let known: Vec<_> = tokens.iter().map(|token| token.name.clone()).collect();
        if let Some(token) = tokens.into_iter().find(|token| token.name == name) {
            self.tell(&problems);
            return Ok(Named::Token(Box::new(token)));
        }
        let (own, others): (Vec<_>, Vec<_>) = problems
            .into_iter()
            .partition(|problem| costs(problem, name));
        self.tell(&others);
        if !own.is_empty() {
            return Ok(Named::Broken(own));
        }
        failure(match known.is_empty() {
            true => {
                format!(
                    "no token {name:?}: there are none yet; ctk add registers one, and ctk doctor card says what is wrong with a smart card"
                )
            }
            false => format!("no token {name:?}; there are: {}", known.join(", ")),
        })
    }

    /// Prints text for a person.
    pub(crate) fn text(&self, text: &str) -> Outcome {
        self.bytes(text.as_bytes())
    }

    /// Prints one JSON object.
    pub(crate) fn object(&self, object: &impl Serialize) -> Outcome {
        let text = serde_json::to_string_pretty(object).map_err(io::Error::from)?;
        self.text(&format!("{text}\n"))
    }

    pub(crate) fn bytes(&self, bytes: &[u8]) -> Outcome {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        Ok(out.flush()?)
    }

    pub(crate) fn warn(&self, message: impl fmt::Display) {
        let _ = writeln!(io::stderr(), "ctk: {message}");
    }

    /// Whether a person can be asked.
    pub(crate) fn is_interactive(&self) -> bool {
        io::stdin().is_terminal()
    }

    /// Asks a person whether to go on; one of `words` is yes. `alone` is how to say it where nobody can be asked, and
    /// `refused` what is said of a no.
    pub(crate) fn confirm(
        &self,
        question: &str,
        words: &[&str],
        alone: &str,
        refused: &str,
    ) -> Outcome {
        if !self.is_interactive() {
            let message = format!("nobody can be asked here; {alone}");
            return Err(Failure::Usage(message));
        }
        let answer = self.line(&format!("{question} "))?.unwrap_or_default();
        match words.contains(&answer.to_lowercase().as_str()) {
            true => Ok(()),
            false => failure(refused),
        }
    }

    /// Asks a person something that is shown as it is typed, and gives it without blanks around it.
    pub(crate) fn ask(&self, question: &str) -> Outcome<String> {
        match self.line(question)? {
            Some(answer) => Ok(answer),
            None => failure("nothing was typed; nothing was changed"),
        }
    }

    /// The next line of standard input; `None` at its end.
    fn line(&self, question: &str) -> Outcome<Option<String>> {
        let mut out = io::stderr();
        write!(out, "{question}")?;
        out.flush()?;
        let mut answer = String::new();
        let len = io::stdin().lock().read_line(&mut answer)?;
        Ok((len > 0).then(|| answer.trim().to_owned()))
    }

    pub(crate) fn exit_code(&self, outcome: Outcome) -> ExitCode {
        let (message, code) = match outcome {
            Ok(()) => return ExitCode::SUCCESS,
            Err(Failure::Shown | Failure::Unheard) => return ExitCode::FAILURE,
            Err(Failure::Said(message)) => (message, ExitCode::FAILURE),
            Err(Failure::Usage(message)) => (message, ExitCode::from(2)),
        };
        if self.json {
            let _ = self.object(&serde_json::json!({ "error": message }));
        }
        self.warn(message);
        code
    }
}

/// A path as a person writes it, with `~` for the home directory.
pub(crate) fn short(path: &Path, environment: &Environment) -> String {
    let home = environment
        .home
        .as_ref()
        .filter(|home| home.as_os_str().len() > 1);
    match home.and_then(|home| path.strip_prefix(home).ok()) {
        Some(rest) => format!("~/{}", rest.display()),
        None => path.display().to_string(),
    }
}
