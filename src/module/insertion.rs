//! One token from its insertion to its removal: this application's login to it and its objects'
//! handles.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use ctk_token::{LoginPolicy, Role, Token, TokenError, TokenInfo, TokenSession};
use parking_lot::Mutex;

use crate::{
    error::{During, Error, Result},
    key::Turn,
    login,
    object::{Catalog, data::ReadValues, session_object::SessionObjects},
};

/// A token that is in a slot. Sessions, login and handles end with it; the same card put in again
/// is a new one.
pub(crate) struct Insertion {
    pub(crate) token: Arc<dyn Token>,
    /// How a program gets to use the keys, which stays the same for a token.
    pub(crate) policy: LoginPolicy,
    /// What the program's sessions with it have made.
    pub(crate) objects: SessionObjects,
    /// What was read of its data objects.
    pub(crate) values: ReadValues,
    /// For which operation somebody has authenticated.
    pub(crate) turn: Arc<Turn>,
    application: Mutex<Application>,
    /// Counts the changes of login and of the token's session.
    moment: AtomicU64,
    catalog: Mutex<Option<Arc<Catalog>>>,
    /// Whether the token is known to be gone.
    over: AtomicBool,
}

/// What the program has with the token: in PKCS#11 a login is one per token, not one per session.
#[derive(Default)]
struct Application {
    read_only: usize,
    read_write: usize,
    login: Option<Role>,
    session: Option<Arc<dyn TokenSession>>,
}

impl Application {
    fn has_sessions(&self) -> bool {
        self.read_only + self.read_write > 0
    }

    /// Whether this is the token's session that new operations get.
    fn has(&self, session: &Arc<dyn TokenSession>) -> bool {
        self.session
            .as_ref()
            .is_some_and(|own| Arc::ptr_eq(own, session))
    }
}

/// Ends a login in the session that it was made in. Under no lock: a card or broker works here.
fn end(session: Option<Arc<dyn TokenSession>>, role: Role) {
    if let Some(session) = session {
        // An operation in another thread may hold the session a moment longer.
        session.end_auth(role);
    }
}

impl Insertion {
    pub(crate) fn new(token: Arc<dyn Token>) -> Self {
        Self {
            policy: token.login_policy(),
            token,
            objects: SessionObjects::default(),
            values: ReadValues::default(),
            turn: Arc::default(),
            application: Mutex::default(),
            moment: AtomicU64::new(0),
            catalog: Mutex::default(),
            over: AtomicBool::new(false),
        }
    }

    /// Whether this is that token, without interruption.
    pub(crate) fn is(&self, token: &Arc<dyn Token>) -> bool {
        // Pointers to traits may differ in their tables even for one token.
        std::ptr::addr_eq(Arc::as_ptr(&self.token), Arc::as_ptr(token))
    }

    /// Takes note that the token is gone.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    /// Whether the token is known to be gone.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// What the token is.
    ///
    /// # Errors
    /// CKR_DEVICE_REMOVED and CKR_DEVICE_ERROR: one that does not answer is not taken for another.
    pub(crate) fn read_info(&self) -> Result<TokenInfo> {
        self.token.read_info().map_err(|error| {
            if error == TokenError::TokenRemoved {
                self.end();
            }
            Error::from_token(During::Loading, &error)
        })
    }

    /// Whether anything on the token can be changed.
    pub(crate) fn is_writable(&self) -> bool {
        self.token.info().writable
    }

    /// Which of the moments between two changes of login it is: what was true in one stays true as
    /// long as this is the same.
    pub(crate) fn moment(&self) -> u64 {
        self.moment.load(Ordering::Acquire)
    }

    /// Begins another moment. Called under the application's lock, before the change is told to
    /// anybody.
    fn pass(&self) {
        self.moment.fetch_add(1, Ordering::Release);
    }

    /// Counts a session in.
    pub(crate) fn session_opened(&self, read_write: bool) -> Result<()> {
        let mut application = self.application.lock();
        if !read_write && application.login == Some(Role::Admin) {
            return Err(Error::SessionReadWriteSoExists);
        }
        if read_write {
            application.read_write += 1;
        } else {
            application.read_only += 1;
        }
        Ok(())
    }

    /// Counts a session out. The last one logs out and gives the token's session back.
    pub(crate) fn session_closed(&self, read_write: bool) {
        let mut application = self.application.lock();
        let count = if read_write {
            &mut application.read_write
        } else {
            &mut application.read_only
        };
        *count = count.saturating_sub(1);
        if application.has_sessions() {
            return;
        }
        application.login = None;
        let session = application.session.take();
        self.pass();
        drop(application);
        self.values.forget();
        if let Some(session) = session {
            // An operation in another thread may hold the session a moment longer.
            session.end_auth(Role::User);
            session.end_auth(Role::Admin);
        }
    }

    /// How many read-only and read-write sessions there are.
    pub(crate) fn session_counts(&self) -> (usize, usize) {
        let application = self.application.lock();
        (application.read_only, application.read_write)
    }

    /// Who is logged in.
    pub(crate) fn login(&self) -> Option<Role> {
        self.application.lock().login
    }

    /// Whether private objects can be seen. A token that authenticates by itself has nothing that a
    /// login would show.
    pub(crate) fn shows_private(&self) -> bool {
        self.policy == LoginPolicy::OnUse || self.login() == Some(Role::User)
    }

    /// Remembers a login that `session` confirmed; says whether it counts. It does not if another
    /// thread has logged in and out meanwhile, because that ended the token's session.
    ///
    /// # Errors
    /// CKR_SESSION_CLOSED if the last PKCS#11 session was closed meanwhile.
    pub(crate) fn logged_in(&self, session: &Arc<dyn TokenSession>, role: Role) -> Result<bool> {
        let mut application = self.application.lock();
        let has_sessions = application.has_sessions();
        if !application.has(session) || !has_sessions {
            drop(application);
            session.end_auth(role);
            return if has_sessions {
                Ok(false)
            } else {
                Err(Error::SessionClosed)
            };
        }
        // Another thread was faster.
        if application.login == Some(role) {
            return Err(Error::UserAlreadyLoggedIn);
        }
        if application.login.is_some() {
            // The key store keeps the roles apart: that of the other login stays.
            drop(application);
            session.end_auth(role);
            return Err(Error::UserAnotherAlreadyLoggedIn);
        }
        if role == Role::Admin && application.read_only > 0 {
            // One was opened while the key store looked at the secret.
            let ended = application.session.take();
            self.pass();
            drop(application);
            end(ended, role);
            return Err(Error::SessionReadOnlyExists);
        }
        application.login = Some(role);
        self.pass();
        Ok(true)
    }

    /// Ends the login, and with it the token's session: a login that another thread makes while the
    /// token still logs out gets a session of its own, which that does not touch.
    pub(crate) fn log_out(&self) -> Result<()> {
        let mut application = self.application.lock();
        let role = application.login.take().ok_or(Error::UserNotLoggedIn)?;
        let ended = application.session.take();
        self.pass();
        drop(application);
        self.forget_private();
        end(ended, role);
        Ok(())
    }

    /// Forgets what only a user who is logged in may see.
    fn forget_private(&self) {
        self.objects.remove_private();
        self.values.forget_protected();
    }

    /// Takes note of what an error of `session` says: that nobody is logged in with it any more, or
    /// that the token is gone.
    pub(crate) fn heed(&self, session: &Arc<dyn TokenSession>, error: &TokenError) {
        if *error == TokenError::TokenRemoved {
            self.end();
        }
        if login::ends_login(error) {
            self.lost(session);
        }
    }

    /// Takes note that nobody is logged in with `session` any more, so that the program can log in
    /// again. A login that was made since, with another session, stays.
    pub(crate) fn lost(&self, session: &Arc<dyn TokenSession>) {
        let mut application = self.application.lock();
        if application.login.is_none() || !application.has(session) {
            return;
        }
        let (role, ended) = (application.login.take(), application.session.take());
        self.pass();
        drop(application);
        self.forget_private();
        if let Some(role) = role {
            end(ended, role);
        }
    }

    /// The application's session with the token, opened when it is first needed.
    pub(crate) fn token_session(&self) -> Result<Arc<dyn TokenSession>> {
        if let Some(session) = &self.application.lock().session {
            return Ok(Arc::clone(session));
        }
        // Declared before the lock and so dropped after it, if another thread was faster: the end
        // of a session may be work for a card.
        let new = self
            .token
            .create_session()
            .map_err(|error| Error::from_token(During::Opening, &error))?;
        let mut application = self.application.lock();
        if !application.has_sessions() {
            // Somebody asks for mechanisms before any session: nothing to keep.
            return Ok(Arc::clone(&new));
        }
        let session = application.session.get_or_insert_with(|| Arc::clone(&new));
        Ok(Arc::clone(session))
    }

    /// The objects of the token as it is now. Handles carry over from one generation to the next.
    /// What has not been read yet is read; after that nothing is asked of the token.
    ///
    /// # Errors
    /// CKR_DEVICE_REMOVED and CKR_DEVICE_ERROR: objects that cannot be read are not taken for none.
    pub(crate) fn catalog(&self) -> Result<Arc<Catalog>> {
        if let Some(known) = current(&self.catalog.lock(), self.token.generation()) {
            return Ok(known);
        }
        // Under no lock: a card is read here.
        self.token.load().map_err(|error| {
            if error == TokenError::TokenRemoved {
                self.end();
            }
            Error::from_token(During::Loading, &error)
        })?;
        let contents = self.token.contents();
        let on_use = self.policy == LoginPolicy::OnUse;
        let mut catalog = self.catalog.lock();
        if let Some(known) = current(&catalog, contents.generation) {
            return Ok(known);
        }
        let new = Arc::new(Catalog::new(&contents, on_use, catalog.as_deref())?);
        *catalog = Some(Arc::clone(&new));
        Ok(new)
    }
}

/// The catalog, if it is of this generation or a later one.
fn current(catalog: &Option<Arc<Catalog>>, generation: u64) -> Option<Arc<Catalog>> {
    let known = catalog.as_ref();
    known
        .filter(|known| known.generation() >= generation)
        .cloned()
}
