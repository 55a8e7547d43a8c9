//! How a session stands with its token: the objects that there are, who is logged in, the token's
//! own session. Remembered by each session for itself, because calls ask for it all the time, and
//! threads that wrote to one place for the answer would wait for one another's cores.

use std::sync::Arc;

use ctk_token::TokenSession;
use once_cell::sync::OnceCell;
use parking_lot::Mutex;

use crate::{error::Result, insertion::Insertion, object::Catalog};

/// What was true at one moment.
pub(crate) struct Standing {
    /// The moment: a change of login makes a later one.
    moment: u64,
    pub(crate) catalog: Arc<Catalog>,
    /// Whether private objects can be seen.
    pub(crate) shows_private: bool,
    token_session: OnceCell<Arc<dyn TokenSession>>,
}

impl Standing {
    fn now(insertion: &Insertion) -> Result<Self> {
        // Read first: what changes meanwhile makes this one a thing of the past.
        let moment = insertion.moment();
        Ok(Self {
            moment,
            catalog: insertion.catalog()?,
            shows_private: insertion.shows_private(),
            token_session: OnceCell::new(),
        })
    }

    /// Whether nobody has logged in or out since.
    pub(crate) fn is_of_this_login(&self, insertion: &Insertion) -> bool {
        self.moment == insertion.moment()
    }

    fn lasts(&self, insertion: &Insertion) -> bool {
        self.is_of_this_login(insertion)
            && self.catalog.generation() >= insertion.token.generation()
    }

    /// The application's session with the token, if it was opened.
    pub(crate) fn opened(&self) -> Option<&Arc<dyn TokenSession>> {
        self.token_session.get()
    }

    /// The application's session with the token, opened when it is first needed.
    pub(crate) fn token_session(&self, insertion: &Insertion) -> Result<&Arc<dyn TokenSession>> {
        self.token_session
            .get_or_try_init(|| insertion.token_session())
    }
}

/// The last standing of a session.
#[derive(Default)]
pub(crate) struct LastStanding(Mutex<Option<Arc<Standing>>>);

impl LastStanding {
    /// How the session stands now.
    ///
    /// # Errors
    /// Whatever keeps the objects from getting their handles.
    pub(crate) fn now(&self, insertion: &Insertion) -> Result<Arc<Standing>> {
        if let Some(last) = &*self.0.lock()
            && last.lasts(insertion)
        {
            return Ok(Arc::clone(last));
        }
        let now = Arc::new(Standing::now(insertion)?);
        let before = self.0.lock().replace(Arc::clone(&now));
        // After the lock: it may be the last that holds a token's session.
        drop(before);
        Ok(now)
    }

    /// Lets go of what it holds.
    pub(crate) fn forget(&self) {
        let before = self.0.lock().take();
        drop(before);
    }
}
