//! The settings of a token.

use ctk_token::{Reason, Result, TokenError};

use crate::{Kind, Secret, SettingRow, Settings, http::Endpoint};

use super::identity;

const fn row(name: &'static str, kind: Kind, about: &'static str) -> SettingRow {
    SettingRow {
        name,
        kind,
        required: false,
        about,
    }
}

/// What a token of this protocol can be told.
pub(super) const SETTINGS: &[SettingRow] = &[
    SettingRow {
        name: "endpoints",
        kind: Kind::Texts,
        required: true,
        about: "The service's addresses up to the version, like https://signing.example/csc/v1, best first",
    },
    row(
        "authentication",
        Kind::Text,
        "How the service knows us: none, bearer, basic, oauth2-client, oauth2-password or tls [default: none]",
    ),
    row("user", Kind::Text, "User name (basic, oauth2-password)"),
    row(
        "password",
        Kind::Secret,
        "Its password (basic, oauth2-password)",
    ),
    row(
        "client_id",
        Kind::Text,
        "OAuth 2.0 client (oauth2-client, oauth2-password)",
    ),
    row(
        "client_secret",
        Kind::Secret,
        "Its secret (oauth2-client, oauth2-password)",
    ),
    row(
        "token_url",
        Kind::Text,
        "Where OAuth 2.0 tokens come from [default: as the service says, or /oauth2/token]",
    ),
    row("bearer", Kind::Secret, "Access token (bearer)"),
    row(
        "user_id",
        Kind::Text,
        "Whose credentials to list, where the service serves several users",
    ),
    row(
        "client_data",
        Kind::Text,
        "What the service is told with the request for a list, like EVCS for code signing at SSL.com",
    ),
    row(
        "credentials",
        Kind::Texts,
        "Only these credentials, which are not asked for then",
    ),
    row(
        "otp",
        Kind::Secret,
        "Where a one-time password is read each time one is needed",
    ),
    row(
        "otp_seed",
        Kind::Secret,
        "Secret of a one-time password generator (RFC 6238, 30 s, 6 digits), base32 or base64; total_timeout is 60 with it",
    ),
    row(
        "otp_from_login",
        Kind::Flag,
        "The program logs in with PIN,OTP, or with the OTP alone if there is no PIN",
    ),
    row(
        "shared_pin",
        Kind::Flag,
        "All credentials with a PIN have the same",
    ),
    row(
        "authorization_token",
        Kind::Secret,
        "Where a token of scope credential is read, for credentials that are authorised by OAuth 2.0",
    ),
    row(
        "signatures_per_login",
        Kind::Number,
        "Signatures that one authorisation is asked for [default: as many as the service allows]",
    ),
];

/// How the service knows us.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Authentication {
    /// It does not, or by TLS, of which the connection takes care.
    Nothing,
    Bearer,
    Basic,
    OAuth2Client,
    OAuth2Password,
}

/// The settings, checked.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) authentication: Authentication,
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) client_id: Option<String>,
    pub(super) client_secret: Option<Secret>,
    pub(super) token_url: Option<String>,
    pub(super) bearer: Option<Secret>,
    pub(super) user_id: Option<String>,
    pub(super) client_data: Option<String>,
    pub(super) credentials: Vec<String>,
    pub(super) otp: Option<Secret>,
    pub(super) otp_seed: Option<Secret>,
    pub(super) otp_from_login: bool,
    pub(super) shared_pin: bool,
    pub(super) authorization_token: Option<Secret>,
    pub(super) signatures_per_login: Option<u32>,
    /// What one operation may take, in seconds: the HTTP client's setting, which each request is bound by as well.
    pub(super) total_timeout: u64,
}

impl Options {
    /// Reads the settings.
    ///
    /// # Errors
    /// [`TokenError::Unreachable`] with what is wrong with them.
    pub(super) fn read(settings: &Settings) -> Result<Self> {
        let text = |name| settings.text(name).map(str::to_owned);
        let secret = |name| settings.secret(name).cloned();
        let options = Self {
            endpoints: endpoints(settings.texts("endpoints"))?,
            authentication: authentication(settings.text("authentication"))?,
            user: text("user"),
            password: secret("password"),
            client_id: text("client_id"),
            client_secret: secret("client_secret"),
            token_url: text("token_url"),
            bearer: secret("bearer"),
            user_id: text("user_id"),
            client_data: text("client_data"),
            credentials: settings.texts("credentials").to_vec(),
            otp: secret("otp"),
            otp_seed: secret("otp_seed"),
            otp_from_login: settings.flag("otp_from_login"),
            shared_pin: settings.flag("shared_pin"),
            authorization_token: secret("authorization_token"),
            signatures_per_login: signatures(settings.number("signatures_per_login"))?,
            total_timeout: settings
                .number("total_timeout")
                .and_then(|seconds| u64::try_from(seconds).ok())
                .unwrap_or(match settings.secret("otp_seed") {
                    // A step of the generator, after which there is the usual time.
                    Some(_) => 60,
                    None => 30,
                }),
        };
        options.check()?;
        if let Some(url) = &options.token_url {
            let parsed = Endpoint::parse(identity::split(url).0);
            parsed.map_err(|why| wrong(format!("`token_url`: {why}")))?;
        }
        let is_tls = settings.text("authentication") == Some("tls");
        if is_tls && settings.path("client_certificate").is_none() {
            return Err(wrong(
                "`authentication = \"tls\"` needs the setting `client_certificate`".to_owned(),
            ));
        }
        Ok(options)
    }

    /// Whether a one-time password that a credential wants comes with what the program logs in with: if it is said so, and
    /// where it can come from nowhere else.
    pub(super) fn takes_otp_from_login(&self) -> bool {
        self.otp_from_login || (self.otp.is_none() && self.otp_seed.is_none())
    }

    /// What the way of authentication cannot do without.
    fn check(&self) -> Result<()> {
        let (method, needed): (&str, &[(&str, bool)]) = match self.authentication {
            Authentication::Nothing => return Ok(()),
            Authentication::Bearer => ("bearer", &[("bearer", self.bearer.is_some())]),
            Authentication::Basic => (
                "basic",
                &[
                    ("user", self.user.is_some()),
                    ("password", self.password.is_some()),
                ],
            ),
            Authentication::OAuth2Client => (
                "oauth2-client",
                &[
                    ("client_id", self.client_id.is_some()),
                    ("client_secret", self.client_secret.is_some()),
                ],
            ),
            Authentication::OAuth2Password => (
                "oauth2-password",
                &[
                    ("client_id", self.client_id.is_some()),
                    ("user", self.user.is_some()),
                    ("password", self.password.is_some()),
                ],
            ),
        };
        let user = self.user.as_deref().unwrap_or_default();
        if self.authentication == Authentication::Basic && user.contains(':') {
            return Err(wrong(
                "`user`: no user of basic has a colon in it".to_owned(),
            ));
        }
        match needed.iter().find(|(_, is_there)| !is_there) {
            Some((name, _)) => Err(wrong(format!(
                "`authentication = \"{method}\"` needs the setting `{name}`"
            ))),
            None => Ok(()),
        }
    }
}

fn endpoints(urls: &[String]) -> Result<Vec<Endpoint>> {
    if urls.is_empty() {
        return Err(wrong("the setting `endpoints` is empty".to_owned()));
    }
    let endpoints = urls.iter().map(|url| {
        // Its words have the address in them, without a password that somebody has put there.
        Endpoint::parse(url).map_err(|why| wrong(format!("`endpoints`: {why}")))
    });
    endpoints.collect()
}

fn authentication(name: Option<&str>) -> Result<Authentication> {
    Ok(match name {
        None | Some("none" | "tls") => Authentication::Nothing,
        Some("bearer") => Authentication::Bearer,
        Some("basic") => Authentication::Basic,
        Some("oauth2-client") => Authentication::OAuth2Client,
        Some("oauth2-password") => Authentication::OAuth2Password,
        Some(other) => {
            return Err(wrong(format!(
                "`authentication = {other:?}` is none of none, bearer, basic, oauth2-client, oauth2-password, tls"
            )));
        }
    })
}

fn signatures(number: Option<i64>) -> Result<Option<u32>> {
    let Some(number) = number else {
        return Ok(None);
    };
    match u32::try_from(number) {
        Ok(number) if number > 0 => Ok(Some(number)),
        _ => Err(wrong(format!(
            "`signatures_per_login = {number}` is no number of signatures"
        ))),
    }
}

fn wrong(why: String) -> TokenError {
    TokenError::Unreachable(Reason::new(why))
}
