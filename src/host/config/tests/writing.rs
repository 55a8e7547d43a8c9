//! What is written, and what stays as a person wrote it.

use super::*;

#[test]
fn what_is_written_is_read_again() {
    let folder = TestFolder::new();
    let environment = user(&folder);
    let source = format!(
        "{}serial = \"ab\"\norder = 5\nremovable = true\nhidden = [\"x\"]\nprograms = [\"p\"]\n\
             not_programs = [\"q\"]\npin = \"env:X\"\nlogin = \"on-use\"\n[[token.key]]\nlabel = \"ä\\\"\"\nid = \"01\"\n\
             public = \"{}\"\nsubject = \"MAA=\"\n[[token.certificate]]\nlabel = \"c\"\nid = \"01\"\nder = \"MAA=\"\n",
        token("full"),
        spki(1)
    );
    let mut wanted = read_one(&source).tokens.remove(0);
    let (file, scope) = write::place(&environment, false, "full").unwrap();
    assert_eq!(file, folder.join("home/.config/ctk/tokens.d/full.toml"));
    wanted.place = Place {
        file: file.clone(),
        line: 1,
        scope,
    };
    write::add(&wanted, &environment).unwrap();
    let configuration = Configuration::read(&environment);
    assert_eq!(said(&configuration), [""; 0]);
    assert_eq!(configuration.tokens, [wanted.clone()]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
    write::remove(&wanted.name, &wanted.place.file, &environment).unwrap();
    assert!(!file.exists());
    assert!(write::remove(&wanted.name, &wanted.place.file, &environment).is_err());
}

#[test]
fn an_update_keeps_what_a_person_wrote() {
    let folder = TestFolder::new();
    let environment = user(&folder);
    let text = format!(
        "# My tokens\n{}order = 7 # late\n# a note\nlabel = 'First'\n[[token.key]]\nid = \"01\"\npublic = \"{}\"\n\n# the second\n{}",
        token("first"),
        spki(1),
        token("second")
    );
    let file = folder.write("home/.config/ctk/ctk.toml", &text);
    let mut first = Configuration::read(&environment)
        .token("first")
        .unwrap()
        .clone();
    first.contents.keys[0].identity = vec![2];
    first.removable = true;
    write::update(&first, &environment).unwrap();
    let after = Configuration::read(&environment);
    assert_eq!(said(&after), [""; 0]);
    assert_eq!(after.token("first").unwrap(), &first);
    assert!(
        after
            .token("second")
            .is_some_and(|token| token.contents.keys.is_empty())
    );
    let written = fs::read_to_string(&file).unwrap();
    for kept in [
        "# My tokens",
        "order = 7 # late",
        "# a note\nlabel = 'First'",
        "# the second",
    ] {
        assert!(written.contains(kept), "{kept}: {written}");
    }
    write::remove("first", &file, &environment).unwrap();
    assert_eq!(names(&Configuration::read(&environment)), ["second"]);
    assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn a_link_stays_a_link_and_a_broken_file_is_left_alone() {
    let folder = TestFolder::new();
    let environment = user(&folder);
    let target = folder.write("dotfiles/ctk.toml", &token("a"));
    fs::create_dir_all(folder.join("home/.config/ctk")).unwrap();
    let link = folder.join("home/.config/ctk/ctk.toml");
    std::os::unix::fs::symlink(&target, &link).unwrap();
    let mut token = Configuration::read(&environment).tokens.remove(0);
    token.label = "New".into();
    write::update(&token, &environment).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(
        fs::read_to_string(&target)
            .unwrap()
            .contains("label = \"New\"")
    );
    fs::write(&target, "[[token]]\nname = \n").unwrap();
    let refused = write::update(&token, &environment).unwrap_err();
    assert_eq!(refused.line, Some(2));
    assert_eq!(fs::read_to_string(&target).unwrap(), "[[token]]\nname = \n");
}

#[test]
fn what_is_for_the_machine_can_be_read_by_everybody() {
    let folder = TestFolder::new();
    let environment = user(&folder);
    let mut wanted = read_one(&token("work")).tokens.remove(0);
    let (file, scope) = write::place(&environment, true, "work").unwrap();
    assert_eq!(
        (file.as_path(), scope),
        (&*folder.join("etc/ctk/tokens.d/work.toml"), Scope::System)
    );
    wanted.place = Place {
        file: file.clone(),
        line: 1,
        scope,
    };
    write::add(&wanted, &environment).unwrap();
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o644
    );
    assert_eq!(Configuration::read(&environment).tokens, [wanted]);
}

#[test]
fn of_two_tables_with_one_name_none_is_touched() {
    let folder = TestFolder::new();
    let environment = user(&folder);
    let broken = "# mine\n[[token]]\nname = \"work\"\nfile = 1\n\n";
    let text = format!("{broken}{}\n{}", token("work"), token("other"));
    let file = folder.write("home/.config/ctk/ctk.toml", &text);
    let configuration = Configuration::read(&environment);
    let mut work = configuration.token("work").unwrap().clone();
    work.label = "New".into();
    for refused in [
        write::add(&work, &environment),
        write::update(&work, &environment),
        write::remove("work", &file, &environment),
    ] {
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("name"), "{refused}");
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
    }
    write::remove("other", &file, &environment).unwrap();
    fs::write(&file, format!("{broken}{}", token("other"))).unwrap();
    // An unusable one can be taken out, and costs nothing else.
    write::remove("work", &file, &environment).unwrap();
    let after = Configuration::read(&environment);
    assert_eq!((names(&after), said(&after)), (vec!["other"], vec![]));
}
