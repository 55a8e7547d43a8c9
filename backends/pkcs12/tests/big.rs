//! The longest files that are read at all need little time and memory.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

mod support;

use std::{
    process::Command,
    time::{Duration, Instant},
};

use ctk_pkcs12::inspect;
use support::{
    MAX_MEMORY, Workshop, peak_memory,
    writer::{
        self, bag, certificate_bag, data, encrypted, explicit, integer, oid, pfx, scrypt, sequence,
        tlv,
    },
};

/// Set for a process of its own that opens this one file, so that the file's making does not count
/// as memory.
const OPEN: &str = "CTK_TEST_OPEN";

#[test]
fn big_files_cost_little() {
    if let Some(path) = std::env::var_os(OPEN) {
        let answer = inspect(path.as_ref(), b"correct");
        // What is not protected is looked at more closely with the empty password.
        let _ = inspect(path.as_ref(), b"");
        println!("peak {} answer {answer:?}", peak_memory());
        return;
    }
    let workshop = Workshop::new();
    let wrong = "AuthenticationFailed";
    let open_to_all = "no password protects it";
    let big = vec![0x5a; 3_800_000];
    let scrypted = pfx(&sequence(&[encrypted(scrypt(1 << 15, 8, 1), &big)]), None);
    open_alone(&workshop, "scrypt", &scrypted, wrong);
    open_alone(
        &workshop,
        "scrypt in BER",
        &writer::to_ber(&scrypted, 1),
        wrong,
    );
    let strings = |content: &[u8]| sequence(&[oid(writer::DATA), explicit(&tlv(0x24, content))]);
    let tiny = sequence(&[integer(3), strings(&[0x04, 1, 0x5a].repeat(1_300_000))]);
    open_alone(&workshop, "tiny pieces", &tiny, "damaged");
    let empty = sequence(&[integer(3), strings(&[0x04, 0].repeat(1_900_000))]);
    open_alone(&workshop, "empty pieces", &empty, "damaged");
    let deep = [
        [0x24, 0x80].repeat(28),
        [0x04, 1, 0x5a].repeat(1_300_000),
        vec![0; 56],
    ]
    .concat();
    let deep = sequence(&[integer(3), sequence(&[oid(writer::DATA), explicit(&deep)])]);
    open_alone(&workshop, "tiny pieces, deep", &deep, "damaged");

    let bags = |bags: &[u8]| pfx(&sequence(&[data(&tlv(0x30, bags))]), None);
    let certificate = |len: usize| certificate_bag(&big[..len], &[]);
    let many = bags(&certificate(100).repeat(20_000));
    open_alone(
        &workshop,
        "many certificates",
        &many,
        "more than 4096 certificates",
    );
    let big_ones = bags(&certificate(1000).repeat(3800));
    open_alone(&workshop, "big certificates", &big_ones, open_to_all);
    // The same key counts once.
    let key = |number: u16, len: usize| {
        let content = [&number.to_be_bytes()[..], &big[..len]].concat();
        bag(writer::KEY_BAG, &tlv(0x30, &content), &[])
    };
    let keys = |count: u16, len: usize| (0..count).flat_map(move |number| key(number, len));
    let many: Vec<u8> = keys(1000, 1).collect();
    open_alone(
        &workshop,
        "many keys",
        &bags(&many),
        "more than 256 private keys",
    );
    let long: Vec<u8> = keys(256, 14_000).collect();
    open_alone(&workshop, "big keys", &bags(&long), "longer to check");
    let same = key(0, 5000).repeat(700);
    open_alone(&workshop, "one key", &bags(&same), open_to_all);
    open_alone(
        &workshop,
        "too long",
        &vec![0x30; (4 << 20) + 1],
        "longer than 4 MiB",
    );
}

/// Opens a file in a process of its own.
fn open_alone(workshop: &Workshop, what: &str, file: &[u8], expected: &str) {
    let path = workshop.write("big.p12", file);
    let started = Instant::now();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "big_files_cost_little", "--nocapture"])
        .env(OPEN, path)
        .output()
        .unwrap();
    let took = started.elapsed();
    let output = String::from_utf8_lossy(&output.stdout);
    let line = output.lines().find_map(|line| line.split_once("peak "));
    let (peak, answer) = line
        .and_then(|(_, line)| line.split_once(" answer "))
        .expect(&output);
    let peak: u64 = peak.parse().unwrap();
    println!("{what}: {} bytes, {took:?}, {} MiB", file.len(), peak >> 20);
    assert!(answer.contains(expected), "{what}: {answer}");
    assert!(peak < MAX_MEMORY, "{what}: {} MiB", peak >> 20);
    assert!(took < Duration::from_secs(60), "{what}: {took:?}");
}
