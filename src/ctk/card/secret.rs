//! The secrets of a card: how they are asked for, and how a person learns what a wrong one costs.

use std::path::Path;

use ctk_host::PinSource;
use ctk_token::{AuthSecret, LoginPolicy, ObjectId, PinState, Role, TokenError, TokenSession};
use zeroize::Zeroizing;

use super::{find::Card, place::Kind};
use crate::{
    console::{Console, Outcome, failure},
    password::ask,
};

/// The management key of a PIV card that nobody has given another one. The standard leaves it to the maker; makers agree.
const FACTORY_KEY: &[u8] = b"010203040506070801020304050607080102030405060708";
/// What is typed for it.
const FACTORY_WORD: &[u8] = b"default";
/// How often a person at a terminal may try, whatever the card allows.
const TRIES: usize = 3;

/// A secret that was right, for as long as it is needed again.
pub(crate) enum Secret {
    /// A person typed it.
    Typed(Zeroizing<Vec<u8>>),
    /// The reader's own keys are used each time.
    OnReader,
}

impl Secret {
    pub(crate) fn as_auth(&self) -> AuthSecret<'_> {
        match self {
            Self::Typed(bytes) => AuthSecret::Pin(bytes),
            Self::OnReader => AuthSecret::FromToken,
        }
    }
}

/// What a person calls the secret of a role.
pub(crate) fn name(kind: Kind, role: Role) -> &'static str {
    match (kind, role) {
        (_, Role::User | Role::Context) => "PIN",
        (Kind::Piv, Role::Admin) => "management key",
        (Kind::OpenPgp, Role::Admin) => "admin PIN",
        (Kind::Other, Role::Admin) => "administrator's PIN",
        (Kind::OpenPgp, Role::Unblock) => "resetting code",
        (_, Role::Unblock) => "PUK",
    }
}

/// Logs in as the owner, and gives the PIN for whatever wants it again.
pub(crate) fn log_in(
    console: &Console,
    card: &Card,
    session: &dyn TokenSession,
) -> Outcome<Secret> {
    refuse_locked(card, Role::User)?;
    if card.token.login_policy() != LoginPolicy::App {
        if !console.json {
            console.warn(format!("type the PIN on the keys of {}", card.reader));
        }
        let finished = session
            .begin_auth(Role::User, None)
            .and_then(|login| login.finish(AuthSecret::FromToken));
        return match finished {
            Ok(()) => Ok(Secret::OnReader),
            Err(error) => failure(explain(card, Role::User, &error)),
        };
    }
    warn_of_tries(console, card, Role::User);
    typed(console, card, Role::User, |secret| {
        session.begin_auth(Role::User, None)?.finish(secret)
    })
    .map(Secret::Typed)
}

/// Logs in as the administrator, by what a person types or what is in `file`.
pub(crate) fn log_in_admin(
    console: &Console,
    card: &Card,
    session: &dyn TokenSession,
    file: Option<&Path>,
) -> Outcome {
    let finish = |secret: AuthSecret<'_>| session.begin_auth(Role::Admin, None)?.finish(secret);
    let Some(file) = file else {
        refuse_locked(card, Role::Admin)?;
        warn_of_tries(console, card, Role::Admin);
        return typed(console, card, Role::Admin, finish).map(|_| ());
    };
    let whole = std::path::absolute(file)?;
    let secret = PinSource::File(whole)
        .secret(&console.environment)
        .or_else(failure)?;
    let secret = normal(card.kind(), secret.unwrap_or_default());
    check_form(card.kind(), Role::Admin, &secret)
        .or_else(|said| failure(format!("{}: {said}", file.display())))?;
    finish(AuthSecret::Pin(&secret)).or_else(|error| {
        let said = explain(card, Role::Admin, &error);
        failure(format!("{said} ({})", file.display()))
    })
}

/// Asks for the secret of a role until `open` takes it: again only while that cannot lock it, and never by itself.
pub(crate) fn typed(
    console: &Console,
    card: &Card,
    role: Role,
    mut open: impl FnMut(AuthSecret<'_>) -> ctk_token::Result<()>,
) -> Outcome<Zeroizing<Vec<u8>>> {
    let name = name(card.kind(), role);
    let prompt = format!(
        "{} of {}{}: ",
        capital(name),
        card.named(),
        form(card, role)
    );
    let missing = format!("no {name} on standard input: write it there as one line");
    let tries = if console.is_interactive() { TRIES } else { 1 };
    for left in (0..tries).rev() {
        let secret = normal_for(card, role, ask(console, &prompt, &missing)?);
        if let Err(said) = check_form(card.kind(), role, &secret) {
            if left == 0 {
                return failure(said);
            }
            console.warn(format!("{said}; try again"));
            continue;
        }
        match open(AuthSecret::Pin(&secret)) {
            Ok(()) => return Ok(secret),
            Err(error) if left > 0 && may_try_again(&error, role, card.kind()) => {
                console.warn(format!("{}; try again", explain(card, role, &error)));
            }
            Err(TokenError::AuthenticationFailed { tries: None })
                if role != Role::Admin && !secret.iter().all(u8::is_ascii_digit) =>
            {
                return failure(format!(
                    "wrong {name}; on {} it may have the digits 0 to 9 only",
                    card.named()
                ));
            }
            Err(error) => return failure(explain(card, role, &error)),
        }
    }
    failure(format!("the {name} was not right; nothing was changed"))
}

/// Whether another wrong one would leave a try. A management key is not counted.
fn may_try_again(error: &TokenError, role: Role, kind: Kind) -> bool {
    match error {
        TokenError::AuthenticationFailed { tries: Some(tries) } => *tries > 1,
        TokenError::AuthenticationFailed { tries: None } => {
            kind == Kind::Piv && role == Role::Admin
        }
        // Refused before the card saw it.
        TokenError::PinLength { .. } | TokenError::DataInvalid => true,
        _ => false,
    }
}

/// Asks for a new secret, at a terminal twice, and refuses one of the wrong length before the card is asked.
pub(crate) fn ask_new(
    console: &Console,
    card: &Card,
    name: &str,
    (min, max): (usize, usize),
) -> Outcome<Zeroizing<Vec<u8>>> {
    let missing = format!(
        "the new {name} is missing, and nothing was changed: standard input has the old one and the new one, each as one \
         line"
    );
    let lengths = match min == max {
        true => format!("{min}"),
        false => format!("{min} to {max}"),
    };
    let unit = if card.kind() == Kind::Piv {
        "digits"
    } else {
        "characters"
    };
    let new = ask(
        console,
        &format!("New {name} ({lengths} {unit}): "),
        &missing,
    )?;
    if !(min..=max).contains(&new.len()) {
        return failure(format!(
            "the new {name} must have {lengths} {unit}; nothing was changed"
        ));
    }
    if console.is_interactive() && *ask(console, &format!("New {name} again: "), &missing)? != *new
    {
        return failure(format!("the two new {name}s differ; nothing was changed"));
    }
    Ok(new)
}

/// Asks for a new management key, at a terminal twice: digits, and another one than before.
pub(crate) fn ask_new_key(console: &Console, old: &[u8]) -> Outcome<Zeroizing<Vec<u8>>> {
    let missing = "the new management key is missing, and nothing was changed: standard input has the old one and the new \
                   one, each as one line";
    let asked = |prompt: &str| -> Outcome<Zeroizing<Vec<u8>>> {
        let key = normal(Kind::Piv, ask(console, prompt, missing)?);
        check_form(Kind::Piv, Role::Admin, &key)
            .or_else(|said| failure(format!("{said}; nothing was changed")))?;
        Ok(key)
    };
    let new = asked("New management key (32, 48 or 64 hexadecimal digits): ")?;
    if *new == *FACTORY_KEY || *new == *old {
        return failure(
            "that is the old one, or the one that everybody knows; nothing was changed",
        );
    }
    if console.is_interactive() && *asked("New management key again: ")? != *new {
        return failure("the two new management keys differ; nothing was changed");
    }
    Ok(new)
}

/// Says before anything is typed that the secret is locked, and what helps.
pub(crate) fn refuse_locked(card: &Card, role: Role) -> Outcome {
    let info = card.token.info();
    let state = match role {
        Role::User | Role::Context => info.user_pin,
        // A PIV card's state is that of its PUK, which is not asked for here.
        Role::Admin if card.kind() == Kind::Piv => PinState::Normal,
        // An OpenPGP card's is that of its admin PIN, and a resetting code helps where that is locked.
        Role::Unblock if card.kind() == Kind::OpenPgp => PinState::Normal,
        Role::Admin | Role::Unblock => info.admin_pin,
    };
    match state {
        PinState::Locked => failure(explain(card, role, &TokenError::PinLocked)),
        _ => Ok(()),
    }
}

/// Says before anything is typed how many tries are left, if some are gone.
pub(crate) fn warn_of_tries(console: &Console, card: &Card, role: Role) {
    if role == Role::Admin && card.kind() == Kind::Piv {
        // The tries are those of the PUK.
        return;
    }
    let name = name(card.kind(), role);
    match card.token.tries_left(role) {
        Some(1) => console.warn(format!("the next wrong {name} locks it")),
        Some(tries) if card.token.info().user_pin != PinState::Normal && role == Role::User => {
            console.warn(format!("{tries} tries are left for the {name}"));
        }
        _ => {}
    }
}

/// Authenticates once more, for the next use of a key that wants it each time.
pub(crate) fn authenticate_again(
    session: &dyn TokenSession,
    key: &ObjectId,
    secret: &Secret,
) -> ctk_token::Result<()> {
    session
        .begin_auth(Role::Context, Some(key))?
        .finish(secret.as_auth())
}

/// A sentence about why a card did not take a secret, or did not do what was asked of it.
pub(crate) fn explain(card: &Card, role: Role, error: &TokenError) -> String {
    let (which, kind) = (card.named(), card.kind());
    let name = name(kind, role);
    match error {
        TokenError::AuthenticationFailed { tries: Some(1) } => {
            format!("wrong {name}; one try is left before {which} locks it")
        }
        TokenError::AuthenticationFailed { tries: Some(tries) } => {
            format!("wrong {name}; {tries} tries are left")
        }
        TokenError::AuthenticationFailed { tries: None } => format!("wrong {name} for {which}"),
        TokenError::PinLocked => locked(&which, kind, role),
        TokenError::PinLength { min, max } if min == max => {
            format!("the {name} has {min} characters; no try was spent")
        }
        TokenError::PinLength { min, max } => {
            format!("the {name} has {min} to {max} characters; no try was spent")
        }
        TokenError::DataInvalid => {
            format!("the {name} has characters that {which} does not take; no try was spent")
        }
        TokenError::TokenRemoved => "the card was removed; put it in and try again".to_owned(),
        TokenError::StateLost => {
            format!("{which} was reset by another program; try again")
        }
        TokenError::NotSupported => format!("{which} has no {name}, or cannot do that"),
        error => format!("{which}: {error}"),
    }
}

/// A sentence about a secret that has no tries left, and what helps.
fn locked(which: &str, kind: Kind, role: Role) -> String {
    match (role, kind) {
        (Role::User | Role::Context, Kind::Piv) => format!(
            "the PIN of {which} is locked after too many wrong ones; ctk pin unblock sets a new one with the PUK"
        ),
        (Role::User | Role::Context, _) => format!(
            "the PIN of {which} is locked after too many wrong ones; ctk pin unblock sets a new one with the admin PIN"
        ),
        // A card without one says the same, and comes so.
        (Role::Unblock, Kind::OpenPgp) => format!(
            "{which} has no resetting code, or it is locked; ctk pin unblock sets a new PIN with the admin PIN"
        ),
        _ => format!(
            "the {} of {which} is locked after too many wrong ones; who issued the card can reset it, and what is on it is \
             lost then",
            name(kind, role)
        ),
    }
}

fn form(card: &Card, role: Role) -> &'static str {
    match (card.kind(), role) {
        (Kind::Piv, Role::Admin) => " (32, 48 or 64 hexadecimal digits, or the word default)",
        _ => "",
    }
}

fn normal_for(card: &Card, role: Role, secret: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    match role {
        Role::Admin => normal(card.kind(), secret),
        _ => secret,
    }
}

/// A management key as digits alone, however it was written.
fn normal(kind: Kind, secret: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    if kind != Kind::Piv {
        return secret;
    }
    if *secret == FACTORY_WORD {
        return Zeroizing::new(FACTORY_KEY.to_vec());
    }
    let mut digits = Zeroizing::new(Vec::with_capacity(secret.len()));
    digits.extend(secret.iter().filter(|byte| !b" :-\t\r".contains(byte)));
    digits
}

/// Refuses what is no management key before the card sees it: one of the length of a PUK would be taken for that.
fn check_form(kind: Kind, role: Role, secret: &[u8]) -> Result<(), &'static str> {
    let is_key = matches!(secret.len(), 32 | 48 | 64) && secret.iter().all(u8::is_ascii_hexdigit);
    match kind == Kind::Piv && role == Role::Admin && !is_key {
        true => Err("a management key has 32, 48 or 64 hexadecimal digits"),
        false => Ok(()),
    }
}

/// With its first letter as it stands at the beginning of a sentence.
pub(crate) fn capital(name: &str) -> String {
    let mut characters = name.chars();
    let first = characters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(characters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_management_key_is_written_in_many_ways() {
        let written = |kind, text: &str| {
            let secret = Zeroizing::new(text.as_bytes().to_vec());
            String::from_utf8(normal(kind, secret).to_vec()).unwrap()
        };
        assert_eq!(written(Kind::Piv, "01:02 03-04\r"), "01020304");
        assert_eq!(written(Kind::Piv, "default").len(), 48);
        assert_eq!(written(Kind::OpenPgp, "12 34"), "12 34");
        assert_eq!(written(Kind::OpenPgp, "default"), "default");
    }

    #[test]
    fn a_puk_is_no_management_key() {
        let is_taken = |secret: &[u8]| check_form(Kind::Piv, Role::Admin, secret).is_ok();
        for len in [32, 48, 64] {
            assert!(is_taken(&vec![b'a'; len]));
            assert!(!is_taken(&vec![b'g'; len]));
        }
        assert!(is_taken(FACTORY_KEY));
        assert!(!is_taken(b"12345678") && !is_taken(b"") && !is_taken(&[b'1'; 40]));
        assert!(check_form(Kind::OpenPgp, Role::Admin, b"12345678").is_ok());
        assert!(check_form(Kind::Piv, Role::Unblock, b"12345678").is_ok());
    }

    #[test]
    fn nobody_is_asked_again_who_could_lock_the_card() {
        let wrong = |tries| TokenError::AuthenticationFailed { tries };
        let again = |error, role| may_try_again(&error, role, Kind::Piv);
        assert!(again(wrong(Some(2)), Role::User));
        assert!(!again(wrong(Some(1)), Role::User));
        assert!(!again(wrong(None), Role::User));
        assert!(again(wrong(None), Role::Admin));
        assert!(!may_try_again(&wrong(None), Role::Admin, Kind::OpenPgp));
        assert!(again(TokenError::PinLength { min: 6, max: 8 }, Role::User));
        assert!(!again(TokenError::PinLocked, Role::User));
        assert!(!again(TokenError::TokenRemoved, Role::User));
    }

    #[test]
    fn who_has_no_resetting_code_is_not_told_that_the_card_is_lost() {
        let code = locked("the card", Kind::OpenPgp, Role::Unblock);
        assert!(code.contains("no resetting code") && code.contains("admin PIN"));
        assert!(!code.contains("lost"), "{code}");
        let puk = locked("the card", Kind::Piv, Role::Unblock);
        assert!(puk.contains("the PUK of the card is locked") && puk.contains("lost"));
        let admin = locked("the card", Kind::OpenPgp, Role::Admin);
        assert!(admin.contains("the admin PIN") && admin.contains("lost"));
    }

    #[test]
    fn secrets_have_their_names() {
        assert_eq!(capital(name(Kind::Piv, Role::Admin)), "Management key");
        assert_eq!(name(Kind::OpenPgp, Role::Unblock), "resetting code");
        assert_eq!(name(Kind::Piv, Role::Unblock), "PUK");
    }
}
