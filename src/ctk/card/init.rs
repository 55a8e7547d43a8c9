//! `ctk card init`: gives a PIV card what it lacks of an identity.

use ctk_token::{Item, Role, TokenError, TokenSession};
use serde::Serialize;

use super::{
    args::AdminArguments,
    find::{self, Card},
    place::Kind,
    secret::{explain, log_in_admin},
};
use crate::console::{Console, Outcome, failure};

/// The labels of the data objects in which a PIV card keeps its identity (SP 800-73-4 part 1 §3.1.1, §3.1.2), as programs see
/// them. Anybody may read them.
const IDENTITY: [&str; 2] = ["Card Holder Unique Identifier", "Card Capability Container"];

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

/// Whether the card answers with all that its identity is made of.
fn has_identity(card: &Card, session: &dyn TokenSession) -> Outcome<bool> {
    for label in IDENTITY {
        if !has(card, session, label)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn has(card: &Card, session: &dyn TokenSession, label: &str) -> Outcome<bool> {
    let contents = card.token.contents();
    let data = contents.items.iter().find_map(|item| match item {
        Item::Data(data) if data.label == label => Some(data),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::testing::TestCard;

    #[test]
    fn an_identity_is_complete_or_none() {
        let is_there = |objects: &[(&str, Option<&[u8]>)]| {
            let test = objects
                .iter()
                .fold(TestCard::empty(), |card, (label, value)| {
                    card.with_data(label, *value)
                });
            let card = test.card();
            let session = card.token.create_session().unwrap();
            has_identity(&card, &*session).unwrap()
        };
        let [holder, capabilities] = IDENTITY;
        assert!(!is_there(&[]));
        assert!(!is_there(&[(holder, Some(b"x"))]));
        assert!(!is_there(&[(holder, Some(b"x")), (capabilities, None)]));
        assert!(!is_there(&[
            (holder, Some(b"")),
            (capabilities, Some(b"x"))
        ]));
        assert!(is_there(&[
            (holder, Some(b"x")),
            (capabilities, Some(b"x"))
        ]));
    }
}
