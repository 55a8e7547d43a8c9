//! Secrets on their way to the card: checked for their form, sent once, to an applet that has just
//! answered.

use ctk_token::{
    AuthMethod, AuthOperation, AuthSecret, ObjectId, Result as TokenResult, Role, TokenError,
};

use crate::{
    applet::{Failure, Result, SecretForm},
    card::{PATIENCE, Transaction},
    link::PinpadVerify,
    session::CardSession,
};

/// Where the data of a short command begin.
const DATA: usize = 5;

/// An authentication that waits for its secret.
pub(crate) struct Authentication<'a> {
    session: &'a CardSession,
    role: Role,
    key: Option<ObjectId>,
    form: SecretForm,
}

impl<'a> Authentication<'a> {
    /// Begins one.
    ///
    /// # Errors
    /// [`TokenError::NotSupported`] for a role that the applet does not have.
    pub(crate) fn begin(
        session: &'a CardSession,
        role: Role,
        key: Option<&ObjectId>,
    ) -> TokenResult<Self> {
        let form = session.token.applet().secret_form(role)?;
        if role == Role::Context {
            let key = key.ok_or(TokenError::BadParameter)?;
            let key = session.token.key(key).ok_or(TokenError::ObjectNotFound)?;
            if !key.authenticates_always() {
                return Err(TokenError::BadParameter);
            }
        }
        Ok(Self {
            session,
            role,
            key: key.filter(|_| role == Role::Context).cloned(),
            form,
        })
    }

    fn is_by_pinpad(&self) -> bool {
        let token = &self.session.token;
        token.asks_by_itself(self.role, self.key.as_ref())
    }

    fn send(
        &self,
        card: &mut Transaction<'_>,
        form: SecretForm,
        secret: AuthSecret<'_>,
    ) -> Result<()> {
        let applet = self.session.token.applet();
        match secret {
            AuthSecret::Pin(secret) => applet.verify(card, self.role, self.key.as_ref(), secret),
            AuthSecret::FromToken => self.send_by_pinpad(card, form),
        }
    }

    fn send_by_pinpad(&self, card: &mut Transaction<'_>, form: SecretForm) -> Result<()> {
        let applet = self.session.token.applet();
        let template = applet.verify_template(self.role, self.key.as_ref());
        let (template, offset) = template.ok_or(TokenError::BadParameter)?;
        let in_one_byte = |len: usize| u8::try_from(len).unwrap_or(u8::MAX);
        let offset = offset.checked_sub(DATA).ok_or(TokenError::BadParameter)?;
        let verify = PinpadVerify {
            template,
            pin_offset: in_one_byte(offset),
            min_len: in_one_byte(form.min),
            max_len: in_one_byte(form.max),
        };
        let status = card.verify_on_pinpad(&verify)?;
        // PC/SC part 10 §2.5.5: what the reader answers by itself.
        match status.0 {
            0x9000 => Ok(()),
            0x6400 => Err(TokenError::TimedOut.into()),
            0x6401 => Err(TokenError::CanceledByUser.into()),
            0x6402 | 0x6403 => Err(TokenError::PinLength {
                min: form.min,
                max: form.max,
            }
            .into()),
            _ => Err(Failure::Status(status)),
        }
    }
}

impl AuthOperation for Authentication<'_> {
    fn method(&self) -> AuthMethod {
        match self.is_by_pinpad() {
            true => AuthMethod::FromToken,
            false => AuthMethod::Password,
        }
    }

    fn finish(self: Box<Self>, secret: AuthSecret<'_>) -> TokenResult<()> {
        let (session, role) = (self.session, self.role);
        let token = &session.token;
        match secret {
            AuthSecret::Pin(secret) => check_present(self.form, secret)?,
            AuthSecret::FromToken if self.is_by_pinpad() => {}
            AuthSecret::FromToken => return Err(TokenError::BadParameter),
        }
        if let AuthSecret::Pin(secret) = secret
            && is_kept_for_unblocking(session, role, secret)
        {
            session.keep_unblocking_secret(secret);
            return Ok(());
        }
        // What was authenticated for before, and never came, does not count any more.
        drop(session.resume(None));
        let mut card = token.transaction(PATIENCE)?;
        token.prove(&mut card).map_err(Failure::into_token_error)?;
        // Only now the card has been asked for sure how long its PINs may be.
        let form = token.applet().secret_form(role)?;
        if let AuthSecret::Pin(secret) = secret {
            check_present(form, secret)?;
        }
        let epoch = card.epoch();
        let was_told = token.with_logins(|logins| logins.is_told(role, epoch));
        token.with_logins(|logins| logins.told(role, epoch));
        let answer = self.send(&mut card, form, secret);
        token.note_tries(role, &answer);
        let Err(failure) = answer else {
            match self.key {
                Some(key) => session.authenticated_for(key, card.hold()),
                None => session.logged_in(&card, role),
            }
            return Ok(());
        };
        let error = failure.into_token_error();
        if is_certain(&error) {
            token.with_logins(|logins| logins.refused(role, was_told));
        }
        token.forget_left_over(&mut card);
        match error {
            // A login that needs a login: what some cards say of a PIN over the air.
            TokenError::AuthenticationNeeded => Err(TokenError::Denied),
            error => Err(error),
        }
    }
}

/// Whether the card can check this secret only when it is used.
fn is_kept_for_unblocking(session: &CardSession, role: Role, secret: &[u8]) -> bool {
    match role {
        Role::Unblock => true,
        Role::Admin => session.token.applet().is_unblocking_secret(secret),
        Role::User | Role::Context => false,
    }
}

/// Whether after this answer the card is sure not to have accepted anything.
fn is_certain(error: &TokenError) -> bool {
    matches!(
        error,
        TokenError::AuthenticationFailed { .. }
            | TokenError::PinLocked
            | TokenError::PinLength { .. }
            | TokenError::PinExpired
            | TokenError::CanceledByUser
            | TokenError::NotSupported
    )
}

/// As [`TokenSession::change_pin`](ctk_token::TokenSession::change_pin).
pub(crate) fn change(
    session: &CardSession,
    role: Role,
    old: AuthSecret<'_>,
    new: &[u8],
) -> TokenResult<()> {
    if role == Role::Context {
        return Err(TokenError::NotSupported);
    }
    let token = &session.token;
    let AuthSecret::Pin(old) = old else {
        return Err(TokenError::BadParameter);
    };
    let check = || {
        let form = token.applet().secret_form(role)?;
        check_present(form, old)?;
        check_new(form, new)
    };
    check()?;
    // Some cards take the owner of the old secret for logged in.
    let told = match role {
        Role::Admin if !token.applet().is_unblocking_secret(old) => Role::Admin,
        _ => Role::User,
    };
    with_secret(session, role, told, check, |card| {
        token.applet().change_secret(card, role, old, new)
    })?;
    if session
        .unblocking_secret()
        .is_some_and(|kept| kept.is_some())
        && role != Role::User
    {
        session.keep_unblocking_secret(new);
    }
    Ok(())
}

/// As [`TokenSession::unblock_pin`](ctk_token::TokenSession::unblock_pin).
pub(crate) fn unblock(session: &CardSession, new: &[u8]) -> TokenResult<()> {
    let token = &session.token;
    let check = || check_new(token.applet().secret_form(Role::User)?, new);
    check()?;
    let secret = session.unblocking_secret();
    let secret = secret.ok_or(TokenError::AuthenticationNeeded)?;
    let answer = match &secret {
        Some(secret) => with_secret(session, Role::Unblock, Role::User, check, |card| {
            token.applet().unblock(card, Some(secret), new)
        }),
        None => session.as_admin(|card| {
            // The new PIN is a secret as well, and goes to this applet only.
            token.prove(card)?;
            check()?;
            token.applet().unblock(card, None, new)
        }),
    };
    match &answer {
        Ok(()) => token.note_tries(Role::User, &Ok(())),
        // Whatever was wrong, it is not tried a second time.
        Err(_) => session.drop_unblocking_secret(),
    }
    answer
}

/// Sends a command with a secret of `role` in it, which is no login, and after which the card may
/// take `told` for logged in. The form of what is in it is checked when the card has said for sure
/// how long it may be.
fn with_secret(
    session: &CardSession,
    role: Role,
    told: Role,
    check: impl FnOnce() -> TokenResult<()>,
    send: impl FnOnce(&mut Transaction<'_>) -> Result<()>,
) -> TokenResult<()> {
    drop(session.resume(None));
    let token = &session.token;
    let mut card = token.transaction(PATIENCE)?;
    token.prove(&mut card).map_err(Failure::into_token_error)?;
    check()?;
    let epoch = card.epoch();
    let was_told = token.with_logins(|logins| logins.is_told(told, epoch));
    token.with_logins(|logins| logins.told(told, epoch));
    let answer = send(&mut card);
    token.note_tries(role, &answer);
    let answer = answer.map_err(Failure::into_token_error);
    if answer.as_ref().is_err_and(is_certain) && !was_told {
        token.with_logins(|logins| logins.forgotten(told));
    }
    token.forget_left_over(&mut card);
    answer
}

/// Refuses a secret that the card cannot have: it would count it as a wrong one.
fn check_present(form: SecretForm, secret: &[u8]) -> TokenResult<()> {
    check_len(form, secret)?;
    if has_other_than_digits(form, secret) {
        log::warn!("card: a PIN of this card has the digits 0 to 9 only: it was not sent");
        return Err(TokenError::AuthenticationFailed { tries: None });
    }
    Ok(())
}

fn check_new(form: SecretForm, secret: &[u8]) -> TokenResult<()> {
    check_len(form, secret)?;
    if has_other_than_digits(form, secret) {
        log::warn!("card: a PIN of this card may have the digits 0 to 9 only");
        return Err(TokenError::DataInvalid);
    }
    Ok(())
}

/// An empty secret is none: on a card that is logged in already, some would take it for the
/// question whether it is.
fn check_len(form: SecretForm, secret: &[u8]) -> TokenResult<()> {
    let min = form.min.max(1);
    match (min..=form.max).contains(&secret.len()) {
        true => Ok(()),
        false => Err(TokenError::PinLength { min, max: form.max }),
    }
}

fn has_other_than_digits(form: SecretForm, secret: &[u8]) -> bool {
    form.digits_only && !secret.iter().all(u8::is_ascii_digit)
}
