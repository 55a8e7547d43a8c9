//! What a person can say of cards in the configuration, and which slots programs see then.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

use softhsm_tests::{
    bed::{Bed, Kind, NO_CARDS},
    cards::{Options, PIN, Profile, VirtualCard},
    pcscd::Pcscd,
    process::run,
};

/// A home, and a card with four keys in the first of two readers.
struct Machine {
    bed: Bed,
    pcscd: Pcscd,
    _card: VirtualCard,
}

impl Machine {
    fn new() -> Self {
        let pcscd = Pcscd::start();
        let card = pcscd.insert(0, Profile::PivFour, Options::default());
        Self {
            bed: Bed::with_cards(),
            pcscd,
            _card: card,
        }
    }

    /// What the home's main file says.
    fn configure(&self, text: &str) {
        let folder = self.bed.configuration();
        fs::create_dir_all(&folder).expect("a folder");
        let home = folder.parent().expect("it is in another");
        for folder in [&folder, home] {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).expect("chmod");
        }
        let file = home.join("ctk.toml");
        fs::write(&file, text).expect("the configuration");
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("chmod");
    }

    fn pkcs11_tool(&self, options: &[&str]) -> Command {
        let mut command = self.bed.pkcs11_tool();
        command.envs([self.pcscd.env()]).args(options);
        command
    }

    /// The slots by their descriptions, with the label of the token in each.
    fn slots(&self) -> Vec<(String, Option<String>)> {
        let mut slots = Vec::new();
        let list = run(&mut self.pkcs11_tool(&["-L"])).succeeded();
        for line in String::from_utf8(list.stdout).expect("text").lines() {
            if line.starts_with("Slot ") {
                let (_, description) = line.split_once(": ").expect("a description");
                slots.push((description.to_owned(), None));
            } else if let Some((_, label)) = line.split_once("token label        : ") {
                slots.last_mut().expect("a slot").1 = Some(label.to_owned());
            }
        }
        slots
    }

    fn reader(&self, number: usize, label: Option<&str>) -> (String, Option<String>) {
        (self.pcscd.reader(number), label.map(str::to_owned))
    }
}

const LABEL: Option<&str> = Some("Test Key 9A");

#[test]
fn cards_come_after_the_configured_tokens() {
    let machine = Machine::new();
    assert_eq!(
        machine.slots(),
        [machine.reader(0, LABEL), machine.reader(1, None)]
    );
    machine.bed.token("work", &[Kind::P256]);
    let slots = machine.slots();
    assert_eq!(slots[0].1.as_deref(), Some("work"));
    assert_eq!(
        slots[1..],
        [machine.reader(0, LABEL), machine.reader(1, None)]
    );
}

#[test]
fn readers_can_be_chosen() {
    let machine = Machine::new();
    let second = machine.pcscd.reader(1);
    machine.configure(&format!("[smartcard]\nreaders = [{second:?}]\n"));
    assert_eq!(machine.slots(), [machine.reader(1, None)]);
    machine.configure(&format!("[smartcard]\nnot_readers = [{second:?}]\n"));
    assert_eq!(machine.slots(), [machine.reader(0, LABEL)]);
    machine.configure("[smartcard]\nnot_readers = [\"Virtual\"]\n");
    assert_eq!(machine.slots(), [("No smart card reader".to_owned(), None)]);
}

#[test]
fn cards_can_be_kept_from_programs() {
    let machine = Machine::new();
    let both = [machine.reader(0, LABEL), machine.reader(1, None)];
    machine.configure("[smartcard]\nprograms = [\"pkcs11-tool\"]\n");
    assert_eq!(machine.slots(), both);
    for nothing in [
        "[smartcard]\nprograms = [\"ssh\"]\n",
        "[smartcard]\nnot_programs = [\"pkcs11-tool\"]\n",
        // What was meant is not known.
        "[smartcard]\nenabeld = true\n",
        NO_CARDS,
    ] {
        machine.configure(nothing);
        let refused = run(&mut machine.pkcs11_tool(&["-L"])).refused();
        refused.says("No slots");
    }
}

#[test]
fn identities_can_be_hidden() {
    let machine = Machine::new();
    machine.configure("[smartcard]\nhidden = [\"01\", \"02\"]\n");
    let login = ["--login", "--pin", PIN, "-O", "--type"];
    for class in ["cert", "pubkey", "privkey"] {
        let listed = run(&mut machine.pkcs11_tool(&[&login[..], &[class]].concat())).succeeded();
        let objects = String::from_utf8(listed.stdout).expect("text");
        let ids: Vec<_> = objects
            .lines()
            .filter_map(|line| line.trim().strip_prefix("ID:"))
            .map(str::trim)
            .collect();
        assert_eq!(ids, ["03", "04"], "{objects}");
    }
}
