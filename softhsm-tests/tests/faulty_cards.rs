//! Cards that answer wrongly: no program crashes, hangs, shows what is no certificate, or sends a PIN twice.

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use softhsm_tests::{
    cards::{Options, PIN, Profile},
    faulty::{Fault, FaultyCard},
    module::module_path,
    pcscd::Pcscd,
    process::{Outcome, run, run_within},
    random::Random,
};

const SELECT: u8 = 0xa4;
const GET_DATA: u8 = 0xcb;
const GET_RESPONSE: u8 = 0xc0;
const VERIFY: u8 = 0x20;
const GENERAL_AUTHENTICATE: u8 = 0x87;
const CERTIFICATE_9A: &[u8] = &[0x5c, 3, 0x5f, 0xc1, 5];
/// A program that reads a whole card or makes a signature must be done by then.
const LIMIT: Duration = Duration::from_secs(60);

fn is(command: &[u8], instruction: u8) -> bool {
    command.get(1) == Some(&instruction)
}

fn reads(command: &[u8], object: &[u8]) -> bool {
    is(command, GET_DATA) && command.windows(object.len()).any(|part| part == object)
}

fn pkcs11_tool(pcscd: &Pcscd) -> Command {
    let mut command = pcscd.command("pkcs11-tool");
    command.arg("--module").arg(module_path());
    command
}

/// What a program that signs has to do with the card. A signature that it makes must be right.
fn sign(pcscd: &Pcscd) -> Outcome {
    let data = pcscd.work().write("data", "data");
    let signature = pcscd.work().path().join("signature");
    let _ = std::fs::remove_file(&signature);
    let mut command = pkcs11_tool(pcscd);
    command.args([
        "--login",
        "--pin",
        PIN,
        "--sign",
        "--id",
        "01",
        "-m",
        "SHA256-RSA-PKCS",
    ]);
    command.arg("-i").arg(&data).arg("-o").arg(&signature);
    run_within(LIMIT, &mut command, b"")
}

fn list(pcscd: &Pcscd) -> Outcome {
    run_within(LIMIT, pkcs11_tool(pcscd).arg("-O"), b"")
}

/// It ended by itself, and not by a crash.
#[track_caller]
fn ended(outcome: Outcome) -> Outcome {
    match outcome.status.success() {
        true => outcome,
        false => outcome.refused(),
    }
}

fn pins_sent(card: &FaultyCard) -> usize {
    let commands = card.commands();
    commands
        .iter()
        .filter(|command| is(command, VERIFY) && command.len() > 5)
        .count()
}

/// Lists and signs with a card that has this fault; the PIN goes out once at most. Says whether each went well.
#[track_caller]
fn try_with(options: Options, fault: Fault) -> (bool, bool) {
    let pcscd = Pcscd::start();
    let card = pcscd.insert_faulty(0, Profile::PivOne, options, fault);
    let listed = ended(list(&pcscd));
    assert_eq!(pins_sent(&card), 0, "listing needs no PIN");
    let signed = ended(sign(&pcscd));
    assert!(
        pins_sent(&card) <= 1,
        "the PIN was sent {} times:\n{:02X?}",
        pins_sent(&card),
        card.commands()
    );
    (listed.status.success(), signed.status.success())
}

#[test]
fn without_a_fault_all_is_well() {
    let fault: Fault = Box::new(|_, answer| Some(answer));
    assert_eq!(try_with(Options::default(), fault), (true, true));
}

#[test]
fn answers_of_wrong_lengths() {
    type Change = fn(Vec<u8>) -> Vec<u8>;
    // No bytes at all are no message to vpcd, which would wait for one for ever.
    let changes: [(&str, Change); 6] = [
        ("one byte", |_| vec![0x90]),
        ("a status word only", |_| vec![0x90, 0]),
        ("half of it", |answer| answer[..answer.len() / 2].to_vec()),
        ("zeros behind", |answer| {
            let (data, status) = answer.split_at(answer.len().saturating_sub(2));
            [data, &[0; 40], status].concat()
        }),
        ("a longer inner length", |mut answer| {
            if let Some(length) = answer.get_mut(3) {
                *length = 0xff;
            }
            answer
        }),
        ("60,000 bytes", |_| {
            [&[0x53; 60_000][..], &[0x90, 0]].concat()
        }),
    ];
    for (name, change) in changes {
        for instruction in [SELECT, GET_DATA, VERIFY, GENERAL_AUTHENTICATE] {
            println!("{name} to {instruction:02X}");
            let fault: Fault = Box::new(move |command, answer| {
                Some(if is(command, instruction) {
                    change(answer)
                } else {
                    answer
                })
            });
            try_with(Options::default(), fault);
        }
    }
}

#[test]
fn more_is_promised_without_end() {
    for status in [[0x61, 0x00], [0x61, 0x01], [0x6c, 0x00], [0x6c, 0x10]] {
        for instruction in [SELECT, GET_DATA, VERIFY, GENERAL_AUTHENTICATE] {
            println!("{status:02X?} to {instruction:02X}");
            let asked = Arc::new(AtomicUsize::new(0));
            let count = asked.clone();
            let fault: Fault = Box::new(move |command, answer| {
                if is(command, instruction) || is(command, GET_RESPONSE) {
                    count.fetch_add(1, Ordering::Relaxed);
                    return Some([&[0; 16][..], &status].concat());
                }
                Some(answer)
            });
            try_with(Options::SHORT, fault);
            let asked = asked.load(Ordering::Relaxed);
            assert!(asked < 20_000, "asked {asked} times");
        }
    }
}

#[test]
fn a_signature_that_is_none() {
    let fault: Fault = Box::new(|command, mut answer| {
        if is(command, GENERAL_AUTHENTICATE)
            && let Some(byte) = answer.get_mut(100)
        {
            *byte ^= 1;
        }
        Some(answer)
    });
    // What comes from the key store is given on as it is, whoever made it: the program verifies it, or its peer.
    assert!(try_with(Options::default(), fault).0);
}

#[test]
fn a_slow_card_is_waited_for() {
    let fault: Fault = Box::new(|command, answer| {
        if is(command, GENERAL_AUTHENTICATE) {
            std::thread::sleep(Duration::from_secs(4));
        }
        Some(answer)
    });
    assert_eq!(try_with(Options::default(), fault), (true, true));
}

#[test]
fn a_card_that_goes_silent_is_out() {
    for instruction in [SELECT, GET_DATA, VERIFY, GENERAL_AUTHENTICATE] {
        let fault: Fault =
            Box::new(move |command, answer| (!is(command, instruction)).then_some(answer));
        let (_, signed) = try_with(Options::default(), fault);
        assert!(!signed, "{instruction:02X}");
    }
}

#[test]
fn garbage_and_compressed_certificates() {
    let pcscd = Pcscd::start();
    // The good one, compressed as SP 800-73-4 allows: CertInfo 01.
    let der = {
        let card = pcscd.insert(0, Profile::PivOne, Options::default());
        let pem = card.folder().join("9a.crt");
        run(Command::new("openssl")
            .args(["x509", "-outform", "DER", "-in"])
            .arg(pem))
        .succeeded()
        .stdout
    };
    let gzip = |data: &[u8]| {
        let mut command = Command::new("gzip");
        let outcome = run_within(LIMIT, command.args(["-n", "-9", "-c"]), data);
        outcome.succeeded().stdout
    };
    let bomb = gzip(&vec![0; 32 << 20]);
    let cases: [(&str, Vec<u8>, u8, bool); 6] = [
        ("compressed", gzip(&der), 1, true),
        ("compressed, and not said so", gzip(&der), 0, true),
        ("32 MiB of zeros", bomb, 1, false),
        ("cut", gzip(&der)[..100].to_vec(), 1, false),
        ("garbage", vec![0xa5; 700], 0, false),
        ("empty", Vec::new(), 0, false),
    ];
    for (name, certificate, info, is_listed) in cases {
        let pcscd = Pcscd::start();
        let container = container(&certificate, info);
        let fault: Fault = Box::new(move |command, answer| {
            Some(match reads(command, CERTIFICATE_9A) {
                true => [&container[..], &[0x90, 0]].concat(),
                false => answer,
            })
        });
        let _card = pcscd.insert_faulty(0, Profile::PivOne, Options::default(), fault);
        let outcome = ended(list(&pcscd));
        let found = outcome.text().contains("Certificate Object");
        assert_eq!(found, is_listed, "{name}: {}", outcome.text());
    }
}

/// The container of a certificate (SP 800-73-4 part 1, table 10).
fn container(certificate: &[u8], info: u8) -> Vec<u8> {
    let tlv = |tag: u8, value: &[u8]| {
        let length = u16::try_from(value.len())
            .expect("a short value")
            .to_be_bytes();
        [&[tag, 0x82][..], &length, value].concat()
    };
    let inner = [tlv(0x70, certificate), vec![0x71, 1, info, 0xfe, 0]].concat();
    tlv(0x53, &inner)
}

#[test]
fn answers_with_random_changes() {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a date");
    let seed = now.as_secs();
    for round in 0..12 {
        let mut changes = Random::new(seed + round);
        let fault: Fault = Box::new(move |_, mut answer| {
            if changes.below(4) == 0 && !answer.is_empty() {
                let at = changes.below(answer.len());
                match changes.below(3) {
                    0 => answer[at] ^= 1 << changes.below(8),
                    1 => answer.truncate(at.max(1)),
                    _ => answer.insert(at, 0xff),
                }
            }
            Some(answer)
        });
        println!("Random::new({})", seed + round);
        try_with(Options::SHORT, fault);
    }
}
