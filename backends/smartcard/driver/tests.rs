//! Tests with readers that do what they are told.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ctk_token::{KeychainContents, Reason, TokenError, TokenInfo, TokenSession};

use super::{slot::Found, *};

/// The first byte of the answer to reset says what becomes of a card.
const KNOWN: u8 = 1;
const UNKNOWN: u8 = 2;
const BUSY: u8 = 3;
/// It is reset by somebody else the first time that it is asked.
const RESET: u8 = 4;

/// A token of nothing.
#[derive(Default)]
struct TestToken {
    removed: AtomicBool,
    looked_after: AtomicUsize,
}

impl Token for TestToken {
    fn info(&self) -> TokenInfo {
        TokenInfo::software("test", "test", "")
    }

    fn contents(&self) -> Arc<KeychainContents> {
        Arc::default()
    }

    fn create_session(&self) -> Result<Arc<dyn TokenSession>> {
        Err(TokenError::TokenRemoved)
    }
}

impl Inserted for TestToken {
    fn removed(&self) {
        self.removed.store(true, Ordering::Relaxed);
    }

    fn look_after(&self) {
        self.looked_after.fetch_add(1, Ordering::Relaxed);
    }

    fn process_ends(&self) {
        self.removed();
    }

    fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Relaxed)
    }
}

struct TestLink {
    atr: Vec<u8>,
    connected: usize,
}

impl Link for TestLink {
    fn atr(&self) -> &[u8] {
        &self.atr
    }

    fn was_in_use(&self) -> bool {
        false
    }

    fn max_command_len(&self) -> usize {
        // Which try it is, for the recognition below.
        self.connected
    }

    fn begin(&mut self, _: Duration) -> std::result::Result<(), LinkError> {
        Ok(())
    }

    fn end(&mut self) {}

    fn transmit(&mut self, _: &[u8]) -> std::result::Result<Vec<u8>, LinkError> {
        Err(LinkError::Removed)
    }

    fn reset_if_alone(&mut self) -> bool {
        false
    }

    fn reset(&mut self) -> bool {
        false
    }

    fn reset_when_dropped(&mut self) {}
}

#[allow(clippy::needless_pass_by_value, reason = "a card takes it")]
fn recognize(link: Box<dyn Link>) -> std::result::Result<Option<Arc<dyn Inserted>>, LinkError> {
    match link.atr() {
        [KNOWN, ..] => Ok(Some(Arc::new(TestToken::default()))),
        [RESET, ..] if link.max_command_len() == 1 => Err(LinkError::Reset),
        [RESET, ..] => Ok(Some(Arc::new(TestToken::default()))),
        [BUSY, ..] => Err(LinkError::Busy),
        _ => Ok(None),
    }
}

/// What the test and the driver share.
#[derive(Default)]
struct Script {
    readers: Mutex<Option<Vec<ReaderStatus>>>,
    /// What is wrong for the moment.
    passing: Mutex<Option<LinkError>>,
    /// Why nothing can be waited for.
    no_waiting: Mutex<Option<LinkError>>,
    lists: AtomicUsize,
    connects: AtomicUsize,
    waits: AtomicUsize,
}

struct ScriptedReaders(Arc<Script>);

impl Readers for ScriptedReaders {
    fn list(&self) -> std::result::Result<Vec<ReaderStatus>, LinkError> {
        self.0.lists.fetch_add(1, Ordering::Relaxed);
        if let Some(passing) = self.0.passing.lock().clone() {
            return Err(passing);
        }
        let readers = self.0.readers.lock().clone();
        readers.ok_or_else(|| LinkError::Unavailable(Reason::new("no service")))
    }

    fn connect(&self, reader: &ReaderStatus) -> std::result::Result<Box<dyn Link>, LinkError> {
        Ok(Box::new(TestLink {
            atr: reader.atr.clone(),
            connected: 1 + self.0.connects.fetch_add(1, Ordering::Relaxed),
        }))
    }

    fn wait(&self, _: &[ReaderStatus], _: Instant) -> std::result::Result<Wait, LinkError> {
        self.0.waits.fetch_add(1, Ordering::Relaxed);
        match self.0.no_waiting.lock().clone() {
            Some(error) => Err(error),
            None => Ok(Wait::TimedOut),
        }
    }
}

struct Bed {
    driver: Driver,
    script: Arc<Script>,
}

impl Bed {
    fn new(readers: &[ReaderStatus]) -> Self {
        Self::configured(Configuration::default(), readers)
    }

    fn configured(configuration: Configuration, readers: &[ReaderStatus]) -> Self {
        let script = Arc::new(Script::default());
        *script.readers.lock() = Some(readers.to_vec());
        let readers = Box::new(ScriptedReaders(script.clone()));
        Self {
            driver: Driver::recognizing(configuration, readers, recognize),
            script,
        }
    }

    /// Now it is like this, and what was seen before is old.
    fn now(&self, readers: &[ReaderStatus]) {
        *self.script.readers.lock() = Some(readers.to_vec());
        self.later();
    }

    fn service_ends(&self) {
        *self.script.readers.lock() = None;
        self.later();
    }

    fn later(&self) {
        self.driver.source.view.lock().at = None;
    }

    fn ids(&self) -> Vec<String> {
        let slots = self.driver.slots();
        slots.iter().map(|slot| slot.id().to_owned()).collect()
    }

    fn slot(&self, index: usize) -> Arc<dyn Slot> {
        self.driver.slots()[index].clone()
    }

    fn connects(&self) -> usize {
        self.script.connects.load(Ordering::Relaxed)
    }

    fn lists(&self) -> usize {
        self.script.lists.load(Ordering::Relaxed)
    }
}

fn empty(name: &str, events: u64) -> ReaderStatus {
    ReaderStatus {
        name: name.into(),
        events,
        ..ReaderStatus::default()
    }
}

fn card(name: &str, events: u64, kind: u8) -> ReaderStatus {
    ReaderStatus {
        present: true,
        atr: vec![kind],
        ..empty(name, events)
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_millis(250)
}

#[test]
fn nobody_is_asked_before_slots_are() {
    let bed = Bed::new(&[card("A", 1, KNOWN)]);
    assert_eq!(bed.lists(), 0);
    assert_eq!(bed.ids(), ["A"]);
    assert_eq!((bed.lists(), bed.connects()), (1, 0));
}

#[test]
fn a_slot_waits_for_the_first_reader() {
    let bed = Bed::new(&[]);
    bed.service_ends();
    assert_eq!(bed.ids(), [NO_READER]);
    let slot = bed.slot(0);
    let info = slot.info();
    assert_eq!(info.description, "No smart card reader");
    assert!(info.removable && info.hardware && slot.token().is_none());
    // It becomes the reader by itself, without anybody asking for slots.
    bed.now(&[empty("A", 0), card("B", 1, KNOWN)]);
    assert!(slot.token().is_some());
    assert_eq!((slot.id(), &*slot.info().description), ("B", "B"));
    assert_eq!(bed.ids(), ["B", "A"]);
    assert!(Arc::ptr_eq(&slot, &bed.slot(0)));
}

#[test]
fn slots_keep_their_place() {
    let (a, b) = (empty("A", 0), card("B", 1, KNOWN));
    let bed = Bed::new(&[a.clone(), b.clone()]);
    assert_eq!(bed.ids(), ["B", "A"]);
    let before = bed.driver.slots();
    let token = before[0].token().unwrap();
    bed.now(&[a.clone(), card("C", 4, KNOWN)]);
    assert_eq!(bed.ids(), ["B", "A", "C"]);
    assert!(before[0].token().is_none() && !before[0].holds(&token));
    bed.now(&[]);
    assert_eq!(bed.ids(), ["B", "A", "C"]);
    bed.now(&[b, a]);
    assert_eq!(bed.ids(), ["B", "A", "C"]);
    let after = bed.driver.slots();
    assert!(
        before
            .iter()
            .zip(&after)
            .all(|(old, new)| Arc::ptr_eq(old, new))
    );
    assert!(before[0].token().is_some());
}

#[test]
fn a_token_is_the_same_until_something_happens() {
    let bed = Bed::new(&[card("A", 1, KNOWN)]);
    let slot = bed.slot(0);
    let token = slot.token().unwrap();
    bed.now(&[ReaderStatus {
        in_use: true,
        ..card("A", 1, KNOWN)
    }]);
    assert!(Arc::ptr_eq(&token, &slot.token().unwrap()) && slot.holds(&token));
    assert_eq!(bed.connects(), 1);
    // Taken out and put in again: the count tells, though there is a card each time.
    bed.now(&[card("A", 3, KNOWN)]);
    let other = slot.token().unwrap();
    assert!(!Arc::ptr_eq(&token, &other));
    assert!(!slot.holds(&token) && slot.holds(&other));
    assert_eq!(bed.connects(), 2);
}

#[test]
fn who_holds_a_removed_token_is_told() {
    let bed = Bed::new(&[card("A", 1, KNOWN)]);
    bed.driver.source.look();
    let slot = ReaderSlot::new(0, &bed.driver.source);
    slot.token().unwrap();
    let inside = slot.current.read().token.clone().unwrap();
    bed.now(&[empty("A", 2)]);
    assert!(!inside.is_removed());
    assert!(slot.token().is_none());
    assert!(inside.is_removed());
}

#[test]
fn an_operation_that_finds_the_card_gone_has_it_looked_for_again() {
    let bed = Bed::new(&[card("A", 1, KNOWN)]);
    bed.driver.source.look();
    let slot = ReaderSlot::new(0, &bed.driver.source);
    let token = slot.token().unwrap();
    slot.current.read().token.as_ref().unwrap().removed();
    assert!(!slot.holds(&token));
    let other = slot.token().unwrap();
    assert!(!Arc::ptr_eq(&token, &other) && slot.holds(&other));
}

#[test]
fn a_card_of_no_known_kind_is_asked_once() {
    let bed = Bed::new(&[card("A", 1, UNKNOWN)]);
    let slot = bed.slot(0);
    for _ in 0..3 {
        bed.later();
        assert!(slot.token().is_none());
    }
    assert_eq!(bed.connects(), 1);
    let obstacle = slot.obstacle().unwrap();
    assert!(obstacle.as_str().contains("no kind that is known"));
    bed.now(&[card("A", 3, KNOWN)]);
    assert!(slot.token().is_some() && slot.obstacle().is_none());
    bed.now(&[]);
    assert!(slot.token().is_none() && slot.obstacle().is_none());
}

#[test]
fn a_mute_card_is_no_token() {
    let bed = Bed::new(&[ReaderStatus {
        mute: true,
        ..card("A", 1, KNOWN)
    }]);
    let slot = bed.slot(0);
    assert!(slot.token().is_none());
    let obstacle = slot.obstacle().unwrap();
    assert!(obstacle.as_str().contains("does not answer"));
    assert_eq!(bed.connects(), 0);
}

#[test]
fn a_busy_card_is_asked_again_after_a_while() {
    let bed = Bed::new(&[card("A", 1, BUSY)]);
    bed.driver.source.look();
    let slot = ReaderSlot::new(0, &bed.driver.source);
    assert!(slot.token().is_none() && slot.token().is_none());
    assert_eq!(bed.connects(), 1);
    let obstacle = slot.obstacle().unwrap();
    assert!(obstacle.as_str().contains("another program"));
    match &mut slot.inside.lock().found {
        Found::Failed(until, _) => *until = Instant::now(),
        _ => panic!("it was not busy"),
    }
    bed.now(&[card("A", 1, KNOWN)]);
    assert!(slot.token().is_some());
    assert_eq!(bed.connects(), 2);
}

#[test]
fn nobody_who_wants_to_know_why_waits_for_a_card_that_is_asked() {
    let bed = Bed::new(&[card("A", 1, BUSY)]);
    bed.driver.source.look();
    let slot = ReaderSlot::new(0, &bed.driver.source);
    assert!(slot.token().is_none());
    let asked = slot.inside.lock();
    let answer = std::thread::scope(|scope| {
        let (said, answer) = std::sync::mpsc::channel();
        let slot = &slot;
        scope.spawn(move || said.send(slot.obstacle()));
        let answer = answer.recv_timeout(Duration::from_secs(20));
        drop(asked);
        answer
    });
    assert!(answer.unwrap().is_some());
}

#[test]
fn a_card_that_is_reset_meanwhile_is_asked_again() {
    let bed = Bed::new(&[card("A", 1, RESET)]);
    assert!(bed.slot(0).token().is_some());
    assert_eq!(bed.connects(), 2);
}

#[test]
fn readers_are_chosen_by_parts_of_their_names() {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let readers = [empty("Yubico 00", 0), empty("Omnikey 01", 0)];
    let ids = |readers_: &[&str], not_readers: &[&str]| {
        let configuration = Configuration {
            readers: texts(readers_),
            not_readers: texts(not_readers),
        };
        Bed::configured(configuration, &readers).ids()
    };
    assert_eq!(ids(&[], &[]), ["Yubico 00", "Omnikey 01"]);
    assert_eq!(ids(&["Yubico"], &[]), ["Yubico 00"]);
    assert_eq!(ids(&[], &["Yubico"]), ["Omnikey 01"]);
    assert_eq!(ids(&["00", "01"], &["key"]), ["Yubico 00"]);
    assert_eq!(ids(&["other"], &[]), [NO_READER]);
}

#[test]
fn sixteen_readers_are_slots() {
    let readers: Vec<_> = (0..20)
        .map(|number| empty(&format!("{number}"), 0))
        .collect();
    let bed = Bed::new(&readers);
    assert_eq!(bed.ids().len(), MAX_READERS);
    assert_eq!(bed.ids().last().unwrap(), "15");
}

#[test]
fn a_reader_that_has_another_name_each_time_gets_the_slot_of_one_that_is_gone() {
    let others: Vec<_> = (0..MAX_READERS - 1)
        .map(|number| empty(&format!("{number}"), 0))
        .collect();
    let with = |reader: ReaderStatus| [&others[..], &[reader]].concat();
    let bed = Bed::new(&others);
    assert_eq!(bed.ids().len(), MAX_READERS - 1);
    let mut former: Option<Arc<dyn Token>> = None;
    for number in 0..40 {
        // The count of events says nothing: each name begins at the same.
        let name = format!("A {number}");
        bed.now(&with(card(&name, 1, KNOWN)));
        let slots = bed.driver.slots();
        assert_eq!(slots.len(), MAX_READERS);
        let slot = &slots[MAX_READERS - 1];
        assert_eq!((slot.id(), &*slot.info().description), (&*name, &*name));
        let token = slot.token().unwrap();
        if let Some(former) = former.replace(token) {
            assert!(!slot.holds(&former));
        }
    }
    // The names that are lent out stay what they are.
    let slot = bed.slot(MAX_READERS - 1);
    let lent = slot.id();
    bed.now(&with(empty("B", 1)));
    assert!(slot.token().is_none());
    assert_eq!((lent, slot.id()), ("A 39", "B"));
    assert_eq!(bed.ids()[..2], ["0", "1"]);
    // Nobody has to leave who is there.
    bed.now(&[with(empty("B", 1)), vec![empty("C", 0)]].concat());
    assert!(!bed.ids().contains(&"C".to_owned()));
    let left_out = || bed.driver.source.view.lock().left_out.clone();
    assert_eq!(left_out(), ["C"]);
    bed.now(&with(empty("C", 0)));
    assert_eq!(bed.ids()[MAX_READERS - 1], "C");
    assert!(left_out().is_empty());
}

#[test]
fn what_comes_and_goes_is_counted_without_asking_a_card() {
    let bed = Bed::new(&[]);
    let slot = bed.slot(0);
    let mut before = slot.changes();
    let mut is_changed = |readers: &[ReaderStatus]| {
        bed.now(readers);
        std::mem::replace(&mut before, slot.changes()) != before
    };
    assert!(!is_changed(&[empty("A", 0)]));
    assert!(is_changed(&[card("A", 1, KNOWN)]));
    assert!(!is_changed(&[card("A", 1, KNOWN)]));
    // Out and in again, in and out again, and with the reader.
    assert!(is_changed(&[card("A", 3, KNOWN)]));
    assert!(is_changed(&[empty("A", 4)]));
    assert!(is_changed(&[empty("A", 6)]));
    assert!(!is_changed(&[]) && !is_changed(&[empty("A", 0)]));
    assert!(is_changed(&[card("A", 1, KNOWN)]));
    assert!(is_changed(&[]));
    assert_eq!(bed.connects(), 0);
}

#[test]
fn the_service_may_end_and_come_back() {
    let bed = Bed::new(&[card("A", 1, KNOWN)]);
    let slot = bed.slot(0);
    let token = slot.token().unwrap();
    bed.service_ends();
    assert!(slot.token().is_none() && !slot.holds(&token));
    assert_eq!(bed.ids(), ["A"]);
    // Another service counts anew, and its count is told apart.
    bed.now(&[card("A", 1 << 32 | 1, KNOWN)]);
    assert!(!Arc::ptr_eq(&token, &slot.token().unwrap()));
}

#[test]
fn a_failure_that_passes_removes_nothing() {
    let bed = Bed::new(&[card("A", 1, KNOWN)]);
    let slot = bed.slot(0);
    let token = slot.token().unwrap();
    *bed.script.passing.lock() = Some(LinkError::Busy);
    bed.later();
    assert!(Arc::ptr_eq(&token, &slot.token().unwrap()) && slot.holds(&token));
    *bed.script.passing.lock() = None;
    assert!(Arc::ptr_eq(&token, &slot.token().unwrap()));
    assert_eq!(bed.connects(), 1);
}

#[test]
fn many_questions_at_once_are_one_for_the_service() {
    let bed = Bed::new(&[card("A", 1, KNOWN)]);
    let slot = bed.slot(0);
    let started = Instant::now();
    for _ in 0..1000 {
        assert!(slot.token().is_some());
    }
    let periods = started.elapsed().as_millis() / FRESH.as_millis();
    assert!(bed.lists() as u128 <= periods + 2, "{}", bed.lists());
    let token = slot.token().unwrap();
    let before = bed.lists();
    for _ in 0..1000 {
        assert!(slot.holds(&token));
    }
    assert_eq!(bed.lists(), before);
}

#[test]
fn a_change_is_told_once() {
    let bed = Bed::new(&[empty("A", 0)]);
    assert!(!bed.driver.changed());
    bed.now(&[card("A", 1, KNOWN)]);
    assert!(bed.driver.changed() && !bed.driver.changed());
    // In and out again is a change as well.
    bed.now(&[card("A", 3, KNOWN)]);
    assert!(bed.driver.changed() && !bed.driver.changed());
    bed.now(&[]);
    assert!(bed.driver.changed() && !bed.driver.changed());
    bed.service_ends();
    assert!(!bed.driver.changed());
}

#[test]
fn what_happened_before_the_waiting_ends_it() {
    let bed = Bed::new(&[empty("A", 0)]);
    assert!(!bed.driver.changed());
    assert_eq!(bed.driver.wait_for_change(soon()), Ok(Wait::TimedOut));
    assert_eq!(bed.script.waits.load(Ordering::Relaxed), 1);
    bed.now(&[empty("A", 2)]);
    assert_eq!(bed.driver.wait_for_change(soon()), Ok(Wait::Changed));
    assert_eq!(bed.script.waits.load(Ordering::Relaxed), 1);
    assert!(!bed.driver.changed());
    assert_eq!(bed.driver.wait_for_change(soon()), Ok(Wait::TimedOut));
}

#[test]
fn who_waits_without_a_service_sees_it_start() {
    let bed = Bed::new(&[card("A", 1, KNOWN)]);
    bed.service_ends();
    assert!(!bed.driver.changed());
    let started = Instant::now();
    assert_eq!(bed.driver.wait_for_change(soon()), Ok(Wait::TimedOut));
    assert!(started.elapsed() >= Duration::from_millis(250));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            sleep(Duration::from_millis(50));
            *bed.script.readers.lock() = Some(vec![card("A", 1, KNOWN)]);
        });
        let limit = Instant::now() + Duration::from_secs(60);
        assert_eq!(bed.driver.wait_for_change(limit), Ok(Wait::Changed));
    });
    assert!(bed.slot(0).token().is_some());
    // And its end ends the next waiting.
    bed.service_ends();
    assert_eq!(bed.driver.wait_for_change(soon()), Ok(Wait::Changed));
    assert_eq!(bed.driver.wait_for_change(soon()), Ok(Wait::TimedOut));
}

#[test]
fn the_end_of_the_process_reaches_the_cards_and_waits_for_no_lock() {
    let bed = Bed::new(&[card("A", 1, KNOWN), empty("B", 0), card("C", 1, KNOWN)]);
    let slots = bed.driver.slots();
    let tokens: Vec<_> = slots.iter().filter_map(|slot| slot.token()).collect();
    assert_eq!(tokens.len(), 2);
    let held = bed.driver.slots.lock();
    // As if this thread had been stopped in the middle of something.
    bed.driver.process_ends();
    let is_there = |token: &Arc<dyn Token>| slots.iter().any(|slot| slot.holds(token));
    assert!(tokens.iter().all(is_there));
    drop(held);
    bed.driver.process_ends();
    assert!(!tokens.iter().any(is_there));
}

#[test]
fn a_service_that_cannot_be_waited_with_is_asked_from_time_to_time() {
    let bed = Bed::new(&[empty("A", 0)]);
    assert!(!bed.driver.changed());
    for error in [
        LinkError::Busy,
        LinkError::Unavailable(Reason::new("too many readers")),
    ] {
        *bed.script.no_waiting.lock() = Some(error);
        let (lists, started) = (bed.lists(), Instant::now());
        assert_eq!(bed.driver.wait_for_change(soon()), Ok(Wait::TimedOut));
        let pauses = started.elapsed().as_millis() / POLL.as_millis();
        let lists = (bed.lists() - lists) as u128;
        assert!(lists <= pauses + 4, "asked {lists} times");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                sleep(Duration::from_millis(50));
                let mut readers = bed.script.readers.lock();
                readers.as_mut().unwrap()[0].events += 1;
            });
            let limit = Instant::now() + Duration::from_secs(60);
            assert_eq!(bed.driver.wait_for_change(limit), Ok(Wait::Changed));
        });
    }
}
