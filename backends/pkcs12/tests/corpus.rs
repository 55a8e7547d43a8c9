//! Files of every tool at hand: their identities are found, sign, and are refused to a wrong password.
//!
//! The files are made here. A tool that is missing fails the test; softhsm-tests/run.sh installs all of them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

mod support;

use std::{collections::HashSet, path::Path};

use ctk_pkcs12::{Inventory, inspect};
use ctk_token::{TokenError, TokenSession};
use support::{
    Workshop, configuration, log_in, sign, token,
    writer::{self, bag, certificate_bag, data, friendly_name, local_key_id, sequence},
};

const PASSWORD: &str = "correct horse";
const UTF8_PASSWORD: &str = "pässwörd €";

/// What a file must turn out to hold: name of the key made by the workshop, label, whether it has a certificate.
type Expected<'a> = &'a [(&'a str, &'a str, bool)];

/// Checks one file from the outside, as `ctk add` and a program use it.
fn check(
    workshop: &Workshop,
    file: &str,
    password: &str,
    expected: Expected<'_>,
    certificates: usize,
) -> Inventory {
    let path = workshop.path(file);
    let inventory = inspect(&path, password.as_bytes())
        .unwrap_or_else(|error| panic!("{file} does not open: {error}"));
    assert_eq!(
        inventory.keys.len(),
        expected.len(),
        "{file}: {inventory:#?}"
    );
    assert_eq!(
        inventory.certificates.len(),
        certificates,
        "{file}: {inventory:#?}"
    );
    for (name, label, certified) in expected {
        let spki = workshop.spki(name);
        let key = inventory
            .keys
            .iter()
            .find(|key| key.spki == spki)
            .unwrap_or_else(|| panic!("{file}: the key {name} is not in it: {inventory:#?}"));
        assert_eq!(key.label, *label, "{file}");
        assert_eq!(key.identity.len(), 20, "{file}");
        let certificate = inventory
            .certificates
            .iter()
            .find(|c| c.identity == key.identity);
        assert_eq!(
            certificate.is_some(),
            *certified,
            "{file}: the certificate of {name}"
        );
        assert_eq!(key.subject.is_some(), *certified, "{file}");
        if let Some(certificate) = certificate {
            assert_eq!(certificate.der, workshop.der(name), "{file}");
            assert_eq!(certificate.label, *label, "{file}");
        }
    }
    refuses_wrong_passwords(&path, password);
    signs(workshop, &path, password, &inventory);
    inventory
}

fn refuses_wrong_passwords(path: &Path, password: &str) {
    let longer = format!("{password}x");
    for wrong in ["", "wrong", &longer] {
        if wrong == password {
            continue;
        }
        let answer = inspect(path, wrong.as_bytes());
        assert_eq!(
            answer,
            Err(TokenError::AuthenticationFailed { tries: None }),
            "{}: the password {wrong:?}",
            path.display()
        );
    }
}

fn signs(workshop: &Workshop, path: &Path, password: &str, inventory: &Inventory) {
    let token = token(configuration(path, inventory.clone()));
    let session = token.create_session().unwrap();
    let contents = token.contents();
    assert_eq!(
        contents.keys().count(),
        inventory.keys.len(),
        "{}",
        path.display()
    );
    assert_eq!(
        contents.certificates().count(),
        inventory.certificates.len()
    );
    assert_eq!(
        log_in(&*session, format!("{password}x").as_bytes()),
        Err(TokenError::AuthenticationFailed { tries: None })
    );
    for key in contents.keys() {
        assert_eq!(
            sign(&*session, key, 1),
            Err(TokenError::AuthenticationNeeded)
        );
    }
    log_in(&*session, password.as_bytes()).unwrap();
    for key in contents.keys() {
        let (input, signature) = sign(&*session, key, 2).unwrap();
        let key_type = key.public_key.key_type();
        assert!(
            workshop.openssl_verifies(key.public_key.spki(), key_type, &input, &signature),
            "{}: openssl does not accept the signature of {:?}",
            path.display(),
            key.label
        );
        let other = [&input[..input.len() - 1], &[3]].concat();
        assert!(
            !workshop.openssl_verifies(key.public_key.spki(), key_type, &other, &signature),
            "openssl accepts anything"
        );
    }
}

#[test]
fn openssl_writes_every_protection() {
    let workshop = Workshop::new();
    workshop.identity("rsa", "rsa");
    workshop.identity("ec", "ec");
    let variants = [
        ("default", "rsa", ""),
        ("default-ec", "ec", ""),
        ("legacy", "rsa", "-legacy"),
        ("descert", "ec", "-legacy -descert"),
        ("nomac", "ec", "-nomac"),
        ("sha512-mac", "ec", "-macalg sha512"),
        ("sha1-mac", "ec", "-macalg sha1"),
        ("plain-certs", "rsa", "-certpbe NONE"),
        ("plain-keys", "ec", "-keypbe NONE"),
        ("plain-with-mac", "ec", "-keypbe NONE -certpbe NONE"),
        ("nomac-plain-certs", "ec", "-nomac -certpbe NONE"),
        ("one-iteration", "ec", "-noiter -nomaciter"),
        ("many-iterations", "ec", "-iter 100000"),
        ("aes-128", "ec", "-keypbe AES-128-CBC -certpbe AES-192-CBC"),
        ("no-name", "ec", ""),
    ];
    for (file, name, options) in variants {
        for (suffix, password) in [("", PASSWORD), ("-empty", ""), ("-utf8", UTF8_PASSWORD)] {
            let file = format!("{file}{suffix}.p12");
            let label = if options.is_empty() && file.starts_with("no-name") {
                name
            } else {
                "Näme €"
            };
            let line =
                format!("pkcs12 -export -inkey {name}.key -in {name}.crt -out {file} {options}");
            let mut arguments: Vec<&str> = line.split_whitespace().collect();
            let password_argument = format!("pass:{password}");
            arguments.extend(["-passout", &password_argument]);
            if label != name {
                arguments.extend(["-name", label]);
            }
            workshop.run("openssl", &arguments);
            check(&workshop, &file, password, &[(name, label, true)], 1);
        }
    }
}

#[test]
fn a_file_that_checks_no_password_takes_the_empty_one_only() {
    let workshop = Workshop::new();
    workshop.identity("ec", "ec");
    workshop.openssl("pkcs12 -export -inkey ec.key -in ec.crt -out open.p12 -nomac -keypbe NONE -certpbe NONE -passout pass:x");
    check(&workshop, "open.p12", "", &[("ec", "ec", true)], 1);
    let inventory = inspect(&workshop.path("open.p12"), b"").unwrap();
    let session = token(configuration(&workshop.path("open.p12"), inventory))
        .create_session()
        .unwrap();
    for pin in [&b"x"[..], b"1234", b"\0"] {
        assert_eq!(
            log_in(&*session, pin),
            Err(TokenError::AuthenticationFailed { tries: None })
        );
    }
}

#[test]
fn without_a_mac_any_encrypted_part_checks_the_password() {
    let workshop = Workshop::new();
    workshop.identity("ec", "ec");
    workshop.openssl("pkcs12 -export -inkey ec.key -in ec.crt -out mac.p12 -passout pass:correct");
    let pfx = workshop.read("mac.p12");
    let safes = writer::safes(&pfx);
    let plain = "pkcs8 -topk8 -nocrypt -in ec.key -outform DER";
    let plain = bag(writer::KEY_BAG, &workshop.openssl(plain).stdout, &[]);
    let key = data(&sequence(&[plain]));
    let is_encrypted = |safe: &&Vec<u8>| !writer::is_data(safe);
    let certificates = safes.iter().find(is_encrypted).unwrap();
    let safe = sequence(&[key, certificates.clone()]);
    workshop.write("plain-key.p12", &writer::pfx(&safe, None));
    check(
        &workshop,
        "plain-key.p12",
        "correct",
        &[("ec", "ec", true)],
        1,
    );
}

#[test]
fn a_chain_and_certificates_without_keys() {
    let workshop = Workshop::new();
    workshop.identity("Root", "ec");
    workshop.key("leaf", "rsa");
    workshop.openssl("req -new -key leaf.key -out leaf.csr -subj /O=Example/CN=Leaf");
    workshop.openssl("x509 -req -in leaf.csr -CA Root.crt -CAkey Root.key -out leaf.crt -days 3");
    workshop.openssl("pkcs12 -export -inkey leaf.key -in leaf.crt -certfile Root.crt -out chain.p12 -passout pass:correct");
    let inventory = check(
        &workshop,
        "chain.p12",
        "correct",
        &[("leaf", "Leaf", true)],
        2,
    );
    assert_eq!(inventory.certificates[1].label, "Root");
    assert_eq!(inventory.certificates[1].der, workshop.der("Root"));

    workshop
        .openssl("pkcs12 -export -nokeys -in Root.crt -out certificates.p12 -passout pass:correct");
    let inventory = inspect(&workshop.path("certificates.p12"), b"correct").unwrap();
    assert!(inventory.keys.is_empty());
    assert_eq!(inventory.certificates[0].label, "Root");
    refuses_wrong_passwords(&workshop.path("certificates.p12"), "correct");
}

#[test]
fn every_kind_of_key() {
    let workshop = Workshop::new();
    for kind in ["rsa", "ec", "P-384", "P-521", "ed25519"] {
        workshop.identity(kind, kind);
        workshop.openssl(&format!(
            "pkcs12 -export -inkey {kind}.key -in {kind}.crt -out {kind}.p12 -passout pass:correct"
        ));
        check(
            &workshop,
            &format!("{kind}.p12"),
            "correct",
            &[(kind, kind, true)],
            1,
        );
    }
}

#[test]
fn a_key_that_cannot_sign_is_listed_and_an_unknown_one_costs_itself_only() {
    let workshop = Workshop::new();
    workshop.identity("ec", "ec");
    workshop.key("x", "x25519");
    workshop.key("odd", "secp112r1");
    let plain = |name: &str| {
        workshop
            .openssl(&format!(
                "pkcs8 -topk8 -nocrypt -in {name}.key -outform DER"
            ))
            .stdout
    };
    let bags = sequence(&[
        bag(writer::KEY_BAG, &plain("odd"), &[friendly_name("odd")]),
        bag(writer::KEY_BAG, &plain("x"), &[friendly_name("x")]),
        bag(writer::KEY_BAG, &plain("ec"), &[]),
        bag(writer::KEY_BAG, &sequence(&[writer::integer(0)]), &[]),
        bag("1.2.840.113549.1.12.10.1.5", &sequence(&[]), &[]),
    ]);
    let safe = sequence(&[data(&sequence(&[bag(
        writer::SAFE_CONTENTS_BAG,
        &bags,
        &[],
    )]))]);
    let mac = writer::sha1_mac(&safe, "correct");
    let path = workshop.write("kinds.p12", &writer::pfx(&safe, Some(mac)));
    let inventory = inspect(&path, b"correct").unwrap();
    let found: Vec<_> = inventory
        .keys
        .iter()
        .map(|key| (&*key.label, &*key.spki))
        .collect();
    let (x, ec) = (workshop.spki("x"), workshop.spki("ec"));
    assert_eq!(found, [("x", &*x), ("Key 2", &*ec)]);
    let token = token(configuration(&path, inventory));
    let session = token.create_session().unwrap();
    log_in(&*session, b"correct").unwrap();
    let contents = token.contents();
    let keys: Vec<_> = contents.keys().collect();
    assert_eq!(sign(&*session, keys[0], 1), Err(TokenError::NotSupported));
    assert!(sign(&*session, keys[1], 1).is_ok());
}

#[test]
fn gnutls_writes_several_identities() {
    let workshop = Workshop::new();
    workshop.identity("rsa", "rsa");
    workshop.identity("ec", "ec");
    workshop.write(
        "both.key",
        &[workshop.read("rsa.key"), workshop.read("ec.key")].concat(),
    );
    workshop.write(
        "both.crt",
        &[workshop.read("rsa.crt"), workshop.read("ec.crt")].concat(),
    );
    for cipher in [
        "3des-pkcs12",
        "arcfour",
        "rc2-40",
        "3des",
        "aes-128",
        "aes-192",
        "aes-256",
    ] {
        let file = format!("{cipher}.p12");
        let line = format!(
            "--to-p12 --load-privkey both.key --load-certificate both.crt --p12-name Both --outder --outfile {file} --pkcs-cipher {cipher} --password"
        );
        let arguments: Vec<&str> = line.split_whitespace().chain([UTF8_PASSWORD]).collect();
        workshop.run("certtool", &arguments);
        check(
            &workshop,
            &file,
            UTF8_PASSWORD,
            &[("rsa", "Both", true), ("ec", "Both", true)],
            2,
        );
    }
    for kind in ["--empty-password", "--null-password"] {
        let line = format!(
            "--to-p12 --load-privkey ec.key --load-certificate ec.crt --p12-name Empty --outder --outfile empty.p12 {kind}"
        );
        workshop.run("certtool", &line.split_whitespace().collect::<Vec<_>>());
        check(&workshop, "empty.p12", "", &[("ec", "Empty", true)], 1);
    }
}

#[test]
fn nss_writes_ber() {
    let workshop = Workshop::new();
    let old = [
        "-c",
        "PKCS #12 V2 PBE With SHA-1 And 3KEY Triple DES-cbc",
        "-C",
        "PKCS #12 V2 PBE With SHA-1 And 40 Bit RC2 CBC",
    ];
    let oldest = [
        "-c",
        "PKCS #12 V2 PBE With SHA-1 And 128 Bit RC4",
        "-C",
        "PKCS #12 V2 PBE With SHA-1 And 40 Bit RC4",
    ];
    workshop.run("certutil", &["-N", "-d", "sql:.", "--empty-password"]);
    // What has one subject has one nickname, and one export.
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
    for (file, password, ciphers) in [
        ("new.p12", UTF8_PASSWORD, &[][..]),
        ("old.p12", UTF8_PASSWORD, &old),
        ("oldest.p12", PASSWORD, &oldest),
        ("empty.p12", "", &[]),
    ] {
        let arguments = [
            &["-o", file, "-d", "sql:.", "-n", "User", "-W", password],
            ciphers,
        ]
        .concat();
        workshop.run("pk12util", &arguments);
        assert_eq!(
            workshop.read(file)[..2],
            [0x30, 0x80],
            "NSS writes indefinite lengths"
        );
        check(
            &workshop,
            file,
            password,
            &[("rsa", "User", true), ("ec", "User", true)],
            2,
        );
    }
}

#[test]
fn keytool_writes_several_entries() {
    let workshop = Workshop::new();
    for kind in ["rsa", "ec"] {
        workshop.identity(kind, kind);
        workshop.openssl(&format!("pkcs12 -export -inkey {kind}.key -in {kind}.crt -out {kind}.p12 -name {kind} -passout pass:changeit"));
    }
    workshop.identity("Root", "ec");
    for (file, option) in [
        ("new.p12", "-J-Xshare:auto"),
        ("old.p12", "-J-Dkeystore.pkcs12.legacy"),
    ] {
        for kind in ["rsa", "ec"] {
            let line = format!(
                "{option} -importkeystore -srckeystore {kind}.p12 -srcstorepass changeit -destkeystore {file} -deststoretype PKCS12 -deststorepass changeit"
            );
            workshop.run("keytool", &line.split_whitespace().collect::<Vec<_>>());
        }
        let line = format!(
            "{option} -importcert -noprompt -alias root -file Root.crt -keystore {file} -storepass changeit"
        );
        workshop.run("keytool", &line.split_whitespace().collect::<Vec<_>>());
        let line = format!(
            "{option} -genseckey -alias secret -keyalg AES -keysize 256 -keystore {file} -storepass changeit"
        );
        workshop.run("keytool", &line.split_whitespace().collect::<Vec<_>>());
        let expected = [("rsa", "rsa", true), ("ec", "ec", true)];
        let inventory = check(&workshop, file, "changeit", &expected, 3);
        assert_eq!(inventory.certificates[2].label, "root");
    }
}

/// A key as openssl encrypts it, ready for a bag.
fn shrouded(workshop: &Workshop, name: &str, options: &str) -> Vec<u8> {
    let password = format!("pass:{PASSWORD}");
    let line = format!(
        "pkcs8 -topk8 -provider legacy -provider default -in {name}.key -outform DER {options}"
    );
    let arguments: Vec<&str> = line
        .split_whitespace()
        .chain(["-passout", &password])
        .collect();
    workshop.run("openssl", &arguments).stdout
}

#[test]
fn every_encryption_with_and_without_mac() {
    let workshop = Workshop::new();
    workshop.identity("ec", "ec");
    let mut options: Vec<String> = ["RC4-128", "RC4-40", "2DES", "3DES", "RC2-128", "RC2-40"]
        .iter()
        .map(|cipher| format!("-v1 PBE-SHA1-{cipher}"))
        .collect();
    for cipher in [
        "aes-128-cbc",
        "aes-192-cbc",
        "aes-256-cbc",
        "des-ede3-cbc",
        "rc2-cbc",
        "rc2-40-cbc",
    ] {
        options.push(format!("-v2 {cipher}"));
    }
    for digest in ["SHA1", "SHA224", "SHA256", "SHA384", "SHA512"] {
        options.push(format!("-v2 aes-256-cbc -v2prf hmacWith{digest}"));
    }
    options.push("-scrypt".into());
    options.push("-scrypt -scrypt_N 16384 -scrypt_r 8 -scrypt_p 2 -v2 aes-128-cbc".into());
    for options in options {
        let key = bag(
            writer::SHROUDED_KEY_BAG,
            &shrouded(&workshop, "ec", &options),
            &[],
        );
        let certificate = certificate_bag(&workshop.der("ec"), &[]);
        let safe = sequence(&[data(&sequence(&[key, certificate]))]);
        for mac in [None, Some(writer::sha1_mac(&safe, PASSWORD))] {
            workshop.write("file.p12", &writer::pfx(&safe, mac));
            println!("{options}");
            check(&workshop, "file.p12", PASSWORD, &[("ec", "ec", true)], 1);
        }
    }
}

/// Two identities as Windows exports them: localKeyID of four bytes, the name of the CSP, keys first.
fn windows_safe(workshop: &Workshop) -> Vec<u8> {
    let attributes = |id: u8, name: &str| {
        let csp: Vec<u8> = "Microsoft Enhanced Cryptographic Provider v1.0"
            .encode_utf16()
            .flat_map(u16::to_be_bytes)
            .collect();
        [
            local_key_id(&[id, 0, 0, 0]),
            friendly_name(name),
            writer::attribute("1.3.6.1.4.1.311.17.1", &writer::tlv(0x1e, &csp)),
            sequence(&[writer::oid("1.3.6.1.4.1.311.17.2"), writer::set(&[])]),
        ]
    };
    let keys = ["rsa", "ec"].iter().zip(1..).map(|(name, id)| {
        let key = shrouded(workshop, name, "-v1 PBE-SHA1-3DES");
        bag(
            writer::SHROUDED_KEY_BAG,
            &key,
            &attributes(id, &format!("{{{name}}}")),
        )
    });
    let certificates = ["ec", "rsa"]
        .iter()
        .zip([2, 1])
        .map(|(name, id)| certificate_bag(&workshop.der(name), &[local_key_id(&[id, 0, 0, 0])]));
    sequence(&[
        data(&sequence(&keys.collect::<Vec<_>>())),
        data(&sequence(&certificates.collect::<Vec<_>>())),
    ])
}

#[test]
fn windows_style_and_any_ber() {
    let workshop = Workshop::new();
    workshop.identity("rsa", "rsa");
    workshop.identity("ec", "ec");
    let safe = windows_safe(&workshop);
    let ber_safe = writer::to_ber(&safe, 1);
    assert!(
        ber_safe
            .windows(4)
            .any(|bytes| bytes == [0x24, 0x80, 0x04, 0x00])
    );
    for (name, safe) in [("der", safe), ("ber", ber_safe)] {
        for mac in [None, Some(writer::sha1_mac(&safe, PASSWORD))] {
            let pfx = writer::pfx(&safe, mac);
            for file in [pfx.clone(), writer::to_ber(&pfx, 0)] {
                workshop.write("windows.p12", &file);
                println!("{name}, {} bytes", file.len());
                let expected = [("rsa", "{rsa}", true), ("ec", "{ec}", true)];
                check(&workshop, "windows.p12", PASSWORD, &expected, 2);
            }
        }
    }
}

#[test]
fn files_of_tools_written_again_as_ber() {
    let workshop = Workshop::new();
    workshop.identity("ec", "ec");
    workshop.openssl("pkcs12 -export -inkey ec.key -in ec.crt -out mac.p12 -passout pass:correct");
    workshop.openssl(
        "pkcs12 -export -inkey ec.key -in ec.crt -out nomac.p12 -passout pass:correct -nomac",
    );
    workshop.write("mac-ber.p12", &writer::to_ber(&workshop.read("mac.p12"), 0));
    workshop.write(
        "nomac-ber.p12",
        &writer::to_ber(&workshop.read("nomac.p12"), 2),
    );
    for file in ["mac-ber.p12", "nomac-ber.p12"] {
        assert_eq!(workshop.read(file)[..2], [0x30, 0x80]);
        check(&workshop, file, "correct", &[("ec", "ec", true)], 1);
    }
}

#[test]
fn certificates_against_the_rules_keep_their_identity() {
    let workshop = Workshop::new();
    workshop.key("ec", "ec");
    let long = format!("0x7f{}", "ab".repeat(29));
    for serial in ["-5", "0", &long] {
        workshop.openssl(&format!(
            "req -x509 -new -key ec.key -out ec.crt -days 30 -subj /CN=Odd -set_serial {serial}"
        ));
        workshop
            .openssl("pkcs12 -export -inkey ec.key -in ec.crt -out odd.p12 -passout pass:correct");
        check(&workshop, "odd.p12", "correct", &[("ec", "Odd", true)], 1);
    }
}

#[test]
fn of_several_certificates_with_one_key_one_has_its_identity() {
    let workshop = Workshop::new();
    workshop.key("ec", "ec");
    let certify = |name: &str, days: u32| {
        workshop.openssl(&format!(
            "req -x509 -new -key ec.key -out {name}.crt -days {days} -subj /CN={name}"
        ));
        workshop.der(name)
    };
    let old = certify("old", 30);
    // notBefore is in seconds.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let new = certify("new", 30);
    let key = shrouded(&workshop, "ec", "");
    let file = |key_attributes: &[Vec<u8>], old_attributes: &[Vec<u8>]| {
        let safe = sequence(&[data(&sequence(&[
            bag(writer::SHROUDED_KEY_BAG, &key, key_attributes),
            certificate_bag(&new, &[]),
            certificate_bag(&old, old_attributes),
            certificate_bag(&new, &[]),
        ]))]);
        workshop.write("renewed.p12", &writer::pfx(&safe, None))
    };
    let newest = inspect(&file(&[], &[]), PASSWORD.as_bytes()).unwrap();
    let linked = inspect(
        &file(&[local_key_id(b"1")], &[local_key_id(b"1")]),
        PASSWORD.as_bytes(),
    )
    .unwrap();
    for (inventory, own, label) in [(newest, &new, "new"), (linked, &old, "old")] {
        assert_eq!(inventory.certificates.len(), 2);
        assert_eq!(inventory.certificates[0].der, *own);
        assert_eq!(
            inventory.certificates[0].identity,
            inventory.keys[0].identity
        );
        assert_eq!(inventory.keys[0].label, label);
        let identities: HashSet<_> = inventory.certificates.iter().map(|c| &c.identity).collect();
        assert_eq!(identities.len(), 2);
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

    session.end_auth(ctk_token::Role::User);
    assert_eq!(
        sign(&*session, key, 7),
        Err(TokenError::AuthenticationNeeded)
    );
}
