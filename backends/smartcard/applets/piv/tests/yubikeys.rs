//! What YubiKeys tell of themselves, after Yubico's documentation: not tried on hardware.

use super::*;

#[test]
fn a_yubikey_tells_of_its_keys() {
    let bench = Bench::yubikey();
    let told = |policy: u8, mark: u8| {
        let public = Writer::new().put(0x86, &[&[4][..], &[mark; 64]].concat());
        let answer = Writer::new()
            .put(0x01, &[0x11])
            .put(0x02, &[policy, 1])
            .put(0x03, &[1])
            .nest(0x04, &public);
        format!("{}9000", hex(answer.as_bytes()))
    };
    bench.expect_content(data::CHUID, &holder(false));
    bench.expect_none(data::KEY_HISTORY);
    // A certificate and its key, a key alone, a certificate of another key, a certificate alone.
    bench.expect_certificate(Slot::Authentication, &certificate(1, "Jane Doe"));
    bench.wire.expect("00F7009A00", &told(1, 1));
    bench.expect_none(&Slot::Signature.certificate_tag());
    bench.wire.expect("00F7009C00", &told(2, 2));
    bench.expect_certificate(Slot::KeyManagement, &certificate(1, "Jane Doe"));
    bench.wire.expect("00F7009D00", &told(3, 3));
    bench.expect_certificate(Slot::CardAuthentication, &certificate(4, "Jane Doe"));
    bench.wire.expect("00F7009E00", "6A88");
    for number in 1..=20 {
        bench.expect_none(&Slot::Retired(number).certificate_tag());
    }
    let items = bench.run(|piv, card| piv.contents(card)).unwrap();
    let keys: Vec<_> = keys(&items)
        .iter()
        .map(|key| (key.identity[0], key.sign, key.origin))
        .collect();
    let session = Constraint::Auth(data::PIN, Reuse::Session);
    let operation = Constraint::Auth(data::PIN, Reuse::Operation);
    let generated = Origin::Generated;
    assert_eq!(
        keys,
        [
            (1, Constraint::Free, generated),
            (2, session, generated),
            (3, operation, generated)
        ]
    );
    let certified: Vec<_> = certified(&items)
        .iter()
        .map(|found| found.identity[0])
        .collect();
    assert_eq!(certified, [1, 4]);

    let attestation = Slot::Signature.attestation_id();
    assert!(items.iter().any(|item| *item.id() == attestation));
    bench.wire.expect("00F99C0000", "3003020101 9000");
    let read = bench.run(|piv, card| piv.read(card, &attestation));
    assert_eq!(read, Ok(bytes("3003020101")));

    let attesting = items.last().unwrap().id().clone();
    bench.expect_content(&[0x5f, 0xff, 0x01], &[0x70, 0]);
    let read = bench.run(|piv, card| piv.read(card, &attesting));
    assert_eq!(read, Ok(bytes("53027000")));
}

#[test]
fn a_yubikey_counts_its_tries() {
    let bench = Bench::yubikey();
    bench.expect_content(data::CHUID, &holder(false));
    bench
        .wire
        .expect("00F7008000", "0101FF 050100 06020503 9000");
    let tries = bench.run(|piv, card| piv.tries(card, Role::User)).unwrap();
    let expected = Tries {
        left: Some(3),
        state: PinState::CountLow,
    };
    assert_eq!(tries, Some(expected));
    bench
        .wire
        .expect("00F7008100", "0101FF 050101 06020303 9000");
    let tries = bench.run(|piv, card| piv.tries(card, Role::Admin)).unwrap();
    assert_eq!(tries.unwrap().state, PinState::Normal);
    // Older ones count as other cards do.
    bench.wire.expect("00F7008000", "6D00");
    bench.wire.expect("00200080", "63C1");
    bench.expect_none(data::DISCOVERY);
    let tries = bench.run(|piv, card| piv.tries(card, Role::User)).unwrap();
    assert_eq!(tries.unwrap().state, PinState::FinalTry);
}

#[test]
fn a_yubikey_deletes_keys_since_it_can() {
    let bench = Bench::yubikey();
    let key = Slot::Authentication.key_id();
    bench.wire.expect("00F6FF9A", "9000");
    bench.run(|piv, card| piv.delete(card, &key)).unwrap();
    bench.wire.expect("00F6FF9A", "6D00");
    let kept = bench.run(|piv, card| piv.delete(card, &key));
    assert!(matches!(kept, Err(Failure::Token(TokenError::ReadOnly(_)))));
}

#[test]
fn a_yubikey_that_tells_nothing_is_asked_once() {
    let bench = Bench::yubikey();
    bench.expect_content(data::CHUID, &holder(false));
    bench.expect_none(data::KEY_HISTORY);
    bench.expect_certificate(Slot::Authentication, &certificate(1, "Jane Doe"));
    bench.wire.expect("00F7009A00", "6D00");
    for slot in Slot::all().skip(1) {
        bench.expect_none(&slot.certificate_tag());
    }
    let items = bench.run(|piv, card| piv.contents(card)).unwrap();
    assert_eq!(keys(&items).len(), 1);
}
