//! What a transaction sends in which form, and what it does when the card does not take it.

use crate::{
    apdu::{Command, Le},
    card::SmartCard,
    link::LinkError,
    status::Status,
    testing::{Wire, hex},
};

/// Of a card that says that it takes extended commands.
const EXTENDED: &str = "3BFD1300008131FE158073C021C057597562694B657940";

fn get_data() -> Command {
    Command::new(0xcb, 0x3f, 0xff).data(&[0x5c]).le(Le::All)
}

fn send(wire: &Wire, card: &SmartCard, command: &Command) -> Status {
    let status = card.transaction().unwrap().send(command).unwrap().status;
    wire.finish();
    status
}

#[test]
fn the_extended_form_is_for_what_the_short_one_has_no_room_for() {
    let wire = Wire::new().with_atr(EXTENDED);
    let card = SmartCard::new(wire.link());
    wire.expect("00CB3FFF0000015C0000", "9000");
    send(&wire, &card, &get_data());
    wire.expect("00A4040001A000", "9000");
    send(
        &wire,
        &card,
        &Command::new(0xa4, 4, 0).data(&[0xa0]).le(Le::All),
    );
    wire.expect("0020008002 3131", "9000");
    send(&wire, &card, &Command::new(0x20, 0, 0x80).data(b"11"));
    let data = [7; 300];
    wire.expect(&format!("0087079A00012C{}0000", hex(&data)), "9000");
    send(
        &wire,
        &card,
        &Command::new(0x87, 7, 0x9a).data(&data).le(Le::All),
    );
    wire.expect("00CA004F00", "9000");
    send(
        &wire,
        &card,
        &Command::new(0xca, 0, 0x4f).le(Le::Exactly(256)),
    );
}

#[test]
fn the_reader_has_a_say() {
    let short = "00CB3FFF015C00";
    for (wire, expected) in [
        (Wire::new(), short),
        (
            Wire::new().with_atr(EXTENDED).with_max_command_len(261),
            short,
        ),
        (Wire::new().with_atr(EXTENDED).with_t0(), "00CB3FFF015C"),
    ] {
        let card = SmartCard::new(wire.link());
        wire.expect(expected, "9000");
        send(&wire, &card, &get_data());
    }
    // One that takes some, and not this long one.
    let wire = Wire::new().with_atr(EXTENDED).with_max_command_len(1000);
    let card = SmartCard::new(wire.link());
    for piece in ["10DB3FFFFF*", "10DB3FFFFF*", "10DB3FFFFF*", "00DB3FFFEB*"] {
        wire.expect(piece, "9000");
    }
    send(
        &wire,
        &card,
        &Command::new(0xdb, 0x3f, 0xff).data(&[7; 1000]),
    );
}

#[test]
fn a_card_that_does_not_take_what_it_says_is_asked_once() {
    for refusal in ["6700", "6D00", "6E00", "mute"] {
        let wire = Wire::new().with_atr(EXTENDED);
        let card = SmartCard::new(wire.link());
        let (long, short) = ("00CB3FFF0000015C0000", "00CB3FFF015C00");
        match refusal {
            "mute" => {
                let mute = LinkError::Mute(ctk_token::Reason::new("no answer"));
                wire.expect_failure(long, mute)
            }
            status => wire.expect(long, status),
        };
        wire.expect(short, "9000").expect(short, "9000");
        assert_eq!(
            card.transaction()
                .unwrap()
                .send(&get_data())
                .unwrap()
                .status,
            Status::OK
        );
        assert_eq!(send(&wire, &card, &get_data()), Status::OK);
    }
}

#[test]
fn what_is_refused_in_either_form_says_nothing_of_the_form() {
    let wire = Wire::new().with_atr(EXTENDED);
    let card = SmartCard::new(wire.link());
    let (long, short) = ("00CB3FFF0000015C0000", "00CB3FFF015C00");
    wire.expect(long, "6D00").expect(short, "6D00");
    assert_eq!(
        send(&wire, &card, &get_data()),
        Status::INSTRUCTION_NOT_SUPPORTED
    );
    wire.expect(long, "9000");
    assert_eq!(send(&wire, &card, &get_data()), Status::OK);
}

#[test]
fn a_card_that_takes_some_goes_on_with_them() {
    let wire = Wire::new().with_atr(EXTENDED);
    let card = SmartCard::new(wire.link());
    let long = "00CB3FFF0000015C0000";
    wire.expect(long, "9000").expect(long, "6D00");
    wire.expect("00DB3FFF00012C*", "6700");
    wire.expect("10DB3FFFFF*", "9000")
        .expect("00DB3FFF2D*", "9000");
    wire.expect(long, "9000");
    let mut transaction = card.transaction().unwrap();
    let mut status = |command: Command| transaction.send(&command).unwrap().status;
    assert_eq!(status(get_data()), Status::OK);
    // No refusal of the form any more.
    assert_eq!(status(get_data()), Status::INSTRUCTION_NOT_SUPPORTED);
    assert_eq!(
        status(Command::new(0xdb, 0x3f, 0xff).data(&[7; 300])),
        Status::OK
    );
    assert_eq!(status(get_data()), Status::OK);
    drop(transaction);
    wire.finish();
}

#[test]
fn an_applet_knows_better_than_the_atr() {
    let wire = Wire::new();
    let card = SmartCard::new(wire.link());
    card.transaction().unwrap().set_extended(true);
    wire.expect("00CB3FFF0000015C0000", "9000");
    send(&wire, &card, &get_data());
    card.transaction().unwrap().set_extended(false);
    wire.expect("00CB3FFF015C00", "9000");
    send(&wire, &card, &get_data());
}

#[test]
fn a_reset_is_another_epoch() {
    let wire = Wire::new();
    let card = SmartCard::new(wire.link());
    let epoch = card.transaction().unwrap().epoch();
    wire.fail_next_begin(LinkError::Reset);
    assert_eq!(card.transaction().unwrap().epoch(), epoch + 1);
    // In the middle: the transaction is over, and is not ended twice.
    let mut transaction = card.transaction().unwrap();
    wire.expect_failure("00CB3FFF015C00", LinkError::Reset);
    assert_eq!(transaction.send(&get_data()).err(), Some(LinkError::Reset));
    assert_eq!(transaction.epoch(), epoch + 2);
    drop(transaction);
    wire.finish();
    for _ in 0..10 {
        wire.fail_next_begin(LinkError::Reset);
    }
    assert_eq!(card.transaction().err(), Some(LinkError::Reset), "for ever");
}

#[test]
fn a_begun_transaction_is_ended_whatever_happens() {
    let wire = Wire::new();
    let card = SmartCard::new(wire.link());
    wire.fail_next_begin(LinkError::Busy);
    assert_eq!(card.transaction().err(), Some(LinkError::Busy));
    wire.expect_failure("00CB3FFF015C00", LinkError::Removed);
    let answer = card.transaction().unwrap().send(&get_data());
    assert_eq!(answer.err(), Some(LinkError::Removed));
    assert_eq!(card.transaction().err(), Some(LinkError::Removed));
    assert_eq!(wire.begins(), 1);
    wire.finish();
}
