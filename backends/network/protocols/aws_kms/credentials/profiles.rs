//! The shared files: `~/.aws/credentials` and `~/.aws/config`, and the profiles in them.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{ErrorKind, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use ctk_token::Result;
use zeroize::Zeroizing;

use crate::Surroundings;

use super::{Credentials, process, unusable, variable};

/// The most that is read of a file, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// The settings of a section, by their lower-case names.
type Section = BTreeMap<String, Zeroizing<String>>;
/// Sections by the profile that they are about.
type Sections = BTreeMap<String, Section>;

/// Both files.
#[derive(Default)]
pub(in super::super) struct Profiles {
    config: Sections,
    credentials: Sections,
}

/// One profile.
pub(in super::super) struct Profile<'a> {
    name: String,
    config: Option<&'a Section>,
    credentials: Option<&'a Section>,
}

/// Which of the files.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Kind {
    Config,
    Credentials,
}

impl Profiles {
    /// Reads both; one that is not there, or that is `/dev/null`, is empty.
    ///
    /// # Errors
    /// [`TokenError::Unreachable`](ctk_token::TokenError::Unreachable) for one that cannot be read.
    pub(in super::super) fn read(surroundings: &Surroundings) -> Result<Self> {
        Ok(Self {
            config: read(surroundings, "AWS_CONFIG_FILE", ".aws/config", Kind::Config)?,
            credentials: read(
                surroundings,
                "AWS_SHARED_CREDENTIALS_FILE",
                ".aws/credentials",
                Kind::Credentials,
            )?,
        })
    }

    /// The profile of this name, or that of the environment, or `default`; `None` if nobody asked for one and there is no
    /// `default`.
    ///
    /// # Errors
    /// [`TokenError::Unreachable`](ctk_token::TokenError::Unreachable) if there is no profile of a name that somebody chose.
    pub(in super::super) fn profile(
        &self,
        chosen: Option<&str>,
        surroundings: &Surroundings,
    ) -> Result<Option<Profile<'_>>> {
        let (is_chosen, shown) = self.name(chosen, surroundings);
        let name = match chosen {
            Some(name) => name.to_owned(),
            None => environment_profile(surroundings).unwrap_or_else(|| "default".to_owned()),
        };
        let (config, credentials) = (self.config.get(&name), self.credentials.get(&name));
        match (config, credentials, is_chosen) {
            (None, None, true) => Err(unusable(format!(
                "there is no {shown} in the AWS configuration: look at ~/.aws/config and ~/.aws/credentials, or name another"
            ))),
            (None, None, false) => Ok(None),
            _ => Ok(Some(Profile {
                name,
                config,
                credentials,
            })),
        }
    }

    /// Whether the profile's section of endpoints has one for this service.
    pub(in super::super) fn has_endpoint(&self, profile: &Profile<'_>, service: &str) -> bool {
        let name = profile.get("services").map(services_section);
        let section = name.and_then(|name| self.config.get(&name));
        section.is_some_and(|section| section.contains_key(service))
    }

    /// Whether somebody chose a profile, and what it is called, for a person.
    pub(super) fn name(&self, chosen: Option<&str>, surroundings: &Surroundings) -> (bool, String) {
        match (chosen, environment_profile(surroundings)) {
            (Some(name), _) => (true, format!("profile {name:?}")),
            (None, Some(name)) => (true, format!("profile {name:?} (AWS_PROFILE)")),
            (None, None) => (false, "profile \"default\"".to_owned()),
        }
    }
}

fn environment_profile(surroundings: &Surroundings) -> Option<String> {
    variable(surroundings, "AWS_PROFILE")
        .or_else(|| variable(surroundings, "AWS_DEFAULT_PROFILE"))
        .map(|name| name.to_string())
}

impl Profile<'_> {
    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// One of its settings; the credentials file wins.
    pub(in super::super) fn get(&self, key: &str) -> Option<&str> {
        let sections = [self.credentials, self.config];
        let mut values = sections
            .into_iter()
            .flatten()
            .filter_map(|section| section.get(key));
        values
            .find(|value| !value.is_empty())
            .map(|value| value.as_str())
    }

    /// Ends the search if the profile means an identity that is not supported here, before its keys are looked at, as AWS'
    /// programs do.
    ///
    /// # Errors
    /// [`TokenError::Unreachable`](ctk_token::TokenError::Unreachable) with what to do instead, here and below.
    pub(super) fn refuse_unsupported(&self) -> Result<()> {
        self.refuse(&[
            ("role_arn", "roles"),
            ("web_identity_token_file", "web identities"),
            ("sso_session", "single sign-on"),
            ("sso_start_url", "single sign-on"),
            ("sso_account_id", "single sign-on"),
        ])
    }

    /// The same for what comes after the keys in the credentials file.
    ///
    /// # Errors
    /// As there.
    pub(super) fn refuse_login(&self) -> Result<()> {
        self.refuse(&[("login_session", "`aws login`")])
    }

    fn refuse(&self, unsupported: &[(&str, &str)]) -> Result<()> {
        let found = unsupported.iter().find(|(key, _)| self.get(key).is_some());
        let Some((key, what)) = found else {
            return Ok(());
        };
        let name = &self.name;
        Err(unusable(format!(
            "profile {name:?} has {key}, and {what} are not supported here: use another profile with `credential_process = aws \
             configure export-credentials --profile {name} --format process`, and `commands = true` in the token's configuration"
        )))
    }

    /// The access key that the credentials file has.
    ///
    /// # Errors
    /// [`TokenError::Unreachable`](ctk_token::TokenError::Unreachable) if half of it is missing, here and below.
    pub(super) fn keys_of_credentials_file(&self) -> Result<Option<Credentials>> {
        self.keys(self.credentials, "credentials")
    }

    /// The access key that the configuration file has.
    ///
    /// # Errors
    /// As there.
    pub(super) fn keys_of_config_file(&self) -> Result<Option<Credentials>> {
        self.keys(self.config, "config")
    }

    fn keys(&self, section: Option<&Section>, file: &str) -> Result<Option<Credentials>> {
        let value = |key: &str| {
            let value = section?.get(key)?;
            Some(value.as_str()).filter(|value| !value.is_empty())
        };
        let source = format!("profile {:?} of the {file} file", self.name);
        match (value("aws_access_key_id"), value("aws_secret_access_key")) {
            (None, None) => Ok(None),
            (Some(id), Some(secret)) => {
                let token = value("aws_session_token").or_else(|| value("aws_security_token"));
                Credentials::new(id, secret, token, None, &source).map(Some)
            }
            _ => Err(unusable(format!(
                "{source} has only one of aws_access_key_id and aws_secret_access_key"
            ))),
        }
    }
}

fn read(surroundings: &Surroundings, name: &str, usual: &str, kind: Kind) -> Result<Sections> {
    let home = surroundings.home.as_deref();
    let path = match (variable(surroundings, name), home) {
        (Some(path), Some(home)) => match path.strip_prefix("~/") {
            Some(rest) => home.join(rest),
            None => PathBuf::from(path.as_str()),
        },
        (Some(path), None) => PathBuf::from(path.as_str()),
        (None, Some(home)) => home.join(usual),
        (None, None) => return Ok(Sections::new()),
    };
    // The usual way to do without one of the files.
    if path == Path::new("/dev/null") {
        return Ok(Sections::new());
    }
    let text = match text_of(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Sections::new()),
        Err(error) => {
            return Err(unusable(format!(
                "{} cannot be read: {error}",
                path.display()
            )));
        }
    };
    Ok(parse(&text, kind))
}

/// The text of a regular file of at most 1 MiB.
///
/// # Errors
/// What keeps it from being read.
pub(super) fn text_of(path: &Path) -> std::io::Result<Zeroizing<String>> {
    // A FIFO in its place must not hang the program.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let facts = file.metadata()?;
    if !facts.is_file() {
        return Err(std::io::Error::other("it is no regular file"));
    }
    let len = facts.len();
    if len > MAX_FILE {
        return Err(std::io::Error::other("it is longer than 1 MiB"));
    }
    // Grows only if the file does just now: what a string leaves behind is not zeroized.
    let room = usize::try_from(len).unwrap_or(0) + 1;
    let mut text = Zeroizing::new(String::with_capacity(room));
    file.take(MAX_FILE).read_to_string(&mut text)?;
    Ok(text)
}

/// Reads the INI dialect of AWS' programs. What it is not is passed over, as they do: it may be of tomorrow's programs.
fn parse(text: &str, kind: Kind) -> Sections {
    let mut sections = Sections::new();
    let mut current: Option<String> = None;
    // A profile may be called `default` and `profile default`, of which the second counts.
    let mut has_full_default = false;
    // How far the last setting of the section stands from the margin.
    let mut margin: Option<usize> = None;
    for line in text.strip_prefix('\u{feff}').unwrap_or(text).lines() {
        let content = line.trim();
        if content.is_empty() || content.starts_with(['#', ';']) {
            continue;
        }
        if let Some(rest) = content.strip_prefix('[') {
            let title = rest.split_once(']').map(|(title, _)| title.trim());
            let (name, is_full) = title.map_or((None, false), |title| profile_of(title, kind));
            let is_default = name.as_deref() == Some("default");
            if is_default && is_full && !has_full_default {
                has_full_default = true;
                sections.remove("default");
            }
            let counts = !is_default || is_full || !has_full_default || kind == Kind::Credentials;
            current = name.filter(|_| counts);
            if let Some(name) = &current {
                sections.entry(name.clone()).or_default();
            }
            margin = None;
            continue;
        }
        // A line that stands further in than the setting above belongs to it, and none of those is looked at here.
        let indent = line.len() - line.trim_start().len();
        if margin.is_some_and(|margin| indent > margin) {
            continue;
        }
        margin = Some(indent);
        let section = current.as_ref().and_then(|name| sections.get_mut(name));
        if let (Some(section), Some((key, value))) = (section, content.split_once('=')) {
            let value = Zeroizing::new(value.trim().to_owned());
            section.insert(key.trim().to_ascii_lowercase(), value);
        }
    }
    sections
}

/// What a section of endpoints is kept by, which is no profile's name.
fn services_section(name: &str) -> String {
    format!("services\n{name}")
}

/// The profile that a section is about, or a name of our own for one of endpoints; and whether its title said so in full.
fn profile_of(title: &str, kind: Kind) -> (Option<String>, bool) {
    let unquoted = |text: &str| match process::words(text).as_deref() {
        Some([name]) => Some(name.to_string()),
        _ => None,
    };
    match (kind, title.split_once([' ', '\t'])) {
        (Kind::Config, Some(("profile", name))) => (unquoted(name), true),
        (Kind::Config, Some(("services", name))) => {
            (unquoted(name).as_deref().map(services_section), true)
        }
        (Kind::Config, None) if title == "default" => (Some(title.to_owned()), false),
        (Kind::Config, _) => (None, false),
        (Kind::Credentials, _) => (Some(title.to_owned()), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of<'a>(sections: &'a Sections, profile: &str, key: &str) -> Option<&'a str> {
        sections.get(profile)?.get(key).map(|value| value.as_str())
    }

    #[test]
    fn both_files_name_their_profiles() {
        let text = "\u{feff}# comment\r\n[default]\r\nregion = eu-west-1 # not a comment\r\n; comment\n\
                    [profile ci]\nREGION=us-east-1\ncredential_process = a = b\n\
                    s3 =\n  region = nested\n\
                    [profile \"with space\"]\nregion=x\n\
                    [profile two words]\nregion=y\n\
                    [sso-session ci]\nregion = other\n\
                    [ci]\nregion = no profile\n\
                    [services local]\nkms =\n  endpoint_url = u\n\
                    [broken\nregion = z\n";
        let sections = parse(text, Kind::Config);
        assert_eq!(
            of(&sections, "default", "region"),
            Some("eu-west-1 # not a comment")
        );
        assert_eq!(of(&sections, "ci", "region"), Some("us-east-1"));
        assert_eq!(of(&sections, "ci", "credential_process"), Some("a = b"));
        assert_eq!(of(&sections, "with space", "region"), Some("x"));
        assert!(sections["services\nlocal"].contains_key("kms"));
        assert_eq!(sections.len(), 4);

        let text = "region=before\n[default]\naws_access_key_id = A\n[profile ci]\na=1\n[ci] ; x\na = 2\n[ci]\nb = 3\nno line\n";
        let sections = parse(text, Kind::Credentials);
        assert_eq!(of(&sections, "default", "aws_access_key_id"), Some("A"));
        assert_eq!(of(&sections, "ci", "a"), Some("2"));
        assert_eq!(of(&sections, "ci", "b"), Some("3"));
    }

    #[test]
    fn settings_may_all_stand_further_in() {
        let text = "[default]\n    aws_access_key_id = A\n    s3 =\n        region = nested\n    region = r\n[profile b]\n\
                    \tregion = s\n  [profile c]\n  region = t\n region = u\n";
        let sections = parse(text, Kind::Config);
        for (profile, key, expected) in [
            ("default", "aws_access_key_id", "A"),
            ("default", "region", "r"),
            ("b", "region", "s"),
            ("c", "region", "u"),
        ] {
            assert_eq!(
                of(&sections, profile, key),
                Some(expected),
                "{profile} {key}"
            );
        }
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        for path in ["/dev/zero", "/tmp"] {
            let error = text_of(Path::new(path)).unwrap_err();
            assert!(error.to_string().contains("no regular file"), "{error}");
        }
    }

    #[test]
    fn the_full_title_of_the_default_profile_wins() {
        for text in [
            "[default]\na=1\nb=1\n[profile default]\na=2\n",
            "[profile default]\na=2\n[default]\na=1\nb=1\n",
        ] {
            let sections = parse(text, Kind::Config);
            assert_eq!(of(&sections, "default", "a"), Some("2"), "{text}");
            assert_eq!(of(&sections, "default", "b"), None, "{text}");
        }
    }

    /// Every file is read without a panic, whatever is in it: a fixed generator, so that a failure can be repeated.
    #[test]
    fn no_file_is_too_strange() {
        let pieces = [
            "[",
            "]",
            "[profile ",
            "default",
            "\"",
            "'",
            "\\",
            "=",
            " ",
            "\t",
            "\n",
            "\r",
            "#",
            ";",
            "é",
            "\0",
            "key",
            "\u{feff}",
        ];
        let mut state = 7_u64;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..24 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                text.push_str(pieces[(state >> 33) as usize % pieces.len()]);
            }
            for kind in [Kind::Config, Kind::Credentials] {
                let sections = parse(&text, kind);
                assert!(sections.len() <= text.matches('[').count(), "{text:?}");
            }
        }
    }
}
