//! Commands and responses (ISO 7816-4 §5): what they are made of and how they look on the wire.

use zeroize::Zeroizing;

use crate::status::Status;

/// SELECT (ISO 7816-4 §11.2.2).
pub(crate) const SELECT: u8 = 0xa4;
/// GET RESPONSE (ISO 7816-4 §11.7.1).
const GET_RESPONSE: u8 = 0xc0;
/// The bit of the class byte that says that more of the command follows (ISO 7816-4 §5.4.1).
const MORE_FOLLOWS: u8 = 0x10;
/// Longest data field of a short command.
const SHORT_DATA: usize = 255;
/// Longest answer to a short command.
const SHORT_ANSWER: usize = 256;

/// How much of an answer is wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Le {
    /// None.
    None,
    /// All there is.
    All,
    /// At most this many bytes, 1 to 256.
    Exactly(u16),
}

/// One command, however long: the card cuts it as the card and the reader want it.
#[derive(Clone)]
pub(crate) struct Command {
    pub(crate) cla: u8,
    pub(crate) ins: u8,
    pub(crate) p1: u8,
    pub(crate) p2: u8,
    /// Zeroized, because PINs and plaintexts are in here.
    pub(crate) data: Zeroizing<Vec<u8>>,
    pub(crate) le: Le,
    /// Whether the log shows the data and the answer as lengths only.
    pub(crate) secret: bool,
}

impl Command {
    /// A command of class 00 without data and answer.
    pub(crate) fn new(ins: u8, p1: u8, p2: u8) -> Self {
        Self {
            cla: 0,
            ins,
            p1,
            p2,
            data: Zeroizing::new(Vec::new()),
            le: Le::None,
            secret: false,
        }
    }

    /// GET RESPONSE for what `self` has left, of which the card announced `sw2` bytes.
    pub(crate) fn rest(&self, sw2: u8) -> Self {
        Self {
            cla: self.cla & !MORE_FOLLOWS,
            le: Le::announced(sw2),
            secret: self.secret,
            ..Self::new(GET_RESPONSE, 0, 0)
        }
    }

    /// With data.
    pub(crate) fn data(mut self, data: &[u8]) -> Self {
        self.data = Zeroizing::new(data.to_vec());
        self
    }

    /// With an answer.
    pub(crate) fn le(mut self, le: Le) -> Self {
        self.le = le;
        self
    }

    /// With something in data or answer that no log may show.
    pub(crate) fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// Whether the short form needs a chain for it, or a GET RESPONSE for what it may answer.
    pub(crate) fn may_exceed_short(&self) -> bool {
        self.data.len() > SHORT_DATA || self.le == Le::All && self.ins != SELECT
    }

    /// How long the extended form is, in bytes.
    pub(crate) fn extended_len(&self) -> usize {
        self.data.len().saturating_add(9)
    }

    /// The whole command in the extended form (ISO 7816-4 §5.2), for data of at most 65,535 bytes.
    pub(crate) fn extended(&self) -> Option<Zeroizing<Vec<u8>>> {
        let len = u16::try_from(self.data.len()).ok()?;
        let mut wire = Zeroizing::new(Vec::with_capacity(self.extended_len()));
        wire.extend([self.cla, self.ins, self.p1, self.p2, 0]);
        if len > 0 {
            wire.extend(len.to_be_bytes());
            wire.extend_from_slice(&self.data);
        }
        match self.le {
            // A command without any of the fields has no extended form.
            Le::None if len == 0 => wire.truncate(4),
            Le::None => {}
            Le::All => wire.extend([0, 0]),
            Le::Exactly(len) => wire.extend(len.to_be_bytes()),
        }
        Some(wire)
    }

    /// The command in the short form, as a chain if it is long. For T=0 (ISO 7816-3 §12.2) there is
    /// always a third parameter, and none for the answer to a command with data.
    pub(crate) fn short(&self, is_t0: bool) -> Vec<Zeroizing<Vec<u8>>> {
        let mut rest = &**self.data;
        let mut chain = Vec::with_capacity(1 + rest.len() / SHORT_DATA);
        loop {
            let (piece, more) = rest.split_at_checked(SHORT_DATA).unwrap_or((rest, &[]));
            rest = more;
            let is_last = rest.is_empty();
            let mut wire = Zeroizing::new(Vec::with_capacity(piece.len() + 6));
            let class = if is_last { 0 } else { MORE_FOLLOWS };
            wire.extend([self.cla | class, self.ins, self.p1, self.p2]);
            match u8::try_from(piece.len()) {
                Ok(0) | Err(_) => {}
                Ok(len) => wire.push(len),
            }
            wire.extend_from_slice(piece);
            match self.le.short() {
                Some(le) if is_last && (piece.is_empty() || !is_t0) => wire.push(le),
                None if is_t0 && piece.is_empty() => wire.push(0),
                _ => {}
            }
            chain.push(wire);
            if is_last {
                return chain;
            }
        }
    }
}

impl Le {
    /// As many bytes as a card announced in SW2, of which 0 is 256.
    pub(crate) fn announced(sw2: u8) -> Self {
        match sw2 {
            0 => Self::Exactly(256),
            len => Self::Exactly(len.into()),
        }
    }

    /// The byte in a short command. 256 is written as 0 and is all that fits.
    fn short(self) -> Option<u8> {
        match self {
            Self::None => None,
            Self::All => Some(0),
            Self::Exactly(len) => Some(u8::try_from(len).unwrap_or(0)),
        }
    }
}

/// What a card answered, in one piece.
pub(crate) struct Response {
    pub(crate) data: Zeroizing<Vec<u8>>,
    pub(crate) status: Status,
    /// The card has refused a piece of a chain before its last: it has not seen all of the command.
    pub(crate) is_early: bool,
}

impl Response {
    /// Of what came over the wire. `None` if that is no answer: without a status word, or longer
    /// than any answer.
    pub(crate) fn parse(wire: Vec<u8>) -> Option<Self> {
        let mut data = Zeroizing::new(wire);
        let (rest, status) = data.split_last_chunk::<2>()?;
        let (len, status) = (rest.len(), Status(u16::from_be_bytes(*status)));
        if len > SHORT_ANSWER * 256 {
            return None;
        }
        data.truncate(len);
        Some(Self {
            data,
            status,
            is_early: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(command: &Command, is_t0: bool) -> Vec<Vec<u8>> {
        let chain = command.short(is_t0);
        chain.iter().map(|wire| wire.to_vec()).collect()
    }

    fn extended(command: &Command) -> Vec<u8> {
        command.extended().unwrap().to_vec()
    }

    /// The cases of ISO 7816-3 §12.1.
    #[test]
    fn four_cases() {
        let one = Command::new(0x20, 0, 0x80);
        let two = one.clone().le(Le::All);
        let three = one.clone().data(&[7, 8]);
        let four = three.clone().le(Le::Exactly(16));
        let header = [0, 0x20, 0, 0x80];
        let with = |tail: &[u8]| [&header, tail].concat();
        for (command, t1, t0, long) in [
            (&one, &[][..], &[0][..], &[][..]),
            (&two, &[0], &[0], &[0, 0, 0]),
            (&three, &[2, 7, 8], &[2, 7, 8], &[0, 0, 2, 7, 8]),
            (&four, &[2, 7, 8, 16], &[2, 7, 8], &[0, 0, 2, 7, 8, 0, 16]),
        ] {
            assert_eq!(short(command, false), [with(t1)]);
            assert_eq!(short(command, true), [with(t0)]);
            assert_eq!(extended(command), with(long));
        }
    }

    #[test]
    fn long_data_go_in_a_chain() {
        for len in [255_usize, 256, 510, 511, 3000] {
            let data: Vec<u8> = (0..len).map(|byte| byte as u8).collect();
            let command = Command::new(0xdb, 0x3f, 0xff).data(&data).le(Le::All);
            let chain = short(&command, false);
            assert_eq!(chain.len(), len.div_ceil(255));
            let (last, before) = chain.split_last().unwrap();
            let mut joined = Vec::new();
            for wire in before {
                assert_eq!(wire[..5], [0x10, 0xdb, 0x3f, 0xff, 255]);
                joined.extend_from_slice(&wire[5..]);
            }
            assert_eq!(last[..4], [0, 0xdb, 0x3f, 0xff]);
            assert_eq!(last.last(), Some(&0));
            joined.extend_from_slice(&last[5..last.len() - 1]);
            assert_eq!(joined, data);
            assert_eq!(extended(&command).len(), command.extended_len());
        }
        let too_long = Command::new(0xdb, 0, 0).data(&[0; 65_536]);
        assert!(too_long.extended().is_none());
    }

    #[test]
    fn what_is_no_answer() {
        assert!(Response::parse(vec![]).is_none());
        assert!(Response::parse(vec![0x90]).is_none());
        assert!(Response::parse(vec![0; 65_539]).is_none());
        let longest = Response::parse(vec![0x61; 65_538]).unwrap();
        assert_eq!((longest.data.len(), longest.status.0), (65_536, 0x6161));
        let shortest = Response::parse(vec![0x90, 0]).unwrap();
        assert!(shortest.data.is_empty() && shortest.status.is_ok());
    }
}
