//! Asking a service what it has, with what is being asked shown meanwhile.

use ctk_host::{
    TokenConfig,
    config::{Setting, Settings},
    network::{self, Inspected, Protocol, SettingRow},
};
use ctk_token::TokenError;

use super::{
    args::{ENDPOINTS, rows},
    ask,
};
use crate::{
    console::{Console, Outcome, failure},
    progress::Progress,
};

/// What the service of this token has now.
pub(crate) fn list(console: &Console, token: &TokenConfig) -> ctk_token::Result<Inspected> {
    let mut progress = Progress::new(console);
    progress.tell(&format!("asking {}", called(token)));
    network::list(token, &console.environment, &mut |step| progress.tell(step))
}

/// The same for a token that is only wanted with keys or certificates in it. What the service has besides is told, and in
/// a failure `option` says how a setting is given here.
pub(crate) fn list_some(
    console: &Console,
    token: &TokenConfig,
    option: fn(&SettingRow) -> String,
) -> Outcome<Inspected> {
    let found = list(console, token).or_else(|error| {
        let said = explain(token, &error);
        let mut options: Vec<_> = named(token, &said).map(option).collect();
        if said.contains("`commands = true`") {
            options.push("--commands".to_owned());
        }
        failure(match options.is_empty() {
            true => said,
            false => format!("{said} (here: {})", options.join(", ")),
        })
    })?;
    for left_out in &found.left_out {
        console.warn(format!("{}: {left_out}", called(token)));
    }
    let contents = &found.contents;
    match contents.keys.is_empty() && contents.certificates.is_empty() {
        false => Ok(found),
        true => failure(format!(
            "{} has no key that can be used here; nothing was changed",
            called(token)
        )),
    }
}

/// The settings that a sentence speaks of, which stand in backticks.
fn named(token: &TokenConfig, said: &str) -> impl Iterator<Item = &'static SettingRow> {
    let words: Vec<_> = said
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect();
    let mut names: Vec<String> = (words.iter())
        .filter_map(|word| Some(word.split(' ').next()?.to_owned()))
        .collect();
    // How one is known is more often right than what one is known by.
    if names.iter().any(|name| name == ask::AUTHENTICATION) {
        let way = token.settings.text(ask::AUTHENTICATION).unwrap_or_default();
        names.extend(ask::needed(way).iter().map(|name| (*name).to_owned()));
    }
    let rows = network::protocol(&token.driver).into_iter().flat_map(rows);
    let rows = rows.map(|(row, _)| row);
    rows.filter(move |row| names.iter().any(|name| name == row.name))
}

/// What is wrong, with the service in it where the words do not name it.
pub(crate) fn explain(token: &TokenConfig, error: &TokenError) -> String {
    match error {
        TokenError::Unreachable(reason)
        | TokenError::Refused(reason)
        | TokenError::Corrupted(reason) => reason.to_string(),
        TokenError::TimedOut => format!(
            "{} did not answer in time; try again, or give it longer: total_timeout",
            called(token)
        ),
        error => format!("{}: {error}", called(token)),
    }
}

/// What a person calls the service of a token: its host, or what is known instead.
pub(crate) fn called(token: &TokenConfig) -> String {
    let title = network::protocol(&token.driver).map_or("the service", |protocol| protocol.title);
    match place(&token.settings) {
        Some(place) => format!("{title} {place}"),
        None => title.to_owned(),
    }
}

/// Where a service is, in a word: what stands for itself in a name.
pub(crate) fn place(settings: &Settings) -> Option<&str> {
    let text = |name| settings.text(name).filter(|text| !text.is_empty());
    let host = || match settings.0.get(ENDPOINTS) {
        Some(Setting::Texts(urls)) => urls.first().map(|url| host(url)),
        _ => None,
    };
    text("region").or_else(|| text("profile")).or_else(host)
}

/// A name for a token of this service: of the protocol and the place, or the host's alone.
pub(crate) fn name(protocol: &Protocol, settings: &Settings) -> String {
    match place(settings) {
        Some(place) if is_host(settings) => place.to_owned(),
        Some(place) => format!("{}-{place}", protocol.name),
        None => protocol.name.to_owned(),
    }
}

/// The same for what programs show.
pub(crate) fn label(protocol: &Protocol, settings: &Settings) -> String {
    match place(settings) {
        Some(place) if is_host(settings) => place.to_owned(),
        Some(place) => format!("{} {place}", protocol.title),
        None => protocol.title.to_owned(),
    }
}

/// Whether nothing but its host tells where the service is.
fn is_host(settings: &Settings) -> bool {
    settings
        .text("region")
        .or(settings.text("profile"))
        .is_none()
}

/// The host in a URL, or what stands where one should be.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    match host.strip_prefix('[') {
        Some(address) => address.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_called_by_its_host() {
        for (url, expected) in [
            ("https://cs.ssl.com/csc/v0", "cs.ssl.com"),
            ("https://localhost:8443", "localhost"),
            ("http://[::1]:80/csc", "::1"),
            ("https://user:secret@h/x", "h"),
            ("h.example", "h.example"),
            ("", ""),
        ] {
            assert_eq!(host(url), expected, "{url}");
        }
    }
}
