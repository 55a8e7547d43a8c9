//! One-time passwords from the time: RFC 6238 with SHA-1, 30 seconds and six digits.

use std::time::{SystemTime, UNIX_EPOCH};

use openssl::hash::{Hasher, MessageDigest};

const STEP: u64 = 30;

/// The password of a moment.
pub fn totp(seed: &[u8], when: SystemTime) -> String {
    password(seed, step(when))
}

/// A seed as people are given it.
pub fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let bits: Vec<bool> = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1))
        .collect();
    bits.chunks(5)
        .map(|bits| {
            let value = bits
                .iter()
                .fold(0, |value, &bit| value << 1 | usize::from(bit));
            char::from(ALPHABET[value << (5 - bits.len())])
        })
        .collect()
}

/// The number of the 30 seconds in which a moment is.
pub(super) fn step(when: SystemTime) -> u64 {
    let since = when.duration_since(UNIX_EPOCH).expect("a time after 1970");
    since.as_secs() / STEP
}

/// The password of a step.
pub(super) fn password(seed: &[u8], step: u64) -> String {
    let mac = hmac_sha1(seed, &step.to_be_bytes());
    let at = usize::from(mac[19] & 15);
    let word: [u8; 4] = mac[at..at + 4].try_into().expect("four bytes");
    format!(
        "{:06}",
        (u32::from_be_bytes(word) & 0x7fff_ffff) % 1_000_000
    )
}

/// RFC 2104. The binding has HMAC for one of the two libraries only.
fn hmac_sha1(key: &[u8], message: &[u8]) -> Vec<u8> {
    let sha1 = |parts: [&[u8]; 2]| {
        let mut hasher = Hasher::new(MessageDigest::sha1()).expect("SHA-1");
        for part in parts {
            hasher.update(part).expect("SHA-1");
        }
        hasher.finish().expect("SHA-1").to_vec()
    };
    let mut block = [0; 64];
    if key.len() > block.len() {
        let digest = sha1([key, b""]);
        block[..digest.len()].copy_from_slice(&digest);
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = sha1([&block.map(|byte| byte ^ 0x36), message]);
    sha1([&block.map(|byte| byte ^ 0x5c), &inner])
}
