//! Files that are damaged or made to do harm: an error, soon, in little memory, and never a panic.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

mod support;

use std::{
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use ctk_crypto::{PbeCipher, Pkcs12Purpose, pkcs12_kdf};
use ctk_pkcs12::{Inventory, inspect};
use ctk_token::{Digest, Result, TokenError, TokenSession};
use support::{
    MAX_MEMORY, Workshop, configuration, log_in, peak_memory, sign, token,
    writer::{
        self, bag, data, encrypted, explicit, integer, mac_data, octets, oid, pbkdf2, pfx, scrypt,
        sequence, tlv,
    },
};

/// The tests measure the memory of the process, so one runs at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens a file that may be anything, and checks what that costs.
fn open(workshop: &Workshop, file: &[u8], limit: Duration) -> Result<Inventory> {
    let path = workshop.write("file.p12", file);
    let started = Instant::now();
    let answer = inspect(&path, b"correct");
    let took = started.elapsed();
    assert!(
        took < limit,
        "{} bytes took {took:?}: {answer:?}",
        file.len()
    );
    let peak = peak_memory();
    assert!(
        peak < MAX_MEMORY,
        "{} bytes took {} MiB",
        file.len(),
        peak >> 20
    );
    answer
}

fn must_be_corrupted(workshop: &Workshop, what: &str, file: &[u8]) -> String {
    match open(workshop, file, Duration::from_secs(10)) {
        Err(TokenError::Corrupted(reason)) => reason.as_str().to_owned(),
        answer => panic!("{what}: {answer:?}"),
    }
}

/// A small file of openssl's, and another as BER without MAC; both with the least of hashing.
fn samples(workshop: &Workshop) -> [Vec<u8>; 2] {
    workshop.identity("ed25519", "ed25519");
    workshop.identity("ec", "ec");
    let export = |options: &str| {
        workshop.openssl(&format!("pkcs12 -export -passout pass:correct {options}"))
    };
    export("-inkey ec.key -in ec.crt -out der.p12 -noiter -nomaciter");
    export("-inkey ed25519.key -in ed25519.crt -out nomac.p12 -noiter -nomac -certpbe NONE");
    [
        workshop.read("der.p12"),
        writer::to_ber(&workshop.read("nomac.p12"), 2),
    ]
}

#[test]
fn every_truncation_is_an_error() {
    let _alone = alone();
    let workshop = Workshop::new();
    for sample in samples(&workshop) {
        assert!(open(&workshop, &sample, Duration::from_secs(10)).is_ok());
        for len in 0..sample.len() {
            must_be_corrupted(&workshop, &format!("{len} bytes"), &sample[..len]);
        }
    }
}

#[test]
fn every_flipped_bit_is_an_error_or_harmless() {
    let _alone = alone();
    let workshop = Workshop::new();
    let mut harmless = 0;
    for (number, sample) in samples(&workshop).into_iter().enumerate() {
        let whole = open(&workshop, &sample, Duration::from_secs(10)).unwrap();
        let path: PathBuf = workshop.path("file.p12");
        let token = token(configuration(&path, whole.clone()));
        let contents = token.contents();
        let key = contents.keys().next().unwrap();
        let session = token.create_session().unwrap();
        for bit in 0..sample.len() * 8 {
            let mut flipped = sample.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let Ok(inventory) = open(&workshop, &flipped, Duration::from_secs(60)) else {
                continue;
            };
            harmless += 1;
            // A MAC leaves nothing of what counts to chance.
            assert!(
                number != 0 || inventory == whole,
                "bit {bit}: {inventory:#?}"
            );
            if log_in(&*session, b"correct").is_ok() {
                signs_rightly(&*session, key, bit);
            }
        }
    }
    assert!(harmless > 0, "a bit of the label at least can change");
}

fn signs_rightly(session: &dyn TokenSession, key: &ctk_token::Key, bit: usize) {
    let (algorithm, _) = support::request(key, 1);
    let (input, signature) = sign(session, key, 1).unwrap();
    let fits = ctk_crypto::verify(&key.public_key, algorithm, &input, &signature);
    assert_eq!(fits, Ok(true), "bit {bit}: logged in with another key");
}

/// Several bytes changed, removed or doubled at once, which single bits do not reach.
#[test]
fn random_damage_is_an_error_or_harmless() {
    let _alone = alone();
    let workshop = Workshop::new();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    for sample in samples(&workshop) {
        for _ in 0..3000 {
            let mut damaged = sample.clone();
            for _ in 0..=random(4) {
                let start = random(damaged.len());
                let end = damaged.len().min(start + 1 + random(20));
                match random(5) {
                    0 => drop(damaged.drain(start..end)),
                    1 => damaged.extend_from_within(start..end),
                    2 => damaged[start] = [0x00, 0x30, 0x80, 0x84, 0xff][random(5)],
                    _ => damaged[start] = random(256) as u8,
                }
                damaged.push(0);
            }
            let _ = open(&workshop, &damaged, Duration::from_secs(60));
        }
    }
}

/// `levels` elements inside each other, the innermost empty.
fn nested(identifier: u8, levels: usize, indefinite: bool) -> Vec<u8> {
    if indefinite {
        return [[identifier, 0x80].repeat(levels), vec![0; 2 * levels]].concat();
    }
    let mut reversed: Vec<u8> = Vec::new();
    for _ in 0..levels {
        let len = u32::try_from(reversed.len()).unwrap();
        reversed.extend(len.to_le_bytes());
        reversed.extend([0x84, identifier]);
    }
    reversed.reverse();
    reversed
}

#[test]
fn deep_nesting_is_refused() {
    let _alone = alone();
    let workshop = Workshop::new();
    for indefinite in [false, true] {
        for levels in [40, 100_000] {
            let sequences = nested(0x30, levels, indefinite);
            let strings = nested(0x24, levels, indefinite);
            let explicit_tags = nested(0xa0, levels, indefinite);
            for (what, file) in [
                ("sequences", sequences.clone()),
                (
                    "a string in pieces",
                    sequence(&[
                        integer(3),
                        sequence(&[oid(writer::DATA), explicit(&strings)]),
                    ]),
                ),
                (
                    "explicit tags",
                    sequence(&[integer(3), sequence(&[oid(writer::DATA), explicit_tags])]),
                ),
                ("safes", pfx(&sequences, None)),
                ("bags", pfx(&sequence(&[data(&sequences)]), None)),
                (
                    "in a MAC",
                    sequence(&[
                        integer(3),
                        data(&sequence(&[])),
                        sequence(&[sequence(&[sequences])]),
                    ]),
                ),
            ] {
                must_be_corrupted(&workshop, what, &file);
            }
        }
    }
}

#[test]
fn nested_safe_contents_are_refused() {
    let _alone = alone();
    let workshop = Workshop::new();
    let nest = |levels: usize| {
        let contents = (0..levels).fold(sequence(&[]), |inner, _| {
            sequence(&[bag(writer::SAFE_CONTENTS_BAG, &inner, &[])])
        });
        pfx(&sequence(&[data(&contents)]), None)
    };
    let path = workshop.write("nested.p12", &nest(5));
    assert_eq!(inspect(&path, b""), Ok(Inventory::default()));
    assert!(must_be_corrupted(&workshop, "safes", &nest(500)).contains("nested too deeply"));
}

#[test]
fn claimed_lengths_allocate_nothing() {
    let _alone = alone();
    let workshop = Workshop::new();
    for len in [1_u64 << 30, 1 << 31, (1 << 32) - 1, 1 << 63, u64::MAX] {
        for identifier in [0x04, 0x24, 0x30] {
            let claim = [&[identifier, 0x88][..], &len.to_be_bytes(), &[1, 2, 3]].concat();
            must_be_corrupted(&workshop, "outermost", &claim);
            let inside = sequence(&[integer(3), sequence(&[oid(writer::DATA), explicit(&claim)])]);
            must_be_corrupted(&workshop, "inside", &inside);
            let unending = [&[0x30, 0x80][..], &integer(3), &claim].concat();
            must_be_corrupted(&workshop, "in an indefinite length", &unending);
            must_be_corrupted(&workshop, "in a safe", &pfx(&claim, None));
        }
    }
}

#[test]
fn gigantic_work_is_refused_before_it_begins() {
    let _alone = alone();
    let workshop = Workshop::new();
    for iterations in [
        0,
        20_000_001,
        u64::from(u32::MAX),
        1 << 32,
        1 << 63,
        u64::MAX,
    ] {
        let mac = mac_data(writer::SHA1, &[0; 20], b"salt", iterations);
        must_be_corrupted(&workshop, "MAC", &pfx(&sequence(&[]), Some(mac)));
        let safe = sequence(&[encrypted(pbkdf2(iterations), &[0; 32])]);
        must_be_corrupted(&workshop, "PBKDF2", &pfx(&safe, None));
        let parameters = sequence(&[octets(b"salt"), integer(iterations)]);
        let algorithm = sequence(&[oid("1.2.840.113549.1.12.1.3"), parameters]);
        let key = bag(
            writer::SHROUDED_KEY_BAG,
            &sequence(&[algorithm, octets(&[0; 32])]),
            &[],
        );
        let safe = sequence(&[data(&sequence(&[key]))]);
        must_be_corrupted(&workshop, "PBES1", &pfx(&safe, None));
    }
    for (n, r, p) in [
        (1 << 20, 8, 1),
        (1 << 40, 8, 1),
        (1 << 14, 1 << 20, 1),
        (1 << 14, 8, 1 << 20),
        (2, 1, 1 << 30),
        (2, u64::MAX, u64::MAX),
        (u64::MAX, u64::MAX, u64::MAX),
        (0, 8, 1),
        (1 << 14, 0, 1),
        (1 << 14, 8, 0),
        (12_345, 8, 1),
    ] {
        let safe = sequence(&[encrypted(scrypt(n, r, p), &[0; 32])]);
        must_be_corrupted(&workshop, &format!("scrypt {n} {r} {p}"), &pfx(&safe, None));
    }
}

#[test]
fn much_work_in_many_parts_is_refused() {
    let _alone = alone();
    let workshop = Workshop::new();
    let safes: Vec<_> = (0..50)
        .map(|_| encrypted(pbkdf2(1_000_000), &[0; 32]))
        .collect();
    let file = pfx(&sequence(&safes), None);
    let answer = open(&workshop, &file, Duration::from_secs(60));
    let Err(TokenError::Corrupted(reason)) = answer else {
        panic!("{answer:?}")
    };
    assert!(
        reason.as_str().contains("rounds of password hashing"),
        "{reason}"
    );
}

/// A part that is encrypted with RC4, which has no padding and so takes any ciphertext.
fn rc4_part(ciphertext: &[u8]) -> Vec<u8> {
    let parameters = sequence(&[octets(b""), integer(1)]);
    let algorithm = sequence(&[oid("1.2.840.113549.1.12.1.1"), parameters]);
    let info = sequence(&[tlv(0x06, b""), algorithm, tlv(0x80, ciphertext)]);
    let encrypted = explicit(&sequence(&[integer(0), info]));
    sequence(&[oid(writer::ENCRYPTED_DATA), encrypted])
}

#[test]
fn parts_that_fit_any_password_prove_none() {
    let _alone = alone();
    let workshop = Workshop::new();
    workshop.identity("ec", "ec");
    let plain = workshop.openssl("pkcs8 -topk8 -nocrypt -in ec.key -outform DER");
    let key = data(&sequence(&[bag(writer::KEY_BAG, &plain.stdout, &[])]));
    // Whatever the password, one of these is an empty sequence, and others are one with a tail.
    let parts = (0..=u16::MAX).map(|text| rc4_part(&text.to_be_bytes()));
    let safes: Vec<_> = [key.clone()].into_iter().chain(parts).collect();
    let file = pfx(&sequence(&safes), None);
    let answer = open(&workshop, &file, Duration::from_secs(10));
    let wrong = Err(TokenError::AuthenticationFailed { tries: None });
    assert_eq!(answer, wrong);

    // The one that fits, alone: with the key in the clear, and with one that is encrypted.
    let password: Vec<u8> = "correct\0".bytes().flat_map(|byte| [0, byte]).collect();
    let mut stream_key = [0; 16];
    let purpose = Pkcs12Purpose::Key;
    pkcs12_kdf(Digest::Sha1, purpose, &password, b"", 1, &mut stream_key).unwrap();
    let fits = |plaintext: &[u8]| {
        let stream =
            ctk_crypto::pbe_decrypt(PbeCipher::Rc4_128, &stream_key, &[], plaintext).unwrap();
        rc4_part(&stream)
    };
    let shrouded = support::shrouded(&workshop, "ec", "another", "");
    let shrouded = bag(writer::SHROUDED_KEY_BAG, &shrouded, &[]);
    let other_key = data(&sequence(&[shrouded]));
    for plaintext in [
        &[0x30, 0][..],
        &[0x30, 0, 1, 2],
        &[0x30, 7, 0x30, 5, 6, 1, 42, 0xa0, 0, 1],
    ] {
        let part = fits(plaintext);
        let file = pfx(&sequence(&[key.clone(), part.clone()]), None);
        let reason = must_be_corrupted(&workshop, "key in the clear", &file);
        assert!(reason.contains("no password protects it"), "{reason}");
        let file = pfx(&sequence(&[other_key.clone(), part]), None);
        assert_eq!(open(&workshop, &file, Duration::from_secs(10)), wrong);
    }
}

#[test]
fn few_parts_may_have_another_password() {
    let _alone = alone();
    let workshop = Workshop::new();
    for (failing, reason) in [(16, None), (17, Some("more than 16 of its parts"))] {
        let parts: Vec<_> = (0..failing).map(|_| rc4_part(b"no")).collect();
        let safe = sequence(&parts);
        let mac = writer::sha1_mac(&safe, "correct");
        let answer = open(&workshop, &pfx(&safe, Some(mac)), Duration::from_secs(10));
        match (answer, reason) {
            (Ok(inventory), None) => {
                assert!(inventory.keys.is_empty() && inventory.certificates.is_empty());
                assert_eq!(
                    inventory.left_out,
                    ["16 of its parts have another password and are left out"]
                );
            }
            (Err(TokenError::Corrupted(said)), Some(reason)) => {
                assert!(said.as_str().contains(reason), "{said}");
            }
            (answer, _) => panic!("{failing}: {answer:?}"),
        }
    }
}

#[test]
fn a_reason_says_what_a_file_is_instead() {
    let _alone = alone();
    let workshop = Workshop::new();
    workshop.identity("ec", "ec");
    for (file, expected) in [
        (Vec::new(), "it is empty"),
        (workshop.read("ec.crt"), "it is a PEM file"),
        (
            vec![0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2],
            "it is a Java JKS keystore",
        ),
        (workshop.der("ec"), "damaged, or not a PKCS#12 file"),
        (
            pfx(
                &sequence(&[]),
                Some(mac_data("1.2.3.4", &[0; 20], b"salt", 1)),
            ),
            "hash function 1.2.3.4 is not supported",
        ),
        (
            pfx(
                &sequence(&[]),
                Some(mac_data("1.2.840.113549.1.5.14", &[0; 20], b"salt", 1)),
            ),
            "damaged, or not a PKCS#12 file",
        ),
    ] {
        let reason = must_be_corrupted(&workshop, expected, &file);
        assert!(reason.contains(expected), "{reason}");
    }
}
