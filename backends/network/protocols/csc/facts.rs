//! What is stored with a key, so that its use begins with its use.

use crate::{Kind, SettingRow, Settings, Value};

use super::options::Options;

const fn row(name: &'static str, kind: Kind, about: &'static str) -> SettingRow {
    SettingRow {
        name,
        kind,
        required: false,
        about,
    }
}

/// The rows of [`Facts`].
pub(super) const KEY_FACTS: &[SettingRow] = &[
    SettingRow {
        name: "credential",
        kind: Kind::Text,
        required: true,
        about: "The credential's name at the service (credentialID)",
    },
    row("version", Kind::Number, "The API's version: 0, 1 or 2"),
    row(
        "algorithms",
        Kind::Texts,
        "What the key signs with (key.algo), as object identifiers",
    ),
    row(
        "authorization",
        Kind::Texts,
        "What authorises a signature: implicit, oauth2code, pin, otp, online-otp, out-of-band; in version 2 with =ID",
    ),
    row(
        "scal",
        Kind::Number,
        "2 if an authorisation is for the hash that is signed, else 1",
    ),
    row(
        "multisign",
        Kind::Number,
        "Signatures that one authorisation can be for",
    ),
    row(
        "token_url",
        Kind::Text,
        "Where OAuth 2.0 tokens come from, as the service says",
    ),
];

/// The version of the API, as far as requests differ.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Version {
    /// 0.1.7.9: requests are those of [`V1`](Self::V1), tokens are asked for in JSON.
    V0,
    /// 1.0.x.
    V1,
    /// 2.x.
    V2,
}

impl Version {
    /// The version of this main number.
    pub(super) fn from_number(number: u64) -> Self {
        match number {
            0 => Self::V0,
            1 => Self::V1,
            _ => Self::V2,
        }
    }

    /// The main number.
    pub(super) fn number(self) -> i64 {
        match self {
            Self::V0 => 0,
            Self::V1 => 1,
            Self::V2 => 2,
        }
    }
}

/// One thing that an authorisation wants. In version 2 each has the id of its authentication object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Factor {
    /// What the owner knows: `PIN`, or an object of type Password.
    Pin(Option<String>),
    /// A one-time password from a generator.
    Otp(Option<String>),
    /// A one-time password that the service sends when it is asked to: by `credentials/sendOTP`, or in version 2 by
    /// `credentials/getChallenge`.
    OnlineOtp(Option<String>),
    /// The owner confirms somewhere else, in an application on a telephone for instance.
    OutOfBand(String),
}

/// Who authorises.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Authorization {
    /// The service, by its own means or none (`implicit`).
    Implicit,
    /// Whoever gives a token of scope `credential` (`oauth2code`).
    OAuth2Code,
    /// Who has all of this (`explicit`).
    Explicit(Vec<Factor>),
}

/// What is stored with a key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Facts {
    pub(super) credential: String,
    pub(super) version: Version,
    pub(super) algorithms: Vec<String>,
    pub(super) authorization: Authorization,
    /// Sole control assurance level 2: an authorisation is for one hash.
    pub(super) is_hash_bound: bool,
    pub(super) multisign: u32,
    pub(super) token_url: Option<String>,
}

impl Facts {
    /// Reads what was stored; `None` if it is nothing of this protocol.
    pub(super) fn read(settings: &Settings) -> Option<Self> {
        let number = |name| {
            settings
                .number(name)
                .and_then(|number| u64::try_from(number).ok())
        };
        let multisign = number("multisign").unwrap_or(1);
        Some(Self {
            credential: settings.text("credential")?.to_owned(),
            version: Version::from_number(number("version").unwrap_or(1)),
            algorithms: settings.texts("algorithms").to_vec(),
            authorization: Authorization::read(settings.texts("authorization"))?,
            is_hash_bound: number("scal") == Some(2),
            multisign: u32::try_from(multisign).unwrap_or(u32::MAX).max(1),
            token_url: settings.text("token_url").map(str::to_owned),
        })
    }

    /// What [`read`](Self::read) reads.
    pub(super) fn write(&self) -> Settings {
        let mut settings = Settings::default();
        let mut put = |name: &str, value| settings.0.insert(name.to_owned(), value);
        put("credential", Value::Text(self.credential.clone()));
        put("version", Value::Number(self.version.number()));
        put("algorithms", Value::Texts(self.algorithms.clone()));
        put("authorization", Value::Texts(self.authorization.write()));
        put(
            "scal",
            Value::Number(if self.is_hash_bound { 2 } else { 1 }),
        );
        put("multisign", Value::Number(self.multisign.into()));
        if let Some(url) = &self.token_url {
            put("token_url", Value::Text(url.clone()));
        }
        settings
    }

    /// How many signatures one authorisation is asked for; one where it is for a hash. One as well where several credentials
    /// have a login that none but one of them can be opened with: each of them is logged in to by itself then.
    pub(super) fn signatures(&self, options: &Options) -> u32 {
        let wanted = options.signatures_per_login.unwrap_or(u32::MAX);
        let has_own_login =
            options.shared_pin && options.takes_otp_from_login() && self.wants_otp();
        match self.is_hash_bound || has_own_login {
            true => 1,
            false => self.multisign.min(wanted).max(1),
        }
    }

    /// Whether an authorisation wants a one-time password.
    pub(super) fn wants_otp(&self) -> bool {
        let is_otp = |factor: &Factor| matches!(factor, Factor::Otp(_) | Factor::OnlineOtp(_));
        self.factors().iter().any(is_otp)
    }

    /// Whether the program logs in before the key is used. Where nothing of what the service wants comes from the program,
    /// it does not.
    pub(super) fn needs_login(&self, options: &Options) -> bool {
        self.factors().iter().any(|factor| match factor {
            Factor::Pin(_) => true,
            Factor::Otp(_) | Factor::OnlineOtp(_) => options.takes_otp_from_login(),
            Factor::OutOfBand(_) => false,
        })
    }

    /// What an explicit authorisation wants; nothing for the others.
    pub(super) fn factors(&self) -> &[Factor] {
        match &self.authorization {
            Authorization::Explicit(factors) => factors,
            Authorization::Implicit | Authorization::OAuth2Code => &[],
        }
    }
}

impl Authorization {
    fn read(texts: &[String]) -> Option<Self> {
        match texts {
            [one] if one == "implicit" => Some(Self::Implicit),
            [one] if one == "oauth2code" => Some(Self::OAuth2Code),
            [] => Some(Self::Implicit),
            factors => {
                let factors = factors.iter().map(|text| Factor::read(text));
                factors.collect::<Option<_>>().map(Self::Explicit)
            }
        }
    }

    fn write(&self) -> Vec<String> {
        match self {
            Self::OAuth2Code => vec!["oauth2code".to_owned()],
            Self::Explicit(factors) if !factors.is_empty() => {
                factors.iter().map(Factor::write).collect()
            }
            Self::Implicit | Self::Explicit(_) => vec!["implicit".to_owned()],
        }
    }
}

impl Factor {
    fn read(text: &str) -> Option<Self> {
        let (kind, id) = match text.split_once('=') {
            Some((kind, id)) => (kind, Some(id.to_owned())),
            None => (text, None),
        };
        match kind {
            "pin" => Some(Self::Pin(id)),
            "otp" => Some(Self::Otp(id)),
            "online-otp" => Some(Self::OnlineOtp(id)),
            "out-of-band" => id.map(Self::OutOfBand),
            _ => None,
        }
    }

    fn write(&self) -> String {
        let (kind, id) = match self {
            Self::Pin(id) => ("pin", id.as_deref()),
            Self::Otp(id) => ("otp", id.as_deref()),
            Self::OnlineOtp(id) => ("online-otp", id.as_deref()),
            Self::OutOfBand(id) => ("out-of-band", Some(&**id)),
        };
        match id {
            Some(id) => format!("{kind}={id}"),
            None => kind.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_read_as_they_were_written() {
        let mut facts = Facts {
            credential: "t/rsa".to_owned(),
            version: Version::V1,
            algorithms: vec!["1.2.840.113549.1.1.1".to_owned()],
            authorization: Authorization::Implicit,
            is_hash_bound: false,
            multisign: 10,
            token_url: None,
        };
        let explicit = Authorization::Explicit(vec![
            Factor::Pin(None),
            Factor::Pin(Some("a=b".to_owned())),
            Factor::Otp(Some("x".to_owned())),
            Factor::OnlineOtp(None),
            Factor::OutOfBand("phone".to_owned()),
        ]);
        for authorization in [explicit, Authorization::OAuth2Code, Authorization::Implicit] {
            facts.authorization = authorization;
            assert_eq!(Facts::read(&facts.write()), Some(facts.clone()));
            facts.version = Version::V2;
            facts.is_hash_bound = true;
            facts.token_url = Some("https://login.example/token".to_owned());
        }
    }

    #[test]
    fn facts_of_another_hand_have_defaults_and_bounds() {
        let settings = |rows: &[(&str, Value)]| {
            let rows = rows
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone()));
            Settings(rows.collect())
        };
        let credential = ("credential", Value::Text("c".to_owned()));
        let facts = Facts::read(&settings(std::slice::from_ref(&credential))).unwrap();
        assert_eq!((facts.version, facts.multisign), (Version::V1, 1));
        assert_eq!(facts.authorization, Authorization::Implicit);
        let odd = settings(&[
            credential.clone(),
            ("multisign", Value::Number(-5)),
            ("version", Value::Number(i64::MAX)),
        ]);
        let facts = Facts::read(&odd).unwrap();
        assert_eq!((facts.version, facts.multisign), (Version::V2, 1));
        let unknown = ("authorization", Value::Texts(vec!["retina".to_owned()]));
        assert_eq!(Facts::read(&settings(&[credential, unknown])), None);
        assert_eq!(Facts::read(&Settings::default()), None);
    }
}
