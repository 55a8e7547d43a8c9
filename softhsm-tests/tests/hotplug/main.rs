//! Cards and readers come and go, and pcscd as well, while a program uses the module: each time it
//! is told what happened, in the words of PKCS#11, and can go on.

mod program;

use std::{
    collections::BTreeMap,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use cryptoki_sys::*;
use softhsm_tests::{
    calls::rv_name,
    cards::{Options, Profile},
    module::text,
    pcscd::Pcscd,
};

use program::{LIMIT, Program, alone, gone, ok};

#[test]
fn a_card_comes_goes_and_comes_back() {
    alone("a_card_comes_goes_and_comes_back", || {
        let program = Program::start();
        let slots = program.slots(false);
        assert_eq!(slots.len(), 2);
        assert_eq!(program.slots(true), []);
        for &slot in &slots {
            let info = program.slot_info(slot);
            assert_eq!(info.flags, CKF_REMOVABLE_DEVICE | CKF_HW_SLOT);
            assert!(text(&info.slotDescription).starts_with("Virtual Reader 00 0"));
        }
        let mut card = program.pcscd.insert(0, Profile::PivOne, Options::default());
        program.until("a token", |program| program.slots(true).len() == 1);
        let slot = program.slots(true)[0];
        let serial = program.serial(slot);
        let session = program.logged_in(slot);
        let key = program.key(session);
        card.remove();
        assert!(!program.has_token(slot));
        assert_eq!(program.session_info(session), CKR_SESSION_HANDLE_INVALID);
        assert_eq!(program.sign_init(session, key), CKR_SESSION_HANDLE_INVALID);
        assert_eq!(program.slots(false), slots);
        card.insert();
        assert_eq!(program.serial(slot), serial);
        // The session of before is not alive again, and nobody is logged in.
        assert_eq!(program.session_info(session), CKR_SESSION_HANDLE_INVALID);
        let session = program.open(slot);
        assert_eq!(program.find_init(session, CKO_PRIVATE_KEY), CKR_OK);
        assert_eq!(program.find_next(session), Ok(None));
        program.works(slot);
    });
}

#[test]
fn a_card_goes_in_the_middle_of_a_search() {
    alone("a_card_goes_in_the_middle_of_a_search", || {
        let program = Program::start();
        let mut card = program
            .pcscd
            .insert(0, Profile::PivFour, Options::default());
        let slot = program.slots(true)[0];
        let session = program.open(slot);
        ok(
            program.find_init(session, CKO_CERTIFICATE),
            "C_FindObjectsInit",
        );
        assert!(matches!(program.find_next(session), Ok(Some(_))));
        card.remove();
        // What was found is known without the card, until somebody looks.
        assert!(matches!(program.find_next(session), Ok(Some(_))));
        assert!(!program.has_token(slot));
        assert_eq!(program.find_next(session), Err(CKR_SESSION_HANDLE_INVALID));
        card.insert();
        program.works(slot);
    });
}

#[test]
fn a_card_goes_before_anything_was_read() {
    alone("a_card_goes_before_anything_was_read", || {
        let program = Program::start();
        let mut card = program.pcscd.insert(0, Profile::PivOne, Options::default());
        let slot = program.slots(true)[0];
        let session = program.open(slot);
        card.remove();
        // An empty list would say that there is nothing on the card.
        gone(
            program.find_init(session, CKO_CERTIFICATE),
            "C_FindObjectsInit",
        );
        card.insert();
        program.works(slot);
    });
}

#[test]
fn a_card_goes_before_the_signature() {
    alone("a_card_goes_before_the_signature", || {
        let program = Program::start();
        let mut card = program.pcscd.insert(0, Profile::PivOne, Options::default());
        let slot = program.slots(true)[0];
        let session = program.logged_in(slot);
        let key = program.key(session);
        ok(program.sign_init(session, key), "C_SignInit");
        card.remove();
        assert_eq!(rv_name(program.sign(session)), "CKR_DEVICE_REMOVED");
        assert_eq!(program.session_info(session), CKR_SESSION_HANDLE_INVALID);
        assert!(!program.has_token(slot));
        card.insert();
        program.works(slot);
    });
}

#[test]
fn a_card_goes_in_the_middle_of_a_signature() {
    alone("a_card_goes_in_the_middle_of_a_signature", || {
        let program = Program::start();
        let mut card = program.pcscd.insert(0, Profile::PivOne, Options::default());
        let slot = program.slots(true)[0];
        let session = program.logged_in(slot);
        let key = program.key(session);
        ok(program.sign_init(session, key), "C_SignInit");
        card.cut_in_key_operation();
        let started = Instant::now();
        assert_eq!(rv_name(program.sign(session)), "CKR_DEVICE_REMOVED");
        assert!(started.elapsed() < LIMIT, "{:?}", started.elapsed());
        assert_eq!(program.session_info(session), CKR_SESSION_HANDLE_INVALID);
        program.pcscd.wait_for_card(0, false);
        assert!(!program.has_token(slot));
        card.insert();
        program.works(slot);
    });
}

#[test]
fn a_card_goes_in_the_middle_of_a_login() {
    alone("a_card_goes_in_the_middle_of_a_login", || {
        let program = Program::start();
        let mut card = program.pcscd.insert(0, Profile::PivOne, Options::default());
        let slot = program.slots(true)[0];
        let session = program.open(slot);
        // Everything is read, so that the next command is VERIFY.
        ok(
            program.find_init(session, CKO_CERTIFICATE),
            "C_FindObjectsInit",
        );
        card.reset_count();
        card.cut_after(0);
        assert_eq!(rv_name(program.login(session)), "CKR_DEVICE_REMOVED");
        program.pcscd.wait_for_card(0, false);
        card.insert();
        let verify = |command: &str| command.starts_with("00200080") && command.contains("**");
        let sent = card
            .log()
            .iter()
            .filter(|apdu| verify(&apdu.command))
            .count();
        assert!(sent <= 1, "a PIN was sent {sent} times");
        program.works(slot);
    });
}

#[test]
fn another_card_is_another_token() {
    alone("another_card_is_another_token", || {
        let program = Program::start();
        let mut card = program.pcscd.insert(0, Profile::PivOne, Options::default());
        let slot = program.slots(true)[0];
        let serial = program.serial(slot);
        let session = program.logged_in(slot);
        let key = program.key(session);
        ok(program.sign_init(session, key), "C_SignInit");
        card.swap(Profile::PivOne, Duration::from_millis(50));
        // No PIN, no signature and no session goes over to it.
        gone(program.sign(session), "C_Sign");
        assert!(program.has_token(slot));
        assert_ne!(program.serial(slot), serial);
        assert_eq!(program.session_info(session), CKR_SESSION_HANDLE_INVALID);
        program.works(slot);
    });
}

#[test]
fn a_swap_is_seen_by_who_only_looks() {
    alone("a_swap_is_seen_by_who_only_looks", || {
        let program = Program::start();
        let mut card = program.pcscd.insert(0, Profile::PivOne, Options::default());
        let slot = program.slots(true)[0];
        let serial = program.serial(slot);
        let session = program.logged_in(slot);
        assert_eq!(program.event(CKF_DONT_BLOCK), Err(CKR_NO_EVENT));
        card.swap(Profile::PivFour, Duration::from_millis(50));
        assert_eq!(program.event(CKF_DONT_BLOCK), Ok(slot));
        assert_eq!(program.event(CKF_DONT_BLOCK), Err(CKR_NO_EVENT));
        assert_eq!(program.session_info(session), CKR_SESSION_HANDLE_INVALID);
        assert_ne!(program.serial(slot), serial);
    });
}

#[test]
fn a_card_that_comes_and_goes_while_nobody_looks_is_an_event() {
    alone(
        "a_card_that_comes_and_goes_while_nobody_looks_is_an_event",
        || {
            let program = Program::start();
            let slot = program.slots(false)[0];
            assert_eq!(program.event(CKF_DONT_BLOCK), Err(CKR_NO_EVENT));
            let card = program.pcscd.insert(0, Profile::PivOne, Options::default());
            drop(card);
            program.pcscd.wait_for_card(0, false);
            assert_eq!(program.slots(true), []);
            assert_eq!(program.event(CKF_DONT_BLOCK), Ok(slot));
            assert_eq!(program.event(CKF_DONT_BLOCK), Err(CKR_NO_EVENT));
        },
    );
}

#[test]
fn pcscd_ends_and_starts_again() {
    alone("pcscd_ends_and_starts_again", || {
        let mut program = Program::start();
        let _card = program.pcscd.insert(0, Profile::PivOne, Options::default());
        let slots = program.slots(false);
        let slot = program.slots(true)[0];
        let session = program.logged_in(slot);
        let key = program.key(session);
        ok(program.sign_init(session, key), "C_SignInit");
        program.pcscd.kill();
        let started = Instant::now();
        assert_eq!(rv_name(program.sign(session)), "CKR_DEVICE_REMOVED");
        program.until("no token", |program| program.slots(true).is_empty());
        assert!(started.elapsed() < LIMIT);
        assert_eq!(program.slots(false), slots);
        assert_eq!(program.session_info(session), CKR_SESSION_HANDLE_INVALID);
        program.pcscd.restart();
        program.pcscd.wait_for_card(0, true);
        program.until("a token", |program| program.slots(true) == [slot]);
        assert_eq!(program.slots(false), slots);
        program.works(slot);
    });
}

#[test]
fn pcscd_starts_again_unseen() {
    alone("pcscd_starts_again_unseen", || {
        let mut program = Program::start();
        let _card = program.pcscd.insert(0, Profile::PivOne, Options::default());
        let slot = program.slots(true)[0];
        let session = program.logged_in(slot);
        let key = program.key(session);
        program.pcscd.restart();
        program.pcscd.wait_for_card(0, true);
        // Whoever was logged in is not any more.
        let begun = program.sign_init(session, key);
        if begun == CKR_OK {
            gone(program.sign(session), "C_Sign");
        } else {
            gone(begun, "C_SignInit");
        }
        program.until("a token", |program| program.slots(true) == [slot]);
        program.works(slot);
    });
}

#[test]
fn a_reader_is_plugged_in_later() {
    alone("a_reader_is_plugged_in_later", || {
        let mut program = Program::load();
        program.pcscd.kill();
        program.initialize();
        // Firefox looks again at a removable slot without a token, and at nothing else.
        let slots = program.slots(false);
        assert_eq!(slots.len(), 1);
        let info = program.slot_info(slots[0]);
        assert_eq!(info.flags, CKF_REMOVABLE_DEVICE | CKF_HW_SLOT);
        assert_eq!(program.event(CKF_DONT_BLOCK), Err(CKR_NO_EVENT));
        program.pcscd.restart();
        let _card = program.pcscd.insert(1, Profile::PivOne, Options::default());
        // Also without a new list.
        program.until("a token", |program| program.has_token(slots[0]));
        assert_eq!(program.event(CKF_DONT_BLOCK), Ok(slots[0]));
        let description = text(&program.slot_info(slots[0]).slotDescription);
        assert_eq!(description, program.pcscd.reader(1));
        let more = program.slots(false);
        assert_eq!((more.len(), more[0]), (2, slots[0]));
        program.works(slots[0]);
    });
}

#[test]
fn a_service_without_readers_gets_some() {
    alone("a_service_without_readers_gets_some", || {
        let mut program = Program::of(Pcscd::without_readers());
        program.initialize();
        let slots = program.slots(false);
        assert_eq!(slots.len(), 1);
        assert!(!program.has_token(slots[0]));
        program.pcscd.plug_in_readers();
        let _card = program.pcscd.insert(0, Profile::PivOne, Options::default());
        assert_eq!(program.event(0), Ok(slots[0]));
        let more = program.slots(false);
        assert_eq!((more.len(), more[0]), (2, slots[0]));
        program.works(slots[0]);
    });
}

#[test]
fn a_forked_child_begins_anew_and_leaves_its_parent_alone() {
    alone(
        "a_forked_child_begins_anew_and_leaves_its_parent_alone",
        || {
            let program = Program::start();
            let _card = program.pcscd.insert(0, Profile::PivOne, Options::default());
            let slot = program.slots(true)[0];
            let session = program.logged_in(slot);
            let key = program.key(session);
            // SAFETY: the child only calls the module, and ends without anything of the parent's
            // being cleaned up.
            let child = unsafe { libc::fork() };
            assert_ne!(child, -1, "fork");
            if child == 0 {
                let status = i32::from(!program.is_new_in_child(session));
                // SAFETY: see above.
                unsafe { libc::_exit(status) };
            }
            let mut status = 0;
            // SAFETY: the status is written.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert_eq!(status, 0, "the child's status");
            // Whoever is connected and logged in still is.
            ok(program.sign_init(session, key), "C_SignInit");
            ok(program.sign(session), "C_Sign");
        },
    );
}

#[test]
fn who_waits_is_told() {
    alone("who_waits_is_told", || {
        let program = Program::start();
        let slots = program.slots(false);
        let mut card = program.pcscd.insert(1, Profile::PivOne, Options::default());
        let slot = program.event(0).expect("an insertion");
        assert!(slots.contains(&slot) && program.has_token(slot));
        card.pull_out();
        assert_eq!(program.event(0), Ok(slot));
        assert!(!program.has_token(slot));
        card.push_in();
        assert_eq!(program.event(0), Ok(slot));
        assert!(program.has_token(slot));
        assert_eq!(program.event(CKF_DONT_BLOCK), Err(CKR_NO_EVENT));
    });
}

#[test]
fn who_waits_with_sixteen_readers_waits() {
    alone("who_waits_with_sixteen_readers_waits", || {
        let program = Program::of(Pcscd::with_sixteen_readers());
        program.initialize();
        assert_eq!(program.slots(false).len(), 16);
        let before = processor_time();
        let waited = Duration::from_secs(2);
        thread::scope(|scope| {
            let waiter = scope.spawn(|| program.event(0));
            thread::sleep(waited);
            let used = processor_time() - before;
            program.finalize();
            let told = waiter.join().expect("the waiter");
            assert_eq!(told, Err(CKR_CRYPTOKI_NOT_INITIALIZED));
            // One that asks again and again takes all of a processor.
            assert!(used < waited / 10, "{used:?}");
        });
    });
}

/// How long all threads of this process have worked.
fn processor_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the time is written.
    let rv = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    assert_eq!(rv, 0, "clock_gettime");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[test]
fn who_waits_is_told_of_the_service() {
    alone("who_waits_is_told_of_the_service", || {
        let mut program = Program::start();
        let _card = program.pcscd.insert(0, Profile::PivOne, Options::default());
        let slot = program.slots(true)[0];
        assert_eq!(program.event(CKF_DONT_BLOCK), Err(CKR_NO_EVENT));
        program.pcscd.kill();
        assert_eq!(program.event(0), Ok(slot));
        assert!(!program.has_token(slot));
        program.pcscd.restart();
        assert_eq!(program.event(0), Ok(slot));
        assert!(program.has_token(slot));
    });
}

/// Ends what other threads do, also when the test fails.
struct End<'a>(&'a AtomicBool, &'a Program);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        self.1.finalize();
    }
}

#[test]
fn nothing_else_is_said_in_a_storm() {
    const ALLOWED: [CK_RV; 4] = [
        CKR_TOKEN_NOT_PRESENT,
        CKR_DEVICE_REMOVED,
        CKR_SESSION_HANDLE_INVALID,
        CKR_USER_NOT_LOGGED_IN,
    ];
    alone("nothing_else_is_said_in_a_storm", || {
        let program = Program::start();
        let mut card = program.pcscd.insert(0, Profile::PivOne, Options::default());
        let slot = program.slots(true)[0];
        let is_over = AtomicBool::new(false);
        let (told, signed) = thread::scope(|scope| {
            let signer = scope.spawn(|| {
                let mut said = BTreeMap::<String, usize>::new();
                while !is_over.load(Ordering::Relaxed) {
                    let signed = program.try_to_sign(slot);
                    if let Err((name, rv)) = signed {
                        assert!(ALLOWED.contains(&rv), "{name}: {}", rv_name(rv));
                        program.has_token(slot);
                        thread::sleep(Duration::from_millis(5));
                    }
                    let what = signed.map_or_else(|(_, rv)| rv_name(rv), |()| "signed".into());
                    *said.entry(what).or_default() += 1;
                }
                said
            });
            let waiter = scope.spawn(|| {
                let mut events = 0;
                while program.event(0).is_ok() {
                    events += 1;
                }
                events
            });
            let end = End(&is_over, &program);
            // In the middle of whatever the others do.
            for round in 0..9_u64 {
                thread::sleep(Duration::from_millis(151 + 37 * round));
                match round % 3 {
                    0 => card.cut_after(round),
                    1 => card.cut_in_key_operation(),
                    _ => card.pull_out(),
                }
                program.pcscd.wait_for_card(0, false);
                // A reset that fails tells pcscd as well, but only until it has looked by itself.
                thread::sleep(Duration::from_millis(600));
                card.push_in();
                program.pcscd.wait_for_card(0, true);
            }
            is_over.store(true, Ordering::Relaxed);
            let said = signer.join().expect("only what is allowed");
            program.works(slot);
            drop(end);
            (waiter.join().expect("it ends"), said)
        });
        println!("{told} events; {signed:?}");
        assert!(told >= 9, "{told} events");
        assert!(signed["signed"] > 9, "{signed:?}");
    });
}

#[test]
fn the_end_ends_waiting() {
    alone("the_end_ends_waiting", || {
        for with_service in [true, false] {
            let mut program = Program::load();
            if !with_service {
                program.pcscd.kill();
            }
            program.initialize();
            program.slots(false);
            let (waiting, waits) = mpsc::channel();
            let module = &program.module;
            thread::scope(|scope| {
                let waiter = scope.spawn(move || {
                    let mut slot: CK_SLOT_ID = 0;
                    waiting.send(()).expect("somebody listens");
                    module.call("C_WaitForSlotEvent", &[0, &raw mut slot as usize, 0])
                });
                waits.recv().expect("the thread runs");
                // It may be anywhere in its first slice of half a second.
                thread::sleep(Duration::from_millis(300));
                let started = Instant::now();
                ok(module.call("C_Finalize", &[0]), "C_Finalize");
                let rv = waiter.join().expect("it ends");
                println!("waiting ended after {:?}", started.elapsed());
                assert_eq!(rv, CKR_CRYPTOKI_NOT_INITIALIZED);
                assert!(started.elapsed() < Duration::from_secs(5));
            });
            program.running.store(false, Ordering::Relaxed);
        }
    });
}
