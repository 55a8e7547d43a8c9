//! A session: where a person authenticates and keys are used.

use std::fmt;

use crate::{KeyAlgorithm, KeyType, ObjectId, Operation, PublicKey, Result, TokenError};

/// In whose name somebody authenticates.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Role {
    /// The owner of the keys.
    User,
    /// The owner once more, for the next single operation.
    Context,
    /// Who administers the token: management key, security officer.
    Admin,
    /// Who may set a new user PIN: PUK, resetting code.
    Unblock,
}

/// How a card wants a PIN, so that the system (a prompt or a pinpad) can send it and a foreign driver never sees it.
#[doc(alias = "TKSmartCardPINFormat")]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PinFormat {
    /// The VERIFY command with the PIN block in place, filled with padding.
    #[doc(alias = "APDUTemplate")]
    pub apdu_template: Vec<u8>,
    /// Where the PIN's first byte stands in the template.
    #[doc(alias = "PINByteOffset")]
    pub pin_offset: usize,
    /// Shortest PIN, in bytes.
    pub min_len: usize,
    /// Longest PIN, in bytes.
    pub max_len: usize,
}

/// What an [`AuthOperation`] asks for.
#[doc(alias = "TKTokenAuthOperation")]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AuthMethod {
    /// Nothing to do for on-use authentication. A login must all the same be finished with a secret.
    AlreadyAuthenticated,
    /// A password or PIN as bytes.
    #[doc(alias = "TKTokenPasswordAuthOperation")]
    Password,
    /// A PIN in a card's command.
    #[doc(alias = "TKTokenSmartCardPINAuthOperation")]
    SmartCardPin(PinFormat),
    /// The token gets the secret by itself: a pinpad, a stored PIN, a prompt of the broker.
    FromToken,
}

/// The secret that finishes an [`AuthOperation`].
#[derive(Clone, Copy)]
pub enum AuthSecret<'a> {
    /// What the person typed, as bytes. Empty is an empty PIN, never "none".
    Pin(&'a [u8]),
    /// The token shall get it by itself; only where the method is [`AuthMethod::FromToken`].
    FromToken,
}

impl fmt::Debug for AuthSecret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pin(_) => "Pin(…)",
            Self::FromToken => "FromToken",
        })
    }
}

/// What is wanted of a new key pair.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NewKey<'a> {
    /// Its type and size.
    pub key_type: KeyType,
    /// Its CKA_ID, if the caller cares.
    pub identity: Option<&'a [u8]>,
    /// What a person calls it, for a key store that keeps such names.
    pub label: Option<&'a str>,
}

/// An authentication that has begun and wants its secret. Dropping it changes nothing.
#[doc(alias = "TKTokenAuthOperation")]
pub trait AuthOperation: Send {
    /// What is asked for: for whoever asks a person, like a broker's prompt. PKCS#11 programs go by
    /// [`TokenInfo::login`](crate::TokenInfo) instead, and both agree: [`AuthMethod::FromToken`] is for tokens whose
    /// policy is not [`LoginPolicy::App`](crate::LoginPolicy::App), and for those only.
    fn method(&self) -> AuthMethod;

    /// Sends the secret to the key store and says whether it was right.
    ///
    /// The secret is *always* checked by the key store, also when a session is authenticated already: a login must
    /// never succeed because of somebody else's. On any error the session's state is as it was before, unless the
    /// error is [`TokenError::StateLost`] or [`TokenError::TokenRemoved`]. A card that ends a login when it is told a wrong
    /// secret says so at the next operation, with [`TokenError::StateLost`].
    ///
    /// # Errors
    /// [`TokenError::AuthenticationFailed`], [`PinLocked`](TokenError::PinLocked),
    /// [`PinLength`](TokenError::PinLength), [`PinExpired`](TokenError::PinExpired),
    /// [`CanceledByUser`](TokenError::CanceledByUser), [`Denied`](TokenError::Denied), whatever keeps the key store
    /// from being reached, and [`BadParameter`](TokenError::BadParameter) for [`AuthSecret::FromToken`] on a token
    /// that cannot get a secret by itself.
    fn finish(self: Box<Self>, secret: AuthSecret<'_>) -> Result<()>;
}

/// One application's use of a token. Opened once per token and application; it carries the authentication.
///
/// Dropping a session ends every authentication in it and zeroizes what it held.
#[doc(alias = "TKTokenSession")]
pub trait TokenSession: Send + Sync {
    /// Begins to authenticate as `role`; `item` is the key for [`Role::Context`] and `None` otherwise.
    ///
    /// # Errors
    /// [`TokenError::NotSupported`] for a role that the token does not have; by default it has none.
    #[doc(alias = "tokenSession:beginAuthForOperation:constraint:error:")]
    fn begin_auth(
        &self,
        role: Role,
        item: Option<&ObjectId>,
    ) -> Result<Box<dyn AuthOperation + '_>> {
        let _ = (role, item);
        Err(TokenError::NotSupported)
    }

    /// Ends the authentication of `role` and zeroizes what it gave access to. Ending what never began is no error,
    /// so a token without authentication has nothing to do; the other roles stay as they are. [`Role::Context`] ends
    /// when its operation does: this is for an operation that will never come.
    fn end_auth(&self, role: Role) {
        let _ = role;
    }

    /// Whether the key store itself performs `algorithm` with this key. The answer needs no authentication and stays
    /// the same for as long as the contents do.
    #[doc(alias = "tokenSession:supportsOperation:usingKey:algorithm:")]
    fn supports(&self, operation: Operation, key: &ObjectId, algorithm: KeyAlgorithm) -> bool;

    /// Signs `input` and returns how many bytes of `signature` were written.
    ///
    /// `signature` is at least [`PublicKey::max_signature_len`](crate::PublicKey::max_signature_len)
    /// bytes long. RSA signatures have the modulus' length, ECDSA's are DER.
    ///
    /// # Errors
    /// [`TokenError::ObjectNotFound`] for a key that the token does not have,
    /// [`NotSupported`](TokenError::NotSupported) for what [`supports`](Self::supports) denies;
    /// [`AuthenticationNeeded`](TokenError::AuthenticationNeeded) before login and, for a key with
    /// [`Reuse::Operation`](crate::Reuse), before the operation's own authentication;
    /// [`StateLost`](TokenError::StateLost) if there was a login and the key store has forgotten it.
    /// Then, of what is asked: [`BadParameter`](TokenError::BadParameter) if `signature` is shorter
    /// than said above, however long this signature would be;
    /// [`DataLength`](TokenError::DataLength) for an input of a length that the form does not take,
    /// [`DataInvalid`](TokenError::DataInvalid) for an RSA block that is not below the modulus. And
    /// [`Refused`](TokenError::Refused) if the service behind the key store does not want to, and
    /// whatever keeps the key store from being reached: [`Unreachable`](TokenError::Unreachable),
    /// [`TimedOut`](TokenError::TimedOut), [`Corrupted`](TokenError::Corrupted),
    /// [`TokenRemoved`](TokenError::TokenRemoved).
    #[doc(alias = "tokenSession:signData:usingKey:algorithm:error:")]
    fn sign(
        &self,
        key: &ObjectId,
        algorithm: KeyAlgorithm,
        input: &[u8],
        signature: &mut [u8],
    ) -> Result<usize>;

    /// Decrypts `input`, as long as the modulus, and returns how many bytes of `plaintext` were
    /// written; `plaintext` is at least as long as the modulus, whatever will be written.
    /// [`KeyAlgorithm::RsaRaw`] writes the whole block, leading zeros included.
    ///
    /// # Errors
    /// As [`sign`](Self::sign): [`TokenError::BadParameter`] for too short a `plaintext`,
    /// [`DataLength`](TokenError::DataLength) and [`DataInvalid`](TokenError::DataInvalid) for an
    /// input that is no ciphertext for this modulus, in every form. [`TokenError::BadCiphertext`] for a
    /// wrong OAEP block; a wrong block of [`KeyAlgorithm::RsaPkcs1`] is no error.
    /// [`TokenError::NotSupported`] by default.
    #[doc(alias = "tokenSession:decryptData:usingKey:algorithm:error:")]
    fn decrypt(
        &self,
        key: &ObjectId,
        algorithm: KeyAlgorithm,
        input: &[u8],
        plaintext: &mut [u8],
    ) -> Result<usize> {
        let _ = (key, algorithm, input, plaintext);
        Err(TokenError::NotSupported)
    }

    /// Agrees on a secret with somebody else and returns how many bytes of `secret` were written;
    /// `secret` is at least
    /// [`PublicKey::shared_secret_len`](crate::PublicKey::shared_secret_len) bytes long.
    ///
    /// For [`KeyAlgorithm::Ecdh`] and its sibling `peer` is a public key, an uncompressed point of the
    /// key's curve or 32 or 56 raw bytes, and the secret is the raw x coordinate, as long as a field
    /// element. For [`KeyAlgorithm::MlKem`] `peer` is a ciphertext and the secret has 32 bytes; a
    /// ciphertext of the right length always gives one.
    ///
    /// # Errors
    /// As [`sign`](Self::sign), with [`TokenError::BadParameter`] for too short a `secret`, for a `peer`
    /// that is not a public key of this kind, and for one with which the secret would be all zeros;
    /// [`TokenError::DataLength`] for an ML-KEM ciphertext of the wrong length.
    /// [`TokenError::NotSupported`] by default.
    #[doc(
        alias = "tokenSession:performKeyExchangeWithPublicKey:usingKey:algorithm:parameters:error:"
    )]
    fn key_exchange(
        &self,
        key: &ObjectId,
        algorithm: KeyAlgorithm,
        peer: &[u8],
        secret: &mut [u8],
    ) -> Result<usize> {
        let _ = (key, algorithm, peer, secret);
        Err(TokenError::NotSupported)
    }

    /// Reads a data object whose value is not part of the contents, because it needs authentication or nobody may ever
    /// ask for it.
    ///
    /// # Errors
    /// As [`sign`](Self::sign). [`TokenError::NotSupported`] by default.
    #[doc(alias = "TKTokenOperationReadData")]
    fn read(&self, item: &ObjectId) -> Result<Vec<u8>> {
        let _ = item;
        Err(TokenError::NotSupported)
    }

    /// Replaces the secret of `role`, whoever is authenticated; an authentication lasts. Either the new secret counts
    /// afterwards or nothing has changed, whenever the process or the machine stops.
    ///
    /// # Errors
    /// As [`AuthOperation::finish`], with [`TokenError::PinLength`] also for a `new` of the wrong
    /// length and [`BadParameter`](TokenError::BadParameter) also for an `old` that the token should
    /// get by itself and cannot; [`DataInvalid`](TokenError::DataInvalid) for a `new` of the right
    /// length that cannot be a secret of this token, such as one that is not text;
    /// [`ReadOnly`](TokenError::ReadOnly) where it cannot be written,
    /// [`Unreachable`](TokenError::Unreachable) if it could not be written now, or somebody else is
    /// changing it, [`TimedOut`](TokenError::TimedOut) if the key store did not answer, and
    /// [`Corrupted`](TokenError::Corrupted) if what there is could not be kept as it is.
    /// [`NotSupported`](TokenError::NotSupported) for a role that the token does not have, and by
    /// default.
    fn change_pin(&self, role: Role, old: AuthSecret<'_>, new: &[u8]) -> Result<()> {
        let _ = (role, old, new);
        Err(TokenError::NotSupported)
    }

    /// Sets a new user secret in the name of [`Role::Admin`] or [`Role::Unblock`].
    ///
    /// # Errors
    /// As [`AuthOperation::finish`]. [`TokenError::NotSupported`] by default.
    fn unblock_pin(&self, new: &[u8]) -> Result<()> {
        let _ = new;
        Err(TokenError::NotSupported)
    }

    /// Gives the key store what it needs before it can hold keys for somebody, like an identity of its own, where it
    /// lacks that. What is there stays.
    ///
    /// # Errors
    /// As [`generate_key`](Self::generate_key). [`TokenError::NotSupported`] by default.
    fn personalize(&self) -> Result<()> {
        Err(TokenError::NotSupported)
    }

    /// Whether the key store itself says that there is neither a key nor a certificate in the place of this identity.
    /// Where it does not tell of every key, this is `false` and there may still be none.
    ///
    /// # Errors
    /// [`ObjectNotFound`](TokenError::ObjectNotFound) for an identity that it has no place for, and whatever keeps the
    /// key store from being reached. [`NotSupported`](TokenError::NotSupported) by default.
    fn is_free(&self, identity: &[u8]) -> Result<bool> {
        let _ = identity;
        Err(TokenError::NotSupported)
    }

    /// Makes a key pair in the key store, in the place of this identity, or the first place that is free. What was in
    /// the place is gone. The key is in the contents afterwards, also if the key store cannot tell it from then on
    /// without a certificate.
    ///
    /// # Errors
    /// [`TokenError::AuthenticationNeeded`] without the role that may (a card's administrator),
    /// [`BadParameter`](TokenError::BadParameter) for a type of key that the token does not have,
    /// [`ObjectNotFound`](TokenError::ObjectNotFound) for an identity that it has no place for, and without an identity
    /// where it cannot tell which place is free, [`NoSpace`](TokenError::NoSpace),
    /// [`ReadOnly`](TokenError::ReadOnly), and whatever keeps the key store from
    /// being reached. [`NotSupported`](TokenError::NotSupported) by default.
    fn generate_key(&self, wanted: &NewKey<'_>) -> Result<ObjectId> {
        let _ = wanted;
        Err(TokenError::NotSupported)
    }

    /// Takes note of a key that the key store has and cannot tell of by itself, in the place of this identity: it is in the
    /// contents from now on, for this process. Nothing is asked of the key store, so only a use of the key shows whether it
    /// is there and of this public key.
    ///
    /// # Errors
    /// [`ObjectNotFound`](TokenError::ObjectNotFound) for an identity that the key store has no place for, and
    /// [`BadParameter`](TokenError::BadParameter) where another key is known to be there.
    /// [`NotSupported`](TokenError::NotSupported) by default: most key stores tell of their keys.
    fn introduce_key(&self, identity: &[u8], public_key: &PublicKey) -> Result<ObjectId> {
        let _ = (identity, public_key);
        Err(TokenError::NotSupported)
    }

    /// Writes a certificate (X.509, DER) to the place of this identity, or to that of the key that it is about; one that
    /// was there is replaced.
    ///
    /// # Errors
    /// As [`generate_key`](Self::generate_key), with [`TokenError::DataInvalid`] for what is no certificate, and for one
    /// that is not about the key in that place, if that key is known. [`NotSupported`](TokenError::NotSupported) by
    /// default.
    fn import_certificate(&self, identity: Option<&[u8]>, der: &[u8]) -> Result<ObjectId> {
        let _ = (identity, der);
        Err(TokenError::NotSupported)
    }

    /// Deletes an item. Deleting a certificate leaves the key, which stays in the contents of this process also if nothing
    /// else tells of it.
    ///
    /// # Errors
    /// As [`generate_key`](Self::generate_key), with [`TokenError::ReadOnly`] for an item that can be replaced at most.
    /// [`NotSupported`](TokenError::NotSupported) by default.
    fn delete(&self, item: &ObjectId) -> Result<()> {
        let _ = item;
        Err(TokenError::NotSupported)
    }

    /// Fills `out` with the token's own random numbers.
    ///
    /// # Errors
    /// [`TokenError::NotSupported`] by default.
    fn random(&self, out: &mut [u8]) -> Result<()> {
        let _ = out;
        Err(TokenError::NotSupported)
    }
}
