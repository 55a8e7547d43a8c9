//! Readers with abilities of their own (PC/SC part 10, revision 2.02.09): what they are asked, and
//! what they answer.

use pcsc::{ctl_code, ffi::DWORD};
use zeroize::Zeroizing;

use crate::link::PinpadVerify;

/// Room for every answer read here.
pub(super) const ANSWER_LEN: usize = 264;

/// A command of 4 header bytes, one length byte twice, and 255 bytes of data.
const MAX_SHORT_COMMAND: usize = 261;
/// A command of 4 header bytes, three bytes of length, 65,535 of data, and two of expected length.
const MAX_EXTENDED_COMMAND: usize = 65_544;
/// What such a command has besides its data.
const EXTENDED_OVERHEAD: usize = 9;

/// FEATURE_VERIFY_PIN_DIRECT (§2.2).
const FEATURE_VERIFY: u8 = 0x06;
/// FEATURE_GET_TLV_PROPERTIES.
const FEATURE_PROPERTIES: u8 = 0x12;
/// The property dwMaxAPDUDataSize (§2.6.14).
const MAX_APDU_DATA_SIZE: u8 = 0x0A;

/// CM_IOCTL_GET_FEATURE_REQUEST (§2.2).
pub(super) fn feature_request() -> DWORD {
    ctl_code(3400)
}

/// The codes by which a reader's abilities are used.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Features {
    pub(super) verify_pin: Option<DWORD>,
    properties: Option<DWORD>,
}

/// Asks a reader what it can do. One that does not know the question can do nothing.
///
/// `control` sends a code with data, and answers with the length of the answer.
pub(super) fn features(control: impl FnOnce(DWORD, &[u8], &mut [u8]) -> Option<usize>) -> Features {
    let mut buffer = [0; ANSWER_LEN];
    let answer = ask(control, feature_request(), &mut buffer);
    let mut features = Features::default();
    for (tag, value) in properties(answer) {
        let Ok(code) = <[u8; 4]>::try_from(value) else {
            continue;
        };
        // The one number of part 10 that is in network order.
        let code = Some(DWORD::from(u32::from_be_bytes(code)));
        match tag {
            FEATURE_VERIFY => features.verify_pin = code,
            FEATURE_PROPERTIES => features.properties = code,
            _ => {}
        }
    }
    features
}

/// Asks a reader for the longest command that it takes, in bytes. Where it does not say, extended
/// length is assumed: whether the card takes it is another matter, and found out by trying.
pub(super) fn max_command_len(
    features: &Features,
    control: impl FnOnce(DWORD, &[u8], &mut [u8]) -> Option<usize>,
) -> usize {
    let mut buffer = [0; ANSWER_LEN];
    let answer = match features.properties {
        Some(code) => ask(control, code, &mut buffer),
        None => return MAX_EXTENDED_COMMAND,
    };
    let value = properties(answer)
        .find(|(tag, _)| *tag == MAX_APDU_DATA_SIZE)
        .map_or(0, |(_, value)| little_endian(value));
    match value {
        0 => MAX_EXTENDED_COMMAND,
        1..=256 => MAX_SHORT_COMMAND,
        more => more
            .saturating_add(EXTENDED_OVERHEAD)
            .min(MAX_EXTENDED_COMMAND),
    }
}

/// PIN_VERIFY_STRUCTURE (§2.5.2), numbers in little endian.
pub(super) fn pin_verify(verify: &PinpadVerify) -> Zeroizing<Vec<u8>> {
    // Without padding the reader makes the block as long as the PIN.
    let block = verify.template.len().saturating_sub(5).min(0x0F) as u8;
    let mut structure = Zeroizing::new(vec![
        0, // bTimeOut: the reader's own
        0, // bTimeOut2
        // bmFormatString: offset in bytes, justified left, ASCII.
        0x82 | verify.pin_offset.min(0x0F) << 3,
        block,          // bmPINBlockString: no length in it, and how long it is
        0,              // bmPINLengthFormat: no length anywhere
        verify.max_len, // wPINMaxExtraDigit: longest, shortest
        verify.min_len,
        0x02, // bEntryValidationCondition: the key that says so
        0x01, // bNumberMessage: one
        0x09,
        0x04, // wLangId: English
        0x00, // bMsgIndex: "enter PIN"
        0,
        0,
        0, // bTeoPrologue
    ]);
    let len = u32::try_from(verify.template.len()).unwrap_or(u32::MAX);
    structure.extend_from_slice(&len.to_le_bytes());
    structure.extend_from_slice(&verify.template);
    structure
}

fn ask(
    control: impl FnOnce(DWORD, &[u8], &mut [u8]) -> Option<usize>,
    code: DWORD,
    buffer: &mut [u8; ANSWER_LEN],
) -> &[u8] {
    let len = control(code, &[], buffer).unwrap_or(0);
    buffer.get(..len).unwrap_or_default()
}

/// The tags and values of a list, one byte of tag and one of length each. A broken rest is left
/// out.
fn properties(mut list: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let [tag, len, rest @ ..] = list else {
            return None;
        };
        let (value, rest) = rest.split_at_checked(usize::from(*len))?;
        list = rest;
        Some((*tag, value))
    })
}

fn little_endian(value: &[u8]) -> usize {
    value
        .iter()
        .take(size_of::<u32>())
        .rev()
        .fold(0, |number, byte| number << 8 | usize::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answering(answer: &[u8]) -> impl FnOnce(DWORD, &[u8], &mut [u8]) -> Option<usize> {
        move |_, _, buffer| {
            buffer[..answer.len()].copy_from_slice(answer);
            Some(answer.len())
        }
    }

    #[test]
    fn abilities_are_found_in_the_list() {
        let answer = [
            0x06, 4, 0x42, 0x33, 0x00, 0x06, 0x0A, 4, 0x42, 0x33, 0x00, 0x0A, 0x12, 4, 0x42, 0x33,
            0x00, 0x12,
        ];
        let features = features(answering(&answer));
        assert_eq!(features.verify_pin, Some(0x4233_0006));
        assert_eq!(features.properties, Some(0x4233_0012));
    }

    #[test]
    fn a_list_that_breaks_off_says_what_it_says() {
        let broken = [0x12, 4, 0, 0, 0, 7, 0x06, 4, 0x42];
        let found = features(answering(&broken));
        assert_eq!(found.properties, Some(7));
        assert_eq!(found.verify_pin, None);
        assert_eq!(features(answering(&[0x06, 1, 9])), Features::default());
        assert_eq!(features(|_, _, _| None), Features::default());
        // A driver that says that it wrote more than there is room for.
        assert_eq!(features(|_, _, _| Some(10_000)), Features::default());
    }

    #[test]
    fn the_longest_command_is_what_the_reader_says() {
        let asked = Features {
            properties: Some(1),
            ..Features::default()
        };
        let of = |value: u32| {
            let mut answer = vec![0x01, 2, 0, 0, 0x0A, 4];
            answer.extend(value.to_le_bytes());
            max_command_len(&asked, answering(&answer))
        };
        assert_eq!(of(0), MAX_EXTENDED_COMMAND);
        assert_eq!(of(256), MAX_SHORT_COMMAND);
        assert_eq!(of(2048), 2057);
        assert_eq!(of(65_536), MAX_EXTENDED_COMMAND);
        assert_eq!(of(u32::MAX), MAX_EXTENDED_COMMAND);
        assert_eq!(
            max_command_len(&asked, |_, _, _| None),
            MAX_EXTENDED_COMMAND
        );
        let silent = max_command_len(&Features::default(), |_, _, _| panic!("asked"));
        assert_eq!(silent, MAX_EXTENDED_COMMAND);
    }

    #[test]
    fn a_padded_pin_is_asked_for_byte_by_byte() {
        // PIV: 8 bytes, filled with FF (SP 800-73-4 part 2 §3.2.1).
        let mut template = vec![0x00, 0x20, 0x00, 0x80, 0x08];
        template.extend([0xFF; 8]);
        let structure = pin_verify(&PinpadVerify {
            template,
            pin_offset: 0,
            min_len: 6,
            max_len: 8,
        });
        let expected = [
            0x00, 0x00, 0x82, 0x08, 0x00, 0x08, 0x06, 0x02, 0x01, 0x09, 0x04, 0x00, 0x00, 0x00,
            0x00, 13, 0, 0, 0, 0x00, 0x20, 0x00, 0x80, 0x08, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
            0xFF, 0xFF,
        ];
        assert_eq!(*structure, expected);
    }

    #[test]
    fn a_pin_without_padding_has_no_block() {
        let structure = pin_verify(&PinpadVerify {
            template: vec![0x00, 0x20, 0x00, 0x82, 0x00],
            pin_offset: 0,
            min_len: 6,
            max_len: 32,
        });
        assert_eq!(structure[2..7], [0x82, 0x00, 0x00, 32, 6]);
        assert_eq!(structure[15..], [5, 0, 0, 0, 0x00, 0x20, 0x00, 0x82, 0x00]);
    }
}
