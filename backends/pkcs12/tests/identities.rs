//! Keys and certificates are paired and named as they should be, whatever kinds and oddities a file
//! holds.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

mod support;

use std::collections::HashSet;

#[cfg(not(feature = "openssl-vendored"))]
use ctk_pkcs12::KeyRecord;
use ctk_pkcs12::inspect;
use ctk_token::{Constraint, Digest, KeyAlgorithm, Operation, Pss, TokenError};
use support::{
    Workshop,
    check::{check, refuses_wrong_passwords},
    configuration, log_in, shrouded, sign, token,
    writer::{self, bag, certificate_bag, data, friendly_name, local_key_id, sequence},
};

#[test]
fn a_chain_and_certificates_without_keys() {
    let workshop = Workshop::new();
    workshop.identity("Root", "ec");
    workshop.key("leaf", "rsa");
    workshop.openssl("req -new -key leaf.key -out leaf.csr -subj /O=Example/CN=Leaf");
    workshop.openssl("x509 -req -in leaf.csr -CA Root.crt -CAkey Root.key -out leaf.crt -days 3");
    workshop.openssl(
        "pkcs12 -export -inkey leaf.key -in leaf.crt -certfile Root.crt \
                 -out chain.p12 -passout pass:correct",
    );
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
    for kind in ["rsa", "rsa-1024", "ec", "P-384", "P-521", "ed25519"] {
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

/// The mark and the parameters go from the file to what is stored, and to what the key is used for.
#[test]
fn a_key_for_pss_only_does_nothing_else() {
    let workshop = Workshop::new();
    let digest = "-pkeyopt rsa_pss_keygen_md:sha384 -pkeyopt rsa_pss_keygen_mgf1_md:sha384";
    workshop.openssl(&format!(
        "genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048 {digest} \
         -pkeyopt rsa_pss_keygen_saltlen:48 -out pss.key"
    ));
    workshop.openssl(
        "req -x509 -new -key pss.key -out pss.crt -days 30 -subj /CN=pss -sha384 \
         -sigopt rsa_pss_saltlen:48",
    );
    workshop
        .openssl("pkcs12 -export -inkey pss.key -in pss.crt -out pss.p12 -passout pass:correct");
    let path = workshop.path("pss.p12");
    let inventory = inspect(&path, b"correct").unwrap();
    assert_eq!(inventory.keys[0].spki, workshop.spki("pss"));
    let token = token(configuration(&path, inventory));
    let session = token.create_session().unwrap();
    log_in(&*session, b"correct").unwrap();
    let contents = token.contents();
    let key = contents.keys().next().unwrap();
    assert!(key.public_key.is_pss_only());
    assert_eq!(
        (key.decrypt, key.key_exchange),
        (Constraint::Never, Constraint::Never)
    );
    let sign = |algorithm, input: &[u8]| {
        let mut signature = vec![0; 256];
        let signed = session.sign(&key.id, algorithm, input, &mut signature);
        assert_eq!(
            session.supports(Operation::Sign, &key.id, algorithm),
            signed != Err(TokenError::NotSupported),
            "{algorithm:?}"
        );
        signed.map(|_| signature)
    };
    let pss = |digest, mgf, salt_len| {
        KeyAlgorithm::RsaPssDigest(Pss {
            digest,
            mgf,
            salt_len,
        })
    };
    for salt_len in [48, 60] {
        let algorithm = pss(Digest::Sha384, Digest::Sha384, salt_len);
        let signature = sign(algorithm, &[7; 48]).unwrap();
        let fits = ctk_crypto::verify(&key.public_key, algorithm, &[7; 48], &signature);
        assert_eq!(fits, Ok(true));
    }
    let mut block = [0xff; 256];
    block[0] = 0;
    for (algorithm, input) in [
        (KeyAlgorithm::RsaRaw, &block[..]),
        (KeyAlgorithm::RsaPkcs1, &[7; 48]),
        (KeyAlgorithm::RsaPkcs1Digest(Digest::Sha384), &[7; 48]),
        (pss(Digest::Sha256, Digest::Sha256, 48), &[7; 32]),
        (pss(Digest::Sha384, Digest::Sha256, 48), &[7; 48]),
        (pss(Digest::Sha384, Digest::Sha384, 47), &[7; 48]),
    ] {
        assert_eq!(sign(algorithm, input), Err(TokenError::NotSupported));
    }
    let mut plaintext = [0; 256];
    let decrypted = session.decrypt(&key.id, KeyAlgorithm::RsaRaw, &block, &mut plaintext);
    assert_eq!(decrypted, Err(TokenError::NotSupported));
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

/// Configured by a build that knows its kind, used by one that does not.
#[cfg(not(feature = "openssl-vendored"))]
#[test]
fn a_configured_key_of_an_unknown_kind_costs_itself_only() {
    let workshop = Workshop::new();
    workshop.identity("ec", "ec");
    workshop.key("odd", "brainpoolP256r1");
    workshop.key("rsa", "rsa");
    let bags = ["odd", "ec"].map(|name| {
        let key = shrouded(&workshop, name, "correct", "");
        bag(writer::SHROUDED_KEY_BAG, &key, &[])
    });
    let safe = sequence(&[data(&sequence(&bags))]);
    let path = workshop.write("two.p12", &writer::pfx(&safe, None));
    let mut inventory = inspect(&path, b"correct").unwrap();
    let record = |name: &str| KeyRecord {
        label: name.into(),
        identity: name.into(),
        spki: workshop.spki(name),
        subject: None,
    };
    inventory.keys.push(record("odd"));
    let both = token(configuration(&path, inventory.clone()));
    let session = both.create_session().unwrap();
    log_in(&*session, b"correct").unwrap();
    let contents = both.contents();
    let keys: Vec<_> = contents.keys().collect();
    assert!(sign(&*session, keys[0], 1).is_ok());
    let odd = sign(&*session, keys[1], 1);
    assert_eq!(odd.err(), Some(TokenError::NotSupported));
    // What is not there at all is still missed.
    inventory.keys.push(record("rsa"));
    let session = token(configuration(&path, inventory))
        .create_session()
        .unwrap();
    let Err(TokenError::Corrupted(reason)) = log_in(&*session, b"correct") else {
        panic!()
    };
    assert!(
        reason
            .as_str()
            .contains("the key \"rsa\" is not in it any more"),
        "{reason}"
    );
}

#[test]
fn a_configured_key_with_another_password_is_not_called_replaced() {
    let workshop = Workshop::new();
    workshop.identity("ec", "ec");
    workshop.key("other", "ec");
    let file = |password: &str| {
        let bags = [("other", password), ("ec", "correct")].map(|(name, password)| {
            let key = shrouded(&workshop, name, password, "");
            bag(writer::SHROUDED_KEY_BAG, &key, &[])
        });
        let safe = sequence(&[data(&sequence(&bags))]);
        workshop.write("two.p12", &writer::pfx(&safe, None))
    };
    let inventory = inspect(&file("correct"), b"correct").unwrap();
    assert_eq!(inventory.keys.len(), 2);
    let token = token(configuration(&file("another"), inventory));
    let session = token.create_session().unwrap();
    let Err(TokenError::Corrupted(reason)) = log_in(&*session, b"correct") else {
        panic!()
    };
    assert!(
        reason.as_str().contains("with one password for all of it"),
        "{reason}"
    );
    assert!(!reason.as_str().contains("replaced"), "{reason}");
}

#[test]
fn a_key_with_another_password_costs_itself_only() {
    let workshop = Workshop::new();
    workshop.identity("ec", "ec");
    workshop.key("other", "ec");
    let bags = [("other", "unknown"), ("ec", "correct")].map(|(name, password)| {
        let key = shrouded(&workshop, name, password, "");
        bag(writer::SHROUDED_KEY_BAG, &key, &[])
    });
    let certificate = certificate_bag(&workshop.der("ec"), &[]);
    let bags = [&bags[..], &[certificate]].concat();
    let safe = sequence(&[data(&sequence(&bags))]);
    for mac in [None, Some(writer::sha1_mac(&safe, "correct"))] {
        workshop.write("two.p12", &writer::pfx(&safe, mac));
        let inventory = inspect(&workshop.path("two.p12"), b"correct").unwrap();
        assert_eq!(inventory.keys.len(), 1);
        assert_eq!(inventory.keys[0].spki, workshop.spki("ec"));
        let neither = inspect(&workshop.path("two.p12"), b"wrong");
        assert_eq!(
            neither,
            Err(TokenError::AuthenticationFailed { tries: None })
        );
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
    let key = shrouded(&workshop, "ec", "correct", "");
    let file = |key_attributes: &[Vec<u8>], old_attributes: &[Vec<u8>]| {
        let safe = sequence(&[data(&sequence(&[
            bag(writer::SHROUDED_KEY_BAG, &key, key_attributes),
            certificate_bag(&new, &[]),
            certificate_bag(&old, old_attributes),
            certificate_bag(&new, &[]),
        ]))]);
        workshop.write("renewed.p12", &writer::pfx(&safe, None))
    };
    let newest = inspect(&file(&[], &[]), b"correct").unwrap();
    let linked = inspect(
        &file(&[local_key_id(b"1")], &[local_key_id(b"1")]),
        b"correct",
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
