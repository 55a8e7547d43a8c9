//! A stored PIN: when it is sent, and when not again.

use super::*;

const ONE: &[u8] = b"k\x01";
const TWO: &[u8] = b"k\x02";

/// Authenticates for one operation, as a program does that gives no PIN.
fn log_in_for(session: &dyn TokenSession, key: &[u8], secret: AuthSecret<'_>) -> Result<()> {
    let key = ObjectId::new(key);
    session
        .begin_auth(Role::Context, Some(&key))?
        .finish(secret)
}

/// Keys that want the PIN each time, at a service that looks at it with what is signed.
fn late() -> Arc<Store> {
    Arc::new(Store {
        reuse_operation: true,
        looks_late: true,
        ..Store::default()
    })
}

const UNSENT: Result<usize> = Err(TokenError::AuthenticationFailed { tries: Some(2) });

#[test]
fn a_stored_pin_logs_in_when_the_program_asks() {
    let folder = TestFolder::new();
    let store = Arc::new(Store::default());
    let pin = PinSource::File(folder.write("pin", "1234\n"));
    let token = slot(config(pin, Login::App), &store).token().unwrap();
    assert_eq!(token.info().login, LoginPolicy::AppWithoutPin);
    assert!(token.contents().keys().all(Key::needs_auth));
    let session = token.create_session().unwrap();
    assert_eq!(sign(&*session), Err(TokenError::AuthenticationNeeded));
    assert_eq!(
        session.begin_auth(Role::User, None).unwrap().method(),
        AuthMethod::FromToken
    );
    assert_eq!(log_in(&*session, AuthSecret::FromToken), Ok(()));
    assert_eq!(sign(&*session), Ok(3));
    // What a program gives is checked by the key store, always.
    assert_eq!(log_in(&*session, AuthSecret::Pin(b"no")), WRONG);
    assert_eq!(log_in(&*session, AuthSecret::Pin(b"")), WRONG);
    assert_eq!(store.sent.load(Ordering::Relaxed), 3);
    // The administrator's secret is not ours to give.
    let admin = session.begin_auth(Role::Admin, None).unwrap();
    assert_eq!(
        admin.finish(AuthSecret::FromToken),
        Err(TokenError::BadParameter)
    );
}

#[test]
fn on_use_a_signature_logs_in() {
    let folder = TestFolder::new();
    for reuse_operation in [false, true] {
        let store = Arc::new(Store {
            reuse_operation,
            ..Store::default()
        });
        let pin = PinSource::File(folder.write("pin", "1234"));
        let token = slot(config(pin, Login::OnUse), &store).token().unwrap();
        assert_eq!(token.info().login, LoginPolicy::OnUse);
        let contents = token.contents();
        assert_eq!(contents.generation, 3);
        assert!(contents.keys().all(|key| {
            !key.needs_auth() && key.sign == Constraint::Free && key.decrypt == Constraint::Never
        }));
        let session = token.create_session().unwrap();
        assert_eq!((sign(&*session), sign(&*session)), (Ok(3), Ok(3)));
        let sent = if reuse_operation { 2 } else { 1 };
        assert_eq!(store.sent.load(Ordering::Relaxed), sent);
        session.end_auth(Role::User);
        assert_eq!(sign(&*session), Ok(3));
        assert_eq!(store.sent.load(Ordering::Relaxed), sent + 1);
    }
}

#[test]
fn a_wrong_stored_pin_is_sent_once() {
    let folder = TestFolder::new();
    for login in [Login::App, Login::OnUse] {
        let store = Arc::new(Store::default());
        let file = folder.write("pin", "wrong");
        let token = slot(config(PinSource::File(file), login), &store)
            .token()
            .unwrap();
        for _ in 0..3 {
            let session = token.create_session().unwrap();
            assert_eq!(log_in(&*session, AuthSecret::FromToken), WRONG);
            assert!(sign(&*session).is_err());
        }
        assert_eq!(store.sent.load(Ordering::Relaxed), 1);
        folder.write("pin", "1234");
        let session = token.create_session().unwrap();
        assert_eq!(log_in(&*session, AuthSecret::FromToken), Ok(()));
        assert_eq!(sign(&*session), Ok(3));
        assert_eq!(store.sent.load(Ordering::Relaxed), 2);
    }
}

/// A PIN file is often written before the key store that it is for.
#[test]
fn a_stored_pin_is_sent_again_to_a_store_that_counts_no_tries() {
    let folder = TestFolder::new();
    for login in [Login::App, Login::OnUse] {
        let store = Arc::new(Store {
            tries: None,
            ..Store::default()
        });
        let pin = PinSource::File(folder.write("pin", "new"));
        let token = slot(config(pin, login), &store).token().unwrap();
        let session = token.create_session().unwrap();
        for sent in 1..=2 {
            let refused = Err(TokenError::AuthenticationFailed { tries: None });
            assert_eq!(log_in(&*session, AuthSecret::FromToken), refused);
            assert_eq!(store.sent.load(Ordering::Relaxed), sent);
        }
        *store.pin.lock() = b"new".to_vec();
        if login == Login::App {
            assert_eq!(log_in(&*session, AuthSecret::FromToken), Ok(()));
        }
        assert_eq!(sign(&*session), Ok(3));
    }
}

#[test]
fn sessions_that_sign_at_once_log_in_each_for_itself() {
    let folder = TestFolder::new();
    let store = Arc::new(Store {
        meeting: Some(Barrier::new(2)),
        ..Store::default()
    });
    let pin = PinSource::File(folder.write("pin", "1234"));
    let token = slot(config(pin, Login::OnUse), &store).token().unwrap();
    thread::scope(|scope| {
        for _ in 0..2 {
            let session = token.create_session().unwrap();
            scope.spawn(move || assert_eq!(sign(&*session), Ok(3)));
        }
    });
    assert_eq!(store.sent.load(Ordering::Relaxed), 2);
}

#[test]
fn threads_that_sign_at_once_send_a_wrong_pin_once_together() {
    let folder = TestFolder::new();
    for (pin, right) in [("wrong", false), ("1234", true)] {
        let store = Arc::new(Store::default());
        let file = folder.write("pin", pin);
        let token = slot(config(PinSource::File(file), Login::OnUse), &store)
            .token()
            .unwrap();
        let session = token.create_session().unwrap();
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert_eq!(sign(&*session).is_ok(), right));
            }
        });
        assert_eq!(store.sent.load(Ordering::Relaxed), 1);
    }
}

#[test]
fn a_stored_pin_is_for_nobody_where_there_is_nothing_to_log_in_with() {
    let folder = TestFolder::new();
    for login in [Login::App, Login::OnUse] {
        let store = Arc::new(Store {
            login: LoginPolicy::OnUse,
            ..Store::default()
        });
        let pin = PinSource::File(folder.write("pin", "1234"));
        let token = slot(config(pin, login), &store).token().unwrap();
        assert_eq!(token.info().login, LoginPolicy::OnUse);
        assert_eq!(token.login_policy(), LoginPolicy::OnUse);
        let session = token.create_session().unwrap();
        let operation = session.begin_auth(Role::User, None).unwrap();
        assert_eq!(operation.method(), AuthMethod::Password);
    }
}

#[test]
fn a_missing_pin_source_says_so() {
    let store = Arc::new(Store::default());
    let pin = PinSource::File("/nonexistent/pin".into());
    let token = slot(config(pin, Login::OnUse), &store).token().unwrap();
    let error = sign(&*token.create_session().unwrap()).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/pin"), "{error}");
    assert_eq!(store.sent.load(Ordering::Relaxed), 0);
}

#[test]
fn a_stored_pin_is_not_changed_behind_its_store() {
    let is_refused = |answer: Result<()>| {
        let Err(TokenError::ReadOnly(reason)) = answer else {
            panic!("{answer:?}")
        };
        assert!(reason.as_str().contains("`ctk passwd "), "{reason}");
    };
    let folder = TestFolder::new();
    let stored = PinSource::File(folder.write("pin", "1234"));
    for (pin, login, changes) in [
        (PinSource::App, Login::App, true),
        (stored.clone(), Login::App, false),
        (stored, Login::OnUse, false),
    ] {
        let store = Arc::new(Store::default());
        let slot = slot(config(pin, login), &store);
        let session = slot.token().unwrap().create_session().unwrap();
        let change = |role| session.change_pin(role, AuthSecret::Pin(PIN), b"5678");
        if changes {
            let wrong = session.change_pin(Role::User, AuthSecret::Pin(b"wrong"), b"5678");
            assert!(matches!(
                wrong,
                Err(TokenError::AuthenticationFailed { .. })
            ));
            assert_eq!(change(Role::User), Ok(()));
            assert_eq!(*store.pin.lock(), b"5678");
            continue;
        }
        for role in [Role::User, Role::Context] {
            is_refused(change(role));
        }
        let from_token = session.change_pin(Role::User, AuthSecret::FromToken, b"5678");
        is_refused(from_token);
        is_refused(session.unblock_pin(b"5678"));
        assert_eq!(*store.pin.lock(), PIN);
        // The administrator's is not the stored one.
        assert_eq!(change(Role::Admin), Ok(()));
    }
}

#[test]
fn a_wrong_stored_pin_goes_out_once_for_all_keys_whose_service_looks_late() {
    let folder = TestFolder::new();
    for login in [Login::App, Login::OnUse] {
        let store = late();
        let sent = || store.sent.load(Ordering::Relaxed);
        let file = folder.write("pin", "wrong");
        let pin = PinSource::File(file);
        let token = slot(config(pin, login), &store).token().unwrap();
        let session = token.create_session().unwrap();
        let another = token.create_session().unwrap();
        if login == Login::App {
            // The second is there already when the first is refused.
            assert_eq!(log_in_for(&*session, ONE, AuthSecret::FromToken), Ok(()));
            assert_eq!(log_in_for(&*another, TWO, AuthSecret::FromToken), Ok(()));
        }
        assert_eq!(sign_with(&*session, ONE), UNSENT);
        assert_eq!(sign_with(&*another, TWO), UNSENT, "{login:?}");
        for key in [ONE, TWO] {
            for session in [&session, &another] {
                let again = log_in_for(&**session, key, AuthSecret::FromToken);
                assert_eq!(again, WRONG, "{login:?}");
                assert!(sign_with(&**session, key).is_err());
            }
        }
        assert_eq!(log_in(&*session, AuthSecret::FromToken), WRONG);
        assert_eq!(sent(), 1, "{login:?}");
        folder.write("pin", "1234");
        for key in [ONE, TWO] {
            if login == Login::App {
                assert_eq!(log_in_for(&*session, key, AuthSecret::FromToken), Ok(()));
            }
            assert_eq!(sign_with(&*session, key), Ok(3));
        }
        assert_eq!(sent(), 3);
    }
}

#[test]
fn threads_that_authenticate_for_one_operation_each_send_a_wrong_pin_once_together() {
    let folder = TestFolder::new();
    for (pin, right) in [("wrong", false), ("1234", true)] {
        let store = late();
        let file = folder.write("pin", pin);
        let token = slot(config(PinSource::File(file), Login::App), &store)
            .token()
            .unwrap();
        let sessions: Vec<_> = (0..8).map(|_| token.create_session().unwrap()).collect();
        for session in &sessions {
            assert_eq!(log_in_for(&**session, ONE, AuthSecret::FromToken), Ok(()));
        }
        thread::scope(|scope| {
            for session in &sessions {
                scope.spawn(|| assert_eq!(sign(&**session).is_ok(), right));
            }
        });
        let sent = store.sent.load(Ordering::Relaxed);
        assert_eq!(sent, if right { 8 } else { 1 });
    }
}

#[test]
fn threads_that_wait_for_a_service_that_does_not_answer_fail_together() {
    let folder = TestFolder::new();
    for (login, is_late) in [
        (Login::App, false),
        (Login::OnUse, false),
        (Login::App, true),
        (Login::OnUse, true),
    ] {
        let store = match is_late {
            true => late(),
            false => Arc::new(Store::default()),
        };
        let pin = PinSource::File(folder.write("pin", "1234"));
        let token = slot(config(pin, login), &store).token().unwrap();
        let prepare = |session: &dyn TokenSession| match (login, is_late) {
            (Login::App, true) => log_in_for(session, ONE, AuthSecret::FromToken),
            _ => Ok(()),
        };
        let begin = |session: &dyn TokenSession| match (login, is_late) {
            (Login::App, false) => log_in(session, AuthSecret::FromToken),
            _ => sign(session).map(|_| ()),
        };
        let sessions: Vec<_> = (0..THREADS)
            .map(|_| token.create_session().unwrap())
            .collect();
        for session in &sessions {
            assert_eq!(prepare(&**session), Ok(()));
        }
        store.stalls.store(true, Ordering::Release);
        thread::scope(|scope| {
            for session in &sessions {
                scope.spawn(|| {
                    store.begun.fetch_add(1, Ordering::Release);
                    assert_eq!(begin(&**session), Err(TokenError::TimedOut));
                });
            }
        });
        let sent = store.sent.load(Ordering::Relaxed);
        assert_eq!(sent, 1, "{login:?}, late: {is_late}");
        // Who comes later asks it again.
        let session = token.create_session().unwrap();
        assert_eq!(prepare(&*session), Ok(()));
        assert_eq!(begin(&*session), Err(TokenError::TimedOut));
        store.stalls.store(false, Ordering::Release);
        let session = token.create_session().unwrap();
        assert_eq!(prepare(&*session), Ok(()));
        assert_eq!(begin(&*session), Ok(()));
        assert_eq!(store.sent.load(Ordering::Relaxed), 3);
    }
}

#[test]
fn a_pin_of_the_program_says_nothing_about_the_stored_one() {
    let folder = TestFolder::new();
    let store = late();
    let pin = PinSource::File(folder.write("pin", "1234"));
    let token = slot(config(pin, Login::App), &store).token().unwrap();
    let session = token.create_session().unwrap();
    assert_eq!(log_in(&*session, AuthSecret::FromToken), Ok(()));
    assert_eq!(log_in_for(&*session, ONE, AuthSecret::Pin(b"no")), Ok(()));
    assert_eq!(sign(&*session), UNSENT);
    // Neither does one that was given up for it.
    assert_eq!(log_in_for(&*session, ONE, AuthSecret::FromToken), Ok(()));
    assert_eq!(log_in_for(&*session, ONE, AuthSecret::Pin(b"no")), Ok(()));
    assert_eq!(sign(&*session), UNSENT);
    assert_eq!(log_in_for(&*session, ONE, AuthSecret::FromToken), Ok(()));
    assert_eq!(sign(&*session), Ok(3));
}

#[test]
fn a_stored_pin_that_is_refused_after_the_login_is_not_sent_again() {
    let folder = TestFolder::new();
    let store = late();
    let pin = PinSource::File(folder.write("pin", "1234"));
    let token = slot(config(pin, Login::App), &store).token().unwrap();
    let session = token.create_session().unwrap();
    assert_eq!(log_in(&*session, AuthSecret::FromToken), Ok(()));
    assert_eq!(log_in_for(&*session, ONE, AuthSecret::FromToken), Ok(()));
    *store.pin.lock() = b"changed".to_vec();
    assert_eq!(sign(&*session), UNSENT);
    assert_eq!(log_in_for(&*session, TWO, AuthSecret::FromToken), WRONG);
    assert_eq!(log_in(&*session, AuthSecret::FromToken), WRONG);
    assert_eq!(store.sent.load(Ordering::Relaxed), 2);
}
