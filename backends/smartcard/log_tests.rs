//! What the log shows of a signature, which with some keys is over the message itself.

use std::cell::RefCell;

use ctk_token::{Constraint, Key, KeyAlgorithm, KeyType, ObjectId, PublicKey};

use crate::{
    applets::ROWS,
    card::SmartCard,
    testing::{Wire, hex},
};

thread_local! {
    static LINES: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps what the thread that asks for it logs.
struct Recorder;

impl log::Log for Recorder {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        LINES.with_borrow_mut(|lines| {
            if let Some(lines) = lines {
                *lines += &format!("{}\n", record.args());
            }
        });
    }

    fn flush(&self) {}
}

/// What is logged meanwhile.
fn logged(work: impl FnOnce()) -> String {
    // Another test may have set it already: there is one for all.
    let _ = log::set_logger(&Recorder);
    log::set_max_level(log::LevelFilter::Trace);
    LINES.set(Some(String::new()));
    work();
    LINES.take().unwrap_or_default()
}

#[test]
fn no_log_shows_what_is_signed() {
    let message = b"pay 100 to Jane";
    let made = [0x5A; 64];
    for (applet, key, command, answer) in [
        ("PIV", "piv-key-9a", "0087", "7C42 8240"),
        ("OpenPGP", "key 1", "002A9E9A", ""),
        ("OpenPGP", "key 3", "00880000", ""),
    ] {
        let row = ROWS.iter().find(|row| row.name == applet).unwrap();
        let wire = Wire::new();
        wire.expect(
            &format!("{command}*"),
            &format!("{answer}{}9000", hex(&made)),
        );
        let card = SmartCard::new(wire.link());
        let mut card = card.transaction().unwrap();
        card.prove(row);
        let applet = (row.open)(&[], &[]).unwrap();
        let public_key = PublicKey::raw(KeyType::Ed25519, &[7; 32]).unwrap();
        let mut key = Key::new(ObjectId::new(key.as_bytes()), "a key", &[1], public_key);
        key.sign = Constraint::Free;
        let log = logged(|| {
            let signed = applet.sign(&mut card, &key, KeyAlgorithm::EdDsa, message, &mut [0; 64]);
            assert_eq!(signed, Ok(64));
        });
        drop(card);
        wire.finish();
        let log = log.replace(' ', "");
        assert!(log.contains(command), "{log}");
        assert!(!log.contains(&hex(message)), "{log}");
        assert!(!log.contains(&hex(&made)), "{log}");
    }
}
