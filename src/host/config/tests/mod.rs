//! What a configuration means, and what a wrong one costs.

mod cards;
mod cost;
#[cfg(feature = "network")]
mod network;
mod writing;

use std::{fs, os::unix::fs::PermissionsExt};

use super::*;
use crate::{PinSource, test_folder::TestFolder};

fn user(folder: &TestFolder) -> Environment {
    Environment {
        home: Some(folder.join("home")),
        config_home: Some(folder.join("home/.config")),
        system_folder: folder.join("etc/ctk"),
        ..Environment::empty()
    }
}

fn read_one(text: &str) -> Configuration {
    let folder = TestFolder::new();
    folder.write("home/.config/ctk/ctk.toml", text);
    Configuration::read(&user(&folder))
}

fn names(configuration: &Configuration) -> Vec<&str> {
    configuration
        .tokens
        .iter()
        .map(|token| token.name.as_str())
        .collect()
}

fn said(configuration: &Configuration) -> Vec<String> {
    let problems = configuration.problems.iter();
    problems
        .map(|problem| format!("{}: {}", problem.line.unwrap_or(0), problem.message))
        .collect()
}

#[test]
fn nothing_configured_is_no_problem() {
    let folder = TestFolder::new();
    assert_eq!(
        Configuration::read(&user(&folder)),
        Configuration::default()
    );
    let homeless = Environment {
        system_folder: folder.join("etc/ctk"),
        ..Environment::empty()
    };
    assert_eq!(Configuration::read(&homeless), Configuration::default());
}

/// An Ed25519 public key with this byte all over.
fn spki(byte: u8) -> String {
    let header = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];
    text::to_base64(&[&header[..], &[byte; 32]].concat())
}

fn token(name: &str) -> String {
    format!("[[token]]\nname = {name:?}\ndriver = \"pkcs12\"\nfile = \"/k/{name}.p12\"\n")
}

#[test]
fn every_key_is_read() {
    let text = format!(
        r#"
            [[token]]
            name = "work"
            driver = "pkcs12"
            file = "~/keys/work.p12"
            label = "Wörk"
            serial = "0123456789abcdef"
            order = -3
            removable = true
            hidden = ["0a0b", "Old key"]
            programs = ["ssh", "/usr/bin/curl"]
            not_programs = ["firefox"]
            pin = "file:pins/work"
            login = "on-use"
            [[token.certificate]]
            label = "Me"
            id = "0A0B"
            der = "MAA="
            [[token.key]]
            label = "Me"
            id = "0a0b"
            public = "{}"
            subject = "MAA="
            "#,
        spki(7)
    );
    let folder = TestFolder::new();
    let file = folder.write("home/.config/ctk/ctk.toml", &text);
    let configuration = Configuration::read(&user(&folder));
    assert_eq!(said(&configuration), [""; 0]);
    let token = configuration.token("work").unwrap();
    assert_eq!(
        token.settings.path("file"),
        Some(&*folder.join("home/keys/work.p12"))
    );
    assert_eq!(token.settings.text("file"), None);
    assert_eq!(
        (token.label.as_str(), token.serial.as_str()),
        ("Wörk", "0123456789abcdef")
    );
    assert_eq!(
        (token.order, token.removable, token.login),
        (-3, true, Login::OnUse)
    );
    assert_eq!(
        token.pin,
        PinSource::File(folder.join("home/.config/ctk/pins/work"))
    );
    assert_eq!(
        token.place,
        Place {
            file,
            line: 2,
            scope: Scope::User
        }
    );
    assert_eq!(token.contents.keys[0].identity, [0x0a, 0x0b]);
    assert_eq!(token.contents.keys[0].subject, Some(vec![0x30, 0]));
    assert_eq!(token.contents.certificates[0].der, [0x30, 0]);
    assert!(token.hides(&[0x0a, 0x0b], "Me") && token.hides(&[1], "Old key"));
    assert!(!token.hides(&[1], "Me"));
    for (program, sees) in [
        ("/usr/bin/ssh", true),
        ("/usr/bin/curl", true),
        ("/opt/curl", false),
        ("/usr/bin/firefox", false),
    ] {
        assert_eq!(token.is_for(Some(Path::new(program))), sees, "{program}");
    }
    assert!(!token.is_for(None));
}

#[test]
fn a_wrong_line_costs_its_own_token() {
    let good = token("good");
    for (line, message) in [
        (
            "pinn = \"app\"",
            "unknown key \"pinn\" in token \"bad\"; did you mean \"pin\"?",
        ),
        (
            "colour = 1",
            "unknown key \"colour\" in token \"bad\"; known keys are name, driver",
        ),
        ("order = \"1\"", "order must be a whole number"),
        ("removable = 1", "removable must be true or false"),
        ("hidden = \"x\"", "hidden must be a list"),
        ("programs = [1]", "programs must be a list"),
        ("label = \"a:b\"", "must not have a colon"),
        (
            "serial = \"0123456789abcdef0\"",
            "serial must have at most 16",
        ),
        ("pin = \"secret\"", "is no PIN source"),
        ("login = \"maybe\"", "login must be"),
        ("login = \"on-use\"", "needs a PIN source"),
        ("order = ", "token \"bad\" is not used"),
        ("label = \"unclosed", "token \"bad\" is not used"),
        ("label = \"\"\"unclosed", "token \"bad\" is not used"),
        ("name = \"again\"", "token \"bad\" is not used"),
        ("certificate = 1", "certificate must be a list of tables"),
    ] {
        let text = format!("{good}{}{line}\n\n{}", token("bad"), token("last"));
        let configuration = read_one(&text);
        assert_eq!(names(&configuration), ["good", "last"], "{line}");
        assert_eq!(
            configuration.problems.len(),
            1,
            "{line}: {:?}",
            said(&configuration)
        );
        let problem = &configuration.problems[0];
        assert!(problem.message.contains(message), "{line}: {problem}");
        assert_eq!(problem.token.as_deref(), Some("bad"), "{line}");
        // An unclosed long text ends only with the table.
        let expected = if line.contains("\"\"\"") {
            9..=12
        } else {
            9..=9
        };
        assert!(
            expected.contains(&problem.line.unwrap()),
            "{line}: {problem}"
        );
    }
}

#[test]
fn a_missing_key_is_said_at_the_header() {
    let text = format!(
        "{}[[token]]\nname = \"bad\"\ndriver = \"pkcs12\"\n",
        token("good")
    );
    let configuration = read_one(&text);
    assert_eq!(names(&configuration), ["good"]);
    assert_eq!(
        said(&configuration),
        ["5: missing key \"file\" in token \"bad\""]
    );
    let configuration = read_one("[[token]]\nname = \"x\"\nfile = \"y\"\n");
    assert_eq!(
        said(&configuration),
        ["1: missing key \"driver\" in token \"x\""]
    );
    let configuration = read_one("[[token]]\nname = \"x\"\ndriver = \"floppy\"\n");
    let drivers: Vec<_> = crate::drivers::rows().iter().map(|row| row.name).collect();
    assert_eq!(
        said(&configuration),
        [format!(
            "3: no driver \"floppy\"; this build has: {}",
            drivers.join(", ")
        )]
    );
}

#[test]
fn wrong_contents_are_refused_with_their_line() {
    let key = |id: &str, public: &str| format!("[[token.key]]\nid = {id:?}\npublic = {public:?}\n");
    let cases = [
        (key("0g", &spki(1)), 6, "hexadecimal"),
        (key("", &spki(1)), 6, "hexadecimal"),
        (key("01", "!"), 7, "base64"),
        (key("01", "MAA="), 7, "public is"),
        (key("01", &spki(1)) + &key("01", &spki(2)), 9, "twice"),
        (
            "[[token.key]]\nid = \"01\"\n".into(),
            5,
            "missing key \"public\" in a key of",
        ),
        (
            "[[token.certificate]]\nid = \"01\"\nder = \"MAAA\"\n".into(),
            7,
            "not a certificate",
        ),
        (
            "[[token.certificate]]\nid = \"01\"\nder = \"MAA=\"\nx = 1\n".into(),
            8,
            "unknown key",
        ),
    ];
    for (contents, line, message) in cases {
        let configuration = read_one(&format!("{}{contents}", token("bad")));
        assert_eq!(names(&configuration), [""; 0], "{contents}");
        let said = said(&configuration);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(
            said[0].starts_with(&format!("{line}: ")),
            "{contents}: {said:?}"
        );
        assert!(said[0].contains(message), "{contents}: {said:?}");
    }
}

#[test]
fn what_is_outside_of_tokens_is_refused_and_costs_no_token() {
    let configuration = read_one(&format!("verbose = true\n{}", token("a")));
    assert_eq!(names(&configuration), ["a"]);
    assert!(said(&configuration)[0].starts_with("1: unknown key \"verbose\""));
    let configuration = read_one(&format!("what is this\n{}", token("a")));
    assert_eq!(names(&configuration), ["a"]);
    assert!(said(&configuration)[0].starts_with("1: "));
    let configuration = read_one("token = 1\n");
    assert!(said(&configuration)[0].starts_with("1: token must be a list of tables"));
}

#[test]
fn text_that_is_not_utf8_is_refused_with_its_line() {
    let folder = TestFolder::new();
    let file = folder.write("home/.config/ctk/ctk.toml", "");
    fs::write(&file, b"# one\n# \xff\n").unwrap();
    let configuration = Configuration::read(&user(&folder));
    assert!(said(&configuration)[0].starts_with("2: this line is not UTF-8"));
}

#[test]
fn files_count_in_their_order_and_slots_in_theirs() {
    let folder = TestFolder::new();
    let entry = |name: &str, more: &str| format!("{}{more}\n", token(name));
    folder.write("home/.config/ctk/ctk.toml", &entry("main", "order = 2"));
    folder.write(
        "home/.config/ctk/tokens.d/b.toml",
        &entry("beta", "order = 1"),
    );
    folder.write(
        "home/.config/ctk/tokens.d/a.toml",
        &entry("alpha", "order = 1"),
    );
    folder.write(
        "home/.config/ctk/tokens.d/stem.toml",
        "[[token]]\ndriver = \"pkcs12\"\nfile = \"k.p12\"\n",
    );
    folder.write("home/.config/ctk/tokens.d/.hidden.toml", "nonsense");
    folder.write("home/.config/ctk/tokens.d/notes.txt", "nonsense");
    folder.write(
        "etc/ctk/tokens.d/alpha.toml",
        &entry("alpha", "label = \"The machine's\""),
    );
    folder.write("etc/ctk/ctk.toml", &entry("system", ""));
    let configuration = Configuration::read(&user(&folder));
    assert_eq!(said(&configuration), [""; 0]);
    assert_eq!(
        names(&configuration),
        ["stem", "system", "alpha", "beta", "main"]
    );
    assert_eq!(configuration.token("alpha").unwrap().label, "alpha");
    assert_eq!(
        configuration.token("stem").unwrap().settings.path("file"),
        Some(&*folder.join("home/.config/ctk/tokens.d/k.p12"))
    );
    assert_eq!(configuration.files.len(), 6);
}

#[test]
fn a_name_that_is_taken_says_by_whom() {
    let configuration = read_one(&format!("{}{}", token("a"), token("a")));
    assert_eq!(names(&configuration), ["a"]);
    let said = said(&configuration);
    assert!(
        said[0].starts_with("5: the name \"a\" is taken by /") && said[0].contains("ctk.toml:1;"),
        "{said:?}"
    );
}

#[test]
fn with_more_rights_only_the_machine_counts() {
    let folder = TestFolder::new();
    folder.write("home/.config/ctk/ctk.toml", &token("mine"));
    folder.write("etc/ctk/ctk.toml", &token("system"));
    let mut environment = Environment {
        config_file: Some(folder.write("chosen.toml", &token("chosen"))),
        ..user(&folder)
    };
    assert_eq!(names(&Configuration::read(&environment)), ["chosen"]);
    environment.secure = true;
    assert_eq!(names(&Configuration::read(&environment)), ["system"]);
    environment.secure = false;
    environment.config_file = None;
    assert_eq!(
        names(&Configuration::read(&environment)),
        ["mine", "system"]
    );
}

#[test]
fn a_chosen_file_must_be_there() {
    let folder = TestFolder::new();
    for (file, message) in [
        (folder.join("none.toml"), "does not exist"),
        (PathBuf::from("ctk.toml"), "whole path"),
        (folder.path().to_owned(), "not a regular file"),
    ] {
        let environment = Environment {
            config_file: Some(file),
            ..user(&folder)
        };
        let configuration = Configuration::read(&environment);
        assert!(
            said(&configuration)[0].contains(message),
            "{:?}",
            said(&configuration)
        );
    }
}

#[test]
fn a_file_that_others_can_write_costs_only_itself() {
    let folder = TestFolder::new();
    let file = folder.write("home/.config/ctk/tokens.d/open.toml", &token("open"));
    folder.write("home/.config/ctk/tokens.d/closed.toml", &token("closed"));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    let configuration = Configuration::read(&user(&folder));
    assert_eq!(names(&configuration), ["closed"]);
    assert_eq!(configuration.problems[0].file, file);
    assert!(said(&configuration)[0].contains("chmod go-w"));
}

#[test]
fn home_is_not_for_the_machine() {
    let folder = TestFolder::new();
    folder.write(
        "etc/ctk/ctk.toml",
        "[[token]]\nname=\"a\"\ndriver=\"pkcs12\"\nfile=\"~/a.p12\"\n",
    );
    let configuration = Configuration::read(&user(&folder));
    assert!(
        said(&configuration)[0].starts_with("4: "),
        "{:?}",
        said(&configuration)
    );
}

#[test]
fn ten_thousand_certificates_load() {
    let der = {
        let mut der = vec![0x30, 0x82, 0x03, 0xe8];
        der.extend([0; 1000]);
        text::to_base64(&der)
    };
    let mut text = token("big");
    for number in 0..10_000 {
        text += &format!("[[token.certificate]]\nid = \"{number:08x}\"\nder = \"{der}\"\n");
    }
    let started = std::time::Instant::now();
    let configuration = read_one(&text);
    assert_eq!(said(&configuration), [""; 0]);
    assert_eq!(configuration.tokens[0].contents.certificates.len(), 10_000);
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}

#[test]
fn damaged_files_never_do_harm() {
    let folder = TestFolder::new();
    let environment = user(&folder);
    let file = folder.join("ctk.toml");
    let text = format!(
        "{}hidden = [\"a\", 'b']\npin = \"file:x\" # why\n[[token.key]]\nid = \"01\"\npublic = \"\"\"{}\"\"\"\n{}",
        token("one"),
        spki(1),
        token("two")
    );
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    for _ in 0..5_000 {
        let mut bytes = text.clone().into_bytes();
        for _ in 0..=random(4) {
            let at = random(bytes.len());
            match random(3) {
                0 => bytes[at] ^= 1 << random(8),
                1 => bytes.truncate(at + 1),
                _ => bytes.insert(at, b"\"'[]={}\n#\\"[random(10)]),
            }
        }
        let parsed = parse::parse(&file, Scope::User, &bytes, &environment);
        assert!(parsed.tokens.len() <= 2);
        let lines = bytes.split(|byte| *byte == b'\n').count();
        assert!(
            parsed
                .problems
                .iter()
                .all(|problem| problem.line.unwrap() <= lines)
        );
    }
    for (open, close) in [("[", "]"), ("{a=", "}"), ("", "a.")] {
        let deep = format!("x = {}1{}", open.repeat(200_000), close.repeat(200_000));
        let parsed = parse::parse(&file, Scope::User, deep.as_bytes(), &environment);
        assert!(parsed.tokens.is_empty() && !parsed.problems.is_empty());
    }
}

#[test]
fn a_file_of_mistakes_is_told_in_part() {
    let configuration = read_one(&format!("{}{}", "[[token]]\nx\n".repeat(1000), token("a")));
    assert_eq!(names(&configuration), ["a"]);
    assert_eq!(configuration.problems.len(), 101);
    assert!(configuration.problems[100].message.contains("maybe more"));
}
