//! What stands between a program and its card, from the service to the applet: for whoever has to say what is wrong.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use ctk_token::Reason;

use crate::{
    applet::Row,
    applets::ROWS,
    card::SHORT_PATIENCE,
    link::{Link, LinkError},
    pcsc::PcscReaders,
    readers::{ReaderStatus, Readers},
};

/// Where pcsc-lite looks for its service, unless the environment says otherwise.
const SOCKET: &str = "/run/pcscd/pcscd.comm";
/// Where else it is, in this variable.
const SOCKET_VARIABLE: &str = "PCSCLITE_CSOCK_NAME";
const SERVICE: &str = "/usr/sbin/pcscd";
/// The class of smart card readers (USB CCID §4.1), as sysfs writes it.
const CCID_CLASS: &str = "0b";
/// What every program that uses PC/SC has in its memory.
const CLIENT_LIBRARY: &str = "libpcsclite.so";

/// What was found, from the outside in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Diagnosis {
    /// Where the service was looked for.
    pub socket: PathBuf,
    /// Whether there is anything at that place. A service that listens there may still be started by the first who asks.
    pub socket_exists: bool,
    /// Whether the service is installed where distributions put it.
    pub service_installed: bool,
    /// The readers that the service has, or why it does not tell.
    pub readers: Result<Vec<ReaderDiagnosis>, Reason>,
    /// The smart card readers on USB, whether or not the service has a driver for them.
    pub usb: Vec<UsbReader>,
    /// The programs that use PC/SC, as far as this user may see them.
    pub programs: Vec<Program>,
}

/// A reader of the service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ReaderDiagnosis {
    /// Its name.
    pub name: String,
    /// What is in it.
    pub card: CardDiagnosis,
}

/// What is in a reader.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CardDiagnosis {
    /// Nothing.
    Empty,
    /// Something that does not answer its reset.
    Mute,
    /// A card that another program keeps for itself.
    Busy,
    /// A card that is used by another program, so it was not asked what it is: that could end the other's login.
    InUse {
        /// The card's answer to reset.
        atr: Vec<u8>,
    },
    /// A card that could not be reached: why.
    Unreachable(Reason),
    /// A card that was asked for each applet that is known here.
    Asked {
        /// The card's answer to reset.
        atr: Vec<u8>,
        /// What it said to SELECT, in the order in which it was asked.
        answers: Vec<Answer>,
    },
}

/// What a card said to the selection of an applet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// The applet, like `PIV`.
    pub applet: &'static str,
    /// The status word: 9000 where the card has it. 0 for an answer that has none.
    pub status: u16,
}

/// A smart card reader on USB.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UsbReader {
    /// Vendor and product, like `04e6:5116`.
    pub id: String,
    /// What it calls itself; may be empty.
    pub product: String,
    /// Whether some program has taken it. The service does that; another program with a driver of its own may, too.
    pub taken: bool,
}

/// A running program.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Program {
    /// Its process.
    pub pid: u32,
    /// Its name, at most 15 bytes.
    pub name: String,
}

/// Looks at the service of this machine, its readers and the cards in them. A card that nobody uses is asked for the applets
/// that are known here; no PIN is sent, and no key is used.
pub fn diagnose() -> Diagnosis {
    let socket = std::env::var_os(SOCKET_VARIABLE).map_or_else(|| SOCKET.into(), PathBuf::from);
    Diagnosis {
        socket_exists: socket.exists(),
        socket,
        service_installed: Path::new(SERVICE).exists(),
        readers: readers(&PcscReaders::default()),
        usb: usb_readers(Path::new("/sys/bus/usb/devices")),
        programs: programs(Path::new("/proc")),
    }
}

fn readers(source: &dyn Readers) -> Result<Vec<ReaderDiagnosis>, Reason> {
    let readers = source.list().map_err(reason)?;
    let looked_at = readers.into_iter().map(|reader| ReaderDiagnosis {
        card: card(source, &reader),
        name: reader.name,
    });
    Ok(looked_at.collect())
}

fn card(source: &dyn Readers, reader: &ReaderStatus) -> CardDiagnosis {
    match reader {
        ReaderStatus { present: false, .. } => return CardDiagnosis::Empty,
        ReaderStatus { mute: true, .. } => return CardDiagnosis::Mute,
        ReaderStatus { in_use: true, .. } => {
            return CardDiagnosis::InUse {
                atr: reader.atr.clone(),
            };
        }
        _ => {}
    }
    let asked = source.connect(reader).and_then(|mut link| {
        link.begin(SHORT_PATIENCE)?;
        let answers = ROWS.iter().map(|row| select(&mut *link, row)).collect();
        link.end();
        answers
    });
    match asked {
        Ok(answers) => CardDiagnosis::Asked {
            atr: reader.atr.clone(),
            answers,
        },
        Err(LinkError::Removed) => CardDiagnosis::Empty,
        Err(LinkError::Busy) => CardDiagnosis::Busy,
        Err(error) => CardDiagnosis::Unreachable(reason(error)),
    }
}

/// SELECT by name (ISO 7816-4 §11.2.2).
fn select(link: &mut dyn Link, row: &Row) -> Result<Answer, LinkError> {
    let len = u8::try_from(row.aid.len()).unwrap_or(u8::MAX);
    let mut command = vec![0x00, 0xa4, 0x04, 0x00, len];
    command.extend(row.aid);
    // In T=0 an answer is fetched apart, and 61xx is what tells of it.
    if !link.is_t0() {
        command.push(0);
    }
    let answer = link.transmit(&command)?;
    let status = match answer.last_chunk() {
        Some([0x61, _]) => 0x9000,
        Some(status) => u16::from_be_bytes(*status),
        None => 0,
    };
    Ok(Answer {
        applet: row.name,
        status,
    })
}

fn reason(error: LinkError) -> Reason {
    match error {
        LinkError::Mute(reason) | LinkError::Unavailable(reason) => reason,
        error => Reason::new(error.to_string()),
    }
}

/// The interfaces of the class of smart card readers, by their devices.
fn usb_readers(devices: &Path) -> Vec<UsbReader> {
    let Ok(entries) = fs::read_dir(devices) else {
        return Vec::new();
    };
    let mut found: Vec<_> = entries
        .filter_map(|entry| usb_reader(devices, &entry.ok()?.file_name().into_string().ok()?))
        .collect();
    // A device may have several such interfaces: it is taken if one of them is.
    found.sort_by(|(a, one), (b, other)| (a, !one.taken).cmp(&(b, !other.taken)));
    found.dedup_by(|(a, _), (b, _)| a == b);
    found.into_iter().map(|(_, reader)| reader).collect()
}

/// The reader of an interface such as `1-2:1.0`, with the name of its device.
fn usb_reader(devices: &Path, interface: &str) -> Option<(String, UsbReader)> {
    let (device, _) = interface.split_once(':')?;
    let text = |name: &Path| -> io::Result<String> {
        let bytes = fs::read(devices.join(name))?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    };
    if text(&Path::new(interface).join("bInterfaceClass")).ok()? != CCID_CLASS {
        return None;
    }
    let of_device = |name: &str| text(&Path::new(device).join(name)).unwrap_or_default();
    let reader = UsbReader {
        id: format!("{}:{}", of_device("idVendor"), of_device("idProduct")),
        product: of_device("product"),
        taken: devices.join(interface).join("driver").exists(),
    };
    Some((device.to_owned(), reader))
}

/// Who has the client's library in memory. The service does not tell who its clients are.
fn programs(processes: &Path) -> Vec<Program> {
    let Ok(entries) = fs::read_dir(processes) else {
        return Vec::new();
    };
    let program = |pid: u32| -> Option<Program> {
        let folder = processes.join(pid.to_string());
        let maps = fs::read(folder.join("maps")).ok()?;
        let library = CLIENT_LIBRARY.as_bytes();
        maps.windows(library.len()).find(|part| *part == library)?;
        let name = fs::read(folder.join("comm")).ok()?;
        Some(Program {
            pid,
            name: String::from_utf8_lossy(&name).trim().to_owned(),
        })
    };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let others = pids.filter(|pid| *pid != std::process::id());
    let mut found: Vec<_> = others.filter_map(program).collect();
    found.sort_by_key(|program| program.pid);
    found
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::symlink, time::Instant};

    use ctk_token::Wait;

    use super::*;

    /// A service with one reader, whose card answers each SELECT with the next of these.
    struct OneReader {
        status: ReaderStatus,
        answers: Result<Vec<Vec<u8>>, LinkError>,
    }

    struct Answers(Vec<Vec<u8>>);

    impl Readers for OneReader {
        fn list(&self) -> Result<Vec<ReaderStatus>, LinkError> {
            Ok(vec![self.status.clone()])
        }

        fn connect(&self, _: &ReaderStatus) -> Result<Box<dyn Link>, LinkError> {
            let mut answers = self.answers.clone()?;
            answers.reverse();
            Ok(Box::new(Answers(answers)))
        }

        fn wait(&self, _: &[ReaderStatus], _: Instant) -> Result<Wait, LinkError> {
            Ok(Wait::TimedOut)
        }
    }

    impl Link for Answers {
        fn atr(&self) -> &[u8] {
            &[]
        }

        fn was_in_use(&self) -> bool {
            false
        }

        fn max_command_len(&self) -> usize {
            261
        }

        fn begin(&mut self, _: std::time::Duration) -> Result<(), LinkError> {
            Ok(())
        }

        fn end(&mut self) {}

        fn transmit(&mut self, command: &[u8]) -> Result<Vec<u8>, LinkError> {
            assert_eq!(command[..4], [0x00, 0xa4, 0x04, 0x00]);
            assert_eq!(command.len(), 6 + usize::from(command[4]));
            self.0.pop().ok_or(LinkError::Removed)
        }

        fn reset_if_alone(&mut self) -> bool {
            false
        }

        fn reset(&mut self) -> bool {
            false
        }

        fn reset_when_dropped(&mut self) {}
    }

    fn found(status: ReaderStatus, answers: Result<Vec<Vec<u8>>, LinkError>) -> CardDiagnosis {
        let one = OneReader { status, answers };
        readers(&one).unwrap().remove(0).card
    }

    #[test]
    fn a_card_that_somebody_uses_is_not_asked() {
        let empty = ReaderStatus {
            name: "Reader".into(),
            atr: vec![0x3b],
            ..ReaderStatus::default()
        };
        let present = ReaderStatus {
            present: true,
            ..empty.clone()
        };
        let never = || Err(LinkError::Reset);
        assert_eq!(found(empty, never()), CardDiagnosis::Empty);
        let mute = ReaderStatus {
            mute: true,
            ..present.clone()
        };
        assert_eq!(found(mute, never()), CardDiagnosis::Mute);
        let used = ReaderStatus {
            in_use: true,
            ..present.clone()
        };
        let in_use = CardDiagnosis::InUse { atr: vec![0x3b] };
        assert_eq!(found(used, never()), in_use);
        let busy = found(present.clone(), Err(LinkError::Busy));
        assert_eq!(busy, CardDiagnosis::Busy);
        let sick = LinkError::Mute(Reason::new("sick"));
        let unreachable = CardDiagnosis::Unreachable(Reason::new("sick"));
        assert_eq!(found(present, Err(sick)), unreachable);
    }

    #[test]
    fn a_free_card_is_asked_for_every_applet() {
        let present = ReaderStatus {
            present: true,
            ..ReaderStatus::default()
        };
        let refused = vec![vec![0x6a, 0x82]; ROWS.len()];
        let CardDiagnosis::Asked { answers, .. } = found(present.clone(), Ok(refused)) else {
            panic!()
        };
        let names: Vec<_> = answers.iter().map(|answer| answer.applet).collect();
        let rows: Vec<_> = ROWS.iter().map(|row| row.name).collect();
        assert_eq!(names, rows);
        assert!(answers.iter().all(|answer| answer.status == 0x6a82));
        // An answer to be fetched, one of data, and none.
        for (answer, status) in [
            (vec![0x61, 0x10], 0x9000),
            (vec![1, 0x90, 0], 0x9000),
            (vec![7], 0),
        ] {
            let answers = vec![answer; ROWS.len()];
            let CardDiagnosis::Asked { answers, .. } = found(present.clone(), Ok(answers)) else {
                panic!()
            };
            assert!(answers.iter().all(|answer| answer.status == status));
        }
        // It was taken out while it was asked.
        assert_eq!(found(present, Ok(Vec::new())), CardDiagnosis::Empty);
    }

    #[test]
    fn readers_on_usb_are_found_by_their_class() {
        let folder = std::env::temp_dir().join(format!("ctk-usb-{}", std::process::id()));
        let write = |path: &str, text: &str| {
            let file = folder.join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        write("1-1/idVendor", "04e6\n");
        write("1-1/idProduct", "5116\n");
        write("1-1/product", "SCR3310 Reader\n");
        write("1-1:1.0/bInterfaceClass", "0b\n");
        write("1-1:1.1/bInterfaceClass", "0b\n");
        symlink(folder.join("1-1"), folder.join("1-1:1.0/driver")).unwrap();
        write("1-2/idVendor", "1050\n");
        write("1-2:1.0/bInterfaceClass", "03\n");
        write("1-3/idVendor", "1050\n");
        write("1-3:1.2/bInterfaceClass", "0b\n");
        let found = usb_readers(&folder);
        fs::remove_dir_all(&folder).unwrap();
        let reader = |id: &str, product: &str, taken| UsbReader {
            id: id.into(),
            product: product.into(),
            taken,
        };
        assert_eq!(
            found,
            [
                reader("04e6:5116", "SCR3310 Reader", true),
                reader("1050:", "", false)
            ]
        );
        assert_eq!(usb_readers(&folder), []);
    }

    #[test]
    fn who_uses_pcsc_is_seen_in_its_memory() {
        let folder = std::env::temp_dir().join(format!("ctk-proc-{}", std::process::id()));
        for (pid, name, maps) in [
            ("12", "scdaemon\n", "7f00 /usr/lib/libpcsclite.so.1.0.0\n"),
            ("13", "bash\n", "7f00 /usr/lib/libc.so.6\n"),
            ("self", "ctk\n", "7f00 /usr/lib/libpcsclite.so.1\n"),
        ] {
            fs::create_dir_all(folder.join(pid)).unwrap();
            fs::write(folder.join(pid).join("comm"), name).unwrap();
            fs::write(folder.join(pid).join("maps"), maps).unwrap();
        }
        let found = programs(&folder);
        fs::remove_dir_all(&folder).unwrap();
        let name = "scdaemon".to_owned();
        assert_eq!(found, [Program { pid: 12, name }]);
    }
}
