//! What is read, and what an odd card may answer.

use ctk_token::{Certificate, Constraint, Curve, Item, PinState, Reuse};

use super::{super::OpenPgp, *};
use crate::{applet::Applet, link::LinkError};

/// A certificate about this key, as far as anybody here looks: with a subject, and without a
/// signature of anybody.
pub(super) fn certificate(spki: &[u8]) -> Vec<u8> {
    let sequence = |parts: &[&[u8]]| tlv::encode(0x30, &parts.concat()).to_vec();
    let name = sequence(&[&[0x31, 0]]);
    let empty = sequence(&[]);
    let serial = [2, 1, 1];
    let tbs = sequence(&[&serial, &empty, &name, &empty, &name, spki]);
    sequence(&[&tbs, &empty, &[3, 1, 0]])
}

const SELECT_FIRST: &str = "00A50004 06 60045C027F21";

/// Reads the contents from a card that is to be sent these commands, after what it says of itself.
fn read(said: &Said, commands: &[(&str, &str)]) -> Vec<Item> {
    let wire = Wire::new();
    let card = asked(&wire, said);
    for (command, answer) in commands {
        wire.expect(command, answer);
    }
    let items = OpenPgp::default()
        .contents(&mut card.transaction().unwrap())
        .unwrap();
    wire.finish();
    items
}

fn keys(items: &[Item]) -> Vec<&Key> {
    let keys = items.iter().filter_map(|item| match item {
        Item::Key(key) => Some(&**key),
        Item::Certificate(_) | Item::Data(_) => None,
    });
    keys.collect()
}

fn certificates(items: &[Item]) -> Vec<&Certificate> {
    let certificates = items.iter().filter_map(|item| match item {
        Item::Certificate(certificate) => Some(certificate),
        Item::Key(_) | Item::Data(_) => None,
    });
    certificates.collect()
}

fn ec_key(byte: u8) -> (PublicKey, String) {
    let point = [&[4][..], &[byte; 64]].concat();
    (
        PublicKey::ec(Curve::P256, &point).unwrap(),
        point_template(&point),
    )
}

#[test]
fn a_card_says_who_it_is() {
    let wire = Wire::new();
    let said = Said::default();
    let card = asked(&wire, &said);
    let applet = OpenPgp::default();
    let mut card = card.transaction().unwrap();
    assert_eq!(applet.identity(&mut card), Ok(said.identifier()));
    assert!(card.is_proven(applet.row()));
    let info = applet.info(&mut card).unwrap();
    assert_eq!(info.label, "OpenPGP card (User PIN)");
    assert_eq!(info.manufacturer, "Yubico");
    assert_eq!(info.model, "PKCS#15 emulated");
    assert_eq!(info.serial_number, "0006123456ab");
    assert_eq!((info.min_pin_len, info.max_pin_len), (6, 127));
    assert_eq!(info.firmware_version, (3, 4));
    assert_eq!(info.user_pin, PinState::Normal);
    assert!(info.has_random && info.writable);
    drop(card);
    wire.finish();
}

#[test]
fn only_an_openpgp_card_is_one() {
    let wire = Wire::new();
    let card = SmartCard::new(wire.link());
    let applet = OpenPgp::default();
    let identifier = Said::default().identifier();
    for (answer, is_selected) in [
        (ok(&identifier), true),
        (ok(&tlv::encode(0x4F, &identifier)), true),
        (ok(&identifier[..15]), false),
        (ok(&[0xA0; 16]), false),
        ("9000".into(), false),
        ("6A82".into(), false),
        ("6D00".into(), false),
    ] {
        wire.expect("00CA004F00", &answer);
        let mut card = card.transaction().unwrap();
        assert_eq!(applet.is_selected(&mut card), Ok(is_selected), "{answer}");
        assert_eq!(card.is_proven(applet.row()), is_selected);
    }
    let opens = |selected: &[u8]| (super::super::ROW.open)(selected, &[]).is_some();
    assert!(opens(&[]));
    let information = |name| tlv::encode(0x6F, &tlv::encode(0x84, name));
    assert!(opens(&information(&identifier)));
    assert!(!opens(&information(&[0xA0, 0, 0, 3, 8])));
}

#[test]
fn keys_certificates_and_data() {
    let [
        (signature, first),
        (encryption, second),
        (authentication, third),
    ] = [1, 2, 3].map(ec_key);
    let said = Said {
        attributes: [
            P256,
            &[18, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 3, 1, 7, 0xFF],
            P256,
        ],
        information: Some([1, 1, 2, 2, 3, 1]),
        ..Said::default()
    };
    let [certificate_1, certificate_2, certificate_3] =
        [&authentication, &encryption, &signature].map(|key| ok(&certificate(key.spki())));
    let items = read(
        &said,
        &[
            ("00478100 02 B600 00", &first),
            ("00478100 02 B800 00", &second),
            ("00478100 02 A400 00", &third),
            (SELECT_FIRST, "9000"),
            ("00CA7F2100", &certificate_1),
            ("00CC7F2100", &certificate_2),
            ("00CC7F2100", &certificate_3),
            ("00CA005E00", &ok(b"somebody")),
            ("00CA5F5000", "9000"),
            ("00CA010100", "6A88"),
            ("00CA010200", &ok(b"two")),
        ],
    );
    let keys = keys(&items);
    let found: Vec<_> = keys
        .iter()
        .map(|key| (&*key.label, &*key.identity))
        .collect();
    let expected: [(&str, &[u8]); 3] = [
        ("Signature key", &[1]),
        ("Encryption key", &[2]),
        ("Authentication key", &[3]),
    ];
    assert_eq!(found, expected);
    let auth = |number| Constraint::Auth(ctk_token::AuthId(number), Reuse::Session);
    assert_eq!(
        (keys[0].sign, keys[0].decrypt),
        (auth(1), Constraint::Never)
    );
    assert_eq!(
        (keys[1].key_exchange, keys[1].sign),
        (auth(2), Constraint::Never)
    );
    assert_eq!(keys[2].sign, auth(2));
    assert_eq!(keys[1].origin, ctk_token::Origin::Imported);
    assert_eq!(keys[2].origin, ctk_token::Origin::Generated);
    assert!(keys.iter().all(|key| key.subject.is_some()));

    let certificates = certificates(&items);
    let found: Vec<_> = certificates
        .iter()
        .map(|found| (&*found.label, &*found.identity))
        .collect();
    let expected: [(&str, &[u8]); 3] = [
        ("SIG certificate", &[1]),
        ("DEC certificate", &[2]),
        ("AUT certificate", &[3]),
    ];
    assert_eq!(found, expected);

    let data: Vec<_> = items
        .iter()
        .filter_map(|item| match item {
            Item::Data(data) => Some((&*data.label, data.value.as_deref(), data.read)),
            Item::Certificate(_) | Item::Key(_) => None,
        })
        .collect();
    let expected: [(&str, Option<&[u8]>, Constraint); 3] = [
        ("Login data", Some(b"somebody"), Constraint::Free),
        ("PrivDO2", Some(b"two"), Constraint::Free),
        ("PrivDO3", None, auth(2)),
    ];
    assert_eq!(data, expected);
}

/// The end of every reading here: no data objects on the card.
const NO_DATA: [(&str, &str); 2] = [("00CA005E00", "6A88"), ("00CA5F5000", "6A88")];

/// Without the capability for private use.
const PLAIN: [u8; 10] = [0x74, 0, 0, 0xFF, 8, 0, 8, 0, 0, 1];

#[test]
fn a_forced_pin_is_for_each_signature() {
    let said = Said {
        attributes: [P256, RSA_2048, RSA_2048],
        information: Some([1, 1, 2, 0, 3, 0]),
        pins: [0, 127, 127, 127, 3, 0, 3],
        capabilities: PLAIN,
        ..Said::default()
    };
    let (_, template) = ec_key(1);
    let mut commands = vec![
        ("00478100 02 B600 00", &*template),
        // A card that has no SELECT DATA in spite of its version: one certificate.
        (SELECT_FIRST, "6D00"),
        ("00CA7F2100", "9000"),
    ];
    commands.extend(NO_DATA);
    let items = read(&said, &commands);
    let keys = keys(&items);
    assert_eq!(keys.len(), items.len());
    let once = Constraint::Auth(ctk_token::AuthId(1), Reuse::Operation);
    assert_eq!(keys[0].sign, once);
}

#[test]
fn an_old_card_has_keys_with_fingerprints() {
    let mut fingerprints = [0; 60];
    fingerprints[59] = 1;
    let said = Said {
        version: [2, 1],
        information: None,
        fingerprints,
        capabilities: PLAIN,
        ..Said::default()
    };
    let about_nothing = ok(&certificate(ec_key(9).0.spki()));
    let mut commands = vec![
        ("00478100 02 A400 00", "6A88"),
        ("00CA7F2100", &*about_nothing),
    ];
    commands.extend(NO_DATA);
    let items = read(&said, &commands);
    assert!(
        keys(&items).is_empty(),
        "one that cannot be read is left out"
    );
    assert_eq!(certificates(&items)[0].identity, [3]);
}

#[test]
fn a_certificate_belongs_to_the_key_that_it_is_about() {
    let said = Said {
        attributes: [P256, RSA_2048, P256],
        information: Some([1, 1, 2, 0, 3, 1]),
        capabilities: PLAIN,
        ..Said::default()
    };
    let ((signature, first), (_, third)) = (ec_key(1), ec_key(3));
    let of_signature = ok(&certificate(signature.spki()));
    let of_nobody = ok(&certificate(ec_key(9).0.spki()));
    let read = |one: &str, two: &str, three: &str| {
        let mut commands = vec![
            ("00478100 02 B600 00", &*first),
            ("00478100 02 A400 00", &*third),
            (SELECT_FIRST, "9000"),
            ("00CA7F2100", one),
            ("00CC7F2100", two),
            ("00CC7F2100", three),
        ];
        commands.extend(NO_DATA);
        read(&said, &commands)
    };
    // Where the certificate for authentication stands is one for signatures, and the card gives it
    // every time.
    let items = read(&of_signature, &of_signature, &of_signature);
    let found = certificates(&items);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].identity, [1]);
    // One for no key here has the number of its place only if no key has it.
    let items = read(&of_nobody, "9000", &of_signature);
    let identities: Vec<_> = certificates(&items)
        .iter()
        .map(|found| found.identity.clone())
        .collect();
    assert_eq!(identities, [vec![1], b"certificate 3".to_vec()]);
    let items = read("9000", &of_nobody, "9000");
    assert_eq!(certificates(&items)[0].identity, [2]);
    let items = read("0102039000", "30039000", "30809000");
    assert!(certificates(&items).is_empty(), "what is none");
}

#[test]
fn occurrences_without_get_next_data() {
    let said = Said {
        information: Some([1, 0, 2, 0, 3, 0]),
        capabilities: PLAIN,
        ..Said::default()
    };
    let third = ok(&certificate(ec_key(1).0.spki()));
    let mut commands = vec![
        (SELECT_FIRST, "9000"),
        ("00CA7F2100", "9000"),
        ("00CC7F2100", "6D00"),
        ("00A50104 06 60045C027F21", "9000"),
        ("00CA7F2100", "9000"),
        ("00A50204 06 60045C027F21", "9000"),
        ("00CA7F2100", &*third),
    ];
    commands.extend(NO_DATA);
    let items = read(&said, &commands);
    assert_eq!(certificates(&items)[0].label, "SIG certificate");
}

#[test]
fn a_card_that_goes_in_the_middle_is_gone() {
    let wire = Wire::new();
    let card = asked(&wire, &Said::default());
    wire.expect("00478100 02 B600 00", &rsa_template(2048));
    wire.expect_failure("00478100 02 B800 00", LinkError::Removed);
    let applet = OpenPgp::default();
    let mut card = card.transaction().unwrap();
    assert_eq!(applet.contents(&mut card), Err(LinkError::Removed.into()));
}

#[test]
fn malformed_answers_are_errors() {
    let good = Said::default().contents();
    let parse = super::super::Application::parse;
    let whole = parse(&good).unwrap();
    let with_tag = tlv::encode(0x6E, &good);
    assert_eq!(parse(&with_tag), Ok(whole.clone()));
    // What is cut off, and each byte changed: an answer or an error, and no key out of nothing.
    for len in 0..good.len() {
        let answer = parse(&good[..len]);
        assert!(answer.is_err(), "{len} bytes");
    }
    for at in 0..good.len() {
        for flip in [1, 0x80, 0xFF] {
            let mut changed = good.clone();
            changed[at] ^= flip;
            let _ = parse(&changed);
        }
    }
    // Everything, whatever it is, answered to every question: an end in time, and nothing from it.
    for answer in [
        "9000", "6F00", "FF9000", "6E809000", "5F529000", "7F499000", "61FF",
    ] {
        let wire = Wire::new();
        wire.answer_always(answer);
        let card = SmartCard::new(wire.link());
        let applet = OpenPgp::default();
        let mut card = card.transaction().unwrap();
        assert!(applet.contents(&mut card).is_err(), "{answer}");
        assert!(applet.info(&mut card).is_err(), "{answer}");
        assert!(wire.count() < 1000, "{answer}: {} commands", wire.count());
    }
}
