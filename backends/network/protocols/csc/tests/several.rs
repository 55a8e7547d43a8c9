//! Several credentials in one token: what happens to one is nothing to the others, and a PIN that they share opens each once.

use std::{
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use ctk_token::{Constraint, KeyAlgorithm, Operation, Result, Reuse, Role, TokenError};

use crate::{KeyRecord, Service, ServiceSession, Value};

use super::{
    fake::{Credential, Fake, OTP, P256, PIN, credential},
    world::World,
};

const DISABLED: &str = r#"{"error":"invalid_request",
    "error_description":"The credential identified by credentialID is disabled"}"#;

fn sign(session: &dyn ServiceSession, key: &KeyRecord) -> Result<()> {
    session
        .sign(key, KeyAlgorithm::EcdsaDigest, &[7; 32])
        .map(drop)
}

fn login(session: &dyn ServiceSession, keys: &[KeyRecord], secret: &str) -> Result<()> {
    session.login(Role::User, keys, None, secret.as_bytes())
}

/// Two credentials that share what opens them.
fn sharing(wants: &'static [&'static str]) -> World {
    let two = vec![credential(P256, wants), credential(P256, wants)];
    World::new(Fake::new(1, two), &[("shared_pin", Value::Flag(true))])
}

/// Stops the first authorisation from now on in the midst of it: at the first wait it has begun, at the second it goes on.
fn held(world: &World) -> Arc<Barrier> {
    let (barrier, once) = (Arc::new(Barrier::new(2)), AtomicBool::new(false));
    let of_service = barrier.clone();
    world.fake.answer_by(move |call| {
        if call.operation == "credentials/authorize" && !once.swap(true, Ordering::SeqCst) {
            of_service.wait();
            of_service.wait();
        }
        None
    });
    barrier
}

#[test]
fn nobody_waits_for_another_credential_or_hears_what_it_was_refused() {
    let two = vec![
        credential(P256, &["implicit"]),
        credential(P256, &["implicit"]),
    ];
    let world = World::new(Fake::new(1, two), &[]);
    let (session, keys) = (world.session(), &world.inventory.keys);
    let barrier = Arc::new(Barrier::new(2));
    let of_service = barrier.clone();
    world.fake.answer_by(move |call| {
        let is_first =
            call.operation == "credentials/authorize" && call.body["credentialID"] == "c/1";
        is_first.then(|| {
            of_service.wait();
            of_service.wait();
            (400, DISABLED.to_owned())
        })
    });
    thread::scope(|scope| {
        let first = scope.spawn(|| sign(&*session, &keys[0]));
        barrier.wait();
        // The first one is still being asked for.
        assert_eq!(sign(&*session, &keys[1]), Ok(()));
        barrier.wait();
        let refused = first.join().unwrap();
        assert!(
            matches!(refused, Err(TokenError::Refused(_))),
            "{refused:?}"
        );
    });
}

#[test]
fn several_pins_are_several_tokens_unless_it_is_one() {
    let two = || vec![credential(P256, &["pin"]), credential(P256, &["pin"])];
    let world = World::new(Fake::new(1, two()), &[]);
    let answer = world
        .session()
        .login(Role::User, &world.inventory.keys, None, PIN.as_bytes());
    let Err(TokenError::Refused(why)) = answer else {
        panic!("{answer:?}")
    };
    assert!(why.as_str().contains("shared_pin"), "{why}");
    assert!(world.fake.calls().is_empty());

    let world = World::new(Fake::new(1, two()), &[("shared_pin", Value::Flag(true))]);
    let (session, keys) = (world.session(), &world.inventory.keys);
    session
        .login(Role::User, keys, None, PIN.as_bytes())
        .unwrap();
    assert_eq!(world.fake.calls().len(), 1);
    for _ in 0..2 {
        keys.iter().for_each(|key| sign(&*session, key).unwrap());
    }
    // One more authorisation, of the second key when it was used first.
    assert_eq!(world.fake.calls().len(), 5);
    session.logout(Role::User);
    keys.iter().for_each(|key| {
        assert_eq!(sign(&*session, key), Err(TokenError::AuthenticationNeeded));
    });
}

#[test]
fn two_threads_open_a_credential_once() {
    let world = sharing(&["pin"]);
    let (session, keys) = (world.session(), &world.inventory.keys);
    login(&*session, keys, PIN).unwrap();
    let barrier = held(&world);
    world.fake.calls();
    thread::scope(|scope| {
        let first = scope.spawn(|| sign(&*session, &keys[1]));
        barrier.wait();
        // The login is for it, whoever opens it.
        assert_eq!(
            session.check_authenticated(&keys[1], Operation::Sign),
            Ok(())
        );
        let second = scope.spawn(|| sign(&*session, &keys[1]));
        barrier.wait();
        assert_eq!(first.join().unwrap(), Ok(()));
        assert_eq!(second.join().unwrap(), Ok(()));
    });
    let operations = world.fake.operations();
    let asked = operations
        .iter()
        .filter(|name| *name == "credentials/authorize");
    assert_eq!(asked.count(), 1, "{operations:?}");
}

#[test]
fn what_comes_after_a_logout_is_not_kept() {
    let world = sharing(&["pin"]);
    let (session, keys) = (world.session(), &world.inventory.keys);
    let during_authorisation = |begun: &(dyn Fn() -> Result<()> + Sync), end: Role| {
        let barrier = held(&world);
        thread::scope(|scope| {
            let begun = scope.spawn(begun);
            barrier.wait();
            session.logout(end);
            barrier.wait();
            // It began before.
            assert_eq!(begun.join().unwrap(), Ok(()));
        });
        for key in keys {
            let needed = Err(TokenError::AuthenticationNeeded);
            assert_eq!(session.check_authenticated(key, Operation::Sign), needed);
            assert_eq!(sign(&*session, key), needed);
        }
    };
    during_authorisation(&|| login(&*session, keys, PIN), Role::User);
    login(&*session, keys, PIN).unwrap();
    during_authorisation(&|| sign(&*session, &keys[1]), Role::User);

    let mut single = credential(P256, &["pin"]);
    single.multisign = 1;
    let world = World::new(Fake::new(1, vec![single]), &[]);
    let (session, keys) = (world.session(), &world.inventory.keys);
    for end in [Role::Context, Role::User] {
        let barrier = held(&world);
        thread::scope(|scope| {
            let context = || session.login(Role::Context, keys, Some(&keys[0]), PIN.as_bytes());
            let begun = scope.spawn(context);
            barrier.wait();
            session.logout(end);
            barrier.wait();
            assert_eq!(begun.join().unwrap(), Ok(()));
        });
        let needed = Err(TokenError::AuthenticationNeeded);
        assert_eq!(sign(&*session, &keys[0]), needed);
    }
}

#[test]
fn each_credential_is_opened_with_a_one_time_password_of_its_own() {
    let world = sharing(&["pin", "otp"]);
    let (session, keys) = (world.session(), &world.inventory.keys);
    let both = format!("{PIN},{OTP}");
    login(&*session, keys, &both).unwrap();
    for key in keys {
        assert!(matches!(
            world.service.constraint(key, Operation::Sign),
            Constraint::Auth(_, Reuse::Operation)
        ));
        let context = || session.login(Role::Context, keys, Some(key), both.as_bytes());
        for _ in 0..2 {
            context().unwrap();
            sign(&*session, key).unwrap();
        }
        assert_eq!(sign(&*session, key), Err(TokenError::AuthenticationNeeded));
    }
    // What has checked the login is good for a signature with the one that it was checked by.
    login(&*session, keys, &both).unwrap();
    sign(&*session, &keys[0]).unwrap();
    login(&*session, keys, &both).unwrap();
    assert_eq!(
        sign(&*session, &keys[1]),
        Err(TokenError::AuthenticationNeeded)
    );
    // Alone it is for as many signatures as the service allows.
    let world = World::new(Fake::new(1, vec![credential(P256, &["pin", "otp"])]), &[]);
    assert!(matches!(
        world
            .service
            .constraint(&world.inventory.keys[0], Operation::Sign),
        Constraint::Auth(_, Reuse::Session)
    ));
}

#[test]
fn a_login_is_checked_by_a_credential_that_is_not_switched_off() {
    let world = sharing(&["pin"]);
    let (session, keys) = (world.session(), &world.inventory.keys);
    world
        .fake
        .answer_by(|call| (call.body["credentialID"] == "c/1").then(|| (400, DISABLED.to_owned())));
    login(&*session, keys, PIN).unwrap();
    sign(&*session, &keys[1]).unwrap();
    let Err(TokenError::Refused(why)) = sign(&*session, &keys[0]) else {
        panic!("a credential that is switched off")
    };
    assert!(why.as_str().contains("disabled"), "{why}");
    sign(&*session, &keys[1]).unwrap();
    world.fake.calls();
    // A wrong PIN is tried with one.
    let wrong = TokenError::AuthenticationFailed { tries: None };
    world.fake.answer_well();
    assert_eq!(login(&*session, keys, "0000"), Err(wrong));
    assert_eq!(world.fake.operations(), ["credentials/authorize"]);
    // And so is one that is refused in words that nobody knows.
    world
        .fake
        .answer("credentials/authorize", 400, r#"{"error":"falsch"}"#);
    assert!(matches!(
        login(&*session, keys, PIN),
        Err(TokenError::Refused(_))
    ));
    assert_eq!(world.fake.operations(), ["credentials/authorize"]);
    // If all are, that is what a person hears.
    world.fake.answer("credentials/authorize", 400, DISABLED);
    let Err(TokenError::Refused(why)) = login(&*session, keys, PIN) else {
        panic!("two credentials that are switched off")
    };
    assert!(why.as_str().contains("disabled"), "{why}");
}

#[test]
fn a_credential_that_refuses_the_shared_pin_is_not_given_it_again() {
    for (answer, expected) in [
        (r#"{"error":"invalid_pin"}"#, "wrong PIN"),
        (
            r#"{"error":"invalid_request","error_description":"PIN locked"}"#,
            "locked",
        ),
        (r#"{"error":"falsch"}"#, "falsch"),
    ] {
        let world = sharing(&["pin"]);
        let (session, keys) = (world.session(), &world.inventory.keys);
        login(&*session, keys, PIN).unwrap();
        world.fake.calls();
        world.fake.answer("credentials/authorize", 400, answer);
        for _ in 0..2 {
            let error = sign(&*session, &keys[1]).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
        assert_eq!(world.fake.operations(), ["credentials/authorize"]);
        sign(&*session, &keys[0]).unwrap();
        // The next login asks anew.
        world.fake.answer_well();
        login(&*session, keys, PIN).unwrap();
        sign(&*session, &keys[1]).unwrap();
    }
    // One that is wrong is given to no other credential either.
    let three = (0..3).map(|_| credential(P256, &["pin"])).collect();
    let world = World::new(Fake::new(1, three), &[("shared_pin", Value::Flag(true))]);
    let (session, keys) = (world.session(), &world.inventory.keys);
    login(&*session, keys, PIN).unwrap();
    world.fake.calls();
    world
        .fake
        .answer("credentials/authorize", 400, r#"{"error":"invalid_pin"}"#);
    for key in [&keys[1], &keys[2]] {
        let wrong = TokenError::AuthenticationFailed { tries: None };
        assert_eq!(sign(&*session, key), Err(wrong));
    }
    assert_eq!(world.fake.operations(), ["credentials/authorize"]);
    // A service that has failed has not looked at it.
    let world = sharing(&["pin"]);
    let (session, keys) = (world.session(), &world.inventory.keys);
    login(&*session, keys, PIN).unwrap();
    for (status, body) in [(503, "{}"), (429, "{}"), (400, DISABLED)] {
        world.fake.answer("credentials/authorize", status, body);
        assert!(sign(&*session, &keys[1]).is_err());
    }
    world.fake.answer_well();
    sign(&*session, &keys[1]).unwrap();
}

/// What two credentials of different kinds are opened by, with one PIN.
#[test]
fn a_login_opens_what_lasts_and_counts_for_one_operation_of_the_rest() {
    let mixed = vec![
        Credential {
            scal: 2,
            ..credential(P256, &["pin"])
        },
        credential(P256, &["pin"]),
        credential(P256, &["implicit"]),
        credential(P256, &["pin"]),
    ];
    let world = World::new(Fake::new(1, mixed), &[("shared_pin", Value::Flag(true))]);
    let (session, keys) = (world.session(), &world.inventory.keys);
    login(&*session, keys, PIN).unwrap();
    sign(&*session, &keys[0]).unwrap();
    assert_eq!(
        sign(&*session, &keys[0]),
        Err(TokenError::AuthenticationNeeded)
    );
    sign(&*session, &keys[1]).unwrap();
    login(&*session, keys, PIN).unwrap();
    // Something else came first.
    sign(&*session, &keys[1]).unwrap();
    assert_eq!(
        sign(&*session, &keys[0]),
        Err(TokenError::AuthenticationNeeded)
    );
    login(&*session, keys, PIN).unwrap();
    sign(&*session, &keys[2]).unwrap();
    assert_eq!(
        sign(&*session, &keys[0]),
        Err(TokenError::AuthenticationNeeded)
    );
    // If its PIN is wrong for one, no other is given it.
    login(&*session, keys, PIN).unwrap();
    world
        .fake
        .answer("credentials/authorize", 400, r#"{"error":"invalid_pin"}"#);
    let wrong = TokenError::AuthenticationFailed { tries: None };
    assert_eq!(sign(&*session, &keys[0]), Err(wrong.clone()));
    world.fake.calls();
    assert_eq!(sign(&*session, &keys[3]), Err(wrong));
    assert!(world.fake.calls().is_empty());
}
