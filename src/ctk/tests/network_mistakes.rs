//! What people do wrong when they register the keys of a service.

#![allow(clippy::unwrap_used, reason = "a test may fail at any step")]

mod bed;
mod services;

use std::fs;

use bed::Bed;
use services::csc::{Before, Csc};

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
        (
            &["--proxy", "http://u:s3cret@proxy:3128"],
            "proxy: a URL here has no user and no password",
        ),
        (
            &["https://u:s3cret@127.0.0.1:9/csc/v1"],
            "endpoints: a URL here has no user",
        ),
        (
            &["u:s3cret@127.0.0.1:9/csc/v1"],
            "endpoints: a URL here has no user",
        ),
        (
            &["--token-url", "u:s3cret@127.0.0.1/x"],
            "token_url: a URL here has no user",
        ),
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
    let pin = bed.secret("pin", "1111");
    let refused = bed.ctk(&["add", "csc", &url, "--pin", &pin], "").failed(2);
    assert!(refused.contains("no key there has a PIN"), "{refused}");
    let refused = bed
        .ctk(&["add", "csc", &url, "--hide", "nonsense"], "")
        .failed(1);
    assert!(refused.contains("no key or certificate"), "{refused}");
    let nowhere = bed.ctk(&["add", "aws-kms"], "").failed(1);
    assert!(nowhere.contains("(here: --region REGION)"), "{nowhere}");
    for (url, said) in [
        ("ftp://127.0.0.1/x", "begins with https://"),
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

    let wrong = bed.secret("wrong", "let-me-out\n");
    let refused = bed
        .ctk(&["add", "csc", &url, "--bearer", &wrong], "")
        .failed(1);
    assert!(refused.contains("--bearer SOURCE"), "{refused}");

    let bearer = bed.secret("bearer", "let-me-in\n");
    bed.ctk(&["add", "csc", &url, "--bearer", &bearer], "")
        .succeeded();
    assert!(
        bed.stored("127.0.0.1")
            .contains("authentication = \"bearer\"")
    );
    let taken = bed
        .ctk(&["add", "csc", &url, "--bearer", &bearer], "")
        .failed(1);
    assert!(taken.contains("the name \"127.0.0.1\" is taken"), "{taken}");
    assert!(taken.contains("ctk refresh 127.0.0.1"), "{taken}");
}
