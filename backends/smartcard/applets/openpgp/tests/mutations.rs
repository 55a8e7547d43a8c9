//! A card whose answers are damaged at random: whatever it says, an operation ends, and a PIN goes
//! out once.

use std::sync::Arc;

use ctk_token::{Item, KeyAlgorithm, NewKey, Role};
use parking_lot::Mutex;

use super::{super::OpenPgp, *};
use crate::{applet::Applet, link::LinkError};

/// Numbers that look random and are the same in every run (xorshift, Marsaglia 2003).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize
    }

    fn below(&mut self, limit: usize) -> usize {
        self.next() % limit.max(1)
    }
}

/// What a good card answers, without the status.
fn good(said: &Said, command: &[u8]) -> Vec<u8> {
    let unhex = |text: String| crate::testing::bytes(text.trim_end_matches("9000"));
    match command.get(1..4) {
        Some([0xCA, 0, 0x6E]) => said.contents(),
        Some([0xCA, 0, 0x4F]) => said.identifier(),
        Some([0xCA, 0, 0xC4]) => said.pins.to_vec(),
        Some([0xCA, 0, 0xF9]) => vec![0xF9, 3, 0x81, 1, 0],
        Some([0xCA | 0xCC, 0x7F, 0x21]) => contents::certificate(
            key(Place::Signature, KeyType::Rsa { bits: 2048 }, said)
                .public_key
                .spki(),
        ),
        Some([0xCA, 0, 0xFA]) => tlv::encode(0xC1, P256).to_vec(),
        Some([0xCA, ..]) => b"data".to_vec(),
        Some([0x47, ..]) => unhex(rsa_template(2048)),
        Some([0x2A, 0x80, 0x86]) => b"a secret".to_vec(),
        Some([0x2A | 0x88, ..]) => vec![5; 256],
        _ => Vec::new(),
    }
}

/// An answer with its status, damaged or not.
fn damaged(mut answer: Vec<u8>, numbers: &mut Numbers) -> Vec<u8> {
    let mut status = [0x90, 0];
    match numbers.below(8) {
        0 => {
            let len = numbers.below(answer.len());
            answer.truncate(len);
        }
        1 | 2 => {
            for _ in 0..=numbers.below(4) {
                let at = numbers.below(answer.len());
                if let Some(byte) = answer.get_mut(at) {
                    *byte = numbers.next() as u8;
                }
            }
        }
        3 => answer.extend_from_within(..),
        4 => {
            let all: [u16; 10] = [
                0x6982, 0x6983, 0x6A80, 0x6A88, 0x6D00, 0x6F00, 0x63C2, 0x63C0, 0x6700, 0x6285,
            ];
            status = all[numbers.below(all.len())].to_be_bytes();
        }
        _ => {}
    }
    [answer, status.to_vec()].concat()
}

#[test]
fn nothing_panics_and_no_pin_goes_out_twice() {
    let said = || Said {
        capabilities: [0x7D, 0, 0, 0xFF, 8, 0, 8, 0, 0, 1],
        ..Said::default()
    };
    let rsa = KeyType::Rsa { bits: 2048 };
    let (mut listed, mut opened, mut decrypted) = (0, 0, 0);
    for seed in 1..=3000_u64 {
        let wire = Wire::new();
        let mut numbers = Numbers(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let card_says = said();
        let pins = Arc::new(Mutex::new(Vec::new()));
        let sent = pins.clone();
        wire.answer_by(move |command| {
            if let Some([0x20, 0, mode]) = command.get(1..4) {
                sent.lock().push(*mode);
            }
            if numbers.below(200) == 0 {
                return Err(LinkError::Removed);
            }
            Ok(damaged(good(&card_says, command), &mut numbers))
        });
        let card = SmartCard::new(wire.link());
        let Ok(mut card) = card.transaction() else {
            panic!("a transaction");
        };
        let applet = OpenPgp::default();
        let _ = applet.info(&mut card);
        let items = applet.contents(&mut card).unwrap_or_default();
        listed += items.len();
        if applet
            .verify(&mut card, Role::User, None, b"123456")
            .is_ok()
        {
            opened += 1;
        }
        let pins = pins.lock().clone();
        assert!(
            [&[][..], &[0x82], &[0x82, 0x81]].contains(&&*pins),
            "seed {seed}: {pins:02X?}"
        );
        for item in &items {
            let Item::Key(key) = item else {
                continue;
            };
            let algorithm = KeyAlgorithm::RsaPkcs1;
            let _ = applet.sign(&mut card, key, algorithm, &[7; 51], &mut [0; 512]);
            let answer = applet.decrypt(&mut card, key, algorithm, &[1; 256], &mut [0; 512]);
            decrypted += usize::from(answer.is_ok());
        }
        let _ = applet.change_secret(&mut card, Role::User, b"123456", b"654321");
        let _ = applet.unblock(&mut card, Some(b"12345678"), b"654321");
        let wanted = NewKey {
            key_type: rsa,
            identity: Some(&[1]),
            label: None,
        };
        let _ = applet.generate_key(&mut card, &[], &wanted);
        let _ = applet.random(&mut card, &mut [0; 300]);
    }
    // Damaged answers were not all there was.
    assert!(
        listed > 3000 && opened > 300 && decrypted > 300,
        "{listed} {opened} {decrypted}"
    );
}
