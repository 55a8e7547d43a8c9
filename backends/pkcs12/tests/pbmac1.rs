//! Files with the MAC of RFC 9579, whose keys and MACs openssl computes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

mod support;

use ctk_pkcs12::inspect;
use ctk_token::TokenError;
use support::{
    Workshop,
    check::check,
    shrouded,
    writer::{self, bag, certificate_bag, data, integer, octets, oid, sequence},
};

const PASSWORD: &str = "pässwörd €";

/// A hash function as openssl calls it, and HMAC with it.
const HASHES: [(&str, &str, usize); 9] = [
    ("SHA1", "1.2.840.113549.2.7", 20),
    ("SHA2-224", "1.2.840.113549.2.8", 28),
    ("SHA2-256", "1.2.840.113549.2.9", 32),
    ("SHA2-384", "1.2.840.113549.2.10", 48),
    ("SHA2-512", "1.2.840.113549.2.11", 64),
    ("SHA3-224", "2.16.840.1.101.3.4.2.13", 28),
    ("SHA3-256", "2.16.840.1.101.3.4.2.14", 32),
    ("SHA3-384", "2.16.840.1.101.3.4.2.15", 48),
    ("SHA3-512", "2.16.840.1.101.3.4.2.16", 64),
];

/// What is said of a MAC, which need not be what it was made with.
struct Parameters {
    prf: usize,
    hmac: usize,
    salt: &'static [u8],
    iterations: u64,
    key_len: Option<u64>,
}

const GOOD: Parameters = Parameters {
    prf: 2,
    hmac: 2,
    salt: b"saltsalt",
    iterations: 2048,
    key_len: Some(32),
};

/// PBKDF2 and HMAC by openssl.
fn mac(workshop: &Workshop, content: &[u8], made: &Parameters) -> Vec<u8> {
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let line = format!(
        "kdf -binary -keylen {} -kdfopt digest:{} -kdfopt hexpass:{} -kdfopt hexsalt:{} \
         -kdfopt iter:{} -kdfopt pkcs5:1 PBKDF2",
        made.key_len.unwrap(),
        HASHES[made.prf].0,
        hex(PASSWORD.as_bytes()),
        hex(made.salt),
        made.iterations
    );
    let key = workshop.openssl(&line).stdout;
    workshop.write("content", content);
    let hash = HASHES[made.hmac].0;
    let line = format!(
        "mac -binary -digest {hash} -macopt hexkey:{} -in content HMAC",
        hex(&key)
    );
    workshop.openssl(&line).stdout
}

fn mac_data(mac: &[u8], said: &Parameters) -> Vec<u8> {
    let null = vec![0x05, 0];
    let mut parameters = vec![octets(said.salt), integer(said.iterations)];
    parameters.extend(said.key_len.map(integer));
    parameters.push(sequence(&[oid(HASHES[said.prf].1), null.clone()]));
    let derivation = sequence(&[oid("1.2.840.113549.1.5.12"), sequence(&parameters)]);
    let scheme = sequence(&[oid(HASHES[said.hmac].1), null]);
    let algorithm = sequence(&[
        oid("1.2.840.113549.1.5.14"),
        sequence(&[derivation, scheme]),
    ]);
    sequence(&[
        sequence(&[algorithm, octets(mac)]),
        octets(b"NOT USED"),
        integer(1),
    ])
}

/// The AuthenticatedSafe of an identity `ec`.
fn safe(workshop: &Workshop) -> Vec<u8> {
    workshop.identity("ec", "ec");
    let key = shrouded(workshop, "ec", PASSWORD, "");
    let certificate = certificate_bag(&workshop.der("ec"), &[]);
    let bags = [bag(writer::SHROUDED_KEY_BAG, &key, &[]), certificate];
    sequence(&[data(&sequence(&bags))])
}

#[test]
fn every_hash_function_in_each_place() {
    let workshop = Workshop::new();
    let safe = safe(&workshop);
    for (number, (_, _, len)) in HASHES.iter().enumerate() {
        let key_len = Some(*len as u64);
        for (prf, hmac) in [(number, number), (2, number), (number, 2)] {
            let parameters = Parameters {
                prf,
                hmac,
                key_len,
                ..GOOD
            };
            let mac = mac_data(&mac(&workshop, &safe, &parameters), &parameters);
            workshop.write("file.p12", &writer::pfx(&safe, Some(mac)));
            println!("{} {}", HASHES[prf].0, HASHES[hmac].0);
            check(&workshop, "file.p12", PASSWORD, &[("ec", "ec", true)], 1);
        }
    }
    for key_len in [20, 64, 256] {
        let parameters = Parameters {
            key_len: Some(key_len),
            ..GOOD
        };
        let mac = mac_data(&mac(&workshop, &safe, &parameters), &parameters);
        workshop.write("file.p12", &writer::pfx(&safe, Some(mac)));
        check(&workshop, "file.p12", PASSWORD, &[("ec", "ec", true)], 1);
    }
}

/// The ways in which RFC 9579 Appendix A goes wrong, and others.
#[test]
fn what_is_said_of_a_mac_must_be_so() {
    let workshop = Workshop::new();
    let safe = safe(&workshop);
    let made = mac(&workshop, &safe, &GOOD);
    let open = |mac: Vec<u8>| {
        let path = workshop.write("file.p12", &writer::pfx(&safe, Some(mac)));
        inspect(&path, PASSWORD.as_bytes())
    };
    assert!(open(mac_data(&made, &GOOD)).is_ok());
    let wrong = Err(TokenError::AuthenticationFailed { tries: None });
    for (what, said) in [
        (
            "iterations",
            Parameters {
                iterations: 2049,
                ..GOOD
            },
        ),
        (
            "salt",
            Parameters {
                salt: b"NOT USED",
                ..GOOD
            },
        ),
        (
            "key length",
            Parameters {
                key_len: Some(33),
                ..GOOD
            },
        ),
        ("PRF", Parameters { prf: 4, ..GOOD }),
        ("HMAC", Parameters { hmac: 6, ..GOOD }),
    ] {
        assert_eq!(open(mac_data(&made, &said)), wrong, "{what}");
    }
    for len in [0, 16, 31] {
        assert_eq!(open(mac_data(&made[..len], &GOOD)), wrong, "{len} bytes");
    }
    for (key_len, reason) in [
        (None, "a MAC whose key has no length"),
        (Some(19), "a MAC whose key is too short"),
        (Some(257), "a MAC whose key is too short or too long"),
        (Some(u64::MAX), "a MAC whose key is too short or too long"),
    ] {
        let answer = open(mac_data(&made, &Parameters { key_len, ..GOOD }));
        let Err(TokenError::Corrupted(said)) = answer else {
            panic!("{key_len:?}: {answer:?}")
        };
        assert!(said.as_str().contains(reason), "{said}");
    }
    for iterations in [0, 20_000_001, u64::MAX] {
        let answer = open(mac_data(&made, &Parameters { iterations, ..GOOD }));
        assert!(
            matches!(answer, Err(TokenError::Corrupted(_))),
            "{answer:?}"
        );
    }
}
