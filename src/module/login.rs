//! C_Login, C_LoginUser, C_Logout, C_InitPIN and C_SetPIN (PKCS#11 §5.6.8 to §5.6.10, §5.5.8,
//! §5.5.9).

use cryptoki_sys::*;
use ctk_token::{AuthSecret, LoginPolicy, Role, TokenError};

use crate::{
    abi::ptr::Input,
    error::{During, Error, Result},
    insertion::Insertion,
    key::Context,
    library,
    session::Session,
    working::Working,
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
    let role = role(user)?;
    // Whether there is anything to authenticate for does not depend on the PIN.
    let operation = match role {
        // Only for a key that wants it: a card would count a wrong PIN for any other as well.
        Role::Context => Some(session.operations().to_authenticate()?),
        _ => None,
    };
    // NULL leaves the secret to the token; a pointer with length 0 is an empty PIN.
    let secret = match &pin {
        Some(pin) => AuthSecret::Pin(pin.bytes()),
        None if session.insertion.policy == LoginPolicy::AppWithoutPin => AuthSecret::FromToken,
        None => return Err(Error::ArgumentsBad),
    };
    end_at_exit(session);
    match operation {
        Some(context) => login_for_operation(session, &context, secret),
        None => login_as(session, role, secret),
    }
}

/// A device may remember a secret that it was told when the process is gone.
fn end_at_exit(session: &Session) {
    if session.slot.is_hardware() {
        library::end_logins_at_exit();
    }
}

fn role(user: CK_USER_TYPE) -> Result<Role> {
    match user {
        CKU_SO => Ok(Role::Admin),
        CKU_USER => Ok(Role::User),
        CKU_CONTEXT_SPECIFIC => Ok(Role::Context),
        _ => Err(Error::UserTypeInvalid),
    }
}

/// C_LoginUser (PKCS#11 §5.6.9). Without a name it is C_Login. No token of ours knows its users by
/// names, so that no type of user has one of this name; the PIN is not sent then.
pub(crate) fn login_user(
    session: &Session,
    user: CK_USER_TYPE,
    pin: Result<Option<Input<'_>>>,
    username: Result<Option<Input<'_>>>,
) -> Result<()> {
    match username? {
        Some(name) if name.len() > 0 => Err(Error::UserTypeInvalid),
        _ => login(session, user, pin),
    }
}

/// C_SetPIN (PKCS#11 §5.5.9): the secret of who is logged in, or else the user's. The key store
/// checks the old one, whoever is logged in.
pub(crate) fn set_pin(
    session: &Session,
    old: Result<Option<Input<'_>>>,
    new: Result<Option<Input<'_>>>,
) -> Result<()> {
    let (old, new) = (old?, new?);
    if !session.read_write {
        return Err(Error::SessionReadOnly);
    }
    let insertion = &session.insertion;
    let (old, new) = match (old, new) {
        (Some(old), Some(new)) => (old, new),
        (None, None) => return Err(no_pin(insertion)),
        _ => return Err(Error::ArgumentsBad),
    };
    end_at_exit(session);
    let role = insertion.login().unwrap_or(Role::User);
    let token_session = insertion.token_session()?;
    let result = Working::begin().and_then(|_working| {
        token_session.change_pin(role, AuthSecret::Pin(old.bytes()), new.bytes())
    });
    result.map_err(|error| {
        insertion.heed(&token_session, &error);
        Error::from_token(During::ChangePin, &error)
    })
}

/// C_InitPIN (PKCS#11 §5.5.8): the SO sets a new PIN for the user.
///
/// A card may have nothing to check the SO's secret by at C_Login but this use of it (a PUK). If it
/// was wrong the SO was never logged in, and it is not sent again.
pub(crate) fn init_pin(session: &Session, new: Result<Option<Input<'_>>>) -> Result<()> {
    let new = new?;
    let insertion = &session.insertion;
    // Only a read-write session can be in the SO's state.
    if insertion.login() != Some(Role::Admin) {
        return Err(Error::UserNotLoggedIn);
    }
    let new = new.ok_or_else(|| no_pin(insertion))?;
    let token_session = insertion.token_session()?;
    let result = Working::begin().and_then(|_working| token_session.unblock_pin(new.bytes()));
    result.map_err(|error| {
        insertion.heed(&token_session, &error);
        if matches!(
            error,
            TokenError::AuthenticationFailed { .. } | TokenError::AuthenticationNeeded
        ) {
            insertion.lost(&token_session);
        }
        Error::from_token(During::InitPin, &error)
    })
}

/// What a NULL for a new PIN is: the wish that the token asks for it, which none can.
fn no_pin(insertion: &Insertion) -> Error {
    match insertion.policy {
        LoginPolicy::AppWithoutPin => Error::FunctionNotSupported,
        LoginPolicy::App | LoginPolicy::OnUse => Error::ArgumentsBad,
    }
}

fn login_as(session: &Session, role: Role, secret: AuthSecret<'_>) -> Result<()> {
    let insertion = &session.insertion;
    loop {
        match insertion.login() {
            None => {}
            Some(current) if current == role => return Err(Error::UserAlreadyLoggedIn),
            Some(_) => return Err(Error::UserAnotherAlreadyLoggedIn),
        }
        if role == Role::Admin && insertion.session_counts().0 > 0 {
            return Err(Error::SessionReadOnlyExists);
        }
        let token_session = insertion.token_session()?;
        Working::begin()
            .and_then(|_working| token_session.begin_auth(role, None)?.finish(secret))
            .map_err(|error| {
                insertion.heed(&token_session, &error);
                Error::from_token(During::Login, &error)
            })?;
        // Sent again when a logout of another thread came in between. A right secret costs no try;
        // one that is good once is refused by the service then, and the program asks for the next.
        if insertion.logged_in(&token_session, role)? {
            return Ok(());
        }
    }
}

/// CKU_CONTEXT_SPECIFIC: once more, for the operation that is active. It fails or succeeds without
/// ending the operation.
fn login_for_operation(session: &Session, context: &Context, secret: AuthSecret<'_>) -> Result<()> {
    context.check_login(&session.insertion)?;
    context.authenticate(secret).map_err(|error| {
        session.insertion.heed(&context.session, &error);
        Error::from_token(During::Login, &error)
    })
}

/// C_Logout.
pub(crate) fn logout(session: &Session) -> Result<()> {
    session.insertion.log_out()
}

/// Whether nobody is logged in any more after this error, whatever was being done.
pub(crate) fn ends_login(error: &TokenError) -> bool {
    matches!(
        error,
        TokenError::StateLost | TokenError::TokenRemoved | TokenError::PinLocked
    )
}
