//! A session with a token that has a stored PIN: who sends it, for what, and what its refusal means for all who would.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use ctk_token::{
    AuthMethod, AuthOperation, AuthSecret, Constraint, KeyAlgorithm, LoginPolicy, NewKey, ObjectId,
    Operation, PublicKey, Result, Reuse, Role, TokenError, TokenSession,
};
use parking_lot::Mutex;

use super::{View, stored_pin::is_refusal};
use crate::secret::Stored;

/// One application's session, with what it has sent of its own.
pub(super) struct ConfiguredSession {
    inner: Arc<dyn TokenSession>,
    view: Arc<View>,
    /// How often a PIN was accepted for this session: another session's says nothing about this one.
    accepted: AtomicU64,
    /// Never locked while the key store works.
    sent: Mutex<Sent>,
}

/// The stored PIN where it is what this session was authenticated with: a service may look at it only when a key is used.
#[derive(Default)]
struct Sent {
    user: Option<Arc<Stored>>,
    /// For the next operation with this key; without a PIN of ours, what the program gave.
    context: Option<(ObjectId, Option<Arc<Stored>>)>,
}

impl ConfiguredSession {
    pub(super) fn new(inner: Arc<dyn TokenSession>, view: Arc<View>) -> Self {
        Self {
            inner,
            view,
            accepted: AtomicU64::new(0),
            sent: Mutex::default(),
        }
    }

    /// Uses a key; if it is opened on use and not open, opens it with the stored PIN and tries once more.
    fn with_key<T>(
        &self,
        operation: Operation,
        key: &ObjectId,
        mut perform: impl FnMut(&dyn TokenSession) -> Result<T>,
    ) -> Result<T> {
        self.view.check_visible(key)?;
        if self.view.policy.login() != Some(LoginPolicy::OnUse) {
            return self.with_sent(key, &mut perform);
        }
        let contents = self.view.inner.contents();
        let constraint = contents.key(key).map(|key| key.constraint(operation));
        let is_each = matches!(constraint, Some(Constraint::Auth(_, Reuse::Operation)));
        for _ in 0..2 {
            let accepted = self.accepted.load(Ordering::Acquire);
            let answer = self.with_sent(key, &mut perform);
            if !is_closed(&answer) {
                return answer;
            }
            if is_each {
                // A login of the user would cost a service one more request, and a one-time password.
                let answer = self.once(key, &mut perform);
                if !is_closed(&answer) && !matches!(answer, Err(TokenError::NotSupported)) {
                    return answer;
                }
            }
            if self.authenticate(accepted)? {
                break;
            }
            // Another thread did it for this session: the key may be open now.
        }
        let second = self.with_sent(key, &mut perform);
        match is_each && is_closed(&second) {
            true => self.once(key, &mut perform),
            false => second,
        }
    }

    /// Uses a key, and takes note if that shows what the PIN is worth that this session has sent.
    fn with_sent<T>(
        &self,
        key: &ObjectId,
        perform: &mut impl FnMut(&dyn TokenSession) -> Result<T>,
    ) -> Result<T> {
        let policy = &self.view.policy;
        let (context, user) = {
            let sent = self.sent.lock();
            let context = sent.context.as_ref().filter(|(of, _)| of == key);
            (context.map(|(_, pin)| pin.clone()), sent.user.clone())
        };
        let Some(context) = context else {
            let answer = perform(&*self.inner);
            if let (Err(error), Some(pin)) = (&answer, user)
                && is_refusal(error)
            {
                self.sent.lock().user = None;
                policy.disprove(&mut policy.refused.lock(), &pin, error);
            }
            return answer;
        };
        let Some(pin) = context else {
            // Whatever becomes of the program's own, it says nothing about the stored one.
            let answer = perform(&*self.inner);
            if is_spent(&answer) {
                let is_own = |(_, sent): &mut (_, Option<_>)| sent.is_none();
                self.sent.lock().context.take_if(is_own);
            }
            return answer;
        };
        let refused = match policy.is_proven(&pin) {
            true => None,
            false => Some(policy.turn()?),
        };
        if let Some(error) = refused.as_ref().and_then(|refused| refused.of(&pin)) {
            // Since this session has sent it, and for another operation.
            self.end_auth(Role::Context);
            return Err(error);
        }
        let answer = policy.performed(&pin, refused, || perform(&*self.inner));
        if is_spent(&answer) {
            let is_this = |(_, sent): &mut (_, Option<Arc<Stored>>)| {
                sent.as_ref().is_some_and(|sent| Arc::ptr_eq(sent, &pin))
            };
            self.sent.lock().context.take_if(is_this);
        }
        answer
    }

    /// Sends the stored PIN for one operation with this key, and does that.
    fn once<T>(
        &self,
        key: &ObjectId,
        perform: &mut impl FnMut(&dyn TokenSession) -> Result<T>,
    ) -> Result<T> {
        let policy = &self.view.policy;
        let mut refused = policy.turn()?;
        let operation = self.inner.begin_auth(Role::Context, Some(key))?;
        let pin = policy.finish(&mut refused, operation)?;
        let refused = (!policy.is_proven(&pin)).then_some(refused);
        policy.performed(&pin, refused, || perform(&*self.inner))
    }

    /// Sends the stored PIN, unless another thread did so for this session since `accepted` was read; says whether.
    fn authenticate(&self, accepted: u64) -> Result<bool> {
        let policy = &self.view.policy;
        let turn = policy.turn();
        if self.accepted.load(Ordering::Acquire) != accepted {
            return Ok(false);
        }
        let mut refused = turn?;
        let operation = self.inner.begin_auth(Role::User, None)?;
        let pin = policy.finish(&mut refused, operation)?;
        self.logged_in(pin);
        Ok(true)
    }

    /// The stored PIN is right, and has opened this session.
    fn logged_in(&self, pin: Arc<Stored>) {
        self.view.policy.prove(&pin);
        self.sent.lock().user = Some(pin);
        self.accepted.fetch_add(1, Ordering::Release);
    }
}

fn is_closed<T>(result: &Result<T>) -> bool {
    matches!(
        result,
        Err(TokenError::AuthenticationNeeded | TokenError::StateLost)
    )
}

/// Whether what was given for one operation is gone. After any other error it may still be there.
fn is_spent<T>(result: &Result<T>) -> bool {
    let is_refused = result.as_ref().is_err_and(is_refusal);
    is_refused || is_closed(result) || result.is_ok()
}

impl TokenSession for ConfiguredSession {
    fn begin_auth(
        &self,
        role: Role,
        item: Option<&ObjectId>,
    ) -> Result<Box<dyn AuthOperation + '_>> {
        item.map_or(Ok(()), |item| self.view.check_visible(item))?;
        let inner = self.inner.begin_auth(role, item)?;
        // A stored PIN is the owner's, not the administrator's.
        let login = || self.view.login(self.view.inner.login_policy());
        if !matches!(role, Role::User | Role::Context) || login().is_none() {
            return Ok(inner);
        }
        Ok(Box::new(StoredPinOperation {
            inner,
            session: self,
            key: item.filter(|_| role == Role::Context).cloned(),
        }))
    }

    fn end_auth(&self, role: Role) {
        self.inner.end_auth(role);
        let mut sent = self.sent.lock();
        match role {
            Role::User => sent.user = None,
            Role::Context => sent.context = None,
            Role::Admin | Role::Unblock => {}
        }
    }

    fn supports(&self, operation: Operation, key: &ObjectId, algorithm: KeyAlgorithm) -> bool {
        self.view.check_visible(key).is_ok() && self.inner.supports(operation, key, algorithm)
    }

    fn sign(
        &self,
        key: &ObjectId,
        algorithm: KeyAlgorithm,
        input: &[u8],
        signature: &mut [u8],
    ) -> Result<usize> {
        self.with_key(Operation::Sign, key, |session| {
            session.sign(key, algorithm, input, signature)
        })
    }

    fn decrypt(
        &self,
        key: &ObjectId,
        algorithm: KeyAlgorithm,
        input: &[u8],
        plaintext: &mut [u8],
    ) -> Result<usize> {
        self.with_key(Operation::Decrypt, key, |session| {
            session.decrypt(key, algorithm, input, plaintext)
        })
    }

    fn key_exchange(
        &self,
        key: &ObjectId,
        algorithm: KeyAlgorithm,
        peer: &[u8],
        secret: &mut [u8],
    ) -> Result<usize> {
        self.with_key(Operation::KeyExchange, key, |session| {
            session.key_exchange(key, algorithm, peer, secret)
        })
    }

    fn read(&self, item: &ObjectId) -> Result<Vec<u8>> {
        self.view.check_visible(item)?;
        self.inner.read(item)
    }

    fn change_pin(&self, role: Role, old: AuthSecret<'_>, new: &[u8]) -> Result<()> {
        self.view.policy.check_not_stored(role)?;
        self.inner.change_pin(role, old, new)
    }

    fn unblock_pin(&self, new: &[u8]) -> Result<()> {
        self.view.policy.check_not_stored(Role::User)?;
        self.inner.unblock_pin(new)
    }

    fn personalize(&self) -> Result<()> {
        self.inner.personalize()
    }

    fn is_free(&self, identity: &[u8]) -> Result<bool> {
        self.inner.is_free(identity)
    }

    fn generate_key(&self, wanted: &NewKey<'_>) -> Result<ObjectId> {
        self.view.inner.load()?;
        let identity = wanted.identity;
        identity.map_or(Ok(()), |identity| self.view.check_place(identity))?;
        self.inner.generate_key(wanted)
    }

    fn introduce_key(&self, identity: &[u8], public_key: &PublicKey) -> Result<ObjectId> {
        self.view.inner.load()?;
        self.view.check_place(identity)?;
        self.inner.introduce_key(identity, public_key)
    }

    fn import_certificate(&self, identity: Option<&[u8]>, der: &[u8]) -> Result<ObjectId> {
        self.view.inner.load()?;
        match identity {
            Some(identity) => self.view.check_place(identity)?,
            None => self.view.check_subject(der)?,
        }
        self.inner.import_certificate(identity, der)
    }

    fn delete(&self, item: &ObjectId) -> Result<()> {
        self.view.check_visible(item)?;
        self.inner.delete(item)
    }

    fn random(&self, out: &mut [u8]) -> Result<()> {
        self.inner.random(out)
    }
}

/// An authentication that the program may leave to us. A PIN that it gives all the same goes to the key store.
struct StoredPinOperation<'a> {
    inner: Box<dyn AuthOperation + 'a>,
    session: &'a ConfiguredSession,
    /// The key that it is for, with [`Role::Context`].
    key: Option<ObjectId>,
}

impl AuthOperation for StoredPinOperation<'_> {
    fn method(&self) -> AuthMethod {
        AuthMethod::FromToken
    }

    fn finish(self: Box<Self>, secret: AuthSecret<'_>) -> Result<()> {
        let session = self.session;
        let policy = &session.view.policy;
        let pin = match secret {
            AuthSecret::Pin(_) => {
                self.inner.finish(secret)?;
                None
            }
            AuthSecret::FromToken => Some(policy.finish(&mut *policy.turn()?, self.inner)?),
        };
        match (self.key, pin) {
            // The service may look at it only when the key is used.
            (Some(key), pin) => session.sent.lock().context = Some((key, pin)),
            (None, Some(pin)) => {
                session.logged_in(pin);
                return Ok(());
            }
            (None, None) => session.sent.lock().user = None,
        }
        session.accepted.fetch_add(1, Ordering::Release);
        Ok(())
    }
}
