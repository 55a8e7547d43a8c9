//! Private keys leave the process's memory when a session ends.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

mod support;

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
};

use ctk_pkcs12::inspect;
use ctk_token::{AuthSecret, Role};
use support::{Workshop, configuration, log_in, sign, token};

/// Part of a secret number, changed so that looking for it does not find itself.
struct Needle(Vec<u8>);

const MASK: u8 = 0xa5;

impl Needle {
    /// From the middle of the first prime of `NAME.key`, byte for byte without the number itself
    /// being in memory.
    fn of_prime(workshop: &Workshop, name: &str) -> Self {
        let line = format!("rsa -in {name}.key -noout -text");
        let text = String::from_utf8(workshop.openssl(&line).stdout).unwrap();
        let (_, prime) = text.split_once("prime1:").unwrap();
        let (prime, _) = prime.split_once("prime2:").unwrap();
        let bytes = prime
            .split(':')
            .map(|hex| u8::from_str_radix(hex.trim(), 16).unwrap() ^ MASK);
        Self(bytes.skip(40).take(24).collect())
    }

    fn is_at(&self, haystack: &[u8]) -> bool {
        haystack.len() == self.0.len() && haystack.iter().zip(&self.0).all(|(a, b)| a ^ MASK == *b)
    }

    /// How often the number is in `haystack`, in either order of its bytes.
    fn count(&self, haystack: &[u8]) -> usize {
        let len = self.0.len();
        let backwards = Self(self.0.iter().rev().copied().collect());
        let (first, last) = (self.0[0] ^ MASK, self.0[len - 1] ^ MASK);
        let candidates = haystack
            .windows(len)
            .filter(|window| window[0] == first || window[0] == last);
        candidates
            .filter(|window| self.is_at(window) || backwards.is_at(window))
            .count()
    }
}

/// How often the number is in everything that this process can write to.
fn occurrences(needle: &Needle) -> usize {
    let memory = File::open("/proc/self/mem").unwrap();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mut found = 0;
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (range, _) = line.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let [start, end] = [start, end].map(|number| u64::from_str_radix(number, 16).unwrap());
        let mut copy = vec![0; usize::try_from(end - start).unwrap()];
        if memory.read_exact_at(&mut copy, start).is_ok() {
            found += needle.count(&copy);
        }
        // The copy itself must not be found in its turn.
        copy.fill(0);
    }
    found
}

#[test]
fn keys_are_gone_after_logout_and_after_the_session() {
    let workshop = Workshop::new();
    workshop.identity("rsa", "rsa");
    let needle = Needle::of_prime(&workshop, "rsa");
    for (file, options) in [("encrypted.p12", ""), ("plain.p12", "-keypbe NONE")] {
        workshop.openssl(&format!(
            "pkcs12 -export -inkey rsa.key -in rsa.crt -out {file} -passout pass:correct {options}"
        ));
        let path = workshop.path(file);
        let inventory = inspect(&path, b"correct").unwrap();
        assert_eq!(occurrences(&needle), 0, "{file}: after inspection");
        let token = token(configuration(&path, inventory));
        let contents = token.contents();
        let key = contents.keys().next().unwrap();
        let session = token.create_session().unwrap();

        log_in(&*session, b"correct").unwrap();
        assert!(sign(&*session, key, 1).is_ok());
        assert!(occurrences(&needle) > 0, "{file}: the search finds nothing");
        session.end_auth(Role::User);
        assert_eq!(occurrences(&needle), 0, "{file}: after logout");

        log_in(&*session, b"correct").unwrap();
        log_in(&*session, b"correct").unwrap();
        assert!(sign(&*session, key, 1).is_ok());
        drop(session);
        assert_eq!(occurrences(&needle), 0, "{file}: after the session");

        let session = token.create_session().unwrap();
        let old = AuthSecret::Pin(b"correct");
        session.change_pin(Role::User, old, b"another").unwrap();
        assert_eq!(occurrences(&needle), 0, "{file}: after a new password");
    }
}
