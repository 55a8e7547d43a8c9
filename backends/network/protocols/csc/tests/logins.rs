//! PINs and one-time passwords: what a login sends, what it keeps, and what it says.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use ctk_token::{
    Constraint, KeyAlgorithm, LoginPolicy, Operation, Result, Reuse, Role, TokenError,
};
use serde_json::json;
use zeroize::Zeroizing;

use crate::{KeyRecord, Secret, Service, ServiceSession, Value};

use super::{
    fake::{Credential, Fake, OTP, P256, PASSWORD_AT_59, PIN, SEED, credential},
    world::{self, World, secret, settings},
};

const ECDSA: KeyAlgorithm = KeyAlgorithm::EcdsaDigest;

fn sign(session: &dyn ServiceSession, key: &KeyRecord) -> Result<()> {
    session.sign(key, ECDSA, &[7; 32]).map(drop)
}

fn bound(wants: &'static [&'static str]) -> Credential {
    Credential {
        scal: 2,
        ..credential(P256, wants)
    }
}

fn pin_and(otp: &str) -> Vec<u8> {
    format!("{PIN},{otp}").into_bytes()
}

#[test]
fn a_pin_is_sent_as_each_version_has_it() {
    for version in [0, 1, 2] {
        let world = World::new(Fake::new(version, vec![credential(P256, &["pin"])]), &[]);
        let (session, keys) = (world.session(), &world.inventory.keys);
        assert_eq!(world.service.login_policy(keys), LoginPolicy::App);
        assert_eq!(
            session.check_authenticated(&keys[0], Operation::Sign),
            Err(TokenError::AuthenticationNeeded)
        );
        assert_eq!(
            sign(&*session, &keys[0]),
            Err(TokenError::AuthenticationNeeded)
        );
        assert!(world.fake.calls().is_empty());
        session
            .login(Role::User, keys, None, PIN.as_bytes())
            .unwrap();
        let call = &world.fake.calls()[0];
        match version {
            2 => assert_eq!(call.body["authData"], json!([{"id": "P", "value": PIN}])),
            _ => assert_eq!(call.body["PIN"], PIN),
        }
        session
            .check_authenticated(&keys[0], Operation::Sign)
            .unwrap();
        sign(&*session, &keys[0]).unwrap();
        session.logout(Role::User);
        assert_eq!(
            sign(&*session, &keys[0]),
            Err(TokenError::AuthenticationNeeded)
        );
    }
}

#[test]
fn a_wrong_pin_is_sent_once_and_changes_nothing() {
    let world = World::new(Fake::new(1, vec![credential(P256, &["pin"])]), &[]);
    let (session, keys) = (world.session(), &world.inventory.keys);
    let wrong = TokenError::AuthenticationFailed { tries: None };
    let login = |pin: &[u8]| session.login(Role::User, keys, None, pin);
    assert_eq!(login(b"0000"), Err(wrong.clone()));
    assert_eq!(world.fake.calls().len(), 1);
    assert_eq!(login(b"\xff\xfe"), Err(wrong.clone()));
    assert!(world.fake.calls().is_empty());
    login(PIN.as_bytes()).unwrap();
    assert_eq!(login(b"0000"), Err(wrong));
    sign(&*session, &keys[0]).unwrap();
    let locked = json!({"error": "invalid_request", "error_description": "PIN locked"});
    world
        .fake
        .answer("credentials/authorize", 400, &locked.to_string());
    assert_eq!(login(PIN.as_bytes()), Err(TokenError::PinLocked));
}

#[test]
fn a_login_that_the_service_forgot_can_be_made_again() {
    let mut fake = Fake::new(1, vec![credential(P256, &["pin"])]);
    let world = World::new(fake, &[]);
    let (session, keys) = (world.session(), &world.inventory.keys);
    let login = || {
        let answer = session.login(Role::User, keys, None, PIN.as_bytes());
        answer.unwrap();
    };
    login();
    world.fake.restart();
    assert_eq!(sign(&*session, &keys[0]), Err(TokenError::StateLost));
    assert_eq!(
        sign(&*session, &keys[0]),
        Err(TokenError::AuthenticationNeeded)
    );
    login();
    sign(&*session, &keys[0]).unwrap();

    fake = Fake::new(1, vec![credential(P256, &["pin"])]);
    fake.lifetime = 0;
    let world = World::new(fake, &[]);
    let (session, keys) = (world.session(), &world.inventory.keys);
    session
        .login(Role::User, keys, None, PIN.as_bytes())
        .unwrap();
    assert_eq!(
        sign(&*session, &keys[0]),
        Err(TokenError::AuthenticationNeeded)
    );
    assert_eq!(world.fake.calls().len(), 1);
}

/// Some services have no word for an authorisation that is used up.
#[test]
fn a_login_has_ended_where_the_service_says_nothing() {
    let world = World::new(Fake::new(1, vec![credential(P256, &["pin"])]), &[]);
    let (session, keys) = (world.session(), &world.inventory.keys);
    let login = || session.login(Role::User, keys, None, PIN.as_bytes());
    let silence = "400: Bad Request";
    let silent = || world.fake.answer("signatures/signHash", 400, silence);
    login().unwrap();
    // Of an authorisation that was never taken that says nothing.
    silent();
    for _ in 0..2 {
        assert!(matches!(
            sign(&*session, &keys[0]),
            Err(TokenError::Refused(_))
        ));
    }
    world.fake.answer_well();
    sign(&*session, &keys[0]).unwrap();
    silent();
    assert_eq!(sign(&*session, &keys[0]), Err(TokenError::StateLost));
    assert_eq!(
        sign(&*session, &keys[0]),
        Err(TokenError::AuthenticationNeeded)
    );
    world.fake.answer_well();
    login().unwrap();
    sign(&*session, &keys[0]).unwrap();
    // A service that has failed is no end.
    world.fake.answer("signatures/signHash", 500, "trouble");
    assert!(matches!(
        sign(&*session, &keys[0]),
        Err(TokenError::Unreachable(_))
    ));
    world.fake.answer_well();
    sign(&*session, &keys[0]).unwrap();
}

#[test]
fn where_an_authorisation_is_for_a_hash_the_pin_waits_for_it() {
    for version in [1, 2] {
        let world = World::new(Fake::new(version, vec![bound(&["pin"])]), &[]);
        let (session, keys) = (world.session(), &world.inventory.keys);
        assert!(matches!(
            world.service.constraint(&keys[0], Operation::Sign),
            Constraint::Auth(_, Reuse::Operation)
        ));
        let login = |pin: &[u8]| session.login(Role::User, keys, None, pin);
        assert!(login(b"0000").is_err());
        login(PIN.as_bytes()).unwrap();
        assert_eq!(world.fake.calls().len(), 2);
        // ssh signs directly after its login.
        sign(&*session, &keys[0]).unwrap();
        assert_eq!(
            sign(&*session, &keys[0]),
            Err(TokenError::AuthenticationNeeded)
        );
        world.fake.calls();
        let context = |pin: &[u8]| session.login(Role::Context, keys, Some(&keys[0]), pin);
        context(PIN.as_bytes()).unwrap();
        assert!(world.fake.calls().is_empty());
        sign(&*session, &keys[0]).unwrap();
        assert_eq!(world.fake.calls().len(), 2);
        assert_eq!(
            sign(&*session, &keys[0]),
            Err(TokenError::AuthenticationNeeded)
        );
        context(b"0000").unwrap();
        let wrong = TokenError::AuthenticationFailed { tries: None };
        assert_eq!(sign(&*session, &keys[0]), Err(wrong));
        assert_eq!(
            sign(&*session, &keys[0]),
            Err(TokenError::AuthenticationNeeded)
        );
        context(PIN.as_bytes()).unwrap();
        session.logout(Role::Context);
        assert_eq!(
            sign(&*session, &keys[0]),
            Err(TokenError::AuthenticationNeeded)
        );
    }
}

#[test]
fn where_one_signature_is_authorised_the_login_itself_is_checked() {
    let mut single = credential(P256, &["pin"]);
    single.multisign = 1;
    let world = World::new(Fake::new(1, vec![single]), &[]);
    let (session, keys) = (world.session(), &world.inventory.keys);
    session
        .login(Role::User, keys, None, PIN.as_bytes())
        .unwrap();
    sign(&*session, &keys[0]).unwrap();
    assert_eq!(world.fake.calls().len(), 2);
    let context = |pin: &[u8]| session.login(Role::Context, keys, Some(&keys[0]), pin);
    assert!(context(b"0000").is_err());
    assert_eq!(
        sign(&*session, &keys[0]),
        Err(TokenError::AuthenticationNeeded)
    );
    context(PIN.as_bytes()).unwrap();
    sign(&*session, &keys[0]).unwrap();
    assert_eq!(world.fake.operations().len(), 3);
}

#[test]
fn a_generator_gives_one_time_passwords() {
    for version in [0, 1, 2] {
        let seed = [("otp_seed", secret(SEED))];
        let world = World::new(Fake::new(version, vec![credential(P256, &["otp"])]), &seed);
        let (session, keys) = (world.session(), &world.inventory.keys);
        assert_eq!(world.service.login_policy(keys), LoginPolicy::OnUse);
        sign(&*session, &keys[0]).unwrap();
        let call = &world.fake.calls()[0];
        match version {
            2 => assert_eq!(call.body["authData"][0]["value"], PASSWORD_AT_59),
            _ => assert_eq!(call.body["OTP"], PASSWORD_AT_59),
        }
        // The next one has not come yet for this clock, and is not what the service expects: no login helps.
        let session = world.session();
        let Err(TokenError::Refused(why)) = sign(&*session, &keys[0]) else {
            panic!("a second password")
        };
        assert!(why.as_str().contains("otp_seed"), "{why}");
    }
}

/// A stored PIN that is called wrong is not sent again.
#[test]
fn a_pin_is_not_wrong_because_the_password_of_a_seed_is() {
    for (one, role) in [
        (credential(P256, &["pin", "otp"]), Role::User),
        (bound(&["pin", "otp"]), Role::Context),
    ] {
        let is_right = Arc::new(AtomicUsize::new(0));
        let stored = is_right.clone();
        let seed = Secret::new("test", move |_| {
            let seed = match stored.load(Ordering::Relaxed) {
                0 => "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP",
                _ => SEED,
            };
            Ok(Zeroizing::new(seed.as_bytes().to_vec()))
        });
        let more = [("otp_seed", Value::Secret(seed))];
        let world = World::new(Fake::new(1, vec![one]), &more);
        let keys = &world.inventory.keys;
        let use_key = |session: &dyn ServiceSession, pin: &[u8]| {
            let key = Some(&keys[0]).filter(|_| role == Role::Context);
            session.login(role, keys, key, pin)?;
            sign(session, &keys[0])
        };
        let Err(TokenError::Refused(why)) = use_key(&*world.session(), PIN.as_bytes()) else {
            panic!("a seed of somebody else")
        };
        assert!(why.as_str().contains("`otp_seed`"), "{why}");
        is_right.store(1, Ordering::Relaxed);
        // In another process: the generator gives this time's password once.
        let anew = || world::client(&world.fake, &settings(&more)).open_session();
        use_key(&*anew(), PIN.as_bytes()).unwrap();
        let wrong = TokenError::AuthenticationFailed { tries: None };
        assert_eq!(use_key(&*anew(), b"0000"), Err(wrong));
    }
}

#[test]
fn pin_and_one_time_password_come_in_one_login() {
    for version in [1, 2] {
        let world = World::new(
            Fake::new(version, vec![credential(P256, &["pin", "otp"])]),
            &[],
        );
        let (session, keys) = (world.session(), &world.inventory.keys);
        let login = |secret: &[u8]| session.login(Role::User, keys, None, secret);
        let Err(TokenError::Refused(why)) = login(PIN.as_bytes()) else {
            panic!("without the one-time password")
        };
        assert!(why.as_str().contains("PIN,OTP"), "{why}");
        assert!(world.fake.calls().is_empty());
        let wrong = TokenError::AuthenticationFailed { tries: None };
        assert_eq!(login(&pin_and("000000")), Err(wrong));
        login(&pin_and(OTP)).unwrap();
        sign(&*session, &keys[0]).unwrap();
        world.fake.calls();
        // Without one half no try is spent.
        for half in [pin_and(""), format!(",{OTP}").into_bytes()] {
            let length = TokenError::PinLength { min: 1, max: 255 };
            assert_eq!(login(&half), Err(length));
        }
        assert!(world.fake.calls().is_empty());
    }
    let world = World::new(Fake::new(1, vec![credential(P256, &["otp"])]), &[]);
    let (session, keys) = (world.session(), &world.inventory.keys);
    assert_eq!(world.service.login_policy(keys), LoginPolicy::App);
    session
        .login(Role::User, keys, None, OTP.as_bytes())
        .unwrap();
    sign(&*session, &keys[0]).unwrap();
}

#[test]
fn a_spent_one_time_password_is_asked_for_again() {
    let world = World::new(Fake::new(1, vec![bound(&["pin", "otp"])]), &[]);
    let (session, keys) = (world.session(), &world.inventory.keys);
    session
        .login(Role::User, keys, None, &pin_and(OTP))
        .unwrap();
    assert_eq!(
        sign(&*session, &keys[0]),
        Err(TokenError::AuthenticationNeeded)
    );
    session
        .login(Role::Context, keys, Some(&keys[0]), &pin_and(OTP))
        .unwrap();
    sign(&*session, &keys[0]).unwrap();
}

#[test]
fn a_service_is_asked_to_send_a_one_time_password() {
    for (version, send) in [(1, "credentials/sendOTP"), (2, "credentials/getChallenge")] {
        let reads = Arc::new(AtomicUsize::new(0));
        let count = reads.clone();
        let source = Secret::new("test", move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            Ok(Zeroizing::new(OTP.as_bytes().to_vec()))
        });
        let fake = Fake::new(version, vec![credential(P256, &["pin", "online"])]);
        let world = World::new(fake, &[("otp", Value::Secret(source))]);
        let (session, keys) = (world.session(), &world.inventory.keys);
        session
            .login(Role::User, keys, None, PIN.as_bytes())
            .unwrap();
        assert_eq!(world.fake.operations(), [send, "credentials/authorize"]);
        assert_eq!(reads.load(Ordering::Relaxed), 1);

        // Without a source the person reads it, and logs in again; also where nothing but a hash could be authorised.
        for one in [
            credential(P256, &["pin", "online"]),
            bound(&["pin", "online"]),
        ] {
            let world = World::new(Fake::new(version, vec![one]), &[]);
            let (session, keys) = (world.session(), &world.inventory.keys);
            let context = Some(&keys[0]).filter(|_| world.fake.credentials[0].1.scal == 2);
            let role = if context.is_some() {
                Role::Context
            } else {
                Role::User
            };
            let Err(TokenError::Refused(why)) = session.login(role, keys, context, PIN.as_bytes())
            else {
                panic!("without the one-time password")
            };
            assert!(why.as_str().contains("has sent"), "{why}");
            assert_eq!(world.fake.operations(), [send]);
            session.login(role, keys, context, &pin_and(OTP)).unwrap();
            sign(&*session, &keys[0]).unwrap();
        }
    }
}

#[test]
fn a_service_that_waits_for_its_owner_is_asked_until_then() {
    let world = World::new(Fake::new(2, vec![credential(P256, &["phone"])]), &[]);
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    world.fake.answer_by(move |call| match &*call.operation {
        "credentials/authorize" => Some((202, json!({"handle": "h"}).to_string())),
        "credentials/authorizeCheck" if count.fetch_add(1, Ordering::Relaxed) < 3 => {
            assert_eq!(call.body["handle"], "h");
            Some((202, json!({"handle": "h"}).to_string()))
        }
        "credentials/authorizeCheck" => Some((200, json!({"SAD": "x"}).to_string())),
        _ => None,
    });
    let session = world.session();
    // The SAD is none of the service's.
    assert!(matches!(
        sign(&*session, &world.inventory.keys[0]),
        Err(TokenError::Refused(_))
    ));
    assert_eq!(asked.load(Ordering::Relaxed), 4);
    world.fake.answer_by(|call| {
        let waits = call.operation.starts_with("credentials/authorize");
        waits.then(|| (202, json!({"handle": "h"}).to_string()))
    });
    let session = world.session();
    assert_eq!(
        sign(&*session, &world.inventory.keys[0]),
        Err(TokenError::TimedOut)
    );
}

#[test]
fn nothing_secret_is_shown() {
    let more = [("otp_seed", secret(SEED)), ("bearer", secret("hidden"))];
    let world = World::new(Fake::new(1, vec![credential(P256, &["pin"])]), &more);
    let session = world.session();
    session
        .login(Role::User, &world.inventory.keys, None, PIN.as_bytes())
        .unwrap();
    let shown = format!("{:?}", world.service);
    assert!(
        !shown.contains(SEED) && !shown.contains("hidden"),
        "{shown}"
    );
}
