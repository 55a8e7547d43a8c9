//! The gate between the crypto library and fork(): no thread is inside the library at the moment of a fork.
//!
//! The library's generator has locks of its own. A thread that holds one while another forks does not exist in the child,
//! so the child would wait for it for ever at its first random number. Who enters the library counts itself in, and fork()
//! waits until nobody is in there. Counting costs two atomic additions, in memory of the thread's own, and no system call.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{per_thread::PerThread, sys};

/// The longest that fork() waits: many times the slowest signature and the slowest check of a key. Longer
/// means that the thread that forks is itself inside (a signal handler that forks), and waiting for it
/// would never end; or that a long RSA key is being made, which nobody can wait for.
const LONGEST: Duration = Duration::from_secs(2);

static GATE: Gate = Gate::new();

/// Enters the library, after a fork that is under way; the library is ready then. Nobody enters twice:
/// a fork that has begun in between would wait for the first stay, and the second for the fork.
pub(crate) fn enter() -> Inside<'static> {
    sys::ready();
    enter_unready()
}

/// The same for whoever makes it ready, which has locks as well.
pub(crate) fn enter_unready() -> Inside<'static> {
    // No Once: a fork in the middle of one would leave it running in the child for ever.
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    if !REGISTERED.load(Ordering::Relaxed) && !REGISTERED.swap(true, Ordering::Relaxed) {
        sys::at_fork(before, in_parent, in_child);
    }
    GATE.enter()
}

/// A stay inside the library; ends when dropped.
pub(crate) struct Inside<'a>(&'a AtomicUsize);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Gate {
    /// How many threads are inside the library, counted by each for itself.
    inside: PerThread<AtomicUsize>,
    /// How many threads are about to fork.
    forking: AtomicUsize,
}

impl Gate {
    const fn new() -> Self {
        Self {
            inside: PerThread::counters(),
            forking: AtomicUsize::new(0),
        }
    }

    /// One counts itself in and then looks, fork() raises its flag and then counts: as all four have one order, at least
    /// one of the two sees the other.
    fn enter(&self) -> Inside<'_> {
        let own = self.inside.mine();
        loop {
            own.fetch_add(1, Ordering::SeqCst);
            let stay = Inside(own);
            if self.forking.load(Ordering::SeqCst) == 0 {
                return stay;
            }
            drop(stay);
            while self.forking.load(Ordering::SeqCst) != 0 {
                thread::yield_now();
            }
        }
    }

    fn close(&self) {
        self.forking.fetch_add(1, Ordering::SeqCst);
        let empty = || self.inside.all().all(|own| own.load(Ordering::SeqCst) == 0);
        if empty() {
            return;
        }
        let start = Instant::now();
        while !empty() && start.elapsed() < LONGEST {
            thread::yield_now();
        }
    }

    fn open(&self) {
        self.forking.fetch_sub(1, Ordering::SeqCst);
    }

    fn reset(&self) {
        for own in self.inside.all() {
            own.store(0, Ordering::SeqCst);
        }
        self.forking.store(0, Ordering::SeqCst);
    }
}

extern "C" fn before() {
    GATE.close();
}

extern "C" fn in_parent() {
    GATE.open();
}

/// The only thread here is the one that forked.
extern "C" fn in_child() {
    GATE.reset();
}

#[cfg(test)]
mod tests {
    use ctk_token::Digest;

    use super::*;

    #[test]
    fn a_fork_waits_for_who_is_inside_and_who_enters_waits_for_the_fork() {
        let gate = Gate::new();
        let inside = gate.enter();
        let forked = AtomicBool::new(false);
        thread::scope(|scope| {
            let fork = scope.spawn(|| {
                gate.close();
                forked.store(true, Ordering::SeqCst);
                gate.open();
            });
            while gate.forking.load(Ordering::SeqCst) == 0 {
                thread::yield_now();
            }
            let late = scope.spawn(|| {
                let _inside = gate.enter();
                forked.load(Ordering::SeqCst)
            });
            assert!(!forked.load(Ordering::SeqCst));
            drop(inside);
            fork.join().unwrap();
            assert!(late.join().unwrap(), "entered while a fork was under way");
        });
    }

    /// Set in a process that runs one test alone.
    const ALONE: &str = "CTK_TEST_FORK_ALONE";

    /// In a process of its own: other tests have servers that use the library past the gate, and a child would find locked
    /// what they were in.
    #[test]
    fn children_sign_while_threads_of_the_parent_do() {
        if std::env::var_os(ALONE).is_none() {
            let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
            alone.args([
                "--exact",
                "fork::tests::children_sign_while_threads_of_the_parent_do",
            ]);
            let output = alone.env(ALONE, "yes").output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(
                output.status.success() && said.contains("1 passed"),
                "{said}"
            );
            return;
        }
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut bytes = [0; 32];
                    while !stop.load(Ordering::SeqCst) {
                        crate::random(&mut bytes).unwrap();
                    }
                });
            }
            let child = || sys::run_in_child(|| crate::random(&mut [0; 32]).is_ok());
            let wrong = (0..200).map(|_| child()).find(|said| *said != Some(true));
            // Before anything can fail: the threads would go on for ever.
            stop.store(true, Ordering::SeqCst);
            assert_eq!(wrong, None, "a child did not come back, or failed");
        });
    }

    /// The library prepares itself at its first use, once in a process: each round is a process, in
    /// which the fork comes a little later.
    #[test]
    fn children_of_the_first_use_hash() {
        let this = std::env::current_exe().unwrap();
        for round in 0..20_u32 {
            let mut alone = std::process::Command::new(&this);
            alone.args(["--exact", "fork::tests::first_use"]);
            alone.env(DELAY, (round * 50).to_string());
            let output = alone.output().unwrap();
            assert!(output.status.success(), "{round}: {output:?}");
        }
    }

    /// How long after the beginning of the first use the fork comes, in microseconds.
    const DELAY: &str = "CTK_TEST_FORK_DELAY";

    /// Nothing, but where the test above runs it in a process of its own.
    #[test]
    fn first_use() {
        let Ok(delay) = std::env::var(DELAY) else {
            return;
        };
        let delay = delay.parse().unwrap();
        let hash = || crate::hash(Digest::Sha256, b"first").is_ok();
        let begun = AtomicBool::new(false);
        thread::scope(|scope| {
            let first = scope.spawn(|| {
                begun.store(true, Ordering::SeqCst);
                hash()
            });
            while !begun.load(Ordering::SeqCst) {
                std::hint::spin_loop();
            }
            let start = Instant::now();
            while start.elapsed() < Duration::from_micros(delay) {
                std::hint::spin_loop();
            }
            assert_eq!(sys::run_in_child(hash), Some(true));
            assert!(first.join().unwrap());
        });
    }
}
