//! A session: the password opens the file, and its keys are ready until the session ends.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use ctk_crypto::PrivateKey;
use ctk_token::{
    AuthMethod, AuthOperation, AuthSecret, KeyAlgorithm, ObjectId, Operation, Reason, Result, Role,
    Token, TokenError, TokenSession,
};
use parking_lot::RwLock;

use crate::{
    file,
    identity::{self, Opened},
    token::{FileToken, MAX_PIN, primitive},
};

/// The keys that a login made ready.
type ReadyKeys = HashMap<ObjectId, Arc<PrivateKey>>;

/// One application's use of a file.
pub(crate) struct Session {
    token: Arc<FileToken>,
    /// `None` before login. Held only to look up or swap, never while a key works.
    keys: RwLock<Option<ReadyKeys>>,
}

impl Session {
    /// A session before login.
    pub(crate) fn new(token: Arc<FileToken>) -> Self {
        Self {
            token,
            keys: RwLock::new(None),
        }
    }

    /// Reads the file and picks the configured keys from it.
    fn open(&self, password: &[u8]) -> Result<ReadyKeys> {
        let configuration = self.token.configuration();
        let name = &configuration.name;
        let bytes = file::read(
            &configuration.file,
            &format!("put it back, or forget it with `ctk remove {name}`"),
        )?;
        let opened = identity::open(&bytes, password)
            .map_err(|failure| failure.about(&configuration.file))?;
        self.warn_of_changes(&opened);
        let in_file: Vec<_> = opened.keys.into_iter().map(Arc::new).collect();
        self.token
            .contents()
            .keys()
            .map(|key| {
                let wanted = key.public_key.material();
                let private = in_file
                    .iter()
                    .find(|private| private.public_key().material() == wanted)
                    .ok_or_else(|| self.replaced(&key.label))?;
                Ok((key.id.clone(), private.clone()))
            })
            .collect()
    }

    /// The key of an identity that is configured is no longer in the file: using another in its
    /// place would be the worst that could happen.
    fn replaced(&self, label: &str) -> TokenError {
        let configuration = self.token.configuration();
        let (file, name) = (configuration.file.display(), &configuration.name);
        TokenError::Corrupted(Reason::new(format!(
            "{file}: the key {label:?} is not in it any more, \
                 the file was replaced: run `ctk update {name}`"
        )))
    }

    /// A renewal with the same keys works on; only what was stored of the file is out of date.
    fn warn_of_changes(&self, opened: &Opened) {
        let configuration = self.token.configuration();
        let found: HashSet<&[u8]> = opened
            .inventory
            .certificates
            .iter()
            .map(|record| &*record.der)
            .collect();
        let stored = &configuration.contents.certificates;
        if let Some(gone) = stored.iter().find(|record| !found.contains(&*record.der)) {
            let (file, name) = (configuration.file.display(), &configuration.name);
            let label = &gone.label;
            log::warn!(
                "{file}: the certificate {label:?} is not in it any more: run `ctk update {name}`"
            );
        }
    }
}

impl TokenSession for Session {
    fn begin_auth(
        &self,
        role: Role,
        _item: Option<&ObjectId>,
    ) -> Result<Box<dyn AuthOperation + '_>> {
        match role {
            Role::User => Ok(Box::new(Login(self))),
            Role::Context | Role::Admin | Role::Unblock => Err(TokenError::NotSupported),
        }
    }

    fn end_auth(&self, role: Role) {
        if role == Role::User {
            // Freed after the lock: whoever signs right now keeps its key until it is done.
            let ended = self.keys.write().take();
            drop(ended);
        }
    }

    fn supports(&self, operation: Operation, key: &ObjectId, algorithm: KeyAlgorithm) -> bool {
        operation == Operation::Sign
            && self
                .token
                .contents()
                .key(key)
                .is_some_and(|key| primitive(key.public_key.key_type()) == Some(algorithm))
    }

    fn sign(
        &self,
        key: &ObjectId,
        algorithm: KeyAlgorithm,
        input: &[u8],
        signature: &mut [u8],
    ) -> Result<usize> {
        if self.token.contents().key(key).is_none() {
            return Err(TokenError::ObjectNotFound);
        }
        if !self.supports(Operation::Sign, key, algorithm) {
            return Err(TokenError::NotSupported);
        }
        let ready = match &*self.keys.read() {
            None => return Err(TokenError::AuthenticationNeeded),
            Some(keys) => keys.get(key).cloned(),
        };
        ready
            .ok_or(TokenError::ObjectNotFound)?
            .sign(algorithm, input, signature)
    }
}

/// A login that waits for the password.
struct Login<'a>(&'a Session);

impl AuthOperation for Login<'_> {
    fn method(&self) -> AuthMethod {
        AuthMethod::Password
    }

    fn finish(self: Box<Self>, secret: AuthSecret<'_>) -> Result<()> {
        let AuthSecret::Pin(password) = secret else {
            return Err(TokenError::BadParameter);
        };
        if password.len() > MAX_PIN {
            return Err(TokenError::PinLength {
                min: 0,
                max: MAX_PIN,
            });
        }
        let ready = self.0.open(password)?;
        let before = self.0.keys.write().replace(ready);
        drop(before);
        Ok(())
    }
}
