//! People log in to Linux by pam_pkcs11, pam_p11 and sssd with the keys of a token, or are kept out with a reason.
//!
//! Each program is set up by the files of its example. Whatever is wrong must keep somebody out in all three, cost as many tries of
//! the PIN as were made, and be told in their messages or in the module's log.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use softhsm_tests::{
    bed::{Bed, Identity, Kind},
    cards::{self, Apdu, Options, Profile, VirtualCard},
    login::{Machine, OTHER_USER, USER, Way, can_replace_etc},
    other_program::OtherProgram,
    pcscd::Pcscd,
    process::Outcome,
};

/// The PIN of the .p12 file is that of the cards.
const PIN: &str = cards::PIN;
const WRONG_PIN: &str = "654321";

/// What pamtester says when somebody is let in.
const LET_IN: &str = "successfully authenticated";
/// The token of a PIV card is named after the subject of its certificate.
const LABEL: &str = "Test Key 9A";
/// CKA_ID of the key in 9A.
const ID: &str = "01";

/// The program refuses, and says so.
#[track_caller]
fn kept_out(way: Way, outcome: Outcome, reasons: [&str; 3]) {
    let reason = reasons[Way::ALL.iter().position(|one| *one == way).expect("a way")];
    let outcome = outcome.refused().says(reason);
    assert!(!outcome.text().contains(LET_IN), "{}", outcome.text());
}

/// What each program says after a wrong PIN.
const PIN_REFUSED: [&str; 3] = [
    "Error 2320: Wrong smartcard PIN",
    "PIN not verified",
    "pamtester: Authentication failure",
];
/// What each says when no PIN was given.
const NO_PIN: [&str; 3] = [
    "Error 2318: Empty smartcard PIN not allowed.",
    "PIN not verified",
    "pamtester: Insufficient credentials to access authentication data",
];
/// What each says when there is a certificate, but not that of the user.
const NOT_ENROLLED: [&str; 3] = [
    "Error 2336: No matching certificate found",
    "No authorized keys on token",
    "Please (re)insert (different) Smartcard",
];

/// What the module's log says of a PIN that is blocked.
const BLOCKED: &str = "the PIN is locked after too many wrong tries";
/// What it says of a card that is gone.
const REMOVED: &str = "removed";

/// A registered .p12 file with one RSA key.
struct File {
    bed: Bed,
    identity: Identity,
}

impl File {
    fn new() -> Self {
        let bed = Bed::empty();
        let identity = bed.identity(USER, Kind::Rsa2048);
        let file = bed.p12("work", std::slice::from_ref(&identity), PIN);
        bed.register(&file, PIN);
        // sssd looks at nothing else.
        bed.update("work", &["--removable"]);
        Self { bed, identity }
    }

    /// It lets the owner of the file in.
    fn machine(&self) -> Machine<'_> {
        let machine = Machine::new(&self.bed);
        machine.trust(&self.bed.authority);
        machine.enrol(&self.identity.certificate);
        machine
    }
}

/// A card with one certificate in a reader.
struct Card {
    bed: Bed,
    pcscd: Pcscd,
    card: VirtualCard,
    /// The name of its certificate, and of the key that goes with it.
    name: &'static str,
}

impl Card {
    /// A PIV card.
    fn new() -> Self {
        Self::of(Profile::PivOne, "9a")
    }

    fn of(profile: Profile, name: &'static str) -> Self {
        let pcscd = Pcscd::start();
        let card = pcscd.insert(0, profile, Options::default());
        Self {
            bed: Bed::with_cards(),
            pcscd,
            card,
            name,
        }
    }

    /// It lets the owner of the card in.
    fn machine(&self) -> Machine<'_> {
        let (name, socket) = self.pcscd.env();
        let machine = Machine::new(&self.bed).with(&name, socket);
        machine.trust(&self.authority());
        machine.enrol(&self.certificate());
        // What the module has to say comes with what the program says, or in the log of sssd.
        machine.with("CTK_LOG", "info")
    }

    /// Writes the user's configuration of the module.
    fn configure(&self, text: &str) {
        let tokens = self.bed.configuration();
        // Nobody else may write there, whatever the umask of who runs the tests.
        let mut closed = fs::DirBuilder::new();
        let closed = closed.recursive(true).mode(0o700);
        closed
            .create(&tokens)
            .expect("a folder for the configuration");
        let file = tokens.with_file_name("ctk.toml");
        fs::write(&file, text).expect("a configuration");
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("chmod");
    }

    fn authority(&self) -> PathBuf {
        self.card.folder().join("ca.crt")
    }

    fn certificate(&self) -> PathBuf {
        self.card.folder().join(format!("{}.crt", self.name))
    }

    /// The header of each command with a PIN in it that the card was sent, and its answer.
    fn pins_sent(&self) -> Vec<String> {
        let log = self.card.log().into_iter();
        log.filter(is_pin)
            .map(|apdu| format!("{}={:04X}", &apdu.command[..8], apdu.status.unwrap_or(0)))
            .collect()
    }

    /// The answers of the card to each PIN that was sent to it.
    fn answers(&self) -> Vec<u16> {
        pins(&self.card)
    }
}

/// The answers of a card to each PIN that was sent to it: VERIFY with data.
fn pins(card: &VirtualCard) -> Vec<u16> {
    let log = card.log().into_iter();
    log.filter(is_pin).filter_map(|apdu| apdu.status).collect()
}

fn is_pin(apdu: &Apdu) -> bool {
    apdu.command.starts_with("0020") && apdu.command.len() > 10
}

#[test]
fn a_file_lets_its_owner_in() {
    if !can_replace_etc() {
        return;
    }
    let file = File::new();
    let machine = file.machine();
    for way in Way::ALL {
        machine.log_in(way, USER, PIN).succeeded().says(LET_IN);
        kept_out(way, machine.log_in(way, USER, WRONG_PIN), PIN_REFUSED);
        kept_out(way, machine.log_in(way, USER, ""), NO_PIN);
        kept_out(way, machine.log_in(way, OTHER_USER, PIN), NOT_ENROLLED);
    }
    machine.certificates_for_sssd().succeeded().says(USER);
    let child = |pin| machine.log_in_by_p11_child("work", &file.identity.id, pin);
    child(PIN).succeeded().says(USER);
    child(WRONG_PIN).refused().says("C_Login failed [160]");
}

#[test]
fn a_card_lets_its_owner_in() {
    if !can_replace_etc() {
        return;
    }
    let card = Card::new();
    let machine = card.machine();
    for way in Way::ALL {
        let before = card.answers().len();
        machine.log_in(way, USER, PIN).succeeded().says(LET_IN);
        assert_eq!(card.answers()[before..], [0x9000], "{way:?}");
        kept_out(way, machine.log_in(way, OTHER_USER, PIN), NOT_ENROLLED);
    }
    let listed = machine.certificates_for_sssd().succeeded();
    listed.says(LABEL);
    let by_child = machine.log_in_by_p11_child(LABEL, ID, PIN).succeeded();
    by_child.says(LABEL).says("CKM_SHA512_RSA_PKCS");
}

#[test]
fn of_four_keys_the_one_for_logging_in_is_taken() {
    if !can_replace_etc() {
        return;
    }
    let card = Card::of(Profile::PivFour, "9a");
    let machine = card.machine();
    for way in [Way::PamPkcs11, Way::Sssd] {
        machine.log_in(way, USER, PIN).succeeded().says(LET_IN);
        kept_out(way, machine.log_in(way, USER, WRONG_PIN), PIN_REFUSED);
    }
    // pam_p11 takes one only, whichever it is.
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/pam-p11/ctk.toml");
    card.configure(&fs::read_to_string(example).expect("the example"));
    let way = Way::PamP11;
    machine.log_in(way, USER, PIN).succeeded().says(LET_IN);
    kept_out(way, machine.log_in(way, USER, WRONG_PIN), PIN_REFUSED);
}

#[test]
fn an_openpgp_card_lets_its_owner_in() {
    if !can_replace_etc() {
        return;
    }
    let card = Card::of(Profile::OpenPgpRsa, "aut");
    // pam_p11 crashes on a token with several keys; with OpenSC's module it never ends.
    card.configure("[smartcard]\nhidden = [\"01\", \"02\"]\n");
    let machine = card.machine();
    for way in Way::ALL {
        let before = card.answers().len();
        machine.log_in(way, USER, PIN).succeeded().says(LET_IN);
        assert_eq!(card.answers()[before..], [0x9000], "{way:?}");
        kept_out(way, machine.log_in(way, USER, WRONG_PIN), PIN_REFUSED);
        assert_eq!(card.answers()[before + 1..], [0x63C2], "{way:?}");
        machine.log_in(way, USER, PIN).succeeded().says(LET_IN);
    }
}

#[test]
fn a_wrong_pin_costs_one_try() {
    if !can_replace_etc() {
        return;
    }
    let card = Card::new();
    let machine = card.machine();
    for way in Way::ALL {
        let before = card.answers().len();
        kept_out(way, machine.log_in(way, USER, WRONG_PIN), PIN_REFUSED);
        assert_eq!(card.answers()[before..], [0x63C2], "{way:?}");
        // No PIN, and one that no PIV card has: not sent.
        kept_out(way, machine.log_in(way, USER, ""), NO_PIN);
        kept_out(way, machine.log_in(way, USER, "12345"), PIN_REFUSED);
        kept_out(way, machine.log_in(way, USER, "123456789"), PIN_REFUSED);
        assert_eq!(card.answers()[before..], [0x63C2], "{way:?}");
        machine.log_in(way, USER, PIN).succeeded().says(LET_IN);
    }
    let before = card.answers().len();
    let by_child = machine.log_in_by_p11_child(LABEL, ID, WRONG_PIN);
    by_child.refused().says("C_Login failed [160]");
    assert_eq!(card.answers()[before..], [0x63C2]);
}

#[test]
fn a_blocked_card_lets_nobody_in() {
    if !can_replace_etc() {
        return;
    }
    let card = Card::new();
    let machine = card.machine();
    for left in [0x63C2, 0x63C1, 0x6983] {
        kept_out(
            Way::PamP11,
            machine.log_in(Way::PamP11, USER, WRONG_PIN),
            PIN_REFUSED,
        );
        assert_eq!(card.answers().last(), Some(&left));
    }
    let sent = card.answers().len();
    for way in [Way::PamPkcs11, Way::Sssd] {
        let outcome = machine.log_in(way, USER, PIN);
        let log = outcome.text() + &machine.sssd_log();
        kept_out(way, outcome, PIN_REFUSED);
        assert!(log.contains(BLOCKED), "{way:?}: {log}");
    }
    // pam_p11 0.3.1 looks for a token whose PIN is not locked, and for ever at the same one, with OpenSC's module as well.
    let mut attempt = machine.start(Way::PamP11, USER);
    let said = attempt.after(Duration::from_secs(3));
    assert!(
        !said.contains(LET_IN) && !said.contains(Way::PamP11.prompt()),
        "{said}"
    );
    drop(attempt);
    let by_child = machine.log_in_by_p11_child(LABEL, ID, PIN);
    by_child
        .refused()
        .says("C_Login failed: PIN locked")
        .says(BLOCKED);
    let answers = card.answers();
    assert!(
        answers[sent..].iter().all(|one| *one == 0x6983),
        "{answers:x?}"
    );
}

#[test]
fn nobody_comes_in_by_an_unknown_authority() {
    if !can_replace_etc() {
        return;
    }
    let card = Card::new();
    let machine = card.machine();
    machine.trust(&card.bed.authority);
    let reasons = [
        "Error 2328: Certificate signature invalid",
        // It knows no authorities, and lets this user in by the certificate alone.
        LET_IN,
        "Please (re)insert (different) Smartcard",
    ];
    for (way, reason) in Way::ALL.into_iter().zip(reasons) {
        let outcome = machine.log_in(way, USER, PIN).says(reason);
        assert_eq!(outcome.status.success(), way == Way::PamP11);
    }
    let before = card.answers().len();
    for outcome in [
        machine.certificates_for_sssd(),
        machine.log_in_by_p11_child(LABEL, ID, PIN),
    ] {
        let outcome = outcome.succeeded().says("unable to get local issuer");
        assert_eq!(outcome.stdout, b"0\n", "a certificate all the same");
    }
    // Not even the card was asked.
    assert_eq!(card.answers().len(), before + 1);
    // The certificate of another card.
    machine.trust(&card.authority());
    let other = card.bed.identity("other", Kind::Rsa2048);
    machine.enrol(&other.certificate);
    for way in Way::ALL {
        kept_out(way, machine.log_in(way, USER, PIN), NOT_ENROLLED);
    }
}

#[test]
fn a_card_that_is_pulled_out_lets_nobody_in() {
    if !can_replace_etc() {
        return;
    }
    let mut card = Card::new();
    for way in Way::ALL {
        let before = card.answers().len();
        // After the certificate was looked at, before the PIN. sssd starts p11_child anew, which finds no card.
        let attempt = card.machine().start_to_log_in(way, USER);
        card.card.remove();
        let outcome = attempt.answer(PIN).refused();
        assert!(!outcome.text().contains(LET_IN), "{}", outcome.text());
        assert!(
            way == Way::Sssd || outcome.text().contains(REMOVED),
            "{}",
            outcome.text()
        );
        assert_eq!(card.answers().len(), before, "{way:?}");
        card.card.insert();

        // The same, but another card is in when the PIN comes: it must not see the PIN.
        if way != Way::Sssd {
            let attempt = card.machine().start_to_log_in(way, USER);
            card.card.swap(Profile::PivOne, Duration::ZERO);
            removed(way, attempt.answer(PIN), &card);
            assert_eq!(card.answers().len(), before, "{way:?}");
        }

        // In the middle of the signature.
        card.card.cut_in_key_operation();
        removed(way, card.machine().log_in(way, USER, PIN), &card);
        assert_eq!(card.answers()[before..], [0x9000], "{way:?}");
        card.card.insert();
        let outcome = card.machine().log_in(way, USER, PIN);
        outcome.succeeded().says(LET_IN);
    }
}

/// Kept out, and the module's log says that the card is gone.
#[track_caller]
fn removed(way: Way, outcome: Outcome, card: &Card) {
    let outcome = outcome.refused();
    let log = outcome.text() + &card.machine().sssd_log();
    assert!(!outcome.text().contains(LET_IN), "{log}");
    assert!(log.contains(REMOVED), "{way:?}: {log}");
}

#[test]
fn a_login_of_another_program_opens_nothing() {
    if !can_replace_etc() {
        return;
    }
    let card = Card::new();
    let machine = card.machine();
    let mut other = OtherProgram::start(&card.pcscd, 0);
    for way in Way::ALL {
        for (pin, said) in [
            (WRONG_PIN, PIN_REFUSED),
            ("", NO_PIN),
            ("12345", PIN_REFUSED),
        ] {
            other.log_in();
            kept_out(way, machine.log_in(way, USER, pin), said);
        }
        other.log_in();
        machine.log_in(way, USER, PIN).succeeded().says(LET_IN);
        // The other way about: what has let somebody in is of no use to another program.
        assert_eq!(other.ask("status"), "63C3", "{way:?}");
    }
    other.log_in();
    let by_child = machine.log_in_by_p11_child(LABEL, ID, WRONG_PIN);
    by_child.refused().says("C_Login failed [160]");
}

#[test]
fn a_card_with_two_applets_is_the_same_token_whatever_others_have_selected() {
    if !can_replace_etc() {
        return;
    }
    let card = Card::of(Profile::Both, "9a");
    // pam_p11 crashes on a token with several keys.
    card.configure("[smartcard]\nhidden = [\"02\", \"03\", \"04\"]\n");
    let machine = card.machine();
    let mut other = OtherProgram::start(&card.pcscd, 0);
    for way in Way::ALL {
        other.select_openpgp();
        let before = card.pins_sent();
        machine.log_in(way, USER, PIN).succeeded().says(LET_IN);
        assert_eq!(
            card.pins_sent()[before.len()..],
            ["00200080=9000"],
            "{way:?}"
        );
    }
}

#[test]
fn sssd_waits_for_the_card() {
    if !can_replace_etc() {
        return;
    }
    let mut card = Card::new();
    card.card.remove();
    let machine = card.machine();
    let mut attempt = machine.start(Way::Sssd, USER);
    // PAM_CLI_FLAGS_REQUIRE_CERT_AUTH: p11_child waits for an event of the module.
    attempt.wait_until("waiting for a card", || {
        machine.sssd_log().contains("flags: 512")
    });
    card.card.insert();
    attempt.wait_for(Way::Sssd.prompt());
    attempt.answer(PIN).succeeded().says(LET_IN);
}

#[test]
fn without_a_card_there_is_no_question() {
    if !can_replace_etc() {
        return;
    }
    let mut card = Card::new();
    card.card.remove();
    let machine = card.machine();
    for (way, reason) in [
        (Way::PamPkcs11, "Error 2308: No smart card found."),
        (Way::PamP11, "No token found"),
    ] {
        let outcome = machine.log_in(way, USER, PIN).refused().says(reason);
        assert!(!outcome.text().contains(way.prompt()));
    }
    // As with every module: no slot has a token.
    let listed = machine.certificates_for_sssd().refused();
    assert_eq!(listed.stdout, b"5\n");
}
