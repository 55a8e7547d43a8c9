//! Answers that nobody sends on purpose: whatever comes, there is a result and no panic. The generator is fixed, so that a
//! failure can be repeated.

use ctk_token::{Digest, KeyAlgorithm, Oaep};
use serde_json::json;

use crate::{Service, base64};

use super::world::{
    ARN, Held, World, answer, configuration, failure, settings, surroundings, text, with_access_key,
};

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn mutate(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(6) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, self.next() as u8),
                2 => {
                    let end = (at + self.below(20)).min(bytes.len());
                    bytes.drain(at..end);
                }
                3 => {
                    let end = (at + self.below(40)).min(bytes.len());
                    let part = bytes[at..end].to_vec();
                    bytes.splice(at..at, part);
                }
                _ => {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = b"{}[]\":,\\0-e.u/\0\xff"[self.next() as usize % 16];
                    }
                }
            }
        }
        bytes
    }
}

/// Answers that are right, and ones that are strange from the start.
fn samples() -> Vec<Vec<u8>> {
    let spki = base64::encode(Held::rsa().spki());
    let mut samples: Vec<_> = [
        json!({"Keys": [{"KeyId": "a", "KeyArn": ARN}], "NextMarker": "m", "Truncated": true}),
        json!({"Aliases": [{"AliasName": "alias/x", "TargetKeyId": "a"}], "Truncated": false}),
        json!({"KeyMetadata": {"KeyId": "a", "KeySpec": "RSA_2048", "KeyState": "Enabled", "Enabled": true}}),
        json!({"KeyId": ARN, "PublicKey": spki, "KeySpec": "RSA_2048", "KeyUsage": "SIGN_VERIFY",
            "SigningAlgorithms": ["RSASSA_PKCS1_V1_5_SHA_256"]}),
        json!({"Signature": base64::encode(&[7; 256]), "Plaintext": "AAAA"}),
        json!({"__type": "a#ThrottlingException:b", "message": "(20150830T123600Z - 5 min.)"}),
        json!({"Code": "Success", "AccessKeyId": "A", "SecretAccessKey": "s", "Token": "t",
            "Expiration": "2015-08-30T18:36:00Z"}),
    ]
    .iter()
    .map(|json| json.to_string().into_bytes())
    .collect();
    samples.push(
        b"<ErrorResponse><Error><Code>AccessDenied</Code><Message>m</Message></Error>".to_vec(),
    );
    samples.push(b"[".repeat(100_000));
    samples.push(b"{\"Keys\":".repeat(50_000));
    samples.push(
        [
            &b"{\"Keys\":[{\"KeyId\":\""[..],
            &b"x".repeat(900_000),
            b"\"}]}",
        ]
        .concat(),
    );
    samples.push([&b"{\"a\":1e"[..], &b"9".repeat(10_000), b"}"].concat());
    samples
}

#[test]
fn no_answer_is_too_strange() {
    let record = Held::rsa().record();
    let input = [7; 32];
    let mut random = Random(5);
    let samples = samples();
    for round in 0..3000_usize {
        let sample = &samples[round % samples.len()];
        // The long ones as they are, and only once.
        let body = match sample.len() {
            ..10_000 => random.mutate(sample),
            _ if round < samples.len() => sample.clone(),
            _ => continue,
        };
        let status = [200, 200, 400, 403, 500][random.below(5)];
        let world = World::new(move |_| answer(status, body.clone()));
        let service = world.service(&configuration(with_access_key([]), vec![record.clone()]));
        let session = service.clone().open_session();
        let rsa = KeyAlgorithm::RsaPkcs1Digest(Digest::Sha256);
        // No answer of them is a signature of this.
        assert!(session.sign(&record, rsa, &input).is_err());
        let oaep = Oaep {
            digest: Digest::Sha1,
            mgf: Digest::Sha1,
        };
        assert!(
            session
                .decrypt(&record, KeyAlgorithm::RsaOaep(oaep), &input)
                .is_err()
        );
        let listed = service.list(None, &mut |_| {});
        if let Err(error) = listed {
            assert!(error.to_string().chars().count() < 1000, "{error}");
        }
        service.check(&mut |_| {});
    }
}

#[test]
fn no_metadata_are_too_strange() {
    let mut random = Random(9);
    let samples = samples();
    for round in 0..2000_usize {
        let sample = &samples[round % samples.len()];
        if sample.len() > 10_000 {
            continue;
        }
        let body = random.mutate(sample);
        let world = World::new(
            move |asked| match (asked.local, asked.line.starts_with("Put")) {
                (true, true) => answer(200, "token"),
                (true, false) if asked.line.ends_with("credentials/") => answer(200, "role"),
                (true, false) => answer(200, body.clone()),
                (false, _) => failure(400, "ExpiredTokenException", ""),
            },
        );
        let mut configuration = configuration(settings([("region", text("eu-west-1"))]), vec![]);
        configuration.surroundings = surroundings(|_| None);
        let service = world.service(&configuration);
        assert!(service.list(None, &mut |_| {}).is_err());
    }
}
