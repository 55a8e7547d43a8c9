//! `ctk card generate`: makes a key pair on the card.

use std::{
    fs,
    path::{Path, PathBuf},
};

use ctk_token::{Key, KeyType, NewKey, Role, TokenError, TokenSession};
use serde::Serialize;
use x509_cert::der::pem::{self, LineEnding};

use super::{
    args::GenerateArguments,
    find::{self, Card},
    place::Place,
    request,
    secret::{explain, log_in, log_in_admin},
};
use crate::console::{Console, Failure, Outcome, failure};

#[derive(Serialize)]
struct Generated {
    reader: String,
    id: String,
    key: String,
    public_key: String,
    file: Option<PathBuf>,
    request: Option<PathBuf>,
}

pub(crate) fn run(console: &Console, arguments: &GenerateArguments) -> Outcome {
    if arguments.subject.subject.is_some() && arguments.request.is_none() {
        let message =
            "--subject is whom a request is for: say where to write that, with --request FILE";
        return Err(Failure::Usage(message.to_owned()));
    }
    let admin = &arguments.admin;
    let card = find::card(console, admin.card.reader.as_deref())?;
    let place = Place::parse(card.kind(), &arguments.place.place)?;
    let key_type = KeyType::from(arguments.key_type);
    card.token
        .load()
        .or_else(|error| failure(explain(&card, Role::Admin, &error)))?;
    let session = card.token.create_session().or_else(failure)?;
    if !arguments.force {
        confirm(console, &card, &*session, &place)?;
    }
    // Whoever cannot sign the request finds out before the old key is gone.
    let pin = match &arguments.request {
        Some(_) => {
            refuse_unsigned(key_type)?;
            let pin = log_in(console, &card, &*session)?;
            session.end_auth(Role::User);
            Some(pin)
        }
        None => None,
    };
    let file = admin.management_key_file.as_deref();
    log_in_admin(console, &card, &*session, file)?;
    if console.is_interactive() && matches!(key_type, KeyType::Rsa { .. }) && !console.json {
        console.warn("the card makes the key: that takes up to a few minutes for RSA");
    }
    let key = make(&card, &*session, &place, key_type)?;
    session.end_auth(Role::Admin);
    let public_key = public_key_pem(&key)?;
    if let Some(file) = &arguments.out {
        write(file, &public_key)?;
    }
    if let (Some(file), Some(pin), Some(subject)) =
        (&arguments.request, &pin, &arguments.subject.subject)
    {
        let login = session.begin_auth(Role::User, None);
        login
            .and_then(|login| login.finish(pin.as_auth()))
            .or_else(|error| {
                failure(format!(
                    "the key was made; {}",
                    explain(&card, Role::User, &error)
                ))
            })?;
        let alternatives = &arguments.subject.san;
        let request = request::sign(&card, &*session, &key, subject, alternatives, pin)?;
        session.end_auth(Role::User);
        write(file, &request)?;
    }
    if console.json {
        return console.object(&Generated {
            reader: card.reader.clone(),
            id: ctk_host::config::to_hex(&key.identity),
            key: key.public_key.key_type().to_string(),
            public_key,
            file: arguments.out.clone(),
            request: arguments.request.clone(),
        });
    }
    let next = match &arguments.request {
        Some(file) => format!(
            "send {} to your certification authority, then: ctk card import-cert {place} FILE",
            file.display()
        ),
        None => {
            let public = arguments.out.as_deref().unwrap_or(Path::new("FILE"));
            format!(
                "next: ctk card request {place} --subject CN=NAME --public-key {}",
                public.display()
            )
        }
    };
    let made = format!("{key_type} made in {place} of {}; {next}", card.named());
    match &arguments.out {
        Some(_) => console.text(&format!("{made}\n")),
        None => {
            console.warn(made);
            console.text(&public_key)
        }
    }
}

/// Asks whether the key in this place may go, unless the card says that there is none.
fn confirm(console: &Console, card: &Card, session: &dyn TokenSession, place: &Place) -> Outcome {
    let contents = card.token.contents();
    let key = contents.keys().find(|key| key.identity == place.identity);
    let certificate = contents
        .certificates()
        .find(|certificate| certificate.identity == place.identity);
    let there = match (key, certificate) {
        (Some(key), _) => format!("the key {:?} ({})", key.label, key.public_key.key_type()),
        (None, Some(certificate)) => format!("the key of {:?}", certificate.label),
        (None, None) => return confirm_unknown(console, card, session, place),
    };
    console.confirm(
        &format!(
            "{place} of {} holds {there}. It is destroyed for good, and its certificate deleted; what was encrypted to it \
             cannot be read any more. Type yes to go on:",
            card.named()
        ),
        &["yes"],
        &format!("{place} holds {there}, which would be destroyed for good; to do that: --force"),
        "nothing was changed",
    )
}

/// Asks the same about a key that the card may have and does not tell of: one that waits for its certificate.
fn confirm_unknown(
    console: &Console,
    card: &Card,
    session: &dyn TokenSession,
    place: &Place,
) -> Outcome {
    let is_free = session.is_free(&place.identity).or_else(|error| {
        failure(match error {
            TokenError::ObjectNotFound => format!("{} has no place {place}", card.named()),
            error => explain(card, Role::Admin, &error),
        })
    })?;
    if is_free {
        return Ok(());
    }
    let unknown = format!("{} does not tell whether {place} holds a key", card.named());
    console.confirm(
        &format!("{unknown}. One that is there is destroyed for good. Type yes to go on:"),
        &["yes"],
        &format!(
            "{unknown}, which would be destroyed for good; if there is none, or it may go: --force"
        ),
        "nothing was changed",
    )
}

fn make(card: &Card, session: &dyn TokenSession, place: &Place, key_type: KeyType) -> Outcome<Key> {
    let wanted = NewKey {
        key_type,
        identity: Some(&place.identity),
        label: None,
    };
    let id = session.generate_key(&wanted).or_else(|error| {
        failure(match error {
            TokenError::BadParameter => format!("{} makes no {key_type} keys", card.named()),
            TokenError::ObjectNotFound => format!("{} has no place {place}", card.named()),
            TokenError::NotSupported => format!("{} makes no keys", card.named()),
            error => explain(card, Role::Admin, &error),
        })
    })?;
    match card.token.contents().key(&id) {
        Some(key) => Ok(key.clone()),
        None => failure(format!(
            "{} has made a key and does not tell of it; look with ctk card info",
            card.named()
        )),
    }
}

fn refuse_unsigned(key_type: KeyType) -> Outcome {
    if key_type == KeyType::X25519 {
        return failure(
            "an X25519 key makes no signatures, so it cannot sign a request; leave out --request",
        );
    }
    Ok(())
}

fn public_key_pem(key: &Key) -> Outcome<String> {
    pem::encode_string("PUBLIC KEY", LineEnding::LF, key.public_key.spki()).or_else(failure)
}

/// Writes what other tools read. It is said on standard output where that fails, for a card does not tell it twice.
pub(super) fn write(file: &Path, text: &str) -> Outcome {
    fs::write(file, text).or_else(|error| {
        failure(format!(
            "{}: {error}; this is what should stand there:\n{text}",
            file.display()
        ))
    })
}
