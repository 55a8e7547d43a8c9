//! A session: one application's use of a card, and what it may do with it.

use std::sync::Arc;

use ctk_token::{
    AuthOperation, AuthSecret, Constraint, Item, Key, KeyAlgorithm, NewKey, ObjectId, Operation,
    PublicKey, Result as TokenResult, Role, Token, TokenError, TokenSession,
};
use parking_lot::Mutex;
use zeroize::Zeroizing;

use crate::{
    access::Access,
    authentication::{self, Authentication},
    card::END_PATIENCE,
    input,
    link::LinkError,
    permit::Permit,
    token::CardToken,
};

/// One application's use of a card.
pub(crate) struct CardSession {
    pub(crate) token: Arc<CardToken>,
    /// Changed only by who has the card, so that a login and its end are each whole; looked at any
    /// time.
    pub(crate) access: Mutex<Access>,
}

impl CardSession {
    pub(crate) fn new(token: Arc<CardToken>) -> Self {
        Self {
            token,
            access: Mutex::default(),
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
}

impl Drop for CardSession {
    fn drop(&mut self) {
        let resumed = self.resume(None);
        let was_in = [Role::User, Role::Admin].map(|role| self.ended(role));
        match resumed {
            Some(mut card) => self.token.forget_left_over(&mut card),
            None if was_in.contains(&true) => self.token.forget_within(END_PATIENCE),
            None => {}
        }
    }
}

fn performs(token: &CardToken, operation: Operation, key: &Key, algorithm: KeyAlgorithm) -> bool {
    key.constraint(operation) != Constraint::Never
        && token.applet().supports(operation, key, algorithm)
}

fn check_room(out: &[u8], room: usize) -> TokenResult<()> {
    match out.len() >= room {
        true => Ok(()),
        false => Err(TokenError::BadParameter),
    }
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
        let was_authenticated = is_owner && self.is_authenticated_for_any();
        let resumed = was_authenticated.then(|| self.resume(None)).flatten();
        let is_over = || is_owner && self.token.has_left_over();
        if !was_authenticated && !self.is_in(role) && !is_over() {
            return;
        }
        let card = match resumed {
            Some(card) => Ok(card),
            None => self.token.card().transaction_within(END_PATIENCE),
        };
        if role != Role::Context {
            self.ended(role);
        }
        match card {
            Ok(mut card) => self.token.forget_left_over(&mut card),
            Err(LinkError::Removed) => {}
            Err(error) => log::warn!("card: it is still logged in: {error}"),
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
        let room = key.public_key.max_signature_len();
        let permit = self.permit(key.sign, &key.id, || {
            check_room(signature, room)?;
            input::check_for_signature(&key.public_key, algorithm, data)
        })?;
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
        let room = input::modulus(&key.public_key)?.len();
        let permit = self.permit(key.decrypt, &key.id, || {
            check_room(plaintext, room)?;
            input::check_ciphertext(&key.public_key, data)
        })?;
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
        let room = key.public_key.shared_secret_len();
        let permit = self.permit(key.key_exchange, &key.id, || {
            check_room(secret, room)?;
            input::check_peer(&key.public_key, peer)
        })?;
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
        let permit = self.permit(data.read, item, || Ok(()))?;
        self.perform(permit, |card| {
            if data.read != Constraint::Free {
                card.hush();
            }
            self.token.applet().read(card, item)
        })
    }

    fn change_pin(&self, role: Role, old: AuthSecret<'_>, new: &[u8]) -> TokenResult<()> {
        authentication::change(self, role, old, new)
    }

    fn unblock_pin(&self, new: &[u8]) -> TokenResult<()> {
        authentication::unblock(self, new)
    }

    fn personalize(&self) -> TokenResult<()> {
        self.changing(None, |card| self.token.applet().personalize(card))?;
        self.token.forget_info();
        Ok(())
    }

    fn is_free(&self, identity: &[u8]) -> TokenResult<bool> {
        self.token.load()?;
        let known = self.token.contents();
        self.perform(Permit::Free, |card| {
            let applet = self.token.applet();
            applet.is_free(card, &known.items, identity)
        })
    }

    fn generate_key(&self, wanted: &NewKey<'_>) -> TokenResult<ObjectId> {
        self.token.load()?;
        let known = self.token.contents();
        self.changing(wanted.identity, |card| {
            let applet = self.token.applet();
            let key = applet.generate_key(card, &known.items, wanted)?;
            let id = key.id.clone();
            self.token.tell(key);
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
        self.changing(None, |card| {
            let applet = self.token.applet();
            applet.import_certificate(card, &known.items, identity, der)
        })
    }

    fn delete(&self, item: &ObjectId) -> TokenResult<()> {
        self.token.load()?;
        if self.token.item(item).is_none() {
            return Err(TokenError::ObjectNotFound);
        }
        self.changing(None, |card| {
            self.token.applet().delete(card, item)?;
            self.token.keep_key_of(item);
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
