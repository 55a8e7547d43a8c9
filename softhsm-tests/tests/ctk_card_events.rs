//! The command tells which cards come and go, and what is wrong where one is not seen.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use softhsm_tests::{
    cards::{Options, Profile},
    desk::Desk,
    faulty::Fault,
    process::LIMIT,
};

/// Keeps the card in the reader that is named for itself, until its input ends.
const KEEPER: &str = "
import ctypes, sys
library = ctypes.CDLL('libpcsclite.so.1')
context, card, protocol = ctypes.c_long(), ctypes.c_long(), ctypes.c_ulong()
assert library.SCardEstablishContext(2, None, None, ctypes.byref(context)) == 0
name = sys.argv[1].encode()
assert library.SCardConnect(context, name, 1, 3, ctypes.byref(card), ctypes.byref(protocol)) == 0
print('kept', flush=True)
sys.stdin.read()
";

#[test]
fn who_keeps_a_card_is_named() {
    let desk = Desk::with(Profile::PivOne);
    let mut keeper = desk.pcscd.command("python3");
    let mut keeper = keeper
        .args(["-c", KEEPER, &desk.pcscd.reader(0)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3");
    let mut said = String::new();
    let out = keeper.stdout.take().expect("a pipe");
    BufReader::new(out).read_line(&mut said).expect("a line");
    assert_eq!(said, "kept\n");
    // Processes are looked through while others come and go, so that one may be missed once.
    let named = format!("({})", keeper.id());
    let end = Instant::now() + LIMIT;
    loop {
        let told = desk.ctk(&["doctor", "card"], "").refused();
        let told = told.says("by another program").text();
        if told.contains(&named) {
            break;
        }
        assert!(Instant::now() < end, "{named} is not in {told}");
    }
    drop(keeper.stdin.take());
    assert!(keeper.wait().expect("its status").success());
    desk.ctk(&["doctor", "card"], "").succeeded();
}

/// A running `ctk watch`, whose lines come as it prints them.
struct Watch {
    child: Child,
    lines: Receiver<String>,
}

impl Watch {
    fn start(desk: &Desk) -> Self {
        let mut child = desk
            .command(&["watch", "--json"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("ctk watch");
        let out = BufReader::new(child.stdout.take().expect("a pipe"));
        let (send, lines) = channel();
        thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// The next event, which has to be this one in this reader.
    #[track_caller]
    fn tells(&self, event: &str, reader: &str) -> String {
        let line = self.lines.recv_timeout(LIMIT).expect("an event");
        assert!(line.contains(&format!("\"event\":\"{event}\"")), "{line}");
        assert!(line.contains(&format!("\"reader\":\"{reader}\"")), "{line}");
        line
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn cards_are_watched_until_somebody_ends_it() {
    let mut desk = Desk::with(Profile::PivOne);
    let (first, second) = (desk.pcscd.reader(0), desk.pcscd.reader(1));
    let mut watch = Watch::start(&desk);
    watch.tells("reader", &first);
    let present = watch.tells("present", &first);
    assert!(present.contains("\"kind\":\"PIV card\""), "{present}");
    watch.tells("reader", &second);
    desk.card.remove();
    watch.tells("removed", &first);
    desk.card.insert();
    watch.tells("inserted", &first);
    desk.card.swap(Profile::PivEmpty, Duration::from_millis(50));
    watch.tells("removed", &first);
    let other = watch.tells("inserted", &first);
    assert!(!other.contains("Test Key"), "{other}");
    let terminated = Command::new("kill")
        .args(["-TERM", &watch.child.id().to_string()])
        .status();
    assert!(terminated.expect("kill").success());
    let end = Instant::now() + LIMIT;
    let status = loop {
        if let Some(status) = watch.child.try_wait().expect("its status") {
            break status;
        }
        assert!(Instant::now() < end, "it still runs");
        thread::sleep(Duration::from_millis(10));
    };
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_card_of_no_known_kind_is_told_from_none() {
    let mut desk = Desk::with(Profile::PivOne);
    desk.card.remove();
    let watch = Watch::start(&desk);
    let (first, second) = (desk.pcscd.reader(0), desk.pcscd.reader(1));
    watch.tells("reader", &first);
    watch.tells("reader", &second);
    let refuses: Fault = Box::new(|_, _| Some(vec![0x6a, 0x82]));
    let unknown = desk
        .pcscd
        .insert_faulty(1, Profile::PivOne, Options::default(), refuses);
    let told = watch.tells("unusable", &second);
    assert!(told.contains("of no kind that is known"), "{told}");
    desk.ctk(&["list"], "")
        .succeeded()
        .says(&format!("{second}: the card is of no kind that is known"));
    desk.ctk(&["card", "info"], "")
        .refused()
        .says(&format!("{second}: the card is of no kind that is known"));
    desk.ctk(&["doctor", "card"], "")
        .refused()
        .says("PROBLEM")
        .says("to SELECT it said PIV: 6A82, OpenPGP: 6A82");
    drop(unknown);
    watch.tells("removed", &second);
}

#[test]
fn the_doctor_says_what_is_missing() {
    let mut desk = Desk::with(Profile::PivFour);
    let doctor = ["doctor", "card"];
    let good = desk.ctk(&doctor, "").succeeded();
    good.says("ok       PC/SC service: it answers at")
        .says("PIV card")
        .says("3 tries left")
        .says(&format!(
            "reader {}: no card is in it",
            desk.pcscd.reader(1)
        ));
    desk.ctk(&["doctor"], "").says("PIV card");
    desk.card.remove();
    let empty = format!("reader {}: no card is in it", desk.pcscd.reader(0));
    desk.ctk(&doctor, "").succeeded().says(&empty);
    desk.ctk(&["card", "info"], "")
        .refused()
        .says("no card is in")
        .says("put one in");
    desk.pcscd.kill();
    desk.ctk(&doctor, "")
        .refused()
        .says("PROBLEM  PC/SC service")
        .says("systemctl enable --now pcscd.socket");
    desk.ctk(&["card", "info"], "")
        .refused()
        .says("there is no smart card reader");
}
