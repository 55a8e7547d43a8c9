//! What a doctor looks at after the connection: the clock, who we are, and what we may.

use std::time::{Duration, SystemTime};

use ctk_token::{Reason, Result, TokenError};

use crate::{Finding, Step};

use super::{
    api::{Api, Remote},
    credentials,
};

/// How far two clocks may be apart: as long as a one-time password counts.
const SKEW: Duration = Duration::from_secs(30);

/// As [`Service::check`](crate::Service::check). Clocks that differ stop it only if something depends on them.
pub(super) fn check(remote: Result<&Remote>, findings: &mut dyn FnMut(Finding)) {
    let mut tell = |step, result: Result<String>| {
        let is_well = result.is_ok();
        let result = result.map_err(|error| match error {
            TokenError::Unreachable(reason)
            | TokenError::Refused(reason)
            | TokenError::Corrupted(reason) => reason,
            error => Reason::new(error.to_string()),
        });
        findings(Finding { step, result });
        is_well
    };
    let remote = match remote {
        Ok(remote) => remote,
        Err(error) => {
            tell(Step::Settings, Err(error));
            return;
        }
    };
    let is_reached = remote.wire().check(&mut |finding| {
        tell(
            finding.step,
            finding.result.map_err(TokenError::Unreachable),
        );
    });
    if !is_reached {
        return;
    }
    let api = &remote.begin();
    let (info, answer) = match api.ask_info() {
        Ok(told) => told,
        Err(error) => {
            tell(Step::Connection, Err(error));
            return;
        }
    };
    let date = answer.and_then(|answer| answer.date);
    if !tell(Step::Clock, clock(api, date)) && api.options.otp_seed.is_some() {
        return;
    }
    let who = api.token_url(&info);
    let who = who.and_then(|_| api.authenticate(info.version));
    let who = who.map(|()| {
        let name = match &*info.name {
            "" => api.place(),
            name => name.to_owned(),
        };
        format!("{name}, version {} of the API", info.version.number())
    });
    if !tell(Step::Credentials, who) {
        return;
    }
    tell(Step::Permission, permission(remote));
}

fn clock(api: &Api<'_>, date: Option<SystemTime>) -> Result<String> {
    let Some(date) = date else {
        return Ok("the service does not tell its time".to_owned());
    };
    let now = (api.clock.now)();
    let (apart, which) = match now.duration_since(date) {
        Ok(apart) => (apart, "ahead of"),
        Err(error) => (error.duration(), "behind"),
    };
    let text = format!(
        "this machine's clock is {} s {which} the service's",
        apart.as_secs()
    );
    match apart > SKEW {
        true => Err(TokenError::Refused(Reason::new(format!(
            "{text}: one-time passwords and access tokens can fail, set the clock"
        )))),
        false => Ok(text),
    }
}

/// Asks for everything, as a refresh would.
fn permission(remote: &Remote) -> Result<String> {
    let inventory = credentials::inventory(remote, None, &mut |_| {})?;
    let keys = match inventory.keys.len() {
        1 => "1 key can be used".to_owned(),
        count => format!("{count} keys can be used"),
    };
    let lines = std::iter::once(keys).chain(inventory.left_out);
    Ok(lines.collect::<Vec<_>>().join("\n"))
}
