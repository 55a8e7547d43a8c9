//! Logins: what the password decides, what a changed file does, and that use in many threads is
//! safe.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

mod support;

use std::{
    collections::HashSet,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use ctk_pkcs12::{CertificateRecord, Inventory, KeyRecord, inspect};
use ctk_token::{Role, TokenError, TokenSession};
use support::{Workshop, configuration, log_in, request, sign, token};

#[test]
fn a_file_that_checks_no_password_takes_the_empty_one_only() {
    let workshop = Workshop::new();
    workshop.identity("ec", "ec");
    workshop.openssl(
        "pkcs12 -export -inkey ec.key -in ec.crt -out open.p12 \
                 -nomac -keypbe NONE -certpbe NONE -passout pass:x",
    );
    let path = workshop.path("open.p12");
    let Err(TokenError::Corrupted(reason)) = inspect(&path, b"x") else {
        panic!()
    };
    assert!(
        reason.as_str().contains("no password protects it"),
        "{reason}"
    );
    let token = token(configuration(&path, inspect(&path, b"").unwrap()));
    let session = token.create_session().unwrap();
    for pin in [&b"x"[..], b"1234", b"\0"] {
        assert_eq!(
            log_in(&*session, pin),
            Err(TokenError::AuthenticationFailed { tries: None })
        );
    }
    log_in(&*session, b"").unwrap();
    assert!(sign(&*session, token.contents().keys().next().unwrap(), 1).is_ok());
}

#[test]
fn a_login_that_races_its_end_is_whole_or_not_at_all() {
    let workshop = Workshop::new();
    workshop.identity("ec", "ec");
    workshop.openssl(
        "pkcs12 -export -inkey ec.key -in ec.crt -out work.p12 -iter 1 -maciter \
                 -passout pass:correct",
    );
    let path = workshop.path("work.p12");
    let token = token(configuration(&path, inspect(&path, b"correct").unwrap()));
    let contents = token.contents();
    let key = contents.keys().next().unwrap();
    for _ in 0..100 {
        let session = token.create_session().unwrap();
        let logged_in = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                log_in(&*session, b"correct").unwrap();
                logged_in.store(true, Ordering::SeqCst);
            });
            while !logged_in.load(Ordering::SeqCst) {
                session.end_auth(Role::User);
            }
        });
        // More threads than there are places in which the keys could be.
        let answers: Vec<bool> = (0..20)
            .map(|_| thread::scope(|scope| scope.spawn(|| sign(&*session, key, 1).is_ok()).join()))
            .map(Result::unwrap)
            .collect();
        let signed = answers.iter().filter(|signed| **signed).count();
        assert!([0, answers.len()].contains(&signed), "{answers:?}");
    }
}

#[test]
fn a_failed_login_leaves_an_earlier_one_alone() {
    let workshop = Workshop::new();
    workshop.identity("ec", "ec");
    workshop.openssl("pkcs12 -export -inkey ec.key -in ec.crt -out work.p12 -passout pass:correct");
    let path = workshop.path("work.p12");
    let inventory = inspect(&path, b"correct").unwrap();
    let token = token(configuration(&path, inventory));
    let session = token.create_session().unwrap();
    let contents = token.contents();
    let key = contents.keys().next().unwrap();
    log_in(&*session, b"correct").unwrap();
    let works = |session: &dyn TokenSession| assert!(sign(session, key, 7).is_ok());

    assert!(matches!(
        log_in(&*session, b"wrong"),
        Err(TokenError::AuthenticationFailed { .. })
    ));
    works(&*session);
    let too_long = log_in(&*session, &[b'x'; 256]);
    assert_eq!(too_long, Err(TokenError::PinLength { min: 0, max: 255 }));
    works(&*session);

    // Renewed: the same key, another certificate.
    workshop.openssl("req -x509 -new -key ec.key -out ec.crt -days 60 -subj /CN=renewed");
    workshop.openssl("pkcs12 -export -inkey ec.key -in ec.crt -out work.p12 -passout pass:correct");
    log_in(&*session, b"correct").unwrap();
    works(&*session);

    // Replaced: another key of the same name and password.
    workshop.identity("other", "ec");
    workshop.openssl(
        "pkcs12 -export -inkey other.key -in other.crt -out work.p12 -passout pass:correct",
    );
    works(&*session);
    let Err(TokenError::Corrupted(reason)) = log_in(&*session, b"correct") else {
        panic!()
    };
    assert!(
        reason.as_str().contains("replaced: run `ctk update work`"),
        "{reason}"
    );
    works(&*session);
    assert!(matches!(
        log_in(&*session, b"wrong"),
        Err(TokenError::AuthenticationFailed { .. })
    ));

    let whole = workshop.read("work.p12");
    workshop.write("work.p12", &whole[..whole.len() / 2]);
    let Err(TokenError::Corrupted(reason)) = log_in(&*session, b"correct") else {
        panic!()
    };
    assert!(reason.as_str().contains("damaged"), "{reason}");
    works(&*session);

    std::fs::remove_file(&path).unwrap();
    let Err(TokenError::Unreachable(reason)) = log_in(&*session, b"correct") else {
        panic!()
    };
    assert!(
        reason.as_str().contains("no such file: put it back"),
        "{reason}"
    );
    assert!(reason.as_str().contains("`ctk remove work`"), "{reason}");
    works(&*session);

    session.end_auth(Role::User);
    assert_eq!(
        sign(&*session, key, 7),
        Err(TokenError::AuthenticationNeeded)
    );
}

#[test]
fn nothing_but_a_login_touches_the_file() {
    let workshop = Workshop::new();
    workshop.identity("ec", "ec");
    workshop.openssl("pkcs12 -export -inkey ec.key -in ec.crt -out work.p12 -passout pass:correct");
    let inventory = inspect(&workshop.path("work.p12"), b"correct").unwrap();
    let token = token(configuration(&workshop.path("gone.p12"), inventory));
    let session = token.create_session().unwrap();
    let contents = token.contents();
    let key = contents.keys().next().unwrap();
    let (algorithm, _) = request(key, 0);
    assert_eq!(token.info().label, "Work");
    assert_eq!(contents.certificates().count(), 1);
    assert!(session.supports(ctk_token::Operation::Sign, &key.id, algorithm));
    assert!(!session.supports(ctk_token::Operation::Decrypt, &key.id, algorithm));
    for role in [Role::Context, Role::Admin, Role::Unblock] {
        let refused = session.begin_auth(role, Some(&key.id)).err();
        assert_eq!(refused, Some(TokenError::NotSupported), "{role:?}");
    }
    session.end_auth(Role::User);
    assert!(matches!(
        log_in(&*session, b"correct"),
        Err(TokenError::Unreachable(_))
    ));
}

#[test]
fn a_record_that_makes_no_sense_costs_itself_only() {
    let workshop = Workshop::new();
    workshop.identity("ec", "ec");
    workshop.openssl("pkcs12 -export -inkey ec.key -in ec.crt -out work.p12 -passout pass:correct");
    let path = workshop.path("work.p12");
    let Inventory {
        keys, certificates, ..
    } = inspect(&path, b"correct").unwrap();
    let (key, certificate) = (&keys[0], &certificates[0]);
    let broken = Inventory {
        keys: vec![
            KeyRecord {
                spki: vec![0x30, 0],
                identity: vec![1],
                ..key.clone()
            },
            KeyRecord {
                identity: vec![],
                ..key.clone()
            },
            KeyRecord {
                identity: vec![1; 256],
                ..key.clone()
            },
            key.clone(),
            key.clone(),
        ],
        certificates: vec![
            CertificateRecord {
                der: vec![1],
                identity: vec![1],
                ..certificate.clone()
            },
            CertificateRecord {
                identity: vec![],
                ..certificate.clone()
            },
            certificate.clone(),
            certificate.clone(),
        ],
        ..Inventory::default()
    };
    let token = token(configuration(&path, broken));
    let contents = token.contents();
    let ids: HashSet<_> = contents.items.iter().map(ctk_token::Item::id).collect();
    assert_eq!((contents.items.len(), ids.len()), (2, 2));
    let session = token.create_session().unwrap();
    log_in(&*session, b"correct").unwrap();
    assert!(sign(&*session, contents.keys().next().unwrap(), 1).is_ok());
}

#[test]
fn logins_and_signatures_in_many_threads() {
    let workshop = Workshop::new();
    workshop.identity("ec", "ec");
    workshop.openssl("pkcs12 -export -inkey ec.key -in ec.crt -out work.p12 -passout pass:correct");
    let path = workshop.path("work.p12");
    let token = token(configuration(&path, inspect(&path, b"correct").unwrap()));
    let session = token.create_session().unwrap();
    let contents = token.contents();
    let key = contents.keys().next().unwrap();
    let done = AtomicBool::new(false);
    let signed: usize = thread::scope(|scope| {
        let signer = || {
            let mut signed = 0;
            while !done.load(Ordering::Relaxed) {
                match sign(&*session, key, 1) {
                    Ok((input, signature)) => {
                        let (algorithm, _) = request(key, 1);
                        let fits =
                            ctk_crypto::verify(&key.public_key, algorithm, &input, &signature);
                        assert_eq!(fits, Ok(true));
                        signed += 1;
                    }
                    Err(error) => assert_eq!(error, TokenError::AuthenticationNeeded),
                }
            }
            signed
        };
        let signers = [scope.spawn(signer), scope.spawn(signer)];
        for _ in 0..50 {
            log_in(&*session, b"correct").unwrap();
            assert!(log_in(&*session, b"wrong").is_err());
            assert!(sign(&*session, key, 2).is_ok());
            session.end_auth(Role::User);
        }
        done.store(true, Ordering::Relaxed);
        signers
            .into_iter()
            .map(|signer| signer.join().unwrap())
            .sum()
    });
    assert!(signed > 0);
    assert_eq!(
        sign(&*session, key, 1),
        Err(TokenError::AuthenticationNeeded)
    );
}
