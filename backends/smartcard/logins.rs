//! Who is logged in, in this process and on the card: a login that was made here never outlives the
//! session that it was made for.

use ctk_token::{Role, TokenError};

use crate::{
    applet::{Failure, Result},
    applets::ROWS,
    card::Transaction,
    link::LinkError,
    token::CardToken,
};

/// What manages the applications on most cards, and can be selected there instead of an applet that
/// does not forget a login in another way (GlobalPlatform Card Specification 2.3.1 §H.1.3).
const ISSUER_SECURITY_DOMAIN: &[u8] = &[0xa0, 0, 0, 1, 0x51, 0, 0, 0];

/// The logins of one card.
#[derive(Debug, Default)]
pub(crate) struct Logins {
    user: Login,
    admin: Login,
}

#[derive(Debug, Default)]
struct Login {
    /// How many sessions count on it.
    sessions: usize,
    /// In which epoch the card was told, so that it may still know.
    on_card: Option<u64>,
}

impl Logins {
    fn of(&mut self, role: Role) -> &mut Login {
        match role {
            Role::User | Role::Context => &mut self.user,
            Role::Admin | Role::Unblock => &mut self.admin,
        }
    }

    /// Takes note that the card is about to be told, or was told by a command that does something
    /// else as well.
    pub(crate) fn told(&mut self, role: Role, epoch: u64) {
        self.of(role).on_card = Some(epoch);
    }

    /// Whether the card knows of a login of this role that was made here.
    pub(crate) fn is_told(&mut self, role: Role, epoch: u64) -> bool {
        self.of(role).on_card == Some(epoch)
    }

    /// Takes note that the card does not know of it.
    pub(crate) fn forgotten(&mut self, role: Role) {
        self.of(role).on_card = None;
    }

    /// One more session counts on the login.
    pub(crate) fn began(&mut self, role: Role) {
        self.of(role).sessions += 1;
    }

    /// One session less does.
    pub(crate) fn ended(&mut self, role: Role) {
        let login = self.of(role);
        login.sessions = login.sessions.saturating_sub(1);
    }

    /// The roles that the card may know of and no session counts on.
    fn left_over(&mut self, epoch: u64) -> Vec<Role> {
        let roles = [Role::User, Role::Admin].into_iter();
        roles
            .filter(|role| {
                let login = self.of(*role);
                login.sessions == 0 && login.on_card == Some(epoch)
            })
            .collect()
    }

    fn is_anybody_in(&self) -> bool {
        self.user.sessions + self.admin.sessions > 0
    }
}

impl CardToken {
    /// Makes the card forget the logins that no session counts on any more: without a command where
    /// nobody else uses the card, else as the applet can, else by selecting another applet.
    pub(crate) fn forget_left_over(&self, card: &mut Transaction<'_>) {
        let epoch = card.epoch();
        let (roles, is_anybody_in) =
            self.with_logins(|logins| (logins.left_over(epoch), logins.is_anybody_in()));
        if roles.is_empty() || !is_anybody_in && card.reset_if_alone() {
            return;
        }
        for role in roles {
            match self.forget(card, role) {
                Ok(()) => self.with_logins(|logins| logins.forgotten(role)),
                Err(failure) => {
                    let error = failure.into_token_error();
                    log::warn!("card: it may stay logged in until it is taken out: {error}");
                }
            }
        }
    }

    fn forget(&self, card: &mut Transaction<'_>, role: Role) -> Result<()> {
        match self.applet().forget(card, role) {
            Ok(true) => return Ok(()),
            // Whatever has reset it has ended the login.
            Err(Failure::Link(LinkError::Reset | LinkError::Removed)) => return Ok(()),
            Err(Failure::Link(error)) => return Err(error.into()),
            Ok(false) | Err(_) => {}
        }
        if !self.is_selected(card)? {
            // Another program has selected another applet, which ended the login.
            return Ok(());
        }
        let own = self.applet().row();
        let others = ROWS.iter().filter(|row| !row.is(own)).map(|row| row.aid);
        for aid in others.chain([ISSUER_SECURITY_DOMAIN]) {
            match card.select_other(aid) {
                Ok(()) => return Ok(()),
                Err(Failure::Status(_)) => {}
                Err(failure) => return Err(failure),
            }
        }
        Err(TokenError::NotSupported.into())
    }
}
