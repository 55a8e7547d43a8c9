//! What people do wrong, or find broken: nothing is lost, and the command says what to do.

mod bed;

use std::fs;

use bed::Bed;

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
    assert!(refused.failed(1).contains("broken.toml:2"));
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
    assert!(
        update.error.contains("token \"bob\" has the same keys"),
        "{update:?}"
    );
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
