//! Keys by their handles: what an operation works with, wherever the key is.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use cryptoki_sys::*;
use ctk_crypto::SecretBytes;
use ctk_token::{
    AuthSecret, Constraint, Key, KeyAlgorithm, ObjectId, Operation, Origin, PublicKey, Role,
    TokenError, TokenSession,
};
use parking_lot::Mutex;

use crate::{
    error::{During, Error, Result},
    insertion::Insertion,
    object::{
        session_object::{Material, SessionObject},
        wish::How,
    },
    session::Session,
    standing::Standing,
    working::Working,
};

/// What a CKU_CONTEXT_SPECIFIC login is for: an operation with a key that wants an authentication
/// for each use. When the operation is over, an authentication that it has not used ends with it;
/// under no lock, because a card works then.
pub(crate) struct Context {
    pub(crate) session: Arc<dyn TokenSession>,
    key: ObjectId,
    /// There is one that has not been used.
    open: AtomicBool,
    turn: Arc<Turn>,
    number: u64,
    /// What was true when the operation was set up, for a key that only who is logged in sees.
    standing: Option<Arc<Standing>>,
}

/// The number of the [`Context`] that has authenticated last, or 0. All of a program's sessions are
/// one session of the token, which cannot tell whose operation an authentication is for.
///
/// Locked while the token works for such a key, so that no other operation comes between. A card
/// does one thing at a time anyway; with a service, such keys of a token are used one after another.
pub(crate) type Turn = Mutex<u64>;

impl Context {
    /// Authenticates for the next use of the key.
    ///
    /// # Errors
    /// Those of [`AuthOperation::finish`](ctk_token::AuthOperation::finish). An authentication that
    /// was there stays.
    pub(crate) fn authenticate(&self, secret: AuthSecret<'_>) -> ctk_token::Result<()> {
        let _working = Working::begin()?;
        let mut turn = self.turn.lock();
        let operation = self.session.begin_auth(Role::Context, Some(&self.key))?;
        // Said before it is true: another thread may use the key as soon as it is.
        let before = self.open.swap(true, Ordering::SeqCst);
        let result = operation.finish(secret);
        if result.is_ok() {
            *turn = self.number;
        } else if !before {
            self.open.store(false, Ordering::SeqCst);
        }
        result
    }

    /// Uses the key, unless it is another operation that was authenticated for.
    fn perform<T>(&self, work: impl FnOnce() -> ctk_token::Result<T>) -> ctk_token::Result<T> {
        let mut turn = self.turn.lock();
        let result = match *turn == 0 || *turn == self.number {
            true => work(),
            false => return Err(TokenError::AuthenticationNeeded),
        };
        self.used(&result);
        if !self.open.load(Ordering::SeqCst) {
            *turn = 0;
        }
        result
    }

    /// Whether a secret may be sent for the operation.
    ///
    /// # Errors
    /// CKR_USER_NOT_LOGGED_IN if the login that it was set up in has ended.
    pub(crate) fn check_login(&self, insertion: &Insertion) -> Result<()> {
        match &self.standing {
            Some(standing) if !standing.is_of_this_login(insertion) => Err(Error::UserNotLoggedIn),
            _ => Ok(()),
        }
    }

    /// Takes note of how a use of the key ended. After an error the authentication may still be
    /// there, unless it is what was missing.
    fn used<T>(&self, result: &ctk_token::Result<T>) {
        if matches!(result, Ok(_) | Err(TokenError::AuthenticationNeeded)) {
            self.open.store(false, Ordering::SeqCst);
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        if !self.open.load(Ordering::SeqCst) {
            return;
        }
        if Working::is_here() {
            // This thread may have the lock: whose turn it is then is said by the next authentication.
            self.session.end_auth(Role::Context);
            return;
        }
        let mut turn = self.turn.lock();
        // Another operation's authentication has ended this one.
        if *turn == self.number {
            self.session.end_auth(Role::Context);
            *turn = 0;
        }
    }
}

/// A private key in use.
pub(crate) struct PrivateUse {
    home: Home,
    handle: CK_OBJECT_HANDLE,
    /// Each use of the key wants an authentication of its own.
    context: Option<Arc<Context>>,
}

/// Where the facts of a private key stand.
enum Home {
    Token(Arc<Standing>),
    Session(Arc<SessionObject>),
}

impl PrivateUse {
    /// The private key of this handle. The session's login is checked; what the key is for is not.
    ///
    /// # Errors
    /// CKR_KEY_HANDLE_INVALID, CKR_USER_NOT_LOGGED_IN, and whatever keeps the token from opening a
    /// session.
    pub(crate) fn find(session: &Session, handle: CK_OBJECT_HANDLE) -> Result<Self> {
        let standing = session.standing()?;
        let Some((key, private)) = standing.catalog.private_key(handle) else {
            return Self::of_session(session, handle);
        };
        // The handle is one that we gave out, so that this tells nobody anything new, and programs
        // that remember handles over a logout know from it that they have to log in.
        if private && !standing.shows_private {
            return Err(Error::UserNotLoggedIn);
        }
        /// The number of the next [`Context`].
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let token_session = standing.token_session(&session.insertion)?;
        let context = standing.catalog.authenticates_always(key).then(|| {
            Arc::new(Context {
                session: Arc::clone(token_session),
                key: key.id.clone(),
                open: AtomicBool::new(false),
                turn: Arc::clone(&session.insertion.turn),
                number: NEXT.fetch_add(1, Ordering::Relaxed),
                standing: private.then(|| Arc::clone(&standing)),
            })
        });
        Ok(Self {
            home: Home::Token(standing),
            handle,
            context,
        })
    }

    fn of_session(session: &Session, handle: CK_OBJECT_HANDLE) -> Result<Self> {
        let object = session.insertion.objects.find(session, handle);
        let object = object.ok_or(Error::KeyHandleInvalid)?;
        if object.private_key().is_none() {
            return Err(Error::KeyHandleInvalid);
        }
        Ok(Self {
            home: Home::Session(object),
            handle,
            context: None,
        })
    }

    /// # Errors
    /// CKR_KEY_FUNCTION_NOT_PERMITTED if the key is not for this.
    fn permitted(self, operation: Operation) -> Result<Self> {
        let permitted = match &self.home {
            Home::Token(..) => self.key()?.constraint(operation) != Constraint::Never,
            // Its attributes can change.
            Home::Session(object) => uses(operation).iter().any(|usage| object.is_true(*usage)),
        };
        if permitted {
            Ok(self)
        } else {
            Err(Error::KeyFunctionNotPermitted)
        }
    }

    /// The key for an operation in its use by this attribute, CKA_UNWRAP or its like.
    ///
    /// # Errors
    /// As [`permitted`](Self::permitted), also if a session key's attribute is false. A token's key
    /// is for all that its operation is good for.
    pub(crate) fn permitted_for(
        self,
        operation: Operation,
        usage: CK_ATTRIBUTE_TYPE,
    ) -> Result<Self> {
        match &self.home {
            Home::Session(object) if !object.is_true(usage) => Err(Error::KeyFunctionNotPermitted),
            _ => self.permitted(operation),
        }
    }

    /// # Errors
    /// CKR_KEY_FUNCTION_NOT_PERMITTED if a program gave the key a list of mechanisms without this one.
    pub(crate) fn check_allowed(&self, mechanism: CK_MECHANISM_TYPE) -> Result<()> {
        match &self.home {
            Home::Token(..) => Ok(()),
            Home::Session(object) => allowed_by(object, mechanism),
        }
    }

    /// The key's facts.
    pub(crate) fn key(&self) -> Result<&Key> {
        self.home()
            .map(|(key, _)| key)
            .ok_or(Error::KeyHandleInvalid)
    }

    /// The key's facts and who performs with it.
    fn home(&self) -> Option<(&Key, &Arc<dyn TokenSession>)> {
        match &self.home {
            Home::Token(standing) => {
                let (key, _) = standing.catalog.private_key(self.handle)?;
                Some((key, standing.opened()?))
            }
            Home::Session(object) => object.private_key(),
        }
    }

    /// Whether an operation that was set up with it may go on with what it has already made.
    ///
    /// # Errors
    /// CKR_USER_NOT_LOGGED_IN if the login that the key needs has ended, whoever has logged in since.
    pub(crate) fn check_login(&self, session: &Session) -> Result<()> {
        match &self.home {
            Home::Token(standing) => {
                let (_, private) = standing
                    .catalog
                    .private_key(self.handle)
                    .ok_or(Error::KeyHandleInvalid)?;
                if private && !standing.is_of_this_login(&session.insertion) {
                    return Err(Error::UserNotLoggedIn);
                }
                Ok(())
            }
            Home::Session(object) => object.check_login(),
        }
    }

    /// The same as [`home`](Self::home), for a use of the key. The token itself knows of the login to
    /// it.
    fn performer(&self) -> ctk_token::Result<(&Key, &Arc<dyn TokenSession>)> {
        if let Home::Session(object) = &self.home {
            object
                .check_login()
                .map_err(|_| TokenError::AuthenticationNeeded)?;
        }
        self.home().ok_or(TokenError::ObjectNotFound)
    }

    /// As [`TokenSession::supports`], and so on below.
    pub(crate) fn supports(&self, operation: Operation, algorithm: KeyAlgorithm) -> bool {
        self.home()
            .is_some_and(|(key, performer)| performer.supports(operation, &key.id, algorithm))
    }

    pub(crate) fn sign(
        &self,
        algorithm: KeyAlgorithm,
        input: &[u8],
        signature: &mut [u8],
    ) -> ctk_token::Result<usize> {
        self.perform(|key, performer| performer.sign(&key.id, algorithm, input, signature))
    }

    pub(crate) fn decrypt(
        &self,
        algorithm: KeyAlgorithm,
        input: &[u8],
        plaintext: &mut [u8],
    ) -> ctk_token::Result<usize> {
        self.perform(|key, performer| performer.decrypt(&key.id, algorithm, input, plaintext))
    }

    pub(crate) fn key_exchange(
        &self,
        algorithm: KeyAlgorithm,
        peer: &[u8],
        secret: &mut [u8],
    ) -> ctk_token::Result<usize> {
        self.perform(|key, performer| performer.key_exchange(&key.id, algorithm, peer, secret))
    }

    fn perform(
        &self,
        work: impl FnOnce(&Key, &dyn TokenSession) -> ctk_token::Result<usize>,
    ) -> ctk_token::Result<usize> {
        let (key, performer) = self.performer()?;
        let _working = match &self.home {
            Home::Token(..) => Some(Working::begin()?),
            Home::Session(_) => None,
        };
        match &self.context {
            Some(context) => context.perform(|| work(key, &**performer)),
            None => work(key, &**performer),
        }
    }

    /// What a CKU_CONTEXT_SPECIFIC login authenticates for: nothing, if the key does not want one
    /// for each use (PKCS#11 §4.10).
    pub(crate) fn authenticates(&self) -> Option<Arc<Context>> {
        self.context.clone()
    }

    /// What the program hears when the token could not do it, and what becomes of the login.
    pub(crate) fn failed(&self, session: &Session, during: During, error: &TokenError) -> Failure {
        let needs_login = *error == TokenError::AuthenticationNeeded;
        if let Some((_, performer)) = self.home() {
            session.insertion.heed(performer, error);
            // For a key that one login is enough for, it is gone: the program's next C_Login must
            // not hear that it is logged in already.
            if needs_login && self.context.is_none() {
                session.insertion.lost(performer);
            }
        }
        Failure {
            error: Error::from_token(during, error),
            only_authentication_lacks: needs_login && self.context.is_some(),
        }
    }
}

/// The uses of a private key that an operation of the contract is for.
fn uses(operation: Operation) -> [CK_ATTRIBUTE_TYPE; 2] {
    match operation {
        Operation::Sign => [CKA_SIGN, CKA_SIGN_RECOVER],
        Operation::Decrypt => [CKA_DECRYPT, CKA_UNWRAP],
        Operation::KeyExchange => [CKA_DERIVE, CKA_DECAPSULATE],
    }
}

/// Why a token did not do something with a private key.
pub(crate) struct Failure {
    pub(crate) error: Error,
    /// The operation stays active: after the authentication that this key wants for each use, the
    /// same call works.
    pub(crate) only_authentication_lacks: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            error,
            only_authentication_lacks: false,
        }
    }
}

/// A public key in use.
pub(crate) enum PublicUse {
    Token(Arc<Standing>, CK_OBJECT_HANDLE),
    Session(Arc<SessionObject>),
}

impl PublicUse {
    /// The public key of this handle, if its attribute `usage` (CKA_VERIFY and its like) is true.
    ///
    /// # Errors
    /// CKR_KEY_HANDLE_INVALID, CKR_KEY_FUNCTION_NOT_PERMITTED.
    pub(crate) fn new(
        session: &Session,
        handle: CK_OBJECT_HANDLE,
        usage: CK_ATTRIBUTE_TYPE,
    ) -> Result<Self> {
        Self::find(session, handle)?.permitted(usage)
    }

    /// The key for whatever it is good for.
    ///
    /// # Errors
    /// CKR_KEY_HANDLE_INVALID, and CKR_KEY_TYPE_INCONSISTENT for a key of another class.
    pub(crate) fn find(session: &Session, handle: CK_OBJECT_HANDLE) -> Result<Self> {
        let standing = session.standing()?;
        if standing.catalog.public_key(handle).is_some() {
            return Ok(Self::Token(standing, handle));
        }
        match session.insertion.objects.find(session, handle) {
            Some(object) if object.public_key().is_some() => Ok(Self::Session(object)),
            _ => Err(of_another_kind(session, handle, Error::KeyHandleInvalid)),
        }
    }

    /// # Errors
    /// CKR_KEY_FUNCTION_NOT_PERMITTED if its attribute `usage` is false. Whoever has a token's public
    /// key can use it for all that its numbers are good for.
    pub(crate) fn permitted(self, usage: CK_ATTRIBUTE_TYPE) -> Result<Self> {
        match &self {
            Self::Session(object) if !object.is_true(usage) => Err(Error::KeyFunctionNotPermitted),
            _ => Ok(self),
        }
    }

    pub(crate) fn public_key(&self) -> Result<&PublicKey> {
        let key = match self {
            Self::Token(standing, handle) => standing.catalog.public_key(*handle),
            Self::Session(object) => object.public_key(),
        };
        key.ok_or(Error::KeyHandleInvalid)
    }
}

/// The private key of this handle, as [`PrivateUse::find`] does.
///
/// # Errors
/// Likewise, and CKR_KEY_TYPE_INCONSISTENT for a key that is not a private one.
pub(crate) fn private(session: &Session, handle: CK_OBJECT_HANDLE) -> Result<PrivateUse> {
    PrivateUse::find(session, handle).map_err(|error| of_another_kind(session, handle, error))
}

/// The public key of this handle, as [`PublicUse::new`] does.
///
/// # Errors
/// Likewise, and CKR_KEY_TYPE_INCONSISTENT for a key that is not a public one.
pub(crate) fn public(
    session: &Session,
    handle: CK_OBJECT_HANDLE,
    usage: CK_ATTRIBUTE_TYPE,
) -> Result<PublicUse> {
    PublicUse::new(session, handle, usage).map_err(|error| of_another_kind(session, handle, error))
}

/// A handle that is not a key's is invalid; one of another kind of key is inconsistent with the
/// mechanism (§5.1.6).
fn of_another_kind(session: &Session, handle: CK_OBJECT_HANDLE, error: Error) -> Error {
    if error == Error::KeyHandleInvalid && is_key(session, handle) {
        return Error::KeyTypeInconsistent;
    }
    error
}

/// Whether the session sees a key of this handle, of whatever kind.
pub(crate) fn is_key(session: &Session, handle: CK_OBJECT_HANDLE) -> bool {
    let public = |standing: Arc<Standing>| standing.catalog.public_key(handle).is_some();
    let of_token = is_private_of_token(session, handle).unwrap_or(false)
        || session.standing().is_ok_and(public);
    let object = session.insertion.objects.find(session, handle);
    of_token || object.is_some_and(|object| !matches!(object.material, Material::Nothing))
}

/// Whether the session sees a private key of the token by this handle. The token is not asked.
pub(crate) fn is_private_of_token(session: &Session, handle: CK_OBJECT_HANDLE) -> Result<bool> {
    let standing = session.standing()?;
    let key = standing.catalog.private_key(handle);
    Ok(key.is_some_and(|(_, private)| !private || standing.shows_private))
}

/// Whether a key's CKA_ALLOWED_MECHANISMS, if a program gave it a list, has the mechanism.
///
/// # Errors
/// CKR_KEY_FUNCTION_NOT_PERMITTED (PKCS#11 §5.1.6).
pub(crate) fn check_allowed(
    session: &Session,
    handle: CK_OBJECT_HANDLE,
    mechanism: CK_MECHANISM_TYPE,
) -> Result<()> {
    match session.insertion.objects.find(session, handle) {
        Some(object) => allowed_by(&object, mechanism),
        None => Ok(()),
    }
}

fn allowed_by(object: &SessionObject, mechanism: CK_MECHANISM_TYPE) -> Result<()> {
    let attributes = object.attributes.read();
    let list = attributes.get(&CKA_ALLOWED_MECHANISMS);
    let list = list.map(|list| &**list).unwrap_or_default();
    let mut allowed = list.chunks_exact(size_of::<CK_MECHANISM_TYPE>());
    if list.is_empty() || allowed.any(|one| one == mechanism.to_ne_bytes()) {
        Ok(())
    } else {
        Err(Error::KeyFunctionNotPermitted)
    }
}

/// What a key that is derived from this private one inherits of its past.
pub(crate) fn derived_from(
    session: &Session,
    handle: CK_OBJECT_HANDLE,
    base: &PrivateUse,
) -> Result<How> {
    Ok(match session.insertion.objects.find(session, handle) {
        Some(object) => How::Derived {
            always_sensitive: object.is_true(CKA_ALWAYS_SENSITIVE),
            never_extractable: object.is_true(CKA_NEVER_EXTRACTABLE),
        },
        None => {
            let generated = base.key()?.origin == Origin::Generated;
            How::Derived {
                always_sensitive: generated,
                never_extractable: generated,
            }
        }
    })
}

/// The secret key of this handle, if its attribute `usage` is true, and its type.
///
/// # Errors
/// CKR_KEY_HANDLE_INVALID, CKR_KEY_FUNCTION_NOT_PERMITTED.
pub(crate) fn secret_key(
    session: &Session,
    handle: CK_OBJECT_HANDLE,
    usage: CK_ATTRIBUTE_TYPE,
) -> Result<Arc<SessionObject>> {
    let object = session.insertion.objects.find(session, handle);
    let invalid = Error::KeyHandleInvalid;
    let object = object.ok_or_else(|| of_another_kind(session, handle, invalid))?;
    if object.secret_key().is_none() {
        return Err(of_another_kind(session, handle, Error::KeyHandleInvalid));
    }
    if object.is_true(usage) {
        Ok(object)
    } else {
        Err(Error::KeyFunctionNotPermitted)
    }
}

/// A secret key's bytes, for those who have its object.
pub(crate) fn secret(object: &SessionObject) -> Result<&SecretBytes> {
    object.secret_key().ok_or(Error::KeyHandleInvalid)
}
