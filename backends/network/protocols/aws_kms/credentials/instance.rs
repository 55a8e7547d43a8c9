//! Credentials of the role of an EC2 instance, from its metadata service in version 2 (EC2 User Guide, "Use IMDS").

use ctk_token::{Result, TokenError};
use zeroize::Zeroizing;

use crate::{
    Surroundings,
    http::{Deadline, Endpoint, Exchange, Method, Repeat, Request, Response, Verdict},
    json::Object,
};

use super::{
    super::{
        error::shown,
        outside::{Channel, Outside, Patience},
    },
    Credentials, read_answer, unusable, variable,
};

const SOURCE: &str = "the instance's metadata service";
/// A laptop has no such thing, and somebody is waiting.
const PATIENCE: Patience = Patience { each: 1, total: 1 };
const ROLES: &str = "/latest/meta-data/iam/security-credentials/";

/// Those of the instance's role, asked for at `configured` or where the environment says; or why there are none.
///
/// # Errors
/// [`TokenError::Unreachable`] for a service that is there and answers something else.
pub(super) fn credentials(
    surroundings: &Surroundings,
    configured: Option<&str>,
    outside: &dyn Outside,
    deadline: Deadline,
) -> Result<std::result::Result<Credentials, String>> {
    let is_true = |text: Zeroizing<String>| text.eq_ignore_ascii_case("true");
    if variable(surroundings, "AWS_EC2_METADATA_DISABLED").is_some_and(is_true) {
        return Ok(Err("the instance's metadata are switched off".to_owned()));
    }
    let endpoint = endpoint(surroundings, configured)?;
    let host = endpoint.authority();
    let channel = outside.local(endpoint, PATIENCE)?;
    let token = match token(&*channel, deadline) {
        Ok(token) => token,
        Err(TokenError::Unreachable(_) | TokenError::TimedOut) => {
            return Ok(Err(format!("no instance metadata answer at {host}")));
        }
        Err(error) => return Err(error),
    };
    let token = match (token.status, header_value(&token.body)) {
        (200, Some(token)) => token,
        (status, _) => {
            return Ok(Err(format!(
                "{SOURCE} ({host}) gave no token, but status {status}"
            )));
        }
    };
    let roles = get(&*channel, deadline, ROLES, &token)?;
    let role = match roles.status {
        200 => header_value(&roles.body),
        404 => None,
        status => {
            return Err(unusable(format!("{SOURCE} answered with status {status}")));
        }
    };
    // The first line: there is never more than one role.
    let Some(role) = role.filter(|role| role.bytes().all(|byte| byte != b' ' && byte != b'/'))
    else {
        return Ok(Err("the instance has no role".to_owned()));
    };
    let response = get(&*channel, deadline, &format!("{ROLES}{}", *role), &token)?;
    if response.status != 200 {
        return Err(unusable(format!(
            "{SOURCE} answered with status {}",
            response.status
        )));
    }
    let answer = Object::read(&response.body);
    let code = answer.as_ref().and_then(|answer| answer.text("Code"));
    if let (Some(answer), Some(code)) = (&answer, code.filter(|code| code != "Success")) {
        let message = answer.text("Message").unwrap_or_default();
        let shown = shown(&format!("{code}: {message}"));
        return Err(unusable(format!("{SOURCE} has no credentials: {shown}")));
    }
    read_answer(&response.body, "Token", SOURCE).map(Ok)
}

/// A session token, without which version 2 of the service answers nothing.
fn token(channel: &dyn Channel, deadline: Deadline) -> Result<Response> {
    let ttl = (
        "X-aws-ec2-metadata-token-ttl-seconds",
        Zeroizing::new("21600".to_owned()),
    );
    send(channel, deadline, Method::Put, "/latest/api/token", &ttl)
}

fn get(
    channel: &dyn Channel,
    deadline: Deadline,
    target: &str,
    token: &Zeroizing<String>,
) -> Result<Response> {
    let token = ("X-aws-ec2-metadata-token", token.clone());
    let response = send(channel, deadline, Method::Get, target, &token);
    response.map_err(|error| match error {
        TokenError::TimedOut => unusable(format!("{SOURCE} did not answer in time")),
        error => error,
    })
}

fn send(
    channel: &dyn Channel,
    deadline: Deadline,
    method: Method,
    target: &str,
    header: &(&'static str, Zeroizing<String>),
) -> Result<Response> {
    channel.send(&Exchange {
        name: "instance metadata",
        repeat: Repeat::Always,
        deadline,
        prepare: &|_| {
            Ok(Request {
                method,
                target: target.to_owned(),
                headers: vec![header.clone()],
                body: Zeroizing::default(),
            })
        },
        // What is wrong there does not pass within a second.
        judge: &|_| Verdict::Final,
    })
}

/// The first line of an answer, if a header field can carry it.
fn header_value(body: &[u8]) -> Option<Zeroizing<String>> {
    let text = std::str::from_utf8(body).ok()?;
    let line = text.lines().next()?.trim();
    let fits = !line.is_empty() && line.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    fits.then(|| Zeroizing::new(line.to_owned()))
}

fn endpoint(surroundings: &Surroundings, configured: Option<&str>) -> Result<Endpoint> {
    let named = variable(surroundings, "AWS_EC2_METADATA_SERVICE_ENDPOINT");
    let named = configured.or_else(|| named.as_ref().map(|url| url.as_str()));
    let url = match named {
        Some(url) => url,
        None => {
            let mode = variable(surroundings, "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE");
            match mode.is_some_and(|mode| mode.eq_ignore_ascii_case("ipv6")) {
                true => "http://[fd00:ec2::254]",
                false => "http://169.254.169.254",
            }
        }
    };
    Endpoint::parse_metadata(url)
        .map_err(|why| unusable(format!("the address of the instance's metadata: {why}")))
}
