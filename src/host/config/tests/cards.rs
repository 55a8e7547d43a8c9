//! What is said of cards, and what a mistake in it costs.

use std::path::Path;

use super::*;

#[test]
fn cards_are_shown_without_configuration() {
    let configuration = read_one(&token("one"));
    assert_eq!(configuration.cards, CardsConfig::default());
    assert!(configuration.cards.enabled && configuration.cards.is_for(None));
}

#[test]
fn everything_that_can_be_said_of_cards() {
    let text = "[smartcard]\nreaders = [\"Yubico\"]\nnot_readers = [\"NFC\"]\nprograms = [\"ssh\"]\n\
                not_programs = [\"/opt/ssh\"]\nhidden = [\"01\"]\n";
    let configuration = read_one(&[token("one"), text.into(), token("two")].concat());
    assert_eq!(said(&configuration), [""; 0]);
    assert_eq!(names(&configuration), ["one", "two"]);
    let cards = configuration.cards;
    assert_eq!(
        (&cards.readers[..], &cards.not_readers[..]),
        (&["Yubico".to_owned()][..], &["NFC".to_owned()][..])
    );
    assert!(cards.is_for(Some(Path::new("/usr/bin/ssh"))));
    assert!(!cards.is_for(Some(Path::new("/opt/ssh"))));
    assert!(!cards.is_for(Some(Path::new("/usr/bin/curl"))) && !cards.is_for(None));
    assert!(cards.as_token("smartcard").hides(&[1], "label"));
    let place = cards.place.unwrap();
    assert_eq!((place.line, place.scope), (5, Scope::User));
}

#[test]
fn cards_can_be_switched_off() {
    let configuration = read_one("[smartcard]\nenabled = false\n");
    assert!(!configuration.cards.is_for(Some(Path::new("/usr/bin/ssh"))));
    assert_eq!(configuration.problems, []);
}

#[test]
fn a_mistake_shows_no_card_and_costs_no_token() {
    const COST: &str = "no smart card is shown until the table [smartcard] is mended";
    for (wrong, line, message) in [
        ("enable = false\n", 6, "did you mean \"enabled\"?"),
        ("enabled = 1\n", 6, "enabled must be true or false"),
        (
            "hidden = \"01\"\n",
            6,
            "hidden must be a list of texts in quotes",
        ),
        ("enabled = maybe\n", 6, ""),
    ] {
        let text = [token("one"), format!("[smartcard]\n{wrong}"), token("two")].concat();
        let configuration = read_one(&text);
        let said = said(&configuration);
        assert_eq!(names(&configuration), ["one", "two"], "{wrong}");
        assert!(!configuration.cards.enabled, "{wrong}");
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(
            said[0].starts_with(&format!("{line}: ")) && said[0].ends_with(message),
            "{said:?}"
        );
        assert_eq!(said[1], format!("5: {COST}"));
    }
    for no_table in ["smartcard = 1\n", "[[smartcard]]\n"] {
        let configuration = read_one(no_table);
        assert!(!configuration.cards.enabled, "{no_table}");
        assert!(said(&configuration)[0].ends_with("smartcard must be a table"));
    }
}

#[test]
fn the_users_word_counts_before_the_machines() {
    let folder = TestFolder::new();
    folder.write("etc/ctk/ctk.toml", "[smartcard]\nenabled = false\n");
    let environment = user(&folder);
    assert!(!Configuration::read(&environment).cards.enabled);
    folder.write(
        "home/.config/ctk/ctk.toml",
        "[smartcard]\nhidden = [\"02\"]\n",
    );
    let configuration = Configuration::read(&environment);
    assert!(configuration.cards.enabled && configuration.problems.is_empty());
    assert_eq!(configuration.cards.hidden, ["02"]);
    // Also with a mistake: what it was to say is not known.
    folder.write(
        "home/.config/ctk/ctk.toml",
        "[smartcard]\nhiden = [\"02\"]\n",
    );
    folder.write("etc/ctk/ctk.toml", "[smartcard]\nenabled = true\n");
    assert!(!Configuration::read(&environment).cards.enabled);
}

#[test]
fn one_table_is_enough() {
    let folder = TestFolder::new();
    let main = folder.write(
        "home/.config/ctk/ctk.toml",
        "[smartcard]\nenabled = false\n",
    );
    folder.write(
        "home/.config/ctk/tokens.d/a.toml",
        "[smartcard]\nenabled = true\n",
    );
    let configuration = Configuration::read(&user(&folder));
    assert!(!configuration.cards.enabled);
    let already = format!(
        "1: there is a table [smartcard] in {}:1 already, so this one is not used",
        main.display()
    );
    assert_eq!(said(&configuration), [already]);
}
