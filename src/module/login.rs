//! C_Login and C_Logout (PKCS#11 §5.6.8, §5.6.10).

use cryptoki_sys::*;
use ctk_token::{AuthSecret, LoginPolicy, Role, TokenError};

use crate::{
    abi::ptr::Input,
    error::{During, Error, Result},
    session::{Session, Stage},
};

/// C_Login.
///
/// The secret always goes to the key store, also when the key store says that nobody needs to
/// authenticate: a login that succeeds without its PIN lets anyone in.
pub(crate) fn login(
    session: &Session,
    user: CK_USER_TYPE,
    pin: Result<Option<Input<'_>>>,
) -> Result<()> {
    let pin = pin?;
    let role = match user {
        CKU_SO => Role::Admin,
        CKU_USER => Role::User,
        CKU_CONTEXT_SPECIFIC => Role::Context,
        _ => return Err(Error::UserTypeInvalid),
    };
    // NULL leaves the secret to the token; a pointer with length 0 is an empty PIN.
    let secret = match &pin {
        Some(pin) => AuthSecret::Pin(pin.bytes()),
        None if session.insertion.policy == LoginPolicy::AppWithoutPin => AuthSecret::FromToken,
        None => return Err(Error::ArgumentsBad),
    };
    match role {
        Role::Context => login_for_operation(session, secret),
        _ => login_as(session, role, secret),
    }
}

fn login_as(session: &Session, role: Role, secret: AuthSecret<'_>) -> Result<()> {
    let insertion = &session.insertion;
    match insertion.login() {
        None => {}
        Some(current) if current == role => return Err(Error::UserAlreadyLoggedIn),
        Some(_) => return Err(Error::UserAnotherAlreadyLoggedIn),
    }
    if role == Role::Admin && insertion.session_counts().0 > 0 {
        return Err(Error::SessionReadOnlyExists);
    }
    let token_session = insertion.token_session()?;
    token_session
        .begin_auth(role, None)
        .and_then(|operation| operation.finish(secret))
        .map_err(|error| Error::from_token(During::Login, &error))?;
    insertion.logged_in(&token_session, role)
}

/// CKU_CONTEXT_SPECIFIC: once more, for the operation that is active. It fails or succeeds without
/// ending the operation.
fn login_for_operation(session: &Session, secret: AuthSecret<'_>) -> Result<()> {
    let (token_session, key) = match &session.operations().signing {
        Stage::Active(signing) => signing.authenticates(),
        Stage::Idle => return Err(Error::OperationNotInitialized),
        Stage::Running => return Err(Error::OperationActive),
    };
    let result = token_session
        .begin_auth(Role::Context, Some(&key))
        .and_then(|operation| operation.finish(secret));
    if let Err(error) = &result {
        lost(session, error);
    }
    result.map_err(|error| Error::from_token(During::Login, &error))
}

/// C_Logout.
pub(crate) fn logout(session: &Session) -> Result<()> {
    let (token_session, role) = session
        .insertion
        .logged_out()
        .ok_or(Error::UserNotLoggedIn)?;
    if let Some(token_session) = token_session {
        token_session.end_auth(role);
    }
    Ok(())
}

/// Takes note of an error after which nobody is logged in any more, so that the program can log in
/// again.
pub(crate) fn lost(session: &Session, error: &TokenError) {
    let gone = matches!(
        error,
        TokenError::StateLost | TokenError::TokenRemoved | TokenError::PinLocked
    );
    if gone && let Some((Some(token_session), role)) = session.insertion.logged_out() {
        token_session.end_auth(role);
    }
}
