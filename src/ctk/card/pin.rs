//! `ctk pin change` and `ctk pin unblock`: new PINs for a card.

use ctk_token::{AuthSecret, LoginPolicy, Role, TokenError};
use serde::Serialize;
use zeroize::Zeroizing;

use super::{
    args::{PinArguments, UnblockArguments},
    find::{self, Card},
    place::Kind,
    secret::{self, ask_new, capital, explain, refuse_locked, typed},
};
use crate::console::{Console, Outcome, failure};

/// What all PUKs of PIV cards are like (SP 800-73-4 part 2 §3.2.3), and admin PINs of OpenPGP cards (version 3.4 §4.3.2), in
/// bytes.
const PUK: (usize, usize) = (8, 8);
const ADMIN_PIN: (usize, usize) = (8, 127);

#[derive(Serialize)]
struct Changed {
    reader: String,
    secret: &'static str,
}

/// Gives the card another PIN, PUK or admin PIN.
pub(crate) fn change(console: &Console, arguments: &PinArguments) -> Outcome {
    let card = find::card(console, arguments.card.reader.as_deref())?;
    if arguments.management_key {
        return change_management_key(console, &card);
    }
    let (role, name) = match (arguments.admin, card.kind()) {
        (false, _) => (Role::User, "PIN"),
        (true, Kind::Piv) => (Role::Admin, "PUK"),
        (true, kind) => (Role::Admin, secret::name(kind, Role::Admin)),
    };
    let info = card.token.info();
    let state = match role {
        Role::User => info.user_pin,
        _ => info.admin_pin,
    };
    if state == ctk_token::PinState::Locked {
        return failure(locked(&card, role, name));
    }
    let session = card.token.create_session().or_else(failure)?;
    // Nobody is asked for a new PIN before the old one is right; a PUK cannot be tried but by its use. A reader with keys of
    // its own is not used: it would send the old PIN alone.
    let old = match role {
        Role::User => {
            secret::warn_of_tries(console, &card, role);
            let right = typed(console, &card, role, |secret| {
                session.begin_auth(role, None)?.finish(secret)
            })?;
            session.end_auth(role);
            right
        }
        _ => ask_old(console, &card, name)?,
    };
    let lengths = match (role, card.kind()) {
        (Role::User, _) => (info.min_pin_len, info.max_pin_len),
        (_, Kind::Piv) => PUK,
        _ => ADMIN_PIN,
    };
    let new = ask_new(console, &card, name, lengths)?;
    session
        .change_pin(role, AuthSecret::Pin(&old), &new)
        .or_else(|error| failure(refused(&card, role, name, &error)))?;
    done(
        console,
        &card,
        name,
        &format!("{} has a new {name}.\n", capital(&card.named())),
    )
}

/// Gives a PIV card another management key, typed as digits.
fn change_management_key(console: &Console, card: &Card) -> Outcome {
    let name = "management key";
    if card.kind() != Kind::Piv {
        return failure(format!(
            "{} has no management key; its admin PIN is changed with --admin",
            card.named()
        ));
    }
    let session = card.token.create_session().or_else(failure)?;
    let old = typed(console, card, Role::Admin, |secret| {
        session.begin_auth(Role::Admin, None)?.finish(secret)
    })?;
    session.end_auth(Role::Admin);
    let new = secret::ask_new_key(console, &old)?;
    session
        .change_pin(Role::Admin, AuthSecret::Pin(&old), &new)
        .or_else(|error| {
            failure(match error {
                TokenError::NotSupported => format!(
                    "{} has no command for another management key, or takes none of this length; nothing was changed",
                    card.named()
                ),
                error => refused(card, Role::Admin, name, &error),
            })
        })?;
    let said = format!(
        "{} has a new {name}; whoever loses it can make no keys on the card any more.\n",
        capital(&card.named())
    );
    done(console, card, name, &said)
}

/// Sets a new PIN in the name of who may.
pub(crate) fn unblock(console: &Console, arguments: &UnblockArguments) -> Outcome {
    let card = find::card(console, arguments.card.reader.as_deref())?;
    let role = match (card.kind(), arguments.resetting_code) {
        (Kind::Piv, false) | (_, true) => Role::Unblock,
        (_, false) => Role::Admin,
    };
    if card.kind() == Kind::Piv && arguments.resetting_code {
        return failure("a PIV card has a PUK and no resetting code; leave out --resetting-code");
    }
    refuse_locked(&card, role)?;
    if card.token.login_policy() == LoginPolicy::OnUse {
        return failure(format!("{} has no PIN of its own", card.named()));
    }
    let info = card.token.info();
    let session = card.token.create_session().or_else(failure)?;
    let name = secret::name(card.kind(), role);
    // A PUK counts its tries only when it is used, so a wrong one shows at the end.
    typed(console, &card, role, |secret| {
        session.begin_auth(role, None)?.finish(secret)
    })?;
    let new = ask_new(console, &card, "PIN", (info.min_pin_len, info.max_pin_len))?;
    session
        .unblock_pin(&new)
        .or_else(|error| failure(refused(&card, role, name, &error)))?;
    session.end_auth(role);
    let said = format!(
        "{} has a new PIN, and all tries for it again.\n",
        capital(&card.named())
    );
    done(console, &card, "PIN", &said)
}

fn ask_old(console: &Console, card: &Card, name: &str) -> Outcome<Zeroizing<Vec<u8>>> {
    let missing =
        format!("no {name} on standard input: write the old one there and then the new one");
    let prompt = format!("{} of {}: ", capital(name), card.named());
    let old = crate::password::ask(console, &prompt, &missing)?;
    // What is longer could be a management key, and is no PUK in any case.
    if card.kind() == Kind::Piv && old.len() > PUK.1 {
        return failure(format!(
            "a {name} has at most 8 characters; no try was spent"
        ));
    }
    Ok(old)
}

fn locked(card: &Card, role: Role, name: &str) -> String {
    match role {
        Role::User | Role::Unblock => explain(card, role, &TokenError::PinLocked),
        _ => format!(
            "the {name} of {} is locked after too many wrong ones; who issued the card can reset it, and what is on it is lost \
             then",
            card.named()
        ),
    }
}

fn refused(card: &Card, role: Role, name: &str, error: &TokenError) -> String {
    match error {
        TokenError::AuthenticationFailed { tries: Some(1) } => {
            format!("wrong {name}; one try is left before it is locked; nothing was changed")
        }
        TokenError::AuthenticationFailed { tries: Some(tries) } => {
            format!("wrong {name}; {tries} tries are left; nothing was changed")
        }
        TokenError::AuthenticationFailed { tries: None } => {
            format!("wrong {name}; nothing was changed")
        }
        TokenError::PinLocked => locked(card, role, name),
        TokenError::DataInvalid => format!(
            "the new one has characters that {} does not take{}; nothing was changed",
            card.named(),
            match card.kind() {
                Kind::Piv => ": it is made of the digits 0 to 9",
                _ => "",
            }
        ),
        TokenError::PinLength { min, max } => {
            format!("it must have {min} to {max} characters; nothing was changed")
        }
        TokenError::NotSupported => format!("{} cannot do that", card.named()),
        error => format!("{}; nothing was changed", explain(card, role, error)),
    }
}

fn done(console: &Console, card: &Card, secret: &'static str, said: &str) -> Outcome {
    match console.json {
        true => console.object(&Changed {
            reader: card.reader.clone(),
            secret,
        }),
        false => console.text(said),
    }
}
