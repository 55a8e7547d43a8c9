//! Whatever a service answers, nothing panics, nothing grows, and no wrong signature passes.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use ctk_token::{KeyAlgorithm, PublicKey, Role};

use crate::{Service, ServiceSession};

use super::{
    fake::{Fake, P256, PIN, credential},
    world::{World, client, settings},
};

/// A generator of numbers that are the same in each run (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (number ^ number >> 31) as usize % sides.max(1)
    }
}

const ODD: &[u8] = b"\"{}[]:,\\0a\x01 \x7f";

/// What stands in the place of a value, or of anything.
fn odd_values() -> Vec<String> {
    vec![
        "null".to_owned(),
        "-1".to_owned(),
        "1e999".to_owned(),
        "99999999999999999999999999".to_owned(),
        "\"\"".to_owned(),
        "\"\\ud800\"".to_owned(),
        "\"\\u0000\\u001b[2J\"".to_owned(),
        format!("\"{}\"", "A".repeat(100_000)),
        format!("{}1{}", "[".repeat(5000), "]".repeat(5000)),
        format!("{}1{}", "{\"a\":".repeat(5000), "}".repeat(5000)),
        format!("[{}0]", "\"x\",".repeat(30_000)),
        "{}".to_owned(),
        "true".to_owned(),
    ]
}

/// A good answer with something wrong in it.
fn spoiled(good: &str, dice: &mut Dice) -> String {
    let mut bytes = good.as_bytes().to_vec();
    match dice.roll(5) {
        0 => {
            for _ in 0..=dice.roll(6) {
                let at = dice.roll(bytes.len());
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = ODD[dice.roll(ODD.len())];
                }
            }
        }
        1 => bytes.truncate(dice.roll(bytes.len())),
        2 => {
            // A value becomes another one.
            let places: Vec<_> = good.match_indices("\":").map(|(at, _)| at + 2).collect();
            let start = places.get(dice.roll(places.len())).copied().unwrap_or(0);
            let rest = &good[start..];
            let end = rest.find([',', '}']).unwrap_or(rest.len());
            let odd = odd_values();
            let odd = &odd[dice.roll(odd.len())];
            return format!("{}{odd}{}", &good[..start], &rest[end..]);
        }
        3 => {
            let odd = odd_values();
            return odd[dice.roll(odd.len())].clone();
        }
        _ => {
            let len = dice.roll(300);
            bytes = (0..len).map(|_| dice.roll(128) as u8).collect();
        }
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn no_answer_does_harm() {
    for version in [0, 1, 2] {
        let one = credential(
            P256,
            if version == 1 {
                &["pin"]
            } else {
                &["implicit"]
            },
        );
        let world = World::new(Fake::new(version, vec![one]), &[]);
        let good: Arc<Fake> = world.fake.clone();
        let seed = Arc::new(AtomicU64::new(u64::from(version) << 32));
        let operations = [
            "info",
            "credentials/list",
            "credentials/info",
            "credentials/authorize",
            "signatures/signHash",
        ];
        let key = &world.inventory.keys[0];
        let public_key = PublicKey::from_spki(&key.spki).unwrap();
        for round in 0..600 {
            let operation = operations[round % operations.len()];
            let (seed, samples) = (seed.clone(), samples(operation));
            good.answer_by(move |call| {
                if call.operation != operation {
                    return None;
                }
                let mut dice = Dice(seed.fetch_add(1, Ordering::Relaxed));
                let status = [200, 200, 200, 202, 204, 302, 400, 401, 404, 500][dice.roll(10)];
                Some((
                    status,
                    spoiled(samples[dice.roll(samples.len())], &mut dice),
                ))
            });
            if round % operations.len() < 3 {
                let listed = client(&good, &settings(&[])).list(None, &mut |_| {});
                if let Ok(inventory) = listed {
                    assert!(inventory.left_out.iter().all(|why| why.len() < 2000));
                    assert!(inventory.keys.len() <= 1);
                }
                continue;
            }
            let session = world.session();
            let _ = session.login(Role::User, &world.inventory.keys, None, PIN.as_bytes());
            let input = [7; 32];
            let signed: ctk_token::Result<Vec<u8>> =
                ServiceSession::sign(&*session, key, KeyAlgorithm::EcdsaDigest, &input);
            if let Ok(signature) = signed {
                let how = KeyAlgorithm::EcdsaDigest;
                assert!(ctk_crypto::verify(&public_key, how, &input, &signature).unwrap());
            }
        }
    }
}

/// Good answers, and refusals, to begin with.
fn samples(operation: &str) -> &'static [&'static str] {
    match operation {
        "info" => {
            &[r#"{"specs":"1.0.4.0","name":"x","oauth2":"https://a.example","methods":["info"]}"#]
        }
        "credentials/list" => &[
            r#"{"credentialIDs":["c/1"],"nextPageToken":""}"#,
            r#"{"credentialIDs":["c/1"],"credentialInfos":[{"credentialID":"c/1","key":{},"cert":{}}]}"#,
        ],
        "credentials/info" => &[
            r#"{"key":{"status":"enabled","algo":["1.2.840.10045.4.3.2"],"len":256},"cert":{"certificates":["MAA="]},"authMode":"explicit","PIN":{"presence":"true"},"OTP":{"presence":"true","type":"online"},"SCAL":"1","multisign":5}"#,
            r#"{"key":{"algo":["1.2.840.10045.4.3.2"]},"cert":{"certificates":["MAA="]},"auth":{"mode":"explicit","expression":"a AND (b OR c)","objects":[{"type":"Password","id":"a"},{"type":"PasswordOOB","id":"b"},{"type":"Password","generator":"totp","id":"c"}]}}"#,
        ],
        "credentials/authorize" => &[
            r#"{"SAD":"x\/y\u0041","expiresIn":3600}"#,
            r#"{"handle":"h"}"#,
            r#"{"error":"invalid_pin","error_description":"The PIN is invalid"}"#,
        ],
        _ => &[
            r#"{"signatures":["MAYCAQECAQE="]}"#,
            r#"{"error":"invalid_request","error_description":"SAD expired"}"#,
        ],
    }
}
