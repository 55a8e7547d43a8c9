//! Authorising signatures: `credentials/authorize`, and the one-time passwords that go with it.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use ctk_token::{Reason, Result, TokenError};
use zeroize::Zeroizing;

use crate::{
    base64,
    http::{Repeat, Response},
    json::{Body, Object},
    token::{MAX_PIN, MIN_PIN},
};

use super::{
    algorithm::Plan,
    api::Api,
    error::{Failure, Refusal, shown},
    facts::{Factor, Facts, Version},
    identity,
};

/// How long an authorisation counts if nobody says, in seconds (CSC API 1.0.4 §11.6).
const LIFETIME: u64 = 3600;
/// The pause between two questions whether the owner has confirmed.
const POLL: Duration = Duration::from_secs(1);

/// Activation data (SAD): what a service gives for an authorisation and wants with a signature.
pub(super) struct Sad {
    pub(super) value: Arc<Zeroizing<String>>,
    pub(super) until: Instant,
}

/// What a program has logged in with, taken apart.
pub(super) struct Given {
    pin: Option<Zeroizing<String>>,
    otp: Option<Zeroizing<String>>,
}

impl fmt::Debug for Sad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sad(…)")
    }
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Given(…)")
    }
}

impl Given {
    /// Takes a login apart as this credential wants it: the PIN; or PIN,OTP, of which the OTP has no comma; or the OTP.
    ///
    /// # Errors
    /// [`TokenError::AuthenticationFailed`] for what is no text, and so is no secret of any service;
    /// [`TokenError::PinLength`] if a half of it is empty.
    pub(super) fn read(api: &Api<'_>, facts: &Facts, secret: &[u8]) -> Result<Self> {
        let wrong = |_| TokenError::AuthenticationFailed { tries: None };
        let text = std::str::from_utf8(secret).map_err(wrong)?;
        let own = |text: &str| Some(Zeroizing::new(text.to_owned()));
        let factors = facts.factors();
        let has_pin = factors
            .iter()
            .any(|factor| matches!(factor, Factor::Pin(_)));
        let has_otp = facts.wants_otp() && api.options.takes_otp_from_login();
        let (pin, otp) = match (has_pin, has_otp) {
            (true, true) => match text.rsplit_once(',') {
                Some((pin, otp)) => (own(pin), own(otp)),
                None => (own(text), None),
            },
            (false, true) => (None, own(text)),
            _ => (own(text), None),
        };
        let is_empty = |secret: &Option<Zeroizing<String>>| {
            secret.as_ref().is_some_and(|secret| secret.is_empty())
        };
        // It costs a try all the same.
        if is_empty(&pin) || is_empty(&otp) {
            return Err(TokenError::PinLength {
                min: MIN_PIN,
                max: MAX_PIN,
            });
        }
        Ok(Self { pin, otp })
    }

    /// Whether it is good for one authorisation only.
    pub(super) fn is_spent_by_use(&self) -> bool {
        self.otp.is_some()
    }
}

/// Authorises `signatures` signatures; where the service wants to know of what, `hashes` says it.
///
/// Never sent twice: a wrong PIN costs a try, and a one-time password is spent.
pub(super) fn authorize(
    api: &Api<'_>,
    facts: &Facts,
    given: Option<&Given>,
    hash: Option<&Plan>,
    signatures: u32,
) -> std::result::Result<Sad, Failure> {
    let mut body = Body::new()
        .text("credentialID", &facts.credential)
        .number("numSignatures", signatures.into());
    if let Some(plan) = hash {
        let digest = base64::encode(&plan.digest);
        body = match facts.version {
            Version::V0 | Version::V1 => body.texts("hash", &[&digest]),
            Version::V2 => body
                .texts("hashes", &[&digest])
                .text("hashAlgorithmOID", &plan.hash.oid().to_string()),
        };
    }
    let body = with_factors(api, facts, given, body)?;
    let begun = Instant::now();
    let answer = api.call("credentials/authorize", Repeat::Unsent, body, facts.version);
    let gives_secret = |factor: &Factor| !matches!(factor, Factor::OutOfBand(_));
    let answer = answer.map_err(|failure| match failure.refusal() {
        // It knows us: what it does not like is what the owner gave.
        Some(Refusal::Unauthorized) if facts.factors().iter().any(gives_secret) => {
            failure.being(Refusal::Secret)
        }
        // Whoever logged in has given it, and can give another.
        Some(Refusal::Otp) if given.is_some_and(|given| given.otp.is_some()) => {
            failure.being(Refusal::Secret)
        }
        _ => failure,
    })?;
    let answer = wait_for_owner(api, facts, answer)?;
    let object = api.object("credentials/authorize", &answer)?;
    let value = object.secret("SAD").filter(|value| !value.is_empty());
    let value = value.ok_or_else(|| api.nonsense("credentials/authorize", "no SAD"))?;
    let lifetime = object.number("expiresIn").unwrap_or(LIFETIME).min(86_400);
    // Somewhat less, so that it does not expire on its way.
    let lifetime = Duration::from_secs(lifetime - (lifetime / 10).min(10));
    Ok(Sad {
        value: Arc::new(value),
        until: begun.checked_add(lifetime).unwrap_or(begun),
    })
}

/// Has the service send a one-time password if one is wanted that was not given and comes from nowhere else.
///
/// # Errors
/// [`TokenError::Refused`] with what to do, in that case.
pub(super) fn check_password(api: &Api<'_>, facts: &Facts, given: &Given) -> Result<()> {
    let has_source = api.options.otp.is_some() || api.options.otp_seed.is_some();
    if has_source || given.otp.is_some() {
        return Ok(());
    }
    let lacking = facts.factors().iter().find_map(|factor| match factor {
        Factor::Otp(_) => Some(None),
        Factor::OnlineOtp(id) => Some(Some(id.as_deref())),
        Factor::Pin(_) | Factor::OutOfBand(_) => None,
    });
    match lacking {
        Some(online) => password(api, facts, Some(given), online).map(drop),
        None => Ok(()),
    }
}

/// Adds what the owner has to give.
fn with_factors(
    api: &Api<'_>,
    facts: &Facts,
    given: Option<&Given>,
    mut body: Body,
) -> Result<Body> {
    let mut objects = Vec::new();
    let object = |id: Option<&str>, otherwise| Body::new().text("id", id.unwrap_or(otherwise));
    for factor in facts.factors() {
        let (id, otherwise, value) = match factor {
            Factor::Pin(id) => {
                let pin = given.and_then(|given| given.pin.clone());
                (id, "PIN", pin.ok_or(TokenError::AuthenticationNeeded)?)
            }
            Factor::Otp(id) => (id, "OTP", password(api, facts, given, None)?),
            Factor::OnlineOtp(id) => (id, "OTP", password(api, facts, given, Some(id.as_deref()))?),
            Factor::OutOfBand(id) => {
                objects.push(object(Some(id), ""));
                continue;
            }
        };
        match facts.version {
            Version::V0 | Version::V1 => body = body.text(otherwise, &value),
            Version::V2 => objects.push(object(id.as_deref(), otherwise).text("value", &value)),
        }
    }
    Ok(match objects.is_empty() {
        true => body,
        false => body.objects("authData", objects),
    })
}

/// The next one-time password, from whoever has it: the login, the generator, or the configured source. For one that the
/// service sends (`online`, with the id of its object) it is asked to, unless it is not needed.
fn password(
    api: &Api<'_>,
    facts: &Facts,
    given: Option<&Given>,
    online: Option<Option<&str>>,
) -> Result<Zeroizing<String>> {
    if let Some(otp) = given.and_then(|given| given.otp.clone()) {
        return Ok(otp);
    }
    if let Some(otp) = api.passwords.next(api)? {
        return Ok(otp);
    }
    let Some(source) = &api.options.otp else {
        let login = match facts
            .factors()
            .iter()
            .any(|factor| matches!(factor, Factor::Pin(_)))
        {
            true => "PIN,OTP",
            false => "the one-time password",
        };
        let Some(id) = online else {
            return Err(TokenError::Refused(Reason::new(format!(
                "{:?} wants a one-time password: log in with {login}, or set `otp_seed` or `otp`",
                facts.credential
            ))));
        };
        let challenge = ask_for_password(api, facts, id)?;
        return Err(TokenError::Refused(Reason::new(format!(
            "the service has sent a one-time password{challenge}: log in again, with {login}"
        ))));
    };
    if let Some(id) = online {
        ask_for_password(api, facts, id)?;
    }
    identity::read(api, Some(source))
}

/// Has the service send a one-time password to the owner. What it says to that is for a person.
fn ask_for_password(api: &Api<'_>, facts: &Facts, id: Option<&str>) -> Result<String> {
    let body = Body::new().text("credentialID", &facts.credential);
    let (operation, body) = match (facts.version, id) {
        (Version::V2, Some(id)) => ("credentials/getChallenge", body.text("authObjectID", id)),
        _ => ("credentials/sendOTP", body),
    };
    let answer = api.call(operation, Repeat::Unsent, body, facts.version)?;
    let challenge = Object::read(&answer.body).and_then(|object| object.text("challenge"));
    Ok(match challenge.as_deref().map(shown) {
        Some(challenge) if !challenge.is_empty() => format!(" ({challenge})"),
        _ => String::new(),
    })
}

/// Version 2 answers with 202 and a handle while the owner has not confirmed yet.
fn wait_for_owner(
    api: &Api<'_>,
    facts: &Facts,
    mut answer: Response,
) -> std::result::Result<Response, Failure> {
    let left = api.deadline.left()?;
    let mut waited = Duration::ZERO;
    while answer.status == 202 {
        let object = api.object("credentials/authorize", &answer)?;
        let handle = object.secret("handle");
        let handle = handle.ok_or_else(|| api.nonsense("credentials/authorize", "no handle"))?;
        if waited + POLL >= left {
            log::warn!(
                "{} still waits for the owner of {:?} to confirm: confirm sooner, or raise total_timeout",
                api.place(),
                facts.credential
            );
            return Err(TokenError::TimedOut.into());
        }
        (api.clock.sleep)(POLL);
        waited += POLL;
        let body = Body::new().text("handle", &handle);
        answer = api.call(
            "credentials/authorizeCheck",
            Repeat::Always,
            body,
            facts.version,
        )?;
    }
    Ok(answer)
}
