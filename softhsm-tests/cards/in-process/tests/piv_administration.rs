//! PIV cards are made ready for use, and their PINs changed and unblocked, by the product alone.

mod support;

use ctk_token::{AuthSecret, Curve, KeyType, NewKey, PinState, Role, TokenDriver as _, TokenError};
use in_process::{Bench, Reader};
use support::{MANAGEMENT_KEY, PIN, PUK, Program, certificate, insert};
use virtual_cards::{Applet, Memory, Model, personalise::Profile};

fn new_key(key_type: KeyType, identity: &[u8]) -> NewKey<'_> {
    NewKey {
        key_type,
        identity: Some(identity),
        label: None,
    }
}

/// As it comes from the factory.
fn blank() -> Reader {
    let mut model = Model::default();
    model.applets = vec![Applet::Piv];
    Reader::new(virtual_cards::Card::new(Memory::new(7), model))
}

#[test]
fn an_empty_card_becomes_one_with_keys_and_certificates() {
    let reader = blank();
    {
        let program = Program::start(&reader);
        assert_eq!(program.token.info().label, "PIV_II");
        assert_eq!(program.identities(), []);
        let key = new_key(KeyType::Ec(Curve::P256), &[1]);
        let early = program.session.generate_key(&key);
        assert_eq!(early, Err(TokenError::AuthenticationNeeded));

        program.log_in(Role::Admin, MANAGEMENT_KEY).unwrap();
        program.session.personalize().unwrap();
        assert_ne!(program.token.info().serial_number, "00000000");
        for (identity, key_type) in [
            (1, KeyType::Ec(Curve::P256)),
            (2, KeyType::Ec(Curve::P384)),
            (3, KeyType::Ec(Curve::P256)),
            (5, KeyType::Rsa { bits: 2048 }),
        ] {
            let identity = [identity];
            let wanted = new_key(key_type, &identity);
            let id = program.session.generate_key(&wanted).unwrap();
            let key = program.key(identity[0]);
            assert_eq!((key.id.clone(), key.public_key.key_type()), (id, key_type));
        }
        assert_eq!(program.certified(), []);

        // A key without certificate signs, for the request of one.
        program.log_in(Role::User, PIN).unwrap();
        program.sign(&program.key(1)).unwrap();
        program.sign(&program.key(5)).unwrap();
        program.agree(&program.key(3)).unwrap();

        for identity in [1, 2, 3, 5] {
            let public_key = program.key(identity).public_key;
            let named = [identity];
            let identity = (identity != 3).then_some(&named[..]);
            program.certify(identity, &public_key).unwrap();
        }
        assert_eq!(program.certified(), [1, 2, 3, 5]);
    }

    let program = Program::start(&reader);
    assert_eq!(program.token.info().label, "Jane Doe");
    assert_eq!(program.identities(), [1, 2, 3, 5]);
    assert_eq!(program.certified(), [1, 2, 3, 5]);
    program.log_in(Role::User, PIN).unwrap();
    program.sign(&program.key(1)).unwrap();
    program.agree(&program.key(3)).unwrap();
    let signing = program.key(2);
    program.log_in_for(&signing).unwrap();
    program.sign(&signing).unwrap();
}

#[test]
fn a_new_key_takes_the_old_one_s_place_everywhere() {
    let reader = insert(&Bench::new(Profile::PivFour), true);
    let program = Program::start(&reader);
    let old = program.key(2).public_key;
    program.log_in(Role::Admin, MANAGEMENT_KEY).unwrap();
    let wanted = new_key(KeyType::Ec(Curve::P256), &[2]);
    program.session.generate_key(&wanted).unwrap();
    let new = program.key(2);
    assert_ne!(new.public_key, old);
    assert_eq!(new.subject, None);
    assert_eq!(program.certified(), [1, 3, 4]);
    program.log_in_for(&new).unwrap();
    program.sign(&new).unwrap();
    // Nobody sees the old certificate beside the new key.
    assert_eq!(Program::start(&reader).certified(), [1, 3, 4]);

    let of_another = program.certify(Some(&[2]), &old);
    assert_eq!(of_another, Err(TokenError::DataInvalid));
    program.certify(Some(&[2]), &new.public_key).unwrap();
    assert_eq!(program.certified(), [1, 2, 3, 4]);
    assert_eq!(program.key(2).public_key, new.public_key);

    // A card with a key in each place has none for another.
    let anywhere = NewKey {
        identity: None,
        ..wanted
    };
    let full = program.session.generate_key(&anywhere);
    assert_eq!(full, Err(TokenError::NoSpace));
    let unknown = new_key(KeyType::Ec(Curve::P521), &[2]);
    let unknown = program.session.generate_key(&unknown);
    assert_eq!(unknown, Err(TokenError::BadParameter));
}

#[test]
fn a_key_that_waits_for_its_certificate_is_not_destroyed_unasked() {
    let reader = blank();
    let anywhere = NewKey {
        key_type: KeyType::Ec(Curve::P256),
        identity: None,
        label: None,
    };
    let key = {
        let program = Program::start(&reader);
        program.log_in(Role::Admin, MANAGEMENT_KEY).unwrap();
        let wanted = new_key(KeyType::Ec(Curve::P256), &[1]);
        program.session.generate_key(&wanted).unwrap();
        program.key(1)
    };
    // The next program knows nothing of it, and the card does not tell.
    let program = Program::start(&reader);
    assert_eq!(program.identities(), []);
    program.log_in(Role::Admin, MANAGEMENT_KEY).unwrap();
    assert_eq!(program.session.is_free(&[1]), Ok(false));
    let unasked = program.session.generate_key(&anywhere);
    assert_eq!(unasked, Err(TokenError::ObjectNotFound));
    program.certify(Some(&[1]), &key.public_key).unwrap();
    program.log_in(Role::User, PIN).unwrap();
    program.sign(&program.key(1)).unwrap();
}

#[test]
fn a_wrong_certificate_is_refused_and_one_that_is_there_can_go() {
    let reader = insert(&Bench::new(Profile::PivFour), false);
    let program = Program::start(&reader);
    let (right, wrong) = (program.key(2).public_key, program.key(3).public_key);
    program.log_in(Role::Admin, MANAGEMENT_KEY).unwrap();
    let refused = program.certify(Some(&[2]), &wrong);
    assert_eq!(refused, Err(TokenError::DataInvalid));
    assert_eq!(program.key(2).public_key, right);
    // Whoever means it deletes first, and back again: what a certificate has told of the key goes with it.
    for next in [wrong, right] {
        let contents = program.token.contents();
        let mut certificates = contents.certificates();
        let old = certificates.find(|found| found.identity == [2]).unwrap();
        program.session.delete(&old.id).unwrap();
        program.certify(Some(&[2]), &next).unwrap();
        assert_eq!(program.key(2).public_key, next);
        assert_eq!(program.certified(), [1, 2, 3, 4]);
    }
}

#[test]
fn certificates_come_and_go_and_keys_stay() {
    let reader = insert(&Bench::new(Profile::PivFour), false);
    let program = Program::start(&reader);
    let key = program.key(1);
    program.log_in(Role::Admin, MANAGEMENT_KEY).unwrap();
    let contents = program.token.contents();
    let old = contents.certificates().next().unwrap().clone();
    program.session.delete(&old.id).unwrap();
    assert_eq!(program.certified(), [2, 3, 4]);
    assert_eq!(program.key(1).public_key, key.public_key);
    program.log_in(Role::User, PIN).unwrap();
    program.sign(&program.key(1)).unwrap();
    // Longer than a short command, and than any real one.
    let long = certificate(&key.public_key, 2500);
    program
        .session
        .import_certificate(Some(&[1]), &long)
        .unwrap();
    assert_eq!(program.certified(), [1, 2, 3, 4]);
    let another = Program::start(&reader);
    let found = another.token.contents();
    assert_eq!(found.certificates().next().unwrap().der, long);

    let kept = program.session.delete(&key.id);
    assert!(matches!(kept, Err(TokenError::ReadOnly(_))), "{kept:?}");
    let nonsense = program.session.import_certificate(Some(&[1]), b"nonsense");
    assert_eq!(nonsense, Err(TokenError::DataInvalid));
}

#[test]
fn a_wrong_management_key_opens_nothing() {
    let reader = blank();
    let program = Program::start(&reader);
    let failed = Err(TokenError::AuthenticationFailed { tries: None });
    let wrong = b"020203040506070801020304050607080102030405060708";
    assert_eq!(program.log_in(Role::Admin, wrong), failed);
    // A cipher that the card's key is not for.
    assert_eq!(program.log_in(Role::Admin, &[b'1'; 64]), failed);
    assert_eq!(program.log_in(Role::Admin, &[b'1'; 32]), failed);
    assert_eq!(program.log_in(Role::Admin, &[b'x'; 48]), failed);
    let length = program.log_in(Role::Admin, &[b'1'; 40]);
    assert!(matches!(length, Err(TokenError::PinLength { .. })));
    let closed = program.session.personalize();
    assert_eq!(closed, Err(TokenError::AuthenticationNeeded));
    program.log_in(Role::Admin, MANAGEMENT_KEY).unwrap();
    program.session.personalize().unwrap();
}

#[test]
fn a_management_key_is_replaced_by_a_longer_one() {
    let reader = blank();
    let program = Program::start(&reader);
    let longer = b"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    let old = AuthSecret::Pin(MANAGEMENT_KEY);
    program
        .session
        .change_pin(Role::Admin, old, longer)
        .unwrap();
    // It was shown to change it, and nobody is the administrator by that.
    let answer = reader.meanwhile(|card| {
        let put = [0, 0xdb, 0x3f, 0xff, 7, 0x5c, 3, 0x5f, 0xc1, 5, 0x53, 0];
        let select = [&[0, 0xa4, 4, 0, 11][..], Applet::Piv.aid()].concat();
        let before = card.transmit(&put).expect("an answer");
        card.transmit(&select).expect("an answer");
        [before, card.transmit(&put).expect("an answer")]
    });
    assert!(answer.iter().all(|answer| !answer.ends_with(&[0x90, 0])));
    let failed = Err(TokenError::AuthenticationFailed { tries: None });
    assert_eq!(program.log_in(Role::Admin, MANAGEMENT_KEY), failed);
    program.log_in(Role::Admin, longer).unwrap();
    program.session.personalize().unwrap();
}

#[test]
fn a_locked_pin_is_unlocked_by_the_puk() {
    let reader = insert(&Bench::new(Profile::PivOne), true);
    let program = Program::start(&reader);
    let mut last = None;
    for _ in 0..20 {
        let answer = program.log_in(Role::User, b"654321");
        match answer {
            Err(TokenError::AuthenticationFailed { tries: Some(left) }) => {
                assert!(last.is_none_or(|last| left + 1 == last));
                assert_eq!(program.token.tries_left(Role::User), Some(left));
                last = Some(left);
            }
            Err(TokenError::PinLocked) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(last, Some(1));
    assert_eq!(program.token.info().user_pin, PinState::Locked);
    assert_eq!(program.log_in(Role::User, PIN), Err(TokenError::PinLocked));
    let another = Program::start(&reader);
    assert_eq!(another.token.info().user_pin, PinState::Locked);

    program.log_in(Role::Admin, b"87654321").unwrap();
    let wrong = program.session.unblock_pin(b"112233");
    assert!(
        matches!(
            wrong,
            Err(TokenError::AuthenticationFailed { tries: Some(_) })
        ),
        "{wrong:?}"
    );
    program.log_in(Role::Admin, PUK).unwrap();
    program.session.unblock_pin(b"112233").unwrap();
    program.log_in(Role::User, b"112233").unwrap();
    program.sign(&program.key(1)).unwrap();
}

#[test]
fn pin_and_puk_are_changed() {
    let reader = insert(&Bench::new(Profile::PivOne), true);
    let program = Program::start(&reader);
    let wrong = AuthSecret::Pin(b"654321");
    let changed = program.session.change_pin(Role::User, wrong, b"112233");
    assert!(matches!(
        changed,
        Err(TokenError::AuthenticationFailed { tries: Some(_) })
    ));
    let right = AuthSecret::Pin(PIN);
    let short = program.session.change_pin(Role::User, right, b"11223");
    assert!(matches!(
        short,
        Err(TokenError::PinLength { min: 6, max: 8 })
    ));
    program
        .session
        .change_pin(Role::User, right, b"112233")
        .unwrap();
    program.log_in(Role::User, b"112233").unwrap();
    program.sign(&program.key(1)).unwrap();

    let puk = AuthSecret::Pin(PUK);
    program
        .session
        .change_pin(Role::Admin, puk, b"11223344")
        .unwrap();
    program.log_in(Role::Admin, b"11223344").unwrap();
    program.session.unblock_pin(PIN).unwrap();
    program.log_in(Role::User, PIN).unwrap();
}

/// The card goes silent in the middle of the generation of a key.
#[test]
fn a_card_that_goes_silent_is_an_error_and_not_for_ever() {
    let reader = insert(&Bench::new(Profile::PivOne), true);
    let program = Program::start(&reader);
    program.log_in(Role::User, PIN).unwrap();
    let key = program.key(1);
    reader.meanwhile(|card| card.faults().cut_in_key_operation());
    let cut = program.sign(&key);
    assert!(
        matches!(
            cut,
            Err(TokenError::Unreachable(_) | TokenError::TimedOut | TokenError::Corrupted(_))
        ),
        "{cut:?}"
    );
    // Its power came back, and nobody is logged in.
    let again = program.sign(&key);
    assert!(
        matches!(
            again,
            Err(TokenError::StateLost | TokenError::AuthenticationNeeded)
        ),
        "{again:?}"
    );
    program.log_in(Role::User, PIN).unwrap();
    program.sign(&key).unwrap();
    assert_eq!(reader.driver().slots().len(), 1);
}
