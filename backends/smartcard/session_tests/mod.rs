//! What a session sends and what it does not, with a card that behaves and other programs that do
//! not.

mod exits;
mod left_over;
mod operations;
mod reading;
mod secrets;
mod sharing;

use std::sync::Arc;

use ctk_token::{
    AuthSecret, KeyAlgorithm, ObjectId, Reason, Result, Role, Token, TokenError, TokenSession,
};

use crate::{
    link::LinkError,
    test_applet::{EACH, PIN, SIGNATURE, TestCard},
    token::CardToken,
};

fn sign(session: &dyn TokenSession, key: &[u8]) -> Result<()> {
    let mut signature = [0; 100];
    let key = ObjectId::new(key);
    let len = session.sign(
        &key,
        KeyAlgorithm::EcdsaDigest,
        &[1, 2, 3, 4],
        &mut signature,
    )?;
    assert_eq!(signature[..len], *SIGNATURE);
    Ok(())
}

fn log_in(session: &dyn TokenSession, role: Role, secret: &[u8]) -> Result<()> {
    session
        .begin_auth(role, None)?
        .finish(AuthSecret::Pin(secret))
}

fn authenticate(session: &dyn TokenSession, pin: &[u8]) -> Result<()> {
    let key = ObjectId::new(EACH);
    let operation = session.begin_auth(Role::Context, Some(&key))?;
    operation.finish(AuthSecret::Pin(pin))
}

/// A card whose contents are known, its token and a session, with nothing sent that counts.
fn ready() -> (TestCard, Arc<CardToken>, Arc<dyn TokenSession>) {
    let card = TestCard::new();
    let token = card.token();
    token.info();
    token.load().unwrap();
    card.sent();
    let session = token.create_session().unwrap();
    (card, token, session)
}

fn logged_in() -> (TestCard, Arc<CardToken>, Arc<dyn TokenSession>) {
    let (card, token, session) = ready();
    log_in(&*session, Role::User, PIN).unwrap();
    card.sent();
    (card, token, session)
}

fn mute() -> LinkError {
    LinkError::Mute(Reason::new("no answer"))
}

const WRONG: &[u8] = b"000000";
const NEEDED: Result<()> = Err(TokenError::AuthenticationNeeded);
