//! A session: the password opens the file, and its keys are ready until the session ends.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use ctk_crypto::{PerThread, PrivateKey, Reduction};
use ctk_token::{
    AuthMethod, AuthOperation, AuthSecret, Key, KeyAlgorithm, ObjectId, Operation, Reason, Result,
    Role, Token, TokenError, TokenSession,
};
use parking_lot::{Mutex, RwLock};

use crate::{
    Inventory,
    failure::Failure,
    file,
    identity::{self, Opened},
    replace::Change,
    rewrite,
    token::{FileToken, MAX_PIN, performs},
};

/// The keys that a login made ready.
type ReadyKeys = HashMap<ObjectId, Arc<PrivateKey>>;

/// The same for one thread. Each has counted references of its own, because threads that write to
/// one counter with each signature wait for one another's cores.
type ThreadKeys = RwLock<Option<HashMap<ObjectId, Arc<Counted>>>>;

/// A key with a count of the references of one thread.
struct Counted(Arc<PrivateKey>);

/// One application's use of a file.
pub(crate) struct Session {
    token: Arc<FileToken>,
    /// Those of each thread: `None` before login. Held only to look up or swap, never while a key works.
    keys: PerThread<ThreadKeys>,
    /// Held while the keys of all threads are changed, so that a login and its end are each whole.
    changing: Mutex<()>,
}

impl Session {
    /// A session before login.
    pub(crate) fn new(token: Arc<FileToken>) -> Self {
        Self {
            token,
            keys: PerThread::new(ThreadKeys::default),
            changing: Mutex::new(()),
        }
    }

    /// Reads the file and picks the configured keys from it.
    fn open(&self, password: &[u8]) -> Result<ReadyKeys> {
        let file = &self.token.configuration().file;
        let bytes = file::read(file, &self.if_missing())?;
        let opened = identity::open(&bytes, password).map_err(|failure| failure.about(file))?;
        self.warn_of_changes(&opened.inventory);
        self.ready_keys(opened)
    }

    /// A key of this session for an operation, if it is for that and somebody has logged in.
    fn ready(
        &self,
        operation: Operation,
        id: &ObjectId,
        algorithm: KeyAlgorithm,
    ) -> Result<Arc<Counted>> {
        let own = self.keys.mine().read();
        let ready = own.as_ref().map(|keys| keys.get(id).cloned());
        drop(own);
        if let Some(Some(key)) = ready {
            return match performs(key.0.public_key(), operation, algorithm) {
                true => Ok(key),
                false => Err(TokenError::NotSupported),
            };
        }
        let key = self.token.key(id).ok_or(TokenError::ObjectNotFound)?;
        if performs(&key.public_key, operation, algorithm) && ready.is_none() {
            return Err(TokenError::AuthenticationNeeded);
        }
        // A login that succeeds leaves out none but the keys that this build cannot use.
        Err(TokenError::NotSupported)
    }

    /// Makes these the keys of the session; `None` after a login's end.
    fn replace_keys(&self, ready: Option<&ReadyKeys>) {
        let _changing = self.changing.lock();
        let counted = |(id, key): (&ObjectId, &Arc<PrivateKey>)| {
            (id.clone(), Arc::new(Counted(Arc::clone(key))))
        };
        for own in self.keys.all() {
            let new = ready.map(|ready| ready.iter().map(counted).collect());
            let before = std::mem::replace(&mut *own.write(), new);
            // Freed after the thread's lock: whoever signs right now keeps its key until it is done.
            drop(before);
        }
    }

    /// What to do if the file is gone.
    fn if_missing(&self) -> String {
        let name = &self.token.configuration().name;
        format!("put it back, or forget it with `ctk remove {name}`")
    }

    /// The configured keys of an opened file.
    fn ready_keys(&self, opened: Opened) -> Result<ReadyKeys> {
        let in_file: Vec<_> = opened.keys.into_iter().map(Arc::new).collect();
        let contents = self.token.contents();
        let mut ready = ReadyKeys::new();
        for key in contents.keys() {
            let wanted = key.public_key.material();
            let private = in_file
                .iter()
                .find(|private| private.public_key().material() == wanted);
            if let Some(private) = private {
                self.warn_of_restriction(key, private);
                ready.insert(key.id.clone(), private.clone());
                continue;
            }
            // It may be one of those, so that nothing says that the file was replaced.
            let kind = identity::algorithm(key.public_key.spki());
            let is_unsupported = |left_out: &Vec<u8>| Some(left_out.as_slice()) == kind;
            if !opened.unsupported.iter().any(is_unsupported) {
                return Err(self.missing(&key.label, opened.failed));
            }
        }
        Ok(ready)
    }

    /// Writes the file again under another password, and nothing if anything of it would be lost.
    fn change_password(&self, old: &[u8], new: &[u8]) -> Result<()> {
        let file = &self.token.configuration().file;
        let about = |failure: Failure| failure.about(file);
        let change = Change::begin(file, &self.if_missing())?;
        let bytes = change.read()?;
        let opened = identity::open(&bytes, old).map_err(about)?;
        let (failed, hashing) = (opened.failed, opened.hashing);
        let iterations = rewrite::iterations(opened.parts, hashing);
        let (inventory, unsupported) = (opened.inventory.clone(), opened.unsupported.clone());
        self.ready_keys(opened)?;
        if failed > 0 {
            return Err(self.not_rewritten(OTHER_PASSWORD));
        }
        let rewritten = match rewrite::rewrite(&bytes, old, new, iterations) {
            // The password was right: what does not open with it is a bag that no login looks at.
            Err(Failure::WrongPassword) => return Err(self.not_rewritten(OTHER_PASSWORD)),
            rewritten => rewritten.map_err(about)?,
        };
        // Before it takes the place of the only file that there may be, it is read as a login would.
        let again = identity::open(&rewritten, new).map_err(about)?;
        if again.inventory != inventory || again.unsupported != unsupported || again.failed > 0 {
            return Err(self.not_rewritten("it would not hold the same as before"));
        }
        change.commit(&rewritten)?;
        if let Some(before) = hashing.least.filter(|before| *before > iterations) {
            log::warn!(
                "{}: its password is hashed {iterations} times for each part now, not {before} as \
                 before: it would have taken too long to open",
                file.display()
            );
        }
        Ok(())
    }

    fn not_rewritten(&self, why: &str) -> TokenError {
        TokenError::Corrupted(Reason::new(format!(
            "{}: its password was not changed: {why}",
            self.token.configuration().file.display()
        )))
    }

    /// The key of an identity that is configured is not in the file: using another in its place
    /// would be the worst that could happen. `failed` parts have another password.
    fn missing(&self, label: &str, failed: usize) -> TokenError {
        let configuration = self.token.configuration();
        let (file, name) = (configuration.file.display(), &configuration.name);
        TokenError::Corrupted(Reason::new(match failed {
            0 => format!(
                "{file}: the key {label:?} is not in it any more, \
                 the file was replaced: run `ctk update {name}`"
            ),
            _ => format!(
                "{file}: the key {label:?} is not among those of this password: \
                 export the file again with one password for all of it, or run `ctk update {name}`"
            ),
        }))
    }

    /// Programs go by what is stored of a key, which may be older than what its file says.
    fn warn_of_restriction(&self, stored: &Key, found: &PrivateKey) {
        let is_pss_only = found.public_key().is_pss_only();
        if is_pss_only && !stored.public_key.is_pss_only() {
            let configuration = self.token.configuration();
            let (file, name) = (configuration.file.display(), &configuration.name);
            let label = &stored.label;
            log::warn!("{file}: the key {label:?} is for RSA-PSS only: run `ctk update {name}`");
        }
    }

    /// A renewal with the same keys works on; only what was stored of the file is out of date.
    fn warn_of_changes(&self, opened: &Inventory) {
        let configuration = self.token.configuration();
        let found: HashSet<&[u8]> = opened
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
            self.replace_keys(None);
        }
    }

    fn supports(&self, operation: Operation, key: &ObjectId, algorithm: KeyAlgorithm) -> bool {
        let key = self.token.key(key);
        key.is_some_and(|key| performs(&key.public_key, operation, algorithm))
    }

    fn sign(
        &self,
        key: &ObjectId,
        algorithm: KeyAlgorithm,
        input: &[u8],
        signature: &mut [u8],
    ) -> Result<usize> {
        let key = &self.ready(Operation::Sign, key, algorithm)?.0;
        if !matches!(algorithm, KeyAlgorithm::RsaPssDigest(_)) {
            return key.sign(algorithm, input, signature);
        }
        let by_raw = |form| form == KeyAlgorithm::RsaRaw;
        let reduction = Reduction::new(algorithm, key.public_key(), by_raw)?;
        let reduction = reduction.ok_or(TokenError::NotSupported)?;
        let mut block = None;
        let request = reduction.apply(input, &mut block)?;
        key.sign(request.algorithm, request.input, signature)
    }

    fn decrypt(
        &self,
        key: &ObjectId,
        algorithm: KeyAlgorithm,
        input: &[u8],
        plaintext: &mut [u8],
    ) -> Result<usize> {
        self.ready(Operation::Decrypt, key, algorithm)?
            .0
            .decrypt(algorithm, input, plaintext)
    }

    fn key_exchange(
        &self,
        key: &ObjectId,
        algorithm: KeyAlgorithm,
        peer: &[u8],
        secret: &mut [u8],
    ) -> Result<usize> {
        self.ready(Operation::KeyExchange, key, algorithm)?
            .0
            .key_exchange(algorithm, peer, secret)
    }

    fn change_pin(&self, role: Role, old: AuthSecret<'_>, new: &[u8]) -> Result<()> {
        if role != Role::User {
            return Err(TokenError::NotSupported);
        }
        let AuthSecret::Pin(old) = old else {
            return Err(TokenError::BadParameter);
        };
        check_length(old)?;
        check_new_password(new)?;
        self.change_password(old, new)
    }
}

const OTHER_PASSWORD: &str = "parts of it have another password and would be lost: export it again \
                              with one password for all of it";

/// Refuses a password that no other program could be given: the PKCS#12 derivation takes text (RFC 7292
/// Appendix B.1), and programs take text without zeros. And an empty one, which would protect
/// nothing: a file may come with it, but no program shall leave a file so.
fn check_new_password(new: &[u8]) -> Result<()> {
    if !(1..=MAX_PIN).contains(&new.len()) {
        return Err(TokenError::PinLength {
            min: 1,
            max: MAX_PIN,
        });
    }
    let is_text = std::str::from_utf8(new).is_ok_and(|text| !text.contains('\0'));
    if !is_text {
        log::warn!("pkcs12: a new password must be UTF-8 text without zeros");
        return Err(TokenError::DataInvalid);
    }
    Ok(())
}

fn check_length(password: &[u8]) -> Result<()> {
    match password.len() {
        ..=MAX_PIN => Ok(()),
        _ => Err(TokenError::PinLength {
            min: 0,
            max: MAX_PIN,
        }),
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
        check_length(password)?;
        let ready = self.0.open(password)?;
        self.0.replace_keys(Some(&ready));
        Ok(())
    }
}
