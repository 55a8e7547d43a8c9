//! HTTP's 401 without a word: it may be for the access token, which is renewed, or for a PIN, which must not be sent again.

use ctk_token::{KeyAlgorithm, Result, Role, TokenError};

use crate::Value;

use super::{
    fake::{Call, Fake, P256, PIN, credential},
    world::{World, secret, text},
};

const FAILED: &str = r#"{"error":"invalid_request","error_description":"Authentication failed"}"#;

/// A service whose key wants a PIN, and how it knows us.
fn world(more: &[(&str, Value)]) -> World {
    World::new(Fake::new(1, vec![credential(P256, &["pin"])]), more)
}

fn client() -> Vec<(&'static str, Value)> {
    vec![
        ("authentication", text("oauth2-client")),
        ("client_id", text("me")),
        ("client_secret", secret("s")),
    ]
}

fn bearer() -> Vec<(&'static str, Value)> {
    vec![
        ("authentication", text("bearer")),
        ("bearer", secret("fixed")),
    ]
}

fn log_in(world: &World, pin: &str) -> Result<()> {
    let keys = &world.inventory.keys;
    world
        .session()
        .login(Role::User, keys, None, pin.as_bytes())
}

/// How often the PIN was sent.
fn times_sent(calls: &[Call], pin: &str) -> usize {
    calls.iter().filter(|call| call.body["PIN"] == pin).count()
}

#[test]
fn a_pin_is_wrong_where_the_access_token_is_not() {
    for more in [client(), bearer(), Vec::new()] {
        let world = world(&more);
        for body in [FAILED, "{}", ""] {
            world.fake.answer("credentials/authorize", 401, body);
            let wrong = TokenError::AuthenticationFailed { tries: None };
            assert_eq!(log_in(&world, "0000"), Err(wrong));
            let calls = world.fake.calls();
            assert_eq!(times_sent(&calls, "0000"), 1, "{calls:?}");
            let last = calls.last().unwrap();
            assert_eq!(last.operation, "credentials/info");
            assert_eq!(last.body["credentialID"], "c/1");
        }
    }
}

#[test]
fn an_access_token_that_has_ended_is_renewed_and_the_pin_was_not_looked_at() {
    let world = world(&client());
    world.fake.answer_by(|call| {
        let is_old = call.authorization.as_deref() == Some("Bearer token2");
        is_old.then(|| (401, String::new()))
    });
    log_in(&world, PIN).unwrap();
    let names = world.fake.operations();
    assert_eq!(
        names,
        [
            "token",
            "credentials/authorize",
            "credentials/info",
            "token",
            "credentials/info",
            "credentials/authorize"
        ]
    );
}

#[test]
fn nobody_hears_of_a_wrong_pin_where_the_service_does_not_know_us() {
    for more in [client(), bearer(), Vec::new()] {
        let world = world(&more);
        world
            .fake
            .answer_by(|call| (call.operation != "token").then(|| (401, String::new())));
        let answer = log_in(&world, PIN);
        let Err(TokenError::Refused(why)) = answer else {
            panic!("{answer:?}")
        };
        assert!(why.as_str().contains("authentication"), "{why}");
        assert_eq!(times_sent(&world.fake.calls(), PIN), 1);
    }
    // Nor where it cannot be asked.
    for status in [503, 429, 408] {
        let world = world(&bearer());
        world.fake.answer_by(move |call| match &*call.operation {
            "credentials/authorize" => Some((401, String::new())),
            _ => Some((status, String::new())),
        });
        let answer = log_in(&world, PIN);
        match status {
            503 => assert!(
                matches!(answer, Err(TokenError::Unreachable(_))),
                "{answer:?}"
            ),
            _ => assert!(matches!(answer, Err(TokenError::Refused(_))), "{answer:?}"),
        }
        assert_eq!(times_sent(&world.fake.calls(), PIN), 1);
    }
}

#[test]
fn an_access_token_that_is_named_is_renewed_at_once() {
    let world = world(&client());
    let named = r#"{"error":"invalid_token"}"#;
    world.fake.answer_by(move |call| {
        let is_old = call.authorization.as_deref() == Some("Bearer token2");
        is_old.then(|| (401, named.to_owned()))
    });
    log_in(&world, PIN).unwrap();
    assert!(
        !world
            .fake
            .operations()
            .contains(&"credentials/info".to_owned())
    );
}

#[test]
fn an_authorisation_has_ended_where_the_access_token_has_not() {
    let world = world(&bearer());
    let (session, keys) = (world.session(), &world.inventory.keys);
    let sign = || {
        let signed = session.sign(&keys[0], KeyAlgorithm::EcdsaDigest, &[7; 32]);
        signed.map(drop)
    };
    session
        .login(Role::User, keys, None, PIN.as_bytes())
        .unwrap();
    world.fake.answer("signatures/signHash", 401, "");
    assert_eq!(sign(), Err(TokenError::StateLost));
    assert_eq!(sign(), Err(TokenError::AuthenticationNeeded));
    world.fake.answer_well();
    session
        .login(Role::User, keys, None, PIN.as_bytes())
        .unwrap();
    sign().unwrap();
}
