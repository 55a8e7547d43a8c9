//! The command changes and unblocks the PINs of a card, and nobody locks one by it.

use std::{
    io::{Read as _, Write as _},
    process::Stdio,
    thread,
    time::Duration,
};

use softhsm_tests::{
    cards::{PIN, PUK, Profile},
    desk::Desk,
    module::command_path,
};

/// Commands with a PIN in them (SP 800-73-4 part 2 §3.2): VERIFY and CHANGE REFERENCE DATA.
const VERIFY: &str = "0020008008";
const CHANGE: &str = "00240080";

#[test]
fn a_pin_is_changed_locked_and_unblocked() {
    let desk = Desk::with(Profile::PivOne);
    let change = ["pin", "change"];
    desk.ctk(&change, &format!("{PIN}\n654321\n"))
        .succeeded()
        .says("has a new PIN");
    // What cannot be a PIN is not sent, and costs no try.
    let before = desk.sent(VERIFY);
    desk.ctk(&change, "12345\n")
        .refused()
        .says("no try was spent");
    desk.ctk(&change, "123456789\n")
        .refused()
        .says("no try was spent");
    assert_eq!(desk.sent(VERIFY), before);
    // This card refuses letters by itself, and does not count them.
    desk.ctk(&change, "12345x\n")
        .refused()
        .says("the digits 0 to 9 only");
    desk.ctk(&["card", "info"], "")
        .succeeded()
        .says("3 tries left");
    let before = desk.sent(CHANGE);
    desk.ctk(&change, "654321\n12345\n")
        .refused()
        .says("6 to 8 digits; nothing was changed");
    assert_eq!(desk.sent(CHANGE), before);
    desk.ctk(&change, "654321\nabcdef\n")
        .refused()
        .says("nothing was changed");

    desk.ctk(&change, "000000\n111111\n")
        .refused()
        .says("2 tries are left");
    desk.ctk(&["card", "info"], "")
        .succeeded()
        .says("2 tries left");
    desk.ctk(&change, "000000\n111111\n")
        .refused()
        .says("one try is left");
    desk.ctk(&["doctor", "card"], "")
        .succeeded()
        .says("the next wrong one locks it");
    desk.ctk(&change, "000000\n111111\n")
        .refused()
        .says("ctk pin unblock");
    // Nobody is asked for a PIN that is locked.
    let before = desk.sent(VERIFY);
    desk.ctk(&change, "").refused().says("is locked");
    assert_eq!(desk.sent(VERIFY), before);
    desk.ctk(&["doctor", "card"], "")
        .refused()
        .says("PROBLEM")
        .says("the PIN is locked");

    let unblock = ["pin", "unblock"];
    desk.ctk(&unblock, "00000000\n222222\n")
        .refused()
        .says("wrong PUK");
    desk.ctk(&unblock, &format!("{PUK}\n222222\n"))
        .succeeded()
        .says("has a new PIN");
    desk.ctk(&["pin", "change", "--admin"], &format!("{PUK}\n87654321\n"))
        .succeeded()
        .says("has a new PUK");
    desk.ctk(&unblock, &format!("{PUK}\n333333\n"))
        .refused()
        .says("wrong PUK");
    desk.ctk(&["test", "Virtual"], "222222\n").succeeded();
    // None of it is in what was printed or can be seen by others.
    for (wrong, said) in [
        ("pin", "a command is missing"),
        ("change", "an argument too many"),
    ] {
        let arguments = match wrong {
            "pin" => vec!["pin", "222222"],
            _ => vec!["pin", "change", "222222"],
        };
        let refused = desk.ctk(&arguments, "").refused().says(said);
        assert!(!refused.text().contains("222222"));
    }
}

#[test]
fn a_management_key_is_changed_for_one_that_nobody_knows() {
    let desk = Desk::with(Profile::PivEmpty);
    let change = ["pin", "change", "--management-key"];
    let (wrong, new) = ("11".repeat(24), "0123456789abcdef".repeat(3));
    desk.ctk(&change, &format!("{wrong}\n{new}\n"))
        .refused()
        .says("wrong management key");
    desk.ctk(&change, "default\n12345678\n")
        .refused()
        .says("32, 48 or 64 hexadecimal digits; nothing was changed");
    desk.ctk(&change, "default\ndefault\n")
        .refused()
        .says("that everybody knows; nothing was changed");
    desk.ctk(&change, &format!("default\n{new}\n"))
        .succeeded()
        .says("has a new management key");
    let generate = ["card", "generate", "9a", "--type", "p256", "--force"];
    desk.admin(&generate, "")
        .refused()
        .says("wrong management key");
    desk.ctk(&generate, &format!("{new}\n")).succeeded();
    // It is no PUK.
    let before = desk.sent("00240081");
    desk.ctk(&["pin", "change", "--admin"], &format!("{new}\n87654321\n"))
        .refused()
        .says("no try was spent");
    assert_eq!(desk.sent("00240081"), before);
}

/// Types each text when what stands before it was printed, at a terminal that `script` makes, and gives all that was printed.
#[track_caller]
fn typing(desk: &Desk, command: &str, dialogue: &[(&str, &str)]) -> String {
    let mut script = desk.pcscd.command("timeout");
    let mut child = script
        .args(["60", "script", "-qec", command, "/dev/null"])
        .env("CTK", command_path())
        .env("SHELL", "/bin/sh")
        .current_dir(desk.work.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script");
    let mut input = child.stdin.take().expect("a pipe");
    let mut output = child.stdout.take().expect("a pipe");
    let (mut printed, mut seen, mut buffer) = (Vec::new(), 0, [0; 4096]);
    for (prompt, typed) in dialogue {
        while !String::from_utf8_lossy(&printed[seen..]).contains(prompt) {
            let len = output.read(&mut buffer).expect("what it prints");
            let text = String::from_utf8_lossy(&printed);
            assert_ne!(len, 0, "{prompt:?} does not come: {text}");
            printed.extend_from_slice(&buffer[..len]);
        }
        seen = printed.len();
        // The question is printed just before the echo is switched off. Typed too early, the text is read all the same.
        thread::sleep(Duration::from_millis(200));
        input.write_all(typed.as_bytes()).expect("a terminal");
    }
    output.read_to_end(&mut printed).expect("what it prints");
    child.wait().expect("its status");
    String::from_utf8_lossy(&printed).into_owned()
}

#[test]
fn nobody_locks_a_card_by_typing_on() {
    let desk = Desk::with(Profile::PivOne);
    let (prompt, wrong) = ("PIN of the PIV card", "000000\n");
    let change = "\"$CTK\" pin change; echo ended $?";
    // Three may be tried at a terminal, but not the card's last.
    let refused = typing(&desk, change, &[(prompt, wrong), (prompt, wrong)]);
    assert!(refused.contains("2 tries are left; try again"), "{refused}");
    assert!(refused.contains("one try is left"), "{refused}");
    assert!(refused.contains("ended 1"), "{refused}");
    let right = (prompt, "123456\n");
    let new = ("New PIN (6 to 8 digits): ", "654321\n");
    let differ = ("New PIN again: ", "654322\n");
    let refused = typing(&desk, change, &[(prompt, "123\n"), right, new, differ]);
    assert!(refused.contains("the next wrong PIN locks it"), "{refused}");
    assert!(refused.contains("no try was spent; try again"), "{refused}");
    assert!(refused.contains("differ; nothing was changed"), "{refused}");
    let again = ("New PIN again: ", "654321\n");
    let changed = typing(&desk, change, &[right, new, again]);
    assert!(changed.contains("has a new PIN"), "{changed}");
    assert!(!(refused + &changed).contains("654321"), "it was shown");

    let generate = "\"$CTK\" card generate 9a --type p256; echo ended $?";
    let kept = typing(&desk, generate, &[("Type yes to go on: ", "y\n")]);
    assert!(
        kept.contains("nothing was changed") && kept.contains("ended 1"),
        "{kept}"
    );
    assert_eq!(desk.sent("0047"), 0);
    let management_key = ("Management key of", "default\n");
    let made = typing(
        &desk,
        generate,
        &[("Type yes to go on: ", "yes\n"), management_key],
    );
    assert!(
        made.contains("BEGIN PUBLIC KEY") && made.contains("ended 0"),
        "{made}"
    );
}
