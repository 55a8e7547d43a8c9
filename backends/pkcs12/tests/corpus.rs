//! Files of every tool at hand: their identities are found, sign, and are refused to a wrong
//! password.
//!
//! The files are made here. A tool that is missing fails the test; softhsm-tests/run.sh installs
//! all of them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

mod support;

use ctk_pkcs12::inspect;
use ctk_token::TokenError;
use support::{
    Workshop,
    check::check,
    configuration, log_in, shrouded, token,
    writer::{self, bag, certificate_bag, data, friendly_name, local_key_id, sequence},
};

const PASSWORD: &str = "correct horse";
const UTF8_PASSWORD: &str = "pässwörd €";

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

/// Without a MAC, what is encrypted beside it does not make a key in the clear a protected one.
#[test]
fn without_a_mac_only_an_encrypted_key_checks_the_password() {
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
    let path = workshop.write("plain-key.p12", &writer::pfx(&safe, None));
    let Err(TokenError::Corrupted(reason)) = inspect(&path, b"correct") else {
        panic!()
    };
    assert!(
        reason.as_str().contains("its keys are not encrypted"),
        "{reason}"
    );
    let wrong = Err(TokenError::AuthenticationFailed { tries: None });
    assert_eq!(inspect(&path, b"wrong"), wrong);
    let inventory = inspect(&path, b"").unwrap();
    assert_eq!((inventory.keys.len(), inventory.certificates.len()), (1, 0));
    let session = token(configuration(&path, inventory))
        .create_session()
        .unwrap();
    for pin in [&b"correct"[..], b"wrong"] {
        assert_eq!(log_in(&*session, pin), wrong.clone().map(|_| ()));
    }
    log_in(&*session, b"").unwrap();

    // Where there is no key, there is nothing else to go by.
    let safe = sequence(std::slice::from_ref(certificates));
    let path = workshop.write("certificates.p12", &writer::pfx(&safe, None));
    assert_eq!(inspect(&path, b"correct").unwrap().certificates.len(), 1);
    assert_eq!(inspect(&path, b"wrong"), wrong);
    assert_eq!(inspect(&path, b""), wrong);
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
            "--to-p12 --load-privkey both.key \
                 --load-certificate both.crt \
                 --p12-name Both --outder --outfile {file} --pkcs-cipher {cipher} --password"
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
            "--to-p12 --load-privkey ec.key --load-certificate ec.crt \
                 --p12-name Empty --outder --outfile empty.p12 {kind}"
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
        workshop.openssl(&format!(
            "pkcs12 -export -inkey {kind}.key -in {kind}.crt \
                 -out {kind}.p12 -name {kind} -passout pass:changeit"
        ));
    }
    workshop.identity("Root", "ec");
    for (file, option) in [
        ("new.p12", "-J-Xshare:auto"),
        ("old.p12", "-J-Dkeystore.pkcs12.legacy"),
    ] {
        for kind in ["rsa", "ec"] {
            let line = format!(
                "{option} -importkeystore -srckeystore {kind}.p12 -srcstorepass changeit \
                 -destkeystore {file} -deststoretype PKCS12 -deststorepass changeit"
            );
            workshop.run("keytool", &line.split_whitespace().collect::<Vec<_>>());
        }
        let line = format!(
            "{option} -importcert -noprompt -alias root -file Root.crt \
                 -keystore {file} -storepass changeit"
        );
        workshop.run("keytool", &line.split_whitespace().collect::<Vec<_>>());
        let line = format!(
            "{option} -genseckey -alias secret -keyalg AES -keysize 256 \
                 -keystore {file} -storepass changeit"
        );
        workshop.run("keytool", &line.split_whitespace().collect::<Vec<_>>());
        let expected = [("rsa", "rsa", true), ("ec", "ec", true)];
        let inventory = check(&workshop, file, "changeit", &expected, 3);
        assert_eq!(inventory.certificates[2].label, "root");
    }
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
            &shrouded(&workshop, "ec", PASSWORD, &options),
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

/// Two identities as Windows exports them: localKeyID of four bytes, the name of the CSP, keys
/// first.
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
        let key = shrouded(workshop, name, PASSWORD, "-v1 PBE-SHA1-3DES");
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
