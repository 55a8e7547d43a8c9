//! Reading what is in a PKCS#12 file: with the stored PIN, without a password, or with the one a person gives.

use std::{collections::BTreeSet, fs::File, io::Read, path::Path};

use ctk_host::{
    PinSource, TokenConfig,
    config::{Contents, Scope},
    pkcs12::{self, Inspected},
};
use ctk_token::TokenError;

use crate::{
    args::SettingArguments,
    console::{Console, Outcome, failure},
    password::{self, CARRIAGE_RETURN},
};

/// How much of a file is looked at to see what it is, in bytes: openssl writes the names of what follows first.
const HEAD: u64 = 4096;

/// What is said of a file that opens without a password.
pub(crate) fn unprotected(file: &Path) -> String {
    let file = file.display();
    format!(
        "no password protects {file}: everyone who can read the file has its keys; keep it closed (chmod go= {file}), or \
         export it again with a password"
    )
}

/// Whether a PIN source that does not work is refused, because the person has just named it. The one of a service of
/// this machine may be for that service only.
pub(crate) fn is_strict(token: &TokenConfig, given: &SettingArguments) -> bool {
    given.pin.is_some() && token.place.scope != Scope::System
}

/// Refuses a text file before anybody types a password for it, and says how it is converted.
pub(crate) fn refuse_pem(shown: &Path, file: &Path) -> Outcome {
    let mut head = Vec::new();
    File::open(file)
        .and_then(|opened| opened.take(HEAD).read_to_end(&mut head))
        .or_else(|error| failure(format!("{}: {error}", shown.display())))?;
    let has = |text: &[u8]| head.windows(text.len()).any(|part| part == text);
    let shown = shown.display();
    if has(b"-----BEGIN PKCS12-----") {
        return failure(format!(
            "{shown}: this is a PKCS#12 file as text; make it a file: grep -v -e ----- {shown} | openssl base64 -d -out \
             NEW.p12"
        ));
    }
    if has(b"-----BEGIN ") {
        return failure(format!(
            "{shown}: this is PEM, not PKCS#12; make a .p12 of the certificate and its key: openssl pkcs12 -export -in \
             CERTIFICATE.pem -inkey KEY.pem -out NEW.p12"
        ));
    }
    Ok(())
}

/// Reads what is in the file of a token. Nobody is asked for a password that is stored or that there is none.
pub(crate) fn read(
    console: &Console,
    token: &TokenConfig,
    shown: &Path,
    file: &Path,
    strict: bool,
) -> Outcome<Contents> {
    let stored = with_stored_pin(console, token, shown, file, strict)?;
    let shown = shown.display();
    let found = match stored {
        Some(contents) => contents,
        None => match pkcs12::inspect(file, b"") {
            Ok(found) => found,
            Err(_) => {
                let explain = |error: &TokenError| explain(&shown.to_string(), error);
                let prompt = format!("Password of {shown}: ");
                let open = |typed: &[u8]| pkcs12::inspect(file, typed);
                password::with_password(console, &prompt, open, explain)?
            }
        },
    };
    let Inspected { contents, left_out } = found;
    for left_out in left_out {
        console.warn(format!("{shown}: {left_out}"));
    }
    if contents.keys.is_empty() && contents.certificates.is_empty() {
        return failure(format!("{shown}: there is no key and no certificate in it"));
    }
    if pkcs12::inspect(file, b"").is_ok() {
        console.warn(unprotected(file));
    }
    Ok(contents)
}

/// Reads what is in the file of a token with the stored PIN or without a password. `None` if that does not open it.
pub(crate) fn read_unasked(
    console: &Console,
    token: &TokenConfig,
    file: &Path,
) -> Outcome<Option<Contents>> {
    if let Some(found) = with_stored_pin(console, token, file, file, false)? {
        return Ok(Some(found.contents));
    }
    match pkcs12::inspect(file, b"") {
        Ok(found) => Ok(Some(found.contents)),
        Err(TokenError::AuthenticationFailed { .. }) => Ok(None),
        Err(error) => failure(explain(&file.display().to_string(), &error)),
    }
}

/// Whether both have the same keys and certificates, in whatever order.
pub(crate) fn is_same(a: &Contents, b: &Contents) -> bool {
    let certificates = |contents: &Contents| -> BTreeSet<Vec<u8>> {
        let certificates = contents.certificates.iter();
        certificates
            .map(|certificate| certificate.der.clone())
            .collect()
    };
    keys(a) == keys(b) && certificates(a) == certificates(b)
}

/// Whether a key of one is in the other, as far as one has keys at all.
pub(crate) fn share_a_key(a: &Contents, b: &Contents) -> bool {
    a.keys.is_empty() || !keys(a).is_disjoint(&keys(b))
}

fn keys(contents: &Contents) -> BTreeSet<&[u8]> {
    contents.keys.iter().map(|key| &*key.spki).collect()
}

/// Says whether the PIN source of a token works for the file that it has now.
pub(crate) fn check_pin(console: &Console, token: &TokenConfig, strict: bool) -> Outcome {
    let Some(file) = token.settings.path(pkcs12::FILE) else {
        return Ok(());
    };
    with_stored_pin(console, token, file, file, strict).map(|_| ())
}

/// What the stored PIN opens. `None`: there is none here, or it does not open it, which is said.
fn with_stored_pin(
    console: &Console,
    token: &TokenConfig,
    shown: &Path,
    file: &Path,
    strict: bool,
) -> Outcome<Option<Inspected>> {
    let shown = shown.display().to_string();
    let pin = match token.pin.secret(&console.environment) {
        Ok(Some(pin)) => pin,
        Ok(None) => return Ok(None),
        Err(error) => {
            // The variables and credentials of a service are only there in the service.
            if strict && matches!(token.pin, PinSource::File(_)) {
                return failure(format!("{error}; nothing was changed"));
            }
            console.warn(format!("{error}; so this PIN was not tried"));
            return Ok(None);
        }
    };
    match pkcs12::inspect(file, &pin) {
        Ok(found) => Ok(Some(found)),
        Err(TokenError::AuthenticationFailed { .. }) => {
            let hint = if pin.last() == Some(&b'\r') {
                CARRIAGE_RETURN
            } else {
                ""
            };
            let said = format!("the PIN from {} does not open {shown}{hint}", token.pin);
            if strict {
                return failure(format!(
                    "{said}; write the file's password there first; nothing was changed"
                ));
            }
            console.warn(format!("{said}; write the file's password there"));
            Ok(None)
        }
        // It may be on a disk that is not there now.
        Err(TokenError::Unreachable(reason)) => {
            console.warn(format!("{reason}; so the PIN was not tried"));
            Ok(None)
        }
        Err(error) => failure(explain(&shown, &error)),
    }
}

fn explain(shown: &str, error: &TokenError) -> String {
    match error {
        TokenError::AuthenticationFailed { .. } => {
            format!("{shown}: wrong password, or not a PKCS#12 file")
        }
        // These reasons name the file.
        TokenError::Unreachable(reason) | TokenError::Corrupted(reason) => reason.to_string(),
        other => format!("{shown}: {other}"),
    }
}
