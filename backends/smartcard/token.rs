//! A card with a known applet as a token: what it is, read once, and what it holds, read when it is
//! first wanted.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use ctk_token::{
    Item, Key, KeychainContents, LoginPolicy, ObjectId, PinState, Result as TokenResult, Role,
    Token, TokenError, TokenInfo, TokenSession,
};
use parking_lot::Mutex;

use crate::{
    applet::{Applet, Failure, Result, Tries},
    card::{END_PATIENCE, SHORT_PATIENCE, SmartCard, Transaction},
    contents,
    link::LinkError,
    logins::Logins,
    recognition::is_selected,
    session::CardSession,
};

/// A card in a reader that an applet is known of.
pub(crate) struct CardToken {
    card: SmartCard,
    applet: Box<dyn Applet>,
    facts: Mutex<Facts>,
    itself: Weak<Self>,
}

/// What is known of the card. Locked for moments only, also by who has the card.
#[derive(Default)]
struct Facts {
    /// What no other card has.
    identity: Option<Vec<u8>>,
    info: Option<TokenInfo>,
    user_pin: Option<Tries>,
    admin_pin: Option<Tries>,
    contents: Arc<KeychainContents>,
    is_loaded: bool,
    /// Keys that the card has and does not tell of.
    untold: Vec<Key>,
    logins: Logins,
}

impl CardToken {
    pub(crate) fn new(card: SmartCard, applet: Box<dyn Applet>) -> Arc<Self> {
        Arc::new_cyclic(|itself| Self {
            card,
            applet,
            facts: Mutex::default(),
            itself: itself.clone(),
        })
    }

    /// Takes note that the card is gone: whatever waits for it ends, and everything answers so.
    pub(crate) fn removed(&self) {
        self.card.remove();
    }

    /// Whether anybody has noticed that the card is gone.
    pub(crate) fn is_removed(&self) -> bool {
        self.card.is_removed()
    }

    pub(crate) fn card(&self) -> &SmartCard {
        &self.card
    }

    pub(crate) fn applet(&self) -> &dyn Applet {
        &*self.applet
    }

    /// Who is logged in.
    pub(crate) fn with_logins<T>(&self, work: impl FnOnce(&mut Logins) -> T) -> T {
        work(&mut self.facts.lock().logins)
    }

    /// Keeps the card, which first is made to forget what no session counts on any more.
    pub(crate) fn transaction(
        &self,
        patience: Duration,
    ) -> std::result::Result<Transaction<'_>, LinkError> {
        let mut card = self.card.transaction_within(patience)?;
        if !self.has_left_over() && !self.has_unused() {
            return Ok(card);
        }
        self.forget_left_over(&mut card);
        drop(card);
        self.card.transaction_within(patience)
    }

    /// Ends what nobody waits for any more: an authentication whose operation does not come, for
    /// which other programs wait without a limit, and a login that could not be ended before.
    pub(crate) fn look_after(&self) {
        let was_idle = self.card.end_idle_hold();
        let is_over = || self.has_left_over() || self.has_unused();
        if (was_idle || self.card.is_idle()) && is_over() {
            self.forget_within(Duration::ZERO);
        }
    }

    /// Works with the card without anybody's login, and once more if somebody has reset the card
    /// meanwhile.
    pub(crate) fn in_transaction<T>(
        &self,
        patience: Duration,
        mut work: impl FnMut(&mut Transaction<'_>) -> Result<T>,
    ) -> TokenResult<T> {
        let mut once = || work(&mut self.transaction(patience)?);
        match once() {
            Err(Failure::Link(LinkError::Reset)) => once(),
            answer => answer,
        }
        .map_err(Failure::into_token_error)
    }

    /// Whether the applet is the selected one.
    pub(crate) fn is_selected(&self, card: &mut Transaction<'_>) -> Result<bool> {
        Ok(is_selected(&*self.applet, card)?)
    }

    /// Selects the applet. One that the card does not have any more means that it is another card.
    pub(crate) fn select(&self, card: &mut Transaction<'_>) -> Result<()> {
        match card.select(self.applet.row()) {
            Ok(_) => Ok(()),
            Err(Failure::Status(status)) if status.is_no_such_applet() => {
                let name = self.applet.row().name;
                log::warn!("card: {name} cannot be selected any more ({status})");
                self.removed();
                Err(TokenError::TokenRemoved.into())
            }
            Err(failure) => Err(failure),
        }
    }

    /// Reads from the card, without asking first whether the applet is still selected: what it
    /// answers tells. If it tells nothing, the applet is asked, and selected if it does not answer,
    /// and read from again.
    pub(crate) fn reading<T>(
        &self,
        card: &mut Transaction<'_>,
        read: impl Fn(&mut Transaction<'_>) -> Result<T>,
    ) -> Result<T> {
        let row = self.applet.row();
        if !card.is_selected_last(row) {
            self.select(card)?;
            return read(card);
        }
        let answer = read(card);
        let is_told = card.is_proven(row) || matches!(answer, Err(Failure::Link(_)));
        if is_told || self.is_selected(card)? {
            return answer;
        }
        self.select_again(card)?;
        read(card)
    }

    /// Makes sure that it is still the same card, if anything has happened since somebody looked
    /// that may have made it another.
    pub(crate) fn same_card(&self, card: &mut Transaction<'_>) -> Result<()> {
        match card.is_identified() && self.facts.lock().identity.is_some() {
            true => Ok(()),
            false => self.identify(card),
        }
    }

    /// Makes sure that it is still the same card.
    fn identify(&self, card: &mut Transaction<'_>) -> Result<()> {
        let row = self.applet.row();
        let is_selected = card.is_selected_last(row);
        if !is_selected {
            self.select(card)?;
        }
        let mut identity = self.applet.identity(card);
        let is_told = card.is_proven(row) || matches!(identity, Err(Failure::Link(_)));
        if !is_told && !self.is_selected(card)? {
            self.select(card)?;
            identity = self.applet.identity(card);
        }
        self.compare(card, &identity?)
    }

    fn compare(&self, card: &mut Transaction<'_>, identity: &[u8]) -> Result<()> {
        let mut facts = self.facts.lock();
        if facts.identity.get_or_insert_with(|| identity.to_vec()) == identity {
            card.identified();
            return Ok(());
        }
        drop(facts);
        log::warn!("card: it is not the one that was there before");
        self.removed();
        Err(TokenError::TokenRemoved.into())
    }

    /// Selects the applet after another one was found to be selected: by another program, or
    /// because it is another card.
    pub(crate) fn select_again(&self, card: &mut Transaction<'_>) -> Result<()> {
        self.select(card)?;
        let identity = self.applet.identity(card)?;
        self.compare(card, &identity)
    }

    /// Makes sure that a secret may be sent: the applet answers in this transaction, on the card
    /// that it was. Reads the contents if nobody has yet, because that proves it at no cost.
    pub(crate) fn prove(&self, card: &mut Transaction<'_>) -> Result<()> {
        self.same_card(card)?;
        if !self.is_loaded() {
            match self.load_from(card) {
                Err(Failure::Link(error)) => return Err(error.into()),
                Err(failure) => {
                    let error = failure.into_token_error();
                    log::warn!("card: its contents cannot be read: {error}");
                }
                Ok(()) => {}
            }
        }
        let row = self.applet.row();
        if !card.is_proven(row) {
            // Which card it is proves the applet as well, if it says so.
            self.identify(card)?;
        }
        if !card.is_proven(row) && !self.is_selected(card)? {
            self.select_again(card)?;
        }
        match card.is_proven(row) {
            true => Ok(()),
            false => Err(Failure::corrupted(
                "the card does not say which applet answers",
            )),
        }
    }

    fn is_loaded(&self) -> bool {
        self.facts.lock().is_loaded
    }

    /// Reads the contents, whether or not somebody has before.
    pub(crate) fn load_from(&self, card: &mut Transaction<'_>) -> Result<()> {
        let items = self.reading(card, |card| self.applet.contents(card))?;
        let mut facts = self.facts.lock();
        let items = contents::with_untold(items, &facts.untold);
        facts.replace(items);
        facts.is_loaded = true;
        Ok(())
    }

    /// Reads the contents again after they were changed. If that fails, the next [`Token::load`]
    /// does it.
    pub(crate) fn reload_from(&self, card: &mut Transaction<'_>) {
        if let Err(failure) = self.load_from(card) {
            let error = failure.into_token_error();
            log::warn!("card: it was changed, and cannot be read now: {error}");
            self.facts.lock().is_loaded = false;
        }
    }

    /// Takes note of a key that the card has and may not tell of, in place of any other of its
    /// identity.
    pub(crate) fn tell(&self, key: Key) {
        let mut facts = self.facts.lock();
        facts.untold.retain(|other| other.identity != key.identity);
        facts.untold.push(key);
        let items = contents::with_untold(facts.contents.items.clone(), &facts.untold);
        facts.replace(items);
    }

    /// Takes note that a change of the card has failed, nobody knows where: it is read again by the
    /// next who wants to know what it holds. The key of `identity` may be another one now.
    pub(crate) fn mistrust(&self, identity: Option<&[u8]>) {
        let mut facts = self.facts.lock();
        if let Some(identity) = identity {
            facts.untold.retain(|key| key.identity != identity);
        }
        let items = facts.contents.items.clone();
        facts.replace(items);
        facts.is_loaded = false;
    }

    /// Takes note that the key of an identity has to be told, because what told of it is about to
    /// go.
    pub(crate) fn keep_key_of(&self, certificate: &ObjectId) {
        let mut facts = self.facts.lock();
        if let Some(key) = contents::key_of(&facts.contents, certificate).cloned() {
            let is_same = |other: &Key| contents::is_same(other, &key.public_key);
            let mut untold = facts.untold.iter();
            if untold.any(|other| other.identity == key.identity && is_same(other)) {
                return;
            }
            facts.untold.retain(|other| other.identity != key.identity);
            facts.untold.push(key);
        }
    }

    /// Has the card asked what it is once more, because that was changed.
    pub(crate) fn forget_info(&self) {
        let mut facts = self.facts.lock();
        facts.info = None;
        facts.identity = None;
    }

    /// A key of the contents.
    pub(crate) fn key(&self, id: &ObjectId) -> Option<Key> {
        self.facts.lock().contents.key(id).cloned()
    }

    /// Something of the contents.
    pub(crate) fn item(&self, id: &ObjectId) -> Option<Item> {
        let facts = self.facts.lock();
        let mut items = facts.contents.items.iter();
        items.find(|item| item.id() == id).cloned()
    }

    /// Takes note of what an answer to a secret of `role` says of its tries.
    pub(crate) fn note_tries<T>(&self, role: Role, answer: &Result<T>) {
        let tries = match answer {
            Ok(_) => Tries {
                left: None,
                state: PinState::Normal,
            },
            Err(failure) => match failure.clone().into_token_error() {
                TokenError::PinLocked => Tries {
                    left: Some(0),
                    state: PinState::Locked,
                },
                TokenError::AuthenticationFailed { tries } => Tries {
                    left: tries,
                    state: match tries {
                        Some(0) => PinState::Locked,
                        Some(1) => PinState::FinalTry,
                        _ => PinState::CountLow,
                    },
                },
                _ => return,
            },
        };
        let mut facts = self.facts.lock();
        match role {
            Role::User | Role::Context => facts.user_pin = Some(tries),
            Role::Admin | Role::Unblock => facts.admin_pin = Some(tries),
        }
    }

    /// Whether the reader asks for the secret of `role` by itself.
    pub(crate) fn asks_by_itself(&self, role: Role, key: Option<&ObjectId>) -> bool {
        self.card.has_pinpad() && self.applet.verify_template(role, key).is_some()
    }

    /// After wrong PINs, another program may have set it right: programs that refuse to log in on
    /// the last try would do so for ever. Nobody waits for a card in use to tell that.
    fn look_at_tries_again(&self) {
        let known = self.facts.lock().user_pin;
        let is_normal = known.is_none_or(|tries| tries.state == PinState::Normal);
        if is_normal || self.is_removed() || !self.card.is_idle() {
            return;
        }
        let now = self.in_transaction(SHORT_PATIENCE, |card| {
            self.same_card(card)?;
            self.reading(card, |card| self.applet.tries(card, Role::User))
        });
        match now {
            Ok(Some(tries)) => self.facts.lock().user_pin = Some(tries),
            Ok(None) => {}
            Err(error) => log::debug!("card: it does not tell the tries left: {error}"),
        }
    }

    /// Asks the card what it is, if nobody has yet, and the tries that are left if they may have
    /// changed.
    fn ask_info(&self) -> TokenResult<()> {
        if self.facts.lock().info.is_none() && !self.is_removed() {
            self.in_transaction(SHORT_PATIENCE, |card| self.ask_info_in(card))?;
        }
        self.look_at_tries_again();
        Ok(())
    }

    fn info_from_memory(&self) -> TokenInfo {
        let facts = self.facts.lock();
        let info = facts.info.clone();
        let info = info.unwrap_or_else(|| self.applet.info_unread());
        let state = |tries: Option<Tries>| tries.map_or(PinState::Normal, |tries| tries.state);
        TokenInfo {
            label: contents::token_label(&info.label, self.applet.row().name),
            login: self.login_policy(),
            user_pin: state(facts.user_pin),
            admin_pin: state(facts.admin_pin),
            ..info
        }
    }

    fn ask_info_in(&self, card: &mut Transaction<'_>) -> Result<()> {
        if self.facts.lock().info.is_some() {
            return Ok(());
        }
        self.same_card(card)?;
        let info = self.reading(card, |card| self.applet.info(card))?;
        self.facts.lock().info = Some(info);
        for role in [Role::User, Role::Admin] {
            let mut facts = self.facts.lock();
            let known = facts.tries_mut(role);
            if known.is_some() {
                continue;
            }
            drop(facts);
            match self.applet.tries(card, role) {
                Ok(Some(tries)) => *self.facts.lock().tries_mut(role) = Some(tries),
                Ok(None) => {}
                Err(Failure::Link(error)) => return Err(error.into()),
                Err(failure) => {
                    let error = failure.into_token_error();
                    log::debug!("card: it does not tell the tries left of {role:?}: {error}");
                }
            }
        }
        Ok(())
    }
}

impl Drop for CardToken {
    fn drop(&mut self) {
        if self.has_left_over() {
            self.forget_within(END_PATIENCE);
        }
        if self.has_left_over() {
            self.card.reset_when_dropped();
        }
    }
}

impl Facts {
    fn replace(&mut self, items: Vec<Item>) {
        self.contents = Arc::new(KeychainContents {
            generation: self.contents.generation + 1,
            items,
        });
    }

    fn tries_mut(&mut self, role: Role) -> &mut Option<Tries> {
        match role {
            Role::User | Role::Context => &mut self.user_pin,
            Role::Admin | Role::Unblock => &mut self.admin_pin,
        }
    }
}

impl Token for CardToken {
    fn info(&self) -> TokenInfo {
        if let Err(error) = self.ask_info() {
            log::warn!("card: it does not say what it is: {error}");
        }
        self.info_from_memory()
    }

    fn read_info(&self) -> TokenResult<TokenInfo> {
        self.ask_info()?;
        Ok(self.info_from_memory())
    }

    fn kind(&self) -> String {
        format!("{} card", self.applet.row().name)
    }
    fn tries_left(&self, role: Role) -> Option<u32> {
        self.facts
            .lock()
            .tries_mut(role)
            .and_then(|tries| tries.left)
    }

    fn login_policy(&self) -> LoginPolicy {
        match self.asks_by_itself(Role::User, None) {
            true => LoginPolicy::AppWithoutPin,
            false => LoginPolicy::App,
        }
    }

    fn load(&self) -> TokenResult<()> {
        if self.is_loaded() {
            return Ok(());
        }
        self.in_transaction(SHORT_PATIENCE, |card| {
            // Somebody else may have had the card meanwhile, to read it.
            if self.is_loaded() {
                return Ok(());
            }
            self.same_card(card)?;
            self.load_from(card)
        })
    }

    fn contents(&self) -> Arc<KeychainContents> {
        self.facts.lock().contents.clone()
    }

    fn generation(&self) -> u64 {
        self.facts.lock().contents.generation
    }

    fn create_session(&self) -> TokenResult<Arc<dyn TokenSession>> {
        let token = self.itself.upgrade().filter(|token| !token.is_removed());
        let token = token.ok_or(TokenError::TokenRemoved)?;
        Ok(Arc::new(CardSession::new(token)))
    }
}
