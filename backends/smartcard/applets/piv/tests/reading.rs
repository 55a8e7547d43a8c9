//! Reading a card: how many commands it takes, and what becomes of damaged objects.

use super::*;

#[test]
fn a_card_is_read_with_as_few_commands_as_it_has_objects() {
    let bench = Bench::new();
    bench
        .expect_content(data::CHUID, &holder(false))
        .expect_certificate(Slot::Authentication, &certificate(1, "Jane Doe"));
    let info = bench.run(|piv, card| {
        piv.identity(card).unwrap();
        piv.info(card).unwrap()
    });
    assert_eq!(info.label, "Jane Doe");
    assert_eq!(info.serial_number, "0707070707070707");
    assert_eq!(
        (&*info.manufacturer, &*info.model),
        ("piv_II", "PKCS#15 emulated")
    );

    bench.wire.expect("00200080", "63C3");
    let tries = bench.run(|piv, card| piv.tries(card, Role::User)).unwrap();
    let all = Tries {
        left: Some(3),
        state: PinState::Normal,
    };
    assert_eq!(tries, Some(all));

    bench
        .expect_content(data::KEY_HISTORY, &[0xc1, 1, 1, 0xc2, 1, 0, 0xfe, 0])
        .expect_certificate(Slot::Signature, &certificate(2, "Jane Doe"))
        .expect_certificate(Slot::KeyManagement, &certificate(3, "Jane Doe"))
        .expect_certificate(Slot::CardAuthentication, &certificate(4, "Jane Doe"))
        .expect_certificate(Slot::Retired(1), &certificate(5, "Jane Doe"));
    let items = bench.run(|piv, card| piv.contents(card)).unwrap();
    let identities: Vec<_> = keys(&items).iter().map(|key| key.identity[0]).collect();
    assert_eq!(identities, [1, 2, 3, 4, 5]);
    assert_eq!(certified(&items).len(), 5);
    let signs: Vec<_> = keys(&items).iter().map(|key| key.sign).collect();
    let session = Constraint::Auth(data::PIN, Reuse::Session);
    let operation = Constraint::Auth(data::PIN, Reuse::Operation);
    assert_eq!(
        signs,
        [session, operation, session, Constraint::Free, session]
    );
    let values: Vec<_> = items
        .iter()
        .filter_map(|item| match item {
            Item::Data(data) if data.value.is_some() => Some(&*data.label),
            _ => None,
        })
        .collect();
    assert_eq!(values.len(), 7, "{values:?}");

    // Read again, nothing comes from memory but whose card it is.
    bench.expect_none(data::KEY_HISTORY);
    for slot in Slot::ACTIVE {
        bench.expect_none(&slot.certificate_tag());
    }
    let items = bench.run(|piv, card| piv.contents(card)).unwrap();
    assert_eq!(keys(&items).len(), 0);
}

#[test]
fn what_was_read_for_the_label_is_not_what_was_written_since() {
    let bench = Bench::new();
    bench
        .expect_content(data::CHUID, &holder(false))
        .expect_certificate(Slot::Authentication, &certificate(1, "Jane Doe"));
    bench.run(|piv, card| piv.info(card)).unwrap();
    let newer = certificate(2, "Jane Doe");
    bench.wire.expect("00DB3FFF*", "9000");
    bench
        .run(|piv, card| piv.import_certificate(card, &[], Some(&[1]), &newer))
        .unwrap();
    bench
        .expect_none(data::KEY_HISTORY)
        .expect_certificate(Slot::Authentication, &newer);
    for slot in &Slot::ACTIVE[1..] {
        bench.expect_none(&slot.certificate_tag());
    }
    let items = bench.run(|piv, card| piv.contents(card)).unwrap();
    assert_eq!(certified(&items)[0].der, newer);
}

#[test]
fn retired_certificates_are_looked_for_until_all_that_count_are_found() {
    let bench = Bench::new();
    bench.expect_content(data::CHUID, &holder(false));
    bench.expect_content(data::KEY_HISTORY, &[0xc1, 1, 2, 0xc2, 1, 0, 0xfe, 0]);
    for slot in Slot::ACTIVE {
        bench.expect_none(&slot.certificate_tag());
    }
    bench.expect_none(&Slot::Retired(1).certificate_tag());
    bench.expect_certificate(Slot::Retired(2), &certificate(2, "Jane Doe"));
    bench.expect_none(&Slot::Retired(3).certificate_tag());
    bench.expect_certificate(Slot::Retired(4), &certificate(4, "Jane Doe"));
    let items = bench.run(|piv, card| piv.contents(card)).unwrap();
    let found: Vec<_> = keys(&items).iter().map(|key| key.identity[0]).collect();
    assert_eq!(found, [6, 8]);
    let listed = items.iter().filter(|item| match item {
        Item::Data(data) => data.label.starts_with("Retired"),
        _ => false,
    });
    assert_eq!(listed.count(), 3);
}

#[test]
fn only_another_applet_s_name_is_refused() {
    for (selected, is_ours) in [
        ("", true),
        ("6111 4F0600001000010079074F05A000000308", true),
        ("610D 4F0BA000000308000010000100", true),
        ("6F0B 8409A00000030800001000", true),
        ("6102 5000", true),
        ("6F08 8406D27600012401", false),
        ("6108 4F06D27600012401", false),
        ("77", true),
    ] {
        let opened = (ROW.open)(&bytes(selected), &[]);
        assert_eq!(opened.is_some(), is_ours, "{selected}");
    }
}

#[test]
fn the_label_is_of_the_first_certificate_with_a_name() {
    let bench = Bench::new();
    bench
        .expect_content(data::CHUID, &holder(false))
        .expect_none(&Slot::Authentication.certificate_tag())
        .expect_certificate(Slot::Signature, &certificate(2, ""))
        .expect_certificate(Slot::KeyManagement, &certificate(3, "Jane"));
    let info = bench.run(|piv, card| piv.info(card)).unwrap();
    assert_eq!(info.label, "Jane");

    let bench = Bench::new();
    bench.expect_none(data::CHUID);
    for slot in Slot::ACTIVE {
        bench.expect_none(&slot.certificate_tag());
    }
    bench.expect_none(data::CHUID);
    let info = bench.run(|piv, card| piv.info(card)).unwrap();
    assert_eq!((&*info.label, &*info.serial_number), ("PIV_II", "00000000"));
}

#[test]
fn a_damaged_object_costs_nothing_but_itself() {
    let good = certificate(1, "Jane Doe");
    let cut = &certificate(2, "Jane Doe")[..40];
    let garbage = [0x70, 0x82, 0xff, 0xff, 0x30];
    let bomb = {
        let packed = miniz_oxide::deflate::compress_to_vec(&vec![0x30; 1 << 20], 9);
        let file = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3][..], &packed, &[0; 8]].concat();
        let content = Writer::new().put(0x70, &file).put(0x71, &[1]);
        content.as_bytes().to_vec()
    };
    for damaged in [cut, &garbage, &bomb, &[], &[0x70], &[0xff; 300]] {
        for place in Slot::ACTIVE {
            let bench = Bench::new();
            bench.expect_content(data::CHUID, &holder(false));
            bench.expect_none(data::KEY_HISTORY);
            for slot in Slot::ACTIVE {
                if slot == place {
                    bench.expect_content(&slot.certificate_tag(), damaged);
                } else {
                    bench.expect_certificate(slot, &good);
                }
            }
            let items = bench.run(|piv, card| piv.contents(card)).unwrap();
            let found: Vec<_> = certified(&items)
                .iter()
                .map(|found| found.identity[0])
                .collect();
            let mut expected = vec![1, 2, 3, 4];
            expected.retain(|identity| *identity != place.identity());
            assert_eq!(found, expected, "{damaged:x?}");
            assert_eq!(keys(&items).len(), 3);
        }
    }
}

#[test]
fn a_compressed_certificate_is_unpacked() {
    let der = certificate(1, "Jane Doe");
    let packed = miniz_oxide::deflate::compress_to_vec(&der, 9);
    let file = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3][..], &packed, &[0; 8]].concat();
    for info in [0, 1] {
        let bench = Bench::new();
        let content = Writer::new().put(0x70, &file).put(0x71, &[info]);
        bench.expect_content(data::CHUID, &holder(false));
        bench.expect_none(data::KEY_HISTORY);
        bench.expect_content(&Slot::Authentication.certificate_tag(), content.as_bytes());
        for slot in &Slot::ACTIVE[1..] {
            bench.expect_none(&slot.certificate_tag());
        }
        let items = bench.run(|piv, card| piv.contents(card)).unwrap();
        assert_eq!(certified(&items)[0].der, der);
    }
}

#[test]
fn another_applet_s_answer_is_no_empty_card() {
    let bench = Bench::new();
    bench.expect_read(data::CHUID, "6D00");
    let answer = bench.run(|piv, card| piv.contents(card));
    assert_eq!(answer, Err(Failure::Status(Status(0x6d00))));

    // One that says something odd of the first container is asked whether it is PIV.
    let bench = Bench::new();
    bench.expect_read(data::CHUID, "6985");
    bench.expect_read(
        data::DISCOVERY,
        "7E124F0BA0000003080000100001005F2F0240009000",
    );
    bench.expect_none(data::KEY_HISTORY);
    for slot in Slot::ACTIVE {
        bench.expect_none(&slot.certificate_tag());
    }
    bench.run(|piv, card| piv.contents(card)).unwrap();
    let bench = Bench::new();
    bench.expect_read(data::CHUID, "6985");
    bench.expect_read(data::DISCOVERY, "6985");
    let answer = bench.run(|piv, card| piv.contents(card));
    assert_eq!(answer, Err(Failure::Status(Status(0x6985))));

    // One that knows its own containers may say what it likes of others.
    let bench = Bench::new();
    bench.expect_content(data::CHUID, &holder(false));
    bench.expect_read(data::KEY_HISTORY, "6A81");
    for slot in Slot::ACTIVE {
        bench.expect_read(&slot.certificate_tag(), "6982");
    }
    let items = bench.run(|piv, card| piv.contents(card)).unwrap();
    assert_eq!(keys(&items).len(), 0);
}

#[test]
fn whatever_a_card_answers_nothing_panics() {
    let seed = 0x5eed_u64;
    let mut state = seed;
    let mut next = move || {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    };
    let good: Arc<[Vec<u8>]> = Arc::new([
        tlv::encode(0x53, &holder(true)).to_vec(),
        tlv::encode(
            0x53,
            container::certificate(&certificate(1, "Jane")).as_bytes(),
        )
        .to_vec(),
        bytes("7E124F0BA0000003080000100001005F2F026020"),
        bytes("5308C10103C20100FE00"),
        bytes("7C0A82083006020101020102"),
        bytes("010111020201010301010403860104"),
    ]);
    let mut with_keys = 0;
    for round in 0..1000 {
        let atr = if round % 2 == 0 { YUBIKEY } else { "3B800181" };
        let bench = Bench::over(Wire::new().with_atr(atr));
        let good = good.clone();
        let mut turn = next();
        bench.wire.answer_by(move |_| {
            turn = turn.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            let pick = |range: usize, shift: u32| (turn >> shift) as usize % range;
            let mut answer = good[pick(good.len(), 20)].clone();
            for change in 0..pick(4, 30) as u32 {
                let at = pick(answer.len(), 33 + change);
                answer[at] = turn.to_be_bytes()[change as usize];
            }
            if pick(5, 40) == 0 {
                answer.truncate(pick(answer.len(), 44));
            }
            let status = [0x9000_u16, 0x9000, 0x9000, 0x6a82, 0x6d00, 0x6982, 0x63c2];
            answer.extend(status[pick(status.len(), 50)].to_be_bytes());
            Ok(answer)
        });
        let mut card = bench.card.transaction().unwrap();
        let piv = &bench.piv;
        let _ = piv.identity(&mut card);
        let _ = piv.info(&mut card);
        let _ = piv.tries(&mut card, Role::User);
        let _ = piv.is_selected(&mut card);
        let items = piv.contents(&mut card).unwrap_or_default();
        with_keys += usize::from(!keys(&items).is_empty());
        for found in keys(&items) {
            let mut room = [0; 1024];
            for how in [KeyAlgorithm::EcdsaDigest, KeyAlgorithm::RsaRaw] {
                let _ = piv.sign(&mut card, found, how, &[1; 32], &mut room);
            }
        }
        for item in &items {
            let _ = piv.read(&mut card, item.id());
        }
        let wanted = NewKey {
            key_type: KeyType::Rsa { bits: 2048 },
            identity: None,
            label: None,
        };
        let _ = piv.generate_key(&mut card, &[], &wanted);
        let _ = piv.verify(&mut card, Role::Admin, None, &[b'1'; 48]);
    }
    // What is changed at random is not refused at the door.
    assert!(with_keys > 100, "{with_keys}");
}

#[test]
fn the_discovery_object_of_another_applet_proves_nothing() {
    let bench = Bench::new();
    let id = data::object(data::DISCOVERY, None).unwrap().id;
    bench.expect_read(data::DISCOVERY, "7E08 4F06 D27600012401 9000");
    let proven = bench.run(|piv, card| {
        let read = piv.read(card, &id);
        assert_eq!(read, Err(Failure::Status(Status::FILE_NOT_FOUND)));
        card.is_proven(&ROW)
    });
    assert!(!proven);

    let discovery = "7E124F0BA0000003080000100001005F2F024000";
    bench.expect_read(data::DISCOVERY, &format!("{discovery}9000"));
    let proven = bench.run(|piv, card| {
        assert_eq!(piv.read(card, &id), Ok(bytes(discovery)));
        card.is_proven(&ROW)
    });
    assert!(proven);
}
