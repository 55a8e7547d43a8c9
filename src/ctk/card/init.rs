//! `ctk card init`: gives an empty PIV card its identity.

use ctk_token::{Item, Role, TokenError, TokenSession};
use serde::Serialize;

use super::{
    args::AdminArguments,
    find::{self, Card},
    place::Kind,
    secret::{explain, log_in_admin},
};
use crate::console::{Console, Outcome, failure};

/// The label of the data object in which a PIV card keeps its identity, as programs see it.
const IDENTITY: &str = "Card Holder Unique Identifier";

#[derive(Serialize)]
struct Initialised {
    reader: String,
    serial: String,
    changed: bool,
}

pub(crate) fn run(console: &Console, arguments: &AdminArguments) -> Outcome {
    let card = find::card(console, arguments.card.reader.as_deref())?;
    if card.kind() != Kind::Piv {
        return failure(format!(
            "{} has its identity from who made it: there is nothing to do",
            card.named()
        ));
    }
    card.token
        .load()
        .or_else(|error| failure(explain(&card, Role::Admin, &error)))?;
    let session = card.token.create_session().or_else(failure)?;
    if has_identity(&card, &*session)? {
        return done(console, &card, false);
    }
    let file = arguments.management_key_file.as_deref();
    log_in_admin(console, &card, &*session, file)?;
    session
        .personalize()
        .or_else(|error| failure(explain(&card, Role::Admin, &error)))?;
    session.end_auth(Role::Admin);
    if !has_identity(&card, &*session)? {
        return failure(format!(
            "{} took the identity and does not show it: take the card out, put it in, and look with ctk card info",
            card.named()
        ));
    }
    done(console, &card, true)
}

/// Whether the card answers with a CHUID (SP 800-73-4 part 1 §3.1.2), which anybody may read.
fn has_identity(card: &Card, session: &dyn TokenSession) -> Outcome<bool> {
    let contents = card.token.contents();
    let data = contents.items.iter().find_map(|item| match item {
        Item::Data(data) if data.label == IDENTITY => Some(data),
        _ => None,
    });
    let Some(data) = data else {
        return Ok(false);
    };
    if let Some(value) = &data.value {
        return Ok(!value.is_empty());
    }
    match session.read(&data.id) {
        Ok(value) => Ok(!value.is_empty()),
        Err(TokenError::ObjectNotFound) => Ok(false),
        Err(error) => failure(explain(card, Role::Admin, &error)),
    }
}

fn done(console: &Console, card: &Card, changed: bool) -> Outcome {
    let serial = card.token.info().serial_number;
    if console.json {
        return console.object(&Initialised {
            reader: card.reader.clone(),
            serial,
            changed,
        });
    }
    let which = super::secret::capital(&card.named());
    console.text(&match changed {
        true => format!(
            "{which} has an identity now (CHUID and CCC), with the serial number {serial}.\n\
             ctk card generate 9a --type p256 makes the first key.\n"
        ),
        false => format!(
            "{which} has an identity, with the serial number {serial}; nothing was changed.\n"
        ),
    })
}
