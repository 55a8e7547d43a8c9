//! PINs: what is sent, once, and what is never sent.

use ctk_token::{PinState, Role, TokenError};

use super::{super::OpenPgp, *};
use crate::{
    applet::{Applet, Failure, Tries},
    status::Status,
};

fn failed(tries: u32) -> Failure {
    TokenError::AuthenticationFailed { tries: Some(tries) }.into()
}

/// Verifies a PIN with a card that is to be sent these commands, and nothing else.
fn verified(
    said: &Said,
    commands: &[(&str, &str)],
    role: Role,
    key: Option<Place>,
    pin: &[u8],
) -> crate::applet::Result<()> {
    let wire = Wire::new();
    let card = asked(&wire, said);
    for (command, answer) in commands {
        wire.expect(command, answer);
    }
    let applet = OpenPgp::default();
    let mut transaction = opened(&card, &applet);
    let key = key.map(Place::key_id);
    let answer = applet.verify(&mut transaction, role, key.as_ref(), pin);
    drop(transaction);
    wire.finish();
    answer
}

#[test]
fn a_login_is_for_both_modes() {
    let commands = [
        ("00200082 06 313233343536", "9000"),
        ("00200081 06 313233343536", "9000"),
    ];
    let answer = verified(&Said::default(), &commands, Role::User, None, b"123456");
    assert_eq!(answer, Ok(()));
}

#[test]
fn a_forced_pin_is_for_one_signature_only() {
    let said = Said {
        pins: [0, 127, 127, 127, 3, 0, 3],
        ..Said::default()
    };
    let login = [("00200082 06 313233343536", "9000")];
    assert_eq!(verified(&said, &login, Role::User, None, b"123456"), Ok(()));
    let context = [("00200081 06 313233343536", "9000")];
    let signature = Some(Place::Signature);
    let answer = verified(&said, &context, Role::Context, signature, b"123456");
    assert_eq!(answer, Ok(()));
}

#[test]
fn a_wrong_pin_is_sent_once() {
    let verify = "00200082 06 313233343537";
    let user = |commands: &[(&str, &str)]| {
        verified(&Said::default(), commands, Role::User, None, b"123457")
    };
    // Cards of the specification keep the tries for who asks; others tell them.
    let asked = [(verify, "6982"), ("00CA00C400", "017F7F7F0200039000")];
    assert_eq!(user(&asked), Err(failed(2)));
    assert_eq!(user(&[(verify, "63C1")]), Err(failed(1)));
    let locked = Err(TokenError::PinLocked.into());
    assert_eq!(user(&[(verify, "63C0")]), locked);
    assert_eq!(user(&[(verify, "6983")]), locked);
    let last = [(verify, "6982"), ("00CA00C400", "C407017F7F7F0000039000")];
    assert_eq!(user(&last), locked);
    let unknown = [(verify, "6982"), ("00CA00C400", "6A88")];
    let failed = TokenError::AuthenticationFailed { tries: None };
    assert_eq!(user(&unknown), Err(failed.into()));
    assert_eq!(
        user(&[(verify, "6D00")]),
        Err(Failure::Status(Status(0x6D00)))
    );
}

#[test]
fn half_a_login_is_none() {
    let commands = [
        ("00200082 06 313233343536", "9000"),
        ("00200081 06 313233343536", "63C2"),
        ("0020FF82", "9000"),
    ];
    let answer = verified(&Said::default(), &commands, Role::User, None, b"123456");
    assert_eq!(answer, Err(failed(2)));
    let stays = [commands[0], commands[1], ("0020FF82", "6B00")];
    let answer = verified(&Said::default(), &stays, Role::User, None, b"123456");
    assert!(
        matches!(answer, Err(Failure::Token(TokenError::Corrupted(_)))),
        "nobody may think that the card is not logged in: {answer:?}"
    );
}

#[test]
fn the_administrator_has_a_pin() {
    let right = [("00200083 08 3132333435363738", "9000")];
    let admin = |commands: &[(&str, &str)]| {
        verified(&Said::default(), commands, Role::Admin, None, b"12345678")
    };
    assert_eq!(admin(&right), Ok(()));
    let wrong = [(right[0].0, "6982"), ("00CA00C400", "017F7F7F0300019000")];
    assert_eq!(admin(&wrong), Err(failed(1)));
    let nothing_sent = verified(&Said::default(), &[], Role::Unblock, None, b"12345678");
    assert_eq!(nothing_sent, Err(TokenError::NotSupported.into()));
}

fn with_kdf() -> Said {
    Said {
        capabilities: [0x7D, 0, 0, 0xFF, 8, 0, 8, 0, 0, 1],
        ..Said::default()
    }
}

#[test]
fn a_pin_is_hashed_where_the_card_wants_it() {
    let kdf = tlv::Writer::new()
        .put(0x81, &[3])
        .put(0x82, &[8])
        .put(0x83, &100_000_u32.to_be_bytes())
        .put(0x84, b"01234567");
    let kdf = ok(&tlv::encode(0xF9, kdf.as_bytes()));
    let hash = "773784A602B6C81E3F092F4D7D00E17CC822D88F7360FCF2D2EF2D9D901F44B6";
    let commands = [
        ("00CA00F900", &*kdf),
        (&*format!("0020008220{hash}"), "9000"),
        (&*format!("0020008120{hash}"), "9000"),
    ];
    let answer = verified(&with_kdf(), &commands, Role::User, None, b"123456");
    assert_eq!(answer, Ok(()));
}

#[test]
fn an_unknown_kdf_gets_no_pin() {
    let commands = [("00CA00F900", "F9038101029000")];
    let answer = verified(&with_kdf(), &commands, Role::User, None, b"123456");
    assert!(matches!(
        answer,
        Err(Failure::Token(TokenError::Corrupted(_)))
    ));
    // Neither does a card that does not tell.
    let silent = [("00CA00F900", "6F00")];
    let answer = verified(&with_kdf(), &silent, Role::User, None, b"123456");
    assert_eq!(answer, Err(Failure::Status(Status(0x6F00))));
    // One that was never told how takes it as it is.
    let plain = [
        ("00CA00F900", "6A88"),
        ("00200083 08 3132333435363738", "9000"),
    ];
    assert_eq!(
        verified(&with_kdf(), &plain, Role::Admin, None, b"12345678"),
        Ok(())
    );
}

#[test]
fn a_card_of_version_1_gets_no_pin() {
    let said = Said {
        version: [1, 1],
        ..Said::default()
    };
    let wire = Wire::new();
    let card = asked(&wire, &said);
    let applet = OpenPgp::default();
    let mut card = card.transaction().unwrap();
    let answer = applet.verify(&mut card, Role::User, None, b"123456");
    assert!(matches!(
        answer,
        Err(Failure::Token(TokenError::Corrupted(_)))
    ));
    drop(card);
    wire.finish();
}

#[test]
fn logins_are_forgotten() {
    let wire = Wire::new();
    let card = SmartCard::new(wire.link());
    let applet = OpenPgp::default();
    let forget = |role| applet.forget(&mut card.transaction().unwrap(), role);
    wire.expect("0020FF82", "9000").expect("0020FF81", "9000");
    assert_eq!(forget(Role::User), Ok(true));
    wire.expect("0020FF82", "6B00").expect("0020FF81", "9000");
    assert_eq!(forget(Role::User), Ok(false), "both must be gone");
    wire.expect("0020FF81", "9000");
    assert_eq!(forget(Role::Context), Ok(true));
    wire.expect("0020FF83", "9000");
    assert_eq!(forget(Role::Admin), Ok(true));
    wire.finish();
}

#[test]
fn tries_are_told_without_spending_one() {
    let wire = Wire::new();
    let card = SmartCard::new(wire.link());
    let applet = OpenPgp::default();
    let status = "017F7F7F0200019000";
    for (role, left, state) in [
        (Role::User, 2, PinState::CountLow),
        (Role::Admin, 1, PinState::FinalTry),
        (Role::Unblock, 0, PinState::Locked),
    ] {
        wire.expect("00CA00C400", status);
        let left = Some(left);
        let answer = applet.tries(&mut card.transaction().unwrap(), role);
        assert_eq!(answer, Ok(Some(Tries { left, state })));
    }
    wire.finish();
}

#[test]
fn tries_that_were_just_read_are_not_asked_for() {
    let said = Said {
        pins: [1, 127, 127, 127, 2, 0, 1],
        ..Said::default()
    };
    let wire = Wire::new();
    let card = asked(&wire, &said);
    let applet = OpenPgp::default();
    let mut card = card.transaction().unwrap();
    applet.identity(&mut card).unwrap();
    let mut left = |role| {
        applet
            .tries(&mut card, role)
            .unwrap()
            .and_then(|tries| tries.left)
    };
    assert_eq!((left(Role::User), left(Role::Admin)), (Some(2), Some(1)));
    wire.expect("00CA00C400", "017F7F7F0100019000");
    assert_eq!(left(Role::User), Some(1), "later");
    drop(card);
    wire.finish();
}

#[test]
fn new_pins() {
    let wire = Wire::new();
    let card = asked(&wire, &Said::default());
    let applet = OpenPgp::default();
    let mut card = opened(&card, &applet);
    wire.expect("00240081 0C 313233343536 363534333231", "9000");
    let change = |card: &mut _, role| applet.change_secret(card, role, b"123456", b"654321");
    assert_eq!(change(&mut card, Role::User), Ok(()));
    wire.expect("00240083 10 3132333435363738 3837363534333231", "6300");
    wire.expect("00CA00C400", "017F7F7F0300029000");
    let answer = applet.change_secret(&mut card, Role::Admin, b"12345678", b"87654321");
    assert_eq!(answer, Err(failed(2)));
    for role in [Role::Context, Role::Unblock] {
        assert_eq!(
            change(&mut card, role),
            Err(TokenError::NotSupported.into())
        );
    }

    wire.expect("002C0281 06 363534333231", "9000");
    assert_eq!(applet.unblock(&mut card, None, b"654321"), Ok(()));
    wire.expect("002C0081 0E 3837363534333231 363534333231", "9000");
    let code = b"resetting-code:87654321";
    assert!(applet.is_unblocking_secret(code));
    assert!(!applet.is_unblocking_secret(b"12345678"));
    assert_eq!(applet.unblock(&mut card, Some(code), b"654321"), Ok(()));
    wire.expect("002C0081 0E 3837363534333231 363534333231", "6982");
    wire.expect("00CA00C400", "017F7F7F0000039000");
    let no_tries = applet.unblock(&mut card, Some(b"87654321"), b"654321");
    assert_eq!(no_tries, Err(TokenError::PinLocked.into()));
    drop(card);
    wire.finish();
}

#[test]
fn forms_are_what_the_card_says() {
    let applet = OpenPgp::default();
    let form = |role| applet.secret_form(role).map(|form| (form.min, form.max));
    assert_eq!(form(Role::User), Ok((6, 127)));
    let said = Said {
        pins: [1, 32, 48, 64, 3, 3, 3],
        ..Said::default()
    };
    let wire = Wire::new();
    let card = asked(&wire, &said);
    drop(opened(&card, &applet));
    assert_eq!(form(Role::User), Ok((6, 32)));
    assert_eq!(form(Role::Unblock), Ok((8, 48)));
    assert_eq!(form(Role::Admin), Ok((8, 64)));

    // With the words before a resetting code it may be longer than PW3.
    let said = Said {
        pins: [1, 32, 32, 32, 3, 3, 3],
        ..Said::default()
    };
    let applet = OpenPgp::default();
    let wire = Wire::new();
    let card = asked(&wire, &said);
    let mut card = opened(&card, &applet);
    assert_eq!(
        applet.secret_form(Role::Admin).map(|form| form.max),
        Ok(32 + "resetting-code:".len())
    );
    // Each has its own length all the same, without costing a try.
    let (digits, prefix) = ([b'1'; 33], &b"resetting-code:"[..]);
    let refused = Err(TokenError::PinLength { min: 8, max: 32 }.into());
    assert_eq!(
        applet.verify(&mut card, Role::Admin, None, &digits),
        refused
    );
    for code in [&digits[..], &digits[..7]] {
        let code = [prefix, code].concat();
        assert_eq!(applet.unblock(&mut card, Some(&code), b"654321"), refused);
    }
    let change = |card: &mut _, old, new| applet.change_secret(card, Role::Admin, old, new);
    assert_eq!(change(&mut card, &digits, &digits[..8]), refused);
    assert_eq!(change(&mut card, &digits[..8], &digits), refused);
    let code = [prefix, &digits[..32]].concat();
    wire.expect(
        &format!("002C0081 26 {} 363534333231", "31".repeat(32)),
        "9000",
    );
    assert_eq!(applet.unblock(&mut card, Some(&code), b"654321"), Ok(()));
    drop(card);
    wire.finish();
}

#[test]
fn a_pin_that_is_to_be_a_block_is_not_sent() {
    for (pins, role) in [
        ([1, 0x88, 127, 127, 3, 3, 3], Role::User),
        ([1, 127, 127, 0x88, 3, 3, 3], Role::Admin),
    ] {
        let said = Said {
            pins,
            ..Said::default()
        };
        let answer = verified(&said, &[], role, None, b"12345678");
        let Err(Failure::Token(TokenError::Corrupted(reason))) = answer else {
            panic!("{answer:?}");
        };
        assert!(reason.as_str().contains("format 2"), "{reason:?}");
    }
    let said = Said {
        pins: [1, 127, 0x88, 127, 3, 3, 3],
        ..Said::default()
    };
    let login = [("00200083 08 3132333435363738", "9000")];
    let answer = verified(&said, &login, Role::Admin, None, b"12345678");
    assert_eq!(answer, Ok(()), "another secret is not one");
    let wire = Wire::new();
    let card = asked(&wire, &said);
    let applet = OpenPgp::default();
    let mut card = opened(&card, &applet);
    let code = applet.unblock(&mut card, Some(b"12345678"), b"654321");
    assert!(code.is_err());
    drop(card);
    wire.finish();
}
