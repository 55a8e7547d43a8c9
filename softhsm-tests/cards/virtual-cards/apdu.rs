//! Command APDUs as they come over the wire (ISO 7816-4 §5.1), and status words.

/// A command that makes no sense before any applet sees it, or the end of one that did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusWord(pub u16);

impl StatusWord {
    /// Done.
    pub const SUCCESS: Self = Self(0x9000);
    /// Lc, Le and the length of the command disagree, or the command is longer than the card takes.
    pub const WRONG_LENGTH: Self = Self(0x6700);
    /// The PIN or key reference is blocked.
    pub const BLOCKED: Self = Self(0x6983);
    /// Conditions of use not satisfied.
    pub const CONDITIONS_OF_USE: Self = Self(0x6985);
    /// No such applet or file.
    pub const NOT_FOUND: Self = Self(0x6A82);
    /// P1 or P2 is wrong.
    pub const WRONG_P1_P2: Self = Self(0x6A86);
    /// The selected applet does not know this instruction, or none is selected.
    pub const UNKNOWN_INSTRUCTION: Self = Self(0x6D00);
    /// The card does not know this class.
    pub const UNKNOWN_CLASS: Self = Self(0x6E00);

    /// `61xx`: so many more bytes can be had by GET RESPONSE, 256 and more said as 00.
    pub fn more(bytes: usize) -> Self {
        let low = u8::try_from(bytes).unwrap_or(0);
        Self(0x6100 | u16::from(low))
    }

    /// A response of this status word alone.
    pub fn alone(self) -> Vec<u8> {
        self.after(&[])
    }

    /// A response with data.
    pub fn after(self, data: &[u8]) -> Vec<u8> {
        [data, &self.0.to_be_bytes()].concat()
    }
}

/// One command APDU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The class byte, with the chaining bit (0x10) as sent.
    pub cla: u8,
    /// The instruction.
    pub ins: u8,
    /// The first parameter.
    pub p1: u8,
    /// The second parameter.
    pub p2: u8,
    /// The command data.
    pub data: Vec<u8>,
    /// The most response bytes wanted (`Ne`), if there was an Le: 256 or 65536 for Le = 0.
    pub expected: Option<usize>,
    /// The lengths were in the extended form.
    pub extended: bool,
}

impl Command {
    /// The class bit of a command that another one continues (ISO 7816-4 §5.3.3).
    pub const CHAINING: u8 = 0x10;

    /// Takes an APDU apart: cases 1 to 4, short and extended.
    pub fn parse(apdu: &[u8]) -> Result<Self, StatusWord> {
        let (&[cla, ins, p1, p2], body) = apdu
            .split_first_chunk::<4>()
            .ok_or(StatusWord::WRONG_LENGTH)?;
        let (data, expected, extended): (&[u8], _, _) = match *body {
            [] => (&[], None, false),
            [le] => (&[], Some(short(le)), false),
            [0, high, low] => (&[], Some(long(high, low)), true),
            [0, high, low, ref rest @ ..] => {
                let length = usize::from(u16::from_be_bytes([high, low]));
                let (data, le) = rest
                    .split_at_checked(length)
                    .ok_or(StatusWord::WRONG_LENGTH)?;
                match *le {
                    _ if length == 0 => return Err(StatusWord::WRONG_LENGTH),
                    [] => (data, None, true),
                    [high, low] => (data, Some(long(high, low)), true),
                    _ => return Err(StatusWord::WRONG_LENGTH),
                }
            }
            [0, _] => return Err(StatusWord::WRONG_LENGTH),
            [length, ref rest @ ..] => {
                let (data, le) = rest
                    .split_at_checked(usize::from(length))
                    .ok_or(StatusWord::WRONG_LENGTH)?;
                match *le {
                    [] => (data, None, false),
                    [le] => (data, Some(short(le)), false),
                    _ => return Err(StatusWord::WRONG_LENGTH),
                }
            }
        };
        Ok(Self {
            cla,
            ins,
            p1,
            p2,
            data: data.to_vec(),
            expected,
            extended,
        })
    }

    /// Another command continues this one.
    pub fn is_continued(&self) -> bool {
        self.cla & Self::CHAINING != 0
    }

    /// The whole command in the extended form, as the applets take it: with all its data and an Le that asks for everything.
    pub fn unchained(&self) -> Vec<u8> {
        let mut apdu = vec![self.cla & !Self::CHAINING, self.ins, self.p1, self.p2, 0];
        if !self.data.is_empty() {
            let length = u16::try_from(self.data.len()).expect("the chain was bounded");
            apdu.extend(length.to_be_bytes());
            apdu.extend(&self.data);
        }
        apdu.extend([0, 0]);
        apdu
    }
}

fn short(le: u8) -> usize {
    if le == 0 { 256 } else { usize::from(le) }
}

fn long(high: u8, low: u8) -> usize {
    match u16::from_be_bytes([high, low]) {
        0 => 0x1_0000,
        le => usize::from(le),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn lengths(apdu: &[u8]) -> (usize, Option<usize>, bool) {
        let command = Command::parse(apdu).expect("a good command");
        (command.data.len(), command.expected, command.extended)
    }

    #[test]
    fn all_cases_of_iso_7816() {
        assert_eq!(lengths(&[0, 1, 2, 3]), (0, None, false));
        assert_eq!(lengths(&[0, 1, 2, 3, 0]), (0, Some(256), false));
        assert_eq!(lengths(&[0, 1, 2, 3, 7]), (0, Some(7), false));
        assert_eq!(lengths(&[0, 1, 2, 3, 1, 9]), (1, None, false));
        assert_eq!(lengths(&[0, 1, 2, 3, 1, 9, 5]), (1, Some(5), false));
        assert_eq!(lengths(&[0, 1, 2, 3, 0, 0, 0]), (0, Some(65536), true));
        assert_eq!(lengths(&[0, 1, 2, 3, 0, 1, 0]), (0, Some(256), true));
        assert_eq!(lengths(&[0, 1, 2, 3, 0, 0, 1, 9]), (1, None, true));
        assert_eq!(
            lengths(&[0, 1, 2, 3, 0, 0, 1, 9, 1, 0]),
            (1, Some(256), true)
        );
    }

    #[test]
    fn lengths_that_disagree_are_6700() {
        for bad in [
            &[0, 1, 2][..],
            &[0, 1, 2, 3, 2, 9],
            &[0, 1, 2, 3, 1, 9, 5, 5],
            &[0, 1, 2, 3, 0, 9],
            &[0, 1, 2, 3, 0, 0, 2, 9],
            &[0, 1, 2, 3, 0, 0, 1, 9, 1],
            &[0, 1, 2, 3, 0, 0, 0, 1],
        ] {
            assert_eq!(
                Command::parse(bad),
                Err(StatusWord::WRONG_LENGTH),
                "{bad:02x?}"
            );
        }
    }

    #[test]
    fn unchained_commands_parse_again() {
        let command = Command {
            cla: 0x10,
            ins: 0xDB,
            p1: 0x3F,
            p2: 0xFF,
            data: vec![5; 700],
            expected: None,
            extended: false,
        };
        let whole = Command::parse(&command.unchained()).expect("a good command");
        assert_eq!((whole.cla, whole.data.len()), (0, 700));
        assert_eq!(whole.expected, Some(65536));
    }
}
