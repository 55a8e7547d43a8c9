//! `ctk doctor`: what is wrong with this machine's set-up, and what to do.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use ctk_host::{PinSource, TokenConfig, config::Contents, pkcs12};
use serde::Serialize;

use crate::{
    args::DoctorPart,
    card,
    console::{Console, Failure, Outcome, short},
    contents,
    facts::TokenFacts,
    module, network, settings, sys,
};

/// How many days before its end a certificate is spoken of.
pub(crate) const SOON: i64 = 30;

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Hint,
    /// It works, but a person should look.
    Warning,
    /// It does not work.
    Problem,
}

#[derive(Debug, Serialize)]
pub(crate) struct Check {
    pub(crate) state: State,
    pub(crate) subject: String,
    pub(crate) message: String,
}

impl Check {
    pub(crate) fn new(state: State, subject: &str, message: String) -> Self {
        Self {
            state,
            subject: subject.to_owned(),
            message,
        }
    }
}

#[derive(Serialize)]
struct Report {
    checks: Vec<Check>,
    ok: bool,
}

/// Looks at everything, or at one part more closely.
pub(crate) fn run(console: &Console, part: Option<DoctorPart>, name: Option<&str>) -> Outcome {
    let checks = match (part, name) {
        (Some(DoctorPart::Network), name) => network::check_services(console, name)?,
        (Some(DoctorPart::Card), None) => card::check_cards(console),
        (None, None) => all(console),
        (_, Some(_)) => {
            let message = "only ctk doctor network looks at one token alone";
            return Err(Failure::Usage(message.to_owned()));
        }
    };
    let ok = checks.iter().all(|check| check.state != State::Problem);
    let report = Report { checks, ok };
    if console.json {
        console.object(&report)?;
    } else {
        console.text(&text(&report))?;
    }
    match ok {
        true => Ok(()),
        false => Err(Failure::Shown),
    }
}

fn all(console: &Console) -> Vec<Check> {
    let mut checks = Vec::new();
    check_configuration(console, &mut checks);
    checks.extend(network::check_services_briefly(console));
    checks.extend(card::check_cards_briefly(console));
    check_programs(&mut checks);
    let message = format!(
        "this command has {}; what the module has is the first line of its log (CTK_LOG=info)",
        ctk_crypto::library_version()
    );
    checks.push(Check::new(State::Ok, "crypto library", message));
    checks
}

fn text(report: &Report) -> String {
    let line = |check: &Check| {
        let state = match check.state {
            State::Ok => "ok",
            State::Hint => "hint",
            State::Warning => "warning",
            State::Problem => "PROBLEM",
        };
        format!("{state:<8} {}: {}\n", check.subject, check.message)
    };
    let mut text: String = report.checks.iter().map(line).collect();
    let count = |state, word: &str| {
        let count = report
            .checks
            .iter()
            .filter(|check| check.state == state)
            .count();
        format!("{count} {word}{}", if count == 1 { "" } else { "s" })
    };
    text += &format!(
        "\n{}, {}.\n",
        count(State::Problem, "problem"),
        count(State::Warning, "warning")
    );
    text
}

fn check_configuration(console: &Console, checks: &mut Vec<Check>) {
    let configuration = ctk_host::Configuration::read(&console.environment);
    let mut add = |state, subject: &str, message: String| {
        checks.push(Check::new(state, subject, message));
    };
    for problem in &configuration.problems {
        add(State::Problem, "configuration", problem.to_string());
    }
    for file in &configuration.files {
        if !configuration
            .problems
            .iter()
            .any(|problem| problem.file == *file)
        {
            add(
                State::Ok,
                "configuration",
                short(file, &console.environment),
            );
        }
    }
    if configuration.tokens.is_empty() {
        let message = "there is none that can be used; ctk add registers one";
        add(State::Hint, "tokens", message.to_owned());
    }
    for token in &configuration.tokens {
        check_token(console, token, &mut |state, message| {
            add(state, &format!("token {:?}", token.name), message);
        });
    }
}

fn check_token(console: &Console, token: &TokenConfig, add: &mut dyn FnMut(State, String)) {
    let name = &token.name;
    let again = match network::is_network(&token.driver) {
        true => "refresh",
        false => "update",
    };
    if let Some(file) = token.settings.path(pkcs12::FILE) {
        check_file(console, token, file, add);
    }
    for (state, message) in network::check_stored(console, token) {
        add(state, message);
    }
    if token.contents.keys.is_empty() && token.contents.certificates.is_empty() {
        let message =
            format!("nothing is known of its contents, so programs see none: ctk {again} {name}");
        add(State::Warning, message);
    }
    if token.serial.is_empty() {
        add(
            State::Hint,
            format!("it has no serial number: ctk {again} {name} gives it one"),
        );
    }
    for hidden in settings::hiding_nothing(token) {
        add(
            State::Warning,
            format!("hidden = {hidden:?} hides nothing: no id or label is like this"),
        );
    }
    for identity in TokenFacts::new(token, &console.environment).identities {
        let certificate = &identity.certificate;
        let label = crate::table::printable(&identity.label);
        match (certificate.expired, certificate.days_left) {
            (Some(true), _) => add(
                State::Warning,
                format!(
                    "the certificate {label:?} has expired; when it is renewed: ctk {again} {name}"
                ),
            ),
            (_, Some(days)) if days < SOON => {
                add(
                    State::Warning,
                    format!(
                        "the certificate {label:?} expires in {days} day{}",
                        if days == 1 { "" } else { "s" }
                    ),
                );
            }
            _ => {}
        }
    }
}

fn check_file(
    console: &Console,
    token: &TokenConfig,
    file: &Path,
    add: &mut dyn FnMut(State, String),
) {
    let (shown, name) = (file.display(), &token.name);
    let metadata = match fs::File::open(file).and_then(|opened| opened.metadata()) {
        Ok(metadata) => metadata,
        Err(error) => {
            let moved = format!("if it has moved: ctk update {name} --file NEW.p12");
            let message = match error.kind() {
                io::ErrorKind::NotFound => {
                    format!("{shown}: no such file: put it back, or {moved}")
                }
                _ => format!("{shown}: {error}; {moved}"),
            };
            return add(State::Problem, message);
        }
    };
    if !metadata.is_file() {
        return add(State::Problem, format!("{shown} is not a regular file"));
    }
    if metadata.mode() & 0o077 != 0 {
        let message = format!(
            "{shown} is open to group or others, who can try passwords on a copy: chmod go= {shown}"
        );
        add(State::Warning, message);
    }
    let Some(contents) = check_pin(console, token, file, add) else {
        let registered = fs::metadata(&token.place.file).map(|metadata| metadata.mtime());
        if registered.is_ok_and(|registered| metadata.mtime() > registered) {
            let message = format!(
                "{shown} is newer than what is stored of it; if it was renewed: ctk update {name}"
            );
            return add(State::Warning, message);
        }
        let message = format!(
            "{shown} is there; whether it still holds what was registered only its password tells: ctk test {name}"
        );
        return add(State::Ok, message);
    };
    if !contents::is_same(&contents, &token.contents) {
        let message = format!(
            "{shown} holds other keys or certificates than what is stored: ctk update {name}"
        );
        return add(State::Warning, message);
    }
    add(
        State::Ok,
        format!("{shown} is there and holds what was registered"),
    );
}

/// What is in the file now, if it can be opened without asking a person.
fn check_pin(
    console: &Console,
    token: &TokenConfig,
    file: &Path,
    add: &mut dyn FnMut(State, String),
) -> Option<Contents> {
    let without = pkcs12::inspect(file, b"").ok().map(|found| found.contents);
    if without.is_some() {
        add(State::Warning, contents::unprotected(file));
    }
    let pin = match token.pin.secret(&console.environment) {
        Ok(Some(pin)) => pin,
        Ok(None) => return without,
        Err(error) => {
            match token.pin {
                PinSource::File(_) | PinSource::Command(_) => {
                    add(State::Problem, error.to_string());
                }
                // The variables and credentials of a service are only there in the service.
                _ => add(
                    State::Hint,
                    format!("{error}; that is right if only a service is given it"),
                ),
            }
            return without;
        }
    };
    match pkcs12::inspect(file, &pin) {
        Ok(found) => Some(found.contents),
        Err(error) => {
            let message = format!("with the stored PIN from {}: {error}", token.pin);
            add(State::Problem, message);
            without
        }
    }
}

fn check_programs(checks: &mut Vec<Check>) {
    let mut add = |state, subject: &str, message: String| {
        checks.push(Check::new(state, subject, message));
    };
    let Some(module) = module::find() else {
        let folder = std::env::current_exe().unwrap_or_default();
        let places: Vec<_> = module::candidates(&folder)
            .iter()
            .filter_map(|path| Some(path.parent()?.display().to_string()))
            .collect();
        let message = format!("{} is in none of: {}", module::FILE, places.join(", "));
        return add(State::Problem, "module", message);
    };
    let shown = module.display();
    match sys::check_module(&module) {
        Ok(()) => add(State::Ok, "module", format!("{shown} can be loaded")),
        Err(error) => add(
            State::Problem,
            "module",
            format!("{shown} cannot be loaded: {error}"),
        ),
    }
    if !["/usr/lib", "/usr/local/lib"]
        .iter()
        .any(|folder| module.starts_with(folder))
    {
        let message = format!(
            "ssh-agent loads modules from /usr/lib and /usr/local/lib only; start it with -P '{shown}' or install the \
             module there"
        );
        add(State::Hint, "ssh-agent", message);
    }
    let engine =
        first_existing("engines-3/pkcs11.so").or_else(|| first_existing("engines-1.1/pkcs11.so"));
    match engine.or_else(|| first_existing("ossl-modules/pkcs11.so")) {
        Some(path) => add(
            State::Ok,
            "openssl",
            format!(
                "{} is there; tell it the module: MODULE_PATH = {shown} in openssl.cnf",
                path.display()
            ),
        ),
        None => {
            let message = "to use tokens with OpenSSL install its PKCS#11 engine or provider (Debian: \
                           libengine-pkcs11-openssl)";
            add(State::Hint, "openssl", message.to_owned());
        }
    }
}

fn first_existing(name: &str) -> Option<PathBuf> {
    let triplet = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    let folders = [triplet.as_str(), "/usr/lib64", "/usr/lib", "/usr/local/lib"];
    folders
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.is_file())
}
