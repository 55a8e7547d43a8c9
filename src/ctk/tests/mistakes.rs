//! What people do wrong, or find broken: nothing is lost, and the command says what to do.

#![allow(clippy::unwrap_used, reason = "a test may fail at any step")]

mod bed;

use std::{fs, os::unix::fs::PermissionsExt};

use bed::Bed;
use serde_json::Value;

/// A table of the token "broken" that no program can use, as a person wrote it.
const BROKEN: &str = "# mine\n[[token]]\nname = \"broken\"\ndriver = \"pkcs12\"\nfile = \"/x/y.p12\"\n\
                      label = \"a:b\"\n";

#[test]
fn a_name_that_an_unusable_token_has_is_taken() {
    let bed = Bed::new();
    bed.p12("work", "ec", "secret");
    for file in ["ctk.toml", "tokens.d/broken.toml"] {
        let file = bed.configuration(file, BROKEN);
        let refused = bed.ctk(&["add", "work.p12", "--name", "broken"], "secret\n");
        let refused = refused.failed(1);
        assert!(
            refused.contains("the name \"broken\" is taken"),
            "{refused}"
        );
        assert_eq!(fs::read_to_string(&file).unwrap(), BROKEN);
        fs::remove_file(&file).unwrap();
    }
    // Not even its name can be read.
    let text = "[[token]]\nname = \n";
    let file = bed.configuration("tokens.d/broken.toml", text);
    let refused = bed.ctk(&["add", "work.p12", "--name", "broken"], "secret\n");
    assert_eq!(refused.failed(1).matches("broken.toml:2").count(), 1);
    let refused = bed.ctk(&["remove", "--yes", "broken"], "").failed(1);
    assert!(refused.contains("broken.toml:2"), "{refused}");
    assert!(refused.contains("delete the file"), "{refused}");
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
}

#[test]
fn an_unusable_token_can_be_mended_or_removed() {
    let bed = Bed::new();
    let file = bed.configuration("tokens.d/broken.toml", BROKEN);
    for command in [
        &["update", "broken", "--label", "New"][..],
        &["show", "broken"],
        &["test", "broken"],
    ] {
        let refused = bed.ctk(command, "").failed(1);
        assert_eq!(refused.matches("broken.toml:6").count(), 1, "{refused}");
        assert!(refused.contains("mend that"), "{refused}");
        assert!(refused.contains("ctk remove broken"), "{refused}");
        assert_eq!(fs::read_to_string(&file).unwrap(), BROKEN);
    }
    bed.ctk(&["remove", "broken"], "").failed(2);
    let removed = bed.ctk(&["remove", "--yes", "broken"], "").succeeded();
    assert!(removed.contains("Removed token \"broken\""), "{removed}");
    assert!(!file.exists());
    let refused = bed.ctk(&["remove", "--yes", "broken"], "").failed(1);
    assert!(refused.contains("no token \"broken\""), "{refused}");
}

#[test]
fn of_two_tables_with_one_name_the_command_takes_none() {
    let bed = Bed::new();
    bed.p12("work", "ec", "secret");
    bed.ctk(&["add", "work.p12"], "secret\n").succeeded();
    let file = bed.home().join(".config/ctk/tokens.d/work.toml");
    let second = BROKEN.replace("broken", "work");
    let text = second + &fs::read_to_string(&file).unwrap();
    fs::write(&file, &text).unwrap();
    for command in [
        &["update", "work", "--label", "New"][..],
        &["remove", "--yes", "work"],
    ] {
        let refused = bed.ctk(command, "").failed(1);
        assert!(refused.contains("several [[token]] tables"), "{refused}");
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
    }
}

#[test]
fn a_file_has_one_token_and_twins_are_known_by_their_keys() {
    let bed = Bed::new();
    for name in ["work", "bob"] {
        bed.p12(name, "ec", "secret");
        bed.ctk(&["add", &format!("{name}.p12")], "secret\n")
            .succeeded();
    }
    fs::copy(bed.path("work.p12"), bed.path("old.p12")).unwrap();
    fs::copy(bed.path("bob.p12"), bed.path("copy.p12")).unwrap();
    let refused = bed.ctk(&["update", "work", "--file", "bob.p12"], "secret\n");
    let refused = refused.failed(1);
    assert!(refused.contains("as token \"bob\""), "{refused}");
    // The same file by its own token is no twin.
    let same = bed.ctk(&["update", "work", "--file", "work.p12"], "secret\n");
    assert_eq!((same.code, &*same.error), (0, ""));

    // The serial number stays with the token, so it says nothing about keys.
    let update = bed.ctk(&["update", "work", "--file", "copy.p12"], "secret\n");
    assert_eq!(update.code, 0);
    for warning in [
        "token \"bob\" has the same keys",
        "has none of the keys that token \"work\" had",
    ] {
        assert!(update.error.contains(warning), "{update:?}");
    }
    let old = bed.ctk(&["add", "old.p12"], "secret\n");
    assert_eq!((old.code, &*old.error), (0, ""));
    fs::copy(bed.path("bob.p12"), bed.path("third.p12")).unwrap();
    let third = bed.ctk(&["add", "third.p12"], "secret\n");
    for twin in ["bob", "work"] {
        let warning = format!("token {twin:?} has the same keys");
        assert!(third.error.contains(&warning), "{third:?}");
    }
    assert!(!third.error.contains("\"old\""), "{third:?}");
}

#[test]
fn a_file_without_a_password_is_registered_with_a_warning() {
    let bed = Bed::new();
    bed.p12("empty", "ec", "");
    bed.p12("plain", "ec", "secret");
    bed.openssl(&[
        "pkcs12",
        "-export",
        "-nomac",
        "-keypbe",
        "NONE",
        "-certpbe",
        "NONE",
        "-inkey",
        "plain.key",
        "-in",
        "plain.crt",
        "-passout",
        "pass:",
        "-out",
        "plain.p12",
    ]);
    for name in ["empty", "plain"] {
        // Whatever is typed, and also by who types nothing.
        let added = bed.ctk(&["add", &format!("{name}.p12")], "typed\n");
        assert_eq!(added.code, 0, "{added:?}");
        assert!(added.error.contains("no password protects"), "{added:?}");
        let updated = bed.ctk(&["update", name], "");
        assert!(
            updated.error.contains("no password protects"),
            "{updated:?}"
        );
    }
    let doctor = bed.doctor().to_string();
    assert_eq!(
        doctor.matches("no password protects").count(),
        2,
        "{doctor}"
    );
    assert_eq!(
        doctor.matches("and holds what was registered").count(),
        2,
        "{doctor}"
    );
    bed.p12("work", "ec", "secret");
    let added = bed.ctk(&["add", "work.p12"], "secret\n");
    assert_eq!((added.code, &*added.error), (0, ""));
}

#[test]
fn a_pin_source_is_tried_before_it_is_stored() {
    let bed = Bed::new();
    bed.p12("work", "ec", "secret");
    let add = ["add", "work.p12", "--pin", "file:pin", "--login", "on-use"];
    let refused = |text: &str| {
        let refused = bed.ctk(&add, "secret\n").failed(1);
        assert!(refused.contains(text), "{refused}");
        assert!(!bed.home().join(".config").exists());
    };
    refused("does not exist");
    fs::write(bed.path("pin"), "secret\n").unwrap();
    fs::set_permissions(bed.path("pin"), fs::Permissions::from_mode(0o644)).unwrap();
    refused("chmod go=");
    fs::set_permissions(bed.path("pin"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(bed.path("pin"), "wrong\n").unwrap();
    refused("does not open work.p12");
    fs::write(bed.path("pin"), "secret\r\n").unwrap();
    refused("carriage return");
    // The right one answers for the person.
    fs::write(bed.path("pin"), "secret\n").unwrap();
    bed.ctk(&add, "").succeeded();

    // One that is somewhere else cannot be tried; what is known to be wrong is not stored.
    let other = bed.ctk(&["update", "work", "--pin", "env:WORK_PIN"], "");
    assert_eq!(other.code, 0, "{other:?}");
    assert!(other.error.contains("this PIN was not tried"), "{other:?}");
    let mut wrong = bed.command(&["update", "work", "--pin", "env:WORK_PIN"]);
    let wrong = bed.run(wrong.env("WORK_PIN", "wrong"), "").failed(1);
    assert!(
        wrong.contains("PIN from env:WORK_PIN does not open"),
        "{wrong}"
    );
    assert!(!wrong.contains("wrong"), "{wrong}");

    // A renewal may have another password: the person is asked, and told.
    bed.ctk(&["update", "work", "--pin", "file:pin"], "")
        .succeeded();
    bed.p12("work", "ec", "new");
    let renewed = bed.ctk(&["update", "work"], "new\n");
    assert_eq!(renewed.code, 0, "{renewed:?}");
    assert!(
        renewed.error.contains("write the file's password there"),
        "{renewed:?}"
    );
    let doctor = bed.doctor().to_string();
    assert!(
        doctor.contains("with the stored PIN from file:"),
        "{doctor}"
    );
}

#[test]
fn the_doctor_sees_a_renewal_whatever_was_changed_since() {
    let bed = Bed::new();
    bed.p12("work", "ec", "secret");
    bed.ctk(&["add", "work.p12"], "secret\n").succeeded();
    assert!(
        bed.doctor()
            .to_string()
            .contains("only its password tells: ctk test work")
    );
    fs::write(bed.path("pin"), "secret\n").unwrap();
    fs::set_permissions(bed.path("pin"), fs::Permissions::from_mode(0o600)).unwrap();
    bed.ctk(&["update", "work", "--pin", "file:pin"], "")
        .succeeded();
    assert!(
        bed.doctor()
            .to_string()
            .contains("and holds what was registered")
    );
    bed.p12("work", "ec", "secret");
    bed.ctk(&["update", "work", "--order", "1"], "").succeeded();
    let doctor = bed.doctor().to_string();
    assert!(
        doctor.contains("holds other keys or certificates than"),
        "{doctor}"
    );
}

#[test]
fn text_is_told_from_pkcs12_and_how_it_is_converted() {
    let bed = Bed::new();
    bed.p12("work", "ec", "secret");
    for file in ["work.key", "work.crt"] {
        let refused = bed.ctk(&["add", file], "").failed(1);
        assert!(refused.contains("openssl pkcs12 -export"), "{refused}");
    }
    let base64 = String::from_utf8(bed.openssl(&["base64", "-in", "work.p12"])).unwrap();
    let text = format!("-----BEGIN PKCS12-----\n{base64}-----END PKCS12-----\n");
    fs::write(bed.path("text.p12"), text).unwrap();
    let refused = bed.ctk(&["add", "text.p12"], "").failed(1);
    assert!(refused.contains("openssl base64 -d"), "{refused}");
}

#[test]
fn a_key_that_cannot_be_used_is_spoken_of() {
    let bed = Bed::new();
    bed.p12("short", "rsa:512", "secret");
    let added = bed.ctk(&["add", "short.p12"], "secret\n");
    assert_eq!(added.code, 0, "{added:?}");
    assert!(
        added.error.contains(
            "short.p12: the private key \"label of short\" is left out: an RSA key of 512 bits"
        ),
        "{added:?}"
    );
    let listed = bed.json(&["list"], "");
    assert!(listed["tokens"][0]["identities"][0]["key"].is_null());
    let tested = bed.ctk(&["test", "short"], "secret\n").succeeded();
    assert!(tested.contains("There is no key"), "{tested}");
}

#[test]
fn a_line_of_windows_is_recognized() {
    let bed = Bed::new();
    bed.p12("work", "ec", "secret");
    let refused = bed.ctk(&["add", "work.p12"], "secret\r\n").failed(1);
    assert!(refused.contains("carriage return"), "{refused}");
}

#[test]
fn wrong_usage_is_json_too_and_repeats_no_secret() {
    let bed = Bed::new();
    bed.p12("work", "ec", "s3cret");
    for wrong in [
        &["add", "work.p12", "--pin", "s3cret"][..],
        &["add", "work.p12", "--pin=pin:s3cret"],
        &["add", "work.p12", "s3cret"],
        &["add", "work.p12", "--password", "s3cret"],
    ] {
        let plain = bed.ctk(wrong, "");
        let json = bed.ctk(&[&["--json"], wrong].concat(), "");
        assert_eq!((plain.code, json.code), (2, 2), "{plain:?} {json:?}");
        for text in [&plain.out, &plain.error, &json.out, &json.error] {
            assert!(!text.contains("s3cret"), "{text}");
        }
        assert!(plain.out.is_empty() && !plain.error.is_empty());
    }
    for wrong in [
        &["frobnicate"][..],
        &["add", "work.p12", "--label", "a:b"],
        &["add"],
    ] {
        let ran = bed.ctk(&[wrong, &["--json"]].concat(), "");
        let object: Value = serde_json::from_str(&ran.out).unwrap();
        let said = object["error"].as_str().unwrap();
        assert_eq!(ran.code, 2);
        assert!(
            ran.error.contains(said) && !said.starts_with("error"),
            "{ran:?}"
        );
    }
}

#[test]
fn a_list_with_problems_tells_them_and_is_a_list() {
    let bed = Bed::new();
    bed.configuration("tokens.d/broken.toml", BROKEN);
    let listed = bed.ctk(&["list"], "");
    assert_eq!(listed.code, 0);
    assert!(listed.error.contains("broken.toml:6"), "{listed:?}");
    assert_eq!(bed.ctk(&["doctor"], "").code, 1);
}

#[test]
fn files_that_give_no_name_are_numbered() {
    let bed = Bed::new();
    for (made, file, name) in [("one", "日本.p12", "token"), ("two", "中国.p12", "token-2")] {
        bed.p12(made, "ec", "secret");
        fs::rename(bed.path(&format!("{made}.p12")), bed.path(file)).unwrap();
        let added = bed.json(&["add", file], "secret\n");
        assert_eq!(added["name"], name);
    }
}
