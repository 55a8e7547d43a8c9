//! A session: one application's use of a card, and what it may do with it.

use std::sync::Arc;

use ctk_token::{
    AuthOperation, AuthSecret, Constraint, Item, Key, KeyAlgorithm, NewKey, ObjectId, Operation,
    PublicKey, Result as TokenResult, Reuse, Role, Token, TokenError, TokenSession,
};
use parking_lot::Mutex;
use zeroize::Zeroizing;

use crate::{
    applet::{Failure, Result},
    authentication::{self, Authentication},
    card::{HoldId, Transaction},
    input,
    link::LinkError,
    status::Status,
    token::CardToken,
};

/// One application's use of a card.
pub(crate) struct CardSession {
    pub(crate) token: Arc<CardToken>,
    /// Changed only by who has the card, so that a login and its end are each whole; looked at any time.
    pub(crate) access: Mutex<Access>,
}

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
struct Login {
    /// In which epoch of the card.
    epoch: u64,
    /// How many commands had been sent then.
    commands: u64,
}

/// What an administrator's secret was good for.
enum Admin {
    LoggedIn(Login),
    /// The card checks it when it is used.
    Unblocking(Zeroizing<Vec<u8>>),
}

/// In whose name an operation is performed.
enum Permit<'a> {
    /// Nobody's.
    Free,
    /// Who is logged in as this.
    Role(Role),
    /// Who has just logged in as user, if nothing was sent since: where each operation wants its own authentication, a card
    /// takes that for the first.
    Fresh,
    /// Who has authenticated for just this.
    Context(Transaction<'a>),
}

impl CardSession {
    pub(crate) fn new(token: Arc<CardToken>) -> Self {
        Self {
            token,
            access: Mutex::default(),
        }
    }

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

    /// Keeps a secret that the card can only check by using it.
    pub(crate) fn keep_unblocking_secret(&self, secret: &[u8]) {
        let secret = Zeroizing::new(secret.to_vec());
        let before = self.access.lock().admin.replace(Admin::Unblocking(secret));
        if matches!(before, Some(Admin::LoggedIn(_))) {
            self.token.with_logins(|logins| logins.ended(Role::Admin));
        }
    }

    /// Takes note that the card is kept for an operation with `key`.
    pub(crate) fn authenticated_for(&self, key: ObjectId, hold: HoldId) {
        self.access.lock().context = Some((key, hold));
    }

    /// Ends the login of `role` in this session. Says whether there was one.
    fn ended(&self, role: Role) -> bool {
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

    /// The transaction that was left open for an operation with `key`, or with any.
    pub(crate) fn resume(&self, key: Option<&ObjectId>) -> Option<Transaction<'_>> {
        let mut access = self.access.lock();
        let is_it = |context: &mut (ObjectId, HoldId)| key.is_none_or(|key| context.0 == *key);
        let (_, hold) = access.context.take_if(is_it)?;
        drop(access);
        self.token.card().resume(hold)
    }

    fn login(&self, role: Role) -> Option<Login> {
        let access = self.access.lock();
        match role {
            Role::User | Role::Context => access.user,
            Role::Admin | Role::Unblock => match access.admin {
                Some(Admin::LoggedIn(login)) => Some(login),
                _ => None,
            },
        }
    }

    /// In whose name an operation with this constraint is performed.
    fn permit(&self, constraint: Constraint, key: &ObjectId) -> TokenResult<Permit<'_>> {
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

    /// A key for an operation that it performs.
    fn key(
        &self,
        operation: Operation,
        id: &ObjectId,
        algorithm: KeyAlgorithm,
    ) -> TokenResult<Key> {
        let key = self.token.key(id).ok_or(TokenError::ObjectNotFound)?;
        match performs(&self.token, operation, &key, algorithm) {
            true => Ok(key),
            false => Err(TokenError::NotSupported),
        }
    }

    fn perform<T>(
        &self,
        permit: Permit<'_>,
        work: impl Fn(&mut Transaction<'_>) -> Result<T>,
    ) -> TokenResult<T> {
        match permit {
            Permit::Free => self.token.in_transaction(|card| self.freely(card, &work)),
            Permit::Role(role) => self.as_role(role, false, work),
            Permit::Fresh => self.as_role(Role::User, true, work),
            Permit::Context(mut card) => {
                // Nothing comes between the authentication and this, not even a question who answers.
                let answer = work(&mut card);
                self.token.forget_left_over(&mut card);
                answer.map_err(Failure::into_token_error)
            }
        }
        .inspect_err(|error| log::debug!("card: {error}"))
    }

    /// What needs nobody's authentication is sent without asking which applet is selected. If it was another one, ours is
    /// selected and it is sent again.
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
        let answer = work(card);
        if !self.may_be_of_another_applet(card, &answer) || token.is_selected(card)? {
            return answer;
        }
        token.select(card)?;
        work(card)
    }

    /// What needs a login is sent without asking as well, and never again: who has selected another applet, or reset the
    /// card, has ended the login.
    fn as_role<T>(
        &self,
        role: Role,
        is_fresh: bool,
        work: impl Fn(&mut Transaction<'_>) -> Result<T>,
    ) -> TokenResult<T> {
        let mut card = self.token.card().transaction()?;
        let login = self.login(role).ok_or(TokenError::AuthenticationNeeded)?;
        if login.epoch != card.epoch() {
            return Err(self.lost(&mut card, role));
        }
        if is_fresh && login.commands != card.commands() {
            return Err(TokenError::AuthenticationNeeded);
        }
        let answer = work(&mut card);
        let is_selected = match self.may_be_of_another_applet(&card, &answer) {
            true => self.token.is_selected(&mut card),
            false => Ok(true),
        };
        match (answer, is_selected) {
            (Ok(value), _) => Ok(value),
            (_, Err(Failure::Link(LinkError::Reset)) | Ok(false))
            | (Err(Failure::Link(LinkError::Reset)), _) => Err(self.lost(&mut card, role)),
            (_, Err(failure)) => Err(failure.into_token_error()),
            (Err(failure), Ok(true)) if is_unauthenticated(&failure) => match is_fresh {
                true => Err(TokenError::AuthenticationNeeded),
                false => Err(self.lost(&mut card, role)),
            },
            (Err(failure), Ok(true)) => Err(failure.into_token_error()),
        }
    }

    fn may_be_of_another_applet<T>(&self, card: &Transaction<'_>, answer: &Result<T>) -> bool {
        if card.is_proven(self.token.applet().row()) {
            return false;
        }
        match answer {
            Err(Failure::Status(status)) => status.is_of_another_applet(),
            Err(failure) => is_unauthenticated(failure),
            Ok(_) => false,
        }
    }

    /// Takes note that the card has forgotten a login.
    fn lost(&self, card: &mut Transaction<'_>, role: Role) -> TokenError {
        self.ended(role);
        self.token.forget_left_over(card);
        log::info!("card: it has forgotten a login: another program has used it, or it was reset");
        TokenError::StateLost
    }

    /// Does what an administrator may, and reads the contents again if that changed them.
    fn administer<T>(&self, work: impl Fn(&mut Transaction<'_>) -> Result<T>) -> TokenResult<T> {
        self.perform(Permit::Role(Role::Admin), work)
    }
}

impl Drop for CardSession {
    fn drop(&mut self) {
        for role in [Role::Context, Role::User, Role::Admin] {
            self.end_auth(role);
        }
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

fn performs(token: &CardToken, operation: Operation, key: &Key, algorithm: KeyAlgorithm) -> bool {
    key.constraint(operation) != Constraint::Never
        && token.applet().supports(operation, key, algorithm)
}

impl TokenSession for CardSession {
    fn begin_auth(
        &self,
        role: Role,
        item: Option<&ObjectId>,
    ) -> TokenResult<Box<dyn AuthOperation + '_>> {
        Ok(Box::new(Authentication::begin(self, role, item)?))
    }

    fn end_auth(&self, role: Role) {
        // An operation that was authenticated for ends first: otherwise this would wait for it.
        let is_owner = matches!(role, Role::Context | Role::User);
        let was_authenticated = is_owner && self.access.lock().context.is_some();
        let resumed = was_authenticated.then(|| self.resume(None)).flatten();
        let is_in = match role {
            Role::Context => false,
            Role::User => self.login(Role::User).is_some(),
            Role::Admin | Role::Unblock => self.access.lock().admin.is_some(),
        };
        if !was_authenticated && !is_in {
            return;
        }
        let card = match resumed {
            Some(card) => Ok(card),
            None => self.token.card().transaction(),
        };
        if role != Role::Context {
            self.ended(role);
        }
        match card {
            Ok(mut card) => self.token.forget_left_over(&mut card),
            Err(LinkError::Removed) => {}
            Err(error) => log::warn!("card: it may stay logged in until it is taken out: {error}"),
        }
    }

    fn supports(&self, operation: Operation, key: &ObjectId, algorithm: KeyAlgorithm) -> bool {
        let key = self.token.key(key);
        key.is_some_and(|key| performs(&self.token, operation, &key, algorithm))
    }

    fn sign(
        &self,
        key: &ObjectId,
        algorithm: KeyAlgorithm,
        data: &[u8],
        signature: &mut [u8],
    ) -> TokenResult<usize> {
        let key = self.key(Operation::Sign, key, algorithm)?;
        let permit = self.permit(key.sign, &key.id)?;
        let room = key.public_key.max_signature_len();
        let signature = signature.get_mut(..room).ok_or(TokenError::BadParameter)?;
        input::check_for_signature(&key.public_key, algorithm, data)?;
        let made = self.perform(permit, |card| {
            let mut made = Zeroizing::new(vec![0; room]);
            let applet = self.token.applet();
            let len = applet.sign(card, &key, algorithm, data, &mut made)?;
            input::check_signature_len(&key.public_key, len)?;
            made.truncate(len);
            Ok(made)
        })?;
        input::copy(&made, signature)
    }

    fn decrypt(
        &self,
        key: &ObjectId,
        algorithm: KeyAlgorithm,
        data: &[u8],
        plaintext: &mut [u8],
    ) -> TokenResult<usize> {
        let key = self.key(Operation::Decrypt, key, algorithm)?;
        let permit = self.permit(key.decrypt, &key.id)?;
        let room = input::modulus(&key.public_key)?.len();
        let plaintext = plaintext.get_mut(..room).ok_or(TokenError::BadParameter)?;
        input::check_ciphertext(&key.public_key, data)?;
        let made = self.perform(permit, |card| {
            let mut made = Zeroizing::new(vec![0; room]);
            let len = self
                .token
                .applet()
                .decrypt(card, &key, algorithm, data, &mut made)?;
            made.truncate(len);
            Ok(made)
        })?;
        input::copy(&made, plaintext)
    }

    fn key_exchange(
        &self,
        key: &ObjectId,
        algorithm: KeyAlgorithm,
        peer: &[u8],
        secret: &mut [u8],
    ) -> TokenResult<usize> {
        let key = self.key(Operation::KeyExchange, key, algorithm)?;
        let permit = self.permit(key.key_exchange, &key.id)?;
        let room = key.public_key.shared_secret_len();
        let secret = secret.get_mut(..room).ok_or(TokenError::BadParameter)?;
        input::check_peer(&key.public_key, peer)?;
        let made = self.perform(permit, |card| {
            let mut made = Zeroizing::new(vec![0; room]);
            let applet = self.token.applet();
            let len = applet.key_exchange(card, &key, algorithm, peer, &mut made)?;
            input::check_secret(made.get(..len), room)?;
            Ok(made)
        })?;
        input::copy(&made, secret)
    }

    fn read(&self, item: &ObjectId) -> TokenResult<Vec<u8>> {
        let Some(Item::Data(data)) = self.token.item(item) else {
            return Err(TokenError::ObjectNotFound);
        };
        let permit = self.permit(data.read, item)?;
        self.perform(permit, |card| self.token.applet().read(card, item))
    }

    fn change_pin(&self, role: Role, old: AuthSecret<'_>, new: &[u8]) -> TokenResult<()> {
        authentication::change(self, role, old, new)
    }

    fn unblock_pin(&self, new: &[u8]) -> TokenResult<()> {
        authentication::unblock(self, new)
    }

    fn personalize(&self) -> TokenResult<()> {
        self.administer(|card| {
            self.token.applet().personalize(card)?;
            self.token.reload_from(card);
            Ok(())
        })?;
        self.token.forget_info();
        Ok(())
    }

    fn generate_key(&self, wanted: &NewKey<'_>) -> TokenResult<ObjectId> {
        self.administer(|card| {
            let key = self.token.applet().generate_key(card, wanted)?;
            let id = key.id.clone();
            self.token.tell(key);
            self.token.reload_from(card);
            Ok(id)
        })
    }

    fn introduce_key(&self, identity: &[u8], public_key: &PublicKey) -> TokenResult<ObjectId> {
        self.token.load()?;
        let contents = self.token.contents();
        if let Some(known) = contents.keys().find(|key| key.identity == identity) {
            return match known.public_key.material() == public_key.material() {
                true => Ok(known.id.clone()),
                false => Err(TokenError::BadParameter),
            };
        }
        let key = self.token.applet().introduced_key(identity, public_key)?;
        let id = key.id.clone();
        self.token.tell(key);
        Ok(id)
    }

    fn import_certificate(&self, identity: Option<&[u8]>, der: &[u8]) -> TokenResult<ObjectId> {
        self.token.load()?;
        let known = self.token.contents();
        self.administer(|card| {
            let applet = self.token.applet();
            let id = applet.import_certificate(card, &known.items, identity, der)?;
            self.token.reload_from(card);
            Ok(id)
        })
    }

    fn delete(&self, item: &ObjectId) -> TokenResult<()> {
        self.token.load()?;
        if self.token.item(item).is_none() {
            return Err(TokenError::ObjectNotFound);
        }
        self.administer(|card| {
            self.token.applet().delete(card, item)?;
            self.token.keep_key_of(item);
            self.token.reload_from(card);
            Ok(())
        })
    }

    fn random(&self, out: &mut [u8]) -> TokenResult<()> {
        let len = out.len();
        let made = self.perform(Permit::Free, |card| {
            let mut made = Zeroizing::new(vec![0; len]);
            self.token.applet().random(card, &mut made)?;
            Ok(made)
        })?;
        input::copy(&made, out).map(drop)
    }
}

impl CardSession {
    /// What an administrator's secret is good for: `None` for nothing, `Some(None)` for what a login allows.
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

    /// Does what needs somebody to be logged in as administrator.
    pub(crate) fn as_admin<T>(
        &self,
        work: impl Fn(&mut Transaction<'_>) -> Result<T>,
    ) -> TokenResult<T> {
        self.as_role(Role::Admin, false, work)
    }
}
