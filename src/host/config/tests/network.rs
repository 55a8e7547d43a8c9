//! Tokens of services: settings of every kind, facts of keys, and secrets that stand somewhere else.

use super::*;
use crate::SecretSource;

/// A token with settings of every kind, as a person writes it.
fn service() -> String {
    format!(
        r#"# Signing
[[token]]
name = "sign"
driver = "csc"
endpoints = ["https://one.example/csc/v1", # the first
             "https://two.example/csc/v1"]
authentication = "oauth2-client" # as agreed
client_id = "me"
client_secret = "file:secrets/client"
otp_seed = "command:~/bin/seed --for 'a key'"
otp = "command:pass show otp"
bearer = "env:BEARER"
authorization_token = "credential:token"
shared_pin = true
signatures_per_login = 0x10
ca_file = "~/ca.pem"
total_timeout = 20
commands = true # they are mine
pin = "command:pass show pin"
login = "on-use"

# Alice's,
# since May
[[token.key]]
label = "Alice" # as she signs
# the first
id = "01"
public = "{}"
credential = "c-1"
algorithms = ["1.2.840.113549.1.1.11", "1.2.840.113549.1.1.1"]
scal = 1
multisign = 10
authorization = ["pin", "otp"]
"#,
        spki(1)
    )
}

#[test]
fn settings_of_every_kind_are_read() {
    let folder = TestFolder::new();
    folder.write("home/.config/ctk/ctk.toml", &service());
    let configuration = Configuration::read(&user(&folder));
    assert_eq!(said(&configuration), [""; 0]);
    let token = configuration.token("sign").unwrap();
    let settings = &token.settings;
    assert_eq!(
        settings.texts("endpoints"),
        ["https://one.example/csc/v1", "https://two.example/csc/v1"]
    );
    assert_eq!(settings.text("authentication"), Some("oauth2-client"));
    assert_eq!(settings.path("ca_file"), Some(&*folder.join("home/ca.pem")));
    assert!(settings.flag("shared_pin"));
    assert_eq!(settings.number("signatures_per_login"), Some(16));
    let file = folder.join("home/.config/ctk/secrets/client");
    assert_eq!(
        settings.secret("client_secret"),
        Some(&SecretSource::File(file))
    );
    let bearer = SecretSource::Env("BEARER".into());
    assert_eq!(settings.secret("bearer"), Some(&bearer));
    let token_source = SecretSource::Credential("token".into());
    assert_eq!(settings.secret("authorization_token"), Some(&token_source));
    let Some(SecretSource::Command(seed)) = settings.secret("otp_seed") else {
        panic!("{settings:?}")
    };
    let program = folder.join("home/bin/seed");
    assert_eq!(seed.words(), [program.to_str().unwrap(), "--for", "a key"]);
    let Some(SecretSource::Command(otp)) = settings.secret("otp") else {
        panic!("{settings:?}")
    };
    assert_eq!(otp.words(), ["pass", "show", "otp"]);
    let PinSource::Command(pin) = &token.pin else {
        panic!("{:?}", token.pin)
    };
    assert_eq!(pin.words(), ["pass", "show", "pin"]);
    assert!(token.commands && token.needs_commands());
    // Of another kind it is not there.
    assert_eq!(settings.text("endpoints"), None);
    assert_eq!(settings.number("total_timeout"), Some(20));
    assert_eq!(
        (settings.path("user"), settings.secret("user")),
        (None, None)
    );
    assert!(settings.texts("user").is_empty() && !settings.flag("user"));

    let facts = &token.contents.keys[0].facts;
    assert_eq!(facts.text("credential"), Some("c-1"));
    assert_eq!(facts.texts("authorization"), ["pin", "otp"]);
    assert_eq!(
        (facts.number("scal"), facts.number("multisign")),
        (Some(1), Some(10))
    );
}

#[test]
fn what_is_written_is_read_again() {
    let folder = TestFolder::new();
    let environment = user(&folder);
    let source = folder.write("home/.config/ctk/ctk.toml", &service());
    let mut wanted = Configuration::read(&environment).tokens.remove(0);
    fs::remove_file(source).unwrap();
    let (file, scope) = write::place(&environment, false, "sign").unwrap();
    wanted.place = Place {
        file,
        line: 1,
        scope,
    };
    write::add(&wanted, &environment).unwrap();
    let configuration = Configuration::read(&environment);
    assert_eq!(said(&configuration), [""; 0]);
    assert_eq!(configuration.tokens, [wanted]);
}

#[test]
fn an_update_keeps_what_a_person_wrote() {
    let folder = TestFolder::new();
    let environment = user(&folder);
    let file = folder.write("home/.config/ctk/ctk.toml", &service());
    let read = || Configuration::read(&environment).tokens.remove(0);
    let mut token = read();
    // Nothing new: what differs is only how paths and keys are written.
    write::update(&token, &environment).unwrap();
    assert_eq!(read(), token);
    let settings = &mut token.settings.0;
    settings.insert("total_timeout".into(), Setting::Number(60));
    settings.remove("bearer");
    settings.insert("shared_pin".into(), Setting::Flag(false));
    settings.insert("user_id".into(), Setting::Text("alice".into()));
    let key = token.contents.keys[0].clone();
    let facts = [("credential".to_owned(), Setting::Text("c-2".into()))];
    token.contents.keys.push(KeyFacts {
        label: "Bob".into(),
        identity: vec![2],
        facts: Settings(facts.into()),
        ..key
    });
    write::update(&token, &environment).unwrap();
    let configuration = Configuration::read(&environment);
    assert_eq!(said(&configuration), [""; 0]);
    assert_eq!(configuration.tokens, [token]);
    let written = fs::read_to_string(&file).unwrap();
    for kept in [
        "# Signing\n[[token]]",
        "[\"https://one.example/csc/v1\", # the first",
        "authentication = \"oauth2-client\" # as agreed",
        "signatures_per_login = 0x10",
        "commands = true # they are mine",
        "otp_seed = \"command:~/bin/seed --for 'a key'\"",
        "total_timeout = 60",
        "shared_pin = false",
        "# Alice's,\n# since May\n[[token.key]]\nlabel = \"Alice\" # as she signs\n# the first\nid = \"01\"",
    ] {
        assert!(written.contains(kept), "{kept}: {written}");
    }
    assert!(!written.contains("BEARER"), "{written}");
}

#[test]
fn comments_stay_with_their_key_or_certificate() {
    let folder = TestFolder::new();
    let environment = user(&folder);
    let entry = |kind: &str, number: u8, what: &str| {
        format!("# {kind} {number}\n[[token.{kind}]]\nid = \"0{number}\" # id {number}\n{what}\n")
    };
    let keys: Vec<_> = (1..4)
        .map(|number| {
            let what = format!("public = \"{}\"\ncredential = \"c\" # mine", spki(number));
            entry("key", number, &what)
        })
        .collect();
    let certificates = [
        entry("certificate", 1, "der = \"MAA=\""),
        entry("certificate", 2, "der = \"MAEA\""),
    ];
    let text = format!(
        "[[token]]\nname = \"sign\"\ndriver = \"csc\"\nendpoints = [\"https://h\"]\n{}{}\n# the next\n{}",
        keys.concat(),
        certificates.concat(),
        token("next")
    );
    let file = folder.write("home/.config/ctk/ctk.toml", &text);
    let mut sign = Configuration::read(&environment)
        .token("sign")
        .unwrap()
        .clone();
    // One is gone, one has another id, they stand in another order, and one is new; a certificate was renewed.
    let Contents { keys, certificates } = &mut sign.contents;
    keys.remove(1);
    keys.swap(0, 1);
    keys[0].identity = vec![9];
    let fresh = KeyFacts {
        identity: vec![4],
        spki: text::from_base64(&spki(4)).unwrap(),
        ..keys[1].clone()
    };
    keys.insert(1, fresh);
    certificates[0].der = vec![0x30, 1, 1];
    write::update(&sign, &environment).unwrap();
    let configuration = Configuration::read(&environment);
    assert_eq!(said(&configuration), [""; 0]);
    assert_eq!(configuration.token("sign").unwrap().contents, sign.contents);
    let written = fs::read_to_string(&file).unwrap();
    let comments = written
        .lines()
        .filter_map(|line| Some(line.split_once('#')?.1.trim()));
    let comments: Vec<_> = comments.collect();
    let keys = ["key 3", "id 3", "mine", "key 1", "id 1", "mine"];
    let certificates = ["certificate 1", "id 1", "certificate 2", "id 2"];
    let expected = [&keys[..], &certificates, &["the next"]].concat();
    assert_eq!(comments, expected, "{written}");
}

#[test]
fn a_wrong_line_costs_the_token_and_is_named() {
    let good = service();
    let before = good.lines().count();
    for (line, message) in [
        ("user = 1", "user must be text in quotes"),
        ("user_id = [\"a\"]", "user_id must be text in quotes"),
        (
            "credentials = \"one\"",
            "credentials must be a list of texts",
        ),
        ("credentials = [1]", "credentials must be a list of texts"),
        (
            "otp_from_login = \"yes\"",
            "otp_from_login must be true or false",
        ),
        (
            "connect_timeout = \"5\"",
            "connect_timeout must be a whole number",
        ),
        (
            "connect_timeout = 5.5",
            "connect_timeout must be a whole number",
        ),
        ("password = true", "password must be text in quotes"),
        (
            "password = \"s3cret\"",
            "password: this is no source of a secret",
        ),
        (
            "password = \"command:'s3cret\"",
            "password: the command ends in the middle",
        ),
        (
            "password = \"command:cat x\"",
            "add that line if you trust the program",
        ),
        (
            "pin = \"command:cat x\"",
            "add that line if you trust the program",
        ),
        (
            "client_key = \"\"",
            "client_key: the path must not be empty",
        ),
        (
            "proxy = \"http://u:s3cret@h:3128\"",
            "proxy: a URL here has no user and no password in it",
        ),
        (
            "token_url = \"https://u:s3/cret@h\"",
            "token_url: a URL here has no user",
        ),
        (
            "proxy = \"u:s3cret@h:3128\"",
            "proxy: a URL here has no user and no password in it",
        ),
        (
            "token_url = \"u:s3cret@h/x\"",
            "token_url: a URL here has no user",
        ),
        ("user = \"a\\r\\nb\"", "user: it has a control character"),
        ("endpoint = \"x\"", "did you mean \"endpoints\"?"),
        ("commands = \"yes\"", "commands must be true or false"),
        (
            "region = \"eu-central-1\"",
            "unknown key \"region\" in token \"bad\"",
        ),
    ] {
        let bad =
            "[[token]]\nname = \"bad\"\ndriver = \"csc\"\nendpoints = [\"https://h/csc/v1\"]\n";
        let configuration = read_one(&format!("{good}{bad}{line}\n"));
        assert_eq!(names(&configuration), ["sign"], "{line}");
        let [problem] = &configuration.problems[..] else {
            panic!("{line}: {:?}", said(&configuration))
        };
        assert!(problem.message.contains(message), "{line}: {problem}");
        assert!(!problem.message.contains("s3"), "{problem}");
        assert_eq!(problem.line, Some(before + 5), "{line}");
    }
    for (line, message) in [
        ("scal = \"1\"", "scal must be a whole number"),
        (
            "algorithms = \"1.2.3\"",
            "algorithms must be a list of texts",
        ),
        ("credential = 7", "credential must be text in quotes"),
        (
            "spec = \"RSA\"",
            "unknown key \"spec\" in a key of token \"bad\"",
        ),
    ] {
        let bad =
            "[[token]]\nname = \"bad\"\ndriver = \"csc\"\nendpoints = [\"https://h/csc/v1\"]\n";
        let key = format!("[[token.key]]\nid = \"01\"\npublic = \"{}\"\n", spki(2));
        let known = match line.starts_with("credential") {
            true => "",
            false => "credential = \"c\"\n",
        };
        let configuration = read_one(&format!("{bad}{key}{known}{line}\n"));
        let [problem] = &configuration.problems[..] else {
            panic!("{line}: {:?}", said(&configuration))
        };
        assert!(problem.message.contains(message), "{line}: {problem}");
        assert_eq!(problem.line, Some(8 + known.lines().count()), "{line}");
    }
}

#[test]
fn what_would_not_be_read_is_not_written() {
    let folder = TestFolder::new();
    let environment = user(&folder);
    folder.write("home/.config/ctk/ctk.toml", &service());
    let token = Configuration::read(&environment).tokens.remove(0);
    let silent = TokenConfig {
        commands: false,
        ..token.clone()
    };
    let refused = write::update(&silent, &environment).unwrap_err();
    assert!(
        refused.message.contains("comes from a command"),
        "{refused}"
    );
    for url in ["https://u:s3cret@h/", "u:s3cret@h/csc/v1"] {
        let mut told = token.clone();
        let urls = Setting::Texts(vec!["https://h/".into(), url.into()]);
        told.settings.0.insert("endpoints".into(), urls);
        let refused = write::update(&told, &environment).unwrap_err().to_string();
        assert!(
            refused.contains("endpoints: a URL here has no user") && !refused.contains("s3cret"),
            "{refused}"
        );
    }
    // Somebody at a service may be called so.
    let mut named = token.clone();
    let user = Setting::Text("acct:anna@example".into());
    named.settings.0.insert("user_id".into(), user);
    write::update(&named, &environment).unwrap();
    assert_eq!(Configuration::read(&environment).tokens, [named]);
    write::update(&token, &environment).unwrap();
    assert_eq!(Configuration::read(&environment).tokens, [token]);
}

/// What is given to people as an example, with what is commented out in it too.
#[test]
fn the_examples_are_read() {
    for (name, text, settings) in [
        (
            "release",
            include_str!("../../../../examples/network/csc.toml"),
            11,
        ),
        (
            "release-kms",
            include_str!("../../../../examples/network/aws-kms.toml"),
            7,
        ),
    ] {
        let is_setting = |line: &str| line.starts_with('#') && !line.starts_with("# ");
        let all = text.lines().map(|line| match is_setting(line) {
            true => line.trim_start_matches('#'),
            false => line,
        });
        let all = all.map(|line| format!("{line}\n")).collect::<String>();
        for text in [text, &all] {
            let configuration = read_one(text);
            assert_eq!(said(&configuration), [""; 0]);
            assert_eq!(names(&configuration), [name]);
        }
        let configuration = read_one(&all);
        assert_eq!(configuration.tokens[0].settings.0.len(), settings);
        assert!(configuration.tokens[0].contents.keys.is_empty());
    }
}

#[test]
fn the_machines_paths_are_whole() {
    let folder = TestFolder::new();
    for line in ["ca_file = \"~/ca.pem\"", "password = \"file:~/x\""] {
        let bad =
            "[[token]]\nname = \"bad\"\ndriver = \"csc\"\nendpoints = [\"https://h/csc/v1\"]\n";
        folder.write("etc/ctk/ctk.toml", &format!("{bad}{line}\n"));
        let configuration = Configuration::read(&user(&folder));
        let [problem] = &said(&configuration)[..] else {
            panic!("{line}: {:?}", said(&configuration))
        };
        assert!(
            problem.starts_with("5: ") && problem.contains("begins with ~"),
            "{problem}"
        );
    }
}
