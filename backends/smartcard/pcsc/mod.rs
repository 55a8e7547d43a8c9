//! The readers of the system's PC/SC service.

mod link;
mod part10;
mod words;

use std::{
    ffi::CString,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use ctk_token::Wait;
use parking_lot::Mutex;
use pcsc::{Context, Error, PNP_NOTIFICATION, ReaderState, Scope, State};

use crate::{
    link::{Link, LinkError},
    readers::{ReaderStatus, Readers},
};
use link::PcscLink;
use words::link_error;

/// How many readers pcsc-lite can have, and takes in one question
/// (PCSCLITE_MAX_READERS_CONTEXTS).
const MAX_READERS: usize = 16;
/// Room for the names of all of them, 128 bytes each; more is asked for where it is needed.
const NAMES_LEN: usize = MAX_READERS * 128 + 1;

/// The readers of the system's PC/SC service. Nothing is asked of it before
/// [`list`](Readers::list).
///
/// A context of PC/SC is used by one thread at a time, the others wait: so each card has its own,
/// and each thread that waits for changes.
#[derive(Default)]
pub(crate) struct PcscReaders {
    looking: Mutex<Option<Service>>,
    /// Contexts that were waited with and are free.
    waiting: Mutex<Vec<Context>>,
    /// How often the service was found.
    found: AtomicU32,
}

/// The service, from when it was found until it ends.
struct Service {
    context: Context,
    /// Which one it is: each counts the events of its readers from zero.
    number: u32,
}

impl Readers for PcscReaders {
    fn list(&self) -> Result<Vec<ReaderStatus>, LinkError> {
        let mut looking = self.looking.lock();
        if let Some(service) = &*looking {
            match list(service) {
                Ok(readers) => return Ok(readers),
                // Readers come and go faster than they can be asked for; it is the same service.
                Err(error @ (Error::UnknownReader | Error::ServerTooBusy)) => {
                    return Err(link_error(error));
                }
                Err(error) => log::debug!("PC/SC: {error}; looking for the service again"),
            }
        }
        *looking = None;
        let service = Service {
            context: establish()?,
            number: self.found.fetch_add(1, Ordering::Relaxed),
        };
        let readers = list(&service).map_err(link_error)?;
        *looking = Some(service);
        Ok(readers)
    }

    fn connect(&self, reader: &ReaderStatus) -> Result<Box<dyn Link>, LinkError> {
        Ok(Box::new(PcscLink::connect(&establish()?, reader)?))
    }

    fn wait(&self, known: &[ReaderStatus], deadline: Instant) -> Result<Wait, LinkError> {
        let free = self.waiting.lock().pop();
        let context = free.map_or_else(establish, Ok)?;
        // A reader that came since is not among the known ones, and no change of those.
        let waited = match names(&context) {
            Ok(names) if names.len() != known.len() => Ok(()),
            Ok(_) => {
                let timeout = deadline.saturating_duration_since(Instant::now());
                context.get_status_change(timeout, &mut states_to_wait_for(known))
            }
            Err(error) => Err(error),
        };
        let wait = match waited {
            // A reader went away meanwhile.
            Ok(()) | Err(Error::UnknownReader) => Wait::Changed,
            Err(Error::Timeout) => Wait::TimedOut,
            // The service may be gone, and the context with it.
            Err(error) => return Err(link_error(error)),
        };
        self.waiting.lock().push(context);
        Ok(wait)
    }
}

/// What the service is to compare with: the known readers, and whether another comes. It takes no
/// more than [`MAX_READERS`] at once, so with as many as that none can come.
fn states_to_wait_for(known: &[ReaderStatus]) -> Vec<ReaderState> {
    let mut states: Vec<_> = known
        .iter()
        .filter_map(known_state)
        .take(MAX_READERS)
        .collect();
    if states.len() < MAX_READERS {
        states.push(ReaderState::new(PNP_NOTIFICATION(), State::UNAWARE));
    }
    states
}

fn establish() -> Result<Context, LinkError> {
    Context::establish(Scope::System).map_err(link_error)
}

fn list(service: &Service) -> Result<Vec<ReaderStatus>, Error> {
    // A reader may go between the two questions: then they are asked again.
    for _ in 0..3 {
        let mut states: Vec<_> = names(&service.context)?
            .into_iter()
            .map(|name| ReaderState::new(name, State::UNAWARE))
            .collect();
        if states.is_empty() {
            return Ok(Vec::new());
        }
        match service
            .context
            .get_status_change(Duration::ZERO, &mut states)
        {
            Ok(()) | Err(Error::Timeout) => {
                let statuses = states.iter().map(|state| status(state, service.number));
                return Ok(statuses.collect());
            }
            Err(Error::UnknownReader) => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::UnknownReader)
}

fn names(context: &Context) -> Result<Vec<CString>, Error> {
    let mut buffer = [0; NAMES_LEN];
    match context.list_readers(&mut buffer) {
        Ok(names) => Ok(names.map(ToOwned::to_owned).collect()),
        Err(Error::InsufficientBuffer) => context.list_readers_owned(),
        Err(error) => Err(error),
    }
}

/// Whether some program is connected to the card in a reader.
fn is_in_use(context: &Context, reader: &str) -> Result<bool, Error> {
    let name = CString::new(reader).map_err(|_| Error::UnknownReader)?;
    let mut states = [ReaderState::new(name, State::UNAWARE)];
    match context.get_status_change(Duration::ZERO, &mut states) {
        Ok(()) | Err(Error::Timeout) => Ok(states.iter().any(in_use)),
        Err(error) => Err(error),
    }
}

fn in_use(state: &ReaderState) -> bool {
    let flags = state.event_state();
    flags.intersects(State::INUSE | State::EXCLUSIVE)
}

fn status(state: &ReaderState, service: u32) -> ReaderStatus {
    let flags = state.event_state();
    let present = flags.contains(State::PRESENT);
    ReaderStatus {
        name: state.name().to_string_lossy().into_owned(),
        events: u64::from(service) << 32 | u64::from(state.event_count()),
        present,
        mute: present && flags.contains(State::MUTE),
        in_use: in_use(state),
        atr: if present {
            state.atr().to_vec()
        } else {
            Vec::new()
        },
    }
}

/// What the service compares with: it tells of a change if the presence or the count of events is
/// another. Who else uses the card is left out, so that it wakes nobody.
fn known_state(reader: &ReaderStatus) -> Option<ReaderState> {
    let name = CString::new(reader.name.as_str()).ok()?;
    let mut flags = if reader.present {
        State::PRESENT
    } else {
        State::EMPTY
    };
    if reader.mute {
        flags |= State::MUTE;
    }
    let count = pcsc::ffi::DWORD::from(events_of_service(reader.events)) << 16;
    Some(ReaderState::new(
        name,
        State::from_bits_retain(flags.bits() | count),
    ))
}

/// The service's own count: 16 bits of it.
fn events_of_service(events: u64) -> u16 {
    let [low, high, ..] = events.to_le_bytes();
    u16::from_le_bytes([low, high])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_is_never_asked_for_more_readers_than_it_takes() {
        let readers = |count: usize| -> Vec<_> {
            (0..count)
                .map(|number| ReaderStatus {
                    name: format!("{number}"),
                    ..ReaderStatus::default()
                })
                .collect()
        };
        let names = |count| -> Vec<_> {
            let states = states_to_wait_for(&readers(count));
            states.iter().map(|state| state.name().to_owned()).collect()
        };
        let new = PNP_NOTIFICATION().to_owned();
        assert_eq!(names(0), std::slice::from_ref(&new));
        assert_eq!((names(15).len(), names(15).contains(&new)), (16, true));
        assert_eq!((names(16).len(), names(16).contains(&new)), (16, false));
        assert_eq!(names(17).len(), 16);
    }
}
