//! Whose requests they are: access keys, and where they are found.
//!
//! The places are those of AWS' own programs, in their order: the token's settings, the environment, the profile in the
//! shared files, its `credential_process`, the container's endpoint, the instance's metadata. What names a way that is not
//! supported here (roles, single sign-on, web identity) ends the search with a sentence: another identity than the one
//! that was meant would be worse than none.

mod container;
mod environment;
mod instance;
mod process;
pub(super) mod profiles;
mod store;

use std::{fmt, time::SystemTime};

use ctk_token::{Reason, Result, TokenError};
use zeroize::Zeroizing;

use crate::{Settings, Surroundings, http::Deadline, json::Object};

use super::{outside::Outside, time};

use self::profiles::Profiles;
pub(super) use self::store::Store;

/// An access key with its secret.
pub(super) struct Credentials {
    access_key_id: String,
    secret_access_key: Zeroizing<String>,
    session_token: Option<Zeroizing<String>>,
    expires: Option<SystemTime>,
    source: String,
}

impl Credentials {
    /// Credentials from `source`, which goes after "from". An empty session token is none.
    ///
    /// # Errors
    /// [`TokenError::Unreachable`] for what no header field can carry.
    pub(super) fn new(
        access_key_id: &str,
        secret_access_key: &str,
        session_token: Option<&str>,
        expires: Option<SystemTime>,
        source: &str,
    ) -> Result<Self> {
        let session_token = session_token.filter(|token| !token.is_empty());
        let is_word = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        let is_id = |text: &str| {
            text.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        for (name, text, fits) in [
            ("access key id", access_key_id, is_id(access_key_id)),
            (
                "secret access key",
                secret_access_key,
                is_word(secret_access_key),
            ),
            (
                "session token",
                session_token.unwrap_or("none"),
                session_token.is_none_or(is_word),
            ),
        ] {
            if text.is_empty() || !fits {
                return Err(unusable(format!(
                    "the {name} from {source} is empty or has characters that none has"
                )));
            }
        }
        Ok(Self {
            access_key_id: access_key_id.to_owned(),
            secret_access_key: Zeroizing::new(secret_access_key.to_owned()),
            session_token: session_token.map(|token| Zeroizing::new(token.to_owned())),
            expires,
            source: source.to_owned(),
        })
    }

    /// Names the secret to the service; no secret itself, but shown to a person only by its end.
    pub(super) fn access_key_id(&self) -> &str {
        &self.access_key_id
    }

    /// The secret.
    pub(super) fn secret_access_key(&self) -> &str {
        &self.secret_access_key
    }

    /// What goes with temporary credentials.
    pub(super) fn session_token(&self) -> Option<&str> {
        self.session_token.as_ref().map(|token| token.as_str())
    }

    /// Whether a text has something secret of them in it.
    pub(super) fn are_in(&self, text: &str) -> bool {
        text.contains(self.secret_access_key())
            || self
                .session_token()
                .is_some_and(|token| text.contains(token))
    }

    /// When they end, if they do.
    pub(super) fn expires(&self) -> Option<SystemTime> {
        self.expires
    }

    /// Whether others are the same, wherever they come from.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.access_key_id == other.access_key_id
            && ctk_crypto::constant_time_eq(
                self.secret_access_key.as_bytes(),
                other.secret_access_key.as_bytes(),
            )
            && self.session_token() == other.session_token()
    }
}

/// For a person: `access key …MPLE from the environment`.
impl fmt::Display for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.access_key_id.len().saturating_sub(4);
        let end = self.access_key_id.get(shown..).unwrap_or_default();
        // A short one would be shown whole.
        let end = if shown < 4 { "" } else { end };
        write!(f, "access key …{end} from {}", self.source)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({self})")
    }
}

/// Where to look.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    settings: Settings,
    surroundings: Surroundings,
}

impl Chain {
    /// The places for a token with these settings in this process.
    pub(super) fn new(settings: &Settings, surroundings: &Surroundings) -> Self {
        Self {
            settings: settings.clone(),
            surroundings: surroundings.clone(),
        }
    }

    /// The credentials in the first place that has some.
    ///
    /// # Errors
    /// [`TokenError::Unreachable`] with what is wrong with the place, or where there are none; [`TokenError::TimedOut`] if
    /// looking lasts beyond the deadline.
    pub(super) fn find(&self, outside: &dyn Outside, deadline: Deadline) -> Result<Credentials> {
        if let Some(found) = self.configured(deadline)? {
            return Ok(found);
        }
        let surroundings = &self.surroundings;
        let chosen = self.settings.text("profile");
        if chosen.is_none() {
            if let Some(found) = environment::credentials(surroundings)? {
                return Ok(found);
            }
            environment::refuse_web_identity(surroundings)?;
        }
        let profiles = Profiles::read(surroundings)?;
        if let Some(found) = self.of_profile(&profiles, deadline)? {
            return Ok(found);
        }
        if let Some(found) = container::credentials(surroundings, outside, deadline)? {
            return Ok(found);
        }
        let endpoint = self.settings.text("metadata_endpoint");
        match instance::credentials(surroundings, endpoint, outside, deadline)? {
            Ok(found) => Ok(found),
            Err(why) => Err(unusable(format!(
                "no AWS credentials: none in the token's settings, in the environment, in {}, of a container; and {why}. Set \
                 access_key_id and secret_access_key, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile",
                profiles.name(chosen, surroundings).1
            ))),
        }
    }

    /// Those in the settings.
    fn configured(&self, deadline: Deadline) -> Result<Option<Credentials>> {
        let id = self.settings.text("access_key_id");
        let secret = self.settings.secret("secret_access_key");
        let (id, secret) = match (id, secret) {
            (None, None) => return Ok(None),
            (Some(id), Some(secret)) => (id, secret),
            _ => {
                return Err(unusable(
                    "access_key_id and secret_access_key belong together: configure both or none",
                ));
            }
        };
        let text = |secret: &crate::Secret| {
            let bytes = secret.read(deadline.left()?)?;
            match std::str::from_utf8(&bytes) {
                Ok(text) => Ok(Zeroizing::new(text.trim().to_owned())),
                Err(_) => Err(unusable(format!("what {} has is no text", secret.source()))),
            }
        };
        let token = self
            .settings
            .secret("session_token")
            .map(text)
            .transpose()?;
        let token = token.as_ref().map(|token| token.as_str());
        Credentials::new(id, &text(secret)?, token, None, "the token's settings").map(Some)
    }

    fn of_profile(&self, profiles: &Profiles, deadline: Deadline) -> Result<Option<Credentials>> {
        let chosen = self.settings.text("profile");
        let Some(profile) = profiles.profile(chosen, &self.surroundings)? else {
            return Ok(None);
        };
        profile.refuse_unsupported()?;
        if let Some(found) = profile.keys_of_credentials_file()? {
            return Ok(Some(found));
        }
        profile.refuse_login()?;
        if let Some(command) = profile.get("credential_process") {
            let found =
                process::credentials(command, profile.name(), &self.surroundings, deadline)?;
            return Ok(Some(found));
        }
        profile.keys_of_config_file()
    }
}

/// What a command or an endpoint answers, in JSON; `token` is what it calls the session token.
///
/// # Errors
/// [`TokenError::Unreachable`] with what is wrong with it, and nothing of what stands in it.
fn read_answer(json: &[u8], token: &str, source: &str) -> Result<Credentials> {
    let answer = Object::read(json)
        .ok_or_else(|| unusable(format!("what {source} answered is not a JSON object")))?;
    let part = |name: &str| {
        let text = answer.secret(name);
        text.ok_or_else(|| unusable(format!("what {source} answered has no {name}")))
    };
    let expires = match answer.text("Expiration") {
        None => None,
        Some(text) => Some(time::parse(&text).ok_or_else(|| {
            unusable(format!(
                "what {source} answered ends at no time that can be read"
            ))
        })?),
    };
    let token = answer.secret(token);
    Credentials::new(
        &part("AccessKeyId")?,
        &part("SecretAccessKey")?,
        token.as_ref().map(|token| token.as_str()),
        expires,
        source,
    )
}

/// There are no credentials, and why.
fn unusable(reason: impl Into<String>) -> TokenError {
    TokenError::Unreachable(Reason::new(reason))
}

/// A secret that a person or a program has put into the environment. Empty is not there.
fn variable(surroundings: &Surroundings, name: &str) -> Option<Zeroizing<String>> {
    let value = (surroundings.variable)(name)?;
    let value = Zeroizing::new(value.into_string().ok()?);
    Some(value).filter(|value| !value.is_empty())
}
