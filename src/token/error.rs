//! What can go wrong in a token, as far as a caller can act on it.

use std::fmt;

/// The result of every call of the contract.
pub type Result<T> = std::result::Result<T, TokenError>;

/// A sentence for a person: what is wrong and what to do. Never contains a secret.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reason(Box<str>);

impl Reason {
    /// A reason in words, without a final full stop.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into().into_boxed_str())
    }

    /// The words.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Everything that a token may answer instead of a result. The set is closed: what a caller can act on is a variant,
/// what only a person can act on is the [`Reason`] in it.
#[doc(alias = "TKError")]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TokenError {
    /// The operation needs a successful [`AuthOperation`](crate::AuthOperation) first, then works unchanged.
    #[doc(alias = "TKErrorCodeAuthenticationNeeded")]
    AuthenticationNeeded,
    /// The secret was wrong. Nothing else changed.
    #[doc(alias = "TKErrorCodeAuthenticationFailed")]
    AuthenticationFailed {
        /// Tries left before the secret is locked, if the token counts.
        tries: Option<u32>,
    },
    /// Too many wrong secrets: only [`Role::Unblock`](crate::Role::Unblock) helps.
    PinLocked,
    /// The secret was refused for its length, in bytes, before a try was spent.
    PinLength {
        /// Shortest accepted, in bytes.
        min: usize,
        /// Longest accepted, in bytes.
        max: usize,
    },
    /// The secret has to be changed before it can be used.
    PinExpired,
    /// The person closed the dialog.
    #[doc(alias = "TKErrorCodeCanceledByUser")]
    CanceledByUser,
    /// Policy forbids this program or this use.
    Denied,
    /// The service behind the token is there and refuses: its own credentials, permissions, a quota, a key that is
    /// switched off. No secret of the user helps.
    Refused(Reason),
    /// This token cannot do that, whatever the parameters.
    #[doc(alias = "TKErrorCodeNotImplemented")]
    NotSupported,
    /// The algorithm's parameters are wrong or outside what the token can do.
    #[doc(alias = "TKErrorCodeBadParameter")]
    BadParameter,
    /// The input has a length that the algorithm and key do not take.
    DataLength,
    /// The input has the right length and a value that is not taken: an RSA block that is not below
    /// the modulus, a new secret with bytes that no secret of this token can have.
    DataInvalid,
    /// Decryption failed. One answer for every cause.
    BadCiphertext,
    /// No such item, or not for this use.
    #[doc(alias = "TKErrorCodeObjectNotFound")]
    ObjectNotFound,
    /// The token or item cannot be changed: why not, and who could.
    ReadOnly(Reason),
    /// There is no room for it on the token.
    NoSpace,
    /// The token is gone, its sessions with it.
    #[doc(alias = "TKErrorCodeTokenNotFound")]
    TokenRemoved,
    /// The token is there but has lost its authentication (reset, other program, service restarted).
    StateLost,
    /// The key store cannot be reached: no file, no service, no network.
    #[doc(alias = "TKErrorCodeCommunicationError")]
    Unreachable(Reason),
    /// The key store did not answer in time.
    TimedOut,
    /// What the key store holds is not what it should be: damaged, replaced, or not of its format.
    #[doc(alias = "TKErrorCodeCorruptedData")]
    Corrupted(Reason),
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AuthenticationNeeded => f.write_str("log in first"),
            Self::AuthenticationFailed { tries: None } => f.write_str("wrong PIN or password"),
            Self::AuthenticationFailed { tries: Some(n) } => {
                write!(f, "wrong PIN or password, {n} tries left")
            }
            Self::PinLocked => f.write_str("the PIN is locked after too many wrong tries"),
            Self::PinLength { min, max } => write!(f, "the PIN must have {min} to {max} bytes"),
            Self::PinExpired => f.write_str("the PIN has expired and must be changed"),
            Self::CanceledByUser => f.write_str("cancelled"),
            Self::Denied => f.write_str("not allowed for this program"),
            Self::NotSupported => f.write_str("this token cannot do that"),
            Self::BadParameter => f.write_str("unsupported algorithm parameters"),
            Self::DataLength => f.write_str("input of the wrong length"),
            Self::DataInvalid => f.write_str("a value that is not taken"),
            Self::BadCiphertext => f.write_str("decryption failed"),
            Self::ObjectNotFound => f.write_str("no such object on the token"),
            Self::NoSpace => f.write_str("no room for it on the token"),
            Self::TokenRemoved => f.write_str("the token was removed"),
            Self::StateLost => f.write_str("the login has ended at the token, log in again"),
            Self::TimedOut => f.write_str("the key store did not answer in time"),
            Self::ReadOnly(reason)
            | Self::Refused(reason)
            | Self::Unreachable(reason)
            | Self::Corrupted(reason) => {
                write!(f, "{reason}")
            }
        }
    }
}

impl std::error::Error for TokenError {}
