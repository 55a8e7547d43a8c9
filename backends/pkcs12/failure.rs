//! Why a file gave no keys, and how a person is told.

use std::path::Path;

use ctk_token::{Reason, TokenError};

use crate::ber::Malformed;

pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// Why a file could not be opened.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Failure {
    /// The password does not fit. A file with a MAC whose content was altered looks the same.
    WrongPassword,
    /// The file has no MAC, and what it holds is not encrypted, so that no password but the empty
    /// one counts as right.
    Unprotected,
    /// The file is not what RFC 7292 describes.
    Damaged(&'static str),
    /// The file uses something that is not supported.
    Unsupported(String),
    /// The file would cost more time or memory than is reasonable.
    Excessive(String),
    /// The crypto library failed.
    Library(TokenError),
}

impl Failure {
    /// The same, about this file, for whoever logs in.
    pub(crate) fn about(self, file: &Path) -> TokenError {
        let file = file.display();
        match self {
            Self::WrongPassword | Self::Unprotected => {
                TokenError::AuthenticationFailed { tries: None }
            }
            Self::Damaged(what) => corrupted(format!(
                "{file}: damaged, or not a PKCS#12 file ({what}): restore or export it again"
            )),
            Self::Unsupported(what) => corrupted(format!(
                "{file}: {what} is not supported: export it again with \
                 password encryption by AES and a SHA-2 MAC"
            )),
            Self::Excessive(what) => corrupted(format!("{file}: {what}: export it again")),
            Self::Library(error) => error,
        }
    }
}

impl Failure {
    /// The same, about this file, for whoever registers it.
    pub(crate) fn about_new(self, file: &Path) -> TokenError {
        match self {
            Self::Unprotected => corrupted(format!(
                "{}: has no MAC, and its keys are not encrypted, so no password protects it: \
                 export it again with one, or use the empty password",
                file.display()
            )),
            failure => failure.about(file),
        }
    }
}

impl From<Malformed> for Failure {
    fn from(Malformed(what): Malformed) -> Self {
        Self::Damaged(what)
    }
}

/// What the crypto library says: a parameter it refuses is the file's fault, the rest its own.
impl From<TokenError> for Failure {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::BadParameter | TokenError::DataLength => {
                Self::Damaged("parameters of its encryption that cannot be")
            }
            TokenError::NotSupported => {
                Self::Unsupported("an algorithm that this build's crypto library lacks".into())
            }
            error => Self::Library(error),
        }
    }
}

fn corrupted(reason: String) -> TokenError {
    TokenError::Corrupted(Reason::new(reason))
}
