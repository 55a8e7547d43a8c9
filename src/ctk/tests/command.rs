//! The built command, in an empty home, with files that openssl makes.

mod bed;

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use bed::{Bed, Ran};
use serde_json::Value;

fn strings(values: &Value, key: &str) -> Vec<String> {
    let values = values.as_array().into_iter().flatten();
    values
        .map(|value| value[key].to_string().replace('"', ""))
        .collect()
}

#[test]
fn a_file_is_added_listed_shown_tested_and_removed() {
    let bed = Bed::new();
    let file = bed.p12("work", "rsa:2048", "secret");
    let added = bed
        .ctk(&["add", "work.p12", "--label", "My work"], "secret\n")
        .succeeded();
    assert!(
        added.contains("Added token \"work\" in ~/.config/ctk/tokens.d/work.toml"),
        "{added}"
    );
    assert!(
        added.contains("pkcs11:model=PKCS%2312;manufacturer=ctk-pkcs11;serial="),
        "{added}"
    );
    assert!(added.contains(";token=My%20work;id=%"), "{added}");

    let listed = bed.ctk(&["list"], "").succeeded();
    let lines: Vec<_> = listed.lines().collect();
    assert_eq!(lines.len(), 2, "{listed}");
    assert!(
        lines[1].starts_with("work   My work  RSA-2048  CN of work  "),
        "{listed}"
    );
    assert!(lines[1].contains(" days)  "), "{listed}");

    let shown = bed.json(&["show", "work"], "");
    assert_eq!(shown["file"], file.to_str().unwrap());
    assert_eq!(
        (&shown["scope"], &shown["line"], &shown["pin"]),
        (&"user".into(), &1.into(), &"app".into())
    );
    let identity = &shown["identities"][0];
    assert_eq!(
        (&identity["key"], &identity["label"]),
        (&"RSA-2048".into(), &"label of work".into())
    );
    assert_eq!(identity["id"], bed.key_id("work"));
    assert_eq!(
        (&identity["expired"], &identity["hidden"]),
        (&false.into(), &false.into())
    );
    assert_eq!(identity["subject"], "CN=CN of work");
    assert_eq!(
        identity["not_after"].as_str().unwrap().len(),
        "2026-01-01T00:00:00Z".len()
    );
    assert_eq!(shown["serial"].as_str().unwrap(), bed.serial("work"));

    let tested = bed.ctk(&["test", "work"], "secret\n").succeeded();
    assert_eq!(tested.matches(" OK ").count(), 4, "{tested}");
    let refused = bed.ctk(&["test", "work"], "wrong\n").failed(1);
    assert_eq!(refused, "ctk: token \"work\": wrong PIN or password\n");

    bed.ctk(&["remove", "work"], "y\n").failed(2);
    let removed = bed.ctk(&["remove", "work", "--yes"], "").succeeded();
    assert!(removed.contains("stays") && file.exists(), "{removed}");
    assert!(bed.ctk(&["list"], "").succeeded().contains("No tokens"));
    assert!(
        bed.ctk(&["show", "work"], "")
            .failed(1)
            .contains("no token \"work\"")
    );
}

#[test]
fn what_is_stored_has_no_secret_and_is_closed() {
    let bed = Bed::new();
    bed.p12("work", "rsa:2048", "Pass-Wort-4711");
    bed.ctk(&["add", "work.p12"], "Pass-Wort-4711\n")
        .succeeded();
    let file = bed.home().join(".config/ctk/tokens.d/work.toml");
    let text = fs::read_to_string(&file).unwrap();
    assert!(!text.contains("4711"));
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let folder = fs::metadata(file.parent().unwrap()).unwrap();
    assert_eq!(folder.permissions().mode() & 0o777, 0o700);
}

#[test]
fn passwords_of_every_kind_come_from_standard_input() {
    let bed = Bed::new();
    for (name, password) in [("utf8", "Größe €"), ("empty", ""), ("blank", " x ")] {
        bed.p12(name, "ec", password);
        let file = format!("{name}.p12");
        bed.ctk(&["add", &file], &format!("{password}\n"))
            .succeeded();
        let tested = bed.json(&["test", name], &format!("{password}\nmore\n"));
        assert_eq!(tested["ok"], true);
        assert_eq!(
            tested["keys"][0]["results"][0]["algorithm"],
            "ECDSA SHA-256"
        );
        let refused = bed.ctk(&["test", name], "wrong\n").failed(1);
        assert!(refused.contains("wrong PIN or password"), "{refused}");
    }
    // Without a newline, and without anything.
    assert_eq!(bed.json(&["test", "utf8"], "Größe €")["ok"], true);
    assert!(
        bed.ctk(&["test", "empty"], "")
            .failed(1)
            .contains("no password on standard input")
    );
    assert!(
        bed.ctk(&["test", "empty"], &"x".repeat(300))
            .failed(1)
            .contains("longer than 255")
    );
}

#[test]
fn what_cannot_be_added_is_refused_with_advice() {
    let bed = Bed::new();
    bed.p12("work", "ec", "secret");
    bed.p12("other", "ec", "secret");
    fs::write(bed.path("junk.p12"), "this is not a PKCS#12 file").unwrap();
    let refused = bed.ctk(&["add", "work.p12"], "wrong\n").failed(1);
    assert_eq!(
        refused,
        "ctk: work.p12: wrong password, or not a PKCS#12 file\n"
    );
    assert!(!bed.home().join(".config").exists());
    assert!(
        bed.ctk(&["add", "junk.p12"], "x\n")
            .failed(1)
            .contains("junk.p12")
    );
    assert!(
        bed.ctk(&["add", "none.p12"], "x\n")
            .failed(1)
            .contains("none.p12: No such file")
    );
    assert!(
        bed.ctk(&["add", "."], "x\n")
            .failed(1)
            .contains("not a file")
    );
    let refused = bed
        .ctk(&["add", "work.p12", "--hide", "nonsense"], "secret\n")
        .failed(1);
    assert!(refused.contains("no key or certificate"), "{refused}");
    assert!(!bed.home().join(".config").exists());

    bed.ctk(&["add", "work.p12"], "secret\n").succeeded();
    std::os::unix::fs::symlink(bed.path("work.p12"), bed.path("link.p12")).unwrap();
    for file in ["work.p12", "link.p12", "./work.p12"] {
        let refused = bed
            .ctk(&["add", file, "--name", "again"], "secret\n")
            .failed(1);
        assert!(
            refused.contains("registered already, as token \"work\""),
            "{refused}"
        );
    }
    let refused = bed
        .ctk(&["add", "other.p12", "--name", "work"], "secret\n")
        .failed(1);
    assert!(refused.contains("the name \"work\" is taken"), "{refused}");
    for wrong in [
        &["add", "other.p12", "--name", "a b"][..],
        &["add", "other.p12", "--label", "a:b"],
        &["add", "other.p12", "--pin", "prompt"],
        &["add", "other.p12", "--login", "on-use"],
        &["add", "other.p12", "--password", "secret"],
        &["frobnicate"],
    ] {
        bed.ctk(wrong, "secret\n").failed(2);
    }
    let refused = bed.ctk(&["--json", "add", "other.p12"], "wrong\n");
    assert_eq!(refused.code, 1);
    let object: Value = serde_json::from_str(&refused.out).unwrap();
    assert_eq!(
        object["error"],
        "other.p12: wrong password, or not a PKCS#12 file"
    );
}

#[test]
fn a_renewal_says_that_a_hidden_key_is_seen_again() {
    let bed = Bed::new();
    bed.p12("work", "ec", "old");
    let id = bed.key_id("work");
    bed.ctk(&["add", "work.p12", "--hide", &id], "old\n")
        .succeeded();
    let same = bed.ctk(&["update", "work"], "old\n");
    assert_eq!((same.code, &*same.error), (0, ""));
    bed.p12("renewed", "ec", "new");
    fs::rename(bed.path("renewed.p12"), bed.path("work.p12")).unwrap();
    let renewed = bed.ctk(&["update", "work"], "new\n");
    assert_eq!(renewed.code, 0, "{renewed:?}");
    let warning = format!("hidden = {id:?} hides nothing any more");
    assert!(renewed.error.contains(&warning), "{renewed:?}");
}

#[test]
fn a_renewed_file_is_taken_over() {
    let bed = Bed::new();
    bed.p12("work", "ec", "old");
    let before = bed.json(&["add", "work.p12", "--order", "5"], "old\n");
    let configuration = bed.home().join(".config/ctk/tokens.d/work.toml");
    let mut text = fs::read_to_string(&configuration).unwrap();
    text.insert_str(0, "# my note\n");
    fs::write(&configuration, &text).unwrap();

    bed.p12("renewed", "ec", "new");
    fs::rename(bed.path("renewed.p12"), bed.path("work.p12")).unwrap();
    // The file is not the one that was registered: nothing is signed with an unknown key.
    bed.ctk(&["test", "work"], "new\n").failed(1);
    assert!(
        bed.ctk(&["update", "work"], "old\n")
            .failed(1)
            .contains("wrong password")
    );
    let updated = bed.ctk(&["update", "work"], "new\n").succeeded();
    assert!(
        updated.contains("1 key (1 new, 1 gone) and 1 certificate (1"),
        "{updated}"
    );
    let after = bed.json(&["show", "work"], "");
    assert_ne!(after["identities"][0]["id"], before["identities"][0]["id"]);
    assert_eq!(
        (&after["serial"], &after["order"]),
        (&before["serial"], &before["order"])
    );
    assert_eq!(bed.json(&["test", "work"], "new\n")["ok"], true);
    assert!(
        fs::read_to_string(&configuration)
            .unwrap()
            .starts_with("# my note\n")
    );

    // Settings alone need no password.
    bed.ctk(
        &[
            "update",
            "work",
            "--label",
            "New",
            "--removable",
            "--hide",
            "label of renewed",
        ],
        "",
    )
    .succeeded();
    let after = bed.json(&["show", "work"], "");
    assert_eq!(
        (&after["label"], &after["removable"]),
        (&"New".into(), &true.into())
    );
    assert_eq!(after["identities"][0]["hidden"], true);
    bed.ctk(&["update", "work", "--removable=false", "--hide", ""], "")
        .succeeded();
    let after = bed.json(&["show", "work"], "");
    assert_eq!(
        (&after["removable"], &after["identities"][0]["hidden"]),
        (&false.into(), &false.into())
    );

    fs::rename(bed.path("work.p12"), bed.path("moved.p12")).unwrap();
    bed.ctk(&["test", "work"], "new\n").failed(1);
    bed.ctk(&["update", "work", "--file", "moved.p12"], "new\n")
        .succeeded();
    assert_eq!(bed.json(&["test", "work"], "new\n")["ok"], true);
}

#[test]
fn a_stored_pin_needs_no_question() {
    let bed = Bed::new();
    bed.p12("server", "ec", "machine");
    fs::write(bed.path("pin"), "machine\n").unwrap();
    fs::set_permissions(bed.path("pin"), fs::Permissions::from_mode(0o600)).unwrap();
    bed.ctk(
        &[
            "add",
            "server.p12",
            "--pin",
            "file:pin",
            "--login",
            "on-use",
        ],
        "machine\n",
    )
    .succeeded();
    assert_eq!(bed.json(&["test", "server"], "")["ok"], true);
    let shown = bed.json(&["show", "server"], "");
    assert_eq!(shown["pin"], format!("file:{}", bed.path("pin").display()));
    assert_eq!(shown["login"], "on-use");
    fs::write(bed.path("pin"), "wrong\n").unwrap();
    assert!(
        bed.ctk(&["test", "server"], "")
            .failed(1)
            .contains("stored PIN")
    );
    fs::set_permissions(bed.path("pin"), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(
        bed.ctk(&["test", "server"], "")
            .failed(1)
            .contains("chmod go=")
    );
    bed.ctk(&["update", "server", "--pin", "env:SERVER_PIN"], "")
        .succeeded();
    let ran = bed.run(
        bed.command(&["test", "server"])
            .env("SERVER_PIN", "machine"),
        "",
    );
    ran.succeeded();
    bed.ctk(&["update", "server", "--pin", "app"], "")
        .succeeded();
    assert_eq!(bed.json(&["show", "server"], "")["login"], "app");
}

#[test]
fn the_doctor_finds_what_is_wrong() {
    let bed = Bed::new();
    let state = |report: &Value, part: &str| -> Vec<String> {
        let checks = report["checks"].as_array().unwrap().iter();
        let found = checks.filter(|check| {
            let text = format!("{}: {}", check["subject"], check["message"]);
            text.contains(part)
        });
        found
            .map(|check| check["state"].as_str().unwrap().to_owned())
            .collect()
    };
    bed.p12("work", "ec", "secret");
    fs::set_permissions(bed.path("work.p12"), fs::Permissions::from_mode(0o644)).unwrap();
    bed.ctk(&["add", "work.p12"], "secret\n").succeeded();
    let report = bed.doctor();
    assert_eq!(state(&report, "open to group or others"), ["warning"]);
    assert_eq!(state(&report, "work.p12 is there"), ["ok"]);
    fs::set_permissions(bed.path("work.p12"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(state(&bed.doctor(), "open to group or others"), [""; 0]);

    let folder = bed.home().join(".config/ctk/tokens.d");
    fs::write(
        folder.join("bad.toml"),
        "[[token]]\ndriver = \"pkcs12\"\nflie = \"x\"\n",
    )
    .unwrap();
    fs::write(folder.join("open.toml"), "").unwrap();
    fs::set_permissions(folder.join("open.toml"), fs::Permissions::from_mode(0o666)).unwrap();
    fs::remove_file(bed.path("work.p12")).unwrap();
    let report = bed.doctor();
    assert_eq!(report["ok"], false);
    assert_eq!(state(&report, "bad.toml:3: unknown key"), ["problem"]);
    assert_eq!(state(&report, "open.toml: not used"), ["problem"]);
    assert_eq!(state(&report, "ctk update work --file"), ["problem"]);
    let ran = bed.ctk(&["doctor"], "");
    assert_eq!(ran.code, 1);
    assert!(
        ran.out.contains("PROBLEM") && ran.out.ends_with(" problems, 0 warnings.\n"),
        "{}",
        ran.out
    );
    // The other token is still there.
    let listed = bed.ctk(&["list"], "");
    assert!(
        listed.out.contains("work") && listed.error.contains("bad.toml:3"),
        "{}",
        listed.error
    );
    assert_eq!(
        bed.json(&["list"], "")["problems"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
}

#[test]
fn one_chosen_file_can_hold_everything() {
    let bed = Bed::new();
    bed.p12("one", "ec", "1");
    bed.p12("two", "ec", "2");
    let relative = bed.run(
        bed.command(&["add", "one.p12"])
            .env("CTK_CONFIG", "all.toml"),
        "1\n",
    );
    assert!(relative.failed(1).contains("whole path") && !bed.path("all.toml").exists());
    let run = |arguments: &[&str], input: &str| -> Ran {
        bed.run(
            bed.command(arguments)
                .env("CTK_CONFIG", bed.path("all.toml")),
            input,
        )
    };
    run(&["add", "one.p12"], "1\n").succeeded();
    run(&["add", "two.p12", "--order", "-1"], "2\n").succeeded();
    assert!(!bed.home().join(".config").exists());
    let listed: Value = serde_json::from_str(&run(&["list", "--json"], "").succeeded()).unwrap();
    assert_eq!(strings(&listed["tokens"], "name"), ["two", "one"]);
    assert_eq!(strings(&listed["tokens"], "scope"), ["chosen", "chosen"]);
    run(&["test", "one"], "1\n").succeeded();
    run(&["remove", "--yes", "two"], "").succeeded();
    run(&["test", "one"], "1\n").succeeded();
    assert!(bed.ctk(&["list"], "").succeeded().contains("No tokens"));
}

#[test]
fn help_completions_and_the_manual_are_there() {
    let bed = Bed::new();
    assert!(bed.ctk(&["--help"], "").succeeded().contains("With --json"));
    for shell in ["bash", "zsh", "fish"] {
        let script = bed.ctk(&["completions", shell], "").succeeded();
        for word in ["doctor", "not-program", "login"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    let script = bed.ctk(&["completions", "bash"], "").succeeded();
    bed.run(Command::new("bash").arg("-n"), &script).succeeded();
    assert!(bed.ctk(&["man"], "").succeeded().contains(".TH ctk 1"));
}

#[test]
fn the_version_and_the_doctor_name_the_crypto_library() {
    let library = if cfg!(feature = "aws-lc") {
        "AWS-LC "
    } else {
        "OpenSSL 3."
    };
    let bed = Bed::new();
    let long = bed.ctk(&["--version"], "").succeeded();
    let (first, second) = long.split_once('\n').unwrap();
    assert!(first.starts_with("ctk 0."), "{long}");
    let version = second.strip_prefix("crypto library: ").expect(&long).trim();
    assert!(version.starts_with(library), "{long}");
    assert_eq!(bed.ctk(&["-V"], "").succeeded().trim(), first);
    assert!(bed.doctor().to_string().contains(version));
}

#[test]
fn a_program_with_more_rights_than_its_caller_reads_no_file_of_the_callers() {
    let bed = Bed::new();
    bed.p12("work", "ec", "secret");
    bed.ctk(&["add", "work.p12"], "secret\n").succeeded();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let copy = bed.path("ctk-setuid");
    fs::copy(env!("CARGO_BIN_EXE_ctk"), &copy).unwrap();
    let given = std::os::unix::fs::chown(&copy, Some(12345), Some(12345));
    if given.is_err() || !status.contains("NoNewPrivs:\t0") {
        bed::skip("setuid ctk: making a setuid program needs root");
        return;
    }
    let list = || {
        let mut command = Command::new(&copy);
        bed.run(command.arg("list").env_clear().env("HOME", bed.home()), "")
    };
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(list().succeeded().contains("CN of work"));
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o4755)).unwrap();
    let ran = list();
    assert_eq!(
        (ran.out.contains("No tokens"), ran.error.as_str()),
        (true, ""),
        "{}",
        ran.out
    );
}

#[test]
fn a_list_counts_the_certificates_that_have_no_key() {
    let bed = Bed::new();
    bed.p12("work", "ec", "secret");
    bed.p12("issuer", "ec", "secret");
    bed.openssl(&[
        "pkcs12",
        "-export",
        "-inkey",
        "work.key",
        "-in",
        "work.crt",
        "-certfile",
        "issuer.crt",
        "-passout",
        "pass:secret",
        "-out",
        "chain.p12",
    ]);
    bed.ctk(&["add", "chain.p12"], "secret\n").succeeded();
    let listed = bed.ctk(&["list"], "").succeeded();
    assert_eq!(listed.lines().count(), 2, "{listed}");
    assert!(listed.contains("CN of work (+1 certificate)  "), "{listed}");
}

#[test]
fn a_token_gets_a_new_password() {
    let bed = Bed::new();
    let file = bed.p12("work", "rsa:2048", "secret");
    bed.ctk(&["add", "work.p12"], "secret\n").succeeded();
    let before = fs::read(&file).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    for (input, reason) in [
        ("wrong\nnew\n", "wrong PIN or password"),
        ("secret\n", "the new password is missing"),
        ("", "no password on standard input"),
    ] {
        let refused = bed.ctk(&["passwd", "work"], input).failed(1);
        assert!(refused.contains(reason), "{refused}");
    }
    let mut command = bed.command(&["passwd", "work"]);
    let too_long = format!("secret\n{}\n", "x".repeat(256));
    assert!(bed.run(&mut command, &too_long).failed(1).contains("255"));
    assert_eq!(fs::read(&file).unwrap(), before);

    // As if it had been registered long ago.
    let registered = bed.home().join(".config/ctk/tokens.d/work.toml");
    let text = fs::read(&registered).unwrap();
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    let opened = fs::File::options().write(true).open(&registered).unwrap();
    opened.set_modified(long_ago).unwrap();
    let changed = bed.ctk(&["passwd", "work"], "secret\nné €w\n").succeeded();
    assert_eq!(changed, "Token \"work\" has a new password.\n");
    assert_eq!(fs::read(&registered).unwrap(), text);
    assert!(!bed.doctor().to_string().contains("is newer than"));
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o640
    );
    bed.ctk(&["test", "work"], "secret\n").failed(1);
    let tested = bed.json(&["test", "work"], "né €w\n");
    let results = tested["keys"][0]["results"].as_array().unwrap();
    assert_eq!(results.len(), 4, "{tested}");
    assert!(results.iter().all(|result| result["ok"] == true));
    let info = [
        "pkcs12",
        "-in",
        "work.p12",
        "-noout",
        "-passin",
        "pass:né €w",
    ];
    bed.openssl(&info);
    let shown = bed.json(&["show", "work"], "");
    assert_eq!(
        shown["identities"][0]["uses"],
        serde_json::json!(["sign", "decrypt"])
    );
    assert!(
        bed.ctk(&["show", "work"], "")
            .succeeded()
            .contains("Uses        sign, decrypt\n")
    );

    // Whoever stores a PIN is told that it is the old one now.
    fs::write(bed.path("pin"), "né €w\n").unwrap();
    fs::set_permissions(bed.path("pin"), fs::Permissions::from_mode(0o600)).unwrap();
    bed.ctk(&["update", "work", "--pin", "file:pin"], "")
        .succeeded();
    let changed = bed.ctk(&["passwd", "work"], "né €w\nother\n");
    assert_eq!(changed.code, 0, "{changed:?}");
    assert!(
        changed.error.contains("which is the old one"),
        "{changed:?}"
    );
    assert!(!(changed.out + &changed.error).contains("né €w"));
    bed.ctk(&["test", "work"], "").failed(1);
    fs::write(bed.path("pin"), "other\n").unwrap();
    bed.ctk(&["test", "work"], "").succeeded();

    fs::set_permissions(&file, fs::Permissions::from_mode(0o400)).unwrap();
    let refused = bed.ctk(&["passwd", "work"], "other\nnew\n").failed(1);
    // The store's own words, once.
    assert_eq!(
        refused.matches("may not write to it").count(),
        1,
        "{refused}"
    );
    assert!(refused.contains(&file.display().to_string()), "{refused}");
    assert!(refused.contains("nothing was changed"), "{refused}");
    bed.ctk(&["passwd", "nothing"], "a\nb\n").failed(1);
}

#[test]
fn every_use_of_a_key_is_tried() {
    let bed = Bed::new();
    let tried = |name: &str| -> Vec<String> {
        bed.ctk(&["add", &format!("{name}.p12")], "secret\n")
            .succeeded();
        let tested = bed.json(&["test", name], "secret\n");
        assert_eq!(tested["ok"], true, "{tested}");
        strings(&tested["keys"][0]["results"], "algorithm")
    };
    bed.p12("ec", "ec", "secret");
    assert_eq!(tried("ec"), ["ECDSA SHA-256", "ECDH"]);
    bed.p12("edwards", "ed25519", "secret");
    assert_eq!(tried("edwards"), ["EdDSA"]);
    bed.p12("pss", "rsa-pss", "secret");
    assert_eq!(tried("pss"), ["RSA-PSS SHA-256"]);
    bed.openssl(&["genpkey", "-algorithm", "x25519", "-out", "x.key"]);
    let export = [
        "pkcs12", "-export", "-nocerts", "-inkey", "x.key", "-in", "x.key",
    ];
    bed.openssl(&[&export[..], &["-passout", "pass:secret", "-out", "x.p12"]].concat());
    assert_eq!(tried("x"), ["ECDH"]);
    let shown = bed.json(&["show", "x"], "");
    assert_eq!(shown["identities"][0]["uses"], serde_json::json!(["agree"]));
}
