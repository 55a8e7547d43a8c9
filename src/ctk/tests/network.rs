//! Tokens whose keys are at a service, which answers what a test has scripted.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail at any step"
)]

mod bed;
mod services;

use std::{fs, os::unix::fs::PermissionsExt};

use bed::{Bed, Ran};
use serde_json::{Value, json};
use services::{
    csc::{Before, Csc},
    kms::{ACCESS_KEY, Kms},
};

/// A file with a secret that only its owner can read.
fn secret(bed: &Bed, name: &str, text: &str) -> String {
    let file = bed.path(name);
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    format!("file:{}", file.display())
}

/// `ctk add aws-kms` for a scripted service.
fn add_kms(bed: &Bed, kms: &Kms, more: &[&str]) -> Ran {
    let (url, source) = (kms.server.url(), secret(bed, "aws", "c2VjcmV0"));
    let add = [
        "add",
        "aws-kms",
        "--region",
        "eu-central-1",
        "--endpoint",
        &url,
    ];
    let who = [
        "--access-key-id",
        ACCESS_KEY,
        "--secret-access-key",
        &source,
    ];
    bed.ctk(&[more, &add, &who].concat(), "")
}

fn stored(bed: &Bed, name: &str) -> String {
    fs::read_to_string(bed.home().join(format!(".config/ctk/tokens.d/{name}.toml"))).unwrap()
}

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
    let added = add_kms(&bed, &kms, &[]);
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
    assert!(!stored(&bed, "aws-kms-eu-central-1").contains("c2VjcmV0"));

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
}

#[test]
fn a_service_is_asked_again_and_what_a_person_wrote_stays() {
    let bed = Bed::new();
    for name in ["one", "two", "three"] {
        bed.p12(name, "ec", "x");
    }
    let kms = Kms::start();
    kms.add(
        &bed,
        "11111111-1111-4111-8111-111111111111",
        Some("alias/one"),
        "one",
    );
    kms.add(
        &bed,
        "22222222-2222-4222-8222-222222222222",
        Some("alias/two"),
        "two",
    );
    add_kms(&bed, &kms, &["--json"]).succeeded();
    let name = "aws-kms-eu-central-1";
    let file = bed.home().join(format!(".config/ctk/tokens.d/{name}.toml"));
    let text = stored(&bed, name);
    let label = bed.json(&["show", name], "")["identities"][0]["label"].clone();
    let label = label.as_str().unwrap();
    let mine = text.replace(&format!("{label:?}"), "\"Mine\"");
    let mine = mine.replace("[[token]]\n", "[[token]]\n# do not touch\n");
    assert_eq!(mine.matches("Mine").count(), 1, "{mine}");
    fs::write(&file, &mine).unwrap();
    bed.ctk(&["update", name, "--order", "3", "--hide", "Mine"], "")
        .succeeded();

    let same = bed.ctk(&["refresh"], "").succeeded();
    assert_eq!(same, format!("Token {name:?} is as it was.\n"));
    let before = stored(&bed, name);
    let json = bed.json(&["refresh", name], "");
    assert_eq!(
        (&json["ok"], &json["tokens"][0]["state"]),
        (&true.into(), &"same".into())
    );
    assert_eq!(stored(&bed, name), before);

    kms.keys.lock().unwrap().pop();
    kms.add(
        &bed,
        "33333333-3333-4333-8333-333333333333",
        Some("alias/three"),
        "three",
    );
    let changed = bed.json(&["refresh", name], "");
    let report = &changed["tokens"][0];
    assert_eq!(report["state"], "changed");
    let (came, gone) = (&report["came"][0], &report["gone"][0]);
    assert_eq!(
        (&came["id"], &gone["id"]),
        (&bed.key_id("three").into(), &bed.key_id("two").into())
    );
    assert_eq!(report["changed"], json!([]));
    let after = stored(&bed, name);
    assert!(
        after.contains("# do not touch") && after.contains("order = 3"),
        "{after}"
    );
    assert!(
        after.contains("hidden = [\"Mine\"]") && after.contains("label = \"Mine\""),
        "{after}"
    );

    // A key that is switched off is not there, and why is said.
    kms.keys.lock().unwrap()[1].enabled = false;
    let off = bed.ctk(&["refresh"], "");
    assert_eq!(off.code, 0, "{off:?}");
    assert!(off.out.contains("gone: P-256"), "{off:?}");
    assert!(off.error.contains("isabled"), "{off:?}");
}

#[test]
fn of_several_tokens_one_fails_and_the_others_are_refreshed() {
    let bed = Bed::new();
    bed.p12("one", "ec", "x");
    bed.p12("work", "ec", "secret");
    bed.p12("open", "ec", "");
    let kms = Kms::start();
    kms.add(&bed, "11111111-1111-4111-8111-111111111111", None, "one");
    add_kms(&bed, &kms, &["--json"]).succeeded();
    bed.ctk(&["add", "work.p12"], "secret\n").succeeded();
    bed.ctk(&["add", "open.p12"], "").succeeded();
    bed.p12("open", "ec", "");
    // Without names a file with a password is nobody's fault.
    let all = bed.ctk(&["refresh"], "");
    assert_eq!(all.code, 0, "{all:?}");
    assert!(
        all.error
            .contains("token \"work\": its file has a password: ctk update work")
    );
    assert!(all.out.contains("Token \"open\":\n  new: P-256"), "{all:?}");
    drop(kms);
    let failed = bed.ctk(
        &[
            "--json",
            "refresh",
            "aws-kms-eu-central-1",
            "nobody",
            "open",
            "work",
        ],
        "",
    );
    assert_eq!(failed.code, 1, "{failed:?}");
    let report: Value = serde_json::from_str(&failed.out).unwrap();
    assert_eq!(report["ok"], false);
    let states = report["tokens"].as_array().unwrap().iter();
    let states: Vec<_> = states
        .map(|it| (it["name"].as_str().unwrap(), it["state"].as_str().unwrap()))
        .collect();
    assert_eq!(
        states,
        [
            ("nobody", "failed"),
            ("aws-kms-eu-central-1", "failed"),
            ("open", "same"),
            ("work", "failed")
        ]
    );
    let error = report["tokens"][1]["error"].as_str().unwrap();
    assert!(error.contains("127.0.0.1"), "{error}");
}

#[test]
fn settings_are_changed_and_tried() {
    let bed = Bed::new();
    bed.p12("one", "ec", "x");
    let (kms, other) = (Kms::start(), Kms::start());
    for kms in [&kms, &other] {
        kms.add(&bed, "11111111-1111-4111-8111-111111111111", None, "one");
    }
    add_kms(&bed, &kms, &["--json"]).succeeded();
    let name = "aws-kms-eu-central-1";
    let endpoint = format!("endpoints={}", other.server.url());
    let updated = bed.ctk(
        &[
            "update",
            name,
            "--set",
            &endpoint,
            "--set",
            "total_timeout=20",
        ],
        "",
    );
    assert_eq!(updated.code, 0, "{updated:?}");
    assert!(
        updated
            .out
            .starts_with("The service has what was stored.\n"),
        "{updated:?}"
    );
    assert!(!other.server.asked().is_empty());
    let text = stored(&bed, name);
    assert!(
        text.contains("total_timeout = 20") && text.contains(&other.server.url()),
        "{text}"
    );
    bed.ctk(&["update", name, "--set", "total_timeout="], "")
        .succeeded();
    assert!(!stored(&bed, name).contains("total_timeout"));
    let before = stored(&bed, name);
    for (wrong, said) in [
        (
            "nonsense=1",
            "has no setting \"nonsense\"; there are: region",
        ),
        ("region", "NAME=VALUE"),
        ("total_timeout=soon", "total_timeout must be a whole number"),
        (
            "secret_access_key=s3cret",
            "secret_access_key: this is no source of a secret",
        ),
    ] {
        let refused = bed.ctk(&["update", name, "--set", wrong], "").failed(2);
        assert!(
            refused.contains(said) && !refused.contains("s3cret"),
            "{refused}"
        );
    }
    let refused = bed.ctk(&["update", name, "--file", "x.p12"], "").failed(2);
    assert!(refused.contains("is at a service"), "{refused}");
    // What does not work is not stored.
    let refused = bed
        .ctk(&["update", name, "--set", "access_key_id=AKIANOBODY"], "")
        .failed(1);
    assert!(
        refused.contains("access key") || refused.contains("credentials"),
        "{refused}"
    );
    assert_eq!(stored(&bed, name), before);
    bed.ctk(&["add", "one.p12"], "x\n").succeeded();
    let refused = bed
        .ctk(&["update", "one", "--set", "region=x"], "")
        .failed(2);
    assert!(refused.contains("--set is for network tokens"), "{refused}");
}

#[test]
fn the_doctor_says_what_is_wrong_on_the_way_to_a_service() {
    let bed = Bed::new();
    bed.p12("one", "ec", "x");
    let none = bed.json(&["doctor", "network"], "");
    assert_eq!(none["checks"][0]["state"], "hint");
    let kms = Kms::start();
    kms.add(&bed, "11111111-1111-4111-8111-111111111111", None, "one");
    add_kms(&bed, &kms, &["--json"]).succeeded();
    let name = "aws-kms-eu-central-1";
    let well = bed.ctk(&["doctor", "network", name], "").succeeded();
    assert!(
        well.contains("token \"aws-kms-eu-central-1\": settings: "),
        "{well}"
    );
    assert!(
        well.contains("permission: ") && well.contains("0 problems"),
        "{well}"
    );
    // A look at the whole asks no service.
    kms.server.forget();
    let whole = bed.doctor().to_string();
    assert!(
        whole.contains("1 token is at a service, which was not asked"),
        "{whole}"
    );
    assert_eq!(kms.server.asked(), [""; 0]);
    fs::remove_file(bed.path("aws")).unwrap();
    let whole = bed.doctor().to_string();
    assert!(
        whole.contains("secret_access_key: the secret file"),
        "{whole}"
    );
    let missing = bed.ctk(&["doctor", "network"], "");
    assert_eq!(missing.code, 1, "{missing:?}");
    secret(&bed, "aws", "c2VjcmV0");
    drop(kms);
    let gone = bed.ctk(&["--json", "doctor", "network", name], "");
    assert_eq!(gone.code, 1, "{gone:?}");
    let gone: Value = serde_json::from_str(&gone.out).unwrap();
    let last = gone["checks"].as_array().unwrap().last().unwrap();
    assert_eq!(last["state"], "problem", "{gone}");
    assert!(
        last["message"]
            .as_str()
            .unwrap()
            .starts_with("connection: "),
        "{gone}"
    );
    bed.ctk(&["add", "one.p12"], "x\n").succeeded();
    let file = bed.ctk(&["doctor", "network", "one"], "").failed(1);
    assert!(file.contains("is not at a service"), "{file}");
    bed.ctk(&["doctor", "card", name], "").failed(2);
}

#[test]
fn what_is_missing_or_wrong_is_said_before_anything_is_asked_or_stored() {
    let bed = Bed::new();
    fs::write(bed.path("csc"), "not a service").unwrap();
    let file = bed.ctk(&["add", "csc"], "").failed(2);
    assert!(file.contains("ctk add ./csc"), "{file}");
    assert!(file.contains("ctk add csc https://"), "{file}");
    let file = bed.ctk(&["add", "./csc"], "x\n").failed(1);
    assert!(
        file.contains("/csc: damaged, or not a PKCS#12 file"),
        "{file}"
    );
    let csc = Csc::start();
    let url = csc.url();
    for (wrong, said) in [
        (&["--user", "anna"][..], "user alone does not say how"),
        (
            &["--authentication", "basic", "--user", "anna"],
            "--password SOURCE",
        ),
        (
            &["--password", "s3cret"],
            "--password: this is no source of a secret",
        ),
        (&["--bearer", "pin:s3cret"], "--bearer: this is no source"),
        (&["--otp-seed=s3cret"], "--otp-seed: this is no source"),
        (&["--total-timeout", "soon"], "invalid value 'soon'"),
        (&["--label", "a:b"], "must not have a colon"),
        (&["--name", "a b"], "is not a name"),
        (&["--region", "x"], "unexpected argument '--region'"),
        (&["--login", "on-use"], "needs a stored PIN"),
        (&["--nonsense"], "unexpected argument"),
    ] {
        let ran = bed.ctk(&[&["add", "csc", &url][..], wrong].concat(), "");
        let refused = ran.failed(2);
        assert!(refused.contains(said), "{said}: {refused}");
        assert!(!refused.contains("s3cret"), "{refused}");
    }
    let mixed = bed.ctk(&["add", "--name", "x", "csc", &url], "").failed(2);
    assert!(
        mixed.contains("stand after its kind: ctk add csc"),
        "{mixed}"
    );
    assert_eq!(csc.server.asked(), [""; 0]);

    // What only the service can tell.
    let empty = bed.ctk(&["add", "csc", &url], "").failed(1);
    assert!(
        empty.contains("has no key that can be used here; nothing was changed"),
        "{empty}"
    );
    bed.p12("free", "ec", "x");
    csc.add(&bed, "c-free", "free", Before::Nothing);
    let pin = secret(&bed, "pin", "1111");
    let refused = bed.ctk(&["add", "csc", &url, "--pin", &pin], "").failed(2);
    assert!(refused.contains("no key there has a PIN"), "{refused}");
    let refused = bed
        .ctk(&["add", "csc", &url, "--hide", "nonsense"], "")
        .failed(1);
    assert!(refused.contains("no key or certificate"), "{refused}");
    let nowhere = bed.ctk(&["add", "aws-kms"], "").failed(1);
    assert!(nowhere.contains("(here: --region REGION)"), "{nowhere}");
    for (url, said) in [
        ("ftp://127.0.0.1/x", "ftp"),
        ("http://signing.example/csc/v1", "https"),
        ("http://127.0.0.1:1/csc/v1", "127.0.0.1"),
    ] {
        let refused = bed.ctk(&["add", "csc", url], "").failed(1);
        assert!(refused.contains(said), "{refused}");
    }
    csc.state.lock().unwrap().bearer = Some("let-me-in".to_owned());
    let refused = bed.ctk(&["add", "csc", &url], "").failed(1);
    assert!(refused.contains("127.0.0.1"), "{refused}");
    assert!(!bed.home().join(".config").exists());

    let bearer = secret(&bed, "bearer", "let-me-in\n");
    bed.ctk(&["add", "csc", &url, "--bearer", &bearer], "")
        .succeeded();
    assert!(stored(&bed, "127.0.0.1").contains("authentication = \"bearer\""));
    let taken = bed
        .ctk(&["add", "csc", &url, "--bearer", &bearer], "")
        .failed(1);
    assert!(taken.contains("the name \"127.0.0.1\" is taken"), "{taken}");
    assert!(taken.contains("ctk refresh 127.0.0.1"), "{taken}");
}

#[test]
fn several_pins_are_not_one_stored_pin() {
    let bed = Bed::new();
    let csc = Csc::start();
    for (name, pin) in [("anna", "1111"), ("bert", "2222")] {
        bed.p12(name, "ec", "x");
        csc.add(&bed, &format!("c-{name}"), name, Before::Pin(pin));
    }
    let (url, pin) = (csc.url(), secret(&bed, "pin", "1111"));
    let add = [
        "add", "csc", &url, "--name", "sign", "--login", "on-use", "--pin", &pin,
    ];
    let refused = bed.ctk(&add, "").failed(2);
    assert!(
        refused.contains("2 keys with PINs of their own"),
        "{refused}"
    );
    assert!(!bed.home().join(".config").exists());
    let one = [&add[..], &["--credential", "c-anna"]].concat();
    bed.ctk(&one, "").succeeded();
    let tested = bed.ctk(&["test", "sign"], "");
    assert_eq!(tested.code, 0, "{tested:?}");
}

#[test]
fn a_new_key_with_a_pin_of_its_own_does_not_come_into_a_token_without() {
    let bed = Bed::new();
    bed.p12("free", "ec", "x");
    bed.p12("anna", "ec", "x");
    let csc = Csc::start();
    csc.add(&bed, "c-free", "free", Before::Nothing);
    bed.ctk(&["add", "csc", &csc.url(), "--name", "sign"], "")
        .succeeded();
    csc.add(&bed, "c-anna", "anna", Before::Pin("1111"));
    let refreshed = bed.ctk(&["refresh"], "");
    assert_eq!(refreshed.code, 0, "{refreshed:?}");
    assert_eq!(refreshed.out, "Token \"sign\" is as it was.\n");
    assert!(
        refreshed.error.contains("c-anna") && refreshed.error.contains("ctk add csc"),
        "{refreshed:?}"
    );
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
    assert!(ran.exists() && stored(&bed, "sign").contains("commands = true"));
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
