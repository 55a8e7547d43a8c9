//! A new password: files of every tool open with it in our reader and in the tools, and with the old
//! one no more; whatever goes wrong, the file stays what it was.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

mod support;

use std::{fs, os::unix::fs::PermissionsExt, process::Command, sync::Arc, thread, time::Duration};

use ctk_pkcs12::inspect;
use ctk_token::{AuthSecret, Result, Role, Token, TokenError, TokenSession};
use support::{
    Workshop,
    check::{Expected, check},
    configuration, log_in, shrouded, sign, token,
    writer::{self, bag, certificate_bag, data, friendly_name, local_key_id, sequence},
};

const OLD: &str = "correct horse";
const NEW: &str = "neues Paßwort €";

fn change(session: &dyn TokenSession, old: &[u8], new: &[u8]) -> Result<()> {
    session.change_pin(Role::User, AuthSecret::Pin(old), new)
}

fn session(
    workshop: &Workshop,
    file: &str,
    password: &str,
) -> (Arc<dyn Token>, Arc<dyn TokenSession>) {
    let path = workshop.path(file);
    let token = token(configuration(
        &path,
        inspect(&path, password.as_bytes()).unwrap(),
    ));
    let session = token.create_session().unwrap();
    (token, session)
}

/// Changes the password of a file and looks at it with the eyes of others.
fn changed(
    workshop: &Workshop,
    file: &str,
    old: &str,
    new: &str,
    expected: Expected<'_>,
    certificates: usize,
) {
    println!("{file}: {old:?} to {new:?}");
    let before = listed(workshop, file, old);
    let inventory = inspect(&workshop.path(file), old.as_bytes()).unwrap();
    let (token, session) = session(workshop, file, old);
    log_in(&*session, old.as_bytes()).unwrap();
    change(&*session, old.as_bytes(), new.as_bytes()).unwrap();
    // The login lasts.
    for key in token.contents().keys() {
        assert!(sign(&*session, key, 1).is_ok(), "{file}");
    }
    assert!(log_in(&*session, old.as_bytes()).is_err(), "{file}");
    log_in(&*session, new.as_bytes()).unwrap();
    let again = check(workshop, file, new, expected, certificates);
    assert_eq!(again, inventory, "{file}");
    // Not by assert_eq!, which would print the keys.
    assert!(listed(workshop, file, new) == before, "{file}");
    let arguments = ["--p12-info", "--inder", "--infile", file, "--password", new];
    workshop.run("certtool", &arguments);
}

/// What openssl reads in a file: every key and certificate with its attributes, in order.
fn listed(workshop: &Workshop, file: &str, password: &str) -> Vec<u8> {
    let password = format!("pass:{password}");
    let arguments = [
        "pkcs12", "-in", file, "-nodes", "-legacy", "-passin", &password,
    ];
    workshop.run("openssl", &arguments).stdout
}

#[test]
fn files_of_openssl_in_every_protection() {
    let workshop = Workshop::new();
    workshop.identity("rsa", "rsa");
    workshop.identity("ec", "ec");
    for (name, options) in [
        ("rsa", ""),
        ("ec", "-legacy"),
        ("ec", "-nomac"),
        ("ec", "-certpbe NONE"),
        ("ec", "-keypbe NONE"),
        ("ec", "-keypbe NONE -certpbe NONE"),
        ("ec", "-macalg sha512 -iter 100000"),
    ] {
        let line =
            format!("pkcs12 -export -inkey {name}.key -in {name}.crt -out file.p12 {options}");
        let password = format!("pass:{OLD}");
        let arguments: Vec<&str> = line.split_whitespace().collect();
        let named = ["-name", "Näme €", "-passout", &password];
        workshop.run("openssl", &[&arguments[..], &named].concat());
        println!("{options}");
        changed(
            &workshop,
            "file.p12",
            OLD,
            NEW,
            &[(name, "Näme €", true)],
            1,
        );
    }
    changed(
        &workshop,
        "file.p12",
        NEW,
        "𝄞",
        &[("ec", "Näme €", true)],
        1,
    );
    let longest = "x".repeat(255);
    let (_, session) = session(&workshop, "file.p12", "𝄞");
    change(&*session, "𝄞".as_bytes(), longest.as_bytes()).unwrap();
    listed(&workshop, "file.p12", &longest);
    log_in(&*session, longest.as_bytes()).unwrap();
}

/// How often the password is hashed: for the MAC, and for each encrypted part.
fn iterations(workshop: &Workshop, file: &str, password: &str) -> Vec<u32> {
    let line = format!("pkcs12 -info -noout -in {file} -passin pass:{password}");
    let said = workshop.openssl(&line).stderr;
    let said = String::from_utf8(said).unwrap();
    let told = said.split("Iteration ").skip(1);
    told.map(|number| {
        let end = number.find(|character: char| !character.is_ascii_digit());
        number[..end.unwrap()].parse().unwrap()
    })
    .collect()
}

#[test]
fn a_file_is_hashed_no_less_than_before() {
    let workshop = Workshop::new();
    workshop.identity("ec", "ec");
    for (options, before, after) in [
        ("-iter 400000 -macalg sha256", [400_000; 3], [400_000; 3]),
        // Whoever guesses does so where it is cheapest: that is what counts.
        (
            "-iter 400000 -nomaciter",
            [1, 400_000, 400_000],
            [300_000; 3],
        ),
        ("-iter 2048", [2_048; 3], [300_000; 3]),
    ] {
        workshop.openssl(&format!(
            "pkcs12 -export -inkey ec.key -in ec.crt -out file.p12 -passout pass:old {options}"
        ));
        assert_eq!(iterations(&workshop, "file.p12", "old"), before);
        let (_, session) = session(&workshop, "file.p12", "old");
        change(&*session, b"old", b"new").unwrap();
        assert_eq!(iterations(&workshop, "file.p12", "new"), after, "{options}");
    }
}

#[test]
fn a_file_that_no_password_protected_is_closed() {
    let workshop = Workshop::new();
    workshop.identity("ec", "ec");
    workshop.openssl(
        "pkcs12 -export -inkey ec.key -in ec.crt -out open.p12 \
                 -nomac -keypbe NONE -certpbe NONE -passout pass:x",
    );
    let plain = workshop
        .openssl("pkcs8 -topk8 -nocrypt -in ec.key -outform DER")
        .stdout;
    let in_the_clear = |file: &[u8]| file.windows(plain.len()).any(|bytes| bytes == plain);
    assert!(in_the_clear(&workshop.read("open.p12")));
    changed(&workshop, "open.p12", "", NEW, &[("ec", "ec", true)], 1);
    assert!(!in_the_clear(&workshop.read("open.p12")));
}

#[test]
fn files_of_nss_stay_files_for_nss() {
    let workshop = Workshop::new();
    workshop.run("certutil", &["-N", "-d", "sql:.", "--empty-password"]);
    for kind in ["rsa", "ec"] {
        workshop.key(kind, kind);
        workshop.openssl(&format!(
            "req -x509 -new -key {kind}.key -out {kind}.crt -days 30 -subj /CN=User"
        ));
        workshop.openssl(&format!(
            "pkcs12 -export -inkey {kind}.key -in {kind}.crt -out in.p12 -name User -passout pass:x"
        ));
        workshop.run("pk12util", &["-i", "in.p12", "-d", "sql:.", "-W", "x"]);
    }
    let arguments = ["-o", "nss.p12", "-d", "sql:.", "-n", "User", "-W", OLD];
    workshop.run("pk12util", &arguments);
    assert_eq!(workshop.read("nss.p12")[..2], [0x30, 0x80]);
    let expected = [("rsa", "User", true), ("ec", "User", true)];
    changed(&workshop, "nss.p12", OLD, NEW, &expected, 2);
    fs::create_dir(workshop.path("db")).unwrap();
    workshop.run("certutil", &["-N", "-d", "sql:db", "--empty-password"]);
    workshop.run("pk12util", &["-i", "nss.p12", "-d", "sql:db", "-W", NEW]);
    let keys = workshop.run("certutil", &["-K", "-d", "sql:db"]).stdout;
    let keys = String::from_utf8(keys).unwrap();
    assert_eq!(keys.lines().filter(|line| line.starts_with('<')).count(), 2);
}

/// Java keeps secret keys in bags of its own, and marks certificates that it trusts.
#[test]
fn keystores_of_java_keep_everything() {
    let workshop = Workshop::new();
    workshop.identity("rsa", "rsa");
    workshop.identity("Root", "ec");
    workshop.openssl(
        "pkcs12 -export -inkey rsa.key -in rsa.crt -out rsa.p12 -name rsa -passout pass:changeit",
    );
    for line in [
        "-importkeystore -srckeystore rsa.p12 -srcstorepass changeit \
         -destkeystore java.p12 -deststoretype PKCS12 -deststorepass changeit",
        "-importcert -noprompt -alias root -file Root.crt -keystore java.p12 -storepass changeit",
        "-genseckey -alias secret -keyalg AES -keysize 256 -keystore java.p12 -storepass changeit",
    ] {
        workshop.run("keytool", &line.split_whitespace().collect::<Vec<_>>());
    }
    let entries = |password: &str| {
        let arguments = ["-list", "-keystore", "java.p12", "-storepass", password];
        let listed = workshop.run("keytool", &arguments).stdout;
        let listed = String::from_utf8(listed).unwrap();
        // keytool needs the password of each entry to copy it, which is the proof that it opens.
        let line = format!(
            "-importkeystore -noprompt -srckeystore java.p12 -srcstorepass {password} \
             -destkeystore copy-{password}.p12 -deststoretype PKCS12 -deststorepass {password}"
        );
        workshop.run("keytool", &line.split_whitespace().collect::<Vec<_>>());
        assert!(!workshop.read(&format!("copy-{password}.p12")).is_empty());
        let mut kinds: Vec<String> = listed
            .lines()
            .filter(|line| line.ends_with("Entry,") || line.ends_with("Entry, "))
            .map(|line| line.trim().to_owned())
            .collect();
        kinds.sort();
        kinds
    };
    let before = entries("changeit");
    assert_eq!(before.len(), 3, "{before:?}");
    let (_, session) = session(&workshop, "java.p12", "changeit");
    change(&*session, b"changeit", b"changed-it").unwrap();
    assert_eq!(entries("changed-it"), before);
}

/// Attributes of Windows, certificates in the clear, strings in pieces.
#[test]
fn odd_files_keep_their_attributes() {
    let workshop = Workshop::new();
    workshop.identity("rsa", "rsa");
    workshop.identity("ec", "ec");
    let attributes = |id: u8, name: &str| {
        let csp = writer::tlv(0x1e, &[0, b'C', 0, b'S', 0, b'P']);
        [
            local_key_id(&[id, 0, 0, 0]),
            friendly_name(name),
            writer::attribute("1.3.6.1.4.1.311.17.1", &csp),
            sequence(&[writer::oid("1.3.6.1.4.1.311.17.2"), writer::set(&[])]),
        ]
    };
    let keys = ["rsa", "ec"].iter().zip(1..).map(|(name, id)| {
        let key = shrouded(&workshop, name, OLD, "-v1 PBE-SHA1-3DES");
        bag(
            writer::SHROUDED_KEY_BAG,
            &key,
            &attributes(id, &format!("{{{name}}}")),
        )
    });
    let certificates = ["ec", "rsa"].iter().zip([2, 1]);
    let certificates = certificates
        .map(|(name, id)| certificate_bag(&workshop.der(name), &[local_key_id(&[id, 0, 0, 0])]));
    let inner = sequence(&certificates.collect::<Vec<_>>());
    let nested = sequence(&[bag(writer::SAFE_CONTENTS_BAG, &inner, &[])]);
    let safe = sequence(&[data(&sequence(&keys.collect::<Vec<_>>())), data(&nested)]);
    let expected = [("rsa", "{rsa}", true), ("ec", "{ec}", true)];
    for safe in [safe.clone(), writer::to_ber(&safe, 1)] {
        let pfx = writer::pfx(&safe, Some(writer::sha1_mac(&safe, OLD)));
        for file in [pfx.clone(), writer::to_ber(&pfx, 0)] {
            workshop.write("windows.p12", &file);
            changed(&workshop, "windows.p12", OLD, NEW, &expected, 2);
        }
    }
}

/// A file for what follows, and its bytes.
fn work(workshop: &Workshop) -> Vec<u8> {
    workshop.identity("ec", "ec");
    workshop.openssl("pkcs12 -export -inkey ec.key -in ec.crt -out work.p12 -passout pass:correct");
    workshop.read("work.p12")
}

#[test]
fn what_is_refused_changes_nothing() {
    let workshop = Workshop::new();
    let before = work(&workshop);
    let (token, session) = session(&workshop, "work.p12", "correct");
    let contents = token.contents();
    let key = contents.keys().next().unwrap();
    for logged_in in [false, true] {
        if logged_in {
            log_in(&*session, b"correct").unwrap();
        }
        let wrong = Err(TokenError::AuthenticationFailed { tries: None });
        let length = |min| Err(TokenError::PinLength { min, max: 255 });
        let no_text = Err(TokenError::DataInvalid);
        let long = [b'x'; 256];
        for (old, new, expected) in [
            (&b"wrong"[..], &b"new"[..], &wrong),
            (b"", b"new", &wrong),
            (b"new", b"new", &wrong),
            (&long, b"new", &length(0)),
            (b"correct", &long, &length(1)),
            (b"correct", b"", &length(1)),
            (b"correct", b"\xff\xfe", &no_text),
            (b"correct", b"a\0b", &no_text),
        ] {
            assert_eq!(change(&*session, old, new), *expected, "{old:?} {new:?}");
        }
        let from_token = session.change_pin(Role::User, AuthSecret::FromToken, b"new");
        assert_eq!(from_token, Err(TokenError::BadParameter));
        for role in [Role::Context, Role::Admin, Role::Unblock] {
            let answer = session.change_pin(role, AuthSecret::Pin(b"correct"), b"new");
            assert_eq!(answer, Err(TokenError::NotSupported), "{role:?}");
        }
        assert_eq!(workshop.read("work.p12"), before);
        assert_eq!(sign(&*session, key, 1).is_ok(), logged_in);
    }

    let path = workshop.path("work.p12");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    let Err(TokenError::ReadOnly(reason)) = change(&*session, b"correct", b"new") else {
        panic!("a file without any right to write was changed")
    };
    assert!(
        reason.as_str().contains("work.p12: it cannot be replaced"),
        "{reason}"
    );
    assert_eq!(workshop.read("work.p12"), before);
    assert_eq!(
        names(&workshop)
            .iter()
            .filter(|name| name.contains(".new"))
            .count(),
        0
    );

    // Replaced by another key of the same password: it is not this token's to change.
    workshop.identity("other", "ec");
    workshop.openssl(
        "pkcs12 -export -inkey other.key -in other.crt -out work.p12 -passout pass:correct",
    );
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let before = workshop.read("work.p12");
    let Err(TokenError::Corrupted(reason)) = change(&*session, b"correct", b"new") else {
        panic!()
    };
    assert!(reason.as_str().contains("replaced"), "{reason}");
    assert_eq!(workshop.read("work.p12"), before);

    fs::remove_file(&path).unwrap();
    let gone = change(&*session, b"correct", b"new");
    assert!(matches!(gone, Err(TokenError::Unreachable(_))), "{gone:?}");
}

fn names(workshop: &Workshop) -> Vec<String> {
    let entries = fs::read_dir(workshop.path("")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name());
    names
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}

#[test]
fn a_part_with_another_password_is_not_lost() {
    let workshop = Workshop::new();
    workshop.identity("ec", "ec");
    workshop.key("other", "ec");
    let bags = [("ec", OLD), ("other", "unknown")].map(|(name, password)| {
        let key = shrouded(&workshop, name, password, "");
        bag(writer::SHROUDED_KEY_BAG, &key, &[])
    });
    let safe = sequence(&[data(&sequence(&bags))]);
    for mac in [None, Some(writer::sha1_mac(&safe, OLD))] {
        let file = writer::pfx(&safe, mac);
        workshop.write("two.p12", &file);
        let (_, session) = session(&workshop, "two.p12", OLD);
        let Err(TokenError::Corrupted(reason)) = change(&*session, OLD.as_bytes(), b"new") else {
            panic!()
        };
        assert!(
            reason.as_str().contains("was not changed: parts of it"),
            "{reason}"
        );
        assert_eq!(workshop.read("two.p12"), file);
    }
}

/// Set for a process of its own that changes the password of this file to and fro until it is killed.
const CHANGED: &str = "CTK_TEST_CHANGED";

#[test]
fn a_process_that_is_killed_leaves_a_file_with_one_of_the_passwords() {
    if let Some(file) = std::env::var_os(CHANGED) {
        let passwords = [b"correct", b"another"];
        let contents = passwords
            .iter()
            .find_map(|password| inspect(file.as_ref(), *password).ok());
        let token = token(configuration(file.as_ref(), contents.unwrap()));
        let session = token.create_session().unwrap();
        loop {
            let _ = change(&*session, b"correct", b"another");
            let _ = change(&*session, b"another", b"correct");
        }
    }
    let workshop = Workshop::new();
    work(&workshop);
    let path = workshop.path("work.p12");
    let expected = inspect(&path, b"correct").unwrap();
    for round in 0..6 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "a_process_that_is_killed_leaves_a_file_with_one_of_the_passwords",
            ])
            .env(CHANGED, &path)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // Where in a change it is then is chance; what must hold holds everywhere.
        thread::sleep(Duration::from_millis(700 + 331 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        let opened = [&b"correct"[..], b"another"].map(|password| inspect(&path, password));
        assert!(
            opened.contains(&Ok(expected.clone())),
            "{round}: {opened:?}"
        );
        assert_eq!(opened.iter().filter(|opened| opened.is_ok()).count(), 1);
    }
    // And another change finds nothing in its way.
    let (_, session) = match inspect(&path, b"correct") {
        Ok(_) => session(&workshop, "work.p12", "correct"),
        Err(_) => session(&workshop, "work.p12", "another"),
    };
    let changed = [&b"correct"[..], b"another"].map(|old| change(&*session, old, b"new"));
    assert!(changed.contains(&Ok(())), "{changed:?}");
    inspect(&path, b"new").unwrap();
    assert!(!names(&workshop).iter().any(|name| name.contains(".new")));
}

#[test]
fn of_two_changes_at_once_one_wins() {
    let workshop = Workshop::new();
    work(&workshop);
    let (_, one) = session(&workshop, "work.p12", "correct");
    let (_, two) = session(&workshop, "work.p12", "correct");
    let changed = thread::scope(|scope| {
        let threads = [(one, b"one"), (two, b"two")]
            .map(|(session, new)| scope.spawn(move || (change(&*session, b"correct", new), new)));
        threads.map(|thread| thread.join().unwrap())
    });
    for (answer, new) in changed {
        let opened = inspect(&workshop.path("work.p12"), new);
        match answer {
            Ok(()) => assert!(opened.is_ok(), "{opened:?}"),
            Err(TokenError::AuthenticationFailed { .. }) => assert!(opened.is_err()),
            Err(error) => panic!("{error}"),
        }
    }
}
