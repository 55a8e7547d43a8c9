//! A value for each thread, so that threads that work side by side do not wait for one another's memory.

use std::{
    cell::Cell,
    fmt,
    sync::atomic::{AtomicUsize, Ordering},
};

/// More threads than this share.
const SHARES: usize = 16;

/// Several of the same, of which each thread uses its own: a counter or a lock that all threads write to costs each of
/// them the time in which its memory travels between cores, even if nobody ever waits.
///
/// A value is not private to its thread: beyond 16 threads they share, and whoever changes all of them sees all of them.
pub struct PerThread<T>([Apart<T>; SHARES]);

/// Alone in the memory that two cores would fight for: two lines of 64 bytes, which processors fetch in pairs.
#[repr(align(128))]
struct Apart<T>(T);

impl<T> PerThread<T> {
    /// All of them, made one by one.
    pub fn new(mut make: impl FnMut() -> T) -> Self {
        Self(std::array::from_fn(|_| Apart(make())))
    }

    /// That of the calling thread, always the same.
    pub fn mine(&self) -> &T {
        let [first, ..] = &self.0;
        // The index is always one of theirs.
        &self.0.get(share()).unwrap_or(first).0
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|apart| &apart.0)
    }
}

impl PerThread<AtomicUsize> {
    /// Counters at zero, for a static.
    pub(crate) const fn counters() -> Self {
        Self([const { Apart(AtomicUsize::new(0)) }; SHARES])
    }
}

impl<T> fmt::Debug for PerThread<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PerThread")
    }
}

/// Which share the calling thread has: the threads of a process take them in turn.
fn share() -> usize {
    thread_local! {
        /// One more than the share, or 0. Nothing runs when the thread ends: the program may end it after our C_Finalize.
        static MINE: Cell<usize> = const { Cell::new(0) };
    }
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    MINE.with(|mine| {
        if mine.get() == 0 {
            mine.set(NEXT.fetch_add(1, Ordering::Relaxed) % SHARES + 1);
        }
        mine.get() - 1
    })
}

#[cfg(test)]
mod tests {
    use std::{sync::Mutex, thread};

    use super::*;

    #[test]
    fn threads_have_their_own_and_keep_it() {
        let values = PerThread::new(|| Mutex::new(Vec::new()));
        let barrier = std::sync::Barrier::new(4);
        thread::scope(|scope| {
            for number in 0..4 {
                let (values, barrier) = (&values, &barrier);
                scope.spawn(move || {
                    for _ in 0..3 {
                        barrier.wait();
                        values.mine().lock().unwrap().push(number);
                    }
                });
            }
        });
        let seen: Vec<Vec<i32>> = values
            .all()
            .map(|own| own.lock().unwrap().clone())
            .collect();
        assert_eq!(seen.iter().map(Vec::len).sum::<usize>(), 12);
        for number in 0..4 {
            // Always in the same place; tests beside this one may make two of them share it.
            let places = seen.iter().filter(|own| own.contains(&number));
            assert_eq!(places.count(), 1);
        }
    }

    #[test]
    fn they_are_apart_in_memory() {
        let values = PerThread::new(|| 0u8);
        let places: Vec<usize> = values
            .all()
            .map(|value| std::ptr::from_ref(value).addr())
            .collect();
        assert_eq!(places.len(), SHARES);
        assert!(places.windows(2).all(|pair| pair[1] - pair[0] >= 128));
    }
}
