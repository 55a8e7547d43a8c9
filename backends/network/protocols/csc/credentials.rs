//! What a service has: `credentials/list` and `credentials/info`, and what becomes of them here.

use std::collections::{HashMap, HashSet};

use ctk_token::{PublicKey, Reason, Result, TokenError};

use crate::{
    Inventory, MAX_CHAIN, MAX_KEYS, Records,
    http::{Deadline, Repeat, Response},
    json::{Body, Object},
};

use super::{
    algorithm,
    api::{Api, Remote},
    error::{Failure, Refusal, shown},
    expression,
    facts::{Authorization, Factor, Facts, Version},
    sign::bytes,
};

/// The most pages of a list.
const MAX_PAGES: usize = 100;
/// The longest name of a credential, in bytes; also of an authentication object.
const MAX_NAME: usize = 1000;
/// The most algorithms of a key that are looked at.
const MAX_ALGORITHMS: usize = 100;

/// What `credentials/info` says of a credential.
#[derive(Debug)]
struct Credential {
    is_enabled: bool,
    algorithms: Vec<String>,
    /// DER, as base64; the key's own first.
    certificates: Vec<String>,
    /// `cert.status`, in lower case; empty if nobody says.
    status: String,
    is_hash_bound: bool,
    multisign: u32,
    /// Or why it cannot be authorised.
    authorization: std::result::Result<Authorization, String>,
}

/// Asks for everything, and makes an inventory of it.
///
/// # Errors
/// As [`Service::list`](crate::Service::list).
pub(super) fn inventory(
    remote: &Remote,
    deadline: Option<Deadline>,
    progress: &mut dyn FnMut(&str),
) -> Result<Inventory> {
    // Each request has a time of its own, unless all have one.
    let begin = || deadline.map_or_else(|| remote.begin(), |deadline| remote.within(deadline));
    progress("asking the service for its version");
    let api = &begin();
    let info = api.info()?;
    let token_url = api.token_url(&info)?;
    if let Some(url) = &token_url {
        progress(&format!("access tokens come from {}", shown(url)));
    }
    let mut known = HashMap::new();
    progress("asking for the credentials");
    let names = names(&begin, info.version, &mut known)?;
    let mut records = Records::new();
    if names.len() > MAX_KEYS {
        records.left_out(format!(
            "{} credentials are left out: a token has at most {MAX_KEYS} keys",
            names.len() - MAX_KEYS
        ));
    }
    let count = names.len().min(MAX_KEYS);
    for (number, name) in (1..).zip(names.into_iter().take(MAX_KEYS)) {
        let credential = match known.remove(&name) {
            Some(credential) => credential,
            None => {
                progress(&format!("asking for credential {number} of {count}"));
                match ask(&begin(), info.version, &name) {
                    Ok(credential) => credential,
                    Err(Failure::Refused(problem)) if is_of_one(problem.refusal) => {
                        records.left_out(problem.reason);
                        continue;
                    }
                    Err(failure) => return Err(failure.into()),
                }
            }
        };
        let facts = |credential: &Credential, authorization| Facts {
            credential: name.clone(),
            version: info.version,
            algorithms: credential.algorithms.clone(),
            authorization,
            is_hash_bound: credential.is_hash_bound,
            multisign: credential.multisign,
            token_url: token_url.clone(),
        };
        add(api, &mut records, &name, &credential, facts);
    }
    records.finish()
}

/// Whether a refusal speaks of one credential, so that the others can be asked for.
fn is_of_one(refusal: Refusal) -> bool {
    !matches!(
        refusal,
        Refusal::Token | Refusal::Unauthorized | Refusal::Unavailable | Refusal::NotOffered
    )
}

/// The credentials' names, and what is said of them in the same breath.
fn names<'a>(
    begin: &dyn Fn() -> Api<'a>,
    version: Version,
    known: &mut HashMap<String, Credential>,
) -> Result<Vec<String>> {
    let api = &begin();
    if !api.options.credentials.is_empty() {
        let mut seen = HashSet::new();
        let names = api.options.credentials.iter();
        return Ok(names.filter(|name| seen.insert(*name)).cloned().collect());
    }
    let (mut names, mut seen) = (Vec::new(), HashSet::new());
    let (mut page, mut pages) = (None, HashSet::new());
    loop {
        let answer = list(&begin(), version, page.as_deref())?;
        let object = api.object("credentials/list", &answer)?;
        let listed = object.texts("credentialIDs").into_iter();
        let is_name = |name: &String| !name.is_empty() && name.len() <= MAX_NAME;
        names.extend(
            listed
                .filter(is_name)
                .filter(|name| seen.insert(name.clone())),
        );
        for info in object.objects("credentialInfos") {
            if let Some(name) = info.text("credentialID").filter(|name| seen.contains(name)) {
                known.insert(name, Credential::read(&info, version));
            }
        }
        page = object
            .text("nextPageToken")
            .filter(|token| !token.is_empty());
        let Some(next) = &page else {
            return Ok(names);
        };
        // A service that never ends is stopped, and one that goes round in circles.
        if pages.len() >= MAX_PAGES || names.len() > MAX_KEYS || !pages.insert(next.clone()) {
            log::warn!(
                "{} has more pages of credentials than are read",
                api.place()
            );
            return Ok(names);
        }
    }
}

fn list(api: &Api<'_>, version: Version, page: Option<&str>) -> Result<Response> {
    let body = Body::new()
        .optional("userID", api.options.user_id.as_deref())
        .optional("clientData", api.options.client_data.as_deref())
        .optional("pageToken", page);
    let body = match version {
        Version::V0 | Version::V1 => body,
        // All at once, where a service can do that.
        Version::V2 => body
            .flag("credentialInfo", true)
            .text("certificates", "chain")
            .flag("certInfo", true)
            .flag("authInfo", true),
    };
    let answer = api.call("credentials/list", Repeat::Always, body, version);
    answer.map_err(|failure| match failure {
        // Of a list this is no statement about a key.
        Failure::Refused(problem) if problem.refusal == Refusal::NotFound => {
            TokenError::Unreachable(Reason::new(format!(
                "{}: check that `endpoints` has the path of its CSC API",
                problem.reason
            )))
        }
        failure => failure.into(),
    })
}

fn ask(api: &Api<'_>, version: Version, name: &str) -> std::result::Result<Credential, Failure> {
    // `certInfo` would repeat what is in the certificates, and not every service can do that.
    let body = Body::new()
        .text("credentialID", name)
        .text("certificates", "chain")
        .flag("authInfo", true);
    let answer = api.call("credentials/info", Repeat::Always, body, version)?;
    let object = api.object("credentials/info", &answer)?;
    Ok(Credential::read(&object, version))
}

/// Adds a credential to the inventory, or why it is left out. Its certificates are there all the same, unless it is switched
/// off: then a token has nothing of it.
fn add(
    api: &Api<'_>,
    records: &mut Records,
    name: &str,
    credential: &Credential,
    facts: impl FnOnce(&Credential, Authorization) -> Facts,
) {
    let chain: Vec<Vec<u8>> = credential
        .certificates
        .iter()
        .take(MAX_CHAIN + 1)
        .filter_map(|text| certificate(text))
        .collect();
    match usable(api, credential, chain.first().map(Vec::as_slice)) {
        Ok((key, authorization)) => {
            let facts = facts(credential, authorization).write();
            records.key("", key.spki(), &chain, facts);
        }
        Err(why) => {
            if credential.is_enabled {
                records.certificates(chain.iter().take(MAX_CHAIN).map(Vec::as_slice));
            }
            records.left_out(format!("credential {:?} is left out: {why}", shown(name)));
        }
    }
}

/// The key and what authorises it, or why it cannot be used.
fn usable(
    api: &Api<'_>,
    credential: &Credential,
    certificate: Option<&[u8]>,
) -> std::result::Result<(PublicKey, Authorization), String> {
    if !credential.is_enabled {
        return Err("the service says that its key is disabled".to_owned());
    }
    if matches!(&*credential.status, "expired" | "revoked" | "suspended") {
        return Err(format!(
            "the service says that its certificate is {}",
            credential.status
        ));
    }
    let certificate =
        certificate.ok_or("it has no certificate, so that its public key is unknown")?;
    let key = PublicKey::from_certificate(certificate).map_err(|error| error.to_string())?;
    if !algorithm::signs(&credential.algorithms, &key) {
        return Err(format!(
            "a key of type {} with the algorithms {} cannot be used here",
            key.key_type(),
            shown(&credential.algorithms.join(", "))
        ));
    }
    let authorization = credential.authorization.clone()?;
    if authorization == Authorization::OAuth2Code && api.options.authorization_token.is_none() {
        return Err("it is authorised by OAuth 2.0: set `authorization_token`".to_owned());
    }
    Ok((key, authorization))
}

/// Base64 of DER; some send PEM.
fn certificate(text: &str) -> Option<Vec<u8>> {
    let inner = text
        .split_once("-----BEGIN CERTIFICATE-----")
        .map_or(text, |(_, rest)| rest);
    let inner = inner
        .split_once("-----END")
        .map_or(inner, |(inner, _)| inner);
    bytes(inner)
}

impl Credential {
    fn read(object: &Object<'_>, version: Version) -> Self {
        let key = object.object("key");
        let certificate = object.object("cert");
        let text = |object: &Option<Object<'_>>, name| {
            let text = object.as_ref().and_then(|object| object.text(name));
            text.unwrap_or_default().trim().to_lowercase()
        };
        let algorithms = key
            .as_ref()
            .map(|key| key.texts("algo"))
            .unwrap_or_default();
        let algorithms = algorithms.iter().map(|oid| oid.trim().to_owned());
        let multisign = object.number("multisign").unwrap_or(1);
        Self {
            is_enabled: text(&key, "status") != "disabled",
            algorithms: algorithms
                .filter(|oid| !oid.is_empty() && oid.len() <= 100)
                .take(MAX_ALGORITHMS)
                .collect(),
            certificates: certificate
                .as_ref()
                .map(|certificate| certificate.texts("certificates"))
                .unwrap_or_default(),
            status: text(&certificate, "status"),
            is_hash_bound: object.number("SCAL") == Some(2),
            multisign: u32::try_from(multisign).unwrap_or(u32::MAX).max(1),
            authorization: match (version, object.object("auth")) {
                (Version::V2, Some(auth)) => authorization(&auth),
                _ => old_authorization(object),
            },
        }
    }
}

/// Versions 0 and 1: `authMode`, `PIN` and `OTP`. What is optional is not given: it is not needed.
fn old_authorization(object: &Object<'_>) -> std::result::Result<Authorization, String> {
    match object.text("authMode").unwrap_or_default().trim() {
        "oauth2code" => return Ok(Authorization::OAuth2Code),
        "explicit" => {}
        "implicit" | "" => return Ok(Authorization::Implicit),
        other => return Err(format!("its authMode is {:?}", shown(other))),
    }
    let is_wanted = |object: &Object<'_>| {
        let presence = object.text("presence").unwrap_or_default();
        object.flag("presence") == Some(true) || presence.eq_ignore_ascii_case("true")
    };
    let mut factors = Vec::new();
    if object.object("PIN").is_some_and(|pin| is_wanted(&pin)) {
        factors.push(Factor::Pin(None));
    }
    if let Some(otp) = object.object("OTP").filter(is_wanted) {
        let is_online = otp
            .text("type")
            .is_some_and(|kind| kind.eq_ignore_ascii_case("online"));
        factors.push(match is_online {
            true => Factor::OnlineOtp(None),
            false => Factor::Otp(None),
        });
    }
    Ok(without_factors(Authorization::Explicit(factors)))
}

/// Version 2: `auth.mode`, `auth.objects` and an expression over them.
fn authorization(auth: &Object<'_>) -> std::result::Result<Authorization, String> {
    match auth.text("mode").unwrap_or_default().trim() {
        "oauth2code" => return Ok(Authorization::OAuth2Code),
        "explicit" => {}
        "implicit" | "" => return Ok(Authorization::Implicit),
        other => return Err(format!("its auth.mode is {:?}", shown(other))),
    }
    let mut factors = Vec::new();
    for object in auth.objects("objects") {
        let id = object.text("id").unwrap_or_default();
        if id.is_empty() || id.len() > MAX_NAME {
            continue;
        }
        let kind = object.text("type").unwrap_or_default();
        let generator = object.text("generator").unwrap_or_default();
        let factor = match &*kind.to_lowercase() {
            "password" if generator.is_empty() => Factor::Pin(Some(id.clone())),
            "password" => Factor::Otp(Some(id.clone())),
            "challengeresponse" => Factor::OnlineOtp(Some(id.clone())),
            "passwordoob" | "challengeresponseoob" => Factor::OutOfBand(id.clone()),
            _ => return Err(format!("it wants a secret of type {:?}", shown(&kind))),
        };
        factors.push((id, factor));
    }
    let ids: Vec<&str> = factors.iter().map(|(id, _)| &**id).collect();
    let is_elsewhere = |index: usize| {
        let factor = factors.get(index).map(|(_, factor)| factor);
        matches!(factor, Some(Factor::OutOfBand(_)))
    };
    let text = auth.text("expression");
    let chosen = expression::smallest(text.as_deref(), &ids, is_elsewhere).ok_or_else(|| {
        let text = shown(text.as_deref().unwrap_or_default());
        format!("what it wants of its owner is not understood: {text:?}")
    })?;
    let chosen = chosen.into_iter().filter_map(|index| factors.get(index));
    let chosen: Vec<Factor> = chosen.map(|(_, factor)| factor.clone()).collect();
    // A login has one PIN and one OTP. One of them given for two objects is wrong for one, and would lock it.
    let is_pin = |factor: &&Factor| matches!(factor, Factor::Pin(_));
    let is_otp = |factor: &&Factor| matches!(factor, Factor::Otp(_) | Factor::OnlineOtp(_));
    if chosen.iter().filter(is_pin).count() > 1 || chosen.iter().filter(is_otp).count() > 1 {
        return Err(
            "it wants two passwords, or two one-time passwords, and a program logs in with one of each: \
            have the service ask for one"
                .to_owned(),
        );
    }
    Ok(without_factors(Authorization::Explicit(chosen)))
}

/// Who has nothing to give authorises nothing.
fn without_factors(authorization: Authorization) -> Authorization {
    match authorization {
        Authorization::Explicit(factors) if factors.is_empty() => Authorization::Implicit,
        other => other,
    }
}
