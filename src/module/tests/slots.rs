//! Readers and cards that come, go and take their time, and how programs hear of it.
#![allow(clippy::undocumented_unsafe_blocks)] // calls of the C functions that are under test
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a test's own functions

mod card;
mod support;

use std::{
    ptr::null_mut,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use card::{Card, Opens, Reader, Readers};
use cryptoki_sys::*;
use ctk_crypto::PrivateKey;
use ctk_pkcs11::abi::*;
use ctk_token::{Curve, KeyType, Reuse, Role, TokenError};
use support::*;

const NONE: Option<&()> = None;

fn card() -> Arc<Card> {
    let card = Card::new(Vec::new());
    let key = PrivateKey::generate(KeyType::Ec(Curve::P256)).unwrap();
    card.add_key(1, key, Reuse::Session);
    card
}

/// The module over one reader with a card in it.
fn one_reader() -> (Arc<Card>, Arc<Reader>, Arc<Readers>, Module) {
    let card = card();
    let reader = Reader::new("reader", Some(&card));
    let readers = Readers::new(&[Arc::clone(&reader)]);
    let module = Module::start_with(readers.source());
    (card, reader, readers, module)
}

fn slots(present: CK_BBOOL) -> Vec<CK_SLOT_ID> {
    let (mut slots, mut count) = ([0; 8], 8);
    let rv = unsafe { C_GetSlotList(present, slots.as_mut_ptr(), &raw mut count) };
    assert_eq!(rv, CKR_OK);
    slots[..count as usize].to_vec()
}

fn slot_flags(slot: CK_SLOT_ID) -> CK_FLAGS {
    let mut info = unsafe { std::mem::zeroed::<CK_SLOT_INFO>() };
    assert_eq!(unsafe { C_GetSlotInfo(slot, &raw mut info) }, CKR_OK);
    info.flags
}

fn token_flags(slot: CK_SLOT_ID) -> CK_FLAGS {
    let mut info = unsafe { std::mem::zeroed::<CK_TOKEN_INFO>() };
    assert_eq!(unsafe { C_GetTokenInfo(slot, &raw mut info) }, CKR_OK);
    info.flags
}

fn session_info(session: CK_SESSION_HANDLE) -> CK_RV {
    let mut info = unsafe { std::mem::zeroed::<CK_SESSION_INFO>() };
    unsafe { C_GetSessionInfo(session, &raw mut info) }
}

/// An event that is there already, or the error.
fn event() -> Result<CK_SLOT_ID, CK_RV> {
    wait(CKF_DONT_BLOCK)
}

fn wait(flags: CK_FLAGS) -> Result<CK_SLOT_ID, CK_RV> {
    let mut slot = 77;
    match unsafe { C_WaitForSlotEvent(flags, &raw mut slot, null_mut()) } {
        CKR_OK => Ok(slot),
        rv => Err(rv),
    }
}

#[test]
fn initialize_asks_nobody_and_a_number_is_enough_to_open_a_session() {
    let (card, reader, readers, _module) = one_reader();
    let mut info = unsafe { std::mem::zeroed::<CK_INFO>() };
    assert_eq!(unsafe { C_GetInfo(&raw mut info) }, CKR_OK);
    assert_eq!(readers.asked.load(Ordering::SeqCst), 0);
    let session = open(0, CKF_SERIAL_SESSION);
    assert_eq!(readers.asked.load(Ordering::SeqCst), 1);
    assert_eq!(reader.asked(), 1);
    // How to log in is known of the kind of token: nothing is asked of the card until somebody
    // wants to know.
    assert_eq!(card.infos.load(Ordering::SeqCst), 0);
    assert_eq!(card.loads.load(Ordering::SeqCst), 0);
    assert_eq!(login(session, CKU_USER, Some(PIN)), CKR_OK);
    assert_eq!(card.loads.load(Ordering::SeqCst), 0);
    // One look for a slot that is not there, each time: it may be by now.
    for looks in 2..4 {
        let mut session = 0;
        let flags = CKF_SERIAL_SESSION;
        let rv = unsafe { C_OpenSession(1, flags, null_mut(), None, &raw mut session) };
        assert_eq!(rv, CKR_SLOT_ID_INVALID);
        assert_eq!(readers.asked.load(Ordering::SeqCst), looks);
    }
}

#[test]
fn calls_of_sessions_ask_no_reader() {
    let (_card, reader, readers, module) = one_reader();
    let session = module.open_and_login();
    let key = of_class(session, CKO_PRIVATE_KEY)[0];
    let (looks, lists) = (reader.asked(), readers.asked.load(Ordering::SeqCst));
    for _ in 0..3 {
        assert_eq!(sign_init(session, CKM_ECDSA_SHA256, NONE, key), CKR_OK);
        assert_eq!(sign(session, b"x", 64).unwrap().len(), 64);
        assert_eq!(value(session, key, CKA_LABEL), Ok(b"Private 1".to_vec()));
    }
    assert_eq!(reader.asked(), looks);
    assert_eq!(readers.asked.load(Ordering::SeqCst), lists);
    // NSS wants to know by this whether the token is still there.
    assert_eq!(session_info(session), CKR_OK);
    assert_eq!(reader.asked(), looks + 1);
}

#[test]
fn what_the_first_look_finds_is_no_event_and_what_comes_then_is() {
    let first_looks: [fn(); 3] = [
        || assert_eq!(slots(CK_FALSE), [0, 1]),
        || assert_eq!(slots(CK_TRUE), [0]),
        || assert_eq!(event(), Err(CKR_NO_EVENT)),
    ];
    for first in first_looks {
        let card = card();
        let (full, empty) = (Reader::new("full", Some(&card)), Reader::new("empty", None));
        let readers = Readers::new(&[Arc::clone(&full), Arc::clone(&empty)]);
        let _module = Module::start_with(readers.source());
        first();
        assert_eq!(event(), Err(CKR_NO_EVENT));
        empty.insert(&card);
        assert_eq!(event(), Ok(1));
        assert_eq!(event(), Err(CKR_NO_EVENT));
        full.remove();
        assert_eq!(event(), Ok(0));
        // Out and in again between two calls is one event.
        empty.remove();
        empty.insert(&card);
        assert_eq!(event(), Ok(1));
        assert_eq!(event(), Err(CKR_NO_EVENT));
        // An event that the list showed first is one all the same.
        full.insert(&card);
        assert_eq!(slots(CK_TRUE), [0, 1]);
        assert_eq!(event(), Ok(0));
        assert_eq!(event(), Err(CKR_NO_EVENT));
    }
}

#[test]
fn a_card_that_came_and_went_while_nobody_looked_is_an_event() {
    let (full, empty) = (
        Reader::new("full", Some(&card())),
        Reader::new("empty", None),
    );
    for reader in [&full, &empty] {
        reader.counted.store(7, Ordering::SeqCst);
    }
    let readers = Readers::new(&[full, Arc::clone(&empty)]);
    let _module = Module::start_with(readers.source());
    assert_eq!(slots(CK_FALSE), [0, 1]);
    assert_eq!(event(), Err(CKR_NO_EVENT));
    empty.counted.fetch_add(2, Ordering::SeqCst);
    assert_eq!(event(), Ok(1));
    assert_eq!(event(), Err(CKR_NO_EVENT));
}

#[test]
fn what_is_counted_is_an_event_once_and_no_card_is_asked_for_it() {
    let (card, reader, readers, module) = one_reader();
    reader.counted.store(1, Ordering::SeqCst);
    let session = module.open_and_login();
    assert_eq!(event(), Err(CKR_NO_EVENT));
    let before = reader.asked();
    // The next card does not answer: another program keeps it.
    set_hold(&reader.slow, true);
    let _opens = Opens(&reader.slow);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| wait(0));
        eventually(|| readers.waiting.load(Ordering::SeqCst) == 1);
        reader.remove();
        reader.insert(&card);
        reader.counted.fetch_add(2, Ordering::SeqCst);
        readers.tell();
        eventually(|| waiter.is_finished());
        assert_eq!(waiter.join().unwrap(), Ok(0));
        // And nobody else is kept waiting, the end least of all.
        let waiter = scope.spawn(|| wait(0));
        eventually(|| readers.waiting.load(Ordering::SeqCst) == 1);
        assert_eq!(reader.asked(), before);
        assert_eq!(
            unsafe { C_CloseSession(session) },
            CKR_SESSION_HANDLE_INVALID
        );
        assert_eq!(unsafe { C_Finalize(null_mut()) }, CKR_OK);
        assert_eq!(waiter.join().unwrap(), Err(CKR_CRYPTOKI_NOT_INITIALIZED));
    });
    assert_eq!(reader.asked(), before);
}

#[test]
fn who_looks_after_an_event_that_was_counted_makes_no_other() {
    let (card, reader, _, module) = one_reader();
    reader.counted.store(1, Ordering::SeqCst);
    // Who waits first has seen nothing; what the first look finds then is no event either.
    assert_eq!(event(), Err(CKR_NO_EVENT));
    assert_eq!(slots(CK_TRUE), [0]);
    assert_eq!(event(), Err(CKR_NO_EVENT));
    let session = module.open();
    reader.remove();
    reader.counted.fetch_add(1, Ordering::SeqCst);
    assert_eq!(event(), Ok(0));
    assert_eq!(session_info(session), CKR_SESSION_HANDLE_INVALID);
    assert_eq!(event(), Err(CKR_NO_EVENT));
    reader.insert(&card);
    reader.counted.fetch_add(1, Ordering::SeqCst);
    assert_eq!(slots(CK_TRUE), [0]);
    assert_eq!(event(), Ok(0));
    assert_eq!(slots(CK_TRUE), [0]);
    assert_eq!(event(), Err(CKR_NO_EVENT));
    // A card that was gone for the program only, and is found again, is one as before.
    reader.remove();
    reader.insert(&card);
    assert_eq!(event(), Err(CKR_NO_EVENT));
    assert_eq!(slots(CK_TRUE), [0]);
    assert_eq!(event(), Ok(0));
    assert_eq!(event(), Err(CKR_NO_EVENT));
}

#[test]
fn a_card_in_a_reader_that_was_plugged_in_is_an_event_and_keeps_its_number() {
    let (card, _, readers, module) = one_reader();
    let session = module.open();
    let late = Reader::new("late", Some(&card));
    readers.plug_in(Arc::clone(&late));
    readers.plug_in(Reader::new("empty", None));
    assert_eq!(event(), Ok(1));
    assert_eq!(event(), Err(CKR_NO_EVENT));
    assert_eq!(
        (slots(CK_FALSE), slots(CK_TRUE)),
        (vec![0, 1, 2], vec![0, 1])
    );
    assert_eq!(slot_flags(2), CKF_REMOVABLE_DEVICE | CKF_HW_SLOT);
    assert_eq!(session_info(session), CKR_OK);
}

#[test]
fn a_removal_ends_sessions_login_and_objects_whoever_notices_it() {
    let notices: [fn(CK_SESSION_HANDLE, &Reader); 5] = [
        |session, _| assert_eq!(session_info(session), CKR_SESSION_HANDLE_INVALID),
        |_, _| assert_eq!(slot_flags(0) & CKF_TOKEN_PRESENT, 0),
        |_, _| assert_eq!(slots(CK_TRUE), [0; 0]),
        |_, _| assert_eq!(event(), Ok(0)),
        // Something else of the driver's: no call has asked the reader.
        |_, reader| reader.notice(),
    ];
    for notice in notices {
        let (card, reader, _, module) = one_reader();
        let session = module.open_and_login();
        let other = module.open();
        let key = of_class(session, CKO_PRIVATE_KEY)[0];
        assert_eq!(sign_init(other, CKM_ECDSA_SHA256, NONE, key), CKR_OK);
        reader.remove();
        notice(session, &reader);
        let rv = sign(other, b"x", 64).unwrap_err().0;
        assert_eq!(rv, CKR_SESSION_HANDLE_INVALID);
        assert_eq!(
            login(session, CKU_USER, Some(PIN)),
            CKR_SESSION_HANDLE_INVALID
        );
        assert_eq!(card.sessions.load(Ordering::SeqCst), 0);
        assert!(card.ended.lock().unwrap().contains(&Role::User));
        assert_eq!(slots(CK_TRUE), [0; 0]);
        // The same card again is another token: nobody is logged in, and no handle is what it was.
        reader.insert(&card);
        let session = module.open();
        assert_eq!(of_class(session, CKO_PRIVATE_KEY), [0; 0]);
        assert_eq!(login(session, CKU_USER, Some(PIN)), CKR_OK);
        assert_ne!(of_class(session, CKO_PRIVATE_KEY)[0], key);
        let refused = sign_init(session, CKM_ECDSA_SHA256, NONE, key);
        assert_eq!(refused, CKR_KEY_HANDLE_INVALID);
    }
}

#[test]
fn a_card_swapped_between_two_calls_is_another_token() {
    let (_card, reader, _, module) = one_reader();
    let session = module.open_and_login();
    let other = card();
    reader.remove();
    reader.insert(&other);
    assert_eq!(session_info(session), CKR_SESSION_HANDLE_INVALID);
    let fresh = module.open();
    let mut info = unsafe { std::mem::zeroed::<CK_SESSION_INFO>() };
    assert_eq!(unsafe { C_GetSessionInfo(fresh, &raw mut info) }, CKR_OK);
    assert_eq!(info.state, CKS_RO_PUBLIC_SESSION);
    assert_eq!(event(), Ok(0));
    assert_eq!(event(), Err(CKR_NO_EVENT));
}

#[test]
fn a_removal_in_the_middle_of_a_call_is_told_by_it_and_then_by_the_handle() {
    let (card, _, _, module) = one_reader();
    let session = module.open_and_login();
    let key = of_class(session, CKO_PRIVATE_KEY)[0];
    let removed = || *card.next_error.lock().unwrap() = Some(TokenError::TokenRemoved);
    assert_eq!(sign_init(session, CKM_ECDSA_SHA256, NONE, key), CKR_OK);
    removed();
    assert_eq!(sign(session, b"x", 64).unwrap_err().0, CKR_DEVICE_REMOVED);
    // What is opened before anybody looks at the old one is with what is there now.
    let fresh = module.open();
    assert_eq!(session_info(fresh), CKR_OK);
    assert_eq!(session_info(session), CKR_SESSION_HANDLE_INVALID);
    // At C_Login, and when the contents are read.
    let session = fresh;
    removed();
    assert_eq!(login(session, CKU_USER, Some(PIN)), CKR_DEVICE_REMOVED);
    assert_eq!(session_info(session), CKR_SESSION_HANDLE_INVALID);
    let session = module.open();
    removed();
    let rv = unsafe { C_FindObjectsInit(session, null_mut(), 0) };
    assert_eq!(rv, CKR_DEVICE_REMOVED);
    assert_eq!(session_info(session), CKR_SESSION_HANDLE_INVALID);
}

#[test]
fn a_reader_that_takes_its_time_keeps_nobody_else_waiting() {
    let (card, other) = (card(), card());
    let slow = Reader::new("slow", Some(&card));
    let fast = Reader::new("fast", Some(&other));
    let readers = Readers::new(&[Arc::clone(&slow), fast]);
    let module = Module::start_with(readers.source());
    let session = module.open_and_login();
    let key = of_class(session, CKO_PRIVATE_KEY)[0];
    let before = slow.asked();
    set_hold(&slow.slow, true);
    std::thread::scope(|scope| {
        let _opens = Opens(&slow.slow);
        let look = scope.spawn(|| slot_flags(0));
        eventually(|| slow.asked() > before);
        // Other slots, and what sessions of this one do.
        assert_ne!(slot_flags(1) & CKF_TOKEN_PRESENT, 0);
        let elsewhere = open(1, CKF_SERIAL_SESSION);
        assert_eq!(login(elsewhere, CKU_USER, Some(PIN)), CKR_OK);
        assert_eq!(sign_init(session, CKM_ECDSA_SHA256, NONE, key), CKR_OK);
        assert_eq!(sign(session, b"x", 64).unwrap().len(), 64);
        assert_eq!(unsafe { C_CloseSession(session) }, CKR_OK);
        set_hold(&slow.slow, false);
        assert_ne!(look.join().unwrap() & CKF_TOKEN_PRESENT, 0);
    });
}

#[test]
fn finalize_comes_to_an_end_while_a_reader_takes_its_time() {
    let (card, reader, _, module) = one_reader();
    let session = module.open_and_login();
    let before = reader.asked();
    set_hold(&reader.slow, true);
    std::thread::scope(|scope| {
        let _opens = Opens(&reader.slow);
        let waiter = scope.spawn(|| wait(0));
        let look = scope.spawn(move || session_info(session));
        eventually(|| reader.asked() > before);
        assert_eq!(unsafe { C_Finalize(null_mut()) }, CKR_OK);
        assert_eq!(card.sessions.load(Ordering::SeqCst), 0);
        set_hold(&reader.slow, false);
        assert_eq!(waiter.join().unwrap(), Err(CKR_CRYPTOKI_NOT_INITIALIZED));
        // It may have come before or after.
        let rv = look.join().unwrap();
        let ended = [
            CKR_OK,
            CKR_SESSION_HANDLE_INVALID,
            CKR_CRYPTOKI_NOT_INITIALIZED,
        ];
        assert!(ended.contains(&rv), "{rv:#x}");
    });
}

#[test]
fn of_two_waiters_each_event_wakes_one_and_finalize_both() {
    let (card, reader, readers, _module) = one_reader();
    std::thread::scope(|scope| {
        // Asked for nothing before: what is there now is no event.
        let waiters = [scope.spawn(|| wait(0)), scope.spawn(|| wait(0))];
        eventually(|| readers.waiting.load(Ordering::SeqCst) == 2);
        reader.remove();
        readers.tell();
        eventually(|| waiters.iter().filter(|waiter| waiter.is_finished()).count() == 1);
        reader.insert(&card);
        readers.tell();
        let told = waiters.map(|waiter| waiter.join().unwrap());
        assert_eq!(told, [Ok(0), Ok(0)]);

        let waiters = [scope.spawn(|| wait(0)), scope.spawn(|| wait(0))];
        eventually(|| readers.waiting.load(Ordering::SeqCst) == 2);
        assert_eq!(unsafe { C_Finalize(null_mut()) }, CKR_OK);
        let ended = waiters.map(|waiter| waiter.join().unwrap());
        assert_eq!(ended, [Err(CKR_CRYPTOKI_NOT_INITIALIZED); 2]);
    });
    // A driver that blocks hears of C_Finalize no later than this.
    let longest = *readers.longest_wait.lock().unwrap();
    assert!(longest < Duration::from_millis(500), "{longest:?}");
}

#[test]
fn a_slot_with_a_token_tells_of_it_and_of_its_pins_as_they_are() {
    let (card, _, _, module) = one_reader();
    let session = module.open();
    let officer = open(0, CKF_SERIAL_SESSION | CKF_RW_SESSION);
    assert_ne!(slot_flags(0) & CKF_TOKEN_PRESENT, 0);
    let pins = CKF_USER_PIN_COUNT_LOW
        | CKF_USER_PIN_FINAL_TRY
        | CKF_USER_PIN_LOCKED
        | CKF_SO_PIN_COUNT_LOW
        | CKF_SO_PIN_FINAL_TRY
        | CKF_SO_PIN_LOCKED;
    assert_eq!(token_flags(0) & pins, 0);
    let user = [
        CKF_USER_PIN_COUNT_LOW,
        CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY,
        CKF_USER_PIN_LOCKED,
    ];
    for expected in user {
        assert_eq!(login(session, CKU_USER, Some(b"wrong")), CKR_PIN_INCORRECT);
        assert_eq!(token_flags(0) & pins, expected);
    }
    assert_eq!(login(session, CKU_USER, Some(PIN)), CKR_PIN_LOCKED);
    assert_eq!(unsafe { C_CloseSession(session) }, CKR_OK);
    card.wrong.store(0, Ordering::SeqCst);
    let so = [
        CKF_SO_PIN_COUNT_LOW,
        CKF_SO_PIN_COUNT_LOW | CKF_SO_PIN_FINAL_TRY,
        CKF_SO_PIN_LOCKED,
    ];
    for expected in so {
        assert_eq!(login(officer, CKU_SO, Some(b"wrong")), CKR_PIN_INCORRECT);
        assert_eq!(token_flags(0) & pins, expected);
    }
    // Whatever state the card is in, it is there.
    *card.next_error.lock().unwrap() = Some(TokenError::TimedOut);
    assert_ne!(slot_flags(0) & CKF_TOKEN_PRESENT, 0);
    assert_eq!(token_flags(0) & pins, CKF_SO_PIN_LOCKED);
    assert_eq!(token_flags(0) & CKF_WRITE_PROTECTED, 0);
}
