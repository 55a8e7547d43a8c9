//! Where the applets differ from cards that people have, in front of them. None of it reports a success that the applet did not.

use crate::{
    apdu::{Command, StatusWord},
    card::{Applet, Model},
};

type Answer = (Vec<u8>, StatusWord);

/// Executes a command with the applet `ask`, corrected.
pub(crate) fn run(
    model: &Model,
    applet: Applet,
    command: &Command,
    ask: &mut dyn FnMut(&Command) -> Answer,
) -> Answer {
    match applet {
        Applet::Piv => piv(model, command, ask),
        Applet::OpenPgp => openpgp(model, command, ask),
    }
}

fn piv(model: &Model, command: &Command, ask: &mut dyn FnMut(&Command) -> Answer) -> Answer {
    match (command.ins, command.p1) {
        // A card that is not a YubiKey knows none of its commands.
        (YUBIKEY_FIRST.. | YUBIKEY_SERIAL_OLD, _) if !model.yubikey_commands => {
            (Vec::new(), StatusWord::UNKNOWN_INSTRUCTION)
        }
        // The applet has one serial number for all cards.
        (YUBIKEY_SERIAL | YUBIKEY_SERIAL_OLD, 0) => {
            (model.serial.to_be_bytes().to_vec(), StatusWord::SUCCESS)
        }
        // No tries left is 6983 (SP 800-73-4 part 2 §3.2.1 and §3.2.3), where the applet counts down to 63C0.
        (VERIFY, 0x00) | (RESET_RETRY_COUNTER, _) => match ask(command) {
            (_, NO_TRIES) => (Vec::new(), StatusWord::BLOCKED),
            other => other,
        },
        // A wrong PIN says how many tries are left and ends the login (§3.2.2). The applet says only 6300; its PUK has no
        // command that tells the tries.
        (CHANGE_REFERENCE_DATA, _) if command.p2 == PIV_PIN => match ask(command) {
            (_, StatusWord(0x6300)) => {
                let bare = |p1| Command {
                    cla: 0,
                    ins: VERIFY,
                    p1,
                    p2: PIV_PIN,
                    data: Vec::new(),
                    expected: None,
                    extended: false,
                };
                ask(&bare(VERIFY_LOGS_OUT));
                match ask(&bare(0)) {
                    (_, NO_TRIES) => (Vec::new(), StatusWord::BLOCKED),
                    other => other,
                }
            }
            other => other,
        },
        // An object that nobody has defined is not found, as one that is not there (§3.1.2).
        (GET_DATA_BY_TAG, _) if command.data.first() == Some(&TAG_LIST) => match ask(command) {
            (_, StatusWord(0x6A80)) => (Vec::new(), StatusWord::NOT_FOUND),
            other => other,
        },
        // The applet says 6A81, "function not supported", to what is no instruction of PIV.
        (
            VERIFY | CHANGE_REFERENCE_DATA | GENERATE_KEY_PAIR | GENERAL_AUTHENTICATE | PUT_DATA,
            _,
        ) => ask(command),
        _ => match ask(command) {
            (_, StatusWord(0x6A81)) => (Vec::new(), StatusWord::UNKNOWN_INSTRUCTION),
            other => other,
        },
    }
}

/// The applet's historical bytes, in DO 5F52 and in 6E, promise extended length; a card without must not.
fn openpgp(model: &Model, command: &Command, ask: &mut dyn FnMut(&Command) -> Answer) -> Answer {
    let (mut data, status) = ask(command);
    let shows_them = matches!((command.p1, command.p2), (0x5F, 0x52) | (0x00, 0x6E));
    if command.ins == GET_DATA && shows_them && !model.extended_length {
        let found = data
            .windows(OPENPGP_CAPABILITIES.len())
            .position(|window| window == OPENPGP_CAPABILITIES);
        if let Some(at) = found {
            data[at + OPENPGP_CAPABILITIES.len() - 1] = CHAINING_ONLY;
        }
    }
    (data, status)
}

const VERIFY: u8 = 0x20;
const CHANGE_REFERENCE_DATA: u8 = 0x24;
const RESET_RETRY_COUNTER: u8 = 0x2C;
const GENERATE_KEY_PAIR: u8 = 0x47;
const GENERAL_AUTHENTICATE: u8 = 0x87;
const GET_DATA: u8 = 0xCA;
const GET_DATA_BY_TAG: u8 = 0xCB;
const PUT_DATA: u8 = 0xDB;
const YUBIKEY_SERIAL_OLD: u8 = 0x01;
const YUBIKEY_FIRST: u8 = 0xF7;
const YUBIKEY_SERIAL: u8 = 0xF8;

const TAG_LIST: u8 = 0x5C;
const PIV_PIN: u8 = 0x80;
const VERIFY_LOGS_OUT: u8 = 0xFF;
const NO_TRIES: StatusWord = StatusWord(0x63C0);

/// Category 00, card service data, and the capabilities with their third byte (ISO 7816-4 §12.1.1).
const OPENPGP_CAPABILITIES: &[u8] = &[0x00, 0x31, 0xF5, 0x73, 0xC0, 0x01, 0x60];
const CHAINING_ONLY: u8 = 0x80;
