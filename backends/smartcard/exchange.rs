//! One command from its first byte to the last of its answer: chained, repeated with the right
//! length, and fetched with GET RESPONSE where a card wants that (ISO 7816-4 §5.3.4, §5.4; ISO
//! 7816-3 §12.2), all of it with limits.

use std::fmt;

use ctk_token::Reason;
use zeroize::Zeroizing;

use crate::{
    apdu::{Command, Le, Response},
    link::{Link, LinkError},
    status::Status,
    tlv,
};

/// Longest answer that is put together, in bytes: more than the largest object of any card.
const MAX_ANSWER: usize = 65 * 1024;
/// How often GET RESPONSE is sent for one answer; 260 times for the longest.
const MAX_ROUNDS: usize = 300;

/// SW1: there are SW2 more bytes.
const MORE_DATA: u8 = 0x61;
/// SW1: a wrong Le, SW2 is the right one.
const WRONG_LE: u8 = 0x6c;

/// Sends a command and answers with all of the response. A status word is no error here, and an
/// answer that is none has [one of its own](Status::NO_ANSWER): it costs whoever asked, and not the
/// card.
pub(crate) fn exchange(
    link: &mut dyn Link,
    command: &Command,
    is_extended: bool,
) -> Result<Response, LinkError> {
    let mut may_repeat = true;
    let mut response = request(link, command, is_extended, &mut may_repeat)?;
    for _ in 0..MAX_ROUNDS {
        if response.data.len() > MAX_ANSWER {
            return Ok(no_answer("too long"));
        }
        if response.status.sw1() != MORE_DATA {
            return Ok(response);
        }
        let rest = command.rest(response.status.sw2());
        let next = request(link, &rest, false, &mut may_repeat)?;
        tlv::append(&mut response.data, &next.data);
        response.status = next.status;
    }
    Ok(no_answer("without an end"))
}

/// Sends a command, and once more if the card wants it with another Le. A command without Le never
/// is: it may be a PIN, which is not sent twice, whatever the card says.
fn request(
    link: &mut dyn Link,
    command: &Command,
    is_extended: bool,
    may_repeat: &mut bool,
) -> Result<Response, LinkError> {
    let chain = pieces(link, command, is_extended)?;
    let Some((last, before)) = chain.split_last() else {
        return Err(mute("a command of no bytes"));
    };
    for piece in before {
        let response = transmit(link, piece, command.secret)?;
        if !response.status.is_ok() {
            return Ok(Response {
                is_early: true,
                ..response
            });
        }
    }
    let response = transmit(link, last, command.secret)?;
    if response.status.sw1() != WRONG_LE || command.le == Le::None || !*may_repeat {
        return Ok(response);
    }
    *may_repeat = false;
    let again = command.clone().le(Le::announced(response.status.sw2()));
    match pieces(link, &again, is_extended)?.last() {
        Some(last) => transmit(link, last, command.secret),
        None => Ok(response),
    }
}

/// The command as it goes over the wire.
fn pieces(
    link: &dyn Link,
    command: &Command,
    is_extended: bool,
) -> Result<Vec<Zeroizing<Vec<u8>>>, LinkError> {
    if !is_extended {
        return Ok(command.short(link.is_t0()));
    }
    let whole = command.extended();
    whole.map_or_else(
        || Err(mute("a command is too long")),
        |whole| Ok(vec![whole]),
    )
}

fn transmit(link: &mut dyn Link, wire: &[u8], is_secret: bool) -> Result<Response, LinkError> {
    let shown = if is_secret { HEADER } else { usize::MAX };
    log::trace!("card < {}", Hex(wire, shown));
    let answer = link.transmit(wire);
    let answer = answer.inspect_err(|error| log::trace!("card: {error}"))?;
    let Some(response) = Response::parse(answer) else {
        return Ok(no_answer("without a status word, or longer than any"));
    };
    let shown = if is_secret { 0 } else { usize::MAX };
    let status = response.status;
    match response.data.is_empty() {
        true => log::trace!("card > {status:?}"),
        false => log::trace!("card > {} {status:?}", Hex(&response.data, shown)),
    }
    Ok(response)
}

/// How much of a command is never secret, in bytes: class, instruction and parameters.
const HEADER: usize = 4;

/// As many bytes as may be shown, and how many more there are.
struct Hex<'a>(&'a [u8], usize);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(bytes, shown) = *self;
        for byte in bytes.iter().take(shown) {
            write!(f, "{byte:02X}")?;
        }
        match bytes.len().saturating_sub(shown) {
            0 => Ok(()),
            hidden if shown == 0 => write!(f, "({hidden} bytes)"),
            hidden => write!(f, " ({hidden} bytes)"),
        }
    }
}

fn no_answer(why: &str) -> Response {
    log::warn!("card: it gave an answer {why}");
    Response {
        data: Zeroizing::new(Vec::new()),
        status: Status::NO_ANSWER,
        is_early: false,
    }
}

fn mute(why: &str) -> LinkError {
    LinkError::Mute(Reason::new(why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Wire;

    fn get_data() -> Command {
        Command::new(0xcb, 0x3f, 0xff).data(&[0x5c]).le(Le::All)
    }

    fn short(wire: &Wire, command: &Command) -> Result<Response, LinkError> {
        exchange(&mut *wire.link(), command, false)
    }

    #[test]
    fn an_answer_is_fetched_in_pieces() {
        let wire = Wire::new();
        wire.expect("00CB3FFF015C00", "0102 6100")
            .expect("00C0000000", "0304 6102")
            .expect("00C0000002", "0506 9000");
        let response = short(&wire, &get_data()).unwrap();
        assert_eq!(*response.data, [1, 2, 3, 4, 5, 6]);
        assert_eq!(response.status, Status::OK);
        wire.finish();
    }

    #[test]
    fn an_error_in_the_middle_is_the_answer() {
        let wire = Wire::new();
        wire.expect("00CB3FFF015C00", "01 6105")
            .expect("00C0000005", "6F00");
        assert_eq!(short(&wire, &get_data()).unwrap().status, Status(0x6f00));
        wire.finish();
    }

    #[test]
    fn a_wrong_length_is_corrected_once() {
        let wire = Wire::new();
        wire.expect("00CB3FFF015C00", "6C05")
            .expect("00CB3FFF015C05", "6C06");
        assert_eq!(short(&wire, &get_data()).unwrap().status, Status(0x6c06));
        wire.finish();
        let wire = Wire::new();
        wire.expect("00CB3FFF015C00", "6105")
            .expect("00C0000005", "6C03")
            .expect("00C0000003", "010203 9000");
        assert_eq!(*short(&wire, &get_data()).unwrap().data, [1, 2, 3]);
        wire.finish();
    }

    #[test]
    fn only_the_end_of_a_chain_is_repeated() {
        let wire = Wire::new();
        let long = Command::new(0x87, 7, 0x9a).data(&[9; 300]).le(Le::All);
        wire.expect("1087079AFF*", "9000")
            .expect(&format!("0087079A2D{}00", "09".repeat(45)), "6C02")
            .expect(&format!("0087079A2D{}02", "09".repeat(45)), "0102 9000");
        assert_eq!(*short(&wire, &long).unwrap().data, [1, 2]);
        wire.finish();
        wire.expect("1087079AFF*", "6C02");
        assert_eq!(short(&wire, &long).unwrap().status, Status(0x6c02));
        wire.finish();
    }

    #[test]
    fn a_pin_is_not_repeated() {
        let wire = Wire::new();
        wire.expect("0020008002 3132", "6C08");
        let verify = Command::new(0x20, 0, 0x80).data(b"12").secret();
        assert_eq!(short(&wire, &verify).unwrap().status, Status(0x6c08));
        wire.finish();
    }

    #[test]
    fn an_endless_answer_ends() {
        for answer in ["6100", "0102 6101", "6C00"] {
            let wire = Wire::new();
            wire.answer_always(answer);
            let status = short(&wire, &get_data()).unwrap().status;
            let expected = match answer {
                "6C00" => Status(0x6c00),
                _ => Status::NO_ANSWER,
            };
            assert_eq!(status, expected, "{answer}");
            assert!(wire.count() <= MAX_ROUNDS + 1, "{}", wire.count());
        }
        let wire = Wire::new();
        wire.answer_always(&format!("{}6100", "00".repeat(60_000)));
        let response = short(&wire, &get_data()).unwrap();
        assert_eq!(response.status, Status::NO_ANSWER);
        assert!(response.data.is_empty());
        assert_eq!(wire.count(), 2);
    }

    #[test]
    fn no_status_word_is_no_answer() {
        for answer in ["", "90"] {
            let wire = Wire::new();
            wire.expect("00CB3FFF015C00", answer);
            let response = short(&wire, &get_data()).unwrap();
            assert_eq!(response.status, Status::NO_ANSWER);
        }
    }

    #[test]
    fn the_log_hides_secrets() {
        let wire = [0, 0x20, 0, 0x80, 2, 0x31, 0x32];
        assert_eq!(Hex(&wire, HEADER).to_string(), "00200080 (3 bytes)");
        assert_eq!(Hex(&wire, usize::MAX).to_string(), "00200080023132");
        assert_eq!(Hex(&[1, 2], 0).to_string(), "(2 bytes)");
        assert_eq!(Hex(&[], 0).to_string(), "");
    }
}
