//! Passwords at a terminal, which `script` makes.

#![allow(clippy::unwrap_used, reason = "a test may fail at any step")]

mod bed;

use bed::{Bed, terminal::typing};

#[test]
fn a_password_is_asked_for_three_times_and_not_shown() {
    let bed = Bed::new();
    bed.p12("work", "ec", "secret");
    let prompt = "Password of work.p12: ";
    let shell = "\"$CTK\" add work.p12; echo ended $?";
    let wrong = (prompt, "wrong\n");
    let refused = typing(&bed, shell, &[wrong, wrong, wrong]);
    assert!(refused.contains("ended 1"), "{refused}");
    assert_eq!(refused.matches("try again").count(), 2, "{refused}");
    let added = typing(&bed, shell, &[wrong, (prompt, "secret\n")]);
    assert!(added.contains("Added token \"work\""), "{added}");
    assert!(!(refused + &added).contains("secret"));
    let shell = "\"$CTK\" remove work; echo ended $?";
    let kept = typing(&bed, shell, &[("[y/N] ", "n\n")]);
    assert!(kept.contains("nothing was removed") && kept.contains("ended 1"));
    let removed = typing(&bed, shell, &[("[y/N] ", "y\n")]);
    assert!(removed.contains("ended 0"), "{removed}");
}

#[test]
fn a_new_password_is_typed_twice_and_not_shown() {
    let bed = Bed::new();
    let file = bed.p12("work", "ec", "secret");
    bed.ctk(&["add", "work.p12"], "secret\n").succeeded();
    let before = std::fs::read(&file).unwrap();
    let shell = "\"$CTK\" passwd work; echo ended $?";
    let old = ("Password of token \"work\": ", "secret\n");
    let new = ("New password: ", "unseen\n");
    let again = "New password again: ";
    let differ = typing(&bed, shell, &[old, new, (again, "other\n")]);
    assert!(differ.contains("differ; nothing was changed"), "{differ}");
    assert!(differ.contains("ended 1"), "{differ}");
    assert_eq!(std::fs::read(&file).unwrap(), before);
    let wrong = (old.0, "wrong\n");
    let changed = typing(&bed, shell, &[wrong, old, new, (again, "unseen\n")]);
    assert!(changed.contains("has a new password"), "{changed}");
    assert!(changed.contains("ended 0"), "{changed}");
    let printed = differ + &changed;
    assert!(!printed.contains("secret") && !printed.contains("unseen"));
    bed.ctk(&["test", "work"], "unseen\n").succeeded();
}

#[test]
fn who_stops_at_the_question_gets_the_echo_back() {
    let bed = Bed::new();
    bed.p12("work", "ec", "secret");
    let prompt = "Password of work.p12: ";
    let shell = "trap : INT; \"$CTK\" add work.p12; echo ended $?; stty -a";
    let interrupted = typing(&bed, shell, &[(prompt, "\u{3}")]);
    assert!(interrupted.contains("ended 130"), "{interrupted}");
    let ended = typing(&bed, shell, &[(prompt, "\u{4}")]);
    assert!(ended.contains("no password was typed"), "{ended}");
    // A signal from elsewhere, once the echo is off. A job has no input but what it is given.
    let shell = "exec 3<&0; \"$CTK\" add work.p12 <&3 & job=$!; \
                 until stty -a | grep -q -e '-echo '; do sleep 0.05; done; \
                 kill -TERM $job; wait $job; echo ended $?; stty -a";
    let terminated = typing(&bed, shell, &[]);
    assert!(terminated.contains("ended 143"), "{terminated}");
    for printed in [interrupted, ended, terminated] {
        let settings: Vec<_> = printed.split_whitespace().collect();
        assert!(
            settings.contains(&"echo") && settings.contains(&"isig"),
            "{printed}"
        );
    }
    assert!(!bed.home().join(".config").exists());
}
