//! Network tokens as time goes on: services that are asked again, other settings, and what is wrong on the way to them.

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
    kms.register(&bed, &["--json"]).succeeded();
    let name = "aws-kms-eu-central-1";
    let file = bed.home().join(format!(".config/ctk/tokens.d/{name}.toml"));
    let text = bed.stored(name);
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
    let before = bed.stored(name);
    let json = bed.json(&["refresh", name], "");
    assert_eq!(
        (&json["ok"], &json["tokens"][0]["state"]),
        (&true.into(), &"same".into())
    );
    assert_eq!(bed.stored(name), before);

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
    let after = bed.stored(name);
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
    // Where nothing is left, who asks may be the wrong one.
    let before = bed.stored(name);
    kms.keys.lock().unwrap().clear();
    let none = bed.ctk(&["refresh"], "").failed(1);
    assert!(
        none.contains("no key any more that can be used, so nothing was changed"),
        "{none}"
    );
    assert_eq!(bed.stored(name), before);
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

#[test]
fn a_token_does_not_become_one_that_nobody_can_log_in_to() {
    let bed = Bed::new();
    let csc = Csc::start();
    for name in ["one", "two"] {
        bed.p12(name, "ec", "x");
        csc.add(&bed, &format!("c-{name}"), name, Before::Nothing);
    }
    bed.ctk(&["add", "csc", &csc.url(), "--name", "sign"], "")
        .succeeded();
    let before = bed.stored("sign");
    // A PIN is for a key that has one.
    let pin = bed.secret("pin", "1111");
    let refused = bed.ctk(&["update", "sign", "--pin", &pin], "").failed(2);
    assert!(
        refused.contains("no key of token \"sign\" has a PIN"),
        "{refused}"
    );
    for credential in &mut csc.state.lock().unwrap().credentials {
        credential.before = Before::Pin("1111");
    }
    let several = "2 of its keys have PINs of their own, so no program can log in";
    let refused = bed.ctk(&["refresh", "sign"], "").failed(1);
    assert!(refused.contains(several), "{refused}");
    let refused = bed.ctk(&["update", "sign"], "").failed(1);
    assert!(refused.contains(several), "{refused}");
    assert_eq!(bed.stored("sign"), before);
    // As it says.
    bed.ctk(&["update", "sign", "--set", "shared_pin=true"], "")
        .succeeded();
    bed.ctk(&["test", "sign"], "1111\n").succeeded();
    // Who stored it by hand is told.
    let file = bed.home().join(".config/ctk/tokens.d/sign.toml");
    let text = bed.stored("sign").replace("shared_pin = true\n", "");
    fs::write(&file, text).unwrap();
    for doctor in [&["doctor"][..], &["doctor", "network", "sign"]] {
        let said = bed.ctk(doctor, "");
        assert!(said.out.contains(several), "{said:?}");
    }
}

#[test]
fn a_pin_that_no_key_wants_any_more_is_not_in_the_way() {
    let bed = Bed::new();
    let csc = Csc::start();
    bed.p12("one", "ec", "x");
    csc.add(&bed, "c-one", "one", Before::Pin("1111"));
    let (url, pin) = (csc.url(), bed.secret("pin", "1111"));
    bed.ctk(&["add", "csc", &url, "--name", "sign", "--pin", &pin], "")
        .succeeded();
    bed.ctk(&["test", "sign"], "").succeeded();
    csc.state.lock().unwrap().credentials[0].before = Before::Nothing;
    bed.ctk(&["refresh", "sign"], "").succeeded();
    csc.server.forget();
    bed.ctk(&["test", "sign"], "").succeeded();
    let requests = csc.server.requests();
    assert!(requests.iter().all(|asked| asked.body["PIN"].is_null()));
    let said = bed.ctk(&["doctor"], "");
    assert!(
        said.out.contains("is for no key of it, and not used"),
        "{said:?}"
    );
    bed.ctk(&["update", "sign", "--pin", "app", "--login", "app"], "")
        .succeeded();
}

#[test]
fn of_keys_that_are_not_stored_yet_nobody_says_that_they_have_no_pin() {
    let bed = Bed::new();
    let csc = Csc::start();
    bed.p12("one", "ec", "x");
    csc.add(&bed, "c-one", "one", Before::Pin("1111"));
    let (url, pin) = (csc.url(), bed.secret("pin", "1111"));
    bed.ctk(&["add", "csc", &url, "--name", "sign", "--pin", &pin], "")
        .succeeded();
    // As it is written by hand, before ctk refresh.
    let file = bed.home().join(".config/ctk/tokens.d/sign.toml");
    let text = bed.stored("sign");
    let end = text.find("[[token.").unwrap();
    fs::write(&file, &text[..end]).unwrap();
    let said = bed.ctk(&["doctor"], "");
    assert!(
        said.out.contains("sign") && !said.out.contains("not used"),
        "{said:?}"
    );
    bed.ctk(&["update", "sign", "--pin", &pin], "").succeeded();
    bed.ctk(&["refresh", "sign"], "").succeeded();
    bed.ctk(&["test", "sign"], "").succeeded();
}

#[test]
fn of_several_tokens_one_fails_and_the_others_are_refreshed() {
    let bed = Bed::new();
    bed.p12("one", "ec", "x");
    bed.p12("work", "ec", "secret");
    bed.p12("open", "ec", "");
    let kms = Kms::start();
    kms.add(&bed, "11111111-1111-4111-8111-111111111111", None, "one");
    kms.register(&bed, &["--json"]).succeeded();
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
    kms.register(&bed, &["--json"]).succeeded();
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
    let text = bed.stored(name);
    assert!(
        text.contains("total_timeout = 20") && text.contains(&other.server.url()),
        "{text}"
    );
    bed.ctk(&["update", name, "--set", "total_timeout="], "")
        .succeeded();
    assert!(!bed.stored(name).contains("total_timeout"));
    let before = bed.stored(name);
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
    assert_eq!(bed.stored(name), before);
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
    kms.register(&bed, &["--json"]).succeeded();
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
    bed.secret("aws", "c2VjcmV0");
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
fn a_key_that_is_switched_off_fails_its_test_with_the_reason() {
    let bed = Bed::new();
    bed.p12("one", "ec", "x");
    let kms = Kms::start();
    kms.add(&bed, "11111111-1111-4111-8111-111111111111", None, "one");
    kms.register(&bed, &["--json"]).succeeded();
    let name = "aws-kms-eu-central-1";
    // Without options an update asks the service too.
    let updated = bed.ctk(&["update", name], "").succeeded();
    assert!(
        updated.starts_with("The service has what was stored.\n"),
        "{updated}"
    );
    kms.keys.lock().unwrap()[0].enabled = false;
    let tested = bed.ctk(&["test", name], "");
    assert_eq!(tested.code, 1, "{tested:?}");
    assert!(tested.out.contains(" FAILED  "), "{tested:?}");
    assert!(
        tested.out.contains("ECDSA SHA-256: ") && tested.out.contains("isabled"),
        "{tested:?}"
    );
    let json = bed.ctk(&["--json", "test", name], "");
    let json: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json["ok"], false);
    let error = json["keys"][0]["results"][0]["error"].as_str().unwrap();
    assert!(error.contains("isabled"), "{error}");
}

#[test]
fn numbered_names_go_around_those_that_are_taken() {
    let bed = Bed::new();
    let csc = Csc::start();
    for name in ["anna", "bert"] {
        bed.p12(name, "ec", "x");
        csc.add(&bed, &format!("c-{name}"), name, Before::Pin("1111"));
    }
    bed.ctk(&["add", "anna.p12", "--name", "sign-2"], "x\n")
        .succeeded();
    let add = [
        "add",
        "csc",
        &csc.url(),
        "--name",
        "sign",
        "--label",
        "Mine",
    ];
    let added = bed.json(&add, "");
    let of = |token: usize, what: &str| added["tokens"][token][what].clone();
    assert_eq!(
        (of(0, "name"), of(1, "name")),
        ("sign".into(), "sign-3".into())
    );
    assert_eq!(
        (of(0, "label"), of(1, "label")),
        ("Mine".into(), "Mine 2".into())
    );
    // A table by hand whose name is taken costs nobody else's.
    bed.configuration(
        "tokens.d/broken.toml",
        "[[token]]\nname = \"broken\"\ndriver = \"csc\"\n",
    );
    let refused = bed
        .ctk(&["add", "csc", &csc.url(), "--name", "broken"], "")
        .failed(1);
    assert!(
        refused.contains("is taken by a token that is not usable"),
        "{refused}"
    );
    assert!(refused.contains("missing key \"endpoints\""), "{refused}");
}
