//! Tokens whose keys are at a service, which answers what a test has scripted.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail at any step"
)]

mod bed;
mod services;

use std::fs;

use bed::Bed;
use serde_json::{Value, json};
use services::{
    csc::{Before, Csc},
    kms::Kms,
};

fn names(tokens: &Value) -> Vec<&str> {
    let tokens = tokens.as_array().unwrap().iter();
    tokens
        .map(|token| token["name"].as_str().unwrap())
        .collect()
}

#[test]
fn keys_of_aws_kms_are_added_listed_shown_tested_and_removed() {
    let bed = Bed::new();
    bed.p12("one", "ec", "x");
    bed.p12("two", "ec", "x");
    let kms = Kms::start();
    kms.add(
        &bed,
        "11111111-1111-4111-8111-111111111111",
        Some("alias/signing"),
        "one",
    );
    kms.add(&bed, "22222222-2222-4222-8222-222222222222", None, "two");
    let added = kms.register(&bed, &[]);
    assert_eq!((added.code, &*added.error), (0, ""), "{added:?}");
    let said =
        "Added token \"aws-kms-eu-central-1\" (AWS KMS eu-central-1) in ~/.config/ctk/tokens.d/";
    assert!(added.out.starts_with(said), "{}", added.out);
    assert!(
        added.out.contains("BEFORE USE") && added.out.contains("P-256"),
        "{}",
        added.out
    );
    assert!(
        added.out.contains(";object=signing") || added.out.contains("alias"),
        "{}",
        added.out
    );

    // Nothing is asked for what is stored.
    kms.server.forget();
    let listed = bed.ctk(&["list"], "").succeeded();
    assert_eq!(listed.lines().count(), 3, "{listed}");
    let shown = bed.json(&["show", "aws-kms-eu-central-1"], "");
    assert_eq!(shown["driver"], "aws-kms");
    assert_eq!(shown["settings"]["region"], "eu-central-1");
    let source = shown["settings"]["secret_access_key"].as_str().unwrap();
    assert!(source.starts_with("file:"), "{source}");
    assert_eq!(shown["file"], Value::Null);
    for identity in shown["identities"].as_array().unwrap() {
        assert_eq!(identity["uses"], json!(["sign"]), "{identity}");
        assert_eq!(identity["before_use"], "nothing");
        assert_eq!(identity["facts"]["algorithms"], json!(["ECDSA_SHA_256"]));
    }
    let text = bed.ctk(&["show", "aws-kms-eu-central-1"], "").succeeded();
    for line in ["region ", "Before use", "secret_access_key  file:"] {
        assert!(text.contains(line), "{text}");
    }
    assert!(
        !text.contains("\nFile") && !text.contains("c2VjcmV0"),
        "{text}"
    );
    assert_eq!(kms.server.asked(), [""; 0]);
    assert!(!bed.stored("aws-kms-eu-central-1").contains("c2VjcmV0"));

    // Each key is used once, which is said before.
    let tested = bed.ctk(&["test", "aws-kms-eu-central-1"], "");
    assert_eq!(tested.code, 0, "{tested:?}");
    assert!(
        tested
            .error
            .contains("this is 2 uses of keys at AWS KMS eu-central-1"),
        "{tested:?}"
    );
    assert_eq!(tested.out.matches(" OK ").count(), 2, "{tested:?}");
    let signed = kms
        .server
        .asked()
        .iter()
        .filter(|asked| *asked == "Sign")
        .count();
    assert_eq!(signed, 2);

    let refused = bed.ctk(&["passwd", "aws-kms-eu-central-1"], "").failed(1);
    assert!(
        refused.contains("is at a service (AWS KMS eu-central-1)"),
        "{refused}"
    );
    let removed = bed
        .ctk(&["remove", "--yes", "aws-kms-eu-central-1"], "")
        .succeeded();
    assert!(removed.contains("aws stays"), "{removed}");
    assert!(bed.path("aws").exists());
    assert!(bed.ctk(&["list"], "").succeeded().contains("No tokens"));
}

#[test]
fn keys_with_pins_of_their_own_become_tokens_of_their_own() {
    let bed = Bed::new();
    for name in ["anna", "free", "bert", "open"] {
        bed.p12(name, "ec", "x");
    }
    let csc = Csc::start();
    csc.add(&bed, "c-anna", "anna", Before::Pin("1111"));
    csc.add(&bed, "c-free", "free", Before::Nothing);
    csc.add(&bed, "c-bert", "bert", Before::PinEachTime("2222"));
    csc.add(&bed, "c-open", "open", Before::Nothing);
    let url = csc.url();
    let added = bed.json(&["add", "csc", &url, "--name", "sign"], "");
    assert_eq!(names(&added["tokens"]), ["sign", "sign-2", "sign-3"]);
    assert_eq!(added["left_out"], json!([]));
    let tokens = &added["tokens"];
    let of = |token: usize, key: usize| &tokens[token]["identities"][key];
    assert_eq!(tokens[0]["label"], "CN of anna");
    assert_eq!(tokens[0]["settings"]["credentials"], json!(["c-anna"]));
    assert_eq!(
        tokens[1]["settings"]["credentials"],
        json!(["c-free", "c-open"])
    );
    assert_eq!(tokens[1]["label"], "127.0.0.1");
    assert_eq!(tokens[2]["label"], "CN of bert");
    assert_eq!(of(0, 0)["before_use"], "pin");
    assert_eq!(of(1, 0)["before_use"], "nothing");
    assert_eq!(of(1, 1)["before_use"], "nothing");
    assert_eq!(of(2, 0)["before_use"], "pin-each-time");
    assert_eq!(tokens[1]["identities"].as_array().unwrap().len(), 2);

    for (name, pin) in [("sign", "1111\n"), ("sign-2", ""), ("sign-3", "2222\n")] {
        let tested = bed.ctk(&["test", name], pin);
        assert_eq!(tested.code, 0, "{tested:?}");
        assert!(tested.out.contains(" OK "), "{tested:?}");
    }
    for name in ["sign", "sign-3"] {
        let refused = bed.ctk(&["test", name], "9999\n");
        assert_eq!(refused.code, 1, "{refused:?}");
        let said = refused.out + &refused.error;
        assert!(said.contains("wrong PIN"), "{said}");
    }

    // One is chosen, or all have one PIN.
    let one = bed.json(
        &[
            "add",
            "csc",
            &url,
            "--name",
            "one",
            "--credential",
            "c-bert",
        ],
        "",
    );
    assert_eq!(names(&one["tokens"]), ["one"]);
    let all = bed.json(&["add", "csc", &url, "--name", "all", "--shared-pin"], "");
    assert_eq!(names(&all["tokens"]), ["all"]);
    assert_eq!(all["tokens"][0]["identities"].as_array().unwrap().len(), 4);
    let said = bed.ctk(&["add", "csc", &url, "--name", "again"], "");
    assert!(said.out.contains("A token has one PIN"), "{said:?}");
    assert!(said.error.contains("has the same keys"), "{said:?}");
}

#[test]
fn a_one_time_password_is_asked_for_once_for_each_use() {
    let bed = Bed::new();
    bed.p12("anna", "rsa:2048", "x");
    let csc = Csc::start();
    csc.add(&bed, "c-anna", "anna", Before::PinAndOtp("1111", "424242"));
    let added = bed
        .ctk(&["add", "csc", &csc.url(), "--name", "sign"], "")
        .succeeded();
    assert!(added.contains("PIN each time + OTP"), "{added}");
    csc.server.forget();
    let tested = bed.ctk(&["test", "sign"], "1111,424242\n");
    assert_eq!(tested.code, 0, "{tested:?}");
    let authorized = csc.server.asked();
    let authorized = authorized
        .iter()
        .filter(|asked| asked.ends_with("/authorize"))
        .count();
    assert_eq!(authorized, 1);
    let tested = bed.ctk(&["test", "sign"], "1111,000000\n");
    assert_eq!(tested.code, 1, "{tested:?}");
    assert!(tested.out.contains("wrong one-time password"), "{tested:?}");
}

#[test]
fn several_pins_are_not_one_stored_pin() {
    let bed = Bed::new();
    let csc = Csc::start();
    for (name, pin) in [("anna", "1111"), ("bert", "2222")] {
        bed.p12(name, "ec", "x");
        csc.add(&bed, &format!("c-{name}"), name, Before::Pin(pin));
    }
    let (url, pin) = (csc.url(), bed.secret("pin", "1111"));
    let add = [
        "add", "csc", &url, "--name", "sign", "--login", "on-use", "--pin", &pin,
    ];
    let refused = bed.ctk(&add, "").failed(2);
    assert!(
        refused.contains("2 keys with PINs of their own"),
        "{refused}"
    );
    assert!(!bed.home().join(".config").exists());
    // Of one credential it is, whenever that wants it.
    bed.p12("once", "ec", "x");
    csc.add(&bed, "c-once", "once", Before::PinEachTime("1111"));
    for login in ["app", "on-use"] {
        let add = [
            "add", "csc", &url, "--name", login, "--login", login, "--pin", &pin,
        ];
        let added = bed.ctk(&[&add[..], &["--credential", "c-once"]].concat(), "");
        assert_eq!(added.code, 0, "{added:?}");
        assert!(
            added
                .error
                .contains(&format!("was not tried: ctk test {login}")),
            "{added:?}"
        );
        let tested = bed.ctk(&["test", login], "");
        assert_eq!(tested.code, 0, "{tested:?}");
    }
    let one = [&add[..], &["--credential", "c-anna"]].concat();
    bed.ctk(&one, "").succeeded();
    let tested = bed.ctk(&["test", "sign"], "");
    assert_eq!(tested.code, 0, "{tested:?}");
}

#[test]
fn a_pin_that_is_refused_is_sent_once_however_many_keys_it_is_for() {
    let bed = Bed::new();
    let csc = Csc::start();
    for name in ["one", "two", "three"] {
        bed.p12(name, "ec", "x");
        csc.add(
            &bed,
            &format!("c-{name}"),
            name,
            Before::PinEachTime("1111"),
        );
    }
    bed.p12("free", "ec", "x");
    csc.add(&bed, "c-free", "free", Before::Nothing);
    let (url, wrong) = (csc.url(), bed.secret("wrong", "9999"));
    let add = ["add", "csc", &url, "--shared-pin", "--name"];
    bed.ctk(&[&add[..], &["typed"]].concat(), "").succeeded();
    for login in ["app", "on-use"] {
        let stored = [login, "--login", login, "--pin", &wrong];
        bed.ctk(&[&add[..], &stored].concat(), "").succeeded();
    }
    let with_pin = |pin: &str| {
        let requests = csc.server.requests();
        let sent = requests.iter().filter(|asked| asked.body["PIN"] == pin);
        sent.count()
    };
    for (name, typed) in [("typed", "9999\n9999\n9999\n"), ("app", ""), ("on-use", "")] {
        csc.server.forget();
        let tested = bed.ctk(&["test", name], typed);
        assert_eq!(tested.code, 1, "{tested:?}");
        assert_eq!(with_pin("9999"), 1, "{name}");
        assert_eq!(tested.out.matches(" FAILED ").count(), 3, "{tested:?}");
        // What needs no PIN is tried all the same.
        assert_eq!(tested.out.matches(" OK ").count(), 1, "{tested:?}");
        if name != "on-use" {
            assert_eq!(tested.out.matches("wrong PIN").count(), 1, "{tested:?}");
            assert_eq!(tested.out.matches("not tried").count(), 2, "{tested:?}");
        }
    }
    // One that is right is asked for once.
    csc.server.forget();
    let tested = bed.ctk(&["test", "typed"], "1111\n");
    assert_eq!((tested.code, with_pin("1111")), (0, 3), "{tested:?}");
}

/// Gives the key NAME.key a certificate of an authority, which is made with the first of them.
fn issue(bed: &Bed, name: &str) {
    if !bed.path("ca.crt").exists() {
        bed.p12("ca", "ec", "x");
    }
    let (key, certificate, request) = (
        format!("{name}.key"),
        format!("{name}.crt"),
        format!("{name}.csr"),
    );
    let subject = format!("/CN=Issued to {name}");
    bed.openssl(&[
        "req", "-new", "-key", &key, "-subj", &subject, "-out", &request,
    ]);
    let authority = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"];
    let issue = [
        "x509",
        "-req",
        "-in",
        &request,
        "-days",
        "50",
        "-out",
        &certificate,
    ];
    bed.openssl(&[&issue[..], &authority].concat());
}

#[test]
fn each_token_has_the_certificates_that_issued_its_own() {
    let bed = Bed::new();
    let csc = Csc::start();
    for (name, before) in [("anna", Before::Pin("1111")), ("free", Before::Nothing)] {
        bed.p12(name, "ec", "x");
        issue(&bed, name);
        csc.add(&bed, &format!("c-{name}"), name, before);
    }
    let added = bed.json(&["add", "csc", &csc.url(), "--name", "sign"], "");
    for (token, name) in [(0, "anna"), (1, "free")] {
        let identities = added["tokens"][token]["identities"].as_array().unwrap();
        let subjects = identities.iter().map(|it| it["subject"].as_str().unwrap());
        let subjects: Vec<_> = subjects.collect();
        assert_eq!(subjects, [&*format!("CN=Issued to {name}"), "CN=CN of ca"]);
        assert_eq!(identities[1]["key"], Value::Null);
    }
    // A certificate without key is none of the last key's.
    let all = ["add", "csc", &csc.url(), "--name", "all", "--shared-pin"];
    bed.ctk(&all, "").succeeded();
    let listed = bed.ctk(&["list"], "").succeeded();
    let own: Vec<_> = listed
        .lines()
        .filter(|line| line.starts_with("all "))
        .collect();
    assert!(own.len() == 3 && own[2].contains(" -    "), "{listed}");
    assert!(own[2].contains("(+1 certificate)"), "{listed}");
    bed.ctk(&["remove", "--yes", "all"], "").succeeded();
    // A renewed certificate of a key that stays is told, and the key's label stays.
    let label = added["tokens"][1]["identities"][0]["label"].clone();
    issue(&bed, "free");
    let refreshed = bed.json(&["refresh", "sign-2"], "");
    let changed = &refreshed["tokens"][0]["changed"][0];
    assert_eq!(changed["label"], label);
    let what = changed["what"][0].as_str().unwrap();
    assert!(
        what.starts_with("a new certificate, which expires 20"),
        "{what}"
    );
    assert_eq!(
        bed.json(&["refresh", "sign-2"], "")["tokens"][0]["state"],
        "same"
    );
}

#[test]
fn a_program_is_run_for_a_secret_only_if_that_is_allowed() {
    let bed = Bed::new();
    bed.p12("free", "ec", "x");
    let csc = Csc::start();
    csc.add(&bed, "c-free", "free", Before::Nothing);
    csc.state.lock().unwrap().bearer = Some("let-me-in".to_owned());
    let url = csc.url();
    let ran = bed.path("ran");
    let source = format!(
        "command:/bin/sh -c 'echo >> {}; echo let-me-in'",
        ran.display()
    );
    let add = ["add", "csc", &url, "--name", "sign", "--bearer", &source];
    let refused = bed.ctk(&add, "").failed(2);
    assert!(
        refused.contains("needs --commands") && !ran.exists(),
        "{refused}"
    );
    let added = bed.json(&[&add[..], &["--commands"]].concat(), "");
    assert_eq!(added["tokens"][0]["commands"], true);
    assert!(ran.exists() && bed.stored("sign").contains("commands = true"));
    // Nor is one that was allowed when it is allowed no more.
    let refused = bed
        .ctk(&["update", "sign", "--commands=false"], "")
        .failed(2);
    assert!(refused.contains("needs --commands"), "{refused}");
    bed.p12("work", "ec", "secret");
    fs::remove_file(&ran).unwrap();
    let pin = format!(
        "command:/bin/sh -c 'echo >> {}; echo secret'",
        ran.display()
    );
    let refused = bed.ctk(&["add", "work.p12", "--pin", &pin], "").failed(2);
    assert!(
        refused.contains("needs --commands") && !ran.exists(),
        "{refused}"
    );
    bed.ctk(&["add", "work.p12", "--pin", &pin, "--commands"], "")
        .succeeded();
    assert!(ran.exists());
}
