//! Questions about a service at a terminal, secrets that are typed there, and what is shown while one waits.

#![allow(clippy::unwrap_used, reason = "a test may fail at any step")]

mod bed;
mod services;

use std::{fs, os::unix::fs::PermissionsExt};

use bed::{Bed, terminal::typing};
use services::csc::{Before, Csc};

/// A service that lets in who has this token.
fn service(bed: &Bed, bearer: &str) -> Csc {
    bed.p12("free", "ec", "x");
    let csc = Csc::start();
    csc.add(bed, "c-free", "free", Before::Nothing);
    csc.state.lock().unwrap().bearer = Some(bearer.to_owned());
    csc
}

const HOW: &str = "[default: none]: ";
const WHERE: &str = "or nothing to type it now: ";
const MAY: &str = "Do that? [y/N] ";
const TYPE: &str = "(not shown): ";

#[test]
fn what_is_not_said_is_asked_for_and_a_typed_secret_is_in_a_closed_file() {
    let bed = Bed::new();
    let csc = service(&bed, "let-me-in");
    let url = format!("{}\n", csc.url());
    let address = ("best first: ", url.as_str());
    let shell = "\"$CTK\" add csc; echo ended $?";
    let wrong = ("where is it?", "pin:s3cret\n");
    let dialogue = [
        address,
        (HOW, "bearer\n"),
        wrong,
        (WHERE, "\n"),
        (MAY, "y\n"),
        (TYPE, "let-me-in\n"),
    ];
    let added = typing(&bed, shell, &dialogue);
    assert!(added.contains("ended 0"), "{added}");
    assert!(added.contains("this is no source of a secret"), "{added}");
    assert!(!added.contains("let-me-in"), "{added}");
    let file = bed.home().join(".config/ctk/secrets/127.0.0.1.bearer");
    assert_eq!(fs::read_to_string(&file).unwrap(), "let-me-in");
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let folder = fs::metadata(file.parent().unwrap()).unwrap();
    assert_eq!(folder.permissions().mode() & 0o777, 0o700);
    let stored = bed.home().join(".config/ctk/tokens.d/127.0.0.1.toml");
    let stored = fs::read_to_string(stored).unwrap();
    assert!(
        stored.contains(&format!("bearer = \"file:{}\"", file.display())),
        "{stored}"
    );
    // While one waits, what is being asked is in a line that goes away again.
    assert!(
        added.contains("\r\u{1b}[K") && added.contains("asking CSC API 127.0.0.1"),
        "{added:?}"
    );
    let shell = "\"$CTK\" --json refresh; \"$CTK\" refresh 2>/dev/null; echo ended $?";
    let quiet = typing(&bed, shell, &[]);
    assert!(
        quiet.contains("ended 0") && !quiet.contains('\u{1b}'),
        "{quiet:?}"
    );
    // A secret that is there is not written over.
    bed.ctk(&["remove", "--yes", "127.0.0.1"], "").succeeded();
    let shell = "\"$CTK\" add csc; echo ended $?";
    let again = typing(&bed, shell, &[address, (HOW, "bearer\n"), (WHERE, "\n")]);
    assert!(
        again.contains("is there already") && again.contains("ended 1"),
        "{again}"
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), "let-me-in");
}

#[test]
fn a_secret_that_was_typed_in_vain_is_nowhere() {
    let bed = Bed::new();
    let csc = service(&bed, "let-me-in");
    let shell = format!("\"$CTK\" add csc {}; echo ended $?", csc.url());
    let how = (HOW, "bearer\n");
    let refused = typing(&bed, &shell, &[how, (WHERE, "\n"), (MAY, "n\n")]);
    assert!(
        refused.contains("nothing was written") && refused.contains("ended 1"),
        "{refused}"
    );
    let dialogue = [how, (WHERE, "\n"), (MAY, "y\n"), (TYPE, "wrong-one\n")];
    let refused = typing(&bed, &shell, &dialogue);
    assert!(
        refused.contains("ended 1") && !refused.contains("wrong-one"),
        "{refused}"
    );
    let ended = typing(
        &bed,
        &shell,
        &[how, (WHERE, "\n"), (MAY, "y\n"), (TYPE, "\u{4}")],
    );
    assert!(
        ended.contains("nothing was typed") && ended.contains("ended 1"),
        "{ended}"
    );
    let long = format!("{}\n", "x".repeat(4050));
    let cut = typing(
        &bed,
        &shell,
        &[how, (WHERE, "\n"), (MAY, "y\n"), (TYPE, &long)],
    );
    assert!(
        cut.contains("has 1 to 4000 bytes") && cut.contains("ended 1"),
        "{cut}"
    );
    // Whoever has enough of waiting leaves nothing behind either.
    csc.state.lock().unwrap().stalls = true;
    let asking = ("asking CSC API", "\u{3}");
    let dialogue = [
        how,
        (WHERE, "\n"),
        (MAY, "y\n"),
        (TYPE, "let-me-in\n"),
        asking,
    ];
    let stopped = typing(&bed, &shell, &dialogue);
    assert!(!stopped.contains("ended 0"), "{stopped}");
    csc.state.lock().unwrap().stalls = false;
    assert!(!bed.home().join(".config").exists());
    let none = typing(
        &bed,
        "\"$CTK\" add csc; echo ended $?",
        &[("best first: ", "\n")],
    );
    assert!(
        none.contains("no endpoints was typed") || none.contains("nothing was changed"),
        "{none}"
    );
    let source = bed.path("bearer");
    fs::write(&source, "let-me-in\n").unwrap();
    fs::set_permissions(&source, fs::Permissions::from_mode(0o600)).unwrap();
    let added = typing(&bed, &shell, &[how, (WHERE, "file:bearer\n")]);
    assert!(added.contains("ended 0"), "{added}");
}

#[test]
fn a_pin_is_asked_for_where_the_line_of_progress_was() {
    let bed = Bed::new();
    bed.p12("anna", "ec", "x");
    let csc = Csc::start();
    csc.add(&bed, "c-anna", "anna", Before::PinEachTime("1111"));
    bed.ctk(&["add", "csc", &csc.url(), "--name", "sign"], "")
        .succeeded();
    let shell = "\"$CTK\" test sign; echo ended $?";
    let tested = typing(
        &bed,
        shell,
        &[("PIN of token \"sign\" for \"CN of anna\": ", "1111\n")],
    );
    assert!(
        tested.contains("this is 1 use of a key at CSC API 127.0.0.1"),
        "{tested}"
    );
    assert!(
        tested.contains(" OK ") && tested.contains("ended 0"),
        "{tested}"
    );
    assert!(!tested.contains("1111"), "{tested}");
}

#[test]
fn the_region_of_a_cloud_is_asked_for_where_nothing_tells_it() {
    let bed = Bed::new();
    let shell = "\"$CTK\" add aws-kms --endpoint http://127.0.0.1:1 --access-key-id AKIA --secret-access-key env:KEY; \
                 echo ended $?";
    let asked = typing(&bed, shell, &[("Region, like eu-central-1", "xx-test-1\n")]);
    assert!(
        asked.contains("KEY, which holds the secret, is not set") && asked.contains("ended 1"),
        "{asked}"
    );
    let shell = format!("AWS_REGION=xx-test-1 {shell}");
    let told = typing(&bed, &shell, &[]);
    assert!(
        !told.contains("Region, like") && told.contains("ended 1"),
        "{told}"
    );
}
