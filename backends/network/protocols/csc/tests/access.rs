//! How the service knows us: tokens got once, renewed once, and what is said when that does not help.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ctk_token::{KeyAlgorithm, Role, TokenError};
use serde_json::json;

use crate::{Finding, Service, Step, Value, http::Deadline};

use super::{
    fake::{Call, Fake, P256, PIN, SEED, credential},
    world::{self, World, secret, settings, text},
};

fn service(version: u32, bearer: &'static str) -> Fake {
    let mut fake = Fake::new(version, vec![credential(P256, &["implicit"])]);
    fake.bearer = Some(bearer);
    fake
}

fn sign(world: &World) -> Result<(), TokenError> {
    let key = &world.inventory.keys[0];
    let signed = world
        .session()
        .sign(key, KeyAlgorithm::EcdsaDigest, &[7; 32]);
    signed.map(drop)
}

fn client() -> Vec<(&'static str, Value)> {
    vec![
        ("authentication", text("oauth2-client")),
        ("client_id", text("me&you")),
        ("client_secret", secret("s=c")),
    ]
}

#[test]
fn a_client_of_oauth2_gets_a_token_once() {
    let world = World::new(service(1, "Bearer tokenT"), &client());
    assert_eq!(
        world.inventory.keys[0].facts.text("token_url"),
        Some("https://signing.example/x/oauth2/token")
    );
    sign(&world).unwrap();
    let calls = world.fake.calls();
    // In a process that knows nothing but what is stored, `info` is not asked for.
    let names: Vec<_> = calls.iter().map(|call| &*call.operation).collect();
    assert_eq!(
        names,
        ["token", "credentials/authorize", "signatures/signHash"]
    );
    assert_eq!(
        calls[0].raw,
        "grant_type=client_credentials&client_id=me%26you&client_secret=s%3Dc&scope=service"
    );
    sign(&world).unwrap();
    assert_eq!(
        world.fake.operations(),
        ["credentials/authorize", "signatures/signHash"]
    );
}

#[test]
fn whatever_an_operation_asks_for_has_one_deadline() {
    let mut more = client();
    more.push(("total_timeout", Value::Number(77)));
    let world = World::new(service(1, "Bearer tokenT"), &more);
    let before = Instant::now();
    sign(&world).unwrap();
    let deadlines: Vec<_> = (world.fake.calls().iter())
        .map(|call| call.deadline)
        .collect();
    assert_eq!(deadlines.len(), 3);
    assert!(deadlines.iter().all(|deadline| *deadline == deadlines[0]));
    let total = Duration::from_secs(77);
    assert!(deadlines[0] >= before + total && deadlines[0] <= Instant::now() + total);
    // The next operation has the next.
    sign(&world).unwrap();
    assert!(
        world
            .fake
            .calls()
            .iter()
            .all(|call| call.deadline > deadlines[0])
    );
    // A list may be long: each of its requests has the time, if nobody waits for all of them.
    world.service.list(None, &mut |_| {}).unwrap();
    let calls = world.fake.calls();
    assert!(calls.len() > 2 && calls[0].deadline < calls[calls.len() - 1].deadline);
    let soon = Deadline::after(total);
    world.service.list(Some(soon), &mut |_| {}).unwrap();
    let calls = world.fake.calls();
    assert!(calls.iter().all(|call| call.deadline == soon.instant()));
}

#[test]
fn a_token_that_has_expired_is_renewed_once() {
    let world = World::new(service(1, "Bearer tokenT"), &client());
    sign(&world).unwrap();
    world.fake.calls();
    // The service gives another token to somebody, and takes no other from then on.
    let key = &world.inventory.keys[0];
    let other = world::client(&world.fake, &settings(&client()));
    other.list(None, &mut |_| {}).unwrap();
    world.fake.calls();
    let signed = world
        .session()
        .sign(key, KeyAlgorithm::EcdsaDigest, &[7; 32]);
    signed.unwrap();
    let names = world.fake.operations();
    assert_eq!(
        names[..3],
        ["credentials/authorize", "token", "credentials/authorize"]
    );
    assert_eq!(names.len(), 4);
    world.fake.answer("credentials/authorize", 401, "{}");
    let Err(TokenError::Refused(why)) = sign(&world) else {
        panic!("401 is a refusal")
    };
    assert!(why.as_str().contains("authentication"), "{why}");
    assert_eq!(world.fake.operations().len(), 3);
}

#[test]
fn a_password_gets_a_token_in_the_old_dialect_by_json() {
    let more = [
        ("authentication", text("oauth2-password")),
        ("client_id", text("id")),
        ("user", text("alice")),
        ("password", secret("p\"w")),
        ("token_url", text("https://login.example/oauth2/token")),
    ];
    let world = World::new(service(0, "Bearer tokenT"), &more);
    sign(&world).unwrap();
    let expected = json!({
        "grant_type": "password", "client_id": "id", "username": "alice", "password": "p\"w",
    });
    assert_eq!(world.fake.calls()[0].body, expected);
}

#[test]
fn secrets_go_to_another_host_only_if_a_person_has_said_so() {
    let elsewhere = |call: &Call| {
        let told = json!({"specs": "1.0.4.0", "oauth2": "https://login.example/x"});
        (call.operation == "info").then(|| (200, told.to_string()))
    };
    let fake = Arc::new(service(1, "Bearer tokenT"));
    fake.answer_by(elsewhere);
    let listed = world::client(&fake, &settings(&client())).list(None, &mut |_| {});
    let Err(TokenError::Refused(why)) = listed else {
        panic!("{listed:?}")
    };
    let why = why.as_str();
    assert!(
        why.contains("https://login.example/x/oauth2/token"),
        "{why}"
    );
    assert!(why.contains("set `token_url`"), "{why}");
    assert_eq!(fake.operations(), ["info"]);
    let mut told = Vec::new();
    world::client(&fake, &settings(&client())).check(&mut |finding| told.push(finding));
    assert_eq!(
        told.last().map(|finding| finding.step),
        Some(Step::Credentials)
    );
    assert_eq!(fake.operations(), ["info"]);
    let mut more = client();
    more.push(("token_url", text("https://login.example/x/oauth2/token")));
    let listed = world::client(&fake, &settings(&more)).list(None, &mut |_| {});
    assert_eq!(listed.unwrap().keys.len(), 1);
}

#[test]
fn a_client_that_is_refused_in_the_body_names_itself_in_the_header() {
    let world = World::new(service(1, "Bearer tokenT"), &client());
    world.fake.answer_by(|call| {
        let is_refused = call.operation == "token" && call.authorization.is_none();
        is_refused.then(|| (401, json!({"error": "invalid_client"}).to_string()))
    });
    sign(&world).unwrap();
    let calls = world.fake.calls();
    assert_eq!(
        calls[1].authorization.as_deref(),
        // me%26you:s%3Dc
        Some("Basic bWUlMjZ5b3U6cyUzRGM=")
    );
    assert!(!calls[1].raw.contains("client_secret"));
    world
        .fake
        .answer("token", 400, r#"{"error":"invalid_request"}"#);
    let fresh = world::client(&world.fake, &settings(&client()));
    let Err(TokenError::Refused(why)) = fresh.list(None, &mut |_| {}) else {
        panic!("without a token")
    };
    assert!(why.as_str().contains("client_secret"), "{why}");
}

#[test]
fn user_and_password_log_in_or_go_with_each_request() {
    let more = [
        ("authentication", text("basic")),
        ("user", text("alice")),
        ("password", secret("pw")),
    ];
    let world = World::new(service(1, "Bearer tokenT"), &more);
    sign(&world).unwrap();
    let calls = world.fake.calls();
    assert_eq!(calls[0].operation, "auth/login");
    assert_eq!(
        calls[0].authorization.as_deref(),
        Some("Basic YWxpY2U6cHc=")
    );
    assert_eq!(calls[1].authorization.as_deref(), Some("Bearer token2"));

    let mut fake = service(1, "Basic YWxpY2U6cHc=");
    fake.has_login = false;
    let world = World::new(fake, &more);
    sign(&world).unwrap();
    sign(&world).unwrap();
    let names = world.fake.operations();
    assert_eq!(names[0], "auth/login");
    assert_eq!(names.len(), 5);
}

/// Signs in a process of its own.
fn sign_anew(world: &World, more: &[(&str, Value)]) -> Result<(), TokenError> {
    let session = world::client(&world.fake, &settings(more)).open_session();
    let key = &world.inventory.keys[0];
    session
        .sign(key, KeyAlgorithm::EcdsaDigest, &[7; 32])
        .map(drop)
}

#[test]
fn a_password_that_is_refused_is_sent_once_and_not_to_everybody() {
    let more = [
        ("authentication", text("basic")),
        ("user", text("alice")),
        ("password", secret("pw")),
    ];
    let world = World::new(service(1, "Bearer tokenT"), &more);
    for status in [400, 401, 403] {
        let words = json!({"error": "authentication_error",
            "error_description": "Invalid credentials: user not found"});
        world.fake.answer("auth/login", status, &words.to_string());
        let Err(TokenError::Refused(why)) = sign_anew(&world, &more) else {
            panic!("a user that is not known")
        };
        assert!(why.as_str().contains("`user` and `password`"), "{why}");
        assert_eq!(world.fake.operations(), ["auth/login"]);
    }
    // One that fails, or has had enough of us, has not looked at it.
    for status in [500, 429, 408] {
        world.fake.answer("auth/login", status, "trouble");
        assert!(matches!(sign(&world), Err(TokenError::Unreachable(_))));
    }
    world.fake.answer_well();
    world.fake.calls();
    sign(&world).unwrap();
    let calls = world.fake.calls();
    assert_eq!(calls[1].authorization.as_deref(), Some("Bearer token2"));

    let more = [
        ("authentication", text("oauth2-password")),
        ("client_id", text("id")),
        ("client_secret", secret("s=c")),
        ("user", text("alice")),
        ("password", secret("wrong")),
    ];
    let world = World::new(service(1, "Bearer tokenT"), &more);
    for (status, body) in [
        (401, r#"{"error":"invalid_grant"}"#),
        (400, r#"{"error":"invalid_grant"}"#),
        (401, r#"{"error":"authentication_error"}"#),
        (401, ""),
    ] {
        world.fake.answer("token", status, body);
        let refused = sign_anew(&world, &more);
        assert!(
            matches!(refused, Err(TokenError::Refused(_))),
            "{refused:?}"
        );
        assert_eq!(world.fake.operations(), ["token"], "{status} {body}");
    }
    // Nor is it shown, or sent again at once.
    let repeated = r#"{"error":"invalid_grant","error_description":"alice/wrong"}"#;
    world.fake.answer("token", 400, repeated);
    for _ in 0..3 {
        let Err(TokenError::Refused(why)) = sign(&world) else {
            panic!("a wrong password")
        };
        assert!(!why.as_str().contains("wrong"), "{why}");
    }
    assert_eq!(world.fake.operations(), ["token"]);
}

#[test]
fn tokens_come_from_where_it_was_stored_and_nobody_is_asked() {
    let fake = Fake::new(1, vec![credential(P256, &["pin"])]);
    let world = World::new(fake, &client());
    let (session, keys) = (world.session(), &world.inventory.keys);
    session
        .login(Role::User, keys, None, PIN.as_bytes())
        .unwrap();
    assert_eq!(world.fake.operations(), ["token", "credentials/authorize"]);
    let mut keys = keys.clone();
    keys[0].facts.0.remove("token_url");
    let fresh = world::client(&world.fake, &settings(&client()));
    let answer = fresh
        .open_session()
        .login(Role::User, &keys, None, PIN.as_bytes());
    let Err(TokenError::Unreachable(why)) = answer else {
        panic!("{answer:?}")
    };
    assert!(why.as_str().contains("token_url"), "{why}");
    assert!(world.fake.calls().is_empty());
}

#[test]
fn a_bearer_is_read_once_and_again_when_it_is_refused() {
    let more = [
        ("authentication", text("bearer")),
        ("bearer", secret("abc")),
    ];
    let world = World::new(service(1, "Bearer abc"), &more);
    sign(&world).unwrap();
    assert_eq!(world.fake.calls().len(), 2);
    world.fake.answer("credentials/authorize", 401, "{}");
    assert!(matches!(sign(&world), Err(TokenError::Refused(_))));
    // It is the same, so it was not sent twice.
    assert_eq!(world.fake.calls().len(), 1);
}

#[test]
fn wrong_settings_are_told_by_every_use() {
    for (more, word) in [
        (vec![("authentication", text("magic"))], "magic"),
        (vec![("authentication", text("basic"))], "user"),
        (vec![("authentication", text("oauth2-client"))], "client_id"),
        (
            vec![("signatures_per_login", Value::Number(0))],
            "signatures_per_login",
        ),
        (vec![("endpoints", Value::Texts(Vec::new()))], "endpoints"),
        (
            vec![("endpoints", Value::Texts(vec!["ftp://x".to_owned()]))],
            "`endpoints`: …://x: an endpoint begins with https://",
        ),
        (
            vec![(
                "endpoints",
                Value::Texts(vec!["u:s3cret@h:9/csc/v1".to_owned()]),
            )],
            "`endpoints`: h:9: ",
        ),
        (
            vec![("token_url", text("u:s3cret@h/x/token"))],
            "`token_url`: h: ",
        ),
        (
            vec![("token_url", text("https://u:s3cret@h/x/token"))],
            "`token_url`: https://h: ",
        ),
    ] {
        let fake = Arc::new(service(1, ""));
        let client = world::client(&fake, &settings(&more));
        let Err(TokenError::Unreachable(why)) = client.list(None, &mut |_| {}) else {
            panic!("{word}")
        };
        assert!(why.as_str().contains(word), "{why}");
        assert!(!why.as_str().contains("s3cret"), "{why}");
        let mut findings = Vec::new();
        client.check(&mut |finding| findings.push(finding));
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].step, Step::Settings);
        assert!(fake.calls().is_empty());
    }
}

fn findings(fake: Fake, more: &[(&str, Value)]) -> Vec<(Step, Result<String, String>)> {
    let client = world::client(&fake.into(), &settings(more));
    let mut findings = Vec::new();
    client.check(&mut |Finding { step, result }| {
        findings.push((step, result.map_err(|why| why.to_string())));
    });
    findings
}

#[test]
fn a_doctor_looks_at_clock_credentials_and_permission() {
    let all = findings(service(1, "Bearer tokenT"), &client());
    let steps: Vec<_> = all.iter().map(|(step, _)| *step).collect();
    assert_eq!(
        steps,
        [Step::Tls, Step::Clock, Step::Credentials, Step::Permission]
    );
    assert!(all.iter().all(|(_, result)| result.is_ok()), "{all:?}");
    assert_eq!(all[3].1.as_deref(), Ok("1 key can be used"));

    let mut late = service(1, "Bearer tokenT");
    late.date = 159;
    let all = findings(late, &client());
    let why = all[1].1.as_ref().unwrap_err();
    assert!(why.contains("100 s behind"), "{why}");
    assert_eq!(all.len(), 4);
    let mut late = service(1, "Bearer tokenT");
    late.date = 0;
    let seeded = [client(), vec![("otp_seed", secret(SEED))]].concat();
    let all = findings(late, &seeded);
    assert_eq!(all.len(), 2, "{all:?}");
    assert!(all[1].1.as_ref().unwrap_err().contains("ahead"));

    let all = findings(service(1, "Bearer other"), &client());
    assert_eq!(all.last().unwrap().0, Step::Permission);
    assert!(all.last().unwrap().1.is_err());
    let refusing = service(1, "Bearer tokenT");
    refusing.answer("token", 400, r#"{"error":"invalid_request"}"#);
    let all = findings(refusing, &client());
    assert_eq!(all.last().unwrap().0, Step::Credentials);
    assert!(all.last().unwrap().1.is_err());
}
