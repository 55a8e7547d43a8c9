//! Writing to a card as its administrator.

use super::*;

#[test]
fn a_key_is_made_and_the_certificate_of_the_old_one_goes() {
    let bench = Bench::new();
    let point = [&[4][..], &[0x11; 64]].concat();
    bench.wire.expect(
        "0047009A05 AC03800111 00",
        &format!("7F4943 8641 {} 9000", hex(&point)),
    );
    bench.expect_certificate(Slot::Authentication, &certificate(1, "Jane Doe"));
    bench.wire.expect("00DB3FFF07 5C035FC105 5300", "9000");
    let wanted = NewKey {
        key_type: KeyType::Ec(Curve::P256),
        identity: Some(&[1]),
        label: None,
    };
    let made = bench
        .run(|piv, card| piv.generate_key(card, &[], &wanted))
        .unwrap();
    assert_eq!(made.public_key, PublicKey::ec(Curve::P256, &point).unwrap());
    assert_eq!((made.identity, made.origin), (vec![1], Origin::Generated));

    let unknown = NewKey {
        identity: Some(&[0x0a]),
        ..wanted
    };
    let answer = bench.run(|piv, card| piv.generate_key(card, &[], &unknown));
    assert_eq!(answer, Err(TokenError::ObjectNotFound.into()));
    let unknown = NewKey {
        key_type: KeyType::Ec(Curve::P521),
        ..wanted
    };
    let answer = bench.run(|piv, card| piv.generate_key(card, &[], &unknown));
    assert_eq!(answer, Err(TokenError::BadParameter.into()));
}

/// A wish for a key in whatever place is free.
const ANYWHERE: NewKey<'_> = NewKey {
    key_type: KeyType::Ec(Curve::P256),
    identity: None,
    label: None,
};

#[test]
fn a_card_that_does_not_tell_of_keys_is_told_where() {
    let bench = Bench::new();
    let refused = bench.run(|piv, card| piv.generate_key(card, &[], &ANYWHERE));
    assert_eq!(refused, Err(TokenError::ObjectNotFound.into()));
    let is_free = bench.run(|piv, card| piv.is_free(card, &[], &[1]));
    assert_eq!(is_free, Ok(false));

    // With a key in each place it is full.
    let known: Vec<_> = Slot::ACTIVE
        .into_iter()
        .map(|slot| Item::Key(Box::new(key(slot, certificates::key(1)))))
        .collect();
    let full = bench.run(|piv, card| piv.generate_key(card, &known, &ANYWHERE));
    assert_eq!(full, Err(TokenError::NoSpace.into()));
}

#[test]
fn a_key_of_no_place_goes_where_the_card_says_that_there_is_none() {
    let bench = Bench::yubikey();
    let known = [Item::Key(Box::new(key(
        Slot::Authentication,
        certificates::key(1),
    )))];
    // One that could not be read, and one whose certificate is gone and whose key is not told of.
    bench.expect_read(&Slot::Signature.certificate_tag(), "6F00");
    bench.expect_none(&Slot::KeyManagement.certificate_tag());
    bench.wire.expect("00F7009D00", "6581");
    bench.expect_none(&Slot::CardAuthentication.certificate_tag());
    bench.wire.expect("00F7009E00", "6A88");
    let point = [&[4][..], &[0x11; 64]].concat();
    let answer = format!("7F4943 8641 {} 9000", hex(&point));
    bench.wire.expect("0047009E05 AC03800111 00", &answer);
    bench.expect_none(&Slot::CardAuthentication.certificate_tag());
    let made = bench.run(|piv, card| piv.generate_key(card, &known, &ANYWHERE));
    assert_eq!(made.unwrap().identity, [4]);

    // What was made here, and what lost its certificate here, is not asked about.
    bench.wire.expect("00DB3FFF07 5C035FC10A 5300", "9000");
    let certificate = Slot::Signature.certificate_id();
    bench
        .run(|piv, card| piv.delete(card, &certificate))
        .unwrap();
    bench.expect_certificate(Slot::KeyManagement, &super::certificate(1, "Jane Doe"));
    let full = bench.run(|piv, card| piv.generate_key(card, &known, &ANYWHERE));
    assert_eq!(full, Err(TokenError::NoSpace.into()));

    // A YubiKey of a version without the command is a card that does not tell.
    let bench = Bench::yubikey();
    for slot in Slot::ACTIVE {
        bench.expect_none(&slot.certificate_tag());
        let command = format!("00F700{:02X}00", slot.key_reference());
        bench.wire.expect(&command, "6D00");
    }
    let refused = bench.run(|piv, card| piv.generate_key(card, &[], &ANYWHERE));
    assert_eq!(refused, Err(TokenError::ObjectNotFound.into()));
}

#[test]
fn what_could_not_be_read_is_not_written_over() {
    for answer in ["6F00", "6581", "6982", ""] {
        let bench = Bench::new();
        bench.expect_read(data::CHUID, answer);
        let refused = bench.run(|piv, card| piv.personalize(card));
        assert!(matches!(refused, Err(Failure::Status(_))), "{answer}");

        bench.wire.expect("00DB3FFF*", "9000");
        bench.expect_read(data::KEY_HISTORY, answer);
        let der = certificate(3, "Jane Doe");
        bench
            .run(|piv, card| piv.import_certificate(card, &[], Some(&[7]), &der))
            .unwrap();

        // But a certificate of a key that is gone goes, whatever it is.
        bench.wire.expect("0047*", "7F4900 9000");
        bench.expect_read(&Slot::Authentication.certificate_tag(), answer);
        bench.wire.expect("00DB3FFF07 5C035FC105 5300", "9000");
        let wanted = NewKey {
            identity: Some(&[1]),
            ..ANYWHERE
        };
        let made = bench.run(|piv, card| piv.generate_key(card, &[], &wanted));
        assert!(matches!(
            made,
            Err(Failure::Token(TokenError::Corrupted(_)))
        ));
    }
}

#[test]
fn a_new_key_is_there_whatever_becomes_of_the_old_certificate() {
    for answer in ["6982", "6581"] {
        let bench = Bench::new();
        let point = [&[4][..], &[0x11; 64]].concat();
        let made = format!("7F4943 8641 {} 9000", hex(&point));
        bench.wire.expect("0047009A05 AC03800111 00", &made);
        bench.expect_certificate(Slot::Authentication, &certificate(1, "Jane Doe"));
        bench.wire.expect("00DB3FFF07 5C035FC105 5300", answer);
        let wanted = NewKey {
            key_type: KeyType::Ec(Curve::P256),
            identity: Some(&[1]),
            label: None,
        };
        let made = bench.run(|piv, card| piv.generate_key(card, &[], &wanted));
        assert_eq!(
            made.unwrap().public_key,
            PublicKey::ec(Curve::P256, &point).unwrap()
        );
    }
}

#[test]
fn a_new_key_that_cannot_be_read_is_an_error() {
    for answer in ["", "7F4900", "7F4903 860104", "7F4904 810101", "8641"] {
        let bench = Bench::new();
        bench.wire.expect("0047*", &format!("{answer} 9000"));
        bench.expect_none(&Slot::Authentication.certificate_tag());
        let wanted = NewKey {
            key_type: KeyType::Ec(Curve::P256),
            identity: Some(&[1]),
            label: None,
        };
        let made = bench.run(|piv, card| piv.generate_key(card, &[], &wanted));
        assert!(
            matches!(made, Err(Failure::Token(TokenError::Corrupted(_)))),
            "{answer}"
        );
    }
}

#[test]
fn a_certificate_goes_to_its_key() {
    let der = certificate(3, "Jane Doe");
    let content = container::certificate(&der);
    let command = |tag: &str| {
        let data = Writer::new().put(0x5c, &bytes(tag)).nest(0x53, &content);
        let data = hex(data.as_bytes());
        format!("00DB3FFF{:02X}{data}", data.len() / 2)
    };
    let known: Vec<_> = [Slot::Authentication, Slot::KeyManagement]
        .into_iter()
        .zip([2, 3])
        .map(|(slot, mark)| Item::Key(Box::new(key(slot, certificates::key(mark)))))
        .collect();
    let import = |bench: &Bench, identity: Option<&[u8]>, der: &[u8]| {
        bench.run(|piv, card| piv.import_certificate(card, &known, identity, der))
    };
    let bench = Bench::new();
    bench.wire.expect(&command("5FC10B"), "9000");
    let imported = import(&bench, None, &der).unwrap();
    assert_eq!(imported, Slot::KeyManagement.certificate_id());

    for (answer, error) in [
        ("6A84", Failure::Status(Status(0x6a84))),
        ("6982", Failure::Status(Status(0x6982))),
    ] {
        bench.wire.expect(&command("5FC101"), answer);
        assert_eq!(import(&bench, Some(&[4]), &der), Err(error));
    }
    // One that only a certificate tells of may have been replaced. That certificate is deleted first.
    let told = Key {
        subject: Some(vec![0x30, 0]),
        ..key(Slot::Authentication, certificates::key(2))
    };
    let mut told = vec![Item::Key(Box::new(told))];
    let older = container::item(Slot::Authentication, &certificate(2, "Jane Doe"));
    told.push(Item::Certificate(older));
    let unasked = bench.run(|piv, card| piv.import_certificate(card, &told, Some(&[1]), &der));
    assert_eq!(unasked, Err(TokenError::DataInvalid.into()));
    told.pop();
    bench.wire.expect(&command("5FC105"), "9000");
    bench
        .run(|piv, card| piv.import_certificate(card, &told, Some(&[1]), &der))
        .unwrap();
    let refused = |identity: Option<&[u8]>, der: &[u8]| import(&bench, identity, der).unwrap_err();
    let invalid = Failure::Token(TokenError::DataInvalid);
    assert_eq!(
        refused(Some(&[1]), &der),
        invalid,
        "a key that was made here"
    );
    assert_eq!(refused(None, b"no certificate"), invalid);
    let nobody = certificate(9, "Jane Doe");
    let not_found = Failure::Token(TokenError::ObjectNotFound);
    assert_eq!(refused(None, &nobody), not_found);
    assert_eq!(refused(Some(&[0x0a]), &nobody), not_found);
}

#[test]
fn a_retired_certificate_is_counted_in_the_history() {
    let bench = Bench::new();
    let der = certificate(3, "Jane Doe");
    bench.wire.expect("00DB3FFF*", "9000");
    bench.expect_content(data::KEY_HISTORY, &[0xc1, 1, 1, 0xc2, 1, 0, 0xfe, 0]);
    let counting = "00DB3FFF0F 5C035FC10C 5308 C10103 C20100 FE00";
    bench.wire.expect(counting, "9000");
    let import =
        |piv: &Piv, card: &mut Transaction<'_>| piv.import_certificate(card, &[], Some(&[7]), &der);
    bench.run(import).unwrap();

    // A history that only the issuer writes.
    bench.wire.expect("00DB3FFF*", "9000");
    bench.expect_none(data::KEY_HISTORY);
    bench.wire.expect(counting, "6982");
    bench.run(import).unwrap();
}

#[test]
fn what_is_there_is_not_made_anew() {
    let bench = Bench::new();
    bench.expect_content(data::CHUID, &holder(false));
    bench.expect_content(data::CCC, &[0xf0, 0]);
    bench.run(|piv, card| piv.personalize(card)).unwrap();

    let bench = Bench::new();
    bench.expect_none(data::CHUID);
    bench
        .wire
        .expect("00DB3FFF42 5C035FC102 533B 3019*", "9000");
    bench.expect_content(data::CCC, &[]);
    bench
        .wire
        .expect("00DB3FFF3A 5C035FC107 5333 F015*", "9000");
    bench.run(|piv, card| piv.personalize(card)).unwrap();
}

#[test]
fn certificates_are_deleted_and_keys_only_where_the_card_can() {
    let bench = Bench::new();
    bench.wire.expect("00DB3FFF07 5C035FC105 5300", "9000");
    let certificate = Slot::Authentication.certificate_id();
    bench
        .run(|piv, card| piv.delete(card, &certificate))
        .unwrap();
    let key = Slot::Authentication.key_id();
    let kept = bench.run(|piv, card| piv.delete(card, &key));
    assert!(matches!(kept, Err(Failure::Token(TokenError::ReadOnly(_)))));
    let chuid = data::object(data::CHUID, None).unwrap().id;
    let kept = bench.run(|piv, card| piv.delete(card, &chuid));
    assert!(matches!(kept, Err(Failure::Token(TokenError::ReadOnly(_)))));
    let unknown = bench.run(|piv, card| piv.delete(card, &ObjectId::new(b"other")));
    assert_eq!(unknown, Err(TokenError::ObjectNotFound.into()));
}
