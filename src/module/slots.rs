//! Slots and tokens (PKCS#11 §5.5): which there are, what is in them, and when that changes.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use cryptoki_sys::*;
use ctk_host::{Environment, Host};
use ctk_token::{LoginPolicy, PinState, Slot, TokenInfo, Wait};
use parking_lot::Mutex;

use crate::{
    abi::ptr::{List, Place, ulong},
    error::{Error, Result},
    insertion::Insertion,
    library::Library,
    log_sink,
    session::Sessions,
};

/// How long one slice of a blocking C_WaitForSlotEvent lasts.
const SLICE: Duration = Duration::from_millis(500);

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
}

impl SlotSource for Host {
    fn slots(&self) -> Vec<Arc<dyn Slot>> {
        Host::slots(self)
    }

    fn wait_for_change(&self, deadline: Instant) -> ctk_token::Result<Wait> {
        Host::wait_for_change(self, deadline)
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
    state: Mutex<State>,
    /// Weak, because sessions know their slot.
    sessions: Weak<Sessions>,
}

#[derive(Default)]
struct State {
    inserted: Option<Arc<Insertion>>,
    /// Insertions and removals that C_WaitForSlotEvent has not told yet, as one.
    event: bool,
}

impl SlotEntry {
    pub(crate) fn new(id: CK_SLOT_ID, slot: Arc<dyn Slot>, sessions: &Arc<Sessions>) -> Self {
        Self {
            id,
            removable: slot.info().removable,
            slot,
            state: Mutex::default(),
            sessions: Arc::downgrade(sessions),
        }
    }

    /// Whether this is that slot.
    pub(crate) fn is(&self, slot: &Arc<dyn Slot>) -> bool {
        Arc::ptr_eq(&self.slot, slot)
    }

    /// The token that is here now.
    pub(crate) fn inserted(&self) -> Option<Arc<Insertion>> {
        self.look(|inserted| inserted.cloned())
    }

    /// Looks at what is here now. Whoever is the first to see that the token before is gone ends its
    /// sessions and login.
    fn look<R>(&self, look: impl FnOnce(Option<&Arc<Insertion>>) -> R) -> R {
        // Asked under the lock, or two threads could see a change in different orders. By contract
        // the slot answers from memory.
        let mut state = self.state.lock();
        let token = self.slot.token();
        let same = match (&state.inserted, &token) {
            (Some(inserted), Some(token)) => inserted.is(token),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        if same {
            return look(state.inserted.as_ref());
        }
        let now = token.map(|token| Arc::new(Insertion::new(token)));
        let before = std::mem::replace(&mut state.inserted, now.clone());
        state.event = true;
        drop(state);
        if let (Some(before), Some(sessions)) = (before, self.sessions.upgrade()) {
            sessions.close_with(&before);
        }
        look(now.as_ref())
    }

    /// The token that is here now, for functions that need one.
    pub(crate) fn token(&self) -> Result<Arc<Insertion>> {
        self.inserted().ok_or(Error::TokenNotPresent)
    }

    /// Whether that insertion still lasts.
    pub(crate) fn holds(&self, insertion: &Arc<Insertion>) -> bool {
        // Asked by every call, so that it must not touch what all threads share.
        !self.removable
            || self
                .look(|inserted| inserted.is_some_and(|inserted| Arc::ptr_eq(inserted, insertion)))
    }

    pub(crate) fn is_hardware(&self) -> bool {
        self.slot.info().hardware
    }

    /// Whether something changed here that has not been told.
    fn take_event(&self) -> bool {
        self.inserted();
        std::mem::take(&mut self.state.lock().event)
    }

    /// Takes what is here now as told.
    pub(crate) fn forget_events(&self) {
        self.take_event();
    }
}

/// C_GetSlotList (PKCS#11 §5.5.1).
///
/// A program that passes a large array at once, without asking for the number, sees new slots as
/// well.
pub(crate) fn list(
    library: &Library,
    with_token_only: bool,
    out: Result<List<'_, CK_SLOT_ID>>,
) -> Result<()> {
    let out = out?;
    let ids: Vec<_> = library
        .refresh_slots()
        .iter()
        .filter(|slot| !with_token_only || slot.inserted().is_some())
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
    let info = insertion.token.info();
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
    let pin = match info.user_pin {
        PinState::Normal => 0,
        PinState::CountLow => CKF_USER_PIN_COUNT_LOW,
        PinState::FinalTry => CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY,
        PinState::Locked => CKF_USER_PIN_LOCKED,
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
    always | pin | login | protected
}

fn set_flags(flags: &[(bool, CK_FLAGS)]) -> CK_FLAGS {
    flags
        .iter()
        .filter(|(set, _)| *set)
        .fold(0, |all, (_, flag)| all | flag)
}

/// C_WaitForSlotEvent (PKCS#11 §5.5.4). Blocks in slices, under no lock, until C_Finalize at the
/// latest.
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
        if let Some(slot) = library
            .refresh_slots()
            .iter()
            .find(|slot| slot.take_event())
        {
            out.set(slot.id);
            return Ok(());
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
