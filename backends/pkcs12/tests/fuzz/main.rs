//! Damages files of real writers by their structure, and opens what comes of it: never a panic, never
//! long, never much memory.
//!
//! By default a short walk that takes the same turns each time. With CTK_FUZZ_SECONDS=60 a walk of that
//! length, whose turns follow from a number that is printed; CTK_FUZZ_SEED takes them again. The keys
//! in the files are new each time, so what fails is printed, and kept in the folder that CTK_FUZZ_KEEP
//! names, or the one for temporary files; CTK_FUZZ_FILE opens it again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

mod mutate;
#[allow(
    dead_code,
    unreachable_pub,
    reason = "the tests of the module share it and use more of it"
)]
#[path = "../../../../softhsm-tests/random.rs"]
mod random;
mod seeds;
#[path = "../support/mod.rs"]
mod support;

use std::{
    env,
    fmt::Write as _,
    fs,
    io::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use ctk_pkcs12::{Inventory, inspect};
use ctk_token::{AuthSecret, Role, TokenError};
use random::Random;
use seeds::{PASSWORD, Seed};
use support::{MAX_MEMORY, Workshop, configuration, log_in, peak_memory, request, sign, token};

/// How long one file may take. A file is refused that asks for more than four seconds of hashing; this
/// machine may be slow and busy.
const LIMIT: Duration = Duration::from_secs(60);

/// How much of a file is printed, in bytes. Nearly every file is shorter.
const SHOWN: usize = 64 * 1024;

/// How many files the short walk has.
const SHORT: u64 = 1500;

/// What is being opened, for whoever has to report it.
#[derive(Default)]
struct Current {
    number: AtomicU64,
    file: Mutex<(Vec<u8>, Option<Instant>)>,
}

impl Current {
    fn begin(&self, number: u64, file: &[u8]) {
        self.number.store(number, Ordering::Relaxed);
        *self.file.lock().unwrap() = (file.to_vec(), Some(Instant::now()));
    }

    /// Keeps the file, and says where it is and what is in it.
    fn keep(&self, seed: u64) -> String {
        let number = self.number.load(Ordering::Relaxed);
        let name = format!("ctk-pkcs12-fuzz-{seed}-{number}.p12");
        let folder = env::var_os("CTK_FUZZ_KEEP").map_or_else(env::temp_dir, PathBuf::from);
        let file = match self.file.lock() {
            Ok(file) => file,
            Err(poisoned) => poisoned.into_inner(),
        };
        let path = folder.join(name);
        let kept = fs::create_dir_all(&folder).and_then(|()| fs::write(&path, &file.0));
        let mut told = match kept {
            Ok(()) => format!("kept in {}", path.display()),
            Err(error) => format!("not kept in {}: {error}", path.display()),
        };
        let shown = &file.0[..file.0.len().min(SHOWN)];
        write!(told, " ({} bytes, CTK_FUZZ_SEED={seed})", file.0.len()).unwrap();
        told.push_str("; in base 16, as basenc --base16 -d takes it:\n");
        for byte in shown {
            write!(told, "{byte:02X}").unwrap();
        }
        if shown.len() < file.0.len() {
            told.push_str(" and so on");
        }
        told
    }
}

#[test]
fn damaged_files_do_no_harm() {
    let seconds: Option<u64> = env::var("CTK_FUZZ_SECONDS")
        .ok()
        .map(|seconds| seconds.parse().expect("CTK_FUZZ_SECONDS is a number"));
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let seed = match (env::var("CTK_FUZZ_SEED"), seconds) {
        (Ok(seed), _) => seed.parse().expect("CTK_FUZZ_SEED is a number"),
        (_, Some(_)) => now,
        (_, None) => 1,
    };
    let workshop = Workshop::new();
    let seeds = seeds::make(&workshop);
    if let Ok(file) = env::var("CTK_FUZZ_FILE") {
        let path = workshop.write("fuzz.p12", &fs::read(file).unwrap());
        println!("{:?}", open(&path, &seeds[0]));
        return;
    }
    println!("CTK_FUZZ_SEED={seed}");
    let current = Arc::new(Current::default());
    watch(current.clone(), seed);

    let mut random = Random::new(seed);
    let end = Instant::now() + Duration::from_secs(seconds.unwrap_or(0));
    let (mut number, mut opened, mut changed) = (0, 0, 0);
    while match seconds {
        Some(_) => Instant::now() < end,
        None => number < SHORT,
    } {
        let mut from = &seeds[random.below(seeds.len())];
        while from.is_dear && random.below(20) > 0 {
            from = &seeds[random.below(seeds.len())];
        }
        let other = &seeds[random.below(seeds.len())];
        let file = mutate::mutate(from, other, &mut random);
        current.begin(number, &file);
        let path = workshop.write("fuzz.p12", &file);
        let tried = catch_unwind(AssertUnwindSafe(|| open(&path, from)));
        let Ok(found) = tried else {
            panic!("{}", current.keep(seed));
        };
        let peak = peak_memory();
        if peak >= MAX_MEMORY {
            panic!("{} MiB, {}", peak >> 20, current.keep(seed));
        }
        if let Some(inventory) = found {
            opened += 1;
            // Dear, because passwords are hashed as often as they should be.
            if opened % 400 == 1 {
                changed += u64::from(change(&path, &inventory));
            }
        }
        number += 1;
    }
    println!("{number} files, {opened} opened, {changed} given another password");
    assert!(
        opened > number / 100,
        "hardly anything is looked at closely"
    );
    assert!(opened < number, "nothing is damaged");
}

/// Opens a file as `ctk add` does, and as a program that knows the file it was made from.
fn open(path: &Path, from: &Seed) -> Option<Inventory> {
    let found = inspect(path, PASSWORD.as_bytes());
    if let Err(error) = &found {
        assert!(
            matches!(
                error,
                TokenError::Corrupted(_) | TokenError::AuthenticationFailed { tries: None }
            ),
            "{error:?}"
        );
    }
    let token = token(configuration(path, from.inventory.clone()));
    let session = token.create_session().unwrap();
    if log_in(&*session, PASSWORD.as_bytes()).is_ok() {
        for key in token.contents().keys() {
            let (algorithm, _) = request(key, 1);
            let Ok((input, signature)) = sign(&*session, key, 1) else {
                continue;
            };
            let fits = ctk_crypto::verify(&key.public_key, algorithm, &input, &signature);
            assert_eq!(fits, Ok(true), "a signature by another key");
        }
    }
    found.ok()
}

/// Gives a file another password, which keeps all of it or changes nothing.
fn change(path: &Path, inventory: &Inventory) -> bool {
    let before = fs::read(path).unwrap();
    let token = token(configuration(path, inventory.clone()));
    let session = token.create_session().unwrap();
    let old = AuthSecret::Pin(PASSWORD.as_bytes());
    match session.change_pin(Role::User, old, b"another") {
        Ok(()) => {
            assert_eq!(inspect(path, b"another").as_ref(), Ok(inventory));
            assert!(inspect(path, PASSWORD.as_bytes()).is_err());
            true
        }
        Err(_) => {
            assert!(before == fs::read(path).unwrap(), "half a change");
            false
        }
    }
}

/// Ends the process when one file takes too long: whoever hangs cannot be asked to stop.
fn watch(current: Arc<Current>, seed: u64) {
    thread::spawn(move || {
        loop {
            thread::sleep(Duration::from_secs(1));
            let started = current.file.lock().unwrap().1;
            if started.is_some_and(|started| started.elapsed() > LIMIT) {
                // Not by println: what it prints is kept back until a test ends, and this one does not.
                let told = format!("opening a file hangs: {}\n", current.keep(seed));
                let _ = std::io::stderr().write_all(told.as_bytes());
                process::abort();
            }
        }
    });
}
