//! What becomes of a signature when a CSC service refuses or fails: nothing that may be spent is asked for twice, and what a
//! person can do is said. The service behind is certomancer-csc with the rules of real ones before it.

mod support;

use std::{
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};

use ctk_services::{
    Fault, Response,
    csc::{Authentication, Credential, base32, totp},
};
use ctk_token::{Role, TokenError};
use serde_json::{Value as Json, json};
use support::{
    beds::{CscBed, answer, holds_little, hurried, row, signs, wait_until_closed},
    list, secret, settings,
    signer::{Signer, kind},
    text,
};

const PIN: &str = "27182818";
const WRONG_PIN: &str = "31415926";
const ONCE: std::ops::RangeInclusive<usize> = 1..=1;

fn refusal(status: u16, error: &str, description: &str) -> Fault {
    let body = json!({"error": error, "error_description": description});
    Fault::Answer(Response::json(status, &body))
}

/// Many signatures for one PIN.
fn session_pin() -> Credential {
    Credential::with_pin(PIN)
}

/// A PIN for each signature.
fn operation_pin() -> Credential {
    Credential {
        hashes_are_bound: true,
        ..session_pin()
    }
}

/// The bodies of the requests for an operation.
fn asked(bed: &CscBed, operation: &str) -> Vec<Json> {
    let requests = bed.proxy.requests_for(operation);
    requests.iter().map(ctk_services::Request::json).collect()
}

#[test]
fn a_signature_is_never_asked_for_twice() {
    let bed = CscBed::new(session_pin());
    let signer = Signer::new(&hurried(bed.token.clone()));
    holds_little(|| {
        for row in [
            row(
                "401",
                refusal(401, "invalid_token", "no more"),
                "Refused",
                "no more",
                ONCE,
            ),
            row(
                "403",
                refusal(403, "access_denied", "not you"),
                "Refused",
                "not you",
                ONCE,
            ),
            row(
                "403 in XML",
                answer(403, "text/xml", "<no/>"),
                "Refused",
                "403",
                ONCE,
            ),
            row(
                "429",
                refusal(429, "too_many", "too many"),
                "Refused",
                "too many",
                ONCE,
            ),
            row(
                "503",
                answer(503, "text/plain", "later"),
                "Unreachable",
                "503",
                ONCE,
            ),
            row(
                "500",
                answer(500, "text/html", "<html>"),
                "Unreachable",
                "500",
                ONCE,
            ),
            row(
                "another content type",
                answer(200, "text/html", "<html>"),
                "Corrupted",
                "no JSON",
                ONCE,
            ),
            row(
                "a truncated body",
                Fault::Truncate(10),
                "Corrupted",
                "ended early",
                ONCE,
            ),
            row(
                "100 MB",
                Fault::Long(100_000_000),
                "Corrupted",
                "longer than any",
                ONCE,
            ),
            row(
                "no end",
                Fault::Endless,
                "Corrupted",
                "longer than any",
                ONCE,
            ),
            row(
                "a reset in mid-answer",
                Fault::Reset,
                "Corrupted",
                "ended early",
                ONCE,
            ),
            row(
                "no answer",
                Fault::Close,
                "Unreachable",
                "without an answer",
                ONCE,
            ),
            row(
                "something else",
                Fault::Garbage,
                "Corrupted",
                "no HTTP",
                ONCE,
            ),
            row("a stall", Fault::Stall, "Unreachable", "in time", ONCE),
            row(
                "a slow drip",
                Fault::Drip(Duration::from_millis(100)),
                "Unreachable",
                "in time",
                ONCE,
            ),
        ] {
            signer.log_in(Role::User, PIN).expect("a login");
            row.check(&bed.proxy, "signHash", || signer.sign());
            signer.log_in(Role::User, PIN).expect("a login");
            signs(&signer);
        }
    });
}

#[test]
fn a_login_is_never_tried_twice() {
    let bed = CscBed::new(session_pin());
    let signer = Signer::new(&hurried(bed.token.clone()));
    for row in [
        row(
            "401",
            refusal(401, "invalid_token", "no more"),
            "Refused",
            "no more",
            ONCE,
        ),
        row(
            "503",
            answer(503, "text/plain", "later"),
            "Unreachable",
            "503",
            ONCE,
        ),
        row(
            "another content type",
            answer(200, "text/html", "<html>"),
            "Corrupted",
            "no JSON",
            ONCE,
        ),
        row(
            "a truncated body",
            Fault::Truncate(10),
            "Corrupted",
            "ended early",
            ONCE,
        ),
        row(
            "no answer",
            Fault::Close,
            "Unreachable",
            "without an answer",
            ONCE,
        ),
        row("a stall", Fault::Stall, "Unreachable", "in time", ONCE),
    ] {
        row.check(&bed.proxy, "authorize", || signer.log_in(Role::User, PIN));
        assert!(bed.proxy.requests_for("signHash").is_empty());
    }
    // The service has ended the connection behind its answer, and the client knows.
    signer.log_in(Role::User, PIN).expect("a login");
    bed.proxy.fault("*", Fault::CloseAfter);
    for _ in 0..3 {
        signs(&signer);
        wait_until_closed(&bed.proxy);
    }
}

/// A service that means a wrong PIN by 401 is one more reason to renew an access token, and none to send the PIN again.
#[test]
fn a_login_is_not_tried_again_with_another_access_token() {
    let known = settings([
        ("authentication", text("oauth2-client")),
        ("client_id", text("me")),
        ("client_secret", secret("its secret")),
    ]);
    let how = Authentication::Client {
        id: "me".to_owned(),
        secret: "its secret".to_owned(),
    };
    let bed = CscBed::with(session_pin(), how, known);
    let signer = Signer::new(&hurried(bed.token.clone()));
    let wrong = "AuthenticationFailed";
    for row in [
        row("401", answer(401, "text/plain", ""), wrong, "PIN", ONCE),
        row(
            "401 in JSON",
            refusal(401, "invalid_request", "Authentication failed"),
            wrong,
            "PIN",
            ONCE,
        ),
        row("400", refusal(400, "invalid_pin", "no"), wrong, "PIN", ONCE),
    ] {
        row.check(&bed.proxy, "authorize", || signer.log_in(Role::User, PIN));
    }
    // One that has ended is renewed before the PIN is looked at.
    signer.log_in(Role::User, PIN).expect("a login");
    bed.rules.expire_bearers();
    signer.log_in(Role::User, PIN).expect("a login");
    assert_eq!(bed.rules.wrong_pins("t/rsa"), 0);
    signs(&signer);
}

#[test]
fn a_wrong_pin_is_told_and_locks() {
    for (credential, role) in [
        (session_pin(), Role::User),
        (operation_pin(), Role::User),
        (operation_pin(), Role::Context),
    ] {
        let bed = CscBed::new(credential);
        let signer = Signer::new(&bed.token);
        let attempt = |pin: &str| {
            signer.log_in(role, pin)?;
            signer.sign()
        };
        for _ in 0..2 {
            let error = attempt(WRONG_PIN).expect_err("a wrong PIN");
            assert_eq!(kind(&error), "AuthenticationFailed", "{role:?}: {error:?}");
        }
        assert_eq!(bed.rules.wrong_pins("t/rsa"), 2, "each is tried once");
        assert_eq!(attempt(PIN), Ok(()));
        assert_eq!(bed.rules.wrong_pins("t/rsa"), 0);
        for _ in 0..3 {
            let _ = attempt(WRONG_PIN);
        }
        for pin in [PIN, WRONG_PIN] {
            assert_eq!(attempt(pin), Err(TokenError::PinLocked), "{role:?}");
        }
        bed.rules.unlock("t/rsa");
        assert_eq!(attempt(PIN), Ok(()));
    }
}

#[test]
fn an_authorisation_is_kept_to_its_end_and_count() {
    let bed = CscBed::new(Credential {
        multisign: 3,
        ..session_pin()
    });
    let signer = Signer::new(&bed.token);
    assert_eq!(signer.sign(), Err(TokenError::AuthenticationNeeded));
    signer.log_in(Role::User, PIN).expect("a login");
    bed.proxy.forget();
    for _ in 0..3 {
        signs(&signer);
    }
    let counts = bed.proxy.counts();
    assert_eq!(
        (counts.requests, counts.connections),
        (3, 0),
        "one request each, on the connection of the login"
    );
    let needs_login = |what: &str| {
        let error = signer.sign().expect_err(what);
        assert!(
            matches!(
                error,
                TokenError::AuthenticationNeeded | TokenError::StateLost
            ),
            "{what}: {error:?}"
        );
        signer.log_in(Role::User, PIN).expect("a login");
    };
    needs_login("used up");
    signs(&signer);
    bed.rules.expire_authorizations();
    needs_login("expired at the service");
    signs(&signer);
    bed.rules.all(Credential {
        single_use: true,
        ..session_pin()
    });
    signer.log_in(Role::User, PIN).expect("a login");
    signs(&signer);
    needs_login("used up by one signature");
    bed.rules.all(Credential {
        lifetime: Some(Duration::from_secs(1)),
        ..session_pin()
    });
    signer.log_in(Role::User, PIN).expect("a login");
    thread::sleep(Duration::from_millis(1100));
    bed.proxy.forget();
    needs_login("expired here");
    assert!(
        bed.proxy.requests_for("signHash").is_empty(),
        "nobody was asked"
    );
}

#[test]
fn an_authorisation_is_for_the_hash_that_is_signed() {
    let bed = CscBed::new(operation_pin());
    let signer = Signer::new(&bed.token);
    bed.proxy.forget();
    for _ in 0..2 {
        signer.log_in(Role::Context, PIN).expect("a PIN");
        assert!(
            bed.proxy.requests_for("authorize").is_empty(),
            "the hash is not known yet"
        );
        signs(&signer);
        let (authorized, signed) = (asked(&bed, "authorize"), asked(&bed, "signHash"));
        assert_eq!((authorized.len(), signed.len()), (1, 1));
        assert_eq!(authorized[0]["hash"], signed[0]["hash"]);
        assert_eq!(authorized[0]["numSignatures"], json!(1));
        bed.proxy.forget();
        assert_eq!(signer.sign(), Err(TokenError::AuthenticationNeeded));
        assert_eq!(bed.proxy.counts().requests, 0);
    }
}

#[test]
fn a_one_time_password_comes_from_a_seed() {
    let seed = b"a seed of 20 bytes..";
    let credential = Credential {
        otp_seed: Some(seed.to_vec()),
        ..session_pin()
    };
    let known = settings([
        ("authentication", text("bearer")),
        ("bearer", secret("from-the-test")),
        ("otp_seed", secret(&base32(seed))),
    ]);
    let how = Authentication::Bearer("from-the-test".to_owned());
    let bed = CscBed::with(credential, how, known);
    let signer = Signer::new(&bed.token);
    let before = totp(seed, SystemTime::now());
    signer.log_in(Role::User, PIN).expect("a login");
    let after = totp(seed, SystemTime::now());
    signs(&signer);
    signs(&signer);
    let sent = asked(&bed, "authorize")[0]["OTP"].clone();
    assert!(sent == json!(before) || sent == json!(after), "{sent}");
}

#[test]
fn what_is_switched_off_is_told() {
    let bed = CscBed::new(session_pin());
    let signer = Signer::new(&bed.token);
    signer.log_in(Role::User, PIN).expect("a login");
    bed.rules.disable("t/rsa");
    let error = signer.sign().expect_err("a disabled credential");
    assert_eq!(kind(&error), "Refused", "{error:?}");
    assert!(error.to_string().contains("disabled"), "{error}");
    let error = signer
        .log_in(Role::User, PIN)
        .expect_err("a disabled credential");
    assert_eq!(kind(&error), "Refused", "{error:?}");
    bed.rules.all(session_pin());
    assert_eq!(bed.rules.wrong_pins("t/rsa"), 0);
}

#[test]
fn bearers_are_renewed_and_refusals_told() {
    let client = || Authentication::Client {
        id: "me".to_owned(),
        secret: "sea & sand+".to_owned(),
    };
    let own = |secret_value: &str| {
        settings([
            ("authentication", text("oauth2-client")),
            ("client_id", text("me")),
            ("client_secret", secret(secret_value)),
        ])
    };
    let bed = CscBed::with(Credential::default(), client(), own("sea & sand+"));
    let signer = Signer::new(&bed.token);
    signs(&signer);
    let issued = bed.rules.bearers_issued();
    signs(&signer);
    assert_eq!(bed.rules.bearers_issued(), issued, "it is kept");
    bed.rules.expire_bearers();
    signs(&signer);
    assert_eq!(bed.rules.bearers_issued(), issued + 1);

    let mut token = bed.token.clone();
    token.settings.0.extend(own("something else").0);
    let error = list(&token).expect_err("a wrong secret");
    assert_eq!(kind(&error), "Refused", "{error:?}");
    assert!(!error.to_string().contains("something else"), "{error}");

    let basic = Authentication::Basic {
        user: "somebody".to_owned(),
        password: "päss".to_owned(),
    };
    let own = settings([
        ("authentication", text("basic")),
        ("user", text("somebody")),
        ("password", secret("päss")),
    ]);
    let bed = CscBed::with(Credential::default(), basic, own);
    signs(&Signer::new(&bed.token));
    let mut token = bed.token.clone();
    let wrong = ("password".to_owned(), secret("pass"));
    token.settings.0.extend([wrong]);
    let error = list(&token).expect_err("a wrong password");
    assert_eq!(kind(&error), "Refused", "{error:?}");
}

#[test]
fn credentials_without_pin_cost_one_request_each() {
    let bed = CscBed::new(Credential {
        multisign: 1000,
        ..Credential::default()
    });
    let signer = Signer::new(&bed.token);
    signs(&signer);
    bed.proxy.forget();
    for _ in 0..10 {
        signs(&signer);
    }
    let counts = bed.proxy.counts();
    assert_eq!((counts.requests, counts.connections), (10, 0));
}

#[test]
fn a_credential_is_authorised_elsewhere() {
    let credential = Credential {
        external_token: Some("by OAuth".to_owned()),
        ..Credential::default()
    };
    let known = settings([
        ("authentication", text("bearer")),
        ("bearer", secret("from-the-test")),
        ("authorization_token", secret("by OAuth")),
    ]);
    let how = Authentication::Bearer("from-the-test".to_owned());
    let bed = CscBed::with(credential, how, known);
    signs(&Signer::new(&bed.token));
    assert!(bed.proxy.requests_for("authorize").is_empty());
    let rules = Arc::clone(&bed.rules);
    rules.all(Credential {
        external_token: Some("another".to_owned()),
        ..Credential::default()
    });
    let error = Signer::new(&bed.token).sign().expect_err("an old token");
    assert!(
        matches!(
            error,
            TokenError::Refused(_) | TokenError::StateLost | TokenError::AuthenticationNeeded
        ),
        "{error:?}"
    );
}
