//! What the benchmark's programs share: the types of keys, loops that are timed, who is measured, and the table.

pub mod contestant;
pub mod host;
pub mod machine;
pub mod place;
pub mod report;

use std::{
    collections::BTreeMap,
    ffi::{CStr, c_void},
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// A type of key that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// RSA with 2048 bits; PKCS #1 v1.5 over a DigestInfo.
    Rsa2048,
    /// RSA with 4096 bits, as above.
    Rsa4096,
    /// ECDSA over a SHA-256 hash.
    P256,
    /// ECDSA over a SHA-384 hash.
    P384,
    /// Ed25519 over 32 bytes.
    Ed25519,
}

impl Key {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Rsa2048,
        Self::Rsa4096,
        Self::P256,
        Self::P384,
        Self::Ed25519,
    ];

    /// Its name between the programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rsa2048 => "rsa2048",
            Self::Rsa4096 => "rsa4096",
            Self::P256 => "p256",
            Self::P384 => "p384",
            Self::Ed25519 => "ed25519",
        }
    }

    /// Its name for a reader.
    pub fn title(self) -> &'static str {
        match self {
            Self::Rsa2048 => "RSA-2048",
            Self::Rsa4096 => "RSA-4096",
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::Ed25519 => "Ed25519",
        }
    }

    /// The key of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|key| key.name() == name)
    }

    /// What every contestant signs: a DigestInfo of SHA-256 (RFC 8017 §9.2, note 1) for RSA, as long a hash as the curve
    /// for ECDSA, 32 bytes for Ed25519. Nobody hashes: that would measure hashing.
    pub fn input(self) -> Vec<u8> {
        const SHA_256: [u8; 19] = [
            0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02,
            0x01, 0x05, 0x00, 0x04, 0x20,
        ];
        match self {
            Self::Rsa2048 | Self::Rsa4096 => [SHA_256.as_slice(), &[0x5a; 32]].concat(),
            Self::P256 | Self::Ed25519 => vec![0x5a; 32],
            Self::P384 => vec![0x5a; 48],
        }
    }
}

/// What a timed loop came to.
#[derive(Clone, Copy, Debug)]
pub struct Timed {
    /// How often the operation was done, in all threads together.
    pub operations: u64,
    /// The CPU time of these threads, in nanoseconds: on a machine that has other work to do, what an operation costs.
    pub cpu_ns: u64,
    /// Operations per second of the clock on the wall, all threads together.
    pub rate: f64,
}

impl Timed {
    /// As a worker answers.
    pub fn answer(self) -> String {
        format!("{} {} {}", self.operations, self.cpu_ns, self.rate)
    }
}

/// Does each operation again and again in a thread of its own, until `duration` is over and at least once.
///
/// The first one in each thread is not counted: it may set up what belongs to the thread. No clock is read in between.
pub fn timed<O: FnMut() + Send>(operations: Vec<O>, duration: Duration) -> Timed {
    let barrier = Barrier::new(operations.len() + 1);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let (barrier, stop) = (&barrier, &stop);
        let threads: Vec<_> = operations
            .into_iter()
            .map(|mut operation| {
                scope.spawn(move || {
                    operation();
                    barrier.wait();
                    let (wall, cpu) = (Instant::now(), cpu_ns(libc::CLOCK_THREAD_CPUTIME_ID));
                    let mut count = 0_u64;
                    while count == 0 || !stop.load(Ordering::Relaxed) {
                        operation();
                        count += 1;
                    }
                    let cpu = cpu_ns(libc::CLOCK_THREAD_CPUTIME_ID) - cpu;
                    (count, cpu, wall.elapsed())
                })
            })
            .collect();
        barrier.wait();
        thread::sleep(duration);
        stop.store(true, Ordering::Relaxed);
        let mut sum = Timed {
            operations: 0,
            cpu_ns: 0,
            rate: 0.0,
        };
        for thread in threads {
            let (count, cpu, wall) = thread.join().expect("a worker's thread");
            sum.operations += count;
            sum.cpu_ns += cpu;
            sum.rate += count as f64 / wall.as_secs_f64();
        }
        sum
    })
}

/// Operations one after another, each by the clock on the wall.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Each {
    /// The CPU time of the thread for all of them together, in nanoseconds.
    pub cpu_ns: u64,
    /// How long each took, in nanoseconds.
    pub walls: Vec<u64>,
}

impl Each {
    /// Does an operation `count` times. One before is not counted: it may set up what the others use.
    pub fn measure(mut operation: impl FnMut(), count: usize) -> Self {
        operation();
        let mut walls = Vec::with_capacity(count);
        let cpu = cpu_ns(libc::CLOCK_THREAD_CPUTIME_ID);
        for _ in 0..count {
            let start = Instant::now();
            operation();
            let took = start.elapsed().as_nanos();
            walls.push(u64::try_from(took).expect("less than a century"));
        }
        Self {
            cpu_ns: cpu_ns(libc::CLOCK_THREAD_CPUTIME_ID) - cpu,
            walls,
        }
    }

    /// As a worker answers: "CPU WALL WALL …".
    pub fn answer(&self) -> String {
        let walls = self.walls.iter().map(u64::to_string);
        let all: Vec<_> = std::iter::once(self.cpu_ns.to_string())
            .chain(walls)
            .collect();
        all.join(" ")
    }

    /// What a worker answered.
    pub fn from_answer(answer: &str) -> Option<Self> {
        let mut numbers = answer.split(' ').map(str::parse);
        let cpu_ns = numbers.next()?.ok()?;
        let walls: Vec<u64> = numbers.collect::<Result<_, _>>().ok()?;
        (!walls.is_empty()).then_some(Self { cpu_ns, walls })
    }

    /// The median of their times, in nanoseconds.
    pub fn median_ns(&self) -> f64 {
        contestant::median(self.walls.iter().map(|&wall| wall as f64))
    }

    /// The CPU time of one, in nanoseconds.
    pub fn cpu_of_one_ns(&self) -> f64 {
        self.cpu_ns as f64 / self.walls.len() as f64
    }
}

/// CPU time by this clock, in nanoseconds.
pub fn cpu_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the call writes one timespec.
    let status = unsafe { libc::clock_gettime(clock, &raw mut time) };
    assert_eq!(status, 0, "clock_gettime");
    u64::try_from(time.tv_sec).expect("seconds") * 1_000_000_000
        + u64::try_from(time.tv_nsec).expect("nanoseconds")
}

/// Leaves a line in the protocol of a system call tracer: a call that does nothing.
pub fn mark() {
    // SAFETY: there is no file descriptor -1, so nothing is written.
    unsafe { libc::write(-1, b"mark".as_ptr().cast(), 4) };
}

/// How often places in the code have allocated memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allocations(pub BTreeMap<u64, u64>);

impl Allocations {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// As a worker answers: "PLACE:COUNT …".
    pub fn answer(&self) -> String {
        let places = self.0.iter().map(|(at, count)| format!("{at}:{count}"));
        places.collect::<Vec<_>>().join(" ")
    }

    /// What a worker answered.
    pub fn from_answer(answer: &str) -> Option<Self> {
        let places = answer.split_whitespace().map(|place| {
            let (at, count) = place.split_once(':')?;
            Some((at.parse().ok()?, count.parse().ok()?))
        });
        places.collect::<Option<_>>().map(Self)
    }
}

/// What hosts/count_allocations.c offers to the process that it is preloaded into.
struct Counter {
    begin: extern "C" fn(),
    at: extern "C" fn(usize, *mut u64) -> u64,
}

impl Counter {
    fn preloaded() -> Option<Self> {
        // SAFETY: the preloaded library exports functions of these types under these names; nobody else does.
        unsafe {
            let symbol = |name: &CStr| {
                let address = libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr());
                (!address.is_null()).then_some(address)
            };
            Some(Self {
                begin: std::mem::transmute::<*mut c_void, extern "C" fn()>(symbol(
                    c"bench_allocations_begin",
                )?),
                at: std::mem::transmute::<*mut c_void, extern "C" fn(usize, *mut u64) -> u64>(
                    symbol(c"bench_allocations_at")?,
                ),
            })
        }
    }

    fn read(&self) -> Allocations {
        let mut places = [(0, 0); 256];
        let mut len = 0;
        // Nothing is allocated while it is being read.
        while let Some(place) = places.get_mut(len) {
            let mut offset = 0;
            let count = (self.at)(len, &raw mut offset);
            if count == u64::MAX {
                break;
            }
            *place = (offset, count);
            len += 1;
        }
        let mut all = Allocations::default();
        for &(offset, count) in places.iter().filter(|(_, count)| *count > 0) {
            *all.0.entry(offset).or_default() += count;
        }
        all
    }
}

/// Does an operation `count` times between two marks, and says which allocations that took.
///
/// Some are done before, for what only the first ones need.
pub fn counted(mut operation: impl FnMut(), count: u64) -> Allocations {
    let counter = Counter::preloaded();
    for _ in 0..100 {
        operation();
    }
    if let Some(counter) = &counter {
        (counter.begin)();
    }
    mark();
    for _ in 0..count {
        operation();
    }
    mark();
    counter.map(|counter| counter.read()).unwrap_or_default()
}

/// Answers each line of standard input, until there is none.
///
/// # Panics
/// If standard input or output fails.
pub fn serve(mut answer: impl FnMut(&[&str]) -> Result<String, String>) {
    use std::io::{BufRead, Write};

    let mut out = std::io::stdout();
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("a question");
        let words: Vec<_> = line.split_whitespace().collect();
        match answer(&words) {
            Ok(text) => writeln!(out, "ok {text}"),
            Err(text) => writeln!(out, "error {}", text.replace('\n', " ")),
        }
        .and_then(|()| out.flush())
        .expect("an answer");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_operations_are_told_and_understood() {
        let mut calls = 0;
        let each = Each::measure(|| calls += 1, 3);
        assert_eq!((calls, each.walls.len()), (4, 3));
        assert_eq!(Each::from_answer(&each.answer()), Some(each));
        let each = Each::from_answer("90 1 3 1000").expect("an answer");
        assert_eq!((each.median_ns(), each.cpu_of_one_ns()), (3.0, 30.0));
        assert_eq!(Each::from_answer("90"), None, "without operations");
        assert_eq!(Each::from_answer("90 1 x"), None);
    }
}
