//! In whose name an operation goes to the card, and what its answer says of who is logged in there.
//!
//! An operation is sent without asking first whether the applet is still selected: that would
//! double the commands. The question comes after an answer that another applet could have given.

use ctk_token::{Constraint, ObjectId, Result as TokenResult, Reuse, Role, TokenError};

use crate::{
    applet::{Failure, Result},
    card::{PATIENCE, Transaction},
    link::LinkError,
    logins::Logins,
    session::CardSession,
    status::Status,
};

/// In whose name an operation is performed.
pub(crate) enum Permit<'a> {
    /// Nobody's.
    Free,
    /// Who is logged in as this.
    Role(Role),
    /// Who has just logged in as user, if nothing was sent since: where each operation wants its
    /// own authentication, a card takes that for the first.
    Fresh,
    /// Who has authenticated for just this.
    Context(Transaction<'a>),
}

impl CardSession {
    /// In whose name an operation with this constraint is performed, if `check` does not refuse what
    /// is asked. An operation that is refused ends the authentication that was for it.
    pub(crate) fn permit(
        &self,
        constraint: Constraint,
        key: &ObjectId,
        check: impl FnOnce() -> TokenResult<()>,
    ) -> TokenResult<Permit<'_>> {
        let mut permit = self.permit_unchecked(constraint, key)?;
        if let Err(error) = check() {
            if let Permit::Context(card) = &mut permit {
                self.token.forget_left_over(card);
            }
            return Err(error);
        }
        Ok(permit)
    }

    fn permit_unchecked(&self, constraint: Constraint, key: &ObjectId) -> TokenResult<Permit<'_>> {
        let is_in = || self.login(Role::User).is_some();
        match constraint {
            Constraint::Never => Err(TokenError::NotSupported),
            Constraint::Free => Ok(Permit::Free),
            Constraint::Auth(_, Reuse::Session) if is_in() => Ok(Permit::Role(Role::User)),
            Constraint::Auth(_, Reuse::Operation) => match self.resume(Some(key)) {
                Some(card) => Ok(Permit::Context(card)),
                None if is_in() => Ok(Permit::Fresh),
                None => Err(TokenError::AuthenticationNeeded),
            },
            Constraint::Auth(..) => Err(TokenError::AuthenticationNeeded),
        }
    }

    pub(crate) fn perform<T>(
        &self,
        permit: Permit<'_>,
        work: impl Fn(&mut Transaction<'_>) -> Result<T>,
    ) -> TokenResult<T> {
        match permit {
            Permit::Free => self
                .token
                .in_transaction(PATIENCE, |card| self.freely(card, &work)),
            Permit::Role(role) => self.as_role(role, false, work),
            Permit::Fresh => self.as_role(Role::User, true, work),
            Permit::Context(mut card) => {
                // Nothing comes between the authentication and this, not even a question who
                // answers.
                let answer = work(&mut card);
                if answer.is_ok() {
                    self.token.with_logins(Logins::used);
                }
                self.token.forget_left_over(&mut card);
                answer.map_err(Failure::into_token_error)
            }
        }
        .inspect_err(|error| log::debug!("card: {error}"))
    }

    /// Changes the card as administrator. Whatever a change that has failed has left there is read
    /// again; the key of `identity` may be another one then.
    pub(crate) fn changing<T>(
        &self,
        identity: Option<&[u8]>,
        work: impl Fn(&mut Transaction<'_>) -> Result<T>,
    ) -> TokenResult<T> {
        self.as_admin(|card| {
            let before = card.commands();
            let answer = work(card);
            match &answer {
                Ok(_) => self.token.reload_from(card),
                Err(_) if card.commands() > before => self.token.mistrust(identity),
                Err(_) => {}
            }
            answer
        })
    }

    /// Does what needs somebody to be logged in as administrator.
    pub(crate) fn as_admin<T>(
        &self,
        work: impl Fn(&mut Transaction<'_>) -> Result<T>,
    ) -> TokenResult<T> {
        self.as_role(Role::Admin, false, work)
    }

    /// What needs nobody's authentication is sent without asking which applet is selected. If it
    /// was another one, ours is selected and it is sent again.
    fn freely<T>(
        &self,
        card: &mut Transaction<'_>,
        work: impl Fn(&mut Transaction<'_>) -> Result<T>,
    ) -> Result<T> {
        let token = &self.token;
        token.same_card(card)?;
        if !card.is_selected_last(token.applet().row()) {
            token.select(card)?;
        }
        let before = card.commands();
        let answer = work(card);
        if !self.may_be_of_another_applet(card, before, &answer) || token.is_selected(card)? {
            return answer;
        }
        token.select_again(card)?;
        work(card)
    }

    /// What needs a login is sent without asking as well, and never again: who has selected another
    /// applet, or reset the card, has ended the login.
    fn as_role<T>(
        &self,
        role: Role,
        is_fresh: bool,
        work: impl Fn(&mut Transaction<'_>) -> Result<T>,
    ) -> TokenResult<T> {
        let mut card = self.token.transaction(PATIENCE)?;
        let login = self.login(role).ok_or(TokenError::AuthenticationNeeded)?;
        if login.epoch != card.epoch() {
            return Err(self.lost(&mut card, role));
        }
        // What has gone wrong since may have been another card coming.
        if !card.is_identified()
            && let Err(failure) = self.token.same_card(&mut card)
        {
            return Err(failure.into_token_error());
        }
        if is_fresh && login.commands != card.commands() {
            return Err(TokenError::AuthenticationNeeded);
        }
        let before = card.commands();
        let answer = work(&mut card);
        let is_selected = match self.may_be_of_another_applet(&card, before, &answer) {
            true => self.token.is_selected(&mut card),
            false => Ok(true),
        };
        match (answer, is_selected) {
            (Ok(value), _) => Ok(value),
            (_, Err(Failure::Link(LinkError::Reset)))
            | (Err(Failure::Link(LinkError::Reset)), _) => Err(self.lost(&mut card, role)),
            (_, Ok(false)) => {
                // Whoever has selected another applet has ended the login on the card as well.
                self.token.with_logins(|logins| logins.forgotten(role));
                Err(self.lost(&mut card, role))
            }
            (_, Err(failure)) => Err(failure.into_token_error()),
            (Err(failure), Ok(true)) if is_unauthenticated(&failure) => match is_fresh {
                true => Err(TokenError::AuthenticationNeeded),
                false => Err(self.lost(&mut card, role)),
            },
            (Err(failure), Ok(true)) => Err(failure.into_token_error()),
        }
    }

    /// Whether another applet may have given this answer to a command after the first `before`.
    fn may_be_of_another_applet<T>(
        &self,
        card: &Transaction<'_>,
        before: u64,
        answer: &Result<T>,
    ) -> bool {
        if card.is_proven(self.token.applet().row()) {
            return false;
        }
        match answer {
            Err(Failure::Status(status)) => status.is_of_another_applet(),
            // What the applet has made of an answer, if it has asked at all.
            Err(Failure::Token(_)) => card.commands() > before,
            Err(Failure::Link(_)) | Ok(_) => false,
        }
    }

    /// Takes note that the card has forgotten a login.
    fn lost(&self, card: &mut Transaction<'_>, role: Role) -> TokenError {
        self.ended(role);
        self.token.forget_left_over(card);
        log::info!("card: it has forgotten a login: another program has used it, or it was reset");
        TokenError::StateLost
    }
}

/// Whether a card says that somebody has to log in.
fn is_unauthenticated(failure: &Failure) -> bool {
    matches!(
        failure,
        Failure::Status(Status::SECURITY_STATUS_NOT_SATISFIED)
            | Failure::Token(TokenError::AuthenticationNeeded)
    )
}
