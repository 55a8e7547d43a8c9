//! Credentials from the endpoint that ECS and EKS give a container (AWS SDKs and Tools Reference, "Container credential
//! provider").

use std::path::Path;

use ctk_token::{Result, TokenError};
use zeroize::Zeroizing;

use crate::{
    Surroundings,
    http::{Deadline, Endpoint, Exchange, Method, Repeat, Request, judge_by_status},
};

use super::{
    super::outside::{Outside, Patience},
    Credentials,
    profiles::text_of,
    read_answer, unusable, variable,
};

const SOURCE: &str = "the container's endpoint";
/// It is there if it is named, and may have to wake up: as long as AWS' programs wait in their three tries of two seconds,
/// but for one answer, because what was silent for that long is not asked again.
const PATIENCE: Patience = Patience { each: 6, total: 6 };
/// Of ECS, for what `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI` is relative to.
const RELATIVE: &str = "http://169.254.170.2";

/// What the endpoint answers that `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI` or `AWS_CONTAINER_CREDENTIALS_FULL_URI` names.
///
/// # Errors
/// [`TokenError::Unreachable`] if one is set and gives nothing.
pub(super) fn credentials(
    surroundings: &Surroundings,
    outside: &dyn Outside,
    deadline: Deadline,
) -> Result<Option<Credentials>> {
    let relative = variable(surroundings, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    let full = variable(surroundings, "AWS_CONTAINER_CREDENTIALS_FULL_URI");
    let (endpoint, target) = match (relative, full) {
        (Some(target), _) => parse(&format!("{RELATIVE}{}", *target))?,
        (None, Some(uri)) => parse(&uri)?,
        (None, None) => return Ok(None),
    };
    if !target.starts_with('/') || !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(unusable(
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or …_FULL_URI has no path that can be asked for",
        ));
    }
    let authorization = authorization(surroundings)?;
    let response = outside.local(endpoint, PATIENCE)?.send(&Exchange {
        name: "container credentials",
        repeat: Repeat::Always,
        deadline,
        prepare: &|_| {
            let mut headers = vec![("Accept", Zeroizing::new("application/json".to_owned()))];
            if let Some(token) = &authorization {
                headers.push(("Authorization", token.clone()));
            }
            Ok(Request {
                method: Method::Get,
                target: target.clone(),
                headers,
                body: Zeroizing::default(),
            })
        },
        judge: &judge_by_status,
    });
    let response = response.map_err(|error| match error {
        TokenError::TimedOut => unusable(format!("{SOURCE} did not answer in time")),
        error => error,
    })?;
    if response.status != 200 {
        return Err(unusable(format!(
            "{SOURCE} answered with status {}",
            response.status
        )));
    }
    read_answer(&response.body, "Token", SOURCE).map(Some)
}

/// The token that the endpoint wants, read anew each time because it is changed under us.
fn authorization(surroundings: &Surroundings) -> Result<Option<Zeroizing<String>>> {
    let token = match variable(surroundings, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
        Some(path) => {
            let text = text_of(Path::new(path.as_str())).map_err(|error| {
                unusable(format!(
                    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE ({}) cannot be read: {error}",
                    *path
                ))
            })?;
            Some(Zeroizing::new(text.trim_end().to_owned()))
        }
        None => variable(surroundings, "AWS_CONTAINER_AUTHORIZATION_TOKEN"),
    };
    match token {
        Some(token) if token.bytes().all(|byte| (0x20..0x7f).contains(&byte)) => Ok(Some(token)),
        Some(_) => Err(unusable(
            "the container's authorization token has characters that no header field can carry",
        )),
        None => Ok(None),
    }
}

/// An endpoint, and a path with query there.
fn parse(uri: &str) -> Result<(Endpoint, String)> {
    let (scheme, rest) = uri
        .split_once("://")
        .ok_or_else(|| unusable("AWS_CONTAINER_CREDENTIALS_FULL_URI is not a URI"))?;
    let path = rest.find('/').unwrap_or(rest.len());
    let (authority, target) = rest.split_at_checked(path).unwrap_or((rest, "/"));
    let target = if target.is_empty() { "/" } else { target };
    let endpoint = Endpoint::parse_metadata(&format!("{scheme}://{authority}"))
        .map_err(|why| unusable(format!("AWS_CONTAINER_CREDENTIALS_FULL_URI: {why}")))?;
    Ok((endpoint, target.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Write},
        net::TcpListener,
        sync::{Arc, OnceLock},
        time::Duration,
    };

    use super::*;
    use crate::{Settings, protocols::aws_kms::outside::Network};

    #[test]
    fn an_agent_that_wakes_up_is_waited_for() {
        static URI: OnceLock<String> = OnceLock::new();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        URI.set(format!("http://{address}/v1/credentials")).unwrap();
        let agent = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let heard = BufReader::new(&stream).lines().map(|line| line.unwrap());
            let heard: Vec<_> = heard.take_while(|line| !line.is_empty()).collect();
            std::thread::sleep(Duration::from_millis(2500));
            let body = r#"{"AccessKeyId":"AKIDAGENT","SecretAccessKey":"s","Token":"t"}"#;
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            // Who is tired of waiting is gone by now.
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
            heard.first().cloned()
        });
        let surroundings = Surroundings {
            home: None,
            variable: |name| match name {
                "AWS_CONTAINER_CREDENTIALS_FULL_URI" => URI.get().map(Into::into),
                _ => None,
            },
            run: Arc::new(|_, _| Err(TokenError::NotSupported)),
        };
        let network = Network::new(&Settings::default(), &surroundings);
        let deadline = Deadline::after(Duration::from_secs(60));
        let found = credentials(&surroundings, &network, deadline);
        assert_eq!(found.unwrap().unwrap().access_key_id(), "AKIDAGENT");
        let heard = agent.join().unwrap().unwrap();
        assert_eq!(heard, "GET /v1/credentials HTTP/1.1");
    }
}
