//! Who is logged in, in this process and on the card: a login that was made here never outlives the
//! session that it was made for.

use std::time::Duration;

use ctk_token::{Role, TokenError};

use crate::{
    applet::{Failure, Result},
    applets::ROWS,
    card::{END_PATIENCE, Transaction},
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
    /// In which epoch the card was told of an authentication for one operation that has not come
    /// yet.
    unused: Option<u64>,
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
        if role == Role::Context {
            self.unused = Some(epoch);
        }
    }

    /// Takes note that the operation has come that was authenticated for.
    pub(crate) fn used(&mut self) {
        self.unused = None;
    }

    /// Takes note that the card has accepted nothing, and of what it was told before.
    pub(crate) fn refused(&mut self, role: Role, was_told: bool) {
        if role == Role::Context {
            self.unused = None;
        }
        if !was_told {
            self.of(role).on_card = None;
        }
    }

    /// Whether the card knows of a login of this role that was made here.
    pub(crate) fn is_told(&mut self, role: Role, epoch: u64) -> bool {
        self.of(role).on_card == Some(epoch)
    }

    /// Takes note that the card does not know of it.
    pub(crate) fn forgotten(&mut self, role: Role) {
        match role {
            // The user stays logged in.
            Role::Context => self.unused = None,
            role => self.of(role).on_card = None,
        }
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
        let mut roles: Vec<_> = roles
            .filter(|role| {
                let login = self.of(*role);
                login.sessions == 0 && login.on_card == Some(epoch)
            })
            .collect();
        if self.unused == Some(epoch) {
            // First: a login that ends may be all that it was.
            roles.insert(0, Role::Context);
        }
        roles
    }

    /// Takes note that the card has lost all that it knew before this epoch.
    fn forget_before(&mut self, epoch: u64) {
        for login in [&mut self.user, &mut self.admin] {
            login.on_card.take_if(|on_card| *on_card != epoch);
        }
        self.unused.take_if(|unused| *unused != epoch);
    }

    /// Whether the card may know of a login that was made here.
    fn is_any_told(&self) -> bool {
        self.user.on_card.is_some() || self.admin.on_card.is_some()
    }

    /// No session counts on any login any more.
    fn abandon(&mut self) {
        self.user.sessions = 0;
        self.admin.sessions = 0;
    }

    fn is_anybody_in(&self) -> bool {
        self.user.sessions + self.admin.sessions > 0
    }
}

impl CardToken {
    /// Whether the card may know of a login that no session counts on any more, from memory.
    pub(crate) fn has_left_over(&self) -> bool {
        self.with_logins(|logins| {
            let mut logins = [&logins.user, &logins.admin].into_iter();
            logins.any(|login| login.sessions == 0 && login.on_card.is_some())
        })
    }

    /// Whether the card may know of an authentication whose operation has not come, from memory. It
    /// may still come, but for who has the card.
    pub(crate) fn has_unused(&self) -> bool {
        self.with_logins(|logins| logins.unused.is_some())
    }

    /// Makes the card forget such logins, if nobody keeps it for longer than `patience`. Otherwise
    /// whoever has the card next does it.
    pub(crate) fn forget_within(&self, patience: Duration) {
        match self.card().transaction_within(patience) {
            Ok(mut card) => self.forget_left_over(&mut card),
            Err(error) => log::debug!("card: it is not made to forget a login now: {error}"),
        }
    }

    /// Makes the card forget the logins that no session counts on any more: without a command where
    /// nobody else uses the card, else as the applet can, else by selecting another applet, and at
    /// last by a reset, which ends the logins of other programs as well. The transaction may be
    /// over then.
    pub(crate) fn forget_left_over(&self, card: &mut Transaction<'_>) {
        self.try_to_forget(card);
        let epoch = card.epoch();
        self.with_logins(|logins| logins.forget_before(epoch));
    }

    /// The process ends, and its sessions were never closed: the card forgets their logins, and
    /// whoever comes after that finds it removed. Other threads may be in the middle of an
    /// operation, or of a call that never ends, so they are not waited for without a limit.
    pub(crate) fn process_ends(&self) {
        if self.is_removed() || !self.with_logins(|logins| logins.is_any_told()) {
            return;
        }
        self.card().end_hold();
        match self.card().transaction_within(END_PATIENCE) {
            Ok(mut card) => {
                self.with_logins(Logins::abandon);
                self.forget_left_over(&mut card);
                self.removed();
            }
            Err(error) => log::warn!("card: it may stay logged in until it is taken out: {error}"),
        }
    }

    fn try_to_forget(&self, card: &mut Transaction<'_>) {
        let epoch = card.epoch();
        let (roles, is_anybody_in) = self.with_logins(|logins| {
            logins.forget_before(epoch);
            (logins.left_over(epoch), logins.is_anybody_in())
        });
        if roles.is_empty() {
            return;
        }
        if !is_anybody_in {
            match card.reset_if_alone() {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    log::debug!("card: it is not made to forget a login now: {error}");
                    return;
                }
            }
        }
        for role in roles {
            let forgotten = self.forget(card, role);
            if card.epoch() != epoch {
                // Whatever has reset it has ended every login.
                return;
            }
            match forgotten {
                Ok(()) => self.with_logins(|logins| logins.forgotten(role)),
                Err(Failure::Link(LinkError::Removed)) => return,
                Err(_) if card.reset() => return,
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
                Ok(()) => {
                    self.return_to_own(card);
                    return Ok(());
                }
                Err(Failure::Status(_)) => {}
                Err(failure) => return Err(failure),
            }
        }
        Err(TokenError::NotSupported.into())
    }

    /// Selects the applet after another one was selected to end a login: who comes next shall find
    /// what was there before.
    fn return_to_own(&self, card: &mut Transaction<'_>) {
        if let Err(failure) = card.select(self.applet().row()) {
            let error = failure.into_token_error();
            log::debug!("card: its applet is not selected again now: {error}");
        }
    }
}
