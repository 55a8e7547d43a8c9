//! What stands between the wire and the applets on every card: SELECT, command chaining and GET RESPONSE.

use heapless::Vec as Buffer;
use iso7816::command::CommandView;

use crate::{
    apdu::{Command, StatusWord},
    card::{Applet, Model},
    corrections,
    firmware::Applets,
};

/// The longest command after chaining, and the longest response: a certificate of 7 KB and what is around it.
const LONGEST: usize = 7609;

/// A running chip: it lives from one reset to the next.
pub(crate) struct Chip<'a, 'b> {
    applets: &'a mut Applets<'b>,
    model: &'a Model,
    selected: Option<Applet>,
    chain: Option<Command>,
    outgoing: Vec<u8>,
}

/// What becomes of a command.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// This response, status word included.
    Response(Vec<u8>),
    /// Another applet is selected, which ends what the former one knew: the same command to a chip that starts anew.
    StartAnew,
}

impl<'a, 'b> Chip<'a, 'b> {
    pub(crate) fn new(applets: &'a mut Applets<'b>, model: &'a Model) -> Self {
        Self {
            applets,
            model,
            selected: None,
            chain: None,
            outgoing: Vec::new(),
        }
    }

    /// Executes one command APDU.
    pub(crate) fn execute(&mut self, apdu: &[u8]) -> Outcome {
        match Command::parse(apdu) {
            Err(status) => Outcome::Response(status.alone()),
            Ok(command) if command.extended && !self.model.extended_length => {
                Outcome::Response(StatusWord::WRONG_LENGTH.alone())
            }
            Ok(command) => self.command(command),
        }
    }

    fn command(&mut self, command: Command) -> Outcome {
        // No logical channels, no secure messaging: the chaining bit is all a class may say.
        if command.cla & !Command::CHAINING != 0 {
            return Outcome::Response(StatusWord::UNKNOWN_CLASS.alone());
        }
        if command.ins == GET_RESPONSE {
            return Outcome::Response(self.next_part(&command));
        }
        self.outgoing.clear();
        let command = match self.chain.take() {
            Some(mut chain)
                if (chain.ins, chain.p1, chain.p2) == (command.ins, command.p1, command.p2) =>
            {
                chain.data.extend(&command.data);
                Command {
                    data: chain.data,
                    ..command
                }
            }
            // A chain that is broken off never was.
            _ => command,
        };
        if command.data.len() > LONGEST {
            return Outcome::Response(StatusWord::WRONG_LENGTH.alone());
        }
        if command.is_continued() {
            self.chain = Some(command);
            return Outcome::Response(StatusWord::SUCCESS.alone());
        }
        if command.ins == SELECT {
            return self.select(&command);
        }
        let (data, status) = match self.selected {
            None => (Vec::new(), StatusWord::UNKNOWN_INSTRUCTION),
            Some(applet) => corrections::run(self.model, applet, &command, &mut |command| {
                self.applets.run(applet, command)
            }),
        };
        Outcome::Response(self.respond(&command, data, status))
    }

    /// SELECT by AID, of which the first five bytes are enough (ISO 7816-4 §11.1.1). An AID that is not here leaves everything as
    /// it was (SP 800-73-4 part 2 §3.1.1).
    fn select(&mut self, command: &Command) -> Outcome {
        if command.p1 != SELECT_BY_NAME || command.p2 & !NO_RESPONSE_DATA != 0 {
            return Outcome::Response(StatusWord::WRONG_P1_P2.alone());
        }
        let found = self.model.applets.iter().copied().find(|applet| {
            let aid = applet.aid();
            let common = aid.len().min(command.data.len());
            common >= SHORTEST_AID && aid[..common] == command.data[..common]
        });
        let Some(applet) = found else {
            return Outcome::Response(StatusWord::NOT_FOUND.alone());
        };
        if self.selected.is_some_and(|selected| selected != applet) {
            return Outcome::StartAnew;
        }
        let whole = Command {
            p2: 0,
            data: applet.aid().to_vec(),
            ..command.clone()
        };
        let (mut data, status) = self.applets.run(applet, &whole);
        if status == StatusWord::SUCCESS {
            self.selected = Some(applet);
        }
        if command.p2 & NO_RESPONSE_DATA != 0 {
            data.clear();
        }
        Outcome::Response(self.respond(command, data, status))
    }

    /// As much of a response as the command may have; the rest waits for GET RESPONSE.
    fn respond(&mut self, command: &Command, mut data: Vec<u8>, status: StatusWord) -> Vec<u8> {
        // Readers and programs that leave Le out get data all the same, as from every card with T=1.
        let most = command
            .expected
            .unwrap_or(if command.extended { 0x1_0000 } else { 0x100 });
        if data.len() <= most {
            return status.after(&data);
        }
        self.outgoing = data.split_off(most);
        StatusWord::more(self.outgoing.len()).after(&data)
    }

    fn next_part(&mut self, command: &Command) -> Vec<u8> {
        if self.outgoing.is_empty() {
            return StatusWord::CONDITIONS_OF_USE.alone();
        }
        let rest = std::mem::take(&mut self.outgoing);
        self.respond(command, rest, StatusWord::SUCCESS)
    }
}

const SELECT: u8 = 0xA4;
const GET_RESPONSE: u8 = 0xC0;
const SELECT_BY_NAME: u8 = 0x04;
const NO_RESPONSE_DATA: u8 = 0x0C;
const SHORTEST_AID: usize = 5;

impl Applets<'_> {
    /// The command, whole, to an applet.
    fn run(&mut self, applet: Applet, command: &Command) -> (Vec<u8>, StatusWord) {
        let apdu = command.unchained();
        let Ok(view) = CommandView::try_from(apdu.as_slice()) else {
            return (Vec::new(), StatusWord::WRONG_LENGTH);
        };
        let mut reply = Buffer::<u8, LONGEST>::new();
        let result = match applet {
            Applet::Piv => self.piv.respond(view, &mut reply),
            Applet::OpenPgp => self.openpgp.handle(view, &mut reply),
        };
        match result {
            Ok(()) => (reply.to_vec(), StatusWord::SUCCESS),
            Err(status) => (Vec::new(), StatusWord(u16::from(status))),
        }
    }
}
