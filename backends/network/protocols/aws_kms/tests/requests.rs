//! Refusals, clocks, and what `ctk doctor` is told.

use std::time::{Duration, SystemTime};

use ctk_crypto::hash;
use ctk_token::{Digest, KeyAlgorithm, Result, TokenError};
use serde_json::json;

use crate::{Service, Step, base64, http::Response};

use super::{
    super::time::stamp,
    world::{
        ARN, Asked, Held, World, answer, blob, configuration, failure, noon, reason, success, text,
        with_access_key,
    },
};

const ALGORITHM: KeyAlgorithm = KeyAlgorithm::RsaPkcs1Digest(Digest::Sha256);

/// Signs once in a world that answers so.
fn sign(world: &World) -> Result<Vec<u8>> {
    let record = Held::rsa().record();
    let service = world.service(&configuration(with_access_key([]), vec![record.clone()]));
    let input = hash(Digest::Sha256, b"message").unwrap();
    service.open_session().sign(&record, ALGORITHM, &input)
}

fn signature(asked: &Asked) -> Result<Response> {
    let signature = Held::rsa().sign(ALGORITHM, &blob(asked, "Message"));
    success(&json!({"Signature": base64::encode(&signature)}))
}

#[test]
fn requests_are_signed_posts_to_the_region() {
    let world = World::new(signature);
    sign(&world).unwrap();
    let asked = world.asked.lock();
    let [asked] = &asked[..] else {
        panic!("{asked:?}")
    };
    assert_eq!(asked.host, "kms.eu-central-1.amazonaws.com");
    assert_eq!(asked.line, "Post /");
    assert_eq!(asked.headers["content-type"], "application/x-amz-json-1.1");
    assert_eq!(asked.headers["x-amz-target"], "TrentService.Sign");
    assert_eq!(asked.headers["x-amz-date"], "20150830T123600Z");
    let authorization = &asked.headers["authorization"];
    let begin = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/eu-central-1/kms/aws4_request, \
                 SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature=";
    assert!(authorization.starts_with(begin), "{authorization}");
    assert!(!asked.headers.contains_key("x-amz-security-token"));
}

/// The table of refusals: what the service says, what comes of it, and what a person reads.
#[test]
fn refusals_have_their_errors() {
    let refused = |error: &TokenError| matches!(error, TokenError::Refused(_));
    let unreachable = |error: &TokenError| matches!(error, TokenError::Unreachable(_));
    let corrupted = |error: &TokenError| matches!(error, TokenError::Corrupted(_));
    type IsIt<'a> = &'a dyn Fn(&TokenError) -> bool;
    let table: [(u16, &str, IsIt<'_>, &str, usize); 16] = [
        (
            400,
            "AccessDeniedException",
            &refused,
            "allow kms:Sign in the key policy",
            1,
        ),
        (
            403,
            "AccessDenied",
            &refused,
            "access key …MPLE from the token's settings",
            1,
        ),
        (400, "DisabledException", &refused, "disabled: enable it", 1),
        (
            400,
            "KMSInvalidStateException",
            &refused,
            "cannot be used now: KMSInvalidStateException: words",
            1,
        ),
        (400, "InvalidKeyUsageException", &refused, "ctk refresh", 1),
        (
            400,
            "com.amazonaws.kms#LimitExceededException:http://x/",
            &refused,
            "quota",
            1,
        ),
        (
            400,
            "ValidationException",
            &refused,
            "ValidationException: words",
            1,
        ),
        (
            400,
            "UnrecognizedClientException",
            &refused,
            "renew or replace",
            1,
        ),
        (
            400,
            "ExpiredTokenException",
            &refused,
            "…MPLE from the token's settings",
            1,
        ),
        (403, "SignatureDoesNotMatch", &refused, "check the clock", 1),
        (400, "ThrottlingException", &refused, "too many requests", 3),
        (429, "", &refused, "too many requests", 3),
        (
            500,
            "KMSInternalException",
            &unreachable,
            "try again later",
            3,
        ),
        (503, "", &unreachable, "status 503", 3),
        (
            400,
            "DependencyTimeoutException",
            &unreachable,
            "try again later",
            3,
        ),
        (404, "", &corrupted, "check the endpoint", 1),
    ];
    for (status, name, is_it, words, attempts) in table {
        let world = World::new(move |_| match name {
            "" => answer(status, "<html>"),
            name => failure(status, name, "words"),
        });
        let error = sign(&world).unwrap_err();
        assert!(is_it(&error), "{status} {name}: {error:?}");
        let reason = reason(&error);
        assert!(reason.contains(words), "{status} {name}: {reason}");
        assert!(
            reason.starts_with(&format!("AWS KMS, Sign with {ARN}: ")),
            "{reason}"
        );
        assert!(reason.contains("id-1"), "{reason}");
        assert_eq!(world.asked.lock().len(), attempts, "{status} {name}");
    }
    let world = World::new(|_| failure(400, "NotFoundException", "words"));
    assert_eq!(sign(&world), Err(TokenError::ObjectNotFound));
    let world = World::new(|_| Err(TokenError::TimedOut));
    assert_eq!(sign(&world), Err(TokenError::TimedOut));
    let world = World::new(|_| answer(200, "{\"Signature\":5}"));
    assert!(matches!(sign(&world), Err(TokenError::Corrupted(_))));
    // Something else answers there.
    for page in ["<html>", "", "[]"] {
        let world = World::new(move |_| answer(200, page));
        let error = sign(&world).unwrap_err();
        assert!(corrupted(&error), "{error:?}");
        let reason = reason(&error);
        let host = "kms.eu-central-1.amazonaws.com answers Sign";
        assert!(
            reason.starts_with(host) && reason.contains("`endpoints`"),
            "{reason}"
        );
    }
}

#[test]
fn xml_is_understood_for_its_words() {
    let xml = "<?xml version=\"1.0\"?><ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>\
               <Message>User: arn is not authorized\u{1b}[31m</Message></Error></ErrorResponse>";
    let world = World::new(move |_| answer(403, xml));
    let error = sign(&world).unwrap_err();
    let reason = reason(&error);
    assert!(reason.contains("is not authorized [31m"), "{reason}");
    assert!(!reason.contains('\u{1b}'), "{reason}");
    for wrong in [
        "<Code>",
        "<Code></Code>",
        "</Code><Code>",
        "<Code>\0</Code><Message>",
    ] {
        let world = World::new(move |_| answer(403, wrong));
        assert!(
            matches!(sign(&world), Err(TokenError::Refused(_))),
            "{wrong}"
        );
    }
}

#[test]
fn a_service_is_quoted_briefly() {
    let words = "ä".repeat(5000);
    let world = World::new(move |_| failure(400, "ValidationException", &words));
    let error = sign(&world).unwrap_err();
    assert!(reason(&error).chars().count() < 500);
}

/// The service's explanation of a mismatch has all that was signed in it.
#[test]
fn what_a_mismatch_is_explained_with_is_not_shown() {
    let world = World::new(|_| {
        let words = "The Canonical String for this request should have been 'x-amz-security-token:TOPSECRET'";
        failure(400, "InvalidSignatureException", words)
    });
    let error = sign(&world).unwrap_err();
    assert!(!format!("{error:?}").contains("TOPSECRET"), "{error:?}");
}

/// A service whose clock is so many seconds ahead, and which refuses what is five minutes off.
fn with_clock(ahead: i64, has_date: bool) -> World {
    World::new(move |asked| {
        let theirs = match ahead < 0 {
            true => noon() - Duration::from_secs(ahead.unsigned_abs()),
            false => noon() + Duration::from_secs(ahead.unsigned_abs()),
        };
        if asked.headers.get("x-amz-date") == Some(&stamp(theirs)) {
            return signature(asked);
        }
        let words = format!(
            "Signature expired: x is now earlier than y ({} - 5 min.)",
            stamp(theirs)
        );
        let mut response = failure(400, "InvalidSignatureException", &words)?;
        response.date = has_date.then_some(theirs);
        Ok(response)
    })
}

#[test]
fn a_wrong_clock_is_corrected_once_for_all() {
    for (ahead, has_date) in [(3600, true), (-86_400, true), (1800, false)] {
        let world = with_clock(ahead, has_date);
        let record = Held::rsa().record();
        let service = world.service(&configuration(with_access_key([]), vec![record.clone()]));
        let session = service.open_session();
        let input = hash(Digest::Sha256, b"message").unwrap();
        session.sign(&record, ALGORITHM, &input).unwrap();
        assert_eq!(world.asked.lock().len(), 2);
        session.sign(&record, ALGORITHM, &input).unwrap();
        assert_eq!(world.asked.lock().len(), 3);
        // Somebody sets the clock: the difference is another one.
        let set: SystemTime = match ahead < 0 {
            true => noon() - Duration::from_secs(ahead.unsigned_abs()),
            false => noon() + Duration::from_secs(ahead.unsigned_abs()),
        };
        *world.now.lock() = set;
        session.sign(&record, ALGORITHM, &input).unwrap();
        assert_eq!(world.asked.lock().len(), 5);
    }
}

#[test]
fn a_right_clock_is_not_corrected() {
    let world = World::new(|_| failure(400, "InvalidSignatureException", "does not match"));
    assert!(matches!(sign(&world), Err(TokenError::Refused(_))));
    assert_eq!(world.asked.lock().len(), 1);
}

#[test]
fn an_endpoint_with_a_path_is_refused() {
    let world = World::new(signature);
    let record = Held::rsa().record();
    let elsewhere = crate::Value::Texts(vec!["https://kms.example/path".to_owned()]);
    let settings = with_access_key([("endpoints", elsewhere)]);
    let service = world.service(&configuration(settings, vec![record.clone()]));
    let error = service
        .open_session()
        .sign(&record, ALGORITHM, &[7; 32])
        .unwrap_err();
    assert!(reason(&error).contains("no path"), "{error}");
}

fn check(world: &World, keys: bool) -> Vec<(Step, std::result::Result<String, String>)> {
    let keys = if keys {
        vec![Held::rsa().record()]
    } else {
        vec![]
    };
    let service = world.service(&configuration(with_access_key([]), keys));
    let mut findings = Vec::new();
    service.check(&mut |finding| {
        let result = finding.result.map_err(|reason| reason.to_string());
        findings.push((finding.step, result));
    });
    findings
}

#[test]
fn the_doctor_is_told_step_by_step() {
    let unsigned = |asked: &Asked| !asked.headers.contains_key("authorization");
    let world = World::new(move |asked| match asked.operation() {
        "ListKeys" if unsigned(asked) => failure(400, "MissingAuthenticationTokenException", ""),
        "Sign" => {
            assert_eq!(asked.json()["DryRun"], true);
            assert_eq!(blob(asked, "Message").len(), 32);
            failure(400, "DryRunOperationException", "")
        }
        other => panic!("{other}"),
    });
    let findings = check(&world, true);
    let steps: Vec<_> = findings.iter().map(|(step, _)| *step).collect();
    let expected = [
        Step::Settings,
        Step::Tls,
        Step::Clock,
        Step::Credentials,
        Step::Permission,
    ];
    assert_eq!(steps, expected);
    assert!(
        findings.iter().all(|(_, result)| result.is_ok()),
        "{findings:?}"
    );
    let credentials = findings[3].1.as_ref().unwrap();
    assert!(
        credentials.contains("…MPLE") && credentials.contains("accepted"),
        "{credentials}"
    );

    let world = World::new(move |asked| match unsigned(asked) {
        true => failure(400, "MissingAuthenticationTokenException", ""),
        false => failure(400, "UnrecognizedClientException", ""),
    });
    let findings = check(&world, false);
    let (step, result) = findings.last().unwrap();
    assert_eq!(*step, Step::Credentials);
    assert!(
        result.as_ref().unwrap_err().contains("not accepted"),
        "{result:?}"
    );

    let world = World::new(move |asked| match unsigned(asked) {
        true => failure(400, "MissingAuthenticationTokenException", ""),
        false => failure(400, "AccessDeniedException", ""),
    });
    let findings = check(&world, false);
    let (step, result) = findings.last().unwrap();
    assert_eq!(*step, Step::Permission);
    assert!(
        result.as_ref().unwrap_err().contains("kms:ListKeys"),
        "{result:?}"
    );

    let world = World::new(|_| {
        let mut response = failure(400, "MissingAuthenticationTokenException", "")?;
        response.date = Some(noon() + Duration::from_secs(301));
        Ok(response)
    });
    let findings = check(&world, false);
    let (step, result) = findings.last().unwrap();
    assert_eq!(*step, Step::Clock);
    assert!(
        result.as_ref().unwrap_err().contains("301 seconds behind"),
        "{result:?}"
    );
}

/// As a token of configured ARNs has it.
#[test]
fn the_doctor_takes_the_region_of_the_keys() {
    let world = World::new(move |asked| match asked.operation() {
        "ListKeys" => failure(400, "MissingAuthenticationTokenException", ""),
        _ => failure(400, "DryRunOperationException", ""),
    });
    let mut settings = with_access_key([]);
    settings.0.remove("region");
    let service = world.service(&configuration(settings, vec![Held::rsa().record()]));
    let mut findings = Vec::new();
    service.check(&mut |finding| findings.push(finding));
    assert_eq!(findings.len(), 5, "{findings:?}");
    assert!(
        findings.iter().all(|finding| finding.result.is_ok()),
        "{findings:?}"
    );
    let host = "kms.eu-central-1.amazonaws.com";
    assert!(world.asked.lock().iter().all(|asked| asked.host == host));
}

#[test]
fn the_doctor_tells_of_settings_that_are_wrong() {
    let world = World::new(|_| panic!("nothing is asked"));
    let settings = with_access_key([("region", text("Frankfurt!"))]);
    let mut findings = Vec::new();
    let service = world.service(&configuration(settings, vec![]));
    service.check(&mut |finding| findings.push(finding));
    let [finding] = &findings[..] else {
        panic!("{findings:?}")
    };
    assert_eq!(finding.step, Step::Settings);
    assert!(
        finding
            .result
            .as_ref()
            .unwrap_err()
            .as_str()
            .contains("eu-central-1")
    );
}
