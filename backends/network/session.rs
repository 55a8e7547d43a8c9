//! A session: checks what is asked against the contract, once for all protocols, and has the service do it.

use std::sync::Arc;

use ctk_crypto::{Reduction, check_point};
use ctk_token::{
    AuthMethod, AuthOperation, AuthSecret, Constraint, Key, KeyAlgorithm, KeyType, LoginPolicy,
    ObjectId, Operation, PublicKey, PublicKeyMaterial, Reason, Result, Role, TokenError,
    TokenSession,
};

use crate::{
    KeyRecord, ServiceSession,
    token::{MAX_PIN, MIN_PIN, NetworkToken, Snapshot},
};

/// One application's use of a token.
pub(crate) struct Session {
    token: Arc<NetworkToken>,
    service: Box<dyn ServiceSession>,
}

impl Session {
    /// A session before login.
    pub(crate) fn new(token: Arc<NetworkToken>) -> Self {
        Self {
            service: Arc::clone(token.service()).open_session(),
            token,
        }
    }

    /// Does something with a key that is for it. `check` looks at what is asked, when the key may be used.
    fn with_key<T>(
        &self,
        operation: Operation,
        id: &ObjectId,
        algorithm: KeyAlgorithm,
        check: impl FnOnce(&PublicKey) -> Result<()>,
        perform: impl FnOnce(&dyn ServiceSession, &KeyRecord) -> Result<T>,
    ) -> Result<T> {
        let snapshot = self.token.snapshot();
        let (key, record) = snapshot.key(id)?;
        if !self.performs(key, record, operation, algorithm) {
            return Err(TokenError::NotSupported);
        }
        if key.constraint(operation) != Constraint::Free {
            self.service.check_authenticated(record, operation)?;
        }
        check(&key.public_key)?;
        let deadline = self.token.deadline();
        let answer = perform(&*self.service, record).map_err(|error| self.token.in_words(error));
        if matches!(answer, Err(TokenError::ObjectNotFound)) {
            self.token.list_anew(Some(id), deadline);
        }
        answer
    }

    fn performs(
        &self,
        key: &Key,
        record: &KeyRecord,
        operation: Operation,
        algorithm: KeyAlgorithm,
    ) -> bool {
        key.constraint(operation) != Constraint::Never
            && fits(&key.public_key, operation, algorithm)
            && self.token.service().supports(record, operation, algorithm)
    }

    fn log_in(&self, login: &Login<'_>, secret: &[u8]) -> Result<()> {
        // An empty one is no secret of any service, and costs a try all the same.
        if secret.is_empty() || secret.len() > MAX_PIN {
            return Err(TokenError::PinLength {
                min: MIN_PIN,
                max: MAX_PIN,
            });
        }
        let snapshot = &login.snapshot;
        let key = match &login.key {
            Some(id) => Some(snapshot.key(id)?.1),
            None => None,
        };
        let deadline = self.token.deadline();
        let answer = self
            .service
            .login(login.role, &snapshot.records, key, secret)
            .map_err(|error| self.token.in_words(error));
        if answer == Err(TokenError::ObjectNotFound) {
            self.token.list_anew(login.key.as_ref(), deadline);
        }
        answer
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.service.logout(Role::Context);
        self.service.logout(Role::User);
    }
}

impl TokenSession for Session {
    fn begin_auth(
        &self,
        role: Role,
        item: Option<&ObjectId>,
    ) -> Result<Box<dyn AuthOperation + '_>> {
        let snapshot = self.token.snapshot();
        if snapshot.login != LoginPolicy::App {
            return Err(TokenError::NotSupported);
        }
        let key = match (role, item) {
            (Role::User, _) => None,
            (Role::Context, Some(id)) => {
                let (key, _) = snapshot.key(id)?;
                if !key.authenticates_always() {
                    return Err(TokenError::NotSupported);
                }
                Some(id.clone())
            }
            (Role::Context, None) => return Err(TokenError::BadParameter),
            (Role::Admin | Role::Unblock, _) => return Err(TokenError::NotSupported),
        };
        Ok(Box::new(Login {
            session: self,
            role,
            snapshot,
            key,
        }))
    }

    fn end_auth(&self, role: Role) {
        if matches!(role, Role::User | Role::Context) {
            self.service.logout(role);
        }
    }

    fn supports(&self, operation: Operation, key: &ObjectId, algorithm: KeyAlgorithm) -> bool {
        let snapshot = self.token.snapshot();
        let found = snapshot.key(key);
        found.is_ok_and(|(key, record)| self.performs(key, record, operation, algorithm))
    }

    fn sign(
        &self,
        key: &ObjectId,
        algorithm: KeyAlgorithm,
        input: &[u8],
        signature: &mut [u8],
    ) -> Result<usize> {
        let room = signature.len();
        let signed = self.with_key(
            Operation::Sign,
            key,
            algorithm,
            |key| check_signing(key, algorithm, input, room),
            |service, record| {
                let signed = service.sign(record, algorithm, input)?;
                let public_key = PublicKey::from_spki(&record.spki)?;
                check_signature(&public_key, &signed)?;
                Ok(signed)
            },
        )?;
        copy(&signed, signature)
    }

    fn decrypt(
        &self,
        key: &ObjectId,
        algorithm: KeyAlgorithm,
        input: &[u8],
        plaintext: &mut [u8],
    ) -> Result<usize> {
        let room = plaintext.len();
        let decrypted = self.with_key(
            Operation::Decrypt,
            key,
            algorithm,
            |key| check_ciphertext(key, input, room),
            |service, record| service.decrypt(record, algorithm, input),
        )?;
        copy(&decrypted, plaintext)
    }

    fn key_exchange(
        &self,
        key: &ObjectId,
        algorithm: KeyAlgorithm,
        peer: &[u8],
        secret: &mut [u8],
    ) -> Result<usize> {
        let room = secret.len();
        let agreed = self.with_key(
            Operation::KeyExchange,
            key,
            algorithm,
            |key| check_peer(key, peer, room),
            |service, record| service.key_exchange(record, algorithm, peer),
        )?;
        copy(&agreed, secret)
    }
}

/// A login that waits for its secret.
struct Login<'a> {
    session: &'a Session,
    role: Role,
    snapshot: Arc<Snapshot>,
    key: Option<ObjectId>,
}

impl AuthOperation for Login<'_> {
    fn method(&self) -> AuthMethod {
        AuthMethod::Password
    }

    fn finish(self: Box<Self>, secret: AuthSecret<'_>) -> Result<()> {
        match secret {
            AuthSecret::Pin(pin) => self.session.log_in(&self, pin),
            AuthSecret::FromToken => Err(TokenError::BadParameter),
        }
    }
}

/// Whether `algorithm` goes with keys of this kind, whatever the service says.
fn fits(key: &PublicKey, operation: Operation, algorithm: KeyAlgorithm) -> bool {
    use KeyAlgorithm as A;
    match (operation, key.key_type()) {
        (Operation::Sign, _) => signing(key, algorithm).is_ok(),
        (Operation::Decrypt, KeyType::Rsa { .. }) => {
            matches!(algorithm, A::RsaRaw | A::RsaPkcs1 | A::RsaOaep(_))
        }
        (Operation::Decrypt, _) => false,
        (Operation::KeyExchange, KeyType::Ec(_)) => {
            matches!(algorithm, A::Ecdh | A::EcdhCofactor)
        }
        (Operation::KeyExchange, KeyType::X25519 | KeyType::X448) => algorithm == A::Ecdh,
        (Operation::KeyExchange, key_type) => {
            key_type.ciphertext_len().is_some() && algorithm == A::MlKem
        }
    }
}

/// A form of signature as the service itself performs it.
fn signing(key: &PublicKey, algorithm: KeyAlgorithm) -> Result<Reduction> {
    Reduction::new(algorithm, key, |form| form == algorithm)?.ok_or(TokenError::NotSupported)
}

fn check_signing(
    key: &PublicKey,
    algorithm: KeyAlgorithm,
    input: &[u8],
    room: usize,
) -> Result<()> {
    if room < key.max_signature_len() {
        return Err(TokenError::BadParameter);
    }
    let reduction = signing(key, algorithm)?;
    let is_message = reduction.message_digest().is_some();
    let (min, max) = reduction.input_len();
    if !is_message && !(min..=max).contains(&input.len()) {
        return Err(TokenError::DataLength);
    }
    match (algorithm, key.material()) {
        (KeyAlgorithm::RsaRaw, PublicKeyMaterial::Rsa { modulus, .. }) => {
            check_block(input, modulus)
        }
        _ => Ok(()),
    }
}

fn check_ciphertext(key: &PublicKey, input: &[u8], room: usize) -> Result<()> {
    let PublicKeyMaterial::Rsa { modulus, .. } = key.material() else {
        return Err(TokenError::NotSupported);
    };
    if room < modulus.len() {
        return Err(TokenError::BadParameter);
    }
    check_block(input, modulus)
}

/// A block is a number below the modulus, written as long (RFC 8017 §5.1.2, §5.2.1).
fn check_block(block: &[u8], modulus: &[u8]) -> Result<()> {
    if block.len() != modulus.len() {
        return Err(TokenError::DataLength);
    }
    match block < modulus {
        true => Ok(()),
        false => Err(TokenError::DataInvalid),
    }
}

fn check_peer(key: &PublicKey, peer: &[u8], room: usize) -> Result<()> {
    if room < key.shared_secret_len() {
        return Err(TokenError::BadParameter);
    }
    match key.key_type() {
        KeyType::Ec(curve) => match check_point(curve, peer) {
            // The crypto library lacks the curve: whether the point is on it is for the service to say.
            Err(TokenError::NotSupported) => Ok(()),
            checked => checked,
        },
        key_type => match key_type.ciphertext_len() {
            Some(len) if peer.len() != len => Err(TokenError::DataLength),
            None if peer.len() != key.shared_secret_len() => Err(TokenError::BadParameter),
            _ => Ok(()),
        },
    }
}

/// Whether a signature has a length that signatures of this key can have.
fn check_signature(key: &PublicKey, signature: &[u8]) -> Result<()> {
    let longest = key.max_signature_len();
    let fits = match key.key_type() {
        // DER of two numbers
        KeyType::Ec(_) => (1..=longest).contains(&signature.len()),
        _ => signature.len() == longest,
    };
    match fits {
        true => Ok(()),
        false => Err(TokenError::Corrupted(Reason::new(format!(
            "the service answered with {} bytes, which is no signature of {}",
            signature.len(),
            key.key_type()
        )))),
    }
}

fn copy(answer: &[u8], out: &mut [u8]) -> Result<usize> {
    let room = out.get_mut(..answer.len()).ok_or_else(|| {
        TokenError::Corrupted(Reason::new(format!(
            "the service answered with {} bytes, which is more than there can be",
            answer.len()
        )))
    })?;
    room.copy_from_slice(answer);
    Ok(answer.len())
}

#[cfg(test)]
mod tests;
