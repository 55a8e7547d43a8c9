//! What an application on a card has to do to be a token. Default bodies are what ISO 7816 has for
//! everybody, or answer [`TokenError::NotSupported`].

use ctk_token::{
    Item, KeyAlgorithm, NewKey, ObjectId, Operation, PinState, PublicKey, Reason,
    Result as TokenResult, Role, TokenError, TokenInfo,
};

use crate::{card::Transaction, link::LinkError, status::Status};

/// An applet that is known here. A card is asked for each in order, whatever its ATR: that is a
/// hint at most, for the applet itself.
#[derive(Debug)]
pub(crate) struct Row {
    /// In messages, like `PIV`.
    pub(crate) name: &'static str,
    /// Its application identifier (ISO 7816-4 §8.2.1.2), right-truncated where cards take that; 5
    /// to 16 bytes.
    pub(crate) aid: &'static [u8],
    /// Why it stands where it stands in the list.
    pub(crate) reason: &'static str,
    /// Makes the applet of a card that has just answered SELECT with `selected`. `None` if that
    /// answer, with status 9000, is not this applet's. An empty `selected` is no refusal: a card
    /// that is in use is asked [`Applet::is_selected`] of the first row before anything is selected
    /// there.
    pub(crate) open: Open,
}

/// See [`Row::open`].
pub(crate) type Open = fn(selected: &[u8], atr: &[u8]) -> Option<Box<dyn Applet>>;

impl Row {
    /// Whether it is the same row.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.aid == other.aid
    }
}

/// Why an applet did not do something.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Failure {
    /// The card said so.
    Status(Status),
    /// The card was not reached.
    Link(LinkError),
    /// The applet knows better than the status word, or never asked the card.
    Token(TokenError),
}

impl Failure {
    /// What the card holds or answers is not what it should be.
    pub(crate) fn corrupted(why: impl Into<String>) -> Self {
        Self::Token(TokenError::Corrupted(Reason::new(why)))
    }

    /// What it is for a caller.
    pub(crate) fn into_token_error(self) -> TokenError {
        match self {
            Self::Status(status) => status.error(),
            Self::Link(error) => error.into(),
            Self::Token(error) => error,
        }
    }
}

impl From<LinkError> for Failure {
    fn from(error: LinkError) -> Self {
        Self::Link(error)
    }
}

impl From<TokenError> for Failure {
    fn from(error: TokenError) -> Self {
        Self::Token(error)
    }
}

pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// What a role's secret must look like. Checked before anything is sent: a card counts a PIN of the
/// wrong form as a wrong one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct SecretForm {
    /// Shortest, in bytes.
    pub(crate) min: usize,
    /// Longest, in bytes.
    pub(crate) max: usize,
    /// Whether only the digits 0 to 9 are taken.
    pub(crate) digits_only: bool,
}

/// What is known of a secret's tries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Tries {
    /// How many wrong ones are left, if the card says so.
    pub(crate) left: Option<u32>,
    /// What that is for PKCS#11.
    pub(crate) state: PinState,
}

/// An application on a card.
///
/// Methods with a `card` are called in a transaction in which the applet is selected as far as is
/// known. They may be called again after they failed in the middle. An applet keeps what it has
/// learned of the card (formats, certificates) and nothing of who is logged in: that is the
/// session's.
pub(crate) trait Applet: Send + Sync {
    /// Its row.
    fn row(&self) -> &'static Row;

    /// Reads something that only this applet answers, cheaply, and [proves](Transaction::prove) it.
    /// `false` if the answer is not this applet's, or tells nothing: then it is selected.
    fn is_selected(&self, card: &mut Transaction<'_>) -> Result<bool>;

    /// What no other card has, like a serial number. Remembered by the caller; read again after
    /// the card's state was lost, before a PIN is sent, so it is always asked of the card. It comes
    /// before [`info`](Self::info) and [`contents`](Self::contents), which need not read it again.
    fn identity(&self, card: &mut Transaction<'_>) -> Result<Vec<u8>>;

    /// Whatever the card has to be asked for to say what it is, but for the states of its PINs.
    /// (Login policy: `App`.)
    fn info(&self, card: &mut Transaction<'_>) -> Result<TokenInfo>;

    /// What can be said without asking, for a card that does not answer.
    fn info_unread(&self) -> TokenInfo;

    /// Everything on the card that needs no authentication. Called again after something was
    /// changed.
    fn contents(&self, card: &mut Transaction<'_>) -> Result<Vec<Item>>;

    /// The tries of a role's secret, without spending one. `None` if the card does not tell, for
    /// which it is not asked.
    fn tries(&self, card: &mut Transaction<'_>, role: Role) -> Result<Option<Tries>>;

    /// The form of a role's secret: `NotSupported` for a role that this applet does not have.
    fn secret_form(&self, role: Role) -> TokenResult<SecretForm>;

    /// Checks the secret of `role` with the card; `key` is the one to use for [`Role::Context`],
    /// after which nothing else is sent before its use. The form has been checked, the applet is
    /// proven, the secret is not empty.
    ///
    /// # Errors
    /// [`TokenError::AuthenticationFailed`] with the tries left, [`TokenError::PinLocked`], and so
    /// on.
    fn verify(
        &self,
        card: &mut Transaction<'_>,
        role: Role,
        key: Option<&ObjectId>,
        secret: &[u8],
    ) -> Result<()>;

    /// The VERIFY command with the PIN block in place, filled with padding, and the offset of the
    /// PIN in the whole command: for a pinpad. `None` if this role's secret cannot be typed on one.
    fn verify_template(&self, role: Role, key: Option<&ObjectId>) -> Option<(Vec<u8>, usize)>;

    /// Makes the card forget that `role` is authenticated; for [`Role::Context`] an authentication
    /// that was not used, and not that of the user. `false` if the applet has no command for
    /// it: then the card is reset or another applet selected.
    fn forget(&self, card: &mut Transaction<'_>, role: Role) -> Result<bool>;

    /// Whether the card performs this with that key.
    fn supports(&self, operation: Operation, key: &ctk_token::Key, algorithm: KeyAlgorithm)
    -> bool;

    /// As [`TokenSession::sign`](ctk_token::TokenSession::sign), for a key that may be used; and so
    /// on below.
    fn sign(
        &self,
        card: &mut Transaction<'_>,
        key: &ctk_token::Key,
        algorithm: KeyAlgorithm,
        input: &[u8],
        signature: &mut [u8],
    ) -> Result<usize>;

    /// As [`TokenSession::decrypt`](ctk_token::TokenSession::decrypt).
    fn decrypt(
        &self,
        card: &mut Transaction<'_>,
        key: &ctk_token::Key,
        algorithm: KeyAlgorithm,
        input: &[u8],
        plaintext: &mut [u8],
    ) -> Result<usize>;

    /// As [`TokenSession::key_exchange`](ctk_token::TokenSession::key_exchange).
    fn key_exchange(
        &self,
        card: &mut Transaction<'_>,
        key: &ctk_token::Key,
        algorithm: KeyAlgorithm,
        peer: &[u8],
        secret: &mut [u8],
    ) -> Result<usize>;

    /// Reads a data object. Without the authentication that it needs the card refuses.
    fn read(&self, card: &mut Transaction<'_>, item: &ObjectId) -> Result<Vec<u8>>;

    /// Random numbers by GET CHALLENGE (ISO 7816-4 §11.5.3).
    fn random(&self, card: &mut Transaction<'_>, out: &mut [u8]) -> Result<()>;

    /// Changes a role's secret (CHANGE REFERENCE DATA). Both have been checked for their form.
    fn change_secret(
        &self,
        card: &mut Transaction<'_>,
        role: Role,
        old: &[u8],
        new: &[u8],
    ) -> Result<()>;

    /// Sets a new user PIN. `unblocking` is the secret that may (PUK, resetting code) where the
    /// card wants it with the command; `None` if the administrator is authenticated.
    fn unblock(
        &self,
        card: &mut Transaction<'_>,
        unblocking: Option<&[u8]>,
        new: &[u8],
    ) -> Result<()> {
        let _ = (card, unblocking, new);
        Err(TokenError::NotSupported.into())
    }

    /// Whether an administrator's secret of this form is one that only [`unblock`](Self::unblock)
    /// can try: it is kept until then, because the card cannot check it without use.
    fn is_unblocking_secret(&self, secret: &[u8]) -> bool {
        let _ = secret;
        false
    }

    /// As [`TokenSession::personalize`](ctk_token::TokenSession::personalize).
    fn personalize(&self, card: &mut Transaction<'_>) -> Result<()> {
        let _ = card;
        Err(TokenError::NotSupported.into())
    }

    /// As [`TokenSession::is_free`](ctk_token::TokenSession::is_free). `known` are the contents,
    /// which tell of every key by default.
    fn is_free(&self, card: &mut Transaction<'_>, known: &[Item], identity: &[u8]) -> Result<bool> {
        let _ = card;
        let is_there = |item: &Item| match item {
            Item::Key(key) => key.identity == identity,
            Item::Certificate(certificate) => certificate.identity == identity,
            Item::Data(_) => false,
        };
        Ok(!known.iter().any(is_there))
    }

    /// As [`TokenSession::generate_key`](ctk_token::TokenSession::generate_key); answers with the
    /// key as it is to stand in the contents. `known` are the contents.
    fn generate_key(
        &self,
        card: &mut Transaction<'_>,
        known: &[Item],
        wanted: &NewKey<'_>,
    ) -> Result<ctk_token::Key> {
        let _ = (card, known, wanted);
        Err(TokenError::NotSupported.into())
    }

    /// As [`TokenSession::introduce_key`](ctk_token::TokenSession::introduce_key), where no key of
    /// this identity is known: the key as it is to stand in the contents.
    fn introduced_key(
        &self,
        identity: &[u8],
        public_key: &PublicKey,
    ) -> TokenResult<ctk_token::Key> {
        let _ = (identity, public_key);
        Err(TokenError::NotSupported)
    }

    /// As [`TokenSession::import_certificate`](ctk_token::TokenSession::import_certificate).
    /// `known` are the contents.
    fn import_certificate(
        &self,
        card: &mut Transaction<'_>,
        known: &[Item],
        identity: Option<&[u8]>,
        der: &[u8],
    ) -> Result<ObjectId> {
        let _ = (card, known, identity, der);
        Err(TokenError::NotSupported.into())
    }

    /// As [`TokenSession::delete`](ctk_token::TokenSession::delete).
    fn delete(&self, card: &mut Transaction<'_>, item: &ObjectId) -> Result<()> {
        let _ = (card, item);
        Err(TokenError::NotSupported.into())
    }
}
