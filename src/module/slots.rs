//! Slots and tokens (PKCS#11 §5.5): which there are, what is in them, and when that changes.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use cryptoki_sys::*;
use ctk_host::{Environment, Host};
use ctk_token::{LoginPolicy, PinState, Slot, Token, TokenInfo, Wait};
use parking_lot::Mutex;

use crate::{
    abi::ptr::{List, Place, ulong},
    error::{Error, Result},
    insertion::Insertion,
    library::Library,
    log_sink,
    session::Sessions,
};

/// How long one slice of a blocking C_WaitForSlotEvent lasts: C_Finalize ends the call within half
/// a second.
const SLICE: Duration = Duration::from_millis(400);

/// Where the module takes its slots from.
pub trait SlotSource: Send + Sync {
    /// Every slot there is. Slots are added but never dropped; a slot is the same `Arc` each time.
    fn slots(&self) -> Vec<Arc<dyn Slot>>;

    /// Blocks until some slot may have changed or `deadline` has come.
    ///
    /// # Errors
    /// [`TokenError::NotSupported`](ctk_token::TokenError::NotSupported) if nothing here can block:
    /// the module waits by itself and looks at the slots from time to time.
    fn wait_for_change(&self, deadline: Instant) -> ctk_token::Result<Wait>;

    /// The process ends without C_Finalize: what would outlive it ends, in a few seconds at most.
    /// Nothing to do by default.
    fn process_ends(&self) {}
}

impl SlotSource for Host {
    fn slots(&self) -> Vec<Arc<dyn Slot>> {
        Host::slots(self)
    }

    fn wait_for_change(&self, deadline: Instant) -> ctk_token::Result<Wait> {
        Host::wait_for_change(self, deadline)
    }

    fn process_ends(&self) {
        Host::process_ends(self);
    }
}

/// The slots that this process's configuration describes. What is wrong with it costs the token it
/// is about, and the host logs it.
pub(crate) fn configured() -> Box<dyn SlotSource> {
    let environment = Environment::from_process();
    log_sink::start(&environment);
    Box::new(Host::open(&environment))
}

/// A slot and its number.
pub(crate) struct SlotEntry {
    pub(crate) id: CK_SLOT_ID,
    slot: Arc<dyn Slot>,
    /// Whether tokens come and go here.
    removable: bool,
    /// Held while the slot is asked for its token, or two threads could see a change in different
    /// orders. Only who looks waits for it: sessions go by what is known.
    looking: Mutex<()>,
    state: Mutex<State>,
    /// Weak, because sessions know their slot.
    sessions: Weak<Sessions>,
}

struct State {
    inserted: Option<Arc<Insertion>>,
    /// Whether the state is what somebody has seen. What the first look finds is no event.
    seen: bool,
    /// What the slot had counted when somebody waited or looked last…
    changes: u64,
    /// … and when somebody looked for the token.
    looked: Option<u64>,
    /// Insertions and removals that C_WaitForSlotEvent has not told yet, as one.
    event: bool,
}

impl SlotEntry {
    /// A slot that is `late` came after others had been seen: it was empty then, and a token in it
    /// is one that was inserted.
    pub(crate) fn new(
        id: CK_SLOT_ID,
        slot: Arc<dyn Slot>,
        sessions: &Arc<Sessions>,
        late: bool,
    ) -> Self {
        Self {
            id,
            removable: slot.info().removable,
            slot,
            looking: Mutex::default(),
            state: Mutex::new(State {
                inserted: None,
                seen: late,
                changes: 0,
                looked: None,
                event: false,
            }),
            sessions: Arc::downgrade(sessions),
        }
    }

    /// Whether this is that slot.
    pub(crate) fn is(&self, slot: &Arc<dyn Slot>) -> bool {
        Arc::ptr_eq(&self.slot, slot)
    }

    /// Looks for the token that is here now: a card that has just come is asked what it is. Whoever
    /// is the first to see that the token before is gone ends its sessions and login.
    pub(crate) fn inserted(&self) -> Option<Arc<Insertion>> {
        let looking = self.looking.lock();
        let token = self.slot.token();
        let changes = self.slot.changes();
        let is_counted = self.state.lock().look(changes);
        if let Some(known) = self.known(token.as_ref()) {
            return known;
        }
        let now = token.map(|token| Arc::new(Insertion::new(token)));
        let mut state = self.state.lock();
        let before = std::mem::replace(&mut state.inserted, now.clone());
        // What was counted has been an event when it was.
        state.event |= state.seen && !is_counted;
        state.seen = true;
        drop(state);
        drop(looking);
        if let Some(before) = before {
            self.close(&before);
        }
        now
    }

    /// What is here, if that is this token, or none, as it was before.
    #[allow(clippy::option_option)] // whether it is known, and what it is
    fn known(&self, token: Option<&Arc<dyn Token>>) -> Option<Option<Arc<Insertion>>> {
        let mut state = self.state.lock();
        let same = match (&state.inserted, token) {
            (Some(inserted), Some(token)) => inserted.is(token) && !self.is_over(inserted),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        state.seen |= same;
        same.then(|| state.inserted.clone())
    }

    /// The token that is here now, for functions that need one.
    pub(crate) fn token(&self) -> Result<Arc<Insertion>> {
        self.inserted().ok_or(Error::TokenNotPresent)
    }

    /// Whether that insertion still lasts, as far as anybody knows. Asked by every call: no key
    /// store is asked, and nothing is touched that all threads share.
    pub(crate) fn holds(&self, insertion: &Insertion) -> bool {
        !self.removable || !insertion.is_over() && self.slot.holds(&insertion.token)
    }

    /// Looks whether that insertion still lasts.
    pub(crate) fn still_holds(&self, insertion: &Arc<Insertion>) -> bool {
        let is_it = |now: Arc<Insertion>| Arc::ptr_eq(&now, insertion);
        !self.removable || self.inserted().is_some_and(is_it)
    }

    /// Takes note that an insertion is over, and ends its sessions and login.
    pub(crate) fn removed(&self, insertion: &Arc<Insertion>) {
        let mut state = self.state.lock();
        let here = state.inserted.as_ref();
        if here.is_some_and(|here| Arc::ptr_eq(here, insertion)) {
            state.inserted = None;
            state.event = true;
        }
        drop(state);
        self.close(insertion);
    }

    fn is_over(&self, insertion: &Insertion) -> bool {
        self.removable && insertion.is_over()
    }

    /// Closes the sessions with a token that was here. Under no lock: they log out.
    fn close(&self, insertion: &Arc<Insertion>) {
        insertion.end();
        if let Some(sessions) = self.sessions.upgrade() {
            sessions.close_with(insertion);
        }
    }

    pub(crate) fn is_hardware(&self) -> bool {
        self.slot.info().hardware
    }

    /// Whether anybody has looked what is here.
    fn is_seen(&self) -> bool {
        self.state.lock().seen
    }

    /// Whether something changed here that has not been told. No card is asked where the slot
    /// counts: another program may keep it for long, and C_Finalize may come.
    fn take_event(&self) -> bool {
        match self.slot.changes() {
            Some(changes) => {
                let over = self.state.lock().wait(changes);
                if let Some(over) = over {
                    self.removed(&over);
                }
            }
            None => drop(self.inserted()),
        }
        std::mem::take(&mut self.state.lock().event)
    }
}

impl State {
    /// Takes note of what came and went while nobody looked.
    fn count(&mut self, changes: u64) {
        self.event |= self.seen && changes != self.changes;
        self.changes = changes;
    }

    /// Somebody looks for the token. Whether something was counted since the last time.
    fn look(&mut self, changes: Option<u64>) -> bool {
        let Some(changes) = changes else {
            return false;
        };
        self.count(changes);
        self.looked.replace(changes) != Some(changes)
    }

    /// Somebody waits for what comes and goes. What is over, if something did since the token was
    /// looked for.
    fn wait(&mut self, changes: u64) -> Option<Arc<Insertion>> {
        self.count(changes);
        self.seen = true;
        let is_over = self.looked.is_some_and(|looked| looked != changes);
        self.inserted.clone().filter(|_| is_over)
    }
}

/// C_GetSlotList (PKCS#11 §5.5.1).
///
/// A program that passes a large array at once, without asking for the number, sees new slots as
/// well. The first list looks into every slot: what comes and goes from then on is an event.
pub(crate) fn list(
    library: &Library,
    with_token_only: bool,
    out: Result<List<'_, CK_SLOT_ID>>,
) -> Result<()> {
    let out = out?;
    let ids: Vec<_> = library
        .refresh_slots()
        .iter()
        .filter(|slot| {
            let looks = with_token_only || !slot.is_seen();
            let present = looks && slot.inserted().is_some();
            present || !with_token_only
        })
        .map(|slot| slot.id)
        .collect();
    out.fill(&ids)
}

/// C_GetSlotInfo (PKCS#11 §5.5.2).
pub(crate) fn slot_info(
    library: &Library,
    id: CK_SLOT_ID,
    out: Result<Place<'_, CK_SLOT_INFO>>,
) -> Result<()> {
    let entry = library.slot(id)?;
    let out = out?;
    let info = entry.slot.info();
    let flags = [
        (entry.inserted().is_some(), CKF_TOKEN_PRESENT),
        (info.removable, CKF_REMOVABLE_DEVICE),
        (info.hardware, CKF_HW_SLOT),
    ];
    let none = CK_VERSION { major: 0, minor: 0 };
    out.set(CK_SLOT_INFO {
        slotDescription: padded(&info.description),
        manufacturerID: padded(&info.manufacturer),
        flags: set_flags(&flags),
        hardwareVersion: none,
        firmwareVersion: none,
    });
    Ok(())
}

/// C_GetTokenInfo (PKCS#11 §5.5.3).
pub(crate) fn token_info(
    library: &Library,
    id: CK_SLOT_ID,
    out: Result<Place<'_, CK_TOKEN_INFO>>,
) -> Result<()> {
    let insertion = library.slot(id)?.token()?;
    let out = out?;
    let info = insertion.read_info()?;
    let (read_only, read_write) = insertion.session_counts();
    let version = |(major, minor)| CK_VERSION { major, minor };
    out.set(CK_TOKEN_INFO {
        // NSS separates token and certificate by a colon. No backend and no configuration may have
        // one in a label; a foreign driver that does must not confuse NSS.
        label: padded(&info.label.replace(':', "_")),
        manufacturerID: padded(&info.manufacturer),
        model: padded(&info.model),
        serialNumber: padded(&info.serial_number),
        flags: token_flags(&info),
        ulMaxSessionCount: CK_EFFECTIVELY_INFINITE,
        ulSessionCount: ulong(read_only + read_write),
        ulMaxRwSessionCount: CK_EFFECTIVELY_INFINITE,
        ulRwSessionCount: ulong(read_write),
        ulMaxPinLen: ulong(info.max_pin_len),
        ulMinPinLen: ulong(info.min_pin_len),
        ulTotalPublicMemory: CK_UNAVAILABLE_INFORMATION,
        ulFreePublicMemory: CK_UNAVAILABLE_INFORMATION,
        ulTotalPrivateMemory: CK_UNAVAILABLE_INFORMATION,
        ulFreePrivateMemory: CK_UNAVAILABLE_INFORMATION,
        hardwareVersion: version(info.hardware_version),
        firmwareVersion: version(info.firmware_version),
        utcTime: padded(""),
    });
    Ok(())
}

fn token_flags(info: &TokenInfo) -> CK_FLAGS {
    let user_pin = match info.user_pin {
        PinState::Normal => 0,
        PinState::CountLow => CKF_USER_PIN_COUNT_LOW,
        PinState::FinalTry => CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY,
        PinState::Locked => CKF_USER_PIN_LOCKED,
    };
    let admin_pin = match info.admin_pin {
        PinState::Normal => 0,
        PinState::CountLow => CKF_SO_PIN_COUNT_LOW,
        PinState::FinalTry => CKF_SO_PIN_COUNT_LOW | CKF_SO_PIN_FINAL_TRY,
        PinState::Locked => CKF_SO_PIN_LOCKED,
    };
    let login = match info.login {
        LoginPolicy::App => CKF_LOGIN_REQUIRED,
        LoginPolicy::AppWithoutPin => CKF_LOGIN_REQUIRED | CKF_PROTECTED_AUTHENTICATION_PATH,
        // ssh-agent and servers stop at a token that asks for a login which they cannot make.
        LoginPolicy::OnUse => 0,
    };
    let protected = set_flags(&[(!info.writable, CKF_WRITE_PROTECTED)]);
    // What a token does not have, the crypto library has.
    let always =
        CKF_TOKEN_INITIALIZED | CKF_USER_PIN_INITIALIZED | CKF_RNG | CKF_DUAL_CRYPTO_OPERATIONS;
    always | user_pin | admin_pin | login | protected
}

fn set_flags(flags: &[(bool, CK_FLAGS)]) -> CK_FLAGS {
    flags
        .iter()
        .filter(|(set, _)| *set)
        .fold(0, |all, (_, flag)| all | flag)
}

/// C_WaitForSlotEvent (PKCS#11 §5.5.4). Blocks in slices, under no lock, until C_Finalize at the
/// latest. What is there at the first look is no event, so that one who has asked for nothing
/// before waits for what comes from now on.
pub(crate) fn wait_for_event(
    library: &Library,
    flags: CK_FLAGS,
    out: Result<Place<'_, CK_SLOT_ID>>,
    reserved_is_null: bool,
) -> Result<()> {
    let out = out?;
    if !reserved_is_null {
        return Err(Error::ArgumentsBad);
    }
    loop {
        for slot in library.refresh_slots() {
            if slot.take_event() {
                out.set(slot.id);
                return Ok(());
            }
            // A reader may have taken its time.
            library.check_running()?;
        }
        if flags & CKF_DONT_BLOCK != 0 {
            return Err(Error::NoEvent);
        }
        library.wait(SLICE)?;
    }
}

/// A field of PKCS#11 that is padded with blanks: `text`, cut between characters if it is too long.
pub(crate) fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [b' '; N];
    let mut end = text.len().min(N);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    for (place, byte) in field.iter_mut().zip(text.bytes().take(end)) {
        *place = byte;
    }
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_padded_and_cut_between_characters() {
        assert_eq!(&padded::<4>("ab"), b"ab  ");
        assert_eq!(&padded::<4>("abcde"), b"abcd");
        assert_eq!(padded::<4>("abcü"), *b"abc ");
        assert_eq!(padded::<5>("abcü"), *"abcü".as_bytes());
    }
}
