//! PIV cards keep every rule of the contract, and are asked for no more than has to be.

mod support;

use ctk_token::{Constraint, Item, PinState, Role, TokenError, conformance};
use in_process::{Bench, CardFixture, Reader};
use support::{PIN, Program, insert};
use virtual_cards::{Applet, Model, personalise::Profile};

fn conforms(extended_length: bool) {
    let mut fixture = CardFixture::new(Bench::new(Profile::PivFour), Applet::Piv);
    fixture.model.extended_length = extended_length;
    let outcomes = conformance::run(&fixture);
    let not_applicable: Vec<_> = outcomes
        .iter()
        .filter_map(|outcome| outcome.not_applicable.map(|why| (outcome.rule, why)))
        .collect();
    assert_eq!(
        not_applicable,
        [
            (
                "no two ML-DSA signatures are the same",
                "no key is for ML-DSA"
            ),
            (
                "a role that the token does not have has no secret",
                "the token has every role"
            ),
        ]
    );
}

#[test]
fn a_card_with_extended_length_conforms() {
    conforms(true);
}

#[test]
fn a_card_with_short_length_conforms() {
    conforms(false);
}

/// The commands that a whole program takes: to find the card, to list the token, to list its objects.
#[test]
fn listing_takes_few_commands() {
    let bench = Bench::new(Profile::PivFour);
    // Short, a certificate of 950 bytes takes three GET RESPONSE more, and one of 725 two.
    for (extended_length, budget) in [(true, [1, 4, 8]), (false, [1, 7, 18])] {
        let reader = insert(&bench, extended_length);
        let program = Program::start_unread(&reader);
        let found = reader.commands();
        let info = program.token.info();
        assert_eq!(
            (&*info.label, info.user_pin),
            ("Test Key 9A", PinState::Normal)
        );
        let listed = reader.commands();
        program.token.load().unwrap();
        assert_eq!(program.identities(), [1, 2, 3, 4]);
        assert_eq!(program.certified(), [1, 2, 3, 4]);
        assert_eq!([found, listed, reader.commands()], budget);
    }
}

/// And to log in and sign: programs log in before they look at what is there.
#[test]
fn signing_takes_few_commands() {
    let bench = Bench::new(Profile::PivFour);
    // Short, an RSA block takes two commands and a GET RESPONSE.
    for (extended_length, login, rsa) in [(true, 10, 1), (false, 22, 3)] {
        let reader = insert(&bench, extended_length);
        let program = Program::start_unread(&reader);
        program.token.info();
        program.log_in(Role::User, PIN).unwrap();
        program.sign(&program.key(1)).unwrap();
        assert_eq!(reader.commands(), login);
        program.sign(&program.key(1)).unwrap();
        assert_eq!(reader.commands(), login + rsa);
        program.sign(&program.key(4)).unwrap();
        assert_eq!(reader.commands(), login + rsa + 1);

        // A login ends without a command where nobody else uses the card.
        program.session.end_auth(Role::User);
        assert_eq!(reader.commands(), login + rsa + 1);
        let lost = program.sign(&program.key(1));
        assert_eq!(lost, Err(TokenError::AuthenticationNeeded));
    }
}

#[test]
fn nine_c_wants_the_pin_each_time() {
    let reader = insert(&Bench::new(Profile::PivFour), true);
    let program = Program::start(&reader);
    let key = program.key(2);
    program.log_in(Role::User, PIN).unwrap();
    program.sign(&program.key(1)).unwrap();
    assert_eq!(program.sign(&key), Err(TokenError::AuthenticationNeeded));
    for _ in 0..3 {
        program.log_in_for(&key).unwrap();
        program.sign(&key).unwrap();
        assert_eq!(program.sign(&key), Err(TokenError::AuthenticationNeeded));
    }
    // Two commands for each.
    let before = reader.commands();
    program.log_in_for(&key).unwrap();
    program.sign(&key).unwrap();
    assert!(
        reader.commands() - before <= 3,
        "{}",
        reader.commands() - before
    );
    // The other keys do not mind.
    program.sign(&program.key(1)).unwrap();
    program.sign(&program.key(4)).unwrap();
}

#[test]
fn retired_keys_are_found_by_the_key_history() {
    let reader = insert(&Bench::new(Profile::PivRetired), true);
    let program = Program::start(&reader);
    assert_eq!(program.identities(), [1, 5]);
    let retired = program.key(5);
    assert_eq!(retired.label, "Retired KEY MAN 1");
    // Its certificate is for encipherment.
    assert_eq!(retired.sign, Constraint::Never);
    assert!(matches!(retired.decrypt, Constraint::Auth(..)));
}

#[test]
fn what_needs_the_pin_is_read_with_it() {
    let reader = insert(&Bench::new(Profile::PivFour), true);
    let program = Program::start(&reader);
    let contents = program.token.contents();
    let object = |label: &str| {
        let mut found = contents.items.iter().filter_map(|item| match item {
            Item::Data(data) if data.label == label => Some(data.clone()),
            _ => None,
        });
        found.next().expect("a data object")
    };
    let printed = object("Printed Information");
    let needed = program.session.read(&printed.id);
    assert_eq!(needed, Err(TokenError::AuthenticationNeeded));
    program.log_in(Role::User, PIN).unwrap();
    let read = program.session.read(&printed.id).unwrap();
    assert!(read.starts_with(&[0x53]) && read.windows(9).any(|text| text == b"Test Card"));

    let capabilities = object("Card Capability Container");
    assert_eq!(capabilities.value, None);
    assert!(program.session.read(&capabilities.id).is_ok());
    let security = object("Security Object");
    let absent = program.session.read(&security.id);
    assert_eq!(absent, Err(TokenError::ObjectNotFound));
    assert!(object("Card Holder Unique Identifier").value.is_some());
}

/// Another program selects the other applet of the card, which ends the login, or resets it.
#[test]
fn a_login_that_others_have_ended_is_lost() {
    let bench = Bench::new(Profile::Both);
    let meddle: [fn(&Reader); 2] = [
        |reader| {
            reader.meanwhile(|card| {
                let select = [&[0, 0xa4, 4, 0, 6][..], Applet::OpenPgp.aid()].concat();
                let answer = card.transmit(&select).expect("an answer");
                assert!(answer.ends_with(&[0x90, 0]));
            });
        },
        Reader::reset,
    ];
    for meddle in meddle {
        let reader = Reader::new(bench.card(Model::default()));
        let program = Program::start(&reader);
        let (key, free) = (program.key(1), program.key(4));
        program.log_in(Role::User, PIN).unwrap();
        program.sign(&key).unwrap();
        meddle(&reader);
        assert_eq!(program.sign(&key), Err(TokenError::StateLost));
        assert_eq!(program.sign(&key), Err(TokenError::AuthenticationNeeded));
        meddle(&reader);
        program.sign(&free).unwrap();
        meddle(&reader);
        program.log_in(Role::User, PIN).unwrap();
        program.sign(&key).unwrap();
    }
}
