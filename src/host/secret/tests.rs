//! Every source of a secret, and what each refuses.

use std::{fs, os::unix::fs::PermissionsExt};

use super::*;
use crate::test_folder::TestFolder;

fn environment() -> Environment {
    Environment {
        variable: |name| match name {
            "TOKEN" => Some("from a variable".into()),
            "LONG" => Some("x".repeat(SECRET.max + 1).into()),
            other => std::env::var_os(other),
        },
        ..Environment::empty()
    }
}

fn read(source: &str, environment: &Environment) -> std::result::Result<Vec<u8>, String> {
    let secret = SecretSource::parse(source)
        .unwrap()
        .secret(environment, Duration::MAX);
    secret
        .map(|secret| secret.to_vec())
        .map_err(|error| error.to_string())
}

#[test]
fn sources_are_parsed_and_written_alike() {
    for text in [
        "file:/run/token",
        "env:TOKEN",
        "credential:token",
        "command:vault  kv get 'a b'",
    ] {
        let source = SecretSource::parse(text).unwrap();
        assert_eq!(source.to_string(), text);
        assert_eq!(source.is_command(), text.starts_with("command"));
    }
    for secret in [
        "s3cret",
        "app",
        "file:",
        "token:s3cret",
        "env:s3cret=",
        "credential:s3cret/",
    ] {
        let message = SecretSource::parse(secret).unwrap_err();
        assert!(message.contains("never the secret itself"), "{message}");
        assert!(!message.contains("s3cret"), "{message}");
    }
}

#[test]
fn each_source_gives_its_secret() {
    let folder = TestFolder::new();
    let file = folder.write("token", "from a file\n");
    let environment = Environment {
        credentials: Some(folder.path().to_owned()),
        ..environment()
    };
    let file = format!("file:{}", file.display());
    for (source, secret) in [
        (file.as_str(), "from a file"),
        ("env:TOKEN", "from a variable"),
        ("credential:token", "from a file"),
        ("command:printf '%s\\n' 'from a command'", "from a command"),
    ] {
        assert_eq!(read(source, &environment), Ok(secret.into()), "{source}");
    }
}

#[test]
fn a_secret_may_be_longer_than_a_pin_but_not_without_end() {
    let folder = TestFolder::new();
    let environment = Environment {
        credentials: Some(folder.path().to_owned()),
        ..environment()
    };
    let file = folder.write("token", &format!("{}\n", "x".repeat(SECRET.max)));
    let from_file = format!("file:{}", file.display());
    for source in [from_file.as_str(), "credential:token"] {
        let secret = read(source, &environment).unwrap();
        assert_eq!(secret.len(), SECRET.max);
        let pin = SecretSource::parse(source).unwrap().read(&environment, PIN);
        let message = pin.unwrap_err().to_string();
        assert!(message.contains("more than 255 bytes"), "{message}");
    }
    let from_command = format!("command:head -c {} /dev/zero", SECRET.max);
    assert_eq!(read(&from_command, &environment).unwrap().len(), SECRET.max);
    folder.write("token", &"x".repeat(SECRET.max + 1));
    let from_command = format!("command:head -c {} /dev/zero", SECRET.max + 1);
    for source in [&*from_file, "credential:token", "env:LONG", &from_command] {
        let message = read(source, &environment).unwrap_err();
        assert!(message.contains("more than 16384 bytes"), "{message}");
        assert!(!message.contains("xx"), "{message}");
    }
}

#[test]
fn what_a_source_lacks_is_said() {
    let folder = TestFolder::new();
    let open = folder.write("open", "x");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o640)).unwrap();
    let open = format!("file:{}", open.display());
    for (source, why) in [
        (open.as_str(), "chmod go="),
        (
            "file:/nonexistent/token",
            "the secret file /nonexistent/token: does not exist",
        ),
        ("env:NOT_SET", "NOT_SET, which holds the secret, is not set"),
        ("credential:token", "LoadCredential=token"),
        ("command:sh -c 'exit 1' s3cret", "failed with status 1"),
        (
            "command:true s3cret",
            "the command \"true\", which is to print the secret, printed nothing",
        ),
    ] {
        let message = read(source, &environment()).unwrap_err();
        assert!(message.contains(why), "{message}");
        assert!(!message.contains("s3cret"), "{message}");
    }
}

#[test]
fn with_more_rights_than_its_caller_only_files_are_read() {
    let folder = TestFolder::new();
    let file = format!("file:{}", folder.write("token", "x").display());
    let environment = Environment {
        secure: true,
        credentials: Some(folder.path().to_owned()),
        ..environment()
    };
    assert_eq!(read(&file, &environment), Ok("x".into()));
    for source in ["env:TOKEN", "credential:token", "command:echo x"] {
        let message = read(source, &environment).unwrap_err();
        assert!(message.contains("more rights than its caller"), "{message}");
    }
}

#[test]
fn a_secret_is_as_good_before_it_is_written() {
    let folder = TestFolder::new();
    let file = folder.join("token");
    let mut environment = Environment::empty();
    let source = format!("file:{}", file.display());
    let missing = read(&source, &environment).unwrap_err();
    assert!(missing.contains("does not exist"), "{missing}");
    let typed = Zeroizing::new(b"s3cret".to_vec());
    environment.unwritten.insert(file, typed);
    assert_eq!(read(&source, &environment), Ok(b"s3cret".to_vec()));
    let shown = format!("{environment:?}");
    assert!(
        shown.contains("token") && !shown.contains("s3cret"),
        "{shown}"
    );
    assert!(!shown.contains(&format!("{:?}", b"s3cret")), "{shown}");
}
