//! PIN, PUK and management key: what is sent, and what the answers mean.

use super::*;

#[test]
fn a_pin_is_filled_up_and_its_tries_are_told() {
    let bench = Bench::new();
    bench.expect_content(data::CHUID, &holder(false));
    bench.expect_none(data::DISCOVERY);
    bench.wire.expect("0020008008 313233343536FFFF", "9000");
    let verify =
        |piv: &Piv, card: &mut Transaction<'_>, pin: &[u8]| piv.verify(card, Role::User, None, pin);
    bench.run(|piv, card| verify(piv, card, b"123456")).unwrap();

    for (answer, error) in [
        ("63C2", TokenError::AuthenticationFailed { tries: Some(2) }),
        ("63C0", TokenError::PinLocked),
        ("6983", TokenError::PinLocked),
        ("6300", TokenError::AuthenticationFailed { tries: None }),
        ("6A80", TokenError::AuthenticationFailed { tries: None }),
    ] {
        let bench = Bench::new();
        bench.expect_content(data::CHUID, &holder(false));
        bench.wire.expect("00200080", "63C3");
        bench.run(|piv, card| piv.tries(card, Role::User)).unwrap();
        bench.wire.expect("0020008008 3635343332312AFF", answer);
        if error != TokenError::PinLocked {
            // Whatever becomes of the question, the PIN was wrong.
            bench.expect_read(data::DISCOVERY, "6F00");
        }
        let answer = bench.run(|piv, card| verify(piv, card, b"654321*"));
        assert_eq!(answer, Err(error.into()));
    }

    // Nothing is sent of what could never be right.
    let bench = Bench::new();
    for pin in [&b"12345"[..], b"123456789", b"12345\xff"] {
        let answer = bench.run(|piv, card| verify(piv, card, pin));
        let wrong = TokenError::AuthenticationFailed { tries: None };
        assert_eq!(answer, Err(wrong.into()));
    }
}

#[test]
fn a_federal_card_is_asked_for_its_global_pin() {
    let discovery = "7E124F0BA0000003080000100001005F2F0260209000";
    let bench = Bench::new();
    bench
        .expect_content(data::CHUID, &holder(true))
        .expect_certificate(Slot::Authentication, &certificate(1, "Jane Doe"))
        .expect_read(data::DISCOVERY, discovery);
    let info = bench.run(|piv, card| piv.info(card)).unwrap();
    assert_eq!(info.label, "Jane Doe (Global PIN)");
    bench.wire.expect("0020000008 313233343536FFFF", "9000");
    let verified = bench.run(|piv, card| piv.verify(card, Role::User, None, b"123456"));
    verified.unwrap();
    let (template, offset) = bench.piv.verify_template(Role::User, None).unwrap();
    assert_eq!(
        (hex(&template), offset),
        ("0020000008FFFFFFFFFFFFFFFF".into(), 5)
    );
    // PUKs are not for it.
    let unblocked = bench.run(|piv, card| piv.unblock(card, Some(b"12345678"), b"123456"));
    assert_eq!(unblocked, Err(TokenError::NotSupported.into()));

    // A card of somebody else is asked as soon as its own PIN looks unused.
    let bench = Bench::new();
    bench.expect_content(data::CHUID, &holder(false));
    bench.wire.expect("00200080", "63C2");
    bench.expect_read(data::DISCOVERY, discovery);
    bench.wire.expect("00200000", "63C7");
    let tries = bench.run(|piv, card| piv.tries(card, Role::User)).unwrap();
    assert_eq!(tries.unwrap().left, Some(7));

    // So is one with more tries than is customary, and one whose tries nobody has looked at: the right PIN costs none.
    for asks_before in [true, false] {
        let bench = Bench::new();
        bench.expect_content(data::CHUID, &holder(false));
        if asks_before {
            bench.wire.expect("00200080", "63CA");
            bench.expect_read(data::DISCOVERY, discovery);
            bench.wire.expect("00200000", "63CA");
            bench.run(|piv, card| piv.tries(card, Role::User)).unwrap();
        } else {
            bench.expect_read(data::DISCOVERY, discovery);
        }
        bench.wire.expect("0020000008 313233343536FFFF", "9000");
        let verified = bench.run(|piv, card| piv.verify(card, Role::User, None, b"123456"));
        verified.unwrap();
    }
}

#[test]
fn a_federal_card_that_does_not_say_which_pin_it_wants_gets_none() {
    for answer in ["6F00", "6581", "6982", ""] {
        let bench = Bench::new();
        bench.expect_content(data::CHUID, &holder(true));
        bench.expect_read(data::DISCOVERY, answer);
        let verify =
            |piv: &Piv, card: &mut Transaction<'_>| piv.verify(card, Role::User, None, b"123456");
        let refused = bench.run(verify);
        assert!(matches!(
            refused,
            Err(Failure::Token(TokenError::Corrupted(_)))
        ));
        // It is asked again, and then has none.
        bench.expect_read(data::DISCOVERY, "6A80");
        bench.wire.expect("0020008008 313233343536FFFF", "9000");
        bench.run(verify).unwrap();

        // Any other card is very probably one with a PIN of the applet's own.
        let bench = Bench::new();
        bench.expect_content(data::CHUID, &holder(false));
        bench.expect_read(data::DISCOVERY, answer);
        bench.wire.expect("0020008008 313233343536FFFF", "9000");
        bench.run(verify).unwrap();

        // The label does not depend on it.
        let bench = Bench::new();
        bench
            .expect_content(data::CHUID, &holder(true))
            .expect_certificate(Slot::Authentication, &certificate(1, "Jane Doe"))
            .expect_read(data::DISCOVERY, answer);
        let info = bench.run(|piv, card| piv.info(card)).unwrap();
        assert_eq!(info.label, "Jane Doe");
        // A PIN of such a card has digits only.
        assert!(bench.piv.secret_form(Role::User).unwrap().digits_only);
        assert!(!bench.piv.secret_form(Role::Unblock).unwrap().digits_only);
    }
}

#[test]
fn a_new_pin_that_the_card_could_not_take_back_is_not_sent() {
    let invalid = Err(Failure::Token(TokenError::DataInvalid));
    let bench = Bench::new();
    bench.expect_content(data::CHUID, &holder(false));
    bench.expect_none(data::DISCOVERY);
    let change = |piv: &Piv, card: &mut Transaction<'_>| {
        piv.change_secret(card, Role::User, b"123456", b"abcdef")
    };
    assert_eq!(bench.run(change), invalid);
    let unblock =
        |piv: &Piv, card: &mut Transaction<'_>| piv.unblock(card, Some(b"12345678"), b"abcdef");
    assert_eq!(bench.run(unblock), invalid);

    // YubiKeys take anything.
    let bench = Bench::yubikey();
    bench.expect_content(data::CHUID, &holder(false));
    let blocks = "313233343536FFFF 616263646566FFFF";
    bench.wire.expect(&format!("0024008010{blocks}"), "9000");
    bench.run(change).unwrap();
}

#[test]
fn a_wrong_old_pin_may_be_one_for_the_global_reference() {
    let bench = Bench::new();
    bench.expect_content(data::CHUID, &holder(false));
    bench.wire.expect("00200080", "63C3");
    bench.run(|piv, card| piv.tries(card, Role::User)).unwrap();
    let change = |piv: &Piv, card: &mut Transaction<'_>| {
        piv.change_secret(card, Role::User, b"123456", b"654321")
    };
    let blocks = "313233343536FFFF 363534333231FFFF";
    bench.wire.expect(&format!("0024008010{blocks}"), "63C2");
    let discovery = "7E124F0BA0000003080000100001005F2F0260209000";
    bench.expect_read(data::DISCOVERY, discovery);
    let wrong = TokenError::AuthenticationFailed { tries: Some(2) };
    assert_eq!(bench.run(change), Err(wrong.into()));
    bench.wire.expect(&format!("0024000010{blocks}"), "9000");
    bench.run(change).unwrap();
}

#[test]
fn a_login_ends_by_command_where_the_card_has_one() {
    for (answer, ends) in [("9000", true), ("6A86", false), ("6D00", false)] {
        let bench = Bench::new();
        bench.wire.expect("0020FF80", answer);
        assert_eq!(
            bench.run(|piv, card| piv.forget(card, Role::User)),
            Ok(ends)
        );
    }
    let bench = Bench::new();
    assert_eq!(
        bench.run(|piv, card| piv.forget(card, Role::Admin)),
        Ok(false)
    );
}

#[test]
fn secrets_are_replaced() {
    let old_and_new = "313233343536FFFF 363534333231FFFF";
    let change = |role| {
        let bench = Bench::new();
        let reference = if role == Role::User {
            bench.expect_content(data::CHUID, &holder(false));
            bench.expect_none(data::DISCOVERY);
            "80"
        } else {
            "81"
        };
        (bench, format!("002400{reference}10{old_and_new}"))
    };
    for role in [Role::User, Role::Admin, Role::Unblock] {
        for (answer, result) in [
            ("9000", Ok(())),
            (
                "63C1",
                Err(TokenError::AuthenticationFailed { tries: Some(1) }),
            ),
            ("6983", Err(TokenError::PinLocked)),
            ("6A80", Err(TokenError::DataInvalid)),
        ] {
            let (bench, command) = change(role);
            bench.wire.expect(&command, answer);
            let changed =
                bench.run(|piv, card| piv.change_secret(card, role, b"123456", b"654321"));
            assert_eq!(changed, result.map_err(Failure::from));
        }
    }

    let bench = Bench::new();
    bench.expect_content(data::CHUID, &holder(false));
    bench.expect_none(data::DISCOVERY);
    bench
        .wire
        .expect("002C008010 3132333435363738 313233343536FFFF", "9000");
    let unblocked = bench.run(|piv, card| piv.unblock(card, Some(b"12345678"), b"123456"));
    unblocked.unwrap();
    let unblocked = bench.run(|piv, card| piv.unblock(card, None, b"123456"));
    assert_eq!(unblocked, Err(TokenError::NotSupported.into()));
    assert!(bench.piv.is_unblocking_secret(b"12345678"));
    assert!(!bench.piv.is_unblocking_secret(&[b'0'; 48]));
}

/// A card whose management key is the well-known one, with this cipher; `lies` about knowing it.
fn with_management_key(algorithm: u8, block: usize, lies: bool) -> Bench {
    with_response_under(0x82, algorithm, block, lies)
}

/// Such a card that gives its response under this tag.
fn with_response_under(tag: u32, algorithm: u8, block: usize, lies: bool) -> Bench {
    use ctk_crypto::{CipherMode, CipherStream};

    let bench = Bench::new();
    let crypt = move |is_encryption: bool, input: &[u8]| {
        let key = bytes(&"0102030405060708".repeat(3));
        let (mode, iv) = match block {
            8 => (CipherMode::DesEde3Cbc, &[0; 8][..]),
            _ => (CipherMode::AesEcb, &[][..]),
        };
        let mut cipher = match is_encryption {
            true => CipherStream::encrypt(&mode, &key, iv),
            false => CipherStream::decrypt(&mode, &key, iv),
        }
        .unwrap();
        let mut output = vec![0; input.len()];
        assert_eq!(cipher.update(input, &mut output), Ok(input.len()));
        output
    };
    let witness: Vec<u8> = (0..block as u8).collect();
    bench.wire.answer_by(move |command| {
        match command[1] {
            0xa4 => return Ok(bytes("9000")),
            0xff => return Ok(bytes("6D00")),
            _ => {}
        }
        let data = &command[5..5 + usize::from(command[4])];
        let template = tlv::find(data, 0x7c).unwrap().unwrap();
        let part = |tag| tlv::find(template, tag).unwrap();
        assert_eq!((command[1], command[3]), (0x87, 0x9b));
        if command[2] != algorithm {
            return Ok(bytes("6A86"));
        }
        let answered = match (part(0x80), part(0x81)) {
            (Some([]), None) => Writer::new().put(0x80, &crypt(true, &witness)),
            (Some(shown), Some(challenge)) if shown == witness => {
                let mut response = crypt(true, challenge);
                response[0] ^= u8::from(lies);
                Writer::new().put(tag, &response)
            }
            (Some(_), Some(_)) => return Ok(bytes("6982")),
            other => panic!("{other:?}"),
        };
        let answer = Writer::new().nest(0x7c, &answered);
        Ok([answer.as_bytes(), &[0x90, 0]].concat())
    });
    bench
}

#[test]
fn an_administrator_and_the_card_prove_to_each_other_that_they_know_the_key() {
    let right = b"010203040506070801020304050607080102030405060708";
    let wrong = b"020203040506070801020304050607080102030405060708";
    for (algorithm, block, commands) in [(0x03, 8, 2), (0x0a, 16, 3)] {
        let verify = |bench: &Bench, digits: &[u8]| {
            bench.run(|piv, card| piv.verify(card, Role::Admin, None, digits))
        };
        let bench = with_management_key(algorithm, block, false);
        assert_eq!(verify(&bench, right), Ok(()));
        assert_eq!(bench.wire.count(), commands);
        let failed = TokenError::AuthenticationFailed { tries: None };
        assert_eq!(verify(&bench, wrong), Err(failed.clone().into()));
        // Of a cipher that the card's key is not for.
        assert_eq!(verify(&bench, &[b'1'; 64]), Err(failed.into()));

        // Some cards answer under the tag of the witness.
        let bench = with_response_under(0x80, algorithm, block, false);
        assert_eq!(verify(&bench, right), Ok(()));

        let bench = with_management_key(algorithm, block, true);
        let lied = verify(&bench, right);
        assert!(matches!(
            lied,
            Err(Failure::Token(TokenError::Corrupted(_)))
        ));
    }
}

#[test]
fn a_witness_of_another_length_is_no_witness() {
    for answer in ["7C02 8000", "7C09 8007 01020304050607", "7C00", "", "8008"] {
        let bench = Bench::new();
        bench
            .wire
            .expect("0087039B04 7C028000 00", &format!("{answer}9000"));
        let digits = [b'1'; 48];
        let verified = bench.run(|piv, card| piv.verify(card, Role::Admin, None, &digits));
        assert!(
            matches!(verified, Err(Failure::Token(TokenError::Corrupted(_)))),
            "{answer}"
        );
    }
}

#[test]
fn a_yubikey_s_management_key_is_changed() {
    let bench = with_management_key(0x03, 8, false);
    let old = b"010203040506070801020304050607080102030405060708";
    let short = bench.run(|piv, card| piv.change_secret(card, Role::Admin, old, b"12345678"));
    assert_eq!(short, Err(TokenError::DataInvalid.into()));

    // The card shows that it knows the key, and does not know the command: the administrator is out again.
    let longer = [b'1'; 64];
    let refused = bench.run(|piv, card| piv.change_secret(card, Role::Admin, old, &longer));
    assert_eq!(refused, Err(Failure::Status(Status(0x6d00))));
    assert_eq!(bench.wire.sent().last().unwrap()[..8], *"00A40400");
}
