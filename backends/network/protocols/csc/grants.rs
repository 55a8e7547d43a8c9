//! What an application has been authorised for. It is kept in memory, and gone with the login that it came from.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Instant,
};

use ctk_token::{Result, Role, TokenError};
use zeroize::Zeroizing;

use super::{authorize::Sad, refused::PAUSE};

/// What stands behind a signature: activation data, and the number of the authorisation that it is of.
pub(super) type Taken = (Arc<Zeroizing<String>>, u64);

/// The login that something was asked for in. What comes after its end is not kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Login(u64);

/// Never locked while the service is asked.
#[derive(Default)]
pub(super) struct Grants {
    /// How often a user's login has ended, and one for an operation.
    ends: u64,
    context_ends: u64,
    /// Authorisations for several signatures, by credential.
    grants: HashMap<String, Grant>,
    /// The number of the last grant.
    last: u64,
    shared: Option<Shared>,
    /// What the login is good for besides: one operation, directly after it.
    once: Option<Once>,
    /// What a login for one operation is good for.
    context: Option<Once>,
    /// Credentials whose service takes an authorisation once, whatever it says.
    fleeting: HashSet<String>,
}

/// An authorisation for several signatures.
struct Grant {
    number: u64,
    sad: Arc<Zeroizing<String>>,
    until: Instant,
    /// Signatures that are left of it.
    left: u32,
    /// Signatures that the service has made with it.
    used: u32,
}

/// The login where several credentials share a PIN: each is opened at its first use.
pub(super) struct Shared {
    pub(super) secret: Zeroizing<Vec<u8>>,
    /// The credentials that are not open yet; with what the service said if it refused one, which is not asked again at
    /// once.
    pub(super) closed: HashMap<String, Option<No>>,
}

/// What a service said to a credential's opening.
pub(super) struct No {
    error: TokenError,
    at: Instant,
    /// The secret is wrong: another login is needed, since this one's is sent no more.
    is_of_secret: bool,
}

impl No {
    fn new(error: &TokenError, is_of_secret: bool) -> Option<Self> {
        Some(Self {
            error: error.clone(),
            at: Instant::now(),
            is_of_secret,
        })
    }

    fn is_recent(&self) -> bool {
        self.at.elapsed() < PAUSE
    }
}

/// Something good for one signature.
pub(super) enum Once {
    /// What somebody logged in with. `None` is any credential that wants it each time.
    Secret(Option<String>, Zeroizing<Vec<u8>>),
    Sad(String, Sad),
}

impl Once {
    fn is_for(&self, credential: &str) -> bool {
        match self {
            Self::Secret(None, _) => true,
            Self::Secret(Some(of), _) | Self::Sad(of, _) => of == credential,
        }
    }
}

impl Grants {
    /// The present login, or the time without one.
    pub(super) fn login(&self) -> Login {
        Login(self.ends)
    }

    /// The same for an operation.
    pub(super) fn context_login(&self) -> Login {
        Login(self.context_ends)
    }

    /// A new login. Of credentials that it is for, older authorisations end.
    pub(super) fn log_in(
        &mut self,
        login: Login,
        lasting: &[&str],
        shared: Option<Shared>,
        once: Option<Once>,
    ) {
        if login != self.login() {
            return;
        }
        self.grants.retain(|name, _| !lasting.contains(&&**name));
        self.shared = shared;
        self.once = once;
    }

    /// A new login for one operation.
    pub(super) fn log_in_once(&mut self, login: Login, once: Once) {
        if login == self.context_login() {
            self.context = Some(once);
        }
    }

    /// Ends a login.
    pub(super) fn log_out(&mut self, role: Role) {
        match role {
            // Numbers go on, so that who still signs takes no new authorisation for its own.
            Role::User => {
                *self = Self {
                    ends: self.ends + 1,
                    context_ends: self.context_ends + 1,
                    last: self.last,
                    fleeting: std::mem::take(&mut self.fleeting),
                    ..Self::default()
                };
            }
            Role::Context => {
                self.context_ends += 1;
                self.context = None;
            }
            Role::Admin | Role::Unblock => {}
        }
    }

    /// Keeps an authorisation for `left` signatures, which opens the credential.
    pub(super) fn keep(&mut self, login: Login, credential: &str, sad: &Sad, left: u32) -> u64 {
        self.last += 1;
        let number = self.last;
        if login != self.login() {
            return number;
        }
        if let Some(shared) = &mut self.shared {
            shared.closed.remove(credential);
        }
        let grant = Grant {
            number,
            sad: sad.value.clone(),
            until: sad.until,
            left,
            used: 0,
        };
        self.grants.insert(credential.to_owned(), grant);
        number
    }

    /// One signature of what is left of an authorisation.
    pub(super) fn take(&mut self, credential: &str) -> Option<Taken> {
        let grant = self.grants.get_mut(credential)?;
        if grant.left == 0 || Instant::now() >= grant.until {
            self.grants.remove(credential);
            return None;
        }
        grant.left -= 1;
        Some((grant.sad.clone(), grant.number))
    }

    /// The service has taken it.
    pub(super) fn note_use(&mut self, credential: &str, number: u64) {
        if let Some(grant) = self.grants.get_mut(credential)
            && grant.number == number
        {
            grant.used += 1;
        }
    }

    /// Whether the service has taken it before.
    pub(super) fn was_used(&self, credential: &str, number: u64) -> bool {
        self.uses(credential, number) > 0
    }

    /// How often.
    pub(super) fn uses(&self, credential: &str, number: u64) -> u32 {
        let grant = self.grants.get(credential);
        let grant = grant.filter(|grant| grant.number == number);
        grant.map_or(0, |grant| grant.used)
    }

    /// The service does not take it any more.
    pub(super) fn lose(&mut self, credential: &str, number: u64) {
        if self
            .grants
            .get(credential)
            .is_some_and(|grant| grant.number == number)
        {
            self.grants.remove(credential);
        }
    }

    /// What opens a credential at its first use.
    ///
    /// # Errors
    /// [`TokenError::AuthenticationNeeded`] if the login is not for it; what the service said to it if it has refused a
    /// moment ago.
    pub(super) fn shared(&self, credential: &str) -> Result<(Login, Zeroizing<Vec<u8>>)> {
        let shared = self
            .shared
            .as_ref()
            .ok_or(TokenError::AuthenticationNeeded)?;
        match shared.closed.get(credential) {
            None => Err(TokenError::AuthenticationNeeded),
            Some(Some(no)) if no.is_recent() => Err(no.error.clone()),
            Some(Some(no)) if no.is_of_secret => Err(TokenError::AuthenticationNeeded),
            Some(_) => Ok((self.login(), shared.secret.clone())),
        }
    }

    /// The service has refused to open a credential, and may have counted that as a try.
    pub(super) fn refuse(&mut self, login: Login, credential: &str, error: &TokenError) {
        if login == self.login()
            && let Some(shared) = &mut self.shared
            && let Some(refused) = shared.closed.get_mut(credential)
            && !refused.as_ref().is_some_and(|no| no.is_of_secret)
        {
            *refused = No::new(error, false);
        }
    }

    /// The service says that the secret of the login is wrong: no other credential is given it.
    pub(super) fn refuse_all(&mut self, login: Login, error: &TokenError) {
        if login != self.login() {
            return;
        }
        if matches!(self.once, Some(Once::Secret(..))) {
            self.once = None;
        }
        for refused in self
            .shared
            .iter_mut()
            .flat_map(|shared| shared.closed.values_mut())
        {
            *refused = No::new(error, true);
        }
    }

    /// What was logged in with for one operation with this credential.
    pub(super) fn take_once(&mut self, credential: &str) -> Option<Once> {
        let context = self.context.take_if(|once| once.is_for(credential));
        // Whatever comes first after the login uses it up.
        let user = self.once.take().filter(|once| once.is_for(credential));
        context.or(user)
    }

    /// An operation comes that was not logged in for by itself.
    pub(super) fn end_once(&mut self) {
        self.once = None;
    }

    /// Whether the login is for this credential, which is opened for several signatures.
    pub(super) fn is_open(&self, credential: &str) -> bool {
        let grant = self.grants.get(credential);
        let shared = self.shared.as_ref();
        grant.is_some_and(|grant| grant.left > 0 && Instant::now() < grant.until)
            || shared
                .and_then(|shared| shared.closed.get(credential))
                .is_some_and(|no| {
                    no.as_ref()
                        .is_none_or(|no| no.is_recent() || !no.is_of_secret)
                })
    }

    /// Whether a login is for an operation with this credential.
    pub(super) fn is_open_once(&self, credential: &str) -> bool {
        let mut all = [&self.context, &self.once].into_iter().flatten();
        all.any(|once| once.is_for(credential))
    }

    /// Whether an authorisation is good for one signature, whatever it says.
    pub(super) fn is_fleeting(&self, credential: &str) -> bool {
        self.fleeting.contains(credential)
    }

    /// It is.
    pub(super) fn note_fleeting(&mut self, credential: &str) {
        self.fleeting.insert(credential.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use ctk_token::Reason;

    use super::*;

    /// Where the PIN is stored nobody logs out, and it may be put right meanwhile.
    #[test]
    fn what_was_refused_stays_closed_for_a_while_only() {
        let mut grants = Grants::default();
        let login = grants.login();
        let shared = Shared {
            secret: Zeroizing::new(b"1234".to_vec()),
            closed: [("a".to_owned(), None), ("b".to_owned(), None)].into(),
        };
        grants.log_in(login, &["a", "b"], Some(shared), None);
        let quota = TokenError::Refused(Reason::new("quota"));
        let wrong = TokenError::AuthenticationFailed { tries: None };
        let pass = |grants: &mut Grants| {
            let closed = grants
                .shared
                .iter_mut()
                .flat_map(|all| all.closed.values_mut());
            closed.flatten().for_each(|no| no.at -= PAUSE);
        };
        let told = |grants: &Grants| grants.shared("a").map(drop);

        grants.refuse(login, "a", &quota);
        assert_eq!(told(&grants), Err(quota));
        pass(&mut grants);
        assert!(grants.is_open("a"));
        assert_eq!(told(&grants), Ok(()));
        // A wrong secret is not sent again: another login is.
        grants.refuse_all(login, &wrong);
        assert_eq!(told(&grants), Err(wrong));
        assert!(grants.is_open("a") && grants.is_open("b"));
        pass(&mut grants);
        assert!(!grants.is_open("a") && !grants.is_open("b"));
        assert_eq!(told(&grants), Err(TokenError::AuthenticationNeeded));
    }
}
