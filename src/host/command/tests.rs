//! Commands, well-behaved and not.

use std::{fs, os::unix::fs::PermissionsExt};

use super::*;
use crate::test_folder::TestFolder;

fn environment() -> Environment {
    Environment {
        variable: |name| std::env::var_os(name),
        ..Environment::empty()
    }
}

/// A script that others can only read.
fn script(folder: &TestFolder, name: &str, text: &str) -> String {
    let file = folder.write(name, &format!("#!/bin/sh\n{text}\n"));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    file.to_str().unwrap().to_owned()
}

fn said(words: &[&str]) -> std::result::Result<Vec<u8>, String> {
    said_within(words, BOUNDS)
}

fn said_within(words: &[&str], bounds: Bounds) -> std::result::Result<Vec<u8>, String> {
    let output = run_within(words, &environment(), bounds);
    output
        .map(|output| output.to_vec())
        .map_err(|error| error.to_string())
}

/// A shell with a script, as PATH has it.
fn shell(script: &str) -> std::result::Result<Vec<u8>, String> {
    said(&["sh", "-c", script])
}

#[test]
fn words_are_split_as_documented() {
    for (text, words) in [
        ("pass show work", &["pass", "show", "work"][..]),
        ("  a\t b\n", &["a", "b"]),
        ("a 'b  c' \"d e\"", &["a", "b  c", "d e"]),
        ("a'b'\"c\"d", &["abcd"]),
        (r"a '\' b", &["a", "\\", "b"]),
        (r#"a "\"\\" \" \ b"#, &["a", "\"\\", "\"", " b"]),
        ("a '' \"\"", &["a", "", ""]),
        (
            "a $HOME *.txt | b > c; d &",
            &["a", "$HOME", "*.txt", "|", "b", ">", "c;", "d", "&"],
        ),
    ] {
        let parsed = CommandLine::parse(text).unwrap();
        assert_eq!(parsed.words(), words, "{text}");
        assert_eq!(
            (parsed.program(), parsed.to_string()),
            (words[0], text.to_owned())
        );
    }
    for (text, why) in [
        ("", "must have a program"),
        ("  ", "must have a program"),
        ("'' s3cret", "not an empty word"),
        ("a 's3cret", "middle of a quoted word"),
        ("a \"s3cret", "middle of a quoted word"),
        ("a \"s3cret\\", "middle of a quoted word"),
        ("a s3cret\\", "middle of an escape"),
        ("a s3cret\0", "zero byte"),
    ] {
        let message = CommandLine::parse(text).unwrap_err();
        assert!(message.contains(why), "{text}: {message}");
        assert!(!message.contains("s3cret"), "{message}");
    }
}

#[test]
fn what_a_command_prints_loses_one_newline() {
    for (script, output) in [
        ("echo secret", "secret"),
        ("printf secret", "secret"),
        ("printf 'a\\n\\n'", "a\n"),
        (":", ""),
        ("echo wrong >&2; echo right", "right"),
        ("cat; echo nothing to read", "nothing to read"),
        ("sleep 0.3; echo late", "late"),
        ("exec 1>&-; sleep 0.3", ""),
        ("trap '' TERM; echo deaf", "deaf"),
    ] {
        assert_eq!(shell(script), Ok(output.into()), "{script}");
    }
    let most = said(&["head", "-c", "65536", "/dev/zero"]);
    assert_eq!(most.map(|output| output.len()), Ok(65536));
    // Words are words.
    assert_eq!(
        said(&["printf", "%s|", "a b", "*", "$X"]),
        Ok("a b|*|$X|".into())
    );
}

#[test]
fn a_command_that_fails_gives_nothing() {
    for (script, why) in [
        ("echo secret; exit 3", "failed with status 3"),
        ("echo secret; kill -9 $$", "was ended by signal 9"),
    ] {
        let message = shell(script).unwrap_err();
        assert!(message.contains(why), "{message}");
        assert!(
            !message.contains("secret"),
            "only the program is named: {message}"
        );
    }
}

#[test]
fn a_command_that_prints_without_end_is_stopped() {
    let message = said(&["yes", "secret"]).unwrap_err();
    assert!(
        message.contains("printed more than 65536 bytes"),
        "{message}"
    );
    let message = said(&["head", "-c", "65537", "/dev/zero"]).unwrap_err();
    assert!(
        message.contains("printed more than 65536 bytes"),
        "{message}"
    );
}

/// Whether a process is there and no zombie.
fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn a_command_that_does_not_end_is_stopped_with_what_it_started() {
    let folder = TestFolder::new();
    let note = folder.join("pids");
    let bounds = Bounds {
        time: Duration::from_millis(700),
        ..BOUNDS
    };
    for script in [
        "sleep 600 & echo $$ $! > NOTE; wait",
        "sleep 600 & echo $$ $! > NOTE; while :; do echo x; sleep 0.05; done",
        "sleep 600 >&- & echo $$ $! > NOTE; exec >&-; wait",
    ] {
        let script = script.replace("NOTE", note.to_str().unwrap());
        let message = said_within(&["sh", "-c", &script], bounds).unwrap_err();
        assert!(
            message.contains("had not ended after 0 seconds"),
            "{message}"
        );
        let pids = fs::read_to_string(&note).unwrap();
        let started = Instant::now();
        for pid in pids.split_whitespace() {
            while is_alive(pid) && started.elapsed() < Duration::from_secs(20) {
                thread::sleep(Duration::from_millis(5));
            }
            assert!(!is_alive(pid), "{script}: {pid} lives");
        }
    }
}

#[test]
fn what_a_command_leaves_behind_is_not_waited_for() {
    let started = Instant::now();
    let output = shell("sleep 600 & echo $!");
    assert!(started.elapsed() < Duration::from_secs(25));
    let pid = String::from_utf8(output.unwrap()).unwrap();
    assert!(is_alive(&pid), "like a daemon that the command has started");
    let killed = Command::new("kill").args(["-9", &pid]).status().unwrap();
    assert!(killed.success());
}

#[test]
fn a_program_is_found_by_its_path_or_in_path() {
    let folder = TestFolder::new();
    let program = script(&folder, "bin/say", "echo \"$1\"");
    assert_eq!(said(&[&program, "hello"]), Ok("hello".into()));
    for (name, why) in [
        ("no-such-program-anywhere", "not in a folder of PATH"),
        ("/nonexistent/say", "/nonexistent/say does not exist"),
        ("bin/say", "must be a whole path"),
        ("./say", "must be a whole path"),
        ("/etc", "is not a regular file"),
    ] {
        let message = said(&[name]).unwrap_err();
        assert!(message.contains(why), "{message}");
    }
    let without_path = run(&["sh"], &Environment::empty(), Duration::MAX)
        .unwrap_err()
        .to_string();
    assert!(without_path.contains("PATH"), "{without_path}");
    let plain = folder.write("plain", "echo");
    let message = said(&[plain.to_str().unwrap()]).unwrap_err();
    assert!(message.contains("is not executable"), "{message}");
    let binary = folder.write("binary", "\u{1}\u{2}");
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o700)).unwrap();
    let message = said(&[binary.to_str().unwrap()]).unwrap_err();
    assert!(message.contains("cannot be started"), "{message}");
}

#[test]
fn a_program_that_others_could_change_is_not_run() {
    let folder = TestFolder::new();
    let program = script(&folder, "open/inner/say", "echo hello");
    for mode in [0o775, 0o757, 0o777] {
        fs::set_permissions(&program, fs::Permissions::from_mode(mode)).unwrap();
        let message = said(&[&program]).unwrap_err();
        assert!(message.contains("chmod go-w on it"), "{mode:o}: {message}");
    }
    fs::set_permissions(&program, fs::Permissions::from_mode(0o711)).unwrap();
    assert_eq!(said(&[&program]), Ok("hello".into()));
    let open = folder.join("open");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    let message = said(&[&program]).unwrap_err();
    assert!(message.contains("chmod go-w on that folder"), "{message}");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
    // Another user's program is not run, by root either.
    let other = Environment {
        euid: 12345,
        ..environment()
    };
    if sys::effective_uid() != 0 {
        let message = run(&[&program], &other, Duration::MAX)
            .unwrap_err()
            .to_string();
        assert!(message.contains("belongs to user"), "{message}");
        return;
    }
    std::os::unix::fs::chown(&program, Some(12345), None).unwrap();
    let message = said(&[&program]).unwrap_err();
    assert!(message.contains("belongs to user 12345"), "{message}");
}

#[test]
fn a_command_has_no_more_time_than_who_waits_for_it() {
    let limit = Duration::from_millis(100);
    let late = run(&["sleep", "20"], &environment(), limit).unwrap_err();
    let late = late.to_string();
    assert!(late.contains("had not ended after 0 seconds"), "{late}");
}

#[test]
fn with_more_rights_than_its_caller_nothing_is_run() {
    let environment = Environment {
        secure: true,
        ..environment()
    };
    let message = run(&["sh", "-c", "echo x"], &environment, Duration::MAX).unwrap_err();
    assert!(message.to_string().contains("more rights"), "{message}");
}
