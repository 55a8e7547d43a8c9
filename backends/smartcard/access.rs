//! What a session may do: who is logged in there, with which secret, for which operation.

use ctk_token::{ObjectId, Role};
use zeroize::Zeroizing;

use crate::{
    card::{HoldId, Transaction},
    session::CardSession,
};

/// What a session may do.
#[derive(Default)]
pub(crate) struct Access {
    user: Option<Login>,
    admin: Option<Admin>,
    /// An operation with this key was authenticated for: the card is kept until it comes.
    context: Option<(ObjectId, HoldId)>,
}

/// A login that the card knows of.
#[derive(Clone, Copy)]
pub(crate) struct Login {
    /// In which epoch of the card.
    pub(crate) epoch: u64,
    /// How many commands had been sent then.
    pub(crate) commands: u64,
}

/// What an administrator's secret was good for.
enum Admin {
    LoggedIn(Login),
    /// The card checks it when it is used.
    Unblocking(Zeroizing<Vec<u8>>),
}

impl CardSession {
    /// Takes note of a login that the card has accepted in this transaction.
    pub(crate) fn logged_in(&self, card: &Transaction<'_>, role: Role) {
        let login = Login {
            epoch: card.epoch(),
            commands: card.commands(),
        };
        let mut access = self.access.lock();
        let is_new = match role {
            Role::User | Role::Context => access.user.replace(login).is_none(),
            Role::Admin | Role::Unblock => {
                let before = access.admin.replace(Admin::LoggedIn(login));
                !matches!(before, Some(Admin::LoggedIn(_)))
            }
        };
        if is_new {
            self.token.with_logins(|logins| logins.began(role));
        }
    }

    /// Ends the login of `role` in this session. Says whether there was one.
    pub(crate) fn ended(&self, role: Role) -> bool {
        let mut access = self.access.lock();
        let was_in = match role {
            Role::User | Role::Context => access.user.take().is_some(),
            Role::Admin | Role::Unblock => {
                matches!(access.admin.take(), Some(Admin::LoggedIn(_)))
            }
        };
        if was_in {
            self.token.with_logins(|logins| logins.ended(role));
        }
        was_in
    }

    pub(crate) fn login(&self, role: Role) -> Option<Login> {
        let access = self.access.lock();
        match role {
            Role::User | Role::Context => access.user,
            Role::Admin | Role::Unblock => match access.admin {
                Some(Admin::LoggedIn(login)) => Some(login),
                _ => None,
            },
        }
    }

    /// Takes note that the card is kept for an operation with `key`.
    pub(crate) fn authenticated_for(&self, key: ObjectId, hold: HoldId) {
        self.access.lock().context = Some((key, hold));
    }

    /// The transaction that was left open for an operation with `key`, or with any.
    pub(crate) fn resume(&self, key: Option<&ObjectId>) -> Option<Transaction<'_>> {
        let mut access = self.access.lock();
        let is_it = |context: &mut (ObjectId, HoldId)| key.is_none_or(|key| context.0 == *key);
        let (_, hold) = access.context.take_if(is_it)?;
        drop(access);
        self.token.card().resume(hold)
    }

    /// Keeps a secret that the card can only check by using it.
    pub(crate) fn keep_unblocking_secret(&self, secret: &[u8]) {
        let secret = Zeroizing::new(secret.to_vec());
        let before = self.access.lock().admin.replace(Admin::Unblocking(secret));
        if matches!(before, Some(Admin::LoggedIn(_))) {
            self.token.with_logins(|logins| logins.ended(Role::Admin));
        }
    }

    /// What an administrator's secret is good for: `None` for nothing, `Some(None)` for what a
    /// login allows.
    pub(crate) fn unblocking_secret(&self) -> Option<Option<Zeroizing<Vec<u8>>>> {
        match self.access.lock().admin.as_ref()? {
            Admin::LoggedIn(_) => Some(None),
            Admin::Unblocking(secret) => Some(Some(secret.clone())),
        }
    }

    /// Forgets an administrator's secret that was wrong, so that it is not sent again.
    pub(crate) fn drop_unblocking_secret(&self) {
        let mut access = self.access.lock();
        access
            .admin
            .take_if(|admin| matches!(admin, Admin::Unblocking(_)));
    }

    /// Whether an operation was authenticated for that has not come yet.
    pub(crate) fn is_authenticated_for_any(&self) -> bool {
        self.access.lock().context.is_some()
    }

    /// Whether there is anything of `role` that can end.
    pub(crate) fn is_in(&self, role: Role) -> bool {
        match role {
            Role::Context => false,
            Role::User => self.login(Role::User).is_some(),
            Role::Admin | Role::Unblock => self.access.lock().admin.is_some(),
        }
    }
}
